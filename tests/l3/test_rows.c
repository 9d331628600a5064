/*
 * Bytes are bytes: ids and contents, reads of many, scans, counts, states, rows edited by hand.
 */
#include "base/hlc.h"
#include "l3_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t v_now(void)
{
    return se__version_of_ms(se__wall_ms());
}

/* ---- contents ---- */

static void check_content(struct l3_fixture *f, const char *id, const void *content, size_t len,
                          se_content_type type, const char *column)
{
    char sql[200];
    l3_put(f, l3_item_bytes(id, v_now(), content, len, type));
    se_item *item = l3_get(f, id, NULL);
    cr_assert_not_null(item, "%s", id);
    cr_assert_eq(se_item_content_len(item), len, "%s", id);
    cr_assert_eq(memcmp(se_item_content(item), content, len), 0, "%s", id);
    cr_assert(se__item_intact(item));
    if (type != SE_CONTENT_AUTO)
        cr_assert_eq(se_item_content_type(item), type);
    se_item_release(item);
    snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM sync_items WHERE id = '%s' AND %s IS NOT NULL",
             id, column);
    cr_assert_eq(l3_number(f, sql), 1, "%s is in %s", id, column);
}

static void contents_come_back_byte_for_byte(struct l3_fixture *f)
{
    static const char emoji[] =
        "{\"a\" : \"\xF0\x9F\x98\x80 \\u00e9 'quotes' \\\\ ;--\",\n \"z\":1.0e0 ,\"a\":2}  ";
    unsigned char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    check_content(f, "all", all, sizeof all, SE_CONTENT_AUTO, "payload_blob");
    check_content(f, "emoji", emoji, sizeof emoji - 1, SE_CONTENT_AUTO, "payload");
    check_content(f, "empty", "", 0, SE_CONTENT_AUTO, "payload_blob");
    check_content(f, "zero", "\0\0", 2, SE_CONTENT_BINARY, "payload_blob");
    check_content(f, "text", "  trailing blanks  ", 19, SE_CONTENT_AUTO, "payload_blob");
    check_content(f, "number", "17", 2, SE_CONTENT_AUTO, "payload");
    /* declared JSON and not even UTF-8: must not get near a text column */
    check_content(f, "liar", "\xff\xfe{", 3, SE_CONTENT_JSON, "payload_blob");
    check_content(f, "surrogate", "\"\xed\xa0\x80\"", 5, SE_CONTENT_JSON, "payload_blob");
    check_content(f, "nul in text", "a\0b", 3, SE_CONTENT_JSON, "payload");
}
ON_EVERY_DRIVER(contents_come_back_byte_for_byte)

static void large_contents_come_back(struct l3_fixture *f)
{
    static const size_t sizes[] = {511, 512, 513, 70000, 300000, 3000000, 10};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char id[16], *content = malloc(sizes[i]);
        snprintf(id, sizeof id, "s%zu", sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++)
            content[j] = (char)(j * 31 + i);
        check_content(f, id, content, sizes[i], SE_CONTENT_BINARY, "payload_blob");
        free(content);
    }
}
ON_BOTH_DIALECTS(large_contents_come_back)

static void every_field_comes_back(struct l3_fixture *f)
{
    struct item_spec spec = {.id = "fields",
                             .id_len = 6,
                             .content = "[1]",
                             .content_len = 3,
                             .version = v_now(),
                             .updated_at_ms = 1234567890123,
                             .expires_at_ms = se__wall_ms() + 1000000,
                             .cache_ttl_ms = UINT64_MAX,
                             .state = "st\xc3\xa4te",
                             .content_type = SE_CONTENT_JSON,
                             .route = SE_ROUTE_L3};
    se_item *put = se__item_new(&spec);
    l3_put(f, se_item_retain(put));
    se_item *got = l3_get(f, "fields", NULL);
    cr_assert_not_null(got);
    cr_assert_eq(se__item_compare(put, got), 0);
    cr_assert_str_eq(se_item_state(got), spec.state);
    cr_assert_eq(se_item_updated_at_ms(got), spec.updated_at_ms);
    cr_assert_eq(se__item_expires_at_ms(got), spec.expires_at_ms);
    cr_assert_eq(se__item_cache_ttl_ms(got), UINT64_MAX);
    cr_assert_eq(se__item_route(got), SE_ROUTE_L3);
    se_item_release(got);
    se_item_release(put);
}
ON_EVERY_DRIVER(every_field_comes_back)

