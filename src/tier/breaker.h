/*
 * breaker - decides whether a backend is worth asking.
 *
 * Pure state machine; time is passed in.
 *
 *   CLOSED --failures_max in a row, or rate over the window--> OPEN --open_ms (with jitter)-->
 *   HALF_OPEN HALF_OPEN --successes_min in a row--> CLOSED;  HALF_OPEN --a failure--> OPEN
 *
 * Data errors are successes here: the backend answered. Slow calls count as failures in the rate,
 * not in the row. (Nygard, "Release It!"; thresholds as in DESIGN.md: default 5 / 2 / 30 s,
 * conservative 3 / 3 / 60 s, aggressive 10 / 1 / 15 s.)
 *
 * Invariants
 *   I1  OPEN lets nothing through before reopen_at_ms
 *   I2  HALF_OPEN lets at most probes_max calls through at once; a probe that never reports is
 *       given up after open_ms
 *
 * Threads: caller-serialised (guarded.c holds its lock, rank: leaf).  Memory: owns nothing.
 */
#ifndef SE_TIER_BREAKER_H
#define SE_TIER_BREAKER_H

#include "base/error.h"

struct breaker_options {
    uint32_t failures_max;  /* consecutive failures that open it, >= 1 */
    uint32_t successes_min; /* in half-open, >= 1 */
    uint32_t open_ms;       /* +- 10 % jitter */
    uint32_t probes_max;    /* in half-open, >= 1 */
    uint32_t window_calls;  /* sliding window of the last n calls, <= 128; 0: no rate */
    uint32_t rate_percent;  /* failures + slow calls of a full window that open it */
    uint32_t slow_ms;       /* a call this long is slow; 0: none is */
};
extern const struct breaker_options SE__BREAKER_DEFAULT, SE__BREAKER_CONSERVATIVE,
    SE__BREAKER_AGGRESSIVE;

struct breaker {
    struct breaker_options options;
    se_circuit state;
    uint32_t failures, successes, probes;
    uint64_t reopen_at_ms, probe_since_ms;
    uint32_t window_at, window_filled, window_bad;
    uint64_t window[2]; /* bit set: that call was bad */
    uint64_t jitter;    /* state of a small generator */
};

void se__breaker_init(struct breaker *b, const struct breaker_options *options, uint64_t seed);
/* True if a call may be made now; it must then be reported by se__breaker_report. */
SE_NODISCARD bool se__breaker_allow(struct breaker *b, uint64_t now_ms);
void se__breaker_report(struct breaker *b, bool ok, uint64_t took_ms, uint64_t now_ms);
/* ms until a call could pass, 0: now. */
uint64_t se__breaker_wait_ms(const struct breaker *b, uint64_t now_ms);

#endif
