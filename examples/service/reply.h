/*
 * reply - answers to HTTP requests, and what an se_result is in HTTP.
 *
 * Every function queues one answer and returns what libmicrohttpd's handler has to return.
 */
#ifndef SERVICE_REPLY_H
#define SERVICE_REPLY_H

#include <microhttpd.h>
#include <stdbool.h>
#include <syncengine/syncengine.h>

/* A constant text of JSON. close: the connection ends with it. */
enum MHD_Result reply_json(struct MHD_Connection *c, unsigned status, const char *json, bool close);
/* {"error":"..."}. what is a constant. */
enum MHD_Result reply_error(struct MHD_Connection *c, unsigned status, const char *what);
/* What a call that failed is in HTTP; 503 with Retry-After where another try may succeed. */
enum MHD_Result reply_result(struct MHD_Connection *c, const se_engine *engine, se_result r);
/* An item's content without a copy: the reference goes over to the answer. */
enum MHD_Result reply_item(struct MHD_Connection *c, se_item *item, const char *origin);
/* text was allocated by malloc() and goes over to the answer. */
enum MHD_Result reply_text(struct MHD_Connection *c, char *text, size_t len);

#endif
