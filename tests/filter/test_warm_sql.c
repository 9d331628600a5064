/*
 * warm on real databases: scans, snapshots and dead ids as the SQL tiers answer them.
 */
#include "filter/warm_rig.h"

#include "l3/l3_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 3000u
#define BATCH 500u

static struct rig r;
static uint64_t version;

static void number(unsigned i, char id[RIG_ID_MAX])
{
    snprintf(id, RIG_ID_MAX, "id-%06u", i); /* sorted as their numbers */
}

static void write_rows(struct l3_fixture *f, unsigned from, unsigned until, bool live)
{
    struct tier_write writes[BATCH];
    for (size_t n = 0; from < until; n = 0) {
        for (; n < BATCH && from < until; from++, n++) {
            char id[RIG_ID_MAX];
            number(from, id);
            writes[n] = (struct tier_write){.item = live ? l3_item(id, ++version, "text")
                                                         : l3_tombstone(id, ++version),
                                            .kind = live ? RECORD_ITEM : RECORD_TOMBSTONE};
        }
        cr_assert_eq(f->tier.ops->write(f->tier.self, 0, writes, n, l3_soon()).fault, TIER_FINE);
        for (size_t i = 0; i < n; i++)
            se_item_release(writes[i].item);
    }
    atomic_fetch_add(&r.position, 1);
}

static void begin(struct l3_fixture *f)
{
    rig_open(&r);
    version = l3_now_version();
    r.options.home = f->tier;
    r.options.page_ids = 500;
    r.options.timeout_ms = 20000;
    r.options.snapshot_interval_s = 100000; /* at close */
}

static void restart(void)
{
    se__warm_leave(r.w, r.incarnation, SE__FOREVER);
    rig_stop(&r);
    rig_start(&r);
}

static unsigned excluded(unsigned from, unsigned until)
{
    unsigned n = 0;
    for (; from < until; from++) {
        char id[RIG_ID_MAX];
        number(from, id);
        n += rig_excludes(&r, id);
    }
    return n;
}

/* Trusted, and no id in [from, until) is excluded. */
static void expect_all(unsigned from, unsigned until)
{
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_eq(excluded(from, until), 0);
    cr_assert_gt(rig_excluded(&r), 9900);
}

static void a_scan_finds_every_row(struct l3_fixture *f)
{
    begin(f);
    write_rows(f, 0, ROWS, true);
    write_rows(f, 0, 100, false); /* tombstones too */
    rig_start(&r);
    rig_run(&r, 20);
    expect_all(0, ROWS);
    cr_assert_eq(rig_sum(&r, M_FILTER_SCANNED), ROWS);
    rig_close(&r);
}

static void a_scan_of_large_pages_too(struct l3_fixture *f)
{
    begin(f);
    r.options.page_ids = 2500; /* handed to the second thread */
    write_rows(f, 0, ROWS, true);
    rig_start(&r);
    rig_run(&r, 20);
    expect_all(0, ROWS);
    cr_assert_eq(rig_sum(&r, M_FILTER_SCANNED), ROWS);
    rig_close(&r);
}

static void an_empty_table_is_believed(struct l3_fixture *f)
{
    begin(f);
    rig_start(&r);
    rig_run(&r, 20);
    expect_all(0, 0);
    rig_close(&r);
}

static void a_snapshot_of_the_same_rows_needs_no_scan(struct l3_fixture *f)
{
    begin(f);
    write_rows(f, 0, ROWS, true);
    rig_start(&r);
    rig_run(&r, 20);
    restart();
    rig_run(&r, 20);
    expect_all(0, ROWS);
    cr_assert_eq(rig_sum(&r, M_FILTER_SCANNED), 0);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_USED), 1);
    rig_close(&r);
}

static void rows_behind_a_snapshot_are_found(struct l3_fixture *f)
{
    begin(f);
    write_rows(f, 0, ROWS, true);
    rig_start(&r);
    rig_run(&r, 20);
    restart();
    write_rows(f, ROWS, ROWS + 10, true); /* new */
    write_rows(f, 0, 5, true);            /* newer */
    write_rows(f, 5, 10, false);          /* gone */
    rig_run(&r, 20);
    expect_all(0, 5);
    expect_all(10, ROWS + 10);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_USED), 1);
    cr_assert_geq(rig_sum(&r, M_FILTER_SCANNED), 15);
    cr_assert_lt(rig_sum(&r, M_FILTER_SCANNED), 40); /* what else is in those buckets */
    rig_close(&r);
}

static void dead_ids_go(struct l3_fixture *f)
{
    begin(f);
    write_rows(f, 0, ROWS, true);
    rig_start(&r);
    rig_run(&r, 20);
    write_rows(f, 0, ROWS / 2, false);
    atomic_fetch_add(&r.removals, ROWS / 2);
    rig_run(&r, 20);
    expect_all(ROWS / 2, ROWS);
    cr_assert_eq(rig_sum(&r, M_FILTER_REBUILT_DEAD), FILTER_PARTS);
    cr_assert_gt(excluded(0, ROWS / 2), ROWS / 2 - 50);
    rig_close(&r);
}

/* Rows that somebody moved to other buckets, or to none that there is. */
static void rows_in_wrong_buckets_are_found(struct l3_fixture *f)
{
    begin(f);
    write_rows(f, 0, ROWS, true);
    cr_assert(l3_sql(f, "UPDATE sync_items SET bucket = 65535 - bucket WHERE id = 'id-000007'"));
    cr_assert(l3_sql(f, "UPDATE sync_items SET bucket = 99999 WHERE id = 'id-000008'"));
    cr_assert(l3_sql(f, "UPDATE sync_items SET bucket = -5 WHERE id = 'id-000009'"));
    rig_start(&r);
    rig_run(&r, 20);
    expect_all(0, ROWS);
    cr_assert_eq(rig_sum(&r, M_FILTER_SCANNED), ROWS);
    cr_assert(rig_logged(&r, "rows whose bucket"));
    rig_close(&r);
}

ON_EVERY_DRIVER(a_scan_finds_every_row)
ON_EVERY_DRIVER(a_scan_of_large_pages_too)
ON_EVERY_DRIVER(an_empty_table_is_believed)
ON_EVERY_DRIVER(a_snapshot_of_the_same_rows_needs_no_scan)
ON_EVERY_DRIVER(rows_behind_a_snapshot_are_found)
ON_EVERY_DRIVER(dead_ids_go)
ON_BOTH_DIALECTS(rows_in_wrong_buckets_are_found)
