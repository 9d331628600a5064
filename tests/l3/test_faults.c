/*
 * What a database refuses or undoes, and what the tier says about it: rows, rights, conflicts.
 */
#include "base/hlc.h"
#include "base/mem.h"
#include "l3_fixture.h"
#include "tier/sights.h"

#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a row that is refused ---- */

static void refuse_b(struct l3_fixture *f)
{
    cr_assert(l3_sql(f, f->server
                            ? "ALTER TABLE sync_items ADD CONSTRAINT no_b CHECK (id <> 'b')"
                            : "CREATE TRIGGER no_b BEFORE INSERT ON sync_items WHEN new.id = 'b' "
                              "BEGIN SELECT RAISE(ABORT, 'no b here'); END"));
}

static void a_constraint_refuses_its_batch_and_only_that(struct l3_fixture *f)
{
    refuse_b(f);
    struct tier_reply r = l3_batch(f, l3_three, 3, l3_now_version(), l3_soon());
    cr_assert_eq(r.fault, TIER_REFUSED, "code %d: %s", r.code, se_errmsg());
    cr_assert_not_null(strstr(se_errmsg(), "no"), "%s", se_errmsg());
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items"), 0, "all or nothing");
    cr_assert_eq(l3_batch(f, l3_three, 1, l3_now_version(), l3_soon()).fault, TIER_FINE);
    cr_assert_eq(l3_batch(f, l3_three + 1, 1, l3_now_version(), l3_soon()).fault, TIER_REFUSED);
    cr_assert_eq(l3_batch(f, l3_three + 2, 1, l3_now_version(), l3_soon()).fault, TIER_FINE);
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items"), 2);
}
ON_EVERY_DRIVER(a_constraint_refuses_its_batch_and_only_that)

Test(mysql, a_signal_in_a_trigger_refuses)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    cr_assert(l3_sql(
        &f, "CREATE TRIGGER no_b BEFORE INSERT ON sync_items FOR EACH ROW IF new.id = 'b' THEN "
            "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF"));
    struct tier_reply r = l3_batch(&f, l3_three, 3, l3_now_version(), l3_soon());
    cr_assert_eq(r.fault, TIER_REFUSED);
    cr_assert_eq(r.code, 1644);
    cr_assert_not_null(strstr(se_errmsg(), "not this one"));
    cr_assert_eq(l3_number(&f, "SELECT COUNT(*) FROM sync_items"), 0);
    l3_stop(&f);
}

static void too_large(enum l3_driver driver)
{
    struct l3_fixture f;
    l3_start(&f, driver, (const char *const[]){"--max-allowed-packet=1M", NULL});
    size_t max = f.tier.ops->payload_max(f.tier.self);
    cr_assert(max > 1000000 && max < 1048576, "%zu", max);
    char *content = calloc(1, max + 1);
    struct tier_write w[3];
    for (int i = 0; i < 3; i++)
        w[i] = (struct tier_write){.item = l3_item_bytes(l3_three[i], l3_now_version(), content,
                                                         i == 1 ? max + 1 : max - 100,
                                                         SE_CONTENT_BINARY),
                                   .kind = RECORD_ITEM};
    struct tier_reply r = f.tier.ops->write(f.tier.self, 0, w, 3, l3_soon());
    cr_assert_eq(r.fault, TIER_REFUSED);
    cr_assert_eq(l3_number(&f, "SELECT COUNT(*) FROM sync_items"), 0);
    r = f.tier.ops->write(f.tier.self, 0, w + 1, 1, l3_soon());
    cr_assert_eq(r.fault, TIER_REFUSED);
    /* the largest that is promised passes, in packets of its own, and comes back */
    struct tier_write fits[2] = {w[0], w[2]};
    r = f.tier.ops->write(f.tier.self, 0, fits, 2, l3_soon());
    cr_assert_eq(r.fault, TIER_FINE, "%s", se_errmsg());
    se_item *got = l3_get(&f, "c", NULL);
    cr_assert_not_null(got);
    cr_assert_eq(se_item_content_len(got), max - 100);
    se_item_release(got);
    for (int i = 0; i < 3; i++)
        se_item_release(w[i].item);
    free(content);
    l3_stop(&f);
}

Test(mysql, a_row_larger_than_a_packet_is_refused)
{
    too_large(L3_MYSQL);
}

