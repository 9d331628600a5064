/*
 * What a put replaces, until it is free: in its account's limbo or in the stripe's, its bytes used
 * meanwhile, in nobody's way who needs room, and never freed under a reader or a caller.
 */
#include "map_fixture.h"

static struct fixture f;

static struct account *mine(void)
{
    return se__l1_account(f.map);
}

/* n more puts of one id, each replacing the one before. */
static void replace(const char *id, uint64_t version, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        put_clean(&f, id, version + i, 500);
}

Test(limbo, what_is_replaced_is_used_until_it_is_free)
{
    fixture_open(&f, MIB, false);
    put_clean(&f, "a", 1, 500);
    size_t before = stats_of(&f).bytes;
    replace("a", 2, 3);
    cr_assert_eq(mine()->limbo_n, 3);
    cr_assert_eq(stats_of(&f).bytes, before + mine()->limbo_bytes);
    check_account(&f);
    replace("a", 5, 3);
    cr_assert_eq(mine()->limbo_n, 0, "six are freed together");
    cr_assert_eq(stats_of(&f).bytes, before);
    check_account(&f);
    fixture_close(&f);
}

Test(limbo, a_large_item_is_not_kept_waiting)
{
    fixture_open(&f, MIB, false);
    put_clean(&f, "a", 1, 100000);
    put_clean(&f, "a", 2, 500);
    cr_assert_eq(mine()->limbo_n, 0);
    check_account(&f);
    fixture_close(&f);
}

Test(limbo, nothing_is_freed_under_a_reader)
{
    fixture_open(&f, MIB, false);
    put_clean(&f, "a", 1, 500);
    struct epoch_place inside = se__epoch_enter(&f.map->epochs);
    replace("a", 2, 20);
    cr_assert_eq(mine()->limbo_n, ACCOUNT_LIMBO, "the rest is in the stripe's");
    check_account(&f);
    cr_assert_eq(se_item_version((se_item *)mine()->limbo[0].what), 1);
    se__epoch_leave(inside);
    se__l1_tend(f.map, 0, 0);
    cr_assert_eq(mine()->limbo_n, 0);
    check_account(&f);
    fixture_close(&f);
}

/* The reader saw it before it was replaced, and takes its reference afterwards. */
Test(limbo, an_item_that_a_reader_holds_at_last_is_its_own_and_counted_apart)
{
    fixture_open(&f, MIB, false);
    put_clean(&f, "a", 1, 500);
    se_item *seen = se__l1_get(f.map, hash_of(&f, "a"), "a", 1);
    se_item_release(seen);
    struct epoch_place inside = se__epoch_enter(&f.map->epochs);
    replace("a", 2, 1);
    se_item_retain(seen);
    se__epoch_leave(inside);
    replace("a", 3, 5);
    cr_assert_eq(mine()->limbo_n, 0);
    cr_assert_eq(stats_of(&f).detached_items, 1);
    check_account(&f);
    cr_assert_eq(se_item_version(seen), 1);
    se_item_release(seen);
    se__l1_tend(f.map, 0, 0);
    cr_assert_eq(stats_of(&f).detached_items, 0);
    check_account(&f);
    fixture_close(&f);
}

Test(limbo, what_a_caller_holds_is_the_stripes_to_look_after)
{
    fixture_open(&f, MIB, false);
    put_clean(&f, "a", 1, 500);
    se_item *held = se__l1_get(f.map, hash_of(&f, "a"), "a", 1);
    replace("a", 2, 1);
    cr_assert_eq(mine()->limbo_n, 0);
    cr_assert_eq(stats_of(&f).detached_items, 1);
    check_account(&f);
    se_item_release(held);
    fixture_close(&f);
}

Test(limbo, who_does_not_get_the_turn_leaves_it_to_the_stripe)
{
    fixture_open(&f, MIB, false);
    put_clean(&f, "a", 1, 500);
    cr_assert(se__account_begin(f.map, mine()));
    cr_assert_not(se__account_begin(f.map, mine()));
    replace("a", 2, 3);
    cr_assert_eq(mine()->limbo_n, 0);
    check_account(&f);
    se__l1_unreserve(f.map, se__account_end(f.map, mine(), NULL));
    replace("a", 5, 3);
    cr_assert_eq(mine()->limbo_n, 3);
    check_account(&f);
    fixture_close(&f);
}

/* All of the bound can be used: a ticket for everything but what is shown takes it out of there. */
Test(limbo, who_needs_room_gets_it)
{
    struct l1_ticket ticket;
    fixture_open(&f, MIB, false);
    put(&f, "a", 1);
    for (uint64_t v = 2; v < 7; v++)
        put(&f, "a", v);
    cr_assert_eq(mine()->limbo_n, 5);
    size_t all = MIB - stats_of(&f).bytes + mine()->limbo_bytes;
    cr_assert_eq(se__l1_prepare(f.map, 1, all - se__alloc_cost(sizeof(struct flush_state)), &ticket),
                 SE_OK);
    cr_assert_eq(mine()->limbo_n, 0);
    cr_assert_eq(stats_of(&f).bytes, MIB);
    se__l1_cancel(f.map, &ticket);
    check_account(&f);
    fixture_close(&f);
}

Test(limbo, an_item_that_is_given_away_is_the_maps_alone)
{
    struct l1_ticket ticket;
    struct l1_put_result result;
    fixture_open(&f, MIB, false);
    se_item *item = make_item("a", 1, 500);
    cr_assert_eq(se__l1_prepare(f.map, 1, se__item_size(item), &ticket), SE_OK);
    se__l1_put(f.map, hash_of(&f, "a"), item, &ticket,
               &(struct l1_put){.dirty = true, .gives = true}, &result);
    cr_assert_eq(result.stored, L1_STORED);
    cr_assert_eq(se__item_refs(item), 1);
    se_item *late = make_item("a", 0, 500); /* older: not stored, so not given either */
    cr_assert_eq(put_item(&f, late, &(struct l1_put){.dirty = true, .gives = true}).stored,
                 L1_STALE);
    cr_assert_eq(se__item_refs(late), 1);
    se_item_release(late);
    check_account(&f);
    fixture_close(&f);
}
