/*
 * The filter by function: doubts, parts and their rebuilding, sizes, memory, chance, copies.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "filter/filter.h"
#include "ids.h"
#include "item/item.h"
#include "support/test.h"

#include <inttypes.h>

#define SEED UINT64_C(0x5eed)

static struct filter *open_filter(void)
{
    struct filter *f;
    cr_assert_eq(se__filter_open(SEED, &f), SE_OK);
    return f;
}

static struct filter *open_trusted(void)
{
    struct filter *f = open_filter();
    se__filter_believe(f, FILTER_COLD);
    return f;
}

static void add_ids(struct filter *f, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n < to; n++)
        add_id(f, n);
}

static uint64_t count_had(const struct filter *f, uint64_t from, uint64_t to)
{
    uint64_t had = 0;
    for (uint64_t n = from; n < to; n++)
        had += has_id(f, n);
    return had;
}

/* Notes ids 0 .. n - 1 of one part, as a scan of its buckets does. */
static void scan_part(struct filter *f, unsigned part, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (part_of(i) == part)
            cr_assert_eq(note_id(f, part, i), SE_OK);
}

static void rebuild(struct filter *f, unsigned part, uint64_t n)
{
    cr_assert_eq(se__filter_begin(f, part), SE_OK);
    scan_part(f, part, n);
    cr_assert_eq(se__filter_commit(f, part), SE_OK);
}

static struct filter_part_stats part_stats(const struct filter *f, unsigned part)
{
    struct filter_part_stats s;
    se__filter_part_stats(f, part, &s);
    return s;
}

static struct filter_stats stats(const struct filter *f)
{
    struct filter_stats s;
    se__filter_stats(f, &s);
    return s;
}

/* The i-th id, from `from` on, of one part. */
static uint64_t next_of(unsigned part, uint64_t from)
{
    while (part_of(from) != part)
        from++;
    return from;
}

/* ---- trust ---- */

Test(filter, excludes_nothing_while_there_is_a_doubt)
{
    struct filter *f = open_filter();
    cr_assert_eq(se__filter_doubts(f), (unsigned)FILTER_COLD);
    cr_assert_not(excludes_id(f, 1));
    cr_assert_eq(se__filter_doubt(f, FILTER_FOREIGN), (unsigned)FILTER_COLD);
    cr_assert_eq(se__filter_believe(f, FILTER_COLD), (unsigned)(FILTER_COLD | FILTER_FOREIGN));
    cr_assert_not(excludes_id(f, 1));
    cr_assert_eq(se__filter_believe(f, FILTER_FOREIGN | FILTER_UNLISTED), (unsigned)FILTER_FOREIGN);
    cr_assert(excludes_id(f, 1));
    cr_assert_eq(se__filter_doubt(f, FILTER_UNLISTED), 0u);
    cr_assert_not(excludes_id(f, 1));
    cr_assert_not(has_id(f, 1), "as if it were trusted");
    se__filter_close(f);
    se__filter_close(NULL);
}

Test(filter, every_doubt_has_a_name)
{
    for (unsigned doubts = 0; doubts < 8; doubts++)
        cr_assert_str_not_empty(se__filter_doubt_name(doubts));
    cr_assert_str_neq(se__filter_doubt_name(0), se__filter_doubt_name(FILTER_COLD));
    cr_assert_str_eq(se__filter_doubt_name(7), se__filter_doubt_name(FILTER_FOREIGN));
}

/* ---- adding ---- */

Test(filter, has_what_was_added)
{
    struct filter *f = open_trusted();
    uint64_t n = 50000;
    add_ids(f, 0, n);
    cr_assert_eq(count_had(f, 0, n), n);
    cr_assert_leq(count_had(f, ABSENT, ABSENT + n), 30u);
    struct filter_stats s = stats(f);
    cr_assert(s.ids <= n && s.ids > n - 50, "%" PRIu64, s.ids);
    cr_assert_eq(s.added, s.ids);
    add_ids(f, 0, n);
    cr_assert_eq(stats(f).added, s.added);
    cr_assert_eq(se__filter_seed(f), SEED);
    se__filter_close(f);
}

