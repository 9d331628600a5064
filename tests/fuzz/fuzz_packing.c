/*
 * fuzz_packing - what the database says of compressed contents (l3/packing.h, l3/dictionary.h).
 *
 * Input: a byte that says what the rest is. 0: a frame, behind its encoding; the bits 4 and 8 make its
 * magic number and its dictionary's name right. 1: the meta row of a dictionary. 2: a dictionary; with
 * bit 4 its magic number and name are made right. 3: a content.
 *
 * Whatever the bytes are: a frame gives exactly as many bytes as its head says, within the bound, or
 * the reason why not, and nothing is written beyond them. A dictionary is taken or refused; what was
 * packed with one that was taken comes back. A content comes back as it was.
 */
#include "fuzz/packed.h"

#define CONTENT_MAX (64u << 10)
#define CANARY 32u

enum { FRAME, ROW, DICTIONARY, CONTENT, FIX_MAGIC = 4, FIX_NAME = 8 };

static struct packing *known; /* with the dictionary of packed.h */

static void check_canary(const uint8_t *at)
{
    for (unsigned i = 0; i < CANARY; i++)
        must(at[i] == 0xc5);
}

static enum unpacked unpack(const struct packing *p, struct packer *k, int64_t encoding,
                            const uint8_t *bytes, size_t len, uint8_t **out, size_t *size)
{
    uint32_t number;
    enum unpacked u = se__unpack_size(p, encoding, bytes, len, size, &number);
    *out = NULL;
    if (u != UNPACKED) {
        must(*size == 0);
        return u;
    }
    must(*size > 0 && *size <= CONTENT_MAX);
    *out = malloc(*size + CANARY);
    must(*out != NULL);
    memset(*out + *size, 0xc5, CANARY); /* the library that writes there is not instrumented */
    u = se__unpack(k, bytes, len, *out, *size);
    check_canary(*out + *size);
    return u;
}

static void fix_frame(uint8_t *b, size_t len, uint8_t how)
{
    if (len >= 4 && how & FIX_MAGIC)
        memcpy(b, "\x28\xb5\x2f\xfd", 4);
    if (len >= 7 && how & FIX_NAME) { /* one segment, a name of two bytes */
        b[4] = (uint8_t)((b[4] & 0xc0) | 0x22);
        b[5] = DICTIONARY_FIRST & 0xff;
        b[6] = DICTIONARY_FIRST >> 8;
    }
}

static void try_frame(struct input *in, uint8_t how)
{
    int8_t encoding = (int8_t)take_byte(in);
    size_t len, size;
    uint8_t *bytes = take_copy(in, SIZE_MAX, false, &len), *out;
    struct packer *k = se__packer_take(known);
    must(k != NULL);
    fix_frame(bytes, len, how);
    enum unpacked u = unpack(known, k, encoding, bytes, len, &out, &size);
    must(u != UNPACK_NOMEM);
    must((u == UNPACK_ENCODING) == (encoding != ENCODING_ZSTD && encoding != ENCODING_DICTIONARY));
    struct unpacker unpacker = {.packing = known};
    bool wants = se__unpacker_wants(&unpacker, encoding, bytes, len);
    must(wants == (u == UNPACK_DICTIONARY));
    if (wants) {
        must(unpacker.wanted > DICTIONARY_FIRST && unpacker.wanted <= DICTIONARY_LAST);
        se__unpacker_tried(&unpacker);
        must(!se__unpacker_wants(&unpacker, encoding, bytes, len));
    }
    free(out);
    free(bytes);
    se__packer_give(k);
}

static void try_row(struct input *in)
{
    size_t len;
    uint8_t *bytes = take_copy(in, SIZE_MAX, false, &len);
    struct buf dictionary = {0}, again = {0};
    se_dictionary about, twice;
    if (se__dictionary_decode(DICTIONARY_FIRST, (char *)bytes, len, &about, &dictionary)) {
        must(about.bytes == dictionary.len && about.bytes <= DICTIONARY_BYTES_MAX);
        must(about.made_at_ms >= 0);
        must(se__dictionary_decode(DICTIONARY_FIRST, (char *)bytes, len, &twice, NULL));
        must(memcmp(&about, &twice, sizeof about) == 0);
    }
    se__buf_done(&dictionary);
    se__buf_done(&again);
    free(bytes);
}

static void round_trip(struct packing *p, const uint8_t *content, size_t len)
{
    struct packer *k = se__packer_take(p);
    struct packed packed;
    uint8_t *out;
    size_t size;
    must(k != NULL && se__packer_reserve(k, len));
    if (se__pack(k, content, len, &packed)) {
        must(packed.len * 8 <= len * 7);
        must(unpack(p, k, packed.encoding, packed.bytes, packed.len, &out, &size) == UNPACKED);
        must(size == len && memcmp(out, content, len) == 0);
        free(out);
    }
    se__packer_give(k);
}

static void try_dictionary(struct input *in, uint8_t how)
{
    size_t len, n;
    char record[256];
    uint8_t *bytes = take_copy(in, SIZE_MAX, false, &len);
    struct packing *p = NULL;
    if (len >= 8 && how & FIX_MAGIC) {
        memcpy(bytes, "\x37\xa4\x30\xec", 4);
        memcpy(bytes + 4, (uint8_t[4]){DICTIONARY_FIRST & 0xff, DICTIONARY_FIRST >> 8, 0, 0}, 4);
    }
    must(se__packing_open(SE_COMPRESSION_DICTIONARY, CONTENT_MAX, &p) == SE_OK);
    if (se__packing_add(p, DICTIONARY_FIRST, bytes, len) == SE_OK) {
        must(se__packing_use(p, DICTIONARY_FIRST) == SE_OK);
        for (unsigned i = 0; i < 3; i++) {
            n = packed_record(i, record);
            round_trip(p, (uint8_t *)record, n);
        }
    } else {
        must(!se__packing_knows(p, DICTIONARY_FIRST));
    }
    se__packing_close(p);
    free(bytes);
}

static void try_content(struct input *in, uint8_t how)
{
    size_t len;
    uint8_t *bytes = take_copy(in, CONTENT_MAX, false, &len);
    if (how & FIX_MAGIC && se__packing_used(known) == 0)
        must(se__packing_use(known, DICTIONARY_FIRST) == SE_OK);
    round_trip(known, bytes, len);
    free(bytes);
}

static void open_known(void)
{
    struct buf bytes = {0}, value = {0};
    packed_dictionary(&bytes, &value);
    known = packed_packing(&bytes, CONTENT_MAX);
    se__buf_done(&bytes);
    se__buf_done(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t how = take_byte(&in);
    if (!known)
        open_known();
    switch (how & 3) {
    case FRAME:
        try_frame(&in, how);
        break;
    case ROW:
        try_row(&in);
        break;
    case DICTIONARY:
        try_dictionary(&in, how);
        break;
    case CONTENT:
        try_content(&in, how);
        break;
    }
    return 0;
}
