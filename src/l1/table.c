/*
 * table - see table.h.
 */
#include "l1/table.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

#define MANY UINT8_MAX
#define AHEAD 8u /* entries that are fetched while others are moved */

static size_t block_bytes(uint32_t buckets)
{
    size_t rows = BUCKET_BYTES + sizeof(struct bucket_head) + sizeof(struct bucket_rest);
    return buckets * rows + sizeof(struct table) +
           sizeof(struct bucket_head); /* the head behind the last */
}

/* Aligned by hand: so the size of what malloc takes is known beforehand. */
size_t se__table_cost(uint32_t buckets)
{
    return se__alloc_cost(block_bytes(buckets) + TABLE_LINE);
}

struct table *se__table_new(uint32_t buckets)
{
    /* all zero: every slot free, no ghost, nothing due */
    char *memory = se__alloc_zeroed(1, block_bytes(buckets) + TABLE_LINE);
    if (!memory)
        return NULL;
    char *words = memory + (-(uintptr_t)memory % TABLE_LINE);
    struct table *t = (struct table *)(words + buckets * BUCKET_BYTES);
    *t = (struct table){.buckets = buckets,
                        .haunted = buckets,
                        .heads = (struct bucket_head *)(t + 1),
                        .words = (_Atomic uintptr_t *)words,
                        .small = {NO_NEXT, NO_NEXT, 0},
                        .main = {NO_NEXT, NO_NEXT, 0},
                        .cost = se__table_cost(buckets),
                        .memory = memory};
    t->rests = (struct bucket_rest *)(t->heads + buckets + 1);
    return t;
}

static uint32_t after(const struct table *t, uint32_t bucket)
{
    return bucket + 1 == t->buckets ? 0 : bucket + 1;
}

/* relaxed: the stripe's lock makes this the only writer; a reader that misses a
 * change runs beside the call that makes it. */
static void pass(struct bucket_head *h, int by)
{
    unsigned passed = atomic_load_explicit(&h->passed, memory_order_relaxed);
    if (passed != MANY) /* never less again, until the table is replaced */
        atomic_store_explicit(&h->passed, (uint8_t)(passed + (unsigned)by), memory_order_relaxed);
}

uint32_t se__table_insert(struct table *t, uint64_t hash, uintptr_t word)
{
    assert(t->used < se__table_slots(t));
    uint32_t bucket = se__table_home(t, hash);
    uint64_t tags, match;
    for (;; bucket = after(t, bucket)) {
        tags = atomic_load_explicit(&t->heads[bucket].tags, memory_order_relaxed);
        match = se__table_match(tags, 0); /* the lowest is always a true one */
        if (match)
            break;
        pass(&t->heads[bucket], 1);
    }
    unsigned i = se__table_first(match);
    struct bucket_head *h = &t->heads[bucket];
    se__table_set_hits(h, i, 0);
    h->late &= (uint8_t) ~(1u << i);
    atomic_store(&t->words[bucket * BUCKET_SLOTS + i], word);
    /* release: who sees the tag sees the word, and that of a bucket before that it was passed */
    atomic_store_explicit(&h->tags, tags | (uint64_t)se__table_tag(hash) << i * 8,
                          memory_order_release);
    t->used++;
    return bucket * BUCKET_SLOTS + i;
}

void se__table_erase(struct table *t, uint64_t hash, uint32_t slot)
{
    uint32_t bucket = slot / BUCKET_SLOTS;
    unsigned i = slot % BUCKET_SLOTS;
    struct bucket_head *h = &t->heads[bucket];
    uint64_t tags = atomic_load_explicit(&h->tags, memory_order_relaxed);
    atomic_store_explicit(&h->tags, tags & ~((uint64_t)0xff << i * 8), memory_order_release);
    atomic_store(&t->words[bucket * BUCKET_SLOTS + i], 0);
    for (uint32_t b = se__table_home(t, hash); b != bucket; b = after(t, b))
        pass(&t->heads[b], -1);
    t->erased++;
    t->used--;
}

/* ---- queues ---- */

static uint16_t *next_of(struct table *t, uint32_t slot)
{
    return &t->rests[slot / BUCKET_SLOTS].next[slot % BUCKET_SLOTS];
}

void se__table_push(struct table *t, struct queue *q, uint32_t slot)
{
    assert(!se__table_listed(t, slot));
    t->heads[slot / BUCKET_SLOTS].listed |= (uint8_t)(1u << slot % BUCKET_SLOTS);
    *next_of(t, slot) = NO_NEXT;
    *(q->n++ ? next_of(t, q->last) : &q->first) = (uint16_t)slot;
    q->last = (uint16_t)slot;
}