Test(mysql_rows, a_row_larger_than_a_packet_is_refused)
{
    too_large(L3_MYSQL_ROWS);
}

/* ---- a schema or a right that went away: every row would fail ---- */

static void a_dropped_column_is_unwell(struct l3_fixture *f)
{
    cr_assert_eq(l3_batch(f, l3_three, 3, l3_now_version(), l3_soon()).fault, TIER_FINE);
    cr_assert(l3_sql(f, "ALTER TABLE sync_items DROP COLUMN route"));
    cr_assert_eq(l3_batch(f, l3_three, 3, l3_now_version(), l3_soon()).fault, TIER_UNWELL);
    cr_assert_eq(l3_batch(f, l3_three, 1, l3_now_version(), l3_soon()).fault, TIER_UNWELL);
    struct tier_read read = {.id = "a", .id_len = 1};
    cr_assert_eq(f->tier.ops->read(f->tier.self, &read, 1, l3_soon()).fault, TIER_UNWELL);
    cr_assert_eq(f->tier.ops->prepare(f->tier.self, l3_soon()), SE_ERR_CONFIG);
    cr_assert_not_null(strstr(se_errmsg(), "route"), "%s", se_errmsg());
}
ON_EVERY_DRIVER(a_dropped_column_is_unwell)

static void a_missing_table_is_made_again(struct l3_fixture *f)
{
    cr_assert_eq(l3_batch(f, l3_three, 3, l3_now_version(), l3_soon()).fault, TIER_FINE);
    cr_assert(l3_sql(f, "DROP TABLE sync_items"));
    cr_assert_eq(l3_batch(f, l3_three, 3, l3_now_version(), l3_soon()).fault, TIER_UNWELL);
    cr_assert_eq(f->tier.ops->prepare(f->tier.self, l3_soon()), SE_OK, "%s", se_errmsg());
    cr_assert_eq(l3_batch(f, l3_three, 3, l3_now_version(), l3_soon()).fault, TIER_FINE);
}
ON_EVERY_DRIVER(a_missing_table_is_made_again)

static void use_user(struct l3_fixture *f, const char *user_and_password)
{
    snprintf(f->url, sizeof f->url, "mysql://%s@localhost/t?socket=%s", user_and_password,
             f->server->socket);
}

Test(mysql, without_the_right_to_create_it_says_what_to_run)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    cr_assert(l3_sql(&f, "CREATE USER w@localhost IDENTIFIED BY 'pw';"
                         "GRANT SELECT, INSERT, UPDATE, DELETE ON t.* TO w@localhost"));
    use_user(&f, "w:pw");
    struct tier t = l3_open(&f, SE_OK);
    enum tier_state state;
    cr_assert_eq(l3_try(&t, l3_item("x", l3_now_version(), "1"), &state).fault, TIER_FINE);
    l3_close(&t);
    f.options.table = "elsewhere";
    t = l3_open(&f, SE_ERR_CONFIG);
    cr_assert_not_null(strstr(se_errmsg(), "CREATE TABLE"), "%s", se_errmsg());
    cr_assert_not_null(strstr(f.logged, "elsewhere_meta ("), "%s", f.logged);
    l3_close(&t);
    f.options.table = "sync_items";
    /* sessions keep their rights on a database: a new one sees the change */
    cr_assert(l3_sql(&f, "REVOKE INSERT ON t.* FROM w@localhost"));
    t = l3_open(&f, SE_OK);
    struct tier_reply r = l3_try(&t, l3_item("x", l3_now_version(), "1"), &state);
    cr_assert_eq(r.fault, TIER_UNWELL);
    cr_assert_eq(r.code, 1142);
    l3_close(&t);
    cr_assert(l3_sql(&f, "GRANT INSERT ON t.* TO w@localhost"));
    t = l3_open(&f, SE_OK);
    cr_assert(l3_sql(&f, "SET GLOBAL read_only = 1"));
    r = l3_try(&t, l3_item("x", l3_now_version(), "1"), &state);
    cr_assert_eq(r.fault, TIER_UNWELL);
    cr_assert_eq(r.code, 1290);
    l3_close(&t);
    l3_stop(&f);
}

