/*
 * Tests of src/base/length.h: every length at every alignment, right before a page that cannot be read.
 */
#include "base/length.h"
#include "support/test.h"

#include <sys/mman.h>
#include <unistd.h>

#define MAX SE__SHORT_LENGTH

static char *page_before_nothing(size_t page)
{
    char *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(two, MAP_FAILED);
    cr_assert_eq(mprotect(two + page, page, PROT_NONE), 0);
    return two;
}

Test(length, ends_at_the_first_zero_and_reads_nothing_of_the_next_page)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *at = page_before_nothing(page);
    for (size_t len = 0; len <= MAX; len++) {
        for (size_t behind = 0; behind < 40; behind++) {
            char *s = at + page - behind - len - 1;
            memset(at, 0, page);
            memset(s, 'x', len);
            memset(s + len + 1, behind % 2 ? 'y' : 0, behind);
            cr_assert_eq(se__short_length(s), len, "%zu, %zu behind", len, behind);
        }
    }
    munmap(at, 2 * page);
}

Test(length, of_what_is_too_long_is_more_than_the_most)
{
    char text[600];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    for (size_t skip = 0; skip < 40; skip++) {
        for (size_t len = MAX + 1; len < 200; len++) {
            text[skip + len] = 0;
            cr_assert_gt(se__short_length(text + skip), MAX, "%zu", len);
            text[skip + len] = 'x';
        }
    }
}
