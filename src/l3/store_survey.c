/*
 * store_survey - pages over everything the table holds, in the order of ids or of buckets.
 *
 * Keyset, never OFFSET. Where a page ended is a place: before a bucket, or behind an id (in a
 * bucket); the next statement begins there. By bucket it takes two, so that both servers walk one
 * range of the index (bucket, id): what is left of the bucket, then the buckets after it. Rows are
 * ordered by what their columns say, and so are places: a damaged bucket or id moves the scan on
 * like any other.
 *
 * Which rows belong to buckets first..last, by the column: those in between; with first = 0 also
 * those below 0 and those whose bucket is no number; with last = 65535 also those above. So every
 * row is in exactly one of any set of ranges that covers 0..65535, however damaged; digests
 * (store_digest.c) count them the same way.
 *
 * A cursor holds a place: `after` is the id as it is stored, `bucket` the column cut to its range,
 * and `scan`, which is Redis' elsewhere, the rest: struct place_tag.
 *
 * TIER_IDS is the filter's warm-up: nothing is done for a row but to copy its id.
 */
#include "l3/store.h"

#include "base/mem.h"
#include "tier/sights.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CHUNK 64u
#define CHUNK_MAX 1000u
#define BUCKET_LAST UINT16_MAX

enum where {
    PLACE_NO_BUCKET, /* behind `after` among the rows without a bucket */
    PLACE_BEFORE,    /* before all rows of `bucket` */
    PLACE_BEHIND     /* behind `after`; by bucket: in `bucket` */
};
struct place_tag {
    int64_t bucket;
    uint8_t where;   /* enum where */
    bool from_start; /* nothing was seen yet: a row with the very id `after` counts */
    bool blob;       /* SQLite: the id is stored as BLOB, not as TEXT, and sorts so */
};
struct place {
    struct place_tag tag;
    struct buf after;
};
static_assert(sizeof(struct place_tag) <= sizeof((struct tier_cursor){0}.scan),
              "a cursor holds it");

struct survey_call {
    const struct tier_survey *survey;
    const struct tier_cursor *cursor; /* where the page begins */
    struct tier_sights *page;
    struct place place;
    size_t items_max;   /* of the page */
    size_t bytes;       /* content in it */
    size_t limit, seen; /* rows of this statement */
    size_t had;         /* sights before it */
    int64_t bucket;     /* column of the last row; of a fraction the integer above */
    bool fraction;
    bool blob; /* its id is BLOB */
    bool skip; /* its first row may be the one the place is behind */
    bool full, done, nomem;
    bool broken_off; /* this statement, before a row whose dictionary was not known */
    struct unpacker unpacker;
};

static bool by_bucket(const struct survey_call *call)
{
    return call->survey->order == TIER_BY_BUCKET;
}

/* ---- places ---- */

static int64_t first_bucket(const struct tier_survey *s)
{
    return s->bucket_first == 0 ? INT64_MIN : s->bucket_first;
}

static int64_t last_bucket(const struct tier_survey *s)
{
    return s->bucket_last >= BUCKET_LAST ? INT64_MAX : s->bucket_last;
}

static void set_after(struct place *p, const void *id, size_t len)
{
    se__buf_clear(&p->after);
    se__buf_append(&p->after, id, len);
    se__buf_append(&p->after, "", 1); /* never NULL, even if empty */
    p->after.len -= !p->after.failed;
}

static void begin(struct survey_call *call)
{
    const struct tier_survey *s = call->survey;
    const char *after = s->after && !by_bucket(call) ? s->after : "";
    call->place.tag = (struct place_tag){
        .where = !by_bucket(call)       ? PLACE_BEHIND
                 : s->bucket_first == 0 ? PLACE_NO_BUCKET
                                        : PLACE_BEFORE,
        .bucket = first_bucket(s),
        .from_start = *after == '\0',
    };
    set_after(&call->place, after, strlen(after));
}

static void take_up(struct survey_call *call)
{
    const struct tier_cursor *c = call->cursor;
    if (!c->begun) {
        begin(call);
        return;
    }
    memcpy(&call->place.tag, c->scan, sizeof call->place.tag);
    set_after(&call->place, c->after.data, c->after.len);
}

static void put_down(const struct survey_call *call, struct tier_cursor *c)
{
    int64_t bucket = call->place.tag.bucket;
    memcpy(c->scan, &call->place.tag, sizeof call->place.tag);
    c->bucket = bucket < 0 ? 0 : bucket > BUCKET_LAST ? BUCKET_LAST : (uint32_t)bucket;
    c->begun = true;
    c->done = call->done;
}

