/*
 * Law 13 and newest-wins under random histories: puts, deletes, outages, refusals, other writers,
 * closes and new starts. The seed of a failure is printed; SE_SEED=n runs that one alone.
 */
#include "base/os.h"
#include "flush/rig.h"
#include "support/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IDS = 12, STEPS = 250, RUNS = 24 };

static struct rig rig;

struct history {
    uint64_t random;
    uint64_t newest[IDS]; /* of this engine's or another's writes */
    uint64_t mine[IDS];   /* of this engine's */
    bool poison[IDS];     /* refused by the home tier at present */
    bool wal, cache;
};
static struct history h;

static uint64_t draw(uint64_t below)
{
    return (random_next(&h.random) >> 11) % below;
}

static void name(char *id, size_t cap, size_t i)
{
    snprintf(id, cap, "id:%zu", i);
}

static bool is_refused(void *arg, const se_item *item)
{
    (void)arg;
    return h.poison[strtoul(se_item_id(item) + 3, NULL, 10)];
}

static void put_some(void)
{
    char id[32];
    for (uint64_t n = 1 + draw(6); n > 0; n--) {
        size_t i = draw(IDS);
        name(id, sizeof id, i);
        const char *text = draw(4) ? "content" : NULL;
        uint64_t version = h.wal && draw(4) == 0 ? rig_put_insured(&rig, id, text)
                                                 : rig_put_routed(&rig, id, text, (uint8_t)draw(4));
        h.newest[i] = version > h.newest[i] ? version : h.newest[i];
        h.mine[i] = version;
    }
}

static void plant(void)
{
    char id[32];
    size_t i = draw(IDS);
    name(id, sizeof id, i);
    uint64_t version = se__hlc_last(&rig.hlc) + draw(3);
    se_item *item = rig_item(id, "theirs", version);
    fake_tier_plant(rig.home, item, RECORD_ITEM);
    h.newest[i] = version > h.newest[i] ? version : h.newest[i];
    se_item_release(item);
}

static void set_poison(bool on)
{
    fake_tier_close_gate(rig.home, FAKE_WRITE); /* nobody reads h.poison while it changes */
    fake_tier_refuse(rig.home, NULL, NULL, 0);
    h.poison[draw(IDS)] = on;
    if (!on)
        memset(h.poison, 0, sizeof h.poison);
    fake_tier_refuse(rig.home, is_refused, NULL, 1406);
    fake_tier_open_gate(rig.home);
}

static void open_rig(bool keep_wal)
{
    rig_open(&rig, &(struct rig_options){.wal = h.wal,
                                         .cache = h.cache,
                                         .keep_wal = keep_wal,
                                         .items_max = 1 + draw(8),
                                         .drain_items = 1 + draw(8),
                                         .age_ms_max = 1,
                                         .open_ms = 1});
}

static struct tier_reply some_fault(void)
{
    static const struct tier_reply faults[] = {{.fault = TIER_UNWELL, .code = 2013},
                                               {.fault = TIER_UNWELL, .timed_out = true},
                                               {.fault = TIER_CONFLICT, .code = 1213}};
    return faults[draw(3)];
}

static void step(void)
{
    switch (draw(12)) {
    case 0:
        fake_tier_set_down(rig.home, true);
        break;
    case 1:
        fake_tier_set_down(rig.home, false);
        break;
    case 2:
        plant();
        break;
    case 3:
        set_poison(draw(2));
        break;
    case 4:
        fake_tier_set_down(rig.home, false); /* and forget rules: they are few */
        fake_tier_fail(rig.home, FAKE_WRITE, (unsigned)draw(3), 1, some_fault());
        fake_tier_fail_late(rig.home, (unsigned)draw(3), 1, some_fault());
        break;
    case 5:
        if (h.cache)
            fake_tier_set_down(rig.cache, draw(2));
        break;
    case 6:
        se__worker_wake(rig.worker);
        break;
    case 7: {
        bool all_home;
        se_result r = se__worker_flush(rig.worker, se__deadline_in(5), &all_home);
        cr_assert(r == SE_OK || r == SE_ERR_TIMEOUT);
        break;
    }
    default:
        put_some();
    }
}

