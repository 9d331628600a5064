/*
 * bench_scrape - what 1,000 scrapes of /metrics a second cost a reader of L1, and what a page costs.
 *
 *   bench_scrape [--json] [--rounds N] [--scale F]
 *
 * One engine without tiers, 100,000 items in L1, its endpoint on. The measuring thread has the last CPU to itself; the endpoint's
 * thread and the scraper (a thread here: connect, GET, read all, close) share the others. Rounds alternate with and without the
 * scraper; a round is a second or so of uniform gets, in the thread's CPU time: what is looked for is disturbance of the hit itself
 * (shared cache lines, cold caches), not the share of a CPU that serving takes.
 */
#include "harness.h"
#include "stream.h"

#include "base/os.h"
#include <syncengine/syncengine.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ITEMS 100000u
#define GETS 4000000u
#define PER_SECOND 1000u
#define PAGES 2000u

struct bed {
    se_engine *engine;
    uint16_t port;
    struct stream stream;
    struct se__thread scraper;
    atomic_bool on, over;
    atomic_ullong scrapes;
    uint64_t on_ns, scraped; /* in all rounds with scrapes */
};

/* ---- the scraper ---- */

static const char request[] = "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";

static void scrape(struct bed *b)
{
    static char answer[256 * 1024];
    int fd = -1;
    size_t n, all = 0;
    uint64_t deadline = se__deadline_in(5000);
    bench_check(se__net_connect("127.0.0.1", b->port, NULL, deadline, &fd), "connect");
    bench_check(se__net_write(fd, request, sizeof request - 1, deadline), "request");
    while (se__net_read(fd, answer, sizeof answer, deadline, &n) == SE_OK)
        all += n;
    se__net_close(fd);
    if (all < 10000)
        bench_fail("a page of %zu bytes", all);
    atomic_fetch_add(&b->scrapes, 1);
}

/* A thousand a second, caught up with after a delay. */
static void scrape_on(void *arg)
{
    struct bed *b = arg;
    uint64_t next_ns = 0;
    while (!atomic_load(&b->over)) {
        uint64_t now = se__mono_ns();
        if (!atomic_load(&b->on) || next_ns == 0)
            next_ns = now;
        if (!atomic_load(&b->on) || now < next_ns) {
            usleep(100);
            continue;
        }
        scrape(b);
        next_ns += 1000000000u / PER_SECOND;
    }
}

/* ---- rounds ---- */

/* Nanoseconds a hit. */
static double gets(struct bed *b)
{
    const struct stream *s = &b->stream;
    size_t sum = 0;
    uint64_t start = bench_cpu_ns();
    for (size_t i = 0; i < s->n; i++) {
        se_item *item;
        if (se_get(b->engine, s->ids[i], &item) != SE_OK)
            bench_fail("a get has missed");
        sum += se_item_content_len(item);
        se_item_release(item);
    }
    double figure = (double)(bench_cpu_ns() - start) / (double)s->n;
    if (sum != s->n * BENCH_CONTENT_LEN)
        bench_fail("a wrong item");
    return figure;
}

static double gets_scraped(void *arg)
{
    struct bed *b = arg;
    uint64_t scrapes = atomic_load(&b->scrapes), start = se__mono_ns();
    atomic_store(&b->on, true);
    double figure = gets(b);
    atomic_store(&b->on, false);
    b->on_ns += se__mono_ns() - start;
    b->scraped += atomic_load(&b->scrapes) - scrapes;
    usleep(20000); /* the last one is over before the other side's round */
    return figure;
}

static double gets_alone(void *arg)
{
    return gets(arg);
}

/* ---- a page ---- */

static double page_us(void *arg)
{
    struct bed *b = arg;
    uint64_t start = bench_cpu_ns();
    for (unsigned i = 0; i < PAGES; i++) {
        char *text;
        size_t len;
        bench_check(se_metrics_text(b->engine, &text, &len), "se_metrics_text");
        free(text);
    }
    return (double)(bench_cpu_ns() - start) / PAGES / 1e3;
}

/* ---- life ---- */

static void begin(struct bed *b, const struct bench *bench)
{
    se_config c;
    char id[BENCH_ID_LEN + 1];
    size_t items = bench_scaled(bench, ITEMS);
    se_config_init(&c);
    bench_check(se_open(&c, &b->engine), "se_open");
    for (size_t i = 0; i < items; i++) {
        bench_id(i, id);
        bench_check(se_submit(b->engine, id, bench_content(i), BENCH_CONTENT_LEN, NULL), "submit");
    }
    b->stream = stream_uniform(bench_scaled(bench, GETS), items, 1);
    bench_check(se_http_start(b->engine, NULL, &b->port), "se_http_start");
    bench_check(se__thread_start(&b->scraper, "scraper", scrape_on, b), "thread");
    bench_pin_server(getpid());
    bench_pin();
}

static void end(struct bed *b)
{
    atomic_store(&b->over, true);
    se__thread_join(&b->scraper);
    bench_check(se_close(b->engine, 10000), "se_close");
    stream_free(&b->stream);
}

int main(int argc, char **argv)
{
    struct bench bench;
    struct bed b = {0};
    bench_init(&bench, argc, argv);
    begin(&b, &bench);
    struct bench_side sides[] = {{.name = "scraped", .run = gets_scraped, .arg = &b},
                                 {.name = "not scraped", .run = gets_alone, .arg = &b}};
    bench_compare(&bench, &(struct bench_subject){0, "L1 hit, 1,000 scrapes a second", "ns"}, sides,
                  2);
    double rate = (double)b.scraped * 1e9 / (double)b.on_ns, page = page_us(&b);
    struct bench_side rates[] = {
        {.name = "scrapes", .run = bench_known, .arg = &rate},
        {.name = "wanted", .run = bench_known, .arg = &(double){PER_SECOND}}};
    bench_compare(&bench, &(struct bench_subject){0, "scrapes served a second", "/s"}, rates, 2);
    struct bench_side pages[] = {
        {.name = "page", .run = bench_known, .arg = &page},
        {.name = "a second's share of 1,000", .run = bench_known, .arg = &(double){1000}}};
    bench_compare(&bench, &(struct bench_subject){0, "se_metrics_text", "us"}, pages, 2);
    end(&b);
    return 0;
}
