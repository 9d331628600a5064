/*
 * redis_server - see redis_server.h.
 *
 * The child gets PR_SET_PDEATHSIG, so a test that crashes leaves no server behind. Between fork and
 * exec only system calls are made: the test process may have threads. A chosen port may be taken by
 * somebody else before the server binds it, so a server that ends at once is tried on another port;
 * that is about the fixture, never about what is tested.
 */
#include "support/redis_server.h"

#include <hiredis/hiredis.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS 20000
#define ARGS_MAX 48

static _Noreturn void give_up(const char *what, const char *detail)
{
    fprintf(stderr, "redis_server: %s: %s (%s)\n", what, detail, strerror(errno));
    abort();
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        give_up("no port", "127.0.0.1");
    close(fd);
    return ntohs(a.sin_port);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void remove_data(const char *dir)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Fills argv; port must outlive it. */
static void build_args(const struct redis_server *s, char port[8], const char *argv[ARGS_MAX])
{
    snprintf(port, 8, "%u", s->port);
    const char *fixed[] = {"redis-server",
                           "--port",
                           port,
                           "--bind",
                           "127.0.0.1",
                           "--unixsocket",
                           s->socket,
                           "--dir",
                           s->dir,
                           "--save",
                           "",
                           "--daemonize",
                           "no",
                           "--logfile",
                           "log",
                           "--appendfsync",
                           "always",
                           "--appendonly",
                           s->options.append_only ? "yes" : "no",
                           "--enable-debug-command",
                           "yes"};
    size_t n = 0;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        argv[n++] = fixed[i];
    if (s->options.password) {
        argv[n++] = "--requirepass";
        argv[n++] = s->options.password;
    }
    for (size_t i = 0; i < 8 && s->options.extra[i]; i++)
        argv[n++] = s->options.extra[i];
    argv[n] = NULL;
}

static void spawn(struct redis_server *s)
{
    const char *argv[ARGS_MAX];
    char port[8];
    build_args(s, port, argv);
    unlink(s->socket);
    pid_t parent = getpid();
    s->pid = fork();
    if (s->pid < 0)
        give_up("fork", s->dir);
    if (s->pid > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static redisContext *dial(const struct redis_server *s)
{
    redisContext *c = redisConnectUnixWithTimeout(s->socket, (struct timeval){.tv_sec = 10});
    if (!c || c->err) {
        redisFree(c);
        return NULL;
    }
    redisSetTimeout(c, (struct timeval){.tv_sec = 10});
    if (s->options.password)
        freeReplyObject(redisCommand(c, "AUTH %s", s->options.password));
    return c;
}

/* An answer that is not an error: a server that is still loading says -LOADING. */
static bool answers(const struct redis_server *s)
{
    redisContext *c = dial(s);
    if (!c)
        return false;
    redisReply *r = redisCommand(c, "PING");
    bool ok = r && r->type == REDIS_REPLY_STATUS;
    freeReplyObject(r);
    redisFree(c);
    return ok;
}

/* False if the child ended instead. */
static bool wait_ready(struct redis_server *s)
{
    for (int64_t end = now_ms() + START_MS; now_ms() < end; poll(NULL, 0, 5)) {
        if (answers(s))
            return true;
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
            s->pid = 0;
            return false;
        }
    }
    give_up("does not answer", s->socket);
}

static void bring_up(struct redis_server *s)
{
    for (int attempt = 0; attempt < 5; attempt++) {
        spawn(s);
        if (wait_ready(s)) {
            s->lives++;
            return;
        }
        if (s->port && s->lives == 0)
            s->port = free_port();
    }
    give_up("does not start; see log", s->dir);
}

void redis_server_start(struct redis_server *s, const struct redis_server_options *options)
{
    *s = (struct redis_server){.dir = "/dev/shm/se-redis-XXXXXX"};
    if (options)
        s->options = *options;
    if (!mkdtemp(s->dir))
        give_up("mkdtemp", s->dir);
    snprintf(s->socket, sizeof s->socket, "%s/sock", s->dir);
    if (s->options.tcp)
        s->port = free_port();
    bring_up(s);
}

void redis_server_kill(struct redis_server *s)
{
    if (s->pid <= 0)
        return;
    kill(s->pid, SIGKILL);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    s->pid = 0;
}

void redis_server_stop(struct redis_server *s)
{
    redis_server_kill(s);
    if (s->dir[0])
        remove_data(s->dir);
    s->dir[0] = '\0';
}

void redis_server_pause(struct redis_server *s)
{
    kill(s->pid, SIGSTOP);
    /* Only when the kernel says so has it stopped answering. */
    int status = 0;
    if (waitpid(s->pid, &status, WUNTRACED) != s->pid || !WIFSTOPPED(status))
        give_up("does not stop", s->dir);
}

void redis_server_resume(struct redis_server *s)
{
    kill(s->pid, SIGCONT);
}

void redis_server_restart(struct redis_server *s, bool keep_data)
{
    redis_server_kill(s);
    if (!keep_data) {
        remove_data(s->dir);
        if (mkdir(s->dir, 0700) != 0)
            give_up("mkdir", s->dir);
    }
    bring_up(s);
}

void redis_server_url(const struct redis_server *s, char *out, size_t cap)
{
    snprintf(out, cap, "unix://%s", s->socket);
}

void redis_server_tcp_url(const struct redis_server *s, char *out, size_t cap)
{
    const char *password = s->options.password;
    snprintf(out, cap, "redis://%s%s%s127.0.0.1:%u", password ? ":" : "", password ? password : "",
             password ? "@" : "", s->port);
}

struct text {
    char *out;
    size_t len, cap;
};

static void put(struct text *t, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len && t->len + 1 < t->cap; i++)
        t->out[t->len++] = bytes[i];
    t->out[t->len] = '\0';
}

static void render(struct text *t, const redisReply *r)
{
    char number[32];
    switch (r->type) {
    case REDIS_REPLY_INTEGER:
        put(t, number, (size_t)snprintf(number, sizeof number, "%lld", r->integer));
        break;
    case REDIS_REPLY_NIL:
        put(t, "(nil)", 5);
        break;
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < r->elements; i++) {
            put(t, "\n", i ? 1 : 0);
            render(t, r->element[i]);
        }
        break;
    default:
        put(t, "(error) ", r->type == REDIS_REPLY_ERROR ? 8 : 0);
        put(t, r->str, (size_t)r->len);
    }
}

size_t redis_server_ask(const struct redis_server *s, char *out, size_t cap, const char *format,
                        ...)
{
    redisContext *c = dial(s);
    if (!c)
        give_up("cannot connect", s->socket);
    va_list args;
    va_start(args, format);
    redisReply *r = redisvCommand(c, format, args);
    va_end(args);
    struct text t = {.out = out, .cap = cap};
    put(&t, "", 0);
    if (r)
        render(&t, r);
    else
        put(&t, "(no reply)", 10);
    freeReplyObject(r);
    redisFree(c);
    return t.len;
}
