/* Sockets: deadlines, broken peers, no SIGPIPE. The server's side is
 * plain sockets of the test's own. */
#include "base/mem.h"
#include "base/os.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int listen_tcp(uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    cr_assert_eq(listen(fd, 8), 0);
    getsockname(fd, (struct sockaddr *)&at, &len);
    *port = ntohs(at.sin_port);
    return fd;
}

static int listen_unix(char *path, size_t cap, int backlog)
{
    snprintf(path, cap, "/dev/shm/se_net_%d", (int)getpid());
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    cr_assert_eq(listen(fd, backlog), 0);
    return fd;
}

/* A connected pair: ours by se__net_connect, theirs accepted. */
static void connected(int *ours, int *theirs)
{
    uint16_t port;
    int listener = listen_tcp(&port);
    cr_assert_eq(se__net_connect("127.0.0.1", port, NULL, se__deadline_in(5000), ours), SE_OK, "%s",
                 se_errmsg());
    *theirs = accept(listener, NULL, NULL);
    cr_assert_geq(*theirs, 0);
    close(listener);
}

static int option(int fd, int level, int name)
{
    int value = 0;
    socklen_t len = sizeof value;
    getsockopt(fd, level, name, &value, &len);
    return value;
}

Test(net, connects_by_tcp_with_the_options_set)
{
    int ours, theirs;
    connected(&ours, &theirs);
    cr_assert(fcntl(ours, F_GETFL) & O_NONBLOCK);
    cr_assert(fcntl(ours, F_GETFD) & FD_CLOEXEC);
    cr_assert(option(ours, IPPROTO_TCP, TCP_NODELAY));
    cr_assert(option(ours, SOL_SOCKET, SO_KEEPALIVE));
    se__net_close(ours);
    close(theirs);
    se__net_close(-1);
    se__net_shutdown(-1);
}

Test(net, connects_by_name_and_tries_every_address)
{
    /* localhost is ::1 and 127.0.0.1 on most machines; only the second one listens. */
    uint16_t port;
    int listener = listen_tcp(&port), fd;
    cr_assert_eq(se__net_connect("localhost", port, NULL, se__deadline_in(5000), &fd), SE_OK, "%s",
                 se_errmsg());
    se__net_close(fd);
    close(listener);
}

Test(net, connects_by_unix_socket)
{
    char path[64];
    int listener = listen_unix(path, sizeof path, 8), fd;
    cr_assert_eq(se__net_connect(NULL, 0, path, se__deadline_in(5000), &fd), SE_OK, "%s",
                 se_errmsg());
    int theirs = accept(listener, NULL, NULL);
    cr_assert_eq(se__net_write(fd, "hi", 2, se__deadline_in(1000)), SE_OK);
    char got[2];
    cr_assert_eq(recv(theirs, got, 2, MSG_WAITALL), 2);
    se__net_close(fd);
    close(theirs);
    close(listener);
    unlink(path);
}

Test(net, says_why_it_cannot_connect)
{
    uint16_t port;
    int listener = listen_tcp(&port), fd = -7;
    close(listener); /* nobody listens there now */
    cr_assert_eq(se__net_connect("127.0.0.1", port, NULL, se__deadline_in(1000), &fd),
                 SE_ERR_BACKEND);
    cr_assert_not_null(strstr(se_errmsg(), "127.0.0.1"));
    cr_assert_not_null(strstr(se_errmsg(), "refused"), "%s", se_errmsg());
    cr_assert_eq(se__net_connect(NULL, 0, "/dev/shm/se_no_such_socket", se__deadline_in(1000), &fd),
                 SE_ERR_BACKEND);
    cr_assert_not_null(strstr(se_errmsg(), "/dev/shm/se_no_such_socket"));
    char longest[300];
    memset(longest, 'x', sizeof longest - 1);
    longest[299] = '\0';
    cr_assert_eq(se__net_connect(NULL, 0, longest, se__deadline_in(1000), &fd), SE_ERR_BACKEND);
    cr_assert_eq(se__net_connect("256.256.256.256", 1, NULL, se__deadline_in(1000), &fd),
                 SE_ERR_BACKEND);
    cr_assert_eq(fd, -7);
}

Test(net, a_full_backlog_ends_at_the_deadline)
{
    char path[64];
    int listener = listen_unix(path, sizeof path, 0), held[16], n = 0;
    se_result r = SE_OK;
    uint64_t deadline = 0;
    while (r == SE_OK && n < 16) {
        deadline = se__deadline_in(50);
        r = se__net_connect(NULL, 0, path, deadline, &held[n]);
        n += r == SE_OK;
    }
    cr_assert_eq(r, SE_ERR_TIMEOUT, "%s", se_errmsg());
    cr_assert_geq(se__mono_ms(), deadline);
    while (n > 0)
        se__net_close(held[--n]);
    close(listener);
    unlink(path);
}

