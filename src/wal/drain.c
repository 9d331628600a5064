/*
 * drain - hands WAL_HOME records back to the home tier, oldest first, in batches.
 *
 * Taking marks the records DRAINING in the overlay and leaves them where they are: what does not
 * come back as confirmed is simply waiting again. A write appended while its id is drained is a
 * record of its own, which the drain's confirmation, being of an older version, does not touch.
 */
#include "base/mem.h"
#include "wal/state.h"

#include <stdlib.h>
#include <string.h>

bool se__wal_drainable(struct wal *w, unsigned partition)
{
    if (se__overlay_empty(&w->overlay) || w->read_only)
        return false;
    se__mutex_lock(&w->lock);
    bool waiting = w->overlay.queues[partition].waiting > 0;
    se__mutex_unlock(&w->lock);
    return waiting;
}

struct taking {
    struct wal_spot *spots;
    se_item **items;
    size_t cap, n, n_read;
};

static se_result make_room(struct wal *w, unsigned partition, size_t items_max, struct taking *t)
{
    se__mutex_lock(&w->lock);
    size_t waiting = w->overlay.queues[partition].waiting;
    se__mutex_unlock(&w->lock);
    t->cap = waiting < items_max ? waiting : items_max;
    if (t->cap == 0)
        return SE_OK;
    t->spots = se__alloc_zeroed(t->cap, sizeof *t->spots);
    t->items = se__alloc_zeroed(t->cap, sizeof(se_item *));
    return t->spots && t->items ? SE_OK : se__error_nomem();
}

static void take_spots(struct wal *w, unsigned partition, size_t bytes_max, struct taking *t)
{
    uint32_t cursor = 0, node;
    size_t bytes = 0;
    se__mutex_lock(&w->lock);
    while (t->n < t->cap && (t->n == 0 || bytes < bytes_max)) {
        node = se__overlay_drain_next(&w->overlay, partition, &cursor);
        if (!node)
            break;
        const struct overlay_node *n = se__overlay_at(&w->overlay, node);
        bytes += n->bytes;
        t->spots[t->n++] = (struct wal_spot){.key = n->key, .seq = n->seq, .version = n->version};
    }
    se__mutex_unlock(&w->lock);
}

/* A lost record's older ones, taken along, wait again: the next of them is then the newest. */
static se_result lost(struct wal *w, const struct wal_spot *spot)
{
    se_result r = se__wal_spot_lost(w, spot);
    se__mutex_lock(&w->lock);
    se__overlay_drain_return(&w->overlay, spot->key, spot->version);
    se__mutex_unlock(&w->lock);
    return r;
}

static se_result read_spots(struct wal *w, struct taking *t)
{
    struct wal_reader *reader;
    se_result r = se__wal_reader_take(w, &reader);
    if (r != SE_OK)
        return r;
    se__wal_reader_begin(reader);
    for (size_t i = 0; i < t->n && r == SE_OK; i++) {
        r = se__wal_read_spot(w, reader, &t->spots[i], &t->items[t->n_read]);
        if (r == SE_OK)
            t->n_read++;
        else if (r == SE_NOT_FOUND)
            r = lost(w, &t->spots[i]);
    }
    se__wal_reader_give(w, reader);
    return r;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(se_item_id(*(se_item *const *)a), se_item_id(*(se_item *const *)b));
}

static void give_back(struct wal *w, const struct taking *t)
{
    se__mutex_lock(&w->lock);
    for (size_t i = 0; i < t->n; i++)
        se__overlay_drain_return(&w->overlay, t->spots[i].key, t->spots[i].version);
    se__mutex_unlock(&w->lock);
    for (size_t i = 0; i < t->n_read; i++)
        se_item_release(t->items[i]);
    se__free(t->items);
}

static se_result take(struct wal *w, unsigned partition, size_t bytes_max, struct taking *t)
{
    take_spots(w, partition, bytes_max, t);
    qsort(t->spots, t->n, sizeof *t->spots, se__wal_spot_by_seq);
    return t->n > 0 ? read_spots(w, t) : SE_OK;
}

se_result se__wal_drain_take(struct wal *w, unsigned partition, size_t items_max, size_t bytes_max,
                             se_item ***items, size_t *n)
{
    struct taking t = {0};
    *items = NULL;
    *n = 0;
    if (!se__wal_drainable(w, partition))
        return SE_OK;
    se_result r = make_room(w, partition, items_max, &t);
    if (r == SE_OK && t.cap > 0)
        r = take(w, partition, bytes_max, &t);
    if (r != SE_OK || t.n_read == 0) {
        give_back(w, &t);
    } else {
        qsort(t.items, t.n_read, sizeof(se_item *), by_id);
        *items = t.items;
        *n = t.n_read;
    }
    se__free(t.spots);
    return r;
}

/* Nothing confirmed or buried is left to be returned: those records are not DRAINING any more. */
void se__wal_drain_return(struct wal *w, unsigned partition, se_item **items, size_t n)
{
    (void)partition;
    for (size_t i = 0; i < n; i++) {
        struct overlay_key key = se__wal_key(w, se_item_id(items[i]), se__item_id_len(items[i]));
        se__mutex_lock(&w->lock);
        se__overlay_drain_return(&w->overlay, key, se_item_version(items[i]));
        se__mutex_unlock(&w->lock);
        se_item_release(items[i]);
    }
    se__free(items);
}

/* What was neither confirmed nor buried after all is waiting again, rather than stuck
 * for the life of the process. */
void se__wal_drain_done(struct wal *w, unsigned partition, se_item **items, size_t n)
{
    se__wal_drain_return(w, partition, items, n);
}
