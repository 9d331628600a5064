/*
 * store - the SQL tier itself: its life, the frame of every call.
 *
 * Reads and writes have pools of their own, so that a read never waits for a flush. The writers'
 * pool has one connection a worker and one more for meta, purge and prepare; with SQLite, which has
 * one writer at a time, it has one for all.
 */
#include "l3/store.h"

#include "base/mem.h"
#include "l3/schema.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define SHARED_IDS_MAX 100u /* of several callers in one statement */

/* ---- the frame of a call ---- */

/* No connection: the pool's words are in the thread's text. */
static struct tier_reply no_connection(struct store *s, se_result r)
{
    int code = atomic_load_explicit(&s->connect_code, memory_order_relaxed);
    return (struct tier_reply){.fault = TIER_UNWELL,
                               .code = r == SE_ERR_BACKEND ? code : 0,
                               .timed_out = r == SE_ERR_TIMEOUT};
}

static unsigned interrupts(struct store *s)
{
    /* acquire: after arming, an interrupt is either seen here or has yet to end what is armed.
     * Pairs with the release in interrupt(), and with the driver's lock or count behind it. */
    return atomic_load_explicit(&s->interrupts, memory_order_acquire);
}

static struct db_result interrupted(const struct store *s)
{
    struct db_result r = se__db_fault(TIER_UNWELL, 0);
    r.reply.timed_out = true;
    se__error(SE_ERR_TIMEOUT, "%s: the call was interrupted", s->where);
    return r;
}

static struct db_result run_armed(struct store *s, void *connection, bool writes,
                                  uint64_t deadline_ms, unsigned began, store_body body, void *arg)
{
    struct se__filelimit limit = {.held = false};
    if (writes) /* SQLite's, in a thread of the host program maybe */
        se__filelimit_hold(&limit);
    s->db->arm(connection, deadline_ms);
    struct db_result r = interrupts(s) == began ? body(s, connection, arg) : interrupted(s);
    bool struck = s->db->disarm(connection);
    se__filelimit_release(&limit);
    if (struck) {
        r.lost = true; /* its socket is shut down: never to be used again, even if
                          the body was just done */
        r.reply.timed_out = se__db_failed(&r);
    }
    if (struck && se__db_failed(&r)) {
        r.reply.fault = TIER_UNWELL;
        se__error(SE_ERR_TIMEOUT, "%s: no answer in time", s->where);
    }
    return r;
}

struct tier_reply se__store_call(struct store *s, struct pool *pool, uint64_t deadline_ms,
                                 store_body body, void *arg)
{
    unsigned began = interrupts(s);
    uint64_t began_ms = se__mono_ms();
    for (int attempt = 0;; attempt++) {
        void *connection;
        se_result taken = se__pool_take(pool, deadline_ms, &connection);
        if (taken != SE_OK)
            return interrupts(s) == began ? no_connection(s, taken) : interrupted(s).reply;
        struct db_result r =
            run_armed(s, connection, pool == s->writers, deadline_ms, began, body, arg);
        /* A session keeps the rights on its database that it began with: one that began while a
         * right was missing would never see it granted. */
        r.lost = r.lost || (se__db_failed(&r) && s->db->no_right(r.reply.code));
        se__pool_give(pool, connection, r.lost);
        bool again = se__db_failed(&r) && r.lost && !r.final && !r.reply.timed_out;
        /* A restarted server has closed them all. One that has vanished without a word has not, and each would cost somebody a
         * timeout when it is long back; who had little time left knows nothing of that. */
        if (again || (r.lost && r.reply.timed_out && se__mono_ms() - began_ms >= s->timeout_ms / 2))
            se__pool_drop_idle(pool);
        if (!again || attempt > 0)
            return r.reply;
    }
}

struct db_result se__store_run(struct store *s, void *connection, enum sql_statement which,
                               const struct db_value *params, unsigned n, db_row_fn row, void *arg)
{
    return s->db->run(connection, which, params, n, row, arg);
}

