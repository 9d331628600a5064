/*
 * A stateful property test: random operations on the real engine over real tiers, beside a model
 * that fits on a page.
 *
 * The model knows for every id what was last acknowledged. Every read must give exactly that; where
 * the database is away it may also say SE_ERR_BACKEND, never "not found" and never anything older.
 * A cache entry (routed to L2 only) may be gone, but not older. Restarts are clean closes; kills of
 * this process are in tests/integration/test_kill.c.
 *
 * The seed is printed; SE_SEED=n repeats a run, SE_STEPS=n sets its length.
 */
#include "base/os.h"
#include "integration/bed.h"
#include "integration/truth.h"
#include "support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS 800 /* with their contents more than twice what L1 holds: most reads come from below */
#define CONTENT_MAX 6000

struct expected {
    bool live, cache_entry;
    bool unhomed; /* written while the database was away: only the engine itself can have
                     it, so an outage is no excuse. (A cache entry may be in Redis alone, which is
                     not believed before the database was asked.) */
    unsigned counter;
    size_t len;
    char state[8];
};

struct run {
    struct bed bed;
    struct redis_server redis;
    struct mariadb_server *mariadb;
    se_engine *e;
    struct expected model[IDS];
    unsigned counter;
    uint64_t random, seed;
    unsigned step;
    bool sql_down;
    enum { REDIS_UP, REDIS_DEAD, REDIS_PAUSED } redis_state;
    bool unsure; /* the database was away a moment ago: its circuit may still be open */
};

static uint64_t next_random(struct run *r)
{
    r->random ^= r->random << 13; /* xorshift64 (Marsaglia 2003) */
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return r->random;
}

static unsigned pick(struct run *r, unsigned n)
{
    return (unsigned)((next_random(r) >> 11) % n);
}

static void id_of(unsigned i, char id[32])
{
    snprintf(id, 32, "%s:%03u", i % 3 ? "user" : "user_x", i);
}

static void content_of(unsigned i, unsigned counter, size_t len, char *out)
{
    int n = snprintf(out, CONTENT_MAX, "{\"id\":%u,\"n\":%u,\"pad\":\"", i, counter);
    memset(out + n, 'a' + (int)(counter % 26), len - (size_t)n);
}

#define SAY(run_, text_)                                                                           \
    "seed %" PRIu64 " step %u: " text_ ": %s", (run_)->seed, (run_)->step, se_errmsg()

static bool away(struct run *r)
{
    return r->sql_down || r->unsure;
}

/* ---- writes ---- */

static void note_put(struct run *r, unsigned i, size_t len, bool cache_entry, const char *state)
{
    struct expected *m = &r->model[i];
    *m = (struct expected){.live = true,
                           .cache_entry = cache_entry,
                           .unhomed = r->sql_down && !cache_entry,
                           .counter = r->counter,
                           .len = len};
    snprintf(m->state, sizeof m->state, "%s", state);
}

static se_ack pick_ack(struct run *r)
{
    unsigned n = pick(r, 20);
    return n == 0 && !away(r) ? SE_ACK_L3 : n < 4 ? SE_ACK_WAL : SE_ACK_DEFAULT;
}

static void do_submit(struct run *r, unsigned i)
{
    static char content[CONTENT_MAX];
    char id[32];
    id_of(i, id);
    size_t len = 60 + pick(r, CONTENT_MAX - 61);
    r->counter++;
    content_of(i, r->counter, len, content);
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = pick_ack(r);
    o.state = pick(r, 4) ? NULL : "red";
    if (r->bed.shape->redis && pick(r, 10) == 0)
        o.route = SE_ROUTE_L2;
    else if (r->bed.shape->sql && pick(r, 10) == 0)
        o.route = SE_ROUTE_L3;
    se_result result = se_submit(r->e, id, content, len, &o);
    if (result == SE_ERR_BACKPRESSURE)
        return; /* nothing has changed */
    cr_assert_geq(result, 0, SAY(r, "submit"));
    note_put(r, i, len, o.route == SE_ROUTE_L2 && r->bed.shape->sql != NO_SQL,
             o.state ? o.state : "default");
}

static void do_delete(struct run *r, unsigned i)
{
    char id[32];
    id_of(i, id);
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = pick_ack(r);
    se_result result = se_delete(r->e, id, &o);
    if (result == SE_ERR_BACKPRESSURE)
        return;
    cr_assert_geq(result, 0, SAY(r, "delete"));
    r->model[i] = (struct expected){.unhomed = r->sql_down};
}

/* ---- reads ---- */

