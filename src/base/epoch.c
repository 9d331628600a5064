/*
 * epoch - see epoch.h.
 */
#include "base/epoch.h"

#include "base/os.h"

#define ROUNDS_PER_PAUSE 64u

/* Which slot this thread tries first, in any owner's row: where it found one last. The only state
 * of a thread here, and no more than a guess. */
static _Thread_local __attribute__((tls_model("initial-exec"))) unsigned favourite;

void se__epochs_init(struct epochs *e, struct epoch_slot *slots, unsigned n)
{
    e->slots = slots;
    e->mask = n - 1;
    atomic_init(&e->used, 0);
    atomic_init(&e->now, 1);
    for (unsigned i = 0; i < n; i++)
        atomic_init(&slots[i].since, 0);
}

static void raise_used(struct epochs *e, unsigned n)
{
    unsigned used = atomic_load(&e->used);
    /* seq_cst, and before the slot is taken: who reads `used` later looks at this slot */
    while (used < n && !atomic_compare_exchange_weak(&e->used, &used, n)) {
    }
}

static bool take(struct epochs *e, unsigned at)
{
    uint64_t nobody = 0;
    /* acquire: pairs with raise_used of who came first, so that its store is before this taking
     * in the order that se__epoch_passed relies on. */
    if (atomic_load_explicit(&e->used, memory_order_acquire) <= at)
        raise_used(e, at + 1);
    /* seq_cst: see the head of epoch.h. It also acquires what the slot's last reader released. */
    return atomic_compare_exchange_strong(&e->slots[at].since, &nobody, atomic_load(&e->now));
}

static struct epoch_slot *take_another(struct epochs *e, unsigned at)
{
    for (unsigned tries = 1;; tries++) {
        unsigned slot = (at + tries) & e->mask;
        if (take(e, slot)) {
            favourite = slot + 1;
            return &e->slots[slot];
        }
        if (tries % (ROUNDS_PER_PAUSE * (e->mask + 1)) == 0)
            se__pause_ms(0); /* somebody inside is waiting for the processor */
    }
}

struct epoch_slot *se__epoch_enter(struct epochs *e)
{
    if (__builtin_expect(favourite == 0, 0))
        favourite = (unsigned)se__thread_id();
    unsigned at = (favourite - 1) & e->mask;
    if (__builtin_expect(take(e, at), 1))
        return &e->slots[at];
    return take_another(e, at);
}

uint64_t se__epoch_passed(struct epochs *e)
{
    uint64_t oldest = atomic_fetch_add(&e->now, 1) + 1;
    unsigned used = atomic_load(&e->used);
    for (unsigned i = 0; i < used; i++) {
        uint64_t since = atomic_load(&e->slots[i].since);
        if (since && since < oldest)
            oldest = since;
    }
    return oldest;
}
