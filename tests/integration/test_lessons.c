/*
 * How others lost data: each sentence of the lessons that we keep beside the design has a test. Those at the level of the engine are here
 * (no servers) and in test_lessons_servers.c; where a room tests it, the table names that test. L = here, S = test_lessons_servers.
 *
 * Acknowledged, then lost
 *   "WAL" written only after a flush failed           kill.*, wal_append.is_on_disk_when_it_returns
 *   a shutdown that puts the last batch back          threads.a_shutdown_amidst_writes_loses_nothing, L.a_close_that_cannot_save_says_how_many
 *   a full WAL drops items                            L.a_full_wal_refuses_and_drops_nothing
 *   a file's size as the limit: refused for ever      L.after_an_outage_the_wal_takes_as_much_as_before
 *   a counter that drifts under rewrites              L.rewrites_of_one_id_do_not_fill_the_wal
 *   IN (n) past 32,766                                wal_drain.large_drains_delete_all_their_rows
 *   a drain deletes what came while it ran            wal_drain.an_append_while_draining_is_not_lost
 *   pragmas on one connection of a pool               wal_faults.every_acknowledgement_has_an_fsync_before_it
 *   deletes swallowed in an outage                    S.deletes_of_an_outage_arrive
 *   no store for a route                              flush_route.*, embedded.bad_input_changes_nothing
 * Older over newer
 *   two flushes of one id in flight                   flush_worker.each_ids_versions_reach_home_and_l2_in_order
 *   replay over newer direct writes                   L.a_replay_does_not_go_over_a_newer_write
 *   a load from before a write or delete              S.a_load_from_before_a_delete_does_not_win, l1 map.a_load_does_not_bring_back_...
 *   a delete that leaves the queued put               L.a_delete_cancels_the_queued_put
 *   a version from the reader's clock                 L.a_version_is_the_items_own_in_every_tier
 *   a number given after the item was visible         flush_worker.flush_covers_what_was_pushed_before_and_ends_under_load
 *   a deleted item put into Redis by a read           S.a_load_from_before_a_delete_does_not_win, l2_lease.*
 * Wrong answers
 *   an outage as "not found"; the factory runs        S.in_an_outage_no_factory_runs, tool_program.an_outage_is_not_a_no
 *   ids folded by a collation                         S.ids_are_bytes_in_every_tier
 *   LIKE and its wildcards                            shapes.scans, L.a_prefix_is_no_pattern
 *   JSON printed again                                shapes.types, tool_load.every_line_comes_back_byte_for_byte
 *   ON DUPLICATE KEY tests after assigning            l3 test_guard.c
 *   an id that is a prefix of another                 L.an_id_may_be_a_prefix_of_another
 *   ids that meet the engine's own keys               S.ids_named_like_the_engines_own_keys
 *   a TTL that L1 does not know                       L.a_cache_ttl_ends_copies_and_survives_a_reload, S.expiry_and_ttl_in_redis
 *   (cuckoo filter, Merkle tree: later issues)
 * One stops all
 *   one bad row; one thread that ends; error classes  outages.a_poison_row_stops_itself_only, flush_split.*, l3 test_faults.c
 *   retries in the submitter's call                   S.a_hung_database_does_not_hold_up_a_submit
 *   breakers that guard nothing                       outages.a_hung_mysql_..., guarded.*
 *   a late reply answers the next command             S.a_late_reply_answers_nobody
 *   reconnect options                                 l3 test_faults.c, l2_faults.*
 * Never bounded
 *   counters by load-then-store, loads not counted    l1 test_threads.c, threads.each_reads_its_own_writes_...
 *   evictable bytes as pressure                       L.a_full_cache_of_clean_items_is_no_pressure
 *   eviction of unflushed items                       flight.nothing_dirty_is_ever_evicted
 *   coalescing resets the age                         L.a_busy_id_is_flushed_all_the_same
 *   puts and deletes cut batches                      L.puts_and_deletes_share_a_batch
 *   ids in metric labels                              L.no_id_is_in_the_metrics
 * Said but not so
 *   "0 = disabled"                                    L.zero_means_what_it_says
 *   passwords in logs                                 hostile.*_never_said
 *   counters that count what was not written          L.counters_count_what_the_database_holds
 *   tests served by L1                                in_l1 and counters, all through
 */
