/*
 * Replies out of bytes that come in any pieces.
 */
#include "l2/input.h"
#include "support/test.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

TestSuite(l2_input);

static void put(struct input *in, const char *bytes, size_t len)
{
    while (len > 0) {
        size_t cap;
        char *room = se__input_room(in, &cap);
        cr_assert(room);
        size_t n = len < cap ? len : cap;
        memcpy(room, bytes, n);
        se__input_grew(in, n);
        bytes += n;
        len -= n;
    }
}

/* One line for each reply; "?" at the end: garbage. */
static void drain(struct input *in, char *out, size_t cap)
{
    const redisReply *r;
    enum input_next next;
    size_t at = strlen(out);
    while ((next = se__input_next(in, &r)) == INPUT_REPLY) {
        if (r->type == REDIS_REPLY_STRING)
            cr_assert_eq(r->str[r->len], '\0');
        at += (size_t)snprintf(out + at, cap - at, "%d:%lld:%zu:%.*s\n", r->type, r->integer,
                               r->type == REDIS_REPLY_ARRAY ? r->elements : r->len,
                               r->str ? (int)r->len : 0, r->str ? r->str : "");
    }
    if (next == INPUT_GARBAGE) {
        cr_assert(strlen(se__input_error(in)) > 0);
        snprintf(out + at, cap - at, "?\n");
    }
}

static const char MIXED[] =
    "$3\r\nabc\r\n$-1\r\n$0\r\n\r\n+OK\r\n:42\r\n$2\r\n\r\n\r\n"
    "*2\r\n$1\r\nx\r\n*1\r\n:7\r\n$5\r\nhello\r\n-ERR no\r\n*-1\r\n$1\r\n$\r\n";
static const char READ[] = "1:0:3:abc\n4:0:0:\n1:0:0:\n5:0:2:OK\n3:42:0:\n1:0:2:\r\n\n2:0:2:\n"
                           "1:0:5:hello\n6:0:6:ERR no\n4:0:0:\n1:0:1:$\n";

Test(l2_input, replies_are_the_same_in_any_two_pieces)
{
    for (size_t cut = 0; cut < sizeof MIXED; cut++) {
        struct input *in;
        char out[512] = "";
        cr_assert_eq(se__input_open(&in), SE_OK);
        put(in, MIXED, cut);
        drain(in, out, sizeof out);
        put(in, MIXED + cut, sizeof MIXED - 1 - cut);
        drain(in, out, sizeof out);
        cr_assert_str_eq(out, READ, "cut at %zu: %s", cut, out);
        cr_assert_eq(se__input_waiting(in), 0);
        se__input_close(in);
    }
}

Test(l2_input, replies_are_the_same_byte_by_byte)
{
    struct input *in;
    char out[512] = "";
    cr_assert_eq(se__input_open(&in), SE_OK);
    for (size_t i = 0; i < sizeof MIXED - 1; i++) {
        put(in, MIXED + i, 1);
        drain(in, out, sizeof out);
    }
    cr_assert_str_eq(out, READ);
    se__input_close(in);
}

Test(l2_input, long_values_come_whole_between_short_ones)
{
    enum { LEN = 3 << 20 };
    static char bytes[LEN + 64];
    struct input *in;
    const redisReply *r;
    cr_assert_eq(se__input_open(&in), SE_OK);
    int head = snprintf(bytes, sizeof bytes, "$1\r\na\r\n$%d\r\n", LEN);
    memset(bytes + head, 'z', LEN);
    memcpy(bytes + head + LEN, "\r\n$1\r\nb\r\n", 9);
    for (int round = 0; round < 3; round++) {
        put(in, bytes, (size_t)head + LEN + 9);
        cr_assert_eq(se__input_next(in, &r), INPUT_REPLY);
        cr_assert_eq(se__input_next(in, &r), INPUT_REPLY);
        cr_assert_eq(r->len, LEN);
        cr_assert(r->str[0] == 'z' && r->str[LEN - 1] == 'z');
        cr_assert_eq(se__input_next(in, &r), INPUT_REPLY);
        cr_assert_eq(r->str[0], 'b');
        cr_assert_eq(se__input_next(in, &r), INPUT_MORE);
    }
    se__input_close(in);
}

Test(l2_input, garbage_is_garbage_for_good)
{
    static const char *const texts[] = {
        "hello\r\n", "$3\r\nabcd\r\n", "$3\rxabc\r\n",  "$123456789012345678901234567890\r\n",
        "$-2\r\n",   "$x\r\n",         "*99999999\r\n", "$3\r\nabc\r\r"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct input *in;
        char out[512] = "";
        cr_assert_eq(se__input_open(&in), SE_OK);
        put(in, "$1\r\na\r\n", 7);
        put(in, texts[i], strlen(texts[i]));
        drain(in, out, sizeof out);
        cr_assert_str_eq(out, "1:0:1:a\n?\n", "%s", texts[i]);
        drain(in, out, sizeof out);
        cr_assert_str_eq(out, "1:0:1:a\n?\n?\n");
        se__input_close(in);
    }
}

/* Cut anywhere, its head is taken, or left to whoever parses the whole of it. */
Test(l2_input, the_head_of_an_array_can_be_taken)
{
    static const char text[] = "*12\r\n$1\r\nx\r\n";
    for (size_t cut = 0; cut < sizeof text; cut++) {
        struct input *in;
        const redisReply *r;
        cr_assert_eq(se__input_open(&in), SE_OK);
        put(in, text, cut);
        cr_assert_eq(se__input_array(in, 12), cut >= 5, "%zu", cut);
        put(in, text + cut, sizeof text - 1 - cut);
        cr_assert_eq(se__input_array(in, 12), cut < 5, "%zu", cut);
        cr_assert_eq(se__input_next(in, &r), INPUT_REPLY);
        cr_assert(r->type == REDIS_REPLY_STRING && r->len == 1 && r->str[0] == 'x');
        cr_assert_eq(se__input_waiting(in), 0u);
        se__input_close(in);
    }
}

Test(l2_input, nothing_else_is_taken_for_the_head_of_an_array)
{
    static const char *const texts[] = {"*3\r\n",       "*-1\r\n", "*\r\n",  "*2\n\n",
                                        "$2\r\nab\r\n", "*2x\r\n", "*22\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct input *in;
        cr_assert_eq(se__input_open(&in), SE_OK);
        put(in, texts[i], strlen(texts[i]));
        cr_assert(!se__input_array(in, 2), "%s", texts[i]);
        cr_assert_eq(se__input_waiting(in), strlen(texts[i]));
        se__input_close(in);
    }
}
