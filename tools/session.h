/*
 * session - an engine for one command, and its orderly end.
 *
 * Threads: the main thread.
 */
#ifndef SE_TOOLS_SESSION_H
#define SE_TOOLS_SESSION_H

#include "tool.h"

#define SESSION_PATIENCE_MS 60000u

/* That tier is configured. */
bool session_has(const struct call *call, se_tier tier);
/* Opens the engine as the call needs it: a reader is read_only. needs_tier: without Redis and
 * SQL it is refused, since nothing could be there. EXIT_FINE, or EXIT_TROUBLE after a message. */
int session_open(struct call *call, bool needs_tier, se_engine **engine);
/* Ends a reader. */
void session_close(se_engine *engine);

enum settled {
    SETTLED_HOME,   /* every write is in its home tier */
    SETTLED_WAL,    /* at least in the WAL */
    SETTLED_NOT,    /* some are in memory only; a message has been printed */
    SETTLED_STOPPED /* the same, because of a signal */
};

struct settling {
    uint64_t patience_ms;    /* without any progress */
    int stop;                /* from stop_open; -1: none */
    void (*tick)(void *arg); /* now and then meanwhile; NULL: none */
    void *arg;
};

/* Waits until everything written is where it should be, as long as there is progress. */
enum settled session_settle(se_engine *engine, const struct settling *s);
/* Closes a writer: what cannot go anywhere else goes into the WAL. False after a message. */
bool session_end(se_engine *engine, uint64_t patience_ms);
/* Writes that the home tier refused. */
uint64_t session_dead(se_engine *engine);
/* "sqlite:/path", "mysql://host/db": the home tier, without a password. */
void session_home(const struct call *call, char *out, size_t cap);

#endif
