/*
 * replay - a trace through a real engine, to see how much of it L1 serves.
 *
 * Each request is an se_get; where nothing has the id, an se_submit with a content of fixed length,
 * and a wait until it is in the home tier, a SQLite file in memory: so every item can be evicted
 * when the next one comes, and what is in L1 does not depend on how fast anything is flushed. What
 * was evicted comes back from the home tier by se_get. Only what L1 served counts as a hit.
 *
 * Nothing here knows how L1 works inside.
 */
#ifndef SE_BENCH_REPLAY_H
#define SE_BENCH_REPLAY_H

#include "traces.h"

struct replay {
    size_t l1_bytes, content_len;
};
struct replayed {
    size_t hits;      /* requests served by L1 */
    double items;     /* that L1 held, on average, from its first eviction on */
    size_t items_max; /* at any moment looked at */
    size_t evicted;
    double seconds;
};
void replay_run(const struct replay *how, const struct trace *trace, struct replayed *out);

/* Replays with an L1 that holds about `items` of them: tries a few sizes in bytes, and gives the
 * nearest. *overhead: bytes that L1 takes for an item beside its content; a guess, then what was
 * found. */
void replay_at(size_t items, const struct trace *trace, double *overhead, struct replayed *out);

#endif
