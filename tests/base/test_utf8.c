/* Well-formed UTF-8 against a decoder written the other way round; ids. */
#include "base/utf8.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

/* Encodes a scalar value; 0 for what RFC 3629 excludes. */
static size_t encode(uint32_t c, uint8_t *out)
{
    if (c < 0x80)
        return out[0] = (uint8_t)c, 1;
    if (c < 0x800)
        return out[0] = (uint8_t)(0xc0 | c >> 6), out[1] = (uint8_t)(0x80 | (c & 63)), 2;
    if (c >= 0xd800 && c < 0xe000)
        return 0;
    if (c < 0x10000)
        return out[0] = (uint8_t)(0xe0 | c >> 12), out[1] = (uint8_t)(0x80 | (c >> 6 & 63)),
               out[2] = (uint8_t)(0x80 | (c & 63)), 3;
    return out[0] = (uint8_t)(0xf0 | c >> 18), out[1] = (uint8_t)(0x80 | (c >> 12 & 63)),
           out[2] = (uint8_t)(0x80 | (c >> 6 & 63)), out[3] = (uint8_t)(0x80 | (c & 63)), 4;
}

Test(utf8, takes_every_character)
{
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint8_t bytes[4];
        size_t len = encode(c, bytes);
        if (len == 0)
            continue;
        cr_assert_eq(se__utf8_check(bytes, len), len, "U+%04X", c);
        for (size_t cut = 1; cut < len; cut++)
            cr_assert_eq(se__utf8_check(bytes, cut), 0u, "U+%04X cut at %zu", c, cut);
    }
}

static bool is_character(const uint8_t *b, size_t len)
{
    uint32_t c = 0;
    if (len == 2)
        c = (b[0] & 31u) << 6 | (b[1] & 63u);
    else if (len == 3)
        c = (b[0] & 15u) << 12 | (b[1] & 63u) << 6 | (b[2] & 63u);
    uint8_t again[4];
    return encode(c, again) == len && memcmp(again, b, len) == 0;
}

Test(utf8, refuses_every_other_sequence_of_two_and_three)
{
    for (uint32_t w = 0x800000; w < 0x1000000; w++) {
        uint8_t b[3] = {(uint8_t)(w >> 16), (uint8_t)(w >> 8), (uint8_t)w};
        if (b[1] < 0x80) /* what follows a lead is no continuation: refused at 0 in any case */
            continue;
        size_t good = is_character(b, 2) ? 2 : is_character(b, 3) ? 3 : 0;
        size_t found = se__utf8_check(b, 3);
        if (good == 2)
            cr_assert_geq(found, 2u);
        else
            cr_assert_eq(found, good, "%06x", w);
    }
}

Test(utf8, refuses_bad_four_byte_forms)
{
    const char *bad[] = {"\xf0\x8f\xbf\xbf",
                         "\xf4\x90\x80\x80",
                         "\xf5\x80\x80\x80",
                         "\xf8\x88\x80\x80\x80",
                         "\xf0\x90\x80\xc0",
                         "\xf0\x90\xc0\x80",
                         "\xff",
                         "\xfe",
                         "\x80",
                         "\xc0\x80",
                         "\xc1\xbf",
                         "\xed\xa0\x80",
                         "\xe0\x9f\xbf"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(se__utf8_check(bad[i], strlen(bad[i])), 0u, "%zu", i);
}

Test(utf8, says_where)
{
    char text[64];
    for (size_t at = 0; at < 40; at++) {
        memset(text, 'a', sizeof text);
        text[at] = (char)0x80;
        cr_assert_eq(se__utf8_check(text, sizeof text), at);
        cr_assert_eq(se__utf8_check(text, at), at);
    }
    cr_assert_eq(se__utf8_check("", 0), 0u);
}

Test(utf8, cuts_between_characters)
{
    const char *text = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z"; /* 1, 2, 3, 4, 1 bytes */
    const size_t want[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11};
    for (size_t len = 0; len <= 11; len++)
        cr_assert_eq(se__utf8_cut(text, len), want[len], "%zu", len);
    cr_assert_eq(se__utf8_cut("\x80\x80\x80\x80", 4), 4u); /* no UTF-8: nothing to keep whole */
    cr_assert_eq(se__utf8_cut("\x80", 1), 1u);
}

Test(id, takes_what_the_contract_allows)
{
    char id[SE_ID_MAX + 2];
    size_t len = 0;
    for (size_t n = 1; n <= SE_ID_MAX; n++) {
        memset(id, 'x', n);
        id[n] = '\0';
        cr_assert_eq(se__id_check("id", id, 1, SE_ID_MAX, &len), SE_OK);
        cr_assert_eq(len, n);
    }
    const char *good[] = {"a", " ", "a b", "user:1", "%_*'\"\\{}", "\xc3\xa4", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_assert_eq(se__id_check("id", good[i], 1, SE_ID_MAX, NULL), SE_OK);
    cr_assert_eq(se__id_check("prefix", "", 0, SE_ID_MAX, &len), SE_OK);
    cr_assert_eq(len, 0u);
}

Test(id, refuses_the_rest_and_says_why)
{
    char longest[SE_ID_MAX + 2], control[4] = "ab";
    memset(longest, 'x', SE_ID_MAX + 1);
    longest[SE_ID_MAX + 1] = '\0';
    size_t len = 99;
    cr_assert_eq(se__id_check("id", NULL, 1, SE_ID_MAX, &len), SE_ERR_INVALID);
    cr_assert_eq(se__id_check("id", "", 1, SE_ID_MAX, &len), SE_ERR_INVALID);
    cr_assert_str_eq(se_errmsg(), "id: is empty");
    cr_assert_eq(se__id_check("id", longest, 1, SE_ID_MAX, &len), SE_ERR_INVALID);
    cr_assert_str_eq(se_errmsg(), "id: is longer than 255 bytes");
    for (int c = 1; c < 256; c++) {
        control[2] = (char)c;
        bool good = c >= 0x20 && c < 0x7f;
        cr_assert_eq(se__id_check("state", control, 1, SE_STATE_MAX, NULL),
                     good ? SE_OK : SE_ERR_INVALID, "%d", c);
    }
    cr_assert_eq(se__id_check("id", "ab\x01", 1, SE_ID_MAX, &len), SE_ERR_INVALID);
    cr_assert_str_eq(se_errmsg(), "id: control byte 0x01 at byte 2");
    cr_assert_eq(se__id_check("id", "ab\xff", 1, SE_ID_MAX, &len), SE_ERR_INVALID);
    cr_assert_str_eq(se_errmsg(), "id: not UTF-8 at byte 2");
    cr_assert_eq(len, 99u); /* written only on success */
}

Test(id, reads_no_further_than_it_must)
{
    /* Not terminated: a read behind the last byte is caught by the address sanitizer. */
    char *edge = malloc(SE_ID_MAX + 1);
    memset(edge, 'x', SE_ID_MAX + 1);
    cr_assert_eq(se__id_check("id", edge, 1, SE_ID_MAX, NULL), SE_ERR_INVALID);
    free(edge);
}

Test(id, every_byte_at_every_place_is_judged_alone)
{
    for (unsigned byte = 1; byte < 0x80; byte++) {
        for (size_t at = 0; at < 20; at++) {
            char id[21] = "abcdefgh ~!0123\"xyz";
            id[at] = (char)byte;
            bool control = byte < 0x20 || byte == 0x7f;
            cr_assert_eq(se__id_check("id", id, 1, SE_ID_MAX, NULL),
                         control ? SE_ERR_INVALID : SE_OK, "0x%02x at %zu", byte, at);
        }
    }
}
