/*
 * fuzz_id - ids, state tags, prefixes: what they are checked by and what is made of them (base/utf8.h,
 * l2/keys.h, l3/store.h).
 *
 * Input: a byte with the length of the prefix, the prefix, another text.
 *
 * An id is taken exactly if it is what the header says, by a check that is written here once more; the
 * message never repeats it. What a tier lists or scans by a prefix is what begins with it: Redis' glob
 * pattern (matched by Redis' own rules, written down here) and SQL's range agree with memcmp.
 */
#include "fuzz/fuzz.h"

#include "base/utf8.h"
#include "l2/keys.h"
#include "l3/row.h"
#include "l3/store.h"

#define KEY_PREFIX "s*[y-n]^\\?:"

struct text {
    char *bytes; /* ends with a NUL that is not counted */
    size_t len;
};

/* Length of the character, 0: there is none. By its value, and not by tables of bytes. */
static size_t character(const char *text, size_t left)
{
    static const uint32_t LEAST[] = {0, 0x80, 0x800, 0x10000};
    uint8_t lead = (uint8_t)text[0];
    size_t more = lead < 0x80 ? 0 : lead < 0xc0 ? 9 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (more == 9 || lead >= 0xf8 || more >= left)
        return 0;
    uint32_t c = more ? lead & (0x3fu >> more) : lead;
    for (size_t i = 1; i <= more; i++) {
        if (((uint8_t)text[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | ((uint8_t)text[i] & 0x3f);
    }
    return c >= LEAST[more] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? more + 1 : 0;
}

static size_t first_bad(const char *text, size_t len)
{
    size_t at = 0;
    for (size_t step; at < len && (step = character(text + at, len - at)) > 0; at += step)
        ;
    return at;
}

static bool is_id(const char *text, size_t min, size_t max)
{
    size_t len = strlen(text);
    for (const char *c = text; *c; c++)
        if ((uint8_t)*c < 0x20 || *c == 0x7f)
            return false;
    return len >= min && len <= max && first_bad(text, len) == len;
}

static void check_id(const struct text *t)
{
    static const size_t MAX[] = {SE_ID_MAX, SE_STATE_MAX, 128};
    for (size_t i = 0; i < 3; i++)
        for (size_t min = 0; min < 2; min++) {
            size_t len = SIZE_MAX;
            se__error_clear();
            bool good = se__id_check("id", t->bytes, min, MAX[i], &len) == SE_OK;
            must(good == is_id(t->bytes, min, MAX[i]));
            must(good ? len == strlen(t->bytes) : len == SIZE_MAX);
            must(good || (strncmp(se_errmsg(), "id: ", 4) == 0 && strlen(se_errmsg()) < 60));
        }
}

/* Wherever a well-formed text is cut, no character is split, and no byte too many is lost. */
static void check_cut(const char *text, size_t good, size_t at)
{
    size_t cut = se__utf8_cut(text, at);
    must(cut <= at && first_bad(text, cut) == cut);
    must(cut == at || character(text + cut, good - cut) > at - cut);
}

static void check_utf8(const struct text *t)
{
    size_t good = first_bad(t->bytes, t->len), cut = se__utf8_cut(t->bytes, t->len);
    must(se__utf8_check(t->bytes, t->len) == good);
    must(cut <= t->len && t->len - cut <= 4);
    for (size_t at = good > 4 ? good - 4 : 0; at <= good; at++)
        check_cut(t->bytes, good, at);
}

/* ---- prefixes ---- */

static bool begins(const struct text *t, const struct text *prefix)
{
    return t->len >= prefix->len && memcmp(t->bytes, prefix->bytes, prefix->len) == 0;
}

static void check_range(const struct text *prefix, const struct text *t)
{
    char upper[SE_ID_MAX + 1];
    if (prefix->len > SE_ID_MAX)
        return;
    size_t len = se__store_successor(prefix->bytes, prefix->len, upper);
    must(len >= 1 && len <= (prefix->len ? prefix->len : 1));
    bool in_range = se__row_compare(t->bytes, t->len, prefix->bytes, prefix->len) >= 0 &&
                    se__row_compare(t->bytes, t->len, upper, len) < 0;
    /* what no id holds may lie beyond the end of all */
    must(in_range == begins(t, prefix) || memchr(t->bytes, 0xff, t->len));
}

/* One character of a set [...]; *p is behind it then. Redis, util.c, stringmatchlen. */
static bool in_set(const char **p, const char *end, char c)
{
    bool found = false, not = *p < end && **p == '^';
    *p += not ;
    for (; *p < end && **p != ']'; ++*p) {
        if (**p == '\\' && end - *p >= 2) {
            ++*p;
            found |= **p == c;
        } else if (end - *p >= 3 && (*p)[1] == '-') {
            uint8_t low = (uint8_t)(*p)[0], high = (uint8_t)(*p)[2], is = (uint8_t)c;
            found |= low <= high ? is >= low && is <= high : is >= high && is <= low;
            *p += 2;
        } else {
            found |= **p == c;
        }
    }
    return found != not ;
}

static bool glob(const char *p, const char *end, const char *s, size_t len)
{
    for (; p < end && len > 0; p++, s++, len--) {
        if (*p == '*')
            return p + 1 == end; /* the only star without a backslash before it is the last byte */
        if (*p == '[') {
            p++;
            if (!in_set(&p, end, *s))
                return false;
        } else if (*p == '\\' && end - p >= 2 ? *++p != *s : *p != '?' && *p != *s) {
            return false;
        }
    }
    while (p < end && *p == '*')
        p++;
    return p == end && len == 0;
}

static bool has_nul(const struct text *t)
{
    return memchr(t->bytes, 0, t->len) != NULL;
}

static void check_pattern(const struct text *prefix, const struct text *t)
{
    static char key_prefix[] = KEY_PREFIX;
    struct redis r = {.prefix = key_prefix, .prefix_len = sizeof key_prefix - 1};
    struct buf pattern = {0}, key = {0};
    se__keys_pattern(&r, prefix->bytes, &pattern);
    se__buf_text(&key, KEY_PREFIX);
    se__buf_append(&key, t->bytes, t->len);
    must(!pattern.failed && !key.failed);
    if (!has_nul(prefix))
        must(glob(pattern.data, pattern.data + pattern.len, key.data, key.len) ==
             begins(t, prefix));
    size_t len = 0;
    const char *id = se__keys_id(&r, key.data, key.len, &len);
    must((id != NULL) == (!has_nul(t) && is_id(t->bytes, 1, SE_ID_MAX)));
    must(!id || (len == t->len && memcmp(id, t->bytes, len) == 0));
    must(se__keys_id(&r, key.data, r.prefix_len, &len) == NULL);
    must(se__keys_id(&r, key.data, r.prefix_len - 1, &len) == NULL);
    se__buf_done(&pattern);
    se__buf_done(&key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct text prefix, t;
    prefix.bytes = (char *)take_copy(&in, take_byte(&in), true, &prefix.len);
    t.bytes = (char *)take_copy(&in, SIZE_MAX, true, &t.len);
    check_id(&prefix);
    check_id(&t);
    check_utf8(&prefix);
    check_utf8(&t);
    check_range(&prefix, &t);
    check_pattern(&prefix, &t);
    free(prefix.bytes);
    free(t.bytes);
    return 0;
}
