/*
 * syncengine verify and merkle: sound tiers, damage made behind the engine's back, repair, signals.
 */
#include "run.h"
#include "support/mariadb_server.h"
#include "support/redis_server.h"
#include "support/test.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define N 300

static struct mariadb_server *sql;
static struct redis_server redis;
static char both[512], only_sql[300];

static void init(void)
{
    char url[256], redis_url[128];
    run_init();
    sql = mariadb_start(false, NULL);
    cr_assert_not_null(sql);
    redis_server_start(&redis, NULL);
    mariadb_url(sql, false, url, sizeof url);
    redis_server_url(&redis, redis_url, sizeof redis_url);
    snprintf(only_sql, sizeof only_sql, "--sql-url '%s'", url);
    snprintf(both, sizeof both, "%s --redis-url '%s'", only_sql, redis_url);
}

static void fini(void)
{
    redis_server_stop(&redis);
    mariadb_close(sql);
    run_done();
}

TestSuite(tool_verify, .init = init, .fini = fini, .timeout = 120);

/* ---- what the tiers hold ---- */

/* k000000.. with contents that say `word`. */
static void load(const char *where, int n, const char *word)
{
    char *text = malloc((size_t)n * 80);
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += (size_t)sprintf(text + len, "{\"id\":\"k%06d\",\"v\":\"%s\"}\n", i, word);
    struct run r = run(text, len, "%s load -", where);
    cr_assert_eq(r.status, 0, "%s%s", r.out, r.err);
    free(text);
}

static void redis_do(const char *command)
{
    char reply[256];
    redis_server_ask(&redis, reply, sizeof reply, command);
    cr_assert(strncmp(reply, "(error)", 7) != 0, "%s: %s", command, reply);
}

static void sql_do(const char *statement)
{
    cr_assert(mariadb_exec(sql, statement), "%s", statement);
}

static bool holds(const char *id, const char *word)
{
    char text[128];
    struct run r = run(NULL, 0, "%s get --verify %s", both, id);
    snprintf(text, sizeof text, "{\"id\":\"%s\",\"v\":\"%s\"}", id, word);
    return r.status == 0 && strcmp(r.out, text) == 0;
}

static int lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* The number right of a label of the table. */
static long long row(const char *out, const char *label)
{
    const char *at = strstr(out, label);
    cr_assert_not_null(at, "no '%s' in %s", label, out);
    return strtoll(at + strlen(label), NULL, 10);
}

/* One of each kind. QUICK finds all but k000006. */
static void damage(void)
{
    static char old[512];
    load(both, N, "old");
    size_t len = redis_server_ask(&redis, old, sizeof old, "GET sync:k000001");
    cr_assert_gt(len, 88);
    sql_do("CREATE TABLE kept AS SELECT * FROM sync_items WHERE id = 'k000005'");
    load(both, N, "new");
    char reply[64];
    redis_server_ask(&redis, reply, sizeof reply, "SET sync:k000001 %b", old, len);
    redis_do("SET sync:k000002 garbage");
    sql_do("UPDATE sync_items SET version = version + 1 WHERE id = 'k000003'");
    sql_do("DELETE FROM sync_items WHERE id = 'k000004'");
    sql_do("REPLACE INTO sync_items SELECT * FROM kept");
    sql_do("UPDATE sync_items SET payload = 'edited' WHERE id = 'k000006'");
    sql_do("UPDATE sync_items SET content_hash = REPEAT('x', 16) WHERE id = 'k000007'");
}

/* ---- verify ---- */

Test(tool_verify, sound_tiers_differ_in_nothing)
{
    load(both, N, "new");
    static const char *const modes[] = {"", "--deep", "--rate 100000", "--repair",
                                        "--deep --repair --list"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        struct run r = run_expect(0, "%s verify %s", both, modes[i]);
        cr_assert_eq(row(r.out, "checked"), N, "%s: %s", modes[i], r.out);
        cr_assert_eq(row(r.out, "different"), 0, "%s", r.out);
        cr_assert(says(r.out, "roots         equal\n") && says(r.out, " ids/s\n"), "%s", r.out);
        cr_assert(strncmp(r.out, "tier ", 5) == 0, "no findings: %s", r.out);
        cr_assert_eq(r.err_len, 0, "%s", r.err);
    }
}

