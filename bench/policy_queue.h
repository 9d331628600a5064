/*
 * policy_queue - doubly linked queues of keys for the simulators.
 *
 * A key is in at most one queue of those that share a `links`, which knows its neighbours and which
 * queue it is in.
 */
#ifndef SE_BENCH_POLICY_QUEUE_H
#define SE_BENCH_POLICY_QUEUE_H

#include "harness.h"

#include <stdlib.h>

#define NO_KEY UINT32_MAX

struct link {
    uint32_t older, newer;
    uint8_t queue; /* 0: in none */
};
struct queue {
    struct link *links;
    uint32_t oldest, newest;
    uint8_t id; /* 1 or more */
    size_t n;
};

static inline void *policy_zeroed(size_t n, size_t size)
{
    void *memory = calloc(n ? n : 1, size);
    if (!memory)
        bench_fail("out of memory");
    return memory;
}

static inline struct queue queue_empty(struct link *links, uint8_t id)
{
    return (struct queue){links, NO_KEY, NO_KEY, id, 0};
}

static inline bool queue_has(const struct queue *q, uint32_t key)
{
    return q->links[key].queue == q->id;
}

/* key is in no queue; it becomes the newest. */
static inline void queue_push(struct queue *q, uint32_t key)
{
    q->links[key] = (struct link){q->newest, NO_KEY, q->id};
    if (q->newest == NO_KEY)
        q->oldest = key;
    else
        q->links[q->newest].newer = key;
    q->newest = key;
    q->n++;
}

static inline void queue_remove(struct queue *q, uint32_t key)
{
    struct link *l = &q->links[key];
    if (l->older == NO_KEY)
        q->oldest = l->newer;
    else
        q->links[l->older].newer = l->newer;
    if (l->newer == NO_KEY)
        q->newest = l->older;
    else
        q->links[l->newer].older = l->older;
    l->queue = 0;
    q->n--;
}

static inline uint32_t queue_pop(struct queue *q)
{
    uint32_t key = q->oldest;
    queue_remove(q, key);
    return key;
}

static inline void queue_renew(struct queue *q, uint32_t key)
{
    queue_remove(q, key);
    queue_push(q, key);
}

#endif
