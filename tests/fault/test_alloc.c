/*
 * Every allocation fails in turn: the n-th of a call, for n = 1 and on until the call is through without one, alone or with all
 * that follow; our own, and those of the client libraries; those of background threads with them.
 *
 * Promised: SE_ERR_NOMEM, or the outage of the tier whose call it was; nothing has changed then; what was acknowledged is
 * there; the engine works again as soon as there is memory.
 */
#include "base/os.h"
#include "fault/local.h"
#include "fault/mem_faults.h"
#include "integration/truth.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape l1 = {"l1", NO_SQL, false, false};
static const struct shape sqlite = {"sqlite", SQLITE, false, false};
static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};
static const struct shape servers_wal = {"redis+mysql+wal", MYSQL, true, true};

struct world {
    struct bed b;
    se_engine *e;
    struct model m;
    unsigned turn;
    unsigned long failures; /* allocations that failed */
};

/* A call under test. Armed only inside it; returns its result. */
struct call {
    const char *name;
    void (*before)(struct world *w);
    se_result (*run)(struct world *w);
    bool needs_l3;
    long dear; /* milliseconds a failure: a short run takes every so many */
};

/* ---- the calls ---- */

static unsigned next(struct world *w)
{
    return w->turn++ % MODEL_IDS;
}

/* So that a read goes to the tiers. */
static void forget(struct world *w)
{
    (void)se_flush(w->e, 20000);
    (void)se_invalidate_prefix(w->e, "m:");
}

static se_result submit_memory(struct world *w)
{
    return model_put(&w->m, w->e, next(w), SE_ACK_MEMORY);
}

static se_result submit_wal(struct world *w)
{
    return model_put(&w->m, w->e, next(w), SE_ACK_WAL);
}

static se_result submit_l3(struct world *w)
{
    return model_put(&w->m, w->e, next(w), SE_ACK_L3);
}

static se_result delete_one(struct world *w)
{
    return model_delete(&w->m, w->e, next(w), w->turn % 2 ? SE_ACK_WAL : SE_ACK_MEMORY);
}

static se_result submit_many(struct world *w)
{
    enum { N = 6 };
    static char contents[N][64];
    se_put puts[N] = {0};
    unsigned at[N], numbers[N];
    for (unsigned i = 0; i < N; i++) {
        at[i] = (w->turn + i) % MODEL_IDS;
        numbers[i] = ++w->m.last;
        int len = snprintf(contents[i], sizeof contents[i], "{\"number\":%u,\"of\":\"the model\"}",
                           numbers[i]);
        puts[i] = (se_put){.id = w->m.ids[at[i]], .content = contents[i], .len = (size_t)len};
    }
    w->turn += N;
    se_result r = se_submit_many(w->e, puts, N, NULL);
    for (unsigned i = 0; i < N && r >= 0; i++)
        w->m.number[at[i]] = numbers[i];
    return r;
}

static se_result delete_many(struct world *w)
{
    const char *ids[3];
    unsigned at = w->turn;
    for (unsigned i = 0; i < 3; i++)
        ids[i] = w->m.ids[(at + i) % MODEL_IDS];
    w->turn += 3;
    se_result r = se_delete_many(w->e, ids, 3, NULL);
    for (unsigned i = 0; i < 3 && r >= 0; i++)
        w->m.number[(at + i) % MODEL_IDS] = 0;
    return r;
}

static se_result get_one(struct world *w)
{
    return model_get(&w->m, w->e, next(w));
}

static se_result get_verified(struct world *w)
{
    unsigned i = next(w);
    se_item *item = NULL;
    se_result r = se_get_verified(w->e, w->m.ids[i], &item);
    model_compare(&w->m, i, r, item);
    se_item_release(item);
    return r;
}

static se_result get_copy(struct world *w)
{
    char content[64];
    size_t len;
    unsigned i = next(w);
    se_result r = se_get_copy(w->e, w->m.ids[i], content, sizeof content, &len);
    cr_assert(r < 0 || (r == SE_OK) == (w->m.number[i] != 0), "%d", r);
    return r;
}

