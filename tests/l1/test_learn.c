/*
 * Tests of src/l1/learn.c: the small queue's share, and whether what comes back late is trusted.
 */
#include "map_fixture.h"

#include "l1/learn.h"

#define ENTRIES 1000u

/* The longer the queue the more are hit: of a queue of all entries this percentage would be. */
static void newcomers(struct lessons *l, unsigned n, unsigned percent)
{
    for (unsigned i = 0, carry = 0; i < n; i++) {
        carry += l->small_share * percent;
        bool used = carry >= LEARN_SHARE_ONE * 100;
        carry -= used ? LEARN_SHARE_ONE * 100 : 0;
        se__learn_newcomer(l, used, ENTRIES);
    }
}

Test(learn, the_small_queue_is_short_where_newcomers_are_not_wanted)
{
    struct lessons l;
    se__lessons_init(&l);
    cr_assert_eq(l.small_share, LEARN_SHARE_START);
    newcomers(&l, 15, 0);
    cr_assert_eq(l.small_share, LEARN_SHARE_START, "a few say nothing");
    newcomers(&l, 1, 0);
    cr_assert_eq(l.small_share, LEARN_SHARE_MIN);
    newcomers(&l, 5000, 10);
    cr_assert_eq(l.small_share, LEARN_SHARE_MIN);
}

Test(learn, the_small_queue_is_long_where_they_are)
{
    struct lessons l;
    se__lessons_init(&l);
    newcomers(&l, 5000, 200);
    cr_assert_eq(l.small_share, LEARN_SHARE_MAX);
    newcomers(&l, 20000, 0);
    cr_assert_eq(l.small_share, LEARN_SHARE_MIN, "what was long ago is forgotten");
}

Test(learn, the_same_yield_gives_the_same_share_from_anywhere)
{
    for (unsigned before = 0; before <= 200; before += 100) {
        struct lessons l;
        se__lessons_init(&l);
        newcomers(&l, 3000, before);
        newcomers(&l, 20000, 80);
        cr_assert(l.small_share >= 85 && l.small_share <= 115, "%u", l.small_share);
    }
}

Test(learn, the_newest_of_the_small_queue_is_not_its_surplus)
{
    struct lessons l;
    se__lessons_init(&l);
    cr_assert_not(se__learn_small_is_long(&l, 0, 0));
    cr_assert_not(se__learn_small_is_long(&l, 1, 5), "a small map");
    cr_assert(se__learn_small_is_long(&l, 2, 5));
    cr_assert_not(se__learn_small_is_long(&l, 101, 1000));
    cr_assert(se__learn_small_is_long(&l, 102, 1000));
}

static void teach(struct lessons *l, bool late, unsigned n, unsigned used_of_100)
{
    for (unsigned i = 0; i < n; i++)
        se__learn_main(l, late, i % 100 < used_of_100, ENTRIES);
}

Test(learn, what_comes_back_late_is_trusted_as_long_as_it_is_used_like_the_others)
{
    struct lessons l;
    se__lessons_init(&l);
    cr_assert(se__learn_trusts(&l, ENTRIES), "nothing is known");
    teach(&l, false, 500, 50);
    cr_assert(se__learn_trusts(&l, ENTRIES));
    teach(&l, true, 100, 70);
    cr_assert(se__learn_trusts(&l, ENTRIES));
    teach(&l, true, 1000, 30);
    cr_assert_not(se__learn_trusts(&l, ENTRIES));
    teach(&l, false, 5000, 20);
    cr_assert(se__learn_trusts(&l, ENTRIES), "the others are no better");
}

Test(learn, after_many_refusals_it_is_trusted_anew)
{
    struct lessons l;
    se__lessons_init(&l);
    teach(&l, false, 500, 50);
    teach(&l, true, 500, 0);
    unsigned refused = 0;
    while (!se__learn_trusts(&l, ENTRIES))
        cr_assert_leq(++refused, ENTRIES + 1);
    cr_assert_gt(refused, ENTRIES);
    teach(&l, true, 500, 0);
    cr_assert_not(se__learn_trusts(&l, ENTRIES), "for as long as it deserves");
}

Test(learn, its_bounds_hold_whatever_comes)
{
    uint64_t random = 3;
    for (unsigned round = 0; round < 50; round++) {
        struct lessons l;
        se__lessons_init(&l);
        uint32_t entries = (uint32_t)(next_random(&random) % (round % 2 ? 65529 : 4));
        for (unsigned i = 0; i < 5000; i++) {
            uint64_t r = next_random(&random);
            se__learn_newcomer(&l, r % 8 < round % 9, entries);
            se__learn_main(&l, r >> 8 & 1, (r >> 9 & 7) < round % 7, entries);
            (void)se__learn_trusts(&l, entries);
            cr_assert(l.small_share >= LEARN_SHARE_MIN && l.small_share <= LEARN_SHARE_MAX);
            cr_assert(l.late.used <= l.late.seen && l.others.used <= l.others.seen);
            cr_assert(l.late.seen <= entries + 64 && l.others.seen <= entries + 64);
            cr_assert(l.newcomers.seen <= entries + 64 && l.refused <= entries);
        }
    }
}
