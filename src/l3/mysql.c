/*
 * mysql - the tier over a MySQL-protocol server: MariaDB, MySQL, Galera, TiDB, Vitess.
 *
 * The driver is a watchdog and what it takes to connect; connections are in mysql_conn.c,
 * statements in mysql_stmt.c, batches in mysql_write.c, the meaning of errors in mysql_error.c.
 */
#include "base/mem.h"
#include "l3/mysql_conn.h"
#include "l3/store.h"

#include <stdio.h>
#include <string.h>

#define ROW_SLACK 4096u /* a row beside its content, generously */

static void arm(void *connection, uint64_t deadline_ms)
{
    struct mysql_connection *c = connection;
    se__watchdog_arm(c->driver->watchdog, &c->watch, (int)mysql_get_socket(c->m), deadline_ms);
}

static bool disarm(void *connection)
{
    struct mysql_connection *c = connection;
    return se__watchdog_disarm(c->driver->watchdog, &c->watch);
}

static void interrupt(void *driver)
{
    struct mysql_driver *d = driver;
    se__watchdog_strike(d->watchdog);
}

static bool broken(void *connection)
{
    struct mysql_connection *c = connection;
    return se__net_idle_broken((int)mysql_get_socket(c->m));
}

static struct db_result roll_back(void *connection)
{
    return se__mysql_exec(connection, "ROLLBACK", NULL, NULL);
}

static int64_t now_ms(void *connection)
{
    const struct mysql_connection *c = connection;
    return c->server_ms + (int64_t)(se__mono_ms() - c->server_at_mono_ms);
}

static size_t content_max(void *connection)
{
    const struct mysql_connection *c = connection;
    return c->packet_max > ROW_SLACK ? c->packet_max - ROW_SLACK : 0;
}

static bool take_word(void *arg, const struct db_value *columns, unsigned n)
{
    char *word = arg; /* 64 bytes */
    if (n == 1 && columns[0].type == DB_TEXT && columns[0].len < 64) {
        memcpy(word, columns[0].bytes, columns[0].len);
        word[columns[0].len] = '\0';
    }
    return false;
}

/* What makes a table of the right columns useless all the same: ids folded by a
 * collation, or no transactions. */
static struct db_result check_fit(void *connection, const char *table, const char **wrong)
{
    char sql[400], id[64] = "", transactions[64] = "";
    snprintf(sql, sizeof sql,
             "SELECT CONCAT(LOWER(data_type), ' ', column_key) FROM information_schema.columns "
             "WHERE table_schema = DATABASE() AND table_name = '%s' AND column_name = 'id'",
             table);
    struct db_result r = se__mysql_exec(connection, sql, take_word, id);
    snprintf(sql, sizeof sql,
             "SELECT e.transactions FROM information_schema.tables t JOIN "
             "information_schema.engines e ON e.engine = t.engine WHERE t.table_schema = "
             "DATABASE() AND t.table_name = '%s'",
             table);
    if (!se__db_failed(&r))
        r = se__mysql_exec(connection, sql, take_word, transactions);
    *wrong = strcmp(id, "varbinary PRI") != 0  ? "id is not a VARBINARY primary key"
             : strcmp(transactions, "NO") == 0 ? "its storage engine has no transactions"
                                               : NULL;
    return r;
}

/* ---- the driver ---- */

static void close_driver(void *driver)
{
    struct mysql_driver *d = driver;
    if (!d)
        return;
    se__watchdog_close(d->watchdog);
    se__sqltext_done(&d->sql);
    if (d->password)
        explicit_bzero(d->password, strlen(d->password));
    se__free(d->password);
    se__free(d->user);
    se__free(d->host);
    se__free(d->database);
    se__free(d->socket);
    se__free(d);
}

static const struct db_ops ops = {
    .name = "mysql",
    .dialect = SQL_MYSQL,
    .connect = se__mysql_connect,
    .disconnect = se__mysql_disconnect,
    .broken = broken,
    .arm = arm,
    .disarm = disarm,
    .interrupt = interrupt,
    .run = se__mysql_run,
    .exec = se__mysql_exec,
    .rollback = roll_back,
    .upsert_many = se__mysql_upsert_many,
    .one_statement = se__mysql_one_statement,
    .now_ms = now_ms,
    .content_max = content_max,
    .no_right = se__mysql_no_right,
    .misfit = se__mysql_misfit,
    .check_fit = check_fit,
    .close = close_driver,
};

static bool copy(const char *text, char **out)
{
    *out = se__strdup(text);
    return *out || !text;
}

static bool copy_url(const struct url *url, struct mysql_driver *d)
{
    d->port = url->port;
    return copy(url->host, &d->host) && copy(url->user, &d->user) &&
           copy(url->password, &d->password) && copy(url->database, &d->database) &&
           copy(url->path, &d->socket);
}

static se_result open_driver(const struct l3_options *options, struct mysql_driver *d)
{
    if (!copy_url(options->url, d))
        return se__error_nomem();
    se_result r =
        se__sqltext_init(SQL_MYSQL, options->table, options->tombstone_retention_s, &d->sql);
    return r == SE_OK ? se__watchdog_open(&d->watchdog) : r;
}

se_result se__mysql_open_form(const struct l3_options *options, enum mysql_form form,
                              struct tier *tier)
{
    se_result r = se__store_check_table(options);
    if (r != SE_OK)
        return r;
    if (options->url->scheme != URL_MYSQL)
        return se__error(SE_ERR_CONFIG, "sql_url is not a mysql: address");
    /* once per process; the library guards it itself. Its threads need no set-up of their own. */
    if (mysql_library_init(0, NULL, NULL) != 0)
        return se__error(SE_ERR_BACKEND, "mysql: the client library cannot be initialised");
    struct mysql_driver *d = se__alloc_zeroed(1, sizeof *d);
    if (!d)
        return se__error_nomem();
    d->form = form;
    d->timeout_ms = options->timeout_ms;
    d->read_only = options->read_only;
    d->log = options->log;
    r = open_driver(options, d);
    if (r == SE_OK)
        return se__store_open(options, &ops, d, tier);
    close_driver(d);
    return r;
}

se_result se__mysql_open(const struct l3_options *options, struct tier *tier)
{
    return se__mysql_open_form(options, MYSQL_FORM_BY_SERVER, tier);
}
