/*
 * simulate - runs schedules from seeds; the first that breaks a law is shrunk and printed.
 *
 *   simulate [--seed N] [--schedules N] [--seconds N] [--no-shrink]
 *   simulate --replay SEED[:STEPS] [--verbose]
 *
 * --fingerprints prints a number for each schedule that must be the same in every run.
 * Schedules run in a child process, so that a crash or an assertion counts as a broken law like any
 * other, and nothing of a broken world has to be cleaned up. STEPS are the numbers of the steps that
 * are kept, as in 3-9,14,20-31.
 */
#include "sim/disk.h"
#include "sim/sched.h"
#include "sim/world.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_BROKEN = 3, HANG_S = 60 };

/* Shared with the child. */
struct report {
    uint64_t seed, done;
    char text[1024], kind[256];
};
static struct report *report;

struct options {
    uint64_t seed, schedules;
    double seconds;
    bool shrink, verbose, fingerprints;
    const char *replay;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- one child ---- */

static void on_failure(const char *kind, const char *text)
{
    snprintf(report->kind, sizeof report->kind, "%s", kind);
    snprintf(report->text, sizeof report->text, "%s", text);
    if (sim_verbose)
        printf("BROKEN: %s\n", text);
    fflush(stdout);
    _exit(STATUS_BROKEN);
}

/* Waits for the child; true: it ended well. Else report->text says why. */
static bool ended_well(pid_t child)
{
    int status = 0;
    waitpid(child, &status, 0);
    bool told = WIFEXITED(status) && WEXITSTATUS(status) == STATUS_BROKEN;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status))
        snprintf(report->text, sizeof report->text, "the process was ended by signal %d%s",
                 WTERMSIG(status), WTERMSIG(status) == SIGALRM ? " (it hung)" : "");
    else if (WEXITSTATUS(status) != STATUS_BROKEN)
        snprintf(report->text, sizeof report->text, "the process ended with status %d",
                 WEXITSTATUS(status));
    if (!told) /* all ends without words are of one kind */
        snprintf(report->kind, sizeof report->kind, "%s", "ended");
    return false;
}

/* Runs one schedule in a child of its own. */
static bool holds(const struct script *s, const bool *keep, bool quiet)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (quiet)
            (void)!freopen("/dev/null", "w", stderr);
        alarm(HANG_S);
        world_run(s, keep);
        _exit(0);
    }
    return ended_well(child);
}

/* Runs schedules until one breaks or the count or time is over. */
static bool run_many(const struct options *o)
{
    double until = o->seconds > 0 ? now_s() + o->seconds : 0;
    static struct script s;
    fflush(stdout);
    pid_t child = fork();
    if (child != 0)
        return ended_well(child);
    for (uint64_t i = 0; i < o->schedules; i++) {
        if (until > 0 && now_s() > until)
            break;
        report->seed = o->seed + i;
        alarm(HANG_S);
        script_make(report->seed, &s);
        uint64_t print = world_run(&s, NULL);
        if (o->fingerprints)
            printf("%" PRIu64 " %016" PRIx64 "\n", report->seed, print);
        report->done = i + 1;
    }
    exit(0); /* not _exit: leak checkers want to look */
}

/* ---- steps as text ---- */

static void print_steps(const struct script *s, const bool *keep)
{
    printf("%" PRIu64, s->seed);
    char sep = ':';
    for (unsigned i = 0, j; i < s->n; i = j) {
        for (j = i; j < s->n && keep[j] == keep[i]; j++)
            continue;
        if (!keep[i])
            continue;
        printf("%c%u", sep, i);
        if (j - i > 1)
            printf("-%u", j - 1);
        sep = ',';
    }
    putchar('\n');
}

static bool parse_replay(const char *text, uint64_t *seed, bool *keep)
{
    char *at;
    *seed = strtoull(text, &at, 10);
    if (*at == '\0') {
        memset(keep, 1, SCRIPT_STEPS_MAX * sizeof *keep);
        return true;
    }
    while (*at == ':' || *at == ',') {
        unsigned long first = strtoul(at + 1, &at, 10), last = first;
        if (*at == '-')
            last = strtoul(at + 1, &at, 10);
        for (; first <= last && first < SCRIPT_STEPS_MAX; first++)
            keep[first] = true;
    }
    return *at == '\0';
}

/* ---- shrinking ---- */

