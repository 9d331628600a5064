/*
 * outage - see outage.h.
 */
#include "fault/outage.h"

#include "fault/outage_truth.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_MS 30000u
#define AFTERMATH_MS 60u /* writers go on for this long while the engine recovers */
#define HIT_MS_MAX 5u

/* With a sanitizer's shadow memory a fork() holds up the whole process for milliseconds: the fixture's doing, not a backend's. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FORK_IS_SLOW true
#else
#define FORK_IS_SLOW false
#endif

struct outage {
    struct outage_site *s;
    const struct outage_case *c;
    enum outage_shape shape;
    const struct outage_limits *limits;
    struct outage_report *report;
    se_config config;
    char sql[256], redis[256], wal[256];
    se_engine *e;
    struct traffic traffic;
    uint32_t poison; /* number of their last write; 0: none */
};

/* ---- servers ---- */

void outage_site_start(struct outage_site *s, uint64_t seed)
{
    *s = (struct outage_site){.seed = seed};
    redis_server_start(
        &s->redis, &(struct redis_server_options){.append_only = true,
                                                  .extra = {"--enable-protected-configs", "yes"}});
    s->mariadb = mariadb_start(false, NULL);
    if (!s->mariadb || !mariadb_exec(s->mariadb, "CREATE USER app@localhost; "
                                                 "GRANT ALL ON t.* TO app@localhost"))
        abort();
    s->redis_proxy = proxy_start(PROXY_REDIS, s->redis.socket, seed);
    s->sql_proxy = proxy_start(PROXY_MYSQL, s->mariadb->socket, seed + 1);
    test_dir_make(&s->dir);
}

void outage_site_stop(struct outage_site *s)
{
    proxy_stop(s->redis_proxy);
    proxy_stop(s->sql_proxy);
    redis_server_stop(&s->redis);
    mariadb_close(s->mariadb);
    test_dir_remove(&s->dir);
}

static void empty_servers(struct outage_site *s)
{
    char text[64];
    redis_server_ask(&s->redis, text, sizeof text, "FLUSHALL");
    if (!mariadb_exec(s->mariadb, "DROP TABLE IF EXISTS sync_items; "
                                  "DROP TABLE IF EXISTS sync_items_meta"))
        abort();
}

static void quiet(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    if (getenv("SE_TEST_LOG"))
        (void)fprintf(stderr, "[%d] %s\n", (int)level, message);
}

/* ---- the engine ---- */

static void configure(struct outage *o)
{
    struct outage_site *s = o->s;
    se_config *c = &o->config;
    se_config_init(c);
    (void)snprintf(o->sql, sizeof o->sql, "mysql://app@127.0.0.1:%u/t", proxy_port(s->sql_proxy));
    (void)snprintf(o->redis, sizeof o->redis, "redis://127.0.0.1:%u", proxy_port(s->redis_proxy));
    test_dir_path(&s->dir, "", "wal.db", o->wal);
    c->sql_url = o->shape != SHAPE_HOME ? o->sql : NULL;
    c->redis_url = o->shape == SHAPE_CACHE || o->shape == SHAPE_HOME ? o->redis : NULL;
    c->wal_path = o->shape != SHAPE_NO_WAL ? o->wal : NULL;
    c->batch_flush_ms = 10;
    c->redis_timeout_ms = o->limits->redis_timeout_ms;
    c->sql_timeout_ms = o->limits->sql_timeout_ms;
    c->read_timeout_ms = o->limits->read_timeout_ms;
    c->ack_timeout_ms = 200;
    c->circuit_failures = 3;
    c->circuit_open_ms = 200;
    c->log_fn = quiet;
}

static bool open_engine(struct outage *o)
{
    if (se_open(&o->config, &o->e) == SE_OK)
        return true;
    traffic_wrong(&o->traffic, "se_open: %s", se_errmsg());
    return false;
}

static se_circuit circuit(const struct outage *o)
{
    se_health h;
    (void)se_health_check(o->e, &h);
    return o->c->where == AT_SQL ? h.sql_circuit : h.redis_circuit;
}

static double opened_times(const struct outage *o)
{
    return outage_metric(o->e, "sync_engine_circuit_breaker_transitions_total",
                         o->c->where == AT_SQL ? "circuit=\"sql\",to=\"open\""
                                               : "circuit=\"redis\",to=\"open\"");
}

