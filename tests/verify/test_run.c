/*
 * tests of how a run goes: passes, progress, checkpoints and resumption, pace, grace, outages, what is
 * logged and counted.
 */
#include "world.h"

#include "base/mem.h"
#include "base/os.h"
#include "support/test.h"
#include "tier/retry.h"

#include <limits.h>
#include <stdio.h>

/* A page that fails is asked for again after waits of up to 1.6 s, drawn at random: hundreds of outages
 * would take minutes here. They go the same way with a hundredth of each wait (meson.build wraps it). */
bool __real_se__retry_next(const struct retry_policy *policy, uint32_t done, uint64_t random,
                           uint64_t now_ms, uint64_t deadline_ms, uint32_t *wait_ms);
bool __wrap_se__retry_next(const struct retry_policy *policy, uint32_t done, uint64_t random,
                           uint64_t now_ms, uint64_t deadline_ms, uint32_t *wait_ms);
static unsigned most_attempts;

bool __wrap_se__retry_next(const struct retry_policy *policy, uint32_t done, uint64_t random,
                           uint64_t now_ms, uint64_t deadline_ms, uint32_t *wait_ms)
{
    most_attempts = done > most_attempts ? done : most_attempts;
    bool again = __real_se__retry_next(policy, done, random, now_ms, deadline_ms, wait_ms);
    if (again)
        *wait_ms /= 100;
    return again;
}

/* Sound, stale and lost, all over the ids. */
static struct world *damaged_world(size_t n, uint64_t seed)
{
    struct world *w = world_open(n, seed);
    for (size_t i = 0; i < n; i++) {
        uint64_t kind = world_random(w, 12);
        se_item *it = world_item(w, i, 9, 0);
        if (kind != 0)
            world_set(w, &w->l3[i], kind == 1 ? GARBAGE : ITEM,
                      kind == 1 ? NULL : se_item_retain(it));
        if (kind != 11)
            world_set(w, &w->l2[i], kind == 2 ? GARBAGE : ITEM,
                      kind == 2   ? NULL
                      : kind == 3 ? world_item(w, i, 8, 0)
                                  : se_item_retain(it));
        se_item_release(it);
    }
    return w;
}

static void add(se_verify_report *sum, const se_verify_report *r)
{
    sum->checked += r->checked;
    sum->stale_l2 += r->stale_l2;
    sum->stale_l3 += r->stale_l3;
    sum->corrupt_l2 += r->corrupt_l2;
    sum->corrupt_l3 += r->corrupt_l3;
    sum->orphan_l2 += r->orphan_l2;
    sum->repaired += r->repaired;
    sum->unrepairable += r->unrepairable;
    sum->roots_equal = sum->roots_equal && r->roots_equal;
}

static se_verify_report whole_run(size_t n, uint64_t seed, bool repair)
{
    struct world *w = damaged_world(n, seed);
    struct verify_options o = world_options(w);
    se_verify_report r;
    o.repair = repair;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    world_close(w);
    return r;
}

/* Stops it again and again, and goes on behind what the checkpoint was told last. */
static se_verify_report run_in_parts(size_t n, uint64_t seed, bool repair, unsigned *parts)
{
    struct world *w = damaged_world(n, seed);
    struct verify_options o = world_options(w);
    se_verify_report sum = {.roots_equal = true}, r;
    char after[SE_ID_MAX + 1] = "";
    o.repair = repair;
    /* in one pass, in some, in thirty; and each part begins with all of L2 */
    o.memory_max = seed % 2 == 0 ? 0 : seed % 10 == 1 ? 1 : 1u << 15;
    for (*parts = 0; *parts < 100000; ++*parts) {
        w->checkpoints = 0;
        w->stop_at = 1 + (unsigned)world_random(w, *parts % 7 == 6 ? 40 : 8);
        o.after = after;
        cr_assert_eq(se__verify_run(&o, &r), SE_OK);
        add(&sum, &r);
        if (w->checkpoints < w->stop_at)
            break; /* it came to its end */
        cr_assert_geq(strcmp(w->through, after), 0);
        snprintf(after, sizeof after, "%s", w->through);
    }
    world_close(w);
    return sum;
}

Test(run, parts_add_up_to_the_whole)
{
    unsigned parts, most = 0;
    for (uint64_t seed = 1; seed <= 60; seed++)
        for (unsigned repair = 0; repair < 2; repair++) {
            se_verify_report whole = whole_run(3000, seed, repair);
            se_verify_report sum = run_in_parts(3000, seed, repair, &parts);
            cr_assert(memcmp(&whole, &sum, sizeof sum) == 0, "seed %llu in %u parts",
                      (unsigned long long)seed, parts);
            most = parts > most ? parts : most;
        }
    cr_assert_geq(most, 10);
}

