/*
 * op - see op.h.
 */
#include "l2/op.h"

#include "base/bytes.h"

#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CALL_KEYS_MAX 100u
#define CALL_BYTES_MAX (256u << 10)
#define LEFT_BYTES_MAX (64u << 10)
/* The server may forget its scripts again between loading and calling, if
 * somebody flushes them in a loop. */
#define NOSCRIPT_ROUNDS 3

/* ---- faults ---- */

static void fail_va(struct op *op, enum tier_fault fault, const char *fmt, va_list args)
{
    if (op->reply.fault != TIER_FINE)
        return;
    op->reply.fault = fault;
    vsnprintf(op->words, sizeof op->words, fmt, args);
}

void se__op_unaccepted(struct op *op)
{
    se__op_fail(op, TIER_UNWELL, "this server has not been accepted yet");
    op->reply.rejected = true;
}

void se__op_fail(struct op *op, enum tier_fault fault, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail_va(op, fault, fmt, args);
    va_end(args);
}

void se__op_garbage(struct op *op)
{
    op->broken = true;
    se__op_fail(op, TIER_UNWELL, "an answer that is none to what was asked");
}

/* A result of base or of the pool: everything that is not an answer. */
static void fail_result(struct op *op, se_result r)
{
    if (op->reply.fault != TIER_FINE)
        return;
    op->reply.timed_out = r == SE_ERR_TIMEOUT;
    se__op_fail(op, TIER_UNWELL, "%s", se_errmsg());
}

bool se__op_check(struct op *op, enum reply_class class, const redisReply *reply)
{
    char words[256];
    if (class == REPLY_FINE)
        return true;
    if (class == REPLY_NOSCRIPT) {
        op->noscript = true;
        return false;
    }
    if (class != REPLY_UNWELL)
        op->broken = true;
    se__reply_words(reply, op->r->url.password, words, sizeof words);
    se__op_fail(op, class == REPLY_REFUSED ? TIER_REFUSED : TIER_UNWELL, "%s", words);
    return false;
}

/* ---- session ---- */

/* Is this session's server the one to use, and if not, is it at least the one last met? */
static bool settle(struct op *op)
{
    struct redis *r = op->r;
    const char *identity = op->session->identity;
    se__mutex_lock(&r->lock);
    op->generation = r->generation;
    op->accepted = r->home || strcmp(identity, r->accepted) == 0;
    bool current = op->accepted || strcmp(identity, r->last) == 0;
    se__mutex_unlock(&r->lock);
    return current;
}

void se__op_renew(struct op *op, uint64_t deadline_ms)
{
    uint64_t soonest_ms = se__deadline_in(op->r->timeout_ms);
    op->had_all_its_time = soonest_ms <= deadline_ms;
    op->deadline_ms = op->had_all_its_time ? soonest_ms : deadline_ms;
}

bool se__op_begin(struct op *op, struct redis *r, struct pool *pool, uint64_t deadline_ms)
{
    *op = (struct op){.r = r, .pool = pool};
    se__op_renew(op, deadline_ms);
    for (;;) {
        void *connection = NULL;
        se_result got = se__pool_take(pool, op->deadline_ms, &connection);
        if (got != SE_OK) {
            fail_result(op, got);
            return false;
        }
        op->session = connection;
        if (settle(op))
            return true;
        /* Still connected to a server that has been succeeded by another: never again. */
        se__pool_give(pool, op->session, true);
        op->session = NULL;
    }
}

struct tier_reply se__op_end(struct op *op)
{
    if (op->session)
        se__pool_give(op->pool, op->session, op->broken || op->session->doubtful);
    op->session = NULL;
    if (op->reply.fault != TIER_FINE)
        se__error(SE_ERR_BACKEND, "redis %s: %s", op->r->address, op->words);
    return op->reply;
}

void se__op_push(struct op *op, resp_reply_fn on_reply, void *arg)
{
    se__resp_push(op->session->resp, op->deadline_ms, on_reply, arg);
}

void se__op_exchange(struct op *op, resp_reply_fn on_reply, void *arg)
{
    se_result r = se__resp_exchange(op->session->resp, op->deadline_ms, on_reply, arg);
    if (r == SE_OK)
        return;
    op->broken = true;
    fail_result(op, r);
    /* Its peers' connections went with the server; let them not be found dead one by one. So, too, when the peer may have vanished
     * without a word: each of them would cost somebody a timeout, even when the server is long back. */
    if (r == SE_ERR_BACKEND || (r == SE_ERR_TIMEOUT && op->had_all_its_time))
        se__pool_drop_idle(op->pool);
}

void se__op_key(struct op *op, const char *id, size_t id_len)
{
    se__resp_arg2(op->session->resp, op->r->prefix, op->r->prefix_len, id, id_len);
}

/* ---- scripts ---- */

struct run {
    struct op *op;
    const struct script_batch *batch;
    size_t *starts; /* the first key of each call, and n at the end */
    size_t calls;
};

/* The end of the call that begins at key `from`. */
static size_t call_end(const struct script_batch *b, size_t from)
{
    size_t i = from, bytes = 0;
    do {
        bytes += b->bytes(b->arg, i++);
    } while (i < b->n && i - from < CALL_KEYS_MAX && bytes + b->bytes(b->arg, i) <= CALL_BYTES_MAX);
    return i;
}

