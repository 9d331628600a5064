/*
 * syncengine wal list, drain, dead, salvage: on a WAL that a load during an outage has left behind.
 */
#include "run.h"
#include "support/mariadb_server.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAL "--wal-path tool.wal "

static struct mariadb_server *server;
static char url[256];

static void init(void)
{
    run_init();
    server = mariadb_start(false, NULL);
    cr_assert_not_null(server);
    mariadb_url(server, false, url, sizeof url);
}

static void fini(void)
{
    mariadb_close(server);
    run_done();
}

TestSuite(tool_wal, .init = init, .fini = fini, .timeout = 120);

/* Three lines that only the WAL has. */
static void load_in_an_outage(void)
{
    cr_assert(mariadb_kill(server));
    struct run r = run("{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n", 33,
                       "--sql-url '%s' " WAL "--startup-timeout-ms 300 load -", url);
    cr_assert_eq(r.status, 0, "%s%s", r.out, r.err);
    cr_assert(says(r.out, "3 of them wait in the WAL"), "%s", r.out);
}

static int lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

Test(tool_wal, lists_reads_and_drains_what_an_outage_left)
{
    load_in_an_outage();
    struct run r = run_expect(0, WAL "wal list");
    cr_assert_eq(lines(r.out), 3, "%s", r.out);
    cr_assert(says(r.out, "\tput\ta\t10\t") && says(r.out, "\tput\tc\t10\t"), "%s", r.out);
    r = run_expect(0, WAL "wal list --json");
    cr_assert(says(r.out, "\"deleted\":false,\"item\":{\"id\":\"a\","), "%s", r.out);
    r = run_expect(2, "--sql-url '%s' " WAL "--startup-timeout-ms 300 wal drain --patience 1s",
                   url);
    cr_assert_eq(lines(run_expect(0, WAL "wal list").out), 3, "a drain in vain loses nothing");
    cr_assert(mariadb_restart(server));
    r = run_expect(0, "--sql-url '%s' " WAL "wal drain", url);
    cr_assert(says(r.out, "0 records left, 0 dead letters"), "%s", r.out);
    cr_assert_eq(run_expect(0, WAL "wal list").out_len, 0);
    cr_assert_eq(mariadb_number(server, "SELECT COUNT(*) FROM sync_items"), 3);
    cr_assert_str_eq(run_expect(0, "--sql-url '%s' get b", url).out, "{\"id\":\"b\"}");
    run_expect(0, "--sql-url '%s' " WAL "wal drain", url); /* nothing to do */
}

/* A trigger refuses one row: it becomes a dead letter, and an operator decides. */
Test(tool_wal, dead_letters_are_listed_retried_and_discarded)
{
    run_expect(0, "--sql-url '%s' " WAL "put a --value 1", url);
    cr_assert(mariadb_exec(server, "CREATE TRIGGER no BEFORE INSERT ON sync_items FOR EACH ROW "
                                   "IF NEW.id LIKE 'bad%' THEN SIGNAL SQLSTATE '45000' "
                                   "SET MESSAGE_TEXT = 'not this one'; END IF"));
    struct run r = run("{\"id\":\"bad.1\"}\n{\"id\":\"good\"}\n{\"id\":\"bad.2\"}\n", 44,
                       "--sql-url '%s' " WAL "load -", url);
    cr_assert_eq(r.status, 1, "%d %s%s", r.status, r.out, r.err);
    cr_assert(says(r.out, "2 of them were refused by the database") &&
                  says(r.out, "everything else is in"),
              "%s", r.out);
    r = run_expect(0, WAL "wal dead");
    cr_assert_eq(lines(r.out), 2, "%s", r.out);
    cr_assert(says(r.out, "bad.1\t14\t") && says(r.out, "not this one"), "%s", r.out);
    r = run_expect(0, WAL "wal dead --json");
    cr_assert(says(r.out, "\"content\":\"{\\\"id\\\":\\\"bad.1\\\"}\""), "%s", r.out);
    r = run_expect(1, WAL "wal dead --retry nobody");
    cr_assert(says(r.err, "no dead letter"), "%s", r.err);
    run_expect(2, WAL "wal dead --retry a --discard b");
    run_expect(0, WAL "wal dead --discard bad.2");
    cr_assert_eq(lines(run_expect(0, WAL "wal dead").out), 1);
    cr_assert(mariadb_exec(server, "DROP TRIGGER no"));
    run_expect(0, WAL "wal dead --retry bad.1");
    r = run_expect(0, "--sql-url '%s' " WAL "wal drain", url);
    cr_assert_eq(run_expect(0, WAL "wal dead").out_len, 0);
    cr_assert_eq(mariadb_number(server, "SELECT COUNT(*) FROM sync_items WHERE id = 'bad.1'"), 1);
    cr_assert_eq(mariadb_number(server, "SELECT COUNT(*) FROM sync_items"), 3);
}

