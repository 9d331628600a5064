/*
 * progress: one line of text out of what is known.
 */
#include "../../tools/progress.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct progress half = {
    .items = 73112, .part = 500, .whole = 1000, .elapsed_ms = 2000};

Test(tool_progress, knows_rate_and_remaining_time)
{
    uint64_t left;
    cr_assert_eq(progress_rate(&half), 36556);
    cr_assert(progress_left(&half, &left));
    cr_assert_eq(left, 2000);
    struct progress unknown = {.items = 10, .part = 100, .elapsed_ms = 1000};
    cr_assert_not(progress_left(&unknown, &left));
    struct progress start = {.whole = 1000};
    cr_assert_not(progress_left(&start, &left));
    cr_assert_eq(progress_rate(&start), 0);
}

Test(tool_progress, draws_a_bar_that_fits)
{
    char out[256];
    progress_bar(&half, 80, out, sizeof out);
    cr_assert(strstr(out, " 50%  73,112 items  36,556/s  0:02 left") != NULL, "%s", out);
    cr_assert(strstr(out, "[#") == out && strstr(out, "#.") != NULL, "%s", out);
    for (unsigned width = 20; width < 200; width++) {
        progress_bar(&half, width, out, sizeof out);
        cr_assert_lt(strlen(out), width, "%u: %s", width, out);
    }
    progress_bar(&half, 40, out, sizeof out);
    cr_assert(strchr(out, '[') == NULL, "no room for a bar: %s", out);
}

Test(tool_progress, without_a_total_it_shows_the_time_gone)
{
    char out[256];
    struct progress p = {.items = 5, .bad = 2, .part = 10, .elapsed_ms = 61000};
    progress_bar(&p, 80, out, sizeof out);
    cr_assert_str_eq(out, "5 items  0/s  1:01  2 bad");
    progress_line(&p, out, sizeof out);
    cr_assert_str_eq(out, "5 items, 0 items/s, 2 bad lines");
}

Test(tool_progress, a_file_that_grows_stays_at_the_end)
{
    char out[256];
    uint64_t left;
    struct progress p = half;
    p.part = 5000;
    cr_assert(progress_left(&p, &left));
    cr_assert_eq(left, 0);
    progress_line(&p, out, sizeof out);
    cr_assert(strstr(out, ", 100 %,") != NULL, "%s", out);
}

Test(tool_progress, extremes_do_not_break_it)
{
    char out[256];
    struct progress p = {.items = UINT64_MAX,
                         .bad = UINT64_MAX,
                         .part = 1,
                         .whole = UINT64_MAX,
                         .elapsed_ms = UINT32_MAX};
    progress_bar(&p, 10000, out, sizeof out);
    cr_assert_lt(strlen(out), sizeof out);
    progress_line(&p, out, 20);
    cr_assert_eq(strlen(out), 19);
}

Test(tool_progress, counts_what_it_is_told_to)
{
    char out[256];
    struct progress p = {.items = 5,
                         .bad = 1,
                         .part = 5,
                         .whole = 10,
                         .elapsed_ms = 1000,
                         .items_word = "ids",
                         .bad_word = "different"};
    progress_line(&p, out, sizeof out);
    cr_assert_str_eq(out, "5 ids, 50 %, 5 ids/s, about 1.00 s left, 1 different");
    progress_bar(&p, 80, out, sizeof out);
    cr_assert(strstr(out, " 50%  5 ids  5/s  0:01 left  1 different") != NULL, "%s", out);
}
