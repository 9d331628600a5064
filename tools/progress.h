/*
 * progress - how far a load or a verification has come, as one line of text.
 *
 * Pure: no clock, no terminal; the caller passes what it knows.
 *
 * Threads: any; pure.
 */
#ifndef SE_TOOLS_PROGRESS_H
#define SE_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    uint64_t items; /* done */
    uint64_t bad;
    uint64_t part;  /* of the work: bytes of a file as read, ids */
    uint64_t whole; /* 0: not known */
    uint64_t elapsed_ms;
    const char *items_word; /* NULL: "items" */
    const char *bad_word;   /* "3 different"; NULL: "3 bad", "3 bad lines" */
};

/* Items a second since the start; 0 before the first millisecond. */
uint64_t progress_rate(const struct progress *p);
/* Milliseconds left by the part that is done; false while nobody can tell. */
bool progress_left(const struct progress *p, uint64_t *ms);

/* "[#####......]  43%  73,112 items  91,390/s  0:02 left", at most width - 1 columns, for a
 * terminal. Without a total there is no bar; where the width is short the bar goes first. Always
 * terminated. */
void progress_bar(const struct progress *p, unsigned width, char *out, size_t cap);
/* The same facts for a log: "73112 items, 43 %, 91390 items/s, about 2 s left, 3 bad lines". */
void progress_line(const struct progress *p, char *out, size_t cap);

#endif
