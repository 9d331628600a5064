/*
 * Bytes that others put below an engine: rows changed by hand, garbage under its keys in Redis and in its meta table, versions from a clock
 * that is wrong, another engine on the same database. Wrong answers, crashes and hangs are what must not come of it.
 */
#include "base/os.h"
#include "engine/engine.h"
#include "integration/truth.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape sqlite_only = {"sqlite", SQLITE, false, false};
static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};
static const struct shape mysql_only = {"mysql", MYSQL, false, false};
static const struct shape cached = {"redis+sqlite", SQLITE, true, false};
static const struct shape redis_only = {"redis", NO_SQL, true, false};

static double corrupt_count(se_engine *e, const char *tier)
{
    return bed_metric(e, "sync_engine_corruption_detected_total", tier);
}

static void flush(se_engine *e)
{
    cr_assert_eq(se_flush(e, 20000), SE_OK, "%s", se_errmsg());
}

/* ---- rows ---- */

#define COLUMNS                                                                                    \
    "version, record_hash, updated_at, state, content_type, encoding, content_hash, payload, "     \
    "payload_blob, bucket, leaf_hi, leaf_lo, cache_ttl_ms, expires_at, deleted, route, purge_at"

static const struct {
    const char *id, *sql;
} damages[] = {
    {"d:payload", "UPDATE sync_items SET payload_blob = x'6576696c' WHERE id = 'd:payload'"},
    {"d:longer",
     "UPDATE sync_items SET payload_blob = x'676f6f642c20616e64206d6f7265' WHERE id = 'd:longer'"},
    {"d:state", "UPDATE sync_items SET state = 'blue' WHERE id = 'd:state'"},
    {"d:nostate", "UPDATE sync_items SET state = '' WHERE id = 'd:nostate'"},
    {"d:version", "UPDATE sync_items SET version = version + 1 WHERE id = 'd:version'"},
    {"d:negative", "UPDATE sync_items SET version = -5 WHERE id = 'd:negative'"},
    {"d:flag", "UPDATE sync_items SET deleted = 1 WHERE id = 'd:flag'"},
    {"d:flag7", "UPDATE sync_items SET deleted = 7 WHERE id = 'd:flag7'"},
    {"d:type", "UPDATE sync_items SET content_type = 99 WHERE id = 'd:type'"},
    {"d:encoding", "UPDATE sync_items SET encoding = 3 WHERE id = 'd:encoding'"},
    {"d:both", "UPDATE sync_items SET payload = 'good' WHERE id = 'd:both'"},
    {"d:none", "UPDATE sync_items SET payload_blob = NULL WHERE id = 'd:none'"},
    {"d:expiry", "UPDATE sync_items SET expires_at = 4000000000000 WHERE id = 'd:expiry'"},
    {"d:route", "UPDATE sync_items SET route = 0 WHERE id = 'd:route'"},
    {"d:copied",
     "DELETE FROM sync_items WHERE id = 'd:copied'; INSERT INTO sync_items (id, " COLUMNS
     ") SELECT 'd:copied', " COLUMNS " FROM sync_items WHERE id = 'intact'"},
};
#define DAMAGES (sizeof damages / sizeof *damages)

static se_result never_run(void *arg, const char *id, void **content, size_t *len)
{
    (void)id;
    (void)content;
    (void)len;
    *(bool *)arg = true;
    return SE_ERR_IO;
}

