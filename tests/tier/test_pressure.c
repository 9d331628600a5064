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
