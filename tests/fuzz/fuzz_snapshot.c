/*
 * fuzz_snapshot - the filter's file (filter/snapshot.h).
 *
 * Input: a byte of flags, the file. With the flags its length and its checksum are made right, the
 * slower checks are made (the slowest for one input in sixteen), and instead of being the file the
 * bytes say how to build one: chance seldom changes a length and what it measures together.
 *
 * Whatever the bytes are: they are a snapshot, or there is a reason why not. What decodes restores
 * into a filter, or is refused part by part; and, if every part was taken, gives all its digests and
 * encodes to a snapshot that decodes to the same.
 */
#include "fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "filter/snapshot.h"

enum { FIX_SUM = 1, FIX_TOTAL = 2, ADD_MORE = 4, ENCODE = 8, BUILD = 16 };
enum {
    AT_LAYOUT = 8,
    AT_BUCKETS = 12,
    AT_TOTAL = 16,
    AT_NAMES = 48,
    AT_PARTS = 56,
    FIXED_SIZE = 568,
    BUCKET_SIZE = 26
};

static struct tier_node nodes[SNAPSHOT_BUCKETS], nodes_again[SNAPSHOT_BUCKETS];

static void fix(uint8_t *bytes, size_t len, uint8_t flags)
{
    if (len < FIXED_SIZE + SE_HASH_SIZE)
        return;
    if (flags & FIX_TOTAL)
        se__put_u64(bytes + AT_TOTAL, len);
    if (flags & FIX_SUM)
        se__hash128(0, bytes, len - SE_HASH_SIZE, bytes + len - SE_HASH_SIZE);
}

/* A file whose lengths agree, but for one byte of its head and its last bytes. The input: lengths of
 * the two names, number of digests, a byte to change in the head (where, two bytes; how), bytes too
 * many, four parts and their lengths, the body. */
static uint8_t *build(struct input *in, size_t *len)
{
    uint8_t fixed[FIXED_SIZE] = "SEFILTER";
    size_t body = 0;
    se__put_u32(fixed + AT_LAYOUT, 1);
    for (size_t at = AT_NAMES; at < AT_NAMES + 4; at += 2) {
        uint8_t n = take_byte(in) % 72;
        se__put_u16(fixed + at, n);
        body += n;
    }
    uint8_t digests = take_byte(in) % 8;
    se__put_u32(fixed + AT_BUCKETS, digests);
    body += (size_t)digests * BUCKET_SIZE;
    size_t changed = take_byte(in) * 256u;
    changed = (changed + take_byte(in)) % FIXED_SIZE;
    uint8_t how = take_byte(in);
    body += take_byte(in) % 4;
    for (int i = 0; i < 4; i++) {
        size_t at = AT_PARTS + 8u * (take_byte(in) % FILTER_PARTS);
        uint8_t n = take_byte(in);
        body += n - se__get_u64(fixed + at);
        se__put_u64(fixed + at, n);
    }
    fixed[changed] ^= how;
    *len = FIXED_SIZE + body + SE_HASH_SIZE;
    uint8_t *bytes = calloc(1, *len);
    must(bytes != NULL);
    memcpy(bytes, fixed, FIXED_SIZE);
    for (size_t i = 0; i < body; i++)
        bytes[FIXED_SIZE + i] = take_byte(in);
    return bytes;
}

static bool restore(const struct snapshot *s, struct filter *f)
{
    bool all = true;
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        se_result r = se__filter_restore_part(f, part, s->part[part], s->part_len[part]);
        must(r == SE_OK || r == SE_ERR_CORRUPT);
        all = all && r == SE_OK;
    }
    return all;
}

/* A part that says nothing but that it is not full, and has no table, is an empty one. */
static uint64_t part_len(const struct snapshot *s, unsigned part)
{
    return s->part_len[part] == 8 ? 8 * s->part[part][7] : s->part_len[part];
}

static void check_encodes(const struct snapshot *s, const struct filter *f)
{
    struct buf out = {0};
    struct snapshot again;
    const char *why = NULL;
    se__snapshot_nodes(s, nodes);
    must(se__snapshot_encode(&s->head, nodes, f, &out) == SE_OK);
    must(se__snapshot_decode(out.data, out.len, &again, &why));
    must(memcmp(&again.head, &s->head, sizeof again.head) == 0);
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        must(again.part_len[part] == part_len(s, part));
        must(memcmp(again.part[part], s->part[part], again.part_len[part]) == 0);
    }
    se__snapshot_nodes(&again, nodes_again);
    must(memcmp(nodes, nodes_again, sizeof nodes) == 0);
    se__buf_done(&out);
}

/* A filter made of anything still keeps its word about what is added to it. */
static void check_lives(struct filter *f)
{
    char id[16];
    struct filter_stats stats;
    se__filter_believe(f, ~0u);
    for (int i = 0; i < 64; i++) {
        snprintf(id, sizeof id, "id%d", i);
        se__filter_add(f, id, strlen(id));
        must(se__filter_has(f, id, strlen(id)) && !se__filter_excludes(f, id, strlen(id)));
    }
    se__filter_stats(f, &stats);
}

/* Every byte of the file belongs to something. */
static void check_all_told(const struct snapshot *s, size_t len)
{
    must(memchr(s->head.incarnation, '\0', sizeof s->head.incarnation) != NULL);
    must(memchr(s->head.table, '\0', sizeof s->head.table) != NULL);
    size_t told = FIXED_SIZE + strlen(s->head.incarnation) + strlen(s->head.table) +
                  (size_t)s->buckets_n * BUCKET_SIZE + SE_HASH_SIZE;
    for (unsigned part = 0; part < FILTER_PARTS; part++)
        told += s->part_len[part];
    must(told == len);
}

static void try_snapshot(const struct snapshot *s, size_t len, uint8_t flags, bool seldom)
{
    struct filter *f = NULL;
    check_all_told(s, len);
    must(se__filter_open(s->head.seed, &f) == SE_OK);
    if (restore(s, f) && flags & ENCODE && seldom)
        check_encodes(s, f);
    if (flags & ADD_MORE)
        check_lives(f);
    se__filter_close(f);
}

/* One in sixteen, by chance that does not change from run to run: encoding looks at 65,536 digests. */
static bool is_seldom(const uint8_t *data, size_t size)
{
    return se__hash64(0, data, size) % 16 == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct snapshot s;
    const char *why = NULL;
    size_t len;
    uint8_t flags = take_byte(&in);
    uint8_t *bytes = flags & BUILD ? build(&in, &len) : take_copy(&in, SIZE_MAX, false, &len);
    fix(bytes, len, flags);
    if (se__snapshot_decode(bytes, len, &s, &why))
        try_snapshot(&s, len, flags, is_seldom(data, size));
    else
        must(why != NULL && why[0] != '\0');
    free(bytes);
    return 0;
}
