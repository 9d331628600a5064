/*
 * guarded - see guarded.h. How often a call is made is decided in guard.c.
 *
 * Every operation is packed into a `struct call`. What it hands out is emptied before each attempt,
 * so that a repeated call never adds to what a failed one left.
 *
 * Metrics: one per id for reads and writes, by how the call ended; attempts are timed one by one. A
 * call that the circuit rejects is a rejection and no operation. A refused write of several records
 * is not counted: the caller splits it and every record is counted when it is alone.
 */
#include "tier/guard.h"

#include "base/mem.h"

static const struct series REDIS_SERIES = {.hit = M_OPS_L2_GET_HIT,
                                           .miss = M_OPS_L2_GET_MISS,
                                           .get_error = M_OPS_L2_GET_ERROR,
                                           .put_ok = M_OPS_L2_PUT_OK,
                                           .put_lost = M_OPS_L2_PUT_LOST,
                                           .put_error = M_OPS_L2_PUT_ERROR,
                                           .get_seconds = M_L2_GET_SECONDS,
                                           .put_seconds = M_L2_PUT_SECONDS,
                                           .scan_seconds = M_L2_SCAN_SECONDS,
                                           .probe_seconds = M_L2_PROBE_SECONDS,
                                           .get_bytes = M_L2_GET_BYTES,
                                           .put_bytes = M_L2_PUT_BYTES,
                                           .circuit = M_CIRCUIT_REDIS,
                                           .opened = M_CIRCUIT_REDIS_OPENED,
                                           .half = M_CIRCUIT_REDIS_HALF,
                                           .closed = M_CIRCUIT_REDIS_CLOSED,
                                           .rejected = M_CIRCUIT_REDIS_REJECTED,
                                           .retries = M_RETRIES_REDIS,
                                           .up = M_UP_REDIS};
static const struct series SQL_SERIES = {.hit = M_OPS_L3_GET_HIT,
                                         .miss = M_OPS_L3_GET_MISS,
                                         .get_error = M_OPS_L3_GET_ERROR,
                                         .put_ok = M_OPS_L3_PUT_OK,
                                         .put_lost = M_OPS_L3_PUT_LOST,
                                         .put_error = M_OPS_L3_PUT_ERROR,
                                         .get_seconds = M_L3_GET_SECONDS,
                                         .put_seconds = M_L3_PUT_SECONDS,
                                         .scan_seconds = M_L3_SCAN_SECONDS,
                                         .probe_seconds = M_L3_PROBE_SECONDS,
                                         .get_bytes = M_L3_GET_BYTES,
                                         .put_bytes = M_L3_PUT_BYTES,
                                         .circuit = M_CIRCUIT_SQL,
                                         .opened = M_CIRCUIT_SQL_OPENED,
                                         .half = M_CIRCUIT_SQL_HALF,
                                         .closed = M_CIRCUIT_SQL_CLOSED,
                                         .rejected = M_CIRCUIT_SQL_REJECTED,
                                         .retries = M_RETRIES_SQL,
                                         .up = M_UP_SQL};

static struct tier_reply unsupported(const struct guarded *g, const char *what)
{
    se__error(SE_ERR_UNSUPPORTED, "%s cannot %s", g->ops.name, what);
    return (struct tier_reply){.fault = TIER_REFUSED};
}

/* ---- the operations ---- */

static size_t bytes_of(const se_item *item)
{
    return item ? se__item_id_len(item) + se_item_content_len(item) : 0;
}

static void count_reads(const struct guarded *g, const struct call *c,
                        const struct tier_reply *reply)
{
    uint64_t hits = 0, misses = 0, bytes = 0;
    if (reply->rejected)
        return;
    for (size_t i = 0; reply->fault == TIER_FINE && i < c->n; i++) {
        hits += c->reads[i].found == TIER_HIT;
        bytes += c->reads[i].found == TIER_HIT ? bytes_of(c->reads[i].item) : 0;
        misses += c->reads[i].found == TIER_ABSENT || c->reads[i].found == TIER_VOID;
    }
    se__metrics_add(g->metrics, g->series->hit, hits);
    se__metrics_add(g->metrics, g->series->miss, misses);
    se__metrics_add(g->metrics, g->series->get_error, c->n - hits - misses);
    se__metrics_add(g->metrics, g->series->get_bytes, bytes);
}

static void count_writes(const struct guarded *g, const struct call *c,
                         const struct tier_reply *reply)
{
    uint64_t ok = 0, lost = 0, bytes = 0;
    if (reply->rejected || (reply->fault == TIER_REFUSED && c->n > 1))
        return;
    for (size_t i = 0; reply->fault == TIER_FINE && i < c->n; i++) {
        ok += c->writes[i].state == TIER_STORED;
        lost += c->writes[i].state == TIER_NEWER;
        bytes += c->writes[i].state == TIER_STORED ? bytes_of(c->writes[i].item) : 0;
    }
    se__metrics_add(g->metrics, g->series->put_ok, ok);
    se__metrics_add(g->metrics, g->series->put_lost, lost);
    se__metrics_add(g->metrics, g->series->put_error, c->n - ok - lost);
    se__metrics_add(g->metrics, g->series->put_bytes, bytes);
}

