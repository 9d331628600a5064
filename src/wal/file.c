/*
 * file - opens the log's file and speaks SQL to it.
 *
 * File format, version 1: a SQLite database in WAL mode,
 *
 *   PRAGMA application_id = 0x53455741 ("SEWA"), user_version = 1
 *   log (seq INTEGER PRIMARY KEY, id BLOB, record BLOB)    a write that the home tier does not have
 *   yet dead(seq INTEGER PRIMARY KEY, id BLOB, record BLOB,    a write that it refuses, with its
 *   number, its words and when
 *        code INTEGER, error TEXT, buried_at INTEGER)
 *   meta(name TEXT PRIMARY KEY, value TEXT)                "wal." names are the log's own, the rest
 *   is the engine's
 *
 * record is item/record.h's byte form, generation 0; its check covers the id and, through the
 * content hash, the content. seq counts both tables; a number is never used twice (meta "wal.seq"
 * remembers the greatest that was removed).
 */
#include "wal/file.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/sqlite.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION_ID 0x53455741
#define FORMAT_VERSION 1
#define BUSY_MS 2000 /* for an operator's sqlite3 shell; the engine never waits for itself */
#define JOURNAL_BYTES_KEPT "67108864"

static const char *const sql_text[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_BEGIN_READ] = "BEGIN",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_LOG_INSERT] = "INSERT INTO log(seq, id, record) VALUES(?1, ?2, ?3)",
    [SQL_LOG_DELETE] = "DELETE FROM log WHERE seq BETWEEN ?1 AND ?2",
    [SQL_LOG_READ] = "SELECT seq, id, record FROM log WHERE seq = ?1",
    [SQL_LOG_ALL] = "SELECT seq, id, record FROM log ORDER BY seq",
    [SQL_LOG_IDS] = "SELECT seq, id FROM log",
    [SQL_DEAD_INSERT] =
        "INSERT INTO dead(seq, id, record, code, error, buried_at) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_DEAD_DELETE] = "DELETE FROM dead WHERE seq BETWEEN ?1 AND ?2",
    [SQL_DEAD_READ] = "SELECT seq, id, record, code, error, buried_at FROM dead WHERE seq = ?1",
    [SQL_DEAD_ALL] = "SELECT seq, id, record, code, error, buried_at FROM dead ORDER BY seq",
    [SQL_DEAD_IDS] = "SELECT seq, id FROM dead",
    [SQL_META_PUT] = "INSERT OR REPLACE INTO meta(name, value) VALUES(?1, ?2)",
    [SQL_META_GET] = "SELECT value FROM meta WHERE name = ?1",
    [SQL_META_ALL] = "SELECT name, value FROM meta",
};

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE log(seq INTEGER PRIMARY KEY, id BLOB NOT NULL, record BLOB NOT NULL);"
    "CREATE TABLE dead(seq INTEGER PRIMARY KEY, id BLOB NOT NULL, record BLOB NOT NULL, code "
    "INTEGER NOT NULL,"
    "                  error TEXT NOT NULL, buried_at INTEGER NOT NULL);"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "PRAGMA application_id = 1397053249;" /* APPLICATION_ID */
    "PRAGMA user_version = 1;"            /* FORMAT_VERSION */
    "COMMIT;";

/* ---- errors ---- */

se_result se__wal_fault(const struct wal_file *f, int rc, const char *path, const char *what)
{
    const char *words = f && f->db && sqlite3_extended_errcode(f->db) == rc ? sqlite3_errmsg(f->db)
                                                                            : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return se__error_nomem();
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return se__error(SE_ERR_CORRUPT,
                         "wal %s is damaged: %s: %s; `syncengine wal salvage` copies what is "
                         "intact to a new file",
                         path, what, words);
    default:
        return se__error(SE_ERR_IO, "wal %s: %s: %s (%d)", path, what, words, rc);
    }
}

bool se__wal_fault_is_clean(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL: /* the frame that commits is the last one written, and it did not fit */
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CONSTRAINT:
    case SQLITE_INTERRUPT:
        return true;
    default:
        return rc == SQLITE_IOERR_NOMEM;
    }
}

/* ---- opening ---- */

/* SQLite takes "file:..." and ":memory:" for something else than a file of that name. */
char *se__wal_plain_name(const char *path)
{
    struct buf b = {0};
    se__buf_text(&b, path[0] == '/' ? "" : "./");
    se__buf_text(&b, path);
    size_t len;
    return se__buf_take(&b, &len);
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int frames)
{
    struct wal_file *f = arg;
    (void)db;
    (void)name;
    f->frames = frames;
    return SQLITE_OK;
}

