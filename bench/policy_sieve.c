/*
 * policy_sieve - one queue, a bit an item, and a hand that moves from old to new and stays where it
 * is when it has found a victim.
 *
 * Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is Simpler than LRU: an Efficient Turn-Key Eviction
 * Algorithm for Web Caches", NSDI 2024, Algorithm 1.
 */
#include "policy.h"
#include "policy_queue.h"

struct sieve {
    struct queue q;
    bool *visited;
    uint32_t hand;
};

static void evict(struct sieve *s)
{
    uint32_t at = s->hand == NO_KEY ? s->q.oldest : s->hand;
    while (s->visited[at]) {
        s->visited[at] = false;
        at = s->q.links[at].newer;
        if (at == NO_KEY)
            at = s->q.oldest;
    }
    s->hand = s->q.links[at].newer;
    queue_remove(&s->q, at);
}

size_t policy_sieve(const struct trace *t, size_t capacity)
{
    struct link *links = policy_zeroed(t->distinct, sizeof *links);
    struct sieve s = {queue_empty(links, 1), policy_zeroed(t->distinct, 1), NO_KEY};
    size_t hits = 0;
    for (size_t i = 0; i < t->n; i++) {
        uint32_t key = t->keys[i];
        if (queue_has(&s.q, key)) {
            hits++;
            s.visited[key] = true;
            continue;
        }
        if (s.q.n == capacity)
            evict(&s);
        queue_push(&s.q, key);
        s.visited[key] = false;
    }
    free(links);
    free(s.visited);
    return hits;
}
