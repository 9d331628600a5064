/*
 * server - the endpoint: a listening socket, libmicrohttpd, and one thread that turns both.
 *
 * Connections are few, short and bounded in everything: 64 at a time, one request each, 10 seconds
 * from accept to end however slowly the peer reads or writes, 16 KiB of request. Peers beyond the
 * 64 wait in the kernel's backlog. So no client can hold more than that, nor for longer, and none
 * holds up the engine: no call of it waits for this thread. HTTP/1.1 with a Host, or HTTP/1.0.
 *
 * Threads: any.  Memory: se__server_open returns, se__server_close frees.
 */
#ifndef SE_HTTP_SERVER_H
#define SE_HTTP_SERVER_H

#include "engine/engine.h"

struct server;

/* As se_http_start. */
SE_NODISCARD se_result se__server_open(se_engine *e, const char *address, uint16_t *port,
                                       struct server **server);
void se__server_close(struct server *s);

#endif