/* The part is the Merkle bucket's, so a scan of buckets is a scan of a part. */
Test(filter, a_part_is_a_64th_of_the_buckets)
{
    cr_assert_eq(FILTER_PART_BUCKETS, 1024u);
    for (uint64_t n = 0; n < 1000; n++) {
        struct id id = id_of(n);
        cr_assert_eq(part_of(n), se__item_bucket(id.text, id.len) / FILTER_PART_BUCKETS);
    }
}

/* Other seeds, other accidents. */
Test(filter, the_seed_decides_what_is_mixed_up)
{
    struct filter *f[2];
    unsigned both = 0, one = 0;
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(se__filter_open(i + 1, &f[i]), SE_OK);
        add_ids(f[i], 0, 50000);
    }
    for (uint64_t n = ABSENT; n < ABSENT + 1000000; n++) {
        bool a = has_id(f[0], n), b = has_id(f[1], n);
        one += a || b;
        both += a && b;
    }
    cr_assert_gt(one, 20u);
    cr_assert_leq(both, 2u);
    se__filter_close(f[0]);
    se__filter_close(f[1]);
}

/* ---- rebuilding ---- */

Test(filter, a_rebuild_forgets_what_is_dead_and_keeps_the_rest)
{
    struct filter *f = open_trusted();
    add_ids(f, 0, 40000);
    uint64_t before = part_stats(f, 7).used, others = part_stats(f, 8).used;
    rebuild(f, 7, 20000);
    cr_assert_eq(count_had(f, 0, 20000), 20000u);
    for (uint64_t n = 20000, gone = 0; n < 40000; n++) {
        gone += !has_id(f, n);
        cr_assert(part_of(n) == 7 || has_id(f, n));
        cr_assert(n < 39999 || gone > 270, "%" PRIu64, gone);
    }
    cr_assert_lt(part_stats(f, 7).used, before * 2 / 3);
    cr_assert_eq(part_stats(f, 8).used, others);
    se__filter_close(f);
}

Test(filter, what_is_added_during_a_rebuild_stays)
{
    struct filter *f = open_trusted();
    add_ids(f, 0, 1000);
    uint64_t late = next_of(3, 5000), other = next_of(4, 5000), old = next_of(3, 0);
    cr_assert_eq(se__filter_begin(f, 3), SE_OK);
    add_id(f, late);
    add_id(f, old); /* there already, and not in the scan: it goes into the list all the same */
    cr_assert(has_id(f, late), "in the old table too");
    cr_assert_eq(note_id(f, 3, other), SE_OK);
    cr_assert(has_id(f, other), "of another part: added there");
    cr_assert_eq(se__filter_commit(f, 3), SE_OK);
    cr_assert(has_id(f, late) && has_id(f, other) && has_id(f, old));
    cr_assert_eq(part_stats(f, 3).used, 2u);
    se__filter_close(f);
}

Test(filter, cancel_leaves_the_old_table)
{
    struct filter *f = open_trusted();
    add_ids(f, 0, 10000);
    cr_assert_eq(se__filter_begin(f, 3), SE_OK);
    cr_assert_eq(note_id(f, 3, next_of(3, 50000)), SE_OK);
    add_id(f, next_of(3, 60000));
    se__filter_cancel(f, 3);
    se__filter_cancel(f, 3); /* again: nothing to do */
    cr_assert_eq(count_had(f, 0, 10000), 10000u);
    cr_assert(has_id(f, next_of(3, 60000)));
    cr_assert_not(has_id(f, next_of(3, 50000)));
    se__filter_close(f);
}

