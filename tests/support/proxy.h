/*
 * proxy - stands between a client and a server of the test's own and does to their conversation what networks and failing servers do.
 *
 *   engine --TCP 127.0.0.1:port--> proxy --unix socket--> server
 *
 * TCP on the client's side, because only there connections can be reset and connects can hang. One thread does it all.
 *
 * A conversation has turns: the client's bytes, then the server's. A turn begins with the client's first byte after the server's last
 * (and once at the start, for a server that speaks first). What is done to a turn is drawn when it begins and stays until it ends,
 * so a change of plan never strikes an answer whose request it let through; but VANISH and the faults of connecting act at once.
 *
 *   what                 turns that are struck                               new connections
 *   PROXY_PASS           nothing                                             as usual
 *   PROXY_DELAY          each piece of the reply arrives `ms` later          likewise
 *   PROXY_DRIP           one byte of the reply each `ms`                     likewise
 *   PROXY_CUT_CLOSE      after `bytes` of the reply: an orderly close        likewise
 *   PROXY_CUT_RESET      after `bytes` of the reply: a reset                 likewise
 *   PROXY_CUT_SILENT     after `bytes` of the reply: silence for ever        likewise
 *   PROXY_RESET_REQUEST  after `bytes` of the request: a reset; the server   likewise
 *                        sees the beginning and then an end
 *   PROXY_INJECT         requests that match get `inject`'s error, and the   untouched, as long as they
 *                        server does not see them                            are introducing themselves
 *   PROXY_VANISH         the peer is gone without a word: bytes are          connects hang (dropped SYNs)
 *                        swallowed for ever, also when the plan has changed
 *   PROXY_MUTE           as above                                            accepted, never answered
 *   PROXY_REFUSE         all are reset                                       refused
 *
 * Threads: the calls are the test's, from one thread at a time.  Failures of the fixture itself abort with a line on stderr.
 */
#ifndef SE_TESTS_SUPPORT_PROXY_H
#define SE_TESTS_SUPPORT_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proxy;

enum proxy_wire { PROXY_REDIS, PROXY_MYSQL };

enum proxy_what {
    PROXY_PASS,
    PROXY_DELAY,
    PROXY_DRIP,
    PROXY_CUT_CLOSE,
    PROXY_CUT_RESET,
    PROXY_CUT_SILENT,
    PROXY_RESET_REQUEST,
    PROXY_INJECT,
    PROXY_VANISH,
    PROXY_MUTE,
    PROXY_REFUSE
};

/* Which MySQL commands; also which Redis commands: all. */
enum { PROXY_QUERY = 1, PROXY_PREPARE = 2, PROXY_EXECUTE = 4, PROXY_ANY = 7 };

struct proxy_inject {
    const char *redis; /* the error, without its minus and line end: "LOADING Redis is ..." */
    unsigned code;     /* MySQL: an ERR packet with this number, */
    const char *state; /* SQLSTATE, five characters, */
    const char *words;
    unsigned commands;  /* in answer to these; 0: PROXY_ANY */
    const char *text;   /* only if the command contains it (case as sent); NULL: any */
    size_t longer_than; /* only commands of more bytes than this */
    bool then_close;    /* and the server hangs up */
};

struct proxy_plan {
    enum proxy_what what;
    unsigned percent; /* of the turns, drawn from the seed; 0: all of them */
    uint32_t ms;
    size_t bytes;
    struct proxy_inject inject; /* strings are borrowed until the next plan */
};

/* Relays to the unix socket at `path`, which need not be there yet. */
struct proxy *proxy_start(enum proxy_wire wire, const char *path, uint64_t seed);
void proxy_stop(struct proxy *p); /* resets what is left; NULL is allowed */
uint16_t proxy_port(const struct proxy *p);

/* From now on; returns when it is in force. NULL: PROXY_PASS. */
void proxy_set(struct proxy *p, const struct proxy_plan *plan);
void proxy_reset_all(struct proxy *p); /* every connection there is gets an RST */

/* So far: turns and connections that a fault has struck; connections accepted; those open now. */
struct proxy_count {
    uint64_t struck, accepted, open;
};
struct proxy_count proxy_count(struct proxy *p);

#endif
