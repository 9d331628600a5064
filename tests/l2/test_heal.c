/*
 * Damage under a key: what a read says of it, and that every kind of it yields to a write.
 */
#include "l2/fixture.h"

#include "base/hash.h"

#include <stdio.h>

static void setup(void)
{
    l2_start(NULL, &(struct l2_options){.workers = 3});
}

TestSuite(l2_heal, .init = setup, .fini = l2_teardown);

struct bytes {
    uint8_t data[512];
    size_t len;
};

static struct bytes encoded(se_item *item, enum record_kind kind)
{
    struct bytes b = {.len = se__record_size(item, kind)};
    cr_assert(b.len <= sizeof b.data);
    se__record_encode(item, kind, GENERATION, b.data);
    se_item_release(item);
    return b;
}

static void put_raw(const char *id, const struct bytes *b)
{
    char out[64];
    redis_server_ask(&server, out, sizeof out, "SET sync:%s %b", id, b->data, b->len);
    cr_assert_str_eq(out, "OK");
}

static struct tier_flaw flaw_of(const char *id)
{
    struct tier_read read = {.id = id, .id_len = strlen(id)};
    struct tier_reply reply =
        l2.tier.ops->read(l2.tier.self, &read, 1, se__deadline_in(PATIENCE_MS));
    cr_assert_eq(reply.fault, TIER_FINE, "%s", se_errmsg());
    cr_assert_eq(read.found, TIER_CORRUPT, "%s", id);
    cr_assert_null(read.item);
    return read.flaw;
}

/* ---- what a read says ---- */

static bool is_hash_of(const uint8_t hash[SE_HASH_SIZE], const char *text)
{
    uint8_t want[SE_HASH_SIZE];
    se__hash128(0, text, strlen(text), want);
    return memcmp(hash, want, sizeof want) == 0;
}

static bool is_zero(const uint8_t hash[SE_HASH_SIZE])
{
    static const uint8_t ZERO[SE_HASH_SIZE];
    return memcmp(hash, ZERO, sizeof ZERO) == 0;
}

static void expect_header_fits(const struct tier_flaw *flaw, const char *content, uint64_t version)
{
    uint8_t record_hash[SE_HASH_SIZE];
    se_item *item = l2_item("a", content, version);
    se__item_record_hash(item, record_hash);
    se_item_release(item);
    cr_assert(flaw->header_fits);
    cr_assert_eq(flaw->version, version);
    cr_assert_arr_eq(flaw->record_hash, record_hash, SE_HASH_SIZE);
    cr_assert(is_hash_of(flaw->expected, content));
}

Test(l2_heal, damaged_content_behind_a_whole_header_is_said_to_be_that)
{
    struct bytes b = encoded(l2_item("a", "content", 77), RECORD_ITEM);
    b.data[RECORD_HEADER_SIZE] = 'K';
    put_raw("a", &b);
    struct tier_flaw flaw = flaw_of("a");
    expect_header_fits(&flaw, "content", 77);
    cr_assert(is_hash_of(flaw.actual, "Kontent"));
}

Test(l2_heal, content_of_another_length_is_hashed_as_it_is)
{
    struct bytes b = encoded(l2_item("a", "content", 77), RECORD_ITEM);
    b.data[b.len++] = '!';
    put_raw("a", &b);
    struct tier_flaw flaw = flaw_of("a");
    expect_header_fits(&flaw, "content", 77);
    cr_assert(is_hash_of(flaw.actual, "content!"));
    b.len = RECORD_HEADER_SIZE + 3;
    put_raw("a", &b);
    flaw = flaw_of("a");
    expect_header_fits(&flaw, "content", 77);
    cr_assert(is_hash_of(flaw.actual, "con"));
    b.len = RECORD_HEADER_SIZE;
    put_raw("a", &b);
    flaw = flaw_of("a");
    expect_header_fits(&flaw, "content", 77);
    cr_assert(is_zero(flaw.actual));
}

