/*
 * get - the public reads of single ids and lists of ids, on top of lookups.
 */
#include "base/hash.h"
#include "base/length.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "l1/hit.h"

#include <stdio.h>
#include <string.h>

/* ---- sampled time ---- */

#define TIMED_ONE_IN 1024u

/* One call in so many of a thread is timed: two looks at the clock would cost half a lookup. */
static inline bool timed_now(void)
{
    static _Thread_local __attribute__((tls_model("initial-exec"))) uint32_t turn;
    return turn++ % TIMED_ONE_IN == 0;
}
static uint64_t start_if(bool timed)
{
    return timed ? se__mono_ns() : 0;
}
static void end_if_timed(se_engine *e, uint64_t start_ns)
{
    if (start_ns)
        se__metrics_observe(e->metrics, M_L1_GET_SECONDS, (double)(se__mono_ns() - start_ns) / 1e9);
}

/* ---- single ids ---- */

/* What L1 does not have; moment: of the loads, before it was asked. */
static se_result look_below(se_engine *e, const char *id, uint64_t moment, se_item **item)
{
    struct lookup l;
    se_result r = se__lookup_init(e, id, &l);
    l.moment = moment;
    if (r == SE_OK)
        r = se__lookup(e, &l, 1, se__read_deadline(e));
    if (r != SE_OK)
        return r;
    *item = l.item;
    return l.result;
}

se_result se__take_hit(se_item **item)
{
    if (!se__says_gone(*item))
        return SE_OK;
    se_item_release(*item);
    *item = NULL;
    return SE_NOT_FOUND;
}

/* All threads that have rows of their own in L1 count there, next to what they write anyway. */
static void count_hit(se_engine *e)
{
    struct epoch_row *row = se__l1_own_row(e->l1, se__thread_id());
    if (row)
        se__l1_count_hit(row, se__l1_hits_of(row));
    else
        se__metrics_inc(e->metrics, M_OPS_L1_GET_HIT);
}

static se_result get_checked(se_engine *e, const char *id, size_t id_len, bool timed,
                             se_item **item)
{
    uint64_t started = start_if(timed), moment = se__flights_moment(e->loads);
    *item = se__l1_get(e->l1, se__l1_hash(e->l1, id, id_len), id, id_len);
    if (!*item)
        return look_below(e, id, moment, item);
    count_hit(e);
    end_if_timed(e, started);
    return se__take_hit(item);
}

/* All that a get may have to do. */
static __attribute__((noinline)) se_result get_at_length(se_engine *e, const char *id, bool timed,
                                                         se_item **item)
{
    if (!item)
        return se__error(SE_ERR_INVALID, "item must not be NULL");
    *item = NULL;
    size_t id_len;
    se_result r = se__look_in(e);
    if (r == SE_OK)
        r = se__id_check("id", id, 1, SE_ID_MAX, &id_len);
    return r == SE_OK ? get_checked(e, id, id_len, timed, item) : r;
}

static __attribute__((noinline)) se_result get_untimed(se_engine *e, const char *id, se_item **item)
{
    return get_at_length(e, id, false, item);
}

/* Of a thread whose number of hits is one that may be timed. It stays while there are none: then a
 * look at the clock each time would be too much. */
static __attribute__((noinline)) se_result get_timed(se_engine *e, const char *id, uint64_t hits,
                                                     se_item **item)
{
    static _Thread_local uint64_t timed_at = UINT64_MAX;
    bool timed = hits != timed_at;
    timed_at = hits;
    return get_at_length(e, id, timed, item);
}

/* The way of nearly every get (l1/hit.h), without a call and a register to be saved: what it cannot
 * do goes on in get_at_length, from the beginning. What is in L1 under exactly these bytes was
 * checked when it came there: so only an id that is not there is looked at closely. */
se_result se_get(se_engine *e, const char *id, se_item **item)
{
    if (__builtin_expect(!item, 0))
        return get_untimed(e, id, item);
    if (__builtin_expect(!id, 0))
        return get_untimed(e, id, item);
    if (__builtin_expect(!se__may_look_in(e), 0))
        return get_untimed(e, id, item);
    struct l1 *map = e->l1;
    struct epoch_row *row = se__l1_own_row(map, se__thread_number);
    if (__builtin_expect(!row, 0))
        return get_at_length(e, id, timed_now(), item);
    uint64_t hits = se__l1_hits_of(row);
    if (__builtin_expect(hits % TIMED_ONE_IN == 0, 0)) /* as for a thread without a number yet */
        return get_timed(e, id, hits, item);
    size_t len = se__short_length(id);
    if (__builtin_expect(len > SE__SHORT_LENGTH, 0)) /* longer ones are hashed by calls */
        return get_untimed(e, id, item);
    se_item *hit = se__l1_hit(map, row, se__l1_hash_inline(map, id, len), id, len);
    if (__builtin_expect(!hit, 0))
        return get_untimed(e, id, item);
    *item = hit;
    se__l1_count_hit(row, hits);
    return SE_OK;
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
    struct l1_copy copy;
    if (!len || (!buffer && cap))
        return se__error(SE_ERR_INVALID, "len, and buffer if cap is not 0, must not be NULL");
    se_result r = se__look_in(e);
    size_t id_len = r == SE_OK && id ? se__short_length(id) : SIZE_MAX;
    if (r == SE_OK &&
        id_len > SE__SHORT_LENGTH) /* a shorter one is checked if L1 does not have it */
        r = se__id_check("id", id, 1, SE_ID_MAX, &id_len);
    if (r != SE_OK)
        return r;
    uint64_t started = start_if(timed_now()), moment = se__flights_moment(e->loads);
    uint64_t hash = se__l1_hash(e->l1, id, id_len);
    if (se__l1_get_copy(e->l1, hash, id, id_len, buffer, cap, &copy)) {
        se__metrics_inc(e->metrics, M_OPS_L1_GET_HIT);
        end_if_timed(e, started);
        if (copy.deleted || (copy.expires_at_ms && se__wall_ms() >= copy.expires_at_ms))
            return SE_NOT_FOUND;
        *len = copy.len;
        return SE_OK;
    }
    se_item *item = NULL;
    r = look_below(e, id, moment, &item);
    if (r == SE_OK)
        copy_out(item, buffer, cap, len);
    se_item_release(item);
    return r;
}

/* ---- existence ---- */

se_result se_contains(se_engine *e, const char *id, bool *found)
{
    if (!found)
        return se__error(SE_ERR_INVALID, "found must not be NULL");
    se_item *item = NULL;
    se_result r = se_get(e, id, &item);
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
    se_result r = se_get(e, id, &item);
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
