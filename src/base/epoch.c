/*
 * epoch - see epoch.h.
 */
#include "base/epoch.h"

void se__epochs_init(struct epochs *e, struct epoch_row *rows, unsigned n)
{
    e->rows = rows;
    e->mask = n - 1;
    atomic_init(&e->now, SE__EPOCH_BEHIND); /* so that no result is below 0 */
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < 2; k++)
            atomic_init(&rows[i].inside[k], 0);
}

/* Whether the counter was zero in every row that a thread can have taken so far; a thread that gets
 * its number after this look at them comes in after it, too. */
static bool nobody_in(const struct epochs *e, unsigned which)
{
    uint64_t threads = se__thread_total();
    uint32_t last = threads < e->mask ? (uint32_t)threads : e->mask;
    for (uint32_t i = 0; i <= last; i++)
        if (atomic_load(&e->rows[i].inside[which]) != 0)
            return false;
    return true;
}

uint64_t se__epoch_passed(struct epochs *e)
{
    uint64_t now = atomic_load(&e->now), enough = now + SE__EPOCH_BEHIND + 1;
    while (now < enough && nobody_in(e, (now + 1) & 1)) {
        /* Of several who ended the same epoch one begins the next; the others go on from there. */
        if (atomic_compare_exchange_strong(&e->now, &now, now + 1))
            now++;
    }
    return now - SE__EPOCH_BEHIND;
}
