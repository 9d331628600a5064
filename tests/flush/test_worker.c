/*
 * The worker while its tiers are well, or only one of them is not: order, coalescing, routes, the
 * L2 stage, poison. Who waits for it is in test_waits.c.
 */
#include "base/os.h"
#include "flush/rig.h"
#include "flush/stage.h"

#include <stdio.h>
#include <string.h>

static struct rig rig;

static void tear_down(void)
{
    rig_close(&rig, false);
}

TestSuite(flush_worker, .fini = tear_down);

static bool is_suspect(const char *id)
{
    return se__suspects_has(rig.suspects, se__l1_hash(rig.l1, id, strlen(id)));
}

/* ---- the way home ---- */

Test(flush_worker, brings_writes_and_deletes_home)
{
    rig_open(&rig, &(struct rig_options){0});
    uint64_t a = rig_put(&rig, "a", "1"), b = rig_put(&rig, "b", NULL);
    cr_assert(rig_flush(&rig));
    enum record_kind kind;
    cr_assert_eq(fake_tier_version(rig.home, "a", &kind), a);
    cr_assert_eq(kind, RECORD_ITEM);
    cr_assert_eq(fake_tier_version(rig.home, "b", &kind), b);
    cr_assert_eq(kind, RECORD_TOMBSTONE);
    cr_assert_eq(rig_count(&rig, M_PERSISTED), 2);
    cr_assert_eq(rig_queued(&rig), 0);
    cr_assert(rig_balanced(&rig));
}

Test(flush_worker, a_batch_leaves_by_age_without_anybody_waiting)
{
    rig_open(&rig, &(struct rig_options){0});
    rig_put(&rig, "a", "1");
    cr_assert(fake_tier_await_calls(rig.home, FAKE_WRITE, 1, SOON));
}

Test(flush_worker, a_full_batch_leaves_before_its_age)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000, .items_max = 10});
    char id[32];
    for (unsigned i = 0; i < 10; i++) {
        rig_name(id, sizeof id, i);
        rig_put(&rig, id, "x");
    }
    cr_assert(fake_tier_await_calls(rig.home, FAKE_WRITE, 1, SOON));
    cr_assert_eq(fake_tier_written(rig.home), 10);
}

static struct worker_stats stats_of(struct rig *r)
{
    struct worker_stats stats;
    se__worker_stats(r->worker, &stats);
    return stats;
}

Test(flush_worker, a_paced_worker_that_has_rested_writes_at_once)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000, .paced = true, .cache = true});
    cr_assert_eq(stats_of(&rig).home.rest_s, 0);
    for (unsigned i = 1; i < 20; i++) {
        rig_put(&rig, "a", "x");
        cr_assert(fake_tier_await_calls(rig.home, FAKE_WRITE, i, SOON));
    }
    cr_assert(rig_flush(&rig));
    struct worker_stats stats = stats_of(&rig);
    cr_assert(stats.home.rest_s > 0 && stats.home.round_s > 0 && stats.home.row_s > 0);
    cr_assert(stats.cache.rest_s == 0 && stats.cache.round_s > 0);
}

/* A batch of 200 ms is one to rest two seconds after: what comes then goes together. */
Test(flush_worker, a_paced_worker_gathers_while_it_rests)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000, .paced = true});
    char id[32];
    fake_tier_close_gate(rig.home, FAKE_WRITE);
    rig_put(&rig, "slow", "x");
    cr_assert(fake_tier_await_held(rig.home, 1, SOON));
    se__pause_ms(200);
    fake_tier_open_gate(rig.home);
    for (uint64_t end = SOON; rig_count(&rig, M_FLUSH_BATCHES) < 1;)
        cr_assert(se__deadline_left(end) > 0);
    for (unsigned i = 0; i < 20; i++) {
        rig_name(id, sizeof id, i);
        rig_put(&rig, id, "x");
    }
    cr_assert_eq(fake_tier_calls(rig.home, FAKE_WRITE), 1u);
    cr_assert(rig_flush(&rig)); /* somebody waits */
    cr_assert_eq(fake_tier_calls(rig.home, FAKE_WRITE), 2u);
    cr_assert_eq(fake_tier_written(rig.home), 21);
}

