/*
 * Tests of src/l1/flight.c: the dirty life of an entry, event by event and in every order that
 * threads can make.
 */
#include "map_fixture.h"

#include <string.h>

#define MIB (1024u * 1024)

static struct fixture f;

static void open_map(void)
{
    fixture_open(&f, MIB, false);
}

static void close_map(void)
{
    check_account(&f);
    fixture_close(&f);
}

TestSuite(flight, .init = open_map, .fini = close_map);

/* Asks for more than there is free, so that everything evictable goes. */
static void evict_all(void)
{
    se__l1_unreserve(f.map, se__l1_evict(f.map, SIZE_MAX));
}

static se_item *put_and_take(const char *id, uint64_t version)
{
    put(&f, id, version);
    se_item *item = fixture_take(&f, NULL);
    cr_assert_not_null(item);
    cr_assert_eq(se_item_version(item), version);
    return item;
}

static void unpin(se_item *item)
{
    se__l1_unpin(f.map, item);
    se_item_release(item);
}

Test(flight, nothing_dirty_is_ever_evicted)
{
    put(&f, "a", 1);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 1, "queued");
    se_item *item = fixture_take(&f, NULL);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 1, "in flight");
    se__l1_home(f.map, item);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 1, "stored, its copy for L2 on the way");
    unpin(item);
    cr_assert_eq(stats_of(&f).unevictable_bytes, 0);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 0, "clean");
}

Test(flight, counts_dirty_until_home_and_pinned_until_unpin)
{
    se_item *item = put_and_take("a", 1);
    cr_assert_eq(stats_of(&f).dirty_items, 1);
    se__l1_home(f.map, item);
    cr_assert_eq(stats_of(&f).dirty_items, 0);
    cr_assert(stats_of(&f).unevictable_bytes > 0);
    unpin(item);
    cr_assert_eq(stats_of(&f).unevictable_bytes, 0);
}

Test(flight, a_put_in_flight_is_queued_again)
{
    se_item *one = put_and_take("a", 1);
    struct l1_put_result r = put(&f, "a", 2);
    cr_assert_not(r.superseded, "1 is on its way and will be written");
    cr_assert_eq(f.queued, 1);
    se__l1_home(f.map, one);
    cr_assert_eq(stats_of(&f).dirty_items, 1, "2 is not home");
    unpin(one);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 2);
    se_item *two = fixture_take(&f, NULL);
    cr_assert_eq(se_item_version(two), 2);
    se__l1_home(f.map, two);
    unpin(two);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 0);
}

Test(flight, several_pins_of_one_id)
{
    se_item *one = put_and_take("a", 1);
    se__l1_home(f.map, one);
    se_item *two = put_and_take("a", 2);
    unpin(one);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 2, "2 is in flight");
    se__l1_home(f.map, two);
    se_item *three = put_and_take("a", 3);
    se__l1_home(f.map, three);
    unpin(two);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 3, "3 waits for L2");
    unpin(three);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 0);
}

Test(flight, requeued_at_the_front_with_its_age)
{
    uint64_t first_ms = 0;
    put(&f, "a", 1);
    put(&f, "b", 2);
    se_item *item = fixture_take(&f, &first_ms);
    cr_assert(se__l1_requeue(f.map, item, 77));
    se_item_release(item);
    cr_assert_eq(stats_of(&f).dirty_items, 2);
    item = fixture_take(&f, &first_ms);
    cr_assert_str_eq(se_item_id(item), "a");
    cr_assert_eq(first_ms, 77);
    se__l1_home(f.map, item);
    unpin(item);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 0, "the first taking left no pin");
}

Test(flight, not_requeued_when_a_newer_one_is_queued)
{
    se_item *one = put_and_take("a", 1);
    put(&f, "a", 2);
    cr_assert_not(se__l1_requeue(f.map, one, 77));
    se_item_release(one);
    cr_assert_eq(f.queued, 1);
    se_item *two = fixture_take(&f, NULL);
    se__l1_home(f.map, two);
    unpin(two);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 0);
}

