/*
 * mariadb - the server that the benches of MySQL's rows share, and a bare connection to it.
 */
#ifndef SE_BENCH_MARIADB_H
#define SE_BENCH_MARIADB_H

#include "harness.h"

#include "support/mariadb_server.h"

#include <mysql.h>

#define BENCH_MARIADB_URL_MAX 256u

/* Pinned to the server's CPUs, and with so much memory that the tables fit: what is measured is the
 * way there, not the server's disk. End it with mariadb_close. */
struct mariadb_server *bench_mariadb(char url[BENCH_MARIADB_URL_MAX]);
MYSQL *bench_mariadb_connect(const struct mariadb_server *s);

#endif
