/*
 * warm: what is scanned and when; the filter is believed only when it holds everything, whatever
 * happens between two pages.
 */
#include "filter/warm_rig.h"

#include "base/mem.h"
#include "filter/plan.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>

#define ROWS 2000u

static struct rig r;

static void open_rig(void)
{
    rig_open(&r);
}

static void close_rig(void)
{
    rig_close(&r);
}

TestSuite(warm, .init = open_rig, .fini = close_rig, .timeout = 120);

static const struct tier_reply UNWELL = {.fault = TIER_UNWELL, .code = 2002};

/* How many pages a scan of everything takes; starts and stops. */
static unsigned pages_of_a_scan(void)
{
    rig_start(&r);
    rig_run(&r, 1);
    cr_assert_eq(rig_doubts(&r), 0);
    rig_stop(&r);
    return fake_l3_seen(r.l3).surveys;
}

/* ---- the first scan ---- */

Test(warm, is_trusted_only_after_a_complete_scan)
{
    rig_fill(&r, 0, ROWS);
    rig_start(&r);
    cr_assert_eq(rig_doubts(&r), FILTER_COLD);
    cr_assert_eq(rig_excluded(&r), 0);
    cr_assert_not(se__warm_started(r.w));
    rig_run(&r, 100);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert(se__warm_started(r.w));
    rig_check(&r);
    cr_assert_gt(rig_excluded(&r), 9900);
    struct fake_l3_seen seen = fake_l3_seen(r.l3);
    cr_assert_eq(seen.ids, ROWS);
    cr_assert(seen.only_ids);
    cr_assert_not(seen.live_only);
    cr_assert_eq(rig_sum(&r, M_FILTER_SCANNED), ROWS);
    cr_assert_eq(rig_sum(&r, M_FILTER_REBUILT_COLD), FILTER_PARTS);
    cr_assert_eq(rig_sum(&r, M_FILTER_BELIEVED), 1);
    cr_assert(rig_logged(&r, "INFO filter: trusted"));
}

Test(warm, an_empty_database_is_scanned_too)
{
    rig_start(&r);
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_eq(rig_excluded(&r), 10000);
}

Test(warm, without_l3_nothing_is_done)
{
    rig_fill(&r, 0, 10);
    rig_start(&r);
    r.incarnation = NULL;
    cr_assert_eq(rig_run(&r, 1), PLAN_LOOK_MS);
    cr_assert_eq(rig_doubts(&r), FILTER_COLD);
    cr_assert_not(se__warm_started(r.w));
    cr_assert_eq(fake_l3_seen(r.l3).surveys, 0);
    /* Once trusted it stays so without L3: every write goes through the filter. */
    r.incarnation = "db-1";
    rig_run(&r, 10);
    r.incarnation = NULL;
    rig_write(&r, "later");
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    rig_check(&r);
}

Test(warm, what_only_the_wal_has_is_in_it)
{
    rig_fill(&r, 0, 100);
    rig_only_pending(&r, "from an earlier run");
    rig_start(&r);
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    rig_check(&r);
}

Test(warm, tombstones_are_scanned_too)
{
    rig_fill(&r, 0, 10);
    fake_l3_delete(r.l3, "gone");
    rig_start(&r);
    rig_run(&r, 10);
    cr_assert_not(rig_excludes(&r, "gone"));
    cr_assert_eq(fake_l3_seen(r.l3).ids, 11);
}

/* ---- writes while it is going on ---- */

/* Before every page: an id that stays pending, one that is in L3 at once, and one of the page before
 * reaches L3. Ids of parts done, under way and to come. */
static void write_between_pages(void *arg, enum fake_call call, unsigned number)
{
    char id[RIG_ID_MAX], older[RIG_ID_MAX];
    (void)arg;
    (void)call;
    for (unsigned part = 0; part < FILTER_PARTS; part += 7) {
        rig_id_in_part(part, 1000 + number, id);
        rig_put(&r, id);
        rig_id_in_part(part, 2000 + number, id);
        rig_write(&r, id);
        rig_id_in_part(part, 2000 + number - 1, older);
        if (number > 1)
            rig_flush(&r, older);
    }
}

Test(warm, ids_that_come_between_pages_are_in_it)
{
    rig_fill(&r, 0, ROWS);
    r.options.page_ids = 10;
    rig_start(&r);
    char id[RIG_ID_MAX];
    for (unsigned part = 0; part < FILTER_PARTS; part++) { /* before it begins */
        rig_id_in_part(part, 1, id);
        rig_write(&r, id);
        rig_id_in_part(part, 2, id);
        rig_put(&r, id);
    }
    fake_l3_hook(r.l3, write_between_pages, NULL);
    rig_run(&r, 1);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_gt(fake_l3_seen(r.l3).surveys, ROWS / 10);
    rig_check(&r);
    fake_l3_hook(r.l3, NULL, NULL);
    rig_run(&r, 10); /* some parts are full by now */
    rig_check(&r);
    cr_assert_gt(rig_excluded(&r), 9900);
}

