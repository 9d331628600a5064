/*
 * Compressed rows in the database: every reader decodes them, old and new live side by side, and what
 * cannot be decoded is told apart.
 */
#include "l3_packed.h"

#include "base/hlc.h"
#include "base/mem.h"
#include "tier/sights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST DICTIONARY_FIRST

/* ---- writing and reading ---- */

/* Greater than any before. */
static uint64_t next_version(void)
{
    static uint64_t last;
    uint64_t now = l3_now_version();
    last = now > last ? now : last + 1;
    return last;
}

static void put_record(struct l3_fixture *f, unsigned kind, unsigned i)
{
    char id[16], record[RECORD_MAX];
    snprintf(id, sizeof id, "id%04u", i);
    size_t len = packed_record(kind, i, record);
    cr_assert_eq(l3_put(f, l3_item_bytes(id, next_version(), record, len, SE_CONTENT_AUTO)),
                 TIER_STORED);
}

static void put_many(struct l3_fixture *f, unsigned kind, unsigned from, unsigned n)
{
    struct tier_write *writes = calloc(n, sizeof *writes);
    char id[16], record[RECORD_MAX];
    for (unsigned i = 0; i < n; i++) {
        snprintf(id, sizeof id, "id%04u", from + i);
        size_t len = packed_record(kind, from + i, record);
        writes[i] = (struct tier_write){
            .item = l3_item_bytes(id, next_version(), record, len, SE_CONTENT_AUTO),
            .kind = RECORD_ITEM};
    }
    struct tier_reply r = f->tier.ops->write(f->tier.self, 0, writes, n, l3_soon());
    cr_assert_eq(r.fault, TIER_FINE, "%s", se_errmsg());
    for (unsigned i = 0; i < n; i++) {
        cr_assert_eq(writes[i].state, TIER_STORED);
        se_item_release(writes[i].item);
    }
    free(writes);
}

/* ids "idNNNN" of records whose kind is by their number. */
static bool is_record(const se_item *item, unsigned kind)
{
    char record[RECORD_MAX];
    size_t len = packed_record(kind, (unsigned)atoi(se_item_id(item) + 2), record);
    return se_item_content_len(item) == len && memcmp(se_item_content(item), record, len) == 0 &&
           se_item_content_type(item) == SE_CONTENT_JSON && se__item_intact(item);
}

static bool holds_record(struct l3_fixture *f, unsigned kind, unsigned i)
{
    char id[16];
    snprintf(id, sizeof id, "id%04u", i);
    se_item *item = l3_get(f, id, NULL);
    bool holds = item && is_record(item, kind);
    se_item_release(item);
    return holds;
}

static long long encoded(struct l3_fixture *f, int encoding)
{
    char sql[100];
    snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM sync_items WHERE encoding = %d", encoding);
    return l3_number(f, sql);
}

/* Rows 0 - 99 plain, 100 - 199 zstd, 200 - 399 with two dictionaries. */
static unsigned kind_of(unsigned i)
{
    return i >= 300;
}

static void fill_mixed(struct l3_fixture *f)
{
    put_many(f, 0, 0, 100);
    packed_reopen(f, SE_COMPRESSION_ON);
    put_many(f, 0, 100, 100);
    packed_store(f, 0, FIRST);
    packed_reopen(f, SE_COMPRESSION_DICTIONARY);
    put_many(f, 0, 200, 99);
    put_record(f, 0, 299); /* a single row goes another way */
    packed_store(f, 1, FIRST + 1);
    packed_reopen(f, SE_COMPRESSION_DICTIONARY);
    put_many(f, 1, 300, 100);
    cr_assert_eq(encoded(f, ENCODING_PLAIN), 100);
    cr_assert_eq(encoded(f, ENCODING_ZSTD), 100);
    cr_assert_eq(encoded(f, ENCODING_DICTIONARY), 200);
    packed_reopen(f, SE_COMPRESSION_OFF); /* knows no dictionary */
}

