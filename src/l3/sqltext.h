/*
 * sqltext - every statement of this room, for both dialects, with the table's name in it.
 *
 * The texts are made once, at open; connections prepare them when first needed.
 *
 * Threads: any; read-only after init.  Memory: se__sqltext_done frees.
 */
#ifndef SE_L3_SQLTEXT_H
#define SE_L3_SQLTEXT_H

#include "base/error.h"

enum sql_dialect { SQL_MYSQL, SQL_SQLITE };

/* Statements over a list of ids come for these list lengths; shorter lists repeat their last id. */
#define SQL_LISTS 4
#define SQL_LIST_MAX 1000u
extern const unsigned SE__SQL_LIST[SQL_LISTS]; /* 1, 10, 100, 1000 */
#define SQL_ROWS 3
extern const unsigned SE__SQL_ROWS[SQL_ROWS]; /* 1, 10, 100: rows of one INSERT */

/* Surveys (tier.h): one statement for each range, depth, and whether tombstones are left out. */
enum sql_range {
    SQL_BY_ID,       /* from, limit: ids >= from */
    SQL_BY_ID_UNTIL, /* from, until, limit */
    SQL_IN_BUCKET,   /* bucket, from, limit: what is left of one bucket */
    SQL_BUCKETS,     /* first, last, limit: whole buckets, by (bucket, id) */
    SQL_NO_BUCKET,   /* from, limit: rows whose bucket is NULL or no number, by id */
    SQL_RANGES
};
#define SQL_DEPTHS 3 /* enum tier_depth: ids (with the bucket, if by bucket), no content, rows */

enum sql_statement {
    SQL_READ = 0,                          /* + 0..3: ids -> rows (ROW_COLUMNS) */
    SQL_VERSIONS = SQL_READ + SQL_LISTS,   /* + 0..3: ids -> id, version, record_hash */
    SQL_DELETE = SQL_VERSIONS + SQL_LISTS, /* + 0..3: ids */
    SQL_UPSERT = SQL_DELETE + SQL_LISTS,   /* + 0..2: ROW_PARAMS each */
    SQL_UPDATE = SQL_UPSERT + SQL_ROWS,    /* ROW_PARAMS in their order but id, then id,
                                              version, version, record hash */
    SQL_TOUCH,           /* SQLite: ROW_PARAMS; the upsert of a row that is there and
                            keeps its state */
    SQL_SCAN_PREFIX,     /* lower, after, upper, now, limit -> rows */
    SQL_SCAN_PREFIX_IDS, /* the same without content */
    SQL_SCAN_STATE,      /* state, after, now, limit -> rows */
    SQL_SCAN_STATE_IDS,
    SQL_COUNT_PREFIX, /* lower, after, upper, now */
    SQL_COUNT_STATE,  /* state, after, now */
    SQL_META_GET,     /* name -> value */
    SQL_META_PUT,     /* name, value */
    SQL_META_ADD,     /* name, value: nothing if the name is there */
    SQL_META_RAISE,   /* name, value: a number, stored only where it is greater */
    SQL_META_DELETE,  /* name */
    SQL_META_LIST,    /* lower, upper -> name, value */
    SQL_FLOOR_SHARED, /* -> value: nobody raises it until we commit */
    SQL_FLOOR_ALONE,  /* -> value: nobody reads it under a lock until we commit */
    SQL_PURGE_PICK,   /* retention, limit -> id, version */
    SQL_SURVEY,       /* + se__sql_survey */
    /* Digests: -> node, leaf_hi, leaf_lo, count */
    SQL_DIGEST_ALL = SQL_SURVEY + SQL_RANGES * SQL_DEPTHS * 2, /* now: one node of all rows */
    SQL_DIGEST_NODES,                                          /* shift, now: all rows */
    SQL_DIGEST_BUCKETS,                                        /* shift, first, last, now */
    SQL_DIGEST_NO_BUCKET,                                      /* now */
    SQL_DIGEST_IDS,                                            /* lower, upper, now */
    SQL_LOCK_ROW,   /* id -> row, nobody changes it until we commit */
    SQL_READ_ASKED, /* SQLite: -> rows of the list that sqlite_asked.h shows; instead of the id,
                       which of them */
    SQL_REPLACE,    /* ROW_PARAMS in their order but id, then id: whatever is there */
    SQL_STATEMENTS
};
static inline enum sql_statement se__sql_survey(enum sql_range range, unsigned depth,
                                                bool live_only)
{
    return (enum sql_statement)(SQL_SURVEY + ((unsigned)range * SQL_DEPTHS + depth) * 2 +
                                live_only);
}

struct sqltext {
    char *text[SQL_STATEMENTS];
};

SE_NODISCARD se_result se__sqltext_init(enum sql_dialect dialect, const char *table,
                                        uint32_t retention_s, struct sqltext *t);
void se__sqltext_done(struct sqltext *t);
/* The smallest list length that takes n ids, as an index; n beyond SQL_LIST_MAX: the last. */
unsigned se__sql_list_for(size_t n);

#endif
