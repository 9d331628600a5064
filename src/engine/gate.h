/*
 * gate - who is inside the engine, and when nobody may enter any more.
 *
 * Calls that write, wait or do I/O enter and leave; se_shutdown closes the gate and waits until all
 * are out. Reads that L1 answers only look (se__gate_open).
 *
 * The first threads of the process have a row each, to which nobody else writes: entering is one
 * exchange there, leaving one store. Later ones share rows and add.
 *
 * Threads: any; a call enters and leaves on one thread, and may enter again inside.  Locks: one mutex,
 * for the wait only.  Memory: in place.
 */
#ifndef SE_ENGINE_GATE_H
#define SE_ENGINE_GATE_H

#include "base/os.h"

#include <stdatomic.h>

#define GATE_OWN 32u
#define GATE_SHARED 16u

struct gate {
    struct gate_row {
        _Alignas(64) _Atomic int64_t inside; /* seq_cst with `closed`: either the caller sees it
                                                closed or closing sees the caller */
    } rows[GATE_OWN + GATE_SHARED];          /* of the threads 1 .. GATE_OWN, and of all others */
    atomic_bool closed;
    struct se__mutex lock; /* rank: leaf */
    struct se__cond left;
};

void se__gate_init(struct gate *g);
void se__gate_done(struct gate *g);
static inline bool se__gate_open(const struct gate *g)
{
    /* relaxed: a call that races with se_shutdown may still be answered. */
    return !atomic_load_explicit(&g->closed, memory_order_relaxed);
}
SE_NODISCARD bool se__gate_enter(struct gate *g);
void se__gate_leave(struct gate *g);
/* Nobody enters any more. */
void se__gate_close(struct gate *g);
/* Waits until nobody is inside; false at the deadline. */
bool se__gate_drain(struct gate *g, uint64_t deadline_ms);

#endif
