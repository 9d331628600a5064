/*
 * map - see map.h. This file: life and puts. Reading and loads are in read.c, the way of dirty items
 * in flight.c, bytes and tickets in room.c, one stripe in stripe.c with its table in table.c and
 * what leaves it in limbo.c, eviction in evict.c, lives and sweeping in lives.c.
 *
 * Memory: a put reserves what its item and flush state will take, at most, before it allocates
 * (se__alloc_cost: known beforehand, so nothing is corrected later). Tables count as well, and what is
 * retired and not yet freed.
 */
#include "l1/stripe.h"

#include "base/hash.h"
#include "base/hlc.h"
#include "base/mem.h"

#include <assert.h>

/* More stripes where they would have twice that, since slots are numbered in 16 bits; no more, since
 * the fewer items a stripe has, the less its queues know (row 9). So a small map, where items may be
 * few, is one stripe up to the most that its slots can number. */
#define STRIPE_BYTES (2048u * 1024)
#define ONE_STRIPE_BYTES (6144u * 1024)
#define NEAR_CLOCK_MS 60000 /* more than a version waits between its making and its put */

/* ---- life ---- */

static unsigned stripe_bits_for(size_t bytes_max)
{
    unsigned bits = 0;
    if (bytes_max < ONE_STRIPE_BYTES)
        return 0;
    while (bytes_max >> (bits + 1) >= STRIPE_BYTES)
        bits++;
    return bits;
}

/* So many threads can read without an atomic addition; a quarter as many rows are for all others. */
static unsigned own_rows_for(size_t bytes_max)
{
    return bytes_max < 1024u * 1024 ? 8 : bytes_max < 64u * 1024 * 1024 ? 64 : 256;
}

static unsigned accounts_for(size_t bytes_max)
{
    return bytes_max < 1024u * 1024 ? 1 : 16;
}

/* One block, aligned to cache lines by hand: the size of what malloc takes is known so. */
static char *open_block(struct l1 *map, size_t bytes)
{
    map->memory = se__alloc_zeroed(1, bytes + SE__EPOCH_LINE);
    if (!map->memory)
        return NULL;
    map->fixed_bytes += se__alloc_cost(bytes + SE__EPOCH_LINE);
    return (char *)map->memory + (-(uintptr_t)map->memory % SE__EPOCH_LINE);
}

static se_result open_parts(struct l1 *map)
{
    size_t stripes = (size_t)1 << map->stripe_bits;
    unsigned own = own_rows_for(map->bytes_max), shared = own / 4;
    unsigned accounts = accounts_for(map->bytes_max);
    char *block = open_block(map, stripes * (sizeof(struct stripe) + sizeof(struct front)) +
                                      accounts * sizeof(struct account) +
                                      SE__EPOCH_ROWS(own, shared) * sizeof(struct epoch_row));
    if (!block)
        return se__error_nomem();
    map->accounts = (struct account *)block;
    map->account_mask = accounts - 1;
    se__epochs_init(&map->epochs, (struct epoch_row *)(map->accounts + accounts), own, shared);
    map->stripes = (struct stripe *)(map->epochs.rows + SE__EPOCH_ROWS(own, shared));
    map->fronts = (struct front *)(map->stripes + stripes);
    for (size_t i = 0; i < stripes; i++) {
        se_result r = se__stripe_open(&map->stripes[i], &map->fronts[i], &map->fixed_bytes);
        if (r != SE_OK)
            return r;
    }
    return SE_OK;
}

static se_result open_map(struct l1 *map)
{
    if (map->bytes_max < sizeof(struct stripe) + sizeof *map)
        return se__error(SE_ERR_CONFIG, "l1_max_bytes: %zu bytes are too few", map->bytes_max);
    se_result r = open_parts(map);
    if (r != SE_OK)
        return r;
    if (map->fixed_bytes >= map->bytes_max)
        return se__error(SE_ERR_CONFIG,
                         "l1_max_bytes: %zu bytes are too few, an empty map takes %zu",
                         map->bytes_max, map->fixed_bytes);
    map->lease = map->bytes_max / (map->account_mask + 1) / 256;
    map->limbo_share = (map->bytes_max >> map->stripe_bits) / 64;
    atomic_init(&map->free, map->bytes_max - map->fixed_bytes);
    return SE_OK;
}