static se_result get_all(struct world *w)
{
    const char *ids[MODEL_IDS];
    se_item *items[MODEL_IDS];
    se_result results[MODEL_IDS], worst = SE_OK;
    for (unsigned i = 0; i < MODEL_IDS; i++)
        ids[i] = w->m.ids[i];
    se_result r = se_get_many(w->e, ids, MODEL_IDS, items, results);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < MODEL_IDS; i++) {
        model_compare(&w->m, i, results[i], items[i]);
        se_item_release(items[i]);
        worst = results[i] < worst ? results[i] : worst;
    }
    return worst;
}

static se_result contains(struct world *w)
{
    bool found;
    unsigned i = next(w);
    se_result r = se_contains(w->e, w->m.ids[i], &found);
    cr_assert(r < 0 || found == (w->m.number[i] != 0), "%s: %d", w->m.ids[i], found);
    return r;
}

static se_result status(struct world *w)
{
    se_item_status s;
    unsigned i = next(w);
    se_result r = se_status(w->e, w->m.ids[i], &s);
    cr_assert(r < 0 || w->m.number[i] == 0 || s.sync != SE_SYNC_MISSING, "%s", w->m.ids[i]);
    return r;
}

static se_result make_content(void *arg, const char *id, void **content, size_t *len)
{
    struct world *w = arg;
    (void)id;
    char *text = malloc(64);
    if (!text)
        return SE_ERR_NOMEM;
    *len = (size_t)snprintf(text, 64, "{\"number\":%u,\"of\":\"the model\"}", ++w->m.last);
    *content = text;
    return SE_OK;
}

static se_result aside(struct world *w)
{
    se_item *item = NULL;
    unsigned i = next(w);
    se_result r = se_get_or_insert_with(w->e, w->m.ids[i], make_content, w, NULL, &item);
    if (r >= 0 && w->m.number[i] == 0)
        w->m.number[i] = w->m.last;
    model_compare(&w->m, i, r == SE_PENDING ? SE_OK : r, item);
    se_item_release(item);
    return r;
}

static bool count_items(void *arg, se_item *item)
{
    (void)item;
    ++*(unsigned *)arg;
    return true;
}

static unsigned there(struct world *w)
{
    unsigned n = 0;
    for (unsigned i = 0; i < MODEL_IDS; i++)
        n += w->m.number[i] != 0;
    return n;
}

static se_result scan(struct world *w)
{
    unsigned seen = 0;
    se_result r = se_scan_prefix(w->e, "m:", 0, count_items, &seen);
    cr_assert(r < 0 || seen == there(w), "%u of %u", seen, there(w));
    return r;
}

static se_result count(struct world *w)
{
    uint64_t n;
    se_result r = se_count_prefix(w->e, "m:", &n);
    cr_assert(r < 0 || n == there(w), "%u of %u", (unsigned)n, there(w));
    return r;
}

static se_result count_state(struct world *w)
{
    uint64_t n;
    se_result r = se_count_state(w->e, "default", &n);
    cr_assert(r < 0 || n == there(w), "%u of %u", (unsigned)n, there(w));
    return r;
}

static se_result set_state(struct world *w)
{
    unsigned i = next(w);
    se_result r = se_set_state(w->e, w->m.ids[i], "default");
    cr_assert(r < 0 || r == SE_PENDING || (r == SE_OK) == (w->m.number[i] != 0), "%d", r);
    return r;
}

/* Ids of its own: on an error some are gone. */
static void put_some(struct world *w)
{
    char id[16];
    for (unsigned i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "x:%u", i);
        bed_put(w->e, id, "x");
    }
}

static se_result delete_prefix(struct world *w)
{
    uint64_t deleted, left = 0;
    se_result r = se_delete_prefix(w->e, "x:", &deleted);
    cr_assert(r >= 0 || deleted <= 5, "%u", (unsigned)deleted);
    mem_fail_stop();
    se_result counted = se_count_prefix(w->e, "x:", &left);
    cr_assert(r < 0 || counted < 0 || left == 0, "%u left", (unsigned)left);
    return r;
}

