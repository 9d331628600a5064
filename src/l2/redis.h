/*
 * redis - L2: items in Redis, one key each, guarded by version.
 *
 * Implements tier.h (write, read, list, meta, probe, prepare) and what only a cache beside a home
 * tier needs: leases for read-through, voiding, generations. Formats: item/record.h; scripts:
 * l2/scripts.h; page: docs/l2.md.
 *
 * Laws kept here
 *   - an item's key is never deleted: ITEM, TOMBSTONE, FLOOR or LEASE; a LEASE expires after 30 s,
 *     TOMBSTONE (unless `tombstone_ms` says otherwise) and FLOOR after 10 minutes
 *   - every script call carries a deadline in the server's own time and does nothing after it
 *   - a record of another generation, and bytes that do not decode, are misses and may be
 *     overwritten by any write
 *   - engine keys are `<prefix>\x01...`: no id may contain a control byte
 *   - a timeout closes the connection
 *   - a server that is not the one that was accepted (run id, replication id) is not read or
 *     written until se__redis_accept: reads are misses (TIER_VOID), writes TIER_UNWELL
 *
 * Threads: any.  Memory: se__redis_open returns a tier; its close frees all.
 */
#ifndef SE_L2_REDIS_H
#define SE_L2_REDIS_H

#include "base/log.h"
#include "base/url.h"
#include "tier/tier.h"

struct redis;

struct redis_options {
    const struct url *url; /* borrowed for the call */
    const char *prefix;    /* copied */
    uint32_t timeout_ms;   /* the longest one round trip may take, connecting included */
    unsigned read_connections, workers;
    bool home; /* no L3: generation 0, every server is accepted, deletes
                  are TOMBSTONEs all the same */
    const struct se__log *log;
    uint64_t tombstone_ms; /* life of a TOMBSTONE; 0: 10 minutes, with `home` a day;
                              never less than 10 minutes */
};

/* Connects lazily. */
SE_NODISCARD se_result se__redis_open(const struct redis_options *options, struct tier *tier,
                                      struct redis **redis);

/* "runid/replid" of the server last connected to; "" : none yet. True if it is the accepted one. */
bool se__redis_identity(struct redis *r, char identity[128]);
/* From now on this server and generation are the ones to read and write. Not used with `home`. */
void se__redis_accept(struct redis *r, const char *identity, uint64_t generation);
uint64_t se__redis_generation(struct redis *r);

/* A token for one read-through of one id. */
struct redis_lease {
    uint8_t token[SE_HASH_SIZE];
    bool taken; /* out */
};
/* A read may take the lease itself (tier_read.wants_lease), in one round trip: on Redis 7, and
 * while many of the latest reads found nothing. Else, and for what is not simply absent: */
/* Takes a lease on every id that read as TIER_ABSENT, TIER_VOID by another generation, or
 * TIER_CORRUPT with the same header still there (reads[i].seen); tombstones, floors and others'
 * leases are left. One round trip. */
struct tier_reply se__redis_lease(struct redis *r, const struct tier_read *reads,
                                  struct redis_lease *leases, size_t n, uint64_t deadline_ms);
/* Stores items (NULL: skip) in place of their own leases. Sent and not waited for, unless they are
 * more than 64 KiB; not being stored is no fault. What is asked on the same connection later finds
 * it done. */
struct tier_reply se__redis_fill(struct redis *r, se_item *const *items,
                                 const struct redis_lease *leases, size_t n, uint64_t deadline_ms);
/* Replaces every current ITEM among the ids by a FLOOR of its version, whatever does not decode by
 * a FLOOR of no version, and ends every LEASE on them, so that no read-through that is under way stores what it read before. Two round trips.
 * TIER_CONFLICT: some id was being written all the time. */
struct tier_reply se__redis_void(struct redis *r, const char *const *ids, size_t n,
                                 uint64_t deadline_ms);

#endif
