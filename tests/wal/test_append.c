/* Appending, group commit, reopening, limits, the clock's ceiling. */
#include "wal/fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

TestSuite(wal_append, .init = set_up, .fini = tear_down);

Test(wal_append, is_found_at_once_and_after_reopening)
{
    uint64_t version;
    cr_assert_eq(append_one(f.wal, "a", 10, WAL_ACK), SE_OK);
    cr_assert_eq(append_one(f.wal, "b", 11, WAL_HOME), SE_OK);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_PENDING);
    cr_assert_eq(version, 10);
    cr_assert_eq(find_version(f.wal, "c", &version), WAL_NOWHERE);
    cr_assert_eq(stats_of(f.wal).home_records, 1);
    cr_assert_eq(stats_of(f.wal).live_records, 2);

    fixture_reopen(&f);
    cr_assert_eq(stats_of(f.wal).recovered, 2);
    cr_assert_eq(stats_of(f.wal).home_records, 2);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_RECOVERED);
    cr_assert_eq(version, 10);
    cr_assert_eq(find_version(f.wal, "b", &version), WAL_RECOVERED);
    cr_assert_eq(append_one(f.wal, "a", 12, WAL_ACK), SE_OK);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_PENDING);
    cr_assert_eq(version, 12);
}

Test(wal_append, keeps_every_field_and_byte)
{
    static char content[3000000];
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)(i * 7 + i / 251);
    struct item_spec spec = {.id = "id with \xc3\xa4 and '%_",
                             .id_len = strlen("id with \xc3\xa4 and '%_"),
                             .content = content,
                             .content_len = sizeof content,
                             .version = 77,
                             .updated_at_ms = 123,
                             .expires_at_ms = 456,
                             .cache_ttl_ms = 789,
                             .state = "draft",
                             .route = SE_ROUTE_L3};
    se_item *item = se__item_new(&spec), *empty = item_bytes("empty", 78, "", 0), *found;
    se_item *both[] = {item, empty};
    enum wal_place place;
    cr_assert_eq(se__wal_append(f.wal, both, 2, WAL_ACK, SE__FOREVER), SE_OK);
    fixture_reopen(&f);
    cr_assert_eq(se__wal_find(f.wal, spec.id, spec.id_len, &place, &found), SE_OK);
    cr_assert(found != NULL);
    cr_assert_eq(se__item_compare(item, found), 0);
    cr_assert_eq(se__item_cache_ttl_ms(found), 789);
    cr_assert_eq(se_item_updated_at_ms(found), 123);
    cr_assert_str_eq(se_item_state(found), "draft");
    cr_assert(memcmp(se_item_content(found), content, sizeof content) == 0);
    se_item_release(found);
    cr_assert_eq(se__wal_find(f.wal, "empty", 5, &place, &found), SE_OK);
    cr_assert(found && se_item_content_len(found) == 0 && !se__item_deleted(found));
    se_item_release(found);
    se_item_release(item);
    se_item_release(empty);
}

Test(wal_append, keeps_tombstones)
{
    se_item *item = tombstone_of("gone", 5), *found;
    enum wal_place place;
    cr_assert_eq(se__wal_append(f.wal, &item, 1, WAL_ACK, SE__FOREVER), SE_OK);
    se_item_release(item);
    fixture_reopen(&f);
    cr_assert_eq(se__wal_find(f.wal, "gone", 4, &place, &found), SE_OK);
    cr_assert(found && se__item_deleted(found) && se_item_version(found) == 5);
    se_item_release(found);
}

/* The file's life is cut short as by kill -9: the copy is taken while the log is open. */
Test(wal_append, is_on_disk_when_it_returns)
{
    char command[1000];
    for (uint64_t i = 1; i <= 50; i++) {
        cr_assert_eq(append_one(f.wal, i % 2 ? "odd" : "even", i, WAL_ACK), SE_OK);
        struct log_fixture copy;
        uint64_t version;
        fixture_init(&copy);
        snprintf(command, sizeof command, "cp %s %s-wal %s/", f.path, f.path, copy.dir);
        cr_assert_eq(system(command), 0);
        fixture_open(&copy);
        cr_assert_eq(find_version(copy.wal, i % 2 ? "odd" : "even", &version), WAL_RECOVERED);
        cr_assert_eq(version, i);
        fixture_done(&copy);
    }
}

struct writer {
    struct se__thread thread;
    unsigned number;
};
#define WRITERS 16
#define WRITES 200

static void write_many(void *arg)
{
    struct writer *writer = arg;
    for (unsigned i = 0; i < WRITES; i++) {
        char id[32];
        uint64_t version;
        snprintf(id, sizeof id, "w%u-%u", writer->number, i);
        cr_assert_eq(append_one(f.wal, id, 1000 + i, WAL_ACK), SE_OK);
        cr_assert_eq(find_version(f.wal, id, &version), WAL_PENDING);
        if (i % 3 == 0)
            confirm_one(f.wal, id, 1000 + i);
    }
}

