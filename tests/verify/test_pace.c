/*
 * tests of pace: never more than the rate, no burst after a pause.
 */
#include "verify/pace.h"

#include "support/test.h"

#define S UINT64_C(1000000000)

Test(pace, no_rate_never_waits)
{
    struct pace p;
    se__pace_init(&p, 0);
    cr_assert_eq(se__pace_take(&p, UINT64_MAX, 5 * S), 0);
    cr_assert_eq(se__pace_page(&p, 1000), 1000);
}

Test(pace, waits_as_long_as_the_records_are_worth)
{
    struct pace p;
    se__pace_init(&p, 1000);
    cr_assert_eq(se__pace_take(&p, 1000, 7 * S), S);
    cr_assert_eq(se__pace_take(&p, 500, 8 * S), S / 2);
    cr_assert_eq(se__pace_take(&p, 0, 8 * S + S / 2), 0);
}

Test(pace, time_that_went_by_is_not_saved_up)
{
    struct pace p;
    se__pace_init(&p, 10);
    cr_assert_eq(se__pace_take(&p, 10, 1 * S), S);
    cr_assert_eq(se__pace_take(&p, 10, 100 * S), S, "98 idle seconds are gone");
}

/* The caller obeys: in any span of the faked time no more than the rate, and one page, goes through. */
Test(pace, never_more_than_the_rate_in_any_span)
{
    for (uint64_t rate = 1; rate < 3000; rate = rate * 3 + 1) {
        struct pace p;
        uint64_t now = S, from = now, taken = 0;
        se__pace_init(&p, rate);
        size_t page = se__pace_page(&p, 1000);
        cr_assert(page >= 1 && page <= 1000);
        for (unsigned i = 0; i < 200; i++) {
            now += se__pace_take(&p, page, now);
            taken += page;
            if (i % 7 == 0)
                now += S / 3; /* the work itself */
            cr_assert_leq(taken, (now - from) * rate / S + page + 1);
        }
    }
}

Test(pace, extremes_do_not_overflow)
{
    struct pace p;
    se__pace_init(&p, 1);
    uint64_t wait = se__pace_take(&p, UINT64_MAX, S);
    cr_assert(wait > 1000 * S && wait < UINT64_MAX / 2);
    se__pace_init(&p, UINT64_MAX);
    cr_assert_leq(se__pace_take(&p, UINT64_MAX - 1, S), 2 * S);
    se__pace_init(&p, UINT64_MAX / 2);
    cr_assert_leq(se__pace_take(&p, UINT64_MAX / 4, S), S);
}
