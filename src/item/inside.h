/*
 * inside - an item's bytes, for item.c and for the few who look at one on the way of a hit, where a
 * call costs as much as the look.
 *
 *   off size
 *     0   8  version
 *     8   8  updated_at_ms
 *    16  16  content hash
 *    32   4  references
 *    36   1  content type, AUTO until somebody asks
 *    37   1  flags: route, deleted, has times
 *    38   1  length of the id
 *    39   1  length of the state tag, 0: "default" (then the tag and its NUL are not there)
 *    40   4  content length
 *    44   4  L1's word: when this copy came there
 *    48   -  id NUL, [expires_at_ms, cache_ttl_ms], [state NUL], content
 *
 * What a lookup needs lies together, up to the id: one cache line for every second item with an id
 * of 32 bytes, never three.
 */
#ifndef SE_ITEM_INSIDE_H
#define SE_ITEM_INSIDE_H

#include "item/item.h"

#include <stdatomic.h>
#include <string.h>

#define ITEM_FLAG_DELETED 0x04u
#define ITEM_FLAG_TIMES 0x08u

struct se_item {
    uint64_t version;
    int64_t updated_at_ms;
    uint8_t content_hash[SE_HASH_SIZE];
    _Atomic uint32_t refs;
    _Atomic uint8_t type; /* se_content_type; the cache of I2 */
    uint8_t flags;
    uint8_t id_len;
    uint8_t state_len;
    uint32_t content_len;
    _Atomic uint32_t since; /* relaxed: a number, ordered by whoever publishes the item */
    char bytes[];
};

/* Neither a tombstone nor with any limit to its life. */
static inline bool se__item_is_plain(const se_item *item)
{
    return (item->flags & (ITEM_FLAG_DELETED | ITEM_FLAG_TIMES)) == 0;
}

/* As se_item_retain. relaxed: who retains has the item from somebody whose reference keeps it. */
static inline se_item *se__item_hold(se_item *item)
{
    atomic_fetch_add_explicit(&item->refs, 1, memory_order_relaxed);
    return item;
}

#define ITEM_STEP 16u /* bytes that a compiler compares without a call */
static inline bool se__item_is(const se_item *item, const char *id, size_t id_len)
{
    if (item->id_len != id_len)
        return false;
    if (id_len < ITEM_STEP)
        return memcmp(item->bytes, id, id_len) == 0;
    for (size_t at = 0; at < id_len - ITEM_STEP; at += ITEM_STEP)
        if (memcmp(item->bytes + at, id + at, ITEM_STEP) != 0)
            return false;
    size_t last = id_len - ITEM_STEP;
    return memcmp(item->bytes + last, id + last, ITEM_STEP) == 0;
}

#endif
