/*
 * pace.c - what the home tier's calls teach, and what follows: how much a batch takes, when the next
 * may leave.
 */
#include "flush/inside.h"

enum {
    UNWELL_APART = 10, /* of the time for batches that only the WAL took: a tenth */
    TIMEOUT_PART = 4   /* of the tier's timeout: as long as a batch is meant to take at most */
};

struct tuner_bounds se__pace_bounds(const struct batch_limits *limits, uint32_t timeout_ms)
{
    return (struct tuner_bounds){
        .rows_max = limits->items_max,
        .bytes_max = limits->bytes_max,
        .keep_rows = limits->keep_items,
        .keep_bytes = limits->keep_bytes,
        .target_ms = limits->age_ms_max,
        .longest_ms = timeout_ms / TIMEOUT_PART,
    };
}

void se__pace_of(const struct tuner *t, const struct tuner_bounds *bounds, struct worker_pace *pace)
{
    size_t rows, bytes;
    se__tuner_choose(t, bounds, &rows, &bytes);
    pace->round_s = t->round_ns / 1e9;
    pace->row_s = t->row_ns / 1e9;
    pace->byte_s = t->byte_ns / 1e9;
    pace->items = bounds->keep_rows ? 0 : rows;
    pace->bytes = bounds->keep_bytes ? 0 : bytes;
}

void se__flush_choose(struct worker *w)
{
    struct tuner_bounds bounds = se__pace_bounds(&w->o.limits, w->o.home_timeout_ms);
    size_t items, bytes;
    se__tuner_next(&w->tuner, &bounds, &items, &bytes);
    w->limits.items_max = items;
    w->limits.bytes_max = bytes;
    se__mutex_lock(&w->queue.lock);
    w->queue.items_wake = items;
    w->queue.bytes_wake = bytes;
    se__mutex_unlock(&w->queue.lock);
    se__mutex_lock(&w->lock);
    se__pace_of(&w->tuner, &bounds, &w->pace);
    se__mutex_unlock(&w->lock);
}

static size_t bytes_of(const struct tier_write *writes, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += se__item_size(writes[i].item);
    return bytes;
}

void se__pace_learn(struct tuner *t, const struct tier_write *writes, size_t n, uint64_t took_ns,
                    struct tier_reply reply)
{
    if (reply.fault == TIER_FINE)
        se__tuner_learn(t, n, bytes_of(writes, n), took_ns);
    else if (reply.timed_out)
        se__tuner_late(t, n);
}

/* A batch that the home tier did not take tells nothing of what batches cost there; then the WAL is
 * what must not be asked for every single write. */
void se__flush_rest(struct worker *w, uint64_t began_ns, bool well)
{
    uint32_t max_ms = w->o.limits.age_ms_max;
    uint64_t ms = (se__mono_ns() - began_ns) * UNWELL_APART / 1000000;
    if (well)
        ms =
            se__tuner_rest_ms(&w->tuner, w->batch.n, bytes_of(w->batch.writes, w->batch.n), max_ms);
    ms = ms < max_ms ? ms : max_ms;
    w->rested_ms = began_ns / 1000000 + ms;
    se__mutex_lock(&w->lock);
    w->pace.rest_s = w->o.limits.paced ? (double)ms / 1000 : 0;
    se__mutex_unlock(&w->lock);
}
