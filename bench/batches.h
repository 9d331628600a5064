/*
 * batches - batches of 1000 guarded writes as the flush makes them, built before they are timed.
 *
 * Memory: batches_make returns; batches_free gives all back.
 */
#ifndef SE_BENCH_BATCHES_H
#define SE_BENCH_BATCHES_H

#include "harness.h"

#include "tier/tier.h"

#define BATCH 1000u

struct batches {
    size_t n;                  /* batches */
    struct tier_write *writes; /* n * BATCH, sorted by id and unique within each batch */
};

/* Ids 0 .. items - 1, sorted: what batches are drawn from. */
struct keys {
    size_t n;
    char (*ids)[BENCH_ID_LEN + 1];
};
struct keys keys_make(size_t n);
void keys_free(struct keys *keys);

/* Random ids, every batch spread over all of them; versions grow from call to call. */
struct batches batches_random(const struct keys *keys, size_t n);
/* Every id once, in order; keys->n is cut down to whole batches. */
struct batches batches_all(const struct keys *keys);
void batches_free(struct batches *b);

/* Sends all of them through the tier and returns thousands of items a second.
 * Anything but "stored" fails. */
double batches_send(struct tier *tier, struct batches *b);
/* Loads every id once. */
void batches_load(struct tier *tier, const struct keys *keys);

#endif
