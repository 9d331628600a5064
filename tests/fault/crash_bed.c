/*
 * bed - servers, folder and configuration: see crash.h.
 */
#include "fault/crash.h"

#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void quiet(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    if (getenv("SE_TEST_LOG"))
        (void)fprintf(stderr, "[%d] %s\n", (int)level, message);
}

/* ---- configuration ---- */

void crash_bed_config(const struct crash_bed *b, bool patient, se_config *c)
{
    se_config_init(c);
    c->sql_url = b->sql;
    c->redis_url = b->cached ? b->redis_url : NULL;
    c->wal_path = b->wal;
    c->log_fn = quiet;
    c->batch_flush_ms = 5;
    c->circuit_failures = 2;
    c->circuit_open_ms = 100;
    c->filter_snapshot_interval_s = 0; /* whenever there is something new */
    c->filter_snapshot_insert_threshold = 1;
    c->sql_timeout_ms = patient ? 20000 : 500;
    c->redis_timeout_ms = patient ? 5000 : 250;
    c->read_timeout_ms = patient ? 30000 : 1000;
    c->ack_timeout_ms = patient ? 30000 : 1000;
    c->startup_timeout_ms = patient ? 30000 : 200;
}

static void make_tables(const struct crash_bed *b)
{
    se_config c;
    se_engine *e;
    crash_bed_config(b, true, &c);
    if (se_open(&c, &e) != SE_OK || se_close(e, 20000) != SE_OK)
        crash_fail("the first engine: %s", se_errmsg());
}

void crash_bed_make(struct crash_bed *b, enum crash_home home, bool cached)
{
    *b = (struct crash_bed){.home = home, .cached = cached};
    snprintf(b->dir, sizeof b->dir, "/dev/shm/syncengine-crash-XXXXXX");
    if (!mkdtemp(b->dir))
        crash_fail("cannot make a folder like %s", b->dir);
    snprintf(b->wal, sizeof b->wal, "%s/wal.db", b->dir);
    snprintf(b->sql, sizeof b->sql, "sqlite:%s/l3.db", b->dir);
    if (home == CRASH_MARIADB) {
        b->mariadb = mariadb_start(false, NULL);
        if (!b->mariadb)
            crash_fail("no MariaDB");
        mariadb_url(b->mariadb, false, b->sql, sizeof b->sql);
    }
    if (cached) {
        redis_server_start(&b->redis, NULL);
        redis_server_url(&b->redis, b->redis_url, sizeof b->redis_url);
    }
    make_tables(b);
    crash_layer_reset(&crash_board->layer, b->dir);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_beside(const struct crash_bed *b, const char *name)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".filter", ".spare", ".lock"};
    char path[160];
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        snprintf(path, sizeof path, "%s/%s%s", b->dir, name, suffixes[i]);
        (void)unlink(path);
    }
}

void crash_bed_begin_anew(struct crash_bed *b)
{
    remove_beside(b, "wal.db");
    if (b->home == CRASH_SQLITE)
        remove_beside(b, "l3.db");
}

void crash_bed_remove(struct crash_bed *b)
{
    mariadb_close(b->mariadb);
    if (b->cached)
        redis_server_stop(&b->redis);
    (void)nftw(b->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- SQLite, by hand ---- */

/* The parent's connections change nothing: no checkpoint when they close. */
static sqlite3 *by_hand(const struct crash_bed *b)
{
    sqlite3 *db;
    if (sqlite3_open_v2(b->sql + strlen("sqlite:"), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                        NULL) != SQLITE_OK)
        crash_fail("%s: %s", b->sql, sqlite3_errmsg(db));
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_busy_timeout(db, 10000);
    return db;
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        crash_fail("%s: %s", sql, sqlite3_errmsg(db));
}

static void lock_sqlite(struct crash_bed *b, bool away)
{
    if (away && !b->lock) {
        b->lock = by_hand(b);
        run(b->lock, "BEGIN IMMEDIATE");
    } else if (!away && b->lock) {
        run(b->lock, "ROLLBACK");
        sqlite3_close(b->lock);
        b->lock = NULL;
    }
}

void crash_bed_away(struct crash_bed *b, bool away)
{
    if (b->home == CRASH_SQLITE)
        lock_sqlite(b, away);
    else if (away && b->mariadb->pid && !mariadb_kill(b->mariadb))
        crash_fail("cannot stop MariaDB");
    else if (!away && !b->mariadb->pid && !mariadb_restart(b->mariadb))
        crash_fail("cannot start MariaDB");
}

void crash_bed_refuse(struct crash_bed *b)
{
    b->poison = true;
    if (b->home == CRASH_MARIADB) {
        if (!mariadb_exec(b->mariadb,
                          "CREATE TRIGGER poison BEFORE INSERT ON sync_items FOR EACH ROW IF "
                          "NEW.id = 'k:023' "
                          "THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'poison'; END IF"))
            crash_fail("no trigger");
        return;
    }
    sqlite3 *db = by_hand(b);
    run(db, "CREATE TRIGGER poison BEFORE INSERT ON sync_items WHEN NEW.id = 'k:023' BEGIN "
            "SELECT RAISE(ABORT, 'poison'); END");
    sqlite3_close(db);
}

/* ---- the table ---- */

static void sqlite_table(struct crash_bed *b, uint32_t numbers[CRASH_IDS])
{
    sqlite3 *db = by_hand(b);
    sqlite3_stmt *s;
    const char *sql = "SELECT payload_blob FROM sync_items WHERE id = ?1 AND deleted = 0";
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        crash_fail("%s: %s", sql, sqlite3_errmsg(db));
    for (uint32_t id = 0; id < CRASH_IDS; id++) {
        char name[32];
        crash_name(&crash_board->known, id, name);
        sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
        numbers[id] = 0;
        if (sqlite3_step(s) == SQLITE_ROW)
            numbers[id] =
                crash_number(id, sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0));
        sqlite3_reset(s);
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
}

/* Lines of id=iiii.nnnnnnnnnn.length */
static void mariadb_table(struct crash_bed *b, uint32_t numbers[CRASH_IDS])
{
    char text[CRASH_IDS * 64], name[40], content[CRASH_CONTENT_MAX], sql[400];
    snprintf(sql, sizeof sql,
             "SELECT CAST(GROUP_CONCAT(CONCAT('\\n', id, '=', LEFT(payload_blob, 16), "
             "LENGTH(payload_blob)) SEPARATOR '') "
             "AS CHAR) FROM sync_items WHERE deleted = 0 AND (id LIKE 'k:%%' OR id LIKE 'f%u:%%')",
             crash_board->known.epoch);
    if (!mariadb_value(b->mariadb, sql, text, sizeof text))
        crash_fail("MariaDB does not answer");
    for (uint32_t id = 0; id < CRASH_IDS; id++) {
        name[0] = '\n';
        crash_name(&crash_board->known, id, name + 1);
        strcat(name, "=");
        const char *line = strstr(text, name);
        numbers[id] = line ? (uint32_t)strtoul(line + strlen(name) + 5, NULL, 10) : 0;
        if (line && strtoul(line + strlen(name) + CRASH_HEAD_LEN, NULL, 10) !=
                        crash_content(id, numbers[id], content))
            crash_fail("%s: the row has another length", name + 1);
    }
}

void crash_bed_table(struct crash_bed *b, uint32_t numbers[CRASH_IDS])
{
    if (b->home == CRASH_SQLITE)
        sqlite_table(b, numbers);
    else
        mariadb_table(b, numbers);
}
