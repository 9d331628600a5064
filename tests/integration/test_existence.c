/*
 * The filter in a whole engine: what it saves, when it is believed, and that it never says a false "no".
 */
#include "base/os.h"
#include "integration/stand.h"
#include "integration/truth.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct shape sqlite = {"sqlite", SQLITE, false, false};
static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};
static const struct shape mysql_only = {"mysql", MYSQL, false, false};
static const struct shape mysql_wal = {"mysql+wal", MYSQL, false, true};
static const struct shape both = {"redis+mysql", MYSQL, true, false};
static const struct shape cached = {"redis+sqlite", SQLITE, true, false};
static const struct shape redis_only = {"redis", NO_SQL, true, false};

static void put_numbered(se_engine *e, int from, int to)
{
    for (int i = from; i < to; i++) {
        char id[32];
        snprintf(id, sizeof id, "n:%05d", i);
        bed_put(e, id, id);
    }
}

static void expect_there(se_engine *e, int from, int to)
{
    for (int i = from; i < to; i++) {
        char id[32];
        bool found = false;
        snprintf(id, sizeof id, "n:%05d", i);
        cr_assert(!se_definitely_missing(e, id), "%s", id);
        cr_assert(se_might_exist(e, id), "%s", id);
        cr_assert_eq(se_contains(e, id, &found), SE_OK, "%s", se_errmsg());
        cr_assert(found, "%s", id);
    }
}

/* Returns how many of n absent ids the filter excludes. */
static int excluded(se_engine *e, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        char id[32];
        snprintf(id, sizeof id, "absent:%d", i);
        count += se_definitely_missing(e, id);
    }
    return count;
}

static se_trust trust(se_engine *e, const char **doubt)
{
    se_health h;
    cr_assert_eq(se_health_check(e, &h), SE_OK);
    if (doubt)
        *doubt = h.filter_doubt;
    cr_assert_eq(h.filter_trust == SE_TRUST_TRUSTED, h.filter_doubt == NULL);
    return h.filter_trust;
}

static bool trusted(void *arg)
{
    return trust(arg, NULL) == SE_TRUST_TRUSTED;
}

static bool untrusted(void *arg)
{
    return !trusted(arg);
}

/* ---- what it saves ---- */

static void no_round_trip(const struct shape *shape)
{
    struct stand s;
    stand_make(&s, shape);
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 500);
    stand_reopen(&s);
    cr_assert(trusted(s.e));
    double before = stand_round_trips(&s);
    for (int i = 0; i < 200; i++) {
        char id[32];
        bool found = true;
        snprintf(id, sizeof id, "absent:%d", i);
        bed_expect(s.e, id, NULL);
        cr_assert_eq(se_contains(s.e, id, &found), SE_OK);
        cr_assert(!found);
    }
    const char *ids[] = {"absent:a", "absent:b", "absent:c"};
    se_item *items[3];
    se_result results[3];
    cr_assert_eq(se_get_many(s.e, ids, 3, items, results), SE_OK);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(results[i], SE_NOT_FOUND);
    cr_assert(stand_round_trips(&s) - before <= 2, "absent ids cost round trips");
    cr_assert(bed_metric(s.e, "sync_engine_filter_lookups_total", "excluded") >= 400);
    cr_assert(excluded(s.e, 1000) >= 998);
    before = stand_round_trips(&s);
    expect_there(s.e, 0, 500);
    cr_assert(stand_round_trips(&s) - before >= 500, "what is there was read below L1");
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(existence, an_absent_id_costs_no_round_trip)
{
    no_round_trip(&sqlite);
    no_round_trip(&both);
}

