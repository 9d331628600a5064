/*
 * kill -9 at any moment: what was acknowledged is there.
 *
 * A child appends from several threads and reports each acknowledgement through a pipe; the parent
 * kills it after a random number of them, opens the log and compares. A confirmation that was
 * reported before does not bring an older version back.
 */
#include "wal/fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 30
#define THREADS 4
#define IDS 20

struct report {
    uint32_t id;
    uint32_t confirmed; /* else acknowledged */
    uint64_t version;
};

static struct log_fixture f;
static int to_parent;
static _Atomic uint64_t next_version;

static void report(uint32_t id, uint64_t version, bool confirmed)
{
    struct report r = {id, confirmed, version};
    if (write(to_parent, &r, sizeof r) != sizeof r) /* at most PIPE_BUF: in one piece */
        _exit(1);
}

static void append_for_ever(void *arg)
{
    uint32_t thread = *(uint32_t *)arg;
    for (uint32_t i = 0;; i++) {
        char name[32];
        uint32_t id = thread * IDS + i % IDS; /* each id is written by one thread, in order */
        uint64_t version = atomic_fetch_add(&next_version, 1) + 1;
        snprintf(name, sizeof name, "id%u", id);
        if (append_one(f.wal, name, version, i % 3 ? WAL_ACK : WAL_HOME) != SE_OK)
            _exit(2);
        report(id, version, false);
        if (i % 7 != 3)
            continue;
        report(id, version, true);
        confirm_one(f.wal, name, version);
    }
}

static void run_child(uint64_t version)
{
    static uint32_t numbers[THREADS];
    static struct se__thread threads[THREADS];
    atomic_store(&next_version, version);
    fixture_open(&f);
    for (uint32_t i = 0; i < THREADS; i++) {
        numbers[i] = i;
        if (se__thread_start(&threads[i], "append", append_for_ever, &numbers[i]) != SE_OK)
            _exit(3);
    }
    for (int i = 0;; i++) {
        if (se__wal_tend(f.wal, i % 10 == 0) != SE_OK)
            _exit(4);
        se__pause_ms(1);
    }
}

struct known {
    uint64_t acknowledged, confirmed;
};

/* Reads what the child says until `reports` have come, kills it, and reads the rest. */
static void watch_child(pid_t child, int from_child, unsigned reports, struct known *known,
                        uint64_t *greatest)
{
    struct report r;
    bool killed = false;
    for (unsigned n = 0; read(from_child, &r, sizeof r) == sizeof r; n++) {
        if (r.confirmed)
            known[r.id].confirmed = r.version;
        else
            known[r.id].acknowledged = r.version;
        *greatest = r.version > *greatest ? r.version : *greatest;
        if (n >= reports && !killed) {
            kill(child, SIGKILL);
            killed = true;
        }
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "child ended by itself: %x",
              (unsigned)status);
}

static void check_log(const struct known *known)
{
    fixture_open(&f);
    for (uint32_t id = 0; id < THREADS * IDS; id++) {
        char name[32];
        uint64_t version;
        snprintf(name, sizeof name, "id%u", id);
        enum wal_place place = find_version(f.wal, name, &version);
        if (known[id].acknowledged > known[id].confirmed)
            cr_assert(place == WAL_RECOVERED && version >= known[id].acknowledged,
                      "%s: %llu, acknowledged %llu", name, (unsigned long long)version,
                      (unsigned long long)known[id].acknowledged);
    }
    se__wal_close(f.wal);
    f.wal = NULL;
}

Test(wal_kill, loses_nothing_acknowledged)
{
    struct known known[THREADS * IDS] = {0};
    uint64_t greatest = 0;
    unsigned seed = (unsigned)se__random_u64();
    fixture_init(&f);
    for (int round = 0; round < ROUNDS; round++) {
        int ends[2];
        cr_assert_eq(pipe(ends), 0);
        pid_t child = fork();
        cr_assert(child >= 0);
        if (child == 0) {
            close(ends[0]);
            to_parent = ends[1];
            run_child(greatest + 1000); /* versions of the killed one may be in the log */
        }
        close(ends[1]);
        watch_child(child, ends[0], (unsigned)rand_r(&seed) % 400 + 1, known, &greatest);
        close(ends[0]);
        check_log(known);
    }
    fixture_done(&f);
}
