/*
 * bench_hits - row 9: the share of a trace's requests that L1 serves, beside what other policies
 * reach with as many items.
 *
 *   bench_hits [--json] [--simulate] [--sizes P,P,...] [TRACE]...
 *
 * Sizes are percentages of the trace's distinct ids. L1 is bounded in bytes and works ahead of its
 * writers, so that it holds some number of items near the one asked for: that number, its mean once
 * L1 is full, is the room that the simulators get. Without a TRACE (traces.h says what that is) all
 * files of the folder in BENCH_TRACES are taken. --simulate leaves the engine out, to check the
 * simulators against published figures.
 *
 * The bar is S3-FIFO less half a point; further, the best of LRU, SIEVE, S3-FIFO, ARC and W-TinyLFU
 * less two. OPT is the limit.
 */
#include "policy.h"
#include "replay.h"

#include "harness.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZES_MAX 16u
#define TRACES_MAX 64
#define BAR_POINTS 0.5
#define STRETCH_POINTS 2.0
#define OVERHEAD_GUESS 300.0 /* bytes of L1 an item, beside its content */

struct arguments {
    bool json, simulate;
    double percent[SIZES_MAX];
    unsigned sizes;
    char *traces[TRACES_MAX];
    int n;
};

struct line {
    const struct trace *trace;
    double percent;
    size_t items;
    double ours; /* hit ratios, in percent */
    double theirs[POLICIES];
    double seconds;
};

/* ---- arguments ---- */

static unsigned parse_sizes(const char *text, double percent[SIZES_MAX])
{
    unsigned n = 0;
    for (char *end; *text; text = *end ? end + 1 : end) {
        double p = strtod(text, &end);
        if (end == text || (*end != ',' && *end != '\0') || !(p > 0 && p <= 100) || n == SIZES_MAX)
            bench_fail("--sizes: '%s' is no list of at most %u percentages", text, SIZES_MAX);
        percent[n++] = p;
    }
    return n;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_trace(struct arguments *a, const char *path)
{
    if (a->n == TRACES_MAX)
        bench_fail("more than %d traces", TRACES_MAX);
    if (!(a->traces[a->n++] = strdup(path)))
        bench_fail("out of memory");
}

static void add_folder(struct arguments *a, const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir)
        bench_fail("BENCH_TRACES: %s cannot be opened", folder);
    for (struct dirent *d; (d = readdir(dir));) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, d->d_name);
        if (strstr(d->d_name, ".lis") || strstr(d->d_name, ".trace"))
            add_trace(a, path);
    }
    closedir(dir);
    qsort(a->traces, (size_t)a->n, sizeof *a->traces, by_text);
}

static struct arguments parse(int argc, char **argv)
{
    struct arguments a = {.percent = {1, 5, 10, 20}, .sizes = 4};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            a.json = true;
        else if (strcmp(argv[i], "--simulate") == 0)
            a.simulate = true;
        else if (strcmp(argv[i], "--sizes") == 0 && i + 1 < argc)
            a.sizes = parse_sizes(argv[++i], a.percent);
        else if (argv[i][0] != '-')
            add_trace(&a, argv[i]);
        else
            bench_fail("usage: %s [--json] [--simulate] [--sizes P,P,...] [TRACE]...", argv[0]);
    }
    const char *folder = getenv("BENCH_TRACES");
    if (a.n == 0 && folder)
        add_folder(&a, folder);
    if (a.n == 0)
        bench_fail("no trace: name one, or set BENCH_TRACES to a folder of them");
    return a;
}

/* ---- output ---- */

static double best(const struct line *l)
{
    double most = 0;
    for (int p = 0; p < POLICY_OPT; p++)
        most = l->theirs[p] > most ? l->theirs[p] : most;
    return most;
}

static bool meets_bar(const struct line *l)
{
    return l->ours >= l->theirs[POLICY_S3FIFO] - BAR_POINTS;
}

static bool meets_stretch(const struct line *l)
{
    return l->ours >= best(l) - STRETCH_POINTS;
}

static void print_head(bool simulate)
{
    printf("%-10s %5s %7s", "trace", "%", "items");
    if (!simulate)
        printf(" %7s", "ours");
    for (int p = 0; p < POLICIES; p++)
        printf(" %9s", policies[p].name);
    puts(simulate ? "" : "  - S3-FIFO   - best  bar");
}

static void print_text(const struct line *l, bool simulate)
{
    printf("%-10s %5g %7zu", l->trace->name, l->percent, l->items);
    if (!simulate)
        printf(" %7.2f", l->ours);
    for (int p = 0; p < POLICIES; p++)
        printf(" %9.2f", l->theirs[p]);
    if (!simulate)
        printf("  %+9.2f %+8.2f  %s", l->ours - l->theirs[POLICY_S3FIFO], l->ours - best(l),
               !meets_bar(l)       ? "MISSED"
               : !meets_stretch(l) ? "met"
                                   : "met, stretch too");
    putchar('\n');
}

static void print_json(const struct line *l, bool simulate)
{
    printf("{\"row\":9,\"trace\":\"%s\",\"requests\":%zu,\"distinct\":%zu,\"percent\":%g,"
           "\"items\":%zu,",
           l->trace->name, l->trace->n, l->trace->distinct, l->percent, l->items);
    for (int p = 0; p < POLICIES; p++)
        printf("\"%s\":%.3f,", policies[p].name, l->theirs[p]);
    if (simulate)
        puts("\"ours\":null}");
    else
        printf("\"ours\":%.3f,\"bar\":%.3f,\"met\":%s,\"stretch\":%.3f,\"stretch_met\":%s,"
               "\"seconds\":%.1f}\n",
               l->ours, l->theirs[POLICY_S3FIFO] - BAR_POINTS, meets_bar(l) ? "true" : "false",
               best(l) - STRETCH_POINTS, meets_stretch(l) ? "true" : "false", l->seconds);
}

/* ---- running ---- */

static double percent_of(size_t hits, const struct trace *t)
{
    return 100.0 * (double)hits / (double)t->n;
}

/* *overhead goes from one size to the next: the first try is then near. */
static struct line measure(const struct arguments *a, const struct trace *t, double percent,
                           double *overhead)
{
    struct line l = {.trace = t, .percent = percent};
    l.items = (size_t)((double)t->distinct * percent / 100);
    l.items = l.items ? l.items : 1;
    if (!a->simulate) {
        struct replayed r;
        replay_at(l.items, t, overhead, &r);
        l.items = (size_t)(r.items + 0.5);
        l.ours = percent_of(r.hits, t);
        l.seconds = r.seconds;
    }
    for (int p = 0; p < POLICIES; p++)
        l.theirs[p] = percent_of(policies[p].hits(t, l.items), t);
    return l;
}

static void run_trace(const struct arguments *a, const char *path)
{
    struct trace t;
    double overhead = OVERHEAD_GUESS;
    trace_load(path, &t);
    for (unsigned i = 0; i < a->sizes; i++) {
        struct line l = measure(a, &t, a->percent[i], &overhead);
        if (a->json)
            print_json(&l, a->simulate);
        else
            print_text(&l, a->simulate);
        (void)fflush(stdout);
    }
    trace_free(&t);
}

int main(int argc, char **argv)
{
    struct arguments a = parse(argc, argv);
    if (!a.json)
        print_head(a.simulate);
    for (int i = 0; i < a.n; i++) {
        run_trace(&a, a.traces[i]);
        free(a.traces[i]);
    }
    return 0;
}
