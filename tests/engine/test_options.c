/*
 * options and settings: defaults, values by name, the environment, checks, masking.
 */
#include "base/buf.h"
#include "engine/options.h"
#include "engine/settings.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

Test(options, defaults_are_those_of_the_header)
{
    se_config c;
    se_config_init(&c);
    cr_assert_eq(c.struct_size, sizeof c);
    cr_assert_eq(c.l1_max_bytes, (size_t)256 << 20);
    cr_assert_eq(c.max_payload_bytes, (size_t)8 << 20);
    cr_assert_eq(c.batch_flush_ms, 100);
    cr_assert_eq(c.batch_flush_count, 1000);
    cr_assert_eq(c.flush_workers, 2);
    cr_assert_eq(c.default_ack, SE_ACK_MEMORY);
    cr_assert_eq(c.queue_max_bytes, (size_t)64 << 20);
    cr_assert_eq(c.wal_max_items, 1000000);
    cr_assert_eq(c.wal_max_bytes, (uint64_t)1 << 30);
    cr_assert_eq(c.redis_timeout_ms, 250);
    cr_assert_eq(c.sql_timeout_ms, 2000);
    cr_assert_eq(c.read_timeout_ms, 3000);
    cr_assert_eq(c.ack_timeout_ms, 5000);
    cr_assert_eq(c.circuit_failures, 5);
    cr_assert_eq(c.circuit_open_ms, 30000);
    cr_assert_eq(c.tombstone_retention_s, 86400);
    cr_assert_str_eq(c.redis_prefix, "sync:");
    cr_assert_str_eq(c.sql_table, "sync_items");
    cr_assert(c.backpressure_warn == 0.70 && c.backpressure_critical == 0.90);
    cr_assert(!c.require_backends && !c.read_only && !c.shared);
    cr_assert_eq(se__options_check(&c), SE_OK);
}

Test(options, every_default_is_in_its_own_range)
{
    size_t n;
    const struct option *table = se__options(&n);
    for (size_t i = 0; i < n; i++) {
        se_config c;
        se_config_init(&c);
        if (table[i].fallback)
            cr_assert_eq(se_config_set(&c, table[i].name, table[i].fallback), SE_OK, "%s: %s",
                         table[i].name, se_errmsg());
        se_config_clear(&c);
    }
}

Test(options, takes_sizes_with_units_and_refuses_nonsense)
{
    se_config c;
    se_config_init(&c);
    cr_assert_eq(se_config_set(&c, "l1_max_bytes", "64MiB"), SE_OK);
    cr_assert_eq(c.l1_max_bytes, (size_t)64 << 20);
    cr_assert_eq(se_config_set(&c, "l1_max_bytes", "2MB"), SE_OK);
    cr_assert_eq(c.l1_max_bytes, 2000000);
    static const char *const bad[] = {"",     "-1",   "1.5", "64 parsecs", "nan",  "inf",
                                      "0x10", "1e99", "12 ", "MiB",        "1KiBB"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (strcmp(bad[i], "12 ") == 0)
            continue; /* blanks around are fine, the value is below the least allowed */
        cr_assert_eq(se_config_set(&c, "l1_max_bytes", bad[i]), SE_ERR_CONFIG, "'%s'", bad[i]);
        cr_assert_eq(c.l1_max_bytes, 2000000, "'%s' changed it", bad[i]);
    }
    cr_assert_eq(se_config_set(&c, "flush_workers", "0"), SE_ERR_CONFIG);
    cr_assert_eq(se_config_set(&c, "flush_workers", "65"), SE_ERR_CONFIG);
    cr_assert_eq(se_config_set(&c, "require_backends", "maybe"), SE_ERR_CONFIG);
    cr_assert_eq(se_config_set(&c, "require_backends", "Yes"), SE_OK);
    cr_assert(c.require_backends);
    cr_assert_eq(se_config_set(&c, "default_ack", "disk"), SE_ERR_CONFIG);
    cr_assert_eq(se_config_set(&c, "default_ack", "wal"), SE_OK);
    cr_assert_eq(c.default_ack, SE_ACK_WAL);
    cr_assert_eq(se_config_set(&c, "no_such_thing", "1"), SE_ERR_CONFIG);
    cr_assert(strstr(se_errmsg(), "no_such_thing"));
    cr_assert_eq(se_config_set(NULL, "name", "x"), SE_ERR_CONFIG);
    cr_assert_eq(se_config_set(&c, NULL, "x"), SE_ERR_CONFIG);
    cr_assert_eq(se_config_set(&c, "name", NULL), SE_ERR_CONFIG);
}

Test(options, owns_the_texts_it_was_given)
{
    se_config c;
    se_config_init(&c);
    char text[] = "sqlite:/tmp/a";
    cr_assert_eq(se_config_set(&c, "sql_url", text), SE_OK);
    memset(text, 'x', sizeof text - 1);
    cr_assert_str_eq(c.sql_url, "sqlite:/tmp/a");
    cr_assert_eq(se_config_set(&c, "sql_url", "sqlite:/tmp/b"), SE_OK);
    cr_assert_str_eq(c.sql_url, "sqlite:/tmp/b");
    cr_assert_eq(se_config_set(&c, "sql_url", ""), SE_OK);
    cr_assert_null(c.sql_url);
    se_config_clear(&c);
    se_config_clear(&c); /* twice is harmless */
    se_config_clear(NULL);
}

