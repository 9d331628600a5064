/*
 * pace - at most so many records a second. Pure: time is passed in.
 *
 * Every record moves the time from which the next may be taken by 1 / rate. Time that went by unused
 * is not saved up: a run that was held up does not make up for it in a burst.
 *
 * Invariants
 *   I1  within any span of t seconds at most rate * t records are let through, and the last page
 *
 * Threads: caller-serialised.  Memory: owns nothing.
 */
#ifndef SE_VERIFY_PACE_H
#define SE_VERIFY_PACE_H

#include "base/error.h"

struct pace {
    uint64_t rate; /* records a second; 0: no limit */
    uint64_t free_ns;
};

void se__pace_init(struct pace *p, uint64_t rate);
/* n records have been taken at now_ns (mono). Returns how many ns to wait before taking more. */
uint64_t se__pace_take(struct pace *p, uint64_t n, uint64_t now_ns);
/* How many records a page may have, so that no wait is long: a tenth of a second's worth, 1..max. */
size_t se__pace_page(const struct pace *p, size_t max);

#endif
