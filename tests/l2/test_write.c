/*
 * Writing and reading: the version guard, lives, batches, generations.
 */
#include "l2/fixture.h"

#include "support/random.h"

#include "l2/scripts.h"

#include <stdio.h>
#include <stdlib.h>

TestSuite(l2_write, .init = l2_setup, .fini = l2_teardown);

Test(l2_write, what_is_written_is_read)
{
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_ABSENT);
    cr_assert_eq(l2_put(&l2, l2_item("a", "content", 7), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&l2, "a", "content", 7));
    cr_assert_eq(l2_pttl(&l2, "a"), -1);
}

Test(l2_write, bytes_come_back_as_they_were)
{
    char content[4096];
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)(i * 7 + i / 256);
    struct item_spec spec = {.id = "b\"{}*[\\ %s",
                             .id_len = strlen("b\"{}*[\\ %s"),
                             .content = content,
                             .content_len = sizeof content,
                             .version = 9,
                             .updated_at_ms = 123456,
                             .state = "some state",
                             .content_type = SE_CONTENT_BINARY,
                             .route = SE_ROUTE_L2};
    se_item *written = se__item_new(&spec), *item = NULL;
    se_item_retain(written);
    cr_assert_eq(l2_put(&l2, written, RECORD_ITEM), TIER_STORED);
    cr_assert_eq(l2_get(&l2, spec.id, &item), TIER_HIT);
    cr_assert_eq(se__item_compare(written, item), 0);
    cr_assert_str_eq(se_item_state(item), "some state");
    cr_assert_eq(se_item_updated_at_ms(item), 123456);
    cr_assert_eq(se_item_content_len(item), sizeof content);
    cr_assert_eq(memcmp(se_item_content(item), content, sizeof content), 0);
    se_item_release(item);
    se_item_release(written);
}

Test(l2_write, an_older_version_never_replaces_a_newer_one)
{
    cr_assert_eq(l2_put(&l2, l2_item("a", "new", 10), RECORD_ITEM), TIER_STORED);
    se_item *old = l2_item("a", "old", 9);
    struct tier_write w = {.item = old, .kind = RECORD_ITEM};
    struct tier_reply reply =
        l2.tier.ops->write(l2.tier.self, 0, &w, 1, se__deadline_in(PATIENCE_MS));
    cr_assert_eq(reply.fault, TIER_FINE);
    cr_assert_eq(w.state, TIER_NEWER);
    cr_assert_eq(w.newer, 10u);
    cr_assert(l2_holds(&l2, "a", "new", 10));
    se_item_release(old);
}

/* Versions of which doubles and signed comparisons would lose sight: around
 * 2^53, high bits, every byte. */
Test(l2_write, versions_are_compared_in_all_63_bits)
{
    static const uint64_t PAIRS[][2] = {
        {(UINT64_C(1) << 53), (UINT64_C(1) << 53) + 1},
        {(UINT64_C(1) << 62) - 1, UINT64_C(1) << 62},
        {INT64_MAX - 1, INT64_MAX},
        {0x7f, 0x80},
        {0xff, 0x100},
        {0x00ffffffffffffff, 0x0100000000000000},
        {0x7fffffff, 0x80000000},
        {0xffffffff, 0x100000000},
    };
    char id[32];
    for (size_t i = 0; i < sizeof PAIRS / sizeof *PAIRS; i++) {
        snprintf(id, sizeof id, "v%zu", i);
        cr_assert_eq(l2_put(&l2, l2_item(id, "low", PAIRS[i][0]), RECORD_ITEM), TIER_STORED);
        cr_assert_eq(l2_put(&l2, l2_item(id, "high", PAIRS[i][1]), RECORD_ITEM), TIER_STORED);
        cr_assert_eq(l2_put(&l2, l2_item(id, "low", PAIRS[i][0]), RECORD_ITEM), TIER_NEWER);
        cr_assert(l2_holds(&l2, id, "high", PAIRS[i][1]));
    }
}

Test(l2_write, equal_versions_have_the_winner_that_the_record_hash_names)
{
    char id[32];
    for (int i = 0; i < 64; i++) {
        snprintf(id, sizeof id, "tie%d", i);
        se_item *a = l2_item(id, "one", 5), *b = l2_item(id, "two", 5);
        bool a_wins = se__item_compare(a, b) > 0;
        se_item *first = i % 2 ? a : b, *second = i % 2 ? b : a;
        cr_assert_eq(l2_put(&l2, first, RECORD_ITEM), TIER_STORED);
        bool second_wins = (second == a) == a_wins;
        cr_assert_eq(l2_put(&l2, second, RECORD_ITEM), second_wins ? TIER_STORED : TIER_NEWER);
        cr_assert(l2_holds(&l2, id, a_wins ? "one" : "two", 5));
    }
}

