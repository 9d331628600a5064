/* The allocator's contract and its failures on demand. */
#include "base/mem.h"
#include "support/test.h"

#include <string.h>

Test(mem, zero_bytes_are_memory_too)
{
    void *a = se__alloc(0), *b = se__alloc_zeroed(0, 8), *c = se__realloc(NULL, 0),
         *d = se__alloc_aligned(64, 0);
    cr_assert(a && b && c && d);
    se__free(a);
    se__free(b);
    se__free(c);
    se__free(d);
    se__free(NULL);
}

Test(mem, overflow_is_no_memory)
{
    volatile size_t huge = SIZE_MAX / 2; /* volatile: the compiler would warn of it */
    cr_assert_null(se__alloc_zeroed(huge, 3));
}

Test(mem, zeroed_is_zero)
{
    char zero[100] = {0};
    char *a = se__alloc_zeroed(10, 10);
    cr_assert_eq(memcmp(a, zero, 100), 0);
    se__free(a);
}

Test(mem, alignment_is_kept)
{
    for (size_t alignment = sizeof(void *); alignment <= 4096; alignment *= 2) {
        void *a = se__alloc_aligned(alignment, 10);
        cr_assert_eq((uintptr_t)a % alignment, 0u);
        se__free(a);
    }
}

Test(mem, copies_texts)
{
    char *a = se__strdup("abc"), *b = se__strndup("abcdef", 2);
    cr_assert_str_eq(a, "abc");
    cr_assert_str_eq(b, "ab");
    cr_assert_null(se__strdup(NULL));
    se__free(a);
    se__free(b);
}

Test(mem, size_is_at_least_what_was_asked)
{
    cr_assert_eq(se__alloc_size(NULL), 0u);
    for (size_t n = 1; n < 5000; n += 37) {
        void *a = se__alloc(n);
        cr_assert_geq(se__alloc_size(a), n + sizeof(size_t));
        se__free(a);
    }
}

/* Runs every allocating function once; returns how many got memory. */
static int try_all(void)
{
    void *got[6] = {se__alloc(1),         se__alloc_zeroed(1, 1), se__alloc_aligned(8, 1),
                    se__realloc(NULL, 1), se__strdup("a"),        se__strndup("ab", 1)};
    int n = 0;
    for (int i = 0; i < 6; i++) {
        n += got[i] != NULL;
        se__free(got[i]);
    }
    return n;
}

Test(mem, fails_from_the_nth_on)
{
    if (!se__mem_fail_after(0))
        cr_skip_test("compiled out of release builds");
    for (int n = 0; n <= 6; n++) {
        se__mem_fail_after(n);
        int got = try_all();
        se__mem_fail_after(-1);
        cr_assert_eq(got, n, "%d", got);
    }
    cr_assert_eq(try_all(), 6);
}
