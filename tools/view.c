/*
 * view - see view.h.
 */
#include "view.h"

#include "out.h"
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define OPS "sync_engine_operations_total"
#define TIME "sync_engine_operation_duration_seconds"

/* ---- numbers ---- */

static void with_commas(double v, char out[24])
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%.0f", v), k = 0;
    for (int i = 0; i < n && k < 22; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            out[k++] = ',';
        out[k++] = digits[i];
    }
    out[k] = 0;
}

void view_number(double v, char out[24])
{
    if (isnan(v) || v < 0)
        snprintf(out, 24, "-");
    else if (v == 0)
        snprintf(out, 24, "0");
    else if (v < 99.95)
        snprintf(out, 24, "%.1f", v);
    else if (v < 999999.5)
        with_commas(v, out);
    else if (v < 1e9)
        snprintf(out, 24, "%.1fM", v / 1e6);
    else
        snprintf(out, 24, "%.3g", v);
}

void view_seconds(double v, char out[24])
{
    static const struct {
        double unit;
        const char *name;
    } units[] = {{1, "s"}, {1e-3, "ms"}, {1e-6, "us"}, {1e-9, "ns"}};
    size_t i = 0;
    if (isnan(v) || v < 0) {
        snprintf(out, 24, "-");
        return;
    }
    if (v >= 100) {
        text_elapsed(v < 1e12 ? (uint64_t)(v * 1000) : UINT64_MAX / 2, out);
        return;
    }
    while (i < 3 && v < units[i].unit)
        i++;
    double shown = v / units[i].unit;
    snprintf(out, 24, shown < 9.95 ? "%.1f %s" : "%.0f %s", v > 0 ? shown : 0.0,
             v > 0 ? units[i].name : "s");
}

/* A whole number of things, as they are now. */
static void put_count(struct buf *out, double v)
{
    char text[24];
    if (isnan(v) || v < 0)
        snprintf(text, sizeof text, "-");
    else if (v < 1e9)
        with_commas(v, text);
    else
        snprintf(text, sizeof text, "%.3g", v);
    se__buf_text(out, text);
}

static void put_bytes(struct buf *out, double v)
{
    char text[24];
    if (isnan(v) || v < 0 || v > 1e18)
        snprintf(text, sizeof text, "-");
    else
        text_bytes((uint64_t)v, text);
    se__buf_text(out, text);
}

/* ---- what is asked of the samples ---- */

static double gauge(const struct look *l, const char *family, const char *labels)
{
    return samples_sum(l->now, family, labels);
}

static double per_second(const struct look *l, const char *family, const char *labels)
{
    if (!l->before || !(l->seconds > 0))
        return (double)NAN;
    return samples_growth(l->now, l->before, family, labels) / l->seconds;
}

static void put_rate(struct buf *out, const struct look *l, const char *family, const char *labels)
{
    char text[24];
    view_number(per_second(l, family, labels), text);
    se__buf_printf(out, "%s/s", text);
}

static void put_quantile(struct buf *out, const struct look *l, const char *family,
                         const char *labels, double q, int width)
{
    char text[24];
    view_seconds(samples_quantile(l->now, l->before, family, labels, q), text);
    se__buf_printf(out, "%*s", width, text);
}

static const char *up_text(double v)
{
    return v > 0 ? "up" : v == 0 ? "DOWN" : v < 0 ? "none" : "-";
}

static const char *circuit_text(double v)
{
    return v >= 0 && v <= SE_CIRCUIT_OPEN ? se_circuit_name((se_circuit)v) : "-";
}

static const char *phase_text(double v)
{
    return v >= 0 && v <= SE_PHASE_SHUTTING_DOWN ? se_phase_name((se_phase)v) : "-";
}

static const char *level_text(double v)
{
    return v >= 0 && v <= SE_PRESSURE_SHUTDOWN ? se_pressure_name((se_pressure)v) : "-";
}

/* ---- the lines ---- */

static void put_head(struct buf *out, const struct look *l)
{
    char name[48], version[24];
    samples_text(l->now, "sync_engine_build_info", "engine", name, sizeof name);
    samples_text(l->now, "sync_engine_build_info", "version", version, sizeof version);
    se__buf_printf(out, "syncengine %s  engine %s  at %.200s\n", version, name, l->where);
    se__buf_printf(out, "phase %s  filter %s, ", phase_text(gauge(l, "sync_engine_phase", "")),
                   gauge(l, "sync_engine_filter_trusted", "") > 0 ? "trusted" : "not trusted");
    put_count(out, gauge(l, "sync_engine_filter_items", ""));
    se__buf_text(out, " ids, excluded ");
    put_rate(out, l, "sync_engine_filter_lookups_total", "result=\"excluded\"");
    se__buf_text(out, ", wrong ");
    put_rate(out, l, "sync_engine_filter_lookups_total", "result=\"false_positive\"");
    se__buf_text(out, "\n\n");
}

