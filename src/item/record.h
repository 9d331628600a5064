/*
 * record - the byte form of an item in Redis and in the WAL.
 *
 * Big-endian throughout; layout version 1, 88 bytes of header, then state, then content:
 *
 *   off size
 *     0   2  magic 0x53 0x45 ("SE")
 *     2   1  layout version, 1
 *     3   1  kind: 1 ITEM, 2 TOMBSTONE, 3 FLOOR, 4 LEASE
 *     4   8  L2 generation (0 in the WAL and where L2 is the home tier)
 *    12   8  item version
 *    20  16  record hash
 *    36   8  updated_at_ms
 *    44   8  expires_at_ms, 0: never
 *    52   8  cache_ttl_ms, 0: no limit
 *    60   1  content type: 1 BINARY, 2 JSON
 *    61   1  encoding of the content: 0 plain (others reserved)
 *    62   1  length of the state tag, 0: "default"
 *    63   1  route
 *    64  16  content hash; in a LEASE the token
 *    80   4  content length
 *    84   4  check: low half of XXH3-64 over bytes 0..83, the state and the id
 *    88   -  state, content
 *
 * TOMBSTONE, FLOOR and LEASE are header-only. The check covers the id, so a record copied to
 * another key does not decode. The guard scripts of L2 read bytes 0..35 only; magic, generation,
 * version and record hash stay where they are in every later layout.
 *
 * Threads: any; pure.  Decoding is total: any bytes give a record or RECORD_GARBAGE.
 */
#ifndef SE_ITEM_RECORD_H
#define SE_ITEM_RECORD_H

#include "item/item.h"

#define RECORD_HEADER_SIZE 88u
#define RECORD_GUARD_SIZE 36u /* what the version guard compares */
#define RECORD_KIND_AT 3u
#define RECORD_VERSION_AT 12u /* version and record hash, to the guard's end */

enum record_kind { RECORD_ITEM = 1, RECORD_TOMBSTONE = 2, RECORD_FLOOR = 3, RECORD_LEASE = 4 };

struct record {
    enum record_kind kind;
    uint64_t generation;
    uint64_t version;
    uint8_t record_hash[SE_HASH_SIZE];
    uint8_t content_hash[SE_HASH_SIZE]; /* LEASE: the token */
    int64_t updated_at_ms;
    int64_t expires_at_ms;
    uint64_t cache_ttl_ms;
    se_content_type content_type;
    uint8_t route;
    char state[SE_STATE_MAX + 1]; /* "" : default */
    const uint8_t *content;       /* borrowed from the bytes decoded; NULL if only the header
                                     was given */
    size_t content_len;           /* as the header says */
};

enum record_result { RECORD_OK, RECORD_GARBAGE };

/* Bytes that `kind` of record takes for `item` (state and content only with RECORD_ITEM). */
size_t se__record_size(const se_item *item, enum record_kind kind);
/* Writes exactly se__record_size bytes. RECORD_ITEM of a deleted item is written as
 * RECORD_TOMBSTONE. A tombstone or floor in place of a live item carries that write's version
 * and record hash, so that equal versions have one winner in all tiers. */
void se__record_encode(const se_item *item, enum record_kind kind, uint64_t generation,
                       uint8_t *out);
/* A LEASE: RECORD_HEADER_SIZE bytes. */
void se__record_encode_lease(const char *id, size_t id_len, uint64_t generation,
                             const uint8_t token[SE_HASH_SIZE], uint8_t out[RECORD_HEADER_SIZE]);
/* Decodes header, check, state and, if all of the content is there, content. len may stop after the
 * state: then content is NULL. Trailing or missing bytes, unknown kinds, bad checks, a state that
 * is not UTF-8: RECORD_GARBAGE. The content's hash is not computed here. */
enum record_result se__record_decode(const char *id, size_t id_len, const void *bytes, size_t len,
                                     struct record *out);
/* Item or tombstone from a complete record of kind ITEM or TOMBSTONE. NULL without memory. */
SE_NODISCARD se_item *se__record_to_item(const char *id, size_t id_len,
                                         const struct record *record);

#endif
