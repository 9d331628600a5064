/*
 * What can become of MariaDB, alone or together with Redis, while threads write and read (outage.h), in short: each trouble once, and as long as it takes to show.
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

TestSuite(outage_sql, .init = setup, .fini = teardown);

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

Test(outage_sql, stops_dies_restarts)
{
    run(OUTAGES_OF_SQL, "SIGSTOP", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "SIGKILL", SHAPE_CACHE);
    run(OUTAGES_OF_SQL, "restart", SHAPE_SQL);
}

Test(outage_sql, connections_break)
{
    run(OUTAGES_OF_SQL, "2006", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "2013: reset", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "2013: reply cut", SHAPE_CACHE);
    run(OUTAGES_OF_SQL, "2013: replies lost", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "cut, then silence", SHAPE_SQL);
}

Test(outage_sql, answers_late_or_never)
{
    run(OUTAGES_OF_SQL, "in time", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "byte by byte", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "vanished", SHAPE_CACHE);
    run(OUTAGES_OF_SQL, "refused", SHAPE_NO_WAL);
}

Test(outage_sql, is_overrun_or_leaves)
{
    run(OUTAGES_OF_SQL, "1040", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "1053", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "1290", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "1290", SHAPE_NO_WAL);
    run(OUTAGES_OF_SQL, "locked by somebody", SHAPE_SQL);
}

Test(outage_sql, conflicts_are_retried)
{
    run(OUTAGES_OF_SQL, "1205", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "1213", SHAPE_SQL);
}

Test(outage_sql, poison_rows_stop_themselves_only)
{
    run(OUTAGES_OF_SQL, "1153", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "1406", SHAPE_SQL);
    run(OUTAGES_OF_SQL, "1406", SHAPE_NO_WAL);
}

Test(outage_sql, both_servers_at_once)
{
    run(OUTAGES_OF_BOTH, "SIGSTOP", SHAPE_CACHE);
    run(OUTAGES_OF_BOTH, "never answered", SHAPE_CACHE);
}
