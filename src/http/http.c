/*
 * http - se_http_start and se_http_stop.
 */
#include "http/server.h"

static void stop(void *self)
{
    se__server_close(self);
}

se_result se_http_start(se_engine *e, const char *address, uint16_t *port)
{
    if (!port)
        return se__error(SE_ERR_INVALID, "port must not be NULL");
    se_result r = se__look_in(e);
    if (r != SE_OK)
        return r;
    struct server *server;
    uint16_t at = *port;
    r = se__server_open(e, address ? address : "127.0.0.1", &at, &server);
    if (r != SE_OK)
        return r;
    r = se__service_attach(e, &(struct service){"the HTTP endpoint", stop, server});
    if (r == SE_OK)
        *port = at;
    else
        se__server_close(server);
    return r;
}

void se_http_stop(se_engine *e)
{
    if (e && se__forkword_ours(&e->forkword))
        se__service_stop(e);
}
