/*
 * What an engine is given to open: files that are no WAL, schemas of another version, databases that refuse, passwords. Each gives the
 * documented error with a message that says what and where; nothing is changed, lost or told to those who must not know.
 */
#include "base/os.h"
#include "integration/truth.h"
#include "support/test.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct shape sqlite_only = {"sqlite", SQLITE, false, false};
static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};
static const struct shape mysql_wal = {"mysql+wal", MYSQL, false, true};

/* SE_ERR_*, with a message that holds `says`, and no engine. */
static void expect_refusal(const se_config *c, se_result expected, const char *says)
{
    se_engine *e = (se_engine *)c;
    se_result r = se_open(c, &e);
    cr_assert_eq(r, expected, "%d instead of %d: %s", r, expected, se_errmsg());
    cr_assert_null(e);
    cr_assert(strstr(se_errmsg(), says), "'%s' is not in: %s", says, se_errmsg());
}

/* ---- WAL files ---- */

static char *read_all(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    cr_assert(f, "%s", path);
    char *bytes = malloc(1 << 20);
    *len = fread(bytes, 1, 1 << 20, f);
    (void)fclose(f);
    return bytes;
}

static void write_all(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(bytes, 1, len, f) == len && fclose(f) == 0, "%s", path);
}

static void run_sqlite(const char *path, const char *sql)
{
    sqlite3 *db;
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, "%s: %s", sql,
                 sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* A file that must be refused, and be the same afterwards. */
static void expect_refused_file(struct bed *b, se_result expected, const char *says)
{
    size_t before_len, after_len;
    char *before = read_all(b->wal, &before_len);
    expect_refusal(&b->config, expected, says);
    cr_assert(strstr(se_errmsg(), b->wal), "it does not say which file: %s", se_errmsg());
    char *after = read_all(b->wal, &after_len);
    cr_assert(before_len == after_len && memcmp(before, after, after_len) == 0,
              "the file was changed");
    free(before);
    free(after);
}

static void make_wal(struct bed *b, const char *content)
{
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_WAL;
    se_engine *e = bed_open(b);
    cr_assert_eq(se_submit(e, "kept", content, strlen(content), &o), SE_OK);
    bed_close(b, e);
}

Test(hostile, a_file_that_is_no_wal_is_refused_and_left_alone)
{
    struct bed b;
    char text[5000];
    bed_make(&b, &sqlite_wal, NULL, NULL);
    memset(text, 'x', sizeof text);
    write_all(b.wal, "short", 5);
    expect_refused_file(&b, SE_ERR_CORRUPT, "wal");
    write_all(b.wal, text, sizeof text);
    expect_refused_file(&b, SE_ERR_CORRUPT, "not a database");
    cr_assert_eq(unlink(b.wal), 0);
    run_sqlite(b.wal, "CREATE TABLE precious (x); INSERT INTO precious VALUES (1)");
    expect_refused_file(&b, SE_ERR_CONFIG, "another program");
    run_sqlite(b.wal, "SELECT x FROM precious");
    bed_remove(&b);
}

Test(hostile, a_wal_of_a_newer_version_is_refused)
{
    struct bed b;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    make_wal(&b, "1");
    run_sqlite(b.wal, "PRAGMA user_version = 99");
    expect_refused_file(&b, SE_ERR_CONFIG, "format 99");
    run_sqlite(b.wal, "PRAGMA user_version = 1");
    se_engine *e = bed_open(&b);
    bed_expect(e, "kept", "1");
    bed_close(&b, e);
    bed_remove(&b);
}

Test(hostile, a_cut_wal_is_corrupt_and_names_the_way_out)
{
    struct bed b;
    size_t len;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    make_wal(&b, "1");
    char *bytes = read_all(b.wal, &len);
    for (size_t keep = 1; keep < len; keep += len / 7 + 1) {
        write_all(b.wal, bytes, keep);
        expect_refused_file(&b, SE_ERR_CORRUPT, "salvage");
    }
    write_all(b.wal, bytes, len);
    bed_close(&b, bed_open(&b));
    free(bytes);
    bed_remove(&b);
}

Test(hostile, a_path_that_can_hold_no_wal_is_an_io_error)
{
    struct bed b;
    char path[400];
    bed_make(&b, &sqlite_wal, NULL, NULL);
    b.config.wal_path = b.dir.path;
    expect_refusal(&b.config, SE_ERR_IO, b.dir.path);
    snprintf(path, sizeof path, "%s/missing/wal.db", b.dir.path);
    b.config.wal_path = path;
    expect_refusal(&b.config, SE_ERR_IO, path);
    write_all(b.wal, "x", 1);
    snprintf(path, sizeof path, "%s/below-a-file", b.wal);
    expect_refusal(&b.config, SE_ERR_IO, path);
    b.config.wal_path = "/proc/sys/kernel/ostype";
    expect_refusal(&b.config, SE_ERR_IO, "/proc/sys/kernel/ostype");
    b.config.wal_path = b.sql + strlen("sqlite:");
    expect_refusal(&b.config, SE_ERR_CONFIG, "same file");
    bed_remove(&b);
}

Test(hostile, an_sqlite_path_that_can_hold_no_database_is_no_crash)
{
    struct bed b;
    char url[400];
    bed_make(&b, &sqlite_only, NULL, NULL);
    b.config.startup_timeout_ms = 200;
    b.config.require_backends = true;
    b.config.sql_url = url;
    snprintf(url, sizeof url, "sqlite:%s", b.dir.path);
    expect_refusal(&b.config, SE_ERR_BACKEND, "require_backends");
    snprintf(url, sizeof url, "sqlite:%s/text", b.dir.path);
    char text[3000];
    memset(text, 'x', sizeof text);
    write_all(url + 7, text, sizeof text);
    se_engine *e;
    cr_assert_lt(se_open(&b.config, &e), 0);
    cr_assert_null(e);
    cr_assert(strstr(se_errmsg(), "not a database"), "%s", se_errmsg());
    bed_remove(&b);
}

/* ---- schemas ---- */

static void set_meta(struct bed *b, struct mariadb_server *mariadb, const char *name,
                     const char *value)
{
    char sql[200];
    snprintf(sql, sizeof sql, "UPDATE sync_items_meta SET value = '%s' WHERE name = '%s'", value,
             name);
    truth_run(b, mariadb, sql);
}

static void expect_read_only(struct bed *b, const char *content)
{
    se_engine *e;
    b->config.read_only = true;
    if (content) {
        cr_assert_eq(se_open(&b->config, &e), SE_OK, "%s", se_errmsg());
        bed_expect(e, "kept", content);
        cr_assert_eq(se_close(e, 1000), SE_OK);
    } else
        expect_refusal(&b->config, SE_ERR_CONFIG, "use a newer one");
    b->config.read_only = false;
}

static void newer_schema(const struct shape *shape, struct mariadb_server *mariadb)
{
    struct bed b;
    bed_make(&b, shape, NULL, mariadb);
    make_wal(&b, "1");
    set_meta(&b, mariadb, "schema_version", "3");
    bed_close(&b, bed_open(&b)); /* newer, and says that we may use it */
    set_meta(&b, mariadb, "writer_min", "3");
    expect_refusal(&b.config, SE_ERR_CONFIG, "schema version 3");
    cr_assert(strstr(se_errmsg(), "sync_items"), "%s", se_errmsg());
    expect_read_only(&b, "1");
    set_meta(&b, mariadb, "reader_min", "3");
    expect_read_only(&b, NULL);
    set_meta(&b, mariadb, "reader_min", "garbage");
    expect_refusal(&b.config, SE_ERR_CONFIG, "use a newer one");
    set_meta(&b, mariadb, "reader_min", "1");
    set_meta(&b, mariadb, "writer_min", "1");
    truth_run(&b, mariadb, "ALTER TABLE sync_items RENAME COLUMN payload_blob TO blob_payload");
    expect_refusal(&b.config, SE_ERR_CONFIG, "payload_blob");
    truth_run(&b, mariadb, "ALTER TABLE sync_items RENAME COLUMN blob_payload TO payload_blob");
    se_engine *e = bed_open(&b);
    bed_expect(e, "kept", "1");
    bed_close(&b, e);
    bed_remove(&b);
}

Test(hostile, a_schema_of_a_newer_version_is_refused)
{
    newer_schema(&sqlite_wal, NULL);
    struct mariadb_server *mariadb = mariadb_start(false, NULL);
    cr_assert(mariadb);
    newer_schema(&mysql_wal, mariadb);
    mariadb_close(mariadb);
}

/* ---- rights and passwords ---- */

#define SECRET "hush/hush" /* percent-encoded in addresses: "hush" stands in both */

struct guarded_server {
    struct mariadb_server *mariadb;
    struct bed bed;
    char url[300], wrong[300];
};

static void guarded_make(struct guarded_server *g)
{
    g->mariadb = mariadb_start(false, NULL);
    cr_assert(g->mariadb);
    bed_make(&g->bed, &mysql_wal, NULL, g->mariadb);
    cr_assert(mariadb_exec(g->mariadb,
                           "CREATE USER plain@localhost IDENTIFIED BY '" SECRET "';"
                           "GRANT SELECT, INSERT, UPDATE, DELETE ON t.* TO plain@localhost"));
    snprintf(g->url, sizeof g->url, "mysql://plain:hush%%2Fhush@localhost/t?socket=%s",
             g->mariadb->socket);
    snprintf(g->wrong, sizeof g->wrong, "mysql://plain:hush%%2Fwrong@localhost/t?socket=%s",
             g->mariadb->socket);
    g->bed.config.startup_timeout_ms = 300;
    g->bed.config.circuit_open_ms = 100;
    g->bed.config.batch_flush_ms = 5;
    truth_listen(&g->bed.config);
}

static void guarded_remove(struct guarded_server *g)
{
    truth_never_said("hush");
    bed_remove(&g->bed);
    mariadb_close(g->mariadb);
}

Test(hostile, without_the_right_to_create_tables_existing_ones_will_do)
{
    struct guarded_server g;
    char root[300];
    guarded_make(&g);
    snprintf(root, sizeof root, "%s", g.bed.sql);
    g.bed.config.sql_url = g.url;
    expect_refusal(&g.bed.config, SE_ERR_CONFIG, "sync_items");
    cr_assert(strstr(se_errmsg(), "CREATE TABLE"), "%s", se_errmsg());
    cr_assert(truth_heard("CREATE TABLE IF NOT EXISTS sync_items"),
              "what to run is not in the log");
    g.bed.config.sql_url = root;
    bed_close(&g.bed, bed_open(&g.bed));
    g.bed.config.sql_url = g.url;
    se_engine *e = bed_open(&g.bed);
    bed_put(e, "a", "1");
    cr_assert_eq(se_flush(e, 10000), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se_invalidate(e, "a"), SE_OK);
    bed_expect(e, "a", "1");
    bed_close(&g.bed, e);
    guarded_remove(&g);
}

/* A right that is lost while the engine runs is no poison of the rows: nothing becomes a dead letter. The server
 * lets a session keep the rights it began with, so ours begin anew. */
Test(hostile, a_lost_right_backs_off_and_kills_no_row)
{
    struct guarded_server g;
    guarded_make(&g);
    bed_close(&g.bed, bed_open(&g.bed));
    g.bed.config.sql_url = g.url;
    se_engine *e = bed_open(&g.bed);
    cr_assert(mariadb_exec(g.mariadb, "REVOKE INSERT, UPDATE ON t.* FROM plain@localhost"));
    cr_assert(mariadb_exec(g.mariadb, "KILL USER plain@localhost"));
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "r:%02d", i);
        bed_put(e, id, "waits");
    }
    (void)se_flush(e, 2000);
    se_health h;
    cr_assert_eq(se_health_check(e, &h), SE_OK);
    cr_assert_eq(h.dead_letters, 0);
    bed_expect(e, "r:49", "waits");
    cr_assert(mariadb_exec(g.mariadb, "GRANT INSERT, UPDATE ON t.* TO plain@localhost"));
    bed_wait(truth_all_home, e, "everything is home");
    cr_assert_eq(mariadb_number(g.mariadb, "SELECT COUNT(*) FROM sync_items WHERE id LIKE 'r:%'"),
                 50);
    truth_balance(e);
    bed_close(&g.bed, e);
    guarded_remove(&g);
}

