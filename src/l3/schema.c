/*
 * schema - the two tables, their versions, and whether this library may use what it finds.
 *
 * MySQL: ids, states and hashes are VARBINARY/BINARY, so that no collation folds them. JSON content
 * is LONGTEXT, utf8mb4_bin, and not the JSON type, which would normalise it. InnoDB's secondary
 * indices end with the primary key: (state) is (state, id).
 * SQLite: the same shape. The table keeps its rowid: rows are larger than a twentieth of a page,
 * and WITHOUT ROWID would put them into the inner nodes of the tree; the index over id alone serves
 * counts and id scans. Ids are TEXT, compared with memcmp (BINARY), so that `WHERE id = 'a'` works
 * in the shell. STRICT refuses values of another type.
 */
#include "l3/schema.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char mysql_items[] =
    "CREATE TABLE IF NOT EXISTS %s (\n"
    "  id VARBINARY(255) NOT NULL PRIMARY KEY,\n"
    "  version BIGINT NOT NULL,\n"
    "  record_hash BINARY(16) NOT NULL,\n"
    "  updated_at BIGINT NOT NULL,\n"
    "  state VARBINARY(32) NOT NULL,\n"
    "  content_type TINYINT NOT NULL,\n"
    "  encoding TINYINT NOT NULL,\n"
    "  content_hash BINARY(16) NOT NULL,\n"
    "  payload LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,\n"
    "  payload_blob LONGBLOB NULL,\n"
    "  bucket INT NOT NULL,\n"
    "  leaf_hi BIGINT NOT NULL,\n"
    "  leaf_lo BIGINT NOT NULL,\n"
    "  cache_ttl_ms BIGINT NOT NULL,\n"
    "  expires_at BIGINT NOT NULL,\n"
    "  deleted TINYINT NOT NULL,\n"
    "  route TINYINT NOT NULL,\n"
    "  purge_at BIGINT NULL,\n"
    "  KEY state (state),\n"
    "  KEY bucket (bucket),\n"
    "  KEY purge_at (purge_at)\n"
    ") ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
static const char mysql_meta[] =
    "CREATE TABLE IF NOT EXISTS %s_meta (\n"
    "  name VARBINARY(191) NOT NULL PRIMARY KEY,\n"
    "  value LONGBLOB NOT NULL\n"
    ") ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
static const char sqlite_items[] = "CREATE TABLE IF NOT EXISTS %s (\n"
                                   "  id TEXT NOT NULL PRIMARY KEY,\n"
                                   "  version INTEGER NOT NULL,\n"
                                   "  record_hash BLOB NOT NULL,\n"
                                   "  updated_at INTEGER NOT NULL,\n"
                                   "  state TEXT NOT NULL,\n"
                                   "  content_type INTEGER NOT NULL,\n"
                                   "  encoding INTEGER NOT NULL,\n"
                                   "  content_hash BLOB NOT NULL,\n"
                                   "  payload TEXT,\n"
                                   "  payload_blob BLOB,\n"
                                   "  bucket INTEGER NOT NULL,\n"
                                   "  leaf_hi INTEGER NOT NULL,\n"
                                   "  leaf_lo INTEGER NOT NULL,\n"
                                   "  cache_ttl_ms INTEGER NOT NULL,\n"
                                   "  expires_at INTEGER NOT NULL,\n"
                                   "  deleted INTEGER NOT NULL,\n"
                                   "  route INTEGER NOT NULL,\n"
                                   "  purge_at INTEGER\n"
                                   ") STRICT";
static const char sqlite_meta[] = "CREATE TABLE IF NOT EXISTS %s_meta (\n"
                                  "  name TEXT NOT NULL PRIMARY KEY,\n"
                                  "  value TEXT NOT NULL\n"
                                  ") STRICT, WITHOUT ROWID";
static const char sqlite_by_state[] = "CREATE INDEX IF NOT EXISTS %s_state ON %s (state, id)";
static const char sqlite_by_bucket[] = "CREATE INDEX IF NOT EXISTS %s_bucket ON %s (bucket, id)";
static const char sqlite_by_purge[] =
    "CREATE INDEX IF NOT EXISTS %s_purge_at ON %s (purge_at) WHERE purge_at IS NOT NULL";

static const char *const mysql_ddl[] = {mysql_items, mysql_meta, NULL};
static const char *const sqlite_ddl[] = {sqlite_items,    sqlite_by_state, sqlite_by_bucket,
                                         sqlite_by_purge, sqlite_meta,     NULL};

static const char *const *ddl_of(enum sql_dialect dialect)
{
    return dialect == SQL_MYSQL ? mysql_ddl : sqlite_ddl;
}

