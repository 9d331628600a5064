/*
 * sqlite - the tier over a SQLite file.
 *
 * journal_mode=WAL, synchronous=FULL: a commit that returned survives power loss. One connection
 * writes and checkpoints; reading ones never do, not even when they are closed (older releases have
 * a race between checkpointing connections). Writes begin with BEGIN IMMEDIATE, so that waiting for
 * another process's lock happens before anything is done, bounded by the deadline through the busy
 * handler. A progress handler ends statements that run past it or are interrupted; an fsync cannot
 * be ended.
 *
 * Schemas in the file are not trusted: functions and views in them cannot reach beyond it
 * (trusted_schema=OFF).
 */
#include "base/sqlite.h"
#include "base/mem.h"
#include "l3/sqlite_asked.h"
#include "l3/store.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define PROGRESS_STEPS 4000 /* instructions between looks at the clock: some 50 us */

struct driver {
    char *path;
    uint32_t retention_s;
    bool read_only;
    struct sqltext sql;
    _Atomic unsigned interrupts;
};

struct connection {
    struct driver *driver;
    sqlite3 *db;
    uint64_t deadline_ms;
    unsigned interrupts; /* the driver's count when the call was armed */
    struct asked asked;  /* the list that is being read */
    sqlite3_stmt *prepared[SQL_STATEMENTS];
};

/* ---- errors ---- */

/* What the row itself is to blame for. */
static bool is_refusal(int code)
{
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT: /* NOT NULL, CHECK, UNIQUE, STRICT's types, RAISE() in a trigger */
    case SQLITE_TOOBIG:     /* longer than SQLITE_LIMIT_LENGTH */
    case SQLITE_MISMATCH:   /* a value of the wrong type */
    case SQLITE_RANGE:
        return true;
    default:
        return false;
    }
}

/* After these a fresh connection sees more clearly. */
static bool is_lost(int code)
{
    switch (code & 0xff) {
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
        return true;
    default:
        return false;
    }
}

/* The deadline has come, or the call was interrupted: the same to it. */
static int out_of_time(void *connection)
{
    const struct connection *c = connection;
    /* relaxed: only the number counts, and soon */
    return se__deadline_left(c->deadline_ms) == 0 ||
           atomic_load_explicit(&c->driver->interrupts, memory_order_relaxed) != c->interrupts;
}

/* Everything that is neither the row's fault nor a conflict is UNWELL: BUSY (another process
 * writes), FULL, IOERR, READONLY, CORRUPT, NOMEM, INTERRUPT (the deadline), and ERROR: a missing
 * table or column. */
static struct db_result failure(struct connection *c, int code)
{
    struct db_result r = {.reply = {.code = code}, .lost = is_lost(code)};
    int primary = code & 0xff;
    /* A file that could not be opened for writing was opened for reading, silently: that may pass
     * (a file system that was read-only for a while), but not on this connection. */
    if (primary == SQLITE_READONLY && !c->driver->read_only)
        r.lost = true;
    bool late = out_of_time(c);
    r.reply.timed_out = late && (primary == SQLITE_BUSY || primary == SQLITE_INTERRUPT);
    r.reply.fault = primary == SQLITE_LOCKED ? TIER_CONFLICT
                    : is_refusal(code)       ? TIER_REFUSED
                                             : TIER_UNWELL;
    se__error(r.reply.timed_out ? SE_ERR_TIMEOUT : SE_ERR_BACKEND, "sqlite %s: %s (error %d)",
              c->driver->path, sqlite3_errmsg(c->db), code);
    return r;
}

static bool no_right(int code)
{
    return (code & 0xff) == SQLITE_READONLY;
}

/* No such column, or a view that does not compile. */
static bool misfit(int code)
{
    return (code & 0xff) == SQLITE_ERROR;
}

/* ---- statements ---- */

