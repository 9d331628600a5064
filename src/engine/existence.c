/*
 * existence - what the engine does with the filter: feeds it, asks it, and keeps it honest.
 *
 *   write  an id enters the filter before it is published anywhere; when the filter has begun to
 *          build a part anew meanwhile, it enters again after publishing (filter/filter.h)
 *   read   a miss that the trusted filter excludes asks no L3; and no L2 either, unless cache
 *          entries (routed to L2 beside an L3) exist: the filter speaks of L3 only
 *   others another live engine on the same table, or one that has come and gone, makes the filter
 *          untrusted until L3 was scanned again
 *
 * That cache entries exist is remembered in the home tier's meta table ("cache_entries"), so that
 * they are found again after a restart. Between the first of them and that row lies a heartbeat:
 * a crash in it may forget them, as cache entries may be.
 */
#include "base/mem.h"
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

#define CACHE_ENTRIES "cache_entries"

/* ---- what the filter's keeper asks ---- */

static bool any(void *arg, const se_item *item)
{
    (void)arg;
    (void)item;
    return true;
}

/* L1 first, as for all reads: what leaves it meanwhile is in the WAL by then, or home. */
static se_result show_pending(void *arg, void (*see)(void *see_arg, const char *id, size_t id_len),
                              void *see_arg)
{
    se_engine *e = arg;
    se_item **items = NULL;
    size_t n = 0;
    se_result r = se__l1_collect(e->l1, true, any, NULL, &items, &n);
    for (size_t i = 0; i < n; i++) {
        see(see_arg, se_item_id(items[i]), se__item_id_len(items[i]));
        se_item_release(items[i]);
    }
    se__free(items);
    return r == SE_OK && e->wal ? se__wal_ids(e->wal, see, see_arg) : r;
}

static uint64_t position(void *arg)
{
    se_engine *e = arg;
    return se__hlc_last(&e->hlc);
}

static uint64_t removals(void *arg)
{
    se_engine *e = arg;
    return atomic_load_explicit(&e->removals, memory_order_relaxed); /* a hint */
}

static bool stopping(void *arg)
{
    se_engine *e = arg;
    return !se__gate_open(&e->gate);
}

se_result se__existence_open(se_engine *e)
{
    const se_config *c = &e->settings.c;
    char path[4096];
    /* A read_only engine looks beside a live one, whose new ids it would not learn of: it would scan
     * L3 for nothing, and a tool that reads one id would wait for that. */
    if (!e->home_is_l3 || c->read_only)
        return SE_OK;
    if (c->wal_path)
        snprintf(path, sizeof path, "%s.filter", c->wal_path);
    struct warm_options options = {
        .home = e->home,
        .snapshot_path = c->wal_path ? path : NULL,
        .table = c->sql_table,
        .page_ids = c->filter_warmup_batch_size,
        .snapshot_interval_s = c->filter_snapshot_interval_s,
        .snapshot_threshold = c->filter_snapshot_insert_threshold,
        .timeout_ms = c->sql_timeout_ms,
        .metrics = e->metrics,
        .log = &e->settings.log,
        .pending = show_pending,
        .position = position,
        .removals = removals,
        .stopping = stopping,
        .arg = e,
    };
    se_result r = se__warm_open(&options, &e->warm);
    if (r != SE_OK)
        return r;
    e->filter = se__warm_filter(e->warm);
    se__filter_read_in(e->filter, se__l1_epochs(e->l1)); /* writers look at both in one stay */
    return SE_OK;
}

/* ---- writes ---- */

static void add_all(se_engine *e, const struct write *writes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (writes[i].enters)
            (void)se__filter_add_at(e->filter, writes[i].at);
    }
}

/* The early look found it, and no rebuild has begun since: it is there. */
static bool is_known(const struct write *w, uint64_t epoch)
{
    return w->known && w->at_epoch == epoch;
}

void se__existence_expect(se_engine *e, struct write *w)
{
    if (!e->filter)
        return;
    w->at = se__filter_spot(e->filter, w->id, w->id_len);
    se__filter_expect(e->filter, w->at);
}

void se__existence_look_inside(se_engine *e, struct write *w)
{
    if (!e->filter)
        return;
    w->at_epoch = se__filter_epoch(e->filter);
    w->known = se__filter_knows_inside(e->filter, w->at);
}

