/*
 * bench_l1_threads - rows 3 and 4, and what growing costs a reader: L1 under two threads.
 *
 * The peer of two threads is one thread on the same engine, in the same round. Each thread has a CPU
 * of its own and the clock is the wall's: what one thread makes the other wait for counts. So these
 * rows want a machine that is quiet on two CPUs.
 * The last row times every single get of a reader while another thread adds as many items as there
 * are, and compares the 999th slowest of a thousand with the median of the same gets.
 */
#include "harness.h"
#include "peers.h"
#include "stream.h"

#include <syncengine/syncengine.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ITEMS 1000000u
#define ACCESSES 500000u
#define ZIPF 0.99
#define THREADS 2

static uint64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void stay_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0)
        bench_fail("CPU %d: a thread cannot stay there; these rows need two", cpu);
}

/* ---- what a thread does ---- */

static void get_one(se_engine *e, const char *id, size_t i)
{
    (void)i;
    se_item *item;
    bench_check(se_get(e, id, &item), "se_get");
    se_item_release(item);
}

static void copy_one(se_engine *e, const char *id, size_t i)
{
    (void)i;
    char content[BENCH_CONTENT_LEN];
    size_t len;
    bench_check(se_get_copy(e, id, content, sizeof content, &len), "se_get_copy");
}

static void get_or_put(se_engine *e, const char *id, size_t i)
{
    if (i % 2 == 0)
        get_one(e, id, i);
    else
        bench_check(se_submit(e, id, bench_content(i), BENCH_CONTENT_LEN, NULL), "se_submit");
}

/* ---- one round ---- */

struct run {
    se_engine *engine;
    void (*one)(se_engine *e, const char *id, size_t i);
    struct stream streams[THREADS]; /* borrowed */
    int threads;
};

struct worker {
    const struct run *run;
    const struct stream *stream;
    int cpu;
    pthread_barrier_t *start;
    pthread_t thread;
    uint64_t began, ended;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    stay_on(w->cpu);
    pthread_barrier_wait(w->start);
    w->began = wall_ns();
    for (size_t i = 0; i < w->stream->n; i++)
        w->run->one(w->run->engine, w->stream->ids[i], i);
    w->ended = wall_ns();
    return NULL;
}

/* Millions a second: each thread's own rate, added up. */
static double run_threads(void *arg)
{
    const struct run *r = arg;
    pthread_barrier_t start;
    struct worker workers[THREADS];
    double sum = 0;
    pthread_barrier_init(&start, NULL, (unsigned)r->threads);
    for (int i = 0; i < r->threads; i++) {
        workers[i] = (struct worker){.run = r, .stream = &r->streams[i], .cpu = i, .start = &start};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            bench_fail("no thread");
    }
    for (int i = 0; i < r->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        sum += (double)r->streams[i].n / (double)(workers[i].ended - workers[i].began) * 1e3;
    }
    pthread_barrier_destroy(&start);
    return sum;
}

/* ---- subjects ---- */

static void two_over_one(const struct bench *b, const struct bench_subject *subject, struct run two,
                         double bar)
{
    struct run one = two;
    two.threads = THREADS;
    one.threads = 1;
    struct bench_side sides[] = {
        {.name = "two threads", .run = run_threads, .arg = &two},
        {"one thread", run_threads, &one, BENCH_RATIO_MIN, bar},
    };
    bench_compare(b, subject, sides, 2);
}

static void load(se_engine *e, size_t from, size_t to)
{
    char id[BENCH_ID_LEN + 1];
    for (size_t i = from; i < to; i++) {
        bench_id(i, id);
        bench_check(se_submit(e, id, bench_content(i), BENCH_CONTENT_LEN, NULL), "se_submit");
    }
}

static se_engine *open_engine(size_t items)
{
    se_config c;
    se_config_init(&c);
    c.l1_max_bytes = (size_t)4 << 30;
    c.queue_max_bytes = (size_t)1 << 30;
    se_engine *e;
    bench_check(se_open(&c, &e), "se_open");
    load(e, 0, items);
    return e;
}

static void bench_many_ids(const struct bench *b, se_engine *e, size_t items)
{
    size_t n = bench_scaled(b, ACCESSES);
    struct run flat = {.engine = e}, skewed = {.engine = e};
    for (uint64_t i = 0; i < THREADS; i++) {
        flat.streams[i] = stream_uniform(n, items, i << 32);
        skewed.streams[i] = stream_zipf(n, items, ZIPF);
        if (i > 0) /* the same ids are hot, but not at the same moments */
            for (size_t k = 0; k < n / 2; k++) {
                char id[BENCH_ID_ROOM];
                memcpy(id, skewed.streams[i].ids[k], sizeof id);
                memcpy(skewed.streams[i].ids[k], skewed.streams[i].ids[n - 1 - k], sizeof id);
                memcpy(skewed.streams[i].ids[n - 1 - k], id, sizeof id);
            }
    }
    flat.one = skewed.one = get_one;
    two_over_one(b, &(struct bench_subject){3, "gets of 2 threads, uniform", "M/s"}, flat, 1.9);
    two_over_one(b, &(struct bench_subject){3, "gets of 2 threads, Zipf", "M/s"}, skewed, 1.9);
    flat.one = skewed.one = get_or_put;
    two_over_one(b, &(struct bench_subject){3, "half puts, uniform", "M/s"}, flat, 1.8);
    two_over_one(b, &(struct bench_subject){3, "half puts, Zipf", "M/s"}, skewed, 1.8);
    for (size_t i = 0; i < THREADS; i++) {
        stream_free(&flat.streams[i]);
        stream_free(&skewed.streams[i]);
    }
}

