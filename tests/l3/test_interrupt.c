/*
 * An interrupt ends what is under way, at once, and nothing that comes later.
 */
#include "l3_fixture.h"

#include <mysql.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define LONG_MS 60000u /* what the calls would be allowed to take */
#define SOON_MS 10000u /* far less, and far more than ending takes */

struct call {
    struct l3_fixture *f;
    struct tier_reply (*run)(struct l3_fixture *f);
    struct tier_reply reply;
    char text[200];
    _Atomic bool ended;
    struct se__thread thread;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    c->reply = c->run(c->f);
    snprintf(c->text, sizeof c->text, "%s", se_errmsg());
    atomic_store(&c->ended, true);
}

static void begin(struct call *c, struct l3_fixture *f,
                  struct tier_reply (*run)(struct l3_fixture *f))
{
    memset(c, 0, sizeof *c);
    c->f = f;
    c->run = run;
    cr_assert_eq(se__thread_start(&c->thread, "caller", run_call, c), SE_OK);
}

/* The call has ended because of the interrupt, and not late. */
static void check_ended(struct call *c, uint64_t since_ms)
{
    while (!atomic_load(&c->ended) && se__mono_ms() - since_ms < SOON_MS)
        se__pause_ms(1);
    cr_assert(atomic_load(&c->ended), "it is still running");
    se__thread_join(&c->thread);
    cr_assert_eq(c->reply.fault, TIER_UNWELL);
    cr_assert(c->reply.timed_out, "%s", c->text);
}

/* Whether a call is in its statement already cannot be seen from outside, and an interrupt that comes
 * before says nothing to it: so it is repeated. */
static void interrupt_until_ended(struct l3_fixture *f, struct call *calls, size_t n)
{
    uint64_t since = se__mono_ms();
    for (size_t i = 0; i < n; i++) {
        while (!atomic_load(&calls[i].ended) && se__mono_ms() - since < SOON_MS) {
            f->tier.ops->interrupt(f->tier.self);
            se__pause_ms(50);
        }
        check_ended(&calls[i], since);
    }
}

static struct tier_reply digest_now(struct l3_fixture *f)
{
    struct tier_digest d = {.bucket_last = UINT16_MAX, .shift = 16};
    struct tier_node node;
    return f->tier.ops->digest(f->tier.self, &d, &node, se__deadline_in(LONG_MS));
}

static struct tier_reply write_now(struct l3_fixture *f)
{
    enum tier_state state;
    struct tier_write w = {.item = l3_item("a", l3_now_version(), "x"), .kind = RECORD_ITEM};
    struct tier_reply r = f->tier.ops->write(f->tier.self, 0, &w, 1, se__deadline_in(LONG_MS));
    se_item_release(w.item);
    (void)state;
    return r;
}

/* ---- MySQL: rows and tables that somebody else has locked ---- */

static MYSQL *lock_table(struct l3_fixture *f)
{
    MYSQL *m = mysql_init(NULL);
    cr_assert_not_null(mysql_real_connect(m, "localhost", "root", NULL, "t", 0, f->server->socket,
                                          CLIENT_MULTI_STATEMENTS));
    cr_assert_eq(mysql_query(m, "LOCK TABLES sync_items WRITE"), 0);
    return m;
}

static void wait_for_waiters(struct l3_fixture *f, int n)
{
    uint64_t since = se__mono_ms();
    while (l3_number(f, "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE "
                        "'Waiting for table%'") < n) {
        cr_assert_lt(se__mono_ms() - since, SOON_MS, "nobody waits");
        se__pause_ms(2);
    }
}

Test(mysql, calls_under_way_end_at_once)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    for (int round = 0; round < 3; round++) {
        struct call calls[3];
        MYSQL *other = lock_table(&f);
        begin(&calls[0], &f, digest_now);
        begin(&calls[1], &f, digest_now);
        begin(&calls[2], &f, write_now);
        wait_for_waiters(&f, 3);
        uint64_t since = se__mono_ms();
        f.tier.ops->interrupt(f.tier.self);
        for (int i = 0; i < 3; i++)
            check_ended(&calls[i], since);
        mysql_close(other);
        /* later calls know nothing of it */
        cr_assert_eq(digest_now(&f).fault, TIER_FINE, "%s", se_errmsg());
        cr_assert_eq(write_now(&f).fault, TIER_FINE, "%s", se_errmsg());
    }
    l3_stop(&f);
}

/* A call that has no connection yet, because all are taken, ends too. */
Test(mysql, a_call_that_waits_for_a_connection_ends)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, NULL);
    f.options.read_connections = 1;
    l3_close(&f.tier);
    f.tier = l3_open(&f, SE_OK);
    struct call calls[3];
    MYSQL *other = lock_table(&f);
    for (int i = 0; i < 3; i++)
        begin(&calls[i], &f, digest_now);
    wait_for_waiters(&f, 1);
    uint64_t since = se__mono_ms();
    while (se__mono_ms() - since < 50) /* so that the others are at the pool, most likely */
        se__pause_ms(5);
    interrupt_until_ended(&f, calls, 3);
    mysql_close(other);
    cr_assert_eq(digest_now(&f).fault, TIER_FINE, "%s", se_errmsg());
    l3_stop(&f);
}