Test(flight, dead_until_a_newer_put)
{
    se_item *one = put_and_take("a", 1);
    cr_assert(se__l1_bury(f.map, one));
    se_item_release(one);
    cr_assert_eq(stats_of(&f).dead_items, 1);
    cr_assert_eq(stats_of(&f).dirty_items, 0);
    evict_all();
    invalidate(&f, "a");
    cr_assert_eq(shown(&f, "a"), 1, "still served");
    struct l1_view view;
    cr_assert(se__l1_look(f.map, hash_of(&f, "a"), "a", 1, &view) && view.dead && view.dirty);
    struct l1_put_result r = put(&f, "a", 2);
    cr_assert(r.dead_replaced && !r.superseded);
    cr_assert_eq(stats_of(&f).dead_items, 0);
    cr_assert_eq(f.queued, 1);
}

Test(flight, not_buried_when_a_newer_one_is_queued)
{
    se_item *one = put_and_take("a", 1);
    put(&f, "a", 2);
    cr_assert_not(se__l1_bury(f.map, one));
    se_item_release(one);
    cr_assert_eq(stats_of(&f).dead_items, 0);
    cr_assert_eq(stats_of(&f).dirty_items, 1);
}

Test(flight, a_stale_put_says_whether_the_winner_is_home)
{
    se_item *item = put_and_take("a", 5);
    cr_assert(put(&f, "a", 4).winner_dirty);
    se__l1_home(f.map, item);
    cr_assert_not(put(&f, "a", 4).winner_dirty);
    unpin(item);
}

Test(flight, a_copy_that_lost_is_not_served)
{
    se_item *one = put_and_take("a", 1);
    se__l1_lost(f.map, one);
    cr_assert_eq(shown(&f, "a"), 0);
    cr_assert_eq(stats_of(&f).items, 0);
    se__l1_home(f.map, one);
    bool unchanged;
    se_item *older = make_item("a", 0, 1);
    se_item *got = se__l1_promote(f.map, hash_of(&f, "a"), older,
                                  se__l1_epoch(f.map, hash_of(&f, "a")), &unchanged);
    cr_assert_eq(se_item_version(got), 1, "L2 has not got 1 yet: nothing older may be shown");
    se_item_release(got);
    se_item_release(older);
    cr_assert_eq(load(&f, "a", 9), 9);
    cr_assert_eq(shown(&f, "a"), 9, "what the home tier holds");
    unpin(one);
    cr_assert_eq(shown(&f, "a"), 9);
}

Test(flight, a_copy_that_lost_goes_with_its_last_pin)
{
    size_t empty = stats_of(&f).bytes;
    se_item *one = put_and_take("a", 1);
    se__l1_home(f.map, one);
    se__l1_lost(f.map, one);
    cr_assert(stats_of(&f).bytes > empty);
    se__l1_unpin(f.map, one);
    se_item_release(one);
    se__l1_tend(f.map, 0, 0);
    cr_assert_eq(stats_of(&f).bytes, empty);
    cr_assert_eq(stats_of(&f).detached_bytes, 0);
}

Test(flight, a_clean_copy_that_lost_goes_at_once)
{
    put_and_flush(&f, "a", 1, 10);
    se_item *drained = make_item("a", 2, 10); /* by the WAL's drain: never taken from here */
    se__l1_lost(f.map, drained);
    cr_assert_eq(shown(&f, "a"), 0);
    se_item_release(drained);
}

Test(flight, a_newer_put_is_not_lost_with_the_older)
{
    se_item *one = put_and_take("a", 1);
    put(&f, "a", 3);
    se__l1_lost(f.map, one);
    cr_assert_eq(shown(&f, "a"), 3);
    se__l1_home(f.map, one);
    unpin(one);
    cr_assert_eq(shown(&f, "a"), 3);
    cr_assert_eq(stats_of(&f).dirty_items, 1);
}

Test(flight, a_newer_one_in_flight_is_not_lost_with_the_older)
{
    se_item *one = put_and_take("a", 1);
    se__l1_home(f.map, one);
    se_item *two = put_and_take("a", 2);
    se__l1_lost(f.map, one);
    cr_assert_eq(shown(&f, "a"), 2);
    unpin(one);
    se__l1_home(f.map, two);
    cr_assert_eq(shown(&f, "a"), 2);
    unpin(two);
}

Test(flight, a_load_does_not_bring_back_a_loaded_copy_that_lost)
{
    load(&f, "a", 1);
    uint64_t epoch = se__l1_epoch(f.map, hash_of(&f, "a"));
    se_item *one = make_item("a", 1, 10), *two = make_item("a", 2, 10);
    se__l1_lost(f.map, two);
    bool unchanged;
    se_item_release(se__l1_promote(f.map, hash_of(&f, "a"), one, epoch, &unchanged));
    cr_assert_not(unchanged);
    cr_assert_eq(shown(&f, "a"), 0);
    se_item_release(one);
    se_item_release(two);
}

