/*
 * proxy - see proxy.h: connections, their turns and the loop. What is said on the wire is in proxy_wire.c.
 *
 * Bytes on their way to either side are a queue of pieces with the time at which they may go; a piece that is empty stands for the
 * end that comes behind the bytes. All state is the loop's, guarded by one lock while it is not in poll().
 */
#include "support/proxy.h"

#include "support/proxy_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 128, CHUNK = 65536, BACKLOG = 128, FILLERS = 4 };

enum ending { STAYS, ENDS, ENDS_BY_RESET };

struct piece {
    struct piece *next;
    uint64_t at_ms; /* not before */
    enum ending ending;
    size_t len, sent;
    char bytes[];
};

struct queue {
    struct piece *first, **last;
};

struct link {
    int client, server; /* -1: closed, or never opened */
    struct queue to_client, to_server;
    struct proxy_plan fault; /* of this turn */
    bool client_spoke;       /* the last bytes were the client's: a turn is open */
    bool introduced;         /* the server has answered this client's first request */
    bool swallows;           /* for ever */
    size_t asked, answered;  /* bytes of this turn let through */
    struct wire_parser parser;
};

struct proxy {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t applied;
    enum proxy_wire wire;
    struct sockaddr_un upstream;
    int listener, wake[2];
    int fillers[FILLERS];
    bool listening;
    uint16_t port;
    struct proxy_plan plan;
    uint64_t plans, plans_done, random;
    bool stopping, reset_all;
    struct link *links[CONNECTIONS_MAX];
    struct proxy_count count;
};

static _Noreturn void give_up(const char *what)
{
    (void)fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    abort();
}

static uint64_t now_ms(void)
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
        give_up("malloc");
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

static void empty(struct queue *q)
{
    while (q->first)
        drop_first(q);
}

/* A later piece never overtakes: what is behind a delayed one waits for it. */
static bool due(const struct queue *q, uint64_t now)
{
    return q->first && q->first->at_ms <= now;
}

/* ---- links ---- */

static void close_fd(int *fd, bool reset)
{
    if (*fd < 0)
        return;
    if (reset)
        (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                         sizeof(struct linger));
    close(*fd);
    *fd = -1;
}

static void end_link(struct link *l, bool reset)
{
    close_fd(&l->client, reset);
    close_fd(&l->server, false);
    empty(&l->to_client);
    empty(&l->to_server);
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
        give_up("socket");
    /* A stopped server with a full backlog would hold up everybody: then the link has no server. */
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 ||
        connect(fd, (struct sockaddr *)&p->upstream, sizeof p->upstream) != 0)
        close_fd(&fd, false);
    return fd;
}

static struct link **free_place(struct proxy *p)
{
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (!p->links[i])
            return &p->links[i];
    errno = EMFILE;
    give_up("too many connections");
}

static void accept_one(struct proxy *p)
{
    int client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0)
        return;
    (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        give_up("calloc");
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
        end_link(l, false); /* as a server that has just died */
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
        push(&l->to_client, bytes, len, now_ms() + l->fault.ms, STAYS);
        return;
    case PROXY_DRIP:
        drip(l, bytes, len, now_ms());
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
    while (l->client >= 0 && due(&l->to_client, now)) {
        struct piece *q = l->to_client.first;
        if (q->ending != STAYS) {
            end_link(l, q->ending == ENDS_BY_RESET);
            return;
        }
        if (!send_piece(l->client, q)) {
            end_link(l, false);
            return;
        }
        if (q->sent < q->len)
            return;
        drop_first(&l->to_client);
    }
}

static void flush_to_server(struct link *l, uint64_t now)
{
    while (l->server >= 0 && due(&l->to_server, now)) {
        struct piece *q = l->to_server.first;
        if (!send_piece(l->server, q))
            close_fd(&l->server, false);
        else if (q->sent < q->len)
            return;
        else
            drop_first(&l->to_server);
    }
}

