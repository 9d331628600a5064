/*
 * evict - who leaves L1, and when.
 *
 * Whom: S3-FIFO in each stripe (Yang et al., "FIFO queues are all you need for cache eviction",
 * SOSP 2023). What becomes clean for the first time enters the small queue; what was hit twice when
 * its turn comes there goes on to the main queue, the rest leaves, with a ghost of 8 bits that brings
 * it into the main queue if it returns soon. If it returns late, it does so as long as that has
 * proved right; how long the small queue is, is learnt as well (learn.h). In the main queue each hit
 * is another round. A scan so passes through the small queue alone. Items four times as large as their
 * neighbours need one hit more. Every look takes something out, or uses up hits: O(1) amortised.
 * Entries that are not clean are in no queue, or leave it with their turn.
 *
 * The hand goes round the stripes a little at a time, whatever stripe the newcomer belongs to: one
 * stripe's share of memory follows what is used, and never more than one stripe is locked.
 *
 * When: ahead of the need, by the tan curve of DESIGN.md: whoever takes free bytes owes the share
 * (1 - M(used / max)) of them, and pays with what it takes next (room.c), so that nobody pays much at
 * once and the queues see newcomers and victims by turns, as S3-FIFO means it. A cache that grows so
 * settles at 93 %, where M comes to 0, and an idle one keeps what it has.
 */
#include "l1/stripe.h"

#include <math.h>

/* a stripe's share of the memory goes in no fewer visits of the hand than this */
#define EVICT_STEPS 64u
#define HITS_TO_STAY 2u /* while in the small queue */
#define SOON 2u /* what comes back before so many of its ghosts' row have left, comes back soon */
#define LARGE_FACTOR 4u
#define CURVE_START 0.75 /* of bytes_max: below it nothing is evicted */
#define CURVE_END 0.95

double se__l1_curve(double p)
{
    if (!(p >= CURVE_START)) /* NaN included */
        return 1.0;
    if (p > CURVE_END)
        return 0.0;
    double n = (p - CURVE_START) / (CURVE_END - CURVE_START);
    double m = 1.0 - (tan((n - 0.5) * M_PI / 1.2) + 2.0) / 4.0;
    return m < 0.0 ? 0.0 : m > 1.0 ? 1.0 : m;
}

/* ---- whom ---- */

static uint64_t hash_of(const struct l1 *map, const struct entry *e)
{
    return se__l1_hash(map, se_item_id(e->item), se__item_id_len(e->item));
}

void se__entry_list(struct stripe *s, const struct entry *e)
{
    struct table *t = se__stripe_table(s);
    unsigned since = e->hash ? se__table_haunted(t, e->hash) : GHOST_NONE;
    bool late = since >= SOON && since < GHOST_NONE;
    bool to_main = since < SOON || (late && se__learn_trusts(&s->lessons, t->used));
    if (late && to_main)
        se__table_set_late(t, e->slot);
    se__table_push(t, to_main ? &t->main : &t->small, e->slot);
}

static bool is_large(const struct l1 *map, const struct table *t, const struct entry *e)
{
    size_t share = (map->bytes_max >> map->stripe_bits) / (t->used + 1);
    return se__item_size(e->item) > LARGE_FACTOR * share;
}

static unsigned take_hits(struct table *t, uint32_t slot, unsigned most)
{
    unsigned hits = se__table_hits(t, slot), left = hits > most ? hits - most : 0;
    if (hits)
        se__table_set_hits(&t->heads[slot / BUCKET_SLOTS], slot % BUCKET_SLOTS, left);
    return hits;
}

/* Does an entry of the small queue go on to the main one? */
static bool goes_on(const struct l1 *map, struct stripe *s, struct table *t, const struct entry *e)
{
    unsigned hits = take_hits(t, e->slot, HITS_MAX);
    se__learn_newcomer(&s->lessons, hits > 0, t->used);
    return hits >= HITS_TO_STAY && (hits > HITS_TO_STAY || !is_large(map, t, e));
}

/* Does one of the main queue stay for another round? */
static bool stays(struct stripe *s, struct table *t, const struct entry *e)
{
    unsigned hits = take_hits(t, e->slot, 1);
    se__learn_main(&s->lessons, se__table_take_late(t, e->slot), hits > 0, t->used);
    return hits > 0;
}

