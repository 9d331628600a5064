/*
 * tests of merkle: the arithmetic, and the digests of tiers against sums made from scratch.
 */
#include "verify/merkle.h"

#include "base/os.h"
#include "support/test.h"
#include "tier/sights.h"
#include "verify/leaves.h"
#include "world.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static void leaf_of(const se_item *item, uint8_t leaf[SE_HASH_SIZE])
{
    uint8_t hash[SE_HASH_SIZE];
    se__item_record_hash(item, hash);
    se__item_leaf(se_item_id(item), se__item_id_len(item), se_item_version(item), hash, leaf);
}

static bool is_counted(const struct slot *slot)
{
    return (slot->what == ITEM || slot->what == BAD_CONTENT) &&
           !se__item_expired(slot->item, se__wall_ms());
}

/* Nodes of what the slots hold, one by one. */
static void from_scratch(const struct world *w, const struct slot *slots, unsigned shift,
                         uint32_t first, uint32_t last, struct tier_node *nodes)
{
    memset(nodes, 0, ((last >> shift) - (first >> shift) + 1) * sizeof *nodes);
    for (size_t i = 0; i < w->n; i++) {
        uint8_t leaf[SE_HASH_SIZE];
        uint32_t bucket = se__item_bucket(w->ids[i], strlen(w->ids[i]));
        if (!is_counted(&slots[i]) || bucket < first || bucket > last)
            continue;
        leaf_of(slots[i].item, leaf);
        se__merkle_add(&nodes[(bucket >> shift) - (first >> shift)], leaf);
    }
}

static se_item *expiring(struct world *w, size_t i, int64_t at_ms)
{
    return se__item_new(&(struct item_spec){
        .id = w->ids[i], .id_len = strlen(w->ids[i]), .version = 5, .expires_at_ms = at_ms});
}

/* Of everything that a cache may hold. */
static struct world *mixed_world(size_t n, uint64_t seed)
{
    struct world *w = world_open(n, seed);
    for (size_t i = 0; i < n; i++) {
        struct slot *s = &w->l2[i];
        switch (world_random(w, 10)) {
        case 0:
            world_set(w, s, TOMBSTONE, world_deleted(w, i, 5));
            break;
        case 1:
            world_set(w, s, MARK, NULL);
            break;
        case 2:
            world_set(w, s, GARBAGE, NULL);
            break;
        case 3:
            break;
        case 4:
            world_set(w, s, ITEM, expiring(w, i, 1000));
            break;
        case 5:
            world_set(w, s, ITEM, expiring(w, i, se__wall_ms() + 3600000));
            break;
        default:
            world_set(w, s, ITEM, world_item(w, i, 1 + world_random(w, 100), 0));
            break;
        }
    }
    return w;
}

Test(merkle, a_node_is_the_xor_of_its_children_at_every_level)
{
    struct world *w = mixed_world(3000, 7);
    for (unsigned depth = 0; depth < MERKLE_DEPTH; depth++)
        for (uint32_t index = 0; index < 1u << (4 * depth); index += depth < 2 ? 1 : 97) {
            uint32_t first, last;
            struct tier_node node, children[16], sum = {.count = 0}, want;
            se__merkle_range(depth, index, &first, &last);
            cr_assert_eq(se__merkle_nodes(world_l2(w), first, last, 16 - 4 * depth, 1000, &node),
                         SE_OK);
            cr_assert_eq(se__merkle_nodes(world_l2(w), first, last, 12 - 4 * depth, 1000, children),
                         SE_OK);
            for (unsigned i = 0; i < 16; i++)
                se__merkle_join(&sum, &children[i]);
            cr_assert(se__merkle_equal(&sum, &node));
            from_scratch(w, w->l2, 16 - 4 * depth, first, last, &want);
            cr_assert(se__merkle_equal(&node, &want));
        }
    world_close(w);
}

Test(merkle, ranges_cover_the_buckets_once)
{
    for (unsigned depth = 0; depth <= MERKLE_DEPTH; depth++) {
        uint32_t next = 0, first, last;
        for (uint32_t index = 0; index < 1u << (4 * depth); index++) {
            se__merkle_range(depth, index, &first, &last);
            cr_assert_eq(first, next);
            next = last + 1;
        }
        cr_assert_eq(next, 65536);
    }
}

Test(merkle, every_node_agrees_with_a_sum_from_scratch)
{
    static struct tier_node got[65536], want[65536];
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world *w = mixed_world(1 + seed * 40, seed);
        unsigned shift = (unsigned)world_random(w, 17);
        uint32_t first = 0, last = 65535;
        if (seed % 3 == 0) {
            first = (uint32_t)world_random(w, 65536);
            last = first + (uint32_t)world_random(w, 65536 - first);
        }
        cr_assert_eq(se__merkle_nodes(world_l2(w), first, last, shift, 1000, got), SE_OK);
        from_scratch(w, w->l2, shift, first, last, want);
        for (uint32_t i = 0; i <= (last >> shift) - (first >> shift); i++)
            cr_assert(se__merkle_equal(&got[i], &want[i]), "seed %llu node %u",
                      (unsigned long long)seed, i);
        world_close(w);
    }
}

