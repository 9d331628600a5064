/*
 * one_process - the part of Criterion's interface that our tests use, with every test in one
 * process.
 *
 * Criterion forks each test, which ThreadSanitizer does not survive. The same sources are built
 * against this header then: tests register before main, run one after the other, and a failed
 * assertion jumps back to the runner.
 *
 * What differs from Criterion: state outlives a test; a crash ends the whole program (its exit
 * status says so); tests that expect a signal or an exit status are skipped; an assertion that
 * fails in a thread of the test's own ends the program, since that thread's stack cannot be left
 * from outside.
 *
 * Threads: assertions in any; the rest in the main thread.  Memory: owns nothing.
 */
#ifndef SE_TESTS_SUPPORT_ONE_PROCESS_H
#define SE_TESTS_SUPPORT_ONE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct one_process_options {
    void (*init)(void);
    void (*fini)(void);
    const char *description;
    /* seconds; taken and not used: the runner of the program bounds it as a whole */
    double timeout;
    int signal;
    int exit_code;
    bool disabled;
};

struct one_process_test {
    const char *suite, *name; /* name NULL: this is a suite, with its fixtures */
    void (*run)(void);
    const struct one_process_options *options;
    struct one_process_test *next;
};

void one_process_register(struct one_process_test *test);
/* Prints where and what. fatal: does not return. */
void one_process_failed(bool fatal, const char *file, int line, const char *what, const char *fmt,
                        ...) __attribute__((format(printf, 5, 6)));
void one_process_skip(void) __attribute__((noreturn));

#define ONE_PROCESS_REGISTER(suite_, name_, text_, run_, ...)                                      \
    static const struct one_process_options one_process_options_##suite_##_##name_ = {             \
        __VA_ARGS__};                                                                              \
    static struct one_process_test one_process_test_##suite_##_##name_ = {                         \
        #suite_, text_, run_, &one_process_options_##suite_##_##name_, NULL};                      \
    __attribute__((constructor)) static void one_process_register_##suite_##_##name_(void)         \
    {                                                                                              \
        one_process_register(&one_process_test_##suite_##_##name_);                                \
    }

#define Test(suite_, name_, ...)                                                                   \
    static void one_process_run_##suite_##_##name_(void);                                          \
    ONE_PROCESS_REGISTER(suite_, name_, #name_, one_process_run_##suite_##_##name_, __VA_ARGS__)   \
    static void one_process_run_##suite_##_##name_(void)

#define TestSuite(suite_, ...) ONE_PROCESS_REGISTER(suite_, suite_fixture, NULL, NULL, __VA_ARGS__)

/* The " " keeps -Wformat-zero-length quiet where a test gives no message of its own. */
#define ONE_PROCESS_CHECK(fatal, condition, what, ...)                                             \
    ((condition) ? (void)0 : one_process_failed(fatal, __FILE__, __LINE__, what, " " __VA_ARGS__))

#define cr_assert(c, ...) ONE_PROCESS_CHECK(true, c, #c, __VA_ARGS__)
#define cr_assert_not(c, ...) ONE_PROCESS_CHECK(true, !(c), "!(" #c ")", __VA_ARGS__)
#define cr_assert_fail(...) ONE_PROCESS_CHECK(true, false, "fail", __VA_ARGS__)
#define cr_assert_eq(a, b, ...) ONE_PROCESS_CHECK(true, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) ONE_PROCESS_CHECK(true, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) ONE_PROCESS_CHECK(true, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) ONE_PROCESS_CHECK(true, (a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) ONE_PROCESS_CHECK(true, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) ONE_PROCESS_CHECK(true, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_null(p, ...) ONE_PROCESS_CHECK(true, (p) == NULL, #p " is NULL", __VA_ARGS__)
#define cr_assert_not_null(p, ...)                                                                 \
    ONE_PROCESS_CHECK(true, (p) != NULL, #p " is not NULL", __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)                                                                \
    ONE_PROCESS_CHECK(true, strcmp(a, b) == 0, #a " is the text " #b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)                                                               \
    ONE_PROCESS_CHECK(true, strcmp(a, b) != 0, #a " is not the text " #b, __VA_ARGS__)
#define cr_assert_str_empty(s, ...) ONE_PROCESS_CHECK(true, *(s) == 0, #s " is empty", __VA_ARGS__)
#define cr_assert_str_not_empty(s, ...)                                                            \
    ONE_PROCESS_CHECK(true, *(s) != 0, #s " is not empty", __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...)                                                             \
    ONE_PROCESS_CHECK(true, memcmp(a, b, n) == 0, #a " has the bytes of " #b, __VA_ARGS__)
#define cr_assert_arr_neq(a, b, n, ...)                                                            \
    ONE_PROCESS_CHECK(true, memcmp(a, b, n) != 0, #a " has not the bytes of " #b, __VA_ARGS__)
#define cr_assert_float_eq(a, b, epsilon, ...)                                                     \
    ONE_PROCESS_CHECK(true, one_process_near(a, b, epsilon), #a " is about " #b, __VA_ARGS__)
#define cr_assert_float_neq(a, b, epsilon, ...)                                                    \
    ONE_PROCESS_CHECK(true, !one_process_near(a, b, epsilon), #a " is not about " #b, __VA_ARGS__)

#define cr_expect(c, ...) ONE_PROCESS_CHECK(false, c, #c, __VA_ARGS__)
#define cr_expect_not(c, ...) ONE_PROCESS_CHECK(false, !(c), "!(" #c ")", __VA_ARGS__)
#define cr_expect_fail(...) ONE_PROCESS_CHECK(false, false, "fail", __VA_ARGS__)
#define cr_expect_eq(a, b, ...) ONE_PROCESS_CHECK(false, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...) ONE_PROCESS_CHECK(false, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...) ONE_PROCESS_CHECK(false, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_expect_leq(a, b, ...) ONE_PROCESS_CHECK(false, (a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...) ONE_PROCESS_CHECK(false, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...) ONE_PROCESS_CHECK(false, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_expect_null(p, ...) ONE_PROCESS_CHECK(false, (p) == NULL, #p " is NULL", __VA_ARGS__)
#define cr_expect_not_null(p, ...)                                                                 \
    ONE_PROCESS_CHECK(false, (p) != NULL, #p " is not NULL", __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...)                                                                \
    ONE_PROCESS_CHECK(false, strcmp(a, b) == 0, #a " is the text " #b, __VA_ARGS__)
#define cr_expect_arr_eq(a, b, n, ...)                                                             \
    ONE_PROCESS_CHECK(false, memcmp(a, b, n) == 0, #a " has the bytes of " #b, __VA_ARGS__)
#define cr_expect_float_eq(a, b, epsilon, ...)                                                     \
    ONE_PROCESS_CHECK(false, one_process_near(a, b, epsilon), #a " is about " #b, __VA_ARGS__)

#define cr_skip_test(...) one_process_skip()
#define cr_skip(...) one_process_skip()
#define cr_log_info(...) ((void)fprintf(stderr, __VA_ARGS__))
#define cr_log_warn(...) ((void)fprintf(stderr, __VA_ARGS__))
#define cr_log_error(...) ((void)fprintf(stderr, __VA_ARGS__))

static inline bool one_process_near(double a, double b, double epsilon)
{
    return a - b <= epsilon && b - a <= epsilon;
}

#endif
