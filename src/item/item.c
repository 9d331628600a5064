/*
 * item - the immutable item.
 */
#include "item/inside.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#define DEFAULT_STATE "default"

#define LINE 64u
#define FETCHED_MAX 2048u /* more than that the processor does not fetch at once */

static_assert(ITEM_HEADER_SIZE == 48, "the header stays small: there may be hundreds of millions");
static_assert((ITEM_ROUTE_ALL & (ITEM_FLAG_DELETED | ITEM_FLAG_TIMES)) == 0,
              "route and flags share a byte");
static_assert(SE_ID_MAX <= UINT8_MAX && SE_STATE_MAX <= UINT8_MAX, "lengths fit their bytes");

/* ---- layout ---- */

static size_t times_at(const se_item *item)
{
    return item->id_len + 1u;
}

static size_t state_at(const se_item *item)
{
    return times_at(item) + (item->flags & ITEM_FLAG_TIMES ? ITEM_TIMES_SIZE : 0);
}

static size_t content_at(const se_item *item)
{
    return se__item_content_at(item);
}

static size_t bytes_for(size_t id_len, size_t state_len, size_t content_len, bool times)
{
    return ITEM_HEADER_SIZE + id_len + 1 + (times ? ITEM_TIMES_SIZE : 0) +
           (state_len ? state_len + 1 : 0) + content_len;
}

size_t se__item_size_for(size_t id_len, size_t state_len, size_t content_len)
{
    return se__alloc_cost(bytes_for(id_len, state_len, content_len, true));
}

size_t se__item_size(const se_item *item)
{
    return se__item_size_inline(item);
}

/* ---- life ---- */

/* The spec as it will be stored: "default" is no state, and a tombstone has nothing but
 * its version, time and route. */
static void make_normal(struct item_spec *s)
{
    if (s->route == 0)
        s->route = ITEM_ROUTE_ALL;
    if (s->state && strcmp(s->state, DEFAULT_STATE) == 0)
        s->state = NULL;
    if (s->deleted) {
        s->content = NULL;
        s->content_len = 0;
        s->content_hash = NULL; /* of the empty content, whatever was stored */
        s->state = NULL;
        s->expires_at_ms = 0;
        s->cache_ttl_ms = 0;
        s->content_type = SE_CONTENT_BINARY;
    }
}

static void write_variable_part(se_item *item, const struct item_spec *s)
{
    memcpy(item->bytes, s->id, s->id_len);
    item->bytes[s->id_len] = '\0';
    if (item->flags & ITEM_FLAG_TIMES) {
        memcpy(item->bytes + times_at(item), &s->expires_at_ms, 8);
        memcpy(item->bytes + times_at(item) + 8, &s->cache_ttl_ms, 8);
    }
    if (item->state_len)
        memcpy(item->bytes + state_at(item), s->state, item->state_len + 1u);
    if (s->content_len && s->content)
        memcpy(item->bytes + content_at(item), s->content, s->content_len);
}

/* To be written soon: all lines at once, instead of one after the other as the stores come to them.
 * The first was touched by the allocator. */
static void fetch_for_writing(const se_item *item, size_t bytes)
{
    for (size_t at = LINE; at < bytes && at < FETCHED_MAX; at += LINE)
        __builtin_prefetch((const char *)item + at, 1);
}

static size_t state_len_of(const struct item_spec *s)
{
    return s->state ? strlen(s->state) : 0;
}

static bool has_times(const struct item_spec *s)
{
    return s->expires_at_ms != 0 || s->cache_ttl_ms != 0;
}

se_item *se__item_begin(struct item_spec *s)
{
    make_normal(s);
    size_t state_len = state_len_of(s);
    assert(s->id_len >= 1 && s->id_len <= SE_ID_MAX && state_len <= SE_STATE_MAX);
    assert((s->route & ~ITEM_ROUTE_ALL) == 0);
    assert(s->content || s->content_len == 0 || s->content_hash);
    if (s->content_len > UINT32_MAX)
        return NULL;
    size_t bytes = bytes_for(s->id_len, state_len, s->content_len, has_times(s));
    se_item *item = se__alloc(bytes);
    if (item)
        fetch_for_writing(item, bytes);
    return item;
}

