/*
 * Decoding rows is total; the order of ids and the ends of prefixes; error numbers.
 */
#include "l3_fixture.h"

#include "l3/mysql_conn.h"
#include "l3/store.h"

#include <stdlib.h>
#include <string.h>

/* ---- decoding ---- */

static struct unpacker plain; /* that knows no encoding */

static void good_row(se_item *item, enum record_kind kind, struct sql_row *row)
{
    memset(row, 0, sizeof *row);
    se__row_init(item, kind, NULL, row);
}

Test(row, what_is_written_decodes_to_the_same)
{
    static const uint8_t routes[] = {1, 2, 3};
    srand(3);
    for (int i = 0; i < 2000; i++) {
        char content[64];
        size_t len = (size_t)rand() % sizeof content;
        for (size_t j = 0; j < len; j++)
            content[j] = (char)rand();
        struct item_spec spec = {.id = "an id",
                                 .id_len = 5,
                                 .content = i % 3 ? content : "{}",
                                 .content_len = i % 3 ? len : 2,
                                 .version = (uint64_t)rand() << 30,
                                 .updated_at_ms = rand() - rand(),
                                 .expires_at_ms = i % 4 ? 0 : rand() - rand(),
                                 .cache_ttl_ms = i % 5 ? 0 : UINT64_MAX - (uint64_t)rand(),
                                 .state = i % 2 ? "s" : NULL,
                                 .content_type = (se_content_type)(i % 3),
                                 .route = routes[i % 3],
                                 .deleted = i % 7 == 0};
        se_item *item = se__item_new(&spec), *back = NULL;
        struct sql_row row;
        good_row(item, spec.deleted ? RECORD_TOMBSTONE : RECORD_ITEM, &row);
        cr_assert_eq(se__row_decode(row.value, ROW_COLUMNS, &plain, NULL, &back), ROW_ITEM, "%d",
                     i);
        cr_assert_eq(se__item_compare(item, back), 0);
        cr_assert_eq(se__item_deleted(back), spec.deleted);
        cr_assert_eq(se_item_updated_at_ms(back), se_item_updated_at_ms(item));
        cr_assert_eq(se_item_content_len(back), se_item_content_len(item));
        se_item_release(back);
        se_item_release(item);
    }
}

static void spoil(struct db_value *v)
{
    static const unsigned char junk[] =
        "\xff\x00\x01 junk that is quite a bit longer than any column of ours may be";
    switch (rand() % 7) {
    case 0:
        *v = (struct db_value){.type = DB_NULL};
        break;
    case 1:
        *v = se__db_int((int64_t)((uint64_t)rand() << 33) ^ rand());
        break;
    case 2:
        *v = se__db_blob(junk, (size_t)rand() % sizeof junk);
        break;
    case 3:
        *v = se__db_text((const char *)junk + rand() % 8, (size_t)rand() % 40);
        break;
    case 4:
        v->len = v->len ? v->len - 1 : 0;
        break;
    case 5:
        v->number = -v->number - 1;
        break;
    default:
        *v = se__db_blob(NULL, 0);
    }
}

/* Any values whatever: an item that fits its hashes, or corrupt, never anything else. */
Test(row, garbage_is_corrupt)
{
    se_item *item = l3_item("an id", 1234567, "{\"a\":1}");
    int corrupt = 0;
    srand(4);
    for (int i = 0; i < 200000; i++) {
        struct sql_row row;
        se_item *back = NULL;
        good_row(item, i % 2 ? RECORD_ITEM : RECORD_TOMBSTONE, &row);
        for (int n = 1 + rand() % 3; n > 0; n--)
            spoil(&row.value[rand() % ROW_COLUMNS]);
        enum row_result r = se__row_decode(row.value, ROW_COLUMNS, &plain, NULL, &back);
        cr_assert(r == ROW_CORRUPT || r == ROW_ITEM);
        if (r == ROW_ITEM)
            cr_assert(se__item_intact(back));
        corrupt += r == ROW_CORRUPT;
        se_item_release(back);
    }
    cr_assert_gt(corrupt, 100000);
    cr_assert_eq(se__row_decode(NULL, 0, &plain, NULL, NULL), ROW_CORRUPT);
    se_item_release(item);
}

/* ---- looking, flaws and hashes ---- */

