/*
 * session - see session.h.
 */
#include "session.h"

#include "base/os.h"
#include "config.h"
#include "stop.h"
#include "term.h"

#include <stdio.h>

#define SLICE_MS 500u /* of a long wait, between looks at signals */

static bool has(const char *text)
{
    return text && *text;
}

bool session_has(const struct call *call, se_tier tier)
{
    return has(tier == SE_TIER_L2 ? call->config.redis_url : call->config.sql_url);
}

int session_open(struct call *call, bool needs_tier, se_engine **engine)
{
    se_config *c = &call->config;
    if (needs_tier && !has(c->sql_url) && !has(c->redis_url)) {
        term_say("%s: no tier is configured: give --sql-url or --redis-url, or set "
                 "SYNC_ENGINE_SQL_URL or SYNC_ENGINE_REDIS_URL",
                 call->command->name);
        return EXIT_TROUBLE;
    }
    if (call_reads(call))
        c->read_only = true;
    if (!c->log_fn) /* a command may have one of its own */
        c->log_fn = term_log;
    c->log_arg = &call->verbose;
    se_result r = se_open(c, engine);
    if (r == SE_OK)
        return EXIT_FINE;
    term_failed("open", r);
    return EXIT_TROUBLE;
}

void session_close(se_engine *engine)
{
    /* A reader owes nothing: whatever the result says, nothing is lost. */
    (void)se_close(engine, 1000);
}

/* A number that falls, or rises, whenever writes get somewhere. */
static uint64_t waiting(se_engine *engine)
{
    se_health h;
    return se_health_check(engine, &h) == SE_OK ? h.queue_items : 0;
}

enum settled session_settle(se_engine *engine, const struct settling *s)
{
    uint64_t left = waiting(engine), since = se__mono_ms();
    for (;;) {
        se_result r = se_flush(engine, SLICE_MS);
        if (r == SE_OK || r == SE_PENDING)
            return r == SE_OK ? SETTLED_HOME : SETTLED_WAL;
        if (r != SE_ERR_TIMEOUT) {
            term_failed("flush", r);
            return SETTLED_NOT;
        }
        if (s->tick)
            s->tick(s->arg);
        uint64_t now_left = waiting(engine);
        if (now_left != left)
            since = se__mono_ms();
        left = now_left;
        if (s->stop >= 0 && stop_check(s->stop, 0)) {
            term_say("interrupted again: not waiting any longer");
            return SETTLED_STOPPED;
        }
        if (se__mono_ms() - since >= s->patience_ms) {
            term_failed("flush", r);
            return SETTLED_NOT;
        }
    }
}

bool session_end(se_engine *engine, uint64_t patience_ms)
{
    se_result r = se_close(engine, (uint32_t)(patience_ms > 600000 ? 600000 : patience_ms));
    if (r != SE_OK && r != SE_PENDING)
        term_failed("close", r);
    return r == SE_OK || r == SE_PENDING;
}

uint64_t session_dead(se_engine *engine)
{
    se_health h;
    return se_health_check(engine, &h) == SE_OK ? h.dead_letters : 0;
}

void session_home(const struct call *call, char *out, size_t cap)
{
    config_show(&call->config, has(call->config.sql_url) ? "sql_url" : "redis_url", out, cap);
}