static int connect_file(const char *path, enum wal_file_mode mode, struct wal_file *f)
{
    char *name = se__wal_plain_name(path);
    if (!name)
        return SQLITE_NOMEM;
    int flags =
        mode == WAL_FILE_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    int rc = se__sqlite_connect(name, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, &f->db);
    se__free(name);
    if (rc != SQLITE_OK)
        return rc;
    /* A failed fsync while closing could not be told to anyone; and a reader has
     * no business with the journal. */
    sqlite3_db_config(f->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_db_config(f->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(f->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_busy_timeout(f->db, BUSY_MS);
    sqlite3_wal_hook(f->db, on_commit,
                     f); /* replaces the automatic checkpoint, which drops its errors */
    return SQLITE_OK;
}

static int query_int(struct wal_file *f, const char *sql, int64_t *value)
{
    sqlite3_stmt *s;
    int rc = sqlite3_prepare_v2(f->db, sql, -1, &s, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *value = sqlite3_column_int64(s, 0);
    int end = sqlite3_finalize(s);
    return rc == SQLITE_ROW ? SQLITE_OK : end != SQLITE_OK ? end : SQLITE_CORRUPT;
}

/* *text: the first column of the first row, cut to cap. */
static int query_text(struct wal_file *f, const char *sql, char *text, size_t cap)
{
    sqlite3_stmt *s;
    int rc = sqlite3_prepare_v2(f->db, sql, -1, &s, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        sqlite3_snprintf((int)cap, text, "%s", sqlite3_column_text(s, 0));
    int end = sqlite3_finalize(s);
    return rc == SQLITE_ROW ? SQLITE_OK : end != SQLITE_OK ? end : SQLITE_CORRUPT;
}

/* Ours, empty (*fresh), or somebody else's. Reads only. */
static se_result identify(struct wal_file *f, const char *path, bool *fresh)
{
    int64_t application = 0, version = 0, objects = 0;
    int rc = query_int(f, "PRAGMA application_id", &application);
    if (rc == SQLITE_OK)
        rc = query_int(f, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK)
        rc = query_int(f, "SELECT count(*) FROM sqlite_master", &objects);
    if (rc != SQLITE_OK)
        return se__wal_fault(f, rc, path, "reading its header");
    *fresh = application == 0 && version == 0 && objects == 0;
    if (*fresh)
        return SE_OK;
    if (application != APPLICATION_ID)
        return se__error(SE_ERR_CONFIG, "wal %s is a SQLite file of another program", path);
    if (version != FORMAT_VERSION)
        return se__error(SE_ERR_CONFIG, "wal %s has format %lld; this library knows format %d",
                         path, (long long)version, FORMAT_VERSION);
    return SE_OK;
}

static se_result configure(struct wal_file *f, const char *path, enum wal_file_mode mode)
{
    char journal[16] = "";
    const char *wanted = mode == WAL_FILE_BUILD ? "delete" : "wal";
    int rc = query_text(
        f, mode == WAL_FILE_BUILD ? "PRAGMA journal_mode=DELETE" : "PRAGMA journal_mode=WAL",
        journal, sizeof journal);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(
            f->db,
            "PRAGMA synchronous=FULL; PRAGMA secure_delete=OFF; PRAGMA cache_size=-8192;"
            "PRAGMA journal_size_limit=" JOURNAL_BYTES_KEPT,
            NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return se__wal_fault(f, rc, path, "setting the journal mode");
    if (strcmp(journal, wanted) != 0)
        return se__error(SE_ERR_IO, "wal %s: the file system does not allow journal mode %s", path,
                         wanted);
    return SE_OK;
}

static se_result check(struct wal_file *f, const char *path)
{
    char verdict[200] = "";
    int rc = query_text(f, "PRAGMA quick_check(1)", verdict, sizeof verdict);
    if (rc != SQLITE_OK)
        return se__wal_fault(f, rc, path, "checking it");
    if (strcmp(verdict, "ok") == 0)
        return SE_OK;
    return se__error(
        SE_ERR_CORRUPT,
        "wal %s is damaged: %s; `syncengine wal salvage` copies what is intact to a new file", path,
        verdict);
}

/* The tables are as this version knows them if every statement compiles. */
static se_result prepare_all(struct wal_file *f, const char *path)
{
    for (enum wal_sql i = 0; i < SQL_COUNT; i++) {
        int rc;
        if (se__wal_file_stmt(f, i, &rc))
            continue;
        return se__wal_fault(f, rc == SQLITE_ERROR ? SQLITE_CORRUPT : rc, path, "its tables");
    }
    return SE_OK;
}

static se_result set_up(const char *path, enum wal_file_mode mode, struct wal_file *f)
{
    bool fresh = false;
    int rc = connect_file(path, mode, f);
    if (rc != SQLITE_OK)
        return se__wal_fault(f, rc, path, "opening it");
    se_result r = identify(f, path, &fresh);
    if (r == SE_OK && fresh && mode == WAL_FILE_READ)
        return se__error(SE_ERR_IO, "wal %s is empty: no engine has opened it yet", path);
    if (r == SE_OK && mode != WAL_FILE_READ)
        r = configure(f, path, mode);
    if (r == SE_OK && fresh) {
        rc = sqlite3_exec(f->db, schema, NULL, NULL, NULL);
        r = rc == SQLITE_OK ? SE_OK : se__wal_fault(f, rc, path, "creating its tables");
    }
    if (r == SE_OK && mode == WAL_FILE_WRITE && !fresh)
        r = check(f, path);
    if (r == SE_OK && mode != WAL_FILE_BUILD)
        r = prepare_all(f, path);
    return r;
}

se_result se__wal_file_open(const char *path, enum wal_file_mode mode, struct wal_file *f)
{
    *f = (struct wal_file){0};
    se_result r = set_up(path, mode, f);
    if (r != SE_OK)
        se__wal_file_close(f, false);
    return r;
}

void se__wal_file_close(struct wal_file *f, bool tidy)
{
    for (int i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(f->stmts[i]);
    if (f->db)
        sqlite3_db_config(f->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, tidy ? 0 : 1, NULL);
    int rc = sqlite3_close(f->db);
    assert(rc == SQLITE_OK);
    (void)rc;
    se__buf_done(&f->scratch);
    *f = (struct wal_file){0};
}

/* ---- statements ---- */

sqlite3_stmt *se__wal_file_stmt(struct wal_file *f, enum wal_sql which, int *rc)
{
    sqlite3_stmt *s = f->stmts[which];
    *rc = SQLITE_OK;
    if (!s) {
        *rc = sqlite3_prepare_v3(f->db, sql_text[which], -1, SQLITE_PREPARE_PERSISTENT, &s, NULL);
        f->stmts[which] = s;
        return s;
    }
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return s;
}

/* Steps a statement that returns no rows. The reset gives the same error again: SQLite's word. */
static int finish(sqlite3_stmt *s)
{
    int rc = sqlite3_step(s);
    int end = sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : end != SQLITE_OK ? end : rc;
}

int se__wal_file_run(struct wal_file *f, enum wal_sql which)
{
    int rc;
    sqlite3_stmt *s = se__wal_file_stmt(f, which, &rc);
    return s ? finish(s) : rc;
}

static int bind_record(struct wal_file *f, sqlite3_stmt *s, uint64_t seq, const se_item *item)
{
    enum record_kind kind = se__item_deleted(item) ? RECORD_TOMBSTONE : RECORD_ITEM;
    size_t len = se__record_size(item, kind);
    se__buf_clear(&f->scratch);
    char *out = se__buf_reserve(&f->scratch, len);
    if (!out)
        return SQLITE_NOMEM;
    se__record_encode(item, kind, 0, (uint8_t *)out);
    int rc = sqlite3_bind_int64(s, 1, (sqlite3_int64)seq);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob64(s, 2, se_item_id(item), se__item_id_len(item), SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob64(s, 3, out, len, SQLITE_STATIC);
    return rc;
}

int se__wal_file_log(struct wal_file *f, uint64_t seq, const se_item *item)
{
    int rc;
    sqlite3_stmt *s = se__wal_file_stmt(f, SQL_LOG_INSERT, &rc);
    if (s)
        rc = bind_record(f, s, seq, item);
    return rc == SQLITE_OK ? finish(s) : rc;
}

int se__wal_file_bury(struct wal_file *f, uint64_t seq, const se_item *item, int code,
                      const char *error, int64_t buried_at_ms)
{
    int rc;
    sqlite3_stmt *s = se__wal_file_stmt(f, SQL_DEAD_INSERT, &rc);
    if (s)
        rc = bind_record(f, s, seq, item);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int(s, 4, code);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(s, 5, error, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(s, 6, buried_at_ms);
    return rc == SQLITE_OK ? finish(s) : rc;
}

int se__wal_file_delete(struct wal_file *f, enum wal_sql which, uint64_t first, uint64_t last)
{
    int rc;
    sqlite3_stmt *s = se__wal_file_stmt(f, which, &rc);
    if (s)
        rc = sqlite3_bind_int64(s, 1, (sqlite3_int64)first);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(s, 2, (sqlite3_int64)last);
    return rc == SQLITE_OK ? finish(s) : rc;
}

int se__wal_file_meta_put(struct wal_file *f, const char *name, const char *value)
{
    int rc;
    sqlite3_stmt *s = se__wal_file_stmt(f, SQL_META_PUT, &rc);
    if (s)
        rc = sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(s, 2, value, -1, SQLITE_STATIC);
    return rc == SQLITE_OK ? finish(s) : rc;
}

int se__wal_file_meta_put_u64(struct wal_file *f, const char *name, uint64_t value)
{
    char text[32];
    sqlite3_snprintf(sizeof text, text, "%llu", (unsigned long long)value);
    return se__wal_file_meta_put(f, name, text);
}

int se__wal_file_meta_get(struct wal_file *f, const char *name, char **value)
{
    int rc;
    sqlite3_stmt *s = se__wal_file_stmt(f, SQL_META_GET, &rc);
    if (!s)
        return rc;
    rc = sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        *value = text ? se__strdup(text) : NULL;
        rc = *value ? SQLITE_OK : SQLITE_NOMEM;
    }
    sqlite3_reset(s);
    return rc;
}

/* A value that is no number is damage: the ceiling must not fall back to 0. */
int se__wal_file_meta_get_u64(struct wal_file *f, const char *name, uint64_t *value)
{
    char *text = NULL;
    int rc = se__wal_file_meta_get(f, name, &text);
    if (rc != SQLITE_OK) {
        *value = 0;
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    }
    char *end;
    *value = strtoull(text, &end, 10);
    bool good = text[0] >= '0' && text[0] <= '9' && *end == '\0' && *value <= INT64_MAX;
    se__free(text);
    return good ? SQLITE_OK : SQLITE_CORRUPT;
}

int se__wal_file_checkpoint(struct wal_file *f, bool truncate)
{
    int rc = sqlite3_wal_checkpoint_v2(
        f->db, NULL, truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    f->frames_tried = f->frames;
    return rc == SQLITE_BUSY || rc == SQLITE_LOCKED ? SQLITE_OK : rc;
}

int se__wal_file_behind(const struct wal_file *f)
{
    return f->frames >= f->frames_tried ? f->frames - f->frames_tried : f->frames;
}

/* ---- rows ---- */

bool se__wal_bytes_intact(const char *id, size_t id_len, const void *bytes, size_t len,
                          struct record *record)
{
    uint8_t hash[SE_HASH_SIZE];
    if (id_len == 0 || id_len > SE_ID_MAX || memchr(id, '\0', id_len))
        return false;
    if (se__record_decode(id, id_len, bytes, len, record) != RECORD_OK)
        return false;
    if (record->kind == RECORD_TOMBSTONE)
        return true;
    if (record->kind != RECORD_ITEM || !record->content)
        return false;
    se__hash128(0, record->content, record->content_len, hash);
    return memcmp(hash, record->content_hash, SE_HASH_SIZE) == 0;
}

static bool decode_row(sqlite3_stmt *row, const char **id, size_t *id_len, struct record *record)
{
    *id = sqlite3_column_blob(row, 1);
    *id_len = (size_t)sqlite3_column_bytes(row, 1);
    const void *bytes = sqlite3_column_blob(row, 2);
    size_t len = (size_t)sqlite3_column_bytes(row, 2);
    return *id && bytes && se__wal_bytes_intact(*id, *id_len, bytes, len, record);
}

se_item *se__wal_row_item(sqlite3_stmt *row, bool *garbage)
{
    const char *id;
    size_t id_len;
    struct record record;
    *garbage = !decode_row(row, &id, &id_len, &record);
    return *garbage ? NULL : se__record_to_item(id, id_len, &record);
}

bool se__wal_row_seq(sqlite3_stmt *row, uint64_t *seq)
{
    *seq = (uint64_t)sqlite3_column_int64(row, 0);
    return sqlite3_column_type(row, 0) == SQLITE_INTEGER && *seq >= 1 && *seq <= WAL_SEQ_MAX;
}

bool se__wal_row_intact(sqlite3_stmt *row, uint64_t *version)
{
    const char *id;
    size_t id_len;
    struct record record;
    if (!decode_row(row, &id, &id_len, &record))
        return false;
    *version = record.version;
    return true;
}
