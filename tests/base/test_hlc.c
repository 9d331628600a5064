/* The clock that versions writes: it grows whatever happens. */
#include "base/hlc.h"
#include "base/mem.h"
#include "base/os.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#define NOW INT64_C(1700000000000)
#define MAX SE__VERSION_MAX

Test(hlc, layout_sorts_as_a_signed_bigint)
{
    cr_assert_eq(se__version_of_ms(0), 0u);
    cr_assert_eq(se__version_of_ms(-5), 0u);
    cr_assert_eq(se__version_of_ms(1), 65536u);
    cr_assert_eq(se__version_ms(se__version_of_ms(NOW)), NOW);
    cr_assert_eq(se__version_ms(se__version_of_ms(NOW) + 65535), NOW);
    cr_assert_eq(se__version_of_ms(INT64_MAX), MAX);
    cr_assert_eq(se__version_of_ms(INT64_C(1) << 47), MAX);
    cr_assert_gt((int64_t)se__version_of_ms((INT64_C(1) << 47) - 1), 0);
}

Test(hlc, grows_and_follows_the_wall_clock)
{
    struct hlc c;
    se__hlc_init(&c, 0);
    uint64_t a = se__hlc_next(&c, NOW);
    cr_assert_eq(a, se__version_of_ms(NOW));
    cr_assert_eq(se__hlc_next(&c, NOW), a + 1);
    cr_assert_eq(se__hlc_last(&c), a + 1);
    cr_assert_eq(se__hlc_next(&c, NOW + 5), se__version_of_ms(NOW + 5));
}

Test(hlc, grows_while_the_wall_clock_goes_back)
{
    struct hlc c;
    se__hlc_init(&c, 0);
    uint64_t last = se__hlc_next(&c, NOW);
    for (int64_t back = 1; back < INT64_C(4000000000000); back = back * 3 + 1) {
        uint64_t next = se__hlc_next(&c, NOW - back);
        cr_assert_eq(next, last + 1);
        last = next;
    }
}

Test(hlc, the_counter_runs_over_into_the_milliseconds)
{
    struct hlc c;
    se__hlc_init(&c, 0);
    uint64_t last = se__hlc_next(&c, NOW);
    for (int i = 0; i < 70000; i++) {
        uint64_t next = se__hlc_next(&c, NOW);
        cr_assert_gt(next, last);
        last = next;
    }
    cr_assert_eq(se__version_ms(last), NOW + 1);
}

Test(hlc, starts_above_its_floor)
{
    struct hlc c;
    uint64_t floor = se__version_of_ms(NOW + 10000);
    se__hlc_init(&c, floor);
    cr_assert_gt(se__hlc_next(&c, NOW), floor);
    cr_assert(se__hlc_covers(&c, floor));
    cr_assert_not(se__hlc_covers(&c, floor + 1));
}

Test(hlc, stays_at_the_end_of_time)
{
    struct hlc c;
    se__hlc_init(&c, UINT64_MAX);
    cr_assert_eq(se__hlc_next(&c, NOW), MAX);
    cr_assert_eq(se__hlc_next(&c, NOW), MAX);
    cr_assert_eq(se__hlc_above(&c, MAX, NOW), MAX);
    cr_assert_eq(se__hlc_ceiling_for(&c, MAX, INT64_MAX, UINT32_MAX), MAX);
}

Test(hlc, observing_pushes_it_within_the_skew)
{
    struct hlc c;
    se__hlc_init(&c, 0);
    uint64_t edge = se__version_of_ms(NOW + 1000) | 0xffff;
    cr_assert(se__hlc_observe(&c, edge, NOW, 1000));
    cr_assert_eq(se__hlc_next(&c, NOW), edge + 1);

    se__hlc_init(&c, 0);
    cr_assert_not(se__hlc_observe(&c, edge + 1, NOW, 1000));
    cr_assert_eq(se__hlc_last(&c), 0u);
    cr_assert_not(se__hlc_observe(&c, MAX, NOW, UINT32_MAX));
    cr_assert_not(se__hlc_observe(&c, UINT64_MAX, NOW, UINT32_MAX));
    cr_assert_eq(se__hlc_last(&c), 0u);
}

