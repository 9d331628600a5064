/*
 * epoch - knows when memory that threads may still be looking at can be freed.
 *
 *   reader:  at = enter; load pointers, use what they show; leave(at)          (no lock, no wait)
 *   writer:  make it unreachable; tag = now; ...; free it once tag < passed()
 *
 * No thread is registered, none has to say that it ends, and one that is not inside holds up nothing.
 * Each thread has a row, by its number (se__thread_id):
 *
 *   own      the first threads of the process have a row each, in which they note the epoch in which
 *            they came in, and 0 when they leave: two plain stores. The writer sees to it that these
 *            are in order with the loads that follow them, by a barrier in all threads of the process
 *            at once (se__fence_everywhere). Nothing of a tag is freed while a row shows an epoch
 *            that is not above it (epochs as in Fraser, "Practical lock freedom", 2004; the barrier
 *            on the writer's side as in liburcu's "memb" flavour, Desnoyers and others, "User-level
 *            implementations of read-copy update", 2012).
 *   shared   later threads share rows, each with two counters; the epoch's last bit says which one
 *            who comes in takes, by an atomic addition. An epoch ends when the counter that its
 *            readers do not take is zero in every row: as nobody goes on coming to that one, this
 *            happens soon (SRCU, McKenney, "Sleepable RCU", 2006). Where the system has no barrier
 *            for all threads, all are shared.
 *
 * What makes the shared rows right: the reader's counting and its loads of pointers, the writer's
 * stores of pointers, `now` and the looks at counters are all seq_cst. In their one order, a counter
 * that is zero after a pointer has become unreachable has no reader who came before that: all that
 * were counted in it have left. What was tagged in epoch t has seen both counters of every row at
 * zero when t+1 and t+2 have ended, whose ends were looked for after the tag was read. That a reader
 * counts itself in an epoch that has passed meanwhile does no harm: it came later, and finds nothing
 * of what was unreachable before. (Operations and not fences: ThreadSanitizer does not see fences.)
 *
 * What makes the own rows right: `fenced` is a value that `now` had reached before such a barrier
 * began, so what has a smaller tag was out of sight before it. In each thread the barrier falls
 * somewhere. If that is after it noted its epoch, the writer, who looks afterwards, finds the note,
 * or one of a later visit. If before, the loads that follow the note come after the barrier, and
 * find nothing of it. The epoch in the note is not above the tag of anything that its reader can find
 * (it was loaded, with acquire, before the pointers), so smaller tags than the smallest note are
 * nobody's.
 *
 * So pointers must be stored and loaded with seq_cst.
 *
 * Threads: any, any number. A reader must not block inside, nor come in twice.
 * Memory: the rows are the owner's, aligned to SE__EPOCH_LINE.
 */
#ifndef SE_BASE_EPOCH_H
#define SE_BASE_EPOCH_H

#include "base/os.h"

#include <stdatomic.h>

#define SE__EPOCH_LINE 64u
#define SE__EPOCH_BEHIND 2u /* shared rows: so many epochs must have ended after the one of a tag */

struct epoch_row {
    /* own: [0] the epoch, or 0. shared: two counters */
    _Alignas(SE__EPOCH_LINE) _Atomic uint64_t inside[2];
    /* own: for its thread to count what the rows' owner likes, with a load and a store; relaxed */
    _Atomic uint64_t count;
};

struct epochs {
    _Alignas(SE__EPOCH_LINE) struct epoch_row *rows; /* nobody's, own ones, shared ones */
    uint32_t own;                                    /* rows, of the threads 1, 2, ... */
    uint32_t shared_mask;                            /* shared rows - 1 */
    struct epoch_row *shared;
    /* readers read it, so it has a line of its own */
    _Alignas(SE__EPOCH_LINE) _Atomic uint64_t now;
    _Alignas(SE__EPOCH_LINE) _Atomic uint64_t fenced; /* see the head; seq_cst */
};

/* `rows`: SE__EPOCH_ROWS(own, shared) of them, all zero; shared is a power of two. Without a barrier for all threads
 * there will be no own ones, whatever is asked for. */
#define SE__EPOCH_ROWS(own, shared) (1 + (own) + (shared))
void se__epochs_init(struct epochs *e, struct epoch_row *rows, unsigned own, unsigned shared);

/* The caller's own row, or NULL. thread: its se__thread_id, or 0 where it has none yet: then the row
 * is nobody's, not to be entered, and its count 0. */
static inline struct epoch_row *se__epoch_own_row(const struct epochs *e, uint64_t thread)
{
    return thread <= e->own ? &e->rows[thread] : NULL;
}
static inline void se__epoch_enter_own(struct epochs *e, struct epoch_row *row)
{
    uint64_t now = atomic_load_explicit(&e->now, memory_order_acquire); /* see the head */
    /* release: as se__epoch_leave_own, of the visit before. The barrier orders it with what follows;
     * the compiler must not order it otherwise. */
    atomic_store_explicit(&row->inside[0], now, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
}
static inline void se__epoch_leave_own(struct epoch_row *row)
{
    /* release: what was read inside is read before who sees the 0 frees it. */
    atomic_store_explicit(&row->inside[0], 0, memory_order_release);
}

/* Of any thread. */
struct epoch_place {
    struct epoch_row *own;
    _Atomic uint64_t *counter; /* if it has none */
};
static inline struct epoch_place se__epoch_enter(struct epochs *e)
{
    uint64_t thread = se__thread_id();
    struct epoch_place p = {.own = se__epoch_own_row(e, thread)};
    if (p.own) {
        se__epoch_enter_own(e, p.own);
    } else {
        /* relaxed: which counter is taken matters for how soon an epoch ends, and for nothing else */
        uint64_t now = atomic_load_explicit(&e->now, memory_order_relaxed);
        p.counter = &e->shared[thread & e->shared_mask].inside[now & 1];
        atomic_fetch_add(p.counter, 1); /* seq_cst: see the head */
    }
    return p;
}
static inline void se__epoch_leave(struct epoch_place p)
{
    if (p.own)
        se__epoch_leave_own(p.own);
    else
        atomic_fetch_sub_explicit(p.counter, 1, memory_order_release); /* as se__epoch_leave_own */
}

/* The tag of what has just become unreachable. */
static inline uint64_t se__epoch_now(struct epochs *e)
{
    return atomic_load(&e->now); /* seq_cst: see the head */
}
/* Everything with a tag below the result can be freed. With `fence` it ends as many epochs as can be
 * ended; with nobody inside, that is enough for all that was tagged before the call. Without, it costs
 * the other threads nothing and finds what earlier calls have made free, whoever made them. */
uint64_t se__epoch_passed(struct epochs *e, bool fence);

/* The sum of all rows' counts. */
uint64_t se__epoch_counted(const struct epochs *e);

#endif
