/*
 * sqltext - every statement of this room, for both dialects, with the table's name in it.
 *
 * The guard: a row is replaced if the new (version, record_hash) is at least the stored one; equal
 * is a repeat and changes nothing. In MySQL's ON DUPLICATE KEY UPDATE assignments run left to right
 * and see earlier ones, so every column but the last two tests the guard against the old values,
 * record_hash comes next to last (afterwards the guard's outcome is the same: it holds with the new
 * hash in place, or nothing was assigned) and version last. Its losing branch counts into a session
 * variable: affected rows cannot tell a row that lost from one that was repeated, nor an array of
 * rows apart. In SQLite the guard is the WHERE of DO UPDATE, and each row's change count is exact.
 *
 * Retention counts from the latest of: the server's clock at the write, the version's time, the
 * item's expiry. A NULL parameter (live, no end) makes the whole expression NULL.
 */
#include "l3/sqltext.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdio.h>

const unsigned SE__SQL_LIST[SQL_LISTS] = {1, 10, 100, SQL_LIST_MAX};
const unsigned SE__SQL_ROWS[SQL_ROWS] = {1, 10, 100};

/* In the order of enum row_column. */
static const char *const columns[] = {
    "id",       "version",      "record_hash", "updated_at",   "state",  "content_type",
    "encoding", "content_hash", "payload",     "payload_blob", "bucket", "leaf_hi",
    "leaf_lo",  "cache_ttl_ms", "expires_at",  "deleted",      "route"};
enum {
    COLUMNS = sizeof columns / sizeof columns[0],
    ID = 0,
    VERSION = 1,
    HASH = 2,
    STATE = 4,
    PAYLOAD = 8,
    BLOB = 9,
    BUCKET = 10
};

struct maker {
    enum sql_dialect dialect;
    const char *table;
    uint64_t retention_ms;
    struct sqltext *out;
    struct buf b;
};

static const char *now_of(enum sql_dialect dialect)
{
    return dialect == SQL_MYSQL ? "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"
                                : "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
}

static void finish(struct maker *m, unsigned which)
{
    m->out->text[which] = se__buf_take(&m->b, NULL);
}

static void list_of(struct maker *m, unsigned n)
{
    se__buf_text(&m->b, "(?");
    for (unsigned i = 1; i < n; i++)
        se__buf_text(&m->b, ",?");
    se__buf_text(&m->b, ")");
}

/* id: the first column, as an expression */
static void select_what(struct maker *m, const char *id, bool with_content)
{
    se__buf_printf(&m->b, "SELECT %s", id);
    for (unsigned i = 1; i < COLUMNS; i++) {
        bool skip = !with_content && (i == PAYLOAD || i == BLOB);
        se__buf_printf(&m->b, ", %s", skip ? "NULL" : columns[i]);
    }
}

static void select_as(struct maker *m, const char *id, bool with_content)
{
    select_what(m, id, with_content);
    se__buf_printf(&m->b, " FROM %s", m->table);
}

static void select_columns(struct maker *m, bool with_content)
{
    select_as(m, columns[ID], with_content);
}

static void make_lists(struct maker *m)
{
    for (unsigned k = 0; k < SQL_LISTS; k++) {
        select_columns(m, true);
        se__buf_text(&m->b, " WHERE id IN ");
        list_of(m, SE__SQL_LIST[k]);
        finish(m, SQL_READ + k);
        se__buf_printf(&m->b, "SELECT id, version, record_hash FROM %s WHERE id IN ", m->table);
        list_of(m, SE__SQL_LIST[k]);
        finish(m, SQL_VERSIONS + k);
        se__buf_printf(&m->b, "DELETE FROM %s WHERE id IN ", m->table);
        list_of(m, SE__SQL_LIST[k]);
        finish(m, SQL_DELETE + k);
    }
}

/* The id that was asked for stands in place of the row's, which is equal: SQLite would copy that into
 * memory of its own. */
