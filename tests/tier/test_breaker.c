/*
 * Tests of src/tier/breaker.c: a machine driven by scripts with made-up time.
 */
#include "support/test.h"

#include "tier/breaker.h"

static const struct breaker_options OPTIONS = {
    .failures_max = 3, .successes_min = 2, .open_ms = 1000, .probes_max = 2};

/* One call from admission to report. Returns whether it was let through. */
static bool call(struct breaker *b, bool ok, uint64_t now_ms)
{
    if (!se__breaker_allow(b, now_ms))
        return false;
    se__breaker_report(b, ok, 1, now_ms);
    return true;
}

static void trip(struct breaker *b, uint64_t now_ms)
{
    for (uint32_t i = 0; i < b->options.failures_max; i++)
        cr_assert(call(b, false, now_ms));
    cr_assert_eq(b->state, SE_CIRCUIT_OPEN);
}

Test(breaker, scripts)
{
    /* Each letter is a call after 1 ms: s succeeds, f fails, x must not be let through; w waits
     * until the circuit may be tried again. After it the state: C closed, O open, H half-open. */
    static const char *const scripts[] = {
        "sC fC fC sC fC fC fO", /* only failures in a row */
        "fC fC fO xO xO",
        "fC fC fO wO sH sC sC",
        "fC fC fO wO fO xO wO sH fO xO",
        "fC fC fO wO sH sC fC fC sC fC fC fO",
    };
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct breaker b;
        uint64_t now = 1000;
        se__breaker_init(&b, &OPTIONS, 7);
        for (const char *at = scripts[i]; *at; at += at[2] ? 3 : 2, now++) {
            if (at[0] == 'w')
                now += se__breaker_wait_ms(&b, now);
            else
                cr_assert_eq(call(&b, at[0] == 's', now), at[0] != 'x', "script %zu at %s", i, at);
            se_circuit expected = at[1] == 'C'   ? SE_CIRCUIT_CLOSED
                                  : at[1] == 'O' ? SE_CIRCUIT_OPEN
                                                 : SE_CIRCUIT_HALF_OPEN;
            cr_assert_eq(b.state, expected, "script %zu at %s", i, at);
        }
    }
}

Test(breaker, open_lets_nothing_through_before_its_time)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct breaker b;
        se__breaker_init(&b, &OPTIONS, seed);
        trip(&b, 5000);
        uint64_t wait = se__breaker_wait_ms(&b, 5000);
        cr_assert(wait >= 900 && wait <= 1100, "10 %% of jitter: %llu", (unsigned long long)wait);
        for (uint64_t t = 5000; t < 5000 + wait; t += 50)
            cr_assert_not(se__breaker_allow(&b, t));
        cr_assert_not(se__breaker_allow(&b, 5000 + wait - 1));
        cr_assert(se__breaker_allow(&b, 5000 + wait));
    }
}

Test(breaker, jitter_differs_between_engines)
{
    struct breaker one, two;
    unsigned same = 0;
    for (uint64_t i = 0; i < 50; i++) {
        se__breaker_init(&one, &OPTIONS, 2 * i);
        se__breaker_init(&two, &OPTIONS, 1000 + 2 * i);
        trip(&one, 0);
        trip(&two, 0);
        same += one.reopen_at_ms == two.reopen_at_ms;
    }
    cr_assert(same < 10);
}

Test(breaker, half_open_bounds_the_probes)
{
    struct breaker b;
    se__breaker_init(&b, &OPTIONS, 7);
    trip(&b, 0);
    uint64_t now = 5000;
    cr_assert(se__breaker_allow(&b, now));
    cr_assert(se__breaker_allow(&b, now));
    cr_assert_not(se__breaker_allow(&b, now), "two at once");
    cr_assert_gt(se__breaker_wait_ms(&b, now), 0);
    se__breaker_report(&b, true, 1, now);
    cr_assert_eq(se__breaker_wait_ms(&b, now), 0);
    cr_assert(se__breaker_allow(&b, now), "one has reported");
    cr_assert_not(se__breaker_allow(&b, now));
}

Test(breaker, a_probe_that_never_reports_is_given_up)
{
    struct breaker b;
    se__breaker_init(&b, &OPTIONS, 7);
    trip(&b, 0);
    cr_assert(se__breaker_allow(&b, 5000));
    cr_assert(se__breaker_allow(&b, 5000));
    cr_assert_not(se__breaker_allow(&b, 5999));
    cr_assert_eq(se__breaker_wait_ms(&b, 5999), 1);
    cr_assert(se__breaker_allow(&b, 6000));
    se__breaker_report(&b, true, 1, 6000);
    se__breaker_report(&b, true, 1, 6000); /* one of the lost ones after all */
    cr_assert_eq(b.state, SE_CIRCUIT_CLOSED);
    cr_assert(se__breaker_allow(&b, 6000));
}

Test(breaker, a_late_report_does_not_disturb_an_open_circuit)
{
    struct breaker b;
    se__breaker_init(&b, &OPTIONS, 7);
    cr_assert(se__breaker_allow(&b, 0)); /* reports later */
    trip(&b, 0);
    uint64_t reopen_at_ms = b.reopen_at_ms;
    se__breaker_report(&b, false, 1, 500);
    se__breaker_report(&b, true, 1, 500);
    cr_assert_eq(b.state, SE_CIRCUIT_OPEN);
    cr_assert_eq(b.reopen_at_ms, reopen_at_ms);
}

