/*
 * policy_opt - the limit: evicts what will be asked for last.
 *
 * Belady: "A Study of Replacement Algorithms for a Virtual-Storage Computer", IBM Systems Journal
 * 5 (2), 1966. Like all the others here it keeps every newcomer at least until the next request; a
 * cache that may pass one on without keeping it could do as much as one with one item more.
 */
#include "policy.h"
#include "policy_queue.h"

#define NEVER SIZE_MAX

/* A max-heap of cached keys by their next request. Entries of earlier requests of a key stay in it
 * until they surface: their time has passed, so they are no farthest while a valid one is there. */
struct future {
    size_t at;
    uint32_t key;
};
struct heap {
    struct future *entries;
    size_t n;
};

static void swap(struct future *a, struct future *b)
{
    struct future kept = *a;
    *a = *b;
    *b = kept;
}

static void heap_push(struct heap *h, struct future f)
{
    size_t at = h->n++;
    h->entries[at] = f;
    for (; at > 0 && h->entries[(at - 1) / 2].at < h->entries[at].at; at = (at - 1) / 2)
        swap(&h->entries[(at - 1) / 2], &h->entries[at]);
}

static struct future heap_pop(struct heap *h)
{
    struct future top = h->entries[0];
    h->entries[0] = h->entries[--h->n];
    for (size_t at = 0, child; (child = 2 * at + 1) < h->n; at = child) {
        if (child + 1 < h->n && h->entries[child + 1].at > h->entries[child].at)
            child++;
        if (h->entries[at].at >= h->entries[child].at)
            break;
        swap(&h->entries[at], &h->entries[child]);
    }
    return top;
}

/* For each request, when its key is asked for next. */
static size_t *next_requests(const struct trace *t)
{
    size_t *next = policy_zeroed(t->n, sizeof *next);
    size_t *seen = policy_zeroed(t->distinct, sizeof *seen);
    for (size_t i = 0; i < t->distinct; i++)
        seen[i] = NEVER;
    for (size_t i = t->n; i-- > 0;) {
        next[i] = seen[t->keys[i]];
        seen[t->keys[i]] = i;
    }
    free(seen);
    return next;
}

size_t policy_opt(const struct trace *t, size_t capacity)
{
    size_t *next = next_requests(t);
    bool *cached = policy_zeroed(t->distinct, sizeof *cached);
    struct heap h = {policy_zeroed(t->n, sizeof *h.entries), 0};
    size_t hits = 0, held = 0;
    for (size_t i = 0; i < t->n; i++) {
        uint32_t key = t->keys[i];
        hits += cached[key];
        if (!cached[key] && held == capacity)
            cached[heap_pop(&h).key] = false;
        else
            held += !cached[key];
        cached[key] = true;
        heap_push(&h, (struct future){next[i], key});
    }
    free(next);
    free(cached);
    free(h.entries);
    return hits;
}
