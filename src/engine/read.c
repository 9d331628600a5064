/*
 * read - lookups through the tiers: L1, overlay, L2, home tier.
 *
 *   L1 ──hit──> done
 *    │ miss
 *   filter ──excluded──> done, without a round trip (where cache entries exist: after L2)
 *    │ join the id's flight; followers wait for its leader
 *   overlay (WAL, dead letters) ──pending──> done;  recovered: a candidate for the home tier
 *    │
 *   L2 ──item, tombstone──> done;  miss: lease;  garbage: counted, lease over it
 *    │
 *   home tier ──> item, tombstone, nothing; fill the lease; into L1 if the epoch is unchanged
 *
 * The order matters: what leaves a place has reached the next one first, so a look that goes
 * downward cannot miss it.
 *
 * Why a candidate: a record recovered from the WAL, a dead letter too, may be older than the home
 * tier's (its removal was not yet durable at the crash), and a read_only engine cannot know which
 * copies in L2 the live service doubts. If the home tier does not answer, the candidate is
 * returned, but not cached.
 *
 * Outages are never a "no": where the home tier cannot be asked and nothing above it has the item,
 * SE_ERR_BACKEND.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

uint64_t se__read_deadline(const se_engine *e)
{
    return se__deadline_in(e->settings.c.read_timeout_ms);
}

void se__see_version(se_engine *e, uint64_t version)
{
    if (version <= se__hlc_last(&e->hlc))
        return; /* most are: the wall clock need not be asked */
    if (se__hlc_observe(&e->hlc, version, se__wall_ms(), e->settings.c.max_clock_skew_ms))
        return;
    se__metrics_inc(e->metrics, M_CLOCK_AHEAD);
    if (!atomic_exchange_explicit(&e->skew_seen, true,
                                  memory_order_relaxed)) /* advisory: see take_version */
        se__log(&e->settings.log, SE_LOG_WARN, "engine.clock_skew", NULL,
                "a version more than max_clock_skew_ms ahead of this clock was read; another "
                "writer's clock is wrong");
}

se_result se__lookup_init(se_engine *e, const char *id, struct lookup *l)
{
    *l = (struct lookup){.id = id};
    se_result r = se__id_check("id", id, 1, SE_ID_MAX, &l->id_len);
    if (r == SE_OK)
        l->hash = se__l1_hash(e->l1, id, l->id_len);
    return r;
}

/* ---- results ---- */

static void settle(struct lookup *l, se_result result, se_item *item)
{
    l->settled = true;
    l->result = result;
    l->item = item;
}

/* Takes the reference. Tombstones and expired items are authoritative: the id is gone. */
static void settle_item(struct lookup *l, se_item *item)
{
    if (se__says_gone(item)) {
        se_item_release(item);
        settle(l, SE_NOT_FOUND, NULL);
    } else
        settle(l, SE_OK, item);
}

static bool look_in_l1(se_engine *e, struct lookup *l)
{
    se_item *item = se__l1_get(e->l1, l->hash, l->id, l->id_len);
    if (item)
        settle_item(l, item);
    return item != NULL;
}

/* ---- overlay ---- */

static void ask_overlay(se_engine *e, struct lookup *l)
{
    enum wal_place place;
    se_item *item = NULL;
    se_result r = se__wal_find(e->wal, l->id, l->id_len, &place, &item);
    if (r != SE_OK) {
        settle(l, r, NULL); /* it may be there: not a "no" */
        return;
    }
    if (place == WAL_NOWHERE)
        return;
    se__metrics_inc(e->metrics, M_OPS_OVERLAY_HIT);
    if (place != WAL_PENDING && e->home.ops)
        l->candidate = item;
    else
        settle_item(l, item);
}

/* ---- L2 beside an L3 ---- */

static void take_cached(se_engine *e, struct lookup *l, const struct tier_read *read)
{
    switch (read->found) {
    case TIER_HIT:
        se__see_version(e, se_item_version(read->item));
        if (e->settings.c.read_only)
            l->candidate = read->item;
        else
            settle_item(l, read->item);
        return;
    case TIER_CORRUPT:
        se__metrics_inc(e->metrics, M_CORRUPT_L2);
        se__log(&e->settings.log, SE_LOG_WARN, "engine.corrupt_l2",
                (const struct se__field[]){se__text("id", l->id), {0}},
                "id '%s': the bytes in Redis are no record of ours", l->id);
        l->corrupt_l2 = true;
        break;
    case TIER_ABSENT:
    case TIER_VOID:
        break;
    }
    l->wants_lease = !e->settings.c.read_only && !read->leased;
    l->lease.taken = read->leased;
    memcpy(l->lease.token, read->token, sizeof l->lease.token);
}

