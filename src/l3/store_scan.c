/*
 * store_scan - pages of live rows in id order, and how many there are.
 *
 * A page is read in chunks by keyset, so that a page of a few large rows does not fetch a thousand
 * of them: the first chunk is small, the next ones are sized by what the rows so far weighed.
 * Without content the whole page is one chunk. Rows that do not decode are left out, counted in the
 * page, with a line in the log; se__store_read tells them apart.
 *
 * Expiry is judged by this process's clock, as in the other tiers.
 */
#include "l3/store.h"

#include "base/mem.h"

#include <string.h>

#define FIRST_CHUNK 64u
#define CHUNK_MAX 1000u

struct scan_call {
    const struct tier_scan *scan;
    struct store *store;
    struct tier_page *page;
    size_t cap;         /* of page->items */
    size_t bytes;       /* content in the page */
    size_t limit, seen; /* of this chunk */
    struct buf last;    /* id of the last row seen, decodable or not, of any length */
    bool full, nomem;
    bool broken_off; /* this chunk, before a row whose dictionary was not known */
    struct unpacker unpacker;
};

/* ---- parameters ---- */

struct bounds {
    char upper[SE_ID_MAX + 1];
    struct db_value params[5];
    unsigned n;
};

/* False: nothing can be in there (a bound is longer than any id). */
static bool set_bounds(const struct tier_scan *scan, const char *after, size_t after_len,
                       struct bounds *b)
{
    if (!scan->prefix) {
        const char *state = scan->state && *scan->state ? scan->state : "default";
        b->params[0] = se__db_text(state, strlen(state));
        b->params[1] = se__db_text(after, after_len);
        b->params[2] = se__db_int(se__wall_ms());
        b->n = 3;
        return true;
    }
    size_t len = strlen(scan->prefix);
    if (len > SE_ID_MAX)
        return false;
    bool from_after = se__row_compare(after, after_len, scan->prefix, len) > 0;
    b->params[0] = from_after ? se__db_text(after, after_len) : se__db_text(scan->prefix, len);
    b->params[1] = se__db_text(after, after_len);
    b->params[2] = se__db_text(b->upper, se__store_successor(scan->prefix, len, b->upper));
    b->params[3] = se__db_int(se__wall_ms());
    b->n = 4;
    return true;
}

/* ---- rows ---- */

static bool add_item(struct scan_call *call, se_item *item)
{
    if (call->page->n == call->cap) {
        size_t cap = call->cap ? call->cap * 2 : 64;
        se_item **items = se__realloc(call->page->items, cap * sizeof(se_item *));
        if (!items)
            return false;
        call->page->items = items;
        call->cap = cap;
    }
    call->page->items[call->page->n++] = item;
    call->bytes += se_item_content_len(item);
    return true;
}

static bool take_row(void *arg, const struct db_value *columns, unsigned n)
{
    struct scan_call *call = arg;
    const struct db_value *id = &columns[COL_ID];
    se_item *item = NULL;
    bool has_id = id->type == DB_TEXT || id->type == DB_BLOB;
    if (!call->scan->ids_only && se__row_wants(columns, n, &call->unpacker))
        return false;
    call->seen++;
    if (has_id) {
        se__buf_clear(&call->last);
        se__buf_append(&call->last, id->bytes, id->len);
    }
    enum row_result r =
        se__row_decode(columns, n, call->scan->ids_only ? NULL : &call->unpacker, NULL, &item);
    if (r == ROW_CORRUPT) {
        call->page->corrupt++;
        se__store_corrupt(call->store, has_id ? id->bytes : "", has_id ? id->len : 0);
    }
    if (r == ROW_ITEM && !add_item(call, item)) {
        se_item_release(item);
        r = ROW_NOMEM;
    }
    call->nomem = r == ROW_NOMEM || call->last.failed;
    call->full = call->page->n >= call->scan->items_max || call->bytes >= call->scan->bytes_max;
    return !call->nomem && !call->full;
}

static size_t next_chunk(const struct scan_call *call)
{
    size_t left = call->scan->items_max - call->page->n;
    if (call->scan->ids_only)
        return left;
    size_t chunk = FIRST_CHUNK;
    if (call->page->n > 0) {
        size_t mean = call->bytes / call->page->n + 1;
        chunk = (call->scan->bytes_max - call->bytes) / mean + 1;
    }
    chunk = chunk < CHUNK_MAX ? chunk : CHUNK_MAX;
    return chunk < left ? chunk : left;
}