static void compare(struct run *r, unsigned i, se_result result, const void *content, size_t len)
{
    static char want[CONTENT_MAX];
    const struct expected *m = &r->model[i];
    if (result == SE_ERR_BACKEND) {
        cr_assert(away(r) && !m->unhomed, SAY(r, "an outage is no excuse"));
        return;
    }
    if (result == SE_NOT_FOUND) {
        cr_assert(!m->live || m->cache_entry,
                  "seed %" PRIu64 " step %u: id %u is gone, expected number %u", r->seed, r->step,
                  i, m->counter);
        return;
    }
    cr_assert_eq(result, SE_OK, SAY(r, "read"));
    cr_assert(m->live, "seed %" PRIu64 " step %u: id %u came back after its delete: %.*s", r->seed,
              r->step, i, 40, (const char *)content);
    content_of(i, m->counter, m->len, want);
    cr_assert(len == m->len && memcmp(content, want, len) == 0,
              "seed %" PRIu64 " step %u: id %u expected number %u, read %.*s", r->seed, r->step, i,
              m->counter, 40, (const char *)content);
}

static void do_get(struct run *r, unsigned i)
{
    char id[32];
    id_of(i, id);
    se_item *item;
    se_result result = pick(r, 2) ? se_get(r->e, id, &item) : se_get_verified(r->e, id, &item);
    compare(r, i, result, item ? se_item_content(item) : NULL,
            item ? se_item_content_len(item) : 0);
    if (item) {
        cr_assert_str_eq(se_item_state(item), r->model[i].state);
        cr_assert_eq(se_item_content_type(item), SE_CONTENT_BINARY);
    }
    se_item_release(item);
}

static void do_get_copy(struct run *r, unsigned i)
{
    static char buffer[CONTENT_MAX];
    char id[32];
    id_of(i, id);
    size_t len = 0;
    se_result result = se_get_copy(r->e, id, buffer, sizeof buffer, &len);
    compare(r, i, result, buffer, len);
}

static void do_contains(struct run *r, unsigned i)
{
    char id[32];
    id_of(i, id);
    bool found;
    se_result result = se_contains(r->e, id, &found);
    if (result == SE_ERR_BACKEND) {
        cr_assert(away(r), SAY(r, "an outage nobody made"));
        return;
    }
    cr_assert_eq(result, SE_OK);
    cr_assert(found ? r->model[i].live : !r->model[i].live || r->model[i].cache_entry,
              "seed %" PRIu64 " step %u: contains(%u) is %d", r->seed, r->step, i, found);
    cr_assert(!found || !se_definitely_missing(r->e, id));
}

static void do_get_many(struct run *r)
{
    char ids[20][32];
    const char *list[20];
    unsigned which[20];
    se_item *items[20];
    se_result results[20];
    for (int k = 0; k < 20; k++) {
        which[k] = pick(r, IDS);
        id_of(which[k], ids[k]);
        list[k] = ids[k];
    }
    cr_assert_eq(se_get_many(r->e, list, 20, items, results), SE_OK, SAY(r, "get_many"));
    for (int k = 0; k < 20; k++) {
        compare(r, which[k], results[k], items[k] ? se_item_content(items[k]) : NULL,
                items[k] ? se_item_content_len(items[k]) : 0);
        se_item_release(items[k]);
    }
}

struct scanned {
    struct run *r;
    bool seen[IDS];
    char last[32];
};

static bool see(void *arg, se_item *item)
{
    struct scanned *s = arg;
    const char *id = se_item_id(item);
    cr_assert(strcmp(s->last, id) < 0, "seed %" PRIu64 ": scan out of order: %s after %s",
              s->r->seed, id, s->last);
    snprintf(s->last, sizeof s->last, "%s", id);
    unsigned i = (unsigned)strtoul(strchr(id, ':') + 1, NULL, 10);
    compare(s->r, i, SE_OK, se_item_content(item), se_item_content_len(item));
    s->seen[i] = true;
    return true;
}

static void do_scan(struct run *r)
{
    struct scanned s = {.r = r};
    const char *prefix = pick(r, 2) ? "user_" : "user";
    se_result result = se_scan_prefix(r->e, prefix, 0, see, &s);
    if (result == SE_ERR_BACKEND) {
        cr_assert(away(r), SAY(r, "an outage nobody made"));
        return;
    }
    cr_assert_eq(result, SE_OK, SAY(r, "scan"));
    for (unsigned i = 0; i < IDS; i++) {
        bool in_prefix = strlen(prefix) == 4 || i % 3 == 0;
        bool want = in_prefix && r->model[i].live && !r->model[i].cache_entry;
        cr_assert(s.seen[i] == want, "seed %" PRIu64 " step %u: scan %s id %u", r->seed, r->step,
                  want ? "misses" : "shows", i);
    }
}

