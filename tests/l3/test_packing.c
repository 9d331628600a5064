/*
 * Frames: what is packed comes back; what is hostile gives an error and no more memory than allowed;
 * what is not worth it stays plain. Dictionaries and their rows in the meta table.
 */
#include "l3_packed.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define FIRST DICTIONARY_FIRST

static struct packing *open_packing(se_compression mode, size_t content_max)
{
    struct packing *p;
    cr_assert_eq(se__packing_open(mode, content_max, &p), SE_OK);
    return p;
}

/* Unpacks as a row does; the content is in the packer. */
static enum unpacked unpack(struct packer *k, const struct packing *p, int64_t encoding,
                            const void *bytes, size_t len, const char **out, size_t *size)
{
    uint32_t number;
    enum unpacked u = se__unpack_size(p, encoding, bytes, len, size, &number);
    if (u != UNPACKED)
        return u;
    char *room = se__packer_room(k, *size);
    if (!room)
        return UNPACK_NOMEM;
    *out = room;
    return se__unpack(k, bytes, len, room, *size);
}

static void check_round(struct packing *p, const void *content, size_t len, int encoding)
{
    struct packer *k = se__packer_take(p);
    struct packed packed;
    const char *back;
    size_t size;
    cr_assert(se__packer_reserve(k, len));
    cr_assert(se__pack(k, content, len, &packed));
    cr_assert_eq(packed.encoding, encoding);
    cr_assert_leq(packed.len * 8, len * 7);
    cr_assert_eq(unpack(k, p, encoding, packed.bytes, packed.len, &back, &size), UNPACKED);
    cr_assert_eq(size, len);
    cr_assert_eq(memcmp(back, content, len), 0);
    se__packer_give(k);
}

/* ---- there and back ---- */

Test(packing, contents_come_back)
{
    struct packing *with = packed_packing(0, FIRST, 0), *alone = open_packing(SE_COMPRESSION_ON, 0);
    char record[RECORD_MAX];
    for (unsigned i = 0; i < 500; i++)
        check_round(with, record, packed_record(0, i, record), ENCODING_DICTIONARY);
    static const size_t sizes[] = {64, 100, 1000, 65536, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *content = calloc(1, sizes[i]);
        content[sizes[i] / 2] = 'x';
        check_round(alone, content, sizes[i], ENCODING_ZSTD);
        check_round(with, content, sizes[i], ENCODING_DICTIONARY);
        free(content);
    }
    se__packing_close(with);
    se__packing_close(alone);
}

Test(packing, a_dictionary_makes_small_contents_much_smaller)
{
    struct packing *with = packed_packing(0, FIRST, 0), *alone = open_packing(SE_COMPRESSION_ON, 0);
    struct packer *k = se__packer_take(with), *j = se__packer_take(alone);
    size_t plain = 0, packed_with = 0, packed_alone = 0;
    char record[RECORD_MAX];
    for (unsigned i = 0; i < 200; i++) {
        struct packed p;
        size_t len = packed_record(0, i, record);
        cr_assert(se__packer_reserve(k, len) && se__packer_reserve(j, len));
        cr_assert(se__pack(k, record, len, &p));
        packed_with += p.len;
        packed_alone += se__pack(j, record, len, &p) ? p.len : len;
        plain += len;
    }
    cr_assert_lt(packed_with * 3, plain);
    cr_assert_lt(packed_with * 2, packed_alone);
    se__packer_give(k);
    se__packer_give(j);
    se__packing_close(with);
    se__packing_close(alone);
}

/* As many zeros behind noise as make the frame just short enough, and one fewer. */
Test(packing, an_eighth_must_be_saved)
{
    struct packing *p = open_packing(SE_COMPRESSION_ON, 0);
    struct packer *k = se__packer_take(p);
    char content[1000];
    bool packed_once = false, plain_once = false;
    srand(5);
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)rand();
    for (size_t zeros = 0; zeros < 400; zeros++) {
        struct packed out;
        char frame[2000];
        memset(content, 0, zeros);
        size_t n = ZSTD_compress(frame, sizeof frame, content, sizeof content, PACKING_LEVEL);
        cr_assert(se__packer_reserve(k, sizeof content));
        bool is_packed = se__pack(k, content, sizeof content, &out);
        /* exactly at the bound zstd may want a few bytes more than the frame in the end has */
        if (n > 875 || n < 860)
            cr_assert_eq(is_packed, n <= 875, "%zu bytes", n);
        cr_assert(!is_packed || out.len <= 875);
        packed_once |= is_packed;
        plain_once |= !is_packed;
    }
    cr_assert(packed_once && plain_once);
    struct packed out;
    cr_assert_not(se__pack(k, "{\"a\":1}", 7, &out), "too short to be worth a try");
    cr_assert_not(se__pack(k, "", 0, &out));
    se__packer_give(k);
    se__packing_close(p);
}

