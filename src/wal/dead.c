/*
 * dead - writes that the home tier refuses: kept beside the log until a newer write or an operator
 * resolves them.
 *
 * Burying moves a record from the log to the table of dead letters in one transaction, with
 * everything older of its id; retrying moves it back under a new number.
 */
#include "base/mem.h"
#include "wal/state.h"

#include <stdio.h>
#include <string.h>

/* of one id that go in the same transaction; any others are deleted by the next removal */
#define ROWS_MAX 64

struct row {
    uint64_t seq;
    bool dead;
};

struct burial {
    struct request base;
    se_item *item;
    uint32_t node; /* the new record: a dead letter, or (retry) a log record */
    uint64_t seq;
    bool retry, discard;
    struct overlay_key key;
    size_t rows_n;
    struct row rows[ROWS_MAX]; /* that go with it */
    int code;
    int64_t buried_at_ms;
    char *error;
};

static void note_row(void *arg, const struct overlay_node *n)
{
    struct burial *b = arg;
    if (b->rows_n < ROWS_MAX)
        b->rows[b->rows_n++] = (struct row){n->seq, n->dead_row};
}

static int burial_apply(struct wal *w, struct request *r, struct wal_file *f)
{
    struct burial *b = (struct burial *)r;
    (void)w;
    int rc = SQLITE_OK;
    for (size_t i = 0; i < b->rows_n && rc == SQLITE_OK; i++)
        rc = se__wal_file_delete(f, b->rows[i].dead ? SQL_DEAD_DELETE : SQL_LOG_DELETE,
                                 b->rows[i].seq, b->rows[i].seq);
    if (rc != SQLITE_OK || b->discard)
        return rc;
    return b->retry ? se__wal_file_log(f, b->seq, b->item)
                    : se__wal_file_bury(f, b->seq, b->item, b->code, b->error, b->buried_at_ms);
}

static void burial_publish(struct wal *w, struct request *r)
{
    struct burial *b = (struct burial *)r;
    uint32_t dead =
        b->retry || b->discard ? se__overlay_by_seq(&w->overlay, b->key, b->rows[0].seq) : 0;
    if (dead)
        se__overlay_bury_undo(&w->overlay, dead, b->node);
    if (b->node)
        se__overlay_publish(&w->overlay, b->node, b->retry ? OVERLAY_HOME : OVERLAY_DEAD);
}

static void burial_undo(struct wal *w, struct request *r)
{
    struct burial *b = (struct burial *)r;
    if (b->node)
        se__overlay_cancel(&w->overlay, b->node);
}

static void burial_done(struct request *r)
{
    struct burial *b = (struct burial *)r;
    se_item_release(b->item);
    se__free(b->error);
    se__free(b);
}

static const struct request_ops burial_ops = {burial_apply, burial_publish, burial_undo,
                                              burial_done};

static struct burial *new_burial(struct wal *w, const char *id, size_t id_len)
{
    struct burial *b = se__alloc_zeroed(1, sizeof *b);
    if (!b)
        return NULL;
    se__wal_request_init(&b->base, &burial_ops);
    b->key = se__wal_key(w, id, id_len);
    return b;
}

static se_result reserve_locked(struct wal *w, struct burial *b)
{
    b->node = se__wal_reserve_locked(w, b->item, b->key, !b->retry, &b->seq);
    if (!b->node)
        return se__error_nomem();
    b->base.version_max = se_item_version(b->item);
    return SE_OK;
}

/* Takes b. Lock held, and not on return. */
static se_result carry_out_unlock(struct wal *w, struct burial *b, se_result r)
{
    if (r == SE_OK && !b->discard)
        r = reserve_locked(w, b);
    if (r == SE_OK)
        return se__wal_commit_unlock(w, &b->base, SE__FOREVER);
    se__mutex_unlock(&w->lock);
    se__wal_request_end(&b->base);
    return r;
}

/* ---- burying ---- */

se_result se__wal_bury(struct wal *w, se_item *item, int code, const char *error)
{
    struct burial *b = new_burial(w, se_item_id(item), se__item_id_len(item));
    if (!b)
        return se__error_nomem();
    b->item = se_item_retain(item);
    b->code = code;
    b->buried_at_ms = se__wall_ms();
    b->error = se__strdup(error ? error : "");
    se__mutex_lock(&w->lock);
    se_result r = b->error ? se__wal_writable_locked(w) : se__error_nomem();
    if (r == SE_OK)
        se__overlay_up_to(&w->overlay, b->key, se_item_version(item), note_row, b);
    return carry_out_unlock(w, b, r);
}

/* ---- looking ---- */

struct dead_visit {
    bool (*visit)(void *arg, const struct wal_dead *dead);
    void *arg;
};

static bool visit_dead(void *arg, sqlite3_stmt *row, se_item *item)
{
    struct dead_visit *v = arg;
    const char *error = (const char *)sqlite3_column_text(row, 4);
    struct wal_dead dead = {.item = item,
                            .code = sqlite3_column_int(row, 3),
                            .error = error ? error : "",
                            .buried_at_ms = sqlite3_column_int64(row, 5)};
    return v->visit(v->arg, &dead);
}

se_result se__wal_dead_each(struct wal *w, bool (*visit)(void *arg, const struct wal_dead *dead),
                            void *arg)
{
    return se__wal_rows(w, SQL_DEAD_ALL, visit_dead, &(struct dead_visit){visit, arg});
}

/* ---- resolving ---- */

static bool dead_spot(struct wal *w, struct overlay_key key, struct wal_spot *spot)
{
    se__mutex_lock(&w->lock);
    uint32_t node = se__overlay_dead(&w->overlay, key);
    const struct overlay_node *n = node ? se__overlay_at(&w->overlay, node) : NULL;
    if (n)
        *spot =
            (struct wal_spot){.key = key, .seq = n->seq, .version = n->version, .dead_row = true};
    se__mutex_unlock(&w->lock);
    return node != 0;
}

/* The dead letter may have been confirmed since it was read: then there is nothing to resolve. */
static se_result resolve(struct wal *w, struct burial *b, const struct wal_spot *spot)
{
    se__mutex_lock(&w->lock);
    se_result r = se__wal_writable_locked(w);
    uint32_t node = se__overlay_by_seq(&w->overlay, b->key, spot->seq);
    if (r == SE_OK && !node)
        r = SE_NOT_FOUND;
    if (r == SE_OK)
        note_row(b, se__overlay_at(&w->overlay, node));
    return carry_out_unlock(w, b, r);
}

se_result se__wal_dead_resolve(struct wal *w, const char *id, bool retry)
{
    size_t id_len = strlen(id);
    struct wal_spot spot;
    if (!dead_spot(w, se__wal_key(w, id, id_len), &spot))
        return SE_NOT_FOUND;
    struct burial *b = new_burial(w, id, id_len);
    if (!b)
        return se__error_nomem();
    b->retry = retry;
    b->discard = !retry;
    se_result r = retry ? se__wal_read_one(w, &spot, &b->item) : SE_OK;
    if (r != SE_OK) {
        se__wal_request_end(&b->base);
        return r;
    }
    return resolve(w, b, &spot);
}
