/*
 * lines - streams a zstd file through a buffer that grows to the longest line; see lines.h.
 */
#include "lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct reader {
    FILE *file;
    ZSTD_DStream *stream;
    ZSTD_inBuffer in;
    unsigned char packed[64 * 1024];
    char *text; /* text[0..len) is unpacked and not yet visited */
    size_t len, cap;
    size_t frame_open; /* 0: the last frame is complete */
};

static bool complain(const char *path, const char *what)
{
    (void)fprintf(stderr, "%s: %s\n", path, what);
    return false;
}

static bool grow(struct reader *r)
{
    size_t cap = r->cap ? r->cap * 2 : 256 * 1024;
    char *text = realloc(r->text, cap);
    if (!text)
        return false;
    r->text = text;
    r->cap = cap;
    return true;
}

/* Unpacks some more. *end: there is no more. */
static bool fill(struct reader *r, const char *path, bool *end)
{
    if (r->in.pos == r->in.size) {
        r->in = (ZSTD_inBuffer){r->packed, fread(r->packed, 1, sizeof r->packed, r->file), 0};
        if (ferror(r->file))
            return complain(path, strerror(errno));
    }
    bool no_input = r->in.size == 0;
    *end = no_input && !r->frame_open;
    if (*end)
        return true;
    if (r->len == r->cap && !grow(r))
        return complain(path, "no memory");
    ZSTD_outBuffer out = {r->text + r->len, r->cap - r->len, 0};
    r->frame_open = ZSTD_decompressStream(r->stream, &out, &r->in);
    if (ZSTD_isError(r->frame_open))
        return complain(path, ZSTD_getErrorName(r->frame_open));
    if (no_input && out.pos == 0)
        return complain(path, "ends in the middle");
    r->len += out.pos;
    return true;
}

/* Visits the whole lines there are; what is left moves to the front. */
static bool visit_lines(struct reader *r, bool (*visit)(void *, const char *, size_t), void *arg)
{
    if (r->len == 0)
        return true;
    const char *at = r->text;
    const char *stop = r->text + r->len;
    const char *newline;
    bool go_on = true;
    while (go_on && at < stop && (newline = memchr(at, '\n', (size_t)(stop - at)))) {
        go_on = visit(arg, at, (size_t)(newline - at));
        at = newline + 1;
    }
    r->len = (size_t)(stop - at);
    if (r->len)
        memmove(r->text, at, r->len);
    return go_on;
}

static bool read_all(struct reader *r, const char *path,
                     bool (*visit)(void *, const char *, size_t), void *arg)
{
    bool end = false;
    while (!end) {
        if (!fill(r, path, &end) || !visit_lines(r, visit, arg))
            return false;
    }
    return r->len == 0 || visit(arg, r->text, r->len);
}

bool each_line(const char *path, bool (*visit)(void *arg, const char *line, size_t len), void *arg)
{
    struct reader *r = calloc(1, sizeof *r);
    if (!r)
        return complain(path, "no memory");
    r->file = fopen(path, "rb");
    r->stream = ZSTD_createDStream();
    bool done = false;
    if (!r->file || !r->stream)
        (void)complain(path, strerror(errno));
    else
        done = read_all(r, path, visit, arg);
    if (r->file)
        (void)fclose(r->file);
    (void)ZSTD_freeDStream(r->stream);
    free(r->text);
    free(r);
    return done;
}