static void go_before(struct survey_call *call, int64_t bucket)
{
    call->place.tag = (struct place_tag){.where = PLACE_BEFORE, .bucket = bucket};
    call->done = bucket > last_bucket(call->survey);
}

/* ---- rows ---- */

/* The integer above a bucket that is a fraction: only a SQLite table made without STRICT holds one,
 * and says it as text. */
static int64_t whole_above(const struct db_value *v)
{
    char text[40] = "";
    if (v->bytes && v->len < sizeof text)
        memcpy(text, v->bytes, v->len);
    double d = strtod(text, NULL);
    if (!(d > -1e18 && d < 1e18))
        return d > 0 ? INT64_MAX : INT64_MIN;
    int64_t whole = (int64_t)d;
    return whole + ((double)whole < d);
}

static void note_bucket(struct survey_call *call, const struct db_value *bucket)
{
    call->fraction = bucket->type != DB_INT;
    call->bucket = call->fraction ? whole_above(bucket) : bucket->number;
}

static bool is_the_one_before(const struct survey_call *call, const struct db_value *id)
{
    const struct buf *after = &call->place.after;
    return call->seen == 1 && call->skip && id->len == after->len &&
           (id->len == 0 || memcmp(id->bytes, after->data, id->len) == 0);
}

/* A new sight, or NULL: this row is no news, or there is no memory (nomem). */
static struct tier_sight *next_sight(struct survey_call *call, struct db_value *id)
{
    call->seen++;
    if (id->type == DB_NULL || id->type == DB_INT) /* nobody can ask for it, but it is there */
        *id = se__db_text("", 0);
    if (!id->bytes) /* a blob of no bytes stays one: it sorts behind every text */
        id->bytes = "";
    if (is_the_one_before(call, id))
        return NULL;
    struct tier_sight *sight = se__sights_add(call->page, id->bytes, id->len);
    call->nomem = !sight;
    call->blob = id->type == DB_BLOB;
    return sight;
}

static bool take_id(void *arg, const struct db_value *columns, unsigned n)
{
    struct survey_call *call = arg;
    struct db_value id = columns[0];
    struct tier_sight *sight = next_sight(call, &id);
    if (!sight)
        return !call->nomem;
    sight->found = TIER_HIT;
    if (n > 1)
        note_bucket(call, &columns[1]);
    call->full = call->page->n >= call->items_max;
    return !call->full;
}

static bool take_row(void *arg, const struct db_value *columns, unsigned n)
{
    struct survey_call *call = arg;
    struct db_value id = columns[COL_ID];
    bool contents = call->survey->depth == TIER_CONTENTS;
    call->broken_off = contents && se__row_wants(columns, n, &call->unpacker);
    if (call->broken_off)
        return false;
    struct tier_sight *sight = next_sight(call, &id);
    if (!sight)
        return !call->nomem;
    call->nomem = se__row_look(columns, n, contents ? &call->unpacker : NULL, sight) == ROW_NOMEM;
    if (n > COL_BUCKET)
        note_bucket(call, &columns[COL_BUCKET]);
    call->bytes += columns[COL_PAYLOAD].len + columns[COL_PAYLOAD_BLOB].len;
    call->full =
        call->page->n >= call->items_max || (contents && call->bytes >= call->survey->bytes_max);
    return !call->nomem && !call->full;
}

/* ---- statements ---- */

/* How many more rows are asked for: with contents few at first, then by what they weighed. */
static size_t next_chunk(const struct survey_call *call)
{
    size_t left = call->items_max - call->page->n;
    if (call->survey->depth != TIER_CONTENTS)
        return left;
    size_t chunk = FIRST_CHUNK;
    if (call->page->n > 0) {
        size_t mean = call->bytes / call->page->n + 1;
        chunk = (call->survey->bytes_max - call->bytes) / mean + 1;
    }
    chunk = chunk < CHUNK_MAX ? chunk : CHUNK_MAX;
    return chunk < left ? chunk : left;
}

static struct db_value after_param(const struct place *p)
{
    return p->tag.blob ? se__db_blob(p->after.data, p->after.len)
                       : se__db_text(p->after.data, p->after.len);
}