/* Two ways of decoding, one verdict, and the same facts. */
Test(row, looking_at_a_row_is_decoding_it)
{
    static const uint8_t routes[] = {1, 2, 3};
    srand(5);
    for (int i = 0; i < 100000; i++) {
        struct item_spec spec = {.id = "an id",
                                 .id_len = 5,
                                 .content = "{\"a\":1}",
                                 .content_len = 7,
                                 .version = (uint64_t)rand() << 20,
                                 .expires_at_ms = i % 3 ? 0 : rand(),
                                 .state = i % 2 ? "s" : NULL,
                                 .content_type = SE_CONTENT_JSON,
                                 .route = routes[i % 3],
                                 .deleted = i % 7 == 0};
        se_item *item = se__item_new(&spec), *back = NULL;
        struct sql_row row;
        struct tier_flaw flaw = {0};
        struct tier_sight sight = {.id = "an id", .id_len = 5};
        bool with_content = i % 5 != 0;
        good_row(item, spec.deleted ? RECORD_TOMBSTONE : RECORD_ITEM, &row);
        if (i % 4)
            spoil(&row.value[rand() % ROW_COLUMNS]);
        enum row_result r =
            se__row_decode(row.value, ROW_COLUMNS, with_content ? &plain : NULL, &flaw, &back);
        cr_assert_eq(se__row_look(row.value, ROW_COLUMNS, with_content ? &plain : NULL, &sight), r);
        if (r == ROW_CORRUPT) {
            cr_assert_eq(sight.found, TIER_CORRUPT);
            cr_assert_eq(memcmp(&sight.flaw, &flaw, sizeof flaw), 0);
        } else {
            uint8_t hash[SE_HASH_SIZE];
            se__item_record_hash(item, hash);
            cr_assert_eq(sight.found, TIER_HIT);
            cr_assert_eq(sight.kind, spec.deleted ? RECORD_TOMBSTONE : RECORD_ITEM);
            cr_assert_eq(sight.version, se_item_version(back));
            cr_assert_eq(sight.route, se__item_route(back));
            cr_assert_eq(sight.expires_at_ms, se__item_expires_at_ms(back));
            cr_assert_eq(memcmp(sight.record_hash, hash, SE_HASH_SIZE), 0);
            cr_assert_eq(sight.content_len, se_item_content_len(back));
        }
        se_item_release(back);
        se_item_release(item);
    }
}

/* What is believable, and what is not. */
Test(row, a_flaw_tells_header_from_content)
{
    static const struct {
        unsigned column;
        bool header_fits;
    } cases[] = {{COL_VERSION, false},      {COL_RECORD_HASH, false}, {COL_UPDATED_AT, false},
                 {COL_STATE, false},        {COL_ENCODING, false},    {COL_CONTENT_HASH, false},
                 {COL_PAYLOAD_BLOB, true},  {COL_BUCKET, false},      {COL_LEAF_HI, false},
                 {COL_EXPIRES_AT, false},   {COL_DELETED, false},     {COL_ROUTE, false},
                 {COL_CONTENT_TYPE, false}, {COL_ID, false}};
    static const uint8_t zeros[SE_HASH_SIZE];
    se_item *item = l3_item("an id", 1234567, "text"), *back;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sql_row row;
        struct tier_flaw flaw;
        uint8_t hash[SE_HASH_SIZE];
        memset(&flaw, 0xee, sizeof flaw);
        good_row(item, RECORD_ITEM, &row);
        row.value[cases[i].column] = (struct db_value){.type = DB_NULL};
        cr_assert_eq(se__row_decode(row.value, ROW_COLUMNS, &plain, &flaw, &back), ROW_CORRUPT);
        cr_assert_eq(flaw.header_fits, cases[i].header_fits, "column %u", cases[i].column);
        cr_assert_eq(flaw.version, cases[i].column == COL_VERSION ? 0 : 1234567);
        se_item_hash(item, hash);
        cr_assert_eq(memcmp(flaw.expected, cases[i].header_fits ? hash : zeros, SE_HASH_SIZE), 0);
        cr_assert_eq(memcmp(flaw.actual, zeros, SE_HASH_SIZE), 0, "there is no content");
    }
    se_item_release(item);
}