/* Everything up and nothing refused: all that is not dead comes home. A dead
 * letter waits for a newer write. */
static void settle(void)
{
    set_poison(false);
    fake_tier_set_down(rig.home, false);
    char id[32];
    for (size_t i = 0; i < IDS; i++) {
        name(id, sizeof id, i);
        h.mine[i] = rig_put(&rig, id, "last");
    }
    for (;;) {
        struct wal_stats stats = {0};
        se__worker_wake(rig.worker);
        (void)rig_flush(&rig);
        if (rig.wal)
            se__wal_stats(rig.wal, &stats);
        if (stats.home_records == 0)
            break;
        se__pause_ms(1);
    }
}

static void check(uint64_t seed)
{
    char id[32];
    cr_assert(rig_balanced(&rig), "SE_SEED=%" PRIu64, seed);
    cr_assert(fake_tier_writes_sane(rig.home));
    for (size_t i = 0; i < IDS; i++) {
        name(id, sizeof id, i);
        uint64_t home = fake_tier_version(rig.home, id, NULL);
        cr_assert_geq(home, h.newest[i], "%s, SE_SEED=%" PRIu64, id, seed);
        cr_assert_geq(home, h.mine[i], "%s, SE_SEED=%" PRIu64, id, seed);
        cr_assert_eq(rig_read(&rig, id), home, "%s, SE_SEED=%" PRIu64, id, seed);
        /* A write that lost is not given to L2: who won does that. */
        uint64_t copy = rig.cache ? fake_tier_version(rig.cache, id, NULL) : 0;
        bool doubted = se__suspects_has(rig.suspects, se__l1_hash(rig.l1, id, strlen(id)));
        cr_assert(!rig.cache || home != h.mine[i] || doubted || copy == home,
                  "%s, SE_SEED=%" PRIu64, id, seed);
    }
}

/* Everything that was accepted is in L1, the WAL or the home tier, at every moment. */
static void check_reads(uint64_t seed)
{
    char id[32];
    for (size_t i = 0; i < IDS; i++) {
        name(id, sizeof id, i);
        cr_assert_geq(rig_read(&rig, id), h.mine[i], "%s, SE_SEED=%" PRIu64, id, seed);
    }
}

/* The home tier of the next rig is empty: what it held counts no more,
 * except what the WAL brings back. */
static void start_again(uint64_t seed)
{
    size_t left = rig_stop(&rig, 5);
    cr_assert(rig_balanced(&rig), "after stop, SE_SEED=%" PRIu64, seed);
    cr_assert(!h.wal || left == 0, "SE_SEED=%" PRIu64, seed);
    rig_close(&rig, h.wal);
    memset(h.newest, 0, sizeof h.newest);
    memset(h.mine, 0, sizeof h.mine);
    open_rig(h.wal);
    fake_tier_refuse(rig.home, is_refused, NULL, 1406);
}

static void run(uint64_t seed)
{
    h = (struct history){.random = seed * 0x9e3779b97f4a7c15u + 1};
    h.wal = seed % 4 != 0;
    h.cache = seed % 2;
    open_rig(false);
    fake_tier_refuse(rig.home, is_refused, NULL, 1406);
    for (unsigned i = 0; i < STEPS; i++) {
        step();
        check_reads(seed);
        if (draw(100) == 0)
            start_again(seed);
    }
    settle();
    check(seed);
    rig_close(&rig, false);
}

Test(flush_balance, random_histories_add_up_and_the_newest_wins)
{
    const char *only = getenv("SE_SEED");
    if (only) {
        run(strtoull(only, NULL, 10));
        return;
    }
    uint64_t first = se__random_u64() % 1000000;
    fprintf(stderr, "seeds %" PRIu64 " to %" PRIu64 "\n", first, first + RUNS - 1);
    for (uint64_t seed = first; seed < first + RUNS; seed++)
        run(seed);
}
