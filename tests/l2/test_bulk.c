/*
 * Batches that go past the script (l2/bulk.h): that they do, that nothing passes the guard with
 * them, and that nobody sees them half done.
 */
#include "l2/fixture.h"

#include "l2/scripts.h"
#include "support/random.h"

#include <hiredis/hiredis.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { IDS = 250 };

TestSuite(l2_bulk, .init = l2_setup, .fini = l2_teardown);

static void ask(const char *command)
{
    char out[256];
    redis_server_ask(&server, out, sizeof out, command);
    cr_assert(strncmp(out, "(error)", 7) != 0, "%s: %s", command, out);
}

/* How often the server has called a command by now. */
static int calls(const char *command)
{
    char stats[16384], what[64];
    snprintf(what, sizeof what, "cmdstat_%s:calls=", command);
    redis_server_ask(&server, stats, sizeof stats, "INFO commandstats");
    const char *at = strstr(stats, what);
    return at ? atoi(at + strlen(what)) : 0;
}

/* ---- batches ---- */

static void name(size_t i, char id[16])
{
    snprintf(id, 16, "k%05zu", i);
}

static void fill(struct tier_write *writes, size_t n, const char *content, uint64_t version)
{
    char id[16];
    for (size_t i = 0; i < n; i++) {
        name(i, id);
        writes[i] = (struct tier_write){.item = l2_item(id, content, version), .kind = RECORD_ITEM};
    }
}

static void swap_in(struct tier_write *w, se_item *item)
{
    se_item_release(w->item);
    w->item = item;
}

static struct tier_reply send(struct l2 *l, unsigned worker, struct tier_write *writes, size_t n,
                              uint32_t ms)
{
    return l->tier.ops->write(l->tier.self, worker, writes, n, se__deadline_in(ms));
}

static void release(struct tier_write *writes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        se_item_release(writes[i].item);
}

static void must_store(const char *content, uint64_t version)
{
    struct tier_write writes[IDS];
    fill(writes, IDS, content, version);
    cr_assert_eq(send(&l2, 0, writes, IDS, PATIENCE_MS).fault, TIER_FINE, "%s", se_errmsg());
    for (size_t i = 0; i < IDS; i++)
        cr_assert_eq(writes[i].state, TIER_STORED, "%zu", i);
    release(writes, IDS);
}

static void expect_all(const char *content, uint64_t version)
{
    char id[16];
    for (size_t i = 0; i < IDS; i++) {
        name(i, id);
        cr_assert(l2_holds(&l2, id, content, version), "%s", id);
    }
}

Test(l2_bulk, a_batch_takes_one_transaction_for_a_hundred_keys)
{
    must_store("new", 5);
    must_store("next", 6);
    expect_all("next", 6);
    cr_assert_eq(calls("exec"), 6);
    cr_assert_eq(calls("msetnx"), 6);
    cr_assert_eq(calls("evalsha"), 6); /* the guard was not asked */
}

Test(l2_bulk, one_newer_record_keeps_its_place_among_many)
{
    struct tier_write writes[IDS];
    must_store("old", 5);
    cr_assert_eq(l2_put(&l2, l2_item("k00123", "newer", 9), RECORD_ITEM), TIER_STORED);
    fill(writes, IDS, "new", 7);
    cr_assert_eq(send(&l2, 0, writes, IDS, PATIENCE_MS).fault, TIER_FINE, "%s", se_errmsg());
    for (size_t i = 0; i < IDS; i++) {
        cr_assert_eq(writes[i].state, i == 123 ? TIER_NEWER : TIER_STORED, "%zu", i);
        cr_assert_eq(writes[i].newer, i == 123 ? 9u : 0u);
    }
    release(writes, IDS);
    cr_assert(l2_holds(&l2, "k00123", "newer", 9));
    cr_assert(l2_holds(&l2, "k00122", "new", 7));
    cr_assert(l2_holds(&l2, "k00124", "new", 7));
}

/* Versions as near to each other as can be, hashes that decide, repeats: what the heads say must be
 * what the guard reads. */
