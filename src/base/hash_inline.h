/*
 * hash_inline - the same hash as se__hash64, compiled into its caller: for the way of a hit, where a call
 * costs a quarter of the hash. Slow to compile: for few files.
 */
#ifndef SE_BASE_HASH_INLINE_H
#define SE_BASE_HASH_INLINE_H

#include <stddef.h>
#include <stdint.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* bytes: not NULL. */
static inline uint64_t se__hash64_inline(uint64_t seed, const void *bytes, size_t len)
{
    return XXH3_64bits_withSeed(bytes, len, seed);
}

#endif
