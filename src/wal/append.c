/*
 * append - group commit without a fixed writer.
 *
 * A caller that finds nobody leading leads: it takes all queued requests, writes them and the pending removals in one
 * transaction, publishes them to the overlay, wakes their callers and hands leading on to a caller that queued meanwhile. Nobody
 * waits for a timer: a group is what came while the last one was being written.
 *
 * A caller that does not lead can time out; its request stays where it is, with references of its own. A caller that leads is in
 * SQLite and stays there as long as the disk does.
 *
 * How a commit can fail
 *   clean      nothing was written and the file is good (disk full, no memory, locked by an operator's shell): SE_ERR_IO or
 *              SE_ERR_NOMEM; the next append is tried as usual
 *   poisoned   anything else, a failed fsync above all: what SQLite and the kernel hold of the file and what is on the disk
 *              may differ from now on, and a later fsync would not tell. The live records and the group go to a new file (move.c):
 *              SE_OK from there. Where that fails too: SE_ERR_TIMEOUT if the transaction may be on disk (its COMMIT
 *              failed), else SE_ERR_IO; and appends are SE_ERR_IO until a later move succeeds (se__wal_tend tries).
 */
#include "wal/state.h"

#include "base/hash.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>

#define CEILING_AHEAD_MS 10000
#define REMOVE_WITH_GROUP 512 /* rows to delete that make it worth a group's time */
#define FRAMES_LEADER                                                                              \
    4000 /* of the journal: then the leader checkpoints; usually se__wal_tend was there before */

enum outcome { COMMITTED, NOT_WRITTEN, MAYBE_WRITTEN };

/* ---- requests ---- */

void se__wal_request_init(struct request *r, const struct request_ops *ops)
{
    r->ops = ops;
    r->state = REQUEST_QUEUED;
    r->refs = 1;
    se__cond_init(&r->changed);
}

/* Lock held; returns whether the caller must end it, without the lock. */
static bool drop_ref_locked(struct request *r)
{
    assert(r->refs > 0);
    return --r->refs == 0;
}

static void end_request(struct request *r)
{
    se__cond_done(&r->changed);
    r->ops->done(r);
}

static void enqueue_locked(struct wal *w, struct request *r)
{
    r->refs++;
    r->next = NULL;
    *w->back = r;
    w->back = &r->next;
}

static struct request *take_group_locked(struct wal *w)
{
    struct request *group = w->front;
    w->front = NULL;
    w->back = &w->front;
    for (struct request *r = group; r; r = r->next)
        r->state = REQUEST_TAKEN;
    return group;
}

/* ---- the transaction ---- */

/* 0: the stored one covers all that the group asks for. */
static uint64_t ceiling_for(struct wal *w, const struct request *group)
{
    uint64_t version = 0, ceiling = 0;
    for (const struct request *r = group; r; r = r->next) {
        version = r->version_max > version ? r->version_max : version;
        ceiling = r->ceiling > ceiling ? r->ceiling : ceiling;
    }
    if (version > w->ceiling && version > ceiling)
        ceiling = se__hlc_ceiling_for(w->hlc, version, se__wall_ms(), CEILING_AHEAD_MS);
    return ceiling > w->ceiling ? ceiling : 0;
}

static int write_group(struct wal *w, struct request *group, struct removal *removal,
                       uint64_t ceiling)
{
    int rc = se__wal_file_run(&w->file, SQL_BEGIN);
    for (struct request *r = group; r && rc == SQLITE_OK; r = r->next)
        rc = r->ops->apply(w, r, &w->file);
    if (rc == SQLITE_OK)
        rc = se__wal_removal_apply(removal, &w->file);
    if (rc == SQLITE_OK && ceiling)
        rc = se__wal_file_meta_put_u64(&w->file, WAL_META_CEILING, ceiling);
    return rc;
}

static bool rolled_back(struct wal *w)
{
    return sqlite3_get_autocommit(w->file.db) ||
           se__wal_file_run(&w->file, SQL_ROLLBACK) == SQLITE_OK;
}

/* The file is poisoned: the group goes to a new one, or nowhere. */
static enum outcome move_group(struct wal *w, struct request *group, uint64_t ceiling,
                               bool at_commit)
{
    char first[160];
    sqlite3_snprintf(sizeof first, first, "%s", se_errmsg());
    se__log(w->log, SE_LOG_ERROR, "%s; moving what is live to a new file", first);
    bool reached;
    if (se__wal_move(w, group, ceiling, &reached) == SE_OK)
        return COMMITTED;
    se__error(SE_ERR_IO, "%s; a new file cannot be written either", first);
    return at_commit || reached ? MAYBE_WRITTEN : NOT_WRITTEN;
}

static void set_poisoned(struct wal *w)
{
    se__mutex_lock(&w->lock);
    w->poisoned = true;
    se__mutex_unlock(&w->lock);
}

