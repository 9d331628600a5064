/*
 * Compression in L3 as a service has it: through the engine, with what it leaves in the tiers, its outages and its damage.
 */
#include "base/os.h"
#include "integration/stand.h"
#include "integration/truth.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape mysql_both = {"redis+mysql", MYSQL, true, false};
static const struct shape mysql_wal = {"mysql+wal", MYSQL, false, true};
static const struct shape sqlite_both = {"redis+sqlite", SQLITE, true, false};
static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};
static const struct shape redis_only = {"redis", NO_SQL, true, false};

#define EACH 200 /* items in every form */

/* ---- items ---- */

static void id_of(int i, char id[32])
{
    snprintf(id, 32, "item:%06d", i);
}

static size_t content_of(int i, const char *word, char content[400])
{
    unsigned r = (unsigned)i * 2654435761u;
    return (size_t)snprintf(content, 400,
                            "{\"customer\":%d,\"word\":\"%s\",\"city\":\"Innsbruck\",\"plan\":"
                            "\"premium\",\"balance_cents\":%u,\"session\":"
                            "\"%08x\",\"billing\":\"Innsbruck, premium, "
                            "active\",\"shipping\":\"Innsbruck, premium, active\"}",
                            i, word, r % 100000, r);
}

static void put(se_engine *e, int i, const char *word, se_ack ack)
{
    char id[32], content[400];
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = ack;
    id_of(i, id);
    se_result r = se_submit(e, id, content, content_of(i, word, content), &o);
    cr_assert(r == SE_OK || r == SE_PENDING, "%s: %s", id, se_errmsg());
}

static void put_range(struct stand *s, int from, int n)
{
    for (int i = from; i < from + n; i++)
        put(s->e, i, "first", SE_ACK_DEFAULT);
    stand_flush(s);
}

static bool is_item(const se_item *item, int i, const char *word)
{
    char content[400];
    size_t len = content_of(i, word, content);
    return item && se_item_content_len(item) == len &&
           memcmp(se_item_content(item), content, len) == 0 &&
           se_item_content_type(item) == SE_CONTENT_JSON;
}

static void expect_item(se_engine *e, int i, const char *word)
{
    char id[32];
    se_item *item = NULL;
    id_of(i, id);
    cr_assert_eq(se_get_verified(e, id, &item), SE_OK, "%s: %s", id, se_errmsg());
    cr_assert(is_item(item, i, word), "%s", id);
    se_item_release(item);
}

static long long rows(struct stand *s, int encoding)
{
    char sql[100];
    snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM sync_items WHERE encoding = %d", encoding);
    return truth_number(&s->bed, s->mariadb, sql);
}

static void sql(struct stand *s, const char *format, int i)
{
    char id[32], text[300];
    id_of(i, id);
    snprintf(text, sizeof text, format, id);
    truth_run(&s->bed, s->mariadb, text);
}

static void reopen_as(struct stand *s, se_compression mode)
{
    s->bed.config.sql_compression = mode;
    stand_reopen(s);
}

static se_dictionary train(struct stand *s)
{
    se_dictionary made;
    cr_assert_eq(se_dictionary_train(s->e, 4096, 0, &made), SE_OK, "%s", se_errmsg());
    return made;
}

/* EACH items plain, as many zstd, and as many with each of two dictionaries. The engine is one that has seen nothing. */
static void make_all_forms(struct stand *s, const struct shape *shape)
{
    stand_make(s, shape);
    s->bed.config.redis_timeout_ms = 10000; /* nothing is down here, however busy the machine is */
    s->bed.config.sql_timeout_ms = 20000;
    s->bed.config.read_timeout_ms = 20000;
    s->e = bed_open(&s->bed);
    put_range(s, 0, EACH);
    reopen_as(s, SE_COMPRESSION_ON);
    put_range(s, EACH, EACH);
    for (int i = 2; i < 4; i++) {
        cr_assert_eq(train(s).id, 32767u + (unsigned)i);
        reopen_as(s, SE_COMPRESSION_DICTIONARY);
        put_range(s, i * EACH, EACH);
    }
    stand_reopen(s);
    for (int encoding = 0; encoding < 3; encoding++)
        cr_assert_eq(rows(s, encoding), encoding == 2 ? 2 * EACH : EACH, "%d: %lld", encoding,
                     rows(s, encoding));
}

