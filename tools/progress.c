/*
 * progress - see progress.h.
 */
#include "progress.h"

#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BAR_MIN 10u
#define BAR_MAX 40u

uint64_t progress_rate(const struct progress *p)
{
    return p->elapsed_ms == 0 ? 0 : (uint64_t)((double)p->items * 1000 / (double)p->elapsed_ms);
}

bool progress_left(const struct progress *p, uint64_t *ms)
{
    if (p->whole == 0 || p->part == 0 || p->elapsed_ms == 0)
        return false;
    double left = p->part >= p->whole ? 0 : (double)(p->whole - p->part);
    double v = (double)p->elapsed_ms * left / (double)p->part;
    *ms = v > 1e15 ? (uint64_t)1e15 : (uint64_t)v;
    return true;
}

/* A whole that grows meanwhile never gets past 100. */
static unsigned percent(const struct progress *p)
{
    if (p->part >= p->whole)
        return 100;
    return (unsigned)((double)p->part * 100 / (double)p->whole);
}

static void thousands(uint64_t v, char out[32])
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, v), k = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            out[k++] = ',';
        out[k++] = digits[i];
    }
    out[k] = 0;
}

static void clock_text(uint64_t ms, char out[24])
{
    uint64_t s = (ms + 999) / 1000;
    if (s < 3600)
        snprintf(out, 24, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
    else
        snprintf(out, 24, "%" PRIu64 ":%02u:%02u", s / 3600, (unsigned)(s / 60 % 60),
                 (unsigned)(s % 60));
}

static const char *items_word(const struct progress *p)
{
    return p->items_word ? p->items_word : "items";
}

/* What stands right of the bar. */
static void facts(const struct progress *p, char *out, size_t cap)
{
    char items[32], rate[32], time[24], share[8] = "", bad[40] = "";
    uint64_t left = 0;
    bool known = progress_left(p, &left);
    thousands(p->items, items);
    thousands(progress_rate(p), rate);
    clock_text(known ? left : p->elapsed_ms, time);
    if (p->whole > 0)
        snprintf(share, sizeof share, "%3u%%  ", percent(p));
    if (p->bad > 0)
        snprintf(bad, sizeof bad, "  %" PRIu64 " %s", p->bad, p->bad_word ? p->bad_word : "bad");
    snprintf(out, cap, "%s%s %s  %s/s  %s%s%s", share, items, items_word(p), rate, time,
             known ? " left" : "", bad);
}

void progress_bar(const struct progress *p, unsigned width, char *out, size_t cap)
{
    char text[200];
    facts(p, text, sizeof text);
    size_t columns = width > 1 ? width - 1 : 1, used = strlen(text);
    if (p->whole == 0 || columns < used + 4 + BAR_MIN) {
        snprintf(out, cap, "%.*s", (int)columns, text);
        return;
    }
    size_t cells = columns - used - 4;
    char bar[BAR_MAX + 1];
    cells = cells > BAR_MAX ? BAR_MAX : cells;
    size_t full = cells * percent(p) / 100;
    memset(bar, '#', full);
    memset(bar + full, '.', cells - full);
    bar[cells] = 0;
    snprintf(out, cap, "[%s]  %s", bar, text);
}

void progress_line(const struct progress *p, char *out, size_t cap)
{
    char share[16] = "", remaining[48] = "", bad[48] = "", time[24];
    uint64_t left;
    if (p->whole > 0)
        snprintf(share, sizeof share, ", %u %%", percent(p));
    if (progress_left(p, &left)) {
        text_elapsed(left, time);
        snprintf(remaining, sizeof remaining, ", about %s left", time);
    }
    if (p->bad > 0)
        snprintf(bad, sizeof bad, ", %" PRIu64 " %s", p->bad,
                 p->bad_word   ? p->bad_word
                 : p->bad == 1 ? "bad line"
                               : "bad lines");
    snprintf(out, cap, "%" PRIu64 " %s%s, %" PRIu64 " %s/s%s%s", p->items, items_word(p), share,
             progress_rate(p), items_word(p), remaining, bad);
}
