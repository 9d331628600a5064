/*
 * Newest wins, exactly: every write's outcome is compared with a model, on every driver.
 */
#include "base/hlc.h"
#include "l3_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t now_version(void)
{
    return se__version_of_ms(se__wall_ms());
}

/* ---- a model of one table ---- */

#define IDS 40

struct model {
    se_item *item[IDS];
};

static void model_done(struct model *m)
{
    for (int i = 0; i < IDS; i++)
        se_item_release(m->item[i]);
}

/* What a write of `item` must come to. */
static enum tier_state model_write(struct model *m, int i, se_item *item)
{
    int order = m->item[i] ? se__item_compare(item, m->item[i]) : 1;
    if (order < 0)
        return TIER_NEWER;
    se_item_release(m->item[i]);
    m->item[i] = se_item_retain(item);
    return TIER_STORED;
}

static void model_check(struct model *m, struct l3_fixture *f)
{
    for (int i = 0; i < IDS; i++) {
        char id[16];
        snprintf(id, sizeof id, "id%02d", i);
        se_item *stored = l3_get(f, id, NULL);
        cr_assert_eq(stored != NULL, m->item[i] != NULL, "%s", id);
        if (stored)
            cr_assert_eq(se__item_compare(stored, m->item[i]), 0, "%s", id);
        se_item_release(stored);
    }
}

static se_item *random_item(int i, uint64_t base)
{
    char id[16], text[32];
    snprintf(id, sizeof id, "id%02d", i);
    uint64_t version = base + (uint64_t)(rand() % 12);
    if (rand() % 5 == 0)
        return l3_tombstone(id, version);
    snprintf(text, sizeof text, "content %d", rand() % 3);
    return l3_item(id, version, text);
}

static void random_batch(struct model *m, struct l3_fixture *f, uint64_t base)
{
    struct tier_write writes[IDS];
    enum tier_state expected[IDS];
    size_t n = 0;
    int every = 1 + rand() % 4;
    for (int i = 0; i < IDS; i++)
        if (rand() % every == 0) {
            se_item *item = random_item(i, base);
            writes[n] = (struct tier_write){
                .item = item, .kind = se__item_deleted(item) ? RECORD_TOMBSTONE : RECORD_ITEM};
            expected[n++] = model_write(m, i, item);
        }
    struct tier_reply r = f->tier.ops->write(f->tier.self, 0, writes, n, l3_soon());
    cr_assert_eq(r.fault, TIER_FINE, "%s", se_errmsg());
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(writes[i].state, expected[i], "%s", se_item_id(writes[i].item));
        if (expected[i] == TIER_NEWER)
            cr_assert_geq(writes[i].newer, se_item_version(writes[i].item));
        se_item_release(writes[i].item);
    }
}

static void random_order_matches_model(struct l3_fixture *f)
{
    struct model m = {{NULL}};
    uint64_t base = now_version();
    srand(7);
    for (int round = 0; round < 60; round++)
        random_batch(&m, f, base);
    model_check(&m, f);
    model_done(&m);
}
ON_EVERY_DRIVER(random_order_matches_model)

/* The same with versions so old that the floor is read for every batch. */
static void old_versions_match_model_too(struct l3_fixture *f)
{
    struct model m = {{NULL}};
    srand(8);
    for (int round = 0; round < 40; round++)
        random_batch(&m, f, 1000);
    model_check(&m, f);
    model_done(&m);
}
ON_EVERY_DRIVER(old_versions_match_model_too)

/* ---- single facts ---- */

static void greater_record_hash_wins_a_tie(struct l3_fixture *f)
{
    uint64_t v = now_version();
    for (int i = 0; i < 10; i++) {
        char id[16], text[16];
        snprintf(id, sizeof id, "tie%d", i);
        snprintf(text, sizeof text, "b%d", i);
        se_item *a = l3_item(id, v, "a"), *b = l3_item(id, v, text);
        bool b_wins = se__item_compare(b, a) > 0;
        cr_assert_eq(l3_put(f, a), TIER_STORED);
        cr_assert_eq(l3_put(f, b), b_wins ? TIER_STORED : TIER_NEWER);
        cr_assert(l3_holds(f, id, v, b_wins ? text : "a"));
    }
}
ON_EVERY_DRIVER(greater_record_hash_wins_a_tie)

static void repeat_is_stored(struct l3_fixture *f)
{
    uint64_t v = now_version();
    for (int i = 0; i < 3; i++)
        cr_assert_eq(l3_put(f, l3_item("x", v, "one")), TIER_STORED);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(l3_put(f, l3_tombstone("x", v + 1)), TIER_STORED);
    cr_assert_eq(l3_put(f, l3_item("x", v, "one")), TIER_NEWER);
    cr_assert_eq(l3_version(f, "x"), v + 1);
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items"), 1);
}
ON_EVERY_DRIVER(repeat_is_stored)