static void write_header(se_item *item, const struct item_spec *s)
{
    atomic_init(&item->refs, 1);
    atomic_init(&item->type, (uint8_t)s->content_type);
    atomic_init(&item->since, 0);
    item->flags = (uint8_t)(s->route | (s->deleted ? ITEM_FLAG_DELETED : 0) |
                            (has_times(s) ? ITEM_FLAG_TIMES : 0));
    item->id_len = (uint8_t)s->id_len;
    item->state_len = (uint8_t)state_len_of(s);
    item->version = s->version;
    item->updated_at_ms = s->updated_at_ms;
    item->content_len = (uint32_t)s->content_len;
}

void se__item_end(se_item *item, const struct item_spec *s)
{
    uint8_t hash[SE_HASH_SIZE];
    if (!s->content_hash)
        se__hash128(0, s->content, s->content_len, hash);
    write_header(item, s);
    memcpy(item->content_hash, s->content_hash ? s->content_hash : hash, SE_HASH_SIZE);
    write_variable_part(item, s);
}

se_item *se__item_new(const struct item_spec *spec)
{
    struct item_spec s = *spec;
    se_item *item = se__item_begin(&s);
    if (item)
        se__item_end(item, &s);
    return item;
}

void *se__item_fill(se_item *item)
{
    return item->bytes + content_at(item);
}

se_item *se__item_with_state(const se_item *item, const char *state, uint64_t version,
                             int64_t updated_at_ms)
{
    /* relaxed: AUTO is copied as AUTO; the copy finds the same answer */
    uint8_t type = atomic_load_explicit(&item->type, memory_order_relaxed);
    return se__item_new(&(struct item_spec){
        .id = item->bytes,
        .id_len = item->id_len,
        .content = se_item_content(item),
        .content_len = item->content_len,
        .version = version,
        .updated_at_ms = updated_at_ms,
        .expires_at_ms = se__item_expires_at_ms(item),
        .cache_ttl_ms = se__item_cache_ttl_ms(item),
        .state = state,
        .content_hash = item->content_hash,
        .content_type = (se_content_type)type,
        .route = se__item_route(item),
        .deleted = se__item_deleted(item),
    });
}

void se__item_set_version(se_item *item, uint64_t version, int64_t updated_at_ms)
{
    item->version = version;
    item->updated_at_ms = updated_at_ms;
}

se_item *se_item_retain(se_item *item)
{
    /* relaxed: the caller holds a reference already, so the count cannot fall to 0 meanwhile */
    atomic_fetch_add_explicit(&item->refs, 1, memory_order_relaxed);
    return item;
}

void se_item_release(se_item *item)
{
    if (!item)
        return;
    /* release: this thread's reads are over before the count says so. acquire: who brings it to 0
     * has seen all the others' ends before it frees. Both in one operation instead of a fence,
     * which ThreadSanitizer does not see. */
    if (atomic_fetch_sub_explicit(&item->refs, 1, memory_order_acq_rel) == 1)
        se__free(item);
}

uint32_t se__item_refs(const se_item *item)
{
    return atomic_load_explicit(&item->refs, memory_order_relaxed); /* relaxed: a hint */
}

bool se__item_has_id(const se_item *item, const char *id, size_t id_len)
{
    return item->id_len == id_len && memcmp(item->bytes, id, id_len) == 0;
}

uint32_t se__item_since(const se_item *item)
{
    return atomic_load_explicit(&item->since, memory_order_relaxed);
}

void se__item_set_since(se_item *item, uint32_t since)
{
    atomic_store_explicit(&item->since, since, memory_order_relaxed);
}

/* ---- what it says ---- */

const char *se_item_id(const se_item *item)
{
    return item->bytes;
}

size_t se__item_id_len(const se_item *item)
{
    return item->id_len;
}

const void *se_item_content(const se_item *item)
{
    return item->bytes + content_at(item);
}

size_t se_item_content_len(const se_item *item)
{
    return item->content_len;
}

uint64_t se_item_version(const se_item *item)
{
    return item->version;
}

int64_t se_item_updated_at_ms(const se_item *item)
{
    return item->updated_at_ms;
}

se_content_type se_item_content_type(const se_item *item)
{
    /* relaxed, here and below: the answer depends on the content alone, so
     * every thread finds the same one */
    uint8_t type = atomic_load_explicit(&item->type, memory_order_relaxed);
    if (type == SE_CONTENT_AUTO) {
        type = se__json_valid(se_item_content(item), item->content_len) ? SE_CONTENT_JSON
                                                                        : SE_CONTENT_BINARY;
        /* The cache is no part of what const promises. */
        atomic_store_explicit(&((se_item *)(uintptr_t)item)->type, type, memory_order_relaxed);
    }
    return (se_content_type)type;
}

