/* Dead letters. */
#include "wal/fixture.h"

#include <stdio.h>
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

TestSuite(wal_dead, .init = set_up, .fini = tear_down);

static bool describe(void *arg, const struct wal_dead *dead)
{
    char *text = arg;
    cr_assert(dead->buried_at_ms > 0);
    sprintf(text + strlen(text), "%s@%llu %d %s;", se_item_id(dead->item),
            (unsigned long long)se_item_version(dead->item), dead->code, dead->error);
    return true;
}

Test(wal_dead, survive_reopening_and_are_served)
{
    uint64_t version;
    char text[300] = "";
    append_one(f.wal, "a", 1, WAL_HOME);
    append_one(f.wal, "a", 2, WAL_HOME);
    cr_assert_eq(bury_one(f.wal, "a", 2), SE_OK);
    cr_assert_eq(bury_one(f.wal, "new", 3), SE_OK); /* was not in the log */
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(find_version(f.wal, "a", &version), WAL_DEAD);
        cr_assert_eq(version, 2);
        cr_assert_eq(stats_of(f.wal).dead, 2);
        cr_assert_eq(stats_of(f.wal).live_records, 0);
        cr_assert(!se__wal_drainable(f.wal, 0));
        fixture_reopen(&f);
        cr_assert_eq(stats_of(f.wal).recovered, 2);
    }
    cr_assert_eq(se__wal_dead_each(f.wal, describe, text), SE_OK);
    cr_assert_str_eq(text, "a@2 1406 Data too long;new@3 1406 Data too long;");
}

Test(wal_dead, a_newer_write_resolves_them)
{
    uint64_t version;
    bury_one(f.wal, "a", 2);
    append_one(f.wal, "a", 5, WAL_ACK);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_PENDING);
    cr_assert(!confirm_one(f.wal, "a", 1).dead_gone);
    struct wal_confirmed confirmed = confirm_one(f.wal, "a", 5);
    cr_assert(confirmed.dead_gone && !confirmed.was_home && confirmed.superseded == 0);
    cr_assert_eq(stats_of(f.wal).dead, 0);
    fixture_reopen(&f);
    cr_assert_eq(stats_of(f.wal).recovered, 0);
}

Test(wal_dead, older_records_go_with_the_burial_and_are_reported_once)
{
    append_one(f.wal, "a", 1, WAL_HOME);
    se_item **items;
    size_t n;
    cr_assert_eq(se__wal_drain_take(f.wal, 0, 10, SIZE_MAX, &items, &n),
                 SE_OK); /* a@1 is being drained */
    append_one(f.wal, "a", 2, WAL_HOME);
    append_one(f.wal, "a", 3, WAL_ACK);
    cr_assert_eq(bury_one(f.wal, "a", 2), SE_OK);
    se__wal_drain_done(f.wal, 0, items, n);
    cr_assert_eq(stats_of(f.wal).live_records, 1); /* a@3 */
    cr_assert_eq(stats_of(f.wal).home_records, 1); /* a@1, superseded and not yet reported */
    struct wal_confirmed confirmed = confirm_one(f.wal, "a", 3);
    cr_assert(confirmed.dead_gone && confirmed.superseded == 1);
    cr_assert_eq(stats_of(f.wal).home_records, 0);
}

Test(wal_dead, buried_while_draining_does_not_come_back)
{
    se_item **items;
    size_t n;
    append_one(f.wal, "a", 1, WAL_HOME);
    append_one(f.wal, "b", 2, WAL_HOME);
    cr_assert_eq(se__wal_drain_take(f.wal, 0, 10, SIZE_MAX, &items, &n), SE_OK);
    cr_assert_eq(se__wal_bury(f.wal, items[0], 1, "bad"), SE_OK);
    confirm_one(f.wal, "b", 2);
    se__wal_drain_done(f.wal, 0, items, n);
    cr_assert(!se__wal_drainable(f.wal, 0));
    fixture_reopen(&f);
    cr_assert(!se__wal_drainable(f.wal, 0));
    cr_assert_eq(stats_of(f.wal).dead, 1);
}

