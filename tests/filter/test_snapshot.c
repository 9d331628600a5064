/*
 * snapshot: what was encoded is decoded; anything else is refused, whatever the bytes.
 */
#include "filter/snapshot.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "filter/ids.h"
#include "support/test.h"

#define SUM_SIZE SE_HASH_SIZE
#define AT_BUCKETS 12 /* as the format says */
#define AT_TOTAL 16
#define AT_INCARNATION_LEN 48
#define AT_TABLE_LEN 50
#define AT_PARTS 56
#define FIXED 568
#define BUCKET 26

static const struct snapshot_head HEAD = {.incarnation = "db-1",
                                          .table = "items",
                                          .seed = 77,
                                          .position = UINT64_C(0x123456789abcdef0),
                                          .taken_at_ms = 1700000000000};

static struct tier_node *new_nodes(void)
{
    struct tier_node *nodes = se__alloc_zeroed(SNAPSHOT_BUCKETS, sizeof *nodes);
    cr_assert(nodes);
    return nodes;
}

static void set_node(struct tier_node *node, uint64_t count, uint8_t byte)
{
    node->count = count;
    memset(node->digest, byte, SE_HASH_SIZE);
}

/* Ids 0 .. n - 1, and digests of three buckets. */
static void make(uint64_t n, struct buf *file)
{
    struct filter *f;
    struct tier_node *nodes = new_nodes();
    cr_assert_eq(se__filter_open(HEAD.seed, &f), SE_OK);
    for (uint64_t i = 0; i < n; i++)
        add_id(f, i);
    set_node(&nodes[0], 1, 1);
    set_node(&nodes[1000], UINT64_C(1) << 40, 0); /* a XOR may be zero */
    set_node(&nodes[65535], 3, 3);
    cr_assert_eq(se__snapshot_encode(&HEAD, nodes, f, file), SE_OK);
    se__filter_close(f);
    se__free(nodes);
}

static void sign(struct buf *file)
{
    uint8_t *bytes = (uint8_t *)file->data;
    se__hash128(0, bytes, file->len - SUM_SIZE, bytes + file->len - SUM_SIZE);
}

static bool is_sound(const struct buf *file)
{
    struct snapshot s;
    const char *why = NULL;
    bool sound = se__snapshot_decode(file->data, file->len, &s, &why);
    cr_assert(sound || (why && *why));
    return sound;
}

Test(snapshot, comes_back)
{
    struct buf file = {0};
    struct snapshot s;
    const char *why;
    struct filter *f;
    struct tier_node *nodes = new_nodes(), node;
    make(5000, &file);
    cr_assert(se__snapshot_decode(file.data, file.len, &s, &why), "%s", why);
    cr_assert_str_eq(s.head.incarnation, "db-1");
    cr_assert_str_eq(s.head.table, "items");
    cr_assert_eq(s.head.seed, 77);
    cr_assert_eq(s.head.position, HEAD.position);
    cr_assert_eq(s.head.taken_at_ms, HEAD.taken_at_ms);

    cr_assert_eq(se__filter_open(s.head.seed, &f), SE_OK);
    for (unsigned part = 0; part < FILTER_PARTS; part++)
        cr_assert_eq(se__filter_restore_part(f, part, s.part[part], s.part_len[part]), SE_OK);
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < 5000; i++) {
        cr_assert(has_id(f, i));
        wrong += has_id(f, ABSENT + i);
    }
    cr_assert_lt(wrong, 20);
    se__filter_close(f);

    memset(nodes, 0xff, SNAPSHOT_BUCKETS * sizeof *nodes);
    se__snapshot_nodes(&s, nodes);
    set_node(&node, 1, 1);
    cr_assert_eq(nodes[0].count, 1);
    cr_assert(memcmp(nodes[0].digest, node.digest, SE_HASH_SIZE) == 0);
    cr_assert_eq(nodes[1000].count, UINT64_C(1) << 40);
    cr_assert_eq(nodes[65535].count, 3);
    cr_assert_eq(nodes[1].count, 0);
    cr_assert_eq(nodes[1].digest[5], 0);
    se__free(nodes);
    se__buf_done(&file);
}

