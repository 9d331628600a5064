/*
 * batch.c - one batch of a partition, from the dirty queue to where each of its items ends.
 *
 * The order of steps for an item that the home tier or the WAL has is what keeps read-your-writes:
 *   1. WAL confirm   the overlay loses what is older or equal, so that it cannot hide the home
 *                    tier's answer later
 *   2. L1 home       the entry is no longer in flight, but pinned
 *   3. L2, or a suspect
 *   4. L1 unpin      from now on the entry may be evicted, and reads find the write below
 */
#include "flush/inside.h"

#include "tier/retry.h"

#include <stdlib.h>
#include <string.h>

enum {
    LOG_UNWELL_MS = 10000,
    LOG_DEAD_MS = 1000,
    WAL_WAIT_MS = 2000, /* one wait for the WAL's commit; it is repeated unless the engine closes */
    BACK_OFF_MIN_MS = 2, /* full jitter may draw 0: never spin */
    PROBE_WAIT_MS = 100, /* another worker's call is the circuit's probe */
    /* The circuit spares the home tier. What fails beside it is near (the WAL's disk), and nobody says
     * when it is well again. */
    BACK_OFF_MAX_MS = 1000
};

/* ---- taking ---- */

static int by_id(const void *a, const void *b)
{
    const se_item *x = ((const struct slot *)a)->item, *y = ((const struct slot *)b)->item;
    return strcmp(se_item_id(x), se_item_id(y));
}

/* Returns the number up to which everything is taken with this batch. */
static uint64_t take(struct worker *w)
{
    struct batch *b = &w->batch;
    uint64_t up_to;
    struct dirty_node *node =
        se__dirty_take(&w->queue, w->limits.items_max, w->limits.bytes_max, &b->n, &up_to);
    for (size_t i = 0; node; i++) {
        /* once taken from L1, the node may be queued again at any time */
        struct dirty_node *next = node->next;
        b->slots[i] = (struct slot){.hash = node->hash, .first_ms = node->first_ms, .place = i};
        b->slots[i].item = se__l1_take(w->o.l1, node);
        node = next;
    }
    qsort(b->slots, b->n, sizeof *b->slots, by_id);
    return up_to;
}

static void fill_writes(struct worker *w)
{
    struct batch *b = &w->batch;
    for (size_t i = 0; i < b->n; i++) {
        se_item *item = b->slots[i].item;
        b->writes[i] = (struct tier_write){
            .item = item,
            .kind = se__route_home(se__item_deleted(item), se__item_route(item), w->o.home_is_l3)};
    }
}

/* A write routed past L3 leaves a tombstone there, unless the filter knows that L3 has nothing of the
 * id to be voided. Its copy in L2 leaves the process all the same: I3. */
static bool needs_home(struct worker *w, const struct tier_write *write)
{
    const se_item *item = write->item;
    bool stand_in = write->kind == RECORD_TOMBSTONE && !se__item_deleted(item);
    return !stand_in || !w->stage || !w->o.excludes ||
           !w->o.excludes(w->o.arg, se_item_id(item), se__item_id_len(item)) ||
           (w->o.cover && w->o.cover(w->o.arg, se_item_version(item)) != SE_OK);
}

/* Moves the writes that the home tier is asked for to the front; returns how many. open[] keeps
 * where each stood. */
static size_t pack(struct worker *w)
{
    struct batch *b = &w->batch;
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (!needs_home(w, &b->writes[i]))
            continue;
        b->open[n] = i;
        b->writes[n++] = b->writes[i];
    }
    return n;
}

/* Puts the first n writes and fates back to where they stood; what was not asked for is done. */
static void unpack(struct worker *w, size_t n)
{
    struct batch *b = &w->batch;
    for (size_t i = b->n; i-- > 0;) {
        if (n && b->open[n - 1] == i) {
            n--;
            b->writes[i] = b->writes[n];
            b->fates[i] = b->fates[n];
        } else {
            b->writes[i] = (struct tier_write){
                .item = b->slots[i].item, .kind = RECORD_TOMBSTONE, .state = TIER_STORED};
            b->fates[i] = (struct split_item){.fate = SPLIT_DONE};
        }
    }
}

