/*
 * mysql_conn - one connection to a MySQL-protocol server, as the mysql*.c files share it.
 *
 * Threads: caller-serialised per connection; a connection may move from thread to thread.
 * Memory: se__mysql_connect returns, se__mysql_disconnect frees.
 */
#ifndef SE_L3_MYSQL_CONN_H
#define SE_L3_MYSQL_CONN_H

#include "l3/db.h"
#include "l3/l3.h"
#include "l3/watchdog.h"

#include <mysql.h>

/* How a batch of upserts travels. */
enum mysql_form {
    MYSQL_FORM_BY_SERVER, /* arrays where the server has them, else rows */
    MYSQL_FORM_ARRAYS,    /* one prepared row and arrays of parameters: MariaDB 10.2.7 and later */
    MYSQL_FORM_ROWS       /* multi-row INSERT ... VALUES: MySQL, TiDB, Vitess */
};

struct mysql_driver {
    char *host, *user, *password, *database, *socket;
    uint16_t port;
    uint32_t timeout_ms;
    bool read_only;
    enum mysql_form form;
    struct sqltext sql;
    struct watchdog *watchdog;
    const struct se__log *log;
    struct se__log_gate flush_gate; /* the warning about innodb_flush_log_at_trx_commit */
};

/* Where a result column arrives; kept from row to row and from statement to statement. */
struct mysql_column {
    int64_t number;
    char *data;
    size_t cap;
    unsigned long len;
    my_bool null, error;
};

struct mysql_connection {
    struct mysql_driver *driver;
    MYSQL *m;
    struct watch watch;
    MYSQL_STMT *prepared[SQL_STATEMENTS];
    MYSQL_STMT *array; /* SQL_UPSERT once more, for arrays of parameters */
    bool arrays, mariadb;
    size_t packet_max;          /* the server's max_allowed_packet */
    int64_t server_ms;          /* the server's wall clock ... */
    uint64_t server_at_mono_ms; /* ... at this time of ours */
    bool lost_known;            /* lost_seen is what @se_lost holds */
    int64_t lost_seen;
    struct mysql_column columns[ROW_COLUMNS];
    MYSQL_BIND *params; /* scratch of params_cap */
    size_t params_cap;
    void *arrays_memory; /* scratch of upsert_many */
    size_t arrays_cap;
};

se_result se__mysql_connect(void *driver, bool writer, uint64_t deadline_ms, void **connection,
                            int *code);
void se__mysql_disconnect(void *driver, void *connection);

/* The last error of the handle or of a statement, classified, with the thread's text set. */
struct db_result se__mysql_failure(const struct mysql_connection *c, unsigned code,
                                   const char *words);
bool se__mysql_no_right(int code);
bool se__mysql_misfit(int code); /* db.h */

struct db_result se__mysql_run(void *connection, enum sql_statement which,
                               const struct db_value *params, unsigned n, db_row_fn row, void *arg);
struct db_result se__mysql_exec(void *connection, const char *sql, db_row_fn row, void *arg);
/* A statement of the fixed set, prepared into *stmt if it is NULL. */
struct db_result se__mysql_prepare(struct mysql_connection *c, enum sql_statement which,
                                   MYSQL_STMT **stmt);
void se__mysql_bind(MYSQL_BIND *bind, const struct db_value *value);

struct db_result se__mysql_upsert_many(void *connection, const struct sql_row *rows, size_t n,
                                       bool *lost);
bool se__mysql_one_statement(const void *connection, const struct sql_row *rows, size_t n);

/* As se__mysql_open, with the form of batches given: for tests and measurements. */
SE_NODISCARD se_result se__mysql_open_form(const struct l3_options *options, enum mysql_form form,
                                           struct tier *tier);

#endif
