/*
 * plan: what comes first, what has to wait, and what is never due.
 */
#include "filter/plan.h"

#include "support/test.h"

#define ALL UINT64_MAX

/* Everything could be done; the tests take away. */
static const struct plan_facts BUSY = {.attached = true,
                                       .restored = true,
                                       .doubts = 0,
                                       .behind = 6,
                                       .due = 8,
                                       .dead = 16,
                                       .ids = 100,
                                       .removals = 10,
                                       .saves = true,
                                       .changed = true,
                                       .unsaved = 5,
                                       .interval_s = 2,
                                       .threshold = 5};
static const struct plan_past FRESH = {.failures = 0};

static struct plan plan_of(struct plan_facts f)
{
    return se__plan(&f, &FRESH, 10000);
}

Test(plan, one_thing_after_the_other)
{
    struct plan_facts f = BUSY;
    cr_assert_eq(plan_of(f).task, WARM_COMPARE);
    f.restored = false;
    cr_assert_eq(plan_of(f).task, WARM_SCAN);
    cr_assert_eq(plan_of(f).parts, 6);
    f.behind = 0;
    cr_assert_eq(plan_of(f).task, WARM_GROW);
    cr_assert_eq(plan_of(f).parts, 8);
    f.due = 0;
    cr_assert_eq(plan_of(f).task, WARM_BURY);
    cr_assert_eq(plan_of(f).parts, 16);
    f.dead = 0;
    cr_assert_eq(plan_of(f).task, WARM_COUNT);
    f.removals = 9;
    cr_assert_eq(plan_of(f).task, WARM_SAVE);
    f.unsaved = 4;
    cr_assert_eq(plan_of(f).task, WARM_REST);
    cr_assert_eq(plan_of(f).wait_ms, PLAN_LOOK_MS);
}

Test(plan, nothing_without_l3_or_beside_another_engine)
{
    struct plan_facts f = BUSY;
    f.attached = false;
    cr_assert_eq(plan_of(f).task, WARM_REST);
    f.attached = true;
    f.doubts = FILTER_FOREIGN | FILTER_COLD;
    cr_assert_eq(plan_of(f).task, WARM_REST);
    f.doubts = FILTER_COLD;
    cr_assert_eq(plan_of(f).task, WARM_COMPARE);
}

Test(plan, with_strays_every_rebuild_is_of_all)
{
    struct plan_facts f = BUSY;
    f.restored = false;
    f.strays = true;
    cr_assert_eq(plan_of(f).parts, ALL);
    f.behind = 0;
    cr_assert_eq(plan_of(f).task, WARM_GROW);
    cr_assert_eq(plan_of(f).parts, ALL);
    f.due = 0;
    cr_assert_eq(plan_of(f).parts, ALL);
}

Test(plan, removals_count_since_they_were_counted)
{
    struct plan_facts f = BUSY;
    struct plan_past past = {.removals_counted = 95};
    f.restored = false;
    f.behind = f.due = f.dead = 0;
    f.saves = false;
    f.removals = 104;
    cr_assert_eq(se__plan(&f, &past, 10000).task, WARM_REST);
    f.removals = 105;
    cr_assert_eq(se__plan(&f, &past, 10000).task, WARM_COUNT);
    /* An empty filter, and nothing removed: not for ever. */
    f.ids = 0;
    f.removals = 95;
    cr_assert_eq(se__plan(&f, &past, 10000).task, WARM_REST);
    past.uncounted = true; /* a scan may have read tombstones of an earlier run */
    cr_assert_eq(se__plan(&f, &past, 10000).task, WARM_COUNT);
}

static bool saves(uint32_t interval_s, uint32_t threshold, uint64_t unsaved, bool changed,
                  uint64_t now_ms)
{
    struct plan_facts f = {.attached = true,
                           .saves = true,
                           .changed = changed,
                           .unsaved = unsaved,
                           .interval_s = interval_s,
                           .threshold = threshold};
    struct plan_past past = {.saved_at_ms = 1000};
    return se__plan(&f, &past, now_ms).task == WARM_SAVE;
}

Test(plan, a_snapshot_needs_interval_and_threshold)
{
    cr_assert(saves(2, 5, 5, true, 3000));
    cr_assert_not(saves(2, 5, 5, true, 2999));
    cr_assert_not(saves(2, 5, 4, true, 3000));
    /* one of them 0: the other decides */
    cr_assert(saves(0, 5, 5, true, 1000));
    cr_assert_not(saves(0, 5, 4, true, 1000000));
    cr_assert(saves(2, 0, 0, true, 3000));
    cr_assert_not(saves(2, 0, 0, true, 2999));
    cr_assert_not(saves(2, 0, 0, false, 1000000)); /* the same file once more */
    cr_assert_not(saves(0, 0, 1000, true, 1000000));
    cr_assert(saves(UINT32_MAX, 1, 1, true, UINT64_MAX));
    cr_assert_not(saves(UINT32_MAX, 1, 1, true, 5000000));
}

