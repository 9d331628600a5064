/*
 * get_many - the public read of a list of ids. A file of its own, since the hash of ids is compiled into
 * it, as into se_get, once each: compiled into one file twice it would be a call.
 */
#include "base/length.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "l1/hit.h"

#include <string.h>

#define KEYS_ON_STACK 64u

static se_result check_key(const char *const *ids, size_t i, size_t *len)
{
    se_result r = se__id_check("id", ids[i], 1, SE_ID_MAX, len);
    return r == SE_OK ? r : se__error(r, "ids[%zu]: %s", i, se_errmsg());
}

/* Short ids are checked only if L1 does not have them: what is there was checked when it came. */
static se_result make_keys(se_engine *e, const char *const *ids, size_t n, struct l1_key *keys)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = ids[i] ? se__short_length(ids[i]) : SIZE_MAX;
        keys[i].id = ids[i];
        if (__builtin_expect(len <= SE__SHORT_LENGTH, 1)) {
            keys[i].hash = se__l1_hash_inline(e->l1, ids[i], len);
        } else {
            se_result r = check_key(ids, i, &len);
            if (r != SE_OK)
                return r;
            keys[i].hash = se__l1_hash(e->l1, ids[i], len);
        }
        keys[i].id_len = len;
    }
    return SE_OK;
}

static se_result check_missing(const char *const *ids, size_t n, se_item *const *items)
{
    size_t len;
    se_result r = SE_OK;
    for (size_t i = 0; i < n && r == SE_OK; i++)
        if (!items[i])
            r = check_key(ids, i, &len);
    return r;
}

/* Lookups of those that L1 did not have, in their order. */
static struct lookup *make_lookups(const struct l1_key *keys, size_t n, se_item *const *items,
                                   size_t misses, uint64_t moment)
{
    struct lookup *lookups = se__alloc_zeroed(misses, sizeof *lookups);
    for (size_t i = 0, at = 0; lookups && i < n; i++)
        if (!items[i])
            lookups[at++] = (struct lookup){
                .id = keys[i].id, .id_len = keys[i].id_len, .hash = keys[i].hash, .moment = moment};
    return lookups;
}

static void release_all(se_item **items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        se_item_release(items[i]);
        items[i] = NULL;
    }
}
/* items: L1's, and NULL where the next of the lookups tells. Without per-id results an outage is the
 * whole call's. */
static se_result hand_out(const struct lookup *lookups, size_t n, se_item **items,
                          se_result *results)
{
    se_result worst = SE_OK;
    for (size_t i = 0; i < n; i++) {
        se_result r;
        if (items[i]) {
            r = se__take_hit(&items[i]);
        } else {
            r = lookups->result;
            items[i] = lookups++->item;
        }
        if (results)
            results[i] = r;
        else if (r < 0 && worst != SE_ERR_BACKEND)
            worst = r;
    }
    if (worst < 0)
        release_all(items, n);
    return worst;
}

/* L1 first, all at once: most calls end there and allocate nothing. */
static se_result get_keys(se_engine *e, const char *const *ids, const struct l1_key *keys, size_t n,
                          se_item **items, se_result *results)
{
    size_t misses = 0;
    struct lookup *lookups = NULL;
    uint64_t moment = se__flights_moment(e->loads);
    se__l1_get_many(e->l1, keys, n, items);
    for (size_t i = 0; i < n; i++)
        misses += !items[i];
    se_result r = misses ? check_missing(ids, n, items) : SE_OK;
    if (r == SE_OK && misses) {
        lookups = make_lookups(keys, n, items, misses, moment);
        r = lookups ? se__lookup(e, lookups, misses, se__read_deadline(e)) : se__error_nomem();
    }
    if (r == SE_OK) {
        se__metrics_add(e->metrics, M_OPS_L1_GET_HIT, n - misses);
        r = hand_out(lookups, n, items, results);
    } else {
        release_all(items, n);
    }
    se__free(lookups);
    return r;
}

static se_result get_many(se_engine *e, const char *const *ids, size_t n, se_item **items,
                          se_result *results)
{
    struct l1_key few[KEYS_ON_STACK], *keys = few;
    few[0] = (struct l1_key){0}; /* a compiler that does not see n > 0 asks for it */
    if (n > KEYS_ON_STACK)
        keys = se__alloc_zeroed(n, sizeof *keys);
    if (!keys)
        return se__error_nomem();
    se_result r = make_keys(e, ids, n, keys);
    if (r == SE_OK)
        r = get_keys(e, ids, keys, n, items, results);
    if (keys != few)
        se__free(keys);
    return r;
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
    for (size_t i = 0; r < 0 && results && i < n; i++)
        results[i] = r; /* nothing was looked up */
    return r;
}
