/*
 * What happens when the disk fails: a full file system, a failed write, a failed fsync, a disk that
 * hangs.
 *
 * SQLite's calls of fdatasync, fsync and pwrite come here first: the program's own definitions go
 * before the C library's.
 */
#include "wal/fixture.h"
#include "wal/state.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic int syncs, syncs_until_failure, failing_syncs, failing_writes, full;
static struct se__mutex gate; /* held by a test: fdatasync hangs */
static _Atomic bool hanging;
static _Atomic int hung;

static int sync_fails(void)
{
    atomic_fetch_add(&syncs, 1);
    if (atomic_load(&hanging)) {
        atomic_fetch_add(&hung, 1);
        se__mutex_lock(&gate);
        se__mutex_unlock(&gate);
    }
    if (atomic_load(&syncs_until_failure) > 0) {
        atomic_fetch_sub(&syncs_until_failure, 1);
        return 0;
    }
    if (atomic_load(&failing_syncs) == 0)
        return 0;
    atomic_fetch_sub(&failing_syncs, 1);
    errno = EIO;
    return -1;
}

int fdatasync(int fd)
{
    return sync_fails() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return sync_fails() ? -1 : (int)syscall(SYS_fsync, fd);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off_t at)
{
    if (atomic_load(&failing_writes) > 0) {
        atomic_fetch_sub(&failing_writes, 1);
        errno = EIO;
        return -1;
    }
    if (atomic_load(&full)) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, buf, len, at);
}

static _Atomic size_t written; /* by write(), which SQLite does not use for its files */

ssize_t write(int fd, const void *buf, size_t len)
{
    atomic_fetch_add(&written, len);
    return syscall(SYS_write, fd, buf, len);
}

static struct log_fixture f;

static void set_up(void)
{
    syncs_until_failure = failing_syncs = failing_writes = full = 0;
    hanging = false;
    hung = 0;
    se__mutex_init(&gate);
    fixture_init(&f);
    fixture_open(&f);
}

static void tear_down(void)
{
    syncs_until_failure = failing_syncs = failing_writes = full = 0;
    fixture_done(&f);
    se__mutex_done(&gate);
}

TestSuite(wal_faults, .init = set_up, .fini = tear_down);

static uint64_t inode(void)
{
    struct stat st;
    cr_assert_eq(stat(f.path, &st), 0);
    return st.st_ino;
}

Test(wal_faults, every_acknowledgement_has_an_fsync_before_it)
{
    for (uint64_t i = 1; i <= 100; i++) {
        int before = atomic_load(&syncs);
        cr_assert_eq(append_one(f.wal, "a", i, WAL_ACK), SE_OK);
        cr_assert(atomic_load(&syncs) > before);
        before = atomic_load(&syncs);
        cr_assert_eq(append_one(f.wal, "a", i, WAL_HOME), SE_OK); /* there already */
        cr_assert_eq(atomic_load(&syncs), before);
    }
}

Test(wal_faults, a_failed_fsync_moves_the_log_to_a_new_file)
{
    uint64_t version, old = inode();
    char id[16], *value;
    for (uint64_t i = 1; i <= 30; i++) {
        snprintf(id, sizeof id, "id%llu", (unsigned long long)i);
        cr_assert_eq(append_one(f.wal, id, i, i % 2 ? WAL_ACK : WAL_HOME), SE_OK);
    }
    bury_one(f.wal, "dead", 40);
    cr_assert_eq(se__wal_meta_put(f.wal, "incarnation", "mine"), SE_OK);
    for (uint64_t i = 1; i <= 10; i++) {
        snprintf(id, sizeof id, "id%llu", (unsigned long long)i);
        confirm_one(f.wal, id, i);
    }
    uint64_t ceiling = atomic_load(&f.hlc.ceiling);
    failing_syncs = 1;
    cr_assert_eq(append_one(f.wal, "after", ceiling + 1, WAL_ACK), SE_OK, "%s", se_errmsg());
    cr_assert(inode() != old);
    cr_assert(!stats_of(f.wal).poisoned);
    cr_assert(atomic_load(&f.hlc.ceiling) > ceiling);
    for (int i = 0; i < 2; i++) {
        cr_assert_neq(find_version(f.wal, "after", &version), WAL_NOWHERE);
        cr_assert_eq(version, ceiling + 1);
        cr_assert_neq(find_version(f.wal, "id11", &version), WAL_NOWHERE);
        cr_assert_eq(find_version(f.wal, "id3", &version), WAL_NOWHERE);
        cr_assert_eq(find_version(f.wal, "dead", &version), WAL_DEAD);
        cr_assert_eq(se__wal_meta_get(f.wal, "incarnation", &value), SE_OK);
        cr_assert_str_eq(value, "mine");
        se__free(value);
        cr_assert_eq(stats_of(f.wal).live_records, 21);
        cr_assert_eq(access(fixture_name(&f, ".new"), F_OK), -1);
        cr_assert_eq(access(fixture_name(&f, ".moved"), F_OK), -1);
        fixture_reopen(&f);
    }
    cr_assert(atomic_load(&f.hlc.ceiling) >= ceiling + 1);
}

