/*
 * A disk that fails under the WAL, under SQLite as L3, or under both: errors of every call at every place, short writes, no
 * space, a limit on file sizes, a file system that becomes read-only.
 *
 * Promised: what was acknowledged is there while it lasts, afterwards, and after a restart; what is refused says why; health
 * says that the engine is not well, and it recovers by itself.
 */
#include "base/os.h"
#include "fault/io_faults.h"
#include "fault/local.h"
#include "integration/truth.h"
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};

struct world {
    struct bed b;
    se_engine *e;
    struct model m;
    unsigned long refused, acked, faults, cells;
};

static void configure(struct bed *b)
{
    b->config.batch_flush_ms = 1;
    b->config.circuit_failures = 2;
    b->config.circuit_open_ms = 10;
    b->config.ack_timeout_ms = 200;
    b->config.filter_snapshot_interval_s = 0;
    b->config.filter_snapshot_insert_threshold = 0;
}

static void world_make(struct world *w)
{
    *w = (struct world){.acked = 0};
    model_init(&w->m, "m");
    bed_make(&w->b, &sqlite_wal, NULL, NULL);
    configure(&w->b);
    w->e = bed_open(&w->b);
    for (unsigned i = 0; i < MODEL_IDS; i++)
        cr_assert_eq(model_put(&w->m, w->e, i, SE_ACK_MEMORY), SE_OK);
}

static void world_end(struct world *w)
{
    bed_close(&w->b, w->e);
    bed_remove(&w->b);
}

/* A refusal names what is wrong. */
static void note(struct world *w, se_result r)
{
    w->acked += r >= 0;
    w->refused += r < 0;
    cr_assert(r >= 0 || r == SE_ERR_IO || r == SE_ERR_BACKPRESSURE || r == SE_ERR_BACKEND ||
                  r == SE_ERR_TIMEOUT,
              "%d %s", r, se_errmsg());
    cr_assert(r >= 0 || strlen(se_errmsg()) > 10, "'%s'", se_errmsg());
}

/* Writes with every ack, deletes, and reads that go to the tiers. */
static void work(struct world *w, unsigned rounds)
{
    static const se_ack acks[] = {SE_ACK_WAL, SE_ACK_MEMORY, SE_ACK_L3};
    for (unsigned n = 0; n < rounds; n++) {
        unsigned i = w->m.last % MODEL_IDS;
        note(w, model_put(&w->m, w->e, i, acks[n % 3]));
        if (n % 5 == 4)
            note(w, model_delete(&w->m, w->e, (i + 7) % MODEL_IDS, SE_ACK_WAL));
        if (n % 4 == 3)
            (void)se_invalidate(w->e, w->m.ids[(i + 3) % MODEL_IDS]);
        for (unsigned k = 0; k < 3; k++)
            (void)model_get(&w->m, w->e, (i + 3 * k) % MODEL_IDS);
    }
}

static void restart(struct world *w)
{
    bed_close(&w->b, w->e);
    w->e = bed_open(&w->b);
}

/* ---- every call of every kind, at every place ---- */

struct kind {
    const char *name;
    unsigned calls;
    int error;
};
static const struct kind kinds[] = {
    {"write EIO", IO_WRITE, EIO},
    {"write ENOSPC", IO_WRITE, ENOSPC},
    {"short write", IO_WRITE, 0},
    {"sync EIO", IO_SYNC, EIO},
    {"sync ENOSPC", IO_SYNC, ENOSPC},
    {"read EIO", IO_READ, EIO},
    {"open EMFILE", IO_OPEN, EMFILE},
    {"open EIO", IO_OPEN, EIO},
    {"truncate EIO", IO_TRUNCATE, EIO},
    {"unlink, rename EIO", IO_NAME, EIO},
    {"everything EIO", IO_WRITE | IO_SYNC | IO_READ | IO_OPEN | IO_TRUNCATE | IO_NAME, EIO},
    {"read-only", IO_WRITE | IO_SYNC | IO_OPEN | IO_TRUNCATE | IO_NAME, EROFS},
};
static const char *const parts[] = {"wal.db", "l3.db", ".db"};

