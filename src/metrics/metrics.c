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

enum metric_type { COUNTER, GAUGE, HISTOGRAM };

struct series {
    enum metric_type type;
    const char *family, *labels, *help;
};

static const struct series table[METRIC_COUNT] = {
#define METRIC(symbol, type, family, labels, help) [symbol] = {type, family, labels, help},
    SE_METRICS(METRIC)
#undef METRIC
};

/* Upper bounds of the buckets: two for hits in L1, then from a fast Redis round trip to the longest
 * timeout, 1, 2.5, 5 a decade. */
struct bound {
    uint64_t ns;
    const char *text;
};
static const struct bound bounds[] = {
    {1000, "0.000001"},  {10000, "0.00001"},  {100000, "0.0001"},  {250000, "0.00025"},
    {500000, "0.0005"},  {1000000, "0.001"},  {2500000, "0.0025"}, {5000000, "0.005"},
    {10000000, "0.01"},  {25000000, "0.025"}, {50000000, "0.05"},  {100000000, "0.1"},
    {250000000, "0.25"}, {500000000, "0.5"},  {1000000000, "1"},   {2500000000, "2.5"},
    {5000000000, "5"},   {10000000000, "10"},
};
#define BOUNDS (sizeof bounds / sizeof *bounds)
/* A histogram's cells: one per bound, one above them all, the sum in ns. */
#define HISTOGRAM_CELLS (BOUNDS + 2)

/* ---- counting ---- */

static size_t lay_out(struct metrics *m)
{
    size_t cells = METRIC_COUNT;
    for (size_t i = 0; i < METRIC_COUNT; i++)
        if (table[i].type == HISTOGRAM) {
            m->histogram_at[i] = (uint16_t)cells;
            cells += HISTOGRAM_CELLS;
        }
    return (cells + CELLS_PER_LINE - 1) / CELLS_PER_LINE * CELLS_PER_LINE;
}

