/*
 * fake_tier_ops - see fake_tier_ops.h: rows in one sorted array, and what each of a tier's operations does to them after the gate and
 * the rules have had their say.
 */
#include "support/fake_tier_ops.h"

#include "base/mem.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *grown(void *array, size_t n, size_t *cap, size_t each)
{
    if (n < *cap)
        return array;
    *cap = *cap ? *cap * 2 : 64;
    array = se__realloc(array, *cap * each);
    if (!array)
        abort();
    return array;
}

/* ---- rows ---- */

size_t fake_tier_find_row(const struct fake_tier *f, const char *id, bool *found)
{
    size_t from = 0, to = f->rows_n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = strcmp(se_item_id(f->rows[middle].item), id);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    *found = false;
    return from;
}

static void insert_row(struct fake_tier *f, size_t at, se_item *item, enum record_kind kind)
{
    f->rows = grown(f->rows, f->rows_n, &f->rows_cap, sizeof *f->rows);
    memmove(&f->rows[at + 1], &f->rows[at], (f->rows_n - at) * sizeof *f->rows);
    f->rows[at] = (struct row){.item = se_item_retain(item), .kind = kind};
    f->rows_n++;
}

static void remove_row(struct fake_tier *f, size_t at)
{
    se_item_release(f->rows[at].item);
    f->rows_n--;
    memmove(&f->rows[at], &f->rows[at + 1], (f->rows_n - at) * sizeof *f->rows);
}

uint64_t fake_tier_put_row(struct fake_tier *f, se_item *item, enum record_kind kind)
{
    bool found;
    size_t at = fake_tier_find_row(f, se_item_id(item), &found);
    if (!found && se_item_version(item) <= f->purged)
        return f->purged;
    if (!found) {
        insert_row(f, at, item, kind);
        return 0;
    }
    if (se__item_compare(f->rows[at].item, item) > 0)
        return se_item_version(f->rows[at].item);
    se_item_retain(item);
    se_item_release(f->rows[at].item);
    f->rows[at] = (struct row){.item = item, .kind = kind};
    return 0;
}

se_item *fake_tier_row_item(const struct row *row)
{
    if (row->kind != RECORD_TOMBSTONE || se__item_deleted(row->item))
        return se_item_retain(row->item);
    struct item_spec spec = {.id = se_item_id(row->item),
                             .id_len = se__item_id_len(row->item),
                             .version = se_item_version(row->item),
                             .updated_at_ms = se_item_updated_at_ms(row->item),
                             .route = se__item_route(row->item),
                             .deleted = true};
    return se__item_new(&spec);
}

/* ---- a call's beginning and end ---- */

static struct tier_reply said(struct tier_reply reply, const char *what)
{
    se__error(SE_ERR_BACKEND, "fake: %s (%d)", what, reply.code);
    return reply;
}

static bool pass_gate_locked(struct fake_tier *f, unsigned class, uint64_t deadline_ms)
{
    bool in_time = true;
    if (!(f->gate & class))
        return true;
    f->held++;
    se__cond_broadcast(&f->changed);
    while ((f->gate & class) && in_time)
        in_time = se__cond_wait_until(&f->changed, &f->lock, deadline_ms);
    f->held--;
    return in_time;
}

static struct rule *match_rule_locked(struct fake_tier *f, unsigned class)
{
    for (size_t i = 0; i < f->rules_n; i++) {
        struct rule *rule = &f->rules[i];
        if (!(rule->classes & class) || !rule->count)
            continue;
        if (rule->skip) {
            rule->skip--;
            return NULL;
        }
        if (rule->count != UINT_MAX)
            rule->count--;
        return rule;
    }
    return NULL;
}

