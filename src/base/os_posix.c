/*
 * os_posix - time, locks, threads, randomness and file locks by POSIX and Linux.
 *
 * Calls that can only fail through a bug of ours (a lock that is not one) are asserted, not
 * reported.
 */
#include "base/os.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static void must(int rc)
{
    assert(rc == 0);
    (void)rc;
}

/* ---- time ---- */

uint64_t se__mono_ns(void)
{
    struct timespec t;
    must(clock_gettime(CLOCK_MONOTONIC, &t));
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t se__mono_ms(void)
{
    return se__mono_ns() / 1000000u;
}

uint64_t se__mono_ms_coarse(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    struct timespec t;
    must(clock_gettime(CLOCK_MONOTONIC_COARSE, &t));
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
#else
    return se__mono_ms();
#endif
}

int64_t se__wall_ms(void)
{
    struct timespec t;
    must(clock_gettime(CLOCK_REALTIME, &t));
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
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

void se__mutex_init(struct se__mutex *m)
{
    must(pthread_mutex_init(&m->m, NULL));
}

void se__mutex_done(struct se__mutex *m)
{
    must(pthread_mutex_destroy(&m->m));
}

void se__mutex_lock(struct se__mutex *m)
{
    must(pthread_mutex_lock(&m->m));
}

void se__mutex_unlock(struct se__mutex *m)
{
    must(pthread_mutex_unlock(&m->m));
}

void se__cond_init(struct se__cond *c)
{
    /* The clock is set here and not given to each wait (pthread_cond_clockwait): thread sanitizers
     * of the compilers we build with know this form only. */
    pthread_condattr_t attr;
    must(pthread_condattr_init(&attr));
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    must(pthread_cond_init(&c->c, &attr));
    must(pthread_condattr_destroy(&attr));
}

void se__cond_done(struct se__cond *c)
{
    must(pthread_cond_destroy(&c->c));
}

void se__cond_wait(struct se__cond *c, struct se__mutex *m)
{
    must(pthread_cond_wait(&c->c, &m->m));
}

bool se__cond_wait_until(struct se__cond *c, struct se__mutex *m, uint64_t deadline_ms)
{
    if (deadline_ms == SE__FOREVER) {
        se__cond_wait(c, m);
        return true;
    }
    struct timespec t = {.tv_sec = (time_t)(deadline_ms / 1000),
                         .tv_nsec = (long)(deadline_ms % 1000) * 1000000};
    int rc = pthread_cond_timedwait(&c->c, &m->m, &t);
    assert(rc == 0 || rc == ETIMEDOUT);
    return rc != ETIMEDOUT;
}

void se__cond_signal(struct se__cond *c)
{
    must(pthread_cond_signal(&c->c));
}

void se__cond_broadcast(struct se__cond *c)
{
    must(pthread_cond_broadcast(&c->c));
}

/* ---- threads ---- */

#define THREAD_NAME_SIZE 16 /* the kernel's limit, NUL included */

/* Set at most once, before the first thread: se_set_thread_hook. */
static struct {
    se_thread_fn fn;
    void *arg;
} thread_hook;
enum { HOOK_OPEN, HOOK_BEING_SET, HOOK_SET, HOOK_NONE };
static _Atomic int thread_hook_state;

se_result se_set_thread_hook(se_thread_fn fn, void *arg)
{
    if (!fn)
        return se__error(SE_ERR_INVALID, "thread hook: fn is NULL");
    int open = HOOK_OPEN;
    if (!atomic_compare_exchange_strong(&thread_hook_state, &open, HOOK_BEING_SET))
        return se__error(SE_ERR_STATE,
                         "thread hook: this process has set one, or the library has threads");
    thread_hook.fn = fn;
    thread_hook.arg = arg;
    atomic_store(&thread_hook_state,
                 HOOK_SET); /* seq_cst: the hook is there before anybody calls it */
    return SE_OK;
}

/* The first thread decides. A hook that is being set by another thread at this moment is not waited for. */
static bool has_thread_hook(void)
{
    int state = HOOK_OPEN;
    (void)atomic_compare_exchange_strong(&thread_hook_state, &state, HOOK_NONE);
    return state == HOOK_SET;
}

struct start {
    void (*run)(void *);
    void *arg;
    char name[THREAD_NAME_SIZE];
    bool hooked; /* then the starter waits until it is known whether the thread can be used */
    bool refused;
    sem_t known;
};

static bool call_hook(struct start *start)
{
    bool fine = thread_hook.fn(thread_hook.arg, start->name);
    start->refused = !fine;
    must(sem_post(&start->known)); /* `start` is the starter's from here on */
    return fine;
}

static void *thread_main(void *p)
{
    struct start *start = p;
    void (*run)(void *) = start->run;
    void *arg = start->arg;
    bool hooked = start->hooked; /* once the hook is through, `start` is the starter's */
    /* a name is a comfort: not worth failing for */
    pthread_setname_np(pthread_self(), start->name);
    if (hooked && !call_hook(start))
        return NULL;
    if (!hooked)
        se__free(start);
    run(arg);
    return NULL;
}

static se_result await_hook(struct se__thread *t, struct start *start)
{
    while (sem_wait(&start->known) != 0)
        continue; /* a signal */
    se_result r = SE_OK;
    if (start->refused) {
        must(pthread_join(t->t, NULL));
        r = se__error(SE_ERR_STATE, "the thread hook refuses %s", start->name);
    }
    must(sem_destroy(&start->known));
    se__free(start);
    return r;
}

se_result se__thread_start(struct se__thread *t, const char *name, void (*run)(void *), void *arg)
{
    t->started = false;
    struct start *start = se__alloc_zeroed(1, sizeof *start);
    if (!start)
        return se__error_nomem();
    *start = (struct start){.run = run, .arg = arg, .hooked = has_thread_hook()};
    memcpy(start->name, name, strnlen(name, THREAD_NAME_SIZE - 1));
    if (start->hooked)
        must(sem_init(&start->known, 0, 0));
    bool hooked = start->hooked;
    /* Signals are the host program's: none may pick a thread of ours to run its
     * handler. The mask is inherited. */
    sigset_t all, before;
    sigfillset(&all);
    must(pthread_sigmask(SIG_SETMASK, &all, &before));
    int rc = pthread_create(&t->t, NULL, thread_main, start);
    must(pthread_sigmask(SIG_SETMASK, &before, NULL));
    if (rc != 0) {
        se__free(start);
        return se__error(SE_ERR_NOMEM, "no thread to be had (%s)", strerror(rc));
    }
    se_result r = hooked ? await_hook(t, start) : SE_OK;
    t->started = r == SE_OK;
    return r;
}

void se__thread_join(struct se__thread *t)
{
    if (!t->started)
        return;
    must(pthread_join(t->t, NULL));
    t->started = false;
}

_Thread_local uint64_t se__thread_number;
static _Atomic uint64_t last_thread;

uint64_t se__thread_count(void)
{
    /* Counted and not gettid(): small numbers spread evenly over stripes. Two engines may
     * share it, it is only a name. */
    se__thread_number = atomic_fetch_add(&last_thread, 1) + 1; /* seq_cst: base/epoch.c */
    return se__thread_number;
}

uint64_t se__thread_total(void)
{
    return atomic_load(&last_thread);
}

void se__pause_ms(uint32_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        continue;
}

/* ---- randomness ---- */

/* splitmix64 (Steele, Lea, Flood 2014): spreads what little the fallback has. */
static uint64_t mixed(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* For systems without a generator (seccomp, very old kernels): differs
 * per process, thread and moment. */
static void fill_from_clock(uint8_t *at, size_t left)
{
    uint64_t state = se__mono_ns() ^ ((uint64_t)se__wall_ms() << 20) ^ ((uint64_t)getpid() << 44) ^
                     (uint64_t)(uintptr_t)&state ^ (uint64_t)(uintptr_t)at;
    while (left > 0) {
        uint64_t word = mixed(&state);
        size_t n = left < sizeof word ? left : sizeof word;
        memcpy(at, &word, n);
        at += n;
        left -= n;
    }
}

void se__random_bytes(void *buf, size_t len)
{
    uint8_t *at = buf;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            fill_from_clock(at, len);
            return;
        }
        at += n;
        len -= (size_t)n;
    }
}

uint64_t se__random_u64(void)
{
    uint64_t word;
    se__random_bytes(&word, sizeof word);
    return word;
}

/* ---- files ---- */

se_result se__filelock_open(const char *path, int *fd)
{
    int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (f < 0)
        return se__error(SE_ERR_IO, "cannot open the lock file %s: %s", path, strerror(errno));
    /* Of the open file description, not of the process: two engines in one process exclude each
     * other too, and closing another descriptor of the file does not drop it. */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc;
    se_result known = se__fork_closes(f);
    if (known != SE_OK) {
        close(f);
        return known;
    }
    do
        rc = fcntl(f, F_OFD_SETLK, &lock);
    while (rc != 0 && errno == EINTR);
    if (rc == 0) {
        *fd = f;
        return SE_OK;
    }
    int error = errno;
    se__fork_closes_no_more(f);
    close(f);
    if (error == EAGAIN || error == EACCES)
        return se__error(SE_ERR_STATE, "%s is locked by another engine", path);
    return se__error(SE_ERR_IO, "cannot lock %s: %s", path, strerror(error));
}

void se__filelock_close(int fd)
{
    if (fd < 0)
        return;
    se__fork_closes_no_more(fd);
    /* Closing would do, but for a child of a bare clone(), which has run no handler. */
    struct flock unlock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    (void)fcntl(fd, F_OFD_SETLK, &unlock);
    close(fd);
}
