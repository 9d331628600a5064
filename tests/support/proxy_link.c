/*
 * proxy_link - see proxy_link.h: queues, links, the faults that strike their bytes, moving. What is said on the wire is in proxy_wire.c.
 */
#include "support/proxy_link.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 65536 };

_Noreturn void proxy_give_up(const char *what)
{
    (void)fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    abort();
}

uint64_t proxy_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- queues ---- */

static void push(struct queue *q, const char *bytes, size_t len, uint64_t at_ms, enum ending ending)
{
    struct piece *p = malloc(sizeof *p + len);
    if (!p)
        proxy_give_up("malloc");
    *p = (struct piece){.at_ms = at_ms, .ending = ending, .len = len};
    if (len)
        memcpy(p->bytes, bytes, len);
    *q->last = p;
    q->last = &p->next;
}

static void drop_first(struct queue *q)
{
    struct piece *p = q->first;
    q->first = p->next;
    if (!q->first)
        q->last = &q->first;
    free(p);
}

void queue_empty(struct queue *q)
{
    while (q->first)
        drop_first(q);
}

bool queue_due(const struct queue *q, uint64_t now)
{
    return q->first && q->first->at_ms <= now;
}

/* ---- links ---- */

void proxy_close_fd(int *fd, bool reset)
{
    if (*fd < 0)
        return;
    if (reset)
        (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                         sizeof(struct linger));
    close(*fd);
    *fd = -1;
}

void link_end(struct link *l, bool reset)
{
    proxy_close_fd(&l->client, reset);
    proxy_close_fd(&l->server, false);
    queue_empty(&l->to_client);
    queue_empty(&l->to_server);
}

static uint64_t draw(struct proxy *p)
{
    uint64_t x = p->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void begin_turn(struct proxy *p, struct link *l)
{
    bool struck = p->plan.what != PROXY_PASS &&
                  (p->plan.percent == 0 || draw(p) % 100 < p->plan.percent) &&
                  (p->plan.what != PROXY_INJECT || l->introduced);
    l->fault = struck ? p->plan : (struct proxy_plan){0};
    l->asked = l->answered = 0;
    /* an injection counts when it finds its command */
    p->count.struck += struck && p->plan.what != PROXY_INJECT;
}

static int dial(struct proxy *p)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        proxy_give_up("socket");
    /* A stopped server with a full backlog would hold up everybody: then the link has no server. */
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 ||
        connect(fd, (struct sockaddr *)&p->upstream, sizeof p->upstream) != 0)
        proxy_close_fd(&fd, false);
    return fd;
}

static struct link **free_place(struct proxy *p)
{
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (!p->links[i])
            return &p->links[i];
    errno = EMFILE;
    proxy_give_up("too many connections");
}

void link_accept(struct proxy *p)
{
    int client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0)
        return;
    (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        proxy_give_up("calloc");
    *free_place(p) = l;
    p->count.accepted++;
    l->to_client.last = &l->to_client.first;
    l->to_server.last = &l->to_server.first;
    l->client = client;
    l->server = -1;
    l->swallows = p->plan.what == PROXY_MUTE;
    p->count.struck += l->swallows;
    if (l->swallows)
        return;
    l->server = dial(p);
    if (l->server < 0)
        link_end(l, false); /* as a server that has just died */
    else
        begin_turn(p, l);
}

/* ---- bytes from the client ---- */

static void answer_injected(struct link *l, const char *reply, size_t len)
{
    push(&l->to_client, reply, len, 0, STAYS);
    if (l->fault.inject.then_close)
        push(&l->to_client, NULL, 0, 0, ENDS);
}

/* Whole commands are looked at one by one; what does not match goes on to the server. */
static void inject(struct proxy *p, struct link *l, const char *bytes, size_t len)
{
    struct wire_command c;
    wire_feed(&l->parser, bytes, len);
    while (wire_next(&l->parser, p->wire, &c)) {
        char reply[512];
        size_t n = wire_matches(&c, p->wire, &l->fault.inject)
                       ? wire_error(&c, p->wire, &l->fault.inject, reply, sizeof reply)
                       : 0;
        if (n) {
            p->count.struck++;
            answer_injected(l, reply, n);
        } else {
            push(&l->to_server, c.bytes, c.len, 0, STAYS);
        }
        wire_done(&l->parser, &c);
        /* our answer ends the turn; one that goes to the server opens it for what the server says */
        l->client_spoke = n == 0;
    }
}

