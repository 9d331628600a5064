/*
 * scan - items by prefix or state in id order, unflushed writes included; counts; mass deletes;
 * invalidation.
 *
 * With an L3: pages of its rows by keyset, merged with a snapshot of what is pending (pending.h);
 * of one id the newest wins. Cache entries (routed to L2 beside an L3) are in no scan: L3 has a
 * tombstone for them.
 * Without: the ids of Redis, if there is one, and everything in L1, then lookups of these ids in
 * groups.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "engine/pending.h"

#include <string.h>

#define PAGE_ITEMS 512u
#define PAGE_BYTES (8u << 20)
#define GROUP 100u /* ids a lookup takes at once */

struct scan {
    se_engine *e;
    const char *prefix, *state, *after; /* state NULL: by prefix */
    size_t left;                        /* items still to be visited; SIZE_MAX: no limit */
    bool ids_only;
    se_visit_fn visit;
    void *arg;
    bool stopped;
    int64_t now_wall_ms;
    uint64_t visited;
    bool recovered;   /* what is pending may be older than what L3 holds, a delete too */
    se_result result; /* of lookups on the way */
};

static bool matches(const struct scan *s, const se_item *item)
{
    if (se__item_deleted(item) || se__item_expired(item, s->now_wall_ms))
        return false;
    if (s->e->home_is_l3 && !(se__item_route(item) & SE_ROUTE_L3))
        return false; /* a cache entry */
    return !s->state || strcmp(se_item_state(item), s->state) == 0;
}

static void show(struct scan *s, se_item *item)
{
    if (s->stopped || !matches(s, item))
        return;
    s->visited++;
    s->left--;
    if (!s->visit(s->arg, item) || s->left == 0)
        s->stopped = true;
}

/* ---- over L3 ---- */

/* L3's scan has no such row. A write recovered from the WAL may be older than a delete in L3,
 * which a scan does not tell: a lookup does. */
static void show_without_row(struct scan *s, se_item *item)
{
    struct lookup l = {.result = SE_NOT_FOUND};
    if (!s->recovered) {
        show(s, item);
        return;
    }
    se_result r = se__lookup_init(s->e, se_item_id(item), &l);
    l.unseen = true;
    if (r == SE_OK)
        r = se__lookup(s->e, &l, 1, se__read_deadline(s->e));
    if (r == SE_OK)
        r = l.result;
    if (r == SE_OK)
        show(s, l.item);
    se_item_release(l.item);
    if (r < 0) {
        s->result = r;
        s->stopped = true;
    }
}

/* Shows what is pending below `id` (NULL: all the rest). */
static void show_pending_below(struct scan *s, struct pending *p, const char *id)
{
    while (p->at < p->n && !s->stopped && (!id || strcmp(se_item_id(p->items[p->at]), id) < 0))
        show_without_row(s, p->items[p->at++]);
}

static void show_row(struct scan *s, struct pending *p, se_item *row)
{
    const char *id = se_item_id(row);
    show_pending_below(s, p, id);
    bool both = p->at < p->n && strcmp(se_item_id(p->items[p->at]), id) == 0;
    se_item *ours = both ? p->items[p->at++] : NULL;
    show(s, ours && se__item_compare(ours, row) > 0 ? ours : row);
}

static se_result next_page(struct scan *s, const char *after, struct tier_page *page)
{
    struct tier_scan request = {
        .prefix = s->state ? NULL : s->prefix,
        .state = s->state,
        .after = after,
        .items_max = s->left < PAGE_ITEMS ? s->left : PAGE_ITEMS,
        .bytes_max = PAGE_BYTES,
        .ids_only = s->ids_only,
    };
    struct tier *home = &s->e->home;
    *page = (struct tier_page){0};
    if (home->ops->scan(home->self, &request, page, se__read_deadline(s->e)).fault == TIER_FINE)
        return SE_OK;
    return se__outage(s->e, "L3 cannot be scanned");
}

