/*
 * log - lines for the operator, through the caller's hook.
 *
 * The hook is called without any lock of ours held. Repeats of one kind can be thinned (struct
 * se__log_gate).
 *
 * Threads: any.  Memory: a line is at most 1 KiB, as are an event's fields together; both are built on the stack.
 */
#ifndef SE_BASE_LOG_H
#define SE_BASE_LOG_H

#include "base/error.h"

#include <stdatomic.h>

struct se__log {
    se_log_fn fn;             /* both NULL: warnings and errors go to stderr as */
    se_log_event_fn event_fn; /* "syncengine[name] level: text" */
    void *arg;
    char name[64];
};

/* One field of an event; a list ends with one whose key is NULL. */
struct se__field {
    const char *key, *text; /* borrowed; text NULL: the number */
    uint64_t number;
};
static inline struct se__field se__text(const char *key, const char *text)
{
    return (struct se__field){.key = key, .text = text ? text : ""};
}
static inline struct se__field se__number(const char *key, uint64_t number)
{
    return (struct se__field){.key = key, .number = number};
}

/* event: "component.event", a constant for programs to look at; the text is for people and says all that the fields say. */
void se__log(const struct se__log *log, se_log_level level, const char *event,
             const struct se__field *fields, const char *fmt, ...) SE_PRINTF(5, 6);

/* Lets one line pass per interval. all-zero is a fresh gate. */
struct se__log_gate {
    _Atomic uint64_t next_ms;
};
bool se__log_gate_open(struct se__log_gate *gate, uint64_t now_mono_ms, uint64_t interval_ms);

#endif