Test(mysql, a_wrong_password_is_not_repeated_in_the_message)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    cr_assert(l3_sql(&f, "CREATE USER w@localhost IDENTIFIED BY 'pw'"));
    use_user(&f, "w:sesame-open");
    struct tier t = l3_open(&f, SE_ERR_BACKEND);
    cr_assert_not_null(strstr(se_errmsg(), "denied"), "%s", se_errmsg());
    cr_assert_null(strstr(se_errmsg(), "sesame"), "%s", se_errmsg());
    cr_assert_null(strstr(f.logged, "sesame"), "%s", f.logged);
    struct tier_reply r = t.ops->probe(t.self, l3_soon());
    cr_assert_eq(r.fault, TIER_UNWELL);
    cr_assert_eq(r.code, 1045);
    l3_close(&t);
    l3_stop(&f);
}

Test(mysql, a_lax_server_is_warned_about)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, (const char *const[]){"--innodb-flush-log-at-trx-commit=2", NULL});
    cr_assert_not_null(strstr(f.logged, "innodb_flush_log_at_trx_commit is 2"), "%s", f.logged);
    l3_stop(&f);
}

Test(mysql, tcp_works_too)
{
    struct l3_fixture f = {.driver = L3_MYSQL};
    f.log = (struct se__log){0};
    f.server = mariadb_start(true, NULL);
    cr_assert_not_null(f.server);
    mariadb_url(f.server, true, f.url, sizeof f.url);
    f.options = (struct l3_options){.table = "sync_items",
                                    .timeout_ms = 5000,
                                    .read_connections = 1,
                                    .workers = 1,
                                    .tombstone_retention_s = 86400,
                                    .log = &f.log};
    f.tier = l3_open(&f, SE_OK);
    cr_assert_eq(l3_put(&f, l3_item("x", l3_now_version(), "1")), TIER_STORED);
    cr_assert_eq(
        l3_number(
            &f,
            "SELECT COUNT(*) FROM information_schema.processlist WHERE host LIKE '127.0.0.1%'") > 0,
        1);
    l3_stop(&f);
}

/* ---- conflicts ---- */

static MYSQL *other_client(struct l3_fixture *f)
{
    MYSQL *m = mysql_init(NULL);
    unsigned protocol = MYSQL_PROTOCOL_SOCKET;
    mysql_options(m, MYSQL_OPT_PROTOCOL, &protocol);
    cr_assert_not_null(mysql_real_connect(m, NULL, "root", NULL, "t", 0, f->server->socket, 0));
    return m;
}

static void other_says(MYSQL *m, const char *sql)
{
    cr_assert_eq(mysql_query(m, sql), 0, "%s: %s", sql, mysql_error(m));
}

struct background {
    struct l3_fixture *f;
    struct tier_reply reply;
    struct se__thread thread;
};

static void write_three(void *arg)
{
    struct background *b = arg;
    b->reply = l3_batch(b->f, l3_three, 3, l3_now_version(), l3_soon());
}

#define WAITING "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"

/* The server keeps its answers about transactions for 100 ms after they were last asked for. */
static bool wait_for(struct l3_fixture *f, const char *sql, long long value)
{
    for (uint64_t end = se__deadline_in(20000); se__deadline_left(end) > 0; se__pause_ms(120))
        if (l3_number(f, sql) == value)
            return true;
    return false;
}

static void deadlock(enum l3_driver driver)
{
    struct l3_fixture f;
    l3_start(&f, driver, NULL);
    cr_assert_eq(l3_batch(&f, l3_three, 3, l3_now_version() - 1000, l3_soon()).fault, TIER_FINE);
    MYSQL *m = other_client(&f);
    /* much more to undo than we have: the server makes us the victim */
    other_says(m, "CREATE TABLE weight (n INT PRIMARY KEY) ENGINE=InnoDB");
    other_says(m, "START TRANSACTION");
    other_says(m, "INSERT INTO weight SELECT seq FROM seq_1_to_5000");
    other_says(m, "UPDATE sync_items SET bucket = bucket + 1 WHERE id = 'c'");
    struct background b = {.f = &f};
    cr_assert_eq(se__thread_start(&b.thread, "writer", write_three, &b), SE_OK);
    cr_assert(wait_for(
        &f, "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'", 1));
    other_says(m, "UPDATE sync_items SET bucket = bucket + 1 WHERE id = 'a'");
    se__thread_join(&b.thread);
    cr_assert_eq(b.reply.fault, TIER_CONFLICT);
    cr_assert_eq(b.reply.code, 1213);
    other_says(m, "ROLLBACK");
    mysql_close(m);
    cr_assert_eq(l3_batch(&f, l3_three, 3, l3_now_version(), l3_soon()).fault, TIER_FINE);
    l3_stop(&f);
}

