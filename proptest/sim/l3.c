/*
 * l3.c - see l3.h.
 */
#include "sim/l3.h"

#include "base/mem.h"
#include "sim/engines.h"
#include "sim/sched.h"
#include "tier/sights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct l3_db sim_l3;

struct connection {
    const struct life *life;
};

/* ---- rows ---- */

static unsigned find_row(const char *id, bool *found)
{
    unsigned at = 0;
    while (at < sim_l3.rows_n && strcmp(se_item_id(sim_l3.rows[at].item), id) < 0)
        at++;
    *found = at < sim_l3.rows_n && strcmp(se_item_id(sim_l3.rows[at].item), id) == 0;
    return at;
}

static void remember(const se_item *item)
{
    struct l3_past *p = sim_l3.past, *end = p + sim_l3.past_n;
    uint8_t hash[SE_HASH_SIZE];
    uint64_t version = se_item_version(item);
    se__item_record_hash(item, hash);
    while (p < end && strcmp(p->id, se_item_id(item)) != 0)
        p++;
    if (p == end) {
        sim_l3.past_n++;
        snprintf(p->id, sizeof p->id, "%s", se_item_id(item));
    } else if (version < p->version ||
               (version == p->version && memcmp(hash, p->hash, sizeof hash) < 0)) {
        sim_fail("L3: '%s' goes back from version %llu to %llu", p->id,
                 (unsigned long long)p->version, (unsigned long long)version);
    }
    p->version = version;
    memcpy(p->hash, hash, sizeof hash);
}

static void set_row(unsigned at, bool found, se_item *item, enum record_kind kind)
{
    struct l3_row *row = &sim_l3.rows[at];
    if (found) {
        se_item_release(row->item);
    } else {
        memmove(row + 1, row, (sim_l3.rows_n - at) * sizeof *row);
        sim_l3.rows_n++;
    }
    row->item = se_item_retain(item);
    row->kind = kind;
    row->purge_at_ms =
        kind == RECORD_TOMBSTONE ? sim_wall_ms() + (int64_t)sim_l3.retention_s * 1000 : 0;
    remember(item);
}

/* The order of writes, by itself: se__item_compare is under test. */
static bool is_less(const se_item *a, const se_item *b)
{
    uint8_t x[SE_HASH_SIZE], y[SE_HASH_SIZE];
    se__item_record_hash(a, x);
    se__item_record_hash(b, y);
    return se_item_version(a) < se_item_version(b) ||
           (se_item_version(a) == se_item_version(b) && memcmp(x, y, sizeof x) < 0);
}

/* The guard. Returns the version that stands in the way, 0: stored. */
static uint64_t put_row(se_item *item, enum record_kind kind)
{
    bool found;
    unsigned at = find_row(se_item_id(item), &found);
    if (!found && se_item_version(item) <= sim_l3.floor)
        return sim_l3.floor;
    int order = found ? se__item_compare(sim_l3.rows[at].item, item) : -1;
    if (order > 0)
        return se_item_version(sim_l3.rows[at].item);
    if (order < 0) {
        set_row(at, found, item, kind);
        sim_l3.stored(item);
    }
    if (is_less(sim_l3.rows[at].item, item))
        sim_fail("L3: '%s' keeps the lesser of two writes of version %llu", se_item_id(item),
                 (unsigned long long)se_item_version(item));
    return 0;
}

bool l3_put(se_item *item, enum record_kind kind)
{
    return put_row(item, kind) == 0;
}

uint64_t l3_version(const char *id, enum record_kind *kind, const se_item **item)
{
    bool found;
    unsigned at = find_row(id, &found);
    if (!found)
        return 0;
    if (kind)
        *kind = sim_l3.rows[at].kind;
    if (item)
        *item = sim_l3.rows[at].item;
    return se_item_version(sim_l3.rows[at].item);
}

uint64_t l3_reached(const char *id)
{
    for (unsigned i = 0; i < sim_l3.past_n; i++)
        if (strcmp(sim_l3.past[i].id, id) == 0)
            return sim_l3.past[i].version;
    return 0;
}

/* A put that this tier keeps as a tombstone reads as deleted. */
static se_item *row_item(const struct l3_row *row)
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