static double retries(const struct outage *o)
{
    return outage_metric(o->e, "sync_engine_retries_total",
                         o->c->where == AT_SQL ? "circuit=\"sql\"" : "circuit=\"redis\"");
}

static double failed_writes(const struct outage *o)
{
    return outage_metric(o->e, "sync_engine_operations_total",
                         o->c->where == AT_SQL ? "tier=\"l3\",operation=\"put\",status=\"error\""
                                               : "tier=\"l2\",operation=\"put\",status=\"error\"");
}

/* ---- the trouble ---- */

static struct proxy *proxy_of(const struct outage *o)
{
    return o->c->where == AT_SQL ? o->s->sql_proxy : o->s->redis_proxy;
}

static void write_poison(struct outage *o, size_t len)
{
    char id[TRAFFIC_ID], *content = malloc(len + 1);
    o->poison++;
    for (unsigned i = 0; content && i < POISON; i++) {
        traffic_id(id, 'p', i);
        memset(content, 'p' + (int)o->poison, len);
        se_result r = se_submit(o->e, id, content, len, NULL);
        if (r != SE_OK && r != SE_PENDING)
            traffic_wrong(&o->traffic, "writing %s: %d %s", id, r, se_errmsg());
    }
    free(content);
}

static void check_poison(struct outage *o, size_t len)
{
    char id[TRAFFIC_ID];
    se_item *item;
    for (unsigned i = 0; o->poison && i < POISON; i++) {
        traffic_id(id, 'p', i);
        se_result r = se_get(o->e, id, &item);
        if (r != SE_OK || se_item_content_len(item) != len ||
            *(const char *)se_item_content(item) != 'p' + (char)o->poison)
            traffic_wrong(&o->traffic, "%s is not served as written: %d", id, r);
        if (r == SE_OK)
            se_item_release(item);
    }
}

static uint64_t dead_letters(const struct outage *o)
{
    se_health h;
    (void)se_health_check(o->e, &h);
    return h.dead_letters;
}

struct marks {
    double opened, retries, failed;
    uint64_t struck;
};

static struct marks look(const struct outage *o)
{
    return (struct marks){.opened = opened_times(o),
                          .retries = retries(o),
                          .failed = failed_writes(o),
                          .struck = proxy_count(proxy_of(o)).struck};
}

/* What the case expects of the time of trouble has happened. */
static bool has_come(const struct outage *o, const struct marks *before)
{
    unsigned flags = o->c->flags;
    bool countable = o->c->plan.what != PROXY_PASS && o->c->plan.what != PROXY_REFUSE;
    if (countable && proxy_count(proxy_of(o)).struck == before->struck)
        return false;
    if ((flags & OPENS) && opened_times(o) == before->opened)
        return false;
    if ((flags & RETRIES) && retries(o) == before->retries)
        return false;
    if ((flags & FAILS) && failed_writes(o) == before->failed)
        return false;
    return !(flags & POISONS) || dead_letters(o) >= POISON;
}

static void set_plan(const struct outage *o, const struct proxy_plan *plan)
{
    if (o->c->both || o->c->where == AT_SQL)
        proxy_set(o->s->sql_proxy, plan);
    if (o->c->both || o->c->where == AT_REDIS)
        proxy_set(o->s->redis_proxy, plan);
}

static void begin_trouble(struct outage *o)
{
    if (o->c->begin)
        o->c->begin(o->s);
    if (o->c->plan.what != PROXY_PASS)
        set_plan(o, &o->c->plan);
    if (o->c->flags & POISONS)
        write_poison(o, o->c->poison_bytes);
}

static void end_trouble(struct outage *o)
{
    if (o->c->end)
        o->c->end(o->s);
    if (o->c->plan.what != PROXY_PASS)
        set_plan(o, NULL);
}

