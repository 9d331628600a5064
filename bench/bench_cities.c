/*
 * bench_cities - a whole life with real records: a file of JSON lines, each with an "id", is loaded,
 * read cold and drained after an outage, embedded and on Redis and MariaDB.
 *
 *   embedded   L1 and a SQLite file: load (until all of it is committed), and with a new engine a cold
 *              read of all, one by one and in hundreds
 *   servers    the same on Redis and MariaDB; the cold reads are served by Redis, then, without it,
 *              by MariaDB
 *   drain      MariaDB is cut off, all records are written once more, changed, into the WAL; it
 *              comes back: until the WAL is empty
 *
 * Every content that is read is compared with what was written, and MariaDB's rows at the end once
 * more, by MariaDB's own client. Files lie in --dir, which should be on a real disk. One thread
 * reads and writes. The figures are medians of --rounds; CPU is that of all threads of the process,
 * the comparing included, and of the servers' processes.
 */
#include "outage.h"
#include "unpack.h"

#include "support/redis_server.h"

#include "engine/engine.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WAIT_MS 120000u
#define LOOK_US 500u
#define MANY 100u

struct city {
    const char *json; /* with room for a byte more */
    size_t len;
    char id[64];
};

enum phase {
    LOAD_EMBEDDED,
    READ_SQLITE,
    MANY_SQLITE,
    LOAD_SERVERS,
    READ_REDIS,
    MANY_REDIS,
    READ_MARIADB,
    MANY_MARIADB,
    OUTAGE,
    DRAIN,
    PHASES
};
static const char *const names[PHASES] = {
    [LOAD_EMBEDDED] = "load, embedded (SQLite)",
    [READ_SQLITE] = "cold read of all, SQLite, se_get",
    [MANY_SQLITE] = "the same, se_get_many of 100",
    [LOAD_SERVERS] = "load, Redis and MariaDB",
    [READ_REDIS] = "cold read of all, Redis, se_get",
    [MANY_REDIS] = "the same, se_get_many of 100",
    [READ_MARIADB] = "cold read of all, MariaDB, se_get",
    [MANY_MARIADB] = "the same, se_get_many of 100",
    [OUTAGE] = "writes of an outage, into the WAL",
    [DRAIN] = "their drain into MariaDB",
};

struct figures {
    double seconds, client_us, redis_us, mariadb_us; /* CPU: of the whole phase */
};

struct run {
    const struct bench *b;
    struct city *cities;
    size_t n;
    bool changed; /* the contents have a byte more since the outage */
    struct redis_server redis;
    struct mariadb_server *mariadb;
    struct outage outage;
    char redis_url[256];
    struct figures figures[PHASES][BENCH_ROUNDS_MAX];
    unsigned round;
};

/* ---- the records ---- */

/* Leaves out what is no record, or has an id longer than expected. */
static bool parse_city(char *line, struct city *c)
{
    char *id = strstr(line, "\"id\":\""), *end = id ? strchr(id + 6, '"') : NULL;
    if (!end || (size_t)(end - id - 6) >= sizeof c->id)
        return false;
    memcpy(c->id, id + 6, (size_t)(end - id - 6));
    c->id[end - id - 6] = '\0';
    c->json = line;
    c->len = strlen(line);
    return true;
}

/* The end of a line becomes its NUL, and once the contents change, a blank: still JSON. */
static void load_cities(const char *path, struct run *r, struct bytes *file)
{
    *file = unpack_file(path);
    size_t room = 1;
    for (size_t i = 0; i < file->n; i++)
        room += file->at[i] == '\n';
    r->cities = calloc(room, sizeof *r->cities);
    if (!r->cities)
        bench_fail("out of memory");
    for (char *line = strtok(file->at, "\n"); line; line = strtok(NULL, "\n"))
        r->n += parse_city(line, &r->cities[r->n]);
    if (r->n < MANY)
        bench_fail("%s: %zu lines with an id", path, r->n);
}

static const char *content_of(const struct run *r, size_t i, size_t *len)
{
    *len = r->cities[i].len + r->changed;
    return r->cities[i].json;
}

static void change(struct run *r)
{
    for (size_t i = 0; i < r->n; i++)
        ((char *)r->cities[i].json)[r->cities[i].len] = ' ';
    r->changed = true;
}