Test(snapshot, is_appended)
{
    struct buf file = {0};
    se__buf_text(&file, "before");
    make(3, &file);
    struct snapshot s;
    const char *why;
    cr_assert(memcmp(file.data, "before", 6) == 0);
    cr_assert(se__snapshot_decode(file.data + 6, file.len - 6, &s, &why), "%s", why);
    se__buf_done(&file);
}

Test(snapshot, is_the_documented_format)
{
    struct buf file = {0};
    make(0, &file); /* no part holds anything */
    const uint8_t *at = (const uint8_t *)file.data;
    cr_assert_eq(file.len, FIXED + 4 + 5 + 3 * BUCKET + SUM_SIZE);
    cr_assert(memcmp(at, "SEFILTER\0\0\0\1\0\0\0\3", 16) == 0);
    cr_assert_eq(se__get_u64(at + AT_TOTAL), file.len);
    cr_assert_eq(se__get_u64(at + 24), 77);
    cr_assert(memcmp(at + FIXED, "db-1items", 9) == 0);
    cr_assert_eq(se__get_u16(at + FIXED + 9 + BUCKET), 1000);
    cr_assert(is_sound(&file));
    se__buf_done(&file);
}

Test(snapshot, every_flipped_byte_is_noticed)
{
    struct buf file = {0};
    make(3, &file);
    for (size_t i = 0; i < file.len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            file.data[i] = (char)(file.data[i] ^ 1 << bit);
            cr_assert_not(is_sound(&file), "byte %zu, bit %u", i, bit);
            file.data[i] = (char)(file.data[i] ^ 1 << bit);
        }
    }
    cr_assert(is_sound(&file));
    se__buf_done(&file);
}

Test(snapshot, truncated_anywhere_it_is_refused)
{
    struct buf file = {0};
    make(3, &file);
    size_t whole = file.len;
    for (size_t len = 0; len < whole; len++) {
        /* A copy of just so many bytes: a read beyond them is seen by the sanitizer. */
        struct buf part = {0};
        se__buf_append(&part, file.data, len);
        cr_assert_not(is_sound(&part), "%zu bytes", len);
        if (len >= SUM_SIZE + FIXED) { /* the sum fits, the length does not */
            sign(&part);
            cr_assert_not(is_sound(&part));
        }
        se__buf_done(&part);
    }
    se__buf_append(&file, "", 1);
    cr_assert_not(is_sound(&file));
    se__buf_done(&file);
}

static const char *why_not(const struct buf *file)
{
    struct snapshot s;
    const char *why = "";
    return se__snapshot_decode(file->data, file->len, &s, &why) ? "sound" : why;
}

Test(snapshot, the_reason_is_told)
{
    struct buf file = {0}, none = {0};
    cr_assert(strstr(why_not(&none), "truncated"));
    make(3, &file);
    file.data[11] = 2;
    sign(&file);
    cr_assert(strstr(why_not(&file), "layout"));
    file.data[11] = 1;
    file.data[0] = 's';
    cr_assert(strstr(why_not(&file), "no filter snapshot"));
    file.data[0] = 'S';
    cr_assert(strstr(why_not(&file), "checksum"));
    sign(&file);
    cr_assert_str_eq(why_not(&file), "sound");
    file.len--;
    cr_assert(strstr(why_not(&file), "truncated"));
    se__buf_done(&file);
}

/* Lengths and numbers that lie, under a sum that fits. */
static void expect_refused_u64(struct buf *file, size_t at, uint64_t value)
{
    uint8_t *bytes = (uint8_t *)file->data;
    uint64_t was = se__get_u64(bytes + at);
    se__put_u64(bytes + at, value);
    sign(file);
    cr_assert_not(is_sound(file), "%llu at %zu", (unsigned long long)value, at);
    se__put_u64(bytes + at, was);
    sign(file);
    cr_assert(is_sound(file));
}

