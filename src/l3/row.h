/*
 * row - one row of the item table, to and from an item.
 *
 * Invariants
 *   I1  decoding is total: any values, of any type, NULL or not, give an item or ROW_CORRUPT
 *   I2  a row that decodes fits its own hashes: content, record, Merkle leaf and bucket
 *   I3  what is written decodes to the same record
 *
 * `payload` holds content that is declared or found to be JSON and is valid UTF-8, `payload_blob`
 * everything else, packed content of any type too (packing.h): exactly one of them in a live row,
 * none in a tombstone. Hashes, leaf and type are those of the content as submitted. A tombstone keeps the
 * record hash of the write it stands for, which may be a put routed elsewhere; so its hash cannot
 * be computed from its columns, the leaf covers it instead.
 *
 * Threads: any; pure.
 */
#ifndef SE_L3_ROW_H
#define SE_L3_ROW_H

#include "l3/packing.h"
#include "tier/tier.h"

enum db_type { DB_NULL, DB_INT, DB_TEXT, DB_BLOB };
struct db_value {
    enum db_type type;
    int64_t number;    /* DB_INT */
    const void *bytes; /* DB_TEXT, DB_BLOB; borrowed */
    size_t len;
};
static inline struct db_value se__db_int(int64_t number)
{
    return (struct db_value){.type = DB_INT, .number = number};
}
static inline struct db_value se__db_text(const char *text, size_t len)
{
    return (struct db_value){.type = DB_TEXT, .bytes = text, .len = len};
}
static inline struct db_value se__db_blob(const void *bytes, size_t len)
{
    return (struct db_value){.type = DB_BLOB, .bytes = bytes, .len = len};
}

/* The columns in the order in which every SELECT of whole rows names them. */
enum row_column {
    COL_ID,
    COL_VERSION,
    COL_RECORD_HASH,
    COL_UPDATED_AT,
    COL_STATE,
    COL_CONTENT_TYPE,
    COL_ENCODING,
    COL_CONTENT_HASH,
    COL_PAYLOAD,
    COL_PAYLOAD_BLOB,
    COL_BUCKET,
    COL_LEAF_HI,
    COL_LEAF_LO,
    COL_CACHE_TTL,
    COL_EXPIRES_AT,
    COL_DELETED,
    COL_ROUTE,
    ROW_COLUMNS
};
/* An INSERT's parameters are the columns and, last, the earliest time
 * from which the retention counts. */
#define ROW_PURGE_FROM ROW_COLUMNS
#define ROW_PARAMS (ROW_COLUMNS + 1)

struct sql_row {
    const se_item *item; /* borrowed: lives as long as the write */
    uint64_t version;
    uint8_t record_hash[SE_HASH_SIZE];
    uint8_t content_hash[SE_HASH_SIZE];
    struct db_value value[ROW_PARAMS]; /* points into this struct and the item: a row does
                                          not move */
};

/* The row of a write of kind ITEM or TOMBSTONE. packer: the content is packed where that is worth it,
 * and lies in the packer then; NULL: it stays plain. */
void se__row_init(const se_item *item, enum record_kind kind, struct packer *packer,
                  struct sql_row *row);
/* Bytes the row takes in a client packet, rounded up. */
size_t se__row_bytes(const struct sql_row *row);

enum row_result { ROW_ITEM, ROW_CORRUPT, ROW_NOMEM };
/* True if a dictionary has to be fetched first (u->wanted): decoded now, the row would count as
 * corrupt. Never true for a dictionary that was tried. */
bool se__row_wants(const struct db_value *columns, unsigned n, struct unpacker *u);
/* u NULL: the content columns were not asked for; the item has none, and its content hash is as
 * stored. flaw: filled with ROW_CORRUPT; NULL: nobody wants to know. Without header_fits its version
 * and record_hash are what the columns say, where they say anything. */
SE_NODISCARD enum row_result se__row_decode(const struct db_value *columns, unsigned n,
                                            struct unpacker *u, struct tier_flaw *flaw,
                                            se_item **item);
/* The same for a row whose id is, byte for byte, one that a caller has asked for: a valid one. */
SE_NODISCARD enum row_result se__row_decode_of(const struct db_value *columns, unsigned n,
                                               struct unpacker *u, struct tier_flaw *flaw,
                                               se_item **item);
/* The same checks; what the row says goes into a sight of its id, and the content is hashed where it
 * lies. ROW_CORRUPT is a sight too (found, flaw). */
SE_NODISCARD enum row_result se__row_look(const struct db_value *columns, unsigned n,
                                          struct unpacker *u, struct tier_sight *sight);
/* XXH3-128 over all columns as they are, each with its type, its length and the hash of its bytes:
 * rows with the same hash are the same. */
void se__row_hash(const struct db_value *columns, unsigned n, uint8_t out[SE_HASH_SIZE]);
/* Orders bytes as the tables do. */
int se__row_compare(const void *a, size_t a_len, const void *b, size_t b_len);

#endif
