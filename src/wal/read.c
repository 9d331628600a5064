/*
 * read - records by sequence number, through a few connections that only read.
 *
 * The overlay says first where the newest record of an id is; then a connection is taken, and no
 * lock is held while it reads. That order matters after a move: a connection taken after the lookup
 * has the file in which the record is. A row that has gone meanwhile was confirmed meanwhile.
 */
#include "base/mem.h"
#include "wal/state.h"

#include <stdlib.h>
#include <string.h>

/* ---- the pool ---- */

static void close_reader(struct wal_reader *reader)
{
    se__wal_file_close(&reader->file, false);
    se__free(reader);
}

/* Lock held and let go for the time of opening. readers_out counts the new one already. */
static se_result open_reader_locked(struct wal *w, struct wal_reader **reader)
{
    unsigned generation = w->generation;
    w->readers_opening++;
    se__mutex_unlock(&w->lock);
    struct wal_reader *new = se__alloc_zeroed(1, sizeof *new);
    se_result r = new ? se__wal_file_open(w->path, WAL_FILE_READ, &new->file) : se__error_nomem();
    se__mutex_lock(&w->lock);
    w->readers_opening--;
    if (r == SE_OK) {
        new->generation = generation;
        *reader = new;
    } else {
        w->readers_out--;
        se__free(new);
    }
    se__cond_broadcast(&w->readers_changed);
    return r;
}

static struct wal_reader *idle_reader_locked(struct wal *w)
{
    struct wal_reader *reader;
    while ((reader = w->readers)) {
        w->readers = reader->next;
        if (reader->generation == w->generation)
            return reader;
        /* of a file left behind by a move: rare, and only closes descriptors */
        close_reader(reader);
    }
    return NULL;
}

se_result se__wal_reader_take(struct wal *w, struct wal_reader **reader)
{
    se_result r = SE_OK;
    se__mutex_lock(&w->lock);
    while (w->moving || (!w->readers && w->readers_out >= WAL_READERS_MAX))
        se__cond_wait(&w->readers_changed, &w->lock);
    w->readers_out++;
    struct wal_reader *idle = idle_reader_locked(w);
    if (idle)
        *reader = idle;
    else
        r = open_reader_locked(w, reader);
    se__mutex_unlock(&w->lock);
    return r;
}

/* If it fails every read is a transaction of its own, which is as good. */
void se__wal_reader_begin(struct wal_reader *reader)
{
    (void)se__wal_file_run(&reader->file, SQL_BEGIN_READ);
}

/* What was committed since is seen as well. */
static void renew_snapshot(struct wal_reader *reader)
{
    if (sqlite3_get_autocommit(reader->file.db))
        return;
    (void)se__wal_file_run(&reader->file, SQL_COMMIT);
    se__wal_reader_begin(reader);
}

void se__wal_reader_give(struct wal *w, struct wal_reader *reader)
{
    if (!sqlite3_get_autocommit(reader->file.db))
        (void)se__wal_file_run(&reader->file, SQL_COMMIT);
    se__mutex_lock(&w->lock);
    w->readers_out--;
    reader->next = w->readers;
    w->readers = reader;
    se__cond_broadcast(&w->readers_changed);
    se__mutex_unlock(&w->lock);
}

void se__wal_readers_done(struct wal *w)
{
    struct wal_reader *next;
    for (struct wal_reader *reader = w->readers; reader; reader = next) {
        next = reader->next;
        close_reader(reader);
    }
    w->readers = NULL;
}

/* ---- one record ---- */

/* Whole as it is, it may be another record: a number can rot too, or be there twice. */
static bool is_of_spot(const struct wal *w, const se_item *item, const struct wal_spot *spot)
{
    struct overlay_key key = se__wal_key(w, se_item_id(item), se__item_id_len(item));
    return memcmp(&key, &spot->key, sizeof key) == 0 && se_item_version(item) == spot->version;
}

se_result se__wal_read_spot(struct wal *w, struct wal_reader *reader, const struct wal_spot *spot,
                            se_item **item)
{
    int rc;
    bool garbage = false;
    sqlite3_stmt *row =
        se__wal_file_stmt(&reader->file, spot->dead_row ? SQL_DEAD_READ : SQL_LOG_READ, &rc);
    if (row)
        rc = sqlite3_bind_int64(row, 1, (sqlite3_int64)spot->seq);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(row);
    *item = rc == SQLITE_ROW ? se__wal_row_item(row, &garbage) : NULL;
    if (*item && !is_of_spot(w, *item, spot)) {
        garbage = true;
        se_item_release(*item);
        *item = NULL;
    }
    se_result r = SE_OK;
    if (rc == SQLITE_DONE || garbage)
        r = SE_NOT_FOUND;
    else if (rc != SQLITE_ROW)
        r = se__wal_fault(&reader->file, rc, w->path, "reading a record") == SE_ERR_NOMEM
                ? SE_ERR_NOMEM
                : SE_ERR_IO;
    else if (!*item)
        r = se__error_nomem();
    sqlite3_reset(row);
    return r;
}

