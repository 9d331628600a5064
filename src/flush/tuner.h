/*
 * tuner - how much a batch takes at a time, and how long a partition rests between two of them, from
 * what batches cost.
 *
 * Place in the flow:  batch (learn) -> [tuner] -> batcher, stage, drain
 * Pure: sizes and durations are passed in; no clock.
 *
 * A batch of n rows and b bytes takes about  round + row * n + byte * b  (Hockney's model of a
 * pipeline, 1981: its r_inf is 1 / row, its n_half is round / row). The plane is fitted to the latest
 * batches by ridge regression (Hoerl, Kennard 1970) with exponential forgetting, each batch weighing
 * 63/64 of the next; where their sizes do not tell the three apart, the ridge pulls towards a round
 * that costs as much as 64 rows, and a row as much as 4 KiB.
 *
 * From the start of one batch to the start of the next there are then at least
 *
 *   10 * round                         so that what batches cost apart from their rows takes a tenth
 *                                      of the time
 *   2 * (round + row * n + byte * b)   so that rows which are written again and again gather for as
 *                                      long as they take to be written; n, b: of the batch before
 *
 * rounded up to whole ms. After a longer silence nothing is left of that, and a write leaves at once.
 * A full batch (batcher.h) never waits for it.
 *
 * A batch is full when its rows and bytes are expected to take as long as
 *
 *   max(target - round, 9 * round)     the rate grows with the size of a batch: so the largest that
 *                                      ends in time, and larger if rounds would take more than a
 *                                      tenth
 *   at most longest - round            but not so long that a slower moment ends in a timeout
 *
 * or at its bounds, if they are reached before. Batches that are all full would not tell rounds from
 * rows, and the choice needs both: so where the target is reached or missed every eighth is half of
 * one.
 *
 * Invariants
 *   I1  round, row and byte are finite and not negative, whatever was learnt
 *   I2  one stall cannot move them far: it counts as 8 times what was expected. Three batches in a
 *       row that are that far off, to either side, are a change: what was known is forgotten
 *   I3  1 <= rows chosen <= rows_max, and the same of bytes
 *   I4  after a batch that ran into its timeout the next is a quarter of it, after one that was well
 *       twice as long at most
 *
 * Threads: caller-serialised.  Memory: owns nothing; all-zero is one that has learnt nothing.
 */
#ifndef SE_FLUSH_TUNER_H
#define SE_FLUSH_TUNER_H

#include "base/error.h"

/* Sums over the batches, forgetting; sizes in rows and in blocks of 4 KiB. */
struct tuner_sums {
    double weight, rows, blocks, ns;
    double rows_rows, rows_blocks, blocks_blocks, rows_ns, blocks_ns;
};
struct tuner {
    struct tuner_sums sums;
    double round_ns, row_ns, byte_ns; /* the plane */
    unsigned odd;                     /* batches in a row that took far more, or far less */
    unsigned turn;                    /* batches learnt */
    size_t rows_cap;                  /* I4; 0: none */
};

struct tuner_bounds {
    size_t rows_max, bytes_max;
    bool keep_rows, keep_bytes;     /* somebody has asked for this very limit: nothing is chosen */
    uint32_t target_ms, longest_ms; /* how long a batch should take, and may */
};

/* A batch of so many rows, at least one, and bytes took so long and was well. */
void se__tuner_learn(struct tuner *t, size_t rows, size_t bytes, uint64_t ns);
/* A batch of so many rows ran into its timeout. */
void se__tuner_late(struct tuner *t, size_t rows);
/* From the start of such a batch to the start of the next; at most max_ms. 0 while nothing is
 * known. */
uint32_t se__tuner_rest_ms(const struct tuner *t, size_t rows, size_t bytes, uint32_t max_ms);
/* The rows and bytes at which a batch is full; the bounds while nothing is known. */
void se__tuner_choose(const struct tuner *t, const struct tuner_bounds *bounds, size_t *rows,
                      size_t *bytes);
/* The same for the next batch: maybe one that is half of it. */
void se__tuner_next(const struct tuner *t, const struct tuner_bounds *bounds, size_t *rows,
                    size_t *bytes);

#endif
