/*
 * gather - what one tier holds in a range of ids, as a sorted list, in bounded memory. Pure.
 *
 * Filled in any order, with repeats. When it is full it is sorted, repeats are united, and if it is
 * still more than three quarters full the greatest quarter of the ids is dropped: the range now ends at
 * the greatest id that is left (`until`), and what is beyond is refused from then on. (A half would
 * take fewer sorts, and more passes over the tier, which cost more.) Sealed, it is in id order, and the
 * caller walks it beside the rows of the other tier. A sorted list needs no index: it has one use, and in
 * order, so that what was compared is always everything up to some id.
 *
 * One block: entries grow from its bottom, the ids' bytes from its top. It begins small and doubles up to
 * its bound; it is full, too, where there is no memory for more.
 *
 * Invariants
 *   I1  every id of the range (after, until] that was added is in it; no other is
 *   I2  sealed: ids ascend, bytewise, each once; of repeats the newest version is kept
 *   I3  memory is the block: at most twice what was needed, never more than memory_max
 *
 * Threads: caller-serialised.  Memory: owns the block.
 */
#ifndef SE_VERIFY_GATHER_H
#define SE_VERIFY_GATHER_H

#include "verify/judge.h"

struct gather;

#define GATHER_MEMORY_MIN 8192u

/* memory_max: the block at its largest, GATHER_MEMORY_MIN..4 GiB (taken so, if it is beyond). */
SE_NODISCARD se_result se__gather_open(size_t memory_max, struct gather **gather);
void se__gather_close(struct gather *g); /* NULL is allowed */

/* Empties it; the range is (after, end). "" : from the start. */
void se__gather_begin(struct gather *g, const char *after);
/* A record, as it was seen; marks and what is outside of the range are left out. The id is valid
 * (no NUL, 1..SE_ID_MAX bytes). */
void se__gather_add(struct gather *g, const char *id, size_t id_len, const struct copy *copy,
                    size_t content_len);
/* The end of the range, inclusive; "" : no end. Valid until the next call that changes it. */
const char *se__gather_until(const struct gather *g);
void se__gather_seal(struct gather *g);

struct gathered {
    const char *id; /* not terminated */
    size_t id_len;
    struct copy copy;
    size_t content_len; /* rounded up to a power of two */
};
size_t se__gather_n(const struct gather *g); /* sealed: ids; before: records */
/* Sealed; at < n. */
void se__gather_at(const struct gather *g, size_t at, struct gathered *out);

/* memcmp, the shorter first among equals: the order of ids in every tier. */
int se__id_order(const void *a, size_t a_len, const void *b, size_t b_len);

#endif