static void be_in_trouble(struct outage *o)
{
    const struct marks before = look(o);
    uint64_t began = se__mono_ms(), next = began;
    o->report->opened_ms = -1;
    atomic_store(&o->traffic.when, "in trouble");
    begin_trouble(o);
    for (uint64_t took = 0;; took = se__mono_ms() - began) {
        if (o->report->opened_ms < 0 && circuit(o) == SE_CIRCUIT_OPEN)
            o->report->opened_ms = (int64_t)(se__mono_ms() - began);
        if (se__mono_ms() >= next) {
            if (o->c->again)
                o->c->again(o->s);
            next = se__mono_ms() + 10;
        }
        if (took >= o->limits->fault_ms && has_come(o, &before))
            break;
        if (took >= o->limits->fault_ms + PATIENCE_MS) {
            traffic_wrong(&o->traffic, "what was expected of the trouble has not come in %u ms",
                          PATIENCE_MS);
            break;
        }
        se__pause_ms(1);
    }
    if ((o->c->flags & STAYS_CLOSED) && opened_times(o) != before.opened)
        traffic_wrong(&o->traffic, "the circuit opened");
    if (o->report->opened_ms < 0 && opened_times(o) != before.opened)
        o->report->opened_ms =
            (int64_t)(se__mono_ms() - began); /* open and closed between two looks */
    if (o->c->flags & POISONS)
        check_poison(o, o->c->poison_bytes);
    end_trouble(o);
    atomic_store(&o->traffic.when, "recovering");
    o->report->struck = proxy_count(proxy_of(o)).struck - before.struck;
}

/* ---- recovery ---- */

static bool is_well(const struct outage *o)
{
    se_health h;
    (void)se_health_check(o->e, &h);
    return h.sql_up != 0 && h.redis_up != 0 && h.sql_circuit == SE_CIRCUIT_CLOSED &&
           h.redis_circuit == SE_CIRCUIT_CLOSED && h.wal_items == 0 && h.queue_items == 0;
}

/* Nothing but se_flush() is called: it must come back by itself. */
static void recover(struct outage *o)
{
    uint64_t ended = se__mono_ms(), deadline = se__deadline_in(PATIENCE_MS);
    se__pause_ms(AFTERMATH_MS);
    traffic_stop_writing(&o->traffic);
    bool well = false; /* once: a reader may still meet a half-open connection later */
    while (!well && se__deadline_left(deadline)) {
        well = is_well(o) && se_flush(o->e, 1000) == SE_OK;
        se__pause_ms(1);
    }
    o->report->drained_ms = se__mono_ms() - ended;
    if (!well) {
        se_health h;
        (void)se_health_check(o->e, &h);
        traffic_wrong(&o->traffic,
                      "not well and empty %u ms after the end: up %d and %d, circuits %d and %d, "
                      "queued %" PRIu64 ", in the WAL %" PRIu64,
                      PATIENCE_MS, h.redis_up, h.sql_up, (int)h.redis_circuit, (int)h.sql_circuit,
                      h.queue_items, h.wal_items);
    }
    traffic_stop(&o->traffic);
}

/* ---- the comparison ---- */

static void check_speed(struct outage *o)
{
    struct outage_report *r = o->report;
    uint64_t miss_ms_max = o->limits->read_timeout_ms + o->limits->read_timeout_ms / 10;
    r->hits = traffic_hits(&o->traffic);
    r->misses = traffic_misses(&o->traffic);
    bool judged = !(FORK_IS_SLOW && (o->c->flags & STARTS));
    if (judged && r->hits.worst_judged_ns > HIT_MS_MAX * UINT64_C(1000000))
        traffic_wrong(&o->traffic, "an L1 hit took %.1f ms (%.1f in all)",
                      (double)r->hits.worst_judged_ns / 1e6, (double)r->hits.worst_ns / 1e6);
    if (r->misses.worst_judged_ns > miss_ms_max * UINT64_C(1000000))
        traffic_wrong(&o->traffic, "a miss took %.1f ms (%.1f in all), the bound is %" PRIu64,
                      (double)r->misses.worst_judged_ns / 1e6, (double)r->misses.worst_ns / 1e6,
                      miss_ms_max);
    if (r->hits.count == 0 || r->misses.count == 0)
        traffic_wrong(&o->traffic, "no reads were made");
}

static void check_dead(struct outage *o)
{
    uint64_t expected = o->c->flags & POISONS ? POISON : 0;
    o->report->dead = dead_letters(o);
    if (o->report->dead != expected)
        traffic_wrong(&o->traffic, "%" PRIu64 " dead letters, not %" PRIu64, o->report->dead,
                      expected);
    outage_check_balance(&o->traffic, o->e);
    if (!expected)
        return;
    write_poison(o, 10); /* what is refused no more resolves them */
    if (se_flush(o->e, 20000) != SE_OK || dead_letters(o) != 0)
        traffic_wrong(&o->traffic, "a newer write does not resolve a dead letter: %s", se_errmsg());
}

static void check_truth(struct outage *o)
{
    outage_check_balance(&o->traffic, o->e);
    if (o->shape != SHAPE_HOME)
        outage_check_rows(&o->traffic, o->s->mariadb, o->poison ? POISON : 0);
    (void)se_invalidate_prefix(o->e, "");
    o->report->late_outages = traffic_check_reads(&o->traffic, o->e);
    check_poison(o, 10);
}

