/*
 * error - the text of this thread's last error.
 *
 * A result code says how a caller should act; the text says what happened, on which id or backend,
 * in the backend's own words. The text never decides control flow and never holds a password.
 *
 * Threads: any; the text belongs to the calling thread.  Memory: a fixed buffer per thread.
 */
#ifndef SE_BASE_ERROR_H
#define SE_BASE_ERROR_H

#include <syncengine/syncengine.h>

#define SE_NODISCARD __attribute__((warn_unused_result))
#define SE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Stores the text (truncated at 1 KiB, always NUL-terminated, at a UTF-8 boundary) and returns
 * `result`, so that a function can end with `return se__error(SE_ERR_INVALID, "...")`. `fmt` may
 * use the thread's present text as an argument ("%s", se_errmsg()). */
se_result se__error(se_result result, const char *fmt, ...) SE_PRINTF(2, 3);

/* SE_ERR_NOMEM with its standard text. Allocates nothing. */
se_result se__error_nomem(void);

/* Empties the thread's text. */
void se__error_clear(void);

#endif
