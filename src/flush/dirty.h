/*
 * dirty - the queue of dirty ids of one partition.
 *
 * Place in the flow:  l1 (push, under the stripe's lock) -> [dirty queue] -> flush worker
 * Intrusive: nodes live in L1's entries, so pushing cannot fail. Every node gets the next sequence number of the
 * partition; waiting for a number is waiting for all writes accepted before it, because a later write of a queued id rides on the earlier node.
 *
 * Invariants
 *   I1  numbers grow from front to back, except that nodes put back at the front get the number 0 (they are older than all)
 *   I2  items, bytes and oldest_ms describe exactly the nodes linked
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
    uint64_t pushed;    /* number of the last node pushed at the back */
    bool stopping;
};

void se__dirty_init(struct dirty_queue *q);
void se__dirty_done(struct dirty_queue *q);
void se__dirty_push(struct dirty_queue *q, struct dirty_node *node, bool front);
/* Takes nodes off the front until items_max or bytes_max is reached (at least one if there is any). Returns the first; they stay linked by next,
 * NULL-terminated. *n, *pushed: how many, and the number up to which everything pushed has now been taken, if the queue is empty after this
 * (else the number of the last node taken). */
struct dirty_node *se__dirty_take(struct dirty_queue *q, size_t items_max, size_t bytes_max, size_t *n, uint64_t *up_to);

#endif
