/*
 * stage.c - the L2 stage of a flush worker: a ring of batches and the thread that writes them.
 *
 * The batch being written keeps its place in the ring, so that the bound counts it, and so that a
 * later empty hand-over can raise its number (it has nothing of its own to wait for).
 */
#include "flush/stage.h"

#include "base/mem.h"
#include "flush/inside.h"
#include "flush/owed.h"
#include "tier/retry.h"

#include <stdio.h>
#include <string.h>

enum { LOG_INTERVAL_MS = 10000, TOLD_AT_A_TIME = 256 };

struct stage_batch {
    struct staged *items;
    size_t n;
    uint64_t seq;
    uint64_t noted; /* suspects noted when it was handed: those of newer writes come after */
};

struct stage {
    struct stage_options o;
    struct se__thread thread;
    struct tier_write *writes; /* the thread's */
    struct split_item *fates;
    struct se__log_gate gate;

    struct se__mutex lock; /* guards all below */
    struct se__cond changed, done;
    struct stage_batch ring[STAGE_SLOTS];
    size_t at, n, items;
    uint64_t seq; /* everything handed up to this number is done */
    bool stopping, stopped;
    uint64_t stop_by_ms;
    struct worker_pace pace; /* of calls; when, the home tier's batches choose */

    struct owed owed;       /* what L2 is to be told */
    uint64_t tell_after_ms; /* not before */
    bool tell_over;         /* closing, and it has failed */

    struct tuner tuner; /* the thread's, as what follows */
    struct tuner_bounds bounds;
    struct owed_id told[TOLD_AT_A_TIME];
    uint32_t tell_failures; /* in a row */
};

static uint64_t retry_at(uint32_t failures)
{
    uint32_t wait_ms;
    if (!se__retry_next(&SE__RETRY_DAEMON, failures, se__random_u64(), se__mono_ms(), SE__FOREVER,
                        &wait_ms))
        wait_ms = SE__RETRY_DAEMON.cap_ms;
    return se__deadline_in(wait_ms);
}

/* L2 does not have it: reads must not look there before its entry may leave L1. */
static void doubt(struct stage *s, const struct staged *staged)
{
    se__suspects_add(s->o.suspects, staged->hash, se_item_version(staged->item));
    se__mutex_lock(&s->lock);
    if (!s->owed.n)
        s->tell_after_ms = retry_at(1);
    se__owed_add(&s->owed, staged->item, staged->hash);
    se__mutex_unlock(&s->lock);
}

static void leave(struct stage *s, const struct staged *staged)
{
    se__l1_unpin(s->o.l1, staged->item);
    se_item_release(staged->item);
}

static uint64_t call_deadline(struct stage *s)
{
    uint64_t by_ms = se__deadline_in(s->o.timeout_ms);
    se__mutex_lock(&s->lock);
    if (s->stopping && s->stop_by_ms < by_ms)
        by_ms = s->stop_by_ms;
    se__mutex_unlock(&s->lock);
    return by_ms;
}

static struct tier_reply attempt(void *arg, struct tier_write *writes, size_t n)
{
    struct stage *s = arg;
    return s->o.cache.ops->write(s->o.cache.self, s->o.number, writes, n, call_deadline(s));
}

static void fill_writes(struct stage *s, const struct stage_batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        se_item *item = b->items[i].item;
        s->writes[i] = (struct tier_write){
            .item = item, .kind = se__route_cache(se__item_deleted(item), se__item_route(item))};
    }
}

static void report_doubts(struct stage *s, size_t doubts, size_t n, const char *why)
{
    if (doubts && se__log_gate_open(&s->gate, se__mono_ms(), LOG_INTERVAL_MS))
        se__log(s->o.log, SE_LOG_WARN, "flush.l2_refused",
                (const struct se__field[]){se__number("worker", s->o.number),
                                           se__number("copies", doubts),
                                           se__text("error", why),
                                           {0}},
                "worker %u: L2 did not take %zu of %zu copies (%s); their ids are not read there",
                s->o.number, doubts, n, why);
}