Test(net, a_peer_that_never_answers_ends_at_the_deadline)
{
    int ours, theirs;
    connected(&ours, &theirs);
    char byte;
    size_t len = 77;
    uint64_t deadline = se__deadline_in(50);
    cr_assert_eq(se__net_read(ours, &byte, 1, deadline, &len), SE_ERR_TIMEOUT);
    cr_assert_geq(se__mono_ms(), deadline);
    cr_assert_eq(len, 77u);
    cr_assert_eq(se__net_read(ours, &byte, 1, 0, &len), SE_ERR_TIMEOUT); /* a deadline long past */
    se__net_close(ours);
    close(theirs);
}

Test(net, a_peer_that_never_reads_ends_at_the_deadline)
{
    int ours, theirs;
    connected(&ours, &theirs);
    size_t size = 64u << 20; /* more than any buffer takes */
    char *big = calloc(1, size);
    uint64_t deadline = se__deadline_in(50);
    cr_assert_eq(se__net_write(ours, big, size, deadline), SE_ERR_TIMEOUT);
    cr_assert_geq(se__mono_ms(), deadline);
    free(big);
    se__net_close(ours);
    close(theirs);
}

struct reader {
    int fd;
    size_t want;
    uint64_t sum;
};

static void read_all(void *arg)
{
    struct reader *r = arg;
    uint8_t chunk[10007];
    for (size_t n; r->want > 0; r->want -= n) {
        if (se__net_read(r->fd, chunk, sizeof chunk, se__deadline_in(60000), &n) != SE_OK)
            return;
        for (size_t i = 0; i < n; i++)
            r->sum += chunk[i];
    }
}

Test(net, writes_all_of_a_large_text)
{
    int ours, theirs;
    connected(&ours, &theirs);
    size_t size = 16u << 20;
    uint8_t *big = malloc(size);
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += big[i] = (uint8_t)(i * 31 >> 3);
    struct reader r = {.fd = theirs, .want = size};
    struct se__thread t;
    cr_assert_eq(se__thread_start(&t, "reader", read_all, &r), SE_OK);
    cr_assert_eq(se__net_write(ours, big, size, se__deadline_in(60000)), SE_OK, "%s", se_errmsg());
    se__thread_join(&t);
    cr_assert_eq(r.want, 0u);
    cr_assert_eq(r.sum, sum);
    free(big);
    se__net_close(ours);
    close(theirs);
}

Test(net, reading_gives_what_is_there)
{
    int ours, theirs;
    connected(&ours, &theirs);
    char got[10];
    size_t len = 0;
    cr_assert_eq(send(theirs, "abc", 3, 0), 3);
    cr_assert_eq(se__net_read(ours, got, sizeof got, se__deadline_in(5000), &len), SE_OK);
    cr_assert(len == 3 && memcmp(got, "abc", 3) == 0);
    cr_assert_eq(se__net_write(ours, "", 0, 0), SE_OK);
    se__net_close(ours);
    close(theirs);
}

Test(net, a_closed_peer_is_an_error_and_no_signal)
{
    int ours, theirs;
    connected(&ours, &theirs);
    close(theirs);
    char byte;
    size_t len;
    cr_assert_eq(se__net_read(ours, &byte, 1, se__deadline_in(5000), &len), SE_ERR_BACKEND);
    se_result r = SE_OK;
    for (int i = 0; i < 1000 && r == SE_OK;
         i++) /* the first write may still be taken; SIGPIPE would end the test */
        r = se__net_write(ours, "x", 1, se__deadline_in(1000));
    cr_assert_eq(r, SE_ERR_BACKEND);
    se__net_close(ours);
}

Test(net, idle_broken_sees_an_end_and_unasked_bytes)
{
    int ours, theirs;
    connected(&ours, &theirs);
    cr_assert_not(se__net_idle_broken(ours));
    cr_assert_not(se__net_idle_broken(ours));
    cr_assert_eq(send(theirs, "x", 1, 0), 1);
    uint64_t deadline = se__deadline_in(5000);
    while (!se__net_idle_broken(ours))
        cr_assert_gt(se__deadline_left(deadline), 0u);
    char byte;
    size_t len;
    cr_assert_eq(se__net_read(ours, &byte, 1, 0, &len), SE_OK); /* it only looked */
    cr_assert_not(se__net_idle_broken(ours));
    close(theirs);
    while (!se__net_idle_broken(ours))
        cr_assert_gt(se__deadline_left(deadline), 0u);
    se__net_close(ours);
    cr_assert(se__net_idle_broken(-1));
}

struct blocked {
    int fd;
    se_result r;
};

static void block_on_read(void *arg)
{
    struct blocked *b = arg;
    char byte;
    size_t len;
    b->r = se__net_read(b->fd, &byte, 1, se__deadline_in(60000), &len);
}

Test(net, shutdown_wakes_a_reader)
{
    int ours, theirs;
    connected(&ours, &theirs);
    struct blocked b = {.fd = ours, .r = SE_OK};
    struct se__thread t;
    uint64_t start = se__mono_ms();
    cr_assert_eq(se__thread_start(&t, "blocked", block_on_read, &b), SE_OK);
    se__net_shutdown(ours);
    se__thread_join(&t);
    cr_assert_eq(b.r, SE_ERR_BACKEND);
    cr_assert_lt(se__mono_ms() - start, 30000u);
    se__net_close(ours);
    close(theirs);
}