Test(l2_heal, a_header_that_does_not_decode_vouches_for_nothing)
{
    char out[64];
    struct bytes b = encoded(l2_item("a", "content", 77), RECORD_ITEM);
    for (size_t at = 0; at < RECORD_HEADER_SIZE; at++) {
        b.data[at] ^= 0x10;
        put_raw("a", &b);
        struct tier_flaw flaw = flaw_of("a");
        cr_assert(!flaw.header_fits && flaw.version == 0 && is_zero(flaw.expected), "%zu", at);
        b.data[at] ^= 0x10;
    }
    put_raw("b", &b); /* another id's record */
    cr_assert(!flaw_of("b").header_fits);
    redis_server_ask(&server, out, sizeof out, "RPUSH sync:list x");
    cr_assert(!flaw_of("list").header_fits);
}

/* Of another generation nothing is damage: it is a miss whatever is behind the header. */
Test(l2_heal, damage_of_another_generation_is_a_miss)
{
    struct bytes b = encoded(l2_item("a", "content", 77), RECORD_ITEM);
    b.data[RECORD_HEADER_SIZE] = 'K';
    put_raw("a", &b);
    l2_accept(&l2, GENERATION + 1);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    b.len -= 2;
    put_raw("a", &b);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
}

/* ---- what a write does ---- */

static void put_heals(uint64_t version, const char *what, size_t at)
{
    cr_assert_eq(l2_put(&l2, l2_item("a", "content", version), RECORD_ITEM), TIER_STORED, "%s %zu",
                 what, at);
    cr_assert(l2_holds(&l2, "a", "content", version), "%s %zu", what, at);
}

/* Whatever the damaged header claims: newer, the same, another kind, another layout. */
Test(l2_heal, no_flipped_bit_keeps_out_the_same_write_or_an_older_one)
{
    struct bytes good = encoded(l2_item("a", "content", 5), RECORD_ITEM);
    for (size_t bit = 0; bit < RECORD_HEADER_SIZE * 8; bit++) {
        struct bytes b = good;
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        put_raw("a", &b);
        put_heals(5, "same, bit", bit);
        put_raw("a", &b);
        put_heals(1, "older, bit", bit);
    }
}

Test(l2_heal, damaged_content_yields_to_the_same_write_and_to_newer_ones)
{
    struct bytes good = encoded(l2_item("a", "content", 5), RECORD_ITEM);
    for (size_t at = RECORD_HEADER_SIZE; at <= good.len; at++)
        for (uint64_t version = 5; version <= 6; version++) {
            struct bytes b = good;
            b.data[at] ^= 1; /* behind the end: one byte too many */
            b.len += at == good.len;
            put_raw("a", &b);
            put_heals(version, "changed at", at);
            b = good;
            b.len = at == good.len ? at - 1 : at;
            put_raw("a", &b);
            put_heals(version, "cut at", at);
        }
    cr_assert_eq(l2_put(&l2, l2_item("a", "content", 4), RECORD_ITEM), TIER_NEWER);
}

Test(l2_heal, a_tombstone_with_bytes_behind_it_is_corrupt_and_yields_to_itself)
{
    struct bytes b = encoded(l2_tombstone("a", 5), RECORD_TOMBSTONE);
    b.data[b.len++] = 'x';
    put_raw("a", &b);
    struct tier_flaw flaw = flaw_of("a");
    cr_assert(flaw.header_fits && flaw.version == 5);
    cr_assert_eq(l2_put(&l2, l2_tombstone("a", 5), RECORD_TOMBSTONE), TIER_STORED);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_HIT);
}

