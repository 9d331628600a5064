/*
 * epoch - knows when memory that threads may still be looking at can be freed.
 *
 *   reader:  slot = enter; load pointers, use what they show; leave(slot)      (no lock, no wait)
 *   writer:  make it unreachable; tag = now; ...; free it once tag < passed()
 *
 * A reader takes any free slot for as long as it is inside, the one it had last if it can: so no
 * thread is registered, none has to say that it ends, and a thread that is not inside holds up
 * nothing. A slot says at which epoch its reader came in. `passed` begins a new epoch and returns
 * the oldest that somebody may still be in (Fraser, "Practical lock-freedom", 2004; that slots are
 * borrowed and not owned is ours).
 *
 * What makes it right: the reader's entry and its loads of pointers, the writer's stores of
 * pointers, `now` and `passed` are all seq_cst. In their one order a reader that `passed` did not
 * see came in after the stores, and finds nothing of what they made unreachable; one that it saw in
 * epoch e came in after everything tagged below e was unreachable. So pointers must be stored and
 * loaded with seq_cst. (Operations and not fences: ThreadSanitizer does not see fences.)
 *
 * Threads: any. More readers inside than slots wait for one. A reader must not block inside.
 * Memory: the slots are the owner's, aligned to SE__EPOCH_LINE.
 */
#ifndef SE_BASE_EPOCH_H
#define SE_BASE_EPOCH_H

#include "base/error.h"

#include <stdatomic.h>

#define SE__EPOCH_LINE 64u

struct epoch_slot {
    _Alignas(SE__EPOCH_LINE) _Atomic uint64_t since; /* 0: free */
};

struct epochs {
    _Alignas(SE__EPOCH_LINE) struct epoch_slot *slots;
    unsigned mask;         /* slots - 1 */
    _Atomic unsigned used; /* slots behind it have never been taken */
    _Alignas(SE__EPOCH_LINE) _Atomic uint64_t now;
};

/* `slots`: n of them, a power of two, all zero. */
void se__epochs_init(struct epochs *e, struct epoch_slot *slots, unsigned n);

struct epoch_slot *se__epoch_enter(struct epochs *e);
static inline void se__epoch_leave(struct epoch_slot *slot)
{
    /* release: what was read inside is read before who sees the slot free (or
     * taken again) frees it. */
    atomic_store_explicit(&slot->since, 0, memory_order_release);
}

/* The tag of what has just become unreachable. */
static inline uint64_t se__epoch_now(struct epochs *e)
{
    return atomic_load(&e->now); /* seq_cst: see the head */
}
/* Everything with a tag below the result can be freed. */
uint64_t se__epoch_passed(struct epochs *e);

#endif
