/*
 * traces - recorded accesses of real systems, for hit ratios.
 *
 * What a file holds is told from its name and its first bytes:
 *   NAME.lis[...]  lines `start count x n`: `count` requests of start, start + 1, ... (the traces of
 *                  the ARC paper, Megiddo and Modha 2003); x and n say nothing here
 *   digits, stars, blanks: one decimal key a line (the LIRS paper's); other lines are skipped
 *   anything else: 32-bit keys, big-endian
 * .zst, .gz and .xz are unpacked by the programs of those names, which must be installed.
 *
 * Failures end the process, as the harness's do.
 */
#ifndef SE_BENCH_TRACES_H
#define SE_BENCH_TRACES_H

#include <stddef.h>
#include <stdint.h>

struct trace {
    char name[32];  /* the file's, up to its first dot */
    uint32_t *keys; /* n of them, renumbered 0 .. distinct - 1 by their first appearance */
    size_t n, distinct;
};

void trace_load(const char *path, struct trace *trace);
/* The same from keys in memory (borrowed). */
void trace_make(const char *name, const uint64_t *keys, size_t n, struct trace *trace);
void trace_free(struct trace *trace);

#endif
