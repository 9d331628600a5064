/*
 * tests of runs over a real Redis and real databases: damage made behind the tiers' backs is found
 * exactly, and repaired; what has no row and may not get one becomes a miss.
 */
#include "l2/fixture.h"
#include "l3/l3_fixture.h"
#include "verify/merkle.h"
#include "verify/verify.h"

#include <stdio.h>

#define N 3000u

struct bed {
    struct l3_fixture *l3;
    struct redis_server server;
    struct l2 l2;
};

static void bed_open(struct bed *b, struct l3_fixture *f)
{
    *b = (struct bed){.l3 = f};
    redis_server_start(&b->server, NULL);
    l2_open(&b->l2, &b->server, NULL);
}

static void bed_close(struct bed *b)
{
    l2_close(&b->l2);
    redis_server_stop(&b->server);
}

static void be_quiet(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    (void)message;
}

static struct verify_options options(struct bed *b)
{
    static const struct se__log QUIET = {.fn = be_quiet};
    return (struct verify_options){.l2 = b->l2.tier,
                                   .l3 = b->l3->tier,
                                   .redis = b->l2.redis,
                                   .timeout_ms = 20000,
                                   .log = &QUIET};
}

static void id_of(unsigned i, char out[32])
{
    snprintf(out, 32, "item:%05u", i);
}

static se_item *make(const char *id, uint64_t version)
{
    char content[64];
    snprintf(content, sizeof content, "{\"of\":\"%s\",\"at\":%llu}", id,
             (unsigned long long)version);
    return l3_item(id, version, content);
}

static void write_batch(const struct tier *tier, unsigned from, unsigned n)
{
    struct tier_write writes[500];
    char id[32];
    for (unsigned i = 0; i < n; i++) {
        id_of(from + i, id);
        writes[i] = (struct tier_write){.item = make(id, 1000 + from + i), .kind = RECORD_ITEM};
    }
    struct tier_reply reply = tier->ops->write(tier->self, 0, writes, n, l3_soon());
    cr_assert_eq(reply.fault, TIER_FINE, "%s", se_errmsg());
    for (unsigned i = 0; i < n; i++)
        se_item_release(writes[i].item);
}

/* N items, the same in both. */
static void fill(struct bed *b)
{
    for (unsigned i = 0; i < N; i += 500) {
        write_batch(&b->l3->tier, i, 500);
        write_batch(&b->l2.tier, i, 500);
    }
}

/* Puts the bytes of this write under its key, past the guard; `cut` bytes of its end are wrong. */
static void plant(struct bed *b, const char *id, uint64_t version, size_t cut)
{
    se_item *item = make(id, version);
    uint8_t record[512];
    char out[64];
    size_t len = se__record_size(item, RECORD_ITEM);
    se__record_encode(item, RECORD_ITEM, GENERATION, record);
    memset(record + len - cut, '#', cut);
    redis_server_ask(&b->server, out, sizeof out, "SET %s%s %b", PREFIX, id, record, len);
    cr_assert_str_eq(out, "OK");
    se_item_release(item);
}

static void plant_garbage(struct bed *b, const char *id)
{
    char out[64];
    redis_server_ask(&b->server, out, sizeof out, "SET %s%s garbage", PREFIX, id);
}

static void sql(struct bed *b, const char *what)
{
    cr_assert(l3_sql(b->l3, what), "%s", what);
}

static se_verify_report run(struct bed *b, bool deep, bool repair)
{
    struct verify_options o = options(b);
    se_verify_report r;
    o.deep = deep;
    o.repair = repair;
    cr_assert_eq(se__verify_run(&o, &r), SE_OK, "%s", se_errmsg());
    return r;
}

static void expect_sound(struct bed *b, uint64_t checked)
{
    for (unsigned deep = 0; deep < 2; deep++) {
        se_verify_report r = run(b, deep, false);
        cr_assert_eq(r.checked, checked, "%llu", (unsigned long long)r.checked);
        cr_assert(r.stale_l2 + r.stale_l3 + r.corrupt_l2 + r.corrupt_l3 + r.orphan_l2 == 0);
        cr_assert(r.roots_equal && r.repaired == 0 && r.unrepairable == 0);
    }
}

static void damage_all_ways(struct bed *b)
{
    plant(b, "item:00100", 7, 0); /* an old value */
    plant(b, "item:00200", 1200, 3);
    plant_garbage(b, "item:00300");
    plant_garbage(b, "nobody wrote this");
    sql(b, "UPDATE sync_items SET payload='{}' WHERE id='item:00400'");
    sql(b, "UPDATE sync_items SET version=9000000000000000000 WHERE id='item:00500'");
    sql(b, "UPDATE sync_items SET record_hash=content_hash WHERE id='item:00600'");
    sql(b, "UPDATE sync_items SET content_hash=record_hash WHERE id='item:00700'");
    sql(b, "DELETE FROM sync_items WHERE id='item:00800'");
    sql(b, "UPDATE sync_items SET deleted=1 WHERE id='item:00900'");
}

