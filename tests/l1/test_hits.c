/*
 * Tests of whom src/l1/evict.c keeps: shares of small made-up traces that L1 serves. One thread, fixed
 * seeds: every run counts the same. Real traces: bench/bench_hits.c.
 */
#include "map_fixture.h"

#include <stdio.h>
#include <string.h>

#define KIB 1024u
#define CONTENT_LEN 4000u
#define ROOM_100 (440u * KIB) /* for a hundred items of CONTENT_LEN, at 93 percent */
#define ROOM_1000 (4400u * KIB)

struct counted {
    unsigned gets, hits;
};

static void put_in(struct fixture *f, const char *id)
{
    uint64_t hash = hash_of(f, id);
    bool unchanged;
    uint64_t epoch = se__l1_epoch(f->map, hash);
    se_item *item = make_item(id, 1, CONTENT_LEN);
    se_item_release(se__l1_promote(f->map, hash, item, epoch, &unchanged));
    se_item_release(item);
    cr_assert(unchanged);
}

/* A get, and where it misses a load. */
static void ask(struct fixture *f, char kind, unsigned n, struct counted *c)
{
    char id[16];
    snprintf(id, sizeof id, "%c%u", kind, n);
    se_item *item = se__l1_get(f->map, hash_of(f, id), id, strlen(id));
    c->gets++;
    c->hits += item != NULL;
    if (item)
        se_item_release(item);
    else
        put_in(f, id);
}

static double percent(const struct counted *c)
{
    return 100.0 * c->hits / c->gets;
}

static void loop(struct fixture *f, char kind, unsigned n, unsigned times, struct counted *c)
{
    for (unsigned i = 0; i < times * n; i++)
        ask(f, kind, i % n, c);
}

Test(hits, a_hundred_items_and_two_pools)
{
    /* Every second request is of one of 100 hot ids, the others of one of 10,000: what is best is to
     * keep the hot ones and nothing else, 50 % and a bit. */
    struct fixture f;
    struct counted start = {0, 0}, c = {0, 0};
    uint64_t random = 1;
    fixture_open(&f, ROOM_100, false);
    for (unsigned i = 0; i < 60000; i++) {
        struct counted *to = i < 10000 ? &start : &c;
        ask(&f, 'h', (unsigned)(next_random(&random) % 100), to);
        ask(&f, 'p', (unsigned)(next_random(&random) % 10000), to);
    }
    cr_assert(stats_of(&f).items >= 90 && stats_of(&f).items <= 105, "%zu", stats_of(&f).items);
    cr_assert_gt(percent(&c), 45.0, "%.2f", percent(&c));
    check_account(&f);
    fixture_close(&f);
}

Test(hits, a_scan_leaves_what_is_hot)
{
    struct fixture f;
    struct counted warm = {0, 0}, hot = {0, 0}, scan = {0, 0};
    unsigned scanned = 0;
    fixture_open(&f, ROOM_1000, false);
    loop(&f, 'h', 600, 4, &warm);
    for (unsigned round = 0; round < 20; round++)
        for (unsigned i = 0; i < 600; i++) {
            ask(&f, 'h', i, &hot);
            for (unsigned j = 0; j < 3; j++)
                ask(&f, 's', scanned++, &scan);
        }
    cr_assert_eq(scan.hits, 0);
    cr_assert_gt(percent(&hot), 97.0, "%.2f", percent(&hot));
    fixture_close(&f);
}

Test(hits, of_a_loop_longer_than_the_room_a_part_is_kept)
{
    static const struct {
        unsigned n;
        double least; /* a cache that keeps what came last has no hit at all */
    } cases[] = {{1200, 64}, {1500, 50}, {2000, 40}, {4000, 17}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        struct counted start = {0, 0}, c = {0, 0};
        fixture_open(&f, ROOM_1000, false);
        loop(&f, 'l', cases[i].n, 5, &start);
        loop(&f, 'l', cases[i].n, 20, &c);
        cr_assert_gt(percent(&c), cases[i].least, "loop of %u: %.2f", cases[i].n, percent(&c));
        fixture_close(&f);
    }
}

Test(hits, what_was_hot_gives_way_to_what_is)
{
    struct fixture f;
    fixture_open(&f, ROOM_1000, false);
    for (unsigned phase = 0; phase < 6; phase++) {
        struct counted turn = {0, 0}, c = {0, 0};
        loop(&f, (char)('a' + phase), 700, 5, &turn);
        loop(&f, (char)('a' + phase), 700, 5, &c);
        cr_assert_gt(percent(&c), 90.0, "phase %u: %.2f", phase, percent(&c));
    }
    fixture_close(&f);
}

Test(hits, most_that_is_new_and_wanted_again_soon_is_kept_for_long_enough)
{
    /* Each id is asked for four times within 150 others, and never again. */
    struct fixture f;
    struct counted c = {0, 0};
    fixture_open(&f, ROOM_1000, false);
    for (unsigned i = 0; i < 40000; i++)
        for (unsigned back = 0; back < 4; back++)
            if (i >= back * 50)
                ask(&f, 'n', i - back * 50, &c);
    cr_assert_gt(percent(&c), 74.0, "%.2f", percent(&c));
    fixture_close(&f);
}

Test(hits, a_small_map_is_one_stripe)
{
    /* With more, each would have too few items to tell who is busy. */
    static const struct {
        size_t bytes;
        unsigned stripes;
    } cases[] = {{64 * KIB, 1}, {6 * MIB - 1, 1}, {6 * MIB, 2}, {8 * MIB, 4}, {64 * MIB, 32}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        fixture_open(&f, cases[i].bytes, false);
        cr_assert_eq(1u << f.map->stripe_bits, cases[i].stripes, "%zu bytes", cases[i].bytes);
        fixture_close(&f);
    }
}