static void learn(struct stage *s, const struct tier_write *writes, size_t n, uint64_t took_ns,
                  struct tier_reply reply)
{
    se__pace_learn(&s->tuner, writes, n, took_ns, reply);
    se__mutex_lock(&s->lock);
    se__pace_of(&s->tuner, &s->bounds, &s->pace);
    se__mutex_unlock(&s->lock);
}

/* How many of these writes go with one call: one at least. */
static size_t share(const struct stage *s, const struct tier_write *writes, size_t n)
{
    size_t items_max, bytes_max, bytes = 0, take = 0;
    se__tuner_next(&s->tuner, &s->bounds, &items_max, &bytes_max);
    while (take < n && take < items_max) {
        bytes += se__item_size(writes[take].item);
        if (take && bytes > bytes_max)
            break;
        take++;
    }
    return take;
}

/* Until a call finds L2 unwell; what was not tried then is left undecided. */
static void write_all(struct stage *s, size_t n, char why[160])
{
    for (size_t i = 0; i < n; i++)
        s->fates[i].fate = SPLIT_UNDECIDED;
    for (size_t at = 0, take; at < n; at += take) {
        take = share(s, s->writes + at, n - at);
        uint64_t began_ns = se__mono_ns();
        struct tier_reply reply = se__split_write(s->writes + at, s->fates + at, take, attempt, s);
        learn(s, s->writes + at, take, se__mono_ns() - began_ns, reply);
        if (reply.fault != TIER_FINE) {
            snprintf(why, 160, "%s", se_errmsg());
            return;
        }
    }
}

static void write_batch(struct stage *s, const struct stage_batch *b)
{
    fill_writes(s, b);
    char why[160] = "";
    write_all(s, b->n, why);
    size_t doubts = 0;
    for (size_t i = 0; i < b->n; i++) {
        /* stored, or L2 has a newer one: either way not an older one */
        if (s->fates[i].fate == SPLIT_DONE) {
            se__suspects_remove(s->o.suspects, b->items[i].hash, se_item_version(b->items[i].item));
        } else {
            if (!why[0])
                snprintf(why, sizeof why, "%s", s->fates[i].error);
            doubt(s, &b->items[i]);
            doubts++;
        }
        leave(s, &b->items[i]);
    }
    report_doubts(s, doubts, b->n, why);
}

static void drop_items(struct stage *s, const struct staged *items, size_t n, const char *why)
{
    for (size_t i = 0; i < n; i++) {
        doubt(s, &items[i]);
        leave(s, &items[i]);
    }
    report_doubts(s, n, n, why);
}

/* ---- telling L2 what it missed ---- */

/* A record of nothing but the version that L2 missed. */
static se_item *stand_in(const struct owed_id *owed)
{
    const struct item_spec spec = {
        .id = owed->id, .id_len = strlen(owed->id), .version = owed->version, .deleted = true};
    return se__item_new(&spec);
}

/* Those that are suspects still. Their ids stay in told[]. */
static size_t take_owed(struct stage *s)
{
    size_t most = s->o.limits.items_max < TOLD_AT_A_TIME ? s->o.limits.items_max : TOLD_AT_A_TIME;
    se__mutex_lock(&s->lock);
    size_t taken = se__owed_take(&s->owed, s->told, most), n = 0;
    se__mutex_unlock(&s->lock);
    for (size_t i = 0; i < taken; i++) {
        se_item *item =
            se__suspects_has(s->o.suspects, s->told[i].hash) ? stand_in(&s->told[i]) : NULL;
        if (!item) { /* not a suspect any more; without memory it stays one */
            se__free(s->told[i].id);
            continue;
        }
        s->writes[n] = (struct tier_write){.item = item, .kind = RECORD_FLOOR};
        s->told[n++] = s->told[i];
    }
    return n;
}