const char *se_item_state(const se_item *item)
{
    return item->state_len ? item->bytes + state_at(item) : DEFAULT_STATE;
}

bool se__item_is_default_state(const se_item *item)
{
    return item->state_len == 0;
}

void se_item_hash(const se_item *item, uint8_t hash[SE_HASH_SIZE])
{
    memcpy(hash, item->content_hash, SE_HASH_SIZE);
}

bool se__item_deleted(const se_item *item)
{
    return (item->flags & ITEM_FLAG_DELETED) != 0;
}

uint8_t se__item_route(const se_item *item)
{
    return item->flags & ITEM_ROUTE_ALL;
}

int64_t se__item_expires_at_ms(const se_item *item)
{
    int64_t ms = 0;
    if (item->flags & ITEM_FLAG_TIMES)
        memcpy(&ms, item->bytes + times_at(item), sizeof ms);
    return ms;
}

uint64_t se__item_cache_ttl_ms(const se_item *item)
{
    uint64_t ms = 0;
    if (item->flags & ITEM_FLAG_TIMES)
        memcpy(&ms, item->bytes + times_at(item) + 8, sizeof ms);
    return ms;
}

bool se__item_expired(const se_item *item, int64_t now_wall_ms)
{
    int64_t at = se__item_expires_at_ms(item);
    return at != 0 && now_wall_ms >= at;
}

/* ---- hashes and order ---- */

bool se__item_intact(const se_item *item)
{
    uint8_t hash[SE_HASH_SIZE];
    se__hash128(0, se_item_content(item), item->content_len, hash);
    return memcmp(hash, item->content_hash, SE_HASH_SIZE) == 0;
}

/* One field with its length before it, so that no two sequences of fields give the same bytes. */
static uint8_t *put_field(uint8_t *at, const void *field, size_t len)
{
    se__put_u32(at, (uint32_t)len);
    if (len)
        memcpy(at + 4, field, len);
    return at + 4 + len;
}

static uint8_t *put_byte(uint8_t *at, uint8_t byte)
{
    return put_field(at, &byte, 1);
}

static uint8_t *put_number(uint8_t *at, uint64_t number)
{
    uint8_t bytes[8];
    se__put_u64(bytes, number);
    return put_field(at, bytes, sizeof bytes);
}

void se__item_record_hash(const se_item *item, uint8_t out[SE_HASH_SIZE])
{
    uint8_t fields[7 * 4 + 3 * 1 + SE_STATE_MAX + 2 * 8 + SE_HASH_SIZE];
    uint8_t *at = fields;
    at = put_byte(at, se__item_deleted(item));
    at = put_byte(at, (uint8_t)se_item_content_type(item));
    at = put_field(at, item->state_len ? se_item_state(item) : "", item->state_len);
    at = put_byte(at, se__item_route(item));
    at = put_number(at, (uint64_t)se__item_expires_at_ms(item));
    at = put_number(at, se__item_cache_ttl_ms(item));
    at = put_field(at, item->content_hash, SE_HASH_SIZE);
    se__hash128(0, fields, (size_t)(at - fields), out);
}

int se__item_compare(const se_item *a, const se_item *b)
{
    if (a->version != b->version)
        return a->version < b->version ? -1 : 1;
    if (a == b)
        return 0;
    uint8_t hash_a[SE_HASH_SIZE], hash_b[SE_HASH_SIZE];
    se__item_record_hash(a, hash_a);
    se__item_record_hash(b, hash_b);
    return memcmp(hash_a, hash_b, SE_HASH_SIZE);
}

void se__item_leaf(const char *id, size_t id_len, uint64_t version,
                   const uint8_t record_hash[SE_HASH_SIZE], uint8_t leaf[SE_HASH_SIZE])
{
    uint8_t bytes[4 + SE_ID_MAX + 8 + SE_HASH_SIZE];
    assert(id_len <= SE_ID_MAX);
    /* with its length: one id may be the beginning of another */
    uint8_t *at = put_field(bytes, id, id_len);
    se__put_u64(at, version);
    memcpy(at + 8, record_hash, SE_HASH_SIZE);
    se__hash128(0, bytes, (size_t)(at + 8 + SE_HASH_SIZE - bytes), leaf);
}

uint16_t se__item_bucket(const char *id, size_t id_len)
{
    return (uint16_t)(se__hash64(0, id, id_len) >> 48);
}
