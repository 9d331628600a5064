/*
 * What goes where: the whole table, so that no combination can be silently nothing.
 */
#include "flush/worker.h"
#include "support/test.h"

Test(flush_route, the_home_tier_gets_an_item_or_a_tombstone)
{
    for (uint8_t route = 0; route <= ITEM_ROUTE_ALL; route++) {
        for (int home_is_l3 = 0; home_is_l3 <= 1; home_is_l3++) {
            bool skipped = home_is_l3 && route == SE_ROUTE_L2;
            cr_assert_eq(se__route_home(true, route, home_is_l3), RECORD_TOMBSTONE);
            cr_assert_eq(se__route_home(false, route, home_is_l3),
                         skipped ? RECORD_TOMBSTONE : RECORD_ITEM);
        }
    }
}

Test(flush_route, l2_gets_a_floor_for_what_skips_it)
{
    for (uint8_t route = 0; route <= ITEM_ROUTE_ALL; route++) {
        cr_assert_eq(se__route_cache(true, route), RECORD_TOMBSTONE);
        cr_assert_eq(se__route_cache(false, route),
                     route == SE_ROUTE_L3 ? RECORD_FLOOR : RECORD_ITEM);
    }
}
