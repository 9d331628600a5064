/*
 * How the databases go about our statements: a page of a survey is a range of an index, read once,
 * without sorting; a digest of everything is one pass over the table.
 */
#include "l3_fixture.h"

#include "l3/sqltext.h"
#include "tier/sights.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#define ROWS 3000u

static void fill(struct l3_fixture *f)
{
    static struct tier_write w[ROWS];
    uint64_t v = l3_now_version();
    for (unsigned i = 0; i < ROWS; i++) {
        char id[16];
        snprintf(id, sizeof id, "id%06u", i);
        w[i] = (struct tier_write){.item = l3_item(id, v, "some content, not too short"),
                                   .kind = RECORD_ITEM};
    }
    cr_assert_eq(f->tier.ops->write(f->tier.self, 0, w, ROWS, l3_soon()).fault, TIER_FINE);
    for (unsigned i = 0; i < ROWS; i++)
        se_item_release(w[i].item);
    cr_assert(l3_sql(f, f->server ? "ANALYZE TABLE sync_items" : "ANALYZE"));
}

static int add_detail(void *arg, int n, char **values, char **names)
{
    char *plan = arg;
    (void)names;
    size_t len = strlen(plan);
    snprintf(plan + len, 4000 - len, "%s; ", n > 3 && values[3] ? values[3] : "");
    return 0;
}

static void sqlite_plan(const struct l3_fixture *f, const char *sql, char plan[4000])
{
    char path[96];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/db", f->dir);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    /* any function of that name: it is only planned */
    cr_assert_eq(sqlite3_exec(db, sql, add_detail, plan, NULL), SQLITE_OK, "%s: %s",
                 sqlite3_errmsg(db), sql);
    sqlite3_close(db);
}

/* The plan of a statement of ours with `values`, comma-separated, in place of its parameters. */
static void plan_of(struct l3_fixture *f, enum sql_statement which, const char *const *values,
                    char plan[4000])
{
    struct sqltext t;
    char sql[3000], *at = sql;
    at += sprintf(at, "%s", f->server ? "EXPLAIN FORMAT=JSON " : "EXPLAIN QUERY PLAN ");
    cr_assert_eq(se__sqltext_init(f->server ? SQL_MYSQL : SQL_SQLITE, "sync_items", 86400, &t),
                 SE_OK);
    for (const char *c = t.text[which]; *c; c++)
        if (*c == '?')
            at += sprintf(at, "%s", *values++);
        else if (!f->server && strncmp(c, "se_xor", 6) == 0)
            at += sprintf(at, "SUM"), c += 5; /* that name is only known to our connections */
        else
            *at++ = *c;
    *at = '\0';
    se__sqltext_done(&t);
    *plan = '\0';
    if (f->server)
        cr_assert(mariadb_value(f->server, sql, plan, 4000));
    else
        sqlite_plan(f, sql, plan);
}

static bool has(const char *plan, const char *what)
{
    return strstr(plan, what) != NULL;
}

static void check_survey(struct l3_fixture *f, enum sql_range range, const char *const *values)
{
    bool by_bucket = range == SQL_IN_BUCKET || range == SQL_BUCKETS;
    for (unsigned depth = 0; depth < SQL_DEPTHS; depth++)
        for (unsigned live = 0; live < 2; live++) {
            char plan[4000];
            plan_of(f, se__sql_survey(range, depth, live), values, plan);
            const char *key = f->server ? by_bucket ? "\"key\": \"bucket\"" : "\"key\": \"PRIMARY\""
                              : by_bucket ? "INDEX sync_items_bucket (bucket"
                                          : "INDEX sqlite_autoindex_sync_items_1 (id>";
            cr_assert(has(plan, key), "%d/%u/%u: %s", range, depth, live, plan);
            cr_assert(!has(plan, "filesort") && !has(plan, "TEMP"), "%s", plan);
            if (depth == 0 && !live)
                cr_assert(has(plan, f->server ? by_bucket ? "\"using_index\": true" : "range"
                                              : "COVERING INDEX"),
                          "%s", plan);
        }
}

