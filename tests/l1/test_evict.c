/*
 * Tests of src/l1/evict.c: the curve, whom the hand takes, the bound, lives, detached items, the
 * resident map.
 */
#include "map_fixture.h"

#include <stdio.h>
#include <string.h>

#define MIB (1024u * 1024)
#define KIB 1024u

static void fill(struct fixture *f, unsigned from, unsigned to, size_t len)
{
    char id[16];
    for (unsigned i = from; i < to; i++) {
        snprintf(id, sizeof id, "id%u", i);
        put_clean(f, id, i + 1, len);
    }
}

static unsigned count_shown(struct fixture *f, unsigned from, unsigned to)
{
    char id[16];
    unsigned n = 0;
    for (unsigned i = from; i < to; i++) {
        snprintf(id, sizeof id, "id%u", i);
        n += shown(f, id) != 0;
    }
    return n;
}

Test(evict, curve)
{
    static const struct {
        double p, m;
    } cases[] = {{0.0, 1.0},  {0.7499, 1.0},    {0.75, 1.0},  {0.765, 1.0}, {0.80, 0.691832},
                 {0.85, 0.5}, {0.90, 0.308168}, {0.935, 0.0}, {0.95, 0.0},  {0.9501, 0.0},
                 {1.0, 0.0},  {7.0, 0.0},       {-1.0, 1.0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_assert_float_eq(se__l1_curve(cases[i].p), cases[i].m, 1e-6, "p %g: %.9f", cases[i].p,
                           se__l1_curve(cases[i].p));
    for (double p = 0.0, last = 1.0; p < 1.1; p += 0.001) {
        double m = se__l1_curve(p);
        cr_assert(m >= 0.0 && m <= last, "never grows");
        last = m;
    }
}

Test(evict, never_exceeds_the_bound)
{
    struct fixture f;
    uint64_t random = 1;
    fixture_open(&f, 256 * KIB, false);
    char id[16];
    for (unsigned i = 1; i <= 20000; i++) {
        snprintf(id, sizeof id, "id%u", (unsigned)(next_random(&random) % 5000));
        se_item *item = make_item(id, i, next_random(&random) % 3000);
        put_item(&f, item, &(struct l1_put){0});
        se_item_release(item);
        struct l1_stats stats = stats_of(&f);
        cr_assert(stats.bytes <= 256 * KIB);
        cr_assert_neq(shown(&f, id), 0, "the newcomer is there");
    }
    cr_assert(stats_of(&f).bytes > 200 * KIB, "the room is used");
    cr_assert(se__metrics_sum(f.metrics, M_EVICTED_PRESSURE) > 1000);
    check_account(&f);
    fixture_close(&f);
}

Test(evict, other_stripes_give_way)
{
    struct fixture f;
    fixture_open(&f, 256 * KIB, false);
    fill(&f, 0, 1000, 100); /* full of small clean items in all stripes */
    se_item *big = make_item("big", 9999, 150 * KIB);
    cr_assert_eq(put_item(&f, big, &(struct l1_put){.dirty = true}).stored, L1_STORED);
    cr_assert_eq(shown(&f, "big"), 9999);
    se_item_release(big);
    check_account(&f);
    fixture_close(&f);
}

Test(evict, takes_what_was_not_hit)
{
    struct fixture f;
    fixture_open(&f, 1 * MIB, false);
    fill(&f, 0, 1000, 100);
    for (int times = 0; times < 2; times++)
        cr_assert_eq(count_shown(&f, 0, 100), 100); /* these are wanted */
    size_t quarter = stats_of(&f).bytes / 4;
    se__l1_unreserve(f.map, se__l1_evict(f.map, quarter));
    cr_assert_eq(count_shown(&f, 0, 100), 100, "what is wanted has a second chance");
    cr_assert_lt(count_shown(&f, 100, 1000), 850);
    se__l1_unreserve(f.map, se__l1_evict(f.map, SIZE_MAX));
    cr_assert_eq(count_shown(&f, 0, 1000), 0, "no endless life");
    check_account(&f);
    fixture_close(&f);
}

Test(evict, full_of_dirty_items_is_backpressure)
{
    struct fixture f;
    fixture_open(&f, 64 * KIB, false);
    struct l1_ticket ticket;
    char id[16];
    unsigned n = 0;
    size_t size = se__item_size_for(4, 0, 100);
    while (se__l1_prepare(f.map, 4, size, &ticket) == SE_OK) {
        snprintf(id, sizeof id, "%04u", ++n);
        se_item *item = make_item(id, n, 100);
        struct l1_put_result result;
        se__l1_put(f.map, hash_of(&f, id), item, &ticket, &(struct l1_put){.dirty = true}, &result);
        se_item_release(item);
    }
    cr_assert_gt(n, 100);
    struct l1_stats stats = stats_of(&f);
    cr_assert_eq(se__l1_prepare(f.map, 4, size, &ticket), SE_ERR_BACKPRESSURE);
    cr_assert_eq(stats_of(&f).bytes, stats.bytes, "a refusal changes nothing");
    cr_assert_eq(stats.dirty_items, n, "nothing that was accepted goes away");
    se_item *item = fixture_take(&f, NULL);
    se__l1_home(f.map, item);
    se__l1_unpin(f.map, item);
    se_item_release(item);
    cr_assert_eq(se__l1_prepare(f.map, 4, size, &ticket), SE_OK, "one is clean: there is room");
    se__l1_cancel(f.map, &ticket);
    check_account(&f);
    fixture_close(&f);
}

Test(evict, a_refused_reservation_returns_what_it_freed)
{
    struct fixture f;
    fixture_open(&f, 64 * KIB, false);
    struct l1_ticket pinned, ticket;
    cr_assert_eq(se__l1_prepare(f.map, 1, 30 * KIB, &pinned), SE_OK);
    fill(&f, 0, 20, 100);
    cr_assert_eq(se__l1_prepare(f.map, 1, 40 * KIB, &ticket), SE_ERR_BACKPRESSURE);
    se__l1_cancel(f.map, &pinned);
    check_account(&f);
    cr_assert_eq(se__l1_prepare(f.map, 1, 40 * KIB, &ticket), SE_OK);
    se__l1_cancel(f.map, &ticket);
    check_account(&f);
    fixture_close(&f);
}

/* ---- detached items ---- */

Test(evict, an_item_that_a_caller_holds_is_detached)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    size_t empty = stats_of(&f).bytes;
    put_and_flush(&f, "a", 1, 1000);
    se_item *held = se__l1_get(f.map, hash_of(&f, "a"), "a", 1);
    se__l1_unreserve(f.map, se__l1_evict(f.map, SIZE_MAX));
    struct l1_stats stats = stats_of(&f);
    cr_assert_eq(stats.bytes, empty, "outside the bound");
    cr_assert_eq(stats.detached_items, 1);
    cr_assert(stats.detached_bytes >= 1000);
    se__l1_tend(f.map, 0, 0);
    cr_assert_eq(stats_of(&f).detached_items, 1, "still held");
    cr_assert_eq(se_item_content_len(held), 1000);
    se_item_release(held);
    se__l1_tend(f.map, 0, 0);
    cr_assert_eq(stats_of(&f).detached_items, 0);
    cr_assert_eq(stats_of(&f).detached_bytes, 0);
    fixture_close(&f);
}

Test(evict, a_replaced_item_that_a_caller_holds_is_detached)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    put_clean(&f, "a", 1, 1000);
    se_item *held = se__l1_get(f.map, hash_of(&f, "a"), "a", 1);
    put_clean(&f, "a", 2, 10);
    cr_assert_eq(stats_of(&f).detached_items, 1);
    check_account(&f);
    fixture_close(&f);
    cr_assert_eq(se_item_version(held), 1, "it outlives the map");
    se_item_release(held);
}

