/*
 * store - the SQL tier itself, written once over db.h: calls, reads, writes, scans, surveys, digests,
 * mending, meta, purge.
 *
 * Place in the flow:  guarded -> tier_ops -> [store] -> db_ops (mysql or sqlite)
 *
 * Every call takes a connection from a pool, arms it with the deadline, runs a body and gives the
 * connection back. A body whose connection broke is run once more on another one, unless it broke
 * at COMMIT, the deadline struck or the call was interrupted.
 *
 * Threads: any.  Memory: se__store_open returns through *tier; the tier's close frees all.
 */
#ifndef SE_L3_STORE_H
#define SE_L3_STORE_H

#include "l3/db.h"
#include "l3/l3.h"
#include "l3/packing.h"
#include "tier/combine.h"
#include "tier/pool.h"

#include <stdatomic.h>

struct store {
    struct tier_ops calls; /* with the driver's name */
    const struct db_ops *db;
    void *driver; /* owned */
    char table[64];
    char where[256]; /* address for messages, without user and password */
    struct pool *readers, *writers;
    struct combiner *sharing; /* of statements by reads */
    uint32_t timeout_ms;      /* of one call; callers may give less */
    int64_t retention_ms;
    bool read_only;
    unsigned writers_max;
    const struct se__log *log;
    struct se__log_gate corrupt_gate, schema_gate;
    _Atomic size_t content_max;  /* relaxed: a number, 0 until the first connection */
    _Atomic int connect_code;    /* relaxed: the server's error number of the last failed connect */
    _Atomic unsigned interrupts; /* see se__store_call */
    se_compression compression;
    struct packing *packing;
    struct se__log_gate dictionary_gate;
    _Atomic uint64_t dictionary_due_ms; /* relaxed: when to ask again which one is the newest */
};

/* Takes `driver` in any case. No connection is made yet. */
SE_NODISCARD se_result se__store_open(const struct l3_options *options, const struct db_ops *db,
                                      void *driver, struct tier *tier);
/* `table` of the options, checked. SE_ERR_CONFIG. */
SE_NODISCARD se_result se__store_check_table(const struct l3_options *options);

/* Fills what can be used again after a failed attempt; must therefore begin by undoing one. */
typedef struct db_result (*store_body)(struct store *s, void *connection, void *arg);
struct tier_reply se__store_call(struct store *s, struct pool *pool, uint64_t deadline_ms,
                                 store_body body, void *arg);
/* Runs the body inside a transaction. */
struct db_result se__store_transaction(struct store *s, void *connection, store_body body,
                                       void *arg);
/* Runs one statement of the fixed set on a connection. */
struct db_result se__store_run(struct store *s, void *connection, enum sql_statement which,
                               const struct db_value *params, unsigned n, db_row_fn row, void *arg);
/* REFUSED if a content is longer than the database takes. */
struct db_result se__store_check_size(struct store *s, void *connection,
                                      const struct tier_write *writes, size_t n);
/* Asks the database for the dictionary that the unpacker wants, which counts as tried then, found or
 * not. No statement may be running on the connection. */
struct db_result se__store_fetch_dictionary(struct store *s, void *connection, struct unpacker *u);
/* Finds out which dictionary new rows are to be packed with, if it is time to. */
struct db_result se__store_renew_dictionary(struct store *s, void *connection);
/* A packer with room for the contents of these writes; NULL: they stay plain. */
struct packer *se__store_packer(struct store *s, const struct tier_write *writes, size_t n);
/* Takes note of a row that does not decode. */
void se__store_corrupt(struct store *s, const void *id, size_t id_len);

/* The tier's calls; see tier.h. */
struct tier_reply se__store_write(void *tier, unsigned worker, struct tier_write *writes, size_t n,
                                  uint64_t deadline_ms);
struct tier_reply se__store_read(void *tier, struct tier_read *reads, size_t n,
                                 uint64_t deadline_ms);
struct tier_reply se__store_read_now(void *tier, struct tier_read *reads, size_t n,
                                     uint64_t deadline_ms); /* alone */
struct tier_reply se__store_scan(void *tier, const struct tier_scan *scan, struct tier_page *page,
                                 uint64_t deadline_ms);
struct tier_reply se__store_count(void *tier, const struct tier_scan *scan, uint64_t *count,
                                  uint64_t deadline_ms);
struct tier_reply se__store_meta_get(void *tier, const char *name, struct buf *value, bool *found,
                                     uint64_t deadline_ms);
struct tier_reply se__store_meta_put(void *tier, const char *name, const char *value,
                                     uint64_t deadline_ms);
struct tier_reply se__store_meta_add(void *tier, const char *name, const char *value,
                                     struct buf *value_now, uint64_t deadline_ms);
struct tier_reply se__store_meta_delete(void *tier, const char *name, uint64_t deadline_ms);
struct tier_reply se__store_meta_list(void *tier, const char *prefix,
                                      void (*visit)(void *arg, const char *name, const char *value),
                                      void *arg, uint64_t deadline_ms);
struct tier_reply se__store_survey(void *tier, const struct tier_survey *survey,
                                   struct tier_cursor *cursor, struct tier_sights *sights,
                                   uint64_t deadline_ms);
struct tier_reply se__store_digest(void *tier, const struct tier_digest *digest,
                                   struct tier_node *nodes, uint64_t deadline_ms);
struct tier_reply se__store_mend(void *tier, const struct tier_read *seen, struct tier_write *write,
                                 uint64_t deadline_ms);
struct tier_reply se__store_purge(void *tier, size_t limit, size_t *purged, uint64_t deadline_ms);

/* One meta value inside a body. */
struct db_result se__store_meta_read(struct store *s, void *connection, enum sql_statement which,
                                     const char *name, struct buf *value, bool *found);
struct db_result se__store_meta_write(struct store *s, void *connection, enum sql_statement which,
                                      const char *name, const char *value);
/* The purge floor: versions at or below it have been purged; 0: none. which:
 * SQL_FLOOR_SHARED or SQL_FLOOR_ALONE. */
struct db_result se__store_floor(struct store *s, void *connection, enum sql_statement which,
                                 uint64_t *floor);
/* The least byte string greater than every one that begins with prefix, or "\xff" (above all UTF-8)
 * where there is none. At most len bytes are written, but at least one. Returns their number. */
size_t se__store_successor(const char *prefix, size_t len, char *out);

#endif
