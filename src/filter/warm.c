/*
 * warm - see warm.h. This file: life, requests of other threads, trust, and what is done next.
 */
#include "base/mem.h"
#include "filter/warming.h"

#include <string.h>

#define COMPLAIN_MS 30000u

/* ---- life ---- */

static se_result open_insides(struct warm *w)
{
    w->path = se__strdup(w->o.snapshot_path);
    w->table = se__strdup(w->o.table);
    if ((w->o.snapshot_path && !w->path) || !w->table)
        return se__error_nomem();
    w->o.snapshot_path = w->path;
    w->o.table = w->table;
    se_result r = se__warm_restore(w);
    if (r == SE_OK) {
        w->saved_position = w->o.position(w->o.arg);
        w->past.saved_at_ms = se__mono_ms();
    }
    return r;
}

se_result se__warm_open(const struct warm_options *options, struct warm **warm)
{
    struct warm *w = se__alloc_zeroed(1, sizeof *w);
    if (!w)
        return se__error_nomem();
    w->o = *options;
    w->asked = 1; /* the first scan; no part has it */
    se__mutex_init(&w->lock);
    se_result r = open_insides(w);
    if (r != SE_OK) {
        se__warm_close(w);
        return r;
    }
    *warm = w;
    return SE_OK;
}

void se__warm_close(struct warm *w)
{
    if (!w)
        return;
    se__filter_close(w->filter);
    se__free(w->restored);
    se__mutex_done(&w->lock);
    se__free(w->path);
    se__free(w->table);
    se__free(w);
}

struct filter *se__warm_filter(struct warm *w)
{
    return w->filter;
}

/* ---- trust ---- */

/* To be called without the lock: the log is the caller's. */
static void tell(struct warm *w, unsigned before, unsigned after)
{
    if (!before && after) {
        se__metrics_inc(w->o.metrics, M_FILTER_DOUBTED);
        se__log(w->o.log, SE_LOG_WARN, "filter.untrusted",
                (const struct se__field[]){se__text("doubt", se__filter_doubt_name(after)), {0}},
                "filter: not trusted any more: %s", se__filter_doubt_name(after));
    }
    if (before && !after) {
        struct filter_stats stats;
        se__filter_stats(w->filter, &stats);
        se__metrics_inc(w->o.metrics, M_FILTER_BELIEVED);
        se__log(w->o.log, SE_LOG_INFO, "filter.trusted",
                (const struct se__field[]){
                    se__number("ids", stats.ids), se__number("bytes", stats.bytes), {0}},
                "filter: trusted, with %llu ids in %llu bytes", (unsigned long long)stats.ids,
                (unsigned long long)stats.bytes);
    }
}

void se__warm_rescan(struct warm *w, enum filter_doubt doubt)
{
    se__mutex_lock(&w->lock);
    unsigned before = se__filter_doubt(w->filter, doubt);
    w->asked++;
    se__mutex_unlock(&w->lock);
    tell(w, before, before | doubt);
}

void se__warm_alone(struct warm *w)
{
    se__mutex_lock(&w->lock);
    if (se__filter_doubts(w->filter) & FILTER_FOREIGN) {
        se__filter_doubt(w->filter, FILTER_COLD); /* first: it is never without a doubt */
        se__filter_believe(w->filter, FILTER_FOREIGN);
        w->asked++;
    }
    se__mutex_unlock(&w->lock);
}

static bool all_scanned(const struct warm *w, uint64_t asked)
{
    for (unsigned part = 0; part < FILTER_PARTS; part++)
        if (w->scanned[part] < asked)
            return false;
    return true;
}

bool se__warm_believe(struct warm *w, uint64_t asked)
{
    const unsigned earned = FILTER_COLD | FILTER_UNLISTED;
    if (!all_scanned(w, asked))
        return false;
    se__mutex_lock(&w->lock);
    bool last = w->asked == asked;
    unsigned before = last ? se__filter_believe(w->filter, earned) : se__filter_doubts(w->filter);
    se__mutex_unlock(&w->lock);
    unsigned after = last ? before & ~earned : before;
    tell(w, before, after);
    return after == 0;
}

uint64_t se__warm_asked(struct warm *w)
{
    se__mutex_lock(&w->lock);
    uint64_t asked = w->asked;
    se__mutex_unlock(&w->lock);
    return asked;
}

bool se__warm_is_over(struct warm *w, uint64_t asked)
{
    return w->o.stopping(w->o.arg) || se__warm_asked(w) != asked;
}

bool se__warm_started(struct warm *w)
{
    /* acquire: pairs with the release in se__warm_run */
    return atomic_load_explicit(&w->started, memory_order_acquire);
}

