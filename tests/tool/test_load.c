/*
 * syncengine load: byte-exact contents, bad lines, zstd, pipes, signals, backpressure, outages.
 */
#include "run.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#define DB "--sql-url sqlite:items.db "

TestSuite(tool_load, .init = run_init, .fini = run_done, .timeout = 120);

/* n lines {"id":"k000001",...}, in id order, of changing length. */
static char *many_lines(int n, size_t *len)
{
    char *text = malloc((size_t)n * 200 + 1);
    *len = 0;
    for (int i = 0; i < n; i++)
        *len += (size_t)sprintf(text + *len, "{\"id\":\"k%06d\", \"v\":\"%0*d é\"}\n", i,
                                i % 90 + 1, i);
    return text;
}

static void comes_back(const char *text, size_t len)
{
    struct run r = run_expect(0, DB "scan --contents");
    cr_assert_eq(r.out_len, len);
    cr_assert_arr_eq(r.out, text, len);
}

Test(tool_load, every_line_comes_back_byte_for_byte)
{
    size_t len;
    char *text = many_lines(20000, &len);
    write_file("lines.ndjson", text, len);
    struct run r = run_expect(0, DB "load lines.ndjson --id-field id");
    cr_assert(says(r.out, "loaded 20000 items, ") && says(r.out, "items/s\n"), "%s", r.out);
    cr_assert(says(r.out, "everything accepted is in sqlite:"), "%s", r.out);
    cr_assert_eq(r.err_len, 0, "%s", r.err);
    comes_back(text, len);
    cr_assert_str_eq(run_expect(0, DB "count").out, "20000\n");
    cr_assert_str_eq(run_expect(0, DB "get k000007").out,
                     "{\"id\":\"k000007\", \"v\":\"00000007 é\"}");
    free(text);
}

Test(tool_load, each_ack_loads_the_same)
{
    static const char *const acks[] = {"memory", "wal", "l3"};
    size_t len;
    char *text = many_lines(1000, &len);
    write_file("lines.ndjson", text, len);
    for (int i = 0; i < 3; i++) {
        run_expect(0, "--sql-url sqlite:%s.db --wal-path %s.wal load lines.ndjson --ack %s",
                   acks[i], acks[i], acks[i]);
        struct run r = run_expect(0, "--sql-url sqlite:%s.db scan --contents", acks[i]);
        cr_assert_eq(r.out_len, len);
        cr_assert_arr_eq(r.out, text, len);
    }
    free(text);
}

Test(tool_load, bad_lines_are_told_and_the_rest_goes_on)
{
    static const char text[] = "{\"id\":\"a\"}\n"     /* 1 */
                               "garbage\n"            /* 2 */
                               "\n"                   /* 3 */
                               "{\"no\":\"id\"}\n"    /* 4 */
                               "{\"id\":[1]}\n"       /* 5 */
                               "{\"id\":\"\"}\n"      /* 6 */
                               "{\"id\":\"b\"}\r\n"   /* 7 */
                               "{\"id\":\"x\\ny\"}\n" /* 8 */
                               "{\"id\":7 , \"z\":\"a line that is longer than the limit\"}\n"
                               "{\"id\":8}";
    struct run r = run(text, sizeof text - 1, DB "--max-payload-bytes 32 load -");
    cr_assert_eq(r.status, 1, "%s%s", r.out, r.err);
    static const int bad[] = {2, 4, 5, 6, 8, 9};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char part[32];
        snprintf(part, sizeof part, "syncengine: line %d: ", bad[i]);
        cr_assert(says(r.err, part), "%s in %s", part, r.err);
    }
    cr_assert(!says(r.err, "line 3:") && !says(r.err, "line 7:"), "%s", r.err);
    cr_assert(says(r.out, "loaded 3 items") && says(r.out, "6 bad lines"), "%s", r.out);
    cr_assert_str_eq(run_expect(0, DB "scan --ids-only").out, "8\na\nb\n");
    cr_assert_str_eq(run_expect(0, DB "get b").out, "{\"id\":\"b\"}\r"); /* the CR is content */
    cr_assert_str_eq(run_expect(0, DB "get 8").out, "{\"id\":8}");
}

