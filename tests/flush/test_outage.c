/*
 * The worker while the home tier is down, with a WAL, with a full one, and with none; the drain;
 * dead letters in the WAL.
 */
#include "base/os.h"
#include "flush/rig.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static struct rig rig;

static void tear_down(void)
{
    rig_close(&rig, false);
}

TestSuite(flush_outage, .fini = tear_down);

static void put_range(unsigned from, unsigned to)
{
    char id[32];
    for (unsigned i = from; i < to; i++) {
        rig_name(id, sizeof id, i);
        rig_put(&rig, id, "x");
    }
}

static uint64_t in_wal(void)
{
    struct wal_stats stats;
    se__wal_stats(rig.wal, &stats);
    return stats.home_records;
}

static uint64_t dead_in_wal(void)
{
    struct wal_stats stats;
    se__wal_stats(rig.wal, &stats);
    return stats.dead;
}

/* The drain has handed on everything: by signals of the worker where it is well,
 * by looking where it backs off. */
static void await_drained(void)
{
    se__worker_wake(rig.worker);
    while (in_wal() > 0) {
        se__pause_ms(1);
        se__worker_wake(rig.worker);
    }
    cr_assert(rig_flush(&rig));
}

/* ---- with a WAL ---- */

Test(flush_outage, an_outage_sends_writes_to_the_wal_and_the_drain_brings_them_home)
{
    rig_open(&rig, &(struct rig_options){.wal = true, .cache = true});
    fake_tier_set_down(rig.home, true);
    put_range(0, 300);
    cr_assert(!rig_flush(&rig), "safe, but not at home");
    cr_assert_eq(in_wal(), 300);
    cr_assert_eq(rig_queued(&rig), 0);
    cr_assert_eq(fake_tier_rows(rig.home), 0);
    cr_assert_eq(fake_tier_rows(rig.cache), 300, "L2 gets what the WAL has confirmed");
    cr_assert_gt(rig_count(&rig, M_FLUSH_BATCHES_WAL), 0);
    cr_assert(rig_balanced(&rig));
    fake_tier_set_down(rig.home, false);
    await_drained();
    cr_assert_eq(fake_tier_rows(rig.home), 300);
    cr_assert_eq(rig_count(&rig, M_PERSISTED), 300);
    cr_assert_eq(rig_count(&rig, M_WAL_DRAINED), 300);
    cr_assert_eq(fake_tier_written(rig.cache), 300, "drained items are not given to L2 again");
    cr_assert(fake_tier_writes_sane(rig.home));
    cr_assert(rig_balanced(&rig));
}

Test(flush_outage, the_drain_resumes_by_itself)
{
    rig_open(&rig, &(struct rig_options){.wal = true, .drain_items = 10});
    fake_tier_set_down(rig.home, true);
    put_range(0, 100);
    (void)rig_flush(&rig);
    cr_assert_eq(in_wal(), 100);
    fake_tier_set_down(rig.home, false);
    while (in_wal() > 0)
        se__pause_ms(1); /* nobody wakes it: the circuit's own time does */
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_rows(rig.home), 100);
    cr_assert(rig_balanced(&rig));
}

Test(flush_outage, newer_writes_win_over_what_the_wal_holds)
{
    rig_open(&rig, &(struct rig_options){.wal = true, .open_ms = 3600000});
    fake_tier_set_down(rig.home, true);
    rig_put(&rig, "a", "1");
    (void)rig_flush(&rig);
    rig_put(&rig, "a", "2");
    uint64_t three = rig_put(&rig, "a", "3");
    (void)rig_flush(&rig);
    cr_assert(rig_balanced(&rig));
    fake_tier_set_down(rig.home, false);
    rig_close(&rig, true);
    rig_open(&rig, &(struct rig_options){.wal = true, .keep_wal = true});
    uint64_t four = rig_put(&rig, "a", "4");
    cr_assert_gt(four, three, "the stored ceiling started the clock");
    await_drained();
    cr_assert_eq(fake_tier_version(rig.home, "a", NULL), four);
    cr_assert(rig_balanced(&rig));
    for (size_t i = 1; i < fake_tier_written(rig.home); i++)
        cr_assert_lt(fake_tier_write_at(rig.home, i - 1).version,
                     fake_tier_write_at(rig.home, i).version);
}