/* The queue whose turn it is; *small says which. */
static struct queue *due_queue(const struct stripe *s, struct table *t, bool *small)
{
    *small =
        t->main.n == 0 || se__learn_small_is_long(&s->lessons, t->small.n, t->small.n + t->main.n);
    return *small ? &t->small : &t->main;
}

bool se__stripe_victim(struct l1 *map, struct stripe *s, struct entry *e)
{
    struct table *t = se__stripe_table(s);
    for (;;) {
        bool small;
        uint32_t slot = se__table_pop(t, due_queue(s, t, &small));
        if (slot == NO_SLOT)
            return false;
        if (!se__stripe_at(s, slot, e) || !se__entry_evictable(map, e))
            continue; /* it is listed again when it is clean */
        if (small ? goes_on(map, s, t, e) : stays(s, t, e)) {
            se__table_push(t, &t->main, slot);
            continue;
        }
        e->hash = hash_of(map, e);
        if (small)
            se__table_haunt(t, e->hash);
        return true;
    }
}

/* ---- how much ---- */

/* Takes victims of at least `want` bytes out of the stripe, as far as there are and the limbo takes
 * them. *chosen: their bytes. Returns what could be freed at once. */
static size_t evict_from(struct l1 *map, struct stripe *s, size_t want, size_t *chosen)
{
    struct entry e;
    size_t n = 0;
    bool waiting = false;
    *chosen = 0;
    se__mutex_lock(&s->lock);
    for (; *chosen < want && s->limbo_n < LIMBO_MAX && se__stripe_victim(map, s, &e); n++) {
        *chosen += se__entry_bytes(&e);
        se__stripe_remove(map, s, &e);
    }
    size_t freed = se__stripe_end_keeping(map, s, &waiting);
    if (map->metrics && n)
        se__metrics_add(map->metrics, M_EVICTED_PRESSURE, n);
    return freed;
}

size_t se__l1_choose(struct l1 *map, size_t want, size_t *freed)
{
    unsigned stripes = 1u << map->stripe_bits;
    size_t quantum = map->bytes_max / stripes / EVICT_STEPS + 1;
    unsigned at = atomic_fetch_add_explicit(&map->hand, 1, memory_order_relaxed);
    size_t out = 0, chosen;
    *freed = 0;
    for (unsigned idle = 0; *freed < want && out < want && idle < stripes; at++) {
        size_t missing = want - (out > *freed ? out : *freed);
        *freed += evict_from(map, &map->stripes[at & (stripes - 1)],
                             missing < quantum ? missing : quantum, &chosen);
        idle = chosen ? 0 : idle + 1;
        out += chosen;
    }
    return out;
}

size_t se__l1_evict(struct l1 *map, size_t want)
{
    size_t freed;
    (void)se__l1_choose(map, want, &freed);
    return freed;
}

/* What is above the curve's end, whoever brought it there. */
static void evict_excess(struct l1 *map)
{
    double most = CURVE_END * (double)map->bytes_max, used = (double)se__l1_used(map);
    if (used > most && !map->resident)
        se__l1_unreserve(map, se__l1_evict(map, (size_t)(used - most)));
}

/* ---- upkeep ---- */

void se__l1_set_clean_life(struct l1 *map, uint32_t ms)
{
    /* Said again, it must not start anew, or nothing would ever reach its end. */
    if (atomic_load_explicit(&map->life_ms, memory_order_relaxed) == ms)
        return;
    atomic_store_explicit(&map->life_set_ms, se__mono_ms(), memory_order_relaxed);
    /* release: pairs with the acquire in se__copy_past_life. */
    atomic_store_explicit(&map->life_ms, ms, memory_order_release);
}

void se__l1_tend(struct l1 *map, int64_t now_wall_ms, uint64_t now_mono_ms)
{
    evict_excess(map);
    se__l1_sweep(map, now_wall_ms, now_mono_ms);
    for (unsigned i = 0; i < 1u << map->stripe_bits; i++) {
        struct stripe *s = &map->stripes[i];
        se__mutex_lock(&s->lock);
        se__stripe_end(map, s, true);
        se__stripe_reap(map, s);
    }
    se__accounts_tend(map);
    se__depot_tend(map, now_mono_ms);
    se__l1_pages_tend(map);
}