/* One round trip to a backend, within the whole read's time. */
static uint64_t trip_deadline(uint32_t timeout_ms, uint64_t deadline_ms)
{
    uint64_t own = se__deadline_in(timeout_ms);
    return own < deadline_ms ? own : deadline_ms;
}

static uint64_t redis_deadline(const se_engine *e, uint64_t deadline_ms)
{
    return trip_deadline(e->settings.c.redis_timeout_ms, deadline_ms);
}

static void forget_early(struct lookup *l)
{
    se_item_release(l->came);
    se_item_release(l->kept);
    l->came = l->kept = NULL;
}

/* An item that has come goes to L1 while the tier still sends others. Not where the answer may be
 * another: beside a candidate, and from the L2 of a read_only engine. */
static void keep_early(void *arg, se_item *item)
{
    struct lookup *l = arg;
    bool unchanged;
    forget_early(l); /* of a call that is repeated */
    if (l->candidate || l->engine->settings.c.read_only || se__says_gone(item))
        return;
    se__see_version(l->engine, se_item_version(item));
    l->kept = se__l1_promote(l->engine->l1, l->hash, item, l->epoch, &unchanged);
    l->came = se_item_retain(item);
}

/* Packs the reads of all unsettled lookups that `wanted` lets through; returns how many. */
static size_t pack(se_engine *e, struct lookup **ask, size_t n, struct tier_read *reads,
                   size_t *from, bool (*wanted)(se_engine *e, const struct lookup *l))
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (ask[i]->settled || !wanted(e, ask[i]))
            continue;
        ask[i]->engine = e;
        reads[count] = (struct tier_read){.id = ask[i]->id,
                                          .id_len = ask[i]->id_len,
                                          .on_item = n > 1 ? keep_early : NULL,
                                          .arg = ask[i]};
        from[count++] = i;
    }
    return count;
}

static bool wants_cache(se_engine *e, const struct lookup *l)
{
    return !l->candidate && !se__suspects_has(e->suspects, l->hash);
}

/* Does the filter spare the look into L3? Not while L3 is known to be down: then nobody can be asked,
 * and law 7 wants that said. Who needs an answer from L3 itself (cache-aside) gets it. */
static bool exclude(se_engine *e, struct lookup *l)
{
    l->vouched = false;
    if (!e->filter || l->sure || l->candidate || se__filter_doubts(e->filter) ||
        !se__guarded_up(e->home_guard))
        return false;
    l->vouched = !se__excludes(e, l->id, l->id_len);
    if (l->vouched)
        return false;
    se__metrics_inc(e->metrics, M_FILTER_EXCLUDED);
    settle(l, SE_NOT_FOUND, NULL);
    return true;
}

/* Where L2 may hold what L3 does not, the filter is asked after it. Such an answer is not shared:
 * who follows may want L3's own, and asking the filter is no work. */
static void exclude_rest(se_engine *e, struct lookup **ask, size_t n)
{
    for (size_t i = 0; se__cache_entries(e) && i < n; i++) {
        if (!ask[i]->settled && exclude(e, ask[i]))
            ask[i]->again = true;
    }
}

static bool wants_home(se_engine *e, const struct lookup *l)
{
    (void)e;
    (void)l;
    return true;
}

/* Room for one call's reads: on the stack for a single id, else one piece of memory for all of it. */
struct room {
    struct tier_read *reads;
    size_t *from;
    struct redis_lease *leases;
    se_item **items;
};

static void ask_cache(se_engine *e, struct lookup **ask, size_t n, struct room *room,
                      uint64_t deadline_ms)
{
    size_t count = pack(e, ask, n, room->reads, room->from, wants_cache);
    if (count == 0)
        return;
    /* Where the filter is asked after L2, most of what is absent will not be loaded. */
    bool lease = !e->settings.c.read_only && !se__cache_entries(e);
    for (size_t i = 0; i < count; i++)
        room->reads[i].wants_lease = lease;
    struct tier_reply reply =
        e->cache.ops->read(e->cache.self, room->reads, count, redis_deadline(e, deadline_ms));
    if (reply.fault != TIER_FINE)
        return; /* L2 is a cache: the home tier is asked */
    for (size_t i = 0; i < count; i++) {
        struct lookup *l = ask[room->from[i]];
        l->at = i;
        take_cached(e, l, &room->reads[i]);
    }
}

