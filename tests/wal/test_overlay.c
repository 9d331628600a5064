/* The overlay alone: its map, its queues, its memory. */
#include "support/test.h"

#include "wal/overlay.h"

#include <stdlib.h>
#include <string.h>

static struct overlay o;

static void set_up(void)
{
    cr_assert_eq(se__overlay_init(&o, 2, 10), SE_OK);
}

static void tear_down(void)
{
    se__overlay_done(&o);
}

TestSuite(wal_overlay, .init = set_up, .fini = tear_down);

static uint64_t seq;

static uint32_t add(uint64_t id, uint64_t version, enum overlay_state as)
{
    struct overlay_node proto = {.key = {.hi = id, .lo = 7}, /* all in one bucket */
                                 .seq = ++seq,
                                 .version = version,
                                 .bytes = 100,
                                 .partition = (uint16_t)(id % 2)};
    uint32_t node = se__overlay_add(&o, &proto);
    cr_assert(node != 0);
    if (as != OVERLAY_IN_FLIGHT)
        se__overlay_publish(&o, node, as);
    return node;
}

static struct overlay_key key(uint64_t id)
{
    return (struct overlay_key){.hi = id, .lo = 7};
}

Test(wal_overlay, keeps_apart_what_shares_a_bucket)
{
    for (uint64_t id = 1; id <= 50; id++)
        add(id, 100 + id, OVERLAY_ACK);
    struct overlay_confirmed confirmed;
    for (uint64_t id = 1; id <= 50; id += 2)
        se__overlay_confirm(&o, key(id), 1000, &confirmed);
    for (uint64_t id = 1; id <= 50; id++) {
        uint32_t node = se__overlay_newest(&o, key(id));
        cr_assert_eq(node != 0, id % 2 == 0);
        if (node)
            cr_assert_eq(se__overlay_at(&o, node)->version, 100 + id);
    }
    cr_assert_eq(se__overlay_live(&o), 25);
    cr_assert_eq(se__overlay_live_bytes(&o), 2500);
}

Test(wal_overlay, what_is_in_flight_is_not_seen_and_counts)
{
    uint32_t node = add(1, 5, OVERLAY_IN_FLIGHT);
    cr_assert_eq(se__overlay_newest(&o, key(1)), 0);
    cr_assert_eq(se__overlay_by_version(&o, key(1), 5), 0);
    cr_assert(se__overlay_in_flight(&o, key(1), 5));
    cr_assert_eq(se__overlay_live(&o), 0);
    cr_assert_eq(se__overlay_held(&o), 1);
    se__overlay_cancel(&o, node);
    cr_assert_eq(se__overlay_held_bytes(&o), 0);
    cr_assert(se__overlay_empty(&o));
}

Test(wal_overlay, a_doomed_record_goes_as_soon_as_it_is_written)
{
    struct overlay_confirmed confirmed;
    uint32_t node = add(1, 5, OVERLAY_IN_FLIGHT), other = add(2, 6, OVERLAY_IN_FLIGHT);
    se__overlay_confirm(&o, key(1), 5, &confirmed);
    se__overlay_forget(&o, key(2), 6);
    cr_assert(confirmed.home == 0 && confirmed.superseded == 0 && !confirmed.dead_gone);
    se__overlay_publish(&o, node, OVERLAY_HOME);
    se__overlay_publish(&o, other, OVERLAY_ACK);
    cr_assert(se__overlay_empty(&o));
    cr_assert_eq(se__overlay_gone_take(&o), node);
    cr_assert_eq(se__overlay_gone_take(&o), other);
    cr_assert_eq(se__overlay_gone_take(&o), 0);
}

Test(wal_overlay, nodes_are_used_again)
{
    struct overlay_confirmed confirmed;
    for (int round = 0; round < 20; round++) {
        for (uint64_t id = 0; id < 5000; id++) {
            seq++;
            struct overlay_node proto = {.key = {id, id}, .seq = seq, .version = seq, .bytes = 1};
            se__overlay_publish(&o, se__overlay_add(&o, &proto), OVERLAY_HOME);
        }
        for (uint64_t id = 0; id < 5000; id++)
            se__overlay_confirm(&o, (struct overlay_key){id, id}, seq, &confirmed);
        for (uint32_t node; (node = se__overlay_gone_take(&o));)
            se__overlay_gone_free(&o, node);
        cr_assert(o.used <= 5001, "%u", o.used);
        cr_assert(o.count[OVERLAY_GONE] == 0 && o.count[OVERLAY_HOME] == 0 &&
                  o.queues[0].waiting == 0);
        cr_assert(o.queues[0].front == 0 && o.queues[0].back == 0);
    }
}

Test(wal_overlay, each_newest_visits_every_id_once)
{
    uint32_t at = 0, node, n = 0;
    for (uint64_t id = 1; id <= 30; id++) {
        add(id, 1, OVERLAY_ACK);
        add(id, 3, OVERLAY_ACK);
        add(id, 2, OVERLAY_ACK);
        add(id, 9, OVERLAY_IN_FLIGHT);
    }
    while ((node = se__overlay_each_newest(&o, &at))) {
        cr_assert_eq(se__overlay_at(&o, node)->version, 3);
        n++;
    }
    cr_assert_eq(n, 30);
}

Test(wal_overlay, deletions_that_failed_are_tried_again)
{
    struct overlay_confirmed confirmed;
    add(1, 1, OVERLAY_ACK);
    add(2, 2, OVERLAY_ACK);
    se__overlay_confirm(&o, key(1), 9, &confirmed);
    se__overlay_confirm(&o, key(2), 9, &confirmed);
    uint32_t first = se__overlay_gone_take(&o), second = se__overlay_gone_take(&o);
    cr_assert(first && second && !se__overlay_gone_take(&o));
    se__overlay_gone_back(&o, first);
    cr_assert_eq(se__overlay_gone_take(&o), first);
    se__overlay_gone_free(&o, first);
    se__overlay_gone_back(&o, second);
    cr_assert_eq(o.count[OVERLAY_GONE], 1);
}
