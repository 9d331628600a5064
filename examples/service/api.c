/*
 * api - see api.h.
 */
#include "api.h"

#include "list.h"
#include "reply.h"

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define CONNECTIONS_MAX 256u
#define REQUEST_MAX ((size_t)16 * 1024) /* line and headers of a request */
#define IDLE_S 10u

struct api {
    se_engine *engine;
    struct MHD_Daemon *daemon;
    size_t bytes_max;
    atomic_bool draining;
    atomic_int running; /* requests that are being answered */
};

/* One request while its body arrives. */
struct request {
    char *body;
    size_t len, cap;
    bool too_big, no_memory;
    bool late; /* it came after the drain had begun */
};

/* ---- reading a request ---- */

/* In place, as libmicrohttpd wants it. A %00 would cut an id off: it becomes byte 1, which no id may
 * have, so that the engine refuses it. */
static size_t unescape(void *arg, struct MHD_Connection *c, char *text)
{
    (void)arg, (void)c;
    size_t to = 0;
    for (size_t at = 0; text[at]; at++, to++) {
        unsigned byte;
        if (text[at] == '%' && strspn(text + at + 1, "0123456789abcdefABCDEF") >= 2 &&
            sscanf(text + at + 1, "%2x", &byte) == 1) {
            text[to] = (char)(byte ? byte : 1);
            at += 2;
        } else {
            text[to] = text[at];
        }
    }
    text[to] = '\0';
    return to;
}

static void take_body(struct request *q, const char *data, size_t len, size_t max)
{
    if (len > max - q->len)
        q->too_big = true;
    if (q->too_big || q->no_memory)
        return; /* what comes is read and dropped, so that the client hears the answer */
    if (q->len + len > q->cap) {
        size_t cap = (q->len + len) * 2 < max ? (q->len + len) * 2 : max;
        char *more = realloc(q->body, cap);
        q->no_memory = !more;
        if (!more)
            return;
        q->body = more;
        q->cap = cap;
    }
    memcpy(q->body + q->len, data, len);
    q->len += len;
}

/* A number of the query; absent: fallback. False: it is none. */
static bool number(struct MHD_Connection *c, const char *name, unsigned long fallback,
                   unsigned long max, unsigned long *out)
{
    const char *text = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, name);
    char *end = NULL;
    *out = fallback;
    if (!text)
        return true;
    errno = 0;
    *out = strtoul(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && text[0] != '-' && *out <= max;
}

/* ?ack=memory|wal|l3&expires_in_s=N */
static bool write_options(struct MHD_Connection *c, se_submit_options *options)
{
    static const char *const acks[] = {"", "memory", "wal", "l3"};
    unsigned long seconds;
    const char *ack = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "ack");
    se_submit_options_init(options);
    for (unsigned i = SE_ACK_MEMORY; ack && i <= SE_ACK_L3; i++) {
        if (strcmp(ack, acks[i]) == 0)
            options->ack = (se_ack)i;
    }
    if ((ack && options->ack == SE_ACK_DEFAULT) ||
        !number(c, "expires_in_s", 0, 3155760000ul, &seconds))
        return false;
    if (seconds > 0)
        options->expires_at_ms = ((int64_t)time(NULL) + (int64_t)seconds) * 1000;
    return true;
}

/* ---- the routes ---- */

static enum MHD_Result put_item(struct api *api, struct MHD_Connection *c, const char *id,
                                const struct request *q)
{
    se_submit_options options;
    if (!write_options(c, &options))
        return reply_error(c, MHD_HTTP_BAD_REQUEST, "ack or expires_in_s");
    if (q->too_big)
        return reply_result(c, api->engine, SE_ERR_TOO_BIG);
    if (q->no_memory)
        return reply_result(c, api->engine, SE_ERR_NOMEM);
    return reply_result(c, api->engine,
                        se_submit(api->engine, id, q->body ? q->body : "", q->len, &options));
}

static enum MHD_Result delete_item(struct api *api, struct MHD_Connection *c, const char *id)
{
    se_submit_options options;
    if (!write_options(c, &options))
        return reply_error(c, MHD_HTTP_BAD_REQUEST, "ack or expires_in_s");
    return reply_result(c, api->engine, se_delete(api->engine, id, &options));
}

static enum MHD_Result get_item(struct api *api, struct MHD_Connection *c, const char *id)
{
    se_item *item;
    se_result r = se_get(api->engine, id, &item);
    return r == SE_OK ? reply_item(c, item, NULL) : reply_result(c, api->engine, r);
}

static enum MHD_Result list_items(struct api *api, struct MHD_Connection *c)
{
    unsigned long limit;
    const char *prefix = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "prefix");
    const char *after = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "after");
    char *text;
    size_t len;
    if (!number(c, "limit", 100, LIST_MAX, &limit) || limit == 0)
        return reply_error(c, MHD_HTTP_BAD_REQUEST, "limit");
    se_result r = list_ids(api->engine, prefix ? prefix : "", after, limit, &text, &len);
    return r == SE_OK ? reply_text(c, text, len) : reply_result(c, api->engine, r);
}

