/*
 * flood - a writer far faster than MariaDB can take, for a minute: a line a second, and at the end whether memory stayed bounded,
 * reads went on, nothing acknowledged is missing and the engine recovered by itself.
 *
 *   flood [--seconds N] [--run-ms N] [--stop-ms N] [--outage-ms N] [--queue-mb N] [--l1-mb N]
 *
 * MariaDB is the program's own. It is slowed down by stopping its process for stop-ms after each run-ms (SIGSTOP), so that it
 * serves that share of the time and no more; half way through it is stopped for outage-ms at a stretch, long enough that throttling does not
 * do and writes are refused. There is no WAL: what waits, waits in memory.
 *
 * Exit status 0 only if all of it holds. tests/integration/test_pressure.c is the short form.
 */
#include "integration/flood.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1u << 20)
#define IDS 200000u
#define BASE_MS 3000u           /* reads with nothing else going on */
#define LONG_OUTAGE_MS 24000u   /* throttling alone rides out a shorter one */
#define RECOVER_MS 60000u       /* no longer than this, when the writer has gone */
#define SLACK_BYTES (32u * MIB) /* beside L1: batches under way, connections, the heap's holes */

struct plan {
    unsigned seconds, run_ms, stop_ms, outage_ms, queue_mb, l1_mb;
};

struct show {
    struct flood f;
    struct mariadb_server *mariadb;
    struct flood_sample base, last, peak; /* peak: the greatest of each gauge */
    uint64_t began_ms, last_ms;
    bool failed;
};

static double per_second(uint64_t now, uint64_t before, uint64_t ms)
{
    return ms ? (double)(now - before) * 1000 / (double)ms : 0;
}

static double mib(uint64_t bytes)
{
    return (double)bytes / MIB;
}

static void keep_peak(struct flood_sample *peak, const struct flood_sample *s)
{
    if (s->level > peak->level)
        peak->level = s->level;
    if (s->l1_bytes > peak->l1_bytes)
        peak->l1_bytes = s->l1_bytes;
    if (s->queue_bytes > peak->queue_bytes)
        peak->queue_bytes = s->queue_bytes;
    if (s->rss_bytes > peak->rss_bytes)
        peak->rss_bytes = s->rss_bytes;
}

static void print_head(void)
{
    printf("%5s %-9s %5s %8s %8s %8s %9s %9s %9s %8s %7s %10s %6s\n", "s", "level", "p", "L1 MiB",
           "queue", "RSS MiB", "writes/s", "rows/s", "refused/s", "delayed", "changes", "reads/s",
           "waits");
}

static void print_line(struct show *w, const struct flood_sample *s)
{
    uint64_t now = se__mono_ms(), ms = now - w->last_ms;
    const struct flood_sample *l = &w->last;
    printf("%5.1f %-9s %4.0f%% %8.1f %8.2f %8.1f %9.0f %9.0f %9.0f %8" PRIu64 " %7" PRIu64
           " %10.0f %6" PRIu64 "\n",
           (double)(now - w->began_ms) / 1000, flood_level_name(s->level), s->pressure * 100,
           mib(s->l1_bytes), mib(s->queue_bytes), mib(s->rss_bytes),
           per_second(s->accepted, l->accepted, ms), per_second(s->persisted, l->persisted, ms),
           per_second(s->refused, l->refused, ms), s->throttled - l->throttled,
           s->changes - l->changes, per_second(s->reads, l->reads, ms),
           s->read_waits - l->read_waits);
    (void)fflush(stdout);
    w->last = *s;
    w->last_ms = now;
}

static void look(struct show *w)
{
    struct flood_sample s;
    flood_sample(&w->f, &s);
    keep_peak(&w->peak, &s);
    if (se__mono_ms() - w->last_ms >= 1000)
        print_line(w, &s);
}

static void verdict(struct show *w, bool holds, const char *what)
{
    printf("%-6s %s\n", holds ? "holds" : "FAILS", what);
    w->failed = w->failed || !holds;
}

/* ---- the phases ---- */

static void stop_database(struct show *w, uint64_t ms)
{
    uint64_t until = se__deadline_in(ms);
    if (ms && mariadb_pause(w->mariadb)) {
        for (uint64_t left; (left = se__deadline_left(until)) > 0; look(w))
            se__pause_ms(left < 20 ? (uint32_t)left : 20);
        (void)mariadb_resume(w->mariadb);
    }
}