static void end(struct stand *s)
{
    bed_close(&s->bed, s->e);
    stand_remove(s);
}

/* From now on only the database has anything. */
static void forget_copies(struct stand *s)
{
    bed_close(&s->bed, s->e);
    s->bed.config.redis_url = NULL;
    s->e = bed_open(&s->bed);
}

/* ---- reading ---- */

static bool take(void *arg, se_item *item)
{
    int *n = arg;
    cr_assert(is_item(item, *n, "first"), "%s", se_item_id(item));
    ++*n;
    return true;
}

static void read_many(se_engine *e)
{
    static char texts[4 * EACH][32];
    const char *ids[4 * EACH];
    se_item *items[4 * EACH];
    for (int i = 0; i < 4 * EACH; i++) {
        id_of(i, texts[i]);
        ids[i] = texts[i];
    }
    cr_assert_eq(se_get_many(e, ids, 4 * EACH, items, NULL), SE_OK, "%s", se_errmsg());
    for (int i = 0; i < 4 * EACH; i++) {
        cr_assert(is_item(items[i], i, "first"), "%s", ids[i]);
        se_item_release(items[i]);
    }
}

static se_verify_report verify(struct stand *s, bool repair)
{
    se_verify_options o;
    se_verify_report report;
    se_verify_options_init(&o);
    o.mode = SE_VERIFY_DEEP;
    o.repair = repair;
    cr_assert_eq(se_verify(s->e, &o, &report), SE_OK, "%s", se_errmsg());
    return report;
}

static uint64_t flaws(const se_verify_report *r)
{
    return r->stale_l2 + r->stale_l3 + r->corrupt_l2 + r->corrupt_l3 + r->orphan_l2;
}

static void expect_plain_in_redis(struct stand *s)
{
    for (int form = 0; form < 4; form++) {
        char id[32], content[400], text[500];
        size_t len = content_of(form * EACH, "first", content);
        id_of(form * EACH, id);
        size_t got = redis_server_ask(&s->redis, text, sizeof text, "GETRANGE sync:%s 88 -1", id);
        cr_assert(got == len && memcmp(text, content, len) == 0, "%s in Redis: %s", id, text);
    }
}

static void every_reader_decodes(const struct shape *shape)
{
    struct stand s;
    int n = 0;
    uint64_t count;
    make_all_forms(&s, shape);
    if (shape->redis)
        expect_plain_in_redis(&s);
    se_verify_report r = verify(&s, false);
    cr_assert(flaws(&r) == 0 && r.checked == 4 * EACH && r.roots_equal);
    forget_copies(&s);
    double before = stand_gets(&s, "l3", "hit");
    read_many(s.e);
    cr_assert_eq(stand_gets(&s, "l3", "hit"), before + 4 * EACH, "from the database");
    stand_reopen(&s);
    for (int i = 0; i < 4 * EACH; i += 37)
        expect_item(s.e, i, "first");
    stand_reopen(&s);
    cr_assert_eq(se_scan_prefix(s.e, "item:", 0, take, &n), SE_OK, "%s", se_errmsg());
    cr_assert_eq(n, 4 * EACH);
    cr_assert_eq(se_count_prefix(s.e, "item:", &count), SE_OK);
    cr_assert_eq(count, 4 * EACH);
    r = verify(&s, false);
    cr_assert_eq(flaws(&r), 0);
    reopen_as(&s, SE_COMPRESSION_OFF);
    read_many(s.e);
    put(s.e, 3 * EACH, "second", SE_ACK_DEFAULT);
    stand_flush(&s);
    stand_reopen(&s);
    expect_item(s.e, 3 * EACH, "second");
    cr_assert_eq(rows(&s, 2), 2 * EACH - 1);
    truth_balance(s.e);
    end(&s);
}

Test(compression, every_reader_decodes_redis_and_mariadb)
{
    every_reader_decodes(&mysql_both);
}

Test(compression, every_reader_decodes_redis_and_sqlite)
{
    every_reader_decodes(&sqlite_both);
}

Test(compression, every_reader_decodes_sqlite)
{
    every_reader_decodes(&sqlite_wal);
}

