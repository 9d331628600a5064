/*
 * stage - hands confirmed writes of one partition to L2, from a thread and a bounded queue of its
 * own.
 *
 * Place in the flow:  worker (home tier or WAL has confirmed) -> [stage] -> L2 -> L1 unpin
 * Home and L2 work side by side: a stopped Redis does not hold up SQL. What L2 does not take, or
 * what finds the queue full, becomes a suspect before its L1 entry is unpinned, so that no read can
 * meet the older copy. Once nothing waits here, L2 is told of such ids: it gets a FLOOR of the version
 * that it missed. Once it has that it holds nothing older, and the id is no suspect any more.
 *
 * Invariants
 *   I1  batches are written in the order in which they were handed
 *   I2  an id's entry is unpinned exactly once per item handed, after L2 has it or it is a suspect
 *   I3  at most STAGE_SLOTS batches wait, the one being written included, and beyond STAGE_BATCHES of
 *       them no more items than that many full batches have
 *   I4  a floor is written only while nothing waits here: an older write of its id that came to L2
 *       after the floor had expired would be believed
 *
 * Locks: one mutex, rank 40, not held during I/O.  Threads: the worker's hands; any waits.  Memory:
 * takes the items' references.
 */
#ifndef SE_FLUSH_STAGE_H
#define SE_FLUSH_STAGE_H

#include "base/log.h"
#include "flush/batcher.h"
#include "flush/suspects.h"
#include "l1/map.h"
#include "tier/tier.h"

/* Small batches count by their items, so that a short stop of Redis does not find the queue full. */
enum { STAGE_BATCHES = 16, STAGE_SLOTS = 512 };

struct stage;
struct worker_pace;
struct stage_options {
    unsigned number; /* of the worker */
    struct l1 *l1;
    struct tier cache;
    struct suspects *suspects;
    struct batch_limits limits; /* of a batch; calls are cut smaller where L2 is slow */
    uint32_t timeout_ms;        /* one call */
    size_t owed_max; /* ids that L2 is told later that it missed a write of; 0: none is */
    const struct se__log *log;
};
struct staged {
    se_item *item;
    uint64_t hash;
};

SE_NODISCARD se_result se__stage_open(const struct stage_options *options, struct stage **stage);
/* Takes the references of n <= items_max items, sorted by id; the array is borrowed. `seq`: what
 * has been reached once they are done. n may be 0. */
void se__stage_hand(struct stage *s, const struct staged *items, size_t n, uint64_t seq);
/* True once everything handed with seq or less is done; false at the deadline. */
bool se__stage_wait(struct stage *s, uint64_t seq, uint64_t deadline_ms);
/* Items that wait, what calls cost, and how much one takes at most. */
void se__stage_stats(struct stage *s, size_t *backlog, struct worker_pace *pace);
/* For se__suspects_clear(): suspects noted after it may have older writes of their ids waiting here, which would reach L2 under the
 * new generation and be believed. */
uint64_t se__stage_mark(struct stage *s);
/* Writes what waits until the deadline, makes suspects of the rest, ends the thread.
 * Nothing may be handed any more. */
void se__stage_stop(struct stage *s, uint64_t deadline_ms);
void se__stage_close(struct stage *s); /* stopped; NULL is allowed */

#endif
