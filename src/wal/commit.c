/*
 * commit - group commit without a fixed writer.
 *
 * A caller that finds nobody leading leads: it takes all queued requests, writes them and the
 * pending removals in one transaction, publishes them to the overlay, wakes their callers and hands
 * leading on to a caller that queued meanwhile. Nobody waits for a timer: a group is what came
 * while the last one was being written. A group is woken by one ring of its bell, and its callers
 * leave without taking the lock.
 *
 * A caller that does not lead can time out; its request stays where it is, with references of its
 * own. A caller that leads is in SQLite and stays there as long as the disk does.
 *
 * How a commit can fail
 *   clean      nothing was written and the file is good (disk full, no memory, locked by an
 *              operator's shell): SE_ERR_IO or SE_ERR_NOMEM; the next append is tried as usual
 *   poisoned   anything else, a failed fsync above all: what SQLite and the kernel hold of the file
 *              and what is on the disk may differ from now on, and a later fsync would not tell.
 *              The live records and the group go to a new file (move.c): SE_OK from there. Where
 *              that fails too: SE_ERR_TIMEOUT if the transaction may be on disk (its COMMIT
 *              failed), else SE_ERR_IO; and appends are SE_ERR_IO until a later move succeeds
 *              (se__wal_tend tries).
 */
#include "wal/state.h"

#include <assert.h>
#include <string.h>

#define CEILING_AHEAD_MS 10000
#define REMOVE_WITH_GROUP 512 /* rows to delete that make it worth a group's time */
/* Of the journal: then the leader checkpoints. Usually se__wal_tend was there before. */
#define FRAMES_LEADER 8000

enum outcome { COMMITTED, NOT_WRITTEN, MAYBE_WRITTEN };

/* ---- requests ---- */

void se__wal_request_init(struct request *r, const struct request_ops *ops)
{
    r->ops = ops;
    atomic_init(&r->done, false);
    atomic_init(&r->chosen, false);
    atomic_init(&r->refs, 1);
}

/* Returns whether it was the last one and the caller must end it, without the lock. */
static bool drop_ref(struct request *r)
{
    /* acq_rel: whoever ends it has seen all that the other did with it. */
    unsigned before = atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    return before == 1;
}

void se__wal_request_end(struct request *r)
{
    r->ops->done(r);
}

static void enqueue_locked(struct wal *w, struct request *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed); /* nobody else knows it yet */
    r->next = NULL;
    r->first = !w->front;
    r->group = w->group;
    *w->back = r;
    w->back = &r->next;
}

static struct request *take_group_locked(struct wal *w)
{
    struct request *group = w->front;
    w->front = NULL;
    w->back = &w->front;
    w->group++;
    return group;
}

static struct se__bell *bell_of(struct wal *w, const struct request *r)
{
    return r->first ? &w->leaders : &w->bells[r->group % WAL_BELLS];
}

static bool is_done(const struct request *r)
{
    /* acquire: the result; pairs with the release in settle_locked(). */
    return atomic_load_explicit(&r->done, memory_order_acquire);
}

static bool is_chosen(const struct request *r)
{
    /* acquire, for the order of reading it and the bell; pairs with the release in pass_on_locked().
     * What it means is only looked at with the lock. */
    return atomic_load_explicit(&r->chosen, memory_order_acquire);
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

static void set_refusing(struct wal *w, bool refusing, bool full)
{
    if (w->refusing == refusing && w->full == full) /* only a leader writes them */
        return;
    se__mutex_lock(&w->lock);
    w->refusing = refusing;
    w->full = full;
    se__mutex_unlock(&w->lock);
}

/* The file is poisoned: the group goes to a new one, or nowhere. */
static enum outcome move_group(struct wal *w, struct request *group, uint64_t ceiling,
                               bool at_commit)
{
    char first[160];
    sqlite3_snprintf(sizeof first, first, "%s", se_errmsg());
    se__log(w->log, SE_LOG_ERROR, "wal.failed",
            (const struct se__field[]){se__text("path", w->path), se__text("error", first), {0}},
            "%s; moving what is live to a new file", first);
    bool reached;
    if (se__wal_move(w, group, ceiling, &reached) == SE_OK) {
        set_refusing(w, false, false);
        return COMMITTED;
    }
    se__error(SE_ERR_IO, "%s; a new file cannot be written either", first);
    return at_commit || reached ? MAYBE_WRITTEN : NOT_WRITTEN;
}

static void set_poisoned(struct wal *w)
{
    se__mutex_lock(&w->lock);
    w->poisoned = true;
    se__mutex_unlock(&w->lock);
}

/* Leading, no lock. *code: what the callers get unless COMMITTED; its
 * text is this thread's error. */
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
    set_refusing(w, rc != SQLITE_OK, (rc & 0xff) == SQLITE_FULL);
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

/* The ceiling a little higher: the least that cannot be written without space. */
se_result se__wal_prove(struct wal *w)
{
    struct removal none = {.n = 0};
    uint64_t ceiling = w->ceiling + 1;
    se_result code = SE_OK;
    if (commit_group(w, NULL, &none, ceiling, &code) != COMMITTED)
        return code;
    w->ceiling = ceiling;
    return SE_OK;
}

/* A failed checkpoint is a failed fsync as well: the next one would believe pages
 * that never reached the disk. */
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

/* What is left to do for a group, and for who leads next, once the lock is given up. */
struct aftermath {
    struct se__bell *group, *first, *next;
    struct request *ended; /* those whose callers have gone */
};

static void settle_one_locked(struct wal *w, struct request *r, enum outcome outcome,
                              se_result code, const char *text)
{
    r->result = outcome == COMMITTED ? SE_OK : outcome == MAYBE_WRITTEN ? SE_ERR_TIMEOUT : code;
    sqlite3_snprintf(sizeof r->error, r->error, "%s", text);
    if (outcome == COMMITTED)
        r->ops->publish(w, r);
    else
        r->ops->undo(w, r);
    /* release: result and error; pairs with the acquire in is_done(). */
    atomic_store_explicit(&r->done, true, memory_order_release);
}

/* From done on a request may go with its caller at any time, but for the group's reference. */
static void settle_locked(struct wal *w, struct request *group, enum outcome outcome,
                          se_result code, const char *text, struct aftermath *after)
{
    struct request *next;
    for (struct request *r = group; r; r = next) {
        next = r->next;
        if (!r->first)
            after->group = bell_of(w, r);
        else if (!is_chosen(r)) /* it is not the one who leads here */
            after->first = &w->leaders;
        settle_one_locked(w, r, outcome, code, text);
        if (drop_ref(r)) {
            r->next = after->ended;
            after->ended = r;
        }
    }
}

/* Whoever leads next comes last: of the others, those who write again at once are in its group then.
 * The other way round 16 callers are two halves for ever that wait for each other (docs/wal.md). */
static void finish(const struct aftermath *after)
{
    if (after->group)
        se__bell_ring(after->group);
    if (after->first && after->first != after->next)
        se__bell_ring(after->first);
    if (after->next)
        se__bell_ring(after->next);
    struct request *next;
    for (struct request *r = after->ended; r; r = next) {
        next = r->next;
        se__wal_request_end(r);
    }
}

/* Writes what is queued. Lock held before and after. */
static void write_queue_locked(struct wal *w, struct aftermath *after)
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
    settle_locked(w, group, outcome, code, outcome == COMMITTED ? "" : se_errmsg(), after);
    se__wal_removal_settle_locked(w, &removal, outcome == COMMITTED);
}

