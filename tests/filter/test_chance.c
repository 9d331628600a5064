/*
 * The filter by its figures: memory and the chance to be wrong, at every size and while it grows.
 */
#include "filter_fixture.h"
#include "support/test.h"

#include <inttypes.h>

struct growth {
    struct filter *f;
    uint64_t n;
    uint64_t *of_part[FILTER_PARTS]; /* the numbers of its ids */
    uint64_t of_part_n[FILTER_PARTS];
    double bits_max, bits_rebuilding_max; /* an id, from 100,000 and 200,000 on */
    uint64_t rebuilds, noted;
};

static double bits_an_id(const struct growth *g)
{
    return (double)stats(g->f).bytes * 8 / (double)g->n;
}

static void raise(double *max, double v)
{
    *max = v > *max ? v : *max;
}

static void grow_by(struct growth *g, uint64_t more)
{
    for (uint64_t n = g->n; n < g->n + more; n++) {
        unsigned part = part_of(n);
        g->of_part[part][g->of_part_n[part]++] = n;
        add_id(g->f, n);
    }
    g->n += more;
}

static void rebuild_listed(struct growth *g, unsigned part)
{
    cr_assert_eq(se__filter_begin(g->f, part), SE_OK);
    for (uint64_t i = 0; i < g->of_part_n[part]; i++)
        cr_assert_eq(note_id(g->f, part, g->of_part[part][i]), SE_OK);
    double bits = bits_an_id(g); /* with the list; the new table is still to come */
    cr_assert_eq(se__filter_commit(g->f, part), SE_OK);
    bits += (double)part_stats(g->f, part).bytes * 8 / (double)g->n;
    if (g->n >= 200000)
        raise(&g->bits_rebuilding_max, bits);
    g->rebuilds++;
    g->noted += g->of_part_n[part];
}

static void rebuild_due(struct growth *g)
{
    for (unsigned part = 0; part < FILTER_PARTS; part++)
        if (part_stats(g->f, part).due)
            rebuild_listed(g, part);
}

static void open_growth(struct growth *g, uint64_t n)
{
    *g = (struct growth){.f = open_trusted()};
    for (unsigned i = 0; i < FILTER_PARTS; i++) {
        g->of_part[i] = malloc((n / FILTER_PARTS * 2 + 1000) * sizeof(uint64_t));
        cr_assert_not_null(g->of_part[i]);
    }
}

static void close_growth(struct growth *g)
{
    for (unsigned i = 0; i < FILTER_PARTS; i++)
        free(g->of_part[i]);
    se__filter_close(g->f);
}

/* Everything counts: tables, structs, what malloc adds. Also just before the parts that are due are
 * rebuilt, while they are, and right after. */
Test(filter_chance, takes_20_bits_an_id_at_every_size)
{
    struct growth g;
    uint64_t end = 3000000 / SCALE; /* 300,000 under a sanitizer */
    open_growth(&g, end);
    while (g.n < end) {
        grow_by(&g, 200 + g.n / 100);
        if (g.n >= 100000)
            raise(&g.bits_max, bits_an_id(&g));
        rebuild_due(&g);
        if (g.n >= 100000)
            raise(&g.bits_max, bits_an_id(&g));
    }
    printf("%.2f bits an id at most, %.2f during rebuilds; %" PRIu64
           " rebuilds of %.1f ids each id\n",
           g.bits_max, g.bits_rebuilding_max, g.rebuilds, (double)g.noted / (double)g.n);
    cr_assert(g.bits_max > 16 && g.bits_max <= 20, "%f", g.bits_max);
    cr_assert(g.bits_rebuilding_max > 16 && g.bits_rebuilding_max <= 20, "%f",
              g.bits_rebuilding_max);
    cr_assert_leq(g.noted, g.n * 8);
    cr_assert_eq(count_had(g.f, 0, g.n), g.n);
    close_growth(&g);
}

/* So it is when a filter is made from a scan, at any number of ids. */
Test(filter_chance, takes_20_bits_an_id_when_made_from_a_scan)
{
    double bits_max = 0;
    for (uint64_t n = 100000; n < 1000000 / SCALE + 100000; n += n / 3) {
        struct growth g;
        open_growth(&g, n);
        for (uint64_t i = 0; i < n; i++) {
            unsigned part = part_of(i);
            g.of_part[part][g.of_part_n[part]++] = i;
        }
        g.n = n;
        for (unsigned part = 0; part < FILTER_PARTS; part++)
            rebuild_listed(&g, part);
        raise(&bits_max, bits_an_id(&g));
        cr_assert_eq(count_had(g.f, 0, n), n);
        close_growth(&g);
    }
    cr_assert(bits_max > 16 && bits_max <= 20, "%f", bits_max);
}

static double chance(const struct filter *f, uint64_t n)
{
    return (double)count_had(f, ABSENT, ABSENT + n) / (double)n;
}

Test(filter_chance, is_seldom_wrong_at_every_size)
{
    struct growth g;
    static const uint64_t sizes[] = {1000, 60000, 100000, 400000, 1000000};
    open_growth(&g, 1050000);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        while (g.n < sizes[i]) {
            grow_by(&g, 100 + g.n / 100);
            rebuild_due(&g);
        }
        double share = chance(g.f, 10000000 / SCALE / SCALE);
        printf("%" PRIu64 " ids: %.4f %%\n", g.n, share * 100);
        cr_assert(share <= (SCALE > 1 ? 0.0003 : 0.0002), "%f at %" PRIu64, share, g.n);
    }
    close_growth(&g);
}

/* Parts are rebuilt too late by a tenth of all ids: both tables are in use, none is full. */
Test(filter_chance, is_wrong_twice_as_often_at_most_while_it_grows)
{
    struct growth g;
    unsigned seen = 0;
    open_growth(&g, 300000);
    while (g.n < 250000) {
        grow_by(&g, 500 + g.n / 10);
        for (unsigned part = 0; g.n > 100000 && part < FILTER_PARTS; part++)
            cr_assert_not(part_stats(g.f, part).full, "%" PRIu64, g.n);
        double share = chance(g.f, 2000000 / SCALE / SCALE);
        cr_assert(share <= (SCALE > 1 ? 0.0008 : 0.0004), "%f at %" PRIu64, share, g.n);
        seen += share > 0.0001;
        rebuild_due(&g);
    }
    cr_assert_gt(seen, 0u);
    cr_assert_eq(count_had(g.f, 0, g.n), g.n);
    close_growth(&g);
}
