/*
 * crash - kills a process that runs the engine, takes back what was not fsynced, and compares.
 *
 *   run     plans rounds: lives of a child, what happens to the database meanwhile, how each life ends
 *   child   one life: opens the engine, looks, writes from several threads, maybe closes
 *   points  named places of the library and of its system calls at which a life can end
 *   layer   the files below one folder: what was written and not fsynced can be taken back
 *   known   what was submitted and acknowledged, in memory that outlives the child
 *   check   after a round: everything through a new engine and by raw SQL
 *   bed     servers, folder, configuration
 *
 * All of it is in one program, linked against the library's own objects: inner functions are wrapped by the linker, system calls are
 * defined by the program itself and so taken by every library in it. Only a child arms them.
 *
 * Failures print the seed and what is missing, and end the program with status 1.
 */
#ifndef SE_TESTS_FAULT_CRASH_H
#define SE_TESTS_FAULT_CRASH_H

#include "fault/crash_known.h"
#include "fault/crash_layer.h"
#include "fault/crash_points.h"
#include "support/mariadb_server.h"
#include "support/redis_server.h"
#include "syncengine/syncengine.h"

/* What parent and children share; it survives every one of them. */
struct crash_board {
    struct crash_known known;
    struct crash_points points;
    struct crash_layer layer;

    /* ---- of the life under way ---- */
    _Atomic bool opened;
    _Atomic bool close_now; /* the parent's word: end by se_close */
    _Atomic bool complained;
    char complaint[1000]; /* what the child saw that may not be */
    _Atomic uint64_t read_back, batches, flushes;
};
extern struct crash_board *crash_board;

/* ---- bed ---- */

enum crash_home { CRASH_SQLITE, CRASH_MARIADB };
struct crash_bed {
    enum crash_home home;
    bool cached; /* with a Redis */
    bool poison; /* one id is refused: crash_known.h */
    char dir[64], sql[128], redis_url[128], wal[96];
    struct mariadb_server *mariadb; /* NULL: SQLite */
    struct redis_server redis;
    void *lock; /* SQLite: the parent's connection that keeps the engine from writing */
};
void crash_bed_make(struct crash_bed *b, enum crash_home home, bool cached);
void crash_bed_remove(struct crash_bed *b);
/* From now on the database refuses CRASH_POISON. */
void crash_bed_refuse(struct crash_bed *b);
/* Of a bed just made: the log and SQLite's file are removed; the first life makes them. (Not later: with the log goes its ceiling of the
 * clock, which crash loops set ahead of the wall's.) */
void crash_bed_begin_anew(struct crash_bed *b);
/* The database does not answer (it is stopped; SQLite: locked), or does again. The parent's, while a child lives or not. */
void crash_bed_away(struct crash_bed *b, bool away);
/* patient: for the check after a round. */
void crash_bed_config(const struct crash_bed *b, bool patient, se_config *c);
/* The numbers that the table holds, by raw SQL; 0: no row, or a deleted one. */
void crash_bed_table(struct crash_bed *b, uint32_t numbers[CRASH_IDS]);

/* ---- child ---- */

enum crash_db { CRASH_UP, CRASH_DOWN, CRASH_FLAPPING };
enum crash_power { CRASH_POWER_STAYS, CRASH_POWER_DROPS_ALL, CRASH_POWER_DROPS_SOME };
struct crash_life {
    enum crash_db db;
    enum crash_power power; /* when it has ended */
    bool at_open;           /* killed so many us after its start; else after it has opened */
    uint32_t kill_us;
    bool closes;     /* and is killed in it, or not */
    int point, side; /* CRASH_NO_POINT: by the parent */
    uint32_t nth;
    uint32_t fail_fsync; /* the n-th of the log's journal fails; 0: none */
    bool away_so_far;    /* the database has been away since the last check */
    unsigned random;
};
_Noreturn void crash_child(const struct crash_bed *b, const struct crash_life *life);

/* ---- check ---- */

/* Opens an engine with everything up and compares all that is known. Then that is what is known. */
void crash_check(struct crash_bed *b);

/* ---- run ---- */

struct crash_plan {
    uint64_t seed;
    unsigned rounds, seconds; /* whichever comes first; 0: without that bound */
    bool
        all_points; /* goes on, up to three times as long, until every point had a kill; one without fails */
    bool sqlite, mariadb, redis;
    bool quiet;
};
struct crash_figures {
    unsigned rounds, lives, killed_at_random, killed_at_open, killed_at_points, closed,
        closed_killed;
    unsigned away, flapping, with_mariadb, with_redis, power_lost, power_not, faults;
    uint64_t submitted, acked_wal, acked_l3, by_flush, dropped_writes, dropped_names;
};
/* Returns when all of it held. */
void crash_run(const struct crash_plan *plan);

/* Prints the seed, what was going on and the message; ends the program. */
_Noreturn void crash_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
uint32_t crash_pick(uint32_t n); /* the parent's random numbers, 0..n-1 */

#endif
