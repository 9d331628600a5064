/*
 * l3_damage - a table whose rows somebody edited.
 */
#include "l3_damage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct l3_damage damages[] = {
    {"bucket = 70000", TIER_HEADERS, false, true, true},
    {"bucket = 2147483647", TIER_HEADERS, false, true, true},
    {"bucket = -5", TIER_HEADERS, false, true, true},
    {"bucket = -2147483648", TIER_HEADERS, false, true, true},
    {"bucket = (bucket + 1) % 65536", TIER_HEADERS, false, true, true},
    {"bucket = NULL", TIER_HEADERS, false, true, true},
    {"leaf_hi = 17", TIER_HEADERS, false, true, true},
    {"leaf_lo = NULL", TIER_HEADERS, false, true, true},
    {"version = version + 1", TIER_HEADERS, false, true, true},
    {"version = NULL", TIER_HEADERS, false, true, true},
    {"version = -1", TIER_HEADERS, false, true, true},
    {"record_hash = NULL", TIER_HEADERS, false, true, true},
    {"record_hash = 'short'", TIER_HEADERS, false, true, true},
    {"record_hash = content_hash", TIER_HEADERS, false, true, true},
    {"updated_at = NULL", TIER_HEADERS, false, true, true},
    {"state = ''", TIER_HEADERS, false, true, true},
    {"state = NULL", TIER_HEADERS, false, true, true},
    {"state = 'other'", TIER_HEADERS, false, true, true},
    {"content_type = 9", TIER_HEADERS, false, true, true},
    {"encoding = 3", TIER_CONTENTS, true, true, true},
    {"encoding = -1", TIER_CONTENTS, true, true, true},
    {"encoding = 1", TIER_CONTENTS, true, true, true},
    {"encoding = 2", TIER_CONTENTS, true, true, true},
    {"encoding = NULL", TIER_HEADERS, false, true, true},
    {"encoding = 128", TIER_HEADERS, false, true, false},
    {"content_hash = record_hash", TIER_HEADERS, false, true, true},
    {"content_hash = NULL", TIER_HEADERS, false, true, true},
    {"cache_ttl_ms = 5", TIER_HEADERS, false, true, true},
    {"expires_at = 5", TIER_HEADERS, false, true, true},
    {"expires_at = NULL", TIER_HEADERS, false, true, true},
    {"deleted = 7", TIER_HEADERS, false, true, true},
    {"deleted = NULL", TIER_HEADERS, false, true, true},
    {"route = 0", TIER_HEADERS, false, true, true},
    {"payload_blob = NULL", TIER_CONTENTS, true, true, true},
    {"payload_blob = 'other'", TIER_CONTENTS, true, true, true},
    {"payload_blob = ''", TIER_CONTENTS, true, true, true},
    {"payload = '1'", TIER_CONTENTS, true, true, true},
    {"bucket = 9223372036854775807", TIER_HEADERS, false, true, false},
    {"bucket = -9223372036854775808", TIER_HEADERS, false, true, false},
    {"bucket = 'text'", TIER_HEADERS, false, true, false},
    {"bucket = x'00'", TIER_HEADERS, false, true, false},
    {"bucket = 3001", TIER_HEADERS, false, true, true},
    {"bucket = 0", TIER_HEADERS, false, true, true},
    {"bucket = 3000.5", TIER_HEADERS, false, true, false},
    {"bucket = -0.5", TIER_HEADERS, false, true, false},
    {"bucket = 1e300", TIER_HEADERS, false, true, false},
    {"bucket = 100000000.5", TIER_HEADERS, false, true, false},
    {"version = 'text'", TIER_HEADERS, false, true, false},
    {"version = 1.5", TIER_HEADERS, false, true, false},
    {"leaf_hi = 'x'", TIER_HEADERS, false, true, false},
    {"deleted = 'no'", TIER_HEADERS, false, true, false},
    {"record_hash = 12", TIER_HEADERS, false, true, false},
    {"payload_blob = 12", TIER_CONTENTS, true, true, false},
};
#define DAMAGES (sizeof damages / sizeof damages[0])

