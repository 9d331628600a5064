/*
 * outage - one trouble of one real server under traffic: begun, ended, recovered from, and everything compared afterwards.
 *
 *   1  an engine on servers of our own, each behind a proxy; ids stored; traffic begins (traffic.h)
 *   2  the trouble, for fault_ms and until what the case expects has happened
 *   3  its end; the engine recovers by itself
 *   4  traffic ends; all is home
 *   5  rows against what was acknowledged; reads by this engine and by a new one; the counters' account; dead letters
 *
 * The cases are tables, in outage_redis.c, outage_sql.c and outage_both.c. The short form (tests/fault/test_outage_*.c) and the long one
 * (tests/long/outages.c) run the same code with other numbers.
 *
 * Threads: caller-serialised.  Nothing here asserts: a report says what was wrong.  Fixtures abort.
 */
#ifndef SE_TESTS_FAULT_OUTAGE_H
#define SE_TESTS_FAULT_OUTAGE_H

#include "fault/traffic.h"
#include "support/dir.h"
#include "support/mariadb_server.h"
#include "support/proxy.h"
#include "support/redis_server.h"

enum outage_shape {
    SHAPE_CACHE = 1, /* Redis beside MariaDB, with a WAL */
    SHAPE_HOME = 2,  /* Redis alone, with a WAL */
    SHAPE_SQL = 4,   /* MariaDB alone, with a WAL */
    SHAPE_NO_WAL = 8 /* MariaDB alone, without */
};

enum outage_flags {
    OPENS = 1,        /* the circuit must open */
    STAYS_CLOSED = 2, /* it must not */
    POISONS = 4,      /* the poison ids are refused and become dead letters */
    STARTS = 32,      /* a server is started meanwhile, by fork() of this process */
    FAILS = 16,       /* writes to the tier must have failed */
    RETRIES = 8       /* calls must have been repeated */
};

struct outage_site {
    struct redis_server redis;
    struct mariadb_server *mariadb;
    struct proxy *redis_proxy, *sql_proxy;
    struct test_dir dir;
    uint64_t seed;
    void *held[200]; /* connections that a trouble keeps */
    unsigned held_n;
    uint32_t poison_bytes;
};

struct outage_case {
    const char *name;
    enum { AT_REDIS, AT_SQL } where;
    unsigned shapes, flags;
    bool both;              /* plan strikes the other server, too */
    struct proxy_plan plan; /* in force during the trouble, if it is not PROXY_PASS */
    /* Begins and ends the trouble, and is called every 10 ms in between; each may be NULL. */
    void (*begin)(struct outage_site *s);
    void (*again)(struct outage_site *s);
    void (*end)(struct outage_site *s);
    uint32_t poison_bytes; /* length of the poison's contents */
};

extern const struct outage_case OUTAGES_OF_REDIS[], OUTAGES_OF_SQL[],
    OUTAGES_OF_BOTH[]; /* a name of NULL ends them */

struct outage_limits {
    uint32_t fault_ms, redis_timeout_ms, sql_timeout_ms, read_timeout_ms;
};

struct outage_report {
    struct speed hits, misses;
    int64_t opened_ms;   /* since the trouble began; -1: not at all */
    uint64_t drained_ms; /* since its end */
    uint64_t struck, writes, pending, refused, answers, outages, dead;
    unsigned late_outages; /* reads that found a tier away when all was well again */
    char wrong[400];       /* "": everything was right */
};

void outage_site_start(struct outage_site *s, uint64_t seed);
void outage_site_stop(struct outage_site *s);
/* False: something was wrong, see the report. */
bool outage_run(struct outage_site *s, const struct outage_case *c, enum outage_shape shape,
                const struct outage_limits *limits, struct outage_report *report);

const char *outage_shape_name(enum outage_shape shape);
void outage_print_head(void);
void outage_print(const struct outage_case *c, enum outage_shape shape,
                  const struct outage_report *report);

#endif
