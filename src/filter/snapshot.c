/*
 * snapshot - see snapshot.h.
 *
 * File format, layout 1; integers are big-endian:
 *
 *     0   8  magic "SEFILTER"
 *     8   4  layout, 1
 *    12   4  buckets: how many digests there are, at most 65,536
 *    16   8  bytes of the whole file
 *    24   8  seed
 *    32   8  position
 *    40   8  taken at, Unix milliseconds
 *    48   2  bytes of the incarnation, at most 63
 *    50   2  bytes of the table's name, at most 63
 *    52   4  zero
 *    56 512  bytes of each of the 64 parts, u64
 *   568      incarnation, table; the parts in their order (filter/cuckoo.h: se__cuckoo_copy)
 *            26 bytes a digest, of buckets that are not empty, ascending: bucket u16, rows u64, XOR
 *        16  XXH3-128 of everything before
 *
 * Whoever can write the file can make the filter lie: the sum finds damage, not malice. But no bytes
 * make the decoder read outside of them or allocate: it only points into them.
 */
#include "filter/snapshot.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char magic[8] = "SEFILTER";

#define LAYOUT 1u
#define AT_LAYOUT 8u
#define AT_BUCKETS 12u
#define AT_TOTAL 16u
#define AT_SEED 24u
#define AT_POSITION 32u
#define AT_TAKEN 40u
#define AT_INCARNATION_LEN 48u
#define AT_TABLE_LEN 50u
#define AT_ZERO 52u
#define AT_PARTS 56u
#define FIXED_SIZE (AT_PARTS + 8u * FILTER_PARTS)
#define BUCKET_SIZE (2u + 8u + SE_HASH_SIZE)

static_assert(FIXED_SIZE == 568, "as the format says");

/* ---- encoding ---- */

static bool is_empty(const struct tier_node *node)
{
    static const uint8_t zeros[SE_HASH_SIZE];
    return node->count == 0 && memcmp(node->digest, zeros, SE_HASH_SIZE) == 0;
}

static uint32_t append_buckets(const struct tier_node *nodes, struct buf *out)
{
    uint32_t n = 0;
    for (uint32_t bucket = 0; bucket < SNAPSHOT_BUCKETS; bucket++) {
        uint8_t entry[BUCKET_SIZE];
        if (is_empty(&nodes[bucket]))
            continue;
        se__put_u16(entry, (uint16_t)bucket);
        se__put_u64(entry + 2, nodes[bucket].count);
        memcpy(entry + 10, nodes[bucket].digest, SE_HASH_SIZE);
        se__buf_append(out, entry, sizeof entry);
        n++;
    }
    return n;
}

/* Appends the parts; their sizes are known only now. */
static se_result append_parts(const struct filter *f, struct buf *out, uint8_t *lengths)
{
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        size_t before = out->len;
        se_result r = se__filter_copy_part(f, part, out);
        if (r != SE_OK)
            return r;
        if (out->failed)
            return se__error_nomem();
        se__put_u64(lengths + 8u * part, out->len - before);
    }
    return SE_OK;
}

static void fill_fixed(const struct snapshot_head *head, uint32_t buckets_n, uint64_t total,
                       uint8_t fixed[FIXED_SIZE])
{
    memcpy(fixed, magic, sizeof magic);
    se__put_u32(fixed + AT_LAYOUT, LAYOUT);
    se__put_u32(fixed + AT_BUCKETS, buckets_n);
    se__put_u64(fixed + AT_TOTAL, total);
    se__put_u64(fixed + AT_SEED, head->seed);
    se__put_u64(fixed + AT_POSITION, head->position);
    se__put_u64(fixed + AT_TAKEN, (uint64_t)head->taken_at_ms);
    se__put_u16(fixed + AT_INCARNATION_LEN, (uint16_t)strlen(head->incarnation));
    se__put_u16(fixed + AT_TABLE_LEN, (uint16_t)strlen(head->table));
}

static se_result encode(const struct snapshot_head *head, const struct tier_node *nodes,
                        const struct filter *f, struct buf *out, size_t start)
{
    uint8_t fixed[FIXED_SIZE] = {0}, sum[SE_HASH_SIZE];
    se__buf_append(out, fixed, sizeof fixed);
    se__buf_text(out, head->incarnation);
    se__buf_text(out, head->table);
    se_result r = append_parts(f, out, fixed + AT_PARTS);
    if (r != SE_OK)
        return r;
    uint32_t buckets_n = append_buckets(nodes, out);
    if (out->failed)
        return se__error_nomem();
    fill_fixed(head, buckets_n, out->len - start + sizeof sum, fixed);
    memcpy(out->data + start, fixed, sizeof fixed);
    se__hash128(0, out->data + start, out->len - start, sum);
    se__buf_append(out, sum, sizeof sum);
    return out->failed ? se__error_nomem() : SE_OK;
}

