/*
 * Thousands of threads that come and go, shutdown while everything is in flight, thousands of lives: nothing grows, nothing is
 * lost.
 *
 * Assertions cannot leave a thread of the test's own: what goes wrong in one ends the process with a line.
 */
#include "base/os.h"
#include "fault/local.h"
#include "integration/stand.h"
#include "integration/truth.h"
#include "support/must.h"
#include "support/test.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static const struct shape l1_only = {"l1", NO_SQL, false, false};
static const struct shape sqlite = {"sqlite", SQLITE, false, false};
static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};
static const struct shape redis_only = {"redis", NO_SQL, true, false};
static const struct shape servers_wal = {"redis+mysql+wal", MYSQL, true, true};

/* ---- threads that come and go ---- */

struct crowd {
    se_engine *e;
    struct se__mutex lock;
    struct se__cond changed;
    unsigned arrived, awaited; /* all wait for each other, so that they live at once */
    _Atomic unsigned next;
};

static void meet(struct crowd *c)
{
    se__mutex_lock(&c->lock);
    c->arrived++;
    se__cond_broadcast(&c->changed);
    while (c->arrived < c->awaited)
        se__cond_wait(&c->changed, &c->lock);
    se__mutex_unlock(&c->lock);
}

static void *visit_briefly(void *arg)
{
    struct crowd *c = arg;
    unsigned number = atomic_fetch_add(&c->next, 1);
    char id[24], content[24];
    snprintf(id, sizeof id, "t:%u", number % 500);
    if (c->awaited)
        meet(c);
    for (int i = 0; i < 3; i++) {
        se_item *item = NULL;
        int len = snprintf(content, sizeof content, "%u %d", number, i);
        MUST(se_submit(c->e, id, content, (size_t)len, NULL) >= 0, "submit %s", id);
        MUST(se_get(c->e, id, &item) == SE_OK, "get %s", id);
        se_item_release(item);
        MUST(se_get(c->e, "nowhere", &item) == SE_NOT_FOUND, "get nowhere");
    }
    return NULL;
}

/* So many threads, `at_once` of them alive together. */
static void wave(struct crowd *c, unsigned threads, unsigned at_once)
{
    pthread_attr_t small;
    pthread_t *all = calloc(at_once, sizeof *all);
    cr_assert(all);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, SANITIZED ? 1 << 20 : 128 << 10);
    for (unsigned done = 0; done < threads; done += at_once) {
        c->arrived = 0;
        for (unsigned i = 0; i < at_once; i++)
            cr_assert_eq(pthread_create(&all[i], &small, visit_briefly, c), 0, "thread %u", i);
        for (unsigned i = 0; i < at_once; i++)
            cr_assert_eq(pthread_join(all[i], NULL), 0);
    }
    pthread_attr_destroy(&small);
    free(all);
}

static size_t in_use(void)
{
    return SANITIZED ? 0 : mallinfo2().uordblks;
}

static void come_and_go(const struct shape *shape, unsigned threads, unsigned at_once)
{
    struct bed b;
    struct crowd c = {.awaited = at_once};
    size_t used[4];
    uint64_t began = se__mono_ms();
    bed_make(&b, shape, NULL, NULL);
    b.config.ack_timeout_ms = 20000;
    c.e = bed_open(&b);
    se__mutex_init(&c.lock);
    se__cond_init(&c.changed);
    for (int i = 0; i < 4; i++) {
        wave(&c, threads, at_once);
        cr_assert(se_flush(c.e, 20000) >= 0);
        used[i] = in_use();
    }
    if (local_is_long())
        local_say("%s: 4 times %u threads, %u at once: %zu, %zu, %zu, %zu KiB in use, RSS %lu "
                  "KiB, %lu ms\n",
                  shape->name, threads, at_once, used[0] >> 10, used[1] >> 10, used[2] >> 10,
                  used[3] >> 10, local_rss_kb(), (unsigned long)(se__mono_ms() - began));
    cr_assert(used[3] < used[1] + (256 << 10), "memory grows: %zu, %zu, %zu, %zu", used[0], used[1],
              used[2], used[3]);
    se__cond_done(&c.changed);
    se__mutex_done(&c.lock);
    bed_close(&b, c.e);
    bed_remove(&b);
}

Test(crowd, thousands_of_threads_come_and_go)
{
    unsigned threads = (unsigned)local_size("threads", SANITIZED ? 200 : 1000);
    unsigned at_once = (unsigned)local_size("at_once", SANITIZED ? 100 : 500);
    come_and_go(&l1_only, threads, at_once);
    come_and_go(&sqlite_wal, threads, at_once);
}

