/*
 * cache_aside - se_get_or_insert_with: something slow is made once, however many threads ask for
 * it.
 *
 * Eight threads want the same ten reports at the same moment. The factory, which stands for a query
 * that takes a while, runs once for each report; the other 70 calls wait for it and get the same
 * item. After a restart nothing is made again.
 *
 *     ./cache_aside [DIRECTORY]      the SQLite file goes there (default: a temporary one, removed
 *                                    at the end)
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syncengine/syncengine.h>
#include <unistd.h>

#define THREADS 8
#define REPORTS 10

struct shop {
    se_engine *engine;
    atomic_int made;  /* how often the factory ran */
    atomic_int wrong; /* answers that were not the expected ones */
};

/* Makes what nobody has. The engine frees the content with free(). */
static se_result make_report(void *arg, const char *id, void **content, size_t *len)
{
    struct shop *shop = arg;
    char *text = malloc(64);
    if (!text)
        return SE_ERR_NOMEM;
    usleep(20000); /* the slow query */
    atomic_fetch_add(&shop->made, 1);
    *len = (size_t)snprintf(text, 64, "the report for %s", id);
    *content = text;
    return SE_OK;
}

static void *customer(void *arg)
{
    struct shop *shop = arg;
    for (int i = 0; i < REPORTS; i++) {
        char id[32], expected[64];
        se_item *item;
        snprintf(id, sizeof id, "report.%d", i);
        snprintf(expected, sizeof expected, "the report for %s", id);
        se_result r = se_get_or_insert_with(shop->engine, id, make_report, shop, NULL, &item);
        if (r != SE_OK && r != SE_PENDING) {
            fprintf(stderr, "%s: %s\n", id, se_errmsg());
            atomic_fetch_add(&shop->wrong, 1);
            continue;
        }
        if (se_item_content_len(item) != strlen(expected) ||
            memcmp(se_item_content(item), expected, strlen(expected)) != 0)
            atomic_fetch_add(&shop->wrong, 1);
        se_item_release(item); /* the item is ours until here, whatever happens to the id */
    }
    return NULL;
}

/* Opens, lets everybody ask, closes. Returns how often the factory ran; -1 on failure. */
static int one_day(const char *database)
{
    struct shop shop = {0};
    se_config config;
    pthread_t threads[THREADS];
    se_config_init(&config);
    config.sql_url = database;
    if (se_open(&config, &shop.engine) != SE_OK) {
        fprintf(stderr, "cannot open %s: %s\n", database, se_errmsg());
        return -1;
    }
    int started = 0;
    while (started < THREADS && pthread_create(&threads[started], NULL, customer, &shop) == 0)
        started++;
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    if (se_close(shop.engine, 10000) != SE_OK) {
        fprintf(stderr, "close: %s\n", se_errmsg());
        return -1;
    }
    printf("%d calls, the factory ran %d times\n", started * REPORTS, atomic_load(&shop.made));
    return started == THREADS && atomic_load(&shop.wrong) == 0 ? atomic_load(&shop.made) : -1;
}

static void clean_up(const char *directory)
{
    static const char *const names[] = {"cache_aside.db", "cache_aside.db-wal",
                                        "cache_aside.db-shm"};
    char path[600];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    rmdir(directory);
}

int main(int argc, char **argv)
{
    char temporary[] = "/tmp/cache_aside.XXXXXX", database[600];
    const char *directory = argc > 1 ? argv[1] : mkdtemp(temporary);
    if (!directory) {
        perror("mkdtemp");
        return 1;
    }
    snprintf(database, sizeof database, "sqlite:%s/cache_aside.db", directory);
    int first = one_day(database), second = first < 0 ? -1 : one_day(database);
    if (argc < 2)
        clean_up(directory);
    /* A directory that was used before holds the reports already. */
    if ((argc < 2 && first != REPORTS) || first < 0 || second != 0) {
        fprintf(stderr, "expected %d runs, and none after the restart\n", REPORTS);
        return 1;
    }
    return 0;
}