/* As long as it would have rested many times over. */
Test(flush_worker, an_age_that_was_asked_for_is_kept)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000, .items_max = 5000});
    char id[32];
    rig_put(&rig, "first", "x");
    cr_assert(rig_flush(&rig));
    for (unsigned i = 0; i < 4000; i++) {
        rig_name(id, sizeof id, i);
        rig_put(&rig, id, "x");
    }
    cr_assert_eq(fake_tier_calls(rig.home, FAKE_WRITE), 1u);
    cr_assert_eq(stats_of(&rig).home.rest_s, 0);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_calls(rig.home, FAKE_WRITE), 2u);
}

/* The most rows of one call since the first `skip` rows. */
static size_t longest_call(struct fake_tier *f, size_t skip)
{
    size_t most = 0, n = 0;
    for (size_t i = skip; i < fake_tier_written(f); i++) {
        bool same = i > skip && fake_tier_write_at(f, i).call == fake_tier_write_at(f, i - 1).call;
        n = same ? n + 1 : 1;
        most = n > most ? n : most;
    }
    return most;
}

static const struct tier_reply TIMED_OUT = {.fault = TIER_UNWELL, .timed_out = true};

/* 80 rows ran into the timeout: the next batch has a quarter of them, the one after twice as many. */
Test(flush_worker, a_batch_that_timed_out_is_tried_in_parts)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000, .tuned = true, .bare = true});
    fake_tier_fail(rig.home, FAKE_WRITE, 0, 1, TIMED_OUT);
    rig_put_many(&rig, 80);
    cr_assert_eq(stats_of(&rig).home.items, 100u);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_written(rig.home), 80u);
    cr_assert_eq(fake_tier_write_at(rig.home, 19).call, 2u);
    cr_assert_eq(fake_tier_write_at(rig.home, 20).call, 3u);
    cr_assert_eq(fake_tier_calls(rig.home, FAKE_WRITE), 4u, "20, 40, 20 after what failed");
    cr_assert(rig_balanced(&rig));
}

Test(flush_worker, a_size_that_was_asked_for_is_kept_after_a_timeout)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000, .bare = true});
    fake_tier_fail(rig.home, FAKE_WRITE, 0, 1, TIMED_OUT);
    rig_put_many(&rig, 80);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_calls(rig.home, FAKE_WRITE), 2u);
    cr_assert(stats_of(&rig).home.items == 0 && stats_of(&rig).home.bytes == 0, "not chosen");
}

/* L2 is slower than L3: what L3 took in one batch goes there in several calls, in order. */
Test(flush_worker, a_batch_goes_to_a_slow_l2_in_parts)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000, .tuned = true, .cache = true});
    fake_tier_fail(rig.cache, FAKE_WRITE, 0, 1, TIMED_OUT);
    rig_put_many(&rig, 80);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(se__suspects_count(rig.suspects), 80u);
    cr_assert_eq(stats_of(&rig).cache.items, 20u);
    rig_put_many(&rig, 80);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_calls(rig.home, FAKE_WRITE), 2u);
    cr_assert_eq(fake_tier_calls(rig.cache, FAKE_WRITE), 4u, "20, 40, 20 after what failed");
    cr_assert_eq(longest_call(rig.cache, 0), 40u);
    cr_assert(fake_tier_writes_sane(rig.cache));
    cr_assert_eq(se__suspects_count(rig.suspects), 0u);
}

/* What a call in the middle finds unwell makes suspects of the rest, not of what was stored. */
Test(flush_worker, an_l2_that_fails_between_parts_has_what_it_took)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000, .tuned = true, .cache = true});
    fake_tier_fail(rig.cache, FAKE_WRITE, 0, 1, TIMED_OUT);
    rig_put_many(&rig, 80);
    cr_assert(rig_flush(&rig));
    fake_tier_fail(rig.cache, FAKE_WRITE, 1, 1, TIMED_OUT);
    rig_put_many(&rig, 80);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_written(rig.cache), 20u);
    cr_assert_eq(se__suspects_count(rig.suspects), 60u);
    char id[32];
    rig_name(id, sizeof id, 19);
    cr_assert(!is_suspect(id));
    rig_name(id, sizeof id, 20);
    cr_assert(is_suspect(id));
}

