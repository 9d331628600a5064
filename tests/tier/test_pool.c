/*
 * Tests of src/tier/pool.c, with connections that are numbers and a backend that a test can hold,
 * break or refuse.
 */
#include "support/test.h"

#include "base/os.h"
#include "tier/pool.h"

#include <string.h>

#define CONNECTIONS_MAX 2000

struct backend {
    struct se__mutex lock; /* guards all below */
    struct se__cond changed;
    bool hold;        /* open() hangs until this ends or its deadline passes */
    se_result answer; /* of open() */
    unsigned opening, opened, closed, live, live_most;
    bool broken[CONNECTIONS_MAX], is_closed[CONNECTIONS_MAX];
};

static struct backend be;
static struct pool *pool;

static se_result open_connection(void *arg, uint64_t deadline_ms, void **connection)
{
    (void)arg;
    se__mutex_lock(&be.lock);
    be.opening++;
    se__cond_broadcast(&be.changed);
    bool in_time = true;
    while (be.hold && in_time)
        in_time = se__cond_wait_until(&be.changed, &be.lock, deadline_ms);
    se_result r = in_time ? be.answer : SE_ERR_TIMEOUT;
    if (r == SE_OK) {
        *connection = (void *)(uintptr_t)++be.opened;
        be.live++;
        be.live_most = be.live > be.live_most ? be.live : be.live_most;
    }
    be.opening--;
    se__mutex_unlock(&be.lock);
    return r == SE_OK ? r : se__error(r, "the fake refuses");
}

static void close_connection(void *arg, void *connection)
{
    (void)arg;
    se__mutex_lock(&be.lock);
    be.closed++;
    be.live--;
    be.is_closed[(uintptr_t)connection] = true;
    se__mutex_unlock(&be.lock);
}

static bool connection_broken(void *arg, void *connection)
{
    (void)arg;
    se__mutex_lock(&be.lock);
    bool broken = be.broken[(uintptr_t)connection];
    se__mutex_unlock(&be.lock);
    return broken;
}

static void set_backend(bool hold, se_result answer)
{
    se__mutex_lock(&be.lock);
    be.hold = hold;
    be.answer = answer;
    se__cond_broadcast(&be.changed);
    se__mutex_unlock(&be.lock);
}

static void wait_until_opening(void)
{
    uint64_t deadline = se__deadline_in(10000);
    se__mutex_lock(&be.lock);
    while (be.opening == 0)
        cr_assert(se__cond_wait_until(&be.changed, &be.lock, deadline));
    se__mutex_unlock(&be.lock);
}

static void open_pool(unsigned size, uint32_t connect_ms)
{
    struct pool_options options = {.name = "test",
                                   .open = open_connection,
                                   .close = close_connection,
                                   .broken = connection_broken,
                                   .size = size,
                                   .connect_ms = connect_ms};
    cr_assert_eq(se__pool_open(&options, &pool), SE_OK);
}

static void init(void)
{
    be = (struct backend){0};
    se__mutex_init(&be.lock);
    se__cond_init(&be.changed);
}

static void fini(void)
{
    se__pool_close(pool);
    pool = NULL;
    cr_assert_eq(be.live, 0, "every connection was closed");
    cr_assert_eq(be.opened, be.closed);
    se__cond_done(&be.changed);
    se__mutex_done(&be.lock);
}

TestSuite(pool, .init = init, .fini = fini);

static uintptr_t take(void)
{
    void *c = NULL;
    cr_assert_eq(se__pool_take(pool, se__deadline_in(10000), &c), SE_OK, "%s", se_errmsg());
    return (uintptr_t)c;
}

static void give(uintptr_t c, bool broken)
{
    se__pool_give(pool, (void *)c, broken);
}

/* A taker on a thread of its own. */
struct taker {
    struct se__thread thread;
    uint64_t deadline_ms;
    se_result result;
    void *connection;
    char text[200];
    uint64_t took_ms;
    bool give_back;
};

static void run_taker(void *arg)
{
    struct taker *t = arg;
    uint64_t from = se__mono_ms();
    t->result = se__pool_take(pool, t->deadline_ms, &t->connection);
    t->took_ms = se__mono_ms() - from;
    strncpy(t->text, t->result == SE_OK ? "" : se_errmsg(), sizeof t->text - 1);
    if (t->result == SE_OK && t->give_back)
        se__pool_give(pool, t->connection, false);
}