static void set_full(struct wal *w, bool full)
{
    se__mutex_lock(&w->lock);
    w->full = full;
    se__mutex_unlock(&w->lock);
}

/* Leading, no lock. *code: what the callers get unless COMMITTED; its text is this thread's error. */
static enum outcome commit_group(struct wal *w, struct request *group, struct removal *removal,
                                 uint64_t ceiling, se_result *code)
{
    if (w->poisoned) { /* queued before it was */
        *code = se__error(SE_ERR_IO, "wal %s: a write to it failed and no new file could be made",
                          w->path);
        return NOT_WRITTEN;
    }
    int rc = write_group(w, group, removal, ceiling);
    bool at_commit = rc == SQLITE_OK;
    if (at_commit)
        rc = se__wal_file_run(&w->file, SQL_COMMIT);
    if (w->full != ((rc & 0xff) == SQLITE_FULL))
        set_full(w, !w->full);
    if (rc == SQLITE_OK)
        return COMMITTED;
    *code = se__wal_fault(&w->file, rc, w->path, at_commit ? "committing" : "appending");
    if (*code == SE_ERR_CORRUPT)
        *code = SE_ERR_IO;
    if (rolled_back(w) && se__wal_fault_is_clean(rc))
        return NOT_WRITTEN;
    set_poisoned(w);
    return move_group(w, group, ceiling, at_commit);
}

se_result se__wal_write_alone(struct wal *w, struct removal *removal)
{
    se_result code = SE_OK;
    enum outcome outcome = commit_group(w, NULL, removal, 0, &code);
    return outcome == COMMITTED ? SE_OK : outcome == MAYBE_WRITTEN ? SE_ERR_IO : code;
}

/* A failed checkpoint is a failed fsync as well: the next one would believe pages that never reached the disk. */
se_result se__wal_checkpoint(struct wal *w, bool truncate)
{
    int rc = se__wal_file_checkpoint(&w->file, truncate);
    if (rc == SQLITE_OK)
        return SE_OK;
    se_result r = se__wal_fault(&w->file, rc, w->path, "checkpoint");
    if (se__wal_fault_is_clean(rc))
        return r;
    set_poisoned(w);
    return move_group(w, NULL, 0, false) == COMMITTED ? SE_OK : SE_ERR_IO;
}

/* ---- leading ---- */

static void settle_locked(struct wal *w, struct request *group, enum outcome outcome,
                          se_result code, const char *text)
{
    for (struct request *r = group; r; r = r->next) {
        r->result = outcome == COMMITTED ? SE_OK : outcome == MAYBE_WRITTEN ? SE_ERR_TIMEOUT : code;
        sqlite3_snprintf(sizeof r->error, r->error, "%s", text);
        if (outcome == COMMITTED)
            r->ops->publish(w, r);
        else
            r->ops->undo(w, r);
        r->state = REQUEST_DONE;
    }
}

/* Wakes and lets go. The group's references keep the requests until here. */
static void wake_group(struct wal *w, struct request *group)
{
    for (struct request *r = group; r; r = r->next)
        se__cond_signal(&r->changed);
    struct request *ended = NULL, *next;
    se__mutex_lock(&w->lock);
    for (struct request *r = group; r; r = next) {
        next = r->next;
        if (!drop_ref_locked(r))
            continue;
        r->next = ended;
        ended = r;
    }
    se__mutex_unlock(&w->lock);
    for (struct request *r = ended; r; r = next) {
        next = r->next;
        end_request(r);
    }
}

/* Writes what is queued. Lock held before and after; returns the group, whose callers are to be woken. */
static struct request *write_queue_locked(struct wal *w)
{
    struct removal removal;
    se_result code = SE_OK;
    struct request *group = take_group_locked(w);
    se__wal_removal_take_locked(w, REMOVE_WITH_GROUP, &removal);
    se__mutex_unlock(&w->lock);

    uint64_t ceiling = ceiling_for(w, group);
    enum outcome outcome = commit_group(w, group, &removal, ceiling, &code);
    if (outcome == COMMITTED && ceiling) {
        w->ceiling = ceiling;
        se__hlc_raise_ceiling(w->hlc, ceiling);
    }
    if (outcome == COMMITTED && w->metrics)
        se__metrics_inc(w->metrics, M_WAL_COMMITS);

    se__mutex_lock(&w->lock);
    settle_locked(w, group, outcome, code, outcome == COMMITTED ? "" : se_errmsg());
    se__wal_removal_settle_locked(w, &removal, outcome == COMMITTED);
    return group;
}

/* Returns false if requests are queued that nobody is left to lead. */
static bool pass_on_locked(struct wal *w)
{
    if (w->alone_waiting) {
        w->leading = false;
        se__cond_signal(&w->alone);
        return true;
    }
    for (struct request *r = w->front; r; r = r->next) {
        if (r->abandoned)
            continue;
        r->chosen = true;
        se__cond_signal(&r->changed);
        return true;
    }
    if (w->front)
        return false;
    w->leading = false;
    return true;
}

