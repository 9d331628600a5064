/*
 * stripe - one lock's share of L1: its table, the entries that are not clean, its account, and what
 * waits to be freed. Private to this room.
 *
 * A clean entry is nothing but a word of the table: the item and three marks. While it is anything
 * else (queued, in flight, pinned, dead) a struct flush_state stands between, brought by the ticket
 * of the put and gone when the entry is clean again. A writer has an entry in hand as struct entry:
 * se__stripe_leave takes its share out of the account, se__stripe_enter puts it back and stores
 * what readers see, in one store.
 *
 * Invariants
 *   I1  the counters are the sum over the entries: every change of an entry stands between
 *       se__stripe_leave and se__stripe_enter
 *   I2  an entry that is evictable is in one of its table's queues; what is in a queue and is not
 *       evictable leaves it when its turn comes, and returns when it is
 *   I3  bytes_max - what is free = fixed part + tables + entries + open tickets + what is retired
 *       (in the limbos of stripes and accounts); unevictable = entries that are not evictable + open tickets
 *   I4  what readers may be looking at is retired, never freed at once
 *
 * Locks: the stripe's mutex (rank 10) guards everything in it but what is atomic, which others may
 * read. No two stripes are locked at once.
 */
#ifndef SE_L1_STRIPE_H
#define SE_L1_STRIPE_H

#include "base/epoch.h"
#include "base/hash.h"
#include "base/os.h"
#include "item/inside.h"
#include "l1/learn.h"
#include "l1/map.h"
#include "l1/table.h"

#define WORD_FLUSH ((uintptr_t)1) /* the word is a struct flush_state */
/* Marks of a clean entry; in a struct flush_state they are all in `marks`. */
#define MARK_WRITTEN ((uintptr_t)2) /* some item of this entry came by se__l1_put: sticky */
#define MARK_PUT ((uintptr_t)4)   /* this item did, and is not far ahead of the clock: see floor */
#define MARK_BASED ((uintptr_t)8) /* it came by a put with an expectation: see based_on */
#define WORD_MARKS (MARK_WRITTEN | MARK_PUT | MARK_BASED)
#define WORD_POINTER (~(uintptr_t)15)

struct flush_state {
    _Atomic(se_item *) shown;            /* what readers see; NULL while hidden. seq_cst */
    _Atomic(struct flush_state *) loose; /* the next entry that has no slot */
    se_item *item;
    uint64_t flight; /* version that the flush worker has and nobody has confirmed; 0: none */
    /* The item came by a put with an expectation: one above the version that it, and those with
     * expectations right before it, are based on. Unconditional writes between that and the
     * item's version are in none of them. A load over it changes nothing. 0: it came otherwise.
     * A clean entry only knows that it is not 0, which counts as 1: on nothing, to be sure. */
    uint64_t based_on;
    struct dirty_node node;
    uint32_t pins; /* items taken and neither unpinned, requeued nor buried */
    uint8_t marks; /* of MARK_* */
    bool queued, dead;
    bool hidden;  /* the home tier holds a newer one: kept for its pins and
                     its version, not served */
    bool doubted; /* invalidated while it could not go: dropped as soon as it is clean */
};

/* An entry as a writer has it in hand. */
struct entry {
    se_item *item;
    struct flush_state *flush; /* NULL: clean */
    uint32_t slot;             /* NO_SLOT: in the list of loose entries */
    uint8_t marks;
    uint64_t based_on;
    uint64_t hash;
};

#define LIMBO_MAX 24u
struct retired {
    uintptr_t what; /* a se_item, or with one of RETIRED_* set other memory */
    uint64_t tag;   /* see base/epoch.h */
};
#define ACCOUNT_LIMBO 8u
#define RETIRED_FLUSH ((uintptr_t)1)
#define RETIRED_TABLE ((uintptr_t)2)

/* What readers load of a stripe; seldom stored, so that all of them stay in the processor's
 * nearest cache. seq_cst: base/epoch.h. */
struct front {
    _Atomic(struct table *) table;
    /* Entries that found no slot because a bigger table could not be had. */
    _Atomic(struct flush_state *) loose;
};

#define STRIPE_EPOCHS 32u
#define STRIPE_EPOCH_SHIFT 59u /* the hash's highest bits: others than the stripe's */