Test(wal_faults, without_a_new_file_nothing_is_acknowledged_until_one_can_be_made)
{
    uint64_t version;
    cr_assert_eq(append_one(f.wal, "a", 1, WAL_ACK), SE_OK);
    failing_syncs = 1000000;
    cr_assert_eq(append_one(f.wal, "b", 2, WAL_ACK), SE_ERR_TIMEOUT); /* it may be on the disk */
    cr_assert(stats_of(f.wal).poisoned);
    cr_assert_eq(append_one(f.wal, "c", 3, WAL_ACK), SE_ERR_IO);
    cr_assert_eq(bury_one(f.wal, "d", 4), SE_ERR_IO);
    cr_assert_eq(se__wal_meta_put(f.wal, "x", "y"), SE_ERR_IO);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_PENDING); /* reads go on */
    cr_assert_eq(find_version(f.wal, "b", &version), WAL_NOWHERE);
    cr_assert_eq(se__wal_tend(f.wal, false), SE_ERR_IO);
    failing_syncs = 0;
    cr_assert_eq(append_one(f.wal, "c", 3, WAL_ACK),
                 SE_ERR_IO); /* a working fsync proves nothing */
    cr_assert_eq(se__wal_tend(f.wal, false), SE_OK, "%s", se_errmsg());
    cr_assert(!stats_of(f.wal).poisoned);
    cr_assert_eq(append_one(f.wal, "c", 3, WAL_ACK), SE_OK);
    fixture_reopen(&f);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_RECOVERED);
    cr_assert_eq(find_version(f.wal, "c", &version), WAL_RECOVERED);
    cr_assert_eq(stats_of(f.wal).recovered, 2);
}

/* The failure hits each of the syncs of a move in turn: whatever was
 * acknowledged is there afterwards. */
Test(wal_faults, a_move_may_fail_at_any_step)
{
    for (int step = 0; step < 12; step++) {
        uint64_t version;
        cr_assert_eq(append_one(f.wal, "kept", 100 + (uint64_t)step, WAL_HOME), SE_OK);
        failing_syncs = 1;
        syncs_until_failure = 0;
        atomic_store(&failing_writes, 0);
        se_item *item = item_of("tried", 200 + (uint64_t)step, NULL);
        failing_syncs = 1 + (step > 0);
        if (step > 0) { /* the first one now, the second one `step` syncs later */
            failing_syncs = 1;
            atomic_store(&failing_writes, 1); /* poisons without using up a sync */
            syncs_until_failure = step - 1;
        }
        se_result r = se__wal_append(f.wal, &item, 1, WAL_HOME, SE__FOREVER);
        failing_syncs = failing_writes = syncs_until_failure = 0;
        se_item_release(item);
        cr_assert(r == SE_OK || r == SE_ERR_TIMEOUT || r == SE_ERR_IO, "%d", (int)r);
        cr_assert_neq(find_version(f.wal, "kept", &version), WAL_NOWHERE);
        cr_assert_eq(version, 100 + (uint64_t)step, "step %d", step);
        if (step % 2)
            cr_assert_eq(se__wal_tend(f.wal, false), SE_OK, "%s", se_errmsg());
        else
            fixture_reopen(&f);
        cr_assert_neq(find_version(f.wal, "kept", &version), WAL_NOWHERE);
        cr_assert_eq(version, 100 + (uint64_t)step, "step %d", step);
        (void)find_version(f.wal, "tried", &version);
        cr_assert(r != SE_OK || version == 200 + (uint64_t)step);
        cr_assert(r != SE_ERR_IO || version != 200 + (uint64_t)step);
        cr_assert_eq(append_one(f.wal, "again", 300 + (uint64_t)step, WAL_ACK), SE_OK, "%s",
                     se_errmsg());
    }
}