/* One group, as leader. Leading is handed on before the group is woken: the next commit does not wait for that. Returns false if
 * there is nobody to hand it to. On a full disk a checkpoint lets the journal be written from its start again. */
static bool lead_round_locked(struct wal *w)
{
    struct request *group = write_queue_locked(w);
    if (!w->poisoned && (w->full || se__wal_file_behind(&w->file) >= FRAMES_LEADER)) {
        se__mutex_unlock(&w->lock);
        wake_group(w, group);
        group = NULL;
        (void)se__wal_checkpoint(w, false);
        se__mutex_lock(&w->lock);
    }
    w->frames_behind = se__wal_file_behind(&w->file);
    bool passed = pass_on_locked(w);
    se__mutex_unlock(&w->lock);
    wake_group(w, group);
    se__mutex_lock(&w->lock);
    return passed;
}

void se__wal_hand_on_locked(struct wal *w)
{
    w->frames_behind = se__wal_file_behind(&w->file);
    if (pass_on_locked(w))
        return;
    while (!lead_round_locked(w))
        continue;
}

void se__wal_alone_locked(struct wal *w)
{
    w->alone_waiting++;
    while (w->leading)
        se__cond_wait(&w->alone, &w->lock);
    w->alone_waiting--;
    w->leading = true;
}

/* ---- a caller's view ---- */

static void wait_locked(struct wal *w, struct request *r, uint64_t deadline_ms)
{
    while (r->state != REQUEST_DONE && !r->chosen)
        if (!se__cond_wait_until(&r->changed, &w->lock, deadline_ms))
            break;
}

static void lead_locked(struct wal *w)
{
    w->leading = true;
    while (!lead_round_locked(w))
        continue;
}

static se_result result_locked(struct wal *w, struct request *r)
{
    if (r->state != REQUEST_DONE) {
        r->abandoned = true;
        return se__error(SE_ERR_TIMEOUT, "wal %s: not confirmed in time", w->path);
    }
    return r->result == SE_OK ? SE_OK : se__error(r->result, "%s", r->error);
}

se_result se__wal_commit_locked(struct wal *w, struct request *r, uint64_t deadline_ms)
{
    enqueue_locked(w, r);
    if (w->leading)
        wait_locked(w, r, deadline_ms);
    else
        r->chosen = true;
    if (r->state != REQUEST_DONE && r->chosen)
        lead_locked(w);
    se_result result = result_locked(w, r);
    if (drop_ref_locked(r)) {
        se__mutex_unlock(&w->lock);
        end_request(r);
        se__mutex_lock(&w->lock);
    }
    return result;
}

se_result se__wal_writable_locked(struct wal *w)
{
    if (w->read_only)
        return se__error(SE_ERR_STATE, "wal %s was opened read-only", w->path);
    if (w->poisoned)
        return se__error(SE_ERR_IO, "wal %s: a write to it failed and no new file could be made",
                         w->path);
    return SE_OK;
}

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
            (uint16_t)(se__hash64(w->seed, se_item_id(item), id_len) % w->overlay.partitions),
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

/* ---- append ---- */

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
    for (size_t i = 0; i < a->n; i++) {
        struct append_entry *e = &a->entries[i];
        if (e->node)
            se__overlay_publish(&w->overlay, e->node,
                                a->purpose == WAL_HOME ? OVERLAY_HOME : OVERLAY_ACK);
        else
            se__overlay_hand(&w->overlay, e->key, se_item_version(e->item));
    }
    if (w->metrics)
        se__metrics_add(w->metrics, M_WAL_APPENDS, a->written);
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

/* A repetition of what is in flight (its caller timed out) takes no second place: one of the two records will go at once. */
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

static se_result append_locked(struct wal *w, struct append *a, uint64_t deadline_ms)
{
    se_result r = se__wal_writable_locked(w);
    if (r == SE_OK)
        r = check_room_locked(w, a);
    if (r == SE_OK)
        r = reserve_locked(w, a);
    if (r == SE_OK && a->written > 0)
        return se__wal_commit_locked(w, &a->base, deadline_ms);
    if (r == SE_OK)
        append_publish(w, &a->base);
    else if (w->metrics)
        se__metrics_add(w->metrics, M_WAL_APPEND_ERRORS, a->n);
    a->base.refs = 0; /* it was never queued */
    se__mutex_unlock(&w->lock);
    end_request(&a->base);
    se__mutex_lock(&w->lock);
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
    se__mutex_lock(&w->lock);
    se_result r = append_locked(w, a, deadline_ms);
    se__mutex_unlock(&w->lock);
    return r;
}