static se_result scan_l3(struct scan *s, struct pending *p)
{
    char after[SE_ID_MAX + 1];
    strcpy(after, s->after); /* checked: at most SE_ID_MAX bytes */
    bool more = true;
    while (more && !s->stopped) {
        struct tier_page page;
        se_result r = next_page(s, after, &page);
        if (r != SE_OK)
            return r;
        se__metrics_add(s->e->metrics, M_CORRUPT_L3, page.corrupt);
        for (size_t i = 0; i < page.n && !s->stopped; i++)
            show_row(s, p, page.items[i]);
        if (page.n)
            strcpy(after, se_item_id(page.items[page.n - 1]));
        more = page.more && page.n;
        se__tier_page_done(&page);
    }
    show_pending_below(s, p, NULL);
    return s->result;
}

/* ---- without an L3 ---- */

/* Merges the sorted ids of Redis with those of the snapshot into one
 * sorted list of borrowed ids. */
static const char **merge_ids(const struct tier_ids *ids, const struct pending *p,
                              const char *after, size_t *n)
{
    const char **all = se__alloc((ids->n + p->n + 1) * sizeof(char *));
    size_t i = 0, k = 0, count = 0;
    while (all && (i < ids->n || k < p->n)) {
        const char *left = i < ids->n ? ids->ids[i] : NULL;
        const char *right = k < p->n ? se_item_id(p->items[k]) : NULL;
        int order = !left ? 1 : !right ? -1 : strcmp(left, right);
        const char *id = order <= 0 ? left : right;
        i += order <= 0;
        k += order >= 0;
        if (!after[0] || strcmp(id, after) > 0)
            all[count++] = id;
    }
    *n = count;
    return all;
}

static se_result show_group(struct scan *s, const char *const *ids, size_t n)
{
    se_item *items[GROUP];
    se_result results[GROUP];
    se_result r = se_get_many(s->e, ids, n, items, results);
    for (size_t i = 0; r == SE_OK && i < n; i++) {
        if (results[i] < 0)
            r = results[i];
    }
    for (size_t i = 0; r == SE_OK && i < n; i++) {
        if (items[i])
            show(s, items[i]);
    }
    for (size_t i = 0; i < n; i++)
        se_item_release(items[i]);
    return r;
}

static se_result scan_without_l3(struct scan *s, struct pending *p)
{
    struct tier_ids ids = {0};
    struct tier *home = &s->e->home;
    if (home->ops &&
        home->ops->list(home->self, s->prefix, &ids, se__read_deadline(s->e)).fault != TIER_FINE)
        return se__outage(s->e, "Redis cannot be scanned");
    size_t n = 0;
    const char **all = merge_ids(&ids, p, s->after, &n);
    se_result r = all ? SE_OK : se__error_nomem();
    for (size_t at = 0; r == SE_OK && at < n && !s->stopped; at += GROUP)
        r = show_group(s, all + at, n - at < GROUP ? n - at : GROUP);
    se__free(all);
    se__tier_ids_done(&ids);
    return r;
}

/* ---- entry ---- */

static se_result run(struct scan *s)
{
    struct pending p;
    struct wal_stats wal = {0};
    bool l3 = s->e->home_is_l3;
    if (s->e->wal)
        se__wal_stats(s->e->wal, &wal);
    s->recovered = wal.recovered > 0;
    /* By state every pending id counts: it may hide a row that has the state. */
    se_result r = se__pending_take(s->e, s->prefix, s->after, !l3, &p);
    if (r != SE_OK)
        return r;
    s->now_wall_ms = se__wall_ms();
    r = l3 ? scan_l3(s, &p) : scan_without_l3(s, &p);
    se__pending_done(&p);
    return r;
}

static se_result check(se_engine *e, const char *what, const char *text, size_t min, size_t max)
{
    size_t len;
    se_result r = se__look_in(e);
    return r == SE_OK ? se__id_check(what, text, min, max, &len) : r;
}

static se_result run_public(se_engine *e, struct scan *s, size_t limit)
{
    if (!s->visit)
        return se__error(SE_ERR_INVALID, "visit must not be NULL");
    s->e = e;
    s->left = limit ? limit : SIZE_MAX;
    return run(s);
}

