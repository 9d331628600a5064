/*
 * learn - what a stripe's queues of eviction have shown, and what follows from it. Private to this
 * room; pure bookkeeping.
 *
 * Two things are learnt, both from entries that a queue's hand meets anyway:
 *
 *   How long the small queue is to be. Of newcomers that reach its end some were hit meanwhile. That
 *   share of them, over the queue's share of the entries, is what a place in it yields, and hardly
 *   depends on how long it is. Where it is little (loops, scans, pages that are never hot) nearly all
 *   room goes to the main queue; where new means wanted the small one gets up to a fifth.
 *
 *   Whether what comes back late is to enter the main queue at once. It does as long as those that
 *   did were hit there as often as the others. If they are not, as in a loop longer than what the
 *   ghosts remember, they would push out each other and the rest. A main queue that nothing enters
 *   teaches nothing, and may have grown old: when as many were refused as the stripe has entries,
 *   they are trusted anew, with what is known of the others.
 *
 * Invariants
 *   I1  used and seen are halved together when seen is above a limit that grows with the entries:
 *       what was long ago is forgotten
 *   I2  LEARN_SHARE_MIN <= small_share <= LEARN_SHARE_MAX
 *
 * Threads: caller-serialised (the stripe's lock).  Memory: owns nothing.
 */
#ifndef SE_L1_LEARN_H
#define SE_L1_LEARN_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#define LEARN_SHARE_ONE 1000u /* shares are in thousandths of a stripe's entries */
#define LEARN_SHARE_MIN 20u
#define LEARN_SHARE_START 100u /* as in the paper of S3-FIFO */
#define LEARN_SHARE_MAX 200u

/* Narrow: with them a stripe is no larger than without. It has at most 65,528 entries. */
struct use {
    uint16_t used, seen;
};
struct lessons {
    struct {
        uint32_t used; /* each with a weight, the higher the shorter the queue was */
        uint32_t seen;
    } newcomers;
    struct use late, others; /* in the main queue */
    uint16_t refused;        /* that came back late, since they were trusted anew */
    uint16_t small_share;
};
static_assert(sizeof(struct lessons) == 20, "row 8 of the bars: bytes an entry");

void se__lessons_init(struct lessons *l);
/* A newcomer has reached the end of the small queue; used: it was hit meanwhile. entries: how many
 * the stripe has. */
void se__learn_newcomer(struct lessons *l, bool used, uint32_t entries);
/* The hand has met an entry of the main queue; late: for the first time, and it came there because it
 * came back late. used: it was hit meanwhile. */
void se__learn_main(struct lessons *l, bool late, bool used, uint32_t entries);
/* Does one that comes back late enter the main queue at once? Counts its refusals. */
bool se__learn_trusts(struct lessons *l, uint32_t entries);
/* Is the small queue, small_n of n listed entries, longer than it is to be? Its newest does not
 * count: it may just have come. */
static inline bool se__learn_small_is_long(const struct lessons *l, uint32_t small_n, uint32_t n)
{
    return small_n > 1 && (uint64_t)(small_n - 1) * LEARN_SHARE_ONE > (uint64_t)l->small_share * n;
}

#endif
