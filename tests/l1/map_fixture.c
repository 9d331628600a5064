/*
 * map_fixture - see map_fixture.h.
 */
#include "map_fixture.h"

#include <string.h>

static void push(void *arg, struct dirty_node *node, bool front)
{
    struct fixture *f = arg;
    se__mutex_lock(&f->lock);
    struct dirty_node **at = &f->front;
    while (!front && *at)
        at = &(*at)->next;
    node->next = *at;
    *at = node;
    f->queued++;
    se__mutex_unlock(&f->lock);
}

void fixture_open(struct fixture *f, size_t bytes_max, bool resident)
{
    *f = (struct fixture){0};
    se__mutex_init(&f->lock);
    cr_assert_eq(se__metrics_open(&f->metrics), SE_OK);
    struct l1_options options = {.bytes_max = bytes_max,
                                 .seed = 42,
                                 .sink = {.arg = f, .push = push},
                                 .metrics = f->metrics,
                                 .resident = resident};
    cr_assert_eq(se__l1_open(&options, &f->map), SE_OK, "%s", se_errmsg());
}

void fixture_close(struct fixture *f)
{
    se__l1_close(f->map);
    se__metrics_close(f->metrics);
    se__mutex_done(&f->lock);
}

se_item *fixture_take(struct fixture *f, uint64_t *first_ms)
{
    se__mutex_lock(&f->lock);
    struct dirty_node *node = f->front;
    if (node) {
        f->front = node->next;
        f->queued--;
        if (first_ms)
            *first_ms = node->first_ms;
    }
    se__mutex_unlock(&f->lock);
    return node ? se__l1_take(f->map, node) : NULL;
}

se_item *make_item(const char *id, uint64_t version, size_t content_len)
{
    char *content = se__alloc_zeroed(1, content_len + 1);
    cr_assert_not_null(content);
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
                             .content = content,
                             .content_len = content_len,
                             .version = version,
                             .content_type = SE_CONTENT_BINARY};
    se_item *item = se__item_new(&spec);
    cr_assert_not_null(item);
    se__free(content);
    return item;
}

se_item *make_tombstone(const char *id, uint64_t version)
{
    struct item_spec spec = {.id = id, .id_len = strlen(id), .version = version, .deleted = true};
    se_item *item = se__item_new(&spec);
    cr_assert_not_null(item);
    return item;
}

uint64_t hash_of(struct fixture *f, const char *id)
{
    return se__l1_hash(f->map, id, strlen(id));
}

struct l1_put_result put_item(struct fixture *f, se_item *item, const struct l1_put *how)
{
    struct l1_ticket ticket;
    struct l1_put_result result;
    const char *id = se_item_id(item);
    cr_assert_eq(se__l1_prepare(f->map, strlen(id), se__item_size(item), &ticket), SE_OK, "%s",
                 se_errmsg());
    se__l1_put(f->map, hash_of(f, id), item, &ticket, how, &result);
    if (result.renew)
        se__l1_cancel(f->map, &ticket);
    cr_assert(ticket.bytes == 0 && !ticket.entry, "used up");
    return result;
}

static struct l1_put_result put_new(struct fixture *f, const char *id, uint64_t version, size_t len,
                                    bool dirty)
{
    se_item *item = make_item(id, version, len);
    struct l1_put_result result = put_item(f, item, &(struct l1_put){.dirty = dirty});
    se_item_release(item);
    return result;
}

struct l1_put_result put(struct fixture *f, const char *id, uint64_t version)
{
    return put_new(f, id, version, 10, true);
}

struct l1_put_result put_clean(struct fixture *f, const char *id, uint64_t version, size_t len)
{
    return put_new(f, id, version, len, false);
}

void put_and_flush(struct fixture *f, const char *id, uint64_t version, size_t len)
{
    cr_assert_eq(put_new(f, id, version, len, true).stored, L1_STORED);
    se_item *item = fixture_take(f, NULL);
    cr_assert_not_null(item);
    se__l1_home(f->map, item);
    se__l1_unpin(f->map, item);
    se_item_release(item);
}

uint64_t shown(struct fixture *f, const char *id)
{
    se_item *item = se__l1_get(f->map, hash_of(f, id), id, strlen(id));
    uint64_t version = item ? se_item_version(item) : 0;
    se_item_release(item);
    return version;
}

void written_and_evicted(struct fixture *f, uint64_t version)
{
    put_and_flush(f, "a", version, 10);
    se__l1_unreserve(f->map, se__l1_evict(f->map, SIZE_MAX));
    cr_assert_eq(shown(f, "a"), 0);
}

