/*
 * Surveys: what is seen, compared with a model of what was put there; pages, bounds, both depths.
 */
#include "l2/fixture.h"

#include "support/random.h"

#include "tier/sights.h"

#include <stdio.h>
#include <stdlib.h>

/* Everything that means something to a glob. */
#define ODD_PREFIX "s[a-z]*?\\{x}:"

static void setup(void)
{
    l2_start(NULL, &(struct l2_options){.prefix = ODD_PREFIX});
}

TestSuite(l2_survey, .init = setup, .fini = l2_teardown, .timeout = 120);

static uint64_t seed = 0x2545f4914f6cdd1d;

/* ---- the model ---- */

/* What a key may hold, and whether it takes the content to see that it is damaged. */
enum holds {
    ITEM,
    ITEM_EMPTY,
    ITEM_LARGE,
    TOMBSTONE,
    STAND_IN, /* a live item's tombstone */
    FLOOR,
    LEASE,
    OLD_WORLD,
    TEXT,
    NOTHING, /* an empty string */
    LIST,
    HEADER_FLIPPED,
    OTHERS, /* another id's record */
    CUT,
    TAILED,
    TOMBSTONE_TAILED,
    CONTENT_FLIPPED,
    LARGE_FLIPPED,
    LARGE_CUT,
    LARGE_TAILED,
    KINDS
};

struct entry {
    char id[SE_ID_MAX + 1];
    enum holds holds;
    struct record record; /* as it was encoded */
    bool seen;
};

struct model {
    struct entry *entries;
    size_t n;
};

static void damage(enum holds holds, uint8_t *bytes, size_t *len)
{
    switch (holds) {
    case HEADER_FLIPPED:
        bytes[random_next(&seed) % RECORD_HEADER_SIZE] ^= (uint8_t)(1 + random_next(&seed) % 255);
        break;
    case CONTENT_FLIPPED:
    case LARGE_FLIPPED:
        bytes[*len - 1] ^= 1;
        break;
    case CUT:
    case LARGE_CUT:
        *len -= 1;
        break;
    case TAILED:
    case LARGE_TAILED:
    case TOMBSTONE_TAILED:
        bytes[(*len)++] = 'x';
        break;
    default:
        break;
    }
}

static enum record_kind kind_of(enum holds holds)
{
    switch (holds) {
    case TOMBSTONE:
    case STAND_IN:
    case TOMBSTONE_TAILED:
        return RECORD_TOMBSTONE;
    case FLOOR:
        return RECORD_FLOOR;
    default:
        return RECORD_ITEM;
    }
}

static size_t content_len_of(enum holds holds)
{
    if (holds == ITEM_LARGE || holds >= LARGE_FLIPPED)
        return 40 + random_next(&seed) % 5000; /* across every share of bytes_max */
    if (holds == ITEM || holds == OLD_WORLD)
        return 1 + random_next(&seed) % 600;
    return holds == ITEM_EMPTY ? 0 : 1 + random_next(&seed) % 20;
}

static se_item *item_of(const struct entry *e)
{
    static char content[8192], state[SE_STATE_MAX + 1];
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)random_next(&seed);
    memset(state, 's', SE_STATE_MAX);
    bool stateful = (e->holds == ITEM || e->holds == ITEM_LARGE) && random_next(&seed) % 2;
    struct item_spec spec = {.id = e->id,
                             .id_len = strlen(e->id),
                             .content = content,
                             .content_len = content_len_of(e->holds),
                             .version = 1 + random_next(&seed) % INT64_MAX,
                             .expires_at_ms = (int64_t)(random_next(&seed) % 3) * 1999999999999,
                             .route = (uint8_t)(1 + random_next(&seed) % 3),
                             .deleted = e->holds == TOMBSTONE || e->holds == TOMBSTONE_TAILED,
                             .state = stateful ? state : NULL};
    se_item *item = se__item_new(&spec);
    cr_assert_neq(item, NULL);
    return item;
}

static void store(const char *id, const uint8_t *bytes, size_t len)
{
    char out[64];
    redis_server_ask(&server, out, sizeof out, "SET %s%s %b", ODD_PREFIX, id, bytes, len);
    cr_assert_str_eq(out, "OK");
}

