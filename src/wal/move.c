/*
 * move - a new file for a log whose file cannot be trusted any more.
 *
 * After a failed fsync the kernel may have dropped the pages and call the next fsync a success.
 * What was acknowledged before is safe in the old file, or was read back with its checksum intact;
 * so:
 *
 *   1  PATH.new is built with all live records, the dead letters, the names, and the group whose
 *      commit failed; fsynced, closed
 *   2  it is renamed to PATH.moved, the directory fsynced: from here on it is the log, whatever
 *      happens
 *   3  the old journal is removed (or SQLite would replay it into the new file), PATH.moved renamed
 *      to PATH
 *
 * A crash before 2 leaves the old log and a PATH.new that the next open removes; after 2, the next
 * open does step 3. Connections that read the old file go on with it, and are replaced when they
 * come back.
 */
#include "base/mem.h"
#include "wal/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char *beside(const char *path, const char *suffix)
{
    struct buf b = {0};
    se__buf_text(&b, path);
    se__buf_text(&b, suffix);
    size_t len;
    return se__buf_take(&b, &len);
}

static se_result os_error(const char *what, const char *path)
{
    return se__error(SE_ERR_IO, "wal: %s %s: %s", what, path, strerror(errno));
}

static se_result remove_beside(const char *path, const char *suffix)
{
    char *name = beside(path, suffix);
    if (!name)
        return se__error_nomem();
    se_result r = unlink(name) == 0 || errno == ENOENT ? SE_OK : os_error("removing", name);
    se__free(name);
    return r;
}

static se_result rename_beside(const char *path, const char *from, const char *to)
{
    char *old = beside(path, from), *new = beside(path, to);
    se_result r = old && new ? SE_OK : se__error_nomem();
    if (r == SE_OK && rename(old, new) != 0)
        r = os_error("renaming", old);
    se__free(old);
    se__free(new);
    return r;
}

se_result se__wal_sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = slash == path ? se__strdup("/")
                 : slash       ? se__strndup(path, (size_t)(slash - path))
                               : se__strdup(".");
    if (!name)
        return se__error_nomem();
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    se_result r = fd >= 0 && fsync(fd) == 0 ? SE_OK : os_error("fsync of", name);
    if (fd >= 0)
        close(fd);
    se__free(name);
    return r;
}

static se_result clear_leftovers(const char *path)
{
    se_result r = remove_beside(path, ".new");
    if (r == SE_OK)
        r = remove_beside(path, ".new-journal");
    return r;
}

/* Step 3. The journal's removal reaches the disk before the new name does. */
static se_result put_in_place(const char *path)
{
    se_result r = remove_beside(path, "-wal");
    if (r == SE_OK)
        r = remove_beside(path, "-shm");
    if (r == SE_OK)
        r = se__wal_sync_directory(path);
    if (r == SE_OK)
        r = rename_beside(path, ".moved", "");
    return r == SE_OK ? se__wal_sync_directory(path) : r;
}

static bool is_gone(const char *path, const char *suffix)
{
    char *name = beside(path, suffix);
    bool gone = name && access(name, F_OK) != 0 && errno == ENOENT;
    se__free(name);
    return gone;
}

bool se__wal_files_gone(const char *path)
{
    return is_gone(path, "") || is_gone(path, "-wal");
}

bool se__wal_moved_exists(const char *path)
{
    char *name = beside(path, ".moved");
    bool exists = name && access(name, F_OK) == 0;
    se__free(name);
    return exists;
}

se_result se__wal_adopt(const char *path)
{
    se_result r = clear_leftovers(path);
    return r == SE_OK && se__wal_moved_exists(path) ? put_in_place(path) : r;
}

/* ---- building the new file ---- */

struct copying {
    struct wal_file *to;
    bool dead;
    int rc;
};

static bool copy_row(void *arg, sqlite3_stmt *row, se_item *item)
{
    struct copying *c = arg;
    uint64_t seq = (uint64_t)sqlite3_column_int64(row, 0);
    const char *error = c->dead ? (const char *)sqlite3_column_text(row, 4) : NULL;
    if (c->dead)
        c->rc = se__wal_file_bury(c->to, seq, item, sqlite3_column_int(row, 3), error ? error : "",
                                  sqlite3_column_int64(row, 5));
    else
        c->rc = se__wal_file_log(c->to, seq, item);
    return c->rc == SQLITE_OK;
}

static se_result copy_table(struct wal *w, struct wal_file *from, enum wal_sql which,
                            struct wal_file *to)
{
    struct copying c = {.to = to, .dead = which == SQL_DEAD_ALL};
    se_result r = se__wal_rows_of(w, from, which, copy_row, &c);
    return c.rc == SQLITE_OK ? r : se__wal_fault(to, c.rc, w->path, "copying to a new file");
}

