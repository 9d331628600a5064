/*
 * syncengine dictionary train and list: what they print, store and refuse.
 */
#include "run.h"
#include "support/mariadb_server.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(tool_dictionary, .init = run_init, .fini = run_done, .timeout = 120);

static char *records(int n, size_t *len)
{
    char *text = malloc((size_t)n * 300);
    *len = 0;
    for (int i = 0; i < n; i++)
        *len += (size_t)sprintf(text + *len,
                                "{\"id\":\"k%06d\",\"name\":\"name %d\",\"city\":\"Innsbruck\","
                                "\"plan\":\"premium\",\"balance_cents\":%u,\"session\":\"%08x\"}\n",
                                i, i % 9, (unsigned)i * 37 % 10000, (unsigned)i * 2654435761u);
    return text;
}

static void load(const char *where, int n, const char *mode)
{
    size_t len;
    char *text = records(n, &len);
    struct run r = run(text, len, "%s --sql-compression %s load -", where, mode);
    cr_assert_eq(r.status, 0, "%s%s", r.out, r.err);
    free(text);
}

static void expect_contents(const char *where, int n)
{
    size_t len;
    char *text = records(n, &len);
    struct run r = run_expect(0, "%s scan --contents", where);
    cr_assert_eq(r.out_len, len);
    cr_assert_eq(memcmp(r.out, text, len), 0);
    free(text);
}

static void train_and_use(const char *where)
{
    load(where, 10, "off");
    struct run r = run_expect(0, "%s dictionary list", where);
    cr_assert_eq(r.out_len, 0);
    cr_assert(says(r.err, "no dictionary yet"), "%s", r.err);
    r = run_expect(1, "%s dictionary train", where);
    cr_assert(says(r.err, "at least 64 items") && r.out_len == 0, "%s", r.err);
    load(where, 1000, "off");
    r = run_expect(0, "%s dictionary train --size 4", where);
    cr_assert(says(r.out, "id      made") && says(r.out, "\n32769   20"), "%s", r.out);
    cr_assert(says(r.out, " x  newest\n") && r.err_len == 0, "%s%s", r.out, r.err);
    r = run_expect(0, "%s dictionary train --size 2 --samples 500 --json", where);
    cr_assert(says(r.out, "{\"id\":32770,\"newest\":true,\"made_at_ms\":1") ||
                  says(r.out, "{\"id\":32770,\"newest\":true,\"made_at_ms\":2"),
              "%s", r.out);
    cr_assert(says(r.out, "\"samples\":62,\"plain_bytes\":"), "%s", r.out);
    r = run_expect(0, "%s dictionary list", where);
    cr_assert(says(r.out, "\n32769   ") && says(r.out, "\n32770   "), "%s", r.out);
    r = run_expect(0, "%s dictionary list --json", where);
    cr_assert(says(r.out, "{\"id\":32769,\"newest\":false,") &&
                  says(r.out, "}\n{\"id\":32770,\"newest\":true,"),
              "%s", r.out);
    expect_contents(where, 1000);
    load(where, 1000, "dictionary");
    expect_contents(where, 1000);
    r = run_expect(0, "%s verify --deep", where);
    cr_assert(says(r.out, "checked       1000"), "%s", r.out);
}

Test(tool_dictionary, sqlite)
{
    train_and_use("--sql-url sqlite:db");
}

Test(tool_dictionary, mariadb)
{
    char url[256], where[300];
    struct mariadb_server *server = mariadb_start(false, NULL);
    cr_assert_not_null(server);
    mariadb_url(server, false, url, sizeof url);
    snprintf(where, sizeof where, "--sql-url '%s'", url);
    train_and_use(where);
    cr_assert_eq(mariadb_number(server, "SELECT COUNT(*) FROM sync_items WHERE encoding = 2"),
                 1000);
    /* the very bytes, for zstd's own program */
    cr_assert_eq(mariadb_number(server, "SELECT HEX(UNHEX(SUBSTRING_INDEX(value, ' ', -1))) LIKE "
                                        "'37A430EC%' FROM sync_items_meta WHERE name = "
                                        "'dictionary/32769'"),
                 1);
    mariadb_close(server);
}

Test(tool_dictionary, neither_redis_nor_the_wal_is_touched)
{
    load("--sql-url sqlite:db", 500, "on");
    run_expect(0, "--sql-url sqlite:db --wal-path none/wal.db --redis-url redis://127.0.0.1:1 "
                  "dictionary train --size 4");
    run_expect(0, "--sql-url sqlite:db --wal-path none/wal.db --redis-url redis://127.0.0.1:1 "
                  "dictionary list");
}

Test(tool_dictionary, wrong_usage_and_outages)
{
    struct run r = run_expect(2, "dictionary train");
    cr_assert(says(r.err, "no database is configured"), "%s", r.err);
    r = run_expect(2, "--redis-url redis://127.0.0.1:1 dictionary list");
    cr_assert(says(r.err, "no database is configured"), "%s", r.err);
    r = run_expect(2, "--sql-url sqlite:db dictionary train --size 257");
    cr_assert(says(r.err, "--size"), "%s", r.err);
    r = run_expect(2, "--sql-url sqlite:db dictionary train --samples 100001");
    cr_assert(says(r.err, "--samples"), "%s", r.err);
    r = run_expect(2, "--sql-url sqlite:db dictionary train more");
    cr_assert(r.err_len > 0);
    r = run_expect(2, "--sql-url sqlite:db dictionary forget");
    cr_assert(r.err_len > 0);
    r = run_expect(2, "--sql-url mysql://root@127.0.0.1:1/t --startup-timeout-ms 200 "
                      "--sql-timeout-ms 200 dictionary list");
    cr_assert(says(r.err, "dictionary list: "), "%s", r.err);
    r = run_expect(2, "--sql-url mysql://root@127.0.0.1:1/t --startup-timeout-ms 200 "
                      "--sql-timeout-ms 200 dictionary train");
    cr_assert(says(r.err, "dictionary train: "), "%s", r.err);
    r = run_expect(2, "--sql-url sqlite:db --sql-compression brotli count");
    cr_assert(says(r.err, "off, on or dictionary"), "%s", r.err);
    r = run_expect(0, "help dictionary train");
    cr_assert(says(r.out, "--samples") && says(r.out, "never changed or deleted"), "%s", r.out);
}