Test(l2_bulk, every_byte_of_version_and_hash_decides)
{
    static const uint64_t VERSIONS[] = {
        1,        2, 0xff, 0x100, UINT64_C(1) << 16, (UINT64_C(1) << 53), (UINT64_C(1) << 53) + 1,
        INT64_MAX};
    enum { N = sizeof VERSIONS / sizeof *VERSIONS };
    struct tier_write writes[IDS];
    for (size_t round = 0; round < N * N; round++) {
        uint64_t there = VERSIONS[round / N], comes = VERSIONS[round % N];
        ask("FLUSHALL");
        must_store("there", there);
        fill(writes, IDS, "comes", comes);
        se_item *old = l2_item("k00000", "there", there); /* hashes do not depend on the id */
        int order = se__item_compare(writes[0].item, old);
        se_item_release(old);
        cr_assert_eq(send(&l2, 0, writes, 100, PATIENCE_MS).fault, TIER_FINE);
        for (size_t i = 0; i < 100; i++)
            cr_assert_eq(writes[i].state, order > 0 ? TIER_STORED : TIER_NEWER, "%llu %llu",
                         (unsigned long long)there, (unsigned long long)comes);
        cr_assert(
            l2_holds(&l2, "k00050", order > 0 ? "comes" : "there", order > 0 ? comes : there));
        release(writes, IDS);
    }
}

Test(l2_bulk, a_void_write_stays_void_when_it_is_repeated)
{
    must_store("x", 5);
    cr_assert_eq(l2_put(&l2, l2_item("k00007", "x", 5), RECORD_FLOOR), TIER_STORED);
    must_store("x", 5);
    cr_assert_eq(l2_get(&l2, "k00007", NULL), TIER_VOID);
    cr_assert(l2_holds(&l2, "k00008", "x", 5));
}

Test(l2_bulk, garbage_of_every_kind_in_a_batch_is_replaced)
{
    ask("SET sync:k00001 hello");
    ask("SETRANGE sync:k00002 0 \"\"");
    ask("RPUSH sync:k00003 a b");
    ask("HSET sync:k00104 a b");
    char out[64];
    redis_server_ask(&server, out, sizeof out, "SET sync:k00105 %b", "", (size_t)0);
    must_store("good", 1);
    expect_all("good", 1);
}

/* A flipped bit makes a record look newer than all that comes. */
Test(l2_bulk, a_record_with_a_bad_check_in_a_batch_is_healed)
{
    char out[64];
    must_store("x", 5);
    redis_server_ask(&server, out, sizeof out, "SETRANGE sync:k00150 13 %b", "\x7f", (size_t)1);
    must_store("y", 6);
    expect_all("y", 6);
}

Test(l2_bulk, records_with_a_life_get_it_among_others)
{
    struct tier_write writes[IDS];
    fill(writes, IDS, "x", 5);
    struct item_spec spec = {.id = "k00020",
                             .id_len = 6,
                             .content = "m",
                             .content_len = 1,
                             .version = 6,
                             .cache_ttl_ms = 50000};
    swap_in(&writes[20], se__item_new(&spec));
    swap_in(&writes[21], l2_tombstone("k00021", 6));
    writes[21].kind = RECORD_TOMBSTONE;
    cr_assert_eq(send(&l2, 0, writes, IDS, PATIENCE_MS).fault, TIER_FINE);
    for (size_t i = 0; i < IDS; i++)
        cr_assert_eq(writes[i].state, TIER_STORED);
    long ttl = l2_pttl(&l2, "k00020"), mark = l2_pttl(&l2, "k00021");
    cr_assert(ttl > 40000 && ttl <= 50000, "%ld", ttl);
    cr_assert(mark > 590000 && mark <= 600000, "%ld", mark);
    cr_assert_eq(l2_pttl(&l2, "k00022"), -1);
    release(writes, IDS);
    must_store("y", 7); /* lives end with what replaces them */
    cr_assert_eq(l2_pttl(&l2, "k00020"), -1);
    cr_assert_eq(l2_pttl(&l2, "k00021"), -1);
}

Test(l2_bulk, the_latch_is_no_id)
{
    struct tier_ids ids = {0};
    must_store("x", 5);
    cr_assert_eq(l2.tier.ops->list(l2.tier.self, "", &ids, se__deadline_in(PATIENCE_MS)).fault,
                 TIER_FINE);
    cr_assert_eq(ids.n, (size_t)IDS);
    se__tier_ids_done(&ids);
}

/* ---- when it cannot be ---- */

