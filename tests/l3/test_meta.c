/*
 * Small named values.
 */
#include "l3_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect(struct l3_fixture *f, const char *name, const char *expected)
{
    struct buf value = {0};
    bool found = false;
    cr_assert_eq(f->tier.ops->meta_get(f->tier.self, name, &value, &found, l3_soon()).fault,
                 TIER_FINE);
    char *text = se__buf_take(&value, NULL);
    cr_assert_eq(found, expected != NULL, "%s", name);
    cr_assert_str_eq(text, expected ? expected : "");
    free(text);
}

static void count_names(void *arg, const char *name, const char *value)
{
    char *all = arg;
    strcat(strcat(strcat(strcat(all, name), "="), value), ";");
}

static void values_are_kept(struct l3_fixture *f)
{
    const struct tier_ops *ops = f->tier.ops;
    struct buf now = {0};
    expect(f, "m", NULL);
    cr_assert_eq(ops->meta_put(f->tier.self, "m", "one", l3_soon()).fault, TIER_FINE);
    expect(f, "m", "one");
    cr_assert_eq(ops->meta_put(f->tier.self, "m", "", l3_soon()).fault, TIER_FINE);
    expect(f, "m", "");
    cr_assert_eq(ops->meta_add(f->tier.self, "m", "three", &now, l3_soon()).fault, TIER_FINE);
    cr_assert_eq(now.len, 0, "what was stored stays");
    cr_assert_eq(ops->meta_add(f->tier.self, "M", "three", &now, l3_soon()).fault, TIER_FINE);
    cr_assert_eq(now.len, 5);
    cr_assert_eq(memcmp(now.data, "three", 5), 0);
    se__buf_done(&now);
    cr_assert_eq(ops->meta_delete(f->tier.self, "m", l3_soon()).fault, TIER_FINE);
    cr_assert_eq(ops->meta_delete(f->tier.self, "m", l3_soon()).fault, TIER_FINE);
    expect(f, "m", NULL);
    expect(f, "M", "three");
}
ON_BOTH_DIALECTS(values_are_kept)

static void names_are_listed_by_prefix(struct l3_fixture *f)
{
    static const char *const names[] = {"owner:a", "owner:b", "owner_c", "Owner:d", "owner:"};
    char all[300] = "";
    for (size_t i = 0; i < 5; i++)
        f->tier.ops->meta_put(f->tier.self, names[i], "v", l3_soon());
    cr_assert_eq(f->tier.ops->meta_list(f->tier.self, "owner:", count_names, all, l3_soon()).fault,
                 TIER_FINE);
    cr_assert_str_eq(all, "owner:=v;owner:a=v;owner:b=v;");
    all[0] = '\0';
    f->tier.ops->meta_list(f->tier.self, "nobody", count_names, all, l3_soon());
    cr_assert_str_eq(all, "");
    all[0] = '\0';
    f->tier.ops->meta_list(f->tier.self, "", count_names, all, l3_soon());
    cr_assert_not_null(strstr(all, "schema_version=1;"));
}
ON_BOTH_DIALECTS(names_are_listed_by_prefix)

/* ---- schema ---- */

static void a_newer_schema_is_respected(struct l3_fixture *f)
{
    l3_close(&f->tier);
    cr_assert(l3_sql(f, "UPDATE sync_items_meta SET value = '9' WHERE name = 'schema_version'"));
    struct tier t = l3_open(f, SE_OK); /* it says that older ones may go on */
    l3_close(&t);
    cr_assert(l3_sql(f, "UPDATE sync_items_meta SET value = '8' WHERE name = 'writer_min'"));
    t = l3_open(f, SE_ERR_CONFIG);
    cr_assert_not_null(strstr(se_errmsg(), "version 9"), "%s", se_errmsg());
    cr_assert_not_null(strstr(se_errmsg(), "version 8"), "%s", se_errmsg());
    cr_assert_not_null(strstr(se_errmsg(), "version 2"), "%s", se_errmsg());
    l3_close(&t);
    f->options.read_only = true;
    t = l3_open(f, SE_OK); /* reading is allowed still */
    l3_close(&t);
    cr_assert(l3_sql(f, "UPDATE sync_items_meta SET value = 'x' WHERE name = 'reader_min'"));
    t = l3_open(f, SE_ERR_CONFIG);
    l3_close(&t);
}
ON_BOTH_DIALECTS(a_newer_schema_is_respected)

