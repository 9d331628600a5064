/*
 * fuzz_record - the byte form of items (item/record.h), and what a reader of Redis makes of it.
 *
 * Input: a byte of flags, the length of the id, the id, the record. With the flags the content's
 * length, its hash and the check are made right for the bytes there are.
 *
 * Whatever the bytes are: what decodes gives an item that encodes to the same bytes (but for the
 * record hash, which is derived, and the check over it), and that decodes again to the same. A
 * reader that asks for the whole value, and one that asks for its first bytes only, never contradict
 * each other.
 */
#include "fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "l2/reply.h"

enum { FIX_LENGTH = 1, FIX_HASH = 2, FIX_CHECK = 4, FIX_FRAME = 8 };
enum { AT_STATE_LEN = 62, AT_CONTENT_HASH = 64, AT_CONTENT_LEN = 80, AT_CHECK = 84 };

#define GENERATION UINT64_C(7)

struct sample {
    char *id;
    size_t id_len;
    uint8_t *bytes;
    size_t len;
};

/* ---- making bytes right that chance would not ---- */

static void fix_frame(uint8_t *b)
{
    memcpy(b, "SE\1", 3);
    b[3] = (uint8_t)(1 + b[3] % 4);
    b[12] &= 0x7f; /* versions have 63 bits */
    b[61] = 0;
    b[AT_STATE_LEN] = (uint8_t)(b[AT_STATE_LEN] % (SE_STATE_MAX + 1));
    if (b[3] != RECORD_ITEM)
        b[AT_STATE_LEN] = 0;
}

static void fix_check(const struct sample *s, size_t state_len)
{
    uint8_t covered[AT_CHECK + SE_STATE_MAX + SE_ID_MAX];
    memcpy(covered, s->bytes, AT_CHECK);
    memcpy(covered + AT_CHECK, s->bytes + RECORD_HEADER_SIZE, state_len);
    memcpy(covered + AT_CHECK + state_len, s->id, s->id_len);
    se__put_u32(s->bytes + AT_CHECK,
                (uint32_t)se__hash64(0, covered, AT_CHECK + state_len + s->id_len));
}

static void fix(const struct sample *s, uint8_t flags)
{
    if (s->len < RECORD_HEADER_SIZE)
        return;
    if (flags & FIX_FRAME)
        fix_frame(s->bytes);
    size_t state_len = s->bytes[AT_STATE_LEN];
    if (state_len > SE_STATE_MAX || s->len < RECORD_HEADER_SIZE + state_len)
        return;
    const uint8_t *content = s->bytes + RECORD_HEADER_SIZE + state_len;
    size_t content_len = s->len - RECORD_HEADER_SIZE - state_len;
    if (flags & FIX_LENGTH)
        se__put_u32(s->bytes + AT_CONTENT_LEN, (uint32_t)content_len);
    if (flags & FIX_HASH)
        se__hash128(0, content, content_len, s->bytes + AT_CONTENT_HASH);
    if (flags & FIX_CHECK)
        fix_check(s, state_len);
}

/* ---- what must hold ---- */

static void check_fields(const struct sample *s, const struct record *r)
{
    must(r->kind >= RECORD_ITEM && r->kind <= RECORD_LEASE);
    must(r->version <= INT64_MAX);
    must(r->route != 0 && r->route <= ITEM_ROUTE_ALL);
    must(memchr(r->state, '\0', sizeof r->state) != NULL);
    must(strcmp(r->state, "default") != 0);
    must(r->kind == RECORD_ITEM || (r->content_len == 0 && r->state[0] == '\0'));
    if (r->content)
        must(r->content + r->content_len == s->bytes + s->len);
    else
        must(s->len == RECORD_HEADER_SIZE + strlen(r->state));
}

/* The item's bytes, but for record hash and check, are those it was decoded from. */
static void check_same_bytes(const struct sample *s, const uint8_t *again, size_t again_len)
{
    must(again_len == s->len);
    must(memcmp(again, s->bytes, 20) == 0);
    must(memcmp(again + RECORD_GUARD_SIZE, s->bytes + RECORD_GUARD_SIZE,
                AT_CHECK - RECORD_GUARD_SIZE) == 0);
    must(memcmp(again + RECORD_HEADER_SIZE, s->bytes + RECORD_HEADER_SIZE,
                again_len - RECORD_HEADER_SIZE) == 0);
    if (memcmp(again + 20, s->bytes + 20, SE_HASH_SIZE) == 0)
        must(memcmp(again, s->bytes, again_len) == 0);
}