Test(l2_write, repeating_a_write_is_stored_and_changes_nothing)
{
    for (int i = 0; i < 3; i++)
        cr_assert_eq(l2_put(&l2, l2_item("a", "same", 5), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&l2, "a", "same", 5));
}

/* The content is damaged behind a header that still compares as equal. */
Test(l2_write, repeating_a_write_heals_its_damaged_content)
{
    char out[64];
    l2_put(&l2, l2_item("a", "same", 5), RECORD_ITEM);
    redis_server_ask(&server, out, sizeof out, "SETRANGE sync:a %d %s", (int)RECORD_HEADER_SIZE,
                     "S");
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_CORRUPT);
    cr_assert_eq(l2_put(&l2, l2_item("a", "same", 5), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&l2, "a", "same", 5));
}

Test(l2_write, a_tombstone_is_a_hit_that_older_puts_do_not_pass)
{
    se_item *item = NULL;
    l2_put(&l2, l2_item("a", "x", 5), RECORD_ITEM);
    cr_assert_eq(l2_put(&l2, l2_tombstone("a", 8), RECORD_TOMBSTONE), TIER_STORED);
    cr_assert_eq(l2_get(&l2, "a", &item), TIER_HIT);
    cr_assert(se__item_deleted(item));
    cr_assert_eq(se_item_version(item), 8u);
    se_item_release(item);
    cr_assert_eq(l2_put(&l2, l2_item("a", "x", 7), RECORD_ITEM), TIER_NEWER);
    long px = l2_pttl(&l2, "a");
    cr_assert(px > 590000 && px <= 600000, "%ld", px);
    cr_assert_eq(l2_put(&l2, l2_item("a", "y", 9), RECORD_ITEM), TIER_STORED);
    cr_assert_eq(l2_pttl(&l2, "a"), -1);
}

/* A deleted item is a tombstone whatever it is written as, and lives as long as one. */
Test(l2_write, a_deleted_item_is_a_tombstone_under_any_kind)
{
    cr_assert_eq(l2_put(&l2, l2_tombstone("a", 8), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_pttl(&l2, "a") > 590000);
}

Test(l2_write, a_floor_is_a_miss_that_older_puts_do_not_pass)
{
    l2_put(&l2, l2_item("a", "x", 5), RECORD_ITEM);
    cr_assert_eq(l2_put(&l2, l2_item("a", "z", 8), RECORD_FLOOR), TIER_STORED);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    cr_assert_eq(l2_put(&l2, l2_item("a", "x", 7), RECORD_ITEM), TIER_NEWER);
    /* The very write that was voided, repeated: counts as stored, and stays void. */
    cr_assert_eq(l2_put(&l2, l2_item("a", "z", 8), RECORD_ITEM), TIER_STORED);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    cr_assert_eq(l2_put(&l2, l2_item("a", "y", 9), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&l2, "a", "y", 9));
}

static se_item *mortal(const char *id, uint64_t ttl_ms, int64_t expires_at_ms, uint64_t version)
{
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
                             .content = "m",
                             .content_len = 1,
                             .version = version,
                             .cache_ttl_ms = ttl_ms,
                             .expires_at_ms = expires_at_ms};
    return se__item_new(&spec);
}

Test(l2_write, a_key_lives_as_long_as_the_sooner_of_ttl_and_expiry)
{
    int64_t now = se__wall_ms();
    l2_put(&l2, mortal("ttl", 50000, 0, 1), RECORD_ITEM);
    l2_put(&l2, mortal("end", 0, now + 70000, 1), RECORD_ITEM);
    l2_put(&l2, mortal("both", 50000, now + 30000, 1), RECORD_ITEM);
    l2_put(&l2, mortal("never", UINT64_MAX, INT64_MAX, 1), RECORD_ITEM);
    long ttl = l2_pttl(&l2, "ttl"), end = l2_pttl(&l2, "end"), both = l2_pttl(&l2, "both");
    cr_assert(ttl > 40000 && ttl <= 50000, "%ld", ttl);
    cr_assert(end > 60000 && end <= 70000, "%ld", end);
    cr_assert(both > 20000 && both <= 30000, "%ld", both);
    cr_assert_eq(l2_pttl(&l2, "never"), -1);
    cr_assert_eq(l2_get(&l2, "end", NULL), TIER_HIT);
}

Test(l2_write, an_item_that_has_expired_leaves_a_floor)
{
    l2_put(&l2, l2_item("a", "x", 5), RECORD_ITEM);
    cr_assert_eq(l2_put(&l2, mortal("a", 0, se__wall_ms() - 1, 8), RECORD_ITEM), TIER_STORED);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    cr_assert(l2_pttl(&l2, "a") > 590000);
    cr_assert_eq(l2_put(&l2, l2_item("a", "x", 7), RECORD_ITEM), TIER_NEWER);
}