/* ---- ids ---- */

static const char *const look_alikes[] = {"a",
                                          "A",
                                          "a ",
                                          "\xc3\xa4",
                                          "\xc3\x84",
                                          "a\xcc\x88",
                                          "user_1:x",
                                          "userX1:x",
                                          "user%1:x",
                                          "us*",
                                          "'; DROP",
                                          "\\",
                                          "{}",
                                          "\"",
                                          "ab",
                                          "\xf0\x9f\x98\x80",
                                          "\xf4\x8f\xbf\xbf",
                                          "~"};
enum { LOOK_ALIKES = sizeof look_alikes / sizeof look_alikes[0] };

static void put_look_alikes(struct l3_fixture *f)
{
    for (int i = 0; i < LOOK_ALIKES; i++)
        l3_put(f, l3_item(look_alikes[i], v_now(), look_alikes[i]));
}

static void similar_ids_are_different(struct l3_fixture *f)
{
    put_look_alikes(f);
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items"), LOOK_ALIKES);
    struct tier_read reads[LOOK_ALIKES];
    for (int i = 0; i < LOOK_ALIKES; i++)
        reads[i] = (struct tier_read){.id = look_alikes[i], .id_len = strlen(look_alikes[i])};
    struct tier_reply r = f->tier.ops->read(f->tier.self, reads, LOOK_ALIKES, l3_soon());
    cr_assert_eq(r.fault, TIER_FINE);
    for (int i = 0; i < LOOK_ALIKES; i++) {
        cr_assert_eq(reads[i].found, TIER_HIT, "%s", look_alikes[i]);
        cr_assert_str_eq(se_item_id(reads[i].item), look_alikes[i]);
        cr_assert_eq(memcmp(se_item_content(reads[i].item), look_alikes[i], strlen(look_alikes[i])),
                     0);
        se_item_release(reads[i].item);
    }
}
ON_EVERY_DRIVER(similar_ids_are_different)

static void longest_id_fits(struct l3_fixture *f)
{
    char id[SE_ID_MAX + 1];
    memset(id, 'z', SE_ID_MAX);
    id[SE_ID_MAX] = '\0';
    cr_assert_eq(l3_put(f, l3_item(id, v_now(), "x")), TIER_STORED);
    cr_assert_neq(l3_version(f, id), 0);
}
ON_BOTH_DIALECTS(longest_id_fits)

/* Any number of ids in any order, absent ones and repeated ones among them. */
static void many_reads_find_their_own(struct l3_fixture *f)
{
    enum { N = 2500 };
    struct tier_read *reads = calloc(N, sizeof *reads);
    struct tier_write *writes = calloc(N, sizeof *writes);
    char(*ids)[16] = calloc(N, sizeof *ids);
    size_t stored = 0;
    for (int i = 0; i < N; i++) {
        snprintf(ids[i], sizeof ids[i], "k%05d", i % 2000);
        if (i < 2000 && i % 3)
            writes[stored++] =
                (struct tier_write){.item = l3_item(ids[i], v_now(), ids[i]), .kind = RECORD_ITEM};
    }
    cr_assert_eq(f->tier.ops->write(f->tier.self, 0, writes, stored, l3_soon()).fault, TIER_FINE);
    static const size_t counts[] = {1, 2, 10, 11, 100, 101, 1000, 1001, N};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (size_t i = 0; i < counts[c]; i++) {
            const char *id = ids[(i * 7919) % N];
            reads[i] = (struct tier_read){.id = id, .id_len = strlen(id)};
        }
        cr_assert_eq(f->tier.ops->read(f->tier.self, reads, counts[c], l3_soon()).fault, TIER_FINE);
        for (size_t i = 0; i < counts[c]; i++) {
            bool there = atoi(reads[i].id + 1) % 3 != 0;
            cr_assert_eq(reads[i].found, there ? TIER_HIT : TIER_ABSENT, "%s", reads[i].id);
            if (there)
                cr_assert_str_eq(se_item_id(reads[i].item), reads[i].id);
            se_item_release(reads[i].item);
        }
    }
    for (size_t i = 0; i < stored; i++)
        se_item_release(writes[i].item);
    free(ids);
    free(writes);
    free(reads);
}
ON_BOTH_DIALECTS(many_reads_find_their_own)