/* The place's parameters; *range says of which statement. Returns their number. */
static unsigned set_params(const struct survey_call *call, enum sql_range *range,
                           struct db_value params[3])
{
    const struct tier_survey *s = call->survey;
    const struct place *p = &call->place;
    unsigned n = 0;
    *range = p->tag.where == PLACE_NO_BUCKET ? SQL_NO_BUCKET
             : p->tag.where == PLACE_BEFORE  ? SQL_BUCKETS
             : by_bucket(call)               ? SQL_IN_BUCKET
             : s->until && *s->until         ? SQL_BY_ID_UNTIL
                                             : SQL_BY_ID;
    if (*range == SQL_IN_BUCKET || *range == SQL_BUCKETS)
        params[n++] = se__db_int(p->tag.bucket);
    if (*range == SQL_BUCKETS)
        params[n++] = se__db_int(last_bucket(s));
    else
        params[n++] = after_param(p);
    if (*range == SQL_BY_ID_UNTIL)
        params[n++] = se__db_text(s->until, strlen(s->until));
    return n;
}

/* The place is behind the last row of the statement now. */
static void move_on(struct survey_call *call, enum sql_range range)
{
    struct place_tag *tag = &call->place.tag;
    if (call->page->n == call->had)
        return;
    const struct tier_sight *last = &call->page->sights[call->page->n - 1];
    set_after(&call->place, call->page->bytes.data + (size_t)last->id, last->id_len);
    tag->from_start = false;
    tag->blob = call->blob;
    if (range != SQL_BUCKETS)
        return;
    if (call->fraction) { /* grows in any case: no page comes twice */
        go_before(call, call->bucket > tag->bucket ? call->bucket : tag->bucket + 1);
        return;
    }
    tag->where = PLACE_BEHIND;
    tag->bucket = call->bucket;
}

/* The statement gave all it had: what comes next? */
static void go_further(struct survey_call *call, enum sql_range range)
{
    if (range == SQL_NO_BUCKET)
        go_before(call, first_bucket(call->survey));
    else if (range == SQL_IN_BUCKET && call->place.tag.bucket < last_bucket(call->survey))
        go_before(call, call->place.tag.bucket + 1);
    else
        call->done = true;
}

static struct db_result next_rows(struct survey_call *call, struct store *s, void *connection)
{
    enum sql_range range;
    struct db_value params[4];
    unsigned n = set_params(call, &range, params);
    const struct tier_survey *survey = call->survey;
    call->seen = 0;
    call->broken_off = false;
    call->had = call->page->n;
    call->skip = range != SQL_BUCKETS && !call->place.tag.from_start;
    call->limit = next_chunk(call) + call->skip;
    params[n++] = se__db_int((int64_t)call->limit);
    struct db_result r =
        se__store_run(s, connection, se__sql_survey(range, survey->depth, survey->live_only),
                      params, n, survey->depth == TIER_IDS ? take_id : take_row, call);
    if (se__db_failed(&r) || call->nomem)
        return r;
    move_on(call, range);
    call->nomem = call->place.after.failed;
    if (call->broken_off)
        return se__store_fetch_dictionary(s, connection, &call->unpacker);
    if (call->seen < call->limit && !call->full)
        go_further(call, range);
    return r;
}

static struct db_result survey_body(struct store *s, void *connection, void *arg)
{
    struct survey_call *call = arg;
    struct db_result r = se__db_fine();
    se__sights_clear(call->page);
    call->bytes = 0;
    call->full = call->done = false;
    call->unpacker.wanted = 0;
    take_up(call);
    call->nomem = call->place.after.failed;
    while (!se__db_failed(&r) && !call->full && !call->done && !call->nomem)
        r = next_rows(call, s, connection);
    if (se__db_failed(&r) || !call->nomem)
        return r;
    se__error_nomem();
    return se__db_fault(TIER_UNWELL, 0);
}

struct tier_reply se__store_survey(void *tier, const struct tier_survey *survey,
                                   struct tier_cursor *cursor, struct tier_sights *sights,
                                   uint64_t deadline_ms)
{
    struct store *s = tier;
    struct survey_call call = {.survey = survey,
                               .cursor = cursor,
                               .page = sights,
                               .items_max = survey->items_max ? survey->items_max : 1,
                               .unpacker.packing = s->packing};
    se__sights_clear(sights);
    if (cursor->done)
        return se__tier_fine();
    struct tier_reply reply = se__store_call(s, s->readers, deadline_ms, survey_body, &call);
    se__unpacker_done(&call.unpacker);
    if (reply.fault == TIER_FINE) {
        se__sights_finish(sights);
        se__buf_done(&cursor->after);
        cursor->after = call.place.after;
        put_down(&call, cursor);
        return reply;
    }
    se__sights_clear(sights);
    se__buf_done(&call.place.after);
    return reply;
}
