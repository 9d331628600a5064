/*
 * dictionary - the public calls for compression dictionaries: samples from all over the table, a new
 * meta row.
 *
 * Rows lie in the table's index by the hash of their ids, so that a run of them from some bucket on is
 * a random sample: a run from each of 64 places of the hash's range, beginning at random. They come
 * as any read has them, packed ones unpacked. Every eighth sample is kept out of the training: what a
 * dictionary is worth is measured with rows that it was not made for.
 *
 * Ids are given in order by adding the meta row only if there is none under that name (meta_add); who
 * comes second takes the next one. The row is there before `dictionary_newest` names it, and both
 * before any row is made with it.
 */
#include "l3/dictionary.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "l3/packing.h"
#include "tier/sights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_DEFAULT (16u << 10)
#define BYTES_MIN 1024u
#define SAMPLES_DEFAULT 10000u
#define SAMPLES_MAX 100000u
#define PLACES 64u
#define PLACE_BUCKETS (65536u / PLACES)
#define SAMPLE_BYTES_MAX (16u << 10)  /* of one content: its beginning */
#define SAMPLES_BYTES_MAX (16u << 20) /* of all */
#define READ_MAX 32u                  /* contents in memory at a time */
#define TEST_EVERY 8u
#define TRIES 16u

static se_result check(const se_engine *e)
{
    se_result r = se__look_in(e);
    if (r == SE_OK && !(e->home_is_l3 && e->home.ops))
        return se__error(SE_ERR_UNSUPPORTED, "no L3 is configured");
    return r;
}

static uint64_t soon(const se_engine *e)
{
    return se__deadline_in(e->settings.c.sql_timeout_ms);
}

static se_result outage(const se_engine *e)
{
    return se__outage(e, "L3 cannot be asked");
}

/* ---- listing ---- */

struct list {
    se_dictionary all[DICTIONARY_COUNT];
    size_t n;
};

static void add_listed(void *arg, const char *name, const char *value)
{
    struct list *list = arg;
    const char *digits = name + strlen(DICTIONARY_PREFIX);
    uint32_t id = se__dictionary_id(digits, strlen(digits));
    if (id && list->n < DICTIONARY_COUNT &&
        se__dictionary_decode(id, value, strlen(value), &list->all[list->n], NULL))
        list->n++;
}

static uint32_t greatest(const struct list *list)
{
    return list->n ? list->all[list->n - 1].id : 0;
}

static se_result mark_newest(se_engine *e, struct list *list)
{
    struct buf value = {0};
    bool found = false;
    struct tier_reply reply =
        e->home.ops->meta_get(e->home.self, DICTIONARY_NEWEST, &value, &found, soon(e));
    uint32_t id = found ? se__dictionary_id(value.data, value.len) : 0;
    se__buf_done(&value);
    for (size_t i = 0; i < list->n; i++)
        list->all[i].newest = list->all[i].id == id;
    return reply.fault == TIER_FINE ? SE_OK : outage(e);
}

static se_result read_list(se_engine *e, struct list **list)
{
    struct list *l = se__alloc_zeroed(1, sizeof *l);
    if (!l)
        return se__error_nomem();
    struct tier_reply reply =
        e->home.ops->meta_list(e->home.self, DICTIONARY_PREFIX, add_listed, l, soon(e));
    if (reply.fault == TIER_FINE) {
        *list = l;
        return SE_OK;
    }
    se__free(l);
    return outage(e);
}

se_result se_dictionary_list(se_engine *e, se_dictionary_fn visit, void *arg)
{
    struct list *list = NULL;
    if (!visit)
        return se__error(SE_ERR_INVALID, "visit must not be NULL");
    se_result r = check(e);
    if (r == SE_OK)
        r = read_list(e, &list);
    if (r == SE_OK)
        r = mark_newest(e, list);
    for (size_t i = 0; r == SE_OK && i < list->n && visit(arg, &list->all[i]); i++)
        ;
    se__free(list);
    return r;
}

/* ---- samples ---- */