static void change_back(struct run *r)
{
    for (size_t i = 0; i < r->n; i++)
        ((char *)r->cities[i].json)[r->cities[i].len] = '\0';
    r->changed = false;
}

static void check(const struct run *r, size_t i, const void *content, size_t len)
{
    size_t expected;
    const char *json = content_of(r, i, &expected);
    if (len != expected || memcmp(content, json, len) != 0)
        bench_fail("%s: what was read is not what was written", r->cities[i].id);
}

/* ---- measuring ---- */

static double own_cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Fields 14 and 15 of /proc/PID/stat, counted behind the name, which may hold blanks (proc(5)). */
static double cpu_us_of(pid_t pid)
{
    char path[64], text[1024] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        (void)fclose(f);
    const char *rest = n ? strrchr(text, ')') : NULL;
    if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                        &system) != 2)
        bench_fail("%s cannot be read", path);
    return (double)(user + system) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

static struct figures now(const struct run *r)
{
    return (struct figures){.seconds = (double)se__mono_ns() / 1e9,
                            .client_us = own_cpu_us(),
                            .redis_us = cpu_us_of(r->redis.pid),
                            .mariadb_us = cpu_us_of(r->mariadb->pid)};
}

static void note(struct run *r, enum phase phase, const struct figures *before)
{
    struct figures after = now(r);
    r->figures[phase][r->round] =
        (struct figures){.seconds = after.seconds - before->seconds,
                         .client_us = after.client_us - before->client_us,
                         .redis_us = after.redis_us - before->redis_us,
                         .mariadb_us = after.mariadb_us - before->mariadb_us};
}

/* ---- the engine ---- */

/* Outages are meant. */
static void say(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    if (level == SE_LOG_ERROR)
        (void)fprintf(stderr, "%s\n", message);
}

static se_engine *open_engine(const char *redis_url, const char *sql_url, const char *wal)
{
    se_config c;
    se_engine *e;
    se_config_init(&c);
    c.redis_url = redis_url;
    c.sql_url = sql_url;
    c.wal_path = wal;
    c.l1_max_bytes = (size_t)512 << 20;
    c.require_backends = true;
    c.circuit_failures = 1;
    c.circuit_open_ms = 100; /* how long it rests is not what is measured */
    c.log_fn = say;
    bench_check(se_open(&c, &e), "se_open");
    return e;
}

static void write_all(const struct run *r, se_engine *e)
{
    for (size_t i = 0; i < r->n; i++) {
        size_t len;
        const char *json = content_of(r, i, &len);
        se_result result;
        uint64_t by_ms = se__deadline_in(WAIT_MS);
        while ((result = se_submit(e, r->cities[i].id, json, len, NULL)) == SE_ERR_BACKPRESSURE &&
               se__mono_ms() < by_ms)
            usleep(LOOK_US);
        bench_check(result, "se_submit");
    }
}

static void load(struct run *r, enum phase phase, se_engine *e)
{
    struct figures before = now(r);
    write_all(r, e);
    bench_check(se_flush(e, WAIT_MS), "se_flush");
    note(r, phase, &before);
    bench_check(se_close(e, WAIT_MS), "se_close");
}

/* None of them may have been in L1. */
static void check_cold(const struct run *r, enum phase phase, se_engine *e, enum metric hits)
{
    uint64_t served = se__metrics_sum(e->metrics, hits);
    if (served < r->n)
        bench_fail("%s: the tier has served %llu of %zu reads", names[phase],
                   (unsigned long long)served, r->n);
}

static void read_one_by_one(struct run *r, enum phase phase, se_engine *e, enum metric hits)
{
    struct figures before = now(r);
    for (size_t i = 0; i < r->n; i++) {
        se_item *item;
        bench_check(se_get(e, r->cities[i].id, &item), "se_get");
        check(r, i, se_item_content(item), se_item_content_len(item));
        se_item_release(item);
    }
    note(r, phase, &before);
    check_cold(r, phase, e, hits);
    bench_check(se_close(e, WAIT_MS), "se_close");
}

