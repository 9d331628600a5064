#include "wal/fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void no_log(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    if (getenv("SE_TEST_LOG"))
        fprintf(stderr, "log %d: %s\n", (int)level, message);
}

void fixture_init(struct log_fixture *f)
{
    const char *base = getenv("SE_TEST_DIR");
    *f = (struct log_fixture){.quiet = {.fn = no_log, .name = "test"}};
    snprintf(f->dir, sizeof f->dir, "%s/syncengine-wal-XXXXXX", base ? base : "/dev/shm");
    cr_assert(mkdtemp(f->dir) != NULL);
    snprintf(f->path, sizeof f->path, "%s/log", f->dir);
    se__hlc_init(&f->hlc, 0);
    cr_assert_eq(se__metrics_open(&f->metrics), SE_OK);
    f->options = (struct wal_options){.path = f->path,
                                      .items_max = 1000000,
                                      .bytes_max = UINT64_C(1) << 30,
                                      .partitions = 1,
                                      .seed = 42,
                                      .hlc = &f->hlc,
                                      .metrics = f->metrics,
                                      .log = &f->quiet};
}

void fixture_done(struct log_fixture *f)
{
    se__wal_close(f->wal);
    f->wal = NULL;
    se__metrics_close(f->metrics);
    DIR *dir = opendir(f->dir);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char name[512];
        snprintf(name, sizeof name, "%s/%s", f->dir, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(name);
    }
    if (dir)
        closedir(dir);
    rmdir(f->dir);
}

void fixture_open(struct log_fixture *f)
{
    se_result r = se__wal_open(&f->options, &f->wal);
    cr_assert_eq(r, SE_OK, "open: %d %s", (int)r, se_errmsg());
}

void fixture_reopen(struct log_fixture *f)
{
    se__wal_close(f->wal);
    f->wal = NULL;
    fixture_open(f);
}

const char *fixture_name(const struct log_fixture *f, const char *suffix)
{
    static char name[200];
    snprintf(name, sizeof name, "%s%s", f->path, suffix);
    return name;
}

se_item *item_bytes(const char *id, uint64_t version, const void *content, size_t len)
{
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
                             .content = content,
                             .content_len = len,
                             .version = version,
                             .updated_at_ms = 1,
                             .content_type = SE_CONTENT_BINARY};
    se_item *item = se__item_new(&spec);
    cr_assert(item != NULL);
    return item;
}

se_item *item_of(const char *id, uint64_t version, const char *content)
{
    char usual[400];
    snprintf(usual, sizeof usual, "%s@%llu", id, (unsigned long long)version);
    return content ? item_bytes(id, version, content, strlen(content))
                   : item_bytes(id, version, usual, strlen(usual));
}

se_item *tombstone_of(const char *id, uint64_t version)
{
    struct item_spec spec = {
        .id = id, .id_len = strlen(id), .version = version, .updated_at_ms = 1, .deleted = true};
    se_item *item = se__item_new(&spec);
    cr_assert(item != NULL);
    return item;
}

se_result append_one(struct wal *w, const char *id, uint64_t version, enum wal_purpose purpose)
{
    se_item *item = item_of(id, version, NULL);
    se_result r = se__wal_append(w, &item, 1, purpose, SE__FOREVER);
    se_item_release(item);
    return r;
}

se_result bury_one(struct wal *w, const char *id, uint64_t version)
{
    se_item *item = item_of(id, version, NULL);
    se_result r = se__wal_bury(w, item, 1406, "Data too long");
    se_item_release(item);
    return r;
}

struct wal_confirmed confirm_one(struct wal *w, const char *id, uint64_t version)
{
    struct wal_confirmed confirmed;
    se__wal_confirm(w, id, strlen(id), version, &confirmed);
    return confirmed;
}

enum wal_place find_version(struct wal *w, const char *id, uint64_t *version)
{
    enum wal_place place;
    se_item *item;
    char usual[400];
    *version = 0;
    cr_assert_eq(se__wal_find(w, id, strlen(id), &place, &item), SE_OK, "%s", se_errmsg());
    cr_assert((place == WAL_NOWHERE) == (item == NULL));
    if (!item)
        return place;
    *version = se_item_version(item);
    snprintf(usual, sizeof usual, "%s@%llu", id, (unsigned long long)*version);
    if (!se__item_deleted(item))
        cr_assert(se_item_content_len(item) == strlen(usual) &&
                      memcmp(se_item_content(item), usual, strlen(usual)) == 0,
                  "content of %s", usual);
    cr_assert_str_eq(se_item_id(item), id);
    uint64_t seen = 0;
    cr_assert_eq(se__wal_look(w, id, strlen(id), &seen), place);
    cr_assert_eq(seen, *version);
    se_item_release(item);
    return place;
}

struct wal_stats stats_of(struct wal *w)
{
    struct wal_stats stats;
    se__wal_stats(w, &stats);
    return stats;
}

void drained(struct wal *w, unsigned partition, size_t items_max, char *text, size_t cap,
             bool give_back)
{
    se_item **items;
    size_t n, at = 0;
    cr_assert_eq(se__wal_drain_take(w, partition, items_max, SIZE_MAX, &items, &n), SE_OK, "%s",
                 se_errmsg());
    text[0] = '\0';
    for (size_t i = 0; i < n && at < cap; i++)
        at += (size_t)snprintf(text + at, cap - at, "%s%s@%llu", i ? " " : "", se_item_id(items[i]),
                               (unsigned long long)se_item_version(items[i]));
    if (!give_back)
        for (size_t i = 0; i < n; i++)
            confirm_one(w, se_item_id(items[i]), se_item_version(items[i]));
    if (n == 0)
        cr_assert(items == NULL);
    else if (give_back)
        se__wal_drain_return(w, partition, items, n);
    else
        se__wal_drain_done(w, partition, items, n);
}
