/*
 * What can become of MariaDB, alone or together with Redis, while threads write and read (outage.h), in short: each trouble once, and
 * as long as it takes to show. tests/long/outages.c runs all troubles in all shapes for longer and prints a table.
 */
#include "fault/outage_test.h"
#include "support/test.h"

TestSuite(outage_sql, .init = outage_test_setup, .fini = outage_test_teardown);

Test(outage_sql, stops_dies_restarts)
{
    outage_test(OUTAGES_OF_SQL, "SIGSTOP", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "SIGKILL", SHAPE_CACHE);
    outage_test(OUTAGES_OF_SQL, "restart", SHAPE_SQL);
}

Test(outage_sql, connections_break)
{
    outage_test(OUTAGES_OF_SQL, "2006", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "2013: reset", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "2013: reply cut", SHAPE_CACHE);
    outage_test(OUTAGES_OF_SQL, "2013: replies lost", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "cut, then silence", SHAPE_SQL);
}

Test(outage_sql, answers_late_or_never)
{
    outage_test(OUTAGES_OF_SQL, "in time", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "byte by byte", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "vanished", SHAPE_CACHE);
    outage_test(OUTAGES_OF_SQL, "refused", SHAPE_NO_WAL);
}

Test(outage_sql, is_overrun_or_leaves)
{
    outage_test(OUTAGES_OF_SQL, "1040", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "1053", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "1290", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "1290", SHAPE_NO_WAL);
    outage_test(OUTAGES_OF_SQL, "locked by somebody", SHAPE_SQL);
}

Test(outage_sql, conflicts_are_retried)
{
    outage_test(OUTAGES_OF_SQL, "1205", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "1213", SHAPE_SQL);
}

Test(outage_sql, poison_rows_stop_themselves_only)
{
    outage_test(OUTAGES_OF_SQL, "1153", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "1406", SHAPE_SQL);
    outage_test(OUTAGES_OF_SQL, "1406", SHAPE_NO_WAL);
}

Test(outage_sql, both_servers_at_once)
{
    outage_test(OUTAGES_OF_BOTH, "SIGSTOP", SHAPE_CACHE);
    outage_test(OUTAGES_OF_BOTH, "never answered", SHAPE_CACHE);
}
