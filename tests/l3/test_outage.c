/*
 * A database that hangs, dies or is busy: deadlines hold, nothing confirmed is lost, and what comes
 * back is used again.
 */
#include "l3_fixture.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* ---- hanging and dying ---- */

/* Runs out at its deadline: not before, and not much after. */
static void check_time(uint64_t began_ms, uint32_t limit_ms, const char *what)
{
    uint64_t took = se__mono_ms() - began_ms;
    cr_assert(took + 5 >= limit_ms && took < limit_ms + 1500, "%s took %llu of %u ms", what,
              (unsigned long long)took, limit_ms);
    fprintf(stderr, "%s: %llu of %u ms\n", what, (unsigned long long)took, limit_ms);
}

Test(mysql, a_stopped_server_costs_the_deadline_and_no_more)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    cr_assert_eq(l3_batch(&f, l3_three, 3, l3_now_version(), l3_soon()).fault, TIER_FINE);
    cr_assert_neq(l3_version(&f, "a"), 0);
    cr_assert(mariadb_pause(f.server));
    struct tier_read read = {.id = "a", .id_len = 1};
    uint64_t t = se__mono_ms();
    struct tier_reply r = f.tier.ops->read(f.tier.self, &read, 1, se__deadline_in(300));
    check_time(t, 300, "read");
    cr_assert_eq(r.fault, TIER_UNWELL);
    cr_assert(r.timed_out);
    cr_assert_eq(read.found, TIER_ABSENT);
    cr_assert_null(read.item);
    t = se__mono_ms();
    r = l3_batch(&f, l3_three, 3, l3_now_version(), se__deadline_in(250));
    check_time(t, 250, "write");
    cr_assert(r.fault == TIER_UNWELL && r.timed_out);
    /* now there is no idle connection: opening one hangs too, on the pool's thread */
    t = se__mono_ms();
    r = f.tier.ops->probe(f.tier.self, se__deadline_in(200));
    check_time(t, 200, "connect");
    cr_assert(r.fault == TIER_UNWELL && r.timed_out);
    cr_assert(mariadb_resume(f.server));
    uint64_t v = l3_now_version();
    cr_assert_eq(l3_batch(&f, l3_three, 3, v, l3_soon()).fault, TIER_FINE, "%s", se_errmsg());
    for (int i = 0; i < 20; i++) /* no late reply answers another call */
        for (int k = 0; k < 3; k++)
            cr_assert_eq(l3_version(&f, l3_three[k]), v);
    l3_stop(&f);
}

Test(mysql, closing_while_the_server_hangs_ends)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    f.options.timeout_ms = 1000;
    cr_assert(mariadb_pause(f.server));
    struct tier t = {0};
    struct url url;
    cr_assert_eq(se__url_parse("sql_url", f.url, &url), SE_OK);
    f.options.url = &url;
    cr_assert_eq(se__mysql_open(&f.options, &t), SE_OK);
    cr_assert_eq(t.ops->prepare(t.self, se__deadline_in(100)), SE_ERR_TIMEOUT);
    uint64_t began = se__mono_ms();
    t.ops->close(t.self);
    l3_close(&f.tier);
    cr_assert_lt(se__mono_ms() - began, 5000);
    mariadb_resume(f.server);
    se__url_done(&url);
    l3_stop(&f);
}

static void a_restart_is_not_seen_by_the_next_caller(struct l3_fixture *f)
{
    if (!f->server)
        return;
    uint64_t v = l3_now_version();
    cr_assert_eq(l3_batch(f, l3_three, 3, v, l3_soon()).fault, TIER_FINE);
    cr_assert(mariadb_restart(f->server));
    /* a single write is at its commit when the connection breaks and is not repeated: only seeing
     * that the idle connection is dead before it is used helps */
    cr_assert_eq(l3_batch(f, l3_three, 1, v + 1, l3_soon()).fault, TIER_FINE, "%s", se_errmsg());
    cr_assert_eq(l3_version(f, "a"), v + 1);
    cr_assert_eq(l3_batch(f, l3_three, 3, v + 1, l3_soon()).fault, TIER_FINE);
    /* a session that an operator killed */
    char ids[512], sql[600];
    uint64_t soon = l3_soon();
    do { /* its answer may be here before the server calls it asleep */
        cr_assert(se__deadline_left(soon) > 0);
        cr_assert(mariadb_value(
            f->server,
            "SELECT COALESCE(GROUP_CONCAT(CONCAT('KILL ', id) SEPARATOR ';'), '') FROM "
            "information_schema.processlist WHERE id <> CONNECTION_ID() AND command = 'Sleep'",
            ids, sizeof ids));
    } while (!ids[0]);
    snprintf(sql, sizeof sql, "%s", ids);
    cr_assert(mariadb_exec(f->server, sql));
    cr_assert_eq(l3_version(f, "a"), v + 1);
    cr_assert_eq(l3_batch(f, l3_three, 3, v + 2, l3_soon()).fault, TIER_FINE);
}
ON_DRIVER(mysql, L3_MYSQL, a_restart_is_not_seen_by_the_next_caller)
ON_DRIVER(mysql_rows, L3_MYSQL_ROWS, a_restart_is_not_seen_by_the_next_caller)

