/*
 * Digests: what the database adds up equals the leaves of what was written, computed from scratch.
 */
#include "l3_damage.h"
#include "l3_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct l3_model m;
static struct tier_node nodes[65536];

static void digest(struct l3_fixture *f, const struct tier_digest *d)
{
    struct tier_reply r = f->tier.ops->digest(f->tier.self, d, nodes, l3_soon());
    cr_assert_eq(r.fault, TIER_FINE, "fault %d code %d: %s", r.fault, r.code, se_errmsg());
}

static bool same(const struct tier_node *a, const struct tier_node *b)
{
    return a->count == b->count && memcmp(a->digest, b->digest, SE_HASH_SIZE) == 0;
}

static bool in_buckets(const struct l3_entry *e, const void *arg)
{
    const uint32_t *range = arg;
    uint32_t bucket = se__item_bucket(e->id, strlen(e->id));
    return bucket >= range[0] && bucket <= range[1];
}

static bool under_prefix(const struct l3_entry *e, const void *arg)
{
    const char *prefix = arg;
    return strncmp(e->id, prefix, strlen(prefix)) == 0;
}

static void check_nodes(struct l3_fixture *f, const struct tier_digest *d)
{
    uint32_t first = d->bucket_first >> d->shift, last = d->bucket_last >> d->shift;
    digest(f, d);
    for (uint32_t i = first; i <= last; i++) {
        struct tier_node expected;
        uint32_t low = i << d->shift, high = low + (1u << d->shift) - 1;
        uint32_t range[2] = {low > d->bucket_first ? low : d->bucket_first,
                             high < d->bucket_last ? high : d->bucket_last};
        l3_model_node(&m, d->now_wall_ms, in_buckets, range, &expected);
        cr_assert(same(&nodes[i - first], &expected), "node %u of %u..%u >> %u: %llu, %llu items",
                  i, d->bucket_first, d->bucket_last, d->shift,
                  (unsigned long long)nodes[i - first].count, (unsigned long long)expected.count);
    }
}

static void check_root(struct l3_fixture *f, int64_t now)
{
    struct tier_digest d = {.bucket_last = UINT16_MAX, .shift = 16, .now_wall_ms = now};
    check_nodes(f, &d);
    cr_assert_gt(nodes[0].count, 0);
}

/* After every few batches: puts, deletes, repeats, old and new versions in any order. */
static void the_root_follows_any_history(struct l3_fixture *f)
{
    l3_model_init(&m, 21);
    for (int i = 0; i < 25; i++) {
        l3_model_write(&m, f, 1 + (unsigned)i % 4);
        check_root(f, m.now_wall_ms);
        check_root(f, 0);
    }
    l3_model_done(&m);
}
ON_EVERY_DRIVER(the_root_follows_any_history)

/* The same writes, cut into other batches, on both databases: one root. */
Test(both, the_same_items_have_one_root)
{
    struct tier_node roots[6];
    uint64_t version = l3_now_version();
    for (unsigned i = 0; i < 6; i++) {
        struct l3_fixture f;
        l3_start(&f, i % 2 ? L3_SQLITE : L3_MYSQL, NULL);
        size_t batch = (size_t[]){1, 7, 60}[i / 2];
        for (size_t at = 0; at < 60; at += batch) {
            struct tier_write w[60];
            size_t n = 0;
            for (; n < batch && at + n < 60; n++) {
                char id[16];
                snprintf(id, sizeof id, "id%02zu", at + n);
                w[n] = (struct tier_write){.item = l3_item(id, version - at - n, "text"),
                                           .kind = RECORD_ITEM};
            }
            cr_assert_eq(f.tier.ops->write(f.tier.self, 0, w, n, l3_soon()).fault, TIER_FINE);
            while (n > 0)
                se_item_release(w[--n].item);
        }
        digest(&f, &(struct tier_digest){.bucket_last = UINT16_MAX, .shift = 16});
        roots[i] = nodes[0];
        cr_assert_eq(roots[i].count, 60);
        cr_assert(same(&roots[i], &roots[0]));
        l3_stop(&f);
    }
}

static void nodes_of_every_shift(struct l3_fixture *f)
{
    static const unsigned shifts[] = {16, 12, 8, 4, 0, 13, 1};
    l3_model_init(&m, 22);
    l3_model_write(&m, f, 25);
    for (unsigned i = 0; i < 70; i++) {
        struct tier_digest d = {.shift = shifts[i % 7],
                                .bucket_last = UINT16_MAX,
                                .now_wall_ms = i % 3 ? m.now_wall_ms : 0};
        /* the model adds up every node by itself: few of the small ones, then */
        uint32_t width = d.shift > 7 ? 65536 : 500u << d.shift;
        if (i >= 7 || d.shift < 8) {
            d.bucket_first = (uint32_t)rand() % 65536;
            d.bucket_last = d.bucket_first + (uint32_t)rand() % width;
            d.bucket_last = d.bucket_last > UINT16_MAX ? UINT16_MAX : d.bucket_last;
        }
        if (i % 5 == 4)
            d.bucket_first = 0, d.bucket_last = (uint32_t)rand() % (width - 1);
        check_nodes(f, &d);
    }
    l3_model_done(&m);
}
ON_BOTH_DIALECTS(nodes_of_every_shift)