static void make_sqlite_reads(struct maker *m)
{
    if (m->dialect == SQL_SQLITE) {
        select_as(m, "?1", true);
        se__buf_text(&m->b, " WHERE id = ?1");
        se__free(m->out->text[SQL_READ]);
        finish(m, SQL_READ);
        select_what(m, "a.rowid", true);
        se__buf_printf(&m->b, " FROM temp.se_asked AS a CROSS JOIN %s AS t WHERE t.id = a.id",
                       m->table);
    }
    finish(m, SQL_READ_ASKED);
}

/* ---- writes ---- */

static void purge_at(struct maker *m)
{
    se__buf_printf(&m->b, "%s(%s, ?) + %llu", m->dialect == SQL_MYSQL ? "GREATEST" : "MAX",
                   now_of(m->dialect), (unsigned long long)m->retention_ms);
}

static void insert_values(struct maker *m, unsigned rows)
{
    se__buf_printf(&m->b, "INSERT INTO %s (", m->table);
    for (unsigned i = 0; i < COLUMNS; i++)
        se__buf_printf(&m->b, "%s, ", columns[i]);
    se__buf_text(&m->b, "purge_at) VALUES ");
    for (unsigned r = 0; r < rows; r++) {
        se__buf_text(&m->b, r ? ", (" : "(");
        for (unsigned i = 0; i < COLUMNS; i++)
            se__buf_text(&m->b, "?, ");
        purge_at(m);
        se__buf_text(&m->b, ")");
    }
}

#define MYSQL_GUARD                                                                                \
    "VALUES(version) > version OR (VALUES(version) = version AND VALUES(record_hash) >= "          \
    "record_hash)"

static void guarded(struct maker *m, const char *column)
{
    se__buf_printf(&m->b, "%s = IF(" MYSQL_GUARD ", VALUES(%s), %s), ", column, column, column);
}

static void mysql_guard(struct maker *m)
{
    se__buf_text(&m->b, " ON DUPLICATE KEY UPDATE ");
    for (unsigned i = HASH + 1; i < COLUMNS; i++)
        guarded(m, columns[i]);
    guarded(m, "purge_at");
    guarded(m, "record_hash");
    se__buf_text(&m->b, "version = IF(" MYSQL_GUARD ", VALUES(version), "
                        "version + 0 * (@se_lost := IFNULL(@se_lost, 0) + 1))");
}

static void sqlite_guard(struct maker *m)
{
    se__buf_text(&m->b, " ON CONFLICT(id) DO UPDATE SET ");
    for (unsigned i = VERSION; i < COLUMNS; i++)
        se__buf_printf(&m->b, "%s = excluded.%s, ", columns[i], columns[i]);
    se__buf_printf(&m->b,
                   "purge_at = excluded.purge_at WHERE excluded.version > %s.version OR "
                   "(excluded.version = %s.version AND excluded.record_hash >= %s.record_hash)",
                   m->table, m->table, m->table);
}

static void make_upserts(struct maker *m)
{
    for (unsigned k = 0; k < SQL_ROWS; k++) {
        insert_values(m, SE__SQL_ROWS[k]);
        if (m->dialect == SQL_MYSQL)
            mysql_guard(m);
        else
            sqlite_guard(m);
        finish(m, SQL_UPSERT + k);
    }
}

static void update(struct maker *m)
{
    se__buf_printf(&m->b, "UPDATE %s SET ", m->table);
    for (unsigned i = VERSION; i < COLUMNS; i++)
        se__buf_printf(&m->b, "%s = ?, ", columns[i]);
    se__buf_text(&m->b, "purge_at = ");
    purge_at(m);
    se__buf_text(&m->b, " WHERE id = ?");
}

static void make_update(struct maker *m)
{
    update(m);
    /* For rows at or below the purge floor: they may replace a row, not create one. */
    se__buf_text(&m->b, " AND (version < ? OR (version = ? AND record_hash <= ?))");
    finish(m, SQL_UPDATE);
    update(m);
    finish(m, SQL_REPLACE);
}

