/*
 * bench_l3_sqlite - rows 12 and 17 on SQLite: guarded batches through the tier, and se_get, beside
 * bare statements.
 *
 * The peer has a file of its own with the same table, rows and settings (WAL, synchronous FULL).
 * Both lie in memory, so that no disk hides what the tier costs.
 */
#include "reads.h"
#include "rows.h"

#include "base/os.h"
#include "l3/l3.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 200000u
#define ITEMS 20000u /* a round */

struct side {
    const struct bench *b;
    const struct keys *keys;
    struct tier tier; /* ours */
    sqlite3 *db;      /* bare */
    sqlite3_stmt *stmt;
};

static struct batches draw(const struct side *s)
{
    return batches_random(s->b, s->keys, ITEMS);
}

static double send_ours(void *arg)
{
    struct side *s = arg;
    struct batches b = draw(s);
    double figure = batches_send(&s->tier, &b);
    batches_free(&b);
    return figure;
}

/* ---- the bare loop ---- */

static void execute(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        bench_fail("sqlite: %s", sqlite3_errmsg(db));
}

static sqlite3 *open_file(const char *url)
{
    sqlite3 *db;
    if (sqlite3_open(url + strlen("sqlite:"), &db) != SQLITE_OK)
        bench_fail("sqlite: cannot open %s", url);
    execute(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=OFF;"
                "PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-16384");
    return db;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt;
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) != SQLITE_OK)
        bench_fail("sqlite: %s", sqlite3_errmsg(db));
    return stmt;
}

static void bind(sqlite3_stmt *stmt, int at, const struct db_value *v)
{
    if (v->type == DB_INT)
        sqlite3_bind_int64(stmt, at, v->number);
    else if (v->type == DB_TEXT)
        sqlite3_bind_text(stmt, at, v->bytes, (int)v->len, SQLITE_STATIC);
    else if (v->type == DB_BLOB)
        sqlite3_bind_blob(stmt, at, v->bytes, (int)v->len, SQLITE_STATIC);
    else
        sqlite3_bind_null(stmt, at);
}

static void send_batch(struct side *s, const struct sql_row *rows)
{
    execute(s->db, "BEGIN IMMEDIATE");
    for (size_t i = 0; i < s->b->batch; i++) {
        for (int at = 0; at < ROW_COLUMNS; at++)
            bind(s->stmt, at + 1, &rows[i].value[at]);
        if (sqlite3_step(s->stmt) != SQLITE_DONE)
            bench_fail("sqlite: %s", sqlite3_errmsg(s->db));
        sqlite3_reset(s->stmt);
    }
    execute(s->db, "COMMIT");
}

static double send_bare(void *arg)
{
    struct side *s = arg;
    struct batches b = draw(s);
    struct sql_row *rows = rows_of(&b);
    uint64_t start = se__mono_ns();
    for (size_t i = 0; i < b.n; i++)
        send_batch(s, rows + i * b.size);
    double figure = (double)(b.n * b.size) / (double)(se__mono_ns() - start) * 1e6;
    free(rows);
    batches_free(&b);
    return figure;
}

/* ---- row 12 ---- */

static struct tier open_tier(const char *url_text, const struct keys *keys)
{
    struct url url;
    struct tier tier;
    bench_check(se__url_parse("sql_url", url_text, &url), "url");
    struct l3_options o = {.url = &url,
                           .table = "items",
                           .timeout_ms = 30000,
                           .read_connections = 1,
                           .workers = 1,
                           .tombstone_retention_s = 86400};
    bench_check(se__sqlite_open(&o, &tier), "sqlite");
    bench_check(tier.ops->prepare(tier.self, se__deadline_in(10000)), "sqlite");
    batches_load(&tier, keys);
    se__url_done(&url);
    return tier;
}

static struct side open_bare(const struct side *ours, const char *url, const char *verb,
                             const struct rows_clause *clause)
{
    struct tier made = open_tier(url, ours->keys);
    made.ops->close(made.self);
    struct side s = {.b = ours->b, .keys = ours->keys, .db = open_file(url)};
    char *sql = rows_statement(verb, "items", clause);
    s.stmt = prepare(s.db, sql);
    free(sql);
    return s;
}

static void close_bare(struct side *s)
{
    sqlite3_finalize(s->stmt);
    sqlite3_close(s->db);
}

