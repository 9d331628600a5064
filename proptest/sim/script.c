/*
 * script.c - see script.h.
 */
#include "sim/script.h"

#include "sim/sched.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned weight; /* among its kind, where the schedule knows it */
} table[STEP_KINDS] = {
    [STEP_PUT] = {"put", 30},
    [STEP_DELETE] = {"delete", 8},
    [STEP_GET] = {"get", 20},
    [STEP_COPY] = {"get_copy", 5},
    [STEP_CONTAINS] = {"contains", 6},
    [STEP_GET_MANY] = {"get_many", 4},
    [STEP_PUT_MANY] = {"submit_many", 5},
    [STEP_ASIDE] = {"get_or_insert_with", 4},
    [STEP_INVALIDATE] = {"invalidate", 5},
    [STEP_FLUSH] = {"flush", 2},
    [STEP_HOT] = {"hot", 1},
    [STEP_PUT_QUICK] = {"quick put", 0},
    [STEP_REST] = {"rest", 6},
    [STEP_FOREIGN] = {"foreign", 5},
    [STEP_L3_TROUBLE] = {"L3 trouble", 8},
    [STEP_L3_DOWN] = {"L3 down", 4},
    [STEP_L3_HANG] = {"L3 hangs", 2},
    [STEP_L3_SLOW] = {"L3 slow", 3},
    [STEP_L2_TROUBLE] = {"L2 trouble", 6},
    [STEP_L2_DOWN] = {"L2 down", 3},
    [STEP_L2_HANG] = {"L2 hangs", 2},
    [STEP_L2_SLOW] = {"L2 slow", 3},
    [STEP_L2_LOSE] = {"L2 loses a key", 4},
    [STEP_L2_FLUSH] = {"L2 loses all", 2},
    [STEP_L2_RESTART] = {"L2 restarts", 3},
    [STEP_HEAL] = {"all is well", 10},
    [STEP_L3_SLOW_SCANS] = {"L3 scans slowly", 0},
    [STEP_DISK_SYNC] = {"fsync fails", 2},
    [STEP_DISK_FULL] = {"disk full", 2},
    [STEP_CLOCK] = {"clock jumps", 3},
    [STEP_CLOSE] = {"close", 4},
    [STEP_KILL] = {"kill", 5},
    [STEP_POWER] = {"power loss", 4},
};

const char *script_step_name(enum step_kind kind)
{
    return table[kind].name;
}

bool script_is_fault(enum step_kind kind)
{
    return kind >= STEP_L3_TROUBLE && kind != STEP_HEAL && kind != STEP_CLOSE;
}

/* ---- the world ---- */

static unsigned draw(uint64_t *chance, unsigned n)
{
    return (unsigned)((sim_mix(chance) >> 32) * n >> 32);
}

static void make_shape(uint64_t *c, struct shape *s)
{
    static const uint32_t batch_ms[] = {5, 20, 100, 60};
    static const uint32_t batch_items[] = {1, 4, 8,
                                           1000}; /* the last: chosen by what batches cost */
    unsigned tiers = draw(c, 100);
    s->redis = tiers < 75;
    s->sql = tiers < 60 || (tiers >= 75 && tiers < 95);
    s->wal = draw(c, 100) < 65;
    s->workers = 1 + draw(c, 2);
    s->batch_ms = batch_ms[draw(c, 4)];
    s->batch_items = batch_items[draw(c, 4)];
    s->l1_bytes = (size_t[]){48, 64, 128, 1024}[draw(c, 4)] * 1024;
    s->wal_items = draw(c, 4) ? 5000 : 30;
    s->retention_s = (uint32_t[]){1, 4, 86400}[draw(c, 3)];
    s->ack = (se_ack[]){SE_ACK_MEMORY, SE_ACK_MEMORY, SE_ACK_WAL}[draw(c, 3)];
}

static bool makes_sense(const struct shape *s, enum step_kind kind)
{
    switch (kind) {
    case STEP_INVALIDATE:
    case STEP_FOREIGN:
    case STEP_L3_TROUBLE:
    case STEP_L3_DOWN:
    case STEP_L3_HANG:
    case STEP_L3_SLOW:
        return s->sql;
    case STEP_L2_TROUBLE:
    case STEP_L2_DOWN:
    case STEP_L2_HANG:
    case STEP_L2_SLOW:
        return s->redis;
    case STEP_L2_LOSE: /* where L2 is the home that would be a loss of data */
    case STEP_L2_FLUSH:
    case STEP_L2_RESTART:
        return s->redis && s->sql;
    case STEP_DISK_SYNC:
    case STEP_DISK_FULL: /* docs/testing.md says what is known where L1 is the home */
        return s->wal && (s->sql || s->redis);
    default:
        return true;
    }
}

