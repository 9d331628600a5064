/*
 * wal - opens, recovers and closes the log; its named values and figures.
 *
 * Beside the log's file PATH (its format is at the head of file.c) there are
 *   PATH-wal, PATH-shm   SQLite's journal and its index
 *   PATH.spare           a little space held back for a full disk (spare.c)
 *   PATH.lock            held while an engine has the log open; left in place
 *   PATH.new, PATH.moved for moments, or after a crash, while a poisoned log changes files (move.c)
 *
 * Opening reads every record and checks it: the overlay is complete before the first call. Of
 * several versions of an id the newest is kept; a record whose check fails is counted, logged, left
 * out and left where it is.
 */
#include "wal/wal.h"

#include "base/hash.h"
#include "base/mem.h"
#include "wal/journal.h"
#include "wal/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the file and its lock ---- */

se_result se__wal_create_private(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return se__error(SE_ERR_IO, "wal %s: cannot be created: %s", path, strerror(errno));
    close(fd);
    return SE_OK;
}

/* SQLite follows symbolic links, and so must the lock. */
static se_result resolve(const char *path, char **resolved)
{
    char *real = realpath(path, NULL);
    if (!real)
        return se__error(SE_ERR_IO, "wal %s: cannot be opened: %s", path, strerror(errno));
    *resolved = se__strdup(real);
    free(real);
    return *resolved ? SE_OK : se__error_nomem();
}

static se_result take_lock(struct wal *w)
{
    struct buf b = {0};
    se__buf_text(&b, w->path);
    se__buf_text(&b, ".lock");
    size_t len;
    char *name = se__buf_take(&b, &len);
    if (!name)
        return se__error_nomem();
    se_result r = se__filelock_open(name, &w->lock_fd);
    se__free(name);
    if (r == SE_ERR_STATE)
        return se__error(SE_ERR_STATE, "wal %s is locked by another engine", w->path);
    return r;
}

/* What SQLite would not mind: a file cut down to a few bytes is an empty one to it, a
 * damaged journal a shorter one. */
static se_result check_raw(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && st.st_size > 0 && st.st_size < 512)
        return se__error(SE_ERR_CORRUPT,
                         "wal %s is damaged: it is cut off; `syncengine wal salvage` copies what "
                         "is intact to a new file",
                         path);
    return se__wal_journal_check(path);
}

static se_result open_for_writing(struct wal *w, const char *path)
{
    se_result r = se__wal_create_private(path);
    if (r == SE_OK)
        r = resolve(path, &w->path);
    if (r == SE_OK)
        r = take_lock(w);
    if (r == SE_OK)
        r = se__wal_adopt(w->path);
    if (r == SE_OK)
        r = check_raw(w->path);
    if (r == SE_OK)
        r = se__wal_journal_renew(w->path);
    if (r == SE_OK)
        r = se__wal_file_open(w->path, WAL_FILE_WRITE, &w->file);
    if (r == SE_OK)
        se__wal_spare_make(w);
    return r == SE_OK ? se__wal_sync_directory(w->path) : r;
}

static se_result open_for_reading(struct wal *w, const char *path)
{
    se_result r = resolve(path, &w->path);
    if (r != SE_OK || !se__wal_moved_exists(w->path))
        return r;
    struct buf b = {0};
    se__buf_text(&b, w->path);
    se__buf_text(&b, ".moved");
    size_t len;
    se__free(w->path);
    w->path = se__buf_take(&b, &len);
    return w->path ? SE_OK : se__error_nomem();
}

/* ---- recovery ---- */

struct recovery {
    struct wal *w;
    enum overlay_state as;
    uint64_t version_max;
};

static bool recover_row(struct recovery *rec, sqlite3_stmt *row)
{
    struct wal *w = rec->w;
    uint64_t version, seq;
    bool numbered = se__wal_row_seq(row, &seq);
    w->seq = numbered && seq > w->seq ? seq : w->seq;
    if (!numbered || !se__wal_row_intact(row, &version)) {
        se__wal_count_garbage(w, seq);
        return true;
    }
    const char *id = sqlite3_column_blob(row, 1);
    size_t id_len = (size_t)sqlite3_column_bytes(row, 1);
    struct overlay_node proto = {
        .key = se__wal_key(w, id, id_len),
        .seq = seq,
        .version = version,
        .bytes = (uint32_t)(sqlite3_column_bytes(row, 2) + (int)id_len),
        .partition = (uint16_t)(se__hash_id(&w->secret, id, id_len) % w->overlay.partitions),
        .dead_row = rec->as == OVERLAY_DEAD,
        .recovered = true,
    };
    /* The same write twice: as insurance, and moved there by the flush. One of them counts. */
    bool twice = rec->as == OVERLAY_HOME && se__overlay_by_version(&w->overlay, proto.key, version);
    uint32_t node = se__overlay_add(&w->overlay, &proto);
    if (!node)
        return false;
    if (twice)
        se__overlay_forget(&w->overlay, proto.key, version);
    se__overlay_publish(&w->overlay, node, rec->as);
    w->recovered += !twice;
    rec->version_max = version > rec->version_max ? version : rec->version_max;
    return true;
}

static se_result recover_table(struct wal_file *f, enum wal_sql which, struct recovery *rec)
{
    int rc;
    bool room = true;
    sqlite3_stmt *row = se__wal_file_stmt(f, which, &rc);
    while (row && room && (rc = sqlite3_step(row)) == SQLITE_ROW)
        room = recover_row(rec, row);
    se_result r = SE_OK;
    if (!room)
        r = se__error_nomem();
    else if (rc != SQLITE_DONE)
        r = se__wal_fault(f, rc, rec->w->path, "reading its records");
    sqlite3_reset(row);
    return r;
}

