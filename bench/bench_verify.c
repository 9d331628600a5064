/*
 * bench_verify - verifying a million items on Redis and MariaDB, beside bare scans of the same servers.
 *
 * Beside QUICK: SCAN with the first 120 bytes of every value, pipelined a page at a time, and then a keyset
 * scan of (id, version, record_hash). Beside DEEP the same with whole values and contents. Both look at
 * every record once and compare nothing. What DEEP adds to the process's peak of memory stands beside the
 * bound that it keeps to.
 *
 * The tiers are sound: a finding ends the program.
 */
#include "mariadb.h"

#include "base/os.h"
#include "support/redis_server.h"

#include <syncengine/syncengine.h>

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS 1000000u
#define PAGE_KEYS 1000u
#define PAGE_ROWS 10000u
#define HEAD_BYTES 120

struct stand {
    struct redis_server redis;
    struct mariadb_server *mariadb;
    char redis_url[256], sql_url[BENCH_MARIADB_URL_MAX];
    se_engine *engine;
    size_t items;
};

/* ---- set-up ---- */

static se_engine *open_engine(const struct stand *s)
{
    se_config c;
    se_config_init(&c);
    c.redis_url = s->redis_url;
    c.sql_url = s->sql_url;
    c.redis_timeout_ms = 2000; /* both CPUs are busy */
    c.sql_timeout_ms = 10000;
    c.require_backends = true;
    se_engine *e;
    bench_check(se_open(&c, &e), "se_open");
    return e;
}

static void load(struct stand *s)
{
    char id[BENCH_ID_LEN + 1];
    for (size_t i = 0; i < s->items; i++) {
        se_result r;
        bench_id(i, id);
        while ((r = se_submit(s->engine, id, bench_content(i), BENCH_CONTENT_LEN, NULL)) ==
               SE_ERR_BACKPRESSURE)
            se__pause_ms(1);
        bench_check(r, "se_submit");
    }
    bench_check(se_flush(s->engine, 120000), "se_flush");
}

static void make(struct stand *s, const struct bench *b)
{
    s->items = bench_scaled(b, ITEMS);
    redis_server_start(&s->redis, NULL);
    s->mariadb = bench_mariadb(s->sql_url);
    redis_server_url(&s->redis, s->redis_url, sizeof s->redis_url);
    s->engine = open_engine(s);
    load(s);
    bench_check(se_close(s->engine, 60000), "se_close");
    s->engine = open_engine(s);
}

static void end(struct stand *s)
{
    bench_check(se_close(s->engine, 60000), "se_close");
    mariadb_close(s->mariadb);
    redis_server_stop(&s->redis);
}

/* ---- ours ---- */

static double verify(struct stand *s, se_verify_mode mode)
{
    se_verify_options o;
    se_verify_report r;
    se_verify_options_init(&o);
    o.mode = mode;
    uint64_t start = se__mono_ns();
    bench_check(se_verify(s->engine, &o, &r), "se_verify");
    double seconds = (double)(se__mono_ns() - start) / 1e9;
    if (r.checked != s->items || !r.roots_equal ||
        r.stale_l2 + r.stale_l3 + r.corrupt_l2 + r.corrupt_l3 + r.orphan_l2)
        bench_fail("sound tiers, and yet: checked %llu, findings %llu",
                   (unsigned long long)r.checked,
                   (unsigned long long)(r.stale_l2 + r.stale_l3 + r.corrupt_l2 + r.corrupt_l3 +
                                        r.orphan_l2));
    return seconds;
}

static double quick(void *arg)
{
    return verify(arg, SE_VERIFY_QUICK);
}

/* ---- the bare scans ---- */

static redisReply *reply_of(redisContext *c)
{
    redisReply *reply = NULL;
    if (redisGetReply(c, (void **)&reply) != REDIS_OK || !reply)
        bench_fail("redis: %s", c->errstr);
    return reply;
}

static size_t scan_page(redisContext *c, bool whole, char cursor[32])
{
    redisAppendCommand(c, "SCAN %s MATCH sync:* COUNT %u", cursor, PAGE_KEYS);
    redisReply *page = reply_of(c);
    if (page->type != REDIS_REPLY_ARRAY || page->elements != 2)
        bench_fail("redis: SCAN");
    snprintf(cursor, 32, "%s", page->element[0]->str);
    const redisReply *keys = page->element[1];
    for (size_t i = 0; i < keys->elements; i++)
        redisAppendCommand(c, "GETRANGE %b 0 %d", keys->element[i]->str, keys->element[i]->len,
                           whole ? -1 : HEAD_BYTES - 1);
    for (size_t i = 0; i < keys->elements; i++)
        freeReplyObject(reply_of(c));
    size_t n = keys->elements;
    freeReplyObject(page);
    return n;
}

static size_t bare_scan(const struct stand *s, bool whole)
{
    redisContext *c = redisConnectUnix(s->redis.socket);
    char cursor[32] = "0";
    size_t n = 0;
    if (!c || c->err)
        bench_fail("redis: cannot connect");
    do
        n += scan_page(c, whole, cursor);
    while (strcmp(cursor, "0") != 0);
    redisFree(c);
    return n;
}

