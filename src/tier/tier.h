/*
 * tier - the interface that Redis, MySQL, SQLite and test fakes implement.
 *
 * Place in the flow:  flush -> guarded (breaker, retry) -> [tier];  read -> guarded -> [tier]
 * A tier stores records under ids with a version guard: no older version ever replaces a newer one,
 * whatever the order of calls. The order is (version, record hash). The guard is in the write
 * itself.
 *
 * Every call takes a deadline (mono ms) and returns by it, plus scheduling; a connection that timed
 * out is closed, so that a late reply cannot answer the next command. The text of a failure is in
 * se_errmsg(), without passwords.
 *
 * Threads: any; writes of one `worker` number are caller-serialised and have a connection of their
 * own.
 * Memory: ids and items passed in are borrowed; items handed out are references for the caller.
 */
#ifndef SE_TIER_TIER_H
#define SE_TIER_TIER_H

#include "base/buf.h"
#include "item/record.h"

enum tier_fault {
    TIER_FINE,     /* the call was answered: look at each write or read */
    TIER_CONFLICT, /* deadlock, lock wait, serialisation failure: nothing
                      applied; repeat the whole call */
    TIER_REFUSED,  /* the backend refuses a record of this call for what it is; nothing applied
                      (where the tier has transactions): split to find it */
    TIER_UNWELL    /* no connection, no answer in time, read-only, shutting down, no
                      space, no privilege: back off */
};

struct tier_reply {
    enum tier_fault fault;
    int code;       /* the backend's own error number, 0: none */
    bool timed_out; /* the deadline ended it: do not try again at once */
    bool rejected;  /* not asked at all: the circuit is open, or the server is not the accepted
                       one; no failure of the backend */
};

enum tier_state { TIER_NOT_TRIED, TIER_STORED, TIER_NEWER };

/* One write of a batch. kind says what this tier gets: RECORD_ITEM,
 * RECORD_TOMBSTONE or RECORD_FLOOR (L2 only). */
struct tier_write {
    se_item *item;
    enum record_kind kind;
    enum tier_state state; /* out: STORED, or NEWER: the tier holds a newer record (or
                              has purged one) */
    uint64_t newer;        /* out, with TIER_NEWER: that version, 0 if not known */
};

enum tier_found {
    TIER_ABSENT, /* nothing under this id */
    TIER_HIT,    /* item: maybe a tombstone (se__item_deleted) */
    TIER_VOID,   /* L2: floor, lease or another generation: a miss */
    TIER_CORRUPT /* bytes that do not decode or do not fit their hash */
};

/* Why content that is packed cannot be had. */
enum tier_unpack {
    TIER_PACK_NONE,       /* nothing of the kind: its hash is wrong */
    TIER_PACK_DAMAGED,    /* what is packed does not unpack */
    TIER_PACK_DICTIONARY, /* its dictionary (number) is not in the database, or damaged there */
    TIER_PACK_TOO_LONG,   /* it would be longer than max_payload_bytes */
    TIER_PACK_ENCODING    /* in a way (number) that this library does not know: maybe no damage */
};

/* What is wrong with a record that is TIER_CORRUPT. */
struct tier_flaw {
    bool header_fits; /* its header is whole (L2: the check; L3: leaf, record hash and bucket fit):
                         version and record_hash are believable, and only the content is not */
    uint64_t version;
    uint8_t record_hash[SE_HASH_SIZE];
    uint8_t expected[SE_HASH_SIZE]; /* with header_fits: the content's hash as stored, */
    uint8_t actual[SE_HASH_SIZE];   /* and that of the content (zeros if there is none to be had) */
    enum tier_unpack pack;          /* with header_fits */
    int64_t number;
};
/* With header_fits: what is wrong, as the end of "what is there ...". */
void se__tier_flaw_text(const struct tier_flaw *flaw, char *out, size_t cap);

struct tier_read {
    const char *id;
    size_t id_len;
    enum tier_found found;            /* out */
    se_item *item;                    /* out, with TIER_HIT: a reference */
    uint8_t seen[RECORD_HEADER_SIZE]; /* out. L2 with TIER_CORRUPT or TIER_VOID: the header as it
                                         is there. SQL with TIER_CORRUPT: a hash of the whole row,
                                         for mend */
    size_t seen_len;
    struct tier_flaw flaw; /* out, with TIER_CORRUPT */
    /* in: on the caller's thread told of an item (borrowed) as soon as it has come, others may still be
     * on their way; of another one if the call is repeated. What the call comes to is what it
     * answers. NULL: nobody waits for it, and for those who share the call of another. */
    void (*on_item)(void *arg, se_item *item);
    void *arg;
    /* L2: with TIER_ABSENT it may have put a lease there (l2/redis.h) */
    bool wants_lease;            /* in */
    bool leased;                 /* out, with */
    uint8_t token[SE_HASH_SIZE]; /* its token */
};

