/*
 * os - every clock, wait, lock, thread, random byte and socket of the library.
 *
 * Nothing outside this file's implementation calls pthread, clock_gettime, poll, socket, getrandom
 * or sleeps. os_posix.c, os_bell.c, os_fork.c, os_signal.c and os_net.c are the real implementation; a second one (a seeded
 * scheduler with fake time) can be linked in its place, because callers only see these
 * declarations. Client libraries (libmariadb, sqlite3) do their own I/O and are replaced as whole
 * tiers (tier/tier.h) instead.
 *
 * Time: `mono` never goes back and is used for all waits and deadlines; `wall` is Unix time in
 * milliseconds and may jump. A deadline is a mono time in ms; SE__FOREVER means none.
 *
 * Threads: any, unless said otherwise. Locks are not recursive.
 */
#ifndef SE_BASE_OS_H
#define SE_BASE_OS_H

#include "base/error.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#define SE__FOREVER UINT64_MAX

/* ---- time ---- */
uint64_t se__mono_ns(void);
uint64_t se__mono_ms(void);
int64_t se__wall_ms(void);
/* now + ms, saturating at SE__FOREVER. */
uint64_t se__deadline_in(uint64_t ms);
/* Milliseconds left until the deadline, 0 when it has passed; SE__FOREVER for SE__FOREVER. */
uint64_t se__deadline_left(uint64_t deadline_ms);

/* ---- locks ---- */
struct se__mutex {
    pthread_mutex_t m;
};
struct se__cond {
    pthread_cond_t c;
};
void se__mutex_init(struct se__mutex *m);
void se__mutex_done(struct se__mutex *m);
void se__mutex_lock(struct se__mutex *m);
void se__mutex_unlock(struct se__mutex *m);
void se__cond_init(struct se__cond *c); /* waits on mono time */
void se__cond_done(struct se__cond *c);
void se__cond_wait(struct se__cond *c, struct se__mutex *m);
/* Returns false if the deadline passed first. Spurious wake-ups return true. */
bool se__cond_wait_until(struct se__cond *c, struct se__mutex *m, uint64_t deadline_ms);
void se__cond_signal(struct se__cond *c);
void se__cond_broadcast(struct se__cond *c);

/* ---- bells ---- */
/* What many threads wait for at once, and leave without taking a lock: ringing is one system call that
 * wakes all of them. The way to wait is
 *     for (;;) {
 *         uint32_t heard = se__bell_heard(bell);
 *         if (what is waited for, read with acquire, has happened ||
 *             !se__bell_wait(bell, heard, deadline_ms))
 *             break;
 *     }
 * and to ring after having stored that with release. All-zero is a bell. */
struct se__bell {
    _Atomic uint32_t rings;
};
uint32_t se__bell_heard(const struct se__bell *b);
/* Until it has rung since `heard`, or is thought to have; false if the deadline passed first. */
bool se__bell_wait(struct se__bell *b, uint32_t heard, uint64_t deadline_ms);
void se__bell_ring(struct se__bell *b);

/* ---- threads ---- */
struct se__thread {
    pthread_t t;
    bool started;
};
/* Starts `run(arg)` with all signals blocked. `name` (at most 15 bytes are kept) is shown by ps and
 * gdb. SE_ERR_NOMEM if the system has no thread to give. */
SE_NODISCARD se_result se__thread_start(struct se__thread *t, const char *name, void (*run)(void *),
                                        void *arg);
/* Waits for the end. Does nothing if the thread was never started or is joined already. */
void se__thread_join(struct se__thread *t);
/* A small id of the calling thread: 1, 2, 3 in the order of first calls,
 * never given twice in a process. */
extern _Thread_local __attribute__((tls_model("initial-exec"))) uint64_t se__thread_number;
uint64_t se__thread_count(void); /* gives the calling thread its number */
uint64_t se__thread_total(void); /* the last number given; seq_cst, as is the giving */
static inline uint64_t se__thread_id(void)
{
    return __builtin_expect(se__thread_number != 0, 1) ? se__thread_number : se__thread_count();
}
/* Pauses the calling thread; only for bounded throttling of a
 * writer, never to wait for an event. */
void se__pause_ms(uint32_t ms);

/* ---- huge pages ---- */
#define SE__HUGE_PAGE ((size_t)2 << 20)
/* Whether the system has such pages (of this size) and its administrator has not forbidden them. */
bool se__huge_pages_allowed(void);
/* Has the kernel put the memory from `at`, a multiple of SE__HUGE_PAGE, on one page: some hundred
 * microseconds. Contents and addresses stay as they are; false: all stays as it was. */
bool se__huge_page_make(uintptr_t at);

/* ---- randomness ---- */
/* Fills the buffer from the system's generator; falls back to clock and addresses, never fails. */
void se__random_bytes(void *buf, size_t len);
uint64_t se__random_u64(void);

/* ---- forked children ---- */
/* A word that reads 1 in the process that made it and 0 in any forked child (MADV_WIPEONFORK, Linux
 * 4.14; elsewhere a pthread_atfork handler clears it, which a bare clone() does not run). */
