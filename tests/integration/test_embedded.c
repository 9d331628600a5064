/*
 * The engine without servers: L1 only, SQLite, each with and without WAL; every public call on each shape.
 */
#include "base/os.h"
#include "integration/bed.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>

static const struct shape shapes[] = {{"l1", NO_SQL, false, false},
                                      {"l1+wal", NO_SQL, false, true},
                                      {"sqlite", SQLITE, false, false},
                                      {"sqlite+wal", SQLITE, false, true}};

static void each_shape(void (*body)(const struct shape *shape, struct bed *b))
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct bed b;
        bed_make(&b, &shapes[i], NULL, NULL);
        body(&shapes[i], &b);
        bed_remove(&b);
    }
}

Test(embedded, submit_get_delete_on_every_shape)
{
    each_shape(body_basics);
}

Test(embedded, a_restart_keeps_what_the_ack_says)
{
    each_shape(body_survives);
}

/* A read that is meant to reach L3 proves it: nothing is in L1. */
Test(embedded, invalidated_and_reopened_reads_come_from_l3)
{
    struct bed b;
    bed_make(&b, &shapes[2], NULL, NULL);
    se_engine *e = bed_open(&b);
    bed_put(e, "x", "from l3");
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    cr_assert_eq(se_invalidate(e, "x"), SE_OK);
    se_item_status s;
    cr_assert_eq(se_status(e, "x", &s), SE_OK);
    cr_assert(!s.in_l1 && s.in_l3 && !s.in_l2 && !s.in_wal);
    cr_assert_eq(s.sync, SE_SYNC_SYNCED);
    bed_expect(e, "x", "from l3");
    cr_assert_eq(se_status(e, "x", &s), SE_OK);
    cr_assert(s.in_l1, "the load was not promoted");
    bed_close(&b, e);
    bed_remove(&b);
}

#define REST "sync_engine_batch_rest_seconds"
#define ROUND "sync_engine_batch_round_trip_seconds"
#define PERSISTED "sync_engine_writes_persisted_total"

Test(embedded, batches_rest_as_long_as_they_cost_unless_an_age_is_set)
{
    struct bed b;
    bed_make(&b, &shapes[2], NULL, NULL);
    se_engine *e = bed_open(&b);
    cr_assert_eq(bed_metric(e, REST, "tier=\"l3\""), 0);
    bed_put(e, "x", "1");
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    cr_assert(bed_metric(e, ROUND, "tier=\"l3\"") > 0);
    double rest = bed_metric(e, REST, "tier=\"l3\"");
    cr_assert(rest > 0 && rest <= 0.1, "%g", rest);
    cr_assert_eq(bed_metric(e, ROUND, "tier=\"l2\""), 0, "there is none");
    bed_close(&b, e);
    b.config.batch_flush_ms = 3600000;
    e = bed_open(&b);
    char id[16];
    for (int i = 0; i < 500; i++) {
        snprintf(id, sizeof id, "y%03d", i);
        bed_put(e, id, "waits for its hour");
    }
    cr_assert_eq(bed_metric(e, PERSISTED, ""), 0);
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    cr_assert_eq(bed_metric(e, PERSISTED, ""), 500);
    cr_assert_eq(bed_metric(e, REST, "tier=\"l3\""), 0);
    bed_close(&b, e);
    bed_remove(&b);
}

#define LIMIT "sync_engine_batch_limit_items"
#define LIMIT_BYTES "sync_engine_batch_limit_bytes"
#define BATCHES "sync_engine_flush_batches_total"

static double put_many(se_engine *e, unsigned n)
{
    double before = bed_metric(e, BATCHES, "outcome=\"home\"");
    char id[16];
    for (unsigned i = 0; i < n; i++) {
        snprintf(id, sizeof id, "many%06u", i);
        bed_put(e, id, "a row among many others");
    }
    cr_assert_eq(se_flush(e, 60000), SE_OK);
    return bed_metric(e, BATCHES, "outcome=\"home\"") - before;
}

/* Idle: a batch a write, at once. Busy: hundreds a batch, the limits at their bounds; and where a batch
 * is to take a millisecond only, they sink to what SQLite does in one. */
