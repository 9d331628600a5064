/*
 * filter_fixture - see filter_fixture.h.
 */
#include "filter_fixture.h"

#include "support/test.h"

struct filter *open_filter(void)
{
    struct filter *f;
    cr_assert_eq(se__filter_open(SEED, &f), SE_OK);
    return f;
}

struct filter *open_trusted(void)
{
    struct filter *f = open_filter();
    se__filter_believe(f, FILTER_COLD);
    return f;
}

void add_ids(struct filter *f, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n < to; n++)
        add_id(f, n);
}

uint64_t count_had(const struct filter *f, uint64_t from, uint64_t to)
{
    uint64_t had = 0;
    for (uint64_t n = from; n < to; n++)
        had += has_id(f, n);
    return had;
}

void scan_part(struct filter *f, unsigned part, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (part_of(i) == part)
            cr_assert_eq(note_id(f, part, i), SE_OK);
}

void rebuild(struct filter *f, unsigned part, uint64_t n)
{
    cr_assert_eq(se__filter_begin(f, part), SE_OK);
    scan_part(f, part, n);
    cr_assert_eq(se__filter_commit(f, part), SE_OK);
}

struct filter_part_stats part_stats(const struct filter *f, unsigned part)
{
    struct filter_part_stats s;
    se__filter_part_stats(f, part, &s);
    return s;
}

struct filter_stats stats(const struct filter *f)
{
    struct filter_stats s;
    se__filter_stats(f, &s);
    return s;
}

uint64_t next_of(unsigned part, uint64_t from)
{
    while (part_of(from) != part)
        from++;
    return from;
}
