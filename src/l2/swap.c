/*
 * swap - see swap.h.
 */
#include "l2/swap.h"

#include <hiredis/hiredis.h>
#include <string.h>

/* ---- what is there ---- */

struct peek_job {
    struct op *op;
    struct peek *peeks;
};

static void on_peek(void *arg, size_t index, const redisReply *reply)
{
    struct peek_job *j = arg;
    struct peek *p = &j->peeks[index];
    struct tier_read probe = {.id = p->id, .id_len = p->id_len};
    const char *bytes;
    size_t len;
    bool nomem;
    p->len = 0;
    if (se__reply_class(reply) != REPLY_FINE) {
        /* Only for its way with errors: a key of another type is none. */
        se__op_check(j->op, se__reply_record(reply, 0, &probe, &nomem), reply);
    } else if (!se__reply_bytes(reply, &bytes, &len) || len > sizeof p->bytes) {
        se__op_garbage(j->op);
    } else {
        memcpy(p->bytes, bytes, len);
        p->len = len;
    }
}

void se__peek_all(struct op *op, struct peek *peeks, size_t n)
{
    struct peek_job job = {.op = op, .peeks = peeks};
    struct resp *c = op->session->resp;
    for (size_t i = 0; i < n; i++) {
        se__resp_begin(c, 4);
        se__resp_text(c, "GETRANGE");
        se__op_key(op, peeks[i].id, peeks[i].id_len);
        se__resp_number(c, 0);
        se__resp_number(c, HEAD_SIZE - 1);
        se__op_push(op, on_peek, &job);
    }
    se__op_exchange(op, on_peek, &job);
}

void se__swap_expect(struct swap *swap, const struct peek *peek)
{
    swap->id = peek->id;
    swap->id_len = peek->id_len;
    swap->header_len = peek->len < RECORD_HEADER_SIZE ? peek->len : RECORD_HEADER_SIZE;
    memcpy(swap->header, peek->bytes, swap->header_len);
}

/* ---- swap ---- */

struct swap_job {
    struct op *op;
    struct swap *swaps;
};

static const char *swap_id(void *arg, size_t i, size_t *len)
{
    struct swap_job *j = arg;
    *len = j->swaps[i].id_len;
    return j->swaps[i].id;
}

static size_t swap_bytes(void *arg, size_t i)
{
    struct swap_job *j = arg;
    return RECORD_HEADER_SIZE + se__record_size(j->swaps[i].item, j->swaps[i].life.kind);
}

static void swap_put(void *arg, size_t i, struct resp *c)
{
    struct swap_job *j = arg;
    const struct swap *s = &j->swaps[i];
    se__resp_arg(c, s->header, s->header_len);
    se__put_record(c, s->item, s->life, j->op->generation);
}

static bool swap_take(void *arg, size_t i, const redisReply *result)
{
    struct swap_job *j = arg;
    return se__reply_yes_or_no(result, &j->swaps[i].done);
}

static void swap(struct op *op, struct swap *swaps, size_t n,
                 void (*run)(struct op *op, const struct script_batch *batch))
{
    struct swap_job job = {.op = op, .swaps = swaps};
    struct script_batch batch = {.script = SCRIPT_SWAP,
                                 .n = n,
                                 .arg = &job,
                                 .id = swap_id,
                                 .bytes = swap_bytes,
                                 .put = swap_put,
                                 .take = swap_take};
    run(op, &batch);
}

void se__swap_all(struct op *op, struct swap *swaps, size_t n)
{
    swap(op, swaps, n, se__op_scripts);
}

void se__swap_and_leave(struct op *op, struct swap *swaps, size_t n)
{
    swap(op, swaps, n, se__op_scripts_left);
}
