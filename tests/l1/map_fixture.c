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
    size_t entries, used, unevictable, live, dirty, dead, listed, mortal;
};

static void recount_chain(const struct l1 *map, const struct entry *e, struct recount *r)
{
    for (; e; e = e->chain) {
        r->entries++;
        r->used += se__entry_bytes(e);
        r->unevictable += se__entry_evictable(map, e) ? 0 : se__entry_bytes(e);
        r->live += !e->hidden && !se__item_deleted(e->item);
        r->dirty += e->queued || e->flight;
        r->dead += e->dead;
        r->listed += e->listed;
        r->mortal += se__entry_mortal(map, e);
        cr_assert_eq(e->listed, se__entry_evictable(map, e));
    }
}

static size_t list_length(const struct stripe *s)
{
    size_t n = 0;
    const struct entry *before = NULL;
    for (const struct entry *e = s->oldest; e; before = e, e = e->newer, n++)
        cr_assert_eq(e->older, before);
    cr_assert_eq(s->newest, before);
    return n;
}

static void recount_stripe(const struct l1 *map, const struct stripe *s, struct recount *sum)
{
    struct recount r = {0};
    for (size_t i = 0; i <= s->mask; i++)
        recount_chain(map, s->table[i], &r);
    for (size_t i = s->old_at; s->old && i <= s->old_mask; i++)
        recount_chain(map, s->old[i], &r);
    cr_assert_eq(r.entries, s->entries);
    cr_assert_eq(r.listed, list_length(s));
    cr_assert_eq(r.mortal, s->mortal);
    sum->used += r.used + se__stripe_table_bytes(s);
    sum->unevictable += r.unevictable;
    sum->live += r.live;
    sum->dirty += r.dirty;
    sum->dead += r.dead;
}

void check_account(struct fixture *f)
{
    const struct l1 *map = f->map;
    unsigned stripes = 1u << map->stripe_bits;
    struct recount sum = {.used = se__l1_cost(sizeof *map) +
                                  se__l1_cost(stripes * sizeof(struct stripe))};
    for (unsigned i = 0; i < stripes; i++)
        recount_stripe(map, &map->stripes[i], &sum);
    struct l1_stats stats = stats_of(f);
    cr_assert_eq(stats.bytes, sum.used, "used %zu, counted %zu", stats.bytes, sum.used);
    cr_assert_eq(stats.unevictable_bytes, sum.unevictable, "unevictable %zu, counted %zu",
                 stats.unevictable_bytes, sum.unevictable);
    cr_assert_eq(stats.items, sum.live);
    cr_assert_eq(stats.dirty_items, sum.dirty);
    cr_assert_eq(stats.dead_items, sum.dead);
    cr_assert(stats.bytes <= map->bytes_max);
}

uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