static bool live(const struct l3_row *row)
{
    return row->kind == RECORD_ITEM && !se__item_expired(row->item, sim_wall_ms());
}

/* ---- writing ---- */

static void check_batch(const struct tier_write *writes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && strcmp(se_item_id(writes[i - 1].item), se_item_id(writes[i].item)) >= 0)
            sim_fail("L3: a batch is not sorted by id");
        if (writes[i].kind != RECORD_ITEM && writes[i].kind != RECORD_TOMBSTONE)
            sim_fail("L3: a write of kind %d", (int)writes[i].kind);
    }
}

static void apply(struct tier_write *writes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        writes[i].newer = put_row(writes[i].item, writes[i].kind);
        writes[i].state = writes[i].newer ? TIER_NEWER : TIER_STORED;
        sim_say("L3 %s '%s' %llu %s", writes[i].newer ? "keeps a newer" : "stores",
                se_item_id(writes[i].item), (unsigned long long)se_item_version(writes[i].item),
                writes[i].kind == RECORD_ITEM ? "" : "(tombstone)");
    }
}

/* A transaction that its client has given up, and that commits all the same: but not when that client's
 * process has died and the next has begun (docs/testing.md, limits). */
struct late {
    unsigned life;
    size_t n;
    struct tier_write writes[];
};

static void commit_late(void *arg)
{
    struct late *l = arg;
    sim_sleep_ns((uint64_t)sim_pick(400) * 1000000);
    if (sim_life_number() == l->life)
        apply(l->writes, l->n);
    for (size_t i = 0; i < l->n; i++)
        se_item_release(l->writes[i].item);
    free(l);
    sim_l3.server.late--;
    server_note(&sim_l3.server);
}

enum { LATE_MAX = 16 };
static struct task *late_tasks[LATE_MAX];
static unsigned late_n;

static void apply_later(unsigned life, const struct tier_write *writes, size_t n)
{
    struct late *l = malloc(sizeof *l + n * sizeof *writes);
    if (!l || late_n == LATE_MAX) {
        free(l);
        return;
    }
    l->life = life;
    l->n = n;
    memcpy(l->writes, writes, n * sizeof *writes);
    for (size_t i = 0; i < n; i++)
        se_item_retain(l->writes[i].item);
    sim_l3.server.late++;
    server_note(&sim_l3.server);
    late_tasks[late_n++] = sim_spawn("late commit", commit_late, l);
}

static bool any_refused(const struct tier_write *writes, size_t n)
{
    for (size_t i = 0; sim_l3.refuses && i < n; i++)
        if (writes[i].kind == RECORD_ITEM && sim_l3.refuses(writes[i].item))
            return true;
    return false;
}

static struct tier_reply on_write(void *tier, unsigned worker, struct tier_write *writes, size_t n,
                                  uint64_t deadline_ms)
{
    struct connection *c = tier;
    (void)worker;
    check_batch(writes, n);
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_WRITE, deadline_ms);
    bool refused = any_refused(writes, n);
    if (refused && x.reply.fault == TIER_FINE)
        x.reply = (struct tier_reply){.fault = TIER_REFUSED, .code = 1406};
    else if (!refused && x.does == DOES_ALL)
        apply(writes, n);
    else if (!refused && x.does == DOES_LATER)
        apply_later(c->life->number, writes, n);
    struct tier_reply reply = server_end(&x);
    for (size_t i = 0; reply.fault != TIER_FINE && i < n; i++)
        writes[i].state = TIER_NOT_TRIED;
    return reply;
}

/* ---- reading ---- */

static struct tier_reply on_read(void *tier, struct tier_read *reads, size_t n,
                                 uint64_t deadline_ms)
{
    struct connection *c = tier;
    bool found;
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_READ, deadline_ms);
    for (size_t i = 0; i < n; i++) {
        unsigned at = find_row(reads[i].id, &found);
        bool answered = found && x.reply.fault == TIER_FINE;
        reads[i].seen_len = 0;
        reads[i].found = answered ? TIER_HIT : TIER_ABSENT;
        reads[i].item = answered ? row_item(&sim_l3.rows[at]) : NULL;
    }
    struct tier_reply reply = server_end(&x);
    for (size_t i = 0; reply.fault != TIER_FINE && i < n; i++) {
        se_item_release(reads[i].item);
        reads[i].item = NULL;
    }
    return reply;
}

