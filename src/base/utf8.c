/*
 * utf8 - well-formed UTF-8 (RFC 3629) and what follows for ids.
 */
#include "base/utf8.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Length of the character at `s`, or 0: RFC 3629, section 4. Overlong forms, surrogates and values
 * above U+10FFFF are excluded by the range of the second byte. */
static size_t char_len(const uint8_t *s, size_t left)
{
    uint8_t lead = s[0], low = 0x80, high = 0xbf;
    size_t len;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        len = 2;
    else if (lead >= 0xe0 && lead <= 0xef)
        len = 3;
    else if (lead >= 0xf0 && lead <= 0xf4)
        len = 4;
    else
        return 0;
    if (left < len)
        return 0;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

static bool eight_ascii(const uint8_t *s)
{
    uint64_t word;
    memcpy(&word, s, sizeof word);
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

size_t se__utf8_check(const void *bytes, size_t len)
{
    const uint8_t *s = bytes;
    size_t at = 0;
    while (at < len) {
        if (len - at >= 8 && eight_ascii(s + at)) {
            at += 8;
            continue;
        }
        size_t step = char_len(s + at, len - at);
        if (step == 0)
            return at;
        at += step;
    }
    return len;
}

size_t se__utf8_cut(const char *text, size_t len)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t lead = len; /* behind the last lead byte, at most three bytes back */
    while (lead > 0 && len - lead < 3 && (s[lead - 1] & 0xc0) == 0x80)
        lead--;
    if (lead == 0 || s[lead - 1] < 0xc0)
        return len; /* ends in ASCII, or is not UTF-8 at all */
    return char_len(s + lead - 1, len - lead + 1) ? len : lead - 1;
}

#ifdef __SSE2__
#define ODD_STEP 16u
/* Bytes from 0x80 on are negative. */
static inline bool odd_in_step(const char *text)
{
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)text);
    __m128i odd = _mm_or_si128(_mm_cmplt_epi8(x, _mm_set1_epi8(0x20)),
                               _mm_cmpeq_epi8(x, _mm_set1_epi8(0x7f)));
    return _mm_movemask_epi8(odd) != 0;
}
#endif

/* The high bit of some byte is set if one of the eight is not in 0x20..0x7e: such a byte has it
 * itself, or loses it when 0x20 is taken from it, or gains it when 1 is added. No byte borrows from
 * its neighbour, as its high bit is set before; where one carries, it is none of ours anyway. */
static uint64_t odd_among_eight(const char *text)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
    uint64_t word;
    memcpy(&word, text, sizeof word);
    return (word | ~((word | highs) - ones * 0x20) | (word + ones)) & highs;
}

/* What nearly every id is made of. Says nothing of texts shorter than eight bytes. */
static bool is_printable_ascii(const char *text, size_t len)
{
    if (len < 8)
        return false;
#ifdef __SSE2__
    if (len >= ODD_STEP) {
        for (size_t i = 0; i + ODD_STEP < len; i += ODD_STEP)
            if (odd_in_step(text + i))
                return false;
        return !odd_in_step(text + len - ODD_STEP);
    }
#endif
    for (size_t i = 0; i + 8 < len; i += 8)
        if (odd_among_eight(text + i))
            return false;
    return !odd_among_eight(text + len - 8);
}

static size_t first_control(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return i;
    return len;
}

static se_result check_bytes(const char *what, const char *id, size_t n)
{
    size_t bad = first_control(id, n);
    if (bad < n)
        return se__error(SE_ERR_INVALID, "%s: control byte 0x%02x at byte %zu", what,
                         (unsigned char)id[bad], bad);
    bad = se__utf8_check(id, n);
    if (bad < n)
        return se__error(SE_ERR_INVALID, "%s: not UTF-8 at byte %zu", what, bad);
    return SE_OK;
}

se_result se__id_check(const char *what, const char *id, size_t min, size_t max, size_t *len)
{
    if (!id)
        return se__error(SE_ERR_INVALID, "%s: is NULL", what);
    size_t n = strnlen(id, max + 1);
    if (n < min)
        return n == 0 ? se__error(SE_ERR_INVALID, "%s: is empty", what)
                      : se__error(SE_ERR_INVALID, "%s: is shorter than %zu bytes", what, min);
    if (n > max)
        return se__error(SE_ERR_INVALID, "%s: is longer than %zu bytes", what, max);
    se_result r = is_printable_ascii(id, n) ? SE_OK : check_bytes(what, id, n);
    if (r == SE_OK && len)
        *len = n;
    return r;
}
