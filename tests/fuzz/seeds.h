/*
 * seeds - what the files of the seeds program share.
 */
#ifndef SE_TESTS_FUZZ_SEEDS_H
#define SE_TESTS_FUZZ_SEEDS_H

#include "fuzz/fuzz.h"

#include "base/buf.h"

void write_seed(const char *program, const char *name, const struct buf *bytes);

static inline void put_byte(struct buf *b, int byte)
{
    char c = (char)byte;
    se__buf_append(b, &c, 1);
}

void write_texts(void); /* seeds_texts.c */
void write_files(void); /* seeds_files.c */

#endif