static void move(struct proxy *p, struct link *l, short client, short server)
{
    if ((client & (POLLIN | POLLHUP | POLLERR)) && l->client >= 0 &&
        !pull(p, l, l->client, from_client)) {
        /* what it sent before it hung up still reaches the server */
        flush_to_server(l, UINT64_MAX);
        end_link(l, false);
        return;
    }
    if ((server & (POLLIN | POLLHUP | POLLERR)) && l->server >= 0 &&
        !pull(p, l, l->server, from_server)) {
        close_fd(&l->server, false);
        if (!l->swallows)
            push(&l->to_client, NULL, 0, 0, ENDS); /* behind what is still on its way */
    }
    uint64_t now = now_ms();
    flush_to_server(l, now);
    flush_to_client(l, now);
}

/* ---- connecting ---- */

static void bind_listener(struct proxy *p, int backlog)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    /* With a number of its own the port stays ours while nobody listens. Between the two binds another process might take it. */
    for (int attempt = 0; attempt < 100; attempt++) {
        p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        a.sin_port = 0;
        if (p->listener < 0 || bind(p->listener, (struct sockaddr *)&a, sizeof a) != 0 ||
            getsockname(p->listener, (struct sockaddr *)&a, &len) != 0)
            give_up("no port");
        close(p->listener);
        p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        p->port = ntohs(a.sin_port);
        if (bind(p->listener, (struct sockaddr *)&a, sizeof a) == 0 &&
            listen(p->listener, backlog) == 0) {
            p->listening = true;
            return;
        }
        close(p->listener);
    }
    give_up("no port");
}

/* Nobody listens: connects are refused. The port stays bound. */
static void stop_listening(struct proxy *p)
{
    /* not twice: connections that are accepted later would inherit the end of what is to be read */
    if (p->listening)
        (void)shutdown(p->listener, SHUT_RD);
    p->listening = false;
    for (int i = 0; i < FILLERS; i++)
        close_fd(&p->fillers[i], true);
}

static void listen_again(struct proxy *p, int backlog)
{
    if (listen(p->listener, backlog) != 0)
        give_up("listen");
    p->listening = true;
}

/* The queue of connections to accept is full: the kernel drops further SYNs, as if nobody were there. */
static void fill_backlog(struct proxy *p)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons(p->port)};
    for (int i = 0; i < FILLERS; i++) {
        p->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(p->fillers[i], (struct sockaddr *)&a, sizeof a) != 0 && errno != EINPROGRESS)
            give_up("fill");
    }
}

static void apply_plan(struct proxy *p, enum proxy_what before)
{
    enum proxy_what now = p->plan.what;
    bool was_odd = before == PROXY_REFUSE || before == PROXY_VANISH;
    bool is_odd = now == PROXY_REFUSE || now == PROXY_VANISH;
    if (now == PROXY_REFUSE)
        p->reset_all = true;
    if (was_odd || is_odd)
        stop_listening(p);
    if (now == PROXY_VANISH) {
        listen_again(p, 0);
        fill_backlog(p);
    } else if (was_odd && !is_odd) {
        listen_again(p, BACKLOG);
    }
}

/* ---- the loop ---- */

static void sweep(struct proxy *p)
{
    p->count.open = 0;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct link *l = p->links[i];
        if (l && p->reset_all && l->client >= 0) {
            p->count.struck++;
            end_link(l, true);
        }
        if (l && l->client < 0) {
            end_link(l, false);
            wire_free(&l->parser);
            free(l);
            p->links[i] = NULL;
        }
        p->count.open += p->links[i] != NULL;
    }
    p->reset_all = false;
}

static bool accepts(const struct proxy *p)
{
    return p->plan.what != PROXY_REFUSE && p->plan.what != PROXY_VANISH;
}

/* Fills fds: the pipe, the listener, then two for each link. Returns how long poll may wait. */
static int prepare(struct proxy *p, struct pollfd *fds)
{
    uint64_t now = now_ms(), next = now + 60000;
    fds[0] = (struct pollfd){.fd = p->wake[0], .events = POLLIN};
    fds[1] = (struct pollfd){.fd = accepts(p) ? p->listener : -1, .events = POLLIN};
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        const struct link *l = p->links[i];
        struct pollfd *c = &fds[2 + 2 * i];
        c[0] = c[1] = (struct pollfd){.fd = -1};
        if (!l)
            continue;
        short out_client = due(&l->to_client, now) ? POLLOUT : 0;
        short out_server = due(&l->to_server, now) ? POLLOUT : 0;
        c[0] = (struct pollfd){.fd = l->client, .events = (short)(POLLIN | out_client)};
        c[1] = (struct pollfd){.fd = l->server, .events = (short)(POLLIN | out_server)};
        if (l->to_client.first && l->to_client.first->at_ms < next)
            next = l->to_client.first->at_ms;
    }
    return next > now ? (int)(next - now) : 0;
}

