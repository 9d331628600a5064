/*
 * rows - rows of the item table as a hostile database may give them, for fuzz_row, fuzz_store and
 * fuzz_sqlite.
 *
 * A row is a true one, made of an item that the input describes, with some of its columns spoilt; or
 * one whose columns are all the input's. A column may be of any type, whatever its name.
 */
#ifndef SE_TESTS_FUZZ_ROWS_H
#define SE_TESTS_FUZZ_ROWS_H

#include "fuzz/fuzz.h"

#include "item/item.h"
#include "l3/row.h"

enum {
    ROW_JSON = 1,
    ROW_DELETED = 2,
    ROW_STATE = 4,
    ROW_TIMES = 8,
    ROW_WILD = 16,
    ROW_PACKED = 32
};

struct fuzz_row {
    struct db_value value[ROW_PARAMS];
    struct sql_row truth; /* what value[] was, if it is not wild */
    se_item *item;
    uint8_t *copies[ROW_COLUMNS + 1]; /* bytes in memory of exactly their size */
    unsigned copies_n;
};

static inline struct db_value row_value(struct fuzz_row *row, struct input *in)
{
    static const uint8_t SIZES[] = {0, 1, 5, SE_HASH_SIZE, 32, 64, 255};
    uint8_t how = take_byte(in);
    struct db_value v = {.type = (enum db_type)(how % 4)};
    size_t len = SIZES[(how >> 2) % sizeof SIZES];
    if (v.type == DB_NULL)
        return v;
    if (v.type == DB_INT) {
        for (size_t i = 0; i < 1 + len % 8; i++)
            v.number = (int64_t)((uint64_t)v.number << 8 | take_byte(in));
        v.number = how & 0x80 ? ~v.number : v.number;
        return v;
    }
    v.bytes = row->copies[row->copies_n++] = take_copy(in, len, false, &v.len);
    return v;
}

static inline se_item *row_item(struct input *in, uint8_t how)
{
    char id[64], state[SE_STATE_MAX + 1];
    size_t id_len, state_len, len;
    char *content;
    id_len = 1 + take_byte(in) % 8;
    for (size_t i = 0; i < id_len; i++)
        id[i] = (char)('a' + take_byte(in) % 26);
    id[id_len] = '\0';
    state_len = how & ROW_STATE ? take_byte(in) % (SE_STATE_MAX + 1) : 0;
    memset(state, 's', sizeof state);
    state[state_len] = '\0';
    uint64_t version = (uint64_t)take_byte(in) << 52 | take_byte(in);
    content = (char *)take_copy(in, take_byte(in) * 2u, true, &len);
    struct item_spec spec = {
        .id = id,
        .id_len = id_len,
        .content = content,
        .content_len = how & ROW_DELETED ? 0 : len,
        .version = version,
        .updated_at_ms = take_byte(in) * 1000,
        .expires_at_ms = how & ROW_TIMES && !(how & ROW_DELETED) ? take_byte(in) : 0,
        .cache_ttl_ms = how & ROW_TIMES ? take_byte(in) : 0,
        .state = state,
        .content_type = how & ROW_JSON ? SE_CONTENT_JSON : SE_CONTENT_BINARY,
        .route = (uint8_t)(1 + take_byte(in) % ITEM_ROUTE_ALL),
        .deleted = (how & ROW_DELETED) != 0,
    };
    se_item *item = se__item_new(&spec);
    must(item != NULL);
    free(content);
    return item;
}

/* Bytes of the row itself, so that a step beyond them is seen. */
static inline void row_own(struct fuzz_row *row, unsigned column)
{
    struct db_value *v = &row->value[column];
    if (v->type != DB_TEXT && v->type != DB_BLOB)
        return;
    uint8_t *copy = malloc(v->len + !v->len);
    must(copy != NULL && row->copies_n <= ROW_COLUMNS);
    if (v->len)
        memcpy(copy, v->bytes, v->len);
    v->bytes = row->copies[row->copies_n++] = copy;
}

/* One column gets another value, or another type, or a bit of it turns. */
static inline void row_spoil(struct fuzz_row *row, struct input *in)
{
    uint8_t how = take_byte(in);
    unsigned column = how % ROW_COLUMNS;
    struct db_value *v = &row->value[column];
    if (row->copies_n > ROW_COLUMNS || column == 0)
        return;
    if (how & 0x80) {
        *v = row_value(row, in);
    } else if (v->type == DB_INT) {
        v->number ^= (int64_t)((uint64_t)take_byte(in) << take_byte(in) % 57);
    } else if (v->type != DB_NULL && how & 0x40) {
        v->type = v->type == DB_TEXT ? DB_BLOB : DB_TEXT;
    } else if (v->type != DB_NULL && v->len > 0) {
        row_own(row, column);
        ((uint8_t *)(uintptr_t)v->bytes)[take_byte(in) % v->len] ^= take_byte(in);
        v->len -= take_byte(in) % 4 == 3;
    }
}

/* packer: for ROW_PACKED; it has to live as long as the row. */
static inline void row_make(struct fuzz_row *row, struct input *in, struct packer *packer)
{
    uint8_t how = take_byte(in);
    *row = (struct fuzz_row){.item = NULL};
    if (how & ROW_WILD) {
        for (unsigned i = 0; i < ROW_COLUMNS; i++)
            row->value[i] = row_value(row, in);
        return;
    }
    row->item = row_item(in, how);
    se__row_init(row->item, how & ROW_DELETED ? RECORD_TOMBSTONE : RECORD_ITEM,
                 how & ROW_PACKED ? packer : NULL, &row->truth);
    memcpy(row->value, row->truth.value, sizeof row->value);
    for (unsigned n = how >> 6; n > 0; n--)
        row_spoil(row, in);
}

static inline void row_done(struct fuzz_row *row)
{
    for (unsigned i = 0; i < row->copies_n; i++)
        free(row->copies[i]);
    se_item_release(row->item);
}

#endif