static void reads_of_many_decode(struct l3_fixture *f)
{
    fill_mixed(f);
    struct tier_read reads[402];
    char ids[402][16];
    for (unsigned i = 0; i < 402; i++) { /* backwards, the last one twice, one that is not there */
        snprintf(ids[i], sizeof ids[i], "id%04u", i < 401 ? 400 - i : 399);
        reads[i] = (struct tier_read){.id = ids[i], .id_len = 6};
    }
    cr_assert_eq(f->tier.ops->read(f->tier.self, reads, 402, l3_soon()).fault, TIER_FINE);
    cr_assert_eq(reads[0].found, TIER_ABSENT);
    for (unsigned i = 1; i < 402; i++) {
        cr_assert_eq(reads[i].found, TIER_HIT, "%s", ids[i]);
        cr_assert(is_record(reads[i].item, kind_of((unsigned)atoi(ids[i] + 2))), "%s", ids[i]);
        se_item_release(reads[i].item);
    }
    packed_reopen(f, SE_COMPRESSION_OFF);
    cr_assert(holds_record(f, 1, 350) && holds_record(f, 0, 250) && holds_record(f, 0, 150));
}
ON_EVERY_DRIVER(reads_of_many_decode)

static unsigned scan_all(struct l3_fixture *f, size_t items_max, size_t bytes_max,
                         const char *state)
{
    unsigned n = 0;
    char after[32] = "";
    for (bool more = true; more;) {
        struct tier_scan scan = {.prefix = state ? NULL : "id",
                                 .state = state,
                                 .after = after,
                                 .items_max = items_max,
                                 .bytes_max = bytes_max};
        struct tier_page page;
        cr_assert_eq(f->tier.ops->scan(f->tier.self, &scan, &page, l3_soon()).fault, TIER_FINE);
        cr_assert_eq(page.corrupt, 0);
        for (size_t i = 0; i < page.n; i++, n++) {
            cr_assert_eq((unsigned)atoi(se_item_id(page.items[i]) + 2), n, "each once, in order");
            cr_assert(is_record(page.items[i], kind_of(n)));
        }
        more = page.more;
        if (page.n)
            snprintf(after, sizeof after, "%s", se_item_id(page.items[page.n - 1]));
        se__tier_page_done(&page);
    }
    return n;
}

/* From a tier that meets both dictionaries for the first time in the middle of a page. */
static void scans_decode(struct l3_fixture *f)
{
    static const size_t pages[] = {1000, 210, 64, 7, 1};
    fill_mixed(f);
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        packed_reopen(f, SE_COMPRESSION_OFF);
        cr_assert_eq(scan_all(f, pages[i], 1 << 20, NULL), 400);
    }
    packed_reopen(f, SE_COMPRESSION_OFF);
    cr_assert_eq(scan_all(f, 1000, 3000, NULL), 400, "pages end by the length of the contents");
    packed_reopen(f, SE_COMPRESSION_OFF);
    cr_assert_eq(scan_all(f, 1000, 1 << 20, "default"), 400);
}
ON_BOTH_DIALECTS(scans_decode)

static void survey_all(struct l3_fixture *f, enum tier_order order, size_t items_max)
{
    struct tier_survey survey = {.depth = TIER_CONTENTS,
                                 .order = order,
                                 .bucket_last = 65535,
                                 .items_max = items_max,
                                 .bytes_max = 1 << 20};
    struct tier_cursor cursor = {0};
    struct tier_sights page = {0};
    static unsigned times[400];
    memset(times, 0, sizeof times);
    while (!cursor.done) {
        struct tier_reply r = f->tier.ops->survey(f->tier.self, &survey, &cursor, &page, l3_soon());
        cr_assert_eq(r.fault, TIER_FINE, "%s", se_errmsg());
        for (size_t i = 0; i < page.n; i++) {
            char record[RECORD_MAX];
            unsigned at = (unsigned)atoi(page.sights[i].id + 2);
            cr_assert_eq(page.sights[i].found, TIER_HIT, "%s", page.sights[i].id);
            cr_assert_eq(page.sights[i].content_len, packed_record(kind_of(at), at, record),
                         "the content's own length");
            times[at]++;
        }
    }
    for (unsigned i = 0; i < 400; i++)
        cr_assert_eq(times[i], 1, "id%04u", i);
    se__tier_cursor_done(&cursor);
    se__sights_done(&page);
}