static void expect_corrupt(se_engine *e, const char *id)
{
    se_item *item = NULL;
    bool found, ran = false;
    char buffer[8];
    size_t len;
    double before = corrupt_count(e, "tier=\"l3\"");
    cr_assert_eq(se_get(e, id, &item), SE_ERR_CORRUPT, "%s: %s", id, se_errmsg());
    cr_assert_null(item);
    cr_assert(strstr(se_errmsg(), id), "it does not say which: %s", se_errmsg());
    cr_assert_eq(corrupt_count(e, "tier=\"l3\""), before + 1, "%s is not counted", id);
    cr_assert_eq(se_get_verified(e, id, &item), SE_ERR_CORRUPT);
    cr_assert_eq(se_get_copy(e, id, buffer, sizeof buffer, &len), SE_ERR_CORRUPT);
    cr_assert_eq(se_contains(e, id, &found), SE_ERR_CORRUPT);
    cr_assert_eq(se_set_state(e, id, "x"), SE_ERR_CORRUPT);
    cr_assert_eq(se_get_or_insert_with(e, id, never_run, &ran, NULL, &item), SE_ERR_CORRUPT);
    cr_assert(!ran, "%s: the factory ran over a damaged row", id);
}

static bool only_intact(void *arg, se_item *item)
{
    ++*(unsigned *)arg;
    cr_assert_str_eq(se_item_id(item), "intact");
    return true;
}

/* New writes and deletes get the better of any damaged row. */
static void heal(se_engine *e)
{
    for (size_t i = 0; i < DAMAGES; i++) {
        if (i % 3)
            bed_put(e, damages[i].id, "healed");
        else
            cr_assert_eq(se_delete(e, damages[i].id, NULL), SE_OK);
    }
    flush(e);
    cr_assert_eq(se_invalidate_prefix(e, ""), SE_OK);
    for (size_t i = 0; i < DAMAGES; i++)
        bed_expect(e, damages[i].id, i % 3 ? "healed" : NULL);
}

static void rows_by_hand(const struct shape *shape, struct mariadb_server *mariadb)
{
    struct bed b;
    unsigned seen = 0;
    bed_make(&b, shape, NULL, mariadb);
    se_engine *e = bed_open(&b);
    bed_put(e, "intact", "good");
    bed_put(e, "removed", "good");
    for (size_t i = 0; i < DAMAGES; i++)
        bed_put(e, damages[i].id, "good");
    flush(e);
    for (size_t i = 0; i < DAMAGES; i++)
        truth_run(&b, mariadb, damages[i].sql);
    truth_run(&b, mariadb, "DELETE FROM sync_items WHERE id = 'removed'");
    truth_run(&b, mariadb,
              mariadb ? "INSERT INTO sync_items (id, " COLUMNS ") SELECT x'ff0aff', " COLUMNS
                        " FROM sync_items WHERE id = 'intact'"
                      : "INSERT INTO sync_items (id, " COLUMNS
                        ") SELECT CAST(x'ff0aff' AS TEXT), " COLUMNS
                        " FROM sync_items WHERE id = 'intact'");
    bed_expect(e, "d:payload", "good"); /* from memory */
    bed_expect(e, "removed", "good");
    cr_assert_eq(se_invalidate_prefix(e, ""), SE_OK);
    for (size_t i = 0; i < DAMAGES; i++)
        expect_corrupt(e, damages[i].id);
    bed_expect(e, "removed", NULL);
    double before = corrupt_count(e, "tier=\"l3\"");
    cr_assert_eq(se_scan_prefix(e, "", 0, only_intact, &seen), SE_OK);
    cr_assert_eq(seen, 1);
    cr_assert_gt(corrupt_count(e, "tier=\"l3\""), before, "rows left out are not counted");
    const char *ids[] = {"d:payload", "intact", "d:route", "absent"};
    se_item *items[4];
    se_result results[4];
    cr_assert_eq(se_get_many(e, ids, 4, items, results), SE_OK);
    cr_assert(results[0] == SE_ERR_CORRUPT && results[1] == SE_OK && results[2] == SE_ERR_CORRUPT &&
              results[3] == SE_NOT_FOUND);
    cr_assert(!items[0] && items[1] && !items[2] && !items[3]);
    se_item_release(items[1]);
    cr_assert_lt(se_get_many(e, ids, 4, items, NULL), 0);
    cr_assert(!items[0] && !items[1] && !items[2] && !items[3]);
    heal(e);
    truth_balance(e);
    bed_close(&b, e);
    bed_remove(&b);
}

