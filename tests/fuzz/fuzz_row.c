/*
 * fuzz_row - one row of the item table, of any types and values (l3/row.h).
 *
 * Input: how the row is made (rows.h).
 *
 * Whatever the columns are: they give an item or a flaw. An item's own row has the same values, but for
 * the column its content is in; a true row always gives its item. Looking at a row says what decoding it
 * says, and a look without the content never doubts what one with it believes. A row that differs in a
 * column has another hash.
 */
#include "fuzz/rows.h"

#include "base/hash.h"

static struct packing *packing;

static bool same_value(const struct db_value *a, const struct db_value *b)
{
    bool bytes = a->type == DB_TEXT || a->type == DB_BLOB;
    if (bytes != (b->type == DB_TEXT || b->type == DB_BLOB))
        return false;
    if (bytes)
        return a->len == b->len && (a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
    return a->type == b->type && a->number == b->number;
}

/* A tombstone's record hash, and the leaf with it, may be another write's. */
static bool is_derived(unsigned column, bool deleted)
{
    return column == COL_ENCODING || column == COL_PAYLOAD || column == COL_PAYLOAD_BLOB ||
           (deleted &&
            (column == COL_RECORD_HASH || column == COL_CONTENT_HASH || column == COL_LEAF_HI ||
             column == COL_LEAF_LO || column == COL_STATE || column == COL_CACHE_TTL ||
             column == COL_EXPIRES_AT || column == COL_CONTENT_TYPE));
}

static void check_item(const struct db_value *c, const se_item *item, struct unpacker *u)
{
    struct sql_row again;
    se_item *twice = NULL;
    bool deleted = se__item_deleted(item);
    must(se__item_intact(item));
    se__row_init(item, deleted ? RECORD_TOMBSTONE : RECORD_ITEM, NULL, &again);
    for (unsigned i = 0; i < ROW_COLUMNS; i++)
        must(is_derived(i, deleted) || same_value(&c[i], &again.value[i]));
    must(se__row_decode(again.value, ROW_COLUMNS, u, NULL, &twice) == ROW_ITEM);
    must(se__item_compare(item, twice) == 0);
    must(se_item_content_len(item) == se_item_content_len(twice));
    se_item_release(twice);
}

static void check_flaw(const struct db_value *c, const struct tier_flaw *flaw)
{
    must(flaw->version <= INT64_MAX);
    must(!flaw->header_fits || flaw->version == (uint64_t)c[COL_VERSION].number);
    must(flaw->header_fits || flaw->pack == TIER_PACK_NONE);
    char text[200];
    se__tier_flaw_text(flaw, text, sizeof text);
    must(memchr(text, '\0', sizeof text) != NULL);
}

static void check_look(const struct db_value *c, struct unpacker *u, enum row_result r,
                       const se_item *item, const struct tier_flaw *flaw)
{
    struct tier_sight sight = {0}, header = {0};
    must(se__row_look(c, ROW_COLUMNS, u, &sight) == r);
    enum row_result without = se__row_look(c, ROW_COLUMNS, NULL, &header);
    must(without == ROW_ITEM || r == ROW_CORRUPT);
    if (r == ROW_CORRUPT) {
        must(sight.found == TIER_CORRUPT && memcmp(&sight.flaw, flaw, sizeof *flaw) == 0);
        must(flaw->header_fits == (without == ROW_ITEM));
        return;
    }
    must(sight.found == TIER_HIT && sight.version == se_item_version(item));
    must(sight.version == header.version && sight.kind == header.kind);
    must(sight.content_len == se_item_content_len(item));
    must((sight.kind == RECORD_TOMBSTONE) == se__item_deleted(item));
}

/* As the store asks before it decodes: without the dictionary there is nothing to decode. */
static void settle_wants(const struct db_value *c, struct unpacker *u)
{
    if (!se__row_wants(c, ROW_COLUMNS, u))
        return;
    must(u->wanted >= DICTIONARY_FIRST && u->wanted <= DICTIONARY_LAST);
    se__unpacker_tried(u);
    must(!se__row_wants(c, ROW_COLUMNS, u));
}

static void check_hash(struct fuzz_row *row)
{
    uint8_t is[SE_HASH_SIZE], was[SE_HASH_SIZE];
    bool same = true;
    if (!row->item)
        return;
    for (unsigned i = 0; i < ROW_COLUMNS; i++)
        same = same && row->value[i].type == row->truth.value[i].type &&
               same_value(&row->value[i], &row->truth.value[i]);
    se__row_hash(row->value, ROW_COLUMNS, is);
    se__row_hash(row->truth.value, ROW_COLUMNS, was);
    must(same == (memcmp(is, was, sizeof is) == 0));
}

static void try_row(struct fuzz_row *row)
{
    struct unpacker u = {.packing = packing};
    struct tier_flaw flaw = {0};
    se_item *item = NULL;
    settle_wants(row->value, &u);
    enum row_result r = se__row_decode(row->value, ROW_COLUMNS, &u, &flaw, &item);
    must(r != ROW_NOMEM && (item != NULL) == (r == ROW_ITEM));
    check_look(row->value, &u, r, item, &flaw);
    if (item)
        check_item(row->value, item, &u);
    else
        check_flaw(row->value, &flaw);
    for (unsigned n = 0; n < ROW_COLUMNS; n += 5) {
        se_item *none = NULL;
        must(se__row_decode(row->value, n, &u, NULL, &none) == ROW_CORRUPT && !none);
    }
    se_item_release(item);
    if (row->item && memcmp(row->value, row->truth.value, sizeof row->value) == 0)
        must(r == ROW_ITEM);
    se__unpacker_done(&u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct fuzz_row row;
    if (!packing)
        must(se__packing_open(SE_COMPRESSION_ON, 64u << 10, &packing) == SE_OK);
    struct packer *packer = se__packer_take(packing);
    must(packer != NULL && se__packer_reserve(packer, 1024));
    row_make(&row, &in, packer);
    try_row(&row);
    check_hash(&row);
    row_done(&row);
    se__packer_give(packer);
    return 0;
}
