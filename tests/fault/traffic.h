/*
 * traffic - threads that write, hit L1 and miss it while a server is in trouble; what was acknowledged to them; how long reads took.
 *
 *   writers  WRITERS, each on ids of its own, so that an id's writes have one order: puts (most), deletes, all three acks. Every write
 *            carries a number, and its content follows from it. After some writes the writer reads its id, half the time after an
 *            invalidation: exactly what was acknowledged last, or an outage.
 *   hitter   reads ids that are in L1 and stay there.
 *   missers  MISSERS, read ids that were stored before the trouble began and are not in L1: what was stored, or an outage, never
 *            "not found"; and ids that never were: "not found" or an outage.
 *   clock    sleeps for a millisecond, again and again, and knows how late it was woken: what the machine, not a backend, costs anybody.
 *
 * A read's time is its wall time. `judged` leaves out what its thread waited for a CPU (schedstat's run delay) and what the clock thread
 * was late meanwhile, since the threads that a read waits for were as late. Of a read that has waited for nobody (its thread has not
 * once given its CPU up by itself) it is the CPU time: whatever else it took, no backend was the cause.
 *
 * Threads: its own; the calls are the test's.  Nothing here asserts: the first thing that is wrong is kept as a text.
 */
#ifndef SE_TESTS_FAULT_TRAFFIC_H
#define SE_TESTS_FAULT_TRAFFIC_H

#include "base/os.h"
#include "syncengine/syncengine.h"

#include <stdatomic.h>

enum {
    WRITERS = 2,
    MISSERS = 2,
    IDS_EACH = 60,
    IDS = WRITERS * IDS_EACH,
    COLD = 300,
    HOT = 64,
    POISON = 3, /* written by the test itself: rows that the database may refuse */
    TRAFFIC_ID = 24,
    TRAFFIC_CONTENT = 220 /* and its NUL; small enough for a column that refuses the poison */
};

/* What was acknowledged last of one id. */
struct written {
    uint32_t number; /* 0: nothing yet */
    bool deleted;
};

struct speed {
    uint64_t count, worst_ns, worst_judged_ns;
};

struct traffic;

/* A thread and what it has to itself. */
struct rider {
    struct traffic *t;
    unsigned number;
    struct se__thread thread;
    uint64_t random;
    struct speed speed;
};

struct traffic {
    se_engine *e;
    uint64_t seed;
    _Atomic(const char *) when; /* for what is wrong: how far the case has come */
    atomic_bool writing, reading;
    struct written ids[IDS]; /* each its writer's; the test's once they have stopped */
    struct rider writer[WRITERS], misser[MISSERS], hitter, clock;
    _Atomic uint64_t late_ns, due_ns; /* of the clock: so far; when it should wake */
    _Atomic uint64_t writes, refused, pending, answers, outages;
    struct se__mutex lock; /* guards wrong */
    char wrong[400];
};

/* Stores the cold and the hot ids; the cold ones are out of L1 afterwards. False: see t->wrong. */
bool traffic_make(struct traffic *t, se_engine *e, uint64_t seed);
void traffic_start(struct traffic *t);
void traffic_stop_writing(struct traffic *t);
void traffic_stop(struct traffic *t); /* all of them */
struct speed traffic_hits(const struct traffic *t);
struct speed traffic_misses(const struct traffic *t); /* after traffic_stop() */

/* Keeps the first. */
void traffic_wrong(struct traffic *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Every id by this engine, cold and hot ones too, exactly. When nothing is in trouble any more; returns how many reads said
 * all the same that a tier cannot be asked, and were repeated. */
unsigned traffic_check_reads(struct traffic *t, se_engine *e);

void traffic_id(char id[TRAFFIC_ID], char kind, unsigned i);
/* The content of a write, from id and number. */
void traffic_content(char content[TRAFFIC_CONTENT], const char *id, uint32_t number);

#endif
