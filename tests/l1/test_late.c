/*
 * Puts that come late: older than what their id showed before, though L1 may have forgotten it since.
 */
#include "map_fixture.h"

#include "base/hlc.h"

#include <stdio.h>

Test(late, an_older_put_does_not_come_in_after_a_newer_one_has_left)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    written_and_evicted(&f, 10);
    se_item *older = make_item("a", 9, 1), *newer = make_item("a", 11, 1);
    struct l1_put how = {.dirty = true, .renewable = true};
    struct l1_put_result r = put_item(&f, older, &how);
    cr_assert(r.stored == L1_STALE && r.renew && !r.winner_dirty);
    cr_assert_eq(r.winner, 10);
    cr_assert_eq(shown(&f, "a"), 0);
    r = put_item(&f, newer, &how);
    cr_assert(r.stored == L1_STORED && !r.renew);
    check_account(&f);
    se_item_release(older);
    se_item_release(newer);
    fixture_close(&f);
}

/* Whoever waits for the older one must know whether a batch will ever tell. */
Test(late, a_late_put_knows_whether_a_batch_ends_what_is_newer)
{
    struct fixture f;
    fixture_open(&f, 1 << 20, false);
    put(&f, "a", 5);
    struct l1_put_result r = put(&f, "a", 4);
    cr_assert(r.stored == L1_STALE && r.winner_dirty && r.winner_ends); /* queued */
    se_item *item = fixture_take(&f, NULL);
    r = put(&f, "a", 4);
    cr_assert(r.stored == L1_STALE && r.winner_dirty && r.winner_ends); /* in flight */
    cr_assert_eq(load(&f, "a", 9), 9);
    r = put(&f, "a", 7);
    cr_assert(r.stored == L1_STALE && r.winner == 9 && r.winner_dirty && !r.winner_ends);
    r = put(&f, "a", 4);
    cr_assert(r.stored == L1_STALE && r.winner_ends);
    se__l1_home(f.map, item);
    r = put(&f, "a", 4);
    cr_assert(r.stored == L1_STALE && !r.winner_dirty && !r.winner_ends);
    se__l1_unpin(f.map, item);
    se_item_release(item);
    put(&f, "b", 5);
    item = fixture_take(&f, NULL);
    cr_assert(se__l1_bury(f.map, item));
    r = put(&f, "b", 4);
    cr_assert(r.stored == L1_STALE && r.winner_dirty && !r.winner_ends); /* a dead letter */
    se_item_release(item);
    fixture_close(&f);
}

/* The entry forgets then that an item was put in it: the floor must know at once. */
Test(late, an_older_put_does_not_come_in_after_what_replaced_the_newer_one_has_left)
{
    struct fixture f;
    struct l1_put how = {.dirty = true, .renewable = true};
    fixture_open(&f, MIB, false);
    put_and_flush(&f, "a", 10, 1);
    cr_assert_eq(load(&f, "a", 12), 12);
    invalidate(&f, "a");
    put_and_flush(&f, "b", 20, 1);
    put_and_flush(&f, "b", se__version_of_ms(1000000 + 3600000), 1); /* far ahead of the clock */
    invalidate(&f, "b");
    se_item *older_a = make_item("a", 9, 1), *older_b = make_item("b", 19, 1);
    cr_assert(put_item(&f, older_a, &how).renew);
    cr_assert(put_item(&f, older_b, &how).renew);
    se_item_release(older_a);
    se_item_release(older_b);
    fixture_close(&f);
}

/* A write that waits for the WAL would else be renewed again and again while others go on. */
Test(late, overwriting_an_id_renews_no_late_put_of_another)
{
    struct fixture f;
    struct l1_put how = {.dirty = true, .renewable = true};
    fixture_open(&f, 64 * 1024, false); /* few stripes: many ids share one */
    se_item *late[100];
    for (unsigned i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof id, "late%u", i);
        late[i] = make_item(id, 10 + i, 1);
    }
    for (unsigned i = 0; i < 50; i++)
        put(&f, i % 2 ? "hot" : "hot too", 1000 + i);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(put_item(&f, late[i], &how).stored, L1_STORED);
        se_item_release(late[i]);
    }
    check_account(&f);
    fixture_close(&f);
}

Test(late, one_id_far_ahead_of_the_clock_holds_up_no_other)
{
    struct fixture f;
    fixture_open(&f, 64 * 1024, false); /* few stripes: many ids share one */
    uint64_t now = se__version_of_ms(1000000), ahead = se__version_of_ms(1000000 + 3600000);
    struct l1_put how = {.renewable = true, .now_wall_ms = 1000000};
    se_item *skewed = make_item("a", ahead, 1);
    put_item(&f, skewed, &how);
    se_item_release(skewed);
    se__l1_unreserve(f.map, se__l1_evict(f.map, SIZE_MAX));
    for (int i = 0; i < 200; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        se_item *item = make_item(id, now++, 1);
        cr_assert_eq(put_item(&f, item, &how).stored, L1_STORED);
        se_item_release(item);
    }
    fixture_close(&f);
}

/* Found by proptest/simulate: a write that waited for the WAL, while a newer one came and left. */
Test(late, what_the_clock_has_issued_is_remembered_though_the_wall_clock_was_set_back)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    uint64_t issued = se__version_of_ms(86400000 + 1000000);
    struct l1_put how = {.renewable = true, .now_wall_ms = 1000000, .clock = issued};
    se_item *newer = make_item("a", issued, 1), *older = make_item("a", issued - 1, 1);
    cr_assert_eq(put_item(&f, newer, &how).stored, L1_STORED);
    invalidate(&f, "a");
    cr_assert_eq(shown(&f, "a"), 0);
    struct l1_ticket ticket;
    struct l1_put_result r;
    cr_assert_eq(se__l1_prepare(f.map, 1, se__item_size(older), &ticket), SE_OK);
    se__l1_put(f.map, hash_of(&f, "a"), older, &ticket, &how, &r);
    cr_assert(r.stored == L1_STALE && r.renew);
    cr_assert_geq(r.winner, issued);
    se__l1_cancel(f.map, &ticket);
    se_item_release(newer);
    se_item_release(older);
    fixture_close(&f);
}
