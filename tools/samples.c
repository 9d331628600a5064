/*
 * samples - see samples.h.
 */
#include "samples.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- parsing ---- */

static bool is_text(struct span s, const char *text)
{
    return strlen(text) == s.len && memcmp(s.at, text, s.len) == 0;
}

/* The bytes of a quoted value, quotes included; 0 if it does not end. */
static size_t quoted_len(const char *at, size_t len)
{
    if (len == 0 || *at != '"')
        return 0;
    for (size_t i = 1; i < len; i++) {
        if (at[i] == '\\')
            i++;
        else if (at[i] == '"')
            return i + 1;
    }
    return 0;
}

static void skip(struct span *s, size_t n)
{
    s->at += n;
    s->len -= n;
}

bool samples_label(struct span *rest, struct span *name, struct span *value)
{
    while (rest->len && (*rest->at == ',' || *rest->at == ' '))
        skip(rest, 1);
    const char *equals = rest->len ? memchr(rest->at, '=', rest->len) : NULL;
    if (!equals)
        return false;
    *name = (struct span){rest->at, (size_t)(equals - rest->at)};
    skip(rest, name->len + 1);
    *value = (struct span){rest->at, quoted_len(rest->at, rest->len)};
    if (!value->len)
        return false;
    skip(rest, value->len);
    return true;
}

/* Up to the closing brace, over quoted ones; the braces may be missing altogether. False: it does not close. */
static bool take_labels(struct span *line, struct span *labels)
{
    *labels = (struct span){line->at, 0};
    if (!line->len || *line->at != '{')
        return true;
    struct span rest = {line->at + 1, line->len - 1}, name, value;
    labels->at = rest.at;
    while (samples_label(&rest, &name, &value))
        continue;
    if (!rest.len || *rest.at != '}')
        return false;
    labels->len = (size_t)(rest.at - labels->at);
    *line = (struct span){rest.at + 1, rest.len - 1};
    return true;
}

static bool take_value(struct span line, double *value)
{
    char text[64], *end;
    while (line.len && *line.at == ' ')
        skip(&line, 1);
    size_t len = 0;
    while (len < line.len && line.at[len] != ' ' && line.at[len] != '\r')
        len++;
    if (len == 0 || len >= sizeof text)
        return false;
    memcpy(text, line.at, len);
    text[len] = 0;
    *value = strtod(text, &end);
    return *end == 0;
}

static bool parse_line(struct span line, struct sample *out)
{
    size_t len = 0;
    while (len < line.len && line.at[len] != '{' && line.at[len] != ' ')
        len++;
    if (len == 0 || *line.at == '#')
        return false;
    out->name = (struct span){line.at, len};
    skip(&line, len);
    return take_labels(&line, &out->labels) && take_value(line, &out->value);
}

static bool keep(struct samples *s, const struct sample *one)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 1024;
        struct sample *list = se__realloc(s->list, cap * sizeof *list);
        if (!list)
            return false;
        s->list = list;
        s->cap = cap;
    }
    s->list[s->n++] = *one;
    return true;
}

bool samples_parse(struct samples *s, const char *text, size_t len)
{
    struct span rest = {text, len};
    s->n = 0;
    while (rest.len) {
        const char *end = memchr(rest.at, '\n', rest.len);
        struct span line = {rest.at, end ? (size_t)(end - rest.at) : rest.len};
        struct sample one;
        if (parse_line(line, &one) && !keep(s, &one))
            return false;
        skip(&rest, line.len + (end != NULL));
    }
    return true;
}

void samples_done(struct samples *s)
{
    se__free(s->list);
    *s = (struct samples){0};
}

/* ---- looking up ---- */

static bool has_label(struct span labels, struct span wanted_name, struct span wanted_value)
{
    struct span name, value;
    while (samples_label(&labels, &name, &value)) {
        if (name.len == wanted_name.len && value.len == wanted_value.len &&
            memcmp(name.at, wanted_name.at, name.len) == 0 &&
            memcmp(value.at, wanted_value.at, value.len) == 0)
            return true;
    }
    return false;
}

bool samples_fit(const struct sample *sample, const char *family, const char *labels)
{
    struct span rest = {labels, strlen(labels)}, name, value;
    if (!is_text(sample->name, family))
        return false;
    while (samples_label(&rest, &name, &value)) {
        if (!has_label(sample->labels, name, value))
            return false;
    }
    return true;
}

