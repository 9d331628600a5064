/*
 * peer_glib - GHashTable, 64 shards, each under a GRWLock.
 *
 * The key is the item's id. The shard is chosen by the high bits of the hash, the table takes the
 * low ones; GHashTable gives its hash function nothing but the key, so the hash is computed twice a
 * call (2 x 5 ns).
 */
#include "harness.h"
#include "peers.h"

#include <glib.h>
#include <stdlib.h>

#define SHARDS 64u

struct shard {
    GRWLock lock;
    GHashTable *table;
} __attribute__((aligned(64)));

struct map {
    struct shard shards[SHARDS];
};

static guint hash_of(gconstpointer id)
{
    return (guint)peer_hash(id);
}

static gboolean same(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, BENCH_ID_LEN) == 0;
}

static void drop(gpointer value)
{
    struct peer_item *item = value;
    if (peer_release(item))
        free(item);
}

static struct shard *shard_of(struct map *m, const char *id)
{
    return &m->shards[peer_hash(id) >> 58];
}

static void *open_map(size_t items)
{
    (void)items;
    struct map *m = aligned_alloc(64, sizeof *m);
    if (!m)
        bench_fail("out of memory");
    for (unsigned i = 0; i < SHARDS; i++) {
        g_rw_lock_init(&m->shards[i].lock);
        m->shards[i].table = g_hash_table_new_full(hash_of, same, NULL, drop);
    }
    return m;
}

static void put(void *map, const char *id, const void *content, size_t len)
{
    struct shard *s = shard_of(map, id);
    struct peer_item *item = peer_alloc(0, len);
    peer_fill(item, id, content, len);
    g_rw_lock_writer_lock(&s->lock);
    g_hash_table_replace(s->table, item->bytes, item);
    g_rw_lock_writer_unlock(&s->lock);
}

static size_t get(void *map, const char *id)
{
    struct shard *s = shard_of(map, id);
    g_rw_lock_reader_lock(&s->lock);
    struct peer_item *item = g_hash_table_lookup(s->table, id);
    if (item)
        peer_retain(item);
    g_rw_lock_reader_unlock(&s->lock);
    size_t len = item ? item->content_len : 0;
    if (item && peer_release(item))
        free(item);
    return len;
}

static void close_map(void *map)
{
    struct map *m = map;
    for (unsigned i = 0; i < SHARDS; i++) {
        g_hash_table_destroy(m->shards[i].table);
        g_rw_lock_clear(&m->shards[i].lock);
    }
    free(m);
}

const struct peer peer_glib = {"GLib, 64 GRWLock", open_map, put, get, close_map};
