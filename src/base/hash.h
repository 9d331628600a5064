/*
 * hash - XXH3, the one hash of the library (libxxhash; https://xxhash.com).
 *
 * 128-bit results are in xxHash's canonical form: big-endian, high half first.
 * XXH3 finds accidents, not attackers; where ids may be chosen by one, use a secret seed.
 *
 * Threads: any; pure.
 */
#ifndef SE_BASE_HASH_H
#define SE_BASE_HASH_H

#include "base/error.h"

uint64_t se__hash64(uint64_t seed, const void *bytes, size_t len);
void se__hash128(uint64_t seed, const void *bytes, size_t len, uint8_t out[SE_HASH_SIZE]);

#endif
