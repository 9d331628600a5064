/*
 * warm_scan - parts of the filter rebuilt from L3, and which ones hold too many dead ids.
 *
 * A round begins all its parts, then collects what is pending, then reads their buckets, about a page
 * at a time (plan.h), and puts each part in place as soon as it is complete. If it ends early the
 * parts that are in place stay, and count: the next round has only the others.
 *
 * A row whose bucket column is not its id's (damage; `verify` finds it) is a stray: its id goes where
 * it belongs when it is met, but a rebuild of just that part would not meet it. So while there are
 * strays every rebuild is one of all parts.
 */
#include "filter/relay.h"
#include "filter/warming.h"

#include "tier/sights.h"

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
                             se_result (*take)(void *arg, struct tier_sights *page, bool ends),
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
    enum outcome outcome = WENT_WELL;
    while (outcome == WENT_WELL && !cursor.done) {
        if (se__warm_is_over(w, asked))
            outcome = WAS_LEFT;
        else if (read_page(w, &survey, &cursor) != SE_OK)
            outcome = se__warm_is_over(w, asked) ? WAS_LEFT : HAS_FAILED; /* interrupted, perhaps */
        else if (take(arg, &w->page, cursor.done) != SE_OK)
            outcome = HAS_FAILED;
    }
    se__tier_cursor_done(&cursor);
    return outcome;
}

struct tier_reply se__warm_digest(struct warm *w, unsigned shift, struct tier_node *nodes)
{
    const struct tier_digest digest = {.bucket_last = SNAPSHOT_BUCKETS - 1, .shift = shift};
    uint64_t deadline = se__deadline_in((uint64_t)w->o.timeout_ms * WARM_DIGEST_CALLS);
    if (w->leave_by_ms && w->leave_by_ms < deadline)
        deadline = w->leave_by_ms;
    return w->o.home.ops->digest(w->o.home.self, &digest, nodes, deadline);
}

/* ---- a round ---- */

struct round {
    struct warm *w;
    enum warm_task task;
    uint64_t asked;
    struct relay relay;

    /* The reading thread's. */
    uint64_t ids;         /* read so far, */
    uint32_t buckets;     /* from so many buckets */
    uint32_t first, last; /* buckets that are being read */
    se_result result;     /* of collecting what is pending */

    /* The noting thread's from the first page to the last; w->scanned and w->dead likewise. */
    uint64_t parts; /* begun and not yet in place */
    uint32_t seen;  /* bucket of the id before */
    bool strays;    /* one was met */
};

static bool has(uint64_t parts, unsigned part)
{
    return parts >> part & 1;
}