/* ---- outages ---- */

/* What the WAL hands on when the database is back is compressed like everything. */
Test(compression, drained_writes_are_compressed)
{
    struct stand s;
    stand_make(&s, &mysql_wal);
    s.bed.config.sql_compression = SE_COMPRESSION_DICTIONARY;
    s.e = bed_open(&s.bed);
    put_range(&s, 0, EACH);
    cr_assert_eq(rows(&s, 1), EACH, "there is no dictionary yet");
    train(&s);
    stand_reopen(&s);
    cr_assert(mariadb_kill(s.mariadb));
    for (int i = 0; i < EACH; i++)
        put(s.e, i, "second", SE_ACK_WAL);
    bed_close(&s.bed, s.e);
    cr_assert(mariadb_restart(s.mariadb));
    s.e = bed_open(&s.bed);
    bed_wait(truth_all_home, s.e, "the drain");
    cr_assert_eq(rows(&s, 2), EACH, "%lld", rows(&s, 2));
    stand_reopen(&s);
    for (int i = 0; i < EACH; i += 7)
        expect_item(s.e, i, "second");
    end(&s);
}

/* ---- damage ---- */

static void expect_corrupt(struct stand *s, int i, const char *why)
{
    char id[32];
    se_item *item = NULL;
    bool found;
    id_of(i, id);
    cr_assert_eq(se_get(s->e, id, &item), SE_ERR_CORRUPT, "%s", id);
    cr_assert(strstr(se_errmsg(), why), "%s", se_errmsg());
    cr_assert_eq(se_get_verified(s->e, id, &item), SE_ERR_CORRUPT);
    cr_assert(strstr(se_errmsg(), why), "%s", se_errmsg());
    cr_assert_eq(se_contains(s->e, id, &found), SE_ERR_CORRUPT);
    cr_assert_null(item);
}

/* Bombs, cut frames, another encoding. A good copy of the same write in Redis mends them, but for an encoding that a
 * newer library may have written. */
static void damage_is_told_and_mended(const struct shape *shape)
{
    enum { BOMB = 2 * EACH + 1, CUT, NO_FRAME, TEXT, UNKNOWN };
    struct stand s;
    make_all_forms(&s, shape);
    sql(&s,
        "UPDATE sync_items SET encoding = 1, payload_blob = x'28b52ffda0ffffffff00' WHERE id = "
        "'%s'",
        BOMB);
    sql(&s, "UPDATE sync_items SET payload_blob = SUBSTR(payload_blob, 1, 20) WHERE id = '%s'",
        CUT);
    sql(&s, "UPDATE sync_items SET payload_blob = x'00' WHERE id = '%s'", NO_FRAME);
    sql(&s, "UPDATE sync_items SET payload_blob = NULL, payload = '{}' WHERE id = '%s'", TEXT);
    sql(&s, "UPDATE sync_items SET encoding = 99 WHERE id = '%s'", UNKNOWN);
    char *redis = (char *)(uintptr_t)s.bed.config.redis_url;
    forget_copies(&s);
    expect_corrupt(&s, BOMB, "max_payload_bytes");
    for (int i = CUT; i <= TEXT; i++)
        expect_corrupt(&s, i, "compressed content that is damaged");
    expect_corrupt(&s, UNKNOWN, "encoded in a way (99) that this library does not know");
    expect_item(s.e, UNKNOWN + 1, "first");
    se_verify_report r = verify(&s, true);
    cr_assert(r.corrupt_l3 == 5 && r.unrepairable == 5 && r.repaired == 0,
              "no tier has a good copy");
    bed_close(&s.bed, s.e);
    s.bed.config.redis_url = redis;
    s.e = bed_open(&s.bed);
    r = verify(&s, false);
    cr_assert_eq(r.corrupt_l3, 5, "%llu", (unsigned long long)r.corrupt_l3);
    cr_assert_eq(r.unrepairable, 1);
    r = verify(&s, true);
    cr_assert(r.corrupt_l3 == 5 && r.unrepairable == 1 && r.repaired == 4);
    cr_assert_eq(rows(&s, 99), 1, "left alone");
    sql(&s, "UPDATE sync_items SET encoding = 2 WHERE id = '%s'", UNKNOWN);
    r = verify(&s, false);
    cr_assert_eq(flaws(&r), 0);
    cr_assert_eq(rows(&s, 2), 2 * EACH, "mended rows are compressed, too");
    forget_copies(&s);
    for (int i = BOMB; i <= UNKNOWN; i++)
        expect_item(s.e, i, "first");
    end(&s);
}

