/*
 * tests of what a repair writes and what it may not: what a tier refuses or is not routed to, the ceiling, spares, others who write, one
 * tier alone; and of healing one id.
 */
#include "world.h"

#include "support/test.h"

/* ---- whole runs ---- */

/* What a tier is not routed to gets what voids the older copy there. */
Test(repair, a_skipped_tier_gets_a_mark_and_not_the_item)
{
    struct world *w = world_open(2, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    world_set(w, &w->l2[0], ITEM, world_item(w, 0, 8, 0));
    world_set(w, &w->l3[0], ITEM, world_item(w, 0, 9, SE_ROUTE_L3));
    world_set(w, &w->l2[1], ITEM, world_item(w, 1, 9, SE_ROUTE_L2));
    world_set(w, &w->l3[1], ITEM, world_item(w, 1, 8, 0));
    o.repair = true;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(r.stale_l2 == 1 && r.stale_l3 == 1 && r.repaired == 2);
    cr_assert_eq(w->l2[0].what, MARK, "a floor, beside an item that is L3's alone");
    cr_assert_eq(w->l3[1].what, TOMBSTONE, "a tombstone, below a cache entry");
    world_close(w);
}

Test(repair, a_refused_row_is_unrepairable_and_says_why)
{
    struct world *w = world_open(2, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    world_set(w, &w->l2[0], ITEM, world_item(w, 0, 9, 0));
    world_set(w, &w->l3[0], GARBAGE, NULL);
    world_set(w, &w->l2[1], ITEM, world_item(w, 1, 9, 0));
    world_set(w, &w->l3[1], ITEM, world_item(w, 1, 8, 0));
    w->refuse_l3 = true;
    o.repair = true;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(r.corrupt_l3 == 1 && r.stale_l3 == 1 && r.repaired == 0 && r.unrepairable == 2);
    world_close(w);
}

/* Redis never shows what the database refused. */
Test(repair, l2_does_not_get_what_l3_refuses)
{
    struct world *w = world_open(1, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    world_set(w, &w->l2[0], GARBAGE, NULL);
    world_set(w, &w->l3[0], GARBAGE, NULL);
    w->spares[0] = world_item(w, 0, 9, 0);
    w->refuse_l3 = true;
    o.repair = true;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(r.repaired == 0 && r.unrepairable == 2);
    cr_assert_eq(w->l2[0].what, GARBAGE);
    world_close(w);
}

static se_result refuse_cover(void *arg, uint64_t version)
{
    (void)arg;
    (void)version;
    return se__error(SE_ERR_BACKEND, "no ceiling");
}

Test(repair, nothing_above_the_ceiling_is_written)
{
    struct world *w = world_open(1, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    world_set(w, &w->l2[0], ITEM, world_item(w, 0, 9, 0));
    world_set(w, &w->l3[0], ITEM, world_item(w, 0, 8, 0));
    o.repair = true;
    o.cover = refuse_cover;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(r.stale_l3 == 1 && r.unrepairable == 1 && w->writes == 0);
    world_close(w);
}

/* A damaged copy in L1 is no spare. */
Test(repair, a_broken_spare_is_none)
{
    struct world *w = world_open(1, 1);
    struct verify_options o = world_options(w);
    uint8_t hash[SE_HASH_SIZE] = {1};
    se_verify_report r;
    world_set(w, &w->l3[0], GARBAGE, NULL);
    w->spares[0] = se__item_new(&(struct item_spec){.id = w->ids[0],
                                                    .id_len = strlen(w->ids[0]),
                                                    .content = "x",
                                                    .content_len = 1,
                                                    .version = 9,
                                                    .content_hash = hash});
    o.repair = true;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(r.corrupt_l3 == 1 && r.repaired == 0 && r.unrepairable == 1 && w->writes == 0);
    world_close(w);
}

Test(repair, l2_ahead_is_lag_where_others_write)
{
    struct world *w = world_open(1, 1);
    struct verify_options o = world_options(w);
    se_verify_report r;
    world_set(w, &w->l2[0], ITEM, world_item(w, 0, 9, 0));
    world_set(w, &w->l3[0], ITEM, world_item(w, 0, 8, 0));
    w->foreign = true;
    o.repair = true;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK);
    cr_assert(r.stale_l3 == 0 && w->findings == 0 && w->writes == 0);
    cr_assert(!r.roots_equal, "and yet they are not the same now");
    world_close(w);
}

Test(repair, one_tier_alone)
{
    for (unsigned which = 0; which < 2; which++) {
        struct world *w = world_open(50, 1);
        struct verify_options o = world_options(w);
        se_verify_report r;
        for (size_t i = 0; i < 50; i++) {
            struct slot *slot = which ? &w->l3[i] : &w->l2[i];
            world_set(w, slot, i % 10 ? ITEM : GARBAGE, i % 10 ? world_item(w, i, 5, 0) : NULL);
            slot->claims = 77;
            if (i % 20 == 0)
                w->spares[i] = world_item(w, i, 5, 0);
        }
        *(which ? &o.l2 : &o.l3) = (struct tier){0};
        o.repair = true;
        cr_assert_eq(se__verify_run(&o, &r), SE_OK);
        cr_assert_eq(r.checked, 50);
        cr_assert_eq(which ? r.corrupt_l3 : r.corrupt_l2, 5);
        cr_assert(r.repaired == 3 && r.unrepairable == 2 && r.roots_equal);
        cr_assert_eq(w->findings, 5);
        world_close(w);
    }
}

/* ---- one id ---- */

static bool heal(struct world *w, bool *mended)
{
    struct verify_options o = world_options(w);
    o.repair = true;
    return se__verify_one(&o, w->ids[0], mended) == SE_OK;
}

Test(repair, one_id_is_healed_from_where_it_is_whole)
{
    for (unsigned seed = 0; seed < 4; seed++) {
        struct world *w = world_open(1, seed + 1);
        bool mended = false;
        se_item *it = world_item(w, 0, 9, 0);
        world_set(w, &w->l2[0], seed & 1 ? BAD_CONTENT : GARBAGE,
                  seed & 1 ? se_item_retain(it) : NULL);
        world_set(w, &w->l3[0], seed & 2 ? GARBAGE : ITEM, seed & 2 ? NULL : se_item_retain(it));
        if (seed & 2)
            w->spares[0] = se_item_retain(it);
        cr_assert(heal(w, &mended) && mended);
        cr_assert(w->l2[0].what == ITEM && w->l3[0].what == ITEM);
        se_item_release(it);
        world_close(w);
    }
}

Test(repair, one_id_without_a_good_copy_is_not_mended)
{
    struct world *w = world_open(1, 1);
    bool mended = true;
    world_set(w, &w->l3[0], GARBAGE, NULL);
    cr_assert(heal(w, &mended) && !mended);
    world_set(w, &w->l3[0], BAD_CONTENT, world_item(w, 0, 9, 0));
    world_set(w, &w->l2[0], ITEM, world_item(w, 0, 8, 0));
    cr_assert(heal(w, &mended) && !mended, "an older copy is not the lost one");
    world_set(w, &w->l3[0], NOTHING, NULL);
    world_set(w, &w->l2[0], NOTHING, NULL);
    cr_assert(heal(w, &mended) && !mended);
    world_close(w);
}

Test(repair, one_id_that_is_being_written_is_left_alone)
{
    struct world *w = world_open(1, 1);
    bool mended = true;
    world_set(w, &w->l3[0], GARBAGE, NULL);
    world_set(w, &w->l2[0], ITEM, world_item(w, 0, 8, 0));
    w->step[0] = 1;
    cr_assert(heal(w, &mended) && !mended && w->calls == 0);
    w->step[0] = 0;
    world_close(w);
}

Test(repair, one_id_in_an_outage_is_an_error)
{
    for (unsigned after = 0; after < 3; after++) {
        struct world *w = world_open(1, 1);
        bool mended = true;
        world_set(w, &w->l3[0], GARBAGE, NULL);
        world_set(w, &w->l2[0], ITEM, world_item(w, 0, 8, 0));
        w->down_l3_after = after;
        struct verify_options o = world_options(w);
        o.repair = true;
        cr_assert_eq(se__verify_one(&o, w->ids[0], &mended), SE_ERR_BACKEND);
        cr_assert(!mended);
        world_close(w);
    }
}