static void put_record(struct entry *e)
{
    static uint8_t bytes[16384];
    static const uint8_t TOKEN[SE_HASH_SIZE] = {1, 2, 3};
    size_t id_len = strlen(e->id), len = RECORD_HEADER_SIZE;
    uint64_t generation = GENERATION + (e->holds == OLD_WORLD);
    if (e->holds == LEASE) {
        se__record_encode_lease(e->id, id_len, generation, TOKEN, bytes);
    } else {
        se_item *item = item_of(e);
        len = se__record_size(item, kind_of(e->holds));
        se__record_encode(item, kind_of(e->holds), generation, bytes);
        se_item_release(item);
    }
    cr_assert_eq(se__record_decode(e->id, id_len, bytes, len, &e->record), RECORD_OK);
    damage(e->holds, bytes, &len);
    store(e->id, bytes, len);
}

static void put_entry(struct entry *e)
{
    char out[64];
    if (e->holds == TEXT) {
        store(e->id, (const uint8_t *)"hello", random_next(&seed) % 6);
    } else if (e->holds == NOTHING) {
        store(e->id, (const uint8_t *)"", 0);
    } else if (e->holds == LIST) {
        redis_server_ask(&server, out, sizeof out, "RPUSH %s%s a", ODD_PREFIX, e->id);
    } else if (e->holds == OTHERS) {
        struct entry other = {.id = "other", .holds = ITEM};
        put_record(&other);
        redis_server_ask(&server, out, sizeof out, "RENAME %sother %s%s", ODD_PREFIX, ODD_PREFIX,
                         e->id);
    } else {
        put_record(e);
    }
}

/* Short and long, with everything that means something to a glob. */
static void random_id(struct entry *e, size_t number)
{
    static const char *const PIECES[] = {"*", "?", "[ab]", "\\", "{t}", "^", "-", "\xc3\xa4", "a:"};
    int n = snprintf(e->id, sizeof e->id, "%s", PIECES[random_next(&seed) % 9]);
    if (random_next(&seed) % 20 == 0)
        n += snprintf(e->id + n, sizeof e->id - n, "%0*d", (int)(240 - n), 0);
    snprintf(e->id + n, sizeof e->id - n, "%s%zu", PIECES[random_next(&seed) % 9], number);
}

static struct model fill_server(size_t n)
{
    struct model m = {.entries = calloc(n, sizeof *m.entries), .n = n};
    for (size_t i = 0; i < n; i++) {
        random_id(&m.entries[i], i);
        m.entries[i].holds = (enum holds)(i % KINDS);
        put_entry(&m.entries[i]);
    }
    return m;
}

static void put_foreign(void)
{
    char out[64];
    l2.tier.ops->meta_put(l2.tier.self, "n", "v", se__deadline_in(PATIENCE_MS));
    redis_server_ask(&server, out, sizeof out, "SET sbb:other x"); /* fits the prefix as a glob */
    redis_server_ask(&server, out, sizeof out, "SET %s x", ODD_PREFIX);
    redis_server_ask(&server, out, sizeof out, "SET %s%b x", ODD_PREFIX, "nul\0l", (size_t)5);
    redis_server_ask(&server, out, sizeof out, "SET %s%b x", ODD_PREFIX, "bad\xff", (size_t)4);
    redis_server_ask(&server, out, sizeof out, "SET %s%0300d x", ODD_PREFIX, 1);
    redis_server_ask(&server, out, sizeof out, "SET other x");
}

/* ---- sights against the model ---- */

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->id, ((const struct entry *)b)->id);
}

static struct entry *entry_of(const struct model *m, const char *id)
{
    struct entry key;
    snprintf(key.id, sizeof key.id, "%s", id);
    return bsearch(&key, m->entries, m->n, sizeof key, by_id);
}

static enum tier_found found_of(enum holds holds, enum tier_depth depth)
{
    if (holds >= CONTENT_FLIPPED)
        return depth == TIER_CONTENTS ? TIER_CORRUPT : TIER_HIT;
    if (holds >= TEXT)
        return TIER_CORRUPT;
    return holds >= FLOOR ? TIER_VOID : TIER_HIT;
}

static bool header_whole(enum holds holds)
{
    return holds < TEXT || holds >= CUT;
}