static void a_prefix_is_one_node_of_its_ids(struct l3_fixture *f)
{
    static const char *const prefixes[] = {"",
                                           "user_1:",
                                           "user%1:",
                                           "user_",
                                           "user",
                                           "a",
                                           "a'",
                                           "a\"",
                                           "a\"\\",
                                           "\\",
                                           "a\\_%",
                                           "%",
                                           "_",
                                           "\xc3",
                                           "\xc3\xa9",
                                           "\xf0\x9f\x98\x80",
                                           "\xef\xbf\xbf",
                                           "trail",
                                           "trail ",
                                           " ",
                                           "nobody",
                                           "z"};
    char longest[300];
    l3_model_init(&m, 23);
    l3_model_write(&m, f, 30);
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        struct tier_node expected;
        struct tier_digest d = {.prefix = prefixes[i], .now_wall_ms = i % 2 ? 0 : m.now_wall_ms};
        digest(f, &d);
        l3_model_node(&m, d.now_wall_ms, under_prefix, d.prefix, &expected);
        cr_assert(same(&nodes[0], &expected), "\"%s\": %llu, %llu ids", d.prefix,
                  (unsigned long long)nodes[0].count, (unsigned long long)expected.count);
    }
    memset(longest, 'a', sizeof longest);
    longest[299] = '\0';
    digest(f, &(struct tier_digest){.prefix = longest});
    cr_assert_eq(nodes[0].count, 0);
    l3_model_done(&m);
}
ON_BOTH_DIALECTS(a_prefix_is_one_node_of_its_ids)

static void an_expired_row_leaves_at_its_time(struct l3_fixture *f)
{
    struct item_spec spec = {.id = "a",
                             .id_len = 1,
                             .content = "x",
                             .content_len = 1,
                             .version = l3_now_version(),
                             .expires_at_ms = 5000};
    l3_put(f, se__item_new(&spec));
    struct tier_digest d = {.bucket_last = UINT16_MAX, .shift = 16, .now_wall_ms = 4999};
    digest(f, &d);
    cr_assert_eq(nodes[0].count, 1);
    d.now_wall_ms = 5000;
    digest(f, &d);
    cr_assert_eq(nodes[0].count, 0);
    d.now_wall_ms = 0;
    digest(f, &d);
    cr_assert_eq(nodes[0].count, 1);
}
ON_BOTH_DIALECTS(an_expired_row_leaves_at_its_time)

static void an_empty_table_is_zero(struct l3_fixture *f)
{
    static const struct tier_node zero;
    nodes[0].count = 17;
    digest(f, &(struct tier_digest){.bucket_last = UINT16_MAX, .shift = 16});
    cr_assert(same(&nodes[0], &zero));
    nodes[255].count = 17;
    digest(f, &(struct tier_digest){.bucket_last = UINT16_MAX, .shift = 8});
    cr_assert(same(&nodes[255], &zero));
    digest(f, &(struct tier_digest){.prefix = "a"});
    cr_assert(same(&nodes[0], &zero));
}
ON_BOTH_DIALECTS(an_empty_table_is_zero)

/* Buckets that are none, leaves that are none: every row is in one node all the same, so that what
 * differs in a part differs in the whole. */
static void parts_add_up_to_the_root_of_a_damaged_table(struct l3_fixture *f)
{
    struct tier_node root;
    l3_damage_table(f);
    digest(f, &(struct tier_digest){.bucket_last = UINT16_MAX, .shift = 16});
    root = nodes[0];
    for (unsigned i = 0; i < 12; i++) {
        struct tier_node sum = {.count = 0};
        uint32_t step = i < 6 ? 65536 : 7001;
        unsigned shift = (unsigned[]){15, 12, 8, 4, 1, 0}[i % 6];
        for (uint32_t first = 0; first <= UINT16_MAX; first += step) {
            uint32_t last = first + step - 1 > UINT16_MAX ? UINT16_MAX : first + step - 1;
            digest(f, &(struct tier_digest){
                          .bucket_first = first, .bucket_last = last, .shift = shift});
            for (uint32_t k = 0; k <= (last >> shift) - (first >> shift); k++) {
                sum.count += nodes[k].count;
                for (size_t b = 0; b < SE_HASH_SIZE; b++)
                    sum.digest[b] ^= nodes[k].digest[b];
            }
        }
        cr_assert(same(&sum, &root), "shift %u: %llu, %llu", shift, (unsigned long long)sum.count,
                  (unsigned long long)root.count);
    }
}
ON_BOTH_DIALECTS(parts_add_up_to_the_root_of_a_damaged_table)

/* se_xor takes nothing but integers, and is there on every connection, read-only ones too. */
Test(sqlite, a_read_only_tier_digests)
{
    struct l3_fixture f;
    l3_start(&f, L3_SQLITE, NULL);
    l3_put(&f, l3_item("a", l3_now_version(), "x"));
    f.options.read_only = true;
    struct tier t = l3_open(&f, SE_OK);
    struct tier_digest d = {.bucket_last = UINT16_MAX, .shift = 16};
    cr_assert_eq(t.ops->digest(t.self, &d, nodes, l3_soon()).fault, TIER_FINE, "%s", se_errmsg());
    cr_assert_eq(nodes[0].count, 1);
    l3_close(&t);
    l3_stop(&f);
}