/* Peers that are gone stay gone. */
static void swallow_all(struct proxy *p)
{
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct link *l = p->links[i];
        if (!l || l->swallows || (p->plan.what != PROXY_VANISH && p->plan.what != PROXY_MUTE))
            continue;
        l->swallows = true;
        p->count.struck++;
        empty(&l->to_client);
        empty(&l->to_server);
    }
}

static void take_orders(struct proxy *p)
{
    char none[64];
    while (read(p->wake[0], none, sizeof none) > 0)
        ;
    if (p->plans_done != p->plans || p->reset_all) {
        sweep(p);
        swallow_all(p);
        p->plans_done = p->plans;
        pthread_cond_broadcast(&p->applied);
    }
}

static void step(struct proxy *p, const struct pollfd *fds)
{
    take_orders(p);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct link *l = p->links[i];
        const struct pollfd *c = &fds[2 + 2 * i];
        if (l && (c[0].fd == l->client || c[1].fd == l->server))
            move(p, l, c[0].fd >= 0 ? c[0].revents : 0, c[1].fd >= 0 ? c[1].revents : 0);
    }
    if (accepts(p) && fds[1].fd >= 0 && (fds[1].revents & POLLIN))
        accept_one(p);
    sweep(p);
}

static void *run(void *arg)
{
    struct proxy *p = arg;
    struct pollfd fds[2 + 2 * CONNECTIONS_MAX];
    pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        int wait_ms = prepare(p, fds);
        pthread_mutex_unlock(&p->lock);
        (void)poll(fds, 2 + 2 * CONNECTIONS_MAX, wait_ms);
        pthread_mutex_lock(&p->lock);
        step(p, fds);
    }
    p->reset_all = true;
    sweep(p);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- the test's side ---- */

struct proxy *proxy_start(enum proxy_wire wire, const char *path, uint64_t seed)
{
    struct proxy *p = calloc(1, sizeof *p);
    if (!p)
        give_up("calloc");
    p->wire = wire;
    p->random = seed;
    p->upstream.sun_family = AF_UNIX;
    (void)snprintf(p->upstream.sun_path, sizeof p->upstream.sun_path, "%s", path);
    for (int i = 0; i < FILLERS; i++)
        p->fillers[i] = -1;
    bind_listener(p, BACKLOG);
    if (pipe2(p->wake, O_CLOEXEC | O_NONBLOCK) != 0)
        give_up("pipe");
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->applied, NULL);
    if (pthread_create(&p->thread, NULL, run, p) != 0)
        give_up("thread");
    return p;
}

static void poke(struct proxy *p)
{
    (void)!write(p->wake[1], "x", 1);
}

void proxy_stop(struct proxy *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_mutex_unlock(&p->lock);
    poke(p);
    pthread_join(p->thread, NULL);
    stop_listening(p);
    close(p->listener);
    close(p->wake[0]);
    close(p->wake[1]);
    pthread_cond_destroy(&p->applied);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

uint16_t proxy_port(const struct proxy *p)
{
    return p->port;
}

static void wait_applied(struct proxy *p)
{
    uint64_t mine = ++p->plans;
    poke(p);
    while (p->plans_done < mine)
        pthread_cond_wait(&p->applied, &p->lock);
}

void proxy_set(struct proxy *p, const struct proxy_plan *plan)
{
    pthread_mutex_lock(&p->lock);
    enum proxy_what before = p->plan.what;
    p->plan = plan ? *plan : (struct proxy_plan){0};
    apply_plan(p, before);
    wait_applied(p);
    pthread_mutex_unlock(&p->lock);
}

void proxy_reset_all(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    p->reset_all = true;
    wait_applied(p);
    pthread_mutex_unlock(&p->lock);
}

struct proxy_count proxy_count(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    struct proxy_count count = p->count;
    pthread_mutex_unlock(&p->lock);
    return count;
}