static void check_header(const struct entry *e, const struct tier_sight *s)
{
    const struct record *r = &e->record;
    cr_assert_eq(s->kind, r->kind);
    cr_assert_eq(s->version, r->version);
    cr_assert_eq(s->route, r->route);
    cr_assert_eq(s->expires_at_ms, r->expires_at_ms);
    cr_assert_eq(s->content_len, r->content_len);
    cr_assert_arr_eq(s->record_hash, r->record_hash, SE_HASH_SIZE);
}

static void check_flaw(const struct entry *e, const struct tier_sight *s)
{
    cr_assert_eq(s->flaw.header_fits, header_whole(e->holds), "kind %d", e->holds);
    if (!s->flaw.header_fits) {
        cr_assert_eq(s->flaw.version, 0u);
        return;
    }
    cr_assert_eq(s->flaw.version, e->record.version);
    cr_assert_arr_eq(s->flaw.record_hash, e->record.record_hash, SE_HASH_SIZE);
    cr_assert_arr_eq(s->flaw.expected, e->record.content_hash, SE_HASH_SIZE);
    cr_assert(memcmp(s->flaw.expected, s->flaw.actual, SE_HASH_SIZE) != 0);
}

static void check_sight(const struct model *m, const struct tier_sight *s, enum tier_depth depth)
{
    struct entry *e = entry_of(m, s->id);
    cr_assert_neq(e, NULL, "%s was never there", s->id);
    e->seen = true;
    cr_assert_eq(s->id_len, strlen(s->id));
    cr_assert_eq(s->bucket, se__item_bucket(s->id, s->id_len));
    cr_assert_eq(s->found, found_of(e->holds, depth), "%s, kind %d: %d", s->id, e->holds, s->found);
    if (s->found == TIER_CORRUPT)
        check_flaw(e, s);
    if (header_whole(e->holds))
        check_header(e, s);
}

static struct tier_reply page(const struct tier_survey *survey, struct tier_cursor *cursor,
                              struct tier_sights *sights)
{
    return l2.tier.ops->survey(l2.tier.self, survey, cursor, sights, se__deadline_in(PATIENCE_MS));
}

static void check_survey(const struct model *m, const struct tier_survey *survey)
{
    struct tier_cursor cursor = {0};
    struct tier_sights sights = {0};
    const char *after = survey->after ? survey->after : "";
    const char *until = survey->until && survey->until[0] ? survey->until : "\xff";
    for (size_t i = 0; i < m->n; i++)
        m->entries[i].seen = false;
    while (!cursor.done) {
        cr_assert_eq(page(survey, &cursor, &sights).fault, TIER_FINE, "%s", se_errmsg());
        cr_assert(cursor.begun);
        for (size_t i = 0; i < sights.n; i++)
            check_sight(m, &sights.sights[i], survey->depth);
    }
    for (size_t i = 0; i < m->n; i++) {
        const char *id = m->entries[i].id;
        cr_assert_eq(m->entries[i].seen, strcmp(id, after) > 0 && strcmp(id, until) <= 0, "%s", id);
    }
    se__sights_done(&sights);
    se__tier_cursor_done(&cursor);
}

static const enum tier_depth DEPTHS[] = {TIER_HEADERS, TIER_CONTENTS};

Test(l2_survey, every_kind_of_key_is_seen_as_what_it_is)
{
    static const size_t PAGES[] = {1, 37, 1000, 1000000}, BYTES[] = {0, 1, 3000, 1 << 20, SIZE_MAX};
    char changes[64], before[8192], now[8192];
    struct model m = fill_server(60 * KINDS);
    put_foreign();
    qsort(m.entries, m.n, sizeof *m.entries, by_id);
    redis_server_ask(&server, before, sizeof before, "INFO persistence");
    for (size_t d = 0; d < 2; d++)
        for (size_t p = 0; p < 4; p++)
            for (size_t b = 0; b < (d ? 5 : 1); b++)
                check_survey(&m, &(struct tier_survey){.depth = DEPTHS[d],
                                                       .items_max = PAGES[p],
                                                       .bytes_max = BYTES[b]});
    /* A survey only looks. */
    redis_server_ask(&server, now, sizeof now, "INFO persistence");
    char *was = strstr(before, "rdb_changes_since_last_save:");
    snprintf(changes, sizeof changes, "%.40s", was);
    changes[strcspn(changes, "\r\n")] = '\0';
    cr_assert_neq(strstr(now, changes), NULL, "%s", changes);
    free(m.entries);
}