se_result se_scan_prefix_after(se_engine *e, const char *prefix, const char *after, size_t limit,
                               se_visit_fn visit, void *arg)
{
    struct scan s = {.prefix = prefix, .after = after, .visit = visit, .arg = arg};
    se_result r = check(e, "prefix", prefix, 0, SE_ID_MAX);
    if (r == SE_OK)
        r = check(e, "after", after, 0, SE_ID_MAX);
    return r == SE_OK ? run_public(e, &s, limit) : r;
}

se_result se_scan_prefix(se_engine *e, const char *prefix, size_t limit, se_visit_fn visit,
                         void *arg)
{
    return se_scan_prefix_after(e, prefix, "", limit, visit, arg);
}

se_result se_scan_state(se_engine *e, const char *state, size_t limit, se_visit_fn visit, void *arg)
{
    struct scan s = {.prefix = "", .state = state, .after = "", .visit = visit, .arg = arg};
    se_result r = check(e, "state", state, 1, SE_STATE_MAX);
    return r == SE_OK ? run_public(e, &s, limit) : r;
}

/* ---- counts ---- */

static bool go_on(void *arg, se_item *item)
{
    (void)arg;
    (void)item;
    return true;
}

/* When nothing is pending the database counts; else every id is looked at. */
static se_result count(se_engine *e, const char *prefix, const char *state, uint64_t *out)
{
    struct scan s = {.e = e,
                     .prefix = prefix,
                     .state = state,
                     .after = "",
                     .left = SIZE_MAX,
                     .ids_only = true,
                     .visit = go_on};
    if (!out)
        return se__error(SE_ERR_INVALID, "count must not be NULL");
    struct pending p = {0};
    se_result r = e->home_is_l3 ? se__pending_take(e, prefix, "", false, &p) : SE_OK;
    bool quiet = e->home_is_l3 && r == SE_OK && p.n == 0;
    se__pending_done(&p);
    if (r == SE_OK && quiet) {
        struct tier_scan request = {.prefix = state ? NULL : prefix, .state = state, .after = ""};
        if (e->home.ops->count(e->home.self, &request, out, se__read_deadline(e)).fault !=
            TIER_FINE)
            r = se__outage(e, "L3 cannot count");
        return r;
    }
    if (r == SE_OK)
        r = run(&s);
    if (r == SE_OK)
        *out = s.visited;
    return r;
}

se_result se_count_prefix(se_engine *e, const char *prefix, uint64_t *out)
{
    se_result r = check(e, "prefix", prefix, 0, SE_ID_MAX);
    return r == SE_OK ? count(e, prefix, NULL, out) : r;
}

se_result se_count_state(se_engine *e, const char *state, uint64_t *out)
{
    se_result r = check(e, "state", state, 1, SE_STATE_MAX);
    return r == SE_OK ? count(e, "", state, out) : r;
}

/* ---- mass deletes ---- */

struct id_list {
    char ids[PAGE_ITEMS][SE_ID_MAX + 1];
    size_t n;
};

static bool note_id(void *arg, se_item *item)
{
    struct id_list *list = arg;
    strcpy(list->ids[list->n++], se_item_id(item));
    return list->n < PAGE_ITEMS;
}

/* A delete that pressure refuses waits for the flush, as long as a write may wait for its ack. */
static se_result delete_patiently(se_engine *e, const char *id)
{
    uint64_t deadline = se__deadline_in(e->settings.c.ack_timeout_ms);
    se_result r = se_delete(e, id, NULL);
    while (r == SE_ERR_BACKPRESSURE && se__deadline_left(deadline) > 0) {
        uint32_t wait = se_retry_after_ms(e);
        uint64_t left = se__deadline_left(deadline);
        (void)se_flush(e, wait && wait < left ? wait : (uint32_t)left);
        r = se_delete(e, id, NULL);
    }
    return r;
}

