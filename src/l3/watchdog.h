/*
 * watchdog - shuts sockets down when their deadline comes.
 *
 * The MySQL connector's own timeouts are whole seconds and count per read, not per call. One thread
 * for all connections of a tier sleeps until the earliest deadline; shutting a socket down wakes
 * whoever is blocked on it with an error.
 *
 * Invariants
 *   I1  a watch that is armed has an open socket: its owner disarms it before closing
 *   I2  once disarm returned, the watchdog does not touch the socket
 *
 * Locks: one mutex (leaf).  Threads: any; one watch belongs to one caller at a time.  Memory:
 * watches are in place.
 */
#ifndef SE_L3_WATCHDOG_H
#define SE_L3_WATCHDOG_H

#include "base/os.h"

struct watchdog;
struct watch {
    struct watch *next, **at; /* at: NULL while not armed */
    uint64_t deadline_ms;
    int fd;
    bool struck;
};

SE_NODISCARD se_result se__watchdog_open(struct watchdog **watchdog);
void se__watchdog_close(struct watchdog *w); /* no watch is armed; NULL is allowed */
void se__watchdog_arm(struct watchdog *w, struct watch *watch, int fd, uint64_t deadline_ms);
/* The deadlines of all that are armed strike now. */
void se__watchdog_strike(struct watchdog *w);
/* True if the deadline struck: the socket is shut down. */
bool se__watchdog_disarm(struct watchdog *w, struct watch *watch);

#endif
