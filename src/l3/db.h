/*
 * db - what the two SQL drivers have in common: connections that run one fixed set of statements.
 *
 * Place in the flow:  tier.h -> store (this room's logic, written once) -> [db] -> libmariadb or
 * sqlite3
 *
 * A connection belongs to one caller at a time. Each call into the tier arms it with a deadline
 * first and disarms it last; in between everything it does ends by that deadline.
 *
 * Errors: every function that can fail sets this thread's error text, in the server's own words.
 * Threads: caller-serialised per connection.  Memory: values handed to a row function are lent for
 * that call.
 */
#ifndef SE_L3_DB_H
#define SE_L3_DB_H

#include "base/log.h"
#include "l3/row.h"
#include "l3/sqltext.h"

struct db_result {
    struct tier_reply reply;
    bool lost;        /* the connection must not be used again */
    bool final;       /* lost at COMMIT: applied or not, nobody knows; not to be repeated here */
    uint64_t changed; /* rows inserted or changed; 0: the row was there and stayed as it was */
};

static inline struct db_result se__db_fine(void)
{
    return (struct db_result){.reply.fault = TIER_FINE};
}
static inline bool se__db_failed(const struct db_result *r)
{
    return r->reply.fault != TIER_FINE;
}
/* Our own refusal, in the form of the backend's: sets nothing else. */
static inline struct db_result se__db_fault(enum tier_fault fault, int code)
{
    return (struct db_result){.reply = {.fault = fault, .code = code}};
}

/* One row of a result. Return false to see no more of them. */
typedef bool (*db_row_fn)(void *arg, const struct db_value *columns, unsigned n);

struct db_ops {
    const char *name;
    enum sql_dialect dialect;

    /* Both on a pool's thread. `writer`: the connection will write. *code: the server's
     * error number, if it gave one. */
    se_result (*connect)(void *driver, bool writer, uint64_t deadline_ms, void **connection,
                         int *code);
    void (*disconnect)(void *driver, void *connection);
    bool (*broken)(void *connection); /* an idle one that must not be used again; NULL: none ever */

    void (*arm)(void *connection, uint64_t deadline_ms);
    bool (*disarm)(void *connection); /* true: the deadline struck in between */
    /* Every armed connection's deadline has come; those that are armed later are not touched. */
    void (*interrupt)(void *driver);

    /* Runs one statement of the fixed set. */
    struct db_result (*run)(void *connection, enum sql_statement which,
                            const struct db_value *params, unsigned n, db_row_fn row, void *arg);
    /* The rows of a list of ids, in any order: instead of its id a row has the one that was asked for,
     * and in its `number` which one of the list that is. NULL: lists are IN statements for run(). */
    struct db_result (*read_asked)(void *connection, const struct db_value *ids, unsigned n,
                                   db_row_fn row, void *arg);
    /* Runs any text: schema, transactions. row may be NULL. */
    struct db_result (*exec)(void *connection, const char *sql, db_row_fn row, void *arg);
    /* Undoes the open transaction, if there still is one. */
    struct db_result (*rollback)(void *connection);

    /* Guarded upsert of many rows inside the open transaction, in as few round trips as the server
     * allows. *lost tells whether any row may have lost against a newer one. NULL: row by row
     * through run(). */
    struct db_result (*upsert_many)(void *connection, const struct sql_row *rows, size_t n,
                                    bool *lost);
    /* True if that takes one statement only, which then is a transaction of its own: BEGIN and
     * COMMIT would be two round trips for nothing. With upsert_many. */
    bool (*one_statement)(const void *connection, const struct sql_row *rows, size_t n);

    int64_t (*now_ms)(void *connection);     /* the server's wall clock, as good as it is
                                                known here */
    size_t (*content_max)(void *connection); /* longest content one row may have */
    bool (*no_right)(int code);              /* that error code is a missing privilege */
    bool (*misfit)(int code); /* it says that an existing table is not ours, and will say so again;
                                 anything else may pass: no memory, a node that is not ready */
    /* *wrong: what only this driver can see is wrong with the table, or NULL. */
    struct db_result (*check_fit)(void *connection, const char *table, const char **wrong);
    void (*close)(void *driver);
};

#endif
