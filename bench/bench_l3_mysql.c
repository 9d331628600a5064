/*
 * bench_l3_mysql - rows 11 and 17 on MariaDB: guarded batches through the tier, and se_get, beside
 * the bare connector.
 *
 * The peer upserts the same kind of rows with array binding, a transaction a batch, without the
 * guard: into our table and into one without secondary indices. Its column values are computed
 * before they are timed; ours are part of the tier's work.
 */
#include "mariadb.h"
#include "reads.h"
#include "rows.h"

#include "base/os.h"
#include "l3/l3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 400000u
#define ITEMS 20000u /* a round */

struct bare {
    const struct bench *b;
    const struct keys *keys;
    MYSQL *m;
    MYSQL_STMT *upsert;
    struct meter meter;
};
struct ours {
    const struct bench *b;
    const struct keys *keys;
    struct tier tier;
    struct meter meter;
};

static double send_ours(void *arg)
{
    struct ours *o = arg;
    struct batches b = batches_random(o->b, o->keys, ITEMS);
    meter_begin(&o->meter);
    double figure = batches_send(&o->tier, &b);
    meter_end(&o->meter, b.n * b.size);
    batches_free(&b);
    return figure;
}

/* ---- the bare loop ---- */

static MYSQL_STMT *prepare(MYSQL *m, const char *sql)
{
    MYSQL_STMT *stmt = mysql_stmt_init(m);
    if (!stmt || mysql_stmt_prepare(stmt, sql, strlen(sql)) != 0)
        bench_fail("mysql: %s", stmt ? mysql_stmt_error(stmt) : "out of memory");
    return stmt;
}

static struct bare open_bare(const struct ours *o, const struct mariadb_server *s,
                             const char *table)
{
    struct bare bare = {
        .b = o->b, .keys = o->keys, .m = bench_mariadb_connect(s), .meter = {.server = s->pid}};
    static const struct rows_clause clause = {" ON DUPLICATE KEY UPDATE", "VALUES(", ")", false};
    char *sql = rows_statement("INSERT INTO", table, &clause);
    bare.upsert = prepare(bare.m, sql);
    free(sql);
    return bare;
}

static void close_bare(struct bare *bare)
{
    mysql_stmt_close(bare->upsert);
    mysql_close(bare->m);
}

struct column {
    char indicator[BENCH_BATCH_MAX];
    unsigned long length[BENCH_BATCH_MAX];
    union {
        int64_t number[BENCH_BATCH_MAX];
        const void *bytes[BENCH_BATCH_MAX];
    };
    bool is_number;
};

static void fill(struct column *c, const struct sql_row *rows, size_t n, unsigned at)
{
    c->is_number = rows[0].value[at].type == DB_INT;
    for (size_t i = 0; i < n; i++) {
        const struct db_value *v = &rows[i].value[at];
        c->indicator[i] = v->type == DB_NULL ? STMT_INDICATOR_NULL : STMT_INDICATOR_NONE;
        c->length[i] = v->len;
        if (c->is_number)
            c->number[i] = v->number;
        else
            c->bytes[i] = v->len ? v->bytes : "";
    }
}

static bool execute_batch(struct bare *bare, const struct sql_row *rows)
{
    static struct column columns[ROW_COLUMNS];
    MYSQL_BIND bind[ROW_COLUMNS];
    unsigned size = bare->b->batch;
    for (unsigned i = 0; i < ROW_COLUMNS; i++) {
        fill(&columns[i], rows, size, i);
        bind[i] = (MYSQL_BIND){.buffer_type =
                                   columns[i].is_number ? MYSQL_TYPE_LONGLONG : MYSQL_TYPE_BLOB,
                               .buffer = columns[i].number,
                               .length = columns[i].length,
                               .u.indicator = columns[i].indicator};
    }
    return mysql_stmt_attr_set(bare->upsert, STMT_ATTR_ARRAY_SIZE, &size) == 0 &&
           mysql_stmt_bind_param(bare->upsert, bind) == 0 && mysql_stmt_execute(bare->upsert) == 0;
}

static void send_batch(struct bare *bare, const struct sql_row *rows)
{
    if (mysql_query(bare->m, "START TRANSACTION") != 0 || !execute_batch(bare, rows) ||
        mysql_query(bare->m, "COMMIT") != 0)
        bench_fail("mysql: %s %s", mysql_error(bare->m), mysql_stmt_error(bare->upsert));
}

static double send_bare(void *arg)
{
    struct bare *bare = arg;
    struct batches b = batches_random(bare->b, bare->keys, ITEMS);
    struct sql_row *rows = rows_of(&b);
    meter_begin(&bare->meter);
    uint64_t start = se__mono_ns();
    for (size_t i = 0; i < b.n; i++)
        send_batch(bare, rows + i * b.size);
    double figure = (double)(b.n * b.size) / (double)(se__mono_ns() - start) * 1e6;
    meter_end(&bare->meter, b.n * b.size);
    free(rows);
    batches_free(&b);
    return figure;
}

/* ---- row 11 ---- */

