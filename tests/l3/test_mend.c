/*
 * What a read says of a damaged row, and mending it: exactly that row, and only while it is still so.
 */
#include "l3_damage.h"

#include "base/hlc.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct tier_read read_of(struct l3_fixture *f, const char *id)
{
    struct tier_read read = {.id = id, .id_len = strlen(id)};
    struct tier_reply r = f->tier.ops->read(f->tier.self, &read, 1, l3_soon());
    cr_assert_eq(r.fault, TIER_FINE, "%s", se_errmsg());
    return read;
}

static struct tier_read damaged(struct l3_fixture *f, const char *id)
{
    struct tier_read read = read_of(f, id);
    cr_assert_eq(read.found, TIER_CORRUPT, "%s", id);
    cr_assert_null(read.item);
    cr_assert_eq(read.seen_len, SE_HASH_SIZE);
    return read;
}

/* Mends with the item (taken). */
static struct tier_write mend(struct l3_fixture *f, const struct tier_read *seen, se_item *item)
{
    struct tier_write w = {
        .item = item, .kind = se__item_deleted(item) ? RECORD_TOMBSTONE : RECORD_ITEM, .newer = 99};
    struct tier_reply r = f->tier.ops->mend(f->tier.self, seen, &w, l3_soon());
    cr_assert_eq(r.fault, TIER_FINE, "fault %d code %d: %s", r.fault, r.code, se_errmsg());
    se_item_release(item);
    return w;
}

static void sql(struct l3_fixture *f, const char *format, const char *id)
{
    char text[300];
    snprintf(text, sizeof text, format, id);
    cr_assert(l3_sql(f, text), "%s", text);
}

/* ---- flaws ---- */

static void a_read_says_what_is_wrong(struct l3_fixture *f)
{
    l3_damage_table(f);
    size_t flaws = 0;
    for (unsigned i = 0; i < L3_DAMAGE_ROWS; i++) {
        char id[16];
        bool odd;
        snprintf(id, sizeof id, "row%03u", i);
        const struct l3_damage *d = l3_damage_of(f, id, strlen(id), &odd);
        struct tier_read read = read_of(f, id);
        cr_assert_eq(read.found, d ? TIER_CORRUPT : TIER_HIT, "%s: %s", id, d ? d->set : "sound");
        cr_assert_eq(read.seen_len, d ? SE_HASH_SIZE : 0);
        if (d) {
            uint8_t hash[SE_HASH_SIZE];
            se_item *item = l3_item(id, read.flaw.version, "some text");
            cr_assert_eq(read.flaw.header_fits, d->header_fits, "%s", d->set);
            se_item_hash(item, hash);
            if (d->header_fits)
                cr_assert_eq(memcmp(read.flaw.expected, hash, SE_HASH_SIZE), 0);
            se_item_release(item);
            flaws++;
        }
        if (read.found == TIER_HIT)
            se_item_release(read.item);
    }
    cr_assert_gt(flaws, 25);
}
ON_BOTH_DIALECTS(a_read_says_what_is_wrong)

static void expected_and_actual_hashes(struct l3_fixture *f)
{
    uint8_t good[SE_HASH_SIZE], bad[SE_HASH_SIZE];
    uint64_t v = l3_now_version();
    se_item *a = l3_item("a", v, "good"), *b = l3_item("a", v, "bad!");
    se_item_hash(a, good);
    se_item_hash(b, bad);
    l3_put(f, a);
    se_item_release(b);
    sql(f, "UPDATE sync_items SET payload_blob = x'62616421' WHERE id = '%s'", "a");
    struct tier_read read = damaged(f, "a");
    cr_assert(read.flaw.header_fits);
    cr_assert_eq(read.flaw.version, v);
    cr_assert_eq(memcmp(read.flaw.expected, good, SE_HASH_SIZE), 0);
    cr_assert_eq(memcmp(read.flaw.actual, bad, SE_HASH_SIZE), 0);
}
ON_BOTH_DIALECTS(expected_and_actual_hashes)

/* ---- mending ---- */

/* Every damage there is; the version of what comes in its place may be lower than what the row
 * claims. */
static void any_damage_is_mended(struct l3_fixture *f)
{
    l3_damage_table(f);
    size_t mended = 0;
    uint64_t v = l3_now_version();
    for (unsigned i = 0; i < L3_DAMAGE_ROWS; i++) {
        char id[16];
        bool odd;
        snprintf(id, sizeof id, "row%03u", i);
        const struct l3_damage *d = l3_damage_of(f, id, strlen(id), &odd);
        if (!d)
            continue;
        struct tier_read seen = damaged(f, id);
        struct tier_write w = mend(
            f, &seen, i % 9 ? l3_item(id, v - 5000, "good again") : l3_tombstone(id, v - 5000));
        cr_assert_eq(w.state, TIER_STORED, "%s", d->set);
        struct tier_read now = read_of(f, id);
        cr_assert_eq(now.found, TIER_HIT, "%s", d->set);
        cr_assert_eq(se_item_version(now.item), v - 5000);
        cr_assert_eq(se__item_deleted(now.item), i % 9 == 0);
        se_item_release(now.item);
        mended++;
    }
    cr_assert_gt(mended, 25);
    /* all columns: the bucket too, and when the row may be purged */
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM loose WHERE purge_at IS NULL AND deleted = 1"),
                 0);
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM loose WHERE bucket < 0 OR bucket > 65535"), 0);
}
ON_BOTH_DIALECTS(any_damage_is_mended)

