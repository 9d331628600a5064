/*
 * Surveys: pages over everything a table holds, equal to a model, whatever is damaged.
 */
#include "l3_model.h"

#include "base/mem.h"
#include "tier/sights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All pages of a survey, one after the other. */
struct seen {
    struct tier_sights all;
    size_t pages;
};

static void keep(struct seen *seen, const struct tier_sights *page)
{
    for (size_t i = 0; i < page->n; i++) {
        const struct tier_sight *from = &page->sights[i];
        struct tier_sight *to = se__sights_add(&seen->all, from->id, from->id_len);
        cr_assert_not_null(to);
        const char *offset = to->id;
        *to = *from;
        to->id = offset;
    }
}

/* Runs a survey to its end: it must come in as many pages as its rows need, and no more. */
static struct seen look(struct l3_fixture *f, const struct tier_survey *survey, size_t rows_max)
{
    struct seen seen = {.pages = 0};
    struct tier_cursor cursor = {0};
    struct tier_sights page = {0};
    while (!cursor.done) {
        struct tier_reply r = f->tier.ops->survey(f->tier.self, survey, &cursor, &page, l3_soon());
        cr_assert_eq(r.fault, TIER_FINE, "fault %d code %d: %s", r.fault, r.code, se_errmsg());
        cr_assert_leq(page.n, survey->items_max);
        cr_assert(page.n > 0 || cursor.done, "an empty page is the last");
        keep(&seen, &page);
        cr_assert_leq(++seen.pages, rows_max + 2, "it goes on for ever");
    }
    size_t pages = seen.pages;
    struct tier_reply r = f->tier.ops->survey(f->tier.self, survey, &cursor, &page, l3_soon());
    cr_assert(r.fault == TIER_FINE && page.n == 0 && seen.pages == pages, "done is done");
    se__sights_finish(&seen.all);
    se__sights_done(&page);
    se__tier_cursor_done(&cursor);
    return seen;
}

static void check_sight(const struct tier_sight *s, const struct l3_entry *e, enum tier_depth depth)
{
    uint8_t hash[SE_HASH_SIZE];
    cr_assert(s->id_len == strlen(e->id) && memcmp(s->id, e->id, s->id_len + 1) == 0,
              "\"%s\" and not \"%s\"", s->id, e->id);
    cr_assert_eq(s->found, TIER_HIT, "%s", e->id);
    cr_assert_eq(s->bucket, se__item_bucket(e->id, s->id_len));
    if (depth == TIER_IDS)
        return;
    se__item_record_hash(e->item, hash);
    cr_assert_eq(s->kind, e->kind, "%s", e->id);
    cr_assert_eq(s->version, se_item_version(e->item));
    cr_assert_eq(memcmp(s->record_hash, hash, SE_HASH_SIZE), 0);
    cr_assert_eq(s->route, se__item_route(e->item));
    cr_assert_eq(s->expires_at_ms, l3_entry_deleted(e) ? 0 : se__item_expires_at_ms(e->item));
    if (depth == TIER_CONTENTS && !l3_entry_deleted(e))
        cr_assert_eq(s->content_len, se_item_content_len(e->item));
}

static bool in_bounds(const struct tier_survey *survey, const struct l3_entry *e)
{
    uint32_t bucket = se__item_bucket(e->id, strlen(e->id));
    if (survey->live_only && l3_entry_deleted(e))
        return false;
    if (survey->order == TIER_BY_BUCKET)
        return bucket >= survey->bucket_first && bucket <= survey->bucket_last;
    return strcmp(e->id, survey->after ? survey->after : "") > 0 &&
           (!survey->until || !*survey->until || strcmp(e->id, survey->until) <= 0);
}

static void check_survey(struct l3_fixture *f, const struct l3_model *m,
                         const struct tier_survey *survey)
{
    struct seen seen = look(f, survey, m->n);
    size_t at = 0;
    for (size_t i = 0; i < m->n; i++)
        if (in_bounds(survey, &m->of[i])) {
            cr_assert_lt(at, seen.all.n, "\"%s\" is missing", m->of[i].id);
            check_sight(&seen.all.sights[at++], &m->of[i], survey->depth);
        }
    cr_assert_eq(at, seen.all.n, "%zu sights, %zu are expected", seen.all.n, at);
    se__sights_done(&seen.all);
}

static struct tier_survey all_of(enum tier_depth depth, enum tier_order order, size_t items_max)
{
    return (struct tier_survey){.depth = depth,
                                .order = order,
                                .bucket_last = UINT16_MAX,
                                .items_max = items_max,
                                .bytes_max = SIZE_MAX};
}

/* ---- sound tables ---- */

static void equals_the_model_in_every_depth_and_order(struct l3_fixture *f)
{
    static const size_t pages[] = {1, 2, 3, 7, 100, L3_MODEL_IDS, 10000};
    static struct l3_model m;
    l3_model_init(&m, 11);
    for (unsigned i = 0; i < 42; i++) {
        if (i % 6 == 0)
            l3_model_write(&m, f, 12);
        struct tier_survey s = all_of(i % 3, i / 3 % 2, pages[i / 6 % 7]);
        l3_model_sort(&m, s.order);
        check_survey(f, &m, &s);
        s.live_only = true;
        check_survey(f, &m, &s);
    }
    l3_model_done(&m);
}
ON_BOTH_DIALECTS(equals_the_model_in_every_depth_and_order)

