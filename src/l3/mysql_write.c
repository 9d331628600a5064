/*
 * mysql_write - many guarded upserts in few round trips.
 *
 * Arrays: one prepared row, executed for arrays of parameters in one packet (MariaDB). Rows:
 * prepared inserts of 100, 10 and 1 rows. Both count rows that lose their guard in @se_lost, a
 * variable of the session that only the upsert changes (see sqltext.c); it is read once at the end.
 * Its value from before is known, so that it need not be reset.
 *
 * A packet is at most max_allowed_packet; a single row always fits (se__store_write has checked its
 * content).
 */
#include "l3/mysql_conn.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define PACKET_SLACK 2048u /* header of the command, types, and what a packet's own frame takes */
#define ARRAY_MAX 5000u

static struct db_result nomem(void)
{
    se__error_nomem();
    return se__db_fault(TIER_UNWELL, 0);
}

/* How many of the rows go into one packet; at least one. */
static size_t rows_that_fit(const struct mysql_connection *c, const struct sql_row *rows, size_t n,
                            size_t max)
{
    size_t fit = 0, bytes = PACKET_SLACK;
    while (fit < n && fit < max) {
        bytes += se__row_bytes(&rows[fit]);
        if (bytes > c->packet_max && fit > 0)
            break;
        fit++;
    }
    return fit;
}

/* ---- arrays ---- */

/* One parameter's arrays. */
struct parameter {
    char indicator[ARRAY_MAX];
    unsigned long length[ARRAY_MAX];
    union {
        int64_t number[ARRAY_MAX];
        const void *bytes[ARRAY_MAX];
    };
};
struct arrays {
    struct parameter of[ROW_PARAMS];
};

/* The columns that hold bytes; the others hold numbers. */
static bool is_bytes_column(unsigned i)
{
    switch (i) {
    case COL_ID:
    case COL_RECORD_HASH:
    case COL_STATE:
    case COL_CONTENT_HASH:
    case COL_PAYLOAD:
    case COL_PAYLOAD_BLOB:
        return true;
    default:
        return false;
    }
}

static void fill(struct parameter *p, const struct sql_row *rows, size_t n, unsigned column)
{
    bool bytes = is_bytes_column(column);
    for (size_t i = 0; i < n; i++) {
        const struct db_value *v = &rows[i].value[column];
        p->indicator[i] = v->type == DB_NULL ? STMT_INDICATOR_NULL : STMT_INDICATOR_NONE;
        p->length[i] = v->len;
        if (bytes)
            p->bytes[i] = v->len ? v->bytes : "";
        else
            p->number[i] = v->number;
    }
}

static struct db_result execute_array(struct mysql_connection *c, const struct sql_row *rows,
                                      size_t n)
{
    struct arrays *a = c->arrays_memory;
    MYSQL_BIND bind[ROW_PARAMS];
    unsigned size = (unsigned)n;
    for (unsigned i = 0; i < ROW_PARAMS; i++) {
        fill(&a->of[i], rows, n, i);
        bind[i] = (MYSQL_BIND){
            .buffer_type = is_bytes_column(i) ? MYSQL_TYPE_BLOB : MYSQL_TYPE_LONGLONG,
            .buffer = a->of[i].number,
            .length = a->of[i].length,
            .u.indicator = a->of[i].indicator,
        };
    }
    if (mysql_stmt_attr_set(c->array, STMT_ATTR_ARRAY_SIZE, &size) != 0 ||
        mysql_stmt_bind_param(c->array, bind) != 0 || mysql_stmt_execute(c->array) != 0)
        return se__mysql_failure(c, mysql_stmt_errno(c->array), mysql_stmt_error(c->array));
    return se__db_fine();
}

static struct db_result upsert_arrays(struct mysql_connection *c, const struct sql_row *rows,
                                      size_t n)
{
    /* 1.5 MB of address space; only what batches fill is ever touched */
    if (!c->arrays_memory)
        c->arrays_memory = se__alloc(sizeof(struct arrays));
    if (!c->arrays_memory)
        return nomem();
    struct db_result r = se__mysql_prepare(c, SQL_UPSERT, &c->array);
    for (size_t i = 0, fit; i < n && !se__db_failed(&r); i += fit) {
        fit = rows_that_fit(c, rows + i, n - i, ARRAY_MAX);
        r = execute_array(c, rows + i, fit);
    }
    return r;
}

/* ---- rows ---- */

static struct db_result insert_rows(struct mysql_connection *c, const struct sql_row *rows,
                                    unsigned k, struct db_value *params)
{
    unsigned n = SE__SQL_ROWS[k];
    for (unsigned i = 0; i < n; i++)
        memcpy(params + (size_t)i * ROW_PARAMS, rows[i].value, sizeof rows[i].value);
    return se__mysql_run(c, (enum sql_statement)(SQL_UPSERT + k), params, n * ROW_PARAMS, NULL,
                         NULL);
}

static unsigned largest_statement(size_t rows)
{
    unsigned k = SQL_ROWS - 1;
    while (k > 0 && SE__SQL_ROWS[k] > rows)
        k--;
    return k;
}

static struct db_result upsert_rows(struct mysql_connection *c, const struct sql_row *rows,
                                    size_t n)
{
    unsigned most = SE__SQL_ROWS[SQL_ROWS - 1];
    struct db_value *params = se__alloc_zeroed((size_t)most * ROW_PARAMS, sizeof *params);
    struct db_result r = se__db_fine();
    if (!params)
        return nomem();
    for (size_t i = 0; i < n && !se__db_failed(&r);) {
        unsigned k = largest_statement(rows_that_fit(c, rows + i, n - i, most));
        r = insert_rows(c, rows + i, k, params);
        i += SE__SQL_ROWS[k];
    }
    se__free(params);
    return r;
}

bool se__mysql_one_statement(const void *connection, const struct sql_row *rows, size_t n)
{
    const struct mysql_connection *c = connection;
    if (c->arrays)
        return rows_that_fit(c, rows, n, ARRAY_MAX) == n;
    size_t fit = rows_that_fit(c, rows, n, SE__SQL_ROWS[SQL_ROWS - 1]);
    return fit == n && SE__SQL_ROWS[largest_statement(fit)] == n;
}

/* ---- the count of losers ---- */

static bool take_number(void *arg, const struct db_value *columns, unsigned n)
{
    char text[32] = "";
    if (n == 1 && columns[0].type == DB_TEXT && columns[0].len < sizeof text)
        memcpy(text, columns[0].bytes, columns[0].len);
    *(int64_t *)arg = *text ? strtoll(text, NULL, 10) : -1;
    return false;
}

static struct db_result know_lost(struct mysql_connection *c)
{
    if (c->lost_known)
        return se__db_fine();
    c->lost_seen = 0;
    return se__mysql_exec(c, "SET @se_lost = 0", NULL, NULL);
}

struct db_result se__mysql_upsert_many(void *connection, const struct sql_row *rows, size_t n,
                                       bool *lost)
{
    struct mysql_connection *c = connection;
    int64_t before, after = -1;
    struct db_result r = know_lost(c);
    c->lost_known = false; /* until it was read again */
    before = c->lost_seen;
    if (!se__db_failed(&r))
        r = c->arrays ? upsert_arrays(c, rows, n) : upsert_rows(c, rows, n);
    if (!se__db_failed(&r))
        r = se__mysql_exec(c, "SELECT @se_lost", take_number, &after);
    if (se__db_failed(&r))
        return r;
    c->lost_seen = after;
    c->lost_known = after >= 0;
    *lost = after != before; /* anything unexpected counts as lost: then the rows are looked at */
    return r;
}
