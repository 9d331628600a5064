/*
 * cmd_merkle - syncengine merkle root, children, prefix: digests of what the tiers hold.
 *
 * One row a node, of one tier or of both side by side. Nothing is kept between runs: each asks the
 * tiers anew.
 */
#include "out.h"
#include "session.h"
#include "term.h"
#include "text.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FAN_OUT 16u
#define PARENT_DEPTH_MAX 3u /* of the tree's 4 levels below the root, the last has no children */

/* What one tier says; at most the children of a node. */
struct side {
    bool asked;
    se_tier tier;
    se_merkle_node nodes[FAN_OUT];
};

struct merkle {
    struct side sides[2]; /* L2, L3 */
    size_t n;             /* nodes of each */
    unsigned depth;       /* of the parent of children */
    uint32_t index;
    bool json;
    struct call *call;
};

typedef se_result (*fetch_fn)(se_engine *engine, struct merkle *m, struct side *side);

/* ---- which tiers ---- */

static const char *tier_text(const struct side *side)
{
    return side->tier == SE_TIER_L2 ? "l2" : "l3";
}

static bool configured(const struct call *call, se_tier tier)
{
    if (session_has(call, tier))
        return true;
    if (tier == SE_TIER_L2)
        term_say("--tier: no Redis is configured: give --redis-url or set SYNC_ENGINE_REDIS_URL");
    else
        term_say("--tier: no database is configured: give --sql-url or set SYNC_ENGINE_SQL_URL");
    return false;
}

static bool choose_tiers(struct merkle *m)
{
    const char *text = call_flag(m->call, "tier");
    m->sides[0].tier = SE_TIER_L2;
    m->sides[1].tier = SE_TIER_L3;
    for (int i = 0; i < 2; i++) {
        struct side *s = &m->sides[i];
        s->asked = text ? strcmp(text, tier_text(s)) == 0 : session_has(m->call, s->tier);
        if (text && s->asked && !configured(m->call, s->tier))
            return false;
    }
    if (text && !m->sides[0].asked && !m->sides[1].asked)
        term_say("--tier: \"%s\" is none of l2, l3", text);
    return !text || m->sides[0].asked || m->sides[1].asked;
}

static bool both(const struct merkle *m)
{
    return m->sides[0].asked && m->sides[1].asked;
}

static bool equal(const struct merkle *m, size_t i)
{
    const se_merkle_node *a = &m->sides[0].nodes[i], *b = &m->sides[1].nodes[i];
    return a->count == b->count && memcmp(a->digest, b->digest, sizeof a->digest) == 0;
}

/* ---- printing ---- */

