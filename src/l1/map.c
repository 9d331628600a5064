/*
 * map - see map.h. This file: life, reservations, puts, numbers. Reading and loads are in read.c,
 * the way of dirty items in flight.c, eviction and upkeep in evict.c, one stripe's table and
 * account in stripe.c.
 *
 * Memory: a put reserves what its entry and item will take, at most, before it allocates
 * (se__l1_cost: known beforehand, so nothing is corrected later); the bytes that an evictor frees
 * are its own at once, no other can take them first. Tables count as well.
 *
 * A replaced item that callers still hold needs a place in the detached list: the entry which the
 * ticket brought, not needed any more, is that place. So nothing here allocates once a put has
 * begun.
 */
#include "l1/stripe.h"

#include "base/hash.h"
#include "base/hlc.h"
#include "base/mem.h"

#include <assert.h>

#define STRIPE_BITS_MAX 6u
#define NEAR_CLOCK_MS 60000 /* more than a version waits between its making and its put */

/* Fewer stripes where the stripes themselves would take much of a small map. */
static unsigned stripe_bits_for(size_t bytes_max)
{
    unsigned bits = STRIPE_BITS_MAX;
    while (bits > 0 && (sizeof(struct stripe) << bits) > bytes_max / 16)
        bits--;
    return bits;
}

static se_result open_stripes(struct l1 *map)
{
    unsigned n = 1u << map->stripe_bits;
    map->stripes = se__alloc_zeroed(n, sizeof *map->stripes);
    if (!map->stripes)
        return se__error_nomem();
    map->fixed_bytes = se__l1_cost(sizeof *map) + se__l1_cost(n * sizeof *map->stripes);
    for (unsigned i = 0; i < n; i++) {
        se_result r = se__stripe_open(&map->stripes[i]);
        if (r != SE_OK)
            return r;
        map->fixed_bytes += se__stripe_table_bytes(&map->stripes[i]);
    }
    if (map->fixed_bytes >= map->bytes_max)
        return se__error(SE_ERR_CONFIG,
                         "l1_max_bytes: %zu bytes are too few, an empty map takes %zu",
                         map->bytes_max, map->fixed_bytes);
    atomic_store_explicit(&map->used, map->fixed_bytes, memory_order_relaxed);
    return SE_OK;
}

se_result se__l1_open(const struct l1_options *options, struct l1 **map)
{
    struct l1 *m = se__alloc_zeroed(1, sizeof *m);
    if (!m)
        return se__error_nomem();
    m->bytes_max = options->bytes_max;
    m->seed = options->seed;
    m->resident = options->resident;
    m->sink = options->sink;
    m->metrics = options->metrics;
    m->stripe_bits = stripe_bits_for(options->bytes_max);
    se_result r = open_stripes(m);
    if (r != SE_OK) {
        se__l1_close(m);
        return r;
    }
    *map = m;
    return SE_OK;
}

void se__l1_close(struct l1 *map)
{
    if (!map)
        return;
    for (unsigned i = 0; map->stripes && i < 1u << map->stripe_bits; i++)
        se__stripe_close(&map->stripes[i]);
    se__free(map->stripes);
    se__free(map);
}

uint64_t se__l1_hash(const struct l1 *map, const char *id, size_t id_len)
{
    return se__hash64(map->seed, id, id_len);
}

/* ---- room ---- */

/* Reserves `bytes`, evicting what is missing. What an eviction freed
 * stays reserved for this caller. */
static bool reserve_evicting(struct l1 *map, size_t bytes)
{
    size_t mine = 0;
    while (mine < bytes && !se__l1_reserve(map, bytes - mine)) {
        size_t used = atomic_load_explicit(&map->used, memory_order_relaxed);
        size_t missing = bytes - mine, room = map->bytes_max - used;
        if (missing <= room)
            continue; /* room came up since the attempt */
        size_t got = se__l1_evict(map, missing - room);
        mine += got;
        if (got == 0) {
            se__l1_unreserve(map, mine);
            return false;
        }
    }
    if (mine > bytes)
        se__l1_unreserve(map, mine - bytes);
    return true;
}

