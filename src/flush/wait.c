/*
 * wait.c - acks and flushes: callers that wait for a batch to end.
 *
 * An ack waits for one id at one version; the batch in which that id travels may hold a newer
 * version, or a later batch may, where the item was put back or replaced. A flush waits for a
 * number of the queue, then for the same number of the L2 stage, then for the drain as long as it
 * gets anywhere.
 */
#include "flush/inside.h"

#include <string.h>

/* ---- acks ---- */

void se__worker_watch(struct worker *w, struct worker_waiter *waiter, const se_item *item)
{
    waiter->item = item;
    waiter->outcome = WORKER_UNKNOWN;
    se__mutex_lock(&w->lock);
    waiter->next = w->waiters;
    waiter->link = &w->waiters;
    if (waiter->next)
        waiter->next->link = &waiter->next;
    w->waiters = waiter;
    se__mutex_unlock(&w->lock);
}

static void unlink_locked(struct worker_waiter *waiter)
{
    *waiter->link = waiter->next;
    if (waiter->next)
        waiter->next->link = waiter->link;
}

void se__worker_unwatch(struct worker *w, struct worker_waiter *waiter)
{
    se__mutex_lock(&w->lock);
    unlink_locked(waiter);
    se__mutex_unlock(&w->lock);
}

enum worker_outcome se__worker_wait(struct worker *w, struct worker_waiter *waiter,
                                    uint64_t deadline_ms)
{
    se__dirty_hurry(&w->queue, true);
    bool in_time = true;
    se__mutex_lock(&w->lock);
    while (waiter->outcome == WORKER_UNKNOWN && !w->stopped && in_time)
        in_time = se__cond_wait_until(&w->done, &w->lock, deadline_ms);
    unlink_locked(waiter);
    enum worker_outcome outcome = waiter->outcome;
    se__mutex_unlock(&w->lock);
    se__dirty_hurry(&w->queue, false);
    return outcome;
}

/* ---- a batch has ended ---- */

