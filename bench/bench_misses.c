/*
 * bench_misses - what reads cost that L1 does not have, for 1, 4, 16 and 64 threads at once.
 *
 *   served by L2   every id is in Redis. The peer: hiredis, a GET
 *   loaded         no id is in Redis, all are in MariaDB; afterwards all are in both. The peer: cache-aside
 *                  by hand, GET, prepared SELECT, SET
 *   from SQLite    no Redis; every id is in a SQLite file. The peer: a prepared SELECT
 *
 * The peers' threads have a connection each; ours share the engine's pools (read_connections, 4 of
 * each backend by default). The engine's counters prove that each read came from the tier it
 * should.
 * Threads are pinned to no CPU.
 */
#include "mariadb.h"
#include "reads.h"

#include "support/redis_server.h"

#include "base/os.h"
#include "engine/engine.h"

#include <hiredis/hiredis.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#define THREADS_MAX 64u
#define ROUND 8000u /* reads of a round, all threads together */

struct misses {
    struct redis_server *redis;
    struct mariadb_server *mariadb;
    struct reads reads; /* ours: the engine, and how far around the ids it is */
    size_t bare_next;
    unsigned threads;
    enum { FROM_L2, LOADED, FROM_SQLITE } from;
};

/* One thread of a round: reads `n` ids from the `from`-th on. */
struct runner {
    struct misses *m;
    struct se__thread thread;
    size_t from, n;
    void (*run)(struct runner *r);
    /* the peer's own */
    redisContext *redis;
    MYSQL *mysql;
    MYSQL_STMT *select;
    sqlite3 *db;
    sqlite3_stmt *stmt;
    char id[BENCH_ID_LEN + 1], content[2 * BENCH_CONTENT_LEN];
    int64_t version;
    unsigned long content_len;
};
static struct runner runners[THREADS_MAX];

/* ---- ours ---- */

static void read_ours(struct runner *r)
{
    char id[BENCH_ID_LEN + 1];
    for (size_t i = 0; i < r->n; i++) {
        se_item *item;
        reads_id(r->from + i, id);
        bench_check(se_get(r->m->reads.engine, id, &item), "se_get");
        se_item_release(item);
    }
}

/* ---- by hand ---- */

static redisReply *ask(struct runner *r, const char *format, const char *key, const void *value)
{
    redisReply *reply = redisCommand(r->redis, format, key, value, (size_t)BENCH_CONTENT_LEN);
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        bench_fail("hiredis: %s", r->redis->errstr);
    return reply;
}

static void select_row(struct runner *r)
{
    int code = mysql_stmt_execute(r->select);
    if (code == 0)
        code = mysql_stmt_fetch(r->select);
    if (code != 0 || r->content_len != BENCH_CONTENT_LEN)
        bench_fail("mysql: SELECT: %s", mysql_stmt_error(r->select));
    mysql_stmt_free_result(r->select);
}

static void read_bare(struct runner *r)
{
    char key[8 + BENCH_ID_LEN] = "bare:";
    for (size_t i = 0; i < r->n; i++) {
        reads_id(r->from + i, r->id);
        memcpy(key + 5, r->id, BENCH_ID_LEN + 1);
        redisReply *reply = ask(r, "GET %s", key, NULL);
        if ((reply->type == REDIS_REPLY_NIL) != (r->m->from == LOADED))
            bench_fail("hiredis: GET found what it should not, or did not");
        freeReplyObject(reply);
        if (r->m->from == FROM_L2)
            continue;
        select_row(r);
        freeReplyObject(ask(r, "SET %s %b", key, r->content));
    }
}

static void read_sqlite(struct runner *r)
{
    for (size_t i = 0; i < r->n; i++) {
        reads_id(r->from + i, r->id);
        sqlite3_bind_text(r->stmt, 1, r->id, BENCH_ID_LEN, SQLITE_STATIC);
        if (sqlite3_step(r->stmt) != SQLITE_ROW ||
            sqlite3_column_bytes(r->stmt, 1) != BENCH_CONTENT_LEN)
            bench_fail("sqlite: SELECT: %s", sqlite3_errmsg(r->db));
        memcpy(r->content, sqlite3_column_blob(r->stmt, 1), BENCH_CONTENT_LEN);
        sqlite3_reset(r->stmt);
    }
}

static void prepare_select(struct runner *r)
{
    static const char sql[] = "SELECT version, payload_blob FROM sync_items WHERE id = ?";
    static unsigned long id_len = BENCH_ID_LEN;
    r->select = mysql_stmt_init(r->mysql);
    MYSQL_BIND in = {.buffer_type = MYSQL_TYPE_BLOB,
                     .buffer = r->id,
                     .buffer_length = BENCH_ID_LEN,
                     .length = &id_len};
    MYSQL_BIND out[] = {
        {.buffer_type = MYSQL_TYPE_LONGLONG, .buffer = &r->version},
        {.buffer_type = MYSQL_TYPE_BLOB,
         .buffer = r->content,
         .buffer_length = sizeof r->content,
         .length = &r->content_len},
    };
    if (!r->select || mysql_stmt_prepare(r->select, sql, sizeof sql - 1) != 0 ||
        mysql_stmt_bind_param(r->select, &in) != 0 || mysql_stmt_bind_result(r->select, out) != 0)
        bench_fail("mysql: %s", mysql_error(r->mysql));
}