Test(wal_faults, a_failed_checkpoint_moves_the_log_too)
{
    uint64_t version, old = inode();
    cr_assert_eq(append_one(f.wal, "a", 1, WAL_ACK), SE_OK);
    failing_syncs = 1;
    cr_assert_eq(se__wal_tend(f.wal, true), SE_OK);
    cr_assert(inode() != old);
    fixture_reopen(&f);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_RECOVERED);
}

Test(wal_faults, a_full_disk_refuses_and_recovers_in_place)
{
    uint64_t version, old = inode();
    cr_assert_eq(append_one(f.wal, "a", 1, WAL_ACK), SE_OK);
    full = 1;
    for (uint64_t i = 2; i < 10; i++)
        cr_assert_eq(append_one(f.wal, "b", i, WAL_ACK), SE_ERR_IO);
    cr_assert(!stats_of(f.wal).poisoned);
    cr_assert_eq(find_version(f.wal, "b", &version), WAL_NOWHERE);
    cr_assert_eq(stats_of(f.wal).live_records, 1);
    full = 0;
    cr_assert_eq(append_one(f.wal, "b", 10, WAL_ACK), SE_OK);
    cr_assert_eq(inode(), old);
    fixture_reopen(&f);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_RECOVERED);
    cr_assert_eq(find_version(f.wal, "b", &version), WAL_RECOVERED);
    cr_assert_eq(version, 10);
    cr_assert_eq(stats_of(f.wal).recovered, 2);
}

/* A real file system of 2 MB, if this process may mount one. */
Test(wal_faults, a_small_file_system_fills_up_and_is_freed)
{
    struct log_fixture small;
    fixture_init(&small);
    /* in a mount namespace of its own: it goes with this process, however that ends */
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", small.dir, "tmpfs", 0, "size=2m") != 0) {
        fixture_done(&small);
        cr_skip_test();
    }
    fixture_open(&small);
    static char content[20000];
    uint64_t acknowledged = 0, version = 0;
    se_result r = SE_OK;
    while (r == SE_OK && version < 1000) {
        se_item *item = item_bytes("big", ++version, content, sizeof content);
        r = se__wal_append(small.wal, &item, 1, WAL_ACK, SE__FOREVER);
        se_item_release(item);
        acknowledged += r == SE_OK;
    }
    cr_assert_eq(r, SE_ERR_IO);
    cr_assert(acknowledged > 10);
    cr_assert_eq(stats_of(small.wal).live_records, acknowledged);
    confirm_one(small.wal, "big", version);
    for (int i = 0; i < 200; i++) { /* what is confirmed makes room again */
        (void)se__wal_tend(small.wal, true);
        cr_assert_eq(append_one(small.wal, "small", 2000 + (uint64_t)i, WAL_ACK), SE_OK, "%d: %s",
                     i, se_errmsg());
        confirm_one(small.wal, "small", 2000 + (uint64_t)i);
    }
    append_one(small.wal, "last", 5000, WAL_ACK);
    fixture_reopen(&small);
    cr_assert_eq(stats_of(small.wal).recovered, 1);
    se__wal_close(small.wal);
    small.wal = NULL;
    umount(small.dir);
    fixture_done(&small);
}

/* ---- a hanging disk ---- */

struct caller {
    struct se__thread thread;
    char id[16];
    uint64_t version;
    enum wal_purpose purpose;
    uint64_t timeout_ms;
    _Atomic bool done;
    se_result result;
};

static void append_timed(void *arg)
{
    struct caller *c = arg;
    se_item *item = item_of(c->id, c->version, NULL);
    c->result = se__wal_append(f.wal, &item, 1, c->purpose, se__deadline_in(c->timeout_ms));
    se_item_release(item);
    atomic_store(&c->done, true);
}

