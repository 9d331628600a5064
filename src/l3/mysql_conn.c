/*
 * mysql_conn - opens and closes a connection, with every session setting on every one.
 *
 * A host means TCP, also "localhost"; a socket path means the socket. Automatic reconnection is
 * never on: it would lose these settings and resend silently. Character set `binary`: what goes in
 * comes out, see mysql_stmt.c.
 *
 * Bounds: the deadline of each call through the watchdog; the server is told to give up as well,
 * some time later, so that an orphaned statement does not run for ever (max_statement_time,
 * MariaDB; innodb_lock_wait_timeout).
 */
#include "l3/mysql_conn.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- session ---- */

static bool take_text(void *arg, const struct db_value *columns, unsigned n)
{
    char *text = arg; /* 32 bytes */
    if (n == 1 && columns[0].type == DB_TEXT && columns[0].len < 32) {
        memcpy(text, columns[0].bytes, columns[0].len);
        text[columns[0].len] = '\0';
    }
    return false;
}

static struct db_result ask_number(struct mysql_connection *c, const char *sql, int64_t *number)
{
    char text[32] = "-1";
    struct db_result r = se__mysql_exec(c, sql, take_text, text);
    *number = strtoll(text, NULL, 10);
    return r;
}

static uint32_t seconds_of(uint32_t ms)
{
    return ms / 1000 + (ms % 1000 != 0);
}

