/*
 * table - the buckets of one stripe: where entries lie, and the order in which they may leave.
 * Private to this room.
 *
 * One block of memory in three rows, each with an element a bucket of eight slots:
 *
 *   words   8 x 8 bytes, a cache line: an item, or the flush state of an entry that is not clean
 *   heads   16 bytes: a tag byte a slot (0: free), two hit bits a slot, what the sweep needs
 *   rests   28 bytes: the queues of eviction, and fingerprints of what has left
 *
 * A lookup reads heads, a row so small that it stays in the processor's cache, and the one word
 * whose tag fits. An entry lies in the bucket of its hash or, when that is full, in one of the next (`passed` counts
 * how many went past a bucket: only then does a lookup go on). Behind the last head lies one whose
 * tags are always 0, so that any bucket can be looked at together with the next. Within a table an
 * entry never moves; a table that gets too full or too empty is replaced as a whole, and readers
 * that are in the old one finish there (base/epoch.h).
 *
 * Words and their meaning (the low four bits of a pointer from malloc are free):
 *   0            free
 *   item | marks clean
 *   state | 1    not clean (struct flush_state), which has the marks
 *
 * Invariants
 *   I1  readers: a word is stored before its tag, and cleared after it; both can change at any time
 *   I2  the queues hold each slot at most once (`listed`): a slot that was freed stays queued until
 *       its turn, and who moves into it meanwhile takes over its place
 *
 * Locks: the stripe's, for everything but what readers do (se__table_match, se__table_hit).
 */
#ifndef SE_L1_TABLE_H
#define SE_L1_TABLE_H

#include "base/mem.h"
#include "item/item.h"

#include <assert.h>
#include <stdatomic.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BUCKET_SLOTS 8u
#define TABLE_BUCKETS_MAX 8191u                         /* slots are numbered in 16 bits */
#define BUCKET_BYTES (BUCKET_SLOTS * sizeof(uintptr_t)) /* of words: a cache line */
#define GHOST_ROWS 4u
#define GHOST_DEPTH 3u
#define NO_SLOT UINT32_MAX
#define NO_NEXT UINT16_MAX
#define HITS_MAX 3u

struct bucket_head {
    _Atomic uint64_t tags;
    /* relaxed, written by readers: two that hit the bucket at once may lose one of their marks */
    _Atomic uint16_t hits;
    _Atomic uint8_t passed; /* entries of earlier buckets that lie behind this one; 255: many */
    uint8_t listed;         /* a bit a slot: it is in one of the queues */
    uint16_t due;           /* when the sweep must look here, see lives.c */
    uint8_t late; /* a bit a slot: it came back late, and what that is worth is not known yet */
    bool has_due;
};
struct bucket_rest {
    uint16_t next[BUCKET_SLOTS];
    /* fingerprints of ids that have left, the last first; 0: none. A row by the id's hash, so that
     * a newcomer is compared with three of the twelve and seldom mistaken for one of them */
    uint8_t ghosts[GHOST_ROWS][GHOST_DEPTH];
};
static_assert(sizeof(struct bucket_head) == 16, "row 8 of the bars: bytes an entry");
static_assert(sizeof(struct bucket_rest) == 28, "row 8 of the bars: bytes an entry");

struct queue { /* of slots, linked by `next` */
    uint16_t first, last;
    uint32_t n;
};
#define TABLE_LINE 64u
/* The header of a block. Before it lie the words, each bucket's on a cache line, behind it heads (a
 * reader adds a constant) and rests. */
struct table {
    /* what readers look at; constant */
    _Alignas(TABLE_LINE) _Atomic uintptr_t *words; /* a slot each; seq_cst: base/epoch.h */
    struct bucket_head *heads;
    uint32_t buckets;

    uint32_t used;   /* slots; the rest are free */
    uint32_t erased; /* entries that have left it */
    /* of buckets, among whose ghosts an id's are: all, or fewer where the table is kept emptier than
     * the reach of its ghosts is to be */
    uint32_t haunted;
    struct bucket_rest *rests;
    struct queue small, main; /* S3-FIFO, see evict.c */
    size_t cost;              /* se__alloc_cost of the block */
    void *memory;
};
static_assert(BUCKET_BYTES == TABLE_LINE, "a bucket's words lie on one cache line");

