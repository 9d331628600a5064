/*
 * gate - see gate.h. A Dekker-style handshake per row: callers note themselves and then look at
 * `closed`; closing sets `closed` and then looks at the rows. Both in seq_cst order, so at least one of
 * them sees the other.
 *
 * Who leaves an own row stores and then looks whether somebody waits for it. The processor may do the
 * look first, and then nobody is told: so who waits looks again by himself after a moment.
 */
#include "engine/gate.h"

#define LOOK_MS 2u

void se__gate_init(struct gate *g)
{
    for (size_t i = 0; i < GATE_OWN + GATE_SHARED; i++)
        atomic_init(&g->rows[i].inside, 0);
    atomic_init(&g->closed, false);
    se__mutex_init(&g->lock);
    se__cond_init(&g->left);
}

void se__gate_done(struct gate *g)
{
    se__cond_done(&g->left);
    se__mutex_done(&g->lock);
}

static void change(struct gate *g, int64_t by)
{
    uint64_t thread = se__thread_id();
    if (thread > GATE_OWN) {
        atomic_fetch_add(&g->rows[GATE_OWN + thread % GATE_SHARED].inside, by); /* seq_cst */
        return;
    }
    _Atomic int64_t *row = &g->rows[thread - 1].inside;
    int64_t inside = atomic_load_explicit(row, memory_order_relaxed) + by; /* ours alone */
    if (by > 0)
        (void)atomic_exchange(row, inside); /* seq_cst: before the load of closed */
    else /* release: what was done inside is seen by whoever finds this thread gone */
        atomic_store_explicit(row, inside, memory_order_release);
}

bool se__gate_enter(struct gate *g)
{
    change(g, 1);
    if (!atomic_load(&g->closed))
        return true;
    se__gate_leave(g);
    return false;
}

void se__gate_leave(struct gate *g)
{
    change(g, -1);
    if (atomic_load(&g->closed)) {
        se__mutex_lock(&g->lock);
        se__cond_broadcast(&g->left);
        se__mutex_unlock(&g->lock);
    }
}

void se__gate_close(struct gate *g)
{
    atomic_store(&g->closed, true); /* seq_cst: before any look at the rows */
}

/* A call enters and leaves on one thread, so every row is exact on its own. */
static bool is_empty(struct gate *g)
{
    for (size_t i = 0; i < GATE_OWN + GATE_SHARED; i++) {
        if (atomic_load(&g->rows[i].inside) != 0)
            return false;
    }
    return true;
}

bool se__gate_drain(struct gate *g, uint64_t deadline_ms)
{
    se__mutex_lock(&g->lock);
    while (!is_empty(g) && se__deadline_left(deadline_ms) > 0) {
        uint64_t look_ms = se__deadline_in(LOOK_MS);
        (void)se__cond_wait_until(&g->left, &g->lock,
                                  look_ms < deadline_ms ? look_ms : deadline_ms);
    }
    bool empty = is_empty(g);
    se__mutex_unlock(&g->lock);
    return empty;
}
