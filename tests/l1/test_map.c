/*
 * Tests of src/l1/map.c and read.c: puts, expectations, tickets, reads, collecting, want of memory. Puts that come late are in
 * test_late.c, loads in test_loads.c.
 */
#include "map_fixture.h"

#include <stdio.h>
#include <string.h>

Test(map, shows_what_was_put)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    cr_assert_eq(shown(&f, "a"), 0);
    cr_assert_eq(put(&f, "a", 7).stored, L1_STORED);
    cr_assert_eq(shown(&f, "a"), 7);
    cr_assert_eq(shown(&f, "A"), 0);
    cr_assert_eq(shown(&f, "a "), 0);
    check_account(&f);
    fixture_close(&f);
}

Test(map, never_goes_back_to_an_older_item)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    put(&f, "a", 7);
    struct l1_put_result r = put(&f, "a", 6);
    cr_assert_eq(r.stored, L1_STALE);
    cr_assert_eq(r.winner, 7);
    cr_assert(r.winner_dirty);
    cr_assert_eq(put(&f, "a", 7).stored, L1_STALE, "the same item again");
    cr_assert_eq(shown(&f, "a"), 7);
    cr_assert_eq(put(&f, "a", 8).stored, L1_STORED);
    cr_assert_eq(shown(&f, "a"), 8);
    check_account(&f);
    fixture_close(&f);
}

Test(map, equal_versions_are_ordered_by_record_hash)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    se_item *one = make_item("a", 7, 10), *two = make_item("a", 7, 11);
    bool two_wins = se__item_compare(two, one) > 0;
    struct l1_put how = {.dirty = true};
    put_item(&f, one, &how);
    cr_assert_eq(put_item(&f, two, &how).stored, two_wins ? L1_STORED : L1_STALE);
    cr_assert_eq(put_item(&f, one, &how).stored, L1_STALE);
    se_item_release(one);
    se_item_release(two);
    fixture_close(&f);
}

Test(map, a_dirty_id_is_queued_once)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    cr_assert_not(put(&f, "a", 1).superseded);
    uint64_t first_ms = f.front->first_ms;
    cr_assert(put(&f, "a", 2).superseded);
    cr_assert(put(&f, "a", 3).superseded);
    cr_assert_eq(f.queued, 1);
    cr_assert_eq(f.front->first_ms, first_ms, "coalescing must not make it younger");
    se_item *item = fixture_take(&f, NULL);
    cr_assert_eq(se_item_version(item), 3, "the newest is what is flushed");
    cr_assert_not(put(&f, "a", 4).superseded, "3 is in flight, it will be flushed");
    cr_assert_eq(f.queued, 1);
    se_item_release(item);
    fixture_close(&f);
}

Test(map, expects_absent)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    struct l1_put how = {.dirty = true, .expect = L1_EXPECT_ABSENT, .now_wall_ms = 1000};
    se_item *item = make_item("a", 5, 1);
    cr_assert_eq(put_item(&f, item, &how).stored, L1_STORED);
    se_item_release(item);
    item = make_item("a", 6, 1);
    struct l1_put_result r = put_item(&f, item, &how);
    cr_assert_eq(r.stored, L1_CONFLICT);
    cr_assert_eq(r.winner, 5);
    se_item_release(item);
    se_item *tombstone = make_tombstone("a", 7);
    put_item(&f, tombstone, &(struct l1_put){.dirty = true});
    se_item_release(tombstone);
    item = make_item("a", 8, 1);
    cr_assert_eq(put_item(&f, item, &how).stored, L1_STORED, "a tombstone is absence");
    se_item_release(item);
    check_account(&f);
    fixture_close(&f);
}

