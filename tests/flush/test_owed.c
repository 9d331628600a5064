/*
 * What L2 missed and is told later: the list of ids, and the worker that tells.
 */
#include "base/mem.h"
#include "base/os.h"
#include "flush/owed.h"
#include "flush/rig.h"

#include <string.h>

static struct rig rig;
static struct owed owed;

static void tear_down(void)
{
    if (rig.worker)
        rig_close(&rig, false);
    rig = (struct rig){0};
    se__owed_done(&owed);
}

TestSuite(flush_owed, .fini = tear_down);

static const struct tier_reply TIMED_OUT = {.fault = TIER_UNWELL, .timed_out = true};

static bool is_suspect(const char *id)
{
    return se__suspects_has(rig.suspects, se__l1_hash(rig.l1, id, strlen(id)));
}

/* ---- the list ---- */

static void owe(const char *id, uint64_t version)
{
    se_item *item = rig_item(id, "x", version);
    se__owed_add(&owed, item, version);
    se_item_release(item);
}

static void free_ids(struct owed_id *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        se__free(ids[i].id);
}

Test(flush_owed, an_id_is_taken_once_in_its_newest_version)
{
    owed.max = 100;
    owe("b", 3);
    owe("a", 1);
    owe("b", 7);
    owe("b", 5);
    struct owed_id out[10];
    cr_assert_eq(se__owed_take(&owed, out, 10), 2u);
    cr_assert(strcmp(out[0].id, "a") == 0 && out[0].version == 1);
    cr_assert(strcmp(out[1].id, "b") == 0 && out[1].version == 7 && out[1].hash == 7);
    cr_assert_eq(owed.n, 0u);
    free_ids(out, 2);
}

Test(flush_owed, the_list_has_a_bound_and_takes_back)
{
    owed.max = 200;
    char id[32];
    for (unsigned i = 0; i < 300; i++) {
        rig_name(id, sizeof id, i);
        owe(id, 1);
    }
    cr_assert_eq(owed.n, 200u);
    struct owed_id out[50];
    cr_assert_eq(se__owed_take(&owed, out, 50), 50u);
    cr_assert_eq(owed.n, 150u);
    owe("one more", 1);
    se__owed_return(&owed, out, 50);
    cr_assert_eq(owed.n, 200u, "and one has been freed");
    cr_assert_eq(se__owed_take(&owed, out, 0), 0u);
}

/* ---- from the worker ---- */

/* In one batch, however slow the machine: none leaves before the flush. */
static void miss_ten(struct rig *r, struct rig_options options)
{
    options.age_ms_max = 60000;
    rig_open(r, &options);
    fake_tier_fail(r->cache, FAKE_WRITE, 0, 1, TIMED_OUT);
    rig_put_many(r, 10);
    cr_assert(rig_flush(r));
}

static void await_suspects(struct rig *r, size_t n)
{
    for (uint64_t end = SOON; se__suspects_count(r->suspects) != n; se__pause_ms(1))
        cr_assert(se__deadline_left(end) > 0, "%zu suspects", se__suspects_count(r->suspects));
}

static void await_writes(struct rig *r, unsigned calls)
{
    for (uint64_t end = SOON; fake_tier_calls(r->cache, FAKE_WRITE) < calls; se__pause_ms(1))
        cr_assert(se__deadline_left(end) > 0, "%u calls", (unsigned)calls);
}

Test(flush_owed, an_l2_that_is_well_again_gets_floors_for_what_it_missed)
{
    miss_ten(&rig, (struct rig_options){.cache = true, .owed_max = 100});
    await_writes(&rig, 2);
    await_suspects(&rig, 0);
    cr_assert_eq(fake_tier_calls(rig.cache, FAKE_WRITE), 2u);
    cr_assert_eq(fake_tier_rows(rig.cache), 10u);
    char id[32];
    for (unsigned i = 0; i < 10; i++) {
        enum record_kind kind;
        rig_name(id, sizeof id, i);
        uint64_t version = fake_tier_version(rig.home, id, NULL);
        cr_assert_eq(fake_tier_version(rig.cache, id, &kind), version);
        cr_assert_eq(kind, RECORD_FLOOR);
    }
    cr_assert(fake_tier_writes_sane(rig.cache));
}

