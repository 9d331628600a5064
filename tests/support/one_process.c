/*
 * one_process - runs the registered tests one after the other; see one_process.h.
 *
 *   test_x [--list] [PART]    PART: only tests whose "suite/name" contains it
 *
 * Prints one line for a failed assertion and ends with "N passed, N failed, N skipped". Exit status
 * 1 if a test failed, 2 if none ran.
 */
#include "support/one_process.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

enum outcome { PASSED, FAILED, SKIPPED };

/* The runner's state is global because assertions reach it from anywhere in a test. */
static struct one_process_test *tests;
static jmp_buf leave;
static pthread_t main_thread;
static atomic_bool failed; /* set by any thread of the running test, read when it ended */
static bool skipped;

static const struct one_process_options no_options;

/* Sorted by suite and name, so that the order does not depend on the linker. */
void one_process_register(struct one_process_test *test)
{
    struct one_process_test **at = &tests;
    for (; *at; at = &(*at)->next) {
        int order = strcmp((*at)->suite, test->suite);
        if (order > 0 ||
            (order == 0 && (*at)->name && test->name && strcmp((*at)->name, test->name) > 0))
            break;
    }
    test->next = *at;
    *at = test;
}

void one_process_failed(bool fatal, const char *file, int line, const char *what, const char *fmt,
                        ...)
{
    va_list args;
    va_start(args, fmt);
    flockfile(stderr);
    (void)fprintf(stderr, "%s:%d: assertion failed: %s:", file, line, what);
    (void)vfprintf(stderr, fmt, args);
    (void)fputc('\n', stderr);
    funlockfile(stderr);
    va_end(args);
    atomic_store_explicit(&failed, true, memory_order_relaxed); /* the test joins its threads */
    if (!fatal)
        return;
    if (!pthread_equal(pthread_self(), main_thread)) {
        (void)fprintf(stderr, "in a thread of the test's own: giving up\n");
        _Exit(1);
    }
    longjmp(leave, 1);
}

void one_process_skip(void)
{
    skipped = true;
    longjmp(leave, 1);
}

static const struct one_process_options *suite_options(const char *suite)
{
    for (struct one_process_test *t = tests; t; t = t->next)
        if (!t->name && strcmp(t->suite, suite) == 0)
            return t->options;
    return &no_options;
}

static void call(void (*fixture)(void))
{
    if (fixture && setjmp(leave) == 0)
        fixture();
}

/* Like Criterion: the suite's fixtures around the test's own; fini even after a failure. */
static enum outcome run(const struct one_process_test *test)
{
    const struct one_process_options *outer = suite_options(test->suite);
    const struct one_process_options *own = test->options;
    if (outer->disabled || own->disabled || own->signal || own->exit_code)
        return SKIPPED;
    atomic_store_explicit(&failed, false, memory_order_relaxed);
    skipped = false;
    call(outer->init);
    call(own->init);
    if (!atomic_load_explicit(&failed, memory_order_relaxed) && !skipped)
        call(test->run);
    call(own->fini);
    call(outer->fini);
    if (atomic_load_explicit(&failed, memory_order_relaxed))
        return FAILED;
    return skipped ? SKIPPED : PASSED;
}

static bool chosen(const struct one_process_test *test, const char *part)
{
    char name[512];
    (void)snprintf(name, sizeof name, "%s/%s", test->suite, test->name);
    return !part || strstr(name, part);
}

static int summary(const unsigned count[3])
{
    (void)printf("%u passed, %u failed, %u skipped\n", count[PASSED], count[FAILED],
                 count[SKIPPED]);
    if (count[FAILED])
        return 1;
    return count[PASSED] + count[SKIPPED] ? 0 : 2;
}

int main(int argc, char **argv)
{
    bool list = argc > 1 && strcmp(argv[1], "--list") == 0;
    const char *part = argc > 1 + list ? argv[1 + list] : NULL;
    unsigned count[3] = {0, 0, 0};
    main_thread = pthread_self();
    for (struct one_process_test *t = tests; t; t = t->next) {
        if (!t->name || !chosen(t, part))
            continue;
        if (list) {
            (void)printf("%s/%s\n", t->suite, t->name);
            continue;
        }
        enum outcome outcome = run(t);
        count[outcome]++;
        if (outcome == FAILED)
            (void)fprintf(stderr, "FAILED %s/%s\n", t->suite, t->name);
        (void)fflush(stdout);
    }
    return list ? 0 : summary(count);
}