static struct db_result nomem(void)
{
    se__error_nomem();
    return se__db_fault(TIER_UNWELL, 0);
}

static struct db_result scan_chunk(struct scan_call *call, struct store *s, void *connection)
{
    struct bounds b;
    struct buf after = call->last; /* the rows replace it while the parameter is in use */
    call->last = (struct buf){0};
    call->seen = 0;
    call->limit = next_chunk(call);
    if (!set_bounds(call->scan, after.data, after.len, &b)) {
        se__buf_done(&after);
        return se__db_fine();
    }
    b.params[b.n++] = se__db_int((int64_t)call->limit);
    enum sql_statement which = call->scan->prefix ? SQL_SCAN_PREFIX : SQL_SCAN_STATE;
    if (call->scan->ids_only)
        which = (enum sql_statement)(which + 1);
    struct db_result r = se__store_run(s, connection, which, b.params, b.n, take_row, call);
    if (call->seen == 0) { /* the next chunk begins there too: see wanted */
        se__buf_done(&call->last);
        call->last = after;
    } else {
        se__buf_done(&after);
    }
    if (se__db_failed(&r) || call->unpacker.wanted == 0)
        return r;
    call->broken_off = true;
    return se__store_fetch_dictionary(s, connection, &call->unpacker);
}

static void start_over(struct scan_call *call)
{
    for (size_t i = 0; i < call->page->n; i++)
        se_item_release(call->page->items[i]);
    call->page->n = 0;
    call->bytes = 0;
    call->full = call->nomem = false;
    call->unpacker.wanted = 0;
    se__buf_clear(&call->last);
    se__buf_text(&call->last, call->scan->after ? call->scan->after : "");
    se__buf_append(&call->last, "", 1); /* never NULL, even if empty */
    call->last.len -= !call->last.failed;
    call->nomem = call->last.failed;
}

static struct db_result scan_body(struct store *s, void *connection, void *arg)
{
    struct scan_call *call = arg;
    struct db_result r = se__db_fine();
    bool more = true;
    start_over(call);
    while (more && !call->nomem) {
        call->broken_off = false;
        r = scan_chunk(call, s, connection);
        more = !se__db_failed(&r) && !call->full && (call->broken_off || call->seen == call->limit);
    }
    return !se__db_failed(&r) && call->nomem ? nomem() : r;
}

struct tier_reply se__store_scan(void *tier, const struct tier_scan *scan, struct tier_page *page,
                                 uint64_t deadline_ms)
{
    struct store *s = tier;
    struct tier_page made = {0};
    struct scan_call call = {
        .scan = scan, .store = s, .page = &made, .unpacker.packing = s->packing};
    struct tier_reply reply = se__store_call(s, s->readers, deadline_ms, scan_body, &call);
    se__buf_done(&call.last);
    se__unpacker_done(&call.unpacker);
    if (reply.fault != TIER_FINE) {
        se__tier_page_done(&made);
        made = (struct tier_page){0};
    }
    made.more = call.full && reply.fault == TIER_FINE;
    *page = made;
    return reply;
}

/* ---- counts ---- */

struct count_call {
    const struct tier_scan *scan;
    uint64_t count;
};

static bool take_count(void *arg, const struct db_value *columns, unsigned n)
{
    struct count_call *call = arg;
    if (n == 1 && columns[0].type == DB_INT && columns[0].number > 0)
        call->count = (uint64_t)columns[0].number;
    return false;
}

static struct db_result count_body(struct store *s, void *connection, void *arg)
{
    struct count_call *call = arg;
    struct bounds b;
    const char *after = call->scan->after ? call->scan->after : "";
    call->count = 0;
    if (!set_bounds(call->scan, after, strnlen(after, SE_ID_MAX), &b))
        return se__db_fine();
    return se__store_run(s, connection, call->scan->prefix ? SQL_COUNT_PREFIX : SQL_COUNT_STATE,
                         b.params, b.n, take_count, call);
}

struct tier_reply se__store_count(void *tier, const struct tier_scan *scan, uint64_t *count,
                                  uint64_t deadline_ms)
{
    struct store *s = tier;
    struct count_call call = {.scan = scan};
    struct tier_reply reply = se__store_call(s, s->readers, deadline_ms, count_body, &call);
    if (reply.fault == TIER_FINE)
        *count = call.count;
    return reply;
}
