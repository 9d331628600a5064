/*
 * outage_sql - what can become of MariaDB. Done by the real server where it can be made to do it; else by the proxy, as the packet that
 * the server would send.
 *
 * 2006 and 2013 are the client library's own numbers: it says them when connections are gone before a request or before its reply.
 */
#include "fault/outage.h"

#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALONE (SHAPE_SQL | SHAPE_NO_WAL)
#define ALL (ALONE | SHAPE_CACHE)

static void tell(struct outage_site *s, const char *sql)
{
    if (!mariadb_exec(s->mariadb, sql))
        abort();
}

/* ---- the process ---- */

static void stop(struct outage_site *s)
{
    if (!mariadb_pause(s->mariadb))
        abort();
}

static void go_on(struct outage_site *s)
{
    (void)mariadb_resume(s->mariadb);
}

static void die(struct outage_site *s)
{
    (void)mariadb_kill(s->mariadb);
}

static void come_back(struct outage_site *s)
{
    if (!mariadb_restart(s->mariadb))
        abort();
}

static void reset_idle(struct outage_site *s)
{
    proxy_reset_all(s->sql_proxy);
}

/* ---- connections held ---- */

static MYSQL *join(struct outage_site *s, const char *user)
{
    MYSQL *m = mysql_init(NULL);
    if (m && mysql_real_connect(m, "localhost", user, NULL, "t", 0, s->mariadb->socket, 0))
        return m;
    unsigned code = m ? mysql_errno(m) : 0;
    mysql_close(m);
    if (code != 1040)
        abort();
    return NULL;
}

static void let_go(struct outage_site *s)
{
    while (s->held_n > 0)
        mysql_close(s->held[--s->held_n]);
}

/* 1040: every connection there may be is ours. */
static void crowd(struct outage_site *s)
{
    s->held[s->held_n++] = join(s, "root");
    tell(s, "SET GLOBAL max_connections = 10");
}

static void crowd_more(struct outage_site *s)
{
    MYSQL *m;
    proxy_reset_all(s->sql_proxy);
    while (s->held_n < 200 && (m = join(s, "app")))
        s->held[s->held_n++] = m;
}

static void disperse(struct outage_site *s)
{
    if (mysql_query(s->held[0], "SET GLOBAL max_connections = 151") != 0)
        abort();
    let_go(s);
}

/* Somebody else has locked all rows and is in no hurry. */
static void lock_rows(struct outage_site *s)
{
    MYSQL *m = join(s, "root");
    if (!m || mysql_query(m, "BEGIN") != 0 ||
        mysql_query(m, "SELECT COUNT(*) FROM sync_items FOR UPDATE") != 0)
        abort();
    mysql_free_result(mysql_store_result(m));
    s->held[s->held_n++] = m;
}

/* ---- settings ---- */

static void read_only(struct outage_site *s)
{
    tell(s, "SET GLOBAL read_only = 1");
}

static void read_write(struct outage_site *s)
{
    tell(s, "SET GLOBAL read_only = 0");
}

/* Contents of 255 bytes at most: what traffic writes fits, the poison does not. */
static void narrow(struct outage_site *s)
{
    tell(s, "ALTER TABLE sync_items MODIFY payload_blob TINYBLOB");
}

static void widen(struct outage_site *s)
{
    tell(s, "ALTER TABLE sync_items MODIFY payload_blob LONGBLOB");
}

#define SAYS(number, sqlstate, text_, ...)                                                         \
    {                                                                                              \
        .code = number, .state = sqlstate, .words = text_, __VA_ARGS__                             \
    }

