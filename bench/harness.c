/*
 * harness - see harness.h.
 */
#include "harness.h"

#include "base/os.h"

#include <dirent.h>
#include <ftw.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONTENT_ROOM 4096u

noreturn void bench_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)fputs("bench: ", stderr);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

void bench_check(int result, const char *what)
{
    if (result != SE_OK)
        bench_fail("%s: %s", what, se_errmsg());
}

/* ---- arguments ---- */

static double number_of(const char *name, const char *text, double min, double max)
{
    char *end;
    double v = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !(v >= min && v <= max))
        bench_fail("%s: '%s' is not a number from %g to %g", name, text, min, max);
    return v;
}

void bench_arguments(struct bench *b, int argc, char **argv)
{
    *b = (struct bench){.rounds = BENCH_ROUNDS_MIN, .scale = 1, .dir = ".", .batch = BENCH_BATCH};
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--json") == 0)
            b->json = true;
        else if (more && strcmp(argv[i], "--rounds") == 0)
            b->rounds =
                (unsigned)number_of("--rounds", argv[++i], BENCH_ROUNDS_MIN, BENCH_ROUNDS_MAX);
        else if (more && strcmp(argv[i], "--scale") == 0)
            b->scale = number_of("--scale", argv[++i], 0.001, 10);
        else if (more && strcmp(argv[i], "--dir") == 0)
            b->dir = argv[++i];
        else if (more && strcmp(argv[i], "--batch") == 0)
            b->batch = (unsigned)number_of("--batch", argv[++i], 1, BENCH_BATCH_MAX);
        else
            bench_fail("usage: %s [--json] [--rounds N] [--scale F] [--dir PATH] [--batch N]",
                       argv[0]);
    }
}

void bench_init(struct bench *b, int argc, char **argv)
{
    bench_arguments(b, argc, argv);
    if (!b->json)
        printf("%3s  %-34s %11s  %-22s %11s %7s  %-9s %s\n", "row", "what", "ours", "peer",
               "theirs", "ratio", "bar", "");
}

size_t bench_scaled(const struct bench *b, size_t n)
{
    size_t scaled = (size_t)((double)n * b->scale);
    return scaled < 2000 ? 2000 : scaled;
}

/* ---- comparing ---- */

struct line {
    const struct bench_subject *subject;
    const struct bench_side *peer;
    double ours, theirs, ratio, low, high; /* medians, and the ratios' range */
};

static bool meets(const struct line *l)
{
    switch (l->peer->kind) {
    case BENCH_RATIO_MIN:
        return l->ratio >= l->peer->bar;
    case BENCH_RATIO_MAX:
        return l->ratio <= l->peer->bar;
    case BENCH_VALUE_MAX:
        return l->ours <= l->peer->bar;
    case BENCH_NO_BAR:
        break;
    }
    return true;
}

/* How far from the bar, as a share of it. */
static double distance(const struct line *l)
{
    double reached = l->peer->kind == BENCH_VALUE_MAX ? l->ours : l->ratio;
    return fabs(reached / l->peer->bar - 1) * 100;
}

static void print_json(const struct line *l)
{
    static const char *const kinds[] = {"none", "ratio_min", "ratio_max", "value_max"};
    printf(
        "{\"row\":%d,\"what\":\"%s\",\"unit\":\"%s\",\"ours\":%.6g,\"peer\":\"%s\",\"theirs\":%.6g,"
        "\"ratio\":%.4f,\"ratio_low\":%.4f,\"ratio_high\":%.4f,\"bar\":%g,\"bar_is\":\"%s\","
        "\"met\":%s}\n",
        l->subject->row, l->subject->what, l->subject->unit, l->ours, l->peer->name, l->theirs,
        l->ratio, l->low, l->high, l->peer->bar, kinds[l->peer->kind],
        l->peer->kind == BENCH_NO_BAR ? "null"
        : meets(l)                    ? "true"
                                      : "false");
}

static void print_text(const struct line *l)
{
    static const char *const forms[] = {"-", ">= %.2f", "<= %.2f", "ours <= %g"};
    char bar[32], verdict[48] = "";
    snprintf(bar, sizeof bar, forms[l->peer->kind], l->peer->bar);
    if (l->peer->kind != BENCH_NO_BAR)
        snprintf(verdict, sizeof verdict, meets(l) ? "met" : "MISSED by %.0f %%", distance(l));
    printf("%3d  %-34s %7.3f %-5s %-20s %7.3f %-5s %6.3f  %-9s %s\n", l->subject->row,
           l->subject->what, l->ours, l->subject->unit, l->peer->name, l->theirs, l->subject->unit,
           l->ratio, bar, verdict);
}

static double median(const double *values, size_t n)
{
    double copy[BENCH_ROUNDS_MAX];
    memcpy(copy, values, n * sizeof *copy);
    return bench_quantile(copy, n, 0.5);
}

static void report(const struct bench *b, struct line *l, const double *ours, const double *theirs)
{
    double ratios[BENCH_ROUNDS_MAX];
    for (unsigned i = 0; i < b->rounds; i++)
        ratios[i] = ours[i] / theirs[i];
    l->ours = median(ours, b->rounds);
    l->theirs = median(theirs, b->rounds);
    l->ratio = bench_quantile(ratios, b->rounds, 0.5);
    l->low = ratios[0];
    l->high = ratios[b->rounds - 1];
    if (b->json)
        print_json(l);
    else
        print_text(l);
    (void)fflush(stdout);
}

