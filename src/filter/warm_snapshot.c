/*
 * warm_snapshot - the snapshot: read at start, compared with L3, written.
 *
 * Why a snapshot whose digests equal L3's can be trusted: its digests were read before its copy began,
 * and the filter was trusted then, so the copy has every row of that state. Equal digests: L3 has the
 * same rows now. A bucket that differs is scanned. What an earlier run left in the WAL was collected
 * before the digests were read, so a drain that goes on meanwhile takes nothing past both looks.
 */
#include "filter/warming.h"

#include "base/file.h"
#include "base/mem.h"
#include "tier/sights.h"

#include <string.h>

/* 1.7 thousand million ids; no file is larger than that and sound. */
#define SNAPSHOT_BYTES_MAX                                                                         \
    ((size_t)((UINT64_C(4) << 30) < SIZE_MAX / 2 ? UINT64_C(4) << 30 : SIZE_MAX / 2))
#define COMPARE_TRIES 3u
/* Up to so many runs of differing buckets are read one by one; of more, those are joined between which
 * there are few rows: a call costs as much as reading some hundred ids. */
#define RUNS_APART 256u
#define ROWS_JOINED 256u

static void refuse(struct warm *w, const char *why)
{
    se__metrics_inc(w->o.metrics, M_FILTER_SNAPSHOT_REFUSED);
    se__log(w->o.log, SE_LOG_WARN, "filter.snapshot_refused",
            (const struct se__field[]){se__text("path", w->path), se__text("error", why), {0}},
            "filter: the snapshot %s is not used, L3 is scanned: %s", w->path, why);
}

/* ---- at start ---- */

static struct tier_node *new_nodes(void)
{
    return se__alloc_zeroed(SNAPSHOT_BUCKETS, sizeof(struct tier_node));
}

static se_result put_parts(struct filter *f, const struct snapshot *s)
{
    se_result r = SE_OK;
    for (unsigned part = 0; r == SE_OK && part < FILTER_PARTS; part++)
        r = se__filter_restore_part(f, part, s->part[part], s->part_len[part]);
    return r;
}

/* A filter made of it, or why not. */
static const char *restore_from(struct warm *w, const struct snapshot *s)
{
    if (strcmp(s->head.table, w->table) != 0)
        return "it is of another table";
    struct filter *f = NULL;
    struct tier_node *nodes = new_nodes();
    se_result r = nodes ? se__filter_open(s->head.seed, &f) : se__error_nomem();
    if (r == SE_OK)
        r = put_parts(f, s);
    if (r != SE_OK) {
        se__filter_close(f);
        se__free(nodes);
        return se_errmsg();
    }
    se__snapshot_nodes(s, nodes);
    w->filter = f;
    w->restored = nodes;
    w->restored_head = s->head;
    return NULL;
}

static const char *decode_and_restore(struct warm *w, const struct buf *file)
{
    struct snapshot s;
    const char *why;
    return se__snapshot_decode(file->data, file->len, &s, &why) ? restore_from(w, &s) : why;
}

static void load(struct warm *w)
{
    struct buf file = {0};
    se_result r = se__file_read(w->path, SNAPSHOT_BYTES_MAX, &file);
    const char *why = r == SE_OK          ? decode_and_restore(w, &file)
                      : r == SE_NOT_FOUND ? NULL
                                          : se_errmsg();
    if (why)
        refuse(w, why);
    se__buf_done(&file);
}

se_result se__warm_restore(struct warm *w)
{
    if (w->path)
        load(w);
    return w->filter ? SE_OK : se__filter_open(se__random_u64(), &w->filter);
}

/* ---- compared with L3 ---- */

struct comparison {
    struct warm *w;
    const struct tier_node *was, *is; /* SNAPSHOT_BUCKETS each */
    uint64_t asked;
    uint64_t rows, rows_to_read; /* of L3; of its buckets that differ */
    uint32_t runs;               /* of neighbours that are to be read */
};

static bool is_to_read(const struct comparison *c, uint32_t bucket)
{
    const struct tier_node *was = &c->was[bucket], *is = &c->is[bucket];
    return is->count > 0 &&
           (is->count != was->count || memcmp(is->digest, was->digest, SE_HASH_SIZE) != 0);
}