static bool in_scan(const struct l3_row *row, const struct tier_scan *scan)
{
    if (!live(row) || (scan->after && strcmp(se_item_id(row->item), scan->after) <= 0))
        return false;
    if (scan->state)
        return strcmp(se_item_state(row->item), scan->state) == 0;
    return strncmp(se_item_id(row->item), scan->prefix, strlen(scan->prefix)) == 0;
}

static struct tier_reply on_scan(void *tier, const struct tier_scan *scan, struct tier_page *page,
                                 uint64_t deadline_ms)
{
    struct connection *c = tier;
    *page = (struct tier_page){0};
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_SCAN, deadline_ms);
    if (x.reply.fault == TIER_FINE)
        page->items = se__alloc_zeroed(L3_ROWS_MAX, sizeof(se_item *));
    for (unsigned i = 0; page->items && i < sim_l3.rows_n && !page->more; i++) {
        if (!in_scan(&sim_l3.rows[i], scan))
            continue;
        if (page->n == scan->items_max)
            page->more = true;
        else
            page->items[page->n++] = se_item_retain(sim_l3.rows[i].item);
    }
    struct tier_reply reply = server_end(&x);
    if (reply.fault != TIER_FINE)
        se__tier_page_done(page);
    return reply;
}

static struct tier_reply on_count(void *tier, const struct tier_scan *scan, uint64_t *count,
                                  uint64_t deadline_ms)
{
    struct connection *c = tier;
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_SCAN, deadline_ms);
    *count = 0;
    for (unsigned i = 0; i < sim_l3.rows_n; i++)
        *count += in_scan(&sim_l3.rows[i], scan);
    return server_end(&x);
}

/* ---- surveys and digests, for the filter ---- */

static bool before(const struct l3_row *row, uint32_t bucket, const char *id)
{
    uint32_t own = se__item_bucket(se_item_id(row->item), se__item_id_len(row->item));
    return own < bucket || (own == bucket && strcmp(se_item_id(row->item), id) <= 0);
}

/* The next row in (bucket, id) order. Few rows: no index. */
static const struct l3_row *next_row(const struct tier_survey *s, const struct tier_cursor *c,
                                     uint32_t *bucket)
{
    const struct l3_row *best = NULL;
    for (unsigned i = 0; i < sim_l3.rows_n; i++) {
        const struct l3_row *row = &sim_l3.rows[i];
        uint32_t own = se__item_bucket(se_item_id(row->item), se__item_id_len(row->item));
        if (own < s->bucket_first || own > s->bucket_last || (s->live_only && !live(row)) ||
            (c->begun && before(row, c->bucket, c->after.data)))
            continue;
        if (best && !before(row, *bucket, se_item_id(best->item)))
            continue;
        best = row;
        *bucket = own;
    }
    return best;
}

static void add_sight(struct tier_sights *sights, struct tier_cursor *c, const struct l3_row *row,
                      uint32_t bucket)
{
    struct tier_sight *sight =
        se__sights_add(sights, se_item_id(row->item), se__item_id_len(row->item));
    if (!sight)
        abort();
    sight->found = TIER_HIT;
    c->begun = true;
    c->bucket = bucket;
    se__buf_clear(&c->after);
    se__buf_append(&c->after, se_item_id(row->item), se__item_id_len(row->item) + 1);
}

static struct tier_reply on_survey(void *tier, const struct tier_survey *s, struct tier_cursor *c,
                                   struct tier_sights *sights, uint64_t deadline_ms)
{
    struct connection *conn = tier;
    uint32_t bucket = 0;
    if (s->order != TIER_BY_BUCKET || s->depth != TIER_IDS)
        sim_fail("L3: a survey that the simulator does not know");
    struct exchange x = server_begin(&sim_l3.server, conn->life, CALL_SCAN, deadline_ms);
    se__sights_clear(sights);
    while (x.reply.fault == TIER_FINE && sights->n < s->items_max && !c->done) {
        const struct l3_row *row = next_row(s, c, &bucket);
        if (row)
            add_sight(sights, c, row, bucket);
        else
            c->done = true;
    }
    se__sights_finish(sights);
    return server_end(&x);
}