/* What the first rebuild was told is of no use to the second: pending ids were collected anew. */
Test(filter, to_begin_again_is_to_forget)
{
    struct filter *f = open_trusted();
    cr_assert_eq(se__filter_begin(f, 3), SE_OK);
    cr_assert_eq(note_id(f, 3, next_of(3, 0)), SE_OK);
    cr_assert_eq(se__filter_begin(f, 3), SE_OK);
    cr_assert_eq(se__filter_commit(f, 3), SE_OK);
    cr_assert_eq(part_stats(f, 3).used, 0u);
    cr_assert_eq(se__filter_begin(f, 3), SE_OK); /* and one that is on at close is freed */
    cr_assert_eq(note_id(f, 3, next_of(3, 0)), SE_OK);
    se__filter_close(f);
}

Test(filter, begin_advances_the_epoch)
{
    struct filter *f = open_trusted();
    uint64_t epoch = add_id(f, 1);
    cr_assert_eq(se__filter_epoch(f), epoch);
    cr_assert_eq(se__filter_begin(f, 60), SE_OK);
    cr_assert_gt(se__filter_epoch(f), epoch);
    cr_assert_eq(add_id(f, 1), se__filter_epoch(f));
    epoch = se__filter_epoch(f);
    cr_assert_eq(se__filter_commit(f, 60), SE_OK);
    cr_assert_eq(se__filter_epoch(f), epoch);
    se__filter_close(f);
}

Test(filter, parts_are_rebuilt_side_by_side)
{
    struct filter *f = open_trusted();
    for (unsigned part = 0; part < FILTER_PARTS; part++)
        cr_assert_eq(se__filter_begin(f, part), SE_OK);
    for (uint64_t n = 0; n < 200000 / SCALE; n++)
        cr_assert_eq(note_id(f, part_of(n), n), SE_OK);
    for (unsigned part = 0; part < FILTER_PARTS; part++)
        cr_assert_eq(se__filter_commit(f, part), SE_OK);
    cr_assert_eq(count_had(f, 0, 200000 / SCALE), 200000u / SCALE);
    cr_assert_eq(stats(f).added, 0u);
    se__filter_close(f);
}

/* ---- sizes ---- */

/* A scan and the pending ids may name an id often. */
Test(filter, an_id_noted_often_counts_once)
{
    struct filter *f = open_trusted();
    cr_assert_eq(se__filter_begin(f, 5), SE_OK);
    for (unsigned i = 0; i < 20; i++)
        scan_part(f, 5, 128000);
    cr_assert_eq(se__filter_commit(f, 5), SE_OK);
    struct filter *once = open_trusted();
    rebuild(once, 5, 128000);
    struct filter_part_stats s = part_stats(f, 5), expected = part_stats(once, 5);
    cr_assert_eq(s.used, expected.used);
    cr_assert_eq(s.slots, expected.slots);
    cr_assert(s.used > 1800 && s.slots < 3000);
    se__filter_close(once);
    se__filter_close(f);
}

/* It would be due again at once: a scan of the part for nothing. */
Test(filter, a_rebuild_makes_room)
{
    struct filter *f = open_trusted();
    uint64_t n = 0;
    for (; !part_stats(f, 9).due; n++)
        if (part_of(n) == 9)
            add_id(f, n);
    uint64_t slots = part_stats(f, 9).slots;
    rebuild(f, 9, n - n / 100); /* one in a hundred is dead */
    struct filter_part_stats s = part_stats(f, 9);
    cr_assert(!s.due && s.slots > slots);
    cr_assert((double)s.used < 0.93 * (double)s.slots);
    rebuild(f, 9, n / 2);
    cr_assert_leq(part_stats(f, 9).slots, slots);
    se__filter_close(f);
}

