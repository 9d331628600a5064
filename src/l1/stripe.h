/*
 * stripe - one lock's share of L1: a chained hash table, its evictable list, its account. Private
 * to this room.
 *
 * Invariants
 *   I1  the counters are the sum over the entries in the table: every change of an entry stands
 *       between se__stripe_leave and se__stripe_enter, which take its share out and put it back
 *   I2  an entry is in the evictable list exactly if se__entry_evictable: the hand never meets a
 *       dirty one
 *   I3  map->used = fixed part + tables + entries in the tables + open tickets; map->unevictable =
 *       entries that are not evictable + open tickets
 *
 * Locks: the stripe's mutex guards everything in it but the atomics, which others may read. No two
 * stripes are locked at once.
 */
#ifndef SE_L1_STRIPE_H
#define SE_L1_STRIPE_H

#include "base/os.h"
#include "l1/map.h"

#include <stdatomic.h>

struct entry {
    struct entry *chain;         /* in a bucket; later in a list of victims or of detached items */
    struct entry *older, *newer; /* in the evictable list */
    se_item *item;
    uint64_t since_ms;    /* mono: when this copy came here */
    uint64_t flight;      /* version that the flush worker has and nobody has
                             confirmed; 0: none */
    uint64_t put_version; /* the newest that came by se__l1_put, unless far ahead of
                             the clock; see floor */
    /* The item came by a put with an expectation: one above the version that it, and those with
     * expectations right before it, are based on. Unconditional writes between that and the
     * item's version are in none of them. A load over it changes nothing. 0: it came otherwise. */
    uint64_t based_on;
    uint32_t pins; /* items taken and neither unpinned, requeued nor buried */
    bool queued, dead;
    bool hidden;  /* the home tier holds a newer one: kept for its pins and
                     its version, not served */
    bool doubted; /* invalidated while it could not go: dropped as soon as it is clean */
    bool written; /* some item of this entry came by se__l1_put: sticky, see I5 of map.h */
    bool listed;  /* in the evictable list */
    bool hit;     /* the CLOCK bit */
    struct dirty_node node;
};

struct stripe {
    struct se__mutex lock; /* rank 10 */
    struct entry **table;  /* mask + 1 buckets */
    struct entry **old;    /* while growing: its buckets from old_at on still hold
                              entries; else NULL */
    size_t mask, old_mask, old_at;
    size_t entries;
    size_t mortal; /* entries that the sweep must look at even without a clean
                      life */
    uint64_t epoch;
    uint64_t floor;                /* no put_version that has left the table is above it */
    uint64_t based_floor;          /* no item with a based_on that has left the table is above it */
    struct entry *oldest, *newest; /* the evictable list, CLOCK order */
    struct entry *detached, *detached_last;
    /* relaxed: written under the lock, read by se__l1_stats without
     * it; nothing is ordered by them. */
    _Atomic size_t live, dirty, dead, detached_items, detached_bytes;
    _Atomic uint64_t came_bytes; /* bytes that ever came in, for the curve */
    char pad[64];                /* keeps neighbours' locks off this one's last line */
};

struct l1 {
    struct stripe *stripes;
    unsigned stripe_bits;
    uint64_t seed;
    size_t bytes_max;
    size_t fixed_bytes; /* what an empty map takes */
    bool resident;
    struct l1_sink sink;
    struct metrics *metrics; /* NULL in some tests */
    /* relaxed: each is a sum of its own; nothing else is published through them. */
    _Atomic size_t used, unevictable;
    _Atomic unsigned hand; /* the stripe where the next eviction starts */
    /* set_ms is stored before life_ms (release), and read after it (acquire): a life is
     * never taken with an older start. */
    _Atomic uint64_t life_set_ms;
    _Atomic uint32_t life_ms;
    /* of se__l1_tend's caller */
    uint64_t came_seen;
    size_t sweep_stripe, sweep_bucket;
};

/* ---- sizes ---- */
/* What an allocation of `bytes` takes from the system, at most: a chunk of glibc's malloc, or whole
 * pages from its mmap threshold on. Known before allocating, so that it can be reserved. */
