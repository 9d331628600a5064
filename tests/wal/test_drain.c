/* Draining, confirming, collecting. */
#include "wal/fixture.h"

#include "l1/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct log_fixture f;

static void set_up(void)
{
    fixture_init(&f);
    fixture_open(&f);
}

static void tear_down(void)
{
    fixture_done(&f);
}

TestSuite(wal_drain, .init = set_up, .fini = tear_down);

Test(wal_drain, takes_the_oldest_first_sorted_by_id)
{
    char text[200];
    append_one(f.wal, "d", 1, WAL_HOME);
    append_one(f.wal, "b", 2, WAL_HOME);
    append_one(f.wal, "x", 3, WAL_ACK); /* is in L1 and no business of the drain */
    append_one(f.wal, "c", 4, WAL_HOME);
    append_one(f.wal, "a", 5, WAL_HOME);
    drained(f.wal, 0, 3, text, sizeof text, false);
    cr_assert_str_eq(text, "b@2 c@4 d@1");
    drained(f.wal, 0, 3, text, sizeof text, false);
    cr_assert_str_eq(text, "a@5");
    cr_assert(!se__wal_drainable(f.wal, 0));
    drained(f.wal, 0, 3, text, sizeof text, false);
    cr_assert_str_eq(text, "");
    cr_assert_eq(stats_of(f.wal).live_records, 1);
}

Test(wal_drain, returned_records_keep_their_order)
{
    char text[200];
    append_one(f.wal, "d", 1, WAL_HOME);
    append_one(f.wal, "b", 2, WAL_HOME);
    append_one(f.wal, "c", 3, WAL_HOME);
    drained(f.wal, 0, 2, text, sizeof text, true);
    cr_assert_str_eq(text, "b@2 d@1");
    drained(f.wal, 0, 2, text, sizeof text, true);
    cr_assert_str_eq(text, "b@2 d@1");
    drained(f.wal, 0, 9, text, sizeof text, false);
    cr_assert_str_eq(text, "b@2 c@3 d@1");
}

Test(wal_drain, hands_out_only_the_newest_of_an_id)
{
    char text[200];
    append_one(f.wal, "a", 1, WAL_HOME);
    append_one(f.wal, "a", 3, WAL_HOME);
    append_one(f.wal, "a", 2, WAL_HOME); /* late: superseded already */
    append_one(f.wal, "b", 4, WAL_HOME);
    cr_assert_eq(stats_of(f.wal).home_records, 4);
    drained(f.wal, 0, 9, text, sizeof text, true);
    cr_assert_str_eq(text, "a@3 b@4");
    struct wal_confirmed confirmed = confirm_one(f.wal, "a", 3);
    cr_assert_eq(confirmed.superseded, 2);
    cr_assert(confirmed.was_home);
    cr_assert_eq(stats_of(f.wal).home_records, 1);
}

Test(wal_drain, an_append_while_draining_is_not_lost)
{
    se_item **items;
    size_t n;
    uint64_t version;
    append_one(f.wal, "a", 1, WAL_HOME);
    cr_assert_eq(se__wal_drain_take(f.wal, 0, 10, SIZE_MAX, &items, &n), SE_OK);
    cr_assert_eq(n, 1);
    cr_assert_eq(append_one(f.wal, "a", 2, WAL_HOME), SE_OK);
    struct wal_confirmed confirmed = confirm_one(f.wal, "a", 1);
    cr_assert(confirmed.was_home && confirmed.superseded == 0);
    se__wal_drain_done(f.wal, 0, items, n);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_PENDING);
    cr_assert_eq(version, 2);
    cr_assert(se__wal_drainable(f.wal, 0));
    fixture_reopen(&f);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_RECOVERED);
    cr_assert_eq(version, 2);
}

