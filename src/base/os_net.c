/*
 * os_net - stream sockets that never block past a deadline and never raise SIGPIPE.
 *
 * Every descriptor is non-blocking; each call first tries, and polls only when the kernel says "not
 * now". One that reads patiently blocks, for so short a time that a deadline further away than that
 * cannot be missed; who has less time left tries and polls there too.
 */
#include "base/os.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A dead peer is noticed after idle + interval * count = 60 s even by a
 * connection on which nothing is sent. */
#define KEEPALIVE_IDLE_S 30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_COUNT 3

/* A blocking read's. A server's answer comes sooner, or a poll every so often does not matter. */
#define PATIENCE_MS 40u

/* Waits until the socket is ready for `events`; errors of the socket count as
 * ready, the next call reports them. */
static se_result wait_for(int fd, short events, uint64_t deadline_ms)
{
    for (;;) {
        uint64_t left = se__deadline_left(deadline_ms);
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, left > INT_MAX ? (left == SE__FOREVER ? -1 : INT_MAX) : (int)left);
        if (n > 0)
            return SE_OK;
        if (n == 0 && left <= INT_MAX)
            return se__error(SE_ERR_TIMEOUT, "no answer in time");
        if (n < 0 && errno != EINTR)
            return se__error(SE_ERR_BACKEND, "poll: %s", strerror(errno));
    }
}

unsigned se__net_wait(int fd, unsigned events, uint64_t deadline_ms)
{
    for (;;) {
        uint64_t left = se__deadline_left(deadline_ms);
        short wanted =
            (short)((events & SE__NET_READ ? POLLIN : 0) | (events & SE__NET_WRITE ? POLLOUT : 0));
        struct pollfd p = {.fd = fd, .events = wanted};
        if (left == 0)
            return 0;
        int n = poll(&p, 1, left > INT_MAX ? INT_MAX : (int)left);
        if ((n < 0 && errno != EINTR) || (p.revents & (POLLERR | POLLHUP | POLLNVAL)))
            return events;
        if (n > 0)
            return (p.revents & POLLIN ? SE__NET_READ : 0u) |
                   (p.revents & POLLOUT ? SE__NET_WRITE : 0u);
    }
}

static void tune_tcp(int fd)
{
    /* Best effort: a connection without them works. */
    const int on = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S,
              count = KEEPALIVE_COUNT;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

static int connect_outcome(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
}

/* One attempt at one address. EAGAIN is a unix socket whose backlog is full:
 * there is nothing to poll for. */
static se_result finish_connect(int fd, const struct sockaddr *to, socklen_t len,
                                uint64_t deadline_ms)
{
    while (connect(fd, to, len) != 0) {
        if (errno == EISCONN)
            return SE_OK;
        if (errno == EAGAIN) {
            if (se__deadline_left(deadline_ms) == 0)
                return se__error(SE_ERR_TIMEOUT, "the server's backlog is full");
            se__pause_ms(1);
            continue;
        }
        /* After EINTR the attempt goes on in the background, as after EINPROGRESS. */
        if (errno != EINPROGRESS && errno != EINTR)
            return se__error(SE_ERR_BACKEND, "%s", strerror(errno));
        se_result r = wait_for(fd, POLLOUT, deadline_ms);
        if (r != SE_OK)
            return r;
        int error = connect_outcome(fd);
        return error == 0 ? SE_OK : se__error(SE_ERR_BACKEND, "%s", strerror(error));
    }
    return SE_OK;
}

static se_result connect_one(const struct sockaddr *to, socklen_t len, uint64_t deadline_ms,
                             int *fd)
{
    int s = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return se__error(SE_ERR_BACKEND, "socket: %s", strerror(errno));
    if (to->sa_family != AF_UNIX)
        tune_tcp(s);
    se_result r = finish_connect(s, to, len, deadline_ms);
    if (r != SE_OK) {
        close(s);
        return r;
    }
    *fd = s;
    return SE_OK;
}

static se_result connect_unix(const char *path, uint64_t deadline_ms, int *fd)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof to.sun_path)
        return se__error(SE_ERR_BACKEND, "connecting to %s: the path is longer than %zu bytes",
                         path, sizeof to.sun_path - 1);
    memcpy(to.sun_path, path, len);
    se_result r = connect_one((const struct sockaddr *)&to, sizeof to, deadline_ms, fd);
    return r == SE_OK ? r : se__error(r, "connecting to %s: %s", path, se_errmsg());
}

/* Each address gets an equal share of the time that is left, so that one that swallows packets does
 * not use up the others' chance. */
static uint64_t share_of(uint64_t deadline_ms, unsigned addresses_left)
{
    uint64_t left = se__deadline_left(deadline_ms);
    return left == SE__FOREVER || addresses_left <= 1 ? deadline_ms
                                                      : se__deadline_in(left / addresses_left);
}

