/*
 * os.c - base/os.h over the simulated world: takes the place of os_posix.c, os_fork.c and os_net.c
 * when the simulator is linked.
 *
 * A lock and a condition fit into the pthread types that the header reserves. Every lock may let
 * others go first; every wait is virtual. There are no sockets: backends are replaced as tiers.
 */
#include "base/os.h"

#include "base/mem.h"
#include "sim/sched.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CALL_NS 20

/* ---- time ---- */

uint64_t se__mono_ns(void)
{
    sim_tick_ns(CALL_NS);
    return sim_now_ns();
}

uint64_t se__mono_ms(void)
{
    return se__mono_ns() / 1000000u;
}

int64_t se__wall_ms(void)
{
    sim_tick_ns(CALL_NS);
    return sim_wall_ms();
}

uint64_t se__deadline_in(uint64_t ms)
{
    uint64_t deadline;
    return __builtin_add_overflow(se__mono_ms(), ms, &deadline) ? SE__FOREVER : deadline;
}

uint64_t se__deadline_left(uint64_t deadline_ms)
{
    if (deadline_ms == SE__FOREVER)
        return SE__FOREVER;
    uint64_t now = se__mono_ms();
    return now >= deadline_ms ? 0 : deadline_ms - now;
}

/* ---- locks ---- */

struct lock {
    uint64_t owner; /* a task's id; 0: free */
    unsigned waiting;
};
static_assert(sizeof(struct lock) <= sizeof(struct se__mutex), "a lock fits where a mutex does");

static struct lock *lock_of(struct se__mutex *m)
{
    return (struct lock *)(void *)m;
}

void se__mutex_init(struct se__mutex *m)
{
    memset(m, 0, sizeof *m);
}

void se__mutex_done(struct se__mutex *m)
{
    if (lock_of(m)->owner)
        sim_fail("a lock is destroyed while it is held");
}

static void acquire(struct lock *l)
{
    while (l->owner) {
        if (l->owner == sim_task_id())
            sim_fail("%s takes a lock that it holds", sim_task_name());
        l->waiting++;
        (void)sim_wait(l, SIM_FOREVER);
        l->waiting--;
    }
    l->owner = sim_task_id();
}

static void give_up(struct lock *l)
{
    if (l->owner != sim_task_id())
        sim_fail("%s gives up a lock that it does not hold", sim_task_name());
    l->owner = 0;
    if (l->waiting)
        sim_wake_all(l);
}

void se__mutex_lock(struct se__mutex *m)
{
    sim_maybe_preempt();
    acquire(lock_of(m));
}

void se__mutex_unlock(struct se__mutex *m)
{
    give_up(lock_of(m));
}

void se__cond_init(struct se__cond *c)
{
    memset(c, 0, sizeof *c);
}

void se__cond_done(struct se__cond *c)
{
    (void)c;
}

void se__cond_wait(struct se__cond *c, struct se__mutex *m)
{
    (void)se__cond_wait_until(c, m, SE__FOREVER);
}

/* Now and then it wakes for nothing, as the contract allows. */
bool se__cond_wait_until(struct se__cond *c, struct se__mutex *m, uint64_t deadline_ms)
{
    uint64_t until = deadline_ms == SE__FOREVER || deadline_ms > SIM_FOREVER / 1000000
                         ? SIM_FOREVER
                         : deadline_ms * 1000000;
    if (until <= sim_now_ns()) {
        give_up(lock_of(m));
        sim_yield();
        acquire(lock_of(m));
        return false;
    }
    give_up(lock_of(m));
    bool in_time = true;
    if (sim_pick(64) == 0)
        sim_yield();
    else
        in_time = sim_wait(c, until);
    acquire(lock_of(m));
    return in_time;
}

void se__cond_signal(struct se__cond *c)
{
    sim_wake_one(c);
}

void se__cond_broadcast(struct se__cond *c)
{
    sim_wake_all(c);
}

