/*
 * engines.c - see engines.h.
 */
#include "sim/engines.h"

#include "engine/engine.h"
#include "sim/disk.h"
#include "sim/l2.h"
#include "sim/sched.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIVES_MAX = 64 };

static struct {
    struct shape shape;
    struct life lives[LIVES_MAX];
    unsigned lives_n;
    se_engine *engine;
    bool ending;
    unsigned inside; /* calls of clients */
    uint64_t since_ns;
} w;

static const char inside_key, open_key; /* what tasks wait on */

/* ---- calls ---- */

se_engine *engine_enter(void)
{
    while (!w.engine || w.ending)
        (void)sim_wait(&open_key, SIM_FOREVER);
    w.inside++;
    return w.engine;
}

void engine_leave(void)
{
    if (--w.inside == 0)
        sim_wake_all(&inside_key);
}

static void wait_for_clients(void)
{
    while (w.inside)
        (void)sim_wait(&inside_key, SIM_FOREVER);
}

bool engine_ending(void)
{
    return w.ending;
}

se_engine *engine_now(void)
{
    return w.engine;
}

uint64_t engine_since_ns(void)
{
    return w.since_ns;
}

unsigned sim_life_number(void)
{
    return w.lives_n;
}

/* ---- configuration ---- */

static void say_log(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    sim_say("log %d: %s", (int)level, message);
}

static void configure(se_config *c, char wal_path[64])
{
    const struct shape *s = &w.shape;
    se_config_init(c);
    c->name = "sim";
    c->redis_url = s->redis ? "redis://sim" : NULL;
    c->sql_url = s->sql ? "mysql://sim@sim/sim" : NULL;
    snprintf(wal_path, 64, DISK_ROOT "%u/wal", w.lives_n);
    c->wal_path = s->wal ? wal_path : NULL;
    c->batch_flush_ms = s->batch_ms;
    c->batch_flush_count = s->batch_items;
    c->flush_workers = s->workers;
    c->default_ack = s->ack;
    c->queue_max_bytes = 512 * 1024;
    c->wal_max_items = s->wal_items;
    c->wal_drain_batch_size = 6;
    c->filter_warmup_batch_size = 5;
    c->filter_snapshot_interval_s = 1;
    c->filter_snapshot_insert_threshold = 1;
    c->redis_timeout_ms = 40;
    c->sql_timeout_ms = 150;
    c->read_timeout_ms = 400;
    c->ack_timeout_ms = 300;
    c->throttle_max_ms = 5;
    c->startup_timeout_ms = 500;
    c->circuit_failures = 3;
    c->circuit_open_ms = 200;
    c->tombstone_retention_s = s->retention_s;
    c->log_fn = say_log;
}

se_result __real_se__l1_open(const struct l1_options *options, struct l1 **map);
se_result __wrap_se__l1_open(const struct l1_options *options, struct l1 **map);

/* Smaller than l1_max_bytes may be: a few ids must not fit. */
se_result __wrap_se__l1_open(const struct l1_options *options, struct l1 **map)
{
    struct l1_options smaller = *options;
    smaller.bytes_max = w.shape.l1_bytes;
    return __real_se__l1_open(&smaller, map);
}

static struct life *this_life(void)
{
    return &w.lives[w.lives_n - 1];
}

se_result se__mysql_open(const struct l3_options *options, struct tier *tier)
{
    (void)options;
    *tier = l3_connect(this_life());
    return SE_OK;
}

se_result se__sqlite_open(const struct l3_options *options, struct tier *tier)
{
    (void)options, (void)tier;
    abort();
}

/* ---- lives ---- */

static void directory(unsigned number, char name[32])
{
    snprintf(name, 32, DISK_ROOT "%u/", number);
}

static void new_life(void)
{
    if (w.lives_n == LIVES_MAX)
        sim_fail("more than %d lives", LIVES_MAX);
    w.lives[w.lives_n] = (struct life){.number = w.lives_n + 1};
    w.lives_n++;
    l2_connect_as(this_life());
}

/* The files of this life as the next one finds them. */
static void leave_files(bool power_loss)
{
    char from[32], to[32];
    directory(w.lives_n, from);
    directory(w.lives_n + 1, to);
    disk_crash(from, to, power_loss);
}

static void die(bool power_loss)
{
    sim_say("--- %s", power_loss ? "the power fails" : "the process is killed");
    w.ending = true;
    this_life()->dead = true;
    leave_files(power_loss);
    model_life_ends(false);
}

/* ---- opening ---- */

struct opening {
    se_config config;
    char wal_path[64];
    se_engine *engine;
    se_result result;
    bool done;
    char error[300];
};

static void run_open(void *arg)
{
    struct opening *o = arg;
    o->result = se_open(&o->config, &o->engine);
    snprintf(o->error, sizeof o->error, "%s", o->result == SE_OK ? "" : se_errmsg());
    o->done = true;
}

