/*
 * The program's outside: help of every command, usage errors, exit statuses, the commands on single
 * items, scans.
 */
#include "run.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DB "--sql-url sqlite:items.db "

TestSuite(tool_program, .init = run_init, .fini = run_done, .timeout = 120);

static const char *const names[] = {
    "load",          "get",         "put",    "delete",      "contains",
    "status",        "scan",        "count",  "wal list",    "wal drain",
    "wal dead",      "wal salvage", "verify", "merkle root", "merkle children",
    "merkle prefix", "stats",       "health", "config",      "docs",
    "version",       "help"};

Test(tool_program, every_command_has_help)
{
    struct run all = run_expect(0, "--help");
    char *text = strdup(all.out);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        cr_assert(says(text, names[i]), "--help does not name %s", names[i]);
        struct run r = run_expect(0, "%s --help", names[i]);
        cr_assert(says(r.out, "Usage: syncengine ") && says(r.out, names[i]), "%s", r.out);
        cr_assert_eq(r.err_len, 0);
        char *once = strdup(r.out);
        r = run_expect(0, "help %s", names[i]);
        cr_assert_str_eq(r.out, once);
        free(once);
    }
    free(text);
}

Test(tool_program, help_covers_groups_and_options)
{
    cr_assert(says(run_expect(0, "help wal").out, "wal salvage"));
    cr_assert(says(run_expect(0, "merkle --help").out, "merkle children DEPTH INDEX"));
    cr_assert(says(run_expect(0, "wal --help").out, "wal salvage"));
    struct run r = run_expect(0, "help options");
    cr_assert(says(r.out, "--l1-max-bytes SIZE"));
    cr_assert(says(r.out, "SYNC_ENGINE_REDIS_URL"));
    cr_assert(says(run_expect(0, "version").out, "syncengine 0.1.0"));
    cr_assert(says(run_expect(0, "--version").out, "syncengine 0.1.0"));
    run_expect(2, "help nonsense");
}

Test(tool_program, help_keeps_to_the_width)
{
    setenv("COLUMNS", "60", 1);
    struct run r = run_expect(0, "help options");
    for (char *line = strtok(r.out, "\n"); line; line = strtok(NULL, "\n"))
        cr_assert(strlen(line) <= 60 || !strchr(line + 28, ' '), "more than one long word: %s",
                  line);
}