/* In the order in which a put reads it: two cache lines, and one of the limbo. */
struct stripe {
    _Alignas(64) struct se__mutex lock;
    struct front *front;
    uint64_t floor;       /* no version put here that has left is above it */
    uint64_t based_floor; /* no item with a based_on that has left is above it */
    uint32_t loose_entries;
    uint32_t resize_above; /* a resize failed: not tried again below so many entries */
    unsigned limbo_n;
    bool limbo_held; /* some caller holds an item in it: it is looked at soon */
    size_t limbo_bytes;
    size_t unevictable_change; /* what se__stripe_end will tell an account; modulo 2^64 */
    /* relaxed: written under the lock, read by se__l1_stats without
     * it; nothing is ordered by them. */
    _Atomic size_t live, dirty, dead, detached_items;
    struct retired limbo[LIMBO_MAX];
    struct lessons lessons;
    _Atomic size_t detached_bytes; /* as detached_items */
    se_item **detached;            /* items that left while callers held them; outside the bound */
    size_t detached_n, detached_cap, detached_at;
    /* Of ids, by their hash: a load is in doubt for what left among a few neighbours only. release
     * after what it tells of, acquire before a tier is asked */
    _Atomic uint32_t epochs[STRIPE_EPOCHS];
};
#ifdef __x86_64__
static_assert(offsetof(struct stripe, limbo) == 2 * SE__EPOCH_LINE,
              "what a put reads lies together");
#endif

/* Bytes that were reserved ahead, so that writers do not meet in one counter. A thread always uses
 * the same account. */
struct account {
    _Alignas(64) _Atomic size_t credit;
    _Atomic int64_t owed;   /* bytes to be evicted by those who come next */
    _Atomic uint32_t share; /* of what was taken last that was owed, in 65536ths */
    /* of entries that are not evictable and of open tickets, as far as this account's threads have
     * made or ended them: only the sum of all accounts means something (modulo 2^64) */
    _Atomic size_t unevictable;
    /* What these threads' puts have replaced, freed some puts later while the processor still has it:
     * a stripe comes to so many puts much later. Of whoever has the turn. */
    atomic_bool limbo_taken;
    unsigned limbo_n;
    size_t limbo_bytes;
    struct retired limbo[ACCOUNT_LIMBO];
};

struct l1 {
    struct front *fronts;
    struct stripe *stripes;
    unsigned stripe_bits;
    uint32_t stripe_mask; /* stripes - 1 */
    uint32_t front_mask;  /* of a front's distance from the first one, in bytes */
    struct hash_secret secret;
    size_t bytes_max;
    size_t fixed_bytes; /* what an empty map takes */
    bool resident;
    struct l1_sink sink;
    struct metrics *metrics; /* NULL in some tests */
    uint64_t opened_ms;
    struct account *accounts;
    unsigned account_mask;
    size_t lease;       /* what an account takes ahead */
    size_t limbo_share; /* bytes that a stripe lets wait to be freed together */
    void *memory;       /* of stripes, accounts and epoch rows */
    void *self;         /* this struct's own, before it was aligned */
    /* set_ms is stored before life_ms (release), and read after it (acquire): a life is
     * never taken with an older start. */
    _Atomic uint64_t life_set_ms;
    _Atomic uint32_t life_ms;
    struct epochs epochs;

    /* relaxed: each is a sum of its own; nothing else is published through them. */
    _Alignas(64) _Atomic size_t free; /* bytes that are neither used nor in an account */
    _Atomic unsigned hand;            /* the stripe where the next eviction starts */
    /* of se__l1_tend's caller */
    size_t sweep_stripe, sweep_bucket;
    struct pages {
        bool wanted;
        size_t seen, last;    /* bytes used when items were counted last; at the last call */
        struct block *blocks; /* NULL: nothing to do */
        size_t cap, n, items, at;
        uint32_t stripe, slot; /* to be counted next */
    } pages;
};

/* ---- words and entries ---- */
static inline se_item *se__word_item(uintptr_t word)
{
    return (se_item *)(word & WORD_POINTER);
}
static inline struct flush_state *se__word_flush(uintptr_t word)
{
    return word & WORD_FLUSH ? (struct flush_state *)(word & WORD_POINTER) : NULL;
}
static inline size_t se__entry_bytes(const struct entry *e)
{
    return se__item_size_inline(e->item) + (e->flush ? se__alloc_cost(sizeof *e->flush) : 0);
}
static inline bool se__flush_unconfirmed(const struct flush_state *f)
{
    return f && (f->queued || f->flight || f->dead);
}
static inline bool se__flush_clean(const struct flush_state *f)
{
    return !f || (!se__flush_unconfirmed(f) && f->pins == 0);
}
static inline bool se__entry_hidden(const struct entry *e)
{
    return e->flush && e->flush->hidden;
}
/* Where L1 is the items' home only tombstones may go. One without a slot waits for it. */
static inline bool se__entry_evictable(const struct l1 *map, const struct entry *e)
{
    return se__flush_clean(e->flush) && e->slot != NO_SLOT &&
           (!map->resident || se__item_deleted(e->item));
}

