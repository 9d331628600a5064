/*
 * keeper - the engine's background threads: one for what is local, one a backend for what may hang.
 *
 *   upkeep  L1's life and eviction, the WAL's removals and ceiling, gauges: never does network I/O
 *   home    connects and attaches the home tier, probes it, beats the owner row, draws L2
 *           generations, purges
 *   cache   connects Redis beside an L3 and probes it
 *   filter  scans L3 for the filter, rebuilds its parts, writes its snapshots (filter/warm.h)
 *
 * A backend that is down at start is tried with the startup policy; se_open waits for that
 * (se__keeper_wait_started) and goes on degraded. After that the probes go on, and the circuit
 * breaker decides how often they reach the backend.
 *
 * Locks: one mutex (leaf) guards the flags below; not held during any work.
 */
#include "base/mem.h"
#include "engine/engine.h"
#include "tier/retry.h"

#include <stdio.h>

#define UPKEEP_MS 100u
#define WATCH_MS 500u /* probes of a backend */
#define BEAT_MS 3000u
#define PURGE_MS 5000u
#define PURGE_ROWS 1000u
#define CEILING_LEFT_MS 5000u
#define CEILING_COUNTED_MS 100u /* of a clock ahead of the wall: millions of versions */

struct watch {
    struct se__thread thread;
    bool started;    /* the first attempts are over, one way or the other */
    char error[512]; /* of the last failed attempt */
};

struct keeper {
    se_engine *e;
    struct se__mutex lock; /* guards the rest but threads; the watches' started and error */
    struct se__cond changed;
    bool stop;
    bool interrupted;     /* after stop: what was being read was ended */
    uint64_t leave_by_ms; /* set with stop */
    uint64_t kicks;
    struct se__thread upkeep;
    struct watch home, cache;
    struct se__thread filter;
    bool warmed; /* the filter's first scan is over */
    bool synced; /* the L2 generation was looked at after both had started */
};

/* Waits until `until_ms`, a kick or the stop; false at the stop. What the kick told may have happened
 * before: that is no way to wait for it. */
static bool rest(struct keeper *k, uint64_t until_ms)
{
    se__mutex_lock(&k->lock);
    uint64_t kicks = k->kicks;
    bool in_time = true;
    while (!k->stop && k->kicks == kicks && in_time)
        in_time = se__cond_wait_until(&k->changed, &k->lock, until_ms);
    bool stop = k->stop;
    se__mutex_unlock(&k->lock);
    return !stop;
}

static bool stopping(struct keeper *k)
{
    se__mutex_lock(&k->lock);
    bool stop = k->stop;
    se__mutex_unlock(&k->lock);
    return stop;
}

/* ---- upkeep ---- */

/* Keeps the WAL's ceiling ahead while versions are being issued; an idle engine writes nothing. */
static void keep_ceiling(se_engine *e)
{
    if (!e->wal || e->settings.c.read_only)
        return;
    uint64_t last = se__hlc_last(&e->hlc);
    bool ahead = se__version_ms(last) > se__wall_ms();
    uint64_t soon = last + se__version_of_ms(ahead ? CEILING_COUNTED_MS : CEILING_LEFT_MS);
    if (!se__hlc_covers(&e->hlc, soon) && se__hlc_covers(&e->hlc, last))
        (void)se__cover(e, soon); /* what fails now is stored with the next append */
}

static void upkeep(void *arg)
{
    struct keeper *k = arg;
    se_engine *e = k->e;
    do {
        se__l1_tend(e->l1, se__wall_ms(), se__mono_ms());
        if (e->wal && !e->settings.c.read_only)
            (void)se__wal_tend(e->wal, false);
        keep_ceiling(e);
        se__health_gauges(e);
    } while (rest(k, se__deadline_in(UPKEEP_MS)));
}

/* ---- backends ---- */

static void note_failure(struct keeper *k, struct watch *w)
{
    se__mutex_lock(&k->lock);
    snprintf(w->error, sizeof w->error, "%s", se_errmsg());
    se__mutex_unlock(&k->lock);
}

static void note_started(struct keeper *k, struct watch *w)
{
    se__mutex_lock(&k->lock);
    w->started = true;
    k->kicks++;
    se__cond_broadcast(&k->changed);
    se__mutex_unlock(&k->lock);
}

/* First attempts, by the startup policy. */
static void start(struct keeper *k, struct watch *w,
                  se_result (*attempt)(se_engine *e, uint64_t deadline_ms), uint32_t timeout_ms)
{
    uint64_t deadline = se__deadline_in(k->e->settings.c.startup_timeout_ms);
    uint32_t wait_ms;
    for (uint32_t done = 1; !stopping(k); done++) {
        uint64_t until = se__deadline_in(timeout_ms);
        se_result r = attempt(k->e, until < deadline ? until : deadline);
        if (r == SE_OK)
            break;
        note_failure(k, w);
        if (r == SE_ERR_CONFIG || !se__retry_next(&SE__RETRY_STARTUP, done, se__random_u64(),
                                                  se__mono_ms(), deadline, &wait_ms))
            break;
        rest(k, se__deadline_in(wait_ms));
    }
    note_started(k, w);
}