static void surveys_decode(struct l3_fixture *f)
{
    static const size_t pages[] = {1000, 64, 7, 1};
    fill_mixed(f);
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        packed_reopen(f, SE_COMPRESSION_OFF);
        survey_all(f, TIER_BY_ID, pages[i]);
        packed_reopen(f, SE_COMPRESSION_OFF);
        survey_all(f, TIER_BY_BUCKET, pages[i]);
    }
}
ON_BOTH_DIALECTS(surveys_decode)

/* Digests and hashes are those of the content: the same write has them in whatever form it is. */
static void the_form_changes_no_hash(struct l3_fixture *f)
{
    char record[RECORD_MAX];
    size_t len = packed_record(0, 1, record);
    uint64_t v = l3_now_version();
    struct tier_digest digest = {.bucket_last = 65535, .shift = 16};
    struct tier_node before, after;
    l3_put(f, l3_item_bytes("x", v, record, len, SE_CONTENT_AUTO));
    cr_assert_eq(f->tier.ops->digest(f->tier.self, &digest, &before, l3_soon()).fault, TIER_FINE);
    packed_store(f, 0, FIRST);
    packed_reopen(f, SE_COMPRESSION_DICTIONARY);
    /* a repeat of the write: nothing but its form changes */
    cr_assert_eq(l3_put(f, l3_item_bytes("x", v, record, len, SE_CONTENT_AUTO)), TIER_STORED);
    cr_assert_eq(encoded(f, ENCODING_DICTIONARY), 1);
    cr_assert_eq(f->tier.ops->digest(f->tier.self, &digest, &after, l3_soon()).fault, TIER_FINE);
    cr_assert_eq(memcmp(&before, &after, sizeof before), 0);
    packed_reopen(f, SE_COMPRESSION_OFF);
    cr_assert_eq(l3_put(f, l3_item_bytes("x", v, record, len, SE_CONTENT_AUTO)), TIER_STORED);
    cr_assert_eq(encoded(f, ENCODING_PLAIN), 1, "and back");
    cr_assert_eq(l3_put(f, l3_item("x", v - 1, "older")), TIER_NEWER);
}
ON_EVERY_DRIVER(the_form_changes_no_hash)

static void plain_json_is_readable_by_sql(struct l3_fixture *f)
{
    char zeros[1000] = {0}, noise[1000];
    packed_reopen(f, SE_COMPRESSION_ON);
    l3_put(f, l3_item("short", l3_now_version(), "{\"n\":17}"));
    put_record(f, 0, 1);
    cr_assert_eq(l3_number(f, "SELECT JSON_EXTRACT(payload, '$.n') FROM sync_items WHERE id = "
                              "'short'"),
                 17);
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items WHERE id = 'id0001' AND encoding = "
                              "1 AND payload IS NULL AND content_type = 2"),
                 1);
    srand(3);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)rand();
    l3_put(f, l3_item_bytes("noise", l3_now_version(), noise, sizeof noise, SE_CONTENT_AUTO));
    l3_put(f, l3_item_bytes("zeros", l3_now_version(), zeros, sizeof zeros, SE_CONTENT_AUTO));
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items WHERE id = 'noise' AND encoding = "
                              "0 AND LENGTH(payload_blob) = 1000"),
                 1, "nothing was gained");
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items WHERE id = 'zeros' AND encoding = "
                              "1 AND LENGTH(payload_blob) < 50"),
                 1);
}
ON_BOTH_DIALECTS(plain_json_is_readable_by_sql)

