/*
 * policy_lru - evicts what was not used for the longest time.
 */
#include "policy.h"
#include "policy_queue.h"

size_t policy_lru(const struct trace *t, size_t capacity)
{
    struct link *links = policy_zeroed(t->distinct, sizeof *links);
    struct queue q = queue_empty(links, 1);
    size_t hits = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (queue_has(&q, t->keys[i])) {
            hits++;
            queue_renew(&q, t->keys[i]);
            continue;
        }
        if (q.n == capacity)
            queue_pop(&q);
        queue_push(&q, t->keys[i]);
    }
    free(links);
    return hits;
}
