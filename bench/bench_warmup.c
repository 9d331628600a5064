/*
 * bench_warmup - row 19: the filter's first scan of a million ids in MariaDB, beside a bare keyset scan
 * of ids.
 *
 * Ours reads pages of the index (bucket, id) through the tier, hashes each id and builds the 64 tables;
 * the figure is ids a second until the filter is trusted. The peer only fetches the ids, 10,000 a
 * statement, in their own order: from our table, and from one that has nothing but ids (no engine has
 * that one; it is what the server can give).
 */
#include "batches.h"
#include "mariadb.h"

#include "base/os.h"
#include "filter/warm.h"
#include "l3/l3.h"

#include <stdlib.h>
#include <string.h>

#define IDS 1000000u
#define PAGE 10000u

/* ---- ours ---- */

struct ours {
    struct tier tier;
    uint64_t ids;
    struct se__log log;
};

static void no_line(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    if (level <= SE_LOG_WARN)
        bench_fail("%s", message);
}

static se_result
nothing_pending(void *arg, void (*see)(void *see_arg, const char *id, size_t id_len), void *see_arg)
{
    (void)arg;
    (void)see;
    (void)see_arg;
    return SE_OK;
}

static uint64_t zero(void *arg)
{
    (void)arg;
    return 0;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static double warm_up(void *arg)
{
    struct ours *o = arg;
    const struct warm_options options = {.home = o->tier,
                                         .table = "items",
                                         .page_ids = PAGE,
                                         .timeout_ms = 30000,
                                         .log = &o->log,
                                         .pending = nothing_pending,
                                         .position = zero,
                                         .removals = zero,
                                         .stopping = never};
    struct warm *w;
    struct filter_stats stats;
    bench_check(se__warm_open(&options, &w), "warm");
    uint64_t start = se__mono_ns();
    (void)se__warm_run(w, "bench");
    uint64_t took = se__mono_ns() - start;
    se__filter_stats(se__warm_filter(w), &stats);
    if (se__filter_doubts(se__warm_filter(w)) || stats.ids < o->ids - o->ids / 1000)
        bench_fail("warm: not trusted, or ids are missing");
    se__warm_close(w);
    return (double)o->ids / (double)took * 1e3;
}

/* ---- the bare scan ---- */

struct bare {
    MYSQL *m;
    MYSQL_STMT *stmt;
    uint64_t ids;
    char after[BENCH_ID_LEN + 1], id[BENCH_ID_LEN + 1];
    unsigned long after_len, id_len;
};

static void open_bare(struct bare *b, const struct mariadb_server *s, const char *sql, uint64_t ids)
{
    *b = (struct bare){.m = bench_mariadb_connect(s), .ids = ids};
    MYSQL_BIND in = {.buffer_type = MYSQL_TYPE_BLOB,
                     .buffer = b->after,
                     .buffer_length = sizeof b->after,
                     .length = &b->after_len};
    MYSQL_BIND out = {.buffer_type = MYSQL_TYPE_BLOB,
                      .buffer = b->id,
                      .buffer_length = sizeof b->id,
                      .length = &b->id_len};
    b->stmt = mysql_stmt_init(b->m);
    if (!b->stmt || mysql_stmt_prepare(b->stmt, sql, strlen(sql)) != 0 ||
        mysql_stmt_bind_param(b->stmt, &in) != 0 || mysql_stmt_bind_result(b->stmt, &out) != 0)
        bench_fail("mysql: %s: %s", sql, b->stmt ? mysql_stmt_error(b->stmt) : "out of memory");
}

static void close_bare(struct bare *b)
{
    mysql_stmt_close(b->stmt);
    mysql_close(b->m);
}

/* Returns how many ids the page had. */
static uint64_t fetch_page(struct bare *b)
{
    uint64_t n = 0;
    int code = mysql_stmt_execute(b->stmt);
    while (code == 0 && (code = mysql_stmt_fetch(b->stmt)) == 0)
        n++;
    if (code != MYSQL_NO_DATA)
        bench_fail("mysql: SELECT: %s", mysql_stmt_error(b->stmt));
    mysql_stmt_free_result(b->stmt);
    memcpy(b->after, b->id, b->id_len);
    b->after_len = b->id_len;
    return n;
}

static double scan_bare(void *arg)
{
    struct bare *b = arg;
    uint64_t n, sum = 0, start = se__mono_ns();
    b->after_len = 0;
    do {
        n = fetch_page(b);
        sum += n;
    } while (n == PAGE);
    if (sum != b->ids)
        bench_fail("mysql: not all ids came");
    return (double)sum / (double)(se__mono_ns() - start) * 1e3;
}

/* ---- the table ---- */

static uint64_t load(const struct bench *b, struct tier *tier, struct mariadb_server *s)
{
    struct keys keys = keys_make(bench_scaled(b, IDS));
    batches_load(tier, &keys);
    uint64_t ids = keys.n / BATCH * BATCH;
    keys_free(&keys);
    if (!mariadb_exec(s, "CREATE TABLE only_ids (id VARBINARY(255) PRIMARY KEY); "
                         "INSERT INTO only_ids SELECT id FROM items; ANALYZE TABLE items"))
        bench_fail("mysql: cannot copy the ids");
    return ids;
}

static void run(const struct bench *b, struct mariadb_server *s, const char *url_text)
{
    struct url url;
    struct ours ours = {.log = {.fn = no_line}};
    bench_check(se__url_parse("sql_url", url_text, &url), "url");
    const struct l3_options o = {.url = &url,
                                 .table = "items",
                                 .timeout_ms = 30000,
                                 .read_connections = 1,
                                 .workers = 1,
                                 .tombstone_retention_s = 86400};
    bench_check(se__mysql_open(&o, &ours.tier), "mysql");
    bench_check(ours.tier.ops->prepare(ours.tier.self, se__deadline_in(10000)), "mysql");
    ours.ids = load(b, &ours.tier, s);
    struct bare same, narrow;
    open_bare(&same, s, "SELECT id FROM items WHERE id > ? ORDER BY id LIMIT 10000", ours.ids);
    open_bare(&narrow, s, "SELECT id FROM only_ids WHERE id > ? ORDER BY id LIMIT 10000", ours.ids);
    struct bench_side sides[] = {
        {.name = "ours", .run = warm_up, .arg = &ours},
        {.name = "bare scan of ids",
         .run = scan_bare,
         .arg = &same,
         .kind = BENCH_RATIO_MIN,
         .bar = 0.85},
        {.name = "the same, only ids", .run = scan_bare, .arg = &narrow},
    };
    bench_pin();
    bench_compare(b, &(struct bench_subject){19, "filter warm-up from L3", "M/s"}, sides, 3);
    bench_unpin();
    close_bare(&same);
    close_bare(&narrow);
    ours.tier.ops->close(ours.tier.self);
    se__url_done(&url);
}

int main(int argc, char **argv)
{
    struct bench b;
    char url[BENCH_MARIADB_URL_MAX];
    bench_init(&b, argc, argv);
    struct mariadb_server *server = bench_mariadb(url);
    run(&b, server, url);
    mariadb_close(server);
    return 0;
}