Test(hostile, a_wrong_password_opens_degraded_and_is_never_said)
{
    struct guarded_server g;
    guarded_make(&g);
    bed_close(&g.bed, bed_open(&g.bed));
    g.bed.config.sql_url = g.wrong;
    g.bed.config.require_backends = true;
    expect_refusal(&g.bed.config, SE_ERR_BACKEND, "Access denied");
    truth_never_said("hush");
    g.bed.config.require_backends = false;
    se_engine *e = bed_open(&g.bed);
    se_health h;
    se_item *item;
    cr_assert_eq(se_health_check(e, &h), SE_OK);
    cr_assert(h.sql_up == 0 && !h.healthy && h.accepting_writes);
    cr_assert_eq(se_get(e, "unknown", &item), SE_ERR_BACKEND);
    truth_never_said("hush");
    bed_put(e, "a", "while locked out");
    bed_expect(e, "a", "while locked out");
    cr_assert(mariadb_exec(g.mariadb, "SET PASSWORD FOR plain@localhost = PASSWORD('hush/wrong')"));
    bed_wait(truth_all_home, e, "everything is home");
    cr_assert_eq(mariadb_number(g.mariadb, "SELECT COUNT(*) FROM sync_items WHERE id = 'a'"), 1);
    bed_close(&g.bed, e);
    guarded_remove(&g);
}