static void put_hit_ratio(struct buf *out, const struct look *l, const char *get)
{
    char hit[64];
    snprintf(hit, sizeof hit, "%s,status=\"hit\"", get);
    double all = samples_growth(l->now, l->before, OPS, get);
    double hits = samples_growth(l->now, l->before, OPS, hit);
    if (all > 0)
        se__buf_printf(out, "%8.1f", hits / all * 100);
    else
        se__buf_printf(out, "%8s", "-");
}

static void put_tier(struct buf *out, const struct look *l, const char *tier, const char *name)
{
    char get[64], put[64], errors[64], text[24];
    snprintf(get, sizeof get, "tier=\"%s\",operation=\"get\"", tier);
    snprintf(put, sizeof put, "tier=\"%s\",operation=\"put\"", tier);
    snprintf(errors, sizeof errors, "tier=\"%s\",status=\"error\"", tier);
    bool wal = strcmp(tier, "wal") == 0;
    se__buf_printf(out, "%-8s", name);
    view_number(per_second(l, OPS, get), text);
    se__buf_printf(out, "%9s", text);
    put_hit_ratio(out, l, get);
    view_number(wal ? per_second(l, "sync_engine_wal_appends_total", "status=\"success\"")
                    : per_second(l, OPS, put),
                text);
    se__buf_printf(out, "%10s", text);
    view_number(wal ? per_second(l, "sync_engine_wal_appends_total", "status=\"error\"")
                    : per_second(l, OPS, errors),
                text);
    se__buf_printf(out, "%9s", text);
    put_quantile(out, l, TIME, get, 0.5, 9);
    put_quantile(out, l, TIME, get, 0.99, 9);
    put_quantile(out, l, TIME, put, 0.5, 9);
    put_quantile(out, l, TIME, put, 0.99, 9);
    se__buf_text(out, "\n");
}

static void put_tiers(struct buf *out, const struct look *l)
{
    se__buf_printf(out, "%-8s%9s%8s%10s%9s%9s%9s%9s%9s\n", "tier", "reads/s", "hit %", "writes/s",
                   "errors/s", "get p50", "p99", "put p50", "p99");
    put_tier(out, l, "l1", "L1");
    put_tier(out, l, "l2", "L2 redis");
    put_tier(out, l, "l3", "L3 sql");
    put_tier(out, l, "wal", "WAL");
    se__buf_text(out, "\n");
}

static void put_circuit(struct buf *out, const struct look *l, const char *name, const char *title)
{
    char backend[40], circuit[40];
    snprintf(backend, sizeof backend, "backend=\"%s\"", name);
    snprintf(circuit, sizeof circuit, "circuit=\"%s\"", name);
    double up = gauge(l, "sync_engine_backend_up", backend);
    se__buf_printf(out, "%-11s%s", title, up_text(up));
    if (up >= 0) {
        se__buf_printf(out, ", circuit %s; rejected ",
                       circuit_text(gauge(l, "sync_engine_circuit_breaker_state", circuit)));
        put_rate(out, l, "sync_engine_circuit_breaker_rejections_total", circuit);
        se__buf_text(out, ", retried ");
        put_rate(out, l, "sync_engine_retries_total", circuit);
    }
    se__buf_text(out, "\n");
}

static void put_writes(struct buf *out, const struct look *l)
{
    se__buf_text(out, "writes     accepted ");
    put_rate(out, l, "sync_engine_writes_accepted_total", "");
    se__buf_text(out, ", home ");
    put_rate(out, l, "sync_engine_writes_persisted_total", "");
    se__buf_text(out, ", delayed ");
    put_rate(out, l, "sync_engine_writes_throttled_total", "");
    se__buf_text(out, ", refused ");
    put_rate(out, l, "sync_engine_writes_refused_total", "");
    se__buf_text(out, "\n");
}

static void put_queue(struct buf *out, const struct look *l)
{
    char age[24];
    view_seconds(gauge(l, "sync_engine_oldest_dirty_seconds", ""), age);
    se__buf_text(out, "queue      ");
    put_count(out, gauge(l, "sync_engine_queue_items", ""));
    se__buf_text(out, " items, ");
    put_bytes(out, gauge(l, "sync_engine_queue_bytes", ""));
    se__buf_printf(out, ", oldest %s\n", age);
}

