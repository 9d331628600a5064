/*
 * local - what the tests of local faults share: sizes that a long run raises, what the process holds, and a small model of
 * what an engine must have.
 *
 * Failures are assertions.
 */
#ifndef SE_TESTS_FAULT_LOCAL_H
#define SE_TESTS_FAULT_LOCAL_H

#include "integration/bed.h"

/* Set by the long run (tests/long/local) as SE_LOCAL_<NAME>; else `normal`. */
unsigned long local_size(const char *name, unsigned long normal);
/* True in a long run: tables are printed. */
bool local_is_long(void);
void local_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Entries of /proc/self/fd or /proc/self/task. */
unsigned local_entries(const char *what);
unsigned long local_rss_kb(void);

/* ---- what must be there ---- */
#define MODEL_IDS 24

/* One caller's ids and the number that each must hold: the content is that number. A write whose outcome is unknown (it was
 * cut off) leaves two numbers possible. */
struct model {
    char ids[MODEL_IDS][16];
    unsigned number[MODEL_IDS]; /* 0: not there */
    unsigned last;              /* number given last */
};

void model_init(struct model *m, const char *prefix);
/* Writes the next number. SE_OK and SE_PENDING: from now on it is expected; errors: what was there before still is. */
se_result model_put(struct model *m, se_engine *e, unsigned i, se_ack ack);
se_result model_delete(struct model *m, se_engine *e, unsigned i, se_ack ack);
/* Reads one: an error is returned, a wrong answer fails. */
se_result model_get(struct model *m, se_engine *e, unsigned i);
/* Compares what a read gave. */
void model_compare(struct model *m, unsigned i, se_result r, const se_item *item);
/* All of it must be readable, each answer within 20 s of asking again (a circuit closes, a connection is made). */
void model_check(struct model *m, se_engine *e);
/* Waits until the engine is healthy again by itself, with everything in its home tier. */
void local_wait_healthy(se_engine *e);

#endif
