/* The byte form: the documented layout, and decoding as a total function. */
#include "base/bytes.h"
#include "base/hash.h"
#include "item/record.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#define ID "user:1"
#define ID_LEN 6u

static se_item *rich(void)
{
    se_item *item = se__item_new(&(struct item_spec){.id = ID,
                                                     .id_len = ID_LEN,
                                                     .content = "{\"a\":1}",
                                                     .content_len = 7,
                                                     .version = 0x0102030405060708,
                                                     .updated_at_ms = 0x1112131415161718,
                                                     .expires_at_ms = 0x2122232425262728,
                                                     .cache_ttl_ms = 0x3132333435363738,
                                                     .state = "hot",
                                                     .route = SE_ROUTE_L3});
    cr_assert_not_null(item);
    return item;
}

static uint8_t *encoded(const se_item *item, enum record_kind kind, uint64_t generation,
                        size_t *len)
{
    *len = se__record_size(item, kind);
    uint8_t *bytes = malloc(*len); /* exact, so that a step over the end is caught */
    se__record_encode(item, kind, generation, bytes);
    return bytes;
}

Test(record, layout_is_the_documented_one)
{
    se_item *item = rich();
    size_t len;
    uint8_t *b = encoded(item, RECORD_ITEM, 0x4142434445464748, &len);
    uint8_t hash[SE_HASH_SIZE], covered[84 + 3 + ID_LEN];
    cr_assert_eq(len, 88u + 3 + 7);
    cr_assert_eq(memcmp(b, "SE\1\1", 4), 0);
    cr_assert_eq(memcmp(b + 4, "\x41\x42\x43\x44\x45\x46\x47\x48\1\2\3\4\5\6\7\x08", 16), 0);
    se__item_record_hash(item, hash);
    cr_assert_eq(memcmp(b + 20, hash, 16), 0);
    cr_assert_eq(memcmp(b + 36,
                        "\x11\x12\x13\x14\x15\x16\x17\x18\x21\x22\x23\x24\x25\x26\x27\x28\x31\x32"
                        "\x33\x34\x35\x36\x37\x38",
                        24),
                 0);
    cr_assert_eq(memcmp(b + 60, "\2\0\3\2", 4), 0); /* JSON, plain, length of "hot", L3 */
    se_item_hash(item, hash);
    cr_assert_eq(memcmp(b + 64, hash, 16), 0);
    cr_assert_eq(memcmp(b + 80, "\0\0\0\7", 4), 0);
    cr_assert_eq(memcmp(b + 88, "hot{\"a\":1}", 10), 0);
    memcpy(covered, b, 84);
    memcpy(covered + 84, "hot" ID, 3 + ID_LEN);
    cr_assert_eq(se__get_u32(b + 84), (uint32_t)se__hash64(0, covered, sizeof covered));
    free(b);
    se_item_release(item);
}

Test(record, an_item_comes_back)
{
    se_item *item = rich();
    size_t len;
    uint8_t *b = encoded(item, RECORD_ITEM, 5, &len);
    struct record r;
    cr_assert_eq(se__record_decode(ID, ID_LEN, b, len, &r), RECORD_OK);
    cr_assert(r.kind == RECORD_ITEM && r.generation == 5 && r.version == se_item_version(item));
    cr_assert_str_eq(r.state, "hot");
    cr_assert(r.content == b + 91 && r.content_len == 7);
    se_item *back = se__record_to_item(ID, ID_LEN, &r);
    uint8_t hash[SE_HASH_SIZE];
    se__item_record_hash(back, hash);
    cr_assert_eq(memcmp(hash, r.record_hash, SE_HASH_SIZE), 0);
    cr_assert_eq(se__item_compare(item, back), 0);
    cr_assert_eq(se_item_updated_at_ms(back), se_item_updated_at_ms(item));
    cr_assert(se__item_intact(back));
    size_t again_len;
    uint8_t *again = encoded(back, RECORD_ITEM, 5, &again_len);
    cr_assert(again_len == len && memcmp(again, b, len) == 0);
    free(again);
    free(b);
    se_item_release(back);
    se_item_release(item);
}

Test(record, a_tombstone_comes_back)
{
    se_item *item = se__item_new(&(struct item_spec){.id = ID,
                                                     .id_len = ID_LEN,
                                                     .version = 9,
                                                     .updated_at_ms = 4,
                                                     .deleted = true,
                                                     .route = SE_ROUTE_L2});
    /* Asked for as an item or not, a delete is a tombstone. */
    for (int kind = RECORD_ITEM; kind <= RECORD_TOMBSTONE; kind++) {
        size_t len;
        uint8_t *b = encoded(item, (enum record_kind)kind, 0, &len);
        cr_assert_eq(len, RECORD_HEADER_SIZE);
        struct record r;
        cr_assert_eq(se__record_decode(ID, ID_LEN, b, len, &r), RECORD_OK);
        cr_assert_eq(r.kind, RECORD_TOMBSTONE);
        se_item *back = se__record_to_item(ID, ID_LEN, &r);
        cr_assert(se__item_deleted(back));
        cr_assert_eq(se__item_compare(item, back), 0);
        cr_assert(se__item_intact(back));
        free(b);
        se_item_release(back);
    }
    se_item_release(item);
}