/* ---- room.c: bytes ---- */
/* Takes as much as is free, up to `bytes`. */
size_t se__l1_reserve_some(struct l1 *map, size_t bytes);
/* Takes them, evicting what is missing. No stripe is locked. */
SE_NODISCARD bool se__l1_reserve_evicting(struct l1 *map, size_t bytes);
void se__l1_unreserve(struct l1 *map, size_t bytes);
size_t se__l1_used(const struct l1 *map);
/* Bytes that begin (or, as -bytes, cease) to be unevictable. */
void se__l1_count_unevictable(struct l1 *map, size_t change);
/* A ticket for an item; with `flush` it brings a flush state. */
SE_NODISCARD se_result se__l1_ticket(struct l1 *map, size_t item_size, bool flush,
                                     struct l1_ticket *ticket);
/* Ends a ticket's reservation: `kept` bytes of it are in the map's entries now. */
void se__l1_settle(struct l1 *map, struct l1_ticket *ticket, size_t kept);
/* The same of a put that has made `unevictable` more bytes unevictable. */
void se__l1_settle_put(struct l1 *map, struct l1_ticket *ticket, size_t kept, size_t unevictable);
static inline struct account *se__l1_account(const struct l1 *map)
{
    return &map->accounts[se__thread_id() & map->account_mask];
}

/* ---- one stripe, locked by the caller ---- */
/* Bits of the hash from 40 on. A front's address is found from the same bits without a multiplication. */
#define STRIPE_SHIFT 40u
#define FRONT_SHIFT (STRIPE_SHIFT - 4)
static_assert(sizeof(struct front) == 1u << (STRIPE_SHIFT - FRONT_SHIFT), "a front's address");
static inline size_t se__l1_stripe_of(const struct l1 *map, uint64_t hash)
{
    return hash >> STRIPE_SHIFT & map->stripe_mask;
}
static inline struct stripe *se__l1_stripe(const struct l1 *map, uint64_t hash)
{
    return &map->stripes[se__l1_stripe_of(map, hash)];
}
static inline struct front *se__l1_front(const struct l1 *map, uint64_t hash)
{
    uint32_t distance = (uint32_t)(hash >> FRONT_SHIFT) & map->front_mask;
    return (struct front *)((char *)map->fronts + distance);
}
/* relaxed: whoever has the lock sees what was stored under it. */
static inline struct table *se__stripe_table(const struct stripe *s)
{
    return atomic_load_explicit(&s->front->table, memory_order_relaxed);
}
static inline struct flush_state *se__stripe_loose(const struct stripe *s)
{
    return atomic_load_explicit(&s->front->loose, memory_order_relaxed);
}
SE_NODISCARD se_result se__stripe_open(struct stripe *s, struct front *front, size_t *bytes);
void se__stripe_close(struct stripe *s);
bool se__stripe_find(const struct stripe *s, uint64_t hash, const char *id, size_t id_len,
                     struct entry *e);
/* The entry that a state belongs to: it is in the stripe. */
void se__stripe_find_flush(const struct stripe *s, struct flush_state *f, struct entry *e);
/* The entry in a slot; false: it is free. hash is left 0 for a clean one. */
bool se__stripe_at(const struct stripe *s, uint32_t slot, struct entry *e);
void se__stripe_leave(struct l1 *map, struct stripe *s, const struct entry *e);
void se__stripe_enter(struct l1 *map, struct stripe *s, struct entry *e);
/* A new entry of `item`, out of the account, for which the caller makes or gives a reference; with
 * *spare as its state if `with_state` or if there is no slot for it (then *spare is taken). Returns
 * false if it can have neither. */
SE_NODISCARD bool se__stripe_add(struct l1 *map, struct stripe *s, uint64_t hash, se_item *item,
                                 bool with_state, struct flush_state **spare, struct entry *e);
/* Gives e, which is out of the account, `item` with a reference that the caller makes or gives;
 * near_put: it is to have MARK_PUT, and will raise the floor for its predecessors too. Returns the
 * old one: the caller retires it after se__stripe_enter, when it is out of sight. */
SE_NODISCARD se_item *se__stripe_replace(struct l1 *map, struct stripe *s, struct entry *e,
                                         se_item *item, bool near_put);
/* A put over an entry counts like a hit. */
static inline void se__stripe_touch(const struct stripe *s, const struct entry *e)
{
    if (e->slot != NO_SLOT)
        se__table_hit(&se__stripe_table(s)->heads[e->slot / BUCKET_SLOTS], e->slot % BUCKET_SLOTS);
}
/* What readers cannot find any more is freed as soon as none can be looking at it: an item, or with
 * RETIRED_* other memory. Its bytes stay used until then. */
