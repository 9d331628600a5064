/*
 * crash - processes killed and power lost for as long as you like; tests/fault/test_crash.c is the short form.
 *
 *   crash [--rounds N] [--seconds N] [--seed S] [--sqlite] [--mariadb] [--no-redis] [--all-points]
 *
 * Without --sqlite or --mariadb both. --all-points: goes on, three times as long at most, until every named point had a kill, and fails
 * if one had none. A failure prints the seed and what was missing. Exit status 0 only if nothing was.
 */
#include "fault/crash.h"
#include "base/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *value_of(int argc, char **argv, int *i)
{
    if (*i + 1 >= argc) {
        (void)fprintf(stderr, "crash: %s needs a number\n", argv[*i]);
        exit(2);
    }
    return argv[++*i];
}

static void read_arguments(int argc, char **argv, struct crash_plan *p)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rounds") == 0)
            p->rounds = (unsigned)strtoul(value_of(argc, argv, &i), NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0)
            p->seconds = (unsigned)strtoul(value_of(argc, argv, &i), NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            p->seed = strtoull(value_of(argc, argv, &i), NULL, 10);
        else if (strcmp(argv[i], "--sqlite") == 0)
            p->sqlite = true;
        else if (strcmp(argv[i], "--mariadb") == 0)
            p->mariadb = true;
        else if (strcmp(argv[i], "--no-redis") == 0)
            p->redis = false;
        else if (strcmp(argv[i], "--all-points") == 0)
            p->all_points = true;
        else {
            (void)fprintf(stderr, "crash: %s: see the head of tests/long/crash.c\n", argv[i]);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct crash_plan plan = {.redis = true};
    read_arguments(argc, argv, &plan);
    if (!plan.sqlite && !plan.mariadb)
        plan.sqlite = plan.mariadb = true;
    if (!plan.rounds && !plan.seconds)
        plan.rounds = 600;
    if (!plan.seed)
        plan.seed = se__random_u64();
    printf("seed %llu\n", (unsigned long long)plan.seed);
    (void)fflush(stdout);
    crash_run(&plan);
    return 0;
}
