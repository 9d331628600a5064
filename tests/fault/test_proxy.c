/*
 * The proxy itself: what each plan does to a conversation, seen by a bare client before an echoing server.
 *
 * The server answers every read with the same bytes, so a turn is a line there and back.
 */
#include "support/proxy.h"

#include "base/os.h"
#include "support/dir.h"
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 10000u
#define QUIET_MS 60u

static struct echo {
    struct test_dir dir;
    char path[256];
    int listener, clients[64];
    unsigned n;
    atomic_bool stop;
    _Atomic uint64_t heard; /* bytes */
    struct se__thread thread;
} echo;
static struct proxy *proxy;

static void say_back(int fd)
{
    char bytes[4096];
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n <= 0)
        return;
    atomic_fetch_add(&echo.heard, (uint64_t)n);
    (void)send(fd, bytes, (size_t)n, MSG_NOSIGNAL);
}

static void serve(void *arg)
{
    (void)arg;
    while (!atomic_load(&echo.stop)) {
        struct pollfd fds[65] = {{.fd = echo.listener, .events = POLLIN}};
        for (unsigned i = 0; i < echo.n; i++)
            fds[i + 1] = (struct pollfd){.fd = echo.clients[i], .events = POLLIN};
        if (poll(fds, echo.n + 1, 5) <= 0)
            continue;
        for (unsigned i = 0; i < echo.n; i++)
            if (fds[i + 1].revents & POLLIN)
                say_back(echo.clients[i]);
        if (fds[0].revents & POLLIN)
            echo.clients[echo.n++] = accept(echo.listener, NULL, NULL);
    }
}

static void start(enum proxy_wire wire)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    echo = (struct echo){0};
    test_dir_make(&echo.dir);
    test_dir_path(&echo.dir, "", "s", echo.path);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", echo.path);
    echo.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(echo.listener, (struct sockaddr *)&a, sizeof a), 0);
    cr_assert_eq(listen(echo.listener, 16), 0);
    cr_assert_eq(se__thread_start(&echo.thread, "echo", serve, NULL), SE_OK);
    proxy = proxy_start(wire, echo.path, 1);
}

static void stop(void)
{
    proxy_stop(proxy);
    atomic_store(&echo.stop, true);
    se__thread_join(&echo.thread);
    for (unsigned i = 0; i < echo.n; i++)
        close(echo.clients[i]);
    close(echo.listener);
    test_dir_remove(&echo.dir);
}

static se_result try_dial(uint32_t ms, int *fd)
{
    *fd = -1;
    return se__net_connect("127.0.0.1", proxy_port(proxy), NULL, se__deadline_in(ms), fd);
}

static int dial(void)
{
    int fd;
    cr_assert_eq(try_dial(PATIENCE_MS, &fd), SE_OK, "%s", se_errmsg());
    return fd;
}

static void say(int fd, const char *text)
{
    cr_assert_eq(se__net_write(fd, text, strlen(text), se__deadline_in(PATIENCE_MS)), SE_OK);
}

/* Reads until `want` bytes are there, the end or silence for `ms`. Returns how many came. */
static size_t hear(int fd, char *text, size_t want, uint32_t ms, se_result *ended)
{
    size_t got = 0, len = 0;
    *ended = SE_OK;
    while (got < want && *ended == SE_OK) {
        *ended = se__net_read(fd, text + got, want - got, se__deadline_in(ms), &len);
        got += *ended == SE_OK ? len : 0;
    }
    return got;
}

static void expect_echo(int fd, const char *text)
{
    char heard[256];
    se_result ended;
    say(fd, text);
    size_t n = hear(fd, heard, strlen(text), PATIENCE_MS, &ended);
    cr_assert(n == strlen(text) && memcmp(heard, text, n) == 0, "%zu bytes, %d", n, ended);
}

Test(proxy, relays_both_ways)
{
    start(PROXY_REDIS);
    int a = dial(), b = dial();
    expect_echo(a, "from a");
    expect_echo(b, "from b");
    expect_echo(a, "again");
    cr_assert_eq(proxy_count(proxy).struck, 0);
    cr_assert_eq(proxy_count(proxy).accepted, 2);
    close(a);
    close(b);
    stop();
}

