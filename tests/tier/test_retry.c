/*
 * Tests of src/tier/retry.c.
 */
#include "support/test.h"

#include "base/os.h"
#include "tier/retry.h"

/* The longest wait a policy can draw before attempt `done` + 1: with full jitter, drawn by
 * the random number equal to it. */
static uint32_t longest(const struct retry_policy *policy, uint32_t done)
{
    uint32_t wait = 0, most = 0;
    for (uint64_t random = 0; random <= policy->cap_ms; random++) {
        cr_assert(se__retry_next(policy, done, random, 0, SE__FOREVER, &wait));
        most = wait > most ? wait : most;
    }
    return most;
}

Test(retry, waits_double_up_to_the_cap)
{
    static const struct retry_policy policy = {.attempts_max = 0, .base_ms = 100, .cap_ms = 1000};
    static const uint32_t expected[] = {100, 200, 400, 800, 1000, 1000};
    for (uint32_t i = 0; i < 6; i++)
        cr_assert_eq(longest(&policy, i + 1), expected[i]);
    cr_assert_eq(longest(&policy, 31), 1000);
    cr_assert_eq(longest(&policy, 32), 1000);
    cr_assert_eq(longest(&policy, UINT32_MAX), 1000);
}

Test(retry, jitter_is_full)
{
    uint32_t wait = 77;
    cr_assert(se__retry_next(&SE__RETRY_QUERY, 1, 0, 0, SE__FOREVER, &wait));
    cr_assert_eq(wait, 0);
    cr_assert(se__retry_next(&SE__RETRY_QUERY, 1, 100, 0, SE__FOREVER, &wait));
    cr_assert_eq(wait, 100);
    cr_assert(se__retry_next(&SE__RETRY_QUERY, 1, 101, 0, SE__FOREVER, &wait));
    cr_assert_eq(wait, 0);
    cr_assert(se__retry_next(&SE__RETRY_DAEMON, 20, UINT64_MAX, 0, SE__FOREVER, &wait));
    cr_assert(wait <= 30000);
}

Test(retry, presets)
{
    static const struct {
        const struct retry_policy *policy;
        uint32_t attempts_max, first_ms, cap_ms;
    } cases[] = {{&SE__RETRY_STARTUP, 5, 200, 2000},
                 {&SE__RETRY_QUERY, 3, 100, 2000},
                 {&SE__RETRY_DAEMON, 0, 100, 30000}};
    for (size_t i = 0; i < 3; i++) {
        uint32_t wait;
        cr_assert_eq(cases[i].policy->cap_ms, cases[i].cap_ms);
        cr_assert_eq(longest(cases[i].policy, 1), cases[i].first_ms);
        uint32_t last = cases[i].attempts_max ? cases[i].attempts_max : 1000000;
        cr_assert(se__retry_next(cases[i].policy, last - 1, 5, 0, SE__FOREVER, &wait));
        cr_assert_eq(se__retry_next(cases[i].policy, last, 5, 0, SE__FOREVER, &wait),
                     cases[i].attempts_max == 0);
    }
}

Test(retry, none_that_could_not_start_before_the_deadline)
{
    uint32_t wait = 77;
    cr_assert(se__retry_next(&SE__RETRY_QUERY, 1, 50, 1000, 1051, &wait));
    cr_assert_eq(wait, 50);
    wait = 77;
    cr_assert_not(se__retry_next(&SE__RETRY_QUERY, 1, 50, 1000, 1050, &wait));
    cr_assert_not(se__retry_next(&SE__RETRY_QUERY, 1, 0, 1000, 1000, &wait));
    cr_assert_not(se__retry_next(&SE__RETRY_QUERY, 1, 0, 1001, 1000, &wait));
    cr_assert_eq(wait, 77, "written only on success");
}