void se__stripe_retire(struct l1 *map, struct stripe *s, uintptr_t what);
void se__retired_free(uintptr_t what); /* now */
/* Takes e, which is in the account, out of table and account and retires it; advances the epoch as
 * I5 of map.h says. Its bytes stay used until it is freed. */
void se__stripe_remove(struct l1 *map, struct stripe *s, struct entry *e);
/* Marks e queued and gives its node to the sink. e is out of the account. */
void se__entry_queue(struct l1 *map, struct entry *e, bool front, uint64_t first_ms);
static inline _Atomic uint32_t *se__stripe_epoch(struct stripe *s, uint64_t hash)
{
    return &s->epochs[hash >> STRIPE_EPOCH_SHIFT];
}
void se__stripe_advance_epoch(struct stripe *s, uint64_t hash);

/* Unlocks: ends whatever has changed an entry. Frees what was retired and nobody can be looking at
 * any more: at once if `now`, else only when there is enough of it. */
void se__stripe_end(struct l1 *map, struct stripe *s, bool now);
/* The same (now), but the freed bytes are the caller's. Returns how many; sets *waiting if something
 * is left that readers are in the way of. */
size_t se__stripe_end_keeping(struct l1 *map, struct stripe *s, bool *waiting);
/* The limbo of an account: taken before a stripe is locked, if it can be had at once and has room. One
 * item that no caller holds can then be left in it after the stripe is unlocked; NULL: none. The end
 * frees what can be freed once there is enough of it, and returns the bytes. */
SE_NODISCARD bool se__account_begin(struct l1 *map, struct account *a);
size_t se__account_end(struct l1 *map, struct account *a, se_item *left);
/* Frees what can be freed. Sets *waiting if something is left. No stripe is locked by the caller. */
size_t se__account_empty(struct l1 *map, struct account *a, bool *waiting);
void se__accounts_tend(struct l1 *map); /* all of them */
/* Frees detached items that no caller holds any more. Not locked by the caller. */
void se__stripe_reap(struct stripe *s);

/* Gives the stripe, not locked by the caller, the table that its number of entries asks for, if
 * there is room for it. */
void se__stripe_fit(struct l1 *map, struct stripe *s);
bool se__stripe_misfits(const struct stripe *s);

/* ---- lives (lives.c) ---- */
/* False: se__copy_past_life is. */
static inline bool se__copy_is_mortal(const struct l1 *map, const se_item *item)
{
    /* acquire: as in se__copy_past_life */
    return !map->resident && (!se__item_is_plain(item) ||
                              atomic_load_explicit(&map->life_ms, memory_order_acquire) != 0);
}
/* The same in fewer steps, when its answer is false; else se__copy_is_mortal says. */
static inline bool se__copy_may_end(const struct l1 *map, const se_item *item)
{
    return !se__item_is_plain(item) ||
           atomic_load_explicit(&map->life_ms, memory_order_acquire) != 0;
}
/* A clean copy past its cache_ttl_ms or past the clean life. now_ms 0:
 * read the clock if it matters. */
bool se__copy_past_life(const struct l1 *map, const se_item *item, uint64_t now_ms);
bool se__entry_past_life(const struct l1 *map, const struct entry *e, uint64_t now_ms);
/* Notes when this copy came here, if that can ever matter. */
void se__mortal_born(const struct l1 *map, se_item *item);
static inline void se__copy_born(const struct l1 *map, se_item *item)
{
    if (se__copy_may_end(map, item))
        se__mortal_born(map, item);
    else
        atomic_store_explicit(&item->since, 0, memory_order_relaxed);
}
/* Tells the sweep when it must look at e, which is in a slot. */
void se__mortal_due(const struct l1 *map, struct stripe *s, const struct entry *e);
static inline void se__entry_due(const struct l1 *map, struct stripe *s, const struct entry *e)
{
    if (!se__item_is_plain(e->item))
        se__mortal_due(map, s, e);
}
void se__l1_sweep(struct l1 *map, int64_t now_wall_ms, uint64_t now_mono_ms);

/* ---- huge pages (pages.c) ---- */
void se__l1_pages_tend(struct l1 *map); /* a slice of it */
void se__l1_pages_close(struct l1 *map);

/* ---- eviction (evict.c) ---- */
/* Evicts at least `want` bytes if it can. They stay reserved: they are the
 * caller's. Returns how many. */
size_t se__l1_evict(struct l1 *map, size_t want);
/* The same; returns how many bytes it took out of the map, *freed of which could be freed at
 * once. */
size_t se__l1_choose(struct l1 *map, size_t want, size_t *freed);
/* Puts an evictable entry that is in no queue into the one it belongs to. */
void se__entry_list(struct stripe *s, const struct entry *e);
/* The next to leave a locked stripe. */
bool se__stripe_victim(struct l1 *map, struct stripe *s, struct entry *e);

#endif
