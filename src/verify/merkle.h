/*
 * merkle - nodes of the tree of digests: arithmetic, and the digests of what a tier holds.
 *
 * leaf = XXH3-128 (item/item.h), bucket = top 16 bits of XXH3-64 of the id; a node is the XOR of the
 * leaves below it, with their count; fan-out 16, depth 4. L3's come from an aggregate in the database
 * over stored leaves, L2's from the headers of what Redis holds at that moment; nothing is kept.
 *
 * Threads: any.
 */
#ifndef SE_VERIFY_MERKLE_H
#define SE_VERIFY_MERKLE_H

#include "tier/tier.h"

#define MERKLE_DEPTH 4u

void se__merkle_add(struct tier_node *node, const uint8_t leaf[SE_HASH_SIZE]);
void se__merkle_join(struct tier_node *node, const struct tier_node *other);
bool se__merkle_equal(const struct tier_node *a, const struct tier_node *b);
/* The buckets below a node: depth 0..4, index < 16^depth. */
void se__merkle_range(unsigned depth, uint32_t index, uint32_t *bucket_first,
                      uint32_t *bucket_last);

/* Nodes bucket >> shift of [bucket_first, bucket_last] of one tier (its ops have digest: asked; else
 * surveyed), expired items left out. nodes: (bucket_last >> shift) - (bucket_first >> shift) + 1. */
SE_NODISCARD se_result se__merkle_nodes(struct tier tier, uint32_t bucket_first,
                                        uint32_t bucket_last, unsigned shift, uint32_t timeout_ms,
                                        struct tier_node *nodes);
/* All ids under a prefix. */
SE_NODISCARD se_result se__merkle_prefix(struct tier tier, const char *prefix, uint32_t timeout_ms,
                                         struct tier_node *node);

#endif