/* A stopped L2 while small batches leave one after the other: they are counted by their items. */
Test(flush_worker, many_small_batches_find_room_in_the_stage)
{
    rig_open(&rig, &(struct rig_options){.cache = true, .items_max = 10, .age_ms_max = 1});
    char id[32];
    fake_tier_close_gate(rig.cache, FAKE_WRITE);
    for (unsigned i = 0; i < 8 * STAGE_BATCHES; i++) {
        rig_name(id, sizeof id, i);
        rig_put(&rig, id, "x");
        cr_assert(fake_tier_await_calls(rig.home, FAKE_WRITE, i + 1, SOON));
    }
    fake_tier_open_gate(rig.cache);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(se__suspects_count(rig.suspects), 0u);
    cr_assert_eq(fake_tier_written(rig.cache), 8u * STAGE_BATCHES);
}

Test(flush_worker, batches_are_sorted_and_bounded)
{
    rig_open(&rig, &(struct rig_options){.items_max = 10});
    fake_tier_close_gate(rig.home, FAKE_WRITE);
    rig_put(&rig, "first", "x");
    cr_assert(fake_tier_await_held(rig.home, 1, SOON));
    static const char *const ids[] = {"b",  "ab", "a",  "a ", "A", "\xc3\xa4",
                                      "aa", "z",  "ba", "bb", "c", "d"};
    for (size_t i = 0; i < 12; i++)
        rig_put(&rig, ids[i], "x");
    fake_tier_open_gate(rig.home);
    cr_assert(rig_flush(&rig));
    cr_assert(fake_tier_writes_sane(rig.home));
    cr_assert_eq(fake_tier_written(rig.home), 13);
    cr_assert_eq(fake_tier_write_at(rig.home, 10).call, 2);
    cr_assert_eq(fake_tier_write_at(rig.home, 11).call, 3, "at most ten travel together");
}

Test(flush_worker, writes_of_one_id_coalesce_while_they_wait)
{
    rig_open(&rig, &(struct rig_options){0});
    fake_tier_close_gate(rig.home, FAKE_WRITE);
    rig_put(&rig, "other", "x");
    cr_assert(fake_tier_await_held(rig.home, 1, SOON));
    uint64_t last = 0;
    for (unsigned i = 0; i < 1000; i++)
        last = rig_put(&rig, "counter", "x");
    cr_assert_eq(rig_queued(&rig), 2, "one on its way, one waiting");
    fake_tier_open_gate(rig.home);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_written(rig.home), 2);
    cr_assert_eq(fake_tier_version(rig.home, "counter", NULL), last);
    cr_assert_eq(rig_count(&rig, M_SUPERSEDED), 999);
    cr_assert(rig_balanced(&rig));
}

Test(flush_worker, a_write_during_the_flight_of_its_id_follows_in_the_next_batch)
{
    rig_open(&rig, &(struct rig_options){0});
    fake_tier_close_gate(rig.home, FAKE_WRITE);
    uint64_t one = rig_put(&rig, "a", "1");
    cr_assert(fake_tier_await_held(rig.home, 1, SOON));
    uint64_t two = rig_put(&rig, "a", "2");
    fake_tier_open_gate(rig.home);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_write_at(rig.home, 0).version, one);
    cr_assert_eq(fake_tier_write_at(rig.home, 1).version, two);
    cr_assert_eq(rig_count(&rig, M_PERSISTED), 2);
    cr_assert(rig_balanced(&rig));
}

/* ---- order under concurrency ---- */

enum { PUTTERS = 4, PUTS = 3000, BUSY_IDS = 7 };

static void put_busily(void *arg)
{
    unsigned self = *(unsigned *)arg;
    char id[32];
    for (unsigned i = 0; i < PUTS; i++) {
        rig_name(id, sizeof id, (i + self) % BUSY_IDS);
        rig_put(&rig, id, i % 5 ? "x" : NULL);
    }
}