static void add_leaf(struct tier_node *node, const struct l3_row *row)
{
    uint8_t hash[SE_HASH_SIZE], leaf[SE_HASH_SIZE];
    se__item_record_hash(row->item, hash);
    se__item_leaf(se_item_id(row->item), se__item_id_len(row->item), se_item_version(row->item),
                  hash, leaf);
    for (size_t i = 0; i < SE_HASH_SIZE; i++)
        node->digest[i] ^= leaf[i];
    node->count++;
}

static struct tier_reply on_digest(void *tier, const struct tier_digest *d, struct tier_node *nodes,
                                   uint64_t deadline_ms)
{
    struct connection *c = tier;
    uint32_t first = d->bucket_first >> d->shift, last = d->bucket_last >> d->shift;
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_SCAN, deadline_ms);
    memset(nodes, 0, (last - first + 1) * sizeof *nodes);
    for (unsigned i = 0; x.reply.fault == TIER_FINE && i < sim_l3.rows_n; i++) {
        const struct l3_row *row = &sim_l3.rows[i];
        uint32_t bucket = se__item_bucket(se_item_id(row->item), se__item_id_len(row->item));
        if (row->kind == RECORD_ITEM && bucket >= d->bucket_first && bucket <= d->bucket_last)
            add_leaf(&nodes[(bucket >> d->shift) - first], row);
    }
    return server_end(&x);
}

/* ---- purge ---- */

static void purge_row(unsigned at)
{
    uint64_t version = se_item_version(sim_l3.rows[at].item);
    sim_l3.floor = version > sim_l3.floor ? version : sim_l3.floor;
    se_item_release(sim_l3.rows[at].item);
    sim_l3.rows_n--;
    memmove(&sim_l3.rows[at], &sim_l3.rows[at + 1], (sim_l3.rows_n - at) * sizeof sim_l3.rows[0]);
}

static struct tier_reply on_purge(void *tier, size_t limit, size_t *purged, uint64_t deadline_ms)
{
    struct connection *c = tier;
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_SCAN, deadline_ms);
    *purged = 0;
    for (unsigned i = 0; x.reply.fault == TIER_FINE && i < sim_l3.rows_n && *purged < limit;) {
        const struct l3_row *row = &sim_l3.rows[i];
        if (row->kind != RECORD_TOMBSTONE || row->purge_at_ms > sim_wall_ms()) {
            i++;
            continue;
        }
        sim_say("L3 purges '%s'", se_item_id(row->item));
        purge_row(i);
        ++*purged;
    }
    return server_end(&x);
}

/* ---- named values ---- */

static unsigned find_meta(const struct l3_meta *metas, unsigned n, const char *name)
{
    unsigned i = 0;
    while (i < n && strcmp(metas[i].name, name) != 0)
        i++;
    return i;
}

bool meta_get(const struct l3_meta *metas, unsigned n, const char *name, struct buf *value)
{
    unsigned i = find_meta(metas, n, name);
    if (i < n)
        se__buf_text(value, metas[i].value);
    return i < n;
}

void meta_put(struct l3_meta *metas, unsigned *n, const char *name, const char *value)
{
    unsigned i = find_meta(metas, *n, name);
    if (i == *n && ++*n > L3_METAS_MAX)
        sim_fail("more than %d named values", L3_METAS_MAX);
    snprintf(metas[i].name, sizeof metas[i].name, "%s", name);
    snprintf(metas[i].value, sizeof metas[i].value, "%s", value);
}

void meta_delete(struct l3_meta *metas, unsigned *n, const char *name)
{
    unsigned i = find_meta(metas, *n, name);
    if (i < *n)
        metas[i] = metas[--*n];
}

