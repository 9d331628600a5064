/*
 * text: what a terminal is shown, numbers, durations, sizes, times.
 */
#include "../../tools/text.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *safe(const char *text)
{
    static char out[256];
    text_safe(text, strlen(text), out, sizeof out);
    return out;
}

Test(tool_text, leaves_readable_text_alone)
{
    cr_assert_str_eq(safe("Sant Julià de Lòria 日本 😀 a\"b"), "Sant Julià de Lòria 日本 😀 a\"b");
}

Test(tool_text, spells_out_what_a_terminal_would_obey)
{
    cr_assert_str_eq(safe("a\x1b[31mb"), "a\\x1b[31mb");
    cr_assert_str_eq(safe("a\rb\nc\x7f"), "a\\x0db\\x0ac\\x7f");
    cr_assert_str_eq(safe("\xc2\x9b"
                          "2J"),
                     "\\xc2\\x9b2J");                              /* C1: the one-byte CSI */
    cr_assert_str_eq(safe("x\xe2\x80\xaey"), "x\\xe2\\x80\\xaey"); /* right-to-left override */
    cr_assert_str_eq(safe("bad\xff\xc3"), "bad\\xff\\xc3");
}

Test(tool_text, cuts_at_whole_characters_and_terminates)
{
    char out[8];
    cr_assert_eq(text_safe("äääää", 10, out, sizeof out), 6);
    cr_assert_str_eq(out, "äää");
    cr_assert_eq(text_safe("\x01\x02", 2, out, sizeof out), 4);
    cr_assert_str_eq(out, "\\x01");
    cr_assert_eq(text_safe("abc", 3, out, 1), 0);
    cr_assert_str_eq(out, "");
}

Test(tool_text, reads_whole_numbers_only)
{
    uint64_t v = 7;
    cr_assert(text_u64("0", 10, &v) && v == 0);
    cr_assert(text_u64("18446744073709551615", UINT64_MAX, &v) && v == UINT64_MAX);
    static const char *const wrong[] = {
        "", "-1", "+1", " 1", "1 ", "1x", "11", "0x1", "18446744073709551616"};
    v = 7;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_assert_not(text_u64(wrong[i], 10, &v), "%s", wrong[i]);
    cr_assert_eq(v, 7);
}

Test(tool_text, reads_durations)
{
    uint64_t ms = 0;
    cr_assert(text_duration("1500ms", 1000, &ms) && ms == 1500);
    cr_assert(text_duration("90", 1000, &ms) && ms == 90000);
    cr_assert(text_duration("90s", 1, &ms) && ms == 90000);
    cr_assert(text_duration("5m", 1, &ms) && ms == 300000);
    cr_assert(text_duration("2h", 1, &ms) && ms == 7200000);
    cr_assert(text_duration("7d", 1, &ms) && ms == 604800000);
    static const char *const wrong[] = {"",
                                        "s",
                                        "-1s",
                                        "1.5s",
                                        "1 s",
                                        "1w",
                                        "1ss",
                                        "99999999999999999999s",
                                        "9223372036854775807d"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_assert_not(text_duration(wrong[i], 1000, &ms), "%s", wrong[i]);
}

Test(tool_text, prints_sizes_times_and_durations)
{
    char out[32];
    text_bytes(999, out);
    cr_assert_str_eq(out, "999 B");
    text_bytes(1500, out);
    cr_assert_str_eq(out, "1.5 kB");
    text_bytes(999999, out);
    cr_assert_str_eq(out, "1.0 MB");
    text_bytes(UINT64_MAX, out);
    cr_assert_str_eq(out, "18.4 EB");
    text_elapsed(420, out);
    cr_assert_str_eq(out, "0.42 s");
    text_elapsed(185000, out);
    cr_assert_str_eq(out, "3m 05s");
    text_elapsed(7620000, out);
    cr_assert_str_eq(out, "2h 07m");
    text_time(0, out);
    cr_assert_str_eq(out, "never");
    text_time(1767225599123, out);
    cr_assert_str_eq(out, "2025-12-31T23:59:59.123Z");
    text_time(-1, out);
    cr_assert_str_eq(out, "1969-12-31T23:59:59.999Z");
    text_time(INT64_MAX, out);
    cr_assert_str_eq(out, "9223372036854775807");
}
