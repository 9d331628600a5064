/*
 * write_behind - counters that change all the time, in front of Redis and MySQL.
 *
 *   SYNC_ENGINE_REDIS_URL=redis://127.0.0.1 SYNC_ENGINE_SQL_URL=mysql://user:password@127.0.0.1/db write_behind
 *
 * Counts 100,000 visits of 100 pages. Every visit is one se_submit() at the speed of memory; the database sees a page at most
 * once a batch, with the newest number. An order is different: its se_submit() returns when the database has committed it.
 * Then a second engine with an empty memory reads everything back. Exit status 0 only if all numbers are right.
 */
#include <syncengine/syncengine.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGES = 100, VISITS = 100000 };

static const char order[] = "{\"customer\":7,\"total\":\"19.90\"}";

static int complain(const char *what)
{
    (void)fprintf(stderr, "write_behind: %s: %s\n", what, se_errmsg());
    return 1;
}

/* Everything comes from the environment: addresses, batch sizes, limits. See docs/configuration.md. */
static se_engine *open_engine(void)
{
    se_config config;
    se_config_init(&config);
    config.require_backends =
        true; /* this demonstration is about the servers; a service would rather open degraded */
    se_engine *engine = NULL;
    if (se_config_from_env(&config) == SE_OK)
        (void)se_open(&config, &engine);
    se_config_clear(&config);
    return engine;
}

/* Backpressure is no failure: the engine says when to come again. */
static se_result submit(se_engine *engine, const char *id, const char *text,
                        const se_submit_options *options)
{
    se_result r;
    while ((r = se_submit(engine, id, text, strlen(text), options)) == SE_ERR_BACKPRESSURE) {
        uint32_t ms = se_retry_after_ms(engine);
        struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
        nanosleep(&pause, NULL);
    }
    return r;
}

static void page_id(int page, char id[32])
{
    (void)snprintf(id, 32, "visits:page-%d", page);
}

static int count_visits(se_engine *engine)
{
    for (int i = 0; i < VISITS; i++) {
        char id[32], text[32];
        page_id(i % PAGES, id);
        (void)snprintf(text, sizeof text, "{\"visits\":%d}", i / PAGES + 1);
        if (submit(engine, id, text, NULL) != SE_OK)
            return complain(id);
    }
    return 0;
}

static int take_order(se_engine *engine)
{
    se_submit_options options;
    se_submit_options_init(&options);
    options.ack = SE_ACK_L3; /* SE_OK now means: committed */
    options.state = "open";
    se_result r = submit(engine, "order:1", order, &options);
    return r == SE_OK ? 0 : complain("order:1");
}

static bool holds(se_engine *engine, const char *id, const char *text)
{
    se_item *item;
    if (se_get(engine, id, &item) != SE_OK)
        return false;
    bool same = se_item_content_len(item) == strlen(text) &&
                memcmp(se_item_content(item), text, strlen(text)) == 0;
    se_item_release(item);
    return same;
}

static int write_all(void)
{
    se_engine *engine = open_engine();
    if (!engine)
        return complain("open");
    int failed = count_visits(engine) || take_order(engine);
    if (!failed && se_flush(engine, 30000) != SE_OK)
        failed = complain("flush");
    if (se_close(engine, 30000) != SE_OK)
        failed = complain("close");
    return failed;
}

static int read_all(void)
{
    se_engine *engine = open_engine();
    if (!engine)
        return complain("open");
    char id[32], text[32];
    (void)snprintf(text, sizeof text, "{\"visits\":%d}", VISITS / PAGES);
    int wrong = !holds(engine, "order:1", order);
    for (int page = 0; page < PAGES; page++) {
        page_id(page, id);
        wrong += !holds(engine, id, text);
    }
    se_item_status status;
    if (se_status(engine, "order:1", &status) == SE_OK)
        (void)printf("order:1 is in L2: %s, in L3: %s\n", status.in_l2 ? "yes" : "no",
                     status.in_l3 ? "yes" : "no");
    (void)printf("%d visits of %d pages written, %d wrong\n", VISITS, PAGES, wrong);
    (void)se_close(engine, 30000);
    return wrong != 0;
}

int main(void)
{
    if (!getenv("SYNC_ENGINE_SQL_URL")) {
        (void)fprintf(stderr, "write_behind: set SYNC_ENGINE_SQL_URL and SYNC_ENGINE_REDIS_URL\n");
        return 2;
    }
    return write_all() || read_all();
}
