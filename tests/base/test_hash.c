/* XXH3 with the values of xxHash's own test vectors; the canonical form. */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/hash_inline.h"
#include "support/test.h"

#include <string.h>

Test(hash, known_values)
{
    /* From the XXH3 specification's reference implementation: empty input, seed 0. */
    const uint8_t empty[SE_HASH_SIZE] = {0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8,
                                         0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f};
    uint8_t out[SE_HASH_SIZE];
    se__hash128(0, NULL, 0, out);
    cr_assert_eq(memcmp(out, empty, SE_HASH_SIZE), 0);
    cr_assert_eq(se__hash64(0, NULL, 0), UINT64_C(0x2d06800538d394c2));
}

Test(hash, depends_on_seed_length_and_every_byte)
{
    uint8_t bytes[300] = {0}, base[SE_HASH_SIZE], other[SE_HASH_SIZE];
    for (size_t len = 1; len <= sizeof bytes; len += 13) {
        se__hash128(1, bytes, len, base);
        uint64_t base64 = se__hash64(1, bytes, len);
        cr_assert_neq(base64, se__hash64(2, bytes, len));
        cr_assert_neq(base64, se__hash64(1, bytes, len - 1));
        se__hash128(2, bytes, len, other);
        cr_assert_neq(memcmp(base, other, SE_HASH_SIZE), 0);
        for (size_t i = 0; i < len; i++) {
            bytes[i] ^= 1;
            se__hash128(1, bytes, len, other);
            cr_assert_neq(memcmp(base, other, SE_HASH_SIZE), 0);
            cr_assert_neq(base64, se__hash64(1, bytes, len));
            bytes[i] ^= 1;
        }
    }
}

Test(hash, under_a_secret_depends_on_every_byte_and_on_the_seed)
{
    struct hash_secret one, other;
    uint8_t bytes[255] = {0};
    se__hash_secret(1, &one);
    se__hash_secret(2, &other);
    for (size_t len = 1; len <= sizeof bytes; len += 13) {
        uint64_t base = se__hash_id_inline(&one, bytes, len);
        cr_assert_eq(base, se__hash_id_inline(&one, bytes, len));
        cr_assert_neq(base, se__hash_id_inline(&other, bytes, len));
        cr_assert_neq(base, se__hash_id_inline(&one, bytes, len - 1));
        for (size_t i = 0; i < len; i++) {
            bytes[i] ^= 1;
            cr_assert_neq(base, se__hash_id_inline(&one, bytes, len), "%zu of %zu", i, len);
            bytes[i] ^= 1;
        }
    }
}

Test(bytes, are_big_endian_and_come_back)
{
    uint8_t at[8];
    se__put_u16(at, 0x0102);
    cr_assert_eq(memcmp(at, "\x01\x02", 2), 0);
    cr_assert_eq(se__get_u16(at), 0x0102);
    se__put_u32(at, 0x01020304);
    cr_assert_eq(memcmp(at, "\x01\x02\x03\x04", 4), 0);
    cr_assert_eq(se__get_u32(at), 0x01020304u);
    se__put_u64(at, UINT64_C(0x0102030405060708));
    cr_assert_eq(memcmp(at, "\x01\x02\x03\x04\x05\x06\x07\x08", 8), 0);
    cr_assert_eq(se__get_u64(at), UINT64_C(0x0102030405060708));
}
