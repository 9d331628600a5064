/*
 * outage_test - what the tests of outages share: a site for each test, and its cases run by their names, in short.
 *
 * SE_SEED=n draws other ids, contents and struck turns.
 */
#ifndef SE_TESTS_FAULT_OUTAGE_TEST_H
#define SE_TESTS_FAULT_OUTAGE_TEST_H

#include "fault/outage.h"

/* A TestSuite's init and fini. */
void outage_test_setup(void);
void outage_test_teardown(void);
/* Runs the cases of a list whose names contain `part`, where they have that shape; there must be one. */
void outage_test(const struct outage_case *c, const char *part, enum outage_shape shape);

#endif