/* An outage at any call: what was told by the last checkpoint is what the report says. */
Test(run, an_outage_ends_it_with_what_was_done)
{
    se_verify_report whole = whole_run(2500, 5, false);
    most_attempts = 0;
    for (unsigned calls = 0; calls < 40; calls++)
        for (unsigned which = 0; which < 2; which++) {
            struct world *w = damaged_world(2500, 5);
            struct verify_options o = world_options(w);
            se_verify_report first, rest;
            *(which ? &w->down_l2_after : &w->down_l3_after) = calls;
            se_result r = se__verify_run(&o, &first);
            if (r == SE_OK) {
                cr_assert_gt(calls, 2);
                world_close(w);
                break;
            }
            cr_assert_eq(r, SE_ERR_BACKEND);
            cr_assert(strstr(se_errmsg(), "it is down") != NULL, "%s", se_errmsg());
            char after[SE_ID_MAX + 1];
            snprintf(after, sizeof after, "%s", w->through);
            o.after = after;
            w->down_l2_after = UINT_MAX;
            w->down_l3_after = UINT_MAX;
            cr_assert_eq(se__verify_run(&o, &rest), SE_OK);
            add(&first, &rest);
            cr_assert(memcmp(&whole, &first, sizeof first) == 0, "tier %u after %u calls", which,
                      calls);
            world_close(w);
        }
    cr_assert_eq(most_attempts, SE__RETRY_STARTUP.attempts_max);
}

static uint64_t findings_of(const se_verify_report *r)
{
    return r->stale_l2 + r->stale_l3 + r->corrupt_l2 + r->corrupt_l3 + r->orphan_l2;
}

/* With repairs: whenever it breaks, nothing is lost, and the next run finishes. */
Test(run, an_outage_in_a_repair_does_no_harm)
{
    for (unsigned calls = 0; calls < 60; calls++)
        for (unsigned which = 0; which < 2; which++) {
            struct world *w = damaged_world(700, 9);
            struct verify_options o = world_options(w);
            se_verify_report r;
            o.repair = true;
            *(which ? &w->down_l2_after : &w->down_l3_after) = calls;
            se_result result = se__verify_run(&o, &r);
            cr_assert(result == SE_OK || result == SE_ERR_BACKEND);
            cr_assert_eq(r.unrepairable, 0, "what an outage kept from being repaired can be");
            w->down_l2_after = UINT_MAX;
            w->down_l3_after = UINT_MAX;
            cr_assert_eq(se__verify_run(&o, &r), SE_OK);
            cr_assert_eq(se__verify_run(&o, &r), SE_OK);
            cr_assert(findings_of(&r) == r.unrepairable && r.stale_l2 == 0 && r.orphan_l2 == 0);
            world_close(w);
        }
}

Test(run, skips_what_is_not_after)
{
    struct world *w = damaged_world(500, 3);
    struct verify_options o = world_options(w);
    se_verify_report all, none;
    cr_assert_eq(se__verify_run(&o, &all), SE_OK);
    o.after = w->ids[499];
    cr_assert_eq(se__verify_run(&o, &none), SE_OK);
    cr_assert(none.checked == 0 && findings_of(&none) == 0 && none.roots_equal);
    cr_assert(all.checked > 450);
    world_close(w);
}

static uint64_t last_done, last_total;
static bool backwards;
static void watch_progress(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    backwards = backwards || done < last_done || done > total;
    last_done = done;
    last_total = total;
}

Test(run, progress_goes_forward_and_ends_at_its_total)
{
    struct world *w = damaged_world(5000, 3);
    struct verify_options o = world_options(w);
    se_verify_report r;
    o.progress = watch_progress;
    backwards = false;
    last_done = 0;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(!backwards && last_done == last_total && last_done == r.checked);
    world_close(w);
}

