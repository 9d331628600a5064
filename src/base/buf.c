/*
 * buf - a growing byte buffer; see the header.
 */
#include "base/buf.h"

#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define BUF_FIRST_CAP 64u

void se__buf_init(struct buf *b)
{
    *b = (struct buf){.data = NULL};
}

void se__buf_done(struct buf *b)
{
    se__free(b->data);
    se__buf_init(b);
}

void se__buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

/* Doubles, so that n appends cost O(n) bytes of copying. */
static size_t next_cap(size_t cap, size_t needed)
{
    size_t grown = cap < BUF_FIRST_CAP ? BUF_FIRST_CAP : cap;
    while (grown < needed)
        grown = grown > SIZE_MAX / 2 ? needed : grown * 2;
    return grown;
}

char *se__buf_reserve(struct buf *b, size_t bytes)
{
    if (b->failed)
        return NULL;
    size_t needed;
    if (__builtin_add_overflow(b->len, bytes, &needed)) {
        b->failed = true;
        return NULL;
    }
    if (needed > b->cap || !b->data) {
        size_t cap = next_cap(b->cap, needed);
        char *data = se__realloc(b->data, cap);
        if (!data) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
    }
    return b->data + b->len;
}

void se__buf_grow(struct buf *b, size_t bytes)
{
    assert(bytes <= b->cap - b->len);
    b->len += bytes;
}

void se__buf_append(struct buf *b, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    char *at = se__buf_reserve(b, len);
    if (!at)
        return;
    memcpy(at, bytes, len);
    b->len += len;
}

void se__buf_text(struct buf *b, const char *text)
{
    se__buf_append(b, text, strlen(text));
}

void se__buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0)
        b->failed = true;
    /* vsnprintf writes its NUL there */
    char *at = len < 0 ? NULL : se__buf_reserve(b, (size_t)len + 1);
    if (at) {
        vsnprintf(at, (size_t)len + 1, fmt, again);
        b->len += (size_t)len;
    }
    va_end(again);
}

char *se__buf_take(struct buf *b, size_t *len)
{
    char *end = se__buf_reserve(b, 1);
    if (!end) {
        se__buf_done(b);
        return NULL;
    }
    *end = '\0';
    char *data = b->data;
    if (len)
        *len = b->len;
    se__buf_init(b);
    return data;
}

char *se__buf_give(struct buf *b, size_t *len)
{
    size_t taken = 0;
    char *text = se__buf_take(b, &taken);
    if (len)
        *len = taken;
    return se__hand_over(text, taken + 1);
}