static void every_damage_is_found_and_repaired(struct l3_fixture *f)
{
    struct bed b;
    bed_open(&b, f);
    fill(&b);
    expect_sound(&b, N);
    damage_all_ways(&b);
    for (unsigned repair = 0; repair < 2; repair++) {
        se_verify_report r = run(&b, true, repair);
        cr_assert_eq(r.checked, N + 1);
        cr_assert(r.stale_l2 == 1 && r.stale_l3 == 0 && r.orphan_l2 == 1);
        cr_assert_eq(r.corrupt_l2, 3);
        cr_assert_eq(r.corrupt_l3, 5, "%llu", (unsigned long long)r.corrupt_l3);
        cr_assert_eq(r.repaired, repair ? 10 : 0, "%llu", (unsigned long long)r.repaired);
        cr_assert(r.unrepairable == 0 && !r.roots_equal);
    }
    expect_sound(&b, N);
    cr_assert(l3_holds(f, "item:00400", 1400, "{\"of\":\"item:00400\",\"at\":1400}"));
    cr_assert(l3_holds(f, "item:00500", 1500, "{\"of\":\"item:00500\",\"at\":1500}"));
    cr_assert(l3_holds(f, "item:00800", 1800, "{\"of\":\"item:00800\",\"at\":1800}"));
    cr_assert(l2_holds(&b.l2, "item:00100", "{\"of\":\"item:00100\",\"at\":1100}", 1100));
    cr_assert(l2_holds(&b.l2, "item:00300", "{\"of\":\"item:00300\",\"at\":1300}", 1300));
    cr_assert_eq(l2_get(&b.l2, "nobody wrote this", NULL), TIER_VOID);
    bed_close(&b);
}
ON_BOTH_DIALECTS(every_damage_is_found_and_repaired)

/* Below the purge floor no row comes back: what L2 shows is of the past. */
static void an_orphan_that_was_purged_becomes_a_miss(struct l3_fixture *f)
{
    struct bed b;
    bed_open(&b, f);
    sql(&b, "UPDATE sync_items_meta SET value='500' WHERE name='purge_floor'");
    plant(&b, "old", 400, 0);
    plant(&b, "young", 600, 0);
    plant(&b, "old and broken", 400, 2);
    se_verify_report r = run(&b, false, true);
    cr_assert(r.orphan_l2 == 2 && r.corrupt_l2 == 1);
    cr_assert_eq(r.repaired, 3, "%llu", (unsigned long long)r.repaired);
    cr_assert_eq(l2_get(&b.l2, "old", NULL), TIER_VOID);
    cr_assert_eq(l2_get(&b.l2, "old and broken", NULL), TIER_VOID);
    cr_assert_eq(l2_get(&b.l2, "young", NULL), TIER_HIT);
    cr_assert_eq(l3_version(f, "young"), 600);
    cr_assert_eq(l3_version(f, "old"), 0);
    expect_sound(&b, 1);
    bed_close(&b);
}
ON_BOTH_DIALECTS(an_orphan_that_was_purged_becomes_a_miss)

static void one_id_is_healed(struct l3_fixture *f)
{
    struct bed b;
    struct verify_options o;
    bool mended = false;
    bed_open(&b, f);
    o = options(&b);
    o.repair = true;
    write_batch(&f->tier, 0, 3);
    write_batch(&b.l2.tier, 0, 3);
    sql(&b, "UPDATE sync_items SET payload='{}' WHERE id='item:00001'");
    cr_assert_eq(se__verify_one(&o, "item:00001", &mended), SE_OK);
    cr_assert(mended && l3_holds(f, "item:00001", 1001, "{\"of\":\"item:00001\",\"at\":1001}"));
    plant(&b, "item:00002", 1002, 4);
    sql(&b, "UPDATE sync_items SET payload='{}' WHERE id='item:00002'");
    cr_assert_eq(se__verify_one(&o, "item:00002", &mended), SE_OK);
    cr_assert(!mended, "no tier has it");
    bed_close(&b);
}
ON_BOTH_DIALECTS(one_id_is_healed)

static struct tier_node root(struct tier tier)
{
    struct tier_node node;
    cr_assert_eq(se__merkle_nodes(tier, 0, 65535, 16, 20000, &node), SE_OK, "%s", se_errmsg());
    return node;
}

static void digests_of_both_tiers_agree(struct l3_fixture *f)
{
    struct bed b;
    struct tier_node in_l2, in_l3;
    static struct tier_node many[2][4096];
    bed_open(&b, f);
    fill(&b);
    in_l2 = root(b.l2.tier);
    in_l3 = root(f->tier);
    cr_assert(in_l2.count == N && se__merkle_equal(&in_l2, &in_l3));
    cr_assert_eq(se__merkle_nodes(b.l2.tier, 0, 65535, 4, 20000, many[0]), SE_OK);
    cr_assert_eq(se__merkle_nodes(f->tier, 0, 65535, 4, 20000, many[1]), SE_OK);
    for (unsigned i = 0; i < 4096; i++)
        cr_assert(se__merkle_equal(&many[0][i], &many[1][i]));
    cr_assert_eq(se__merkle_prefix(b.l2.tier, "item:001", 20000, &in_l2), SE_OK);
    cr_assert_eq(se__merkle_prefix(f->tier, "item:001", 20000, &in_l3), SE_OK);
    cr_assert(in_l2.count == 100 && se__merkle_equal(&in_l2, &in_l3));
    plant(&b, "item:00150", 7, 0);
    cr_assert_eq(se__merkle_prefix(b.l2.tier, "item:0015", 20000, &in_l2), SE_OK);
    cr_assert_eq(se__merkle_prefix(f->tier, "item:0015", 20000, &in_l3), SE_OK);
    cr_assert(in_l2.count == 10 && in_l3.count == 10 && !se__merkle_equal(&in_l2, &in_l3));
    bed_close(&b);
}
ON_BOTH_DIALECTS(digests_of_both_tiers_agree)
