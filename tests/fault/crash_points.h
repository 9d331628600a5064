/*
 * points - places in the library, and in its system calls, at which a life can be ended by SIGKILL.
 *
 * A point is passed before what it names is done, after it, and, where bytes are written, when half of them are. The child kills
 * itself there the n-th time that it passes, if the parent has asked for it. What it counts outlives it.
 *
 * Threads: any.
 */
#ifndef SE_TESTS_FAULT_CRASH_POINTS_H
#define SE_TESTS_FAULT_CRASH_POINTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum crash_side { CRASH_BEFORE, CRASH_HALF, CRASH_AFTER, CRASH_SIDES };
#define CRASH_BOTH_SIDES (1u << CRASH_BEFORE | 1u << CRASH_AFTER)
#define CRASH_ALL_SIDES (CRASH_BOTH_SIDES | 1u << CRASH_HALF)

/* What a life must be like for the point to be passed. */
enum crash_need {
    NEED_NOTHING = 0,
    NEED_SQLITE = 1,
    NEED_MARIADB = 2,
    NEED_REDIS = 4,
    NEED_AWAY = 8,  /* the database is away, some of the time at least */
    NEED_LEFT = 16, /* an earlier life left much in the log */
    NEED_CLOSE = 32,
    NEED_BAD_FSYNC = 64, /* one of the log's fsyncs fails: it moves to a new file */
    NEED_POISON = 128    /* an id that the database refuses */
};

