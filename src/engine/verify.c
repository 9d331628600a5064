/*
 * verify - the public calls for digests, verification and repair, on top of the verify room.
 *
 * A run reads through the readers' connections and writes, where it repairs, through the tiers'
 * guards with a worker number of its own. What is on its way (dirty, in the WAL, a dead letter,
 * doubted in L2) is left alone; before anything is judged, all that was accepted before is flushed.
 */
#include "verify/verify.h"

#include "base/utf8.h"
#include "engine/engine.h"
#include "verify/merkle.h"

#include <stdio.h>
#include <string.h>

#define SETTLE_MS 10000u /* the longest wait for the flush of what was accepted before */
#define GRACE_MS 500u    /* other engines' writes to Redis follow theirs to L3 within this */

/* ---- digests ---- */

static se_result tier_of(const se_engine *e, se_tier tier, struct tier *out)
{
    if (tier != SE_TIER_L2 && tier != SE_TIER_L3)
        return se__error(SE_ERR_INVALID, "tier must be SE_TIER_L2 or SE_TIER_L3");
    struct tier l2 = e->home_is_l3 ? e->cache : e->home;
    *out = tier == SE_TIER_L2 ? l2 : e->home_is_l3 ? e->home : (struct tier){0};
    if (out->ops)
        return SE_OK;
    return se__error(SE_ERR_UNSUPPORTED, "no %s is configured", tier == SE_TIER_L2 ? "L2" : "L3");
}

static void hand_node(const struct tier_node *node, se_merkle_node *out)
{
    memcpy(out->digest, node->digest, SE_HASH_SIZE);
    out->count = node->count;
}

static uint32_t timeout_of(const se_engine *e, se_tier tier)
{
    return tier == SE_TIER_L3 ? e->settings.c.sql_timeout_ms : e->settings.c.redis_timeout_ms;
}

se_result se_merkle_root(se_engine *e, se_tier tier, se_merkle_node *root)
{
    struct tier t;
    struct tier_node node;
    if (!root)
        return se__error(SE_ERR_INVALID, "root must not be NULL");
    se_result r = se__look_in(e);
    if (r == SE_OK)
        r = tier_of(e, tier, &t);
    if (r == SE_OK)
        r = se__merkle_nodes(t, 0, UINT16_MAX, 16, timeout_of(e, tier), &node);
    if (r == SE_OK)
        hand_node(&node, root);
    return r;
}

se_result se_merkle_children(se_engine *e, se_tier tier, unsigned depth, uint32_t index,
                             se_merkle_node children[16])
{
    struct tier t;
    struct tier_node nodes[16];
    uint32_t first, last;
    if (!children)
        return se__error(SE_ERR_INVALID, "children must not be NULL");
    if (depth >= MERKLE_DEPTH || index >= 1u << (4 * depth))
        return se__error(SE_ERR_INVALID,
                         "depth must be 0 to %u, index below 16 to the power of depth",
                         MERKLE_DEPTH - 1);
    se_result r = se__look_in(e);
    if (r == SE_OK)
        r = tier_of(e, tier, &t);
    se__merkle_range(depth, index, &first, &last);
    if (r == SE_OK)
        r = se__merkle_nodes(t, first, last, 12 - 4 * depth, timeout_of(e, tier), nodes);
    for (size_t i = 0; r == SE_OK && i < 16; i++)
        hand_node(&nodes[i], &children[i]);
    return r;
}

se_result se_merkle_prefix(se_engine *e, se_tier tier, const char *prefix, se_merkle_node *node)
{
    struct tier t;
    struct tier_node made;
    size_t len;
    if (!node)
        return se__error(SE_ERR_INVALID, "node must not be NULL");
    se_result r = se__look_in(e);
    if (r == SE_OK)
        r = se__id_check("prefix", prefix, 0, SE_ID_MAX, &len);
    if (r == SE_OK)
        r = tier_of(e, tier, &t);
    if (r == SE_OK)
        r = se__merkle_prefix(t, prefix, timeout_of(e, tier), &made);
    if (r == SE_OK)
        hand_node(&made, node);
    return r;
}

/* ---- what a run asks ---- */

struct run {
    se_engine *e;
    const se_verify_options *o;
    bool shut; /* the engine was shut down meanwhile */
};

static bool is_busy(void *arg, const char *id, size_t id_len)
{
    struct run *run = arg;
    se_engine *e = run->e;
    struct l1_view view;
    uint64_t version, hash = se__l1_hash(e->l1, id, id_len);
    if (se__l1_look(e->l1, hash, id, id_len, &view) && (view.dirty || view.dead))
        return true;
    if (e->wal && se__wal_look(e->wal, id, id_len, &version) != WAL_NOWHERE)
        return true;
    return e->suspects && se__suspects_has(e->suspects, hash);
}

static se_result settle(void *arg)
{
    struct run *run = arg;
    se_result r = se_flush(run->e, SETTLE_MS);
    return r == SE_PENDING ? SE_OK : r;
}

static bool is_foreign(void *arg)
{
    struct run *run = arg;
    return se__metrics_get(run->e->metrics, M_FOREIGN_OWNERS) > 0;
}

static se_item *spare(void *arg, const char *id, size_t id_len)
{
    struct run *run = arg;
    se_engine *e = run->e;
    se_item *item = se__l1_get(e->l1, se__l1_hash(e->l1, id, id_len), id, id_len);
    if (item && !se__item_intact(item)) {
        se_item_release(item);
        return NULL;
    }
    return item;
}

