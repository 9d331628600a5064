/*
 * Backpressure from end to end: levels and what they do to writers, and a writer far faster than its database. tests/long/flood.c is the
 * long form of the flood.
 */
#include "integration/flood.h"
#include "integration/stand.h"
#include "integration/truth.h"
#include "support/test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024u
#define MIB (1024u * KIB)

static const struct shape sqlite_only = {"sqlite", SQLITE, false, false};
static const struct shape mysql_only = {"mysql", MYSQL, false, false};
static const struct shape mysql_wal = {"mysql+wal", MYSQL, false, true};

/* ---- an engine whose database takes nothing ---- */

struct stuck {
    struct bed bed;
    se_engine *e;
    sqlite3 *lock;
    unsigned written;
};

static void stuck_make(struct stuck *s, uint32_t throttle_max_ms)
{
    bed_make(&s->bed, &sqlite_only, NULL, NULL);
    s->bed.config.queue_max_bytes = MIB;
    s->bed.config.sql_timeout_ms = 200;
    s->bed.config.circuit_failures = 1;
    s->bed.config.circuit_open_ms = 50;
    s->bed.config.batch_flush_ms = 2;
    s->bed.config.throttle_max_ms = throttle_max_ms;
    s->e = bed_open(&s->bed);
    s->written = 0;
    cr_assert_eq(sqlite3_open(s->bed.sql + strlen("sqlite:"), &s->lock), SQLITE_OK);
    sqlite3_busy_timeout(s->lock, 10000);
    cr_assert_eq(sqlite3_exec(s->lock, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK, "%s",
                 sqlite3_errmsg(s->lock));
}

static void stuck_free_database(struct stuck *s)
{
    if (s->lock)
        cr_assert_eq(sqlite3_exec(s->lock, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(s->lock);
    s->lock = NULL;
}

static void stuck_remove(struct stuck *s)
{
    stuck_free_database(s);
    bed_close(&s->bed, s->e);
    bed_remove(&s->bed);
}

/* One call for all, so that pressure is asked once, before any of them. */
static se_result put_batch(struct stuck *s, unsigned n)
{
    static const char content[KIB];
    static char ids[2000][16];
    static se_put puts[2000];
    cr_assert_leq(n, 2000);
    for (unsigned i = 0; i < n; i++) {
        snprintf(ids[i], sizeof ids[i], "b:%06u", s->written + i);
        puts[i] = (se_put){.id = ids[i], .content = content, .len = sizeof content};
    }
    se_result r = se_submit_many(s->e, puts, n, NULL);
    s->written += r == SE_OK ? n : 0;
    return r;
}

static double pressure_of(se_engine *e)
{
    se_health h;
    cr_assert_eq(se_health_check(e, &h), SE_OK);
    return h.pressure;
}

/* From an empty queue to p, in one call. */
static void fill_to(struct stuck *s, double p)
{
    cr_assert_eq(put_batch(s, 8), SE_OK);
    unsigned n = (unsigned)((p / pressure_of(s->e) - 1) * 8);
    cr_assert_eq(put_batch(s, n), SE_OK, "%s", se_errmsg());
    double reached = pressure_of(s->e);
    cr_assert(reached > p - 0.01 && reached < p + 0.01, "%f for %f", reached, p);
}

static double entered(se_engine *e, se_pressure level)
{
    char label[32];
    snprintf(label, sizeof label, "to=\"%s\"", flood_level_name(level));
    return bed_metric(e, "sync_engine_pressure_transitions_total", label);
}

static bool is_normal(void *engine)
{
    return se_flush(engine, 1000) == SE_OK && se_pressure_level(engine) == SE_PRESSURE_NORMAL;
}

static void check_level(double p, se_pressure level)
{
    struct stuck s;
    stuck_make(&s, 0);
    cr_assert_eq(entered(s.e, level), 0);
    fill_to(&s, p);
    bool refused = level >= SE_PRESSURE_CRITICAL;
    cr_assert_eq(bed_metric(s.e, "sync_engine_pressure_level", ""), (double)level, "at %f", p);
    cr_assert_eq(se_pressure_level(s.e), level);
    cr_assert(entered(s.e, level) >= 1, "%s", flood_level_name(level));
    for (se_pressure above = level + 1; above <= SE_PRESSURE_SHUTDOWN; above++)
        cr_assert_eq(entered(s.e, above), 0);
    cr_assert_eq(put_batch(&s, 3), refused ? SE_ERR_BACKPRESSURE : SE_OK);
    cr_assert_eq(se_retry_after_ms(s.e) > 0, refused);
    cr_assert_eq(bed_metric(s.e, "sync_engine_writes_refused_total", ""), refused ? 3 : 0);
    bool found;
    cr_assert_eq(se_contains(s.e, "b:000000", &found), SE_OK); /* reads go on */
    cr_assert(found);
    stuck_free_database(&s);
    bed_wait(is_normal, s.e, "pressure is gone");
    cr_assert_eq(se_retry_after_ms(s.e), 0);
    cr_assert(entered(s.e, SE_PRESSURE_NORMAL) >= 1);
    cr_assert_eq(put_batch(&s, 3), SE_OK);
    cr_assert_eq(se_flush(s.e, 20000), SE_OK, "%s", se_errmsg());
    truth_balance(s.e);
    stuck_remove(&s);
}

Test(pressure, each_level_is_entered_counted_and_left)
{
    check_level(0.73, SE_PRESSURE_WARN);
    check_level(0.83, SE_PRESSURE_THROTTLE);
    check_level(0.92, SE_PRESSURE_CRITICAL);
    check_level(0.965, SE_PRESSURE_EMERGENCY);
    check_level(0.995, SE_PRESSURE_SHUTDOWN);
}

Test(pressure, a_delay_counts_every_write_of_its_batch)
{
    struct stuck s;
    stuck_make(&s, 4);
    fill_to(&s, 0.86);
    cr_assert_eq(bed_metric(s.e, "sync_engine_writes_throttled_total", ""), 0);
    cr_assert_eq(put_batch(&s, 5), SE_OK);
    cr_assert_eq(bed_metric(s.e, "sync_engine_writes_throttled_total", ""), 5);
    stuck_remove(&s);
}

/* L1 itself refuses long before the level does: one large item beside others that wait. */
Test(pressure, a_refusal_for_want_of_room_says_when_to_try_again)
{
    struct bed b;
    static const char large[600 * KIB];
    bed_make(&b, &sqlite_only, NULL, NULL);
    b.config.l1_max_bytes = MIB;
    b.config.batch_flush_ms = 60000;
    b.config.batch_flush_count = 1000;
    b.config.batch_flush_bytes = 64 * MIB;
    se_engine *e = bed_open(&b);
    cr_assert_eq(se_retry_after_ms(e), 0);
    cr_assert_eq(se_submit(e, "first", large, sizeof large, NULL), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se_submit(e, "second", large, sizeof large, NULL), SE_ERR_BACKPRESSURE);
    cr_assert_lt(se_pressure_level(e), SE_PRESSURE_CRITICAL);
    cr_assert_gt(se_retry_after_ms(e), 0);
    cr_assert_eq(bed_metric(e, "sync_engine_writes_refused_total", ""), 1);
    cr_assert_eq(se_flush(e, 20000), SE_OK);
    cr_assert_eq(se_submit(e, "second", large, sizeof large, NULL), SE_OK, "%s", se_errmsg());
    bed_close(&b, e);
    bed_remove(&b);
}

/* ---- a writer that has been told to wait for a minute ---- */

#define MINUTE_MS 60000u

struct waiter {
    struct se__thread thread;
    struct stuck *s;
    se_result result;
    atomic_bool done;
};

static void wait_long(void *arg)
{
    struct waiter *w = arg;
    w->result = put_batch(w->s, 1);
    atomic_store(&w->done, true);
}

static bool is_throttled(void *engine)
{
    return bed_metric(engine, "sync_engine_writes_throttled_total", "") >= 1;
}

static bool is_done(void *arg)
{
    return atomic_load(&((struct waiter *)arg)->done);
}

/* At 0.89 a write is delayed by four fifths of throttle_max_ms. */
static void waiter_start(struct waiter *w, struct stuck *s)
{
    stuck_make(s, MINUTE_MS);
    fill_to(s, 0.885);
    *w = (struct waiter){.s = s};
    cr_assert_eq(se__thread_start(&w->thread, "waiter", wait_long, w), SE_OK);
    bed_wait(is_throttled, s->e, "the writer is delayed");
    cr_assert_not(is_done(w));
}

Test(pressure, a_delay_ends_when_pressure_does)
{
    struct stuck s;
    struct waiter w;
    waiter_start(&w, &s);
    stuck_free_database(&s);
    bed_wait(is_done, &w, "the writer goes on"); /* in 20 s, not 50 */
    se__thread_join(&w.thread);
    cr_assert_eq(w.result, SE_OK);
    stuck_remove(&s);
}

Test(pressure, a_close_does_not_wait_for_a_delayed_writer)
{
    struct stuck s;
    struct waiter w;
    waiter_start(&w, &s);
    cr_assert_eq(se_shutdown(s.e, 1000), SE_ERR_TIMEOUT, "what the database never took");
    bed_wait(is_done, &w, "the writer is let go");
    se__thread_join(&w.thread);
    cr_assert_eq(w.result, SE_OK, "it was inside before the engine shut down");
    (void)se_close(s.e, 0);
    stuck_free_database(&s);
    bed_remove(&s.bed);
}

/* ---- the flood ---- */

#define FLOOD_IDS 20000u
#define QUEUE_MAX MIB
#define L1_MAX (16 * MIB)
#define WAL_MAX 1500u

struct rush {
    struct stand stand;
    struct flood flood;
    struct flood_sample base, now, most;
    uint64_t goal;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool rss_tells = false; /* most of it is the sanitizer's */
#else
static const bool rss_tells = true;
#endif

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void look(struct rush *r)
{
    struct flood_sample *s = &r->now;
    flood_sample(&r->flood, s);
    r->most.l1_bytes = larger(r->most.l1_bytes, s->l1_bytes);
    r->most.queue_bytes = larger(r->most.queue_bytes, s->queue_bytes);
    r->most.wal_items = larger(r->most.wal_items, s->wal_items);
    r->most.rss_bytes = larger(r->most.rss_bytes, s->rss_bytes);
}

static bool has_read(void *arg)
{
    struct rush *r = arg;
    look(r);
    return r->now.reads >= r->goal;
}

static bool is_quiet(void *arg)
{
    struct rush *r = arg;
    look(r);
    return r->now.level == SE_PRESSURE_NORMAL && !r->now.queue_items && !r->now.wal_items;
}

static void rush_make(struct rush *r, const struct shape *shape)
{
    *r = (struct rush){0};
    stand_make(&r->stand, shape);
    se_config *c = &r->stand.bed.config;
    c->l1_max_bytes = L1_MAX;
    c->queue_max_bytes = QUEUE_MAX;
    c->wal_max_items = WAL_MAX;
    c->batch_flush_count = 200;
    c->throttle_max_ms = 2;
    c->sql_timeout_ms = 500;
    r->stand.e = bed_open(&r->stand.bed);
    flood_make(&r->flood, r->stand.e, FLOOD_IDS);
}

/* The database works a fifth of the time until the writer has been held back often, and goes on. */
static void slow_the_database(struct rush *r, uint64_t accepted, uint64_t throttled)
{
    uint64_t deadline = se__deadline_in(60000);
    do {
        cr_assert(se__deadline_left(deadline) > 0, "%llu accepted",
                  (unsigned long long)r->now.accepted);
        cr_assert(mariadb_pause(r->stand.mariadb));
        se__pause_ms(20);
        look(r);
        cr_assert(mariadb_resume(r->stand.mariadb));
        se__pause_ms(5);
        look(r);
    } while (r->now.accepted < accepted || r->now.throttled < throttled);
}

/* With the database stopped: until writes are refused, and reads go on at that. */
static void stop_the_database(struct rush *r)
{
    uint64_t deadline = se__deadline_in(60000), refused = r->now.refused;
    cr_assert(mariadb_pause(r->stand.mariadb));
    for (look(r); r->now.refused < refused + 5; look(r)) {
        cr_assert(se__deadline_left(deadline) > 0, "pressure %f", r->now.pressure);
        se__pause_ms(5);
    }
    cr_assert_geq(se_pressure_level(r->stand.e), SE_PRESSURE_CRITICAL);
    r->goal = r->now.reads + 20000;
    bed_wait(has_read, r, "reads go on while writes are refused");
    cr_assert(mariadb_resume(r->stand.mariadb));
}

static void check_bounds(struct rush *r)
{
    cr_assert_leq(r->most.l1_bytes, L1_MAX);
    cr_assert_leq(r->most.queue_bytes, QUEUE_MAX);
    cr_assert_leq(r->most.wal_items, WAL_MAX);
    uint64_t grown = r->most.rss_bytes - r->base.rss_bytes;
    cr_assert(!rss_tells || grown <= L1_MAX + 24 * MIB, "%llu bytes", (unsigned long long)grown);
}

static void check_reads(struct rush *r)
{
    uint64_t reads = r->now.reads - r->base.reads, waits = r->now.read_waits - r->base.read_waits;
    uint64_t hits = r->now.l1_hits - r->base.l1_hits;
    fprintf(stderr, "%s: %llu reads, %llu waited; %.2f of the rate by CPU time before the flood\n",
            r->stand.bed.shape->name, (unsigned long long)reads, (unsigned long long)waits,
            (double)reads / (double)(r->now.read_us - r->base.read_us) /
                ((double)r->base.reads / (double)r->base.read_us));
    cr_assert(waits * 100 <= reads, "%llu of %llu waited", (unsigned long long)waits,
              (unsigned long long)reads);
    cr_assert(hits * 100 >= reads * 99, "%llu of %llu from L1", (unsigned long long)hits,
              (unsigned long long)reads);
}

static void check_rows(struct rush *r)
{
    uint64_t wrong, right = flood_check(&r->flood, r->stand.mariadb, &wrong);
    cr_assert_eq(wrong, 0, "%llu rows are not what was acknowledged", (unsigned long long)wrong);
    cr_assert(right > 1000, "%llu rows", (unsigned long long)right);
}

static void rush(const struct shape *shape)
{
    struct rush r;
    rush_make(&r, shape);
    flood_read(&r.flood);
    r.goal = 100000;
    bed_wait(has_read, &r, "reads, with nothing else going on");
    r.base = r.now;
    flood_write(&r.flood);
    slow_the_database(&r, 5000, 20);
    stop_the_database(&r);
    slow_the_database(&r, r.now.accepted + 2000, 0);
    flood_stop_writing(&r.flood);
    bed_wait(is_quiet, &r, "nothing waits any more");
    flood_stop_reading(&r.flood);
    look(&r);
    check_bounds(&r);
    check_reads(&r);
    cr_assert_eq(atomic_load(&r.flood.unhinted), 0, "a refusal did not say when to try again");
    cr_assert(entered(r.stand.e, SE_PRESSURE_THROTTLE) >= 1);
    cr_assert_eq(se_retry_after_ms(r.stand.e), 0);
    bed_put(r.stand.e, "after", "x");
    stand_flush(&r.stand);
    check_rows(&r);
    truth_balance(r.stand.e);
    flood_done(&r.flood);
    bed_close(&r.stand.bed, r.stand.e);
    stand_remove(&r.stand);
}

Test(pressure, a_flood_is_held_back_in_bounded_memory_and_loses_nothing, .timeout = 250)
{
    rush(&mysql_only);
}

Test(pressure, a_flood_beside_a_wal, .timeout = 250)
{
    rush(&mysql_wal);
}