/* ---- the window ---- */

static const struct breaker_options RATE = {.failures_max = 1000,
                                            .successes_min = 1,
                                            .open_ms = 1000,
                                            .probes_max = 1,
                                            .window_calls = 100,
                                            .rate_percent = 50,
                                            .slow_ms = 200};

/* Reports n calls of which every `each`-th is bad. */
static void report_mixed(struct breaker *b, unsigned n, unsigned each, bool slow)
{
    for (unsigned i = 0; i < n; i++) {
        bool bad = i % each == 0;
        cr_assert(se__breaker_allow(b, 0));
        se__breaker_report(b, slow || !bad, slow && bad ? 200 : 199, 0);
    }
}

Test(breaker, a_full_window_of_too_many_failures_opens)
{
    struct breaker b;
    se__breaker_init(&b, &RATE, 7);
    report_mixed(&b, 99, 2, false);
    cr_assert_eq(b.state, SE_CIRCUIT_CLOSED, "not full yet");
    cr_assert(call(&b, true, 0));
    cr_assert_eq(b.state, SE_CIRCUIT_OPEN, "50 of 100");
}

Test(breaker, a_lower_rate_does_not_open)
{
    struct breaker b;
    se__breaker_init(&b, &RATE, 7);
    report_mixed(&b, 5000, 3, false);
    cr_assert_eq(b.state, SE_CIRCUIT_CLOSED);
    cr_assert(b.window_bad >= 32 && b.window_bad <= 35);
}

Test(breaker, the_window_slides)
{
    struct breaker b;
    se__breaker_init(&b, &RATE, 7);
    report_mixed(&b, 48, 1, false);
    report_mixed(&b, 1000, 1000, false); /* the first of them is bad, then all good */
    cr_assert_eq(b.window_bad, 0, "the bad ones have fallen out");
    cr_assert_eq(b.state, SE_CIRCUIT_CLOSED);
}

Test(breaker, slow_calls_count_in_the_rate_and_not_in_the_row)
{
    struct breaker b;
    struct breaker_options options = RATE;
    options.failures_max = 3;
    se__breaker_init(&b, &options, 7);
    for (int i = 0; i < 99; i++) {
        cr_assert(se__breaker_allow(&b, 0));
        se__breaker_report(&b, true, 200, 0);
        cr_assert_eq(b.state, SE_CIRCUIT_CLOSED);
    }
    cr_assert(se__breaker_allow(&b, 0));
    se__breaker_report(&b, true, 200, 0);
    cr_assert_eq(b.state, SE_CIRCUIT_OPEN);
    se__breaker_init(&b, &RATE, 7);
    report_mixed(&b, 100, 2, true);
    cr_assert_eq(b.state, SE_CIRCUIT_OPEN, "every other one slow");
}

Test(breaker, a_closed_circuit_starts_with_an_empty_window)
{
    struct breaker b;
    se__breaker_init(&b, &RATE, 7);
    report_mixed(&b, 100, 1, false);
    cr_assert_eq(b.state, SE_CIRCUIT_OPEN);
    cr_assert(call(&b, true, 5000));
    cr_assert_eq(b.state, SE_CIRCUIT_CLOSED);
    report_mixed(&b, 99, 1, false);
    cr_assert_eq(b.state, SE_CIRCUIT_CLOSED);
}

Test(breaker, without_a_window_the_rate_is_nothing)
{
    struct breaker b;
    struct breaker_options options = RATE;
    options.window_calls = 0;
    se__breaker_init(&b, &options, 7);
    report_mixed(&b, 900, 1, false);
    cr_assert_eq(b.state, SE_CIRCUIT_CLOSED);
}

Test(breaker, presets)
{
    static const struct {
        const struct breaker_options *options;
        uint32_t failures_max, successes_min, open_ms;
    } cases[] = {{&SE__BREAKER_DEFAULT, 5, 2, 30000},
                 {&SE__BREAKER_CONSERVATIVE, 3, 3, 60000},
                 {&SE__BREAKER_AGGRESSIVE, 10, 1, 15000}};
    for (size_t i = 0; i < 3; i++) {
        struct breaker b;
        se__breaker_init(&b, cases[i].options, i);
        for (uint32_t n = 1; n < cases[i].failures_max; n++)
            cr_assert(call(&b, false, 0));
        cr_assert_eq(b.state, SE_CIRCUIT_CLOSED);
        cr_assert(call(&b, false, 0));
        cr_assert_eq(b.state, SE_CIRCUIT_OPEN);
        cr_assert(se__breaker_wait_ms(&b, 0) >= cases[i].open_ms * 9 / 10);
        for (uint32_t n = 0; n < cases[i].successes_min; n++) {
            cr_assert_neq(b.state, SE_CIRCUIT_CLOSED);
            cr_assert(call(&b, true, 100000));
        }
        cr_assert_eq(b.state, SE_CIRCUIT_CLOSED);
    }
}