Test(hlc, observing_the_past_changes_nothing)
{
    struct hlc c;
    se__hlc_init(&c, 0);
    uint64_t last = se__hlc_next(&c, NOW);
    cr_assert(se__hlc_observe(&c, last - 1, NOW, 1000));
    cr_assert(se__hlc_observe(&c, 0, NOW, 1000));
    /* The wall clock jumped back a day: this engine's own versions are no surprise. */
    cr_assert(se__hlc_observe(&c, last, NOW - 86400000, 1000));
    cr_assert_eq(se__hlc_last(&c), last);
}

Test(hlc, above_does_not_push_the_clock)
{
    struct hlc c;
    se__hlc_init(&c, 0);
    uint64_t far = se__version_of_ms(NOW * 2);
    cr_assert_eq(se__hlc_above(&c, far, NOW), far + 1);
    cr_assert_eq(se__version_ms(se__hlc_last(&c)), NOW);
    uint64_t low = se__hlc_above(&c, 5, NOW + 1);
    cr_assert_eq(low, se__version_of_ms(NOW + 1));
    cr_assert_eq(se__hlc_last(&c), low);
}

Test(hlc, ceiling_covers_version_and_time_ahead)
{
    struct hlc c;
    se__hlc_init(&c, 0);
    uint64_t v = se__hlc_next(&c, NOW);
    cr_assert_not(se__hlc_covers(&c, v));
    uint64_t ceiling = se__hlc_ceiling_for(&c, v, NOW, 10000);
    cr_assert_not(se__hlc_covers(&c, v)); /* not before it is stored */
    se__hlc_raise_ceiling(&c, ceiling);
    cr_assert(se__hlc_covers(&c, v));
    cr_assert(se__hlc_covers(&c, se__hlc_next(&c, NOW + 10000)));
    cr_assert_not(se__hlc_covers(&c, se__hlc_next(&c, NOW + 10001)));
    se__hlc_raise_ceiling(&c, 1); /* never lowered */
    cr_assert(se__hlc_covers(&c, ceiling));
    cr_assert_geq(se__hlc_ceiling_for(&c, 0, NOW - 1000000, 0), ceiling);
    uint64_t far = se__version_of_ms(NOW * 2);
    cr_assert_geq(se__hlc_ceiling_for(&c, far, NOW, 10000), far);
}

Test(hlc, a_restart_at_the_ceiling_repeats_nothing)
{
    struct hlc c;
    uint64_t stored = 0, greatest = 0;
    int64_t wall = NOW;
    for (int restart = 0; restart < 50; restart++) {
        se__hlc_init(&c, stored); /* the process died; all it left is the stored ceiling */
        for (int i = 0; i < 100; i++) {
            uint64_t v = se__hlc_next(&c, wall);
            if (!se__hlc_covers(&c, v)) {
                stored = se__hlc_ceiling_for(&c, v, wall, 10);
                se__hlc_raise_ceiling(&c, stored);
            }
            cr_assert_gt(v, greatest, "restart %d", restart);
            greatest = v;
        }
        wall -= 1000; /* and the clock goes back each time */
    }
}

#define THREADS 4
#define EACH 20000

struct issuer {
    struct hlc *clock;
    uint64_t *issued;
    bool grew;
};

static void issue(void *arg)
{
    struct issuer *me = arg;
    me->grew = true;
    for (int i = 0; i < EACH; i++) {
        uint64_t before = se__hlc_last(me->clock);
        me->issued[i] = se__hlc_next(me->clock, NOW + i % 7 - 3);
        if (me->issued[i] <= before || (i > 0 && me->issued[i] <= me->issued[i - 1]))
            me->grew = false;
        if (i % 100 == 0)
            (void)se__hlc_observe(me->clock, me->issued[i] + 50, NOW, 60000);
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

Test(hlc, no_two_threads_get_one_version)
{
    struct hlc c;
    se__hlc_init(&c, 0);
    uint64_t *all = se__alloc(THREADS * EACH * sizeof *all);
    struct issuer issuers[THREADS];
    struct se__thread threads[THREADS];
    for (int t = 0; t < THREADS; t++) {
        issuers[t] = (struct issuer){&c, all + t * EACH, false};
        cr_assert_eq(se__thread_start(&threads[t], "issuer", issue, &issuers[t]), SE_OK);
    }
    for (int t = 0; t < THREADS; t++) {
        se__thread_join(&threads[t]);
        cr_assert(issuers[t].grew);
    }
    qsort(all, THREADS * EACH, sizeof *all, by_value);
    for (int i = 1; i < THREADS * EACH; i++)
        cr_assert_neq(all[i], all[i - 1]);
    se__free(all);
}
