/*
 * must - assertions for threads of a test's own, and for programs without a test framework.
 *
 * Criterion's assertions leave a test by a jump that only the test's own thread can make.
 *
 * Threads: any.
 */
#ifndef SE_TESTS_SUPPORT_MUST_H
#define SE_TESTS_SUPPORT_MUST_H

/* If `holds` is false: says where, what, the text that follows (as printf does) and this thread's last error, and aborts. */
#define MUST(holds, ...) ((holds) ? (void)0 : must_end(__FILE__, __LINE__, #holds, __VA_ARGS__))

_Noreturn void must_end(const char *file, int line, const char *what, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
