/*
 * Real servers that stop, die and come back while the engine works: fallback, recovery, pressure, circuits, poison rows.
 */
#include "base/os.h"
#include "integration/stand.h"
#include "integration/truth.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape mysql_wal = {"mysql+wal", MYSQL, false, true};
static const struct shape mysql_only = {"mysql", MYSQL, false, false};
static const struct shape both = {"redis+mysql", MYSQL, true, false};
static const struct shape both_wal = {"redis+mysql+wal", MYSQL, true, true};
static const struct shape redis_only = {"redis", NO_SQL, true, false};

/* Shorter than a stand's, so that outages are noticed in test time. */
static void short_make(struct stand *s, const struct shape *shape)
{
    stand_make(s, shape);
    s->bed.config.sql_timeout_ms = 500;
    s->bed.config.redis_timeout_ms = 100;
    s->bed.config.read_timeout_ms = 1000;
}

static void put_numbered(se_engine *e, int from, int to, const char *word)
{
    for (int i = from; i < to; i++) {
        char id[32], content[64];
        snprintf(id, sizeof id, "n:%04d", i);
        snprintf(content, sizeof content, "%s %d", word, i);
        bed_put(e, id, content);
    }
}

static void expect_numbered(se_engine *e, int from, int to, const char *word)
{
    for (int i = from; i < to; i++) {
        char id[32], content[64];
        snprintf(id, sizeof id, "n:%04d", i);
        snprintf(content, sizeof content, "%s %d", word, i);
        bed_expect(e, id, content);
    }
}

static bool wal_is_empty(void *arg)
{
    se_health h;
    cr_assert_eq(se_health_check(arg, &h), SE_OK);
    return h.wal_items == 0;
}

static bool wal_has_some(void *arg)
{
    return !wal_is_empty(arg);
}

static bool sql_circuit_open(void *arg)
{
    se_health h;
    cr_assert_eq(se_health_check(arg, &h), SE_OK);
    return h.sql_circuit == SE_CIRCUIT_OPEN;
}

static bool all_flushed(void *arg)
{
    return se_flush(arg, 1000) == SE_OK;
}

