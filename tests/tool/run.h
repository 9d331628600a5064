/*
 * run - runs the syncengine program (SE_TOOL) and catches what it says.
 *
 * Each test gets a directory of its own below /dev/shm; the program runs there, with a clean
 * SYNC_ENGINE_* environment.
 *
 * Threads: the test's.  Memory: one set of results, overwritten by the next run.
 */
#ifndef SE_TESTS_TOOL_RUN_H
#define SE_TESTS_TOOL_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct run {
    int status; /* exit status; 1000 + signal if it was killed */
    char *out;  /* stdout, terminated */
    size_t out_len;
    char *err;
    size_t err_len;
};

void run_init(void); /* makes the directory, and goes there */
void run_done(void);

/* Runs `syncengine LINE` by the shell's rules of words ("get 'a b'"). input NULL: /dev/null. */
struct run run(const char *input, size_t input_len, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same without input, and checks the exit status. */
struct run run_expect(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Starts it without waiting; its stdin is *in, its stdout and stderr go to
 * the files run-out and run-err. */
pid_t run_start(int *in, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct run run_wait(pid_t pid); /* its end, within a minute */

void write_file(const char *path, const void *bytes, size_t len);
char *read_file(const char *path, size_t *len); /* terminated; free() it */
bool says(const char *text, const char *part);

#endif