/* The page before which a hook does something. */
static unsigned page;

/* A drain: ids of the WAL get into L3, before and behind the page that has just been read. */
static void drain_all(void *arg, enum fake_call call, unsigned number)
{
    char id[RIG_ID_MAX];
    (void)arg;
    (void)call;
    for (unsigned part = 0; part < FILTER_PARTS && number == page; part++) {
        rig_id_in_part(part, 1, id);
        rig_flush(&r, id);
    }
}

Test(warm, what_moves_from_the_wal_to_l3_meanwhile_is_in_it)
{
    char id[RIG_ID_MAX];
    rig_fill(&r, 0, ROWS);
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        rig_id_in_part(part, 1, id);
        rig_only_pending(&r, id);
    }
    page = pages_of_a_scan() / 2;
    rig_start(&r);
    fake_l3_hook(r.l3, drain_all, NULL);
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_eq(r.pending.n, 0);
    rig_check(&r);
}

/* The same just before it is collected. */
static void drain_before_it_is_collected(struct rig *rig)
{
    rig_flush(rig, "from an earlier run");
}

Test(warm, what_is_drained_before_it_is_collected_is_scanned)
{
    rig_fill(&r, 0, 100);
    rig_only_pending(&r, "from an earlier run");
    r.before_pending = drain_before_it_is_collected;
    rig_start(&r);
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    rig_check(&r);
}

/* The writer has added before the round began and publishes after it was collected: the epoch. */
static struct writer {
    uint64_t epoch;
    char id[RIG_ID_MAX];
} slow;

static void publish_late(void *arg, enum fake_call call, unsigned number)
{
    struct filter *f = se__warm_filter(r.w);
    (void)arg;
    (void)call;
    if (number != page) /* its part is in place */
        return;
    rig_behind(&r, slow.id);
    if (se__filter_epoch(f) != slow.epoch)
        se__filter_add(f, slow.id, strlen(slow.id));
}

Test(warm, a_writer_that_publishes_late_sees_the_epoch)
{
    rig_id_in_part(0, 1, slow.id);
    page = pages_of_a_scan();
    rig_start(&r);
    slow.epoch = se__filter_add(se__warm_filter(r.w), slow.id, strlen(slow.id));
    fake_l3_hook(r.l3, publish_late, NULL);
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_eq(r.acknowledged.n, 1);
    rig_check(&r);
}

/* ---- failures ---- */

Test(warm, a_failing_scan_proves_nothing_and_goes_on_where_it_was)
{
    rig_fill(&r, 0, ROWS);
    unsigned pages = pages_of_a_scan();
    rig_start(&r);
    fake_l3_fail(r.l3, FAKE_SURVEY, pages - 3, 1, UNWELL);
    rig_run(&r, 1);
    cr_assert_eq(rig_doubts(&r), FILTER_COLD);
    cr_assert(se__warm_started(r.w)); /* who waits for the first scan goes on without */
    cr_assert_gt(rig_run(&r, 1), 0);
    cr_assert(rig_logged(&r, "WARN filter: scanning L3 failed and will be tried again: the fake"));
    rig_put(&r, "meanwhile");
    rig_run_until_trusted(&r);
    rig_check(&r);
    cr_assert_leq(fake_l3_seen(r.l3).ids, ROWS + 1); /* no part that is in place is read again */
}

Test(warm, a_failure_at_any_page_is_survived)
{
    rig_fill(&r, 0, 300);
    r.options.page_ids = 3;
    unsigned pages = pages_of_a_scan();
    cr_assert_gt(pages, 100);
    for (unsigned skip = 0; skip < pages; skip += 9) {
        rig_start(&r);
        fake_l3_fail(r.l3, FAKE_SURVEY, skip, 1, UNWELL);
        rig_run(&r, 1);
        cr_assert_eq(rig_doubts(&r), FILTER_COLD);
        rig_run_until_trusted(&r);
        rig_check(&r);
        rig_stop(&r);
    }
}

Test(warm, pending_that_cannot_be_listed_proves_nothing)
{
    rig_fill(&r, 0, 10);
    rig_start(&r);
    r.pending_fails = true;
    rig_run(&r, 1);
    cr_assert_eq(rig_doubts(&r), FILTER_COLD);
    cr_assert_eq(fake_l3_seen(r.l3).surveys, 0);
    r.pending_fails = false;
    rig_run_until_trusted(&r);
    rig_check(&r);
}