Test(outages, mysql_dies_the_wal_takes_over_and_is_drained)
{
    struct stand s;
    short_make(&s, &mysql_wal);
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 300, "before");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    cr_assert(mariadb_kill(s.mariadb));
    put_numbered(s.e, 100, 400, "during");
    bed_wait(wal_has_some, s.e, "the WAL has writes");
    cr_assert_eq(se_flush(s.e, 10000), SE_PENDING);
    cr_assert_eq(se_invalidate_prefix(s.e, ""), SE_OK);
    expect_numbered(s.e, 100, 400, "during"); /* from the WAL */
    cr_assert(bed_metric(s.e, "sync_engine_operations_total", "tier=\"wal\"") >= 300);
    se_item *item;
    cr_assert_eq(se_get(s.e, "n:0001", &item), SE_ERR_BACKEND, "an outage is not a no");
    cr_assert_null(item);
    cr_assert(mariadb_restart(s.mariadb));
    bed_wait(wal_is_empty, s.e, "the WAL is drained");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK, "%s", se_errmsg());
    cr_assert_eq(mariadb_number(s.mariadb, "SELECT COUNT(*) FROM sync_items"), 400);
    cr_assert_eq(
        mariadb_number(s.mariadb,
                       "SELECT COUNT(*) FROM sync_items WHERE payload_blob LIKE 'during %'"),
        300);
    cr_assert_eq(se_invalidate_prefix(s.e, ""), SE_OK);
    expect_numbered(s.e, 0, 100, "before");
    expect_numbered(s.e, 100, 400, "during");
    truth_balance(s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(outages, a_restart_while_mysql_is_down_shows_the_wal_at_once)
{
    struct stand s;
    short_make(&s, &mysql_wal);
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 50, "old");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    cr_assert(mariadb_kill(s.mariadb));
    put_numbered(s.e, 0, 50, "new");
    cr_assert_eq(se_delete(s.e, "n:0007", NULL), SE_OK);
    cr_assert_eq(se_close(s.e, 10000), SE_OK, "%s", se_errmsg());
    s.bed.config.startup_timeout_ms = 500;
    s.e = bed_open(&s.bed);
    se_health h;
    cr_assert_eq(se_health_check(s.e, &h), SE_OK);
    cr_assert(h.sql_up == 0 && !h.healthy && h.accepting_writes);
    cr_assert_eq(h.wal_items, 50);
    expect_numbered(s.e, 8, 50, "new");
    bed_expect(s.e, "n:0007", NULL);
    cr_assert(mariadb_restart(s.mariadb));
    bed_wait(wal_is_empty, s.e, "the WAL is drained");
    bed_wait(all_flushed, s.e, "everything is home");
    cr_assert_eq(se_invalidate_prefix(s.e, ""), SE_OK);
    expect_numbered(s.e, 8, 50, "new");
    bed_expect(s.e, "n:0007", NULL);
    truth_balance(s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(outages, require_backends_refuses_to_open_degraded)
{
    struct stand s;
    short_make(&s, &mysql_only);
    cr_assert(mariadb_kill(s.mariadb));
    s.bed.config.require_backends = true;
    s.bed.config.startup_timeout_ms = 500;
    se_engine *e = (se_engine *)&s;
    cr_assert_eq(se_open(&s.bed.config, &e), SE_ERR_BACKEND);
    cr_assert_null(e);
    cr_assert(strstr(se_errmsg(), "require_backends"), "%s", se_errmsg());
    stand_remove(&s);
}

Test(outages, without_a_wal_nothing_is_dropped_and_pressure_refuses)
{
    struct stand s;
    short_make(&s, &mysql_only);
    s.bed.config.queue_max_bytes = 256 << 10;
    s.bed.config.throttle_max_ms = 1;
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 10, "before");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    cr_assert(mariadb_kill(s.mariadb));
    char content[1000];
    memset(content, 'x', sizeof content);
    int accepted = 0;
    se_result r = SE_OK;
    while (r == SE_OK && accepted < 10000) {
        char id[32];
        snprintf(id, sizeof id, "p:%05d", accepted);
        r = se_submit(s.e, id, content, sizeof content, NULL);
        accepted += r == SE_OK;
    }
    cr_assert_eq(r, SE_ERR_BACKPRESSURE, "%d after %d", r, accepted);
    cr_assert(accepted > 50 && accepted < 1000, "%d", accepted);
    cr_assert(se_retry_after_ms(s.e) > 0);
    cr_assert_geq(se_pressure_level(s.e), SE_PRESSURE_CRITICAL);
    for (int i = 0; i < accepted; i++) {
        char id[32];
        bool found;
        snprintf(id, sizeof id, "p:%05d", i);
        cr_assert_eq(se_contains(s.e, id, &found), SE_OK);
        cr_assert(found, "%s was dropped", id);
    }
    cr_assert(mariadb_restart(s.mariadb));
    bed_wait(all_flushed, s.e, "everything is home");
    cr_assert_eq(mariadb_number(s.mariadb, "SELECT COUNT(*) FROM sync_items WHERE id LIKE 'p:%'"),
                 accepted);
    cr_assert_eq(se_submit(s.e, "after", "x", 1, NULL), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    truth_balance(s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(outages, a_hung_mysql_costs_a_hit_nothing_and_a_miss_its_timeout)
{
    struct stand s;
    short_make(&s, &mysql_wal);
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 10, "here");
    bed_put(s.e, "below", "only in the database");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    cr_assert_eq(se_invalidate(s.e, "below"), SE_OK);
    cr_assert(mariadb_pause(s.mariadb));
    uint64_t began = se__mono_ms();
    se_item *item;
    cr_assert_eq(se_get(s.e, "below", &item), SE_ERR_BACKEND);
    uint64_t took = se__mono_ms() - began;
    cr_assert(took < 1000 + 100, "%llu ms", (unsigned long long)took);
    expect_numbered(s.e, 0, 10, "here");
    while (!sql_circuit_open(s.e)) {
        cr_assert_eq(se_get(s.e, "below", &item), SE_ERR_BACKEND);
        cr_assert(se__mono_ms() - began < 20000);
    }
    put_numbered(s.e, 0, 10, "newer");
    expect_numbered(s.e, 0, 10, "newer");
    cr_assert(mariadb_resume(s.mariadb));
    bed_wait(all_flushed, s.e, "everything is home");
    cr_assert_eq(se_invalidate_prefix(s.e, ""), SE_OK);
    expect_numbered(s.e, 0, 10, "newer");
    truth_balance(s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

static bool redis_is_up(void *arg)
{
    se_health h;
    cr_assert_eq(se_health_check(arg, &h), SE_OK);
    return h.redis_up == 1 && h.redis_circuit == SE_CIRCUIT_CLOSED;
}

/* With Redis stopped and come back with what it had: nothing older than MySQL's is ever shown. */
Test(outages, a_redis_that_missed_writes_is_not_believed)
{
    struct stand s;
    short_make(&s, &both);
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 100, "old");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    redis_server_pause(&s.redis);
    put_numbered(s.e, 0, 100, "new");
    cr_assert_eq(se_flush(s.e, 20000), SE_OK, "%s", se_errmsg());
    cr_assert_eq(mariadb_number(s.mariadb,
                                "SELECT COUNT(*) FROM sync_items WHERE payload_blob LIKE 'new %'"),
                 100);
    cr_assert(bed_metric(s.e, "sync_engine_l2_suspect_ids", "") > 0);
    redis_server_resume(&s.redis);
    bed_wait(redis_is_up, s.e, "redis is up");
    cr_assert_eq(se_close(s.e, 10000), SE_OK); /* nothing in L1 any more */
    s.e = bed_open(&s.bed);
    expect_numbered(s.e, 0, 100, "new");
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

static bool redis_circuit_open(void *arg)
{
    se_health h;
    cr_assert_eq(se_health_check(arg, &h), SE_OK);
    return h.redis_circuit == SE_CIRCUIT_OPEN;
}

/* Law 9. Each would cost its timeout if the circuit were not asked: the bound is half of that. */
Test(outages, invalidations_do_not_wait_for_a_redis_whose_circuit_is_open)
{
    enum { N = 60 };
    struct stand s;
    stand_make(&s, &both);
    s.bed.config.redis_timeout_ms = 250;
    s.bed.config.circuit_open_ms = 60000;
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, N, "old");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    redis_server_pause(&s.redis);
    put_numbered(s.e, 0, N, "new");
    bed_wait(redis_circuit_open, s.e, "the circuit is open");
    cr_assert_eq(se_flush(s.e, 20000), SE_OK, "%s", se_errmsg());
    uint64_t start = se__mono_ms();
    for (int i = 0; i < N; i++) {
        char id[32];
        snprintf(id, sizeof id, "n:%04d", i);
        cr_assert_eq(se_invalidate(s.e, id), SE_OK);
    }
    cr_assert_lt(se__mono_ms() - start, N * 250u / 2);
    redis_server_resume(&s.redis); /* what it holds is not believed */
    expect_numbered(s.e, 0, N, "new");
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(outages, redis_dies_and_comes_back_empty)
{
    struct stand s;
    short_make(&s, &both_wal);
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 100, "old");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    redis_server_kill(&s.redis);
    put_numbered(s.e, 50, 150, "new");
    cr_assert_eq(se_flush(s.e, 20000), SE_OK, "%s", se_errmsg());
    expect_numbered(s.e, 50, 150, "new");
    redis_server_restart(&s.redis, false);
    bed_wait(redis_is_up, s.e, "redis is up");
    expect_numbered(s.e, 0, 50, "old");
    put_numbered(s.e, 0, 150, "newest");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    expect_numbered(s.e, 0, 150, "newest");
    truth_balance(s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(outages, redis_alone_as_home_goes_and_comes)
{
    struct stand s;
    short_make(&s, &redis_only);
    s.redis.options.append_only = true;
    redis_server_restart(&s.redis, false);
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 50, "old");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    redis_server_kill(&s.redis);
    put_numbered(s.e, 0, 50, "new");
    expect_numbered(s.e, 0, 50, "new");
    se_item *item;
    cr_assert_eq(se_get(s.e, "absent", &item), SE_ERR_BACKEND);
    redis_server_restart(&s.redis, true);
    bed_wait(all_flushed, s.e, "everything is home");
    cr_assert_eq(se_close(s.e, 10000), SE_OK);
    s.e = bed_open(&s.bed);
    expect_numbered(s.e, 0, 50, "new");
    bed_expect(s.e, "absent", NULL);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* One row that the database refuses: a dead letter, still served; the 99 others go through. */
Test(outages, a_poison_row_stops_itself_only)
{
    struct stand s;
    short_make(&s, &mysql_wal);
    s.e = bed_open(&s.bed);
    cr_assert_eq(se_submit(s.e, "first", "x", 1, NULL), SE_OK);
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    cr_assert(mariadb_exec(s.mariadb,
                           "ALTER TABLE sync_items ADD CONSTRAINT no_bad CHECK (id <> 'n:0042')"));
    put_numbered(s.e, 0, 100, "fine");
    (void)se_flush(s.e, 10000);
    se_health h;
    cr_assert_eq(se_health_check(s.e, &h), SE_OK);
    cr_assert_eq(h.dead_letters, 1);
    cr_assert_eq(mariadb_number(s.mariadb, "SELECT COUNT(*) FROM sync_items WHERE id LIKE 'n:%'"),
                 99);
    cr_assert_eq(se_invalidate_prefix(s.e, ""), SE_OK);
    expect_numbered(s.e, 0, 100, "fine");
    truth_balance(s.e);
    cr_assert_eq(se_close(s.e, 10000), SE_OK);
    s.e = bed_open(&s.bed);
    bed_expect(s.e, "n:0042", "fine 42"); /* a dead letter outlives the process */
    cr_assert(mariadb_exec(s.mariadb, "ALTER TABLE sync_items DROP CONSTRAINT no_bad"));
    bed_put(s.e, "n:0042", "newer");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    cr_assert_eq(se_health_check(s.e, &h), SE_OK);
    cr_assert_eq(h.dead_letters, 0, "a newer write resolves it");
    truth_balance(s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(outages, acks_say_what_is_true)
{
    struct stand s;
    short_make(&s, &mysql_wal);
    s.bed.config.ack_timeout_ms = 3000;
    s.e = bed_open(&s.bed);
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_L3;
    cr_assert_eq(se_submit(s.e, "a", "1", 1, &o), SE_OK, "%s", se_errmsg());
    cr_assert_eq(mariadb_number(s.mariadb, "SELECT COUNT(*) FROM sync_items WHERE id = 'a'"), 1);
    o.ack = SE_ACK_WAL;
    cr_assert_eq(se_submit(s.e, "b", "1", 1, &o), SE_OK);
    cr_assert(mariadb_kill(s.mariadb));
    o.ack = SE_ACK_L3;
    cr_assert_eq(se_submit(s.e, "a", "2", 1, &o), SE_PENDING);
    o.ack = SE_ACK_WAL;
    cr_assert_eq(se_submit(s.e, "b", "2", 1, &o), SE_OK);
    bed_expect(s.e, "a", "2");
    se_item_status st;
    cr_assert_eq(se_status(s.e, "a", &st), SE_OK, "%s", se_errmsg());
    cr_assert_eq(st.sync, SE_SYNC_PENDING);
    cr_assert(st.in_wal);
    cr_assert(mariadb_restart(s.mariadb));
    bed_wait(all_flushed, s.e, "everything is home");
    cr_assert_eq(se_status(s.e, "a", &st), SE_OK);
    cr_assert_eq(st.sync, SE_SYNC_SYNCED);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* Routes, beside both tiers: what a write skips gets its tombstone or floor. */
Test(outages, routes_never_show_an_older_copy)
{
    struct stand s;
    short_make(&s, &both);
    s.e = bed_open(&s.bed);
    se_submit_options l2, l3;
    se_submit_options_init(&l2);
    se_submit_options_init(&l3);
    l2.route = SE_ROUTE_L2;
    l3.route = SE_ROUTE_L3;
    bed_put(s.e, "x", "both");
    bed_put(s.e, "y", "both");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    cr_assert_eq(se_submit(s.e, "x", "cache", 5, &l2), SE_OK);
    cr_assert_eq(se_submit(s.e, "y", "durable", 7, &l3), SE_OK);
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    se_item_status st;
    cr_assert_eq(se_status(s.e, "x", &st), SE_OK);
    cr_assert(st.in_l2 && !st.in_l3);
    cr_assert_eq(se_status(s.e, "y", &st), SE_OK);
    cr_assert(!st.in_l2 && st.in_l3);
    cr_assert_eq(se_close(s.e, 10000), SE_OK);
    s.e = bed_open(&s.bed);
    bed_expect(s.e, "x", "cache");
    bed_expect(s.e, "y", "durable");
    cr_assert_eq(se_close(s.e, 10000), SE_OK);
    char reply[64];
    redis_server_ask(&s.redis, reply, sizeof reply, "FLUSHALL");
    s.e = bed_open(&s.bed);
    bed_expect(s.e, "x", NULL); /* gone, and not the row from before */
    bed_expect(s.e, "y", "durable");
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(outages, garbage_in_redis_is_a_counted_miss_and_is_healed)
{
    struct stand s;
    short_make(&s, &both);
    s.e = bed_open(&s.bed);
    bed_put(s.e, "g", "good");
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    cr_assert_eq(se_close(s.e, 10000), SE_OK);
    char reply[512];
    redis_server_ask(&s.redis, reply, sizeof reply, "SETRANGE %s %d %s", "sync:g", 90, "XY");
    s.e = bed_open(&s.bed);
    bed_expect(s.e, "g", "good");
    cr_assert_eq(bed_metric(s.e, "sync_engine_corruption_detected_total", "tier=\"l2\""), 1);
    cr_assert_eq(bed_metric(s.e, "sync_engine_healed_total", "tier=\"l2\""), 1);
    cr_assert_eq(se_close(s.e, 10000), SE_OK);
    s.e = bed_open(&s.bed);
    bed_expect(s.e, "g", "good");
    cr_assert_eq(bed_metric(s.e, "sync_engine_corruption_detected_total", "tier=\"l2\""), 0,
                 "it was not healed");
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* A row whose version is a day ahead of every clock here: a write that does not know it must still win, once it is acknowledged. */
Test(outages, a_blind_write_wins_against_a_version_of_a_wrong_clock)
{
    struct stand s;
    short_make(&s, &mysql_wal);
    s.e = bed_open(&s.bed);
    bed_put(s.e, "w", "old");
    bed_put(s.e, "v", "old");
    bed_close(&s.bed, s.e);
    cr_assert(
        mariadb_exec(s.mariadb, "UPDATE sync_items SET version = version + (86400000 << 16)"));
    s.e = bed_open(&s.bed);
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_WAL;
    bed_put(s.e, "w", "new");
    cr_assert_eq(se_submit(s.e, "v", "new", 3, &o), SE_OK);
    o.ack = SE_ACK_L3;
    cr_assert_eq(se_submit(s.e, "v", "newer", 5, &o), SE_OK, "%s", se_errmsg());
    bed_wait(all_flushed, s.e, "everything is home");
    bed_expect(s.e, "w", "new");
    bed_expect(s.e, "v", "newer");
    cr_assert_eq(se_invalidate_prefix(s.e, ""), SE_OK);
    bed_expect(s.e, "w", "new");
    bed_expect(s.e, "v", "newer");
    cr_assert_eq(
        mariadb_number(s.mariadb, "SELECT COUNT(*) FROM sync_items WHERE payload_blob LIKE 'new%'"),
        2);
    se_item *item;
    bed_put(s.e, "other", "x");
    cr_assert_eq(se_get(s.e, "other", &item), SE_OK);
    cr_assert((int64_t)(se_item_version(item) >> 16) < se__wall_ms() + 3600000,
              "the clock was pushed");
    se_item_release(item);
    cr_assert_eq(se_flush(s.e, 10000), SE_OK);
    truth_balance(s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}
