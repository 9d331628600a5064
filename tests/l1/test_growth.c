/*
 * Tests of src/l1/table.c, stripe.c and room.c from outside: growing and shrinking while others
 * read, threads that come and go or hold items, exact memory with many writers, every allocation
 * failing in turn.
 */
#include "map_fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1024u * 1024)

static struct fixture f;
static atomic_uint loaded; /* ids below are in the map */
static atomic_bool stop;

static void put_number(unsigned i, size_t len, bool dirty)
{
    char id[16];
    struct l1_ticket ticket;
    struct l1_put_result r;
    snprintf(id, sizeof id, "id%u", i);
    se_item *item = make_item(id, i + 1, len);
    if (se__l1_prepare(f.map, strlen(id), se__item_size(item), &ticket) == SE_OK)
        se__l1_put(f.map, hash_of(&f, id), item, &ticket, &(struct l1_put){.dirty = dirty}, &r);
    se_item_release(item);
}

static void reader(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    char id[16], missing[16];
    while (!atomic_load(&stop)) {
        unsigned n = atomic_load(&loaded);
        if (n == 0)
            continue;
        snprintf(id, sizeof id, "id%u", (unsigned)(next_random(&random) % n));
        snprintf(missing, sizeof missing, "no%u", (unsigned)(next_random(&random) % n));
        if (shown(&f, id) == 0 || shown(&f, missing) != 0) {
            fprintf(stderr, "FAILED: %s of %u\n", id, n);
            abort();
        }
    }
}

static size_t table_bytes(void)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < 1u << f.map->stripe_bits; i++)
        bytes += se__stripe_table(&f.map->stripes[i])->cost;
    return bytes;
}

Test(growth, everything_is_found_while_tables_grow)
{
    struct se__thread threads[3] = {{0}};
    fixture_open(&f, 64 * MIB, true);
    atomic_store(&loaded, 0);
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < 3; i++)
        cr_assert_eq(se__thread_start(&threads[i], "reader", reader, (void *)(i + 1)), SE_OK);
    for (unsigned i = 0; i < 40000; i++) {
        put_number(i, 1, false);
        atomic_store(&loaded, i + 1);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++)
        se__thread_join(&threads[i]);
    check_account(&f);
    cr_assert_lt(table_bytes(), 40000 * 20, "15 bytes an entry");
    fixture_close(&f);
}

Test(growth, tables_shrink_after_most_has_gone)
{
    fixture_open(&f, 64 * MIB, false);
    for (unsigned i = 0; i < 30000; i++)
        put_number(i, 1, false);
    size_t full = table_bytes();
    se__l1_unreserve(f.map, se__l1_evict(f.map, stats_of(&f).bytes - full - 400 * 1024));
    for (int i = 0; i < 100; i++)
        se__l1_tend(f.map, 0, 0);
    cr_assert_lt(table_bytes(), full / 3);
    cr_assert_gt(stats_of(&f).items, 500);
    check_account(&f);
    se__l1_invalidate_prefix(f.map, "");
    for (int i = 0; i < 100; i++)
        se__l1_tend(f.map, 0, 0);
    cr_assert_lt(table_bytes(), full / 10);
    check_account(&f);
    fixture_close(&f);
}

/* Else a lookup that fails reads on and on, past buckets that were full once. How full a table would be
 * otherwise depends on where its growth has ended: so with several sizes. */
Test(growth, tables_where_as_much_leaves_as_comes_have_room)
{
    for (size_t len = 140; len < 300; len += 20) {
        fixture_open(&f, 4 * MIB, false);
        for (unsigned i = 0; i < 40000; i++)
            put_number(i, len, false);
        const struct table *t = se__stripe_table(&f.map->stripes[0]);
        unsigned passed = 0, slots = se__table_slots(t);
        for (uint32_t b = 0; b < t->buckets; b++)
            passed += atomic_load(&t->heads[b].passed) > 0;
        cr_assert_lt(t->used * 100, slots * 76, "%zu: %u of %u", len, t->used, slots);
        cr_assert_lt(passed * 3, t->buckets * 2, "%zu: %u of %u", len, passed, t->buckets);
        check_account(&f);
        fixture_close(&f);
    }
}

