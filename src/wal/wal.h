/*
 * wal - the local write-ahead log: a SQLite file that holds acknowledged writes until the home tier
 * has them.
 *
 * Place in the flow:  submit (SE_ACK_WAL) -> [wal];  flush -> (home tier down) -> [wal] -> drain ->
 * home tier;  read -> [overlay]
 *
 * A record is appended for one of two purposes:
 *   WAL_ACK    insurance: the item is dirty in L1 and will be flushed from there; replayed only
 *              after a crash
 *   WAL_HOME   the home tier could not take it: the WAL owns it now, and its partition's drain
 *              hands it on
 * Everything found at open is WAL_HOME and `recovered`.
 *
 * The overlay, in memory, knows every live record: (128-bit seeded hash of the id) -> (sequence,
 * version, purpose). Reads go to the file by sequence number only for ids that it knows.
 *
 * Invariants
 *   I1  append returns SE_OK only after the transaction with the record, and a clock ceiling above
 *       its version, is fsynced
 *   I2  sequence numbers are never used twice; rows are removed by sequence number only, after the
 *       home tier has committed that id at that version or a newer one (se__wal_confirm)
 *   I3  the overlay has a record before append returns, and loses it before its id may leave L1
 *       (the caller's order)
 *   I4  limits count live records and their bytes, not the file's size
 *   I5  after a failed commit nothing is acknowledged on that file again: live records move to a
 *       new file, or append fails
 *   I6  one engine per file (a lock file beside it); it belongs to one database (incarnation)
 *
 * Group commit without a fixed writer: a caller commits for itself and all who queued meanwhile if
 * nobody is committing, else it joins the next group. One connection writes and checkpoints; a few
 * read.
 *
 * File format: docs/wal.md and the head of wal.c.
 * Locks: one mutex for groups and overlay (rank 30), not held during I/O.  Threads: any.
 */
#ifndef SE_WAL_WAL_H
#define SE_WAL_WAL_H

#include "base/hlc.h"
#include "base/log.h"
#include "item/record.h"
#include "metrics/metrics.h"

struct wal;

struct wal_options {
    const char *path;
    bool read_only;                /* no lock, no changes: for tools beside a live service;
                                      append etc. are SE_ERR_STATE */
    uint64_t items_max, bytes_max; /* live; beyond them append is SE_ERR_BACKPRESSURE */
    unsigned
        partitions; /* of the drain, >= 1: se__hash_id(id) % partitions, as the dirty queues' */
    uint64_t seed;
    struct hlc *hlc;           /* borrowed; the stored ceiling starts it and is raised with
                                  appends. NULL with read_only */
    struct metrics *metrics;   /* borrowed */
    const struct se__log *log; /* borrowed */
};

/* Opens or creates, checks integrity, builds the overlay. SE_ERR_CONFIG: not a WAL of ours, or of a
 * newer version; SE_ERR_CORRUPT: damaged (the message names `syncengine wal salvage`);
 * SE_ERR_STATE: another engine holds it; SE_ERR_IO. */
SE_NODISCARD se_result se__wal_open(const struct wal_options *options, struct wal **wal);
/* No other call may be running. NULL is allowed. */
void se__wal_close(struct wal *w);

enum wal_purpose { WAL_ACK, WAL_HOME };

/* Appends all items in one durable transaction. With WAL_HOME, items that are in the WAL already in
 * this version are only handed to the drain. SE_ERR_TIMEOUT: not confirmed by the deadline, and may
 * still happen (it is in the overlay once it does); SE_ERR_BACKPRESSURE, SE_ERR_IO, SE_ERR_NOMEM:
 * nothing was or will be appended. Items are borrowed for the call; the WAL keeps references of
 * its own where it goes on after a timeout. */
SE_NODISCARD se_result se__wal_append(struct wal *w, se_item *const *items, size_t n,
                                      enum wal_purpose purpose, uint64_t deadline_ms);

struct wal_confirmed {
    unsigned superseded; /* WAL_HOME records below that version that are gone with this */
    bool was_home;       /* the version itself was a WAL_HOME record */
    bool dead_gone;      /* a dead letter up to that version is gone with this */
};
/* The home tier holds `id` at `version` or newer: records up to it leave the
 * overlay at once and the file soon. */
void se__wal_confirm(struct wal *w, const char *id, size_t id_len, uint64_t version,
                     struct wal_confirmed *confirmed);
/* A conditional write that did not happen: its insurance record goes. */
void se__wal_forget(struct wal *w, const char *id, size_t id_len, uint64_t version);

