/* RFC 8259, by a list of known cases and by a small recursive parser that
 * must agree on mutated texts. */
#include "base/mem.h"
#include "base/os.h"
#include "base/utf8.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
    const char *bytes;
    size_t len;
};
#define T(literal)                                                                                 \
    {                                                                                              \
        literal, sizeof literal - 1                                                                \
    }

static const struct text good[] = {
    T("0"),
    T("-0"),
    T("1"),
    T("-1"),
    T("10"),
    T("0.0"),
    T("1.5e+3"),
    T("1E5"),
    T("1e-5"),
    T("0e0"),
    T("1e999"),
    T("-1e-999"),
    T("123456789012345678901234567890"),
    T("0.00000000000000000000000000001"),
    T("true"),
    T("false"),
    T("null"),
    T("\"\""),
    T("\"a\""),
    T("\"\\u0000\""),
    T("\"\\ud800\""),
    T("\"\\udc00\\ud800\""),
    T("\"\\ud83d\\ude00\""),
    T("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    T("\"\\uABCD\\uabcd\""),
    T("\"\x7f\""),
    T("\"/\""),
    T("\"\xc3\xa4\xf0\x9f\x98\x80\""),
    T("\"\xef\xbb\xbf\""),
    T("[]"),
    T("{}"),
    T("[[]]"),
    T("[{}]"),
    T("{\"\":{}}"),
    T("[1,2]"),
    T("{\"a\":1,\"a\":2}"),
    T(" \t\n\r1 \t\n\r"),
    T("[ ]"),
    T("{ }"),
    T(" { \"a\" : [ 1 , 2 ] } "),
    T("[null,true,false,0,\"\",[],{}]"),
    T("[0e+1]"),
    T("[-0.0]"),
};
static const struct text bad[] = {
    T(""),
    T(" "),
    T("\t\n\r "),
    T("01"),
    T("-01"),
    T("-"),
    T("+1"),
    T("1."),
    T(".5"),
    T("-.5"),
    T("1e"),
    T("1e+"),
    T("0x1"),
    T("1.5.5"),
    T("1e1.5"),
    T("00"),
    T("NaN"),
    T("Infinity"),
    T("-Infinity"),
    T("nan"),
    T("nul"),
    T("nulll"),
    T("True"),
    T("tru"),
    T("truex"),
    T("true false"),
    T("1 2"),
    T("1,"),
    T(",1"),
    T("[1,]"),
    T("[,1]"),
    T("[1,,2]"),
    T("[1 2]"),
    T("{\"a\":1,}"),
    T("{,}"),
    T("{\"a\"}"),
    T("{\"a\":}"),
    T("{\"a\" 1}"),
    T("{a:1}"),
    T("{1:2}"),
    T("{'a':1}"),
    T("{\"a\":1 \"b\":2}"),
    T("[1}"),
    T("{\"a\":1]"),
    T("["),
    T("{"),
    T("]"),
    T("}"),
    T("[[]"),
    T("[]]"),
    T("{}}"),
    T("\""),
    T("\"a"),
    T("\"a\"b"),
    T("'a'"),
    T("\"\\\""),
    T("\"\\x41\""),
    T("\"\\u12\""),
    T("\"\\u12g4\""),
    T("\"\\U0041\""),
    T("\"\\a\""),
    T("\"\\'\""),
    T("\"\\0\""),
    T("\"\x01\""),
    T("\"\n\""),
    T("\"\t\""),
    T("\"\0\""),
    T("\0"),
    T("1\0"),
    T("[\0]"),
    T("\xef\xbb\xbf{}"),
    T("\xef\xbb\xbf"),
    T("/**/1"),
    T("1//"),
    T("1/**/"),
    T("[1]/*x*/"),
    T("//\n1"),
    T("#\n1"),
    T("\v1"),
    T("1\f"),
    T("[\v]"),
    T("\xc2\xa0"
      "1"),
    T("\"\xff\""),
    T("\"\xc0\x80\""),
    T("\"\xed\xa0\x80\""),
    T("\"\xf4\x90\x80\x80\""),
    T("\"\xc3\""),
    T("[\"\xe2\x82\"]"),
    T("\xff"),
    T("undefined"),
    T("{\"a\":undefined}"),
    T("[1]x"),
    T("1a"),
    T("\\u0031"),
    T("{\"a\":1}{\"b\":2}"),
    T("[1][2]"),
    T("true,"),
    T(":"),
    T("\"a\":1"),
    T("[:]"),
    T("{:}"),
    T("{\"a\"::1}"),
};