#include "base/os.h"
#include "integration/truth.h"
#include "support/test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape sqlite_only = {"sqlite", SQLITE, false, false};
static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};

static void flush(se_engine *e)
{
    cr_assert_eq(se_flush(e, 20000), SE_OK, "%s", se_errmsg());
}

static void forget_copies(se_engine *e)
{
    cr_assert_eq(se_invalidate_prefix(e, ""), SE_OK, "%s", se_errmsg());
}

/* An outage for writes: somebody else holds the database's write lock. */
static sqlite3 *lock_database(struct bed *b)
{
    sqlite3 *db;
    cr_assert_eq(sqlite3_open(b->sql + strlen("sqlite:"), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    cr_assert_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void unlock_database(sqlite3 *db)
{
    cr_assert_eq(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void impatient(se_config *c)
{
    c->sql_timeout_ms = 200;
    c->circuit_failures = 1;
    c->circuit_open_ms = 50;
    c->batch_flush_ms = 2;
    c->throttle_max_ms = 1;
}

static se_result put_numbered(se_engine *e, unsigned i, const char *content, se_ack ack)
{
    char id[32];
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = ack;
    snprintf(id, sizeof id, "n:%06u", i);
    return se_submit(e, id, content, strlen(content), &o);
}

/* Writes new ids until one is refused; returns how many were taken. */
static unsigned put_until_refused(se_engine *e, unsigned from, se_ack ack)
{
    char content[500];
    memset(content, 'x', sizeof content);
    content[sizeof content - 1] = '\0';
    se_result r = SE_OK;
    unsigned n = 0;
    for (; r >= 0 && n < 20000; n += r >= 0)
        r = put_numbered(e, from + n, content, ack);
    cr_assert_eq(r, SE_ERR_BACKPRESSURE, "%d %s after %u", r, se_errmsg(), n);
    return n;
}

/* ---- acknowledged, then lost ---- */

Test(lessons, a_close_that_cannot_save_says_how_many)
{
    struct bed b;
    bed_make(&b, &sqlite_only, NULL, NULL);
    impatient(&b.config);
    se_engine *e = bed_open(&b);
    sqlite3 *lock = lock_database(&b);
    for (unsigned i = 0; i < 7; i++)
        cr_assert_eq(put_numbered(e, i, "unsaved", SE_ACK_MEMORY), SE_OK);
    cr_assert_eq(se_close(e, 300), SE_ERR_TIMEOUT);
    cr_assert(strstr(se_errmsg(), "7 writes"), "%s", se_errmsg());
    unlock_database(lock);
    bed_remove(&b);
}

Test(lessons, a_full_wal_refuses_and_drops_nothing)
{
    struct bed b;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    impatient(&b.config);
    b.config.wal_max_items = 300;
    se_engine *e = bed_open(&b);
    sqlite3 *lock = lock_database(&b);
    unsigned n = put_until_refused(e, 0, SE_ACK_WAL);
    cr_assert(n > 100 && n <= 300 + 64, "%u", n);
    cr_assert_gt(se_retry_after_ms(e), 0);
    uint64_t count;
    forget_copies(e);
    cr_assert_eq(se_count_prefix(e, "n:", &count), SE_OK);
    cr_assert_eq(count, n);
    unlock_database(lock);
    bed_wait(truth_all_home, e, "everything is home");
    cr_assert_eq(truth_number(&b, NULL, "SELECT COUNT(*) FROM sync_items"), n);
    truth_balance(e);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(lessons, after_an_outage_the_wal_takes_as_much_as_before)
{
    struct bed b;
    unsigned taken[3];
    bed_make(&b, &sqlite_wal, NULL, NULL);
    impatient(&b.config);
    b.config.wal_max_bytes = 256 << 10;
    se_engine *e = bed_open(&b);
    for (unsigned i = 0; i < 3; i++) {
        sqlite3 *lock = lock_database(&b);
        taken[i] = put_until_refused(e, i * 100000, SE_ACK_WAL);
        unlock_database(lock);
        bed_wait(truth_all_home, e, "everything is home");
        cr_assert_eq(bed_metric(e, "sync_engine_wal_live_records", ""), 0);
        cr_assert_eq(bed_metric(e, "sync_engine_wal_live_bytes", ""), 0);
    }
    cr_assert(taken[1] > taken[0] * 3 / 4 && taken[2] > taken[0] * 3 / 4, "%u, %u, %u", taken[0],
              taken[1], taken[2]);
    bed_close(&b, e);
    e = bed_open(&b);
    cr_assert_eq(bed_metric(e, "sync_engine_writes_recovered_total", ""), 0,
                 "drained records were replayed");
    bed_close(&b, e);
    bed_remove(&b);
}

/* Between two flushes every SE_ACK_WAL is a record; a flush into the WAL leaves one of each id. */
Test(lessons, rewrites_of_one_id_do_not_fill_the_wal)
{
    struct bed b;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    impatient(&b.config);
    b.config.wal_max_items = 100;
    se_engine *e = bed_open(&b);
    sqlite3 *lock = lock_database(&b);
    char content[16] = "";
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(content, sizeof content, "%u", i);
        se_result r = put_numbered(e, 1, content, i % 2 ? SE_ACK_WAL : SE_ACK_MEMORY);
        cr_assert_geq(r, 0, "rewrite %u: %s", i, se_errmsg());
        if (i % 50 == 49)
            cr_assert_eq(se_flush(e, 20000), SE_PENDING);
    }
    cr_assert_eq(bed_metric(e, "sync_engine_wal_live_records", ""), 1);
    unlock_database(lock);
    bed_wait(truth_all_home, e, "everything is home");
    cr_assert_eq(bed_metric(e, "sync_engine_wal_live_records", ""), 0);
    forget_copies(e);
    bed_expect(e, "n:000001", content);
    truth_balance(e);
    bed_close(&b, e);
    bed_remove(&b);
}

/* ---- older over newer ---- */

Test(lessons, a_replay_does_not_go_over_a_newer_write)
{
    struct bed b;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    impatient(&b.config);
    se_engine *e = bed_open(&b);
    bed_put(e, "x", "first");
    flush(e);
    sqlite3 *lock = lock_database(&b);
    bed_put(e, "x", "of the outage");
    bed_put(e, "y", "of the outage");
    cr_assert_eq(se_close(e, 5000), SE_OK, "%s", se_errmsg()); /* into the WAL */
    unlock_database(lock);
    b.config.wal_path = NULL;
    e = bed_open(&b); /* somebody who does not know that WAL */
    bed_put(e, "x", "newer, written directly");
    bed_close(&b, e);
    b.config.wal_path = b.wal;
    e = bed_open(&b);
    bed_expect(e, "x", "newer, written directly");
    bed_wait(truth_all_home, e, "the WAL is drained");
    cr_assert_eq(bed_metric(e, "sync_engine_writes_recovered_total", ""), 2);
    cr_assert_eq(bed_metric(e, "sync_engine_writes_lost_to_newer_total", ""), 1);
    forget_copies(e);
    bed_expect(e, "x", "newer, written directly");
    bed_expect(e, "y", "of the outage");
    truth_balance(e);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(lessons, a_delete_cancels_the_queued_put)
{
    struct bed b;
    bed_make(&b, &sqlite_only, NULL, NULL);
    b.config.batch_flush_ms = 60000;
    se_engine *e = bed_open(&b);
    bed_put(e, "x", "never seen by the database");
    cr_assert_eq(se_delete(e, "x", NULL), SE_OK);
    bed_expect(e, "x", NULL);
    flush(e);
    cr_assert_eq(bed_metric(e, "sync_engine_writes_superseded_total", ""), 1);
    cr_assert_eq(bed_metric(e, "sync_engine_writes_persisted_total", ""), 1);
    cr_assert_eq(truth_number(&b, NULL, "SELECT COUNT(*) FROM sync_items WHERE deleted = 0"), 0);
    forget_copies(e);
    bed_expect(e, "x", NULL);
    bed_close(&b, e);
    bed_remove(&b);
}

static uint64_t read_version(se_engine *e, const char *id)
{
    se_item *item;
    cr_assert_eq(se_get(e, id, &item), SE_OK, "%s", se_errmsg());
    uint64_t version = se_item_version(item);
    se_item_release(item);
    return version;
}

Test(lessons, a_version_is_the_items_own_in_every_tier)
{
    struct bed b;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    impatient(&b.config);
    se_engine *e = bed_open(&b);
    se_put put = {.id = "x", .content = "1", .len = 1};
    cr_assert_eq(se_submit_many(e, &put, 1, NULL), SE_OK);
    cr_assert_eq(read_version(e, "x"), put.version);
    flush(e);
    forget_copies(e);
    cr_assert_eq(read_version(e, "x"), put.version, "from L3");
    cr_assert_eq((uint64_t)truth_number(&b, NULL, "SELECT version FROM sync_items WHERE id = 'x'"),
                 put.version);
    sqlite3 *lock = lock_database(&b);
    cr_assert_eq(se_submit_many(e, &put, 1, NULL), SE_OK);
    cr_assert_eq(se_flush(e, 20000), SE_PENDING);
    forget_copies(e);
    cr_assert_eq(read_version(e, "x"), put.version, "from the WAL");
    unlock_database(lock);
    bed_close(&b, e);
    e = bed_open(&b);
    cr_assert_eq(read_version(e, "x"), put.version, "after a restart");
    bed_close(&b, e);
    bed_remove(&b);
}

/* ---- wrong answers ---- */

static bool note_ids(void *arg, se_item *item)
{
    char *text = arg;
    strcat(strcat(text, se_item_id(item)), ",");
    return true;
}

static void expect_scan(se_engine *e, const char *prefix, const char *ids)
{
    char text[512] = "";
    cr_assert_eq(se_scan_prefix(e, prefix, 0, note_ids, text), SE_OK);
    cr_assert_str_eq(text, ids, "prefix '%s'", prefix);
}

/* Each against L1 and against the database. */
static void each_place(void (*body)(se_engine *e, bool flushed))
{
    for (int flushed = 0; flushed < 2; flushed++) {
        struct bed b;
        bed_make(&b, &sqlite_only, NULL, NULL);
        se_engine *e = bed_open(&b);
        body(e, flushed);
        bed_close(&b, e);
        bed_remove(&b);
    }
}

static void settle(se_engine *e, bool flushed)
{
    if (!flushed)
        return;
    flush(e);
    forget_copies(e);
}

static void prefixes_of_each_other(se_engine *e, bool flushed)
{
    uint64_t n;
    static const char *const ids[] = {"a", "aa", "aaa", "a:", "a:b", "ab", "b"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        bed_put(e, ids[i], ids[i]);
    settle(e, flushed);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        bed_expect(e, ids[i], ids[i]);
    expect_scan(e, "a", "a,a:,a:b,aa,aaa,ab,");
    expect_scan(e, "aa", "aa,aaa,");
    expect_scan(e, "aaaa", "");
    cr_assert_eq(se_delete(e, "aa", NULL), SE_OK);
    settle(e, flushed);
    expect_scan(e, "", "a,a:,a:b,aaa,ab,b,");
    cr_assert_eq(se_delete_prefix(e, "a:", &n), SE_OK);
    cr_assert_eq(n, 2);
    settle(e, flushed);
    expect_scan(e, "", "a,aaa,ab,b,");
}

Test(lessons, an_id_may_be_a_prefix_of_another)
{
    each_place(prefixes_of_each_other);
}

static void no_pattern(se_engine *e, bool flushed)
{
    uint64_t n;
    static const char *const odd[] = {"%",  "_",  "*",        "?",  "[a-z]", "\\",  "'",
                                      "\"", "`",  ";--",      "{}", "$1",    ":x",  "@v",
                                      "#",  "--", "\xc3\xa9", "~",  " ",     "0x61"};
    char id[64], content[64];
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        snprintf(id, sizeof id, "%s:id", odd[i]);
        bed_put(e, id, id);
    }
    bed_put(e, "X:id", "X:id");
    settle(e, flushed);
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        snprintf(id, sizeof id, "%s:", odd[i]);
        snprintf(content, sizeof content, "%s:id", odd[i]);
        bed_expect(e, content, content);
        cr_assert_eq(se_count_prefix(e, id, &n), SE_OK);
        cr_assert_eq(n, 1, "prefix '%s' counts %llu", id, (unsigned long long)n);
        cr_assert_eq(se_delete_prefix(e, id, &n), SE_OK);
        cr_assert_eq(n, 1, "prefix '%s' deletes %llu", id, (unsigned long long)n);
    }
    settle(e, flushed);
    expect_scan(e, "", "X:id,");
}

Test(lessons, a_prefix_is_no_pattern)
{
    each_place(no_pattern);
}

struct place {
    se_engine *e;
    const char *id;
};

static bool left_l1(void *arg)
{
    struct place *p = arg;
    se_item_status s;
    cr_assert_eq(se_status(p->e, p->id, &s), SE_OK);
    return !s.in_l1;
}

Test(lessons, a_cache_ttl_ends_copies_and_survives_a_reload)
{
    struct bed b;
    bed_make(&b, &sqlite_only, NULL, NULL);
    b.config.batch_flush_ms = 1;
    se_engine *e = bed_open(&b);
    se_submit_options o;
    se_submit_options_init(&o);
    o.cache_ttl_ms = 150;
    cr_assert_eq(se_submit(e, "x", "short-lived copies", 18, &o), SE_OK);
    bed_put(e, "y", "no ttl");
    flush(e);
    struct place x = {e, "x"}, y = {e, "y"};
    for (int reload = 0; reload < 3; reload++) {
        bed_wait(left_l1, &x, "the copy has ended");
        double before = bed_metric(e, "sync_engine_operations_total",
                                   "tier=\"l3\",operation=\"get\",status=\"hit\"");
        bed_expect(e, "x", "short-lived copies"); /* L3 keeps the row */
        cr_assert_gt(bed_metric(e, "sync_engine_operations_total",
                                "tier=\"l3\",operation=\"get\",status=\"hit\""),
                     before);
    }
    cr_assert(!left_l1(&y));
    bed_close(&b, e);
    x.e = e = bed_open(&b);
    bed_expect(e, "x", "short-lived copies");
    bed_wait(left_l1, &x, "the copy of a copy has ended after a restart");
    bed_close(&b, e);
    bed_remove(&b);
}

/* ---- never bounded ---- */

Test(lessons, a_full_cache_of_clean_items_is_no_pressure)
{
    struct bed b;
    char content[2000];
    memset(content, 'x', sizeof content);
    content[sizeof content - 1] = '\0';
    bed_make(&b, &sqlite_only, NULL, NULL);
    b.config.l1_max_bytes = 1 << 20;
    b.config.batch_flush_ms = 1;
    se_engine *e = bed_open(&b);
    for (unsigned i = 0; i < 2000; i++) { /* four times what L1 holds */
        cr_assert_eq(put_numbered(e, i, content, SE_ACK_MEMORY), SE_OK, "%u: %s", i, se_errmsg());
        if (i % 50 == 49)
            flush(e);
    }
    se_health h;
    cr_assert_eq(se_health_check(e, &h), SE_OK);
    cr_assert(h.l1_bytes > (1 << 20) / 2 && h.l1_bytes <= 1 << 20, "%zu bytes", h.l1_bytes);
    cr_assert_eq(h.pressure_level, SE_PRESSURE_NORMAL, "pressure %f", h.pressure);
    cr_assert_eq(se_retry_after_ms(e), 0);
    cr_assert_eq(bed_metric(e, "sync_engine_writes_refused_total", ""), 0);
    cr_assert_eq(bed_metric(e, "sync_engine_writes_throttled_total", ""), 0);
    bed_expect(e, "n:000000", content); /* long evicted */
    bed_close(&b, e);
    bed_remove(&b);
}

Test(lessons, a_busy_id_is_flushed_all_the_same)
{
    struct bed b;
    bed_make(&b, &sqlite_only, NULL, NULL);
    b.config.batch_flush_ms = 50;
    b.config.batch_flush_count = 100000;
    se_engine *e = bed_open(&b);
    uint64_t deadline = se__deadline_in(20000);
    double persisted = 0;
    for (unsigned i = 0; persisted < 3; i++) { /* never 50 ms without a write */
        cr_assert_gt(se__deadline_left(deadline), 0, "%.0f flushes after %u writes", persisted, i);
        cr_assert_eq(put_numbered(e, 1, "busy", SE_ACK_MEMORY), SE_OK);
        if (i % 256 == 0)
            persisted = bed_metric(e, "sync_engine_writes_persisted_total", "");
    }
    flush(e);
    truth_balance(e);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(lessons, puts_and_deletes_share_a_batch)
{
    struct bed b;
    bed_make(&b, &sqlite_only, NULL, NULL);
    b.config.batch_flush_ms = 60000;
    se_engine *e = bed_open(&b);
    for (unsigned i = 0; i < 400; i++) {
        char id[32];
        snprintf(id, sizeof id, "n:%06u", i);
        if (i % 2)
            cr_assert_eq(se_delete(e, id, NULL), SE_OK);
        else
            bed_put(e, id, "x");
    }
    flush(e);
    cr_assert_leq(bed_metric(e, "sync_engine_flush_batches_total", "outcome=\"home\""), 2);
    cr_assert_eq(truth_number(&b, NULL, "SELECT COUNT(*) FROM sync_items WHERE deleted = 0"), 200);
    cr_assert_eq(truth_number(&b, NULL, "SELECT COUNT(*) FROM sync_items WHERE deleted = 1"), 200);
    bed_close(&b, e);
    bed_remove(&b);
}

/* ---- said but not so ---- */

Test(lessons, no_id_is_in_the_metrics)
{
    struct bed b;
    char *text;
    size_t len;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    se_engine *e = bed_open(&b);
    bed_put(e, "a-telling-id", "x");
    bed_expect(e, "a-telling-id", "x");
    bed_expect(e, "a-telling-id-absent", NULL);
    cr_assert_eq(se_set_state(e, "a-telling-id", "a-telling-state"), SE_OK);
    flush(e);
    cr_assert_eq(se_metrics_text(e, &text, &len), SE_OK);
    cr_assert_null(strstr(text, "a-telling"));
    cr_assert(strlen(text) == len && len > 1000);
    free(text);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(lessons, zero_means_what_it_says)
{
    struct bed b;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    b.config.throttle_max_ms = 0;
    b.config.max_clock_skew_ms = 0;
    b.config.filter_snapshot_interval_s = 0;
    b.config.filter_snapshot_insert_threshold = 0;
    se_engine *e = bed_open(&b);
    for (unsigned i = 0; i < 100; i++)
        cr_assert_eq(put_numbered(e, i % 7, "x", SE_ACK_WAL), SE_OK);
    flush(e);
    forget_copies(e);
    bed_expect(e, "n:000001", "x");
    se_item *item = NULL;
    cr_assert_eq(se_flush(e, 0), SE_OK, "nothing is left to wait for: %s", se_errmsg());
    cr_assert_eq(se_get_many(e, NULL, 0, &item, NULL), SE_OK);
    cr_assert_eq(se_submit_many(e, NULL, 0, NULL), SE_OK);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(lessons, counters_count_what_the_database_holds)
{
    struct bed b;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    impatient(&b.config);
    se_engine *e = bed_open(&b);
    bed_put(e, "warm", "x");
    flush(e);
    truth_run(&b, NULL,
              "CREATE TRIGGER writes AFTER INSERT ON sync_items BEGIN INSERT INTO log VALUES "
              "(NEW.version); END;"
              "CREATE TRIGGER rewrites AFTER UPDATE ON sync_items BEGIN INSERT INTO log VALUES "
              "(NEW.version); END;"
              "CREATE TRIGGER bad BEFORE INSERT ON sync_items WHEN NEW.id = 'n:000007' BEGIN "
              "SELECT RAISE(ABORT, 'no 7'); END;"
              "CREATE TABLE log (version)");
    double before = bed_metric(e, "sync_engine_writes_persisted_total", "");
    for (unsigned i = 0; i < 300; i++) {
        sqlite3 *lock = i == 150 ? lock_database(&b) : NULL; /* an outage in the middle */
        for (unsigned k = 0; k < 3; k++)
            cr_assert_geq(put_numbered(e, i % 100, k % 2 ? "odd" : "even",
                                       i % 10 ? SE_ACK_MEMORY : SE_ACK_WAL),
                          0);
        if (lock) {
            (void)se_flush(e, 20000);
            unlock_database(lock);
        }
    }
    bed_wait(truth_all_home, e, "everything is home");
    cr_assert_eq(bed_metric(e, "sync_engine_dead_letters", ""), 1);
    cr_assert_eq(bed_metric(e, "sync_engine_writes_persisted_total", "") - before,
                 (double)truth_number(&b, NULL, "SELECT COUNT(DISTINCT version) FROM log"));
    cr_assert_eq(bed_metric(e, "sync_engine_writes_accepted_total", ""), 901);
    truth_balance(e);
    bed_close(&b, e);
    bed_remove(&b);
}
