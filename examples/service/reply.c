/*
 * reply - see reply.h.
 *
 * Clients are told what kind of trouble there is (se_strerror); the log gets the words of the
 * backend (se_errmsg), which are nobody else's business.
 */
#include "reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Sends an answer and forgets it. */
static enum MHD_Result finish(struct MHD_Connection *c, unsigned status,
                              struct MHD_Response *response)
{
    if (!response)
        return MHD_NO; /* no memory: the connection ends */
    enum MHD_Result queued = MHD_queue_response(c, status, response);
    MHD_destroy_response(response);
    return queued;
}

static void header(struct MHD_Response *response, const char *name, const char *value)
{
    if (response)
        (void)MHD_add_response_header(response, name, value);
}

enum MHD_Result reply_json(struct MHD_Connection *c, unsigned status, const char *json, bool close)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(json), (void *)json, MHD_RESPMEM_MUST_COPY);
    header(response, "Content-Type", "application/json");
    if (close)
        header(response, "Connection", "close");
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
        header(response, "Retry-After", "1");
    return finish(c, status, response);
}

enum MHD_Result reply_error(struct MHD_Connection *c, unsigned status, const char *what)
{
    char json[200];
    snprintf(json, sizeof json, "{\"error\":\"%s\"}\n", what);
    return reply_json(c, status, json, false);
}

static unsigned status_of(se_result r)
{
    switch (r) {
    case SE_OK:
        return MHD_HTTP_OK;
    case SE_PENDING:
        return MHD_HTTP_ACCEPTED;
    case SE_NOT_FOUND:
        return MHD_HTTP_NOT_FOUND;
    case SE_ERR_INVALID:
        return MHD_HTTP_BAD_REQUEST;
    case SE_ERR_TOO_BIG:
        return MHD_HTTP_CONTENT_TOO_LARGE;
    case SE_ERR_BACKPRESSURE: /* too many writes for now */
    case SE_ERR_BACKEND:      /* an outage is not a "no" */
    case SE_ERR_TIMEOUT:
    case SE_ERR_STATE: /* shutting down */
    case SE_ERR_NOMEM:
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    default:
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
}

/* When to come again, in whole seconds: the engine's own word where it has one. */
static void retry_after(const se_engine *engine, char text[16])
{
    uint32_t ms = se_retry_after_ms(engine);
    snprintf(text, 16, "%" PRIu32, ms > 1000 ? (ms + 999) / 1000 : 1);
}

enum MHD_Result reply_result(struct MHD_Connection *c, const se_engine *engine, se_result r)
{
    char json[200], seconds[16];
    unsigned status = status_of(r);
    if (status >= MHD_HTTP_INTERNAL_SERVER_ERROR)
        fprintf(stderr, "level=warn msg=\"request failed: %s\"\n", se_errmsg());
    snprintf(json, sizeof json, r < 0 ? "{\"error\":\"%s\"}\n" : "{\"result\":\"%s\"}\n",
             se_strerror(r));
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(json), json, MHD_RESPMEM_MUST_COPY);
    header(response, "Content-Type", "application/json");
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE) {
        retry_after(engine, seconds);
        header(response, "Retry-After", seconds);
    }
    return finish(c, status, response);
}

static void release(void *item)
{
    se_item_release(item);
}

enum MHD_Result reply_item(struct MHD_Connection *c, se_item *item, const char *origin)
{
    char tag[32];
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback_cls(
        se_item_content_len(item), (void *)se_item_content(item), release, item);
    if (!response)
        se_item_release(item);
    bool json = response && se_item_content_type(item) == SE_CONTENT_JSON;
    if (response)
        snprintf(tag, sizeof tag, "\"%" PRIu64 "\"", se_item_version(item));
    header(response, "Content-Type", json ? "application/json" : "application/octet-stream");
    if (response)
        header(response, "ETag", tag);
    if (origin)
        header(response, "X-Origin", origin);
    return finish(c, MHD_HTTP_OK, response);
}

enum MHD_Result reply_text(struct MHD_Connection *c, char *text, size_t len)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
    header(response, "Content-Type", "application/json");
    return finish(c, MHD_HTTP_OK, response);
}
