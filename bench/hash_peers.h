/*
 * hash_peers - XXH3-128 as the compiler makes it from the header, for this machine's baseline and
 * with AVX2.
 */
#ifndef SE_BENCH_HASH_PEERS_H
#define SE_BENCH_HASH_PEERS_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_inlined(const void *content, size_t len);
uint64_t hash_avx2(const void *content, size_t len); /* only where the CPU has it */

#endif
