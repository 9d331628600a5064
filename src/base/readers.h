/*
 * readers - knows who is reading, so that what they may be looking at can be freed.
 *
 *   reader:  enter, load the pointer, use it, leave        (no lock, no wait; two writes to a line
 *                                                           that threads seldom share)
 *   writer:  publish the new pointer, wait, free the old one
 *
 * Two sets of striped counters; se__readers_wait flips the set that newcomers use and waits until
 * the old one is empty, twice, as in sleepable RCU (McKenney, "Sleepable Read-Copy Update", 2006).
 *
 * Threads: enter and leave: any; wait: one at a time (it takes a mutex of its own).
 */
#ifndef SE_BASE_READERS_H
#define SE_BASE_READERS_H

#include "base/os.h"

#include <stdatomic.h>

struct readers;

SE_NODISCARD se_result se__readers_open(struct readers **readers);
void se__readers_close(struct readers *r); /* nobody is inside; NULL is allowed */
/* The ticket is for the leave, on the same thread. */
unsigned se__readers_enter(struct readers *r);
void se__readers_leave(struct readers *r, unsigned ticket);
/* Returns when everyone who was inside at the call has left. Not by one who is inside. */
void se__readers_wait(struct readers *r);
uint64_t se__readers_bytes(const struct readers *r); /* what malloc set aside */

#endif