static uint32_t next_part(uint32_t bucket)
{
    return (bucket / FILTER_PART_BUCKETS + 1) * FILTER_PART_BUCKETS;
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

/* For a part that is not begun, or in place already, it has to be added. */
static se_result note(struct round *round, unsigned part, const char *id, size_t id_len)
{
    if (has(round->parts, part))
        return se__filter_note(round->w->filter, part, id, id_len);
    se__filter_add(round->w->filter, id, id_len);
    return SE_OK;
}

static void note_pending(void *arg, const char *id, size_t id_len)
{
    struct round *round = arg;
    if (round->result == SE_OK)
        round->result = note(round, se__filter_part(id, id_len), id, id_len);
}

static enum metric metric_of(enum warm_task task)
{
    return task == WARM_SCAN   ? M_FILTER_REBUILT_COLD
           : task == WARM_GROW ? M_FILTER_REBUILT_FULL
                               : M_FILTER_REBUILT_DEAD;
}

static se_result put_in_place(struct round *round, unsigned part)
{
    struct warm *w = round->w;
    round->parts &= ~(UINT64_C(1) << part); /* in place, or cancelled by the commit */
    se_result r = se__filter_commit(w->filter, part);
    if (r != SE_OK)
        return r;
    w->scanned[part] = round->asked;
    w->dead &= ~(UINT64_C(1) << part);
    se__metrics_inc(w->o.metrics, metric_of(round->task));
    return SE_OK;
}

static se_result note_ids(struct round *round, const struct relay_page *page)
{
    se_result r = SE_OK;
    for (size_t i = 0; r == SE_OK && i < page->sights.n; i++) {
        const struct tier_sight *sight = &page->sights.sights[i];
        round->strays |= sight->bucket < round->seen || sight->bucket > page->last;
        round->seen = sight->bucket;
        r = note(round, sight->bucket / FILTER_PART_BUCKETS, sight->id, sight->id_len);
    }
    return r;
}

/* Notes a page and, if it is the last one of its buckets, puts the parts in place that end there. */
static se_result use_page(void *arg, const struct relay_page *page)
{
    struct round *round = arg;
    round->seen = round->seen < page->first ? page->first : round->seen;
    se_result r = note_ids(round, page);
    for (uint32_t b = page->first; r == SE_OK && page->ends && b <= page->last; b = next_part(b))
        if (next_part(b) - 1 <= page->last)
            r = put_in_place(round, b / FILTER_PART_BUCKETS);
    return r;
}

static se_result give_page(void *arg, struct tier_sights *page, bool ends)
{
    struct round *round = arg;
    round->ids += page->n;
    return se__relay_give(&round->relay, page, round->first, round->last, ends);
}

static enum outcome read_buckets(struct round *round)
{
    round->buckets += round->last - round->first + 1;
    return se__warm_survey(round->w, round->first, round->last, round->task == WARM_BURY,
                           round->asked, give_page, round);
}

static enum outcome read_parts(struct round *round, uint64_t parts)
{
    enum outcome outcome = WENT_WELL;
    for (uint32_t b = 0; outcome == WENT_WELL && b < SNAPSHOT_BUCKETS; b = round->last + 1) {
        uint32_t n = se__plan_buckets(parts, b, round->ids, round->buckets, round->w->o.page_ids);
        bool wanted = has(parts, b / FILTER_PART_BUCKETS);
        round->first = b;
        round->last = (wanted ? b + n : next_part(b)) - 1;
        if (wanted)
            outcome = read_buckets(round);
    }
    return outcome;
}

static enum outcome relay_parts(struct round *round, uint64_t parts)
{
    se__relay_init(&round->relay, round->task == WARM_SCAN, use_page, round);
    enum outcome outcome = read_parts(round, parts);
    if (se__relay_done(&round->relay) == SE_OK)
        return outcome;
    se__error_nomem(); /* nothing else goes wrong with a page, and the text is the other thread's */
    return HAS_FAILED;
}

/* The order is what makes it right: warming.h. */
static enum outcome go_round(struct round *round, uint64_t parts)
{
    if (begin_all(round, parts) != SE_OK ||
        se__warm_pending(round->w, note_pending, round) != SE_OK || round->result != SE_OK)
        return HAS_FAILED;
    return relay_parts(round, parts);
}

static void note_strays(struct warm *w, bool met, bool of_all)
{
    if (met && !w->strays)
        se__log(w->o.log, SE_LOG_WARN, "filter.strays", NULL,
                "filter: L3 has rows whose bucket is not that of their id; `verify` finds them");
    w->strays = met || (w->strays && !of_all);
}

enum outcome se__warm_rebuild(struct warm *w, enum warm_task task, uint64_t parts)
{
    struct round round = {.w = w, .task = task, .asked = se__warm_asked(w)};
    enum outcome outcome = go_round(&round, parts);
    se__sights_done(&w->page); /* a page is large, and the next one may be days away */
    bool of_all = outcome == WENT_WELL && parts == ALL_PARTS;
    cancel_rest(&round);
    note_strays(w, round.strays, of_all);
    w->noted += task == WARM_SCAN ? round.ids : 0;
    w->past.uncounted |= task == WARM_SCAN && outcome == WENT_WELL;
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
    w->past.uncounted = false;
    return WENT_WELL;
}