/* ---- shutdown amidst everything ---- */

#define CALLERS 16
struct caller {
    struct se__thread thread;
    se_engine *e;
    unsigned number, random, writes;
    struct model m;
    unsigned durable[MODEL_IDS]; /* numbers confirmed by WAL or L3 */
    atomic_uint *working;
};

static unsigned pick(struct caller *c, unsigned n)
{
    c->random = c->random * 1103515245u + 12345u;
    return (c->random >> 16) % n;
}

static bool see(void *arg, se_item *item)
{
    (void)item;
    return --*(int *)arg > 0;
}

static se_result ask(struct caller *c)
{
    int left = 10;
    uint64_t n;
    bool found;
    char *text = NULL;
    size_t len;
    se_item *item = NULL;
    se_result r;
    const char *id = c->m.ids[pick(c, MODEL_IDS)];
    se_verify_report report;
    switch (pick(c, 8)) {
    case 0:
        return se_scan_prefix(c->e, "c", 0, see, &left);
    case 1:
        return se_count_prefix(c->e, "c", &n);
    case 2:
        r = se_verify(c->e, NULL, &report);
        return r == SE_ERR_UNSUPPORTED ? SE_OK : r;
    case 3:
        return se_flush(c->e, 5000);
    case 4:
        return se_contains(c->e, id, &found);
    case 5:
        r = se_metrics_text(c->e, &text, &len); /* goes on while shut down */
        free(text);
        return r;
    case 6:
        return se_invalidate(c->e, id);
    default:
        r = se_get(c->e, id, &item);
        se_item_release(item);
        return r;
    }
}

static void call_until_shut(void *arg)
{
    struct caller *c = arg;
    for (se_result r = SE_OK; r != SE_ERR_STATE;) {
        unsigned i = pick(c, MODEL_IDS);
        se_ack ack = pick(c, 3) ? SE_ACK_WAL : pick(c, 2) ? SE_ACK_MEMORY : SE_ACK_L3;
        r = model_put(&c->m, c->e, i, ack);
        if (r == SE_OK && ack != SE_ACK_MEMORY)
            c->durable[i] = c->m.last;
        c->writes += r >= 0;
        if (c->writes == 5)
            atomic_fetch_add(c->working, 1);
        MUST(r >= 0 || r == SE_ERR_STATE || r == SE_ERR_BACKPRESSURE, "put: %d", r);
        if (r != SE_ERR_STATE)
            r = ask(c);
        MUST(r >= 0 || r == SE_ERR_STATE || r == SE_ERR_BACKPRESSURE || r == SE_ERR_TIMEOUT,
             "ask: %d", r);
    }
}

/* What a restart must show: with SE_OK from the shutdown the last accepted number, else one at or above the last durable one. */
static void check_caller(struct caller *c, se_engine *e, bool all)
{
    for (unsigned i = 0; i < MODEL_IDS; i++) {
        se_item *item = NULL;
        unsigned number = 0;
        se_result r = se_get(e, c->m.ids[i], &item);
        cr_assert(r >= 0, "%s: %d %s", c->m.ids[i], r, se_errmsg());
        if (r == SE_OK) {
            char text[64] = "";
            memcpy(text, se_item_content(item), se_item_content_len(item));
            cr_assert_eq(sscanf(text, "{\"number\":%u", &number), 1);
        }
        se_item_release(item);
        cr_assert(number >= c->durable[i] && number <= c->m.last, "%s: %u, durable %u", c->m.ids[i],
                  number, c->durable[i]);
        cr_assert(!all || number == c->m.number[i], "%s: %u, accepted %u", c->m.ids[i], number,
                  c->m.number[i]);
    }
}

