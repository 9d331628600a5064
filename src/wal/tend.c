/*
 * tend - confirmations, and the rows they leave behind.
 *
 * A confirmation only changes the overlay; the row goes with a later group commit once enough of
 * them wait, or here. Until then a crash brings it back as recovered, which the home tier's version
 * guard makes harmless. Rows are deleted by runs of neighbouring numbers: a flushed batch is often
 * one.
 */
#include "wal/state.h"

#include <stdlib.h>

#define TEND_ROWS_LEAST 128
#define TEND_FRAMES_LEAST 1000
/* While writers commit they wait for a checkpoint, ten ms of it and more, most of that for the disk;
 * and of four times as many frames more are of the same pages. */
#define TEND_FRAMES_BUSY 4000

/* ---- confirming ---- */

void se__wal_confirm(struct wal *w, const char *id, size_t id_len, uint64_t version,
                     struct wal_confirmed *confirmed)
{
    struct overlay_confirmed c;
    *confirmed = (struct wal_confirmed){0};
    if (se__overlay_empty(&w->overlay) || w->read_only)
        return;
    struct overlay_key key = se__wal_key(w, id, id_len);
    se__mutex_lock(&w->lock);
    se__overlay_confirm(&w->overlay, key, version, &c);
    se__mutex_unlock(&w->lock);
    confirmed->superseded = (unsigned)c.superseded;
    confirmed->was_home = c.home > 0;
    confirmed->dead_gone = c.dead_gone;
    if (w->metrics && c.home > 0)
        se__metrics_add(w->metrics, M_WAL_DRAINED, c.home);
}

void se__wal_forget(struct wal *w, const char *id, size_t id_len, uint64_t version)
{
    if (se__overlay_empty(&w->overlay) || w->read_only)
        return;
    struct overlay_key key = se__wal_key(w, id, id_len);
    se__mutex_lock(&w->lock);
    se__overlay_forget(&w->overlay, key, version);
    se__mutex_unlock(&w->lock);
}

/* ---- removal ---- */