static se_result reserve_ticket(struct l1 *map, size_t bytes)
{
    if (bytes > map->bytes_max - map->fixed_bytes)
        return se__error(SE_ERR_TOO_BIG,
                         "an item that takes %zu bytes can never fit into l1_max_bytes %zu", bytes,
                         map->bytes_max);
    if (!reserve_evicting(map, bytes))
        return se__error(SE_ERR_BACKPRESSURE, "memory is full of items that may not be dropped");
    atomic_fetch_add_explicit(&map->unevictable, bytes, memory_order_relaxed);
    return SE_OK;
}

void se__l1_settle(struct l1 *map, struct l1_ticket *ticket, size_t kept)
{
    assert(kept <= ticket->bytes); /* prepared for this item or a larger one */
    se__l1_unreserve(map, ticket->bytes - kept);
    atomic_fetch_sub_explicit(&map->unevictable, ticket->bytes, memory_order_relaxed);
    *ticket = (struct l1_ticket){0};
}

se_result se__l1_prepare(struct l1 *map, size_t id_len, size_t item_size, struct l1_ticket *ticket)
{
    (void)id_len; /* the id is part of the item's one allocation */
    if (item_size > map->bytes_max)
        return se__error(SE_ERR_TOO_BIG, "an item of %zu bytes can never fit into l1_max_bytes %zu",
                         item_size, map->bytes_max);
    struct l1_ticket t = {.bytes = se__l1_cost(sizeof(struct entry)) + item_size};
    se_result r = reserve_ticket(map, t.bytes);
    if (r != SE_OK)
        return r;
    t.entry = se__alloc_zeroed(1, sizeof(struct entry));
    if (!t.entry) {
        se__l1_settle(map, &t, 0);
        return se__error_nomem();
    }
    *ticket = t;
    return SE_OK;
}

void se__l1_cancel(struct l1 *map, struct l1_ticket *ticket)
{
    se__free(ticket->entry);
    se__l1_settle(map, ticket, 0);
}

/* ---- putting ---- */

static bool expectation_holds(const struct stripe *s, const struct entry *e,
                              const struct l1_put *how)
{
    if (how->expect == L1_EXPECT_ANY)
        return true;
    /* Nothing that a read would show: the reader's answer came from below, and holds while nothing
     * written here has left. An entry past its life is none of that: a read drops it, so it came
     * after the reader's. */
    if (!e || e->hidden)
        return how->expected_epoch == s->epoch;
    switch (how->expect) {
    case L1_EXPECT_ABSENT:
        return se__item_deleted(e->item) || se__item_expired(e->item, how->now_wall_ms);
    case L1_EXPECT_VERSION:
        return se_item_version(e->item) == how->expected_version;
    case L1_EXPECT_ANY:
        break;
    }
    return true;
}

/* The entry holds this item or a newer one. Not if somebody has loaded the item from the WAL before
 * its writer came here with it: that copy is clean, and only the writer's put sends it home. */
static bool is_stale(const struct entry *e, const se_item *item)
{
    int order = se__item_compare(e->item, item);
    return order > 0 || (order == 0 && e->put_version == se_item_version(item));
}

/* `item` is older than the entry's, but that is based on something older still (se_set_state,
 * cache-aside) and took its version while `item` was on its way: nothing that replaced `item`
 * has ever seen it. */
static bool was_overlooked(const struct stripe *s, const struct entry *e, const se_item *item)
{
    uint64_t version = se_item_version(item);
    if (e->based_on)
        return version >= e->based_on;
    return !e->written && version <= s->based_floor; /* it left, and has been loaded again */
}

static enum l1_stored judge(const struct stripe *s, const struct entry *e, const se_item *item,
                            const struct l1_put *how, struct l1_put_result *result)
{
    if (!e && how->renewable && se_item_version(item) <= s->floor) {
        result->renew = true;
        result->winner = s->floor;
        return L1_STALE;
    }
    if (!e)
        return expectation_holds(s, e, how) ? L1_STORED : L1_CONFLICT;
    enum l1_stored stored = !expectation_holds(s, e, how) ? L1_CONFLICT
                            : is_stale(e, item)           ? L1_STALE
                                                          : L1_STORED;
    if (stored != L1_STORED) {
        result->winner = se_item_version(e->item);
        result->winner_dirty = se__entry_unconfirmed(e);
        result->renew = stored == L1_STALE && how->renewable && was_overlooked(s, e, item);
    } else {
        result->superseded = e->queued;
        result->dead_replaced = e->dead;
    }
    return stored;
}

