/*
 * l2.c - see l2.h. The rules are those of src/l2/scripts.c, and swap.c, without bytes and scripts.
 */
#include "sim/l2.h"

#include "base/mem.h"
#include "base/os.h"
#include "sim/l2_inside.h"
#include "sim/sched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK_MS 600000u

struct l2_db sim_l2;
static const struct life *next_life;
static struct l2_key saved[L2_KEYS_MAX];
static unsigned saved_n;

/* ---- keys ---- */

static void drop_key(struct l2_key *keys, unsigned *n, unsigned at)
{
    se_item_release(keys[at].item);
    keys[at] = keys[--*n];
}

struct l2_key *l2_key_of(const char *id)
{
    for (unsigned i = 0; i < sim_l2.keys_n; i++) {
        struct l2_key *key = &sim_l2.keys[i];
        if (strcmp(key->id, id) != 0)
            continue;
        if (key->expires_ns > sim_now_ns())
            return key;
        drop_key(sim_l2.keys, &sim_l2.keys_n, i);
        return NULL;
    }
    return NULL;
}

const struct l2_key *l2_find(const char *id)
{
    return l2_key_of(id);
}

static bool is_mark_of(const struct l2_key *key, uint64_t generation)
{
    return key && key->generation == generation && key->kind != RECORD_LEASE;
}

struct l2_key *l2_room_for(const char *id)
{
    struct l2_key *key = l2_key_of(id);
    if (key)
        return key;
    if (sim_l2.keys_n == L2_KEYS_MAX)
        sim_fail("more than %d keys", L2_KEYS_MAX);
    key = &sim_l2.keys[sim_l2.keys_n++];
    *key = (struct l2_key){0};
    snprintf(key->id, sizeof key->id, "%s", id);
    return key;
}

/* 0: for ever */
static uint64_t life_ms(const struct redis *r, const se_item *item, enum record_kind kind)
{
    if (kind == RECORD_TOMBSTONE)
        return r->tombstone_ms;
    if (kind != RECORD_ITEM)
        return MARK_MS;
    uint64_t ms = se__item_cache_ttl_ms(item);
    int64_t end = se__item_expires_at_ms(item);
    uint64_t left = (uint64_t)(end - sim_wall_ms()) + (r->home ? r->tombstone_ms : 0);
    return end && (ms == 0 || left < ms) ? left : ms;
}

static enum record_kind kind_of(const se_item *item, enum record_kind kind)
{
    if (kind == RECORD_ITEM && se__item_deleted(item))
        return RECORD_TOMBSTONE;
    if (kind == RECORD_ITEM && se__item_expired(item, sim_wall_ms()))
        return RECORD_FLOOR;
    return kind;
}

/* ---- one call ---- */

struct op l2_call(struct redis *r, enum server_call call, uint64_t deadline_ms)
{
    char identity[sizeof r->last];
    unsigned run = sim_l2.run;
    snprintf(identity, sizeof identity, "run%u/repl%u", run, run);
    struct op op = {
        .r = r, .generation = r->generation, .ours = r->home || strcmp(r->accepted, identity) == 0};
    op.x = server_begin(&sim_l2.server, r->life, call, deadline_ms);
    if (op.x.does == DOES_LATER) /* every script carries a deadline: it never happens later */
        op.x.does = DOES_SOME;
    if (sim_l2.run != run) {
        op.x.does = DOES_NOTHING;
        op.x.reply = (struct tier_reply){.fault = TIER_UNWELL, .code = 1};
    }
    if (op.x.does != DOES_NOTHING)
        memcpy(r->last, identity, sizeof identity);
    return op;
}

static struct tier_reply not_accepted(void)
{
    se__error(SE_ERR_BACKEND, "L2: not the server that was accepted");
    return (struct tier_reply){.fault = TIER_UNWELL, .rejected = true};
}

static struct l3_past *past_of(const char *id)
{
    struct l3_past *p = sim_l2.past, *end = p + sim_l2.past_n;
    while (p < end && strcmp(p->id, id) != 0)
        p++;
    if (p == end) {
        sim_l2.past_n++;
        snprintf(p->id, sizeof p->id, "%s", id);
    }
    return p;
}

uint64_t l2_reached(const char *id)
{
    return past_of(id)->version;
}

