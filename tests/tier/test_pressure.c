/*
 * Tests of src/tier/pressure.c.
 */
#include "support/test.h"

#include "tier/pressure.h"

#include <math.h>

static const struct pressure_bounds DEFAULTS = {.warn = 0.70, .critical = 0.90};

Test(pressure, levels)
{
    static const struct {
        double p;
        se_pressure level;
    } cases[] = {{-1, SE_PRESSURE_NORMAL},        {0, SE_PRESSURE_NORMAL},
                 {0.6999, SE_PRESSURE_NORMAL},    {0.70, SE_PRESSURE_WARN},
                 {0.7999, SE_PRESSURE_WARN},      {0.8001, SE_PRESSURE_THROTTLE},
                 {0.8999, SE_PRESSURE_THROTTLE},  {0.90, SE_PRESSURE_CRITICAL},
                 {0.9499, SE_PRESSURE_CRITICAL},  {0.9501, SE_PRESSURE_EMERGENCY},
                 {0.9799, SE_PRESSURE_EMERGENCY}, {0.9801, SE_PRESSURE_SHUTDOWN},
                 {1, SE_PRESSURE_SHUTDOWN},       {50, SE_PRESSURE_SHUTDOWN},
                 {NAN, SE_PRESSURE_NORMAL},       {INFINITY, SE_PRESSURE_SHUTDOWN}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_assert_eq(se__pressure_level(&DEFAULTS, cases[i].p), cases[i].level, "p %g", cases[i].p);
}

Test(pressure, levels_follow_the_configured_bounds)
{
    struct pressure_bounds b = {.warn = 0.20, .critical = 0.40};
    cr_assert_eq(se__pressure_level(&b, 0.19), SE_PRESSURE_NORMAL);
    cr_assert_eq(se__pressure_level(&b, 0.29), SE_PRESSURE_WARN);
    cr_assert_eq(se__pressure_level(&b, 0.31), SE_PRESSURE_THROTTLE);
    cr_assert_eq(se__pressure_level(&b, 0.69), SE_PRESSURE_CRITICAL);
    cr_assert_eq(se__pressure_level(&b, 0.87), SE_PRESSURE_EMERGENCY);
    cr_assert_eq(se__pressure_level(&b, 0.89), SE_PRESSURE_SHUTDOWN);
}

Test(pressure, delay_grows_quadratically_to_its_bound)
{
    static const struct {
        double p;
        uint32_t ms;
    } cases[] = {{0, 0},      {0.80, 0},   {0.85, 25}, {0.875, 56},
                 {0.90, 100}, {0.99, 100}, {7, 100},   {NAN, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t ms = se__pressure_delay_ms(&DEFAULTS, cases[i].p, 100);
        cr_assert(ms + 1 >= cases[i].ms && ms <= cases[i].ms, "p %g: %u", cases[i].p, ms);
    }
    cr_assert_eq(se__pressure_delay_ms(&DEFAULTS, 0.95, 0), 0);
}

Test(pressure, refuses_from_critical_on)
{
    cr_assert_not(se__pressure_refuses(SE_PRESSURE_NORMAL));
    cr_assert_not(se__pressure_refuses(SE_PRESSURE_THROTTLE));
    cr_assert(se__pressure_refuses(SE_PRESSURE_CRITICAL));
    cr_assert(se__pressure_refuses(SE_PRESSURE_SHUTDOWN));
}

/* ---- a writer's turn: its clock is what it was told to wait ---- */

/* All that a writer waits where p stays; *turns: how often it asked. */
static uint32_t wait_at(double p, uint32_t throttle_max_ms, unsigned *turns)
{
    uint32_t waited = 0;
    for (*turns = 1; *turns < 100000; (*turns)++) {
        struct pressure_turn t = se__pressure_turn(&DEFAULTS, p, throttle_max_ms, waited);
        cr_assert_not(t.refused);
        if (!t.wait_ms)
            break;
        waited += t.wait_ms;
    }
    return waited;
}

Test(pressure, a_writer_waits_exactly_its_delay)
{
    unsigned turns;
    uint32_t before = 0;
    for (double p = 0.5; p < 0.9; p += 0.001) {
        uint32_t waited = wait_at(p, 500, &turns);
        cr_assert_eq(waited, se__pressure_delay_ms(&DEFAULTS, p, 500), "p %g", p);
        cr_assert(waited >= before && waited <= 500, "p %g: %u after %u", p, waited, before);
        before = waited;
    }
    cr_assert_gt(before, 450);
    cr_assert_eq(wait_at(0.89, 0, &turns), 0);
    cr_assert_eq(turns, 1);
}

Test(pressure, a_waiting_writer_looks_often)
{
    unsigned turns;
    uint32_t waited = wait_at(0.89, 600000, &turns);
    cr_assert_gt(waited, 400000);
    cr_assert_geq(turns, waited / PRESSURE_LOOK_MS);
}

Test(pressure, a_wait_ends_where_pressure_falls_and_is_refused_where_it_rises)
{
    struct pressure_turn t = se__pressure_turn(&DEFAULTS, 0.85, 100, 0);
    cr_assert_eq(t.wait_ms, PRESSURE_LOOK_MS);
    t = se__pressure_turn(&DEFAULTS, 0.85, 100, 20);
    cr_assert(!t.refused && t.wait_ms >= 4 && t.wait_ms <= 5, "%u", t.wait_ms);
    t = se__pressure_turn(&DEFAULTS, 0.82, 100, 20);
    cr_assert(!t.refused && t.wait_ms == 0);
    t = se__pressure_turn(&DEFAULTS, 0.79, 100, 1);
    cr_assert(!t.refused && t.wait_ms == 0);
    t = se__pressure_turn(&DEFAULTS, 0.95, 100, 20);
    cr_assert(t.refused && t.wait_ms == 0);
    t = se__pressure_turn(&DEFAULTS, 0.89, 100, 5000); /* p has been higher */
    cr_assert(!t.refused && t.wait_ms == 0);
}

Test(pressure, a_refused_writer_is_told_a_flush_or_the_circuit_within_bounds)
{
    static const struct {
        uint32_t flush_ms;
        uint64_t circuit_ms;
        uint32_t told;
    } cases[] = {{100, 0, 100}, {100, 300, 300}, {2, 0, 10},           {0, 0, 10},
                 {2, 9, 10},    {5000, 0, 1000}, {1, 30000, 1000},     {1, UINT64_MAX, 1000},
                 {10, 10, 10},  {1000, 1, 1000}, {UINT32_MAX, 1, 1000}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_assert_eq(se__pressure_retry_ms(cases[i].flush_ms, cases[i].circuit_ms), cases[i].told,
                     "case %zu", i);
}
