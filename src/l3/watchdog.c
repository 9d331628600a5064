/*
 * watchdog - shuts sockets down when their deadline comes.
 *
 * Arming wakes the thread only if its present sleep would be too long: deadlines mostly grow, so
 * that it wakes about once a timeout, finds nothing due, and sleeps until the next one.
 */
#include "l3/watchdog.h"

#include "base/mem.h"

struct watchdog {
    struct se__mutex lock; /* guards all below, and the watches in the list; leaf */
    struct se__cond wake;
    struct watch *first;
    uint64_t sleeps_until_ms;
    bool stopping;
    struct se__thread thread;
};

static void unlink_locked(struct watch *watch)
{
    *watch->at = watch->next;
    if (watch->next)
        watch->next->at = watch->at;
    watch->at = NULL;
}

static void strike_locked(struct watch *watch)
{
    watch->struck = true;
    se__net_shutdown(watch->fd);
    unlink_locked(watch);
}

/* Strikes what is due and returns the earliest deadline of the rest. */
static uint64_t look_locked(struct watchdog *w, uint64_t now_ms)
{
    uint64_t earliest = SE__FOREVER;
    for (struct watch *watch = w->first, *next; watch; watch = next) {
        next = watch->next;
        if (watch->deadline_ms <= now_ms) {
            strike_locked(watch);
        } else if (watch->deadline_ms < earliest) {
            earliest = watch->deadline_ms;
        }
    }
    return earliest;
}

static void run(void *arg)
{
    struct watchdog *w = arg;
    se__mutex_lock(&w->lock);
    while (!w->stopping) {
        w->sleeps_until_ms = look_locked(w, se__mono_ms());
        if (w->sleeps_until_ms == SE__FOREVER)
            se__cond_wait(&w->wake, &w->lock);
        else
            se__cond_wait_until(&w->wake, &w->lock, w->sleeps_until_ms);
    }
    se__mutex_unlock(&w->lock);
}

se_result se__watchdog_open(struct watchdog **watchdog)
{
    struct watchdog *w = se__alloc_zeroed(1, sizeof *w);
    if (!w)
        return se__error_nomem();
    se__mutex_init(&w->lock);
    se__cond_init(&w->wake);
    w->sleeps_until_ms = SE__FOREVER;
    se_result r = se__thread_start(&w->thread, "se-sql-watch", run, w);
    if (r != SE_OK) {
        se__watchdog_close(w);
        return r;
    }
    *watchdog = w;
    return SE_OK;
}

void se__watchdog_close(struct watchdog *w)
{
    if (!w)
        return;
    se__mutex_lock(&w->lock);
    w->stopping = true;
    se__cond_signal(&w->wake);
    se__mutex_unlock(&w->lock);
    se__thread_join(&w->thread);
    se__cond_done(&w->wake);
    se__mutex_done(&w->lock);
    se__free(w);
}

void se__watchdog_arm(struct watchdog *w, struct watch *watch, int fd, uint64_t deadline_ms)
{
    *watch = (struct watch){.deadline_ms = deadline_ms, .fd = fd};
    se__mutex_lock(&w->lock);
    watch->next = w->first;
    watch->at = &w->first;
    if (w->first)
        w->first->at = &watch->next;
    w->first = watch;
    if (deadline_ms < w->sleeps_until_ms)
        se__cond_signal(&w->wake);
    se__mutex_unlock(&w->lock);
}

void se__watchdog_strike(struct watchdog *w)
{
    se__mutex_lock(&w->lock);
    while (w->first)
        strike_locked(w->first);
    se__mutex_unlock(&w->lock);
}

bool se__watchdog_disarm(struct watchdog *w, struct watch *watch)
{
    se__mutex_lock(&w->lock);
    if (watch->at)
        unlink_locked(watch);
    bool struck = watch->struck;
    se__mutex_unlock(&w->lock);
    return struck;
}
