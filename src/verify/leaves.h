/*
 * leaves - Merkle leaves of ids that may be seen twice, in bounded memory. Pure.
 *
 * XOR-ing a leaf twice cancels it, so ids have to be told apart. Each leaf is kept with its id's place
 * in an order: the bucket, then a hash with a seed drawn at random. When the list is full it is sorted
 * and repeats are united; if it is still more than half full the greater half is dropped and left to
 * the next pass. The list grows by doubling; where there is no memory for that it is full earlier.
 * Bound: leaves_max leaves of 32 bytes (LEAVES_MAX: 64 MiB), however many ids there
 * are, and however many of them lie in one bucket.
 *
 * Two ids are taken for one if 128 bits of hash agree, 112 of them secret.
 *
 *   open -> (add every leaf of the tier, then drain) until drain says that nothing is left -> close
 *
 * Threads: caller-serialised.  Memory: owns the list.
 */
#ifndef SE_VERIFY_LEAVES_H
#define SE_VERIFY_LEAVES_H

#include "base/error.h"

struct leaves;

#define LEAVES_MAX (UINT32_C(1) << 21)

SE_NODISCARD se_result se__leaves_open(size_t leaves_max, struct leaves **leaves);
void se__leaves_close(struct leaves *l); /* NULL is allowed */
/* Of an id that is added again with another leaf (it was written meanwhile) one of them counts. */
void se__leaves_add(struct leaves *l, uint16_t bucket, const char *id, size_t id_len,
                    const uint8_t leaf[SE_HASH_SIZE]);
/* Visits each leaf of this pass once. True: not all ids had room; add them all again, those that
 * were visited are left out. */
bool se__leaves_drain(struct leaves *l,
                      void (*visit)(void *arg, uint16_t bucket, const uint8_t leaf[SE_HASH_SIZE]),
                      void *arg);

#endif
