/*
 * api - the service's own HTTP interface, over libmicrohttpd: items, a list of them, reports.
 *
 * README.md has the table of routes and answers. One thread a connection, since a read may wait for
 * Redis or the database; an engine serves all of them.
 *
 * Threads: api_start, api_drain and api_stop belong to the main thread.
 */
#ifndef SERVICE_API_H
#define SERVICE_API_H

#include <stdbool.h>
#include <stdint.h>
#include <syncengine/syncengine.h>

struct api;

/* Listens on address:*port; port 0: one is chosen and returned. bytes_max: the longest content that
 * is read from a client. NULL after a message on stderr. */
struct api *api_start(se_engine *engine, const char *address, uint16_t *port, size_t bytes_max);
/* From now on /ready and every new request answer 503 and close their connection; those that run are
 * finished. Returns when none runs any more, or after ms: false then. */
bool api_drain(struct api *api, unsigned ms);
void api_stop(struct api *api);

#endif
