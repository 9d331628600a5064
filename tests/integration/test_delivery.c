/*
 * Deliveries: whoever asks is told once how a write ended, and it is the truth. Several threads write and delete a few ids of an engine whose
 * database is locked, refuses rows and comes back, and which is shut down in the middle; every answer is checked against the table itself (read
 * beside the engine) and, at the end, against what the next run recovers.
 * Nothing here forks: it also runs under ThreadSanitizer.
 */
#include "base/os.h"
#include "integration/truth.h"
#include "support/test.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape plain = {"sqlite", SQLITE, false, false};
static const struct shape logged = {"sqlite+wal", SQLITE, false, true};
static const struct shape memory = {"l1", NO_SQL, false, false};
static const struct shape memory_logged = {"l1+wal", NO_SQL, false, true};

#define IDS 8 /* the last one is refused by the database while it refuses */
#define WRITERS 3
#define PER_WRITER 1500

/* A write as its writer knows it, and what its delivery said. */
struct told {
    struct storm *storm;
    unsigned id;
    bool wants_home;
    se_result result; /* 1000: not yet */
    uint64_t version;
    atomic_uint answers;
    se_delivery d;
    char error[64];
};

struct storm {
    se_engine *e;
    sqlite3 *raw; /* the delivery thread's */
    uint64_t last[IDS];
    struct told told[WRITERS][PER_WRITER];
    atomic_uint answered, outcomes[5];
    atomic_bool hurry; /* no acks are waited for any more */
    bool has_wal;
};

static void wrong(const char *what, const se_delivery *d)
{
    (void)fprintf(stderr, "%s: id %s version %llu outcome %s newest %llu '%s'\n", what, d->id,
                  (unsigned long long)d->version, se_delivery_name(d->outcome),
                  (unsigned long long)d->newest, d->error);
    abort(); /* not a test's own thread: it cannot be left from outside */
}

static uint64_t row_version(sqlite3 *db, const char *id)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(db, "SELECT version FROM sync_items WHERE id = ?", -1, &s, NULL) !=
        SQLITE_OK)
        abort();
    sqlite3_bind_text(s, 1, id, -1, SQLITE_STATIC);
    uint64_t version = sqlite3_step(s) == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    return version;
}

/* The newest that is safe or dead is at or above `version`. */
static bool is_placed(struct storm *s, const char *id, uint64_t version)
{
    se_item_status status;
    if (row_version(s->raw, id) >= version)
        return true;
    se_result r = se_status(s->e, id, &status);
    return r < 0 || status.in_wal || row_version(s->raw, id) >= version;
}

static void check_outcome(struct storm *s, const struct told *t, const se_delivery *d)
{
    bool refused = t->id == IDS - 1;
    switch (d->outcome) {
    case SE_DELIVERY_HOME:
        if (row_version(s->raw, d->id) < d->version)
            wrong("told home, and the table has something older", d);
        return;
    case SE_DELIVERY_WAL:
        if (!s->has_wal || !is_placed(s, d->id, d->version))
            wrong("told WAL, and it is not there", d);
        return;
    case SE_DELIVERY_SUPERSEDED:
        if (d->newest <= d->version)
            wrong("superseded by something older", d);
        return;
    case SE_DELIVERY_DEAD:
        if (!refused || !d->error[0])
            wrong("told dead, and nothing refuses it", d);
        return;
    case SE_DELIVERY_OPEN:
        if (s->has_wal)
            wrong("told open though there is a WAL", d);
        return;
    }
    wrong("no such outcome", d);
}

static void hear(void *arg, const se_delivery *d)
{
    struct told *t = arg;
    struct storm *s = t->storm;
    unsigned id = (unsigned)(d->id[1] - '0');
    if (atomic_fetch_add(&t->answers, 1) != 0)
        wrong("told twice", d);
    if (id != t->id || d->version <= s->last[id])
        wrong("not in the order of versions", d);
    s->last[id] = d->version;
    check_outcome(s, t, d);
    t->d = *d;
    t->d.id = t->d.error = NULL;
    atomic_fetch_add(&s->outcomes[d->outcome], 1);
    atomic_fetch_add(&s->answered, 1);
}

