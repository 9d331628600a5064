/*
 * health - health for operators, gauges and text for Prometheus. No I/O anywhere here.
 */
#include "base/buf.h"
#include "engine/engine.h"

/* ---- what there is ---- */

struct snapshot {
    struct l1_stats l1;
    struct wal_stats wal;
    size_t queued;
    uint64_t oldest_dirty_ms; /* age */
    double pressure;
    se_pressure level;
    struct worker_pace home, cache; /* the slowest worker's */
};

static double greater(double a, double b)
{
    return a > b ? a : b;
}

/* 0: none yet */
static size_t lesser(size_t a, size_t b)
{
    return a && (!b || a < b) ? a : b;
}

static void slower(struct worker_pace *of, const struct worker_pace *than)
{
    of->round_s = greater(of->round_s, than->round_s);
    of->row_s = greater(of->row_s, than->row_s);
    of->byte_s = greater(of->byte_s, than->byte_s);
    of->rest_s = greater(of->rest_s, than->rest_s);
    of->items = lesser(of->items, than->items);
    of->bytes = lesser(of->bytes, than->bytes);
}

static void snapshot(se_engine *e, struct snapshot *s)
{
    *s = (struct snapshot){0};
    se__l1_stats(e->l1, &s->l1);
    if (e->wal)
        se__wal_stats(e->wal, &s->wal);
    uint64_t now = se__mono_ms(), oldest = now;
    for (unsigned i = 0; e->workers && i < e->partitions; i++) {
        struct worker_stats w;
        se__worker_stats(e->workers[i], &w);
        s->queued += w.queued;
        slower(&s->home, &w.home);
        slower(&s->cache, &w.cache);
        if (w.oldest_dirty_ms && w.oldest_dirty_ms < oldest)
            oldest = w.oldest_dirty_ms;
    }
    s->oldest_dirty_ms = now - oldest;
    s->level = se__pressure_now(e, &s->pressure);
}

/* 1 up, 0 down, -1 not configured. A home tier that is not attached is down. */
static int redis_up(se_engine *e)
{
    struct guarded *g = e->cache_guard ? e->cache_guard : e->home_is_l3 ? NULL : e->home_guard;
    return g ? se__guarded_up(g) : -1;
}

static int sql_up(se_engine *e)
{
    if (!e->home_is_l3)
        return -1;
    return atomic_load_explicit(&e->attached, memory_order_acquire) &&
           se__guarded_up(e->home_guard);
}

static se_circuit circuit_of(struct guarded *g)
{
    return g ? se__guarded_circuit(g) : SE_CIRCUIT_CLOSED;
}

static struct guarded *redis_guard(const se_engine *e)
{
    return e->cache_guard ? e->cache_guard : e->home_is_l3 ? NULL : e->home_guard;
}

static struct guarded *sql_guard(const se_engine *e)
{
    return e->home_is_l3 ? e->home_guard : NULL;
}

static void filter_health(const se_engine *e, se_health *health)
{
    health->filter_trust = SE_TRUST_UNTRUSTED;
    health->filter_doubt = e->home_is_l3 ? "a read_only engine has none" : "no L3 is configured";
    if (!e->filter)
        return;
    struct filter_stats stats;
    se__filter_stats(e->filter, &stats);
    unsigned doubts = se__filter_doubts(e->filter);
    health->filter_items = stats.ids;
    health->filter_bytes = stats.bytes;
    health->filter_trust = doubts ? SE_TRUST_UNTRUSTED : SE_TRUST_TRUSTED;
    health->filter_doubt = doubts ? se__filter_doubt_name(doubts) : NULL;
}

static void filter_gauges(se_engine *e)
{
    if (!e->filter)
        return;
    struct filter_stats stats;
    se__filter_stats(e->filter, &stats);
    double excluded = (double)se__metrics_sum(e->metrics, M_FILTER_EXCLUDED);
    double wrong = (double)se__metrics_sum(e->metrics, M_FILTER_FALSE);
    double absent = excluded + wrong;
    se__metrics_set(e->metrics, M_FILTER_TRUST, se__filter_doubts(e->filter) ? 0 : 1);
    se__metrics_set(e->metrics, M_FILTER_ITEMS, (double)stats.ids);
    se__metrics_set(e->metrics, M_FILTER_BYTES, (double)stats.bytes);
    se__metrics_set(e->metrics, M_FILTER_FALSE_RATIO, absent > 0 ? wrong / absent : 0);
}