static void start_caller(struct caller *c, const char *id, uint64_t version, uint64_t timeout_ms)
{
    *c = (struct caller){.version = version, .purpose = WAL_ACK, .timeout_ms = timeout_ms};
    snprintf(c->id, sizeof c->id, "%s", id);
    cr_assert_eq(se__thread_start(&c->thread, "caller", append_timed, c), SE_OK);
}

static void wait_hung(void)
{
    uint64_t deadline = se__deadline_in(20000);
    while (atomic_load(&hung) == 0) {
        cr_assert(se__deadline_left(deadline) > 0);
        se__pause_ms(1);
    }
}

Test(wal_faults, who_waits_times_out_and_the_write_still_happens)
{
    struct caller leader, late, doomed;
    uint64_t version;
    se__mutex_lock(&gate);
    hanging = true;
    start_caller(&leader, "leader", 1, 60000);
    wait_hung();
    start_caller(&late, "late", 2, 50);
    start_caller(&doomed, "doomed", 3, 50);
    se__thread_join(&late.thread);
    se__thread_join(&doomed.thread);
    cr_assert_eq(late.result, SE_ERR_TIMEOUT);
    cr_assert_eq(doomed.result, SE_ERR_TIMEOUT);
    cr_assert(!atomic_load(&leader.done));
    cr_assert_eq(find_version(f.wal, "late", &version), WAL_NOWHERE);
    confirm_one(f.wal, "doomed", 3); /* flushed from L1 before its record was written */
    hanging = false;
    se__mutex_unlock(&gate);
    se__thread_join(&leader.thread); /* leads the abandoned ones too */
    cr_assert_eq(leader.result, SE_OK);
    cr_assert_eq(find_version(f.wal, "late", &version), WAL_PENDING);
    cr_assert_eq(find_version(f.wal, "doomed", &version), WAL_NOWHERE);
    cr_assert_eq(stats_of(f.wal).live_records, 2);
    fixture_reopen(&f);
    cr_assert_eq(stats_of(f.wal).recovered, 2);
}

static void wait_queued(size_t n)
{
    size_t queued;
    uint64_t deadline = se__deadline_in(20000);
    do {
        queued = 0;
        cr_assert(se__deadline_left(deadline) > 0);
        se__mutex_lock(&f.wal->lock);
        for (const struct request *r = f.wal->front; r; r = r->next)
            queued++;
        se__mutex_unlock(&f.wal->lock);
        se__pause_ms(1);
    } while (queued < n);
}

/* Long before its own time is up. */
static void wait_done(const struct caller *c)
{
    uint64_t deadline = se__deadline_in(20000);
    while (!atomic_load(&c->done)) {
        cr_assert(se__deadline_left(deadline) > 0, "%s is not woken", c->id);
        se__pause_ms(1);
    }
}

/* The first of a group is the one who is to lead it, and has a bell of his own. */
Test(wal_faults, another_leads_where_the_first_has_given_up)
{
    struct caller leader, first, second, third;
    uint64_t version;
    se__mutex_lock(&gate);
    hanging = true;
    start_caller(&leader, "leader", 1, 60000);
    wait_hung();
    start_caller(&first, "first", 2, 50);
    wait_queued(1);
    start_caller(&second, "second", 3, 60000);
    wait_queued(2);
    start_caller(&third, "third", 4, 60000);
    wait_queued(3);
    se__thread_join(&first.thread);
    cr_assert_eq(first.result, SE_ERR_TIMEOUT);
    hanging = false;
    se__mutex_unlock(&gate);
    wait_done(&second);
    wait_done(&third);
    se__thread_join(&leader.thread);
    se__thread_join(&second.thread);
    se__thread_join(&third.thread);
    cr_assert(leader.result == SE_OK && second.result == SE_OK && third.result == SE_OK);
    cr_assert_eq(find_version(f.wal, "first", &version), WAL_PENDING);
    cr_assert_eq(stats_of(f.wal).live_records, 4);
}