/* More rows than any statement takes, losers scattered among them. */
static void large_batch_says_exactly_who_lost(struct l3_fixture *f)
{
    enum { N = 2345 };
    struct tier_write *writes = calloc(N, sizeof *writes);
    uint64_t v = now_version();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            char id[16], text[32];
            snprintf(id, sizeof id, "r%06d", i);
            snprintf(text, sizeof text, "round %d", round);
            uint64_t version = round == 0 ? v + 5 : i % 7 == 0 ? v : i % 7 == 1 ? v + 5 : v + 9;
            writes[i] = (struct tier_write){
                .item = l3_item(id, version, i % 7 == 1 ? "same" : text), .kind = RECORD_ITEM};
        }
        struct tier_reply r = f->tier.ops->write(f->tier.self, 0, writes, N, l3_soon());
        cr_assert_eq(r.fault, TIER_FINE, "%s", se_errmsg());
        for (int i = 0; i < N; i++) {
            bool lost = round == 1 && i % 7 == 0;
            cr_assert_eq(writes[i].state, lost ? TIER_NEWER : TIER_STORED, "%d", i);
            cr_assert_eq(writes[i].newer, lost ? v + 5 : 0);
            se_item_release(writes[i].item);
        }
    }
    free(writes);
    cr_assert(l3_holds(f, "r000000", v + 5, "round 0"));
    cr_assert(l3_holds(f, "r000001", v + 5, "same"));
    cr_assert(l3_holds(f, "r000002", v + 9, "round 1"));
}
ON_EVERY_DRIVER(large_batch_says_exactly_who_lost)

/* A put that is routed past this tier leaves its tombstone here, with
 * that put's place in the order. */
static void tombstone_of_a_put_keeps_its_order(struct l3_fixture *f)
{
    uint64_t v = now_version();
    se_item *put = l3_item("routed", v, "elsewhere");
    struct tier_write w = {.item = put, .kind = RECORD_TOMBSTONE};
    cr_assert_eq(f->tier.ops->write(f->tier.self, 0, &w, 1, l3_soon()).fault, TIER_FINE);
    cr_assert_eq(w.state, TIER_STORED);
    se_item *stored = l3_get(f, "routed", NULL);
    cr_assert_not_null(stored);
    cr_assert(se__item_deleted(stored));
    cr_assert_eq(se_item_version(stored), v);
    se_item_release(stored);
    cr_assert_eq(f->tier.ops->write(f->tier.self, 0, &w, 1, l3_soon()).fault, TIER_FINE);
    cr_assert_eq(w.state, TIER_STORED);
    cr_assert_eq(l3_put(f, l3_item("routed", v - 1, "older")), TIER_NEWER);
    se_item_release(put);
}
ON_EVERY_DRIVER(tombstone_of_a_put_keeps_its_order)

/* ---- purge ---- */

static size_t purge(struct l3_fixture *f, size_t limit)
{
    size_t purged = 99;
    struct tier_reply r = f->tier.ops->purge(f->tier.self, limit, &purged, l3_soon());
    cr_assert_eq(r.fault, TIER_FINE, "%s", se_errmsg());
    return purged;
}

static void fresh_tombstones_stay(struct l3_fixture *f)
{
    l3_put(f, l3_tombstone("gone", now_version()));
    l3_put(f, l3_tombstone("long gone, applied now", 5000));
    cr_assert_eq(purge(f, 100), 0);
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items"), 2);
}
ON_BOTH_DIALECTS(fresh_tombstones_stay)

static void purge_leaves_a_floor(struct l3_fixture *f)
{
    uint64_t old = se__version_of_ms(se__wall_ms() - 2 * 86400000LL);
    l3_put(f, l3_item("live", old - 10, "kept"));
    l3_put(f, l3_tombstone("a", old));
    l3_put(f, l3_tombstone("b", old + 7));
    l3_put(f, l3_tombstone("c", old + 3));
    cr_assert(l3_sql(f, "UPDATE sync_items SET purge_at = 1 WHERE deleted = 1"));
    cr_assert_eq(purge(f, 2) + purge(f, 2) + purge(f, 2), 3);
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items"), 1);
    /* none of these may come back, alone or in a batch */
    cr_assert_eq(l3_put(f, l3_item("a", old - 1, "ghost")), TIER_NEWER);
    cr_assert_eq(l3_put(f, l3_item("b", old + 7, "ghost")), TIER_NEWER);
    cr_assert_eq(l3_version(f, "a"), 0);
    struct tier_write batch[3] = {
        {.item = l3_item("a", old - 1, "ghost"), .kind = RECORD_ITEM},
        {.item = l3_item("live", old - 5, "updated"), .kind = RECORD_ITEM},
        {.item = l3_item("new", old + 8, "above the floor"), .kind = RECORD_ITEM}};
    cr_assert_eq(f->tier.ops->write(f->tier.self, 0, batch, 3, l3_soon()).fault, TIER_FINE);
    cr_assert_eq(batch[0].state, TIER_NEWER);
    cr_assert_eq(batch[0].newer, old + 7);
    cr_assert_eq(batch[1].state, TIER_STORED);
    cr_assert_eq(batch[2].state, TIER_STORED);
    for (int i = 0; i < 3; i++)
        se_item_release(batch[i].item);
    cr_assert(l3_holds(f, "live", old - 5, "updated"));
    cr_assert_eq(l3_put(f, l3_item("live", old - 5, "updated")), TIER_STORED); /* repeat */
    cr_assert_eq(l3_put(f, l3_item("live", old - 6, "older")), TIER_NEWER);
    cr_assert_eq(l3_put(f, l3_item("a", now_version(), "new life")), TIER_STORED);
}
ON_EVERY_DRIVER(purge_leaves_a_floor)