Test(record, stand_ins_carry_the_writes_version_and_hash)
{
    se_item *item = rich();
    uint8_t hash[SE_HASH_SIZE], empty[SE_HASH_SIZE];
    se__item_record_hash(item, hash);
    se__hash128(0, NULL, 0, empty);
    for (int kind = RECORD_TOMBSTONE; kind <= RECORD_FLOOR; kind++) {
        size_t len;
        uint8_t *b = encoded(item, (enum record_kind)kind, 3, &len);
        struct record r;
        cr_assert_eq(len, RECORD_HEADER_SIZE);
        cr_assert_eq(se__record_decode(ID, ID_LEN, b, len, &r), RECORD_OK);
        cr_assert((int)r.kind == kind && r.version == se_item_version(item) && r.generation == 3);
        cr_assert_eq(memcmp(r.record_hash, hash, SE_HASH_SIZE), 0);
        cr_assert_eq(memcmp(r.content_hash, empty, SE_HASH_SIZE), 0);
        cr_assert(r.content_len == 0 && r.state[0] == '\0' && r.expires_at_ms == 0);
        free(b);
    }
    se_item_release(item);
}

Test(record, a_lease_comes_back)
{
    uint8_t token[SE_HASH_SIZE] = {1, 2, 3, [15] = 9}, b[RECORD_HEADER_SIZE];
    se__record_encode_lease(ID, ID_LEN, 77, token, b);
    struct record r;
    cr_assert_eq(se__record_decode(ID, ID_LEN, b, sizeof b, &r), RECORD_OK);
    cr_assert(r.kind == RECORD_LEASE && r.generation == 77 && r.version == 0);
    cr_assert_eq(memcmp(r.content_hash, token, SE_HASH_SIZE), 0);
    cr_assert_eq(se__record_decode("user:2", ID_LEN, b, sizeof b, &r), RECORD_GARBAGE);
}

Test(record, the_header_alone_decodes_without_content)
{
    se_item *item = rich();
    size_t len;
    uint8_t *b = encoded(item, RECORD_ITEM, 0, &len);
    struct record r;
    cr_assert_eq(se__record_decode(ID, ID_LEN, b, RECORD_HEADER_SIZE + 3, &r), RECORD_OK);
    cr_assert_null(r.content);
    cr_assert_eq(r.content_len, 7u);
    cr_assert_str_eq(r.state, "hot");
    free(b);
    se_item_release(item);
}

Test(record, an_empty_content_is_there_at_once)
{
    se_item *item = se__item_new(&(struct item_spec){.id = ID, .id_len = ID_LEN, .version = 1});
    size_t len;
    uint8_t *b = encoded(item, RECORD_ITEM, 0, &len);
    struct record r;
    cr_assert_eq(se__record_decode(ID, ID_LEN, b, len, &r), RECORD_OK);
    cr_assert_not_null(r.content);
    se_item *back = se__record_to_item(ID, ID_LEN, &r);
    cr_assert_not(se__item_deleted(back));
    se_item_release(back);
    se_item_release(item);
    free(b);
}

/* Decodes a copy of exactly these bytes. */
static enum record_result decode(const char *id, size_t id_len, const uint8_t *bytes, size_t len,
                                 struct record *r)
{
    uint8_t *exact = malloc(len ? len : 1);
    memcpy(exact, bytes, len);
    enum record_result result = se__record_decode(id, id_len, exact, len, r);
    if (result == RECORD_OK && r->content) { /* the borrowed bytes may be read, to the last one */
        uint8_t hash[SE_HASH_SIZE];
        se__hash128(0, r->content, r->content_len, hash);
        r->content = NULL;
        /* for the caller: intact */
        r->generation = memcmp(hash, r->content_hash, SE_HASH_SIZE) == 0;
    }
    free(exact);
    return result;
}

Test(record, every_changed_byte_is_noticed)
{
    se_item *item = rich();
    size_t len;
    uint8_t *b = encoded(item, RECORD_ITEM, 0, &len);
    struct record r;
    for (size_t at = 0; at < len; at++)
        for (int flip = 1; flip < 256; flip++) {
            b[at] ^= (uint8_t)flip;
            enum record_result result = decode(ID, ID_LEN, b, len, &r);
            if (at < RECORD_HEADER_SIZE + 3)
                cr_assert_eq(result, RECORD_GARBAGE, "byte %zu ^ %d", at, flip);
            else /* content: its hash says so, which the reader of the content looks at */
                cr_assert(result == RECORD_OK && !r.generation, "byte %zu ^ %d", at, flip);
            b[at] ^= (uint8_t)flip;
        }
    cr_assert_eq(decode(ID, ID_LEN, b, len, &r), RECORD_OK);
    free(b);
    se_item_release(item);
}

