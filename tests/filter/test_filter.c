/*
 * The filter by function: doubts, parts and their rebuilding, their sizes, want of memory. What it takes and how often it is wrong is
 * in test_chance.c, copies in test_copies.c.
 */
#include "base/epoch.h"
#include "base/mem.h"
#include "filter_fixture.h"
#include "item/item.h"
#include "support/test.h"

#include <inttypes.h>

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

/* Who looks early must not rely on what a rebuild may leave out. */
Test(filter, is_not_sure_of_an_id_while_its_part_is_rebuilt)
{
    struct filter *f = open_trusted();
    struct id id = id_of(1);
    struct filter_spot at = se__filter_spot(f, id.text, id.len);
    cr_assert_not(se__filter_knows_inside(f, at));
    uint64_t epoch = se__filter_add_at(f, at);
    cr_assert(se__filter_knows_inside(f, at));
    cr_assert_eq(se__filter_epoch(f), epoch);
    cr_assert_eq(se__filter_begin(f, at.part), SE_OK);
    cr_assert_not(se__filter_knows_inside(f, at));
    cr_assert_neq(se__filter_epoch(f), epoch, "who looked before is told so");
    cr_assert_eq(se__filter_commit(f, at.part), SE_OK);
    cr_assert_not(se__filter_knows_inside(f, at), "the scan has not found it");
    se__filter_close(f);
}

struct rebuilder {
    struct filter *f;
    unsigned part;
    atomic_bool done;
};

static void *commit_part(void *arg)
{
    struct rebuilder *r = arg;
    cr_assert_eq(se__filter_commit(r->f, r->part), SE_OK);
    atomic_store(&r->done, true);
    return NULL;
}

/* A table is not freed under who looks, in whichever epochs that is. */
Test(filter, a_rebuild_waits_for_who_is_in_the_epochs_that_were_given)
{
    struct epoch_row *rows = aligned_alloc(SE__EPOCH_LINE, SE__EPOCH_ROWS(8, 1) * sizeof *rows);
    struct epochs epochs;
    pthread_t thread;
    struct filter *f = open_trusted();
    se__epochs_init(&epochs, rows, 8, 1);
    se__filter_read_in(f, &epochs);
    add_ids(f, 0, 1000);
    struct rebuilder r = {.f = f, .part = 3};
    cr_assert_eq(se__filter_begin(f, r.part), SE_OK);
    struct epoch_place inside = se__epoch_enter(&epochs);
    cr_assert_eq(pthread_create(&thread, NULL, commit_part, &r), 0);
    while (part_stats(f, r.part).used > 0) /* the old table is out of sight */
        se__pause_ms(1);
    se__pause_ms(20);
    cr_assert_not(atomic_load(&r.done));
    se__epoch_leave(inside);
    pthread_join(thread, NULL);
    cr_assert(atomic_load(&r.done));
    se__filter_close(f);
    free(rows);
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
