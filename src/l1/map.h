/*
 * map - L1: the in-process concurrent hash map of items, and the home of their dirty state.
 *
 * Place in the flow:  submit -> [l1] -> dirty queue -> flush;  read -> [l1]
 *
 * An entry holds the newest item of one id that this engine knows. Its life:
 *
 *      put --> QUEUED --take--> IN FLIGHT --home--> STORED --unpin--> CLEAN --evict--> gone
 *                 ^                |  (a put while in flight queues it again)
 *                 +----requeue-----+
 *   QUEUED: in its partition's dirty queue. IN FLIGHT: a flush worker has the item. STORED: the
 *   home tier or the WAL has it, its copy for L2 is on the way. DEAD: the home tier refuses it and
 *   no WAL could take it; it stays until a newer put or an operator.
 *
 * Invariants
 *   I1  an entry never goes back to an older item: (version, record hash) only grows while it is in
 *       the map
 *   I2  an item is published and queued under one lock; an id is in the queue at most once
 *   I3  only CLEAN entries are evicted, expired by cache_ttl_ms or invalidated
 *   I4  used bytes (items, entries, tables, reservations, retired memory) never exceed bytes_max
 *   I5  removing an entry, and every invalidation, advances the epoch of its id, so that a load that
 *       began before cannot put back what it read
 *
 * Locks: reads of single ids take none, but for entries that are not clean or past their life. The
 * rest: one mutex a stripe, rank 10. The sink is called with it held; it may take the queue's lock
 * (rank 20), never block, and never call back.
 * Threads: any.  Memory: the map holds one reference per item; what it hands out is a reference for
 * the caller, and holds up no memory but that item's.
 */
#ifndef SE_L1_MAP_H
#define SE_L1_MAP_H

#include "item/item.h"
#include "metrics/metrics.h"

struct l1;

/* One dirty id in a partition's queue. Linked by flush/dirty; the rest is the map's. */
struct dirty_node {
    struct dirty_node *next;
    uint64_t hash;     /* of the id */
    uint64_t first_ms; /* mono: when the id became dirty; kept while newer writes
                          coalesce into it */
    size_t bytes;      /* of the item that queued it; kept for the queue's account until taken */
};

struct l1_sink {
    void *arg;
    /* Queues the node at the back, or (again) at the front. */
    void (*push)(void *arg, struct dirty_node *node, bool front);
};

struct l1_options {
    size_t bytes_max;
    uint64_t seed; /* secret: ids may be chosen by an attacker */
    struct l1_sink sink;
    struct metrics *metrics; /* borrowed; NULL: nothing is counted */
    /* No tier is configured: L1 is the items' home. Nothing but tombstones and expired items ever
     * leaves; cache_ttl_ms, the clean life and invalidations mean nothing; a full map is
     * SE_ERR_BACKPRESSURE, and clean items count as unevictable. */
    bool resident;
    bool huge_pages; /* asked for where items lie close together, if the system allows it */
};

/* SE_ERR_CONFIG if not even an empty map fits into bytes_max. */
SE_NODISCARD se_result se__l1_open(const struct l1_options *options, struct l1 **map);
/* Releases every item, dirty or not. No other call may be running. NULL is allowed. */
void se__l1_close(struct l1 *map);

uint64_t se__l1_hash(const struct l1 *map, const char *id, size_t id_len);

/* ---- writing ---- */

/* For a put that is going to come: have the processor fetch what it will look at, in two steps with
 * something else to do after each of them. The first gets the id's bucket, the second its entry. That
 * is for who is inside the map's epochs (base/epoch.h). */
void se__l1_expect_bucket(struct l1 *map, uint64_t hash);
struct epochs *se__l1_epochs(struct l1 *map);
void se__l1_expect_entry_inside(struct l1 *map, uint64_t hash);

/* Room and memory for one put of an item of this size, made before anything
 * happens that cannot be undone. */
struct l1_ticket {
    size_t bytes;
    void *entry;
};
/* Evicts clean items as needed. SE_ERR_BACKPRESSURE if not enough can be evicted, SE_ERR_TOO_BIG
 * if it could never fit, SE_ERR_NOMEM. */
SE_NODISCARD se_result se__l1_prepare(struct l1 *map, size_t id_len, size_t item_size,
                                      struct l1_ticket *ticket);