Test(flush_outage, a_drained_write_that_is_older_than_the_home_tiers_is_lost)
{
    rig_open(&rig, &(struct rig_options){.wal = true});
    fake_tier_set_down(rig.home, true);
    uint64_t mine = rig_put(&rig, "a", "mine");
    (void)rig_flush(&rig);
    uint64_t theirs = mine + (1000ull << SE__HLC_COUNTER_BITS);
    se_item *item = rig_item("a", "theirs", theirs);
    fake_tier_plant(rig.home, item, RECORD_ITEM);
    se_item_release(item);
    cr_assert_eq(rig_read(&rig, "a"), mine);
    fake_tier_set_down(rig.home, false);
    await_drained();
    cr_assert_eq(rig_count(&rig, M_LOST), 1);
    cr_assert_eq(rig_count(&rig, M_PERSISTED), 0);
    cr_assert_eq(rig_read(&rig, "a"), theirs, "L1 has dropped the loser");
    cr_assert(rig_balanced(&rig));
}

Test(flush_outage, with_an_open_circuit_batches_do_not_ask)
{
    rig_open(&rig, &(struct rig_options){.wal = true, .open_ms = 3600000, .items_max = 1});
    fake_tier_set_down(rig.home, true);
    put_range(0, 20);
    cr_assert(!rig_flush(&rig));
    unsigned calls = fake_tier_calls(rig.home, FAKE_WRITE);
    put_range(20, 60);
    cr_assert(!rig_flush(&rig));
    cr_assert_eq(fake_tier_calls(rig.home, FAKE_WRITE), calls);
    cr_assert_eq(in_wal(), 60);
}

Test(flush_outage, every_kind_of_unwell_goes_to_the_wal_and_nothing_is_dead)
{
    static const struct tier_reply replies[] = {{.fault = TIER_UNWELL, .code = 1290},
                                                {.fault = TIER_UNWELL, .timed_out = true},
                                                {.fault = TIER_CONFLICT, .code = 1213}};
    for (size_t i = 0; i < 3; i++) {
        rig_open(&rig, &(struct rig_options){.wal = true, .bare = true});
        fake_tier_fail(rig.home, FAKE_WRITE, 0, UINT_MAX, replies[i]);
        put_range(0, 20);
        cr_assert(!rig_flush(&rig));
        cr_assert_eq(in_wal(), 20);
        cr_assert_eq(dead_in_wal(), 0);
        fake_tier_set_down(rig.home, false);
        await_drained();
        cr_assert_eq(fake_tier_rows(rig.home), 20);
        cr_assert(rig_balanced(&rig));
        if (i < 2)
            rig_close(&rig, false);
    }
}

Test(flush_outage, a_lost_answer_is_harmless)
{
    rig_open(&rig, &(struct rig_options){.wal = true, .bare = true});
    fake_tier_fail_late(rig.home, 0, 1, (struct tier_reply){.fault = TIER_UNWELL, .code = 2013});
    put_range(0, 20);
    (void)rig_flush(&rig);
    await_drained();
    cr_assert_eq(fake_tier_rows(rig.home), 20);
    cr_assert_eq(rig_count(&rig, M_PERSISTED), 20);
    cr_assert(rig_balanced(&rig));
}

Test(flush_outage, insured_writes_are_confirmed_by_the_flush)
{
    rig_open(&rig, &(struct rig_options){.wal = true});
    rig_put_insured(&rig, "a", "1");
    cr_assert(rig_flush(&rig));
    struct wal_stats stats;
    se__wal_stats(rig.wal, &stats);
    cr_assert_eq(stats.live_records, 0);
    cr_assert_eq(rig_count(&rig, M_PERSISTED), 1);
    fake_tier_set_down(rig.home, true);
    uint64_t two = rig_put_insured(&rig, "a", "2");
    cr_assert(!rig_flush(&rig));
    se__wal_stats(rig.wal, &stats);
    cr_assert_eq(stats.live_records, 1, "handed to the drain, not written twice");
    cr_assert_eq(stats.home_records, 1);
    cr_assert(rig_balanced(&rig));
    fake_tier_set_down(rig.home, false);
    await_drained();
    cr_assert_eq(fake_tier_version(rig.home, "a", NULL), two);
    cr_assert(rig_balanced(&rig));
}