/* It is the encoding that tells, never the bytes. */
Test(packing, frames_are_packed_like_any_content)
{
    struct packing *p = open_packing(SE_COMPRESSION_ON, 0);
    char content[300] = {0x28, (char)0xb5, 0x2f, (char)0xfd};
    check_round(p, content, sizeof content, ENCODING_ZSTD);
    se__packing_close(p);
}

Test(packing, without_room_contents_stay_plain)
{
    struct packing *p = open_packing(SE_COMPRESSION_ON, 0);
    struct packer *k = se__packer_take(p);
    struct packed out[3];
    char content[1000] = {0};
    cr_assert_not(se__pack(k, content, sizeof content, &out[0]), "nothing was reserved");
    cr_assert(se__packer_reserve(k, 1000));
    cr_assert(se__pack(k, content, sizeof content, &out[0]));
    cr_assert_not(se__pack(k, content, sizeof content, &out[1]), "all but a few bytes are taken");
    cr_assert(se__packer_reserve(k, 3000));
    for (int i = 0; i < 3; i++)
        cr_assert(se__pack(k, content, sizeof content, &out[i]));
    cr_assert(out[0].bytes != out[1].bytes && out[1].bytes != out[2].bytes);
    se__packer_give(k);
    se__packing_close(p);
}

/* ---- hostile frames ---- */

/* A frame's head: magic, single segment, length of the content in 8 bytes. */
static size_t head(uint64_t claimed, uint8_t out[13])
{
    static const uint8_t magic[5] = {0x28, 0xb5, 0x2f, 0xfd, 0xe0};
    memcpy(out, magic, 5);
    for (int i = 0; i < 8; i++)
        out[5 + i] = (uint8_t)(claimed >> (8 * i));
    return 13;
}

/* Blocks of 128 KiB each in four bytes (RLE). */
static size_t bomb(uint64_t claimed, unsigned blocks, uint8_t *out)
{
    size_t n = head(claimed, out);
    for (unsigned i = 0; i < blocks; i++) {
        uint32_t block = (128u << 10) << 3 | 1u << 1 | (i + 1 == blocks);
        out[n++] = (uint8_t)block;
        out[n++] = (uint8_t)(block >> 8);
        out[n++] = (uint8_t)(block >> 16);
        out[n++] = 'x';
    }
    return n;
}

Test(packing, bombs_are_told_by_their_claim)
{
    struct packing *p = open_packing(SE_COMPRESSION_ON, 1 << 20);
    struct packer *k = se__packer_take(p);
    uint8_t frame[4096];
    const char *out;
    size_t size, n = bomb(1 << 20, 8, frame);
    cr_assert_eq(unpack(k, p, ENCODING_ZSTD, frame, n, &out, &size), UNPACKED,
                 "as long as allowed");
    static const uint64_t claims[] = {(1 << 20) + 1, 1ull << 31, 1ull << 40, UINT64_MAX - 2};
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        n = bomb(claims[i], 900, frame);
        cr_assert_eq(unpack(k, p, ENCODING_ZSTD, frame, n, &out, &size), UNPACK_TOO_LONG);
        cr_assert_eq(size, 0);
    }
    /* 112 MiB in truth, whatever it claims; then less than it claims */
    static const uint64_t lies[] = {1, 1000, 131072, 131073, 1 << 20};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        n = bomb(lies[i], 900, frame);
        cr_assert_eq(unpack(k, p, ENCODING_ZSTD, frame, n, &out, &size), UNPACK_DAMAGED);
    }
    n = bomb(1 << 20, 7, frame);
    cr_assert_eq(unpack(k, p, ENCODING_ZSTD, frame, n, &out, &size), UNPACK_DAMAGED);
    se__packer_give(k);
    se__packing_close(p);
}

