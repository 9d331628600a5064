/*
 * metrics - one table of metrics, striped counters, Prometheus text.
 *
 * The table (metrics/table.h, an X-macro) gives every series its name, type, labels and help;
 * docs/metrics.md is generated from it. A series is one entry of `enum metric`; labels are part of
 * the table, so a label can never hold an id. Names start with sync_engine_; the predecessor's
 * names are kept where it had them.
 *
 * Counters: stripes of relaxed atomics on cache lines of their own, chosen by thread; a sum is
 * exact once the adding threads are quiet. Gauges: one atomic, set by whoever knows. Histograms:
 * fixed buckets of counters: of seconds, of items (COUNTS in the table) or of bytes (SIZES).
 *
 * Threads: any.  Memory: se__metrics_open returns, se__metrics_close frees. No globals: one set per
 * engine. Where `m` is NULL nothing is counted (and sums are 0), so that parts can be tested alone.
 */
#ifndef SE_METRICS_METRICS_H
#define SE_METRICS_METRICS_H

#include "base/buf.h"
#include "base/os.h"
#include "metrics/table.h"

#include <stdatomic.h>

/* Private to this room, but for what the inline functions need. */
struct metrics {
    _Atomic uint64_t *cells; /* METRICS_STRIPES rows of row_cells */
    size_t row_cells;
    uint16_t histogram_at[METRIC_COUNT];   /* first cell of a histogram */
    _Atomic uint64_t gauges[METRIC_COUNT]; /* the bits of a double */
    uint16_t next[METRIC_COUNT];           /* of its family; METRIC_COUNT: it is the last */
    bool first[METRIC_COUNT];              /* of its family */
};
#define METRICS_SHARED 16u /* rows 0 .. 15 */
#define METRICS_OWN 48u    /* rows 16 .. 63, of the threads 1 .. 48 */
#define METRICS_STRIPES (METRICS_SHARED + METRICS_OWN)

SE_NODISCARD se_result se__metrics_open(struct metrics **metrics);
void se__metrics_close(struct metrics *m); /* NULL is allowed */

void se__metrics_add_shared(struct metrics *m, size_t cell, uint64_t n);
/* thread: the caller's se__thread_id, at most METRICS_OWN. */
static inline void se__metrics_add_own(struct metrics *m, uint64_t thread, size_t cell, uint64_t n)
{
    /* relaxed throughout: numbers that publish nothing; a reader who must see them all synchronises
     * by joining the threads. An own row has one writer ever, since ids of threads are not used
     * again. */
    _Atomic uint64_t *c = &m->cells[(METRICS_SHARED - 1 + thread) * m->row_cells + cell];
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}
static inline void se__metrics_add_cell(struct metrics *m, size_t cell, uint64_t n)
{
    uint64_t thread = se__thread_id();
    if (__builtin_expect(thread > METRICS_OWN, 0))
        se__metrics_add_shared(m, cell, n);
    else
        se__metrics_add_own(m, thread, cell, n);
}
/* To a counter. */
static inline void se__metrics_add(struct metrics *m, enum metric which, uint64_t n)
{
    if (m)
        se__metrics_add_cell(m, which, n);
}
static inline void se__metrics_inc(struct metrics *m, enum metric which)
{
    se__metrics_add(m, which, 1);
}
uint64_t se__metrics_sum(const struct metrics *m, enum metric which); /* of a counter; for tests */
void se__metrics_set(struct metrics *m, enum metric which, double value); /* of a gauge */
double se__metrics_get(const struct metrics *m, enum metric which);       /* of a gauge */
/* Of a histogram: seconds, items or bytes. */
void se__metrics_observe(struct metrics *m, enum metric which, double value);

/* Appends the whole set as Prometheus text exposition format 0.0.4, HELP and TYPE once per family.
 * `name` becomes the label engine="..." (escaped) of every series. */
void se__metrics_text(const struct metrics *m, const char *name, struct buf *out);
/* Appends docs/metrics.md. */
void se__metrics_markdown(struct buf *out);

#endif
