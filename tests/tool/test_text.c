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

static bool shell_reads_back(const char *text)
{
    char word[1100], back[300] = "";
    text_shell(text, word, sizeof word);
    setenv("WORD", word, 1);
    FILE *f = popen("exec bash -c 'eval \"printf %s $WORD\"'", "r");
    cr_assert_not_null(f);
    size_t n = fread(back, 1, sizeof back - 1, f);
    pclose(f);
    return n == strlen(text) && memcmp(back, text, n) == 0;
}

Test(tool_text, makes_one_word_for_the_shell)
{
    char out[64];
    text_shell("geo.AD.03/x", out, sizeof out);
    cr_assert_str_eq(out, "geo.AD.03/x");
    text_shell("it's é", out, sizeof out);
    cr_assert_str_eq(out, "'it'\\''s é'");
    text_shell("", out, sizeof out);
    cr_assert_str_eq(out, "''");
    text_shell("a\xc2\x9b'\\", out, sizeof out);
    cr_assert_str_eq(out, "$'a\\xc2\\x9b\\x27\\x5c'");
    static const char *const hard[] = {"-rf",
                                       "a b",
                                       "$HOME`id`;*",
                                       "'",
                                       "\\",
                                       "x'\\''y",
                                       "\"q\"",
                                       "~",
                                       "\xff\xfe"
                                       "1",
                                       "\xe2\x80\xae"
                                       "9",
                                       "a\nb",
                                       "é\x7f'\\"};
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++)
        cr_assert(shell_reads_back(hard[i]), "%zu", i);
}

Test(tool_text, a_word_that_is_too_long_is_cut_and_terminated)
{
    char out[20];
    for (size_t cap = 8; cap <= sizeof out; cap++) {
        memset(out, '#', sizeof out);
        text_shell("", out, cap);
        cr_assert_lt(strlen(out), cap);
        text_shell("\x9b\x9b\x9b\x9b\x9b\x9b\x9b\x9b", out, cap);
        cr_assert_lt(strlen(out), cap);
    }
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