static int copy_names(struct wal_file *from, struct wal_file *to)
{
    int rc;
    sqlite3_stmt *row = se__wal_file_stmt(from, SQL_META_ALL, &rc);
    while (row && (rc = sqlite3_step(row)) == SQLITE_ROW) {
        rc = se__wal_file_meta_put(to, (const char *)sqlite3_column_text(row, 0),
                                   (const char *)sqlite3_column_text(row, 1));
        if (rc != SQLITE_OK)
            break;
    }
    sqlite3_reset(row);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static se_result copy_tables(struct wal *w, struct wal_file *from, struct wal_file *to)
{
    int rc = copy_names(from, to);
    if (rc != SQLITE_OK)
        return se__wal_fault(NULL, rc, w->path, "copying to a new file");
    se_result r = copy_table(w, from, SQL_LOG_ALL, to);
    return r == SE_OK ? copy_table(w, from, SQL_DEAD_ALL, to) : r;
}

/* Through the leader's own connection, which has the file even if its name is gone; after an
 * attempt that closed it, through a new one. */
static se_result copy_live(struct wal *w, struct wal_file *to)
{
    if (w->file.db)
        return copy_tables(w, &w->file, to);
    struct wal_reader *reader;
    se_result r = se__wal_reader_take(w, &reader);
    if (r != SE_OK)
        return r;
    r = copy_tables(w, &reader->file, to);
    se__wal_reader_give(w, reader);
    return r;
}

static int write_rest(struct wal *w, struct request *group, uint64_t ceiling, struct wal_file *to)
{
    int rc = SQLITE_OK;
    se__mutex_lock(&w->lock);
    uint64_t seq = w->seq;
    se__mutex_unlock(&w->lock);
    for (struct request *r = group; r && rc == SQLITE_OK; r = r->next)
        rc = r->ops->apply(w, r, to);
    if (rc == SQLITE_OK)
        rc = se__wal_file_meta_put_u64(to, WAL_META_SEQ, seq);
    if (rc == SQLITE_OK && ceiling)
        rc = se__wal_file_meta_put_u64(to, WAL_META_CEILING, ceiling);
    return rc == SQLITE_OK ? se__wal_file_run(to, SQL_COMMIT) : rc;
}

static se_result fill(struct wal *w, struct request *group, uint64_t ceiling, struct wal_file *to)
{
    int rc = se__wal_file_run(to, SQL_BEGIN);
    if (rc != SQLITE_OK)
        return se__wal_fault(to, rc, w->path, "creating a new file");
    se_result r = copy_live(w, to);
    if (r != SE_OK)
        return r;
    rc = write_rest(w, group, ceiling, to);
    return rc == SQLITE_OK ? SE_OK : se__wal_fault(to, rc, w->path, "writing a new file");
}

static se_result build(struct wal *w, struct request *group, uint64_t ceiling, bool *reached)
{
    struct wal_file to;
    se_result r = clear_leftovers(w->path);
    char *name = beside(w->path, ".new");
    if (r == SE_OK && !name)
        r = se__error_nomem();
    if (r == SE_OK)
        r = se__wal_create_private(name);
    if (r == SE_OK)
        r = se__wal_file_open(name, WAL_FILE_BUILD, &to);
    se__free(name);
    if (r != SE_OK)
        return r;
    r = fill(w, group, ceiling, &to);
    se__wal_file_close(&to, false);
    *reached = r == SE_OK;
    if (r == SE_OK)
        r = rename_beside(w->path, ".new", ".moved");
    return r == SE_OK ? se__wal_sync_directory(w->path) : r;
}

/* ---- changing over ---- */

static void stop_opening(struct wal *w)
{
    se__mutex_lock(&w->lock);
    w->moving = true;
    while (w->readers_opening > 0)
        se__cond_wait(&w->readers_changed, &w->lock);
    se__mutex_unlock(&w->lock);
}

static void go_on(struct wal *w, bool moved)
{
    se__mutex_lock(&w->lock);
    w->moving = false;
    w->poisoned = !moved; /* the leader has no file open then */
    if (moved)
        w->generation++;
    se__cond_broadcast(&w->readers_changed);
    se__mutex_unlock(&w->lock);
}

static se_result change_over(struct wal *w)
{
    stop_opening(w);
    se__wal_file_close(&w->file, false);
    se_result r = put_in_place(w->path);
    if (r == SE_OK)
        r = se__wal_file_open(w->path, WAL_FILE_REOPEN, &w->file);
    go_on(w, r == SE_OK);
    return r;
}

/* PATH.moved from an attempt that did not get to its end is the log already; PATH may have lost its
 * journal, and is not read again. No group comes here then: a poisoned log takes none. */
se_result se__wal_move(struct wal *w, struct request *group, uint64_t ceiling, bool *reached)
{
    se_result r = SE_OK;
    *reached = false;
    if (!se__wal_moved_exists(w->path))
        r = build(w, group, ceiling, reached);
    else if (group)
        r = se__error(SE_ERR_IO, "wal %s: an earlier move is not finished", w->path);
    return r == SE_OK ? change_over(w) : r;
}