/* Beyond the content's end nothing is written: the sanitizer sees it in memory of exactly its size. */
Test(packing, a_lying_frame_writes_no_further_than_it_claims)
{
    struct packing *p = open_packing(SE_COMPRESSION_ON, 0);
    struct packer *k = se__packer_take(p);
    uint8_t frame[4096];
    size_t n = bomb(100, 9, frame);
    char *out = malloc(100);
    cr_assert_eq(se__unpack(k, frame, n, out, 100), UNPACK_DAMAGED);
    free(out);
    se__packer_give(k);
    se__packing_close(p);
}

static size_t pack_kind(struct packing *p, unsigned kind, unsigned i, uint8_t *frame, char *record,
                        size_t *len)
{
    struct packer *k = se__packer_take(p);
    struct packed packed;
    *len = packed_record(kind, i, record);
    cr_assert(se__packer_reserve(k, *len) && se__pack(k, record, *len, &packed));
    memcpy(frame, packed.bytes, packed.len);
    se__packer_give(k);
    return packed.len;
}

static size_t pack_one(struct packing *p, unsigned i, uint8_t *frame, char *record, size_t *len)
{
    return pack_kind(p, 0, i, frame, record, len);
}

Test(packing, cut_and_changed_frames_are_damage)
{
    struct packing *p = packed_packing(0, FIRST, 1 << 20);
    struct packer *k = se__packer_take(p);
    uint8_t frame[RECORD_MAX];
    char record[RECORD_MAX];
    const char *out;
    size_t len, size, n = pack_one(p, 7, frame, record, &len);
    unsigned same = 0;
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, frame, cut);
        enum unpacked u = unpack(k, p, ENCODING_DICTIONARY, exact, cut, &out, &size);
        cr_assert_eq(u, UNPACK_DAMAGED, "cut at %zu of %zu: %d", cut, n, (int)u);
        free(exact);
    }
    for (size_t bit = 0; bit < 8 * n; bit++) {
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum unpacked u = unpack(k, p, ENCODING_DICTIONARY, frame, n, &out, &size);
        cr_assert_neq(u, UNPACK_ENCODING);
        same += u == UNPACKED && size == len && memcmp(out, record, len) == 0;
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_leq(same, 24, "%u bits of %zu say nothing", same, 8 * n);
    frame[n] = 0;
    cr_assert_eq(unpack(k, p, ENCODING_DICTIONARY, frame, n + 1, &out, &size), UNPACK_DAMAGED);
    memcpy(frame + n, frame, n);
    cr_assert_eq(unpack(k, p, ENCODING_DICTIONARY, frame, 2 * n, &out, &size), UNPACK_DAMAGED,
                 "one frame is one content");
    se__packer_give(k);
    se__packing_close(p);
}

Test(packing, what_is_no_frame_of_ours_is_damage)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {{NULL, 0},
                 {"", 0},
                 {"x", 1},
                 {"{\"a\":1}", 7},
                 {"\x28\xb5\x2f\xfd", 4},
                 {"\x28\xb5\x2f\xfd\x00", 5},
                 {"\x50\x2a\x4d\x18\x04\x00\x00\x00zzzz", 12},             /* skippable */
                 {"\x27\xb5\x2f\xfd\x24\x00\x00\x00\x00\x00\x00\x00", 12}, /* zstd 0.7 */
                 {"\x25\xb5\x2f\xfd\x00\x00\x00\x00\x00\x00\x00\x00", 12}, /* zstd 0.5 */
                 {"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00", 9},              /* of nothing */
                 {"\x28\xb5\x2f\xfd\x00\x58\x09\x00\x00x", 10}};           /* of unknown length */
    struct packing *p = open_packing(SE_COMPRESSION_ON, 0);
    struct packer *k = se__packer_take(p);
    const char *out;
    size_t size;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_assert_eq(unpack(k, p, ENCODING_ZSTD, cases[i].bytes, cases[i].len, &out, &size),
                     UNPACK_DAMAGED, "case %zu", i);
    se__packer_give(k);
    se__packing_close(p);
}