static void start(struct taker *t, uint32_t ms, bool give_back)
{
    *t = (struct taker){.deadline_ms = se__deadline_in(ms), .give_back = give_back};
    cr_assert_eq(se__thread_start(&t->thread, "taker", run_taker, t), SE_OK);
}

static void wait_for_waiters(unsigned n)
{
    uint64_t deadline = se__deadline_in(10000);
    while (se__pool_waiting(pool) < n) {
        cr_assert(se__deadline_left(deadline) > 0);
        se__pause_ms(1);
    }
}

Test(pool, opens_nothing_until_asked)
{
    open_pool(4, 1000);
    cr_assert_eq(be.opened, 0);
}

Test(pool, reuses_what_is_given_back)
{
    open_pool(4, 1000);
    for (int i = 0; i < 50; i++)
        give(take(), false);
    cr_assert_eq(be.opened, 1);
    uintptr_t a = take(), b = take();
    cr_assert_neq(a, b);
    cr_assert_eq(be.opened, 2);
    give(a, false);
    give(b, false);
}

Test(pool, never_more_than_its_size)
{
    open_pool(2, 1000);
    uintptr_t a = take(), b = take();
    void *c = NULL;
    uint64_t from = se__mono_ms();
    cr_assert_eq(se__pool_take(pool, se__deadline_in(30), &c), SE_ERR_TIMEOUT);
    cr_assert(se__mono_ms() - from >= 29);
    cr_assert_null(c);
    cr_assert_eq(be.opened, 2);
    give(a, false);
    give(b, false);
}

Test(pool, a_waiter_gets_what_is_given_back)
{
    open_pool(1, 1000);
    uintptr_t a = take();
    struct taker t;
    start(&t, 10000, true);
    wait_for_waiters(1);
    give(a, false);
    se__thread_join(&t.thread);
    cr_assert_eq(t.result, SE_OK);
    cr_assert_eq(be.opened, 1);
}

Test(pool, a_broken_one_is_closed_and_replaced)
{
    open_pool(1, 1000);
    uintptr_t a = take();
    give(a, true);
    cr_assert(be.is_closed[a]);
    uintptr_t b = take();
    cr_assert_neq(a, b);
    give(b, false);
}

Test(pool, a_waiter_gets_a_new_one_in_place_of_a_broken_one)
{
    open_pool(1, 1000);
    for (unsigned round = 1; round <= 20; round++) {
        uintptr_t a = take();
        struct taker t;
        start(&t, 10000, false);
        wait_for_waiters(1);
        give(a, true);
        se__thread_join(&t.thread);
        cr_assert_eq(t.result, SE_OK);
        give((uintptr_t)t.connection, true);
        cr_assert_eq(be.opened, 2 * round);
    }
}

Test(pool, one_that_broke_while_idle_is_not_handed_out)
{
    open_pool(3, 1000);
    uintptr_t a = take(), b = take();
    give(a, false);
    give(b, false);
    be.broken[a] = be.broken[b] = true;
    uintptr_t c = take();
    cr_assert(c != a && c != b);
    cr_assert(be.is_closed[a] && be.is_closed[b]);
    give(c, false);
}

Test(pool, a_failed_connect_fails_its_waiters_at_once)
{
    be.answer = SE_ERR_BACKEND;
    open_pool(2, 10000);
    struct taker t[5];
    set_backend(true, SE_ERR_BACKEND);
    for (int i = 0; i < 5; i++)
        start(&t[i], 60000, false);
    wait_for_waiters(5);
    set_backend(false, SE_ERR_BACKEND);
    for (int i = 0; i < 5; i++) {
        se__thread_join(&t[i].thread);
        cr_assert_eq(t[i].result, SE_ERR_BACKEND);
        cr_assert_not_null(strstr(t[i].text, "the fake refuses"), "its text: %s", t[i].text);
        cr_assert_lt(t[i].took_ms, 30000);
    }
    set_backend(false, SE_OK);
    give(take(), false); /* the next one is tried anew */
}

Test(pool, a_connect_that_times_out_is_a_backend_error)
{
    set_backend(true, SE_OK);
    open_pool(1, 20);
    void *c;
    cr_assert_eq(se__pool_take(pool, se__deadline_in(60000), &c), SE_ERR_BACKEND,
                 "not the taker's deadline");
    set_backend(false, SE_OK);
}