/* ---- the writers ---- */

struct writer {
    struct storm *storm;
    unsigned number;
    struct se__thread thread;
};

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static void write_one(struct writer *w, struct told *t, uint64_t dice)
{
    static const se_ack acks[] = {SE_ACK_MEMORY, SE_ACK_MEMORY, SE_ACK_MEMORY, SE_ACK_WAL};
    char id[8];
    se_submit_options o;
    se_submit_options_init(&o);
    t->storm = w->storm;
    t->id = (unsigned)(dice % IDS);
    t->wants_home = dice / 8 % 2;
    snprintf(id, sizeof id, "k%u", t->id);
    o.ack = atomic_load(&w->storm->hurry) ? SE_ACK_MEMORY : acks[dice / 16 % 4];
    o.delivery = hear;
    o.delivery_arg = t;
    o.delivery_ack = t->wants_home ? SE_ACK_L3 : SE_ACK_DEFAULT;
    se_put put = {.id = id, .content = "x", .len = 1, .options = &o};
    if (dice / 64 % 5 == 0) {
        t->result = se_delete(w->storm->e, id, &o);
    } else {
        t->result = se_submit_many(w->storm->e, &put, 1, NULL);
        t->version = put.version;
    }
}

static void write_all(void *arg)
{
    struct writer *w = arg;
    uint64_t state = 77 + w->number;
    for (unsigned i = 0; i < PER_WRITER; i++) {
        write_one(w, &w->storm->told[w->number][i], next_random(&state));
        if (i % 16 == 0)
            se__pause_ms(1); /* so that it lasts through several troubles */
    }
}

/* ---- the troubles ---- */

