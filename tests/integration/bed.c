/*
 * bed - see bed.h.
 */
#include "integration/bed.h"

#include "base/os.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void quiet(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    if (getenv("SE_TEST_LOG"))
        (void)fprintf(stderr, "[%d] %s\n", (int)level, message);
}

static void empty(struct redis_server *redis, struct mariadb_server *mariadb)
{
    char text[64];
    if (redis)
        redis_server_ask(redis, text, sizeof text, "FLUSHALL");
    if (mariadb)
        cr_assert(mariadb_exec(
            mariadb, "DROP TABLE IF EXISTS sync_items; DROP TABLE IF EXISTS sync_items_meta"));
}

void bed_make(struct bed *b, const struct shape *shape, struct redis_server *redis,
              struct mariadb_server *mariadb)
{
    *b = (struct bed){.shape = shape};
    test_dir_make(&b->dir);
    test_dir_path(&b->dir, "", "wal.db", b->wal);
    test_dir_path(&b->dir, "sqlite:", "l3.db", b->sql);
    if (shape->sql == MYSQL)
        mariadb_url(mariadb, mariadb->port != 0, b->sql, sizeof b->sql);
    if (shape->redis)
        redis_server_url(redis, b->redis, sizeof b->redis);
    empty(shape->redis ? redis : NULL, shape->sql == MYSQL ? mariadb : NULL);
    se_config_init(&b->config);
    b->config.sql_url = shape->sql != NO_SQL ? b->sql : NULL;
    b->config.redis_url = shape->redis ? b->redis : NULL;
    b->config.wal_path = shape->wal ? b->wal : NULL;
    b->config.log_fn = quiet;
}

void bed_remove(struct bed *b)
{
    test_dir_remove(&b->dir);
}

se_engine *bed_open(struct bed *b)
{
    se_engine *e = NULL;
    se_result r = se_open(&b->config, &e);
    cr_assert_eq(r, SE_OK, "%s: se_open: %s", b->shape->name, se_errmsg());
    cr_assert_eq(se_engine_phase(e), SE_PHASE_RUNNING);
    return e;
}

void bed_close(struct bed *b, se_engine *e)
{
    cr_assert_eq(se_close(e, 20000), SE_OK, "%s: se_close: %s", b->shape->name, se_errmsg());
}

void bed_put(se_engine *e, const char *id, const char *content)
{
    se_result r = se_submit(e, id, content, strlen(content), NULL);
    cr_assert_eq(r, SE_OK, "%s: %d %s", id, r, se_errmsg());
}

void bed_expect(se_engine *e, const char *id, const char *content)
{
    se_item *item;
    se_result r = se_get(e, id, &item);
    if (!content) {
        cr_assert_eq(r, SE_NOT_FOUND, "%s: %d %s", id, r, r < 0 ? se_errmsg() : "found");
        cr_assert_null(item);
        return;
    }
    cr_assert_eq(r, SE_OK, "%s: %d %s", id, r, r < 0 ? se_errmsg() : "not found");
    cr_assert_eq(se_item_content_len(item), strlen(content), "%s", id);
    cr_assert(memcmp(se_item_content(item), content, strlen(content)) == 0, "%s", id);
    cr_assert_str_eq(se_item_id(item), id);
    se_item_release(item);
}

double bed_metric(se_engine *e, const char *family, const char *labels)
{
    char *text;
    size_t len, family_len = strlen(family);
    cr_assert_eq(se_metrics_text(e, &text, &len), SE_OK);
    double value = -1;
    for (char *line = strtok(text, "\n"); line && value < 0; line = strtok(NULL, "\n")) {
        if (strncmp(line, family, family_len) == 0 && line[family_len] == '{' &&
            strstr(line, labels))
            value = strtod(strrchr(line, ' ') + 1, NULL);
    }
    free(text);
    return value;
}

void bed_wait(bool (*holds)(void *arg), void *arg, const char *what)
{
    uint64_t deadline = se__deadline_in(20000);
    while (!holds(arg)) {
        cr_assert(se__deadline_left(deadline) > 0, "waited in vain until %s", what);
        se__pause_ms(5);
    }
}