/* ---- scans ---- */

/* Pages through everything and checks order, bounds and `more`. Returns how many. */
static size_t scan_all(struct l3_fixture *f, struct tier_scan scan, size_t *pages)
{
    char after[SE_ID_MAX + 1] = "";
    size_t n = 0;
    bool more = true;
    scan.after = after;
    for (*pages = 0; more; ++*pages) {
        struct tier_page page;
        struct tier_reply r = f->tier.ops->scan(f->tier.self, &scan, &page, l3_soon());
        cr_assert_eq(r.fault, TIER_FINE, "%s", se_errmsg());
        cr_assert_leq(page.n, scan.items_max);
        cr_assert(page.n > 0 || !page.more, "a page to continue from must not be empty");
        for (size_t i = 0; i < page.n; i++) {
            const char *id = se_item_id(page.items[i]);
            cr_assert_gt(strcmp(id, after), 0, "%s after %s", id, after);
            snprintf(after, sizeof after, "%s", id);
            if (scan.prefix)
                cr_assert_eq(strncmp(id, scan.prefix, strlen(scan.prefix)), 0);
            if (scan.ids_only)
                cr_assert_eq(se_item_content_len(page.items[i]), 0);
            else
                cr_assert(se__item_intact(page.items[i]));
        }
        n += page.n;
        more = page.more;
        se__tier_page_done(&page);
    }
    return n;
}

static size_t scan_count(struct l3_fixture *f, struct tier_scan scan)
{
    size_t pages, scanned;
    uint64_t counted = 999;
    scan.items_max = scan.items_max ? scan.items_max : 1000;
    scan.bytes_max = scan.bytes_max ? scan.bytes_max : SIZE_MAX / 2;
    scanned = scan_all(f, scan, &pages);
    scan.after = "";
    cr_assert_eq(f->tier.ops->count(f->tier.self, &scan, &counted, l3_soon()).fault, TIER_FINE);
    cr_assert_eq(counted, scanned);
    return scanned;
}

static void prefixes_are_ranges(struct l3_fixture *f)
{
    put_look_alikes(f);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = ""}), LOOK_ALIKES);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "", .items_max = 1}), LOOK_ALIKES);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "", .ids_only = true}), LOOK_ALIKES);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "user_1:"}), 1);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "user%"}), 1);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "user"}), 3);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "a"}), 4);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "a", .items_max = 1}), 4);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "A"}), 1);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "\\"}), 1);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "'"}), 1);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "\xf4\x8f\xbf\xbf"}), 1);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "nothing"}), 0);
}
ON_BOTH_DIALECTS(prefixes_are_ranges)