static void do_set_state(struct run *r, unsigned i)
{
    char id[32];
    id_of(i, id);
    if (r->model[i].cache_entry)
        return; /* it may vanish between the look and the write */
    se_result result = se_set_state(r->e, id, "blue");
    if (result == SE_ERR_BACKPRESSURE || (result == SE_ERR_BACKEND && away(r)))
        return;
    cr_assert_eq(result, r->model[i].live ? SE_OK : SE_NOT_FOUND, SAY(r, "set_state"));
    if (r->model[i].live)
        snprintf(r->model[i].state, sizeof r->model[i].state, "blue");
}

static se_result make(void *arg, const char *id, void **content, size_t *len)
{
    struct run *r = arg;
    unsigned i = (unsigned)strtoul(strchr(id, ':') + 1, NULL, 10);
    cr_assert(!r->model[i].live || r->model[i].cache_entry,
              "seed %" PRIu64 " step %u: a factory ran for id %u, which is there", r->seed, r->step,
              i);
    r->counter++;
    *len = 100;
    *content = malloc(CONTENT_MAX);
    content_of(i, r->counter, *len, *content);
    note_put(r, i, *len, false, "default");
    return SE_OK;
}

static void do_aside(struct run *r, unsigned i)
{
    char id[32];
    id_of(i, id);
    se_item *item;
    struct expected before = r->model[i];
    se_result result = se_get_or_insert_with(r->e, id, make, r, NULL, &item);
    if (result < 0) {
        r->model[i] = before;
        cr_assert(result == SE_ERR_BACKPRESSURE || (result == SE_ERR_BACKEND && away(r)),
                  SAY(r, "cache-aside"));
        return;
    }
    compare(r, i, SE_OK, se_item_content(item), se_item_content_len(item));
    se_item_release(item);
}

/* ---- what happens around it ---- */

static bool is_home(void *arg)
{
    return se_flush(arg, 1000) == SE_OK;
}

static bool sql_answers(void *arg)
{
    se_health h;
    cr_assert_eq(se_health_check(arg, &h), SE_OK);
    return h.sql_up != 0 && h.sql_circuit == SE_CIRCUIT_CLOSED;
}

static void do_flush(struct run *r)
{
    se_result result = se_flush(r->e, 20000);
    cr_assert(result == SE_OK || (result == SE_PENDING && away(r)), SAY(r, "flush"));
}

static void do_restart(struct run *r)
{
    cr_assert_eq(se_close(r->e, 20000), SE_OK, SAY(r, "close"));
    r->e = bed_open(&r->bed);
    r->unsure = true; /* it may have opened before the database was attached */
}

static void toggle_sql(struct run *r)
{
    if (r->bed.shape->sql != MYSQL)
        return;
    if (!r->sql_down) {
        cr_assert(mariadb_kill(r->mariadb));
    } else {
        cr_assert(mariadb_restart(r->mariadb));
        bed_wait(sql_answers, r->e, "the database is back");
        bed_wait(is_home, r->e, "everything is home");
        for (unsigned i = 0; i < IDS; i++)
            r->model[i].unhomed = false;
    }
    r->sql_down = !r->sql_down;
}

/* A Redis that dies comes back as another server, with or without what it had; one that was
 * only stopped has missed writes. */
static void toggle_redis(struct run *r)
{
    if (!r->bed.shape->redis)
        return;
    if (r->redis_state == REDIS_DEAD)
        redis_server_restart(&r->redis, pick(r, 2) == 0);
    else if (r->redis_state == REDIS_PAUSED)
        redis_server_resume(&r->redis);
    else if (pick(r, 3) == 0)
        redis_server_kill(&r->redis);
    else
        redis_server_pause(&r->redis);
    r->redis_state = r->redis_state != REDIS_UP ? REDIS_UP
                     : r->redis.pid             ? REDIS_PAUSED
                                                : REDIS_DEAD;
}

static void do_invalidate(struct run *r, unsigned i)
{
    char id[32];
    id_of(i, id);
    if (r->model[i].cache_entry)
        return; /* its only copy may be the one that goes */
    cr_assert_eq(se_invalidate(r->e, id), SE_OK, SAY(r, "invalidate"));
}

static void do_delete_prefix(struct run *r)
{
    uint64_t deleted;
    se_result result = se_delete_prefix(r->e, "user_x:0", &deleted);
    if (result == SE_ERR_BACKEND && away(r))
        return; /* which of them went is not known */
    cr_assert_eq(result, SE_OK, SAY(r, "delete_prefix"));
    for (unsigned i = 0; i < 100; i += 3) {
        if (!r->model[i].cache_entry)
            r->model[i] = (struct expected){0};
    }
}

static void shout(void *arg, const se_verify_finding *f)
{
    struct run *r = arg;
    cr_assert(false, "seed %" PRIu64 " step %u: verify: %s: %s", r->seed, r->step, f->id,
              f->detail);
}