static void a_page_is_a_range_of_an_index(struct l3_fixture *f)
{
    fill(f);
    check_survey(f, SQL_BY_ID, (const char *const[]){"'id000100'", "1000"});
    check_survey(f, SQL_BY_ID_UNTIL, (const char *const[]){"'id000100'", "'id002000'", "1000"});
    check_survey(f, SQL_IN_BUCKET, (const char *const[]){"700", "'id000100'", "10000"});
    check_survey(f, SQL_BUCKETS, (const char *const[]){"700", "60000", "100"});
    check_survey(f, SQL_BUCKETS,
                 (const char *const[]){"-9223372036854775808", "9223372036854775807", "100"});
}
ON_BOTH_DIALECTS(a_page_is_a_range_of_an_index)

/* Rows that cannot be: finding none of them costs nothing. */
static void rows_without_a_bucket_are_not_looked_for(struct l3_fixture *f)
{
    char plan[4000];
    fill(f);
    for (unsigned depth = 0; depth < SQL_DEPTHS; depth++) {
        plan_of(f, se__sql_survey(SQL_NO_BUCKET, depth, false),
                (const char *const[]){"''", "10000"}, plan);
        cr_assert(f->server ? has(plan, "Impossible WHERE")
                            : has(plan, "INDEX sync_items_bucket (bucket>?)"),
                  "%s", plan);
    }
}
ON_BOTH_DIALECTS(rows_without_a_bucket_are_not_looked_for)

static void digests_take_the_shortest_way(struct l3_fixture *f)
{
    char plan[4000];
    fill(f);
    plan_of(f, SQL_DIGEST_ALL, (const char *const[]){"5"}, plan);
    cr_assert(has(plan, f->server ? "\"access_type\": \"ALL\"" : "SCAN sync_items; "), "%s", plan);
    plan_of(f, SQL_DIGEST_NODES, (const char *const[]){"12", "5"}, plan);
    cr_assert(has(plan, f->server ? "\"access_type\": \"ALL\"" : "SCAN sync_items; "), "%s", plan);
    plan_of(f, SQL_DIGEST_BUCKETS, (const char *const[]){"4", "256", "511", "5"}, plan);
    cr_assert(
        has(plan, f->server ? "\"key\": \"bucket\"" : "INDEX sync_items_bucket (bucket>? AND"),
        "%s", plan);
    plan_of(f, SQL_DIGEST_IDS, (const char *const[]){"'id0001'", "'id0002'", "5"}, plan);
    cr_assert(has(plan, f->server ? "\"key\": \"PRIMARY\"" : "(id>? AND id<?)"), "%s", plan);
}
ON_BOTH_DIALECTS(digests_take_the_shortest_way)

/* ---- what the server says it did ---- */

static long long entries_read(struct l3_fixture *f)
{
    return l3_number(f, "SELECT SUM(variable_value) FROM information_schema.global_status WHERE "
                        "variable_name IN ('HANDLER_READ_NEXT', 'HANDLER_READ_PREV', "
                        "'HANDLER_READ_RND')");
}

Test(mysql, a_page_reads_its_own_rows_and_no_others)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    fill(&f);
    for (unsigned i = 0; i < 6; i++) {
        struct tier_survey s = {.depth = i % 3,
                                .order = i / 3,
                                .bucket_last = UINT16_MAX,
                                .items_max = 100,
                                .bytes_max = SIZE_MAX};
        struct tier_cursor cursor = {0};
        struct tier_sights page = {0};
        for (unsigned n = 0; n < 10; n++) {
            long long before = entries_read(&f);
            cr_assert_eq(f.tier.ops->survey(f.tier.self, &s, &cursor, &page, l3_soon()).fault,
                         TIER_FINE);
            cr_assert_eq(page.n, 100);
            cr_assert_lt(entries_read(&f) - before, 130, "depth %u, order %u", s.depth, s.order);
        }
        se__sights_done(&page);
        se__tier_cursor_done(&cursor);
    }
    l3_stop(&f);
}
