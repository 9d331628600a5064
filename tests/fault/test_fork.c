/*
 * Forks, other programs started, children that end by exit(): with writes in flight and servers connected. The child is told,
 * and the parent does not notice. And two engines on one WAL.
 */
#include "base/os.h"
#include "fault/local.h"
#include "integration/stand.h"
#include "integration/truth.h"
#include "support/test.h"

#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};
static const struct shape servers_wal = {"redis+mysql+wal", MYSQL, true, true};

/* ---- a parent at work ---- */

struct work {
    se_engine *e;
    struct model m;
    struct se__thread thread;
    atomic_bool stop;
    _Atomic unsigned writes;
    const char *prefix;
};

static void write_on(void *arg)
{
    struct work *w = arg;
    while (!atomic_load(&w->stop)) {
        unsigned i = atomic_load(&w->writes) % MODEL_IDS;
        se_result r = model_put(&w->m, w->e, i, i % 3 ? SE_ACK_MEMORY : SE_ACK_WAL);
        cr_assert(r >= 0, "%d %s", r, se_errmsg());
        (void)model_get(&w->m, w->e, (i + 5) % MODEL_IDS);
        atomic_fetch_add(&w->writes, 1);
    }
}

static void work_begin(struct work *w, se_engine *e, const char *prefix)
{
    *w = (struct work){.e = e};
    model_init(&w->m, prefix);
    cr_assert_eq(se__thread_start(&w->thread, "writer", write_on, w), SE_OK);
    for (uint64_t deadline = se__deadline_in(20000); atomic_load(&w->writes) < 30;)
        cr_assert_gt(se__deadline_left(deadline), 0u);
}

static void work_end(struct work *w)
{
    atomic_store(&w->stop, true);
    se__thread_join(&w->thread);
}

/* ---- every public function in a child ---- */

static bool visit(void *arg, se_item *item)
{
    (void)item;
    ++*(unsigned *)arg;
    return true;
}

static bool visit_dictionary(void *arg, const se_dictionary *dictionary)
{
    (void)dictionary;
    return visit(arg, NULL);
}

static se_result make(void *arg, const char *id, void **content, size_t *len)
{
    (void)id;
    (void)content;
    (void)len;
    ++*(unsigned *)arg;
    return SE_ERR_IO;
}

/* Returns the number of the first call that was not refused; 0: all were. */
static int call_everything(se_engine *e)
{
    unsigned visits = 0;
    bool yes = true;
    uint64_t n = 0;
    size_t len = 0;
    char buffer[8], *text = NULL;
    uint8_t hash[SE_HASH_SIZE] = {0};
    se_item *item = NULL, *items[1];
    const char *ids[1] = {"a"};
    se_put put = {.id = "a", .content = "x", .len = 1};
    se_item_status status;
    se_health health;
    se_merkle_node node, children[16];
    se_verify_report report;
    se_dictionary dictionary;
    uint16_t port = 0;
    const se_result results[] = {
        SE_ERR_STATE, /* so that numbers begin at 1 */
        se_submit(e, "a", "x", 1, NULL),
        se_delete(e, "a", NULL),
        se_submit_many(e, &put, 1, NULL),
        se_delete_many(e, ids, 1, NULL),
        se_set_state(e, "a", "red"),
        se_get(e, "a", &item),
        se_get_verified(e, "a", &item),
        se_get_many(e, ids, 1, items, NULL),
        se_get_copy(e, "a", buffer, sizeof buffer, &len),
        se_get_or_insert_with(e, "zzz", make, &visits, NULL, &item),
        se_contains(e, "a", &yes),
        se_is_current(e, "a", hash, &yes),
        se_status(e, "a", &status),
        se_scan_prefix(e, "", 0, visit, &visits),
        se_scan_prefix_after(e, "", "a", 0, visit, &visits),
        se_count_prefix(e, "", &n),
        se_delete_prefix(e, "a", &n),
        se_invalidate(e, "a"),
        se_invalidate_prefix(e, "a"),
        se_scan_state(e, "default", 0, visit, &visits),
        se_count_state(e, "default", &n),
        se_delete_state(e, "default", &n),
        se_merkle_root(e, SE_TIER_L3, &node),
        se_merkle_children(e, SE_TIER_L3, 0, 0, children),
        se_merkle_prefix(e, SE_TIER_L3, "a", &node),
        se_verify(e, NULL, &report),
        se_dictionary_train(e, 0, 0, &dictionary),
        se_dictionary_list(e, visit_dictionary, &visits),
        se_health_check(e, &health),
        se_metrics_text(e, &text, &len),
        se_flush(e, 100),
        se_shutdown(e, 100),
        se_close(e, 100),
        se_http_start(e, "127.0.0.1", &port) == SE_ERR_UNSUPPORTED
            ? SE_ERR_STATE
            : se_http_start(e, "127.0.0.1", &port),
    };
    for (unsigned i = 1; i < sizeof results / sizeof *results; i++) {
        if (results[i] != SE_ERR_STATE)
            return (int)i;
    }
    se_http_stop(e);
    if (se_engine_phase(e) != SE_PHASE_SHUTTING_DOWN)
        return 101;
    if (se_len(e) != 0 || !se_is_empty(e))
        return 102;
    if (se_definitely_missing(e, "nowhere") || !se_might_exist(e, "a"))
        return 103;
    if (se_pressure_level(e) < SE_PRESSURE_NORMAL)
        return 104;
    (void)se_retry_after_ms(e);
    return visits ? 105 : 0;
}