/* ---- SQLite: a statement that computes, and a lock that another process has ---- */

/* A view in place of the table, whose rows take for ever to come. */
static void make_slow(struct l3_fixture *f)
{
    cr_assert(l3_sql(f, "ALTER TABLE sync_items RENAME TO kept; CREATE VIEW sync_items AS "
                        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                        "SELECT kept.* FROM n, kept"));
}

static void make_fast(struct l3_fixture *f)
{
    cr_assert(l3_sql(f, "DROP VIEW sync_items; ALTER TABLE kept RENAME TO sync_items"));
}

Test(sqlite, calls_under_way_end_at_once)
{
    struct l3_fixture f;
    l3_start(&f, L3_SQLITE, NULL);
    cr_assert_eq(write_now(&f).fault, TIER_FINE);
    for (int round = 0; round < 3; round++) {
        struct call calls[2];
        make_slow(&f);
        begin(&calls[0], &f, digest_now);
        begin(&calls[1], &f, digest_now);
        uint64_t since = se__mono_ms();
        while (se__mono_ms() - since < 50) { /* they run: nothing else would end them */
            cr_assert(!atomic_load(&calls[0].ended) && !atomic_load(&calls[1].ended));
            se__pause_ms(5);
        }
        interrupt_until_ended(&f, calls, 2);
        make_fast(&f);
        cr_assert_eq(digest_now(&f).fault, TIER_FINE, "%s", se_errmsg());
        cr_assert_eq(write_now(&f).fault, TIER_FINE, "%s", se_errmsg());
    }
    l3_stop(&f);
}

Test(sqlite, waiting_for_a_lock_ends_at_once)
{
    struct l3_fixture f;
    char path[96];
    struct call call;
    sqlite3 *other;
    l3_start(&f, L3_SQLITE, NULL);
    snprintf(path, sizeof path, "%s/db", f.dir);
    cr_assert_eq(sqlite3_open(path, &other), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    begin(&call, &f, write_now);
    uint64_t since = se__mono_ms();
    while (se__mono_ms() - since < 50) {
        cr_assert_not(atomic_load(&call.ended));
        se__pause_ms(5);
    }
    interrupt_until_ended(&f, &call, 1);
    sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(other);
    cr_assert_eq(write_now(&f).fault, TIER_FINE, "%s", se_errmsg());
    l3_stop(&f);
}

/* ---- both ---- */

/* With nobody there an interrupt does nothing, also to a connection that was used before. */
static void an_interrupt_of_nobody_is_nothing(struct l3_fixture *f)
{
    cr_assert_eq(write_now(f).fault, TIER_FINE);
    cr_assert_eq(digest_now(f).fault, TIER_FINE);
    for (int i = 0; i < 20; i++) {
        f->tier.ops->interrupt(f->tier.self);
        cr_assert_eq(digest_now(f).fault, TIER_FINE, "%s", se_errmsg());
        cr_assert_eq(write_now(f).fault, TIER_FINE, "%s", se_errmsg());
    }
}
ON_BOTH_DIALECTS(an_interrupt_of_nobody_is_nothing)

struct storm {
    struct l3_fixture *f;
    _Atomic bool stop;
};

static void interrupt_often(void *arg)
{
    struct storm *s = arg;
    while (!atomic_load(&s->stop)) {
        s->f->tier.ops->interrupt(s->f->tier.self);
        se__pause_ms(1);
    }
}

/* A call is either done or ended by an interrupt, at whatever moment that comes. */
static void interrupts_at_any_moment(struct l3_fixture *f)
{
    struct storm storm = {.f = f};
    struct se__thread t = {0};
    cr_assert_eq(write_now(f).fault, TIER_FINE);
    cr_assert_eq(se__thread_start(&t, "storm", interrupt_often, &storm), SE_OK);
    unsigned fine = 0;
    for (int i = 0; i < 300; i++) {
        struct tier_reply r = i % 2 ? digest_now(f) : write_now(f);
        cr_assert(r.fault == TIER_FINE || (r.fault == TIER_UNWELL && r.timed_out), "%s",
                  se_errmsg());
        fine += r.fault == TIER_FINE;
    }
    atomic_store(&storm.stop, true);
    se__thread_join(&t);
    fprintf(stderr, "%u of 300 calls were fine\n", fine);
    cr_assert_eq(write_now(f).fault, TIER_FINE, "%s", se_errmsg());
    cr_assert_eq(digest_now(f).fault, TIER_FINE, "%s", se_errmsg());
}
ON_BOTH_DIALECTS(interrupts_at_any_moment)
