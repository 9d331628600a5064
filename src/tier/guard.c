/*
 * guard - see guard.h.
 *
 * The breaker's lock is held for its few instructions only, never while the backend is asked; log
 * lines and metrics come after it.
 */
#include "tier/guard.h"

#include "tier/retry.h"

/* 8 repetitions: a deadlock between batches is over in milliseconds, and its loser
 * should not wait for a second. */
static const struct retry_policy CONFLICT_RETRY = {.attempts_max = 9, .base_ms = 2, .cap_ms = 250};

/* ---- one attempt ---- */

static void announce(const struct guarded *g, se_circuit from, se_circuit to, uint64_t wait_ms)
{
    if (from == to)
        return;
    const struct series *s = g->series;
    se__metrics_inc(g->metrics, to == SE_CIRCUIT_OPEN        ? s->opened
                                : to == SE_CIRCUIT_HALF_OPEN ? s->half
                                                             : s->closed);
    se__metrics_set(g->metrics, s->circuit, (double)to);
    if (to == SE_CIRCUIT_OPEN)
        se__log(g->log, SE_LOG_WARN, "circuit.open",
                (const struct se__field[]){se__text("tier", g->ops.name),
                                           se__number("retry_ms", wait_ms),
                                           se__text("error", se_errmsg()),
                                           {0}},
                "%s: circuit opened, next attempt in %llu ms: %s", g->ops.name,
                (unsigned long long)wait_ms, se_errmsg());
    else
        se__log(g->log, SE_LOG_INFO, "circuit.change",
                (const struct se__field[]){
                    se__text("tier", g->ops.name),
                    se__text("state", to == SE_CIRCUIT_HALF_OPEN ? "half_open" : "closed"),
                    {0}},
                "%s: circuit %s", g->ops.name,
                to == SE_CIRCUIT_HALF_OPEN ? "half-open: trying again" : "closed: backend is back");
}

bool se__guard_admit(struct guarded *g, uint64_t now_ms, bool *stopped)
{
    se__mutex_lock(&g->lock);
    se_circuit from = g->breaker.state;
    *stopped = g->stopping;
    bool allowed = !g->stopping && se__breaker_allow(&g->breaker, now_ms);
    se_circuit to = g->breaker.state;
    se__mutex_unlock(&g->lock);
    announce(g, from, to, 0);
    return allowed;
}

void se__guard_note_up(struct guarded *g, bool up)
{
    if (atomic_exchange_explicit(&g->up, up, memory_order_relaxed) != up)
        se__metrics_set(g->metrics, g->series->up, up);
}

void se__guard_report(struct guarded *g, bool ok, uint64_t took_ms, uint64_t now_ms)
{
    se__guard_note_up(g, ok);
    se__mutex_lock(&g->lock);
    se_circuit from = g->breaker.state;
    se__breaker_report(&g->breaker, ok, took_ms, now_ms);
    se_circuit to = g->breaker.state;
    uint64_t wait_ms = se__breaker_wait_ms(&g->breaker, now_ms);
    se__mutex_unlock(&g->lock);
    announce(g, from, to, wait_ms);
}

static struct tier_reply rejected(const struct guarded *g, bool stopped)
{
    if (!stopped)
        se__metrics_inc(g->metrics, g->series->rejected);
    se__error(SE_ERR_BACKEND, stopped ? "%s: stopped" : "%s: not asked, its circuit is open",
              g->ops.name);
    return (struct tier_reply){.fault = TIER_UNWELL, .rejected = true};
}

static struct tier_reply attempt(struct guarded *g, struct call *c)
{
    bool stopped;
    uint64_t from_ns = se__mono_ns(); /* looked at twice in all: a read from SQLite takes 3 us */
    if (from_ns / 1000000 >= c->deadline_ms) {
        /* The caller came too late: that says nothing about the backend. */
        se__error(SE_ERR_TIMEOUT, "%s: no time left to ask", g->ops.name);
        return (struct tier_reply){.fault = TIER_UNWELL, .timed_out = true};
    }
    if (!se__guard_admit(g, from_ns / 1000000, &stopped))
        return rejected(g, stopped);
    struct tier_reply reply = c->run(g, c);
    uint64_t until_ns = se__mono_ns(), took_ns = until_ns - from_ns;
    if (c->seconds != METRIC_COUNT)
        se__metrics_observe(g->metrics, c->seconds, (double)took_ns / 1e9);
    /* A tier that turned the call away itself (another server than the accepted
     * one) has reached its backend. */
    se__guard_report(g, reply.fault != TIER_UNWELL || reply.rejected,
                     c->long_call ? 0 : took_ns / 1000000, until_ns / 1000000);
    return reply;
}

/* ---- repeating ---- */

/* Waits; false if the guard was stopped meanwhile. */
static bool pause_unless_stopped(struct guarded *g, uint32_t ms)
{
    uint64_t until = se__deadline_in(ms);
    se__mutex_lock(&g->lock);
    while (!g->stopping && se__cond_wait_until(&g->stop, &g->lock, until)) {
    }
    bool go_on = !g->stopping;
    se__mutex_unlock(&g->lock);
    return go_on;
}

/* Which policy repeats this reply; NULL: none. */
static const struct retry_policy *policy_for(const struct call *c, const struct tier_reply *reply)
{
    if (c->visited)
        return NULL;
    if (reply->fault == TIER_CONFLICT)
        return &CONFLICT_RETRY;
    if (reply->fault == TIER_UNWELL && !reply->timed_out && !reply->rejected)
        return &SE__RETRY_QUERY;
    return NULL;
}

/* Conflicts and outages are counted apart: one lost connection must not
 * use up a deadlock's attempts. */
static bool wait_to_repeat(struct guarded *g, const struct call *c, const struct tier_reply *reply,
                           uint32_t *conflicts, uint32_t *outages)
{
    const struct retry_policy *policy = policy_for(c, reply);
    uint32_t wait_ms;
    if (!policy)
        return false;
    uint32_t done = ++*(reply->fault == TIER_CONFLICT ? conflicts : outages);
    if (!se__retry_next(policy, done, se__random_u64(), se__mono_ms(), c->deadline_ms, &wait_ms))
        return false;
    return pause_unless_stopped(g, wait_ms);
}

struct tier_reply se__guard(struct guarded *g, struct call *c)
{
    uint32_t conflicts = 0, outages = 0;
    struct tier_reply reply = attempt(g, c);
    while (reply.fault != TIER_FINE && wait_to_repeat(g, c, &reply, &conflicts, &outages)) {
        se__metrics_inc(g->metrics, g->series->retries);
        struct tier_reply again = attempt(g, c);
        /* A circuit that opened meanwhile: what the backend itself said tells the caller more. */
        if (again.rejected)
            break;
        reply = again;
    }
    return reply;
}

/* ---- what the others ask ---- */

se_circuit se__guarded_circuit(struct guarded *g)
{
    se__mutex_lock(&g->lock);
    se_circuit state = g->breaker.state;
    se__mutex_unlock(&g->lock);
    return state;
}

uint64_t se__guarded_wait_ms(struct guarded *g)
{
    se__mutex_lock(&g->lock);
    uint64_t ms = se__breaker_wait_ms(&g->breaker, se__mono_ms());
    se__mutex_unlock(&g->lock);
    return ms;
}

int se__guarded_up(struct guarded *g)
{
    return atomic_load_explicit(&g->up, memory_order_relaxed);
}

void se__guarded_stop(struct guarded *g)
{
    se__mutex_lock(&g->lock);
    g->stopping = true;
    se__cond_broadcast(&g->stop);
    se__mutex_unlock(&g->lock);
}