static void bounds_are_after_and_up_to(struct l3_fixture *f)
{
    static struct l3_model m;
    l3_model_init(&m, 12);
    l3_model_write(&m, f, 30);
    l3_model_sort(&m, TIER_BY_ID);
    for (unsigned i = 0; i < 120; i++) {
        struct tier_survey s = all_of(i % 3, TIER_BY_ID, 1 + (size_t)rand() % 50);
        const char *a = m.of[(size_t)rand() % m.n].id, *b = m.of[(size_t)rand() % m.n].id;
        s.after = i % 5 ? a : NULL;
        s.until = i % 7 == 0 ? NULL : i % 7 == 1 ? "" : i % 7 == 2 ? a : b;
        s.live_only = i % 2;
        check_survey(f, &m, &s);
    }
    l3_model_done(&m);
}
ON_BOTH_DIALECTS(bounds_are_after_and_up_to)

static void bucket_ranges_are_inclusive(struct l3_fixture *f)
{
    static struct l3_model m;
    l3_model_init(&m, 13);
    l3_model_write(&m, f, 30);
    l3_model_sort(&m, TIER_BY_BUCKET);
    for (unsigned i = 0; i < 120; i++) {
        const char *a = m.of[(size_t)rand() % m.n].id, *b = m.of[(size_t)rand() % m.n].id;
        struct tier_survey s = all_of(i % 3, TIER_BY_BUCKET, 1 + (size_t)rand() % 50);
        s.bucket_first = i % 5 ? se__item_bucket(a, strlen(a)) : 0;
        s.bucket_last = i % 7 == 0   ? UINT16_MAX
                        : i % 7 == 1 ? s.bucket_first
                                     : se__item_bucket(b, strlen(b));
        if (s.bucket_last < s.bucket_first)
            s.bucket_last = s.bucket_first;
        s.live_only = i % 2;
        check_survey(f, &m, &s);
    }
    l3_model_done(&m);
}
ON_BOTH_DIALECTS(bucket_ranges_are_inclusive)

static void an_empty_table_is_one_empty_page(struct l3_fixture *f)
{
    for (unsigned i = 0; i < 6; i++) {
        struct tier_survey s = all_of(i % 3, i / 3, 10);
        struct seen seen = look(f, &s, 0);
        cr_assert(seen.all.n == 0 && seen.pages == 1);
        se__sights_done(&seen.all);
    }
}
ON_BOTH_DIALECTS(an_empty_table_is_one_empty_page)

/* Every bucket holds one of many rows or none; here one holds them all, and is cut by pages. */
static void one_full_bucket_is_cut_by_pages(struct l3_fixture *f)
{
    for (unsigned i = 0; i < 50; i++) {
        char id[8];
        snprintf(id, sizeof id, "%02u", i);
        l3_put(f, l3_item(id, l3_now_version(), "x"));
    }
    cr_assert(l3_sql(f, "UPDATE sync_items SET bucket = 7"));
    for (size_t page = 1; page <= 51; page++) {
        struct tier_survey s = all_of(TIER_IDS, TIER_BY_BUCKET, page);
        s.bucket_first = page % 2 ? 7 : 0;
        s.bucket_last = page % 3 ? 7 : 8;
        struct seen seen = look(f, &s, 50);
        cr_assert_eq(seen.all.n, 50, "%zu", page);
        for (unsigned i = 0; i < 50; i++)
            cr_assert_eq((unsigned)atoi(seen.all.sights[i].id), i);
        se__sights_done(&seen.all);
    }
}
ON_BOTH_DIALECTS(one_full_bucket_is_cut_by_pages)

static void pages_of_contents_end_at_their_bytes(struct l3_fixture *f)
{
    char content[1000];
    memset(content, 'c', sizeof content);
    for (unsigned i = 0; i < 100; i++) {
        char id[8];
        snprintf(id, sizeof id, "%02u", i);
        l3_put(f, l3_item_bytes(id, l3_now_version(), content, sizeof content, SE_CONTENT_BINARY));
    }
    for (unsigned order = 0; order < 2; order++) {
        struct tier_survey s = all_of(TIER_CONTENTS, order, 1000);
        s.bytes_max = 9500;
        struct seen seen = look(f, &s, 100);
        cr_assert_eq(seen.all.n, 100);
        cr_assert(seen.pages == 10 || seen.pages == 11, "%zu", seen.pages);
        se__sights_done(&seen.all);
    }
}
ON_BOTH_DIALECTS(pages_of_contents_end_at_their_bytes)

/* Rows that come, go and change between the pages: what stays is seen once, in order. */
static void a_moving_table_is_surveyed(struct l3_fixture *f)
{
    for (unsigned order = 0; order < 2; order++) {
        struct tier_survey s = all_of(TIER_HEADERS, order, 3);
        struct tier_cursor cursor = {0};
        struct tier_sights page = {0};
        size_t stays = 0, pages = 0;
        for (unsigned i = 0; i < 60; i++) {
            char id[16];
            snprintf(id, sizeof id, "%s%02u", i % 2 ? "stays" : "goes", i);
            l3_put(f, l3_item(id, l3_now_version(), "x"));
        }
        while (!cursor.done && pages++ < 200) {
            cr_assert_eq(f->tier.ops->survey(f->tier.self, &s, &cursor, &page, l3_soon()).fault,
                         TIER_FINE);
            for (size_t i = 0; i < page.n; i++)
                stays += strncmp(page.sights[i].id, "stays", 5) == 0;
            /* the very row that the cursor is behind goes away too */
            for (size_t i = 0; i < page.n; i++) {
                char sql[200];
                snprintf(sql, sizeof sql,
                         "DELETE FROM sync_items WHERE id = '%s' AND id LIKE 'goes%%'",
                         page.sights[i].id);
                cr_assert(l3_sql(f, sql));
            }
        }
        cr_assert_eq(stays, 30);
        se__sights_done(&page);
        se__tier_cursor_done(&cursor);
    }
}
ON_BOTH_DIALECTS(a_moving_table_is_surveyed)