Test(flush_outage, an_ack_says_when_only_the_wal_has_it)
{
    rig_open(&rig, &(struct rig_options){.wal = true, .age_ms_max = 3600000});
    fake_tier_set_down(rig.home, true);
    uint64_t version = se__hlc_next(&rig.hlc, se__wall_ms());
    se_item *item = rig_item("a", "1", version);
    struct worker_waiter waiter;
    se__worker_watch(rig.worker, &waiter, item);
    struct l1_ticket ticket;
    struct l1_put_result result;
    cr_assert_eq(se__l1_prepare(rig.l1, 1, se__item_size(item), &ticket), SE_OK);
    se__l1_put(rig.l1, se__l1_hash(rig.l1, "a", 1), item, &ticket, &(struct l1_put){.dirty = true},
               &result);
    cr_assert_eq(se__worker_wait(rig.worker, &waiter, SOON), WORKER_IN_WAL);
    se_item_release(item);
}

Test(flush_outage, stop_moves_what_waits_into_the_wal_and_the_next_start_drains_it)
{
    rig_open(&rig, &(struct rig_options){.wal = true, .age_ms_max = 3600000});
    fake_tier_set_down(rig.home, true);
    put_range(0, 350);
    cr_assert_eq(rig_stop(&rig, 0), 0);
    cr_assert_eq(in_wal(), 350);
    cr_assert(rig_balanced(&rig));
    rig_close(&rig, true);
    rig_open(&rig, &(struct rig_options){.wal = true, .keep_wal = true});
    cr_assert_eq(rig_count(&rig, M_RECOVERED), 350);
    await_drained();
    cr_assert_eq(fake_tier_rows(rig.home), 350);
    cr_assert_eq(rig_count(&rig, M_PERSISTED), 350);
    cr_assert(rig_balanced(&rig));
}

/* ---- without one, or with one that is full ---- */

Test(flush_outage, without_a_wal_nothing_is_lost_and_the_queue_keeps_its_order)
{
    rig_open(&rig, &(struct rig_options){.items_max = 10, .cache = true});
    fake_tier_set_down(rig.home, true);
    put_range(0, 55);
    uint64_t older = rig_put(&rig, "z", "1");
    cr_assert(fake_tier_await_calls(rig.home, FAKE_WRITE, 8, SOON));
    uint64_t newer = rig_put(&rig, "z", "2");
    bool all_home;
    cr_assert_eq(se__worker_flush(rig.worker, se__deadline_in(20), &all_home), SE_ERR_TIMEOUT);
    cr_assert_eq(rig_queued(&rig), 56);
    cr_assert_eq(fake_tier_rows(rig.cache), 0, "nothing is confirmed");
    cr_assert_gt(rig_count(&rig, M_FLUSH_BATCHES_RETRY), 0);
    fake_tier_set_down(rig.home, false);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_rows(rig.home), 56);
    cr_assert_eq(fake_tier_version(rig.home, "z", NULL), newer);
    cr_assert_lt(older, newer);
    char id[32];
    for (unsigned i = 0; i < 55; i++) {
        rig_name(id, sizeof id, i);
        cr_assert_str_eq(fake_tier_write_at(rig.home, i).id, id,
                         "what became dirty first goes first");
    }
    cr_assert(rig_balanced(&rig));
}

Test(flush_outage, waking_ends_the_back_off)
{
    rig_open(&rig, &(struct rig_options){.open_ms = 3600000});
    fake_tier_set_down(rig.home, true);
    put_range(0, 1);
    while (se__guarded_circuit(rig.home_guard) != SE_CIRCUIT_OPEN) {
        se__worker_wake(rig.worker);
        se__pause_ms(1);
    }
    uint64_t rejected = rig_count(&rig, M_CIRCUIT_SQL_REJECTED);
    se__worker_wake(rig.worker);
    while (rig_count(&rig, M_CIRCUIT_SQL_REJECTED) == rejected)
        se__pause_ms(1);
}

Test(flush_outage, a_full_wal_means_waiting_and_not_losing)
{
    rig_open(&rig, &(struct rig_options){
                       .wal = true, .wal_items_max = 50, .items_max = 20, .age_ms_max = 3600000});
    fake_tier_set_down(rig.home, true);
    put_range(0, 100); /* full batches only, however slow that is */
    while (in_wal() < 40)
        se__pause_ms(1);
    bool all_home;
    cr_assert_eq(se__worker_flush(rig.worker, se__deadline_in(20), &all_home), SE_ERR_TIMEOUT);
    cr_assert_eq(in_wal(), 40);
    cr_assert_eq(rig_queued(&rig), 60);
    fake_tier_set_down(rig.home, false);
    se__worker_wake(rig.worker);
    (void)rig_flush(&rig);
    await_drained();
    cr_assert_eq(fake_tier_rows(rig.home), 100);
    cr_assert_eq(rig_count(&rig, M_PERSISTED), 100);
    cr_assert(rig_balanced(&rig));
}