Test(evict, released_items_do_not_pile_up_without_upkeep)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    for (unsigned i = 1; i <= 1000; i++) {
        put_clean(&f, "a", i, 10);
        se_item *held = se__l1_get(f.map, hash_of(&f, "a"), "a", 1);
        put_clean(&f, "a", i + 1000000 * i, 10);
        se_item_release(held);
        put_clean(&f, "a", i + 1000000 * i + 1, 10);
    }
    cr_assert_leq(stats_of(&f).detached_items, 2);
    fixture_close(&f);
}

/* ---- upkeep ---- */

Test(evict, a_growing_map_stays_below_its_bound_and_an_idle_one_full)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    fill(&f, 0, 10000, 500);
    double p = (double)stats_of(&f).bytes / MIB;
    cr_assert(p > 0.90 && p < 0.95, "p %g: the newcomers' share has left before", p);
    size_t busy = stats_of(&f).bytes;
    for (int i = 0; i < 100; i++)
        se__l1_tend(f.map, 0, 0);
    cr_assert_eq(stats_of(&f).bytes, busy, "nothing comes in, nothing goes");
    check_account(&f);
    fixture_close(&f);
}

Test(evict, nothing_leaves_for_what_is_overwritten)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    fill(&f, 0, 10000, 500);
    size_t busy = stats_of(&f).bytes, items = stats_of(&f).items;
    for (unsigned i = 1; i < 20000; i++)
        put_clean(&f, "one", i, 500);
    cr_assert_geq(stats_of(&f).items, items - items / 20);
    cr_assert_geq(stats_of(&f).bytes, busy - busy / 20);
    check_account(&f);
    fixture_close(&f);
}

