/*
 * traces - see traces.h.
 */
#include "traces.h"

#include "harness.h"
#include "unpack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SNIFFED 64u

static void *resized(void *memory, size_t bytes)
{
    void *grown = realloc(memory, bytes ? bytes : 1);
    if (!grown)
        bench_fail("out of memory");
    return grown;
}

/* ---- formats ---- */

struct list {
    uint64_t *keys;
    size_t n, room;
};

static void append(struct list *l, uint64_t key)
{
    if (l->n == l->room) {
        l->room = l->room * 2 + 65536;
        l->keys = resized(l->keys, l->room * sizeof *l->keys);
    }
    l->keys[l->n++] = key;
}

/* Calls take for each line; a line that is no line of the format is skipped. */
static void each_line(const struct bytes *b, void (*take)(struct list *l, const char *line),
                      struct list *l)
{
    for (const char *line = b->at, *end; *line; line = end + 1) {
        take(l, line);
        end = strchr(line, '\n');
        if (!end)
            break;
    }
}

static void take_range(struct list *l, const char *line)
{
    unsigned long long start, count;
    if (sscanf(line, "%llu %llu", &start, &count) == 2)
        for (unsigned long long i = 0; i < count; i++)
            append(l, start + i);
}

static void take_decimal(struct list *l, const char *line)
{
    line += strspn(line, " \t");
    char *end;
    unsigned long long key = strtoull(line, &end, 10);
    if (strspn(line, "0123456789") > 0 && strspn(end, " \t\r") == strcspn(end, "\n"))
        append(l, key);
}

static void take_words(const struct bytes *b, struct list *l)
{
    const unsigned char *at = (const unsigned char *)b->at;
    for (size_t i = 0; i + 4 <= b->n; i += 4)
        append(l, (uint64_t)at[i] << 24 | (uint64_t)at[i + 1] << 16 | (uint64_t)at[i + 2] << 8 |
                      at[i + 3]);
}

static bool is_decimal(const struct bytes *b)
{
    size_t n = b->n < SNIFFED ? b->n : SNIFFED;
    for (size_t i = 0; i < n; i++)
        if (b->at[i] == '\0' || !strchr("0123456789* \t\r\n", b->at[i]))
            return false;
    return true;
}

/* ---- renumbering ---- */

/* Open addressing; a slot holds the key's number + 1. */
struct numbering {
    uint32_t *slots;
    size_t mask;
    uint64_t *keys; /* by number */
    size_t n;
};

static uint32_t number_of(struct numbering *m, uint64_t key)
{
    size_t at = bench_mix(key) & m->mask;
    for (; m->slots[at]; at = (at + 1) & m->mask)
        if (m->keys[m->slots[at] - 1] == key)
            return m->slots[at] - 1;
    m->keys[m->n] = key;
    m->slots[at] = (uint32_t)++m->n;
    return (uint32_t)(m->n - 1);
}

void trace_make(const char *name, const uint64_t *keys, size_t n, struct trace *trace)
{
    size_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    struct numbering m = {.slots = calloc(slots, sizeof *m.slots), .mask = slots - 1};
    m.keys = resized(NULL, n * sizeof *m.keys);
    *trace = (struct trace){.keys = resized(NULL, n * sizeof *trace->keys), .n = n};
    if (!m.slots)
        bench_fail("out of memory");
    snprintf(trace->name, sizeof trace->name, "%s", name);
    for (size_t i = 0; i < n; i++)
        trace->keys[i] = number_of(&m, keys[i]);
    trace->distinct = m.n;
    free(m.slots);
    free(m.keys);
}

void trace_load(const char *path, struct trace *trace)
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    char name[sizeof trace->name];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(file, "."), file);
    struct bytes b = unpack_file(path);
    struct list l = {NULL, 0, 0};
    if (strstr(file, ".lis"))
        each_line(&b, take_range, &l);
    else if (is_decimal(&b))
        each_line(&b, take_decimal, &l);
    else
        take_words(&b, &l);
    if (l.n == 0)
        bench_fail("%s: no keys in it", path);
    trace_make(name, l.keys, l.n, trace);
    free(l.keys);
    free(b.at);
}

void trace_free(struct trace *trace)
{
    free(trace->keys);
}
