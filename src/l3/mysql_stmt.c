/*
 * mysql_stmt - prepared statements: parameters in, rows out.
 *
 * Strings travel as BLOBs over a connection whose character set is `binary`, so that the server
 * neither converts nor trims them; a text column still checks that what it gets is UTF-8. Rows are
 * fetched one by one, not stored; a value longer than its buffer is fetched again once the buffer
 * has grown.
 */
#include "l3/mysql_conn.h"

#include "base/mem.h"

#include <string.h>

#define COLUMN_FIRST 512u      /* holds ids and hashes; contents grow it */
#define COLUMN_KEPT (1u << 18) /* a larger buffer is not kept for the next statement */

static struct db_result stmt_failure(struct mysql_connection *c, MYSQL_STMT *stmt)
{
    return se__mysql_failure(c, mysql_stmt_errno(stmt), mysql_stmt_error(stmt));
}

static struct db_result nomem(void)
{
    se__error_nomem();
    return se__db_fault(TIER_UNWELL, 0);
}

struct db_result se__mysql_prepare(struct mysql_connection *c, enum sql_statement which,
                                   MYSQL_STMT **stmt)
{
    if (*stmt)
        return se__db_fine();
    const char *text = c->driver->sql.text[which];
    MYSQL_STMT *made = mysql_stmt_init(c->m);
    if (!made)
        return nomem();
    if (mysql_stmt_prepare(made, text, strlen(text)) != 0) {
        struct db_result r = stmt_failure(c, made);
        mysql_stmt_close(made);
        return r;
    }
    *stmt = made;
    return se__db_fine();
}

/* ---- parameters ---- */

void se__mysql_bind(MYSQL_BIND *bind, const struct db_value *value)
{
    *bind = (MYSQL_BIND){.buffer_type = MYSQL_TYPE_NULL};
    switch (value->type) {
    case DB_INT:
        bind->buffer_type = MYSQL_TYPE_LONGLONG;
        bind->buffer = (void *)(uintptr_t)&value->number;
        break;
    case DB_TEXT:
    case DB_BLOB:
        bind->buffer_type = MYSQL_TYPE_BLOB;
        bind->buffer = (void *)(uintptr_t)value->bytes;
        bind->buffer_length = value->len;
        break;
    case DB_NULL:
        break;
    }
}

static struct db_result bind_params(struct mysql_connection *c, MYSQL_STMT *stmt,
                                    const struct db_value *params, unsigned n)
{
    if (n == 0)
        return se__db_fine();
    if (n > c->params_cap) {
        MYSQL_BIND *grown = se__realloc(c->params, n * sizeof *grown);
        if (!grown)
            return nomem();
        c->params = grown;
        c->params_cap = n;
    }
    for (unsigned i = 0; i < n; i++)
        se__mysql_bind(&c->params[i], &params[i]);
    return mysql_stmt_bind_param(stmt, c->params) != 0 ? stmt_failure(c, stmt) : se__db_fine();
}

/* ---- results ---- */

static bool is_number(enum enum_field_types type)
{
    switch (type) {
    case MYSQL_TYPE_TINY:
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_LONGLONG:
        return true;
    default:
        return false;
    }
}

struct result {
    struct mysql_connection *c;
    MYSQL_STMT *stmt;
    unsigned n;
    bool number[ROW_COLUMNS];
    MYSQL_BIND bind[ROW_COLUMNS];
};

static bool set_column(struct result *r, unsigned i)
{
    struct mysql_column *column = &r->c->columns[i];
    if (!r->number[i] && !column->data) {
        column->data = se__alloc(COLUMN_FIRST);
        column->cap = column->data ? COLUMN_FIRST : 0;
        if (!column->data)
            return false;
    }
    r->bind[i] = (MYSQL_BIND){.buffer_type = r->number[i] ? MYSQL_TYPE_LONGLONG : MYSQL_TYPE_BLOB,
                              .buffer = r->number[i] ? (void *)&column->number : column->data,
                              .buffer_length = r->number[i] ? sizeof column->number : column->cap,
                              .length = &column->len,
                              .is_null = &column->null,
                              .error = &column->error};
    return true;
}

static bool set_columns(struct result *r)
{
    MYSQL_RES *fields = mysql_stmt_result_metadata(r->stmt);
    if (!fields)
        return false;
    unsigned n = mysql_num_fields(fields);
    r->n = n < ROW_COLUMNS ? n : ROW_COLUMNS;
    bool set = n <= ROW_COLUMNS;
    for (unsigned i = 0; i < r->n && set; i++) {
        r->number[i] = is_number(mysql_fetch_field_direct(fields, i)->type);
        set = set_column(r, i);
    }
    mysql_free_result(fields);
    return set;
}