static int bind_one(sqlite3_stmt *stmt, int at, const struct db_value *v)
{
    /* a NULL pointer would bind NULL where an empty string is meant */
    const void *bytes = v->len ? v->bytes : "";
    switch (v->type) {
    case DB_INT:
        return sqlite3_bind_int64(stmt, at, v->number);
    case DB_TEXT:
        return sqlite3_bind_text64(stmt, at, bytes, v->len, SQLITE_STATIC, SQLITE_UTF8);
    case DB_BLOB:
        return sqlite3_bind_blob64(stmt, at, bytes, v->len, SQLITE_STATIC);
    case DB_NULL:
        break;
    }
    return sqlite3_bind_null(stmt, at);
}

/* A connection is used by one thread at a time and has no mutex, so its values need none either:
 * asked for once a column, they cost a third of sqlite3_column_*, which looks for the column and an
 * error each time. */
static struct db_value column_of(sqlite3_stmt *stmt, int i)
{
    struct db_value v = {.type = DB_NULL};
    sqlite3_value *value = sqlite3_column_value(stmt, i);
    switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER:
        return se__db_int(sqlite3_value_int64(value));
    case SQLITE_TEXT:
        v.type = DB_TEXT;
        v.bytes = sqlite3_value_text(value);
        break;
    case SQLITE_BLOB:
    case SQLITE_FLOAT: /* as text: no column of ours is one */
        v.type = DB_BLOB;
        v.bytes = sqlite3_value_blob(value);
        break;
    default:
        return v;
    }
    v.len = (size_t)sqlite3_value_bytes(value);
    return v;
}

/* In place of the number of an id in the list: the id, with that number. */
static bool set_asked(const struct asked *asked, struct db_value *column)
{
    int64_t at = column->number;
    if (column->type != DB_INT || at < 0 || at >= asked->n)
        return false;
    *column = asked->ids[at];
    column->number = at;
    return true;
}

/* Steps to the end or until `row` has seen enough. asked: of SQL_READ_ASKED, else NULL. */
static int step_all(sqlite3_stmt *stmt, const struct asked *asked, db_row_fn row, void *arg)
{
    struct db_value columns[ROW_COLUMNS];
    int n = sqlite3_column_count(stmt), code;
    n = n < ROW_COLUMNS ? n : ROW_COLUMNS;
    while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
        for (int i = 0; i < n; i++)
            columns[i] = column_of(stmt, i);
        if (asked && !set_asked(asked, columns))
            continue;
        if (row && !row(arg, columns, (unsigned)n))
            return SQLITE_DONE;
    }
    return code;
}

static struct db_result run(void *connection, enum sql_statement which,
                            const struct db_value *params, unsigned n, db_row_fn row, void *arg)
{
    struct connection *c = connection;
    sqlite3_stmt *stmt = c->prepared[which];
    int code = SQLITE_OK;
    if (!stmt)
        code = sqlite3_prepare_v3(c->db, c->driver->sql.text[which], -1, SQLITE_PREPARE_PERSISTENT,
                                  &c->prepared[which], NULL);
    stmt = c->prepared[which];
    for (unsigned i = 0; i < n && code == SQLITE_OK; i++)
        code = bind_one(stmt, (int)i + 1, &params[i]);
    if (code == SQLITE_OK)
        code = step_all(stmt, which == SQL_READ_ASKED ? &c->asked : NULL, row, arg);
    struct db_result r = se__db_fine();
    if (code == SQLITE_DONE)
        r.changed = (uint64_t)sqlite3_changes(c->db);
    else
        r = failure(c, code);
    if (stmt) {
        sqlite3_reset(stmt);
        sqlite3_clear_bindings(stmt);
    }
    return r;
}

static struct db_result read_asked(void *connection, const struct db_value *ids, unsigned n,
                                   db_row_fn row, void *arg)
{
    struct connection *c = connection;
    c->asked = (struct asked){ids, n};
    struct db_result r = run(c, SQL_READ_ASKED, NULL, 0, row, arg);
    c->asked = (struct asked){NULL, 0};
    return r;
}