Test(tool_load, garbage_never_breaks_it)
{
    char bytes[50000];
    unsigned seed = 1;
    for (size_t i = 0; i < sizeof bytes; i++) {
        seed = seed * 1103515245u + 12345u;
        bytes[i] = (char)(seed >> 16);
    }
    struct run r = run(bytes, sizeof bytes, DB "load -");
    cr_assert_eq(r.status, 1, "%d", r.status);
    cr_assert(says(r.out, "loaded 0 items"));
    for (const char *at = r.err; *at; at++)
        cr_assert((unsigned char)*at >= 0x20 || *at == '\n', "a control byte on the terminal");
    memset(bytes, 0, sizeof bytes);
    cr_assert_eq(run(bytes, sizeof bytes, DB "load -").status, 1);
    cr_assert_eq(run("", 0, DB "load -").status, 0);
    cr_assert_eq(run("\xef\xbb\xbf{\"id\":1}\n{\"id\":2}\n", 22, DB "load -").status, 1);
    cr_assert_str_eq(run_expect(0, DB "scan --ids-only").out, "2\n");
}

Test(tool_load, the_same_id_again_is_the_newer_version)
{
    struct run r = run("{\"id\":1,\"v\":1}\n{\"id\":1,\"v\":2}\n", 30, DB "load -");
    cr_assert_eq(r.status, 0, "%s", r.err);
    cr_assert_str_eq(run_expect(0, DB "get 1").out, "{\"id\":1,\"v\":2}");
}

static size_t compress(char *to, size_t cap, const char *from, size_t len)
{
    size_t n = ZSTD_compress(to, cap, from, len, 3);
    cr_assert_not(ZSTD_isError(n));
    return n;
}

Test(tool_load, zstd_files_and_pipes)
{
    size_t len, cap = 4 << 20;
    char *text = many_lines(5000, &len), *z = malloc(cap);
    size_t half = (size_t)(strchr(text + len / 2, '\n') - text) + 5; /* frames end inside a line */
    size_t n = compress(z, cap, text, half);
    n += compress(z + n, cap - n, text + half, len - half);
    write_file("lines.ndjson.zst", z, n);
    run_expect(0, DB "load lines.ndjson.zst");
    comes_back(text, len);
    run_expect(0, DB "delete k000000");
    cr_assert_eq(run(z, n, DB "load -").status, 0); /* told by its bytes */
    comes_back(text, len);
    free(text);
    free(z);
}

Test(tool_load, a_damaged_zstd_file_is_status_2_and_keeps_what_came_before)
{
    size_t len, cap = 4 << 20;
    char *text = many_lines(20000, &len), *z = malloc(cap);
    size_t n = compress(z, cap, text, len);
    write_file("cut.ndjson.zst", z, n / 2);
    struct run r = run_expect(2, DB "load cut.ndjson.zst");
    cr_assert(says(r.err, "cut.ndjson.zst: ends in the middle of a zstd frame"), "%s", r.err);
    cr_assert(!says(r.err, "line "), "half a line is no line: %s", r.err);
    r = run_expect(0, DB "scan --contents");
    cr_assert_gt(r.out_len, 0);
    cr_assert_arr_eq(r.out, text, r.out_len);
    memset(z + n / 2, 'x', 1000);
    write_file("bad.ndjson.zst", z, n);
    r = run_expect(2, DB "load bad.ndjson.zst");
    cr_assert(says(r.err, "damaged near byte"), "%s", r.err);
    write_file("not.zst", "{\"id\":1}\n", 9);
    r = run_expect(2, DB "load not.zst");
    cr_assert(says(r.err, "not in zstd's format"), "%s", r.err);
    free(text);
    free(z);
}