Test(tool_verify, damage_is_found_and_told)
{
    damage();
    struct run r = run_expect(1, "%s verify", both);
    cr_assert(!says(r.err, "verify: "), "said twice: %s", r.err);
    cr_assert(says(r.out, "k000001\tl2\tstale\tnot repaired\t"), "%s", r.out);
    cr_assert(says(r.out, "k000002\tl2\tcorrupt\tnot repaired\t"), "%s", r.out);
    cr_assert(says(r.out, "k000003\tl3\tcorrupt\tnot repaired\t"), "%s", r.out);
    cr_assert(says(r.out, "k000004\tl2\torphan\tnot repaired\t"), "%s", r.out);
    cr_assert(says(r.out, "k000005\tl3\tstale\tnot repaired\t"), "%s", r.out);
    cr_assert(!says(r.out, "k000006"), "%s", r.out);
    cr_assert(says(r.out, "k000007\tl3\tcorrupt\tnot repaired\t"), "%s", r.out);
    cr_assert(says(r.out, "L2 (Redis)             1           1           1\n"), "%s", r.out);
    cr_assert(says(r.out, "L3 (SQL)               1           2           -\n"), "%s", r.out);
    cr_assert_eq(row(r.out, "checked"), N);
    cr_assert_eq(row(r.out, "different"), 6);
    cr_assert_eq(row(r.out, "repaired"), 0);
    cr_assert(says(r.out, "roots         differ\n"), "%s", r.out);
    r = run_expect(1, "%s verify --deep", both);
    cr_assert(says(r.out, "k000006\tl3\tcorrupt\tnot repaired\t"), "%s", r.out);
    cr_assert_eq(row(r.out, "different"), 7);
    run_expect(1, "%s verify --deep", both); /* nothing was changed */
}

Test(tool_verify, repair_leaves_nothing_to_find)
{
    damage();
    struct run r = run_expect(0, "%s verify --deep --repair", both);
    cr_assert_eq(row(r.out, "different"), 7, "%s", r.out);
    cr_assert_eq(row(r.out, "\nrepaired"), 7, "%s", r.out);
    cr_assert_eq(row(r.out, "unrepairable"), 0, "%s", r.out);
    cr_assert(says(r.out, "k000002\tl2\tcorrupt\trepaired\t"), "%s", r.out);
    r = run_expect(0, "%s verify --deep", both);
    cr_assert_eq(row(r.out, "different"), 0, "%s", r.out);
    for (int i = 0; i < 10; i++) {
        char id[16];
        snprintf(id, sizeof id, "k%06d", i);
        cr_assert(holds(id, "new"), "%s", id);
    }
    cr_assert_eq(mariadb_number(sql, "SELECT COUNT(*) FROM sync_items WHERE deleted = 0"), N);
    run_expect(0, "%s merkle root", both);
}

Test(tool_verify, what_has_no_good_copy_stays_and_is_told)
{
    load(both, N, "new");
    redis_do("DEL sync:k000008");
    sql_do("UPDATE sync_items SET payload = 'edited' WHERE id = 'k000008'");
    redis_do("SET sync:k000009 garbage");
    struct run r = run_expect(1, "%s verify --deep --repair", both);
    cr_assert(says(r.out, "k000008\tl3\tcorrupt\tnot repaired\t"), "%s", r.out);
    cr_assert_eq(row(r.out, "\nrepaired"), 1, "%s", r.out);
    cr_assert_eq(row(r.out, "unrepairable"), 1, "%s", r.out);
    char left[32];
    cr_assert(mariadb_value(sql, "SELECT payload FROM sync_items WHERE id = 'k000008'", left,
                            sizeof left));
    cr_assert_str_eq(left, "edited");
}

Test(tool_verify, twenty_are_shown_and_all_with_list)
{
    load(both, N, "new");
    sql_do("UPDATE sync_items SET version = version + 1 WHERE id < 'k000025'");
    struct run r = run_expect(1, "%s verify", both);
    cr_assert(says(r.out, "k000019\t") && !says(r.out, "k000020\t"), "%s", r.out);
    cr_assert(says(r.out, "\nand 5 more; --list shows them all\n"), "%s", r.out);
    cr_assert_eq(row(r.out, "different"), 25);
    r = run_expect(1, "%s verify --list", both);
    cr_assert(says(r.out, "k000024\t") && !says(r.out, " more; "), "%s", r.out);
    r = run_expect(1, "%s verify --list --json", both);
    cr_assert_eq(lines(r.out), 26, "%s", r.out);
    cr_assert(says(r.out, "{\"finding\":{\"id\":\"k000024\",\"tier\":\"l3\",\"flaw\":\"corrupt\","
                          "\"repaired\":false,\"detail\":\""),
              "%s", r.out);
    cr_assert(says(r.out, "\n{\"report\":{\"complete\":true,") &&
                  says(r.out, "\"different\":25,") && says(r.out, "\"roots_equal\":"),
              "%s", r.out);
    r = run_expect(1, "%s verify --json", both);
    cr_assert_eq(lines(r.out), 21, "%s", r.out);
}