/* Locks. *late: the call does its work before it fails. */
static struct tier_reply begin(struct fake_tier *f, unsigned class, uint64_t deadline_ms,
                               bool *late)
{
    *late = false;
    se__mutex_lock(&f->lock);
    if (class == FAKE_WRITE)
        f->began_writes++;
    if (!pass_gate_locked(f, class, deadline_ms))
        return said((struct tier_reply){.fault = TIER_UNWELL, .timed_out = true},
                    "no answer in time");
    if (f->down)
        return said((struct tier_reply){.fault = TIER_UNWELL, .code = 2002}, "down");
    struct rule *rule = match_rule_locked(f, class);
    if (!rule)
        return se__tier_fine();
    *late = rule->late;
    return said(rule->reply, "scripted");
}

static struct tier_reply end(struct fake_tier *f, unsigned class, struct tier_reply reply)
{
    f->calls[__builtin_ctz(class)]++;
    se__cond_broadcast(&f->changed);
    se__mutex_unlock(&f->lock);
    return reply;
}

/* ---- operations ---- */

static void check_order(struct fake_tier *f, const struct tier_write *writes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool sorted =
            i == 0 || strcmp(se_item_id(writes[i - 1].item), se_item_id(writes[i].item)) < 0;
        bool kind = writes[i].kind >= RECORD_ITEM && writes[i].kind <= RECORD_FLOOR;
        f->insane = f->insane || !sorted || !kind;
    }
}

static bool refuses(struct fake_tier *f, const struct tier_write *writes, size_t n)
{
    for (size_t i = 0; f->bad && i < n; i++) {
        if (f->bad(f->bad_arg, writes[i].item))
            return true;
    }
    return false;
}

static void note_write(struct fake_tier *f, unsigned worker, const struct tier_write *write)
{
    f->written = grown(f->written, f->written_n, &f->written_cap, sizeof *f->written);
    struct fake_write *note = &f->written[f->written_n++];
    *note = (struct fake_write){.call = f->began_writes,
                                .worker = worker,
                                .version = se_item_version(write->item),
                                .kind = write->kind,
                                .state = write->state};
    snprintf(note->id, sizeof note->id, "%s", se_item_id(write->item));
}

static void apply(struct fake_tier *f, unsigned worker, struct tier_write *writes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        writes[i].newer = fake_tier_put_row(f, writes[i].item, writes[i].kind);
        writes[i].state = writes[i].newer ? TIER_NEWER : TIER_STORED;
        note_write(f, worker, &writes[i]);
    }
}

static struct tier_reply fake_write(void *tier, unsigned worker, struct tier_write *writes,
                                    size_t n, uint64_t deadline_ms)
{
    struct fake_tier *f = tier;
    bool late;
    struct tier_reply reply = begin(f, FAKE_WRITE, deadline_ms, &late);
    check_order(f, writes, n);
    if (reply.fault == TIER_FINE && refuses(f, writes, n))
        return end(
            f, FAKE_WRITE,
            said((struct tier_reply){.fault = TIER_REFUSED, .code = f->bad_code}, "refused"));
    if (reply.fault == TIER_FINE || late)
        apply(f, worker, writes, n);
    return end(f, FAKE_WRITE, reply);
}

static struct tier_reply fake_read(void *tier, struct tier_read *reads, size_t n,
                                   uint64_t deadline_ms)
{
    struct fake_tier *f = tier;
    bool late, found;
    struct tier_reply reply = begin(f, FAKE_READ, deadline_ms, &late);
    for (size_t i = 0; reply.fault == TIER_FINE && i < n; i++) {
        size_t at = fake_tier_find_row(f, reads[i].id, &found);
        reads[i].seen_len = 0;
        reads[i].item = NULL;
        reads[i].found = !found                             ? TIER_ABSENT
                         : f->rows[at].kind == RECORD_FLOOR ? TIER_VOID
                                                            : TIER_HIT;
        if (reads[i].found == TIER_HIT)
            reads[i].item = fake_tier_row_item(&f->rows[at]);
    }
    return end(f, FAKE_READ, reply);
}

static bool in_scan(const struct row *row, const struct tier_scan *scan)
{
    if (row->kind != RECORD_ITEM || se__item_expired(row->item, se__wall_ms()))
        return false;
    if (scan->after && strcmp(se_item_id(row->item), scan->after) <= 0)
        return false;
    if (scan->state)
        return strcmp(se_item_state(row->item), scan->state) == 0;
    return strncmp(se_item_id(row->item), scan->prefix, strlen(scan->prefix)) == 0;
}