static void copy_without_indices(struct mariadb_server *s)
{
    if (!mariadb_exec(
            s, "CREATE TABLE plain LIKE items; ALTER TABLE plain DROP KEY state, DROP KEY bucket, "
               "DROP KEY purge_at; INSERT INTO plain SELECT * FROM items"))
        bench_fail("mysql: cannot copy the table");
}

static void bench_flush(const struct bench *b, struct mariadb_server *s, const char *url_text)
{
    struct url url;
    struct keys keys = keys_make(bench_scaled(b, KEYS));
    struct ours ours = {.b = b, .keys = &keys, .meter = {.server = s->pid}};
    bench_check(se__url_parse("sql_url", url_text, &url), "url");
    struct l3_options o = {.url = &url,
                           .table = "items",
                           .timeout_ms = 30000,
                           .read_connections = 1,
                           .workers = 1,
                           .tombstone_retention_s = 86400};
    bench_check(se__mysql_open(&o, &ours.tier), "mysql");
    bench_check(ours.tier.ops->prepare(ours.tier.self, se__deadline_in(10000)), "mysql");
    batches_load(&ours.tier, &keys);
    copy_without_indices(s);
    struct bare same = open_bare(&ours, s, "items"), plain = open_bare(&ours, s, "plain");
    struct bench_side sides[] = {
        {.name = "ours", .run = send_ours, .arg = &ours},
        {.name = "array binding",
         .run = send_bare,
         .arg = &same,
         .kind = batches_usual(b) ? BENCH_RATIO_MIN : BENCH_NO_BAR,
         .bar = 0.85},
        {.name = "the same, no indices", .run = send_bare, .arg = &plain},
    };
    bench_pin();
    struct batches_what what = batches_what(b, "L3 flush MySQL", "");
    bench_compare(b, &(struct bench_subject){11, what.text, "k/s"}, sides, 3);
    bench_unpin();
    meter_report(b, 11, "L3 flush MySQL", &ours.meter, &same.meter, sides[1].name);
    close_bare(&same);
    close_bare(&plain);
    ours.tier.ops->close(ours.tier.self);
    keys_free(&keys);
    se__url_done(&url);
}

/* ---- row 17 ---- */

struct select {
    MYSQL_STMT *stmt;
    char id[BENCH_ID_LEN + 1], content[2 * BENCH_CONTENT_LEN];
    int64_t version;
    unsigned long id_len, content_len;
};

static void select_one(void *arg, size_t i)
{
    struct select *s = arg;
    reads_id(i, s->id);
    int code = mysql_stmt_execute(s->stmt);
    if (code == 0)
        code = mysql_stmt_fetch(s->stmt);
    if (code != 0 || s->content_len != BENCH_CONTENT_LEN)
        bench_fail("mysql: SELECT: %s", mysql_stmt_error(s->stmt));
    mysql_stmt_free_result(s->stmt);
}

static double select_bare(void *arg)
{
    return bench_p50_us(select_one, arg, READS);
}

static void prepare_select(struct select *s, MYSQL *m)
{
    *s = (struct select){.id_len = BENCH_ID_LEN};
    s->stmt = prepare(m, "SELECT version, payload_blob FROM sync_items WHERE id = ?");
    MYSQL_BIND in = {.buffer_type = MYSQL_TYPE_BLOB,
                     .buffer = s->id,
                     .buffer_length = BENCH_ID_LEN,
                     .length = &s->id_len};
    MYSQL_BIND out[] = {
        {.buffer_type = MYSQL_TYPE_LONGLONG, .buffer = &s->version},
        {.buffer_type = MYSQL_TYPE_BLOB,
         .buffer = s->content,
         .buffer_length = sizeof s->content,
         .length = &s->content_len},
    };
    if (mysql_stmt_bind_param(s->stmt, &in) != 0 || mysql_stmt_bind_result(s->stmt, out) != 0)
        bench_fail("mysql: %s", mysql_stmt_error(s->stmt));
}

static void bench_get(const struct bench *b, struct mariadb_server *server, const char *url)
{
    struct reads r;
    struct select s;
    MYSQL *m = bench_mariadb_connect(server);
    reads_open(&r, NULL, url, M_OPS_L3_GET_HIT);
    prepare_select(&s, m);
    struct bench_side sides[] = {
        {.name = "ours", .run = reads_run, .arg = &r},
        {.name = "prepared SELECT",
         .run = select_bare,
         .arg = &s,
         .kind = BENCH_RATIO_MAX,
         .bar = 1.15},
    };
    bench_pin();
    bench_compare(b, &(struct bench_subject){17, "se_get served by MySQL, p50", "us"}, sides, 2);
    bench_unpin();
    reads_close(&r);
    mysql_stmt_close(s.stmt);
    mysql_close(m);
}

int main(int argc, char **argv)
{
    struct bench b;
    char url[BENCH_MARIADB_URL_MAX];
    bench_init(&b, argc, argv);
    struct mariadb_server *server = bench_mariadb(url);
    bench_flush(&b, server, url);
    if (batches_usual(&b))
        bench_get(&b, server, url);
    mariadb_close(server);
    return 0;
}
