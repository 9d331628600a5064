/* The word that a forked child sees as zero. */
#include "base/os.h"
#include "support/test.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

typedef se_result (*open_fn)(struct se__forkword *f);
static const open_fn ways[] = {se__forkword_open, se__forkword_open_by_handler};

/* In a child: is the word not ours, and do new ones work there? */
static int child_sees(const struct se__forkword *parents)
{
    if (se__forkword_ours(parents))
        return 1;
    for (int w = 0; w < 2; w++) {
        struct se__forkword own;
        if (ways[w](&own) != SE_OK || !se__forkword_ours(&own))
            return 2;
        se__forkword_close(&own);
    }
    pid_t grandchild = fork();
    if (grandchild == 0)
        _exit(se__forkword_ours(parents) ? 3 : 0);
    int status;
    waitpid(grandchild, &status, 0);
    return WEXITSTATUS(status);
}

Test(forkword, is_ours_here_and_not_in_a_child)
{
    for (int w = 0; w < 2; w++) {
        struct se__forkword f[3];
        for (int i = 0; i < 3; i++)
            cr_assert_eq(ways[w](&f[i]), SE_OK);
        se__forkword_close(&f[1]);
        cr_assert_null((const void *)f[1].word);
        pid_t child = fork();
        if (child == 0)
            _exit(child_sees(&f[0]) * 10 + child_sees(&f[2]));
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert_eq(status, 0, "way %d: %d", w, WEXITSTATUS(status));
        cr_assert(se__forkword_ours(&f[0]) && se__forkword_ours(&f[2]));
        se__forkword_close(&f[2]);
        se__forkword_close(&f[0]);
        se__forkword_close(&f[0]); /* again: nothing */
    }
}

static void open_and_close(void *arg)
{
    atomic_store((_Atomic bool *)arg, true);
    for (int i = 0; i < 500; i++) {
        struct se__forkword f;
        if (ways[1](&f) == SE_OK)
            se__forkword_close(&f);
    }
}

Test(forkword, fork_while_others_open_and_close)
{
    struct se__thread t;
    struct se__forkword f;
    cr_assert_eq(ways[1](&f), SE_OK);
    _Atomic bool running = false;
    cr_assert_eq(se__thread_start(&t, "opener", open_and_close, &running), SE_OK);
    /* A child forked while the thread is being made has its memory and not the
     * thread: a leak to leak checkers. */
    for (uint64_t deadline = se__deadline_in(60000); !atomic_load(&running);)
        cr_assert_gt(se__deadline_left(deadline), 0u);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(se__forkword_ours(&f) ? 1 : 0);
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert_eq(status, 0);
    }
    se__thread_join(&t);
    se__forkword_close(&f);
}

/* ---- descriptors of a library that is still connecting ---- */

static int listen_at(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    cr_assert_eq(listen(fd, 8), 0);
    return fd;
}

static int connect_to(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* Whether a forked child has it. */
static bool child_has(int fd)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(fcntl(fd, F_GETFD) >= 0);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WEXITSTATUS(status) == 1;
}

Test(forkdial, children_do_not_get_what_is_being_connected)
{
    char dir[] = "/tmp/se-fork-XXXXXX", ours[64], others[64];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(ours, sizeof ours, "%s/ours", dir);
    snprintf(others, sizeof others, "%s/others", dir);
    int servers[] = {listen_at(ours), listen_at(others)};
    struct se__fork_dial dials[2];
    se__fork_dial_begin(&dials[0], ours);
    se__fork_dial_begin(&dials[1], ours);
    int theirs = connect_to(others), fds[] = {connect_to(ours), connect_to(ours)};
    for (int i = 0; i < 2; i++)
        cr_assert_not(child_has(fds[i]), "%d", i);
    cr_assert(child_has(theirs) && child_has(servers[0]), "whoever else's it is");
    cr_assert(fcntl(fds[0], F_GETFD) >= 0, "the parent's stays");
    se__fork_dial_end(&dials[0]);
    cr_assert_not(child_has(fds[0]));
    se__fork_dial_end(&dials[1]);
    cr_assert(child_has(fds[0]) && child_has(fds[1]));
    for (int i = 0; i < 2; i++) {
        close(fds[i]);
        close(servers[i]);
    }
    close(theirs);
    unlink(ours);
    unlink(others);
    rmdir(dir);
}
