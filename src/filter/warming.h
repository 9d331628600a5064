/*
 * warming - the insides of warm, for the files that make it up.
 *
 * warm.c: life, requests, trust, what is done next. warm_scan.c: parts rebuilt from L3.
 * warm_snapshot.c: the snapshot read at start, compared with L3, and written.
 *
 * A request ("scan again") is a number that grows. A scan remembers the number it found before it
 * began; its result counts only for requests up to that.
 *
 * What holds the whole together (law 5): ids that are acknowledged and perhaps not in L3 are
 * collected before L3 is looked at. An id leaves that collection only for L3; so it is seen here or
 * there. The other way round, one that moves between the two looks would be in neither.
 */
#ifndef SE_FILTER_WARMING_H
#define SE_FILTER_WARMING_H

#include "base/os.h"
#include "filter/plan.h"
#include "filter/snapshot.h"
#include "filter/warm.h"

#include <stdatomic.h>

#define WARM_DIGEST_CALLS 60u /* a digest of everything may take so many times timeout_ms */

struct warm {
    struct warm_options o; /* its texts are below */
    char *path, *table;
    struct filter *filter;
    struct se__mutex lock; /* leaf: guards asked; trust changes only with it held */
    uint64_t asked;        /* the last request */
    atomic_bool started;
    struct se__log_gate complaints;

    /* All below is the running thread's. */
    uint64_t leave_by_ms;           /* of a close; 0: not closing */
    uint64_t scanned[FILTER_PARTS]; /* the request that the part's last scan answers */
    bool strays;                    /* an id was found in a bucket that is not its own */
    uint64_t dead;                  /* parts */
    struct plan_past past;
    struct tier_sights page;

    struct tier_node *restored; /* digests of the snapshot that is in the filter; NULL: none */
    struct snapshot_head restored_head;
    unsigned compare_failures; /* that are not just L3 being away */

    uint64_t saved_added, saved_position; /* of the filter, of the clock, at the last snapshot */
    uint64_t noted;                       /* ids of full scans since */
};

enum outcome {
    WENT_WELL,
    WAS_LEFT,  /* the engine stops, or what was going on is asked for anew: no failure */
    HAS_FAILED /* se_errmsg() says why */
};

/* ---- warm.c ---- */
uint64_t se__warm_asked(struct warm *w);
/* The engine stops, or `asked` is not the last request any more. */
bool se__warm_is_over(struct warm *w, uint64_t asked);
/* Trusts the filter if every part was scanned for `asked` and that is still the last request.
 * Returns whether it is trusted. */
bool se__warm_believe(struct warm *w, uint64_t asked);
/* Shows all pending ids; see returns nothing, its arg may hold a failure. */
se_result se__warm_pending(struct warm *w,
                           void (*see)(void *see_arg, const char *id, size_t id_len),
                           void *see_arg);

/* ---- warm_scan.c ---- */
/* Reads the ids of these buckets, page by page, and hands each to `take`, which returns SE_OK or ends
 * the scan as failed; it may keep the page's memory and leave other for it. ends: no more come. */
enum outcome se__warm_survey(struct warm *w, uint32_t bucket_first, uint32_t bucket_last,
                             bool live_only, uint64_t asked,
                             se_result (*take)(void *arg, struct tier_sights *page, bool ends),
                             void *arg);
/* Rebuilds these parts from L3 and what is pending. */
enum outcome se__warm_rebuild(struct warm *w, enum warm_task task, uint64_t parts);
/* Finds the parts with too many dead ids. */
enum outcome se__warm_count(struct warm *w);
void se__warm_find_dead(struct warm *w, const uint64_t live[FILTER_PARTS]);
/* From live rows; none has expired. */
struct tier_reply se__warm_digest(struct warm *w, unsigned shift, struct tier_node *nodes);

/* ---- warm_snapshot.c ---- */
/* Sets w->filter: restored, or empty. */
SE_NODISCARD se_result se__warm_restore(struct warm *w);
enum outcome se__warm_compare(struct warm *w, const char *incarnation);
bool se__warm_saves(const struct warm *w); /* snapshots may be written */
enum outcome se__warm_save(struct warm *w, const char *incarnation);

#endif