static se_result invalidate(struct world *w)
{
    return se_invalidate(w->e, w->m.ids[next(w)]);
}

static se_result invalidate_prefix(struct world *w)
{
    return se_invalidate_prefix(w->e, "m:");
}

static se_result merkle(struct world *w)
{
    se_merkle_node root, children[16];
    se_result r = se_merkle_root(w->e, SE_TIER_L3, &root);
    return r < 0 ? r : se_merkle_children(w->e, SE_TIER_L3, 0, 0, children);
}

static se_result verify(struct world *w)
{
    se_verify_report report;
    se_verify_options o;
    se_verify_options_init(&o);
    o.mode = w->turn++ % 2 ? SE_VERIFY_DEEP : SE_VERIFY_QUICK;
    o.repair = true;
    se_result r = se_verify(w->e, &o, &report);
    cr_assert_eq(report.corrupt_l2 + report.corrupt_l3 + report.orphan_l2, 0);
    return r;
}

static bool see_dictionary(void *arg, const se_dictionary *dictionary)
{
    (void)arg;
    (void)dictionary;
    return true;
}

static se_result list_dictionaries(struct world *w)
{
    return se_dictionary_list(w->e, see_dictionary, NULL);
}

/* The writes are queued before, so that what fails is in the workers. */
static void dirty_some(struct world *w)
{
    for (unsigned i = 0; i < 3; i++)
        (void)model_put(&w->m, w->e, next(w), SE_ACK_MEMORY);
    (void)model_delete(&w->m, w->e, next(w), SE_ACK_MEMORY);
}

static se_result flush(struct world *w)
{
    return se_flush(w->e, 300);
}

static se_result metrics(struct world *w)
{
    char *text = NULL;
    size_t len = 0;
    se_result r = se_metrics_text(w->e, &text, &len);
    free(text);
    return r;
}

static se_result health(struct world *w)
{
    se_health h;
    se_result r = se_health_check(w->e, &h);
    cr_assert(r == SE_OK && h.phase == SE_PHASE_RUNNING);
    return r;
}

static const struct call calls[] = {
    {"submit", NULL, submit_memory, false, 1},
    {"submit, ack wal", NULL, submit_wal, false, 1},
    {"submit, ack l3", NULL, submit_l3, false, 9},
    {"submit_many", NULL, submit_many, false, 1},
    {"get", NULL, get_one, false, 1},
    {"get from the tiers", forget, get_one, true, 1},
    {"get_verified", forget, get_verified, true, 1},
    {"get_copy", forget, get_copy, true, 1},
    {"get_many", forget, get_all, true, 3},
    {"delete", NULL, delete_one, false, 1},
    {"delete_many", NULL, delete_many, false, 1},
    {"contains", forget, contains, true, 1},
    {"status", forget, status, true, 1},
    {"get_or_insert_with", forget, aside, true, 3},
    {"scan", forget, scan, true, 5},
    {"scan of what is queued", dirty_some, scan, false, 5},
    {"count", dirty_some, count, false, 1},
    {"count_state", dirty_some, count_state, false, 1},
    {"set_state", forget, set_state, true, 1},
    {"delete_prefix", put_some, delete_prefix, false, 5},
    {"invalidate", NULL, invalidate, false, 1},
    {"invalidate_prefix", NULL, invalidate_prefix, false, 1},
    {"merkle", NULL, merkle, true, 5},
    {"verify", forget, verify, true, 39},
    {"dictionary_list", NULL, list_dictionaries, true, 1},
    {"flush", dirty_some, flush, false, 15},
    {"metrics", NULL, metrics, false, 1},
    {"health", NULL, health, false, 1},
};

/* ---- each allocation of each call ---- */

static bool is_documented(se_result r)
{
    return r >= 0 || r == SE_ERR_NOMEM || r == SE_ERR_BACKEND || r == SE_ERR_IO ||
           r == SE_ERR_TIMEOUT || r == SE_ERR_BACKPRESSURE;
}

