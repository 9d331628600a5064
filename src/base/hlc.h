/*
 * hlc - the hybrid logical clock that versions every write.
 *
 * A version is 63 bits: 47 bits of wall milliseconds, 16 bits of counter, so that it sorts as a
 * signed BIGINT (Kulkarni et al., "Logical Physical Clocks", 2014; the layout is ours).
 *
 * Invariants
 *   I1  versions of one clock strictly grow, whatever the wall clock does
 *   I2  a version above the stored ceiling never leaves the process: whoever writes a record to the
 *       WAL, L2 or L3 has first stored a ceiling above its version (se__hlc_covers). A process that
 *       starts at max(wall clock, stored ceilings) can then not issue a version again, or an older
 *       one, after a crash. Above the ceiling the clock goes on issuing, for writes that live in
 *       memory only.
 *   I3  a version seen elsewhere pushes the clock at most max_skew_ms ahead of the wall clock
 *
 * Threads: any; one atomic word and one for the ceiling.  Memory: in place.
 */
#ifndef SE_BASE_HLC_H
#define SE_BASE_HLC_H

#include "base/error.h"

#include <stdatomic.h>

#define SE__VERSION_MAX ((uint64_t)INT64_MAX)
#define SE__HLC_COUNTER_BITS 16

struct hlc {
    _Atomic uint64_t last;    /* the last version issued or seen */
    _Atomic uint64_t ceiling; /* stored: no version above it may leave the process */
};

static inline uint64_t se__version_of_ms(int64_t wall_ms)
{
    if (wall_ms <= 0)
        return 0;
    if (wall_ms > (int64_t)(SE__VERSION_MAX >> SE__HLC_COUNTER_BITS))
        return SE__VERSION_MAX;
    return (uint64_t)wall_ms << SE__HLC_COUNTER_BITS;
}
static inline int64_t se__version_ms(uint64_t version)
{
    return (int64_t)(version >> SE__HLC_COUNTER_BITS);
}

/* Starts above `floor` (the greatest stored ceiling; 0: none). */
void se__hlc_init(struct hlc *c, uint64_t floor);
/* The next version: greater than every version issued or seen, at least `wall_ms`'s. A clock at
 * SE__VERSION_MAX stays there (the year 6429). */
uint64_t se__hlc_next(struct hlc *c, int64_t wall_ms);
/* The last version issued or seen. */
uint64_t se__hlc_last(const struct hlc *c);
/* Takes note of a version seen in a tier. Returns false if it is more than max_skew_ms ahead of
 * wall_ms: then the clock is not pushed, and only that id's next version must go above it
 * (se__hlc_above). A version that the clock has passed already (the wall clock went back) is no
 * surprise: true. */
bool se__hlc_observe(struct hlc *c, uint64_t version, int64_t wall_ms, uint32_t max_skew_ms);
/* As se__hlc_next, but the result is also greater than `version`,
 * without pushing the clock there. */
uint64_t se__hlc_above(struct hlc *c, uint64_t version, int64_t wall_ms);
/* True if `version` is at or below the stored ceiling. */
bool se__hlc_covers(const struct hlc *c, uint64_t version);
/* The ceiling to store next so that `version` is covered and `ahead_ms` of new versions after now
 * as well (a twentieth of it for a clock that is ahead of the wall). */
uint64_t se__hlc_ceiling_for(const struct hlc *c, uint64_t version, int64_t wall_ms,
                             uint32_t ahead_ms);
/* The ceiling has been stored durably. Never lowers it. */
void se__hlc_raise_ceiling(struct hlc *c, uint64_t ceiling);

#endif
