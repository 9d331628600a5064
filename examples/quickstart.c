/*
 * quickstart - the engine's main job without any server: memory in front, a SQLite file behind.
 *
 *   quickstart load  DATA.ndjson.zst FILE.db    submits every line under its "id", flushes, closes
 *   quickstart check DATA.ndjson.zst FILE.db    opens it again and compares every item
 *
 * `check` is meant to run in a process of its own, so that nothing can come from the memory of
 * `load`. Exit status 0 only if every line was taken, or found again unchanged.
 */
#include "lines.h"

#include <syncengine/syncengine.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct job {
    se_engine *engine;
    uint64_t items, bytes, wrong;
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int complain(const char *what)
{
    (void)fprintf(stderr, "quickstart: %s: %s\n", what, se_errmsg());
    return 1;
}

static se_engine *open_engine(const char *file)
{
    char url[4096];
    (void)snprintf(url, sizeof url, "sqlite:%s", file);
    se_config config;
    se_config_init(&config);
    config.sql_url = url;
    se_engine *engine;
    return se_open(&config, &engine) == SE_OK ? engine : NULL;
}

/* Our data set has its id first in every line and no escapes in it; the tool
 * `syncengine load` takes any JSON. */
static bool id_of(const char *line, size_t len, char id[SE_ID_MAX + 1])
{
    static const char start[] = "{\"id\":\"";
    size_t from = sizeof start - 1;
    if (len <= from || memcmp(line, start, from) != 0)
        return false;
    const char *end = memchr(line + from, '"', len - from);
    size_t id_len = end ? (size_t)(end - line) - from : SE_ID_MAX + 1;
    if (id_len > SE_ID_MAX)
        return false;
    memcpy(id, line + from, id_len);
    id[id_len] = '\0';
    return true;
}

static void wait_ms(uint32_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static bool load_line(void *arg, const char *line, size_t len)
{
    struct job *job = arg;
    char id[SE_ID_MAX + 1];
    if (!id_of(line, len, id))
        return false;
    se_result r;
    while ((r = se_submit(job->engine, id, line, len, NULL)) == SE_ERR_BACKPRESSURE)
        /* more was submitted than the file can take by now */
        wait_ms(se_retry_after_ms(job->engine));
    job->items++;
    job->bytes += len;
    return r == SE_OK;
}

static bool check_line(void *arg, const char *line, size_t len)
{
    struct job *job = arg;
    char id[SE_ID_MAX + 1];
    if (!id_of(line, len, id))
        return false;
    se_item *item;
    se_result r = se_get(job->engine, id, &item);
    if (r == SE_OK) {
        if (se_item_content_len(item) != len || memcmp(se_item_content(item), line, len) != 0)
            job->wrong++;
        se_item_release(item);
    } else if (r == SE_NOT_FOUND) {
        job->wrong++;
    } else {
        return false;
    }
    job->items++;
    job->bytes += len;
    return true;
}

static void report(const char *what, const struct job *job, double took)
{
    (void)printf("%s %llu items (%.1f MB) in %.2f s: %.0f items/s\n", what,
                 (unsigned long long)job->items, (double)job->bytes / 1e6, took,
                 (double)job->items / took);
}

static int load(const char *data, const char *file)
{
    double start = seconds();
    struct job job = {.engine = open_engine(file)};
    if (!job.engine)
        return complain(file);
    bool taken = each_line(data, load_line, &job);
    bool stored = taken && se_flush(job.engine, 60000) == SE_OK;
    int failed = stored ? 0 : complain(taken ? "flush" : data);
    if (se_close(job.engine, 60000) != SE_OK)
        failed = complain("close");
    if (failed)
        return failed;
    report("Loaded", &job, seconds() - start);
    struct stat st;
    if (stat(file, &st) == 0)
        (void)printf("  all committed in %s, %.1f MB\n", file, (double)st.st_size / 1e6);
    return 0;
}

static int check(const char *data, const char *file)
{
    double start = seconds();
    struct job job = {.engine = open_engine(file)};
    if (!job.engine)
        return complain(file);
    uint64_t rows = 0;
    bool read = each_line(data, check_line, &job);
    bool counted = read && se_count_prefix(job.engine, "", &rows) == SE_OK;
    int failed = counted ? 0 : complain(read ? "count" : data);
    (void)se_close(job.engine, 60000);
    if (failed)
        return failed;
    report("Read back in a fresh process", &job, seconds() - start);
    (void)printf("  %llu differ or are missing; the file holds %llu items\n",
                 (unsigned long long)job.wrong, (unsigned long long)rows);
    return job.wrong == 0 && rows == job.items ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "load") == 0)
        return load(argv[2], argv[3]);
    if (argc == 4 && strcmp(argv[1], "check") == 0)
        return check(argv[2], argv[3]);
    (void)fprintf(stderr, "usage: quickstart load|check DATA.ndjson.zst FILE.db\n");
    return 2;
}
