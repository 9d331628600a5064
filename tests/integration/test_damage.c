/*
 * Damage made behind the engine's back is found exactly and repaired; what is being written meanwhile is neither.
 */
#include "base/os.h"
#include "integration/stand.h"
#include "integration/truth.h"
#include "item/record.h"
#include "support/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape mysql_both = {"redis+mysql", MYSQL, true, false};
static const struct shape sqlite_both = {"redis+sqlite", SQLITE, true, false};
static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};
static const struct shape redis_only = {"redis", NO_SQL, true, false};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ITEMS 10000 /* the same damage in fewer items: sanitizers take their time */
#else
#define ITEMS 100000
#endif

/* Redis and the database are up all the time: a busy machine must not make an outage of it, after which
 * what Redis holds would be of an old generation. */
static void patient_make(struct stand *s, const struct shape *shape)
{
    stand_make(s, shape);
    s->bed.config.redis_timeout_ms = 10000;
    s->bed.config.sql_timeout_ms = 20000;
    s->bed.config.read_timeout_ms = 20000;
}

/* ---- items and truth ---- */

static void id_of(int i, char id[32])
{
    snprintf(id, 32, "item:%06d", i);
}

static void content_of(int i, const char *word, char content[64])
{
    snprintf(content, 64, "%s of %d", word, i);
}

static void put_word(se_engine *e, int i, const char *word)
{
    char id[32], content[64];
    id_of(i, id);
    content_of(i, word, content);
    se_result r;
    while ((r = se_submit(e, id, content, strlen(content), NULL)) == SE_ERR_BACKPRESSURE)
        se__pause_ms(1);
    cr_assert_eq(r, SE_OK, "%s", se_errmsg());
}

static void sql(struct stand *s, const char *format, int i)
{
    char id[32], text[400];
    id_of(i, id);
    snprintf(text, sizeof text, format, id, id, id);
    truth_run(&s->bed, s->mariadb, text);
}

/* What an id has in the database, and in Redis behind the header. */
static void expect_in_tiers(struct stand *s, int i, const char *word)
{
    char id[32], content[64], text[300], query[200];
    id_of(i, id);
    content_of(i, word, content);
    snprintf(
        query, sizeof query,
        s->mariadb
            ? "SELECT CONVERT(payload_blob USING utf8mb4) FROM sync_items WHERE id = '%s' AND "
              "deleted = 0"
            : "SELECT CAST(payload_blob AS TEXT) FROM sync_items WHERE id = '%s' AND deleted = 0",
        id);
    truth_text(&s->bed, s->mariadb, query, text, sizeof text);
    cr_assert_str_eq(text, content, "%s in the database: %s", id, text);
    redis_server_ask(&s->redis, text, sizeof text, "GETRANGE sync:%s 88 -1", id);
    cr_assert_str_eq(text, content, "%s in Redis: %s", id, text);
}

/* ---- runs ---- */

struct findings {
    int n;
    char ids[64][32];
};

static void note(void *arg, const se_verify_finding *f)
{
    struct findings *all = arg;
    if (all->n < 64)
        snprintf(all->ids[all->n], 32, "%s", f->id);
    all->n++;
    cr_assert(f->detail && f->detail[0]);
}

static se_verify_report run(struct stand *s, se_verify_mode mode, bool repair, struct findings *all)
{
    se_verify_options o;
    se_verify_report report;
    se_verify_options_init(&o);
    *all = (struct findings){0};
    o.mode = mode;
    o.repair = repair;
    o.finding = note;
    o.finding_arg = all;
    cr_assert_eq(se_verify(s->e, &o, &report), SE_OK, "%s", se_errmsg());
    return report;
}

static void expect_sound(struct stand *s, uint64_t checked)
{
    for (int mode = SE_VERIFY_QUICK; mode <= SE_VERIFY_DEEP; mode++) {
        struct findings all;
        se_verify_report r = run(s, (se_verify_mode)mode, false, &all);
        cr_assert_eq(all.n, 0, "%s", all.ids[0]);
        cr_assert_eq(r.checked, checked, "%llu", (unsigned long long)r.checked);
        cr_assert_eq(r.stale_l2 + r.stale_l3 + r.corrupt_l2 + r.corrupt_l3 + r.orphan_l2, 0u);
        cr_assert_eq(r.repaired + r.unrepairable, 0u);
        cr_assert(r.roots_equal);
    }
}