struct hammer {
    struct l3_fixture *f;
    struct se__thread thread;
    uint64_t base;
    _Atomic bool stop;
    _Atomic uint64_t confirmed; /* newest version confirmed for all of l3_three */
    _Atomic int failures;
};

static void hammer(void *arg)
{
    struct hammer *h = arg;
    for (uint64_t v = h->base; !atomic_load(&h->stop); v++) {
        struct tier_reply r = l3_batch(h->f, l3_three, 3, v, se__deadline_in(2000));
        if (r.fault == TIER_FINE)
            atomic_store(&h->confirmed, v);
        else
            atomic_fetch_add(&h->failures, 1);
    }
}

Test(mysql, a_server_killed_among_writes_keeps_what_it_confirmed)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    struct hammer h = {.f = &f, .base = l3_now_version()};
    cr_assert_eq(se__thread_start(&h.thread, "hammer", hammer, &h), SE_OK);
    for (int round = 0; round < 3; round++) {
        uint64_t before = atomic_load(&h.confirmed);
        uint64_t end = se__deadline_in(20000);
        while (atomic_load(&h.confirmed) < before + 20 && se__deadline_left(end) > 0)
            se__pause_ms(1);
        cr_assert(mariadb_kill(f.server));
        uint64_t confirmed = atomic_load(&h.confirmed);
        cr_assert_neq(confirmed, before, "it wrote since the last restart");
        cr_assert(mariadb_restart(f.server));
        for (int k = 0; k < 3; k++)
            cr_assert_geq(l3_version(&f, l3_three[k]), confirmed);
    }
    atomic_store(&h.stop, true);
    se__thread_join(&h.thread);
    cr_assert_eq(l3_version(&f, "a"), l3_version(&f, "c"), "all or nothing");
    l3_stop(&f);
}

Test(mysql, no_server_is_unwell_at_once)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    cr_assert(mariadb_kill(f.server));
    uint64_t t = se__mono_ms();
    struct tier_reply r = f.tier.ops->probe(f.tier.self, l3_soon());
    cr_assert_eq(r.fault, TIER_UNWELL);
    cr_assert_not(r.timed_out);
    cr_assert_neq(r.code, 0);
    cr_assert_lt(se__mono_ms() - t, 5000);
    l3_stop(&f);
}

/* ---- SQLite's own ---- */

Test(sqlite, another_writer_costs_the_deadline_and_no_more)
{
    struct l3_fixture f;
    sqlite3 *db;
    char path[80];
    l3_start(&f, L3_SQLITE, NULL);
    cr_assert_eq(l3_batch(&f, l3_three, 3, l3_now_version(), l3_soon()).fault, TIER_FINE);
    snprintf(path, sizeof path, "%s/db", f.dir);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    uint64_t t = se__mono_ms();
    struct tier_reply r = l3_batch(&f, l3_three, 3, l3_now_version(), se__deadline_in(200));
    check_time(t, 200, "write");
    cr_assert_eq(r.fault, TIER_UNWELL);
    cr_assert(r.timed_out);
    cr_assert_neq(l3_version(&f, "a"), 0, "reads go on");
    sqlite3_close(db);
    cr_assert_eq(l3_batch(&f, l3_three, 3, l3_now_version(), l3_soon()).fault, TIER_FINE);
    l3_stop(&f);
}

Test(sqlite, a_long_statement_ends_at_the_deadline)
{
    struct l3_fixture f;
    l3_start(&f, L3_SQLITE, NULL);
    cr_assert(l3_sql(&f, "CREATE TRIGGER slow BEFORE INSERT ON sync_items BEGIN SELECT COUNT(*) "
                         "FROM (WITH RECURSIVE "
                         "n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n); END"));
    uint64_t t = se__mono_ms();
    struct tier_reply r = l3_batch(&f, l3_three, 3, l3_now_version(), se__deadline_in(200));
    check_time(t, 200, "write");
    cr_assert_eq(r.fault, TIER_UNWELL);
    cr_assert(r.timed_out);
    cr_assert_eq(l3_number(&f, "SELECT COUNT(*) FROM sync_items"), 0);
    l3_stop(&f);
}

Test(sqlite, a_missing_folder_and_a_strange_file_are_said)
{
    struct l3_fixture f;
    l3_start(&f, L3_SQLITE, NULL);
    char url[256];
    snprintf(url, sizeof url, "%s", f.url);
    snprintf(f.url, sizeof f.url, "sqlite:%s/no/such/folder/db", f.dir);
    struct tier t = l3_open(&f, SE_ERR_BACKEND);
    cr_assert_not_null(strstr(se_errmsg(), "folder"), "%s", se_errmsg());
    l3_close(&t);
    char path[100];
    snprintf(path, sizeof path, "%s/strange", f.dir);
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database ", file);
    fclose(file);
    snprintf(f.url, sizeof f.url, "sqlite:%s", path);
    t = l3_open(&f, SE_ERR_BACKEND);
    l3_close(&t);
    remove(path);
    l3_stop(&f);
}
