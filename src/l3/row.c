/*
 * row - one row of the item table, to and from an item.
 *
 * Column forms, the same in both dialects:
 *   version, updated_at, expires_at      as they are (63-bit versions sort as BIGINT)
 *   cache_ttl_ms                         64 bits, stored as the signed number of the same bits
 *   state                                the tag's bytes; "default" for items without one, so that
 *                                        operators can ask for it
 *   content_type                         1 binary, 2 JSON
 *   encoding                             0 plain, 1 a zstd frame, 2 one that names its dictionary; 1
 *                                        and 2 are in payload_blob. Others are a newer library's: the
 *                                        rest of the row is believed, its content cannot be had
 *   bucket, leaf_hi, leaf_lo             se__item_bucket, and se__item_leaf's halves as signed
 *                                        numbers of the same bits
 */
#include "l3/row.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/hlc.h"
#include "base/utf8.h"

#include <string.h>

enum { TYPE_BINARY = 1, TYPE_JSON = 2 };

/* Base of the retention: beyond any real time, and far from overflowing
 * when the retention is added. */
#define PURGE_FROM_MAX (INT64_MAX / 4)

/* ---- item -> row ---- */

static void set_hashes(const se_item *item, struct sql_row *row)
{
    uint8_t leaf[SE_HASH_SIZE];
    const char *id = se_item_id(item);
    size_t len = se__item_id_len(item);
    se__item_record_hash(item, row->record_hash);
    se__item_leaf(id, len, row->version, row->record_hash, leaf);
    row->value[COL_RECORD_HASH] = se__db_blob(row->record_hash, SE_HASH_SIZE);
    row->value[COL_BUCKET] = se__db_int(se__item_bucket(id, len));
    row->value[COL_LEAF_HI] = se__db_int((int64_t)se__get_u64(leaf));
    row->value[COL_LEAF_LO] = se__db_int((int64_t)se__get_u64(leaf + 8));
}

static void set_content(const se_item *item, struct packer *packer, struct sql_row *row)
{
    bool json = se_item_content_type(item) == SE_CONTENT_JSON;
    const void *content = se_item_content(item);
    size_t len = se_item_content_len(item);
    struct packed packed = {ENCODING_PLAIN, content, len};
    bool is_packed = packer && se__pack(packer, content, len, &packed);
    /* a caller may declare anything JSON: only UTF-8 may go into a text column */
    bool text = json && !is_packed && se__utf8_check(content, len) == len;
    content = packed.bytes;
    len = packed.len;
    row->value[COL_CONTENT_TYPE] = se__db_int(json ? TYPE_JSON : TYPE_BINARY);
    row->value[COL_ENCODING] = se__db_int(packed.encoding);
    row->value[COL_PAYLOAD] = text ? se__db_text(content, len) : (struct db_value){0};
    row->value[COL_PAYLOAD_BLOB] = text ? (struct db_value){0} : se__db_blob(content, len);
    se_item_hash(item, row->content_hash);
}

static void set_tombstone(struct sql_row *row)
{
    row->value[COL_CONTENT_TYPE] = se__db_int(TYPE_BINARY);
    row->value[COL_ENCODING] = se__db_int(ENCODING_PLAIN);
    row->value[COL_PAYLOAD] = (struct db_value){0};
    row->value[COL_PAYLOAD_BLOB] = (struct db_value){0};
    memset(row->content_hash, 0, sizeof row->content_hash);
}

/* When the retention starts to count, at the earliest; the statement takes the server's clock where
 * that is later. A row must not be purged before its version is `retention` old: the floor would
 * then refuse writes that are on their way. */
static struct db_value purge_from(const struct sql_row *row, bool deleted, int64_t expires_at)
{
    if (!deleted && expires_at == 0)
        return (struct db_value){0};
    int64_t from = se__version_ms(row->version);
    if (!deleted && expires_at > from)
        from = expires_at;
    return se__db_int(from < PURGE_FROM_MAX ? from : PURGE_FROM_MAX);
}

