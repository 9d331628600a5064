/*
 * pace - see pace.h.
 */
#include "verify/pace.h"

#define SECOND_NS UINT64_C(1000000000)
/* A wait of a year is as good as none: it keeps the sums below in range. */
#define WAIT_NS_MAX (UINT64_C(365) * 86400 * SECOND_NS)

void se__pace_init(struct pace *p, uint64_t rate)
{
    *p = (struct pace){.rate = rate};
}

/* n / rate seconds, without overflow and rounded up. */
static uint64_t duration_ns(uint64_t n, uint64_t rate)
{
    uint64_t whole_s = n / rate, rest = n % rate;
    if (whole_s >= WAIT_NS_MAX / SECOND_NS)
        return WAIT_NS_MAX;
    /* rest < rate; with a rate this large the part is below a nanosecond a record */
    uint64_t part = rate > UINT64_MAX / SECOND_NS ? rest / (rate / SECOND_NS)
                                                  : (rest * SECOND_NS + rate - 1) / rate;
    return whole_s * SECOND_NS + part;
}

uint64_t se__pace_take(struct pace *p, uint64_t n, uint64_t now_ns)
{
    if (p->rate == 0)
        return 0;
    if (p->free_ns < now_ns)
        p->free_ns = now_ns;
    p->free_ns += duration_ns(n, p->rate);
    return p->free_ns - now_ns;
}

size_t se__pace_page(const struct pace *p, size_t max)
{
    uint64_t tenth = p->rate / 10;
    if (p->rate == 0 || tenth >= max)
        return max;
    return tenth > 0 ? (size_t)tenth : 1;
}