/* Puts the table's name in place of every %s. */
static void expand(struct buf *out, const char *text, const char *table)
{
    for (const char *at; (at = strstr(text, "%s")); text = at + 2) {
        se__buf_append(out, text, (size_t)(at - text));
        se__buf_text(out, table);
    }
    se__buf_text(out, text);
}

static struct db_result run_text(struct store *s, void *connection, const char *format,
                                 db_row_fn row, void *arg)
{
    struct buf sql = {0};
    expand(&sql, format, s->table);
    char *text = se__buf_take(&sql, NULL);
    if (!text) {
        se__error_nomem();
        return se__db_fault(TIER_UNWELL, 0);
    }
    struct db_result r = s->db->exec(connection, text, row, arg);
    se__free(text);
    return r;
}

/* ---- verdicts ---- */

static struct db_result refuse(struct schema_check *check, const char *what)
{
    check->verdict = se__error(SE_ERR_CONFIG, "%s", what);
    return se__db_fine();
}

/* A line of the log for each statement: an error's text would not hold them all. */
static void log_ddl(struct store *s)
{
    if (!se__log_gate_open(&s->schema_gate, se__mono_ms(), 60000))
        return;
    for (const char *const *d = ddl_of(s->db->dialect); *d; d++) {
        struct buf ddl = {0};
        expand(&ddl, *d, s->table);
        char *text = se__buf_take(&ddl, NULL);
        se__log(s->log, SE_LOG_ERROR, "sql.schema",
                (const struct se__field[]){se__text("sql", text), {0}},
                "let an administrator run: %s;", text ? text : "");
        se__free(text);
    }
}

static struct db_result say_what_to_run(struct store *s, struct schema_check *check,
                                        const char *why)
{
    char reason[512];
    snprintf(reason, sizeof reason, "%s", why);
    log_ddl(s);
    check->verdict = se__error(SE_ERR_CONFIG,
                               "%s: table %s or %s_meta is missing (%s); run the CREATE TABLE "
                               "statements that the log shows",
                               s->where, s->table, s->table, reason);
    return se__db_fine();
}

/* ---- steps ---- */

struct presence {
    size_t items_len; /* of the item table's name: the other one is longer */
    bool items, meta;
};

static bool take_name(void *arg, const struct db_value *columns, unsigned n)
{
    struct presence *there = arg;
    if (n == 1 && columns[0].len == there->items_len)
        there->items = true;
    else
        there->meta = true;
    return true;
}

static struct db_result look(struct store *s, void *connection, struct presence *there)
{
    *there = (struct presence){.items_len = strlen(s->table)};
    return run_text(s, connection,
                    s->db->dialect == SQL_MYSQL
                        ? "SELECT table_name FROM information_schema.tables WHERE table_schema = "
                          "DATABASE() AND table_name IN ('%s', '%s_meta')"
                        : "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('%s', "
                          "'%s_meta')",
                    take_name, there);
}

/* A statement about an existing table that the server refuses for what the table is: not ours.
 * Final, so nothing else may be taken for it. */
static struct db_result judge(struct store *s, struct schema_check *check, struct db_result r)
{
    if (!se__db_failed(&r) || r.lost || r.reply.timed_out || !s->db->misfit(r.reply.code))
        return r;
    check->verdict = se__error(SE_ERR_CONFIG, "%s: the tables %s, %s_meta cannot be used: %s",
                               s->where, s->table, s->table, se_errmsg());
    return se__db_fine();
}

/* Every column under its name, and what only the driver can see. */
static struct db_result check_items(struct store *s, void *connection, struct schema_check *check)
{
    struct db_result r = judge(
        s, check,
        run_text(s, connection,
                 "SELECT id, version, record_hash, updated_at, state, content_type, encoding, "
                 "content_hash, payload, payload_blob, bucket, leaf_hi, leaf_lo, cache_ttl_ms, "
                 "expires_at, deleted, route, purge_at FROM %s LIMIT 0",
                 NULL, NULL));
    if (se__db_failed(&r) || check->verdict != SE_OK)
        return r;
    const char *wrong = NULL;
    r = s->db->check_fit(connection, s->table, &wrong);
    if (!se__db_failed(&r) && wrong)
        check->verdict =
            se__error(SE_ERR_CONFIG, "%s: table %s does not fit: %s", s->where, s->table, wrong);
    return r;
}

static struct db_result check_meta(struct store *s, void *connection, struct schema_check *check)
{
    return judge(s, check,
                 run_text(s, connection, "SELECT name, value FROM %s_meta LIMIT 0", NULL, NULL));
}