Test(map, an_expectation_without_an_entry_holds_for_its_epoch_only)
{
    static const enum l1_expect expectations[] = {L1_EXPECT_ABSENT, L1_EXPECT_VERSION};
    struct fixture f;
    fixture_open(&f, MIB, false);
    for (uint64_t i = 0; i < 2; i++) {
        struct l1_put how = {.dirty = true, .expect = expectations[i], .expected_version = 3};
        how.expected_epoch = se__l1_epoch(f.map, hash_of(&f, "a"));
        written_and_evicted(&f, 10 + i); /* since the read that the put is based on */
        se_item *item = make_item("a", 100 + i, 1);
        cr_assert_eq(put_item(&f, item, &how).stored, L1_CONFLICT);
        how.expected_epoch = se__l1_epoch(f.map, hash_of(&f, "a"));
        cr_assert_eq(put_item(&f, item, &how).stored, L1_STORED);
        se_item_release(item);
        se_item *taken = fixture_take(&f, NULL);
        se__l1_home(f.map, taken);
        se__l1_unpin(f.map, taken);
        se_item_release(taken);
        invalidate(&f, "a");
    }
    check_account(&f);
    fixture_close(&f);
}

Test(map, an_expired_item_is_absent)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    struct item_spec spec = {.id = "a", .id_len = 1, .version = 5, .expires_at_ms = 500};
    se_item *mortal = se__item_new(&spec), *next = make_item("a", 6, 1);
    put_item(&f, mortal, &(struct l1_put){.dirty = true});
    struct l1_put how = {.dirty = true, .expect = L1_EXPECT_ABSENT, .now_wall_ms = 499};
    cr_assert_eq(put_item(&f, next, &how).stored, L1_CONFLICT);
    how.now_wall_ms = 500;
    cr_assert_eq(put_item(&f, next, &how).stored, L1_STORED);
    se_item_release(mortal);
    se_item_release(next);
    fixture_close(&f);
}

Test(map, expects_a_version)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    struct l1_put how = {.dirty = true, .expect = L1_EXPECT_VERSION, .expected_version = 5};
    se_item *item = make_item("a", 9, 1);
    cr_assert_eq(put_item(&f, item, &how).stored, L1_STORED, "no entry");
    se_item_release(item);
    item = make_item("a", 10, 1);
    struct l1_put_result r = put_item(&f, item, &how);
    cr_assert_eq(r.stored, L1_CONFLICT);
    cr_assert_eq(r.winner, 9);
    how.expected_version = 9;
    cr_assert_eq(put_item(&f, item, &how).stored, L1_STORED);
    se_item_release(item);
    fixture_close(&f);
}

Test(map, a_cancelled_ticket_leaves_nothing)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    struct l1_stats before = stats_of(&f);
    struct l1_ticket ticket;
    cr_assert_eq(se__l1_prepare(f.map, 1, 5000, &ticket), SE_OK);
    cr_assert(stats_of(&f).bytes >= before.bytes + 5000);
    cr_assert(stats_of(&f).unevictable_bytes >= 5000, "a reservation cannot be evicted");
    se__l1_cancel(f.map, &ticket);
    cr_assert_eq(stats_of(&f).bytes, before.bytes);
    cr_assert_eq(stats_of(&f).unevictable_bytes, 0);
    fixture_close(&f);
}

Test(map, a_refused_put_leaves_nothing)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    put(&f, "a", 7);
    struct l1_stats before = stats_of(&f);
    put(&f, "a", 6);
    struct l1_stats after = stats_of(&f);
    cr_assert_eq(after.bytes, before.bytes);
    cr_assert_eq(after.unevictable_bytes, before.unevictable_bytes);
    check_account(&f);
    fixture_close(&f);
}

Test(map, what_can_never_fit_is_too_big)
{
    struct fixture f;
    fixture_open(&f, 64 * 1024, false);
    struct l1_ticket ticket;
    cr_assert_eq(se__l1_prepare(f.map, 1, 64 * 1024, &ticket), SE_ERR_TOO_BIG);
    cr_assert_eq(se__l1_prepare(f.map, 1, SIZE_MAX, &ticket), SE_ERR_TOO_BIG);
    cr_assert_eq(se__l1_prepare(f.map, 1, SIZE_MAX - 100, &ticket), SE_ERR_TOO_BIG);
    check_account(&f);
    fixture_close(&f);
}

Test(map, a_map_too_small_for_itself_is_a_config_error)
{
    struct l1 *map = NULL;
    struct l1_options options = {.bytes_max = 100};
    cr_assert_eq(se__l1_open(&options, &map), SE_ERR_CONFIG);
    cr_assert_null(map);
}