/* More than one script call, more than one push, and one item larger than a call. */
Test(l2_write, a_batch_of_many_calls_is_one_answer)
{
    enum { N = 1234 };
    static struct tier_write writes[N];
    static struct tier_read reads[N];
    static char ids[N][16];
    char *large = malloc(1 << 20);
    memset(large, 'x', 1 << 20);
    for (size_t i = 0; i < N; i++) {
        snprintf(ids[i], sizeof ids[i], "k%05zu", i);
        struct item_spec spec = {.id = ids[i],
                                 .id_len = strlen(ids[i]),
                                 .content = large,
                                 .content_len = i % 500 == 77 ? 1 << 20 : 10 + i,
                                 .version = i + 1};
        writes[i] = (struct tier_write){.item = se__item_new(&spec), .kind = RECORD_ITEM};
        reads[i] = (struct tier_read){.id = ids[i], .id_len = strlen(ids[i])};
    }
    uint64_t deadline = se__deadline_in(PATIENCE_MS);
    cr_assert_eq(l2.tier.ops->write(l2.tier.self, 0, writes, N, deadline).fault, TIER_FINE, "%s",
                 se_errmsg());
    cr_assert_eq(l2.tier.ops->read(l2.tier.self, reads, N, deadline).fault, TIER_FINE);
    for (size_t i = 0; i < N; i++) {
        cr_assert_eq(writes[i].state, TIER_STORED);
        cr_assert_eq(reads[i].found, TIER_HIT);
        cr_assert_eq(se__item_compare(reads[i].item, writes[i].item), 0);
        se_item_release(reads[i].item);
        se_item_release(writes[i].item);
    }
    free(large);
}

/* ---- any order of any writes ends with the greatest ---- */

static uint64_t seed = 0x9e3779b97f4a7c15;

static se_item *random_item(const char *id)
{
    char content[8];
    /* Few versions and contents, so that ties and repeats are common. */
    snprintf(content, sizeof content, "c%u", (unsigned)(random_next(&seed) % 4));
    uint64_t version = (random_next(&seed) % 6) + (random_next(&seed) % 2 ? UINT64_C(1) << 55 : 1);
    return random_next(&seed) % 5 == 0 ? l2_tombstone(id, version) : l2_item(id, content, version);
}

Test(l2_write, random_orders_end_with_the_greatest_write)
{
    enum { IDS = 40, ROUNDS = 60 };
    static se_item *best[IDS];
    char ids[IDS][16];
    for (size_t i = 0; i < IDS; i++)
        snprintf(ids[i], sizeof ids[i], "r%02zu", i);
    for (size_t round = 0; round < ROUNDS; round++) {
        struct tier_write writes[IDS];
        size_t n = 0;
        for (size_t i = 0; i < IDS; i++)
            if (random_next(&seed) % 3)
                writes[n++] = (struct tier_write){.item = random_item(ids[i]), .kind = RECORD_ITEM};
        for (size_t i = 0; i < n; i++)
            if (se__item_deleted(writes[i].item))
                writes[i].kind = RECORD_TOMBSTONE;
        cr_assert_eq(
            l2.tier.ops->write(l2.tier.self, 0, writes, n, se__deadline_in(PATIENCE_MS)).fault,
            TIER_FINE);
        for (size_t i = 0; i < n; i++) {
            size_t at = (size_t)atoi(se_item_id(writes[i].item) + 1);
            int order = best[at] ? se__item_compare(writes[i].item, best[at]) : 1;
            cr_assert_eq(writes[i].state, order >= 0 ? TIER_STORED : TIER_NEWER);
            if (order > 0) {
                se_item_release(best[at]);
                best[at] = writes[i].item;
            } else {
                se_item_release(writes[i].item);
            }
        }
    }
    for (size_t i = 0; i < IDS; i++) {
        se_item *item = NULL;
        cr_assert_eq(l2_get(&l2, ids[i], &item), best[i] ? TIER_HIT : TIER_ABSENT);
        if (item)
            cr_assert_eq(se__item_compare(item, best[i]), 0);
        se_item_release(item);
        se_item_release(best[i]);
        best[i] = NULL;
    }
}

/* ---- generations ---- */

Test(l2_write, another_generation_is_a_miss_and_yields_to_any_write)
{
    l2_put(&l2, l2_item("a", "old world", 100), RECORD_ITEM);
    l2_accept(&l2, GENERATION + 1);
    cr_assert_eq(se__redis_generation(l2.redis), GENERATION + 1);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    cr_assert_eq(l2_put(&l2, l2_item("a", "new world", 1), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&l2, "a", "new world", 1));
}

/* ---- garbage under our keys ---- */