void se__entry_queue(struct l1 *map, struct entry *e, bool front, uint64_t first_ms)
{
    e->queued = true;
    e->node.next = NULL;
    e->node.first_ms = first_ms;
    e->node.bytes = se__item_size(e->item);
    map->sink.push(map->sink.arg, &e->node, front);
}

/* A version far ahead of the clock must not raise the stripe's floor: all ids of the
 * stripe would have to go above it. */
static bool near_clock(const se_item *item, const struct l1_put *how)
{
    uint64_t version = se_item_version(item);
    return version <= how->clock || se__version_ms(version) <= how->now_wall_ms + NEAR_CLOCK_MS;
}

/* What an entry will be based on once the item is in it; see struct entry. */
static uint64_t basis(const struct stripe *s, const struct entry *e, const struct l1_put *how)
{
    if (how->expect == L1_EXPECT_ANY)
        return 0;
    if (e && e->based_on)
        return e->based_on;
    uint64_t version = how->expect == L1_EXPECT_VERSION ? how->expected_version
                       : e && !e->hidden                ? se_item_version(e->item)
                                                        : 0;
    if ((!e || !e->written) && version <= s->based_floor)
        return 1; /* maybe itself based on something that has left: on nothing, to be sure */
    return version + 1;
}

/* Publishes item in e, or in the ticket's entry if there is none. Returns how many bytes
 * the map holds more than before. */
static size_t publish(struct l1 *map, struct stripe *s, struct entry *e, uint64_t hash,
                      se_item *item, struct l1_ticket *ticket, const struct l1_put *how,
                      struct entry **victims, size_t *left)
{
    uint64_t based_on = basis(s, e, how);
    *left = 0;
    if (e) {
        *left = se__entry_bytes(e);
        se__stripe_leave(map, s, e);
        se__stripe_replace(s, e, item, ticket->entry, victims);
    } else {
        e = ticket->entry;
        se__stripe_add(map, s, e, hash, item);
    }
    e->based_on = based_on;
    e->written = true;
    e->dead = false;
    if (near_clock(item, how))
        e->put_version = se_item_version(item);
    if (how->dirty && !e->queued)
        se__entry_queue(map, e, false, e->since_ms);
    se__stripe_enter(map, s, e);
    return se__entry_bytes(e);
}

void se__l1_put(struct l1 *map, uint64_t hash, se_item *item, struct l1_ticket *ticket,
                const struct l1_put *how, struct l1_put_result *result)
{
    struct stripe *s = se__l1_stripe(map, hash);
    struct entry *victims = NULL;
    size_t kept = 0, left = 0;
    *result = (struct l1_put_result){0};
    se__mutex_lock(&s->lock);
    struct entry *e = se__stripe_find(s, hash, se_item_id(item), se__item_id_len(item));
    result->stored = judge(s, e, item, how, result);
    if (result->stored == L1_STORED)
        kept = publish(map, s, e, hash, item, ticket, how, &victims, &left);
    se__mutex_unlock(&s->lock);
    se__l1_free_victims(victims);
    if (result->renew)
        return; /* the ticket is for the next try */
    if (result->stored != L1_STORED)
        se__free(ticket->entry);
    se__l1_settle(map, ticket, kept);
    se__l1_unreserve(map, left);
}

/* ---- numbers ---- */

size_t se__l1_unevictable_bytes(const struct l1 *map)
{
    return atomic_load_explicit(&map->unevictable, memory_order_relaxed);
}

void se__l1_stats(const struct l1 *map, struct l1_stats *stats)
{
    struct l1_stats sum = {.bytes = atomic_load_explicit(&map->used, memory_order_relaxed),
                           .unevictable_bytes = se__l1_unevictable_bytes(map)};
    for (unsigned i = 0; i < 1u << map->stripe_bits; i++) {
        const struct stripe *s = &map->stripes[i];
        sum.items += atomic_load_explicit(&s->live, memory_order_relaxed);
        sum.dirty_items += atomic_load_explicit(&s->dirty, memory_order_relaxed);
        sum.dead_items += atomic_load_explicit(&s->dead, memory_order_relaxed);
        sum.detached_items += atomic_load_explicit(&s->detached_items, memory_order_relaxed);
        sum.detached_bytes += atomic_load_explicit(&s->detached_bytes, memory_order_relaxed);
    }
    *stats = sum;
}