Test(map, grows_and_finds_everything_meanwhile)
{
    struct fixture f;
    fixture_open(&f, 64 * MIB, false);
    char id[16];
    for (unsigned i = 1; i <= 20000; i++) {
        snprintf(id, sizeof id, "id%u", i);
        put_clean(&f, id, i, 1);
        snprintf(id, sizeof id, "id%u", i / 2 + 1);
        cr_assert_eq(shown(&f, id), i / 2 + 1);
    }
    for (unsigned i = 1; i <= 20000; i++) {
        snprintf(id, sizeof id, "id%u", i);
        cr_assert_eq(shown(&f, id), i);
    }
    cr_assert_eq(stats_of(&f).items, 20000);
    cr_assert(se__stripe_table(&f.map->stripes[0])->buckets > 20, "the table has grown");
    check_account(&f);
    se__l1_invalidate_prefix(f.map, "");
    cr_assert_eq(stats_of(&f).items, 0);
    check_account(&f);
    fixture_close(&f);
}

Test(map, copies_without_a_reference)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    struct l1_copy copy;
    static const size_t lengths[] = {0, 1, 100, 1024, 1025, 50000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        static char buffer[60000];
        memset(buffer, 'x', sizeof buffer);
        put_clean(&f, "a", i + 1, lengths[i]);
        cr_assert(se__l1_get_copy(f.map, hash_of(&f, "a"), "a", 1, buffer, sizeof buffer, &copy));
        cr_assert_eq(copy.len, lengths[i]);
        cr_assert_not(copy.deleted || copy.expires_at_ms);
        for (size_t b = 0; b < sizeof buffer; b++)
            cr_assert_eq(buffer[b], b < lengths[i] ? 0 : 'x');
    }
    char small[4];
    memset(small, 'x', sizeof small);
    cr_assert(se__l1_get_copy(f.map, hash_of(&f, "a"), "a", 1, small, 3, &copy));
    cr_assert_eq(copy.len, 50000, "the full length");
    cr_assert_eq(small[2], 0);
    cr_assert_eq(small[3], 'x', "not past cap");
    cr_assert_not(se__l1_get_copy(f.map, hash_of(&f, "b"), "b", 1, small, 3, &copy));
    fixture_close(&f);
}

Test(map, a_copy_says_deleted_and_when_it_expires)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    struct l1_copy copy;
    struct item_spec spec = {.id = "a", .id_len = 1, .version = 5, .expires_at_ms = 500};
    se_item *mortal = se__item_new(&spec), *tombstone = make_tombstone("b", 6);
    put_item(&f, mortal, &(struct l1_put){0});
    put_item(&f, tombstone, &(struct l1_put){0});
    cr_assert(se__l1_get_copy(f.map, hash_of(&f, "a"), "a", 1, NULL, 0, &copy));
    cr_assert(!copy.deleted && copy.expires_at_ms == 500);
    cr_assert(se__l1_get_copy(f.map, hash_of(&f, "b"), "b", 1, NULL, 0, &copy));
    cr_assert(copy.deleted);
    cr_assert_eq(stats_of(&f).items, 1, "a tombstone is no live item");
    se_item_release(mortal);
    se_item_release(tombstone);
    fixture_close(&f);
}

Test(map, looks_without_taking)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    struct l1_view view;
    cr_assert_not(se__l1_look(f.map, hash_of(&f, "a"), "a", 1, &view));
    put(&f, "a", 7);
    cr_assert(se__l1_look(f.map, hash_of(&f, "a"), "a", 1, &view));
    cr_assert(view.version == 7 && view.dirty && !view.dead && !view.deleted);
    se_item *item = fixture_take(&f, NULL);
    cr_assert(se__l1_look(f.map, hash_of(&f, "a"), "a", 1, &view) && view.dirty);
    se__l1_home(f.map, item);
    cr_assert(se__l1_look(f.map, hash_of(&f, "a"), "a", 1, &view) && !view.dirty);
    se__l1_unpin(f.map, item);
    se_item_release(item);
    fixture_close(&f);
}