se_result se_health_check(se_engine *e, se_health *health)
{
    if (!health)
        return se__error(SE_ERR_INVALID, "health must not be NULL");
    *health = (se_health){0};
    if (!e)
        return se__error(SE_ERR_INVALID, "engine is NULL");
    if (!se__forkword_ours(&e->forkword))
        return se__error(SE_ERR_STATE, "this engine belongs to the parent of this process");
    struct snapshot s;
    snapshot(e, &s);
    health->phase = se_engine_phase(e);
    health->pressure_level = s.level;
    health->pressure = s.pressure > 1 ? 1 : s.pressure;
    health->l1_items = s.l1.items;
    health->l1_bytes = s.l1.bytes;
    health->queue_items = s.queued;
    health->queue_bytes = s.l1.unevictable_bytes;
    health->wal_items = s.wal.home_records;
    health->dead_letters = s.wal.dead + s.l1.dead_items;
    health->redis_circuit = circuit_of(redis_guard(e));
    health->sql_circuit = circuit_of(sql_guard(e));
    health->redis_up = redis_up(e);
    health->sql_up = sql_up(e);
    filter_health(e, health);
    health->oldest_dirty_ms = s.oldest_dirty_ms;
    health->wal_failed = s.wal.poisoned;
    bool running = health->phase == SE_PHASE_RUNNING;
    health->ready = running;
    health->accepting_writes =
        running && !e->settings.c.read_only && !se__pressure_refuses(s.level);
    health->healthy = running && health->redis_up != 0 && health->sql_up != 0 && !s.wal.poisoned &&
                      !s.wal.refusing && health->dead_letters == 0 &&
                      !se__pressure_refuses(s.level);
    return SE_OK;
}

/* ---- metrics ---- */

/* Hits that threads counted beside their epochs: what has come since somebody last asked. */
void se__health_hits(se_engine *e)
{
    uint64_t hits = se__l1_hits(e->l1);
    /* relaxed: a number; the exchange sees to it that each hit is added by one caller */
    uint64_t added = atomic_load_explicit(&e->hits_added, memory_order_relaxed);
    while (hits > added)
        if (atomic_compare_exchange_weak_explicit(&e->hits_added, &added, hits,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            se__metrics_add(e->metrics, M_OPS_L1_GET_HIT, hits - added);
            return;
        }
}

void se__health_gauges(se_engine *e)
{
    se__health_hits(e);
    struct snapshot s;
    snapshot(e, &s);
    const struct worker_pace *l2 = e->home_is_l3 ? &s.cache : &s.home;
    const struct worker_pace *l3 = e->home_is_l3 ? &s.home : &s.cache;
    struct {
        enum metric metric;
        double value;
    } gauges[] = {
        {M_QUEUED, (double)s.queued},
        {M_QUEUE_BYTES, (double)s.l1.unevictable_bytes},
        {M_BATCH_ROUND_L2, l2->round_s},
        {M_BATCH_ROUND_L3, l3->round_s},
        {M_BATCH_ROW_L2, l2->row_s},
        {M_BATCH_ROW_L3, l3->row_s},
        {M_BATCH_BYTE_L2, l2->byte_s},
        {M_BATCH_BYTE_L3, l3->byte_s},
        {M_BATCH_REST_L2, l2->rest_s},
        {M_BATCH_REST_L3, l3->rest_s},
        {M_BATCH_LIMIT_ITEMS_L2, (double)l2->items},
        {M_BATCH_LIMIT_ITEMS_L3, (double)l3->items},
        {M_BATCH_LIMIT_BYTES_L2, (double)l2->bytes},
        {M_BATCH_LIMIT_BYTES_L3, (double)l3->bytes},
        {M_OLDEST_DIRTY, (double)s.oldest_dirty_ms / 1000},
        {M_WAL_ENTRIES, (double)s.wal.home_records},
        {M_WAL_LIVE, (double)s.wal.live_records},
        {M_WAL_BYTES, (double)s.wal.live_bytes},
        {M_DEAD, (double)(s.wal.dead + s.l1.dead_items)},
        {M_L1_BYTES, (double)s.l1.bytes},
        {M_L1_ITEMS, (double)s.l1.items},
        {M_DETACHED_BYTES, (double)s.l1.detached_bytes},
        {M_CIRCUIT_REDIS, circuit_of(redis_guard(e))},
        {M_CIRCUIT_SQL, circuit_of(sql_guard(e))},
        {M_UP_REDIS, redis_up(e)},
        {M_UP_SQL, sql_up(e)},
        {M_PRESSURE, s.pressure > 1 ? 1 : s.pressure},
        {M_PRESSURE_LEVEL, s.level},
        {M_SUSPECTS, e->suspects ? (double)se__suspects_count(e->suspects) : 0},
    };
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
        se__metrics_set(e->metrics, gauges[i].metric, gauges[i].value);
    filter_gauges(e);
}

se_result se_metrics_text(se_engine *e, char **text, size_t *len)
{
    if (!text || !len)
        return se__error(SE_ERR_INVALID, "text and len must not be NULL");
    if (!e)
        return se__error(SE_ERR_INVALID, "engine is NULL");
    if (!se__forkword_ours(&e->forkword))
        return se__error(SE_ERR_STATE, "this engine belongs to the parent of this process");
    struct buf out = {0};
    se__health_gauges(e);
    se__metrics_text(e->metrics, e->settings.c.name, &out);
    size_t n = 0;
    char *taken = se__buf_give(&out, &n);
    if (!taken)
        return se__error_nomem();
    *text = taken;
    *len = n;
    return SE_OK;
}