Test(flush_worker, each_ids_versions_reach_home_and_l2_in_order)
{
    rig_open(&rig, &(struct rig_options){.cache = true, .age_ms_max = 1, .items_max = 3});
    struct se__thread threads[PUTTERS] = {0};
    unsigned numbers[PUTTERS];
    for (unsigned i = 0; i < PUTTERS; i++) {
        numbers[i] = i;
        cr_assert_eq(se__thread_start(&threads[i], "putter", put_busily, &numbers[i]), SE_OK);
    }
    for (unsigned i = 0; i < PUTTERS; i++)
        se__thread_join(&threads[i]);
    cr_assert(rig_flush(&rig));
    struct fake_tier *tiers[] = {rig.home, rig.cache};
    for (size_t t = 0; t < 2; t++) {
        uint64_t last[BUSY_IDS] = {0};
        for (size_t i = 0; i < fake_tier_written(tiers[t]); i++) {
            struct fake_write w = fake_tier_write_at(tiers[t], i);
            unsigned number = 0;
            cr_assert_eq(sscanf(w.id, "id:%u", &number), 1);
            cr_assert_lt(last[number], w.version);
            last[number] = w.version;
        }
        cr_assert(fake_tier_writes_sane(tiers[t]));
        char id[32];
        for (unsigned i = 0; i < BUSY_IDS; i++) {
            rig_name(id, sizeof id, i);
            /* A copy that found L2's queue full is missing there, and known to be. */
            bool missed = tiers[t] == rig.cache && is_suspect(id);
            cr_assert(missed || fake_tier_version(tiers[t], id, NULL) == rig_read(&rig, id));
        }
    }
    cr_assert_eq(rig_queued(&rig), 0);
    cr_assert(rig_balanced(&rig));
}

/* ---- the version guard and the clock ---- */

Test(flush_worker, a_write_that_lost_leaves_l1_and_never_reaches_l2)
{
    rig_open(&rig, &(struct rig_options){.cache = true});
    uint64_t ahead = se__hlc_next(&rig.hlc, se__wall_ms()) + (5000ull << SE__HLC_COUNTER_BITS);
    se_item *newer = rig_item("a", "theirs", ahead);
    fake_tier_plant(rig.home, newer, RECORD_ITEM);
    se_item_release(newer);
    rig_put(&rig, "a", "mine");
    cr_assert(rig_flush(&rig));
    cr_assert_eq(rig_count(&rig, M_LOST), 1);
    cr_assert_eq(rig_count(&rig, M_PERSISTED), 0);
    cr_assert_eq(fake_tier_written(rig.cache), 0);
    cr_assert_eq(rig_read(&rig, "a"), ahead, "L1's copy is gone, the home tier's is read");
    cr_assert_gt(rig_put(&rig, "a", "again"), ahead, "the clock went past it");
    cr_assert(rig_flush(&rig));
    cr_assert_gt(fake_tier_version(rig.home, "a", NULL), ahead);
    cr_assert(rig_balanced(&rig));
}

Test(flush_worker, nothing_is_written_above_a_ceiling_that_cannot_be_stored)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 1});
    atomic_store(&rig.cover_fails, true);
    rig_put(&rig, "a", "1");
    while (atomic_load(&rig.covers) < 2)
        se__pause_ms(1);
    cr_assert_eq(fake_tier_calls(rig.home, FAKE_WRITE), 0);
    atomic_store(&rig.cover_fails, false);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_calls(rig.home, FAKE_WRITE), 1);
    cr_assert(se__hlc_covers(&rig.hlc, fake_tier_version(rig.home, "a", NULL)));
    cr_assert(rig_balanced(&rig));
}

/* ---- L2 ---- */

Test(flush_worker, l2_gets_what_the_route_says_after_the_home_tier)
{
    rig_open(&rig, &(struct rig_options){.cache = true});
    fake_tier_close_gate(rig.home, FAKE_WRITE);
    rig_put(&rig, "all", "1");
    cr_assert(fake_tier_await_held(rig.home, 1, SOON));
    cr_assert_eq(fake_tier_calls(rig.cache, FAKE_WRITE), 0, "the home tier has not confirmed it");
    rig_put_routed(&rig, "cached", "2", SE_ROUTE_L2);
    rig_put_routed(&rig, "durable", "3", SE_ROUTE_L3);
    rig_put(&rig, "gone", NULL);
    fake_tier_open_gate(rig.home);
    cr_assert(rig_flush(&rig));
    static const struct {
        const char *id;
        enum record_kind home, cache;
    } table[] = {{"all", RECORD_ITEM, RECORD_ITEM},
                 {"cached", RECORD_TOMBSTONE, RECORD_ITEM},
                 {"durable", RECORD_ITEM, RECORD_FLOOR},
                 {"gone", RECORD_TOMBSTONE, RECORD_TOMBSTONE}};
    for (size_t i = 0; i < 4; i++) {
        enum record_kind kind = 0;
        cr_assert_gt(fake_tier_version(rig.home, table[i].id, &kind), 0);
        cr_assert_eq(kind, table[i].home);
        cr_assert_gt(fake_tier_version(rig.cache, table[i].id, &kind), 0);
        cr_assert_eq(kind, table[i].cache);
    }
    cr_assert_eq(se__suspects_count(rig.suspects), 0);
}