Test(mysql, a_deadlock_is_a_conflict)
{
    deadlock(L3_MYSQL);
}

Test(mysql_rows, a_deadlock_is_a_conflict)
{
    deadlock(L3_MYSQL_ROWS);
}

Test(mysql, a_lock_wait_is_a_conflict_and_undoes_all)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    l3_close(&f.tier);
    f.options.timeout_ms = 1000;
    f.tier = l3_open(&f, SE_OK);
    uint64_t v = l3_now_version() - 1000000;
    cr_assert_eq(l3_batch(&f, l3_three, 3, v, l3_soon()).fault, TIER_FINE);
    MYSQL *m = other_client(&f);
    other_says(m, "START TRANSACTION");
    other_says(m, "UPDATE sync_items SET bucket = bucket + 1 WHERE id = 'c'");
    struct tier_reply r = l3_batch(&f, l3_three, 3, l3_now_version(), l3_soon());
    cr_assert_eq(r.fault, TIER_CONFLICT);
    cr_assert_eq(r.code, 1205);
    other_says(m, "ROLLBACK");
    mysql_close(m);
    cr_assert_eq(l3_version(&f, "a"), v, "nothing was applied");
    l3_stop(&f);
}

/* A batch that is one statement needs no BEGIN and no COMMIT; and is all or nothing all the same. */
static void one_statement_is_a_transaction(struct l3_fixture *f)
{
    static const char BEGUN[] = "SELECT variable_value FROM information_schema.global_status "
                                "WHERE variable_name = 'com_begin'";
    enum { N = 100 };
    static char names[N][8];
    const char *ids[N];
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], i == 50 ? "b" : i < 50 ? "a%02d" : "c%02d", i);
        ids[i] = names[i];
    }
    refuse_b(f);
    long long begun = l3_number(f, BEGUN);
    uint64_t v = l3_now_version();
    cr_assert_eq(l3_batch(f, ids, N, v, l3_soon()).fault, TIER_REFUSED);
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items"), 0, "all or nothing");
    ids[50] = "bb";
    cr_assert_eq(l3_batch(f, ids, N, v, l3_soon()).fault, TIER_FINE);
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items"), N);
    cr_assert_eq(l3_number(f, BEGUN), begun);
    /* losers among them are found without a transaction as well */
    cr_assert_eq(l3_put(f, l3_item("bb", v + 9, "newer")), TIER_STORED);
    struct tier_write w[N];
    for (int i = 0; i < N; i++)
        w[i] = (struct tier_write){.item = l3_item(ids[i], v + 5, "next"), .kind = RECORD_ITEM};
    cr_assert_eq(f->tier.ops->write(f->tier.self, 0, w, N, l3_soon()).fault, TIER_FINE);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(w[i].state, i == 50 ? TIER_NEWER : TIER_STORED, "%d", i);
        cr_assert_eq(w[i].newer, i == 50 ? v + 9 : 0);
        se_item_release(w[i].item);
    }
    cr_assert_eq(l3_number(f, BEGUN), begun);
}
ON_DRIVER(mysql, L3_MYSQL, one_statement_is_a_transaction)
ON_DRIVER(mysql_rows, L3_MYSQL_ROWS, one_statement_is_a_transaction)

/* The connection breaks in the middle of a transaction: nobody needs to know. */
static void a_session_killed_before_commit_is_repeated(struct l3_fixture *f)
{
    uint64_t v = l3_now_version() - 1000000;
    char sql[128];
    cr_assert_eq(l3_batch(f, l3_three, 3, v, l3_soon()).fault, TIER_FINE);
    MYSQL *m = other_client(f);
    other_says(m, "START TRANSACTION");
    other_says(m, "UPDATE sync_items SET updated_at = 1 WHERE id = 'c'");
    struct background b = {.f = f};
    cr_assert_eq(se__thread_start(&b.thread, "writer", write_three, &b), SE_OK);
    cr_assert(wait_for(f, WAITING, 1));
    long long session =
        mariadb_number(f->server, "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx "
                                  "WHERE trx_state = 'LOCK WAIT'");
    snprintf(sql, sizeof sql, "KILL %lld", session);
    cr_assert(mariadb_exec(f->server, sql));
    snprintf(sql, sizeof sql,
             "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT' AND "
             "trx_mysql_thread_id <> %lld",
             session);
    cr_assert(wait_for(f, sql, 1), "another session waits for the row now");
    other_says(m, "COMMIT");
    se__thread_join(&b.thread);
    mysql_close(m);
    cr_assert_eq(b.reply.fault, TIER_FINE, "%d", b.reply.code);
    cr_assert_gt(l3_version(f, "a"), v);
    cr_assert_eq(l3_version(f, "a"), l3_version(f, "c"));
}
ON_DRIVER(mysql, L3_MYSQL, a_session_killed_before_commit_is_repeated)
ON_DRIVER(mysql_rows, L3_MYSQL_ROWS, a_session_killed_before_commit_is_repeated)