/* ---- bells ---- */

uint32_t se__bell_heard(const struct se__bell *b)
{
    sim_maybe_preempt();
    return b->rings;
}

/* Now and then it stops waiting for nothing, as the contract allows. */
bool se__bell_wait(struct se__bell *b, uint32_t heard, uint64_t deadline_ms)
{
    uint64_t until = deadline_ms == SE__FOREVER || deadline_ms > SIM_FOREVER / 1000000
                         ? SIM_FOREVER
                         : deadline_ms * 1000000;
    if (b->rings != heard)
        return true;
    if (until <= sim_now_ns()) {
        sim_yield();
        return b->rings != heard;
    }
    if (sim_pick(64) == 0) {
        sim_yield();
        return true;
    }
    return sim_wait(b, until);
}

void se__bell_ring(struct se__bell *b)
{
    sim_maybe_preempt();
    b->rings++;
    sim_wake_all(b);
}

/* ---- threads ---- */

static struct task **task_of(struct se__thread *t)
{
    static_assert(sizeof(struct task *) <= sizeof t->t, "a task fits where a thread does");
    return (struct task **)(void *)&t->t;
}

se_result se__thread_start(struct se__thread *t, const char *name, void (*run)(void *), void *arg)
{
    *task_of(t) = sim_spawn(name, run, arg);
    t->started = true;
    return SE_OK;
}

void se__thread_join(struct se__thread *t)
{
    if (!t->started)
        return;
    sim_join(*task_of(t));
    t->started = false;
}

/* Stays 0: tasks share a thread, so each call asks whose turn it is. */
_Thread_local uint64_t se__thread_number;

uint64_t se__thread_count(void)
{
    return sim_task_id();
}

uint64_t se__thread_total(void)
{
    return UINT64_MAX; /* any task may have run */
}

void se__pause_ms(uint32_t ms)
{
    sim_sleep_ms(ms);
}

/* ---- huge pages ---- */

bool se__huge_pages_allowed(void)
{
    return false;
}

bool se__huge_page_make(uintptr_t at)
{
    (void)at;
    return false;
}

/* ---- randomness ---- */

void se__random_bytes(void *buf, size_t len)
{
    uint8_t *at = buf;
    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)sim_random();
}

uint64_t se__random_u64(void)
{
    return sim_random();
}

/* ---- forked children: there are none ---- */

/* A simulated process does not fork. */
se_result se__fork_takes(struct se__fork_locks *l)
{
    (void)l;
    return SE_OK;
}

se_result se__forkword_open(struct se__forkword *f)
{
    uint32_t *word = se__alloc(sizeof *word);
    if (!word)
        return se__error_nomem();
    *word = 1;
    f->word = word;
    return SE_OK;
}

se_result se__forkword_open_by_handler(struct se__forkword *f)
{
    return se__forkword_open(f);
}

void se__forkword_close(struct se__forkword *f)
{
    se__free((void *)(uintptr_t)f->word);
    f->word = NULL;
}

/* ---- sockets: there are none ---- */

se_result se__net_connect(const char *host, uint16_t port, const char *path, uint64_t deadline_ms,
                          int *fd)
{
    (void)host, (void)port, (void)path, (void)deadline_ms, (void)fd;
    abort();
}

se_result se__net_write(int fd, const void *buf, size_t len, uint64_t deadline_ms)
{
    (void)fd, (void)buf, (void)len, (void)deadline_ms;
    abort();
}

se_result se__net_read(int fd, void *buf, size_t cap, uint64_t deadline_ms, size_t *len)
{
    (void)fd, (void)buf, (void)cap, (void)deadline_ms, (void)len;
    abort();
}

void se__net_close(int fd)
{
    (void)fd;
}

void se__net_shutdown(int fd)
{
    (void)fd;
}

bool se__net_idle_broken(int fd)
{
    (void)fd;
    return false;
}
