/*
 * fake_l3.c - one sorted array under one mutex.
 */
#include "filter/fake_l3.h"

#include "base/os.h"
#include "item/item.h"
#include "tier/sights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    uint16_t bucket;
    bool live;
    uint64_t version;
    char id[40];
};
struct fault {
    unsigned skip, count;
    struct tier_reply reply;
};
struct fake_l3 {
    struct tier_ops ops;
    struct se__mutex lock; /* guards all below */
    struct row *rows;
    size_t n, cap;
    uint64_t version;
    struct fault faults[2];
    unsigned calls[2];
    struct fake_l3_seen seen;
    void (*hook)(void *arg, enum fake_call call, unsigned number);
    void *hook_arg;
};

static const struct fake_l3_seen NOTHING = {
    .bucket_lowest = UINT64_MAX, .live_only = true, .only_ids = true};

/* ---- rows ---- */

static int compare(const struct row *a, uint32_t bucket, const char *id)
{
    return a->bucket != bucket ? (a->bucket < bucket ? -1 : 1) : strcmp(a->id, id);
}

/* The first row that is not before (bucket, id). */
static size_t find(const struct fake_l3 *l3, uint32_t bucket, const char *id)
{
    size_t low = 0, high = l3->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (compare(&l3->rows[mid], bucket, id) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct row *row_at(struct fake_l3 *l3, uint16_t bucket, const char *id, bool make)
{
    size_t at = find(l3, bucket, id);
    if (at < l3->n && compare(&l3->rows[at], bucket, id) == 0)
        return &l3->rows[at];
    if (!make)
        return NULL;
    if (l3->n == l3->cap) {
        l3->cap = l3->cap ? 2 * l3->cap : 64;
        l3->rows = realloc(l3->rows, l3->cap * sizeof *l3->rows);
        if (!l3->rows)
            abort();
    }
    memmove(&l3->rows[at + 1], &l3->rows[at], (l3->n++ - at) * sizeof *l3->rows);
    l3->rows[at] = (struct row){.bucket = bucket};
    snprintf(l3->rows[at].id, sizeof l3->rows[at].id, "%s", id);
    return &l3->rows[at];
}

static void set(struct fake_l3 *l3, const char *id, uint16_t bucket, bool live)
{
    se__mutex_lock(&l3->lock);
    struct row *row = row_at(l3, bucket, id, true);
    row->live = live;
    row->version = ++l3->version;
    se__mutex_unlock(&l3->lock);
}

void fake_l3_put_in(struct fake_l3 *l3, const char *id, uint16_t bucket)
{
    set(l3, id, bucket, true);
}

void fake_l3_put(struct fake_l3 *l3, const char *id)
{
    set(l3, id, se__item_bucket(id, strlen(id)), true);
}

void fake_l3_delete(struct fake_l3 *l3, const char *id)
{
    set(l3, id, se__item_bucket(id, strlen(id)), false);
}

void fake_l3_purge(struct fake_l3 *l3, const char *id)
{
    se__mutex_lock(&l3->lock);
    struct row *row = row_at(l3, se__item_bucket(id, strlen(id)), id, false);
    if (row) {
        size_t at = (size_t)(row - l3->rows);
        memmove(row, row + 1, (--l3->n - at) * sizeof *row);
    }
    se__mutex_unlock(&l3->lock);
}

size_t fake_l3_live(struct fake_l3 *l3, uint32_t bucket_first, uint32_t bucket_last)
{
    size_t n = 0;
    se__mutex_lock(&l3->lock);
    for (size_t i = find(l3, bucket_first, ""); i < l3->n && l3->rows[i].bucket <= bucket_last; i++)
        n += l3->rows[i].live;
    se__mutex_unlock(&l3->lock);
    return n;
}

/* ---- calls ---- */

/* The fault that is due, or a fine reply; leaves with the lock held. */
static struct tier_reply enter(struct fake_l3 *l3, enum fake_call call)
{
    se__mutex_lock(&l3->lock);
    unsigned number = ++l3->calls[call];
    void (*hook)(void *, enum fake_call, unsigned) = l3->hook;
    void *arg = l3->hook_arg;
    se__mutex_unlock(&l3->lock);
    if (hook)
        hook(arg, call, number);
    se__mutex_lock(&l3->lock);
    struct fault *fault = &l3->faults[call];
    if (fault->skip > 0) {
        fault->skip--;
    } else if (fault->count > 0) {
        fault->count--;
        se__error(SE_ERR_BACKEND, "the fake fails as told");
        return fault->reply;
    }
    return se__tier_fine();
}

static void note(struct fake_l3 *l3, const struct tier_survey *s, const struct row *row)
{
    struct fake_l3_seen *seen = &l3->seen;
    seen->ids++;
    seen->live_only &= s->live_only;
    seen->bucket_lowest = row->bucket < seen->bucket_lowest ? row->bucket : seen->bucket_lowest;
    seen->bucket_highest = row->bucket > seen->bucket_highest ? row->bucket : seen->bucket_highest;
}

/* False: without memory. */
static bool take(struct fake_l3 *l3, const struct tier_survey *s, struct tier_cursor *c,
                 struct tier_sights *sights)
{
    size_t at = find(l3, c->begun ? c->bucket : s->bucket_first, c->begun ? c->after.data : "");
    if (c->begun && at < l3->n && compare(&l3->rows[at], c->bucket, c->after.data) == 0)
        at++;
    for (; at < l3->n && l3->rows[at].bucket <= s->bucket_last && sights->n < s->items_max; at++) {
        const struct row *row = &l3->rows[at];
        if (s->live_only && !row->live)
            continue;
        struct tier_sight *sight = se__sights_add(sights, row->id, strlen(row->id));
        if (!sight)
            return false;
        sight->found = TIER_HIT;
        note(l3, s, row);
        c->begun = true;
        c->bucket = row->bucket;
        se__buf_clear(&c->after);
        se__buf_append(&c->after, row->id, strlen(row->id) + 1);
    }
    c->done = at == l3->n || l3->rows[at].bucket > s->bucket_last;
    se__sights_finish(sights);
    return !c->after.failed;
}

static struct tier_reply survey(void *tier, const struct tier_survey *s, struct tier_cursor *cursor,
                                struct tier_sights *sights, uint64_t deadline_ms)
{
    struct fake_l3 *l3 = tier;
    (void)deadline_ms;
    struct tier_reply reply = enter(l3, FAKE_SURVEY);
    l3->seen.surveys++;
    l3->seen.only_ids &= s->depth == TIER_IDS && s->order == TIER_BY_BUCKET && s->items_max > 0;
    se__sights_clear(sights);
    if (reply.fault == TIER_FINE && !take(l3, s, cursor, sights)) {
        se__error_nomem();
        reply = (struct tier_reply){.fault = TIER_UNWELL};
    }
    se__mutex_unlock(&l3->lock);
    return reply;
}

static void add_leaf(struct tier_node *node, const struct row *row)
{
    uint8_t hash[SE_HASH_SIZE] = {0}, leaf[SE_HASH_SIZE];
    se__item_leaf(row->id, strlen(row->id), row->version, hash, leaf);
    for (size_t i = 0; i < SE_HASH_SIZE; i++)
        node->digest[i] ^= leaf[i];
    node->count++;
}

static struct tier_reply digest(void *tier, const struct tier_digest *d, struct tier_node *nodes,
                                uint64_t deadline_ms)
{
    struct fake_l3 *l3 = tier;
    (void)deadline_ms;
    struct tier_reply reply = enter(l3, FAKE_DIGEST);
    uint32_t first = d->bucket_first >> d->shift, last = d->bucket_last >> d->shift;
    l3->seen.digests++;
    memset(nodes, 0, (last - first + 1) * sizeof *nodes);
    for (size_t i = 0; reply.fault == TIER_FINE && i < l3->n; i++) {
        const struct row *row = &l3->rows[i];
        if (row->live && row->bucket >= d->bucket_first && row->bucket <= d->bucket_last)
            add_leaf(&nodes[(row->bucket >> d->shift) - first], row);
    }
    se__mutex_unlock(&l3->lock);
    return reply;
}

/* ---- life and script ---- */

struct fake_l3 *fake_l3_open(void)
{
    struct fake_l3 *l3 = calloc(1, sizeof *l3);
    if (!l3)
        abort();
    l3->ops = (struct tier_ops){.name = "fake", .survey = survey, .digest = digest};
    l3->seen = NOTHING;
    se__mutex_init(&l3->lock);
    return l3;
}

void fake_l3_close(struct fake_l3 *l3)
{
    se__mutex_done(&l3->lock);
    free(l3->rows);
    free(l3);
}

struct tier fake_l3_tier(struct fake_l3 *l3)
{
    return (struct tier){.ops = &l3->ops, .self = l3};
}

void fake_l3_hook(struct fake_l3 *l3, void (*hook)(void *arg, enum fake_call call, unsigned number),
                  void *arg)
{
    se__mutex_lock(&l3->lock);
    l3->hook = hook;
    l3->hook_arg = arg;
    l3->calls[FAKE_SURVEY] = l3->calls[FAKE_DIGEST] = 0;
    se__mutex_unlock(&l3->lock);
}

void fake_l3_fail(struct fake_l3 *l3, enum fake_call call, unsigned skip, unsigned count,
                  struct tier_reply reply)
{
    se__mutex_lock(&l3->lock);
    l3->faults[call] = (struct fault){skip, count, reply};
    se__mutex_unlock(&l3->lock);
}

struct fake_l3_seen fake_l3_seen(struct fake_l3 *l3)
{
    se__mutex_lock(&l3->lock);
    struct fake_l3_seen seen = l3->seen;
    l3->seen = NOTHING;
    se__mutex_unlock(&l3->lock);
    return seen;
}
