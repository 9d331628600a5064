/*
 * bench_drain - row 18: how fast the WAL is emptied into MariaDB after an outage, traffic going on.
 *
 * The server is cut off and comes back as warm as it is for the peer (outage.h). What is written
 * meanwhile ends in the WAL, which lies in --dir, on a real disk. The figure is WAL records brought
 * home a second, from the first drained batch until the WAL holds none, while a thread writes
 * TRAFFIC other items a second and reads as many.
 *
 * The peer is row 11's own figure: batches of 1000 through the tier, one connection, into a table of
 * the same size beside it. The bar is for the engine with its default two workers, so that one reads the
 * WAL while the server works for the other; one worker is shown too. Server and client have a CPU each,
 * the traffic's thread and the WAL's upkeep included.
 *
 * At the end every row is compared with what was written last: none is lost and none is older.
 */
#include "batches.h"
#include "outage.h"

#include "engine/engine.h"
#include "l3/l3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEYS 400000u
#define ITEMS 20000u  /* a round of the peer's */
#define OUTAGE 40000u /* records that an outage leaves in the WAL, each of another id */
#define TRAFFIC 5000u /* writes a second, and as many reads */
#define TICK_US 2000u
#define LOOK_US 500u
#define WAIT_MS 60000u

struct job {
    const struct bench *b;
    const struct keys *keys;
    struct tier tier; /* the peer's, with a table of its own */
    struct mariadb_server *server;
    MYSQL *admin;
    struct outage outage;
    se_engine *engine;
    uint64_t *written; /* by key: the content last written, 0: none. Odd keys are the traffic's */
    uint64_t draw;
    bool stop; /* atomic */
    double paces[BENCH_ROUNDS_MAX];
    unsigned rounds;
};

/* ---- writing ---- */

static void write_key(struct job *j, size_t key, uint64_t content)
{
    se_result r;
    uint64_t by_ms = se__deadline_in(WAIT_MS);
    while ((r = se_submit(j->engine, j->keys->ids[key], bench_content(content), BENCH_CONTENT_LEN,
                          NULL)) == SE_ERR_BACKPRESSURE &&
           se__mono_ms() < by_ms)
        usleep(LOOK_US);
    bench_check(r, "se_submit");
    j->written[key] = content;
}

struct traffic {
    struct job *job;
    uint64_t writes, ns;
};

static void read_key(struct job *j, size_t key)
{
    se_item *item;
    bench_check(se_get(j->engine, j->keys->ids[key], &item), "se_get");
    if (j->written[key] &&
        memcmp(se_item_content(item), bench_content(j->written[key]), BENCH_CONTENT_LEN) != 0)
        bench_fail("%s: an older content was read", j->keys->ids[key]);
    se_item_release(item);
}

/* Keeps its pace on average: what a slow moment left undone is made up for. Reads what it wrote. */
static void traffic(void *arg)
{
    struct traffic *t = arg;
    struct job *j = t->job;
    uint64_t start = se__mono_ns();
    while (!__atomic_load_n(&j->stop, __ATOMIC_RELAXED)) {
        uint64_t due = (se__mono_ns() - start) * TRAFFIC / 1000000000u;
        for (; t->writes < due; t->writes++) {
            uint64_t draw = ++j->draw + (UINT64_C(1) << 40);
            size_t key = bench_mix(draw) % (j->keys->n / 2) * 2 + 1;
            write_key(j, key, draw);
            read_key(j, key);
        }
        usleep(TICK_US);
    }
    t->ns = se__mono_ns() - start;
}

/* ---- waiting ---- */

static uint64_t counter(struct job *j, enum metric m)
{
    return se__metrics_sum(j->engine->metrics, m);
}

static uint64_t in_wal(struct job *j)
{
    se_health h;
    bench_check(se_health_check(j->engine, &h), "se_health_check");
    return h.wal_items;
}

static void wait_in_wal(struct job *j, size_t n)
{
    uint64_t by_ms = se__deadline_in(WAIT_MS);
    while (in_wal(j) < n) {
        if (se__mono_ms() > by_ms)
            bench_fail("the writes of an outage do not arrive in the WAL");
        usleep(LOOK_US);
    }
}

static double drained_rate(struct job *j)
{
    uint64_t before = counter(j, M_WAL_DRAINED), by_ms = se__deadline_in(WAIT_MS), from;
    while ((from = counter(j, M_WAL_DRAINED)) == before && se__mono_ms() < by_ms)
        usleep(LOOK_US);
    uint64_t start = se__mono_ns();
    while (in_wal(j) > 0 && se__mono_ms() < by_ms)
        usleep(LOOK_US);
    uint64_t end = se__mono_ns();
    if (in_wal(j) > 0)
        bench_fail("the WAL is not emptied");
    return (double)(counter(j, M_WAL_DRAINED) - from) / (double)(end - start) * 1e6;
}

/* ---- a round ---- */

static size_t outage(struct job *j)
{
    size_t n = bench_scaled(j->b, OUTAGE), half = j->keys->n / 2;
    n = n < half ? n : half;
    size_t stride = half / n;
    for (size_t i = 0; i < n; i++) {
        uint64_t draw = ++j->draw;
        write_key(j, (i * stride + bench_mix(draw) % stride) * 2, draw);
    }
    return n;
}