Test(warm, without_memory_it_is_tried_again)
{
    rig_fill(&r, 0, 300);
    for (int64_t n = 0; n < 400; n += 7) {
        rig_start(&r);
        if (!se__mem_fail_after(n))
            cr_skip_test("release build");
        (void)se__warm_run(r.w, r.incarnation);
        se__mem_fail_after(-1);
        rig_check(&r);
        rig_run_until_trusted(&r);
        rig_check(&r);
        rig_stop(&r);
    }
}

static void stop_at_page(void *arg, enum fake_call call, unsigned number)
{
    (void)arg;
    (void)call;
    if (number == page)
        atomic_store(&r.stopping, true);
}

Test(warm, it_stops_between_pages)
{
    rig_fill(&r, 0, ROWS);
    page = pages_of_a_scan() / 2;
    rig_start(&r);
    fake_l3_hook(r.l3, stop_at_page, NULL);
    rig_run(&r, 10);
    cr_assert_eq(fake_l3_seen(r.l3).surveys, page);
    cr_assert_eq(rig_doubts(&r), FILTER_COLD);
    cr_assert_not(rig_logged(&r, "failed"));
}

/* ---- doubts ---- */

/* A row by someone else in a part that is in place, and the one who saw it says so. */
static void put_foreign_row(void *arg, enum fake_call call, unsigned number)
{
    char id[RIG_ID_MAX];
    (void)arg;
    (void)call;
    if (number != page)
        return;
    rig_id_in_part(0, 1, id);
    rig_behind(&r, id);
    se__warm_rescan(r.w, FILTER_UNLISTED);
}

Test(warm, a_request_during_a_scan_needs_another_one)
{
    rig_fill(&r, 0, ROWS);
    for (unsigned i = 0; i < 3; i++) {
        unsigned pages = pages_of_a_scan();
        page = i == 0 ? 1 : i == 1 ? pages / 2 : pages; /* the first, any, the last */
        rig_start(&r);
        fake_l3_hook(r.l3, put_foreign_row, NULL);
        cr_assert_eq(rig_run(&r, 1), 0); /* left, and at once again */
        cr_assert_eq(rig_doubts(&r), FILTER_COLD | FILTER_UNLISTED);
        cr_assert_eq(fake_l3_seen(r.l3).surveys, page);
        rig_run(&r, 10);
        cr_assert_eq(rig_doubts(&r), 0);
        rig_check(&r);
        fake_l3_hook(r.l3, NULL, NULL);
        fake_l3_seen(r.l3);
        rig_stop(&r);
    }
}

Test(warm, a_rescan_is_complete_and_finds_what_is_new)
{
    rig_fill(&r, 0, ROWS);
    rig_start(&r);
    rig_run(&r, 10);
    fake_l3_seen(r.l3);
    rig_fill(&r, ROWS, ROWS + 100);
    se__warm_rescan(r.w, FILTER_UNLISTED);
    cr_assert_eq(rig_doubts(&r), FILTER_UNLISTED);
    cr_assert_eq(rig_excluded(&r), 0); /* at once */
    cr_assert(rig_logged(&r, "WARN filter: not trusted any more"));
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    rig_check(&r);
    cr_assert_eq(fake_l3_seen(r.l3).ids, ROWS + 100);
    cr_assert_eq(rig_sum(&r, M_FILTER_DOUBTED), 1);
    cr_assert_eq(rig_sum(&r, M_FILTER_BELIEVED), 2);
}

Test(warm, beside_another_engine_nothing_is_believed)
{
    rig_fill(&r, 0, 100);
    rig_start(&r);
    rig_run(&r, 10);
    fake_l3_seen(r.l3);
    se__warm_rescan(r.w, FILTER_FOREIGN);
    cr_assert_eq(rig_excluded(&r), 0);
    cr_assert_gt(rig_run(&r, 10), 0);
    cr_assert_eq(rig_doubts(&r), FILTER_FOREIGN);
    cr_assert_eq(fake_l3_seen(r.l3).surveys, 0);
    rig_fill(&r, 100, 200); /* by the other one */
    se__warm_alone(r.w);
    cr_assert_eq(rig_doubts(&r), FILTER_COLD);
    cr_assert_eq(rig_excluded(&r), 0);
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    rig_check(&r);
    cr_assert_eq(rig_sum(&r, M_FILTER_DOUBTED), 1);
}

Test(warm, a_start_beside_another_engine_waits_for_no_scan)
{
    rig_start(&r);
    se__warm_rescan(r.w, FILTER_FOREIGN);
    rig_run(&r, 1);
    cr_assert(se__warm_started(r.w));
    cr_assert_eq(rig_doubts(&r), FILTER_FOREIGN | FILTER_COLD);
}

