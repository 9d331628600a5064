/*
 * salvage - copies what is intact of a damaged log into a new one.
 *
 * First through SQLite, each table from its front to the damage and from its back to the damage;
 * then, unless SQLite found nothing wrong, through the raw pages (pages.c), which need no tree. The
 * same record found twice is written once: numbers are unique. A record that had been confirmed may
 * be found again in a page that was free; the home tier's version guard makes it harmless.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "base/sqlite.h"
#include "wal/journal.h"
#include "wal/pages.h"
#include "wal/state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct salvage {
    const char *from;
    struct wal_file to;
    struct wal_salvaged *done;
    bool suspicious; /* SQLite has not read all of it without complaint */
    int rc;          /* of writing */
};

static const char *const forwards[] = {
    "SELECT seq, id, record FROM log ORDER BY seq",
    "SELECT seq, id, record, code, error, buried_at FROM dead ORDER BY seq"};
static const char *const backwards[] = {
    "SELECT seq, id, record FROM log ORDER BY seq DESC",
    "SELECT seq, id, record, code, error, buried_at FROM dead ORDER BY seq DESC"};

/* ---- writing ---- */

/* A whole record under a number that cannot be gets another one: made of its bytes, so that it is
 * written once however often it is found, and far above those of a log's life. */
static uint64_t number_for(const struct page_row *row)
{
    if (row->seq >= 1 && row->seq <= WAL_SEQ_MAX)
        return row->seq;
    uint64_t hash = se__hash64(row->id_len, row->record, row->record_len);
    return (UINT64_C(1) << 48) | hash >> 16;
}

static bool keep(struct salvage *s, const struct page_row *row)
{
    struct record record;
    if (!se__wal_bytes_intact(row->id, row->id_len, row->record, row->record_len, &record)) {
        s->done->damaged++;
        return true;
    }
    se_item *item = se__record_to_item(row->id, row->id_len, &record);
    if (!item) {
        s->rc = SQLITE_NOMEM;
        return false;
    }
    uint64_t seq = number_for(row);
    int rc = row->dead
                 ? se__wal_file_bury(&s->to, seq, item, row->code, row->error, row->buried_at_ms)
                 : se__wal_file_log(&s->to, seq, item);
    se_item_release(item);
    if (rc == SQLITE_OK)
        ++*(row->dead ? &s->done->dead : &s->done->records);
    else if ((rc & 0xff) != SQLITE_CONSTRAINT) /* that is: we have it already */
        s->rc = rc;
    return s->rc == SQLITE_OK;
}

static bool keep_page_row(void *arg, const struct page_row *row)
{
    return keep(arg, row);
}

/* ---- through SQLite ---- */

static struct page_row row_of(sqlite3_stmt *stmt, bool dead)
{
    const char *error = dead ? (const char *)sqlite3_column_text(stmt, 4) : NULL;
    struct page_row row = {.dead = dead,
                           .seq = (uint64_t)sqlite3_column_int64(stmt, 0),
                           .id = sqlite3_column_blob(stmt, 1),
                           .id_len = (size_t)sqlite3_column_bytes(stmt, 1),
                           .record = sqlite3_column_blob(stmt, 2),
                           .record_len = (size_t)sqlite3_column_bytes(stmt, 2),
                           .error = error ? error : ""};
    if (dead) {
        row.code = sqlite3_column_int(stmt, 3);
        row.buried_at_ms = sqlite3_column_int64(stmt, 5);
    }
    return row;
}

/* Returns false if the rows ended with an error. */
static bool copy_query(struct salvage *s, sqlite3 *db, const char *sql, bool dead)
{
    sqlite3_stmt *stmt;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return false;
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct page_row row = row_of(stmt, dead);
        if (!row.id || !row.record)
            s->done->damaged++;
        else if (!keep(s, &row))
            break;
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE || s->rc != SQLITE_OK;
}

