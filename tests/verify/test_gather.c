/*
 * tests of gather against a plain sorted list: order, repeats, and what is cut off when it is full.
 */
#include "verify/gather.h"

#include "base/mem.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed;

static uint64_t chance(uint64_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (seed >> 33) % below;
}

static struct copy live(uint64_t version)
{
    return (struct copy){.kind = COPY_LIVE, .version = version, .route = 3, .record_hash = {7, 9}};
}

static void add(struct gather *g, const char *id, uint64_t version)
{
    struct copy c = live(version);
    se__gather_add(g, id, strlen(id), &c, 100);
}

/* Ids in which windows of eight bytes end everywhere, and neighbours share long beginnings. */
static void random_id(char *out)
{
    size_t len = chance(3) == 0 ? 1 + chance(SE_ID_MAX) : 1 + chance(24);
    for (size_t i = 0; i < len; i++)
        out[i] = i + 2 < len && chance(20) ? 'a' : (char)('a' + chance(chance(4) ? 2 : 26));
    out[len] = '\0';
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Everything in (after, until], in order, once, with the newest version. */
static void expect(const struct gather *g, char **ids, size_t n, const char *after)
{
    const char *until = se__gather_until(g);
    size_t at = 0;
    struct gathered e;
    qsort(ids, n, sizeof *ids, by_text);
    for (size_t i = 0; i < n; i++) {
        if ((i > 0 && strcmp(ids[i], ids[i - 1]) == 0) || strcmp(ids[i], after) <= 0 ||
            (*until && strcmp(ids[i], until) > 0))
            continue;
        cr_assert_lt(at, se__gather_n(g), "missing \"%s\"", ids[i]);
        se__gather_at(g, at++, &e);
        cr_assert(e.id_len == strlen(ids[i]) && memcmp(e.id, ids[i], e.id_len) == 0);
        cr_assert_eq(e.copy.kind, COPY_LIVE);
        cr_assert_eq(e.copy.record_hash[1], 9);
    }
    cr_assert_eq(at, se__gather_n(g));
}

static void fill_and_compare(size_t memory, size_t n, const char *after)
{
    struct gather *g;
    char **ids = calloc(n, sizeof *ids), id[SE_ID_MAX + 1];
    cr_assert_eq(se__gather_open(memory, &g), SE_OK);
    se__gather_begin(g, after);
    for (size_t i = 0; i < n; i++) {
        random_id(id);
        ids[i] = strdup(i > 0 && chance(5) == 0 ? ids[chance(i)] : id);
        add(g, ids[i], 1 + chance(100));
    }
    se__gather_seal(g);
    expect(g, ids, n, after);
    for (size_t i = 0; i < n; i++)
        free(ids[i]);
    free(ids);
    se__gather_close(g);
}

Test(gather, agrees_with_a_sorted_list_when_all_fits)
{
    for (seed = 1; seed < 200; seed = seed * 2 + 1)
        fill_and_compare(4u << 20, 1 + chance(5000), "");
}

Test(gather, keeps_the_smallest_ids_when_it_is_full)
{
    for (uint64_t s = 1; s < 300; s++) {
        seed = s;
        fill_and_compare(0, 1 + chance(2000), s % 3 ? "" : "aaaab");
    }
}

Test(gather, is_well_filled_after_a_cut)
{
    struct gather *g;
    char id[32];
    size_t kept;
    cr_assert_eq(se__gather_open(1u << 20, &g), SE_OK);
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(id, sizeof id, "id:%06u", (i * 7919u) % 100000u);
        add(g, id, 1);
    }
    se__gather_seal(g);
    kept = se__gather_n(g);
    cr_assert_geq(kept, (1u << 20) / 49 / 4 * 3 - 1);
    cr_assert_leq(kept, (1u << 20) / 49);
    snprintf(id, sizeof id, "id:%06zu", kept - 1);
    cr_assert_str_eq(se__gather_until(g), id, "the first ids, without a gap");
    se__gather_close(g);
}

Test(gather, repeats_alone_cut_nothing_off)
{
    struct gather *g;
    struct gathered e;
    char id[32];
    cr_assert_eq(se__gather_open(0, &g), SE_OK);
    for (unsigned i = 0; i < 10000; i++) {
        snprintf(id, sizeof id, "id:%02u", i % 20);
        add(g, id, i);
    }
    se__gather_seal(g);
    cr_assert_str_eq(se__gather_until(g), "");
    cr_assert_eq(se__gather_n(g), 20);
    se__gather_at(g, 19, &e);
    cr_assert_eq(e.copy.version, 9999, "of repeats the newest");
    se__gather_close(g);
}

Test(gather, marks_and_ids_outside_are_left_out)
{
    struct gather *g;
    struct copy mark = {.kind = COPY_MARK, .version = 5}, none = {.kind = COPY_NONE};
    cr_assert_eq(se__gather_open(0, &g), SE_OK);
    se__gather_begin(g, "m");
    se__gather_add(g, "x", 1, &mark, 0);
    se__gather_add(g, "y", 1, &none, 0);
    add(g, "a", 1);
    add(g, "m", 1);
    add(g, "ma", 1);
    se__gather_seal(g);
    cr_assert_eq(se__gather_n(g), 1);
    se__gather_close(g);
}

Test(gather, holds_every_field)
{
    struct gather *g;
    struct gathered e;
    struct copy c = {.kind = COPY_CORRUPT,
                     .version = UINT64_C(1) << 62,
                     .record_hash = {1, 2, 3},
                     .route = SE_ROUTE_L2,
                     .header_fits = true};
    cr_assert_eq(se__gather_open(0, &g), SE_OK);
    se__gather_add(g, "id", 2, &c, 5000);
    se__gather_seal(g);
    se__gather_at(g, 0, &e);
    cr_assert(se__copy_equal(&e.copy, &c) && e.copy.route == SE_ROUTE_L2 && e.copy.header_fits);
    cr_assert(e.content_len >= 5000 && e.content_len <= 10000);
    se__gather_close(g);
}

Test(gather, without_memory_is_an_error)
{
    struct gather *g = NULL;
    for (int i = 0; i < 2 && se__mem_fail_after(i); i++) {
        cr_assert_eq(se__gather_open(0, &g), SE_ERR_NOMEM);
        se__mem_fail_after(-1);
    }
}
