/*
 * evict - who leaves L1, and when.
 *
 * Each stripe keeps its evictable entries in one list: new ones at the end; the hand looks at the
 * front, where an entry that was hit since goes to the end once more (CLOCK; Corbato, 1968). Every
 * look either frees something or clears a bit that a hit had set, so eviction is O(1) amortised.
 * Dirty entries are not in the list, however many there are.
 *
 * The hand goes round the stripes a little at a time, whatever stripe the newcomer belongs to: one
 * stripe's share of memory follows what is used, and never more than one stripe is locked.
 *
 * Upkeep works ahead of the writers by the tan curve of DESIGN.md: with M = M(used / max) it frees
 * the share (1 - M) of what came in since the last time, and whatever is above 95 %. So a busy
 * cache settles between 77 % and 95 %, and an idle one keeps what it has.
 */
#include "l1/stripe.h"

#include <math.h>
#include <string.h>

/* a stripe's share of the memory goes in no fewer visits of the hand than this */
#define EVICT_STEPS 64u
#define SWEEP_BUCKETS_MIN 4096u /* looked at by one se__l1_tend, at least */
#define SWEEP_ROUNDS 64u        /* a whole round of the sweep takes at most this many se__l1_tend */
#define SWEEP_PER_LOCK 256u
#define REAP_PER_LOCK 256u
#define TOMBSTONE_RESIDENT_MS 60000u /* far longer than a put takes from its version to the map */

static void count_evicted(struct l1 *map, enum metric which, size_t n)
{
    if (map->metrics && n > 0)
        se__metrics_add(map->metrics, which, n);
}

double se__l1_curve(double p)
{
    if (!(p >= 0.75)) /* NaN included */
        return 1.0;
    if (p > 0.95)
        return 0.0;
    double n = (p - 0.75) / 0.20;
    double m = 1.0 - (tan((n - 0.5) * M_PI / 1.2) + 2.0) / 4.0;
    return m < 0.0 ? 0.0 : m > 1.0 ? 1.0 : m;
}

/* The next victim: the first that was not hit since the hand last passed. */
static struct entry *next_victim(struct stripe *s)
{
    while (s->oldest && s->oldest->hit) {
        struct entry *e = s->oldest;
        e->hit = false;
        if (e == s->newest)
            return e;
        s->oldest = e->newer;
        s->oldest->older = NULL;
        e->older = s->newest;
        e->newer = NULL;
        s->newest->newer = e;
        s->newest = e;
    }
    return s->oldest;
}

static size_t evict_from(struct l1 *map, struct stripe *s, size_t want)
{
    struct entry *victims = NULL, *e;
    size_t freed = 0, n = 0;
    se__mutex_lock(&s->lock);
    for (; freed < want && (e = next_victim(s)) != NULL; n++)
        freed += se__stripe_remove(map, s, e, &victims);
    se__mutex_unlock(&s->lock);
    se__l1_free_victims(victims);
    count_evicted(map, M_EVICTED_PRESSURE, n);
    return freed;
}

size_t se__l1_evict(struct l1 *map, size_t want)
{
    unsigned stripes = 1u << map->stripe_bits;
    size_t quantum = map->bytes_max / stripes / EVICT_STEPS + 1;
    unsigned at = atomic_fetch_add_explicit(&map->hand, 1, memory_order_relaxed);
    size_t freed = 0;
    for (unsigned idle = 0; freed < want && idle < stripes; at++) {
        size_t missing = want - freed;
        size_t got = evict_from(map, &map->stripes[at & (stripes - 1)],
                                missing < quantum ? missing : quantum);
        idle = got ? 0 : idle + 1;
        freed += got;
    }
    return freed;
}

/* ---- invalidation ---- */

/* Drops a clean copy now and any other as soon as it is clean. Returns the bytes that left. */
static size_t forget(struct l1 *map, struct stripe *s, struct entry *e, struct entry **victims)
{
    if (se__entry_clean(e))
        return se__stripe_remove(map, s, e, victims);
    e->doubted = true;
    return 0;
}

