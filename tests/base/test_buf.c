/* Growing, sticking at the first failure, handing over. */
#include "base/buf.h"
#include "base/mem.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

Test(buf, appends_what_it_is_given)
{
    struct buf b = {0};
    se__buf_append(&b, "", 0);
    cr_assert_null(b.data);
    se__buf_append(&b, "a\0b", 3);
    se__buf_text(&b, "cd");
    se__buf_printf(&b, "%d-%s", 42, "x");
    cr_assert_eq(b.len, 9u);
    cr_assert_eq(memcmp(b.data, "a\0bcd42-x", 9), 0);
    cr_assert_not(b.failed);
    se__buf_done(&b);
    cr_assert(b.data == NULL && b.len == 0 && b.cap == 0);
}

Test(buf, grows_by_doubling)
{
    struct buf b = {0};
    size_t grown = 0, cap = 0;
    for (size_t i = 0; i < 1000000; i++) {
        char c = (char)i;
        se__buf_append(&b, &c, 1);
        grown += b.cap != cap;
        cap = b.cap;
    }
    cr_assert_eq(b.len, 1000000u);
    cr_assert_leq(grown, 20u);
    for (size_t i = 0; i < 1000000; i += 999)
        cr_assert_eq(b.data[i], (char)i);
    se__buf_done(&b);
}

Test(buf, printf_of_any_length)
{
    for (int width = 0; width < 300; width++) {
        struct buf b = {0};
        se__buf_text(&b, "<");
        se__buf_printf(&b, "%*s", width, "");
        se__buf_text(&b, ">");
        cr_assert_eq(b.len, (size_t)width + 2);
        cr_assert(b.data[0] == '<' && b.data[width + 1] == '>');
        se__buf_done(&b);
    }
}

Test(buf, reserve_gives_room_and_grow_takes_it)
{
    struct buf b = {0};
    char *at = se__buf_reserve(&b, 500);
    cr_assert_not_null(at);
    cr_assert_geq(b.cap, 500u);
    cr_assert_eq(b.len, 0u);
    memset(at, 'z', 500);
    se__buf_grow(&b, 300);
    cr_assert_eq(b.len, 300u);
    cr_assert_eq(se__buf_reserve(&b, 0), b.data + 300);
    se__buf_clear(&b);
    cr_assert(b.len == 0 && b.cap >= 500);
    se__buf_done(&b);
}

Test(buf, overflow_is_a_failure)
{
    struct buf b = {0};
    se__buf_text(&b, "abc");
    cr_assert_null(se__buf_reserve(&b, SIZE_MAX - 1));
    cr_assert(b.failed && b.len == 3);
    se__buf_done(&b);
}

Test(buf, a_failure_sticks_until_cleared)
{
    if (!se__mem_fail_after(-1))
        cr_skip_test("compiled out of release builds");
    se__mem_fail_after(0);
    struct buf b = {0};
    se__buf_text(&b, "abc");
    se__mem_fail_after(-1);
    cr_assert(b.failed);
    se__buf_text(&b, "def");
    se__buf_printf(&b, "%d", 1);
    cr_assert_null(se__buf_reserve(&b, 1));
    cr_assert_eq(b.len, 0u);
    size_t len = 77;
    cr_assert_null(se__buf_take(&b, &len));
    cr_assert_eq(len, 77u);
    cr_assert_not(b.failed); /* taken: empty again */
    b.failed = true;
    se__buf_clear(&b);
    se__buf_text(&b, "ghi");
    cr_assert_eq(b.len, 3u);
    se__buf_done(&b);
}

Test(buf, take_hands_over_terminated_memory)
{
    struct buf b = {0};
    size_t len;
    char *empty = se__buf_take(&b, &len);
    cr_assert_str_eq(empty, "");
    cr_assert_eq(len, 0u);
    free(empty); /* the public promise: free(), not ours */
    for (size_t n = 1; n < 300; n++) {
        for (size_t i = 0; i < n; i++)
            se__buf_append(&b, "q", 1);
        char *text = se__buf_take(&b, NULL);
        cr_assert_eq(strlen(text), n);
        cr_assert_null(b.data);
        free(text);
    }
}
