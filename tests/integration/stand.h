/*
 * stand - a bed with the servers that its shape asks for, started for one test; short timeouts, so that outages are noticed
 * in test time.
 *
 * Failures are assertions.
 */
#ifndef SE_TESTS_INTEGRATION_STAND_H
#define SE_TESTS_INTEGRATION_STAND_H

#include "integration/bed.h"

struct stand {
    struct redis_server redis;
    struct mariadb_server *mariadb;
    struct bed bed;
    se_engine *e; /* the test's */
};

void stand_make(struct stand *s, const struct shape *shape);
void stand_remove(struct stand *s);
void stand_reopen(struct stand *s); /* closes s->e, which must flush everything, and opens it again */
/* Everything accepted is in its home tier, and L2 has its copies. */
void stand_flush(struct stand *s);
/* Calls of a tier so far, by what came of them: "hit", "miss" or "error". */
double stand_gets(struct stand *s, const char *tier, const char *status);
/* All calls that reached L2 or L3 with a read. */
double stand_round_trips(struct stand *s);

#endif