Test(wal_drain, a_newer_flush_may_confirm_what_is_being_drained)
{
    char text[100];
    se_item **items;
    size_t n;
    append_one(f.wal, "a", 1, WAL_HOME);
    append_one(f.wal, "b", 2, WAL_HOME);
    cr_assert_eq(se__wal_drain_take(f.wal, 0, 10, SIZE_MAX, &items, &n), SE_OK);
    cr_assert_eq(n, 2);
    struct wal_confirmed confirmed = confirm_one(f.wal, "a", 9);
    cr_assert(confirmed.superseded == 1 && !confirmed.was_home);
    confirmed = confirm_one(f.wal, "a", 1); /* the drain's own, late */
    cr_assert(confirmed.superseded == 0 && !confirmed.was_home && !confirmed.dead_gone);
    se__wal_drain_return(f.wal, 0, items, n);
    drained(f.wal, 0, 10, text, sizeof text, false);
    cr_assert_str_eq(text, "b@2");
    cr_assert_eq(stats_of(f.wal).live_records, 0);
}

Test(wal_drain, a_returned_record_yields_to_a_newer_one)
{
    char text[100];
    se_item **items;
    size_t n;
    append_one(f.wal, "a", 1, WAL_HOME);
    cr_assert_eq(se__wal_drain_take(f.wal, 0, 10, SIZE_MAX, &items, &n), SE_OK);
    append_one(f.wal, "a", 2, WAL_HOME);
    se__wal_drain_return(f.wal, 0, items, n);
    cr_assert_eq(stats_of(f.wal).live_records, 1);
    cr_assert_eq(stats_of(f.wal).home_records, 2);
    drained(f.wal, 0, 10, text, sizeof text, true);
    cr_assert_str_eq(text, "a@2");
    cr_assert_eq(confirm_one(f.wal, "a", 2).superseded, 1);
}

Test(wal_drain, ends_a_batch_by_bytes_but_takes_one)
{
    se_item **items;
    size_t n, taken = 0;
    char id[16];
    for (unsigned i = 0; i < 50; i++) {
        snprintf(id, sizeof id, "id%02u", i);
        append_one(f.wal, id, i + 1, WAL_HOME);
    }
    while (se__wal_drainable(f.wal, 0)) {
        cr_assert_eq(se__wal_drain_take(f.wal, 0, 100, 500, &items, &n), SE_OK);
        cr_assert(n > 0 && n < 10);
        for (size_t i = 0; i < n; i++)
            confirm_one(f.wal, se_item_id(items[i]), se_item_version(items[i]));
        se__wal_drain_done(f.wal, 0, items, n);
        taken += n;
    }
    cr_assert_eq(taken, 50);
    append_one(f.wal, "last", 99, WAL_HOME);
    cr_assert_eq(se__wal_drain_take(f.wal, 0, 100, 1, &items, &n), SE_OK);
    cr_assert_eq(n, 1);
    se__wal_drain_return(f.wal, 0, items, n);
}

/* An id's drain and its dirty queue must be one worker's, or its writes go home in any order. */
Test(wal_drain, partitions_are_those_of_l1)
{
    struct l1 *map;
    char id[16];
    size_t total = 0;
    f.options.partitions = 4;
    fixture_reopen(&f);
    struct l1_options options = {.bytes_max = 1 << 20, .seed = f.options.seed};
    cr_assert_eq(se__l1_open(&options, &map), SE_OK);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(id, sizeof id, "id%02u", i);
        append_one(f.wal, id, i + 1, WAL_HOME);
    }
    for (unsigned p = 0; p < 4; p++) {
        se_item **items;
        size_t n;
        cr_assert_eq(se__wal_drain_take(f.wal, p, 1000, SIZE_MAX, &items, &n), SE_OK);
        cr_assert(n > 5 && n < 60);
        for (size_t i = 0; i < n; i++)
            cr_assert_eq(se__l1_hash(map, se_item_id(items[i]), se__item_id_len(items[i])) % 4, p);
        total += n;
        se__wal_drain_return(f.wal, p, items, n);
    }
    cr_assert_eq(total, 100);
    se__l1_close(map);
}

