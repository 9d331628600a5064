/*
 * bench_filter - row 7: is an absent id known to be absent? A million ids in L3, and GLib's hash map
 * asked for the same absent ids.
 *
 * The engine (SQLite, in memory) is filled, closed and opened again, so that its filter is as a
 * service has it after a restart. The filter alone is measured beside the public call, which also
 * checks the id and the engine's state. False positives are counted over ten million absent ids.
 */
#include "harness.h"
#include "peers.h"

#include "base/os.h"
#include "filter/filter.h"
#include <syncengine/syncengine.h>

#include <stdlib.h>
#include <string.h>

#define IDS 1000000u
#define LOOKS 1000000u
#define ABSENT_IDS 10000000u
#define CONTENT_LEN 16u /* no side looks at it */
#define TIMEOUT_MS 120000u
#define NS_MAX 40.0 /* 25 M/s */

static const struct peer *const peer =
#ifdef BENCH_GLIB
    &peer_glib;
#else
    NULL;
#endif

struct absent { /* in a row in memory: their own cache misses are no one's */
    size_t n;
    char (*ids)[BENCH_ID_LEN + 8];
};

struct side {
    const struct absent *absent;
    se_engine *engine;
    struct filter *filter;
    void *map; /* the peer's */
    bool in_ns;
};

static struct absent draw(size_t ids, size_t n)
{
    struct absent a = {n, malloc(n * sizeof *a.ids)};
    if (!a.ids)
        bench_fail("out of memory");
    for (size_t i = 0; i < n; i++)
        bench_id(ids + bench_mix(i) % (UINT64_C(1) << 40), a.ids[i]);
    return a;
}

/* ---- one round ---- */

static double figure_of(const struct side *s, uint64_t start_ns)
{
    double ns = (double)(bench_cpu_ns() - start_ns) / (double)s->absent->n;
    return s->in_ns ? ns : 1e3 / ns;
}

/* More than a few found: then it is something else that is measured. */
static void check_found(const struct side *s, size_t found)
{
    if (found > s->absent->n / 1000)
        bench_fail("%zu of %zu absent ids are not known to be absent", found, s->absent->n);
}

static double ask_engine(void *arg)
{
    const struct side *s = arg;
    size_t found = 0;
    uint64_t start = bench_cpu_ns();
    for (size_t i = 0; i < s->absent->n; i++)
        found += !se_definitely_missing(s->engine, s->absent->ids[i]);
    double figure = figure_of(s, start);
    check_found(s, found);
    return figure;
}

static double ask_filter(void *arg)
{
    const struct side *s = arg;
    size_t found = 0;
    uint64_t start = bench_cpu_ns();
    for (size_t i = 0; i < s->absent->n; i++)
        found += !se__filter_excludes(s->filter, s->absent->ids[i], BENCH_ID_LEN);
    double figure = figure_of(s, start);
    check_found(s, found);
    return figure;
}

static double ask_peer(void *arg)
{
    const struct side *s = arg;
    size_t found = 0;
    uint64_t start = bench_cpu_ns();
    for (size_t i = 0; i < s->absent->n; i++)
        found += peer->get(s->map, s->absent->ids[i]) > 0;
    double figure = figure_of(s, start);
    check_found(s, found);
    return figure;
}

/* ---- a million ids ---- */

static se_engine *open_engine(const char *url)
{
    se_config c;
    se_config_init(&c);
    c.sql_url = url;
    c.l1_max_bytes = (size_t)1 << 30;
    se_engine *e;
    bench_check(se_open(&c, &e), "se_open");
    return e;
}

static void submit_ids(se_engine *e, size_t n)
{
    char id[BENCH_ID_LEN + 1];
    for (size_t i = 0; i < n; i++) {
        bench_id(i, id);
        int r = se_submit(e, id, bench_content(i), CONTENT_LEN, NULL);
        while (r == SE_ERR_BACKPRESSURE) {
            se__pause_ms(se_retry_after_ms(e));
            r = se_submit(e, id, bench_content(i), CONTENT_LEN, NULL);
        }
        bench_check(r, "se_submit");
    }
    bench_check(se_flush(e, TIMEOUT_MS), "se_flush");
}

static void wait_until_trusted(se_engine *e)
{
    se_health health;
    uint64_t deadline = se__deadline_in(TIMEOUT_MS);
    for (;;) {
        bench_check(se_health_check(e, &health), "se_health_check");
        if (health.filter_trust == SE_TRUST_TRUSTED)
            return;
        if (se__deadline_left(deadline) == 0)
            bench_fail("the filter is not trusted: %s", health.filter_doubt);
        se__pause_ms(1);
    }
}

