/*
 * server - what both fake backends have in common: time, trouble, and who is still connected.
 *
 * A call reaches the server after half its latency, is carried out or not, and is answered after the
 * other half. What can go wrong, each by order of the script:
 *   down      connections are refused at once
 *   hung      nothing is answered until it is let go on; the call ends at its deadline
 *   slow      latencies up to a bound, beyond deadlines too
 *   trouble   the next n calls of a kind end badly: refused before anything was done, carried out
 *             with the answer lost, a conflict, carried out later than its caller believed
 * A dead engine's calls never arrive any more; those that were on the way may.
 *
 * Threads: the tasks of sched.h.
 */
#ifndef SE_SIM_SERVER_H
#define SE_SIM_SERVER_H

#include "tier/tier.h"

/* One engine's being alive, shared by its connections. */
struct life {
    unsigned number;
    bool dead;
};

enum server_call {
    CALL_WRITE = 1,
    CALL_READ = 2,
    CALL_META = 4, /* meta, probe, prepare */
    CALL_SCAN = 8, /* scan, list, survey, digest, purge */
    CALL_LEASE = 16,
    CALL_ANY = 31
};
enum trouble_how {
    TROUBLE_LOST_BEFORE, /* the connection breaks, nothing was done */
    TROUBLE_LOST_AFTER,  /* all was done, the answer is lost */
    TROUBLE_PARTIAL,     /* some of it was done (Redis) */
    TROUBLE_CONFLICT,
    TROUBLE_READ_ONLY, /* an answer: the server is unwell */
    TROUBLE_LATE,      /* no answer in time; carried out some time after (SQL), or not at all */
    TROUBLE_KINDS
};
enum { TROUBLES_MAX = 8 };

struct trouble {
    enum trouble_how how;
    unsigned calls, n; /* kinds of calls, how many are left */
};

struct server {
    const char *name;
    bool down, hung;
    uint32_t latency_us, slow_ms; /* slow_ms 0: at its best */
    unsigned slow_calls;          /* which kinds are slow */
    struct trouble troubles[TROUBLES_MAX];
    unsigned troubles_n;
    uint64_t well_since_ns; /* nothing was wrong since */
    unsigned late;          /* tasks that will carry something out */
};

enum server_does { DOES_ALL, DOES_SOME, DOES_NOTHING, DOES_LATER };
struct exchange {
    struct server *s;
    const struct life *life;
    enum server_does does;
    struct tier_reply reply;
    uint64_t way_back_ns;
};

void server_init(struct server *s, const char *name, uint32_t latency_us);
bool server_troubled(const struct server *s);
void server_note(struct server *s); /* after its state was changed: keeps well_since_ns */
/* All trouble is over. */
void server_heal(struct server *s);
void server_order(struct server *s, enum trouble_how how, unsigned calls, unsigned n);

/* The way there; then the caller carries out what `does` says. */
struct exchange server_begin(struct server *s, const struct life *life, enum server_call call,
                             uint64_t deadline_ms);
/* The way back. Sets the error text. */
struct tier_reply server_end(struct exchange *x);

#endif
