/*
 * hold - the tier around the home tier that holds data calls back until the engine is attached.
 *
 * Before that nothing may be read from or drained into what could be the wrong database, and no
 * version may be written below the ceilings of earlier runs. Held calls are answered TIER_UNWELL,
 * rejected; meta calls, which attachment itself makes, pass.
 *
 * It stands outside of the circuit breaker: a tier that is not attached is no failure of the
 * backend, and must not use up the half-open probes that attachment needs.
 *
 * Threads: any.  Memory: owns the tier that it wraps.
 */
#include "base/mem.h"
#include "engine/engine.h"

struct hold {
    se_engine *e;
    struct tier inner;
};

static struct tier_reply not_attached(void)
{
    se__error(SE_ERR_BACKEND, "the home tier is not attached yet");
    return (struct tier_reply){.fault = TIER_UNWELL, .rejected = true};
}

static bool is_attached(const struct hold *h)
{
    /* acquire: pairs with the release at the end of se__attach_home. */
    return atomic_load_explicit(&h->e->attached, memory_order_acquire);
}

static se_result hold_prepare(void *self, uint64_t deadline_ms)
{
    struct hold *h = self;
    return h->inner.ops->prepare(h->inner.self, deadline_ms);
}

static struct tier_reply hold_probe(void *self, uint64_t deadline_ms)
{
    struct hold *h = self;
    return h->inner.ops->probe(h->inner.self, deadline_ms);
}

static struct tier_reply hold_write(void *self, unsigned worker, struct tier_write *writes,
                                    size_t n, uint64_t deadline_ms)
{
    struct hold *h = self;
    return is_attached(h) ? h->inner.ops->write(h->inner.self, worker, writes, n, deadline_ms)
                          : not_attached();
}

static struct tier_reply hold_read(void *self, struct tier_read *reads, size_t n,
                                   uint64_t deadline_ms)
{
    struct hold *h = self;
    return is_attached(h) ? h->inner.ops->read(h->inner.self, reads, n, deadline_ms)
                          : not_attached();
}

static struct tier_reply hold_scan(void *self, const struct tier_scan *scan, struct tier_page *page,
                                   uint64_t deadline_ms)
{
    struct hold *h = self;
    return is_attached(h) ? h->inner.ops->scan(h->inner.self, scan, page, deadline_ms)
                          : not_attached();
}

static struct tier_reply hold_count(void *self, const struct tier_scan *scan, uint64_t *count,
                                    uint64_t deadline_ms)
{
    struct hold *h = self;
    return is_attached(h) ? h->inner.ops->count(h->inner.self, scan, count, deadline_ms)
                          : not_attached();
}

static struct tier_reply hold_list(void *self, const char *prefix, struct tier_ids *ids,
                                   uint64_t deadline_ms)
{
    struct hold *h = self;
    return is_attached(h) ? h->inner.ops->list(h->inner.self, prefix, ids, deadline_ms)
                          : not_attached();
}

static struct tier_reply hold_meta_get(void *self, const char *name, struct buf *value, bool *found,
                                       uint64_t deadline_ms)
{
    struct hold *h = self;
    return h->inner.ops->meta_get(h->inner.self, name, value, found, deadline_ms);
}

static struct tier_reply hold_meta_put(void *self, const char *name, const char *value,
                                       uint64_t deadline_ms)
{
    struct hold *h = self;
    return h->inner.ops->meta_put(h->inner.self, name, value, deadline_ms);
}

static struct tier_reply hold_meta_add(void *self, const char *name, const char *value,
                                       struct buf *value_now, uint64_t deadline_ms)
{
    struct hold *h = self;
    return h->inner.ops->meta_add(h->inner.self, name, value, value_now, deadline_ms);
}

static struct tier_reply hold_meta_delete(void *self, const char *name, uint64_t deadline_ms)
{
    struct hold *h = self;
    return h->inner.ops->meta_delete(h->inner.self, name, deadline_ms);
}

