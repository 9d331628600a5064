/*
 * What can become of Redis while threads write and read (outage.h), in short: each trouble once, and as long as it takes to show.
 * tests/long/outages.c runs all troubles in all shapes for longer and prints a table.
 */
#include "fault/outage_test.h"
#include "support/test.h"

TestSuite(outage_redis, .init = outage_test_setup, .fini = outage_test_teardown);

Test(outage_redis, stops_dies_restarts)
{
    outage_test(OUTAGES_OF_REDIS, "SIGSTOP", SHAPE_CACHE);
    outage_test(OUTAGES_OF_REDIS, "SIGSTOP", SHAPE_HOME);
    outage_test(OUTAGES_OF_REDIS, "SIGKILL", SHAPE_HOME);
    outage_test(OUTAGES_OF_REDIS, "restart", SHAPE_CACHE);
}

Test(outage_redis, connections_break)
{
    outage_test(OUTAGES_OF_REDIS, "idle or not", SHAPE_CACHE);
    outage_test(OUTAGES_OF_REDIS, "middle of a request", SHAPE_CACHE);
    outage_test(OUTAGES_OF_REDIS, "reply cut, then a", SHAPE_HOME);
    outage_test(OUTAGES_OF_REDIS, "replies lost", SHAPE_HOME);
    outage_test(OUTAGES_OF_REDIS, "cut, then silence", SHAPE_CACHE);
}

Test(outage_redis, answers_late_or_never)
{
    outage_test(OUTAGES_OF_REDIS, "in time", SHAPE_CACHE);
    outage_test(OUTAGES_OF_REDIS, "byte by byte", SHAPE_CACHE);
    outage_test(OUTAGES_OF_REDIS, "vanished", SHAPE_CACHE);
    outage_test(OUTAGES_OF_REDIS, "never answered", SHAPE_CACHE);
}

Test(outage_redis, refuses)
{
    outage_test(OUTAGES_OF_REDIS, "OOM", SHAPE_HOME);
    outage_test(OUTAGES_OF_REDIS, "READONLY", SHAPE_HOME);
    outage_test(OUTAGES_OF_REDIS, "LOADING", SHAPE_HOME);
    outage_test(OUTAGES_OF_REDIS, "MISCONF", SHAPE_HOME);
    outage_test(OUTAGES_OF_REDIS, "BUSY", SHAPE_CACHE);
}

Test(outage_redis, forgets)
{
    outage_test(OUTAGES_OF_REDIS, "NOSCRIPT", SHAPE_CACHE);
    outage_test(OUTAGES_OF_REDIS, "NOSCRIPT", SHAPE_HOME);
    outage_test(OUTAGES_OF_REDIS, "FLUSHALL", SHAPE_CACHE);
}
