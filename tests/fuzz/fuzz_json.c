/*
 * fuzz_json - is this text JSON? (base/json.c)
 *
 * Input: the text.
 *
 * The answer is that of a recogniser written here from the grammar of RFC 8259 and nothing else, which
 * knows yajl as little as yajl knows it; blanks around the text change nothing.
 */
#include "fuzz/fuzz.h"

#include "base/utf8.h"

struct text {
    const uint8_t *at, *end;
};

static bool is_value(struct text *t);

static bool next_is(struct text *t, char c)
{
    if (t->at == t->end || *t->at != (uint8_t)c)
        return false;
    t->at++;
    return true;
}

static void skip_blanks(struct text *t)
{
    while (t->at < t->end && *t->at != 0 && strchr(" \t\n\r", *t->at))
        t->at++;
}

static bool is_word(struct text *t, const char *word)
{
    for (; *word; word++)
        if (!next_is(t, *word))
            return false;
    return true;
}

static unsigned digits(struct text *t)
{
    const uint8_t *from = t->at;
    while (t->at < t->end && *t->at >= '0' && *t->at <= '9')
        t->at++;
    return (unsigned)(t->at - from);
}

static bool is_number(struct text *t)
{
    next_is(t, '-');
    if (!next_is(t, '0') && digits(t) == 0)
        return false;
    if (next_is(t, '.') && digits(t) == 0)
        return false;
    if (!next_is(t, 'e') && !next_is(t, 'E'))
        return true;
    if (!next_is(t, '+'))
        next_is(t, '-');
    return digits(t) > 0;
}

/* One character as RFC 3629 tells it, by its value and not by tables of bytes. */
static bool is_character(struct text *t)
{
    static const uint32_t LEAST[] = {0, 0x80, 0x800, 0x10000};
    uint32_t c = *t->at++;
    unsigned more = c < 0x80    ? 0
                    : c >= 0xf8 ? 9
                    : c >= 0xf0 ? 3
                    : c >= 0xe0 ? 2
                    : c >= 0xc0 ? 1
                                : 9;
    if (more == 9)
        return false;
    c = more ? c & (0x3fu >> more) : c;
    for (unsigned i = 0; i < more; i++, t->at++) {
        if (t->at == t->end || (*t->at & 0xc0) != 0x80)
            return false;
        c = c << 6 | (*t->at & 0x3f);
    }
    return c >= LEAST[more] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
}

static bool is_escape(struct text *t)
{
    if (t->at == t->end)
        return false;
    uint8_t c = *t->at++;
    if (c != 'u')
        return c != 0 && strchr("\"\\/bfnrt", c) != NULL;
    for (int i = 0; i < 4; i++, t->at++)
        if (t->at == t->end || *t->at == 0 || !strchr("0123456789abcdefABCDEF", *t->at))
            return false;
    return true;
}

static bool is_string(struct text *t)
{
    if (!next_is(t, '"'))
        return false;
    while (t->at < t->end && *t->at >= 0x20) {
        if (next_is(t, '"'))
            return true;
        if (next_is(t, '\\') ? !is_escape(t) : !is_character(t))
            return false;
    }
    return false;
}

static bool is_list(struct text *t, bool object)
{
    t->at++;
    skip_blanks(t);
    if (next_is(t, object ? '}' : ']'))
        return true;
    do {
        skip_blanks(t);
        if (object && !is_string(t))
            return false;
        skip_blanks(t);
        if (object && !next_is(t, ':'))
            return false;
        skip_blanks(t);
        if (!is_value(t))
            return false;
        skip_blanks(t);
    } while (next_is(t, ','));
    return next_is(t, object ? '}' : ']');
}

static bool is_value(struct text *t)
{
    if (t->at == t->end)
        return false;
    switch (*t->at) {
    case '{':
    case '[':
        return is_list(t, *t->at == '{');
    case '"':
        return is_string(t);
    case 't':
        return is_word(t, "true");
    case 'f':
        return is_word(t, "false");
    case 'n':
        return is_word(t, "null");
    default:
        return is_number(t);
    }
}

static bool is_json(const uint8_t *bytes, size_t len)
{
    struct text t = {bytes, bytes + len};
    skip_blanks(&t);
    if (!is_value(&t))
        return false;
    skip_blanks(&t);
    return t.at == t.end;
}

static void check_blanks(const uint8_t *text, size_t len, bool valid)
{
    uint8_t *wide = malloc(len + 4);
    must(wide != NULL);
    memcpy(wide, "\r\n", 2);
    memcpy(wide + 2, text, len);
    memcpy(wide + 2 + len, "\t ", 2);
    must(se__json_valid(wide, len + 4) == valid);
    free(wide);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    size_t len;
    uint8_t *text = take_copy(&in, SIZE_MAX, false, &len);
    bool valid = se__json_valid(text, len);
    must(valid == is_json(text, len));
    check_blanks(text, len, valid);
    free(text);
    return 0;
}