static void put_many(struct l3_fixture *f, int n, size_t bytes)
{
    char *content = calloc(1, bytes);
    struct tier_write *writes = calloc((size_t)n, sizeof *writes);
    for (int i = 0; i < n; i++) {
        char id[16];
        snprintf(id, sizeof id, "p%05d", i);
        struct item_spec spec = {.id = id,
                                 .id_len = strlen(id),
                                 .content = content,
                                 .content_len = bytes,
                                 .version = v_now(),
                                 .state = i % 4 == 0   ? "ready"
                                          : i % 4 == 1 ? "default"
                                                       : "x",
                                 .expires_at_ms = i % 10 == 0   ? se__wall_ms() - 1000
                                                  : i % 10 == 1 ? se__wall_ms() + 1000000
                                                                : 0,
                                 .deleted = i % 10 == 2};
        writes[i] = (struct tier_write){.item = se__item_new(&spec),
                                        .kind = spec.deleted ? RECORD_TOMBSTONE : RECORD_ITEM};
    }
    cr_assert_eq(f->tier.ops->write(f->tier.self, 0, writes, (size_t)n, l3_soon()).fault, TIER_FINE,
                 "%s", se_errmsg());
    for (int i = 0; i < n; i++)
        se_item_release(writes[i].item);
    free(writes);
    free(content);
}

/* Of 1000 rows 100 are expired, 100 deleted. */
static void pages_hold_the_living_in_order(struct l3_fixture *f)
{
    put_many(f, 1000, 10);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "p", .items_max = 7}), 800);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "p", .items_max = 800}), 800);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "p", .items_max = 7, .ids_only = true}),
                 800);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "p", .bytes_max = 1}), 800);
    cr_assert_eq(scan_count(f, (struct tier_scan){.prefix = "p000"}), 80);
    cr_assert_eq(scan_count(f, (struct tier_scan){.state = "ready"}), 150);
    cr_assert_eq(scan_count(f, (struct tier_scan){.state = "ready", .items_max = 3}), 150);
    cr_assert_eq(scan_count(f, (struct tier_scan){.state = "x", .items_max = 33, .ids_only = true}),
                 400);
    cr_assert_eq(scan_count(f, (struct tier_scan){.state = "default"}), 250);
    cr_assert_eq(scan_count(f, (struct tier_scan){.state = ""}), 250);
    cr_assert_eq(scan_count(f, (struct tier_scan){.state = "REady"}), 0);
}
ON_BOTH_DIALECTS(pages_hold_the_living_in_order)

static void a_page_ends_at_its_bytes(struct l3_fixture *f)
{
    put_many(f, 100, 10000);
    size_t pages;
    struct tier_scan scan = {.prefix = "p", .items_max = 1000, .bytes_max = 25000};
    cr_assert_eq(scan_all(f, scan, &pages), 80);
    cr_assert(pages >= 26 && pages <= 28, "3 items a page: %zu", pages);
}
ON_BOTH_DIALECTS(a_page_ends_at_its_bytes)

/* ---- damage ---- */

static void check_corrupt(struct l3_fixture *f, const char *damage, bool ids_only_too)
{
    l3_sql(f, "DELETE FROM sync_items");
    l3_put(f, l3_item("a", v_now(), "{\"n\":1}"));
    l3_put(f, l3_item("b", v_now(), "{\"n\":2}"));
    l3_put(f, l3_item("c", v_now(), "{\"n\":3}"));
    cr_assert(l3_sql(f, damage), "%s", damage);
    struct tier_read reads[3] = {
        {.id = "a", .id_len = 1}, {.id = "b", .id_len = 1}, {.id = "c", .id_len = 1}};
    cr_assert_eq(f->tier.ops->read(f->tier.self, reads, 3, l3_soon()).fault, TIER_FINE, "%s",
                 damage);
    cr_assert_eq(reads[0].found, TIER_HIT, "%s", damage);
    cr_assert_eq(reads[1].found, TIER_CORRUPT, "%s", damage);
    cr_assert_null(reads[1].item);
    cr_assert_eq(reads[2].found, TIER_HIT, "%s", damage);
    se_item_release(reads[0].item);
    se_item_release(reads[2].item);
    struct tier_page page;
    struct tier_scan scan = {.prefix = "", .after = "", .items_max = 1, .bytes_max = 100000};
    for (int ids_only = 0; ids_only <= ids_only_too; ids_only++) {
        scan.ids_only = ids_only;
        scan.after = "a";
        cr_assert_eq(f->tier.ops->scan(f->tier.self, &scan, &page, l3_soon()).fault, TIER_FINE);
        cr_assert_eq(page.n, 1, "%s", damage);
        cr_assert_str_eq(se_item_id(page.items[0]), "c", "%s", damage);
        se__tier_page_done(&page);
    }
}