Test(compression, damage_is_told_and_mended_on_mariadb)
{
    damage_is_told_and_mended(&mysql_both);
}

Test(compression, damage_is_told_and_mended_on_sqlite)
{
    damage_is_told_and_mended(&sqlite_both);
}

/* Its rows are as if damaged, and nothing else; with it they are back, and no older copy has taken their place. */
static void a_dictionary_that_is_gone(const struct shape *shape)
{
    struct stand s;
    make_all_forms(&s, shape);
    truth_run(&s.bed, s.mariadb,
              "UPDATE sync_items_meta SET name = 'kept' WHERE name = 'dictionary/32769'");
    forget_copies(&s);
    expect_corrupt(&s, 2 * EACH, "needs dictionary 32769");
    expect_item(s.e, 3 * EACH, "first");
    se_verify_report r = verify(&s, true);
    cr_assert(r.corrupt_l3 == EACH && r.unrepairable == EACH && r.repaired == 0);
    put(s.e, 2 * EACH, "second", SE_ACK_DEFAULT);
    stand_flush(&s);
    truth_run(&s.bed, s.mariadb,
              "UPDATE sync_items_meta SET name = 'dictionary/32769' WHERE name = 'kept'");
    r = verify(&s, false);
    cr_assert_eq(flaws(&r), 0, "known as soon as it is there");
    stand_reopen(&s);
    expect_item(s.e, 2 * EACH, "second");
    expect_item(s.e, 2 * EACH + 1, "first");
    end(&s);
}

Test(compression, a_dictionary_that_is_gone_on_mariadb)
{
    a_dictionary_that_is_gone(&mysql_both);
}

Test(compression, a_dictionary_that_is_gone_on_sqlite)
{
    a_dictionary_that_is_gone(&sqlite_wal);
}

/* ---- dictionaries ---- */

struct listed {
    se_dictionary all[32];
    int n;
};

static bool list(void *arg, const se_dictionary *d)
{
    struct listed *l = arg;
    cr_assert_lt(l->n, 32);
    l->all[l->n++] = *d;
    return true;
}

static struct listed list_all(se_engine *e)
{
    struct listed l = {.n = 0};
    cr_assert_eq(se_dictionary_list(e, list, &l), SE_OK, "%s", se_errmsg());
    return l;
}

static void expect_refusal(se_engine *e, size_t bytes, size_t samples, se_result expected,
                           const char *why)
{
    se_dictionary made;
    memset(&made, 0x11, sizeof made);
    cr_assert_eq(se_dictionary_train(e, bytes, samples, &made), expected, "%s", se_errmsg());
    cr_assert(strstr(se_errmsg(), why), "%s", se_errmsg());
    cr_assert_eq(made.id, 0x11111111u, "nothing is written on failure");
}