/* ---- the purge floor under concurrency ---- */

static void write_old(void *arg)
{
    struct background *b = arg;
    b->reply =
        l3_batch(b->f, l3_three, 3, se__version_of_ms(se__wall_ms() - 200 * 86400000LL), l3_soon());
}

/* A purge that raises the floor and an old write: whoever comes second sees what the first did. */
Test(mysql, an_old_write_waits_for_a_purge)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    MYSQL *m = other_client(&f);
    other_says(m, "START TRANSACTION");
    other_says(
        m, "UPDATE sync_items_meta SET value = '9223372036854775807' WHERE name = 'purge_floor'");
    struct background b = {.f = &f};
    cr_assert_eq(se__thread_start(&b.thread, "writer", write_old, &b), SE_OK);
    cr_assert(wait_for(&f, WAITING, 1), "it must not look past the purge");
    other_says(m, "COMMIT");
    se__thread_join(&b.thread);
    mysql_close(m);
    cr_assert_eq(b.reply.fault, TIER_FINE);
    cr_assert_eq(l3_number(&f, "SELECT COUNT(*) FROM sync_items"), 0, "purged ids stay away");
    l3_stop(&f);
}

static void purge_some(void *arg)
{
    struct background *b = arg;
    size_t purged;
    b->reply = b->f->tier.ops->purge(b->f->tier.self, 10, &purged, l3_soon());
}

Test(mysql, a_purge_waits_for_an_old_write)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    MYSQL *m = other_client(&f);
    other_says(m, "START TRANSACTION");
    other_says(m,
               "SELECT value FROM sync_items_meta WHERE name = 'purge_floor' LOCK IN SHARE MODE");
    mysql_free_result(mysql_store_result(m));
    struct background b = {.f = &f};
    cr_assert_eq(se__thread_start(&b.thread, "purger", purge_some, &b), SE_OK);
    cr_assert(wait_for(&f, WAITING, 1), "it must not raise the floor under a writer");
    other_says(m, "COMMIT");
    se__thread_join(&b.thread);
    mysql_close(m);
    cr_assert_eq(b.reply.fault, TIER_FINE);
    l3_stop(&f);
}

/* ---- memory ---- */

struct material {
    struct tier_write writes[12];
    char ids[12][8];
};

static void make_material(struct material *m)
{
    for (size_t i = 0; i < 12; i++) {
        snprintf(m->ids[i], sizeof m->ids[i], "m%02zu", i);
        m->writes[i] = (struct tier_write){
            .item = l3_item(m->ids[i], l3_now_version(), "[\"content\"]"), .kind = RECORD_ITEM};
    }
}

static bool read_material(struct tier *t, struct material *m)
{
    struct tier_read reads[12];
    for (size_t i = 0; i < 12; i++)
        reads[i] = (struct tier_read){.id = m->ids[i], .id_len = strlen(m->ids[i])};
    bool fine = t->ops->read(t->self, reads, 12, l3_soon()).fault == TIER_FINE;
    for (size_t i = 0; i < 12; i++) {
        cr_assert_eq(reads[i].found, fine ? TIER_HIT : TIER_ABSENT);
        cr_assert_eq(reads[i].item != NULL, fine);
        se_item_release(reads[i].item);
    }
    return fine;
}

static bool scan_material(struct tier *t)
{
    struct tier_scan scan = {.prefix = "m", .after = "", .items_max = 100, .bytes_max = 100000};
    struct tier_page page;
    bool fine = t->ops->scan(t->self, &scan, &page, l3_soon()).fault == TIER_FINE;
    cr_assert_eq(page.n, fine ? 12 : 0, "a page is complete or not there");
    se__tier_page_done(&page);
    return fine;
}

