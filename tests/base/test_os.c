/* Time, locks, threads, randomness, file locks. */
#include "base/mem.h"
#include "base/os.h"
#include "support/test.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

Test(time, mono_never_goes_back_and_wall_is_now)
{
    uint64_t last = se__mono_ns();
    for (int i = 0; i < 100000; i++) {
        uint64_t now = se__mono_ns();
        cr_assert_geq(now, last);
        last = now;
    }
    cr_assert_leq(se__mono_ms(), se__mono_ns() / 1000000);
    cr_assert_gt(se__wall_ms(), INT64_C(1600000000000)); /* September 2020 */
}

Test(time, deadlines_saturate)
{
    cr_assert_eq(se__deadline_in(UINT64_MAX), SE__FOREVER);
    cr_assert_eq(se__deadline_in(UINT64_MAX - 1), SE__FOREVER);
    cr_assert_eq(se__deadline_left(SE__FOREVER), SE__FOREVER);
    cr_assert_eq(se__deadline_left(0), 0u);
    uint64_t d = se__deadline_in(100000);
    cr_assert(se__deadline_left(d) <= 100000 && se__deadline_left(d) > 50000);
}

/* ---- locks ---- */

struct box {
    struct se__mutex lock;
    struct se__cond changed;
    int value; /* guarded by lock */
    int wakeups;
};

static void box_init(struct box *b)
{
    *b = (struct box){.value = 0};
    se__mutex_init(&b->lock);
    se__cond_init(&b->changed);
}

static void box_done(struct box *b)
{
    se__cond_done(&b->changed);
    se__mutex_done(&b->lock);
}

static void count_up(void *arg)
{
    struct box *b = arg;
    for (int i = 0; i < 50000; i++) {
        se__mutex_lock(&b->lock);
        b->value++;
        se__mutex_unlock(&b->lock);
    }
}

Test(lock, excludes)
{
    struct box b;
    struct se__thread t[4];
    box_init(&b);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(se__thread_start(&t[i], "count", count_up, &b), SE_OK);
    for (int i = 0; i < 4; i++)
        se__thread_join(&t[i]);
    cr_assert_eq(b.value, 200000);
    box_done(&b);
}

Test(cond, a_passed_deadline_returns_false_at_once_or_in_time)
{
    struct box b;
    box_init(&b);
    se__mutex_lock(&b.lock);
    cr_assert_not(se__cond_wait_until(&b.changed, &b.lock, 0));
    uint64_t deadline = se__deadline_in(30);
    while (se__cond_wait_until(&b.changed, &b.lock, deadline))
        continue;
    cr_assert_geq(se__mono_ms(), deadline); /* mono time, never early */
    se__mutex_unlock(&b.lock);
    box_done(&b);
}

static void wait_for_value(void *arg)
{
    struct box *b = arg;
    /* and one so late that it must not overflow */
    uint64_t deadline = SE__FOREVER - (se__thread_id() & 1);
    se__mutex_lock(&b->lock);
    while (b->value == 0)
        if (!se__cond_wait_until(&b->changed, &b->lock, deadline))
            abort();
    b->wakeups++;
    se__mutex_unlock(&b->lock);
}

Test(cond, broadcast_wakes_all_and_forever_is_no_deadline)
{
    struct box b;
    struct se__thread t[3];
    box_init(&b);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(se__thread_start(&t[i], "wait", wait_for_value, &b), SE_OK);
    se__mutex_lock(&b.lock);
    b.value = 1;
    se__cond_broadcast(&b.changed);
    se__mutex_unlock(&b.lock);
    for (int i = 0; i < 3; i++)
        se__thread_join(&t[i]);
    cr_assert_eq(b.wakeups, 3);
    box_done(&b);
}

static void pass_the_ball(void *arg)
{
    struct box *b = arg;
    se__mutex_lock(&b->lock);
    for (int i = 0; i < 1000; i++) {
        while (b->value % 2 == 0)
            se__cond_wait(&b->changed, &b->lock);
        b->value++;
        se__cond_signal(&b->changed);
    }
    se__mutex_unlock(&b->lock);
}

Test(cond, signal_reaches_the_waiter)
{
    struct box b;
    struct se__thread t;
    box_init(&b);
    cr_assert_eq(se__thread_start(&t, "ball", pass_the_ball, &b), SE_OK);
    se__mutex_lock(&b.lock);
    for (int i = 0; i < 1000; i++) {
        while (b.value % 2 == 1)
            cr_assert(se__cond_wait_until(&b.changed, &b.lock, se__deadline_in(60000)),
                      "the ball is lost");
        b.value++;
        se__cond_signal(&b.changed);
    }
    se__mutex_unlock(&b.lock);
    se__thread_join(&t);
    cr_assert_eq(b.value, 2000);
    box_done(&b);
}

/* ---- bells ---- */

Test(bell, a_passed_deadline_returns_false_at_once_or_in_time)
{
    struct se__bell b = {0};
    cr_assert_not(se__bell_wait(&b, se__bell_heard(&b), 0));
    uint64_t deadline = se__deadline_in(30);
    while (se__bell_wait(&b, se__bell_heard(&b), deadline))
        continue;
    cr_assert_geq(se__mono_ms(), deadline);
}

Test(bell, one_that_has_rung_since_is_not_waited_for)
{
    struct se__bell b = {0};
    uint32_t heard = se__bell_heard(&b);
    se__bell_ring(&b);
    cr_assert_neq(se__bell_heard(&b), heard);
    cr_assert(se__bell_wait(&b, heard, SE__FOREVER));
}

struct crossing {
    struct se__bell bell, answer;
    _Atomic int round, arrived;
};

