/*
 * pressure - may the caller go on?
 *
 * Pure: neither clock nor wait. p = the greatest of: unevictable bytes / l1_max_bytes, queue bytes /
 * bound, WAL items / bound. Levels:
 *   NORMAL < warn <= WARN < throttle <= THROTTLE < critical <= CRITICAL < emergency <= EMERGENCY <
 *   shutdown <= SHUTDOWN
 * where throttle is half way between warn and critical, emergency half and shutdown four fifths of
 * the way from critical to 1 (0.70, 0.80, 0.90, 0.95, 0.98 by default).
 *
 * Threads: any.  Memory: owns nothing.
 */
#ifndef SE_TIER_PRESSURE_H
#define SE_TIER_PRESSURE_H

#include "base/error.h"

#define PRESSURE_LOOK_MS 10u      /* a delayed writer looks again after this long */
#define PRESSURE_RETRY_MIN_MS 10u /* bounds on what a refused one is told */
#define PRESSURE_RETRY_MAX_MS 1000u

struct pressure_bounds {
    double warn, critical; /* 0 < warn < critical < 1 */
};
se_pressure se__pressure_level(const struct pressure_bounds *bounds, double p);
/* How long a writer is delayed at p: 0 below THROTTLE, growing quadratically to
 * throttle_max_ms at critical. */
uint32_t se__pressure_delay_ms(const struct pressure_bounds *bounds, double p,
                               uint32_t throttle_max_ms);
bool se__pressure_refuses(se_pressure level); /* CRITICAL and above */

/* A writer's turn at p, of which it has waited `waited_ms` already. All its waits together are
 * never longer than throttle_max_ms, and end early where p falls; where p rises to critical
 * meanwhile, it is refused after all. */
struct pressure_turn {
    bool refused;
    uint32_t wait_ms; /* before it asks again; 0: it may go on, or is refused */
};
struct pressure_turn se__pressure_turn(const struct pressure_bounds *bounds, double p,
                                       uint32_t throttle_max_ms, uint32_t waited_ms);

/* What a refused writer is told: a flush, or the circuit's wait if that is longer. */
uint32_t se__pressure_retry_ms(uint32_t flush_ms, uint64_t circuit_ms);

#endif
