/*
 * bench_many - row 16: se_get_many of 100 ids that L1 does not have, served by Redis, by MariaDB
 * and by SQLite.
 *
 * The peers read the same ids in the same order: hiredis with a pipeline of 100 GETs, the connector
 * and SQLite with a prepared IN of 100 placeholders that asks for id, version and content; and, for
 * comparison, for all the columns that ours has to ask for. Ours checks every hash, makes an item
 * of each row and caches it. The engine's counters prove that each id came from the tier.
 */
#include "mariadb.h"
#include "reads.h"

#include "support/redis_server.h"

#include "base/os.h"

#include <hiredis/hiredis.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

/* A peer that reads MANY ids from the `from`-th on, and thousands of ids a second of it. */
struct peer {
    void (*read)(void *self, size_t from);
    void *self;
};

static double run_peer(void *arg)
{
    struct peer *p = arg;
    uint64_t start = se__mono_ns();
    for (size_t i = 0; i < READ_ITEMS; i += MANY)
        p->read(p->self, i);
    return (double)READ_ITEMS / (double)(se__mono_ns() - start) * 1e6;
}

/* whole: the peer that reads all columns, or NULL. */
static void compare(const struct bench *b, const char *what, struct reads *r, const char *name,
                    struct peer *peer, struct peer *whole)
{
    struct bench_side sides[] = {
        {.name = "ours", .run = reads_run_many, .arg = r},
        {.name = name, .run = run_peer, .arg = peer, .kind = BENCH_RATIO_MIN, .bar = 0.85},
        {.name = "the same, all columns", .run = run_peer, .arg = whole},
    };
    bench_pin();
    bench_compare(b, &(struct bench_subject){16, what, "k/s"}, sides, whole ? 3 : 2);
    bench_unpin();
}

#define TEXT_SIZE 1024u
#define COLUMNS 17 /* of which the first three are those of the shorter statement */

/* "SELECT id, version, payload_blob ... WHERE id IN (?, ...)" */
static void select_text(bool whole, char out[TEXT_SIZE])
{
    static const char rest[] = ", record_hash, state, content_hash, payload, updated_at, "
                               "content_type, encoding, bucket, leaf_hi, leaf_lo, cache_ttl_ms, "
                               "expires_at, deleted, route";
    int len = snprintf(out, TEXT_SIZE,
                       "SELECT id, version, payload_blob%s FROM sync_items WHERE id IN (?",
                       whole ? rest : "");
    for (unsigned i = 1; i < MANY; i++)
        len += snprintf(out + len, TEXT_SIZE - (unsigned)len, ",?");
    (void)snprintf(out + len, TEXT_SIZE - (unsigned)len, ")");
}

/* ---- Redis ---- */

static void get_many(void *self, size_t from)
{
    redisContext *c = self;
    for (size_t i = 0; i < MANY; i++) {
        char key[8 + BENCH_ID_LEN] = "sync:";
        reads_id(from + i, key + 5);
        const char *argv[] = {"GET", key};
        size_t len[] = {3, 5 + BENCH_ID_LEN};
        redisAppendCommandArgv(c, 2, argv, len);
    }
    for (size_t i = 0; i < MANY; i++) {
        redisReply *reply = NULL;
        if (redisGetReply(c, (void **)&reply) != REDIS_OK || reply->type != REDIS_REPLY_STRING ||
            reply->len < BENCH_CONTENT_LEN)
            bench_fail("hiredis: GET: %s", c->errstr);
        freeReplyObject(reply);
    }
}

static void bench_redis(const struct bench *b)
{
    struct redis_server server;
    struct bench_dir dir;
    char url[256], sql_url[256];
    struct reads r;
    redis_server_start(&server, NULL);
    bench_pin_server(server.pid);
    redis_server_url(&server, url, sizeof url);
    bench_dir_make(&dir, NULL);
    bench_dir_path(&dir, "sqlite:", "home.db", sql_url);
    reads_open(&r, url, sql_url, M_OPS_L2_GET_HIT);
    redisContext *c = redisConnectUnix(server.socket);
    if (!c || c->err)
        bench_fail("hiredis: cannot connect");
    compare(b, "se_get_many of 100 from L2", &r, "hiredis GET pipeline",
            &(struct peer){get_many, c}, NULL);
    redisFree(c);
    reads_close(&r);
    bench_dir_remove(&dir);
    redis_server_stop(&server);
}

/* ---- MariaDB ---- */

struct select {
    MYSQL_STMT *stmt;
    char ids[MANY][BENCH_ID_LEN + 1], id[BENCH_ID_LEN], content[2 * BENCH_CONTENT_LEN];
    int64_t version, numbers[COLUMNS];
    unsigned long id_len, content_len, lengths[COLUMNS];
    char texts[COLUMNS][64];
    my_bool nulls[COLUMNS];
};

static void select_many(void *self, size_t from)
{
    struct select *s = self;
    size_t rows = 0;
    for (size_t i = 0; i < MANY; i++)
        reads_id(from + i, s->ids[i]);
    int code = mysql_stmt_execute(s->stmt);
    while (code == 0 && (code = mysql_stmt_fetch(s->stmt)) == 0)
        rows += s->content_len == BENCH_CONTENT_LEN && s->id_len == BENCH_ID_LEN;
    if (code != MYSQL_NO_DATA || rows != MANY)
        bench_fail("mysql: SELECT: %s", mysql_stmt_error(s->stmt));
    mysql_stmt_free_result(s->stmt);
}

