/*
 * policy_tinylfu - an LRU window in front of a segmented LRU, which a newcomer enters only if it was
 * asked for more often, lately, than whom it would replace.
 *
 * Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache Admission Policy", ACM Transactions
 * on Storage 13 (4), 2017: the window has 1 % of the room, the protected segment 80 % of the rest.
 * Frequencies are a count-min sketch (four rows, counters of four bits, the least of the four goes
 * up) behind a doorkeeper (a Bloom filter that takes the first request of each key); after ten
 * requests an item all counters are halved and the doorkeeper is emptied.
 */
#include "policy.h"
#include "policy_queue.h"

#include <string.h>

#define ROWS 4u
#define COUNT_MAX 15u
#define REQUESTS_PER_ITEM 10u

/* ---- frequencies ---- */

struct sketch {
    uint8_t *counts; /* ROWS x (mask + 1) */
    uint8_t *door;   /* 8 x (mask + 1) bits, a byte each */
    size_t mask, requests, requests_max;
};

static struct sketch sketch_make(size_t capacity)
{
    size_t width = 16;
    while (width < capacity)
        width *= 2;
    return (struct sketch){.counts = policy_zeroed(width * ROWS, 1),
                           .door = policy_zeroed(width * 8, 1),
                           .mask = width - 1,
                           .requests_max = capacity * REQUESTS_PER_ITEM};
}

static uint8_t *counter(const struct sketch *s, unsigned row, uint32_t key)
{
    return &s->counts[row * (s->mask + 1) + (bench_mix((uint64_t)row << 32 | key) & s->mask)];
}

static unsigned least(const struct sketch *s, uint32_t key)
{
    unsigned min = COUNT_MAX;
    for (unsigned row = 0; row < ROWS; row++)
        min = *counter(s, row, key) < min ? *counter(s, row, key) : min;
    return min;
}

/* Whether all of the key's bits are set in the doorkeeper; with `set`, they are from now on. */
static bool at_door(struct sketch *s, uint32_t key, bool set)
{
    bool all = true;
    for (unsigned i = 0; i < 3; i++) {
        uint8_t *bit = &s->door[bench_mix((uint64_t)(i + ROWS) << 32 | key) & (s->mask * 8 + 7)];
        all = all && *bit;
        *bit = *bit || set;
    }
    return all;
}

static unsigned estimate(struct sketch *s, uint32_t key)
{
    return least(s, key) + at_door(s, key, false);
}

static void count(struct sketch *s, uint32_t key)
{
    unsigned min = least(s, key);
    if (at_door(s, key, true) && min < COUNT_MAX)
        for (unsigned row = 0; row < ROWS; row++)
            if (*counter(s, row, key) == min)
                *counter(s, row, key) = (uint8_t)(min + 1);
    if (++s->requests < s->requests_max)
        return;
    for (size_t i = 0; i < ROWS * (s->mask + 1); i++)
        s->counts[i] >>= 1;
    memset(s->door, 0, 8 * (s->mask + 1));
    s->requests /= 2;
}

/* ---- the cache ---- */

struct tinylfu {
    struct sketch sketch;
    struct queue window, probation, protected;
    size_t window_room, protected_room, main_room;
};

static void hit(struct tinylfu *c, uint32_t key)
{
    if (queue_has(&c->window, key)) {
        queue_renew(&c->window, key);
    } else if (queue_has(&c->protected, key)) {
        queue_renew(&c->protected, key);
    } else {
        queue_remove(&c->probation, key);
        queue_push(&c->protected, key);
        if (c->protected.n > c->protected_room)
            queue_push(&c->probation, queue_pop(&c->protected));
    }
}

static void admit(struct tinylfu *c, uint32_t key)
{
    queue_push(&c->window, key);
    if (c->window.n <= c->window_room)
        return;
    uint32_t candidate = queue_pop(&c->window);
    if (c->probation.n + c->protected.n == c->main_room) {
        struct queue *from = c->probation.n > 0 ? &c->probation : &c->protected;
        if (c->main_room == 0 ||
            estimate(&c->sketch, candidate) <= estimate(&c->sketch, from->oldest))
            return;
        queue_pop(from);
    }
    queue_push(&c->probation, candidate);
}

size_t policy_tinylfu(const struct trace *t, size_t capacity)
{
    struct link *links = policy_zeroed(t->distinct, sizeof *links);
    struct tinylfu c = {.sketch = sketch_make(capacity),
                        .window = queue_empty(links, 1),
                        .probation = queue_empty(links, 2),
                        .protected = queue_empty(links, 3),
                        .window_room = capacity / 100 ? capacity / 100 : 1};
    c.main_room = capacity - c.window_room;
    c.protected_room = c.main_room * 8 / 10;
    size_t hits = 0;
    for (size_t i = 0; i < t->n; i++) {
        uint32_t key = t->keys[i];
        count(&c.sketch, key);
        if (links[key].queue) {
            hits++;
            hit(&c, key);
        } else {
            admit(&c, key);
        }
    }
    free(links);
    free(c.sketch.counts);
    free(c.sketch.door);
    return hits;
}