enum wal_place { WAL_NOWHERE, WAL_PENDING, WAL_RECOVERED, WAL_DEAD };
/* The newest record of an id. *item is a reference; a record whose check fails is counted and
 * skipped. Recovered ones may be older than the home tier's. SE_OK with WAL_NOWHERE and *item
 * NULL if there is none; SE_ERR_IO. */
SE_NODISCARD se_result se__wal_find(struct wal *w, const char *id, size_t id_len,
                                    enum wal_place *place, se_item **item);
/* Without I/O: is the id in the overlay, and at which version? */
enum wal_place se__wal_look(struct wal *w, const char *id, size_t id_len, uint64_t *version);
/* The newest record of every id for which match is true (items are references, array se__free).
 * Reads the whole file when the overlay is not empty. */
SE_NODISCARD se_result se__wal_collect(struct wal *w, bool (*match)(void *arg, const se_item *item),
                                       void *arg, se_item ***items, size_t *n);
/* The ids of all records that are live when it begins, some perhaps more than once. Reads no record:
 * one that is damaged may be among them. SE_ERR_IO, SE_ERR_CORRUPT, SE_ERR_NOMEM. */
SE_NODISCARD se_result se__wal_ids(struct wal *w,
                                   void (*see)(void *arg, const char *id, size_t id_len),
                                   void *arg);

/* ---- drain: one caller per partition ---- */
/* True if the partition has WAL_HOME records that are not being drained. */
bool se__wal_drainable(struct wal *w, unsigned partition);
/* Takes up to items_max oldest records of the partition, newest version per id only (older ones of
 * the same id are confirmed with it), sorted by id. Items are references. *n 0: nothing to do. */
SE_NODISCARD se_result se__wal_drain_take(struct wal *w, unsigned partition, size_t items_max,
                                          size_t bytes_max, se_item ***items, size_t *n);
/* They could not be handed on: they are drainable again, in order. (Those that could are
 * se__wal_confirm'ed.) Takes the array and releases the items. */
void se__wal_drain_return(struct wal *w, unsigned partition, se_item **items, size_t n);
/* Ends the taking after all were confirmed or buried. Releases likewise. */
void se__wal_drain_done(struct wal *w, unsigned partition, se_item **items, size_t n);

/* ---- dead letters ---- */
/* Moves the item (in the WAL or not yet) to the dead letters in one transaction. */
SE_NODISCARD se_result se__wal_bury(struct wal *w, se_item *item, int code, const char *error);
struct wal_dead {
    const se_item *item; /* lent */
    int code;
    const char *error;
    int64_t buried_at_ms;
};
SE_NODISCARD se_result se__wal_dead_each(struct wal *w,
                                         bool (*visit)(void *arg, const struct wal_dead *dead),
                                         void *arg);
/* An operator's decision: retry (back to the drain) or discard. SE_NOT_FOUND. */
SE_NODISCARD se_result se__wal_dead_resolve(struct wal *w, const char *id, bool retry);
/* Visits all live records in order (tools). */
SE_NODISCARD se_result se__wal_each(struct wal *w,
                                    bool (*visit)(void *arg, uint64_t seq, const se_item *item),
                                    void *arg);

/* ---- upkeep ---- */
/* Removes confirmed rows and checkpoints; called by the maintenance thread. sync: also when
 * little is to be removed (close). */
se_result se__wal_tend(struct wal *w, bool sync);
/* Stores a clock ceiling durably and raises the clock's. */
SE_NODISCARD se_result se__wal_store_ceiling(struct wal *w, uint64_t ceiling);
/* Small named values. get: SE_NOT_FOUND, and *value is the caller's (se__free). */
SE_NODISCARD se_result se__wal_meta_get(struct wal *w, const char *name, char **value);
SE_NODISCARD se_result se__wal_meta_put(struct wal *w, const char *name, const char *value);

struct wal_stats {
    uint64_t live_records, live_bytes; /* both purposes */
    uint64_t home_records;             /* waiting for the drain, or being drained */
    uint64_t dead;
    uint64_t recovered; /* found at open, dead letters included */
    bool poisoned;      /* I5: no append succeeds */
    bool refusing;      /* the last commit failed: a full disk, a limit */
};
void se__wal_stats(struct wal *w, struct wal_stats *stats);

/* Copies every record whose checksum holds from a damaged file into a new
 * one (`syncengine wal salvage`). */
struct wal_salvaged {
    uint64_t records, dead, damaged;
};
SE_NODISCARD se_result se__wal_salvage(const char *from, const char *to,
                                       struct wal_salvaged *salvaged);

#endif