static void prefix_from_scratch(const struct world *w, const char *prefix, struct tier_node *node)
{
    *node = (struct tier_node){.count = 0};
    for (size_t i = 0; i < w->n; i++) {
        uint8_t leaf[SE_HASH_SIZE];
        if (strncmp(w->ids[i], prefix, strlen(prefix)) != 0 || !is_counted(&w->l2[i]))
            continue;
        leaf_of(w->l2[i].item, leaf);
        se__merkle_add(node, leaf);
    }
}

Test(merkle, a_prefix_has_the_ids_that_begin_with_it)
{
    struct world *w = mixed_world(2000, 3);
    char prefix[SE_ID_MAX + 1];
    for (unsigned k = 0; k < 300; k++) {
        struct tier_node got, want;
        const char *id = w->ids[world_random(w, w->n)];
        snprintf(prefix, sizeof prefix, "%.*s", (int)world_random(w, strlen(id) + 1), id);
        cr_assert_eq(se__merkle_prefix(world_l2(w), prefix, 1000, &got), SE_OK);
        prefix_from_scratch(w, prefix, &want);
        cr_assert(se__merkle_equal(&got, &want), "\"%s\"", prefix);
    }
    world_close(w);
}

static uint64_t expected_now;
static struct tier_digest asked;
static uint64_t asked_deadline;
static struct tier_reply take_digest(void *tier, const struct tier_digest *d,
                                     struct tier_node *nodes, uint64_t deadline_ms)
{
    (void)tier;
    asked = *d;
    asked_deadline = deadline_ms;
    nodes[0].count += 42;
    return se__tier_fine();
}

Test(merkle, a_database_is_asked_for_its_aggregate)
{
    static const struct tier_ops OPS = {.name = "sql", .digest = take_digest};
    struct tier tier = {.ops = &OPS};
    struct tier_node node = {.count = 7};
    expected_now = (uint64_t)se__wall_ms();
    cr_assert_eq(se__merkle_nodes(tier, 16, 31, 4, 100, &node), SE_OK);
    cr_assert_eq(node.count, 42);
    cr_assert(!asked.prefix && asked.bucket_first == 16 && asked.bucket_last == 31 &&
              asked.shift == 4);
    cr_assert_geq((uint64_t)asked.now_wall_ms, expected_now, "expired rows are left out");
    cr_assert_geq(asked_deadline, se__mono_ms() + 5000, "sixty times a call's timeout");
    cr_assert_eq(se__merkle_prefix(tier, "p:", 100, &node), SE_OK);
    cr_assert_str_eq(asked.prefix, "p:");
}

Test(merkle, an_outage_is_an_error)
{
    struct tier_node node;
    for (unsigned after = 0; after < 3; after++) {
        struct world *w = mixed_world(2500, 1);
        w->down_l2_after = after;
        cr_assert_eq(se__merkle_nodes(world_l2(w), 0, 65535, 16, 1000, &node), SE_ERR_BACKEND);
        world_close(w);
    }
    cr_assert_eq(se__merkle_nodes((struct tier){0}, 0, 65535, 16, 1000, &node), SE_ERR_UNSUPPORTED);
}

/* ---- leaves ---- */

static void make_leaf(size_t i, uint8_t leaf[SE_HASH_SIZE])
{
    char id[32];
    static const uint8_t HASH[SE_HASH_SIZE];
    snprintf(id, sizeof id, "leaf %zu", i);
    se__item_leaf(id, strlen(id), i, HASH, leaf);
}

static void take_leaf(void *arg, uint16_t bucket, const uint8_t leaf[SE_HASH_SIZE])
{
    (void)bucket;
    se__merkle_add(arg, leaf);
}

/* Many more ids than fit, each added up to three times, in every pass; all in one bucket or spread. */
static void drain_all(size_t max, size_t n, bool one_bucket)
{
    struct leaves *l;
    struct tier_node got = {.count = 0}, want = {.count = 0};
    uint8_t leaf[SE_HASH_SIZE];
    char id[32];
    unsigned passes = 0;
    bool more = true;
    cr_assert_eq(se__leaves_open(max, &l), SE_OK);
    for (size_t i = 0; i < n; i++) {
        make_leaf(i, leaf);
        se__merkle_add(&want, leaf);
    }
    for (; more; passes++) {
        for (size_t k = 0; k < 3 * n; k++) {
            size_t i = k < n ? k : (size_t)rand() % n;
            snprintf(id, sizeof id, "id %zu", i);
            make_leaf(i, leaf);
            se__leaves_add(l, one_bucket ? 9 : se__item_bucket(id, strlen(id)), id, strlen(id),
                           leaf);
        }
        more = se__leaves_drain(l, take_leaf, &got);
    }
    cr_assert(se__merkle_equal(&got, &want), "%llu of %zu", (unsigned long long)got.count, n);
    cr_assert(passes >= n / max && passes <= 3 * n / max + 2, "%u passes", passes);
    se__leaves_close(l);
}

Test(merkle, leaves_are_told_apart_in_bounded_passes)
{
    for (unsigned one = 0; one < 2; one++) {
        drain_all(100000, 5000, one);
        drain_all(1000, 5000, one);
        drain_all(100, 2000, one);
        drain_all(4, 50, one);
        drain_all(10, 1, one);
    }
}