static void wait_until_counted(const char *expected)
{
    struct timespec pause = {.tv_nsec = 20000000};
    for (int i = 0; i < 500; i++) {
        char line[] = DB "count", out[64] = "", command[256];
        snprintf(command, sizeof command, "\"$SE_TOOL\" %s 2>/dev/null", line);
        FILE *f = popen(command, "r");
        if (f && fgets(out, sizeof out, f) && strcmp(out, expected) == 0) {
            pclose(f);
            return;
        }
        if (f)
            pclose(f);
        nanosleep(&pause, NULL);
    }
    cr_assert_fail("the item did not arrive");
}

/* A pipe that stays open: what has come is stored at once, and SIGINT ends it in order. */
Test(tool_load, a_slow_pipe_is_loaded_as_it_comes_and_a_signal_ends_it)
{
    int in;
    pid_t pid = run_start(&in, DB "load -");
    cr_assert_eq(write(in, "{\"id\":1}\n{\"id\":2}\n{\"id\"", 24), 24);
    wait_until_counted("2\n");
    kill(pid, SIGINT);
    struct run r = run_wait(pid);
    close(in);
    cr_assert_eq(r.status, 130, "%d %s", r.status, r.err);
    cr_assert(says(r.out, "loaded 2 items") && says(r.out, "interrupted by signal 2 after line 2"),
              "%s", r.out);
    cr_assert_str_eq(run_expect(0, DB "count").out, "2\n");
    pid = run_start(&in, DB "load -");
    cr_assert_eq(write(in, "{\"id\":3}\n", 9), 9);
    wait_until_counted("3\n");
    kill(pid, SIGTERM);
    r = run_wait(pid);
    close(in);
    cr_assert_eq(r.status, 143);
}

Test(tool_load, waits_out_backpressure)
{
    size_t len;
    char *text = many_lines(20000, &len);
    write_file("lines.ndjson", text, len);
    struct run r =
        run_expect(0, DB "--queue-max-bytes 64KiB --batch-flush-count 50 load lines.ndjson");
    cr_assert(says(r.out, "loaded 20000 items"), "%s", r.out);
    comes_back(text, len);
    free(text);
}

Test(tool_load, a_tag_that_is_no_tag_is_refused_at_once)
{
    struct run r = run("{\"id\":1}\n", 9, DB "load - --state %040d", 1);
    cr_assert_eq(r.status, 2);
    cr_assert(says(r.err, "--state"), "%s", r.err);
}

#define DOWN                                                                                       \
    "--sql-url 'mysql://u@localhost/t?socket=/nonexistent/socket' --startup-timeout-ms 300 "

Test(tool_load, without_database_and_wal_it_gives_up_and_says_so)
{
    size_t len;
    char *text = many_lines(60000, &len);
    write_file("lines.ndjson", text, len);
    struct run r =
        run_expect(2, DOWN "--queue-max-bytes 64KiB load lines.ndjson --patience 1500ms");
    cr_assert(says(r.err, "gave up waiting"), "%s", r.err);
    cr_assert(!says(r.out, "everything accepted is in"), "%s", r.out);
    free(text);
}

Test(tool_load, without_database_the_wal_takes_it)
{
    size_t len;
    char *text = many_lines(2000, &len);
    write_file("lines.ndjson", text, len);
    struct run r = run_expect(0, DOWN "--wal-path load.wal load lines.ndjson");
    cr_assert(says(r.out, "loaded 2000 items") && says(r.out, "2000 of them wait in the WAL"), "%s",
              r.out);
    free(text);
}

Test(tool_load, progress_as_lines_and_as_a_bar)
{
    size_t len;
    char *text = many_lines(50000, &len);
    write_file("lines.ndjson", text, len);
    struct run r = run_expect(0, DB "load --progress bar lines.ndjson");
    cr_assert(says(r.err, "\r[") && says(r.err, "100%  50,000 items"), "%s", r.err);
    cr_assert(says(r.err, "0:00 left"), "%s", r.err);
    cr_assert_eq(r.err[r.err_len - 1], 'K', "the bar is wiped at the end");
    r = run_expect(0, DB "load --progress lines lines.ndjson");
    cr_assert(!strchr(r.err, '\r'));
    free(text);
}