/* Undoes the transaction and keeps the error that ended it. */
static void undo(struct store *s, void *connection, struct db_result *r)
{
    char text[1024];
    snprintf(text, sizeof text, "%s", se_errmsg());
    struct db_result undone = s->db->rollback(connection);
    se__error(SE_ERR_BACKEND, "%s", text);
    if (!se__db_failed(&undone))
        return;
    r->lost = true; /* closing it rolls back too */
    r->final = true;
}

struct db_result se__store_transaction(struct store *s, void *connection, store_body body,
                                       void *arg)
{
    const char *begin = s->db->dialect == SQL_MYSQL ? "START TRANSACTION" : "BEGIN IMMEDIATE";
    struct db_result r = s->db->exec(connection, begin, NULL, NULL);
    if (se__db_failed(&r))
        return r;
    r = body(s, connection, arg);
    if (!se__db_failed(&r)) {
        r = s->db->exec(connection, "COMMIT", NULL, NULL);
        r.final = r.lost;
    }
    if (se__db_failed(&r) && !r.lost)
        undo(s, connection, &r);
    return r;
}

void se__store_corrupt(struct store *s, const void *id, size_t id_len)
{
    if (se__log_gate_open(&s->corrupt_gate, se__mono_ms(), 10000))
        se__log(s->log, SE_LOG_WARN, "sql.corrupt_row",
                (const struct se__field[]){se__text("table", s->table), {0}},
                "%s: the row of \"%.*s\" in %s does not fit its hashes or does not decode",
                s->where, (int)(id_len > 64 ? 64 : id_len), id ? (const char *)id : "", s->table);
}

/* ---- probe and prepare ---- */

static struct db_result probe_body(struct store *s, void *connection, void *arg)
{
    (void)arg;
    return s->db->exec(connection, "SELECT 1", NULL, NULL);
}

static struct tier_reply probe(void *tier, uint64_t deadline_ms)
{
    struct store *s = tier;
    return se__store_call(s, s->readers, deadline_ms, probe_body, NULL);
}

static se_result prepare(void *tier, uint64_t deadline_ms)
{
    struct store *s = tier;
    struct schema_check check = {SE_OK};
    struct tier_reply reply =
        se__store_call(s, s->writers, deadline_ms, se__schema_prepare, &check);
    if (reply.fault == TIER_FINE)
        return check.verdict;
    return reply.timed_out ? SE_ERR_TIMEOUT : SE_ERR_BACKEND;
}

/* ---- life ---- */

static se_result open_with(struct store *s, bool writer, uint64_t deadline_ms, void **connection)
{
    int code = 0;
    se_result r = s->db->connect(s->driver, writer, deadline_ms, connection, &code);
    /* relaxed: a number for messages, and one that only changes with the server's settings */
    atomic_store_explicit(&s->connect_code, code, memory_order_relaxed);
    if (r == SE_OK)
        atomic_store_explicit(&s->content_max, s->db->content_max(*connection),
                              memory_order_relaxed);
    return r;
}

static se_result open_reader(void *arg, uint64_t deadline_ms, void **connection)
{
    return open_with(arg, false, deadline_ms, connection);
}

static se_result open_writer(void *arg, uint64_t deadline_ms, void **connection)
{
    return open_with(arg, true, deadline_ms, connection);
}

static void close_connection(void *arg, void *connection)
{
    struct store *s = arg;
    s->db->disconnect(s->driver, connection);
}

static bool is_broken(void *arg, void *connection)
{
    struct store *s = arg;
    return s->db->broken(connection);
}

static void close_store(void *tier)
{
    struct store *s = tier;
    struct se__filelimit limit;
    se__filelimit_hold(&limit); /* SQLite's last connection checkpoints */
    se__pool_close(s->readers);
    se__pool_close(s->writers);
    se__combine_close(s->sharing);
    se__filelimit_release(&limit);
    if (s->driver)
        s->db->close(s->driver);
    se__packing_close(s->packing);
    se__free(s);
}

