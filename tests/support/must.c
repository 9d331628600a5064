/*
 * must - see must.h.
 */
#include "support/must.h"

#include <syncengine/syncengine.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void must_end(const char *file, int line, const char *what, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)fprintf(stderr, "%s:%d: %s: ", file, line, what);
    (void)vfprintf(stderr, fmt, args);
    (void)fprintf(stderr, ": %s\n", se_errmsg());
    va_end(args);
    abort();
}
