/*
 * merkle - see merkle.h.
 *
 * What a tier without aggregates holds is told by a survey of its headers, which may show an id
 * twice; its leaf would cancel itself out. So the leaves are collected in lists that unite repeats
 * (verify/leaves.h), a range of buckets at a time if there are too many for one.
 */
#include "verify/merkle.h"

#include "base/os.h"
#include "tier/sights.h"
#include "verify/leaves.h"

#include <stdio.h>
#include <string.h>

#define DIGEST_TIMES 60u /* a digest reads the whole table: so many timeouts */
#define PAGE_RECORDS 1000u
#define PAGE_BYTES (1u << 20)

/* ---- arithmetic ---- */

void se__merkle_add(struct tier_node *node, const uint8_t leaf[SE_HASH_SIZE])
{
    for (size_t i = 0; i < SE_HASH_SIZE; i++)
        node->digest[i] ^= leaf[i];
    node->count++;
}

void se__merkle_join(struct tier_node *node, const struct tier_node *other)
{
    for (size_t i = 0; i < SE_HASH_SIZE; i++)
        node->digest[i] ^= other->digest[i];
    node->count += other->count;
}

bool se__merkle_equal(const struct tier_node *a, const struct tier_node *b)
{
    return a->count == b->count && memcmp(a->digest, b->digest, SE_HASH_SIZE) == 0;
}

void se__merkle_range(unsigned depth, uint32_t index, uint32_t *bucket_first, uint32_t *bucket_last)
{
    unsigned shift = 4 * (MERKLE_DEPTH - depth);
    *bucket_first = index << shift;
    *bucket_last = *bucket_first + (UINT32_C(1) << shift) - 1;
}

/* ---- what a tier holds ---- */

struct ask {
    struct tier tier;
    const char *prefix; /* NULL: by buckets */
    uint32_t bucket_first, bucket_last;
    unsigned shift;
    uint32_t timeout_ms;
    int64_t now_wall_ms;
};

static se_result failed(const struct ask *a)
{
    return se__error(SE_ERR_BACKEND, "merkle: %s cannot be asked: %s", a->tier.ops->name,
                     se_errmsg());
}

static se_result ask_digest(const struct ask *a, struct tier_node *nodes)
{
    struct tier_digest d = {.prefix = a->prefix,
                            .bucket_first = a->bucket_first,
                            .bucket_last = a->bucket_last,
                            .shift = a->shift,
                            .now_wall_ms = a->now_wall_ms};
    uint64_t deadline_ms = se__deadline_in((uint64_t)DIGEST_TIMES * a->timeout_ms);
    struct tier_reply reply = a->tier.ops->digest(a->tier.self, &d, nodes, deadline_ms);
    return reply.fault == TIER_FINE ? SE_OK : failed(a);
}

/* ---- a tier that has no aggregates ---- */

static bool is_asked(const struct ask *a, const struct tier_sight *s)
{
    if (s->found != TIER_HIT || s->kind != RECORD_ITEM)
        return false;
    if (s->expires_at_ms != 0 && s->expires_at_ms <= a->now_wall_ms)
        return false;
    if (a->prefix)
        return strncmp(s->id, a->prefix, strlen(a->prefix)) == 0;
    return s->bucket >= a->bucket_first && s->bucket <= a->bucket_last;
}

static void collect_page(const struct ask *a, const struct tier_sights *page, struct leaves *leaves)
{
    for (size_t i = 0; i < page->n; i++) {
        const struct tier_sight *s = &page->sights[i];
        uint8_t leaf[SE_HASH_SIZE];
        if (!is_asked(a, s))
            continue;
        se__item_leaf(s->id, s->id_len, s->version, s->record_hash, leaf);
        se__leaves_add(leaves, s->bucket, s->id, s->id_len, leaf);
    }
}

/* The ids that begin with prefix lie in (after, until]: no UTF-8 has a byte 0xff, and no id one
 * below 0x20, so the last byte of a prefix has one before it. */
