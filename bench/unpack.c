/*
 * unpack - see unpack.h.
 */
#include "unpack.h"

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void *resized(void *memory, size_t bytes)
{
    void *grown = realloc(memory, bytes ? bytes : 1);
    if (!grown)
        bench_fail("out of memory");
    return grown;
}

static struct bytes read_all(int fd, const char *path)
{
    struct bytes b = {NULL, 0};
    size_t room = 0;
    for (ssize_t got = 1; got > 0;) {
        if (room - b.n < 2)
            b.at = resized(b.at, room = room * 2 + 65536);
        got = read(fd, b.at + b.n, room - b.n - 1);
        if (got < 0 && errno != EINTR)
            bench_fail("%s: %s", path, strerror(errno));
        b.n += got > 0 ? (size_t)got : 0;
        got = got < 0 ? 1 : got;
    }
    b.at[b.n] = '\0';
    return b;
}

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static const char *unpacker(const char *path)
{
    return ends_in(path, ".zst")  ? "zstd"
           : ends_in(path, ".gz") ? "gzip"
           : ends_in(path, ".xz") ? "xz"
                                  : NULL;
}

/* `program -dc` with fd as its input; *out is where its output comes from. */
static pid_t start_unpacking(const char *program, int fd, int *out)
{
    char *argv[] = {(char *)program, "-dc", NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];
    pid_t pid;
    if (pipe2(ends, O_CLOEXEC) != 0 || posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) != 0 ||
        posix_spawnp(&pid, program, &actions, NULL, argv, environ) != 0)
        bench_fail("%s cannot be started", program);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *out = ends[0];
    return pid;
}

static struct bytes unpack(const char *program, int fd, const char *path)
{
    int out, status;
    pid_t pid = start_unpacking(program, fd, &out);
    struct bytes b = read_all(out, path);
    close(out);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        bench_fail("%s: %s cannot unpack it", path, program);
    return b;
}

struct bytes unpack_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        bench_fail("%s: %s", path, strerror(errno));
    const char *program = unpacker(path);
    struct bytes b = program ? unpack(program, fd, path) : read_all(fd, path);
    close(fd);
    return b;
}
