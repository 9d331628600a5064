/*
 * learn - see learn.h. The numbers were found by trying on traces (docs/l1.md): a third more or less
 * of each changes little.
 */
#include "l1/learn.h"

#define NEWCOMERS_MIN 16u /* fewer say nothing */
#define WEIGHT_ONE 64u
/* The small queue's share is what a place in it yields, over this. */
#define YIELD_OF_ALL 8u

static uint32_t newcomers_max(uint32_t entries)
{
    return entries + 64;
}
static uint32_t others_max(uint32_t entries)
{
    return entries / 2 + 32;
}
static uint32_t late_max(uint32_t entries)
{
    return entries / 8 + 8;
}

static void count(struct use *u, bool used, uint32_t seen_max)
{
    u->used = (uint16_t)(u->used + used);
    u->seen++;
    if (u->seen > seen_max)
        *u = (struct use){u->used / 2, u->seen / 2};
}

void se__lessons_init(struct lessons *l)
{
    *l = (struct lessons){.small_share = LEARN_SHARE_START};
}

static uint16_t share_for(uint32_t used, uint32_t seen)
{
    uint64_t yield = (uint64_t)used * LEARN_SHARE_ONE / WEIGHT_ONE / seen;
    uint64_t share = yield / YIELD_OF_ALL;
    if (share < LEARN_SHARE_MIN)
        return LEARN_SHARE_MIN;
    return share > LEARN_SHARE_MAX ? LEARN_SHARE_MAX : (uint16_t)share;
}

void se__learn_newcomer(struct lessons *l, bool used, uint32_t entries)
{
    l->newcomers.used += used ? WEIGHT_ONE * LEARN_SHARE_ONE / l->small_share : 0;
    if (++l->newcomers.seen > newcomers_max(entries)) {
        l->newcomers.used /= 2;
        l->newcomers.seen /= 2;
    }
    if (l->newcomers.seen >= NEWCOMERS_MIN)
        l->small_share = share_for(l->newcomers.used, l->newcomers.seen);
}

void se__learn_main(struct lessons *l, bool late, bool used, uint32_t entries)
{
    if (late)
        count(&l->late, used, late_max(entries));
    else
        count(&l->others, used, others_max(entries));
}

static void trust_anew(struct lessons *l, uint32_t entries)
{
    l->refused = 0;
    l->late = l->others;
    while (l->late.seen > late_max(entries))
        l->late = (struct use){(uint16_t)((l->late.used + 1) / 2),
                               l->late.seen / 2}; /* never less of them */
}

bool se__learn_trusts(struct lessons *l, uint32_t entries)
{
    if ((uint64_t)l->late.used * l->others.seen >= (uint64_t)l->others.used * l->late.seen)
        return true;
    if (++l->refused > entries)
        trust_anew(l, entries);
    return false;
}
