/*
 * ndjson - see ndjson.h.
 */
#include "ndjson.h"

#include "base/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <yajl/yajl_parse.h>

/* ---- lines ---- */

void ndjson_init(struct ndjson_lines *l, size_t line_max)
{
    *l = (struct ndjson_lines){.line_max = line_max};
}

void ndjson_done(struct ndjson_lines *l)
{
    se__buf_done(&l->held);
}

se_result ndjson_push(struct ndjson_lines *l, const void *bytes, size_t len)
{
    if (l->at > 0) { /* what has been handed out goes */
        memmove(l->held.data, l->held.data + l->at, l->held.len - l->at);
        l->held.len -= l->at;
        l->scanned -= l->at;
        l->at = 0;
    }
    se__buf_append(&l->held, bytes, len);
    return l->held.failed ? SE_ERR_NOMEM : SE_OK;
}

void ndjson_end(struct ndjson_lines *l)
{
    l->ended = true;
}

/* The bytes from `at` to `end` are (the rest of) a line, and `next` is
 * where the following one begins. */
static void take_line(struct ndjson_lines *l, size_t end, size_t next, struct ndjson_line *line)
{
    uint64_t len = l->too_long + (end - l->at);
    bool fits = l->too_long == 0 && len <= l->line_max;
    *line = (struct ndjson_line){.text = fits ? l->held.data + l->at : NULL,
                                 .len = len > SIZE_MAX ? SIZE_MAX : (size_t)len,
                                 .number = ++l->number};
    l->too_long = 0;
    l->at = l->scanned = next;
}

static bool find_line(struct ndjson_lines *l, struct ndjson_line *line)
{
    size_t left = l->held.len - l->scanned;
    const char *lf = left > 0 ? memchr(l->held.data + l->scanned, '\n', left) : NULL;
    if (lf) {
        size_t end = (size_t)(lf - l->held.data);
        take_line(l, end, end + 1, line);
        return true;
    }
    l->scanned = l->held.len;
    if (l->ended && (l->held.len > l->at || l->too_long > 0)) {
        take_line(l, l->held.len, l->held.len, line);
        return true;
    }
    if (l->too_long > 0 || l->held.len - l->at > l->line_max) {
        l->too_long += l->held.len - l->at;
        l->at = l->held.len;
    }
    return false;
}

static bool blank(const struct ndjson_line *line)
{
    if (!line->text)
        return false;
    for (size_t i = 0; i < line->len; i++) {
        if (!strchr(" \t\r", line->text[i]) || line->text[i] == 0)
            return false;
    }
    return true;
}

bool ndjson_next(struct ndjson_lines *l, struct ndjson_line *line)
{
    while (find_line(l, line)) {
        if (!blank(line))
            return true;
    }
    return false;
}

/* ---- the id ---- */

enum found { FOUND_NOTHING, FOUND_ID, FOUND_TWICE, FOUND_OTHER, FOUND_TOO_LONG, FOUND_ZERO };

struct search {
    const char *text; /* the line */
    size_t len;
    const char *field;
    size_t field_len;
    unsigned depth; /* 0: before the value; 1: in the top-level object */
    bool object;    /* the top-level value is one */
    bool here;      /* the value that comes next is the field's */
    bool escapes;   /* the name or the value was written with escapes */
    enum found found;
    char *id;
};

static bool in_line(const struct search *s, const void *at)
{
    return (uintptr_t)at >= (uintptr_t)s->text && (uintptr_t)at < (uintptr_t)s->text + s->len;
}

/* Every value passes here first: true if it is the field's. */
static bool wanted(struct search *s)
{
    bool here = s->here;
    s->here = false;
    if (here && s->found != FOUND_NOTHING) {
        s->found = FOUND_TWICE;
        return false;
    }
    return here;
}

static int take_other(struct search *s)
{
    if (wanted(s))
        s->found = FOUND_OTHER;
    return 1;
}

static void take_id(struct search *s, const void *bytes, size_t len)
{
    if (len > SE_ID_MAX) {
        s->found = FOUND_TOO_LONG;
        return;
    }
    memcpy(s->id, bytes, len);
    s->id[len] = 0;
    s->found = memchr(bytes, 0, len) ? FOUND_ZERO : FOUND_ID;
}

static int on_null(void *ctx)
{
    return take_other(ctx);
}

static int on_boolean(void *ctx, int value)
{
    (void)value;
    return take_other(ctx);
}

static int on_number(void *ctx, const char *text, size_t len)
{
    struct search *s = ctx;
    if (wanted(s))
        take_id(s, text, len);
    return 1;
}

static int on_string(void *ctx, const unsigned char *bytes, size_t len)
{
    struct search *s = ctx;
    if (wanted(s)) {
        /* yajl hands out the line itself where there was nothing to decode. */
        s->escapes |= len > 0 && !in_line(s, bytes);
        take_id(s, bytes, len);
    }
    return 1;
}

static int on_start_map(void *ctx)
{
    struct search *s = ctx;
    if (s->depth == 0)
        s->object = true;
    take_other(s);
    s->depth++;
    return 1;
}