static sqlite3 *open_raw(struct bed *b)
{
    sqlite3 *db;
    cr_assert_eq(sqlite3_open(b->sql + strlen("sqlite:"), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    return db;
}

static void sql(sqlite3 *db, const char *text)
{
    char *error = NULL;
    cr_assert_eq(sqlite3_exec(db, text, NULL, NULL, &error), SQLITE_OK, "%s: %s", text,
                 error ? error : "");
}

static void trouble(struct storm *s, sqlite3 *db, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        unsigned before = atomic_load(&s->answered);
        if (i % 2 == 0) {
            sql(db, "CREATE TRIGGER no BEFORE INSERT ON sync_items WHEN NEW.id = 'k7' BEGIN "
                    "SELECT RAISE(ABORT, 'no k7'); END");
            se__pause_ms(20);
            sql(db, "DROP TRIGGER no");
        }
        sql(db, "BEGIN IMMEDIATE");
        se__pause_ms(i % 3 ? 30 : 150);
        sql(db, "ROLLBACK");
        for (unsigned wait = 0; wait < 100 && atomic_load(&s->answered) == before; wait++)
            se__pause_ms(1);
    }
}

static void expect_one_answer_each(struct storm *s)
{
    unsigned accepted = 0;
    for (unsigned w = 0; w < WRITERS; w++) {
        for (unsigned i = 0; i < PER_WRITER; i++) {
            struct told *t = &s->told[w][i];
            unsigned answers = atomic_load(&t->answers);
            cr_assert_eq(answers, t->result >= 0 ? 1u : 0u,
                         "writer %u write %u: result %d, told %u times", w, i, t->result, answers);
            cr_assert(answers == 0 || t->version == 0 || t->version == t->d.version);
            accepted += answers;
        }
    }
    cr_assert_eq(accepted, atomic_load(&s->answered));
}

/* What was called safe is in the table of the next run, or something newer is. */
static void expect_safe(struct storm *s, sqlite3 *db)
{
    for (unsigned w = 0; w < WRITERS; w++) {
        for (unsigned i = 0; i < PER_WRITER; i++) {
            const struct told *t = &s->told[w][i];
            char id[8];
            snprintf(id, sizeof id, "k%u", t->id);
            /* the drain may have found that what was in the WAL is refused */
            bool safe =
                atomic_load(&t->answers) && (t->d.outcome == SE_DELIVERY_HOME ||
                                             (t->d.outcome == SE_DELIVERY_WAL && t->id != IDS - 1));
            cr_assert(!safe || row_version(db, id) >= t->d.version, "%s: %llu was called safe (%s)",
                      id, (unsigned long long)t->d.version, se_delivery_name(t->d.outcome));
        }
    }
}

static void storm_on(const struct shape *shape, bool locked_at_end)
{
    struct bed b;
    bed_make(&b, shape, NULL, NULL);
    b.config.batch_flush_ms = 2;
    b.config.sql_timeout_ms = 50;
    b.config.circuit_failures = 3;
    b.config.circuit_open_ms = 20;
    b.config.ack_timeout_ms = 100;
    struct storm *s = calloc(1, sizeof *s);
    struct writer writers[WRITERS];
    cr_assert(s);
    s->has_wal = shape->wal;
    s->e = bed_open(&b);
    sqlite3 *db = open_raw(&b);
    s->raw = open_raw(&b);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.storm = s, .number = i};
        cr_assert_eq(se__thread_start(&writers[i].thread, "writer", write_all, &writers[i]), SE_OK);
    }
    trouble(s, db, 6);
    atomic_store(&s->hurry, locked_at_end);
    if (locked_at_end)
        sql(db, "BEGIN IMMEDIATE");
    for (unsigned i = 0; i < WRITERS; i++)
        se__thread_join(&writers[i].thread);
    if (!locked_at_end)
        cr_assert_geq(se_flush(s->e, 20000), 0, "%s", se_errmsg());
    se_result r = se_close(s->e, locked_at_end ? 100 : 20000);
    cr_assert(r == SE_OK || locked_at_end, "%d %s", r, se_errmsg());
    expect_one_answer_each(s);
    if (locked_at_end)
        sql(db, "ROLLBACK");
    printf("%s%s: home %u, wal %u, superseded %u, dead %u, open %u\n", shape->name,
           locked_at_end ? ", locked at the end" : "", atomic_load(&s->outcomes[0]),
           atomic_load(&s->outcomes[1]), atomic_load(&s->outcomes[2]), atomic_load(&s->outcomes[3]),
           atomic_load(&s->outcomes[4]));
    cr_assert_gt(atomic_load(&s->outcomes[SE_DELIVERY_HOME]), 0);
    cr_assert_gt(atomic_load(&s->outcomes[SE_DELIVERY_SUPERSEDED]), 0);
    cr_assert(locked_at_end || atomic_load(&s->outcomes[SE_DELIVERY_OPEN]) == 0);
    se_engine *next = bed_open(&b);
    bed_wait(truth_all_home, next, "everything is home");
    expect_safe(s, db);
    bed_close(&b, next);
    sqlite3_close(s->raw);
    sqlite3_close(db);
    free(s);
    bed_remove(&b);
}

Test(delivery, every_accepted_write_is_answered_once_and_truly)
{
    storm_on(&plain, false);
    storm_on(&logged, false);
}

Test(delivery, what_is_open_at_shutdown_is_answered_too)
{
    storm_on(&plain, true);
    storm_on(&logged, true);
}

/* ---- one at a time ---- */

struct answers {
    se_engine *e;
    atomic_uint n; /* release after the rest is written */
    se_delivery d;
    char id[16], error[64];
    atomic_uint inside; /* results of calls made inside */
};

static void keep(void *arg, const se_delivery *d)
{
    struct answers *a = arg;
    a->d = *d;
    snprintf(a->id, sizeof a->id, "%s", d->id);
    snprintf(a->error, sizeof a->error, "%s", d->error);
    atomic_fetch_add(&a->n, 1);
}

static bool is_told(void *arg)
{
    struct answers *a = arg;
    return atomic_load(&a->n) > 0;
}

static void expect_outcome(struct answers *a, const char *id, se_delivery_outcome outcome)
{
    bed_wait(is_told, a, "told");
    cr_assert_eq(atomic_load(&a->n), 1);
    cr_assert(a->d.outcome == outcome && strcmp(a->id, id) == 0, "%s: %s", a->id,
              se_delivery_name(a->d.outcome));
    atomic_store(&a->n, 0);
}