void se__row_init(const se_item *item, enum record_kind kind, struct packer *packer,
                  struct sql_row *row)
{
    bool deleted = kind != RECORD_ITEM || se__item_deleted(item);
    int64_t expires_at = deleted ? 0 : se__item_expires_at_ms(item);
    const char *state = deleted ? "default" : se_item_state(item);
    row->item = item;
    row->version = se_item_version(item);
    set_hashes(item, row);
    if (deleted)
        set_tombstone(row);
    else
        set_content(item, packer, row);
    row->value[COL_ID] = se__db_text(se_item_id(item), se__item_id_len(item));
    row->value[COL_VERSION] = se__db_int((int64_t)row->version);
    row->value[COL_UPDATED_AT] = se__db_int(se_item_updated_at_ms(item));
    row->value[COL_STATE] = se__db_text(state, strlen(state));
    row->value[COL_CONTENT_HASH] = se__db_blob(row->content_hash, SE_HASH_SIZE);
    row->value[COL_CACHE_TTL] = se__db_int(deleted ? 0 : (int64_t)se__item_cache_ttl_ms(item));
    row->value[COL_EXPIRES_AT] = se__db_int(expires_at);
    row->value[COL_DELETED] = se__db_int(deleted);
    row->value[COL_ROUTE] = se__db_int(se__item_route(item));
    row->value[ROW_PURGE_FROM] = purge_from(row, deleted, expires_at);
}

size_t se__row_bytes(const struct sql_row *row)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < ROW_PARAMS; i++)
        bytes += 10 + row->value[i].len; /* 9 bytes of length or 8 of number, and an indicator */
    return bytes;
}

/* ---- row -> item ---- */

static bool is_bytes(const struct db_value *v)
{
    return (v->type == DB_TEXT || v->type == DB_BLOB) && (v->bytes || v->len == 0);
}

static bool is_hash(const struct db_value *v)
{
    return is_bytes(v) && v->len == SE_HASH_SIZE;
}

static bool in_range(const struct db_value *v, int64_t min, int64_t max)
{
    return v->type == DB_INT && v->number >= min && v->number <= max;
}

static bool types_fit(const struct db_value *c)
{
    return is_bytes(&c[COL_ID]) && in_range(&c[COL_VERSION], 0, INT64_MAX) &&
           is_hash(&c[COL_RECORD_HASH]) && c[COL_UPDATED_AT].type == DB_INT &&
           is_bytes(&c[COL_STATE]) && in_range(&c[COL_CONTENT_TYPE], TYPE_BINARY, TYPE_JSON) &&
           in_range(&c[COL_ENCODING], INT8_MIN, INT8_MAX) && is_hash(&c[COL_CONTENT_HASH]) &&
           in_range(&c[COL_BUCKET], 0, UINT16_MAX) && c[COL_LEAF_HI].type == DB_INT &&
           c[COL_LEAF_LO].type == DB_INT && c[COL_CACHE_TTL].type == DB_INT &&
           c[COL_EXPIRES_AT].type == DB_INT && in_range(&c[COL_DELETED], 0, 1) &&
           in_range(&c[COL_ROUTE], 1, ITEM_ROUTE_ALL) &&
           (c[COL_DELETED].number == 0 || c[COL_ENCODING].number == ENCODING_PLAIN);
}

/* Copies text that has to be NUL-terminated and must hold no NUL itself. */
static bool copy_text(const struct db_value *v, char *out, size_t max)
{
    if (v->len == 0 || v->len > max || memchr(v->bytes, '\0', v->len))
        return false;
    memcpy(out, v->bytes, v->len);
    out[v->len] = '\0';
    return true;
}

static bool id_fits(const struct db_value *c, bool checked, char id[SE_ID_MAX + 1])
{
    size_t len;
    if (checked) {
        memcpy(id, c[COL_ID].bytes, c[COL_ID].len);
        id[c[COL_ID].len] = '\0';
        return true;
    }
    return copy_text(&c[COL_ID], id, SE_ID_MAX) &&
           se__id_check("id", id, 1, SE_ID_MAX, &len) == SE_OK;
}

static bool state_fits(const struct db_value *c, char state[SE_STATE_MAX + 1])
{
    size_t len;
    return copy_text(&c[COL_STATE], state, SE_STATE_MAX) &&
           (strcmp(state, "default") == 0 ||
            se__id_check("state", state, 1, SE_STATE_MAX, &len) == SE_OK);
}

