/*
 * get - the public reads of single ids and lists of ids, on top of lookups.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

/* ---- one id ---- */

static se_result check_id(const se_engine *e, const char *id, struct l1_key *key)
{
    key->id = id;
    se_result r = se__id_check("id", id, 1, SE_ID_MAX, &key->id_len);
    if (r == SE_OK)
        key->hash = se__l1_hash(e->l1, id, key->id_len);
    return r;
}

static se_result begin(const se_engine *e, const char *id, struct l1_key *key)
{
    se_result r = se__look_in(e);
    return r == SE_OK ? check_id(e, id, key) : r;
}

static se_result drop_if_gone(se_item **item)
{
    if (!se__is_gone(*item))
        return SE_OK;
    se_item_release(*item);
    *item = NULL;
    return SE_NOT_FOUND;
}

/* Beyond L1, where it is not. */
static se_result look_below(se_engine *e, const struct l1_key *key, se_item **item)
{
    struct lookup l = {.id = key->id, .id_len = key->id_len, .hash = key->hash, .l1_missed = true};
    se_result r = se__lookup(e, &l, 1, se__read_deadline(e));
    if (r != SE_OK)
        return r;
    *item = l.item;
    return l.result;
}

/* *item is a reference, with SE_OK. Most calls end with the first look, so nothing is made ready for
 * the others before it. */
static se_result look_up(se_engine *e, const char *id, se_item **item)
{
    struct l1_key key;
    se_result r = begin(e, id, &key);
    if (r != SE_OK)
        return r;
    *item = se__l1_get(e->l1, key.hash, id, key.id_len);
    if (!*item)
        return look_below(e, &key, item);
    se__metrics_inc(e->metrics, M_OPS_L1_GET_HIT);
    return drop_if_gone(item);
}

se_result se_get(se_engine *e, const char *id, se_item **item)
{
    if (!item)
        return se__error(SE_ERR_INVALID, "item must not be NULL");
    *item = NULL;
    return look_up(e, id, item);
}

/* ---- verified ---- */

static se_result corrupt_in_l1(const se_item *item)
{
    uint8_t expected[SE_HASH_SIZE], actual[SE_HASH_SIZE];
    char expected_text[SE__HEX_SIZE], actual_text[SE__HEX_SIZE];
    se_item_hash(item, expected);
    se__hash128(0, se_item_content(item), se_item_content_len(item), actual);
    se__hash_hex(expected, expected_text);
    se__hash_hex(actual, actual_text);
    return se__error(
        SE_ERR_CORRUPT,
        "id '%s': the copy in memory has hash %s instead of %s, and no tier has a good one",
        se_item_id(item), actual_text, expected_text);
}

/* What comes from below L1 was checked when it was read; a copy may
 * still have gone bad in memory. */
se_result se_get_verified(se_engine *e, const char *id, se_item **item)
{
    se_result r = se_get(e, id, item);
    if (r == SE_ERR_CORRUPT && se__mend(e, id))
        r = se_get(e, id, item);
    if (r != SE_OK || se__item_intact(*item))
        return r;
    se__metrics_inc(e->metrics, M_CORRUPT_L1);
    se_item *bad = *item;
    *item = NULL;
    size_t id_len = se__item_id_len(bad);
    se__l1_invalidate(e->l1, se__l1_hash(e->l1, id, id_len), id,
                      id_len); /* a dirty one stays: it is the only copy */
    r = se_get(e, id, item);
    if (r == SE_OK && !se__item_intact(*item)) {
        se_item_release(*item);
        *item = NULL;
        r = corrupt_in_l1(bad);
    } else if (r == SE_OK)
        se__metrics_inc(e->metrics, M_HEALED_L1);
    se_item_release(bad);
    return r;
}

/* ---- copies ---- */

static void copy_out(const se_item *item, void *buffer, size_t cap, size_t *len)
{
    size_t n = se_item_content_len(item);
    if (cap && n)
        memcpy(buffer, se_item_content(item), n < cap ? n : cap);
    *len = n;
}

se_result se_get_copy(se_engine *e, const char *id, void *buffer, size_t cap, size_t *len)
{
    struct l1_key key;
    struct l1_copy copy;
    if (!len || (!buffer && cap))
        return se__error(SE_ERR_INVALID, "len, and buffer if cap is not 0, must not be NULL");
    se_result r = begin(e, id, &key);
    if (r != SE_OK)
        return r;
    if (se__l1_get_copy(e->l1, key.hash, id, key.id_len, buffer, cap, &copy)) {
        se__metrics_inc(e->metrics, M_OPS_L1_GET_HIT);
        if (copy.deleted || (copy.expires_at_ms && copy.expires_at_ms <= se__wall_ms()))
            return SE_NOT_FOUND;
        *len = copy.len;
        return SE_OK;
    }
    se_item *item = NULL;
    r = look_below(e, &key, &item);
    if (r == SE_OK)
        copy_out(item, buffer, cap, len);
    se_item_release(item);
    return r;
}

/* ---- lists ---- */

#define AT_ONCE 32u /* keys that L1 is asked for together */