/* Contents that begin as frames do, in every form. */
static void contents_that_look_compressed_come_back(struct l3_fixture *f)
{
    static const se_compression modes[] = {SE_COMPRESSION_OFF, SE_COMPRESSION_ON,
                                           SE_COMPRESSION_DICTIONARY};
    char content[400];
    uint64_t v = l3_now_version();
    packed_store(f, 0, FIRST);
    for (size_t m = 0; m < 3; m++) {
        packed_reopen(f, modes[m]);
        for (size_t len = 4; len <= sizeof content; len += 66) {
            memset(content, 'z', sizeof content);
            memcpy(content, "\x28\xb5\x2f\xfd", 4);
            cr_assert_eq(l3_put(f, l3_item_bytes("magic", v++, content, len, SE_CONTENT_AUTO)),
                         TIER_STORED);
            se_item *item = l3_get(f, "magic", NULL);
            cr_assert(item && se_item_content_len(item) == len);
            cr_assert_eq(memcmp(se_item_content(item), content, len), 0);
            se_item_release(item);
        }
        cr_assert_eq(encoded(f, ENCODING_PLAIN), m == 0);
    }
}
ON_BOTH_DIALECTS(contents_that_look_compressed_come_back)

/* ---- what cannot be decoded ---- */

static struct tier_read look(struct l3_fixture *f, const char *id)
{
    struct tier_read read = {.id = id, .id_len = strlen(id)};
    cr_assert_eq(f->tier.ops->read(f->tier.self, &read, 1, l3_soon()).fault, TIER_FINE, "%s",
                 se_errmsg());
    return read;
}

/* Only that row is hit; scans leave it out, surveys show it. */
static void expect_flaw(struct l3_fixture *f, enum tier_unpack pack, int64_t number,
                        const char *text)
{
    char words[160];
    struct tier_read read = look(f, "id0001");
    cr_assert_eq(read.found, TIER_CORRUPT);
    cr_assert_null(read.item);
    cr_assert(read.flaw.header_fits, "its version was acknowledged");
    cr_assert_eq(read.flaw.pack, pack);
    cr_assert_eq(read.flaw.number, number);
    cr_assert_eq(read.seen_len, SE_HASH_SIZE);
    se__tier_flaw_text(&read.flaw, words, sizeof words);
    cr_assert(strstr(words, text), "%s", words);
    cr_assert(holds_record(f, 0, 0) && holds_record(f, 0, 2), "the others are as they were");
    struct tier_scan scan = {.prefix = "", .after = "", .items_max = 10, .bytes_max = 100000};
    struct tier_page page;
    cr_assert_eq(f->tier.ops->scan(f->tier.self, &scan, &page, l3_soon()).fault, TIER_FINE);
    cr_assert(page.n == 2 && page.corrupt == 1);
    se__tier_page_done(&page);
    struct tier_survey survey = {
        .depth = TIER_CONTENTS, .bucket_last = 65535, .items_max = 10, .bytes_max = 100000};
    struct tier_cursor cursor = {0};
    struct tier_sights sights = {0};
    cr_assert_eq(f->tier.ops->survey(f->tier.self, &survey, &cursor, &sights, l3_soon()).fault,
                 TIER_FINE);
    cr_assert(sights.n == 3 && sights.sights[0].found == TIER_HIT &&
              sights.sights[1].found == TIER_CORRUPT && sights.sights[2].found == TIER_HIT);
    cr_assert_eq(sights.sights[1].flaw.pack, pack);
    se__tier_cursor_done(&cursor);
    se__sights_done(&sights);
}

static void three_records(struct l3_fixture *f)
{
    packed_store(f, 0, FIRST);
    packed_reopen(f, SE_COMPRESSION_DICTIONARY);
    put_many(f, 0, 0, 3);
    cr_assert_eq(encoded(f, ENCODING_DICTIONARY), 3);
}