static void flush_all(struct fixture *f)
{
    se_item *item;
    while ((item = fixture_take(f, NULL))) {
        se__l1_home(f->map, item);
        se__l1_unpin(f->map, item);
        se_item_release(item);
    }
}

Test(evict, what_is_above_the_curve_leaves_with_the_next_upkeep)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    for (unsigned i = 0; stats_of(&f).bytes < MIB * 97 / 100; i++) { /* nothing can leave yet */
        char id[16];
        snprintf(id, sizeof id, "id%u", i);
        se_item *item = make_item(id, 1, 10 * KIB);
        put_item(&f, item, &(struct l1_put){.dirty = true});
        se_item_release(item);
    }
    flush_all(&f);
    cr_assert_gt(stats_of(&f).bytes, MIB * 96 / 100);
    se__l1_tend(f.map, 0, 0);
    cr_assert_leq(stats_of(&f).bytes, MIB * 95 / 100);
    check_account(&f);
    fixture_close(&f);
}

Test(evict, nothing_leaves_below_three_quarters)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    fill(&f, 0, 900, 500);
    cr_assert(stats_of(&f).bytes < MIB * 3 / 4);
    se__l1_tend(f.map, 0, 0);
    cr_assert_eq(stats_of(&f).items, 900);
    fixture_close(&f);
}

/* ---- lives ---- */

static se_item *make_mortal(const char *id, uint64_t version, uint64_t cache_ttl_ms,
                            int64_t expires_at_ms)
{
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
                             .version = version,
                             .cache_ttl_ms = cache_ttl_ms,
                             .expires_at_ms = expires_at_ms};
    se_item *item = se__item_new(&spec);
    cr_assert_not_null(item);
    return item;
}

static void wait_until_gone(struct fixture *f, const char *id)
{
    uint64_t deadline = se__deadline_in(10000);
    while (shown(f, id) != 0)
        cr_assert(se__deadline_left(deadline) > 0);
}

Test(evict, a_clean_copy_ends_with_its_cache_ttl)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    se_item *item = make_mortal("a", 1, 20, 0);
    uint64_t from = se__mono_ms();
    put_item(&f, item, &(struct l1_put){0});
    wait_until_gone(&f, "a");
    cr_assert(se__mono_ms() - from >= 20);
    cr_assert_eq(load(&f, "a", 1), 1);
    struct l1_view view;
    cr_assert_not(se__l1_look(f.map, hash_of(&f, "b"), "b", 1, &view));
    se_item_release(item);
    fixture_close(&f);
}

Test(evict, a_reload_of_the_same_version_lives_anew)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    se_item *item = make_mortal("a", 1, 40, 0);
    put_item(&f, item, &(struct l1_put){0});
    wait_until_gone(&f, "a");
    bool unchanged;
    uint64_t epoch = se__l1_epoch(f.map, hash_of(&f, "a")), from = se__mono_ms();
    se_item *got = se__l1_promote(f.map, hash_of(&f, "a"), item, epoch, &unchanged);
    bool there = shown(&f, "a") == 1;
    cr_assert(there || se__mono_ms() - from >= 40, "cached again, unless this machine slept");
    se_item_release(got);
    se_item_release(item);
    fixture_close(&f);
}

Test(evict, a_dirty_item_ignores_its_cache_ttl)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    se_item *item = make_mortal("a", 1, 1, 0);
    put_item(&f, item, &(struct l1_put){.dirty = true});
    se_item *taken = fixture_take(&f, NULL);
    uint64_t later = se__mono_ms() + 5;
    while (se__mono_ms() < later)
        cr_assert_eq(shown(&f, "a"), 1);
    se__l1_tend(f.map, 0, later + 1000000);
    cr_assert_eq(shown(&f, "a"), 1);
    se__l1_home(f.map, taken);
    cr_assert_eq(shown(&f, "a"), 1, "pinned");
    se__l1_unpin(f.map, taken);
    cr_assert_eq(shown(&f, "a"), 0);
    se_item_release(taken);
    se_item_release(item);
    fixture_close(&f);
}