/* What did not get through says nothing: the suspicion stays, and it is tried again. */
Test(flush_owed, floors_that_l2_does_not_take_end_no_suspicion)
{
    rig_open(&rig, &(struct rig_options){.cache = true, .age_ms_max = 60000, .owed_max = 100});
    fake_tier_fail(rig.cache, FAKE_WRITE, 0, 3, TIMED_OUT);
    rig_put_many(&rig, 10);
    cr_assert(rig_flush(&rig));
    for (uint64_t end = SOON; fake_tier_calls(rig.cache, FAKE_WRITE) < 3; se__pause_ms(1)) {
        cr_assert(se__deadline_left(end) > 0);
        cr_assert(fake_tier_calls(rig.cache, FAKE_WRITE) > 2 || is_suspect("id:00003"));
    }
    await_suspects(&rig, 0);
    cr_assert(fake_tier_calls(rig.cache, FAKE_WRITE) >= 4);
    cr_assert_eq(fake_tier_rows(rig.cache), 10u);
}

/* The first ids are on their way in older writes when newer ones find no room: floors come after all. */
Test(flush_owed, floors_wait_for_what_waits_for_l2)
{
    rig_open(&rig, &(struct rig_options){
                       .cache = true, .items_max = 1, .age_ms_max = 1, .owed_max = 100});
    fake_tier_close_gate(rig.cache, FAKE_WRITE);
    rig_put_many(&rig, 40);
    while (se__suspects_count(rig.suspects) < 24)
        se__pause_ms(1);
    rig_put_many(&rig, 8);
    await_suspects(&rig, 32);
    se__pause_ms(150); /* now they could be told */
    fake_tier_open_gate(rig.cache);
    await_suspects(&rig, 0);
    size_t n = fake_tier_written(rig.cache), floors = 0;
    for (size_t i = 0; i < n; i++) {
        struct fake_write write = fake_tier_write_at(rig.cache, i);
        floors += write.kind == RECORD_FLOOR;
        cr_assert(write.kind == RECORD_FLOOR || floors == 0, "%zu: a floor came before it", i);
    }
    cr_assert_eq(floors, 32u);
    char id[32];
    for (unsigned i = 0; i < 40; i++) {
        rig_name(id, sizeof id, i);
        cr_assert_eq(fake_tier_version(rig.cache, id, NULL), fake_tier_version(rig.home, id, NULL));
    }
}

Test(flush_owed, what_is_newer_in_l2_stays)
{
    rig_open(&rig, &(struct rig_options){.cache = true, .owed_max = 100});
    fake_tier_fail(rig.cache, FAKE_WRITE, 0, 1, TIMED_OUT);
    uint64_t version = rig_put(&rig, "a", "x");
    se_item *newer = rig_item("a", "newer", version + 1);
    fake_tier_plant(rig.cache, newer, RECORD_ITEM);
    cr_assert(rig_flush(&rig));
    await_writes(&rig, 2);
    await_suspects(&rig, 0);
    enum record_kind kind;
    cr_assert_eq(fake_tier_version(rig.cache, "a", &kind), version + 1);
    cr_assert_eq(kind, RECORD_ITEM);
    se_item_release(newer);
}

/* Right before the end: the next start has nothing to doubt. */
Test(flush_owed, a_closing_worker_tells_l2_what_it_missed)
{
    miss_ten(&rig, (struct rig_options){.cache = true, .owed_max = 100});
    cr_assert_eq(rig_stop(&rig, 60000), 0u);
    cr_assert_eq(se__suspects_count(rig.suspects), 0u);
    cr_assert_eq(fake_tier_rows(rig.cache), 10u);
}

Test(flush_owed, a_closing_worker_asks_an_unwell_l2_once)
{
    rig_open(&rig, &(struct rig_options){.cache = true, .owed_max = 100, .open_ms = 3600000});
    fake_tier_set_down(rig.cache, true);
    rig_put_many(&rig, 10);
    cr_assert(rig_flush(&rig));
    cr_assert_eq(rig_stop(&rig, 60000), 0u);
    cr_assert_eq(se__suspects_count(rig.suspects), 10u);
}

/* Whose id there was no room for stays a suspect. */
Test(flush_owed, no_more_ids_are_kept_than_the_bound)
{
    miss_ten(&rig, (struct rig_options){.cache = true, .owed_max = 4});
    await_suspects(&rig, 6);
    cr_assert_eq(rig_stop(&rig, 60000), 0u);
    cr_assert_eq(se__suspects_count(rig.suspects), 6u);
}