/* The same call with the nth failing. Returns whether that one was reached. */
static bool fail_once(struct world *w, const struct call *call, unsigned whose, long nth,
                      bool all_after)
{
    if (call->before)
        call->before(w);
    if (call->run == flush || call->run == submit_l3)
        nth = nth * 2 -
              1; /* background threads allocate as well: where it fails varies in any case */
    mem_fail(whose, nth, all_after);
    se_result r = call->run(w);
    long seen = mem_fail_stop();
    cr_assert(is_documented(r), "%s, %s: allocation %ld: %d %s", w->b.shape->name, call->name, nth,
              r, se_errmsg());
    w->failures += seen >= nth ? (all_after ? (unsigned long)(seen - nth + 1) : 1) : 0;
    return seen >= nth;
}

static long step_of(long normal)
{
    return (long)local_size("step", (unsigned long)normal);
}

static void each_allocation(struct world *w, const struct call *call, unsigned whose, long step)
{
    if (!local_is_long())
        step *= call->dear;
    for (int all_after = 0; all_after < 2; all_after++) {
        for (long nth = 1 + all_after * (step / 2);
             nth < 5000 && fail_once(w, call, whose, nth, all_after); nth += step)
            if (nth % 16 == 1)
                model_check(&w->m, w->e);
        model_check(&w->m, w->e);
    }
}

static void world_make(struct world *w, const struct shape *shape, struct redis_server *redis,
                       struct mariadb_server *mariadb)
{
    *w = (struct world){.turn = 0};
    model_init(&w->m, "m");
    bed_make(&w->b, shape, redis, mariadb);
    w->b.config.batch_flush_ms = 1;
    w->b.config.circuit_open_ms = 10;
    w->b.config.ack_timeout_ms = 300;
    w->b.config.l1_max_bytes = 4 << 20;
    w->e = bed_open(&w->b);
    for (unsigned i = 0; i < MODEL_IDS - 4; i++)
        cr_assert_eq(model_put(&w->m, w->e, i, SE_ACK_MEMORY), SE_OK);
}

static void world_end(struct world *w)
{
    local_wait_healthy(w->e);
    model_check(&w->m, w->e);
    if (w->b.shape->sql != NO_SQL)
        truth_balance(w->e);
    bed_close(&w->b, w->e);
    if (w->b.shape->sql != NO_SQL) {
        w->e = bed_open(&w->b);
        model_check(&w->m, w->e);
        bed_close(&w->b, w->e);
    }
    bed_remove(&w->b);
}

static void each_call(const struct shape *shape, struct redis_server *redis,
                      struct mariadb_server *mariadb, unsigned whose, long step)
{
    struct world w;
    world_make(&w, shape, redis, mariadb);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        uint64_t began = se__mono_ms();
        unsigned long before = w.failures;
        if (calls[i].needs_l3 && shape->sql == NO_SQL)
            continue;
        each_allocation(&w, &calls[i], whose, step);
        if (local_is_long() || getenv("SE_TEST_LOG"))
            local_say("%s, %u: %s: %lu failed, %lu ms\n", shape->name, whose, calls[i].name,
                      w.failures - before, (unsigned long)(se__mono_ms() - began));
    }
    world_end(&w);
    cr_assert(w.failures > 50 || whose != MEM_OURS, "%s: only %lu allocations failed", shape->name,
              w.failures);
    if (local_is_long())
        local_say("%s, libraries %u: %lu allocations failed\n", shape->name, whose, w.failures);
}

Test(alloc, ours_in_every_call_on_l1)
{
    each_call(&l1, NULL, NULL, MEM_OURS, 1);
}

Test(alloc, ours_in_every_call_on_sqlite)
{
    each_call(&sqlite, NULL, NULL, MEM_OURS, step_of(5));
    each_call(&sqlite_wal, NULL, NULL, MEM_OURS, step_of(5));
}

Test(alloc, sqlites_in_every_call)
{
    each_call(&sqlite, NULL, NULL, MEM_SQLITE, step_of(41));
    each_call(&sqlite_wal, NULL, NULL, MEM_SQLITE, step_of(41));
}

