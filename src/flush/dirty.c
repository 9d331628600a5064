/*
 * dirty.c - the intrusive queue of dirty ids.
 *
 * Numbers are not stored in the nodes: nodes pushed at the back leave in order, so the number of
 * the last one taken is `pushed` less what still waits behind it.
 */
#include "flush/dirty.h"

void se__dirty_init(struct dirty_queue *q)
{
    *q = (struct dirty_queue){0};
    se__mutex_init(&q->lock);
    se__cond_init(&q->changed);
    q->back = &q->front;
}

void se__dirty_done(struct dirty_queue *q)
{
    se__cond_done(&q->changed);
    se__mutex_done(&q->lock);
}

static void link_front_locked(struct dirty_queue *q, struct dirty_node *node)
{
    node->next = q->front;
    if (!q->front)
        q->back = &node->next;
    q->front = node;
    q->fronted++;
}

static void link_back_locked(struct dirty_queue *q, struct dirty_node *node)
{
    node->next = NULL;
    *q->back = node;
    q->back = &node->next;
    q->pushed++;
}

void se__dirty_push(struct dirty_queue *q, struct dirty_node *node, bool front)
{
    se__mutex_lock(&q->lock);
    if (front)
        link_front_locked(q, node);
    else
        link_back_locked(q, node);
    size_t bytes_before = q->bytes;
    q->items++;
    q->bytes += node->bytes;
    bool wake = q->items == 1 || q->items == q->items_wake ||
                (bytes_before < q->bytes_wake && q->bytes >= q->bytes_wake);
    if (wake)
        se__cond_signal(&q->changed);
    se__mutex_unlock(&q->lock);
}

static void note_taken_locked(struct dirty_queue *q, const struct dirty_node *node)
{
    q->items--;
    q->bytes -= node->bytes;
    if (q->fronted)
        q->fronted--;
    q->taken++;
    if (!q->taken_oldest_ms || node->first_ms < q->taken_oldest_ms)
        q->taken_oldest_ms = node->first_ms;
}

struct dirty_node *se__dirty_take(struct dirty_queue *q, size_t items_max, size_t bytes_max,
                                  size_t *n, uint64_t *up_to)
{
    se__mutex_lock(&q->lock);
    struct dirty_node *first = q->front, **link = &q->front;
    size_t bytes = 0, count = 0;
    while (*link && (count == 0 || (count < items_max && bytes + (*link)->bytes <= bytes_max))) {
        bytes += (*link)->bytes;
        count++;
        note_taken_locked(q, *link);
        link = &(*link)->next;
    }
    struct dirty_node *rest = *link;
    if (count)
        *link = NULL;
    q->front = rest;
    if (!rest)
        q->back = &q->front;
    *n = count;
    *up_to = q->fronted ? 0 : q->pushed - q->items;
    se__mutex_unlock(&q->lock);
    return first;
}

uint64_t se__dirty_settle(struct dirty_queue *q)
{
    se__mutex_lock(&q->lock);
    q->taken = 0;
    q->taken_oldest_ms = 0;
    uint64_t pushed = q->pushed;
    se__mutex_unlock(&q->lock);
    return pushed;
}

void se__dirty_hurry(struct dirty_queue *q, bool begins)
{
    se__mutex_lock(&q->lock);
    if (begins)
        q->urgent++;
    else
        q->urgent--;
    if (begins)
        se__cond_signal(&q->changed);
    se__mutex_unlock(&q->lock);
}
