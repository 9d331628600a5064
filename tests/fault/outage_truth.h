/*
 * outage_truth - what lies in the table and what the counters say, without assertions: what is wrong becomes the traffic's text.
 *
 * Threads: caller-serialised.
 */
#ifndef SE_TESTS_FAULT_OUTAGE_TRUTH_H
#define SE_TESTS_FAULT_OUTAGE_TRUTH_H

#include "fault/traffic.h"
#include "support/mariadb_server.h"

/* The value of the first line of a metric whose labels contain `labels`; 0: there is none. */
double outage_metric(se_engine *e, const char *family, const char *labels);
/* Law 13. */
void outage_check_balance(struct traffic *t, se_engine *e);
/* Row by row, past the proxy: each id has the content, or the tombstone, that was acknowledged last; there are no other rows but
 * `others` of the poison ids. */
void outage_check_rows(struct traffic *t, struct mariadb_server *mariadb, unsigned others);

#endif