/* An item that the parent had: its bytes are the child's own copy. */
static int use_item(se_item *item)
{
    if (strcmp(se_item_id(item), "held") != 0 || se_item_content_len(item) != 4)
        return 110;
    se_item_release(se_item_retain(item));
    return 0;
}

static int in_child(se_engine *e, se_item *held)
{
    uint64_t began = se__mono_ms();
    int wrong = use_item(held);
    if (!wrong)
        wrong = call_everything(e);
    return wrong ? wrong : se__mono_ms() - began > 10000 ? 120 : 0;
}

/* Waits for a child, by a deadline: one that hangs is killed. */
static int status_of(pid_t child)
{
    int status = 0;
    for (uint64_t deadline = se__deadline_in(30000); waitpid(child, &status, WNOHANG) == 0;) {
        if (se__deadline_left(deadline) == 0) {
            kill(child, SIGKILL);
            (void)waitpid(child, &status, 0);
            cr_assert_fail("a child hangs");
        }
        se__pause_ms(1);
    }
    return status;
}

static void expect_ended_well(pid_t child)
{
    int status = status_of(child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x: %d", (unsigned)status,
              WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

/* Asked by a leak checker when a process ends: what only the parent's threads knew of is no leak of a child's. */
static bool in_a_child;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return in_a_child;
}

/* Every way in which a child may end. */
static void fork_and_end(se_engine *e, se_item *held, int way)
{
    (void)fflush(NULL);
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child > 0) {
        if (way < 3)
            expect_ended_well(child);
        else
            (void)status_of(child);
        return;
    }
    in_a_child = true;
    if (way == 0)
        _exit(in_child(e, held));
    if (way == 1)
        exit(in_child(e, held)); /* NOLINT: handlers, destructors, stdio */
    if (way == 2) {
        execl("/bin/sh", "sh", "-c",
              "for f in /proc/self/fd/*; do readlink $f; done | grep -E 'socket|wal.db|l3.db' && "
              "exit 1; exit 0",
              (char *)NULL);
        _exit(99);
    }
    raise(SIGKILL);
}

