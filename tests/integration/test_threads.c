/*
 * Many threads on one engine, without servers: this program also runs under ThreadSanitizer, so nothing here forks.
 *
 * Every thread has ids of its own, of which it knows exactly what a read must give; ids that all write, which never go back; ids that come and
 * go; and ids that cache-aside makes. L1 is far smaller than the data, so that reads come from everywhere.
 */
#include "base/os.h"
#include "integration/truth.h"
#include "support/must.h"
#include "support/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 8
#define OWN 40
#define SHARED 40
#define MADE 60
#define STEPS 5000 /* of each thread */
#define CONTENT_MAX 6000

static const struct shape shapes[] = {{"l1", NO_SQL, false, false},
                                      {"sqlite", SQLITE, false, false},
                                      {"sqlite+wal", SQLITE, false, true}};
static const struct shape *const sqlite_wal = &shapes[2];

struct world;
struct actor {
    struct se__thread thread;
    struct world *w;
    unsigned number, random;
    unsigned own[OWN],
        tried[OWN];            /* number of the last acknowledged write, 0: deleted or never was */
    uint64_t seen[2 * SHARED]; /* no older version may be shown to this thread again */
    unsigned refused, stopped;
};
struct world {
    se_engine *e;
    bool small; /* L1 is the home: everything must fit */
    struct actor actors[THREADS];
    /* The oracle, seq_cst throughout: a reader that loads it before its read must see that version or a newer one. */
    _Atomic uint64_t acked[SHARED];
    atomic_uint made_by[MADE], runs[MADE], running, writes;
};

static unsigned pick(struct actor *a, unsigned n)
{
    return (unsigned)rand_r(&a->random) % n;
}

static void own_id(const struct actor *a, unsigned i, char id[32])
{
    snprintf(id, 32, "o:%u:%02u", a->number, i);
}

/* The first SHARED are never deleted, the others are. */
static void shared_id(unsigned i, char id[32])
{
    snprintf(id, 32, "%s:%02u", i < SHARED ? "s" : "d", i);
}

static size_t content_of(const struct world *w, unsigned number, char out[CONTENT_MAX])
{
    size_t len = 16 + number * 7919u % (w->small ? 100u : CONTENT_MAX - 17);
    snprintf(out, 17, "%015u.", number);
    memset(out + 16, 'a' + (int)(number % 26), len - 16);
    return len;
}

static bool accepted(struct actor *a, se_result r)
{
    if (r == SE_ERR_BACKPRESSURE) {
        a->refused++;
        return false;
    }
    MUST(r == SE_OK || r == SE_PENDING, "write %d", r);
    return true;
}

/* ---- own ids: exactly what was acknowledged ---- */

static void compare_own(const struct actor *a, unsigned i, se_result r, const void *content,
                        size_t len)
{
    char want[CONTENT_MAX];
    if (a->own[i] == 0) {
        MUST(r == SE_NOT_FOUND, "id %u of %u: read %d", i, a->number, r);
        return;
    }
    size_t want_len = content_of(a->w, a->own[i], want);
    MUST(r == SE_OK, "id %u of %u: %d, expected number %u", i, a->number, r, a->own[i]);
    MUST(len == want_len && memcmp(content, want, len) == 0,
         "id %u of %u: read %.15s, expected number %u", i, a->number, (const char *)content,
         a->own[i]);
}

static void get_own(struct actor *a, unsigned i)
{
    char id[32], buffer[CONTENT_MAX];
    se_item *item = NULL;
    size_t len = 0;
    own_id(a, i, id);
    if (pick(a, 2)) {
        se_result r = se_get(a->w->e, id, &item);
        compare_own(a, i, r, item ? se_item_content(item) : NULL,
                    item ? se_item_content_len(item) : 0);
        se_item_release(item);
        return;
    }
    se_result r = se_get_copy(a->w->e, id, buffer, sizeof buffer, &len);
    compare_own(a, i, r, buffer, len);
}