struct se__forkword {
    volatile uint32_t *word;
};
SE_NODISCARD se_result se__forkword_open(struct se__forkword *f);
/* For tests: as se__forkword_open on a kernel that cannot wipe. */
SE_NODISCARD se_result se__forkword_open_by_handler(struct se__forkword *f);
void se__forkword_close(struct se__forkword *f);
static inline bool se__forkword_ours(const struct se__forkword *f)
{
    return *f->word != 0;
}

/* Children by fork() have `fd` closed, until se__fork_closes_no_more(fd), which goes before its close. */
SE_NODISCARD se_result se__fork_closes(int fd);
void se__fork_closes_no_more(int fd);
/* For a library that connects to a unix socket without close-on-exec, and says which descriptor it is
 * when it is done: children by fork() between the two calls have it closed. It is known by its peer,
 * and by a number that is not far from the first free one. The struct is the caller's, and stays where
 * it is. */
struct se__fork_dial {
    const char *path; /* of the peer */
    int from;
    struct se__fork_dial *next;
};
void se__fork_dial_begin(struct se__fork_dial *d, const char *path);
void se__fork_dial_end(struct se__fork_dial *d);
/* Another library's locks: whoever calls fork() takes them before, and both processes give them back,
 * so that a child finds them free. Neither may fork or come back here. Once for a process: more calls
 * change nothing. */
struct se__fork_locks {
    void (*take)(void), (*give)(void);
    bool listed;
    struct se__fork_locks *next;
};
SE_NODISCARD se_result se__fork_takes(struct se__fork_locks *l);
/* For descriptors that others have made: programs started by exec() do not get it. */
void se__exec_closes(int fd);

/* ---- files ---- */
/* Takes an exclusive advisory lock (an open file description lock) on `path`, creating the file
 * with mode 0600. SE_ERR_STATE if another holder, in this or another process, has it; SE_ERR_IO
 * for anything else. A forked child does not hold it too. */
SE_NODISCARD se_result se__filelock_open(const char *path, int *fd);
void se__filelock_close(int fd); /* -1 is allowed; leaves the file in place */

/* Between the two a write beyond RLIMIT_FSIZE is an error (EFBIG) and raises no SIGXFSZ in the
 * calling thread, whose own mask is restored. They nest; on one thread. */
struct se__filelimit {
    bool held;
};
void se__filelimit_hold(struct se__filelimit *f);
void se__filelimit_release(const struct se__filelimit *f);

/* ---- sockets ---- */
/* Connects a non-blocking, close-on-exec stream socket. host NULL: `path` is a unix socket. Name
 * lookup (which may outlast the deadline; call it off the callers' threads) tries every address in
 * turn. SE_ERR_TIMEOUT or SE_ERR_BACKEND. */
SE_NODISCARD se_result se__net_connect(const char *host, uint16_t port, const char *path,
                                       uint64_t deadline_ms, int *fd);
/* Writes all of it (MSG_NOSIGNAL). SE_ERR_TIMEOUT or SE_ERR_BACKEND:
 * the stream is unusable then. */
SE_NODISCARD se_result se__net_write(int fd, const void *buf, size_t len, uint64_t deadline_ms);
/* Writes what the socket takes at once; *written may be 0. SE_ERR_BACKEND. */
SE_NODISCARD se_result se__net_write_some(int fd, const void *buf, size_t len, size_t *written);
/* Reads at least one byte, at most cap. End of stream is SE_ERR_BACKEND. */
SE_NODISCARD se_result se__net_read(int fd, void *buf, size_t cap, uint64_t deadline_ms,
                                    size_t *len);
/* From now on a read whose deadline is far enough away waits inside the one system call, in steps of
 * some ms, instead of asking, polling and asking again. Nothing else about the socket changes. */
void se__net_read_patiently(int fd);
/* True if the peer is on this machine: what is sent is there at once. */
bool se__net_near(int fd);
/* Listens on a numeric IPv4 or IPv6 address, SE_ERR_INVALID if it is none; *port 0: the system
 * chooses one, which is stored there. SE_ERR_IO: it cannot be had. */
SE_NODISCARD se_result se__net_listen(const char *address, uint16_t *port, int *fd);
/* For client libraries that do their own I/O: waits until the socket is ready for one of `events` (SE__NET_READ, SE__NET_WRITE)
 * and returns which; an error of the socket counts as all of them. 0 once the deadline has passed, ready or not. */
enum { SE__NET_READ = 1, SE__NET_WRITE = 2 };
unsigned se__net_wait(int fd, unsigned events, uint64_t deadline_ms);
void se__net_close(int fd);    /* -1 is allowed */
void se__net_shutdown(int fd); /* wakes whoever is blocked on it; the descriptor stays open */
/* True if the peer has closed or sent bytes nobody asked for: an idle connection
 * that must not be used again. */
bool se__net_idle_broken(int fd);

#endif
