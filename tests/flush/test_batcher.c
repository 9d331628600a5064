/*
 * When a batch leaves: every limit, just below and just at it, and against a plain model.
 */
#include "flush/batcher.h"
#include "support/test.h"

static const struct batch_limits LIMITS = {.items_max = 10, .bytes_max = 1000, .age_ms_max = 100};

static enum batch_close decide(size_t items, size_t bytes, uint64_t oldest_ms, bool urgent,
                               uint64_t now_ms, uint64_t *wait_ms)
{
    struct batch_queue queue = {
        .items = items, .bytes = bytes, .oldest_ms = oldest_ms, .urgent = urgent};
    return se__batcher_decide(&LIMITS, &queue, now_ms, wait_ms);
}

Test(flush_batcher, an_empty_queue_waits_for_ever_even_if_urgent)
{
    uint64_t wait_ms = 0;
    cr_assert_eq(decide(0, 0, 0, false, 5000, &wait_ms), BATCH_OPEN);
    cr_assert_eq(wait_ms, UINT64_MAX);
    cr_assert_eq(decide(0, 0, 0, true, 5000, &wait_ms), BATCH_OPEN);
    cr_assert_eq(wait_ms, UINT64_MAX);
}

Test(flush_batcher, closes_at_items_max)
{
    uint64_t wait_ms;
    cr_assert_eq(decide(9, 9, 5000, false, 5000, &wait_ms), BATCH_OPEN);
    cr_assert_eq(decide(10, 10, 5000, false, 5000, &wait_ms), BATCH_CLOSE_ITEMS);
    cr_assert_eq(decide(11, 10, 5000, false, 5000, &wait_ms), BATCH_CLOSE_ITEMS);
}

Test(flush_batcher, closes_at_bytes_max)
{
    uint64_t wait_ms;
    cr_assert_eq(decide(2, 999, 5000, false, 5000, &wait_ms), BATCH_OPEN);
    cr_assert_eq(decide(2, 1000, 5000, false, 5000, &wait_ms), BATCH_CLOSE_BYTES);
    cr_assert_eq(decide(1, 99999, 5000, false, 5000, &wait_ms), BATCH_CLOSE_BYTES);
}

Test(flush_batcher, closes_at_the_age_of_its_front)
{
    uint64_t wait_ms;
    cr_assert_eq(decide(1, 1, 5000, false, 5000, &wait_ms), BATCH_OPEN);
    cr_assert_eq(wait_ms, 100);
    cr_assert_eq(decide(1, 1, 5000, false, 5099, &wait_ms), BATCH_OPEN);
    cr_assert_eq(wait_ms, 1);
    cr_assert_eq(decide(1, 1, 5000, false, 5100, &wait_ms), BATCH_CLOSE_AGE);
}

Test(flush_batcher, a_front_from_the_future_has_no_age)
{
    uint64_t wait_ms;
    cr_assert_eq(decide(1, 1, 5007, false, 5000, &wait_ms), BATCH_OPEN);
    cr_assert_eq(wait_ms, 100);
}

Test(flush_batcher, leaves_at_once_when_somebody_waits)
{
    uint64_t wait_ms;
    cr_assert_eq(decide(1, 1, 5000, true, 5000, &wait_ms), BATCH_CLOSE_URGENT);
}

Test(flush_batcher, is_open_only_below_every_limit)
{
    for (size_t items = 1; items < 13; items++) {
        for (size_t bytes = 990; bytes < 1010; bytes++) {
            for (uint64_t age = 95; age < 105; age++) {
                uint64_t wait_ms;
                bool open = decide(items, bytes, 5000, false, 5000 + age, &wait_ms) == BATCH_OPEN;
                cr_assert_eq(open, items < 10 && bytes < 1000 && age < 100);
                cr_assert(!open || wait_ms == 100 - age);
            }
        }
    }
}

/* ---- paced: the rest after the last batch is over, or the age is reached ---- */

static enum batch_close decide_paced(uint64_t oldest_ms, uint64_t rested_ms, uint64_t now_ms,
                                     uint64_t *wait_ms)
{
    struct batch_limits limits = LIMITS;
    limits.paced = true;
    struct batch_queue queue = {
        .items = 1, .bytes = 1, .oldest_ms = oldest_ms, .rested_ms = rested_ms};
    return se__batcher_decide(&limits, &queue, now_ms, wait_ms);
}

Test(flush_batcher, a_paced_batch_leaves_at_once_after_the_rest)
{
    uint64_t wait_ms;
    cr_assert_eq(decide_paced(5000, 0, 5000, &wait_ms), BATCH_CLOSE_RESTED);
    cr_assert_eq(decide_paced(5000, 5000, 5000, &wait_ms), BATCH_CLOSE_RESTED);
    cr_assert_eq(decide_paced(5000, 5007, 5000, &wait_ms), BATCH_OPEN);
    cr_assert_eq(wait_ms, 7);
}

Test(flush_batcher, a_rest_never_outlasts_the_age)
{
    uint64_t wait_ms;
    cr_assert_eq(decide_paced(5000, 9999, 5099, &wait_ms), BATCH_OPEN);
    cr_assert_eq(wait_ms, 1);
    cr_assert_eq(decide_paced(5000, 9999, 5100, &wait_ms), BATCH_CLOSE_AGE);
}

Test(flush_batcher, what_is_not_paced_does_not_look_at_the_rest)
{
    uint64_t wait_ms;
    struct batch_queue queue = {.items = 1, .bytes = 1, .oldest_ms = 5000, .rested_ms = 4000};
    cr_assert_eq(se__batcher_decide(&LIMITS, &queue, 5000, &wait_ms), BATCH_OPEN);
    cr_assert_eq(wait_ms, 100);
}
