/*
 * What the system refuses: descriptors, threads. At se_open, and while running with reconnects.
 *
 * Promised: an error that says so or a degraded engine, nothing left behind, nothing acknowledged lost, and all well as soon as
 * the limit is gone.
 */
#include "base/os.h"
#include "fault/local.h"
#include "integration/stand.h"
#include "integration/truth.h"
#include "support/test.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct shape l1_only = {"l1", NO_SQL, false, false};
static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};
static const struct shape servers_wal = {"redis+mysql+wal", MYSQL, true, true};

/* ---- threads ---- */

static _Atomic long threads_left = -1; /* until every further one fails; negative: none does */
static _Atomic long threads_asked;

int pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    atomic_fetch_add(&threads_asked, 1);
    long left = atomic_load(&threads_left);
    if (left == 0)
        return EAGAIN;
    if (left > 0)
        atomic_fetch_sub(&threads_left, 1);
    return real(t, attr, run, arg);
}

static void open_without_threads(struct stand *s)
{
    long n = 0;
    unsigned tasks = 0, files = 0;
    for (bool opened = false; !opened; n++) {
        se_engine *e = (se_engine *)s;
        atomic_store(&threads_left, n);
        se_result r = se_open(&s->bed.config, &e);
        atomic_store(&threads_left, -1);
        opened = r == SE_OK;
        cr_assert(opened || (r == SE_ERR_NOMEM && !e && strstr(se_errmsg(), "thread")),
                  "%ld: %d %s", n, r, se_errmsg());
        if (opened)
            bed_close(&s->bed, e);
        if (n == 0) {
            tasks = local_entries("task");
            files = local_entries("fd");
        }
        for (uint64_t deadline = se__deadline_in(10000); local_entries("task") > tasks && !opened;)
            cr_assert_gt(se__deadline_left(deadline), 0u, "threads are left");
        cr_assert(local_entries("fd") <= files, "files are left");
        cr_assert_lt(n, 100);
    }
    cr_assert_gt(n, 1);
}

Test(limits, without_threads_se_open_says_so_and_leaves_nothing)
{
    static const struct shape *const shapes[] = {&l1_only, &sqlite_wal, &servers_wal};
    for (int i = 0; i < 3; i++) {
        struct stand s;
        stand_make(&s, shapes[i]);
        open_without_threads(&s);
        s.e = bed_open(&s.bed);
        bed_put(s.e, "a", "1");
        bed_expect(s.e, "a", "1");
        bed_close(&s.bed, s.e);
        stand_remove(&s);
    }
}

/* Whatever starts one while running would be refused then. */
Test(limits, a_running_engine_starts_no_thread)
{
    struct stand s;
    stand_make(&s, &servers_wal);
    s.e = bed_open(&s.bed);
    long before = atomic_load(&threads_asked);
    for (int i = 0; i < 200; i++) {
        bed_put(s.e, "a", "1");
        if (i % 20 == 0)
            stand_flush(&s);
        cr_assert_eq(se_invalidate(s.e, "a"), SE_OK);
        bed_expect(s.e, "a", "1");
    }
    se_verify_report report;
    cr_assert_eq(se_verify(s.e, NULL, &report), SE_OK);
    cr_assert_eq(atomic_load(&threads_asked), before);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* ---- descriptors ---- */

static rlim_t files_max(rlim_t max)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

/* The highest descriptor in use and one: only so many are allowed from now on. */
static rlim_t files_now(void)
{
    int fd = dup(STDERR_FILENO);
    cr_assert(fd >= 0);
    close(fd);
    return (rlim_t)fd;
}

/* With 0, 1, 2 ... descriptors to be had. */
static void open_with_few(struct stand *s)
{
    struct model m;
    unsigned opened = 0, refused = 0;
    model_init(&m, "m");
    rlim_t now = files_now();
    for (rlim_t more = 0; more < 30; more++) {
        se_engine *e = NULL;
        rlim_t before = files_max(now + more);
        se_result r = se_open(&s->bed.config, &e);
        if (r != SE_OK) {
            cr_assert(r == SE_ERR_IO || r == SE_ERR_BACKEND || r == SE_ERR_NOMEM, "%d %s", r,
                      se_errmsg());
            cr_assert(strlen(se_errmsg()) > 10 && !e);
            refused++;
            files_max(before);
            continue;
        }
        opened++;
        unsigned i = (unsigned)more % MODEL_IDS;
        r = model_put(&m, e, i, SE_ACK_WAL);
        cr_assert(r >= 0 || r == SE_ERR_IO, "%d %s", r, se_errmsg());
        files_max(before);
        local_wait_healthy(e);
        model_check(&m, e);
        cr_assert(model_put(&m, e, (i + 1) % MODEL_IDS, SE_ACK_L3) >= 0);
        bed_close(&s->bed, e);
    }
    cr_assert(refused > 0 && opened > 0, "%u refused, %u opened", refused, opened);
    s->e = bed_open(&s->bed);
    model_check(&m, s->e);
    bed_close(&s->bed, s->e);
}

Test(limits, with_few_descriptors_se_open_refuses_or_catches_up)
{
    static const struct shape *const shapes[] = {&sqlite_wal, &servers_wal};
    for (int i = 0; i < 2; i++) {
        struct stand s;
        stand_make(&s, shapes[i]);
        s.bed.config.startup_timeout_ms = 300;
        s.bed.config.circuit_open_ms = 10;
        open_with_few(&s);
        stand_remove(&s);
    }
}

static bool circuits_closed(void *arg)
{
    struct stand *s = arg;
    se_health h;
    cr_assert_eq(se_health_check(s->e, &h), SE_OK);
    return h.healthy;
}

/* Servers restart while no descriptor is to be had: the connections cannot be made again until there is. */
Test(limits, reconnects_wait_for_descriptors)
{
    struct stand s;
    struct model m;
    stand_make(&s, &servers_wal);
    s.bed.config.circuit_open_ms = 10;
    model_init(&m, "m");
    s.e = bed_open(&s.bed);
    for (unsigned i = 0; i < MODEL_IDS; i++)
        cr_assert(model_put(&m, s.e, i, SE_ACK_L3) == SE_OK, "%s", se_errmsg());
    for (int round = 0; round < 2; round++) {
        cr_assert(mariadb_restart(s.mariadb));
        redis_server_restart(&s.redis, false);
        rlim_t before = files_max(3);
        uint64_t began = se__mono_ms();
        for (unsigned i = 0; i < MODEL_IDS; i++) {
            se_result r = model_put(&m, s.e, i, i % 2 ? SE_ACK_WAL : SE_ACK_MEMORY);
            cr_assert(r >= 0 || r == SE_ERR_IO, "%d %s", r, se_errmsg());
            r = model_get(&m, s.e, i);
            cr_assert(r >= 0 || r == SE_ERR_BACKEND, "%d %s", r, se_errmsg());
        }
        cr_assert_lt(se__mono_ms() - began, 60000u);
        files_max(before);
        bed_wait(circuits_closed, &s, "connections are there again");
        local_wait_healthy(s.e);
        model_check(&m, s.e);
        truth_balance(s.e);
    }
    stand_reopen(&s);
    model_check(&m, s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}
