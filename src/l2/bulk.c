/*
 * bulk - see bulk.h.
 *
 * Why not otherwise (Redis 7.0, us of the server's CPU a key, plain SET 1.6): the guard script 3.5,
 * with one MSET at its end instead of a SET a key 3.4: the records still pass through Lua. WATCH on
 * every key and a comparison here: WATCH looks through what is watched already, key by key. A
 * function instead of a script: the same Lua. SET NX for ids believed new: nothing stops it when it
 * comes too late. This: 2.5.
 */
#include "l2/bulk.h"

#include "base/bytes.h"

#include <hiredis/hiredis.h>
#include <string.h>

#define LATCH "\x01latch"
#define LATCH_LEN (sizeof LATCH - 1)
#define COMMANDS 5u /* of a transaction */
#define KEYS_MAX 100u
#define BYTES_MAX (256u << 10)
/* Below this the five commands cost more than they save. */
#define KEYS_MIN 8u

struct chunk {
    size_t from, to; /* of the writes; those with a life between them are left out */
    size_t keys;
    bool failed; /* one of its commands was refused: the others mean nothing */
};

struct bulk {
    struct op *op;
    struct tier_write *writes;
    size_t n;
    int64_t now_wall_ms;
    struct chunk *chunks;
    size_t n_chunks;
};

static bool goes(const struct bulk *b, const struct tier_write *w)
{
    return se__life_of(b->op->r, w->item, w->kind, b->now_wall_ms).px == 0;
}

/* ---- cutting ---- */

static struct chunk next_chunk(const struct bulk *b, size_t from)
{
    struct chunk c = {.from = from};
    size_t bytes = 0, i = from;
    for (; i < b->n && c.keys < KEYS_MAX; i++) {
        const struct tier_write *w = &b->writes[i];
        if (!goes(b, w))
            continue;
        bytes += se__record_size(w->item, w->kind);
        if (bytes > BYTES_MAX && c.keys > 0)
            break;
        c.keys++;
    }
    c.to = i;
    return c;
}

static void cut(struct bulk *b)
{
    for (size_t from = 0; from < b->n;) {
        struct chunk c = next_chunk(b, from);
        from = c.to;
        if (c.keys >= KEYS_MIN)
            b->chunks[b->n_chunks++] = c;
    }
}

/* ---- out ---- */

static void put_latch(struct op *op)
{
    se__op_key(op, LATCH, LATCH_LEN);
}

static void put_key(struct op *op, const struct tier_write *w)
{
    se__op_key(op, se_item_id(w->item), se__item_id_len(w->item));
}

/* Returns where in the output the heads are to be written. */
static size_t put_open(const struct bulk *b, const struct chunk *c, uint64_t at_ms)
{
    struct op *op = b->op;
    struct resp *out = op->session->resp;
    uint8_t generation[8];
    se__put_u64(generation, op->generation);
    se__resp_begin(out, 3 + 1 + c->keys + 3);
    se__resp_text(out, "EVALSHA");
    se__resp_text(out, op->session->sha[SCRIPT_OPEN]);
    se__resp_number(out, 1 + c->keys);
    put_latch(op);
    for (size_t i = c->from; i < c->to; i++)
        if (goes(b, &b->writes[i]))
            put_key(op, &b->writes[i]);
    se__resp_number(out, at_ms);
    se__resp_arg(out, generation, sizeof generation);
    return se__resp_hole(out, OPEN_HEAD * c->keys);
}

static void put_record(const struct bulk *b, const struct tier_write *w, size_t head_at)
{
    struct resp *out = b->op->session->resp;
    size_t len = se__record_size(w->item, w->kind);
    put_key(b->op, w);
    uint8_t *record = se__resp_arg_room(out, len);
    if (!record)
        return;
    se__record_encode(w->item, w->kind, b->op->generation, record);
    uint8_t *head = se__resp_at(out, head_at);
    head[0] = record[RECORD_KIND_AT];
    memcpy(head + 1, record + RECORD_VERSION_AT, OPEN_HEAD - 1);
}

