/*
 * peers - what the peers' items have in common.
 */
#include "peers.h"

#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void *peer_alloc(size_t head, size_t content_len)
{
    void *memory = malloc(head + sizeof(struct peer_item) + BENCH_ID_LEN + 1 + content_len);
    if (!memory)
        bench_fail("out of memory");
    return memory;
}

void peer_fill(struct peer_item *item, const char *id, const void *content, size_t len)
{
    atomic_init(&item->refs, 1);
    item->content_len = (uint32_t)len;
    memcpy(item->bytes, id, BENCH_ID_LEN + 1);
    memcpy(item->bytes + BENCH_ID_LEN + 1, content, len);
}

uint64_t peer_hash(const char *id)
{
    return XXH3_64bits(id, BENCH_ID_LEN);
}

bool peer_same_id(const struct peer_item *item, const char *id)
{
    return memcmp(item->bytes, id, BENCH_ID_LEN) == 0;
}