static struct tier_reply fake_scan(void *tier, const struct tier_scan *scan, struct tier_page *page,
                                   uint64_t deadline_ms)
{
    struct fake_tier *f = tier;
    bool late;
    struct tier_reply reply = begin(f, FAKE_SCAN, deadline_ms, &late);
    *page = (struct tier_page){0};
    size_t bytes = 0, cap = 0;
    for (size_t i = 0; reply.fault == TIER_FINE && i < f->rows_n && !page->more; i++) {
        if (!in_scan(&f->rows[i], scan))
            continue;
        if (page->n == scan->items_max || (page->n && bytes >= scan->bytes_max)) {
            page->more = true;
            break;
        }
        page->items = grown(page->items, page->n, &cap, sizeof *page->items);
        page->items[page->n++] = se_item_retain(f->rows[i].item);
        bytes += se_item_content_len(f->rows[i].item);
    }
    return end(f, FAKE_SCAN, reply);
}

static struct tier_reply fake_count(void *tier, const struct tier_scan *scan, uint64_t *count,
                                    uint64_t deadline_ms)
{
    struct fake_tier *f = tier;
    bool late;
    struct tier_reply reply = begin(f, FAKE_SCAN, deadline_ms, &late);
    *count = 0;
    for (size_t i = 0; i < f->rows_n; i++)
        *count += in_scan(&f->rows[i], scan);
    return end(f, FAKE_SCAN, reply);
}

static struct tier_reply fake_list(void *tier, const char *prefix, struct tier_ids *ids,
                                   uint64_t deadline_ms)
{
    struct fake_tier *f = tier;
    bool late;
    struct tier_reply reply = begin(f, FAKE_SCAN, deadline_ms, &late);
    *ids = (struct tier_ids){0};
    size_t cap = 0;
    for (size_t i = 0; reply.fault == TIER_FINE && i < f->rows_n; i++) {
        if (!in_scan(&f->rows[i], &(struct tier_scan){.prefix = prefix}))
            continue;
        ids->ids = grown(ids->ids, ids->n, &cap, sizeof *ids->ids);
        ids->ids[ids->n++] = se__strdup(se_item_id(f->rows[i].item));
    }
    return end(f, FAKE_SCAN, reply);
}

static struct tier_reply fake_purge(void *tier, size_t limit, size_t *purged, uint64_t deadline_ms)
{
    struct fake_tier *f = tier;
    bool late;
    struct tier_reply reply = begin(f, FAKE_SCAN, deadline_ms, &late);
    *purged = 0;
    for (size_t i = 0; reply.fault == TIER_FINE && i < f->rows_n && *purged < limit;) {
        if (f->rows[i].kind != RECORD_TOMBSTONE) {
            i++;
            continue;
        }
        uint64_t version = se_item_version(f->rows[i].item);
        f->purged = version > f->purged ? version : f->purged;
        remove_row(f, i);
        ++*purged;
    }
    return end(f, FAKE_SCAN, reply);
}

static struct tier_reply fake_probe(void *tier, uint64_t deadline_ms)
{
    bool late;
    struct tier_reply reply = begin(tier, FAKE_PROBE, deadline_ms, &late);
    return end(tier, FAKE_PROBE, reply);
}

static se_result fake_prepare(void *tier, uint64_t deadline_ms)
{
    bool late;
    struct tier_reply reply = begin(tier, FAKE_PREPARE, deadline_ms, &late);
    (void)end(tier, FAKE_PREPARE, reply);
    return reply.fault == TIER_FINE ? SE_OK : SE_ERR_BACKEND;
}

/* ---- meta ---- */

static struct meta *find_meta(struct fake_tier *f, const char *name)
{
    for (size_t i = 0; i < f->metas_n; i++) {
        if (strcmp(f->metas[i].name, name) == 0)
            return &f->metas[i];
    }
    return NULL;
}

