/*
 * append - records of items on their way into the log.
 *
 * Room and memory are settled before anything is written: the record takes its place in the
 * overlay, in flight, so that publishing it after the commit cannot fail. The commit is commit.c's.
 */
#include "wal/state.h"

#include "base/hash.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>

struct overlay_key se__wal_key(const struct wal *w, const char *id, size_t id_len)
{
    uint8_t hash[SE_HASH_SIZE];
    struct overlay_key key;
    se__hash128(w->seed, id, id_len, hash);
    static_assert(sizeof key == sizeof hash, "a key is a hash");
    memcpy(&key, hash, sizeof key);
    return key;
}

uint64_t se__wal_record_bytes(const se_item *item)
{
    enum record_kind kind = se__item_deleted(item) ? RECORD_TOMBSTONE : RECORD_ITEM;
    return se__record_size(item, kind) + se__item_id_len(item);
}

uint32_t se__wal_reserve_locked(struct wal *w, const se_item *item, struct overlay_key key,
                                bool dead_row, uint64_t *seq)
{
    size_t id_len = se__item_id_len(item);
    struct overlay_node proto = {
        .key = key,
        .seq = w->seq + 1,
        .version = se_item_version(item),
        .bytes = (uint32_t)se__wal_record_bytes(item),
        .partition =
            (uint16_t)(se__hash_id(&w->secret, se_item_id(item), id_len) % w->overlay.partitions),
        .dead_row = dead_row,
    };
    uint32_t node = se__overlay_add(&w->overlay, &proto);
    if (node)
        *seq = ++w->seq;
    return node;
}

bool se__wal_has_room_locked(const struct wal *w, uint64_t items, uint64_t bytes)
{
    uint64_t items_held = se__overlay_held(&w->overlay),
             bytes_held = se__overlay_held_bytes(&w->overlay);
    return items_held < w->items_max && items <= w->items_max - items_held &&
           bytes_held < w->bytes_max && bytes <= w->bytes_max - bytes_held;
}

struct append_entry {
    se_item *item; /* a reference */
    struct overlay_key key;
    uint32_t node; /* 0: in the log already, and only handed to the drain */
    uint64_t seq;
};
struct append {
    struct request base;
    enum wal_purpose purpose;
    size_t n, written;
    struct append_entry entries[];
};