/* SQLite updates every index whose column is named in SET, changed or not: for a row that keeps its
 * state (and, unless damaged, its bucket) that would be most of the work: 20 us a row instead of
 * 9. Parameters as for the upsert. */
static void make_touch(struct maker *m)
{
    if (m->dialect == SQL_SQLITE) {
        se__buf_printf(&m->b, "UPDATE %s SET ", m->table);
        for (unsigned i = VERSION; i < COLUMNS; i++)
            if (i != STATE && i != BUCKET)
                se__buf_printf(&m->b, "%s = ?%u, ", columns[i], i + 1);
        se__buf_printf(&m->b,
                       "purge_at = MAX(%s, ?%u) + %llu WHERE id = ?1 AND state = ?%u AND bucket = "
                       "?%u AND (version < ?2 OR (version = ?2 AND record_hash <= ?3))",
                       now_of(m->dialect), COLUMNS + 1, (unsigned long long)m->retention_ms,
                       STATE + 1, BUCKET + 1);
    }
    finish(m, SQL_TOUCH);
}

/* ---- scans ---- */

#define LIVE_AT(now) "deleted = 0 AND (expires_at = 0 OR expires_at > " now ")"
#define LIVE LIVE_AT("?")
#define ALIVE " AND " LIVE
/* One lower bound, so that both servers start their range there; `after` is only
 * ever equal to it or below it. */
#define IN_PREFIX " WHERE id >= ? AND id <> ? AND id < ?" ALIVE
#define IN_STATE " WHERE state = ? AND id > ?" ALIVE
/* In SQLite every blob sorts behind every text: without an end a row whose id is one, which no id that
 * is bound as text finds, would come behind whatever the page before it ended with. */
#define TEXT_IDS " AND id < x''"

static void scan(struct maker *m, unsigned which, bool with_content, const char *where)
{
    select_columns(m, with_content);
    se__buf_printf(&m->b, "%s ORDER BY id LIMIT ?", where);
    finish(m, which);
}

static void count(struct maker *m, unsigned which, const char *where)
{
    se__buf_printf(&m->b, "SELECT COUNT(*) FROM %s%s", m->table, where);
    finish(m, which);
}

static void make_scans(struct maker *m)
{
    scan(m, SQL_SCAN_PREFIX, true, IN_PREFIX);
    scan(m, SQL_SCAN_PREFIX_IDS, false, IN_PREFIX);
    const char *in_state = m->dialect == SQL_MYSQL ? IN_STATE : IN_STATE TEXT_IDS;
    scan(m, SQL_SCAN_STATE, true, in_state);
    scan(m, SQL_SCAN_STATE_IDS, false, in_state);
    count(m, SQL_COUNT_PREFIX, IN_PREFIX);
    count(m, SQL_COUNT_STATE, in_state);
}

/* ---- surveys ---- */

/* Ranges begin at a key that is there, mostly: `>=`, and the caller skips it. So one statement also
 * serves a start at the empty id, which nobody wrote and which may be there all the same. */
static const char *const in_range[SQL_RANGES] = {
    " WHERE id >= ?", " WHERE id >= ? AND id <= ?", " WHERE bucket = ? AND id >= ?",
    " WHERE bucket >= ? AND bucket <= ?", " WHERE bucket IS NULL AND id >= ?"};

/* In MySQL only a column that somebody made nullable can be without a number; a SQLite table made
 * without STRICT takes anything, and what is no number sorts above all that are. OR would read the
 * whole index. `+` keeps the planner from walking through all ids to find these few in order. */
#define NOT_A_NUMBER " WHERE bucket > 9223372036854775807"