/* So have those of small maps; but what they remember of those that have left reaches no further. */
Test(growth, small_tables_where_as_much_leaves_as_comes_have_room_and_no_more_ghosts)
{
    for (size_t len = 300; len < 1000; len += 100) {
        fixture_open(&f, 512 * 1024, false);
        for (unsigned i = 0; i < 8000; i++)
            put_number(i, len, false);
        const struct table *t = se__stripe_table(&f.map->stripes[0]);
        unsigned slots = se__table_slots(t);
        cr_assert(t->buckets >= 32 && t->buckets < 256, "%u buckets", t->buckets);
        cr_assert_lt(t->used * 100, slots * 76, "%zu: %u of %u", len, t->used, slots);
        /* of 65 % the part that 83 % would have */
        cr_assert(t->haunted * 100 > t->buckets * 78 && t->haunted * 100 < t->buckets * 82,
                  "%zu: %u of %u", len, t->haunted, t->buckets);
        check_account(&f);
        fixture_close(&f);
    }
}

Test(growth, an_entry_costs_what_it_may)
{
    fixture_open(&f, 256 * MIB, true);
    size_t empty = stats_of(&f).bytes, n = 100000, ids = 0;
    char id[16];
    for (unsigned i = 0; i < n; i++) {
        put_number(i, 500, false);
        ids += (size_t)snprintf(id, sizeof id, "id%u", i);
    }
    size_t beside = stats_of(&f).bytes - empty - ids - n * 500;
    /* header and NUL 49, malloc's word and rounding 23 at most, and the table's share */
    cr_assert_lt(beside, n * 89, "%zu bytes an entry beside id and content", beside / n);
    cr_assert_lt(table_bytes(), n * 17, "%zu bytes of table an entry", table_bytes() / n);
    fixture_close(&f);
}

Test(growth, a_held_item_holds_up_no_other_memory)
{
    fixture_open(&f, MIB, false);
    put_number(0, 100, false);
    se_item *held = se__l1_get(f.map, hash_of(&f, "id0"), "id0", 3);
    for (unsigned i = 1; i < 20000; i++)
        put_number(i, 500, false);
    struct l1_stats stats = stats_of(&f);
    cr_assert_leq(stats.detached_items, 1);
    cr_assert_leq(stats.bytes, MIB);
    cr_assert_gt(stats.items, 1000);
    cr_assert_eq(se_item_version(held), 1);
    se_item_release(held);
    fixture_close(&f);
}

/* ---- many threads, exact memory ---- */

#define THREADS 16
#define PUTS 3000

static void mixed(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    se_item *held[8] = {NULL};
    for (unsigned n = 0; n < PUTS; n++) {
        uint64_t r = next_random(&random);
        char id[16];
        put_number((unsigned)(r % 4000), r >> 40 & 0x7ff, false);
        snprintf(id, sizeof id, "id%u", (unsigned)(r >> 20) % 4000);
        se_item **hold = &held[r % 8];
        se_item_release(*hold);
        *hold = se__l1_get(f.map, hash_of(&f, id), id, strlen(id));
        if (n % 16 == 0 && stats_of(&f).bytes > f.map->bytes_max)
            abort();
        if (n % 1024 == 0 && (uintptr_t)arg == 1) /* upkeep is one thread's */
            se__l1_tend(f.map, 0, se__mono_ms());
    }
    for (unsigned i = 0; i < 8; i++)
        se_item_release(held[i]);
}