Test(tool_program, wrong_usage_is_status_2_and_says_what)
{
    static const struct {
        const char *line, *part;
    } cases[] = {
        {"", "no command given"},
        {"lod", "did you mean load?"},
        {"frobnicate", "unknown command frobnicate"},
        {"wal", "needs one more word"},
        {"wal lst", "did you mean wal list?"},
        {"get", "too few arguments"},
        {"get a b", "too many arguments"},
        {"get --nonsense a", "unknown flag --nonsense"},
        {"get --sql-usl x a", "did you mean --sql-url?"},
        {"--verify get a", "unknown flag --verify"},
        {"get -x a", "unknown flag -x"},
        {"get a --out", "--out: needs a value"},
        {"get a --verify=yes", "takes no value"},
        {"get a --l1-max-bytes nonsense", "--l1-max-bytes: "},
        {"get a", "no tier is configured"},
        {DB "put a --value x --ack never", "--ack: \"never\""},
        {DB "put a --value x --route l7", "--route: \"l7\""},
        {DB "put a --value x --type yaml", "--type: \"yaml\""},
        {DB "put a --value x --expires-at soon", "--expires-at: \"soon\""},
        {DB "put a --value x --cache-ttl-ms -5", "--cache-ttl-ms: \"-5\""},
        {DB "put a file --value x", "exclude each other"},
        {DB "put a missing-file", "missing-file: No such file"},
        {DB "scan a --state b", "exclude each other"},
        {DB "scan --json --ids-only", "exclude each other"},
        {DB "scan --limit x", "--limit: \"x\""},
        {DB "load missing-file", "missing-file: No such file"},
        {DB "load .", "Is a directory"},
        {DB "load - --progress sometimes", "--progress: \"sometimes\""},
        {DB "load - --patience never", "--patience: \"never\""},
        {"docs nonsense", "none of configuration, metrics, tool"},
        {"--sql-url nonsense://x get a", "sql_url"},
        {"wal list", "no WAL is configured"},
        {"--wal-path missing.wal wal list", "missing.wal: No such file"},
        {"--wal-path missing.wal wal dead", "missing.wal: No such file"},
        {"wal salvage missing.wal new.wal", "missing.wal: No such file"},
        {"verify", "no tier is configured"},
        {"verify --repair", "no tier is configured"},
        {DB "verify all", "too many arguments"},
        {DB "verify --rate fast", "--rate: \"fast\""},
        {DB "verify --rate -1", "--rate: \"-1\""},
        {DB "verify --after", "--after: needs a value"},
        {DB "verify --deep=yes", "takes no value"},
        {DB "verify --progress never", "--progress: \"never\""},
        {"merkle", "needs one more word"},
        {"merkle rot", "did you mean merkle root?"},
        {"merkle root", "no tier is configured"},
        {DB "merkle root --tier l1", "--tier: \"l1\" is none of l2, l3"},
        {DB "merkle root --tier l2", "--tier: no Redis is configured"},
        {"--redis-url unix:///nowhere merkle root --tier l3", "--tier: no database is configured"},
        {DB "merkle children 0", "too few arguments"},
        {DB "merkle children 4 0", "DEPTH: \"4\" is not a whole number from 0 to 3"},
        {DB "merkle children 0 1", "INDEX: \"1\" is not a whole number from 0 to 0"},
        {DB "merkle children 3 4096", "INDEX: \"4096\" is not a whole number from 0 to 4095"},
        {DB "merkle children 0 x", "INDEX: \"x\""},
        {DB "merkle prefix", "too few arguments"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run r = run_expect(2, "%s", cases[i].line);
        cr_assert(says(r.err, cases[i].part), "%s: %s", cases[i].line, r.err);
        cr_assert(strncmp(r.err, "syncengine: ", 12) == 0, "%s", r.err);
        cr_assert_eq(r.out_len, 0, "%s: %s", cases[i].line, r.out);
    }
}

Test(tool_program, the_environment_configures_and_flags_override)
{
    setenv("SYNC_ENGINE_L1_MAX_BYTES", "32MiB", 1);
    setenv("SYNC_ENGINE_SQL_URL", "mysql://someone:s3cret@db.example/shop", 1);
    struct run r = run_expect(0, "config");
    cr_assert(says(r.out, "l1_max_bytes = ") && !says(r.out, "l1_max_bytes = 256"), "%s", r.out);
    cr_assert(says(r.out, "db.example"), "%s", r.out);
    cr_assert(!says(r.out, "s3cret"), "%s", r.out);
    r = run_expect(0, "config --sql-url sqlite:over.db");
    cr_assert(says(r.out, "sqlite:over.db"), "%s", r.out);
    setenv("SYNC_ENGINE_L1_MAX_BYTES", "much", 1);
    r = run_expect(2, "config");
    cr_assert(says(r.err, "environment: ") && says(r.err, "l1_max_bytes"), "%s", r.err);
    run_expect(0, "version"); /* needs no configuration */
    setenv("SYNC_ENGINE_L1_MAX_BYTES", "32MiB", 1);
    r = run_expect(2, "get x --sql-url mysql://u:hush@[bad/shop");
    cr_assert(!says(r.err, "hush"), "%s", r.err);
}

Test(tool_program, put_get_delete_byte_for_byte)
{
    char bytes[70000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 31 + i / 256);
    struct run r = run(bytes, sizeof bytes, DB "put 'a b%%_*é' -");
    cr_assert_eq(r.status, 0, "%s", r.err);
    cr_assert(says(r.out, "stored as version ") && says(r.out, "in sqlite:"), "%s", r.out);
    r = run_expect(0, DB "get 'a b%%_*é'");
    cr_assert_eq(r.out_len, sizeof bytes);
    cr_assert_arr_eq(r.out, bytes, sizeof bytes);
    run_expect(0, DB "get --verify --out copy.bin 'a b%%_*é'");
    size_t len;
    char *copy = read_file("copy.bin", &len);
    cr_assert_eq(len, sizeof bytes);
    cr_assert_arr_eq(copy, bytes, len);
    free(copy);
    cr_assert_str_eq(run_expect(0, DB "contains 'a b%%_*é'").out, "yes\n");
    cr_assert(says(run_expect(0, DB "delete 'a b%%_*é'").out, "deleted in "));
    r = run_expect(1, DB "get 'a b%%_*é'");
    cr_assert(says(r.err, "not found"), "%s", r.err);
    cr_assert_eq(r.out_len, 0);
    cr_assert_str_eq(run_expect(1, DB "contains 'a b%%_*é'").out, "no\n");
    cr_assert_str_eq(run_expect(1, DB "contains --quiet 'a b%%_*é'").out, "");
    run_expect(0, DB "delete never-there");
}

Test(tool_program, an_empty_content_is_an_item)
{
    cr_assert_eq(run("", 0, DB "put empty").status, 0);
    cr_assert_eq(run_expect(0, DB "get empty").out_len, 0);
    run_expect(0, DB "put empty2 --value ''");
    cr_assert_str_eq(run_expect(0, DB "contains empty2").out, "yes\n");
}

Test(tool_program, bad_ids_and_contents_are_refused)
{
    struct run r = run_expect(2, DB "put \"$(printf 'a\\001b')\" --value x");
    cr_assert(!strchr(r.err, 1), "the id is shown raw");
    run_expect(2, DB "get ''");
    run_expect(2, DB "put %0300d --value x", 1);
    run_expect(2, DB "--max-payload-bytes 1024 put big --value %02000d", 1);
    run_expect(1, DB "get big");
}

Test(tool_program, status_tells_the_tiers)
{
    run_expect(0, DB "put a --value 1 --state hot");
    struct run r = run_expect(0, DB "status a");
    cr_assert(says(r.out, "synced\n") && says(r.out, "SQL yes") && says(r.out, "Redis no"), "%s",
              r.out);
    r = run_expect(0, DB "status --json a");
    cr_assert(says(r.out, "{\"id\":\"a\",\"sync\":\"synced\",\"version\":"), "%s", r.out);
    cr_assert(says(r.out, "\"in_l3\":true"), "%s", r.out);
    r = run_expect(1, DB "status b");
    cr_assert(says(r.out, "missing\n"), "%s", r.out);
    r = run_expect(1, DB "status --json 'q\"b'");
    cr_assert(says(r.out, "\"id\":\"q\\\"b\",\"sync\":\"missing\""), "%s", r.out);
}

Test(tool_program, items_expire)
{
    run_expect(0, DB "put past --value x --expires-at 1000");
    run_expect(1, DB "get past");
    run_expect(0, DB "put future --value x --expires-at +1h");
    run_expect(0, DB "get future");
}

static void put_some(void)
{
    run_expect(0, DB "put a.1 --value '{\"n\":1}' --state hot");
    run_expect(0, DB "put a.2 --value two");
    run_expect(0, DB "put a_3 --value three --state hot");
    cr_assert_eq(run("\xff\xfe\n", 3, DB "put b.1 -").status, 0);
}

Test(tool_program, scans_and_counts)
{
    put_some();
    cr_assert_str_eq(run_expect(0, DB "scan --ids-only").out, "a.1\na.2\na_3\nb.1\n");
    cr_assert_str_eq(run_expect(0, DB "scan --ids-only a.").out, "a.1\na.2\n");
    cr_assert_str_eq(run_expect(0, DB "scan --ids-only --after a.1 --limit 2 a").out, "a.2\na_3\n");
    cr_assert_str_eq(run_expect(0, DB "scan --ids-only --state hot").out, "a.1\na_3\n");
    cr_assert_str_eq(run_expect(0, DB "scan --contents a").out, "{\"n\":1}\ntwo\nthree\n");
    cr_assert_str_eq(run_expect(0, DB "scan --ids-only nothing").out, "");
    cr_assert_str_eq(run_expect(0, DB "count").out, "4\n");
    cr_assert_str_eq(run_expect(0, DB "count a_").out, "1\n");
    cr_assert_str_eq(run_expect(0, DB "count --state hot").out, "2\n");
    struct run r = run_expect(0, DB "scan a.1");
    cr_assert(strncmp(r.out, "a.1\t7\tjson\thot\t20", 17) == 0, "%s", r.out);
    r = run_expect(0, DB "scan --json");
    cr_assert(says(r.out, "\"content\":\"{\\\"n\\\":1}\"}\n"), "%s", r.out);
    cr_assert(says(r.out, "\"content_base64\":\"//4K\"}\n"), "%s", r.out);
    cr_assert(says(r.out, "\"type\":\"json\",\"size\":7,\"hash\":\""), "%s", r.out);
}

Test(tool_program, a_reader_that_goes_away_ends_the_scan)
{
    put_some();
    struct run r = run(NULL, 0, DB "scan --json > /dev/full");
    cr_assert_eq(r.status, 2);
    cr_assert(says(r.err, "stdout: No space left"), "%s", r.err);
    r = run(NULL, 0, DB "get a.2 > /dev/full");
    cr_assert_eq(r.status, 2);
}

Test(tool_program, stats_and_health)
{
    put_some();
    struct run r = run_expect(0, DB "stats");
    cr_assert(says(r.out, "items 4\n"), "%s", r.out);
    cr_assert(says(run_expect(0, DB "stats --json").out, "{\"items\":4,"));
    cr_assert(says(run_expect(0, DB "stats --metrics").out, "# TYPE sync_engine_"));
    r = run_expect(0, DB "health");
    cr_assert(says(r.out, "healthy\n") && says(r.out, "SQL up"), "%s", r.out);
    cr_assert(says(r.out, "filter trusted, 4 ids, ") || says(r.out, "filter untrusted"), "%s",
              r.out);
    cr_assert(says(run_expect(0, DB "health --json").out, "\"healthy\":true"));
    cr_assert(says(run_expect(0, DB "health --json").out, "\"filter_doubt\":"));
    r = run_expect(1, "--sql-url 'mysql://u@localhost/t?socket=/nonexistent/socket' "
                      "--startup-timeout-ms 300 health");
    cr_assert(says(r.out, "SQL down"), "%s", r.out);
}

Test(tool_program, an_outage_is_not_a_no)
{
    const char *down = "--sql-url 'mysql://u@localhost/t?socket=/nonexistent/socket' "
                       "--startup-timeout-ms 300";
    run_expect(2, "%s get a", down);
    run_expect(2, "%s contains a", down);
    run_expect(2, "%s count", down);
    struct run r = run_expect(2, "%s scan a", down);
    cr_assert_eq(r.out_len, 0);
    cr_assert_gt(r.err_len, 0);
}

/* docs/tool.md ends with what the program prints about its commands. */
Test(tool_program, the_page_about_it_is_up_to_date)
{
    char path[4096];
    size_t len;
    snprintf(path, sizeof path, "%s/docs/tool.md", getenv("SE_SOURCE_ROOT"));
    char *page = read_file(path, &len);
    struct run r = run_expect(0, "docs tool");
    cr_assert(says(page, r.out),
              "run `syncengine docs tool` and put it at the end of docs/tool.md");
    free(page);
    cr_assert(says(run_expect(0, "docs configuration").out, "l1_max_bytes"));
    cr_assert(says(run_expect(0, "docs metrics").out, "sync_engine_operations_total"));
}
