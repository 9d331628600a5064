/*
 * grid - how large a part's table is: see parts.h and the head of filter.h.
 */
#include "filter/parts.h"

#include <math.h>

#define SLOTS_MIN 1024.0 /* a filter of up to 60,000 ids is never rebuilt to grow */
/* A rebuild that leaves the size as it is has to make this much room, or it would be for nothing. */
#define ROOM_MIN 0.02

/* The size of step k: a multiple of 4, as cuckoo has it. */
static uint64_t size_of(unsigned part, unsigned k)
{
    double slots = SLOTS_MIN * pow(FILTER_STEP, k + (double)part / FILTER_PARTS);
    return (uint64_t)(slots / 4) * 4;
}

uint64_t se__grid_next(unsigned part, uint64_t slots)
{
    unsigned k = 0;
    while (size_of(part, k) <= slots)
        k++;
    return size_of(part, k);
}

bool se__grid_is_due(uint64_t n, uint64_t slots)
{
    return (double)n > CUCKOO_LOAD_MAX * (double)slots;
}

uint64_t se__grid_fit(unsigned part, uint64_t n)
{
    uint64_t slots = size_of(part, 0);
    for (unsigned k = 1; se__grid_is_due(n, slots); k++)
        slots = size_of(part, k);
    return slots;
}

uint64_t se__grid_refit(unsigned part, uint64_t n, uint64_t old)
{
    uint64_t slots = se__grid_fit(part, n);
    bool tight = (double)n > (CUCKOO_LOAD_MAX - ROOM_MIN) * (double)slots;
    return slots == old && tight ? se__grid_next(part, slots) : slots;
}