size_t se__table_cost(uint32_t buckets);
/* NULL without memory. Freeing it is freeing its `memory`. */
SE_NODISCARD struct table *se__table_new(uint32_t buckets);

/* Bits of a hash: the bucket takes those from 31 down, the tag 0 to 7, the stripe 40 and more, the
 * ghost's fingerprint 0 to 7, its row 8 and 9. */
static inline uint32_t se__bucket_of(uint32_t buckets, uint64_t hash)
{
    return (uint32_t)((hash & UINT32_MAX) * buckets >> 32);
}
static inline uint32_t se__table_home(const struct table *t, uint64_t hash)
{
    return se__bucket_of(t->buckets, hash);
}
static inline uint8_t se__table_tag(uint64_t hash)
{
    uint8_t tag = (uint8_t)hash;
    return tag ? tag : 1;
}

/* The high bit of every byte of `tags` that equals `tag`; now and then of another one above it,
 * which the comparison of ids finds out (Warren, "Hacker's Delight", 6-1). */
static inline uint64_t se__table_match(uint64_t tags, uint8_t tag)
{
    uint64_t x = tags ^ UINT64_C(0x0101010101010101) * tag;
    return (x - UINT64_C(0x0101010101010101)) & ~x & UINT64_C(0x8080808080808080);
}
static inline unsigned se__table_first(uint64_t match)
{
    return (unsigned)__builtin_ctzll(match) / 8;
}

/* The same of a bucket and the next at once: a bit a slot. The slots of the next one are 8 to 15. */
static inline unsigned se__table_match_two_swar(const struct bucket_head *h, uint8_t tag)
{
    /* eight bits from the lowest of eight bytes, gathered in one: each partial product ends in a
     * place of its own */
    const uint64_t gather = UINT64_C(0x0002040810204081);
    /* acquire: with the tag its word is seen */
    uint64_t first = atomic_load_explicit(&h[0].tags, memory_order_acquire);
    uint64_t next = atomic_load_explicit(&h[1].tags, memory_order_acquire);
    uint64_t low = se__table_match(first, tag) >> 7, high = se__table_match(next, tag) >> 7;
    return (unsigned)((low * gather >> 49 & 0xff) | (high * gather >> 49 & 0xff) << 8);
}
#ifdef __SSE2__
static inline unsigned se__table_match_two(const struct bucket_head *h, uint8_t tag)
{
    uint64_t first = atomic_load_explicit(&h[0].tags, memory_order_acquire); /* as above */
    uint64_t next = atomic_load_explicit(&h[1].tags, memory_order_acquire);
    __m128i both = _mm_set_epi64x((long long)next, (long long)first);
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(both, _mm_set1_epi8((char)tag)));
}
#else
#define se__table_match_two se__table_match_two_swar
#endif

/* A walk from the bucket of a hash on, two buckets a step: what has their tag there, a bit a slot of the
 * sixteen, and whether an entry of this hash may lie further on. The two may be one, at the end of
 * the row. */
struct table_walk {
    const struct table *t;
    uint32_t bucket, left; /* the first of the two; buckets not yet come to, these included */
    uint8_t tag;
};
static inline struct table_walk se__table_walk(const struct table *t, uint64_t hash)
{
    return (struct table_walk){t, se__table_home(t, hash), t->buckets, se__table_tag(hash)};
}
static inline unsigned se__table_walk_match(const struct table_walk *w)
{
    return se__table_match_two(&w->t->heads[w->bucket], w->tag);
}
static inline bool se__table_walk_on(struct table_walk *w)
{
    const struct bucket_head *h = &w->t->heads[w->bucket];
    /* acquire: as the tags, see find_in_table */
    if (atomic_load_explicit(&h[0].passed, memory_order_acquire) == 0)
        return false;
    if (__builtin_expect(w->bucket + 1 == w->t->buckets, 0)) { /* the other is the one behind all */
        w->bucket = 0;
        return --w->left != 0;
    }
    if (atomic_load_explicit(&h[1].passed, memory_order_acquire) == 0 || w->left <= 2)
        return false;
    w->left -= 2;
    w->bucket = w->bucket + 2 == w->t->buckets ? 0 : w->bucket + 2;
    return true;
}