/* A version from the future, or a purge time set by hand, must not raise the floor over
 * writes that are on their way. */
static void purge_never_takes_young_versions(struct l3_fixture *f)
{
    l3_put(f, l3_tombstone("young", now_version()));
    l3_put(f, l3_tombstone("future", SE__VERSION_MAX - 1));
    cr_assert(l3_sql(f, "UPDATE sync_items SET purge_at = 1"));
    cr_assert_eq(purge(f, 100), 0);
    cr_assert_eq(l3_put(f, l3_item("fine", now_version(), "x")), TIER_STORED);
}
ON_BOTH_DIALECTS(purge_never_takes_young_versions)

static void expired_items_are_purged_after_retention(struct l3_fixture *f)
{
    struct item_spec spec = {.id = "short",
                             .id_len = 5,
                             .content = "x",
                             .content_len = 1,
                             .version = se__version_of_ms(se__wall_ms() - 100 * 86400000LL),
                             .expires_at_ms = se__wall_ms() - 50 * 86400000LL};
    l3_put(f, se__item_new(&spec));
    spec.id = "never";
    spec.expires_at_ms = INT64_MAX; /* must not overflow */
    l3_put(f, se__item_new(&spec));
    cr_assert_eq(l3_number(f, "SELECT COUNT(*) FROM sync_items WHERE purge_at IS NOT NULL"), 2);
    cr_assert_eq(purge(f, 10), 0, "retention counts from the write");
    cr_assert(l3_sql(f, "UPDATE sync_items SET purge_at = 1 WHERE id = 'short'"));
    cr_assert_eq(purge(f, 10), 1);
    cr_assert_eq(l3_version(f, "short"), 0);
    cr_assert_neq(l3_version(f, "never"), 0);
}
ON_BOTH_DIALECTS(expired_items_are_purged_after_retention)

/* ---- several writers ---- */

#define WRITERS 3
#define ROUNDS 40

struct writer {
    struct l3_fixture *f;
    unsigned number;
    uint64_t base;
    struct se__thread thread;
    int conflicts, bad;
};

static void write_overlapping(void *arg)
{
    struct writer *w = arg;
    for (int round = 0; round < ROUNDS; round++) {
        struct tier_write writes[IDS];
        for (int i = 0; i < IDS; i++) {
            char id[16], text[40];
            snprintf(id, sizeof id, "id%02d", i);
            snprintf(text, sizeof text, "writer %u round %d", w->number, round);
            /* every writer's versions interleave with the others' */
            uint64_t version =
                w->base + (uint64_t)((round * 37 + i * 11) % 300) * WRITERS + w->number;
            writes[i] =
                (struct tier_write){.item = l3_item(id, version, text), .kind = RECORD_ITEM};
        }
        struct tier_reply r;
        while (
            (r = w->f->tier.ops->write(w->f->tier.self, w->number, writes, IDS, l3_soon())).fault ==
            TIER_CONFLICT)
            w->conflicts++;
        w->bad += r.fault != TIER_FINE;
        for (int i = 0; i < IDS; i++)
            se_item_release(writes[i].item);
    }
}

static void concurrent_writers_end_at_the_newest(struct l3_fixture *f)
{
    struct writer writers[WRITERS];
    uint64_t base = now_version();
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.f = f, .number = i, .base = base};
        cr_assert_eq(se__thread_start(&writers[i].thread, "writer", write_overlapping, &writers[i]),
                     SE_OK);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        se__thread_join(&writers[i].thread);
        cr_assert_eq(writers[i].bad, 0);
    }
    for (int i = 0; i < IDS; i++) {
        char id[16];
        uint64_t newest = 0;
        snprintf(id, sizeof id, "id%02d", i);
        for (int round = 0; round < ROUNDS; round++) {
            uint64_t v = base + (uint64_t)((round * 37 + i * 11) % 300) * WRITERS + WRITERS - 1;
            newest = v > newest ? v : newest;
        }
        cr_assert_eq(l3_version(f, id), newest, "%s", id);
    }
}
ON_EVERY_DRIVER(concurrent_writers_end_at_the_newest)