/* ---- the home tier ---- */

static uint64_t home_deadline(struct worker *w)
{
    uint64_t by_ms = se__deadline_in(w->o.home_timeout_ms);
    se__mutex_lock(&w->queue.lock);
    if (w->queue.stopping && w->queue.stop_by_ms < by_ms)
        by_ms = w->queue.stop_by_ms;
    se__mutex_unlock(&w->queue.lock);
    return by_ms;
}

static struct tier_reply attempt(void *arg, struct tier_write *writes, size_t n)
{
    struct worker *w = arg;
    return w->o.home.ops->write(w->o.home.self, w->o.number, writes, n, home_deadline(w));
}

/* I3: no version above the stored ceiling leaves the process, or a crash could issue it again. */
static bool covered(struct worker *w, size_t n)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t version = se_item_version(w->batch.writes[i].item);
        newest = version > newest ? version : newest;
    }
    return !w->o.cover || w->o.cover(w->o.arg, newest) == SE_OK;
}

/* With a WAL to go to, an open circuit is not even asked: no ceiling is stored for
 * a call that will not be made. */
static bool circuit_open(struct worker *w)
{
    return w->o.wal && w->o.home_guard && se__guarded_circuit(w->o.home_guard) == SE_CIRCUIT_OPEN &&
           se__guarded_wait_ms(w->o.home_guard) > 0;
}

static void decide_types(struct worker *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (w->batch.writes[i].kind == RECORD_ITEM)
            (void)se_item_content_type(
                w->batch.writes[i]
                    .item); /* cached in the item: here, not in the tier's transaction */
    }
}

static struct tier_reply ask(struct worker *w, size_t n)
{
    struct batch *b = &w->batch;
    if (circuit_open(w)) {
        se__error(SE_ERR_BACKEND, "the home tier's circuit is open");
        return (struct tier_reply){.fault = TIER_UNWELL, .rejected = true};
    }
    if (!covered(w, n))
        return (struct tier_reply){.fault = TIER_UNWELL};
    decide_types(w, n);
    return se__split_write_on(&w->run, b->writes, b->fates, n, attempt, w);
}

struct tier_reply se__flush_home(struct worker *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        w->batch.fates[i].fate = SPLIT_UNDECIDED;
    uint64_t began_ns = se__mono_ns();
    struct tier_reply reply = ask(w, n);
    w->rejected = reply.fault != TIER_FINE && reply.rejected;
    se__pace_learn(&w->tuner, w->batch.writes, n, se__mono_ns() - began_ns, reply);
    se__flush_choose(w);
    return reply;
}

/* An open circuit says itself when it may be asked. A call that a half-open one turned away has
 * learnt nothing about the backend: it looks again soon, for the probe that is under way
 * decides. */
static uint64_t rest_ms(struct worker *w, uint32_t failures)
{
    uint64_t circuit_ms = w->o.home_guard ? se__guarded_wait_ms(w->o.home_guard) : 0;
    if (circuit_ms)
        return circuit_ms;
    if (w->rejected)
        return PROBE_WAIT_MS;
    uint32_t wait_ms;
    if (!se__retry_next(&SE__RETRY_DAEMON, failures, se__random_u64(), se__mono_ms(), SE__FOREVER,
                        &wait_ms))
        wait_ms = SE__RETRY_DAEMON.cap_ms;
    if (wait_ms > BACK_OFF_MAX_MS)
        return BACK_OFF_MAX_MS;
    return wait_ms > BACK_OFF_MIN_MS ? wait_ms : BACK_OFF_MIN_MS;
}

uint64_t se__flush_retry_at(struct worker *w, uint32_t failures)
{
    return se__deadline_in(rest_ms(w, failures));
}

void se__flush_saw(struct worker *w, const se_item *item, uint64_t newer)
{
    if (!newer || !w->o.hlc ||
        se__hlc_observe(w->o.hlc, newer, se__wall_ms(), w->o.max_clock_skew_ms))
        return;
    se__metrics_inc(w->o.metrics, M_CLOCK_AHEAD);
    if (se__log_gate_open(&w->gate_clock, se__mono_ms(), LOG_UNWELL_MS))
        se__log(w->o.log, SE_LOG_WARN, "flush.clock_skew",
                (const struct se__field[]){
                    se__text("id", se_item_id(item)), se__number("version", newer), {0}},
                "\"%s\" has a version too far ahead of this clock in the home tier: %llu",
                se_item_id(item), (unsigned long long)newer);
}

