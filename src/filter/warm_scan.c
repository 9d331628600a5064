/*
 * warm_scan - parts of the filter rebuilt from L3, and which ones hold too many dead ids.
 *
 * A round begins all its parts, then collects what is pending, then scans part after part and puts
 * each in place as soon as it is complete. If it ends early the parts that are in place stay, and
 * count: the next round has only the others.
 *
 * A row whose bucket column is not its id's (damage; `verify` finds it) is a stray: its id goes where
 * it belongs when it is met, but a rebuild of just that part would not meet it. So while there are
 * strays every rebuild is one of all parts.
 */
#include "filter/warming.h"

#include <assert.h>

#define PART_SHIFT 10u /* a node of the digest is a part */
#define ALL_PARTS UINT64_MAX

static_assert(FILTER_PART_BUCKETS == 1u << PART_SHIFT, "as many buckets");

/* ---- reading ---- */

static se_result read_page(struct warm *w, const struct tier_survey *survey,
                           struct tier_cursor *cursor)
{
    struct tier_reply reply = w->o.home.ops->survey(w->o.home.self, survey, cursor, &w->page,
                                                    se__deadline_in(w->o.timeout_ms));
    if (reply.fault != TIER_FINE)
        return SE_ERR_BACKEND; /* its text stands */
    se__metrics_add(w->o.metrics, M_FILTER_SCANNED, w->page.n);
    return SE_OK;
}

enum outcome se__warm_survey(struct warm *w, uint32_t bucket_first, uint32_t bucket_last,
                             bool live_only, uint64_t asked,
                             se_result (*take)(void *arg, const struct tier_sights *page),
                             void *arg)
{
    struct tier_cursor cursor = {0};
    const struct tier_survey survey = {.depth = TIER_IDS,
                                       .order = TIER_BY_BUCKET,
                                       .live_only = live_only,
                                       .bucket_first = bucket_first,
                                       .bucket_last = bucket_last,
                                       .items_max = w->o.page_ids,
                                       .bytes_max = SIZE_MAX};
    se_result r = SE_OK;
    bool over = false;
    while (r == SE_OK && !over && !cursor.done) {
        r = read_page(w, &survey, &cursor);
        if (r == SE_OK)
            r = take(arg, &w->page);
        over = se__warm_is_over(w, asked); /* also why a page was interrupted */
    }
    bool done = r == SE_OK && cursor.done;
    se__tier_cursor_done(&cursor);
    return done ? WENT_WELL : over ? WAS_LEFT : HAS_FAILED;
}

struct tier_reply se__warm_digest(struct warm *w, unsigned shift, struct tier_node *nodes)
{
    const struct tier_digest digest = {.bucket_last = SNAPSHOT_BUCKETS - 1, .shift = shift};
    uint64_t deadline = se__deadline_in((uint64_t)w->o.timeout_ms * WARM_DIGEST_CALLS);
    return w->o.home.ops->digest(w->o.home.self, &digest, nodes, deadline);
}

/* ---- a round ---- */

struct round {
    struct warm *w;
    uint64_t parts; /* begun and not yet in place */
    uint64_t asked;
    unsigned part;    /* that is being scanned */
    uint64_t ids;     /* of it */
    bool strays;      /* one was met */
    se_result result; /* of what callbacks did */
};

static bool has(uint64_t parts, unsigned part)
{
    return parts >> part & 1;
}

static se_result begin_all(struct round *round, uint64_t parts)
{
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        if (!has(parts, part))
            continue;
        se_result r = se__filter_begin(round->w->filter, part);
        if (r != SE_OK)
            return r;
        round->parts |= UINT64_C(1) << part;
    }
    return SE_OK;
}

static void cancel_rest(struct round *round)
{
    for (unsigned part = 0; part < FILTER_PARTS; part++)
        if (has(round->parts, part))
            se__filter_cancel(round->w->filter, part);
}

static void note_pending(void *arg, const char *id, size_t id_len)
{
    struct round *round = arg;
    unsigned part = se__filter_part(id, id_len);
    if (round->result == SE_OK && has(round->parts, part))
        round->result = se__filter_note(round->w->filter, part, id, id_len);
}