/* What L1 did not have. */
struct misses {
    struct lookup *lookups;
    size_t *at; /* which of the ids each is */
    size_t n;
};

/* There is room for all ids from the first miss on. */
static se_result add_miss(struct misses *m, const struct l1_key *key, size_t at, size_t n)
{
    if (!m->lookups) {
        m->lookups = se__alloc_zeroed(n - at, sizeof *m->lookups);
        m->at = se__alloc((n - at) * sizeof *m->at);
        if (!m->lookups || !m->at)
            return se__error_nomem();
    }
    m->at[m->n] = at;
    m->lookups[m->n++] =
        (struct lookup){.id = key->id, .id_len = key->id_len, .hash = key->hash, .l1_missed = true};
    return SE_OK;
}

static se_result check_ids(const se_engine *e, const char *const *ids, size_t from, size_t n,
                           struct l1_key *keys)
{
    for (size_t i = 0; i < n; i++) {
        se_result r = check_id(e, ids[from + i], &keys[i]);
        if (r != SE_OK)
            return se__error(r, "ids[%zu]: %s", from + i, se_errmsg());
    }
    return SE_OK;
}

/* The ids [from, from + some), of n. */
static se_result ask_l1(se_engine *e, const char *const *ids, size_t from, size_t some, size_t n,
                        se_item **items, se_result *results, struct misses *misses)
{
    struct l1_key keys[AT_ONCE];
    size_t hits = 0;
    se_result r = check_ids(e, ids, from, some, keys);
    if (r != SE_OK)
        return r;
    se__l1_get_many(e->l1, keys, some, items + from);
    for (size_t i = 0; r == SE_OK && i < some; i++) {
        bool hit = items[from + i] != NULL;
        se_result found = SE_OK;
        if (hit)
            found = drop_if_gone(&items[from + i]);
        else
            r = add_miss(misses, &keys[i], from + i, n);
        if (results)
            results[from + i] = found;
        hits += hit;
    }
    se__metrics_add(e->metrics, M_OPS_L1_GET_HIT, hits);
    return r;
}

/* Without per-id results an outage is the whole call's. */
static se_result hand_out(const struct misses *misses, se_item **items, se_result *results)
{
    se_result worst = SE_OK;
    for (size_t i = 0; i < misses->n; i++) {
        const struct lookup *l = &misses->lookups[i];
        items[misses->at[i]] = l->item;
        if (results)
            results[misses->at[i]] = l->result;
        else if (l->result < 0 && worst != SE_ERR_BACKEND)
            worst = l->result;
    }
    return worst;
}

static se_result get_many(se_engine *e, const char *const *ids, size_t n, se_item **items,
                          se_result *results)
{
    struct misses misses = {0};
    se_result r = SE_OK;
    for (size_t at = 0; r == SE_OK && at < n; at += AT_ONCE)
        r = ask_l1(e, ids, at, n - at < AT_ONCE ? n - at : AT_ONCE, n, items, results, &misses);
    if (r == SE_OK && misses.n)
        r = se__lookup(e, misses.lookups, misses.n, se__read_deadline(e));
    if (r == SE_OK)
        r = hand_out(&misses, items, results);
    se__free(misses.lookups);
    se__free(misses.at);
    return r;
}

static void take_back(se_item **items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        se_item_release(items[i]);
        items[i] = NULL;
    }
}

se_result se_get_many(se_engine *e, const char *const *ids, size_t n, se_item **items,
                      se_result *results)
{
    if (n && (!ids || !items))
        return se__error(SE_ERR_INVALID, "ids and items must not be NULL");
    if (n)
        memset(items, 0, n * sizeof *items);
    se_result r = se__look_in(e);
    if (r == SE_OK && n)
        r = get_many(e, ids, n, items, results);
    if (r < 0)
        take_back(items, n);
    for (size_t i = 0; r < 0 && results && i < n; i++)
        results[i] = r; /* nothing was looked up */
    return r;
}

/* ---- existence ---- */

se_result se_contains(se_engine *e, const char *id, bool *found)
{
    if (!found)
        return se__error(SE_ERR_INVALID, "found must not be NULL");
    se_item *item = NULL;
    se_result r = look_up(e, id, &item);
    se_item_release(item);
    if (r < 0)
        return r;
    *found = r == SE_OK;
    return SE_OK;
}

/* Beside an L3 the filter knows, and cannot tell of what L2 alone may have. Where Redis is the home
 * nobody knows without asking. */
bool se_definitely_missing(const se_engine *e, const char *id)
{
    size_t id_len;
    struct l1_view view;
    uint64_t version;
    if (se__look_in(e) != SE_OK || se__id_check("id", id, 1, SE_ID_MAX, &id_len) != SE_OK)
        return false;
    if (e->home.ops)
        return !se__cache_entries(e) && se__excludes(e, id, id_len);
    if (e->wal && se__wal_look(e->wal, id, id_len, &version) != WAL_NOWHERE)
        return false;
    return !se__l1_look(e->l1, se__l1_hash(e->l1, id, id_len), id, id_len, &view) || view.deleted;
}