static double drain(void *arg)
{
    struct job *j = arg;
    struct traffic t = {.job = j};
    struct se__thread thread = {0};
    outage_begin(&j->outage);
    wait_in_wal(j, outage(j));
    __atomic_store_n(&j->stop, false, __ATOMIC_RELAXED);
    bench_check(se__thread_start(&thread, "traffic", traffic, &t), "thread");
    outage_end(&j->outage);
    double figure = drained_rate(j);
    __atomic_store_n(&j->stop, true, __ATOMIC_RELAXED);
    se__thread_join(&thread);
    bench_check(se_flush(j->engine, WAIT_MS), "se_flush");
    j->paces[j->rounds++] = (double)t.writes / (double)t.ns * 1e6;
    return figure;
}

static double flush(void *arg)
{
    struct job *j = arg;
    struct batches b = batches_random(j->b, j->keys, ITEMS);
    double figure = batches_send(&j->tier, &b);
    batches_free(&b);
    return figure;
}

/* ---- the proof ---- */

static void check_rows(struct job *j)
{
    if (mysql_query(j->admin, "SELECT id, payload_blob FROM sync_items ORDER BY id") != 0)
        bench_fail("mysql: %s", mysql_error(j->admin));
    MYSQL_RES *rows = mysql_use_result(j->admin);
    size_t n = 0;
    for (MYSQL_ROW row; rows && (row = mysql_fetch_row(rows)); n++) {
        unsigned long *len = mysql_fetch_lengths(rows);
        if (n >= j->keys->n || memcmp(row[0], j->keys->ids[n], BENCH_ID_LEN) != 0)
            bench_fail("row %zu of the table is not the item it should be", n);
        if (j->written[n] && (len[1] != BENCH_CONTENT_LEN ||
                              memcmp(row[1], bench_content(j->written[n]), BENCH_CONTENT_LEN) != 0))
            bench_fail("%s: the last write is lost", j->keys->ids[n]);
    }
    mysql_free_result(rows);
    if (n != j->keys->n)
        bench_fail("%zu rows of %zu are there", n, j->keys->n);
}

/* ---- set up ---- */

static void open_tier(struct job *j, const char *url_text, const char *table, struct tier *tier)
{
    static struct url url; /* borrowed by the tier */
    bench_check(se__url_parse("sql_url", url_text, &url), "url");
    struct l3_options o = {.url = &url,
                           .table = table,
                           .timeout_ms = 30000,
                           .read_connections = 1,
                           .workers = 1,
                           .tombstone_retention_s = 86400};
    bench_check(se__mysql_open(&o, tier), "mysql");
    bench_check(tier->ops->prepare(tier->self, se__deadline_in(10000)), "mysql");
    batches_load(tier, j->keys);
    se__url_done(&url);
}

/* Outages are meant. */
static void say(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    if (level == SE_LOG_ERROR)
        (void)fprintf(stderr, "%s\n", message);
}

/* A circuit that opens and is tried again at once: how long it rests is not what is measured. */
static void open_engine(struct job *j, const char *wal, unsigned workers)
{
    se_config c;
    se_config_init(&c);
    c.sql_url = j->outage.url;
    c.wal_path = wal;
    c.l1_max_bytes = (size_t)512 << 20;
    c.circuit_failures = 1;
    c.circuit_open_ms = 100;
    c.require_backends = true;
    c.flush_workers = workers;
    c.log_fn = say;
    bench_check(se_open(&c, &j->engine), "se_open");
}

/* The bar is for the engine as it is configured by default. */
static void compare(struct job *j, const char *wal, unsigned workers, const char *what)
{
    struct bench_side sides[] = {
        {.name = "ours", .run = drain, .arg = j},
        {.name = "row 11, ours",
         .run = flush,
         .arg = j,
         .kind = workers == 2 ? BENCH_RATIO_MIN : BENCH_NO_BAR,
         .bar = 0.7},
    };
    j->rounds = 0;
    open_engine(j, wal, workers);
    bench_compare(j->b, &(struct bench_subject){18, what, "k/s"}, sides, 2);
    double asked = TRAFFIC / 1e3, reached = bench_quantile(j->paces, j->rounds, 0.5);
    struct bench_side paces[] = {
        {.name = "ours", .run = bench_known, .arg = &reached},
        {.name = "asked for", .run = bench_known, .arg = &asked},
    };
    struct bench_subject meanwhile = {18, "writes (and reads) meanwhile", "k/s"};
    bench_compare(j->b, &meanwhile, paces, 2);
    check_rows(j);
    bench_check(se_close(j->engine, WAIT_MS), "se_close");
}

int main(int argc, char **argv)
{
    struct bench b;
    struct bench_dir disk;
    char url[BENCH_MARIADB_URL_MAX], wal[256];
    bench_init(&b, argc, argv);
    struct keys keys = keys_make(bench_scaled(&b, KEYS) / BATCH * BATCH);
    struct job j = {.b = &b, .keys = &keys, .written = calloc(keys.n, sizeof *j.written)};
    if (!j.written)
        bench_fail("out of memory");
    bench_dir_make(&disk, b.dir);
    bench_dir_path(&disk, "", "wal", wal);
    j.server = bench_mariadb(url);
    bench_pin();
    struct tier table;
    open_tier(&j, url, "sync_items", &table);
    table.ops->close(table.self);
    open_tier(&j, url, "items", &j.tier);
    j.admin = bench_mariadb_connect(j.server);
    outage_init(&j.outage, j.server);
    compare(&j, wal, 2, "WAL drain after an outage");
    compare(&j, wal, 1, "the same, one flush worker");
    mysql_close(j.admin);
    outage_done(&j.outage);
    j.tier.ops->close(j.tier.self);
    mariadb_close(j.server);
    keys_free(&keys);
    free(j.written);
    bench_dir_remove(&disk);
    return 0;
}
