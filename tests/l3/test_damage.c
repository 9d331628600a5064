/*
 * Damaged rows: a survey shows each of them once, says what is wrong, and goes on.
 */
#include "l3_damage.h"

#include "tier/sights.h"

#include <stdlib.h>
#include <string.h>

/* How often each id was seen, sorted by id. */
struct tally {
    struct {
        char id[320];
        size_t len;
        unsigned times;
    } of[L3_DAMAGE_ROWS + L3_DAMAGE_ODD + 10];
    size_t n;
};

static void count(struct tally *t, const struct tier_sight *s)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->of[i].len == s->id_len && memcmp(t->of[i].id, s->id, s->id_len) == 0) {
            t->of[i].times++;
            return;
        }
    cr_assert_lt(t->n, sizeof t->of / sizeof t->of[0]);
    cr_assert_lt(s->id_len, sizeof t->of[0].id);
    memcpy(t->of[t->n].id, s->id, s->id_len);
    t->of[t->n].len = s->id_len;
    t->of[t->n++].times = 1;
}

static void check_flaw(const struct tier_sight *s, const struct l3_damage *d)
{
    static const uint8_t zeros[SE_HASH_SIZE];
    cr_assert_eq(s->flaw.header_fits, d->header_fits, "%s: %s", s->id, d->set);
    if (!d->header_fits)
        return;
    uint8_t hash[SE_HASH_SIZE];
    se_item *item = l3_item(s->id, s->flaw.version, "some text");
    se_item_hash(item, hash);
    cr_assert_eq(memcmp(s->flaw.expected, hash, SE_HASH_SIZE), 0, "%s", d->set);
    se__item_record_hash(item, hash);
    cr_assert_eq(memcmp(s->flaw.record_hash, hash, SE_HASH_SIZE), 0, "%s", d->set);
    cr_assert_neq(memcmp(s->flaw.actual, s->flaw.expected, SE_HASH_SIZE), 0, "%s", d->set);
    cr_assert_eq(memcmp(s->flaw.actual, zeros, SE_HASH_SIZE) == 0,
                 strstr(d->set, "NULL") || strstr(d->set, "= 12") || strstr(d->set, "encoding"),
                 "%s", d->set);
    cr_assert_eq(s->flaw.pack != TIER_PACK_NONE, strstr(d->set, "encoding") != NULL);
    se_item_release(item);
}

static void check_sight(const struct l3_fixture *f, const struct tier_sight *s,
                        enum tier_depth depth)
{
    bool odd;
    const struct l3_damage *d = l3_damage_of(f, s->id, s->id_len, &odd);
    cr_assert_eq(s->id[s->id_len], '\0');
    cr_assert_eq(s->bucket, se__item_bucket(s->id, s->id_len));
    bool seen = depth > TIER_IDS && (odd || (d && depth >= d->at));
    cr_assert_eq(s->found, seen ? TIER_CORRUPT : TIER_HIT, "\"%s\" %s", s->id, d ? d->set : "");
    if (seen && d)
        check_flaw(s, d);
}

static void survey(struct l3_fixture *f, const struct tier_survey *s, struct tally *t)
{
    struct tier_cursor cursor = {0};
    struct tier_sights page = {0};
    size_t calls = 0;
    while (!cursor.done) {
        struct tier_reply r = f->tier.ops->survey(f->tier.self, s, &cursor, &page, l3_soon());
        cr_assert_eq(r.fault, TIER_FINE, "%s", se_errmsg());
        for (size_t i = 0; i < page.n; i++) {
            count(t, &page.sights[i]);
            check_sight(f, &page.sights[i], s->depth);
        }
        cr_assert_lt(calls++, 1000, "it goes on for ever");
    }
    se__sights_done(&page);
    se__tier_cursor_done(&cursor);
}

static void check_all(const struct l3_fixture *f, const struct tally *t, const char *what)
{
    for (size_t i = 0; i < t->n; i++) {
        bool odd;
        const struct l3_damage *d = l3_damage_of(f, t->of[i].id, t->of[i].len, &odd);
        cr_assert_eq(t->of[i].times, 1, "%s: \"%s\" (%s) was seen %u times", what, t->of[i].id,
                     d ? d->set : "", t->of[i].times);
    }
    cr_assert_eq(t->n, l3_damage_count(f), "%s: %zu rows", what, t->n);
}

