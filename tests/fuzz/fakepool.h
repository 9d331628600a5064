/*
 * fakepool - tier/pool.h without threads: one connection, opened when it is asked for. meson.build wraps
 * the calls.
 *
 * Threads: one.
 */
#ifndef SE_TESTS_FUZZ_FAKEPOOL_H
#define SE_TESTS_FUZZ_FAKEPOOL_H

#include "fuzz/fuzz.h"

#include "tier/pool.h"

struct pool {
    struct pool_options o;
    void *idle;
    bool taken;
};

se_result __wrap_se__pool_open(const struct pool_options *options, struct pool **pool);
se_result __wrap_se__pool_open(const struct pool_options *options, struct pool **pool)
{
    *pool = calloc(1, sizeof **pool);
    must(*pool != NULL);
    (*pool)->o = *options;
    return SE_OK;
}

void __wrap_se__pool_drop_idle(struct pool *p);
void __wrap_se__pool_drop_idle(struct pool *p)
{
    if (p->idle)
        p->o.close(p->o.arg, p->idle);
    p->idle = NULL;
}

void __wrap_se__pool_close(struct pool *p);
void __wrap_se__pool_close(struct pool *p)
{
    if (!p)
        return;
    must(!p->taken);
    __wrap_se__pool_drop_idle(p);
    free(p);
}

se_result __wrap_se__pool_take(struct pool *p, uint64_t deadline_ms, void **connection);
se_result __wrap_se__pool_take(struct pool *p, uint64_t deadline_ms, void **connection)
{
    must(!p->taken);
    if (p->idle && p->o.broken && p->o.broken(p->o.arg, p->idle))
        __wrap_se__pool_drop_idle(p);
    se_result r = p->idle ? SE_OK : p->o.open(p->o.arg, deadline_ms, &p->idle);
    if (r == SE_OK) {
        *connection = p->idle;
        p->idle = NULL;
        p->taken = true;
    }
    return r;
}

void __wrap_se__pool_give(struct pool *p, void *connection, bool broken);
void __wrap_se__pool_give(struct pool *p, void *connection, bool broken)
{
    must(p->taken);
    p->taken = false;
    p->idle = connection;
    if (broken)
        __wrap_se__pool_drop_idle(p);
}

#endif
