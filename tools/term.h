/*
 * term - messages on stderr, and the progress bar below them.
 *
 * A message first wipes the bar, so that both stay readable; log lines come from other threads, so
 * both are locked.
 *
 * Threads: any.  Memory: owns nothing; one terminal a process.
 */
#ifndef SE_TOOLS_TERM_H
#define SE_TOOLS_TERM_H

#include "base/error.h"

void term_init(void);
/* "syncengine: text". Made safe for a terminal. */
void term_say(const char *fmt, ...) SE_PRINTF(1, 2);
/* The same with what went wrong with a call of the library: "syncengine: what: code: text
 * of the thread's last error". */
void term_failed(const char *what, se_result result);
/* The same with the system's word for errno. */
void term_system(const char *what, const char *name);

/* Draws the bar, or wipes it with NULL. */
void term_bar(const char *text);
bool term_has_bar(void);       /* stderr is a terminal that can */
unsigned term_columns(int fd); /* 80 if nobody knows; at least 20 */

/* The hook for se_config.log_fn; arg: a bool, true for everything, else warnings and errors. */
void term_log(void *arg, se_log_level level, const char *message);

#endif
