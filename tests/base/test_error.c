/* The thread's error text, the names of the results, the version. */
#include "base/error.h"
#include "base/os.h"
#include "base/utf8.h"
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

Test(error, returns_the_result_and_keeps_the_text)
{
    cr_assert_eq(se__error(SE_ERR_IO, "file %s: %d", "a.wal", 7), SE_ERR_IO);
    cr_assert_str_eq(se_errmsg(), "file a.wal: 7");
    se__error_clear();
    cr_assert_str_eq(se_errmsg(), "");
    cr_assert_eq(se__error_nomem(), SE_ERR_NOMEM);
    cr_assert_str_eq(se_errmsg(), "out of memory");
}

Test(error, may_quote_its_own_present_text)
{
    (void)se__error(SE_ERR_IO, "inner");
    (void)se__error(SE_ERR_IO, "outer: %s, %s", se_errmsg(), "end");
    cr_assert_str_eq(se_errmsg(), "outer: inner, end");
}

Test(error, is_cut_at_1_kib_and_between_characters)
{
    char text[3000];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        size_t n = shift;
        while (n + 4 < sizeof text) {
            memcpy(text + n, "\xf0\x9f\x98\x80", 4); /* four bytes a character */
            n += 4;
        }
        text[n] = '\0';
        (void)se__error(SE_ERR_IO, "%s", text);
        size_t len = strlen(se_errmsg());
        cr_assert(len <= 1023 && len > 1023 - 4, "length %zu", len);
        cr_assert_eq(se__utf8_check(se_errmsg(), len), len);
        cr_assert_eq(memcmp(se_errmsg(), text, len), 0);
    }
}

Test(error, leaves_errno_alone)
{
    errno = ENOSPC;
    (void)se__error(SE_ERR_IO, "%s", strerror(errno));
    cr_assert_eq(errno, ENOSPC);
}

static void set_text(void *arg)
{
    (void)se__error(SE_ERR_IO, "other thread");
    *(bool *)arg = strcmp(se_errmsg(), "other thread") == 0;
}

Test(error, belongs_to_one_thread)
{
    (void)se__error(SE_ERR_IO, "mine");
    bool seen = false;
    struct se__thread t;
    cr_assert_eq(se__thread_start(&t, "other", set_text, &seen), SE_OK);
    se__thread_join(&t);
    cr_assert(seen);
    cr_assert_str_eq(se_errmsg(), "mine");
}

Test(error, every_result_has_a_text_of_its_own)
{
    for (int a = SE_ERR_ABORTED; a <= SE_PENDING; a++) {
        cr_assert_str_neq(se_strerror((se_result)a), "unknown result", "%d", a);
        for (int b = SE_ERR_ABORTED; b < a; b++)
            cr_assert_str_neq(se_strerror((se_result)a), se_strerror((se_result)b), "%d %d", a, b);
    }
    cr_assert_str_eq(se_strerror((se_result)1000), "unknown result");
    cr_assert_str_eq(se_strerror((se_result)(SE_ERR_ABORTED - 1)), "unknown result");
}

Test(error, version_is_that_of_the_header)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", SE_VERSION_MAJOR, SE_VERSION_MINOR, SE_VERSION_PATCH);
    cr_assert_str_eq(se_library_version(), text);
}