Test(row, any_change_changes_the_hash_of_a_row)
{
    se_item *item = l3_item("an id", 1234567, "text");
    struct sql_row row;
    uint8_t hash[SE_HASH_SIZE], other[SE_HASH_SIZE];
    good_row(item, RECORD_ITEM, &row);
    se__row_hash(row.value, ROW_COLUMNS, hash);
    for (unsigned i = 0; i < ROW_COLUMNS; i++) {
        struct db_value kept = row.value[i];
        struct db_value changes[] = {{.type = DB_NULL},   se__db_int(kept.number + 1),
                                     se__db_blob("", 0),  se__db_text("", 0),
                                     se__db_blob("x", 1), se__db_text("x", 1),
                                     se__db_int(0)};
        for (size_t k = 0; k < sizeof changes / sizeof changes[0]; k++) {
            row.value[i] = changes[k];
            se__row_hash(row.value, ROW_COLUMNS, other);
            bool equal = kept.type == changes[k].type && kept.number == changes[k].number &&
                         kept.len == changes[k].len;
            cr_assert_eq(memcmp(hash, other, SE_HASH_SIZE) == 0, equal, "column %u, change %zu", i,
                         k);
        }
        row.value[i] = kept;
    }
    /* bytes that move from one column to the next */
    row.value[COL_PAYLOAD] = se__db_blob("ab", 2);
    row.value[COL_PAYLOAD_BLOB] = se__db_blob("c", 1);
    se__row_hash(row.value, ROW_COLUMNS, hash);
    row.value[COL_PAYLOAD] = se__db_blob("a", 1);
    row.value[COL_PAYLOAD_BLOB] = se__db_blob("bc", 2);
    se__row_hash(row.value, ROW_COLUMNS, other);
    cr_assert_neq(memcmp(hash, other, SE_HASH_SIZE), 0);
    se_item_release(item);
}

/* ---- ranges ---- */

Test(row, successor_ends_a_prefix)
{
    static const char *const prefixes[] = {
        "", "a", "az", "a\xff", "\xff\xff", "\x7f", "\xf4\x8f\xbf\xbf", "user_1:"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        char end[300], inside[300];
        size_t len = strlen(prefixes[i]), n = se__store_successor(prefixes[i], len, end);
        cr_assert(n >= 1 && n <= (len ? len : 1));
        memcpy(inside, prefixes[i], len);
        memset(inside + len, '\xf4', 40);
        if (i == 4)
            continue; /* no id begins so */
        cr_assert_gt(se__row_compare(end, n, inside, len + 40), 0, "%zu", i);
        cr_assert_gt(se__row_compare(end, n, prefixes[i], len), 0, "%zu", i);
    }
    char end[8];
    cr_assert_eq(se__store_successor("ab", 2, end), 2);
    cr_assert_eq(memcmp(end, "ac", 2), 0);
    cr_assert_eq(se__store_successor("a\xff", 2, end), 1);
    cr_assert_eq(end[0], 'b');
}

Test(row, ids_are_ordered_as_bytes)
{
    cr_assert_lt(se__row_compare("a", 1, "ab", 2), 0);
    cr_assert_gt(se__row_compare("b", 1, "ab", 2), 0);
    cr_assert_lt(se__row_compare("a", 1, "\xc3", 1), 0);
    cr_assert_eq(se__row_compare("ab", 2, "ab", 2), 0);
}

/* ---- errors ---- */

Test(row, error_numbers_are_sorted_into_classes)
{
    static const struct {
        unsigned code;
        enum tier_fault fault;
        bool lost;
    } cases[] = {
        {1213, TIER_CONFLICT, false}, {1205, TIER_CONFLICT, false}, {1020, TIER_CONFLICT, false},
        {9007, TIER_CONFLICT, false}, {8022, TIER_CONFLICT, false}, {1406, TIER_REFUSED, false},
        {1366, TIER_REFUSED, false},  {4025, TIER_REFUSED, false},  {3819, TIER_REFUSED, false},
        {1644, TIER_REFUSED, false},  {1153, TIER_REFUSED, true},   {1047, TIER_UNWELL, false},
        {1054, TIER_UNWELL, false},   {1146, TIER_UNWELL, false},   {1142, TIER_UNWELL, false},
        {1290, TIER_UNWELL, false},   {1836, TIER_UNWELL, false},   {1114, TIER_UNWELL, false},
        {1040, TIER_UNWELL, false},   {1053, TIER_UNWELL, true},    {2002, TIER_UNWELL, true},
        {2006, TIER_UNWELL, true},    {2013, TIER_UNWELL, true},    {1927, TIER_UNWELL, true},
        {65535, TIER_UNWELL, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct db_result r = se__mysql_failure(NULL, cases[i].code, "words");
        cr_assert_eq(r.reply.fault, cases[i].fault, "%u", cases[i].code);
        cr_assert_eq(r.lost, cases[i].lost, "%u", cases[i].code);
        cr_assert_eq(r.reply.code, (int)cases[i].code);
    }
}
