/*
 * warm - keeps the filter true: scans of L3, snapshots, growth; and says what is due when.
 *
 *   start     a snapshot file beside the WAL is read before the engine takes writes (se__warm_open);
 *             once L3 answers, its root is compared with the snapshot's: equal, the filter is trusted
 *             at once; else the differing buckets are scanned, or everything if they are too many or
 *             the snapshot is another database's
 *   run       a part that is due is rebuilt from its buckets; parts with more than 10 % dead ids too;
 *             a snapshot is written when interval and threshold are both reached
 *   doubt     se__warm_rescan: everything is scanned again before the filter is believed
 *
 * What is due is decided by a pure function of state and now (filter/plan.h); this part acts.
 * L3 away: nothing is scanned; what was trusted stays trusted, since every write goes through the filter.
 *
 * Locks: one mutex (leaf) around the requests of other threads; not held during any work.
 * Threads: se__warm_run: one thread (the keeper's); rescan, stats: any.
 */
#ifndef SE_FILTER_WARM_H
#define SE_FILTER_WARM_H

#include "base/log.h"
#include "filter/filter.h"
#include "metrics/metrics.h"
#include "tier/tier.h"

struct warm;

struct warm_options {
    struct tier home;                                 /* the guarded L3 */
    const char *snapshot_path;                        /* copied; NULL: no snapshots */
    const char *table;                                /* copied */
    uint32_t page_ids;                                /* filter_warmup_batch_size */
    uint32_t snapshot_interval_s, snapshot_threshold; /* both 0: never written (but read) */
    uint32_t timeout_ms;                              /* of one call of L3 */
    bool read_only; /* snapshots are read, never written or removed */
    struct metrics *metrics;
    const struct se__log *log;
    /* Shows every id that is acknowledged and perhaps not in L3: dirty in L1, in the WAL, dead
     * letters. SE_OK, or nothing is concluded. */
    se_result (*pending)(void *arg, void (*see)(void *see_arg, const char *id, size_t id_len),
                         void *see_arg);
    uint64_t (*position)(void *arg); /* the last version issued */
    /* Deletes and purged rows so far: a hint that ids may be dead. */
    uint64_t (*removals)(void *arg);
    bool (*stopping)(void *arg);
    void *arg;
};

/* Makes the filter, from the snapshot if there is a sound one. A snapshot that is damaged, truncated,
 * of another database or too old is a line in the log and no error. */
SE_NODISCARD se_result se__warm_open(const struct warm_options *options, struct warm **warm);
void se__warm_close(struct warm *w); /* NULL is allowed */
struct filter *se__warm_filter(struct warm *w);

/* Does what is due. Returns how many ms to wait before the next call. incarnation: of the attached
 * database; NULL: L3 is not attached. */
uint64_t se__warm_run(struct warm *w, const char *incarnation);
/* The first scan is over: trusted, or it failed, or it has to wait for another engine to go. False
 * while L3 is not attached. */
bool se__warm_started(struct warm *w);
/* Everything is to be scanned again; `doubt` (COLD, FOREIGN or UNLISTED) holds until a scan that began after
 * this call is complete. FOREIGN holds until se__warm_alone, and then a scan. */
void se__warm_rescan(struct warm *w, enum filter_doubt doubt);
void se__warm_alone(struct warm *w);
/* Writes a snapshot now if one is configured, the filter is trusted and something was written since
 * the last one (close; on the thread of se__warm_run, after it). L3 is not waited for beyond the deadline:
 * without its digests there is no snapshot, and the next start scans. */
void se__warm_leave(struct warm *w, const char *incarnation, uint64_t deadline_ms);

#endif
