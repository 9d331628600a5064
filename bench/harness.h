/*
 * harness - paired rounds, medians, ratios, and one table for all benches.
 *
 * Rounds alternate: A B C, A B C, ... Side 0 is ours, each other one a peer. The ratio ours/peer is
 * taken within each round and its median printed: what slows the machine down for a second slows
 * both sides of that round. Absolute figures move by 10 to 25 % and more on a shared machine; only
 * the ratios mean something.
 *
 * Ids are 32 bytes, contents 500, as design/BARS.md has it.
 *
 * Failures end the process with a line on stderr: half a table would be taken for a whole one.
 * Threads: the main one, unless said otherwise.
 */
#ifndef SE_BENCH_HARNESS_H
#define SE_BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>

#define BENCH_ID_LEN 32u
#define BENCH_CONTENT_LEN 500u
#define BENCH_BATCH 1000u /* what the bars are for */
#define BENCH_BATCH_MAX 10000u
#define BENCH_SIDES_MAX 6u
#define BENCH_ROUNDS_MIN 7u
#define BENCH_ROUNDS_MAX 101u

struct bench {
    bool json;
    unsigned rounds;
    double scale;    /* of data set sizes and rounds' lengths: 1 for real figures,
                        0.01 to see that a bench runs */
    const char *dir; /* for files that must lie on a real disk */
    unsigned batch;  /* items a batch in the rows that flush */
};

enum bench_bar {
    BENCH_NO_BAR,
    BENCH_RATIO_MIN, /* ours / peer's is to be at least this */
    BENCH_RATIO_MAX, /* ... at most */
    BENCH_VALUE_MAX  /* our own figure is to be at most this */
};
struct bench_side {
    const char *name;
    double (*run)(void *arg); /* one round: the figure, in the subject's unit */
    void *arg;
    enum bench_bar kind; /* of a peer: what we are to reach beside it */
    double bar;
};
struct bench_subject {
    int row; /* of design/BARS.md */
    const char *what, *unit;
};

/* --json, --rounds N (7..101), --scale F, --dir PATH, --batch N (1..10000). */
void bench_arguments(struct bench *b, int argc, char **argv);
/* Prints the table's head too. */
void bench_init(struct bench *b, int argc, char **argv);
size_t bench_scaled(const struct bench *b, size_t n); /* at least 2000 */
/* Runs all rounds and prints a line for each peer. */
void bench_compare(const struct bench *b, const struct bench_subject *subject,
                   const struct bench_side *sides, size_t n);
/* A side whose figure is known already; arg: const double *. */
double bench_known(void *arg);

noreturn void bench_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void bench_check(int result, const char *what); /* fails unless it is SE_OK, with se_errmsg() */

/* The calling thread stays on the last CPU, or (free) on any. Threads and
 * processes started later inherit that. */
void bench_pin(void);
void bench_unpin(void);
/* A server's threads, those that it starts later included, away from bench_pin's CPU. */
void bench_pin_server(pid_t pid);

/* CPU time of the calling thread. For what only computes: on a busy machine,
 * the others' turns do not count. */
uint64_t bench_cpu_ns(void);
/* CPU time of all threads that a process has now. */
uint64_t bench_process_cpu_ns(pid_t pid);

/* The p-th quantile, 0..1. Sorts. */
double bench_quantile(double *values, size_t n, double p);
/* The median time, in us, of `n` calls of `one` with i = 0 .. n - 1. */
double bench_p50_us(void (*one)(void *arg, size_t i), void *arg, size_t n);

/* A new folder below `parent` (NULL: /dev/shm), and its end with all files in it. */
struct bench_dir {
    char path[200];
};
void bench_dir_make(struct bench_dir *dir, const char *parent);
void bench_dir_path(const struct bench_dir *dir, const char *scheme, const char *name,
                    char out[256]);
void bench_dir_remove(const struct bench_dir *dir);

/* A fixed sequence that looks random. */
uint64_t bench_mix(uint64_t x);
/* The i-th id: hexadecimal, NUL-terminated, in no order. */
void bench_id(uint64_t i, char id[BENCH_ID_LEN + 1]);
/* Bytes that differ from call to call; valid for the process's life. */
const void *bench_content(uint64_t i);

/* Waits until the process has no more huge pages than a second ago: the engine asks for them bit by bit
 * once a map has stopped growing (docs/l1.md). At most half a minute. */
void bench_settle(void);

#endif
