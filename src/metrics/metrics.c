/*
 * metrics - the counters behind the table, and their text.
 *
 * A stripe is a row of 64-bit cells on cache lines of its own: one per series of the table, then
 * the histograms' buckets. A thread always adds to the same stripe. The first threads of the
 * process have one each and add with a plain load and store, which costs a nanosecond; later ones
 * share the rest and pay for an atomic addition, 5 ns without contention.
 */
#include "metrics/metrics.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LINE 64u
#define CELLS_PER_LINE (LINE / sizeof(uint64_t))

enum metric_type { COUNTER, GAUGE, HISTOGRAM, COUNTS, SIZES };

struct series {
    enum metric_type type;
    const char *family, *labels, *help;
};

static const struct series table[METRIC_COUNT] = {
#define METRIC(symbol, type, family, labels, help) [symbol] = {type, family, labels, help},
    SE_METRICS(METRIC)
#undef METRIC
};

/* Upper bounds of the buckets. Cells count whole units: nanoseconds, items, bytes. */
struct bound {
    uint64_t units;
    const char *text;
};
/* From a hit in L1 to the longest timeout, 1, 2.5, 5 a decade. */
static const struct bound seconds_bounds[] = {
    {100, "0.0000001"},  {250, "0.00000025"}, {500, "0.0000005"},  {1000, "0.000001"},
    {2500, "0.0000025"}, {5000, "0.000005"},  {10000, "0.00001"},  {25000, "0.000025"},
    {50000, "0.00005"},  {100000, "0.0001"},  {250000, "0.00025"}, {500000, "0.0005"},
    {1000000, "0.001"},  {2500000, "0.0025"}, {5000000, "0.005"},  {10000000, "0.01"},
    {25000000, "0.025"}, {50000000, "0.05"},  {100000000, "0.1"},  {250000000, "0.25"},
    {500000000, "0.5"},  {1000000000, "1"},   {2500000000, "2.5"}, {5000000000, "5"},
    {10000000000, "10"},
};
static const struct bound count_bounds[] = {
    {1, "1"},       {2, "2"},       {5, "5"},         {10, "10"},   {20, "20"},
    {50, "50"},     {100, "100"},   {200, "200"},     {500, "500"}, {1000, "1000"},
    {2000, "2000"}, {5000, "5000"}, {10000, "10000"},
};
static const struct bound size_bounds[] = {
    {256, "256"},           {1024, "1024"},         {4096, "4096"},       {16384, "16384"},
    {65536, "65536"},       {262144, "262144"},     {1048576, "1048576"}, {4194304, "4194304"},
    {16777216, "16777216"}, {67108864, "67108864"},
};
#define LENGTH(array) (sizeof(array) / sizeof *(array))

static const struct kind {
    const char *name; /* of the type, in the text */
    const struct bound *bounds;
    size_t n;
    double scale; /* units of a cell in one of a value */
} kinds[] = {
    [COUNTER] = {"counter", NULL, 0, 1},
    [GAUGE] = {"gauge", NULL, 0, 1},
    [HISTOGRAM] = {"histogram", seconds_bounds, LENGTH(seconds_bounds), 1e9},
    [COUNTS] = {"histogram", count_bounds, LENGTH(count_bounds), 1},
    [SIZES] = {"histogram", size_bounds, LENGTH(size_bounds), 1},
};

/* A histogram's cells: one per bound, one above them all, the sum. */
enum {
    COUNTER_CELLS = 0,
    GAUGE_CELLS = 0,
    HISTOGRAM_CELLS = LENGTH(seconds_bounds) + 2,
    COUNTS_CELLS = LENGTH(count_bounds) + 2,
    SIZES_CELLS = LENGTH(size_bounds) + 2,
    CELLS = METRIC_COUNT
#define METRIC(symbol, type, family, labels, help) +type##_CELLS
        SE_METRICS(METRIC)
#undef METRIC
        ,
    ROW_CELLS = (CELLS + CELLS_PER_LINE - 1) / CELLS_PER_LINE * CELLS_PER_LINE
};

static const struct kind *kind_of(size_t which)
{
    return &kinds[table[which].type];
}

/* ---- counting ---- */

