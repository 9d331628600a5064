/*
 * mariadb - see mariadb.h.
 */
#include "mariadb.h"

struct mariadb_server *bench_mariadb(char url[BENCH_MARIADB_URL_MAX])
{
    static const char *const args[] = {"--innodb-buffer-pool-size=2G",
                                       "--innodb-log-file-size=512M", NULL};
    struct mariadb_server *s = mariadb_start(false, args);
    if (!s)
        bench_fail("mariadb: no server");
    bench_pin_server(s->pid);
    mariadb_url(s, false, url, BENCH_MARIADB_URL_MAX);
    return s;
}

MYSQL *bench_mariadb_connect(const struct mariadb_server *s)
{
    MYSQL *m = mysql_init(NULL);
    if (!m || !mysql_real_connect(m, "localhost", "root", NULL, "t", 0, s->socket, 0) ||
        mysql_query(m, "SET NAMES binary") != 0)
        bench_fail("mysql: cannot connect");
    return m;
}