static void run_slowed(struct show *w, const struct plan *p, uint64_t ms)
{
    for (uint64_t until = se__deadline_in(ms); se__deadline_left(until) > 0; look(w)) {
        se__pause_ms(p->run_ms);
        stop_database(w, p->stop_ms);
    }
}

static uint64_t recover(struct show *w)
{
    uint64_t began = se__mono_ms(), until = se__deadline_in(RECOVER_MS);
    struct flood_sample s;
    do {
        se__pause_ms(5);
        look(w);
        flood_sample(&w->f, &s);
    } while ((s.queue_items || s.level != SE_PRESSURE_NORMAL) && se__deadline_left(until) > 0);
    print_line(w, &s);
    return se__mono_ms() - began;
}

static void run(struct show *w, const struct plan *p)
{
    w->began_ms = w->last_ms = se__mono_ms();
    print_head();
    flood_read(&w->f);
    while (se__mono_ms() - w->began_ms < BASE_MS) {
        se__pause_ms(20);
        look(w);
    }
    flood_sample(&w->f, &w->base);
    puts("      the writer starts");
    flood_write(&w->f);
    uint64_t slowed =
        p->seconds * UINT64_C(1000) > p->outage_ms ? p->seconds * UINT64_C(1000) - p->outage_ms : 0;
    run_slowed(w, p, slowed / 2);
    puts("      the database stops");
    stop_database(w, p->outage_ms);
    puts("      the database goes on");
    run_slowed(w, p, slowed / 2);
}

/* ---- what came of it ---- */

static void judge_memory(struct show *w, const struct plan *p)
{
    uint64_t queue_max = (uint64_t)p->queue_mb * MIB, l1_max = (uint64_t)p->l1_mb * MIB;
    uint64_t grown =
        w->peak.rss_bytes > w->base.rss_bytes ? w->peak.rss_bytes - w->base.rss_bytes : 0;
    printf("most: L1 %.1f of %u MiB, queue %.2f of %u MiB, RSS %.1f MiB above the %.1f before\n",
           mib(w->peak.l1_bytes), p->l1_mb, mib(w->peak.queue_bytes), p->queue_mb, mib(grown),
           mib(w->base.rss_bytes));
    verdict(w, w->peak.l1_bytes <= l1_max, "L1 within l1_max_bytes");
    verdict(w, w->peak.queue_bytes <= queue_max, "what waits within queue_max_bytes");
    verdict(w, grown <= l1_max + SLACK_BYTES, "the process has grown by L1 and 32 MiB at most");
}

static void judge_writes(struct show *w, const struct plan *p, const struct flood_sample *end,
                         uint64_t ms)
{
    double could = per_second(end->accepted + end->refused, 0, end->writer_us / 1000);
    uint64_t slowed_ms = ms > p->outage_ms ? ms - p->outage_ms : ms; /* the outage apart */
    double took = per_second(end->persisted, w->base.persisted, slowed_ms);
    printf("writer: %" PRIu64 " accepted, %" PRIu64 " refused, %" PRIu64
           " delayed; with nothing in its way it writes %.0f/s, the database took %.0f/s: %.0f "
           "times\n",
           end->accepted, end->refused, end->throttled, could, took, could / took);
    printf("levels entered:");
    for (int i = 0; i <= SE_PRESSURE_SHUTDOWN; i++)
        printf(" %s %" PRIu64, flood_level_name((se_pressure)i), end->entered[i]);
    puts("");
    verdict(w, could >= 10 * took, "the writer could go ten times as fast as the database");
    verdict(w, end->throttled > 0, "it was delayed");
    if (p->outage_ms >= LONG_OUTAGE_MS)
        verdict(w, end->refused > 0, "in the outage it was refused");
    verdict(w, atomic_load(&w->f.unhinted) == 0, "each refusal said when to try again");
}

