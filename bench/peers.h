/*
 * peers - the hash maps beside which L1 is measured, behind one interface.
 *
 * Each is written as a good user of that library would: one allocation for reference count, id and
 * content, XXH3 for the hash, get takes a reference and gives it back. What the peers do not have,
 * and L1 does: versions, state, eviction, a bound on memory.
 *
 * Threads: get and put are called by one; the locks and sections that many threads need are taken
 * all the same.
 */
#ifndef SE_BENCH_PEERS_H
#define SE_BENCH_PEERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer {
    const char *name;
    void *(*open)(size_t items);
    /* Stores a new item of this id; an older one is released. */
    void (*put)(void *map, const char *id, const void *content, size_t len);
    /* Takes a reference, looks at the length and releases it. 0: absent. */
    size_t (*get)(void *map, const char *id);
    void (*close)(void *map);
};

extern const struct peer peer_glib, peer_ck, peer_lfht;

/* What every peer's item has after its own links: counted, with id and content behind it. */
struct peer_item {
    _Atomic uint32_t refs; /* relaxed up, acq_rel down: as everyone counts */
    uint32_t content_len;
    char bytes[]; /* id NUL content */
};

/* BENCH_ID_LEN bytes of id. `head`: bytes for the peer's own links in front of the item.
 * Fails by ending the process. */
void *peer_alloc(size_t head, size_t content_len);
void peer_fill(struct peer_item *item, const char *id, const void *content, size_t len);
uint64_t peer_hash(const char *id);
bool peer_same_id(const struct peer_item *item, const char *id);
static inline void peer_retain(struct peer_item *item)
{
    atomic_fetch_add_explicit(&item->refs, 1, memory_order_relaxed);
}
/* True: it was the last one, the caller frees. */
static inline bool peer_release(struct peer_item *item)
{
    return atomic_fetch_sub_explicit(&item->refs, 1, memory_order_acq_rel) == 1;
}

#endif
