/*
 * proxy - see proxy.h: connecting, the loop and the test's side. What happens to a connection's bytes is in proxy_link.c.
 *
 * All state is the loop's, guarded by one lock while it is not in poll().
 */
#include "support/proxy.h"

#include "support/proxy_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 128 };

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
            proxy_give_up("no port");
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
    proxy_give_up("no port");
}

/* Nobody listens: connects are refused. The port stays bound. */
static void stop_listening(struct proxy *p)
{
    /* not twice: connections that are accepted later would inherit the end of what is to be read */
    if (p->listening)
        (void)shutdown(p->listener, SHUT_RD);
    p->listening = false;
    for (int i = 0; i < FILLERS; i++)
        proxy_close_fd(&p->fillers[i], true);
}

static void listen_again(struct proxy *p, int backlog)
{
    if (listen(p->listener, backlog) != 0)
        proxy_give_up("listen");
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
            proxy_give_up("fill");
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
            link_end(l, true);
        }
        if (l && l->client < 0) {
            link_end(l, false);
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
    uint64_t now = proxy_now_ms(), next = now + 60000;
    fds[0] = (struct pollfd){.fd = p->wake[0], .events = POLLIN};
    fds[1] = (struct pollfd){.fd = accepts(p) ? p->listener : -1, .events = POLLIN};
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        const struct link *l = p->links[i];
        struct pollfd *c = &fds[2 + 2 * i];
        c[0] = c[1] = (struct pollfd){.fd = -1};
        if (!l)
            continue;
        short out_client = queue_due(&l->to_client, now) ? POLLOUT : 0;
        short out_server = queue_due(&l->to_server, now) ? POLLOUT : 0;
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
        queue_empty(&l->to_client);
        queue_empty(&l->to_server);
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
            link_move(p, l, c[0].fd >= 0 ? c[0].revents : 0, c[1].fd >= 0 ? c[1].revents : 0);
    }
    if (accepts(p) && fds[1].fd >= 0 && (fds[1].revents & POLLIN))
        link_accept(p);
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
        proxy_give_up("calloc");
    p->wire = wire;
    p->random = seed;
    p->upstream.sun_family = AF_UNIX;
    (void)snprintf(p->upstream.sun_path, sizeof p->upstream.sun_path, "%s", path);
    for (int i = 0; i < FILLERS; i++)
        p->fillers[i] = -1;
    bind_listener(p, BACKLOG);
    if (pipe2(p->wake, O_CLOEXEC | O_NONBLOCK) != 0)
        proxy_give_up("pipe");
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->applied, NULL);
    if (pthread_create(&p->thread, NULL, run, p) != 0)
        proxy_give_up("thread");
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
