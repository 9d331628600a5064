/*
 * policy_arc - two LRU lists, of what was seen once (T1) and more often (T2), with ghosts (B1, B2)
 * whose hits move the border between them.
 *
 * Megiddo, Modha: "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003, figure 4.
 */
#include "policy.h"
#include "policy_queue.h"

struct arc {
    struct queue t1, t2, b1, b2;
    size_t capacity;
    double target; /* of t1: the paper's p */
};

static void replace(struct arc *a, bool in_b2)
{
    double t1 = (double)a->t1.n;
    if (a->t1.n > 0 && (t1 > a->target || (in_b2 && t1 == a->target)))
        queue_push(&a->b1, queue_pop(&a->t1));
    else
        queue_push(&a->b2, queue_pop(&a->t2));
}

static double ratio_or_one(size_t a, size_t b)
{
    return a > b ? (double)a / (double)b : 1;
}

/* Cases II and III: the key is in a ghost. */
static void revive(struct arc *a, uint32_t key)
{
    bool in_b2 = queue_has(&a->b2, key);
    double capacity = (double)a->capacity;
    a->target += in_b2 ? -ratio_or_one(a->b1.n, a->b2.n) : ratio_or_one(a->b2.n, a->b1.n);
    a->target = a->target < 0 ? 0 : a->target > capacity ? capacity : a->target;
    replace(a, in_b2);
    queue_remove(in_b2 ? &a->b2 : &a->b1, key);
    queue_push(&a->t2, key);
}

/* Case IV: the key is nowhere. */
static void admit(struct arc *a, uint32_t key)
{
    size_t l1 = a->t1.n + a->b1.n, all = l1 + a->t2.n + a->b2.n;
    if (l1 == a->capacity) {
        if (a->t1.n < a->capacity) {
            queue_pop(&a->b1);
            replace(a, false);
        } else {
            queue_pop(&a->t1);
        }
    } else if (all >= a->capacity) {
        if (all == 2 * a->capacity)
            queue_pop(&a->b2);
        replace(a, false);
    }
    queue_push(&a->t1, key);
}

size_t policy_arc(const struct trace *t, size_t capacity)
{
    struct link *links = policy_zeroed(t->distinct, sizeof *links);
    struct arc a = {queue_empty(links, 1),
                    queue_empty(links, 2),
                    queue_empty(links, 3),
                    queue_empty(links, 4),
                    capacity,
                    0};
    size_t hits = 0;
    for (size_t i = 0; i < t->n; i++) {
        uint32_t key = t->keys[i];
        if (queue_has(&a.t1, key) || queue_has(&a.t2, key)) {
            hits++;
            queue_remove(queue_has(&a.t1, key) ? &a.t1 : &a.t2, key);
            queue_push(&a.t2, key);
        } else if (queue_has(&a.b1, key) || queue_has(&a.b2, key)) {
            revive(&a, key);
        } else {
            admit(&a, key);
        }
    }
    free(links);
    return hits;
}
