/*
 * ndjson: lines whatever the pieces they come in, and ids out of lines.
 */
#include "../../tools/ndjson.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lines ---- */

/* Feeds `text` in pieces of `piece` bytes and writes "number:line|" for each line,
 * "number!len|" for one too long. */
static const char *split(const char *text, size_t len, size_t piece, size_t line_max)
{
    static char out[4096];
    struct ndjson_lines l;
    struct ndjson_line line;
    size_t n = 0;
    ndjson_init(&l, line_max);
    for (size_t at = 0; at <= len; at += piece) {
        size_t take = len - at < piece ? len - at : piece;
        if (take > 0)
            cr_assert_eq(ndjson_push(&l, text + at, take), SE_OK);
        if (at + piece > len)
            ndjson_end(&l);
        while (ndjson_next(&l, &line))
            n += (size_t)(line.text ? snprintf(out + n, sizeof out - n, "%d:%.*s|",
                                               (int)line.number, (int)line.len, line.text)
                                    : snprintf(out + n, sizeof out - n, "%d!%d|", (int)line.number,
                                               (int)line.len));
        cr_assert_leq(l.held.len - l.at, line_max + piece, "more is held than promised");
    }
    out[n] = 0;
    ndjson_done(&l);
    return out;
}

static void same_in_all_pieces(const char *text, size_t line_max, const char *expected)
{
    for (size_t piece = 1; piece <= strlen(text) + 1; piece++) {
        const char *got = split(text, strlen(text), piece, line_max);
        cr_assert_str_eq(got, expected, "pieces of %zu: %s", piece, got);
    }
}

Test(tool_ndjson, splits_at_line_feeds_and_takes_the_last_line_without_one)
{
    same_in_all_pieces("ab\ncd\nef", 100, "1:ab|2:cd|3:ef|");
    same_in_all_pieces("ab\ncd\n", 100, "1:ab|2:cd|");
    same_in_all_pieces("", 100, "");
    same_in_all_pieces("\n", 100, "");
}

Test(tool_ndjson, keeps_the_carriage_return)
{
    same_in_all_pieces("ab\r\ncd\r\n", 100, "1:ab\r|2:cd\r|");
}

Test(tool_ndjson, counts_blank_lines_and_skips_them)
{
    same_in_all_pieces("\n \t\nab\n\r\n\ncd", 100, "3:ab|6:cd|");
}

Test(tool_ndjson, a_zero_byte_is_not_blank)
{
    const char *got = split("\0\nb\n", 4, 2, 100);
    cr_assert_eq(got[0], '1');
}

Test(tool_ndjson, measures_and_skips_a_line_that_is_too_long)
{
    same_in_all_pieces("12345\n123456\n1\n", 5, "1:12345|2!6|3:1|");
    same_in_all_pieces("a\n1234567890123456789012345678901234567890", 5, "1:a|2!40|");
    same_in_all_pieces("123456789\n\nb", 5, "1!9|3:b|");
}

/* ---- ids ---- */

static char id[SE_ID_MAX + 1], why[512];

static bool find(const char *line, const char *field)
{
    memset(id, 'x', sizeof id);
    why[0] = 0;
    return ndjson_id(line, strlen(line), field, id, why, sizeof why);
}

static void finds(const char *line, const char *expected)
{
    cr_assert(find(line, "id"), "%s: %s", line, why);
    cr_assert_str_eq(id, expected, "%s: got %s", line, id);
}

static void refuses(const char *line, const char *word)
{
    cr_assert_not(find(line, "id"), "%s: got %s", line, id);
    cr_assert(strstr(why, word) != NULL, "%s: \"%s\" does not say %s", line, why, word);
    cr_assert(strchr(why, '\n') == NULL);
}

Test(tool_ndjson, finds_strings)
{
    finds("{\"id\":\"geo.AD.03\",\"x\":1}", "geo.AD.03");
    finds("  {\"a\":{\"id\":\"inner\"},\"b\":[{\"id\":1}],\"id\":\"outer\"}\r", "outer");
    finds("{\"id\":\"a\\\"b\\\\c\\/\"}", "a\"b\\c/");
    finds("{\"id\":\"\\u00e9\\ud83d\\ude00\"}", "é😀");
    finds("{\"id\":\"é😀\"}", "é😀");
    finds("{\"\\u0069d\":\"x\"}", "x"); /* the name, escaped */
    finds("{\"ID\":\"no\",\"id\":\"yes\"}", "yes");
}