static void run_mixed(unsigned threads, size_t bytes_max)
{
    struct se__thread t[THREADS] = {{0}};
    fixture_open(&f, bytes_max, false);
    size_t fixed = f.map->fixed_bytes;
    for (unsigned i = 0; i < threads; i++)
        cr_assert_eq(se__thread_start(&t[i], "mixed", mixed, (void *)(uintptr_t)(i + 1)), SE_OK);
    for (unsigned i = 0; i < threads; i++)
        se__thread_join(&t[i]);
    check_account(&f);
    cr_assert_gt(stats_of(&f).bytes, bytes_max / 2, "the room is used");
    se__l1_invalidate_prefix(f.map, "");
    for (int i = 0; i < 70; i++)
        se__l1_tend(f.map, 0, se__mono_ms());
    check_account(&f);
    struct l1_stats stats = stats_of(&f);
    cr_assert_eq(stats.items + stats.detached_items + stats.unevictable_bytes, 0);
    cr_assert_leq(stats.bytes, fixed + (table_bytes() - se__table_cost(1)), "nothing is left over");
    fixture_close(&f);
}

Test(growth, memory_is_exact_with_1_2_and_16_writers)
{
    run_mixed(1, 512 * 1024);
    run_mixed(2, 512 * 1024);
    run_mixed(THREADS, 512 * 1024);
    run_mixed(THREADS, 2 * MIB);
}

Test(growth, threads_come_and_go)
{
    fixture_open(&f, MIB, false);
    for (uintptr_t i = 0; i < 200; i++) {
        struct se__thread t = {0};
        for (unsigned k = 0; k < 20; k++)
            put_number((unsigned)i * 20 + k, 10, false);
        atomic_store(&stop, true);
        cr_assert_eq(se__thread_start(&t, "short", reader, (void *)i), SE_OK);
        se__thread_join(&t);
    }
    se__l1_tend(f.map, 0, se__mono_ms());
    check_account(&f);
    fixture_close(&f);
}

/* ---- without memory ---- */

static void flush_all(void)
{
    for (se_item *taken; (taken = fixture_take(&f, NULL));) {
        se__l1_home(f.map, taken);
        se__l1_unpin(f.map, taken);
        se_item_release(taken);
    }
}

/* Entries without a slot, and the table that takes them in, while others read. */
Test(growth, nothing_is_lost_from_sight_while_entries_get_their_slots)
{
    struct se__thread threads[2] = {{0}};
    if (!se__mem_fail_after(-1))
        return; /* not in release builds */
    for (unsigned round = 0; round < 60; round++) {
        fixture_open(&f, 64 * 1024, true); /* one stripe; nothing may leave */
        atomic_store(&loaded, 0);
        atomic_store(&stop, false);
        for (uintptr_t i = 0; i < 2; i++)
            cr_assert_eq(se__thread_start(&threads[i], "reader", reader, (void *)(i + 1)), SE_OK);
        for (unsigned i = 0; i < 100; i++) {
            char id[16];
            struct l1_ticket ticket;
            struct l1_put_result r;
            snprintf(id, sizeof id, "id%u", i);
            se_item *item = make_item(id, i + 1, 10);
            se__mem_fail_after(i % 50 == 49 ? -1 : 1); /* the ticket's, and no bigger table */
            cr_assert_eq(se__l1_prepare(f.map, strlen(id), se__item_size(item), &ticket), SE_OK);
            se__l1_put(f.map, hash_of(&f, id), item, &ticket, &(struct l1_put){.dirty = true}, &r);
            se__mem_fail_after(-1);
            se_item_release(item);
            atomic_store(&loaded, i + 1);
            if (i % 50 == 49) {
                f.map->stripes[0].resize_above = 0; /* as a sweep does */
                se__stripe_fit(f.map, &f.map->stripes[0]);
                cr_assert_eq(f.map->stripes[0].loose_entries, 0);
            }
        }
        atomic_store(&stop, true);
        for (unsigned i = 0; i < 2; i++)
            se__thread_join(&threads[i]);
        flush_all();
        check_account(&f);
        fixture_close(&f);
    }
}