static se_result note_page(void *arg, const struct tier_sights *page)
{
    struct round *round = arg;
    struct filter *f = round->w->filter;
    round->ids += page->n;
    for (size_t i = 0; i < page->n; i++) {
        const struct tier_sight *sight = &page->sights[i];
        round->strays |= sight->bucket / FILTER_PART_BUCKETS != round->part;
        se_result r = se__filter_note(f, round->part, sight->id, sight->id_len);
        if (r != SE_OK)
            return r;
    }
    return SE_OK;
}

static enum metric metric_of(enum warm_task task)
{
    return task == WARM_SCAN   ? M_FILTER_REBUILT_COLD
           : task == WARM_GROW ? M_FILTER_REBUILT_FULL
                               : M_FILTER_REBUILT_DEAD;
}

static enum outcome scan_part(struct round *round, enum warm_task task)
{
    struct warm *w = round->w;
    uint32_t first = round->part * FILTER_PART_BUCKETS;
    round->ids = 0;
    enum outcome outcome = se__warm_survey(w, first, first + FILTER_PART_BUCKETS - 1,
                                           task == WARM_BURY, round->asked, note_page, round);
    if (outcome != WENT_WELL)
        return outcome;
    round->parts &= ~(UINT64_C(1) << round->part); /* in place, or cancelled by the commit */
    if (se__filter_commit(w->filter, round->part) != SE_OK)
        return HAS_FAILED;
    w->scanned[round->part] = round->asked;
    w->dead &= ~(UINT64_C(1) << round->part);
    w->noted += task == WARM_SCAN ? round->ids : 0;
    se__metrics_inc(w->o.metrics, metric_of(task));
    return WENT_WELL;
}

/* The order is what makes it right: warming.h. */
static enum outcome go_round(struct round *round, enum warm_task task, uint64_t parts)
{
    if (begin_all(round, parts) != SE_OK ||
        se__warm_pending(round->w, note_pending, round) != SE_OK || round->result != SE_OK)
        return HAS_FAILED;
    for (; round->part < FILTER_PARTS; round->part++) {
        enum outcome outcome = has(parts, round->part) ? scan_part(round, task) : WENT_WELL;
        if (outcome != WENT_WELL)
            return outcome;
    }
    return WENT_WELL;
}

static void note_strays(struct warm *w, bool met, bool of_all)
{
    if (met && !w->strays)
        se__log(w->o.log, SE_LOG_WARN,
                "filter: L3 has rows whose bucket is not that of their id; `verify` finds them");
    w->strays = met || (w->strays && !of_all);
}

enum outcome se__warm_rebuild(struct warm *w, enum warm_task task, uint64_t parts)
{
    struct round round = {.w = w, .asked = se__warm_asked(w)};
    enum outcome outcome = go_round(&round, task, parts);
    bool of_all = outcome == WENT_WELL && parts == ALL_PARTS;
    cancel_rest(&round);
    note_strays(w, round.strays, of_all);
    if (outcome == WENT_WELL)
        se__warm_believe(w, round.asked);
    return outcome;
}

/* ---- dead ids ---- */

void se__warm_find_dead(struct warm *w, const uint64_t live[FILTER_PARTS])
{
    uint64_t used[FILTER_PARTS];
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        struct filter_part_stats stats;
        se__filter_part_stats(w->filter, part, &stats);
        used[part] = stats.used;
    }
    w->dead = se__plan_dead(used, live);
}

enum outcome se__warm_count(struct warm *w)
{
    struct tier_node nodes[FILTER_PARTS];
    uint64_t live[FILTER_PARTS], removals = w->o.removals(w->o.arg);
    if (se__warm_digest(w, PART_SHIFT, nodes).fault != TIER_FINE)
        return w->o.stopping(w->o.arg) ? WAS_LEFT : HAS_FAILED;
    for (unsigned part = 0; part < FILTER_PARTS; part++)
        live[part] = nodes[part].count;
    se__warm_find_dead(w, live);
    w->past.removals_counted = removals;
    return WENT_WELL;
}