/* One round trip for all ids that may be stored in L2 after the home tier was read. */
static void take_leases(se_engine *e, struct lookup **ask, size_t n, struct room *room,
                        uint64_t deadline_ms)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (ask[i]->settled || !ask[i]->wants_lease)
            continue;
        room->reads[count] = room->reads[ask[i]->at]; /* still as ask_cache left it: count <= at */
        room->from[count++] = i;
    }
    if (count == 0)
        return;
    struct tier_reply reply =
        se__redis_lease(e->redis, room->reads, room->leases, count, redis_deadline(e, deadline_ms));
    for (size_t i = 0; i < count; i++) {
        struct lookup *l = ask[room->from[i]];
        l->lease = room->leases[i];
        l->lease.taken = reply.fault == TIER_FINE && room->leases[i].taken;
    }
}

/* A durable-only item is not put where its route does not want it. */
static bool fills(const struct lookup *l)
{
    return l->lease.taken && l->settled && l->item && (se__item_route(l->item) & SE_ROUTE_L2);
}

static void fill_leases(se_engine *e, struct lookup **ask, size_t n, struct room *room,
                        uint64_t deadline_ms)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (!fills(ask[i]))
            continue;
        room->items[count] = ask[i]->item;
        room->leases[count++] = ask[i]->lease;
        if (ask[i]->corrupt_l2)
            se__metrics_inc(e->metrics, M_HEALED_L2);
    }
    if (count)
        (void)se__redis_fill(e->redis, room->items, room->leases, count,
                             redis_deadline(e, deadline_ms));
}

/* ---- home tier ---- */

/* The newer of what the home tier holds (may be NULL) and the candidate (may be NULL). */
static se_item *newest(struct lookup *l, se_item *item)
{
    se_item *candidate = l->candidate;
    l->candidate = NULL;
    if (!candidate || !item)
        return candidate ? candidate : item;
    bool ours = se__item_compare(candidate, item) > 0;
    se_item_release(ours ? item : candidate);
    return ours ? candidate : item;
}

static void settle_corrupt(se_engine *e, struct lookup *l, const struct tier_flaw *flaw)
{
    se__metrics_inc(e->metrics, e->home_is_l3 ? M_CORRUPT_L3 : M_CORRUPT_L2);
    if (l->candidate) {
        settle_item(l, newest(l, NULL));
        return;
    }
    char what[160] = "does not decode";
    if (flaw->header_fits)
        se__tier_flaw_text(flaw, what, sizeof what);
    se__error(SE_ERR_CORRUPT, "id '%s': what the home tier holds %s, and no tier has a good copy",
              l->id, what);
    settle(l, SE_ERR_CORRUPT, NULL);
}

static void take_home(se_engine *e, struct lookup *l, struct tier_read *read)
{
    if (l->vouched && e->home_is_l3)
        se__metrics_inc(e->metrics, read->found == TIER_ABSENT ? M_FILTER_FALSE : M_FILTER_PRESENT);
    if (read->found == TIER_CORRUPT) {
        settle_corrupt(e, l, &read->flaw);
        return;
    }
    if (read->found == TIER_HIT)
        se__see_version(e, se_item_version(read->item));
    se_item *item = newest(l, read->found == TIER_HIT ? read->item : NULL);
    if (item)
        settle_item(l, item);
    else
        settle(l, SE_NOT_FOUND, NULL);
}

/* The home tier did not answer: what was found above it is better than nothing, and not to be
 * cached. But no write is based on it, which would bring it back over what the home tier holds. */
static void settle_outage(struct lookup *l, se_result outage)
{
    if (l->candidate && !l->sure) {
        settle_item(l, newest(l, NULL));
    } else {
        l->held_back = l->candidate != NULL; /* a follower who only reads may have it */
        se_item_release(l->candidate);
        l->candidate = NULL;
        settle(l, outage, NULL);
    }
    l->again = true; /* not shared, not promoted */
}

