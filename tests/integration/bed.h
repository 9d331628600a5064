/*
 * bed - an engine on one of its shapes, with what it needs in a folder of its own; and the bodies of tests that hold on all.
 *
 * Servers are started by the test and lent to the bed.  Failures are assertions.
 */
#ifndef SE_TESTS_INTEGRATION_BED_H
#define SE_TESTS_INTEGRATION_BED_H

#include "support/dir.h"
#include "support/mariadb_server.h"
#include "support/redis_server.h"
#include "syncengine/syncengine.h"

struct shape {
    const char *name;
    enum { NO_SQL, SQLITE, MYSQL } sql;
    bool redis, wal;
};

struct bed {
    struct test_dir dir;
    char sql[256], redis[256], wal[256];
    se_config config;
    const struct shape *shape;
};

/* redis, mariadb: where the shape asks for them. Nothing of earlier tests is in them. */
void bed_make(struct bed *b, const struct shape *shape, struct redis_server *redis, struct mariadb_server *mariadb);
void bed_remove(struct bed *b);
se_engine *bed_open(struct bed *b);
void bed_close(struct bed *b, se_engine *e); /* must flush everything */

void bed_put(se_engine *e, const char *id, const char *content);
void bed_expect(se_engine *e, const char *id, const char *content); /* NULL: not found */
/* The value of the first line of a metric whose labels contain `labels`; -1: there is none. */
double bed_metric(se_engine *e, const char *family, const char *labels);
/* Waits until `holds` does, by a deadline of 20 s. */
void bed_wait(bool (*holds)(void *arg), void *arg, const char *what);

void body_basics(const struct shape *shape, struct bed *b);
void body_survives(const struct shape *shape, struct bed *b);
void body_batches(const struct shape *shape, struct bed *b);
void body_scans(const struct shape *shape, struct bed *b);
void body_aside(const struct shape *shape, struct bed *b);
void body_bad_input(const struct shape *shape, struct bed *b);
void body_types(const struct shape *shape, struct bed *b);
void body_life(const struct shape *shape, struct bed *b);

#endif
