/*
 * policy_s3learn - S3-FIFO whose ghost learns how far back it may be trusted: the experiment that
 * src/l1/learn.h came from, with a ghost that takes more room than L1 has.
 *
 * The weak place of S3-FIFO (policy_s3fifo.c) is the fixed length of its ghost: a trace with loops
 * wants it to reach back two or three times the cache's size, another is spoilt by more than half.
 * Here the ghost reaches far back and knows how long ago it last saw an id. An id that comes back
 * soon enters main as in S3-FIFO. One that comes back late ("far") does so only as long as the far
 * ones before it were as useful, once in main, as all others: counted by main's hand alone, so that
 * a hit costs no more than in S3-FIFO. One late one in sixteen is let in all the same, to go on
 * learning.
 *
 * The ghost is a table of two slots an item, 16 bits each: a fingerprint of 10 and the time of 6,
 * in ticks of a sixteenth of the capacity's misses. A bucket of four slots forgets its oldest.
 */
#include "policy.h"
#include "policy_queue.h"

#define COUNT_MAX 3u
#define PROMOTED_FROM 2u
#define SLOTS_PER_ITEM 2u
#define BUCKET 4u
#define TIME_BITS 6u
#define FINGERPRINT_BITS 10u
#define TIME_MASK ((1u << TIME_BITS) - 1)
#define TICKS_PER_CAPACITY 16u
#define AGE_NEAR 0.7 /* of the capacity, in misses; up to it an id is trusted */
#define AGE_MAX 3.0
#define TRIED_ANYWAY 16u /* one in so many far ones */

/* ---- the ghost ---- */

struct ghost {
    uint16_t *slots; /* fingerprint << TIME_BITS | time; 0: empty */
    size_t buckets;
    double misses_per_tick;
};
struct print {
    uint16_t *bucket;
    unsigned fingerprint; /* not 0, so that no used slot is 0 */
};

static struct ghost ghost_make(size_t capacity)
{
    size_t buckets = capacity * SLOTS_PER_ITEM / BUCKET + 1;
    double tick = (double)capacity / TICKS_PER_CAPACITY;
    return (struct ghost){policy_zeroed(buckets * BUCKET, sizeof(uint16_t)), buckets,
                          tick > 1 ? tick : 1};
}

static struct print print_of(const struct ghost *g, uint32_t key)
{
    uint64_t hash = bench_mix(key);
    unsigned fingerprint = (unsigned)(hash & ((1u << FINGERPRINT_BITS) - 1));
    size_t bucket = (size_t)((hash >> 32) * g->buckets >> 32);
    return (struct print){g->slots + bucket * BUCKET, fingerprint ? fingerprint : 1};
}

static unsigned tick_of(const struct ghost *g, size_t misses)
{
    return (unsigned)((double)misses / g->misses_per_tick) & TIME_MASK;
}

static unsigned ticks_since(const struct ghost *g, uint16_t slot, size_t now)
{
    return (tick_of(g, now) - slot) & TIME_MASK;
}

/* `came`: the misses counted when the key was new, `now` when it is evicted. */
static void remember(struct ghost *g, uint32_t key, size_t came, size_t now)
{
    struct print p = print_of(g, key);
    unsigned at = 0, oldest = 0;
    for (unsigned i = 0; i < BUCKET; i++) {
        unsigned age = ticks_since(g, p.bucket[i], now);
        if (p.bucket[i] == 0 || p.bucket[i] >> TIME_BITS == p.fingerprint) {
            at = i;
            break;
        }
        if (age >= oldest) {
            oldest = age;
            at = i;
        }
    }
    p.bucket[at] = (uint16_t)(p.fingerprint << TIME_BITS | tick_of(g, came));
}