static void read_hundred(const struct run *r, se_engine *e, size_t first, size_t n)
{
    const char *ids[MANY];
    se_item *items[MANY];
    se_result results[MANY];
    for (size_t i = 0; i < n; i++)
        ids[i] = r->cities[first + i].id;
    bench_check(se_get_many(e, ids, n, items, results), "se_get_many");
    for (size_t i = 0; i < n; i++) {
        bench_check(results[i], ids[i]);
        check(r, first + i, se_item_content(items[i]), se_item_content_len(items[i]));
        se_item_release(items[i]);
    }
}

static void read_in_hundreds(struct run *r, enum phase phase, se_engine *e, enum metric hits)
{
    struct figures before = now(r);
    for (size_t i = 0; i < r->n; i += MANY)
        read_hundred(r, e, i, r->n - i < MANY ? r->n - i : MANY);
    note(r, phase, &before);
    check_cold(r, phase, e, hits);
    bench_check(se_close(e, WAIT_MS), "se_close");
}

/* ---- the phases ---- */

static void embedded(struct run *r)
{
    struct bench_dir dir;
    char url[256];
    bench_dir_make(&dir, r->b->dir);
    bench_dir_path(&dir, "sqlite:", "cities.db", url);
    load(r, LOAD_EMBEDDED, open_engine(NULL, url, NULL));
    read_one_by_one(r, READ_SQLITE, open_engine(NULL, url, NULL), M_OPS_L3_GET_HIT);
    read_in_hundreds(r, MANY_SQLITE, open_engine(NULL, url, NULL), M_OPS_L3_GET_HIT);
    bench_dir_remove(&dir);
}

/* Where Redis fell behind the load, what it has is void for the next engine (docs/flush.md): then
 * these reads put it there again. */
static void fill_redis(const struct run *r)
{
    se_engine *e = open_engine(r->redis_url, r->outage.url, NULL);
    for (size_t i = 0; i < r->n; i += MANY)
        read_hundred(r, e, i, r->n - i < MANY ? r->n - i : MANY);
    bench_check(se_close(e, WAIT_MS), "se_close");
}

static void servers(struct run *r)
{
    const char *redis = r->redis_url, *sql = r->outage.url;
    load(r, LOAD_SERVERS, open_engine(redis, sql, NULL));
    fill_redis(r);
    read_one_by_one(r, READ_REDIS, open_engine(redis, sql, NULL), M_OPS_L2_GET_HIT);
    read_in_hundreds(r, MANY_REDIS, open_engine(redis, sql, NULL), M_OPS_L2_GET_HIT);
    read_one_by_one(r, READ_MARIADB, open_engine(NULL, sql, NULL), M_OPS_L3_GET_HIT);
    read_in_hundreds(r, MANY_MARIADB, open_engine(NULL, sql, NULL), M_OPS_L3_GET_HIT);
}

static uint64_t in_wal(se_engine *e)
{
    se_health h;
    bench_check(se_health_check(e, &h), "se_health_check");
    return h.wal_items;
}

static void wait_for_wal(se_engine *e, uint64_t least, uint64_t most, const char *what)
{
    uint64_t by_ms = se__deadline_in(WAIT_MS), n;
    while ((n = in_wal(e)) < least || n > most) {
        if (se__mono_ms() > by_ms)
            bench_fail("%s: there are %llu records", what, (unsigned long long)n);
        usleep(LOOK_US);
    }
}

static void outage_and_drain(struct run *r)
{
    struct bench_dir dir;
    char wal[256];
    bench_dir_make(&dir, r->b->dir);
    bench_dir_path(&dir, "", "wal", wal);
    se_engine *e = open_engine(r->redis_url, r->outage.url, wal);
    change(r);
    outage_begin(&r->outage);
    struct figures before = now(r);
    write_all(r, e);
    wait_for_wal(e, r->n, r->n, "the writes of an outage do not arrive in the WAL");
    note(r, OUTAGE, &before);
    outage_end(&r->outage);
    uint64_t drained = se__metrics_sum(e->metrics, M_WAL_DRAINED);
    while (se__metrics_sum(e->metrics, M_WAL_DRAINED) == drained) /* the circuit is still open */
        usleep(LOOK_US);
    before = now(r);
    wait_for_wal(e, 0, 0, "the WAL is not emptied");
    note(r, DRAIN, &before);
    bench_check(se_close(e, WAIT_MS), "se_close");
    bench_dir_remove(&dir);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct city *)a)->id, ((const struct city *)b)->id);
}