Test(garbage, rows_changed_by_hand_are_corrupt_and_the_rest_goes_on)
{
    rows_by_hand(&sqlite_only, NULL);
    struct mariadb_server *mariadb = mariadb_start(false, NULL);
    cr_assert(mariadb);
    rows_by_hand(&mysql_only, mariadb);
    mariadb_close(mariadb);
}

static bool count_ids(void *arg, se_item *item)
{
    (void)item;
    ++*(unsigned *)arg;
    return true;
}

/* Pages full of damaged rows do not end a scan before its end. */
Test(garbage, a_scan_gets_past_thousands_of_damaged_rows)
{
    struct bed b;
    unsigned seen = 0;
    uint64_t deleted = 0;
    bed_make(&b, &sqlite_only, NULL, NULL);
    se_engine *e = bed_open(&b);
    bed_put(e, "a", "first");
    bed_put(e, "z", "last");
    flush(e);
    truth_run(&b, NULL,
              "INSERT INTO sync_items (id, " COLUMNS
              ") WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
              "WHERE i < 5000) SELECT printf('g:%05d', i), " COLUMNS " FROM n, (SELECT " COLUMNS
              " FROM sync_items WHERE id = 'a')");
    cr_assert_eq(se_scan_prefix(e, "", 0, count_ids, &seen), SE_OK, "%s", se_errmsg());
    cr_assert_eq(seen, 2);
    seen = 0;
    cr_assert_eq(se_scan_state(e, "default", 0, count_ids, &seen), SE_OK, "%s", se_errmsg());
    cr_assert_eq(seen, 2);
    cr_assert_eq(se_delete_prefix(e, "z", &deleted), SE_OK);
    cr_assert_eq(deleted, 1);
    bed_expect(e, "z", NULL);
    bed_close(&b, e);
    bed_remove(&b);
}

/* ---- Redis ---- */

#define KEYS 150
#define RECORD_MAX 512

static void key_of(unsigned i, char id[32])
{
    snprintf(id, 32, "g:%03u", i);
}

/* Key i gets garbage of its own kind: noise, its record cut or with one byte changed, another id's record, other types. */
static void spoil(const struct redis_server *redis, unsigned i, unsigned *random)
{
    char key[40] = "sync:", record[RECORD_MAX], other[RECORD_MAX], reply[64];
    key_of(i, key + 5);
    size_t len = redis_server_ask(redis, record, sizeof record, "GET %s", key);
    cr_assert(len > 80 && len < sizeof record);
    if (i < 20) {
        len = (unsigned)rand_r(random) % 300;
        for (size_t at = 0; at < len; at++)
            record[at] = (char)rand_r(random);
    } else if (i < 30)
        len = len * (i - 20) / 10;
    else if (i < 130)
        record[i - 30] ^= (char)(1u << i % 8); /* all of the header, and the content behind it */
    else if (i < 135)
        len = redis_server_ask(redis, record, sizeof record, "GET %s", "sync:other");
    redis_server_ask(redis, other, sizeof other, "DEL %s", key);
    if (i < 135)
        redis_server_ask(redis, reply, sizeof reply, "SET %s %b", key, record, len);
    else if (i < 140)
        redis_server_ask(redis, reply, sizeof reply, "RPUSH %s a b c", key);
    else if (i < 145)
        redis_server_ask(redis, reply, sizeof reply,
                         "HSET %s version 99999999999999999999 content x", key);
    else
        redis_server_ask(redis, reply, sizeof reply, "SADD %s a", key);
    cr_assert(reply[0] != '(', "%s", reply);
}