/* Makes what nobody has: stands for a query that takes a while. */
static se_result make_report(void *arg, const char *id, void **content, size_t *len)
{
    bool *made = arg;
    char *text = malloc(400);
    if (!text)
        return SE_ERR_NOMEM;
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    *len = (size_t)snprintf(text, 400, "the report for %s", id + strlen("report:"));
    *content = text;
    *made = true;
    return SE_OK;
}

/* Cache-aside: however many ask for a report that nobody has, it is made once. In an outage it is
 * not made at all: there might be one. */
static enum MHD_Result get_report(struct api *api, struct MHD_Connection *c, const char *name)
{
    char id[SE_ID_MAX + 16];
    se_item *item;
    bool made = false;
    if (strlen(name) > SE_ID_MAX)
        return reply_result(c, api->engine, SE_ERR_INVALID);
    snprintf(id, sizeof id, "report:%s", name);
    se_result r = se_get_or_insert_with(api->engine, id, make_report, &made, NULL, &item);
    if (r != SE_OK && r != SE_PENDING) /* PENDING: there it is, its ack is still to come */
        return reply_result(c, api->engine, r);
    return reply_item(c, item, made ? "made" : "cache");
}

/* ---- one request ---- */

static enum MHD_Result route(struct api *api, struct MHD_Connection *c, const char *path,
                             const char *method, const struct request *q)
{
    bool get = strcmp(method, "GET") == 0;
    if (strcmp(path, "/ready") == 0 && get)
        return reply_json(c, MHD_HTTP_OK, "{\"ready\":true}\n", false);
    if (strcmp(path, "/items") == 0 && get)
        return list_items(api, c);
    if (strncmp(path, "/reports/", 9) == 0 && path[9] && get)
        return get_report(api, c, path + 9);
    if (strncmp(path, "/items/", 7) != 0 || !path[7])
        return reply_error(c, MHD_HTTP_NOT_FOUND, "no such route");
    if (get)
        return get_item(api, c, path + 7);
    if (strcmp(method, "PUT") == 0)
        return put_item(api, c, path + 7, q);
    if (strcmp(method, "DELETE") == 0)
        return delete_item(api, c, path + 7);
    return reply_error(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET, PUT, DELETE");
}

/* libmicrohttpd calls this once for the head, once for each piece of the body, once at the end. */
static enum MHD_Result handle(void *arg, struct MHD_Connection *c, const char *path,
                              const char *method, const char *version, const char *data,
                              size_t *data_len, void **state)
{
    struct api *api = arg;
    struct request *q = *state;
    (void)version;
    if (!q) {
        *state = q = calloc(1, sizeof *q);
        if (!q)
            return MHD_NO;
        atomic_fetch_add(&api->running,
                         1); /* first: either api_drain() waits for it, or it is late */
        q->late = atomic_load(&api->draining);
        return MHD_YES;
    }
    if (*data_len > 0) {
        take_body(q, data, *data_len, api->bytes_max);
        *data_len = 0;
        return MHD_YES;
    }
    if (q->late)
        return reply_json(c, MHD_HTTP_SERVICE_UNAVAILABLE, "{\"error\":\"shutting down\"}\n", true);
    return route(api, c, path, method, q);
}

/* The answer is out, or the client is gone. */
static void completed(void *arg, struct MHD_Connection *c, void **state,
                      enum MHD_RequestTerminationCode why)
{
    struct api *api = arg;
    struct request *q = *state;
    (void)c, (void)why;
    if (!q)
        return;
    free(q->body);
    free(q);
    *state = NULL;
    atomic_fetch_sub(&api->running, 1);
}

/* ---- life ---- */

static struct addrinfo *resolve(const char *address, uint16_t port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    return getaddrinfo(address, service, &hints, &found) == 0 ? found : NULL;
}

static struct MHD_Daemon *start_daemon(struct api *api, const struct addrinfo *where)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
                     MHD_USE_POLL | MHD_USE_ITC;
    if (where->ai_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, handle, api, MHD_OPTION_SOCK_ADDR, where->ai_addr,
        MHD_OPTION_NOTIFY_COMPLETED, completed, api, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        REQUEST_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_END);
}

struct api *api_start(se_engine *engine, const char *address, uint16_t *port, size_t bytes_max)
{
    struct api *api = calloc(1, sizeof *api);
    struct addrinfo *where = resolve(address, *port);
    if (api && where) {
        api->engine = engine;
        api->bytes_max = bytes_max;
        api->daemon = start_daemon(api, where);
    }
    if (where)
        freeaddrinfo(where);
    if (!api || !api->daemon) {
        fprintf(stderr, "cannot listen on %s:%u\n", address, *port);
        free(api);
        return NULL;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(api->daemon, MHD_DAEMON_INFO_BIND_PORT);
    if (info)
        *port = info->port;
    return api;
}

bool api_drain(struct api *api, unsigned ms)
{
    atomic_store(&api->draining, true);
    for (unsigned waited = 0; atomic_load(&api->running) > 0; waited += 10) {
        if (waited >= ms)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return true;
}

void api_stop(struct api *api)
{
    if (!api)
        return;
    MHD_stop_daemon(api->daemon); /* waits for its threads */
    free(api);
}