static void forks_amidst(const struct shape *shape, unsigned forks)
{
    struct stand s;
    struct work w;
    stand_make(&s, shape);
    s.bed.config.batch_flush_ms = 1;
    s.e = bed_open(&s.bed);
    bed_put(s.e, "held", "item");
    se_item *held = NULL;
    cr_assert_eq(se_get(s.e, "held", &held), SE_OK);
    work_begin(&w, s.e, "w");
    for (unsigned i = 0; i < forks; i++)
        fork_and_end(s.e, held, (int)(i % 4));
    work_end(&w);
    se_item_release(held);
    model_check(&w.m, s.e);
    local_wait_healthy(s.e);
    truth_balance(s.e);
    double errors = bed_metric(s.e, "sync_engine_circuit_transitions_total", "state=\"open\"");
    cr_assert(errors <= 0, "%.0f circuits opened", errors);
    stand_reopen(&s);
    model_check(&w.m, s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(fork, children_of_a_busy_embedded_engine)
{
    forks_amidst(&sqlite_wal, (unsigned)local_size("forks", 24));
}

Test(fork, children_of_a_busy_engine_with_servers)
{
    forks_amidst(&servers_wal, (unsigned)local_size("forks", 16));
}

/* ---- children with engines of their own ---- */

static int open_own(const struct bed *own)
{
    alarm(20); /* one that waits for a lock of its parent's threads */
    in_a_child = true;
    se_engine *e = NULL;
    if (se_open(&own->config, &e) != SE_OK)
        return 1;
    if (se_submit(e, "own", "1", 1, NULL) != SE_OK || se_flush(e, 10000) != SE_OK)
        return 2;
    return se_close(e, 10000) == SE_OK ? 0 : 3;
}

#if defined(__SANITIZE_ADDRESS__)
enum { NO_TEST = true }; /* its allocator's own locks stay taken in a child */
#else
enum { NO_TEST = false };
#endif

/* Whatever its parent's threads held of the library, of SQLite and of the allocator when it was forked. */
Test(fork, a_child_opens_an_engine_of_its_own_whatever_its_parent_does, .disabled = NO_TEST)
{
    struct stand s;
    struct bed own;
    struct work w;
    stand_make(&s, &sqlite_wal);
    bed_make(&own, &sqlite_wal, NULL, NULL);
    s.bed.config.batch_flush_ms = 1;
    s.e = bed_open(&s.bed);
    work_begin(&w, s.e, "w");
    for (unsigned long i = 0; i < local_size("forks", 24); i++) {
        (void)fflush(NULL);
        pid_t child = fork();
        if (child == 0)
            _exit(open_own(&own));
        cr_assert(child > 0);
        expect_ended_well(child);
    }
    work_end(&w);
    model_check(&w.m, s.e);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
    bed_remove(&own);
}

/* ---- two engines on one WAL ---- */

static void expect_locked(struct bed *b)
{
    se_engine *e = (se_engine *)b;
    cr_assert_eq(se_open(&b->config, &e), SE_ERR_STATE, "%s", se_errmsg());
    cr_assert_null(e);
    cr_assert(strstr(se_errmsg(), "locked by another engine") && strstr(se_errmsg(), b->wal), "%s",
              se_errmsg());
}

Test(fork, a_wal_has_one_engine_in_this_process_and_in_others)
{
    struct bed b;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    se_engine *e = bed_open(&b);
    bed_put(e, "a", "1");
    expect_locked(&b);
    pid_t child = fork();
    if (child == 0) {
        se_engine *second = NULL;
        _exit(se_open(&b.config, &second) == SE_ERR_STATE && !second ? 0 : 1);
    }
    expect_ended_well(child);
    bed_put(e, "a", "2");
    bed_close(&b, e);
    e = bed_open(&b);
    bed_expect(e, "a", "2");
    bed_close(&b, e);
    bed_remove(&b);
}

/* A process that is killed while it holds the WAL; maybe with a child of its own that lives on, as a server's helper does. */
static pid_t holder(struct bed *b, bool with_child, int ready)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    alarm(60); /* whatever becomes of the test */
    se_engine *e = NULL;
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_WAL;
    if (se_open(&b->config, &e) != SE_OK || se_submit(e, "a", "kept", 4, &o) != SE_OK)
        _exit(1);
    /* The child says so itself, when it is past the handlers of fork: its parent is killed then. */
    pid_t helper = with_child ? fork() : -1;
    if (helper == 0) {
        alarm(60);
        helper = getpid();
        (void)!write(ready, &helper, sizeof helper);
        for (;;)
            pause();
    }
    if (!with_child)
        (void)!write(ready, &helper, sizeof helper);
    for (;;)
        pause();
}

static void killed_and_opened_again(bool with_child)
{
    struct bed b;
    int ready[2];
    pid_t helper = -1;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    cr_assert_eq(pipe(ready), 0);
    pid_t first = holder(&b, with_child, ready[1]);
    cr_assert_eq(read(ready[0], &helper, sizeof helper), (ssize_t)sizeof helper);
    expect_locked(&b);
    kill(first, SIGKILL);
    (void)status_of(first);
    se_engine *e = bed_open(&b);
    bed_expect(e, "a", "kept");
    bed_close(&b, e);
    if (helper > 0)
        kill(helper, SIGKILL);
    close(ready[0]);
    close(ready[1]);
    bed_remove(&b);
}

Test(fork, after_a_kill_the_next_engine_has_the_wal)
{
    killed_and_opened_again(false);
}

Test(fork, a_child_that_outlives_a_killed_engine_does_not_keep_its_wal)
{
    killed_and_opened_again(true);
}
