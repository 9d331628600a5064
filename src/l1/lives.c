/*
 * lives - copies end: cache_ttl_ms, the clean life, expires_at_ms, tombstones of a resident map;
 * and what walks whole stripes to end them.
 *
 * When a copy came here is a word in its item: milliseconds since the map was opened, modulo 2^32,
 * read as the nearest such time. So a cache_ttl_ms of more than twenty days ends after twenty.
 *
 * The sweep goes round the stripes, some buckets a lock. Each bucket says by when something in it
 * ends (`due`, in seconds since the opening, modulo 2^16; what ends later than nine hours from now
 * is looked at then, and noted anew): so the sweep reads a row of small heads, and touches items
 * only where one has ended. Only a clean life, which ends everything, makes it look at everything.
 */
#include "l1/stripe.h"

#include <string.h>

#define SWEEP_BUCKETS_MIN 4096u /* looked at by one se__l1_tend, at least */
#define SWEEP_ROUNDS 64u        /* a whole round of the sweep takes at most this many se__l1_tend */
#define SWEEP_PER_LOCK 256u
#define TOMBSTONE_RESIDENT_MS 60000u /* far longer than a put takes from its version to the map */
#define TTL_MAX_MS UINT32_C(1728000000)
#define DUE_MAX_S 32400

/* ---- copies ---- */

static uint32_t age_ms(const struct l1 *map, const se_item *item, uint64_t now_ms)
{
    int32_t age = (int32_t)((uint32_t)(now_ms - map->opened_ms) - se__item_since(item));
    return age > 0 ? (uint32_t)age : 0;
}

void se__mortal_born(const struct l1 *map, se_item *item)
{
    bool matters = se__item_cache_ttl_ms(item) ||
                   atomic_load_explicit(&map->life_ms, memory_order_acquire) ||
                   (map->resident && se__item_deleted(item));
    /* Without, it can only be asked for under a clean life that begins later, and counts from
     * there. */
    se__item_set_since(item, matters ? (uint32_t)(se__mono_ms() - map->opened_ms) : 0);
}

bool se__copy_past_life(const struct l1 *map, const se_item *item, uint64_t now_ms)
{
    uint64_t ttl = se__item_cache_ttl_ms(item);
    uint32_t life = atomic_load_explicit(&map->life_ms, memory_order_acquire);
    if (map->resident || (ttl == 0 && life == 0))
        return false;
    if (now_ms == 0)
        now_ms = se__mono_ms();
    uint64_t age = age_ms(map, item, now_ms);
    if (ttl && age >= (ttl < TTL_MAX_MS ? ttl : TTL_MAX_MS))
        return true;
    uint64_t from = atomic_load_explicit(&map->life_set_ms, memory_order_relaxed);
    if (from < now_ms - age)
        from = now_ms - age;
    return life && now_ms >= from && now_ms - from >= life;
}

bool se__entry_past_life(const struct l1 *map, const struct entry *e, uint64_t now_ms)
{
    return se__flush_clean(e->flush) && se__copy_past_life(map, e->item, now_ms);
}

/* ---- when to look ---- */

/* Milliseconds from now until a copy ends by itself; UINT64_MAX: it does not. */
static uint64_t ends_in(const struct l1 *map, const se_item *item, int64_t now_wall_ms,
                        uint64_t now_ms)
{
    uint64_t first = UINT64_MAX;
    int64_t expires = se__item_expires_at_ms(item);
    uint64_t ttl = map->resident ? 0 : se__item_cache_ttl_ms(item);
    if (map->resident && se__item_deleted(item))
        ttl = TOMBSTONE_RESIDENT_MS;
    if (expires)
        first = expires > now_wall_ms ? (uint64_t)(expires - now_wall_ms) : 0;
    if (ttl) {
        uint64_t age = age_ms(map, item, now_ms);
        uint64_t left = ttl > age ? ttl - age : 0;
        first = left < first ? left : first;
    }
    return first;
}

static uint16_t due_second(const struct l1 *map, uint64_t now_ms, uint64_t in_ms)
{
    uint64_t most = (uint64_t)DUE_MAX_S * 1000;
    return (uint16_t)((now_ms - map->opened_ms + (in_ms < most ? in_ms : most)) / 1000);
}