Test(evict, the_sweep_drops_what_has_ended)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    size_t empty = stats_of(&f).bytes;
    se_item *ttl = make_mortal("a", 1, 60000, 0), *expiring = make_mortal("b", 2, 0, 500);
    put_item(&f, ttl, &(struct l1_put){0});
    put_item(&f, expiring, &(struct l1_put){0});
    se__l1_tend(f.map, 499, se__mono_ms());
    cr_assert_eq(stats_of(&f).items, 2);
    se__l1_tend(f.map, 500, se__mono_ms());
    cr_assert_eq(stats_of(&f).items, 1);
    se__l1_tend(f.map, 500, se__mono_ms() + 60000);
    cr_assert_eq(stats_of(&f).items, 0);
    se_item_release(ttl);
    se_item_release(expiring);
    se__l1_tend(f.map, 500, se__mono_ms());
    cr_assert_eq(stats_of(&f).bytes, empty);
    cr_assert_eq(se__metrics_sum(f.metrics, M_EVICTED_EXPIRED), 2);
    fixture_close(&f);
}

Test(evict, the_sweep_gets_round_a_large_map)
{
    struct fixture f;
    fixture_open(&f, 64 * MIB, false);
    fill(&f, 0, 30000, 10);
    for (unsigned i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof id, "mortal%u", i);
        se_item *item = make_mortal(id, 1, 0, 500);
        put_item(&f, item, &(struct l1_put){0});
        se_item_release(item);
    }
    for (int i = 0; i < 130; i++) /* two rounds: tables may be growing in the first */
        se__l1_tend(f.map, 1000, se__mono_ms());
    cr_assert_eq(stats_of(&f).items, 30000);
    check_account(&f);
    fixture_close(&f);
}

Test(evict, clean_life_bounds_clean_copies_only)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    put_and_flush(&f, "clean", 1, 10);
    put(&f, "dirty", 2);
    se__l1_set_clean_life(f.map, 30);
    uint64_t from = se__mono_ms();
    cr_assert(shown(&f, "clean") == 1 || se__mono_ms() - from >= 30,
              "from now on, not from its birth");
    wait_until_gone(&f, "clean");
    cr_assert_eq(shown(&f, "dirty"), 2);
    se__l1_tend(f.map, 0, se__mono_ms());
    cr_assert_eq(stats_of(&f).items, 1);
    se__l1_set_clean_life(f.map, 0);
    put_and_flush(&f, "x", 3, 10); /* takes and flushes "dirty", the first in the queue */
    se__l1_tend(f.map, 0, se__mono_ms() + 1000000);
    cr_assert_eq(shown(&f, "dirty"), 2);
    fixture_close(&f);
}

Test(evict, clean_life_said_again_does_not_start_anew)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    se__l1_set_clean_life(f.map, 60000);
    uint64_t long_ago = se__mono_ms() - 50000;
    atomic_store(&f.map->life_set_ms, long_ago);
    se__l1_set_clean_life(f.map, 60000);
    cr_assert_eq(atomic_load(&f.map->life_set_ms), long_ago);
    se__l1_set_clean_life(f.map, 30000);
    cr_assert_gt(atomic_load(&f.map->life_set_ms), long_ago);
    fixture_close(&f);
}

Test(evict, clean_life_counts_from_the_birth_of_younger_copies)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    se__l1_set_clean_life(f.map, 60000);
    atomic_store(&f.map->life_set_ms, se__mono_ms() - 90000); /* as if it had been said then */
    load(&f, "a", 1);
    cr_assert_eq(shown(&f, "a"), 1);
    se__l1_tend(f.map, 0, se__mono_ms() + 50000);
    cr_assert_eq(shown(&f, "a"), 1);
    se__l1_tend(f.map, 0, se__mono_ms() + 60000);
    cr_assert_eq(shown(&f, "a"), 0);
    fixture_close(&f);
}