static bool found(const struct findings *all, int i)
{
    char id[32];
    id_of(i, id);
    for (int k = 0; k < all->n; k++) {
        if (strcmp(all->ids[k], id) == 0)
            return true;
    }
    return false;
}

/* ---- kinds of damage ---- */

enum {
    OLD_L2,
    GARBAGE_L2,
    CONTENT_L2,
    OLD_L3,
    CONTENT_L3,
    HASH_L3,
    VERSION_L3,
    RECORD_L3,
    GONE_L3,
    KINDS
};

/* Every kind hits three items, far apart. */
static int victim(int kind, int nth)
{
    return 17 + kind * 3 + nth * (ITEMS / 3 - 100);
}

static void keep_old(struct stand *s, char old[KINDS][3][256], size_t len[KINDS][3])
{
    for (int nth = 0; nth < 3; nth++) {
        char id[32];
        id_of(victim(OLD_L2, nth), id);
        len[OLD_L2][nth] = redis_server_ask(&s->redis, old[OLD_L2][nth], 256, "GET sync:%s", id);
        cr_assert(len[OLD_L2][nth] > RECORD_HEADER_SIZE);
        sql(s,
            nth ? "INSERT INTO kept SELECT * FROM sync_items WHERE id = '%s'"
                : "CREATE TABLE kept AS SELECT * FROM sync_items WHERE id = '%s'",
            victim(OLD_L3, nth));
    }
}

static void damage(struct stand *s, char old[KINDS][3][256], size_t len[KINDS][3])
{
    char reply[64], id[32];
    for (int nth = 0; nth < 3; nth++) {
        id_of(victim(OLD_L2, nth), id);
        redis_server_ask(&s->redis, reply, sizeof reply, "SET sync:%s %b", id, old[OLD_L2][nth],
                         len[OLD_L2][nth]);
        id_of(victim(GARBAGE_L2, nth), id);
        redis_server_ask(&s->redis, reply, sizeof reply,
                         nth ? "SET sync:%s SE-garbage-that-is-not-ours" : "LPUSH sync:%s x", id);
        if (!nth) { /* another type */
            redis_server_ask(&s->redis, reply, sizeof reply, "DEL sync:%s", id);
            redis_server_ask(&s->redis, reply, sizeof reply, "LPUSH sync:%s x", id);
        }
        id_of(victim(CONTENT_L2, nth), id);
        redis_server_ask(&s->redis, reply, sizeof reply, "SETRANGE sync:%s 90 ?", id);
        sql(s, "DELETE FROM sync_items WHERE id = '%s'", victim(OLD_L3, nth));
        sql(s, "INSERT INTO sync_items SELECT * FROM kept WHERE id = '%s'", victim(OLD_L3, nth));
        sql(s, "UPDATE sync_items SET payload_blob = x'656469746564' WHERE id = '%s'",
            victim(CONTENT_L3, nth));
        sql(s, "UPDATE sync_items SET content_hash = record_hash WHERE id = '%s'",
            victim(HASH_L3, nth));
        sql(s, "UPDATE sync_items SET version = version + 1 WHERE id = '%s'",
            victim(VERSION_L3, nth));
        sql(s, "UPDATE sync_items SET record_hash = content_hash WHERE id = '%s'",
            victim(RECORD_L3, nth));
        sql(s, "DELETE FROM sync_items WHERE id = '%s'", victim(GONE_L3, nth));
    }
    truth_run(&s->bed, s->mariadb, "DROP TABLE kept");
}

static void expect_report(const se_verify_report *r, bool deep)
{
    cr_assert_eq(r->stale_l2, 3u, "%llu", (unsigned long long)r->stale_l2);
    cr_assert_eq(r->stale_l3, 3u, "%llu", (unsigned long long)r->stale_l3);
    cr_assert_eq(r->corrupt_l2, deep ? 6u : 3u, "%llu", (unsigned long long)r->corrupt_l2);
    cr_assert_eq(r->corrupt_l3, deep ? 12u : 9u, "%llu", (unsigned long long)r->corrupt_l3);
    cr_assert_eq(r->orphan_l2, 3u, "%llu", (unsigned long long)r->orphan_l2);
    cr_assert_eq(r->unrepairable, 0u, "%llu", (unsigned long long)r->unrepairable);
    cr_assert(!r->roots_equal);
}

static void put_victims(se_engine *e, const char *word)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int nth = 0; nth < 3; nth++)
            put_word(e, victim(kind, nth), word);
}