static struct tier_reply hold_meta_list(void *self, const char *prefix,
                                        void (*visit)(void *arg, const char *name,
                                                      const char *value),
                                        void *arg, uint64_t deadline_ms)
{
    struct hold *h = self;
    return h->inner.ops->meta_list(h->inner.self, prefix, visit, arg, deadline_ms);
}

static struct tier_reply hold_purge(void *self, size_t limit, size_t *purged, uint64_t deadline_ms)
{
    struct hold *h = self;
    return is_attached(h) ? h->inner.ops->purge(h->inner.self, limit, purged, deadline_ms)
                          : not_attached();
}

static struct tier_reply hold_survey(void *self, const struct tier_survey *survey,
                                     struct tier_cursor *cursor, struct tier_sights *sights,
                                     uint64_t deadline_ms)
{
    struct hold *h = self;
    return is_attached(h) ? h->inner.ops->survey(h->inner.self, survey, cursor, sights, deadline_ms)
                          : not_attached();
}

static struct tier_reply hold_digest(void *self, const struct tier_digest *digest,
                                     struct tier_node *nodes, uint64_t deadline_ms)
{
    struct hold *h = self;
    return is_attached(h) ? h->inner.ops->digest(h->inner.self, digest, nodes, deadline_ms)
                          : not_attached();
}

static struct tier_reply hold_mend(void *self, const struct tier_read *seen,
                                   struct tier_write *write, uint64_t deadline_ms)
{
    struct hold *h = self;
    return is_attached(h) ? h->inner.ops->mend(h->inner.self, seen, write, deadline_ms)
                          : not_attached();
}

static void hold_interrupt(void *self)
{
    struct hold *h = self;
    h->inner.ops->interrupt(h->inner.self);
}

static size_t hold_payload_max(void *self)
{
    struct hold *h = self;
    return h->inner.ops->payload_max(h->inner.self);
}

static unsigned hold_writers_max(void *self)
{
    struct hold *h = self;
    return h->inner.ops->writers_max(h->inner.self);
}

static void hold_close(void *self)
{
    struct hold *h = self;
    h->inner.ops->close(h->inner.self);
    se__free(h);
}

/* Two tables, so that an operation the home tier lacks stays absent. */
static const struct tier_ops hold_sql_ops = {
    .name = "home",
    .prepare = hold_prepare,
    .probe = hold_probe,
    .write = hold_write,
    .read = hold_read,
    .scan = hold_scan,
    .count = hold_count,
    .meta_get = hold_meta_get,
    .meta_put = hold_meta_put,
    .meta_add = hold_meta_add,
    .meta_delete = hold_meta_delete,
    .meta_list = hold_meta_list,
    .purge = hold_purge,
    .survey = hold_survey,
    .digest = hold_digest,
    .mend = hold_mend,
    .interrupt = hold_interrupt,
    .payload_max = hold_payload_max,
    .writers_max = hold_writers_max,
    .close = hold_close,
};
static const struct tier_ops hold_redis_ops = {
    .name = "home",
    .prepare = hold_prepare,
    .probe = hold_probe,
    .write = hold_write,
    .read = hold_read,
    .list = hold_list,
    .survey = hold_survey,
    .interrupt = hold_interrupt,
    .meta_get = hold_meta_get,
    .meta_put = hold_meta_put,
    .meta_add = hold_meta_add,
    .meta_delete = hold_meta_delete,
    .meta_list = hold_meta_list,
    .payload_max = hold_payload_max,
    .writers_max = hold_writers_max,
    .close = hold_close,
};

se_result se__hold(se_engine *e, struct tier inner, struct tier *out)
{
    struct hold *h = se__alloc_zeroed(1, sizeof *h);
    if (!h)
        return se__error_nomem();
    *h = (struct hold){.e = e, .inner = inner};
    *out = (struct tier){.ops = e->home_is_l3 ? &hold_sql_ops : &hold_redis_ops, .self = h};
    return SE_OK;
}