static bool enters(se_engine *e, const se_item *item)
{
    if (item->flags & ITEM_FLAG_DELETED)
        atomic_fetch_add_explicit(&e->removals, 1, memory_order_relaxed); /* a hint */
    else if (item->flags & SE_ROUTE_L3)
        return true;
    else
        /* release: before the item is published; pairs with the acquire in se__cache_entries */
        atomic_store_explicit(&e->cache_entries, true, memory_order_release);
    return false;
}

uint64_t se__existence_before(se_engine *e, struct write *writes, size_t n)
{
    if (!e->filter)
        return 0;
    uint64_t epoch = se__filter_epoch(e->filter);
    for (size_t i = 0; i < n; i++) {
        writes[i].enters = enters(e, writes[i].item);
        if (writes[i].enters && !is_known(&writes[i], epoch))
            (void)se__filter_add_at(e->filter, writes[i].at);
    }
    return epoch;
}

void se__existence_after(se_engine *e, const struct write *writes, size_t n, uint64_t epoch)
{
    if (e->filter && se__filter_epoch(e->filter) != epoch)
        add_all(e, writes, n);
}

/* ---- reads ---- */

bool se__cache_entries(const se_engine *e)
{
    return e->cache.ops && atomic_load_explicit(&e->cache_entries, memory_order_acquire);
}

bool se__excludes(const se_engine *e, const char *id, size_t id_len)
{
    return e->filter && se__filter_excludes(e->filter, id, id_len);
}

/* ---- changes by others ---- */

void se__existence_outside(se_engine *e, const char *id, size_t id_len)
{
    if (e->filter)
        (void)se__filter_add(e->filter, id, id_len);
}

void se__existence_outside_prefix(se_engine *e, const char *prefix)
{
    char after[SE_ID_MAX + 1] = "";
    bool more = e->filter != NULL;
    while (more) {
        struct tier_scan scan = {.prefix = prefix,
                                 .after = after,
                                 .items_max = e->settings.c.filter_warmup_batch_size,
                                 .bytes_max = SIZE_MAX,
                                 .ids_only = true};
        struct tier_page page;
        if (e->home.ops
                ->scan(e->home.self, &scan, &page, se__deadline_in(e->settings.c.sql_timeout_ms))
                .fault != TIER_FINE) {
            se__warm_rescan(e->warm, FILTER_UNLISTED);
            return;
        }
        for (size_t i = 0; i < page.n; i++)
            se__existence_outside(e, se_item_id(page.items[i]), se__item_id_len(page.items[i]));
        if (page.n)
            snprintf(after, sizeof after, "%s", se_item_id(page.items[page.n - 1]));
        more = page.more;
        se__tier_page_done(&page);
    }
}

void se__existence_owners(se_engine *e, unsigned live, uint64_t newest, bool joining)
{
    if (!e->filter)
        return;
    bool came_and_went = !joining && newest > e->foreign_newest;
    bool was_foreign = (se__filter_doubts(e->filter) & FILTER_FOREIGN) != 0;
    e->foreign_newest = newest > e->foreign_newest ? newest : e->foreign_newest;
    if (live && !was_foreign)
        se__warm_rescan(e->warm, FILTER_FOREIGN);
    else if (!live && was_foreign)
        se__warm_alone(e->warm);
    else if (!live && came_and_went)
        se__warm_rescan(e->warm, FILTER_COLD);
}

/* ---- that cache entries exist ---- */

bool se__existence_beat(se_engine *e, uint64_t deadline_ms)
{
    if (!e->filter || !e->cache.ops)
        return true;
    struct buf value = {0};
    bool found = false, ok = true;
    bool ours = se__cache_entries(e);
    if (!ours || !e->cache_entries_stored)
        ok =
            e->home.ops->meta_get(e->home.self, CACHE_ENTRIES, &value, &found, deadline_ms).fault ==
            TIER_FINE;
    se__buf_done(&value);
    if (ok && found)
        /* release: as in se__existence_before */
        atomic_store_explicit(&e->cache_entries, true, memory_order_release);
    else if (ok && ours && !e->cache_entries_stored && !e->settings.c.read_only)
        ok = found =
            e->home.ops->meta_put(e->home.self, CACHE_ENTRIES, "1", deadline_ms).fault == TIER_FINE;
    e->cache_entries_stored = e->cache_entries_stored || found;
    return ok;
}