/* The least that a get of a counted item can be: a table that nobody else may touch. */
struct bare {
    struct peer_item *items[64];
    const struct stream *stream;
};

static double run_bare(void *arg)
{
    struct bare *b = arg;
    size_t sum = 0;
    stay_on(0);
    uint64_t start = wall_ns();
    for (size_t i = 0; i < b->stream->n; i++) {
        const char *id = b->stream->ids[i];
        struct peer_item *item = b->items[peer_hash(id) % 64];
        if (!item || !peer_same_id(item, id))
            bench_fail("the bare table has lost its item");
        peer_retain(item);
        sum += item->content_len;
        if (peer_release(item))
            bench_fail("the bare table's item was counted wrongly");
    }
    double figure = (double)b->stream->n / (double)(wall_ns() - start) * 1e3;
    if (sum != b->stream->n * BENCH_CONTENT_LEN)
        bench_fail("a get has missed");
    return figure;
}

static void beside_bare(const struct bench *b, struct run hot)
{
    const char *id = hot.streams[0].ids[0];
    struct bare bare = {.stream = &hot.streams[0]};
    struct peer_item *item = peer_alloc(0, BENCH_CONTENT_LEN);
    peer_fill(item, id, bench_content(0), BENCH_CONTENT_LEN);
    bare.items[peer_hash(id) % 64] = item;
    hot.one = get_one;
    hot.threads = 1;
    struct bench_side sides[] = {
        {.name = "one thread", .run = run_threads, .arg = &hot},
        {"a bare counted table", run_bare, &bare, BENCH_RATIO_MIN, 0.5},
    };
    bench_compare(b, &(struct bench_subject){4, "se_get of one hot id", "M/s"}, sides, 2);
    free(item);
}

static void bench_hot_id(const struct bench *b, se_engine *e)
{
    struct stream hot = stream_uniform(bench_scaled(b, 4 * ACCESSES), 1, 0);
    struct run run = {.engine = e, .one = get_one, .streams = {hot, hot}};
    two_over_one(b, &(struct bench_subject){4, "one hot id, se_get", "M/s"}, run, 0.9);
    run.one = copy_one;
    two_over_one(b, &(struct bench_subject){4, "one hot id, se_get_copy", "M/s"}, run, 1.5);
    beside_bare(b, run);
    stream_free(&hot);
}

/* ---- growth ---- */

struct growth {
    se_engine *engine;
    size_t items;
    atomic_bool ended; /* release by the writer, acquire by the reader */
};

static void *grow(void *arg)
{
    struct growth *g = arg;
    stay_on(1);
    load(g->engine, g->items, 2 * g->items);
    atomic_store_explicit(&g->ended, true, memory_order_release);
    return NULL;
}

static size_t timed_gets(struct growth *g, const struct stream *s, double *ns, size_t max)
{
    size_t n = 0;
    stay_on(0);
    while (n < max && !atomic_load_explicit(&g->ended, memory_order_acquire)) {
        uint64_t start = wall_ns();
        get_one(g->engine, s->ids[n % s->n], n);
        ns[n++] = (double)(wall_ns() - start);
    }
    return n;
}

static void bench_growth(const struct bench *b, size_t items)
{
    struct growth g = {.engine = open_engine(items), .items = items};
    struct stream s = stream_uniform(bench_scaled(b, ACCESSES), items, 7);
    size_t max = 40 * items;
    double *ns = malloc(max * sizeof *ns);
    pthread_t writer;
    if (!ns || pthread_create(&writer, NULL, grow, &g) != 0)
        bench_fail("out of memory");
    size_t n = timed_gets(&g, &s, ns, max);
    pthread_join(writer, NULL);
    double slow = bench_quantile(ns, n, 0.999), median = bench_quantile(ns, n, 0.5);
    struct bench_side sides[] = {
        {.name = "p99.9 while growing", .run = bench_known, .arg = &slow},
        {"median of the same", bench_known, &median, BENCH_RATIO_MAX, 10},
    };
    bench_compare(b, &(struct bench_subject){0, "a get while 1 M items become 2 M", "ns"}, sides,
                  2);
    free(ns);
    stream_free(&s);
    bench_check(se_close(g.engine, 60000), "se_close");
}

int main(int argc, char **argv)
{
    struct bench b;
    bench_init(&b, argc, argv);
    size_t items = bench_scaled(&b, ITEMS);
    se_engine *e = open_engine(items);
    bench_settle();
    bench_many_ids(&b, e, items);
    bench_hot_id(&b, e);
    bench_check(se_close(e, 60000), "se_close");
    bench_growth(&b, items);
    return 0;
}
