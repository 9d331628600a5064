/*
 * readers - see readers.h.
 *
 * A stripe counts, in each of two sets, how often somebody entered and how often somebody left; a
 * thread leaves the stripe it entered, so a set of a stripe is empty exactly while both are equal.
 * New readers use the set that `phase` names.
 *
 * Why nobody is overlooked: the writer reads `entered` with a read-modify-write. A reader's own
 * increment is either before it in that counter's modification order, and is counted; or after it,
 * and then the reader has acquired what the writer released there: the new pointer. That holds for
 * each set whatever the phase, and the writer looks at both, so a reader that read the phase long
 * ago and counts itself in only now is no danger. The phase is there so that a wait ends: newcomers
 * go to the other set while one drains.
 *
 * `left` is read before `entered`: read the other way round, one who enters between the two reads
 * and another who leaves could cancel out.
 */
#include "base/readers.h"

#include "base/mem.h"

#include <assert.h>

#define STRIPES 16u /* a power of two */
#define SPINS 200u  /* looks at a counter before its waiter takes naps */
#define NAP_MS 1u

struct stripe {
    _Alignas(64) _Atomic uint64_t entered[2];
    _Atomic uint64_t left[2];
};
static_assert(sizeof(struct stripe) == 64, "a stripe is a cache line");

struct readers {
    struct stripe stripes[STRIPES];
    atomic_uint phase;         /* 0 or 1; written with lock held */
    struct se__mutex lock;     /* one waiter at a time, naps included */
    struct se__mutex nap_lock; /* leaf; for the condition only */
    struct se__cond nap;       /* never signalled: a reader that leaves must not pay for a waiter */
};

se_result se__readers_open(struct readers **readers)
{
    struct readers *r = se__alloc_aligned(_Alignof(struct readers), sizeof *r);
    if (!r)
        return se__error_nomem();
    for (unsigned i = 0; i < STRIPES; i++) {
        for (unsigned set = 0; set < 2; set++) {
            atomic_init(&r->stripes[i].entered[set], 0);
            atomic_init(&r->stripes[i].left[set], 0);
        }
    }
    atomic_init(&r->phase, 0);
    se__mutex_init(&r->lock);
    se__mutex_init(&r->nap_lock);
    se__cond_init(&r->nap);
    *readers = r;
    return SE_OK;
}

void se__readers_close(struct readers *r)
{
    if (!r)
        return;
    se__cond_done(&r->nap);
    se__mutex_done(&r->nap_lock);
    se__mutex_done(&r->lock);
    se__free(r);
}

uint64_t se__readers_bytes(const struct readers *r)
{
    return se__alloc_size(r);
}

static struct stripe *my_stripe(struct readers *r)
{
    return &r->stripes[se__thread_id() % STRIPES];
}

unsigned se__readers_enter(struct readers *r)
{
    /* acquire: who sees the new phase sees what was published before it was set */
    unsigned set = atomic_load_explicit(&r->phase, memory_order_acquire);
    /* acq_rel: pairs with the read-modify-write in is_empty; what the reader loads comes after */
    atomic_fetch_add_explicit(&my_stripe(r)->entered[set], 1, memory_order_acq_rel);
    return set;
}

void se__readers_leave(struct readers *r, unsigned ticket)
{
    /* release: what was read was read before; pairs with the acquire in is_empty */
    atomic_fetch_add_explicit(&my_stripe(r)->left[ticket], 1, memory_order_release);
}

/* True: whoever entered this set of the stripe before the call has left. */
static bool is_empty(struct stripe *s, unsigned set)
{
    uint64_t left = atomic_load_explicit(&s->left[set], memory_order_acquire);
    return atomic_fetch_add_explicit(&s->entered[set], 0, memory_order_acq_rel) == left;
}

static void drain_locked(struct readers *r, struct stripe *s, unsigned set)
{
    for (unsigned i = 0; i < SPINS; i++)
        if (is_empty(s, set))
            return;
    se__mutex_lock(&r->nap_lock);
    while (!is_empty(s, set))
        (void)se__cond_wait_until(&r->nap, &r->nap_lock, se__deadline_in(NAP_MS));
    se__mutex_unlock(&r->nap_lock);
}

static void flip_locked(struct readers *r)
{
    unsigned set = atomic_load_explicit(&r->phase, memory_order_relaxed); /* ours under lock */
    /* release: pairs with the acquire in enter */
    atomic_store_explicit(&r->phase, set ^ 1, memory_order_release);
    for (unsigned i = 0; i < STRIPES; i++)
        drain_locked(r, &r->stripes[i], set);
}

void se__readers_wait(struct readers *r)
{
    se__mutex_lock(&r->lock);
    flip_locked(r);
    flip_locked(r);
    se__mutex_unlock(&r->lock);
}
