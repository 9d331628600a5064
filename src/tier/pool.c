/*
 * pool - see pool.h.
 *
 * Who finds nothing idle queues up; a connection that comes back goes to the first in the queue
 * directly, so none who came later can take it away. The pool's thread opens one connection at a
 * time while somebody waits and the bound allows it. Each waiter has a number; a failed attempt
 * fails those with a number below the one that was next when it began, the others get an attempt of
 * their own.
 */
#include "tier/pool.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

struct waiter {
    struct waiter *next;
    struct se__cond ready;
    uint64_t number;
    void *connection;
    se_result result; /* SE_PENDING while waiting */
};

struct pool {
    struct pool_options options;
    char name[16];
    struct se__thread thread;
    struct se__mutex lock; /* guards all below; leaf */
    struct se__cond work;  /* the thread: somebody waits, or stopping */
    struct se__cond empty; /* close: one fewer taken or waiting */
    void **idle; /* the last one given back is taken first: the others may age and be closed */
    unsigned idle_n, taken, opening;
    struct waiter *first, **last;
    unsigned inside; /* callers between lock and unlock of take */
    uint64_t next_number;
    bool stopping;
    char error[512]; /* of the last attempt; "" : it did not fail */
};

/* ---- waiters, all locked ---- */

static void queue_waiter(struct pool *p, struct waiter *w)
{
    w->number = p->next_number++;
    *p->last = w;
    p->last = &w->next;
}

static void unqueue_waiter(struct pool *p, struct waiter *w)
{
    struct waiter **at = &p->first;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (p->last == &w->next)
        p->last = at;
    w->next = NULL;
}

static void answer(struct pool *p, struct waiter *w, se_result result, void *connection)
{
    unqueue_waiter(p, w);
    w->result = result;
    w->connection = connection;
    se__cond_signal(&w->ready);
}

static void fail_waiters_before(struct pool *p, uint64_t number, se_result result)
{
    while (p->first && p->first->number < number)
        answer(p, p->first, result, NULL);
}

/* A connection without a holder: to the first who waits, else idle. */
static void hand_over(struct pool *p, void *connection)
{
    if (p->first) {
        p->taken++;
        answer(p, p->first, SE_OK, connection);
    } else {
        p->idle[p->idle_n++] = connection;
    }
}

/* ---- the thread that connects ---- */

static bool may_open(const struct pool *p)
{
    return p->first && p->idle_n + p->taken + p->opening < p->options.size;
}

/* One attempt, unlocked meanwhile. */
static void open_one(struct pool *p)
{
    uint64_t before = p->next_number;
    void *connection = NULL;
    p->opening++;
    se__mutex_unlock(&p->lock);
    se__error_clear();
    se_result r =
        p->options.open(p->options.arg, se__deadline_in(p->options.connect_ms), &connection);
    se__mutex_lock(&p->lock);
    p->opening--;
    if (r == SE_OK) {
        p->error[0] = '\0';
        hand_over(p, connection);
        return;
    }
    snprintf(p->error, sizeof p->error, "%s", se_errmsg());
    /* The attempt's own time ran out, not the waiters': to them the backend cannot be reached. */
    fail_waiters_before(p, before, r == SE_ERR_TIMEOUT ? SE_ERR_BACKEND : r);
}

static void run(void *arg)
{
    struct pool *p = arg;
    se__mutex_lock(&p->lock);
    while (!p->stopping) {
        if (may_open(p))
            open_one(p);
        else
            se__cond_wait(&p->work, &p->lock);
    }
    se__mutex_unlock(&p->lock);
}

/* ---- life ---- */

static void free_pool(struct pool *p)
{
    se__cond_done(&p->empty);
    se__cond_done(&p->work);
    se__mutex_done(&p->lock);
    se__free(p->idle);
    se__free(p);
}

se_result se__pool_open(const struct pool_options *options, struct pool **pool)
{
    struct pool *p = se__alloc_zeroed(1, sizeof *p);
    void **idle = se__alloc_zeroed(options->size, sizeof *idle);
    if (!p || !idle) {
        se__free(p);
        se__free(idle);
        return se__error_nomem();
    }
    p->options = *options;
    snprintf(p->name, sizeof p->name, "%s", options->name);
    p->idle = idle;
    p->last = &p->first;
    se__mutex_init(&p->lock);
    se__cond_init(&p->work);
    se__cond_init(&p->empty);
    se_result r = se__thread_start(&p->thread, p->name, run, p);
    if (r != SE_OK) {
        free_pool(p);
        return r;
    }
    *pool = p;
    return SE_OK;
}

