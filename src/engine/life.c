/*
 * life - opens and closes an engine, and says who may enter meanwhile.
 *
 *   CREATED -> CONNECTING -> DRAINING_WAL -> SYNCING_REDIS -> WARMING_UP -> READY -> RUNNING ->
 *   SHUTTING_DOWN
 *
 * Parts are made in the order in which data flows through them and undone in the reverse; se_close
 * takes a half-built engine.
 * Shutdown: close the gate to writers, wait until those inside have published, flush what is dirty
 * into the home tier or the WAL, stop the threads, leave the owner row as closed.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "engine/options.h"
#include "engine/owner.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SUSPECTS_MAX 100000u
#define OWED_MAX 20000u /* a worker; their ids are kept */
#define CLOSE_GRACE_MS                                                                             \
    200u /* for the filter's snapshot, and again for the owner row, whatever is left of the caller's time */

/* ---- entering ---- */

se_result se__cannot_look_in(const se_engine *e)
{
    if (!e)
        return se__error(SE_ERR_INVALID, "engine is NULL");
    if (!se__forkword_ours(&e->forkword))
        return se__error(SE_ERR_STATE, "this engine belongs to the parent of this process");
    return se__error(SE_ERR_STATE, "the engine is shut down");
}

se_result se__enter(se_engine *e)
{
    se_result r = se__look_in(e);
    if (r != SE_OK)
        return r;
    if (e->settings.c.read_only)
        return se__error(SE_ERR_STATE, "the engine was opened read_only");
    if (!se__gate_enter(&e->gate))
        return se__error(SE_ERR_STATE, "the engine is shut down");
    return SE_OK;
}

void se__leave(se_engine *e)
{
    se__gate_leave(&e->gate);
}

se_result se__outage(const se_engine *e, const char *what)
{
    if (!se__gate_open(&e->gate))
        return se__error(SE_ERR_STATE, "the engine was shut down meanwhile");
    return se__error(SE_ERR_BACKEND, "%s: %s", what, se_errmsg());
}

void se__set_phase(se_engine *e, se_phase phase)
{
    atomic_store_explicit(&e->phase, (int)phase,
                          memory_order_release); /* pairs with se_engine_phase */
    se__metrics_set(e->metrics, M_PHASE, phase);
}

se_phase se_engine_phase(const se_engine *e)
{
    if (!e || !se__forkword_ours(&e->forkword))
        return SE_PHASE_SHUTTING_DOWN;
    return (se_phase)atomic_load_explicit(&e->phase, memory_order_acquire);
}

/* ---- opening ---- */

static void push_dirty(void *arg, struct dirty_node *node, bool front)
{
    se_engine *e = arg;
    se__dirty_push(se__worker_queue(se__worker_of(e, node->hash)), node, front);
}

static se_result open_basics(se_engine *e)
{
    e->forkword.word = NULL;
    se_result r = se__metrics_open(&e->metrics);
    if (r == SE_OK)
        r = se__forkword_open(&e->forkword);
    if (r == SE_OK)
        r = se__flights_open(&e->loads);
    if (r == SE_OK)
        r = se__flights_open(&e->factories);
    if (r == SE_OK)
        r = se__owners_open(&e->owners);
    if (r != SE_OK)
        return r;
    e->seed = se__random_u64();
    snprintf(e->uuid, sizeof e->uuid, "%016" PRIx64 "%016" PRIx64, se__random_u64(),
             se__random_u64());
    se__hlc_init(&e->hlc, 0);
    atomic_init(&e->payload_max, e->settings.c.max_payload_bytes);
    se__metrics_set(e->metrics, M_BUILD, 1);
    se__metrics_set(e->metrics, M_L1_MAX_BYTES, (double)e->settings.c.l1_max_bytes);
    return SE_OK;
}

