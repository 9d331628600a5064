/*
 * What a crash, an outage or another engine leaves behind: copies and records that must not be believed, or must not be lost.
 */
#include "base/os.h"
#include "integration/bed.h"
#include "support/test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPERATIONS "sync_engine_operations_total"

static const struct shape cached = {"redis+sqlite+wal", SQLITE, true, true};
static const struct shape log_only = {"l1+wal", NO_SQL, false, true};
static const struct shape logged = {"sqlite+wal", SQLITE, false, true};

/* Where the database was there is a folder: it cannot be opened. */
static void database_away(struct bed *b, bool away)
{
    char kept[300];
    const char *path = b->sql + strlen("sqlite:");
    (void)snprintf(kept, sizeof kept, "%s.kept", path);
    if (away) {
        cr_assert_eq(rename(path, kept), 0);
        cr_assert_eq(mkdir(path, 0700), 0);
    } else {
        cr_assert_eq(rmdir(path), 0);
        cr_assert_eq(rename(kept, path), 0);
    }
}

static bool wal_is_empty(void *arg)
{
    se_health h;
    cr_assert_eq(se_health_check(arg, &h), SE_OK);
    return h.wal_items == 0;
}

static void short_times(struct bed *b)
{
    b->config.sql_timeout_ms = 300;
    b->config.startup_timeout_ms = 500;
    b->config.circuit_open_ms = 200;
    b->config.batch_flush_ms = 5;
}

/* An engine that never reached the database leaves no row there; what it wrote is drained past Redis. */
Test(doubts, writes_of_a_run_without_the_database_are_not_hidden_by_older_copies_in_redis)
{
    struct redis_server redis;
    redis_server_start(&redis, NULL);
    struct bed b;
    bed_make(&b, &cached, &redis, NULL);
    short_times(&b);
    se_engine *e = bed_open(&b);
    bed_put(e, "x", "old");
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    bed_close(&b, e);
    database_away(&b, true);
    e = bed_open(&b);
    bed_put(e, "x", "new");
    bed_close(&b, e);
    database_away(&b, false);
    e = bed_open(&b);
    bed_wait(wal_is_empty, e, "the WAL is drained");
    bed_expect(e, "x", "new");
    cr_assert_eq(se_invalidate_prefix(e, "y"), SE_OK);
    bed_close(&b, e);
    e = bed_open(&b);
    bed_expect(e, "x", "new");
    bed_close(&b, e);
    bed_remove(&b);
    redis_server_stop(&redis);
}

