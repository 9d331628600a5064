/*
 * peer_ck - Concurrency Kit's ck_ht: one writer, any readers inside an epoch section.
 */
#include "harness.h"
#include "peers.h"

#include <ck_epoch.h>
#include <ck_ht.h>
#include <stdlib.h>

struct entry {
    ck_epoch_entry_t later; /* first: an entry is freed through it */
    struct peer_item item;
};

struct map {
    ck_ht_t table;
    ck_epoch_t epoch;
    ck_epoch_record_t record; /* of the one thread */
};

static void hash_cb(ck_ht_hash_t *h, const void *key, size_t len, uint64_t seed)
{
    (void)len;
    (void)seed;
    h->value = peer_hash(key);
}

static void *ck_alloc(size_t bytes)
{
    return malloc(bytes);
}

static void ck_release(void *memory, size_t bytes, bool defer)
{
    (void)bytes;
    (void)defer; /* tables grow while loading only, with no reader about */
    free(memory);
}

static struct ck_malloc allocator = {.malloc = ck_alloc, .free = ck_release};

static void *open_map(size_t items)
{
    struct map *m = aligned_alloc(64, (sizeof *m + 63) / 64 * 64);
    if (!m || !ck_ht_init(&m->table, CK_HT_MODE_BYTESTRING, hash_cb, &allocator, items * 2, 1))
        bench_fail("ck_ht: out of memory");
    ck_epoch_init(&m->epoch);
    ck_epoch_register(&m->epoch, &m->record, NULL);
    return m;
}

static void free_entry(ck_epoch_entry_t *later)
{
    free(later);
}

static void release(struct map *m, struct entry *e)
{
    if (peer_release(&e->item))
        ck_epoch_call(&m->record, &e->later, free_entry);
}

static void put(void *map, const char *id, const void *content, size_t len)
{
    struct map *m = map;
    struct entry *e = peer_alloc(offsetof(struct entry, item), len);
    peer_fill(&e->item, id, content, len);
    ck_ht_hash_t h;
    ck_ht_entry_t slot;
    ck_ht_hash(&h, &m->table, e->item.bytes, BENCH_ID_LEN);
    ck_ht_entry_set(&slot, h, e->item.bytes, BENCH_ID_LEN, e);
    if (!ck_ht_set_spmc(&m->table, h, &slot))
        bench_fail("ck_ht: out of memory");
    if (!ck_ht_entry_empty(&slot))
        release(m, ck_ht_entry_value(&slot));
    (void)ck_epoch_poll(&m->record);
}

static size_t get(void *map, const char *id)
{
    struct map *m = map;
    ck_ht_hash_t h;
    ck_ht_entry_t slot;
    struct entry *e = NULL;
    ck_ht_hash(&h, &m->table, id, BENCH_ID_LEN);
    ck_ht_entry_key_set(&slot, id, BENCH_ID_LEN);
    ck_epoch_begin(&m->record, NULL);
    if (ck_ht_get_spmc(&m->table, h, &slot)) {
        e = ck_ht_entry_value(&slot);
        peer_retain(&e->item);
    }
    (void)ck_epoch_end(&m->record, NULL);
    size_t len = e ? e->item.content_len : 0;
    if (e)
        release(m, e);
    return len;
}

static void close_map(void *map)
{
    struct map *m = map;
    ck_ht_iterator_t i = CK_HT_ITERATOR_INITIALIZER;
    ck_ht_entry_t *slot;
    while (ck_ht_next(&m->table, &i, &slot))
        free(ck_ht_entry_value(slot));
    ck_epoch_barrier(&m->record);
    ck_epoch_unregister(&m->record);
    ck_ht_destroy(&m->table);
    free(m);
}

const struct peer peer_ck = {"ck_ht, ck_epoch", open_map, put, get, close_map};