Test(l2_bulk, a_batch_that_comes_too_late_stores_nothing)
{
    struct tier_write writes[IDS];
    cr_assert_eq(l2_put(&l2, l2_item("k00000", "x", 1), RECORD_ITEM), TIER_STORED);
    ask("CONFIG RESETSTAT");
    redis_server_pause(&server);
    fill(writes, IDS, "late", 5);
    struct tier_reply reply = send(&l2, 0, writes, IDS, 150);
    release(writes, IDS);
    cr_assert_eq(reply.fault, TIER_UNWELL);
    cr_assert(reply.timed_out);
    redis_server_resume(&server);
    for (uint64_t end = se__deadline_in(PATIENCE_MS); calls("exec") < 1;)
        cr_assert(se__deadline_left(end) > 0, "it did not come to the server");
    cr_assert(l2_holds(&l2, "k00000", "x", 1));
    cr_assert_eq(l2_get(&l2, "k00001", NULL), TIER_ABSENT);
}

Test(l2_bulk, forgotten_scripts_open_nothing_and_are_loaded_again)
{
    must_store("x", 5);
    ask("SCRIPT FLUSH");
    cr_assert_eq(l2_put(&l2, l2_item("k00200", "newer", 9), RECORD_ITEM), TIER_STORED);
    ask("SCRIPT FLUSH");
    struct tier_write writes[IDS];
    fill(writes, IDS, "y", 6);
    cr_assert_eq(send(&l2, 0, writes, IDS, PATIENCE_MS).fault, TIER_FINE, "%s", se_errmsg());
    cr_assert_eq(writes[199].state, TIER_STORED);
    cr_assert_eq(writes[200].state, TIER_NEWER);
    release(writes, IDS);
    int before = calls("exec");
    must_store("z", 10);
    cr_assert_eq(calls("exec"), before + 3); /* bulk again */
}

/* What stands between MULTI and EXEC, on a connection of its own, with a script of this name. */
static long long stored_by(redisContext *c, const char *sha, long long deadline_ms)
{
    char heads[OPEN_HEAD + 1] = {1};
    void *sent[] = {redisCommand(c, "MULTI"), redisCommand(c, "SET sync:\x01latch 0"),
                    redisCommand(c, "EVALSHA %s 2 sync:\x01latch sync:a %lld generate %b", sha,
                                 deadline_ms, heads, (size_t)OPEN_HEAD),
                    redisCommand(c, "MSETNX sync:\x01latch 1 sync:a record")};
    redisReply *reply = redisCommand(c, "EXEC");
    cr_assert(reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3);
    long long stored = reply->element[2]->integer;
    freeReplyObject(reply);
    for (size_t i = 0; i < 4; i++)
        freeReplyObject(sent[i]);
    return stored;
}

Test(l2_bulk, only_the_script_opens_the_latch)
{
    redisContext *c = redisConnectUnix(server.socket);
    redisReply *loaded = redisCommand(c, "SCRIPT LOAD %s", se__script_text(SCRIPT_OPEN));
    cr_assert(loaded && loaded->type == REDIS_REPLY_STRING, "%s", loaded ? loaded->str : "");
    static const char UNKNOWN[] = "0123456789012345678901234567890123456789";
    cr_assert_eq(stored_by(c, UNKNOWN, se__wall_ms() + 1000), 0);
    cr_assert_eq(stored_by(c, loaded->str, se__wall_ms() - 1000), 0);
    cr_assert_eq(stored_by(c, loaded->str, se__wall_ms() + 2 * SCRIPT_AHEAD_MS_MAX), 0);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_ABSENT);
    cr_assert_eq(stored_by(c, loaded->str, se__wall_ms() + 1000), 1);
    freeReplyObject(loaded);
    redisFree(c);
}

static void expect_guarded_without(const char *right)
{
    char rule[64];
    snprintf(rule, sizeof rule, "ACL SETUSER default -%s", right);
    must_store("x", 5);
    ask(rule);
    cr_assert_eq(l2_put(&l2, l2_item("k00200", "newer", 9), RECORD_ITEM), TIER_STORED);
    struct tier_write writes[IDS];
    for (uint64_t version = 6; version < 8; version++) {
        fill(writes, IDS, "y", version);
        cr_assert_eq(send(&l2, 0, writes, IDS, PATIENCE_MS).fault, TIER_FINE, "%s", se_errmsg());
        for (size_t i = 0; i < IDS; i++)
            cr_assert_eq(writes[i].state, i == 200 ? TIER_NEWER : TIER_STORED);
        release(writes, IDS);
        if (version == 6)
            ask("CONFIG RESETSTAT");
    }
    cr_assert_eq(calls("msetnx") + calls("exec"), 0); /* not tried a second time */
    cr_assert(l2_holds(&l2, "k00200", "newer", 9));
    cr_assert(l2_holds(&l2, "k00001", "y", 7));
}