/* Allocates what tickets bring along before there is one, so that it is near when it is needed; NULL
 * without memory. The caller's until given to prepare_with, which takes it on success (NULL: it
 * allocates). */
void *se__l1_entry_memory(struct l1 *map);
/* For one that is still the caller's; NULL is allowed. */
void se__l1_entry_free(struct l1 *map, void *entry);
SE_NODISCARD se_result se__l1_prepare_with(struct l1 *map, size_t item_size, void *entry,
                                           struct l1_ticket *ticket);
void se__l1_cancel(struct l1 *map, struct l1_ticket *ticket);

enum l1_expect {
    L1_EXPECT_ANY,
    L1_EXPECT_ABSENT, /* no entry (and the epoch is unchanged), or a tombstone, or
                         an expired item */
    L1_EXPECT_VERSION /* the entry's item has exactly this version, or there is no entry
                         (and the epoch is unchanged) */
};
struct l1_put {
    bool dirty; /* false where no tier is configured: clean at once */
    enum l1_expect expect;
    uint64_t expected_version;
    uint64_t expected_epoch; /* with an expectation and no entry: the epoch of the read it is
                                based on must still be the stripe's */
    int64_t now_wall_ms;     /* for expiry with L1_EXPECT_ABSENT, and to tell versions
                                far ahead of the clock; */
    uint64_t clock;          /* so is this: what the clock has issued is not far ahead of it, though
                                the wall clock may have been set back since */
    /* The caller can give the write a newer version and try again. Set it wherever that is so:
     * between taking a version and this call a newer write of the id may have come, gone home
     * and been evicted, and without an entry there is nothing to compare with. */
    bool renewable;
    /* STORED: the caller's reference to the item is the map's from then on. */
    bool gives;
};
enum l1_stored {
    L1_STORED,
    L1_STALE,   /* the entry holds a newer item, or this put was made before. A loaded
                   copy of this item is neither */
    L1_CONFLICT /* the expectation does not hold */
};
struct l1_put_result {
    enum l1_stored stored;
    bool superseded;    /* STORED: an item that was QUEUED and not in flight was
                           replaced; it will never be flushed */
    bool dead_replaced; /* STORED: a DEAD item was replaced */
    bool winner_dirty;  /* STALE: the newer item is not yet in its home tier */
    bool
        winner_ends; /* STALE: the newer item is queued, or in flight: a batch will end it. Not what
                           was loaded over an older one that is in flight, nor a dead letter */
    /* STALE, renewable: nothing newer is here, but something newer may have been; or the
     * newer one was put with an expectation and is based on something older than this.
     * Nobody supersedes this write: it needs a version above `winner` and another try with
     * the same ticket, or it is lost */
    bool renew;
    uint64_t winner; /* STALE, CONFLICT: the version that is there (0: none) */
};
/* Publishes item (borrowed, unless `gives`: the map takes a reference of its own) under the version
 * guard and queues it. Uses the ticket up, except with `renew`. Cannot fail otherwise. If the id is of an
 * entry whose version is not below the item's because the clock could not know it (a load), the
 * caller takes a version above `winner` and tries again. */
void se__l1_put(struct l1 *map, uint64_t hash, se_item *item, struct l1_ticket *ticket,
                const struct l1_put *how, struct l1_put_result *result);

/* ---- flushing ---- */

/* The node has been taken off its queue: returns the newest item of its id (a reference) and marks
 * the entry IN FLIGHT. From then on the node may be queued again at any time: read its next and
 * first_ms before. Every item taken ends in exactly one of unpin (after home), requeue and bury;
 * items that come from elsewhere (a drain of the WAL) must not be given to these. */
se_item *se__l1_take(struct l1 *map, struct dirty_node *node);
/* The home tier or the WAL has `item` (as taken). The entry stays pinned. */
void se__l1_home(struct l1 *map, const se_item *item);
/* L2 has taken or failed to take it, or there is no L2: the entry is CLEAN
 * unless a newer put queued it. */
void se__l1_unpin(struct l1 *map, const se_item *item);
/* Neither tier nor WAL could take it. Back to the front of the queue with its first_ms, IN FLIGHT
 * ends. Returns false if a newer put has queued the id already: then this item is superseded. */
bool se__l1_requeue(struct l1 *map, const se_item *item, uint64_t first_ms);
/* The home tier refuses it and there is no WAL: DEAD. Returns false if a
 * newer item is there (superseded). */