/* For tiers: a read's item has come. */
static inline void se__tier_came(const struct tier_read *read)
{
    if (read->on_item && read->found == TIER_HIT)
        read->on_item(read->arg, read->item);
}

/* A page of live, unexpired items in id order. Exactly one of prefix
 * (may be "") and state is used. */
struct tier_scan {
    const char *prefix; /* NULL: by state */
    const char *state;  /* NULL: by prefix */
    const char *after;  /* only ids greater than this; "" : from the start */
    size_t items_max;   /* >= 1 */
    size_t bytes_max;   /* the page ends after the item that reaches it */
    bool ids_only;      /* items come without content (content_len 0) */
};
struct tier_page {
    se_item **items; /* each a reference; the array is the caller's: se__tier_page_done */
    size_t n;
    bool more;      /* the page was cut: ask again after the last id */
    size_t corrupt; /* rows left out because they do not decode or do not fit their hash */
};
void se__tier_page_done(struct tier_page *page);

struct tier_ids {
    char **ids; /* sorted bytewise, unique */
    size_t n;
};
void se__tier_ids_done(struct tier_ids *ids);

/* ---- looking at everything a tier holds ---- */

enum tier_depth {
    TIER_IDS,     /* SQL only: ids alone, found = TIER_HIT and nothing else set */
    TIER_HEADERS, /* all but the content, checked as far as it can be without it */
    TIER_CONTENTS /* contents are read and hashed too */
};
enum tier_order {
    TIER_BY_ID,    /* SQL: id order, by the primary key. Redis: in no order, an id may come twice */
    TIER_BY_BUCKET /* SQL only: (bucket, id) order, by the index over buckets */
};

/* One record as a tier holds it. */
struct tier_sight {
    const char *id; /* lent by the page, NUL-terminated; with TIER_CORRUPT maybe no valid id */
    size_t id_len;
    enum tier_found found; /* HIT; L2: VOID for floors, leases, other generations; CORRUPT */
    enum record_kind kind; /* with HIT: ITEM or TOMBSTONE. With VOID: as decoded */
    uint8_t route;
    uint16_t bucket; /* of the id, computed */
    uint64_t version;
    uint8_t record_hash[SE_HASH_SIZE];
    int64_t expires_at_ms;
    size_t content_len;
    struct tier_flaw flaw; /* with CORRUPT */
};
struct tier_sights {
    struct tier_sight *sights;
    size_t n, cap;
    struct buf bytes; /* the ids */
};

/* Where a survey stands; all-zero: at the start. A page that ended in a fault leaves it as it was.
 * The caller only looks at `done`. */
struct tier_cursor {
    bool begun, done;
    uint32_t bucket;  /* SQL by bucket: the last bucket seen */
    struct buf after; /* SQL: the last id seen, as it is stored */
    char scan[24];    /* Redis: SCAN's cursor */
    char server[128]; /* Redis: the server that gave it */
};
void se__tier_cursor_done(struct tier_cursor *cursor);

struct tier_survey {
    enum tier_depth depth;
    enum tier_order order;
    bool live_only;    /* SQL: without tombstones. (By bucket and TIER_IDS: then rows are looked at,
                       not only the index) */
    const char *after; /* by id: only ids > this; NULL or "": from the start */
    const char *until; /* by id: only ids <= this; NULL or "": no end */
    uint32_t bucket_first, bucket_last; /* by bucket: inclusive, 0..65535 */
    size_t items_max; /* of a page; Redis: about. With TIER_CONTENTS a page also ends after the
                             record that reaches bytes_max */
    size_t bytes_max;
};

/* Merkle node `i` covers the buckets whose `bucket >> shift` is i. */
struct tier_node {
    uint8_t digest[SE_HASH_SIZE]; /* XOR of the stored leaves (leaf_hi, leaf_lo) */
    uint64_t count;
};
struct tier_digest {
    const char *prefix;                 /* NULL: by buckets; else one node of all ids under it */
    uint32_t bucket_first, bucket_last; /* inclusive */
    unsigned shift;
    int64_t now_wall_ms; /* rows that have expired by then are left out; 0: none is */
};