static void lay_out(struct metrics *m)
{
    size_t cells = METRIC_COUNT;
    for (size_t i = 0; i < METRIC_COUNT; i++)
        if (kind_of(i)->n) {
            m->histogram_at[i] = (uint16_t)cells;
            cells += kind_of(i)->n + 2;
        }
    assert(cells == CELLS);
    m->row_cells = ROW_CELLS;
}

/* Once, so that a scrape compares no names. */
static void find_families(struct metrics *m)
{
    for (size_t i = METRIC_COUNT; i-- > 0;) {
        size_t next = i + 1;
        while (next < METRIC_COUNT && strcmp(table[next].family, table[i].family) != 0)
            next++;
        m->next[i] = (uint16_t)next;
        m->first[i] = true;
        if (next < METRIC_COUNT)
            m->first[next] = false;
    }
}

se_result se__metrics_open(struct metrics **metrics)
{
    struct metrics *m = se__alloc_zeroed(1, sizeof *m);
    if (!m)
        return se__error_nomem();
    lay_out(m);
    find_families(m);
    size_t n = METRICS_STRIPES * m->row_cells;
    m->cells = se__alloc_aligned(LINE, n * sizeof *m->cells);
    if (!m->cells) {
        se__metrics_close(m);
        return se__error_nomem();
    }
    for (size_t i = 0; i < n; i++)
        atomic_init(&m->cells[i], 0);
    se__metrics_set(m, M_BUILD, 1);
    *metrics = m;
    return SE_OK;
}

void se__metrics_close(struct metrics *m)
{
    if (!m)
        return;
    se__free(m->cells);
    se__free(m);
}

void se__metrics_add_shared(struct metrics *m, size_t cell, uint64_t n)
{
    size_t row = se__thread_id() % METRICS_SHARED;
    /* relaxed: see se__metrics_add_cell */
    atomic_fetch_add_explicit(&m->cells[row * m->row_cells + cell], n, memory_order_relaxed);
}

static uint64_t sum_of_cell(const struct metrics *m, size_t cell)
{
    uint64_t sum = 0;
    for (size_t stripe = 0; stripe < METRICS_STRIPES;
         stripe++) /* relaxed: see se__metrics_add_cell */
        sum += atomic_load_explicit(&m->cells[stripe * m->row_cells + cell], memory_order_relaxed);
    return sum;
}

/* All cells at once, row by row: the order in which they lie in memory. Rows of threads that there
 * never were are empty. */
static void sum_all(const struct metrics *m, uint64_t sums[ROW_CELLS])
{
    uint64_t threads = se__thread_total();
    size_t from = threads > METRICS_OWN ? 0 : METRICS_SHARED;
    size_t to = threads > METRICS_OWN ? METRICS_STRIPES : METRICS_SHARED + (size_t)threads;
    memset(sums, 0, ROW_CELLS * sizeof *sums);
    for (size_t row = from; row < to; row++) {
        const _Atomic uint64_t *cells = &m->cells[row * ROW_CELLS];
        for (size_t i = 0; i < CELLS; i++) /* relaxed: see se__metrics_add_cell */
            sums[i] += atomic_load_explicit(&cells[i], memory_order_relaxed);
    }
}

uint64_t se__metrics_sum(const struct metrics *m, enum metric which)
{
    assert(table[which].type == COUNTER);
    return m ? sum_of_cell(m, which) : 0;
}

void se__metrics_set(struct metrics *m, enum metric which, double value)
{
    assert(table[which].type == GAUGE);
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (m)
        atomic_store_explicit(&m->gauges[which], bits,
                              memory_order_relaxed); /* relaxed: a number */
}