static uint8_t *encode(const se_item *item, const struct record *r, size_t *len)
{
    *len = se__record_size(item, r->kind);
    uint8_t *bytes = malloc(*len);
    must(bytes != NULL);
    se__record_encode(item, r->kind, r->generation, bytes);
    return bytes;
}

static void check_round_trip(const struct sample *s, const struct record *r)
{
    struct record back;
    size_t len, twice_len;
    se_item *item = se__record_to_item(s->id, s->id_len, r);
    must(item != NULL && se__item_deleted(item) == (r->kind == RECORD_TOMBSTONE));
    uint8_t *bytes = encode(item, r, &len);
    if (r->kind == RECORD_ITEM)
        check_same_bytes(s, bytes, len);
    must(se__record_decode(s->id, s->id_len, bytes, len, &back) == RECORD_OK);
    must(back.version == r->version && back.kind == r->kind && back.route == r->route);
    se_item *again = se__record_to_item(s->id, s->id_len, &back);
    must(again != NULL && se__item_compare(item, again) == 0);
    uint8_t *twice = encode(again, &back, &twice_len);
    must(twice_len == len && memcmp(twice, bytes, len) == 0);
    free(twice);
    free(bytes);
    se_item_release(again);
    se_item_release(item);
}

/* A reader that has the whole value. */
static struct value judge(const struct sample *s, size_t bytes_max, bool hashed)
{
    struct value v;
    struct value_ask ask = {.id = s->id,
                            .id_len = s->id_len,
                            .generation = GENERATION,
                            .bytes_max = bytes_max,
                            .hashed = hashed};
    size_t len = s->len < bytes_max ? s->len : bytes_max;
    uint8_t *bytes = malloc(len + !len);
    must(bytes != NULL);
    memcpy(bytes, s->bytes, len);
    se__reply_judge(&ask, bytes, len, &v);
    must(v.found == TIER_HIT || v.found == TIER_VOID || v.found == TIER_CORRUPT);
    must(!v.more || (v.found == TIER_HIT && hashed && s->len >= bytes_max));
    must(!v.flaw.header_fits || v.found == TIER_CORRUPT);
    free(bytes);
    return v;
}

static void check_readers(const struct sample *s)
{
    struct value whole = judge(s, SIZE_MAX, true), unhashed = judge(s, SIZE_MAX, false);
    must(!whole.more && !unhashed.more);
    must(unhashed.found == whole.found || whole.flaw.header_fits);
    const size_t CUTS[] = {RECORD_HEADER_SIZE + SE_STATE_MAX, s->len, s->len + 1};
    for (size_t i = 0; i < sizeof CUTS / sizeof *CUTS; i++) {
        if (CUTS[i] < RECORD_HEADER_SIZE + SE_STATE_MAX)
            continue; /* nobody asks for less */
        struct value cut = judge(s, CUTS[i], true);
        must(cut.found == whole.found || cut.more);
        must(cut.flaw.header_fits == whole.flaw.header_fits || cut.more);
        must(cut.record.version == whole.record.version);
    }
}

static void try_sample(const struct sample *s)
{
    struct record r, head;
    bool whole = se__record_decode(s->id, s->id_len, s->bytes, s->len, &r) == RECORD_OK;
    bool header = se__reply_header(s->bytes, s->len, s->id, s->id_len, &head);
    must(header || !whole);
    check_readers(s);
    if (!whole)
        return;
    check_fields(s, &r);
    must(head.version == r.version && head.kind == r.kind && head.content_len == r.content_len);
    if (r.kind == RECORD_TOMBSTONE || (r.kind == RECORD_ITEM && r.content))
        check_round_trip(s, &r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct sample s;
    uint8_t flags = take_byte(&in);
    /* An id comes from a caller or from a key: 1..SE_ID_MAX bytes without NUL, else of any kind. */
    s.id = (char *)take_copy(&in, take_byte(&in), true, &s.id_len);
    s.id_len = strlen(s.id);
    s.bytes = take_copy(&in, SIZE_MAX, false, &s.len);
    fix(&s, flags);
    if (s.id_len > 0)
        try_sample(&s);
    free(s.bytes);
    free(s.id);
    return 0;
}