static size_t payload_max(void *tier)
{
    struct store *s = tier;
    return atomic_load_explicit(&s->content_max, memory_order_relaxed);
}

/* Counted first: a call that takes its connection from now on sees the count, one that has it is
 * ended. */
static void interrupt(void *tier)
{
    struct store *s = tier;
    /* release: pairs with the acquire in interrupts() */
    atomic_fetch_add_explicit(&s->interrupts, 1, memory_order_release);
    se__combine_interrupt(s->sharing);
    s->db->interrupt(s->driver);
}

static unsigned writers_max(void *tier)
{
    struct store *s = tier;
    return s->writers_max;
}

static const struct tier_ops calls = {
    .prepare = prepare,
    .probe = probe,
    .write = se__store_write,
    .read = se__store_read,
    .scan = se__store_scan,
    .count = se__store_count,
    .meta_get = se__store_meta_get,
    .meta_put = se__store_meta_put,
    .meta_add = se__store_meta_add,
    .meta_delete = se__store_meta_delete,
    .meta_list = se__store_meta_list,
    .purge = se__store_purge,
    .survey = se__store_survey,
    .digest = se__store_digest,
    .mend = se__store_mend,
    .interrupt = interrupt,
    .payload_max = payload_max,
    .writers_max = writers_max,
    .close = close_store,
};

static se_result open_pools(struct store *s, const struct l3_options *options, unsigned writers)
{
    struct pool_options pool = {.name = "se-sql-read",
                                .arg = s,
                                .open = open_reader,
                                .close = close_connection,
                                .broken = s->db->broken ? is_broken : NULL,
                                .size = options->read_connections ? options->read_connections : 1,
                                .connect_ms = options->timeout_ms};
    se_result r = se__pool_open(&pool, &s->readers);
    if (r != SE_OK)
        return r;
    struct combiner_options sharing = {.name = s->where,
                                       .slots = pool.size,
                                       .ids_max = SHARED_IDS_MAX,
                                       .arg = s,
                                       .read = se__store_read_now};
    r = se__combine_open(&sharing, &s->sharing);
    if (r != SE_OK)
        return r;
    pool.name = "se-sql-write";
    pool.open = open_writer;
    pool.size = writers;
    return se__pool_open(&pool, &s->writers);
}

se_result se__store_check_table(const struct l3_options *options)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    size_t len = options->table ? strlen(options->table) : 0;
    if (len >= 1 && len <= 48 && strspn(options->table, allowed) == len)
        return SE_OK;
    return se__error(SE_ERR_CONFIG, "sql_table must be 1 to 48 of A-Z, a-z, 0-9 and _");
}

static se_result open_store(struct store *s, const struct l3_options *options,
                            const struct db_ops *db, void *driver)
{
    bool one_writer = db->dialect == SQL_SQLITE;
    s->db = db;
    s->driver = driver;
    s->calls = calls;
    s->calls.name = db->name;
    s->timeout_ms = options->timeout_ms;
    s->retention_ms = (int64_t)options->tombstone_retention_s * 1000;
    s->read_only = options->read_only;
    s->writers_max = one_writer ? 1 : UINT_MAX;
    s->log = options->log;
    s->compression = options->compression;
    snprintf(s->table, sizeof s->table, "%s", options->table);
    se__url_describe(options->url, s->where, sizeof s->where);
    se_result r = se__packing_open(options->compression, options->payload_max, &s->packing);
    return r == SE_OK ? open_pools(s, options, one_writer ? 1 : options->workers + 1) : r;
}

se_result se__store_open(const struct l3_options *options, const struct db_ops *db, void *driver,
                         struct tier *tier)
{
    struct store *s = se__alloc_zeroed(1, sizeof *s);
    if (!s) {
        db->close(driver);
        return se__error_nomem();
    }
    se_result r = open_store(s, options, db, driver);
    if (r != SE_OK) {
        close_store(s);
        return r;
    }
    *tier = (struct tier){.ops = &s->calls, .self = s};
    return SE_OK;
}
