/*
 * samples - a page of Prometheus' text format, looked up by family and labels.
 *
 * The parser takes any bytes: a line that is no sample is left out.
 *
 * Labels to look for are written as in the page: `tier="l1",operation="get"`; a series fits if it has all of them.
 *
 * Threads: any; pure.  Memory: borrows the page, which must outlive the samples; samples_done frees the list.
 */
#ifndef SE_TOOLS_SAMPLES_H
#define SE_TOOLS_SAMPLES_H

#include "base/buf.h"

struct span {
    const char *at;
    size_t len;
};
struct sample {
    struct span name, labels; /* without the braces */
    double value;
};
struct samples {
    struct sample *list;
    size_t n, cap;
};

/* False: no memory. `s` is all-zero or used before. */
bool samples_parse(struct samples *s, const char *text, size_t len);
void samples_done(struct samples *s);

/* The next name="value" of labels, quotes included in *value; false at the end, or where they break off. */
bool samples_label(struct span *rest, struct span *name, struct span *value);
bool samples_fit(const struct sample *sample, const char *family, const char *labels);
/* The sum of the series that fit; NaN if none does. */
double samples_sum(const struct samples *s, const char *family, const char *labels);
/* How much the sum has grown since `before`; a counter that began anew (a restart) has grown by what it is. NaN if there
 * is none. */
double samples_growth(const struct samples *now, const struct samples *before, const char *family,
                      const char *labels);
/* The q-quantile of what a histogram has observed since `before` (NULL: ever), interpolated in its bucket; the last
 * bound for what lies above it. NaN if that is nothing. */
double samples_quantile(const struct samples *now, const struct samples *before, const char *family,
                        const char *labels, double q);
/* The value of the first such label of the family, without quotes, made safe and ASCII; "" if there is none. */
void samples_text(const struct samples *s, const char *family, const char *label, char *out,
                  size_t cap);

#endif
