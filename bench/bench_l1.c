/*
 * bench_l1 - rows 1, 2, 5, 6 and 8: L1 through the public API, beside hash maps.
 *
 * Rows 1, 2, 5 and 8 run on an engine without tiers (L1 is the home), row 6 on one with a SQLite home
 * whose flush is held back while a round is timed, so that hash, clock, L1 and queue are measured
 * and not the flush.
 * Accesses are drawn before the rounds and lie in a row in memory: the ids' own cache misses are no
 * one's.
 */
#include "harness.h"
#include "peers.h"
#include "stream.h"

#include <syncengine/syncengine.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ITEMS 1000000u
#define PUT_ITEMS 200000u
#define PUTS 100000u
#define ZIPF 0.99

static const struct peer *const peers[] = {
#ifdef BENCH_GLIB
    &peer_glib,
#endif
#ifdef BENCH_CK
    &peer_ck,
#endif
#ifdef BENCH_LFHT
    &peer_lfht,
#endif
    NULL,
};
/* The bars of rows 1, 2 and 6 are GLib's; where it is missing there is no verdict. */
#ifdef BENCH_GLIB
enum { GLIB_FIRST = true };
#else
enum { GLIB_FIRST = false };
#endif
enum { PEERS = sizeof peers / sizeof peers[0] - 1 };

/* ---- one round ---- */

struct run {
    const struct peer *peer; /* NULL: ours */
    void *map;               /* or se_engine */
    const struct stream *stream;
    double entry_bytes;
};

static double rate(size_t n, uint64_t start_ns)
{
    return (double)n / (double)(bench_cpu_ns() - start_ns) * 1e3;
}

static size_t engine_get(se_engine *e, const char *id)
{
    se_item *item;
    if (se_get(e, id, &item) != SE_OK)
        return 0;
    size_t len = se_item_content_len(item);
    se_item_release(item);
    return len;
}

static double run_gets(void *arg)
{
    struct run *r = arg;
    const struct stream *s = r->stream;
    size_t sum = 0;
    uint64_t start = bench_cpu_ns();
    for (size_t i = 0; i < s->n; i++)
        sum += r->peer ? r->peer->get(r->map, s->ids[i]) : engine_get(r->map, s->ids[i]);
    double figure = rate(s->n, start);
    if (sum != s->n * BENCH_CONTENT_LEN)
        bench_fail("a get has missed");
    return figure;
}

#define MANY 32u

static size_t get_many(se_engine *e, char (*ids)[BENCH_ID_ROOM])
{
    const char *list[MANY];
    se_item *items[MANY];
    size_t sum = 0;
    for (size_t i = 0; i < MANY; i++)
        list[i] = ids[i];
    bench_check(se_get_many(e, list, MANY, items, NULL), "se_get_many");
    for (size_t i = 0; i < MANY; i++) {
        sum += items[i] ? se_item_content_len(items[i]) : 0;
        se_item_release(items[i]);
    }
    return sum;
}

static double run_get_many(void *arg)
{
    struct run *r = arg;
    const struct stream *s = r->stream;
    size_t sum = 0, n = s->n / MANY * MANY;
    uint64_t start = bench_cpu_ns();
    for (size_t i = 0; i < n; i += MANY)
        sum += get_many(r->map, s->ids + i);
    double figure = rate(n, start);
    if (sum != n * BENCH_CONTENT_LEN)
        bench_fail("a get has missed");
    return figure;
}

static void put_one(const struct run *r, const char *id, uint64_t i)
{
    const void *content = bench_content(i);
    if (r->peer)
        r->peer->put(r->map, id, content, BENCH_CONTENT_LEN);
    else
        bench_check(se_submit(r->map, id, content, BENCH_CONTENT_LEN, NULL), "se_submit");
}

static double run_puts(void *arg)
{
    struct run *r = arg;
    const struct stream *s = r->stream;
    uint64_t start = bench_cpu_ns();
    for (size_t i = 0; i < s->n; i++)
        put_one(r, s->ids[i], i);
    double figure = rate(s->n, start);
    if (!r->peer)
        bench_check(se_flush(r->map, 60000), "se_flush");
    return figure;
}

/* ---- loading ---- */