static void every_row_is_a_sight_once(struct l3_fixture *f)
{
    static const size_t pages[] = {1, 2, 3, 10, 64, 1000};
    static struct tally t;
    l3_damage_table(f);
    for (unsigned i = 0; i < 36; i++) {
        struct tier_survey s = {.depth = i % 3,
                                .order = i / 3 % 2,
                                .bucket_last = UINT16_MAX,
                                .items_max = pages[i / 6],
                                .bytes_max = SIZE_MAX};
        t.n = 0;
        survey(f, &s, &t);
        check_all(f, &t, s.order == TIER_BY_ID ? "by id" : "by bucket");
    }
}
ON_BOTH_DIALECTS(every_row_is_a_sight_once)

/* Whatever its bucket says, a row is in exactly one of the ranges that cover all buckets. */
static void ranges_of_buckets_leave_no_row_out(struct l3_fixture *f)
{
    static struct tally t;
    l3_damage_table(f);
    for (unsigned i = 0; i < 30; i++) {
        struct tier_survey s = {.depth = i % 3,
                                .order = TIER_BY_BUCKET,
                                .items_max = 1 + (size_t)rand() % 20,
                                .bytes_max = SIZE_MAX};
        t.n = 0;
        for (uint32_t first = 0; first <= UINT16_MAX;) {
            uint32_t width = 1 + (uint32_t)rand() % 20000;
            s.bucket_first = first;
            s.bucket_last = first + width > UINT16_MAX ? UINT16_MAX : first + width;
            first = s.bucket_last + 1;
            /* a fraction is between two buckets: see docs/l3.md */
            if (s.bucket_last == 3000)
                s.bucket_last = first++;
            survey(f, &s, &t);
        }
        check_all(f, &t, "by ranges");
    }
}
ON_BOTH_DIALECTS(ranges_of_buckets_leave_no_row_out)

/* Tombstones are left out, damaged rows that may be none are not. */
static void live_only_keeps_damaged_rows(struct l3_fixture *f)
{
    static struct tally t;
    l3_damage_table(f);
    long long live = l3_number(f, f->server ? "SELECT COUNT(*) FROM loose WHERE NOT (deleted <=> 1)"
                                            : "SELECT COUNT(*) FROM loose WHERE deleted IS NOT 1");
    cr_assert_lt((size_t)live, l3_damage_count(f));
    for (unsigned i = 0; i < 12; i++) {
        struct tier_survey s = {.depth = i % 3,
                                .order = i / 3 % 2,
                                .live_only = true,
                                .bucket_last = UINT16_MAX,
                                .items_max = i > 5 ? 7 : 1000,
                                .bytes_max = SIZE_MAX};
        t.n = 0;
        survey(f, &s, &t);
        cr_assert_eq(t.n, (size_t)live);
    }
}
ON_BOTH_DIALECTS(live_only_keeps_damaged_rows)

/* In a SQLite table that is not STRICT an id may be a BLOB: it sorts above all that are TEXT. */
Test(sqlite, ids_that_are_blobs_do_not_loop)
{
    struct l3_fixture f;
    l3_start(&f, L3_SQLITE, NULL);
    l3_damage_table(&f);
    static struct tally t;
    cr_assert(l3_sql(&f, "UPDATE loose SET id = CAST(id AS BLOB) WHERE id > 'row1' AND "
                         "id < 'row2'"));
    for (unsigned i = 0; i < 12; i++) {
        struct tier_survey s = {.depth = TIER_IDS,
                                .order = i % 2,
                                .bucket_last = UINT16_MAX,
                                .items_max = 1 + i / 2,
                                .bytes_max = SIZE_MAX};
        t.n = 0;
        survey(&f, &s, &t);
        check_all(&f, &t, "blobs");
    }
    l3_stop(&f);
}