bool se__l1_bury(struct l1 *map, const se_item *item);
/* The home tier holds a newer version than `item` (of any origin): unless QUEUED or DEAD, a copy up
 * to that version is not served any more. It is gone with its last pin; until then promote still
 * compares with it, so that an L2 not yet reached cannot show something older. */
void se__l1_lost(struct l1 *map, const se_item *item);

/* ---- reading ---- */

/* The item of an id, tombstones and expired items included (the caller looks), or NULL. A clean
 * copy past its cache_ttl_ms, or past the clean life, is none. Counts nothing. */
se_item *se__l1_get(struct l1 *map, uint64_t hash, const char *id, size_t id_len);
/* What threads counted in their own rows (l1/hit.h). */
uint64_t se__l1_hits(const struct l1 *map);
/* se__l1_get of each of n keys at once: hashes are known, so the processor fetches all before any is
 * compared. *items: a reference or NULL each. */
struct l1_key {
    uint64_t hash;
    const char *id;
    size_t id_len;
};
void se__l1_get_many(struct l1 *map, const struct l1_key *keys, size_t n, se_item **items);
/* Has the processor fetch what the next call for this hash reads first. For a caller that has
 * something else to do before that call. */
void se__l1_prefetch(struct l1 *map, uint64_t hash);
/* As se__l1_get, copying at most cap bytes instead of taking a reference. */
struct l1_copy {
    size_t len;
    int64_t expires_at_ms; /* 0: never */
    bool deleted;
};
bool se__l1_get_copy(struct l1 *map, uint64_t hash, const char *id, size_t id_len, void *buffer,
                     size_t cap, struct l1_copy *copy);
struct l1_view {
    uint64_t version;
    bool deleted, dirty, dead; /* dirty: not yet in home tier or WAL */
    int64_t expires_at_ms;
};
bool se__l1_look(struct l1 *map, uint64_t hash, const char *id, size_t id_len,
                 struct l1_view *view);

/* A load: take the epoch before asking a tier, then offer what was read (borrowed). Returns the
 * newest of item and entry (a reference); *unchanged says whether the epoch was unchanged (else
 * the result must not be shared with callers that came later). Without room nothing is cached. */
uint64_t se__l1_epoch(struct l1 *map, uint64_t hash);
se_item *se__l1_promote(struct l1 *map, uint64_t hash, se_item *item, uint64_t epoch,
                        bool *unchanged);

/* Forgets the clean copy of an id; of all ids with a prefix ("" : all). A copy that is not clean
 * yet is dropped as soon as it is. Advances epochs. */
void se__l1_invalidate(struct l1 *map, uint64_t hash, const char *id, size_t id_len);
void se__l1_invalidate_prefix(struct l1 *map, const char *prefix);

/* References to all entries' items for which match returns true (called with the stripe locked: it
 * must be short and pure). only_unconfirmed: only those not yet in the home tier (QUEUED, IN
 * FLIGHT, DEAD). *items is the caller's: se__free. */
SE_NODISCARD se_result se__l1_collect(struct l1 *map, bool only_unconfirmed,
                                      bool (*match)(void *arg, const se_item *item), void *arg,
                                      se_item ***items, size_t *n);

/* ---- upkeep (maintenance thread) ---- */

/* Evicts by the tan curve of used / bytes_max, drops copies past their life in a slice of the map,
 * frees detached items that no caller holds any more. */
void se__l1_tend(struct l1 *map, int64_t now_wall_ms, uint64_t now_mono_ms);
/* Clean items live at most this long from now on (other engines write
 * the same tiers); 0: no limit. */
void se__l1_set_clean_life(struct l1 *map, uint32_t ms);

struct l1_stats {
    size_t items;             /* live: neither tombstones nor expired by sweep */
    size_t bytes;             /* used, reservations included */
    size_t unevictable_bytes; /* of entries that are not CLEAN, and reservations */
    size_t detached_bytes, detached_items;
    size_t dirty_items; /* QUEUED or IN FLIGHT */
    size_t dead_items;
};
void se__l1_stats(const struct l1 *map, struct l1_stats *stats);

size_t se__l1_unevictable_bytes(const struct l1 *map); /* the same number alone, from few loads */

/* The tan curve M(p) of DESIGN.md: 1 below 0.75, 0 above 0.95. */
double se__l1_curve(double p);

#endif