/* The content column of a live row; a tombstone has none. */
static bool content_of(const struct db_value *c, const struct db_value **content)
{
    bool text = c[COL_PAYLOAD].type != DB_NULL, blob = c[COL_PAYLOAD_BLOB].type != DB_NULL;
    if (in_range(&c[COL_DELETED], 1, 1))
        return !text && !blob;
    const struct db_value *filled = text ? &c[COL_PAYLOAD] : &c[COL_PAYLOAD_BLOB];
    if (text == blob || !is_bytes(filled))
        return false;
    *content = filled;
    return true;
}

static bool merkle_fits(const struct db_value *c, const char *id)
{
    uint8_t leaf[SE_HASH_SIZE];
    size_t len = c[COL_ID].len;
    se__item_leaf(id, len, (uint64_t)c[COL_VERSION].number, c[COL_RECORD_HASH].bytes, leaf);
    return c[COL_BUCKET].number == se__item_bucket(id, len) &&
           (uint64_t)c[COL_LEAF_HI].number == se__get_u64(leaf) &&
           (uint64_t)c[COL_LEAF_LO].number == se__get_u64(leaf + 8);
}

/* A tombstone's record hash is not a function of its columns (see row.h); its leaf covers it. */
static bool record_fits(const struct db_value *c, const se_item *item)
{
    uint8_t record_hash[SE_HASH_SIZE];
    if (se__item_deleted(item))
        return true;
    se__item_record_hash(item, record_hash);
    return memcmp(record_hash, c[COL_RECORD_HASH].bytes, SE_HASH_SIZE) == 0;
}

/* content NULL: a tombstone's, rightly none. */
static bool content_fits(const struct db_value *c, const struct db_value *content)
{
    uint8_t hash[SE_HASH_SIZE];
    if (!content)
        return true;
    se__hash128(0, content->bytes, content->len, hash);
    return memcmp(hash, c[COL_CONTENT_HASH].bytes, SE_HASH_SIZE) == 0;
}

/* content: bytes NULL, but a length: to be filled in. */
static se_item *make_item(const struct db_value *c, const char *id, const char *state,
                          const struct db_value *content)
{
    bool deleted = c[COL_DELETED].number != 0;
    struct item_spec spec = {
        .id = id,
        .id_len = c[COL_ID].len,
        .content = content ? content->bytes : NULL,
        .content_len = content ? content->len : 0,
        .version = (uint64_t)c[COL_VERSION].number,
        .updated_at_ms = c[COL_UPDATED_AT].number,
        .expires_at_ms = c[COL_EXPIRES_AT].number,
        .cache_ttl_ms = (uint64_t)c[COL_CACHE_TTL].number,
        .state = state,
        .content_hash = deleted ? NULL : c[COL_CONTENT_HASH].bytes,
        .content_type =
            c[COL_CONTENT_TYPE].number == TYPE_JSON ? SE_CONTENT_JSON : SE_CONTENT_BINARY,
        .route = (uint8_t)c[COL_ROUTE].number,
        .deleted = deleted,
    };
    return se__item_new(&spec);
}

/* ---- flaws ---- */

static enum tier_unpack pack_flaw(enum unpacked why)
{
    switch (why) {
    case UNPACK_ENCODING:
        return TIER_PACK_ENCODING;
    case UNPACK_DICTIONARY:
        return TIER_PACK_DICTIONARY;
    case UNPACK_TOO_LONG:
        return TIER_PACK_TOO_LONG;
    case UNPACK_DAMAGED:
        return TIER_PACK_DAMAGED;
    case UNPACKED:
    case UNPACK_NOMEM:
        break;
    }
    return TIER_PACK_NONE;
}

/* What decoding finds out. */
struct decoded {
    const struct db_value *content; /* as it is stored; NULL: none, or not asked for */
    size_t content_len;             /* unpacked */
    se_item *item;                  /* with ROW_ITEM */
    bool header_fits;               /* with ROW_CORRUPT, and: */
    enum unpacked why;              /* the content was not to be had, */
    uint32_t dictionary;            /* for want of this one */
};