static const char *const loose_sqlite =
    "CREATE TABLE loose (id TEXT PRIMARY KEY, version INTEGER, record_hash BLOB, updated_at "
    "INTEGER, state TEXT, content_type INTEGER, encoding INTEGER, content_hash BLOB, payload TEXT, "
    "payload_blob BLOB, bucket INTEGER, leaf_hi INTEGER, leaf_lo INTEGER, cache_ttl_ms INTEGER, "
    "expires_at INTEGER, deleted INTEGER, route INTEGER, purge_at INTEGER)";
static const char *const loose_mysql =
    "CREATE TABLE loose LIKE sync_items; ALTER TABLE loose MODIFY id VARBINARY(600) NOT NULL, "
    "MODIFY version BIGINT, MODIFY record_hash VARBINARY(16), MODIFY updated_at BIGINT, MODIFY "
    "state VARBINARY(32), MODIFY content_type TINYINT, MODIFY encoding TINYINT, MODIFY "
    "content_hash VARBINARY(16), MODIFY bucket INT, MODIFY leaf_hi BIGINT, MODIFY leaf_lo BIGINT, "
    "MODIFY cache_ttl_ms BIGINT, MODIFY expires_at BIGINT, MODIFY deleted TINYINT, MODIFY route "
    "TINYINT";

/* Empty, not UTF-8, a NUL, above all others, control bytes, longer than ids may be. */
static const char *const odd_ids[L3_DAMAGE_ODD] = {"''",          "x'fffe80'", "x'610062'",
                                                   "x'ffffffff'", "x'0a0d'",   NULL};

static bool possible(const struct l3_fixture *f, const struct l3_damage *d)
{
    return f->server ? d->mysql : d->sqlite;
}

static void put_rows(struct l3_fixture *f)
{
    for (unsigned i = 0; i < L3_DAMAGE_ROWS; i++) {
        char id[16];
        snprintf(id, sizeof id, "row%03u", i);
        l3_put(f, i % 11 == 10 && i >= DAMAGES ? l3_tombstone(id, l3_now_version())
                                               : l3_item(id, l3_now_version(), "some text"));
    }
}

static void add_odd_row(struct l3_fixture *f, const char *literal)
{
    char sql[1200], as[700] = "", *at = as;
    if (!literal) {
        at += sprintf(at, "x'");
        for (int i = 0; i < 300; i++)
            at += sprintf(at, "7a");
        sprintf(at, "'");
        literal = as;
    }
    snprintf(sql, sizeof sql,
             "INSERT INTO loose SELECT %s%s%s, version, record_hash, updated_at, state, "
             "content_type, encoding, content_hash, payload, payload_blob, bucket, leaf_hi, "
             "leaf_lo, cache_ttl_ms, expires_at, deleted, route, purge_at FROM loose WHERE id = "
             "'row299'",
             f->server ? "" : "CAST(", literal, f->server ? "" : " AS TEXT)");
    cr_assert(l3_sql(f, sql));
}

void l3_damage_table(struct l3_fixture *f)
{
    cr_assert(l3_sql(f, f->server ? loose_mysql : loose_sqlite));
    l3_close(&f->tier);
    f->options.table = "loose";
    f->tier = l3_open(f, SE_OK);
    put_rows(f);
    for (unsigned i = 0; i < DAMAGES; i++) {
        char sql[200];
        snprintf(sql, sizeof sql, "UPDATE loose SET %s WHERE id = 'row%03u'", damages[i].set, i);
        if (possible(f, &damages[i]))
            cr_assert(l3_sql(f, sql), "%s", damages[i].set);
    }
    for (unsigned i = 0; i < L3_DAMAGE_ODD; i++)
        add_odd_row(f, odd_ids[i]);
    cr_assert_eq((size_t)l3_number(f, "SELECT COUNT(*) FROM loose"), l3_damage_count(f));
}

const struct l3_damage *l3_damage_of(const struct l3_fixture *f, const char *id, size_t len,
                                     bool *odd)
{
    *odd = len != 6 || memcmp(id, "row", 3) != 0;
    size_t i = *odd ? DAMAGES : (size_t)atoi(id + 3);
    return i < DAMAGES && possible(f, &damages[i]) ? &damages[i] : NULL;
}

size_t l3_damage_count(const struct l3_fixture *f)
{
    (void)f;
    return L3_DAMAGE_ROWS + L3_DAMAGE_ODD;
}
