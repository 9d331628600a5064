/*
 * stream - accesses to a data set, drawn before anything is timed and read in a row: the ids' own
 * cache misses are no one's.
 */
#ifndef SE_BENCH_STREAM_H
#define SE_BENCH_STREAM_H

#include "harness.h"

#define BENCH_ID_ROOM (BENCH_ID_LEN + 8)

struct stream {
    size_t n;
    char (*ids)[BENCH_ID_ROOM]; /* of bench_id, NUL-terminated */
};

/* `n` accesses to the ids 0 .. items - 1. The owner frees. */
struct stream stream_uniform(size_t n, size_t items, uint64_t seed);
/* The i-th id as often as (i + 1)^-exponent; by the inverse of the summed probabilities: exact. */
struct stream stream_zipf(size_t n, size_t items, double exponent);
void stream_free(struct stream *s);

#endif