static void ask_home(se_engine *e, struct lookup **ask, size_t n, struct room *room,
                     uint64_t deadline_ms)
{
    size_t count = pack(e, ask, n, room->reads, room->from, wants_home);
    if (count == 0)
        return;
    uint32_t timeout =
        e->home_is_l3 ? e->settings.c.sql_timeout_ms : e->settings.c.redis_timeout_ms;
    struct tier_reply reply =
        e->home.ops->read(e->home.self, room->reads, count, trip_deadline(timeout, deadline_ms));
    se_result outage = SE_OK;
    if (reply.fault != TIER_FINE)
        outage = se__outage(e, e->home_is_l3 ? "L3 cannot be asked" : "L2 cannot be asked");
    for (size_t i = 0; i < count; i++) {
        struct lookup *l = ask[room->from[i]];
        if (reply.fault == TIER_FINE)
            take_home(e, l, &room->reads[i]);
        else
            settle_outage(l, outage);
    }
}

/* ---- a leader's way ---- */

/* Caches what came from below, and not what L1 has just shown: if it has left meanwhile, a copy of it
 * waits there for our reference, and would wait for the new entry's. A result that a write or an
 * invalidation has overtaken is not for followers. */
static void promote(se_engine *e, struct lookup *l)
{
    bool unchanged = se__l1_epoch(e->l1, l->hash) == l->epoch;
    if (l->result == SE_OK && !l->again && !l->cached) {
        bool early = l->kept && l->came == l->item;
        se_item *item = early ? se_item_retain(l->kept)
                              : se__l1_promote(e->l1, l->hash, l->item, l->epoch, &unchanged);
        se_item_release(l->item);
        settle_item(l, item);
    }
    forget_early(l);
    l->again = l->again || !unchanged;
}

static void ask_tiers(se_engine *e, struct lookup **ask, size_t n, struct room *room,
                      uint64_t deadline_ms)
{
    for (size_t i = 0; i < n; i++) {
        struct lookup *l = ask[i];
        l->epoch = se__l1_epoch(e->l1, l->hash);
        /* again: a leader may have landed since */
        l->cached = l->seat.ended > l->moment && look_in_l1(e, l);
        if (!l->cached && e->wal)
            ask_overlay(e, l);
    }
    if (e->cache.ops) {
        ask_cache(e, ask, n, room, deadline_ms);
        exclude_rest(e, ask, n);
        take_leases(e, ask, n, room, deadline_ms);
    }
    if (e->home.ops)
        ask_home(e, ask, n, room, deadline_ms);
    if (e->cache.ops)
        fill_leases(e, ask, n, room, deadline_ms);
    for (size_t i = 0; i < n; i++) {
        if (!ask[i]->settled)
            settle(ask[i], SE_NOT_FOUND, NULL);
        promote(e, ask[i]);
    }
}

static void lead(se_engine *e, struct lookup **ask, size_t n, struct room *room,
                 uint64_t deadline_ms)
{
    ask_tiers(e, ask, n, room, deadline_ms);
    uint64_t end = se__flights_end_of(e->loads);
    for (size_t i = 0; i < n; i++) {
        struct lookup *l = ask[i];
        l->flies = false;
        /* Who joined after a write that has come and gone since the result was judged must not get
         * it, not even an outage: the write may be in the WAL. */
        if (se__flight_close(e->loads, &l->seat, end))
            continue;
        bool overtaken = se__l1_epoch(e->l1, l->hash) != l->epoch;
        /* Else an outage is everybody's: followers get it instead of asking a dead tier one after
         * the other. */
        bool outage = l->result == SE_ERR_BACKEND || l->result == SE_ERR_STATE;
        bool again = overtaken || l->held_back || (l->again && !outage);
        se__flight_land(e->loads, &l->seat, l->result, l->item, again);
    }
}

static void follow(se_engine *e, struct lookup *l, uint64_t deadline_ms)
{
    bool again;
    se_item *item;
    se_result r = se__flight_follow(e->loads, &l->seat, deadline_ms, &item, &again);
    l->flies = false;
    se__metrics_inc(e->metrics, M_LOAD_SHARED);
    if (again) {
        se_item_release(item);
        return; /* look for ourselves */
    }
    settle(l,
           r == SE_ERR_TIMEOUT ? se__error(SE_ERR_BACKEND, "id '%s': %s", l->id, se_errmsg()) : r,
           item);
}

/* ---- all of them ---- */

#define AHEAD 6 /* ids: a look into the filter takes some 30 ns, a word from memory 100 */

/* One round: every unsettled lookup leads or follows. For the first one L1 has just been asked; a
 * leader asks it again if what it asks for may have come meanwhile. */