/* Runs `work` with an engine in a child that ends without closing it. */
static void in_a_crash(struct bed *b, void (*work)(se_engine *e))
{
    pid_t child = fork();
    if (child == 0) {
        se_engine *e = NULL;
        if (se_open(&b->config, &e) != SE_OK)
            _exit(2);
        work(e);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %d", status);
}

static void put_durably(se_engine *e, const char *id, const char *content)
{
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_WAL;
    if (se_submit(e, id, content, strlen(content), &o) != SE_OK)
        _exit(3);
}

static void write_over_records(se_engine *e)
{
    put_durably(e, "twice", "durable");
    put_durably(e, "gone", "durable");
    if (se_submit(e, "twice", "hasty", 5, NULL) != SE_OK || se_delete(e, "gone", NULL) != SE_OK ||
        se_set_state(e, "twice", "seen") != SE_OK)
        _exit(4);
}

/* Where the WAL is all there is, a hasty write must not take the durable one with it, nor let it come back. */
Test(doubts, a_write_in_memory_does_not_undo_a_durable_one)
{
    struct bed b;
    bed_make(&b, &log_only, NULL, NULL);
    in_a_crash(&b, write_over_records);
    se_engine *e = bed_open(&b);
    bed_expect(e, "twice", "hasty");
    bed_expect(e, "gone", NULL);
    bed_close(&b, e);
    bed_remove(&b);
}

/* Records of conditional writes come after the writes, maybe after their flush as well: none may be left. */
Test(doubts, no_record_outlives_its_write)
{
    struct bed b;
    bed_make(&b, &logged, NULL, NULL);
    b.config.default_ack = SE_ACK_WAL;
    b.config.batch_flush_ms = 1;
    b.config.batch_flush_count = 1;
    se_engine *e = bed_open(&b);
    char id[32];
    for (int i = 0; i < 200; i++) {
        (void)snprintf(id, sizeof id, "n:%d", i);
        bed_put(e, id, "content");
    }
    for (int round = 0; round < 5; round++)
        for (int i = 0; i < 200; i++) {
            (void)snprintf(id, sizeof id, "n:%d", i);
            cr_assert_eq(se_set_state(e, id, round % 2 ? "odd" : "even"), SE_OK);
        }
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    cr_assert_eq(bed_metric(e, "sync_engine_wal_live_records", ""), 0);
    bed_close(&b, e);
    bed_remove(&b);
}

struct visitor {
    se_engine *e;
    se_result result;
    se_item *item;
};

static se_result make_content(void *arg, const char *id, void **content, size_t *len)
{
    (void)id;
    *(int *)arg += 1;
    *content = strdup("made");
    *len = 4;
    return SE_OK;
}

static int made;

static void ask_slowly(void *arg)
{
    struct visitor *v = arg;
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_L3;
    v->result = se_get_or_insert_with(v->e, "x", make_content, &made, &o, &v->item);
}

static bool is_there(void *arg)
{
    bool found = false;
    return se_contains(arg, "x", &found) == SE_OK && found;
}

/* The maker waits for its ack, and the item has been deleted since: who asks now must not get it. */
Test(doubts, a_deleted_item_is_not_handed_out_by_who_made_it)
{
    struct bed b;
    bed_make(&b, &logged, NULL, NULL);
    b.config.wal_path = NULL;
    b.config.sql_timeout_ms = 2000;
    se_engine *e = bed_open(&b);
    sqlite3 *db;
    cr_assert_eq(sqlite3_open(b.sql + strlen("sqlite:"), &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct visitor maker = {.e = e}, later = {.e = e};
    struct se__thread thread = {.started = false};
    cr_assert_eq(se__thread_start(&thread, "maker", ask_slowly, &maker), SE_OK);
    bed_wait(is_there, e, "the item is made");
    cr_assert_eq(se_delete(e, "x", NULL), SE_OK);
    later.result = se_get_or_insert_with(e, "x", make_content, &made, NULL, &later.item);
    cr_assert_eq(later.result, SE_OK, "%s", se_errmsg());
    cr_assert_eq(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_close(db), SQLITE_OK);
    se__thread_join(&thread);
    cr_assert_eq(made, 2, "the factory ran %d times", made);
    cr_assert(se_item_version(later.item) > se_item_version(maker.item));
    se_item_release(maker.item);
    se_item_release(later.item);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(doubts, lists_that_are_refused_say_so_for_every_id)
{
    struct bed b;
    bed_make(&b, &logged, NULL, NULL);
    se_engine *e = bed_open(&b);
    const char *ids[2] = {"a", ""};
    se_item *items[2] = {(se_item *)&b, (se_item *)&b};
    se_result results[2] = {SE_OK, SE_OK};
    cr_assert_eq(se_get_many(e, ids, 2, items, results), SE_ERR_INVALID);
    cr_assert(!items[0] && !items[1] && results[0] < 0 && results[1] < 0);
    se_put puts[2] = {{.id = "a", .content = "1", .len = 1}, {.id = "b", .content = "2", .len = 1}};
    se_batch_result sum;
    cr_assert_eq(se_shutdown(e, 10000), SE_OK);
    cr_assert_eq(se_submit_many(e, puts, 2, &sum), SE_ERR_STATE);
    cr_assert(puts[0].result == SE_ERR_STATE && puts[1].result == SE_ERR_STATE);
    cr_assert(sum.total == 2 && sum.failed == 2 && sum.succeeded == 0);
    bed_close(&b, e);
    bed_remove(&b);
}

static bool note_visit(void *arg, se_item *item)
{
    (void)item;
    *(int *)arg += 1;
    return true;
}

/* While the drain is far from it, a write in the WAL that a later delete in the database has made void. */
Test(doubts, a_scan_does_not_show_what_was_deleted_after_the_wal_had_it)
{
    struct bed b;
    bed_make(&b, &logged, NULL, NULL);
    short_times(&b);
    bed_close(&b, bed_open(&b));
    database_away(&b, true);
    se_engine *e = bed_open(&b);
    char id[32];
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(id, sizeof id, "n:%d", i);
        bed_put(e, id, "content");
    }
    cr_assert_eq(se_flush(e, 10000), SE_PENDING);
    bed_put(e, "x", "old");
    bed_close(&b, e);
    database_away(&b, false);
    b.config.wal_path = NULL;
    e = bed_open(&b);
    for (int i = 0; i < 10000; i++) /* this clock knows nothing of those writes: past them */
        bed_put(e, "busy", "content");
    cr_assert_eq(se_delete(e, "x", NULL), SE_OK);
    bed_close(&b, e);
    b.config.wal_path = b.wal;
    b.config.wal_drain_batch_size = 1;
    e = bed_open(&b);
    int seen = 0;
    uint64_t n = 7;
    cr_assert_eq(se_scan_prefix(e, "x", 0, note_visit, &seen), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se_count_prefix(e, "x", &n), SE_OK);
    cr_assert(!wal_is_empty(e), "the drain was too fast for this test");
    cr_assert_eq(seen, 0);
    cr_assert_eq(n, 0);
    bed_close(&b, e);
    bed_remove(&b);
}

/* Copies past their life are not there, and a load from before them must not say so of their item. */
Test(doubts, a_copy_past_its_life_leaves_and_its_item_stays)
{
    struct bed b;
    bed_make(&b, &logged, NULL, NULL);
    b.config.batch_flush_ms = 1;
    se_engine *e = bed_open(&b);
    se_submit_options o;
    se_submit_options_init(&o);
    o.cache_ttl_ms = 1;
    cr_assert_eq(se_submit(e, "x", "1", 1, &o), SE_OK);
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    se__pause_ms(3);
    bed_expect(e, "x", "1");
    int runs = made;
    se_item *item;
    cr_assert_eq(se_get_or_insert_with(e, "x", make_content, &made, NULL, &item), SE_OK);
    cr_assert_eq(made, runs);
    cr_assert_eq(se_item_content_len(item), 1);
    se_item_release(item);
    bed_close(&b, e);
    bed_remove(&b);
}

static bool l2_is_doubted(void *arg)
{
    return bed_metric(arg, "sync_engine_l2_suspect_ids", "") > 0;
}

static bool l2_is_believed(void *arg)
{
    return !l2_is_doubted(arg);
}

/* What a Redis missed that stood still for a moment it is told later; then the next start believes it. */
Test(doubts, a_redis_that_fell_behind_and_caught_up_is_believed_at_the_next_start)
{
    struct redis_server redis;
    redis_server_start(&redis, NULL);
    struct bed b;
    bed_make(&b, &cached, &redis, NULL);
    b.config.redis_timeout_ms = 100;
    b.config.circuit_open_ms = 200;
    se_engine *e = bed_open(&b);
    bed_put(e, "kept", "1");
    bed_put(e, "missed", "old");
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    redis_server_pause(&redis);
    bed_put(e, "missed", "new");
    bed_wait(l2_is_doubted, e, "Redis did not take it");
    redis_server_resume(&redis);
    bed_wait(l2_is_believed, e, "Redis has been told");
    bed_close(&b, e);
    e = bed_open(&b);
    cr_assert_eq(bed_metric(e, "sync_engine_l2_generations_total", ""), 0);
    bed_expect(e, "missed", "new");
    double hits = bed_metric(e, OPERATIONS, "tier=\"l2\",operation=\"get\",status=\"hit\"");
    bed_expect(e, "kept", "1");
    cr_assert_eq(bed_metric(e, OPERATIONS, "tier=\"l2\",operation=\"get\",status=\"hit\""), hits + 1);
    bed_close(&b, e);
    bed_remove(&b);
    redis_server_stop(&redis);
}

static int64_t version_ahead_ms(se_engine *e, const char *id)
{
    se_put put = {.id = id, .content = "1", .len = 1};
    cr_assert_eq(se_submit_many(e, &put, 1, NULL), SE_OK);
    return (int64_t)(put.version >> 16) - se__wall_ms();
}

/* Each heartbeat takes note of the others' ceilings, which are ahead of their clocks. */
Test(doubts, engines_beside_each_other_do_not_drive_their_clocks_on)
{
    static const struct shape plain = {"sqlite", SQLITE, false, false};
    struct bed b;
    bed_make(&b, &plain, NULL, NULL);
    se_engine *one = bed_open(&b), *two = bed_open(&b);
    for (int seconds = 0; seconds < 8; seconds++) { /* two heartbeats of each and more */
        se__pause_ms(1000);
        cr_assert_leq(version_ahead_ms(one, "x"), 21000);
        cr_assert_leq(version_ahead_ms(two, "y"), 21000);
    }
    bed_close(&b, one);
    bed_close(&b, two);
    bed_remove(&b);
}

/* Every start begins at the last ceiling: restarts must not carry the clock away. */
Test(doubts, restarts_do_not_drive_the_clock_on)
{
    struct bed b;
    bed_make(&b, &logged, NULL, NULL);
    int64_t ahead = 0;
    for (int i = 0; i < 12; i++) {
        se_engine *e = bed_open(&b);
        ahead = version_ahead_ms(e, "x");
        bed_close(&b, e);
    }
    cr_assert_leq(ahead, 20000);
    bed_remove(&b);
}
