/*
 * cuckoo - see cuckoo.h.
 *
 * What a key is made of: the low 16 bits are the fingerprint (0 stands for an empty slot, so it is
 * read as 1), the high 32 bits choose the bucket. The 16 bits between are not used.
 *
 * Readers: `moves` is odd while fingerprints move. A reader takes it before and after it has looked;
 * unchanged and even means that nothing moved in between, so what it did not find was not there.
 * Every load of a word is an acquire and every store a release: a reader that saw a word of a move
 * also sees that `moves` was odd, without a fence.
 *
 * Adding: if neither bucket has a free slot, a breadth-first search over the buckets that the
 * fingerprints in the way could go to finds a shortest path to one that has; then the path is walked
 * from its end: each fingerprint is written to its other bucket, then overwritten where it was.
 */
#include "filter/cuckoo.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <assert.h>
#include <stdatomic.h>

#define SLOTS 4u
#define BUCKETS_MAX UINT32_MAX
#define TRIES 4u         /* of a reader, before it says "perhaps" */
#define COPY_TRIES 4u    /* of a whole table */
#define SEARCH_MAX 1024u /* buckets that an insertion looks at; a full table costs 10 us, then */

#define LANES UINT64_C(0x0001000100010001)
#define LANES_HIGH UINT64_C(0x8000800080008000)

struct cuckoo {
    _Atomic uint64_t moves; /* odd: fingerprints are moving */
    _Atomic uint64_t used;  /* relaxed: a number */
    uint32_t buckets;       /* constant */
    _Atomic uint64_t word[];
};

/* ---- one bucket ---- */

/* The high bit of each lane that is 0, exact up to and including the lowest such lane. */
static uint64_t empty_lanes(uint64_t word)
{
    return (word - LANES) & ~word & LANES_HIGH;
}

static bool holds(uint64_t word, uint16_t print)
{
    return empty_lanes(word ^ (print * LANES)) != 0;
}

/* The lowest free slot, or SLOTS. */
static unsigned free_slot(uint64_t word)
{
    uint64_t empty = empty_lanes(word);
    return empty ? (unsigned)__builtin_ctzll(empty) / 16 : SLOTS;
}

static uint16_t print_at(uint64_t word, unsigned slot)
{
    return (uint16_t)(word >> (16 * slot));
}

static unsigned count_used(uint64_t word)
{
    unsigned n = 0;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        n += print_at(word, slot) != 0;
    return n;
}

/* ---- where a key may be ---- */

struct where {
    uint32_t bucket[2];
    uint16_t print;
};

/* A number of 32 bits onto 0 .. n - 1 (Lemire, "Fast Random Integer Generation in an Interval",
 * 2019). */
static uint32_t reduce(uint32_t x, uint32_t n)
{
    return (uint32_t)(((uint64_t)x * n) >> 32);
}

/* Both buckets of a fingerprint add up to its offset, modulo the number of buckets. */
static uint32_t other_of(uint32_t buckets, uint32_t bucket, uint16_t print)
{
    uint32_t offset = reduce(print * UINT32_C(0x9e3779b1), buckets);
    return offset >= bucket ? offset - bucket : offset + (buckets - bucket);
}

static uint32_t other_bucket(const struct cuckoo *t, uint32_t bucket, uint16_t print)
{
    return other_of(t->buckets, bucket, print);
}

static struct where where_among(uint32_t buckets, uint64_t key)
{
    struct where w = {.print = (uint16_t)key};
    w.print = (uint16_t)(w.print + (w.print == 0));
    w.bucket[0] = reduce((uint32_t)(key >> 32), buckets);
    w.bucket[1] = other_of(buckets, w.bucket[0], w.print);
    return w;
}

static struct where where_is(const struct cuckoo *t, uint64_t key)
{
    return where_among(t->buckets, key);
}