/* A new engine has nothing in L1: Redis or the database answers. */
static void check_anew(struct outage *o)
{
    if (se_close(o->e, 20000) != SE_OK)
        traffic_wrong(&o->traffic, "se_close: %s", se_errmsg());
    o->e = NULL;
    o->config.redis_timeout_ms = o->config.sql_timeout_ms = o->config.read_timeout_ms = 10000;
    atomic_store(&o->traffic.when, "by a new engine");
    if (!open_engine(o))
        return;
    (void)traffic_check_reads(&o->traffic, o->e);
    check_poison(o, 10);
    if (se_close(o->e, 20000) != SE_OK)
        traffic_wrong(&o->traffic, "the second se_close: %s", se_errmsg());
    o->e = NULL;
}

static void note(struct outage *o)
{
    struct outage_report *r = o->report;
    struct traffic *t = &o->traffic;
    r->writes = atomic_load(&t->writes);
    r->pending = atomic_load(&t->pending);
    r->refused = atomic_load(&t->refused);
    r->answers = atomic_load(&t->answers);
    r->outages = atomic_load(&t->outages);
    if (r->writes == 0)
        traffic_wrong(t, "nothing was written");
}

static void run(struct outage *o)
{
    if (!traffic_make(&o->traffic, o->e, o->s->seed))
        return;
    traffic_start(&o->traffic);
    se__pause_ms(20);
    be_in_trouble(o);
    recover(o);
    atomic_store(&o->traffic.when, "afterwards");
    note(o);
    check_speed(o);
    check_dead(o);
    check_truth(o);
    check_anew(o);
}

bool outage_run(struct outage_site *s, const struct outage_case *c, enum outage_shape shape,
                const struct outage_limits *limits, struct outage_report *report)
{
    struct outage *o = calloc(1, sizeof *o);
    if (!o)
        abort();
    *o = (struct outage){.s = s, .c = c, .shape = shape, .limits = limits, .report = report};
    *report = (struct outage_report){.opened_ms = -1};
    se__mutex_init(&o->traffic.lock);
    s->seed++;
    empty_servers(s);
    configure(o);
    if (open_engine(o))
        run(o);
    if (o->e)
        (void)se_close(o->e, 1000);
    unlink(o->wal);
    memcpy(report->wrong, o->traffic.wrong, sizeof report->wrong);
    free(o);
    return !report->wrong[0];
}

/* ---- the table ---- */

const char *outage_shape_name(enum outage_shape shape)
{
    switch (shape) {
    case SHAPE_CACHE:
        return "cache";
    case SHAPE_HOME:
        return "home";
    case SHAPE_SQL:
        return "sql";
    case SHAPE_NO_WAL:
        return "no wal";
    }
    return "?";
}

void outage_print_head(void)
{
    printf("%-44s %-6s %8s %9s %9s %8s %9s %9s %8s %5s %8s %8s %7s\n", "trouble", "shape", "hits",
           "worst ms", "(raw)", "misses", "worst ms", "(raw)", "outages", "later", "open ms",
           "home ms", "writes");
}

void outage_print(const struct outage_case *c, enum outage_shape shape,
                  const struct outage_report *r)
{
    char opened[24] = "-", name[64];
    if (r->opened_ms >= 0)
        (void)snprintf(opened, sizeof opened, "%" PRId64, r->opened_ms);
    (void)snprintf(name, sizeof name, "%s: %s",
                   c->both              ? "both"
                   : c->where == AT_SQL ? "MariaDB"
                                        : "Redis",
                   c->name);
    printf("%-44s %-6s %8" PRIu64 " %9.3f %9.3f %8" PRIu64 " %9.1f %9.1f %8" PRIu64
           " %5u %8s %8" PRIu64 " %7" PRIu64 "%s%s\n",
           name, outage_shape_name(shape), r->hits.count, (double)r->hits.worst_judged_ns / 1e6,
           (double)r->hits.worst_ns / 1e6, r->misses.count, (double)r->misses.worst_judged_ns / 1e6,
           (double)r->misses.worst_ns / 1e6, r->outages, r->late_outages, opened, r->drained_ms,
           r->writes, r->wrong[0] ? "  WRONG: " : "", r->wrong);
    (void)fflush(stdout);
}