static void come_and_go(void *arg, enum fake_call call, unsigned number)
{
    (void)arg;
    (void)call;
    if (number != page)
        return;
    se__warm_rescan(r.w, FILTER_FOREIGN);
    se__warm_alone(r.w);
}

Test(warm, one_that_comes_and_goes_during_a_scan_is_noticed)
{
    rig_fill(&r, 0, ROWS);
    page = pages_of_a_scan() / 2;
    rig_start(&r);
    fake_l3_hook(r.l3, come_and_go, NULL);
    rig_run(&r, 1);
    cr_assert_eq(rig_doubts(&r), FILTER_COLD);
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_geq(fake_l3_seen(r.l3).surveys, 3 * page - 1);
}

/* ---- many ids: pages are handed to a second thread ---- */

#define MANY 8000u

static void start_many(void)
{
    rig_fill(&r, 0, MANY);
    r.options.page_ids = 4000;
}

Test(warm, a_scan_of_many_ids_is_complete)
{
    start_many();
    rig_start(&r);
    rig_run(&r, 1);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_eq(fake_l3_seen(r.l3).ids, MANY);
    cr_assert_geq(rig_ids(&r), MANY - MANY / 100); /* some share a fingerprint */
    rig_check(&r);
}

Test(warm, a_scan_of_many_ids_may_fail_or_be_left_anywhere)
{
    start_many();
    unsigned pages = pages_of_a_scan();
    for (unsigned skip = 0; skip < pages; skip++) {
        rig_start(&r);
        fake_l3_fail(r.l3, FAKE_SURVEY, skip, 1, UNWELL);
        rig_run(&r, 1);
        cr_assert_eq(rig_doubts(&r), FILTER_COLD);
        rig_run_until_trusted(&r);
        rig_check(&r);
        rig_stop(&r);
    }
    for (page = 1; page <= pages; page++) {
        rig_start(&r);
        fake_l3_hook(r.l3, stop_at_page, NULL);
        rig_run(&r, 1);
        cr_assert_eq(rig_doubts(&r), page < pages ? FILTER_COLD : 0);
        atomic_store(&r.stopping, false);
        rig_run_until_trusted(&r);
        rig_check(&r);
        rig_stop(&r);
    }
}

Test(warm, a_scan_of_many_ids_may_lack_memory)
{
    start_many();
    for (int64_t n = 0; n < 500; n += 23) {
        rig_start(&r);
        if (!se__mem_fail_after(n))
            cr_skip_test("release build");
        (void)se__warm_run(r.w, r.incarnation);
        se__mem_fail_after(-1);
        rig_check(&r);
        rig_run_until_trusted(&r);
        rig_check(&r);
        rig_stop(&r);
    }
}

/* ---- threads ---- */

#define WRITERS 2
#define WRITES 3000u

static atomic_uint running;

static void write_and_ask(void *arg)
{
    unsigned writer = *(unsigned *)arg;
    for (unsigned i = 0; i < WRITES; i++) {
        char id[RIG_ID_MAX];
        snprintf(id, sizeof id, "w%u-%u", writer, i);
        rig_write(&r, id);
        cr_assert_not(rig_excludes(&r, id));
        if (i % 3)
            rig_flush(&r, id);
        cr_assert_not(rig_excludes(&r, id));
        if (i % 500 == 499)
            se__warm_rescan(r.w, writer ? FILTER_COLD : FILTER_UNLISTED);
    }
    atomic_fetch_sub(&running, 1);
}

static void run_writers(unsigned rows)
{
    static unsigned numbers[WRITERS];
    struct se__thread threads[WRITERS] = {0};
    rig_fill(&r, 0, rows);
    rig_start(&r);
    atomic_store(&running, WRITERS);
    for (unsigned i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        cr_assert_eq(se__thread_start(&threads[i], "writer", write_and_ask, &numbers[i]), SE_OK);
    }
    while (atomic_load(&running)) {
        if (rig_run(&r, 1))
            se__pause_ms(1);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        se__thread_join(&threads[i]);
    rig_run_until_trusted(&r);
    rig_check(&r);
    cr_assert_eq(r.acknowledged.n, rows + WRITERS * WRITES);
    cr_assert_gt(rig_excluded(&r), 9900);
}

Test(warm, writers_beside_scans_are_never_excluded)
{
    run_writers(500);
}

Test(warm, writers_beside_scans_of_many_ids_are_never_excluded)
{
    r.options.page_ids = 4000;
    run_writers(MANY);
}