/* Runs the program without touching the files of the one that runs already. */
static int aside(const char *line, char **text, const char *stream)
{
    char command[1024];
    size_t len;
    snprintf(command, sizeof command, "\"$SE_TOOL\" %s >aside-out 2>aside-err", line);
    int status = system(command);
    *text = read_file(stream, &len);
    return status >> 8;
}

/* Until the list of the WAL has n records. */
static void wait_for_records(int n)
{
    for (int i = 0; i < 1000; i++) {
        char *out;
        bool there = aside(WAL "wal list", &out, "aside-out") == 0 && lines(out) == n;
        free(out);
        if (there)
            return;
        usleep(10000);
    }
    cr_assert_fail("the record did not arrive");
}

/* The database takes less than max_payload_bytes says: such a line is told, its batch goes on. */
Test(tool_wal, a_line_that_only_the_database_finds_too_long_is_one_bad_line)
{
    static const char *const args[] = {"--max-allowed-packet=256K", NULL};
    char small[256], *text = malloc(500 << 10);
    struct mariadb_server *other = mariadb_start(false, args);
    cr_assert_not_null(other);
    mariadb_url(other, false, small, sizeof small);
    size_t n = (size_t)sprintf(text, "{\"id\":\"a\"}\n{\"id\":\"big\",\"v\":\"");
    memset(text + n, 'x', 400 << 10);
    n += 400 << 10;
    n += (size_t)sprintf(text + n, "\"}\n{\"id\":\"b\"}\n");
    struct run r = run(text, n, "--sql-url '%s' load -", small);
    free(text);
    long long rows = mariadb_number(other, "SELECT COUNT(*) FROM sync_items");
    mariadb_close(other);
    cr_assert_eq(r.status, 1, "%d %s%s", r.status, r.out, r.err);
    cr_assert(says(r.err, "line 2: longer than"), "%s", r.err);
    cr_assert(says(r.out, "loaded 2 items"), "%s", r.out);
    cr_assert_eq(rows, 2);
}

Test(tool_wal, works_beside_a_live_service_and_never_against_it)
{
    int in;
    char *text;
    load_in_an_outage();
    pid_t pid =
        run_start(&in, "--sql-url '%s' " WAL "--startup-timeout-ms 300 load --ack wal -", url);
    cr_assert_eq(write(in, "{\"id\":\"d\"}\n", 11), 11);
    wait_for_records(4);
    cr_assert_eq(aside(WAL "wal dead --discard nobody", &text, "aside-err"), 2);
    cr_assert(says(text, "tool.wal"), "%s", text);
    free(text);
    char drain[512];
    snprintf(drain, sizeof drain, "--sql-url '%s' " WAL "--startup-timeout-ms 300 wal drain", url);
    cr_assert_eq(aside(drain, &text, "aside-err"), 2);
    free(text);
    snprintf(drain, sizeof drain, "--sql-url '%s' " WAL "--startup-timeout-ms 300 get d", url);
    cr_assert_eq(aside(drain, &text, "aside-out"), 0);
    cr_assert_str_eq(text, "{\"id\":\"d\"}");
    free(text);
    close(in);
    struct run r = run_wait(pid);
    cr_assert_eq(r.status, 0, "%d %s", r.status, r.err);
    cr_assert_eq(lines(run_expect(0, WAL "wal list").out), 4);
}

Test(tool_wal, salvages_what_can_be_read)
{
    size_t len;
    load_in_an_outage();
    struct run r = run_expect(0, "wal salvage tool.wal saved.wal");
    cr_assert(says(r.out, "3 records and 0 dead letters saved, 0 damaged"), "%s", r.out);
    cr_assert_eq(lines(run_expect(0, "--wal-path saved.wal wal list").out), 3);
    r = run_expect(2, "wal salvage tool.wal saved.wal");
    cr_assert(says(r.err, "exists already"), "%s", r.err);
    write_file("noise.wal", "this is no database at all, and never was one", 45);
    run_expect(1, "wal salvage noise.wal new.wal");
    r = run_expect(2, "--wal-path noise.wal wal list");
    char *bytes = read_file("noise.wal", &len);
    cr_assert_eq(len, 45, "what is not ours is left alone");
    free(bytes);
}
