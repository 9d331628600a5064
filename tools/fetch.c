/*
 * fetch - see fetch.h.
 */
#include "fetch.h"

#include "base/os.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_PORT 9464u
#define SCHEME "http://"

/* ---- the URL ---- */

static se_result wrong(const char *url, const char *why)
{
    char safe[200];
    text_safe(url, strlen(url), safe, sizeof safe);
    return se__error(SE_ERR_INVALID, "\"%s\" is no http://host[:port]: %s", safe, why);
}

static bool known_path(const char *path)
{
    return !*path || strcmp(path, "/") == 0 || strcmp(path, "/metrics") == 0;
}

static bool port_of(const char *text, size_t len, uint16_t *port)
{
    char digits[8];
    uint64_t value;
    if (len == 0) {
        *port = DEFAULT_PORT;
        return true;
    }
    if (text[0] != ':' || len >= sizeof digits)
        return false;
    snprintf(digits, sizeof digits, "%.*s", (int)len - 1, text + 1);
    if (!text_u64(digits, UINT16_MAX, &value) || value == 0)
        return false;
    *port = (uint16_t)value;
    return true;
}

se_result fetch_endpoint(const char *url, struct endpoint *endpoint)
{
    if (strncmp(url, SCHEME, strlen(SCHEME)) != 0)
        return wrong(url, "only http is spoken");
    const char *host = url + strlen(SCHEME);
    const char *path = host + strcspn(host, "/");
    if (!known_path(path))
        return wrong(url, "the path is not /metrics");
    if (memchr(host, '@', (size_t)(path - host)))
        return wrong(url, "users are not known there");
    bool v6 = *host == '[';
    host += v6;
    const char *end = host + strcspn(host, v6 ? "]/" : ":/");
    size_t len = (size_t)(end - host);
    if (len == 0 || len >= sizeof endpoint->host || (v6 && *end != ']'))
        return wrong(url, "the host is missing, or too long");
    const char *rest = end + v6;
    struct endpoint e = {.port = DEFAULT_PORT};
    memcpy(e.host, host, len);
    if (!port_of(rest, (size_t)(path - rest), &e.port))
        return wrong(url, "the port is no number from 1 to 65535");
    *endpoint = e;
    return SE_OK;
}

/* ---- the answer ---- */

/* "HTTP/1.1 200 ": 0 if it is no status line. */
static int status_of(const char *head, size_t len)
{
    if (len < 12 || memcmp(head, "HTTP/1.", 7) != 0 || head[8] != ' ')
        return 0;
    int status = 0;
    for (int i = 9; i < 12; i++) {
        if (head[i] < '0' || head[i] > '9')
            return 0;
        status = status * 10 + head[i] - '0';
    }
    return status;
}

/* Leaves the body. */
static se_result cut_head(struct buf *page)
{
    int status = status_of(page->data, page->len);
    char *end = page->len ? memmem(page->data, page->len, "\r\n\r\n", 4) : NULL;
    if (status == 0 || !end)
        return se__error(SE_ERR_CORRUPT, "the answer is not HTTP");
    if (status != 200)
        return se__error(SE_ERR_BACKEND, "the answer's status is %d", status);
    size_t head = (size_t)(end + 4 - page->data);
    memmove(page->data, page->data + head, page->len - head);
    page->len -= head;
    return SE_OK;
}

#define PIECE ((size_t)64 * 1024)

/* All until the server closes: SE_ERR_BACKEND is that end (or a broken connection: then the page is cut, which
 * whoever reads it must bear). */
static se_result hear(int fd, uint64_t deadline_ms, struct buf *page)
{
    for (;;) {
        size_t n = 0;
        char *at = se__buf_reserve(page, PIECE);
        if (!at)
            return se__error_nomem();
        se_result r = se__net_read(fd, at, PIECE, deadline_ms, &n);
        if (r == SE_ERR_BACKEND)
            return SE_OK;
        if (r != SE_OK)
            return r;
        se__buf_grow(page, n);
        if (page->len > FETCH_PAGE_MAX)
            return se__error(SE_ERR_TOO_BIG, "the answer has more than %zu bytes", FETCH_PAGE_MAX);
    }
}

static se_result talk(int fd, const struct endpoint *e, const char *path, uint64_t deadline_ms,
                      struct buf *page)
{
    char request[512];
    int len = snprintf(request, sizeof request,
                       "GET %s HTTP/1.1\r\nHost: %s:%u\r\nConnection: close\r\n\r\n", path, e->host,
                       e->port);
    se_result r = se__net_write(fd, request, (size_t)len, deadline_ms);
    if (r == SE_OK)
        r = hear(fd, deadline_ms, page);
    return r == SE_OK ? cut_head(page) : r;
}

se_result fetch_page(const struct endpoint *endpoint, const char *path, uint64_t deadline_ms,
                     struct buf *page)
{
    int fd = -1;
    se__buf_clear(page);
    se_result r = se__net_connect(endpoint->host, endpoint->port, NULL, deadline_ms, &fd);
    if (r != SE_OK)
        return r;
    r = talk(fd, endpoint, path, deadline_ms, page);
    se__net_close(fd);
    return r;
}
