/*
 * tests of runs beside writers that act between any two calls: what they write is neither reported nor
 * overwritten, and what is damaged is found all the same.
 */
#include "world.h"

#include "support/test.h"

#include <stdio.h>

struct traffic {
    unsigned steps;  /* between two calls */
    bool damage_too; /* old values are put back into L2 all the time, of any id */
    bool writes_all; /* also the damaged ids */
};

static bool is_written(size_t i, const struct traffic *t)
{
    return t->writes_all || i % 4 != 0;
}

/* An old value appears in Redis, as a failover may bring it back. */
static void put_back(struct world *w, size_t i)
{
    if (w->step[i] == 0 && w->newest[i] > 1 && w->l3[i].what == ITEM)
        world_set(w, &w->l2[i], ITEM, world_item(w, i, w->newest[i] / 2, 0));
}

static void act(struct world *w, void *arg)
{
    const struct traffic *t = arg;
    for (unsigned k = 0; k < t->steps; k++) {
        size_t i = world_random(w, w->n);
        if (t->damage_too && world_random(w, 10) == 0)
            put_back(w, i);
        else if (is_written(i, t))
            world_write_step(w, i);
    }
}

static void fill(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        uint64_t version = ++w->clock;
        se_item *it = world_item(w, i, version, 0);
        w->newest[i] = version;
        world_set(w, &w->l3[i], ITEM, it);
        if (world_random(w, 3))
            world_set(w, &w->l2[i], ITEM, se_item_retain(it));
    }
}

/* One of three flaws, on an id that nobody writes. */
static void damage(struct world *w, size_t i, unsigned kind)
{
    if (kind == 0)
        world_set(w, &w->l2[i], ITEM, world_item(w, i, w->newest[i] - 1, 0));
    else if (kind == 1)
        world_set(w, &w->l2[i], GARBAGE, NULL);
    else {
        world_set(w, &w->l2[i], ITEM, world_item(w, i, w->newest[i], 0));
        world_set(w, &w->l3[i], GARBAGE, NULL);
        w->l3[i].claims = UINT64_C(1) << 62;
    }
}

static void expect_newest(const struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct slot *l2 = &w->l2[i], *l3 = &w->l3[i];
        cr_assert(l3->what == ITEM || l3->what == TOMBSTONE, "id %zu", i);
        cr_assert_eq(se_item_version(l3->item), w->newest[i], "id %zu: a newer write is gone", i);
        if (l2->what == ITEM || l2->what == TOMBSTONE)
            cr_assert_leq(se_item_version(l2->item), w->newest[i]);
    }
}

static void expect_l2_newest(const struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->l2[i].what == ITEM || w->l2[i].what == TOMBSTONE)
            cr_assert_eq(se_item_version(w->l2[i].item), w->newest[i]);
}

static void run_beside(uint64_t seed, bool repair, bool deep, struct traffic *t)
{
    struct world *w = world_open(400, seed);
    struct verify_options o = world_options(w);
    se_verify_report r;
    uint64_t want[3] = {0};
    fill(w);
    for (size_t i = 0; i < w->n; i += 4)
        if (world_random(w, 4) == 0) {
            unsigned kind = (unsigned)world_random(w, 3);
            damage(w, i, kind);
            want[kind]++;
        }
    w->hook = act;
    w->hook_arg = t;
    o.repair = repair;
    o.deep = deep;
    o.rate = 0;
    o.memory_max = 1;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    for (size_t i = 0; i < w->n; i++)
        cr_assert(!w->damaged[i] || i % 4 == 0, "seed %llu: id %zu was only written",
                  (unsigned long long)seed, i);
    cr_assert(r.stale_l2 == want[0] && r.corrupt_l2 == want[1] && r.corrupt_l3 == want[2]);
    cr_assert(r.stale_l3 == 0 && r.orphan_l2 == 0);
    cr_assert_eq(r.repaired, repair ? want[0] + want[1] + want[2] : 0);
    w->hook = NULL;
    world_quiesce(w);
    if (repair) {
        expect_newest(w);
        expect_l2_newest(w);
    }
    world_close(w);
}

Test(traffic, is_never_reported_and_never_overwritten)
{
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct traffic t = {.steps = 1u << (seed % 10)};
        run_beside(seed, seed & 1, seed & 2, &t);
    }
}

/* Everything is written and damaged at once, with repairs: nothing goes back, and one quiet run puts the
 * rest right. */
Test(traffic, repairs_beside_writers_and_damage_lose_nothing)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct world *w = world_open(150, seed);
        struct verify_options o = world_options(w);
        struct traffic t = {.steps = 1u << (seed % 8), .damage_too = true, .writes_all = true};
        se_verify_report r;
        fill(w);
        w->hook = act;
        w->hook_arg = &t;
        o.repair = true;
        o.deep = seed & 1;
        for (unsigned round = 0; round < 3; round++)
            cr_assert_eq(se__verify_run(&o, &r), SE_OK);
        cr_assert(r.stale_l3 == 0 && r.corrupt_l2 == 0 && r.corrupt_l3 == 0 && r.orphan_l2 == 0);
        w->hook = NULL;
        world_quiesce(w);
        expect_newest(w);
        cr_assert_eq(se__verify_run(&o, &r), SE_OK);
        cr_assert_eq(r.repaired, r.stale_l2);
        expect_newest(w);
        expect_l2_newest(w);
        world_close(w);
    }
}

