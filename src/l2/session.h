/*
 * session - a connection that has introduced itself and knows whom it talks to.
 *
 * Opening one takes two round trips: password, database, name and the server's identity in the
 * first; scripts and clock in the second. It happens on a pool's thread (tier/pool.h).
 *
 * The server's clock: server_ms = mono_ms + offset, learnt from replies, never too late by more
 * than the clocks drift apart between two of them: the reply was received after the clock was read,
 * so a deadline translated with it is at or before the real one.
 *
 * Threads: caller-serialised.  Memory: se__session_open returns, se__session_close frees.
 */
#ifndef SE_L2_SESSION_H
#define SE_L2_SESSION_H

#include "l2/resp.h"
#include "l2/scripts.h"

#define SESSION_SHA_SIZE 41
#define SESSION_IDENTITY_SIZE 128

struct server_clock {
    int64_t offset_ms;
    uint64_t learnt_ms; /* mono; 0: not yet */
};

struct session {
    struct resp *resp;
    const char *secret;                   /* the url's password, never to be shown; NULL: none */
    char identity[SESSION_IDENTITY_SIZE]; /* "runid/replid" */
    bool cluster;                         /* the server is a node of a Redis Cluster */
    bool no_bulk;                         /* the server, or this user, cannot do bulk.h */
    char sha[SCRIPT_COUNT][SESSION_SHA_SIZE];
    struct server_clock clock;
    bool gets_or_leases; /* SET knows NX and GET together: Redis 7 */
    /* What late replies said: */
    bool forgotten; /* a script was not there */
    bool doubtful;  /* it is not what we take it for: to be closed once it is given back */
};

/* url: borrowed until the close. SE_ERR_TIMEOUT, SE_ERR_BACKEND (cannot connect, or the server refuses us; its words
 * are in the text), SE_ERR_NOMEM. */
SE_NODISCARD se_result se__session_open(const struct url *url, uint64_t deadline_ms,
                                        struct session **session);
void se__session_close(struct session *s); /* NULL is allowed */
/* Loads the scripts (again, after NOSCRIPT) and learns the clock. One round trip. */
SE_NODISCARD se_result se__session_load(struct session *s, uint64_t deadline_ms);

/* Takes note of the server's clock as a reply just received gave it. `jumped`: what
 * is known is wrong, forget it. */
void se__clock_learn(struct server_clock *clock, int64_t server_ms, uint64_t now_ms, bool jumped);
/* The deadline in the server's time, at most SCRIPT_AHEAD_MS_MAX from now; 0 if it has passed. */
uint64_t se__clock_deadline(const struct server_clock *clock, uint64_t deadline_ms,
                            uint64_t now_ms);

#endif