Test(json, takes_what_the_rfc_allows)
{
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_assert(se__json_valid(good[i].bytes, good[i].len), "%zu: %s", i, good[i].bytes);
}

Test(json, refuses_the_rest)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_not(se__json_valid(bad[i].bytes, bad[i].len), "%zu: %s", i, bad[i].bytes);
}

Test(json, every_byte_behind_a_backslash_and_around_a_value)
{
    for (int c = 0; c < 256; c++) {
        char escape[] = {'"', '\\', (char)c, '"'}, before[] = {(char)c, '[', ']'},
             after[] = {'[', ']', (char)c};
        bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
        cr_assert_eq(se__json_valid(escape, 4), c != 0 && strchr("\"\\/bfnrt", c) != NULL, "%d", c);
        cr_assert_eq(se__json_valid(before, 3), space, "%d", c);
        cr_assert_eq(se__json_valid(after, 3), space, "%d", c);
    }
}

/* ---- the reference: one function a rule of the RFC's grammar ---- */

struct reader {
    const uint8_t *at, *end;
};

static bool value(struct reader *r, int depth);

static void blanks(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

static bool accept(struct reader *r, char c)
{
    if (r->at == r->end || *r->at != (uint8_t)c)
        return false;
    r->at++;
    return true;
}

static bool digits(struct reader *r)
{
    const uint8_t *from = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > from;
}

static bool number(struct reader *r)
{
    accept(r, '-');
    if (!accept(r, '0') && !digits(r))
        return false;
    if (accept(r, '.') && !digits(r))
        return false;
    if (accept(r, 'e') || accept(r, 'E')) {
        if (!accept(r, '+'))
            accept(r, '-');
        return digits(r);
    }
    return true;
}

static bool escape(struct reader *r)
{
    if (r->at == r->end)
        return false;
    uint8_t c = *r->at++;
    if (c != 'u')
        return c != 0 && strchr("\"\\/bfnrt", c) != NULL;
    for (int i = 0; i < 4; i++, r->at++)
        if (r->at == r->end || *r->at == 0 || !strchr("0123456789abcdefABCDEF", *r->at))
            return false;
    return true;
}

static bool string(struct reader *r)
{
    if (!accept(r, '"'))
        return false;
    while (r->at < r->end && *r->at != '"') {
        uint8_t c = *r->at++;
        if (c < 0x20 || (c == '\\' && !escape(r)))
            return false;
    }
    return accept(r, '"');
}

static bool word(struct reader *r, const char *w)
{
    for (; *w; w++)
        if (!accept(r, *w))
            return false;
    return true;
}

static bool list(struct reader *r, char close, bool named, int depth)
{
    blanks(r);
    if (accept(r, close))
        return true;
    for (;;) {
        blanks(r);
        if (named) {
            if (!string(r))
                return false;
            blanks(r);
            if (!accept(r, ':'))
                return false;
        }
        if (!value(r, depth + 1))
            return false;
        if (accept(r, close))
            return true;
        if (!accept(r, ','))
            return false;
    }
}

static bool bare_value(struct reader *r, int depth)
{
    if (r->at == r->end)
        return false;
    switch (*r->at) {
    case '[':
    case '{':
        r->at++;
        return list(r, r->at[-1] == '[' ? ']' : '}', r->at[-1] == '{', depth);
    case '"':
        return string(r);
    case 't':
        return word(r, "true");
    case 'f':
        return word(r, "false");
    case 'n':
        return word(r, "null");
    default:
        return number(r);
    }
}

static bool value(struct reader *r, int depth)
{
    blanks(r);
    if (!bare_value(r, depth))
        return false;
    blanks(r);
    return true;
}

static bool reference(const void *bytes, size_t len)
{
    struct reader r = {bytes, (const uint8_t *)bytes + len};
    return se__utf8_check(bytes, len) == len && value(&r, 0) && r.at == r.end;
}

static uint64_t random_state = 42; /* the same cases every time */

static uint32_t chance(uint32_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1;
    return (uint32_t)(random_state >> 33) % n;
}

static size_t mutate(char *text, size_t len, size_t cap)
{
    static const char palette[] =
        "[]{}\",:-+.eE0123456789truefalsnl \t\n\r\\/bu\x01\x7f\v\f\x80\xc3\xa4\xff*#'";
    for (uint32_t n = 1 + chance(3); n > 0; n--) {
        size_t at = len ? chance((uint32_t)len) : 0;
        uint32_t what = chance(3);
        if (what == 0 && len > 0) { /* drop a byte */
            memmove(text + at, text + at + 1, len - at - 1);
            len--;
        } else if (what == 1 && len < cap) { /* put one in */
            memmove(text + at + 1, text + at, len - at);
            text[at] = palette[chance(sizeof palette)]; /* the final NUL as well */
            len++;
        } else if (len > 0) {
            text[at] = palette[chance(sizeof palette)];
        }
    }
    return len;
}

Test(json, agrees_with_a_parser_written_from_the_grammar)
{
    static const char *seeds[] = {"[1,2.5e-3,\"a\\u00e4\\n\",true,false,null,{\"k\":[]}]",
                                  "{\"a\":{\"b\":[1,-0,10]},\"c\":\"\xc3\xa4\"}",
                                  " [ 0 , -1E+9 , \"\" ] ",
                                  "\"\\ud83d\\ude00\"",
                                  "-12.5e+10",
                                  "[[[[{}]]]]",
                                  "null"};
    int valid = 0;
    for (int i = 0; i < 200000; i++) {
        char text[100];
        const char *seed = seeds[i % 7];
        memcpy(text, seed, strlen(seed));
        size_t len = mutate(text, strlen(seed), sizeof text);
        char *exact = malloc(len ? len : 1); /* so that a read behind the end is caught */
        memcpy(exact, text, len);
        bool want = reference(exact, len);
        cr_assert_eq(se__json_valid(exact, len), want, "case %d: %.*s", i, (int)len, text);
        valid += want;
        free(exact);
    }
    cr_assert(valid > 10000 && valid < 190000, "%d", valid); /* both sides are tried */
}

/* ---- size and memory ---- */

#define BIG (8u << 20)

Test(json, eight_mib_of_anything_ends)
{
    char *text = malloc(BIG);
    memset(text, '[', BIG);
    cr_assert_not(se__json_valid(text, BIG));
    memset(text + BIG / 2, ']', BIG / 2);
    cr_assert(se__json_valid(text, BIG));
    for (size_t i = 0; i + 5 <= BIG; i += 5)
        memcpy(text + i, "{\"\":[", 5);
    cr_assert_not(se__json_valid(text, BIG));
    memset(text, 'a', BIG);
    text[0] = '"';
    cr_assert_not(se__json_valid(text, BIG)); /* a string without end */
    text[BIG - 1] = '"';
    cr_assert(se__json_valid(text, BIG));
    memset(text, '9', BIG);
    cr_assert(se__json_valid(text, BIG)); /* one number */
    memset(text, ' ', BIG);
    cr_assert_not(se__json_valid(text, BIG));
    for (size_t i = 1; i < BIG - 1; i++)
        text[i] = "\\\\"[i & 1];
    text[0] = text[BIG - 1] = '"';
    cr_assert(se__json_valid(text, BIG));
    free(text);
}

Test(json, nesting_costs_linear_time)
{
    /* Allocations stand for time: each doubling of the depth may add
     * a handful, not twice as many. */
    if (!se__mem_fail_after(-1))
        cr_skip_test("compiled out of release builds");
    static char text[1 << 20];
    memset(text, '[', sizeof text / 2);
    memset(text + sizeof text / 2, ']', sizeof text / 2);
    se__mem_fail_after(40);
    bool valid = se__json_valid(text, sizeof text);
    se__mem_fail_after(-1);
    cr_assert(valid);
}

Test(json, without_memory_it_says_no_and_leaks_nothing)
{
    if (!se__mem_fail_after(-1))
        cr_skip_test("compiled out of release builds");
    static char text[5000];
    memset(text, '[', 2500);
    memset(text + 2500, ']', 2500);
    int failures = 0, n = 0;
    for (bool valid = false; !valid; n++) {
        se__mem_fail_after(n);
        valid = se__json_valid(text, sizeof text);
        se__mem_fail_after(-1);
        failures += !valid;
        cr_assert_lt(n, 1000);
    }
    cr_assert_gt(failures, 5); /* each allocation of the parser failed once */
}
