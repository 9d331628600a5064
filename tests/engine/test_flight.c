/*
 * flight: one leader per id, followers get its item or its error, nobody waits past his deadline.
 */
#include "base/mem.h"
#include "engine/flight.h"
#include "support/test.h"

#include <string.h>

static se_item *make(const char *id, const char *content)
{
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
                             .content = content,
                             .content_len = strlen(content),
                             .version = 1};
    return se__item_new(&spec);
}

struct follower {
    struct flights *flights;
    struct seat seat;
    struct se__thread thread;
    se_result result;
    se_item *item;
    bool again;
    char error[64];
};

static void follow(void *arg)
{
    struct follower *f = arg;
    f->result =
        se__flight_follow(f->flights, &f->seat, se__deadline_in(10000), &f->item, &f->again);
    strncpy(f->error, se_errmsg(), sizeof f->error - 1);
}

Test(flight, followers_share_the_leaders_item)
{
    struct flights *flights;
    cr_assert_eq(se__flights_open(&flights), SE_OK);
    struct seat flight;
    se__flight_join(flights, 7, "a", 1, &flight);
    cr_assert(flight.leads && se__flight_mine(&flight));
    struct follower f[4] = {0};
    for (int i = 0; i < 4; i++) {
        f[i].flights = flights;
        se__flight_join(flights, 7, "a", 1, &f[i].seat);
        cr_assert(!f[i].seat.leads);
        cr_assert_eq(se__thread_start(&f[i].thread, "follower", follow, &f[i]), SE_OK);
    }
    se_item *item = make("a", "content");
    se__flight_land(flights, &flight, SE_OK, item, false);
    for (int i = 0; i < 4; i++) {
        se__thread_join(&f[i].thread);
        cr_assert_eq(f[i].result, SE_OK);
        cr_assert_eq(f[i].item, item);
        se_item_release(f[i].item);
    }
    cr_assert_eq(se__item_refs(item), 1);
    se_item_release(item);
    se__flight_join(flights, 7, "a", 1, &flight);
    cr_assert(flight.leads, "a landed flight must not be joined");
    se__flight_land(flights, &flight, SE_NOT_FOUND, NULL, false);
    se__flights_close(flights);
}

Test(flight, followers_share_the_leaders_error_and_its_text)
{
    struct flights *flights;
    cr_assert_eq(se__flights_open(&flights), SE_OK);
    struct follower f = {.flights = flights};
    struct seat flight;
    se__flight_join(flights, 7, "a", 1, &flight);
    se__flight_join(flights, 7, "a", 1, &f.seat);
    cr_assert_eq(se__thread_start(&f.thread, "follower", follow, &f), SE_OK);
    se__flight_land(flights, &flight, se__error(SE_ERR_BACKEND, "the reason"), NULL, false);
    se__thread_join(&f.thread);
    cr_assert_eq(f.result, SE_ERR_BACKEND);
    cr_assert_str_eq(f.error, "the reason");
    se__flights_close(flights);
}

Test(flight, other_ids_do_not_meet_even_with_one_hash)
{
    struct flights *flights;
    cr_assert_eq(se__flights_open(&flights), SE_OK);
    struct seat a, b;
    se__flight_join(flights, 7, "a", 1, &a);
    se__flight_join(flights, 7, "ab", 2, &b);
    cr_assert(b.leads);
    se__flight_land(flights, &a, SE_NOT_FOUND, NULL, false);
    se__flight_land(flights, &b, SE_NOT_FOUND, NULL, false);
    se__flights_close(flights);
}

Test(flight, a_follower_gives_up_at_its_deadline_and_the_leader_still_lands)
{
    struct flights *flights;
    cr_assert_eq(se__flights_open(&flights), SE_OK);
    struct seat flight, same;
    bool again;
    se_item *item;
    se__flight_join(flights, 7, "a", 1, &flight);
    se__flight_join(flights, 7, "a", 1, &same);
    cr_assert_eq(se__flight_follow(flights, &same, 0, &item, &again), SE_ERR_TIMEOUT);
    cr_assert_null(item);
    se__flight_land(flights, &flight, SE_NOT_FOUND, NULL, true);
    se__flights_close(flights);
}

