/*
 * peer_lfht - liburcu's lock-free resizable hash table, in its memory-barrier flavour.
 */
#define URCU_INLINE_SMALL_FUNCTIONS
#include <urcu.h>
#include <urcu/rculfhash.h>

#include "harness.h"
#include "peers.h"

#include <stdlib.h>

struct entry {
    struct cds_lfht_node node;
    struct rcu_head later;
    struct peer_item item;
};

static void *open_map(size_t items)
{
    size_t buckets = 1;
    while (buckets < items)
        buckets *= 2;
    rcu_register_thread();
    /* with accounting: by chain length alone it would grow to a multiple of what it needs */
    struct cds_lfht *map =
        cds_lfht_new(buckets, 1, 0, CDS_LFHT_AUTO_RESIZE | CDS_LFHT_ACCOUNTING, NULL);
    if (!map)
        bench_fail("lfht: out of memory");
    return map;
}

static int matches(struct cds_lfht_node *node, const void *id)
{
    return peer_same_id(&caa_container_of(node, struct entry, node)->item, id);
}

static void free_entry(struct rcu_head *later)
{
    free(caa_container_of(later, struct entry, later));
}

static void release(struct entry *e)
{
    if (peer_release(&e->item))
        call_rcu(&e->later, free_entry);
}

static void put(void *map, const char *id, const void *content, size_t len)
{
    struct entry *e = peer_alloc(offsetof(struct entry, item), len);
    peer_fill(&e->item, id, content, len);
    cds_lfht_node_init(&e->node);
    rcu_read_lock();
    struct cds_lfht_node *old =
        cds_lfht_add_replace(map, (unsigned long)peer_hash(id), matches, id, &e->node);
    rcu_read_unlock();
    if (old)
        release(caa_container_of(old, struct entry, node));
}

static size_t get(void *map, const char *id)
{
    struct cds_lfht_iter i;
    struct entry *e = NULL;
    rcu_read_lock();
    cds_lfht_lookup(map, (unsigned long)peer_hash(id), matches, id, &i);
    struct cds_lfht_node *node = cds_lfht_iter_get_node(&i);
    if (node) {
        e = caa_container_of(node, struct entry, node);
        peer_retain(&e->item);
    }
    rcu_read_unlock();
    size_t len = e ? e->item.content_len : 0;
    if (e)
        release(e);
    return len;
}

static void close_map(void *map)
{
    struct cds_lfht_iter i;
    struct cds_lfht_node *node;
    rcu_read_lock();
    cds_lfht_for_each(map, &i, node)
    {
        (void)cds_lfht_del(map, node);
        release(caa_container_of(node, struct entry, node));
    }
    rcu_read_unlock();
    rcu_barrier();
    (void)cds_lfht_destroy(map, NULL);
    rcu_unregister_thread();
}

const struct peer peer_lfht = {"lfht, liburcu-mb", open_map, put, get, close_map};