static void survey_columns(struct maker *m, enum sql_range range, unsigned depth)
{
    bool by_bucket = range != SQL_BY_ID && range != SQL_BY_ID_UNTIL;
    const char *id = range == SQL_NO_BUCKET && m->dialect == SQL_SQLITE ? "+id" : "id";
    if (depth == 0)
        se__buf_printf(&m->b, "SELECT %s%s FROM %s", id, by_bucket ? ", bucket" : "", m->table);
    else
        select_as(m, id, depth == 2);
}

static void survey_no_bucket(struct maker *m, unsigned depth, const char *live)
{
    survey_columns(m, SQL_NO_BUCKET, depth);
    se__buf_printf(&m->b, " WHERE bucket IS NULL AND +id >= ?1%s UNION ALL ", live);
    survey_columns(m, SQL_NO_BUCKET, depth);
    se__buf_printf(&m->b, NOT_A_NUMBER " AND +id >= ?1%s ORDER BY 1 LIMIT ?2", live);
}

static void survey(struct maker *m, enum sql_range range, unsigned depth, bool live_only)
{
    /* a row whose `deleted` is neither 0 nor 1, or NULL, is no tombstone: it is a damaged row */
    const char *live = !live_only                ? ""
                       : m->dialect == SQL_MYSQL ? " AND NOT (deleted <=> 1)"
                                                 : " AND deleted IS NOT 1";
    if (range == SQL_NO_BUCKET && m->dialect == SQL_SQLITE) {
        survey_no_bucket(m, depth, live);
    } else {
        survey_columns(m, range, depth);
        se__buf_printf(&m->b, "%s%s ORDER BY %s LIMIT ?", in_range[range], live,
                       range == SQL_BUCKETS ? "bucket, id" : "id");
    }
    finish(m, se__sql_survey(range, depth, live_only));
}

static void make_surveys(struct maker *m)
{
    for (unsigned range = 0; range < SQL_RANGES; range++)
        for (unsigned depth = 0; depth < SQL_DEPTHS; depth++)
            for (unsigned live = 0; live < 2; live++)
                survey(m, (enum sql_range)range, depth, live);
}

/* ---- digests ---- */

/* A bucket that is none counts as the nearest, and as the first if it is no number: as surveys
 * have it. */
static const char *node_of(enum sql_dialect dialect)
{
    return dialect == SQL_MYSQL
               ? "GREATEST(LEAST(bucket, 65535), 0) >> ?"
               : "CASE WHEN bucket <= 9223372036854775807 THEN MAX(MIN(CAST(bucket AS INTEGER), "
                 "65535), 0) >> ? END";
}

static void digest(struct maker *m, const char *node, const char *where)
{
    const char *x = m->dialect == SQL_MYSQL ? "BIT_XOR" : "se_xor";
    se__buf_printf(&m->b, "SELECT %s AS node, %s(leaf_hi), %s(leaf_lo), COUNT(*) FROM %s%s", node,
                   x, x, m->table, where);
}

static void make_digests(struct maker *m)
{
    digest(m, "0", " WHERE " LIVE);
    finish(m, SQL_DIGEST_ALL);
    digest(m, node_of(m->dialect), " WHERE " LIVE " GROUP BY node");
    finish(m, SQL_DIGEST_NODES);
    digest(m, node_of(m->dialect), " WHERE bucket >= ? AND bucket <= ?" ALIVE " GROUP BY node");
    finish(m, SQL_DIGEST_BUCKETS);
    digest(m, "0", " WHERE id >= ? AND id < ?" ALIVE);
    finish(m, SQL_DIGEST_IDS);
    if (m->dialect == SQL_MYSQL) {
        digest(m, "0", " WHERE bucket IS NULL" ALIVE);
    } else {
        digest(m, "0", " WHERE bucket IS NULL AND " LIVE_AT("?1") " UNION ALL ");
        digest(m, "0", NOT_A_NUMBER " AND " LIVE_AT("?1"));
    }
    finish(m, SQL_DIGEST_NO_BUCKET);
}

static void make_lock(struct maker *m)
{
    select_columns(m, true);
    se__buf_printf(&m->b, " WHERE id = ?%s", m->dialect == SQL_MYSQL ? " FOR UPDATE" : "");
    finish(m, SQL_LOCK_ROW);
}

