/*
 * swap - replaces what is under a key only if it is still what was looked at.
 *
 * Scripts cannot compute the record's check (XXH3), so a record is always built here, from the
 * header as it was seen, and swapped in only if that header is still there. Whoever finds that it
 * is not looks again, at most CHASE_ROUNDS times.
 *
 * Threads: an op's owner.  Memory: ids and items are borrowed.
 */
#ifndef SE_L2_SWAP_H
#define SE_L2_SWAP_H

#include "l2/op.h"

#define CHASE_ROUNDS 8

/* The first bytes under a key. */
struct peek {
    const char *id;
    size_t id_len;
    uint8_t bytes[HEAD_SIZE];
    size_t len; /* 0: nothing, an empty string, or another type */
};
void se__peek_all(struct op *op, struct peek *peeks, size_t n);

struct swap {
    const char *id;
    size_t id_len;
    uint8_t header[RECORD_HEADER_SIZE]; /* what must be there still; header_len 0: another type or
                                           an empty string */
    size_t header_len;
    se_item *item; /* what comes in its place */
    struct life life;
    bool done; /* out */
};
/* Takes id and header from what was seen. */
void se__swap_expect(struct swap *swap, const struct peek *peek);
void se__swap_all(struct op *op, struct swap *swaps, size_t n);
/* The same, sent and not waited for; `done` stays as it was. */
void se__swap_and_leave(struct op *op, struct swap *swaps, size_t n);

#endif
