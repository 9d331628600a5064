/*
 * meta - the engine's small named values: one Redis hash, `<prefix>\x01meta`.
 *
 * No id contains a control byte, so no item can have this key. Changes go through a script with a
 * deadline like every write: a put that timed out must not come back later over a newer one (a
 * clock's stored ceiling would go back).
 */
#include "l2/op.h"

#include <hiredis/hiredis.h>
#include <string.h>

#define META_KEY "\x01meta"

struct meta_job {
    const char *verb, *name, *value;
    struct buf *value_now; /* NULL: not wanted */
    bool found;
};

static const char *meta_id(void *arg, size_t i, size_t *len)
{
    (void)arg;
    (void)i;
    *len = strlen(META_KEY);
    return META_KEY;
}

static size_t meta_bytes(void *arg, size_t i)
{
    struct meta_job *j = arg;
    (void)i;
    return strlen(j->name) + strlen(j->value);
}

static void meta_args(void *arg, size_t i, struct resp *c)
{
    struct meta_job *j = arg;
    (void)i;
    se__resp_text(c, j->verb);
    se__resp_text(c, j->name);
    se__resp_text(c, j->value);
}

static bool meta_take(void *arg, size_t i, const redisReply *result)
{
    struct meta_job *j = arg;
    const char *bytes;
    size_t len;
    (void)i;
    j->found = se__reply_bytes(result, &bytes, &len);
    if (!j->found)
        return result && result->type == REDIS_REPLY_NIL;
    if (j->value_now) {
        se__buf_clear(j->value_now);
        se__buf_append(j->value_now, bytes, len);
    }
    return true;
}

static struct tier_reply run_meta(struct redis *r, struct meta_job *job, uint64_t deadline_ms)
{
    struct op op;
    struct script_batch batch = {.script = SCRIPT_META,
                                 .n = 1,
                                 .arg = job,
                                 .id = meta_id,
                                 .bytes = meta_bytes,
                                 .put = meta_args,
                                 .take = meta_take};
    if (se__op_begin(&op, r, r->readers, deadline_ms))
        se__op_scripts(&op, &batch);
    if (job->value_now && job->value_now->failed)
        se__op_fail(&op, TIER_UNWELL, "out of memory");
    return se__op_end(&op);
}

struct tier_reply se__redis_meta_get(void *tier, const char *name, struct buf *value, bool *found,
                                     uint64_t deadline_ms)
{
    struct meta_job job = {.verb = "get", .name = name, .value = "", .value_now = value};
    struct tier_reply reply = run_meta(tier, &job, deadline_ms);
    *found = reply.fault == TIER_FINE && job.found;
    return reply;
}

struct tier_reply se__redis_meta_put(void *tier, const char *name, const char *value,
                                     uint64_t deadline_ms)
{
    struct meta_job job = {.verb = "put", .name = name, .value = value};
    return run_meta(tier, &job, deadline_ms);
}

struct tier_reply se__redis_meta_add(void *tier, const char *name, const char *value,
                                     struct buf *value_now, uint64_t deadline_ms)
{
    struct meta_job job = {.verb = "add", .name = name, .value = value, .value_now = value_now};
    return run_meta(tier, &job, deadline_ms);
}

struct tier_reply se__redis_meta_delete(void *tier, const char *name, uint64_t deadline_ms)
{
    struct meta_job job = {.verb = "delete", .name = name, .value = ""};
    return run_meta(tier, &job, deadline_ms);
}

/* ---- all of them ---- */

struct meta_list {
    struct op *op;
    const char *prefix;
    void (*visit)(void *arg, const char *name, const char *value);
    void *arg;
};

/* A copy with its NUL; bytes with a NUL inside are none of ours. */
static char *text_of(const redisReply *reply)
{
    const char *bytes;
    size_t len;
    if (!se__reply_bytes(reply, &bytes, &len) || memchr(bytes, '\0', len))
        return NULL;
    return se__strndup(bytes, len);
}

static void visit_pair(struct meta_list *l, const redisReply *name, const redisReply *value)
{
    char *n = text_of(name), *v = text_of(value);
    if (n && v && strncmp(n, l->prefix, strlen(l->prefix)) == 0)
        l->visit(l->arg, n, v);
    se__free(n);
    se__free(v);
}

static void on_all(void *arg, size_t index, const redisReply *reply)
{
    struct meta_list *l = arg;
    (void)index;
    if (!se__op_check(l->op, se__reply_class(reply), reply))
        return;
    size_t n = se__reply_elements(reply);
    if (reply->type != REDIS_REPLY_ARRAY || n % 2 != 0) {
        se__op_garbage(l->op);
        return;
    }
    for (size_t i = 0; i < n; i += 2)
        visit_pair(l, se__reply_element(reply, i), se__reply_element(reply, i + 1));
}

struct tier_reply se__redis_meta_list(void *tier, const char *prefix,
                                      void (*visit)(void *arg, const char *name, const char *value),
                                      void *arg, uint64_t deadline_ms)
{
    struct redis *r = tier;
    struct op op;
    struct meta_list list = {.op = &op, .prefix = prefix, .visit = visit, .arg = arg};
    if (se__op_begin(&op, r, r->readers, deadline_ms)) {
        se__resp_begin(op.session->resp, 2);
        se__resp_text(op.session->resp, "HGETALL");
        se__op_key(&op, META_KEY, strlen(META_KEY));
        se__op_exchange(&op, on_all, &list);
    }
    return se__op_end(&op);
}
