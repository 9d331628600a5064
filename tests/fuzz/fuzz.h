/*
 * fuzz - what every fuzz program here shares.
 *
 * A program is one function that libFuzzer calls with bytes of its making. The first bytes choose how
 * the rest is used; where a format carries a checksum, one of them says that it is to be made right,
 * or nothing behind it would ever be reached. Findings are aborts: of `must`, of an assertion inside
 * the library, or of a sanitizer.
 *
 * Threads: one.
 */
#ifndef SE_TESTS_FUZZ_FUZZ_H
#define SE_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is not so is a finding. */
#define must(condition)                                                                            \
    ((condition) ? (void)0                                                                         \
                 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), abort()))

struct input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t take_byte(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

/* At most `len` bytes in memory of exactly their size, so that a step over the end is seen. Ends with
 * a NUL that is not counted if `terminated`. The caller frees it. */
static inline uint8_t *take_copy(struct input *in, size_t len, bool terminated, size_t *got)
{
    *got = len < in->left ? len : in->left;
    uint8_t *copy = malloc(*got + terminated + (*got == 0));
    must(copy != NULL);
    if (*got > 0)
        memcpy(copy, in->at, *got);
    if (terminated)
        copy[*got] = '\0';
    in->at += *got;
    in->left -= *got;
    return copy;
}

#endif