static void rows_edited_by_hand_are_corrupt(struct l3_fixture *f)
{
    static const char *const damages[] = {
        "UPDATE sync_items SET payload = '{\"n\":9}' WHERE id = 'b'",
        "UPDATE sync_items SET payload = NULL WHERE id = 'b'",
        "UPDATE sync_items SET payload_blob = x'00' WHERE id = 'b'",
        "UPDATE sync_items SET payload = NULL, payload_blob = x'7b' WHERE id = 'b'",
        "UPDATE sync_items SET deleted = 1 WHERE id = 'b'",
        "UPDATE sync_items SET encoding = 1 WHERE id = 'b'",
        "UPDATE sync_items SET encoding = 2 WHERE id = 'b'",
        "UPDATE sync_items SET encoding = 99 WHERE id = 'b'",
    };
    static const char *const header_damages[] = {
        "UPDATE sync_items SET version = version + 1 WHERE id = 'b'",
        "UPDATE sync_items SET version = -1 WHERE id = 'b'",
        "UPDATE sync_items SET state = 'other' WHERE id = 'b'",
        "UPDATE sync_items SET state = '' WHERE id = 'b'",
        "UPDATE sync_items SET state = x'ff' WHERE id = 'b'",
        "UPDATE sync_items SET content_hash = x'00112233445566778899aabbccddeeff' WHERE id = 'b'",
        "UPDATE sync_items SET record_hash = x'00112233445566778899aabbccddeeff' WHERE id = 'b'",
        "UPDATE sync_items SET content_type = 7 WHERE id = 'b'",
        "UPDATE sync_items SET content_type = 1 WHERE id = 'b'",
        "UPDATE sync_items SET bucket = bucket + 1 WHERE id = 'b'",
        "UPDATE sync_items SET leaf_hi = leaf_hi - 1 WHERE id = 'b'",
        "UPDATE sync_items SET expires_at = 99999999999999 WHERE id = 'b'",
        "UPDATE sync_items SET cache_ttl_ms = 5 WHERE id = 'b'",
        "UPDATE sync_items SET route = 0 WHERE id = 'b'",
        "UPDATE sync_items SET route = 1 WHERE id = 'b'",
    };
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++)
        check_corrupt(f, damages[i], false);
    for (size_t i = 0; i < sizeof header_damages / sizeof header_damages[0]; i++) {
        if (!f->server && strstr(header_damages[i], "x'ff'"))
            continue; /* STRICT refuses a blob there */
        check_corrupt(f, header_damages[i], true);
    }
    cr_assert_not_null(strstr(f->logged, "does not fit"), "%s", f->logged);
}
ON_BOTH_DIALECTS(rows_edited_by_hand_are_corrupt)

/* What a newer write may rely on is only the order; everything else it replaces. */
static void a_newer_write_heals(struct l3_fixture *f)
{
    static const char *const damages[] = {
        "UPDATE sync_items SET bucket = bucket + 1",
        "UPDATE sync_items SET state = 'other'",
        "UPDATE sync_items SET leaf_lo = 0",
        "UPDATE sync_items SET content_hash = x'00112233445566778899aabbccddeeff'",
        "UPDATE sync_items SET payload_blob = x'00'",
        "UPDATE sync_items SET deleted = 1",
        "UPDATE sync_items SET purge_at = 1",
        "UPDATE sync_items SET encoding = 1"};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        l3_put(f, l3_item("x", v_now(), "{\"old\":1}"));
        cr_assert(l3_sql(f, damages[i]));
        uint64_t v = v_now() + 65536 * (i + 1);
        cr_assert_eq(l3_put(f, l3_item("x", v, "{\"new\":1}")), TIER_STORED);
        cr_assert(l3_holds(f, "x", v, "{\"new\":1}"), "%s", damages[i]);
        cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items WHERE purge_at IS NULL"), 1);
        cr_assert(l3_sql(f, "DELETE FROM sync_items"));
    }
}
ON_EVERY_DRIVER(a_newer_write_heals)

