/*
 * error - the thread's last error text, and the names of the results.
 */
#include "base/error.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ERROR_TEXT_SIZE 1024

/* The only per-thread state of the room: the text belongs to the
 * caller's thread, not to an engine. */
static _Thread_local char last_error[ERROR_TEXT_SIZE];

struct result_name {
    se_result result;
    const char *text;
};

static const struct result_name result_names[] = {
    {SE_OK, "success"},
    {SE_NOT_FOUND, "not found"},
    {SE_PENDING, "accepted, not confirmed yet"},
    {SE_ERR_INVALID, "invalid argument"},
    {SE_ERR_NOMEM, "out of memory"},
    {SE_ERR_TOO_BIG, "content too big"},
    {SE_ERR_BACKPRESSURE, "write refused under pressure"},
    {SE_ERR_STATE, "not possible in the engine's present state"},
    {SE_ERR_BACKEND, "a backend cannot be asked"},
    {SE_ERR_TIMEOUT, "timed out"},
    {SE_ERR_CORRUPT, "stored bytes are corrupt"},
    {SE_ERR_IO, "a local file failed"},
    {SE_ERR_CONFIG, "invalid configuration"},
    {SE_ERR_UNSUPPORTED, "not supported"},
    {SE_ERR_ABORTED, "not tried because another item of the batch failed"},
};

const char *se_strerror(se_result result)
{
    for (size_t i = 0; i < sizeof result_names / sizeof *result_names; i++)
        if (result_names[i].result == result)
            return result_names[i].text;
    return "unknown result";
}

const char *se_errmsg(void)
{
    return last_error;
}

#define TEXT_OF(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *se_library_version(void)
{
    return VERSION_TEXT(SE_VERSION_MAJOR, SE_VERSION_MINOR, SE_VERSION_PATCH);
}

se_result se__error(se_result result, const char *fmt, ...)
{
    int saved = errno;          /* %m and the caller's own look at errno both see what arose */
    char text[ERROR_TEXT_SIZE]; /* not in place: an argument may be the present text */
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t len = wanted < 0 ? 0 : (size_t)wanted;
    if (len >= sizeof text)
        len = se__utf8_cut(text, sizeof text - 1);
    memcpy(last_error, text, len);
    last_error[len] = '\0';
    errno = saved;
    return result;
}

se_result se__error_nomem(void)
{
    return se__error(SE_ERR_NOMEM, "out of memory");
}

void se__error_clear(void)
{
    last_error[0] = '\0';
}
