/*
 * stream - see stream.h.
 */
#include "stream.h"

#include <math.h>
#include <stdlib.h>

static struct stream stream_alloc(size_t n)
{
    struct stream s = {n, malloc(n * sizeof *s.ids)};
    if (!s.ids)
        bench_fail("out of memory");
    return s;
}

void stream_free(struct stream *s)
{
    free(s->ids);
    s->ids = NULL;
}

struct stream stream_uniform(size_t n, size_t items, uint64_t seed)
{
    struct stream s = stream_alloc(n);
    for (size_t i = 0; i < n; i++)
        bench_id(bench_mix(seed + i) % items, s.ids[i]);
    return s;
}

static size_t first_not_below(const double *sum, size_t n, double u)
{
    size_t low = 0, high = n - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sum[middle] < u)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct stream stream_zipf(size_t n, size_t items, double exponent)
{
    struct stream s = stream_alloc(n);
    double *sum = malloc(items * sizeof *sum), total = 0;
    if (!sum)
        bench_fail("out of memory");
    for (size_t i = 0; i < items; i++)
        sum[i] = total += pow((double)i + 1, -exponent);
    for (size_t i = 0; i < n; i++) {
        double u = (double)(bench_mix(i) >> 11) * 0x1p-53 * total;
        bench_id(first_not_below(sum, items, u), s.ids[i]);
    }
    free(sum);
    return s;
}