/* ---- items that found their end ---- */

static void confirm(struct worker *w, const se_item *item)
{
    struct wal_confirmed gone = {0};
    if (!w->o.wal)
        return;
    se__wal_confirm(w->o.wal, se_item_id(item), se__item_id_len(item), se_item_version(item),
                    &gone);
    se__metrics_add(w->o.metrics, M_SUPERSEDED, gone.superseded + (gone.dead_gone ? 1u : 0u));
}

/* Steps 1 and 2 of an item that is home, at its version or a newer one. */
static void settle_home(struct worker *w, struct slot *slot, const struct tier_write *write)
{
    bool lost = write->state == TIER_NEWER;
    bool renewed = lost && se__flush_renew(w, slot, write->newer);
    confirm(w, slot->item);
    se__l1_home(w->o.l1, slot->item);
    /* Again: a write that found the entry in flight may have put its record into the WAL in
     * between, and relies on this. */
    confirm(w, slot->item);
    if (renewed) {
        slot->end = SLOT_RENEWED;
        return;
    }
    if (lost) {
        se__l1_lost(w->o.l1, slot->item);
        se__flush_saw(w, slot->item, write->newer);
    }
    se__metrics_inc(w->o.metrics, lost ? M_LOST : M_PERSISTED);
    slot->end = lost ? SLOT_LOST : SLOT_STORED;
}

void se__flush_log_dead(struct worker *w, const se_item *item, const struct split_item *fate)
{
    w->dead_unsaid++;
    if (!se__log_gate_open(&w->gate_dead, se__mono_ms(), LOG_DEAD_MS))
        return;
    se__log(w->o.log, SE_LOG_ERROR, "flush.dead_letter",
            (const struct se__field[]){se__text("id", se_item_id(item)),
                                       se__number("version", se_item_version(item)),
                                       se__number("code", (uint64_t)fate->code),
                                       se__text("error", fate->error),
                                       {0}},
            "dead letter: the home tier refuses \"%s\" (%d: %s); %u since the last such line",
            se_item_id(item), fate->code, fate->error, w->dead_unsaid);
    w->dead_unsaid = 0;
}

/* Into the WAL's dead letters; where that cannot be, it stays in L1 as one. */
static void settle_dead(struct worker *w, struct slot *slot, const struct split_item *fate)
{
    se__flush_log_dead(w, slot->item, fate);
    if (w->o.wal && se__wal_bury(w->o.wal, slot->item, fate->code, fate->error) == SE_OK) {
        se__l1_home(w->o.l1, slot->item);
        se__l1_unpin(w->o.l1, slot->item); /* L2 gets nothing that the database refused */
        slot->end = SLOT_DEAD;
    } else if (se__l1_bury(w->o.l1, slot->item)) {
        slot->end = SLOT_DEAD;
    } else {
        se__metrics_inc(w->o.metrics, M_SUPERSEDED);
        slot->end = SLOT_SUPERSEDED;
    }
}

/* Returns how many are still open. */
static size_t settle_decided(struct worker *w)
{
    struct batch *b = &w->batch;
    size_t open = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (b->fates[i].fate == SPLIT_DONE)
            settle_home(w, &b->slots[i], &b->writes[i]);
        else if (b->fates[i].fate == SPLIT_DEAD)
            settle_dead(w, &b->slots[i], &b->fates[i]);
        else
            open++;
    }
    return open;
}

/* ---- the WAL in the home tier's place ---- */

static bool stopping(struct worker *w, bool *late)
{
    se__mutex_lock(&w->queue.lock);
    bool yes = w->queue.stopping;
    *late = yes && se__mono_ms() >= w->queue.stop_by_ms;
    se__mutex_unlock(&w->queue.lock);
    return yes;
}