static void any_write_replaces_it(const char *id)
{
    cr_assert_eq(l2_put(&l2, l2_item(id, "good", 1), RECORD_ITEM), TIER_STORED, "%s", id);
    cr_assert(l2_holds(&l2, id, "good", 1), "%s", id);
}

Test(l2_write, garbage_is_corrupt_and_yields_to_any_write)
{
    char out[64];
    redis_server_ask(&server, out, sizeof out, "SET sync:text hello");
    redis_server_ask(&server, out, sizeof out, "SET sync:empty %b", "", (size_t)0);
    redis_server_ask(&server, out, sizeof out, "RPUSH sync:list a b");
    redis_server_ask(&server, out, sizeof out, "HSET sync:hash a b");
    static const char *const IDS[] = {"text", "empty", "list", "hash"};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(l2_get(&l2, IDS[i], NULL), TIER_CORRUPT, "%s", IDS[i]);
        any_write_replaces_it(IDS[i]);
    }
}

/* A flipped bit in the version of a stored record: the guard sees a
 * newer one, and nothing decodes. */
Test(l2_write, a_record_with_a_bad_check_yields_to_any_write)
{
    char out[64];
    l2_put(&l2, l2_item("a", "x", 5), RECORD_ITEM);
    redis_server_ask(&server, out, sizeof out, "SETRANGE sync:a 13 %b", "\x7f", (size_t)1);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_CORRUPT);
    any_write_replaces_it("a");
}

Test(l2_write, a_record_copied_to_another_key_is_corrupt)
{
    char out[64];
    l2_put(&l2, l2_item("a", "x", 5), RECORD_ITEM);
    redis_server_ask(&server, out, sizeof out, "COPY sync:a sync:b");
    cr_assert_eq(l2_get(&l2, "b", NULL), TIER_CORRUPT);
    any_write_replaces_it("b");
}

Test(l2_write, a_corrupt_read_says_what_header_it_saw)
{
    char out[64];
    redis_server_ask(&server, out, sizeof out, "SET sync:a hello");
    struct tier_read read = {.id = "a", .id_len = 1};
    l2.tier.ops->read(l2.tier.self, &read, 1, se__deadline_in(PATIENCE_MS));
    cr_assert_eq(read.found, TIER_CORRUPT);
    cr_assert_eq(read.seen_len, 5u);
    cr_assert_eq(memcmp(read.seen, "hello", 5), 0);
}

/* Truncated at every length: never a hit, never a crash. */
Test(l2_write, a_truncated_record_is_never_a_hit)
{
    char value[256], out[64];
    l2_put(&l2, l2_item("a", "some content", 5), RECORD_ITEM);
    size_t len = redis_server_ask(&server, value, sizeof value, "GET sync:a");
    cr_assert_eq(len, RECORD_HEADER_SIZE + 12);
    for (size_t n = 0; n < len; n++) {
        redis_server_ask(&server, out, sizeof out, "SET sync:a %b", value, n);
        cr_assert_eq(l2_get(&l2, "a", NULL), TIER_CORRUPT, "%zu", n);
    }
}

/* The script itself, with a deadline that many ms ahead of the
 * server's clock: true if it stored. */
static bool stores_with_deadline_in(int64_t ms)
{
    char out[256], key[64], at[32];
    static int calls;
    snprintf(key, sizeof key, "sync:deadline%d", calls++);
    snprintf(at, sizeof at, "%lld", (long long)(se__wall_ms() + ms));
    redis_server_ask(&server, out, sizeof out, "EVAL %s 1 %s %s generate record 0",
                     se__script_text(SCRIPT_GUARD), key, at);
    cr_assert(strncmp(out, "(error)", 7) != 0, "%s", out);
    bool acted = strchr(out, '\n') != NULL;
    redis_server_ask(&server, out, sizeof out, "EXISTS %s", key);
    cr_assert_str_eq(out, acted ? "1" : "0");
    return acted;
}

/* Too far ahead is a clock that has jumped back: the call would be good for
 * longer than its tombstones live. */
Test(l2_write, a_script_acts_only_within_its_time)
{
    cr_assert(!stores_with_deadline_in(-1000));
    cr_assert(stores_with_deadline_in(1000));
    cr_assert(stores_with_deadline_in(SCRIPT_AHEAD_MS_MAX));
    cr_assert(!stores_with_deadline_in(2 * SCRIPT_AHEAD_MS_MAX));
}

Test(l2_write, no_writes_and_no_reads_are_fine)
{
    cr_assert_eq(l2.tier.ops->write(l2.tier.self, 0, NULL, 0, 0).fault, TIER_FINE);
    cr_assert_eq(l2.tier.ops->read(l2.tier.self, NULL, 0, 0).fault, TIER_FINE);
}