Test(l2_survey, bounds_leave_out_what_is_not_between_them)
{
    struct model m = fill_server(10 * KINDS);
    qsort(m.entries, m.n, sizeof *m.entries, by_id);
    for (int i = 0; i < 60; i++) {
        const char *a = m.entries[random_next(&seed) % m.n].id,
                   *b = m.entries[random_next(&seed) % m.n].id;
        struct tier_survey survey = {.depth = DEPTHS[i % 2],
                                     .after = i % 5   ? a
                                              : i % 2 ? ""
                                                      : NULL,
                                     .until = i % 3   ? b
                                              : i % 2 ? ""
                                                      : NULL,
                                     .items_max = 50,
                                     .bytes_max = 1 << 20};
        check_survey(&m, &survey);
    }
    check_survey(&m, &(struct tier_survey){
                         .depth = TIER_HEADERS, .after = "a", .until = "a", .items_max = 50});
    free(m.entries);
}

Test(l2_survey, an_empty_server_is_done_at_once)
{
    struct model none = {0};
    check_survey(&none, &(struct tier_survey){.depth = TIER_HEADERS, .items_max = 1});
    put_foreign();
    check_survey(&none, &(struct tier_survey){.depth = TIER_CONTENTS, .items_max = 1});
}

/* With Redis as the home tier the generation is 0 and every server is accepted. */
Test(l2_survey, a_home_tier_is_surveyed_too)
{
    struct tier_cursor cursor = {0};
    struct tier_sights sights = {0};
    struct tier_survey survey = {.depth = TIER_CONTENTS, .items_max = 100, .bytes_max = 1000};
    l2_close(&l2);
    l2_open(&l2, &server, &(struct l2_options){.home = true});
    l2_put(&l2, l2_item("a", "x", 5), RECORD_ITEM);
    cr_assert_eq(page(&survey, &cursor, &sights).fault, TIER_FINE);
    cr_assert(cursor.done && sights.n == 1 && sights.sights[0].found == TIER_HIT);
    cr_assert_eq(sights.sights[0].version, 5u);
    se__sights_done(&sights);
    se__tier_cursor_done(&cursor);
}

/* ---- large contents ---- */

static long info_number(const char *section, const char *field)
{
    static char info[16384];
    redis_server_ask(&server, info, sizeof info, "INFO %s", section);
    const char *at = strstr(info, field);
    cr_assert_neq(at, NULL);
    return atol(at + strlen(field));
}

/* The server queues replies in memory: without pipelines of their own 96 values of 1 MiB would be
 * there all at once. */
Test(l2_survey, large_contents_are_fetched_a_few_at_a_time)
{
    enum { N = 96, LEN = 1 << 20, BYTES_MAX = 4 << 20 };
    char id[16], *large = malloc(LEN);
    memset(large, 'x', LEN);
    for (int i = 0; i < N; i++) {
        snprintf(id, sizeof id, "large%d", i);
        struct item_spec spec = {.id = id,
                                 .id_len = strlen(id),
                                 .content = large,
                                 .content_len = LEN - (size_t)i,
                                 .version = 1};
        cr_assert_eq(l2_put(&l2, se__item_new(&spec), RECORD_ITEM), TIER_STORED);
    }
    struct tier_cursor cursor = {0};
    struct tier_sights sights = {0};
    struct tier_survey survey = {.depth = TIER_CONTENTS, .items_max = 1000, .bytes_max = BYTES_MAX};
    long before = info_number("memory", "used_memory:");
    char out[64];
    redis_server_ask(&server, out, sizeof out, "CONFIG RESETSTAT");
    cr_assert_eq(page(&survey, &cursor, &sights).fault, TIER_FINE, "%s", se_errmsg());
    long grown = info_number("memory", "used_memory_peak:") - before;
    cr_assert(cursor.done);
    cr_assert_eq(sights.n, (size_t)N);
    for (size_t i = 0; i < sights.n; i++)
        cr_assert_eq(sights.sights[i].found, TIER_HIT);
    cr_assert(grown < 4 * BYTES_MAX, "%ld", grown);
    se__sights_done(&sights);
    se__tier_cursor_done(&cursor);
    free(large);
}
