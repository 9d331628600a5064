/*
 * worker.c - the life of a flush worker, and the home thread's choice of what to do next.
 *
 * The choice is a pure function of what is queued, what the WAL holds, two back-off times and the
 * clock (choose()); the thread only gathers those, waits and calls. With nothing to do it waits
 * without a timeout: an idle partition costs nothing.
 */
#include "flush/inside.h"

#include "base/mem.h"

#include <assert.h>
#include <stdio.h>

/* ---- what next ---- */

enum step { STEP_WAIT, STEP_FLUSH, STEP_FLUSH_LATE, STEP_DRAIN, STEP_END };

/* A stopping worker only empties its queue: what the WAL holds is safe there. */
static enum step choose_stopping(const struct worker *w, uint64_t now_ms, uint64_t *until_ms)
{
    const struct dirty_queue *q = &w->queue;
    if (q->items == 0 || w->give_up)
        return STEP_END;
    if (now_ms >= q->stop_by_ms)
        return STEP_FLUSH_LATE;
    if (now_ms >= w->flush_after_ms)
        return STEP_FLUSH;
    *until_ms = w->flush_after_ms < q->stop_by_ms ? w->flush_after_ms : q->stop_by_ms;
    return STEP_WAIT;
}

static enum batch_close look_at_queue(const struct worker *w, uint64_t now_ms, uint64_t *until_ms)
{
    const struct dirty_queue *q = &w->queue;
    struct batch_queue state = {
        .items = q->items, .bytes = q->bytes, .urgent = q->urgent > 0, .rested_ms = w->rested_ms};
    if (q->front)
        state.oldest_ms = q->front->first_ms;
    uint64_t wait_ms;
    enum batch_close close = se__batcher_decide(&w->limits, &state, now_ms, &wait_ms);
    *until_ms = wait_ms == UINT64_MAX ? SE__FOREVER : now_ms + wait_ms;
    if (close != BATCH_OPEN && now_ms < w->flush_after_ms) {
        *until_ms = w->flush_after_ms;
        return BATCH_OPEN;
    }
    return close;
}

/* With STEP_WAIT, *until_ms is when to look again at the latest. Called with the queue's lock. */
static enum step choose(const struct worker *w, bool drainable, uint64_t now_ms, uint64_t *until_ms)
{
    if (w->queue.stopping)
        return choose_stopping(w, now_ms, until_ms);
    bool close = look_at_queue(w, now_ms, until_ms) != BATCH_OPEN;
    bool drain = drainable && now_ms >= w->drain_after_ms;
    if (drain && (!close || w->drain_turn))
        return STEP_DRAIN;
    if (close)
        return STEP_FLUSH;
    if (drainable && w->drain_after_ms < *until_ms)
        *until_ms = w->drain_after_ms;
    return STEP_WAIT;
}

static void look_up_locked(struct worker *w)
{
    if (w->queue.woken) {
        w->flush_after_ms = 0;
        w->drain_after_ms = 0;
    }
    w->queue.woken = false;
}

static enum step next_step(struct worker *w)
{
    struct dirty_queue *q = &w->queue;
    enum step step;
    uint64_t until_ms = SE__FOREVER;
    se__mutex_lock(&q->lock);
    for (;;) {
        look_up_locked(w);
        bool drainable = w->o.wal && se__wal_drainable(w->o.wal, w->o.number);
        step = choose(w, drainable, se__mono_ms(), &until_ms);
        if (step != STEP_WAIT)
            break;
        if (until_ms == SE__FOREVER)
            se__cond_wait(&q->changed, &q->lock);
        else
            (void)se__cond_wait_until(&q->changed, &q->lock, until_ms);
    }
    se__mutex_unlock(&q->lock);
    return step;
}

static void run(void *arg)
{
    struct worker *w = arg;
    for (;;) {
        switch (next_step(w)) {
        case STEP_FLUSH:
            se__flush_batch(w, true);
            break;
        case STEP_FLUSH_LATE:
            se__flush_batch(w, false);
            break;
        case STEP_DRAIN:
            se__flush_drain(w);
            break;
        default:
            return;
        }
    }
}

/* ---- life ---- */

static se_result open_batch(struct batch *b, size_t items_max, size_t writes_max)
{
    b->slots = se__alloc_zeroed(items_max, sizeof *b->slots);
    b->items = se__alloc_zeroed(items_max, sizeof *b->items);
    b->open = se__alloc_zeroed(items_max, sizeof *b->open);
    b->staged = se__alloc_zeroed(items_max, sizeof *b->staged);
    b->writes = se__alloc_zeroed(writes_max, sizeof *b->writes);
    b->fates = se__alloc_zeroed(writes_max, sizeof *b->fates);
    bool all = b->slots && b->items && b->open && b->staged && b->writes && b->fates;
    return all ? SE_OK : se__error_nomem();
}

