/*
 * hash - XXH3 from libxxhash, compiled from its header into this file: the packaged library is built
 * without inlining and takes half as long again for an item's content (bench_hash).
 */
#include "base/hash_inline.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static_assert(sizeof((struct hash_secret *)0)->bytes == XXH3_SECRET_DEFAULT_SIZE,
              "a whole secret of XXH3");
static_assert(sizeof(XXH128_canonical_t) == SE_HASH_SIZE, "XXH3-128 fills a hash");

uint64_t se__hash64(uint64_t seed, const void *bytes, size_t len)
{
    return XXH3_64bits_withSeed(len ? bytes : "", len, seed);
}

void se__hash_secret(uint64_t seed, struct hash_secret *secret)
{
    XXH3_generateSecret_fromSeed(secret->bytes, seed);
}

uint64_t se__hash_id(const struct hash_secret *secret, const void *bytes, size_t len)
{
    return se__hash_id_inline(secret, bytes, len);
}

void se__hash128(uint64_t seed, const void *bytes, size_t len, uint8_t out[SE_HASH_SIZE])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(len ? bytes : "", len, seed));
    memcpy(out, canonical.digest, SE_HASH_SIZE);
}

void se__hash_hex(const uint8_t hash[SE_HASH_SIZE], char out[SE__HEX_SIZE])
{
    for (size_t i = 0; i < SE_HASH_SIZE; i++)
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
}