se_result se__l1_open(const struct l1_options *options, struct l1 **map)
{
    size_t bytes = sizeof(struct l1) + SE__EPOCH_LINE;
    char *memory = se__alloc_zeroed(1, bytes);
    if (!memory)
        return se__error_nomem();
    struct l1 *m = (struct l1 *)(memory + (-(uintptr_t)memory % SE__EPOCH_LINE));
    m->self = memory;
    m->fixed_bytes = se__alloc_cost(bytes);
    m->bytes_max = options->bytes_max;
    se__hash_secret(options->seed, &m->secret);
    m->resident = options->resident;
    m->pages.wanted = options->huge_pages && se__alloc_is_malloc() && se__huge_pages_allowed();
    m->sink = options->sink;
    m->metrics = options->metrics;
    m->stripe_bits = stripe_bits_for(options->bytes_max);
    m->stripe_mask = (1u << m->stripe_bits) - 1;
    m->front_mask = m->stripe_mask * (uint32_t)sizeof(struct front);
    m->opened_ms = se__mono_ms();
    se_result r = open_map(m);
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
    se__l1_pages_close(map);
    for (size_t i = 0; map->stripes && i < (size_t)1 << map->stripe_bits; i++)
        se__stripe_close(&map->stripes[i]);
    for (size_t i = 0; map->accounts && i <= map->account_mask; i++)
        for (unsigned k = 0; k < map->accounts[i].limbo_n; k++)
            se__retired_free(map->accounts[i].limbo[k].what);
    se__free(map->memory);
    se__free(map->self);
}

uint64_t se__l1_hash(const struct l1 *map, const char *id, size_t id_len)
{
    return se__hash_id(&map->secret, id, id_len);
}

/* ---- what a put will look at ---- */

void se__l1_expect_bucket(struct l1 *map, uint64_t hash)
{
    const char *stripe = (const char *)se__l1_stripe(map, hash);
    __builtin_prefetch(stripe, 1);
    __builtin_prefetch(stripe + SE__EPOCH_LINE, 1);
    se__l1_prefetch(map, hash);
}

/* An item up to its id, or a flush state. */
static void fetch_entry(uintptr_t word)
{
    const char *at = (const char *)(word & WORD_POINTER);
    __builtin_prefetch(at, 1);
    __builtin_prefetch(at + SE__EPOCH_LINE, 1);
}

void se__l1_expect_entry(struct l1 *map, uint64_t hash)
{
    struct epoch_place inside = se__epoch_enter(&map->epochs);
    const struct table *t = atomic_load(&se__l1_front(map, hash)->table);
    uint32_t bucket = se__bucket_of(t->buckets, hash);
    uint64_t tags = atomic_load_explicit(&t->heads[bucket].tags, memory_order_acquire);
    uint64_t match = se__table_match(tags, se__table_tag(hash));
    if (match)
        fetch_entry(atomic_load(se__table_word(t, bucket * BUCKET_SLOTS + se__table_first(match))));
    se__epoch_leave(inside);
}

/* ---- putting ---- */

/* A put, as it is published in one locked stripe. */
struct publication {
    struct l1 *map;
    struct stripe *s;
    uint64_t hash;
    se_item *item;
    const struct l1_put *how;
    struct flush_state *spare; /* the ticket's; NULL once it is in use */
    struct account *account; /* whose limbo takes what the put replaces; NULL: the stripe's does */
    se_item *left;           /* out: for that limbo */
};

static bool expectation_holds(const struct publication *p, const struct entry *e)
{
    const struct l1_put *how = p->how;
    if (how->expect == L1_EXPECT_ANY)
        return true;
    /* Nothing that a read would show: the reader's answer came from below, and holds while nothing
     * written here has left. An entry past its life is none of that: a read drops it, so it came
     * after the reader's. */
    if (!e || se__entry_hidden(e))
        return how->expected_epoch ==
               atomic_load_explicit(se__stripe_epoch(p->s, p->hash), memory_order_relaxed);
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
    return order > 0 || (order == 0 && e->marks & MARK_PUT);
}

/* `item` is older than the entry's, but that is based on something older still (se_set_state,
 * cache-aside) and took its version while `item` was on its way: nothing that replaced `item`
 * has ever seen it. */
static bool was_overlooked(const struct stripe *s, const struct entry *e, const se_item *item)
{
    uint64_t version = se_item_version(item);
    if (e->based_on)
        return version >= e->based_on;
    return !(e->marks & MARK_WRITTEN) && version <= s->based_floor; /* left, and loaded again */
}

static enum l1_stored judge(const struct publication *p, const struct entry *e,
                            struct l1_put_result *result)
{
    const struct stripe *s = p->s;
    const se_item *item = p->item;
    if (!e && p->how->renewable && se_item_version(item) <= s->floor) {
        result->renew = true;
        result->winner = s->floor;
        return L1_STALE;
    }
    if (!e)
        return expectation_holds(p, e) ? L1_STORED : L1_CONFLICT;
    enum l1_stored stored = !expectation_holds(p, e) ? L1_CONFLICT
                            : is_stale(e, item)      ? L1_STALE
                                                     : L1_STORED;
    if (stored != L1_STORED) {
        result->winner = se_item_version(e->item);
        result->winner_dirty = se__flush_unconfirmed(e->flush);
        result->winner_ends =
            e->flush && (e->flush->queued || e->flush->flight >= se_item_version(item));
        result->renew = stored == L1_STALE && p->how->renewable && was_overlooked(s, e, item);
    } else if (e->flush) {
        result->superseded = e->flush->queued;
        result->dead_replaced = e->flush->dead;
    }
    return stored;
}