static struct db_result exec(void *connection, const char *sql, db_row_fn row, void *arg)
{
    struct connection *c = connection;
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(c->db, sql, -1, &stmt, NULL);
    if (code == SQLITE_OK)
        code = step_all(stmt, NULL, row, arg);
    struct db_result r = code == SQLITE_DONE ? se__db_fine() : failure(c, code);
    sqlite3_finalize(stmt);
    return r;
}

static struct db_result roll_back(void *connection)
{
    struct connection *c = connection;
    if (sqlite3_get_autocommit(c->db))
        return se__db_fine(); /* the error has done it already */
    return exec(c, "ROLLBACK", NULL, NULL);
}

/* ---- deadlines ---- */

/* Another process holds the lock: 1, ask again. Waits as sqlite3_busy_timeout does, but for the
 * interrupts. */
static int wait_for_lock(void *connection, int before)
{
    static const uint8_t pause_ms[] = {1, 2, 5, 10, 15, 20, 25};
    const struct connection *c = connection;
    if (out_of_time(connection))
        return 0;
    size_t last = sizeof pause_ms - 1;
    uint64_t pause = pause_ms[(size_t)before < last ? (size_t)before : last];
    uint64_t left = se__deadline_left(c->deadline_ms);
    sqlite3_sleep((int)(left < pause ? left : pause));
    return 1;
}

static void arm(void *connection, uint64_t deadline_ms)
{
    struct connection *c = connection;
    c->deadline_ms = deadline_ms;
    /* acquire: who sees this count also sees store.c's, which was raised first; pairs with the
     * release in interrupt() */
    c->interrupts = atomic_load_explicit(&c->driver->interrupts, memory_order_acquire);
}

static bool disarm(void *connection)
{
    arm(connection, SE__FOREVER);
    return false; /* what ran into it has said so; the connection stays good */
}

static void interrupt(void *driver)
{
    struct driver *d = driver;
    atomic_fetch_add_explicit(&d->interrupts, 1, memory_order_release);
}

/* ---- se_xor(number): what MySQL calls BIT_XOR ---- */

static void xor_step(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    sqlite3_int64 *sum = sqlite3_aggregate_context(context, sizeof *sum); /* zeroed at first */
    if (!sum)
        sqlite3_result_error_nomem(context);
    else if (sqlite3_value_type(values[0]) == SQLITE_INTEGER)
        *sum ^= sqlite3_value_int64(values[0]);
}

static void xor_final(sqlite3_context *context)
{
    const sqlite3_int64 *sum = sqlite3_aggregate_context(context, 0); /* NULL: no rows */
    sqlite3_result_int64(context, sum ? *sum : 0);
}

static int add_functions(struct connection *c)
{
    int code = sqlite3_create_function_v2(c->db, "se_xor", 1,
                                          SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS,
                                          NULL, NULL, xor_step, xor_final, NULL);
    return code == SQLITE_OK ? se__sqlite_add_asked(c->db, &c->asked) : code;
}

/* ---- connections ---- */

static void disconnect(void *driver, void *connection)
{
    struct connection *c = connection;
    (void)driver;
    if (!c)
        return;
    for (unsigned i = 0; i < SQL_STATEMENTS; i++)
        sqlite3_finalize(c->prepared[i]);
    sqlite3_close(c->db);
    se__free(c);
}

