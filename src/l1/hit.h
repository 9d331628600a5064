/*
 * hit - the way of nearly every hit: compiled into its callers, calls nothing, takes no lock.
 *
 * A get is as fast as the processor can look ahead to the next ones: while it waits for one item's
 * memory it executes what follows, as far as a few hundred instructions reach. So what counts here
 * is their number, and that no branch depends on where an id happens to lie (a wrong guess throws
 * away what was looked up ahead).
 *
 * What is found here is clean, plain (no tombstone, no limit to its life) and in the bucket of its
 * hash or in the next. Everything else is found by se__l1_get.
 *
 * Threads: any.  Memory: as se__l1_get.
 */
#ifndef SE_L1_HIT_H
#define SE_L1_HIT_H

#include "base/hash_inline.h"
#include "l1/stripe.h"

struct found {
    se_item *item;
    struct flush_state *flush; /* NULL: clean */
    struct bucket_head *head;  /* NULL: it has no slot */
    unsigned slot;
};

/* As se__l1_hash. */
static inline uint64_t se__l1_hash_inline(const struct l1 *map, const char *id, size_t id_len)
{
    return se__hash_id_inline(&map->secret, id, id_len);
}

/* Inside an epoch. */
static inline bool se__l1_find_at_home(const struct l1 *map, uint64_t hash, const char *id,
                                       size_t id_len, struct found *f)
{
    /* seq_cst, as the word: base/epoch.h */
    const struct table *t = atomic_load(&se__l1_front(map, hash)->table);
    size_t bucket = se__bucket_of(t->buckets, hash);
    const _Atomic uintptr_t *words = &t->words[bucket * BUCKET_SLOTS];
    __builtin_prefetch(words); /* at the same time as its head */
    struct bucket_head *heads = &t->heads[bucket];
    uint8_t tag = (uint8_t)hash;
    if (__builtin_expect(tag == 0, 0)) /* free slots have it, and the head behind the last */
        return false;
    unsigned match = se__table_match_two(heads, tag);
    if (__builtin_expect(match == 0, 0))
        return false;
    unsigned at = (unsigned)__builtin_ctz(match); /* of the sixteen */
    uintptr_t word = atomic_load(&words[at]);
    f->head = heads + at / BUCKET_SLOTS;
    f->slot = at % BUCKET_SLOTS;
    f->flush = NULL;
    f->item = se__word_item(word);
    return f->item && !(word & WORD_FLUSH) && se__item_is(f->item, id, id_len);
}

/* A thread's own row in the map, or NULL, has its epoch (base/epoch.h), and its hits beside that.
 * relaxed: a number. */
static inline struct epoch_row *se__l1_own_row(const struct l1 *map, uint64_t thread)
{
    return se__epoch_own_row(&map->epochs, thread);
}
static inline uint64_t se__l1_hits_of(const struct epoch_row *row)
{
    return atomic_load_explicit(&row->count, memory_order_relaxed);
}
static inline void se__l1_count_hit(struct epoch_row *row, uint64_t hits_so_far)
{
    atomic_store_explicit(&row->count, hits_so_far + 1, memory_order_relaxed);
}

/* A reference, or NULL: it is elsewhere, or not so simple, or not there. row: the caller's own. */
static inline se_item *se__l1_hit(struct l1 *map, struct epoch_row *row, uint64_t hash,
                                  const char *id, size_t id_len)
{
    struct found f;
    se_item *item = NULL;
    se__epoch_enter_own(&map->epochs, row);
    if (__builtin_expect(
            se__l1_find_at_home(map, hash, id, id_len, &f) && !se__copy_may_end(map, f.item), 1)) {
        se__table_hit(f.head, f.slot);
        item = se__item_hold(f.item);
    }
    se__epoch_leave_own(row);
    return item;
}

#endif
