/*
 * policy_s3fifo - a small FIFO through which all newcomers pass, a main FIFO with second chances, a
 * ghost of what the small one threw out.
 *
 * Yang, Zhang, Qiu, Yue, Rashmi: "FIFO Queues are All You Need for Cache Eviction", SOSP 2023,
 * Algorithm 1: the small queue has a tenth of the room, what was hit more than once in it goes to
 * the main one with its counter cleared, counters go up to 3, the ghost remembers as many ids as the
 * main queue holds.
 */
#include "policy.h"
#include "policy_queue.h"

#define COUNT_MAX 3u
#define PROMOTED_ABOVE 1u

struct s3fifo {
    struct queue small, main, ghost;
    uint8_t *count;
    size_t capacity, small_room, ghost_room;
};

static void remember(struct s3fifo *s, uint32_t key)
{
    if (s->ghost.n == s->ghost_room)
        queue_pop(&s->ghost);
    queue_push(&s->ghost, key);
}

static void evict_main(struct s3fifo *s)
{
    for (;;) {
        uint32_t key = queue_pop(&s->main);
        if (s->count[key] == 0)
            return;
        s->count[key]--;
        queue_push(&s->main, key);
    }
}

static void evict_small(struct s3fifo *s)
{
    while (s->small.n > 0) {
        uint32_t key = queue_pop(&s->small);
        if (s->count[key] <= PROMOTED_ABOVE) {
            remember(s, key);
            return;
        }
        s->count[key] = 0;
        queue_push(&s->main, key);
        if (s->main.n > s->capacity - s->small_room)
            evict_main(s);
    }
}

static void admit(struct s3fifo *s, uint32_t key)
{
    while (s->small.n + s->main.n >= s->capacity) {
        if (s->small.n >= s->small_room || s->main.n == 0)
            evict_small(s);
        else
            evict_main(s);
    }
    bool known = queue_has(&s->ghost, key);
    if (known)
        queue_remove(&s->ghost, key);
    queue_push(known ? &s->main : &s->small, key);
    s->count[key] = 0;
}

size_t policy_s3fifo(const struct trace *t, size_t capacity)
{
    struct link *links = policy_zeroed(t->distinct, sizeof *links);
    size_t small_room = capacity / 10 ? capacity / 10 : 1;
    struct s3fifo s = {
        .small = queue_empty(links, 1),
        .main = queue_empty(links, 2),
        .ghost = queue_empty(links, 3),
        .count = policy_zeroed(t->distinct, 1),
        .capacity = capacity,
        .small_room = small_room,
        .ghost_room = capacity > small_room ? capacity - small_room : 1,
    };
    size_t hits = 0;
    for (size_t i = 0; i < t->n; i++) {
        uint32_t key = t->keys[i];
        if (!queue_has(&s.small, key) && !queue_has(&s.main, key)) {
            admit(&s, key);
            continue;
        }
        hits++;
        if (s.count[key] < COUNT_MAX)
            s.count[key]++;
    }
    free(links);
    free(s.count);
    return hits;
}