void se__wal_count_garbage(struct wal *w, uint64_t seq)
{
    if (w->metrics) {
        se__metrics_inc(w->metrics, M_WAL_GARBAGE);
        se__metrics_inc(w->metrics, M_CORRUPT_WAL);
    }
    se__log(w->log, SE_LOG_ERROR, "wal.corrupt_record",
            (const struct se__field[]){se__text("path", w->path), se__number("record", seq), {0}},
            "wal %s: record %llu does not fit its checksum and is left out", w->path,
            (unsigned long long)seq);
}

/* Drops the record unless it has gone meanwhile. Leading: no transaction is in the file that the overlay
 * does not know of yet, such as a burial, which takes the row away a moment before it is published.
 * (Beside a live engine there is nobody to lead: it is that engine that removed it.) */
static bool drop_lost_locked(struct wal *w, const struct wal_spot *spot, bool *poisoned)
{
    if (!w->read_only)
        se__wal_alone_locked(w);
    uint32_t node = se__overlay_by_seq(&w->overlay, spot->key, spot->seq);
    *poisoned = w->poisoned;
    if (node && !w->poisoned)
        se__overlay_drop(&w->overlay, node);
    if (!w->read_only)
        se__wal_hand_on_locked(w);
    return node != 0;
}

se_result se__wal_spot_lost(struct wal *w, const struct wal_spot *spot)
{
    bool poisoned;
    se__mutex_lock(&w->lock);
    bool lost = drop_lost_locked(w, spot, &poisoned);
    se__mutex_unlock(&w->lock);
    if (lost && poisoned)
        return se__error(SE_ERR_IO, "wal %s: record %llu cannot be read", w->path,
                         (unsigned long long)spot->seq);
    if (lost && !w->read_only)
        se__wal_count_garbage(w, spot->seq);
    return SE_OK;
}

static enum wal_place place_of(const struct overlay_node *n)
{
    return n->state == OVERLAY_DEAD ? WAL_DEAD : n->recovered ? WAL_RECOVERED : WAL_PENDING;
}

static struct wal_spot spot_of(const struct overlay_node *n)
{
    return (struct wal_spot){
        .key = n->key, .seq = n->seq, .version = n->version, .dead_row = n->dead_row};
}

static enum wal_place look_up(struct wal *w, struct overlay_key key, struct wal_spot *spot)
{
    enum wal_place place = WAL_NOWHERE;
    se__mutex_lock(&w->lock);
    uint32_t node = se__overlay_newest(&w->overlay, key);
    if (node) {
        place = place_of(se__overlay_at(&w->overlay, node));
        *spot = spot_of(se__overlay_at(&w->overlay, node));
    }
    se__mutex_unlock(&w->lock);
    return place;
}

enum wal_place se__wal_look(struct wal *w, const char *id, size_t id_len, uint64_t *version)
{
    struct wal_spot spot = {0};
    if (se__overlay_empty(&w->overlay))
        return WAL_NOWHERE;
    enum wal_place place = look_up(w, se__wal_key(w, id, id_len), &spot);
    if (place != WAL_NOWHERE)
        *version = spot.version;
    return place;
}

se_result se__wal_read_one(struct wal *w, const struct wal_spot *spot, se_item **item)
{
    struct wal_reader *reader;
    uint64_t began_ns = se__mono_ns();
    se_result r = se__wal_reader_take(w, &reader);
    if (r != SE_OK)
        return r;
    r = se__wal_read_spot(w, reader, spot, item);
    se__wal_reader_give(w, reader);
    se__metrics_observe(w->metrics, M_WAL_GET_SECONDS, (double)(se__mono_ns() - began_ns) / 1e9);
    return r;
}

/* The newest record of the spot's id, first tried where the spot says it is. SE_NOT_FOUND: there is
 * none any more. Each round either answers or has seen the newest record leave the overlay:
 * confirmed meanwhile, moved to or from the dead letters, or lost. */