struct row {
    char id[256], hash[16], content[BENCH_CONTENT_LEN];
    unsigned long id_len, hash_len, content_len;
    long long version;
};

static size_t bare_page(MYSQL_STMT *stmt, struct row *row, MYSQL_BIND *params)
{
    size_t n = 0;
    if (mysql_stmt_bind_param(stmt, params) || mysql_stmt_execute(stmt))
        bench_fail("mysql: %s", mysql_stmt_error(stmt));
    MYSQL_BIND out[4] = {{.buffer_type = MYSQL_TYPE_BLOB,
                          .buffer = row->id,
                          .buffer_length = 255,
                          .length = &row->id_len},
                         {.buffer_type = MYSQL_TYPE_LONGLONG, .buffer = &row->version},
                         {.buffer_type = MYSQL_TYPE_BLOB,
                          .buffer = row->hash,
                          .buffer_length = 16,
                          .length = &row->hash_len},
                         {.buffer_type = MYSQL_TYPE_BLOB,
                          .buffer = row->content,
                          .buffer_length = BENCH_CONTENT_LEN,
                          .length = &row->content_len}};
    if (mysql_stmt_bind_result(stmt, out) || mysql_stmt_store_result(stmt))
        bench_fail("mysql: %s", mysql_stmt_error(stmt));
    while (mysql_stmt_fetch(stmt) == 0)
        n++;
    mysql_stmt_free_result(stmt);
    return n;
}

static size_t bare_keyset(const struct stand *s, bool whole)
{
    const char *text = whole
                           ? "SELECT id, version, record_hash, payload_blob FROM sync_items WHERE "
                             "id > ? ORDER BY id LIMIT ?"
                           : "SELECT id, version, record_hash FROM sync_items WHERE id > ? ORDER "
                             "BY id LIMIT ?";
    unsigned limit = whole ? PAGE_ROWS / 10 : PAGE_ROWS;
    MYSQL *m = bench_mariadb_connect(s->mariadb);
    MYSQL_STMT *stmt = mysql_stmt_init(m);
    if (!stmt || mysql_stmt_prepare(stmt, text, strlen(text)))
        bench_fail("mysql: cannot prepare");
    struct row row = {.id_len = 0};
    MYSQL_BIND params[2] = {{.buffer_type = MYSQL_TYPE_BLOB,
                             .buffer = row.id,
                             .buffer_length = 255,
                             .length = &row.id_len},
                            {.buffer_type = MYSQL_TYPE_LONG, .buffer = &limit}};
    size_t n = 0, page;
    do
        n += page = bare_page(stmt, &row, params);
    while (page == limit);
    mysql_stmt_close(stmt);
    mysql_close(m);
    return n;
}

static double bare(const struct stand *s, bool whole)
{
    uint64_t start = se__mono_ns();
    size_t keys = bare_scan(s, whole), rows = bare_keyset(s, whole);
    double seconds = (double)(se__mono_ns() - start) / 1e9;
    if (keys < s->items || rows != s->items)
        bench_fail("%zu keys and %zu rows of %zu", keys, rows, s->items);
    return seconds;
}

static double bare_heads(void *arg)
{
    return bare(arg, false);
}

static double bare_whole(void *arg)
{
    return bare(arg, true);
}

/* ---- deep ---- */

/* VmHWM of this process, in MiB. */
static double peak_mib(void)
{
    char line[128];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtod(line + 6, NULL);
    if (f)
        (void)fclose(f);
    return kib / 1024;
}

static void reset_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f) {
        (void)fputs("5", f);
        (void)fclose(f);
    }
}

static double deep(void *arg)
{
    return verify(arg, SE_VERIFY_DEEP);
}

static void bench_memory(const struct bench *b, struct stand *s)
{
    double bound = 64, before, added;
    reset_peak();
    before = peak_mib();
    (void)deep(s);
    added = peak_mib() - before;
    struct bench_side sides[] = {
        {"DEEP", bench_known, &added, BENCH_NO_BAR, 0},
        {"the bound on what is kept of Redis", bench_known, &bound, BENCH_NO_BAR, 0}};
    bench_compare(b, &(struct bench_subject){0, "added to the peak of memory", "MiB"}, sides, 2);
}

int main(int argc, char **argv)
{
    struct bench b;
    struct stand s = {.items = 0};
    bench_init(&b, argc, argv);
    make(&s, &b);
    struct bench_side quicks[] = {
        {"se_verify", quick, &s, BENCH_NO_BAR, 0},
        {"bare SCAN, headers; bare keyset scan", bare_heads, &s, BENCH_RATIO_MAX, 2.0}};
    struct bench_side deeps[] = {{"se_verify", deep, &s, BENCH_NO_BAR, 0},
                                 {"the same with contents", bare_whole, &s, BENCH_NO_BAR, 0}};
    bench_memory(&b, &s);
    bench_compare(&b, &(struct bench_subject){0, "QUICK verify of 1 M items", "s"}, quicks, 2);
    bench_compare(&b, &(struct bench_subject){0, "DEEP verify of 1 M items", "s"}, deeps, 2);
    end(&s);
    return 0;
}