Test(wal_dead, retry_hands_them_to_the_drain)
{
    char text[100];
    bury_one(f.wal, "a", 2);
    cr_assert_eq(se__wal_dead_resolve(f.wal, "nobody", true), SE_NOT_FOUND);
    cr_assert_eq(se__wal_dead_resolve(f.wal, "a", true), SE_OK, "%s", se_errmsg());
    cr_assert_eq(stats_of(f.wal).dead, 0);
    cr_assert_eq(stats_of(f.wal).home_records, 1);
    fixture_reopen(&f);
    cr_assert_eq(stats_of(f.wal).dead, 0);
    drained(f.wal, 0, 10, text, sizeof text, false);
    cr_assert_str_eq(text, "a@2");
    cr_assert_eq(se__wal_dead_resolve(f.wal, "a", true), SE_NOT_FOUND);
}

Test(wal_dead, discard_removes_them)
{
    uint64_t version;
    bury_one(f.wal, "a", 2);
    cr_assert_eq(se__wal_dead_resolve(f.wal, "a", false), SE_OK);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_NOWHERE);
    fixture_reopen(&f);
    cr_assert_eq(stats_of(f.wal).dead, 0);
    cr_assert_eq(stats_of(f.wal).recovered, 0);
}

Test(wal_dead, they_count_towards_the_limit_but_are_never_refused)
{
    char id[16];
    f.options.items_max = 5;
    fixture_reopen(&f);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(id, sizeof id, "id%u", i);
        cr_assert_eq(bury_one(f.wal, id, i + 1), SE_OK);
    }
    cr_assert_eq(append_one(f.wal, "more", 100, WAL_ACK), SE_ERR_BACKPRESSURE);
}

/* ---- reading while the row changes its table ---- */

static struct {
    struct se__thread thread;
    _Atomic bool stop;
    unsigned reads, missed, uncollected, unseen;
} reading;

static bool any(void *arg, const se_item *item)
{
    (void)arg;
    (void)item;
    return true;
}

static size_t collected(void)
{
    se_item **items;
    size_t n;
    cr_assert_eq(se__wal_collect(f.wal, any, NULL, &items, &n), SE_OK);
    for (size_t i = 0; i < n; i++)
        se_item_release(items[i]);
    se__free(items);
    return n;
}

static void count_id(void *arg, const char *id, size_t id_len)
{
    *(unsigned *)arg += id_len == 1 && id[0] == 'a';
}

static void read_for_ever(void *arg)
{
    (void)arg;
    while (!atomic_load(&reading.stop)) {
        enum wal_place place;
        se_item *item;
        cr_assert_eq(se__wal_find(f.wal, "a", 1, &place, &item), SE_OK);
        reading.missed += !item;
        reading.uncollected += collected() != 1;
        unsigned seen = 0;
        cr_assert_eq(se__wal_ids(f.wal, count_id, &seen), SE_OK);
        reading.unseen += seen == 0;
        reading.reads++;
        se_item_release(item);
    }
}

/* Its transaction is in the file a moment before the overlay says so: then the old row is gone, and not lost. */
Test(wal_dead, a_record_is_found_while_it_is_buried_and_while_it_is_retried)
{
    append_one(f.wal, "a", 1, WAL_HOME);
    cr_assert_eq(se__thread_start(&reading.thread, "read", read_for_ever, NULL), SE_OK);
    for (uint64_t version = 1; version <= 1000; version++) {
        cr_assert_eq(bury_one(f.wal, "a", version), SE_OK);
        cr_assert_eq(se__wal_dead_resolve(f.wal, "a", true), SE_OK);
        append_one(f.wal, "a", version + 1, WAL_HOME);
    }
    atomic_store(&reading.stop, true);
    se__thread_join(&reading.thread);
    cr_assert_eq(reading.missed, 0, "%u of %u", reading.missed, reading.reads);
    cr_assert_eq(reading.uncollected, 0, "%u of %u", reading.uncollected, reading.reads);
    cr_assert_eq(reading.unseen, 0, "%u of %u", reading.unseen, reading.reads);
    cr_assert_eq(se__metrics_sum(f.metrics, M_WAL_GARBAGE), 0);
}