se_result se__snapshot_encode(const struct snapshot_head *head, const struct tier_node *nodes,
                              const struct filter *f, struct buf *out)
{
    size_t start = out->len;
    assert(memchr(head->incarnation, '\0', sizeof head->incarnation));
    assert(memchr(head->table, '\0', sizeof head->table));
    se_result r = encode(head, nodes, f, out, start);
    if (r != SE_OK && out->len > start)
        out->len = start;
    return r;
}

/* ---- decoding ---- */

/* What is left to be taken of the bytes between the fixed fields and the sum. */
struct rest {
    const uint8_t *at;
    uint64_t left;
};

/* `len` bytes, or NULL if there are not so many. */
static const uint8_t *take(struct rest *rest, uint64_t len)
{
    if (len > rest->left)
        return NULL;
    const uint8_t *at = rest->at;
    rest->at += len;
    rest->left -= len;
    return at;
}

static bool take_name(struct rest *rest, uint16_t len, char name[64])
{
    const uint8_t *at = len < 64 ? take(rest, len) : NULL;
    if (!at || memchr(at, '\0', len))
        return false;
    memcpy(name, at, len);
    name[len] = '\0';
    return true;
}

static bool ascend(const uint8_t *buckets, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        const uint8_t *entry = buckets + (size_t)i * BUCKET_SIZE;
        if (se__get_u16(entry) <= se__get_u16(entry - BUCKET_SIZE))
            return false;
    }
    return true;
}

/* Why these are no bytes of a snapshot at all, or not all of them; NULL: they are. */
static const char *check_frame(const uint8_t *bytes, size_t len)
{
    uint8_t sum[SE_HASH_SIZE];
    if (len < FIXED_SIZE + sizeof sum)
        return len >= sizeof magic && memcmp(bytes, magic, sizeof magic) != 0
                   ? "it is no filter snapshot"
                   : "it is truncated";
    if (memcmp(bytes, magic, sizeof magic) != 0)
        return "it is no filter snapshot";
    if (se__get_u32(bytes + AT_LAYOUT) != LAYOUT)
        return "its layout is not known to this version";
    if (se__get_u64(bytes + AT_TOTAL) > len)
        return "it is truncated";
    if (se__get_u64(bytes + AT_TOTAL) < len)
        return "there are bytes behind its end";
    se__hash128(0, bytes, len - sizeof sum, sum);
    return memcmp(sum, bytes + len - sizeof sum, sizeof sum) != 0 ? "its checksum does not fit"
                                                                  : NULL;
}

static const char *take_all(const uint8_t *fixed, struct rest *rest, struct snapshot *s)
{
    if (se__get_u32(fixed + AT_ZERO) != 0)
        return "its head is damaged";
    if (!take_name(rest, se__get_u16(fixed + AT_INCARNATION_LEN), s->head.incarnation) ||
        !take_name(rest, se__get_u16(fixed + AT_TABLE_LEN), s->head.table))
        return "its names are damaged";
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        s->part_len[part] = se__get_u64(fixed + AT_PARTS + 8u * part);
        s->part[part] = take(rest, s->part_len[part]);
        if (!s->part[part])
            return "its parts are longer than the file";
    }
    s->buckets_n = se__get_u32(fixed + AT_BUCKETS);
    s->buckets =
        s->buckets_n <= SNAPSHOT_BUCKETS ? take(rest, (uint64_t)s->buckets_n * BUCKET_SIZE) : NULL;
    if (!s->buckets || rest->left != 0 || !ascend(s->buckets, s->buckets_n))
        return "its digests are damaged";
    return NULL;
}

bool se__snapshot_decode(const void *bytes, size_t len, struct snapshot *out, const char **why)
{
    const uint8_t *fixed = bytes;
    *why = check_frame(fixed, len);
    if (*why)
        return false;
    struct snapshot s = {.head = {.seed = se__get_u64(fixed + AT_SEED),
                                  .position = se__get_u64(fixed + AT_POSITION),
                                  .taken_at_ms = (int64_t)se__get_u64(fixed + AT_TAKEN)}};
    struct rest rest = {fixed + FIXED_SIZE, len - FIXED_SIZE - SE_HASH_SIZE};
    *why = take_all(fixed, &rest, &s);
    if (*why)
        return false;
    *out = s;
    return true;
}

void se__snapshot_nodes(const struct snapshot *s, struct tier_node *nodes)
{
    memset(nodes, 0, SNAPSHOT_BUCKETS * sizeof *nodes);
    for (uint32_t i = 0; i < s->buckets_n; i++) {
        const uint8_t *entry = s->buckets + (size_t)i * BUCKET_SIZE;
        struct tier_node *node = &nodes[se__get_u16(entry)];
        node->count = se__get_u64(entry + 2);
        memcpy(node->digest, entry + 10, SE_HASH_SIZE);
    }
}