static void hex(const uint8_t digest[SE_HASH_SIZE], char out[2 * SE_HASH_SIZE + 1])
{
    for (size_t i = 0; i < SE_HASH_SIZE; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

/* "root", "prefix", "2/17": depth and index, as `merkle children` takes them. */
static void node_name(const struct merkle *m, size_t i, char out[24])
{
    if (m->n == FAN_OUT)
        snprintf(out, 24, "%u/%" PRIu64, m->depth + 1, (uint64_t)m->index * FAN_OUT + i);
    else
        snprintf(out, 24, "%s", m->call->n_args > 0 ? "prefix" : "root");
}

static void print_head(const struct merkle *m)
{
    out_printf("%-8s", "node");
    for (int s = 0; s < 2; s++) {
        const char *name = s == 0 ? "L2" : "L3";
        if (m->sides[s].asked)
            out_printf("  %10s items  %s %-*s", name, name, s == 0 && both(m) ? 29 : 0, "digest");
    }
    out_text("\n");
}

static void print_row(const struct merkle *m, size_t i)
{
    char name[24], digest[2 * SE_HASH_SIZE + 1];
    node_name(m, i, name);
    out_printf("%-8s", name);
    for (int s = 0; s < 2; s++) {
        if (!m->sides[s].asked)
            continue;
        hex(m->sides[s].nodes[i].digest, digest);
        out_printf("  %16" PRIu64 "  %s", m->sides[s].nodes[i].count, digest);
    }
    out_text(!both(m) ? "\n" : equal(m, i) ? "  equal\n" : "  differs\n");
}

static void print_json(const struct merkle *m, size_t i)
{
    char name[24], digest[2 * SE_HASH_SIZE + 1];
    node_name(m, i, name);
    out_printf("{\"node\":\"%s\"", name);
    for (int s = 0; s < 2; s++) {
        if (!m->sides[s].asked)
            continue;
        hex(m->sides[s].nodes[i].digest, digest);
        out_printf(",\"%s\":{\"items\":%" PRIu64 ",\"digest\":\"%s\"}", tier_text(&m->sides[s]),
                   m->sides[s].nodes[i].count, digest);
    }
    out_text(!both(m) ? "}\n" : equal(m, i) ? ",\"equal\":true}\n" : ",\"equal\":false}\n");
}

static int print_nodes(const struct merkle *m)
{
    bool same = true;
    if (!m->json)
        print_head(m);
    for (size_t i = 0; i < m->n; i++) {
        if (m->json)
            print_json(m, i);
        else
            print_row(m, i);
        same = same && (!both(m) || equal(m, i));
    }
    return same ? EXIT_FINE : EXIT_NO;
}

/* ---- the commands ---- */

static int run_merkle(struct merkle *m, fetch_fn fetch)
{
    se_engine *engine;
    se_result r = SE_OK;
    m->json = call_flag(m->call, "json") != NULL;
    if (!choose_tiers(m))
        return EXIT_TROUBLE;
    int status = session_open(m->call, true, &engine);
    if (status != EXIT_FINE)
        return status;
    for (int s = 0; s < 2 && r == SE_OK; s++) {
        if (m->sides[s].asked)
            r = fetch(engine, m, &m->sides[s]);
    }
    if (r != SE_OK)
        term_failed(m->call->command->name, r);
    session_close(engine);
    return out_finish(r == SE_OK ? print_nodes(m) : EXIT_TROUBLE);
}

static se_result fetch_root(se_engine *engine, struct merkle *m, struct side *side)
{
    (void)m;
    return se_merkle_root(engine, side->tier, side->nodes);
}

static se_result fetch_children(se_engine *engine, struct merkle *m, struct side *side)
{
    return se_merkle_children(engine, side->tier, m->depth, m->index, side->nodes);
}

static se_result fetch_prefix(se_engine *engine, struct merkle *m, struct side *side)
{
    return se_merkle_prefix(engine, side->tier, m->call->args[0], side->nodes);
}

static int run_merkle_root(struct call *call)
{
    struct merkle m = {.call = call, .n = 1};
    return run_merkle(&m, fetch_root);
}

static int run_merkle_prefix(struct call *call)
{
    struct merkle m = {.call = call, .n = 1};
    return run_merkle(&m, fetch_prefix);
}

static bool parse_node(struct merkle *m)
{
    uint64_t depth, index;
    const char *first = m->call->args[0], *second = m->call->args[1];
    if (!text_u64(first, PARENT_DEPTH_MAX, &depth)) {
        term_say("merkle children: DEPTH: \"%s\" is not a whole number from 0 to %u", first,
                 PARENT_DEPTH_MAX);
        return false;
    }
    uint64_t max = (UINT64_C(1) << (4 * depth)) - 1;
    if (!text_u64(second, max, &index)) {
        term_say("merkle children: INDEX: \"%s\" is not a whole number from 0 to %" PRIu64
                 " (at depth %" PRIu64 ")",
                 second, max, depth);
        return false;
    }
    m->depth = (unsigned)depth;
    m->index = (uint32_t)index;
    return true;
}

static int run_merkle_children(struct call *call)
{
    struct merkle m = {.call = call, .n = FAN_OUT};
    return parse_node(&m) ? run_merkle(&m, fetch_children) : EXIT_TROUBLE;
}

static const struct flag merkle_flags[] = {
    {"tier", "l2|l3", "only Redis, or only the database (default: all that are configured)"},
    {"json", NULL, "a JSON object a line"},
    {0}};

const struct command command_merkle_root = {
    .name = "merkle root",
    .arguments = "",
    .summary = "Print the digest of all items, and their number, of each tier.",
    .details =
        "Where both tiers are configured they stand side by side, and the status is 1 if they "
        "differ. Equal digests are equal sets of ids, versions and hashes. Different ones need no "
        "damage: Redis is a cache and may hold only a part, and the tiers are asked one after the "
        "other while traffic goes on; `syncengine verify` tells damage. Redis' digest is computed "
        "from what it holds now: that takes a scan.",
    .flags = merkle_flags,
    .needs = NEEDS_READER,
    .run = run_merkle_root,
};

const struct command command_merkle_children = {
    .name = "merkle children",
    .arguments = "DEPTH INDEX",
    .args_min = 2,
    .args_max = 2,
    .summary = "Print the 16 nodes below one: where two tiers differ, go on there.",
    .details =
        "Depth 0 is the root, with index 0; at depth d there are 16^d nodes, and only those of "
        "depth 0 to 3 have children. Rows are named DEPTH/INDEX. Otherwise as `merkle root`.",
    .flags = merkle_flags,
    .needs = NEEDS_READER,
    .run = run_merkle_children,
};

const struct command command_merkle_prefix = {
    .name = "merkle prefix",
    .arguments = "PREFIX",
    .args_min = 1,
    .args_max = 1,
    .summary = "Print the digest of all items whose id begins with a prefix.",
    .details = "As `merkle root`.",
    .flags = merkle_flags,
    .needs = NEEDS_READER,
    .run = run_merkle_prefix,
};
