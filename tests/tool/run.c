/*
 * run - see run.h.
 */
#include "run.h"

#include "support/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char directory[64];

static void clean_environment(void)
{
    for (char **at = environ; at && *at;) {
        char name[128];
        size_t len = strcspn(*at, "=");
        if (strncmp(*at, "SYNC_ENGINE_", 12) == 0 && len < sizeof name) {
            memcpy(name, *at, len);
            name[len] = 0;
            unsetenv(name);
            at = environ;
        } else {
            at++;
        }
    }
}

void run_init(void)
{
    clean_environment();
    cr_assert_not_null(getenv("SE_TOOL"), "SE_TOOL names the program; meson test sets it");
    snprintf(directory, sizeof directory, "/dev/shm/se-tool-test.XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(chdir(directory), 0);
}

void run_done(void)
{
    DIR *d = opendir(directory);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    cr_assert_eq(chdir("/"), 0);
    (void)rmdir(directory);
}

void write_file(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(bytes, 1, len, f), len);
    cr_assert_eq(fclose(f), 0);
}

char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f, "%s", path);
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*len + 1);
    cr_assert_eq(fread(bytes, 1, *len, f), *len);
    bytes[*len] = 0;
    fclose(f);
    return bytes;
}

bool says(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* In the child: the shell splits the words and becomes the program. */
static void child(const char *line, int in)
{
    char command[8192];
    int out = open("run-out", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int err = open("run-err", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    snprintf(command, sizeof command, "exec \"$SE_TOOL\" %s", line);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static pid_t start(const char *line, int in)
{
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        child(line, in);
    return pid;
}

static void pause_ms(long ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000};
    nanosleep(&t, NULL);
}

struct run run_wait(pid_t pid)
{
    static struct run last;
    int status = 0;
    pid_t got = 0;
    for (int i = 0; i < 12000 && (got = waitpid(pid, &status, WNOHANG)) == 0; i++)
        pause_ms(5);
    if (got == 0) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        cr_assert_fail("the program hangs");
    }
    free(last.out);
    free(last.err);
    last.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    last.out = read_file("run-out", &last.out_len);
    last.err = read_file("run-err", &last.err_len);
    return last;
}

static struct run run_v(const char *input, size_t input_len, const char *format, va_list args)
{
    char line[7000];
    vsnprintf(line, sizeof line, format, args);
    if (input)
        write_file("run-in", input, input_len);
    int in = open(input ? "run-in" : "/dev/null", O_RDONLY);
    cr_assert_geq(in, 0);
    pid_t pid = start(line, in);
    close(in);
    return run_wait(pid);
}

struct run run(const char *input, size_t input_len, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct run r = run_v(input, input_len, format, args);
    va_end(args);
    return r;
}

struct run run_expect(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct run r = run_v(NULL, 0, format, args);
    va_end(args);
    cr_assert_eq(r.status, status, "syncengine %s: status %d instead of %d\n%s%s", format, r.status,
                 status, r.out, r.err);
    return r;
}

pid_t run_start(int *in, const char *format, ...)
{
    char line[7000];
    int ends[2];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = start(line, ends[0]);
    close(ends[0]);
    *in = ends[1];
    return pid;
}
