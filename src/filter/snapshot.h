/*
 * snapshot - the filter in a file, with what L3 looked like before the copy began.
 *
 * A snapshot is sound for a database state only if the digests in it were read before the first
 * fingerprint was copied: the copy then has at least the ids of that state. Decoding is total: any
 * bytes give a snapshot or a reason why not. The file format stands at the head of snapshot.c.
 *
 * Threads: any; pure but for load and store.  Memory: what is decoded points into the bytes given.
 */
#ifndef SE_FILTER_SNAPSHOT_H
#define SE_FILTER_SNAPSHOT_H

#include "base/buf.h"
#include "filter/filter.h"
#include "tier/tier.h"

#define SNAPSHOT_BUCKETS 65536u

struct snapshot_head {
    char incarnation[64]; /* of the database */
    char table[64];
    uint64_t seed;       /* of the filter */
    uint64_t position;   /* the last version issued when the digests were read */
    int64_t taken_at_ms; /* wall clock */
};
struct snapshot {
    struct snapshot_head head;
    const uint8_t *part[FILTER_PARTS]; /* for se__filter_restore_part */
    uint64_t part_len[FILTER_PARTS];
    const uint8_t *buckets; /* the digests, as stored: se__snapshot_nodes */
    uint32_t buckets_n;
};

/* Appends the whole file's bytes. nodes: SNAPSHOT_BUCKETS digests, read before this call. */
SE_NODISCARD se_result se__snapshot_encode(const struct snapshot_head *head,
                                           const struct tier_node *nodes, const struct filter *f,
                                           struct buf *out);
/* *why (never NULL on failure): what is wrong with them, for a message. */
SE_NODISCARD bool se__snapshot_decode(const void *bytes, size_t len, struct snapshot *out,
                                      const char **why);
/* Fills SNAPSHOT_BUCKETS nodes. */
void se__snapshot_nodes(const struct snapshot *s, struct tier_node *nodes);

#endif
