/*
 * stop - SIGINT and SIGTERM as a file descriptor.
 *
 * The signals are blocked and read (signalfd), so that a long command ends at a place of its
 * choosing and no call is interrupted half-way. Open it before the engine, whose threads block all
 * signals anyway.
 *
 * Threads: the main thread.
 */
#ifndef SE_TOOLS_STOP_H
#define SE_TOOLS_STOP_H

#include <stdint.h>

int stop_open(void); /* -1 after a message */
void stop_close(int fd);
/* The number of a signal that has come; waits for one up to wait_ms. 0: none. */
int stop_check(int fd, uint32_t wait_ms);

#endif