uint32_t se__table_pop(struct table *t, struct queue *q)
{
    if (q->n == 0)
        return NO_SLOT;
    uint32_t slot = q->first;
    q->first = *next_of(t, slot);
    q->n--;
    t->heads[slot / BUCKET_SLOTS].listed &= (uint8_t) ~(1u << slot % BUCKET_SLOTS);
    return slot;
}

/* ---- ghosts ---- */

static uint8_t fingerprint(uint64_t hash)
{
    uint8_t print = (uint8_t)hash;
    return print ? print : 1;
}

static uint8_t *ghosts_of(struct table *t, uint64_t hash)
{
    return t->rests[se__bucket_of(t->haunted, hash)].ghosts[hash >> 8 & (GHOST_ROWS - 1)];
}

void se__table_haunt(struct table *t, uint64_t hash)
{
    uint8_t *ghosts = ghosts_of(t, hash);
    memmove(ghosts + 1, ghosts, GHOST_DEPTH - 1);
    ghosts[0] = fingerprint(hash);
}

unsigned se__table_haunted(struct table *t, uint64_t hash)
{
    uint8_t *ghosts = ghosts_of(t, hash);
    for (unsigned i = 0; i < GHOST_DEPTH; i++) {
        if (ghosts[i] == fingerprint(hash)) {
            ghosts[i] = 0;
            return i;
        }
    }
    return GHOST_NONE;
}

/* ---- moving ---- */

static uint32_t move_slot(struct table *from, struct table *to, uint32_t slot, uint64_t hash)
{
    struct bucket_head *was = &from->heads[slot / BUCKET_SLOTS];
    uint32_t new_slot = se__table_insert(to, hash, atomic_load(se__table_word(from, slot)));
    struct bucket_head *is = &to->heads[new_slot / BUCKET_SLOTS];
    se__table_set_hits(is, new_slot % BUCKET_SLOTS, se__table_hits(from, slot));
    if (se__table_take_late(from, slot))
        se__table_set_late(to, new_slot);
    /* the earliest of its new neighbours', or the sweep would come too late */
    if (was->has_due && (!is->has_due || (int16_t)(was->due - is->due) < 0)) {
        is->due = was->due;
        is->has_due = true;
    }
    return new_slot;
}

struct move {
    struct table *from, *to;
    uint64_t (*hash_of)(const void *arg, uintptr_t word);
    const void *arg;
};

/* What hash_of will read. */
static void fetch(const struct table *t, uint32_t slot)
{
    uintptr_t word = atomic_load_explicit(se__table_word(t, slot), memory_order_relaxed);
    const char *at = (const char *)(word & ~(uintptr_t)15);
    if (!at)
        return;
    __builtin_prefetch(at + 32);
    __builtin_prefetch(at + 80);
}

static void move_queue(const struct move *m, const struct queue *q, struct queue *to)
{
    uint16_t ahead[AHEAD] = {0};
    uint32_t reading = q->first;
    for (uint32_t i = 0; i < q->n + AHEAD; i++) {
        uint32_t slot = ahead[i % AHEAD]; /* fetched AHEAD rounds ago */
        uintptr_t word = i < AHEAD ? 0 : atomic_load(se__table_word(m->from, slot));
        if (word)
            se__table_push(m->to, to, move_slot(m->from, m->to, slot, m->hash_of(m->arg, word)));
        if (i >= q->n)
            continue;
        fetch(m->from, reading);
        ahead[i % AHEAD] = (uint16_t)reading;
        reading = *next_of(m->from, reading);
    }
}

static void move_ghosts(const uint8_t from[GHOST_DEPTH], uint8_t to[GHOST_DEPTH])
{
    for (unsigned i = 0; i < GHOST_DEPTH; i++)
        if (from[i])
            to[i] = from[i];
}

void se__table_move(struct table *from, struct table *to,
                    uint64_t (*hash_of)(const void *arg, uintptr_t word), const void *arg)
{
    struct move m = {from, to, hash_of, arg};
    move_queue(&m, &from->small, &to->small);
    move_queue(&m, &from->main, &to->main);
    for (uint32_t slot = 0; slot < se__table_slots(from); slot++) {
        if (slot + AHEAD < se__table_slots(from))
            fetch(from, slot + AHEAD);
        uintptr_t word = atomic_load(se__table_word(from, slot));
        if (word && !se__table_listed(from, slot))
            move_slot(from, to, slot, hash_of(arg, word));
    }
    /* Where a bucket's ids have gone is not known without their hashes: about
     * half of its ghosts are found again. */
    for (uint32_t b = 0; b < from->haunted; b++) {
        uint32_t at = (uint32_t)((uint64_t)b * to->haunted / from->haunted);
        for (unsigned i = 0; i < GHOST_ROWS; i++)
            move_ghosts(from->rests[b].ghosts[i], to->rests[at].ghosts[i]);
    }
}