static void hostile_frames_are_corrupt(struct l3_fixture *f)
{
    f->options.payload_max = 1 << 20;
    three_records(f);
    cr_assert(l3_sql(f, "UPDATE sync_items SET payload_blob = x'28b52ffda0ffffff7f0300' WHERE id = "
                        "'id0001'"));
    cr_assert(l3_sql(f, "UPDATE sync_items SET encoding = 1 WHERE id = 'id0001'"));
    expect_flaw(f, TIER_PACK_TOO_LONG, 0, "max_payload_bytes");
    static const char *const damages[] = {
        "payload_blob = x''",
        "payload_blob = x'28b52ffd'",
        "payload_blob = x'28b52ffd2005290000616263'",
        "payload_blob = x'7b7d'",
        "payload_blob = NULL, payload = '{}'",
        "payload_blob = NULL",
        "payload = '{}'",
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        char sql[200];
        put_record(f, 0, 1);
        snprintf(sql, sizeof sql, "UPDATE sync_items SET %s, encoding = 1 WHERE id = 'id0001'",
                 damages[i]);
        cr_assert(l3_sql(f, sql), "%s", sql);
        expect_flaw(f, TIER_PACK_DAMAGED, 0, "damaged");
    }
    put_record(f, 0, 1);
    cr_assert(l3_sql(f, "UPDATE sync_items SET encoding = 1 WHERE id = 'id0001'"));
    struct tier_read read = look(f, "id0001");
    cr_assert_eq(read.flaw.pack, TIER_PACK_DAMAGED, "its frame names a dictionary");
    cr_assert_not_null(strstr(f->logged, "id0001"));
}
ON_BOTH_DIALECTS(hostile_frames_are_corrupt)

static void an_unknown_encoding_is_told(struct l3_fixture *f)
{
    three_records(f);
    cr_assert(l3_sql(f, "UPDATE sync_items SET encoding = 3 WHERE id = 'id0001'"));
    expect_flaw(f, TIER_PACK_ENCODING, 3, "use a newer one");
    cr_assert(l3_sql(f, "UPDATE sync_items SET payload_blob = NULL WHERE id = 'id0001'"));
    expect_flaw(f, TIER_PACK_ENCODING, 3, "use a newer one");
    put_record(f, 0, 1); /* a newer write replaces it as any row */
    cr_assert(holds_record(f, 0, 1));
}
ON_BOTH_DIALECTS(an_unknown_encoding_is_told)

static void delete_dictionary(struct l3_fixture *f)
{
    cr_assert(l3_sql(f, "DELETE FROM sync_items_meta WHERE name LIKE 'dictionary%'"));
    packed_reopen(f, SE_COMPRESSION_DICTIONARY);
}

/* Nothing is remembered of it: as soon as it is back, the rows are. */
static void a_missing_dictionary_is_told_until_it_is_back(struct l3_fixture *f)
{
    packed_reopen(f, SE_COMPRESSION_ON);
    packed_store(f, 0, FIRST);
    packed_reopen(f, SE_COMPRESSION_DICTIONARY);
    put_record(f, 0, 1);
    delete_dictionary(f);
    put_record(f, 0, 0); /* without a dictionary */
    put_record(f, 0, 2);
    cr_assert_eq(encoded(f, ENCODING_ZSTD), 2);
    expect_flaw(f, TIER_PACK_DICTIONARY, FIRST, "needs dictionary 32769");
    packed_store(f, 0, FIRST);
    cr_assert(holds_record(f, 0, 1));
}
ON_BOTH_DIALECTS(a_missing_dictionary_is_told_until_it_is_back)

static void a_damaged_dictionary_is_as_good_as_none(struct l3_fixture *f)
{
    packed_store(f, 0, FIRST);
    packed_reopen(f, SE_COMPRESSION_DICTIONARY);
    put_record(f, 0, 1);
    static const char *const damages[] = {
        "UPDATE sync_items_meta SET value = '' WHERE name = 'dictionary/32769'",
        "UPDATE sync_items_meta SET value = 'rubbish' WHERE name = 'dictionary/32769'",
        ("UPDATE sync_items_meta SET value = '1 1 1 1 1 1 00112233445566778899aabbccddeeff 00' "
         "WHERE name = 'dictionary/32769'")};
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        cr_assert(l3_sql(f, damages[i]));
        packed_reopen(f, SE_COMPRESSION_DICTIONARY);
        put_record(f, 0, 0);
        put_record(f, 0, 2);
        expect_flaw(f, TIER_PACK_DICTIONARY, FIRST, "needs dictionary 32769");
    }
    packed_store(f, 0, FIRST);
    cr_assert(holds_record(f, 0, 1));
}
ON_BOTH_DIALECTS(a_damaged_dictionary_is_as_good_as_none)