Test(flush_worker, a_hung_l2_holds_up_nobody_and_leaves_suspects)
{
    rig_open(&rig, &(struct rig_options){.cache = true, .items_max = 1, .age_ms_max = 1});
    fake_tier_close_gate(rig.cache, FAKE_WRITE);
    rig_put(&rig, "id:00000", "x");
    cr_assert(fake_tier_await_held(rig.cache, 1, SOON));
    char id[32];
    for (unsigned i = 1; i < 40; i++) {
        rig_name(id, sizeof id, i);
        rig_put(&rig, id, "x");
    }
    cr_assert(fake_tier_await_calls(rig.home, FAKE_WRITE, 40, SOON),
              "home goes on, one item a batch");
    while (rig_queued(&rig))
        se__pause_ms(1);
    while (se__suspects_count(rig.suspects) < 24)
        se__pause_ms(1);
    struct worker_stats stats;
    se__worker_stats(rig.worker, &stats);
    cr_assert_eq(stats.cache_backlog, 16, "the queue is bounded");
    cr_assert_eq(se__suspects_count(rig.suspects), 24, "the others are suspects at once");
    cr_assert(is_suspect("id:00039"));
    cr_assert(!is_suspect("id:00003"));
    fake_tier_open_gate(rig.cache);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_rows(rig.cache), 16);
    rig_put(&rig, "id:00039", "y");
    cr_assert(rig_flush(&rig));
    cr_assert(!is_suspect("id:00039"), "a later write got through");
}

/* A new generation makes void what L2 holds, so suspects can be forgotten; but not one whose older write still waits for L2: it would
 * be stored under the new generation, and believed. */
Test(flush_worker, a_suspect_stays_while_an_older_write_of_its_id_waits)
{
    rig_open(&rig, &(struct rig_options){.cache = true, .items_max = 1, .age_ms_max = 1});
    cr_assert_eq(se__worker_cache_mark(rig.worker), se__suspects_mark(rig.suspects));
    fake_tier_close_gate(rig.cache, FAKE_WRITE);
    char id[32];
    for (unsigned i = 0; i < 16; i++) { /* fills the stage: the first is held, the others wait */
        rig_name(id, sizeof id, i);
        rig_put(&rig, id, i == 1 ? NULL : "older");
        cr_assert(fake_tier_await_calls(rig.home, FAKE_WRITE, i + 1, SOON));
    }
    rig_put(&rig, "id:00001", "newer");
    while (!is_suspect("id:00001"))
        se__pause_ms(1);
    se__suspects_clear(rig.suspects, se__worker_cache_mark(rig.worker)); /* as attach.c does */
    cr_assert(is_suspect("id:00001"), "L2 will hold its older tombstone");
    fake_tier_open_gate(rig.cache);
    cr_assert(rig_flush(&rig));
    cr_assert(is_suspect("id:00001"));
    se__suspects_clear(rig.suspects, se__worker_cache_mark(rig.worker));
    cr_assert(!is_suspect("id:00001"), "now nothing of it is on its way");
}

Test(flush_worker, what_l2_refuses_or_misses_becomes_a_suspect)
{
    rig_open(&rig, &(struct rig_options){.cache = true});
    fake_tier_fail(rig.cache, FAKE_WRITE, 0, 1,
                   (struct tier_reply){.fault = TIER_UNWELL, .timed_out = true});
    rig_put(&rig, "missed", "x");
    cr_assert(rig_flush(&rig));
    cr_assert(is_suspect("missed"));
    cr_assert_eq(fake_tier_version(rig.cache, "missed", NULL), 0);
    rig_put(&rig, "missed", "y");
    cr_assert(rig_flush(&rig));
    cr_assert(!is_suspect("missed"));
}

