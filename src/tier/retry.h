/*
 * retry - how long to wait before the n-th attempt.
 *
 * Exponential with full jitter (Brooker, "Exponential Backoff And Jitter", 2015): wait = random(0,
 * min(cap, base * 2^n)).
 * Pure: time and randomness are passed in.  Threads: any.  Memory: owns nothing.
 */
#ifndef SE_TIER_RETRY_H
#define SE_TIER_RETRY_H

#include "base/error.h"

struct retry_policy {
    uint32_t attempts_max; /* 0: without end */
    uint32_t base_ms;
    uint32_t cap_ms;
};
extern const struct retry_policy SE__RETRY_STARTUP; /* 5 attempts from 200 ms, cap 2 s */
extern const struct retry_policy SE__RETRY_QUERY;   /* 3 from 100 ms */
extern const struct retry_policy SE__RETRY_DAEMON;  /* without end, cap 30 s */

/* `done` attempts have been made (>= 1). Returns false if there is no further one, or none that
 * could start before the deadline; else *wait_ms. */
SE_NODISCARD bool se__retry_next(const struct retry_policy *policy, uint32_t done, uint64_t random,
                                 uint64_t now_ms, uint64_t deadline_ms, uint32_t *wait_ms);

#endif