/* The bound is on what is unpacked; a plain row is as long as it is. */
static void a_lowered_bound_tells_which_rows_are_beyond(struct l3_fixture *f)
{
    char zeros[5000] = {0};
    packed_reopen(f, SE_COMPRESSION_ON);
    l3_put(f, l3_item_bytes("id0001", l3_now_version(), zeros, sizeof zeros, SE_CONTENT_BINARY));
    put_record(f, 0, 0);
    put_record(f, 0, 2);
    f->options.payload_max = sizeof zeros - 1;
    packed_reopen(f, SE_COMPRESSION_ON);
    expect_flaw(f, TIER_PACK_TOO_LONG, 0, "max_payload_bytes");
    f->options.payload_max = sizeof zeros;
    packed_reopen(f, SE_COMPRESSION_ON);
    se_item *item = l3_get(f, "id0001", NULL);
    cr_assert(item && se_item_content_len(item) == sizeof zeros);
    se_item_release(item);
}
ON_BOTH_DIALECTS(a_lowered_bound_tells_which_rows_are_beyond)

/* ---- mending ---- */

static void damaged_rows_are_mended_in_any_form(struct l3_fixture *f)
{
    char record[RECORD_MAX];
    size_t len = packed_record(0, 1, record);
    three_records(f);
    for (int form = 0; form < 2; form++) {
        cr_assert(
            l3_sql(f, "UPDATE sync_items SET payload_blob = x'28b52ffd' WHERE id = 'id0001'"));
        struct tier_read seen = look(f, "id0001");
        cr_assert_eq(seen.found, TIER_CORRUPT);
        struct tier_write w = {
            .item = l3_item_bytes("id0001", seen.flaw.version, record, len, SE_CONTENT_AUTO),
            .kind = RECORD_ITEM};
        cr_assert_eq(f->tier.ops->mend(f->tier.self, &seen, &w, l3_soon()).fault, TIER_FINE);
        cr_assert_eq(w.state, TIER_STORED);
        se_item_release(w.item);
        cr_assert(holds_record(f, 0, 1));
        cr_assert_eq(encoded(f, ENCODING_DICTIONARY), form == 0 ? 3 : 2);
        packed_reopen(f, SE_COMPRESSION_OFF);
    }
}
ON_BOTH_DIALECTS(damaged_rows_are_mended_in_any_form)

/* ---- who may use such a table ---- */

static void libraries_that_know_no_compression_are_kept_out(struct l3_fixture *f)
{
    static const char sql[] = "SELECT value + 0 FROM sync_items_meta WHERE name = 'reader_min'";
    cr_assert_eq(l3_number(f, sql), 1);
    f->options.read_only = true;
    packed_reopen(f, SE_COMPRESSION_ON);
    cr_assert_eq(l3_number(f, sql), 1, "who only reads changes nothing");
    f->options.read_only = false;
    packed_reopen(f, SE_COMPRESSION_ON);
    cr_assert_eq(l3_number(f, sql), 2);
    packed_reopen(f, SE_COMPRESSION_OFF);
    cr_assert_eq(l3_number(f, sql), 2, "rows may be there");
    cr_assert(l3_sql(f, "UPDATE sync_items_meta SET value = '3' WHERE name = 'schema_version'"));
    packed_reopen(f, SE_COMPRESSION_DICTIONARY);
    cr_assert_eq(l3_number(f, "SELECT value + 0 FROM sync_items_meta WHERE name = "
                              "'schema_version'"),
                 3, "it only rises");
}
ON_BOTH_DIALECTS(libraries_that_know_no_compression_are_kept_out)