static se_result recover_names(struct wal *w, struct wal_file *f)
{
    uint64_t seq;
    int rc = se__wal_file_meta_get_u64(f, WAL_META_CEILING, &w->ceiling);
    if (rc == SQLITE_OK)
        rc = se__wal_file_meta_get_u64(f, WAL_META_SEQ, &seq);
    if (rc == SQLITE_OK && seq > WAL_SEQ_MAX)
        rc = SQLITE_CORRUPT;
    if (rc != SQLITE_OK)
        return se__wal_fault(f, rc, w->path, "reading its names");
    w->seq = seq > w->seq ? seq : w->seq;
    return SE_OK;
}

static se_result recover_from(struct wal *w, struct wal_file *f, uint64_t *version_max)
{
    struct recovery rec = {.w = w, .as = OVERLAY_HOME};
    se_result r = recover_names(w, f);
    if (r == SE_OK)
        r = recover_table(f, SQL_LOG_ALL, &rec);
    rec.as = OVERLAY_DEAD;
    if (r == SE_OK)
        r = recover_table(f, SQL_DEAD_ALL, &rec);
    *version_max = rec.version_max;
    return r;
}

/* Versions begin above everything that may have left the last process, even if the wall clock was
 * set back since: hence the time given with each is its own. */
static void start_clock(struct wal *w, uint64_t version_max)
{
    se__hlc_observe(w->hlc, version_max, se__version_ms(version_max), 1);
    se__hlc_observe(w->hlc, w->ceiling, se__version_ms(w->ceiling), 1);
    se__hlc_raise_ceiling(w->hlc, w->ceiling);
}

static se_result recover(struct wal *w)
{
    struct wal_reader *reader;
    uint64_t version_max;
    se_result r = se__wal_reader_take(w, &reader);
    if (r != SE_OK)
        return r;
    r = recover_from(w, &reader->file, &version_max);
    se__wal_reader_give(w, reader);
    if (r == SE_OK && w->hlc)
        start_clock(w, version_max);
    return r;
}

/* ---- life ---- */

static struct wal *new_wal(const struct wal_options *options)
{
    struct wal *w = se__alloc_zeroed(1, sizeof *w);
    if (!w)
        return NULL;
    se__mutex_init(&w->lock);
    se__cond_init(&w->alone);
    se__cond_init(&w->readers_changed);
    w->back = &w->front;
    w->lock_fd = -1;
    w->read_only = options->read_only;
    w->items_max = options->items_max;
    w->bytes_max = options->bytes_max;
    w->seed = options->seed;
    se__hash_secret(options->seed, &w->secret);
    w->hlc = options->read_only ? NULL : options->hlc;
    w->metrics = options->metrics;
    w->log = options->log;
    return w;
}

static se_result open_new(struct wal *w, const struct wal_options *options)
{
    unsigned partitions = options->partitions ? options->partitions : 1;
    if (partitions > UINT16_MAX)
        return se__error(SE_ERR_CONFIG, "the wal cannot have %u partitions", partitions);
    se_result r = se__overlay_init(&w->overlay, partitions, options->items_max);
    if (r == SE_OK)
        r = w->read_only ? open_for_reading(w, options->path) : open_for_writing(w, options->path);
    return r == SE_OK ? recover(w) : r;
}

static void free_wal(struct wal *w, bool tidy)
{
    se__wal_readers_done(w);
    se__wal_file_close(&w->file, tidy);
    se__filelock_close(w->lock_fd);
    se__overlay_done(&w->overlay);
    se__cond_done(&w->readers_changed);
    se__cond_done(&w->alone);
    se__mutex_done(&w->lock);
    se__free(w->path);
    se__free(w);
}

se_result se__wal_open(const struct wal_options *options, struct wal **wal)
{
    struct wal *w = new_wal(options);
    if (!w)
        return se__error_nomem();
    struct se__filelimit limit;
    se__filelimit_hold(&limit);
    se_result r = open_new(w, options);
    se__filelimit_release(&limit);
    if (r != SE_OK) {
        free_wal(w, false);
        return r;
    }
    *wal = w;
    return SE_OK;
}

/* Removes what is confirmed, so that it does not come back as recovered. If that fails
 * it does, and no harm is done. */
void se__wal_close(struct wal *w)
{
    if (!w)
        return;
    struct se__filelimit limit;
    se__filelimit_hold(&limit);
    bool tidy = !w->read_only && se__wal_tend(w, true) == SE_OK;
    if (!w->read_only)
        se__wal_spare_drop(w);
    free_wal(w, tidy);
    se__filelimit_release(&limit);
}

/* ---- figures ---- */

void se__wal_stats(struct wal *w, struct wal_stats *stats)
{
    se__mutex_lock(&w->lock);
    const struct overlay *o = &w->overlay;
    *stats = (struct wal_stats){
        .live_records = se__overlay_live(o),
        .live_bytes = se__overlay_live_bytes(o),
        .home_records = o->count[OVERLAY_HOME] + o->count[OVERLAY_DRAINING] + o->owed,
        .dead = o->count[OVERLAY_DEAD],
        .recovered = w->recovered,
        .poisoned = w->poisoned,
        .refusing = w->refusing,
    };
    se__mutex_unlock(&w->lock);
}
