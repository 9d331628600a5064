/*
 * unpack - a whole file in memory; .zst, .gz and .xz are unpacked by the programs of those names,
 * which must be installed.
 *
 * Failures end the process, as the harness's do.
 */
#ifndef SE_BENCH_UNPACK_H
#define SE_BENCH_UNPACK_H

#include <stddef.h>

struct bytes {
    char *at; /* NUL-terminated; free it */
    size_t n;
};

struct bytes unpack_file(const char *path);

#endif
