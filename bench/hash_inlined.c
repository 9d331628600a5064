/*
 * hash_inlined - one of hash_peers.h's functions; built twice, with other flags.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "hash_peers.h"

#ifdef __AVX2__
#define NAME hash_avx2
#else
#define NAME hash_inlined
#endif

uint64_t NAME(const void *content, size_t len)
{
    return XXH3_128bits(content, len).low64;
}
