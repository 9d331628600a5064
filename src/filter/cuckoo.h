/*
 * cuckoo - one table of fingerprints: is this key perhaps in the set?
 *
 * 16-bit fingerprints, 4 slots to a bucket: a bucket is one 64-bit word, so it is read and compared
 * at once, and a lookup touches two cache lines. Source: Fan, Andersen, Kaminsky, Mitzenmacher,
 * "Cuckoo Filter: Practically Better Than Bloom", 2014. Ours differs in the alternate bucket, which is
 * (offset(fingerprint) - bucket) mod buckets, its own inverse for any number of buckets: a table need
 * not be a power of two, so it never doubles.
 *
 * Invariants
 *   I1  a key that was added is found, by every reader, for the table's whole life: nothing is removed
 *   I2  a fingerprint that moves to its other bucket is written there before it is overwritten here,
 *       and `moves` tells readers that did not find theirs meanwhile; after a few tries a reader says
 *       "perhaps"
 *   I3  a key whose fingerprint is in one of its buckets already is there: not added again
 *
 * Threads: has: any, wait-free. add, copy: one writer at a time, readers go on.
 * Memory: new returns, free frees; nobody may be inside.
 */
#ifndef SE_FILTER_CUCKOO_H
#define SE_FILTER_CUCKOO_H

#include "base/error.h"

struct cuckoo;

#define CUCKOO_LOAD_MAX 0.95 /* of the slots; beyond, adding begins to fail now and then */

/* A table of at least slots_min slots. NULL without memory. */
SE_NODISCARD struct cuckoo *se__cuckoo_new(uint64_t slots_min);
void se__cuckoo_free(struct cuckoo *t); /* NULL is allowed */
/* key: 64 well mixed bits, secret to whoever chooses the ids. */
bool se__cuckoo_has(const struct cuckoo *t, uint64_t key);
uint32_t se__cuckoo_buckets(const struct cuckoo *t);
/* Has the processor fetch what a look at this key will need, by the table's address and number of
 * buckets alone: it may have been freed. */
void se__cuckoo_expect(const struct cuckoo *t, uint32_t buckets, uint64_t key);
/* PERHAPS: fingerprints moved all the time. Who would not add a key because it is there already needs
 * to know the difference. */
enum cuckoo_look { CUCKOO_ABSENT, CUCKOO_PERHAPS, CUCKOO_FOUND };
enum cuckoo_look se__cuckoo_look(const struct cuckoo *t, uint64_t key);
enum cuckoo_put { CUCKOO_THERE, CUCKOO_ADDED, CUCKOO_FULL /* nothing has changed */ };
enum cuckoo_put se__cuckoo_add(struct cuckoo *t, uint64_t key);
uint64_t se__cuckoo_slots(const struct cuckoo *t);
uint64_t se__cuckoo_used(const struct cuckoo *t);  /* any thread; relaxed */
uint64_t se__cuckoo_bytes(const struct cuckoo *t); /* what malloc set aside */

/* The table as 8 * buckets bytes (big-endian words), and back. Copying while a writer adds gives a
 * table that has every key added before the copy began; the writer is not held up (the copy is made
 * again if fingerprints moved meanwhile; false: they did all the time). */
uint64_t se__cuckoo_copy_bytes(const struct cuckoo *t);
SE_NODISCARD bool se__cuckoo_copy(const struct cuckoo *t, uint8_t *out);
/* NULL: without memory, or `len` is no size of a table. */
SE_NODISCARD struct cuckoo *se__cuckoo_from(const uint8_t *bytes, uint64_t len);

#endif
