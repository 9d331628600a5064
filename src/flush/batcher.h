/*
 * batcher - decides when a batch leaves.
 *
 * Pure: the queue's state and the time are passed in; no thread, no clock, no I/O.
 *
 * Invariants
 *   I1  a batch closes at the first of items_max, bytes_max, age_ms_max, or when somebody waits for
 *       it (urgent); where batches are paced, also once the partition has rested since the last one
 *   I2  an item larger than bytes_max travels alone; it is never refused
 *
 * Threads: any.  Memory: owns nothing.
 */
#ifndef SE_FLUSH_BATCHER_H
#define SE_FLUSH_BATCHER_H

#include "base/error.h"

enum batch_close {
    BATCH_OPEN,
    BATCH_CLOSE_ITEMS,
    BATCH_CLOSE_BYTES,
    BATCH_CLOSE_AGE,
    BATCH_CLOSE_RESTED,
    BATCH_CLOSE_URGENT
};

struct batch_limits {
    size_t items_max, bytes_max;
    uint32_t age_ms_max;
    bool paced; /* nobody has asked for this very age: tuner.h chooses, up to it */
    /* Somebody has asked for this very limit: else it chooses, up to it. */
    bool keep_items, keep_bytes;
};
struct batch_queue {
    size_t items, bytes;
    uint64_t oldest_ms; /* mono, of the front */
    bool urgent;        /* a flush or an ack waits, or the engine closes */
    uint64_t rested_ms; /* mono, with paced: when the rest after the last batch is over */
};
/* Why the batch must leave now, or BATCH_OPEN; then *wait_ms is how long until its age
 * closes it (UINT64_MAX when empty). */
enum batch_close se__batcher_decide(const struct batch_limits *limits,
                                    const struct batch_queue *queue, uint64_t now_ms,
                                    uint64_t *wait_ms);

#endif
