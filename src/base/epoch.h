/*
 * epoch - knows when memory that threads may still be looking at can be freed.
 *
 *   reader:  inside = enter; load pointers, use what they show; leave(inside)      (no lock, no wait)
 *   writer:  make it unreachable; tag = now; ...; free it once tag < passed()
 *
 * Readers are counted, in rows of counters on cache lines of their own, which row by thread: so no
 * thread is registered, none has to say that it ends, and one that is not inside holds up nothing.
 * A row has two counters, and the epoch's last bit says which one who comes in takes. An epoch ends
 * when the counter that its readers do not take has been zero in every row: as nobody goes on
 * coming to that one, this happens soon. (Two counters and a bit that flips: SRCU, McKenney,
 * "Sleepable RCU", 2006.)
 *
 * What makes it right: the reader's counting and its loads of pointers, the writer's stores of
 * pointers, `now` and the looks at counters are all seq_cst. In their one order, a counter that is
 * zero after a pointer has become unreachable has no reader who came before that: all that were
 * counted in it have left. What was tagged in epoch t has seen both counters of every row at zero
 * when t+1 and t+2 have ended, whose ends were looked for after the tag was read. That a reader
 * counts itself in an epoch that has passed meanwhile does no harm: it came later, and finds
 * nothing of what was unreachable before. So pointers must be stored and loaded with seq_cst.
 * (Operations and not fences: ThreadSanitizer does not see fences. Counting and not claiming a slot:
 * an addition that nobody waits for lets the processor go on, a comparison does not.)
 *
 * Threads: any, any number. A reader must not block inside.
 * Memory: the rows are the owner's, aligned to SE__EPOCH_LINE.
 */
#ifndef SE_BASE_EPOCH_H
#define SE_BASE_EPOCH_H

#include "base/os.h"

#include <stdatomic.h>

#define SE__EPOCH_LINE 64u
#define SE__EPOCH_BEHIND 2u /* so many epochs must have ended after the one of a tag */

struct epoch_row {
    _Alignas(SE__EPOCH_LINE) _Atomic uint32_t inside[2];
};

struct epochs {
    _Alignas(SE__EPOCH_LINE) struct epoch_row *rows;
    uint32_t mask; /* rows - 1 */
    _Alignas(
        SE__EPOCH_LINE) _Atomic uint64_t now; /* readers read it, so it has a line of its own */
};

/* `rows`: n of them, a power of two, all zero. */
void se__epochs_init(struct epochs *e, struct epoch_row *rows, unsigned n);

/* thread: the caller's se__thread_id. */
static inline _Atomic uint32_t *se__epoch_enter_as(struct epochs *e, uint64_t thread)
{
    /* relaxed: which counter is taken matters for how soon an epoch ends, and for nothing else */
    uint64_t now = atomic_load_explicit(&e->now, memory_order_relaxed);
    _Atomic uint32_t *inside = &e->rows[thread & e->mask].inside[now & 1];
    atomic_fetch_add(inside, 1); /* seq_cst: see the head */
    return inside;
}
static inline _Atomic uint32_t *se__epoch_enter(struct epochs *e)
{
    return se__epoch_enter_as(e, se__thread_id());
}
static inline void se__epoch_leave(_Atomic uint32_t *inside)
{
    /* release: what was read inside is read before who sees the count at zero frees it. */
    atomic_fetch_sub_explicit(inside, 1, memory_order_release);
}

/* The tag of what has just become unreachable. */
static inline uint64_t se__epoch_now(struct epochs *e)
{
    return atomic_load(&e->now); /* seq_cst: see the head */
}
/* Everything with a tag below the result can be freed. Ends as many epochs as can be ended; with
 * nobody inside, that is enough for all that was tagged before the call. */
uint64_t se__epoch_passed(struct epochs *e);

#endif
