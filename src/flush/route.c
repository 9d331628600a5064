/*
 * route.c - what each tier gets of a write: a total function of (deleted, route, tiers).
 *
 *   write              home L3     L2 beside it   home L2
 *   put, all tiers     ITEM        ITEM           ITEM
 *   put, L3 only       ITEM        FLOOR          ITEM
 *   put, L2 only       TOMBSTONE   ITEM           ITEM
 *   delete             TOMBSTONE   TOMBSTONE      TOMBSTONE
 *
 * A tier that a write skips gets what voids an older copy there (L3 nothing at all where the filter
 * excludes the id: batch.c); where L2 is the only tier it is
 * the home of everything.
 */
#include "flush/worker.h"

enum record_kind se__route_home(bool deleted, uint8_t route, bool home_is_l3)
{
    if (deleted)
        return RECORD_TOMBSTONE;
    bool skipped = home_is_l3 && route && !(route & SE_ROUTE_L3);
    return skipped ? RECORD_TOMBSTONE : RECORD_ITEM;
}

enum record_kind se__route_cache(bool deleted, uint8_t route)
{
    if (deleted)
        return RECORD_TOMBSTONE;
    bool skipped = route && !(route & SE_ROUTE_L2);
    return skipped ? RECORD_FLOOR : RECORD_ITEM;
}