/* What is stored, or met something newer, is no suspect up to its version. */
static void settle_owed(struct stage *s, size_t n)
{
    size_t left = 0;
    for (size_t i = 0; i < n; i++) {
        se_item_release(s->writes[i].item);
        if (s->fates[i].fate == SPLIT_UNDECIDED) {
            s->told[left++] = s->told[i];
            continue;
        }
        if (s->fates[i].fate == SPLIT_DONE)
            se__suspects_remove(s->o.suspects, s->told[i].hash, s->told[i].version);
        se__free(s->told[i].id);
    }
    se__mutex_lock(&s->lock);
    se__owed_return(&s->owed, s->told, left);
    se__mutex_unlock(&s->lock);
}

/* Where everything is suspected a new generation is due, and ends that. */
static void tell(struct stage *s)
{
    bool fine = !se__suspects_overflowed(s->o.suspects);
    size_t n = fine ? take_owed(s) : 0;
    if (n) {
        fine = se__split_write(s->writes, s->fates, n, attempt, s).fault == TIER_FINE;
        settle_owed(s, n);
    }
    s->tell_failures = fine ? 0 : s->tell_failures + 1;
    se__mutex_lock(&s->lock);
    s->tell_over = s->stopping && !fine;
    s->tell_after_ms = fine ? 0 : retry_at(s->tell_failures);
    se__mutex_unlock(&s->lock);
}

/* ---- what next ---- */

enum stage_step { STAGE_WRITE, STAGE_DROP, STAGE_TELL, STAGE_END, STAGE_WAIT };

/* I4: told is only while the ring is empty. Closing it is tried until it fails once. */
static enum stage_step choose_locked(const struct stage *s, uint64_t now_ms)
{
    bool late = s->stopping && now_ms >= s->stop_by_ms;
    if (s->n)
        return late ? STAGE_DROP : STAGE_WRITE;
    if (s->stopping)
        return late || !s->owed.n || s->tell_over ? STAGE_END : STAGE_TELL;
    return s->owed.n && now_ms >= s->tell_after_ms ? STAGE_TELL : STAGE_WAIT;
}

static enum stage_step next_step(struct stage *s, struct stage_batch *b)
{
    enum stage_step step;
    se__mutex_lock(&s->lock);
    while ((step = choose_locked(s, se__mono_ms())) == STAGE_WAIT) {
        if (s->owed.n)
            (void)se__cond_wait_until(&s->changed, &s->lock, s->tell_after_ms);
        else
            se__cond_wait(&s->changed, &s->lock);
    }
    if (s->n)
        *b = s->ring[s->at];
    se__mutex_unlock(&s->lock);
    return step;
}

static void finish_batch(struct stage *s, struct stage_batch *b)
{
    se__mutex_lock(&s->lock);
    /* May have been raised meanwhile; a batch with items put back has none of its own. */
    if (s->seq < s->ring[s->at].seq)
        s->seq = s->ring[s->at].seq;
    s->at = (s->at + 1) % STAGE_SLOTS;
    s->n--;
    s->items -= b->n;
    se__cond_broadcast(&s->done);
    se__mutex_unlock(&s->lock);
    se__free(b->items);
}

static void run(void *arg)
{
    struct stage *s = arg;
    struct stage_batch b = {0};
    for (;;) {
        switch (next_step(s, &b)) {
        case STAGE_WRITE:
            write_batch(s, &b);
            break;
        case STAGE_DROP:
            drop_items(s, b.items, b.n, "the engine closes");
            break;
        case STAGE_TELL:
            tell(s);
            continue;
        default:
            return;
        }
        finish_batch(s, &b);
    }
}

/* Nothing to write for this number: it is reached when all before it is. */
static void note_locked(struct stage *s, uint64_t seq)
{
    uint64_t *reached = s->n ? &s->ring[(s->at + s->n - 1) % STAGE_SLOTS].seq : &s->seq;
    if (*reached < seq)
        *reached = seq;
    se__cond_broadcast(&s->done);
}