/* Which kinds this schedule knows. Rare ones would drown the others if each knew all. */
static void draw_kinds(uint64_t *c, const struct shape *s, unsigned weights[STEP_KINDS])
{
    for (unsigned k = 0; k < STEP_KINDS; k++) {
        bool known = k <= STEP_GET || draw(c, 100) < (k < CLIENT_STEPS ? 60 : 45);
        weights[k] = known && makes_sense(s, (enum step_kind)k) ? table[k].weight : 0;
    }
    weights[STEP_HEAL] = table[STEP_HEAL].weight;
    weights[STEP_REST] = table[STEP_REST].weight;
    if (!weights[STEP_KILL] && !weights[STEP_POWER] && !weights[STEP_CLOSE])
        weights[STEP_KILL] = table[STEP_KILL].weight;
}

static uint8_t pick_kind(uint64_t *c, const unsigned *weights, unsigned from, unsigned to)
{
    unsigned all = 0, k = from;
    for (unsigned i = from; i < to; i++)
        all += weights[i];
    for (unsigned at = draw(c, all); at >= weights[k]; k++)
        at -= weights[k];
    return (uint8_t)k;
}

/* What a copy of the filter lacks shows only where ids are new just while it is written, the process dies
 * before the next, and little else has changed: ids of their own, a stream of them, then a kill. */
static void plant_new_ids(uint64_t *c, struct script *s)
{
    unsigned from = 70 + draw(c, 40), stream = 8 + draw(c, MODEL_IDS - MODEL_IDS_COMMON - 8);
    struct step *step = &s->steps[from];
    *step++ = (struct step){.kind = STEP_HEAL, .gap_us = 1000};
    for (unsigned i = 0; i < MODEL_IDS_COMMON; i++)
        *step++ = (struct step){.kind = STEP_PUT_QUICK, .id = (uint8_t)i, .gap_us = 500};
    *step++ = (struct step){.kind = STEP_L3_SLOW_SCANS, .gap_us = 1200000};
    for (unsigned i = 0; i < stream; i++)
        *step++ = (struct step){.kind = STEP_PUT_QUICK,
                                .id = (uint8_t)(MODEL_IDS_COMMON + i),
                                .gap_us = 30000 + draw(c, 40000)};
    *step++ = (struct step){.kind = STEP_HEAL, .gap_us = 80000};
    *step = (struct step){.kind = STEP_KILL, .chance = sim_mix(c)};
}

void script_make(uint64_t seed, struct script *s)
{
    static const uint32_t gaps_us[] = {300, 2000, 8000, 20000};
    uint64_t c = seed;
    unsigned weights[STEP_KINDS];
    memset(s, 0, sizeof *s);
    s->seed = seed;
    make_shape(&c, &s->shape);
    draw_kinds(&c, &s->shape, weights);
    s->preempt = (unsigned[]){0, 200, 40, 12}[draw(&c, 4)];
    s->n = 215 + draw(&c, 60);
    uint32_t gap = gaps_us[draw(&c, 4)];
    unsigned ids = 2 + draw(&c, MODEL_IDS_COMMON - 1), world_in = 8 + draw(&c, 25);
    for (unsigned i = 0; i < s->n; i++) {
        struct step *step = &s->steps[i];
        bool world = draw(&c, world_in) == 0;
        step->kind = world ? pick_kind(&c, weights, CLIENT_STEPS, STEP_KINDS)
                           : pick_kind(&c, weights, 0, CLIENT_STEPS);
        step->client = (uint8_t)draw(&c, CLIENTS);
        step->id = (uint8_t)draw(&c, ids);
        step->gap_us = draw(&c, 2 * gap);
        step->chance = sim_mix(&c);
    }
    if (s->shape.sql && s->shape.wal && draw(&c, 8) == 0)
        plant_new_ids(&c, s);
    /* At least one fault, whatever was drawn. */
    s->steps[s->n / 2].kind = (uint8_t)(weights[STEP_POWER] ? STEP_POWER : STEP_KILL);
}
