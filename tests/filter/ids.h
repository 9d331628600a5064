/*
 * ids - numbered ids for the tests of the filter, and which part each belongs to.
 *
 * Ids 0 .. n - 1 "exist"; ABSENT + i never do.
 *
 * Threads: caller-serialised.  Memory: static functions, nothing is kept.
 */
#ifndef SE_TESTS_FILTER_IDS_H
#define SE_TESTS_FILTER_IDS_H

#include "filter/filter.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The sanitizers make everything slower: a part of the work says the same. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SCALE 10u
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SCALE 10u
#endif
#endif
#ifndef SCALE
#define SCALE 1u
#endif

#define ABSENT (UINT64_C(1) << 40)

struct id {
    char text[24];
    size_t len;
};

/* "id:" and hexadecimal digits; printf would take longer than the filter. */
static inline struct id id_of(uint64_t n)
{
    struct id id = {.text = "id:", .len = 3};
    do {
        id.text[id.len++] = "0123456789abcdef"[n % 16];
        n /= 16;
    } while (n);
    return id;
}

static inline unsigned part_of(uint64_t n)
{
    struct id id = id_of(n);
    return se__filter_part(id.text, id.len);
}

static inline uint64_t add_id(struct filter *f, uint64_t n)
{
    struct id id = id_of(n);
    return se__filter_add(f, id.text, id.len);
}

static inline bool has_id(const struct filter *f, uint64_t n)
{
    struct id id = id_of(n);
    return se__filter_has(f, id.text, id.len);
}

static inline bool excludes_id(const struct filter *f, uint64_t n)
{
    struct id id = id_of(n);
    return se__filter_excludes(f, id.text, id.len);
}

static inline se_result note_id(struct filter *f, unsigned part, uint64_t n)
{
    struct id id = id_of(n);
    return se__filter_note(f, part, id.text, id.len);
}

#endif