/* Whatever a believable version guard would refuse. */
static void a_version_from_nowhere_is_replaced(struct l3_fixture *f)
{
    uint64_t v = l3_now_version();
    l3_put(f, l3_item("a", v, "good"));
    sql(f, "UPDATE sync_items SET version = 9223372036854775807 WHERE id = '%s'", "a");
    struct tier_read seen = damaged(f, "a");
    cr_assert_not(seen.flaw.header_fits);
    cr_assert_eq(l3_put(f, l3_item("a", v, "good")), TIER_NEWER, "the guard alone is no help");
    cr_assert_eq(mend(f, &seen, l3_item("a", v, "good")).state, TIER_STORED);
    cr_assert(l3_holds(f, "a", v, "good"));
    cr_assert_eq(l3_put(f, l3_item("a", v + 1, "next")), TIER_STORED);
}
ON_BOTH_DIALECTS(a_version_from_nowhere_is_replaced)

static void only_that_row_is_touched(struct l3_fixture *f)
{
    uint64_t v = l3_now_version();
    for (unsigned i = 0; i < 3; i++)
        l3_put(f, l3_item(l3_three[i], v, "text"));
    sql(f, "UPDATE sync_items SET leaf_hi = 1 WHERE id = '%s'", "b");
    struct tier_read seen = damaged(f, "b");
    cr_assert_eq(mend(f, &seen, l3_item("b", v, "text")).state, TIER_STORED);
    for (unsigned i = 0; i < 3; i++)
        cr_assert(l3_holds(f, l3_three[i], v, "text"));
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items"), 3);
}
ON_BOTH_DIALECTS(only_that_row_is_touched)

/* ---- what changed in between ---- */

static void a_row_that_changed_is_left_alone(struct l3_fixture *f)
{
    static const char *const changes[] = {
        "UPDATE sync_items SET leaf_lo = leaf_lo + 1 WHERE id = '%s'",
        "UPDATE sync_items SET cache_ttl_ms = 77 WHERE id = '%s'",
        "UPDATE sync_items SET updated_at = 77 WHERE id = '%s'",
        "UPDATE sync_items SET payload = '{}', payload_blob = NULL WHERE id = '%s'",
        "UPDATE sync_items SET payload_blob = x'6261643f' WHERE id = '%s'",
        "UPDATE sync_items SET state = 'defaul' WHERE id = '%s'",
        "UPDATE sync_items SET route = 1 WHERE id = '%s'"};
    uint64_t v = l3_now_version();
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        cr_assert_neq(l3_put(f, l3_item("a", v + i, "good")), TIER_NOT_TRIED);
        sql(f, "UPDATE sync_items SET payload_blob = x'62616421', leaf_lo = 5 WHERE id = '%s'",
            "a");
        struct tier_read seen = damaged(f, "a");
        sql(f, changes[i], "a");
        struct tier_write w = mend(f, &seen, l3_item("a", v + i, "good"));
        cr_assert_eq(w.state, TIER_NEWER, "%s", changes[i]);
        cr_assert_eq(w.newer, v + i);
        struct tier_read again = damaged(f, "a");
        cr_assert_neq(memcmp(again.seen, seen.seen, SE_HASH_SIZE), 0, "%s", changes[i]);
    }
}
ON_BOTH_DIALECTS(a_row_that_changed_is_left_alone)

static void a_write_in_between_wins(struct l3_fixture *f)
{
    uint64_t v = l3_now_version();
    l3_put(f, l3_item("a", v, "good"));
    sql(f, "UPDATE sync_items SET payload_blob = x'62616421' WHERE id = '%s'", "a");
    struct tier_read seen = damaged(f, "a");
    l3_put(f, l3_item("a", v + 10, "newer"));
    struct tier_write w = mend(f, &seen, l3_item("a", v, "good"));
    cr_assert_eq(w.state, TIER_NEWER);
    cr_assert_eq(w.newer, v + 10);
    cr_assert(l3_holds(f, "a", v + 10, "newer"));
}
ON_BOTH_DIALECTS(a_write_in_between_wins)