#define CRASH_POINTS(X)                                                                            \
    X(WAL_OPEN, "log: open", CRASH_BOTH_SIDES, NEED_LEFT)                                          \
    X(WAL_ADOPT, "log: end of an unfinished move, at open", CRASH_BOTH_SIDES, NEED_LEFT)           \
    X(WAL_FILE_OPEN, "log: open of its file, at open", CRASH_BOTH_SIDES, NEED_LEFT)                \
    X(WAL_APPEND, "log: append", CRASH_BOTH_SIDES, NEED_NOTHING)                                   \
    X(WAL_RECORD, "log: a record in the transaction", CRASH_BOTH_SIDES, NEED_NOTHING)              \
    X(WAL_COMMIT, "log: commit", CRASH_BOTH_SIDES, NEED_NOTHING)                                   \
    X(WAL_CEILING, "log: the clock's ceiling", CRASH_BOTH_SIDES, NEED_NOTHING)                     \
    X(WAL_CONFIRM, "log: confirmation", CRASH_BOTH_SIDES, NEED_NOTHING)                            \
    X(WAL_REMOVE, "log: removal of confirmed rows", CRASH_BOTH_SIDES, NEED_NOTHING)                \
    X(WAL_CHECKPOINT, "log: checkpoint", CRASH_BOTH_SIDES, NEED_NOTHING)                           \
    X(WAL_TAKE, "log: taking records for the drain", CRASH_BOTH_SIDES, NEED_LEFT)                  \
    X(WAL_DRAINED, "log: end of a drained batch", CRASH_BOTH_SIDES, NEED_LEFT)                     \
    X(WAL_RETURN, "log: return of what could not be drained", CRASH_BOTH_SIDES, NEED_AWAY)         \
    X(WAL_MOVE, "log: move to a new file", CRASH_BOTH_SIDES, NEED_BAD_FSYNC)                       \
    X(WAL_TEND_SYNC, "log: upkeep at close", CRASH_BOTH_SIDES, NEED_CLOSE)                         \
    X(WAL_CLOSE, "log: close", CRASH_BOTH_SIDES, NEED_CLOSE)                                       \
    X(WAL_BURY, "log: burial of a dead letter", CRASH_BOTH_SIDES, NEED_POISON)                     \
    X(WAL_DEAD_ROW, "log: its row in the transaction", CRASH_BOTH_SIDES, NEED_POISON)              \
    X(FLUSH_TAKE, "flush: taking a batch", CRASH_BOTH_SIDES, NEED_NOTHING)                         \
    X(FLUSH_HOME, "flush: a batch to the database", CRASH_BOTH_SIDES, NEED_NOTHING)                \
    X(FLUSH_TO_WAL, "flush: a batch to the log instead", CRASH_BOTH_SIDES, NEED_AWAY)              \
    X(FLUSH_CLEAN, "flush: an item of L1 becomes clean", CRASH_BOTH_SIDES, NEED_NOTHING)           \
    X(FLUSH_HAND, "flush: handing a batch to Redis' thread", CRASH_BOTH_SIDES, NEED_REDIS)         \
    X(FLUSH_ANNOUNCE, "flush: telling who waits", CRASH_BOTH_SIDES, NEED_NOTHING)                  \
    X(FLUSH_DRAIN, "flush: drain of a batch", CRASH_BOTH_SIDES, NEED_LEFT)                         \
    X(FLUSH_STOP, "flush: a worker's end", CRASH_BOTH_SIDES, NEED_CLOSE)                           \
    X(HOME_WRITE, "database: a batch of writes", CRASH_BOTH_SIDES, NEED_NOTHING)                   \
    X(HOME_TRANSACTION, "database: a transaction", CRASH_BOTH_SIDES, NEED_NOTHING)                 \
    X(HOME_META, "database: a meta value", CRASH_BOTH_SIDES, NEED_NOTHING)                         \
    X(MARIADB_ROWS, "MariaDB: a statement's execution", CRASH_BOTH_SIDES, NEED_MARIADB)            \
    X(MARIADB_COMMIT, "MariaDB: COMMIT", CRASH_BOTH_SIDES, NEED_MARIADB)                           \
    X(REDIS_WRITE, "Redis: a batch of writes", CRASH_BOTH_SIDES, NEED_REDIS)                       \
    X(REDIS_SUSPECTS, "Redis: an id becomes a suspect", CRASH_BOTH_SIDES, NEED_REDIS)              \
    X(REDIS_GENERATION, "Redis: a generation is taken", CRASH_BOTH_SIDES, NEED_REDIS)              \
    X(FILTER_SNAPSHOT, "filter: a snapshot", CRASH_BOTH_SIDES, NEED_NOTHING)                       \
    X(CALL_JOURNAL_WRITE, "call: write to the log's journal", CRASH_ALL_SIDES, NEED_NOTHING)       \
    X(CALL_JOURNAL_SYNC, "call: fsync of the log's journal", CRASH_BOTH_SIDES, NEED_NOTHING)       \
    X(CALL_LOG_WRITE, "call: write to the log's file", CRASH_ALL_SIDES, NEED_NOTHING)              \
    X(CALL_LOG_SYNC, "call: fsync of the log's file", CRASH_BOTH_SIDES, NEED_NOTHING)              \
    X(CALL_HOME_JOURNAL_WRITE, "call: write to SQLite's journal", CRASH_ALL_SIDES, NEED_SQLITE)    \
    X(CALL_HOME_JOURNAL_SYNC, "call: fsync of SQLite's journal", CRASH_BOTH_SIDES, NEED_SQLITE)    \
    X(CALL_HOME_WRITE, "call: write to SQLite's file", CRASH_ALL_SIDES, NEED_SQLITE)               \
    X(CALL_HOME_SYNC, "call: fsync of SQLite's file", CRASH_BOTH_SIDES, NEED_SQLITE)               \
    X(CALL_MOVE_WRITE, "call: write to the log's new file", CRASH_ALL_SIDES, NEED_BAD_FSYNC)       \
    X(CALL_MOVE_SYNC, "call: fsync of the log's new file", CRASH_BOTH_SIDES, NEED_BAD_FSYNC)       \
    X(CALL_MOVE_BUILT, "call: rename of the new file, which makes it the log", CRASH_BOTH_SIDES,   \
      NEED_BAD_FSYNC)                                                                              \
    X(CALL_MOVE_REMOVE, "call: unlink of the old journal", CRASH_BOTH_SIDES, NEED_BAD_FSYNC)       \
    X(CALL_MOVE_PLACE, "call: rename of the new file to its place", CRASH_BOTH_SIDES,              \
      NEED_BAD_FSYNC)                                                                              \
    X(CALL_SNAPSHOT_WRITE, "call: write of the snapshot", CRASH_ALL_SIDES, NEED_NOTHING)           \
    X(CALL_SNAPSHOT_SYNC, "call: fsync of the snapshot", CRASH_BOTH_SIDES, NEED_NOTHING)           \
    X(CALL_SNAPSHOT_RENAME, "call: rename of the snapshot", CRASH_BOTH_SIDES, NEED_NOTHING)        \
    X(CALL_FOLDER_SYNC, "call: fsync of the folder", CRASH_BOTH_SIDES, NEED_BAD_FSYNC)

#define CRASH_POINT_ENUM(point, name, sides, needs) POINT_##point,
enum crash_point { CRASH_POINTS(CRASH_POINT_ENUM) CRASH_POINTS_N, CRASH_NO_POINT = -1 };

struct crash_points {
    /* ---- set by the parent before a life ---- */
    _Atomic int point, side;
    _Atomic uint32_t countdown;
    /* ---- by the children ---- */
    _Atomic uint32_t hits[CRASH_POINTS_N][CRASH_SIDES]; /* in this life */
    _Atomic uint32_t kills[CRASH_POINTS_N][CRASH_SIDES];
    _Atomic int died_at; /* this life; CRASH_NO_POINT */
};

const char *crash_point_name(int point);
const char *crash_side_name(int side);
unsigned crash_point_sides(int point);
unsigned crash_point_needs(int point);

/* Before the fork: what the life is to end at; and a child's own word that points count in it. */
void crash_points_set(struct crash_points *p, int point, int side, uint32_t nth);
void crash_points_count(struct crash_points *p);
/* A place is passed. Does nothing where nothing counts. */
void crash_pass(enum crash_point point, enum crash_side side);
/* Half of what is written there is to be written, and then the end to come. */
bool crash_dies_half_way(enum crash_point point);
_Noreturn void crash_die(enum crash_point point, enum crash_side side);

#endif