static void judge_reads(struct show *w, const struct flood_sample *end, uint64_t ms)
{
    const struct flood_sample *b = &w->base;
    uint64_t reads = end->reads - b->reads, waits = end->read_waits - b->read_waits;
    double alone = (double)b->reads / (double)b->read_us;
    double beside = (double)reads / (double)(end->read_us - b->read_us);
    printf(
        "reads: %.0f/s before, %.0f/s during; by CPU time %.3f M/s and %.3f M/s (%.2f); of %" PRIu64
        " during it %" PRIu64 " waited, %.4f %% came from L1\n",
        per_second(b->reads, 0, BASE_MS), per_second(reads, 0, ms), alone, beside, beside / alone,
        reads, waits, 100.0 * (double)(end->l1_hits - b->l1_hits) / (double)reads);
    verdict(w, waits * 1000 <= reads, "of 1000 reads 999 did not wait for anything");
}

static void judge_rows(struct show *w, uint64_t recovered_ms)
{
    uint64_t wrong, right = flood_check(&w->f, w->mariadb, &wrong);
    se_health h;
    printf("recovery: empty and NORMAL %.1f s after the last write; rows: %" PRIu64
           " as acknowledged, %" PRIu64 " not\n",
           (double)recovered_ms / 1000, right, wrong);
    verdict(w, right > 0 && wrong == 0, "every acknowledged write is in the database");
    verdict(w,
            se_health_check(w->f.e, &h) == SE_OK && h.healthy && h.accepting_writes &&
                h.pressure_level == SE_PRESSURE_NORMAL && se_retry_after_ms(w->f.e) == 0,
            "recovered by itself");
}

static void judge(struct show *w, const struct plan *p, const struct flood_sample *end, uint64_t ms,
                  uint64_t recovered_ms)
{
    judge_memory(w, p);
    judge_writes(w, p, end, ms);
    judge_reads(w, end, ms);
    judge_rows(w, recovered_ms);
}

/* ---- */

static void read_arguments(struct plan *p, int argc, char **argv)
{
    const struct {
        const char *name;
        unsigned *value;
    } options[] = {{"--seconds", &p->seconds},   {"--run-ms", &p->run_ms},
                   {"--stop-ms", &p->stop_ms},   {"--outage-ms", &p->outage_ms},
                   {"--queue-mb", &p->queue_mb}, {"--l1-mb", &p->l1_mb}};
    for (int i = 1; i < argc; i += 2) {
        unsigned *value = NULL;
        for (size_t o = 0; o < sizeof options / sizeof *options; o++)
            if (strcmp(argv[i], options[o].name) == 0)
                value = options[o].value;
        if (!value || i + 1 == argc ||
            (*value = (unsigned)strtoul(argv[i + 1], NULL, 10)) > 100000) {
            (void)fprintf(stderr, "usage: see the head of tests/long/flood.c\n");
            exit(2);
        }
    }
}

static se_engine *open_engine(const struct plan *p, struct mariadb_server *mariadb)
{
    char url[256];
    se_config c;
    se_engine *e = NULL;
    mariadb_url(mariadb, false, url, sizeof url);
    se_config_init(&c);
    c.sql_url = url;
    c.l1_max_bytes = (size_t)p->l1_mb * MIB;
    c.queue_max_bytes = (size_t)p->queue_mb * MIB;
    c.circuit_open_ms = 1000;
    if (se_open(&c, &e) != SE_OK) {
        (void)fprintf(stderr, "%s\n", se_errmsg());
        exit(1);
    }
    return e;
}

int main(int argc, char **argv)
{
    struct plan p = {.seconds = 60,
                     .run_ms = 20,
                     .stop_ms = 80,
                     .outage_ms = LONG_OUTAGE_MS,
                     .queue_mb = 8,
                     .l1_mb = 64};
    static const char *const args[] = {"--innodb-buffer-pool-size=256M", NULL};
    read_arguments(&p, argc, argv);
    struct show w = {.mariadb = mariadb_start(false, args)};
    if (!w.mariadb)
        return 1;
    se_engine *e = open_engine(&p, w.mariadb);
    flood_make(&w.f, e, IDS);
    run(&w, &p);
    struct flood_sample end;
    flood_sample(&w.f, &end);
    uint64_t ms = se__mono_ms() - w.began_ms - BASE_MS;
    flood_stop_writing(&w.f);
    puts("      the writer has gone, the database is as fast as it can be");
    uint64_t recovered_ms = recover(&w);
    flood_stop_reading(&w.f);
    judge(&w, &p, &end, ms, recovered_ms);
    verdict(&w, se_close(e, 20000) == SE_OK, "closed with everything home");
    flood_done(&w.f);
    mariadb_close(w.mariadb);
    return w.failed ? 1 : 0;
}