/* A row that somebody has put there under what is no id does not write on the terminal. */
Test(tool_verify, ids_that_are_none_are_shown_safely)
{
    load(both, 3, "new");
    sql_do("CREATE TABLE kept AS SELECT * FROM sync_items WHERE id = 'k000001'");
    sql_do("UPDATE kept SET id = X'611B5B324AFF'");
    sql_do("INSERT INTO sync_items SELECT * FROM kept");
    struct run r = run_expect(1, "%s verify", both);
    cr_assert(says(r.out, "a\\x1b[2J\\xff\tl3\tcorrupt\t"), "%s", r.out);
    cr_assert(!strchr(r.out, 0x1b));
    r = run_expect(1, "%s verify --json", both);
    cr_assert(says(r.out, "\"id\":\"a\\\\x1b[2J\\\\xff\""), "%s", r.out);
}

Test(tool_verify, an_outage_is_no_agreement)
{
    load(both, N, "new");
    redis_server_kill(&redis);
    struct run r = run_expect(2, "%s --startup-timeout-ms 300 verify", both);
    cr_assert_gt(r.err_len, 0);
    redis_server_restart(&redis, false);
    cr_assert(mariadb_kill(sql));
    r = run_expect(2, "%s --startup-timeout-ms 300 verify", both);
    cr_assert(!says(r.out, "roots         equal"), "%s", r.out);
    run_expect(2, "%s --startup-timeout-ms 300 merkle root", both);
}

/* ---- signals ---- */

static void pause_ms(long ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000};
    nanosleep(&t, NULL);
}

/* Until the bar at `path` has come to `percent` or further: a busy machine may skip any one figure. */
static void wait_for_share(const char *path, long percent)
{
    for (int i = 0; i < 4000; i++) {
        size_t len;
        char *text = read_file(path, &len);
        const char *sign = strrchr(text, '%'), *digits = sign;
        while (digits && digits > text && digits[-1] >= '0' && digits[-1] <= '9')
            digits--;
        bool there = digits && digits < sign && strtol(digits, NULL, 10) >= percent;
        free(text);
        if (there)
            return;
        pause_ms(5);
    }
    cr_assert_fail("never came to %ld %%", percent);
}

/* Both parts together are the whole. */
Test(tool_verify, a_signal_stops_it_and_after_goes_on)
{
    int in;
    load(both, 20000, "new");
    sql_do("UPDATE sync_items SET version = version + 1 WHERE id IN ('k000003', 'k019997')");
    pid_t pid = run_start(&in, "%s verify --rate 10000 --progress bar", both);
    wait_for_share("run-err", 20);
    kill(pid, SIGINT);
    struct run r = run_wait(pid);
    close(in);
    cr_assert_eq(r.status, 130, "%d %s%s", r.status, r.out, r.err);
    long long first = row(r.out, "checked"), found = row(r.out, "different");
    cr_assert_lt(first, 20000);
    const char *hint = strstr(r.out, "stopped by signal 2; go on with ");
    cr_assert_not_null(hint, "%s", r.out);
    char again[600];
    snprintf(again, sizeof again, "%s verify %s", both, strstr(hint, "--after"));
    again[strcspn(again, "\n")] = 0;
    r = run_expect(1, "%s", again);
    cr_assert_eq(first + row(r.out, "checked"), 20000);
    cr_assert_eq(found + row(r.out, "different"), 2);
}

Test(tool_verify, after_leaves_out_what_is_done)
{
    load(both, N, "new");
    sql_do("UPDATE sync_items SET version = version + 1 WHERE id = 'k000100'");
    struct run r = run_expect(0, "%s verify --after k000100", both);
    cr_assert_eq(row(r.out, "checked"), N - 101, "%s", r.out);
    r = run_expect(1, "%s verify --after k000099", both);
    cr_assert_eq(row(r.out, "checked"), N - 100, "%s", r.out);
    r = run_expect(0, "%s verify --after z", both);
    cr_assert_eq(row(r.out, "checked"), 0, "%s", r.out);
}

/* ---- beside others, and other shapes ---- */