/* Returns false if requests are queued that nobody is left to lead. */
static bool pass_on_locked(struct wal *w, struct aftermath *after)
{
    if (w->alone_waiting) {
        w->leading = false;
        se__cond_signal(&w->alone);
        return true;
    }
    for (struct request *r = w->front; r; r = r->next) {
        if (r->abandoned)
            continue;
        /* release: pairs with the acquire in is_chosen(). */
        atomic_store_explicit(&r->chosen, true, memory_order_release);
        after->next = bell_of(w, r);
        return true;
    }
    if (w->front)
        return false;
    w->leading = false;
    return true;
}

/* One group, as leader. Returns false if there is nobody to hand leading on to. On a full disk a
 * checkpoint lets the journal be written from its start again. */
static bool lead_round_locked(struct wal *w)
{
    struct aftermath after = {0};
    write_queue_locked(w, &after);
    if (!w->poisoned && (w->full || se__wal_file_behind(&w->file) >= FRAMES_LEADER)) {
        se__mutex_unlock(&w->lock);
        finish(&after);
        after = (struct aftermath){0};
        (void)se__wal_checkpoint(w, false);
        se__mutex_lock(&w->lock);
    }
    w->frames_behind = se__wal_file_behind(&w->file);
    bool passed = pass_on_locked(w, &after);
    se__mutex_unlock(&w->lock);
    finish(&after);
    se__mutex_lock(&w->lock);
    return passed;
}

void se__wal_hand_on_locked(struct wal *w)
{
    struct aftermath after = {0};
    w->frames_behind = se__wal_file_behind(&w->file);
    bool passed = pass_on_locked(w, &after);
    finish(&after);
    while (!passed)
        passed = lead_round_locked(w);
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

static void wait(struct wal *w, struct request *r, uint64_t deadline_ms)
{
    for (;;) {
        uint32_t heard = se__bell_heard(bell_of(w, r));
        if (is_done(r) || is_chosen(r) || !se__bell_wait(bell_of(w, r), heard, deadline_ms))
            return;
    }
}

static void lead_locked(struct wal *w)
{
    struct se__filelimit limit;
    se__filelimit_hold(&limit); /* this thread is the host program's */
    w->leading = true;
    while (!lead_round_locked(w))
        continue;
    se__filelimit_release(&limit);
}

/* It was not done when its caller stopped waiting: it has been chosen, or it is too late. */
static void end_wait(struct wal *w, struct request *r)
{
    se__mutex_lock(&w->lock);
    if (!is_done(r) && is_chosen(r))
        lead_locked(w);
    r->abandoned = !is_done(r);
    se__mutex_unlock(&w->lock);
}

static se_result result_of(struct wal *w, struct request *r)
{
    if (!is_done(r))
        return se__error(SE_ERR_TIMEOUT, "wal %s: not confirmed in time", w->path);
    return r->result == SE_OK ? SE_OK : se__error(r->result, "%s", r->error);
}

se_result se__wal_commit_unlock(struct wal *w, struct request *r, uint64_t deadline_ms)
{
    enqueue_locked(w, r);
    if (!w->leading) {
        atomic_store_explicit(&r->chosen, true, memory_order_relaxed); /* its own caller's */
        lead_locked(w);
        se__mutex_unlock(&w->lock);
    } else {
        se__mutex_unlock(&w->lock);
        wait(w, r, deadline_ms);
        if (!is_done(r))
            end_wait(w, r);
    }
    se_result result = result_of(w, r);
    if (drop_ref(r))
        se__wal_request_end(r);
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