static inline size_t se__l1_cost(size_t bytes)
{
    if (bytes >= 128u * 1024)
        return (bytes + 16 + 4095) & ~(size_t)4095;
    size_t chunk = (bytes + 8 + 15) & ~(size_t)15;
    return chunk < 32 ? 32 : chunk;
}
static inline size_t se__entry_bytes(const struct entry *e)
{
    return se__l1_cost(sizeof *e) + se__item_size(e->item); /* the item's is a cost already */
}

/* ---- states ---- */
static inline bool se__entry_unconfirmed(const struct entry *e)
{
    return e->queued || e->flight || e->dead;
}
static inline bool se__entry_clean(const struct entry *e)
{
    return !se__entry_unconfirmed(e) && e->pins == 0;
}
/* Where L1 is the items' home only tombstones may go. */
static inline bool se__entry_evictable(const struct l1 *map, const struct entry *e)
{
    return se__entry_clean(e) && (!map->resident || se__item_deleted(e->item));
}

/* ---- the account ---- */
/* Takes bytes from what is free; never evicts. */
SE_NODISCARD bool se__l1_reserve(struct l1 *map, size_t bytes);
void se__l1_unreserve(struct l1 *map, size_t bytes);
/* Ends a ticket's reservation: `kept` bytes of it are in the map's entries now. */
void se__l1_settle(struct l1 *map, struct l1_ticket *ticket, size_t kept);

/* ---- one stripe, locked by the caller ---- */
static inline struct stripe *se__l1_stripe(const struct l1 *map, uint64_t hash)
{
    return &map->stripes[map->stripe_bits ? hash >> (64 - map->stripe_bits) : 0];
}
SE_NODISCARD se_result se__stripe_open(struct stripe *s);
void se__stripe_close(struct stripe *s);
size_t se__stripe_table_bytes(const struct stripe *s);
struct entry *se__stripe_find(const struct stripe *s, uint64_t hash, const char *id, size_t id_len);
void se__stripe_leave(struct l1 *map, struct stripe *s, struct entry *e);
void se__stripe_enter(struct l1 *map, struct stripe *s, struct entry *e);
/* Marks e queued and gives its node to the sink. e is out of the account. */
void se__entry_queue(struct l1 *map, struct entry *e, bool front, uint64_t first_ms);
/* Moves up to n buckets of a growing table. */
void se__stripe_migrate(struct l1 *map, struct stripe *s, size_t n);
/* Takes e out of table and account (not out of map->used) and retires it; advances the epoch as
 * I5 of map.h says. Returns its bytes. */
size_t se__stripe_remove(struct l1 *map, struct stripe *s, struct entry *e, struct entry **victims);
/* An entry of item and bookkeeping that is in no table any more: to the victims, or to the
 * detached list if callers hold the item. */
void se__stripe_retire(struct stripe *s, struct entry *e, struct entry **victims);
/* Looks at up to n detached items and moves those that nobody else holds to the victims. */
void se__stripe_reap(struct stripe *s, size_t n, struct entry **victims);
/* Gives e, which is out of the account, a reference of its own to `item`; the old
 * one is retired inside `spare`. */
void se__stripe_replace(struct stripe *s, struct entry *e, se_item *item, struct entry *spare,
                        struct entry **victims);
/* Fills a fresh entry (all zero) and links it into the table, which grows if there is room. Not
 * counted yet: se__stripe_enter. */
void se__stripe_add(struct l1 *map, struct stripe *s, struct entry *e, uint64_t hash,
                    se_item *item);
/* After unlocking: frees a list of victims. */
void se__l1_free_victims(struct entry *victims);

/* ---- lives ---- */
/* A clean copy past its cache_ttl_ms or past the clean life. now_ms 0:
 * read the clock if it matters. */
bool se__entry_past_life(const struct l1 *map, const struct entry *e, uint64_t now_ms);
/* Whether the sweep could ever drop it. */
bool se__entry_mortal(const struct l1 *map, const struct entry *e);

/* ---- eviction (evict.c) ---- */
/* Evicts at least `want` bytes if it can. They stay counted in map->used: they are
 * the caller's. Returns how many. */
size_t se__l1_evict(struct l1 *map, size_t want);

#endif