static struct db_result set_session(struct mysql_connection *c)
{
    const struct mysql_driver *d = c->driver;
    char sql[256];
    struct db_result r = se__mysql_exec(c, "SET NAMES binary", NULL, NULL);
    snprintf(
        sql, sizeof sql,
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', "
        "innodb_lock_wait_timeout = %u, autocommit = 1, @se_lost = 0",
        d->timeout_ms < 1000 ? 1 : seconds_of(d->timeout_ms));
    if (!se__db_failed(&r))
        r = se__mysql_exec(c, sql, NULL, NULL);
    if (!se__db_failed(&r))
        r = se__mysql_exec(c, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", NULL, NULL);
    if (!se__db_failed(&r) && d->read_only)
        r = se__mysql_exec(c, "SET SESSION TRANSACTION READ ONLY", NULL, NULL);
    if (se__db_failed(&r) || !c->mariadb)
        return r;
    /* lists of 1000 ids stay lists: as a subquery they would be a join with a temporary table */
    uint32_t orphan_s = seconds_of(d->timeout_ms) * 10;
    snprintf(sql, sizeof sql,
             "SET SESSION max_statement_time = %u, in_predicate_conversion_threshold = 0",
             orphan_s < 60 ? 60 : orphan_s);
    return se__mysql_exec(c, sql, NULL, NULL);
}

static struct db_result ask_server(struct mysql_connection *c)
{
    int64_t packet, now, flush;
    struct db_result r = ask_number(c, "SELECT @@max_allowed_packet", &packet);
    if (!se__db_failed(&r))
        r = ask_number(c, "SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)", &now);
    if (se__db_failed(&r))
        return r;
    c->packet_max = packet > 0 ? (size_t)packet : 0;
    c->server_ms = now;
    c->server_at_mono_ms = se__mono_ms();
    r = ask_number(c, "SELECT @@innodb_flush_log_at_trx_commit", &flush);
    if (!se__db_failed(&r) && flush != 1 && !c->driver->read_only &&
        se__log_gate_open(&c->driver->flush_gate, se__mono_ms(), 3600000))
        se__log(c->driver->log, SE_LOG_WARN, "sql.not_durable",
                (const struct se__field[]){
                    se__number("innodb_flush_log_at_trx_commit", (uint64_t)flush), {0}},
                "mysql: innodb_flush_log_at_trx_commit is %lld, not 1: the server may lose what it "
                "committed last if its machine loses power",
                (long long)flush);
    return r.lost ? r : se__db_fine(); /* servers without InnoDB do not know the variable */
}

/* ---- connecting ---- */

static bool set_options(const struct mysql_driver *d, MYSQL *m, uint64_t deadline_ms)
{
    uint64_t left = se__deadline_left(deadline_ms);
    unsigned seconds = left < 3600000 ? seconds_of((uint32_t)left) : 3600, no = 0;
    unsigned protocol = d->socket ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
    seconds = seconds ? seconds : 1;
    mysql_options(m, MYSQL_OPT_PROTOCOL, &protocol);
    mysql_options(m, MYSQL_OPT_LOCAL_INFILE, &no); /* a server may not ask for our files */
    mysql_options(m, MYSQL_SET_CHARSET_NAME, "binary");
    if (d->socket)
        return mysql_options(m, MYSQL_OPT_CONNECT_TIMEOUT, &seconds) == 0;
    return mysql_options(m, MYSQL_OPT_NONBLOCK, NULL) == 0; /* for dial_tcp(): it takes memory */
}

static int occurred(unsigned ready)
{
    if (ready == 0)
        return MYSQL_WAIT_TIMEOUT;
    return (ready & SE__NET_READ ? MYSQL_WAIT_READ : 0) |
           (ready & SE__NET_WRITE ? MYSQL_WAIT_WRITE : 0);
}

/* The library's own timeout for connecting is one of whole seconds for each read: a server that
 * sends its greeting byte by byte would hold us for minutes. Here all of it has one deadline. Only
 * the lookup of a name may take longer. */
static bool dial_tcp(const struct mysql_driver *d, MYSQL *m, uint64_t deadline_ms)
{
    MYSQL *done = NULL;
    int wanted = mysql_real_connect_start(&done, m, d->host, d->user, d->password, d->database,
                                          d->port, NULL, 0);
    while (wanted != 0) {
        unsigned events = (wanted & MYSQL_WAIT_READ ? SE__NET_READ : 0u) |
                          (wanted & (MYSQL_WAIT_WRITE | MYSQL_WAIT_EXCEPT) ? SE__NET_WRITE : 0u);
        unsigned ready = se__net_wait((int)mysql_get_socket(m), events, deadline_ms);
        wanted = mysql_real_connect_cont(&done, m, occurred(ready));
    }
    return done != NULL;
}

/* On a unix socket the library waits by itself, to whole seconds: its other way, when nobody listens
 * there, closes the descriptor twice (Connector/C 3.3), and the second time it may be another
 * thread's. */
static bool dial(const struct mysql_driver *d, MYSQL *m, uint64_t deadline_ms)
{
    struct se__fork_dial dialling;
    bool done;
    if (d->socket) {
        se__fork_dial_begin(&dialling, d->socket);
        done =
            mysql_real_connect(m, NULL, d->user, d->password, d->database, 0, d->socket, 0) != NULL;
    } else {
        done = dial_tcp(d, m, deadline_ms);
    }
    if (done)
        se__exec_closes((int)mysql_get_socket(m)); /* the library leaves it open to them */
    if (d->socket)
        se__fork_dial_end(&dialling);
    return done;
}

static bool has_arrays(const struct mysql_connection *c)
{
    if (c->driver->form != MYSQL_FORM_BY_SERVER)
        return c->driver->form == MYSQL_FORM_ARRAYS;
    unsigned long capabilities = 0;
    if (mariadb_get_infov(c->m, MARIADB_CONNECTION_EXTENDED_SERVER_CAPABILITIES, &capabilities) !=
        0)
        return false;
    return c->mariadb &&
           (capabilities & (unsigned long)(MARIADB_CLIENT_STMT_BULK_OPERATIONS >> 32)) != 0;
}

static struct db_result connect_and_set(struct mysql_connection *c, uint64_t deadline_ms)
{
    const struct mysql_driver *d = c->driver;
    c->m = mysql_init(NULL);
    if (!c->m || !set_options(d, c->m, deadline_ms)) {
        se__error_nomem();
        return se__db_fault(TIER_UNWELL, 0);
    }
    if (!dial(d, c->m, deadline_ms))
        return se__mysql_failure(c, mysql_errno(c->m), mysql_error(c->m));
    c->mariadb = strstr(mysql_get_server_info(c->m), "MariaDB") != NULL;
    c->arrays = has_arrays(c);
    c->lost_known = true;
    se__watchdog_arm(d->watchdog, &c->watch, (int)mysql_get_socket(c->m), deadline_ms);
    struct db_result r = set_session(c);
    if (!se__db_failed(&r))
        r = ask_server(c);
    if (se__watchdog_disarm(d->watchdog, &c->watch)) {
        se__error(SE_ERR_TIMEOUT, "mysql: no answer in time while connecting");
        return se__db_fault(TIER_UNWELL, 0);
    }
    return r;
}

se_result se__mysql_connect(void *driver, bool writer, uint64_t deadline_ms, void **connection,
                            int *code)
{
    (void)writer;
    struct mysql_connection *c = se__alloc_zeroed(1, sizeof *c);
    if (!c)
        return se__error_nomem();
    c->driver = driver;
    struct db_result r = connect_and_set(c, deadline_ms);
    *code = r.reply.code;
    if (!se__db_failed(&r)) {
        *connection = c;
        return SE_OK;
    }
    se__mysql_disconnect(driver, c);
    return SE_ERR_BACKEND;
}

void se__mysql_disconnect(void *driver, void *connection)
{
    struct mysql_connection *c = connection;
    (void)driver;
    if (c->m)
        mysql_close(c->m); /* first: closing statements then sends nothing */
    for (unsigned i = 0; i < SQL_STATEMENTS; i++)
        if (c->prepared[i])
            mysql_stmt_close(c->prepared[i]);
    if (c->array)
        mysql_stmt_close(c->array);
    for (unsigned i = 0; i < ROW_COLUMNS; i++)
        se__free(c->columns[i].data);
    se__free(c->params);
    se__free(c->arrays_memory);
    se__free(c);
}
