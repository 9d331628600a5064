/*
 * term - see term.h.
 */
#include "term.h"

#include "base/os.h"
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The process has one stderr; `lock` (leaf) guards what is drawn on it. */
static struct {
    struct se__mutex lock;
    bool bar; /* one is drawn */
} term;

void term_init(void)
{
    se__mutex_init(&term.lock);
}

static void wipe_locked(void)
{
    if (term.bar)
        fputs("\r\033[K", stderr);
    term.bar = false;
}

static void say(const char *text)
{
    char line[2400];
    text_safe(text, strlen(text), line, sizeof line);
    se__mutex_lock(&term.lock);
    wipe_locked();
    fprintf(stderr, "syncengine: %s\n", line);
    fflush(stderr);
    se__mutex_unlock(&term.lock);
}

void term_say(const char *fmt, ...)
{
    char text[2000];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    say(text);
}

void term_failed(const char *what, se_result result)
{
    const char *why = se_errmsg();
    if (*why)
        term_say("%s: %s: %s", what, se_strerror(result), why);
    else
        term_say("%s: %s", what, se_strerror(result));
}

void term_system(const char *what, const char *name)
{
    const char *why = strerror(errno);
    term_say("%s %s: %s", what, name, why);
}

void term_bar(const char *text)
{
    se__mutex_lock(&term.lock);
    if (text) {
        fprintf(stderr, "\r%s\033[K", text);
        term.bar = true;
    } else {
        wipe_locked();
    }
    fflush(stderr);
    se__mutex_unlock(&term.lock);
}

bool term_has_bar(void)
{
    const char *kind = getenv("TERM");
    return isatty(STDERR_FILENO) && kind && *kind && strcmp(kind, "dumb") != 0;
}

unsigned term_columns(int fd)
{
    struct winsize size;
    unsigned columns = 0;
    uint64_t set;
    const char *env = getenv("COLUMNS");
    if (ioctl(fd, TIOCGWINSZ, &size) == 0)
        columns = size.ws_col;
    if (columns == 0 && env && text_u64(env, 10000, &set))
        columns = (unsigned)set;
    if (columns == 0)
        columns = 80;
    return columns < 20 ? 20 : columns;
}

void term_log(void *arg, se_log_level level, const char *message)
{
    static const char *const words[] = {"error", "warning", "info", "debug"};
    const bool *everything = arg;
    if (level <= SE_LOG_WARN || (everything && *everything))
        term_say("%s: %s", (unsigned)level <= SE_LOG_DEBUG ? words[level] : "log", message);
}