/* All rows, by MariaDB's client; its order is that of the bytes, as strcmp's. */
static void check_rows(struct run *r)
{
    MYSQL *m = bench_mariadb_connect(r->mariadb);
    if (mysql_query(m, "SELECT id, COALESCE(payload, payload_blob) FROM sync_items ORDER BY id") !=
        0)
        bench_fail("mysql: %s", mysql_error(m));
    MYSQL_RES *rows = mysql_use_result(m);
    size_t n = 0;
    for (MYSQL_ROW row; rows && (row = mysql_fetch_row(rows)); n++) {
        if (n >= r->n || strcmp(row[0], r->cities[n].id) != 0)
            bench_fail("row %zu of the table is not the record it should be", n);
        check(r, n, row[1], mysql_fetch_lengths(rows)[1]);
    }
    mysql_free_result(rows);
    mysql_close(m);
    if (n != r->n)
        bench_fail("%zu rows of %zu are there", n, r->n);
}

static void clear_servers(struct run *r)
{
    char reply[64];
    (void)redis_server_ask(&r->redis, reply, sizeof reply, "FLUSHALL");
    if (r->round > 0 && !mariadb_exec(r->mariadb, "DROP TABLE sync_items, sync_items_meta"))
        bench_fail("mysql: cannot drop the tables");
}

/* ---- telling ---- */

static double median(const struct run *r, enum phase phase, size_t field)
{
    double values[BENCH_ROUNDS_MAX];
    for (unsigned i = 0; i < r->b->rounds; i++)
        values[i] = *(const double *)((const char *)&r->figures[phase][i] + field);
    return bench_quantile(values, r->b->rounds, 0.5);
}

static void tell(const struct run *r, enum phase p)
{
    double n = (double)r->n, seconds = median(r, p, offsetof(struct figures, seconds)),
           client = median(r, p, offsetof(struct figures, client_us)) / n,
           redis = median(r, p, offsetof(struct figures, redis_us)) / n,
           mariadb = median(r, p, offsetof(struct figures, mariadb_us)) / n;
    printf(r->b->json ? "{\"what\":\"%s\",\"items\":%zu,\"seconds\":%.4f,\"k_per_s\":%.3f,"
                        "\"client_us\":%.2f,\"redis_us\":%.2f,\"mariadb_us\":%.2f}\n"
                      : "%-36s %7zu %8.3f s %9.1f k/s %8.2f %8.2f %8.2f\n",
           names[p], r->n, seconds, n / seconds / 1e3, client, redis, mariadb);
}

static void start(struct run *r)
{
    char url[BENCH_MARIADB_URL_MAX];
    redis_server_start(&r->redis, NULL);
    redis_server_url(&r->redis, r->redis_url, sizeof r->redis_url);
    r->mariadb = bench_mariadb(url);
    outage_init(&r->outage, r->mariadb);
}

static void stop(struct run *r)
{
    outage_done(&r->outage);
    mariadb_close(r->mariadb);
    redis_server_stop(&r->redis);
}

int main(int argc, char **argv)
{
    struct bench b;
    static struct run r;
    struct bytes file;
    if (argc < 2 || argv[argc - 1][0] == '-')
        bench_fail("usage: %s [--json] [--rounds N] [--dir PATH] FILE", argv[0]);
    const char *path = argv[argc - 1];
    argv[argc - 1] = NULL;
    bench_arguments(&b, argc - 1, argv);
    r.b = &b;
    load_cities(path, &r, &file);
    qsort(r.cities, r.n, sizeof *r.cities, by_id);
    start(&r);
    for (; r.round < b.rounds; r.round++) {
        clear_servers(&r);
        embedded(&r);
        servers(&r);
        outage_and_drain(&r);
        check_rows(&r);
        change_back(&r);
    }
    if (!b.json)
        printf("%-36s %7s %10s %13s %8s %8s %8s\n", "what", "items", "", "", "client", "Redis",
               "MariaDB (us of CPU an item)");
    for (enum phase p = 0; p < PHASES; p++)
        tell(&r, p);
    stop(&r);
    free(r.cities);
    free(file.at);
    return 0;
}