static bool same_file(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* Partitions are needed by the WAL's drain before the workers exist; SQLite takes one writer. */
static unsigned count_partitions(const se_engine *e)
{
    const struct settings *s = &e->settings;
    if (s->has_sql && s->sql.scheme == URL_SQLITE)
        return 1;
    return s->has_sql || s->has_redis ? s->c.flush_workers : 1;
}

static se_result open_wal(se_engine *e)
{
    const se_config *c = &e->settings.c;
    e->partitions = count_partitions(e);
    if (!c->wal_path || (c->read_only && access(c->wal_path, F_OK) != 0))
        return SE_OK;
    if (e->settings.has_sql && same_file(c->wal_path, e->settings.sql.path))
        return se__error(SE_ERR_CONFIG, "wal_path and sql_url name the same file '%s'",
                         c->wal_path);
    struct wal_options options = {
        .path = c->wal_path,
        .read_only = c->read_only,
        .items_max = c->wal_max_items,
        .bytes_max = c->wal_max_bytes,
        .partitions = e->partitions,
        .seed = e->seed,
        .hlc = c->read_only ? NULL : &e->hlc,
        .metrics = e->metrics,
        .log = &e->settings.log,
    };
    se_result r = se__wal_open(&options, &e->wal);
    if (r != SE_OK)
        return r;
    struct wal_stats stats;
    se__wal_stats(e->wal, &stats);
    se__metrics_add(e->metrics, M_RECOVERED, stats.recovered);
    /* They were written while L3 was away; what L2 holds of them, and who knew about it,
     * is gone with the last engine. */
    e->generation_due = stats.recovered > 0 && !c->read_only;
    if (stats.recovered)
        se__log(&e->settings.log, SE_LOG_WARN, "engine.recovered",
                (const struct se__field[]){se__number("writes", stats.recovered),
                                           se__number("dead_letters", stats.dead),
                                           {0}},
                "%" PRIu64 " writes found in the WAL (%" PRIu64 " dead letters)", stats.recovered,
                stats.dead);
    return SE_OK;
}

static se_result open_l3(se_engine *e, struct tier *tier)
{
    const se_config *c = &e->settings.c;
    struct l3_options options = {
        .url = &e->settings.sql,
        .table = c->sql_table,
        .timeout_ms = c->sql_timeout_ms,
        .read_connections = c->read_connections,
        .workers = e->partitions,
        .tombstone_retention_s = c->tombstone_retention_s,
        .read_only = c->read_only,
        .compression = c->sql_compression,
        .payload_max = c->max_payload_bytes,
        .log = &e->settings.log,
    };
    return e->settings.sql.scheme == URL_SQLITE ? se__sqlite_open(&options, tier)
                                                : se__mysql_open(&options, tier);
}

static se_result open_redis(se_engine *e, bool home, struct tier *tier)
{
    const se_config *c = &e->settings.c;
    struct redis_options options = {
        .url = &e->settings.redis,
        .prefix = c->redis_prefix,
        .timeout_ms = c->redis_timeout_ms,
        .read_connections = c->read_connections,
        .workers = e->partitions,
        .home = home,
        .tombstone_ms = home ? (uint64_t)c->tombstone_retention_s * 1000 : 0,
        .log = &e->settings.log,
    };
    return se__redis_open(&options, tier, &e->redis);
}

/* Puts the guard around `inner`, which is closed on failure. */
static se_result guard(se_engine *e, struct tier inner, bool is_redis, struct tier *tier,
                       struct guarded **guarded)
{
    struct guarded_options options = {
        .breaker = SE__BREAKER_DEFAULT,
        .metrics = e->metrics,
        .log = &e->settings.log,
        .is_redis = is_redis,
    };
    options.breaker.failures_max = e->settings.c.circuit_failures;
    options.breaker.open_ms = e->settings.c.circuit_open_ms;
    se_result r = se__guarded_open(&options, inner, tier, guarded);
    if (r != SE_OK)
        inner.ops->close(inner.self);
    return r;
}

/* What holds calls back stands outside of the guard: hold.c. */
static se_result open_home(se_engine *e)
{
    struct tier raw = {0}, guarded = {0};
    e->home_is_l3 = e->settings.has_sql;
    se_result r = e->home_is_l3 ? open_l3(e, &raw) : open_redis(e, true, &raw);
    if (r == SE_OK)
        r = guard(e, raw, !e->home_is_l3, &guarded, &e->home_guard);
    if (r != SE_OK)
        return r;
    r = se__hold(e, guarded, &e->home);
    if (r == SE_OK)
        return SE_OK;
    guarded.ops->close(guarded.self);
    e->home_guard = NULL; /* it went with the tier */
    return r;
}

static se_result open_tiers(se_engine *e)
{
    se_result r = SE_OK;
    if (e->settings.has_sql || e->settings.has_redis)
        r = open_home(e);
    if (r != SE_OK || !e->settings.has_sql || !e->settings.has_redis)
        return r;
    struct tier raw = {0};
    r = se__suspects_open(SUSPECTS_MAX, &e->suspects);
    if (r == SE_OK)
        r = open_redis(e, false, &raw);
    return r == SE_OK ? guard(e, raw, true, &e->cache, &e->cache_guard) : r;
}

static se_result open_l1(se_engine *e)
{
    struct l1_options options = {
        .bytes_max = e->settings.c.l1_max_bytes,
        .seed = e->seed,
        .sink = {.arg = e, .push = push_dirty},
        .metrics = e->metrics,
        .resident = !e->home.ops,
        .huge_pages = e->settings.c.l1_huge_pages,
    };
    return se__l1_open(&options, &e->l1);
}

static bool excludes(void *arg, const char *id, size_t id_len)
{
    return se__excludes(arg, id, id_len);
}

/* An explicit setting is kept as it is; what is left at its default is a bound of what is chosen. */
static bool asked_for(const se_config *c, const char *option)
{
    return !se__option_is_default(c, se__option_find(option));
}

static se_result open_workers(se_engine *e)
{
    const se_config *c = &e->settings.c;
    if (!e->home.ops || c->read_only)
        return SE_OK;
    e->workers = se__alloc_zeroed(e->partitions, sizeof *e->workers);
    if (!e->workers)
        return se__error_nomem();
    se_result r = SE_OK;
    for (unsigned i = 0; r == SE_OK && i < e->partitions; i++) {
        struct worker_options options = {
            .number = i,
            .partitions = e->partitions,
            .l1 = e->l1,
            .wal = e->wal,
            .home = e->home,
            .home_guard = e->home_guard,
            .home_is_l3 = e->home_is_l3,
            .cache = e->cache,
            .suspects = e->suspects,
            .owed_max = OWED_MAX,
            .limits = {.items_max = c->batch_flush_count,
                       .bytes_max = c->batch_flush_bytes,
                       .age_ms_max = c->batch_flush_ms,
                       .paced = !asked_for(c, "batch_flush_ms"),
                       .keep_items = asked_for(c, "batch_flush_count"),
                       .keep_bytes = asked_for(c, "batch_flush_bytes")},
            .drain_items = c->wal_drain_batch_size,
            .keep_drain = asked_for(c, "wal_drain_batch_size"),
            .home_timeout_ms = e->home_is_l3 ? c->sql_timeout_ms : c->redis_timeout_ms,
            .cache_timeout_ms = c->redis_timeout_ms,
            .receipts = e->receipts,
            .metrics = e->metrics,
            .log = &e->settings.log,
            .hlc = &e->hlc,
            .max_clock_skew_ms = c->max_clock_skew_ms,
            .blind_until = &e->blind_until,
            .cover = se__cover,
            .excludes = excludes,
            .arg = e,
        };
        r = se__worker_open(&options, &e->workers[i]);
    }
    return r;
}

/* What require_backends asks for, and what can never be right: a home tier that may not be used. */
static se_result judge_start(se_engine *e)
{
    char home[512], cache[512];
    se__mutex_lock(&e->attach_lock);
    bool refused = e->refused;
    snprintf(home, sizeof home, "%s", e->refusal);
    se__mutex_unlock(&e->attach_lock);
    if (refused)
        return se__error(SE_ERR_CONFIG, "%s", home);
    se__keeper_errors(e, home, cache, sizeof home);
    bool home_up = !e->home.ops || atomic_load_explicit(&e->attached, memory_order_acquire);
    bool cache_up = !e->cache.ops || se__guarded_up(e->cache_guard) == 1;
    if (home_up && cache_up)
        return SE_OK;
    const char *why = !home_up ? home : cache;
    if (e->settings.c.require_backends)
        return se__error(SE_ERR_BACKEND, "a backend is down and require_backends is set: %s",
                         why[0] ? why : "no answer in time");
    se__log(&e->settings.log, SE_LOG_WARN, "engine.degraded",
            (const struct se__field[]){se__text("error", why), {0}}, "opened degraded: %s",
            why[0] ? why : "no answer in time");
    return SE_OK;
}

static se_result connect_all(se_engine *e)
{
    se__set_phase(e, SE_PHASE_CONNECTING);
    se_result r = se__keeper_open(e);
    if (r != SE_OK)
        return r;
    uint64_t deadline = se__deadline_in(e->settings.c.startup_timeout_ms);
    se__keeper_wait_started(e, deadline);
    se__set_phase(e, SE_PHASE_DRAINING_WAL);
    r = judge_start(e);
    if (r != SE_OK)
        return r;
    se__set_phase(e, SE_PHASE_SYNCING_REDIS);
    se__set_phase(e, SE_PHASE_WARMING_UP);
    se__keeper_wait_warmed(e, deadline); /* untrusted until then, and after the deadline */
    se__set_phase(e, SE_PHASE_READY);
    se__health_gauges(e);
    se__set_phase(e, SE_PHASE_RUNNING);
    return SE_OK;
}

static void stop_threads(se_engine *e, uint64_t deadline_ms, size_t *left);
static void free_engine(se_engine *e);

se_result se_open(const se_config *config, se_engine **engine)
{
    if (!engine)
        return se__error(SE_ERR_INVALID, "engine must not be NULL");
    *engine = NULL;
    if (!config)
        return se__error(SE_ERR_INVALID, "config must not be NULL");
    se_engine *e = se__alloc_zeroed(1, sizeof *e);
    if (!e)
        return se__error_nomem();
    se__gate_init(&e->gate);
    se__mutex_init(&e->attach_lock);
    se__mutex_init(&e->shut_lock);
    se__cond_init(&e->shut_changed);
    se_result r = se__settings_open(config, &e->settings);
    if (r == SE_OK)
        r = open_basics(e);
    if (r == SE_OK)
        r = open_wal(e);
    if (r == SE_OK)
        r = open_tiers(e);
    if (r == SE_OK)
        r = open_l1(e);
    if (r == SE_OK)
        r = se__existence_open(e);
    if (r == SE_OK && !e->settings.c.read_only)
        r = se__receipts_open(&e->receipts);
    if (r == SE_OK)
        r = open_workers(e);
    if (r == SE_OK)
        r = connect_all(e);
    if (r == SE_OK) {
        *engine = e;
        return SE_OK;
    }
    char text[1024];
    snprintf(text, sizeof text, "%s", se_errmsg());
    size_t left = 0;
    stop_threads(e, se__mono_ms(), &left);
    free_engine(e);
    return se__error(r, "%s", text);
}

/* ---- closing ---- */

static uint64_t with_grace(uint64_t deadline_ms)
{
    uint64_t least = se__deadline_in(CLOSE_GRACE_MS);
    return deadline_ms > least ? deadline_ms : least;
}

static void stop_threads(se_engine *e, uint64_t deadline_ms, size_t *left)
{
    for (unsigned i = 0; e->workers && i < e->partitions; i++) {
        if (e->workers[i])
            *left += se__worker_stop(e->workers[i], deadline_ms);
    }
    bool opened = e->keeper != NULL;
    /* The keepers' own calls end at once, then the row is left on this thread. */
    se__keeper_stop(e, with_grace(deadline_ms));
    if (opened)
        se__attach_leave(e, with_grace(deadline_ms));
    if (e->home_guard)
        se__guarded_stop(e->home_guard); /* wakes readers that wait for a retry */
    if (e->cache_guard)
        se__guarded_stop(e->cache_guard);
    if (e->wal && !e->settings.c.read_only)
        (void)se__wal_tend(e->wal, true);
}

static void free_engine(se_engine *e)
{
    for (unsigned i = 0; e->workers && i < e->partitions; i++)
        se__worker_close(e->workers[i]);
    se__free(e->workers);
    se__receipts_close(e->receipts);
    se__keeper_close(e);
    se__warm_close(e->warm);
    se__l1_close(e->l1);
    if (e->cache.ops)
        e->cache.ops->close(e->cache.self);
    if (e->home.ops)
        e->home.ops->close(e->home.self);
    se__suspects_close(e->suspects);
    se__wal_close(e->wal);
    se__flights_close(e->factories);
    se__flights_close(e->loads);
    se__attach_done(e);
    if (e->forkword.word)
        se__forkword_close(&e->forkword);
    se__metrics_close(e->metrics);
    se__settings_done(&e->settings);
    se__cond_done(&e->shut_changed);
    se__mutex_done(&e->shut_lock);
    se__mutex_done(&e->attach_lock);
    se__gate_done(&e->gate);
    se__free(e);
}

static se_result shut_down(se_engine *e, uint64_t deadline_ms)
{
    se__set_phase(e, SE_PHASE_SHUTTING_DOWN);
    se__gate_close(&e->gate);
    bool out = se__gate_drain(&e->gate, deadline_ms);
    size_t left = 0;
    stop_threads(e, deadline_ms, &left);
    if (e->receipts)
        se__receipts_shut(e->receipts);
    if (left)
        return se__error(
            SE_ERR_TIMEOUT,
            "%zu writes are neither in the home tier nor in the WAL after the time given", left);
    if (!out)
        return se__error(SE_ERR_TIMEOUT, "other calls on this engine were still writing");
    return SE_OK;
}

se_result se_shutdown(se_engine *e, uint32_t timeout_ms)
{
    if (!e)
        return se__error(SE_ERR_INVALID, "engine is NULL");
    if (!se__forkword_ours(&e->forkword))
        return se__error(SE_ERR_STATE, "this engine belongs to the parent of this process");
    if (se__receipts_inside(e->receipts))
        return se__error(SE_ERR_STATE, "a delivery function cannot shut its engine down");
    uint64_t deadline = se__deadline_in(timeout_ms);
    se__mutex_lock(&e->shut_lock);
    bool first = e->shut == ENGINE_OPEN;
    bool in_time = true;
    if (first)
        e->shut = ENGINE_SHUTTING;
    while (!first && e->shut != ENGINE_SHUT && in_time)
        in_time = se__cond_wait_until(&e->shut_changed, &e->shut_lock, deadline);
    se_result r = e->shut == ENGINE_SHUT ? e->shut_result : SE_ERR_TIMEOUT;
    se__mutex_unlock(&e->shut_lock);
    if (!first)
        return r == SE_OK
                   ? SE_OK
                   : se__error(r, "another thread shuts the engine down, or did so incompletely");
    r = shut_down(e, deadline);
    se__mutex_lock(&e->shut_lock);
    e->shut = ENGINE_SHUT;
    e->shut_result = r;
    se__cond_broadcast(&e->shut_changed);
    se__mutex_unlock(&e->shut_lock);
    return r;
}

se_result se_close(se_engine *e, uint32_t timeout_ms)
{
    if (!e)
        return SE_OK;
    if (!se__forkword_ours(&e->forkword))
        return se__error(SE_ERR_STATE, "this engine belongs to the parent of this process");
    if (se__receipts_inside(e->receipts))
        return se__error(SE_ERR_STATE, "a delivery function cannot close its engine");
    se_result r = se_shutdown(e, timeout_ms);
    se__service_stop(e); /* last: until here it says how far the shutdown is */
    free_engine(e);
    return r;
}

se_result se_flush(se_engine *e, uint32_t timeout_ms)
{
    se_result r = se__look_in(e);
    if (r != SE_OK || !e->workers)
        return r;
    uint64_t deadline = se__deadline_in(timeout_ms);
    bool all_home = true;
    for (unsigned i = 0; r == SE_OK && i < e->partitions; i++) {
        bool home = true;
        r = se__worker_flush(e->workers[i], deadline, &home);
        all_home = all_home && home;
    }
    if (r != SE_OK && !se__gate_open(&e->gate))
        return se__error(SE_ERR_STATE, "the engine was shut down meanwhile");
    if (r != SE_OK)
        return r;
    return all_home ? SE_OK : SE_PENDING;
}