static void a_changed_state_is_found_under_the_new_one(struct l3_fixture *f)
{
    struct item_spec spec = {.id = "s",
                             .id_len = 1,
                             .content = "x",
                             .content_len = 1,
                             .version = v_now(),
                             .state = "one"};
    l3_put(f, se__item_new(&spec));
    for (int i = 0; i < 3; i++) {
        spec.version++;
        spec.state = i % 2 ? "one" : "two";
        l3_put(f, se__item_new(&spec));
        cr_assert_eq(scan_count(f, (struct tier_scan){.state = spec.state}), 1);
        cr_assert_eq(scan_count(f, (struct tier_scan){.state = i % 2 ? "two" : "one"}), 0);
    }
}
ON_EVERY_DRIVER(a_changed_state_is_found_under_the_new_one)

/* A table that somebody made looser: NULLs everywhere are garbage and no crash. */
static void nulls_are_corrupt(struct l3_fixture *f)
{
    static const char *const columns[] = {
        "version",      "record_hash",  "updated_at", "state",   "content_type",
        "encoding",     "content_hash", "bucket",     "leaf_hi", "leaf_lo",
        "cache_ttl_ms", "expires_at",   "deleted",    "route"};
    if (!f->server)
        return; /* STRICT and NOT NULL cannot be altered there */
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        char sql[200];
        bool hash = strstr(columns[i], "hash") != NULL, state = strcmp(columns[i], "state") == 0;
        snprintf(sql, sizeof sql, "ALTER TABLE sync_items MODIFY %s %s NULL", columns[i],
                 hash    ? "VARBINARY(40)"
                 : state ? "LONGTEXT"
                         : "BIGINT");
        cr_assert(l3_sql(f, sql));
        l3_put(f, l3_item("null", v_now(), "x"));
        snprintf(sql, sizeof sql, "UPDATE sync_items SET %s = NULL", columns[i]);
        cr_assert(l3_sql(f, sql));
        enum tier_found found;
        cr_assert_null(l3_get(f, "null", &found));
        cr_assert_eq(found, TIER_CORRUPT, "%s", columns[i]);
        cr_assert(l3_sql(f, "DELETE FROM sync_items"));
    }
    l3_put(f, l3_item("long", v_now(), "x"));
    cr_assert(l3_sql(
        f, "UPDATE sync_items SET content_hash = REPEAT('h', 33), state = REPEAT('s', 70000)"));
    enum tier_found found;
    cr_assert_null(l3_get(f, "long", &found));
    cr_assert_eq(found, TIER_CORRUPT);
}
ON_BOTH_DIALECTS(nulls_are_corrupt)

/* A list is asked for as a table (sqlite_asked.h): one of its name in the file is another's. */
Test(sqlite, no_table_in_the_file_stands_in_for_a_list)
{
    struct l3_fixture f;
    l3_start(&f, L3_SQLITE, NULL);
    l3_put(&f, l3_item("a", v_now(), "of a"));
    l3_put(&f, l3_item("b", v_now(), "of b"));
    cr_assert(l3_sql(&f, "CREATE TABLE se_asked (id TEXT); INSERT INTO se_asked VALUES ('b')"));
    struct tier_read reads[3] = {
        {.id = "b", .id_len = 1}, {.id = "a", .id_len = 1}, {.id = "b", .id_len = 1}};
    cr_assert_eq(f.tier.ops->read(f.tier.self, reads, 3, l3_soon()).fault, TIER_FINE);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(reads[i].found, TIER_HIT, "%u", i);
        cr_assert_str_eq(se_item_id(reads[i].item), reads[i].id);
        se_item_release(reads[i].item);
    }
    l3_stop(&f);
}
