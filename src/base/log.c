/*
 * log - one line to the caller's hooks, or to stderr.
 */
#include "base/log.h"

#include "base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOG_LINE_SIZE 1024

static const char *level_name(se_log_level level)
{
    switch (level) {
    case SE_LOG_ERROR:
        return "error";
    case SE_LOG_WARN:
        return "warning";
    case SE_LOG_INFO:
        return "info";
    case SE_LOG_DEBUG:
        return "debug";
    }
    return "note";
}

/* A backend's own words may hold line breaks; a line of ours is one
 * line, and cannot forge another. */
static void flatten(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = ' ';
}

static void to_stderr(const char *name, se_log_level level, const char *line)
{
    /* One call: stdio locks per call, so lines of several threads do not mix. */
    if (name && *name)
        fprintf(stderr, "syncengine[%s] %s: %s\n", name, level_name(level), line);
    else
        fprintf(stderr, "syncengine %s: %s\n", level_name(level), line);
}

/* ---- events ---- */

/* Puts a copy of `text` (one line, whole characters) into what is left of `room`. */
static const char *keep(char **room, size_t *left, const char *text)
{
    if (*left == 0)
        return "";
    char *at = *room;
    size_t len = strlen(text);
    if (len >= *left)
        len = se__utf8_cut(text, *left - 1);
    memcpy(at, text, len);
    at[len] = '\0';
    flatten(at, len);
    *room += len + 1;
    *left -= len + 1;
    return at;
}

static void to_event_hook(const struct se__log *log, se_log_level level, const char *event,
                          const struct se__field *fields, const char *line)
{
    char storage[LOG_LINE_SIZE], number[24], component[32];
    char *room = storage;
    size_t left = sizeof storage, n = 0;
    se_log_field shown[SE_LOG_FIELDS_MAX];
    for (; fields && fields[n].key && n < SE_LOG_FIELDS_MAX; n++) {
        snprintf(number, sizeof number, "%" PRIu64, fields[n].number);
        shown[n] =
            (se_log_field){.key = fields[n].key,
                           .value = keep(&room, &left, fields[n].text ? fields[n].text : number)};
    }
    size_t stem = strcspn(event, ".");
    snprintf(component, sizeof component, "%.*s", (int)stem, event);
    log->event_fn(log->arg, &(se_log_event){.struct_size = sizeof(se_log_event),
                                            .level = level,
                                            .engine = log->name,
                                            .component = component,
                                            .event = event[stem] ? event + stem + 1 : "",
                                            .message = line,
                                            .fields = shown,
                                            .n_fields = n});
}

void se__log(const struct se__log *log, se_log_level level, const char *event,
             const struct se__field *fields, const char *fmt, ...)
{
    bool hooked = log && (log->fn || log->event_fn);
    if (!hooked && level > SE_LOG_WARN)
        return;
    int saved = errno;
    char line[LOG_LINE_SIZE];
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    size_t len = wanted < 0 ? 0 : (size_t)wanted;
    if (len >= sizeof line)
        len = se__utf8_cut(line, sizeof line - 1);
    line[len] = '\0';
    flatten(line, len);
    if (hooked && log->event_fn)
        to_event_hook(log, level, event, fields, line);
    if (hooked && log->fn)
        log->fn(log->arg, level, line);
    if (!hooked)
        to_stderr(log ? log->name : NULL, level, line);
    errno = saved;
}

bool se__log_gate_open(struct se__log_gate *gate, uint64_t now_mono_ms, uint64_t interval_ms)
{
    /* relaxed: the word only elects one of several threads; it publishes nothing */
    uint64_t next = atomic_load_explicit(&gate->next_ms, memory_order_relaxed);
    if (now_mono_ms < next)
        return false;
    uint64_t then = now_mono_ms > UINT64_MAX - interval_ms ? UINT64_MAX : now_mono_ms + interval_ms;
    return atomic_compare_exchange_strong_explicit(&gate->next_ms, &next, then,
                                                   memory_order_relaxed, memory_order_relaxed);
}