/* What is in flight holds its place in the limits. */
Test(wal_faults, limits_count_what_is_in_flight)
{
    struct caller leader;
    se__wal_close(f.wal);
    f.options.items_max = 1;
    fixture_open(&f);
    se__mutex_lock(&gate);
    hanging = true;
    start_caller(&leader, "leader", 1, 60000);
    wait_hung();
    cr_assert_eq(append_one(f.wal, "more", 2, WAL_ACK), SE_ERR_BACKPRESSURE);
    struct caller again; /* whoever timed out may ask once more: that takes no second place */
    start_caller(&again, "leader", 1, 50);
    se__thread_join(&again.thread);
    cr_assert_eq(again.result, SE_ERR_TIMEOUT);
    hanging = false;
    se__mutex_unlock(&gate);
    se__thread_join(&leader.thread);
    cr_assert_eq(leader.result, SE_OK);
    cr_assert_eq(append_one(f.wal, "leader", 1, WAL_HOME), SE_OK);
    cr_assert_eq(stats_of(f.wal).live_records, 1);
    cr_assert_eq(stats_of(f.wal).home_records, 1);
}

/* Random failures under many threads: what was acknowledged is there after reopening. */
#define CALLERS 8
#define ROUNDS 60
static _Atomic uint64_t acknowledged[CALLERS];

static void append_on(void *arg)
{
    unsigned number = *(unsigned *)arg;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        char id[16];
        snprintf(id, sizeof id, "caller%u", number);
        if (append_one(f.wal, id, i, WAL_ACK) == SE_OK)
            atomic_store(&acknowledged[number], i);
    }
}

Test(wal_faults, failures_under_load_lose_nothing_acknowledged)
{
    struct se__thread threads[CALLERS];
    unsigned numbers[CALLERS];
    for (int round = 0; round < 10; round++) {
        for (unsigned i = 0; i < CALLERS; i++) {
            numbers[i] = i;
            acknowledged[i] = 0;
            threads[i] = (struct se__thread){0};
            cr_assert_eq(se__thread_start(&threads[i], "append", append_on, &numbers[i]), SE_OK);
        }
        for (int i = 0; i < 10; i++) {
            if (i % 3 == 0)
                atomic_store(&failing_syncs, i % 2 + 1);
            else
                atomic_store(&failing_writes, 1);
            (void)se__wal_tend(f.wal, i % 2);
        }
        for (unsigned i = 0; i < CALLERS; i++)
            se__thread_join(&threads[i]);
        failing_syncs = failing_writes = 0;
        fixture_reopen(&f);
        for (unsigned i = 0; i < CALLERS; i++) {
            char id[16];
            uint64_t version;
            snprintf(id, sizeof id, "caller%u", i);
            cr_assert((find_version(f.wal, id, &version) != WAL_NOWHERE) || acknowledged[i] == 0);
            cr_assert(version >= acknowledged[i], "%llu, acknowledged %llu",
                      (unsigned long long)version, (unsigned long long)acknowledged[i]);
            confirm_one(f.wal, id, ROUNDS);
        }
        fixture_reopen(&f);
    }
}

/* PATH and its journal under another name, as a crash would leave them. */
static size_t copy_as_after_a_crash(const char *to)
{
    char command[800], journal[220];
    struct stat st;
    snprintf(command, sizeof command, "cp '%s' '%s' && cp '%s-wal' '%s-wal'", f.path, to, f.path,
             to);
    cr_assert_eq(system(command), 0);
    snprintf(journal, sizeof journal, "%s-wal", to);
    cr_assert_eq(stat(journal, &st), 0);
    return (size_t)st.st_size;
}

/* An fsync of it may have failed and the process been killed before it moved to a new file: then the
 * kernel shows what the disk does not have. */
Test(wal_faults, a_journal_left_by_a_crash_is_written_once_more_and_synced)
{
    uint64_t version;
    char left[200];
    cr_assert_eq(append_one(f.wal, "a", 1, WAL_ACK), SE_OK);
    snprintf(left, sizeof left, "%s/left", f.dir);
    size_t bytes = copy_as_after_a_crash(left);
    se__wal_close(f.wal);
    f.wal = NULL;
    f.options.path = left;
    failing_syncs = 1;
    cr_assert_eq(se__wal_open(&f.options, &f.wal), SE_ERR_IO);
    size_t before = written;
    fixture_open(&f);
    cr_assert_geq(written - before, bytes);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_RECOVERED);
    cr_assert_eq(version, 1);
}