/* A timeout says neither yes nor no: the same items are appended again (which is harmless) until it
 * does, so that no item is both queued and in the WAL. Only a close that has waited long enough
 * gives up. */
static se_result append(struct worker *w, se_item *const *items, size_t n)
{
    for (;;) {
        bool late;
        se_result r = se__wal_append(w->o.wal, items, n, WAL_HOME, se__deadline_in(WAL_WAIT_MS));
        (void)stopping(w, &late);
        if (r != SE_ERR_TIMEOUT || late)
            return r;
    }
}

/* A WAL that is nearly full refuses a batch as a whole; when the engine closes,
 * the part that fits is saved. */
static void append_range(struct worker *w, size_t from, size_t n)
{
    struct batch *b = &w->batch;
    bool late;
    se_result r = append(w, b->items + from, n);
    if (r == SE_ERR_BACKPRESSURE && n > 1 && stopping(w, &late)) {
        append_range(w, from, n / 2);
        append_range(w, from + n / 2, n - n / 2);
    }
    for (size_t i = from; r == SE_OK && i < from + n; i++) {
        struct slot *slot = &b->slots[b->open[i]];
        se__l1_home(w->o.l1, slot->item);
        slot->end = SLOT_IN_WAL;
    }
}

/* Returns how many it did not take. */
static size_t move_to_wal(struct worker *w)
{
    struct batch *b = &w->batch;
    size_t n = 0, left = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (b->slots[i].end == SLOT_OPEN) {
            b->items[n] = b->slots[i].item;
            b->open[n++] = i;
        }
    }
    if (w->o.wal)
        append_range(w, 0, n);
    for (size_t i = 0; i < n; i++)
        left += b->slots[b->open[i]].end == SLOT_OPEN;
    if (left && w->o.wal && se__log_gate_open(&w->gate_wal, se__mono_ms(), LOG_UNWELL_MS))
        se__log(w->o.log, SE_LOG_ERROR, "flush.wal_refused",
                (const struct se__field[]){se__number("worker", w->o.number),
                                           se__number("writes", left),
                                           se__text("error", se_errmsg()),
                                           {0}},
                "worker %u: the WAL does not take %zu writes either (%s); they stay queued",
                w->o.number, left, se_errmsg());
    return left;
}

/* ---- back into the queue ---- */

/* The last first, so that the front of the queue is in the old order. */
static void put_back(struct worker *w)
{
    struct batch *b = &w->batch;
    for (size_t i = 0; i < b->n; i++)
        b->open[b->slots[i].place] = i;
    for (size_t place = b->n; place-- > 0;) {
        struct slot *slot = &b->slots[b->open[place]];
        if (slot->end != SLOT_OPEN)
            continue;
        bool queued = se__l1_requeue(w->o.l1, slot->item, slot->first_ms);
        slot->end = queued ? SLOT_REQUEUED : SLOT_SUPERSEDED;
        if (!queued)
            se__metrics_inc(w->o.metrics, M_SUPERSEDED);
    }
}

/* ---- L2 ---- */

static void hand_on(struct worker *w, uint64_t seq)
{
    struct batch *b = &w->batch;
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        struct slot *slot = &b->slots[i];
        bool confirmed = slot->end == SLOT_STORED || slot->end == SLOT_IN_WAL;
        if (confirmed && w->stage)
            b->staged[n++] =
                (struct staged){.item = se_item_retain(slot->item), .hash = slot->hash};
        else if (confirmed || slot->end == SLOT_LOST || slot->end == SLOT_RENEWED) {
            if (!confirmed && w->o.suspects) /* L2 may hold something older than either */
                se__suspects_add(w->o.suspects, slot->hash, se_item_version(slot->item));
            se__l1_unpin(w->o.l1, slot->item);
        }
    }
    if (w->stage)
        se__stage_hand(w->stage, b->staged, n, seq);
}

/* ---- the whole ---- */

static void release(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        se_item_release(b->slots[i].item);
    b->n = 0;
}