static void fill_and_spoil(struct bed *b, struct redis_server *redis)
{
    unsigned random = (unsigned)se__random_u64();
    (void)fprintf(stderr, "seed %u\n", random);
    se_engine *e = bed_open(b);
    bed_put(e, "other", "of another id");
    for (unsigned i = 0; i < KEYS; i++) {
        char id[32];
        key_of(i, id);
        bed_put(e, id, "good, and somewhat longer than nothing at all");
    }
    flush(e);
    bed_close(b, e);
    for (unsigned i = 0; i < KEYS; i++)
        spoil(redis, i, &random);
}

static void expect_all(struct bed *b, const char *content)
{
    se_engine *e = bed_open(b);
    for (unsigned i = 0; i < KEYS; i++) {
        char id[32];
        key_of(i, id);
        bed_expect(e, id, content);
    }
    bed_expect(e, "other", "of another id");
    bed_close(b, e);
}

static void put_all(se_engine *e, const char *content)
{
    for (unsigned i = 0; i < KEYS; i++) {
        char id[32];
        key_of(i, id);
        bed_put(e, id, content);
    }
    flush(e);
}

Test(garbage, beside_a_database_redis_may_hold_anything)
{
    struct redis_server redis = {0};
    redis_server_start(&redis, NULL);
    struct bed b;
    bed_make(&b, &cached, &redis, NULL);
    fill_and_spoil(&b, &redis);
    se_engine *e = bed_open(&b);
    for (unsigned i = 0; i < KEYS; i++) {
        char id[32];
        key_of(i, id);
        bed_expect(e, id, "good, and somewhat longer than nothing at all");
    }
    double found = corrupt_count(e, "tier=\"l2\"");
    cr_assert(found >= KEYS - 20, "%.0f are counted",
              found); /* a record cut to nothing is one of an absent key */
    bed_close(&b, e);
    expect_all(&b, "good, and somewhat longer than nothing at all");
    e = bed_open(&b);
    for (
        unsigned i = 0; i < 135;
        i++) { /* strings were put right by the first read; other types are left to the next write */
        char id[32];
        key_of(i, id);
        bed_expect(e, id, "good, and somewhat longer than nothing at all");
    }
    cr_assert_eq(corrupt_count(e, "tier=\"l2\""), 0);
    put_all(e, "newer");
    bed_close(&b, e);
    expect_all(&b, "newer");
    bed_remove(&b);
    redis_server_stop(&redis);
}