static void reset_in_request(struct link *l, const char *bytes, size_t len)
{
    size_t left = l->fault.bytes - l->asked;
    size_t let = len < left ? len : left;
    push(&l->to_server, bytes, let, 0, STAYS);
    l->asked += let;
    if (len > left || left == 0)
        push(&l->to_client, NULL, 0, 0, ENDS_BY_RESET);
}

static void from_client(struct proxy *p, struct link *l, const char *bytes, size_t len)
{
    if (l->swallows)
        return;
    if (!l->client_spoke && wire_empty(&l->parser))
        begin_turn(p, l);
    l->client_spoke = true;
    if (l->fault.what == PROXY_INJECT)
        inject(p, l, bytes, len);
    else if (l->fault.what == PROXY_RESET_REQUEST)
        reset_in_request(l, bytes, len);
    else
        push(&l->to_server, bytes, len, 0, STAYS);
}

/* ---- bytes from the server ---- */

static void cut(struct link *l, const char *bytes, size_t len)
{
    size_t left = l->fault.bytes - l->answered;
    size_t let = len < left ? len : left;
    if (let)
        push(&l->to_client, bytes, let, 0, STAYS);
    l->answered += let;
    if (len < left)
        return;
    if (l->fault.what == PROXY_CUT_SILENT)
        l->swallows = true;
    else
        push(&l->to_client, NULL, 0, 0, l->fault.what == PROXY_CUT_RESET ? ENDS_BY_RESET : ENDS);
}

static void drip(struct link *l, const char *bytes, size_t len, uint64_t now)
{
    uint64_t at = now;
    for (const struct piece *q = l->to_client.first; q; q = q->next)
        at = q->at_ms > at ? q->at_ms : at;
    for (size_t i = 0; i < len; i++)
        push(&l->to_client, bytes + i, 1, at += l->fault.ms, STAYS);
}

static void from_server(struct proxy *p, struct link *l, const char *bytes, size_t len)
{
    if (l->swallows)
        return;
    l->introduced = l->introduced || (l->client_spoke && wire_introduced(p->wire, bytes, len));
    l->client_spoke = false;
    switch (l->fault.what) {
    case PROXY_DELAY:
        push(&l->to_client, bytes, len, proxy_now_ms() + l->fault.ms, STAYS);
        return;
    case PROXY_DRIP:
        drip(l, bytes, len, proxy_now_ms());
        return;
    case PROXY_CUT_CLOSE:
    case PROXY_CUT_RESET:
    case PROXY_CUT_SILENT:
        cut(l, bytes, len);
        return;
    default:
        push(&l->to_client, bytes, len, 0, STAYS);
    }
}

/* ---- moving ---- */

typedef void (*sink_fn)(struct proxy *p, struct link *l, const char *bytes, size_t len);

/* False: this side has ended. */
static bool pull(struct proxy *p, struct link *l, int fd, sink_fn sink)
{
    char bytes[CHUNK];
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0)
        sink(p, l, bytes, (size_t)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool send_piece(int fd, struct piece *q)
{
    ssize_t n = send(fd, q->bytes + q->sent, q->len - q->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    q->sent += n > 0 ? (size_t)n : 0;
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static void flush_to_client(struct link *l, uint64_t now)
{
    while (l->client >= 0 && queue_due(&l->to_client, now)) {
        struct piece *q = l->to_client.first;
        if (q->ending != STAYS) {
            link_end(l, q->ending == ENDS_BY_RESET);
            return;
        }
        if (!send_piece(l->client, q)) {
            link_end(l, false);
            return;
        }
        if (q->sent < q->len)
            return;
        drop_first(&l->to_client);
    }
}

static void flush_to_server(struct link *l, uint64_t now)
{
    while (l->server >= 0 && queue_due(&l->to_server, now)) {
        struct piece *q = l->to_server.first;
        if (!send_piece(l->server, q))
            proxy_close_fd(&l->server, false);
        else if (q->sent < q->len)
            return;
        else
            drop_first(&l->to_server);
    }
}

void link_move(struct proxy *p, struct link *l, short client, short server)
{
    if ((client & (POLLIN | POLLHUP | POLLERR)) && l->client >= 0 &&
        !pull(p, l, l->client, from_client)) {
        /* what it sent before it hung up still reaches the server */
        flush_to_server(l, UINT64_MAX);
        link_end(l, false);
        return;
    }
    if ((server & (POLLIN | POLLHUP | POLLERR)) && l->server >= 0 &&
        !pull(p, l, l->server, from_server)) {
        proxy_close_fd(&l->server, false);
        if (!l->swallows)
            push(&l->to_client, NULL, 0, 0, ENDS); /* behind what is still on its way */
    }
    uint64_t now = proxy_now_ms();
    flush_to_server(l, now);
    flush_to_client(l, now);
}
