/*
 * later - the parts of the public contract that this version answers with SE_ERR_UNSUPPORTED.
 */
#include "engine/engine.h"

static se_result unsupported(const se_engine *e, const char *what)
{
    se_result r = se__look_in(e);
    return r == SE_OK ? se__error(SE_ERR_UNSUPPORTED, "%s: not in this version", what) : r;
}

se_result se_http_start(se_engine *e, const char *address, uint16_t *port)
{
    (void)address;
    (void)port;
    return unsupported(e, "se_http_start");
}

void se_http_stop(se_engine *e)
{
    (void)e;
}