void se__l1_invalidate(struct l1 *map, uint64_t hash, const char *id, size_t id_len)
{
    if (map->resident)
        return;
    struct stripe *s = se__l1_stripe(map, hash);
    struct entry *victims = NULL;
    se__mutex_lock(&s->lock);
    struct entry *e = se__stripe_find(s, hash, id, id_len);
    size_t freed = e ? forget(map, s, e, &victims) : 0;
    s->epoch++;
    se__mutex_unlock(&s->lock);
    se__l1_free_victims(victims);
    se__l1_unreserve(map, freed);
    count_evicted(map, M_EVICTED_INVALIDATED, freed ? 1 : 0);
}

/* Calls look for every entry of buckets [from, from + n) of the
 * table; look may remove the entry. */
typedef size_t look_fn(struct l1 *map, struct stripe *s, struct entry *e, const void *arg,
                       struct entry **victims);

static size_t walk(struct l1 *map, struct stripe *s, size_t from, size_t n, look_fn *look,
                   const void *arg, struct entry **victims, size_t *left)
{
    size_t freed = 0;
    for (size_t i = from; i <= s->mask && i - from < n; i++) {
        struct entry *next;
        for (struct entry *e = s->table[i]; e; e = next) {
            next = e->chain;
            size_t bytes = look(map, s, e, arg, victims);
            *left += bytes ? 1 : 0;
            freed += bytes;
        }
    }
    return freed;
}

static size_t forget_prefixed(struct l1 *map, struct stripe *s, struct entry *e, const void *arg,
                              struct entry **victims)
{
    const char *prefix = arg;
    if (strncmp(se_item_id(e->item), prefix, strlen(prefix)) != 0)
        return 0;
    return forget(map, s, e, victims);
}

void se__l1_invalidate_prefix(struct l1 *map, const char *prefix)
{
    for (unsigned i = 0; !map->resident && i < 1u << map->stripe_bits; i++) {
        struct stripe *s = &map->stripes[i];
        struct entry *victims = NULL;
        size_t left = 0;
        se__mutex_lock(&s->lock);
        se__stripe_migrate(map, s, SIZE_MAX);
        size_t freed = walk(map, s, 0, SIZE_MAX, forget_prefixed, prefix, &victims, &left);
        s->epoch++;
        se__mutex_unlock(&s->lock);
        se__l1_free_victims(victims);
        se__l1_unreserve(map, freed);
        count_evicted(map, M_EVICTED_INVALIDATED, left);
    }
}

/* ---- upkeep ---- */

void se__l1_set_clean_life(struct l1 *map, uint32_t ms)
{
    /* Said again, it must not start anew, or nothing would ever reach its end. */
    if (atomic_load_explicit(&map->life_ms, memory_order_relaxed) == ms)
        return;
    atomic_store_explicit(&map->life_set_ms, se__mono_ms(), memory_order_relaxed);
    /* release: pairs with the acquire in se__entry_past_life. */
    atomic_store_explicit(&map->life_ms, ms, memory_order_release);
}

static void follow_curve(struct l1 *map)
{
    uint64_t came = 0;
    for (unsigned i = 0; i < 1u << map->stripe_bits; i++)
        came += atomic_load_explicit(&map->stripes[i].came_bytes, memory_order_relaxed);
    double fresh = (double)(came - map->came_seen);
    map->came_seen = came;
    double max = (double)map->bytes_max;
    double used = (double)atomic_load_explicit(&map->used, memory_order_relaxed);
    double want = fresh * (1.0 - se__l1_curve(used / max));
    if (used > 0.95 * max)
        want += used - 0.95 * max;
    if (want > used - 0.75 * max)
        want = used - 0.75 * max;
    if (want >= 1.0)
        se__l1_unreserve(map, se__l1_evict(map, (size_t)want));
}

