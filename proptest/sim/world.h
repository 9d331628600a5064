/*
 * world - runs one schedule from the first open to the last comparison.
 */
#ifndef SE_SIM_WORLD_H
#define SE_SIM_WORLD_H

#include "sim/script.h"

/* keep: which steps are done; NULL: all. Returns if no law was broken, else sim_fail; what it returns
 * is the same whenever the same schedule runs. */
uint64_t world_run(const struct script *s, const bool *keep);

#endif