/* As far as the columns say anything: they may be of any type. */
static void describe_flaw(const struct db_value *c, unsigned n, const struct decoded *d,
                          struct tier_flaw *flaw)
{
    *flaw = (struct tier_flaw){.header_fits = d->header_fits};
    if (n != ROW_COLUMNS)
        return;
    if (in_range(&c[COL_VERSION], 0, INT64_MAX))
        flaw->version = (uint64_t)c[COL_VERSION].number;
    if (is_hash(&c[COL_RECORD_HASH]))
        memcpy(flaw->record_hash, c[COL_RECORD_HASH].bytes, SE_HASH_SIZE);
    if (!d->header_fits)
        return;
    const struct db_value *content =
        is_bytes(&c[COL_PAYLOAD]) ? &c[COL_PAYLOAD] : &c[COL_PAYLOAD_BLOB];
    memcpy(flaw->expected, c[COL_CONTENT_HASH].bytes, SE_HASH_SIZE);
    flaw->pack = pack_flaw(d->why);
    if (is_bytes(content) && flaw->pack == TIER_PACK_NONE)
        se__hash128(0, content->bytes, content->len, flaw->actual);
    flaw->number = flaw->pack == TIER_PACK_ENCODING ? c[COL_ENCODING].number : d->dictionary;
}

/* ---- decoding ---- */

struct manner {
    bool copied;     /* the item is to have its content */
    bool id_checked; /* it is one that a caller has asked for */
};

/* The item, made with its content (copied, or room for it) or without, if leaf, bucket and record
 * hash fit. */
static enum row_result decode_header(const struct db_value *c, unsigned n, struct manner how,
                                     const struct db_value *content, se_item **item)
{
    char id[SE_ID_MAX + 1], state[SE_STATE_MAX + 1];
    if (n != ROW_COLUMNS || !types_fit(c) || !id_fits(c, how.id_checked, id) ||
        !state_fits(c, state) || !merkle_fits(c, id))
        return ROW_CORRUPT;
    *item = make_item(c, id, strcmp(state, "default") == 0 ? NULL : state, content);
    if (!*item)
        return ROW_NOMEM;
    if (record_fits(c, *item))
        return ROW_ITEM;
    se_item_release(*item);
    *item = NULL;
    return ROW_CORRUPT;
}

/* Unpacks into the item, or into the packer's memory where the item is to have no content. */
static enum unpacked unpack(const struct db_value *packed, struct unpacker *u, bool copied,
                            struct decoded *out, struct db_value *content)
{
    struct packer *packer = se__unpacker_packer(u);
    if (!packer)
        return UNPACK_NOMEM;
    void *to = copied ? se__item_fill(out->item) : se__packer_room(packer, content->len);
    if (!to)
        return UNPACK_NOMEM;
    content->bytes = to;
    return se__unpack(packer, packed->bytes, packed->len, to, content->len);
}

/* The header fits, the content does not. */
static enum row_result spoilt(struct decoded *out, enum unpacked why)
{
    out->header_fits = why != UNPACK_NOMEM;
    out->why = why;
    se_item_release(out->item);
    out->item = NULL;
    return why == UNPACK_NOMEM ? ROW_NOMEM : ROW_CORRUPT;
}

static enum row_result decode_packed(const struct db_value *c, unsigned n, struct unpacker *u,
                                     struct manner how, struct decoded *out)
{
    static const struct db_value nothing = {.type = DB_BLOB};
    const struct db_value *packed = out->content == &c[COL_PAYLOAD_BLOB] ? out->content : &nothing;
    struct db_value content = {.type = DB_BLOB};
    enum unpacked why = se__unpack_size(u->packing, c[COL_ENCODING].number, packed->bytes,
                                        packed->len, &content.len, &out->dictionary);
    enum row_result r =
        decode_header(c, n, how, how.copied && why == UNPACKED ? &content : NULL, &out->item);
    if (r != ROW_ITEM)
        return r;
    if (why == UNPACKED)
        why = unpack(packed, u, how.copied, out, &content);
    if (why != UNPACKED || !content_fits(c, &content))
        return spoilt(out, why == UNPACKED ? UNPACK_DAMAGED : why);
    out->content_len = content.len;
    return ROW_ITEM;
}

static bool is_packed(const struct db_value *c, unsigned n)
{
    return n == ROW_COLUMNS && c[COL_ENCODING].type == DB_INT &&
           c[COL_ENCODING].number != ENCODING_PLAIN && in_range(&c[COL_DELETED], 0, 0);
}