static void close_batch(struct batch *b)
{
    se__free(b->slots);
    se__free(b->items);
    se__free(b->open);
    se__free(b->staged);
    se__free(b->writes);
    se__free(b->fates);
}

static se_result open_stage(struct worker *w)
{
    if (!w->o.cache.ops)
        return SE_OK;
    struct stage_options options = {
        .number = w->o.number,
        .l1 = w->o.l1,
        .cache = w->o.cache,
        .suspects = w->o.suspects,
        .limits = w->o.limits,
        .timeout_ms = w->o.cache_timeout_ms,
        .owed_max = w->o.owed_max,
        .log = w->o.log,
    };
    return se__stage_open(&options, &w->stage);
}

static se_result start(struct worker *w)
{
    char name[16];
    snprintf(name, sizeof name, "se-flush-%u", w->o.number);
    return se__thread_start(&w->thread, name, run, w);
}

static void set_limits(struct worker *w)
{
    struct batch_limits *limits = &w->o.limits;
    limits->items_max = limits->items_max ? limits->items_max : 1;
    w->o.drain_items = w->o.drain_items ? w->o.drain_items : 1;
    w->limits = *limits;
    se__flush_choose(w);
}

se_result se__worker_open(const struct worker_options *options, struct worker **worker)
{
    struct worker *w = se__alloc_zeroed(1, sizeof *w);
    if (!w)
        return se__error_nomem();
    w->o = *options;
    se__mutex_init(&w->lock);
    se__cond_init(&w->done);
    se__dirty_init(&w->queue);
    set_limits(w);
    size_t items_max = w->o.limits.items_max;
    se_result r = open_batch(&w->batch, items_max,
                             items_max > w->o.drain_items ? items_max : w->o.drain_items);
    if (r == SE_OK)
        r = open_stage(w);
    if (r == SE_OK)
        r = start(w);
    if (r != SE_OK) {
        se__worker_close(w);
        return r;
    }
    *worker = w;
    return SE_OK;
}

struct dirty_queue *se__worker_queue(struct worker *w)
{
    return &w->queue;
}

void se__worker_wake(struct worker *w)
{
    se__mutex_lock(&w->queue.lock);
    w->queue.woken = true;
    se__cond_signal(&w->queue.changed);
    se__mutex_unlock(&w->queue.lock);
}

void se__worker_stats(struct worker *w, struct worker_stats *stats)
{
    struct dirty_queue *q = &w->queue;
    *stats = (struct worker_stats){0};
    se__mutex_lock(&q->lock);
    stats->queued = q->items + q->taken;
    stats->in_flight = q->taken;
    stats->oldest_dirty_ms = q->taken_oldest_ms;
    if (q->front && (!q->taken_oldest_ms || q->front->first_ms < q->taken_oldest_ms))
        stats->oldest_dirty_ms = q->front->first_ms;
    se__mutex_unlock(&q->lock);
    se__mutex_lock(&w->lock);
    stats->home = w->pace;
    se__mutex_unlock(&w->lock);
    if (w->stage)
        se__stage_stats(w->stage, &stats->cache_backlog, &stats->cache);
}

static void end_waits(struct worker *w)
{
    se__mutex_lock(&w->lock);
    w->stopped = true;
    se__cond_broadcast(&w->done);
    se__mutex_unlock(&w->lock);
}

size_t se__worker_stop(struct worker *w, uint64_t deadline_ms)
{
    struct dirty_queue *q = &w->queue;
    se__mutex_lock(&q->lock);
    q->stopping = true;
    q->stop_by_ms = deadline_ms;
    se__cond_signal(&q->changed);
    se__mutex_unlock(&q->lock);
    se__thread_join(&w->thread);
    if (w->stage)
        se__stage_stop(w->stage, deadline_ms);
    end_waits(w);
    se__mutex_lock(&q->lock);
    size_t left = q->items;
    se__mutex_unlock(&q->lock);
    return left;
}

void se__worker_close(struct worker *w)
{
    if (!w)
        return;
    assert(!w->thread.started); /* stopped, or never opened */
    se__stage_close(w->stage);
    close_batch(&w->batch);
    se__dirty_done(&w->queue);
    se__cond_done(&w->done);
    se__mutex_done(&w->lock);
    se__free(w);
}

uint64_t se__worker_cache_mark(struct worker *w)
{
    return w->stage ? se__stage_mark(w->stage) : UINT64_MAX;
}
