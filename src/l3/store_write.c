/*
 * store_write - a batch of guarded writes, with the exact outcome of each.
 *
 * A batch is one transaction. What a row's outcome is:
 *   STORED  the table holds exactly this (version, record hash): just written, or an idempotent
 *           repeat
 *   NEWER   it holds a greater one, or the id was purged at a version that is at least this one
 * The upsert reports whether any row of the batch may have lost; only then the versions of the
 * batch are read back, inside the transaction, where no one can change them. A batch that is one
 * statement is its own transaction, without BEGIN and COMMIT: all of it or nothing. What is read
 * back then may have been replaced since, but only by something newer, and that is what it says.
 *
 * The purge floor. Purging removes a tombstone, and with it the knowledge that older writes of its
 * id are void. So purge first stores the highest purged version, the floor, and a write at or below
 * the floor may replace a row but not create one. Asking for the floor in every batch would
 * serialise writers against purges for nothing: a row is purged only once its version is older than
 * the retention (by the server's clock; the statement insists on it), so the floor is always older
 * than that, and a write that is younger than half the retention cannot be at or below it. Half:
 * the other half is room for this process's notion of the server's clock, for the transaction's own
 * duration (added exactly) and for the server's clock being set. Older writes (WAL drains after a
 * long outage) read the floor under a shared lock in their transaction; purge holds it alone.
 * SQLite has one writer at a time and reads the floor always: it costs one lookup.
 */
#include "l3/store.h"

#include "base/hlc.h"
#include "base/mem.h"

#include <string.h>

struct write_call {
    struct tier_write *writes;
    struct sql_row *rows; /* sorted by id, as the writes are */
    size_t n;
    uint64_t deadline_ms;
    bool in_transaction;
    unsigned touch_misses, touch_skips; /* see upsert_next */
};

static struct db_result nomem(void)
{
    se__error_nomem();
    return se__db_fault(TIER_UNWELL, 0);
}

/* ---- what is stored now ---- */

struct version_sink {
    struct write_call *call;
    size_t from, n; /* the writes asked for */
};

static void settle(struct tier_write *w, const struct sql_row *row, uint64_t version,
                   const uint8_t *record_hash)
{
    int order = version != row->version ? (version > row->version ? 1 : -1)
                                        : memcmp(record_hash, row->record_hash, SE_HASH_SIZE);
    if (order < 0)
        return; /* stays NOT_TRIED: see settled */
    w->state = order == 0 ? TIER_STORED : TIER_NEWER;
    w->newer = order == 0 ? 0 : version;
}