static void put_foreign_keys(const struct redis_server *redis)
{
    char reply[64], long_key[400];
    memset(long_key, 'k', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = '\0';
    redis_server_ask(redis, reply, sizeof reply, "SET sync: x");
    redis_server_ask(redis, reply, sizeof reply, "SET sync:%s x", long_key);
    redis_server_ask(redis, reply, sizeof reply, "SET %b x", "sync:\xff\xfe", (size_t)7);
    redis_server_ask(redis, reply, sizeof reply, "SET %b x", "sync:\x01mine?", (size_t)11);
    redis_server_ask(redis, reply, sizeof reply, "SET sync x");
}

Test(garbage, where_redis_is_home_garbage_is_corrupt_until_it_is_written)
{
    struct redis_server redis = {0};
    redis_server_start(&redis, NULL);
    struct bed b;
    bed_make(&b, &redis_only, &redis, NULL);
    fill_and_spoil(&b, &redis);
    put_foreign_keys(&redis);
    se_engine *e = bed_open(&b);
    for (unsigned i = 0; i < KEYS; i++) {
        char id[32];
        se_item *item;
        key_of(i, id);
        se_result r = se_get(e, id, &item);
        cr_assert_eq(r, SE_ERR_CORRUPT, "%s: %d %s", id, r, se_errmsg());
    }
    cr_assert_eq(corrupt_count(e, "tier=\"l2\""), KEYS);
    unsigned seen = 0;
    cr_assert_eq(se_scan_prefix(e, "other", 0, count_ids, &seen), SE_OK, "%s", se_errmsg());
    cr_assert_eq(seen, 1);
    put_all(e, "newer");
    bed_close(&b, e);
    expect_all(&b, "newer");
    e = bed_open(&b);
    seen = 0;
    cr_assert_eq(se_scan_prefix(e, "", 0, count_ids, &seen), SE_OK, "%s", se_errmsg());
    cr_assert_eq(seen, KEYS + 1);
    bed_close(&b, e);
    bed_remove(&b);
    redis_server_stop(&redis);
}

/* ---- meta rows ---- */

Test(garbage, meta_rows_changed_by_hand_stop_nothing)
{
    struct redis_server redis = {0};
    redis_server_start(&redis, NULL);
    struct bed b;
    bed_make(&b, &cached, &redis, NULL);
    se_engine *e = bed_open(&b);
    bed_put(e, "a", "1");
    bed_close(&b, e);
    truth_run(&b, NULL,
              "INSERT INTO sync_items_meta VALUES ('owner:x', 'garbage'), ('owner:', '1 open'), "
              "('owner:far', '1 closed 9223372036854775807 1 - x'), "
              "('owner:' || hex(zeroblob(500)), '1 closed 99999999999999999999999 1 - x')");
    truth_run(&b, NULL,
              "UPDATE sync_items_meta SET value = 'no number' WHERE name = 'l2_generation'");
    e = bed_open(&b);
    bed_expect(e, "a", "1");
    bed_put(e, "a", "2");
    bed_put(e, "a", "3");
    se_item *item;
    cr_assert_eq(se_get(e, "a", &item), SE_OK);
    cr_assert_lt(se__version_ms(se_item_version(item)), se__wall_ms() + 60000,
                 "a garbage ceiling pushed the clock");
    se_item_release(item);
    bed_close(&b, e);
    e = bed_open(&b);
    bed_expect(e, "a", "3");
    bed_close(&b, e);
    bed_remove(&b);
    redis_server_stop(&redis);
}

/* ---- clocks ---- */

#define DAY_MS 86400000

/* An item written by an engine whose clock is a day ahead, which then leaves no trace but the row. */
static uint64_t write_from_tomorrow(struct bed *b, const char *id)
{
    se_item *item;
    se_engine *e = bed_open(b);
    uint64_t tomorrow = se__version_of_ms(se__wall_ms() + DAY_MS);
    cr_assert(se__hlc_observe(&e->hlc, tomorrow, se__wall_ms(), UINT32_MAX));
    bed_put(e, id, "from tomorrow");
    cr_assert_eq(se_get(e, id, &item), SE_OK);
    uint64_t version = se_item_version(item);
    cr_assert_gt(version, tomorrow);
    se_item_release(item);
    bed_close(b, e);
    truth_run(b, NULL, "DELETE FROM sync_items_meta WHERE name LIKE 'owner:%'");
    return version;
}

static uint64_t version_of(se_engine *e, const char *id)
{
    se_item *item;
    cr_assert_eq(se_get(e, id, &item), SE_OK, "%s", se_errmsg());
    uint64_t version = se_item_version(item);
    se_item_release(item);
    return version;
}

Test(garbage, a_row_from_tomorrow_does_not_push_the_clock_and_the_next_write_wins)
{
    struct bed b;
    bed_make(&b, &sqlite_only, NULL, NULL);
    uint64_t far = write_from_tomorrow(&b, "x");
    truth_listen(&b.config);
    se_engine *e = bed_open(&b);
    bed_expect(e, "x", "from tomorrow");
    cr_assert_geq(bed_metric(e, "sync_engine_clock_skew_total", ""), 1);
    cr_assert(truth_heard("clock is wrong"));
    bed_put(e, "y", "now");
    cr_assert_lt(se__version_ms(version_of(e, "y")), se__wall_ms() + 60000, "the clock was pushed");
    bed_put(e, "x", "newer than tomorrow");
    cr_assert_gt(version_of(e, "x"), far);
    cr_assert_eq(se_delete(e, "x", NULL), SE_OK);
    bed_put(e, "x", "newest");
    flush(e);
    cr_assert_eq(se_invalidate_prefix(e, ""), SE_OK);
    bed_expect(e, "x", "newest");
    bed_put(e, "y", "still now");
    cr_assert_lt(se__version_ms(version_of(e, "y")), se__wall_ms() + 60000, "the clock was pushed");
    flush(e); /* the numbers are read one after the other */
    truth_balance(e);
    bed_close(&b, e);
    e = bed_open(&b);
    bed_expect(e, "x", "newest");
    bed_close(&b, e);
    bed_remove(&b);
}

/* Written without having been read, and with a version below that row's: once the database says so it is written again above it. */
Test(garbage, a_blind_write_below_a_row_from_tomorrow_wins_all_the_same)
{
    struct bed b;
    bed_make(&b, &sqlite_wal, NULL, NULL);
    bed_close(&b, bed_open(&b));
    b.config.wal_path = NULL; /* the ceiling of the wrong clock stays out of this engine's WAL */
    uint64_t far = write_from_tomorrow(&b, "x");
    b.config.wal_path = b.wal;
    se_engine *e = bed_open(&b);
    bed_put(e, "x", "blind");
    bed_expect(e, "x", "blind");
    flush(e);
    bed_expect(e, "x", "blind");
    cr_assert_gt(version_of(e, "x"), far);
    bed_put(e, "y", "now");
    cr_assert_lt(se__version_ms(version_of(e, "y")), se__wall_ms() + 60000, "the clock was pushed");
    flush(e);
    cr_assert_eq(se_invalidate_prefix(e, ""), SE_OK);
    bed_expect(e, "x", "blind");
    cr_assert_eq(se_delete(e, "x", NULL), SE_OK);
    flush(e);
    cr_assert_eq(se_invalidate(e, "x"), SE_OK);
    bed_expect(e, "x", NULL);
    truth_balance(e);
    bed_close(&b, e);
    bed_remove(&b);
}

/* ---- two engines, one database ---- */

struct sight {
    se_engine *e;
    double owners;
    const char *content;
};

static bool sees_owners(void *arg)
{
    struct sight *s = arg;
    return bed_metric(s->e, "sync_engine_foreign_owners", "") == s->owners;
}

static bool reads_content(void *arg)
{
    struct sight *s = arg;
    char got[64];
    size_t len = 0;
    cr_assert_eq(se_get_copy(s->e, "x", got, sizeof got, &len), SE_OK, "%s", se_errmsg());
    return len == strlen(s->content) && memcmp(got, s->content, len) == 0;
}

Test(garbage, a_second_engine_on_the_database_is_seen_and_copies_live_shortly)
{
    struct mariadb_server *mariadb = mariadb_start(false, NULL);
    cr_assert(mariadb);
    struct bed b;
    bed_make(&b, &mysql_only, NULL, mariadb);
    b.config.name = "first";
    se_engine *first = bed_open(&b);
    bed_put(first, "x", "old");
    flush(first);
    cr_assert_eq(bed_metric(first, "sync_engine_foreign_owners", ""), 0);
    b.config.name = "second";
    se_engine *second = bed_open(&b);
    cr_assert_eq(bed_metric(second, "sync_engine_foreign_owners", ""), 1, "seen at its start");
    struct sight sight = {first, 1, "new"};
    bed_wait(sees_owners, &sight, "the first one sees the second");
    bed_expect(first, "x", "old");
    bed_put(second, "x", "new");
    flush(second);
    bed_wait(reads_content, &sight, "the first one reads what the second wrote");
    bed_put(first, "x", "newest");
    flush(first);
    sight = (struct sight){second, 1, "newest"};
    bed_wait(reads_content, &sight, "the second one reads what the first wrote");
    bed_close(&b, second);
    sight = (struct sight){first, 0, NULL};
    bed_wait(sees_owners, &sight, "the first one is alone again");
    bed_close(&b, first);
    bed_remove(&b);
    mariadb_close(mariadb);
}