se_result se__warm_pending(struct warm *w,
                           void (*see)(void *see_arg, const char *id, size_t id_len), void *see_arg)
{
    return w->o.pending(w->o.arg, see, see_arg);
}

/* ---- what is done next ---- */

static void gather_parts(struct warm *w, struct plan_facts *facts)
{
    uint64_t asked = se__warm_asked(w);
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        struct filter_part_stats stats;
        se__filter_part_stats(w->filter, part, &stats);
        facts->due |= (uint64_t)stats.due << part;
        facts->behind |= (uint64_t)(w->scanned[part] < asked) << part;
    }
}

static struct plan_facts gather(struct warm *w, bool attached)
{
    struct filter_stats stats;
    se__filter_stats(w->filter, &stats);
    uint64_t unsaved = stats.added - w->saved_added + w->noted;
    struct plan_facts facts = {
        .attached = attached,
        .restored = w->restored != NULL,
        .doubts = se__filter_doubts(w->filter),
        .dead = w->dead,
        .strays = w->strays,
        .ids = stats.ids,
        .removals = w->o.removals(w->o.arg),
        .saves = se__warm_saves(w),
        .changed = unsaved > 0 || w->o.position(w->o.arg) != w->saved_position,
        .unsaved = unsaved,
        .interval_s = w->o.snapshot_interval_s,
        .threshold = w->o.snapshot_threshold,
    };
    gather_parts(w, &facts);
    return facts;
}

static const char *name_of(enum warm_task task)
{
    return task == WARM_COMPARE ? "comparing the snapshot with L3"
           : task == WARM_SCAN  ? "scanning L3"
           : task == WARM_COUNT ? "counting the rows of L3"
           : task == WARM_SAVE  ? "writing a snapshot"
                                : "rebuilding a part from L3";
}

static void complain(struct warm *w, enum warm_task task)
{
    if (se__log_gate_open(&w->complaints, se__mono_ms(), COMPLAIN_MS))
        se__log(w->o.log, SE_LOG_WARN, "filter.retry",
                (const struct se__field[]){
                    se__text("task", name_of(task)), se__text("error", se_errmsg()), {0}},
                "filter: %s failed and will be tried again: %s", name_of(task), se_errmsg());
}

static enum outcome act(struct warm *w, const struct plan *plan, const char *incarnation)
{
    switch (plan->task) {
    case WARM_COMPARE:
        return se__warm_compare(w, incarnation);
    case WARM_SCAN:
    case WARM_GROW:
    case WARM_BURY:
        return se__warm_rebuild(w, plan->task, plan->parts);
    case WARM_COUNT:
        return se__warm_count(w);
    case WARM_SAVE:
        return se__warm_save(w, incarnation);
    default:
        return WENT_WELL;
    }
}

static void conclude(struct warm *w, enum warm_task task, enum outcome outcome)
{
    if (outcome == HAS_FAILED)
        complain(w, task);
    if (task == WARM_SAVE)
        se__plan_saved(&w->past, se__mono_ms(), outcome == WENT_WELL);
    else if (outcome == HAS_FAILED)
        se__plan_failed(&w->past, se__mono_ms(), se__random_u64());
    else if (outcome == WENT_WELL)
        se__plan_done(&w->past);
}

/* Whoever waits for the first scan waits no longer: it is over, or there is none for the moment. */
static void note_start(struct warm *w, enum outcome outcome)
{
    unsigned doubts = se__filter_doubts(w->filter);
    /* release: pairs with the acquire in se__warm_started */
    if (!doubts || outcome == HAS_FAILED || (doubts & FILTER_FOREIGN))
        atomic_store_explicit(&w->started, true, memory_order_release);
}

uint64_t se__warm_run(struct warm *w, const char *incarnation)
{
    struct plan_facts facts = gather(w, incarnation != NULL);
    struct plan plan = se__plan(&facts, &w->past, se__mono_ms());
    if (w->o.stopping(w->o.arg))
        return PLAN_LOOK_MS;
    enum outcome outcome = act(w, &plan, incarnation);
    if (plan.task != WARM_REST)
        conclude(w, plan.task, outcome);
    if (incarnation)
        note_start(w, outcome);
    return plan.task == WARM_REST ? plan.wait_ms : 0;
}

void se__warm_leave(struct warm *w, const char *incarnation, uint64_t deadline_ms)
{
    if (!incarnation)
        return;
    w->leave_by_ms = deadline_ms;
    struct plan_facts facts = gather(w, true);
    if (facts.saves && facts.changed && !facts.doubts && (facts.interval_s || facts.threshold) &&
        se__warm_save(w, incarnation) == HAS_FAILED)
        complain(w, WARM_SAVE);
}
