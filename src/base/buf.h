/*
 * buf - a growing byte buffer whose appends need no check: the first failure sticks.
 *
 * Invariants
 *   I1  len <= cap; data is NULL only if cap == 0
 *   I2  once `failed` is set, appends do nothing; the caller checks it once at the end
 *
 * Threads: caller-serialised.  Memory: owns data; se__buf_done frees it, se__buf_take hands it
 * over.
 */
#ifndef SE_BASE_BUF_H
#define SE_BASE_BUF_H

#include "base/error.h"

#include <stdarg.h>

struct buf {
    char *data;
    size_t len, cap;
    bool failed;
};

void se__buf_init(struct buf *b); /* all-zero is the same */
void se__buf_done(struct buf *b);
void se__buf_clear(struct buf *b); /* keeps the memory, forgets a failure */
/* Room for `bytes` more; NULL (and failed) without memory. The caller writes
 * there and calls se__buf_grow. */
SE_NODISCARD char *se__buf_reserve(struct buf *b, size_t bytes);
void se__buf_grow(struct buf *b, size_t bytes);
void se__buf_append(struct buf *b, const void *bytes, size_t len);
void se__buf_text(struct buf *b, const char *text);
void se__buf_printf(struct buf *b, const char *fmt, ...) SE_PRINTF(2, 3);
/* NUL-terminates (not counted in len) and hands the memory over, for se__free; NULL if anything
 * failed. */
SE_NODISCARD char *se__buf_take(struct buf *b, size_t *len);
/* The same for somebody who will free() it. */
SE_NODISCARD char *se__buf_give(struct buf *b, size_t *len);

#endif