bool se_might_exist(const se_engine *e, const char *id)
{
    return !se_definitely_missing(e, id);
}

se_result se_is_current(se_engine *e, const char *id, const uint8_t hash[SE_HASH_SIZE],
                        bool *current)
{
    if (!hash || !current)
        return se__error(SE_ERR_INVALID, "hash and current must not be NULL");
    se_item *item = NULL;
    se_result r = look_up(e, id, &item);
    if (r < 0)
        return r;
    uint8_t have[SE_HASH_SIZE];
    if (r == SE_OK)
        se_item_hash(item, have);
    *current = r == SE_OK && memcmp(have, hash, SE_HASH_SIZE) == 0;
    se_item_release(item);
    return SE_OK;
}

/* ---- status ---- */

/* What one tier holds: live or not, and its version raises *newest. False: it cannot be asked. */
static bool ask_tier(const struct tier *tier, const char *id, size_t id_len, uint64_t deadline_ms,
                     bool *live, uint64_t *newest)
{
    struct tier_read read = {.id = id, .id_len = id_len};
    if (tier->ops->read(tier->self, &read, 1, deadline_ms).fault != TIER_FINE)
        return false;
    if (read.found == TIER_HIT) {
        *live = !se__item_deleted(read.item) && !se__item_expired(read.item, se__wall_ms());
        if (se_item_version(read.item) >= *newest) {
            *newest = se_item_version(read.item);
        }
        se_item_release(read.item);
    }
    return true;
}

/* The newest version and whether it is live, over everything that answered. */
struct newest {
    uint64_t version;
    bool live;
};

static void consider(struct newest *n, uint64_t version, bool live)
{
    if (version >= n->version && version > 0) {
        n->live = version > n->version ? live : n->live || live;
        n->version = version;
    }
}

static void status_above(se_engine *e, const char *id, size_t id_len, se_item_status *s,
                         struct newest *newest, bool *dirty)
{
    struct l1_view view;
    uint64_t wal_version = 0;
    if (se__l1_look(e->l1, se__l1_hash(e->l1, id, id_len), id, id_len, &view)) {
        bool live =
            !view.deleted && (view.expires_at_ms == 0 || view.expires_at_ms > se__wall_ms());
        s->in_l1 = live;
        *dirty = view.dirty || view.dead;
        consider(newest, view.version, live);
    }
    se_item *item = NULL;
    enum wal_place place = WAL_NOWHERE;
    if (e->wal && se__wal_look(e->wal, id, id_len, &wal_version) != WAL_NOWHERE &&
        se__wal_find(e->wal, id, id_len, &place, &item) == SE_OK && item) {
        s->in_wal = true;
        consider(newest, se_item_version(item), !se__item_deleted(item));
        if (place != WAL_RECOVERED || e->home.ops == NULL)
            *dirty = *dirty || e->home.ops != NULL;
        se_item_release(item);
    }
}

static bool status_below(se_engine *e, const char *id, size_t id_len, se_item_status *s,
                         struct newest *newest, uint64_t *home_version)
{
    bool live = false, asked = true;
    uint64_t version = 0;
    if (e->cache.ops && !se__suspects_has(e->suspects, se__l1_hash(e->l1, id, id_len)) &&
        ask_tier(&e->cache, id, id_len, se__deadline_in(e->settings.c.redis_timeout_ms), &live,
                 &version)) {
        s->in_l2 = live;
        consider(newest, version, live);
    }
    if (e->home.ops) {
        live = false;
        asked = ask_tier(&e->home, id, id_len, se__read_deadline(e), &live, home_version);
        *(e->home_is_l3 ? &s->in_l3 : &s->in_l2) = live;
        consider(newest, *home_version, live);
    }
    return asked;
}

se_result se_status(se_engine *e, const char *id, se_item_status *status)
{
    size_t id_len;
    if (!status)
        return se__error(SE_ERR_INVALID, "status must not be NULL");
    *status = (se_item_status){0};
    se_result r = se__look_in(e);
    if (r == SE_OK)
        r = se__id_check("id", id, 1, SE_ID_MAX, &id_len);
    if (r != SE_OK)
        return r;
    struct newest newest = {0};
    uint64_t home_version = 0;
    bool dirty = false;
    status_above(e, id, id_len, status, &newest, &dirty);
    bool asked = status_below(e, id, id_len, status, &newest, &home_version);
    if (!asked && newest.version == 0)
        return se__error(SE_ERR_BACKEND, "id '%s': the home tier cannot be asked: %s", id,
                         se_errmsg());
    bool waiting =
        dirty || (asked && e->home.ops && status->in_wal && newest.version > home_version);
    status->sync = waiting ? SE_SYNC_PENDING : newest.live ? SE_SYNC_SYNCED : SE_SYNC_MISSING;
    status->version = newest.live || waiting ? newest.version : 0;
    return SE_OK;
}

size_t se_len(const se_engine *e)
{
    if (se__look_in(e) != SE_OK)
        return 0;
    struct l1_stats stats;
    se__l1_stats(e->l1, &stats);
    return stats.items;
}

bool se_is_empty(const se_engine *e)
{
    return se_len(e) == 0;
}
