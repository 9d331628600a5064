/*
 * text - see text.h.
 */
#include "text.h"

#include "base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Length of the well-formed UTF-8 sequence at `at`, 0 if there is none. */
static size_t sequence_len(const unsigned char *at, size_t left)
{
    size_t len = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    return len <= left && se__utf8_check(at, len) == len ? len : 0;
}

static uint32_t code_point(const unsigned char *at, size_t len)
{
    if (len == 2)
        return (uint32_t)(at[0] & 0x1f) << 6 | (at[1] & 0x3f);
    if (len == 3)
        return (uint32_t)(at[0] & 0x0f) << 12 | (uint32_t)(at[1] & 0x3f) << 6 | (at[2] & 0x3f);
    return len == 1 ? at[0] : 0x10000; /* of four bytes none is obeyed by terminals */
}

static bool obeyed(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x061c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

size_t text_safe(const char *text, size_t len, char *out, size_t cap)
{
    size_t n = 0, i = 0;
    while (i < len && cap > 0) {
        const unsigned char *at = (const unsigned char *)text + i;
        size_t seq = sequence_len(at, len - i);
        bool plain = seq > 0 && !obeyed(code_point(at, seq));
        size_t take = seq > 0 ? seq : 1;
        if (n + (plain ? take : 4 * take) >= cap)
            break;
        for (size_t k = 0; k < take; k++) {
            if (plain)
                out[n++] = (char)at[k];
            else
                n += (size_t)snprintf(out + n, cap - n, "\\x%02x", at[k]);
        }
        i += take;
    }
    if (cap > 0)
        out[n] = 0;
    return n;
}

static bool shown_as_is(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    for (size_t left = strlen(text), seq; left > 0; at += seq, left -= seq) {
        seq = sequence_len(at, left);
        if (seq == 0 || obeyed(code_point(at, seq)))
            return false;
    }
    return true;
}

/* 'it'\''s' */
static void quoted(const char *text, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "'");
    for (; *text && n + 6 < cap; text++)
        n += (size_t)snprintf(out + n, cap - n, *text == '\'' ? "'\\''" : "%c", *text);
    snprintf(out + n, cap - n, "'");
}

/* $'\x9b' */
static void quoted_bytes(const char *text, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "$'");
    for (; *text && n + 6 < cap; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = c >= 0x20 && c < 0x7f && c != '\'' && c != '\\';
        n += (size_t)snprintf(out + n, cap - n, plain ? "%c" : "\\x%02x", c);
    }
    snprintf(out + n, cap - n, "'");
}

void text_shell(const char *text, char *out, size_t cap)
{
    static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789_./:,@%+-";
    if (!shown_as_is(text))
        quoted_bytes(text, out, cap);
    else if (*text && text[strspn(text, harmless)] == 0)
        snprintf(out, cap, "%s", text);
    else
        quoted(text, out, cap);
}

bool text_u64(const char *text, uint64_t max, uint64_t *out)
{
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || *end || v > max)
        return false;
    *out = v;
    return true;
}

bool text_duration(const char *text, uint64_t unit_ms, uint64_t *ms)
{
    static const struct {
        const char *suffix;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    size_t digits = strspn(text, "0123456789");
    char number[21];
    if (digits == 0 || digits >= sizeof number)
        return false;
    memcpy(number, text, digits);
    number[digits] = 0;
    uint64_t factor = text[digits] ? 0 : unit_ms, v;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(text + digits, units[i].suffix) == 0)
            factor = units[i].ms;
    }
    if (factor == 0 || !text_u64(number, (uint64_t)INT64_MAX / factor, &v))
        return false;
    *ms = v * factor;
    return true;
}

void text_bytes(uint64_t bytes, char out[24])
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    if (bytes < 1000) {
        snprintf(out, 24, "%u B", (unsigned)bytes);
        return;
    }
    double v = (double)bytes / 1000;
    size_t u = 0;
    while (v >= 999.95 && u + 1 < sizeof units / sizeof *units) {
        v /= 1000;
        u++;
    }
    snprintf(out, 24, "%.1f %s", v, units[u]);
}

void text_elapsed(uint64_t ms, char out[24])
{
    uint64_t s = ms / 1000;
    if (s < 10)
        snprintf(out, 24, "%.2f s", (double)ms / 1000);
    else if (s < 60)
        snprintf(out, 24, "%.1f s", (double)ms / 1000);
    else if (s < 3600)
        snprintf(out, 24, "%" PRIu64 "m %02us", s / 60, (unsigned)(s % 60));
    else
        snprintf(out, 24, "%" PRIu64 "h %02um", s / 3600, (unsigned)(s / 60 % 60));
}

void text_time(int64_t wall_ms, char out[32])
{
    int64_t ms = (wall_ms % 1000 + 1000) % 1000;
    time_t s = (time_t)((wall_ms - ms) / 1000);
    struct tm tm;
    if (wall_ms == 0) {
        snprintf(out, 32, "never");
    } else if (!gmtime_r(&s, &tm) || tm.tm_year > 8099) {
        snprintf(out, 32, "%" PRId64, wall_ms);
    } else {
        size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(out + n, 32 - n, ".%03uZ", (unsigned)ms % 1000);
    }
}