static se_result delete_matching(se_engine *e, const char *prefix, const char *state,
                                 uint64_t *deleted)
{
    struct id_list *list = se__alloc(sizeof *list);
    if (!list)
        return se__error_nomem();
    char after[SE_ID_MAX + 1] = "";
    se_result r = SE_OK;
    do {
        struct scan s = {.e = e,
                         .prefix = prefix,
                         .state = state,
                         .after = after,
                         .left = SIZE_MAX,
                         .ids_only = true,
                         .visit = note_id,
                         .arg = list};
        list->n = 0;
        r = run(&s);
        for (size_t i = 0; r == SE_OK && i < list->n; i++) {
            se_result one = delete_patiently(e, list->ids[i]);
            if (one < 0)
                r = one;
            else
                (*deleted)++;
        }
        if (list->n)
            strcpy(after, list->ids[list->n - 1]);
    } while (r == SE_OK && list->n == PAGE_ITEMS);
    se__free(list);
    return r;
}

se_result se_delete_prefix(se_engine *e, const char *prefix, uint64_t *deleted)
{
    uint64_t unused;
    deleted = deleted ? deleted : &unused;
    *deleted = 0;
    se_result r = check(e, "prefix", prefix, 1, SE_ID_MAX);
    return r == SE_OK ? delete_matching(e, prefix, NULL, deleted) : r;
}

se_result se_delete_state(se_engine *e, const char *state, uint64_t *deleted)
{
    uint64_t unused;
    deleted = deleted ? deleted : &unused;
    *deleted = 0;
    se_result r = check(e, "state", state, 1, SE_STATE_MAX);
    return r == SE_OK ? delete_matching(e, "", state, deleted) : r;
}

/* ---- invalidation ---- */

static se_result void_in_l2(se_engine *e, const char *const *ids, size_t n)
{
    if (!e->cache.ops || e->settings.c.read_only || n == 0)
        return SE_OK;
    uint64_t deadline = se__deadline_in(e->settings.c.redis_timeout_ms);
    /* Not a call of the tier's interface, so the circuit is looked at here: while it is not closed a
     * hung Redis would cost every caller its timeout. */
    bool ask = !e->cache_guard || se__guarded_circuit(e->cache_guard) == SE_CIRCUIT_CLOSED;
    if (ask && se__redis_void(e->redis, ids, n, deadline).fault == TIER_FINE)
        return SE_OK;
    /* Redis cannot be reached: its copies of these ids are not believed
     * until they are written again. */
    for (size_t i = 0; i < n; i++)
        se__suspects_add(e->suspects, se__l1_hash(e->l1, ids[i], strlen(ids[i])),
                         se__hlc_last(&e->hlc));
    return SE_OK;
}

se_result se_invalidate(se_engine *e, const char *id)
{
    se_result r = check(e, "id", id, 1, SE_ID_MAX);
    if (r != SE_OK)
        return r;
    se__existence_outside(e, id, strlen(id));
    r = void_in_l2(e, &id, 1); /* first L2, so that L1 is not filled from it again */
    se__l1_invalidate(e->l1, se__l1_hash(e->l1, id, strlen(id)), id, strlen(id));
    return r;
}

se_result se_invalidate_prefix(se_engine *e, const char *prefix)
{
    se_result r = check(e, "prefix", prefix, 0, SE_ID_MAX);
    if (r != SE_OK)
        return r;
    se__existence_outside_prefix(e, prefix);
    struct tier_ids ids = {0};
    if (e->cache.ops && !e->settings.c.read_only &&
        e->cache.ops->list(e->cache.self, prefix, &ids, se__read_deadline(e)).fault != TIER_FINE)
        r = se__outage(e, "the ids in Redis cannot be listed");
    for (size_t at = 0; r == SE_OK && at < ids.n; at += GROUP)
        r = void_in_l2(e, (const char *const *)ids.ids + at,
                       ids.n - at < GROUP ? ids.n - at : GROUP);
    se__tier_ids_done(&ids);
    se__l1_invalidate_prefix(e->l1, prefix);
    return r;
}