struct sampling {
    se_engine *e;
    struct samples train, test;
    size_t wanted, bytes;
    unsigned read_max; /* fewer at a time where contents are long */
};

static bool is_full(const struct sampling *s)
{
    return s->train.n + s->test.n >= s->wanted || s->bytes >= SAMPLES_BYTES_MAX;
}

static se_result add_sample(struct sampling *s, const se_item *item)
{
    size_t len = se_item_content_len(item);
    if (len < 8 || is_full(s)) /* zstd's trainer takes nothing shorter */
        return SE_OK;
    len = len < SAMPLE_BYTES_MAX ? len : SAMPLE_BYTES_MAX;
    bool test = (s->train.n + s->test.n) % TEST_EVERY == TEST_EVERY - 1;
    s->bytes += len;
    return se__samples_add(test ? &s->test : &s->train, se_item_content(item), len)
               ? SE_OK
               : se__error_nomem();
}

static se_result read_some(struct sampling *s, struct tier_read *reads, size_t n)
{
    se_engine *e = s->e;
    size_t bytes = 0;
    struct tier_reply reply = e->home.ops->read(e->home.self, reads, n, soon(e));
    se_result r = reply.fault == TIER_FINE ? SE_OK : outage(e);
    for (size_t i = 0; i < n; i++) {
        if (reads[i].found != TIER_HIT || !reads[i].item)
            continue;
        bytes += se_item_content_len(reads[i].item);
        if (r == SE_OK && !se__item_deleted(reads[i].item))
            r = add_sample(s, reads[i].item);
        se_item_release(reads[i].item);
    }
    s->read_max = bytes / n > (64u << 10) ? 1 : READ_MAX;
    return r;
}

static se_result read_page(struct sampling *s, const struct tier_sights *page)
{
    struct tier_read reads[READ_MAX];
    se_result r = SE_OK;
    for (size_t i = 0; r == SE_OK && i < page->n && !is_full(s);) {
        size_t n = 0;
        while (n < s->read_max && i < page->n) {
            const struct tier_sight *sight = &page->sights[i++];
            reads[n++] = (struct tier_read){.id = sight->id, .id_len = sight->id_len};
        }
        r = read_some(s, reads, n);
    }
    return r;
}

/* Up to `n` rows of the buckets first .. last. */
static se_result sample_run(struct sampling *s, uint32_t first, uint32_t last, size_t n)
{
    se_engine *e = s->e;
    struct tier_survey survey = {.depth = TIER_IDS,
                                 .order = TIER_BY_BUCKET,
                                 .live_only = true,
                                 .bucket_first = first,
                                 .bucket_last = last,
                                 .items_max = n};
    struct tier_cursor cursor = {0};
    struct tier_sights page = {0};
    struct tier_reply reply = e->home.ops->survey(e->home.self, &survey, &cursor, &page, soon(e));
    se_result r = reply.fault == TIER_FINE ? read_page(s, &page) : outage(e);
    se__tier_cursor_done(&cursor);
    se__sights_done(&page);
    return r;
}

/* Each place twice: from a random bucket of it to its end and, where that gave too little (a small
 * table), what is before. */
static se_result sample_all(struct sampling *s)
{
    uint32_t offset = (uint32_t)(se__random_u64() % PLACE_BUCKETS);
    size_t each = (s->wanted + PLACES - 1) / PLACES;
    se_result r = SE_OK;
    for (uint32_t place = 0; r == SE_OK && place < PLACES && !is_full(s); place++) {
        uint32_t first = place * PLACE_BUCKETS, last = first + PLACE_BUCKETS - 1;
        size_t had = s->train.n + s->test.n;
        r = sample_run(s, first + offset, last, each);
        size_t got = s->train.n + s->test.n - had;
        if (r == SE_OK && got < each && offset > 0)
            r = sample_run(s, first, first + offset - 1, each - got);
    }
    return r;
}

/* ---- storing ---- */

static se_result name_newest(se_engine *e, uint32_t id)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%u", id);
    struct tier_reply reply =
        e->home.ops->meta_put(e->home.self, DICTIONARY_NEWEST, digits, soon(e));
    return reply.fault == TIER_FINE ? SE_OK : outage(e);
}