Test(options, environment_sets_all_or_nothing)
{
    se_config c;
    se_config_init(&c);
    setenv("SYNC_ENGINE_BATCH_FLUSH_MS", "7", 1);
    setenv("SYNC_ENGINE_SQL_URL", "sqlite:/tmp/x", 1);
    cr_assert_eq(se_config_from_env(&c), SE_OK);
    cr_assert_eq(c.batch_flush_ms, 7);
    cr_assert_str_eq(c.sql_url, "sqlite:/tmp/x");
    se_config_clear(&c);
    se_config_init(&c);
    setenv("SYNC_ENGINE_TOMBSTONE_RETENTION_S", "never", 1);
    cr_assert_eq(se_config_from_env(&c), SE_ERR_CONFIG);
    cr_assert(strstr(se_errmsg(), "SYNC_ENGINE_TOMBSTONE_RETENTION_S"));
    cr_assert_eq(c.batch_flush_ms, 100, "changed although one variable was bad");
    se_config_clear(&c);
    unsetenv("SYNC_ENGINE_BATCH_FLUSH_MS");
    unsetenv("SYNC_ENGINE_SQL_URL");
    unsetenv("SYNC_ENGINE_TOMBSTONE_RETENTION_S");
}

Test(options, an_older_callers_struct_is_respected)
{
    union {
        se_config c;
        unsigned char bytes[sizeof(se_config)];
    } u;
    memset(&u, 0xAB, sizeof u);
    size_t old = offsetof(se_config, shared);
    se_config_init_sized(&u.c, old);
    for (size_t i = old; i < sizeof u; i++)
        cr_assert_eq(u.bytes[i], 0xAB, "byte %zu was written", i);
    cr_assert_eq(se_config_set(&u.c, "shared", "true"), SE_ERR_CONFIG);
    struct settings s;
    cr_assert_eq(se__settings_open(&u.c, &s), SE_OK);
    cr_assert(!s.c.shared);
    cr_assert_eq(s.c.tombstone_retention_s, 86400);
    se__settings_done(&s);
}

Test(options, never_shows_a_password)
{
    se_config c;
    se_config_init(&c);
    c.sql_url = "mysql://me:hunter2@db.example/app";
    char text[256];
    se__option_show(&c, se__option_find("sql_url"), text, sizeof text);
    cr_assert(!strstr(text, "hunter2"));
    cr_assert(strstr(text, "db.example"));
    c.sql_url = "mysql://me:hunter2@db.example:port/app";
    se__option_show(&c, se__option_find("sql_url"), text, sizeof text);
    cr_assert(!strstr(text, "hunter2"));
    struct settings s;
    cr_assert_eq(se__settings_open(&c, &s), SE_ERR_CONFIG);
    cr_assert(!strstr(se_errmsg(), "hunter2"), "%s", se_errmsg());
    /* name and value in each other's places */
    cr_assert_eq(se_config_set(&c, "mysql://me:hunter2@db.example/app", "sql_url"), SE_ERR_CONFIG);
    cr_assert(!strstr(se_errmsg(), "hunter2"), "%s", se_errmsg());
    cr_assert(strstr(se_errmsg(), "mysql"), "%s", se_errmsg());
    /* a flag whose value was forgotten takes the next one for it */
    cr_assert_eq(se_config_set(&c, "flush_workers", "--sql-url=mysql://me:hunter2@db.example/app"),
                 SE_ERR_CONFIG);
    cr_assert(!strstr(se_errmsg(), "hunter2"), "%s", se_errmsg());
}

static se_result check(const char *name, const char *value)
{
    se_config c;
    se_config_init(&c);
    se_result r = se_config_set(&c, name, value);
    struct settings s;
    if (r == SE_OK)
        r = se__settings_open(&c, &s);
    if (r == SE_OK)
        se__settings_done(&s);
    se_config_clear(&c);
    return r;
}

Test(settings, refuses_what_does_not_fit)
{
    cr_assert_eq(check("redis_url", "mysql://h/db"), SE_ERR_CONFIG);
    cr_assert_eq(check("sql_url", "redis://h"), SE_ERR_CONFIG);
    cr_assert_eq(check("sql_url", "postgres://h/db"), SE_ERR_CONFIG);
    cr_assert_eq(check("redis_prefix", "a\x01"), SE_ERR_CONFIG);
    cr_assert_eq(check("shared", "true"), SE_ERR_UNSUPPORTED);
    cr_assert_eq(check("cdc_stream", "changes"), SE_ERR_UNSUPPORTED);
    cr_assert_eq(check("backpressure_warn", "0.95"), SE_ERR_CONFIG);
    cr_assert_eq(check("name", "fine"), SE_OK);
    se_config c;
    se_config_init(&c);
    c.struct_size = 0;
    struct settings s;
    cr_assert_eq(se__settings_open(&c, &s), SE_ERR_CONFIG);
    se_config_init(&c);
    c.batch_flush_count = 0;
    cr_assert_eq(se__settings_open(&c, &s), SE_ERR_CONFIG);
    cr_assert(strstr(se_errmsg(), "batch_flush_count"));
}