/* The misses since the key was new, roughly; negative: it is not known. Forgets it. */
static double recall(struct ghost *g, uint32_t key, size_t now)
{
    struct print p = print_of(g, key);
    for (unsigned i = 0; i < BUCKET; i++) {
        if (p.bucket[i] >> TIME_BITS != p.fingerprint)
            continue;
        double age = ticks_since(g, p.bucket[i], now) * g->misses_per_tick;
        p.bucket[i] = 0;
        return age;
    }
    return -1;
}

/* ---- what main's hand has learnt ---- */

struct use {
    double used, seen;
};

static void learn(struct use *u, bool used, double seen_max)
{
    u->used += used;
    u->seen++;
    if (u->seen > seen_max) {
        u->used /= 2;
        u->seen /= 2;
    }
}

/* ---- the cache ---- */

struct entry {
    size_t came; /* misses counted then */
    uint8_t count;
    bool far;
};
struct s3learn {
    struct queue small, main;
    struct entry *entries; /* by key */
    struct ghost ghost;
    struct use far, near;
    size_t capacity, small_room, misses;
};

static void learn_of(struct s3learn *s, struct entry *e)
{
    double capacity = (double)s->capacity;
    if (e->far)
        learn(&s->far, e->count > 0, capacity / 8 + 8);
    else
        learn(&s->near, e->count > 0, capacity / 2 + 32);
    e->far = false;
}

static void evict_main(struct s3learn *s)
{
    for (;;) {
        uint32_t key = queue_pop(&s->main);
        struct entry *e = &s->entries[key];
        learn_of(s, e);
        if (e->count == 0)
            return;
        e->count--;
        queue_push(&s->main, key);
    }
}

static void evict_small(struct s3learn *s)
{
    while (s->small.n > 0) {
        uint32_t key = queue_pop(&s->small);
        struct entry *e = &s->entries[key];
        if (e->count < PROMOTED_FROM) {
            remember(&s->ghost, key, e->came, s->misses);
            return;
        }
        e->count = 0;
        queue_push(&s->main, key);
        if (s->main.n > s->capacity - s->small_room) {
            evict_main(s);
            return;
        }
    }
}

/* Whether a key of this age in the ghost goes into main at once; *far says that it is on trial. */
static bool trusted(const struct s3learn *s, double age, uint64_t random, bool *far)
{
    double capacity = (double)s->capacity;
    *far = age > AGE_NEAR * capacity;
    if (age < 0 || age > AGE_MAX * capacity)
        return false;
    return !*far || s->far.used * s->near.seen >= s->near.used * s->far.seen ||
           random % TRIED_ANYWAY == 0;
}

static void admit(struct s3learn *s, uint32_t key)
{
    struct entry e = {.came = ++s->misses};
    double age = recall(&s->ghost, key, s->misses);
    while (s->small.n + s->main.n >= s->capacity) {
        if (s->small.n >= s->small_room || s->main.n == 0)
            evict_small(s);
        else
            evict_main(s);
    }
    bool far, to_main = trusted(s, age, bench_mix(s->misses), &far);
    e.far = to_main && far;
    s->entries[key] = e;
    queue_push(to_main ? &s->main : &s->small, key);
}

size_t policy_s3learn(const struct trace *t, size_t capacity)
{
    struct link *links = policy_zeroed(t->distinct, sizeof *links);
    struct s3learn s = {.small = queue_empty(links, 1),
                        .main = queue_empty(links, 2),
                        .entries = policy_zeroed(t->distinct, sizeof *s.entries),
                        .ghost = ghost_make(capacity),
                        .capacity = capacity,
                        .small_room = capacity / 10 ? capacity / 10 : 1};
    size_t hits = 0;
    for (size_t i = 0; i < t->n; i++) {
        uint32_t key = t->keys[i];
        if (!queue_has(&s.small, key) && !queue_has(&s.main, key)) {
            admit(&s, key);
            continue;
        }
        hits++;
        if (s.entries[key].count < COUNT_MAX)
            s.entries[key].count++;
    }
    free(links);
    free(s.entries);
    free(s.ghost.slots);
    return hits;
}