/* acquire: pairs with store_word; a later look at `moves` comes later */
static uint64_t load_word(const struct cuckoo *t, uint32_t bucket)
{
    return atomic_load_explicit(&t->word[bucket], memory_order_acquire);
}

/* release: what was written before, and `moves`, are seen by who sees this */
static void store_word(struct cuckoo *t, uint32_t bucket, uint64_t word)
{
    atomic_store_explicit(&t->word[bucket], word, memory_order_release);
}

static void put_at(struct cuckoo *t, uint32_t bucket, unsigned slot, uint16_t print)
{
    uint64_t word = load_word(t, bucket) & ~((uint64_t)UINT16_MAX << (16 * slot));
    store_word(t, bucket, word | (uint64_t)print << (16 * slot));
}

/* ---- life ---- */

static struct cuckoo *new_table(uint64_t buckets)
{
    if (buckets == 0 || buckets > BUCKETS_MAX)
        return NULL;
    struct cuckoo *t = se__alloc_zeroed(1, sizeof *t + buckets * sizeof t->word[0]);
    if (t)
        t->buckets = (uint32_t)buckets;
    return t;
}

struct cuckoo *se__cuckoo_new(uint64_t slots_min)
{
    return new_table(slots_min / SLOTS + (slots_min % SLOTS != 0) + (slots_min == 0));
}

void se__cuckoo_free(struct cuckoo *t)
{
    se__free(t);
}

uint64_t se__cuckoo_slots(const struct cuckoo *t)
{
    return (uint64_t)t->buckets * SLOTS;
}

uint64_t se__cuckoo_used(const struct cuckoo *t)
{
    return atomic_load_explicit(&t->used, memory_order_relaxed);
}

uint64_t se__cuckoo_bytes(const struct cuckoo *t)
{
    return se__alloc_size(t);
}

/* ---- looking ---- */

enum cuckoo_look se__cuckoo_look(const struct cuckoo *t, uint64_t key)
{
    struct where w = where_is(t, key);
    for (unsigned i = 0; i < TRIES; i++) {
        /* acquire: pairs with the release at the end of a move: its words are seen */
        uint64_t before = atomic_load_explicit(&t->moves, memory_order_acquire);
        if (holds(load_word(t, w.bucket[0]), w.print) || holds(load_word(t, w.bucket[1]), w.print))
            return CUCKOO_FOUND;
        /* relaxed: behind the acquiring loads of the words */
        uint64_t after = atomic_load_explicit(&t->moves, memory_order_relaxed);
        if (before == after && (before & 1) == 0)
            return CUCKOO_ABSENT;
    }
    return CUCKOO_PERHAPS;
}

bool se__cuckoo_has(const struct cuckoo *t, uint64_t key)
{
    return se__cuckoo_look(t, key) != CUCKOO_ABSENT;
}

uint32_t se__cuckoo_buckets(const struct cuckoo *t)
{
    return t->buckets;
}

void se__cuckoo_expect(const struct cuckoo *t, uint32_t buckets, uint64_t key)
{
    struct where w = where_among(buckets, key);
    __builtin_prefetch(t);
    __builtin_prefetch((const void *)&t->word[w.bucket[0]]);
    __builtin_prefetch((const void *)&t->word[w.bucket[1]]);
}

/* ---- adding ---- */

/* A bucket that the search has reached: fingerprint `slot` of the bucket of node `from` could go
 * there. */
struct node {
    uint32_t bucket;
    uint16_t from;
    uint16_t slot;
};
#define NO_NODE UINT16_MAX
static_assert(SEARCH_MAX < NO_NODE, "nodes are numbered by 16 bits");

/* Breadth first. Returns the node whose bucket has a free slot, or NO_NODE. Its way leads through no
 * bucket twice: from the first of the two nodes the rest of the way is there too, and found earlier. */