Test(embedded, batches_are_as_large_as_their_time_allows)
{
    struct bed b;
    bed_make(&b, &shapes[2], NULL, NULL);
    se_engine *e = bed_open(&b);
    for (unsigned i = 0; i < 10; i++)
        cr_assert_eq(put_many(e, 1), 1);
    double idle = bed_metric(e, REST, "tier=\"l3\"");
    cr_assert(put_many(e, 5000) <= 500);
    cr_assert(bed_metric(e, REST, "tier=\"l3\"") > 0 && idle > 0);
    cr_assert(bed_metric(e, LIMIT, "tier=\"l3\"") >= 100);
    cr_assert(bed_metric(e, LIMIT_BYTES, "tier=\"l3\"") >= 1 << 16);
    cr_assert_eq(bed_metric(e, LIMIT, "tier=\"l2\""), 0, "there is none");
    bed_close(&b, e);
    b.config.batch_flush_ms = 1;
    e = bed_open(&b);
    double limit = 1000;
    for (uint64_t end = se__deadline_in(60000); limit == 1000;) {
        cr_assert(se__deadline_left(end) > 0);
        (void)put_many(e, 1);
        (void)put_many(e, 3000);
        limit = bed_metric(e, LIMIT, "tier=\"l3\"");
    }
    cr_assert(limit >= 1, "%g", limit);
    bed_close(&b, e);
    b.config.batch_flush_count = 999;
    b.config.batch_flush_bytes = 1000000;
    e = bed_open(&b);
    (void)put_many(e, 5000);
    cr_assert_eq(bed_metric(e, LIMIT, "tier=\"l3\""), 0, "not chosen");
    cr_assert_eq(bed_metric(e, LIMIT_BYTES, "tier=\"l3\""), 0);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(embedded, batches_are_all_or_nothing)
{
    each_shape(body_batches);
}

Test(embedded, scans_see_what_is_not_flushed)
{
    each_shape(body_scans);
}

Test(embedded, cache_aside_runs_the_factory_once)
{
    each_shape(body_aside);
}

Test(embedded, bad_input_changes_nothing)
{
    each_shape(body_bad_input);
}

Test(embedded, bytes_come_back_exactly)
{
    each_shape(body_types);
}

Test(embedded, life_fork_shutdown_and_items_that_outlive_it)
{
    each_shape(body_life);
}

Test(embedded, expiry_ends_an_item_everywhere)
{
    struct bed b;
    bed_make(&b, &shapes[2], NULL, NULL);
    se_engine *e = bed_open(&b);
    se_submit_options o;
    se_submit_options_init(&o);
    o.expires_at_ms = 1000; /* long ago */
    cr_assert_eq(se_submit(e, "old", "x", 1, &o), SE_OK);
    bed_expect(e, "old", NULL);
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    cr_assert_eq(se_invalidate(e, "old"), SE_OK);
    bed_expect(e, "old", NULL);
    uint64_t n;
    cr_assert_eq(se_count_prefix(e, "", &n), SE_OK);
    cr_assert_eq(n, 0);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(embedded, a_second_engine_on_one_wal_is_refused)
{
    struct bed b;
    bed_make(&b, &shapes[3], NULL, NULL);
    se_engine *e = bed_open(&b), *second = NULL;
    cr_assert_eq(se_open(&b.config, &second), SE_ERR_STATE, "%s", se_errmsg());
    cr_assert_null(second);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(embedded, a_wal_of_another_database_is_refused)
{
    struct bed b;
    bed_make(&b, &shapes[3], NULL, NULL);
    bed_close(&b, bed_open(&b));
    char other[256];
    test_dir_path(&b.dir, "sqlite:", "other.db", other);
    b.config.sql_url = other;
    se_engine *e = NULL;
    cr_assert_eq(se_open(&b.config, &e), SE_ERR_CONFIG);
    cr_assert(strstr(se_errmsg(), "another database"), "%s", se_errmsg());
    bed_remove(&b);
}

Test(embedded, read_only_reads_and_writes_nothing)
{
    struct bed b;
    bed_make(&b, &shapes[3], NULL, NULL);
    se_engine *e = bed_open(&b), *reader = NULL;
    bed_put(e, "a", "1");
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    b.config.read_only = true;
    cr_assert_eq(se_open(&b.config, &reader), SE_OK, "%s", se_errmsg());
    bed_expect(reader, "a", "1");
    cr_assert_eq(se_submit(reader, "a", "2", 1, NULL), SE_ERR_STATE);
    cr_assert_eq(se_delete(reader, "a", NULL), SE_ERR_STATE);
    cr_assert_eq(se_close(reader, 1000), SE_OK);
    bed_expect(e, "a", "1");
    bed_close(&b, e);
    bed_remove(&b);
}