/* Nothing rebuilds it: the second table fills too, then the part excludes nothing. All others do. */
Test(filter, a_part_without_room_excludes_nothing_until_it_is_rebuilt)
{
    struct filter *f = open_trusted();
    uint64_t n = 0;
    while (!part_stats(f, 9).full) {
        n = next_of(9, n + 1);
        add_id(f, n);
        cr_assert(has_id(f, n));
    }
    struct filter_part_stats s = part_stats(f, 9);
    cr_assert(s.due && s.used > s.slots * 9 / 10, "%" PRIu64 " of %" PRIu64, s.used, s.slots);
    cr_assert_eq(stats(f).full_parts, 1u);
    uint64_t late = next_of(9, n + 1), absent = next_of(9, ABSENT);
    add_id(f, late);
    cr_assert(!excludes_id(f, late) && !excludes_id(f, absent));
    cr_assert(excludes_id(f, next_of(10, ABSENT)));
    rebuild(f, 9, late + 1);
    s = part_stats(f, 9);
    cr_assert(!s.full && !s.due);
    cr_assert(excludes_id(f, absent) && !excludes_id(f, late));
    for (uint64_t i = 1; i <= late; i++)
        cr_assert(part_of(i) != 9 || has_id(f, i));
    se__filter_close(f);
}

/* ---- memory and chance ---- */

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
Test(filter, takes_20_bits_an_id_at_every_size)
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
Test(filter, takes_20_bits_an_id_when_made_from_a_scan)
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

Test(filter, is_seldom_wrong_at_every_size)
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
Test(filter, is_wrong_twice_as_often_at_most_while_it_grows)
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

/* ---- without memory ---- */

/* Whatever fails, nothing that was added is excluded. */
Test(filter, without_memory_nothing_is_lost)
{
    struct filter *f;
    unsigned opened = 0, began = 0, committed = 0;
    if (!se__mem_fail_after(-1))
        cr_skip_test("a release build");
    for (int64_t left = 0; committed == 0; left++) {
        se__mem_fail_after(left);
        se_result r = se__filter_open(SEED, &f);
        if (r == SE_OK) {
            opened++;
            for (uint64_t n = 0; n < 2000; n++)
                add_id(f, n);
            r = se__filter_begin(f, 0);
        }
        if (r == SE_OK) {
            began++;
            for (uint64_t n = 0; n < 40000 && r == SE_OK; n++)
                r = part_of(n) == 0 ? note_id(f, 0, n) : SE_OK;
            add_id(f, next_of(0, 50000));
            se_result noted = r;
            r = se__filter_commit(f, 0);
            cr_assert(noted == SE_OK || r == SE_ERR_NOMEM, "committed an incomplete list");
            committed += r == SE_OK;
        }
        se__mem_fail_after(-1);
        cr_assert(r == SE_OK || r == SE_ERR_NOMEM);
        if (opened) {
            cr_assert_eq(count_had(f, 0, 2000), 2000u, "after %d allocations", (int)left);
            cr_assert(!began || has_id(f, next_of(0, 50000)));
            se__filter_close(f);
            opened = 0;
        }
    }
    cr_assert_gt(began, 0u);
}

/* The scan's list or the arrivals' list has a gap: there may be memory again, but no table of it. */
Test(filter, an_incomplete_list_is_never_committed)
{
    struct filter *f = open_trusted();
    if (!se__mem_fail_after(-1))
        cr_skip_test("a release build");
    add_ids(f, 0, 2000);
    for (unsigned arrives = 0; arrives < 2; arrives++) {
        uint64_t n = next_of(2, 5000 + arrives);
        cr_assert_eq(se__filter_begin(f, 2), SE_OK);
        scan_part(f, 2, 2000 * (1 - arrives));
        se__mem_fail_after(0);
        se_result r = SE_OK;
        for (uint64_t i = 0; !arrives && r == SE_OK; i++) /* until the chunk is full */
            r = note_id(f, 2, next_of(2, i));
        if (arrives)
            add_id(f, n);
        se__mem_fail_after(-1);
        add_id(f, n);
        cr_assert_eq(r, arrives ? SE_OK : SE_ERR_NOMEM);
        cr_assert_eq(se__filter_commit(f, 2), SE_ERR_NOMEM);
        cr_assert(has_id(f, n));
        cr_assert_eq(count_had(f, 0, 2000), 2000u);
    }
    rebuild(f, 2, 2000);
    cr_assert_eq(count_had(f, 0, 2000), 2000u);
    se__filter_close(f);
}

