/*
 * pressure - see pressure.h.
 *
 * The delay grows with the square of the way from THROTTLE to CRITICAL: hardly felt at first, and
 * at the end long enough that the writers run no faster than the flush.
 */
#include "tier/pressure.h"

static double throttle_at(const struct pressure_bounds *b)
{
    return (b->warn + b->critical) / 2;
}

se_pressure se__pressure_level(const struct pressure_bounds *bounds, double p)
{
    double left = 1.0 - bounds->critical;
    if (!(p >= bounds->warn)) /* NaN included */
        return SE_PRESSURE_NORMAL;
    if (p < throttle_at(bounds))
        return SE_PRESSURE_WARN;
    if (p < bounds->critical)
        return SE_PRESSURE_THROTTLE;
    if (p < bounds->critical + left * 0.5)
        return SE_PRESSURE_CRITICAL;
    if (p < bounds->critical + left * 0.8)
        return SE_PRESSURE_EMERGENCY;
    return SE_PRESSURE_SHUTDOWN;
}

uint32_t se__pressure_delay_ms(const struct pressure_bounds *bounds, double p,
                               uint32_t throttle_max_ms)
{
    double from = throttle_at(bounds);
    if (!(p > from))
        return 0;
    double way = (p - from) / (bounds->critical - from);
    if (way > 1.0)
        way = 1.0;
    return (uint32_t)(way * way * throttle_max_ms);
}

bool se__pressure_refuses(se_pressure level)
{
    return level >= SE_PRESSURE_CRITICAL;
}

struct pressure_turn se__pressure_turn(const struct pressure_bounds *bounds, double p,
                                       uint32_t throttle_max_ms, uint32_t waited_ms)
{
    if (se__pressure_refuses(se__pressure_level(bounds, p)))
        return (struct pressure_turn){.refused = true};
    uint32_t delay = se__pressure_delay_ms(bounds, p, throttle_max_ms);
    uint32_t left = delay > waited_ms ? delay - waited_ms : 0;
    return (struct pressure_turn){.wait_ms = left < PRESSURE_LOOK_MS ? left : PRESSURE_LOOK_MS};
}

uint32_t se__pressure_retry_ms(uint32_t flush_ms, uint64_t circuit_ms)
{
    uint64_t wait = circuit_ms > flush_ms ? circuit_ms : flush_ms;
    if (wait < PRESSURE_RETRY_MIN_MS)
        return PRESSURE_RETRY_MIN_MS;
    return wait > PRESSURE_RETRY_MAX_MS ? PRESSURE_RETRY_MAX_MS : (uint32_t)wait;
}