static bool opens(uint32_t crash_in_ms, bool power_loss)
{
    struct opening o = {0};
    new_life();
    model_life_begins(w.lives_n);
    configure(&o.config, o.wal_path);
    struct task *t = sim_spawn("opener", run_open, &o);
    if (crash_in_ms)
        sim_sleep_ns((uint64_t)sim_pick(crash_in_ms * 1000) * 1000);
    bool killed = crash_in_ms && !o.done;
    if (killed)
        die(power_loss);
    sim_join(t);
    se_config_clear(&o.config);
    if (killed && o.engine)
        (void)se_close(o.engine, 0);
    if (killed)
        return false;
    struct model_glance now = {.floor_write = -1};
    if (o.result != SE_OK && !model_excuses(&now, o.result))
        sim_fail("se_open: %d: %s", (int)o.result, o.error);
    if (o.result != SE_OK) { /* a disk fault that was ordered: again, without it */
        leave_files(false);
        model_life_ends(false);
        disk_begin();
        return false;
    }
    w.engine = o.engine;
    w.since_ns = sim_now_ns();
    w.ending = false;
    sim_say("--- life %u", w.lives_n);
    sim_wake_all(&open_key);
    return true;
}

void engine_open(uint32_t crash_in_ms, bool power_loss)
{
    while (!opens(crash_in_ms, power_loss))
        crash_in_ms = 0;
}

/* ---- ending ---- */

static void bury(void)
{
    (void)se_shutdown(w.engine, 0);
    wait_for_clients();
    (void)se_close(w.engine, 0);
    w.engine = NULL;
}

void engine_crash(bool power_loss)
{
    die(power_loss);
    bury();
}

struct closing {
    uint32_t timeout_ms;
    bool gently, done;
    se_result result;
};

static void run_close(void *arg)
{
    struct closing *c = arg;
    if (c->gently)
        wait_for_clients();
    c->result = se_shutdown(w.engine, c->timeout_ms);
    wait_for_clients();
    se_result r = se_close(w.engine, c->timeout_ms);
    c->result = c->result == SE_OK ? r : c->result;
    c->done = true;
}

se_result engine_close(uint32_t timeout_ms, bool gently, uint32_t crash_in_ms, bool power_loss)
{
    struct closing c = {.timeout_ms = timeout_ms, .gently = gently};
    w.ending = true;
    sim_say("--- closes%s", gently ? "" : " with calls under way");
    struct task *t = sim_spawn("closer", run_close, &c);
    if (crash_in_ms)
        sim_sleep_ns((uint64_t)sim_pick(crash_in_ms * 1000) * 1000);
    bool killed = crash_in_ms && !c.done;
    if (killed)
        die(power_loss);
    sim_join(t);
    if (!killed) {
        sim_say("--- closed: %d %s", (int)c.result, c.result == SE_OK ? "" : se_errmsg());
        leave_files(false);
        model_life_ends(c.result == SE_OK);
    }
    w.engine = NULL;
    return killed ? SE_ERR_STATE : c.result;
}

/* ---- the account ---- */

static uint64_t sum(enum metric which)
{
    return se__metrics_sum(w.engine->metrics, which);
}

void engine_check_account(void)
{
    se_health h;
    if (se_health_check(w.engine, &h) != SE_OK)
        sim_fail("health: %s", se_errmsg());
    uint64_t came = sum(M_ACCEPTED) + sum(M_RECOVERED);
    uint64_t went = sum(M_SUPERSEDED) + sum(M_LOST) + sum(M_PERSISTED) + h.queue_items +
                    h.wal_items + h.dead_letters;
    if (came != went)
        sim_fail("the account: accepted %" PRIu64 " + recovered %" PRIu64 " != superseded %" PRIu64
                 " + lost %" PRIu64 " + persisted %" PRIu64 " + queued %" PRIu64
                 " + in the WAL %" PRIu64 " + dead %" PRIu64,
                 sum(M_ACCEPTED), sum(M_RECOVERED), sum(M_SUPERSEDED), sum(M_LOST),
                 sum(M_PERSISTED), h.queue_items, h.wal_items, h.dead_letters);
}

/* What L2 is given while this engine lives. */
static void check_confirmed(const se_item *item)
{
    uint64_t version = 0;
    if (!w.engine || w.ending)
        return;
    if (w.engine->wal && se__wal_look(w.engine->wal, se_item_id(item), se__item_id_len(item),
                                      &version) == WAL_NOWHERE)
        version = 0;
    model_confirmed(item, version);
}

void engines_begin(const struct shape *shape)
{
    memset(&w, 0, sizeof w);
    w.shape = *shape;
    w.ending = true;
    if (shape->redis && shape->sql)
        sim_l2.confirmed = check_confirmed;
}
