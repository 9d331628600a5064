/*
 * hash_inline - XXH3 under a secret, compiled into its caller: for the hash of ids on the way of a
 * hit, where every instruction counts (l1/hit.h). Slow to compile: for few files.
 *
 * Threads: any; pure.
 */
#ifndef SE_BASE_HASH_INLINE_H
#define SE_BASE_HASH_INLINE_H

#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* bytes: not NULL. */
static inline uint64_t se__hash_id_inline(const struct hash_secret *secret, const void *bytes,
                                          size_t len)
{
    return XXH3_64bits_withSecret(bytes, len, secret->bytes, sizeof secret->bytes);
}

#endif
