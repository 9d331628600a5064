/*
 * write_behind - counters at memory speed, with Redis and MySQL catching up behind.
 *
 * 200,000 page views are counted under 100 ids. Each se_submit returns once the item is in memory;
 * the flusher writes what is newest to MySQL in batches, and to Redis after it. The WAL catches
 * what MySQL cannot take. At the end se_flush waits until everything has arrived, and a fresh
 * engine reads the counters back from the tiers.
 *
 *     SYNC_ENGINE_SQL_URL=mysql://user:pass@127.0.0.1/shop SYNC_ENGINE_REDIS_URL=redis://127.0.0.1
 *     ./write_behind
 *
 * Any option of the engine can be set so (docs/configuration.md). Without SYNC_ENGINE_SQL_URL it
 * runs on a SQLite file in a temporary directory, and says so.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syncengine/syncengine.h>
#include <time.h>
#include <unistd.h>

#define PAGES 100
#define VIEWS 200000

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void page_id(int page, char id[32])
{
    snprintf(id, 32, "views.page%03d", page);
}

/* One write. When the queues are full the engine says so, and when to
 * come again; nothing is lost. */
static se_result put(se_engine *engine, const char *id, const char *text)
{
    for (;;) {
        se_result r = se_submit(engine, id, text, strlen(text), NULL);
        if (r != SE_ERR_BACKPRESSURE)
            return r;
        uint32_t ms = se_retry_after_ms(engine);
        usleep((ms > 0 ? ms : 1) * 1000);
    }
}

static int count_views(se_engine *engine, long *counts)
{
    char id[32], text[32];
    for (long i = 0; i < VIEWS; i++) {
        int page = (int)(i * i % PAGES);
        page_id(page, id);
        snprintf(text, sizeof text, "%ld", ++counts[page]);
        se_result r = put(engine, id, text);
        if (r != SE_OK && r != SE_PENDING) { /* PENDING: accepted, its ack is still to come */
            fprintf(stderr, "%s: %s\n", id, se_errmsg());
            return 1;
        }
    }
    return 0;
}

/* Writes, waits for the tiers, closes. */
static int write_all(const se_config *config, long *counts)
{
    se_engine *engine;
    if (se_open(config, &engine) != SE_OK) {
        fprintf(stderr, "open: %s\n", se_errmsg());
        return 1;
    }
    double start = seconds();
    int failed = count_views(engine, counts);
    double written = seconds();
    se_result r = se_flush(engine, 30000);
    printf("%d writes in %.3f s; %s after %.3f s more\n", VIEWS, written - start,
           r == SE_OK        ? "all in the database"
           : r == SE_PENDING ? "all in the database or the WAL"
                             : se_errmsg(),
           seconds() - written);
    failed |= r != SE_OK && r != SE_PENDING;
    r = se_close(engine, 30000);
    return failed || (r != SE_OK && r != SE_PENDING);
}

/* A fresh engine knows nothing but what the tiers hold. */
static int read_back(const se_config *config, const long *counts)
{
    se_engine *engine;
    int wrong = 0;
    if (se_open(config, &engine) != SE_OK) {
        fprintf(stderr, "open: %s\n", se_errmsg());
        return 1;
    }
    for (int page = 0; page < PAGES; page++) {
        char id[32], text[32] = "";
        size_t len = 0;
        page_id(page, id);
        se_result r = se_get_copy(engine, id, text, sizeof text - 1, &len);
        if (counts[page] == 0 ? r != SE_NOT_FOUND : r != SE_OK || atol(text) != counts[page]) {
            fprintf(stderr, "%s: expected %ld, got \"%s\"\n", id, counts[page], text);
            wrong = 1;
        }
    }
    printf("read back: %s\n", wrong ? "wrong" : "every counter is right");
    se_close(engine, 5000);
    return wrong;
}

static void clean_up(const char *directory)
{
    static const char *const names[] = {"items.db",    "items.db-wal", "items.db-shm",
                                        "wal.db",      "wal.db-wal",   "wal.db-shm",
                                        "wal.db.lock", "wal.db-lock"};
    char path[300];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    rmdir(directory);
}

int main(void)
{
    char directory[] = "/tmp/write_behind.XXXXXX", sql[300], wal[300];
    long counts[PAGES] = {0};
    se_config config;
    se_config_init(&config);
    if (se_config_from_env(&config) != SE_OK) {
        fprintf(stderr, "%s\n", se_errmsg());
        return 1;
    }
    bool temporary = !config.sql_url;
    if (temporary) {
        if (!mkdtemp(directory)) {
            perror("mkdtemp");
            return 1;
        }
        snprintf(sql, sizeof sql, "sqlite:%s/items.db", directory);
        snprintf(wal, sizeof wal, "%s/wal.db", directory);
        config.sql_url = sql;
        config.wal_path = config.wal_path ? config.wal_path : wal;
        printf("SYNC_ENGINE_SQL_URL is not set: writing to a SQLite file in %s\n", directory);
    }
    int failed = write_all(&config, counts) || read_back(&config, counts);
    if (temporary)
        clean_up(directory);
    se_config_clear(&config);
    return failed;
}