static void count_batch(struct worker *w, size_t open, size_t left, uint64_t began_ns)
{
    enum metric how = left ? M_FLUSH_BATCHES_RETRY : open ? M_FLUSH_BATCHES_WAL : M_FLUSH_BATCHES;
    se__metrics_inc(w->o.metrics, how);
    if (left)
        return;
    size_t bytes = 0;
    for (size_t i = 0; i < w->batch.n; i++)
        bytes +=
            se__item_id_len(w->batch.slots[i].item) + se_item_content_len(w->batch.slots[i].item);
    se__metrics_observe(w->o.metrics, M_FLUSH_SECONDS, (double)(se__mono_ns() - began_ns) / 1e9);
    se__metrics_observe(w->o.metrics, M_FLUSH_ITEMS, (double)w->batch.n);
    se__metrics_observe(w->o.metrics, M_FLUSH_BYTES, (double)bytes);
}

static void log_unwell(struct worker *w, size_t open)
{
    if (se__log_gate_open(&w->gate_unwell, se__mono_ms(), LOG_UNWELL_MS))
        se__log(w->o.log, SE_LOG_WARN, "flush.home_unwell",
                (const struct se__field[]){se__number("worker", w->o.number),
                                           se__number("writes", open),
                                           se__text("error", se_errmsg()),
                                           {0}},
                "worker %u: the home tier did not take %zu writes: %s", w->o.number, open,
                se_errmsg());
}

/* The drain may go on at once if it was this outage that held it up. Where it has a trouble of its
 * own (rows that are all refused) it keeps its own back-off, or it would be tried in vain after
 * every batch. */
static void note_well(struct worker *w)
{
    if (w->failures)
        w->drain_after_ms = 0;
    w->failures = 0;
    w->flush_after_ms = 0;
}

/* Where some of a batch was stored the tier is not down: the rest is tried again soon. */
static void note_unwell(struct worker *w, bool progress)
{
    w->failures = progress ? 1 : w->failures + 1;
}

/* Returns how many items are still open after all that could take them was asked. */
static size_t bring_home(struct worker *w, bool ask_home, size_t *open)
{
    fill_writes(w);
    struct batch *b = &w->batch;
    struct tier_reply reply = {.fault = TIER_UNWELL, .rejected = true};
    size_t asked = pack(w);
    for (size_t i = 0; i < b->n; i++)
        b->fates[i].fate = SPLIT_UNDECIDED;
    if (asked == 0)
        reply = (struct tier_reply){.fault = TIER_FINE};
    else if (ask_home)
        reply = se__flush_home(w, asked);
    if (asked < b->n)
        unpack(w, asked);
    if (reply.fault != TIER_FINE && ask_home)
        log_unwell(w, b->n); /* before anything else speaks in se_errmsg() */
    *open = settle_decided(w);
    if (asked && reply.fault == TIER_FINE)
        note_well(w);
    else if (asked)
        note_unwell(w, *open < b->n);
    return *open ? move_to_wal(w) : 0;
}

/* What has not ended goes back; the next try is later. */
static void end_badly(struct worker *w, bool ask_home)
{
    put_back(w);
    w->hold = se__dirty_settle(&w->queue);
    w->give_up = !ask_home;
    w->flush_after_ms = se__flush_retry_at(w, w->failures);
}

/* What was written again is behind others in the queue: whoever waits for this batch waits for that. */
static bool any_renewed(const struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        if (b->slots[i].end == SLOT_RENEWED)
            return true;
    }
    return false;
}

void se__flush_batch(struct worker *w, bool ask_home)
{
    uint64_t began_ns = se__mono_ns(), up_to = take(w);
    size_t open, left = bring_home(w, ask_home, &open);
    se__flush_rest(w, began_ns, open == 0);
    bool renewed = any_renewed(&w->batch);
    uint64_t seq = up_to >= w->hold && !left && !renewed ? up_to : 0;
    count_batch(w, open, left, began_ns);
    if (left) {
        end_badly(w, ask_home);
    } else {
        uint64_t pushed = se__dirty_settle(&w->queue);
        w->hold = renewed ? pushed : w->hold;
    }
    if (open)
        w->drain_after_ms = se__flush_retry_at(w, w->failures);
    hand_on(w, seq);
    se__flush_announce(w, seq, open > 0);
    release(&w->batch);
    w->drain_turn = true;
}
