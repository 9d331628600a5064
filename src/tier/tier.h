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

struct tier_read {
    const char *id;
    size_t id_len;
    enum tier_found found;            /* out */
    se_item *item;                    /* out, with TIER_HIT: a reference */
    uint8_t seen[RECORD_HEADER_SIZE]; /* out, L2 with TIER_CORRUPT or TIER_VOID: the
                                         header as it is there */
    size_t seen_len;
};

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
