/*
 * gate - see gate.h. A Dekker-style handshake per stripe: callers count themselves in and then look
 * at `closed`; closing sets `closed` and then looks at the counts. Both in seq_cst order, so at
 * least one of them sees the other.
 */
#include "engine/gate.h"

void se__gate_init(struct gate *g)
{
    for (size_t i = 0; i < GATE_STRIPES; i++)
        atomic_init(&g->stripes[i].inside, 0);
    atomic_init(&g->closed, false);
    se__mutex_init(&g->lock);
    se__cond_init(&g->left);
}

void se__gate_done(struct gate *g)
{
    se__cond_done(&g->left);
    se__mutex_done(&g->lock);
}

static _Atomic int64_t *my_stripe(struct gate *g)
{
    return &g->stripes[se__thread_id() % GATE_STRIPES].inside;
}

bool se__gate_enter(struct gate *g)
{
    atomic_fetch_add(my_stripe(g), 1); /* seq_cst: before the load of closed */
    if (!atomic_load(&g->closed))
        return true;
    se__gate_leave(g);
    return false;
}

void se__gate_leave(struct gate *g)
{
    atomic_fetch_sub(my_stripe(g), 1); /* seq_cst: pairs with the sum in is_empty */
    if (atomic_load(&g->closed)) {
        se__mutex_lock(&g->lock);
        se__cond_broadcast(&g->left);
        se__mutex_unlock(&g->lock);
    }
}

void se__gate_close(struct gate *g)
{
    atomic_store(&g->closed, true); /* seq_cst: before any sum */
}

/* A call enters and leaves on one thread, so every stripe's count is exact on its own. */
static bool is_empty(struct gate *g)
{
    for (size_t i = 0; i < GATE_STRIPES; i++) {
        if (atomic_load(&g->stripes[i].inside) != 0)
            return false;
    }
    return true;
}

bool se__gate_drain(struct gate *g, uint64_t deadline_ms)
{
    se__mutex_lock(&g->lock);
    bool in_time = true;
    while (!is_empty(g) && in_time)
        in_time = se__cond_wait_until(&g->left, &g->lock, deadline_ms);
    bool empty = is_empty(g);
    se__mutex_unlock(&g->lock);
    return empty;
}
