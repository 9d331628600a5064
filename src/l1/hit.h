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
    struct view v = se__table_view(atomic_load(&se__l1_front(map, hash)->table));
    uint32_t bucket = se__bucket_of(v.buckets, hash);
    __builtin_prefetch(&v.words[bucket]); /* at the same time as its head */
    uint8_t tag = (uint8_t)(hash >> 32);
    if (__builtin_expect(tag == 0, 0)) /* cheaper than se__table_tag for the others */
        return false;
    uint64_t match = se__table_match_two(&v.heads[bucket], tag);
    if (__builtin_expect(match == 0, 0))
        return false;
    unsigned at = (unsigned)__builtin_ctzll(match); /* of the sixteen */
    bucket += at / BUCKET_SLOTS;
    f->head = &v.heads[bucket];
    f->slot = at % BUCKET_SLOTS;
    f->flush = NULL;
    uintptr_t word = atomic_load(&v.words[bucket].slots[f->slot]);
    f->item = se__word_item(word);
    return f->item && !(word & WORD_FLUSH) && se__item_is(f->item, id, id_len);
}

/* A reference, or NULL: it is elsewhere, or not so simple, or not there. thread: the caller's
 * se__thread_id. */
static inline se_item *se__l1_hit(struct l1 *map, uint64_t thread, uint64_t hash, const char *id,
                                  size_t id_len)
{
    struct found f;
    se_item *item = NULL;
    _Atomic uint32_t *inside = se__epoch_enter_as(&map->epochs, thread);
    if (__builtin_expect(
            se__l1_find_at_home(map, hash, id, id_len, &f) && !se__copy_may_end(map, f.item), 1)) {
        se__table_hit(f.head, f.slot);
        item = se__item_hold(f.item);
    }
    se__epoch_leave(inside);
    return item;
}

#endif
