/*
 * The wall clock jumps by a day, forward and back, while an engine runs and between its lives.
 *
 * Promised: newest wins whatever the clock says; nothing waits for the clock; lifetimes of copies do not grow by the jump.
 *
 * This program's clock_gettime, gettimeofday and time are the ones that everybody in it calls, SQLite and the connector included.
 */
#include "base/os.h"
#include "fault/local.h"
#include "integration/stand.h"
#include "integration/truth.h"
#include "support/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define DAY_S 86400L

static _Atomic long shift_s;

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int r = (int)syscall(SYS_clock_gettime, clock, t);
    if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        t->tv_sec += atomic_load(&shift_s);
    return r;
}

int gettimeofday(struct timeval *t, void *zone)
{
    struct timespec now;
    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *t = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *t)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (t)
        *t = now.tv_sec;
    return now.tv_sec;
}

static const struct shape sqlite = {"sqlite", SQLITE, false, false};
static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};
static const struct shape servers_wal = {"redis+mysql+wal", MYSQL, true, true};

static const long jumps[] = {DAY_S, -DAY_S, -DAY_S, DAY_S, 2 * DAY_S, -2 * DAY_S};
#define JUMPS (sizeof jumps / sizeof *jumps)

static void jump(size_t i)
{
    atomic_fetch_add(&shift_s, jumps[i % JUMPS]);
}

static void write_all(struct model *m, se_engine *e, unsigned turn)
{
    for (unsigned i = 0; i < MODEL_IDS; i++) {
        se_ack ack = i % 3 == 0 ? SE_ACK_WAL : i % 3 == 1 ? SE_ACK_MEMORY : SE_ACK_L3;
        se_result r = (i + turn) % 7 ? model_put(m, e, i, ack) : model_delete(m, e, i, ack);
        cr_assert(r >= 0, "%d %s", r, se_errmsg());
    }
}

/* Versions of one id only grow, whatever the clock does. */
static uint64_t version_of(se_engine *e, uint64_t least)
{
    se_item *item;
    bed_put(e, "watched", "w");
    cr_assert_eq(se_get(e, "watched", &item), SE_OK);
    uint64_t version = se_item_version(item);
    cr_assert(version > least);
    se_item_release(item);
    return version;
}

static void jumps_on(const struct shape *shape, unsigned rounds)
{
    struct stand s;
    struct model m;
    uint64_t version = 0;
    stand_make(&s, shape);
    model_init(&m, "m");
    s.e = bed_open(&s.bed);
    for (unsigned i = 0; i < rounds; i++) {
        write_all(&m, s.e, i);
        version = version_of(s.e, version);
        jump(i);
        uint64_t began = se__mono_ms();
        model_check(&m, s.e);
        write_all(&m, s.e, i + 3);
        version = version_of(s.e, version);
        stand_flush(&s);
        cr_assert_eq(se_invalidate_prefix(s.e, ""), SE_OK);
        model_check(&m, s.e);
        cr_assert_lt(se__mono_ms() - began, 20000u);
        if (i % 2) { /* and between two lives */
            bed_close(&s.bed, s.e);
            jump(i + 1);
            s.e = bed_open(&s.bed);
            model_check(&m, s.e);
        }
        local_wait_healthy(s.e);
        truth_balance(s.e);
    }
    stand_reopen(&s);
    model_check(&m, s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
    atomic_store(&shift_s, 0);
}

Test(clock, jumps_while_running_and_between_lives_embedded)
{
    jumps_on(&sqlite, (unsigned)local_size("jumps", 12));
    jumps_on(&sqlite_wal, (unsigned)local_size("jumps", 12));
}

Test(clock, jumps_while_running_and_between_lives_with_servers)
{
    jumps_on(&servers_wal, (unsigned)local_size("jumps", 6));
}

/* ---- lifetimes ---- */

static void put_until(se_engine *e, const char *id, int64_t expires_in_ms, uint64_t cache_ttl_ms)
{
    se_submit_options o;
    se_submit_options_init(&o);
    o.expires_at_ms = expires_in_ms ? se__wall_ms() + expires_in_ms : 0;
    o.cache_ttl_ms = cache_ttl_ms;
    cr_assert(se_submit(e, id, "x", 1, &o) >= 0, "%s", se_errmsg());
}

/* expires_at_ms is a moment of the wall clock, and is meant so. */
Test(clock, items_expire_by_the_wall_clock)
{
    struct bed b;
    bed_make(&b, &sqlite, NULL, NULL);
    se_engine *e = bed_open(&b);
    put_until(e, "hour", 3600000, 0);
    put_until(e, "week", 7 * DAY_S * 1000, 0);
    bed_expect(e, "hour", "x");
    atomic_store(&shift_s, DAY_S);
    bed_expect(e, "hour", NULL);
    bed_expect(e, "week", "x");
    cr_assert(se_flush(e, 10000) >= 0);
    atomic_store(&shift_s, -DAY_S);
    bed_expect(e, "week", "x");
    put_until(e, "hour", 3600000, 0); /* a new one, though the clock was ahead */
    bed_expect(e, "hour", "x");
    bed_close(&b, e);
    bed_remove(&b);
    atomic_store(&shift_s, 0);
}

static bool has_left_l1(void *engine)
{
    se_item_status s;
    cr_assert_eq(se_status(engine, "short", &s), SE_OK);
    return !s.in_l1;
}

/* A copy's life is a duration: set back by a day, the clock must not lengthen it by one. */
Test(clock, copies_end_in_time_though_the_clock_was_set_back)
{
    struct bed b;
    bed_make(&b, &sqlite, NULL, NULL);
    se_engine *e = bed_open(&b);
    put_until(e, "short", 0, 300);
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    atomic_store(&shift_s, -DAY_S);
    bed_wait(has_left_l1, e, "the copy has left L1");
    bed_expect(e, "short", "x"); /* from L3 */
    bed_close(&b, e);
    bed_remove(&b);
    atomic_store(&shift_s, 0);
}

/* ---- circuits and timeouts ---- */

static bool circuit_is_open(void *engine)
{
    se_health h;
    se_item *item = NULL;
    (void)se_invalidate(engine, "a");
    (void)se_get(engine, "a", &item);
    se_item_release(item);
    cr_assert_eq(se_health_check(engine, &h), SE_OK);
    return h.sql_circuit == SE_CIRCUIT_OPEN;
}

/* The circuit opens and closes, a flush times out, by the clock that does not jump. */
Test(clock, an_outage_ends_in_time_whatever_the_wall_clock_does)
{
    static const long to[] = {DAY_S, -DAY_S};
    struct stand s;
    stand_make(&s, &servers_wal);
    s.bed.config.sql_timeout_ms = 500;
    s.e = bed_open(&s.bed);
    bed_put(s.e, "a", "1");
    stand_flush(&s);
    for (int i = 0; i < 2; i++) {
        cr_assert(mariadb_kill(s.mariadb));
        bed_wait(circuit_is_open, s.e, "the circuit is open");
        atomic_fetch_add(&shift_s, to[i]);
        bed_put(s.e, "b", i ? "3" : "2");
        uint64_t began = se__mono_ms();
        (void)se_flush(s.e, 500);
        cr_assert_lt(se__mono_ms() - began, 10000u);
        cr_assert(mariadb_restart(s.mariadb));
        local_wait_healthy(s.e);
        bed_expect(s.e, "a", "1");
        bed_expect(s.e, "b", i ? "3" : "2");
    }
    bed_close(&s.bed, s.e);
    stand_remove(&s);
    atomic_store(&shift_s, 0);
}
