/*
 * seeds_files - seeds of the programs whose input is a file of the write-ahead log.
 *
 * The databases are made by SQLite itself, with small pages, so that a few hundred bytes have trees and
 * chains of pages in them.
 */
#include "fuzz/records.h"
#include "fuzz/seeds.h"

#include <sqlite3.h>
#include <unistd.h>

static const char SCHEMA[] =
    "CREATE TABLE log(seq INTEGER PRIMARY KEY, id BLOB NOT NULL, record BLOB NOT NULL);"
    "CREATE TABLE dead(seq INTEGER PRIMARY KEY, id BLOB NOT NULL, record BLOB NOT NULL,"
    " code INTEGER NOT NULL, error TEXT NOT NULL, buried_at INTEGER NOT NULL);"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "PRAGMA application_id = 1397053249; PRAGMA user_version = 1;"
    "INSERT INTO meta VALUES('wal.ceiling', '77'), ('wal.seq', '1');";

static void insert(sqlite3 *db, const char *sql, int seq, const void *id, size_t id_len,
                   const struct buf *record)
{
    sqlite3_stmt *s = NULL;
    must(sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK);
    sqlite3_bind_int(s, 1, seq);
    sqlite3_bind_blob(s, 2, id, (int)id_len, SQLITE_TRANSIENT);
    sqlite3_bind_blob(s, 3, record->data, (int)record->len, SQLITE_TRANSIENT);
    must(sqlite3_step(s) == SQLITE_DONE);
    sqlite3_finalize(s);
}

/* long_ones: one record goes on in overflow pages. */
static void fill(sqlite3 *db, unsigned rows, bool long_ones)
{
    static const char LOG[] = "INSERT INTO log VALUES(?1, ?2, ?3)";
    static const char DEAD[] = "INSERT INTO dead VALUES(?1, ?2, ?3, 1406, 'too long', 99)";
    char content[1300];
    memset(content, 'c', sizeof content);
    for (unsigned i = 0; i < rows; i++) {
        char id[16];
        struct buf record = {0};
        int len = snprintf(id, sizeof id, "id%u", i % 5);
        struct item_spec spec = {.id = id,
                                 .id_len = (size_t)len,
                                 .content = content,
                                 .content_len = long_ones && i == 1 ? sizeof content : i,
                                 .version = i + 1,
                                 .deleted = i % 4 == 3};
        spec.content_len = spec.deleted ? 0 : spec.content_len;
        encode_record(&spec, &record);
        insert(db, i % 3 == 2 ? DEAD : LOG, (int)i + 2, id, (size_t)len, &record);
        se__buf_done(&record);
    }
}

static void read_file(const char *path, struct buf *out)
{
    char chunk[4096];
    FILE *f = fopen(path, "rb");
    se__buf_clear(out);
    for (size_t n; f && (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        se__buf_append(out, chunk, n);
    if (f)
        fclose(f);
}

static void write_both(const char *name, const struct buf *database, const struct buf *journal)
{
    static const int FLAGS[] = {0, 1, 3};
    struct buf b = {0};
    for (size_t i = 0; i < 3; i++) {
        char full[64];
        se__buf_clear(&b);
        put_byte(&b, FLAGS[i]);
        put_byte(&b, (int)(journal->len >> 8));
        put_byte(&b, (int)(journal->len & 0xff));
        se__buf_append(&b, database->data, database->len);
        se__buf_append(&b, journal->data, journal->len);
        snprintf(full, sizeof full, "%s%s", name, i == 1 ? "_fixed" : i == 2 ? "_spoilt" : "");
        write_seed("fuzz_pages", full, &b);
    }
    se__buf_done(&b);
}

/* A database of `rows`; with a journal what was written last is in that. */
static void write_database(const char *name, unsigned rows, bool long_ones, bool with_journal)
{
    static const char PATH[] = "seed.db";
    struct buf database = {0}, journal = {0};
    sqlite3 *db = NULL;
    unlink(PATH);
    must(sqlite3_open(PATH, &db) == SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    must(sqlite3_exec(db, "PRAGMA page_size=512", NULL, NULL, NULL) == SQLITE_OK);
    must(sqlite3_exec(db, SCHEMA, NULL, NULL, NULL) == SQLITE_OK);
    if (with_journal)
        must(sqlite3_exec(db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL) == SQLITE_OK);
    fill(db, rows, long_ones);
    read_file("seed.db-wal", &journal);
    read_file(PATH, &database);
    must(sqlite3_close(db) == SQLITE_OK);
    unlink(PATH);
    unlink("seed.db-wal");
    unlink("seed.db-shm");
    write_both(name, &database, &journal);
    se__buf_done(&database);
    se__buf_done(&journal);
}

void write_files(void)
{
    write_database("empty", 0, false, false);
    write_database("few", 3, false, false);
    write_database("many", 14, false, false);
    write_database("long", 3, true, false);
    write_database("journal", 2, false, true);
}
