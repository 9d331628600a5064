/*
 * lines - reads a text file, packed with zstd, line by line.
 *
 * Memory: the line is lent for the call, without its newline and not NUL-terminated.
 */
#ifndef SE_EXAMPLES_LINES_H
#define SE_EXAMPLES_LINES_H

#include <stdbool.h>
#include <stddef.h>

/* Calls visit for every line until it returns false. False if it did,
 * or if the file cannot be read. */
bool each_line(const char *path, bool (*visit)(void *arg, const char *line, size_t len), void *arg);

#endif