void bench_compare(const struct bench *b, const struct bench_subject *subject,
                   const struct bench_side *sides, size_t n)
{
    static double figures[BENCH_SIDES_MAX][BENCH_ROUNDS_MAX];
    for (unsigned round = 0; round < b->rounds; round++)
        for (size_t i = 0; i < n; i++)
            figures[i][round] = sides[i].run(sides[i].arg);
    for (size_t i = 1; i < n; i++) {
        struct line l = {.subject = subject, .peer = &sides[i]};
        report(b, &l, figures[0], figures[i]);
    }
}

double bench_known(void *arg)
{
    return *(const double *)arg;
}

/* ---- pinning ---- */

static int last_cpu(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 1 ? (int)n - 1 : 0;
}

static void pin_to(pid_t tid, int first, int last)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int cpu = first; cpu <= last; cpu++)
        CPU_SET(cpu, &set);
    if (sched_setaffinity(tid, sizeof set, &set) != 0)
        (void)fprintf(stderr, "bench: cannot pin %d: not pinned\n", (int)tid);
}

void bench_pin(void)
{
    pin_to(0, last_cpu(), last_cpu());
}

void bench_unpin(void)
{
    pin_to(0, 0, last_cpu());
}

/* All of its threads: some may wait in the server's cache for the next connection. */
void bench_pin_server(pid_t pid)
{
    char path[64];
    int last = last_cpu() > 0 ? last_cpu() - 1 : 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    for (struct dirent *d; tasks && (d = readdir(tasks));)
        if (d->d_name[0] != '.')
            pin_to((pid_t)strtol(d->d_name, NULL, 10), 0, last);
    if (tasks)
        closedir(tasks);
}

/* ---- time ---- */

uint64_t bench_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The first number of schedstat: ns on a CPU. */
static uint64_t thread_cpu_ns(pid_t pid, const char *tid)
{
    char path[64];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", (int)pid, tid);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%llu", &ns) != 1)
        ns = 0;
    if (f)
        (void)fclose(f);
    return ns;
}

uint64_t bench_process_cpu_ns(pid_t pid)
{
    char path[64];
    uint64_t ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    for (struct dirent *d; tasks && (d = readdir(tasks));)
        if (d->d_name[0] != '.')
            ns += thread_cpu_ns(pid, d->d_name);
    if (tasks)
        closedir(tasks);
    return ns;
}

/* ---- statistics ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_quantile(double *values, size_t n, double p)
{
    qsort(values, n, sizeof *values, by_value);
    return values[(size_t)(p * (double)(n - 1) + 0.5)];
}

double bench_p50_us(void (*one)(void *arg, size_t i), void *arg, size_t n)
{
    double *us = calloc(n, sizeof *us);
    if (!us)
        bench_fail("out of memory");
    for (size_t i = 0; i < n; i++) {
        uint64_t start = se__mono_ns();
        one(arg, i);
        us[i] = (double)(se__mono_ns() - start) / 1e3;
    }
    double p50 = bench_quantile(us, n, 0.5);
    free(us);
    return p50;
}

/* ---- folders ---- */

void bench_dir_make(struct bench_dir *dir, const char *parent)
{
    snprintf(dir->path, sizeof dir->path, "%.180s/bench-XXXXXX", parent ? parent : "/dev/shm");
    if (!mkdtemp(dir->path))
        bench_fail("no folder can be made like %s", dir->path);
}

void bench_dir_path(const struct bench_dir *dir, const char *scheme, const char *name,
                    char out[256])
{
    snprintf(out, 256, "%s%s/%s", scheme, dir->path, name);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void bench_dir_remove(const struct bench_dir *dir)
{
    (void)nftw(dir->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- data ---- */

/* The finaliser of SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t bench_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void bench_id(uint64_t i, char id[BENCH_ID_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t words[2] = {bench_mix(i), i};
    for (unsigned at = 0; at < BENCH_ID_LEN; at++)
        id[at] = digits[words[at / 16] >> (60 - 4 * (at % 16)) & 15];
    id[BENCH_ID_LEN] = '\0';
}

const void *bench_content(uint64_t i)
{
    static uint64_t room[CONTENT_ROOM / 8];
    if (room[0] == 0)
        for (size_t at = 0; at < CONTENT_ROOM / 8; at++)
            room[at] = bench_mix(at);
    return (const char *)room + bench_mix(i) % (CONTENT_ROOM - BENCH_CONTENT_LEN);
}

/* ---- huge pages ---- */

static size_t huge_kib(void)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    while (f && fgets(line, sizeof line, f))
        (void)sscanf(line, "AnonHugePages: %zu kB", &kib);
    if (f)
        fclose(f);
    return kib;
}

void bench_settle(void)
{
    size_t before = SIZE_MAX, now = huge_kib();
    for (unsigned i = 0; i < 30 && now != before; i++) {
        sleep(1);
        before = now;
        now = huge_kib();
    }
}