static void put_flush(struct buf *out, const struct look *l)
{
    char items[24];
    view_number(samples_quantile(l->now, l->before, "sync_engine_flush_batch_items", "", 0.5),
                items);
    se__buf_text(out, "flush      home ");
    put_rate(out, l, "sync_engine_flush_batches_total", "outcome=\"home\"");
    se__buf_text(out, ", WAL ");
    put_rate(out, l, "sync_engine_flush_batches_total", "outcome=\"wal\"");
    se__buf_text(out, ", again ");
    put_rate(out, l, "sync_engine_flush_batches_total", "outcome=\"retry\"");
    se__buf_printf(out, "; items p50 %s; p99 ", items);
    put_quantile(out, l, "sync_engine_flush_duration_seconds", "", 0.99, 0);
    se__buf_text(out, "\n");
}

static void put_wal(struct buf *out, const struct look *l)
{
    se__buf_text(out, "WAL        to drain ");
    put_count(out, gauge(l, "sync_engine_wal_entries", ""));
    se__buf_text(out, ", drained ");
    put_rate(out, l, "sync_engine_wal_drained_total", "");
    se__buf_text(out, "; live ");
    put_bytes(out, gauge(l, "sync_engine_wal_live_bytes", ""));
    se__buf_text(out, "; dead letters ");
    put_count(out, gauge(l, "sync_engine_dead_letters", ""));
    se__buf_text(out, "\n");
}

#define BAR 20

static void put_bar(struct buf *out, double share)
{
    char bar[BAR + 1];
    int full = share > 0 ? (int)(fmin(share, 1) * BAR + 0.5) : 0;
    memset(bar, '.', BAR);
    memset(bar, '#', (size_t)full);
    bar[BAR] = 0;
    se__buf_printf(out, "[%s]", bar);
}

static void put_pressure(struct buf *out, const struct look *l)
{
    double ratio = gauge(l, "sync_engine_pressure_ratio", "");
    se__buf_text(out, "pressure   ");
    put_bar(out, ratio);
    se__buf_printf(out, " %.0f %%  %s\n", ratio >= 0 ? ratio * 100 : 0,
                   level_text(gauge(l, "sync_engine_pressure_level", "")));
}

static void put_memory(struct buf *out, const struct look *l)
{
    double used = gauge(l, "sync_engine_l1_cache_bytes", "");
    double most = gauge(l, "sync_engine_l1_cache_max_bytes", "");
    se__buf_text(out, "L1         ");
    put_bar(out, used / most);
    se__buf_text(out, " ");
    put_bytes(out, used);
    se__buf_text(out, " of ");
    put_bytes(out, most);
    se__buf_text(out, ", ");
    put_count(out, gauge(l, "sync_engine_l1_cache_items", ""));
    se__buf_text(out, " items\n");
}

static void put_evictions(struct buf *out, const struct look *l)
{
    se__buf_text(out, "evicted    for room ");
    put_rate(out, l, "sync_engine_evictions_total", "reason=\"pressure\"");
    se__buf_text(out, ", expired ");
    put_rate(out, l, "sync_engine_evictions_total", "reason=\"expired\"");
    se__buf_text(out, ", invalidated ");
    put_rate(out, l, "sync_engine_evictions_total", "reason=\"invalidated\"");
    se__buf_text(out, "\n");
}

static void put_memory_else(struct buf *out, const struct look *l)
{
    se__buf_text(out, "memory     filter ");
    put_bytes(out, gauge(l, "sync_engine_filter_bytes", ""));
    se__buf_text(out, ", held by callers ");
    put_bytes(out, gauge(l, "sync_engine_items_detached_bytes", ""));
    se__buf_text(out, "\n");
}

/* No line is longer than the screen that all is made for. */
static void put_cut(struct buf *out, const char *text, size_t len)
{
    size_t lines = 0;
    while (len && lines++ < VIEW_LINES) {
        const char *end = memchr(text, '\n', len);
        size_t line = end ? (size_t)(end - text) : len;
        se__buf_append(out, text, line < VIEW_COLUMNS ? line : VIEW_COLUMNS);
        se__buf_append(out, "\n", 1);
        text += line + (end != NULL);
        len -= line + (end != NULL);
    }
}