Test(hostile, passwords_of_redis_are_never_said)
{
    struct redis_server redis = {0};
    struct redis_server_options options = {.tcp = true, .password = "hush-hush"};
    redis_server_start(&redis, &options);
    struct bed b;
    char right[128], wrong[128];
    bed_make(&b, &sqlite_wal, NULL, NULL);
    truth_listen(&b.config);
    redis_server_tcp_url(&redis, right, sizeof right);
    snprintf(wrong, sizeof wrong, "redis://user:hush-wrong@127.0.0.1:%u/0", redis.port);
    b.config.startup_timeout_ms = 300;
    b.config.redis_url = wrong;
    b.config.require_backends = true;
    expect_refusal(&b.config, SE_ERR_BACKEND, "WRONGPASS");
    truth_never_said("hush");
    b.config.require_backends = false;
    se_engine *e = bed_open(&b); /* a cache that lets nobody in: the database serves */
    bed_put(e, "a", "1");
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    cr_assert_eq(se_invalidate(e, "a"), SE_OK);
    bed_expect(e, "a", "1");
    bed_close(&b, e);
    b.config.redis_url = right;
    b.config.require_backends = true;
    e = bed_open(&b);
    bed_expect(e, "a", "1");
    bed_close(&b, e);
    truth_never_said("hush");
    bed_remove(&b);
    redis_server_stop(&redis);
}