uint64_t load(struct fixture *f, const char *id, uint64_t version)
{
    bool unchanged;
    se_item *item = make_item(id, version, 10);
    uint64_t epoch = se__l1_epoch(f->map, hash_of(f, id));
    se_item *newest = se__l1_promote(f->map, hash_of(f, id), item, epoch, &unchanged);
    cr_assert(unchanged);
    uint64_t got = se_item_version(newest);
    se_item_release(newest);
    se_item_release(item);
    return got;
}

void invalidate(struct fixture *f, const char *id)
{
    se__l1_invalidate(f->map, hash_of(f, id), id, strlen(id));
}

struct l1_stats stats_of(struct fixture *f)
{
    struct l1_stats stats;
    se__l1_stats(f->map, &stats);
    return stats;
}

/* ---- the account, counted anew ---- */

struct recount {
    size_t used, unevictable, live, dirty, dead, detached_bytes;
};

static void recount_entry(const struct l1 *map, const struct entry *e, struct recount *r)
{
    const struct flush_state *f = e->flush;
    r->used += se__entry_bytes(e);
    r->unevictable += se__entry_evictable(map, e) ? 0 : se__entry_bytes(e);
    r->live += !se__entry_hidden(e) && !se__item_deleted(e->item);
    r->dirty += f && (f->queued || f->flight);
    r->dead += f && f->dead;
    cr_assert(!f || !se__flush_clean(f) || e->slot == NO_SLOT, "the state ends with the flush");
    cr_assert(!f || atomic_load(&f->shown) == (f->hidden ? NULL : f->item));
}

/* Every entry is where a lookup finds it, and every evictable one is in a queue, once. */
static void recount_table(const struct l1 *map, const struct stripe *s, struct recount *r)
{
    const struct table *t = se__stripe_table(s);
    uint32_t used = 0, listed = 0;
    for (uint32_t slot = 0; slot < se__table_slots(t); slot++) {
        struct entry e, found;
        listed += se__table_listed(t, slot);
        if (!se__stripe_at(s, slot, &e))
            continue;
        used++;
        recount_entry(map, &e, r);
        cr_assert(!se__entry_evictable(map, &e) || se__table_listed(t, slot), "not to be evicted");
        cr_assert(se__stripe_find(s, se__l1_hash(map, se_item_id(e.item), se__item_id_len(e.item)),
                                  se_item_id(e.item), se__item_id_len(e.item), &found));
        cr_assert_eq(found.slot, slot);
    }
    cr_assert_eq(used, t->used);
    cr_assert_eq(listed, t->small.n + t->main.n);
    r->used += t->cost;
}

static void recount_loose(const struct l1 *map, struct stripe *s, struct recount *r)
{
    uint32_t n = 0;
    for (struct flush_state *f = se__stripe_loose(s); f; f = atomic_load(&f->loose), n++) {
        struct entry e;
        se__stripe_find_flush(s, f, &e);
        recount_entry(map, &e, r);
    }
    cr_assert_eq(n, s->loose_entries);
}

static void recount_stripe(const struct l1 *map, struct stripe *s, struct recount *r)
{
    recount_table(map, s, r);
    recount_loose(map, s, r);
    r->used += s->limbo_bytes;
    for (size_t i = 0; i < s->detached_n; i++)
        r->detached_bytes += se__item_size(s->detached[i]);
}

void check_account(struct fixture *f)
{
    struct l1 *map = f->map;
    unsigned stripes = 1u << map->stripe_bits;
    struct recount sum = {.used = map->fixed_bytes - stripes * se__table_cost(1)};
    for (unsigned i = 0; i < stripes; i++)
        recount_stripe(map, &map->stripes[i], &sum);
    for (unsigned i = 0; i <= map->account_mask; i++)
        for (unsigned k = 0; k < map->accounts[i].limbo_n; k++)
            sum.used += se__item_size((const se_item *)map->accounts[i].limbo[k].what);
    sum.used += se__depot_bytes(&map->depot);
    struct l1_stats stats = stats_of(f);
    cr_assert_eq(stats.bytes, sum.used, "used %zu, counted %zu", stats.bytes, sum.used);
    cr_assert_eq(stats.unevictable_bytes, sum.unevictable, "unevictable %zu, counted %zu",
                 stats.unevictable_bytes, sum.unevictable);
    cr_assert_eq(stats.items, sum.live);
    cr_assert_eq(stats.dirty_items, sum.dirty);
    cr_assert_eq(stats.dead_items, sum.dead);
    cr_assert_eq(stats.detached_bytes, sum.detached_bytes);
    cr_assert(stats.bytes <= map->bytes_max);
}

uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