se_result se__metrics_open(struct metrics **metrics)
{
    struct metrics *m = se__alloc_zeroed(1, sizeof *m);
    if (!m)
        return se__error_nomem();
    m->row_cells = lay_out(m);
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

void se__metrics_observe(struct metrics *m, enum metric which, double seconds)
{
    assert(table[which].type == HISTOGRAM);
    if (!m || !(seconds >= 0)) /* a NaN or a clock gone wrong says nothing */
        return;
    /* rounded: 0.0001 * 1e9 is a hair above 100000 */
    uint64_t ns = seconds < 1e9 ? (uint64_t)(seconds * 1e9 + 0.5) : UINT64_C(1000000000000000000);
    size_t bucket = 0;
    while (bucket < BOUNDS && ns > bounds[bucket].ns)
        bucket++;
    se__metrics_add_cell(m, m->histogram_at[which] + bucket, 1);
    se__metrics_add_cell(m, m->histogram_at[which] + BOUNDS + 1, ns);
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

/* Without trailing zeros. Not by printf("%f"): the host's locale may have a comma for a point. */
static void put_decimal(struct buf *out, uint64_t whole, uint64_t billionths)
{
    char digits[40];
    int len = snprintf(digits, sizeof digits, "%llu.%09llu", (unsigned long long)whole,
                       (unsigned long long)billionths);
    while (digits[len - 1] == '0')
        len--;
    if (digits[len - 1] == '.')
        len--;
    se__buf_append(out, digits, (size_t)len);
}

static void put_seconds(struct buf *out, uint64_t ns)
{
    put_decimal(out, ns / 1000000000u, ns % 1000000000u);
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
    const char *name;
    struct buf *out;
};

/* family[suffix]{engine="...",labels[,le="..."]} and a blank; the value follows. */
static void put_series(const struct printer *p, const struct series *s, const char *suffix,
                       const char *le)
{
    se__buf_printf(p->out, "%s%s{engine=\"", s->family, suffix);
    put_label_value(p->out, p->name);
    se__buf_text(p->out, "\"");
    if (*s->labels)
        se__buf_printf(p->out, ",%s", s->labels);
    if (le)
        se__buf_printf(p->out, ",le=\"%s\"", le);
    se__buf_text(p->out, "} ");
}

static void put_count(const struct printer *p, uint64_t count)
{
    se__buf_printf(p->out, "%llu\n", (unsigned long long)count);
}

/* _count is the sum of the buckets read here, so that it equals the +Inf
 * bucket even while others add. */
static void put_histogram(const struct printer *p, enum metric which)
{
    const struct series *s = &table[which];
    size_t at = p->m->histogram_at[which];
    uint64_t below = 0;
    for (size_t i = 0; i <= BOUNDS; i++) {
        below += sum_of_cell(p->m, at + i);
        put_series(p, s, "_bucket", i < BOUNDS ? bounds[i].text : "+Inf");
        put_count(p, below);
    }
    put_series(p, s, "_sum", NULL);
    put_seconds(p->out, sum_of_cell(p->m, at + BOUNDS + 1));
    se__buf_text(p->out, "\n");
    put_series(p, s, "_count", NULL);
    put_count(p, below);
}

static void put_values(const struct printer *p, enum metric which)
{
    const struct series *s = &table[which];
    switch (s->type) {
    case COUNTER:
        put_series(p, s, "", NULL);
        put_count(p, sum_of_cell(p->m, which));
        break;
    case GAUGE:
        put_series(p, s, "", NULL);
        put_number(p->out, se__metrics_get(p->m, which));
        se__buf_text(p->out, "\n");
        break;
    case HISTOGRAM:
        put_histogram(p, which);
        break;
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

static const char *type_name(enum metric_type type)
{
    return type == COUNTER ? "counter" : type == GAUGE ? "gauge" : "histogram";
}

/* The format wants a family's lines together, wherever they stand in the table. */
static void put_family(const struct printer *p, size_t first)
{
    se__buf_printf(p->out, "# HELP %s %s\n# TYPE %s %s\n", table[first].family, table[first].help,
                   table[first].family, type_name(table[first].type));
    for (size_t i = first; i < METRIC_COUNT; i++)
        if (same_family(i, first))
            put_values(p, (enum metric)i);
}

void se__metrics_text(const struct metrics *m, const char *name, struct buf *out)
{
    if (!m)
        return;
    struct printer p = {.m = m, .name = name ? name : "", .out = out};
    for (size_t i = 0; i < METRIC_COUNT; i++)
        if (first_of_family(i))
            put_family(&p, i);
}

static void put_markdown_row(struct buf *out, size_t first)
{
    se__buf_printf(out, "| `%s` | %s | ", table[first].family, type_name(table[first].type));
    bool any = false;
    for (size_t i = first; i < METRIC_COUNT; i++)
        if (same_family(i, first) && *table[i].labels) {
            se__buf_printf(out, "%s`%s`", any ? "<br>" : "", table[i].labels);
            any = true;
        }
    se__buf_printf(out, " | %s |\n", table[first].help);
}

void se__metrics_markdown(struct buf *out)
{
    se__buf_text(out, "# Metrics\n\n"
                      "Generated from `src/metrics/table.h`; do not edit.\n\n"
                      "`se_metrics_text()` and `GET /metrics` give them in the Prometheus text "
                      "format 0.0.4. Every series\n"
                      "also has the label `engine`, the engine's name. No label ever holds an id. "
                      "Histograms have buckets\n"
                      "up to (seconds): ");
    for (size_t i = 0; i < BOUNDS; i++)
        se__buf_printf(out, "%s%s", i ? ", " : "", bounds[i].text);
    se__buf_text(out, ".\n\n"
                      "When the engine is quiescent the writes add up: accepted + recovered = "
                      "superseded + lost to newer +\n"
                      "queued + in the WAL + persisted + dead.\n\n"
                      "| name | type | labels | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < METRIC_COUNT; i++)
        if (first_of_family(i))
            put_markdown_row(out, i);
}
