/*
 * world.c - the driver: gives clients their calls, makes the trouble of the script itself, and in the
 * end heals everything and looks at what is left.
 */
#include "sim/world.h"

#include "base/hlc.h"
#include "engine/owner.h"
#include "sim/clients.h"
#include "sim/disk.h"
#include "sim/l2.h"
#include "sim/sched.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

enum { EXCUSE_MS = 3000, SETTLE_MS = 60000 };

static struct shape shape;
static bool disk_trouble; /* was ordered some time in this schedule */

static unsigned draw(uint64_t *c, unsigned n)
{
    return (unsigned)((sim_mix(c) >> 32) * n >> 32);
}

/* ---- excuses ---- */

static bool home_was_unwell(uint64_t since_ns)
{
    const struct server *s = shape.sql ? &sim_l3.server : &sim_l2.server;
    uint64_t grace = EXCUSE_MS * UINT64_C(1000000);
    return (shape.sql || shape.redis) &&
           (s->well_since_ns == SIM_FOREVER || s->well_since_ns + grace > since_ns ||
            engine_since_ns() + grace > since_ns);
}

static bool outage(void)
{
    return home_was_unwell(sim_now_ns());
}

/* Only the engine itself can have it: then the home tier's outage is no reason. */
static bool is_ours_alone(const struct model_glance *g)
{
    return g->floor_write >= 0 && model_home_reached(g->id) < g->floor && !disk_trouble &&
           !model_cache_entry(g->floor_write);
}

static bool excuses(const struct model_glance *g, se_result r)
{
    if (r == SE_ERR_STATE)
        return engine_ending();
    if (r == SE_ERR_IO || r == SE_ERR_CORRUPT)
        return disk_trouble;
    if (r != SE_ERR_BACKEND && r != SE_ERR_TIMEOUT)
        return false;
    return home_was_unwell(sim_now_ns()) && !(r == SE_ERR_BACKEND && is_ours_alone(g));
}

/* ---- trouble ---- */

static void order(struct server *s, uint64_t *c, bool redis)
{
    enum trouble_how how = (enum trouble_how)draw(c, TROUBLE_KINDS);
    if (redis && how == TROUBLE_CONFLICT)
        how = TROUBLE_PARTIAL;
    if (!redis && how == TROUBLE_PARTIAL)
        how = TROUBLE_LOST_AFTER;
    static const unsigned kinds[] = {CALL_WRITE, CALL_WRITE, CALL_READ, CALL_META,
                                     CALL_SCAN,  CALL_LEASE, CALL_ANY};
    unsigned n = 1 + draw(c, draw(c, 3) ? 3 : 12), calls = kinds[draw(c, 7)];
    sim_say("--- %s: trouble %d for %u calls of %x", s->name, (int)how, n, calls);
    server_order(s, how, calls, n);
}

/* Whoever writes here says so first: engine/owner.h. */
static void show_foreign_owner(uint64_t version)
{
    struct owner_row row = {.open = true,
                            .ceiling = version + se__version_of_ms(10000),
                            .heartbeat = sim_now_ns(),
                            .tag = "elsewhere/1",
                            .name = "other"};
    char value[320];
    se__owner_print(&row, value, sizeof value);
    meta_put(sim_l3.metas, &sim_l3.metas_n, OWNER_PREFIX "0000000000000000000000000000f00d", value);
}

static uint64_t stored_generation(void)
{
    struct buf value = {0};
    uint64_t generation = 0;
    if (meta_get(sim_l3.metas, sim_l3.metas_n, "l2_generation", &value)) {
        se__buf_append(&value, "", 1);
        generation = strtoull(value.data, NULL, 10);
    }
    se__buf_done(&value);
    return generation;
}

static void foreign_write(unsigned id, uint64_t *c)
{
    char name[32], content[MODEL_CONTENT_MAX];
    struct model_new new = {.id = id, .deleted = draw(c, 4) == 0};
    model_id(id, name);
    uint64_t version =
        se__version_of_ms(sim_wall_ms() + (int64_t)draw(c, 200) - 100) + draw(c, 60000);
    uint64_t generation = stored_generation(), there = l3_version(name, NULL, NULL);
    if (there && draw(c, 5) == 0)
        version = there; /* two clocks have issued the same */
    show_foreign_owner(version);
    int w = model_foreign(&new, version);
    size_t len = new.deleted ? 0 : model_content(w, 10 + draw(c, 200), content);
    struct item_spec spec = {.id = name,
                             .id_len = strlen(name),
                             .content = content,
                             .content_len = len,
                             .version = version,
                             .updated_at_ms = sim_wall_ms(),
                             .deleted = new.deleted};
    se_item *item = se__item_new(&spec);
    if (!item)
        abort();
    bool stored = l3_put(item, new.deleted ? RECORD_TOMBSTONE : RECORD_ITEM);
    sim_say("--- somebody else writes %d '%s': %d", w, name, stored);
    if (stored && shape.redis)
        l2_foreign_put(item, generation);
    se_item_release(item);
}

static void jump_clock(uint64_t *c)
{
    static const int64_t jumps[] = {-86400000, -30000, -1000, -50, 50, 1000, 30000, 86400000};
    int64_t ms = jumps[draw(c, 8)];

    sim_say("--- the wall clock jumps by %lld ms", (long long)ms);
    sim_jump_wall(ms);
}