void l2_store(const struct op *op, se_item *item, enum record_kind kind)
{
    struct l2_key *key = l2_room_for(se_item_id(item));
    kind = kind_of(item, kind);
    if (is_mark_of(key, op->generation) && key->item && se__item_compare(key->item, item) > 0)
        sim_fail("L2: '%s' goes back from version %llu to %llu", key->id,
                 (unsigned long long)se_item_version(key->item),
                 (unsigned long long)se_item_version(item));
    struct l3_past *past = past_of(key->id);
    if (past->version < se_item_version(item))
        past->version = se_item_version(item);
    sim_l2.stored(item);
    uint64_t ms = life_ms(op->r, item, kind);
    se_item_retain(item);
    se_item_release(key->item);
    key->item = item;
    key->kind = kind;
    key->generation = op->generation;
    key->expires_ns = ms ? sim_now_ns() + ms * 1000000 : SIM_FOREVER;
    sim_say("L2 stores '%s' %llu kind %d", key->id, (unsigned long long)se_item_version(item),
            (int)kind);
}

/* ---- the guard ---- */

static void guard(const struct op *op, struct tier_write *w)
{
    const struct l2_key *old = l2_key_of(se_item_id(w->item));
    w->state = TIER_STORED;
    w->newer = 0;
    int order = is_mark_of(old, op->generation) ? se__item_compare(old->item, w->item) : -1;
    if (order > 0) {
        w->state = TIER_NEWER;
        w->newer = se_item_version(old->item);
    } else if (order < 0 || old->kind <= kind_of(w->item, w->kind)) {
        l2_store(op, w->item, w->kind);
    }
}

static struct tier_reply on_write(void *tier, unsigned worker, struct tier_write *writes, size_t n,
                                  uint64_t deadline_ms)
{
    struct redis *r = tier;
    (void)worker;
    struct op op = l2_call(r, CALL_WRITE, deadline_ms);
    for (size_t i = 0; i < n && op.ours && op.x.does != DOES_NOTHING; i++) {
        if (op.x.does == DOES_SOME && sim_pick(2))
            continue;
        if (sim_l2.confirmed && !r->home)
            sim_l2.confirmed(writes[i].item);
        guard(&op, &writes[i]);
    }
    struct tier_reply reply = server_end(&op.x);
    if (reply.fault == TIER_FINE && !op.ours)
        reply = not_accepted();
    for (size_t i = 0; reply.fault != TIER_FINE && i < n; i++)
        writes[i].state = TIER_NOT_TRIED;
    return reply;
}

/* ---- reading ---- */

static void read_one(const struct op *op, struct tier_read *read)
{
    const struct l2_key *key = l2_key_of(read->id);
    read->item = NULL;
    read->seen_len = 0;
    read->found = key ? TIER_VOID : TIER_ABSENT;
    bool current = key && key->generation == op->generation && op->ours;
    if (current && (key->kind == RECORD_ITEM || key->kind == RECORD_TOMBSTONE)) {
        read->found = TIER_HIT;
        read->item = se_item_retain(key->item);
    }
}

