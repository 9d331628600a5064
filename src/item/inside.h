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

#include "base/mem.h"
#include "item/item.h"

#include <stdatomic.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define ITEM_FLAG_DELETED 0x04u
#define ITEM_FLAG_TIMES 0x08u
#define ITEM_TIMES_SIZE 16u /* expires_at_ms, cache_ttl_ms; unaligned */

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

#define ITEM_HEADER_SIZE offsetof(struct se_item, bytes)

static inline size_t se__item_content_at(const se_item *item)
{
    return item->id_len + 1u + (item->flags & ITEM_FLAG_TIMES ? ITEM_TIMES_SIZE : 0) +
           (item->state_len ? item->state_len + 1u : 0);
}
static inline size_t se__item_size_inline(const se_item *item)
{
    return se__alloc_cost(ITEM_HEADER_SIZE + se__item_content_at(item) + item->content_len);
}

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

/* ---- comparing ids ---- */

#define ITEM_STEP 16u
#ifdef __SSE2__
typedef __m128i se__step; /* a byte is 0xff where the two are the same */
static inline se__step se__compare_step(const char *a, const char *b)
{
    return _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)a),
                          _mm_loadu_si128((const __m128i *)(const void *)b));
}
static inline bool se__same_steps(se__step x, se__step y)
{
    return _mm_movemask_epi8(_mm_and_si128(x, y)) == 0xffff;
}
#else
typedef bool se__step;
static inline se__step se__compare_step(const char *a, const char *b)
{
    return memcmp(a, b, ITEM_STEP) == 0;
}
static inline bool se__same_steps(se__step x, se__step y)
{
    return x & y;
}
#endif
static inline uint64_t se__differ_8(const char *a, const char *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x ^ y;
}
static inline uint32_t se__differ_4(const char *a, const char *b)
{
    uint32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x ^ y;
}
/* Up to 15 bytes; like the steps of longer ones, both ends at once: they may overlap. */
static inline bool se__same_few(const char *a, const char *b, size_t len)
{
    if (len >= 8)
        return (se__differ_8(a, b) | se__differ_8(a + len - 8, b + len - 8)) == 0;
    if (len >= 4)
        return (se__differ_4(a, b) | se__differ_4(a + len - 4, b + len - 4)) == 0;
    return len == 0 || (a[0] == b[0] && a[len / 2] == b[len / 2] && a[len - 1] == b[len - 1]);
}
/* memcmp without a call: its lengths are known to be small. */
static inline bool se__item_is(const se_item *item, const char *id, size_t id_len)
{
    const char *own = item->bytes;
    if (item->id_len != id_len)
        return false;
    if (id_len < ITEM_STEP)
        return se__same_few(own, id, id_len);
    se__step ends = se__compare_step(own + id_len - ITEM_STEP, id + id_len - ITEM_STEP);
    if (!se__same_steps(ends, se__compare_step(own, id)))
        return false;
    for (size_t at = ITEM_STEP; __builtin_expect(id_len > at + ITEM_STEP, 0); at += ITEM_STEP)
        if (!se__same_steps(ends, se__compare_step(own + at, id + at)))
            return false;
    return true;
}

#endif