static void bound_prefix(const char *prefix, char *after, char *until)
{
    size_t len = strnlen(prefix, SE_ID_MAX);
    memcpy(after, prefix, len);
    memcpy(until, prefix, len);
    after[len] = '\0';
    until[len] = '\0';
    if (len == 0)
        return;
    after[len - 1] = (char)(after[len - 1] - 1);
    memcpy(after + len, "\xff", 2);
    memcpy(until + len, "\xff", 2);
}

static se_result survey_into(const struct ask *a, struct leaves *leaves)
{
    char after[SE_ID_MAX + 2] = "", until[SE_ID_MAX + 2] = "";
    struct tier_survey s = {.depth = TIER_HEADERS,
                            .order = TIER_BY_ID,
                            .live_only = true,
                            .after = after,
                            .until = until,
                            .items_max = PAGE_RECORDS,
                            .bytes_max = PAGE_BYTES};
    struct tier_cursor cursor = {0};
    struct tier_sights page = {0};
    se_result r = SE_OK;
    if (a->prefix)
        bound_prefix(a->prefix, after, until);
    while (r == SE_OK && !cursor.done) {
        struct tier_reply reply =
            a->tier.ops->survey(a->tier.self, &s, &cursor, &page, se__deadline_in(a->timeout_ms));
        r = reply.fault == TIER_FINE ? SE_OK : failed(a);
        if (r == SE_OK)
            collect_page(a, &page, leaves);
    }
    se__sights_done(&page);
    se__tier_cursor_done(&cursor);
    return r;
}

struct sum {
    const struct ask *a;
    struct tier_node *nodes;
};

static void add_leaf(void *arg, uint16_t bucket, const uint8_t leaf[SE_HASH_SIZE])
{
    const struct sum *sum = arg;
    uint32_t first = sum->a->bucket_first >> sum->a->shift;
    size_t i = sum->a->prefix ? 0 : (bucket >> sum->a->shift) - first;
    se__merkle_add(&sum->nodes[i], leaf);
}

static se_result survey_all(const struct ask *a, struct tier_node *nodes)
{
    struct sum sum = {a, nodes};
    struct leaves *leaves = NULL;
    if (!a->tier.ops->survey)
        return se__error(SE_ERR_UNSUPPORTED, "merkle: %s cannot be surveyed", a->tier.ops->name);
    se_result r = se__leaves_open(LEAVES_MAX, &leaves);
    bool more = true;
    while (r == SE_OK && more) {
        r = survey_into(a, leaves);
        if (r == SE_OK)
            more = se__leaves_drain(leaves, add_leaf, &sum);
    }
    se__leaves_close(leaves);
    return r;
}

/* ---- both ---- */

static se_result fill_nodes(const struct ask *a, size_t n, struct tier_node *nodes)
{
    if (!a->tier.ops)
        return se__error(SE_ERR_UNSUPPORTED, "merkle: no such tier is configured");
    memset(nodes, 0, n * sizeof *nodes);
    return a->tier.ops->digest ? ask_digest(a, nodes) : survey_all(a, nodes);
}

se_result se__merkle_nodes(struct tier tier, uint32_t bucket_first, uint32_t bucket_last,
                           unsigned shift, uint32_t timeout_ms, struct tier_node *nodes)
{
    struct ask a = {.tier = tier,
                    .bucket_first = bucket_first,
                    .bucket_last = bucket_last,
                    .shift = shift,
                    .timeout_ms = timeout_ms,
                    .now_wall_ms = se__wall_ms()};
    return fill_nodes(&a, (bucket_last >> shift) - (bucket_first >> shift) + 1, nodes);
}

se_result se__merkle_prefix(struct tier tier, const char *prefix, uint32_t timeout_ms,
                            struct tier_node *node)
{
    struct ask a = {.tier = tier,
                    .prefix = prefix,
                    .bucket_last = UINT16_MAX,
                    .timeout_ms = timeout_ms,
                    .now_wall_ms = se__wall_ms()};
    return fill_nodes(&a, 1, node);
}