Test(wal_append, groups_the_commits_of_many_threads)
{
    struct writer writers[WRITERS] = {0};
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i].number = i;
        cr_assert_eq(se__thread_start(&writers[i].thread, "writer", write_many, &writers[i]),
                     SE_OK);
    }
    for (unsigned i = 0; i < 20; i++)
        cr_assert_eq(se__wal_tend(f.wal, i % 2), SE_OK);
    for (unsigned i = 0; i < WRITERS; i++)
        se__thread_join(&writers[i].thread);
    uint64_t commits = se__metrics_sum(f.metrics, M_WAL_COMMITS);
    cr_assert_eq(se__metrics_sum(f.metrics, M_WAL_APPENDS), WRITERS * WRITES);
    cr_assert(commits < WRITERS * WRITES, "%llu commits", (unsigned long long)commits);
    fixture_reopen(&f);
    cr_assert_eq(stats_of(f.wal).recovered, WRITERS * (WRITES - (WRITES + 2) / 3));
}

Test(wal_append, limits_count_live_records_and_do_not_drift)
{
    uint64_t version = 0;
    f.options.items_max = 10;
    fixture_reopen(&f);
    for (int round = 0; round < 300;
         round++) { /* one id rewritten: the older ones go with each confirmation */
        for (int i = 0; i < 10; i++)
            cr_assert_eq(append_one(f.wal, "same", ++version, WAL_ACK), SE_OK, "round %d: %s",
                         round, se_errmsg());
        cr_assert_eq(append_one(f.wal, "same", version + 1, WAL_ACK), SE_ERR_BACKPRESSURE);
        cr_assert_eq(stats_of(f.wal).live_records, 10);
        confirm_one(f.wal, "same", version);
        cr_assert_eq(stats_of(f.wal).live_records, 0);
        cr_assert_eq(stats_of(f.wal).live_bytes, 0);
    }
    cr_assert_eq(se__wal_tend(f.wal, true), SE_OK);
    fixture_reopen(&f);
    cr_assert_eq(stats_of(f.wal).recovered, 0);
}

Test(wal_append, refuses_bytes_beyond_the_limit_and_changes_nothing)
{
    uint64_t version;
    char content[600];
    memset(content, 'x', sizeof content);
    f.options.bytes_max = 1000;
    fixture_reopen(&f);
    se_item *items[] = {item_bytes("a", 1, content, sizeof content),
                        item_bytes("b", 2, content, sizeof content)};
    cr_assert_eq(se__wal_append(f.wal, items, 2, WAL_ACK, SE__FOREVER), SE_ERR_BACKPRESSURE);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_NOWHERE);
    cr_assert_eq(se__wal_append(f.wal, items, 1, WAL_ACK, SE__FOREVER), SE_OK);
    cr_assert_eq(se__wal_append(f.wal, items + 1, 1, WAL_ACK, SE__FOREVER), SE_ERR_BACKPRESSURE);
    confirm_one(f.wal, "a", 1);
    cr_assert_eq(se__wal_append(f.wal, items + 1, 1, WAL_ACK, SE__FOREVER), SE_OK);
    se_item_release(items[0]);
    se_item_release(items[1]);
}

/* A busy id during an outage: each flush hands its newest version over, and that bounds the log. */
Test(wal_append, rewriting_one_id_in_an_outage_does_not_grow_the_log)
{
    f.options.items_max = 20;
    fixture_reopen(&f);
    uint64_t version = 0;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 10; i++)
            cr_assert_eq(append_one(f.wal, "busy", ++version, WAL_ACK), SE_OK, "%s", se_errmsg());
        cr_assert_eq(append_one(f.wal, "busy", version, WAL_HOME), SE_OK);
        cr_assert_eq(stats_of(f.wal).live_records, 1);
    }
    cr_assert_eq(stats_of(f.wal).home_records, 200); /* those superseded are still to be reported */
    struct wal_confirmed confirmed = confirm_one(f.wal, "busy", version);
    cr_assert_eq(confirmed.superseded, 199);
    cr_assert(confirmed.was_home);
    cr_assert_eq(stats_of(f.wal).home_records, 0);
}