static size_t allocated(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void load(struct run *r, size_t items, size_t before)
{
    char id[BENCH_ID_LEN + 1];
    for (size_t i = 0; i < items; i++) {
        bench_id(i, id);
        put_one(r, id, i);
    }
    r->entry_bytes =
        (double)(allocated() - before) / (double)items - BENCH_ID_LEN - BENCH_CONTENT_LEN;
}

static struct run load_peer(const struct peer *peer, size_t items)
{
    size_t before = allocated();
    struct run r = {.peer = peer, .map = peer->open(items)};
    load(&r, items, before);
    return r;
}

static se_engine *open_engine(const char *sql_url)
{
    se_config c;
    se_config_init(&c);
    c.l1_max_bytes = (size_t)2 << 30;
    c.queue_max_bytes = (size_t)1 << 30;
    c.sql_url = sql_url;
    if (sql_url) { /* nothing leaves before se_flush */
        c.batch_flush_ms = 3600000;
        c.batch_flush_count = 100000;
        c.batch_flush_bytes = (size_t)1 << 30;
        c.sql_timeout_ms = 60000; /* such a batch takes seconds where others are at work too */
    }
    se_engine *e;
    bench_check(se_open(&c, &e), "se_open");
    return e;
}

static struct run load_ours(const char *sql_url, size_t items)
{
    size_t before = allocated();
    struct run r = {.map = open_engine(sql_url)};
    bench_pin();
    load(&r, items, before);
    return r;
}

static void close_all(struct run *runs)
{
    bench_check(se_close(runs[0].map, 60000), "se_close");
    for (size_t i = 1; i <= PEERS; i++)
        runs[i].peer->close(runs[i].map);
}

/* ---- subjects ---- */

static void compare(const struct bench *b, const struct bench_subject *subject, struct run *runs,
                    double (*run)(void *), enum bench_bar kind, double bar)
{
    struct bench_side sides[PEERS + 1] = {{.name = "ours", .run = run, .arg = &runs[0]}};
    for (size_t i = 1; i <= PEERS; i++) {
        sides[i] = (struct bench_side){.name = peers[i - 1]->name, .run = run, .arg = &runs[i]};
        if (i == 1 && (GLIB_FIRST || kind == BENCH_VALUE_MAX)) {
            sides[i].kind = kind;
            sides[i].bar = bar;
        }
    }
    bench_compare(b, subject, sides, PEERS + 1);
}

static double entry_bytes(void *arg)
{
    return ((const struct run *)arg)->entry_bytes;
}

static void use(struct run *runs, const struct stream *stream)
{
    for (size_t i = 0; i <= PEERS; i++)
        runs[i].stream = stream;
}

static void bench_reads(const struct bench *b, size_t items)
{
    struct run runs[PEERS + 1];
    struct stream flat = stream_uniform(ITEMS, items, 1), skewed = stream_zipf(ITEMS, items, ZIPF);
    runs[0] = load_ours(NULL, items);
    for (size_t i = 0; i < PEERS; i++)
        runs[i + 1] = load_peer(peers[i], items);
    bench_settle();
    use(runs, &flat);
    compare(b, &(struct bench_subject){1, "se_get + release, uniform", "M/s"}, runs, run_gets,
            BENCH_RATIO_MIN, 1.64);
    struct bench_side many[] = {
        {.name = "ours", .run = run_get_many, .arg = &runs[0]},
        {.name = "own single se_get",
         .run = run_gets,
         .arg = &runs[0],
         .kind = BENCH_RATIO_MIN,
         .bar = 2.5},
    };
    bench_compare(b, &(struct bench_subject){5, "se_get_many of 32, an id", "M/s"}, many, 2);
    use(runs, &skewed);
    compare(b, &(struct bench_subject){2, "se_get + release, Zipf 0.99", "M/s"}, runs, run_gets,
            BENCH_RATIO_MIN, 1.70);
    compare(b, &(struct bench_subject){8, "bytes an entry beside id, content", "B"}, runs,
            entry_bytes, BENCH_VALUE_MAX, 77);
    close_all(runs);
    stream_free(&flat);
    stream_free(&skewed);
    bench_unpin();
}

static void bench_writes(const struct bench *b, size_t items)
{
    struct bench_dir dir;
    char url[256];
    bench_dir_make(&dir, NULL);
    bench_dir_path(&dir, "sqlite:", "l1.db", url);
    struct run runs[PEERS + 1];
    struct stream puts = stream_uniform(bench_scaled(b, PUTS), items, 2);
    runs[0] = load_ours(url, items);
    bench_check(se_flush(runs[0].map, 60000), "se_flush");
    for (size_t i = 0; i < PEERS; i++)
        runs[i + 1] = load_peer(peers[i], items);
    use(runs, &puts);
    compare(b, &(struct bench_subject){6, "se_submit, 500 bytes", "M/s"}, runs, run_puts,
            BENCH_RATIO_MIN, 1.25);
    close_all(runs);
    stream_free(&puts);
    bench_dir_remove(&dir);
}

/* In a process of its own: where a million items have been freed, malloc hands out what lies here and
 * there, to those who allocate more than to those who allocate less. */
static void in_child(const struct bench *b, void (*rows)(const struct bench *b, size_t items),
                     size_t items)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        rows(b, items);
        fflush(NULL);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        bench_fail("a part of the bench has failed");
}

int main(int argc, char **argv)
{
    struct bench b;
    bench_init(&b, argc, argv);
    in_child(&b, bench_reads, bench_scaled(&b, ITEMS));
    in_child(&b, bench_writes, bench_scaled(&b, PUT_ITEMS));
    return 0;
}
