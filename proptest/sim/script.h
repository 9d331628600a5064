/*
 * script - a schedule: what the world does, in order, made from a seed.
 *
 * Every step carries chance of its own, so that leaving steps out, as shrinking does, changes nothing
 * about the others. Not every schedule does everything (swarm testing: Groce et al., 2012): each draws
 * which kinds of steps and faults it knows, since some faults hide others.
 */
#ifndef SE_SIM_SCRIPT_H
#define SE_SIM_SCRIPT_H

#include "sim/engines.h"

enum { SCRIPT_STEPS_MAX = 400, CLIENTS = 3 };

enum step_kind {
    /* clients' calls */
    STEP_PUT,
    STEP_DELETE,
    STEP_GET,
    STEP_COPY,
    STEP_CONTAINS,
    STEP_GET_MANY,
    STEP_PUT_MANY,
    STEP_ASIDE,
    STEP_INVALIDATE,
    STEP_FLUSH,
    STEP_HOT,
    STEP_PUT_QUICK, /* acknowledged from memory, to all tiers */
    CLIENT_STEPS,
    /* the world's doing */
    STEP_REST = CLIENT_STEPS,
    STEP_FOREIGN,
    STEP_L3_TROUBLE, /* the first fault */
    STEP_L3_DOWN,
    STEP_L3_HANG,
    STEP_L3_SLOW,
    STEP_L2_TROUBLE,
    STEP_L2_DOWN,
    STEP_L2_HANG,
    STEP_L2_SLOW,
    STEP_L2_LOSE,
    STEP_L2_FLUSH,
    STEP_L2_RESTART,
    STEP_HEAL,
    STEP_L3_SLOW_SCANS,
    STEP_DISK_SYNC,
    STEP_DISK_FULL,
    STEP_CLOCK,
    STEP_CLOSE,
    STEP_KILL,
    STEP_POWER,
    STEP_KINDS
};

struct step {
    uint8_t kind, client, id;
    uint32_t gap_us; /* from the step before */
    uint64_t chance;
};
struct script {
    uint64_t seed;
    struct shape shape;
    unsigned preempt;
    unsigned n;
    struct step steps[SCRIPT_STEPS_MAX];
};

void script_make(uint64_t seed, struct script *s);
const char *script_step_name(enum step_kind kind);
bool script_is_fault(enum step_kind kind);

#endif