static void cross(void *arg)
{
    struct crossing *c = arg;
    for (int round = 1; round <= 500; round++) {
        for (;;) {
            uint32_t heard = se__bell_heard(&c->bell);
            if (atomic_load_explicit(&c->round, memory_order_acquire) >= round)
                break;
            if (!se__bell_wait(&c->bell, heard, SE__FOREVER - (se__thread_id() & 1)))
                abort();
        }
        atomic_fetch_add_explicit(&c->arrived, 1, memory_order_release);
        se__bell_ring(&c->answer);
    }
}

/* A wake-up that is lost, for one of them, ends this by the deadline. */
Test(bell, wakes_all_who_wait_every_time)
{
    struct crossing c = {{0}, {0}, 0, 0};
    struct se__thread t[3];
    uint64_t deadline = se__deadline_in(60000);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(se__thread_start(&t[i], "cross", cross, &c), SE_OK);
    for (int round = 1; round <= 500; round++) {
        atomic_store_explicit(&c.round, round, memory_order_release);
        se__bell_ring(&c.bell);
        for (;;) {
            uint32_t heard = se__bell_heard(&c.answer);
            if (atomic_load_explicit(&c.arrived, memory_order_acquire) == 3 * round)
                break;
            cr_assert(se__bell_wait(&c.answer, heard, deadline), "a ring is lost");
        }
    }
    for (int i = 0; i < 3; i++)
        se__thread_join(&t[i]);
}

/* ---- threads ---- */

struct looked {
    char name[32];
    bool blocked;
    uint64_t id;
};

static void look_around(void *arg)
{
    struct looked *l = arg;
    sigset_t mask;
    pthread_getname_np(pthread_self(), l->name, sizeof l->name);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    l->blocked = sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) &&
                 sigismember(&mask, SIGALRM) && sigismember(&mask, SIGPIPE);
    l->id = se__thread_id();
}

Test(thread, has_a_name_an_id_and_no_signals)
{
    struct looked a = {0}, b = {0};
    struct se__thread t;
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    cr_assert_eq(se__thread_start(&t, "a-name-longer-than-15-bytes", look_around, &a), SE_OK);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    se__thread_join(&t);
    se__thread_join(&t); /* joined already: nothing */
    cr_assert_str_eq(a.name, "a-name-longer-t");
    cr_assert(a.blocked);
    cr_assert_eq(sigismember(&after, SIGINT),
                 sigismember(&before, SIGINT)); /* the caller's mask is as it was */
    cr_assert_eq(se__thread_start(&t, "b", look_around, &b), SE_OK);
    se__thread_join(&t);
    cr_assert_str_eq(b.name, "b");
    cr_assert(a.id != b.id && a.id != se__thread_id() && b.id != se__thread_id());
    cr_assert_eq(se__thread_id(), se__thread_id());
    struct se__thread never = {.started = false};
    se__thread_join(&never);
}

Test(thread, no_memory_is_an_error)
{
    if (!se__mem_fail_after(0))
        cr_skip_test("compiled out of release builds");
    struct se__thread t;
    struct looked a;
    se_result r = se__thread_start(&t, "x", look_around, &a);
    se__mem_fail_after(-1);
    cr_assert_eq(r, SE_ERR_NOMEM);
    se__thread_join(&t);
}

Test(thread, pause_is_not_shorter)
{
    uint64_t until = se__mono_ns() + 20000000u;
    se__pause_ms(20);
    cr_assert_geq(se__mono_ns(), until);
    se__pause_ms(0);
}

/* ---- randomness ---- */

Test(random, differs_and_fills_all)
{
    cr_assert_neq(se__random_u64(), se__random_u64());
    uint8_t bytes[1000], seen[1000] = {0};
    for (int round = 0; round < 20; round++) {
        se__random_bytes(bytes, sizeof bytes);
        for (size_t i = 0; i < sizeof bytes; i++)
            seen[i] |= bytes[i];
    }
    for (size_t i = 0; i < sizeof seen; i++)
        cr_assert_neq(seen[i], 0);
    se__random_bytes(bytes, 0);
}

/* ---- files ---- */

Test(filelock, excludes_within_the_process_and_beyond)
{
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/se_lock_%d", (int)getpid());
    int first, second = -7;
    cr_assert_eq(se__filelock_open(path, &first), SE_OK);
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600u);
    cr_assert_eq(se__filelock_open(path, &second), SE_ERR_STATE);
    cr_assert_eq(second, -7);
    pid_t child = fork();
    if (child == 0) {
        int fd;
        _exit(se__filelock_open(path, &fd) == SE_ERR_STATE ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    se__filelock_close(first);
    cr_assert_eq(se__filelock_open(path, &second), SE_OK);
    se__filelock_close(second);
    se__filelock_close(-1);
    cr_assert_eq(stat(path, &st), 0); /* left in place */
    unlink(path);
}

Test(filelock, a_child_that_lives_on_does_not_keep_it)
{
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/se_lock_child_%d", (int)getpid());
    int fd, hold[2];
    cr_assert_eq(pipe(hold), 0);
    cr_assert_eq(se__filelock_open(path, &fd), SE_OK);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(hold[1]);
        _exit((int)read(hold[0], &byte, 1)); /* until the parent is done */
    }
    se__filelock_close(fd);
    se_result r = se__filelock_open(path, &fd);
    close(hold[0]);
    close(hold[1]);
    int status;
    waitpid(child, &status, 0);
    cr_assert_eq(r, SE_OK);
    se__filelock_close(fd);
    unlink(path);
}

Test(filelock, what_cannot_be_opened_is_io)
{
    int fd = -7;
    cr_assert_eq(se__filelock_open("/nonexistent/dir/lock", &fd), SE_ERR_IO);
    cr_assert_not_null(strstr(se_errmsg(), "/nonexistent/dir/lock"));
    cr_assert_eq(fd, -7);
}
