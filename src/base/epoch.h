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
 *            they came in, and 0 when they leave. Nothing of a tag is freed while a row shows an epoch
 *            that is not above it (epochs as in Fraser, "Practical lock freedom", 2004).
 *   shared   later threads share rows, each with two counters; the epoch's last bit says which one
 *            who comes in takes. An epoch ends when the counter that its readers do not take is zero
 *            in every row: as nobody goes on coming to that one, this happens soon (SRCU, McKenney,
 *            "Sleepable RCU", 2006).
 *
 * What makes it right: the reader's noting or counting and its loads of pointers, the writer's stores
 * of pointers, `now` and the looks at the rows are all seq_cst. In their one order a reader whom the
 * writer's look did not find came after it, and so after the pointer was gone.
 *   own      A note is not above the tag of anything that its reader can find: it was loaded, with
 *            acquire, before the pointers. So tags below the smallest note are nobody's.
 *   shared   What was tagged in epoch t has seen both counters of every row at zero when t+1 and t+2
 *            have ended, whose ends were looked for after the tag was read. That a reader counts itself
 *            in an epoch that has passed meanwhile does no harm: it came later.
 * Operations and not fences: ThreadSanitizer does not see fences. An exchange or an addition that nobody
 * waits for, not a comparison: it lets the processor go on. (A plain store, and membarrier(2) by the
 * writer, would spare readers the exchange, and interrupt all of them for every few writes.)
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
};

/* `rows`: SE__EPOCH_ROWS(own, shared) of them, all zero; shared is a power of two. */
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
    /* acquire, and seq_cst: see the head */
    (void)atomic_exchange(&row->inside[0], atomic_load_explicit(&e->now, memory_order_acquire));
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
/* Everything with a tag below the result can be freed. Ends as many epochs as can be ended; with
 * nobody inside, that is enough for all that was tagged before the call. */
uint64_t se__epoch_passed(struct epochs *e);

/* The sum of all rows' counts. */
uint64_t se__epoch_counted(const struct epochs *e);

#endif