static void a_row_that_vanished_is_not_made_again(struct l3_fixture *f)
{
    l3_put(f, l3_item("a", l3_now_version(), "good"));
    sql(f, "UPDATE sync_items SET payload_blob = x'62616421' WHERE id = '%s'", "a");
    struct tier_read seen = damaged(f, "a");
    sql(f, "DELETE FROM sync_items WHERE id = '%s'", "a");
    struct tier_write w = mend(f, &seen, l3_item("a", l3_now_version(), "good"));
    cr_assert(w.state == TIER_NEWER && w.newer == 0);
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items"), 0);
}
ON_BOTH_DIALECTS(a_row_that_vanished_is_not_made_again)

static void without_a_look_nothing_is_mended(struct l3_fixture *f)
{
    uint64_t v = l3_now_version();
    l3_put(f, l3_item("a", v, "good"));
    struct tier_read seen = {.id = "a", .id_len = 1};
    cr_assert_eq(mend(f, &seen, l3_item("a", v + 1, "other")).state, TIER_NEWER);
    seen.seen_len = SE_HASH_SIZE;
    cr_assert_eq(mend(f, &seen, l3_item("a", v + 1, "other")).state, TIER_NEWER);
    cr_assert(l3_holds(f, "a", v, "good"));
}
ON_BOTH_DIALECTS(without_a_look_nothing_is_mended)

Test(mysql, too_large_for_the_server_is_refused)
{
    struct l3_fixture f;
    l3_start(&f, L3_MYSQL, (const char *const[]){"--max-allowed-packet=1M", NULL});
    l3_put(&f, l3_item("a", l3_now_version(), "good"));
    sql(&f, "UPDATE sync_items SET payload_blob = x'62616421' WHERE id = '%s'", "a");
    struct tier_read seen = damaged(&f, "a");
    size_t len = f.tier.ops->payload_max(f.tier.self) + 1;
    char *content = calloc(1, len);
    struct tier_write w = {
        .item = l3_item_bytes("a", l3_now_version(), content, len, SE_CONTENT_BINARY),
        .kind = RECORD_ITEM};
    cr_assert_eq(f.tier.ops->mend(f.tier.self, &seen, &w, l3_soon()).fault, TIER_REFUSED);
    cr_assert_eq(w.state, TIER_NOT_TRIED);
    se_item_release(w.item);
    free(content);
    damaged(&f, "a");
    l3_stop(&f);
}

/* ---- many, and a writer beside ---- */

#define MANY 400u

struct writer {
    struct l3_fixture *f;
    _Atomic bool stop;
    _Atomic unsigned writes;
    uint64_t version;
};

/* Writes every id again and again, each time with a greater version. */
static void keep_writing(void *arg)
{
    struct writer *w = arg;
    for (uint64_t v = w->version; !atomic_load(&w->stop); v++)
        for (unsigned i = 0; i < MANY && !atomic_load(&w->stop); i += 7) {
            char id[16];
            enum tier_state state;
            snprintf(id, sizeof id, "id%03u", i);
            struct tier_reply r = l3_try(&w->f->tier, l3_item(id, v, "from the writer"), &state);
            cr_assert(r.fault == TIER_FINE && state == TIER_STORED, "%s", se_errmsg());
            atomic_fetch_add(&w->writes, 1);
        }
}

/* Hundreds of damaged rows; a seventh of them is written again meanwhile, and none of those writes
 * is undone. */
static void hundreds_are_mended_beside_a_writer(struct l3_fixture *f)
{
    uint64_t v = l3_now_version();
    static struct tier_read seen[MANY];
    char ids[MANY][16];
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(ids[i], sizeof ids[i], "id%03u", i);
        l3_put(f, l3_item(ids[i], v, "good"));
        seen[i] = (struct tier_read){.id = ids[i], .id_len = strlen(ids[i])};
    }
    cr_assert(l3_sql(f, "UPDATE sync_items SET payload_blob = x'62616421'"));
    cr_assert_eq(f->tier.ops->read(f->tier.self, seen, MANY, l3_soon()).fault, TIER_FINE);
    struct writer w = {.f = f, .version = v + 1000};
    struct se__thread t = {0};
    cr_assert_eq(se__thread_start(&t, "writer", keep_writing, &w), SE_OK);
    while (atomic_load(&w.writes) == 0)
        se__pause_ms(1);
    for (unsigned i = 0; i < MANY; i++) {
        cr_assert_eq(seen[i].found, TIER_CORRUPT);
        struct tier_write now = mend(f, &seen[i], l3_item(ids[i], v, "good"));
        cr_assert(now.state == TIER_STORED || (i % 7 == 0 && now.newer >= w.version), "%s", ids[i]);
    }
    for (unsigned n = atomic_load(&w.writes); atomic_load(&w.writes) < n + MANY;)
        se__pause_ms(1);
    atomic_store(&w.stop, true);
    se__thread_join(&t);
    for (unsigned i = 0; i < MANY; i++) {
        uint64_t now = l3_version(f, ids[i]);
        cr_assert(i % 7 ? now == v : now >= w.version, "%s", ids[i]);
    }
}
ON_BOTH_DIALECTS(hundreds_are_mended_beside_a_writer)
