/*
 * match - walks the sorted list of L2's records beside the rows of L3.
 *
 * Both come in id order, so one walk compares everything, and what was compared is always all ids
 * up to `last`. While no suspicion is open that is also how far the run is done; with the first one
 * `through` and the report stay behind until it is resolved.
 */
#include "verify/inside.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

/* What is assumed of a content whose length is not known. */
#define BYTES_UNKNOWN (16u << 10)

struct copy se__copy_of_sight(const struct tier_sight *s)
{
    struct copy c = {.kind = COPY_NONE, .route = s->route, .version = s->version};
    memcpy(c.record_hash, s->record_hash, SE_HASH_SIZE);
    if (s->found == TIER_HIT) {
        c.kind = s->kind == RECORD_TOMBSTONE ? COPY_TOMBSTONE : COPY_LIVE;
    } else if (s->found == TIER_VOID) {
        c.kind = COPY_MARK;
    } else if (s->found == TIER_CORRUPT) {
        c.kind = COPY_CORRUPT;
        c.header_fits = s->flaw.header_fits;
        c.unknown = c.header_fits && s->flaw.pack == TIER_PACK_ENCODING;
        c.version = s->flaw.version;
        memcpy(c.record_hash, s->flaw.record_hash, SE_HASH_SIZE);
    }
    return c;
}

/* ---- suspicions ---- */

static bool grow(struct suspicions *s)
{
    size_t cap = s->cap ? s->cap * 2 : 64;
    struct suspicion *list = s->n < s->cap ? s->list : se__realloc(s->list, cap * sizeof *list);
    if (!list)
        return false;
    s->cap = s->n < s->cap ? s->cap : cap;
    s->list = list;
    return true;
}

static size_t bytes_of(const struct copy *copy, size_t content_len)
{
    if (copy->kind == COPY_CORRUPT && content_len == 0)
        return BYTES_UNKNOWN;
    return copy->kind == COPY_LIVE || copy->kind == COPY_CORRUPT ? content_len : 0;
}

struct pair {
    const char *id;
    size_t id_len;
    struct copy l2, l3;
    size_t l2_len, l3_len;
    bool unreadable;
};

static se_result suspect(struct run *run, const struct pair *p)
{
    struct suspicions *s = &run->open;
    size_t at = s->ids.len;
    se__buf_append(&s->ids, p->id, p->id_len);
    se__buf_append(&s->ids, "", 1);
    if (s->ids.failed || !grow(s))
        return se__error_nomem();
    s->list[s->n++] =
        (struct suspicion){.id_at = at,
                           .id_len = p->id_len,
                           .unreadable = p->unreadable,
                           .l2 = p->l2,
                           .l3 = p->l3,
                           .bytes = bytes_of(&p->l2, p->l2_len) + bytes_of(&p->l3, p->l3_len),
                           .checked = run->merged};
    return s->n < SUSPICIONS_MAX ? SE_OK : se__resolve(run);
}

/* ---- pairs ---- */

static bool holds(const struct copy *c)
{
    return c->kind == COPY_LIVE || c->kind == COPY_CORRUPT;
}

static void advance(struct run *run, const struct pair *p)
{
    run->merged += holds(&p->l2) || holds(&p->l3);
    if (p->unreadable)
        return;
    run->last_len = p->id_len;
    memcpy(run->last, p->id, p->id_len);
    run->last[p->id_len] = '\0';
}

/* `foreign` is asked at the second look: here everything that differs is worth one. */
static se_result take(struct run *run, const struct pair *p)
{
    struct judge_case c = {
        .has_l2 = se__run_has_l2(run), .has_l3 = se__run_has_l3(run), .l2 = p->l2, .l3 = p->l3};
    struct verdict v = se__judge(&c);
    bool was_clear = run->open.n == 0;
    advance(run, p);
    if (!se__verdict_sound(&v))
        return suspect(run, p);
    if (was_clear) {
        memcpy(run->through, run->last, run->last_len + 1);
        run->report->checked = run->merged;
    }
    return SE_OK;
}

static se_result take_listed(struct run *run, size_t at)
{
    struct gathered g;
    se__gather_at(run->gather, at, &g);
    return take(
        run, &(struct pair){.id = g.id, .id_len = g.id_len, .l2 = g.copy, .l2_len = g.content_len});
}

/* ---- rows ---- */

/* False for an id that no call could ask for. Only a damaged row can have such a one. */
static bool is_readable(const struct run *run, const struct tier_sight *row)
{
    size_t len;
    if (row->found != TIER_CORRUPT)
        return true;
    return strlen(row->id) == row->id_len && row->id_len <= SE_ID_MAX &&
           se__id_check("id", row->id, 1, SE_ID_MAX, &len) == SE_OK &&
           se__id_order(row->id, row->id_len, run->last, run->last_len) > 0;
}

/* What the list has before this row. */
static se_result take_before(struct run *run, const struct tier_sight *row, size_t *at)
{
    se_result r = SE_OK;
    struct gathered g;
    while (r == SE_OK && !run->stopped && run->gather && *at < se__gather_n(run->gather)) {
        se__gather_at(run->gather, *at, &g);
        if (se__id_order(g.id, g.id_len, row->id, row->id_len) >= 0)
            break;
        r = take_listed(run, (*at)++);
    }
    return r;
}

static void find_listed(const struct run *run, const struct tier_sight *row, size_t *at,
                        struct pair *p)
{
    struct gathered g;
    if (!run->gather || *at >= se__gather_n(run->gather))
        return;
    se__gather_at(run->gather, *at, &g);
    if (se__id_order(g.id, g.id_len, row->id, row->id_len) != 0)
        return;
    p->l2 = g.copy;
    p->l2_len = g.content_len;
    ++*at;
}

static se_result take_row(struct run *run, const struct tier_sight *row, size_t *at)
{
    struct pair p = {.id = row->id,
                     .id_len = row->id_len,
                     .l3 = se__copy_of_sight(row),
                     .l3_len = row->content_len,
                     .unreadable = !is_readable(run, row)};
    if (p.unreadable)
        return take(run, &p);
    /* SQLite sorts ids of another type behind all; what a sound row's order promises comes from the
     * index, so such a row is none of ours to compare. */
    if (run->last_len > 0 && se__id_order(row->id, row->id_len, run->last, run->last_len) <= 0)
        return SE_OK;
    se_result r = take_before(run, row, at);
    if (r != SE_OK || run->stopped)
        return r;
    find_listed(run, row, at, &p);
    if (p.l3.kind == COPY_LIVE && run->o->row_seen)
        run->o->row_seen(run->o->arg, row->id, row->id_len);
    return take(run, &p);
}

se_result se__match_page(struct run *run, const struct tier_sights *rows, size_t *at)
{
    se_result r = SE_OK;
    for (size_t i = 0; r == SE_OK && !run->stopped && i < rows->n; i++)
        r = take_row(run, &rows->sights[i], at);
    return r;
}

se_result se__match_rest(struct run *run, size_t *at)
{
    se_result r = SE_OK;
    while (r == SE_OK && !run->stopped && run->gather && *at < se__gather_n(run->gather))
        r = take_listed(run, (*at)++);
    return r;
}
