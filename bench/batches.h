/*
 * batches - batches of guarded writes as the flush makes them, built before they are timed.
 *
 * Memory: batches_make returns; batches_free gives all back.
 */
#ifndef SE_BENCH_BATCHES_H
#define SE_BENCH_BATCHES_H

#include "harness.h"

#include "tier/tier.h"

#define BATCH BENCH_BATCH /* where tables are loaded, and by default */

struct batches {
    size_t n, size;            /* batches, and of how many items */
    struct tier_write *writes; /* n * size, sorted by id and unique within each batch */
};

/* Ids 0 .. items - 1, sorted: what batches are drawn from. */
struct keys {
    size_t n;
    char (*ids)[BENCH_ID_LEN + 1];
};
struct keys keys_make(size_t n);
void keys_free(struct keys *keys);

/* So many batches of b->batch random ids as hold `items` (scaled), every batch spread over all of
 * the keys; versions grow from call to call. */
struct batches batches_random(const struct bench *b, const struct keys *keys, size_t items);
/* Every id once, in order, in batches of BATCH; keys->n is cut down to whole ones. */
struct batches batches_all(const struct keys *keys);
void batches_free(struct batches *b);

/* Sends all of them through the tier and returns thousands of items a second.
 * Anything but "stored" fails. */
double batches_send(struct tier *tier, struct batches *b);
/* Loads every id once. */
void batches_load(struct tier *tier, const struct keys *keys);

/* Is it the size that the bars are for? */
bool batches_usual(const struct bench *b);
/* "<flush>, batches of N<more>" */
struct batches_what {
    char text[64];
};
struct batches_what batches_what(const struct bench *b, const char *flush, const char *more);

/* What a side of a flush cost both ends, over all of its rounds. */
struct meter {
    pid_t server;
    uint64_t client_ns, server_ns;
    size_t items;
};
void meter_begin(struct meter *m);
void meter_end(struct meter *m, size_t items);
/* Two lines, us of CPU an item: ours beside a peer's, no bar. The client's is that of the calling
 * thread, which does all of it. */
void meter_report(const struct bench *b, int row, const char *flush, const struct meter *ours,
                  const struct meter *theirs, const char *peer);

#endif