Test(flush_worker, one_record_that_l2_refuses_makes_one_suspect)
{
    rig_open(&rig, &(struct rig_options){.cache = true});
    fake_tier_refuse(rig.cache, rig_is_poison, NULL, 1);
    fake_tier_close_gate(rig.home, FAKE_WRITE);
    rig_put(&rig, "first", "x");
    cr_assert(fake_tier_await_held(rig.home, 1, SOON));
    char id[32];
    for (unsigned i = 0; i < 60; i++) {
        rig_name(id, sizeof id, i);
        rig_put(&rig, i == 33 ? "poison" : id, "x");
    }
    fake_tier_open_gate(rig.home);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(se__suspects_count(rig.suspects), 1);
    cr_assert(is_suspect("poison"));
    cr_assert_eq(fake_tier_rows(rig.cache), 60);
}

Test(flush_worker, a_hung_home_tier_does_not_hold_up_l2)
{
    rig_open(&rig, &(struct rig_options){.cache = true, .items_max = 1, .age_ms_max = 1});
    fake_tier_close_gate(rig.cache, FAKE_WRITE);
    rig_put(&rig, "a", "x");
    cr_assert(fake_tier_await_held(rig.cache, 1, SOON));
    fake_tier_close_gate(rig.home, FAKE_WRITE);
    rig_put(&rig, "b", "x");
    cr_assert(fake_tier_await_held(rig.home, 1, SOON));
    fake_tier_open_gate(rig.cache);
    cr_assert(fake_tier_await_calls(rig.cache, FAKE_WRITE, 1, SOON));
    cr_assert_gt(fake_tier_version(rig.cache, "a", NULL), 0);
}

/* ---- poison ---- */

Test(flush_worker, one_bad_record_of_a_thousand_dies_alone)
{
    rig_open(&rig, &(struct rig_options){.items_max = 1000, .age_ms_max = 3600000, .cache = true});
    fake_tier_refuse(rig.home, rig_is_poison, NULL, 1406);
    char id[32];
    for (unsigned i = 0; i < 999; i++) {
        rig_name(id, sizeof id, i);
        rig_put(&rig, id, "x");
    }
    uint64_t dead = rig_put(&rig, "id:00500-poison", "x");
    cr_assert(rig_flush(&rig));
    struct l1_stats l1;
    se__l1_stats(rig.l1, &l1);
    cr_assert_eq(l1.dead_items, 1);
    cr_assert_eq(fake_tier_rows(rig.home), 999);
    cr_assert_eq(fake_tier_rows(rig.cache), 999, "L2 does not show what the database refused");
    cr_assert_eq(rig_read(&rig, "id:00500-poison"), dead, "it is still read");
    cr_assert_eq(rig_count(&rig, M_PERSISTED), 999);
    cr_assert(rig_balanced(&rig));
    fake_tier_refuse(rig.home, NULL, NULL, 0);
    uint64_t better = rig_put(&rig, "id:00500-poison", "y");
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_version(rig.home, "id:00500-poison", NULL), better);
    se__l1_stats(rig.l1, &l1);
    cr_assert_eq(l1.dead_items, 0);
    cr_assert(rig_balanced(&rig));
}

static bool is_any(void *arg, const se_item *item)
{
    (void)arg;
    (void)item;
    return true;
}

Test(flush_worker, a_backend_that_refuses_everything_kills_nobody)
{
    rig_open(&rig, &(struct rig_options){.items_max = 1000, .age_ms_max = 3600000});
    fake_tier_refuse(rig.home, is_any, NULL, 1054);
    char id[32];
    for (unsigned i = 0; i < 1000; i++) {
        rig_name(id, sizeof id, i);
        rig_put(&rig, id, "x");
    }
    cr_assert(fake_tier_await_calls(rig.home, FAKE_WRITE, 60, SOON), "it is tried again");
    struct l1_stats l1;
    se__l1_stats(rig.l1, &l1);
    cr_assert_eq(l1.dead_items, 0);
    fake_tier_refuse(rig.home, NULL, NULL, 0);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_rows(rig.home), 1000);
    cr_assert_eq(rig_count(&rig, M_PERSISTED), 1000);
    cr_assert(rig_balanced(&rig));
}
