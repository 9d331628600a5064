/*
 * pressure - may the caller go on?
 *
 * Pure. p = the greatest of: unevictable bytes / l1_max_bytes, queue bytes / bound, WAL items /
 * bound. Levels:
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

struct pressure_bounds {
    double warn, critical; /* 0 < warn < critical < 1 */
};
se_pressure se__pressure_level(const struct pressure_bounds *bounds, double p);
/* How long a writer is delayed at p: 0 below THROTTLE, growing quadratically to
 * throttle_max_ms at critical. */
uint32_t se__pressure_delay_ms(const struct pressure_bounds *bounds, double p,
                               uint32_t throttle_max_ms);
bool se__pressure_refuses(se_pressure level); /* CRITICAL and above */

#endif
