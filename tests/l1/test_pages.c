/*
 * Tests of src/l1/pages.c: items that lie close together come onto huge pages, a map that is small,
 * growing or sparse is left alone, and the counts' memory is in the account while it is there.
 */
#include "map_fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define ITEMS 60000u /* of about 600 bytes: 34 MiB */

static struct fixture f;

TestSuite(pages);

static void open_map(void)
{
    fixture_open(&f, 256 * MIB, true);
    f.map->pages.wanted = true;
}

static void put_items(unsigned from, unsigned to)
{
    char id[16];
    for (unsigned i = from; i < to; i++) {
        snprintf(id, sizeof id, "id%u", i);
        put_clean(&f, id, i + 1, 500);
    }
}

static void tend(unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        se__l1_tend(f.map, 0, 0);
}

static size_t huge_bytes(void)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file && fgets(line, sizeof line, file))
        (void)sscanf(line, "AnonHugePages: %zu kB", &kib);
    if (file)
        fclose(file);
    return kib * 1024;
}

/* An old kernel, an administrator's "never", no such page to be had: then there is nothing to see. */
static bool has_huge_pages(void)
{
    size_t size = 2 * SE__HUGE_PAGE;
    char *two = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(two, MAP_FAILED);
    memset(two, 1, size);
    uintptr_t at = ((uintptr_t)two + SE__HUGE_PAGE - 1) / SE__HUGE_PAGE * SE__HUGE_PAGE;
    size_t before = huge_bytes();
    bool made = se__huge_pages_allowed() && se__huge_page_make(at) && huge_bytes() > before;
    munmap(two, size);
    return made;
}

Test(pages, items_that_lie_close_together_come_onto_huge_pages)
{
    open_map();
    put_items(0, ITEMS);
    size_t before = huge_bytes();
    for (unsigned i = 0; i < 5000 && (f.map->pages.seen == 0 || f.map->pages.blocks); i++)
        tend(1);
    cr_assert_gt(f.map->pages.seen, 0, "counted");
    cr_assert_null(f.map->pages.blocks, "and done");
    if (has_huge_pages())
        cr_assert_gt(huge_bytes(), before + 16 * MIB);
    cr_assert_eq(shown(&f, "id7"), 8, "what they hold stays as it was");
    check_account(&f);
    fixture_close(&f);
}

Test(pages, the_counts_are_in_the_account)
{
    open_map();
    put_items(0, ITEMS);
    size_t used = stats_of(&f).bytes;
    for (unsigned i = 0; i < 100 && !f.map->pages.blocks; i++)
        tend(1);
    cr_assert_not_null(f.map->pages.blocks);
    cr_assert_geq(stats_of(&f).bytes, used + f.map->pages.cap * 2 * sizeof(size_t));
    for (unsigned i = 0; i < 5000 && f.map->pages.blocks; i++)
        tend(1);
    cr_assert_eq(stats_of(&f).bytes, used);
    fixture_close(&f);
}

Test(pages, a_map_that_closes_while_counting_leaves_nothing)
{
    open_map();
    put_items(0, ITEMS);
    tend(2);
    fixture_close(&f);
}

Test(pages, nothing_is_counted_while_a_map_grows_or_where_it_is_small)
{
    open_map();
    put_items(0, 1000);
    tend(5);
    cr_assert_eq(f.map->pages.seen, 0, "too small to matter");
    for (unsigned at = 1000; at < ITEMS; at += 2000) {
        put_items(at, at + 2000);
        tend(1);
        cr_assert_eq(f.map->pages.seen, 0, "%u: it still grows", at);
    }
    tend(2);
    cr_assert_gt(f.map->pages.seen, 0);
    fixture_close(&f);
}

Test(pages, not_without_being_asked_for)
{
    fixture_open(&f, 256 * MIB, true);
    put_items(0, ITEMS);
    tend(5);
    cr_assert_eq(f.map->pages.seen, 0);
    fixture_close(&f);
}