void view_lines(const struct look *look, struct buf *out)
{
    struct buf all = {0};
    put_head(&all, look);
    put_tiers(&all, look);
    put_circuit(&all, look, "redis", "redis");
    put_circuit(&all, look, "sql", "sql");
    put_queue(&all, look);
    put_wal(&all, look);
    put_pressure(&all, look);
    put_writes(&all, look);
    put_flush(&all, look);
    put_memory(&all, look);
    put_evictions(&all, look);
    put_memory_else(&all, look);
    put_cut(out, all.data, all.len);
    out->failed = out->failed || all.failed;
    se__buf_done(&all);
}

/* ---- JSON ---- */

static bool ends_with(struct span s, const char *end)
{
    size_t len = strlen(end);
    return s.len > len && memcmp(s.at + s.len - len, end, len) == 0;
}

static bool same(struct span a, struct span b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

/* JSON knows no infinity. Not by printf("%g") alone: 17 digits are what a double needs. */
static void put_json_number(struct buf *out, double v)
{
    if (isfinite(v) && v == floor(v) && fabs(v) < 1e15)
        se__buf_printf(out, "%.0f", v);
    else if (isfinite(v))
        se__buf_printf(out, "%.9g", v);
    else
        se__buf_text(out, "null");
}

/* A label's value with its escapes undone, which the parser has found well-formed. */
static void put_json_value(struct buf *out, struct span value)
{
    struct buf plain = {0};
    for (size_t i = 1; i + 1 < value.len; i++) {
        char c = value.at[i];
        if (c == '\\' && i + 2 < value.len) {
            c = value.at[++i];
            c = c == 'n' ? '\n' : c;
        }
        se__buf_append(&plain, &c, 1);
    }
    se__buf_append(&plain, "", 1);
    out->failed = out->failed || plain.failed;
    if (!plain.failed)
        json_text(out, plain.data);
    se__buf_done(&plain);
}

/* Names come from a peer, too. */
static void put_json_name(struct buf *out, struct span name)
{
    char text[200];
    snprintf(text, sizeof text, "%.*s", (int)name.len, name.at);
    json_text(out, text);
}

static void put_labels(struct buf *out, struct span labels)
{
    struct span name, value;
    while (samples_label(&labels, &name, &value)) {
        put_json_name(out, name);
        se__buf_text(out, ":");
        put_json_value(out, value);
        se__buf_text(out, ",");
    }
}

static void put_quantiles(struct buf *out, const struct samples *s, const char *family,
                          const char *labels)
{
    static const struct {
        const char *name;
        double q;
    } wanted[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        se__buf_printf(out, ",\"%s\":", wanted[i].name);
        put_json_number(out, samples_quantile(s, NULL, family, labels, wanted[i].q));
    }
}

/* A histogram is told by its _count, which stands after its _sum. */
static void put_histogram(struct buf *out, const struct samples *s, const struct sample *count)
{
    char family[160], sum[170], labels[300];
    snprintf(family, sizeof family, "%.*s", (int)(count->name.len - strlen("_count")),
             count->name.at);
    snprintf(sum, sizeof sum, "%s_sum", family);
    snprintf(labels, sizeof labels, "%.*s", (int)count->labels.len, count->labels.at);
    se__buf_text(out, "\"count\":");
    put_json_number(out, count->value);
    se__buf_text(out, ",\"sum\":");
    put_json_number(out, samples_sum(s, sum, labels));
    put_quantiles(out, s, family, labels);
}

static struct span family_of(const struct sample *sample)
{
    struct span name = sample->name;
    if (ends_with(name, "_count"))
        name.len -= strlen("_count");
    return name;
}

void view_json(const struct samples *s, struct buf *out)
{
    struct span last = {"", 0};
    se__buf_text(out, "{");
    for (size_t i = 0; i < s->n; i++) {
        const struct sample *one = &s->list[i];
        if (ends_with(one->name, "_bucket") || ends_with(one->name, "_sum"))
            continue;
        struct span family = family_of(one);
        if (same(family, last)) {
            se__buf_text(out, ",{");
        } else {
            se__buf_text(out, last.len ? "],\n" : "\n");
            put_json_name(out, family);
            se__buf_text(out, ":[{");
        }
        last = family;
        put_labels(out, one->labels);
        if (ends_with(one->name, "_count")) {
            put_histogram(out, s, one);
        } else {
            se__buf_text(out, "\"value\":");
            put_json_number(out, one->value);
        }
        se__buf_text(out, "}");
    }
    se__buf_text(out, last.len ? "]\n}\n" : "}\n");
}