static void write_own(struct actor *a, unsigned i)
{
    char id[32], content[CONTENT_MAX];
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = pick(a, 10) ? SE_ACK_DEFAULT : pick(a, 2) ? SE_ACK_WAL : SE_ACK_L3;
    own_id(a, i, id);
    bool deletes = pick(a, 5) == 0;
    unsigned number = ++a->tried[i];
    se_result r = deletes ? se_delete(a->w->e, id, &o)
                          : se_submit(a->w->e, id, content, content_of(a->w, number, content), &o);
    if (accepted(a, r))
        a->own[i] = deletes ? 0 : number;
    get_own(a, i);
}

/* A load of somebody else's id, to race with its owner's writes; sometimes its copy is dropped. */
static void peek(struct actor *a)
{
    char id[32];
    se_item *item;
    own_id(&a->w->actors[pick(a, THREADS)], pick(a, OWN), id);
    if (pick(a, 2))
        MUST(se_invalidate(a->w->e, id) == SE_OK, "invalidate");
    se_result r = se_get(a->w->e, id, &item);
    MUST(r == SE_OK || r == SE_NOT_FOUND, "%s: %d", id, r);
    se_item_release(item);
}

struct walk {
    const struct actor *a;
    unsigned at;
};

static bool compare_next(void *arg, se_item *item)
{
    struct walk *k = arg;
    char id[32];
    while (k->at < OWN && k->a->own[k->at] == 0)
        k->at++;
    MUST(k->at < OWN, "%s should not be there", se_item_id(item));
    own_id(k->a, k->at, id);
    MUST(strcmp(id, se_item_id(item)) == 0, "%s instead of %s", se_item_id(item), id);
    compare_own(k->a, k->at, SE_OK, se_item_content(item), se_item_content_len(item));
    k->at++;
    return true;
}

static void scan_own(struct actor *a)
{
    char prefix[32];
    struct walk k = {.a = a};
    uint64_t count, expected = 0;
    snprintf(prefix, sizeof prefix, "o:%u:", a->number);
    MUST(se_scan_prefix(a->w->e, prefix, 0, compare_next, &k) == SE_OK, "scan");
    for (unsigned i = 0; i < OWN; i++) {
        expected += a->own[i] != 0;
        MUST(i < k.at || a->own[i] == 0, "scan ended before %u", i);
    }
    MUST(se_count_prefix(a->w->e, prefix, &count) == SE_OK && count == expected,
         "count %llu, expected %llu", (unsigned long long)count, (unsigned long long)expected);
}

/* ---- shared ids: never back ---- */

static void raise_to(_Atomic uint64_t *at, uint64_t version)
{
    uint64_t now = atomic_load(at);
    while (now < version && !atomic_compare_exchange_weak(at, &now, version))
        ;
}

static void see_shared(struct actor *a, unsigned i, uint64_t least, se_result r,
                       const se_item *item)
{
    if (r == SE_NOT_FOUND) {
        MUST(i >= SHARED || least == 0, "shared %u is gone", i);
        return;
    }
    MUST(r == SE_OK, "shared %u: %d", i, r);
    uint64_t version = se_item_version(item);
    MUST(version >= least && version >= a->seen[i],
         "shared %u: version %llu after %llu, acknowledged %llu", i, (unsigned long long)version,
         (unsigned long long)a->seen[i], (unsigned long long)least);
    a->seen[i] = version;
}

static uint64_t least_of(struct actor *a, unsigned i)
{
    return i < SHARED ? atomic_load(&a->w->acked[i]) : 0;
}

static void get_shared(struct actor *a, unsigned i)
{
    char id[32];
    se_item *item;
    shared_id(i, id);
    uint64_t least = least_of(a, i);
    se_result r = se_get(a->w->e, id, &item);
    see_shared(a, i, least, r, item);
    se_item_release(item);
}