static se_engine *filled_engine(const char *url, size_t n)
{
    se_engine *e = open_engine(url);
    submit_ids(e, n);
    bench_check(se_close(e, TIMEOUT_MS), "se_close");
    e = open_engine(url);
    wait_until_trusted(e);
    return e;
}

static void check_result(se_result r)
{
    bench_check(r, "filter");
}

/* What warm-up does: a part after the other. */
static struct filter *filled_filter(size_t n)
{
    struct filter *f;
    char id[BENCH_ID_LEN + 1];
    check_result(se__filter_open(se__random_u64(), &f));
    for (unsigned part = 0; part < FILTER_PARTS; part++)
        check_result(se__filter_begin(f, part));
    for (size_t i = 0; i < n; i++) {
        bench_id(i, id);
        check_result(se__filter_note(f, se__filter_part(id, BENCH_ID_LEN), id, BENCH_ID_LEN));
    }
    for (unsigned part = 0; part < FILTER_PARTS; part++)
        check_result(se__filter_commit(f, part));
    se__filter_believe(f, FILTER_COLD);
    return f;
}

static void *filled_peer(size_t n)
{
    char id[BENCH_ID_LEN + 1];
    void *map = peer ? peer->open(n) : NULL;
    for (size_t i = 0; map && i < n; i++) {
        bench_id(i, id);
        peer->put(map, id, bench_content(i), CONTENT_LEN);
    }
    return map;
}

/* ---- subjects ---- */

static void compare_speed(const struct bench *b, struct side *side)
{
    struct bench_side sides[] = {
        {.name = "se_definitely_missing", .run = ask_engine, .arg = side},
        {.name = peer ? peer->name : "",
         .run = ask_peer,
         .arg = side,
         .kind = BENCH_RATIO_MIN,
         .bar = 0.5},
    };
    if (peer)
        bench_compare(b, &(struct bench_subject){7, "se_definitely_missing, absent", "M/s"}, sides,
                      2);
    side->in_ns = true;
    sides[1] = (struct bench_side){.name = "the filter alone",
                                   .run = ask_filter,
                                   .arg = side,
                                   .kind = BENCH_VALUE_MAX,
                                   .bar = NS_MAX};
    bench_compare(b, &(struct bench_subject){7, "the same", "ns"}, sides, 2);
}

static void compare_known(const struct bench *b, const char *what, const char *unit, double ours,
                          double bar, const char *name, double theirs)
{
    struct bench_side sides[] = {
        {.name = "ours", .run = bench_known, .arg = &ours},
        {.name = name, .run = bench_known, .arg = &theirs, .kind = BENCH_VALUE_MAX, .bar = bar},
    };
    bench_compare(b, &(struct bench_subject){7, what, unit}, sides, 2);
}

static double false_positives(const struct bench *b, const struct side *s, size_t ids)
{
    char id[BENCH_ID_LEN + 1];
    size_t n = bench_scaled(b, ABSENT_IDS), found = 0;
    for (size_t i = 0; i < n; i++) {
        bench_id(ids + i, id);
        found += se_might_exist(s->engine, id);
    }
    return 100.0 * (double)found / (double)n;
}

static void compare_quality(const struct bench *b, const struct side *s, size_t ids)
{
    se_health health;
    bench_check(se_health_check(s->engine, &health), "se_health_check");
    compare_known(b, "false positives", "%", false_positives(b, s, ids), 0.02, "8 of 65535, full",
                  100 * 8.0 / 65535);
    compare_known(b, "memory an id, all included", "bits",
                  (double)health.filter_bytes * 8 / (double)ids, 20, "fingerprints alone", 16);
}

int main(int argc, char **argv)
{
    struct bench b;
    struct bench_dir dir;
    char url[256];
    bench_init(&b, argc, argv);
    size_t ids = bench_scaled(&b, IDS);
    bench_dir_make(&dir, NULL);
    bench_dir_path(&dir, "sqlite:", "filter.db", url);
    struct absent absent = draw(ids, LOOKS);
    struct side side = {.absent = &absent,
                        .engine = filled_engine(url, ids),
                        .filter = filled_filter(ids),
                        .map = filled_peer(ids)};
    bench_pin();
    compare_speed(&b, &side);
    compare_quality(&b, &side, ids);
    bench_check(se_close(side.engine, TIMEOUT_MS), "se_close");
    se__filter_close(side.filter);
    if (peer)
        peer->close(side.map);
    free(absent.ids);
    bench_dir_remove(&dir);
    return 0;
}