static bool is_attached(const se_engine *e)
{
    /* acquire: pairs with the release in se__attach_home. */
    return atomic_load_explicit(&e->attached, memory_order_acquire);
}

static void wake_workers(se_engine *e)
{
    for (unsigned i = 0; e->workers && i < e->partitions; i++)
        se__worker_wake(e->workers[i]);
}

static bool cache_started(struct keeper *k)
{
    se__mutex_lock(&k->lock);
    bool started = !k->e->cache.ops || k->cache.started;
    se__mutex_unlock(&k->lock);
    return started;
}

/* Until then, or the stop. Looks and waits under one lock: a start in between would wake nobody. */
static void wait_cache_started(struct keeper *k)
{
    se__mutex_lock(&k->lock);
    while (!k->stop && k->e->cache.ops && !k->cache.started)
        (void)se__cond_wait_until(&k->changed, &k->lock, SE__FOREVER);
    se__mutex_unlock(&k->lock);
}

static void sync_cache(struct keeper *k, bool look, uint32_t timeout_ms)
{
    bool both = cache_started(k);
    if (both)
        se__attach_cache(k->e, look, se__deadline_in(timeout_ms));
    se__mutex_lock(&k->lock);
    bool news = both && !k->synced;
    k->synced = k->synced || both;
    if (news)
        se__cond_broadcast(&k->changed);
    se__mutex_unlock(&k->lock);
}

/* A purge raises the version below which a put creates no row any more. Writes of our own that may
 * be as old must be home first: a drain that was held up, or a queue after a long outage. Half
 * the retention: as in l3/store_write.c. */
static bool may_purge(se_engine *e)
{
    uint64_t now = se__mono_ms(), half_ms = e->settings.c.tombstone_retention_s * UINT64_C(500);
    struct wal_stats wal = {0};
    if (e->wal)
        se__wal_stats(e->wal, &wal);
    bool may = wal.home_records == 0;
    for (unsigned i = 0; e->workers && i < e->partitions; i++) {
        struct worker_stats w;
        se__worker_stats(e->workers[i], &w);
        may = may && (!w.oldest_dirty_ms || now - w.oldest_dirty_ms < half_ms);
    }
    return may;
}

static void purge(se_engine *e, uint32_t timeout_ms)
{
    size_t purged = PURGE_ROWS;
    while (purged >= PURGE_ROWS && se__gate_open(&e->gate)) {
        purged = 0;
        if (e->home.ops->purge(e->home.self, PURGE_ROWS, &purged, se__deadline_in(timeout_ms))
                .fault != TIER_FINE)
            return;
        se__metrics_add(e->metrics, M_PURGED, purged);
        atomic_fetch_add_explicit(&e->removals, purged, memory_order_relaxed); /* a hint */
    }
}

static void keep_home(struct keeper *k)
{
    se_engine *e = k->e;
    uint32_t timeout =
        e->home_is_l3 ? e->settings.c.sql_timeout_ms : e->settings.c.redis_timeout_ms;
    uint64_t beat_at = se__deadline_in(BEAT_MS), purge_at = se__mono_ms();
    int was_up = 1;
    while (rest(k, se__deadline_in(WATCH_MS))) {
        if (!is_attached(e)) {
            if (!e->refused && se__attach_home(e, se__deadline_in(timeout)) == SE_OK)
                wake_workers(e);
            continue;
        }
        (void)e->home.ops->probe(e->home.self, se__deadline_in(timeout));
        int up = se__guarded_up(e->home_guard);
        if (up && !was_up)
            wake_workers(e);
        was_up = up;
        if (!up)
            continue;
        uint64_t now = se__mono_ms();
        bool beat = now >= beat_at;
        if (beat) {
            se__attach_beat(e, se__deadline_in(timeout));
            beat_at = now + BEAT_MS;
        }
        sync_cache(k, beat, timeout);
        if (e->home_is_l3 && !e->settings.c.read_only && now >= purge_at) {
            if (may_purge(e))
                purge(e, timeout);
            purge_at = now + PURGE_MS;
        }
    }
}

static void run_home(void *arg)
{
    struct keeper *k = arg;
    se_engine *e = k->e;
    uint32_t timeout =
        e->home_is_l3 ? e->settings.c.sql_timeout_ms : e->settings.c.redis_timeout_ms;
    start(k, &k->home, se__attach_home, timeout);
    if (is_attached(e)) {
        wake_workers(e);
        wait_cache_started(k);
        sync_cache(k, false, timeout);
    }
    keep_home(k);
}