Test(run, tells_the_rows_that_are_alive)
{
    struct world *w = world_open(300, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    for (size_t i = 0; i < 300; i++)
        world_set(w, &w->l3[i], i % 3 ? ITEM : TOMBSTONE,
                  i % 3 ? world_item(w, i, 5, 0) : world_deleted(w, i, 5));
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(w->rows_seen == 200 && r.checked == 200);
    world_close(w);
}

Test(run, without_a_tier_is_unsupported)
{
    struct verify_options o = {.timeout_ms = 1};
    se_verify_report r;
    cr_assert_eq(se__verify_run(&o, &r), SE_ERR_UNSUPPORTED);
}

/* All that is set is the tiers. */
Test(run, needs_no_callback)
{
    struct world *w = damaged_world(300, 3);
    struct verify_options full = world_options(w);
    struct verify_options o = {.l2 = full.l2, .l3 = full.l3, .timeout_ms = 1, .log = full.log};
    se_verify_report a, b;
    cr_assert_eq(se__verify_run(&o, &a), SE_OK);
    cr_assert_eq(se__verify_run(&full, &b), SE_OK);
    cr_assert(memcmp(&a, &b, sizeof a) == 0);
    world_close(w);
}

/* ---- time ---- */

Test(run, keeps_to_its_rate)
{
    struct world *w = damaged_world(300, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    o.rate = 2000;
    uint64_t from = se__mono_ms();
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    uint64_t took = se__mono_ms() - from;
    cr_assert_geq(took, 500 * 1000 / 2000, "at least 500 records of both tiers: %llu ms",
                  (unsigned long long)took);
    world_close(w);
}

static uint64_t settled_ms;
static se_result note_settle(void *arg)
{
    (void)arg;
    settled_ms = se__mono_ms();
    return SE_OK;
}

Test(run, looks_again_a_grace_period_later)
{
    struct world *w = world_open(1, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    world_set(w, &w->l3[0], GARBAGE, NULL);
    o.grace_ms = 150;
    o.settle = note_settle;
    settled_ms = 0;
    uint64_t from = se__mono_ms();
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(se__mono_ms() - from >= 150 && settled_ms != 0 && r.corrupt_l3 == 1);
    world_close(w);
}

static bool stop_the_wait(void *arg, const char *through)
{
    unsigned *calls = arg;
    (void)through;
    return ++*calls < 6;
}

Test(run, a_wait_can_be_stopped)
{
    struct world *w = world_open(1, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    unsigned calls = 0;
    world_set(w, &w->l3[0], GARBAGE, NULL);
    o = (struct verify_options){.l3 = o.l3,
                                .grace_ms = 3600000,
                                .timeout_ms = 1000,
                                .log = o.log,
                                .checkpoint = stop_the_wait,
                                .arg = &calls};
    uint64_t from = se__mono_ms();
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert_lt(se__mono_ms() - from, 60000);
    cr_assert(r.corrupt_l3 == 0 && r.checked == 0, "what was not looked at again is not reported");
    world_close(w);
}

static se_result shut_down(void *arg)
{
    (void)arg;
    return se__error(SE_ERR_STATE, "shutting down");
}

Test(run, ends_when_nothing_settles_any_more)
{
    struct world *w = world_open(1, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    world_set(w, &w->l3[0], GARBAGE, NULL);
    o.settle = shut_down;
    cr_assert_eq(se__verify_run(&o, &r), SE_ERR_STATE);
    world_close(w);
}

/* ---- log, metrics, details ---- */

static unsigned lines;
static char last_line[1024];
static void take_line(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    lines += level == SE_LOG_WARN;
    snprintf(last_line, sizeof last_line, "%s", message);
}

Test(run, logs_some_findings_and_how_many_more)
{
    struct world *w = world_open(70, 1);
    struct verify_options o = world_options(w);
    struct se__log log = {.fn = take_line};
    se_verify_report r;
    for (size_t i = 0; i < 70; i++)
        world_set(w, &w->l3[i], GARBAGE, NULL);
    o.log = &log;
    lines = 0;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert_eq(lines, 21);
    cr_assert(strstr(last_line, "50 more") != NULL, "%s", last_line);
    world_close(w);
}

static uint64_t sum(const struct metrics *m, enum metric which)
{
    return se__metrics_sum(m, which);
}

Test(run, counts_in_the_metrics)
{
    struct world *w = damaged_world(2000, 4);
    struct verify_options o = world_options(w);
    struct metrics *m;
    se_verify_report r;
    cr_assert_eq(se__metrics_open(&m), SE_OK);
    o.metrics = m;
    o.repair = true;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(sum(m, M_VERIFY_RUNS) == 1 && sum(m, M_VERIFY_CHECKED) == r.checked);
    cr_assert(sum(m, M_VERIFY_STALE_L2) == r.stale_l2 && r.stale_l2 > 0);
    cr_assert(sum(m, M_VERIFY_STALE_L3) == r.stale_l3);
    cr_assert(sum(m, M_VERIFY_CORRUPT_L2) == r.corrupt_l2 && sum(m, M_CORRUPT_L2) == r.corrupt_l2);
    cr_assert(sum(m, M_VERIFY_CORRUPT_L3) == r.corrupt_l3 && sum(m, M_CORRUPT_L3) == r.corrupt_l3);
    cr_assert(sum(m, M_VERIFY_ORPHAN_L2) == r.orphan_l2 && r.orphan_l2 > 0);
    cr_assert(sum(m, M_VERIFY_REPAIRED) == r.repaired && r.repaired > 0);
    cr_assert(sum(m, M_HEALED_L2) == r.corrupt_l2 && sum(m, M_HEALED_L3) > 0);
    se__metrics_close(m);
    world_close(w);
}

static char details[4][512];
static unsigned detail_n;
static void take_detail(struct world *w, const struct verify_finding *f)
{
    (void)w;
    if (detail_n < 4)
        snprintf(details[detail_n++], sizeof details[0], "%s", f->detail);
}

Test(run, details_say_expected_and_actual)
{
    struct world *w = world_open(2, 1);
    struct verify_options o = world_options(w);
    uint8_t hash[SE_HASH_SIZE];
    char first[3];
    se_verify_report r;
    world_set(w, &w->l3[0], BAD_CONTENT, world_item(w, 0, 7, 0));
    world_set(w, &w->l2[1], ITEM, world_item(w, 1, 12, 0));
    world_set(w, &w->l3[1], ITEM, world_item(w, 1, 34, 0));
    se_item_hash(w->l3[0].item, hash);
    snprintf(first, sizeof first, "%02x", hash[0]);
    w->on_finding = take_detail;
    o.deep = true;
    detail_n = 0;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert_eq(detail_n, 2);
    cr_assert(strstr(details[0], first) && strstr(details[0], "abababab"), "%s", details[0]);
    cr_assert(strstr(details[0], "no tier has a good copy"), "%s", details[0]);
    cr_assert(strstr(details[1], "version 12") && strstr(details[1], "version 34"));
    world_close(w);
}

/* ---- rows that no call can ask for ---- */

static bool odd_done;
static struct tier_reply odd_rows(void *tier, const struct tier_survey *s, struct tier_cursor *c,
                                  struct tier_sights *sights, uint64_t deadline_ms)
{
    struct world *w = tier;
    struct tier_reply reply = world_l3(w).ops->survey(tier, s, c, sights, deadline_ms);
    static const char *const ODD[] = {"zz\0z", "zz\x01", "zz\xff"};
    for (unsigned i = 0; c->done && !odd_done && i < 3; i++) {
        /* behind what is there; ids of the page are offsets until it is finished again */
        sights->sights[sights->n] = sights->sights[sights->n - 1];
        struct tier_sight *at = &sights->sights[sights->n++];
        *at = (struct tier_sight){.id = ODD[i], .id_len = i == 0 ? 4 : 3, .found = TIER_CORRUPT};
    }
    odd_done = odd_done || c->done;
    return reply;
}

Test(run, a_row_without_a_usable_id_is_corrupt)
{
    struct world *w = world_open(20, 1);
    struct verify_options o = world_options(w);
    struct tier_ops ops = *o.l3.ops;
    se_verify_report r;
    for (size_t i = 0; i < 20; i++)
        world_set(w, &w->l3[i], ITEM, world_item(w, i, 5, 0));
    ops.survey = odd_rows;
    o.l3.ops = &ops;
    o.repair = true;
    odd_done = false;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(r.checked == 23 && r.corrupt_l3 == 3 && r.unrepairable == 3 && r.repaired == 0);
    world_close(w);
}

/* ---- memory ---- */

Test(run, without_memory_is_an_error_and_leaks_nothing)
{
    unsigned failed = 0;
    for (int64_t i = 0; i < 400; i++) {
        struct world *w = damaged_world(60, 2);
        struct verify_options o = world_options(w);
        se_verify_report r;
        o.repair = true;
        if (!se__mem_fail_after(i)) {
            world_close(w);
            return;
        }
        se_result result = se__verify_run(&o, &r);
        se__mem_fail_after(-1);
        failed += result != SE_OK;
        cr_assert(result == SE_OK || result == SE_ERR_NOMEM || result == SE_ERR_BACKEND);
        world_close(w);
    }
    cr_assert_geq(failed, 5);
}