static int append_apply(struct wal *w, struct request *r, struct wal_file *f)
{
    struct append *a = (struct append *)r;
    (void)w;
    for (size_t i = 0; i < a->n; i++) {
        if (!a->entries[i].node)
            continue;
        int rc = se__wal_file_log(f, a->entries[i].seq, a->entries[i].item);
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

static void append_publish(struct wal *w, struct request *r)
{
    struct append *a = (struct append *)r;
    uint64_t bytes = 0;
    for (size_t i = 0; i < a->n; i++) {
        struct append_entry *e = &a->entries[i];
        if (e->node) {
            bytes += se__item_id_len(e->item) + se_item_content_len(e->item);
            se__overlay_publish(&w->overlay, e->node,
                                a->purpose == WAL_HOME ? OVERLAY_HOME : OVERLAY_ACK);
        } else
            se__overlay_hand(&w->overlay, e->key, se_item_version(e->item));
    }
    se__metrics_add(w->metrics, M_WAL_APPENDS, a->written);
    se__metrics_add(w->metrics, M_WAL_PUT_BYTES, bytes);
}

static void cancel_locked(struct wal *w, struct append *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->entries[i].node)
            se__overlay_cancel(&w->overlay, a->entries[i].node);
}

static void append_undo(struct wal *w, struct request *r)
{
    struct append *a = (struct append *)r;
    cancel_locked(w, a);
    if (w->metrics)
        se__metrics_add(w->metrics, M_WAL_APPEND_ERRORS, a->written);
}

static void append_done(struct request *r)
{
    struct append *a = (struct append *)r;
    for (size_t i = 0; i < a->n; i++)
        se_item_release(a->entries[i].item);
    se__free(a);
}

static const struct request_ops append_ops = {append_apply, append_publish, append_undo,
                                              append_done};

static struct append *new_append(struct wal *w, se_item *const *items, size_t n,
                                 enum wal_purpose purpose)
{
    if (n > (SIZE_MAX - sizeof(struct append)) / sizeof(struct append_entry))
        return NULL;
    struct append *a = se__alloc_zeroed(1, sizeof *a + n * sizeof a->entries[0]);
    if (!a)
        return NULL;
    se__wal_request_init(&a->base, &append_ops);
    a->purpose = purpose;
    a->n = n;
    for (size_t i = 0; i < n; i++) {
        a->entries[i].item = se_item_retain(items[i]);
        a->entries[i].key = se__wal_key(w, se_item_id(items[i]), se__item_id_len(items[i]));
    }
    return a;
}

/* With WAL_HOME, what the log has on disk in this version is not written again. */
static bool known_locked(const struct wal *w, const struct append *a, const struct append_entry *e)
{
    return a->purpose == WAL_HOME &&
           se__overlay_by_version(&w->overlay, e->key, se_item_version(e->item));
}

/* A repetition of what is in flight (its caller timed out) takes no second place: one of the
 * two records will go at once. */
static bool repeated_locked(const struct wal *w, const struct append_entry *e)
{
    return se__overlay_in_flight(&w->overlay, e->key, se_item_version(e->item));
}

static se_result check_room_locked(struct wal *w, struct append *a)
{
    uint64_t items = 0, bytes = 0;
    a->written = 0;
    for (size_t i = 0; i < a->n; i++) {
        const struct append_entry *e = &a->entries[i];
        if (known_locked(w, a, e))
            continue;
        uint64_t more = se__wal_record_bytes(e->item);
        if (more > WAL_RECORD_MAX)
            return se__error(SE_ERR_TOO_BIG, "item %s is too long for a record of the wal",
                             se_item_id(e->item));
        a->written++;
        if (repeated_locked(w, e))
            continue;
        items++;
        bytes += more;
    }
    if (items == 0 || se__wal_has_room_locked(w, items, bytes))
        return SE_OK;
    return se__error(SE_ERR_BACKPRESSURE, "wal %s is full: %llu records, %llu bytes", w->path,
                     (unsigned long long)se__overlay_held(&w->overlay),
                     (unsigned long long)se__overlay_held_bytes(&w->overlay));
}

static se_result reserve_locked(struct wal *w, struct append *a)
{
    for (size_t i = 0; i < a->n; i++) {
        struct append_entry *e = &a->entries[i];
        if (known_locked(w, a, e))
            continue;
        e->node = se__wal_reserve_locked(w, e->item, e->key, false, &e->seq);
        if (!e->node) {
            cancel_locked(w, a);
            return se__error_nomem();
        }
        if (se_item_version(e->item) > a->base.version_max)
            a->base.version_max = se_item_version(e->item);
    }
    return SE_OK;
}

/* Lock held, and not on return. */
static se_result append_unlock(struct wal *w, struct append *a, uint64_t deadline_ms)
{
    se_result r = se__wal_writable_locked(w);
    if (r == SE_OK)
        r = check_room_locked(w, a);
    if (r == SE_OK)
        r = reserve_locked(w, a);
    if (r == SE_OK && a->written > 0)
        return se__wal_commit_unlock(w, &a->base, deadline_ms);
    if (r == SE_OK)
        append_publish(w, &a->base);
    else if (w->metrics)
        se__metrics_add(w->metrics, M_WAL_APPEND_ERRORS, a->n);
    se__mutex_unlock(&w->lock);
    se__wal_request_end(&a->base);
    return r;
}

se_result se__wal_append(struct wal *w, se_item *const *items, size_t n, enum wal_purpose purpose,
                         uint64_t deadline_ms)
{
    if (n == 0)
        return SE_OK;
    struct append *a = new_append(w, items, n, purpose);
    if (!a)
        return se__error_nomem();
    uint64_t began_ns = se__mono_ns();
    se__mutex_lock(&w->lock);
    se_result r = append_unlock(w, a, deadline_ms);
    se__metrics_observe(w->metrics, M_WAL_PUT_SECONDS, (double)(se__mono_ns() - began_ns) / 1e9);
    return r;
}
