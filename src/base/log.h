/*
 * log - lines for the operator, through the caller's hook.
 *
 * The hook is called without any lock of ours held. Repeats of one kind can be thinned (struct
 * se__log_gate).
 *
 * Threads: any.  Memory: a line is at most 1 KiB, built on the stack.
 */
#ifndef SE_BASE_LOG_H
#define SE_BASE_LOG_H

#include "base/error.h"

#include <stdatomic.h>

struct se__log {
    se_log_fn fn; /* NULL: warnings and errors go to stderr as "syncengine[name] level: text" */
    void *arg;
    char name[64];
};

void se__log(const struct se__log *log, se_log_level level, const char *fmt, ...) SE_PRINTF(3, 4);

/* Lets one line pass per interval. all-zero is a fresh gate. */
struct se__log_gate {
    _Atomic uint64_t next_ms;
};
bool se__log_gate_open(struct se__log_gate *gate, uint64_t now_mono_ms, uint64_t interval_ms);

#endif