Test(existence, it_is_one_of_the_gauges)
{
    struct stand s;
    stand_make(&s, &sqlite_wal);
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 2000);
    se_health h;
    cr_assert_eq(se_health_check(s.e, &h), SE_OK);
    cr_assert(h.filter_items >= 1990 && h.filter_items <= 2000);
    cr_assert(h.filter_bytes > 2000);
    cr_assert_eq(bed_metric(s.e, "sync_engine_filter_trusted", ""), 1);
    cr_assert_eq(bed_metric(s.e, "sync_engine_filter_items", ""), (double)h.filter_items);
    cr_assert(bed_metric(s.e, "sync_engine_filter_false_positive_ratio", "") >= 0);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(existence, where_redis_is_the_home_nobody_is_sure)
{
    struct stand s;
    stand_make(&s, &redis_only);
    s.e = bed_open(&s.bed);
    const char *doubt = NULL;
    cr_assert_eq(trust(s.e, &doubt), SE_TRUST_UNTRUSTED);
    cr_assert(strstr(doubt, "L3"));
    cr_assert(!se_definitely_missing(s.e, "absent"));
    bed_expect(s.e, "absent", NULL);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* ---- cache entries ---- */

Test(existence, cache_entries_are_found_and_leave_l3_alone)
{
    struct stand s;
    stand_make(&s, &cached);
    s.e = bed_open(&s.bed);
    se_submit_options o;
    se_submit_options_init(&o);
    o.route = SE_ROUTE_L2;
    cr_assert(se_definitely_missing(s.e, "entry"));
    cr_assert_eq(se_submit(s.e, "entry", "cached", 6, &o), SE_OK);
    cr_assert(!se_definitely_missing(s.e, "entry"), "cannot tell any more");
    stand_flush(&s);
    cr_assert_eq(truth_number(&s.bed, s.mariadb, "SELECT COUNT(*) FROM sync_items"), 0,
                 "nothing to void in L3");
    bed_put(s.e, "row", "durable");
    cr_assert_eq(se_submit(s.e, "row", "cached", 6, &o), SE_OK);
    stand_reopen(&s);
    cr_assert_eq(
        truth_number(&s.bed, s.mariadb, "SELECT COUNT(*) FROM sync_items WHERE deleted = 1"), 1,
        "L3 had a row, or could have had one");
    bed_expect(s.e, "entry", "cached");
    bed_expect(s.e, "row", "cached");
    double l3 = stand_gets(&s, "l3", "miss");
    bed_expect(s.e, "absent", NULL);
    cr_assert_eq(stand_gets(&s, "l3", "miss"), l3, "only L2 was asked");
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* ---- outages ---- */

Test(existence, an_outage_at_open_is_untrusted_until_l3_is_scanned)
{
    struct stand s;
    stand_make(&s, &mysql_wal);
    s.bed.config.sql_timeout_ms = 500;
    s.bed.config.startup_timeout_ms = 300;
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 300);
    bed_close(&s.bed, s.e);
    cr_assert(mariadb_kill(s.mariadb));
    s.e = bed_open(&s.bed);
    cr_assert_eq(trust(s.e, NULL), SE_TRUST_UNTRUSTED);
    cr_assert(!se_definitely_missing(s.e, "absent"));
    se_item *item;
    cr_assert_eq(se_get(s.e, "absent", &item), SE_ERR_BACKEND);
    put_numbered(s.e, 300, 400);
    expect_there(s.e, 300, 400);
    cr_assert(mariadb_restart(s.mariadb));
    bed_wait(trusted, s.e, "the filter is trusted");
    expect_there(s.e, 0, 400);
    bed_expect(s.e, "absent", NULL);
    cr_assert(excluded(s.e, 1000) >= 998);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

static bool sql_is_down(void *arg)
{
    se_health h;
    cr_assert_eq(se_health_check(arg, &h), SE_OK);
    return h.sql_up == 0;
}

Test(existence, an_outage_is_never_a_no)
{
    struct stand s;
    stand_make(&s, &mysql_only);
    s.bed.config.sql_timeout_ms = 500;
    s.bed.config.read_timeout_ms = 1000;
    s.e = bed_open(&s.bed);
    cr_assert(mariadb_kill(s.mariadb));
    bed_wait(sql_is_down, s.e, "the outage is known");
    se_item *item;
    bool found;
    cr_assert_eq(se_get(s.e, "absent", &item), SE_ERR_BACKEND);
    cr_assert_eq(se_contains(s.e, "absent", &found), SE_ERR_BACKEND);
    cr_assert(mariadb_restart(s.mariadb));
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* ---- others ---- */

Test(existence, another_engine_makes_it_untrusted_and_its_ids_are_found_later)
{
    struct stand s;
    stand_make(&s, &mysql_only);
    s.e = bed_open(&s.bed);
    cr_assert(trusted(s.e));
    struct stand other = s;
    other.e = bed_open(&other.bed);
    cr_assert(!trusted(other.e), "it knows of the first at once");
    bed_wait(untrusted, s.e, "the first knows of the other");
    const char *doubt = NULL;
    trust(s.e, &doubt);
    cr_assert(strstr(doubt, "another engine"), "%s", doubt);
    put_numbered(other.e, 0, 100);
    cr_assert_eq(se_flush(other.e, 20000), SE_OK);
    expect_there(s.e, 0, 100);
    put_numbered(other.e, 100, 200);
    bed_close(&other.bed, other.e);
    bed_wait(trusted, s.e, "it is alone again and has scanned");
    expect_there(s.e, 0, 200);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(existence, rows_put_in_by_others_means_are_found_once_that_is_said)
{
    struct stand s;
    stand_make(&s, &mysql_only);
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 50);
    stand_flush(&s);
    cr_assert(mariadb_exec(
        s.mariadb, "CREATE TABLE kept AS SELECT * FROM sync_items; DELETE FROM sync_items"));
    stand_reopen(&s);
    cr_assert(se_definitely_missing(s.e, "n:00001"));
    cr_assert(
        mariadb_exec(s.mariadb, "INSERT INTO sync_items SELECT * FROM kept WHERE id < 'n:00010'"));
    cr_assert_eq(se_invalidate(s.e, "n:00001"), SE_OK);
    expect_there(s.e, 1, 2);
    cr_assert_eq(se_invalidate_prefix(s.e, "n:0000"), SE_OK);
    expect_there(s.e, 0, 10);
    cr_assert(se_definitely_missing(s.e, "n:00020"));
    cr_assert(mariadb_exec(s.mariadb, "DROP TABLE kept"));
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* ---- snapshots ---- */

Test(existence, a_snapshot_saves_the_scan_and_what_came_after_it_is_found)
{
    struct stand s;
    stand_make(&s, &mysql_wal);
    s.bed.config.filter_snapshot_interval_s = 1;
    s.bed.config.filter_snapshot_insert_threshold = 1;
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 3000);
    cr_assert(trusted(s.e)); /* or there is nothing to write */
    bed_close(&s.bed, s.e);
    char path[300];
    snprintf(path, sizeof path, "%s.filter", s.bed.wal);
    cr_assert_eq(access(path, F_OK), 0);
    s.e = bed_open(&s.bed);
    cr_assert(trusted(s.e));
    cr_assert_eq(bed_metric(s.e, "sync_engine_filter_snapshots_total", "used"), 1);
    cr_assert_eq(bed_metric(s.e, "sync_engine_filter_scanned_ids_total", ""), 0);
    expect_there(s.e, 0, 3000);
    s.bed.config.filter_snapshot_interval_s = 3600; /* the next writes are in no snapshot */
    put_numbered(s.e, 3000, 3050);
    char copy[320], command[800];
    snprintf(copy, sizeof copy, "%s.old", path);
    snprintf(command, sizeof command, "cp %s %s", path, copy);
    cr_assert_eq(system(command), 0);
    bed_close(&s.bed, s.e);
    cr_assert_eq(rename(copy, path), 0); /* as a crash would have left it */
    s.e = bed_open(&s.bed);
    cr_assert(trusted(s.e));
    double scanned = bed_metric(s.e, "sync_engine_filter_scanned_ids_total", "");
    cr_assert(scanned >= 50 && scanned < 1000, "only differing buckets: %g", scanned);
    expect_there(s.e, 0, 3050);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(existence, a_snapshot_of_another_database_is_not_used)
{
    struct stand s;
    stand_make(&s, &sqlite_wal);
    truth_listen(&s.bed.config);
    s.e = bed_open(&s.bed);
    put_numbered(s.e, 0, 100);
    cr_assert(trusted(s.e)); /* or no snapshot is written */
    bed_close(&s.bed, s.e);
    cr_assert_eq(unlink(s.bed.sql + strlen("sqlite:")), 0);
    cr_assert_eq(unlink(s.bed.wal), 0);
    s.e = bed_open(&s.bed);
    cr_assert(trusted(s.e));
    cr_assert(truth_heard("snapshot"), "it says why");
    cr_assert_eq(bed_metric(s.e, "sync_engine_filter_snapshots_total", "refused"), 1);
    cr_assert(se_definitely_missing(s.e, "n:00001"));
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}