double samples_sum(const struct samples *s, const char *family, const char *labels)
{
    double sum = 0;
    bool any = false;
    for (size_t i = 0; i < s->n; i++) {
        if (samples_fit(&s->list[i], family, labels)) {
            sum += s->list[i].value;
            any = true;
        }
    }
    return any ? sum : (double)NAN;
}

double samples_growth(const struct samples *now, const struct samples *before, const char *family,
                      const char *labels)
{
    double a = before ? samples_sum(before, family, labels) : 0;
    double b = samples_sum(now, family, labels);
    return a > b || isnan(a) ? b : b - a;
}

/* ---- quantiles ---- */

#define BUCKETS_MAX 64

struct bucket {
    double bound, below; /* so many at or below the bound */
};

static bool bound_of(struct span labels, double *bound)
{
    struct span name, value;
    char text[32];
    while (samples_label(&labels, &name, &value)) {
        if (!is_text(name, "le") || value.len - 2 >= sizeof text)
            continue;
        memcpy(text, value.at + 1, value.len - 2);
        text[value.len - 2] = 0;
        *bound = strtod(text, NULL); /* "+Inf" too */
        return true;
    }
    return false;
}

static void add_bucket(struct bucket *buckets, size_t *n, double bound, double below)
{
    for (size_t i = 0; i < *n; i++) {
        if (buckets[i].bound == bound) {
            buckets[i].below += below;
            return;
        }
    }
    if (*n < BUCKETS_MAX)
        buckets[(*n)++] = (struct bucket){bound, below};
}

static void add_buckets(const struct samples *s, const char *name, const char *labels, double sign,
                        struct bucket *buckets, size_t *n)
{
    double bound;
    for (size_t i = 0; i < s->n; i++) {
        if (samples_fit(&s->list[i], name, labels) && bound_of(s->list[i].labels, &bound))
            add_bucket(buckets, n, bound, sign * s->list[i].value);
    }
}

static int by_bound(const void *a, const void *b)
{
    double x = ((const struct bucket *)a)->bound, y = ((const struct bucket *)b)->bound;
    return (x > y) - (x < y);
}

static double interpolate(const struct bucket *buckets, size_t n, double q)
{
    double all = n ? buckets[n - 1].below : 0;
    if (!(all > 0))
        return (double)NAN;
    double rank = q * all, from = 0, under = 0;
    for (size_t i = 0; i < n; i++) {
        if (buckets[i].below >= rank) {
            double in = buckets[i].below - under;
            if (isinf(buckets[i].bound))
                return from;
            return in > 0 ? from + (buckets[i].bound - from) * (rank - under) / in
                          : buckets[i].bound;
        }
        from = buckets[i].bound;
        under = buckets[i].below;
    }
    return from;
}

double samples_quantile(const struct samples *now, const struct samples *before, const char *family,
                        const char *labels, double q)
{
    struct bucket buckets[BUCKETS_MAX];
    size_t n = 0;
    char name[160], count[160];
    snprintf(name, sizeof name, "%s_bucket", family);
    snprintf(count, sizeof count, "%s_count", family);
    add_buckets(now, name, labels, 1, buckets, &n);
    if (before && samples_sum(before, count, labels) <= samples_sum(now, count, labels))
        add_buckets(before, name, labels, -1, buckets, &n);
    qsort(buckets, n, sizeof *buckets, by_bound);
    return interpolate(buckets, n, q);
}

/* ---- text ---- */

/* What is not printable ASCII becomes '?', so that a column is a byte. */
static void copy_plain(struct span value, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 1; i + 1 < value.len && n + 1 < cap; i++)
        out[n++] = value.at[i] >= ' ' && value.at[i] < 127 ? value.at[i] : '?';
    out[n] = 0;
}

void samples_text(const struct samples *s, const char *family, const char *label, char *out,
                  size_t cap)
{
    *out = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct span rest = s->list[i].labels, name, value;
        if (!is_text(s->list[i].name, family))
            continue;
        while (samples_label(&rest, &name, &value)) {
            if (is_text(name, label)) {
                copy_plain(value, out, cap);
                return;
            }
        }
    }
}
