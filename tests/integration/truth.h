/*
 * truth - what lies below an engine, asked without it, and whether its counters say the same.
 *
 * For beds whose home is SQL.  Failures are assertions.
 *
 * Threads: caller-serialised.
 */
#ifndef SE_TESTS_INTEGRATION_TRUTH_H
#define SE_TESTS_INTEGRATION_TRUTH_H

#include "integration/bed.h"

/* The first column of the first row; "" if there is none. mariadb: the bed's, NULL where that is SQLite. */
void truth_text(struct bed *b, struct mariadb_server *mariadb, const char *sql, char *out, size_t cap);
long long truth_number(struct bed *b, struct mariadb_server *mariadb, const char *sql);
void truth_run(struct bed *b, struct mariadb_server *mariadb, const char *sql);
/* Law 13: when quiescent, accepted + recovered = superseded + lost + queued + in the WAL + persisted + dead. */
void truth_balance(se_engine *e);
/* For bed_wait: the database answers and everything is in it. */
bool truth_all_home(void *engine);

/* From now on engines opened with this config are heard: their messages are kept, in one list for the process. */
void truth_listen(se_config *config);
bool truth_heard(const char *part);
/* Neither a message heard nor this thread's last error contains it. */
void truth_never_said(const char *secret);

#endif
