/*
 * bench_merkle - row 20: what a digest costs an item, and the root of a million rows.
 *
 * An item: its leaf and its bucket, and the XOR into one of 65,536 nodes, in batches of 1000; beside
 * it the bare hash of the same bytes into one node. The record hash is there already: the write's
 * guard needs it.
 *
 * The root: the tier's digest on MariaDB, beside a bare statement that reads the same columns of all
 * rows (MAX, which no index answers), and one that only counts them.
 */
#include "batches.h"
#include "mariadb.h"

#include "base/os.h"
#include "l3/l3.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define ROWS 1000000u
#define ITEMS 1000000u
#define BUCKETS 65536u
#define CALL_MS 60000u

/* ---- an item ---- */

struct updates {
    const struct keys *keys;
    size_t batches;
    struct tier_node *nodes;
    uint8_t (*hashes)[SE_HASH_SIZE];
};

static void xor_into(struct tier_node *node, const uint8_t leaf[SE_HASH_SIZE])
{
    for (size_t i = 0; i < SE_HASH_SIZE; i++)
        node->digest[i] ^= leaf[i];
    node->count++;
}

static double update_ours(void *arg)
{
    struct updates *u = arg;
    uint8_t leaf[SE_HASH_SIZE];
    uint64_t start = bench_cpu_ns();
    for (size_t i = 0; i < u->batches * BATCH; i++) {
        const char *id = u->keys->ids[i % u->keys->n];
        se__item_leaf(id, BENCH_ID_LEN, i, u->hashes[i % BATCH], leaf);
        xor_into(&u->nodes[se__item_bucket(id, BENCH_ID_LEN)], leaf);
    }
    return (double)(bench_cpu_ns() - start) / (double)(u->batches * BATCH);
}

/* The same number of bytes, hashed where they lie. */
static double update_bare(void *arg)
{
    struct updates *u = arg;
    XXH128_canonical_t leaf;
    uint8_t bytes[4 + BENCH_ID_LEN + 8 + SE_HASH_SIZE] = {0};
    uint64_t start = bench_cpu_ns();
    for (size_t i = 0; i < u->batches * BATCH; i++) {
        memcpy(bytes, &i, sizeof i);
        XXH128_canonicalFromHash(&leaf, XXH3_128bits(bytes, sizeof bytes));
        xor_into(&u->nodes[0], leaf.digest);
    }
    return (double)(bench_cpu_ns() - start) / (double)(u->batches * BATCH);
}

static void bench_update(const struct bench *b, const struct keys *keys)
{
    struct updates u = {.keys = keys,
                        .batches = bench_scaled(b, ITEMS) / BATCH,
                        .nodes = calloc(BUCKETS, sizeof *u.nodes),
                        .hashes = calloc(BATCH, sizeof *u.hashes)};
    if (!u.nodes || !u.hashes)
        bench_fail("out of memory");
    struct bench_side sides[] = {
        {.name = "ours", .run = update_ours, .arg = &u},
        {.name = "XXH3-128 and XOR",
         .run = update_bare,
         .arg = &u,
         .kind = BENCH_VALUE_MAX,
         .bar = 150},
    };
    bench_pin();
    bench_compare(b, &(struct bench_subject){20, "digest of an item, batches of 1000", "ns"}, sides,
                  2);
    bench_unpin();
    free(u.nodes);
    free(u.hashes);
}

/* ---- the root ---- */

struct root {
    struct tier tier;
    uint64_t rows;
};

static double root_ours(void *arg)
{
    struct root *r = arg;
    struct tier_digest digest = {
        .bucket_last = BUCKETS - 1, .shift = 16, .now_wall_ms = se__wall_ms()};
    struct tier_node node;
    uint64_t start = se__mono_ns();
    struct tier_reply reply =
        r->tier.ops->digest(r->tier.self, &digest, &node, se__deadline_in(CALL_MS));
    double figure = (double)(se__mono_ns() - start) / 1e6;
    if (reply.fault != TIER_FINE || node.count != r->rows)
        bench_fail("mysql: no root of all rows: %s", se_errmsg());
    return figure;
}

struct bare {
    MYSQL *m;
    const char *sql;
};

static double root_bare(void *arg)
{
    const struct bare *bare = arg;
    uint64_t start = se__mono_ns();
    if (mysql_query(bare->m, bare->sql) != 0)
        bench_fail("mysql: %s", mysql_error(bare->m));
    mysql_free_result(mysql_store_result(bare->m));
    return (double)(se__mono_ns() - start) / 1e6;
}

static void open_root(struct root *r, const char *url_text, const struct keys *keys)
{
    struct url url;
    bench_check(se__url_parse("sql_url", url_text, &url), "url");
    struct l3_options o = {.url = &url,
                           .table = "items",
                           .timeout_ms = 30000,
                           .read_connections = 1,
                           .workers = 1,
                           .tombstone_retention_s = 86400};
    bench_check(se__mysql_open(&o, &r->tier), "mysql");
    bench_check(r->tier.ops->prepare(r->tier.self, se__deadline_in(10000)), "mysql");
    batches_load(&r->tier, keys);
    r->rows = keys->n / BATCH * BATCH;
    se__url_done(&url);
}

static void bench_root(const struct bench *b, const struct mariadb_server *s, const char *url,
                       const struct keys *keys)
{
    struct root r;
    open_root(&r, url, keys);
    MYSQL *m = bench_mariadb_connect(s);
    struct bare scan = {
        m, "SELECT MAX(leaf_hi), MAX(leaf_lo), MAX(deleted), MAX(expires_at) FROM items"};
    struct bare count = {m, "SELECT COUNT(*) FROM items IGNORE INDEX (state, bucket, purge_at)"};
    struct bench_side sides[] = {
        {.name = "ours", .run = root_ours, .arg = &r},
        {.name = "a scan, same columns",
         .run = root_bare,
         .arg = &scan,
         .kind = BENCH_RATIO_MAX,
         .bar = 1.2},
        {.name = "COUNT(*) by the rows", .run = root_bare, .arg = &count},
    };
    bench_pin();
    bench_compare(b, &(struct bench_subject){20, "root of a million rows, MySQL", "ms"}, sides, 3);
    bench_unpin();
    mysql_close(m);
    r.tier.ops->close(r.tier.self);
}

int main(int argc, char **argv)
{
    struct bench b;
    char url[BENCH_MARIADB_URL_MAX];
    bench_init(&b, argc, argv);
    struct keys keys = keys_make(bench_scaled(&b, ROWS));
    bench_update(&b, &keys);
    struct mariadb_server *server = bench_mariadb(url);
    bench_root(&b, server, url, &keys);
    mariadb_close(server);
    keys_free(&keys);
    return 0;
}
