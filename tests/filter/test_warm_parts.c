/*
 * warm: parts that grow, parts with dead ids, and rows in buckets that are not theirs.
 */
#include "filter/warm_rig.h"

#include "support/test.h"

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

TestSuite(warm_parts, .init = open_rig, .fini = close_rig, .timeout = 120);

static const struct tier_reply UNWELL = {.fault = TIER_UNWELL, .code = 2002};

/* ---- growth and dead ids ---- */

Test(warm_parts, parts_that_are_due_are_rebuilt_from_their_buckets)
{
    rig_fill(&r, 0, 100);
    rig_start(&r);
    rig_run(&r, 10);
    rig_put_until_due(&r, 5);
    rig_put_until_due(&r, 6);
    fake_l3_seen(r.l3);
    rig_run(&r, 10);
    rig_check(&r);
    cr_assert_not(rig_is_due(&r, 5));
    cr_assert_not(rig_is_due(&r, 6));
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_eq(rig_sum(&r, M_FILTER_REBUILT_FULL), 2);
    struct fake_l3_seen seen = fake_l3_seen(r.l3);
    cr_assert_eq(seen.bucket_lowest / FILTER_PART_BUCKETS, 5);
    cr_assert_eq(seen.bucket_highest / FILTER_PART_BUCKETS, 6);
    cr_assert_eq(seen.ids, fake_l3_live(r.l3, 5 * 1024, 7 * 1024 - 1));
    cr_assert_gt(rig_run(&r, 1), 0); /* and not again */
}

Test(warm_parts, growth_that_fails_leaves_what_there_is)
{
    rig_start(&r);
    rig_run(&r, 10);
    rig_put_until_due(&r, 5);
    fake_l3_fail(r.l3, FAKE_SURVEY, 1, 1, UNWELL);
    rig_run(&r, 1);
    cr_assert(rig_is_due(&r, 5));
    cr_assert_eq(rig_doubts(&r), 0);
    rig_check(&r);
    uint64_t deadline = se__deadline_in(20000);
    while (rig_is_due(&r, 5) && se__deadline_left(deadline)) {
        if (rig_run(&r, 1))
            se__pause_ms(5);
    }
    cr_assert_not(rig_is_due(&r, 5));
    rig_check(&r);
}

static void delete_rows(unsigned from, unsigned until)
{
    for (unsigned i = from; i < until; i++) {
        char id[RIG_ID_MAX];
        rig_id(i, id);
        rig_delete(&r, id);
    }
}

Test(warm_parts, parts_with_dead_ids_are_rebuilt_without_them)
{
    rig_fill(&r, 0, ROWS);
    rig_start(&r);
    rig_run(&r, 10);
    delete_rows(0, ROWS / 20); /* half of the share that counts */
    fake_l3_seen(r.l3);
    rig_run(&r, 10);
    cr_assert_eq(fake_l3_seen(r.l3).digests, 0);
    delete_rows(ROWS / 20, ROWS / 2);
    rig_write(&r, "not yet in L3");
    rig_run(&r, 10);
    struct fake_l3_seen seen = fake_l3_seen(r.l3);
    cr_assert_eq(seen.digests, 1);
    cr_assert(seen.live_only);
    cr_assert_geq(seen.ids, ROWS / 2 - 100);
    cr_assert_eq(rig_sum(&r, M_FILTER_REBUILT_DEAD), FILTER_PARTS);
    cr_assert_lt(rig_ids(&r), ROWS / 2 + 100);
    cr_assert_eq(rig_doubts(&r), 0);
    rig_check(&r);
    /* Counted once, not for ever. */
    rig_run(&r, 10);
    cr_assert_eq(fake_l3_seen(r.l3).digests, 0);
}

Test(warm_parts, tombstones_of_an_earlier_run_are_buried)
{
    char id[RIG_ID_MAX];
    rig_fill(&r, 0, ROWS / 2);
    for (unsigned i = ROWS / 2; i < ROWS; i++) {
        rig_id(i, id);
        fake_l3_delete(r.l3, id);
    }
    rig_start(&r);
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_geq(rig_sum(&r, M_FILTER_REBUILT_DEAD), FILTER_PARTS / 2);
    cr_assert_lt(rig_ids(&r), ROWS / 2 + ROWS / 10);
    cr_assert_eq(fake_l3_seen(r.l3).digests, 1);
    rig_check(&r);
}

Test(warm_parts, only_parts_with_many_dead_ids_are_rebuilt)
{
    char id[RIG_ID_MAX];
    for (unsigned part = 0; part < 2; part++) {
        for (unsigned i = 0; i < 100; i++) {
            rig_id_in_part(part, i, id);
            rig_behind(&r, id);
        }
    }
    rig_start(&r);
    rig_run(&r, 10);
    for (unsigned i = 0; i < 30; i++) {
        rig_id_in_part(1, i, id);
        rig_delete(&r, id);
    }
    fake_l3_seen(r.l3);
    rig_run(&r, 10);
    cr_assert_eq(rig_sum(&r, M_FILTER_REBUILT_DEAD), 1);
    cr_assert_eq(fake_l3_seen(r.l3).ids, 70);
    rig_check(&r);
    cr_assert(rig_excludes(&r, id));
}

Test(warm_parts, counting_that_fails_is_tried_again)
{
    rig_fill(&r, 0, 100);
    rig_start(&r);
    rig_run(&r, 10);
    delete_rows(0, 50);
    fake_l3_fail(r.l3, FAKE_DIGEST, 0, 1, UNWELL);
    rig_run(&r, 1);
    cr_assert(rig_logged(&r, "counting the rows of L3 failed"));
    uint64_t deadline = se__deadline_in(20000);
    while (!rig_sum(&r, M_FILTER_REBUILT_DEAD) && se__deadline_left(deadline)) {
        if (rig_run(&r, 1))
            se__pause_ms(5);
    }
    cr_assert_gt(rig_sum(&r, M_FILTER_REBUILT_DEAD), 0);
    cr_assert_eq(rig_doubts(&r), 0);
    rig_check(&r);
}

/* ---- rows in buckets that are not theirs ---- */

Test(warm_parts, a_row_in_a_wrong_bucket_is_never_lost)
{
    char id[RIG_ID_MAX];
    rig_id_in_part(5, 9999, id);
    rig_fill(&r, 0, 100);
    rig_only_pending(&r, id);
    fake_l3_put_in(r.l3, id, 60 * FILTER_PART_BUCKETS);
    r.pending.n = 0;
    rig_start(&r);
    rig_run(&r, 10);
    rig_check(&r);
    cr_assert(rig_logged(&r, "WARN filter: L3 has rows whose bucket"));
    rig_put_until_due(&r, 5); /* and it is rebuilt, from all buckets */
    rig_run(&r, 10);
    cr_assert_not(rig_is_due(&r, 5));
    rig_check(&r);
    /* Once it is gone a rebuild is of one part again. */
    se__warm_rescan(r.w, FILTER_COLD);
    rig_run(&r, 10);
    rig_check(&r);
}