double se__metrics_get(const struct metrics *m, enum metric which)
{
    assert(table[which].type == GAUGE);
    /* relaxed: a number */
    uint64_t bits = m ? atomic_load_explicit(&m->gauges[which], memory_order_relaxed) : 0;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void se__metrics_observe(struct metrics *m, enum metric which, double value)
{
    const struct kind *k = kind_of(which);
    assert(k->n);
    if (!m || !(value >= 0)) /* a NaN or a clock gone wrong says nothing */
        return;
    /* rounded: 0.0001 * 1e9 is a hair above 100000 */
    double scaled = value * k->scale + 0.5;
    uint64_t units = scaled < 1e18 ? (uint64_t)scaled : UINT64_C(1000000000000000000);
    size_t bucket = 0;
    while (bucket < k->n && units > k->bounds[bucket].units)
        bucket++;
    se__metrics_add_cell(m, m->histogram_at[which] + bucket, 1);
    se__metrics_add_cell(m, m->histogram_at[which] + k->n + 1, units);
}

/* ---- text ---- */

/* A label's value: backslash, quote and line feed are escaped; what is not
 * UTF-8 would spoil the whole page. */
static void put_label_value(struct buf *out, const char *text)
{
    size_t len = strlen(text);
    bool utf8 = se__utf8_check(text, len) == len;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '\n')
            se__buf_text(out, "\\n");
        else if (c == '\\' || c == '"')
            se__buf_append(out, (char[]){'\\', c}, 2);
        else if (!utf8 && (unsigned char)c >= 0x80)
            se__buf_text(out, "?");
        else
            se__buf_append(out, &c, 1);
    }
}

/* Digits by hand: a page has some seven hundred numbers, and printf would be most of its cost. */
static void put_u64(struct buf *out, uint64_t v, int digits_min)
{
    char digits[24];
    int at = (int)sizeof digits;
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v || (int)sizeof digits - at < digits_min);
    se__buf_append(out, digits + at, sizeof digits - (size_t)at);
}

/* Without trailing zeros. */
static void put_decimal(struct buf *out, uint64_t whole, uint64_t billionths)
{
    int digits = 9;
    put_u64(out, whole, 1);
    if (!billionths)
        return;
    for (; billionths % 10 == 0; digits--)
        billionths /= 10;
    se__buf_append(out, ".", 1);
    put_u64(out, billionths, digits);
}

/* The fraction is scaled by itself, so that a large whole part does not blur it. */
static void put_positive(struct buf *out, double v)
{
    if (v >= 1e15) { /* whole anyhow, as far as anybody looks */
        se__buf_printf(out, "%.0f", v);
        return;
    }
    uint64_t whole = (uint64_t)v;
    uint64_t billionths = (uint64_t)((v - (double)whole) * 1e9 + 0.5);
    put_decimal(out, whole + billionths / 1000000000u, billionths % 1000000000u);
}

static void put_number(struct buf *out, double v)
{
    if (isnan(v)) {
        se__buf_text(out, "NaN");
    } else if (isinf(v)) {
        se__buf_text(out, v < 0 ? "-Inf" : "+Inf");
    } else {
        if (v < 0)
            se__buf_text(out, "-");
        put_positive(out, fabs(v));
    }
}

struct printer {
    const struct metrics *m;
    struct buf engine; /* engine="...", escaped */
    struct buf *out;
    uint64_t sums[ROW_CELLS];
};

/* family[suffix]{engine="...",labels[,le="..."]} and a blank; the value follows. */
static void put_series(const struct printer *p, const struct series *s, const char *suffix,
                       const char *le)
{
    se__buf_text(p->out, s->family);
    se__buf_text(p->out, suffix);
    se__buf_append(p->out, p->engine.data, p->engine.len);
    if (*s->labels) {
        se__buf_append(p->out, ",", 1);
        se__buf_text(p->out, s->labels);
    }
    if (le) {
        se__buf_text(p->out, ",le=\"");
        se__buf_text(p->out, le);
        se__buf_append(p->out, "\"", 1);
    }
    se__buf_append(p->out, "} ", 2);
}

static void put_count(const struct printer *p, uint64_t count)
{
    put_u64(p->out, count, 1);
    se__buf_append(p->out, "\n", 1);
}

/* _count is the sum of the buckets read here, so that it equals the +Inf
 * bucket even while others add. */
