/*
 * dirty - the queue of dirty ids of one partition.
 *
 * Place in the flow:  l1 (push, under the stripe's lock) -> [dirty queue] -> flush worker
 * Intrusive: nodes live in L1's entries, so pushing cannot fail. Every node gets the next sequence
 * number of the partition; waiting for a number is waiting for all writes accepted before it,
 * because a later write of a queued id rides on the earlier node.
 *
 * Invariants
 *   I1  numbers grow from front to back, except that nodes put back at the front get the number 0
 *       (they are older than all)
 *   I2  items and bytes describe exactly the nodes linked, the first `fronted` of which were put
 *       back
 *   I3  every node taken counts in `taken` until it is settled, so items + taken never dips while a
 *       batch is on its way
 *
 * A push wakes the worker only where that can change its decision: when the queue was empty, or a
 * limit is reached. So a million pushes a second cost two wake-ups a batch.
 *
 * Locks: one mutex, rank 20 (below L1's stripes).  Threads: any may push; one worker takes.
 */
#ifndef SE_FLUSH_DIRTY_H
#define SE_FLUSH_DIRTY_H

#include "base/os.h"
#include "l1/map.h"

struct dirty_queue {
    struct se__mutex lock; /* guards all below */
    struct se__cond changed;
    struct dirty_node *front, **back;
    size_t items, bytes;
    size_t fronted;                /* of them, put back at the front */
    uint64_t pushed;               /* number of the last node pushed at the back */
    size_t taken;                  /* items of the batch on its way */
    uint64_t taken_oldest_ms;      /* mono: the oldest of them; 0: none */
    size_t items_wake, bytes_wake; /* the worker's limits; 0: only the first push wakes it */
    unsigned urgent;               /* callers that wait for the home tier */
    bool woken;                    /* se__worker_wake */
    bool stopping;
    uint64_t stop_by_ms; /* with stopping */
};

void se__dirty_init(struct dirty_queue *q);
void se__dirty_done(struct dirty_queue *q);
void se__dirty_push(struct dirty_queue *q, struct dirty_node *node, bool front);
/* Takes nodes off the front until the next would exceed items_max or bytes_max (at least one if
 * there is any). Returns the first; they stay linked by next, NULL-terminated. *n: how many.
 * *up_to: the number up to which everything pushed has now been taken; 0 while nodes that were
 * put back still wait. */
struct dirty_node *se__dirty_take(struct dirty_queue *q, size_t items_max, size_t bytes_max,
                                  size_t *n, uint64_t *up_to);
/* The batch that was taken has ended, one way or the other. Returns the number of
 * the last node pushed by now. */
uint64_t se__dirty_settle(struct dirty_queue *q);
/* A caller begins (or ends) to wait for what is queued: the batch leaves at once. */
void se__dirty_hurry(struct dirty_queue *q, bool begins);

#endif