static struct tier_reply run_probe(const struct guarded *g, struct call *c)
{
    return g->inner.ops->probe(g->inner.self, c->deadline_ms);
}

static struct tier_reply guarded_probe(void *tier, uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->probe)
        return unsupported(g, "be probed");
    return se__guard(g, &(struct call){.run = run_probe,
                                       .deadline_ms = deadline_ms,
                                       .seconds = g->series->probe_seconds});
}

static struct tier_reply run_write(const struct guarded *g, struct call *c)
{
    for (size_t i = 0; i < c->n; i++)
        c->writes[i].state = TIER_NOT_TRIED;
    return g->inner.ops->write(g->inner.self, c->worker, c->writes, c->n, c->deadline_ms);
}

static struct tier_reply guarded_write(void *tier, unsigned worker, struct tier_write *writes,
                                       size_t n, uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->write)
        return unsupported(g, "write");
    struct call c = {.run = run_write,
                     .deadline_ms = deadline_ms,
                     .seconds = g->series->put_seconds,
                     .worker = worker,
                     .writes = writes,
                     .n = n};
    struct tier_reply reply = se__guard(g, &c);
    count_writes(g, &c, &reply);
    return reply;
}

static void empty_reads(struct call *c)
{
    for (size_t i = 0; i < c->n; i++) {
        se_item_release(c->reads[i].item);
        c->reads[i].item = NULL;
        c->reads[i].found = TIER_ABSENT;
        c->reads[i].seen_len = 0;
    }
}

static struct tier_reply run_read(const struct guarded *g, struct call *c)
{
    for (size_t i = 0; i < c->n; i++)
        c->reads[i].item = NULL; /* whatever the caller's array held */
    struct tier_reply reply = g->inner.ops->read(g->inner.self, c->reads, c->n, c->deadline_ms);
    if (reply.fault != TIER_FINE)
        empty_reads(c);
    return reply;
}

static struct tier_reply guarded_read(void *tier, struct tier_read *reads, size_t n,
                                      uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->read)
        return unsupported(g, "read");
    struct call c = {.run = run_read,
                     .deadline_ms = deadline_ms,
                     .seconds = g->series->get_seconds,
                     .reads = reads,
                     .n = n};
    struct tier_reply reply = se__guard(g, &c);
    count_reads(g, &c, &reply);
    return reply;
}

static struct tier_reply run_scan(const struct guarded *g, struct call *c)
{
    *c->page = (struct tier_page){0};
    struct tier_reply reply = g->inner.ops->scan(g->inner.self, c->scan, c->page, c->deadline_ms);
    if (reply.fault != TIER_FINE)
        se__tier_page_done(c->page);
    return reply;
}

static struct tier_reply guarded_scan(void *tier, const struct tier_scan *scan,
                                      struct tier_page *page, uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->scan)
        return unsupported(g, "scan");
    return se__guard(g, &(struct call){.run = run_scan,
                                       .deadline_ms = deadline_ms,
                                       .seconds = g->series->scan_seconds,
                                       .scan = scan,
                                       .page = page});
}

static struct tier_reply run_count(const struct guarded *g, struct call *c)
{
    return g->inner.ops->count(g->inner.self, c->scan, c->count, c->deadline_ms);
}

static struct tier_reply guarded_count(void *tier, const struct tier_scan *scan, uint64_t *count,
                                       uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->count)
        return unsupported(g, "count");
    return se__guard(g, &(struct call){.run = run_count,
                                       .deadline_ms = deadline_ms,
                                       .seconds = g->series->scan_seconds,
                                       .scan = scan,
                                       .count = count});
}

static struct tier_reply run_list(const struct guarded *g, struct call *c)
{
    *c->ids = (struct tier_ids){0};
    struct tier_reply reply = g->inner.ops->list(g->inner.self, c->name, c->ids, c->deadline_ms);
    if (reply.fault != TIER_FINE)
        se__tier_ids_done(c->ids);
    return reply;
}

static struct tier_reply guarded_list(void *tier, const char *prefix, struct tier_ids *ids,
                                      uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->list)
        return unsupported(g, "list ids");
    return se__guard(g, &(struct call){.run = run_list,
                                       .deadline_ms = deadline_ms,
                                       .seconds = g->series->scan_seconds,
                                       .name = prefix,
                                       .ids = ids});
}

/* ---- meta ---- */

static void cut_back(struct call *c)
{
    if (c->out && c->out->len > c->out_len)
        c->out->len = c->out_len;
}

