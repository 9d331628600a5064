/*
 * How others lost data, on real servers: see the table in test_lessons.c. And what ends by time, in every tier.
 */
#include "base/os.h"
#include "integration/stand.h"
#include "integration/truth.h"
#include "item/record.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape mysql_only = {"mysql", MYSQL, false, false};
static const struct shape mysql_wal = {"mysql+wal", MYSQL, false, true};
static const struct shape both = {"redis+mysql", MYSQL, true, false};
static const struct shape cached = {"redis+sqlite", SQLITE, true, false};
static const struct shape cached_wal = {"redis+sqlite+wal", SQLITE, true, true};
static const struct shape redis_only = {"redis", NO_SQL, true, false};

static void flush(se_engine *e)
{
    cr_assert_eq(se_flush(e, 20000), SE_OK, "%s", se_errmsg());
}

static double hits(se_engine *e, const char *tier)
{
    char labels[64];
    snprintf(labels, sizeof labels, "tier=\"%s\",operation=\"get\",status=\"hit\"", tier);
    return bed_metric(e, "sync_engine_operations_total", labels);
}

/* ---- outages ---- */

Test(lessons_servers, deletes_of_an_outage_arrive)
{
    struct stand s;
    stand_make(&s, &mysql_wal);
    s.bed.config.sql_timeout_ms = 500;
    s.e = bed_open(&s.bed);
    bed_put(s.e, "gone", "x");
    bed_put(s.e, "kept", "x");
    bed_put(s.e, "again", "x");
    flush(s.e);
    cr_assert(mariadb_kill(s.mariadb));
    const char *ids[] = {"gone", "again"};
    cr_assert_eq(se_delete_many(s.e, ids, 2, NULL), SE_OK);
    cr_assert_eq(se_flush(s.e, 20000), SE_PENDING);
    bed_put(s.e, "again", "newer than its delete");
    cr_assert_eq(se_invalidate_prefix(s.e, ""), SE_OK);
    bed_expect(s.e, "gone", NULL);
    bed_expect(s.e, "again", "newer than its delete");
    cr_assert(mariadb_restart(s.mariadb));
    bed_wait(truth_all_home, s.e, "everything is home");
    cr_assert_eq(mariadb_number(s.mariadb, "SELECT deleted FROM sync_items WHERE id = 'gone'"), 1);
    cr_assert_eq(mariadb_number(s.mariadb, "SELECT COUNT(*) FROM sync_items WHERE deleted = 0"), 2);
    stand_reopen(&s);
    bed_expect(s.e, "gone", NULL);
    bed_expect(s.e, "kept", "x");
    bed_expect(s.e, "again", "newer than its delete");
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

static se_result count_runs(void *arg, const char *id, void **content, size_t *len)
{
    (void)id;
    ++*(int *)arg;
    *content = strdup("made");
    *len = 4;
    return SE_OK;
}

Test(lessons_servers, in_an_outage_no_factory_runs)
{
    struct stand s;
    int runs = 0;
    se_item *item;
    bool found;
    uint64_t n;
    stand_make(&s, &both);
    s.bed.config.sql_timeout_ms = 300;
    s.bed.config.read_timeout_ms = 500;
    s.e = bed_open(&s.bed);
    bed_put(s.e, "row", "precious");
    cr_assert_eq(se_delete(s.e, "known to be gone", NULL), SE_OK);
    flush(s.e);
    stand_reopen(&s);
    char reply[64];
    redis_server_ask(&s.redis, reply, sizeof reply, "FLUSHALL");
    cr_assert(mariadb_kill(s.mariadb));
    for (int i = 0; i < 4; i++) { /* with the circuit closed, and open */
        cr_assert_eq(se_get_or_insert_with(s.e, "row", count_runs, &runs, NULL, &item),
                     SE_ERR_BACKEND);
        cr_assert_null(item);
        cr_assert_eq(se_get(s.e, "row", &item), SE_ERR_BACKEND);
        cr_assert_eq(se_contains(s.e, "row", &found), SE_ERR_BACKEND);
        cr_assert_eq(se_set_state(s.e, "row", "x"), SE_ERR_BACKEND);
        cr_assert_eq(se_count_prefix(s.e, "", &n), SE_ERR_BACKEND);
        cr_assert(!se_definitely_missing(s.e, "row"));
    }
    cr_assert_eq(runs, 0);
    cr_assert(mariadb_restart(s.mariadb));
    bed_wait(truth_all_home, s.e, "the database answers");
    cr_assert_eq(se_get_or_insert_with(s.e, "row", count_runs, &runs, NULL, &item), SE_OK, "%s",
                 se_errmsg());
    cr_assert(se_item_content_len(item) == 8 && runs == 0,
              "the factory's content went over the row");
    se_item_release(item);
    cr_assert_eq(se_get_or_insert_with(s.e, "known to be gone", count_runs, &runs, NULL, &item),
                 SE_OK);
    cr_assert_eq(runs, 1);
    se_item_release(item);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* A submit does no I/O: with the database stopped it takes as long as ever, retries or not. */
Test(lessons_servers, a_hung_database_does_not_hold_up_a_submit)
{
    struct stand s;
    uint64_t slowest = 0;
    stand_make(&s, &mysql_only);
    s.bed.config.sql_timeout_ms = 5000;
    s.e = bed_open(&s.bed);
    bed_put(s.e, "warm", "x");
    flush(s.e);
    cr_assert(mariadb_pause(s.mariadb));
    for (int i = 0; i < 500; i++) {
        char id[32];
        snprintf(id, sizeof id, "h:%03d", i);
        uint64_t began = se__mono_ms();
        bed_put(s.e, id, "x");
        bed_expect(s.e, id, "x");
        uint64_t took = se__mono_ms() - began;
        slowest = took > slowest ? took : slowest;
        se__pause_ms(i % 50 == 0); /* the flusher takes a batch into the trouble */
    }
    cr_assert_lt(slowest, 2500, "half a timeout: %llu ms", (unsigned long long)slowest);
    cr_assert(mariadb_resume(s.mariadb));
    bed_wait(truth_all_home, s.e, "everything is home");
    cr_assert_eq(mariadb_number(s.mariadb, "SELECT COUNT(*) FROM sync_items"), 501);
    truth_balance(s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

static bool redis_answers(void *arg)
{
    se_item *item;
    se_result r = se_get(arg, "absent", &item);
    cr_assert(r == SE_NOT_FOUND || r == SE_ERR_BACKEND, "%d", r);
    return r == SE_NOT_FOUND;
}

/* Commands that timed out are answered when the server goes on: those answers belong to nobody. */
Test(lessons_servers, a_late_reply_answers_nobody)
{
    struct stand s;
    stand_make(&s, &redis_only);
    s.bed.config.redis_timeout_ms = 60;
    s.bed.config.read_timeout_ms = 60;
    s.bed.config.circuit_failures = 1000;
    s.e = bed_open(&s.bed);
    for (int i = 0; i < 40; i++) {
        char id[32];
        snprintf(id, sizeof id, "l:%02d", i);
        bed_put(s.e, id, id);
    }
    flush(s.e);
    stand_reopen(&s);
    redis_server_pause(&s.redis);
    for (int i = 0; i < 20; i++) {
        char id[32];
        se_item *item;
        snprintf(id, sizeof id, "l:%02d", i);
        cr_assert_eq(se_get(s.e, id, &item), SE_ERR_BACKEND);
    }
    redis_server_resume(&s.redis);
    bed_wait(redis_answers, s.e, "redis answers");
    s.bed.config.read_timeout_ms = 5000;
    for (int i = 39; i >= 0; i--) {
        char id[32], got[32];
        size_t len;
        snprintf(id, sizeof id, "l:%02d", i);
        se_result r = se_get_copy(s.e, id, got, sizeof got, &len);
        cr_assert(r == SE_OK || r == SE_ERR_BACKEND, "%s: %d", id, r);
        cr_assert(r != SE_OK || (len == 4 && memcmp(got, id, 4) == 0), "%s: read %.4s", id, got);
    }
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* ---- older over newer ---- */

struct reader {
    struct se__thread thread;
    se_engine *e;
    const char *id;
    se_result result;
};

static void read_once(void *arg)
{
    struct reader *r = arg;
    se_item *item;
    r->result = se_get(r->e, r->id, &item);
    se_item_release(item);
}

/* The load is on its way to a database that has stopped; meanwhile the id is deleted (or written), and the load's answer comes late. */
static void overtake_a_load(struct stand *s, const char *id, const char *newer)
{
    char key[64], reply[256];
    struct reader r = {.e = s->e, .id = id};
    double asked = bed_metric(s->e, "sync_engine_operations_total",
                              "tier=\"l1\",operation=\"get\",status=\"miss\"");
    cr_assert(mariadb_pause(s->mariadb));
    cr_assert_eq(se__thread_start(&r.thread, "reader", read_once, &r), SE_OK);
    while (bed_metric(s->e, "sync_engine_operations_total",
                      "tier=\"l1\",operation=\"get\",status=\"miss\"") == asked)
        se__pause_ms(1);
    se__pause_ms(20); /* it may reach the database's socket, and need not: both must hold */
    if (newer)
        bed_put(s->e, id, newer);
    else
        cr_assert_eq(se_delete(s->e, id, NULL), SE_OK);
    bed_expect(s->e, id, newer);
    cr_assert(mariadb_resume(s->mariadb));
    se__thread_join(&r.thread);
    bed_expect(s->e, id, newer);
    flush(s->e);
    bed_expect(s->e, id, newer);
    snprintf(key, sizeof key, "sync:%s", id);
    redis_server_ask(&s->redis, reply, sizeof reply, "GETRANGE %s 88 -1", key);
    cr_assert(!strstr(reply, "overtaken"), "Redis shows what was overtaken: %s", reply);
    stand_reopen(s);
    bed_expect(s->e, id, newer);
}

Test(lessons_servers, a_load_from_before_a_delete_does_not_win)
{
    struct stand s;
    char reply[64];
    stand_make(&s, &both);
    s.bed.config.sql_timeout_ms = s.bed.config.read_timeout_ms = 10000;
    s.bed.config.redis_timeout_ms = 2000;
    s.e = bed_open(&s.bed);
    for (int i = 0; i < 6; i++) {
        char id[32];
        snprintf(id, sizeof id, "x%d", i);
        bed_put(s.e, id, "to be overtaken");
        flush(s.e);
        stand_reopen(&s);
        redis_server_ask(&s.redis, reply, sizeof reply, "DEL sync:%s",
                         id); /* so that the load goes to the database */
        overtake_a_load(&s, id, i % 2 ? "newer" : NULL);
    }
    truth_balance(s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* ---- bytes ---- */

static const char *const twins[] = {"resume",
                                    "r\xc3\xa9sum\xc3\xa9",
                                    "re\xcc\x81sume\xcc\x81",
                                    "RESUME",
                                    "resume ",
                                    " resume",
                                    "resume  ",
                                    ("stra\xc3\x9f"
                                     "e"),
                                    "strasse",
                                    "STRASSE",
                                    "\xc4\xb0",
                                    "i",
                                    "I",
                                    "\xc4\xb1",
                                    "\xef\xbc\xa1",
                                    "A",
                                    "a",
                                    "1",
                                    "01",
                                    "1.0",
                                    "1e0",
                                    "\xf0\x9f\x98\x80",
                                    "\xf0\x9f\x98\x81",
                                    "null"};
#define TWINS (sizeof twins / sizeof *twins)

static void bytes_in(const struct shape *shape)
{
    struct stand s;
    char content[32];
    stand_make(&s, shape);
    s.e = bed_open(&s.bed);
    for (size_t i = 0; i < TWINS; i++) {
        snprintf(content, sizeof content, "twin %zu", i);
        bed_put(s.e, twins[i], content);
    }
    for (int place = 0; place < 3;
         place++) { /* memory, the tiers below, after a delete of every second one */
        for (size_t i = 0; i < TWINS; i++) {
            snprintf(content, sizeof content, "twin %zu", i);
            bed_expect(s.e, twins[i], place == 2 && i % 2 ? NULL : content);
        }
        for (size_t i = 1; place == 1 && i < TWINS; i += 2)
            cr_assert_eq(se_delete(s.e, twins[i], NULL), SE_OK);
        flush(s.e);
        stand_reopen(&s);
    }
    if (shape->sql == MYSQL)
        cr_assert_eq(mariadb_number(s.mariadb, "SELECT COUNT(*) FROM sync_items"), TWINS);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(lessons_servers, ids_are_bytes_in_every_tier)
{
    bytes_in(&mysql_only);
    bytes_in(&redis_only);
    bytes_in(&cached);
}

static bool note_ids(void *arg, se_item *item)
{
    char *text = arg;
    strcat(strcat(text, se_item_id(item)), ",");
    return true;
}

static void own_names(const struct shape *shape)
{
    static const char *const names[] = {
        "incarnation", "l2_generation", "meta",        "meta:incarnation",
        "owner:0",     "sync:",         "sync:owner:0"};
    struct stand s;
    char text[256] = "";
    stand_make(&s, shape);
    s.e = bed_open(&s.bed);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        bed_put(s.e, names[i], names[i]);
    flush(s.e);
    stand_reopen(&s);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        bed_expect(s.e, names[i], names[i]);
    cr_assert_eq(se_scan_prefix(s.e, "", 0, note_ids, text), SE_OK, "%s", se_errmsg());
    cr_assert_str_eq(text,
                     "incarnation,l2_generation,meta,meta:incarnation,owner:0,sync:,sync:owner:0,",
                     "only what was put is an item");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cr_assert_eq(se_delete(s.e, names[i], NULL), SE_OK);
    stand_reopen(&s); /* the engine's own are all there still */
    bed_expect(s.e, "incarnation", NULL);
    bed_put(s.e, "x", "1");
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(lessons_servers, ids_named_like_the_engines_own_keys)
{
    own_names(&redis_only);
    own_names(&cached);
}

/* ---- what ends by time ---- */

struct watched {
    struct stand *s;
    const char *id, *sql;
};

/* At most a header is left: a floor or a lease of those who asked. */
static bool key_has_no_content(void *arg)
{
    struct watched *w = arg;
    char reply[64];
    redis_server_ask(&w->s->redis, reply, sizeof reply, "STRLEN sync:%s", w->id);
    return strtol(reply, NULL, 10) <= RECORD_HEADER_SIZE;
}

static long long pttl(struct stand *s, const char *id)
{
    char reply[64];
    redis_server_ask(&s->redis, reply, sizeof reply, "PTTL sync:%s", id);
    return strtoll(reply, NULL, 10);
}

Test(lessons_servers, expiry_and_ttl_in_redis)
{
    struct stand s;
    se_submit_options o;
    se_submit_options_init(&o);
    o.cache_ttl_ms = 60000;
    stand_make(&s, &cached);
    s.e = bed_open(&s.bed);
    cr_assert_eq(se_submit(s.e, "x", "1", 1, &o), SE_OK);
    bed_put(s.e, "y", "1");
    flush(s.e);
    cr_assert(pttl(&s, "x") > 0 && pttl(&s, "x") <= 60000, "%lld", pttl(&s, "x"));
    cr_assert_eq(pttl(&s, "y"), -1);
    char reply[64];
    redis_server_ask(&s.redis, reply, sizeof reply, "DEL sync:x sync:y");
    stand_reopen(&s);
    bed_expect(s.e, "x", "1"); /* read from the database, and put back into Redis */
    bed_expect(s.e, "y", "1");
    cr_assert_eq(hits(s.e, "l3"), 2);
    cr_assert(pttl(&s, "x") > 0 && pttl(&s, "x") <= 60000, "a reload has lost the TTL: %lld",
              pttl(&s, "x"));
    cr_assert_eq(pttl(&s, "y"), -1);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

static bool id_is_gone(void *arg)
{
    struct watched *w = arg;
    bool found;
    cr_assert_eq(se_contains(w->s->e, w->id, &found), SE_OK, "%s", se_errmsg());
    return !found;
}

static bool no_row(void *arg)
{
    struct watched *w = arg;
    return truth_number(&w->s->bed, NULL, w->sql) == 0;
}

static void expect_nothing(struct stand *s)
{
    uint64_t n;
    se_item_status status;
    bed_expect(s->e, "x", NULL);
    cr_assert_eq(se_count_prefix(s->e, "x", &n), SE_OK);
    cr_assert_eq(n, 0);
    cr_assert_eq(se_count_state(s->e, "red", &n), SE_OK);
    cr_assert_eq(n, 0);
    cr_assert_eq(se_status(s->e, "x", &status), SE_OK);
    cr_assert_eq(status.sync, SE_SYNC_MISSING);
    cr_assert(!status.in_l1 && !status.in_l2 && !status.in_l3);
}

Test(lessons_servers, an_expired_item_ends_in_every_tier)
{
    struct stand s;
    se_submit_options o;
    se_submit_options_init(&o);
    stand_make(&s, &cached_wal);
    s.bed.config.tombstone_retention_s = 1;
    s.e = bed_open(&s.bed);
    o.expires_at_ms = se__wall_ms() + 1500;
    o.state = "red";
    o.ack = SE_ACK_WAL;
    cr_assert_eq(se_submit(s.e, "x", "for a short time", 16, &o), SE_OK);
    bed_put(s.e, "y", "for ever");
    flush(s.e);
    bool found;
    cr_assert_eq(se_contains(s.e, "x", &found), SE_OK);
    struct watched x = {&s, "x", "SELECT COUNT(*) FROM sync_items WHERE id = 'x'"};
    bool has_content = !key_has_no_content(&x);
    if (se__wall_ms() < o.expires_at_ms)
        cr_assert(found && has_content);
    bed_wait(id_is_gone, &x, "it has ended in memory");
    cr_assert_geq(se__wall_ms(), o.expires_at_ms, "it ended too early");
    expect_nothing(&s);
    bed_wait(key_has_no_content, &x, "it has ended in Redis");
    stand_reopen(&s);
    expect_nothing(&s);
    bed_expect(s.e, "y", "for ever");
    bed_wait(no_row, &x, "its row is swept");
    expect_nothing(&s);
    bed_put(s.e, "x", "anew");
    flush(s.e);
    cr_assert_eq(se_invalidate(s.e, "x"), SE_OK);
    bed_expect(s.e, "x", "anew");
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}
