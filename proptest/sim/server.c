/*
 * server.c - see server.h.
 */
#include "sim/server.h"

#include "sim/sched.h"

#define REFUSED_NS 50000

void server_init(struct server *s, const char *name, uint32_t latency_us)
{
    *s = (struct server){.name = name, .latency_us = latency_us};
}

bool server_troubled(const struct server *s)
{
    return s->down || s->hung || s->slow_ms || s->troubles_n > 0 || s->late > 0;
}

void server_note(struct server *s)
{
    s->well_since_ns = server_troubled(s) ? SIM_FOREVER : sim_now_ns();
}

void server_heal(struct server *s)
{
    s->down = s->hung = false;
    s->slow_ms = 0;
    s->troubles_n = 0;
    sim_wake_all(s);
    server_note(s);
}

void server_order(struct server *s, enum trouble_how how, unsigned calls, unsigned n)
{
    if (s->troubles_n < TROUBLES_MAX)
        s->troubles[s->troubles_n++] = (struct trouble){.how = how, .calls = calls, .n = n};
    server_note(s);
}

/* ---- one call ---- */

static struct tier_reply unwell(int code, bool timed_out)
{
    return (struct tier_reply){.fault = TIER_UNWELL, .code = code, .timed_out = timed_out};
}

static struct exchange ends(struct exchange x, enum server_does does, struct tier_reply reply)
{
    x.does = does;
    x.reply = reply;
    return x;
}

static struct trouble *due_trouble(struct server *s, enum server_call call)
{
    for (unsigned i = 0; i < s->troubles_n; i++)
        if (s->troubles[i].calls & (unsigned)call)
            return &s->troubles[i];
    return NULL;
}

static void use_up(struct server *s, struct trouble *t)
{
    if (--t->n > 0)
        return;
    *t = s->troubles[--s->troubles_n];
    server_note(s);
}

/* Until the caller has given up. What it sent may be carried out all the same, then or later. */
static struct exchange time_out(struct exchange x, enum server_call call, uint64_t deadline_ms)
{
    while (sim_now_ms() < deadline_ms && !x.life->dead)
        sim_sleep_ns(deadline_ms * 1000000 - sim_now_ns());
    enum server_does does =
        call == CALL_WRITE ? (enum server_does[]){DOES_ALL, DOES_NOTHING, DOES_LATER}[sim_pick(3)]
                           : DOES_NOTHING;
    return ends(x, does, unwell(2013, true));
}

static struct exchange suffer(struct exchange x, enum server_call call, struct trouble *t,
                              uint64_t deadline_ms)
{
    enum trouble_how how = t->how;
    use_up(x.s, t);
    switch (how) {
    case TROUBLE_LOST_AFTER:
        return ends(x, DOES_ALL, unwell(2013, false));
    case TROUBLE_PARTIAL:
        return ends(x, DOES_SOME, unwell(2013, false));
    case TROUBLE_CONFLICT:
        return ends(x, DOES_NOTHING,
                    call == CALL_WRITE ? (struct tier_reply){.fault = TIER_CONFLICT, .code = 1213}
                                       : unwell(2013, false));
    case TROUBLE_READ_ONLY:
        return ends(x, DOES_NOTHING, unwell(1290, false));
    case TROUBLE_LATE:
        return time_out(x, call, deadline_ms);
    default:
        return ends(x, DOES_NOTHING, unwell(2006, false));
    }
}

/* False: the caller's time was over first. */
static bool wait_hung(struct server *s, uint64_t deadline_ms)
{
    while (s->hung) {
        if (!sim_wait(s, deadline_ms * 1000000))
            return false;
    }
    return true;
}

static uint64_t draw_latency_ns(const struct server *s, enum server_call call)
{
    uint64_t ns = 1000 + (uint64_t)sim_pick(s->latency_us * 1000);
    return s->slow_ms && (s->slow_calls & (unsigned)call)
               ? ns + (uint64_t)sim_pick(s->slow_ms * 1000) * 1000
               : ns;
}

struct exchange server_begin(struct server *s, const struct life *life, enum server_call call,
                             uint64_t deadline_ms)
{
    struct exchange x = {.s = s, .life = life, .does = DOES_ALL};
    uint64_t latency = draw_latency_ns(s, call);
    if (life->dead || s->down) {
        sim_sleep_ns(REFUSED_NS);
        return ends(x, DOES_NOTHING, unwell(2002, false));
    }
    if (!wait_hung(s, deadline_ms) || sim_now_ns() + latency >= deadline_ms * 1000000)
        return time_out(x, call, deadline_ms);
    sim_sleep_ns(latency / 2);
    x.way_back_ns = latency - latency / 2;
    if (life->dead && sim_pick(2) == 0) /* it was on its way when its sender died */
        return ends(x, DOES_NOTHING, unwell(2013, false));
    if (s->down)
        return ends(x, DOES_NOTHING, unwell(2013, false));
    struct trouble *t = due_trouble(s, call);
    return t ? suffer(x, call, t, deadline_ms) : x;
}

struct tier_reply server_end(struct exchange *x)
{
    if (x->way_back_ns)
        sim_sleep_ns(x->way_back_ns);
    if (x->life->dead)
        x->reply = unwell(2013, false);
    if (x->reply.fault != TIER_FINE)
        se__error(x->reply.timed_out ? SE_ERR_TIMEOUT : SE_ERR_BACKEND, "%s: error %d", x->s->name,
                  x->reply.code);
    return x->reply;
}