static bool has_prefix_u(void *arg, const se_item *item)
{
    (void)arg;
    return se_item_id(item)[0] == 'u';
}

Test(map, collects_matching_items)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    se_item **items;
    size_t n;
    put(&f, "u1", 1);
    put(&f, "v1", 2);
    load(&f, "u2", 3);
    cr_assert_eq(se__l1_collect(f.map, false, has_prefix_u, NULL, &items, &n), SE_OK);
    cr_assert_eq(n, 2);
    for (size_t i = 0; i < n; i++)
        se_item_release(items[i]);
    se__free(items);
    cr_assert_eq(se__l1_collect(f.map, true, has_prefix_u, NULL, &items, &n), SE_OK);
    cr_assert_eq(n, 1);
    cr_assert_str_eq(se_item_id(items[0]), "u1");
    se_item_release(items[0]);
    se__free(items);
    fixture_close(&f);
}

Test(map, survives_every_failing_allocation)
{
    struct fixture f;
    fixture_open(&f, 4 * MIB, false);
    if (!se__mem_fail_after(0)) { /* not in release builds */
        fixture_close(&f);
        return;
    }
    se__mem_fail_after(-1);
    char id[16];
    unsigned refused = 0;
    for (unsigned i = 1; i <= 3000; i++) {
        snprintf(id, sizeof id, "id%u", i);
        se_item *item = make_item(id, i, 10);
        struct l1_ticket ticket;
        struct l1_put_result result;
        se__mem_fail_after(i % 2); /* 0: no ticket; 1: a ticket, and no bigger table */
        if (se__l1_prepare(f.map, strlen(id), se__item_size(item), &ticket) == SE_OK)
            se__l1_put(f.map, hash_of(&f, id), item, &ticket, &(struct l1_put){.dirty = true},
                       &result);
        else
            refused++;
        se__mem_fail_after(-1);
        se_item_release(item);
    }
    cr_assert_eq(refused, 1500);
    cr_assert_eq(se__stripe_table(&f.map->stripes[0])->buckets, 1,
                 "growing failed, and nothing else did");
    cr_assert_eq(stats_of(&f).dirty_items, 1500);
    check_account(&f);
    for (unsigned i = 1; i <= 3000; i++) {
        snprintf(id, sizeof id, "id%u", i);
        cr_assert_eq(shown(&f, id), i % 2 ? i : 0);
    }
    se_item **items;
    size_t n;
    se__mem_fail_after(0);
    cr_assert_eq(se__l1_collect(f.map, false, has_prefix_u, NULL, &items, &n), SE_OK,
                 "none matches");
    se__mem_fail_after(-1);
    fixture_close(&f);
}

static bool any(void *arg, const se_item *item)
{
    (void)arg;
    (void)item;
    return true;
}

Test(map, collecting_without_memory_holds_no_reference)
{
    struct fixture f;
    fixture_open(&f, 4 * MIB, false);
    char id[16];
    for (unsigned i = 1; i <= 200; i++) {
        snprintf(id, sizeof id, "id%u", i);
        put(&f, id, i);
    }
    se_item **items;
    size_t n;
    for (int allowed = 0; se__mem_fail_after(allowed) && allowed < 2; allowed++)
        cr_assert_eq(se__l1_collect(f.map, false, any, NULL, &items, &n), SE_ERR_NOMEM);
    se__mem_fail_after(-1);
    se_item *item = se__l1_get(f.map, hash_of(&f, "id1"), "id1", 3);
    cr_assert_eq(se__item_refs(item), 2);
    se_item_release(item);
    fixture_close(&f);
}

Test(map, opening_without_memory_leaves_nothing)
{
    struct l1_options options = {.bytes_max = 8 * MIB};
    struct l1 *map = NULL;
    for (int allowed = 0; se__mem_fail_after(allowed); allowed++) {
        se_result r = se__l1_open(&options, &map);
        if (r == SE_OK) {
            cr_assert_gt(allowed, 3);
            break;
        }
        cr_assert_eq(r, SE_ERR_NOMEM);
        cr_assert_null(map);
    }
    se__mem_fail_after(-1);
    se__l1_close(map);
}