static uint16_t find_room(const struct cuckoo *t, const struct where *w, struct node *nodes)
{
    unsigned n = 2;
    nodes[0] = (struct node){.bucket = w->bucket[0], .from = NO_NODE};
    nodes[1] = (struct node){.bucket = w->bucket[1], .from = NO_NODE};
    for (unsigned i = 0; i < n; i++) {
        uint64_t word = load_word(t, nodes[i].bucket);
        if (free_slot(word) < SLOTS)
            return (uint16_t)i;
        for (unsigned k = 0; k < SLOTS && n < SEARCH_MAX; k++) {
            uint32_t to = other_bucket(t, nodes[i].bucket, print_at(word, k));
            nodes[n++] = (struct node){to, (uint16_t)i, (uint16_t)k};
        }
    }
    return NO_NODE;
}

/* From the end: what has been moved is in both places until it is overwritten. */
static void walk_back(struct cuckoo *t, const struct node *nodes, uint16_t end, uint16_t print)
{
    uint16_t n = end;
    unsigned slot = free_slot(load_word(t, nodes[n].bucket));
    while (nodes[n].from != NO_NODE) {
        const struct node *from = &nodes[nodes[n].from];
        put_at(t, nodes[n].bucket, slot, print_at(load_word(t, from->bucket), nodes[n].slot));
        slot = nodes[n].slot;
        n = nodes[n].from;
    }
    put_at(t, nodes[n].bucket, slot, print);
}

static void move_along(struct cuckoo *t, const struct node *nodes, uint16_t end, uint16_t print)
{
    /* One writer: its own count. relaxed: the words' releases carry it to readers. */
    uint64_t moves = atomic_load_explicit(&t->moves, memory_order_relaxed);
    atomic_store_explicit(&t->moves, moves + 1, memory_order_relaxed);
    walk_back(t, nodes, end, print);
    /* release: pairs with the acquire of a reader that begins */
    atomic_store_explicit(&t->moves, moves + 2, memory_order_release);
}

enum cuckoo_put se__cuckoo_add(struct cuckoo *t, uint64_t key)
{
    struct node nodes[SEARCH_MAX];
    struct where w = where_is(t, key);
    if (holds(load_word(t, w.bucket[0]), w.print) || holds(load_word(t, w.bucket[1]), w.print))
        return CUCKOO_THERE;
    uint16_t end = find_room(t, &w, nodes);
    if (end == NO_NODE)
        return CUCKOO_FULL;
    if (nodes[end].from == NO_NODE)
        put_at(t, nodes[end].bucket, free_slot(load_word(t, nodes[end].bucket)), w.print);
    else
        move_along(t, nodes, end, w.print);
    atomic_fetch_add_explicit(&t->used, 1, memory_order_relaxed);
    return CUCKOO_ADDED;
}

/* ---- copies ---- */

uint64_t se__cuckoo_copy_bytes(const struct cuckoo *t)
{
    return (uint64_t)t->buckets * sizeof t->word[0];
}

bool se__cuckoo_copy(const struct cuckoo *t, uint8_t *out)
{
    for (unsigned i = 0; i < COPY_TRIES; i++) {
        uint64_t before = atomic_load_explicit(&t->moves, memory_order_acquire); /* as look() */
        for (uint32_t b = 0; b < t->buckets; b++)
            se__put_u64(out + 8 * (size_t)b, load_word(t, b));
        uint64_t after = atomic_load_explicit(&t->moves, memory_order_relaxed);
        if (before == after && (before & 1) == 0)
            return true;
    }
    return false;
}

struct cuckoo *se__cuckoo_from(const uint8_t *bytes, uint64_t len)
{
    uint64_t used = 0;
    struct cuckoo *t = len % 8 == 0 ? new_table(len / 8) : NULL;
    if (!t)
        return NULL;
    for (uint32_t b = 0; b < t->buckets; b++) {
        uint64_t word = se__get_u64(bytes + 8 * (size_t)b);
        used += count_used(word);
        atomic_init(&t->word[b], word);
    }
    atomic_init(&t->used, used);
    return t;
}
