/*
 * server - see server.h.
 *
 * The loop is ours and not libmicrohttpd's: so its thread is named and blocks signals as all of
 * ours do, and connections that have lasted too long can be ended from the same thread that serves
 * them, without a lock. libmicrohttpd's own timeout counts from the last byte, which a peer that
 * sends one byte at a time never lets run out.
 */
#include "http/server.h"

#include "base/mem.h"
#include "http/page.h"

#include <microhttpd.h>
#include <stdlib.h>

#define CONNECTIONS_MAX 64u
#define LIFE_MS 10000u
#define REQUEST_MAX ((size_t)16 * 1024)
#define TURN_MS 50u /* how long a stop can go unseen */

/* A connection, from libmicrohttpd's first notice of it to its last. */
struct guest {
    struct guest *older, *younger;
    uint64_t until_ms;
    int fd;
};

struct server {
    se_engine *engine;
    struct MHD_Daemon *daemon;
    int epoll;
    int listener; /* -1: the daemon's */
    struct se__thread thread;
    atomic_bool stopping;          /* relaxed: seen in the next turn */
    struct guest *oldest, *newest; /* the thread's */
};

/* ---- guests ---- */

static void guest_came(struct server *s, struct guest *g, int fd)
{
    *g = (struct guest){.older = s->newest, .until_ms = se__deadline_in(LIFE_MS), .fd = fd};
    *(s->newest ? &s->newest->younger : &s->oldest) = g;
    s->newest = g;
}

static void guest_left(struct server *s, struct guest *g)
{
    *(g->older ? &g->older->younger : &s->oldest) = g->younger;
    *(g->younger ? &g->younger->older : &s->newest) = g->older;
    se__free(g);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct server *s = arg;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*context)
            guest_left(s, *context);
        return;
    }
    struct guest *g = se__alloc(sizeof *g);
    int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    *context = g;
    if (g)
        guest_came(s, g, fd);
    else
        se__net_shutdown(fd);
}

/* They are in the order in which they came, and each may stay for as long as the others. */
static void end_overdue(struct server *s)
{
    for (struct guest *g = s->oldest; g && se__deadline_left(g->until_ms) == 0; g = g->younger)
        se__net_shutdown(g->fd); /* libmicrohttpd finds it closed in its next turn */
}

/* ---- requests ---- */

/* A body is not read: the answer goes out at once, and the connection is closed behind it. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_len, void **context)
{
    (void)version;
    (void)body;
    (void)body_len;
    (void)context;
    struct server *s = arg;
    struct page page;
    se__page(s->engine, method, path, &page);
    if (!page.text)
        return MHD_NO;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(page.len, page.text, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(page.text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, page.type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (page.status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET");
    enum MHD_Result queued = MHD_queue_response(connection, page.status, response);
    MHD_destroy_response(response);
    return queued;
}

static void ignore(void *arg, const char *fmt, va_list list)
{
    (void)arg; /* what libmicrohttpd says of peers' mistakes is not for the service's stderr */
    (void)fmt;
    (void)list;
}

/* ---- the thread ---- */

static void turn(void *arg)
{
    struct server *s = arg;
    while (!atomic_load_explicit(&s->stopping, memory_order_relaxed)) {
        MHD_UNSIGNED_LONG_LONG due_ms = TURN_MS;
        if (MHD_get_timeout(s->daemon, &due_ms) != MHD_YES || due_ms > TURN_MS)
            due_ms = TURN_MS;
        (void)se__net_wait(s->epoll, SE__NET_READ, se__deadline_in(due_ms));
        end_overdue(s);
        (void)MHD_run(s->daemon);
    }
}

/* ---- opening ---- */

static se_result open_daemon(struct server *s)
{
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER,
        ignore, NULL, MHD_OPTION_LISTEN_SOCKET, s->listener, MHD_OPTION_CONNECTION_LIMIT,
        CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, LIFE_MS / 1000,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_MAX, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_END);
    if (!s->daemon)
        return se__error(SE_ERR_NOMEM, "the HTTP endpoint: out of memory or descriptors");
    s->listener = -1;
    s->epoll = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    return SE_OK;
}

se_result se__server_open(se_engine *e, const char *address, uint16_t *port, struct server **server)
{
    struct server *s = se__alloc_zeroed(1, sizeof *s);
    if (!s)
        return se__error_nomem();
    s->engine = e;
    s->listener = -1;
    uint16_t at = *port;
    se_result r = se__net_listen(address, &at, &s->listener);
    if (r == SE_OK)
        r = open_daemon(s);
    if (r == SE_OK)
        r = se__thread_start(&s->thread, "se-http", turn, s);
    if (r != SE_OK) {
        se__server_close(s);
        return r;
    }
    *port = at;
    *server = s;
    return SE_OK;
}

void se__server_close(struct server *s)
{
    atomic_store_explicit(&s->stopping, true, memory_order_relaxed);
    se__thread_join(&s->thread);
    if (s->daemon)
        MHD_stop_daemon(s->daemon); /* closes the listener; says of every guest that it left */
    se__net_close(s->listener);
    se__free(s);
}