/* Fetches what did not fit, into buffers that it does. Sets *grown if any was replaced. */
static struct db_result complete(struct result *r, bool *grown)
{
    for (unsigned i = 0; i < r->n; i++) {
        struct mysql_column *column = &r->c->columns[i];
        if (r->number[i] || column->null || column->len <= column->cap)
            continue;
        char *data = se__realloc(column->data, column->len);
        if (!data)
            return nomem();
        column->data = data;
        column->cap = column->len;
        *grown = set_column(r, i);
        if (mysql_stmt_fetch_column(r->stmt, &r->bind[i], i, 0) != 0)
            return stmt_failure(r->c, r->stmt);
    }
    return se__db_fine();
}

static void values_of(const struct result *r, struct db_value values[ROW_COLUMNS])
{
    for (unsigned i = 0; i < r->n; i++) {
        const struct mysql_column *column = &r->c->columns[i];
        values[i] = column->null   ? (struct db_value){.type = DB_NULL}
                    : r->number[i] ? se__db_int(column->number)
                                   : se__db_blob(column->data, column->len);
    }
}

static struct db_result fetch_rows(struct result *r, db_row_fn row, void *arg)
{
    struct db_value values[ROW_COLUMNS];
    for (int fetched; (fetched = mysql_stmt_fetch(r->stmt)) != MYSQL_NO_DATA;) {
        bool grown = false;
        if (fetched != 0 && fetched != MYSQL_DATA_TRUNCATED)
            return stmt_failure(r->c, r->stmt);
        struct db_result completed = complete(r, &grown);
        if (se__db_failed(&completed))
            return completed;
        values_of(r, values);
        if (!row(arg, values, r->n))
            break;
        if (grown && mysql_stmt_bind_result(r->stmt, r->bind) != 0)
            return stmt_failure(r->c, r->stmt);
    }
    return se__db_fine();
}

static void shrink_columns(struct mysql_connection *c)
{
    for (unsigned i = 0; i < ROW_COLUMNS; i++)
        if (c->columns[i].cap > COLUMN_KEPT) {
            se__free(c->columns[i].data);
            c->columns[i].data = NULL;
            c->columns[i].cap = 0;
        }
}

static struct db_result read_result(struct mysql_connection *c, MYSQL_STMT *stmt, db_row_fn row,
                                    void *arg)
{
    struct result result = {.c = c, .stmt = stmt};
    struct db_result r = se__db_fine();
    if (!set_columns(&result))
        r = nomem();
    else if (mysql_stmt_bind_result(stmt, result.bind) != 0)
        r = stmt_failure(c, stmt);
    else
        r = fetch_rows(&result, row, arg);
    /* reads what is left of the result: the connection is in step again, or lost */
    if (mysql_stmt_free_result(stmt) != 0 && !se__db_failed(&r))
        r = stmt_failure(c, stmt);
    shrink_columns(c);
    return r;
}

static bool is_upsert(enum sql_statement which)
{
    return which >= SQL_UPSERT && which < SQL_UPSERT + SQL_ROWS;
}

struct db_result se__mysql_run(void *connection, enum sql_statement which,
                               const struct db_value *params, unsigned n, db_row_fn row, void *arg)
{
    struct mysql_connection *c = connection;
    struct db_result r = se__mysql_prepare(c, which, &c->prepared[which]);
    MYSQL_STMT *stmt = c->prepared[which];
    if (!se__db_failed(&r))
        r = bind_params(c, stmt, params, n);
    if (se__db_failed(&r))
        return r;
    if (mysql_stmt_execute(stmt) != 0)
        return stmt_failure(c, stmt);
    if (mysql_stmt_field_count(stmt) > 0)
        return read_result(c, stmt, row, arg);
    r.changed = mysql_stmt_affected_rows(stmt);
    if (r.changed == 0 && is_upsert(which))
        c->lost_known = false; /* it may have counted */
    return r;
}

/* ---- plain text ---- */

static void give_rows(MYSQL_RES *rows, db_row_fn row, void *arg)
{
    unsigned n = mysql_num_fields(rows);
    struct db_value values[ROW_COLUMNS];
    n = n < ROW_COLUMNS ? n : ROW_COLUMNS;
    for (MYSQL_ROW text; (text = mysql_fetch_row(rows));) {
        unsigned long *lengths = mysql_fetch_lengths(rows);
        for (unsigned i = 0; i < n; i++)
            values[i] =
                text[i] ? se__db_text(text[i], lengths[i]) : (struct db_value){.type = DB_NULL};
        if (!row(arg, values, n))
            return;
    }
}

struct db_result se__mysql_exec(void *connection, const char *sql, db_row_fn row, void *arg)
{
    struct mysql_connection *c = connection;
    if (mysql_real_query(c->m, sql, strlen(sql)) != 0)
        return se__mysql_failure(c, mysql_errno(c->m), mysql_error(c->m));
    MYSQL_RES *rows = mysql_store_result(c->m);
    if (!rows && mysql_field_count(c->m) > 0)
        return se__mysql_failure(c, mysql_errno(c->m), mysql_error(c->m));
    if (rows && row)
        give_rows(rows, row, arg);
    mysql_free_result(rows);
    return se__db_fine();
}