Test(l2_bulk, a_user_without_the_right_to_transactions_writes_through_the_guard)
{
    expect_guarded_without("multi");
}

Test(l2_bulk, a_user_without_the_right_to_msetnx_writes_through_the_guard)
{
    expect_guarded_without("msetnx");
}

Test(l2_bulk, a_user_without_the_right_to_del_writes_through_the_guard)
{
    expect_guarded_without("del");
}

Test(l2_bulk, a_server_out_of_memory_stores_nothing_and_loses_nothing)
{
    struct tier_write writes[IDS];
    must_store("x", 5);
    ask("CONFIG SET maxmemory 1");
    fill(writes, IDS, "y", 6);
    cr_assert_eq(send(&l2, 0, writes, IDS, PATIENCE_MS).fault, TIER_UNWELL);
    release(writes, IDS);
    expect_all("x", 5);
    ask("CONFIG SET maxmemory 0");
    must_store("y", 6);
    expect_all("y", 6);
}

/* ---- together with others ---- */

struct hammer {
    struct l2 *l2;
    unsigned worker;
    uint64_t seed, best[IDS];
    _Atomic bool *stop;
    _Atomic unsigned faults;
};

static void hammer(void *arg)
{
    struct hammer *h = arg;
    struct tier_write writes[IDS];
    for (uint64_t round = 1; round <= 60; round++) {
        fill(writes, IDS, "x", 1);
        for (size_t i = 0; i < IDS; i++) {
            /* mostly newer than all before, sometimes older */
            uint64_t version = round * 16 + random_next(&h->seed) % 32;
            char id[16];
            name(i, id);
            swap_in(&writes[i], l2_item(id, h->worker ? "one" : "nil", version));
            h->best[i] = h->best[i] > version ? h->best[i] : version;
        }
        if (send(h->l2, h->worker, writes, IDS, PATIENCE_MS).fault != TIER_FINE)
            atomic_fetch_add(&h->faults, 1);
        release(writes, IDS);
    }
}

/* Sees every id at all times, once it was there, and never an older version than before. */
static void watch(void *arg)
{
    struct hammer *h = arg;
    struct tier_read reads[IDS];
    static char ids[IDS][16];
    while (!atomic_load(h->stop)) {
        for (size_t i = 0; i < IDS; i++) {
            name(i, ids[i]);
            reads[i] = (struct tier_read){.id = ids[i], .id_len = strlen(ids[i])};
        }
        struct tier_reply reply =
            h->l2->tier.ops->read(h->l2->tier.self, reads, IDS, se__deadline_in(PATIENCE_MS));
        for (size_t i = 0; i < IDS && reply.fault == TIER_FINE; i++) {
            uint64_t version = reads[i].item ? se_item_version(reads[i].item) : 0;
            if (version < h->best[i])
                atomic_fetch_add(&h->faults, 1);
            h->best[i] = version;
            se_item_release(reads[i].item);
        }
    }
}

Test(l2_bulk, writers_of_the_same_ids_end_with_the_greatest_and_readers_see_no_gap)
{
    static struct hammer h[3];
    struct se__thread threads[3] = {{0}};
    struct l2 two;
    _Atomic bool stop = false;
    must_store("seed", 1);
    l2_open(&two, &server, &(struct l2_options){.workers = 2, .readers = 1});
    for (unsigned i = 0; i < 3; i++) {
        h[i] =
            (struct hammer){.l2 = &two, .worker = i, .seed = 88172645463325252 + i, .stop = &stop};
        cr_assert_eq(se__thread_start(&threads[i], "hammer", i < 2 ? hammer : watch, &h[i]), SE_OK);
    }
    se__thread_join(&threads[0]);
    se__thread_join(&threads[1]);
    atomic_store(&stop, true);
    se__thread_join(&threads[2]);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(atomic_load(&h[i].faults), 0u, "%u", i);
    for (size_t i = 0; i < IDS; i++) {
        char id[16];
        se_item *item = NULL;
        name(i, id);
        cr_assert_eq(l2_get(&two, id, &item), TIER_HIT);
        uint64_t best = h[0].best[i] > h[1].best[i] ? h[0].best[i] : h[1].best[i];
        cr_assert_eq(se_item_version(item), best, "%s", id);
        se_item_release(item);
    }
    l2_close(&two);
}
