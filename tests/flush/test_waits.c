/*
 * Who waits for the worker: acks, flush, stop.
 */
#include "base/os.h"
#include "flush/rig.h"

#include <string.h>

static struct rig rig;

static void tear_down(void)
{
    rig_close(&rig, false);
}

TestSuite(flush_waits, .fini = tear_down);

/* ---- acks ---- */

struct ack {
    const char *id;
    struct worker_waiter waiter;
    enum worker_outcome outcome;
    uint64_t deadline_ms;
    se_item *item;
    struct se__thread thread;
};

static void wait_for_ack(void *arg)
{
    struct ack *ack = arg;
    ack->outcome = se__worker_wait(rig.worker, &ack->waiter, ack->deadline_ms);
}

static void begin_ack(struct ack *ack, const char *id, uint64_t deadline_ms)
{
    *ack = (struct ack){.id = id,
                        .deadline_ms = deadline_ms,
                        .item = rig_item(id, "ack", se__hlc_next(&rig.hlc, se__wall_ms()))};
    se__worker_watch(rig.worker, &ack->waiter, ack->item);
}

static void put_ack(struct ack *ack)
{
    struct l1_ticket ticket;
    struct l1_put_result result;
    size_t len = strlen(ack->id);
    cr_assert_eq(se__l1_prepare(rig.l1, len, se__item_size(ack->item), &ticket), SE_OK);
    se__l1_put(rig.l1, se__l1_hash(rig.l1, ack->id, len), ack->item, &ticket,
               &(struct l1_put){.dirty = true}, &result);
    cr_assert_eq(se__thread_start(&ack->thread, "ack", wait_for_ack, ack), SE_OK);
}

static enum worker_outcome end_ack(struct ack *ack)
{
    se__thread_join(&ack->thread);
    se_item_release(ack->item);
    return ack->outcome;
}

Test(flush_waits, an_ack_does_not_wait_for_the_batchs_age)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000});
    struct ack ack;
    begin_ack(&ack, "a", SOON);
    put_ack(&ack);
    cr_assert_eq(end_ack(&ack), WORKER_STORED);
}

Test(flush_waits, each_waiter_gets_its_own_items_outcome)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000});
    fake_tier_refuse(rig.home, rig_is_poison, NULL, 1406);
    struct ack acks[3];
    static const char *const ids[] = {"good", "poison", "fine"};
    for (size_t i = 0; i < 3; i++)
        begin_ack(&acks[i], ids[i], SOON);
    for (size_t i = 0; i < 3; i++)
        put_ack(&acks[i]);
    cr_assert_eq(end_ack(&acks[0]), WORKER_STORED);
    cr_assert_eq(end_ack(&acks[1]), WORKER_DEAD);
    cr_assert_eq(end_ack(&acks[2]), WORKER_STORED);
}

Test(flush_waits, an_ack_is_not_answered_by_an_older_write_of_its_id)
{
    rig_open(&rig, &(struct rig_options){0});
    fake_tier_close_gate(rig.home, FAKE_WRITE);
    rig_put(&rig, "a", "older");
    cr_assert(fake_tier_await_held(rig.home, 1, SOON));
    struct ack ack;
    begin_ack(&ack, "a", SOON);
    put_ack(&ack);
    fake_tier_fail(rig.home, FAKE_WRITE, 1, 1, (struct tier_reply){.fault = TIER_CONFLICT});
    fake_tier_open_gate(rig.home);
    cr_assert_eq(end_ack(&ack), WORKER_STORED);
    cr_assert_eq(fake_tier_written(rig.home), 2);
}

Test(flush_waits, an_ack_that_is_not_confirmed_in_time_is_unknown)
{
    rig_open(&rig, &(struct rig_options){0});
    fake_tier_close_gate(rig.home, FAKE_WRITE);
    struct ack ack;
    begin_ack(&ack, "a", se__deadline_in(20));
    put_ack(&ack);
    cr_assert_eq(end_ack(&ack), WORKER_UNKNOWN);
    begin_ack(&ack, "b", SOON);
    se__worker_unwatch(rig.worker, &ack.waiter);
    se_item_release(ack.item);
}

/* ---- flush and stop ---- */

