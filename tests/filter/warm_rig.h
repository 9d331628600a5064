/*
 * warm_rig - what an engine does around a warm: writes, flushes, restarts; with a fake L3.
 *
 * rig_write is se_submit: filter, then pending, then the epoch. rig_flush is the flush: L3 has the id,
 * then it is pending no more. An id of both is "acknowledged" and may never be excluded again; the rig
 * remembers all of them, and rig_check asks for each.
 *
 * Threads: rig_write, rig_flush and what the hooks may call: any; the rest: the test's thread.
 */
#ifndef SE_TESTS_FILTER_WARM_RIG_H
#define SE_TESTS_FILTER_WARM_RIG_H

#include "filter/fake_l3.h"
#include "filter/warm.h"

#include "base/os.h"
#include "support/dir.h"

#include <stdatomic.h>

#define RIG_ID_MAX 40

struct rig_ids {
    char (*ids)[RIG_ID_MAX];
    size_t n, cap;
};

struct rig {
    struct test_dir dir;
    char path[256]; /* of the snapshot */
    struct fake_l3 *l3;
    struct metrics *metrics;
    struct se__log log;
    struct warm_options options; /* a test may change them before rig_start */
    struct warm *w;
    const char *incarnation;

    struct se__mutex lock; /* guards all below */
    struct rig_ids pending, acknowledged;
    char *lines; /* of the log, each with a newline */
    size_t lines_len;
    bool pending_fails;
    void (*before_pending)(struct rig *r); /* without the lock */
    atomic_bool stopping;
    _Atomic uint64_t position, removals;
};

void rig_open(struct rig *r);
void rig_close(struct rig *r);
void rig_start(struct rig *r);
void rig_stop(struct rig *r); /* the process is gone: what is pending stays, in its WAL */
/* Runs until it wants to wait, at most `calls` times. Returns the wait it wants. */
uint64_t rig_run(struct rig *r, unsigned calls);
/* Runs, and waits, until the filter is trusted. */
void rig_run_until_trusted(struct rig *r);

void rig_write(struct rig *r, const char *id);
void rig_flush(struct rig *r, const char *id);
void rig_put(struct rig *r, const char *id);          /* both */
void rig_behind(struct rig *r, const char *id);       /* a row nobody told us about */
void rig_only_pending(struct rig *r, const char *id); /* in the WAL of an earlier run */
void rig_delete(struct rig *r, const char *id); /* not acknowledged any more; a tombstone in L3 */

bool rig_excludes(struct rig *r, const char *id);
unsigned rig_doubts(struct rig *r);
/* No acknowledged id is excluded, nor would it be if the filter were trusted. */
void rig_check(struct rig *r);
/* How many of 10,000 ids that never were are excluded. */
unsigned rig_excluded(struct rig *r);
bool rig_logged(struct rig *r, const char *words);
uint64_t rig_sum(struct rig *r, enum metric which);

/* Ids from .. until - 1: rows nobody told us about; put. */
void rig_fill(struct rig *r, unsigned from, unsigned until);
void rig_put_many(struct rig *r, unsigned from, unsigned until);
uint64_t rig_ids(struct rig *r); /* fingerprints in the filter */
bool rig_is_due(struct rig *r, unsigned part);
void rig_put_until_due(struct rig *r, unsigned part);

/* ---- snapshots ---- */
bool rig_has_file(struct rig *r);
/* Leaves, as at close, and starts again; what L3 has seen is forgotten. */
void rig_leave_and_start(struct rig *r);
/* So many rows, a snapshot of them, and a new start. */
void rig_start_with_snapshot(struct rig *r, unsigned rows);
/* Runs: the snapshot is used and `ids` were read beside it. */
void rig_expect_used(struct rig *r, uint64_t ids);

/* The i-th id; the i-th id of a part; of a bucket. */
void rig_id(unsigned i, char id[RIG_ID_MAX]);
void rig_id_in_part(unsigned part, unsigned i, char id[RIG_ID_MAX]);
void rig_id_in_bucket(uint16_t bucket, unsigned i, char id[RIG_ID_MAX]);

#endif