/* ---- meta and purge ---- */

static void meta(struct maker *m, unsigned which, const char *before, const char *after)
{
    se__buf_printf(&m->b, "%s%s_meta%s", before, m->table, after);
    finish(m, which);
}

static void make_meta(struct maker *m)
{
    bool mysql = m->dialect == SQL_MYSQL;
    meta(m, SQL_META_GET, "SELECT value FROM ", " WHERE name = ?");
    meta(m, SQL_META_PUT, "INSERT INTO ",
         mysql ? " (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value)"
               : " (name, value) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = "
                 "excluded.value");
    meta(m, SQL_META_ADD, "INSERT INTO ",
         mysql ? " (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE name = name"
               : " (name, value) VALUES (?, ?) ON CONFLICT(name) DO NOTHING");
    meta(m, SQL_META_RAISE, "INSERT INTO ",
         mysql ? " (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = IF(CAST(value AS "
                 "UNSIGNED) < CAST(VALUES(value) AS UNSIGNED), VALUES(value), value)"
               : " AS m (name, value) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = "
                 "excluded.value WHERE CAST(m.value AS INTEGER) < CAST(excluded.value AS INTEGER)");
    meta(m, SQL_META_DELETE, "DELETE FROM ", " WHERE name = ?");
    meta(m, SQL_META_LIST, "SELECT name, value FROM ",
         " WHERE name >= ? AND name < ? ORDER BY name");
    meta(m, SQL_FLOOR_SHARED, "SELECT value FROM ",
         mysql ? " WHERE name = 'purge_floor' LOCK IN SHARE MODE" : " WHERE name = 'purge_floor'");
    meta(m, SQL_FLOOR_ALONE, "SELECT value FROM ",
         mysql ? " WHERE name = 'purge_floor' FOR UPDATE" : " WHERE name = 'purge_floor'");
}

/* Only versions older than the retention, whatever purge_at says (rows edited by hand, a retention
 * that was longer once): writers rely on the floor staying below that. */
static void make_purge(struct maker *m)
{
    se__buf_printf(
        &m->b,
        "SELECT id, version FROM %s WHERE purge_at <= %s AND version < (%s - ?) * 65536%s "
        "ORDER BY purge_at LIMIT ?%s",
        m->table, now_of(m->dialect), now_of(m->dialect), m->dialect == SQL_MYSQL ? "" : TEXT_IDS,
        m->dialect == SQL_MYSQL ? " FOR UPDATE" : "");
    finish(m, SQL_PURGE_PICK);
}

se_result se__sqltext_init(enum sql_dialect dialect, const char *table, uint32_t retention_s,
                           struct sqltext *t)
{
    struct maker m = {
        .dialect = dialect, .table = table, .retention_ms = (uint64_t)retention_s * 1000, .out = t};
    *t = (struct sqltext){{NULL}};
    make_lists(&m);
    make_sqlite_reads(&m);
    make_upserts(&m);
    make_update(&m);
    make_touch(&m);
    make_scans(&m);
    make_meta(&m);
    make_purge(&m);
    make_surveys(&m);
    make_digests(&m);
    make_lock(&m);
    se__buf_done(&m.b);
    for (unsigned i = 0; i < SQL_STATEMENTS; i++)
        if (!t->text[i]) {
            se__sqltext_done(t);
            return se__error_nomem();
        }
    return SE_OK;
}

void se__sqltext_done(struct sqltext *t)
{
    for (unsigned i = 0; i < SQL_STATEMENTS; i++)
        se__free(t->text[i]);
    *t = (struct sqltext){{NULL}};
}

unsigned se__sql_list_for(size_t n)
{
    for (unsigned k = 0; k < SQL_LISTS; k++)
        if (n <= SE__SQL_LIST[k])
            return k;
    return SQL_LISTS - 1;
}