/* Two pages of a survey: a page is whole, or it is not there and the cursor stays. */
static bool survey_material(struct tier *t, enum tier_depth depth, enum tier_order order)
{
    struct tier_survey survey = {.depth = depth,
                                 .order = order,
                                 .bucket_last = UINT16_MAX,
                                 .items_max = 6,
                                 .bytes_max = 100000};
    struct tier_cursor cursor = {0};
    struct tier_sights page = {0};
    bool fine = true;
    for (int i = 0; i < 2 && fine; i++) {
        fine = t->ops->survey(t->self, &survey, &cursor, &page, l3_soon()).fault == TIER_FINE;
        cr_assert_eq(page.n, fine ? 6 : 0);
        cr_assert_eq(cursor.begun, fine || i > 0);
    }
    se__sights_done(&page);
    se__tier_cursor_done(&cursor);
    return fine;
}

static bool look_at_material(struct tier *t, struct material *m)
{
    struct tier_node node;
    struct tier_digest digest = {.bucket_last = UINT16_MAX, .shift = 16};
    struct tier_read seen = {.id = m->ids[0], .id_len = 3, .seen_len = SE_HASH_SIZE};
    struct tier_write write = m->writes[0];
    bool fine = survey_material(t, TIER_IDS, TIER_BY_BUCKET) &&
                survey_material(t, TIER_HEADERS, TIER_BY_ID) &&
                survey_material(t, TIER_CONTENTS, TIER_BY_BUCKET) &&
                t->ops->digest(t->self, &digest, &node, l3_soon()).fault == TIER_FINE &&
                t->ops->mend(t->self, &seen, &write, l3_soon()).fault == TIER_FINE;
    cr_assert(!fine || (node.count == 12 && write.state == TIER_NEWER));
    return fine;
}

static void ignore_pair(void *arg, const char *name, const char *value)
{
    (void)arg;
    (void)name;
    (void)value;
}

/* True if every step was fine. */
static bool do_everything(struct l3_fixture *f, struct tier *t, struct material *m)
{
    struct url url;
    size_t purged;
    struct buf value = {0};
    bool found, fine = se__url_parse("sql_url", f->url, &url) == SE_OK;
    if (!fine)
        return false;
    f->options.url = &url;
    if (!t->ops)
        fine = (f->driver == L3_SQLITE ? se__sqlite_open(&f->options, t)
                                       : se__mysql_open(&f->options, t)) == SE_OK;
    se__url_done(&url);
    fine = fine && t->ops->prepare(t->self, l3_soon()) == SE_OK;
    fine = fine && t->ops->write(t->self, 0, m->writes, 12, l3_soon()).fault == TIER_FINE;
    fine = fine && read_material(t, m) && scan_material(t) && look_at_material(t, m);
    fine = fine && t->ops->meta_put(t->self, "k", "v", l3_soon()).fault == TIER_FINE;
    fine = fine && t->ops->meta_get(t->self, "k", &value, &found, l3_soon()).fault == TIER_FINE;
    fine = fine && t->ops->meta_list(t->self, "k", ignore_pair, NULL, l3_soon()).fault == TIER_FINE;
    fine = fine && t->ops->purge(t->self, 10, &purged, l3_soon()).fault == TIER_FINE;
    se__buf_done(&value);
    return fine;
}

/* Wherever memory ends, the call fails as a whole and the tier goes on once there is some again. */
static void memory_may_run_out_anywhere(struct l3_fixture *f)
{
    struct material m;
    make_material(&m);
    if (!se__mem_fail_after(-1))
        return; /* a release build */
    bool done = false;
    for (int n = 0; !done; n++) {
        struct tier t = {0};
        se__mem_fail_after(n);
        done = do_everything(f, &t, &m);
        se__mem_fail_after(-1);
        cr_assert(do_everything(f, &t, &m), "after %d allocations: %s", n, se_errmsg());
        l3_close(&t);
        cr_assert_lt(n, 5000);
    }
    for (size_t i = 0; i < 12; i++)
        se_item_release(m.writes[i].item);
}
ON_BOTH_DIALECTS(memory_may_run_out_anywhere)