/* Adds the row under the first free id from `id` on. *added: it is ours. */
static se_result add_as(se_engine *e, uint32_t id, struct buf *bytes, se_dictionary *about,
                        bool *added)
{
    struct buf value = {0}, now = {0};
    char name[DICTIONARY_NAME_MAX];
    se__dictionary_name(id, name);
    se__dictionary_encode(bytes, id, about, &value);
    char *text = se__buf_take(&value, NULL);
    if (!text)
        return se__error_nomem();
    struct tier_reply reply = e->home.ops->meta_add(e->home.self, name, text, &now, soon(e));
    se_result r = reply.fault == TIER_FINE ? SE_OK : outage(e);
    *added = r == SE_OK && now.len == strlen(text) && memcmp(now.data, text, now.len) == 0;
    se__free(text);
    se__buf_done(&now);
    return r;
}

/* Another one may have been added meanwhile and named newest before ours: the greatest id is the
 * newest, whoever says so last. */
static se_result store(se_engine *e, struct buf *bytes, se_dictionary *about)
{
    struct list *list = NULL;
    bool added = false;
    se_result r = read_list(e, &list);
    uint32_t id = r == SE_OK ? greatest(list) : 0;
    id = id ? id : DICTIONARY_FIRST - 1;
    se__free(list);
    for (unsigned i = 0; r == SE_OK && !added && i < TRIES; i++) {
        if (++id > DICTIONARY_LAST)
            return se__error(SE_ERR_BACKEND, "the table has all %u dictionaries it can have",
                             DICTIONARY_COUNT);
        r = add_as(e, id, bytes, about, &added);
    }
    if (r == SE_OK && !added)
        return se__error(SE_ERR_BACKEND, "others are adding dictionaries all the time");
    for (uint32_t named = 0; r == SE_OK && named < id;) {
        named = id;
        r = name_newest(e, named);
        list = NULL;
        if (r == SE_OK)
            r = read_list(e, &list);
        if (r == SE_OK && greatest(list) > id)
            id = greatest(list);
        se__free(list);
    }
    about->newest = id == about->id;
    return r;
}

/* ---- training ---- */

static se_result train(se_engine *e, size_t bytes, size_t samples, se_dictionary *about)
{
    struct sampling s = {.e = e, .wanted = samples, .read_max = READ_MAX};
    struct buf dictionary = {0};
    about->made_at_ms = se__wall_ms();
    se_result r = sample_all(&s);
    if (r == SE_OK)
        r = se__dictionary_train(&s.train, &s.test, bytes, &dictionary, about);
    se__samples_done(&s.train);
    se__samples_done(&s.test);
    if (r == SE_OK)
        r = store(e, &dictionary, about);
    se__buf_done(&dictionary);
    return r;
}

se_result se_dictionary_train(se_engine *e, size_t bytes, size_t samples, se_dictionary *made)
{
    se_dictionary about = {0};
    bytes = bytes ? bytes : BYTES_DEFAULT;
    samples = samples ? samples : SAMPLES_DEFAULT;
    se_result r = check(e);
    if (r == SE_OK && (bytes < BYTES_MIN || bytes > DICTIONARY_BYTES_MAX))
        return se__error(SE_ERR_INVALID, "bytes must be %u to %u", BYTES_MIN, DICTIONARY_BYTES_MAX);
    if (r == SE_OK && samples > SAMPLES_MAX)
        return se__error(SE_ERR_INVALID, "samples must be at most %u", SAMPLES_MAX);
    if (r == SE_OK && e->settings.c.read_only)
        return se__error(SE_ERR_STATE,
                         "the engine was opened read_only: it cannot store a dictionary");
    if (r == SE_OK)
        r = train(e, bytes, samples, &about);
    if (r != SE_OK)
        return r;
    se__log(&e->settings.log, SE_LOG_INFO, "dictionary.trained",
            (const struct se__field[]){se__number("dictionary", about.id), {0}},
            "dictionary %u was trained", about.id);
    if (made)
        *made = about;
    return SE_OK;
}
