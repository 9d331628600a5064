/*
 * outages - every trouble of tests/fault/outage_redis.c and outage_sql.c, in every shape that it can strike, round after round, with a
 * line each: how slow L1 hits and misses were, when the circuit opened, when all was home again.
 *
 *   outages [--rounds N] [--seconds N] [--seed N] [--fault-ms N] [--case TEXT] [--where redis|sql|both]
 *
 * Ends after `rounds` rounds (1), or after the first case that ends when `seconds` are over. --case: only those whose name contains it; --where: only that
 * table.
 * The servers are its own. The figures are read on a machine that has nothing else to do; "(raw)" is what the wall clock said.
 *
 * Exit status 0 only if everything was right.
 */
#include "fault/outage.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plan {
    unsigned long rounds, seconds, seed, fault_ms;
    const char *part, *where;
};

struct tally {
    unsigned runs, wrong;
    uint64_t hit_ns, miss_ns;
    uint64_t until_ms;
};

static void read_arguments(struct plan *p, int argc, char **argv)
{
    const struct {
        const char *name;
        unsigned long *value;
    } numbers[] = {{"--rounds", &p->rounds},
                   {"--seconds", &p->seconds},
                   {"--seed", &p->seed},
                   {"--fault-ms", &p->fault_ms}};
    for (int i = 1; i < argc; i += 2) {
        bool known = false;
        for (size_t n = 0; i + 1 < argc && n < sizeof numbers / sizeof *numbers; n++)
            if (strcmp(argv[i], numbers[n].name) == 0) {
                *numbers[n].value = strtoul(argv[i + 1], NULL, 10);
                known = true;
            }
        if (i + 1 < argc && strcmp(argv[i], "--case") == 0) {
            p->part = argv[i + 1];
            known = true;
        }
        if (i + 1 < argc && strcmp(argv[i], "--where") == 0) {
            p->where = argv[i + 1];
            known = true;
        }
        if (!known) {
            (void)fprintf(stderr, "usage: see the head of tests/long/outages.c\n");
            exit(2);
        }
    }
}

static void run_case(struct outage_site *s, const struct plan *p, const struct outage_case *c,
                     struct tally *tally)
{
    const struct outage_limits limits = {.fault_ms = (uint32_t)p->fault_ms,
                                         .redis_timeout_ms = 250,
                                         .sql_timeout_ms = 800,
                                         .read_timeout_ms = 1000};
    for (unsigned shape = SHAPE_CACHE; shape <= SHAPE_NO_WAL; shape <<= 1) {
        struct outage_report r;
        if (!(c->shapes & shape) || (tally->until_ms && se__mono_ms() > tally->until_ms))
            continue;
        tally->wrong += !outage_run(s, c, (enum outage_shape)shape, &limits, &r);
        outage_print(c, (enum outage_shape)shape, &r);
        tally->runs++;
        if (r.hits.worst_judged_ns > tally->hit_ns)
            tally->hit_ns = r.hits.worst_judged_ns;
        if (r.misses.worst_judged_ns > tally->miss_ns)
            tally->miss_ns = r.misses.worst_judged_ns;
    }
}

static void run_table(struct outage_site *s, const struct plan *p, const char *where,
                      const struct outage_case *c, struct tally *tally)
{
    if (p->where && strcmp(p->where, where) != 0)
        return;
    for (; c->name; c++)
        if (!p->part || strstr(c->name, p->part))
            run_case(s, p, c, tally);
}

int main(int argc, char **argv)
{
    struct plan p = {.rounds = 1, .seed = se__random_u64() % 1000000, .fault_ms = 2000};
    struct tally tally = {0};
    struct outage_site site;
    read_arguments(&p, argc, argv);
    if (p.seconds) {
        tally.until_ms = se__deadline_in(p.seconds * 1000);
        p.rounds = p.rounds > 1 ? p.rounds : ULONG_MAX;
    }
    outage_site_start(&site, p.seed);
    for (unsigned long round = 0; round < p.rounds; round++) {
        if (tally.until_ms && se__mono_ms() > tally.until_ms)
            break;
        printf("round %lu, seed %lu\n", round + 1, p.seed);
        outage_print_head();
        run_table(&site, &p, "redis", OUTAGES_OF_REDIS, &tally);
        run_table(&site, &p, "sql", OUTAGES_OF_SQL, &tally);
        run_table(&site, &p, "both", OUTAGES_OF_BOTH, &tally);
    }
    outage_site_stop(&site);
    printf("%u runs, %u wrong; slowest hit %.3f ms, slowest miss %.1f ms of 1000\n", tally.runs,
           tally.wrong, (double)tally.hit_ns / 1e6, (double)tally.miss_ns / 1e6);
    return tally.wrong || !tally.runs;
}