static void prepare_select(struct select *s, MYSQL *m, bool whole)
{
    char sql[TEXT_SIZE];
    MYSQL_BIND in[MANY];
    unsigned long len = BENCH_ID_LEN;
    select_text(whole, sql);
    *s = (struct select){.stmt = mysql_stmt_init(m)};
    for (size_t i = 0; i < MANY; i++)
        in[i] =
            (MYSQL_BIND){.buffer_type = MYSQL_TYPE_BLOB, .buffer = s->ids[i], .buffer_length = len};
    MYSQL_BIND out[COLUMNS] = {
        {.buffer_type = MYSQL_TYPE_BLOB,
         .buffer = s->id,
         .buffer_length = sizeof s->id,
         .length = &s->id_len},
        {.buffer_type = MYSQL_TYPE_LONGLONG, .buffer = &s->version},
        {.buffer_type = MYSQL_TYPE_BLOB,
         .buffer = s->content,
         .buffer_length = sizeof s->content,
         .length = &s->content_len},
    };
    for (unsigned i = 3; i < COLUMNS; i++) /* four strings, then numbers */
        out[i] = (MYSQL_BIND){.buffer_type = i < 7 ? MYSQL_TYPE_BLOB : MYSQL_TYPE_LONGLONG,
                              .buffer = i < 7 ? (void *)s->texts[i] : (void *)&s->numbers[i],
                              .buffer_length = i < 7 ? sizeof s->texts[i] : sizeof s->numbers[i],
                              .length = &s->lengths[i],
                              .is_null = &s->nulls[i]};
    if (!s->stmt || mysql_stmt_prepare(s->stmt, sql, strlen(sql)) != 0 ||
        mysql_stmt_bind_param(s->stmt, in) != 0 || mysql_stmt_bind_result(s->stmt, out) != 0)
        bench_fail("mysql: %s", mysql_error(m));
}

static void bench_mysql(const struct bench *b)
{
    char url[BENCH_MARIADB_URL_MAX];
    static struct select s, whole;
    struct reads r;
    struct mariadb_server *server = bench_mariadb(url);
    reads_open(&r, NULL, url, M_OPS_L3_GET_HIT);
    MYSQL *m = bench_mariadb_connect(server);
    MYSQL *other = bench_mariadb_connect(server);
    prepare_select(&s, m, false);
    prepare_select(&whole, other, true);
    compare(b, "se_get_many of 100 from MySQL", &r, "prepared IN (100)",
            &(struct peer){select_many, &s}, &(struct peer){select_many, &whole});
    mysql_stmt_close(s.stmt);
    mysql_stmt_close(whole.stmt);
    mysql_close(m);
    mysql_close(other);
    reads_close(&r);
    mariadb_close(server);
}

/* ---- SQLite ---- */

/* Every number, and the length of every string. */
static size_t look_at_rest(sqlite3_stmt *stmt)
{
    size_t sum = 0;
    for (int i = 3; i < sqlite3_column_count(stmt); i++)
        if (sqlite3_column_type(stmt, i) == SQLITE_INTEGER)
            sum += (size_t)sqlite3_column_int64(stmt, i) & 1;
        else
            sum += (size_t)sqlite3_column_bytes(stmt, i);
    return sum;
}

static void step_many(void *self, size_t from)
{
    sqlite3_stmt *stmt = self;
    size_t rest = 0;
    char ids[MANY][BENCH_ID_LEN + 1], content[BENCH_CONTENT_LEN];
    size_t rows = 0;
    for (size_t i = 0; i < MANY; i++) {
        reads_id(from + i, ids[i]);
        sqlite3_bind_text(stmt, (int)i + 1, ids[i], BENCH_ID_LEN, SQLITE_STATIC);
    }
    while (sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_bytes(stmt, 2) == BENCH_CONTENT_LEN) {
        memcpy(content, sqlite3_column_blob(stmt, 2), BENCH_CONTENT_LEN);
        rows += sqlite3_column_text(stmt, 0) != NULL;
        rest += look_at_rest(stmt);
    }
    if (rows != MANY || (sqlite3_column_count(stmt) > 3 && rest == 0))
        bench_fail("sqlite: SELECT: %zu of %u rows", rows, MANY);
    sqlite3_reset(stmt);
}

static sqlite3_stmt *prepare(const char *url, bool whole)
{
    char sql[TEXT_SIZE];
    sqlite3 *db;
    sqlite3_stmt *stmt;
    select_text(whole, sql);
    if (sqlite3_open(url + strlen("sqlite:"), &db) != SQLITE_OK ||
        sqlite3_exec(db, "PRAGMA cache_size=-16384", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) != SQLITE_OK)
        bench_fail("sqlite: cannot prepare");
    return stmt;
}

static void finish(sqlite3_stmt *stmt)
{
    sqlite3 *db = sqlite3_db_handle(stmt);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

static void bench_sqlite(const struct bench *b)
{
    struct bench_dir dir;
    char url[256];
    struct reads r;
    bench_dir_make(&dir, NULL);
    bench_dir_path(&dir, "sqlite:", "reads.db", url);
    reads_open(&r, NULL, url, M_OPS_L3_GET_HIT);
    sqlite3_stmt *stmt = prepare(url, false), *whole = prepare(url, true);
    compare(b, "se_get_many of 100 from SQLite", &r, "prepared IN (100)",
            &(struct peer){step_many, stmt}, &(struct peer){step_many, whole});
    finish(stmt);
    finish(whole);
    reads_close(&r);
    bench_dir_remove(&dir);
}

int main(int argc, char **argv)
{
    struct bench b;
    bench_init(&b, argc, argv);
    bench_redis(&b);
    bench_mysql(&b);
    bench_sqlite(&b);
    return 0;
}
