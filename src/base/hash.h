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

/* A secret of XXH3, made from a seed once: as good as the seed itself, which would be mixed into
 * XXH3's own secret anew for every id. */
struct hash_secret {
    _Alignas(16) unsigned char bytes[192];
};
void se__hash_secret(uint64_t seed, struct hash_secret *secret);
/* The hash of ids that L1, its dirty queues and the WAL share under one secret. bytes: not NULL. The
 * same, compiled into its caller: base/hash_inline.h. */
uint64_t se__hash_id(const struct hash_secret *secret, const void *bytes, size_t len);

/* A 128-bit hash as 32 hex digits. */
#define SE__HEX_SIZE (2 * SE_HASH_SIZE + 1)
void se__hash_hex(const uint8_t hash[SE_HASH_SIZE], char out[SE__HEX_SIZE]);

#endif