static void connect_all(struct misses *m)
{
    for (size_t i = 0; i < THREADS_MAX; i++) {
        struct runner *r = &runners[i];
        r->redis = redisConnectUnix(m->redis->socket);
        if (!r->redis || r->redis->err)
            bench_fail("hiredis: cannot connect");
        r->mysql = bench_mariadb_connect(m->mariadb);
        prepare_select(r);
    }
}

static void disconnect_all(void)
{
    for (size_t i = 0; i < THREADS_MAX; i++) {
        redisFree(runners[i].redis);
        mysql_stmt_close(runners[i].select);
        mysql_close(runners[i].mysql);
    }
}

/* ---- rounds ---- */

static void run_runner(void *arg)
{
    struct runner *r = arg;
    r->run(r);
}

/* All threads together: thousands of reads a second. */
static double run_all(struct misses *m, size_t from, void (*run)(struct runner *r))
{
    size_t share = ROUND / m->threads;
    uint64_t start = se__mono_ns();
    for (unsigned i = 0; i < m->threads; i++) {
        struct runner *r = &runners[i];
        r->m = m;
        r->from = from + i * share;
        r->n = share;
        r->run = run;
        bench_check(se__thread_start(&r->thread, "bench-read", run_runner, r), "thread");
    }
    for (unsigned i = 0; i < m->threads; i++)
        se__thread_join(&runners[i].thread);
    return (double)(share * m->threads) / (double)(se__mono_ns() - start) * 1e6;
}

static void empty_redis(void)
{
    freeReplyObject(ask(&runners[0], "FLUSHALL", NULL, NULL));
}

static double ours(void *arg)
{
    struct misses *m = arg;
    enum metric hits = m->from == FROM_L2 ? M_OPS_L2_GET_HIT : M_OPS_L3_GET_HIT;
    if (m->from == LOADED)
        empty_redis();
    uint64_t before = se__metrics_sum(m->reads.engine->metrics, hits);
    double figure = run_all(m, m->reads.next, read_ours);
    uint64_t served = se__metrics_sum(m->reads.engine->metrics, hits) - before;
    if (served < ROUND - ROUND / 20) /* L1 keeps a few, and threads end apart */
        bench_fail("the tier has served %llu of %u reads", (unsigned long long)served, ROUND);
    m->reads.next += ROUND;
    return figure;
}

static double bare(void *arg)
{
    struct misses *m = arg;
    if (m->from == LOADED)
        empty_redis();
    double figure = run_all(m, m->bare_next, m->from == FROM_SQLITE ? read_sqlite : read_bare);
    m->bare_next += ROUND;
    return figure;
}

/* ---- subjects ---- */

static void bench_threads(const struct bench *b, struct misses *m)
{
    static const unsigned counts[] = {1, 4, 16, 64};
    static const char *const subjects[] = {"served by L2", "loaded", "served by SQLite"};
    static const char *const peers[] = {"hiredis GET", "GET, SELECT, SET", "prepared SELECT"};
    char what[64];
    struct bench_side sides[] = {
        {.name = "ours", .run = ours, .arg = m},
        {.name = peers[m->from], .run = bare, .arg = m},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        m->threads = counts[i];
        snprintf(what, sizeof what, "%s, %u threads", subjects[m->from], m->threads);
        bench_compare(b, &(struct bench_subject){0, what, "k/s"}, sides, 2);
    }
}

/* The peer's keys, as long as a value of ours. */
static void load_bare(void)
{
    char key[8 + BENCH_ID_LEN] = "bare:";
    for (size_t i = 0; i < READ_ITEMS; i++) {
        reads_id(i, key + 5);
        freeReplyObject(ask(&runners[0], "SET %s %b", key, bench_content(i)));
    }
}

static void bench_servers(const struct bench *b)
{
    struct redis_server redis;
    char redis_url[256], sql_url[BENCH_MARIADB_URL_MAX];
    redis_server_start(&redis, NULL);
    redis_server_url(&redis, redis_url, sizeof redis_url);
    struct misses m = {.redis = &redis, .mariadb = bench_mariadb(sql_url)};
    reads_open(&m.reads, redis_url, sql_url, M_OPS_L2_GET_HIT);
    connect_all(&m);
    load_bare();
    bench_threads(b, &m);
    m.from = LOADED;
    bench_threads(b, &m);
    disconnect_all();
    reads_close(&m.reads);
    redis_server_stop(&redis);
    mariadb_close(m.mariadb);
}

static void bench_sqlite(const struct bench *b)
{
    struct bench_dir dir;
    struct misses m = {.from = FROM_SQLITE};
    char url[256];
    bench_dir_make(&dir, NULL);
    bench_dir_path(&dir, "sqlite:", "reads.db", url);
    reads_open(&m.reads, NULL, url, M_OPS_L3_GET_HIT);
    for (struct runner *r = runners; r < runners + THREADS_MAX; r++)
        if (sqlite3_open(url + strlen("sqlite:"), &r->db) != SQLITE_OK ||
            sqlite3_prepare_v3(r->db, "SELECT version, payload_blob FROM sync_items WHERE id = ?",
                               -1, SQLITE_PREPARE_PERSISTENT, &r->stmt, NULL) != SQLITE_OK)
            bench_fail("sqlite: cannot prepare");
    bench_threads(b, &m);
    for (struct runner *r = runners; r < runners + THREADS_MAX; r++) {
        sqlite3_finalize(r->stmt);
        sqlite3_close(r->db);
    }
    reads_close(&m.reads);
    bench_dir_remove(&dir);
}

int main(int argc, char **argv)
{
    struct bench b;
    bench_init(&b, argc, argv);
    bench_servers(&b);
    bench_sqlite(&b);
    return 0;
}