Test(packing, the_encoding_and_the_frame_must_agree)
{
    struct packing *with = packed_packing(0, FIRST, 0), *alone = open_packing(SE_COMPRESSION_ON, 0);
    struct packer *k = se__packer_take(with);
    uint8_t frame[RECORD_MAX];
    char record[RECORD_MAX], zeros[100] = {0};
    const char *out;
    size_t len, size, n = pack_one(with, 3, frame, record, &len);
    static const int64_t unknown[] = {-128, -1, 3, 4, 99, 127, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        cr_assert_eq(unpack(k, with, unknown[i], frame, n, &out, &size), UNPACK_ENCODING);
    cr_assert_eq(unpack(k, with, ENCODING_ZSTD, frame, n, &out, &size), UNPACK_DAMAGED,
                 "it says that it needs no dictionary");
    uint32_t number;
    cr_assert_eq(se__unpack_size(alone, ENCODING_DICTIONARY, frame, n, &size, &number),
                 UNPACK_DICTIONARY);
    cr_assert_eq(number, FIRST);
    n = ZSTD_compress(frame, sizeof frame, zeros, sizeof zeros, 1);
    cr_assert_eq(unpack(k, with, ENCODING_DICTIONARY, frame, n, &out, &size), UNPACK_DAMAGED,
                 "it names none");
    se__packer_give(k);
    se__packing_close(with);
    se__packing_close(alone);
}

/* A frame made with another dictionary than the one of its name is damage, or at worst other bytes:
 * the content's hash tells. */
Test(packing, another_dictionary_of_the_same_name_gives_no_content)
{
    struct packing *p = packed_packing(0, FIRST, 0), *q = packed_packing(1, FIRST, 0);
    struct packer *k = se__packer_take(q);
    uint8_t frame[RECORD_MAX];
    char record[RECORD_MAX];
    const char *out;
    for (unsigned i = 0; i < 50; i++) {
        size_t len, size, n = pack_one(p, i, frame, record, &len);
        enum unpacked u = unpack(k, q, ENCODING_DICTIONARY, frame, n, &out, &size);
        cr_assert(u == UNPACK_DAMAGED || (u == UNPACKED && memcmp(out, record, len) != 0));
    }
    se__packer_give(k);
    se__packing_close(p);
    se__packing_close(q);
}

/* ---- dictionaries ---- */

Test(packing, old_and_new_dictionaries_side_by_side)
{
    struct packing *p = packed_packing(0, FIRST, 0);
    struct buf bytes, value;
    uint8_t old[RECORD_MAX], new[RECORD_MAX];
    char record[RECORD_MAX], again[RECORD_MAX];
    const char *out;
    size_t len, size, n = pack_one(p, 1, old, record, &len);
    packed_dictionary(1, FIRST + 1, &bytes, &value);
    cr_assert_eq(se__packing_use(p, FIRST + 1), SE_ERR_INVALID);
    cr_assert_eq(se__packing_add(p, FIRST + 1, bytes.data, bytes.len), SE_OK);
    cr_assert_eq(se__packing_used(p), FIRST, "adding is not using");
    cr_assert_eq(se__packing_use(p, FIRST + 1), SE_OK);
    size_t m = pack_kind(p, 1, 2, new, again, &size);
    struct packer *k = se__packer_take(p);
    cr_assert_eq(ZSTD_getDictID_fromFrame(old, n), FIRST);
    cr_assert_eq(ZSTD_getDictID_fromFrame(new, m), FIRST + 1);
    cr_assert_eq(unpack(k, p, ENCODING_DICTIONARY, old, n, &out, &size), UNPACKED);
    cr_assert(size == len && memcmp(out, record, len) == 0);
    cr_assert_eq(unpack(k, p, ENCODING_DICTIONARY, new, m, &out, &size), UNPACKED);
    cr_assert_eq(memcmp(out, again, size), 0);
    se__packer_give(k);
    se__buf_done(&bytes);
    se__buf_done(&value);
    se__packing_close(p);
}

Test(packing, what_is_no_dictionary_is_refused)
{
    struct packing *p = open_packing(SE_COMPRESSION_DICTIONARY, 0);
    struct buf bytes, value;
    packed_dictionary(0, FIRST, &bytes, &value);
    cr_assert_eq(se__packing_add(p, FIRST + 1, bytes.data, bytes.len), SE_ERR_CORRUPT, "its name");
    cr_assert_eq(se__packing_add(p, FIRST, NULL, 0), SE_ERR_CORRUPT);
    for (size_t cut = 0; cut < 100; cut++) /* magic, name, tables */
        cr_assert_eq(se__packing_add(p, FIRST, bytes.data, cut), SE_ERR_CORRUPT, "%zu", cut);
    cr_assert_eq(se__packing_add(p, 5, bytes.data, bytes.len), SE_ERR_CORRUPT);
    cr_assert_eq(se__packing_add(p, 0, bytes.data, bytes.len), SE_ERR_CORRUPT);
    cr_assert_eq(se__packing_add(p, UINT32_MAX, bytes.data, bytes.len), SE_ERR_CORRUPT);
    for (size_t i = 8; i < 150; i++) {
        uint8_t *exact = malloc(bytes.len);
        memcpy(exact, bytes.data, bytes.len);
        exact[i] ^= 0xff;
        struct packing *q = open_packing(SE_COMPRESSION_DICTIONARY, 0);
        se_result r = se__packing_add(q, FIRST, exact, bytes.len);
        cr_assert(r == SE_OK || r == SE_ERR_CORRUPT);
        se__packing_close(q);
        free(exact);
    }
    cr_assert_not(se__packing_knows(p, FIRST));
    cr_assert_eq(se__packing_add(p, FIRST, bytes.data, bytes.len), SE_OK);
    cr_assert_eq(se__packing_add(p, FIRST, "x", 1), SE_OK, "it is known and does not change");
    cr_assert_not(se__packing_knows(p, 0));
    cr_assert_not(se__packing_knows(p, DICTIONARY_LAST + 1));
    se__buf_done(&bytes);
    se__buf_done(&value);
    se__packing_close(p);
}

Test(dictionary, the_row_says_everything_and_garbage_is_told)
{
    struct buf bytes, value, back = {0};
    se_dictionary about;
    packed_dictionary(0, FIRST + 5, &bytes, &value);
    cr_assert(se__dictionary_decode(FIRST + 5, value.data, value.len, &about, &back));
    cr_assert_eq(back.len, bytes.len);
    cr_assert_eq(memcmp(back.data, bytes.data, bytes.len), 0);
    cr_assert_eq(about.id, FIRST + 5);
    cr_assert_eq(about.bytes, bytes.len);
    cr_assert_eq(about.made_at_ms, 1700000000000);
    cr_assert_eq(about.samples, 100);
    cr_assert_gt(about.plain_bytes, about.alone_bytes);
    cr_assert_gt(about.alone_bytes, 2 * about.packed_bytes);
    for (size_t cut = 0; cut < value.len; cut += cut < 200 ? 1 : 97) {
        se__buf_clear(&back);
        cr_assert_not(se__dictionary_decode(FIRST + 5, value.data, cut, &about, &back), "%zu", cut);
    }
    for (size_t i = 0; i < value.len; i += i < 200 ? 1 : 97)
        for (int how = 1; how < 256; how <<= 1) {
            se__buf_clear(&back);
            value.data[i] = (char)(value.data[i] ^ how);
            if (se__dictionary_decode(FIRST + 5, value.data, value.len, &about, &back))
                cr_assert_eq(memcmp(back.data, bytes.data, bytes.len), 0, "byte %zu", i);
            value.data[i] = (char)(value.data[i] ^ how);
        }
    cr_assert_not(se__dictionary_decode(FIRST, NULL, 0, &about, NULL));
    cr_assert_eq(se__dictionary_id("32769", 5), FIRST);
    cr_assert_eq(se__dictionary_id("33791", 5), DICTIONARY_LAST);
    static const char *const none[] = {"", "32768", "33792", "3276", "032769", "3276a", "-2769"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        cr_assert_eq(se__dictionary_id(none[i], strlen(none[i])), 0, "%s", none[i]);
    se__buf_done(&bytes);
    se__buf_done(&value);
    se__buf_done(&back);
}

Test(dictionary, too_little_or_useless_is_refused)
{
    struct buf bytes = {0};
    se_dictionary about = {0};
    struct samples few = packed_records(0, 0, 40), none = {0}, noise = {0}, test = {0};
    cr_assert_eq(se__dictionary_train(&few, &none, 8192, &bytes, &about), SE_ERR_INVALID);
    cr_assert(strstr(se_errmsg(), "at least 64"), "%s", se_errmsg());
    srand(9);
    for (unsigned i = 0; i < 2000; i++) {
        char content[100];
        for (size_t j = 0; j < sizeof content; j++)
            content[j] = (char)rand();
        cr_assert(se__samples_add(i % 8 ? &noise : &test, content, sizeof content));
    }
    cr_assert_eq(se__dictionary_train(&noise, &test, 8192, &bytes, &about), SE_ERR_INVALID, "%d",
                 (int)about.packed_bytes);
    se__samples_done(&few);
    se__samples_done(&noise);
    se__samples_done(&test);
    se__buf_done(&bytes);
}

/* ---- no memory ---- */

Test(packing, without_memory_contents_stay_plain_and_reads_say_so)
{
    if (!se__mem_fail_after(-1))
        return;
    struct packing *p = packed_packing(0, FIRST, 0);
    char zeros[1000] = {0};
    struct packed out;
    se__mem_fail_after(0);
    cr_assert_null(se__packer_take(p));
    se__mem_fail_after(1);
    struct packer *k = se__packer_take(p);
    cr_assert_not_null(k);
    cr_assert_not(se__packer_reserve(k, sizeof zeros));
    cr_assert_not(se__pack(k, zeros, sizeof zeros, &out));
    cr_assert_null(se__packer_room(k, 10));
    struct unpacker u = {.packing = p};
    cr_assert_null(se__unpacker_packer(&u));
    struct packing *q;
    cr_assert_eq(se__packing_open(SE_COMPRESSION_ON, 0, &q), SE_ERR_NOMEM);
    struct samples s = {0};
    cr_assert_not(se__samples_add(&s, "x", 1));
    se__mem_fail_after(-1);
    cr_assert(se__packer_reserve(k, sizeof zeros));
    cr_assert(se__pack(k, zeros, sizeof zeros, &out));
    se__packer_give(k);
    se__packing_close(p);
}

/* ---- threads ---- */

#define THREADS 4
#define ROUNDS 300u

struct worker {
    struct packing *packing;
    const struct buf *dictionaries;
    unsigned seed;
};

/* Packs with whatever is the newest at that moment, and unpacks, while others add and change it. */
static void work(void *arg)
{
    struct worker *w = arg;
    char record[RECORD_MAX];
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t add = (i + w->seed) % 4;
        const struct buf *d = &w->dictionaries[add];
        cr_assert_eq(se__packing_add(w->packing, FIRST + add, d->data, d->len), SE_OK);
        if (i % 16 == 0)
            cr_assert_eq(se__packing_use(w->packing, FIRST + add), SE_OK);
        size_t len = packed_record(0, i * THREADS + w->seed, record), size = 0;
        struct packer *k = se__packer_take(w->packing);
        struct packed packed;
        const char *out = NULL;
        cr_assert(se__packer_reserve(k, len));
        cr_assert(se__pack(k, record, len, &packed));
        cr_assert_eq(unpack(k, w->packing, packed.encoding, packed.bytes, packed.len, &out, &size),
                     UNPACKED);
        cr_assert(size == len && memcmp(out, record, len) == 0);
        se__packer_give(k);
    }
}

Test(packing, threads_share_dictionaries_and_contexts)
{
    struct packing *p = open_packing(SE_COMPRESSION_DICTIONARY, 0);
    struct buf bytes[4], value;
    struct worker workers[THREADS];
    struct se__thread threads[THREADS] = {0};
    for (uint32_t i = 0; i < 4; i++) {
        packed_dictionary(0, FIRST + i, &bytes[i], &value);
        se__buf_done(&value);
    }
    cr_assert_eq(se__packing_add(p, FIRST, bytes[0].data, bytes[0].len), SE_OK);
    cr_assert_eq(se__packing_use(p, FIRST), SE_OK);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){p, bytes, i};
        cr_assert_eq(se__thread_start(&threads[i], "packer", work, &workers[i]), SE_OK);
    }
    for (unsigned i = 0; i < THREADS; i++)
        se__thread_join(&threads[i]);
    for (unsigned i = 0; i < 4; i++)
        se__buf_done(&bytes[i]);
    se__packing_close(p);
}