Test(tool_ndjson, finds_numbers_as_they_are_written)
{
    finds("{\"id\":42}", "42");
    finds("{\"id\":-0}", "-0");
    finds("{\"id\":1.50}", "1.50");
    finds("{\"id\":1e3}", "1e3");
    finds("{\"id\":123456789012345678901234567890}", "123456789012345678901234567890");
}

Test(tool_ndjson, takes_any_field_name)
{
    cr_assert(find("{\"\":\"empty\"}", ""), "%s", why);
    cr_assert_str_eq(id, "empty");
    cr_assert(find("{\"größe\":\"x\"}", "größe"), "%s", why);
    cr_assert_not(find("{\"idx\":\"x\",\"i\":\"y\"}", "id"));
}

Test(tool_ndjson, refuses_what_is_no_json_object)
{
    refuses("", "JSON");
    refuses("garbage", "JSON");
    refuses("{\"id\":\"a\"", "JSON");
    refuses("{\"id\":\"a\"} x", "JSON");
    refuses("{\"id\":\"a\"}{\"id\":\"b\"}", "JSON");
    refuses("{\"id\":\"a\",}", "JSON");
    refuses("{'id':'a'}", "JSON");
    refuses("{\"id\":\"a\"/**/}", "JSON");
    refuses("{\"id\":\"\xff\"}", "UTF-8");
    refuses("{\"id\":\"a\",\"x\":\"\xc0\x80\"}", "UTF-8");
    refuses("[{\"id\":\"a\"}]", "not a JSON object");
    refuses("\"id\"", "not a JSON object");
    refuses("17", "not a JSON object");
    refuses("null", "not a JSON object");
    refuses("\xef\xbb\xbf{\"id\":\"a\"}", "byte order mark");
}

Test(tool_ndjson, refuses_missing_double_and_odd_fields)
{
    refuses("{}", "no field \"id\"");
    refuses("{\"a\":{\"id\":\"x\"}}", "no field \"id\"");
    refuses("{\"id\":\"a\",\"id\":\"a\"}", "twice");
    refuses("{\"id\":null,\"id\":\"a\"}", "twice");
    refuses("{\"id\":\"a\",\"id\":{}}", "twice");
    refuses("{\"id\":null}", "neither");
    refuses("{\"id\":true}", "neither");
    refuses("{\"id\":[\"a\"]}", "neither");
    refuses("{\"id\":{\"id\":\"a\"}}", "neither");
}

Test(tool_ndjson, refuses_what_is_no_id)
{
    char line[400];
    refuses("{\"id\":\"\"}", "id");
    refuses("{\"id\":\"a\\u0000b\"}", "control byte");
    refuses("{\"id\":\"a\\nb\"}", "id");
    refuses("{\"id\":\"\\u007f\"}", "id");
    snprintf(line, sizeof line, "{\"id\":\"%0255d\"}", 7);
    cr_assert(find(line, "id"), "%s", why);
    snprintf(line, sizeof line, "{\"id\":\"%0256d\"}", 7);
    refuses(line, "longer than 255");
}

/* yajl makes "?" of half a pair: two different ids would become one. */
Test(tool_ndjson, refuses_half_a_surrogate_pair_in_an_id)
{
    refuses("{\"id\":\"\\ud800\"}", "surrogate");
    refuses("{\"id\":\"\\ud800x\"}", "surrogate");
    refuses("{\"id\":\"\\ud800\\u0041\"}", "surrogate");
    refuses("{\"id\":\"\\udc00\"}", "surrogate");
    finds("{\"id\":\"plain\",\"x\":\"\\ud800\"}", "plain"); /* content is only bytes */
}

Test(tool_ndjson, deep_and_long_lines_end_in_an_answer)
{
    enum { DEEP = 200000 };
    char *line = malloc(2 * DEEP + 100);
    size_t n = (size_t)sprintf(line, "{\"x\":");
    memset(line + n, '[', DEEP);
    memset(line + n + DEEP, ']', DEEP);
    strcpy(line + n + 2 * DEEP, ",\"id\":\"deep\"}");
    finds(line, "deep");
    line[n + DEEP] = 'x';
    refuses(line, "JSON");
    free(line);
}
