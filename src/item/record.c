/*
 * record - encoding and decoding; the layout is in the header.
 *
 * Decoding trusts nothing: the length first, then the check, then every field for its own range,
 * since a check of 32 bits finds accidents only. What decodes encodes to the same bytes again.
 */
#include "item/record.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/utf8.h"

#include <assert.h>

enum {
    AT_MAGIC = 0,
    AT_LAYOUT = 2,
    AT_KIND = 3,
    AT_GENERATION = 4,
    AT_VERSION = 12,
    AT_RECORD_HASH = 20,
    AT_UPDATED = 36,
    AT_EXPIRES = 44,
    AT_TTL = 52,
    AT_TYPE = 60,
    AT_ENCODING = 61,
    AT_STATE_LEN = 62,
    AT_ROUTE = 63,
    AT_CONTENT_HASH = 64,
    AT_CONTENT_LEN = 80,
    AT_CHECK = 84,
};
static_assert(AT_CHECK + 4 == RECORD_HEADER_SIZE, "the header ends with the check");
static_assert(AT_KIND == RECORD_KIND_AT && AT_VERSION == RECORD_VERSION_AT, "as the header says");
static_assert(AT_RECORD_HASH + SE_HASH_SIZE == RECORD_GUARD_SIZE,
              "the guard reads up to the record hash");

#define MAGIC 0x5345u
#define LAYOUT 1u
#define ENCODING_PLAIN 0u

/* Low half of XXH3-64 over header (without the check), state and id. */
static uint32_t check_of(const uint8_t *record, size_t state_len, const char *id, size_t id_len)
{
    uint8_t bytes[AT_CHECK + SE_STATE_MAX + SE_ID_MAX];
    assert(state_len <= SE_STATE_MAX && id_len <= SE_ID_MAX);
    memcpy(bytes, record, AT_CHECK);
    memcpy(bytes + AT_CHECK, record + RECORD_HEADER_SIZE, state_len);
    memcpy(bytes + AT_CHECK + state_len, id, id_len);
    return (uint32_t)se__hash64(0, bytes, AT_CHECK + state_len + id_len);
}

static size_t state_len_of(const se_item *item)
{
    return se__item_is_default_state(item) ? 0 : strlen(se_item_state(item));
}

/* A tombstone must never come back as an empty item, whatever the caller asks for. */
static enum record_kind kind_for(const se_item *item, enum record_kind kind)
{
    return kind == RECORD_ITEM && se__item_deleted(item) ? RECORD_TOMBSTONE : kind;
}

size_t se__record_size(const se_item *item, enum record_kind kind)
{
    if (kind_for(item, kind) != RECORD_ITEM)
        return RECORD_HEADER_SIZE;
    return RECORD_HEADER_SIZE + state_len_of(item) + se_item_content_len(item);
}

static void put_preamble(uint8_t *out, enum record_kind kind, uint64_t generation)
{
    se__put_u16(out + AT_MAGIC, MAGIC);
    out[AT_LAYOUT] = LAYOUT;
    out[AT_KIND] = (uint8_t)kind;
    se__put_u64(out + AT_GENERATION, generation);
}

static void put_item_fields(uint8_t *out, const se_item *item)
{
    se__put_u64(out + AT_EXPIRES, (uint64_t)se__item_expires_at_ms(item));
    se__put_u64(out + AT_TTL, se__item_cache_ttl_ms(item));
    out[AT_TYPE] = (uint8_t)se_item_content_type(item);
    out[AT_STATE_LEN] = (uint8_t)state_len_of(item);
    se_item_hash(item, out + AT_CONTENT_HASH);
    se__put_u32(out + AT_CONTENT_LEN, (uint32_t)se_item_content_len(item));
    uint8_t *at = out + RECORD_HEADER_SIZE;
    memcpy(at, se_item_state(item), out[AT_STATE_LEN]);
    memcpy(at + out[AT_STATE_LEN], se_item_content(item), se_item_content_len(item));
}

void se__record_encode(const se_item *item, enum record_kind kind, uint64_t generation,
                       uint8_t *out)
{
    assert(kind != RECORD_LEASE);
    kind = kind_for(item, kind);
    memset(out, 0, RECORD_HEADER_SIZE);
    put_preamble(out, kind, generation);
    se__put_u64(out + AT_VERSION, se_item_version(item));
    /* Of the write itself, also where a tier gets only its tombstone or floor: equal versions then
     * have the same winner in every tier. */
    se__item_record_hash(item, out + AT_RECORD_HASH);
    se__put_u64(out + AT_UPDATED, (uint64_t)se_item_updated_at_ms(item));
    out[AT_ENCODING] = ENCODING_PLAIN;
    out[AT_ROUTE] = se__item_route(item);
    if (kind == RECORD_ITEM) {
        put_item_fields(out, item);
    } else {
        out[AT_TYPE] = SE_CONTENT_BINARY;
        se__hash128(0, NULL, 0, out + AT_CONTENT_HASH);
    }
    se__put_u32(out + AT_CHECK,
                check_of(out, out[AT_STATE_LEN], se_item_id(item), se__item_id_len(item)));
}