static se_result read_newest(struct wal *w, struct wal_reader *reader, struct wal_spot *spot,
                             enum wal_place *place, se_item **item)
{
    for (;;) {
        se_result r = se__wal_read_spot(w, reader, spot, item);
        if (r == SE_NOT_FOUND)
            r = se__wal_spot_lost(w, spot);
        else
            return r;
        if (r != SE_OK)
            return r;
        *place = look_up(w, spot->key, spot);
        if (*place == WAL_NOWHERE)
            return SE_NOT_FOUND;
        renew_snapshot(reader);
    }
}

se_result se__wal_find(struct wal *w, const char *id, size_t id_len, enum wal_place *place,
                       se_item **item)
{
    struct wal_spot spot;
    struct wal_reader *reader;
    *place = WAL_NOWHERE;
    *item = NULL;
    if (se__overlay_empty(&w->overlay))
        return SE_OK;
    enum wal_place found = look_up(w, se__wal_key(w, id, id_len), &spot);
    if (found == WAL_NOWHERE)
        return SE_OK;
    se_result r = se__wal_reader_take(w, &reader);
    if (r != SE_OK)
        return r;
    r = read_newest(w, reader, &spot, &found, item);
    se__wal_reader_give(w, reader);
    if (r == SE_OK)
        *place = found;
    return r == SE_NOT_FOUND ? SE_OK : r;
}

/* ---- all of them ---- */

int se__wal_spot_by_seq(const void *a, const void *b)
{
    uint64_t x = ((const struct wal_spot *)a)->seq, y = ((const struct wal_spot *)b)->seq;
    return (x > y) - (x < y);
}

static se_result newest_spots(struct wal *w, struct wal_spot **spots, size_t *n)
{
    uint32_t at = 0, node;
    se__mutex_lock(&w->lock);
    size_t cap = w->overlay.mapped, count = 0;
    struct wal_spot *list = se__alloc_zeroed(cap + 1, sizeof *list);
    while (list && count < cap && (node = se__overlay_each_newest(&w->overlay, &at)))
        list[count++] = spot_of(se__overlay_at(&w->overlay, node));
    se__mutex_unlock(&w->lock);
    if (!list)
        return se__error_nomem();
    qsort(list, count, sizeof *list, se__wal_spot_by_seq);
    *spots = list;
    *n = count;
    return SE_OK;
}

struct collection {
    se_item **items;
    size_t n, cap;
};

static se_result keep(struct collection *c, se_item *item)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 64;
        se_item **items = se__realloc(c->items, cap * sizeof(se_item *));
        if (!items)
            return se__error_nomem();
        c->items = items;
        c->cap = cap;
    }
    c->items[c->n++] = item;
    return SE_OK;
}

static se_result collect_spots(struct wal *w, struct wal_spot *spots, size_t n,
                               bool (*match)(void *, const se_item *), void *arg,
                               struct collection *c)
{
    struct wal_reader *reader;
    se_result r = se__wal_reader_take(w, &reader);
    if (r != SE_OK)
        return r;
    se__wal_reader_begin(reader);
    for (size_t i = 0; i < n && r == SE_OK; i++) {
        se_item *item = NULL;
        enum wal_place place;
        r = read_newest(w, reader, &spots[i], &place, &item);
        if (r == SE_NOT_FOUND) {
            r = SE_OK;
        } else if (r == SE_OK && match(arg, item) && (r = keep(c, item)) == SE_OK) {
            continue;
        }
        se_item_release(item);
    }
    se__wal_reader_give(w, reader);
    return r;
}

se_result se__wal_collect(struct wal *w, bool (*match)(void *arg, const se_item *item), void *arg,
                          se_item ***items, size_t *n)
{
    struct wal_spot *spots = NULL;
    struct collection c = {0};
    size_t count = 0;
    *items = NULL;
    *n = 0;
    if (se__overlay_empty(&w->overlay))
        return SE_OK;
    se_result r = newest_spots(w, &spots, &count);
    if (r == SE_OK)
        r = collect_spots(w, spots, count, match, arg, &c);
    se__free(spots);
    if (r == SE_OK) {
        *items = c.items;
        *n = c.n;
        return SE_OK;
    }
    for (size_t i = 0; i < c.n; i++)
        se_item_release(c.items[i]);
    se__free(c.items);
    return r;
}

static bool row_live(struct wal *w, sqlite3_stmt *row)
{
    uint64_t seq;
    const char *id = sqlite3_column_blob(row, 1);
    size_t id_len = (size_t)sqlite3_column_bytes(row, 1);
    if (!id || !se__wal_row_seq(row, &seq))
        return false;
    struct overlay_key key = se__wal_key(w, id, id_len);
    se__mutex_lock(&w->lock);
    bool live = se__overlay_by_seq(&w->overlay, key, seq) != 0;
    se__mutex_unlock(&w->lock);
    return live;
}