static void submit_told(se_engine *e, const char *id, se_ack ack, se_ack delivery_ack,
                        struct answers *a)
{
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = ack;
    o.delivery = keep;
    o.delivery_arg = a;
    o.delivery_ack = delivery_ack;
    cr_assert_geq(se_submit(e, id, "x", 1, &o), 0, "%s", se_errmsg());
}

Test(delivery, without_tiers_memory_or_the_log_is_the_home)
{
    struct bed b;
    struct answers a = {0};
    bed_make(&b, &memory, NULL, NULL);
    se_engine *e = bed_open(&b);
    submit_told(e, "a", SE_ACK_MEMORY, SE_ACK_L3, &a);
    expect_outcome(&a, "a", SE_DELIVERY_HOME);
    bed_close(&b, e);
    bed_remove(&b);
    bed_make(&b, &memory_logged, NULL, NULL);
    e = bed_open(&b);
    submit_told(e, "a", SE_ACK_WAL, SE_ACK_DEFAULT, &a);
    expect_outcome(&a, "a", SE_DELIVERY_WAL);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(delivery, the_log_answers_at_once_and_the_home_when_it_has_it)
{
    struct bed b;
    struct answers soon = {0}, late = {0};
    bed_make(&b, &logged, NULL, NULL);
    b.config.batch_flush_ms = 2;
    b.config.sql_timeout_ms = 50;
    se_engine *e = bed_open(&b);
    sqlite3 *db = open_raw(&b);
    sql(db, "BEGIN IMMEDIATE");
    submit_told(e, "a", SE_ACK_WAL, SE_ACK_DEFAULT, &soon);
    expect_outcome(&soon, "a", SE_DELIVERY_WAL);
    submit_told(e, "b", SE_ACK_MEMORY, SE_ACK_DEFAULT, &soon); /* moved there by the flush */
    expect_outcome(&soon, "b", SE_DELIVERY_WAL);
    submit_told(e, "c", SE_ACK_WAL, SE_ACK_L3, &late);
    submit_told(e, "d", SE_ACK_MEMORY, SE_ACK_WAL, &soon);
    expect_outcome(&soon, "d", SE_DELIVERY_WAL);
    cr_assert_eq(atomic_load(&late.n), 0);
    sql(db, "ROLLBACK");
    expect_outcome(&late, "c", SE_DELIVERY_HOME);
    cr_assert_eq(row_version(db, "c"), late.d.version);
    sqlite3_close(db);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(delivery, a_refused_row_is_dead_with_its_reason)
{
    struct bed b;
    struct answers a = {0};
    const struct shape *shapes[] = {&plain, &logged};
    for (size_t i = 0; i < 2; i++) {
        bed_make(&b, shapes[i], NULL, NULL);
        b.config.batch_flush_ms = 2;
        se_engine *e = bed_open(&b);
        truth_run(&b, NULL,
                  "CREATE TRIGGER no BEFORE INSERT ON sync_items WHEN NEW.id = 'bad' BEGIN "
                  "SELECT RAISE(ABORT, 'none of these'); END");
        submit_told(e, "bad", SE_ACK_MEMORY, SE_ACK_L3, &a);
        expect_outcome(&a, "bad", SE_DELIVERY_DEAD);
        cr_assert(strstr(a.error, "none of these") && a.d.error_code, "%s", a.error);
        truth_run(&b, NULL, "DROP TRIGGER no");
        submit_told(e, "bad", SE_ACK_MEMORY, SE_ACK_L3, &a);
        expect_outcome(&a, "bad", SE_DELIVERY_HOME);
        bed_close(&b, e);
        bed_remove(&b);
    }
}

Test(delivery, another_engines_newer_row_supersedes)
{
    struct bed b;
    struct answers a = {0};
    bed_make(&b, &plain, NULL, NULL);
    b.config.batch_flush_ms = 2;
    b.config.max_clock_skew_ms = 3600000;
    se_engine *e = bed_open(&b);
    bed_put(e, "a", "1");
    cr_assert_eq(se_flush(e, 20000), SE_OK);
    truth_run(&b, NULL, "UPDATE sync_items SET version = version + 655360000 WHERE id = 'a'");
    submit_told(e, "a", SE_ACK_MEMORY, SE_ACK_L3, &a);
    expect_outcome(&a, "a", SE_DELIVERY_SUPERSEDED);
    cr_assert_gt(a.d.newest, a.d.version);
    bed_close(&b, e);
    bed_remove(&b);
}

/* Beyond what the clock may be pushed: the write gets a version above it, and is told with that. */
Test(delivery, a_write_that_was_given_another_version_is_told_with_it)
{
    struct bed b;
    struct answers a = {0};
    bed_make(&b, &plain, NULL, NULL);
    b.config.batch_flush_ms = 2;
    se_engine *e = bed_open(&b);
    bed_put(e, "a", "1");
    cr_assert_eq(se_flush(e, 20000), SE_OK);
    truth_run(&b, NULL,
              "UPDATE sync_items SET version = version + 65536 * 86400000 WHERE id = 'a'");
    submit_told(e, "a", SE_ACK_MEMORY, SE_ACK_L3, &a);
    expect_outcome(&a, "a", SE_DELIVERY_HOME);
    cr_assert_eq((uint64_t)truth_number(&b, NULL, "SELECT version FROM sync_items"), a.d.version);
    bed_close(&b, e);
    bed_remove(&b);
}

static void call_inside(void *arg, const se_delivery *d)
{
    struct answers *a = arg;
    bool fine = se_shutdown(a->e, 100) == SE_ERR_STATE && se_close(a->e, 100) == SE_ERR_STATE &&
                se_contains(a->e, d->id, &(bool){false}) == SE_OK &&
                se_submit(a->e, "inside", "y", 1, NULL) == SE_OK && se_flush(a->e, 20000) == SE_OK;
    atomic_store(&a->inside, fine ? 1 : 2);
    keep(arg, d);
}

Test(delivery, inside_everything_may_be_called_but_the_end)
{
    struct bed b;
    struct answers a = {0};
    se_submit_options o;
    bed_make(&b, &plain, NULL, NULL);
    a.e = bed_open(&b);
    se_submit_options_init(&o);
    o.delivery = call_inside;
    o.delivery_arg = &a;
    cr_assert_eq(se_submit(a.e, "a", "x", 1, &o), SE_OK);
    expect_outcome(&a, "a", SE_DELIVERY_HOME);
    cr_assert_eq(atomic_load(&a.inside), 1);
    bed_expect(a.e, "inside", "y");
    bed_close(&b, a.e);
    bed_remove(&b);
}

Test(delivery, what_is_refused_is_never_told)
{
    struct bed b;
    struct answers a = {0};
    se_submit_options o;
    bed_make(&b, &plain, NULL, NULL);
    se_engine *e = bed_open(&b);
    se_submit_options_init(&o);
    o.delivery = keep;
    o.delivery_arg = &a;
    cr_assert_eq(se_submit(e, "", "x", 1, &o), SE_ERR_INVALID);
    o.delivery_ack = SE_ACK_MEMORY;
    cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_ERR_INVALID);
    o.delivery_ack = SE_ACK_DEFAULT;
    se_put puts[2] = {{.id = "a", .content = "x", .len = 1, .options = &o}, {.id = "\n"}};
    cr_assert_eq(se_submit_many(e, puts, 2, NULL), SE_ERR_INVALID);
    cr_assert_eq(se_shutdown(e, 20000), SE_OK);
    cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_ERR_STATE);
    cr_assert_eq(se_close(e, 20000), SE_OK);
    cr_assert_eq(atomic_load(&a.n), 0);
    bed_remove(&b);
}

/* A caller compiled before there were deliveries has a shorter struct. */
Test(delivery, an_older_callers_options_ask_for_none)
{
    struct bed b;
    se_submit_options o;
    bed_make(&b, &plain, NULL, NULL);
    se_engine *e = bed_open(&b);
    memset(&o, 0xff, sizeof o);
    se_submit_options_init_sized(&o, offsetof(se_submit_options, delivery));
    cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_OK, "%s", se_errmsg());
    bed_close(&b, e);
    bed_remove(&b);
}