static struct tier_reply run_meta_get(const struct guarded *g, struct call *c)
{
    cut_back(c);
    return g->inner.ops->meta_get(g->inner.self, c->name, c->out, c->found, c->deadline_ms);
}

static struct tier_reply guarded_meta_get(void *tier, const char *name, struct buf *value,
                                          bool *found, uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->meta_get)
        return unsupported(g, "keep named values");
    return se__guard(g, &(struct call){.run = run_meta_get,
                                       .deadline_ms = deadline_ms,
                                       .seconds = METRIC_COUNT,
                                       .name = name,
                                       .out = value,
                                       .out_len = value->len,
                                       .found = found});
}

static struct tier_reply run_meta_put(const struct guarded *g, struct call *c)
{
    return g->inner.ops->meta_put(g->inner.self, c->name, c->value, c->deadline_ms);
}

static struct tier_reply guarded_meta_put(void *tier, const char *name, const char *value,
                                          uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->meta_put)
        return unsupported(g, "keep named values");
    return se__guard(g, &(struct call){.run = run_meta_put,
                                       .deadline_ms = deadline_ms,
                                       .seconds = METRIC_COUNT,
                                       .name = name,
                                       .value = value});
}

static struct tier_reply run_meta_add(const struct guarded *g, struct call *c)
{
    cut_back(c);
    return g->inner.ops->meta_add(g->inner.self, c->name, c->value, c->out, c->deadline_ms);
}

static struct tier_reply guarded_meta_add(void *tier, const char *name, const char *value,
                                          struct buf *value_now, uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->meta_add)
        return unsupported(g, "keep named values");
    return se__guard(g, &(struct call){.run = run_meta_add,
                                       .deadline_ms = deadline_ms,
                                       .seconds = METRIC_COUNT,
                                       .name = name,
                                       .value = value,
                                       .out = value_now,
                                       .out_len = value_now ? value_now->len : 0});
}

static struct tier_reply run_meta_delete(const struct guarded *g, struct call *c)
{
    return g->inner.ops->meta_delete(g->inner.self, c->name, c->deadline_ms);
}

static struct tier_reply guarded_meta_delete(void *tier, const char *name, uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->meta_delete)
        return unsupported(g, "keep named values");
    return se__guard(g, &(struct call){.run = run_meta_delete,
                                       .deadline_ms = deadline_ms,
                                       .seconds = METRIC_COUNT,
                                       .name = name});
}

static void note_visit(void *arg, const char *name, const char *value)
{
    struct call *c = arg;
    c->visited = true;
    c->visit(c->visit_arg, name, value);
}

static struct tier_reply run_meta_list(const struct guarded *g, struct call *c)
{
    return g->inner.ops->meta_list(g->inner.self, c->name, note_visit, c, c->deadline_ms);
}

static struct tier_reply guarded_meta_list(void *tier, const char *prefix,
                                           void (*visit)(void *arg, const char *name,
                                                         const char *value),
                                           void *arg, uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->meta_list)
        return unsupported(g, "keep named values");
    return se__guard(g, &(struct call){.run = run_meta_list,
                                       .deadline_ms = deadline_ms,
                                       .seconds = METRIC_COUNT,
                                       .name = prefix,
                                       .visit = visit,
                                       .visit_arg = arg});
}

static struct tier_reply run_purge(const struct guarded *g, struct call *c)
{
    return g->inner.ops->purge(g->inner.self, c->n, c->purged, c->deadline_ms);
}

static struct tier_reply guarded_purge(void *tier, size_t limit, size_t *purged,
                                       uint64_t deadline_ms)
{
    struct guarded *g = tier;
    if (!g->inner.ops->purge)
        return unsupported(g, "purge");
    return se__guard(g, &(struct call){.run = run_purge,
                                       .deadline_ms = deadline_ms,
                                       .seconds = METRIC_COUNT,
                                       .n = limit,
                                       .purged = purged});
}

/* ---- surveys ---- */

static struct tier_reply run_survey(const struct guarded *g, struct call *c)
{
    return g->inner.ops->survey(g->inner.self, c->survey, c->cursor, c->sights, c->deadline_ms);
}

static struct tier_reply guarded_survey(void *tier, const struct tier_survey *survey,
                                        struct tier_cursor *cursor, struct tier_sights *sights,
                                        uint64_t deadline_ms)
{
    struct guarded *g = tier;
    return se__guard(g, &(struct call){.run = run_survey,
                                       .deadline_ms = deadline_ms,
                                       .seconds = g->series->scan_seconds,
                                       .survey = survey,
                                       .cursor = cursor,
                                       .sights = sights});
}

static struct tier_reply run_digest(const struct guarded *g, struct call *c)
{
    return g->inner.ops->digest(g->inner.self, c->digest, c->nodes, c->deadline_ms);
}