static bool take_version(void *arg, const struct db_value *c, unsigned n)
{
    struct version_sink *sink = arg;
    bool fits = n == 3 && (c[0].type == DB_TEXT || c[0].type == DB_BLOB) && c[1].type == DB_INT &&
                c[1].number >= 0 && (c[2].type == DB_TEXT || c[2].type == DB_BLOB) &&
                c[2].len == SE_HASH_SIZE;
    size_t low = sink->from, high = sink->from + sink->n;
    while (fits && low < high) {
        size_t middle = low + (high - low) / 2;
        const struct db_value *id = &sink->call->rows[middle].value[COL_ID];
        int order = se__row_compare(id->bytes, id->len, c[0].bytes, c[0].len);
        if (order == 0) {
            settle(&sink->call->writes[middle], &sink->call->rows[middle], (uint64_t)c[1].number,
                   c[2].bytes);
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return true;
}

static struct db_result read_versions(struct store *s, void *connection, struct write_call *call,
                                      size_t from, size_t n)
{
    unsigned k = se__sql_list_for(n), list = SE__SQL_LIST[k];
    struct version_sink sink = {call, from, n};
    struct db_value one, *params = list == 1 ? &one : se__alloc_zeroed(list, sizeof *params);
    if (!params)
        return nomem();
    for (unsigned i = 0; i < list; i++)
        params[i] = call->rows[from + (i < n ? i : n - 1)].value[COL_ID];
    struct db_result r = se__store_run(s, connection, (enum sql_statement)(SQL_VERSIONS + k),
                                       params, list, take_version, &sink);
    if (params != &one)
        se__free(params);
    return r;
}

/* Every write that was to be stored has an outcome now, or the database did not do as it was told:
 * a trigger that undid it, say. Outside a transaction the row may simply have been removed in
 * between. */
static struct db_result settled(struct store *s, const struct write_call *call, size_t from,
                                size_t n)
{
    for (size_t i = from; i < from + n; i++)
        if (call->writes[i].state == TIER_NOT_TRIED) {
            se__error(SE_ERR_BACKEND, "%s: the database accepted \"%.64s\" and does not hold it",
                      s->where, se_item_id(call->writes[i].item));
            return se__db_fault(call->in_transaction ? TIER_REFUSED : TIER_CONFLICT, 0);
        }
    return se__db_fine();
}

static struct db_result find_losers(struct store *s, void *connection, struct write_call *call,
                                    size_t from, size_t n)
{
    struct db_result r = se__db_fine();
    for (size_t i = from; i < from + n; i++)
        call->writes[i].state = TIER_NOT_TRIED;
    for (size_t i = 0; i < n && !se__db_failed(&r); i += SQL_LIST_MAX) {
        size_t left = n - i;
        r = read_versions(s, connection, call, from + i, left < SQL_LIST_MAX ? left : SQL_LIST_MAX);
    }
    return se__db_failed(&r) ? r : settled(s, call, from, n);
}

/* ---- writing ---- */

static void mark_stored(struct write_call *call, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++) {
        call->writes[i].state = TIER_STORED;
        call->writes[i].newer = 0;
    }
}

static struct db_result upsert_one(struct store *s, void *connection, struct write_call *call,
                                   size_t i)
{
    mark_stored(call, i, 1);
    struct db_result r =
        se__store_run(s, connection, SQL_UPSERT, call->rows[i].value, ROW_PARAMS, NULL, NULL);
    if (se__db_failed(&r) || r.changed > 0)
        return r;
    return find_losers(s, connection, call, i, 1);
}

/* One of many, row by row (SQLite): tries the cheap statement for rows that are there first. Rows
 * mostly come in runs of new or of known ones, so every miss in a row doubles how many rows go
 * without trying. */
static struct db_result upsert_next(struct store *s, void *connection, struct write_call *call,
                                    size_t i)
{
    if (call->touch_skips > 0) {
        call->touch_skips--;
        return upsert_one(s, connection, call, i);
    }
    mark_stored(call, i, 1);
    struct db_result r =
        se__store_run(s, connection, SQL_TOUCH, call->rows[i].value, ROW_PARAMS, NULL, NULL);
    if (se__db_failed(&r) || r.changed > 0) {
        call->touch_misses = 0;
        return r;
    }
    call->touch_misses += call->touch_misses < 5;
    call->touch_skips = (1u << call->touch_misses) - 1;
    return upsert_one(s, connection, call, i);
}

static struct db_result upsert_run(struct store *s, void *connection, struct write_call *call,
                                   size_t from, size_t n)
{
    bool lost = false;
    struct db_result r = se__db_fine();
    if (!s->db->upsert_many) {
        for (size_t i = from; i < from + n && !se__db_failed(&r); i++)
            r = upsert_next(s, connection, call, i);
        return r;
    }
    mark_stored(call, from, n);
    r = s->db->upsert_many(connection, call->rows + from, n, &lost);
    if (se__db_failed(&r) || !lost)
        return r;
    return find_losers(s, connection, call, from, n);
}

/* At or below the floor: replaces an existing older row, creates none. */
static struct db_result update_one(struct store *s, void *connection, struct write_call *call,
                                   size_t i, uint64_t floor)
{
    const struct sql_row *row = &call->rows[i];
    struct tier_write *w = &call->writes[i];
    struct db_value params[ROW_PARAMS + 3];
    memcpy(params, row->value + 1, (ROW_PARAMS - 1) * sizeof *params);
    struct db_value *where = params + ROW_PARAMS - 1;
    where[0] = row->value[COL_ID];
    where[1] = where[2] = row->value[COL_VERSION];
    where[3] = row->value[COL_RECORD_HASH];
    mark_stored(call, i, 1);
    struct db_result r =
        se__store_run(s, connection, SQL_UPDATE, params, ROW_PARAMS + 3, NULL, NULL);
    if (se__db_failed(&r) || r.changed > 0)
        return r;
    w->state = TIER_NEWER; /* no such row: purged at `floor` or below, for all we know */
    w->newer = floor;
    return read_versions(s, connection, call, i, 1);
}

static bool may_be_purged(const struct store *s, const struct write_call *call, int64_t now_ms,
                          const struct sql_row *row)
{
    uint64_t left = se__deadline_left(call->deadline_ms);
    int64_t duration = left < 3600000 ? (int64_t)left : 3600000;
    return se__version_ms(row->version) <= now_ms + duration - s->retention_ms / 2;
}

static bool any_may_be_purged(const struct store *s, void *connection,
                              const struct write_call *call)
{
    int64_t now_ms = s->db->now_ms(connection);
    for (size_t i = 0; i < call->n; i++)
        if (may_be_purged(s, call, now_ms, &call->rows[i]))
            return true;
    return false;
}

/* Runs of rows above the floor go as upserts, the others one by one, all in id order. */
static struct db_result write_rows(struct store *s, void *connection, struct write_call *call,
                                   uint64_t floor)
{
    struct db_result r = se__db_fine();
    for (size_t i = 0, run; i < call->n && !se__db_failed(&r); i += run) {
        for (run = 0; i + run < call->n && call->rows[i + run].version > floor; run++)
            ;
        if (run > 0) {
            r = upsert_run(s, connection, call, i, run);
        } else {
            r = update_one(s, connection, call, i, floor);
            run = 1;
        }
    }
    return r;
}

static struct db_result write_all(struct store *s, void *connection, void *arg)
{
    struct write_call *call = arg;
    uint64_t floor = 0;
    if (s->db->dialect == SQL_SQLITE || any_may_be_purged(s, connection, call)) {
        struct db_result r = se__store_floor(s, connection, SQL_FLOOR_SHARED, &floor);
        if (se__db_failed(&r))
            return r;
    }
    return write_rows(s, connection, call, floor);
}

struct db_result se__store_check_size(struct store *s, void *connection,
                                      const struct tier_write *writes, size_t n)
{
    size_t content_max = s->db->content_max(connection);
    for (size_t i = 0; i < n; i++)
        if (se_item_content_len(writes[i].item) > content_max && writes[i].kind == RECORD_ITEM) {
            se__error(SE_ERR_TOO_BIG, "%s: \"%.64s\" has %zu bytes, the database takes at most %zu",
                      s->where, se_item_id(writes[i].item), se_item_content_len(writes[i].item),
                      content_max);
            return se__db_fault(TIER_REFUSED, 1153);
        }
    return se__db_fine();
}

/* After what was stored: nothing about dictionaries may fail or delay that. */
static struct db_result done(struct store *s, void *connection, struct db_result r)
{
    if (!se__db_failed(&r) && s->compression == SE_COMPRESSION_DICTIONARY) {
        struct db_result renewed = se__store_renew_dictionary(s, connection);
        r.lost = r.lost || renewed.lost;
    }
    return r;
}

/* Several statements, or a floor to be held while the rows are written. */
static bool needs_transaction(const struct store *s, void *connection,
                              const struct write_call *call)
{
    if (s->db->dialect == SQL_SQLITE || any_may_be_purged(s, connection, call))
        return true;
    return call->n > 1 &&
           !(s->db->one_statement && s->db->one_statement(connection, call->rows, call->n));
}

static struct db_result write_body(struct store *s, void *connection, void *arg)
{
    struct write_call *call = arg;
    struct db_result r = se__store_check_size(s, connection, call->writes, call->n);
    if (se__db_failed(&r))
        return r;
    call->in_transaction = needs_transaction(s, connection, call);
    if (call->in_transaction)
        return done(s, connection, se__store_transaction(s, connection, write_all, call));
    if (call->n > 1) /* if the connection breaks: once more, as for a transaction before COMMIT */
        return done(s, connection, upsert_run(s, connection, call, 0, call->n));
    r = upsert_one(s, connection, call, 0);
    r.final = r.lost;
    return done(s, connection, r);
}

struct tier_reply se__store_write(void *tier, unsigned worker, struct tier_write *writes, size_t n,
                                  uint64_t deadline_ms)
{
    (void)worker; /* the pool has a connection for each */
    struct store *s = tier;
    struct write_call call = {.writes = writes, .n = n, .deadline_ms = deadline_ms};
    if (n == 0)
        return se__tier_fine();
    call.rows = se__alloc_zeroed(n, sizeof *call.rows);
    if (!call.rows)
        return nomem().reply;
    struct packer *packer = se__store_packer(s, writes, n);
    for (size_t i = 0; i < n; i++)
        se__row_init(writes[i].item, writes[i].kind, packer, &call.rows[i]);
    struct tier_reply reply = se__store_call(s, s->writers, deadline_ms, write_body, &call);
    se__packer_give(packer);
    se__free(call.rows);
    for (size_t i = 0; i < n && reply.fault != TIER_FINE; i++) {
        writes[i].state = TIER_NOT_TRIED;
        writes[i].newer = 0;
    }
    return reply;
}