static se_result cover(void *arg, uint64_t version)
{
    struct run *run = arg;
    return se__cover(run->e, version);
}

static void row_seen(void *arg, const char *id, size_t id_len)
{
    struct run *run = arg;
    se__existence_outside(run->e, id, id_len);
}

static void hand_finding(void *arg, const struct verify_finding *finding)
{
    static const se_flaw FLAWS[] = {[FLAW_STALE] = SE_FLAW_STALE,
                                    [FLAW_CORRUPT] = SE_FLAW_CORRUPT,
                                    [FLAW_ORPHAN] = SE_FLAW_ORPHAN};
    struct run *run = arg;
    se_verify_finding out = {.id = finding->id,
                             .tier = finding->tier,
                             .flaw = FLAWS[finding->flaw],
                             .repaired = finding->repaired,
                             .detail = finding->detail};
    if (run->o->finding)
        run->o->finding(run->o->finding_arg, &out);
}

static void hand_progress(void *arg, uint64_t done, uint64_t total)
{
    struct run *run = arg;
    if (run->o->progress)
        run->o->progress(run->o->progress_arg, done, total);
}

static bool checkpoint(void *arg, const char *through)
{
    struct run *run = arg;
    run->shut = !se__gate_open(&run->e->gate);
    if (run->shut)
        return false;
    return !run->o->checkpoint || run->o->checkpoint(run->o->checkpoint_arg, through);
}

static void set_options(se_engine *e, struct run *run, struct verify_options *v)
{
    *v = (struct verify_options){
        .l2 = e->home_is_l3 ? e->cache : e->home,
        .l3 = e->home_is_l3 ? e->home : (struct tier){0},
        .redis = e->redis,
        .writer = e->partitions,
        .deep = run->o->mode == SE_VERIFY_DEEP,
        .repair = run->o->repair,
        .rate = run->o->rate,
        .grace_ms = GRACE_MS,
        .timeout_ms = e->home_is_l3 ? e->settings.c.sql_timeout_ms : e->settings.c.redis_timeout_ms,
        .after = run->o->after,
        .metrics = e->metrics,
        .log = &e->settings.log,
        .busy = is_busy,
        .settle = settle,
        .foreign = is_foreign,
        .spare = spare,
        .cover = cover,
        .row_seen = e->filter ? row_seen : NULL,
        .finding = hand_finding,
        .progress = hand_progress,
        .checkpoint = checkpoint,
        .arg = run,
    };
}

/* ---- verification ---- */

void se_verify_options_init_sized(se_verify_options *options, size_t size)
{
    memset(options, 0, size);
    options->struct_size = size;
}

/* The caller's struct may be of an older library's size. */
static se_result read_options(const se_engine *e, const se_verify_options *from,
                              se_verify_options *o)
{
    size_t len;
    se_verify_options_init(o);
    if (from) {
        if (from->struct_size < offsetof(se_verify_options, mode))
            return se__error(SE_ERR_INVALID, "options were not initialised");
        memcpy(o, from, from->struct_size < sizeof *o ? from->struct_size : sizeof *o);
    }
    if (o->mode != SE_VERIFY_QUICK && o->mode != SE_VERIFY_DEEP)
        return se__error(SE_ERR_INVALID, "mode must be SE_VERIFY_QUICK or SE_VERIFY_DEEP");
    if (o->repair && e->settings.c.read_only)
        return se__error(SE_ERR_STATE, "the engine was opened read_only: it cannot repair");
    if (o->after && *o->after)
        return se__id_check("after", o->after, 1, SE_ID_MAX, &len);
    return SE_OK;
}

se_result se_verify(se_engine *e, const se_verify_options *options, se_verify_report *report)
{
    se_verify_options o;
    struct run run = {.e = e, .o = &o};
    struct verify_options v;
    if (!report)
        return se__error(SE_ERR_INVALID, "report must not be NULL");
    *report = (se_verify_report){0};
    se_result r = se__look_in(e);
    if (r == SE_OK && !e->home.ops)
        r = se__error(SE_ERR_UNSUPPORTED, "no tier is configured that could be verified");
    if (r == SE_OK)
        r = read_options(e, options, &o);
    if (r != SE_OK)
        return r;
    set_options(e, &run, &v);
    r = se__verify_run(&v, report);
    /* a tier that does not answer any more may be the shutdown's doing */
    if (run.shut || (r == SE_ERR_BACKEND && !se__gate_open(&e->gate)))
        return se__error(SE_ERR_STATE, "the engine was shut down meanwhile");
    return r;
}

bool se__mend(se_engine *e, const char *id)
{
    se_verify_options o;
    struct run run = {.e = e, .o = &o};
    struct verify_options v;
    bool mended = false;
    char text[1024];
    if (e->settings.c.read_only)
        return false;
    se_verify_options_init(&o);
    o.repair = true;
    set_options(e, &run, &v);
    snprintf(text, sizeof text, "%s", se_errmsg());
    se_result r = se__verify_one(&v, id, &mended);
    if (r != SE_OK || !mended)
        se__error(SE_ERR_CORRUPT, "%s", text); /* what the read said tells more */
    return r == SE_OK && mended;
}
