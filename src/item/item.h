/*
 * item - one version of one id: immutable, reference counted, one allocation.
 *
 * A write makes a new item; readers that hold the old one keep it. Layout of the allocation:
 *   header (48 bytes) | id NUL | expiry and cache ttl | state NUL | content
 * where expiry and ttl (16 bytes) and the state are only there if one is set: a plain item costs 49
 * bytes and its id. A delete is an item too (deleted; no content, state, expiry or ttl): the
 * tombstone.
 *
 * Invariants
 *   I1  nothing but the reference count, the cache of I2 and the map's own word (se__item_since)
 *       changes after se__item_new (but se__item_set_version)
 *   I2  content_type AUTO is decided at most once in effect: every thread computes the same answer,
 *       and it is cached (relaxed: the answer depends on the content only)
 *   I3  an item belongs to no engine: it outlives se_close
 *
 * Threads: any.  Memory: se__item_new returns one reference; se_item_retain/se_item_release count.
 */
#ifndef SE_ITEM_ITEM_H
#define SE_ITEM_ITEM_H

#include "base/error.h"

/* Which tiers a write names; never 0 in an item. SE_ROUTE_L2 and
 * SE_ROUTE_L3 of the public header. */
#define ITEM_ROUTE_ALL (SE_ROUTE_L2 | SE_ROUTE_L3)

struct item_spec {
    const char *id; /* borrowed, checked by the caller */
    size_t id_len;
    const void *content; /* borrowed; NULL with a length: the caller fills it, se__item_fill, and
                            gives its hash */
    size_t content_len;
    uint64_t version;
    int64_t updated_at_ms;
    int64_t expires_at_ms;       /* 0: never */
    uint64_t cache_ttl_ms;       /* 0: no limit */
    const char *state;           /* NULL or "": "default" */
    const uint8_t *content_hash; /* as stored; NULL: computed here */
    se_content_type content_type;
    uint8_t route; /* 0: all */
    bool deleted;  /* no content then, and state is dropped */
};

/* NULL without memory, or for content of 4 GiB and more. content_hash is taken as given when
 * present: se__item_intact tells whether it fits. */
SE_NODISCARD se_item *se__item_new(const struct item_spec *spec);
/* The same in two steps, for who has something to do while the processor fetches the memory: that is
 * allocated by the first, which brings the spec into the form in which the second writes it. */
SE_NODISCARD se_item *se__item_begin(struct item_spec *spec);
void se__item_end(se_item *item, const struct item_spec *spec);
/* Where the content goes of an item that was made without it; before anybody else sees the item. */
void *se__item_fill(se_item *item);
/* A copy of `item` with another version, time and state (content shared by copying). */
SE_NODISCARD se_item *se__item_with_state(const se_item *item, const char *state, uint64_t version,
                                          int64_t updated_at_ms);

/* Sets the version before the item is published anywhere (caller-serialised until then). Recomputes
 * nothing: record hash is derived on demand. */
void se__item_set_version(se_item *item, uint64_t version, int64_t updated_at_ms);

/* What malloc sets aside for such an item, its own header and rounding included (computed as
 * glibc's does, so that it is the same everywhere). size_for, for tests, is the most it can be
 * (expiry and ttl set): se__item_size is that or 16 bytes less, a page less for items malloc
 * maps by themselves. */
size_t se__item_size_for(size_t id_len, size_t state_len, size_t content_len);
size_t se__item_size(const se_item *item);
size_t se__item_id_len(const se_item *item);
bool se__item_deleted(const se_item *item);
uint8_t se__item_route(const se_item *item);
int64_t se__item_expires_at_ms(const se_item *item);
uint64_t se__item_cache_ttl_ms(const se_item *item);
bool se__item_expired(const se_item *item, int64_t now_wall_ms);
bool se__item_is_default_state(const se_item *item);
uint32_t se__item_refs(const se_item *item); /* a hint: may change at once */
bool se__item_has_id(const se_item *item, const char *id, size_t id_len);
/* A word of L1's, which has an item in at most one place: when the copy came there. 0 at first. */
uint32_t se__item_since(const se_item *item);
void se__item_set_since(se_item *item, uint32_t since);

/* True if the content fits its hash. */
bool se__item_intact(const se_item *item);
/* XXH3-128 over (deleted, type, state, route, expiry, cache ttl, content hash), each with its
 * length (u32, big-endian) before it. */
void se__item_record_hash(const se_item *item, uint8_t out[SE_HASH_SIZE]);
/* Order of writes to one id, the same in every tier: (version, record hash). <0, 0, >0. */
int se__item_compare(const se_item *a, const se_item *b);

/* Merkle: leaf = XXH3-128(id length, id, version, record hash) of a record as stored; bucket =
 * the top 16 bits of XXH3-64(id). */
void se__item_leaf(const char *id, size_t id_len, uint64_t version,
                   const uint8_t record_hash[SE_HASH_SIZE], uint8_t leaf[SE_HASH_SIZE]);
uint16_t se__item_bucket(const char *id, size_t id_len);

#endif