static void one_cell(struct world *w, const char *part, const struct kind *kind, long nth,
                     long times)
{
    struct io_fault fault = {
        .part = part, .calls = kind->calls, .error = kind->error, .nth = nth, .times = times};
    io_fault_set(&fault);
    work(w, 9);
    w->faults += (unsigned long)io_fault_stop();
    local_wait_healthy(w->e);
    model_check(&w->m, w->e);
    if (++w->cells % 4 == 0) {
        truth_balance(w->e);
        restart(w);
        model_check(&w->m, w->e);
    }
}

/* Once, a few times, and for as long as the work lasts. */
static void each_kind(const char *part, unsigned kind)
{
    static const long lengths[] = {1, 3, 1000000};
    struct world w;
    long places = (long)local_size("places", 1);
    uint64_t began = se__mono_ms();
    world_make(&w);
    for (int l = 0; l < 3; l++)
        for (long p = 0; p < places; p++)
            one_cell(&w, part, &kinds[kind],
                     places > 1 ? 1 + p : 1 + (long)(kind * 3 + (unsigned)l * 5) % 11, lengths[l]);
    restart(&w);
    model_check(&w.m, w.e);
    if (local_is_long() || getenv("SE_TEST_LOG"))
        local_say("%s, %s: %lu faults in %lu cells, %lu accepted, %lu refused, %lu ms\n", part,
                  kinds[kind].name, w.faults, w.cells, w.acked, w.refused,
                  (unsigned long)(se__mono_ms() - began));
    world_end(&w);
}

static void each_of(const char *part)
{
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++)
        each_kind(part, k);
}

Test(disk, errors_under_the_wal)
{
    each_of(parts[0]);
}

Test(disk, errors_under_sqlite)
{
    each_of(parts[1]);
}

Test(disk, errors_under_both)
{
    each_of(parts[2]);
}

/* ---- no space, really ---- */

/* A file system of `size` on the bed's folder, in a mount namespace that goes with this process. */
static bool mount_small(struct bed *b, const char *size)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", b->dir.path, "tmpfs", 0, size) == 0;
}