static void round_trip(se_engine *e, struct lookup *lookups, size_t n, struct lookup **ask,
                       struct room *room, bool first, uint64_t deadline_ms)
{
    size_t leads = 0;
    uint64_t moment = first ? 0 : se__flights_moment(e->loads);
    for (size_t i = 0; i < n; i++) {
        struct lookup *l = &lookups[i];
        if (e->filter && i + AHEAD < n)
            se__filter_prefetch(e->filter, l[AHEAD].id, l[AHEAD].id_len);
        if (l->settled || (!first && look_in_l1(e, l)))
            continue;
        l->moment = first ? l->moment : moment;
        l->again = l->held_back = l->wants_lease = l->corrupt_l2 = false;
        l->lease.taken = false;
        if (!se__cache_entries(e) && exclude(e, l))
            continue;
        se__flight_join(e->loads, l->hash, l->id, l->id_len, &l->seat);
        l->flies = true;
        if (l->seat.leads)
            ask[leads++] = l;
    }
    if (leads)
        lead(e, ask, leads, room, deadline_ms);
    for (size_t i = 0; i < n;
         i++) { /* after ours have landed: two calls may wait for each other's ids */
        if (!lookups[i].settled && lookups[i].flies)
            follow(e, &lookups[i], deadline_ms);
    }
}

static void run(se_engine *e, struct lookup *lookups, size_t n, struct lookup **ask,
                struct room *room, uint64_t deadline_ms)
{
    bool open = true;
    for (bool first = true; open; first = false) {
        round_trip(e, lookups, n, ask, room, first, deadline_ms);
        open = false;
        for (size_t i = 0; i < n; i++) {
            if (lookups[i].settled)
                continue;
            if (se__deadline_left(deadline_ms) == 0)
                settle(&lookups[i],
                       se__error(SE_ERR_BACKEND, "id '%s': no answer within read_timeout_ms",
                                 lookups[i].id),
                       NULL);
            else
                open = true;
        }
    }
}

/* L1 first, for those whose callers come without having asked it. Returns how many are left. */
static size_t first_look(se_engine *e, struct lookup *lookups, size_t n)
{
    size_t left = 0;
    uint64_t moment = se__flights_moment(e->loads);
    for (size_t i = 0; i < n; i++) {
        if (lookups[i].settled)
            continue;
        lookups[i].moment = lookups[i].unseen ? moment : lookups[i].moment;
        bool hit = lookups[i].unseen && look_in_l1(e, &lookups[i]);
        lookups[i].epoch = 0;
        se__metrics_inc(e->metrics, hit ? M_OPS_L1_GET_HIT : M_OPS_L1_GET_MISS);
        left += !hit;
    }
    return left;
}

static se_result no_memory(struct lookup *lookups, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        se_item_release(lookups[i].item);
        lookups[i].item = NULL;
    }
    return se__error_nomem();
}

static se_result lookup_many(se_engine *e, struct lookup *lookups, size_t n, uint64_t deadline_ms)
{
    struct place {
        struct tier_read read;
        struct redis_lease lease;
        se_item *item;
        struct lookup *ask;
        size_t from;
    };
    /* Arrays side by side, in the order of their alignment; n ids fit into memory, or it fails. */
    char *memory = n < SIZE_MAX / sizeof(struct place) ? se__alloc(n * sizeof(struct place)) : NULL;
    if (!memory)
        return no_memory(lookups, n);
    struct room room = {.reads = (void *)memory};
    room.items = (void *)(room.reads + n);
    struct lookup **ask = (void *)(room.items + n);
    room.from = (void *)(ask + n);
    room.leases = (void *)(room.from + n);
    run(e, lookups, n, ask, &room, deadline_ms);
    se__free(memory);
    return SE_OK;
}

se_result se__lookup(se_engine *e, struct lookup *lookups, size_t n, uint64_t deadline_ms)
{
    if (n == 1) {
        struct tier_read read;
        size_t from;
        struct redis_lease lease;
        se_item *item;
        struct lookup *ask;
        struct room room = {&read, &from, &lease, &item};
        if (first_look(e, lookups, 1) == 0)
            return SE_OK; /* epoch 0: what a hit is a basis for stands on its entry */
        lookups->epoch = se__l1_epoch(e->l1, lookups->hash);
        run(e, lookups, 1, &ask, &room, deadline_ms);
        return SE_OK;
    }
    if (first_look(e, lookups, n) == 0)
        return SE_OK;
    return lookup_many(e, lookups, n, deadline_ms);
}