Test(compression, dictionaries_are_listed_and_refused)
{
    struct stand s;
    stand_make(&s, &sqlite_wal);
    s.e = bed_open(&s.bed);
    cr_assert_eq(list_all(s.e).n, 0);
    expect_refusal(s.e, 0, 0, SE_ERR_INVALID, "at least 64 items");
    put_range(&s, 0, EACH);
    expect_refusal(s.e, 100, 0, SE_ERR_INVALID, "bytes must be");
    expect_refusal(s.e, 300 << 10, 0, SE_ERR_INVALID, "bytes must be");
    expect_refusal(s.e, 0, 100001, SE_ERR_INVALID, "samples must be");
    cr_assert_eq(se_dictionary_list(s.e, NULL, NULL), SE_ERR_INVALID);
    cr_assert_eq(list_all(s.e).n, 0);
    se_dictionary first = train(&s);
    cr_assert(first.id == 32769 && first.newest && first.bytes <= 4096 && first.samples >= 20);
    cr_assert(first.packed_bytes * 2 < first.plain_bytes && first.packed_bytes < first.alone_bytes);
    cr_assert_eq(se_dictionary_train(s.e, 2048, 150, NULL), SE_OK, "%s", se_errmsg());
    struct listed l = list_all(s.e);
    cr_assert_eq(l.n, 2);
    cr_assert(l.all[0].id == 32769 && !l.all[0].newest && l.all[1].id == 32770 && l.all[1].newest);
    first.newest = false;
    cr_assert_eq(memcmp(&first, &l.all[0], sizeof first), 0, "as it was told when it was made");
    truth_run(&s.bed, NULL,
              "UPDATE sync_items_meta SET value = 'garbage' WHERE name = 'dictionary/32769'");
    cr_assert_eq(list_all(s.e).n, 1);
    bed_close(&s.bed, s.e);
    s.bed.config.read_only = true;
    s.e = bed_open(&s.bed);
    cr_assert_eq(list_all(s.e).n, 1);
    expect_refusal(s.e, 0, 0, SE_ERR_STATE, "read_only");
    end(&s);
    stand_make(&s, &redis_only);
    s.e = bed_open(&s.bed);
    expect_refusal(s.e, 0, 0, SE_ERR_UNSUPPORTED, "no L3");
    cr_assert_eq(se_dictionary_list(s.e, list, &l), SE_ERR_UNSUPPORTED);
    end(&s);
}

/* Noise, and items without content. */
Test(compression, what_cannot_be_learnt_is_not_stored)
{
    struct stand s;
    stand_make(&s, &sqlite_wal);
    s.e = bed_open(&s.bed);
    srand(11);
    for (int i = 0; i < 2000; i++) {
        char id[32], noise[200];
        for (size_t k = 0; k < sizeof noise; k++)
            noise[k] = (char)rand();
        id_of(i, id);
        cr_assert_eq(se_submit(s.e, id, noise, i % 3 ? sizeof noise : 0, NULL), SE_OK);
    }
    stand_flush(&s);
    expect_refusal(s.e, 0, 0, SE_ERR_INVALID, "");
    cr_assert_eq(list_all(s.e).n, 0);
    end(&s);
}

static bool is_used(void *arg)
{
    struct stand *s = arg;
    static int i;
    i = (i + 1) % EACH;
    put(s->e, i, i % 2 ? "second" : "third", SE_ACK_L3);
    return rows(s, 2) > 0;
}

/* A service that runs takes up what another process has trained. */
Test(compression, a_new_dictionary_is_used_while_the_service_runs)
{
    struct stand s;
    stand_make(&s, &mysql_both);
    s.bed.config.sql_compression = SE_COMPRESSION_DICTIONARY;
    s.e = bed_open(&s.bed);
    put_range(&s, 0, EACH);
    struct bed tool = s.bed;
    tool.config.redis_url = NULL;
    se_engine *other = bed_open(&tool);
    cr_assert_eq(se_dictionary_train(other, 4096, 0, NULL), SE_OK, "%s", se_errmsg());
    bed_close(&tool, other);
    bed_wait(is_used, &s, "a row made with the dictionary");
    end(&s);
}

#define TRAINERS 4

static void train_twice(void *arg)
{
    for (int i = 0; i < 2; i++)
        cr_assert_eq(se_dictionary_train(arg, 2048, 200, NULL), SE_OK, "%s", se_errmsg());
}

/* Each gets an id of its own; the greatest is the newest. */
Test(compression, trainers_side_by_side)
{
    struct stand s;
    struct se__thread threads[TRAINERS] = {0};
    stand_make(&s, &mysql_wal);
    s.bed.config.sql_timeout_ms = 20000;
    s.e = bed_open(&s.bed);
    put_range(&s, 0, 2 * EACH);
    for (int i = 0; i < TRAINERS; i++)
        cr_assert_eq(se__thread_start(&threads[i], "trainer", train_twice, s.e), SE_OK);
    for (int i = 0; i < TRAINERS; i++)
        se__thread_join(&threads[i]);
    struct listed l = list_all(s.e);
    cr_assert_eq(l.n, 2 * TRAINERS);
    for (int i = 0; i < l.n; i++) {
        cr_assert_eq(l.all[i].id, 32769u + (unsigned)i);
        cr_assert_eq(l.all[i].newest, i == l.n - 1);
    }
    end(&s);
}