/* A closed flight is flown to its end, but who comes now leads one of his own. */
Test(flight, a_closed_flight_is_joined_by_nobody)
{
    struct flights *flights;
    cr_assert_eq(se__flights_open(&flights), SE_OK);
    struct seat flight, same, next;
    bool again;
    se_item *item;
    se__flight_join(flights, 7, "a", 1, &flight);
    se__flight_join(flights, 7, "a", 1, &same);
    cr_assert(!same.leads);
    cr_assert_not(se__flight_close(flights, &flight, 1));
    se__flight_join(flights, 7, "a", 1, &next);
    cr_assert(next.leads);
    cr_assert_not(se__flight_close(flights, &flight, 1)); /* again: nothing happens */
    se__flight_land(flights, &flight, SE_NOT_FOUND, NULL, false);
    cr_assert_eq(se__flight_follow(flights, &same, SE__FOREVER, &item, &again), SE_NOT_FOUND);
    se__flight_join(flights, 7, "a", 1, &same);
    cr_assert(!same.leads, "landing a closed flight took another one's place");
    se__flight_land(flights, &next, SE_OK, NULL, false);
    cr_assert_eq(se__flight_follow(flights, &same, SE__FOREVER, &item, &again), SE_OK);
    se__flights_close(flights);
}

/* Who asked L1 at a moment knows whether anything may have come there since, by the stripe. */
Test(flight, tells_who_joins_whether_one_of_its_stripe_has_ended_since)
{
    struct flights *flights;
    cr_assert_eq(se__flights_open(&flights), SE_OK);
    struct seat a, same;
    uint64_t before = se__flights_moment(flights);
    se__flight_join(flights, 7, "a", 1, &a);
    cr_assert_leq(a.ended, before);
    uint64_t under_way = se__flights_moment(flights);
    cr_assert(se__flight_close(flights, &a, se__flights_end_of(flights)), "nobody has joined");
    se__flight_join(flights, 7, "a", 1, &same);
    cr_assert(same.leads);
    cr_assert_gt(same.ended, before);
    cr_assert_gt(same.ended, under_way);
    cr_assert_leq(same.ended, se__flights_moment(flights), "who asks L1 now has seen all that");
    se__flight_land(flights, &same, SE_NOT_FOUND, NULL, false);
    se__flight_join(flights, UINT64_C(1) << 32, "b", 1, &a);
    cr_assert_eq(a.ended, 0, "another stripe");
    se__flight_land(flights, &a, SE_NOT_FOUND, NULL, false);
    se__flights_close(flights);
}

/* A seat is its caller's own again once it has been left: the leader must not write into it. */
Test(flight, lands_only_with_those_who_still_wait)
{
    struct flights *flights;
    cr_assert_eq(se__flights_open(&flights), SE_OK);
    struct seat flight, left[2], stays;
    bool again;
    se_item *item, *made = make("a", "content");
    se__flight_join(flights, 7, "a", 1, &flight);
    se__flight_join(flights, 7, "a", 1, &left[0]);
    se__flight_join(flights, 7, "a", 1, &stays);
    se__flight_join(flights, 7, "a", 1, &left[1]);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(se__flight_follow(flights, &left[i], 0, &item, &again), SE_ERR_TIMEOUT);
        memset(&left[i], 0, sizeof left[i]);
    }
    se__flight_land(flights, &flight, SE_OK, made, true);
    cr_assert(!left[0].landed && !left[1].landed);
    cr_assert_eq(se__flight_follow(flights, &stays, SE__FOREVER, &item, &again), SE_OK);
    cr_assert(again && item == made);
    se_item_release(item);
    cr_assert_eq(se__item_refs(made), 1);
    se_item_release(made);
    se__flights_close(flights);
}
