/*
 * Flush states that nothing needs: kept for the puts to come, counted while they are in the depot, in
 * nobody's way who needs room, and given back when nobody has needed them for a while.
 *
 * AddressSanitizer is to see uses after the free, so nothing is kept under it (depot.max is 0).
 */
#include "map_fixture.h"

#include <stdio.h>

TestSuite(spares);

static struct fixture f;

enum { IDS = 100, LATER_MS = 100000 };

static bool keeps(void)
{
    return f.map->depot.max > 0;
}

/* So many ids become dirty, and then all of them are home. */
static void burst(uint64_t version)
{
    char id[16];
    for (unsigned i = 0; i < IDS; i++) {
        snprintf(id, sizeof id, "id%u", i);
        (void)put(&f, id, version);
    }
    for (se_item *item; (item = fixture_take(&f, NULL));) {
        se__l1_home(f.map, item);
        se__l1_unpin(f.map, item);
        se_item_release(item);
    }
    se__l1_tend(f.map, 0, 0); /* what is retired is free */
}

Test(spares, serve_the_next_puts_and_malloc_is_not_asked)
{
    fixture_open(&f, 4 * MIB, false);
    burst(1);
    se_item *items[IDS];
    char id[16];
    for (unsigned i = 0; i < IDS; i++) {
        snprintf(id, sizeof id, "id%u", i);
        items[i] = make_item(id, 2, 10);
    }
    if (keeps())
        (void)se__mem_fail_after(0);
    for (unsigned i = 0; i < IDS / 2; i++)
        (void)put_item(&f, items[i], &(struct l1_put){.dirty = true});
    (void)se__mem_fail_after(-1);
    for (unsigned i = 0; i < IDS; i++)
        se_item_release(items[i]);
    check_account(&f);
    fixture_close(&f);
}

Test(spares, in_the_depot_are_used_bytes)
{
    fixture_open(&f, 4 * MIB, false);
    burst(1);
    size_t depot = se__depot_bytes(&f.map->depot);
    cr_assert(!keeps() || depot >= (IDS - 2 * SPARES) * se__alloc_cost(sizeof(struct flush_state)));
    check_account(&f);
    for (uint64_t version = 2; version < 20; version++)
        burst(version);
    cr_assert_eq(se__depot_bytes(&f.map->depot), depot, "they go round");
    check_account(&f);
    fixture_close(&f);
}

Test(spares, are_no_more_than_a_share_of_the_bound)
{
    fixture_open(&f, 128 * 1024, false);
    burst(1);
    cr_assert_leq(se__depot_bytes(&f.map->depot), 128u * 1024 / 64);
    check_account(&f);
    fixture_close(&f);
}

Test(spares, leave_before_anything_is_evicted)
{
    struct l1_ticket ticket;
    fixture_open(&f, 4 * MIB, false);
    burst(1);
    size_t depot = se__depot_bytes(&f.map->depot), items = stats_of(&f).items;
    cr_assert(!keeps() || depot > 0);
    size_t all = 4 * MIB - stats_of(&f).bytes + depot;
    cr_assert_eq(
        se__l1_prepare(f.map, 1, all - se__alloc_cost(sizeof(struct flush_state)), &ticket), SE_OK);
    cr_assert_eq(se__depot_bytes(&f.map->depot), 0u);
    cr_assert_eq(stats_of(&f).items, items);
    cr_assert_eq(stats_of(&f).bytes, 4 * MIB);
    se__l1_cancel(f.map, &ticket);
    check_account(&f);
    fixture_close(&f);
}

Test(spares, go_back_when_nobody_has_needed_them)
{
    fixture_open(&f, 4 * MIB, false);
    burst(1);
    size_t depot = se__depot_bytes(&f.map->depot);
    se__l1_tend(f.map, 0, LATER_MS); /* since the last look they came: they were needed */
    cr_assert_eq(se__depot_bytes(&f.map->depot), depot);
    burst(2);
    se__l1_tend(f.map, 0, LATER_MS + 1); /* not yet time */
    cr_assert_eq(se__depot_bytes(&f.map->depot), depot);
    se__l1_tend(f.map, 0, 2 * LATER_MS); /* but in between nearly all of them were taken */
    cr_assert(!keeps() || se__depot_bytes(&f.map->depot) > 0);
    se__l1_tend(f.map, 0, 3 * LATER_MS);
    cr_assert_eq(se__depot_bytes(&f.map->depot), 0u);
    check_account(&f);
    fixture_close(&f);
}

/* A thread that is stopped while it has the turn stops nobody. */
Test(spares, who_does_not_get_the_turn_goes_to_malloc)
{
    fixture_open(&f, 4 * MIB, false);
    burst(1);
    struct account *a = se__l1_account(f.map);
    unsigned n = a->spares_n;
    size_t depot = se__depot_bytes(&f.map->depot);
    atomic_store(&a->spares_taken, true);
    burst(2);
    cr_assert_eq(a->spares_n, n);
    cr_assert_eq(se__depot_bytes(&f.map->depot), depot);
    atomic_store(&a->spares_taken, false);
    check_account(&f);
    fixture_close(&f);
}

static void *write_and_flush(void *arg)
{
    char id[16];
    unsigned which = *(const unsigned *)arg;
    for (uint64_t version = 1; version < 3000; version++) {
        struct l1_ticket ticket;
        struct l1_put_result r;
        snprintf(id, sizeof id, "id%u", which * IDS + (unsigned)(version % IDS));
        se_item *item = make_item(id, version, 10);
        if (se__l1_prepare(f.map, strlen(id), se__item_size(item), &ticket) == SE_OK)
            se__l1_put(f.map, hash_of(&f, id), item, &ticket, &(struct l1_put){.dirty = true}, &r);
        se_item_release(item);
    }
    return NULL;
}

static atomic_bool writing;

static void *take_home(void *arg)
{
    (void)arg;
    for (bool last = false; !last;) {
        last = !atomic_load(&writing);
        for (se_item *item; (item = fixture_take(&f, NULL));) {
            se__l1_home(f.map, item);
            se__l1_unpin(f.map, item);
            se_item_release(item);
        }
    }
    return NULL;
}

Test(spares, go_from_one_thread_to_others)
{
    fixture_open(&f, 4 * MIB, false);
    pthread_t home, writers[3];
    unsigned which[3] = {0, 1, 2};
    atomic_store(&writing, true);
    cr_assert_eq(pthread_create(&home, NULL, take_home, NULL), 0);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(pthread_create(&writers[i], NULL, write_and_flush, &which[i]), 0);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(writers[i], NULL);
    atomic_store(&writing, false);
    pthread_join(home, NULL);
    cr_assert_eq(stats_of(&f).dirty_items, 0);
    cr_assert_eq(stats_of(&f).items, 3 * IDS);
    check_account(&f);
    fixture_close(&f);
}