static int pragmas(struct connection *c, bool writer)
{
    static const char common[] =
        "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA cache_size=-16384;";
    static const char reading[] = "PRAGMA query_only=ON; PRAGMA wal_autocheckpoint=0;";
    static const char writing[] =
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=OFF;"
        "PRAGMA journal_size_limit=67108864;";
    int code = sqlite3_exec(c->db, common, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(c->db, writer ? writing : reading, NULL, NULL, NULL);
    if (code == SQLITE_OK && !writer)
        code = sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return code;
}

static se_result connect_file(void *driver, bool writer, uint64_t deadline_ms, void **connection,
                              int *code)
{
    struct driver *d = driver;
    struct connection *c = se__alloc_zeroed(1, sizeof *c);
    if (!c)
        return se__error_nomem();
    c->driver = d;
    writer = writer && !d->read_only;
    /* a reader never creates the file: an empty one would hide that the writer has not come yet */
    int flags = d->read_only ? SQLITE_OPEN_READONLY
                             : SQLITE_OPEN_READWRITE | (writer ? SQLITE_OPEN_CREATE : 0);
    *code =
        se__sqlite_connect(d->path, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, &c->db);
    if (*code == SQLITE_OK) {
        arm(c, deadline_ms);
        sqlite3_progress_handler(c->db, PROGRESS_STEPS, out_of_time, c);
        sqlite3_busy_handler(c->db, wait_for_lock, c);
        *code = add_functions(c);
        if (*code == SQLITE_OK)
            *code = pragmas(c, writer);
    }
    if (*code == SQLITE_OK) {
        disarm(c);
        *connection = c;
        return SE_OK;
    }
    se_result r = se__error(SE_ERR_BACKEND, "sqlite %s: %s (error %d)", d->path,
                            c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(*code), *code);
    disconnect(d, c);
    return r;
}

/* ---- the rest of db_ops ---- */

static int64_t now_ms(void *connection)
{
    (void)connection;
    return se__wall_ms();
}

static size_t content_max(void *connection)
{
    struct connection *c = connection;
    int limit = sqlite3_limit(c->db, SQLITE_LIMIT_LENGTH, -1);
    return limit > 4096 ? (size_t)limit - 4096 : 0; /* of a whole row */
}

static bool take_id_column(void *arg, const struct db_value *columns, unsigned n)
{
    *(bool *)arg = n == 2 && columns[0].type == DB_TEXT && columns[0].len == 4 &&
                   memcmp(columns[0].bytes, "TEXT", 4) == 0 && columns[1].type == DB_INT &&
                   columns[1].number == 1;
    return false;
}

static struct db_result check_fit(void *connection, const char *table, const char **wrong)
{
    bool fits = false;
    char sql[160];
    snprintf(sql, sizeof sql, "SELECT type, pk FROM pragma_table_info('%s') WHERE name = 'id'",
             table);
    struct db_result r = exec(connection, sql, take_id_column, &fits);
    *wrong = fits ? NULL : "id is not a TEXT primary key";
    return r;
}

static void close_driver(void *driver)
{
    struct driver *d = driver;
    if (!d)
        return;
    se__sqltext_done(&d->sql);
    se__free(d->path);
    se__free(d);
}

static const struct db_ops ops = {
    .name = "sqlite",
    .dialect = SQL_SQLITE,
    .connect = connect_file,
    .disconnect = disconnect,
    .arm = arm,
    .disarm = disarm,
    .interrupt = interrupt,
    .run = run,
    .read_asked = read_asked,
    .exec = exec,
    .rollback = roll_back,
    .now_ms = now_ms,
    .content_max = content_max,
    .no_right = no_right,
    .misfit = misfit,
    .check_fit = check_fit,
    .close = close_driver,
};

se_result se__sqlite_open(const struct l3_options *options, struct tier *tier)
{
    se_result r = se__store_check_table(options);
    if (r != SE_OK)
        return r;
    if (options->url->scheme != URL_SQLITE || !options->url->path)
        return se__error(SE_ERR_CONFIG, "sql_url is not a sqlite: address");
    struct driver *d = se__alloc_zeroed(1, sizeof *d);
    if (!d)
        return se__error_nomem();
    d->read_only = options->read_only;
    d->path = se__strdup(options->url->path);
    r = d->path
            ? se__sqltext_init(SQL_SQLITE, options->table, options->tombstone_retention_s, &d->sql)
            : se__error_nomem();
    if (r == SE_OK)
        return se__store_open(options, &ops, d, tier);
    close_driver(d);
    return r;
}