Test(proxy, delays_and_drips)
{
    char heard[16];
    se_result ended;
    start(PROXY_REDIS);
    int fd = dial();
    proxy_set(proxy, &(struct proxy_plan){.what = PROXY_DELAY, .ms = 80});
    uint64_t began = se__mono_ms();
    expect_echo(fd, "late");
    cr_assert_geq(se__mono_ms() - began, 79);
    proxy_set(proxy, &(struct proxy_plan){.what = PROXY_DRIP, .ms = 20});
    began = se__mono_ms();
    say(fd, "drops");
    cr_assert_eq(hear(fd, heard, 1, PATIENCE_MS, &ended), 1);
    cr_assert_eq(hear(fd, heard + 1, 4, PATIENCE_MS, &ended), 4);
    cr_assert_geq(se__mono_ms() - began, 99);
    cr_assert(memcmp(heard, "drops", 5) == 0);
    proxy_set(proxy, NULL);
    expect_echo(fd, "as before");
    close(fd);
    stop();
}

static void expect_cut(enum proxy_what what, se_result how)
{
    char heard[16];
    se_result ended;
    int fd = dial();
    expect_echo(fd, "whole");
    proxy_set(proxy, &(struct proxy_plan){.what = what, .bytes = 3});
    say(fd, "abcdef");
    uint32_t ms = how == SE_ERR_TIMEOUT ? QUIET_MS : PATIENCE_MS;
    size_t n = hear(fd, heard, sizeof heard, ms, &ended);
    cr_assert(n == (what == PROXY_CUT_RESET ? n : 3), "%zu bytes", n); /* a reset may overtake */
    cr_assert_eq(ended, how, "%s", se_errmsg());
    if (what == PROXY_CUT_RESET || what == PROXY_RESET_REQUEST)
        cr_assert(strstr(se_errmsg(), "reset"), "%s", se_errmsg());
    proxy_set(proxy, NULL);
    close(fd);
}

Test(proxy, cuts_replies)
{
    start(PROXY_REDIS);
    expect_cut(PROXY_CUT_CLOSE, SE_ERR_BACKEND);
    expect_cut(PROXY_CUT_RESET, SE_ERR_BACKEND);
    expect_cut(PROXY_CUT_SILENT, SE_ERR_TIMEOUT);
    cr_assert_eq(proxy_count(proxy).struck, 3);
    stop();
}

Test(proxy, resets_in_the_middle_of_a_request)
{
    char heard[16];
    se_result ended;
    start(PROXY_REDIS);
    int fd = dial();
    expect_echo(fd, "whole");
    uint64_t before = atomic_load(&echo.heard);
    proxy_set(proxy, &(struct proxy_plan){.what = PROXY_RESET_REQUEST, .bytes = 2});
    say(fd, "abcdef");
    cr_assert_eq(hear(fd, heard, sizeof heard, PATIENCE_MS, &ended), 0);
    cr_assert(strstr(se_errmsg(), "reset"), "%s", se_errmsg());
    for (uint64_t by = se__deadline_in(PATIENCE_MS);
         atomic_load(&echo.heard) < before + 2 && se__deadline_left(by);)
        se__pause_ms(1);
    cr_assert_eq(atomic_load(&echo.heard), before + 2, "the server saw the beginning");
    close(fd);
    stop();
}

Test(proxy, resets_what_is_idle)
{
    char heard[16];
    se_result ended;
    start(PROXY_REDIS);
    int fd = dial();
    expect_echo(fd, "whole");
    proxy_reset_all(proxy);
    cr_assert_eq(hear(fd, heard, 1, PATIENCE_MS, &ended), 0);
    cr_assert(strstr(se_errmsg(), "reset"), "%s", se_errmsg());
    close(fd);
    fd = dial();
    expect_echo(fd, "a new one works");
    close(fd);
    stop();
}

