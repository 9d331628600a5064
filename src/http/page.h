/*
 * page - what each address of the endpoint answers. Asks the engine, never a tier.
 *
 *   /metrics  200, Prometheus text exposition format 0.0.4
 *   /health   200 or 503, JSON: is everything as it should be, and what is not
 *   /ready    200 or 503, JSON: may traffic be sent here
 *   others    404; any method but GET 405
 *
 * Threads: any.  Memory: the text of a page is malloc()ed and the caller's.
 */
#ifndef SE_HTTP_PAGE_H
#define SE_HTTP_PAGE_H

#include "engine/engine.h"

struct page {
    unsigned status;  /* of HTTP */
    const char *type; /* Content-Type */
    char *text;       /* NULL: no memory was left even for this; status is 500 then */
    size_t len;
};

void se__page(se_engine *e, const char *method, const char *path, struct page *page);

#endif
