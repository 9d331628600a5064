/*
 * combine - reads that come while all of a backend's connections are busy share the next pipeline.
 *
 * Place in the flow:  guarded -> tier's read -> [combine] -> the tier's own read of a list
 *
 * Up to `slots` reads are under way at once, each on a connection, and as long as there are no more
 * each goes by itself. Who comes then queues up; when one under way ends, the first in the queue
 * leads: it asks for its own ids and, up to `ids_max`, for those of all who queue behind it, in one
 * call, and hands out what came. So a connection is never idle while somebody waits, and the more
 * wait, the more ids a round trip brings. Nobody waits for company.
 *
 * Invariants
 *   I1  somebody queues only while `slots` reads are under way
 *   I2  every caller returns by its own deadline: one whose leader is late leaves its ids behind; one
 *       whose leader ran out of time before it did asks again
 *   I3  what a leader has of others is its own copy; nobody's memory is touched once he has left
 *
 * Faults are everybody's who shared the call, with the leader's text.
 *
 * Locks: one mutex (leaf), not held while reading.
 * Threads: any.  Memory: se__combine_open returns, se__combine_close frees.
 */
#ifndef SE_TIER_COMBINE_H
#define SE_TIER_COMBINE_H

#include "tier/tier.h"

struct combiner;

struct combiner_options {
    const char *name; /* for messages; borrowed for its life */
    unsigned slots;   /* >= 1 */
    size_t ids_max;   /* of one call that is shared; a longer one goes alone */
    void *arg;
    /* as tier_ops.read */
    struct tier_reply (*read)(void *arg, struct tier_read *reads, size_t n, uint64_t deadline_ms);
};

SE_NODISCARD se_result se__combine_open(const struct combiner_options *options,
                                        struct combiner **combiner);
void se__combine_close(struct combiner *c); /* nobody inside; NULL is allowed */
struct tier_reply se__combine_read(struct combiner *c, struct tier_read *reads, size_t n,
                                   uint64_t deadline_ms);
/* Ends the waits of all who queue, as if their deadlines had come. */
void se__combine_interrupt(struct combiner *c);
/* For tests: how many callers queue at this moment. */
unsigned se__combine_waiting(struct combiner *c);

#endif
