/*
 * epoch - see epoch.h.
 */
#include "base/epoch.h"

void se__epochs_init(struct epochs *e, struct epoch_row *rows, unsigned own, unsigned shared)
{
    e->rows = rows;
    e->own = own;
    e->shared = rows + 1 + own;
    e->shared_mask = shared - 1;
    /* So that no result is below 0; and never 0, which says that nobody is inside. */
    atomic_init(&e->now, SE__EPOCH_BEHIND);
    for (unsigned i = 0; i < SE__EPOCH_ROWS(own, shared); i++) {
        atomic_init(&rows[i].inside[0], 0);
        atomic_init(&rows[i].inside[1], 0);
        atomic_init(&rows[i].count, 0);
    }
}

/* Whether there can be a thread in a shared row. One that gets its number after this look at them
 * comes in after it, too. */
static bool anybody_shares(const struct epochs *e)
{
    return se__thread_total() > e->own;
}

/* Whether the counter was zero in every shared row. */
static bool nobody_in(const struct epochs *e, unsigned which)
{
    if (!anybody_shares(e))
        return true;
    for (uint32_t i = 0; i <= e->shared_mask; i++)
        if (atomic_load(&e->shared[i].inside[which]) != 0)
            return false;
    return true;
}

/* Ends epochs, one if nobody shares rows. Returns the one that is now. */
static uint64_t end_epochs(struct epochs *e)
{
    uint64_t now = atomic_load(&e->now), enough = now + SE__EPOCH_BEHIND + 1;
    while (now < enough && nobody_in(e, (now + 1) & 1)) {
        /* Of several who ended the same epoch one begins the next; the others go on from there. */
        if (atomic_compare_exchange_strong(&e->now, &now, now + 1))
            now++;
        if (!anybody_shares(e))
            break;
    }
    return now;
}

/* The smallest epoch in which somebody who is inside came into an own row, at most `most`. */
static uint64_t oldest_inside(const struct epochs *e, uint64_t most)
{
    uint64_t threads = se__thread_total(), oldest = most;
    for (uint32_t i = 1; i <= e->own && i <= threads; i++) {
        uint64_t inside = atomic_load(&e->rows[i].inside[0]); /* seq_cst: see the head */
        if (inside != 0 && inside < oldest)
            oldest = inside;
    }
    return oldest;
}

uint64_t se__epoch_passed(struct epochs *e)
{
    uint64_t now = end_epochs(e);
    /* No shared reader that is inside came before what is tagged below this was gone. */
    uint64_t passed = anybody_shares(e) ? now - SE__EPOCH_BEHIND : now;
    return oldest_inside(e, passed);
}

uint64_t se__epoch_counted(const struct epochs *e)
{
    uint64_t sum = 0;
    for (uint32_t i = 1; i <= e->own; i++)
        sum += atomic_load_explicit(&e->rows[i].count, memory_order_relaxed); /* a number */
    return sum;
}