static inline unsigned se__table_hits(const struct table *t, uint32_t slot)
{
    const struct bucket_head *h = &t->heads[slot / BUCKET_SLOTS];
    return atomic_load_explicit(&h->hits, memory_order_relaxed) >> slot % BUCKET_SLOTS * 2 & 3;
}
static inline void se__table_set_hits(struct bucket_head *h, unsigned i, unsigned hits)
{
    unsigned all = atomic_load_explicit(&h->hits, memory_order_relaxed);
    all = (all & ~(3u << i * 2)) | hits << i * 2;
    atomic_store_explicit(&h->hits, (uint16_t)all, memory_order_relaxed);
}
/* What a hit costs: one relaxed store, and none once it is known as a busy one. */
static inline void se__table_hit(struct bucket_head *h, unsigned i)
{
    unsigned all = atomic_load_explicit(&h->hits, memory_order_relaxed);
    if ((all >> i * 2 & 3) < HITS_MAX)
        atomic_store_explicit(&h->hits, (uint16_t)(all + (1u << i * 2)), memory_order_relaxed);
}

static inline _Atomic uintptr_t *se__table_word(const struct table *t, uint32_t slot)
{
    return &t->words[slot];
}
/* Has the processor fetch a bucket. Only addresses are computed: the table may be gone, or have another
 * number of buckets by now. */
static inline void se__table_expect(const struct table *t, uint32_t buckets, uint64_t hash)
{
    uint32_t bucket = se__bucket_of(buckets, hash);
    __builtin_prefetch(t);
    __builtin_prefetch((const struct bucket_head *)(t + 1) + bucket);
    __builtin_prefetch((const char *)t - (size_t)(buckets - bucket) * BUCKET_BYTES);
}
static inline uint32_t se__table_slots(const struct table *t)
{
    return t->buckets * BUCKET_SLOTS;
}

/* Takes a free slot for `word`. There is one. Not listed. */
uint32_t se__table_insert(struct table *t, uint64_t hash, uintptr_t word);
void se__table_erase(struct table *t, uint64_t hash, uint32_t slot);

static inline bool se__table_listed(const struct table *t, uint32_t slot)
{
    return t->heads[slot / BUCKET_SLOTS].listed >> slot % BUCKET_SLOTS & 1;
}
/* Whether its entry came back late, and forgets it. */
static inline bool se__table_take_late(struct table *t, uint32_t slot)
{
    struct bucket_head *h = &t->heads[slot / BUCKET_SLOTS];
    uint8_t bit = (uint8_t)(1u << slot % BUCKET_SLOTS);
    bool late = h->late & bit;
    h->late &= (uint8_t)~bit;
    return late;
}
static inline void se__table_set_late(struct table *t, uint32_t slot)
{
    t->heads[slot / BUCKET_SLOTS].late |= (uint8_t)(1u << slot % BUCKET_SLOTS);
}
/* At the end of one of the table's queues; the slot is not listed. */
void se__table_push(struct table *t, struct queue *q, uint32_t slot);
/* The first of it, not listed any more, or NO_SLOT. */
uint32_t se__table_pop(struct table *t, struct queue *q);

/* Remembers that an id has left. */
void se__table_haunt(struct table *t, uint64_t hash);
/* Whether that was not long ago, and forgets it: GHOST_NONE, or how many of its row have left since.
 * One id in 85 that was never here seems to be such a one, too. */
#define GHOST_NONE GHOST_DEPTH
unsigned se__table_haunted(struct table *t, uint64_t hash);

/* Moves everything into `to`, which is empty and large enough: hash_of tells an entry's hash by its
 * word. `from` stays as it was for its readers. */
void se__table_move(struct table *from, struct table *to,
                    uint64_t (*hash_of)(const void *arg, uintptr_t word), const void *arg);

#endif