static void copy_table(struct salvage *s, sqlite3 *db, bool dead)
{
    uint64_t damaged = s->done->damaged;
    if (copy_query(s, db, forwards[dead], dead))
        return;
    s->suspicious = true;
    /* some are seen again from the other end */
    s->done->damaged = damaged + (s->done->damaged > damaged);
    if (s->rc == SQLITE_OK)
        copy_query(s, db, backwards[dead], dead);
}

static void copy_names(struct salvage *s, sqlite3 *db)
{
    sqlite3_stmt *row;
    if (sqlite3_prepare_v2(db, "SELECT name, value FROM meta", -1, &row, NULL) != SQLITE_OK)
        return;
    while (s->rc == SQLITE_OK && sqlite3_step(row) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(row, 0);
        const char *value = (const char *)sqlite3_column_text(row, 1);
        if (name && value)
            s->rc = se__wal_file_meta_put(&s->to, name, value);
    }
    if (sqlite3_finalize(row) != SQLITE_OK)
        s->suspicious = true;
}

static bool looks_sound(sqlite3 *db)
{
    sqlite3_stmt *stmt;
    if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &stmt, NULL) != SQLITE_OK)
        return false;
    bool sound = sqlite3_step(stmt) == SQLITE_ROW &&
                 strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0;
    sqlite3_finalize(stmt);
    return sound;
}

static void copy_through_sqlite(struct salvage *s)
{
    sqlite3 *db = NULL;
    char *name = se__wal_plain_name(s->from);
    if (!name) {
        s->rc = SQLITE_NOMEM;
        return;
    }
    s->suspicious = true;
    if (se__sqlite_connect(name, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, &db) == SQLITE_OK) {
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_busy_timeout(db, 2000);
        s->suspicious = se__wal_journal_check(s->from) != SE_OK || !looks_sound(db);
        copy_table(s, db, false);
        copy_table(s, db, true);
        copy_names(s, db);
    }
    sqlite3_close(db);
    se__free(name);
}

/* ---- all of it ---- */

static se_result check_source(const char *from, int *lock_fd)
{
    struct buf b = {0};
    if (access(from, R_OK) != 0)
        return se__error(SE_ERR_IO, "wal %s: cannot be opened: %s", from, strerror(errno));
    se__buf_text(&b, from);
    se__buf_text(&b, ".lock");
    size_t len;
    char *name = se__buf_take(&b, &len);
    if (!name)
        return se__error_nomem();
    se_result r = se__filelock_open(name, lock_fd);
    se__free(name);
    return r == SE_ERR_STATE ? se__error(SE_ERR_STATE, "wal %s is locked by another engine", from)
                             : SE_OK;
}

static se_result create_target(const char *to, struct wal_file *f)
{
    int fd = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return se__error(errno == EEXIST ? SE_ERR_CONFIG : SE_ERR_IO,
                         "wal %s: cannot be created: %s", to, strerror(errno));
    close(fd);
    return se__wal_file_open(to, WAL_FILE_BUILD, f);
}

static se_result copy_all(struct salvage *s, const char *to)
{
    s->rc = se__wal_file_run(&s->to, SQL_BEGIN);
    if (s->rc == SQLITE_OK)
        copy_through_sqlite(s);
    if (s->rc == SQLITE_OK && s->suspicious)
        se__wal_pages_scan(s->from, keep_page_row, s);
    if (s->rc == SQLITE_OK)
        s->rc = se__wal_file_run(&s->to, SQL_COMMIT);
    return s->rc == SQLITE_OK ? SE_OK
                              : se__wal_fault(&s->to, s->rc, to, "writing what was salvaged");
}

se_result se__wal_salvage(const char *from, const char *to, struct wal_salvaged *salvaged)
{
    struct salvage s = {.from = from, .done = salvaged};
    int lock_fd = -1;
    *salvaged = (struct wal_salvaged){0};
    se_result r = check_source(from, &lock_fd);
    if (r == SE_OK)
        r = create_target(to, &s.to);
    if (r == SE_OK) {
        r = copy_all(&s, to);
        se__wal_file_close(&s.to, false);
        if (r == SE_OK)
            r = se__wal_sync_directory(to);
        else
            unlink(to);
    }
    se__filelock_close(lock_fd);
    return r;
}
