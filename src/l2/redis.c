/*
 * redis - see redis.h: opening and identity.
 *
 * A key is `<prefix><id>`, its value one record (item/record.h).
 */
#include "l2/op.h"

#include <hiredis/hiredis.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define SHARED_IDS_MAX 100u /* of several callers in one pipeline */

/* ---- connections ---- */

static void meet(struct redis *r, const char *identity)
{
    se__mutex_lock(&r->lock);
    bool changed = strcmp(r->last, identity) != 0;
    bool first = r->last[0] == '\0';
    snprintf(r->last, sizeof r->last, "%s", identity);
    se__mutex_unlock(&r->lock);
    if (!changed || first)
        return;
    se__log(&r->log, SE_LOG_WARN, "redis.restarted",
            (const struct se__field[]){se__text("address", r->address), {0}},
            "redis %s: another server, or the same one restarted", r->address);
    se__pool_drop_idle(r->readers);
}

static se_result open_session(void *arg, uint64_t deadline_ms, void **connection)
{
    struct redis *r = arg;
    struct session *s = NULL;
    se_result result = se__session_open(&r->url, deadline_ms, &s);
    if (result != SE_OK)
        return result;
    meet(r, s->identity);
    *connection = s;
    return SE_OK;
}

static void close_session(void *arg, void *connection)
{
    (void)arg;
    se__session_close(connection);
}

static bool session_broken(void *arg, void *connection)
{
    (void)arg;
    return se__resp_broken(((struct session *)connection)->resp);
}

static se_result open_pool(struct redis *r, const char *name, unsigned size, struct pool **pool)
{
    struct pool_options o = {.name = name,
                             .arg = r,
                             .open = open_session,
                             .close = close_session,
                             .broken = session_broken,
                             .size = size ? size : 1,
                             .connect_ms = r->timeout_ms};
    return se__pool_open(&o, pool);
}

static se_result open_sharing(struct redis *r, unsigned connections)
{
    struct combiner_options o = {.name = r->address,
                                 .slots = connections ? connections : 1,
                                 .ids_max = SHARED_IDS_MAX,
                                 .arg = r,
                                 .read = se__redis_read_now};
    return se__combine_open(&o, &r->sharing);
}

/* ---- identity ---- */

bool se__redis_identity(struct redis *r, char identity[128])
{
    se__mutex_lock(&r->lock);
    memcpy(identity, r->last, sizeof r->last);
    bool accepted = r->last[0] && (r->home || strcmp(r->last, r->accepted) == 0);
    se__mutex_unlock(&r->lock);
    return accepted;
}

void se__redis_accept(struct redis *r, const char *identity, uint64_t generation)
{
    se__mutex_lock(&r->lock);
    snprintf(r->accepted, sizeof r->accepted, "%s", identity);
    r->generation = generation;
    se__mutex_unlock(&r->lock);
}

uint64_t se__redis_generation(struct redis *r)
{
    se__mutex_lock(&r->lock);
    uint64_t generation = r->generation;
    se__mutex_unlock(&r->lock);
    return generation;
}

/* ---- prepare, probe ---- */

static void on_pong(void *arg, size_t index, const redisReply *reply)
{
    struct op *op = arg;
    (void)index;
    if (se__op_check(op, se__reply_class(reply), reply) && !se__reply_is_status(reply, "PONG"))
        se__op_garbage(op);
}

static void ping(struct op *op)
{
    se__resp_begin(op->session->resp, 1);
    se__resp_text(op->session->resp, "PING");
    se__op_exchange(op, on_pong, op);
}

static struct tier_reply redis_probe(void *tier, uint64_t deadline_ms)
{
    struct redis *r = tier;
    struct op op;
    if (se__op_begin(&op, r, r->readers, deadline_ms))
        ping(&op);
    return se__op_end(&op);
}

