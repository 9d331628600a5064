/*
 * worker - the flush of one partition: its own thread for the home tier, and one for L2 behind it.
 *
 * Place in the flow:  dirty queue, WAL drain -> [worker] -> home tier -> confirm -> [L2 stage] ->
 * unpin
 *
 *   home thread:  wait (batcher) -> take -> split_write to the home tier
 *                   stored     -> WAL confirm, L1 home, hand to the L2 stage
 *                   newer      -> the same, counted as lost; L1's copy is dropped
 *                   refused    -> dead letter (WAL, else DEAD in L1)
 *                   unwell     -> WAL_HOME append; L1 home; (no WAL, or it is full) requeue and
 *                              back off
 *                 then one batch of the drain, if the WAL has one and the circuit lets it
 *   L2 thread:    takes handed batches in order; ITEM, TOMBSTONE or FLOOR by route; failures make
 *   suspects; then unpin.
 *                 The queue is bounded: where it is full the ids become suspects at once. An id may
 *                 be in one batch of it at a time more than once, in version order.
 *
 * What goes where is a total function of (deleted, route, tiers): se__route_home, se__route_cache.
 *
 * Invariants
 *   I1  at most one batch of a partition is on its way to the home tier; so writes of one id are
 *       ordered
 *   I2  nothing is given to L2 that the home tier or the WAL has not confirmed
 *   I3  no record leaves the process above the stored clock ceiling (cover)
 *   I4  every item taken ends as exactly one of: persisted, lost, in the WAL, dead, superseded,
 *       requeued
 *   I5  home_seq and cache_seq only grow; waiters see their outcome per item, not per batch
 *
 * Locks: the worker's own mutex (rank 40) guards waiters and sequence numbers; not held during I/O.
 * Threads: any may call the waiting functions.  Memory: se__worker_open returns; close joins and
 * frees.
 */
#ifndef SE_FLUSH_WORKER_H
#define SE_FLUSH_WORKER_H

#include "base/log.h"
#include "flush/batcher.h"
#include "flush/dirty.h"
#include "flush/receipts.h"
#include "flush/suspects.h"
#include "tier/guarded.h"
#include "wal/wal.h"

/* What the home tier gets: ITEM or TOMBSTONE. beside_l2: the home tier is L3. A write routed to
 * L2 only leaves L3 a tombstone. */
enum record_kind se__route_home(bool deleted, uint8_t route, bool home_is_l3);
/* What L2 gets beside an L3: ITEM, TOMBSTONE, or FLOOR for a write routed to L3 only. */
enum record_kind se__route_cache(bool deleted, uint8_t route);

struct worker;

struct worker_options {
    unsigned number, partitions;
    struct l1 *l1;
    struct wal *wal;  /* NULL: none */
    struct tier home; /* guarded */
    struct guarded *home_guard;
    bool home_is_l3;
    struct tier cache;         /* guarded L2 beside an L3; ops NULL: none */
    struct suspects *suspects; /* with cache */
    size_t owed_max;           /* see flush/stage.h */
    struct batch_limits limits;
    size_t drain_items; /* wal_drain_batch_size */
    bool keep_drain;    /* somebody has asked for this very size */
    uint32_t home_timeout_ms, cache_timeout_ms;
    struct receipts *receipts; /* NULL: nobody is told */
    struct metrics *metrics;
    const struct se__log *log;
    struct hlc *hlc;
    uint32_t max_clock_skew_ms;
    /* Versions of this engine up to it were taken before it knew where earlier runs had ended; 0:
     * none. NULL: never. Constant once the home tier can be reached. */
    const _Atomic uint64_t *blind_until;
    /* Stores a ceiling that covers `version`. Called without locks. */
    se_result (*cover)(void *arg, uint64_t version);
    /* L3 is sure to hold nothing of the id. NULL: never sure. */
    bool (*excludes)(void *arg, const char *id, size_t id_len);
    void *arg;
};

SE_NODISCARD se_result se__worker_open(const struct worker_options *options,
                                       struct worker **worker);
struct dirty_queue *se__worker_queue(struct worker *w);

/* ---- waiting ---- */
enum worker_outcome {
    WORKER_UNKNOWN, /* not yet */
    WORKER_STORED,  /* the home tier has committed this version or a newer one */
    WORKER_IN_WAL,  /* only the WAL has it */
    WORKER_DEAD     /* a dead letter */
};
/* A write whose ack waits for the home tier; lives on the caller's stack from before its put
 * until se__worker_wait or se__worker_unwatch. */
struct worker_waiter {
    struct worker_waiter *next, **link;
    const se_item *item;
    enum worker_outcome outcome;
};
void se__worker_watch(struct worker *w, struct worker_waiter *waiter, const se_item *item);
/* and unwatches */
enum worker_outcome se__worker_wait(struct worker *w, struct worker_waiter *waiter,
                                    uint64_t deadline_ms);
void se__worker_unwatch(struct worker *w, struct worker_waiter *waiter);

/* Everything pushed before the call has left the home stage and the L2 stage: *all_home says
 * whether all of it, and whatever the WAL held of this partition, is in the home tier.
 * SE_ERR_TIMEOUT. */
SE_NODISCARD se_result se__worker_flush(struct worker *w, uint64_t deadline_ms, bool *all_home);

/* What batches cost, as measured, and what was chosen from that; 0: not known, or not chosen. */
struct worker_pace {
    double round_s, row_s, byte_s; /* a batch takes round_s + row_s a row + byte_s a byte */
    double rest_s;                 /* from the start of the last batch to that of the next */
    size_t items, bytes;           /* a batch is full at */
};

struct worker_stats {
    size_t queued, in_flight; /* items */
    uint64_t oldest_dirty_ms; /* mono time the oldest of them became dirty; 0: none */
    size_t cache_backlog;     /* items waiting for L2 */
    struct worker_pace home, cache;
};
void se__worker_stats(struct worker *w, struct worker_stats *stats);
/* The home tier may be up again: look now instead of at the end of a back-off. */
void se__worker_wake(struct worker *w);

/* Flushes until empty or the deadline, moving what the home tier cannot take into the WAL; then
 * stops both threads. Returns how many items are neither home nor in the WAL. */
size_t se__worker_stop(struct worker *w, uint64_t deadline_ms);
void se__worker_close(struct worker *w); /* stopped; NULL is allowed */
/* See se__stage_mark(). Without an L2 stage: UINT64_MAX. */
uint64_t se__worker_cache_mark(struct worker *w);

#endif