static void set_meta(struct fake_tier *f, const char *name, const char *value)
{
    struct meta *meta = find_meta(f, name);
    if (!meta) {
        f->metas = se__realloc(f->metas, (f->metas_n + 1) * sizeof *f->metas);
        if (!f->metas)
            abort();
        meta = &f->metas[f->metas_n++];
        *meta = (struct meta){.name = se__strdup(name)};
    }
    se__free(meta->value);
    meta->value = se__strdup(value);
}

static struct tier_reply fake_meta_get(void *tier, const char *name, struct buf *value, bool *found,
                                       uint64_t deadline_ms)
{
    struct fake_tier *f = tier;
    bool late;
    struct tier_reply reply = begin(f, FAKE_META, deadline_ms, &late);
    struct meta *meta = reply.fault == TIER_FINE ? find_meta(f, name) : NULL;
    *found = meta != NULL;
    if (meta)
        se__buf_text(value, meta->value);
    return end(f, FAKE_META, reply);
}

static struct tier_reply fake_meta_put(void *tier, const char *name, const char *value,
                                       uint64_t deadline_ms)
{
    struct fake_tier *f = tier;
    bool late;
    struct tier_reply reply = begin(f, FAKE_META, deadline_ms, &late);
    if (reply.fault == TIER_FINE)
        set_meta(f, name, value);
    return end(f, FAKE_META, reply);
}

static struct tier_reply fake_meta_add(void *tier, const char *name, const char *value,
                                       struct buf *value_now, uint64_t deadline_ms)
{
    struct fake_tier *f = tier;
    bool late;
    struct tier_reply reply = begin(f, FAKE_META, deadline_ms, &late);
    if (reply.fault == TIER_FINE) {
        if (!find_meta(f, name))
            set_meta(f, name, value);
        se__buf_text(value_now, find_meta(f, name)->value);
    }
    return end(f, FAKE_META, reply);
}

static struct tier_reply fake_meta_delete(void *tier, const char *name, uint64_t deadline_ms)
{
    struct fake_tier *f = tier;
    bool late;
    struct tier_reply reply = begin(f, FAKE_META, deadline_ms, &late);
    struct meta *meta = reply.fault == TIER_FINE ? find_meta(f, name) : NULL;
    if (meta) {
        se__free(meta->name);
        se__free(meta->value);
        *meta = f->metas[--f->metas_n];
    }
    return end(f, FAKE_META, reply);
}

static struct tier_reply fake_meta_list(void *tier, const char *prefix,
                                        void (*visit)(void *arg, const char *name,
                                                      const char *value),
                                        void *arg, uint64_t deadline_ms)
{
    struct fake_tier *f = tier;
    bool late;
    struct tier_reply reply = begin(f, FAKE_META, deadline_ms, &late);
    for (size_t i = 0; reply.fault == TIER_FINE && i < f->metas_n; i++) {
        if (strncmp(f->metas[i].name, prefix, strlen(prefix)) == 0)
            visit(arg, f->metas[i].name, f->metas[i].value);
    }
    return end(f, FAKE_META, reply);
}

/* ---- what never changes ---- */

static size_t fake_payload_max(void *tier)
{
    (void)tier;
    return 0;
}

static unsigned fake_writers_max(void *tier)
{
    (void)tier;
    return UINT_MAX;
}

static void fake_close(void *tier)
{
    (void)tier; /* the test's: fake_tier_free */
}

const struct tier_ops fake_tier_ops = {
    .prepare = fake_prepare,
    .probe = fake_probe,
    .write = fake_write,
    .read = fake_read,
    .scan = fake_scan,
    .count = fake_count,
    .list = fake_list,
    .meta_get = fake_meta_get,
    .meta_put = fake_meta_put,
    .meta_add = fake_meta_add,
    .meta_delete = fake_meta_delete,
    .meta_list = fake_meta_list,
    .purge = fake_purge,
    .payload_max = fake_payload_max,
    .writers_max = fake_writers_max,
    .close = fake_close,
};