Test(record, only_the_two_right_lengths_decode)
{
    se_item *item = rich();
    size_t len;
    uint8_t *b = encoded(item, RECORD_ITEM, 0, &len);
    uint8_t longer[200] = {0};
    memcpy(longer, b, len);
    for (size_t n = 0; n < sizeof longer; n++) {
        struct record r;
        bool right = n == len || n == RECORD_HEADER_SIZE + 3;
        cr_assert_eq(decode(ID, ID_LEN, longer, n, &r), right ? RECORD_OK : RECORD_GARBAGE, "%zu",
                     n);
    }
    free(b);
    se_item_release(item);
}

Test(record, another_id_does_not_decode)
{
    se_item *item = rich();
    size_t len;
    uint8_t *b = encoded(item, RECORD_ITEM, 0, &len);
    struct record r;
    const char *others[] = {"user:2", "User:1", "user:11", "user:", "u", ""};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        cr_assert_eq(se__record_decode(others[i], strlen(others[i]), b, len, &r), RECORD_GARBAGE,
                     "%s", others[i]);
    static char longest[SE_ID_MAX + 1];
    memset(longest, 'x', sizeof longest);
    cr_assert_eq(se__record_decode(longest, SE_ID_MAX + 1, b, len, &r), RECORD_GARBAGE);
    cr_assert_eq(se__record_decode(longest, SE_ID_MAX, b, len, &r), RECORD_GARBAGE);
    free(b);
    se_item_release(item);
}

/* Makes the check fit again, as an attacker could. */
static void seal(uint8_t *b, size_t state_len)
{
    uint8_t covered[84 + SE_STATE_MAX + ID_LEN];
    memcpy(covered, b, 84);
    memcpy(covered + 84, b + 88, state_len);
    memcpy(covered + 84 + state_len, ID, ID_LEN);
    se__put_u32(b + 84, (uint32_t)se__hash64(0, covered, 84 + state_len + ID_LEN));
}

Test(record, fields_out_of_range_are_garbage_even_with_a_good_check)
{
    se_item *item = rich();
    size_t len;
    uint8_t *b = encoded(item, RECORD_ITEM, 0, &len), copy[200];
    struct change {
        size_t at;
        int value;
    } changes[] = {{0, 'T'},
                   {1, 0},
                   {2, 0},
                   {2, 2},
                   {3, 0},
                   {3, 5},
                   {3, 255},
                   {3, RECORD_TOMBSTONE},
                   {3, RECORD_FLOOR},
                   {3, RECORD_LEASE},
                   {12, 0x80},
                   {12, 0xff},
                   {60, 0},
                   {60, 3},
                   {61, 1},
                   {62, 33},
                   {62, 255},
                   {63, 0},
                   {63, 4},
                   {63, 255},
                   {80, 1},
                   {83, 6},
                   {83, 8},
                   {88, 0},
                   {88, 0x1f},
                   {88, 0x7f},
                   {88, 0x80},
                   {88, 0xff}};
    struct record r;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        memcpy(copy, b, len);
        copy[changes[i].at] = (uint8_t)changes[i].value;
        seal(copy, copy[62] <= SE_STATE_MAX ? copy[62] : 0);
        cr_assert_eq(decode(ID, ID_LEN, copy, len, &r), RECORD_GARBAGE, "byte %zu = %d",
                     changes[i].at, changes[i].value);
    }
    memcpy(copy, b, len);
    seal(copy, 3);
    cr_assert_eq(decode(ID, ID_LEN, copy, len, &r), RECORD_OK); /* the seal is the right one */
    memcpy(copy + 88, "default", 7);
    copy[62] = 7;
    copy[83] = 3;
    seal(copy, 7);
    cr_assert_eq(decode(ID, ID_LEN, copy, len, &r),
                 RECORD_GARBAGE); /* has one form only: no state */
    free(b);
    se_item_release(item);
}

Test(record, any_bytes_give_an_answer)
{
    uint64_t state = 99;
    uint8_t bytes[160];
    for (int i = 0; i < 300000; i++) {
        for (size_t k = 0; k < sizeof bytes; k++) {
            state = state * UINT64_C(6364136223846793005) + 1;
            bytes[k] = (uint8_t)(state >> 56);
        }
        size_t len = (size_t)(state >> 40) % sizeof bytes;
        if (i & 1) { /* past the first checks, with a check that fits */
            memcpy(bytes, "SE\1", 3);
            bytes[3] = (uint8_t)(1 + bytes[3] % 4);
            bytes[12] &= 0x7f;
            bytes[60] = (uint8_t)(1 + (bytes[60] & 1));
            bytes[61] = 0;
            bytes[62] = bytes[62] % 40;
            bytes[63] = (uint8_t)(1 + bytes[63] % 3);
            se__put_u32(bytes + 80, bytes[80] & 63u);
            seal(bytes, bytes[62] <= SE_STATE_MAX ? bytes[62] : 0);
        }
        struct record r;
        enum record_result result = decode(ID, ID_LEN, bytes, len, &r);
        cr_assert(result == RECORD_GARBAGE || (i & 1));
    }
}
