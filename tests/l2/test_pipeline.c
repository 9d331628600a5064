/*
 * Pipelines far larger than what sockets hold, against servers of our own: one that answers a
 * command before it reads the next, and one that never reads.
 */
#include "base/os.h"
#include "l2/resp.h"
#include "support/test.h"

#include <hiredis/hiredis.h>
#include <malloc.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 20000u
#define ARG_LEN 1000u
#define COMMAND_LEN (4u + 7u + 7u + ARG_LEN + 2u) /* "*2", "$1" "X", "$1000" and the bytes */

struct server {
    int listener;
    uint16_t port;
    size_t reply_len;
    bool deaf, hoards;
    const char *says; /* to whatever comes first */
    int over[2];      /* a pipe that is closed then */
    struct se__thread thread;
    _Atomic size_t answered;
};

/* False: the client has gone. */
static bool take_command(int fd)
{
    char bytes[COMMAND_LEN];
    return recv(fd, bytes, sizeof bytes, MSG_WAITALL) == (ssize_t)sizeof bytes;
}

static bool answer(int fd, size_t number, char *reply, size_t len)
{
    int head = snprintf(reply, 32, "$%zu\r\n%012zu", len, number);
    reply[head] = 'x';
    size_t whole = (size_t)head - 12 + len + 2;
    memcpy(reply + whole - 2, "\r\n", 2);
    for (size_t at = 0; at < whole;) {
        ssize_t n = send(fd, reply + at, whole - at, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* As Redis does: reads whatever comes, and keeps in memory what is not taken. */
static void hoard(struct server *s, int fd, char *reply)
{
    static char bytes[1 << 16];
    size_t in = 0, done = 0, at = 0;
    int head = snprintf(reply, 32, "$%zu\r\n", s->reply_len);
    size_t whole = (size_t)head + s->reply_len + 2;
    memcpy(reply + whole - 2, "\r\n", 2);
    reply[head + 12] = 'x';
    for (ssize_t n = 1; n != 0;) {
        size_t owed = in / COMMAND_LEN - done;
        struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (owed ? POLLOUT : 0))};
        (void)poll(&p, 1, -1);
        n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        in += n > 0 ? (size_t)n : 0;
        atomic_store(&s->answered, in / COMMAND_LEN);
        if (owed && at == 0) {
            char number[16];
            snprintf(number, sizeof number, "%012zu", done);
            memcpy(reply + head, number, 12);
        }
        ssize_t out = owed ? send(fd, reply + at, whole - at, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
        at += out > 0 ? (size_t)out : 0;
        done += at == whole;
        at %= whole;
    }
}

/* Until the test is over. (What it has sent and nobody reads keeps a client's end from being seen.) */
static void ignore(const struct server *s)
{
    struct pollfd p = {.fd = s->over[0], .events = POLLIN};
    while (poll(&p, 1, -1) <= 0)
        continue;
}

static void say(int fd, const char *text)
{
    char bytes[256];
    (void)!recv(fd, bytes, sizeof bytes, 0);
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void serve(void *arg)
{
    struct server *s = arg;
    struct pollfd p = {.fd = s->listener, .events = POLLIN};
    (void)poll(&p, 1, (int)PATIENCE_MS);
    int fd = accept(s->listener, NULL, NULL);
    char *reply = malloc(s->reply_len + 64);
    memset(reply, 'x', s->reply_len + 64);
    if (s->says)
        say(fd, s->says);
    if (s->says || s->deaf)
        ignore(s);
    if (s->hoards)
        hoard(s, fd, reply);
    for (size_t n = 0; !s->says && !s->deaf && !s->hoards && take_command(fd); n++) {
        atomic_store(&s->answered, n + 1);
        if (!answer(fd, n, reply, s->reply_len))
            break;
    }
    free(reply);
    close(fd);
}

struct client {
    struct server server;
    struct resp *resp;
    size_t delivered, owed_max;
    bool wrong;
};

static void start_as(struct client *c, const struct server *as)
{
    *c = (struct client){.server = *as};
    char host[] = "127.0.0.1";
    cr_assert_eq(pipe(c->server.over), 0);
    cr_assert_eq(se__net_listen(host, &c->server.port, &c->server.listener), SE_OK);
    cr_assert_eq(se__thread_start(&c->server.thread, "server", serve, &c->server), SE_OK);
    struct url url = {.host = host, .port = c->server.port};
    cr_assert_eq(se__resp_open(&url, se__deadline_in(PATIENCE_MS), &c->resp), SE_OK, "%s",
                 se_errmsg());
}

static void start(struct client *c, size_t reply_len, bool deaf)
{
    start_as(c, &(struct server){.reply_len = reply_len, .deaf = deaf});
}

static void finish(struct client *c)
{
    se__resp_close(c->resp);
    close(c->server.over[1]);
    se__thread_join(&c->server.thread);
    close(c->server.over[0]);
    se__net_close(c->server.listener);
}

static void on_reply(void *arg, size_t index, const redisReply *reply)
{
    struct client *c = arg;
    char expected[16];
    snprintf(expected, sizeof expected, "%012zu", index);
    c->wrong = c->wrong || index != c->delivered || reply->type != REDIS_REPLY_STRING ||
               (size_t)reply->len != c->server.reply_len || memcmp(reply->str, expected, 12) != 0;
    size_t owed = atomic_load(&c->server.answered) - c->delivered++;
    c->owed_max = owed > c->owed_max ? owed : c->owed_max;
}

static se_result ask(struct client *c, size_t n, uint32_t ms)
{
    static const char bytes[ARG_LEN];
    uint64_t deadline_ms = se__deadline_in(ms);
    c->delivered = 0;
    for (size_t i = 0; i < n; i++) {
        se__resp_begin(c->resp, 2);
        se__resp_text(c->resp, "X");
        se__resp_arg(c->resp, bytes, sizeof bytes);
        se__resp_push(c->resp, deadline_ms, on_reply, c);
    }
    return se__resp_exchange(c->resp, deadline_ms, on_reply, c);
}

/* Such a server waits for us to read; we must not wait for it to do so. 20 MB and 40 MB. */
Test(l2_pipeline, both_directions_flow_at_once)
{
    struct client c;
    start(&c, 2000, false);
    cr_assert_eq(ask(&c, 20000, PATIENCE_MS), SE_OK, "%s", se_errmsg());
    cr_assert_eq(c.delivered, 20000u);
    cr_assert(!c.wrong);
    /* and the numbers begin anew, as do the answers' after a new connection */
    cr_assert(!se__resp_broken(c.resp));
    finish(&c);
}

/* What has been asked for and not been read lies in the server's memory. */
Test(l2_pipeline, replies_that_nobody_has_read_are_bounded)
{
    struct client c;
    start_as(&c, &(struct server){.reply_len = 100000, .hoards = true}); /* 300 MB */
    cr_assert_eq(ask(&c, 3000, PATIENCE_MS), SE_OK, "%s", se_errmsg());
    cr_assert(!c.wrong);
    /* Two windows of 1 MiB; at first, before the size of replies is known, a hundred commands each. */
    cr_assert_leq(c.owed_max, 201u);
    cr_assert(!se__resp_broken(c.resp));
    finish(&c);
}

static size_t memory_in_use(void)
{
    struct mallinfo2 m = mallinfo2(); /* under a sanitizer all 0 */
    return m.uordblks + m.hblkhd;
}

Test(l2_pipeline, a_server_that_never_reads_costs_the_deadline_and_no_memory)
{
    struct client c;
    start(&c, 10, true);
    uint64_t began_ms = se__mono_ms();
    size_t before = memory_in_use();
    cr_assert_eq(ask(&c, 100000, 200), SE_ERR_TIMEOUT); /* 100 MB */
    cr_assert_lt(se__mono_ms() - began_ms, PATIENCE_MS);
    cr_assert_lt(memory_in_use(), before + (1u << 20));
    cr_assert_eq(c.delivered, 0u);
    cr_assert(se__resp_broken(c.resp));
    finish(&c);
}

/* ---- arrays that are taken apart ---- */

static void on_element(void *arg, size_t index, const redisReply *reply)
{
    char *out = arg;
    size_t at = strlen(out);
    snprintf(out + at, 256 - at, "%zu:%d:%.*s ", index, reply->type,
             reply->str ? (int)reply->len : 0, reply->str ? reply->str : "");
}

/* Two arrays of two and one of one. */
static void expect(const char *says, se_result result, const char *delivered)
{
    struct client c;
    char out[256] = "";
    uint64_t deadline_ms = se__deadline_in(result == SE_OK ? PATIENCE_MS : 100);
    start_as(&c, &(struct server){.says = says});
    for (size_t i = 0; i < 3; i++) {
        se__resp_begin_spread(c.resp, 1, i < 2 ? 2 : 1);
        se__resp_text(c.resp, "X");
    }
    cr_assert_eq(se__resp_exchange(c.resp, deadline_ms, on_element, out), result, "%s", says);
    cr_assert_str_eq(out, delivered, "%s", says);
    cr_assert_eq(se__resp_broken(c.resp), result != SE_OK);
    finish(&c);
}

Test(l2_pipeline, elements_of_arrays_are_replies)
{
    expect("*2\r\n$1\r\na\r\n$-1\r\n*2\r\n$0\r\n\r\n:7\r\n*1\r\n$1\r\ne\r\n", SE_OK,
           "0:1:a 1:4: 2:1: 3:3: 4:1:e ");
}

/* hiredis takes an error, and has what came with it. */
Test(l2_pipeline, an_error_stands_for_a_whole_array)
{
    expect("-NO\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n*1\r\n$1\r\ne\r\n", SE_OK,
           "0:6:NO 2:1:c 3:1:d 4:1:e ");
    expect("*2\r\n$1\r\na\r\n$1\r\nb\r\n-NO\r\n-NO\r\n", SE_OK, "0:1:a 1:1:b 2:6:NO 4:6:NO ");
}

Test(l2_pipeline, an_array_of_another_size_is_one_reply)
{
    expect("*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n", SE_OK,
           "0:2: 2:1:c 3:1:d 4:1:e ");
    expect("*2\r\n$1\r\na\r\n", SE_ERR_TIMEOUT, "0:1:a ");
}