static void note_due(struct bucket_head *h, uint16_t due)
{
    if (!h->has_due || (int16_t)(due - h->due) < 0)
        h->due = due;
    h->has_due = true;
}

static bool is_mortal(const struct l1 *map, const se_item *item)
{
    return se__item_expires_at_ms(item) || se__item_cache_ttl_ms(item) ||
           (map->resident && se__item_deleted(item));
}

void se__mortal_due(const struct l1 *map, struct stripe *s, const struct entry *e)
{
    if (!is_mortal(map, e->item))
        return;
    uint64_t now_ms = se__mono_ms();
    uint64_t in_ms = ends_in(map, e->item, se__wall_ms(), now_ms);
    if (in_ms != UINT64_MAX)
        note_due(&se__stripe_table(s)->heads[e->slot / BUCKET_SLOTS],
                 due_second(map, now_ms, in_ms));
}

/* ---- the sweep ---- */

struct sweep {
    int64_t now_wall_ms;
    uint64_t now_ms;
    bool all; /* there is a clean life */
    size_t left;
};

static bool has_ended(const struct l1 *map, const struct entry *e, const struct sweep *now)
{
    if (!se__flush_clean(e->flush))
        return false;
    if (map->resident && se__item_deleted(e->item) &&
        age_ms(map, e->item, now->now_ms) >= TOMBSTONE_RESIDENT_MS)
        return true;
    return se__item_expired(e->item, now->now_wall_ms) || se__entry_past_life(map, e, now->now_ms);
}

static void sweep_entry(struct l1 *map, struct stripe *s, struct entry *e, struct sweep *now,
                        struct bucket_head *h)
{
    if (has_ended(map, e, now)) {
        se__stripe_remove(map, s, e);
        now->left++;
    } else if (h && is_mortal(map, e->item)) {
        /* one that is not clean may have ended: looked at in a second again */
        uint64_t in_ms = ends_in(map, e->item, now->now_wall_ms, now->now_ms);
        note_due(h,
                 due_second(map, now->now_ms, in_ms || se__flush_clean(e->flush) ? in_ms : 1000));
    }
}

static void sweep_bucket(struct l1 *map, struct stripe *s, uint32_t bucket, struct sweep *now)
{
    struct bucket_head *h = &se__stripe_table(s)->heads[bucket];
    uint16_t second = due_second(map, now->now_ms, 0);
    if (!now->all && !(h->has_due && (int16_t)(second - h->due) >= 0))
        return;
    h->has_due = false;
    for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
        struct entry e;
        if (se__stripe_at(s, bucket * BUCKET_SLOTS + i, &e))
            sweep_entry(map, s, &e, now, h);
    }
}

static void sweep_loose(struct l1 *map, struct stripe *s, struct sweep *now)
{
    for (struct flush_state *f = se__stripe_loose(s), *next; f; f = next) {
        struct entry e;
        next = atomic_load(&f->loose);
        se__stripe_find_flush(s, f, &e);
        sweep_entry(map, s, &e, now, NULL);
    }
}

static void next_stripe(struct l1 *map)
{
    map->sweep_bucket = 0;
    map->sweep_stripe = (map->sweep_stripe + 1) & ((1u << map->stripe_bits) - 1);
}

/* One lock's worth of the sweep. Returns how many buckets it has cost. */
static size_t sweep_some(struct l1 *map, struct sweep *now)
{
    struct stripe *s = &map->stripes[map->sweep_stripe];
    size_t left = now->left;
    se__mutex_lock(&s->lock);
    size_t buckets = se__stripe_table(s)->buckets, from = map->sweep_bucket;
    size_t to = from + SWEEP_PER_LOCK < buckets ? from + SWEEP_PER_LOCK : buckets;
    for (size_t b = from; b < to; b++)
        sweep_bucket(map, s, (uint32_t)b, now);
    if (from == 0)
        sweep_loose(map, s, now);
    bool ends = to == buckets;
    if (ends)
        s->resize_above = 0; /* what failed is tried again */
    bool misfits = ends && se__stripe_misfits(s);
    map->sweep_bucket = to;
    se__stripe_end(map, s, now->left > left);
    if (misfits)
        se__stripe_fit(map, s); /* it shrinks after most have left */
    if (ends)
        next_stripe(map);
    return to > from ? to - from : 1;
}