/* Every allocation of one whole sequence fails, one after the other. */
#define WRITES 600u /* two thirds of their flush states serve the next one */
static bool sequence(int64_t allowed)
{
    char id[16];
    fixture_open(&f, 256 * 1024, false);
    se_item *items[WRITES];
    for (unsigned i = 0; i < WRITES; i++) {
        snprintf(id, sizeof id, "id%u", i % (WRITES - 20));
        items[i] = make_item(id, i + 1, 10);
    }
    unsigned put = 0;
    bool enough = true;
    se__mem_fail_after(allowed);
    for (unsigned i = 0; i < WRITES; i++) {
        const char *at = se_item_id(items[i]);
        struct l1_ticket ticket;
        struct l1_put_result r;
        if (se__l1_prepare(f.map, strlen(at), se__item_size(items[i]), &ticket) != SE_OK) {
            enough = false;
            continue;
        }
        se__l1_put(f.map, hash_of(&f, at), items[i], &ticket, &(struct l1_put){.dirty = i % 3 == 0},
                   &r);
        put += r.stored == L1_STORED;
        se_item *taken = i % 6 == 0 ? fixture_take(&f, NULL) : NULL;
        if (taken) {
            se__l1_home(f.map, taken);
            se__l1_unpin(f.map, taken);
            se_item_release(taken);
        }
    }
    se__mem_fail_after(-1);
    check_account(&f);
    for (unsigned i = 0; i < WRITES; i++) {
        uint64_t seen = shown(&f, se_item_id(items[i]));
        cr_assert(put < WRITES || seen >= i + 1);
        se_item_release(items[i]);
    }
    flush_all();
    se__l1_tend(f.map, 0, se__mono_ms()); /* what found no slot gets one, or has it already */
    check_account(&f);
    fixture_close(&f);
    return enough;
}

Test(growth, every_allocation_fails_in_turn)
{
    if (!se__mem_fail_after(-1))
        return; /* not in release builds */
    int64_t allowed = 0;
    while (!sequence(allowed))
        allowed++;
    cr_assert_gt(allowed, 100);
}

Test(growth, entries_without_a_slot_get_one_when_there_is_memory)
{
    if (!se__mem_fail_after(-1))
        return;
    fixture_open(&f, MIB, false);
    for (unsigned i = 0; i < 500; i++) {
        char id[16];
        struct l1_ticket ticket;
        struct l1_put_result r;
        snprintf(id, sizeof id, "id%u", i);
        se_item *item = make_item(id, i + 1, 10);
        se__mem_fail_after(1); /* the ticket's, and no bigger table */
        cr_assert_eq(se__l1_prepare(f.map, strlen(id), se__item_size(item), &ticket), SE_OK);
        se__l1_put(f.map, hash_of(&f, id), item, &ticket, &(struct l1_put){.dirty = true}, &r);
        se__mem_fail_after(-1);
        se_item_release(item);
    }
    size_t loose = 0;
    for (unsigned i = 0; i < 1u << f.map->stripe_bits; i++)
        loose += f.map->stripes[i].loose_entries;
    cr_assert_gt(loose, 400);
    flush_all();
    check_account(&f);
    for (unsigned i = 500; i < 1000; i++)
        put_number(i, 10, true);
    se__l1_tend(f.map, 0, 0);
    for (unsigned i = 0; i < 1u << f.map->stripe_bits; i++)
        cr_assert_eq(f.map->stripes[i].loose_entries, 0);
    unsigned there = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char id[16];
        snprintf(id, sizeof id, "id%u", i);
        there += shown(&f, id) == i + 1;
        cr_assert(i < 500 || shown(&f, id) == i + 1);
    }
    cr_assert_gt(there, 1000 - 4 * 8 - 1, "at most those in slots gave way to others");
    check_account(&f);
    fixture_close(&f);
}