static void put_chunk(const struct bulk *b, const struct chunk *c, uint64_t at_ms)
{
    struct op *op = b->op;
    struct resp *out = op->session->resp;
    se__resp_begin(out, 1);
    se__resp_text(out, "MULTI");
    se__resp_begin(out, 3);
    se__resp_text(out, "SET");
    put_latch(op);
    se__resp_number(out, 0);
    size_t head_at = put_open(b, c, at_ms);
    se__resp_begin(out, 1 + 2 + 2 * c->keys);
    se__resp_text(out, "MSETNX");
    put_latch(op);
    se__resp_number(out, 1);
    for (size_t i = c->from; i < c->to; i++)
        if (goes(b, &b->writes[i])) {
            put_record(b, &b->writes[i], head_at);
            head_at += OPEN_HEAD;
        }
    se__resp_begin(out, 1);
    se__resp_text(out, "EXEC");
}

/* ---- in ---- */

static void mark_stored(const struct bulk *b, const struct chunk *c)
{
    for (size_t i = c->from; i < c->to; i++)
        if (goes(b, &b->writes[i]))
            b->writes[i].state = TIER_STORED;
}

/* A refusal of one command is no news: the guard will hear the same, or do without. Not so a MULTI
 * that was refused (what follows it ran by itself), a record that is too large, or a server that is
 * not the one to write to. */
static void on_refused(struct bulk *b, size_t command, const redisReply *reply)
{
    struct op *op = b->op;
    enum reply_class class = se__reply_class(reply);
    bool no_right = class == REPLY_UNWELL && strncmp(reply->str, "NOPERM", 6) == 0;
    if (no_right)
        op->session->no_bulk = true;
    else if (command == 0 || class != REPLY_UNWELL)
        (void)se__op_check(op, class, reply);
}

/* What the transaction did: SET, the script, MSETNX. */
static void on_exec(struct bulk *b, const struct chunk *c, const redisReply *reply)
{
    struct op *op = b->op;
    const redisReply *script = se__reply_element(reply, 1);
    int64_t server_ms = 0, outcome = OPEN_REFUSED, stored = 0;
    bool acted = false;
    if (se__reply_elements(reply) != 3)
        se__op_garbage(op);
    else if (script && script->type == REDIS_REPLY_ERROR)
        on_refused(b, 2, script);
    else if (!se__reply_script(script, 1, &server_ms, &acted) ||
             (acted && !se__reply_integer(se__reply_element(script, 1), &outcome)) ||
             !se__reply_integer(se__reply_element(reply, 2), &stored) ||
             stored != (acted && outcome == OPEN_DONE))
        se__op_garbage(op);
    if (server_ms)
        se__clock_learn(&op->session->clock, server_ms, se__mono_ms(), !acted);
    op->session->no_bulk = op->session->no_bulk || outcome == OPEN_CANNOT;
    if (stored == 1 && se__op_ok(op))
        mark_stored(b, c);
}

static void on_reply(void *arg, size_t index, const redisReply *reply)
{
    struct bulk *b = arg;
    struct chunk *c = &b->chunks[index / COMMANDS];
    size_t command = index % COMMANDS;
    if (se__reply_class(reply) != REPLY_FINE) {
        c->failed = true;
        on_refused(b, command, reply);
    } else if (command == COMMANDS - 1) {
        if (!c->failed)
            on_exec(b, c, reply);
    } else if (!se__reply_is_status(reply, command == 0 ? "OK" : "QUEUED")) {
        c->failed = true;
        if (!b->op->session->no_bulk) /* without MULTI they answer for themselves */
            se__op_garbage(b->op);
    }
}

void se__bulk_write(struct op *op, struct tier_write *writes, size_t n, int64_t now_wall_ms)
{
    struct bulk b = {.op = op, .writes = writes, .n = n, .now_wall_ms = now_wall_ms};
    if (n < KEYS_MIN || op->session->no_bulk || !se__op_ok(op))
        return;
    b.chunks = se__alloc_zeroed(n / KEYS_MIN + 1, sizeof *b.chunks);
    if (!b.chunks) {
        se__op_fail(op, TIER_UNWELL, "out of memory");
        return;
    }
    cut(&b);
    uint64_t at_ms = se__clock_deadline(&op->session->clock, op->deadline_ms, se__mono_ms());
    for (size_t i = 0; i < b.n_chunks; i++) {
        put_chunk(&b, &b.chunks[i], at_ms);
        se__op_push(op, on_reply, &b);
    }
    if (b.n_chunks > 0)
        se__op_exchange(op, on_reply, &b);
    se__free(b.chunks);
}