struct tier_ops {
    const char *name; /* "redis", "mysql", "sqlite" */

    /* Connects and checks or creates what the tier needs (schema, scripts). Idempotent; called at
     * open and again while the tier is down. SE_ERR_CONFIG: it can be reached and may not be
     * used (schema of a newer version). */
    se_result (*prepare)(void *tier, uint64_t deadline_ms);
    /* The cheapest round trip. */
    struct tier_reply (*probe)(void *tier, uint64_t deadline_ms);

    /* writes are sorted by id, ids unique. With TIER_FINE every state is set. SQL tiers apply all
     * in one transaction or nothing; Redis may have applied some before a fault, and repeating
     * is harmless. */
    struct tier_reply (*write)(void *tier, unsigned worker, struct tier_write *writes, size_t n,
                               uint64_t deadline_ms);
    /* One round trip for all. With a fault no item is handed out: every item is NULL. */
    struct tier_reply (*read)(void *tier, struct tier_read *reads, size_t n, uint64_t deadline_ms);

    /* SQL */
    struct tier_reply (*scan)(void *tier, const struct tier_scan *scan, struct tier_page *page,
                              uint64_t deadline_ms);
    /* SQL */
    struct tier_reply (*count)(void *tier, const struct tier_scan *scan, uint64_t *count,
                               uint64_t deadline_ms);
    /* Redis */
    struct tier_reply (*list)(void *tier, const char *prefix, struct tier_ids *ids,
                              uint64_t deadline_ms);

    /* Small named values of the engine's own (never colliding with ids). */
    struct tier_reply (*meta_get)(void *tier, const char *name, struct buf *value, bool *found,
                                  uint64_t deadline_ms);
    struct tier_reply (*meta_put)(void *tier, const char *name, const char *value,
                                  uint64_t deadline_ms);
    /* Stores value only if the name is new; *value_now is what is stored then. */
    struct tier_reply (*meta_add)(void *tier, const char *name, const char *value,
                                  struct buf *value_now, uint64_t deadline_ms);
    struct tier_reply (*meta_delete)(void *tier, const char *name, uint64_t deadline_ms);
    /* Visits every name that begins with prefix. */
    struct tier_reply (*meta_list)(void *tier, const char *prefix,
                                   void (*visit)(void *arg, const char *name, const char *value),
                                   void *arg, uint64_t deadline_ms);

    /* Removes up to `limit` rows whose purge time (server clock) has passed, after
     * storing the highest purged version. */
    /* SQL */
    struct tier_reply (*purge)(void *tier, size_t limit, size_t *purged, uint64_t deadline_ms);

    /* The next page of records; `sights` is emptied first and its memory used again. SQL: rows that
     * do not decode are sights too (CORRUPT). Never in the way of writers: no locks, a page at a
     * time on a reader's connection. */
    struct tier_reply (*survey)(void *tier, const struct tier_survey *survey,
                                struct tier_cursor *cursor, struct tier_sights *sights,
                                uint64_t deadline_ms);
    /* Fills nodes[0 .. (bucket_last >> shift) - (bucket_first >> shift)] (with a prefix: nodes[0])
     * from live rows, by an aggregate in the database. */
    /* SQL */
    struct tier_reply (*digest)(void *tier, const struct tier_digest *digest,
                                struct tier_node *nodes, uint64_t deadline_ms);
    /* Puts write->item in place of the row that was read as TIER_CORRUPT, if it is still exactly
     * that row (seen->seen), whatever version it claims: compare and set in one transaction.
     * write->state: STORED, or NEWER if the row is another one by now. */
    /* SQL */
    struct tier_reply (*mend)(void *tier, const struct tier_read *seen, struct tier_write *write,
                              uint64_t deadline_ms);

    /* Ends the calls that are under way, as if their deadlines had passed; later calls are not
     * affected. NULL: its calls are short. */
    void (*interrupt)(void *tier);
    size_t (*payload_max)(void *tier);   /* longest content it takes, 0: not known yet
                                            or no limit */
    unsigned (*writers_max)(void *tier); /* how many workers may write side by side */
    void (*close)(void *tier);           /* no other call may be running */
};

struct tier {
    const struct tier_ops *ops; /* NULL: this tier is not configured */
    void *self;
};

static inline struct tier_reply se__tier_fine(void)
{
    return (struct tier_reply){.fault = TIER_FINE};
}

#endif