const struct outage_case OUTAGES_OF_SQL[] = {
    {.name = "SIGSTOP, SIGCONT",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = OPENS,
     .begin = stop,
     .end = go_on},
    {.name = "SIGKILL, later a restart",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = OPENS | STARTS,
     .plan = {.what = PROXY_REFUSE},
     .begin = die,
     .end = come_back},
    {.name = "restart", .where = AT_SQL, .shapes = ALL, .flags = STARTS, .begin = come_back},
    {.name = "2006: connections reset, idle or not",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = 0,
     .again = reset_idle},
    {.name = "2013: reset in the middle of a request",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = 0,
     .plan = {.what = PROXY_RESET_REQUEST, .percent = 10, .bytes = 6}},
    {.name = "2013: reply cut, then a close",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = 0,
     .plan = {.what = PROXY_CUT_CLOSE, .percent = 10, .bytes = 6}},
    {.name = "2013: reply cut, then a reset",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = 0,
     .plan = {.what = PROXY_CUT_RESET, .percent = 10, .bytes = 6}},
    {.name = "reply cut, then silence",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = 0,
     .plan = {.what = PROXY_CUT_SILENT, .percent = 5, .bytes = 6}},
    {.name = "2013: replies lost, the work done",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = 0,
     .plan = {.what = PROXY_CUT_CLOSE, .percent = 10, .bytes = 0}},
    {.name = "replies late, in time",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = 0,
     .plan = {.what = PROXY_DELAY, .ms = 15}},
    {.name = "replies too late",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = OPENS,
     .plan = {.what = PROXY_DELAY, .ms = 1500}},
    {.name = "replies byte by byte",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = OPENS,
     .plan = {.what = PROXY_DRIP, .ms = 700}},
    {.name = "peer vanished, half-open",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = OPENS,
     .plan = {.what = PROXY_VANISH}},
    {.name = "accepted, never answered",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = OPENS,
     .plan = {.what = PROXY_MUTE}},
    {.name = "connects refused",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = OPENS,
     .plan = {.what = PROXY_REFUSE}},
    {.name = "1040: too many connections",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = OPENS,
     .begin = crowd,
     .again = crowd_more,
     .end = disperse},
    {.name = "1053: shutdown in progress",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = OPENS,
     .plan = {.what = PROXY_INJECT,
              .inject = SAYS(1053, "08S01", "Server shutdown in progress", .then_close = true)}},
    {.name = "1205: lock wait timeout, now and then",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = STAYS_CLOSED | RETRIES,
     .plan = {.what = PROXY_INJECT,
              .percent = 30,
              .inject =
                  SAYS(1205, "HY000", "Lock wait timeout exceeded", .commands = PROXY_EXECUTE)}},
    {.name = "1205: lock wait timeout, always",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = STAYS_CLOSED | RETRIES,
     .plan = {.what = PROXY_INJECT,
              .inject =
                  SAYS(1205, "HY000", "Lock wait timeout exceeded", .commands = PROXY_EXECUTE)}},
    {.name = "1213: deadlock, now and then",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = STAYS_CLOSED | RETRIES,
     .plan = {.what = PROXY_INJECT,
              .percent = 30,
              .inject = SAYS(1213, "40001", "Deadlock found when trying to get lock",
                             .commands = PROXY_EXECUTE)}},
    {.name = "1213: at COMMIT",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = STAYS_CLOSED | RETRIES,
     .plan = {.what = PROXY_INJECT,
              .percent = 50,
              .inject = SAYS(1213, "40001", "Deadlock found when trying to get lock",
                             .commands = PROXY_QUERY, .text = "COMMIT")}},
    {.name = "all rows locked by somebody else",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = FAILS,
     .begin = lock_rows,
     .end = let_go},
    {.name = "1290: read-only",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = FAILS,
     .begin = read_only,
     .end = read_write},
    {.name = "1153: packets too large",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = POISONS,
     .plan = {.what = PROXY_INJECT,
              .inject = SAYS(1153, "08S01", "Got a packet bigger than 'max_allowed_packet' bytes",
                             .commands = PROXY_EXECUTE, .longer_than = 100000, .then_close = true)},
     .poison_bytes = 150000},
    {.name = "1406: data too long",
     .where = AT_SQL,
     .shapes = ALL,
     .flags = POISONS,
     .begin = narrow,
     .end = widen,
     .poison_bytes = 5000},
    {.name = NULL}};
