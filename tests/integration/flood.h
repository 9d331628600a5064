/*
 * flood - a writer that never rests and a reader on one engine, and the notes that tell afterwards whether anything that was
 * acknowledged is missing.
 *
 * The writer goes round `ids` ids of its own; every attempt has a number of its own, which is all of its content, over and over,
 * so that a row shows which write it holds and whether it is whole. Of each id it notes the last number that was acknowledged:
 * that, and no other, must be in the database at the end. A refused write waits as long as the engine says.
 *
 * The reader gets hot ids that are in L1 and, each 8th time, the id that was acknowledged last, of which it must see that number
 * or a newer one. Its CPU time is taken and how often it gave the CPU away of its own accord: a read that waits for a lock, a
 * queue or a server does so, one that is only pushed aside by other threads does not.
 *
 * Threads: two of its own; the calls are the test's.  Nothing here asserts: what goes wrong ends the process with a line, since
 * an assertion could not leave a thread.
 */
#ifndef SE_TESTS_INTEGRATION_FLOOD_H
#define SE_TESTS_INTEGRATION_FLOOD_H

#include "base/os.h"
#include "support/mariadb_server.h"
#include "syncengine/syncengine.h"

#include <stdatomic.h>

#define FLOOD_CONTENT 512u
#define FLOOD_HOT 1000u

struct flood {
    se_engine *e;
    unsigned ids;
    struct se__thread writer, reader;
    atomic_bool writing, reading;
    _Atomic uint32_t *acked; /* by id: the last number acknowledged; 0: none */
    atomic_uint latest;      /* index of the id acknowledged last */
    _Atomic uint64_t accepted, refused;
    _Atomic uint64_t unhinted;                   /* refusals after which se_retry_after_ms said 0 */
    _Atomic uint64_t writer_us;                  /* CPU time */
    _Atomic uint64_t reads, read_waits, read_us; /* waits: see above; us: CPU time */
};

struct flood_sample {
    se_pressure level;
    double pressure;
    uint64_t l1_bytes, queue_bytes, queue_items, wal_items, rss_bytes;
    uint64_t accepted, refused, persisted, throttled, changes; /* so far; changes: of the level */
    uint64_t entered[SE_PRESSURE_SHUTDOWN + 1];                /* ... by level */
    uint64_t reads, read_waits, read_us, writer_us, l1_hits;
};

/* Writes the hot ids and waits until they are home; ids: below 1000000. */
void flood_make(struct flood *f, se_engine *e, unsigned ids);
void flood_done(struct flood *f);
void flood_read(struct flood *f);  /* the reader starts */
void flood_write(struct flood *f); /* the writer starts */
void flood_stop_writing(struct flood *f);
void flood_stop_reading(struct flood *f);

void flood_sample(struct flood *f, struct flood_sample *s);
/* One line of a metric; 0: there is none. */
double flood_metric(se_engine *e, const char *family, const char *labels);

/* Row by row, in the database itself: every id that was ever acknowledged has the number that was, whole, and there is no other
 * row. Returns how many rows are right; *wrong counts those that are not, and what is missing. */
uint64_t flood_check(struct flood *f, struct mariadb_server *mariadb, uint64_t *wrong);

const char *flood_level_name(se_pressure level);

#endif