static void found_and_repaired(const struct shape *shape)
{
    static char old[KINDS][3][256];
    size_t len[KINDS][3];
    struct findings all;
    struct stand s;
    patient_make(&s, shape);
    s.bed.config.l1_max_bytes = 1 << 20; /* nothing to heal from in L1 */
    s.e = bed_open(&s.bed);
    for (int i = 0; i < ITEMS; i++)
        put_word(s.e, i, "first word");
    stand_flush(&s);
    /* On a busy machine some write to Redis may have been too late; with such a doubt the next engine
     * begins a new generation, in which older values are misses and no damage. It is begun here. */
    stand_reopen(&s);
    put_victims(s.e, "first word");
    stand_flush(&s);
    keep_old(&s, old, len);
    put_victims(s.e, "second word");
    stand_reopen(&s);
    expect_sound(&s, ITEMS);
    damage(&s, old, len);
    se_verify_report r = run(&s, SE_VERIFY_QUICK, false, &all);
    expect_report(&r, false);
    cr_assert_eq(r.repaired, 0u);
    for (int deep = 0; deep < 2; deep++) {
        r = run(&s, SE_VERIFY_DEEP, deep == 1, &all);
        expect_report(&r, true);
        cr_assert_eq(all.n, KINDS * 3);
        for (int kind = 0; kind < KINDS; kind++)
            for (int nth = 0; nth < 3; nth++)
                cr_assert(found(&all, victim(kind, nth)), "kind %d", kind);
    }
    cr_assert_eq(r.repaired, KINDS * 3u, "%llu", (unsigned long long)r.repaired);
    cr_assert_eq(bed_metric(s.e, "sync_engine_healed_total", "tier=\"l3\""), 12);
    cr_assert_eq(bed_metric(s.e, "sync_engine_healed_total", "tier=\"l2\""), 6);
    expect_sound(&s, ITEMS);
    for (int kind = 0; kind < KINDS; kind++)
        for (int nth = 0; nth < 3; nth++)
            expect_in_tiers(&s, victim(kind, nth), "second word");
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(damage, is_found_exactly_and_repaired_on_mariadb)
{
    found_and_repaired(&mysql_both);
}

Test(damage, is_found_exactly_and_repaired_on_sqlite)
{
    found_and_repaired(&sqlite_both);
}

/* ---- what cannot be repaired ---- */

Test(damage, without_a_good_copy_is_reported_and_left_alone)
{
    struct findings all;
    struct stand s;
    patient_make(&s, &sqlite_wal);
    s.e = bed_open(&s.bed);
    for (int i = 0; i < 100; i++)
        put_word(s.e, i, "only copy");
    stand_reopen(&s);
    sql(&s, "UPDATE sync_items SET payload_blob = x'00' WHERE id = '%s'", 7);
    truth_run(&s.bed, NULL,
              "INSERT INTO sync_items SELECT 'made up', version, record_hash, updated_at, state, "
              "content_type, encoding, "
              "content_hash, payload, payload_blob, bucket, leaf_hi, leaf_lo, cache_ttl_ms, "
              "expires_at, deleted, route, "
              "purge_at FROM sync_items WHERE id = 'item:000008'");
    se_verify_report r = run(&s, SE_VERIFY_DEEP, true, &all);
    cr_assert_eq(r.corrupt_l3, 2u, "%llu", (unsigned long long)r.corrupt_l3);
    cr_assert_eq(r.unrepairable, 2u);
    cr_assert_eq(r.repaired, 0u);
    cr_assert(found(&all, 7));
    cr_assert_eq(
        truth_number(&s.bed, NULL, "SELECT COUNT(*) FROM sync_items WHERE payload_blob = x'00'"), 1,
        "left as it was");
    se_item *item;
    cr_assert_eq(se_get_verified(s.e, "item:000007", &item), SE_ERR_CORRUPT);
    cr_assert_null(item);
    cr_assert(strstr(se_errmsg(), "hash"), "%s", se_errmsg());
    char expected[SE_HASH_SIZE * 2 + 1] = "";
    truth_text(&s.bed, NULL,
               "SELECT lower(hex(content_hash)) FROM sync_items WHERE id = 'item:000007'", expected,
               sizeof expected);
    cr_assert(strstr(se_errmsg(), expected), "the expected hash: %s", se_errmsg());
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(damage, in_redis_as_the_home_is_found)
{
    struct findings all;
    char reply[64];
    struct stand s;
    patient_make(&s, &redis_only);
    s.e = bed_open(&s.bed);
    for (int i = 0; i < 200; i++)
        put_word(s.e, i, "word");
    stand_reopen(&s);
    redis_server_ask(&s.redis, reply, sizeof reply, "SETRANGE sync:item:000009 90 ?");
    se_verify_report r = run(&s, SE_VERIFY_DEEP, true, &all);
    cr_assert_eq(r.checked, 200u, "%llu", (unsigned long long)r.checked);
    cr_assert_eq(r.corrupt_l2, 1u);
    cr_assert_eq(r.unrepairable, 1u);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* ---- reading heals ---- */

Test(damage, a_verified_read_heals_from_the_other_tier)
{
    char reply[64];
    se_item *item;
    struct stand s;
    patient_make(&s, &mysql_both);
    s.e = bed_open(&s.bed);
    put_word(s.e, 1, "good");
    put_word(s.e, 2, "good");
    stand_reopen(&s);
    redis_server_ask(&s.redis, reply, sizeof reply, "SETRANGE sync:item:000001 90 ?");
    cr_assert_eq(se_get_verified(s.e, "item:000001", &item), SE_OK, "%s", se_errmsg());
    cr_assert(memcmp(se_item_content(item), "good of 1", 9) == 0);
    se_item_release(item);
    cr_assert_eq(bed_metric(s.e, "sync_engine_corruption_detected_total", "tier=\"l2\""), 1);
    cr_assert_eq(bed_metric(s.e, "sync_engine_healed_total", "tier=\"l2\""), 1);
    expect_in_tiers(&s, 1, "good");
    sql(&s, "UPDATE sync_items SET payload_blob = x'626164' WHERE id = '%s'", 2);
    cr_assert_eq(se_get_verified(s.e, "item:000002", &item), SE_OK, "%s", se_errmsg());
    se_item_release(item);
    expect_in_tiers(&s, 1, "good");
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

/* ---- beside traffic ---- */

#define BUSY_IDS 400
#define WRITERS 2

struct traffic {
    struct stand *s;
    atomic_bool stop;   /* relaxed: only ends the loops */
    atomic_long writes; /* relaxed: a count */
    int number;
    int last[BUSY_IDS]; /* of this writer's ids; read after the join */
    struct se__thread thread;
};

static void write_on(void *arg)
{
    struct traffic *t = arg;
    for (int n = 1; !atomic_load_explicit(&t->stop, memory_order_relaxed); n++) {
        int i = (int)((unsigned)n * 7919u % BUSY_IDS);
        char id[32], content[64];
        snprintf(id, sizeof id, "busy:%d:%03d", t->number, i);
        snprintf(content, sizeof content, "%d", n);
        se_result r;
        if (n % 5 == 0)
            r = se_delete(t->s->e, id, NULL);
        else
            r = se_submit(t->s->e, id, content, strlen(content), NULL);
        if (r == SE_ERR_BACKPRESSURE) {
            se__pause_ms(1);
            continue;
        }
        cr_assert_eq(r, SE_OK, "%s", se_errmsg());
        t->last[i] = n % 5 == 0 ? -n : n;
        atomic_fetch_add_explicit(&t->writes, 1, memory_order_relaxed);
    }
}

static void expect_last(struct stand *s, const struct traffic *t)
{
    for (int i = 0; i < BUSY_IDS; i++) {
        char id[32], content[64];
        snprintf(id, sizeof id, "busy:%d:%03d", t->number, i);
        snprintf(content, sizeof content, "%d", t->last[i]);
        bed_expect(s->e, id, t->last[i] > 0 ? content : NULL);
    }
}

static long written(struct traffic *writers)
{
    long writes = 0;
    for (int w = 0; w < WRITERS; w++)
        writes += atomic_load_explicit(&writers[w].writes, memory_order_relaxed);
    return writes;
}

/* As many rounds as it takes until there has been traffic beside them, four at least. */
static void beside_traffic(const struct shape *shape)
{
    static struct traffic writers[WRITERS];
    struct findings all;
    struct stand s;
    patient_make(&s, shape);
    s.bed.config.batch_flush_ms = 1;
    s.e = bed_open(&s.bed);
    for (int i = 0; i < 2000; i++)
        put_word(s.e, i, "quiet");
    stand_flush(&s);
    for (int w = 0; w < WRITERS; w++) {
        writers[w] = (struct traffic){.s = &s, .number = w};
        cr_assert_eq(se__thread_start(&writers[w].thread, "writer", write_on, &writers[w]), SE_OK);
    }
    uint64_t deadline = se__deadline_in(60000);
    for (int round = 0; round < 4 || written(writers) <= 1000; round++) {
        cr_assert(se__deadline_left(deadline) > 0, "%ld writes", written(writers));
        se_verify_report r = run(&s, round % 2 ? SE_VERIFY_DEEP : SE_VERIFY_QUICK, true, &all);
        cr_assert_eq(all.n, 0, "round %d: %d findings, %s", round, all.n, all.ids[0]);
        cr_assert(r.checked >= 2000);
    }
    for (int w = 0; w < WRITERS; w++) {
        atomic_store_explicit(&writers[w].stop, true, memory_order_relaxed);
        se__thread_join(&writers[w].thread);
    }
    stand_reopen(&s);
    for (int w = 0; w < WRITERS; w++)
        expect_last(&s, &writers[w]);
    struct findings none;
    se_verify_report r = run(&s, SE_VERIFY_DEEP, false, &none);
    cr_assert_eq(none.n, 0, "%s", none.ids[0]);
    cr_assert(r.roots_equal);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(damage, none_is_seen_beside_writers_at_full_speed_on_mariadb)
{
    beside_traffic(&mysql_both);
}

Test(damage, none_is_seen_beside_writers_at_full_speed_on_sqlite)
{
    beside_traffic(&sqlite_both);
}

/* ---- digests ---- */

static bool same_node(const se_merkle_node *a, const se_merkle_node *b)
{
    return a->count == b->count && memcmp(a->digest, b->digest, SE_HASH_SIZE) == 0;
}

static void digests_agree(const struct shape *shape)
{
    struct stand s;
    se_merkle_node l2, l3, before, a[16], b[16];
    patient_make(&s, shape);
    s.e = bed_open(&s.bed);
    for (int i = 0; i < 3000; i++)
        put_word(s.e, i, "word");
    for (int i = 0; i < 3000; i += 3) {
        char id[32];
        id_of(i, id);
        cr_assert_eq(se_delete(s.e, id, NULL), SE_OK);
    }
    stand_flush(&s);
    cr_assert_eq(se_merkle_root(s.e, SE_TIER_L2, &l2), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se_merkle_root(s.e, SE_TIER_L3, &l3), SE_OK, "%s", se_errmsg());
    cr_assert_eq(l3.count, 2000u, "%llu", (unsigned long long)l3.count);
    cr_assert(same_node(&l2, &l3));
    for (unsigned depth = 0; depth < 4; depth++) {
        se_merkle_node sum = {.count = 0};
        uint32_t index = depth ? (1u << (4 * depth)) - 3 : 0;
        cr_assert_eq(se_merkle_children(s.e, SE_TIER_L2, depth, index, a), SE_OK, "%s",
                     se_errmsg());
        cr_assert_eq(se_merkle_children(s.e, SE_TIER_L3, depth, index, b), SE_OK, "%s",
                     se_errmsg());
        for (int i = 0; i < 16; i++) {
            cr_assert(same_node(&a[i], &b[i]), "depth %u child %d", depth, i);
            sum.count += b[i].count;
            for (unsigned k = 0; k < SE_HASH_SIZE; k++)
                sum.digest[k] ^= b[i].digest[k];
        }
        if (depth == 0)
            cr_assert(same_node(&sum, &l3), "the root is the XOR of its children");
    }
    cr_assert_eq(se_merkle_prefix(s.e, SE_TIER_L2, "item:0012", &l2), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se_merkle_prefix(s.e, SE_TIER_L3, "item:0012", &before), SE_OK, "%s", se_errmsg());
    cr_assert(same_node(&l2, &before));
    cr_assert(before.count >= 66 && before.count <= 67, "%llu", (unsigned long long)before.count);
    put_word(s.e, 1201, "another word");
    stand_flush(&s);
    cr_assert_eq(se_merkle_prefix(s.e, SE_TIER_L3, "item:0012", &l3), SE_OK);
    cr_assert(!same_node(&before, &l3));
    cr_assert_eq(se_merkle_children(s.e, SE_TIER_L3, 4, 0, a), SE_ERR_INVALID);
    cr_assert_eq(se_merkle_children(s.e, SE_TIER_L3, 1, 16, a), SE_ERR_INVALID);
    cr_assert_eq(se_merkle_root(s.e, (se_tier)7, &l3), SE_ERR_INVALID);
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

Test(damage, digests_of_both_tiers_are_the_same_until_something_differs)
{
    digests_agree(&mysql_both);
    digests_agree(&sqlite_both);
}
