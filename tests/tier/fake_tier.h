/*
 * fake_tier - a backend that answers by script, for tests of what stands around a tier.
 *
 * Threads: any; one mutex guards the script and what was counted.
 */
#ifndef SE_TESTS_TIER_FAKE_TIER_H
#define SE_TESTS_TIER_FAKE_TIER_H

#include "base/os.h"
#include "tier/tier.h"

#define FAKE_SCRIPT_MAX 256

struct fake_tier {
    struct se__mutex lock;
    struct tier_reply script[FAKE_SCRIPT_MAX]; /* the answers to come; TIER_FINE after them */
    unsigned scripted, calls;
    uint64_t took_ms[FAKE_SCRIPT_MAX]; /* mono time of each call */
    se_result prepare_result;
    enum tier_found found[8];  /* what read says, id by id */
    enum tier_state stored[8]; /* what write says */
    bool closed;
};

void fake_tier_init(struct fake_tier *f);
void fake_tier_done(struct fake_tier *f);
/* The next n calls answer so. */
void fake_tier_answer(struct fake_tier *f, unsigned n, struct tier_reply reply);
unsigned fake_tier_calls(struct fake_tier *f);
struct tier fake_tier(struct fake_tier *f);
/* The same, without any of the optional operations. */
struct tier fake_tier_bare(struct fake_tier *f);

#endif
