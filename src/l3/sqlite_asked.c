/*
 * sqlite_asked - see sqlite_asked.h.
 *
 * A virtual table without anything to create (https://sqlite.org/vtab.html, "eponymous-only"):
 * its one instance lives with the connection. Its cursor is a number.
 */
#include "l3/sqlite_asked.h"

struct shown {
    sqlite3_vtab base; /* first: SQLite knows no more of it */
    const struct asked *asked;
};

struct cursor {
    sqlite3_vtab_cursor base; /* first */
    unsigned at;
};

static int connect_asked(sqlite3 *db, void *asked, int argc, const char *const *argv,
                         sqlite3_vtab **table, char **error)
{
    (void)argc, (void)argv, (void)error;
    int code = sqlite3_declare_vtab(db, "CREATE TABLE x(id TEXT)");
    if (code != SQLITE_OK)
        return code;
    struct shown *s = sqlite3_malloc(sizeof *s);
    if (!s)
        return SQLITE_NOMEM;
    *s = (struct shown){.asked = asked};
    *table = &s->base;
    return SQLITE_OK;
}

static int disconnect_asked(sqlite3_vtab *table)
{
    sqlite3_free(table);
    return SQLITE_OK;
}

/* There is one way: from the first to the last. */
static int choose(sqlite3_vtab *table, sqlite3_index_info *plan)
{
    (void)table;
    plan->estimatedCost = 1;
    plan->estimatedRows = 100;
    return SQLITE_OK;
}

static int open_cursor(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor)
{
    (void)table;
    struct cursor *c = sqlite3_malloc(sizeof *c);
    if (!c)
        return SQLITE_NOMEM;
    *c = (struct cursor){.at = 0};
    *cursor = &c->base;
    return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *cursor)
{
    sqlite3_free(cursor);
    return SQLITE_OK;
}

static int rewind_cursor(sqlite3_vtab_cursor *cursor, int number, const char *text, int argc,
                         sqlite3_value **argv)
{
    (void)number, (void)text, (void)argc, (void)argv;
    ((struct cursor *)cursor)->at = 0;
    return SQLITE_OK;
}

static int next(sqlite3_vtab_cursor *cursor)
{
    ((struct cursor *)cursor)->at++;
    return SQLITE_OK;
}

static int at_end(sqlite3_vtab_cursor *cursor)
{
    const struct shown *s = (const struct shown *)cursor->pVtab;
    return ((const struct cursor *)cursor)->at >= s->asked->n;
}

static int give_id(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column)
{
    const struct shown *s = (const struct shown *)cursor->pVtab;
    const struct db_value *id = &s->asked->ids[((const struct cursor *)cursor)->at];
    (void)column;
    sqlite3_result_text64(context, id->bytes, id->len, SQLITE_STATIC, SQLITE_UTF8);
    return SQLITE_OK;
}

static int give_number(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid)
{
    *rowid = ((const struct cursor *)cursor)->at;
    return SQLITE_OK;
}

int se__sqlite_add_asked(sqlite3 *db, const struct asked *asked)
{
    /* Without xCreate nobody can make another such table, in the file or elsewhere. */
    static const sqlite3_module module = {.xConnect = connect_asked,
                                          .xBestIndex = choose,
                                          .xDisconnect = disconnect_asked,
                                          .xOpen = open_cursor,
                                          .xClose = close_cursor,
                                          .xFilter = rewind_cursor,
                                          .xNext = next,
                                          .xEof = at_end,
                                          .xColumn = give_id,
                                          .xRowid = give_number};
    return sqlite3_create_module(db, "se_asked", &module, (void *)(uintptr_t)asked);
}