struct sweep {
    int64_t now_wall_ms;
    uint64_t now_mono_ms;
};

static size_t sweep_entry(struct l1 *map, struct stripe *s, struct entry *e, const void *arg,
                          struct entry **victims)
{
    const struct sweep *now = arg;
    if (!se__entry_clean(e))
        return 0;
    uint64_t age_ms = now->now_mono_ms > e->since_ms ? now->now_mono_ms - e->since_ms : 0;
    bool old_tombstone =
        map->resident && se__item_deleted(e->item) && age_ms >= TOMBSTONE_RESIDENT_MS;
    if (!old_tombstone && !se__item_expired(e->item, now->now_wall_ms) &&
        !se__entry_past_life(map, e, now->now_mono_ms))
        return 0;
    return se__stripe_remove(map, s, e, victims);
}

/* One lock's worth of the sweep. Returns how many buckets it has cost. */
static size_t sweep_some(struct l1 *map, const struct sweep *now)
{
    struct stripe *s = &map->stripes[map->sweep_stripe];
    struct entry *victims = NULL;
    size_t freed = 0, left = 0, cost = 1;
    bool all_mortal = atomic_load_explicit(&map->life_ms, memory_order_relaxed) != 0;
    se__mutex_lock(&s->lock);
    se__stripe_migrate(map, s, SWEEP_PER_LOCK);
    if (s->mortal == 0 && !all_mortal) {
        map->sweep_bucket = SIZE_MAX;
    } else if (!s->old) {
        freed = walk(map, s, map->sweep_bucket, SWEEP_PER_LOCK, sweep_entry, now, &victims, &left);
        cost = s->mask + 1 - map->sweep_bucket;
        cost = cost < SWEEP_PER_LOCK ? cost : SWEEP_PER_LOCK;
        map->sweep_bucket += cost;
    }
    if (map->sweep_bucket > s->mask) {
        map->sweep_bucket = 0;
        map->sweep_stripe = (map->sweep_stripe + 1) & ((1u << map->stripe_bits) - 1);
    }
    se__mutex_unlock(&s->lock);
    se__l1_free_victims(victims);
    se__l1_unreserve(map, freed);
    count_evicted(map, M_EVICTED_EXPIRED, left);
    return cost;
}

static void sweep_slice(struct l1 *map, const struct sweep *now)
{
    size_t stripes = 1u << map->stripe_bits, buckets = 0;
    for (size_t i = 0; i < stripes; i++) {
        se__mutex_lock(&map->stripes[i].lock);
        buckets += map->stripes[i].mask + 1;
        se__mutex_unlock(&map->stripes[i].lock);
    }
    size_t budget = buckets / SWEEP_ROUNDS;
    if (budget < SWEEP_BUCKETS_MIN)
        budget = SWEEP_BUCKETS_MIN;
    /* One step a stripe at most passes an empty one: a small map is swept whole, once. */
    for (size_t spent = 0, steps = 0; spent < budget && steps < stripes + budget / SWEEP_PER_LOCK;
         steps++)
        spent += sweep_some(map, now);
}

static void reap_detached(struct l1 *map)
{
    for (unsigned i = 0; i < 1u << map->stripe_bits; i++) {
        struct stripe *s = &map->stripes[i];
        size_t left = atomic_load_explicit(&s->detached_items, memory_order_relaxed);
        while (left > 0) {
            size_t n = left < REAP_PER_LOCK ? left : REAP_PER_LOCK;
            struct entry *victims = NULL;
            se__mutex_lock(&s->lock);
            se__stripe_reap(s, n, &victims);
            se__mutex_unlock(&s->lock);
            se__l1_free_victims(victims);
            left -= n;
        }
    }
}

void se__l1_tend(struct l1 *map, int64_t now_wall_ms, uint64_t now_mono_ms)
{
    follow_curve(map);
    sweep_slice(map, &(struct sweep){now_wall_ms, now_mono_ms});
    reap_detached(map);
}
