/*
 * l3_fixture - a SQL tier on a fresh database, the same for every driver.
 */
#include "l3_fixture.h"

#include "base/hlc.h"
#include "l3/mysql_conn.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void remember(void *arg, se_log_level level, const char *message)
{
    struct l3_fixture *f = arg;
    if (level <= SE_LOG_WARN)
        snprintf(f->logged, sizeof f->logged, "%s", message);
}

struct tier l3_open(struct l3_fixture *f, se_result expected)
{
    struct tier t = {0};
    struct url url;
    cr_assert_eq(se__url_parse("sql_url", f->url, &url), SE_OK, "%s", se_errmsg());
    f->options.url = &url;
    se_result r = f->driver == L3_SQLITE  ? se__sqlite_open(&f->options, &t)
                  : f->driver == L3_MYSQL ? se__mysql_open(&f->options, &t)
                                          : se__mysql_open_form(&f->options, MYSQL_FORM_ROWS, &t);
    f->options.url = NULL;
    se__url_done(&url);
    cr_assert_eq(r, SE_OK, "%s", se_errmsg());
    r = t.ops->prepare(t.self, l3_soon());
    cr_assert_eq(r, expected, "prepare: %d %s", r, se_errmsg());
    return t;
}

void l3_close(struct tier *t)
{
    if (t->ops)
        t->ops->close(t->self);
    t->ops = NULL;
}

void l3_start(struct l3_fixture *f, enum l3_driver driver, const char *const *server_args)
{
    *f = (struct l3_fixture){.driver = driver};
    f->log = (struct se__log){.fn = remember, .arg = f};
    f->options = (struct l3_options){.table = "sync_items",
                                     .timeout_ms = 10000,
                                     .read_connections = 2,
                                     .workers = 2,
                                     .tombstone_retention_s = 86400,
                                     .log = &f->log};
    if (driver == L3_SQLITE) {
        snprintf(f->dir, sizeof f->dir, "/dev/shm/se-l3-XXXXXX");
        cr_assert_not_null(mkdtemp(f->dir));
        snprintf(f->url, sizeof f->url, "sqlite:%s/db", f->dir);
    } else {
        f->server = mariadb_start(false, server_args);
        cr_assert_not_null(f->server);
        mariadb_url(f->server, false, f->url, sizeof f->url);
    }
    f->tier = l3_open(f, SE_OK);
}

void l3_stop(struct l3_fixture *f)
{
    static const char *const suffixes[] = {"/db", "/db-wal", "/db-shm", ""};
    l3_close(&f->tier);
    mariadb_close(f->server);
    for (size_t i = 0; f->dir[0] && i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", f->dir, suffixes[i]);
        remove(path);
    }
}

static int first_number(void *arg, int n, char **values, char **names)
{
    (void)names;
    *(long long *)arg = n > 0 && values[0] ? atoll(values[0]) : 0;
    return 0;
}

static bool sqlite_sql(struct l3_fixture *f, const char *sql, long long *number)
{
    sqlite3 *db;
    char *error = NULL, path[80];
    snprintf(path, sizeof path, "%s/db", f->dir);
    bool ok = sqlite3_open(path, &db) == SQLITE_OK;
    sqlite3_busy_timeout(db, 10000);
    ok = ok && sqlite3_exec(db, sql, first_number, number, &error) == SQLITE_OK;
    if (!ok)
        fprintf(stderr, "%s: %s\n", sql, error ? error : sqlite3_errmsg(db));
    sqlite3_free(error);
    sqlite3_close(db);
    return ok;
}

bool l3_sql(struct l3_fixture *f, const char *sql)
{
    long long unused;
    return f->server ? mariadb_exec(f->server, sql) : sqlite_sql(f, sql, &unused);
}

long long l3_number(struct l3_fixture *f, const char *sql)
{
    long long number = 0;
    if (f->server)
        return mariadb_number(f->server, sql);
    return sqlite_sql(f, sql, &number) ? number : -1;
}

uint64_t l3_soon(void)
{
    return se__deadline_in(20000);
}

se_item *l3_item_bytes(const char *id, uint64_t version, const void *content, size_t len,
                       se_content_type type)
{
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
                             .content = content,
                             .content_len = len,
                             .version = version,
                             .updated_at_ms = 1700000000000,
                             .content_type = type};
    se_item *item = se__item_new(&spec);
    cr_assert_not_null(item);
    return item;
}

se_item *l3_item(const char *id, uint64_t version, const char *text)
{
    return l3_item_bytes(id, version, text, strlen(text), SE_CONTENT_AUTO);
}

se_item *l3_tombstone(const char *id, uint64_t version)
{
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
                             .version = version,
                             .updated_at_ms = 1700000000000,
                             .deleted = true};
    se_item *item = se__item_new(&spec);
    cr_assert_not_null(item);
    return item;
}

struct tier_reply l3_try(struct tier *t, se_item *item, enum tier_state *state)
{
    struct tier_write w = {.item = item,
                           .kind = se__item_deleted(item) ? RECORD_TOMBSTONE : RECORD_ITEM};
    struct tier_reply reply = t->ops->write(t->self, 0, &w, 1, l3_soon());
    *state = w.state;
    se_item_release(item);
    return reply;
}

enum tier_state l3_put(struct l3_fixture *f, se_item *item)
{
    enum tier_state state;
    struct tier_reply reply = l3_try(&f->tier, item, &state);
    cr_assert_eq(reply.fault, TIER_FINE, "fault %d code %d: %s", reply.fault, reply.code,
                 se_errmsg());
    return state;
}

se_item *l3_get(struct l3_fixture *f, const char *id, enum tier_found *found)
{
    struct tier_read read = {.id = id, .id_len = strlen(id)};
    struct tier_reply reply = f->tier.ops->read(f->tier.self, &read, 1, l3_soon());
    cr_assert_eq(reply.fault, TIER_FINE, "fault %d code %d: %s", reply.fault, reply.code,
                 se_errmsg());
    if (found)
        *found = read.found;
    return read.found == TIER_HIT ? read.item : NULL;
}

uint64_t l3_version(struct l3_fixture *f, const char *id)
{
    se_item *item = l3_get(f, id, NULL);
    uint64_t version = item ? se_item_version(item) : 0;
    se_item_release(item);
    return version;
}

bool l3_holds(struct l3_fixture *f, const char *id, uint64_t version, const char *text)
{
    se_item *item = l3_get(f, id, NULL);
    bool holds = item && se_item_version(item) == version && !se__item_deleted(item) &&
                 se_item_content_len(item) == strlen(text) &&
                 memcmp(se_item_content(item), text, strlen(text)) == 0;
    se_item_release(item);
    return holds;
}

uint64_t l3_now_version(void)
{
    return se__version_of_ms(se__wall_ms());
}

const char *const l3_three[3] = {"a", "b", "c"};

struct tier_reply l3_batch(struct l3_fixture *f, const char *const *ids, size_t n, uint64_t version,
                           uint64_t deadline_ms)
{
    struct tier_write writes[100];
    cr_assert_leq(n, sizeof writes / sizeof *writes);
    for (size_t i = 0; i < n; i++)
        writes[i] =
            (struct tier_write){.item = l3_item(ids[i], version, "text"), .kind = RECORD_ITEM};
    struct tier_reply r = f->tier.ops->write(f->tier.self, 0, writes, n, deadline_ms);
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(writes[i].state == TIER_NOT_TRIED, r.fault != TIER_FINE);
        se_item_release(writes[i].item);
    }
    return r;
}