static void shut_amidst(struct bed *b, uint32_t timeout_ms)
{
    static struct caller callers[CALLERS];
    atomic_uint working = 0;
    se_engine *e = bed_open(b);
    memset(callers, 0, sizeof callers);
    for (unsigned i = 0; i < CALLERS; i++) {
        char prefix[8];
        snprintf(prefix, sizeof prefix, "c%u-%u", i, timeout_ms % 100);
        callers[i] = (struct caller){
            .e = e, .number = i, .random = i * 77 + timeout_ms + 1, .working = &working};
        model_init(&callers[i].m, prefix);
    }
    for (unsigned i = 0; i < CALLERS; i++)
        cr_assert_eq(se__thread_start(&callers[i].thread, "caller", call_until_shut, &callers[i]),
                     SE_OK);
    for (uint64_t deadline = se__deadline_in(60000); atomic_load(&working) < CALLERS;) {
        cr_assert_gt(se__deadline_left(deadline), 0u);
        se__pause_ms(1);
    }
    uint64_t began = se__mono_ms();
    se_result shut = se_shutdown(e, timeout_ms);
    uint64_t took = se__mono_ms() - began;
    cr_assert(shut == SE_OK || shut == SE_ERR_TIMEOUT, "%d %s", shut, se_errmsg());
    cr_assert(shut == SE_OK || timeout_ms < 10000, "%s", se_errmsg());
    for (unsigned i = 0; i < CALLERS; i++)
        se__thread_join(&callers[i].thread);
    se_result closed = se_close(e, timeout_ms);
    cr_assert(closed == SE_OK || closed == SE_ERR_TIMEOUT);
    if (local_is_long())
        local_say("%s, %u ms: %s after %lu ms\n", b->shape->name, timeout_ms, se_strerror(shut),
                  (unsigned long)took);
    if (b->shape->sql == NO_SQL)
        return;
    e = bed_open(b);
    for (unsigned i = 0; i < CALLERS; i++)
        check_caller(&callers[i], e, shut == SE_OK);
    bed_close(b, e);
}

static void shut_each_way(const struct shape *shape, unsigned rounds)
{
    static const uint32_t timeouts[] = {0, 3, 30, 20001};
    struct stand s;
    stand_make(&s, shape);
    s.bed.config.batch_flush_ms = 5;
    for (unsigned i = 0; i < rounds * 4; i++) {
        bed_remove(&s.bed);
        bed_make(&s.bed, shape, &s.redis, s.mariadb);
        s.bed.config.batch_flush_ms = 5;
        shut_amidst(&s.bed, timeouts[i % 4]);
    }
    stand_remove(&s);
}

Test(crowd, a_shutdown_amidst_everything_loses_nothing_durable)
{
    shut_each_way(&l1_only, (unsigned)local_size("shutdowns", 1));
    shut_each_way(&sqlite_wal, (unsigned)local_size("shutdowns", 1));
    shut_each_way(&servers_wal, (unsigned)local_size("shutdowns", 1));
}

/* ---- lives ---- */

static void live(struct bed *b, unsigned i)
{
    char id[16];
    snprintf(id, sizeof id, "%u", i % 100);
    se_engine *e = bed_open(b);
    bed_put(e, id, "1");
    bed_expect(e, id, "1");
    bed_expect(e, "nowhere", NULL);
    cr_assert_eq(se_close(e, 20000), SE_OK, "%s", se_errmsg());
}

static void many_lives(const struct shape *shape, unsigned lives)
{
    struct stand s;
    stand_make(&s, shape);
    unsigned first = lives / 4, tasks = 0, files = 0;
    size_t used = 0;
    unsigned long rss = 0;
    uint64_t began = se__mono_ms();
    for (unsigned i = 0; i < lives; i++) {
        if (i == first) {
            tasks = local_entries("task");
            files = local_entries("fd");
            used = in_use();
            rss = local_rss_kb();
        }
        live(&s.bed, i);
    }
    size_t used_then = in_use();
    if (local_is_long())
        local_say("%s: %u lives in %lu ms; from life %u on: in use %zu -> %zu KiB, RSS %lu -> "
                  "%lu KiB, files %u -> %u\n",
                  shape->name, lives, (unsigned long)(se__mono_ms() - began), first, used >> 10,
                  used_then >> 10, rss, local_rss_kb(), files, local_entries("fd"));
    cr_assert_eq(local_entries("fd"), files);
    for (uint64_t deadline = se__deadline_in(10000); local_entries("task") > tasks;)
        cr_assert_gt(se__deadline_left(deadline), 0u, "threads are left");
    cr_assert(used_then < used + (128 << 10), "memory grows: %zu, %zu", used, used_then);
    cr_assert(SANITIZED || local_rss_kb() < rss + 65536, "RSS grows: %lu, %lu", rss,
              local_rss_kb());
    stand_remove(&s);
}

Test(crowd, many_lives_embedded)
{
    many_lives(&l1_only, (unsigned)local_size("lives", 300));
    many_lives(&sqlite, (unsigned)local_size("lives", SANITIZED ? 60 : 200));
    many_lives(&sqlite_wal, (unsigned)local_size("lives", SANITIZED ? 60 : 200));
}

Test(crowd, many_lives_with_servers)
{
    many_lives(&redis_only, (unsigned)local_size("lives", SANITIZED ? 60 : 200));
    many_lives(&servers_wal, (unsigned)local_size("lives_with_sql", 40));
}