/* An insurance record may be taken back: what it would replace must still be there. */
Test(wal_append, a_forgotten_record_uncovers_the_older_one)
{
    uint64_t version;
    cr_assert_eq(append_one(f.wal, "id", 5, WAL_HOME), SE_OK);
    cr_assert_eq(append_one(f.wal, "id", 6, WAL_ACK), SE_OK);
    cr_assert_eq(append_one(f.wal, "id", 7, WAL_ACK), SE_OK);
    se__wal_forget(f.wal, "id", 2, 7);
    cr_assert_eq(find_version(f.wal, "id", &version), WAL_PENDING);
    cr_assert_eq(version, 6);
    se__wal_forget(f.wal, "id", 2, 6);
    se__wal_forget(f.wal, "id", 2, 5); /* the drain's: not forgotten */
    fixture_reopen(&f);
    cr_assert_eq(find_version(f.wal, "id", &version), WAL_RECOVERED);
    cr_assert_eq(version, 5);
    cr_assert_eq(stats_of(f.wal).recovered, 1);
}

Test(wal_append, home_hands_over_what_is_there)
{
    cr_assert_eq(append_one(f.wal, "a", 5, WAL_ACK), SE_OK);
    uint64_t commits = se__metrics_sum(f.metrics, M_WAL_COMMITS);
    cr_assert(!se__wal_drainable(f.wal, 0));
    cr_assert_eq(append_one(f.wal, "a", 5, WAL_HOME), SE_OK);
    cr_assert_eq(se__metrics_sum(f.metrics, M_WAL_COMMITS), commits);
    cr_assert_eq(stats_of(f.wal).live_records, 1);
    cr_assert_eq(stats_of(f.wal).home_records, 1);
    cr_assert(se__wal_drainable(f.wal, 0));
    cr_assert_eq(append_one(f.wal, "a", 5, WAL_HOME), SE_OK);
    cr_assert_eq(stats_of(f.wal).home_records, 1);
    cr_assert(confirm_one(f.wal, "a", 5).was_home);
}

Test(wal_append, stores_a_ceiling_above_every_version)
{
    uint64_t version = se__hlc_next(&f.hlc, se__wall_ms());
    cr_assert(!se__hlc_covers(&f.hlc, version));
    cr_assert_eq(append_one(f.wal, "a", version, WAL_ACK), SE_OK);
    cr_assert(se__hlc_covers(&f.hlc, version));
    uint64_t ceiling = atomic_load(&f.hlc.ceiling);
    cr_assert(ceiling > version);
    confirm_one(f.wal, "a", version);
    se__wal_close(f.wal);
    f.wal = NULL;
    se__hlc_init(&f.hlc, 0); /* a new process, its wall clock at 1970 */
    fixture_open(&f);
    cr_assert_eq(stats_of(f.wal).recovered, 0);
    cr_assert(se__hlc_next(&f.hlc, 0) > ceiling);
    cr_assert_eq(se__wal_store_ceiling(f.wal, ceiling + 12345), SE_OK);
    cr_assert(se__hlc_covers(&f.hlc, ceiling + 12345));
    fixture_reopen(&f);
    cr_assert(se__hlc_last(&f.hlc) >= ceiling + 12345);
}

Test(wal_append, numbers_are_not_used_twice)
{
    uint64_t greatest = 0;
    bool grows(void *arg, uint64_t seq, const se_item *item);
    for (uint64_t round = 1; round <= 5; round++) {
        cr_assert_eq(append_one(f.wal, "a", round, WAL_ACK), SE_OK);
        cr_assert_eq(se__wal_each(f.wal, grows, &greatest), SE_OK);
        confirm_one(f.wal, "a", round);
        fixture_reopen(&f);
    }
    cr_assert(greatest >= 5);
}

bool grows(void *arg, uint64_t seq, const se_item *item);
bool grows(void *arg, uint64_t seq, const se_item *item)
{
    uint64_t *greatest = arg;
    (void)item;
    cr_assert(seq > *greatest, "%llu again", (unsigned long long)seq);
    *greatest = seq;
    return true;
}

Test(wal_append, nothing_to_append_is_fine)
{
    cr_assert_eq(se__wal_append(f.wal, NULL, 0, WAL_ACK, 0), SE_OK);
    cr_assert_eq(se__metrics_sum(f.metrics, M_WAL_COMMITS), 0);
}

Test(wal_append, names_are_kept)
{
    char *value = NULL;
    cr_assert_eq(se__wal_meta_get(f.wal, "incarnation", &value), SE_NOT_FOUND);
    cr_assert_eq(se__wal_meta_put(f.wal, "incarnation", "one"), SE_OK);
    cr_assert_eq(se__wal_meta_put(f.wal, "incarnation", "two"), SE_OK);
    cr_assert_eq(se__wal_meta_put(f.wal, "wal.ceiling", "1"), SE_ERR_INVALID);
    fixture_reopen(&f);
    cr_assert_eq(se__wal_meta_get(f.wal, "incarnation", &value), SE_OK);
    cr_assert_str_eq(value, "two");
    se__free(value);
}
