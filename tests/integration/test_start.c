/*
 * The engine's start, with its background threads held where they could miss each other.
 *
 * The functions that src/engine/keeper.c starts and waits with are wrapped (meson.build): who runs in a thread is known by the
 * name that the engine gives it.
 */
#include "base/os.h"
#include "flush/worker.h"
#include "integration/stand.h"
#include "support/must.h"
#include "support/test.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

static const struct shape cached = {"redis+sqlite", SQLITE, true, false};

enum role { OTHER, HOME, CACHE };
static _Thread_local enum role role;
static _Thread_local bool
    looks; /* home's: attached, and about to look whether the cache has started */
static _Thread_local unsigned locks;

struct beginning {
    void (*run)(void *arg);
    void *arg;
    enum role role;
};
static struct {
    struct beginning beginnings[16];
    unsigned begun; /* the opening thread's */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool cache_may_begin;
    struct se__mutex *cache_rests; /* the mutex it waits with */
} held = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

se_result __real_se__thread_start(struct se__thread *t, const char *name, void (*run)(void *),
                                  void *arg);
se_result __wrap_se__thread_start(struct se__thread *t, const char *name, void (*run)(void *),
                                  void *arg);
void __real_se__worker_wake(struct worker *w);
void __wrap_se__worker_wake(struct worker *w);
void __real_se__mutex_lock(struct se__mutex *m);
void __wrap_se__mutex_lock(struct se__mutex *m);
bool __real_se__cond_wait_until(struct se__cond *c, struct se__mutex *m, uint64_t deadline_ms);
bool __wrap_se__cond_wait_until(struct se__cond *c, struct se__mutex *m, uint64_t deadline_ms);

static void let_the_cache_begin(void)
{
    pthread_mutex_lock(&held.lock);
    held.cache_may_begin = true;
    pthread_cond_broadcast(&held.changed);
    pthread_mutex_unlock(&held.lock);
}

static void await_the_cache(const struct se__mutex *rests)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&held.lock);
    while (held.cache_rests != rests)
        MUST(pthread_cond_timedwait(&held.changed, &held.lock, &until) == 0,
             "the cache's keeper does not rest");
    pthread_mutex_unlock(&held.lock);
}

static void begin(void *arg)
{
    const struct beginning *b = arg;
    role = b->role;
    pthread_mutex_lock(&held.lock);
    while (role == CACHE && !held.cache_may_begin)
        pthread_cond_wait(&held.changed, &held.lock);
    pthread_mutex_unlock(&held.lock);
    b->run(b->arg);
}

se_result __wrap_se__thread_start(struct se__thread *t, const char *name, void (*run)(void *),
                                  void *arg)
{
    struct beginning *b = &held.beginnings[held.begun++];
    MUST(held.begun < sizeof held.beginnings / sizeof *held.beginnings, "too many threads");
    *b = (struct beginning){.run = run, .arg = arg};
    if (strcmp(name, "se-home") == 0)
        b->role = HOME;
    if (strcmp(name, "se-redis") == 0)
        b->role = CACHE;
    return __real_se__thread_start(t, name, begin, b);
}

void __wrap_se__worker_wake(struct worker *w)
{
    __real_se__worker_wake(w);
    looks = role == HOME;
    locks = 0;
}

/* The second lock is behind the look: "not yet" was seen, and the cache starts before home waits. */
void __wrap_se__mutex_lock(struct se__mutex *m)
{
    if (looks && ++locks == 2) {
        looks = false;
        let_the_cache_begin();
        await_the_cache(m);
    }
    __real_se__mutex_lock(m);
}

bool __wrap_se__cond_wait_until(struct se__cond *c, struct se__mutex *m, uint64_t deadline_ms)
{
    if (looks) { /* it looks and waits under one lock */
        looks = false;
        let_the_cache_begin();
    }
    if (role == CACHE) {
        pthread_mutex_lock(&held.lock);
        held.cache_rests = m;
        pthread_cond_broadcast(&held.changed);
        pthread_mutex_unlock(&held.lock);
    }
    return __real_se__cond_wait_until(c, m, deadline_ms);
}

Test(start, a_cache_that_starts_while_home_looks_for_it_is_used)
{
    struct stand s;
    se_item_status status;
    stand_make(&s, &cached);
    s.e = bed_open(&s.bed);
    bed_put(s.e, "x", "in every tier");
    stand_flush(&s);
    cr_assert(held.cache_may_begin, "the cache was held until home looked");
    cr_assert_eq(se_status(s.e, "x", &status), SE_OK);
    cr_assert(status.in_l2 && status.in_l3);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}