/* A version far ahead of the clock must not raise the stripe's floor: all ids of the
 * stripe would have to go above it. */
static bool near_clock(const se_item *item, const struct l1_put *how)
{
    uint64_t version = se_item_version(item);
    return version <= how->clock || se__version_ms(version) <= how->now_wall_ms + NEAR_CLOCK_MS;
}

/* What an entry will be based on once the item is in it; see struct flush_state. */
static uint64_t basis(const struct stripe *s, const struct entry *e, const struct l1_put *how)
{
    if (how->expect == L1_EXPECT_ANY)
        return 0;
    if (e && e->based_on)
        return e->based_on;
    uint64_t version = how->expect == L1_EXPECT_VERSION ? how->expected_version
                       : e && !se__entry_hidden(e)      ? se_item_version(e->item)
                                                        : 0;
    if ((!e || !(e->marks & MARK_WRITTEN)) && version <= s->based_floor)
        return 1; /* maybe itself based on something that has left: on nothing, to be sure */
    return version + 1;
}

static void take_spare(struct publication *p, struct entry *e)
{
    e->flush = p->spare;
    *e->flush = (struct flush_state){.node.hash = p->hash};
    p->spare = NULL;
}

/* What a caller holds is the stripe's to look after. */
static void leave_behind(struct publication *p, se_item *old)
{
    if (p->account && se__item_refs(old) == 1)
        p->left = old;
    else
        se__stripe_retire(p->map, p->s, (uintptr_t)old);
}

/* Publishes the item in e (present) or in a new entry. Returns how many bytes of the
 * ticket the map has kept. */
static size_t publish(struct publication *p, struct entry *e, bool present)
{
    uint64_t based_on = basis(p->s, present ? e : NULL, p->how);
    se_item *old = NULL;
    bool had_state = p->spare != NULL, near = near_clock(p->item, p->how);
    if (present) {
        se__stripe_leave(p->map, p->s, e);
        if (p->how->dirty && !e->flush)
            take_spare(p, e);
        old = se__stripe_replace(p->map, p->s, e, p->item, near);
        se__stripe_touch(p->s, e);
    } else {
        bool added = se__stripe_add(p->map, p->s, p->hash, p->item, p->how->dirty, &p->spare, e);
        assert(added); /* it has the ticket's state to be in */
        (void)added;
    }
    e->based_on = based_on;
    e->marks |= (uint8_t)(MARK_WRITTEN | (near ? MARK_PUT : 0));
    if (e->flush)
        e->flush->dead = false;
    if (p->how->dirty && !e->flush->queued)
        se__entry_queue(p->map, e, false, se__mono_ms());
    se__stripe_enter(p->map, p->s, e);
    if (old)
        leave_behind(p, old);
    return se__item_size_inline(p->item) +
           (had_state && !p->spare ? se__alloc_cost(sizeof(struct flush_state)) : 0);
}

/* Under the stripe's lock. Returns as publish does. */
static size_t judge_and_publish(struct publication *p, struct l1_put_result *result)
{
    struct entry e;
    const se_item *item = p->item;
    bool present = se__stripe_find(p->s, p->hash, item->bytes, item->id_len, &e);
    result->stored = judge(p, present ? &e : NULL, result);
    if (result->stored != L1_STORED)
        return 0;
    if (!p->how->gives) /* before anybody else can see it */
        se__item_hold(p->item);
    return publish(p, &e, present);
}

void se__l1_put(struct l1 *map, uint64_t hash, se_item *item, struct l1_ticket *ticket,
                const struct l1_put *how, struct l1_put_result *result)
{
    struct account *a = se__l1_account(map);
    struct publication p = {map,
                            se__l1_stripe(map, hash),
                            hash,
                            item,
                            how,
                            ticket->entry,
                            .account = se__account_begin(map, a) ? a : NULL};
    *result = (struct l1_put_result){0};
    se__mutex_lock(&p.s->lock);
    size_t kept = judge_and_publish(&p, result);
    bool misfits = kept && se__stripe_misfits(p.s);
    size_t unevictable = p.s->unevictable_change;
    p.s->unevictable_change = 0; /* settled with the ticket, of which it is a part */
    se__stripe_end(map, p.s, false);
    if (p.account)
        se__l1_unreserve(map, se__account_end(map, a, p.left));
    if (result->renew)
        return; /* the ticket is for the next try */
    if (p.spare)
        se__free(p.spare);
    se__l1_settle_put(map, ticket, kept, unevictable);
    if (misfits)
        se__stripe_fit(map, p.s);
}