/* Deletes, expired rows and purges have nothing to unpack. */
static void tombstones_have_no_form(struct l3_fixture *f)
{
    three_records(f);
    l3_put(f, l3_tombstone("id0001", next_version()));
    cr_assert_eq(encoded(f, ENCODING_DICTIONARY), 2);
    struct tier_read read = look(f, "id0001");
    cr_assert(read.found == TIER_HIT && se__item_deleted(read.item));
    se_item_release(read.item);
}
ON_BOTH_DIALECTS(tombstones_have_no_form)

/* ---- no memory ---- */

/* Reads and writes with the n-th allocation failing: an outcome that says so, or the right one. */
static void every_allocation_may_fail(struct l3_fixture *f)
{
    if (!se__mem_fail_after(-1))
        return;
    packed_store(f, 0, FIRST);
    packed_reopen(f, SE_COMPRESSION_DICTIONARY);
    put_many(f, 0, 0, 20);
    char record[RECORD_MAX];
    size_t len = packed_record(0, 5, record);
    bool whole = false;
    for (int64_t n = 0; !whole && n < 200; n++) {
        packed_reopen(f, SE_COMPRESSION_DICTIONARY); /* knows its dictionary; packers are fresh */
        put_record(f, 0, 5);                         /* connections are open */
        cr_assert(holds_record(f, 0, 6));
        se_item *item = l3_item_bytes("id0005", next_version(), record, len, SE_CONTENT_AUTO);
        struct tier_write w = {.item = item, .kind = RECORD_ITEM};
        struct tier_read read = {.id = "id0005", .id_len = 6};
        se__mem_fail_after(n);
        struct tier_reply wrote = f->tier.ops->write(f->tier.self, 0, &w, 1, l3_soon());
        struct tier_reply got = f->tier.ops->read(f->tier.self, &read, 1, l3_soon());
        se__mem_fail_after(-1);
        cr_assert(wrote.fault == TIER_FINE ? w.state == TIER_STORED : wrote.fault == TIER_UNWELL);
        cr_assert(got.fault == TIER_FINE ? read.found == TIER_HIT && is_record(read.item, 0)
                                         : got.fault == TIER_UNWELL && !read.item,
                  "%lld: %d", (long long)n, (int)read.found);
        whole = wrote.fault == TIER_FINE && got.fault == TIER_FINE &&
                encoded(f, ENCODING_DICTIONARY) == 20;
        se_item_release(read.item);
        se_item_release(item);
        if (got.fault == TIER_FINE && wrote.fault == TIER_FINE)
            cr_assert(holds_record(f, 0, 5));
    }
    cr_assert(whole);
}
ON_BOTH_DIALECTS(every_allocation_may_fail)

/* The dictionary is fetched while memory runs out: never taken for missing. */
static void no_memory_is_no_missing_dictionary(struct l3_fixture *f)
{
    if (!se__mem_fail_after(-1))
        return;
    packed_store(f, 0, FIRST);
    packed_reopen(f, SE_COMPRESSION_DICTIONARY);
    put_many(f, 0, 0, 20);
    bool whole = false;
    for (int64_t n = 0; !whole && n < 200; n++) {
        packed_reopen(f, SE_COMPRESSION_OFF);
        cr_assert_eq(look(f, "nothing").found, TIER_ABSENT); /* a connection is open */
        struct tier_read read = {.id = "id0005", .id_len = 6};
        se__mem_fail_after(n);
        struct tier_reply got = f->tier.ops->read(f->tier.self, &read, 1, l3_soon());
        se__mem_fail_after(-1);
        whole = got.fault == TIER_FINE;
        cr_assert(whole ? read.found == TIER_HIT && is_record(read.item, 0)
                        : got.fault == TIER_UNWELL && !read.item,
                  "%lld: %d", (long long)n, (int)read.found);
        se_item_release(read.item);
    }
    cr_assert(whole);
}
ON_BOTH_DIALECTS(no_memory_is_no_missing_dictionary)
