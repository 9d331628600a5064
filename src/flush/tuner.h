/*
 * tuner - how long a partition rests between two batches, from what batches cost.
 *
 * Place in the flow:  batch (learn) -> [tuner] -> batcher
 * Pure: sizes and durations are passed in; no clock.
 *
 * A batch of n rows takes about  round + row * n  (Hockney's model of a pipeline, 1981: its r_inf is
 * 1 / row, its n_half is round / row). The line is fitted to the latest batches by ridge regression
 * (Hoerl, Kennard 1970) with exponential forgetting, each batch weighing 63/64 of the next; where
 * their sizes do not tell round and row apart, the ridge pulls towards a round that costs as much as
 * 64 rows.
 *
 * From the start of one batch to the start of the next there are then at least
 *
 *   10 * round              so that what batches cost apart from their rows takes a tenth of the time
 *   2 * (round + row * n)   so that rows which are written again and again gather for as long as they
 *                           take to be written; n: rows of the batch before
 *
 * rounded up to whole ms. After a longer silence nothing is left of that, and a write leaves at once.
 * A full batch (batcher.h) never waits for it.
 *
 * Invariants
 *   I1  round and row are finite and not negative, whatever was learnt
 *   I2  one stall cannot move them far: it counts as 8 times what was expected
 *
 * Threads: caller-serialised.  Memory: owns nothing; all-zero is one that has learnt nothing.
 */
#ifndef SE_FLUSH_TUNER_H
#define SE_FLUSH_TUNER_H

#include "base/error.h"

struct tuner {
    double weight, rows, ns, rows_rows, rows_ns; /* sums over the batches, forgetting */
    double round_ns, row_ns;                     /* the line */
};

/* A batch of so many rows, at least one, took so long and was well. */
void se__tuner_learn(struct tuner *t, size_t rows, uint64_t ns);
/* From the start of a batch of so many rows to the start of the next; at most max_ms. 0 while
 * nothing is known. */
uint32_t se__tuner_rest_ms(const struct tuner *t, size_t rows, uint32_t max_ms);

#endif
