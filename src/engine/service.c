/*
 * service - what runs beside an engine and ends with it: the HTTP endpoint, which this room cannot see.
 */
#include "engine/engine.h"

se_result se__service_attach(se_engine *e, const struct service *service)
{
    se_result r = se__look_in(e);
    if (r != SE_OK)
        return r;
    se__mutex_lock(&e->shut_lock);
    bool taken = e->service.stop != NULL;
    if (!taken)
        e->service = *service;
    se__mutex_unlock(&e->shut_lock);
    return taken ? se__error(SE_ERR_STATE, "%s runs already", service->what) : SE_OK;
}

void se__service_stop(se_engine *e)
{
    se__mutex_lock(&e->shut_lock);
    struct service service = e->service;
    e->service = (struct service){0};
    se__mutex_unlock(&e->shut_lock);
    if (service.stop)
        service.stop(service.self);
}
