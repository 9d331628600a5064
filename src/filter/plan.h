/*
 * plan - what the filter needs next: a pure function of what is known and now.
 *
 * In this order, one thing at a time:
 *   WARM_COMPARE  a restored snapshot has not been compared with L3 yet
 *   WARM_SCAN     parts that were not scanned since the last request: nothing is excluded before that
 *   WARM_GROW     parts that are full, or nearly
 *   WARM_BURY     parts of which L3 has less than 90 % of the ids: dead ones go
 *   WARM_COUNT    as many ids were removed as a tenth of the filter holds, or a scan has read the
 *                 tombstones of earlier runs: which parts are that?
 *   WARM_SAVE     interval and threshold of the snapshots are reached
 * Nothing but waiting while L3 is not attached, while another engine writes the same table (its ids
 * keep coming: a scan would prove nothing), and after a failure.
 *
 * Invariants
 *   I1  what has failed is not planned again before its wait is over; the waits grow to 30 s
 *   I2  a wait is at most PLAN_LOOK_MS: what threads of the engine ask for is seen that soon
 *
 * Threads: any.  Memory: owns nothing.
 */
#ifndef SE_FILTER_PLAN_H
#define SE_FILTER_PLAN_H

#include "filter/filter.h"

#define PLAN_LOOK_MS 200u
#define PLAN_SAVE_AGAIN_MS 1000u /* after a snapshot that could not be written */

enum warm_task { WARM_REST, WARM_COMPARE, WARM_SCAN, WARM_GROW, WARM_BURY, WARM_COUNT, WARM_SAVE };

/* What is so now. Sets of parts have a bit a part. */
struct plan_facts {
    bool attached;
    bool restored;   /* there is a snapshot to be compared */
    unsigned doubts; /* enum filter_doubt */
    uint64_t behind; /* parts whose last scan is older than the last request */
    uint64_t due;    /* struct filter_part_stats */
    uint64_t dead;   /* parts found by WARM_COUNT */
    bool strays;     /* L3 has ids in buckets that are not theirs: any part may need any bucket */
    uint64_t ids;    /* fingerprints */
    uint64_t removals;
    bool saves;       /* snapshots may be written */
    bool changed;     /* something was written since the last one */
    uint64_t unsaved; /* ids that the last one does not have */
    uint32_t interval_s, threshold;
};

/* What was done before. */
struct plan_past {
    uint32_t failures;         /* in a row */
    uint64_t retry_at_ms;      /* after a failure */
    uint64_t removals_counted; /* at the last WARM_COUNT */
    bool uncounted;            /* a scan was complete since the last WARM_COUNT */
    uint64_t saved_at_ms;      /* the last snapshot, or the start */
    uint64_t save_again_ms;    /* after a failed one */
};

struct plan {
    enum warm_task task;
    uint64_t parts;   /* SCAN, GROW, BURY */
    uint64_t wait_ms; /* REST */
};

struct plan se__plan(const struct plan_facts *facts, const struct plan_past *past, uint64_t now_ms);
/* A task other than WARM_SAVE has failed or succeeded. random: for the jitter. */
void se__plan_failed(struct plan_past *past, uint64_t now_ms, uint64_t random);
void se__plan_done(struct plan_past *past);
/* A snapshot was written, or could not be: the next try is an interval away. */
void se__plan_saved(struct plan_past *past, uint64_t now_ms, bool ok);
/* How many buckets, from this one on, are read next: a power of two, so many that they have about a
 * page of ids if they are like those read before, and none outside of the parts. A range that fits
 * into a page costs one statement; one that goes on costs two a page. */
uint32_t se__plan_buckets(uint64_t parts, uint32_t bucket, uint64_t ids_read, uint32_t buckets_read,
                          uint32_t page_ids);
/* The parts that hold many more ids than the live rows L3 counts there. */
uint64_t se__plan_dead(const uint64_t used[FILTER_PARTS], const uint64_t live[FILTER_PARTS]);

#endif