/* Nobody damages anything here: whatever outages, restarts and new generations have left is none. */
static void do_verify(struct run *r)
{
    se_verify_options o;
    se_verify_report report;
    se_verify_options_init(&o);
    o.mode = pick(r, 2) ? SE_VERIFY_DEEP : SE_VERIFY_QUICK;
    o.repair = pick(r, 2);
    o.finding = shout;
    o.finding_arg = r;
    se_result result = se_verify(r->e, &o, &report);
    cr_assert(result == SE_OK || result == SE_ERR_BACKEND || result == SE_ERR_TIMEOUT,
              SAY(r, "verify"));
}

/* The filter never says a false "no", whatever is going on. */
static void look_for_a_false_no(struct run *r)
{
    unsigned i = pick(r, IDS);
    char id[32];
    id_of(i, id);
    cr_assert(!r->model[i].live || r->model[i].cache_entry || !se_definitely_missing(r->e, id),
              "seed %" PRIu64 " step %u: the filter excludes id %u, which is there", r->seed,
              r->step, i);
}

static void one_step(struct run *r)
{
    look_for_a_false_no(r);
    unsigned what = pick(r, 1000), i = pick(r, IDS);
    if (what < 330)
        do_submit(r, i);
    else if (what < 400)
        do_delete(r, i);
    else if (what < 600)
        do_get(r, i);
    else if (what < 700)
        do_get_copy(r, i);
    else if (what < 780)
        do_contains(r, i);
    else if (what < 840)
        do_get_many(r);
    else if (what < 880)
        do_set_state(r, i);
    else if (what < 920)
        do_aside(r, i);
    else if (what < 960)
        do_invalidate(r, i);
    else if (what < 975)
        do_scan(r);
    else if (what < 985)
        do_flush(r);
    else if (what < 988)
        do_restart(r);
    else if (what < 993)
        toggle_redis(r);
    else if (what < 996)
        toggle_sql(r);
    else if (what < 997 && !away(r))
        do_delete_prefix(r);
    else if (what < 998 && r->redis_state != REDIS_PAUSED)
        do_verify(r);
}

static uint64_t from_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void run_shape(const struct shape *shape, unsigned steps)
{
    static struct run r;
    r = (struct run){.seed = from_env("SE_SEED", se__random_u64() >> 20)};
    r.random = r.seed * 2654435769u + 1;
    (void)fprintf(stderr, "stateful %s: SE_SEED=%" PRIu64 "\n", shape->name, r.seed);
    if (shape->redis)
        redis_server_start(&r.redis, NULL);
    if (shape->sql == MYSQL)
        r.mariadb = mariadb_start(false, NULL);
    bed_make(&r.bed, shape, &r.redis, r.mariadb);
    r.bed.config.l1_max_bytes = 1 << 20; /* less than all contents: evictions go on all the time */
    r.bed.config.queue_max_bytes = 4 << 20;
    r.bed.config.batch_flush_ms = 5;
    r.bed.config.throttle_max_ms = 2;
    r.bed.config.startup_timeout_ms = 300;
    r.bed.config.circuit_failures = 2;
    r.bed.config.circuit_open_ms = 100;
    r.bed.config.redis_timeout_ms = 50;
    r.e = bed_open(&r.bed);
    for (r.step = 0; r.step < steps; r.step++) {
        one_step(&r);
        r.unsure = r.unsure && !sql_answers(r.e);
    }
    if (r.sql_down)
        toggle_sql(&r);
    if (r.redis_state == REDIS_PAUSED)
        toggle_redis(&r);
    bed_wait(is_home, r.e, "everything is home");
    r.unsure = false;
    for (unsigned i = 0; i < IDS; i++)
        do_get(&r, i);
    truth_balance(r.e);
    do_restart(&r);
    for (unsigned i = 0; i < IDS; i++)
        do_get(&r, i);
    do_scan(&r);
    do_verify(&r);
    bed_close(&r.bed, r.e);
    bed_remove(&r.bed);
    mariadb_close(r.mariadb);
    redis_server_stop(&r.redis);
}

static unsigned steps(unsigned otherwise)
{
    return (unsigned)from_env("SE_STEPS", otherwise);
}

Test(stateful, sqlite_with_wal)
{
    static const struct shape shape = {"sqlite+wal", SQLITE, false, true};
    run_shape(&shape, steps(20000));
}

Test(stateful, redis_and_mysql_with_wal)
{
    static const struct shape shape = {"redis+mysql+wal", MYSQL, true, true};
    run_shape(&shape, steps(6000));
}

Test(stateful, mysql_with_wal)
{
    static const struct shape shape = {"mysql+wal", MYSQL, false, true};
    run_shape(&shape, steps(4000));
}

Test(stateful, redis_and_sqlite)
{
    static const struct shape shape = {"redis+sqlite", SQLITE, true, false};
    run_shape(&shape, steps(8000));
}