static struct tier_reply on_meta_get(void *tier, const char *name, struct buf *value, bool *found,
                                     uint64_t deadline_ms)
{
    struct connection *c = tier;
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_META, deadline_ms);
    *found = x.reply.fault == TIER_FINE && meta_get(sim_l3.metas, sim_l3.metas_n, name, value);
    return server_end(&x);
}

static struct tier_reply on_meta_put(void *tier, const char *name, const char *value,
                                     uint64_t deadline_ms)
{
    struct connection *c = tier;
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_META, deadline_ms);
    if (x.does == DOES_ALL)
        meta_put(sim_l3.metas, &sim_l3.metas_n, name, value);
    return server_end(&x);
}

static struct tier_reply on_meta_add(void *tier, const char *name, const char *value,
                                     struct buf *value_now, uint64_t deadline_ms)
{
    struct connection *c = tier;
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_META, deadline_ms);
    bool there = find_meta(sim_l3.metas, sim_l3.metas_n, name) < sim_l3.metas_n;
    if (x.does == DOES_ALL && !there)
        meta_put(sim_l3.metas, &sim_l3.metas_n, name, value);
    if (x.reply.fault == TIER_FINE)
        (void)meta_get(sim_l3.metas, sim_l3.metas_n, name, value_now);
    return server_end(&x);
}

static struct tier_reply on_meta_delete(void *tier, const char *name, uint64_t deadline_ms)
{
    struct connection *c = tier;
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_META, deadline_ms);
    if (x.does == DOES_ALL)
        meta_delete(sim_l3.metas, &sim_l3.metas_n, name);
    return server_end(&x);
}

static struct tier_reply on_meta_list(void *tier, const char *prefix,
                                      void (*visit)(void *arg, const char *name, const char *value),
                                      void *arg, uint64_t deadline_ms)
{
    struct connection *c = tier;
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_META, deadline_ms);
    for (unsigned i = 0; x.reply.fault == TIER_FINE && i < sim_l3.metas_n; i++)
        if (strncmp(sim_l3.metas[i].name, prefix, strlen(prefix)) == 0)
            visit(arg, sim_l3.metas[i].name, sim_l3.metas[i].value);
    return server_end(&x);
}

/* ---- life ---- */

static struct tier_reply on_probe(void *tier, uint64_t deadline_ms)
{
    struct connection *c = tier;
    struct exchange x = server_begin(&sim_l3.server, c->life, CALL_META, deadline_ms);
    return server_end(&x);
}

static se_result on_prepare(void *tier, uint64_t deadline_ms)
{
    return on_probe(tier, deadline_ms).fault == TIER_FINE ? SE_OK : SE_ERR_BACKEND;
}

static void on_interrupt(void *tier)
{
    (void)tier; /* its calls are short */
}

static size_t on_payload_max(void *tier)
{
    (void)tier;
    return 0;
}

static unsigned on_writers_max(void *tier)
{
    (void)tier;
    return 64;
}

static void on_close(void *tier)
{
    free(tier);
}

static const struct tier_ops ops = {
    .name = "mysql",
    .prepare = on_prepare,
    .probe = on_probe,
    .write = on_write,
    .read = on_read,
    .scan = on_scan,
    .count = on_count,
    .meta_get = on_meta_get,
    .meta_put = on_meta_put,
    .meta_add = on_meta_add,
    .meta_delete = on_meta_delete,
    .meta_list = on_meta_list,
    .purge = on_purge,
    .survey = on_survey,
    .digest = on_digest,
    .interrupt = on_interrupt,
    .payload_max = on_payload_max,
    .writers_max = on_writers_max,
    .close = on_close,
};

struct tier l3_connect(const struct life *life)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->life = life;
    return (struct tier){.ops = &ops, .self = c};
}

void l3_begin(uint32_t retention_s)
{
    memset(&sim_l3, 0, sizeof sim_l3);
    sim_l3.retention_s = retention_s;
    server_init(&sim_l3.server, "L3", 1500);
    late_n = 0;
}

void l3_end(void)
{
    for (unsigned i = 0; i < late_n; i++)
        sim_join(late_tasks[i]);
    for (unsigned i = 0; i < sim_l3.rows_n; i++)
        se_item_release(sim_l3.rows[i].item);
    sim_l3.rows_n = 0;
}