Test(options, compression_by_name)
{
    static const struct {
        const char *text;
        se_compression mode;
    } cases[] = {{"off", SE_COMPRESSION_OFF},
                 {"false", SE_COMPRESSION_OFF},
                 {"on", SE_COMPRESSION_ON},
                 {"TRUE", SE_COMPRESSION_ON},
                 {"1", SE_COMPRESSION_ON},
                 {"dictionary", SE_COMPRESSION_DICTIONARY},
                 {"Dictionary", SE_COMPRESSION_DICTIONARY}};
    static const char *const wrong[] = {"", "zstd", "2", "dict", "on "};
    se_config c;
    char text[64];
    se_config_init(&c);
    cr_assert_eq(c.sql_compression, SE_COMPRESSION_OFF);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert_eq(se_config_set(&c, "sql_compression", cases[i].text), SE_OK);
        cr_assert_eq(c.sql_compression, cases[i].mode, "%s", cases[i].text);
    }
    se__option_show(&c, se__option_find("sql_compression"), text, sizeof text);
    cr_assert_str_eq(text, "dictionary");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_assert_eq(se_config_set(&c, "sql_compression", wrong[i]), SE_ERR_CONFIG, "%s", wrong[i]);
        cr_assert(strstr(se_errmsg(), "off, on or dictionary"), "%s", se_errmsg());
    }
    c.sql_compression = (se_compression)7;
    struct settings s;
    cr_assert_eq(se__settings_open(&c, &s), SE_ERR_CONFIG);
    cr_assert(strstr(se_errmsg(), "sql_compression"), "%s", se_errmsg());
    /* programs compiled before the field was there */
    se_config_init_sized(&c, offsetof(se_config, sql_compression));
    cr_assert_eq(se_config_set(&c, "sql_compression", "on"), SE_ERR_CONFIG);
    cr_assert_eq(se__settings_open(&c, &s), SE_OK, "%s", se_errmsg());
    cr_assert_eq(s.c.sql_compression, SE_COMPRESSION_OFF);
    se__settings_done(&s);
}

Test(options, the_page_has_every_field)
{
    struct buf out = {0};
    se__options_markdown(&out);
    se__buf_append(&out, "", 1);
    size_t n;
    const struct option *table = se__options(&n);
    for (size_t i = 0; i < n; i++)
        cr_assert(strstr(out.data, table[i].name), "%s", table[i].name);
    se__buf_done(&out);
}

/* ---- as text ---- */

static bool has_line(const char *text, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = text; (at = strstr(at, line)); at++) {
        if ((at == text || at[-1] == '\n') && at[len] == '\n')
            return true;
    }
    return false;
}

Test(options, a_config_is_shown_without_its_secrets)
{
    se_config c;
    char *text;
    size_t len, n;
    se_config_init(&c);
    c.redis_url = "redis://someone:hush@cache:6380/2";
    c.sql_url = "mysql://me:s3cr%40t@db/app";
    c.name = "evil\nsql_table = other";
    c.sql_compression = SE_COMPRESSION_ON;
    cr_assert_eq(se_config_set(&c, "l1_max_bytes", "1MiB"), SE_OK);
    cr_assert_eq(se_config_text(&c, &text, &len), SE_OK);
    cr_assert_eq(strlen(text), len);
    cr_assert(has_line(text, "l1_max_bytes = 1048576") && has_line(text, "default_ack = memory") &&
              has_line(text, "sql_compression = on") && has_line(text, "wal_path = "));
    cr_assert(has_line(text, "name = evil?sql_table = other"));
    cr_assert(strstr(text, "cache:6380") && strstr(text, "db"));
    cr_assert(!strstr(text, "hush") && !strstr(text, "s3cr") && !strstr(text, "someone"));
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    se__options(&n);
    cr_assert_eq(lines, n);
    free(text);
    c.sql_url = "mysql://me:s3cr/et@db:x/app";
    cr_assert_eq(se_config_text(&c, &text, &len), SE_OK);
    cr_assert(has_line(text, "sql_url = (malformed)") && !strstr(text, "s3cr"));
    free(text);
    c.struct_size = offsetof(se_config, sql_compression); /* an older caller's */
    cr_assert_eq(se_config_text(&c, &text, &len), SE_OK);
    cr_assert(!strstr(text, "sql_compression"));
    free(text);
    cr_assert_eq(se_config_text(NULL, &text, &len), SE_ERR_INVALID);
    cr_assert_eq(se_config_text(&c, NULL, &len), SE_ERR_INVALID);
    se_config_clear(&c);
}