static size_t count_buckets(struct l1 *map)
{
    size_t buckets = 0;
    for (size_t i = 0; i < 1u << map->stripe_bits; i++) {
        se__mutex_lock(&map->stripes[i].lock); /* or its table could be freed meanwhile */
        buckets += se__stripe_table(&map->stripes[i])->buckets;
        se__mutex_unlock(&map->stripes[i].lock);
    }
    return buckets;
}

void se__l1_sweep(struct l1 *map, int64_t now_wall_ms, uint64_t now_mono_ms)
{
    struct sweep now = {.now_wall_ms = now_wall_ms,
                        .now_ms = now_mono_ms ? now_mono_ms : se__mono_ms(),
                        .all = atomic_load_explicit(&map->life_ms, memory_order_relaxed) != 0};
    size_t buckets = count_buckets(map), budget = buckets / SWEEP_ROUNDS;
    if (budget < SWEEP_BUCKETS_MIN)
        budget = SWEEP_BUCKETS_MIN;
    if (budget > buckets)
        budget = buckets; /* a small map is swept whole, once */
    for (size_t spent = 0; spent < budget;)
        spent += sweep_some(map, &now);
    if (map->metrics && now.left)
        se__metrics_add(map->metrics, M_EVICTED_EXPIRED, now.left);
}

/* ---- invalidation ---- */

/* Drops a clean copy now and any other as soon as it is clean. Returns whether it left. */
static bool forget(struct l1 *map, struct stripe *s, struct entry *e)
{
    if (!se__flush_clean(e->flush)) {
        e->flush->doubted = true;
        return false;
    }
    se__stripe_remove(map, s, e);
    return true;
}

static void count_invalidated(struct l1 *map, size_t n)
{
    if (map->metrics && n)
        se__metrics_add(map->metrics, M_EVICTED_INVALIDATED, n);
}

void se__l1_invalidate(struct l1 *map, uint64_t hash, const char *id, size_t id_len)
{
    if (map->resident)
        return;
    struct stripe *s = se__l1_stripe(map, hash);
    struct entry e;
    se__mutex_lock(&s->lock);
    bool left = se__stripe_find(s, hash, id, id_len, &e) && forget(map, s, &e);
    se__stripe_advance_epoch(s, hash);
    se__stripe_end(map, s, left);
    count_invalidated(map, left);
}

static size_t forget_prefixed(struct l1 *map, struct stripe *s, const char *prefix)
{
    size_t len = strlen(prefix), left = 0;
    struct entry e;
    for (uint32_t slot = 0; slot < se__table_slots(se__stripe_table(s)); slot++)
        if (se__stripe_at(s, slot, &e) && strncmp(se_item_id(e.item), prefix, len) == 0)
            left += forget(map, s, &e);
    for (struct flush_state *f = se__stripe_loose(s), *next; f; f = next) {
        next = atomic_load(&f->loose);
        se__stripe_find_flush(s, f, &e);
        if (strncmp(se_item_id(e.item), prefix, len) == 0)
            left += forget(map, s, &e);
    }
    return left;
}

static void advance_all_epochs(struct stripe *s)
{
    for (uint64_t i = 0; i < STRIPE_EPOCHS; i++)
        se__stripe_advance_epoch(s, i << STRIPE_EPOCH_SHIFT);
}

void se__l1_invalidate_prefix(struct l1 *map, const char *prefix)
{
    for (unsigned i = 0; !map->resident && i < 1u << map->stripe_bits; i++) {
        struct stripe *s = &map->stripes[i];
        se__mutex_lock(&s->lock);
        size_t left = forget_prefixed(map, s, prefix);
        advance_all_epochs(s);
        se__stripe_end(map, s, left > 0);
        count_invalidated(map, left);
    }
}
