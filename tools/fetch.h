/*
 * fetch - one page of an engine's HTTP endpoint.
 *
 * A client for our own server: GET, HTTP/1.1, the connection ends with the answer. What comes is bounded in size and
 * time, whatever the peer is.
 *
 * Threads: any.  Memory: the page is the caller's (se__buf_done).
 */
#ifndef SE_TOOLS_FETCH_H
#define SE_TOOLS_FETCH_H

#include "base/buf.h"

#define FETCH_PAGE_MAX ((size_t)8 << 20)

struct endpoint {
    char host[256];
    uint16_t port;
};

/* "http://host[:port]", port 9464 by default, "[...]" around IPv6; a path is allowed if it is / or /metrics.
 * SE_ERR_INVALID says what is wrong. */
SE_NODISCARD se_result fetch_endpoint(const char *url, struct endpoint *endpoint);
/* The body of GET path into *page (emptied first), if the answer's status is 200. SE_ERR_TIMEOUT, SE_ERR_BACKEND (no
 * connection, another status), SE_ERR_TOO_BIG, SE_ERR_CORRUPT (no HTTP), with the reason in se_errmsg(). */
SE_NODISCARD se_result fetch_page(const struct endpoint *endpoint, const char *path,
                                  uint64_t deadline_ms, struct buf *page);

#endif