Test(wal_drain, large_drains_delete_all_their_rows)
{
    enum { N = 40000 };
    se_item **items = calloc(N, sizeof(se_item *));
    size_t n;
    for (unsigned i = 0; i < N; i++) {
        char id[16];
        snprintf(id, sizeof id, "id%06u", (i * 7919) % N);
        items[i] = item_of(id, i + 1, NULL);
    }
    cr_assert_eq(se__wal_append(f.wal, items, N, WAL_HOME, SE__FOREVER), SE_OK);
    for (unsigned i = 0; i < N; i++)
        se_item_release(items[i]);
    free(items);
    cr_assert_eq(se__wal_drain_take(f.wal, 0, SIZE_MAX, SIZE_MAX, &items, &n), SE_OK);
    cr_assert_eq(n, N);
    for (size_t i = 0; i < n; i++)
        confirm_one(f.wal, se_item_id(items[i]), se_item_version(items[i]));
    se__wal_drain_done(f.wal, 0, items, n);
    fixture_reopen(&f);
    cr_assert_eq(stats_of(f.wal).recovered, 0);
}

Test(wal_drain, confirm_takes_insurance_up_to_the_version_only)
{
    uint64_t version;
    append_one(f.wal, "a", 1, WAL_ACK);
    append_one(f.wal, "a", 2, WAL_ACK);
    append_one(f.wal, "a", 3, WAL_ACK);
    struct wal_confirmed confirmed = confirm_one(f.wal, "a", 2);
    cr_assert(confirmed.superseded == 0 && !confirmed.was_home);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_PENDING);
    cr_assert_eq(version, 3);
    cr_assert_eq(stats_of(f.wal).live_records, 1);
    confirm_one(f.wal, "b", 9);
    confirm_one(f.wal, "a", 3);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_NOWHERE);
    cr_assert_eq(se__wal_tend(f.wal, true), SE_OK);
    fixture_reopen(&f);
    cr_assert_eq(stats_of(f.wal).recovered, 0);
}

static bool begins_with_k(void *arg, const se_item *item)
{
    (void)arg;
    return se_item_id(item)[0] == 'k';
}

Test(wal_drain, collects_the_newest_of_each_id)
{
    se_item **items;
    size_t n;
    cr_assert_eq(se__wal_collect(f.wal, begins_with_k, NULL, &items, &n), SE_OK);
    cr_assert(items == NULL && n == 0);
    append_one(f.wal, "k1", 1, WAL_ACK);
    append_one(f.wal, "k1", 5, WAL_ACK);
    append_one(f.wal, "k1", 3, WAL_ACK);
    append_one(f.wal, "other", 6, WAL_HOME);
    append_one(f.wal, "k2", 7, WAL_HOME);
    bury_one(f.wal, "k3", 8);
    append_one(f.wal, "k4", 9, WAL_HOME);
    confirm_one(f.wal, "k4", 9);
    cr_assert_eq(se__wal_collect(f.wal, begins_with_k, NULL, &items, &n), SE_OK);
    cr_assert_eq(n, 3);
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += se_item_version(items[i]);
        se_item_release(items[i]);
    }
    cr_assert_eq(sum, 5 + 7 + 8);
    se__free(items);
}

static void note_id(void *arg, const char *id, size_t id_len)
{
    char *all = arg;
    cr_assert(strlen(all) + id_len + 2 < 100);
    strncat(all, id, id_len);
    strcat(all, " ");
}

Test(wal_drain, shows_the_ids_of_all_that_is_live)
{
    char ids[100] = "";
    se_item **items;
    size_t n;
    cr_assert_eq(se__wal_ids(f.wal, note_id, ids), SE_OK);
    cr_assert_str_eq(ids, "");
    append_one(f.wal, "drained", 1, WAL_HOME);
    cr_assert_eq(se__wal_drain_take(f.wal, 0, 10, SIZE_MAX, &items, &n), SE_OK);
    cr_assert_eq(n, 1);
    append_one(f.wal, "sure", 2, WAL_ACK);
    append_one(f.wal, "home", 3, WAL_HOME);
    append_one(f.wal, "confirmed", 4, WAL_HOME);
    confirm_one(f.wal, "confirmed", 4);
    bury_one(f.wal, "dead", 5);
    cr_assert_eq(se__wal_ids(f.wal, note_id, ids), SE_OK);
    cr_assert_str_eq(ids, "drained sure home dead ");
    se__wal_drain_return(f.wal, 0, items, n);
}
