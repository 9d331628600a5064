/*
 * state - what the modules of the log share: the open log, and the requests of the group commit.
 *
 * Not for other rooms. Whoever *leads* owns `file`, `ceiling` and the transaction; leading is
 * handed on under the lock, and the lock is not held while the leader writes.
 *
 * Lock: struct wal.lock, rank 30, guards everything not marked otherwise.
 */
#ifndef SE_WAL_STATE_H
#define SE_WAL_STATE_H

#include "base/hash.h"
#include "base/os.h"
#include "wal/file.h"
#include "wal/overlay.h"
#include "wal/wal.h"

struct request;
struct removal;
struct request_ops {
    /* In the transaction, by the leader, without the lock: writes to `f`. SQLite's code. */
    int (*apply)(struct wal *w, struct request *r, struct wal_file *f);
    /* After the commit, and after a failure: lock held. */
    void (*publish)(struct wal *w, struct request *r);
    void (*undo)(struct wal *w, struct request *r);
    /* The last reference is gone. No lock. */
    void (*done)(struct request *r);
};

/* One caller's part of a group; owned by the caller and by the group together, since a caller may
 * time out. The first member of what it is allocated as. */
struct request {
    const struct request_ops *ops;
    struct request *next;
    atomic_bool done; /* release after all that its caller reads then: no lock is needed for that */
    atomic_bool chosen; /* its caller is the next leader */
    _Atomic unsigned refs;
    bool abandoned; /* its caller has gone: it cannot lead */
    bool first;     /* of its group: its caller listens to the leader's bell */
    unsigned group; /* the number of the group it is in */
    se_result result;
    uint64_t version_max; /* needs a ceiling at or above it */
    uint64_t ceiling;     /* to store, if the stored one is lower */
    char error[200];
};

/* The callers of one group listen to one bell; a group is over before as many others have come. */
#define WAL_BELLS 4u

struct wal_reader {
    struct wal_reader *next;
    unsigned generation; /* of the file it has open */
    struct wal_file file;
};
#define WAL_READERS_MAX 4

struct wal {
    struct se__mutex lock;
    char *path; /* constant, as are those down to log */
    bool read_only;
    uint64_t items_max, bytes_max;
    uint64_t seed;
    struct hash_secret secret; /* made from it */
    int lock_fd;
    struct hlc *hlc;
    struct metrics *metrics;
    const struct se__log *log;

    struct wal_file file; /* the leader's */
    uint64_t ceiling;     /* the leader's: as stored */

    struct overlay overlay;
    uint64_t seq; /* the last one given out */
    uint64_t recovered;
    bool poisoned;
    bool full;     /* the last commit found no space */
    bool refusing; /* the last commit failed; se__wal_tend tries until one does not */

    bool leading;
    struct request *front, **back;
    unsigned group;                   /* the number of the one that is queueing */
    struct se__bell bells[WAL_BELLS]; /* by the group's number; no lock */
    struct se__bell leaders;          /* for those who came first in their groups; no lock */
    unsigned alone_waiting;           /* who wants the file without a group: tend */
    struct se__cond alone;
    int frames_behind; /* as the last leader saw it */

    struct wal_reader *readers; /* idle */
    unsigned readers_out, readers_opening;
    unsigned generation; /* grows with every new file */
    bool moving;         /* the file's name is between two files: nobody may open it */
    struct se__cond readers_changed;
};

/* ---- group commit (commit.c) ---- */
void se__wal_request_init(struct request *r, const struct request_ops *ops);
/* The last reference is gone, or it was never queued. No lock. */
void se__wal_request_end(struct request *r);
/* Lock held, and not on return. Queues the request, and leads or waits. Takes one
 * reference of the caller's; sets the error text. */
se_result se__wal_commit_unlock(struct wal *w, struct request *r, uint64_t deadline_ms);
/* Leads without a group. Lock held. */
void se__wal_alone_locked(struct wal *w);
void se__wal_hand_on_locked(struct wal *w);
/* Leading, without the lock: a transaction of removals only. */
se_result se__wal_write_alone(struct wal *w, struct removal *removal);
/* Leading, without the lock: can anything be written? */
se_result se__wal_prove(struct wal *w);
/* Leading, without the lock. A failure poisons the file, and then what is live moves. */
se_result se__wal_checkpoint(struct wal *w, bool truncate);
/* What a writing call checks first: SE_ERR_STATE, SE_ERR_IO. */
se_result se__wal_writable_locked(struct wal *w);