Test(flush_outage, stop_saves_what_fits_into_a_nearly_full_wal)
{
    rig_open(&rig, &(struct rig_options){.wal = true, .wal_items_max = 50, .age_ms_max = 3600000});
    fake_tier_set_down(rig.home, true);
    put_range(0, 80);
    cr_assert_eq(rig_stop(&rig, 0), 30);
    cr_assert_eq(in_wal(), 50);
    cr_assert(rig_balanced(&rig));
}

/* ---- poison ---- */

Test(flush_outage, a_poison_item_becomes_a_dead_letter_in_the_wal_and_a_newer_write_ends_it)
{
    rig_open(&rig, &(struct rig_options){.wal = true, .cache = true, .age_ms_max = 3600000});
    fake_tier_refuse(rig.home, rig_is_poison, NULL, 1406);
    put_range(0, 50);
    uint64_t dead = rig_put(&rig, "poison", "x");
    put_range(50, 60);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(fake_tier_rows(rig.home), 60);
    cr_assert_eq(dead_in_wal(), 1);
    cr_assert_eq(rig_read(&rig, "poison"), dead);
    cr_assert_eq(fake_tier_version(rig.cache, "poison", NULL), 0);
    cr_assert(rig_balanced(&rig));
    fake_tier_refuse(rig.home, NULL, NULL, 0);
    uint64_t better = rig_put(&rig, "poison", "y");
    cr_assert(rig_flush(&rig));
    cr_assert_eq(dead_in_wal(), 0);
    cr_assert_eq(fake_tier_version(rig.home, "poison", NULL), better);
    cr_assert_eq(rig_count(&rig, M_SUPERSEDED), 1);
    cr_assert(rig_balanced(&rig));
}

Test(flush_outage, poison_in_the_wal_does_not_stop_the_drain)
{
    rig_open(&rig, &(struct rig_options){.wal = true, .drain_items = 40});
    fake_tier_set_down(rig.home, true);
    rig_put(&rig, "a-poison", "x");
    put_range(0, 200);
    rig_put(&rig, "z-poison", "x");
    (void)rig_flush(&rig);
    cr_assert_eq(in_wal(), 202);
    fake_tier_refuse(rig.home, rig_is_poison, NULL, 1406);
    fake_tier_set_down(rig.home, false);
    await_drained();
    cr_assert_eq(fake_tier_rows(rig.home), 200);
    cr_assert_eq(dead_in_wal(), 2);
    cr_assert(rig_balanced(&rig));
}

static bool is_in_range(void *arg, const se_item *item)
{
    (void)arg;
    return strncmp(se_item_id(item), "id:", 3) == 0;
}

/* The rows that the WAL holds are all refused, what is written meanwhile is not: the
 * drain must neither kill nor spin. */
Test(flush_outage, a_drain_with_a_trouble_of_its_own_backs_off_beside_traffic_that_is_well)
{
    rig_open(&rig,
             &(struct rig_options){.wal = true, .items_max = 1, .age_ms_max = 1, .open_ms = 1});
    fake_tier_set_down(rig.home, true);
    put_range(0, 30);
    (void)rig_flush(&rig);
    fake_tier_refuse(rig.home, is_in_range, NULL, 1054);
    fake_tier_set_down(rig.home, false);
    se__worker_wake(rig.worker);
    char id[32];
    for (unsigned i = 0; i < 300; i++) {
        snprintf(id, sizeof id, "well:%u", i);
        rig_put(&rig, id, "x");
    }
    while (rig_queued(&rig))
        se__pause_ms(1);
    cr_assert_eq(dead_in_wal(), 0);
    cr_assert_geq(in_wal(), 30);
    cr_assert_lt(fake_tier_calls(rig.home, FAKE_WRITE), 300 + 300, "not one drain for every batch");
    fake_tier_refuse(rig.home, NULL, NULL, 0);
    await_drained();
    cr_assert_eq(fake_tier_rows(rig.home), 330);
    cr_assert(rig_balanced(&rig));
}