/* Leaves out ever smaller runs of steps for as long as the same law stays broken (Zeller's ddmin, without
 * its second half). */
static void shrink(const struct script *s, bool *keep)
{
    char kind[sizeof report->kind];
    snprintf(kind, sizeof kind, "%s", report->kind);
    bool without[SCRIPT_STEPS_MAX];
    for (unsigned run = s->n / 2; run > 0; run /= 2) {
        bool progress = true;
        while (progress) {
            progress = false;
            for (unsigned from = 0; from < s->n; from += run) {
                memcpy(without, keep, sizeof without);
                bool any = false;
                for (unsigned i = from; i < from + run && i < s->n; i++) {
                    any = any || without[i];
                    without[i] = false;
                }
                if (!any || holds(s, without, true) || strcmp(kind, report->kind) != 0)
                    continue;
                memcpy(keep, without, sizeof without);
                progress = true;
            }
            progress = progress && run <= 4;
        }
    }
}

static void show_steps(const struct script *s, const bool *keep)
{
    const struct shape *shape = &s->shape;
    printf("  tiers:%s%s%s, %u workers, batches of %u or %u ms\n", shape->redis ? " redis" : "",
           shape->sql ? " sql" : "", shape->wal ? " wal" : "", shape->workers, shape->batch_items,
           shape->batch_ms);
    for (unsigned i = 0; i < s->n; i++)
        if (keep[i])
            printf("  %3u %-20s client %u id %u\n", i, script_step_name(s->steps[i].kind),
                   s->steps[i].client, s->steps[i].id);
}

static int explain(uint64_t seed, bool shrinks)
{
    static struct script s;
    bool keep[SCRIPT_STEPS_MAX];
    memset(keep, 1, sizeof keep);
    script_make(seed, &s);
    printf("BROKEN by seed %" PRIu64 ": %s\n", seed, report->text);
    if (holds(&s, keep, true)) {
        printf("and not again: the simulator itself is not deterministic\n");
        return 1;
    }
    if (shrinks) {
        shrink(&s, keep);
        (void)holds(&s, keep, true);
        printf("shrunk: %s\n", report->text);
        show_steps(&s, keep);
    }
    printf("replay: simulate --verbose --replay ");
    print_steps(&s, keep);
    return 1;
}

/* ---- the program ---- */

static int replay(const struct options *o)
{
    static struct script s;
    bool keep[SCRIPT_STEPS_MAX] = {false};
    uint64_t seed;
    if (!parse_replay(o->replay, &seed, keep)) {
        fprintf(stderr, "simulate: '%s' is no SEED[:STEPS]\n", o->replay);
        return 2;
    }
    script_make(seed, &s);
    sim_verbose = o->verbose;
    bool held = holds(&s, keep, false);
    printf("%s\n", held ? "every law holds" : report->text);
    return held ? 0 : 1;
}

static int explore(const struct options *o)
{
    double began = now_s();
    if (!run_many(o))
        return explain(report->seed, o->shrink);
    double took = now_s() - began;
    printf("%" PRIu64 " schedules from seed %" PRIu64
           " in %.1f s (%.0f a minute): every law holds\n",
           report->done, o->seed, took, (double)report->done / took * 60);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"seed", required_argument, NULL, 's'},    {"schedules", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 't'}, {"replay", required_argument, NULL, 'r'},
        {"no-shrink", no_argument, NULL, 'k'},     {"verbose", no_argument, NULL, 'v'},
        {"fingerprints", no_argument, NULL, 'f'},  {NULL, 0, NULL, 0},
    };
    struct options o = {.seed = 1, .schedules = UINT64_MAX, .shrink = true};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 's':
            o.seed = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            o.schedules = strtoull(optarg, NULL, 10);
            break;
        case 't':
            o.seconds = strtod(optarg, NULL);
            break;
        case 'r':
            o.replay = optarg;
            break;
        case 'k':
            o.shrink = false;
            break;
        case 'f':
            o.fingerprints = true;
            break;
        case 'v':
            o.verbose = true;
            break;
        default:
            return 2;
        }
    }
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED || disk_vfs_register() != 0)
        return 2;
    sim_on_failure = on_failure;
    if (o.replay)
        return replay(&o);
    if (o.schedules == UINT64_MAX && o.seconds <= 0)
        o.schedules = 1000;
    return explore(&o);
}