static void weigh(struct comparison *c)
{
    bool before = false;
    for (uint32_t bucket = 0; bucket < SNAPSHOT_BUCKETS; bucket++) {
        bool now = is_to_read(c, bucket);
        c->rows += c->is[bucket].count;
        c->rows_to_read += now ? c->is[bucket].count : 0;
        c->runs += now && !before;
        before = now;
    }
}

static void add_one(void *arg, const char *id, size_t id_len)
{
    (void)se__filter_add(arg, id, id_len);
}

static se_result add_page(void *arg, struct tier_sights *page, bool ends)
{
    (void)ends;
    for (size_t i = 0; i < page->n; i++)
        add_one(arg, page->sights[i].id, page->sights[i].id_len);
    return SE_OK;
}

/* The last bucket of the run that begins at `first`. */
static uint32_t end_of_run(const struct comparison *c, uint32_t first)
{
    uint64_t between = 0, joined = c->runs > RUNS_APART ? ROWS_JOINED : 0;
    uint32_t last = first;
    for (uint32_t b = first + 1; b < SNAPSHOT_BUCKETS && between <= joined; b++) {
        if (is_to_read(c, b)) {
            last = b;
            between = 0;
        } else {
            between += c->is[b].count;
        }
    }
    return last;
}

static enum outcome read_runs(struct comparison *c)
{
    enum outcome outcome = WENT_WELL;
    for (uint32_t b = 0; outcome == WENT_WELL && b < SNAPSHOT_BUCKETS; b++) {
        if (!is_to_read(c, b))
            continue;
        uint32_t last = end_of_run(c, b);
        outcome = se__warm_survey(c->w, b, last, false, c->asked, add_page, c->w->filter);
        b = last;
    }
    return outcome;
}

static void forget_restored(struct warm *w)
{
    se__free(w->restored);
    w->restored = NULL;
}

/* The filter has every row of L3 now. */
static void use_it(struct comparison *c)
{
    struct warm *w = c->w;
    uint64_t live[FILTER_PARTS] = {0};
    for (uint32_t bucket = 0; bucket < SNAPSHOT_BUCKETS; bucket++)
        live[bucket / FILTER_PART_BUCKETS] += c->is[bucket].count;
    for (unsigned part = 0; part < FILTER_PARTS; part++)
        w->scanned[part] = c->asked;
    se__warm_find_dead(w, live);
    w->saved_position = w->o.position(w->o.arg);
    forget_restored(w);
    se__metrics_inc(w->o.metrics, M_FILTER_SNAPSHOT_USED);
    se__log(w->o.log, SE_LOG_INFO, "filter.snapshot_used",
            (const struct se__field[]){
                se__text("path", w->path), se__number("rows", c->rows_to_read), {0}},
            "filter: the snapshot %s is used; %llu of L3's %llu rows are in buckets that changed",
            w->path, (unsigned long long)c->rows_to_read, (unsigned long long)c->rows);
    (void)se__warm_believe(w, c->asked);
}

static enum outcome compare(struct comparison *c)
{
    struct warm *w = c->w;
    weigh(c);
    if (c->rows_to_read > c->rows / 4) {
        refuse(w, "it is too old: more than a quarter of L3 has changed");
        forget_restored(w);
        return WENT_WELL;
    }
    enum outcome outcome = read_runs(c);
    se__sights_done(&w->page);
    if (outcome == WENT_WELL)
        use_it(c);
    return outcome;
}

/* A snapshot that cannot be compared is no reason never to scan; that L3 is away is one to wait. */
static bool is_no_use(struct warm *w, const struct tier_reply *reply)
{
    if (reply->timed_out || reply->fault == TIER_REFUSED)
        w->compare_failures++;
    return w->compare_failures >= COMPARE_TRIES;
}

static enum outcome cannot_compare(struct warm *w, const struct tier_reply *reply, uint64_t asked)
{
    if (se__warm_is_over(w, asked)) /* interrupted, perhaps */
        return WAS_LEFT;
    if (!is_no_use(w, reply))
        return HAS_FAILED;
    refuse(w, "L3 cannot be compared with it");
    forget_restored(w);
    return WENT_WELL;
}