Test(proxy, peers_vanish_and_stay_gone)
{
    char heard[16];
    se_result ended;
    int other;
    start(PROXY_REDIS);
    int fd = dial();
    expect_echo(fd, "whole");
    proxy_set(proxy, &(struct proxy_plan){.what = PROXY_VANISH});
    say(fd, "is anybody there?");
    cr_assert_eq(hear(fd, heard, 1, QUIET_MS, &ended), 0);
    cr_assert_eq(ended, SE_ERR_TIMEOUT);
    cr_assert_eq(try_dial(QUIET_MS, &other), SE_ERR_TIMEOUT, "connects hang");
    proxy_set(proxy, NULL);
    say(fd, "and now?");
    cr_assert_eq(hear(fd, heard, 1, QUIET_MS, &ended), 0);
    other = dial();
    expect_echo(other, "a new one works");
    close(other);
    close(fd);
    stop();
}

Test(proxy, refuses_or_says_nothing)
{
    char heard[16];
    se_result ended;
    int fd;
    start(PROXY_REDIS);
    for (int round = 0; round < 3; round++) {
        proxy_set(proxy, &(struct proxy_plan){.what = PROXY_REFUSE});
        cr_assert_eq(try_dial(PATIENCE_MS, &fd), SE_ERR_BACKEND);
        cr_assert(strstr(se_errmsg(), "refused"), "%s", se_errmsg());
        proxy_set(proxy, &(struct proxy_plan){.what = PROXY_MUTE});
        fd = dial();
        say(fd, "hello?");
        cr_assert_eq(hear(fd, heard, 1, QUIET_MS, &ended), 0);
        cr_assert_eq(ended, SE_ERR_TIMEOUT);
        close(fd);
        proxy_set(proxy, NULL);
        fd = dial();
        expect_echo(fd, "back");
        close(fd);
    }
    stop();
}

static void expect_reply(int fd, const char *asked, size_t asked_len, const char *reply, size_t len)
{
    char heard[256];
    se_result ended;
    cr_assert_eq(se__net_write(fd, asked, asked_len, se__deadline_in(PATIENCE_MS)), SE_OK);
    size_t n = hear(fd, heard, len, PATIENCE_MS, &ended);
    cr_assert(n == len && memcmp(heard, reply, len) == 0, "%zu bytes: %.*s", n, (int)n, heard);
}

/* Two commands in a pipeline, the second in two pieces: two errors. What comes next is the server's again. */
Test(proxy, answers_redis_commands_itself)
{
    static const char get[] = "*2\r\n$3\r\nGET\r\n$1\r\nx\r\n", part[] = "*1\r\n$4\r\nPI";
    start(PROXY_REDIS);
    int fd = dial();
    expect_echo(fd, "an introduction");
    proxy_set(proxy,
              &(struct proxy_plan){.what = PROXY_INJECT, .inject = {.redis = "LOADING wait"}});
    expect_reply(fd, get, sizeof get - 1, "-LOADING wait\r\n", 15);
    say(fd, part);
    expect_reply(fd, "NG\r\n", 4, "-LOADING wait\r\n", 15);
    cr_assert_eq(proxy_count(proxy).struck, 2);
    proxy_set(proxy, NULL);
    expect_echo(fd, "the server again");
    close(fd);
    stop();
}

/* An ERR packet under the next sequence number, for what matches only. */
Test(proxy, answers_mysql_commands_itself)
{
    static const char ok[] = "\x01\0\0\1\0", commit[] = "\x07\0\0\0\3COMMIT",
                      select[] = "\x09\0\0\0\3SELECT 1",
                      error[] = "\x11\0\0\1\xff\xbd\x04#40001deadlock"; /* 1213 */
    const struct proxy_plan plan = {.what = PROXY_INJECT,
                                    .inject = {.code = 1213,
                                               .state = "40001",
                                               .words = "deadlock",
                                               .commands = PROXY_QUERY,
                                               .text = "COMMIT"}};
    start(PROXY_MYSQL);
    int fd = dial();
    expect_reply(fd, ok, sizeof ok - 1, ok, sizeof ok - 1); /* echoed: let in */
    proxy_set(proxy, &plan);
    expect_reply(fd, commit, sizeof commit - 1, error, sizeof error - 1);
    expect_reply(fd, select, sizeof select - 1, select, sizeof select - 1);
    expect_reply(fd, commit, sizeof commit - 1, error, sizeof error - 1);
    cr_assert_eq(proxy_count(proxy).struck, 2);
    close(fd);
    stop();
}