Test(hostile, addresses_that_are_none_are_refused_without_telling_the_password)
{
    static const char *const redis[] = {"redis://:hush@host:99999",
                                        "redis://:hush@host:port",
                                        "redis://u:hush@",
                                        "rediss://:hush@host:6379",
                                        "redis://:hush@host/x",
                                        "redis://:hu%zzsh@hush",
                                        "redis://:hush@host:6379/0?hush=1",
                                        "hush",
                                        "://hush@x",
                                        "redis://:hush@host\x01:1"};
    static const char *const sql[] = {"mysql://u:hush@host",
                                      "mysql://u:hush@host/t?hush=1",
                                      "mysql://u:hush@:0/t",
                                      "mysql://u:hush@host:0/t",
                                      "mysql://u:hush@host:70000/t",
                                      "postgres://u:hush@host/t",
                                      "mysql://u:hush@host/",
                                      "sqlite:",
                                      "mysql:u:hush@host/t",
                                      "mysql://u:hush%@host/t",
                                      "sqlite::memory:"};
    struct bed b;
    bed_make(&b, &sqlite_only, NULL, NULL);
    truth_listen(&b.config);
    for (size_t i = 0; i < sizeof redis / sizeof *redis; i++) {
        b.config.redis_url = redis[i];
        expect_refusal(&b.config, SE_ERR_CONFIG, "redis_url");
        truth_never_said("hush");
        truth_never_said("hu%zzsh");
    }
    b.config.redis_url = NULL;
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        b.config.sql_url = sql[i];
        expect_refusal(&b.config, SE_ERR_CONFIG, "sql_url");
        truth_never_said("hush");
    }
    bed_remove(&b);
}

/* ---- a forked child ---- */

/* Every call on the parent's engine says so at once. An engine of the child's own: fault_fork. */
static int child_of_fork(se_engine *e)
{
    se_item *item;
    const char *ids[] = {"a"};
    se_put put = {.id = "a", .content = "x", .len = 1};
    se_health h;
    char *text;
    size_t len;
    bool found;
    uint64_t n, began = se__mono_ms();
    bool refused =
        se_get(e, "a", &item) == SE_ERR_STATE &&
        se_get_many(e, ids, 1, &item, NULL) == SE_ERR_STATE &&
        se_get_copy(e, "a", NULL, 0, &len) == SE_ERR_STATE &&
        se_contains(e, "a", &found) == SE_ERR_STATE &&
        se_submit_many(e, &put, 1, NULL) == SE_ERR_STATE &&
        se_delete(e, "a", NULL) == SE_ERR_STATE && se_set_state(e, "a", "s") == SE_ERR_STATE &&
        se_invalidate(e, "a") == SE_ERR_STATE && se_count_prefix(e, "", &n) == SE_ERR_STATE &&
        se_health_check(e, &h) == SE_ERR_STATE && se_metrics_text(e, &text, &len) == SE_ERR_STATE &&
        se_flush(e, 10000) == SE_ERR_STATE && se_shutdown(e, 10000) == SE_ERR_STATE &&
        se_close(e, 10000) == SE_ERR_STATE && se_len(e) == 0 &&
        se_engine_phase(e) == SE_PHASE_SHUTTING_DOWN;
    return refused && se__mono_ms() - began <= 5000 ? 0 : 1;
}

Test(hostile, a_forked_child_is_told_and_the_parent_goes_on)
{
    struct bed b;
    int status;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    se_engine *e = bed_open(&b);
    bed_put(e, "a", "1");
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0)
        _exit(child_of_fork(e));
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", (unsigned)status);
    bed_put(e, "a", "2");
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    bed_expect(e, "a", "2");
    bed_close(&b, e);
    bed_remove(&b);
}
