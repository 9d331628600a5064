/*
 * file - one connection to the log's SQLite file, and the statements it is used with.
 *
 * Only this room knows SQLite. Results are SQLite's own (extended) codes; se__wal_fault turns them
 * into ours, with a text. The file format is at the head of file.c.
 *
 * Threads: caller-serialised; a connection belongs to whoever leads the group commit, or has taken
 * it from the pool.
 * Memory: in place; se__wal_file_close takes an all-zero one.
 */
#ifndef SE_WAL_FILE_H
#define SE_WAL_FILE_H

#include "base/buf.h"
#include "item/record.h"

#include <sqlite3.h>

enum wal_sql {
    SQL_BEGIN,
    SQL_BEGIN_READ,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_LOG_INSERT,
    SQL_LOG_DELETE,
    SQL_LOG_READ,
    SQL_LOG_ALL,
    SQL_LOG_IDS,
    SQL_DEAD_INSERT,
    SQL_DEAD_DELETE,
    SQL_DEAD_READ,
    SQL_DEAD_ALL,
    SQL_DEAD_IDS,
    SQL_META_PUT,
    SQL_META_GET,
    SQL_META_ALL,
    SQL_COUNT
};

struct wal_file {
    sqlite3 *db;
    sqlite3_stmt *stmts[SQL_COUNT];
    int frames;         /* in the journal, after the last commit */
    int frames_tried;   /* at the last checkpoint */
    struct buf scratch; /* one encoded record */
};

enum wal_file_mode {
    WAL_FILE_WRITE,  /* creates what is missing, checks all of it */
    WAL_FILE_REOPEN, /* as WRITE, without the check: this process wrote it */
    WAL_FILE_BUILD,  /* a new file on its own, without a journal beside it once it is closed */
    WAL_FILE_READ
};

/* SE_ERR_CONFIG, SE_ERR_CORRUPT, SE_ERR_IO, SE_ERR_NOMEM, as se__wal_open. */
SE_NODISCARD se_result se__wal_file_open(const char *path, enum wal_file_mode mode,
                                         struct wal_file *f);
/* tidy: the journal is taken into the file and removed, if nobody else has the file open. */
void se__wal_file_close(struct wal_file *f, bool tidy);
/* The name to give SQLite; the caller's. NULL without memory. */
SE_NODISCARD char *se__wal_plain_name(const char *path);
/* Sets the error text ("wal PATH: what: SQLite's words"); SE_ERR_CORRUPT,
 * SE_ERR_NOMEM, else SE_ERR_IO. */
se_result se__wal_fault(const struct wal_file *f, int rc, const char *path, const char *what);
/* True if after this code the transaction is known not to have happened and
 * the file can be gone on with. */
bool se__wal_fault_is_clean(int rc);

/* Prepared on first use, reset and without bindings. NULL: *rc says why. */
sqlite3_stmt *se__wal_file_stmt(struct wal_file *f, enum wal_sql which, int *rc);
int se__wal_file_run(struct wal_file *f,
                     enum wal_sql which); /* a statement without bindings or rows */
int se__wal_file_log(struct wal_file *f, uint64_t seq, const se_item *item);
int se__wal_file_bury(struct wal_file *f, uint64_t seq, const se_item *item, int code,
                      const char *error, int64_t buried_at_ms);
int se__wal_file_delete(struct wal_file *f, enum wal_sql which, uint64_t first, uint64_t last);
int se__wal_file_meta_put(struct wal_file *f, const char *name, const char *value);
int se__wal_file_meta_put_u64(struct wal_file *f, const char *name, uint64_t value);
/* SQLITE_DONE: no such name. */
int se__wal_file_meta_get(struct wal_file *f, const char *name, char **value);
int se__wal_file_meta_get_u64(struct wal_file *f, const char *name, uint64_t *value);
/* Takes the journal into the file as far as readers allow. truncate: and empties it. */
int se__wal_file_checkpoint(struct wal_file *f, bool truncate);
/* Frames since the last one. */
int se__wal_file_behind(const struct wal_file *f);

/* A row of the log or of the dead letters; columns 0 seq, 1 id, 2 record. The item is a reference,
 * or NULL with *garbage (the check or the content's hash does not hold) or without memory. */
se_item *se__wal_row_item(sqlite3_stmt *row, bool *garbage);
/* The same check without making an item. */
bool se__wal_row_intact(sqlite3_stmt *row, uint64_t *version);
/* The number of a row; false: it is none that was ever given out. */
bool se__wal_row_seq(sqlite3_stmt *row, uint64_t *seq);
bool se__wal_bytes_intact(const char *id, size_t id_len, const void *bytes, size_t len,
                          struct record *record);

#define WAL_META_CEILING "wal.ceiling" /* the clock's; decimal */
#define WAL_META_SEQ "wal.seq"         /* the greatest number ever removed; decimal */
#define WAL_SEQ_MAX (UINT64_MAX >> 2)  /* no log ever comes that far: a greater one is damage */
#define WAL_RECORD_MAX 900000000u      /* SQLite's own limit is 1e9 */

#endif
