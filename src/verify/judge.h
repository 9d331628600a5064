/*
 * judge - what two copies of one id say about each other. Pure.
 *
 * The newest good copy is the greatest (version, record hash) among the tiers and the spare. A copy
 * whose content does not fit while its header does is not outdone by an older one: the newer write
 * was acknowledged, and showing the older would hide its loss; such an id is corrupt and cannot be repaired. A
 * header that does not fit itself vouches for nothing, and any good copy replaces it.
 *
 *   L2                L3                    verdict
 *   live/tombstone    the same write        sound
 *   older             newer                 stale_l2
 *   newer             older                 stale_l3; with foreign writers: lag, nothing
 *   live              no row                orphan_l2, unless the record is routed to L2 only
 *   live, L2 only     tombstone, same write sound (a cache entry)
 *   newer, L2 only    older tombstone       sound (where L3 has no live row it is not told)
 *   tombstone         no row                sound (purged)
 *   mark, nothing     anything good         sound (it is a cache)
 *   corrupt           -                     corrupt_l2; repaired from L3 (a spare), or, without any good
 *                                           copy and without a row in L3, made a miss
 *   -                 corrupt               corrupt_l3; repaired from L2 (a spare)
 *
 * Threads: any.
 */
#ifndef SE_VERIFY_JUDGE_H
#define SE_VERIFY_JUDGE_H

#include "tier/tier.h"

/* What one tier holds of an id. */
struct copy {
    enum { COPY_NONE, COPY_LIVE, COPY_TOMBSTONE, COPY_MARK, COPY_CORRUPT } kind;
    uint64_t version; /* LIVE, TOMBSTONE; CORRUPT with header_fits */
    uint8_t record_hash[SE_HASH_SIZE];
    uint8_t route;
    bool header_fits;
    bool unknown; /* CORRUPT, L3: encoded in a way that only a newer library reads. It is told, and
                     never replaced: nothing says that it is damaged */
};

enum repair_source { FROM_NOWHERE, FROM_L2, FROM_L3, FROM_SPARE };
struct verdict {
    bool stale_l2, stale_l3, corrupt_l2, corrupt_l3, orphan_l2;
    /* Which copy to put where; FROM_NOWHERE: leave that tier alone. */
    enum repair_source l2_from, l3_from;
    bool void_l2; /* make the copy in L2 a miss */
};

/* A copy of the tier that is not configured is COPY_NONE with has_l2 / has_l3 false. */
struct judge_case {
    bool has_l2, has_l3, foreign;
    struct copy l2, l3, spare;
};
struct verdict se__judge(const struct judge_case *c);
bool se__verdict_sound(const struct verdict *v);
/* (version, record hash): <0, 0, >0. */
int se__copy_compare(const struct copy *a, const struct copy *b);
bool se__copy_equal(const struct copy *a, const struct copy *b); /* in every field that counts */

#endif
