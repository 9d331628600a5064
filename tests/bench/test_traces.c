/*
 * Tests of bench/traces.c: the formats, and the renumbering of keys.
 */
#include "support/test.h"

#include "../../bench/traces.h"

#include "support/dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    cr_assert(f);
    cr_assert_eq(fwrite(bytes, 1, n, f), n);
    cr_assert_eq(fclose(f), 0);
}

/* Loads a file of this name with these bytes and compares its keys, as renumbered. */
static void loads_as(const char *name, const void *bytes, size_t n, const char *numbers)
{
    struct test_dir dir;
    struct trace t;
    char path[256], found[256] = "";
    test_dir_make(&dir);
    test_dir_path(&dir, "", name, path);
    write_file(path, bytes, n);
    trace_load(path, &t);
    for (size_t i = 0; i < t.n && strlen(found) < 200; i++)
        snprintf(found + strlen(found), 20, i ? " %u" : "%u", t.keys[i]);
    cr_assert_str_eq(found, numbers);
    trace_free(&t);
    test_dir_remove(&dir);
}

Test(traces, ranges_of_the_arc_paper)
{
    static const char text[] = "230027 3 0 0\n7 1 0 1\n230028 2 0 2\n";
    loads_as("P.lis", text, strlen(text), "0 1 2 3 1 2");
}

Test(traces, a_decimal_key_a_line_and_other_lines_skipped)
{
    static const char text[] = "2819\r\n85\n*\n\n 2819 \n18446744073709551615\n0";
    loads_as("two.trace", text, strlen(text), "0 1 0 2 3");
}

Test(traces, words_big_endian)
{
    static const unsigned char words[] = {0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0};
    loads_as("web.trace", words, sizeof words, "0 1 0 2");
}

Test(traces, a_name_ends_at_its_first_dot)
{
    struct test_dir dir;
    struct trace t;
    char path[256];
    test_dir_make(&dir);
    test_dir_path(&dir, "", "multi3.trace", path);
    write_file(path, "1\n2\n1\n", 6);
    trace_load(path, &t);
    cr_assert_str_eq(t.name, "multi3");
    cr_assert_eq(t.n, 3u);
    cr_assert_eq(t.distinct, 2u);
    trace_free(&t);
    test_dir_remove(&dir);
}

/* More than a pipe and the first buffer hold. */
Test(traces, unpacks_what_gzip_packed)
{
    struct test_dir dir;
    struct trace t;
    char path[256], command[600];
    test_dir_make(&dir);
    test_dir_path(&dir, "", "long.trace", path);
    snprintf(command, sizeof command, "seq 1 50000 >%s && gzip %s", path, path);
    cr_assert_eq(system(command), 0);
    strcat(path, ".gz");
    trace_load(path, &t);
    cr_assert_eq(t.n, 50000u);
    cr_assert_eq(t.distinct, 50000u);
    cr_assert_eq(t.keys[49999], 49999u);
    trace_free(&t);
    test_dir_remove(&dir);
}