/* ---- records on their way (append.c) ---- */
struct overlay_key se__wal_key(const struct wal *w, const char *id, size_t id_len);
/* A new record of `item` in flight, with the next number; 0 without memory. */
uint32_t se__wal_reserve_locked(struct wal *w, const se_item *item, struct overlay_key key,
                                bool dead_row, uint64_t *seq);
uint64_t se__wal_record_bytes(const se_item *item);
bool se__wal_has_room_locked(const struct wal *w, uint64_t items, uint64_t bytes);

/* ---- removal (tend.c) ---- */
#define WAL_REMOVE_MAX 1024
struct removal {
    size_t n, log_n, dead_n;
    uint64_t seq; /* none greater was given out */
    uint32_t nodes[WAL_REMOVE_MAX];
    uint64_t log[WAL_REMOVE_MAX], dead[WAL_REMOVE_MAX]; /* their numbers, by table */
};
/* Rows whose turn it is to be deleted in the leader's transaction: none as
 * long as fewer than `least` wait. */
void se__wal_removal_take_locked(struct wal *w, size_t least, struct removal *removal);
int se__wal_removal_apply(struct removal *removal, struct wal_file *f);
void se__wal_removal_settle_locked(struct wal *w, struct removal *removal, bool deleted);

/* ---- a new file for a poisoned one (move.c) ---- */
/* Leading, without the lock. Copies what is live and writes `group` and the ceiling too; on success
 * the log goes on with the new file. *reached: the group may have got there, success or not. */
se_result se__wal_move(struct wal *w, struct request *group, uint64_t ceiling, bool *reached);
/* Ends a move that a crash cut off: before opening. */
se_result se__wal_adopt(const char *path);
/* There is an unfinished one: PATH.moved is the log. */
bool se__wal_moved_exists(const char *path);
/* Somebody removed the open log's file or journal: what is written to it now
 * would be gone with the process. */
bool se__wal_files_gone(const char *path);
se_result se__wal_sync_directory(const char *path);
/* Creates an empty file that only its owner may read, if there is none. */
se_result se__wal_create_private(const char *path);

/* ---- a full disk (spare.c) ---- */
void se__wal_spare_make(struct wal *w);
void se__wal_spare_drop(struct wal *w);
/* Leading, without the lock. Moves to a new file if what is live fits into what is left. */
se_result se__wal_make_space(struct wal *w);

/* ---- reading (read.c) ---- */
se_result se__wal_reader_take(struct wal *w, struct wal_reader **reader);
void se__wal_reader_give(struct wal *w, struct wal_reader *reader);
void se__wal_readers_done(struct wal *w);
/* Where a record is. */
struct wal_spot {
    struct overlay_key key;
    uint64_t seq, version;
    bool dead_row;
};
/* Many reads in one transaction of SQLite's: each costs half. Ended by se__wal_reader_give. */
void se__wal_reader_begin(struct wal_reader *reader);
int se__wal_spot_by_seq(const void *a, const void *b); /* for qsort */
/* The record's item, a reference. SE_NOT_FOUND: no such row (any
 * more), or one whose check fails. */
se_result se__wal_read_spot(struct wal *w, struct wal_reader *reader, const struct wal_spot *spot,
                            se_item **item);
/* The same with a reader of its own. */
se_result se__wal_read_one(struct wal *w, const struct wal_spot *spot, se_item **item);
/* Visits the live rows of SQL_LOG_ALL or SQL_DEAD_ALL; the item is lent. */
se_result se__wal_rows_of(struct wal *w, struct wal_file *f, enum wal_sql which,
                          bool (*visit)(void *arg, sqlite3_stmt *row, se_item *item), void *arg);
se_result se__wal_rows(struct wal *w, enum wal_sql which,
                       bool (*visit)(void *arg, sqlite3_stmt *row, se_item *item), void *arg);
/* The row of a record that should be there is not, or is garbage: counts, logs and leaves it out
 * from now on. Does nothing if the record has gone meanwhile, which may take a commit's time to be
 * known. Not for who leads. SE_ERR_IO: the log is poisoned, and the row may be in a file not yet in
 * place. */
SE_NODISCARD se_result se__wal_spot_lost(struct wal *w, const struct wal_spot *spot);
void se__wal_count_garbage(struct wal *w, uint64_t seq);

#endif