/* An item, its tombstone in place of it, its floor: one write, equal in version and hash. */
Test(l2_heal, of_the_forms_of_one_write_the_greater_kind_stays)
{
    static const enum tier_found FOUND[] = {
        [RECORD_ITEM] = TIER_HIT, [RECORD_TOMBSTONE] = TIER_HIT, [RECORD_FLOOR] = TIER_VOID};
    char out[64];
    for (int first = RECORD_ITEM; first <= RECORD_FLOOR; first++)
        for (int second = RECORD_ITEM; second <= RECORD_FLOOR; second++) {
            se_item *item = NULL;
            int stays = first > second ? first : second;
            redis_server_ask(&server, out, sizeof out, "DEL sync:a");
            for (int i = 0; i < 2; i++)
                cr_assert_eq(
                    l2_put(&l2, l2_item("a", "x", 5), (enum record_kind)(i ? second : first)),
                    TIER_STORED);
            cr_assert_eq(l2_get(&l2, "a", &item), FOUND[stays], "%d %d", first, second);
            if (item)
                cr_assert_eq(se__item_deleted(item), stays == RECORD_TOMBSTONE);
            se_item_release(item);
        }
}

/* In one batch: refused rightly, refused for garbage's sake, and not refused at all. */
Test(l2_heal, a_batch_tells_garbage_from_what_is_newer)
{
    enum { N = 300 };
    static struct tier_write writes[N];
    char id[16];
    for (size_t i = 0; i < N; i++) {
        snprintf(id, sizeof id, "k%04zu", i);
        struct bytes b = encoded(l2_item(id, "newer", 9), RECORD_ITEM);
        b.data[60] ^= (uint8_t)(i % 3 == 1 ? 1 : 0);
        if (i % 3 != 2)
            put_raw(id, &b);
        writes[i] = (struct tier_write){.item = l2_item(id, "ours", 5), .kind = RECORD_ITEM};
    }
    cr_assert_eq(l2.tier.ops->write(l2.tier.self, 0, writes, N, se__deadline_in(PATIENCE_MS)).fault,
                 TIER_FINE, "%s", se_errmsg());
    for (size_t i = 0; i < N; i++) {
        snprintf(id, sizeof id, "k%04zu", i);
        bool newer = i % 3 == 0;
        cr_assert_eq(writes[i].state, newer ? TIER_NEWER : TIER_STORED, "%zu", i);
        cr_assert_eq(writes[i].newer, newer ? 9u : 0u);
        cr_assert(l2_holds(&l2, id, newer ? "newer" : "ours", newer ? 9 : 5));
        se_item_release(writes[i].item);
    }
}

struct healer {
    struct se__thread thread;
    unsigned worker;
    uint64_t version;
    struct tier_reply reply;
};

static void heal(void *arg)
{
    struct healer *h = arg;
    se_item *item = l2_item("a", "content", h->version);
    struct tier_write w = {.item = item, .kind = RECORD_ITEM};
    h->reply = l2.tier.ops->write(l2.tier.self, h->worker, &w, 1, se__deadline_in(PATIENCE_MS));
    se_item_release(item);
}

/* All of them find the same garbage that looks newer; whoever comes second must not take what the
 * first has put there for the newer record that refused it. */
Test(l2_heal, healers_of_one_key_end_with_the_greatest_write)
{
    enum { HEALERS = 3, ROUNDS = 400 };
    struct bytes b = encoded(l2_item("a", "content", 1000), RECORD_ITEM);
    b.data[60] ^= 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct healer healers[HEALERS] = {0};
        put_raw("a", &b);
        for (unsigned i = 0; i < HEALERS; i++) {
            healers[i].worker = i;
            healers[i].version = 1 + (i + round) % HEALERS;
            cr_assert_eq(se__thread_start(&healers[i].thread, "healer", heal, &healers[i]), SE_OK);
        }
        for (unsigned i = 0; i < HEALERS; i++) {
            se__thread_join(&healers[i].thread);
            cr_assert_eq(healers[i].reply.fault, TIER_FINE);
        }
        cr_assert(l2_holds(&l2, "a", "content", HEALERS), "round %u", round);
    }
}
