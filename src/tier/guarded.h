/*
 * guarded - a tier around a tier: circuit breaker, classified retry, metrics.
 *
 * Every call of the engine to a backend goes through here. An open circuit answers TIER_UNWELL with
 * `rejected`, at once. Retried here, bounded by the deadline:
 *   TIER_CONFLICT  whole calls again, up to 8 times from 2 ms with full jitter
 *   TIER_UNWELL    reads, probes, meta and writes: SE__RETRY_QUERY, but never after `timed_out` or
 *                  `rejected`
 *   TIER_REFUSED   never
 * Only TIER_UNWELL counts as a failure for the breaker. prepare and close are passed through
 * (prepare reports to the breaker).
 *
 * Waits for a retry can be cut short: se__guarded_stop makes them, and all later calls, end at
 * once.
 *
 * Locks: one mutex around the breaker (leaf).  Threads: any.  Memory: owns the inner tier.
 */
#ifndef SE_TIER_GUARDED_H
#define SE_TIER_GUARDED_H

#include "base/log.h"
#include "metrics/metrics.h"
#include "tier/breaker.h"
#include "tier/tier.h"

struct guarded;

struct guarded_options {
    struct breaker_options breaker;
    struct metrics *metrics;   /* borrowed */
    const struct se__log *log; /* borrowed */
    bool is_redis;             /* which metrics it counts in: l2/redis or l3/sql */
};

/* Takes `inner` on success. *out is a tier whose close closes inner too. */
SE_NODISCARD se_result se__guarded_open(const struct guarded_options *options, struct tier inner,
                                        struct tier *out, struct guarded **guarded);
se_circuit se__guarded_circuit(struct guarded *g);
/* ms until the circuit would let a call through; 0: now. */
uint64_t se__guarded_wait_ms(struct guarded *g);
/* What the last call that reached the backend said: 1 up, 0 down. */
int se__guarded_up(struct guarded *g);
void se__guarded_stop(struct guarded *g);

#endif