/* Shared ones with an own one among them. */
static void get_many(struct actor *a)
{
    char names[5][32];
    const char *ids[5] = {names[0], names[1], names[2], names[3], names[4]};
    unsigned at[5], own = pick(a, OWN);
    uint64_t least[5] = {0};
    se_item *items[5];
    se_result results[5];
    for (unsigned i = 0; i < 4; i++) {
        at[i] = pick(a, 2 * SHARED);
        shared_id(at[i], names[i]);
        least[i] = least_of(a, at[i]);
    }
    own_id(a, own, names[4]);
    MUST(se_get_many(a->w->e, ids, 5, items, results) == SE_OK, "get_many");
    for (unsigned i = 0; i < 4; i++) {
        if (items[i] && se_item_version(items[i]) < a->seen[at[i]])
            MUST(false, "get_many: shared %u went back", at[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        see_shared(a, at[i], least[i], results[i], items[i]);
    compare_own(a, own, results[4], items[4] ? se_item_content(items[4]) : NULL,
                items[4] ? se_item_content_len(items[4]) : 0);
    for (unsigned i = 0; i < 5; i++)
        se_item_release(items[i]);
}

static void write_shared(struct actor *a)
{
    char names[3][32], content[CONTENT_MAX];
    se_put puts[3] = {0};
    unsigned at[3], n = 1 + pick(a, 3);
    size_t len = content_of(a->w, pick(a, 1000), content);
    for (unsigned i = 0; i < n; i++) {
        at[i] = pick(a, 2 * SHARED);
        shared_id(at[i], names[i]);
        puts[i] = (se_put){.id = names[i], .content = content, .len = len};
    }
    if (!accepted(a, se_submit_many(a->w->e, puts, n, NULL)))
        return;
    for (unsigned i = 0; i < n; i++) {
        if (at[i] < SHARED)
            raise_to(&a->w->acked[at[i]], puts[i].version);
        if (puts[i].version > a->seen[at[i]])
            a->seen[at[i]] = puts[i].version;
    }
}

static void delete_shared(struct actor *a, unsigned i)
{
    char id[32];
    get_shared(a, i);
    shared_id(i, id);
    if (accepted(a, se_delete(a->w->e, id, NULL)) && a->seen[i])
        a->seen[i]++; /* what it showed before is dead */
    get_shared(a, i);
}

static void tag_shared(struct actor *a, unsigned i)
{
    char id[32];
    shared_id(i, id);
    se_result r = se_set_state(a->w->e, id, pick(a, 2) ? "red" : "blue");
    MUST(r == SE_NOT_FOUND || r == SE_ERR_BACKPRESSURE || r >= 0, "set_state %d", r);
    get_shared(a, i);
}

/* ---- cache-aside ---- */

static se_result make(void *arg, const char *id, void **content, size_t *len)
{
    struct actor *a = arg;
    unsigned i = (unsigned)strtoul(id + 2, NULL, 10);
    MUST(atomic_fetch_add(&a->w->running, 1) < THREADS, "more factories than threads");
    unsigned run = atomic_fetch_add(&a->w->runs[i], 1) + 1;
    char *text = malloc(32);
    MUST(text, "memory");
    *len = (size_t)snprintf(text, 32, "made %u", run);
    *content = text;
    if (i % 8 == 0)
        se__pause_ms(2); /* others come in meanwhile */
    atomic_fetch_sub(&a->w->running, 1);
    return SE_OK;
}

/* Everybody gets the content of one and the same run. Returns false if it was refused. */
static bool get_made(struct actor *a, unsigned i)
{
    char id[32];
    unsigned run, none = 0;
    se_item *item;
    snprintf(id, sizeof id, "f:%03u", i);
    if (!accepted(a, se_get_or_insert_with(a->w->e, id, make, a, NULL, &item)))
        return false;
    char text[32] = "";
    memcpy(text, se_item_content(item), se_item_content_len(item));
    MUST(sscanf(text, "made %u", &run) == 1, "'%s'", text);
    if (!atomic_compare_exchange_strong(&a->w->made_by[i], &none, run))
        MUST(none == run, "%s: made by run %u and by run %u", id, none, run);
    se_item_release(item);
    return true;
}

/* ---- all of it ---- */

static void look_around(struct actor *a)
{
    se_engine *e = a->w->e;
    se_health h;
    char *text, id[32];
    size_t len;
    se_item_status status;
    MUST(se_health_check(e, &h) == SE_OK && h.phase == SE_PHASE_RUNNING, "health");
    MUST(h.l1_bytes <= 1 << 20, "L1 has %zu bytes", h.l1_bytes);
    MUST(se_metrics_text(e, &text, &len) == SE_OK, "metrics");
    free(text);
    own_id(a, 0, id);
    MUST(se_status(e, id, &status) == SE_OK, "status");
    MUST((status.sync == SE_SYNC_MISSING) == (a->own[0] == 0) || status.sync == SE_SYNC_PENDING,
         "status of id 0: %d", status.sync);
    shared_id(pick(a, 2 * SHARED), id);
    MUST(se_invalidate(e, id) == SE_OK, "invalidate");
}

static void act(struct actor *a)
{
    unsigned dice = pick(a, 180);
    if (dice >= 100)
        peek(a);
    else if (dice < 30)
        write_own(a, pick(a, OWN));
    else if (dice < 50)
        get_own(a, pick(a, OWN));
    else if (dice < 60)
        get_shared(a, pick(a, 2 * SHARED));
    else if (dice < 70)
        write_shared(a);
    else if (dice < 76)
        get_many(a);
    else if (dice < 82)
        delete_shared(a, SHARED + pick(a, SHARED));
    else if (dice < 86)
        tag_shared(a, pick(a, 2 * SHARED));
    else if (dice < 95)
        (void)get_made(a, pick(a, MADE));
    else if (dice < 97)
        scan_own(a);
    else if (dice < 98)
        MUST(se_flush(a->w->e, 20000) >= 0, "flush");
    else
        look_around(a);
}

static void act_for_a_while(void *arg)
{
    struct actor *a = arg;
    for (int i = 0; i < STEPS; i++)
        act(a);
}

static struct world *world_make(se_engine *e, const struct shape *shape)
{
    struct world *w = calloc(1, sizeof *w);
    cr_assert(w);
    w->e = e;
    w->small = shape->sql == NO_SQL;
    for (unsigned i = 0; i < THREADS; i++)
        w->actors[i] = (struct actor){.w = w, .number = i, .random = 7 * i + 1};
    return w;
}

static void start_all(struct world *w, void (*run)(void *arg))
{
    for (unsigned i = 0; i < THREADS; i++)
        cr_assert_eq(se__thread_start(&w->actors[i].thread, "actor", run, &w->actors[i]), SE_OK);
}

static void join_all(struct world *w)
{
    for (unsigned i = 0; i < THREADS; i++)
        se__thread_join(&w->actors[i].thread);
}

static void check_own_ids(struct world *w, se_engine *e)
{
    w->e = e;
    for (unsigned t = 0; t < THREADS; t++) {
        for (unsigned i = 0; i < OWN; i++)
            get_own(&w->actors[t], i);
        scan_own(&w->actors[t]);
    }
}

static void small_and_quick(se_config *c)
{
    c->l1_max_bytes = 1 << 20;
    c->batch_flush_ms = 2;
    c->batch_flush_count = 100;
    c->throttle_max_ms = 1;
}

/* Says once, when most of the time is over, who else might hold a reference. */
static bool nothing_is_detached(void *engine)
{
    static const char *const suspects[] = {
        "sync_engine_items_detached_bytes", "sync_engine_queue_items",
        "sync_engine_wal_live_records", "sync_engine_wal_entries"};
    static unsigned asked;
    bool none = bed_metric(engine, suspects[0], "") == 0;
    for (size_t i = 0; !none && asked == 3000 && i < sizeof suspects / sizeof *suspects; i++)
        fprintf(stderr, "%s %.0f\n", suspects[i], bed_metric(engine, suspects[i], ""));
    asked += !none;
    return none;
}

static void mingle(const struct shape *shape)
{
    struct bed b;
    bed_make(&b, shape, NULL, NULL);
    small_and_quick(&b.config);
    se_engine *e = bed_open(&b);
    struct world *w = world_make(e, shape);
    start_all(w, act_for_a_while);
    join_all(w);
    cr_assert_eq(se_flush(e, 20000), SE_OK, "%s", se_errmsg());
    check_own_ids(w, e);
    truth_balance(e);
    double evicted = bed_metric(e, "sync_engine_evictions_total", "reason=\"pressure\"");
    cr_assert(shape->sql == NO_SQL || evicted > 100, "%s: %.0f evictions", shape->name, evicted);
    bed_wait(nothing_is_detached, e, "what nobody holds is freed");
    bed_close(&b, e);
    if (shape->sql) {
        e = bed_open(&b);
        check_own_ids(w, e);
        for (unsigned i = 0; i < MADE; i++)
            (void)get_made(&w->actors[0], i);
        bed_close(&b, e);
    }
    free(w);
    bed_remove(&b);
}

Test(threads, each_reads_its_own_writes_and_nothing_goes_back)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        mingle(&shapes[i]);
}

static void ask_for_all_made(void *arg)
{
    struct actor *a = arg;
    for (unsigned i = 0; i < MADE; i++)
        MUST(get_made(a, i), "refused");
}

Test(threads, a_factory_runs_once_however_many_ask)
{
    struct bed b;
    bed_make(&b, sqlite_wal, NULL, NULL);
    se_engine *e = bed_open(&b);
    struct world *w = world_make(e, sqlite_wal);
    start_all(w, ask_for_all_made);
    join_all(w);
    for (unsigned i = 0; i < MADE; i++)
        cr_assert_eq(atomic_load(&w->runs[i]), 1, "id %u: %u runs", i, atomic_load(&w->runs[i]));
    cr_assert_eq(bed_metric(e, "sync_engine_factory_runs_total", ""), MADE);
    bed_close(&b, e);
    free(w);
    bed_remove(&b);
}

/* ---- shutdown ---- */

static bool is_open(struct actor *a, se_result r)
{
    a->stopped += r == SE_ERR_STATE;
    MUST(r >= 0 || r == SE_ERR_STATE || r == SE_ERR_BACKPRESSURE, "%d while shutting down", r);
    return r != SE_ERR_STATE;
}

static bool stop_scan(void *arg, se_item *item)
{
    (void)item;
    return --*(int *)arg > 0;
}

/* Any call but a write: until the engine says that it is shut down. */
static bool ask_anything(struct actor *a)
{
    char id[32];
    se_item *item = NULL;
    int left = 5;
    se_result r;
    own_id(&a->w->actors[pick(a, THREADS)], pick(a, OWN), id);
    switch (pick(a, 5)) {
    case 0:
        r = se_flush(a->w->e, 20000);
        break;
    case 1:
        r = se_scan_prefix(a->w->e, "o:", 0, stop_scan, &left);
        break;
    case 2:
        r = se_get_or_insert_with(a->w->e, "f:001", make, a, NULL, &item);
        break;
    case 3:
        r = se_invalidate(a->w->e, id);
        break;
    default:
        r = se_get(a->w->e, id, &item);
    }
    se_item_release(item);
    return is_open(a, r);
}

static void write_until_shut(void *arg)
{
    struct actor *a = arg;
    char id[32], content[CONTENT_MAX];
    se_submit_options o;
    se_submit_options_init(&o);
    for (bool open = true; open;) {
        unsigned i = pick(a, OWN), number = ++a->tried[i];
        o.ack = pick(a, 4) ? SE_ACK_DEFAULT : pick(a, 2) ? SE_ACK_WAL : SE_ACK_L3;
        own_id(a, i, id);
        se_result r = se_submit(a->w->e, id, content, content_of(a->w, number, content), &o);
        if (r == SE_OK || r == SE_PENDING)
            a->own[i] = number;
        atomic_fetch_add(&a->w->writes, 1);
        open = is_open(a, r) && ask_anything(a);
    }
}

struct goal {
    struct world *w;
    unsigned writes;
};

static bool has_written(void *arg)
{
    struct goal *g = arg;
    return atomic_load(&g->w->writes) >= g->writes;
}

static void shut_down_amidst(const struct shape *shape, unsigned writes)
{
    struct bed b;
    bed_make(&b, shape, NULL, NULL);
    small_and_quick(&b.config);
    struct world *w = world_make(bed_open(&b), shape);
    struct goal goal = {w, writes};
    start_all(w, write_until_shut);
    bed_wait(has_written, &goal, "there are writes");
    cr_assert_eq(se_shutdown(w->e, 20000), SE_OK, "%s", se_errmsg());
    join_all(w);
    for (unsigned i = 0; i < THREADS; i++)
        cr_assert_eq(w->actors[i].stopped, 1);
    bed_close(&b, w->e);
    se_engine *e = bed_open(&b);
    check_own_ids(w, e);
    bed_close(&b, e);
    free(w);
    bed_remove(&b);
}

Test(threads, a_shutdown_amidst_writes_loses_nothing)
{
    for (unsigned i = 0; i < 8; i++)
        shut_down_amidst(&shapes[1 + i % 2], 1 + i * 60);
}