/* It reads a whole table: that it takes long says nothing about the backend. */
static struct tier_reply guarded_digest(void *tier, const struct tier_digest *digest,
                                        struct tier_node *nodes, uint64_t deadline_ms)
{
    return se__guard(tier, &(struct call){.run = run_digest,
                                          .deadline_ms = deadline_ms,
                                          .seconds = METRIC_COUNT,
                                          .long_call = true,
                                          .digest = digest,
                                          .nodes = nodes});
}

static struct tier_reply run_mend(const struct guarded *g, struct call *c)
{
    c->writes->state = TIER_NOT_TRIED;
    return g->inner.ops->mend(g->inner.self, c->reads, c->writes, c->deadline_ms);
}

static struct tier_reply guarded_mend(void *tier, const struct tier_read *seen,
                                      struct tier_write *write, uint64_t deadline_ms)
{
    struct tier_read read = *seen; /* borrowed: not emptied */
    return se__guard(tier, &(struct call){.run = run_mend,
                                          .deadline_ms = deadline_ms,
                                          .seconds = METRIC_COUNT,
                                          .reads = &read,
                                          .writes = write});
}

/* ---- passed through ---- */

static void guarded_interrupt(void *tier)
{
    struct guarded *g = tier;
    if (g->inner.ops->interrupt)
        g->inner.ops->interrupt(g->inner.self);
}

/* Not held back by an open circuit: its caller is the one who tries to get the backend back. */
static se_result guarded_prepare(void *tier, uint64_t deadline_ms)
{
    struct guarded *g = tier;
    bool stopped;
    uint64_t from_ms = se__mono_ms();
    bool counted = se__guard_admit(g, from_ms, &stopped);
    if (stopped)
        return se__error(SE_ERR_STATE, "%s: stopped", g->ops.name);
    se_result r = g->inner.ops->prepare ? g->inner.ops->prepare(g->inner.self, deadline_ms) : SE_OK;
    uint64_t until_ms = se__mono_ms();
    if (counted)
        se__guard_report(g, r == SE_OK || r == SE_ERR_CONFIG, until_ms - from_ms, until_ms);
    se__guard_note_up(g, r == SE_OK);
    return r;
}

static size_t guarded_payload_max(void *tier)
{
    struct guarded *g = tier;
    return g->inner.ops->payload_max ? g->inner.ops->payload_max(g->inner.self) : 0;
}

static unsigned guarded_writers_max(void *tier)
{
    struct guarded *g = tier;
    return g->inner.ops->writers_max ? g->inner.ops->writers_max(g->inner.self) : 1;
}

static void guarded_close(void *tier)
{
    struct guarded *g = tier;
    if (g->inner.ops->close)
        g->inner.ops->close(g->inner.self);
    se__cond_done(&g->stop);
    se__mutex_done(&g->lock);
    se__free(g);
}

/* What not every backend can do is absent here too, so that callers can ask for it. */
static struct tier_ops ops_around(const struct tier_ops *inner)
{
    return (struct tier_ops){.name = inner->name,
                             .prepare = guarded_prepare,
                             .probe = guarded_probe,
                             .write = guarded_write,
                             .read = guarded_read,
                             .scan = guarded_scan,
                             .count = guarded_count,
                             .list = guarded_list,
                             .meta_get = guarded_meta_get,
                             .meta_put = guarded_meta_put,
                             .meta_add = guarded_meta_add,
                             .meta_delete = guarded_meta_delete,
                             .meta_list = guarded_meta_list,
                             .purge = guarded_purge,
                             .survey = inner->survey ? guarded_survey : NULL,
                             .digest = inner->digest ? guarded_digest : NULL,
                             .mend = inner->mend ? guarded_mend : NULL,
                             .interrupt = guarded_interrupt,
                             .payload_max = guarded_payload_max,
                             .writers_max = guarded_writers_max,
                             .close = guarded_close};
}

se_result se__guarded_open(const struct guarded_options *options, struct tier inner,
                           struct tier *out, struct guarded **guarded)
{
    struct guarded *g = se__alloc_zeroed(1, sizeof *g);
    if (!g)
        return se__error_nomem();
    g->inner = inner;
    g->ops = ops_around(inner.ops);
    g->series = options->is_redis ? &REDIS_SERIES : &SQL_SERIES;
    g->metrics = options->metrics;
    g->log = options->log;
    se__mutex_init(&g->lock);
    se__cond_init(&g->stop);
    se__breaker_init(&g->breaker, &options->breaker, se__random_u64());
    se__metrics_set(g->metrics, g->series->circuit, (double)SE_CIRCUIT_CLOSED);
    se__metrics_set(g->metrics, g->series->up, 0);
    *out = (struct tier){.ops = &g->ops, .self = g};
    *guarded = g;
    return SE_OK;
}