static se_result connect_any(const struct addrinfo *list, uint64_t deadline_ms, int *fd)
{
    unsigned n = 0;
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        n++;
    se_result r = se__error(SE_ERR_BACKEND, "no address");
    for (const struct addrinfo *a = list; a; a = a->ai_next, n--) {
        r = connect_one(a->ai_addr, a->ai_addrlen, share_of(deadline_ms, n), fd);
        if (r == SE_OK)
            return SE_OK;
    }
    return r;
}

se_result se__net_connect(const char *host, uint16_t port, const char *path, uint64_t deadline_ms,
                          int *fd)
{
    if (!host)
        return connect_unix(path, deadline_ms, fd);
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list = NULL;
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0)
        return se__error(SE_ERR_BACKEND, "looking up %s: %s", host,
                         rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    se_result r = connect_any(list, deadline_ms, fd);
    freeaddrinfo(list);
    return r == SE_OK ? r : se__error(r, "connecting to %s port %u: %s", host, port, se_errmsg());
}

/* ---- listening ---- */

#define BACKLOG 64

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Its length; 0: it is not one. */
static socklen_t parse_address(const char *text, uint16_t port, union address *a)
{
    *a = (union address){.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};
    if (inet_pton(AF_INET, text, &a->v4.sin_addr) == 1)
        return sizeof a->v4;
    *a = (union address){.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
    return inet_pton(AF_INET6, text, &a->v6.sin6_addr) == 1 ? sizeof a->v6 : 0;
}

static bool listen_at(int fd, const union address *a, socklen_t len, uint16_t *port)
{
    const int on = 1;
    union address bound;
    socklen_t bound_len = sizeof bound;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* a restart must not wait */
    if (bind(fd, &a->any, len) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, &bound.any, &bound_len) != 0)
        return false;
    *port = ntohs(bound.any.sa_family == AF_INET ? bound.v4.sin_port : bound.v6.sin6_port);
    return true;
}

se_result se__net_listen(const char *address, uint16_t *port, int *fd)
{
    union address a;
    socklen_t len = parse_address(address, *port, &a);
    if (len == 0)
        return se__error(SE_ERR_INVALID, "address: '%s' is neither an IPv4 nor an IPv6 address",
                         address);
    int s = socket(a.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s >= 0 && listen_at(s, &a, len, port)) {
        *fd = s;
        return SE_OK;
    }
    int error = errno;
    se__net_close(s);
    return se__error(SE_ERR_IO, "listening on %s port %u: %s", address, *port, strerror(error));
}

static bool not_now(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK;
}

se_result se__net_write_some(int fd, const void *buf, size_t len, size_t *written)
{
    ssize_t n;
    do
        n = send(fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && !not_now(errno))
        return se__error(SE_ERR_BACKEND, "write: %s", strerror(errno));
    *written = n < 0 ? 0 : (size_t)n;
    return SE_OK;
}

se_result se__net_write(int fd, const void *buf, size_t len, uint64_t deadline_ms)
{
    const char *at = buf;
    while (len > 0) {
        size_t n = 0;
        se_result r = se__net_write_some(fd, at, len, &n);
        if (r == SE_OK && n == 0)
            r = wait_for(fd, POLLOUT, deadline_ms);
        if (r != SE_OK)
            return r;
        at += n;
        len -= n;
        /* A reader that is always ready must not carry us past the deadline either. */
        if (n > 0 && len > 0 && se__deadline_left(deadline_ms) == 0)
            return se__error(SE_ERR_TIMEOUT, "not written in time");
    }
    return SE_OK;
}

void se__net_read_patiently(int fd)
{
    const struct timeval patience = {.tv_usec = PATIENCE_MS * 1000};
    /* Where it cannot be had the socket stays as it is, and reads are polled for. */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0)
        (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
}

bool se__net_near(int fd)
{
    union address a;
    socklen_t len = sizeof a;
    if (getpeername(fd, &a.any, &len) != 0)
        return false;
    if (a.any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr);
    return a.any.sa_family == AF_UNIX ||
           (a.any.sa_family == AF_INET && ntohl(a.v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET);
}

se_result se__net_read(int fd, void *buf, size_t cap, uint64_t deadline_ms, size_t *len)
{
    for (;;) {
        /* twice: a kernel's ticks are some ms long */
        bool may_block = se__deadline_left(deadline_ms) >= 2 * PATIENCE_MS;
        ssize_t n = recv(fd, buf, cap, may_block ? 0 : MSG_DONTWAIT);
        if (n > 0) {
            *len = (size_t)n;
            return SE_OK;
        }
        if (n == 0)
            return se__error(SE_ERR_BACKEND, "the server closed the connection");
        if (errno == EINTR)
            continue;
        if (!not_now(errno))
            return se__error(SE_ERR_BACKEND, "read: %s", strerror(errno));
        se_result r = wait_for(fd, POLLIN, deadline_ms);
        if (r != SE_OK)
            return r;
    }
}

void se__net_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

void se__net_shutdown(int fd)
{
    if (fd >= 0)
        (void)shutdown(fd, SHUT_RDWR);
}

bool se__net_idle_broken(int fd)
{
    char byte;
    ssize_t n;
    do
        n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n >= 0 || !not_now(errno);
}