static void expect_refused_u16(struct buf *file, size_t at, uint16_t value)
{
    uint8_t *bytes = (uint8_t *)file->data;
    uint16_t was = se__get_u16(bytes + at);
    se__put_u16(bytes + at, value);
    sign(file);
    cr_assert_not(is_sound(file), "%u at %zu", value, at);
    se__put_u16(bytes + at, was);
    sign(file);
    cr_assert(is_sound(file));
}

Test(snapshot, lengths_that_lie_are_refused)
{
    static const uint64_t lies[] = {1,         1u << 20, UINT32_MAX, UINT64_MAX / 2, UINT64_MAX - 7,
                                    UINT64_MAX};
    struct buf file = {0};
    make(3, &file);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        expect_refused_u64(&file, AT_TOTAL, lies[i]);
        for (unsigned part = 0; part < FILTER_PARTS; part++)
            expect_refused_u64(&file, AT_PARTS + 8 * part, lies[i]);
        expect_refused_u16(&file, AT_BUCKETS, (uint16_t)(lies[i] | 1));
        expect_refused_u16(&file, AT_BUCKETS + 2, (uint16_t)(lies[i] + 9));
        expect_refused_u16(&file, AT_INCARNATION_LEN, (uint16_t)(lies[i] + 64));
        expect_refused_u16(&file, AT_TABLE_LEN, (uint16_t)(lies[i] + 64));
        expect_refused_u16(&file, AT_TABLE_LEN + 2, (uint16_t)(lies[i] | 1));
    }
    se__buf_done(&file);
}

Test(snapshot, buckets_out_of_order_and_names_with_zeros_are_refused)
{
    struct buf file = {0};
    make(0, &file);
    size_t buckets = FIXED + 9;
    expect_refused_u16(&file, buckets, 1000);       /* twice */
    expect_refused_u16(&file, buckets + BUCKET, 0); /* twice */
    expect_refused_u16(&file, buckets + 2 * BUCKET, 999);
    expect_refused_u16(&file, FIXED + 1, 0);
    expect_refused_u16(&file, FIXED + 6, 0);
    se__buf_done(&file);
}

/* Whatever is behind a sum that fits: no crash, and the filter takes the parts or says no. */
Test(snapshot, any_bytes_are_decoded_safely)
{
    struct buf file = {0};
    struct tier_node *nodes = new_nodes();
    uint64_t x = 1;
    make(3, &file);
    for (unsigned round = 0; round < 200000 / SCALE; round++) {
        struct buf copy = {0};
        struct snapshot s;
        const char *why;
        se__buf_append(&copy, file.data, file.len);
        for (unsigned i = 0; i <= round % 4; i++) {
            x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            /* mostly the head, where everything else is steered from */
            size_t at = (x >> 33) % (i % 2 ? copy.len : FIXED + 20);
            copy.data[at] = (char)(x >> 24);
        }
        sign(&copy);
        if (se__snapshot_decode(copy.data, copy.len, &s, &why)) {
            struct filter *f;
            se__snapshot_nodes(&s, nodes);
            cr_assert_eq(se__filter_open(s.head.seed, &f), SE_OK);
            for (unsigned part = 0; part < FILTER_PARTS; part++)
                if (se__filter_restore_part(f, part, s.part[part], s.part_len[part]) == SE_OK)
                    (void)has_id(f, part);
            se__filter_close(f);
        }
        se__buf_done(&copy);
    }
    se__free(nodes);
    se__buf_done(&file);
}

Test(snapshot, without_memory_nothing_is_appended)
{
    struct filter *f;
    struct tier_node *nodes = new_nodes();
    cr_assert_eq(se__filter_open(1, &f), SE_OK);
    add_id(f, 1);
    for (int64_t n = 0; n < 4; n++) {
        struct buf file = {0};
        if (!se__mem_fail_after(n))
            cr_skip_test("release build");
        se_result r = se__snapshot_encode(&HEAD, nodes, f, &file);
        se__mem_fail_after(-1);
        cr_assert(r == SE_OK || (r == SE_ERR_NOMEM && file.len == 0));
        cr_assert(n > 0 || r == SE_ERR_NOMEM);
        se__buf_done(&file);
    }
    se__filter_close(f);
    se__free(nodes);
}
