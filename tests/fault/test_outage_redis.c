/*
 * What can become of Redis while threads write and read (outage.h), in short: each trouble once, and as long as it takes to show.
 *
 * SE_SEED=n draws other ids, contents and struck turns. tests/long/outages.c runs all troubles in all shapes for longer and prints a
 * table.
 */
#include "fault/outage.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

static struct outage_site site;

static void setup(void)
{
    const char *seed = getenv("SE_SEED");
    outage_site_start(&site, seed ? strtoull(seed, NULL, 10) : 1);
}

static void teardown(void)
{
    outage_site_stop(&site);
}

TestSuite(outage_redis, .init = setup, .fini = teardown);

/* The cases whose name contains it. */
static void run(const struct outage_case *c, const char *part, enum outage_shape shape)
{
    static const struct outage_limits limits = {
        .fault_ms = 100, .redis_timeout_ms = 120, .sql_timeout_ms = 300, .read_timeout_ms = 400};
    struct outage_report report;
    unsigned runs = 0;
    for (; c->name; c++) {
        if (!strstr(c->name, part) || !(c->shapes & shape))
            continue;
        runs++;
        cr_assert(outage_run(&site, c, shape, &limits, &report), "%s (%s): %s", c->name,
                  outage_shape_name(shape), report.wrong);
    }
    cr_assert(runs > 0, "no case is called %s", part);
}

Test(outage_redis, stops_dies_restarts)
{
    run(OUTAGES_OF_REDIS, "SIGSTOP", SHAPE_CACHE);
    run(OUTAGES_OF_REDIS, "SIGSTOP", SHAPE_HOME);
    run(OUTAGES_OF_REDIS, "SIGKILL", SHAPE_HOME);
    run(OUTAGES_OF_REDIS, "restart", SHAPE_CACHE);
}

Test(outage_redis, connections_break)
{
    run(OUTAGES_OF_REDIS, "idle or not", SHAPE_CACHE);
    run(OUTAGES_OF_REDIS, "middle of a request", SHAPE_CACHE);
    run(OUTAGES_OF_REDIS, "reply cut, then a", SHAPE_HOME);
    run(OUTAGES_OF_REDIS, "replies lost", SHAPE_HOME);
    run(OUTAGES_OF_REDIS, "cut, then silence", SHAPE_CACHE);
}

Test(outage_redis, answers_late_or_never)
{
    run(OUTAGES_OF_REDIS, "in time", SHAPE_CACHE);
    run(OUTAGES_OF_REDIS, "byte by byte", SHAPE_CACHE);
    run(OUTAGES_OF_REDIS, "vanished", SHAPE_CACHE);
    run(OUTAGES_OF_REDIS, "never answered", SHAPE_CACHE);
}

Test(outage_redis, refuses)
{
    run(OUTAGES_OF_REDIS, "OOM", SHAPE_HOME);
    run(OUTAGES_OF_REDIS, "READONLY", SHAPE_HOME);
    run(OUTAGES_OF_REDIS, "LOADING", SHAPE_HOME);
    run(OUTAGES_OF_REDIS, "MISCONF", SHAPE_HOME);
    run(OUTAGES_OF_REDIS, "BUSY", SHAPE_CACHE);
}

Test(outage_redis, forgets)
{
    run(OUTAGES_OF_REDIS, "NOSCRIPT", SHAPE_CACHE);
    run(OUTAGES_OF_REDIS, "NOSCRIPT", SHAPE_HOME);
    run(OUTAGES_OF_REDIS, "FLUSHALL", SHAPE_CACHE);
}