static int on_map_key(void *ctx, const unsigned char *key, size_t len)
{
    struct search *s = ctx;
    s->here = s->depth == 1 && s->object && len == s->field_len &&
              (len == 0 || memcmp(key, s->field, len) == 0);
    if (s->here)
        s->escapes |= len > 0 && !in_line(s, key);
    return 1;
}

static int on_start_array(void *ctx)
{
    struct search *s = ctx;
    take_other(s);
    s->depth++;
    return 1;
}

static int on_end(void *ctx)
{
    struct search *s = ctx;
    s->depth--;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_map_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

/* yajl's own words, without its line breaks. */
static void parse_error(yajl_handle h, char *why, size_t cap)
{
    unsigned char *words = yajl_get_error(h, 0, NULL, 0);
    snprintf(why, cap, "not JSON: %s", words ? (const char *)words : "out of memory");
    if (words)
        yajl_free_error(h, words);
    size_t len = strlen(why);
    while (len > 0 && isspace((unsigned char)why[len - 1]))
        why[--len] = 0;
}

/* yajl takes vertical tab and form feed for blanks, and overlooks a token that is cut off behind the
 * value: it is told to stop there, and what is left is looked at here (as in base/json.c). */
static bool only_blanks(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!strchr(" \t\r\n", text[i]) || text[i] == 0)
            return false;
    return true;
}

static bool has_control(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 && !only_blanks(text + i, 1))
            return true;
    return false;
}

static bool parse(struct search *s, char *why, size_t cap)
{
    yajl_handle h = yajl_alloc(&callbacks, NULL, s);
    if (!h) {
        snprintf(why, cap, "out of memory");
        return false;
    }
    yajl_config(h, yajl_allow_trailing_garbage, 1);
    yajl_status status = yajl_parse(h, (const unsigned char *)s->text, s->len);
    size_t used = status == yajl_status_ok ? yajl_get_bytes_consumed(h) : 0;
    if (status == yajl_status_ok)
        status = yajl_complete_parse(h);
    bool whole = only_blanks(s->text + used, s->len - used);
    if (status != yajl_status_ok)
        parse_error(h, why, cap);
    else if (!whole)
        snprintf(why, cap, "not JSON: something stands behind the value");
    yajl_free(h);
    return status == yajl_status_ok && whole;
}

/* The code unit of the escape \uXXXX at `at`; -1: there is none. */
static int escaped_unit(const char *at, const char *end)
{
    int unit = 0;
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        char c = at[i];
        if (!isxdigit((unsigned char)c))
            return -1;
        unit = unit * 16 + (c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return unit;
}

/* JSON allows half a surrogate pair; yajl makes "?" or worse of it, so
 * that two ids would become one. */
static bool surrogates_paired(const char *text, size_t len)
{
    const char *end = text + len;
    for (const char *at = text; (at = memchr(at, '\\', (size_t)(end - at))) != NULL;) {
        int unit = escaped_unit(at, end);
        if (unit >= 0xdc00 && unit <= 0xdfff)
            return false;
        if (unit >= 0xd800 && unit <= 0xdbff) {
            int low = escaped_unit(at + 6, end);
            if (low < 0xdc00 || low > 0xdfff)
                return false;
            at += 12;
        } else {
            at += 2;
        }
        if (at >= end)
            break;
    }
    return true;
}

static bool judge(const struct search *s, char *why, size_t cap)
{
    switch (s->found) {
    case FOUND_NOTHING:
        snprintf(why, cap, "has no field \"%s\"", s->field);
        return false;
    case FOUND_TWICE:
        snprintf(why, cap, "has the field \"%s\" twice", s->field);
        return false;
    case FOUND_OTHER:
        snprintf(why, cap, "the field \"%s\" is neither a string nor a number", s->field);
        return false;
    case FOUND_TOO_LONG:
        snprintf(why, cap, "the id is longer than %u bytes", SE_ID_MAX);
        return false;
    case FOUND_ZERO:
        snprintf(why, cap, "the id contains a control byte (0x00)");
        return false;
    case FOUND_ID:
        break;
    }
    if (s->escapes && !surrogates_paired(s->text, s->len)) {
        snprintf(why, cap, "the id cannot be told: half a surrogate pair in the line");
        return false;
    }
    size_t id_len;
    if (se__id_check("id", s->id, 1, SE_ID_MAX, &id_len) != SE_OK) {
        snprintf(why, cap, "%s", se_errmsg());
        return false;
    }
    return true;
}

bool ndjson_id(const char *text, size_t len, const char *field, char id[SE_ID_MAX + 1], char *why,
               size_t cap)
{
    struct search s = {
        .text = text, .len = len, .field = field, .field_len = strlen(field), .id = id};
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        snprintf(why, cap, "not JSON: begins with a byte order mark");
        return false;
    }
    size_t good = se__utf8_check(text, len);
    if (good < len) {
        snprintf(why, cap, "not JSON: byte %zu is not UTF-8", good + 1);
        return false;
    }
    if (has_control(text, len)) {
        snprintf(why, cap, "not JSON: contains a control byte");
        return false;
    }
    if (!parse(&s, why, cap))
        return false;
    if (!s.object) {
        snprintf(why, cap, "not a JSON object");
        return false;
    }
    return judge(&s, why, cap);
}