static void bench_flush(const struct bench *b, const struct bench_dir *dir)
{
    static const struct rows_clause full = {" ON CONFLICT(id) DO UPDATE SET", "excluded.", "",
                                            false};
    static const struct rows_clause lean = {" ON CONFLICT(id) DO UPDATE SET", "excluded.", "",
                                            true};
    char urls[4][256];
    bench_dir_path(dir, "sqlite:", "ours.db", urls[0]);
    bench_dir_path(dir, "sqlite:", "lean.db", urls[1]);
    bench_dir_path(dir, "sqlite:", "full.db", urls[2]);
    bench_dir_path(dir, "sqlite:", "replace.db", urls[3]);
    struct keys keys = keys_make(bench_scaled(b, KEYS));
    struct side ours = {.b = b, .keys = &keys, .tier = open_tier(urls[0], &keys)};
    struct side bare[] = {open_bare(&ours, urls[1], "INSERT INTO", &lean),
                          open_bare(&ours, urls[2], "INSERT INTO", &full),
                          open_bare(&ours, urls[3], "INSERT OR REPLACE INTO", NULL)};
    struct bench_side sides[] = {
        {.name = "ours", .run = send_ours, .arg = &ours},
        {.name = "upsert, indices kept",
         .run = send_bare,
         .arg = &bare[0],
         .kind = batches_usual(b) ? BENCH_RATIO_MIN : BENCH_NO_BAR,
         .bar = 0.85},
        {.name = "upsert, all columns", .run = send_bare, .arg = &bare[1]},
        {.name = "INSERT OR REPLACE", .run = send_bare, .arg = &bare[2]},
    };
    bench_pin();
    struct batches_what what = batches_what(b, "L3 flush SQLite", "");
    bench_compare(b, &(struct bench_subject){12, what.text, "k/s"}, sides, 4);
    bench_unpin();
    for (size_t i = 0; i < 3; i++)
        close_bare(&bare[i]);
    ours.tier.ops->close(ours.tier.self);
    keys_free(&keys);
}

/* ---- row 17 ---- */

static void select_one(void *arg, size_t i)
{
    struct side *s = arg;
    char id[BENCH_ID_LEN + 1], content[BENCH_CONTENT_LEN];
    reads_id(i, id);
    sqlite3_bind_text(s->stmt, 1, id, BENCH_ID_LEN, SQLITE_STATIC);
    if (sqlite3_step(s->stmt) != SQLITE_ROW ||
        sqlite3_column_bytes(s->stmt, 1) != BENCH_CONTENT_LEN)
        bench_fail("sqlite: SELECT: %s", sqlite3_errmsg(s->db));
    memcpy(content, sqlite3_column_blob(s->stmt, 1), BENCH_CONTENT_LEN);
    sqlite3_reset(s->stmt);
}

/* What our statement reads, and nothing made of it. */
static void select_whole(void *arg, size_t i)
{
    struct side *s = arg;
    char id[BENCH_ID_LEN + 1];
    size_t bytes = 0;
    reads_id(i, id);
    sqlite3_bind_text(s->stmt, 1, id, BENCH_ID_LEN, SQLITE_STATIC);
    if (sqlite3_step(s->stmt) != SQLITE_ROW)
        bench_fail("sqlite: SELECT: %s", sqlite3_errmsg(s->db));
    for (int at = 0; at < ROW_COLUMNS; at++)
        if (sqlite3_column_type(s->stmt, at) == SQLITE_INTEGER)
            bytes += (size_t)sqlite3_column_int64(s->stmt, at) & 1;
        else
            bytes += (size_t)sqlite3_column_bytes(s->stmt, at);
    if (bytes < BENCH_CONTENT_LEN)
        bench_fail("sqlite: SELECT: a row without content");
    sqlite3_reset(s->stmt);
}

static double select_whole_bare(void *arg)
{
    return bench_p50_us(select_whole, arg, READS);
}

static double select_bare(void *arg)
{
    return bench_p50_us(select_one, arg, READS);
}

static void bench_get(const struct bench *b, const struct bench_dir *dir)
{
    char url[256];
    struct reads r;
    bench_dir_path(dir, "sqlite:", "reads.db", url);
    reads_open(&r, NULL, url, M_OPS_L3_GET_HIT);
    struct side s = {.b = b, .db = open_file(url)}, whole = {.b = b, .db = open_file(url)};
    s.stmt = prepare(s.db, "SELECT version, payload_blob FROM sync_items WHERE id = ?");
    whole.stmt = prepare(whole.db,
                         "SELECT id, version, record_hash, updated_at, state, content_type, "
                         "encoding, content_hash, payload, payload_blob, bucket, leaf_hi, leaf_lo, "
                         "cache_ttl_ms, expires_at, deleted, route FROM sync_items WHERE id = ?");
    struct bench_side sides[] = {
        {.name = "ours", .run = reads_run, .arg = &r},
        {.name = "prepared SELECT",
         .run = select_bare,
         .arg = &s,
         .kind = BENCH_RATIO_MAX,
         .bar = 1.15},
        {.name = "the same, all columns", .run = select_whole_bare, .arg = &whole},
    };
    bench_pin();
    bench_compare(b, &(struct bench_subject){17, "se_get served by SQLite, p50", "us"}, sides, 3);
    bench_unpin();
    close_bare(&s);
    close_bare(&whole);
    reads_close(&r);
}

int main(int argc, char **argv)
{
    struct bench b;
    struct bench_dir dir;
    bench_init(&b, argc, argv);
    bench_dir_make(&dir, NULL);
    bench_flush(&b, &dir);
    if (batches_usual(&b))
        bench_get(&b, &dir);
    bench_dir_remove(&dir);
    return 0;
}