static void restart(enum step_kind kind, uint64_t *c)
{
    bool power = draw(c, 2), gently = draw(c, 2);
    uint32_t crash_in = draw(c, 4) ? 0 : 1 + draw(c, 60);
    uint32_t timeout = draw(c, 3) ? 5000 : draw(c, 50);
    if (draw(c, 3) == 0)
        jump_clock(c);
    if (kind == STEP_CLOSE)
        (void)engine_close(timeout, gently, crash_in, power);
    else
        engine_crash(kind == STEP_POWER);
    if (draw(c, 4) == 0)
        sim_sleep_ms(draw(c, 3000));
    engine_open(draw(c, 5) ? 0 : 1 + draw(c, 40), power);
    clients_look_for_false_nos(engine_now());
}

static void heal(void)
{
    sim_say("--- all is well");
    server_heal(&sim_l3.server);
    server_heal(&sim_l2.server);
    disk_begin();
}

static void trouble(struct server *s, enum step_kind kind, uint64_t *c)
{
    sim_say("--- %s", script_step_name(kind));
    bool redis = s == &sim_l2.server;
    if (kind == STEP_L3_TROUBLE || kind == STEP_L2_TROUBLE)
        order(s, c, redis);
    else if (kind == STEP_L3_DOWN || kind == STEP_L2_DOWN)
        s->down = true;
    else if (kind == STEP_L3_HANG || kind == STEP_L2_HANG)
        s->hung = true;
    else {
        s->slow_ms = (uint32_t[]){20, 80, 250}[draw(c, 3)];
        s->slow_calls = draw(c, 3) ? CALL_ANY : CALL_SCAN;
    }
    server_note(s);
}

static void happen_to_l2(enum step_kind kind, uint64_t *c)
{
    sim_say("--- %s", script_step_name(kind));
    if (kind == STEP_L2_LOSE)
        l2_lose_key(draw(c, 1000));
    else if (kind == STEP_L2_FLUSH)
        l2_flush_all();
    else if (draw(c, 2))
        l2_save();
    else
        l2_restart();
}

static void happen(const struct step *s)
{
    uint64_t c = s->chance;
    switch ((enum step_kind)s->kind) {
    case STEP_REST:
        sim_sleep_ms(draw(&c, 3) ? draw(&c, 300) : 500 + draw(&c, 3000));
        break;
    case STEP_FOREIGN:
        foreign_write(s->id, &c);
        break;
    case STEP_L2_LOSE:
    case STEP_L2_FLUSH:
    case STEP_L2_RESTART:
        happen_to_l2((enum step_kind)s->kind, &c);
        break;
    case STEP_HEAL:
        heal();
        break;
    case STEP_L3_SLOW_SCANS:
        sim_l3.server.slow_ms = 140;
        sim_l3.server.slow_calls = CALL_SCAN;
        server_note(&sim_l3.server);
        break;
    case STEP_DISK_SYNC:
        disk_trouble = true;
        disk_fail_syncs(1 + draw(&c, 3));
        break;
    case STEP_DISK_FULL:
        disk_trouble = true;
        disk_fail_writes(1 + draw(&c, 6));
        break;
    case STEP_CLOCK:
        jump_clock(&c);
        break;
    case STEP_CLOSE:
    case STEP_KILL:
    case STEP_POWER:
        restart((enum step_kind)s->kind, &c);
        break;
    default:
        trouble(s->kind <= STEP_L3_SLOW ? &sim_l3.server : &sim_l2.server, (enum step_kind)s->kind,
                &c);
    }
}

/* ---- the end ---- */

static void wait_until_home(void)
{
    se_engine *e = engine_now();
    uint64_t until = sim_now_ms() + SETTLE_MS;
    se_result r;
    while ((r = se_flush(e, 1000)) != SE_OK) {
        if (sim_now_ms() > until)
            sim_fail("all is well for %d s, and not all is home: %d %s", SETTLE_MS / 1000, (int)r,
                     se_errmsg());
        sim_sleep_ms(200);
    }
}

static void check_end(void)
{
    heal();
    clients_settle();
    wait_until_home();
    sim_sleep_ms(EXCUSE_MS + 1000);
    wait_until_home();
    engine_check_account();
    model_all_home(0);
    clients_check_all(engine_now());
    if (shape.sql && se_invalidate_prefix(engine_now(), "") == SE_OK)
        clients_check_all(engine_now());
    if (engine_close(10000, true, 0, false) != SE_OK)
        sim_fail("the last close: %s", se_errmsg());
    engine_open(0, false);
    sim_sleep_ms(EXCUSE_MS + 1000);
    clients_check_all(engine_now());
    wait_until_home();
    engine_check_account();
}

uint64_t world_run(const struct script *s, const bool *keep)
{
    shape = s->shape;
    disk_trouble = false;
    sim_begin(s->seed ^ UINT64_C(0x5eed), s->preempt);
    sqlite3_randomness(0, NULL); /* it is seeded from this world */
    disk_begin();
    l3_begin(shape.retention_s);
    l2_begin();
    model_begin(shape.sql ? HOME_L3 : shape.redis ? HOME_L2 : HOME_L1);
    model_excuses = excuses;
    model_outage = outage;
    sim_l3.stored = sim_l2.stored = model_stored;
    engines_begin(&shape);
    clients_begin(&shape);
    engine_open(0, false);
    for (unsigned i = 0; i < s->n; i++) {
        const struct step *step = &s->steps[i];
        sim_sleep_ns((uint64_t)step->gap_us * 1000);
        if (keep && !keep[i])
            continue;
        if (step->kind < CLIENT_STEPS)
            clients_give(step);
        else
            happen(step);
    }
    check_end();
    clients_end();
    (void)engine_close(10000, true, 0, false);
    l3_end();
    l2_end();
    disk_end();
    return sim_end();
}