static enum row_result decode(const struct db_value *c, unsigned n, struct unpacker *u,
                              struct manner how, struct decoded *out)
{
    *out = (struct decoded){0};
    bool placed = n == ROW_COLUMNS && (!u || content_of(c, &out->content));
    if (u && is_packed(c, n))
        return decode_packed(c, n, u, how, out);
    enum row_result r =
        decode_header(c, n, how, placed && how.copied ? out->content : NULL, &out->item);
    if (r != ROW_ITEM)
        return r;
    if (!placed || !content_fits(c, out->content))
        return spoilt(out, UNPACKED);
    out->content_len = out->content ? out->content->len : 0;
    return ROW_ITEM;
}

bool se__row_wants(const struct db_value *columns, unsigned n, struct unpacker *u)
{
    if (n != ROW_COLUMNS || !in_range(&columns[COL_ENCODING], ENCODING_DICTIONARY, INT8_MAX) ||
        !is_bytes(&columns[COL_PAYLOAD_BLOB]))
        return false;
    return se__unpacker_wants(u, columns[COL_ENCODING].number, columns[COL_PAYLOAD_BLOB].bytes,
                              columns[COL_PAYLOAD_BLOB].len);
}

static enum row_result decode_whole(const struct db_value *columns, unsigned n, struct unpacker *u,
                                    bool id_checked, struct tier_flaw *flaw, se_item **item)
{
    struct decoded d;
    struct manner how = {.copied = true, .id_checked = id_checked};
    enum row_result r = decode(columns, n, u, how, &d);
    if (r == ROW_ITEM)
        *item = d.item;
    if (r == ROW_CORRUPT && flaw)
        describe_flaw(columns, n, &d, flaw);
    return r;
}

enum row_result se__row_decode(const struct db_value *columns, unsigned n, struct unpacker *u,
                               struct tier_flaw *flaw, se_item **item)
{
    return decode_whole(columns, n, u, false, flaw, item);
}

enum row_result se__row_decode_of(const struct db_value *columns, unsigned n, struct unpacker *u,
                                  struct tier_flaw *flaw, se_item **item)
{
    return decode_whole(columns, n, u, true, flaw, item);
}

enum row_result se__row_look(const struct db_value *columns, unsigned n, struct unpacker *u,
                             struct tier_sight *sight)
{
    struct decoded d;
    enum row_result r = decode(columns, n, u, (struct manner){.copied = false}, &d);
    if (r == ROW_CORRUPT) {
        sight->found = TIER_CORRUPT;
        describe_flaw(columns, n, &d, &sight->flaw);
    }
    if (r != ROW_ITEM)
        return r;
    sight->found = TIER_HIT;
    sight->kind = se__item_deleted(d.item) ? RECORD_TOMBSTONE : RECORD_ITEM;
    sight->route = se__item_route(d.item);
    sight->version = se_item_version(d.item);
    memcpy(sight->record_hash, columns[COL_RECORD_HASH].bytes, SE_HASH_SIZE);
    sight->expires_at_ms = se__item_expires_at_ms(d.item);
    sight->content_len = d.content_len;
    se_item_release(d.item);
    return ROW_ITEM;
}

void se__row_hash(const struct db_value *columns, unsigned n, uint8_t out[SE_HASH_SIZE])
{
    uint8_t bytes[ROW_COLUMNS * (1 + 8 + SE_HASH_SIZE)], *at = bytes;
    for (unsigned i = 0; i < n && i < ROW_COLUMNS; i++) {
        const struct db_value *v = &columns[i];
        bool is_number = v->type == DB_INT;
        *at++ = (uint8_t)v->type;
        se__put_u64(at, is_number ? (uint64_t)v->number : is_bytes(v) ? v->len : 0);
        at += 8;
        se__hash128(0, v->bytes, is_bytes(v) ? v->len : 0, at);
        at += SE_HASH_SIZE;
    }
    se__hash128(0, bytes, (size_t)(at - bytes), out);
}

int se__row_compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
    size_t common = a_len < b_len ? a_len : b_len;
    int order = common ? memcmp(a, b, common) : 0; /* of nothing SQLite says NULL */
    if (order != 0)
        return order;
    return (a_len > b_len) - (a_len < b_len);
}