Test(flight, a_put_over_a_lost_one_is_shown_and_queued)
{
    se_item *one = put_and_take("a", 1);
    se__l1_home(f.map, one);
    se__l1_lost(f.map, one);
    cr_assert_eq(put(&f, "a", 5).stored, L1_STORED);
    cr_assert_eq(shown(&f, "a"), 5);
    unpin(one);
    cr_assert_eq(shown(&f, "a"), 5);
    cr_assert_eq(f.queued, 1);
}

Test(flight, a_lost_one_is_absence_to_a_conditional_put)
{
    se_item *one = put_and_take("a", 1), *two = make_item("a", 2, 1);
    se__l1_home(f.map, one);
    se__l1_lost(f.map, one);
    struct l1_put how = {.dirty = true,
                         .expect = L1_EXPECT_ABSENT,
                         .expected_epoch = se__l1_epoch(f.map, hash_of(&f, "a"))};
    cr_assert_eq(put_item(&f, two, &how).stored, L1_STORED);
    se_item_release(two);
    unpin(one);
}

Test(flight, a_load_newer_than_the_queued_one_takes_its_place_in_the_queue)
{
    put(&f, "a", 1);
    cr_assert_eq(load(&f, "a", 5), 5);
    cr_assert_eq(shown(&f, "a"), 5);
    cr_assert_eq(stats_of(&f).dirty_items, 1);
    se_item *item = fixture_take(&f, NULL);
    cr_assert_eq(se_item_version(item), 5);
    se__l1_home(f.map, item);
    unpin(item);
}

Test(flight, a_load_newer_than_the_one_in_flight_is_shown)
{
    se_item *one = put_and_take("a", 1);
    cr_assert_eq(load(&f, "a", 5), 5);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 5, "pinned by the flight of 1");
    cr_assert(se__l1_requeue(f.map, one, 9), "somebody waits for 1 or newer to be home");
    se_item_release(one);
    se_item *five = fixture_take(&f, NULL);
    cr_assert_eq(se_item_version(five), 5);
    se__l1_home(f.map, five);
    unpin(five);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 0);
}

Test(flight, a_load_newer_than_the_one_in_flight_saves_it_from_burial)
{
    se_item *one = put_and_take("a", 1);
    load(&f, "a", 5);
    cr_assert_not(se__l1_bury(f.map, one));
    se_item_release(one);
    cr_assert_eq(stats_of(&f).unevictable_bytes, 0);
}

Test(flight, a_load_newer_than_a_dead_letter_ends_it_as_lost)
{
    se_item *one = put_and_take("a", 1);
    se__l1_bury(f.map, one);
    se_item_release(one);
    load(&f, "a", 5);
    cr_assert_eq(stats_of(&f).dead_items, 0);
    cr_assert_eq(se__metrics_sum(f.metrics, M_LOST), 1);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 0);
}

Test(flight, invalidated_while_dirty_goes_when_clean)
{
    se_item *one = put_and_take("a", 1);
    invalidate(&f, "a");
    cr_assert_eq(shown(&f, "a"), 1, "ours is not home yet");
    se__l1_home(f.map, one);
    invalidate(&f, "a");
    cr_assert_eq(shown(&f, "a"), 1, "L2 may still show an older one");
    uint64_t epoch = se__l1_epoch(f.map, hash_of(&f, "a"));
    unpin(one);
    cr_assert_eq(shown(&f, "a"), 0, "it has to be looked up again");
    cr_assert_neq(se__l1_epoch(f.map, hash_of(&f, "a")), epoch);
}

Test(flight, a_load_after_the_invalidation_ends_the_doubt)
{
    se_item *one = put_and_take("a", 1);
    invalidate(&f, "a");
    se__l1_home(f.map, one);
    load(&f, "a", 1);
    unpin(one);
    cr_assert_eq(shown(&f, "a"), 1);
}

Test(flight, a_drained_item_does_not_end_the_flight_of_a_newer_one)
{
    se_item *two = put_and_take("a", 2), *one = make_item("a", 1, 10);
    se__l1_home(f.map, one);
    cr_assert_eq(stats_of(&f).dirty_items, 1);
    se__l1_home(f.map, two);
    cr_assert_eq(stats_of(&f).dirty_items, 0);
    unpin(two);
    se_item_release(one);
}