static void put_histogram(const struct printer *p, size_t which)
{
    const struct series *s = &table[which];
    const struct kind *k = kind_of(which);
    const uint64_t *cells = &p->sums[p->m->histogram_at[which]];
    uint64_t below = 0, scale = (uint64_t)k->scale;
    for (size_t i = 0; i <= k->n; i++) {
        below += cells[i];
        put_series(p, s, "_bucket", i < k->n ? k->bounds[i].text : "+Inf");
        put_count(p, below);
    }
    put_series(p, s, "_sum", NULL);
    put_decimal(p->out, cells[k->n + 1] / scale, cells[k->n + 1] % scale);
    se__buf_append(p->out, "\n", 1);
    put_series(p, s, "_count", NULL);
    put_count(p, below);
}

static void put_values(const struct printer *p, size_t which)
{
    const struct series *s = &table[which];
    if (s->type == COUNTER) {
        put_series(p, s, "", NULL);
        put_count(p, p->sums[which]);
    } else if (s->type == GAUGE) {
        put_series(p, s, "", NULL);
        put_number(p->out, se__metrics_get(p->m, (enum metric)which));
        se__buf_append(p->out, "\n", 1);
    } else {
        put_histogram(p, which);
    }
}

static bool same_family(size_t a, size_t b)
{
    return strcmp(table[a].family, table[b].family) == 0;
}

static bool first_of_family(size_t which)
{
    for (size_t i = 0; i < which; i++)
        if (same_family(i, which))
            return false;
    return true;
}

static void put_words(struct buf *out, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        se__buf_text(out, words[i]);
}

/* The format wants a family's lines together, wherever they stand in the table. */
static void put_family(const struct printer *p, size_t first)
{
    const struct series *s = &table[first];
    put_words(p->out,
              (const char *const[]){"# HELP ", s->family, " ", s->help, "\n# TYPE ", s->family, " ",
                                    kind_of(first)->name, "\n"},
              9);
    for (size_t i = first; i < METRIC_COUNT; i = p->m->next[i])
        put_values(p, i);
}

void se__metrics_text(const struct metrics *m, const char *name, struct buf *out)
{
    if (!m)
        return;
    struct printer p = {.m = m, .out = out};
    se__buf_text(&p.engine, "{engine=\"");
    put_label_value(&p.engine, name ? name : "");
    se__buf_append(&p.engine, "\"", 1);
    out->failed = out->failed || p.engine.failed;
    sum_all(m, p.sums);
    for (size_t i = 0; i < METRIC_COUNT; i++)
        if (m->first[i])
            put_family(&p, i);
    se__buf_done(&p.engine);
}

static void put_markdown_row(struct buf *out, size_t first)
{
    se__buf_printf(out, "| `%s` | %s | ", table[first].family, kind_of(first)->name);
    bool any = false;
    for (size_t i = first; i < METRIC_COUNT; i++)
        if (same_family(i, first) && *table[i].labels) {
            se__buf_printf(out, "%s`%s`", any ? "<br>" : "", table[i].labels);
            any = true;
        }
    se__buf_printf(out, " | %s |\n", table[first].help);
}

static void put_bounds(struct buf *out, enum metric_type type, const char *unit)
{
    const struct kind *k = &kinds[type];
    se__buf_printf(out, "%s\n- %s: ", type == HISTOGRAM ? "\n" : "", unit);
    for (size_t i = 0; i < k->n; i++)
        se__buf_printf(out, "%s%s", i ? ", " : "", k->bounds[i].text);
    if (type == SIZES)
        se__buf_text(out, "\n");
}

void se__metrics_markdown(struct buf *out)
{
    se__buf_text(out, "# Metrics\n\n"
                      "Generated from `src/metrics/table.h`; do not edit.\n\n"
                      "`se_metrics_text()` and `GET /metrics` give them in the Prometheus text "
                      "format 0.0.4. Every series\n"
                      "also has the label `engine`, the engine's name. No label ever holds an id. "
                      "Histograms have buckets\n"
                      "up to");
    put_bounds(out, HISTOGRAM, "seconds");
    put_bounds(out, COUNTS, "items");
    put_bounds(out, SIZES, "bytes");
    se__buf_text(out, "\n"
                      "When the engine is quiescent the writes add up: accepted + recovered = "
                      "superseded + lost to newer +\n"
                      "queued + in the WAL + persisted + dead.\n\n"
                      "| name | type | labels | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < METRIC_COUNT; i++)
        if (first_of_family(i))
            put_markdown_row(out, i);
}