static se_result prepare_cache(se_engine *e, uint64_t deadline_ms)
{
    return e->cache.ops->prepare(e->cache.self, deadline_ms);
}

static void run_cache(void *arg)
{
    struct keeper *k = arg;
    se_engine *e = k->e;
    start(k, &k->cache, prepare_cache, e->settings.c.redis_timeout_ms);
    while (rest(k, se__deadline_in(WATCH_MS)))
        (void)e->cache.ops->probe(e->cache.self, se__deadline_in(e->settings.c.redis_timeout_ms));
}

/* ---- the filter ---- */

static void note_warmed(struct keeper *k)
{
    if (k->warmed || !se__warm_started(k->e->warm))
        return;
    se__mutex_lock(&k->lock);
    k->warmed = true;
    se__cond_broadcast(&k->changed);
    se__mutex_unlock(&k->lock);
}

/* What is read from now on is not for se__keeper_stop to interrupt. */
static uint64_t wait_interrupted(struct keeper *k)
{
    se__mutex_lock(&k->lock);
    while (!k->interrupted)
        (void)se__cond_wait_until(&k->changed, &k->lock, SE__FOREVER);
    uint64_t by_ms = k->leave_by_ms;
    se__mutex_unlock(&k->lock);
    return by_ms;
}

static void run_filter(void *arg)
{
    struct keeper *k = arg;
    se_engine *e = k->e;
    uint64_t wait_ms;
    do {
        wait_ms = se__warm_run(e->warm, is_attached(e) ? e->incarnation : NULL);
        note_warmed(k);
    } while (rest(k, se__deadline_in(wait_ms)));
    uint64_t by_ms = wait_interrupted(k);
    se__warm_leave(e->warm, is_attached(e) ? e->incarnation : NULL, by_ms);
}

/* ---- life ---- */

se_result se__keeper_open(se_engine *e)
{
    struct keeper *k = se__alloc_zeroed(1, sizeof *k);
    if (!k)
        return se__error_nomem();
    k->e = e;
    se__mutex_init(&k->lock);
    se__cond_init(&k->changed);
    e->keeper = k;
    se_result r = se__thread_start(&k->upkeep, "se-upkeep", upkeep, k);
    if (r == SE_OK && e->cache.ops)
        r = se__thread_start(&k->cache.thread, "se-redis", run_cache, k);
    if (r == SE_OK && e->home.ops)
        r = se__thread_start(&k->home.thread, "se-home", run_home, k);
    if (r == SE_OK && e->warm)
        r = se__thread_start(&k->filter, "se-filter", run_filter, k);
    return r; /* what was started is stopped by se__keeper_stop */
}

void se__keeper_wait_started(se_engine *e, uint64_t deadline_ms)
{
    struct keeper *k = e->keeper;
    se__mutex_lock(&k->lock);
    bool in_time = true;
    while (in_time && ((e->home.ops && !k->home.started) || (e->cache.ops && !k->cache.started) ||
                       (e->cache.ops && is_attached(e) && !k->synced)))
        in_time = se__cond_wait_until(&k->changed, &k->lock, deadline_ms);
    se__mutex_unlock(&k->lock);
}

void se__keeper_wait_warmed(se_engine *e, uint64_t deadline_ms)
{
    struct keeper *k = e->keeper;
    se__mutex_lock(&k->lock);
    bool in_time = true;
    while (in_time && e->warm && is_attached(e) && !k->warmed)
        in_time = se__cond_wait_until(&k->changed, &k->lock, deadline_ms);
    se__mutex_unlock(&k->lock);
}

void se__keeper_errors(se_engine *e, char *home, char *cache, size_t cap)
{
    struct keeper *k = e->keeper;
    se__mutex_lock(&k->lock);
    snprintf(home, cap, "%s", k->home.error);
    snprintf(cache, cap, "%s", k->cache.error);
    se__mutex_unlock(&k->lock);
}

void se__keeper_stop(se_engine *e, uint64_t deadline_ms)
{
    struct keeper *k = e->keeper;
    if (!k)
        return;
    se__mutex_lock(&k->lock);
    k->stop = true;
    k->leave_by_ms = deadline_ms;
    se__cond_broadcast(&k->changed);
    se__mutex_unlock(&k->lock);
    if (e->home.ops && e->home.ops->interrupt)
        e->home.ops->interrupt(e->home.self); /* a scan for the filter may take long */
    se__mutex_lock(&k->lock);
    k->interrupted = true;
    se__cond_broadcast(&k->changed);
    se__mutex_unlock(&k->lock);
    se__thread_join(&k->filter);
    se__thread_join(&k->home.thread);
    se__thread_join(&k->cache.thread);
    se__thread_join(&k->upkeep);
}

void se__keeper_close(se_engine *e)
{
    struct keeper *k = e->keeper;
    if (!k)
        return;
    se__cond_done(&k->changed);
    se__mutex_done(&k->lock);
    se__free(k);
    e->keeper = NULL;
}