void se__pool_close(struct pool *p)
{
    if (!p)
        return;
    se__mutex_lock(&p->lock);
    p->stopping = true;
    fail_waiters_before(p, UINT64_MAX, SE_ERR_STATE);
    se__cond_signal(&p->work);
    while (p->taken > 0 || p->inside > 0)
        se__cond_wait(&p->empty, &p->lock);
    se__mutex_unlock(&p->lock);
    se__thread_join(&p->thread);
    se__pool_drop_idle(p); /* what the thread opened last included */
    free_pool(p);
}

/* ---- taking and giving ---- */

static bool is_broken(const struct pool *p, void *connection)
{
    return p->options.broken(p->options.arg, connection);
}

/* Ends a connection that counts as taken; unlocked meanwhile. */
static void discard(struct pool *p, void *connection)
{
    se__mutex_unlock(&p->lock);
    p->options.close(p->options.arg, connection);
    se__mutex_lock(&p->lock);
    p->taken--;
    se__cond_signal(&p->work);
    se__cond_signal(&p->empty);
}

/* An idle connection that still lives, counted as taken, or NULL. */
static void *take_idle(struct pool *p)
{
    while (p->idle_n > 0 && !p->stopping) {
        void *connection = p->idle[--p->idle_n];
        p->taken++;
        if (!p->options.broken)
            return connection;
        se__mutex_unlock(&p->lock);
        bool broken = is_broken(p, connection);
        se__mutex_lock(&p->lock);
        if (!broken)
            return connection;
        discard(p, connection);
    }
    return NULL;
}

static se_result wait_for_one(struct pool *p, uint64_t deadline_ms, void **connection)
{
    struct waiter w = {.result = SE_PENDING};
    se__cond_init(&w.ready);
    queue_waiter(p, &w);
    se__cond_signal(&p->work);
    bool in_time = true;
    while (w.result == SE_PENDING && in_time)
        in_time = se__cond_wait_until(&w.ready, &p->lock, deadline_ms);
    if (w.result == SE_PENDING) {
        unqueue_waiter(p, &w);
        w.result = SE_ERR_TIMEOUT;
    }
    se__cond_done(&w.ready);
    *connection = w.connection;
    return w.result;
}

/* The text belongs to the taker's thread, the failure happened on the pool's. */
static se_result tell(const struct pool *p, se_result r)
{
    if (r == SE_OK)
        return r;
    if (r == SE_ERR_TIMEOUT)
        return se__error(r, "%s: no free connection in time%s%s", p->name,
                         p->error[0] ? "; the last attempt to connect: " : "", p->error);
    if (r == SE_ERR_STATE)
        return se__error(r, "%s: closing", p->name);
    return se__error(r, "%s", p->error);
}

se_result se__pool_take(struct pool *p, uint64_t deadline_ms, void **connection)
{
    se__mutex_lock(&p->lock);
    p->inside++;
    se_result r = SE_OK;
    void *c = take_idle(p);
    if (!c)
        r = p->stopping ? SE_ERR_STATE : wait_for_one(p, deadline_ms, &c);
    r = tell(p, r);
    p->inside--;
    if (p->stopping)
        se__cond_signal(&p->empty);
    se__mutex_unlock(&p->lock);
    if (r == SE_OK)
        *connection = c;
    return r;
}

unsigned se__pool_waiting(struct pool *p)
{
    unsigned n = 0;
    se__mutex_lock(&p->lock);
    for (const struct waiter *w = p->first; w; w = w->next)
        n++;
    se__mutex_unlock(&p->lock);
    return n;
}

void se__pool_give(struct pool *p, void *connection, bool broken)
{
    se__mutex_lock(&p->lock);
    if (broken || p->stopping) {
        discard(p, connection);
    } else {
        p->taken--;
        hand_over(p, connection);
    }
    se__mutex_unlock(&p->lock);
}

void se__pool_drop_idle(struct pool *p)
{
    se__mutex_lock(&p->lock);
    for (unsigned n = p->idle_n; n > 0 && p->idle_n > 0; n--) {
        void *connection = p->idle[--p->idle_n];
        p->taken++;
        discard(p, connection);
    }
    se__mutex_unlock(&p->lock);
}