static se_result redis_prepare(void *tier, uint64_t deadline_ms)
{
    struct redis *r = tier;
    struct op op;
    bool cluster = false;
    if (se__op_begin(&op, r, r->readers, deadline_ms)) {
        cluster = op.session->cluster;
        ping(&op);
    }
    struct tier_reply reply = se__op_end(&op);
    if (reply.fault != TIER_FINE)
        return reply.timed_out ? se__error(SE_ERR_TIMEOUT, "%s", se_errmsg()) : SE_ERR_BACKEND;
    if (cluster)
        return se__error(SE_ERR_CONFIG,
                         "redis %s: a node of a Redis Cluster, which this version cannot use",
                         r->address);
    return SE_OK;
}

/* ---- open, close ---- */

static size_t redis_payload_max(void *tier)
{
    (void)tier;
    return 0;
}

static unsigned redis_writers_max(void *tier)
{
    (void)tier;
    return UINT_MAX;
}

static void redis_close(void *tier)
{
    struct redis *r = tier;
    if (!r)
        return;
    /* The writers' thread may still drop the readers' idle connections
     * (meet), never the other way round. */
    se__pool_close(r->writers);
    se__pool_close(r->readers);
    se__combine_close(r->sharing);
    se__mutex_done(&r->lock);
    se__url_done(&r->url);
    se__free(r->prefix);
    se__free(r);
}

static const struct tier_ops OPS = {.name = "redis",
                                    .prepare = redis_prepare,
                                    .probe = redis_probe,
                                    .write = se__redis_write,
                                    .read = se__redis_read,
                                    .list = se__redis_list,
                                    .survey = se__redis_survey,
                                    .meta_get = se__redis_meta_get,
                                    .meta_put = se__redis_meta_put,
                                    .meta_add = se__redis_meta_add,
                                    .meta_delete = se__redis_meta_delete,
                                    .meta_list = se__redis_meta_list,
                                    .payload_max = redis_payload_max,
                                    .writers_max = redis_writers_max,
                                    .close = redis_close};

static bool copy_text(const char *from, char **to)
{
    *to = se__strdup(from);
    return *to || !from;
}

static uint64_t tombstone_life(const struct redis_options *o)
{
    uint64_t px = o->tombstone_ms;
    if (px == 0)
        px = o->home ? HOME_TOMBSTONE_PX_MS : MARK_PX_MS;
    px = px < MARK_PX_MS ? MARK_PX_MS : px;
    return px < PX_MAX ? px : PX_MAX;
}

static se_result copy_options(struct redis *r, const struct redis_options *o)
{
    const struct url *u = o->url;
    r->url = (struct url){.scheme = u->scheme, .port = u->port, .db = u->db};
    bool ok = copy_text(u->user, &r->url.user);
    ok = copy_text(u->password, &r->url.password) && ok;
    ok = copy_text(u->host, &r->url.host) && ok;
    ok = copy_text(u->path, &r->url.path) && ok;
    ok = copy_text(o->prefix ? o->prefix : "", &r->prefix) && ok;
    if (!ok)
        return se__error_nomem();
    se__url_describe(u, r->address, sizeof r->address);
    r->prefix_len = strlen(r->prefix);
    r->timeout_ms = o->timeout_ms;
    r->workers = o->workers;
    r->home = o->home;
    r->tombstone_ms = tombstone_life(o);
    if (o->log)
        r->log = *o->log;
    return SE_OK;
}

se_result se__redis_open(const struct redis_options *options, struct tier *tier,
                         struct redis **redis)
{
    struct redis *r = se__alloc_zeroed(1, sizeof *r);
    if (!r)
        return se__error_nomem();
    se__mutex_init(&r->lock);
    se_result result = copy_options(r, options);
    if (result == SE_OK)
        result = open_pool(r, "se-redis-read", options->read_connections, &r->readers);
    if (result == SE_OK)
        result = open_pool(r, "se-redis-write", options->workers, &r->writers);
    if (result == SE_OK)
        result = open_sharing(r, options->read_connections);
    if (result != SE_OK) {
        redis_close(r);
        return result;
    }
    *tier = (struct tier){.ops = &OPS, .self = r};
    *redis = r;
    return SE_OK;
}