static void read_only_creates_nothing(struct l3_fixture *f)
{
    f->options.read_only = true;
    f->options.table = "other";
    struct tier t = l3_open(f, SE_ERR_CONFIG);
    cr_assert_not_null(strstr(se_errmsg(), "CREATE TABLE"), "%s", se_errmsg());
    l3_close(&t);
    cr_assert_eq(
        l3_number(
            f, f->server
                   ? "SELECT COUNT(*) FROM information_schema.tables WHERE table_name LIKE 'other%'"
                   : "SELECT COUNT(*) FROM sqlite_master WHERE name LIKE 'other%'"),
        0);
    f->options.table = "sync_items";
    l3_put(f, l3_item("seen", 5, "x"));
    t = l3_open(f, SE_OK);
    struct tier_read read = {.id = "seen", .id_len = 4};
    cr_assert_eq(t.ops->read(t.self, &read, 1, l3_soon()).fault, TIER_FINE);
    cr_assert_eq(read.found, TIER_HIT);
    se_item_release(read.item);
    enum tier_state state;
    cr_assert_eq(l3_try(&t, l3_item("seen", 6, "y"), &state).fault, TIER_UNWELL);
    l3_close(&t);
}
ON_BOTH_DIALECTS(read_only_creates_nothing)

static void a_table_that_does_not_fit_is_said(struct l3_fixture *f)
{
    f->options.table = "strange";
    cr_assert(l3_sql(f, "CREATE TABLE strange (id INTEGER PRIMARY KEY)"));
    struct tier t = l3_open(f, SE_ERR_CONFIG);
    cr_assert_not_null(strstr(se_errmsg(), "strange"), "%s", se_errmsg());
    l3_close(&t);
    if (!f->server)
        return;
    cr_assert(l3_sql(
        f, "CREATE TABLE folded LIKE sync_items; CREATE TABLE folded_meta LIKE sync_items_meta;"
           "ALTER TABLE folded MODIFY id VARCHAR(255) NOT NULL"));
    f->options.table = "folded";
    t = l3_open(f, SE_ERR_CONFIG);
    cr_assert_not_null(strstr(se_errmsg(), "VARBINARY"), "%s", se_errmsg());
    l3_close(&t);
    cr_assert(
        l3_sql(f, "CREATE TABLE aria LIKE sync_items; CREATE TABLE aria_meta LIKE sync_items_meta;"
                  "ALTER TABLE aria ENGINE=MyISAM"));
    f->options.table = "aria";
    t = l3_open(f, SE_ERR_CONFIG);
    cr_assert_not_null(strstr(se_errmsg(), "transactions"), "%s", se_errmsg());
    l3_close(&t);
}
ON_BOTH_DIALECTS(a_table_that_does_not_fit_is_said)

static void table_names_are_checked(struct l3_fixture *f)
{
    static const char *const bad[] = {
        "", "a b", "a;b", "a`", "\xc3\xa4", "a234567890123456789012345678901234567890123456789"};
    struct url url;
    cr_assert_eq(se__url_parse("sql_url", f->url, &url), SE_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tier t = {0};
        f->options.table = bad[i];
        f->options.url = &url;
        cr_assert_eq(f->server ? se__mysql_open(&f->options, &t) : se__sqlite_open(&f->options, &t),
                     SE_ERR_CONFIG);
        cr_assert_null(t.ops);
    }
    se__url_done(&url);
}
ON_BOTH_DIALECTS(table_names_are_checked)

/* Taken for 0 it would let purged items come back, taken for a great one swallow every new one. */
static void a_damaged_floor_stops_old_writes(struct l3_fixture *f)
{
    static const char *const BAD[] = {
        "x", "", "-1", "12 ", "9223372036854775808", "99999999999999999999999"};
    enum tier_state state;
    char sql[200];
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        snprintf(sql, sizeof sql,
                 "UPDATE sync_items_meta SET value = '%s' WHERE name = 'purge_floor'", BAD[i]);
        cr_assert(l3_sql(f, sql));
        struct tier_reply reply = l3_try(&f->tier, l3_item("old", 5, "text"), &state);
        cr_assert_eq(reply.fault, TIER_UNWELL, "\"%s\"", BAD[i]);
        cr_assert(strstr(se_errmsg(), "purge_floor is damaged"), "%s", se_errmsg());
        cr_assert_eq(l3_version(f, "old"), 0);
    }
    cr_assert(l3_sql(f, "UPDATE sync_items_meta SET value = '4' WHERE name = 'purge_floor'"));
    cr_assert_eq(l3_put(f, l3_item("old", 5, "text")), TIER_STORED);
}
ON_BOTH_DIALECTS(a_damaged_floor_stops_old_writes)
