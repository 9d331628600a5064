/*
 * guard - one call of a backend: asked of the breaker, made, reported, repeated. Private to this
 * room.
 *
 * guarded.c packs every operation of the tier interface into a `struct call`; guard.c decides
 * whether and how often it runs.
 */
#ifndef SE_TIER_GUARD_H
#define SE_TIER_GUARD_H

#include "base/os.h"
#include "tier/guarded.h"

#include <stdatomic.h>

/* The metrics of one backend. */
struct series {
    enum metric hit, miss, get_error, put_ok, put_lost, put_error;
    enum metric get_seconds, put_seconds, scan_seconds, probe_seconds, get_bytes, put_bytes;
    enum metric circuit, opened, half, closed, rejected, retries, up;
};

struct guarded {
    struct tier inner;
    struct tier_ops ops; /* what the engine sees: ours, under the inner tier's name */
    const struct series *series;
    struct metrics *metrics;
    const struct se__log *log;
    struct se__mutex lock; /* guards breaker and stopping; leaf */
    struct se__cond stop;
    struct breaker breaker;
    bool stopping;
    /* relaxed: a hint of its own, nothing is ordered by it. */
    atomic_int up;
};

/* One operation with its arguments; `run` asks the inner tier once. */
struct call {
    struct tier_reply (*run)(const struct guarded *g, struct call *c);
    uint64_t deadline_ms;
    enum metric seconds; /* the histogram; METRIC_COUNT: none */
    unsigned worker;
    struct tier_write *writes;
    struct tier_read *reads;
    size_t n;
    const struct tier_scan *scan;
    struct tier_page *page;
    struct tier_ids *ids;
    uint64_t *count;
    const char *name, *value;
    struct buf *out;
    size_t out_len; /* of `out` before the call */
    bool *found;
    void (*visit)(void *arg, const char *name, const char *value);
    void *visit_arg;
    bool visited; /* something was shown already: repeating would show it twice */
    size_t *purged;
    const struct tier_survey *survey;
    struct tier_cursor *cursor;
    struct tier_sights *sights;
    const struct tier_digest *digest;
    struct tier_node *nodes;
    bool long_call; /* its duration says nothing about the backend */
};

/* May a call be made? *stopped says that none may be made any more. If
 * it may, it must be reported. */
SE_NODISCARD bool se__guard_admit(struct guarded *g, uint64_t now_ms, bool *stopped);
void se__guard_report(struct guarded *g, bool ok, uint64_t took_ms, uint64_t now_ms);
void se__guard_note_up(struct guarded *g, bool up);
/* Runs the call as guarded.h promises. */
struct tier_reply se__guard(struct guarded *g, struct call *c);

#endif