se_result se__wal_rows_of(struct wal *w, struct wal_file *f, enum wal_sql which,
                          bool (*visit)(void *arg, sqlite3_stmt *row, se_item *item), void *arg)
{
    int rc;
    bool more = true;
    se_result r = SE_OK;
    sqlite3_stmt *row = se__wal_file_stmt(f, which, &rc);
    while (row && more && r == SE_OK && (rc = sqlite3_step(row)) == SQLITE_ROW) {
        bool garbage;
        if (!row_live(w, row))
            continue;
        se_item *item = se__wal_row_item(row, &garbage);
        if (item)
            more = visit(arg, row, item);
        else if (garbage)
            se__wal_count_garbage(w, (uint64_t)sqlite3_column_int64(row, 0));
        else
            r = se__error_nomem();
        se_item_release(item);
    }
    if (r == SE_OK && rc != SQLITE_OK && rc != SQLITE_ROW && rc != SQLITE_DONE)
        r = se__wal_fault(f, rc, w->path, "reading it");
    sqlite3_reset(row);
    return r;
}

se_result se__wal_rows(struct wal *w, enum wal_sql which,
                       bool (*visit)(void *arg, sqlite3_stmt *row, se_item *item), void *arg)
{
    struct wal_reader *reader;
    se_result r = se__wal_reader_take(w, &reader);
    if (r != SE_OK)
        return r;
    r = se__wal_rows_of(w, &reader->file, which, visit, arg);
    se__wal_reader_give(w, reader);
    return r;
}

/* ---- only their ids ---- */

/* By any number: a burial, or its end, gives the record another one than the row seen has. */
static bool id_live(struct wal *w, const char *id, size_t id_len)
{
    struct overlay_key key = se__wal_key(w, id, id_len);
    se__mutex_lock(&w->lock);
    bool live = se__overlay_newest(&w->overlay, key) != 0;
    se__mutex_unlock(&w->lock);
    return live;
}

static se_result ids_of(struct wal *w, struct wal_reader *reader, enum wal_sql which,
                        void (*see)(void *arg, const char *id, size_t id_len), void *arg)
{
    int rc;
    sqlite3_stmt *row = se__wal_file_stmt(&reader->file, which, &rc);
    while (row && (rc = sqlite3_step(row)) == SQLITE_ROW) {
        const char *id = sqlite3_column_blob(row, 1);
        size_t id_len = (size_t)sqlite3_column_bytes(row, 1);
        if (id && id_len <= SE_ID_MAX && id_live(w, id, id_len))
            see(arg, id, id_len);
    }
    se_result r =
        rc == SQLITE_DONE ? SE_OK : se__wal_fault(&reader->file, rc, w->path, "reading its ids");
    sqlite3_reset(row);
    return r;
}

/* Both tables in one transaction: what is buried meanwhile, or comes back, is seen where it was. */
se_result se__wal_ids(struct wal *w, void (*see)(void *arg, const char *id, size_t id_len),
                      void *arg)
{
    struct wal_reader *reader;
    if (se__overlay_empty(&w->overlay))
        return SE_OK;
    se_result r = se__wal_reader_take(w, &reader);
    if (r != SE_OK)
        return r;
    int rc = se__wal_file_run(&reader->file, SQL_BEGIN_READ);
    if (rc != SQLITE_OK)
        r = se__wal_fault(&reader->file, rc, w->path, "reading its ids");
    if (r == SE_OK)
        r = ids_of(w, reader, SQL_LOG_IDS, see, arg);
    if (r == SE_OK)
        r = ids_of(w, reader, SQL_DEAD_IDS, see, arg);
    se__wal_reader_give(w, reader);
    return r;
}

/* ---- every record ---- */

struct each {
    bool (*visit)(void *arg, uint64_t seq, const se_item *item);
    void *arg;
};

static bool visit_row(void *arg, sqlite3_stmt *row, se_item *item)
{
    struct each *e = arg;
    return e->visit(e->arg, (uint64_t)sqlite3_column_int64(row, 0), item);
}

se_result se__wal_each(struct wal *w, bool (*visit)(void *arg, uint64_t seq, const se_item *item),
                       void *arg)
{
    return se__wal_rows(w, SQL_LOG_ALL, visit_row, &(struct each){visit, arg});
}