static bool enqueue(struct stage *s, struct staged *copy, size_t n, uint64_t seq)
{
    se__mutex_lock(&s->lock);
    bool room = s->n < STAGE_BATCHES ||
                (s->n < STAGE_SLOTS && s->items + n <= STAGE_BATCHES * s->o.limits.items_max);
    if (room) {
        s->ring[(s->at + s->n) % STAGE_SLOTS] = (struct stage_batch){
            .items = copy, .n = n, .seq = seq, .noted = se__suspects_mark(s->o.suspects)};
        s->n++;
        s->items += n;
        se__cond_signal(&s->changed);
    }
    se__mutex_unlock(&s->lock);
    return room;
}

void se__stage_hand(struct stage *s, const struct staged *items, size_t n, uint64_t seq)
{
    struct staged *copy = n ? se__alloc(n * sizeof *copy) : NULL;
    if (copy) {
        memcpy(copy, items, n * sizeof *copy);
        if (enqueue(s, copy, n, seq))
            return;
        se__free(copy);
    }
    drop_items(s, items, n, "too many wait already");
    se__mutex_lock(&s->lock);
    note_locked(s, seq);
    se__mutex_unlock(&s->lock);
}

bool se__stage_wait(struct stage *s, uint64_t seq, uint64_t deadline_ms)
{
    bool in_time = true;
    se__mutex_lock(&s->lock);
    while (s->seq < seq && !s->stopped && in_time)
        in_time = se__cond_wait_until(&s->done, &s->lock, deadline_ms);
    bool reached = s->seq >= seq;
    se__mutex_unlock(&s->lock);
    return reached;
}

uint64_t se__stage_mark(struct stage *s)
{
    se__mutex_lock(&s->lock);
    uint64_t mark = s->n ? s->ring[s->at].noted : se__suspects_mark(s->o.suspects);
    se__mutex_unlock(&s->lock);
    return mark;
}

void se__stage_stats(struct stage *s, size_t *backlog, struct worker_pace *pace)
{
    se__mutex_lock(&s->lock);
    *backlog = s->items;
    *pace = s->pace;
    se__mutex_unlock(&s->lock);
}

void se__stage_stop(struct stage *s, uint64_t deadline_ms)
{
    se__mutex_lock(&s->lock);
    s->stopping = true;
    s->stop_by_ms = deadline_ms;
    se__cond_signal(&s->changed);
    se__mutex_unlock(&s->lock);
    se__thread_join(&s->thread);
    se__mutex_lock(&s->lock);
    s->stopped = true;
    se__cond_broadcast(&s->done);
    se__mutex_unlock(&s->lock);
}

se_result se__stage_open(const struct stage_options *options, struct stage **stage)
{
    struct stage *s = se__alloc_zeroed(1, sizeof *s);
    if (!s)
        return se__error_nomem();
    s->o = *options;
    s->owed.max = options->owed_max;
    se__mutex_init(&s->lock);
    se__cond_init(&s->changed);
    se__cond_init(&s->done);
    s->bounds = se__pace_bounds(&options->limits, options->timeout_ms);
    se__pace_of(&s->tuner, &s->bounds, &s->pace);
    size_t items_max = options->limits.items_max;
    s->writes = se__alloc_zeroed(items_max, sizeof *s->writes);
    s->fates = se__alloc_zeroed(items_max, sizeof *s->fates);
    char name[16];
    snprintf(name, sizeof name, "se-l2-%u", options->number);
    se_result r =
        s->writes && s->fates ? se__thread_start(&s->thread, name, run, s) : se__error_nomem();
    if (r != SE_OK) {
        se__stage_close(s);
        return r;
    }
    *stage = s;
    return SE_OK;
}

void se__stage_close(struct stage *s)
{
    if (!s)
        return;
    se__stage_stop(s, 0); /* no-op after a stop */
    se__cond_done(&s->done);
    se__cond_done(&s->changed);
    se__mutex_done(&s->lock);
    se__owed_done(&s->owed);
    se__free(s->writes);
    se__free(s->fates);
    se__free(s);
}
