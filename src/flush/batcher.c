/*
 * batcher.c - the rules by which a batch leaves, in their order of weight.
 */
#include "flush/batcher.h"

enum batch_close se__batcher_decide(const struct batch_limits *limits,
                                    const struct batch_queue *queue, uint64_t now_ms,
                                    uint64_t *wait_ms)
{
    *wait_ms = UINT64_MAX;
    if (queue->items == 0)
        return BATCH_OPEN;
    if (queue->items >= limits->items_max)
        return BATCH_CLOSE_ITEMS;
    if (queue->bytes >= limits->bytes_max)
        return BATCH_CLOSE_BYTES;
    if (queue->urgent)
        return BATCH_CLOSE_URGENT;
    /* A front that became dirty "after now" (its time was read later than ours) has age 0. */
    uint64_t age = now_ms > queue->oldest_ms ? now_ms - queue->oldest_ms : 0;
    if (age >= limits->age_ms_max)
        return BATCH_CLOSE_AGE;
    *wait_ms = limits->age_ms_max - age;
    if (!limits->paced)
        return BATCH_OPEN;
    if (now_ms >= queue->rested_ms)
        return BATCH_CLOSE_RESTED;
    if (queue->rested_ms - now_ms < *wait_ms)
        *wait_ms = queue->rested_ms - now_ms;
    return BATCH_OPEN;
}