Test(evict, prefixes_are_forgotten_bytewise)
{
    struct fixture f;
    fixture_open(&f, MIB, false);
    static const char *const ids[] = {"user_1:a", "user_1:b", "userX1:a", "user_", "USER_1:a"};
    for (size_t i = 0; i < 5; i++)
        load(&f, ids[i], i + 1);
    put(&f, "user_1:dirty", 9);
    se__l1_invalidate_prefix(f.map, "user_1:");
    cr_assert_eq(shown(&f, "user_1:a"), 0);
    cr_assert_eq(shown(&f, "user_1:b"), 0);
    cr_assert_eq(shown(&f, "userX1:a"), 3);
    cr_assert_eq(shown(&f, "user_"), 4);
    cr_assert_eq(shown(&f, "USER_1:a"), 5);
    cr_assert_eq(shown(&f, "user_1:dirty"), 9);
    cr_assert_eq(se__metrics_sum(f.metrics, M_EVICTED_INVALIDATED), 2);
    check_account(&f);
    fixture_close(&f);
}

/* ---- the resident map ---- */

Test(resident, nothing_but_tombstones_and_the_expired_leaves)
{
    struct fixture f;
    fixture_open(&f, 64 * KIB, true);
    se_item *ttl = make_mortal("ttl", 1, 1, 0), *expiring = make_mortal("expiring", 2, 0, 500);
    put_item(&f, ttl, &(struct l1_put){0});
    put_item(&f, expiring, &(struct l1_put){0});
    put_clean(&f, "a", 3, 10);
    se__l1_set_clean_life(f.map, 1);
    invalidate(&f, "a");
    se__l1_invalidate_prefix(f.map, "");
    uint64_t later = se__mono_ms() + 5;
    while (se__mono_ms() < later)
        cr_assert_eq(shown(&f, "ttl"), 1);
    cr_assert_eq(se__l1_evict(f.map, SIZE_MAX), 0);
    se__l1_tend(f.map, 499, later + 1000000);
    cr_assert_eq(stats_of(&f).items, 3);
    cr_assert(stats_of(&f).unevictable_bytes > 0, "clean items count as unevictable");
    se__l1_tend(f.map, 500, later + 1000000);
    cr_assert_eq(stats_of(&f).items, 2);
    se_item_release(ttl);
    se_item_release(expiring);
    check_account(&f);
    fixture_close(&f);
}

Test(resident, full_is_backpressure_and_a_delete_makes_room)
{
    struct fixture f;
    fixture_open(&f, 64 * KIB, true);
    struct l1_ticket ticket;
    char id[16];
    unsigned n = 0;
    size_t size = se__item_size_for(4, 0, 1000);
    struct l1_ticket room; /* for the tombstone below */
    cr_assert_eq(se__l1_prepare(f.map, 4, 500, &room), SE_OK);
    while (se__l1_prepare(f.map, 4, size, &ticket) == SE_OK) {
        se__l1_cancel(f.map, &ticket);
        snprintf(id, sizeof id, "%04u", ++n);
        put_clean(&f, id, n, 1000);
    }
    se__l1_cancel(f.map, &room);
    cr_assert_eq(se__l1_prepare(f.map, 4, 2 * size, &ticket), SE_ERR_BACKPRESSURE);
    cr_assert_eq(stats_of(&f).items, n);
    cr_assert_eq(shown(&f, "0001"), 1, "the first one, too");
    se_item *tombstone = make_tombstone("0001", n + 1);
    put_item(&f, tombstone, &(struct l1_put){0});
    se_item_release(tombstone);
    cr_assert_eq(shown(&f, "0001"), n + 1, "the tombstone guards against older puts");
    cr_assert_eq(put_clean(&f, "0001", n, 1).stored, L1_STALE);
    cr_assert_eq(se__l1_prepare(f.map, 4, size, &ticket), SE_OK);
    se__l1_cancel(f.map, &ticket);
    cr_assert_eq(stats_of(&f).items, n - 1);
    check_account(&f);
    fixture_close(&f);
}

Test(resident, old_tombstones_are_swept)
{
    struct fixture f;
    fixture_open(&f, 64 * KIB, true);
    se_item *tombstone = make_tombstone("a", 1);
    put_item(&f, tombstone, &(struct l1_put){0});
    se_item_release(tombstone);
    se__l1_tend(f.map, 0, se__mono_ms() + 30000);
    cr_assert_eq(shown(&f, "a"), 1);
    se__l1_tend(f.map, 0, se__mono_ms() + 70000);
    cr_assert_eq(shown(&f, "a"), 0);
    check_account(&f);
    fixture_close(&f);
}