void se__record_encode_lease(const char *id, size_t id_len, uint64_t generation,
                             const uint8_t token[SE_HASH_SIZE], uint8_t out[RECORD_HEADER_SIZE])
{
    memset(out, 0, RECORD_HEADER_SIZE);
    put_preamble(out, RECORD_LEASE, generation);
    out[AT_TYPE] = SE_CONTENT_BINARY;
    out[AT_ROUTE] = ITEM_ROUTE_ALL;
    memcpy(out + AT_CONTENT_HASH, token, SE_HASH_SIZE);
    se__put_u32(out + AT_CHECK, check_of(out, 0, id, id_len));
}

/* What can be told from the header alone. */
static bool header_sane(const uint8_t *b)
{
    uint8_t kind = b[AT_KIND], type = b[AT_TYPE], route = b[AT_ROUTE];
    if (se__get_u16(b + AT_MAGIC) != MAGIC || b[AT_LAYOUT] != LAYOUT ||
        b[AT_ENCODING] != ENCODING_PLAIN)
        return false;
    if (kind < RECORD_ITEM || kind > RECORD_LEASE)
        return false;
    if ((type != SE_CONTENT_BINARY && type != SE_CONTENT_JSON) || route == 0 ||
        route > ITEM_ROUTE_ALL)
        return false;
    if (b[AT_STATE_LEN] > SE_STATE_MAX || se__get_u64(b + AT_VERSION) > INT64_MAX)
        return false;
    return kind == RECORD_ITEM || (b[AT_STATE_LEN] == 0 && se__get_u32(b + AT_CONTENT_LEN) == 0);
}

/* Bytes that hold no NUL, control byte or bad UTF-8, and are not the name of "no state". */
static bool state_sane(const char *state, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)state[i] < 0x20 || state[i] == 0x7f)
            return false;
    return se__utf8_check(state, len) == len && !(len == 7 && memcmp(state, "default", 7) == 0);
}

static void read_header(const uint8_t *b, struct record *r)
{
    r->kind = (enum record_kind)b[AT_KIND];
    r->generation = se__get_u64(b + AT_GENERATION);
    r->version = se__get_u64(b + AT_VERSION);
    memcpy(r->record_hash, b + AT_RECORD_HASH, SE_HASH_SIZE);
    memcpy(r->content_hash, b + AT_CONTENT_HASH, SE_HASH_SIZE);
    r->updated_at_ms = (int64_t)se__get_u64(b + AT_UPDATED);
    r->expires_at_ms = (int64_t)se__get_u64(b + AT_EXPIRES);
    r->cache_ttl_ms = se__get_u64(b + AT_TTL);
    r->content_type = (se_content_type)b[AT_TYPE];
    r->route = b[AT_ROUTE];
    r->content_len = se__get_u32(b + AT_CONTENT_LEN);
}

enum record_result se__record_decode(const char *id, size_t id_len, const void *bytes, size_t len,
                                     struct record *out)
{
    const uint8_t *b = bytes;
    if (len < RECORD_HEADER_SIZE || id_len == 0 || id_len > SE_ID_MAX || !header_sane(b))
        return RECORD_GARBAGE;
    size_t state_len = b[AT_STATE_LEN];
    size_t content_len = se__get_u32(b + AT_CONTENT_LEN);
    if (len - RECORD_HEADER_SIZE < state_len)
        return RECORD_GARBAGE;
    size_t behind = len - RECORD_HEADER_SIZE - state_len;
    if (behind != 0 && behind != content_len)
        return RECORD_GARBAGE;
    const char *state = (const char *)b + RECORD_HEADER_SIZE;
    if (se__get_u32(b + AT_CHECK) != check_of(b, state_len, id, id_len) ||
        !state_sane(state, state_len))
        return RECORD_GARBAGE;
    struct record r = {.kind = 0};
    read_header(b, &r);
    memcpy(r.state, state, state_len); /* the rest is zero */
    if (behind == content_len)
        r.content = b + RECORD_HEADER_SIZE + state_len;
    *out = r;
    return RECORD_OK;
}

se_item *se__record_to_item(const char *id, size_t id_len, const struct record *record)
{
    assert(record->kind == RECORD_TOMBSTONE || (record->kind == RECORD_ITEM && record->content));
    return se__item_new(&(struct item_spec){
        .id = id,
        .id_len = id_len,
        .content = record->content,
        .content_len = record->content ? record->content_len : 0,
        .version = record->version,
        .updated_at_ms = record->updated_at_ms,
        .expires_at_ms = record->expires_at_ms,
        .cache_ttl_ms = record->cache_ttl_ms,
        .state = record->state,
        .content_hash = record->content_hash,
        .content_type = record->content_type,
        .route = record->route,
        .deleted = record->kind == RECORD_TOMBSTONE,
    });
}