Test(tool_verify, a_service_may_run_meanwhile)
{
    int in;
    load(both, N, "new");
    pid_t pid = run_start(&in, "%s --wal-path service.wal load - --ack wal", both);
    cr_assert_eq(write(in, "{\"id\":\"s\"}\n", 11), 11);
    while (mariadb_number(sql, "SELECT COUNT(*) FROM sync_items") < N + 1)
        pause_ms(5);
    char command[1200];
    snprintf(command, sizeof command,
             "\"$SE_TOOL\" %s --wal-path service.wal verify >aside-out 2>aside-err", both);
    int status = system(command) >> 8;
    size_t len;
    char *out = read_file("aside-out", &len), *err = read_file("aside-err", &len);
    cr_assert_eq(status, 0, "%d %s%s", status, out, err);
    cr_assert_eq(row(out, "checked"), N + 1, "%s", out);
    free(out);
    free(err);
    /* the service's WAL is the service's */
    snprintf(command, sizeof command,
             "\"$SE_TOOL\" %s --wal-path service.wal verify --repair >aside-out 2>aside-err", both);
    cr_assert_eq(system(command) >> 8, 2);
    close(in);
    cr_assert_eq(run_wait(pid).status, 0);
}

/* With a WAL of its own, or none, a repair is one more owner. */
Test(tool_verify, a_repair_beside_a_service)
{
    int in;
    load(both, N, "new");
    pid_t pid = run_start(&in, "%s --wal-path service.wal load - --ack wal", both);
    cr_assert_eq(write(in, "{\"id\":\"s\"}\n", 11), 11);
    while (mariadb_number(sql, "SELECT COUNT(*) FROM sync_items") < N + 1)
        pause_ms(5);
    redis_do("SET sync:k000002 garbage");
    char command[1200];
    snprintf(command, sizeof command, "\"$SE_TOOL\" %s verify --repair >aside-out 2>aside-err",
             both);
    int status = system(command) >> 8;
    size_t len;
    char *out = read_file("aside-out", &len);
    cr_assert_eq(status, 0, "%s", out);
    cr_assert_eq(row(out, "\nrepaired"), 1, "%s", out);
    free(out);
    close(in);
    cr_assert_eq(run_wait(pid).status, 0);
    run_expect(0, "%s verify --deep", both);
}

Test(tool_verify, redis_alone_is_verified_too)
{
    const char *alone = strstr(both, "--redis-url");
    load(alone, N, "new");
    struct run r = run_expect(0, "%s verify --deep", alone);
    cr_assert_eq(row(r.out, "checked"), N, "%s", r.out);
    cr_assert(says(r.out, "L2 (Redis)") && !says(r.out, "L3 (SQL)"), "%s", r.out);
    redis_do("SET sync:k000002 garbage");
    run_expect(1, "%s verify", alone);
}

static void sqlite_do(const char *statement)
{
    sqlite3 *db;
    cr_assert_eq(sqlite3_open("items.db", &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, statement, NULL, NULL, NULL), SQLITE_OK, "%s",
                 sqlite3_errmsg(db));
    sqlite3_close(db);
}

#define DB "--sql-url sqlite:items.db"

Test(tool_verify, one_tier_is_checked_for_itself)
{
    load(DB, N, "new");
    struct run r = run_expect(0, DB " verify --deep");
    cr_assert_eq(row(r.out, "checked"), N, "%s", r.out);
    cr_assert(says(r.out, "roots         one tier\n"), "%s", r.out);
    sqlite_do("UPDATE sync_items SET payload = 'edited' WHERE id = 'k000001'");
    run_expect(0, DB " verify");
    r = run_expect(1, DB " verify --deep");
    cr_assert(says(r.out, "k000001\tl3\tcorrupt\tnot repaired\t"), "%s", r.out);
    cr_assert(says(r.out, "L3 (SQL)               0           1           -\n"), "%s", r.out);
    r = run_expect(1, DB " verify --deep --repair");
    cr_assert_eq(row(r.out, "unrepairable"), 1, "%s", r.out);
    r = run_expect(1, DB " verify --deep --json");
    cr_assert(says(r.out, "\"roots_equal\":null"), "%s", r.out);
}

Test(tool_verify, progress_as_lines_and_as_a_bar)
{
    load(DB, 20000, "new");
    struct run r = run_expect(0, DB " verify --deep --progress bar");
    cr_assert(says(r.err, "\r[") && says(r.err, " ids  "), "%s", r.err);
    cr_assert_eq(r.err[r.err_len - 1], 'K', "the bar is wiped at the end");
    r = run_expect(0, DB " verify --rate 8000 --progress lines");
    cr_assert(!strchr(r.err, '\r') && says(r.err, "syncengine: verify: ") && says(r.err, " ids/s"),
              "%s", r.err);
}

