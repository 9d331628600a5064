/*
 * reads - reads that L1 does not have, served by the tier below: single ones and lists.
 *
 * The engine's L1 is as small as it may be and the ids are asked in a circle, so that each one has
 * been evicted before it is asked again; the engine's own counters prove that the tier answered.
 */
#ifndef SE_BENCH_READS_H
#define SE_BENCH_READS_H

#include "harness.h"

#include "metrics/metrics.h"

#include <syncengine/syncengine.h>

#define READ_ITEMS 20000u
#define READS 2000u /* a round */
#define MANY 100u   /* ids a call of se_get_many */

struct reads {
    se_engine *engine;
    enum metric hits; /* the counter that must grow with each read */
    size_t next;      /* id to ask first */
    uint64_t before;  /* of the counter */
};

/* Writes READ_ITEMS ids through an engine of its own, then opens the one to read
 * with and reads each id once. */
void reads_open(struct reads *r, const char *redis_url, const char *sql_url, enum metric hits);
void reads_close(struct reads *r);
/* A side: p50 in us. */
double reads_run(void *reads);
/* A side: thousands of ids a second, each read at most once, in calls of MANY. */
double reads_run_many(void *reads);
/* The id of the n-th read, for the peer to do the same. */
void reads_id(size_t n, char id[BENCH_ID_LEN + 1]);

#endif