Test(pool, a_hung_connect_honours_the_takers_deadlines)
{
    set_backend(true, SE_OK);
    open_pool(2, 60000);
    void *c;
    uint64_t from = se__mono_ms();
    cr_assert_eq(se__pool_take(pool, se__deadline_in(30), &c), SE_ERR_TIMEOUT);
    cr_assert_lt(se__mono_ms() - from, 30000);
    wait_until_opening();
    set_backend(false, SE_OK);
    give(take(), false);
    cr_assert_leq(be.opened, 2);
}

Test(pool, while_one_connect_hangs_others_are_given_back)
{
    open_pool(2, 60000);
    uintptr_t a = take();
    set_backend(true, SE_OK);
    struct taker t;
    start(&t, 60000, true);
    wait_until_opening();
    give(a, false);
    se__thread_join(&t.thread);
    cr_assert_eq(t.result, SE_OK);
    cr_assert_eq((uintptr_t)t.connection, a);
    set_backend(false, SE_OK);
}

Test(pool, a_deadline_that_has_passed_still_takes_an_idle_one)
{
    open_pool(1, 1000);
    give(take(), false);
    void *c;
    cr_assert_eq(se__pool_take(pool, 0, &c), SE_OK);
    void *none;
    cr_assert_eq(se__pool_take(pool, 0, &none), SE_ERR_TIMEOUT);
    give((uintptr_t)c, false);
}

Test(pool, closing_wakes_those_who_wait)
{
    open_pool(1, 1000);
    uintptr_t a = take();
    struct taker t[3];
    for (int i = 0; i < 3; i++)
        start(&t[i], 60000, false);
    wait_for_waiters(3);
    /* Close waits for the taken one: it is given back by another thread,
     * once the waiters have been told. */
    struct se__thread closer = {0};
    cr_assert_eq(se__thread_start(&closer, "closer", (void (*)(void *))se__pool_close, pool),
                 SE_OK);
    for (int i = 0; i < 3; i++) {
        se__thread_join(&t[i].thread);
        cr_assert_eq(t[i].result, SE_ERR_STATE);
        cr_assert_lt(t[i].took_ms, 30000);
    }
    give(a, false);
    se__thread_join(&closer);
    cr_assert_eq(be.live, 0);
    pool = NULL;
}

Test(pool, closing_waits_for_a_hung_connect_no_longer_than_it_may_take)
{
    set_backend(true, SE_OK);
    open_pool(1, 50);
    void *c;
    cr_assert_eq(se__pool_take(pool, se__deadline_in(1), &c), SE_ERR_TIMEOUT);
    uint64_t from = se__mono_ms();
    se__pool_close(pool);
    cr_assert_lt(se__mono_ms() - from, 30000);
    pool = NULL;
}

Test(pool, drops_idle_connections)
{
    open_pool(3, 1000);
    uintptr_t a = take(), b = take(), c = take();
    give(a, false);
    give(b, false);
    se__pool_drop_idle(pool);
    cr_assert(be.is_closed[a] && be.is_closed[b] && !be.is_closed[c]);
    give(c, false);
    cr_assert_eq(take(), c);
    give(c, false);
}

/* ---- all at once ---- */

static void hammer(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    for (int i = 0; i < 150; i++) {
        void *c;
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        se_result r = se__pool_take(pool, se__deadline_in(random >> 40 & 7), &c);
        if (r == SE_OK)
            se__pool_give(pool, c, (random >> 50 & 7) == 0);
        if ((random >> 44 & 63) == 0)
            se__pool_drop_idle(pool);
        if ((random >> 34 & 31) == 0)
            set_backend(false, random >> 63 ? SE_OK : SE_ERR_BACKEND);
    }
}

Test(pool, many_threads)
{
    struct se__thread threads[8] = {{0}};
    open_pool(3, 1000);
    for (uintptr_t i = 0; i < 8; i++)
        cr_assert_eq(se__thread_start(&threads[i], "hammer", hammer, (void *)(i + 1)), SE_OK);
    for (int i = 0; i < 8; i++)
        se__thread_join(&threads[i]);
    cr_assert_leq(be.live_most, 3, "the bound");
    set_backend(false, SE_OK);
    give(take(), false);
}
