/*
 * random - numbers that are the same in every run: xorshift64 (Marsaglia, "Xorshift RNGs", 2003).
 *
 * The state is the caller's, and never 0.
 */
#ifndef SE_TESTS_SUPPORT_RANDOM_H
#define SE_TESTS_SUPPORT_RANDOM_H

#include <stdint.h>

static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* From 0 up to 1, without it. */
static inline double random_share(uint64_t *state)
{
    return (double)(random_next(state) >> 11) / 9007199254740992.0; /* 2^53 */
}

#endif