static void fill(const struct bed *b, size_t bytes)
{
    static char zeros[4096];
    char path[256];
    test_dir_path(&b->dir, "", "filler", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    cr_assert(fd >= 0);
    for (size_t n = 0; n < bytes; n += sizeof zeros)
        if (write(fd, zeros, sizeof zeros) < (ssize_t)sizeof zeros)
            break;
    close(fd);
}

static void make_room(const struct bed *b)
{
    char path[256];
    test_dir_path(&b->dir, "", "filler", path);
    cr_assert_eq(unlink(path), 0);
}

static bool is_refused(void *arg)
{
    struct world *w = arg;
    unsigned long before = w->refused;
    work(w, 3);
    return w->refused > before;
}

static bool is_unwell(void *engine)
{
    se_health h;
    cr_assert_eq(se_health_check(engine, &h), SE_OK);
    return !h.healthy;
}

/* The log has a little space of its own for a full disk and may go on for a moment: hence both at once. */
static bool is_refused_and_unwell(void *arg)
{
    struct world *w = arg;
    return is_refused(w) && is_unwell(w->e);
}

Test(disk, a_full_file_system_refuses_and_recovers)
{
    struct world w = {.acked = 0};
    model_init(&w.m, "m");
    bed_make(&w.b, &sqlite_wal, NULL, NULL);
    if (!mount_small(&w.b, "size=3m")) {
        bed_remove(&w.b);
        cr_skip_test("no right to mount a small file system");
    }
    configure(&w.b);
    w.e = bed_open(&w.b);
    for (int round = 0; round < 3; round++) {
        work(&w, 30);
        fill(&w.b, 8 << 20);
        bed_wait(is_refused_and_unwell, &w, "a full disk refuses a write and health says so");
        model_check(&w.m, w.e);
        make_room(&w.b);
        local_wait_healthy(w.e);
        note(&w, model_put(&w.m, w.e, 0, SE_ACK_WAL));
        model_check(&w.m, w.e);
        local_wait_healthy(w.e);
        truth_balance(w.e);
        restart(&w);
        model_check(&w.m, w.e);
    }
    /* closed and opened on a full disk: what the WAL has goes home when there is room */
    fill(&w.b, 8 << 20);
    work(&w, 6);
    (void)se_close(w.e, 100);
    make_room(&w.b);
    w.e = bed_open(&w.b);
    local_wait_healthy(w.e);
    bed_close(&w.b, w.e);
    umount2(w.b.dir.path, MNT_DETACH);
    bed_remove(&w.b);
}

/* Opened on a file system that is read-only, or full: said so, and nothing is damaged. */
Test(disk, a_read_only_file_system_at_open)
{
    struct world w = {.acked = 0};
    model_init(&w.m, "m");
    bed_make(&w.b, &sqlite_wal, NULL, NULL);
    if (!mount_small(&w.b, "size=8m")) {
        bed_remove(&w.b);
        cr_skip_test("no right to mount a small file system");
    }
    configure(&w.b);
    w.e = bed_open(&w.b);
    work(&w, 30);
    bed_close(&w.b, w.e);
    cr_assert_eq(mount("tmpfs", w.b.dir.path, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0, "%s",
                 strerror(errno));
    w.e = (se_engine *)&w;
    cr_assert_eq(se_open(&w.b.config, &w.e), SE_ERR_IO, "%s", se_errmsg());
    cr_assert(strstr(se_errmsg(), w.b.wal), "%s", se_errmsg());
    cr_assert_null(w.e);
    cr_assert_eq(mount("tmpfs", w.b.dir.path, "tmpfs", MS_REMOUNT, NULL), 0);
    w.e = bed_open(&w.b);
    model_check(&w.m, w.e);
    work(&w, 30);
    bed_close(&w.b, w.e);
    umount2(w.b.dir.path, MNT_DETACH);
    bed_remove(&w.b);
}

/* ---- a limit on the size of files ---- */

/* SIGXFSZ ends a process that does not expect it: it must not be raised in the caller's threads either. */
Test(disk, a_limit_on_file_sizes_refuses_and_kills_nobody)
{
    static char big[30000];
    struct world w;
    struct rlimit before, small;
    world_make(&w);
    bed_put(w.e, "big:0", "first");
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 300000;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    se_submit_options o;
    se_submit_options_init(&o);
    unsigned refused = 0, acked = 0;
    for (unsigned i = 0; i < 200 && refused < 20; i++) {
        char id[16];
        o.ack = i % 3 ? SE_ACK_WAL : SE_ACK_MEMORY;
        snprintf(id, sizeof id, "big:%u", acked);
        se_result r = se_submit(w.e, id, big, sizeof big, &o);
        note(&w, r);
        refused += r < 0;
        acked += r >= 0;
    }
    se_merkle_node root;
    (void)se_merkle_root(w.e, SE_TIER_L3,
                         &root); /* and a call that is the caller's own with SQLite */
    cr_assert(refused > 0 && acked > 5, "%u refused, %u accepted", refused, acked);
    bed_wait(is_unwell, w.e, "health says that it cannot write");
    model_check(&w.m, w.e);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    local_wait_healthy(w.e);
    restart(&w);
    model_check(&w.m, w.e);
    for (unsigned i = 0; i < acked; i++) {
        char id[16];
        se_item *item = NULL;
        snprintf(id, sizeof id, "big:%u", i);
        cr_assert_eq(se_get(w.e, id, &item), SE_OK, "%s", id);
        cr_assert_eq(se_item_content_len(item), sizeof big);
        se_item_release(item);
    }
    world_end(&w);
}

/* A program's own arrangements for the signal are not touched. */
static volatile sig_atomic_t heard;

static void hear(int number)
{
    heard = number;
}

Test(disk, the_programs_own_handler_is_left_alone)
{
    struct world w;
    struct sigaction mine = {.sa_handler = hear}, found;
    sigset_t mask_before, mask;
    cr_assert_eq(sigaction(SIGXFSZ, &mine, NULL), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    world_make(&w);
    work(&w, 9);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int number = 1; number < SIGRTMAX; number++)
        cr_assert_eq(sigismember(&mask, number), sigismember(&mask_before, number), "%d", number);
    world_end(&w);
    cr_assert_eq(sigaction(SIGXFSZ, NULL, &found), 0);
    cr_assert(found.sa_handler == hear && !heard);
    raise(SIGXFSZ);
    cr_assert_eq(heard, SIGXFSZ);
}