Test(alloc, all_in_every_call_on_servers)
{
    static const unsigned whose[] = {MEM_OURS, MEM_SQLITE, MEM_HIREDIS, MEM_MARIADB};
    struct redis_server redis = {0};
    redis_server_start(&redis, NULL);
    struct mariadb_server *mariadb = mariadb_start(false, NULL);
    cr_assert(mariadb);
    for (int i = 0; i < 4; i++)
        each_call(&servers_wal, &redis, mariadb, whose[i], step_of(37));
    mariadb_close(mariadb);
    redis_server_stop(&redis);
}

/* ---- open and close ---- */

/* Opens with the nth failing; closes, with that failing too where open did not get so far. */
static bool open_once(struct world *w, unsigned whose, long nth, bool all_after)
{
    se_engine *e = (se_engine *)w;
    mem_fail(whose, nth, all_after);
    se_result r = se_open(&w->b.config, &e);
    long seen = mem_fail_stop();
    w->failures += seen >= nth;
    cr_assert(r == SE_OK || r == SE_ERR_NOMEM || r == SE_ERR_IO || r == SE_ERR_BACKEND,
              "%s: allocation %ld: %d %s", w->b.shape->name, nth, r, se_errmsg());
    cr_assert(r != SE_OK || e);
    if (r != SE_OK) {
        cr_assert_null(e);
        return true;
    }
    model_check(&w->m, e);
    unsigned i = next(w);
    se_result put = model_put(&w->m, e, i, SE_ACK_WAL);
    cr_assert(put >= 0, "allocation %ld: %d %s", nth, put, se_errmsg());
    bool reached = seen >= nth;
    local_wait_healthy(e);
    mem_fail(whose, (nth % 40) + 1, all_after);
    r = se_close(e, 20000);
    (void)mem_fail_stop();
    cr_assert(r == SE_OK, "close: %d %s", r, se_errmsg());
    return reached;
}

static void each_open(const struct shape *shape, struct redis_server *redis,
                      struct mariadb_server *mariadb, unsigned whose, long step)
{
    struct world w;
    unsigned opens = 0;
    uint64_t began = se__mono_ms();
    world_make(&w, shape, redis, mariadb);
    bed_close(&w.b, w.e);
    for (int all_after = 0; all_after < 2; all_after++) {
        if (shape->sql == NO_SQL)
            model_init(&w.m, "m"); /* with the engine all is gone */
        for (long nth = 1; nth < 20000; nth += step, opens++) {
            if (shape->sql == NO_SQL)
                memset(w.m.number, 0, sizeof w.m.number);
            if (!open_once(&w, whose, nth, all_after))
                break;
        }
    }
    if (shape->sql == NO_SQL)
        memset(w.m.number, 0, sizeof w.m.number);
    w.e = bed_open(&w.b);
    world_end(&w);
    if (local_is_long() || getenv("SE_TEST_LOG"))
        local_say("open, %s, %u: %lu of %u failed, %lu ms\n", shape->name, whose, w.failures, opens,
                  (unsigned long)(se__mono_ms() - began));
}

Test(alloc, ours_while_opening_and_closing)
{
    each_open(&l1, NULL, NULL, MEM_OURS, 1);
    each_open(&sqlite, NULL, NULL, MEM_OURS, step_of(37));
    each_open(&sqlite_wal, NULL, NULL, MEM_OURS, step_of(47));
}

Test(alloc, sqlites_while_opening_and_closing)
{
    each_open(&sqlite, NULL, NULL, MEM_SQLITE, step_of(1499));
    each_open(&sqlite_wal, NULL, NULL, MEM_SQLITE, step_of(1999));
}

Test(alloc, all_while_opening_and_closing_on_servers)
{
    static const unsigned whose[] = {MEM_OURS, MEM_HIREDIS, MEM_MARIADB};
    struct redis_server redis = {0};
    redis_server_start(&redis, NULL);
    struct mariadb_server *mariadb = mariadb_start(false, NULL);
    cr_assert(mariadb);
    for (int i = 0; i < 3; i++)
        each_open(&servers_wal, &redis, mariadb, whose[i], step_of(307));
    mariadb_close(mariadb);
    redis_server_stop(&redis);
}