/* What is pending first: see the head. */
static enum outcome look_and_compare(struct warm *w, struct tier_node *nodes)
{
    struct comparison c = {.w = w, .was = w->restored, .is = nodes, .asked = se__warm_asked(w)};
    if (se__warm_pending(w, add_one, w->filter) != SE_OK)
        return HAS_FAILED;
    struct tier_reply reply = se__warm_digest(w, 0, nodes);
    return reply.fault == TIER_FINE ? compare(&c) : cannot_compare(w, &reply, c.asked);
}

enum outcome se__warm_compare(struct warm *w, const char *incarnation)
{
    if (strcmp(w->restored_head.incarnation, incarnation) != 0) {
        refuse(w, "it is of another database");
        forget_restored(w);
        return WENT_WELL;
    }
    struct tier_node *nodes = new_nodes();
    enum outcome outcome = HAS_FAILED;
    if (nodes)
        outcome = look_and_compare(w, nodes);
    else
        se__error_nomem();
    se__free(nodes);
    return outcome;
}

/* ---- written ---- */

bool se__warm_saves(const struct warm *w)
{
    return w->path && !w->o.read_only;
}

static se_result fill_head(struct warm *w, const char *incarnation, struct snapshot_head *head)
{
    *head = (struct snapshot_head){.seed = se__filter_seed(w->filter),
                                   .position = w->o.position(w->o.arg),
                                   .taken_at_ms = se__wall_ms()};
    if (strlen(incarnation) >= sizeof head->incarnation || strlen(w->table) >= sizeof head->table)
        return se__error(SE_ERR_INVALID, "the name of the database or table is too long");
    memcpy(head->incarnation, incarnation, strlen(incarnation));
    memcpy(head->table, w->table, strlen(w->table));
    return SE_OK;
}

/* The digests, then the copy, then the file. */
static enum outcome write_file(struct warm *w, const struct snapshot_head *head, uint64_t asked,
                               struct tier_node *nodes, struct buf *file)
{
    if (se__warm_digest(w, 0, nodes).fault != TIER_FINE ||
        se__snapshot_encode(head, nodes, w->filter, file) != SE_OK)
        return HAS_FAILED;
    /* Trusted to the end, or what was copied may not be all. */
    if (se__filter_doubts(w->filter) || se__warm_asked(w) != asked)
        return WAS_LEFT;
    return se__file_replace(w->path, file->data, file->len) == SE_OK ? WENT_WELL : HAS_FAILED;
}

static void note_saved(struct warm *w, uint64_t added, uint64_t position, size_t bytes)
{
    w->saved_added = added;
    w->saved_position = position;
    w->noted = 0;
    se__metrics_inc(w->o.metrics, M_FILTER_SNAPSHOTS);
    se__log(w->o.log, SE_LOG_DEBUG, "filter.snapshot_written",
            (const struct se__field[]){se__text("path", w->path), se__number("bytes", bytes), {0}},
            "filter: snapshot %s written, %zu bytes", w->path, bytes);
}

enum outcome se__warm_save(struct warm *w, const char *incarnation)
{
    struct snapshot_head head;
    struct filter_stats stats;
    struct buf file = {0};
    uint64_t asked = se__warm_asked(w);
    if (se__filter_doubts(w->filter))
        return WAS_LEFT;
    se__filter_stats(w->filter, &stats); /* what is added from now on is perhaps not in it */
    struct tier_node *nodes = new_nodes();
    enum outcome outcome = HAS_FAILED;
    if (!nodes)
        se__error_nomem();
    else if (fill_head(w, incarnation, &head) == SE_OK)
        outcome = write_file(w, &head, asked, nodes, &file);
    if (outcome == WENT_WELL)
        note_saved(w, stats.added, head.position, file.len);
    if (outcome == HAS_FAILED)
        se__metrics_inc(w->o.metrics, M_FILTER_SNAPSHOT_ERRORS);
    se__free(nodes);
    se__buf_done(&file);
    return outcome;
}