Test(flight, events_of_unknown_ids_change_nothing)
{
    se_item *item = make_item("nobody", 1, 10);
    se__l1_home(f.map, item);
    se__l1_unpin(f.map, item);
    se__l1_lost(f.map, item);
    cr_assert_not(se__l1_requeue(f.map, item, 1));
    cr_assert_not(se__l1_bury(f.map, item));
    cr_assert_eq(f.queued, 0);
    se_item_release(item);
}

Test(flight, a_clean_put_is_clean_at_once)
{
    put_clean(&f, "a", 1, 10);
    cr_assert_eq(f.queued, 0);
    cr_assert_eq(stats_of(&f).dirty_items, 0);
    evict_all();
    cr_assert_eq(shown(&f, "a"), 0);
}

/* ---- loads of what is on its way here ---- */

/* A reader may find a write in the WAL before its writer has put it here: clean copies are not
 * flushed, and the put must be. */
Test(flight, a_put_of_what_was_loaded_already_is_queued)
{
    se_item *item = put_and_take("c", 4);
    load(&f, "c", 5); /* in flight with the older one: nobody would send the newer one after it */
    cr_assert_eq(put(&f, "c", 5).stored, L1_STORED);
    cr_assert_eq(f.queued, 1);
    unpin(item);
    load(&f, "a", 5);
    struct l1_put_result r = put(&f, "a", 5);
    cr_assert(r.stored == L1_STORED && !r.superseded);
    cr_assert_eq(f.queued, 2);
    put(&f, "b", 4);
    load(&f, "b", 5); /* queued with the older one: the newer one goes in its place */
    r = put(&f, "b", 5);
    cr_assert(r.stored == L1_STORED && r.superseded);
    cr_assert_eq(f.queued, 3);
    cr_assert_eq(stats_of(&f).dirty_items, 3);
    cr_assert_eq(put(&f, "c", 5).stored, L1_STALE, "the same put again");
}

/* ---- expectations ---- */

static struct l1_put_result put_expecting(uint64_t version, uint64_t expected)
{
    struct l1_put how = {.dirty = true, .expect = L1_EXPECT_VERSION, .expected_version = expected};
    se_item *item = make_item("a", version, 1);
    struct l1_put_result r = put_item(&f, item, &how);
    se_item_release(item);
    return r;
}

static struct l1_put_result put_late(uint64_t version)
{
    struct l1_put how = {.dirty = true, .renewable = true};
    se_item *item = make_item("a", version, 1);
    struct l1_put_result r = put_item(&f, item, &how);
    se_item_release(item);
    return r;
}

/* 20 took its version before 30 and 40, which have never seen it: it must not vanish behind
 * them. What 10 has replaced may. */
Test(flight, a_put_that_a_conditional_one_has_overlooked_is_renewed)
{
    put(&f, "a", 10);
    cr_assert_eq(put_expecting(30, 10).stored, L1_STORED);
    cr_assert_eq(put_expecting(40, 30).stored, L1_STORED);
    struct l1_put_result r = put_late(20);
    cr_assert(r.stored == L1_STALE && r.renew && r.winner == 40);
    r = put_late(9);
    cr_assert(r.stored == L1_STALE && !r.renew);
    cr_assert_eq(load(&f, "a", 40), 40, "the same again changes nothing");
    r = put_late(20);
    cr_assert(r.stored == L1_STALE && r.renew && r.winner == 40);
    r = put_late(50);
    cr_assert(r.stored == L1_STORED && !r.renew);
    r = put_late(45);
    cr_assert(r.stored == L1_STALE && !r.renew, "50 was put without an expectation: it supersedes");
    check_account(&f);
}

Test(flight, an_overlooked_put_is_renewed_even_after_the_conditional_one_was_loaded_again)
{
    put(&f, "a", 10);
    put_expecting(30, 10);
    se_item *item = fixture_take(&f, NULL);
    se__l1_home(f.map, item);
    se__l1_unpin(f.map, item);
    se_item_release(item);
    invalidate(&f, "a");
    cr_assert_eq(load(&f, "a", 30), 30);
    struct l1_put_result r = put_late(20);
    cr_assert(r.stored == L1_STALE && r.renew && r.winner == 30);
    cr_assert_eq(put_expecting(40, 30).stored,
                 L1_STORED); /* on what was loaded: 20 is not in this one either */
    r = put_late(20);
    cr_assert(r.stored == L1_STALE && r.renew && r.winner == 40);
}