static struct db_result create(struct store *s, void *connection, struct schema_check *check)
{
    struct db_result r = se__db_fine();
    if (s->read_only)
        return say_what_to_run(s, check, "opened read-only");
    for (const char *const *d = ddl_of(s->db->dialect); *d && !se__db_failed(&r); d++)
        r = run_text(s, connection, *d, NULL, NULL);
    if (se__db_failed(&r) && !r.lost && s->db->no_right(r.reply.code))
        return say_what_to_run(s, check, se_errmsg());
    return r;
}

static struct db_result ensure_tables(struct store *s, void *connection, struct schema_check *check)
{
    struct presence there;
    struct db_result r = look(s, connection, &there);
    if (!se__db_failed(&r) && there.items)
        r = check_items(s, connection, check);
    if (!se__db_failed(&r) && there.meta && check->verdict == SE_OK)
        r = check_meta(s, connection, check);
    if (se__db_failed(&r) || (there.items && there.meta) || check->verdict != SE_OK)
        return r;
    return create(s, connection, check);
}

/* A version number kept as text; absent counts as `absent`, anything but a
 * number as a schema we do not know. */
static struct db_result read_number(struct store *s, void *connection, const char *name,
                                    unsigned absent, unsigned *number)
{
    struct buf value = {0};
    bool found = false;
    struct db_result r = se__store_meta_read(s, connection, SQL_META_GET, name, &value, &found);
    if (!se__db_failed(&r)) {
        char *text = se__buf_take(&value, NULL), *end = text;
        if (!text) {
            se__error_nomem();
            return se__db_fault(TIER_UNWELL, 0);
        }
        unsigned long v = text && *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
        *number = !found ? absent : end == text || *end || v > 1000000 ? UINT32_MAX : (unsigned)v;
        se__free(text);
    }
    se__buf_done(&value);
    return r;
}

static struct db_result check_versions(struct store *s, void *connection,
                                       struct schema_check *check)
{
    unsigned version, reader, writer;
    struct db_result r = read_number(s, connection, "schema_version", 1, &version);
    if (!se__db_failed(&r))
        r = read_number(s, connection, "reader_min", 1, &reader);
    if (!se__db_failed(&r))
        r = read_number(s, connection, "writer_min", 1, &writer);
    if (se__db_failed(&r))
        return r;
    bool may_not_read = reader > SCHEMA_VERSION;
    if (!may_not_read && (s->read_only || writer <= SCHEMA_VERSION))
        return r;
    check->verdict = se__error(
        SE_ERR_CONFIG,
        "%s: table %s has schema version %u and %s needs schema version %u or later; this "
        "library knows version %u: use a newer one",
        s->where, s->table, version, may_not_read ? "reading it" : "writing it",
        may_not_read ? reader : writer, SCHEMA_VERSION);
    return r;
}

static struct db_result add_missing_meta(struct store *s, void *connection)
{
    static const char *const rows[][2] = {
        {"schema_version", "1"}, {"reader_min", "1"}, {"writer_min", "1"}, {"purge_floor", "0"}};
    struct db_result r = se__db_fine();
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0] && !se__db_failed(&r); i++) {
        struct buf value = {0};
        bool found = false;
        r = se__store_meta_read(s, connection, SQL_META_GET, rows[i][0], &value, &found);
        se__buf_done(&value);
        if (!se__db_failed(&r) && !found)
            r = se__store_meta_write(s, connection, SQL_META_ADD, rows[i][0], rows[i][1]);
    }
    return r;
}

/* Before the first packed row: a library that does not know them would take them for damage. */
static struct db_result allow_packed(struct store *s, void *connection)
{
    struct db_result r = se__store_meta_write(s, connection, SQL_META_RAISE, "schema_version", "2");
    if (!se__db_failed(&r))
        r = se__store_meta_write(s, connection, SQL_META_RAISE, "reader_min", "2");
    return r;
}

struct db_result se__schema_prepare(struct store *s, void *connection, void *arg)
{
    struct schema_check *check = arg;
    check->verdict = SE_OK;
    if (s->db->content_max(connection) == 0)
        return refuse(check, "the database takes no content at all (max_allowed_packet)");
    struct db_result r = ensure_tables(s, connection, check);
    if (!se__db_failed(&r) && check->verdict == SE_OK)
        r = check_versions(s, connection, check);
    if (!se__db_failed(&r) && check->verdict == SE_OK && !s->read_only)
        r = add_missing_meta(s, connection);
    if (!se__db_failed(&r) && check->verdict == SE_OK && !s->read_only &&
        s->compression != SE_COMPRESSION_OFF)
        r = allow_packed(s, connection);
    if (!se__db_failed(&r) && check->verdict == SE_OK && !s->read_only &&
        s->compression == SE_COMPRESSION_DICTIONARY)
        r = se__store_renew_dictionary(s, connection);
    return r;
}
