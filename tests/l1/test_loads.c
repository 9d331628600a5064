/*
 * Loads: what was read elsewhere is cached, unless something newer was here meanwhile.
 */
#include "map_fixture.h"

#include <stdio.h>

Test(loads, a_load_is_cached_clean)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    cr_assert_eq(load(&f, "a", 5), 5);
    cr_assert_eq(shown(&f, "a"), 5);
    cr_assert_eq(stats_of(&f).unevictable_bytes, 0);
    cr_assert_eq(load(&f, "a", 4), 5, "the newer of both");
    cr_assert_eq(load(&f, "a", 6), 6);
    cr_assert_eq(shown(&f, "a"), 6);
    check_account(&f);
    fixture_close(&f);
}

/* A load that read `stale` before `event` happened must not put it back. */
static void check_load_across(void (*event)(struct fixture *f), uint64_t handed_out, bool unchanged)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    se_item *stale = make_item("a", 5, 10);
    uint64_t epoch = se__l1_epoch(f.map, hash_of(&f, "a"));
    event(&f);
    bool same;
    uint64_t before = shown(&f, "a");
    se_item *newest = se__l1_promote(f.map, hash_of(&f, "a"), stale, epoch, &same);
    cr_assert_eq(same, unchanged);
    cr_assert_eq(se_item_version(newest), handed_out);
    cr_assert_eq(shown(&f, "a"), before);
    se_item_release(newest);
    se_item_release(stale);
    check_account(&f);
    fixture_close(&f);
}

static void written_and_still_there(struct fixture *f)
{
    put(f, "a", 9);
}

static void nine_written_and_evicted(struct fixture *f)
{
    written_and_evicted(f, 9);
}

static void deleted_and_evicted(struct fixture *f)
{
    se_item *tombstone = make_tombstone("a", 9);
    put_item(f, tombstone, &(struct l1_put){0});
    se_item_release(tombstone);
    se__l1_unreserve(f->map, se__l1_evict(f->map, 1));
}

static void written_overwritten_by_a_load_and_evicted(struct fixture *f)
{
    put_and_flush(f, "a", 9, 10);
    load(f, "a", 10);
    se__l1_unreserve(f->map, se__l1_evict(f->map, 1));
}

static void invalidated(struct fixture *f)
{
    invalidate(f, "a");
}

static void prefix_invalidated(struct fixture *f)
{
    se__l1_invalidate_prefix(f->map, "zzz");
}

static void lost_to_newer(struct fixture *f)
{
    put(f, "a", 6);
    se_item *item = fixture_take(f, NULL);
    se__l1_home(f->map, item);
    se__l1_lost(f->map, item);
    se__l1_unpin(f->map, item);
    se_item_release(item);
}

Test(loads, a_load_does_not_bring_back_what_was_replaced)
{
    check_load_across(written_and_still_there, 9, true);
    check_load_across(nine_written_and_evicted, 5, false);
    check_load_across(deleted_and_evicted, 5, false);
    check_load_across(written_overwritten_by_a_load_and_evicted, 5, false);
    check_load_across(invalidated, 5, false);
    check_load_across(prefix_invalidated, 5, false);
    check_load_across(lost_to_newer, 5, false);
}

/* 2 was handed out: 1, read before and slower, may not be shown after it. */
Test(loads, a_slower_load_does_not_come_behind_a_copy_that_has_left)
{
    struct fixture f;
    bool unchanged;
    fixture_open(&f, MIB, false);
    uint64_t hash = hash_of(&f, "a"), epoch = se__l1_epoch(f.map, hash);
    cr_assert_eq(load(&f, "a", 2), 2);
    se__l1_unreserve(f.map, se__l1_evict(f.map, SIZE_MAX));
    se_item *one = make_item("a", 1, 10);
    se_item_release(se__l1_promote(f.map, hash, one, epoch, &unchanged));
    cr_assert_not(unchanged);
    cr_assert_eq(shown(&f, "a"), 0);
    se_item_release(one);
    fixture_close(&f);
}

Test(loads, evicting_a_copy_disturbs_few_other_loads)
{
    enum { OTHERS = 2000 };
    struct fixture f;
    uint64_t epochs[OTHERS];
    unsigned disturbed = 0;
    char id[16];
    fixture_open(&f, MIB, false);
    cr_assert_eq(load(&f, "a", 5), 5);
    for (unsigned i = 0; i < OTHERS; i++) {
        snprintf(id, sizeof id, "id%u", i);
        epochs[i] = se__l1_epoch(f.map, hash_of(&f, id));
    }
    se__l1_unreserve(f.map, se__l1_evict(f.map, SIZE_MAX));
    for (unsigned i = 0; i < OTHERS; i++) {
        snprintf(id, sizeof id, "id%u", i);
        disturbed += se__l1_epoch(f.map, hash_of(&f, id)) != epochs[i];
    }
    cr_assert_leq(disturbed, OTHERS / 32, "%u of %u", disturbed, OTHERS); /* one in 64 */
    fixture_close(&f);
}

Test(loads, without_room_a_load_is_handed_out_uncached)
{
    struct fixture f;
    fixture_open(&f, 64 * 1024, false);
    struct l1_ticket ticket;
    cr_assert_eq(se__l1_prepare(f.map, 1, 40 * 1024, &ticket), SE_OK);
    se_item *big = make_item("a", 5, 40 * 1024);
    bool unchanged;
    se_item *got = se__l1_promote(f.map, hash_of(&f, "a"), big,
                                  se__l1_epoch(f.map, hash_of(&f, "a")), &unchanged);
    cr_assert_eq(got, big);
    cr_assert(unchanged);
    cr_assert_eq(shown(&f, "a"), 0);
    se__l1_cancel(f.map, &ticket);
    se_item_release(got);
    se_item_release(big);
    check_account(&f);
    fixture_close(&f);
}

Test(loads, without_room_a_newer_load_drops_the_older_copy)
{
    struct fixture f;
    fixture_open(&f, 64 * 1024, false);
    struct l1_ticket ticket;
    load(&f, "a", 5);
    cr_assert_eq(se__l1_prepare(f.map, 1, 40 * 1024, &ticket), SE_OK);
    se_item *newer = make_item("a", 6, 40 * 1024);
    bool unchanged;
    uint64_t epoch = se__l1_epoch(f.map, hash_of(&f, "a"));
    se_item_release(se__l1_promote(f.map, hash_of(&f, "a"), newer, epoch, &unchanged));
    cr_assert_eq(shown(&f, "a"), 0, "6 was handed out: 5 may not be shown after it");
    se_item_release(newer);
    se__l1_cancel(f.map, &ticket);
    check_account(&f);
    fixture_close(&f);
}

Test(loads, what_was_handed_out_is_not_followed_by_something_older)
{
    struct fixture f;
    bool unchanged;
    fixture_open(&f, MIB, false);
    uint64_t hash = hash_of(&f, "a"), epoch = se__l1_epoch(f.map, hash);
    cr_assert_eq(load(&f, "a", 1), 1); /* a slower load, of what was below before 2 */
    se__l1_invalidate_prefix(f.map, "somebody else's");
    cr_assert_eq(shown(&f, "a"), 1);
    se_item *two = make_item("a", 2, 20);
    se_item *newest = se__l1_promote(f.map, hash, two, epoch, &unchanged);
    cr_assert_not(unchanged);
    cr_assert_eq(se_item_version(newest), 2);
    cr_assert_eq(shown(&f, "a"), 0, "2 may be old by now, 1 is");
    se_item_release(newest);
    se_item_release(two);
    check_account(&f);
    fixture_close(&f);
}