Test(plan, no_snapshot_while_untrusted_or_not_wanted)
{
    struct plan_facts f = BUSY;
    f.restored = false;
    f.behind = f.due = f.dead = f.removals = 0;
    cr_assert_eq(plan_of(f).task, WARM_SAVE);
    f.doubts = FILTER_UNLISTED;
    cr_assert_eq(plan_of(f).task, WARM_REST);
    f.doubts = 0;
    f.saves = false;
    cr_assert_eq(plan_of(f).task, WARM_REST);
}

Test(plan, after_a_snapshot_the_interval_begins_anew)
{
    struct plan_facts f = {.attached = true,
                           .saves = true,
                           .changed = true,
                           .unsaved = 5,
                           .interval_s = 2,
                           .threshold = 5};
    struct plan_past past = {.saved_at_ms = 0};
    se__plan_saved(&past, 5000, true);
    cr_assert_eq(se__plan(&f, &past, 6999).task, WARM_REST);
    cr_assert_eq(se__plan(&f, &past, 7000).task, WARM_SAVE);
    /* A failed one is not tried all the time, even without an interval. */
    f.interval_s = 0;
    se__plan_saved(&past, 8000, false);
    cr_assert_eq(se__plan(&f, &past, 8000 + PLAN_SAVE_AGAIN_MS - 1).task, WARM_REST);
    cr_assert_eq(se__plan(&f, &past, 8000 + PLAN_SAVE_AGAIN_MS).task, WARM_SAVE);
}

Test(plan, failures_wait_longer_and_longer_but_not_for_ever)
{
    struct plan_past past = {.failures = 0};
    uint64_t now = 1000, longest = 0;
    for (unsigned i = 0; i < 1000; i++) {
        se__plan_failed(&past, now, UINT64_MAX - i);
        cr_assert_gt(past.retry_at_ms, now);
        cr_assert_leq(past.retry_at_ms - now, 30001);
        longest = past.retry_at_ms - now > longest ? past.retry_at_ms - now : longest;
        cr_assert_eq(se__plan(&BUSY, &past, past.retry_at_ms - 1).task, WARM_REST);
        cr_assert_leq(se__plan(&BUSY, &past, now).wait_ms, PLAN_LOOK_MS);
        cr_assert_neq(se__plan(&BUSY, &past, past.retry_at_ms).task, WARM_REST);
        now = past.retry_at_ms;
    }
    cr_assert_gt(longest, 1000);
    se__plan_done(&past);
    cr_assert_neq(se__plan(&BUSY, &past, 0).task, WARM_REST);
}

Test(plan, dead_parts_have_less_than_nine_tenths_alive)
{
    uint64_t used[FILTER_PARTS] = {0}, live[FILTER_PARTS] = {0};
    cr_assert_eq(se__plan_dead(used, live), 0);
    used[0] = 1000, live[0] = 900;
    used[1] = 1000, live[1] = 899;
    used[2] = 10, live[2] = 20;
    used[63] = UINT64_MAX, live[63] = UINT64_MAX / 2;
    cr_assert_eq(se__plan_dead(used, live), UINT64_C(1) << 63 | 2);
}

/* All ranges of a scan: they cover the parts, and nothing else, without a gap. */
static unsigned ranges(uint64_t parts, uint64_t ids_per_1024, uint32_t page_ids)
{
    uint64_t ids = 0;
    uint32_t read = 0;
    unsigned n = 0;
    for (uint32_t b = 0; b < 65536;) {
        if (!(parts >> b / FILTER_PART_BUCKETS & 1)) {
            b += FILTER_PART_BUCKETS;
            continue;
        }
        uint32_t size = se__plan_buckets(parts, b, ids, read, page_ids);
        uint32_t end = b + size;
        cr_assert(size > 0 && end <= 65536);
        for (uint32_t at = b; at < end; at++)
            cr_assert(parts >> at / FILTER_PART_BUCKETS & 1);
        /* ends with a part, or within the one it begins in */
        cr_assert(end % FILTER_PART_BUCKETS == 0 ||
                  b / FILTER_PART_BUCKETS == end / FILTER_PART_BUCKETS);
        ids += size * ids_per_1024 / 1024;
        read += size;
        b = end;
        n++;
    }
    return n;
}

Test(plan, a_range_has_about_a_page)
{
    /* a million ids, 10,000 a page */
    cr_assert_leq(ranges(ALL, 15625, 10000), 140);
    cr_assert_geq(ranges(ALL, 15625, 10000), 100);
    /* few: some calls and not one a part; none at all likewise */
    cr_assert_leq(ranges(ALL, 20, 10000), 12);
    cr_assert_leq(ranges(ALL, 0, 10000), 12);
    /* many: a bucket is the least */
    cr_assert_geq(ranges(ALL, 1u << 30, 10000), 60000);
    cr_assert_geq(ranges(ALL, 100000, 1), 60000);
    /* only some parts */
    for (unsigned i = 0; i < 64; i++)
        ranges(UINT64_C(0x9e3779b97f4a7c15) << i | 1, 100 * i, 1000);
    cr_assert_eq(ranges(0, 100, 100), 0);
}