/* ---- copies ---- */

static void copy_part(const struct filter *f, unsigned part, struct buf *out)
{
    se__buf_init(out);
    cr_assert_eq(se__filter_copy_part(f, part, out), SE_OK);
}

static se_result restore(struct filter *f, unsigned part, const struct buf *b)
{
    return se__filter_restore_part(f, part, (const uint8_t *)b->data, b->len);
}

static struct filter *copy_of(const struct filter *f)
{
    struct filter *copy = open_trusted();
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        struct buf b;
        copy_part(f, part, &b);
        cr_assert_eq(restore(copy, part, &b), SE_OK);
        se__buf_done(&b);
    }
    return copy;
}

Test(filter, a_copy_has_what_the_original_has)
{
    struct filter *f = open_trusted(), *copy;
    add_ids(f, 0, 30000);
    copy = copy_of(f);
    cr_assert_eq(count_had(copy, 0, 30000), 30000u);
    cr_assert_eq(count_had(copy, ABSENT, ABSENT + 500000), count_had(f, ABSENT, ABSENT + 500000));
    cr_assert_eq(stats(copy).ids, stats(f).ids);
    add_ids(copy, 30000, 60000);
    cr_assert_eq(count_had(copy, 0, 60000), 60000u);
    se__filter_close(copy);
    se__filter_close(f);
}

Test(filter, an_empty_part_is_no_bytes)
{
    struct filter *f = open_trusted();
    struct buf b;
    copy_part(f, 0, &b);
    cr_assert_eq(b.len, 0u);
    cr_assert_eq(restore(f, 0, &b), SE_OK);
    cr_assert_eq(count_had(f, 0, 1000), 0u);
    se__buf_done(&b);
    se__filter_close(f);
}

/* With the second table; and with neither having room, when nothing may be excluded. */
Test(filter, a_copy_of_an_overfull_part_is_as_good)
{
    struct filter *f = open_trusted();
    uint64_t n = 0;
    bool second = false;
    for (;;) {
        struct filter_part_stats s = part_stats(f, 9);
        if (s.full || (!second && s.slots > 1250)) {
            struct filter *copy = copy_of(f);
            for (uint64_t i = 1; i <= n; i++)
                cr_assert(part_of(i) != 9 || has_id(copy, i));
            cr_assert_eq(part_stats(copy, 9).full, s.full);
            cr_assert_eq(part_stats(copy, 9).used, s.used);
            cr_assert_eq(part_stats(copy, 9).slots, s.slots);
            cr_assert(part_stats(copy, 9).due);
            se__filter_close(copy);
            second = true;
            if (s.full)
                break;
        }
        n = next_of(9, n + 1);
        add_id(f, n);
    }
    se__filter_close(f);
}

Test(filter, bytes_that_are_no_part_are_refused)
{
    struct filter *f = open_trusted(), *other = open_trusted();
    struct buf b;
    add_ids(f, 0, 5000);
    copy_part(f, 0, &b);
    for (size_t len = 1; len < b.len; len++) { /* cut anywhere but behind the first word */
        struct buf cut = {.data = b.data, .len = len};
        cr_assert_eq(restore(other, 0, &cut), len == 8 ? SE_OK : SE_ERR_CORRUPT, "%zu", len);
    }
    for (size_t at = 0; at < 16; at++) {
        b.data[at] ^= 0x40;
        cr_assert_eq(restore(other, 0, &b), SE_ERR_CORRUPT, "%zu", at);
        b.data[at] ^= 0x40;
    }
    cr_assert_eq(count_had(other, 0, 5000), 0u);
    se__buf_done(&b);
    se__filter_close(other);
    se__filter_close(f);
}
