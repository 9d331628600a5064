/*
 * rig - a worker with everything around it that is real (L1, WAL, guards, metrics), over fake
 * tiers.
 *
 * Counts as the engine does (M_ACCEPTED, M_RECOVERED, what a put superseded), so that tests can
 * hold the whole account of law 13.
 */
#ifndef SE_TESTS_FLUSH_RIG_H
#define SE_TESTS_FLUSH_RIG_H

#include "flush/worker.h"
#include "support/fake_tier.h"
#include "support/test.h"

#include <stdatomic.h>

struct rig_options {
    bool wal, cache, keep_wal; /* keep_wal: the file of the rig before is opened again */
    bool bare;                 /* the home tier without its guard: faults come at once */
    uint64_t wal_items_max;    /* 0: many */
    size_t items_max, bytes_max, drain_items;   /* 0: 100, 1 MiB, 100 */
    uint32_t age_ms_max;                        /* 0: 5 */
    bool paced, tuned;                          /* items_max and bytes_max are bounds */
    uint32_t home_timeout_ms, cache_timeout_ms; /* 0: 60 s; gates then hold as long as the
                                                   test wants */
    uint32_t open_ms;                           /* of the circuits, 0: 20 */
    size_t suspects_max;                        /* 0: 10000 */
    size_t owed_max;
};

struct rig {
    struct rig_options o;
    char dir[64], wal_path[96];
    struct fake_tier *home, *cache;
    struct tier home_tier, cache_tier;
    struct guarded *home_guard, *cache_guard;
    struct metrics *metrics;
    struct l1 *l1;
    struct wal *wal;
    struct suspects *suspects;
    struct hlc hlc;
    struct worker *worker;
    struct se__log log;
    _Atomic unsigned lines;  /* logged */
    _Atomic unsigned covers; /* calls of cover */
    _Atomic bool cover_fails;
    bool stopped;
};

void rig_open(struct rig *r, const struct rig_options *options);
size_t rig_stop(struct rig *r, uint32_t timeout_ms); /* stops the worker: items left */
void rig_close(struct rig *r, bool keep_wal);        /* stops at once if that has not been done */

/* Puts `text` (NULL: a delete) as the engine would. Returns the version. */
uint64_t rig_put(struct rig *r, const char *id, const char *text);
uint64_t rig_put_routed(struct rig *r, const char *id, const char *text, uint8_t route);
uint64_t rig_put_insured(struct rig *r, const char *id, const char *text); /* SE_ACK_WAL */
/* An item for an id that is not in L1 or the tiers yet; the caller's reference. */
se_item *rig_item(const char *id, const char *text, uint64_t version);
void rig_name(char *id, size_t cap, unsigned i); /* the i-th id; their order is the numbers' */
void rig_put_many(struct rig *r, unsigned n);    /* the first n of them */
/* For fake_tier_refuse: ids with "poison" in them. */
bool rig_is_poison(void *arg, const se_item *item);

/* The worker's flush, 60 s; asserts that it ends. Returns all_home. */
bool rig_flush(struct rig *r);
size_t rig_queued(struct rig *r);
uint64_t rig_count(struct rig *r, enum metric which);
/* The balance of law 13; the worker must be quiescent. */
bool rig_balanced(struct rig *r);
/* Version that a read would find: L1, the WAL, the home tier. */
uint64_t rig_read(struct rig *r, const char *id);
#define SOON se__deadline_in(60000)

#endif