static struct tier_reply on_read(void *tier, struct tier_read *reads, size_t n,
                                 uint64_t deadline_ms)
{
    struct redis *r = tier;
    struct op op = l2_call(r, CALL_READ, deadline_ms);
    for (size_t i = 0; i < n; i++) {
        reads[i].item = NULL;
        if (op.x.reply.fault == TIER_FINE)
            read_one(&op, &reads[i]);
        l2_lease_with_read(&op, &reads[i]);
    }
    struct tier_reply reply = server_end(&op.x);
    for (size_t i = 0; reply.fault != TIER_FINE && i < n; i++) {
        se_item_release(reads[i].item);
        reads[i].item = NULL;
    }
    return reply;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct tier_reply on_list(void *tier, const char *prefix, struct tier_ids *ids,
                                 uint64_t deadline_ms)
{
    struct redis *r = tier;
    *ids = (struct tier_ids){0};
    struct op op = l2_call(r, CALL_SCAN, deadline_ms);
    if (op.x.reply.fault == TIER_FINE)
        ids->ids = se__alloc_zeroed(L2_KEYS_MAX, sizeof(char *));
    for (unsigned i = 0; ids->ids && i < sim_l2.keys_n; i++)
        if (sim_l2.keys[i].kind == RECORD_ITEM &&
            strncmp(sim_l2.keys[i].id, prefix, strlen(prefix)) == 0)
            ids->ids[ids->n++] = se__strdup(sim_l2.keys[i].id);
    if (ids->n)
        qsort(ids->ids, ids->n, sizeof *ids->ids, by_text);
    struct tier_reply reply = server_end(&op.x);
    if (reply.fault != TIER_FINE)
        se__tier_ids_done(ids);
    return reply;
}

/* ---- voids ---- */

static void void_one(const struct op *op, const char *id)
{
    struct l2_key *key = l2_key_of(id);
    if (!key || key->generation != op->generation)
        return;
    if (key->kind == RECORD_LEASE)
        drop_key(sim_l2.keys, &sim_l2.keys_n, (unsigned)(key - sim_l2.keys));
    else if (key->kind == RECORD_ITEM)
        l2_store(op, key->item, RECORD_FLOOR);
}

struct tier_reply se__redis_void(struct redis *r, const char *const *ids, size_t n,
                                 uint64_t deadline_ms)
{
    struct op op = l2_call(r, CALL_LEASE, deadline_ms);
    for (size_t i = 0; i < n && op.ours && op.x.does != DOES_NOTHING; i++)
        void_one(&op, ids[i]);
    struct tier_reply reply = server_end(&op.x);
    return reply.fault == TIER_FINE && !op.ours ? not_accepted() : reply;
}

/* ---- identity ---- */

bool se__redis_identity(struct redis *r, char identity[128])
{
    snprintf(identity, 128, "%s", r->last);
    return r->last[0] && (r->home || strcmp(r->last, r->accepted) == 0);
}

void se__redis_accept(struct redis *r, const char *identity, uint64_t generation)
{
    snprintf(r->accepted, sizeof r->accepted, "%s", identity);
    r->generation = generation;
    sim_say("L2 is accepted as %s, generation %llx", identity, (unsigned long long)generation);
}

uint64_t se__redis_generation(struct redis *r)
{
    return r->generation;
}

/* ---- named values ---- */

static struct tier_reply on_meta_get(void *tier, const char *name, struct buf *value, bool *found,
                                     uint64_t deadline_ms)
{
    struct op op = l2_call(tier, CALL_META, deadline_ms);
    *found = op.x.reply.fault == TIER_FINE && meta_get(sim_l2.metas, sim_l2.metas_n, name, value);
    return server_end(&op.x);
}

static struct tier_reply on_meta_put(void *tier, const char *name, const char *value,
                                     uint64_t deadline_ms)
{
    struct op op = l2_call(tier, CALL_META, deadline_ms);
    if (op.x.does == DOES_ALL)
        meta_put(sim_l2.metas, &sim_l2.metas_n, name, value);
    return server_end(&op.x);
}

static struct tier_reply on_meta_add(void *tier, const char *name, const char *value,
                                     struct buf *value_now, uint64_t deadline_ms)
{
    struct op op = l2_call(tier, CALL_META, deadline_ms);
    struct buf there = {0};
    if (op.x.does == DOES_ALL && !meta_get(sim_l2.metas, sim_l2.metas_n, name, &there))
        meta_put(sim_l2.metas, &sim_l2.metas_n, name, value);
    se__buf_done(&there);
    if (op.x.reply.fault == TIER_FINE)
        (void)meta_get(sim_l2.metas, sim_l2.metas_n, name, value_now);
    return server_end(&op.x);
}

static struct tier_reply on_meta_delete(void *tier, const char *name, uint64_t deadline_ms)
{
    struct op op = l2_call(tier, CALL_META, deadline_ms);
    if (op.x.does == DOES_ALL)
        meta_delete(sim_l2.metas, &sim_l2.metas_n, name);
    return server_end(&op.x);
}

static struct tier_reply on_meta_list(void *tier, const char *prefix,
                                      void (*visit)(void *arg, const char *name, const char *value),
                                      void *arg, uint64_t deadline_ms)
{
    struct op op = l2_call(tier, CALL_META, deadline_ms);
    for (unsigned i = 0; op.x.reply.fault == TIER_FINE && i < sim_l2.metas_n; i++)
        if (strncmp(sim_l2.metas[i].name, prefix, strlen(prefix)) == 0)
            visit(arg, sim_l2.metas[i].name, sim_l2.metas[i].value);
    return server_end(&op.x);
}

/* ---- life ---- */

static struct tier_reply on_probe(void *tier, uint64_t deadline_ms)
{
    struct op op = l2_call(tier, CALL_META, deadline_ms);
    return server_end(&op.x);
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
    .name = "redis",
    .prepare = on_prepare,
    .probe = on_probe,
    .write = on_write,
    .read = on_read,
    .list = on_list,
    .meta_get = on_meta_get,
    .meta_put = on_meta_put,
    .meta_add = on_meta_add,
    .meta_delete = on_meta_delete,
    .meta_list = on_meta_list,
    .interrupt = on_interrupt,
    .payload_max = on_payload_max,
    .writers_max = on_writers_max,
    .close = on_close,
};

void l2_connect_as(const struct life *life)
{
    next_life = life;
}

se_result se__redis_open(const struct redis_options *options, struct tier *tier,
                         struct redis **redis)
{
    struct redis *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->life = next_life;
    r->home = options->home;
    uint64_t least = options->tombstone_ms > MARK_MS ? options->tombstone_ms : MARK_MS;
    r->tombstone_ms = least;
    *redis = r;
    *tier = (struct tier){.ops = &ops, .self = r};
    return SE_OK;
}

/* ---- what happens to a Redis ---- */

void l2_lose_key(unsigned nth)
{
    sim_l2.losses++;
    if (sim_l2.keys_n)
        drop_key(sim_l2.keys, &sim_l2.keys_n, nth % sim_l2.keys_n);
}

void l2_flush_all(void)
{
    sim_l2.losses++;
    while (sim_l2.keys_n)
        drop_key(sim_l2.keys, &sim_l2.keys_n, 0);
}

static void copy_keys(struct l2_key *to, unsigned *to_n, const struct l2_key *from, unsigned n)
{
    while (*to_n)
        drop_key(to, to_n, 0);
    for (unsigned i = 0; i < n; i++) {
        to[i] = from[i];
        if (to[i].item)
            se_item_retain(to[i].item);
    }
    *to_n = n;
}

void l2_save(void)
{
    copy_keys(saved, &saved_n, sim_l2.keys, sim_l2.keys_n);
}

void l2_restart(void)
{
    copy_keys(sim_l2.keys, &sim_l2.keys_n, saved, saved_n);
    sim_l2.run++;
}

struct foreign {
    se_item *item;
    uint64_t generation;
    unsigned run, losses;
};

enum { FOREIGN_MAX = 40, FOREIGN_MS_MAX = 30 };
static struct task *foreign_tasks[FOREIGN_MAX];
static unsigned foreign_n;

static void put_foreign(void *arg)
{
    struct foreign *f = arg;
    struct redis other = {.tombstone_ms = MARK_MS};
    struct op op = {.r = &other, .generation = f->generation};
    struct tier_write write = {.item = f->item,
                               .kind = se__item_deleted(f->item) ? RECORD_TOMBSTONE : RECORD_ITEM};
    sim_sleep_ns((uint64_t)sim_pick(FOREIGN_MS_MAX * 1000) * 1000);
    /* After a loss nothing stands in its way but the deadline that every script has. */
    if (f->run == sim_l2.run && f->losses == sim_l2.losses)
        guard(&op, &write);
    se_item_release(f->item);
    free(f);
}

void l2_foreign_put(se_item *item, uint64_t generation)
{
    struct foreign *f = malloc(sizeof *f);
    if (!f)
        abort();
    *f = (struct foreign){se_item_retain(item), generation, sim_l2.run, sim_l2.losses};
    if (foreign_n == FOREIGN_MAX)
        sim_join(foreign_tasks[--foreign_n]);
    foreign_tasks[foreign_n++] = sim_spawn("somebody else", put_foreign, f);
}

void l2_begin(void)
{
    memset(&sim_l2, 0, sizeof sim_l2);
    sim_l2.run = 1;
    server_init(&sim_l2.server, "L2", 400);
}

void l2_end(void)
{
    while (foreign_n)
        sim_join(foreign_tasks[--foreign_n]);
    l2_end_leases();
    l2_flush_all();
    while (saved_n)
        drop_key(saved, &saved_n, 0);
}