static const struct slot *find_slot(const struct batch *b, const se_item *item)
{
    size_t from = 0, to = b->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = strcmp(se_item_id(b->slots[middle].item), se_item_id(item));
        if (order == 0)
            return &b->slots[middle];
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

/* Superseded and requeued items have not ended: a later batch has the answer. */
static enum worker_outcome outcome_of(enum slot_end end)
{
    switch (end) {
    case SLOT_STORED:
    case SLOT_LOST:
        return WORKER_STORED;
    case SLOT_IN_WAL:
        return WORKER_IN_WAL;
    case SLOT_DEAD:
        return WORKER_DEAD;
    default:
        return WORKER_UNKNOWN;
    }
}

static void tell_waiters_locked(struct worker *w)
{
    for (struct worker_waiter *waiter = w->waiters; waiter; waiter = waiter->next) {
        const struct slot *slot = find_slot(&w->batch, waiter->item);
        bool answered = slot && se_item_version(slot->item) >= se_item_version(waiter->item);
        if (answered && waiter->outcome == WORKER_UNKNOWN)
            waiter->outcome = outcome_of(slot->end);
    }
}

/* A receipt is answered where an ack is, and has to tell more apart. */
static bool receipt_end(const struct slot *slot, const struct split_item *fate,
                        se_delivery_outcome *outcome)
{
    switch (slot->end) {
    case SLOT_STORED:
        *outcome = SE_DELIVERY_HOME;
        return true;
    case SLOT_LOST:
        *outcome = SE_DELIVERY_SUPERSEDED;
        return true;
    case SLOT_IN_WAL:
        *outcome = SE_DELIVERY_WAL;
        return true;
    case SLOT_DEAD:
        *outcome = SE_DELIVERY_DEAD;
        return true;
    case SLOT_SUPERSEDED:
        /* Refused, and no dead letter since something newer is here: maybe loaded, and then no
         * batch will come that ends it. Put back is another thing: there one will. */
        *outcome = SE_DELIVERY_DEAD;
        return fate->fate == SPLIT_DEAD;
    default:
        return false;
    }
}

static void answer_receipts(struct worker *w)
{
    const struct batch *b = &w->batch;
    if (!se__receipts_any(w->o.receipts))
        return;
    for (size_t i = 0; i < b->n; i++) {
        const struct slot *slot = &b->slots[i];
        struct receipt_end end = {.version = se_item_version(slot->item)};
        if (!receipt_end(slot, &b->fates[i], &end.outcome))
            continue;
        end.newest = slot->end == SLOT_LOST ? b->writes[i].newer : 0;
        end.code = b->fates[i].code;
        end.error = b->fates[i].error;
        se__receipts_end(w->o.receipts, slot->hash, se_item_id(slot->item),
                         se__item_id_len(slot->item), &end);
    }
}

void se__flush_announce(struct worker *w, uint64_t home_seq, bool unwell)
{
    answer_receipts(w);
    se__mutex_lock(&w->lock);
    tell_waiters_locked(w);
    if (w->home_seq < home_seq)
        w->home_seq = home_seq;
    w->unwell = unwell;
    w->events++;
    se__cond_broadcast(&w->done);
    se__mutex_unlock(&w->lock);
}

void se__flush_drain_begins(struct worker *w)
{
    se__mutex_lock(&w->lock);
    w->draining = true;
    se__mutex_unlock(&w->lock);
}

void se__flush_drain_ends(struct worker *w, bool unwell)
{
    se__mutex_lock(&w->lock);
    w->draining = false;
    w->unwell = unwell;
    w->events++;
    se__cond_broadcast(&w->done);
    se__mutex_unlock(&w->lock);
}

/* ---- flush ---- */

/* True once home_seq has reached `target`. */
static bool wait_home(struct worker *w, uint64_t target, uint64_t deadline_ms)
{
    bool in_time = true;
    se__mutex_lock(&w->lock);
    while (w->home_seq < target && !w->stopped && in_time)
        in_time = se__cond_wait_until(&w->done, &w->lock, deadline_ms);
    bool reached = w->home_seq >= target;
    se__mutex_unlock(&w->lock);
    return reached;
}

/* Whether the WAL holds nothing of this partition any more. Waits for the drain while that makes
 * progress: what it holds is safe, so an unwell home tier, a close or the deadline end the
 * waiting with the truth and not with an error. */
static bool wait_drained(struct worker *w, uint64_t deadline_ms)
{
    bool in_time = true;
    for (;;) {
        se__mutex_lock(&w->lock);
        uint64_t seen = w->events;
        se__mutex_unlock(&w->lock);
        bool drainable = se__wal_drainable(w->o.wal, w->o.number);
        se__mutex_lock(&w->lock);
        /* No event since `seen`: the drain did not end in between, so its flag and
         * `drainable` speak of one moment. */
        bool same = w->events == seen;
        bool drained = same && !drainable && !w->draining;
        bool over = drained || (same && w->unwell) || w->stopped || !in_time;
        while (!over && w->events == seen && !w->stopped && in_time)
            in_time = se__cond_wait_until(&w->done, &w->lock, deadline_ms);
        se__mutex_unlock(&w->lock);
        if (over)
            return drained;
    }
}

se_result se__worker_flush(struct worker *w, uint64_t deadline_ms, bool *all_home)
{
    se__mutex_lock(&w->queue.lock);
    uint64_t target = w->queue.pushed;
    se__mutex_unlock(&w->queue.lock);
    se__dirty_hurry(&w->queue, true);
    bool reached = wait_home(w, target, deadline_ms);
    se__dirty_hurry(&w->queue, false);
    if (!reached)
        return se__error(SE_ERR_TIMEOUT,
                         "worker %u: not everything is in the home tier or the WAL yet",
                         w->o.number);
    if (w->stage && !se__stage_wait(w->stage, target, deadline_ms))
        return se__error(SE_ERR_TIMEOUT, "worker %u: not every copy is in L2 yet", w->o.number);
    *all_home = !w->o.wal || wait_drained(w, deadline_ms);
    return SE_OK;
}