/* ---- one race at a time ---- */

struct race {
    unsigned at_call; /* of the run: before this call to a tier */
    void (*act)(struct world *w);
};

static void at_call(struct world *w, void *arg)
{
    const struct race *race = arg;
    if (w->calls == race->at_call)
        race->act(w);
}

static void rewrite_row(struct world *w)
{
    world_set(w, &w->l3[0], ITEM, world_item(w, 0, 20, 0));
    w->newest[0] = 20;
}

/* A damaged row is replaced only if it is still the one that was read. */
Test(traffic, mending_yields_to_a_write_in_between)
{
    for (unsigned call = 1; call < 9; call++) {
        struct world *w = world_open(1, 1);
        struct verify_options o = world_options(w);
        struct race race = {call, rewrite_row};
        se_verify_report r;
        world_set(w, &w->l3[0], GARBAGE, NULL);
        w->l3[0].claims = UINT64_C(1) << 62;
        world_set(w, &w->l2[0], ITEM, world_item(w, 0, 10, 0));
        w->hook = at_call;
        w->hook_arg = &race;
        o.repair = true;
        cr_assert_eq(se__verify_run(&o, &r), SE_OK);
        cr_assert_eq(se_item_version(w->l3[0].item), call < 8 ? 20 : 10, "before call %u", call);
        if (w->calls < call)
            call = 100;
        world_close(w);
    }
}

static void lose_and_go(struct world *w)
{
    world_set(w, &w->l2[0], NOTHING, NULL);
}

/* An eviction between the looks is no damage. */
Test(traffic, a_copy_that_went_away_is_nothing)
{
    struct world *w = world_open(1, 1);
    struct verify_options o = world_options(w);
    struct race race = {4, lose_and_go}; /* count, two surveys, then the look */
    se_verify_report r;
    world_set(w, &w->l2[0], ITEM, world_item(w, 0, 10, 0));
    world_set(w, &w->l3[0], ITEM, world_item(w, 0, 20, 0));
    w->hook = at_call;
    w->hook_arg = &race;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(w->findings == 0 && r.checked == 1 && r.roots_equal);
    world_close(w);
}

static void let_l2_catch_up(struct world *w)
{
    struct slot *l3 = &w->l3[0];
    world_set(w, &w->l2[0], ITEM, se_item_retain(l3->item));
}

/* L3 has it, L2 gets it a moment later. */
Test(traffic, a_copy_that_comes_later_is_lag)
{
    for (unsigned call = 3; call <= 4; call++) {
        struct world *w = world_open(1, 1);
        struct verify_options o = world_options(w);
        struct race race = {call, let_l2_catch_up};
        se_verify_report r;
        world_set(w, &w->l2[0], ITEM, world_item(w, 0, 10, 0));
        world_set(w, &w->l3[0], ITEM, world_item(w, 0, 20, 0));
        w->hook = at_call;
        w->hook_arg = &race;
        o.repair = true;
        cr_assert_eq(se__verify_run(&o, &r), SE_OK);
        cr_assert(w->findings == 0 && w->writes == 0);
        world_close(w);
    }
}

/* In the WAL: L2 has it, L3 has not, and may not for long. */
Test(traffic, what_is_on_its_way_is_left_alone)
{
    struct world *w = world_open(2, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    for (size_t i = 0; i < 2; i++)
        world_set(w, &w->l2[i], ITEM, world_item(w, i, 20, 0));
    world_set(w, &w->l3[0], ITEM, world_item(w, 0, 10, 0));
    w->step[0] = 1;
    w->step[1] = 1;
    o.settle = NULL;
    o.repair = true;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(w->findings == 0 && w->writes == 0 && r.checked == 2);
    w->step[0] = 0;
    w->step[1] = 0;
    world_close(w);
}

/* Garbage that somebody replaces: by an old copy first, that is on its way to the newest. */
static se_result settle_in_steps(void *arg)
{
    struct world *w = arg;
    w->settles++;
    world_set(w, &w->l2[0], ITEM, world_item(w, 0, w->settles == 1 ? 10 : 20, 0));
    return SE_OK;
}

Test(traffic, what_changed_between_the_looks_is_not_judged_by_the_second)
{
    struct world *w = world_open(1, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    world_set(w, &w->l2[0], GARBAGE, NULL);
    world_set(w, &w->l3[0], ITEM, world_item(w, 0, 20, 0));
    o.settle = settle_in_steps;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(w->findings == 0 && w->settles == 2);
    world_close(w);
}

static unsigned moves;
static void always_move(struct world *w, void *arg)
{
    (void)arg;
    world_set(w, &w->l2[0], ITEM, world_item(w, 0, 10 + ++moves, 0));
}

/* Without end: two looks more, and it is left. */
Test(traffic, what_never_rests_is_left)
{
    struct world *w = world_open(1, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    world_set(w, &w->l3[0], ITEM, world_item(w, 0, 100000, 0));
    world_set(w, &w->l2[0], ITEM, world_item(w, 0, 10, 0));
    moves = 0;
    w->hook = always_move;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(w->findings == 0 && r.checked == 1 && w->settles == 2 && w->reads == 4);
    world_close(w);
}
