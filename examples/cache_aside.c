/*
 * cache_aside - a slow lookup, asked by many threads at once, that runs once.
 *
 * Eight threads want the same report. se_get_or_insert_with() lets one of them make it; the others wait and get the very same item.
 * Afterwards it is in the cache for a minute. Exit status 0 only if the lookup ran exactly once.
 */
#include <syncengine/syncengine.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { THREADS = 8 };

struct shop {
    se_engine *engine;
    atomic_int lookups, served;
};

/* Stands for the expensive part: a query, a call to another service. Gives back memory from malloc(). */
static se_result make_report(void *arg, const char *id, void **content, size_t *len)
{
    struct shop *shop = arg;
    atomic_fetch_add(&shop->lookups, 1);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    char text[128];
    int n = snprintf(text, sizeof text, "{\"report\":\"%s\",\"total\":42}", id);
    *content = malloc((size_t)n);
    if (!*content)
        return SE_ERR_NOMEM;
    memcpy(*content, text, (size_t)n);
    *len = (size_t)n;
    return SE_OK;
}

static void *serve(void *arg)
{
    struct shop *shop = arg;
    se_submit_options options;
    se_submit_options_init(&options);
    options.cache_ttl_ms = 60000;
    se_item *item;
    se_result r =
        se_get_or_insert_with(shop->engine, "report:2024", make_report, shop, &options, &item);
    if (r != SE_OK) {
        (void)fprintf(stderr, "cache_aside: %s\n", se_errmsg());
        return NULL;
    }
    atomic_fetch_add(&shop->served, 1);
    se_item_release(item);
    return NULL;
}

static void serve_from_threads(struct shop *shop)
{
    pthread_t threads[THREADS];
    int started = 0;
    while (started < THREADS && pthread_create(&threads[started], NULL, serve, shop) == 0)
        started++;
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    struct shop shop = {0};
    se_config config;
    se_config_init(
        &config); /* no Redis, no SQL: memory only. The code below is the same with them. */
    if (se_open(&config, &shop.engine) != SE_OK) {
        (void)fprintf(stderr, "cache_aside: %s\n", se_errmsg());
        return 1;
    }
    serve_from_threads(&shop);
    serve(&shop); /* from the cache */
    (void)se_close(shop.engine, 1000);
    (void)printf("%d answers, the lookup ran %d times\n", shop.served, shop.lookups);
    return shop.served == THREADS + 1 && shop.lookups == 1 ? 0 : 1;
}
