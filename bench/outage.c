/*
 * outage - see outage.h.
 */
#include "outage.h"

#include <stdio.h>
#include <unistd.h>

void outage_init(struct outage *o, const struct mariadb_server *server)
{
    *o = (struct outage){.server = server, .admin = bench_mariadb_connect(server)};
    bench_dir_make(&o->dir, NULL);
    bench_dir_path(&o->dir, "", "socket", o->link);
    snprintf(o->url, sizeof o->url, "mysql://root@localhost/t?socket=%s", o->link);
    outage_end(o);
}

void outage_done(struct outage *o)
{
    mysql_close(o->admin);
    bench_dir_remove(&o->dir);
}

static void kill_connections(struct outage *o)
{
    char sql[200];
    snprintf(sql, sizeof sql,
             "SELECT id FROM information_schema.processlist WHERE id > %lu AND user = 'root'",
             mysql_thread_id(o->admin));
    if (mysql_query(o->admin, sql) != 0)
        bench_fail("mysql: %s", mysql_error(o->admin));
    MYSQL_RES *ids = mysql_store_result(o->admin);
    for (MYSQL_ROW row; ids && (row = mysql_fetch_row(ids));) {
        snprintf(sql, sizeof sql, "KILL CONNECTION %s", row[0]);
        (void)mysql_query(o->admin, sql); /* it may have gone by itself */
    }
    mysql_free_result(ids);
}

void outage_begin(struct outage *o)
{
    if (unlink(o->link) != 0)
        bench_fail("%s: cannot be removed", o->link);
    kill_connections(o);
}

void outage_end(struct outage *o)
{
    if (symlink(o->server->socket, o->link) != 0)
        bench_fail("%s: cannot be made", o->link);
}