static void send_call(const struct run *run, size_t from, size_t to, uint64_t server_deadline_ms)
{
    const struct script_batch *b = run->batch;
    struct op *op = run->op;
    struct resp *c = op->session->resp;
    uint8_t generation[8];
    size_t keys = to - from;
    se__put_u64(generation, op->generation);
    se__resp_begin(c, 3 + keys + 2 + keys * se__script_args_per_key(b->script));
    se__resp_text(c, "EVALSHA");
    se__resp_text(c, op->session->sha[b->script]);
    se__resp_number(c, keys);
    for (size_t i = from; i < to; i++) {
        size_t len = 0;
        const char *id = b->id(b->arg, i, &len);
        se__op_key(op, id, len);
    }
    se__resp_number(c, server_deadline_ms);
    se__resp_arg(c, generation, sizeof generation);
    for (size_t i = from; i < to; i++)
        b->put(b->arg, i, c);
}

static void on_call(void *arg, size_t index, const redisReply *reply)
{
    struct run *run = arg;
    struct op *op = run->op;
    int64_t server_ms = 0;
    bool acted = false;
    if (!se__op_check(op, se__reply_class(reply), reply))
        return;
    size_t from = run->starts[index], to = run->starts[index + 1];
    if (!se__reply_script(reply, to - from, &server_ms, &acted)) {
        se__op_garbage(op);
        return;
    }
    se__clock_learn(&op->session->clock, server_ms, se__mono_ms(), !acted);
    op->late = op->late || !acted;
    for (size_t i = from; acted && i < to; i++)
        if (!run->batch->take(run->batch->arg, i, se__reply_element(reply, i - from + 1)))
            se__op_garbage(op);
}

static void run_once(struct run *run)
{
    struct op *op = run->op;
    uint64_t at_ms = se__clock_deadline(&op->session->clock, op->deadline_ms, se__mono_ms());
    op->noscript = op->late = false;
    for (size_t i = 0; i < run->calls; i++) {
        send_call(run, run->starts[i], run->starts[i + 1], at_ms);
        se__op_push(op, on_call, run);
    }
    se__op_exchange(op, on_call, run);
}

/* Somewhere in the pipeline the deadline had passed. If by our clock it has not, the server's has
 * jumped or was estimated too early: that has been learnt, and the call may be repeated. */
static void fail_late(struct op *op)
{
    if (op->reply.fault != TIER_FINE)
        return;
    op->reply.timed_out = se__deadline_left(op->deadline_ms) == 0;
    se__op_fail(op, TIER_UNWELL, "%s",
                op->reply.timed_out
                    ? "the deadline passed before the server came to it"
                    : "by the server's clock, which is now known, it came too late");
}

static void run_loaded(struct run *run)
{
    struct op *op = run->op;
    for (int round = 0; round < NOSCRIPT_ROUNDS; round++) {
        run_once(run);
        if (op->late)
            fail_late(op);
        if (op->reply.fault != TIER_FINE || !op->noscript)
            return;
        se_result r = se__session_load(op->session, op->deadline_ms);
        if (r != SE_OK) {
            op->broken = true;
            fail_result(op, r);
            return;
        }
    }
    se__op_fail(op, TIER_UNWELL, "the server keeps forgetting its scripts");
}

static void run_left(struct run *run)
{
    struct op *op = run->op;
    uint64_t at_ms = se__clock_deadline(&op->session->clock, op->deadline_ms, se__mono_ms());
    for (size_t i = 0; i < run->calls; i++)
        send_call(run, run->starts[i], run->starts[i + 1], at_ms);
    se_result r = se__resp_leave(op->session->resp, op->deadline_ms);
    if (r == SE_OK)
        return;
    op->broken = true;
    fail_result(op, r);
}

static void split_and_run(struct op *op, const struct script_batch *batch,
                          void (*how)(struct run *run))
{
    struct run run = {.op = op, .batch = batch};
    size_t few[2] = {0};
    if (batch->n == 0 || op->reply.fault != TIER_FINE)
        return;
    run.starts = batch->n == 1 ? few : se__alloc_zeroed(batch->n + 1, sizeof *run.starts);
    if (!run.starts) {
        fail_result(op, se__error_nomem());
        return;
    }
    for (size_t from = 0; from < batch->n; from = run.starts[run.calls])
        run.starts[++run.calls] = call_end(batch, from);
    how(&run);
    if (run.starts != few)
        se__free(run.starts);
}

void se__op_scripts(struct op *op, const struct script_batch *batch)
{
    split_and_run(op, batch, run_loaded);
}

void se__op_scripts_left(struct op *op, const struct script_batch *batch)
{
    size_t bytes = 0;
    for (size_t i = 0; i < batch->n && bytes <= LEFT_BYTES_MAX; i++)
        bytes += batch->bytes(batch->arg, i);
    bool wait = bytes > LEFT_BYTES_MAX || op->session->forgotten;
    op->session->forgotten = false;
    split_and_run(op, batch, wait ? run_loaded : run_left);
}