void se__wal_removal_take_locked(struct wal *w, size_t least, struct removal *removal)
{
    removal->n = removal->log_n = removal->dead_n = 0;
    removal->seq = w->seq;
    if (w->overlay.count[OVERLAY_GONE] < least)
        return;
    while (removal->n < WAL_REMOVE_MAX) {
        uint32_t node = se__overlay_gone_take(&w->overlay);
        if (!node)
            break;
        const struct overlay_node *n = se__overlay_at(&w->overlay, node);
        removal->nodes[removal->n++] = node;
        if (n->dead_row)
            removal->dead[removal->dead_n++] = n->seq;
        else
            removal->log[removal->log_n++] = n->seq;
    }
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int delete_runs(struct wal_file *f, enum wal_sql which, uint64_t *seqs, size_t n)
{
    qsort(seqs, n, sizeof *seqs, by_number);
    for (size_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && seqs[j] == seqs[j - 1] + 1; j++)
            continue;
        int rc = se__wal_file_delete(f, which, seqs[i], seqs[j - 1]);
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

/* The greatest number may be among those removed, and must not come again after a restart. */
int se__wal_removal_apply(struct removal *removal, struct wal_file *f)
{
    if (removal->n == 0)
        return SQLITE_OK;
    int rc = delete_runs(f, SQL_LOG_DELETE, removal->log, removal->log_n);
    if (rc == SQLITE_OK)
        rc = delete_runs(f, SQL_DEAD_DELETE, removal->dead, removal->dead_n);
    return rc == SQLITE_OK ? se__wal_file_meta_put_u64(f, WAL_META_SEQ, removal->seq) : rc;
}

void se__wal_removal_settle_locked(struct wal *w, struct removal *removal, bool deleted)
{
    for (size_t i = 0; i < removal->n; i++) {
        if (deleted)
            se__overlay_gone_free(&w->overlay, removal->nodes[i]);
        else
            se__overlay_gone_back(&w->overlay, removal->nodes[i]);
    }
}

/* ---- upkeep ---- */

/* Who commits just now removes rows himself once there are enough of them. */
static bool little_to_do_locked(const struct wal *w)
{
    if (w->poisoned || w->full || w->refusing)
        return false;
    if (w->leading)
        return w->frames_behind < TEND_FRAMES_BUSY;
    return w->overlay.count[OVERLAY_GONE] < TEND_ROWS_LEAST && w->frames_behind < TEND_FRAMES_LEAST;
}

/* Leading. One transaction's worth; *more says whether rows are left. */
static se_result remove_some_locked(struct wal *w, bool *more)
{
    struct removal removal;
    se__wal_removal_take_locked(w, 1, &removal);
    *more = w->overlay.count[OVERLAY_GONE] > removal.n;
    if (removal.n == 0)
        return SE_OK;
    se__mutex_unlock(&w->lock);
    se_result r = se__wal_write_alone(w, &removal);
    se__mutex_lock(&w->lock);
    se__wal_removal_settle_locked(w, &removal, r == SE_OK);
    return r;
}

/* Lets appends in between the transactions: they carry removals of their own. */
static se_result remove_all_locked(struct wal *w, bool sync)
{
    bool more = true;
    while (more && (sync || !w->front)) {
        se_result r = remove_some_locked(w, &more);
        if (r != SE_OK)
            return r;
    }
    return SE_OK;
}

/* Leading. A name may have been missing only while another leader moved the log. */
static void check_names_locked(struct wal *w)
{
    if (w->poisoned || !se__wal_files_gone(w->path))
        return;
    se__log(w->log, SE_LOG_ERROR, "wal.removed",
            (const struct se__field[]){se__text("path", w->path), {0}},
            "wal %s: its file has been removed while it is in use", w->path);
    w->poisoned = true;
}

static se_result heal_locked(struct wal *w)
{
    bool reached;
    se__mutex_unlock(&w->lock);
    se_result r = se__wal_move(w, NULL, 0, &reached);
    se__mutex_lock(&w->lock);
    if (r == SE_OK)
        se__log(w->log, SE_LOG_WARN, "wal.new_file",
                (const struct se__field[]){se__text("path", w->path), {0}},
                "wal %s: goes on in a new file", w->path);
    return r;
}

static se_result make_space_locked(struct wal *w)
{
    se__mutex_unlock(&w->lock);
    se_result r = se__wal_make_space(w);
    se__mutex_lock(&w->lock);
    if (r == SE_OK)
        w->full = false;
    return r;
}

/* Whoever looks at the figures must learn that it is over, though nobody writes. */
static se_result prove_locked(struct wal *w)
{
    se__mutex_unlock(&w->lock);
    se_result r = se__wal_prove(w);
    se__mutex_lock(&w->lock);
    return r;
}

static se_result tend_locked(struct wal *w, bool sync)
{
    check_names_locked(w);
    se_result r = w->poisoned ? heal_locked(w) : SE_OK;
    if (r == SE_OK)
        r = remove_all_locked(w, sync);
    if (r == SE_OK && w->refusing && !sync)
        r = prove_locked(w);
    if (r != SE_OK && w->full && !w->poisoned)
        r = make_space_locked(w);
    if (r != SE_OK || (!sync && !w->full && se__wal_file_behind(&w->file) < TEND_FRAMES_LEAST))
        return r;
    w->full = false;
    se__mutex_unlock(&w->lock);
    r = se__wal_checkpoint(w, sync);
    se__mutex_lock(&w->lock);
    return r;
}

se_result se__wal_tend(struct wal *w, bool sync)
{
    if (w->read_only)
        return se__error(SE_ERR_STATE, "wal %s was opened read-only", w->path);
    se_result r = SE_OK;
    struct se__filelimit limit;
    se__filelimit_hold(&limit);
    bool gone = se__wal_files_gone(w->path);
    se__mutex_lock(&w->lock);
    if (sync || gone || !little_to_do_locked(w)) {
        se__wal_alone_locked(w);
        r = tend_locked(w, sync);
        se__wal_hand_on_locked(w);
    }
    se__mutex_unlock(&w->lock);
    se__filelimit_release(&limit);
    return r;
}