Test(flush_waits, flush_covers_what_was_pushed_before_and_ends_under_load)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000, .items_max = 5, .cache = true});
    char id[32];
    for (unsigned round = 0; round < 50; round++) {
        uint64_t versions[20];
        for (unsigned i = 0; i < 20; i++) {
            rig_name(id, sizeof id, i);
            versions[i] = rig_put(&rig, id, "x");
        }
        cr_assert(rig_flush(&rig));
        for (unsigned i = 0; i < 20; i++) {
            rig_name(id, sizeof id, i);
            cr_assert_eq(fake_tier_version(rig.home, id, NULL), versions[i]);
            cr_assert_eq(fake_tier_version(rig.cache, id, NULL), versions[i]);
        }
        struct worker_stats stats;
        se__worker_stats(rig.worker, &stats);
        cr_assert_eq(stats.queued + stats.in_flight + stats.cache_backlog, 0);
        cr_assert_eq(stats.oldest_dirty_ms, 0);
    }
    cr_assert(rig_balanced(&rig));
}

Test(flush_waits, flush_times_out_while_the_home_tier_hangs)
{
    rig_open(&rig, &(struct rig_options){0});
    fake_tier_close_gate(rig.home, FAKE_WRITE);
    rig_put(&rig, "a", "x");
    bool all_home;
    cr_assert_eq(se__worker_flush(rig.worker, se__deadline_in(20), &all_home), SE_ERR_TIMEOUT);
    struct worker_stats stats;
    se__worker_stats(rig.worker, &stats);
    cr_assert_eq(stats.queued, 1);
    cr_assert_gt(stats.oldest_dirty_ms, 0);
}

static bool is_tried(void)
{
    return rig_count(&rig, M_FLUSH_BATCHES_RETRY) > 0;
}

static struct worker_stats stats_now(void)
{
    struct worker_stats stats;
    se__worker_stats(rig.worker, &stats);
    return stats;
}

Test(flush_waits, what_is_put_back_keeps_its_age_and_its_place)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000, .open_ms = 3600000});
    fake_tier_set_down(rig.home, true);
    rig_put(&rig, "z", "older"); /* the ids' order is the other way round */
    uint64_t first_ms = stats_now().oldest_dirty_ms;
    while (se__mono_ms() <= first_ms)
        se__pause_ms(1);
    rig_put(&rig, "a", "newer");
    bool all_home;
    while (!is_tried())
        cr_assert_eq(se__worker_flush(rig.worker, se__deadline_in(5), &all_home), SE_ERR_TIMEOUT);
    while (stats_now().in_flight)
        se__pause_ms(1);
    cr_assert_eq(stats_now().queued, 2);
    cr_assert_eq(stats_now().oldest_dirty_ms, first_ms);
}

Test(flush_waits, stop_flushes_what_waits_and_l2_too)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000, .cache = true});
    char id[32];
    for (unsigned i = 0; i < 450; i++) {
        rig_name(id, sizeof id, i);
        rig_put(&rig, id, "x");
    }
    cr_assert_eq(rig_stop(&rig, 60000), 0);
    cr_assert_eq(fake_tier_rows(rig.home), 450);
    cr_assert_eq(fake_tier_rows(rig.cache) + se__suspects_count(rig.suspects), 450);
    cr_assert(rig_balanced(&rig));
}

Test(flush_waits, stop_says_what_is_left_and_keeps_it)
{
    rig_open(&rig, &(struct rig_options){.age_ms_max = 3600000});
    fake_tier_set_down(rig.home, true);
    char id[32];
    for (unsigned i = 0; i < 250; i++) {
        rig_name(id, sizeof id, i);
        rig_put(&rig, id, "x");
    }
    cr_assert_eq(rig_stop(&rig, 50), 250);
    cr_assert_eq(rig_count(&rig, M_SUPERSEDED) + rig_count(&rig, M_PERSISTED), 0);
    cr_assert_eq(rig_queued(&rig), 250);
    cr_assert(rig_balanced(&rig));
}

Test(flush_waits, stop_wakes_who_waits)
{
    rig_open(&rig, &(struct rig_options){0});
    fake_tier_set_down(rig.home, true);
    struct ack ack;
    begin_ack(&ack, "a", SE__FOREVER);
    put_ack(&ack);
    cr_assert_eq(rig_stop(&rig, 20), 1);
    cr_assert_eq(end_ack(&ack), WORKER_UNKNOWN);
    bool all_home;
    cr_assert_eq(se__worker_flush(rig.worker, SE__FOREVER, &all_home), SE_ERR_TIMEOUT);
}