/* ---- merkle ---- */

/* The digest of a node by its row. */
static void digest(const char *out, const char *node, char to[33])
{
    const char *at = strstr(out, node);
    unsigned long long items;
    cr_assert_not_null(at, "%s", out);
    cr_assert_eq(sscanf(at + strlen(node), "%llu %32s", &items, to), 2, "%s", out);
}

Test(tool_verify, digests_of_both_tiers_side_by_side)
{
    char first[33], second[33];
    load(both, N, "new");
    struct run r = run_expect(0, "%s merkle root", both);
    cr_assert(says(r.out, "L2 items") && says(r.out, "L3 digest") && says(r.out, "  equal\n"), "%s",
              r.out);
    digest(r.out, "root", first);
    cr_assert_eq(lines(run_expect(0, "%s merkle children 0 0", both).out), 17);
    run_expect(0, "%s merkle prefix k00000", both);
    redis_do("DEL sync:k000007");
    r = run_expect(1, "%s merkle root", both);
    cr_assert(says(r.out, "  differs\n"), "%s", r.out);
    cr_assert_eq(row(r.out, "\nroot"), N - 1);
    r = run_expect(0, "%s merkle root --tier l3", both);
    cr_assert(!says(r.out, "L2 ") && !says(r.out, "equal"), "%s", r.out);
    digest(r.out, "root", second);
    cr_assert_str_eq(first, second);
    r = run_expect(0, "%s merkle root --tier l2", both);
    digest(r.out, "root", second);
    cr_assert_str_neq(first, second);
    run_expect(1, "%s merkle prefix k00000", both);
    run_expect(0, "%s merkle prefix k00001", both);
    r = run_expect(1, "%s merkle prefix k000007 --json", both);
    cr_assert(says(r.out, "{\"node\":\"prefix\",\"l2\":{\"items\":0,\"digest\":\"00000000000000000"
                          "000000000000000\"},\"l3\":{\"items\":1,\"digest\":\"") &&
                  says(r.out, "\"equal\":false}\n"),
              "%s", r.out);
    run_expect(0, "%s verify", both); /* a cache may hold only a part */
}

/* Going down where rows differ ends at the one bucket of the id. */
Test(tool_verify, going_down_finds_the_bucket)
{
    load(both, N, "new");
    redis_do("DEL sync:k000007");
    unsigned index = 0;
    for (unsigned depth = 0; depth < 4; depth++) {
        char node[32] = "";
        unsigned at_depth;
        struct run r = run_expect(1, "%s merkle children %u %u", both, depth, index);
        for (char *line = strtok(r.out, "\n"); line; line = strtok(NULL, "\n")) {
            if (!says(line, "differs"))
                continue;
            cr_assert_str_eq(node, "", "one child differs");
            snprintf(node, sizeof node, "%.*s", (int)strcspn(line, " "), line);
        }
        cr_assert_eq(sscanf(node, "%u/%u", &at_depth, &index), 2, "%s", node);
        cr_assert_eq(at_depth, depth + 1);
    }
    char bucket[16];
    cr_assert(mariadb_value(sql, "SELECT bucket FROM sync_items WHERE id = 'k000007'", bucket,
                            sizeof bucket));
    cr_assert_eq(strtoul(bucket, NULL, 10), index);
}

Test(tool_verify, the_root_is_the_sum_of_its_children)
{
    char sum[16] = {0}, root[33];
    long long items = 0;
    load(DB, N, "new");
    struct run r = run_expect(0, DB " merkle children 0 0");
    for (int i = 0; i < 16; i++) {
        char node[16], hex[33];
        snprintf(node, sizeof node, "\n1/%d ", i);
        items += row(r.out, node);
        digest(r.out, node, hex);
        for (int k = 0; k < 16; k++) {
            unsigned byte;
            sscanf(hex + 2 * k, "%2x", &byte);
            sum[k] = (char)(sum[k] ^ byte);
        }
    }
    cr_assert_eq(items, N);
    r = run_expect(0, DB " merkle root");
    digest(r.out, "root", root);
    for (int k = 0; k < 16; k++) {
        char hex[3];
        snprintf(hex, sizeof hex, "%02x", (unsigned char)sum[k]);
        cr_assert(strncmp(hex, root + 2 * k, 2) == 0, "%s", root);
    }
    char *once = strdup(r.out);
    cr_assert_str_eq(run_expect(0, DB " merkle root").out, once);
    free(once);
}
