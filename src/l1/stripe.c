/*
 * stripe - see stripe.h.
 *
 * A table grows by doubling when it has as many entries as buckets. The old table is emptied a few
 * buckets per insert, so no operation pays for all of it; a lookup knows by the bucket's number in
 * which of the two an id is. If there is no room for the bigger table the chains grow longer
 * instead: growing never evicts.
 */
#include "l1/stripe.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

#define BUCKETS_MIN 8u
#define MIGRATE_PER_INSERT 4u
#define REAP_PER_RETIRE 2u

static size_t table_bytes(size_t buckets)
{
    return se__l1_cost(buckets * sizeof(struct entry *));
}

se_result se__stripe_open(struct stripe *s)
{
    s->table = se__alloc_zeroed(BUCKETS_MIN, sizeof *s->table);
    if (!s->table)
        return se__error_nomem();
    s->mask = BUCKETS_MIN - 1;
    se__mutex_init(&s->lock);
    return SE_OK;
}

static void free_table(struct entry **table, size_t from, size_t mask)
{
    for (size_t i = from; table && i <= mask; i++)
        se__l1_free_victims(table[i]);
    se__free(table);
}

void se__stripe_close(struct stripe *s)
{
    if (!s->table)
        return; /* never opened */
    free_table(s->table, 0, s->mask);
    free_table(s->old, s->old_at, s->old_mask);
    se__l1_free_victims(s->detached);
    se__mutex_done(&s->lock);
}

size_t se__stripe_table_bytes(const struct stripe *s)
{
    return table_bytes(s->mask + 1) + (s->old ? table_bytes(s->old_mask + 1) : 0);
}

static struct entry **bucket_of(const struct stripe *s, uint64_t hash)
{
    if (s->old && (hash & s->old_mask) >= s->old_at)
        return &s->old[hash & s->old_mask];
    return &s->table[hash & s->mask];
}

struct entry *se__stripe_find(const struct stripe *s, uint64_t hash, const char *id, size_t id_len)
{
    for (struct entry *e = *bucket_of(s, hash); e; e = e->chain) {
        if (e->node.hash == hash && se__item_id_len(e->item) == id_len &&
            memcmp(se_item_id(e->item), id, id_len) == 0)
            return e;
    }
    return NULL;
}

static void move_bucket(struct stripe *s, struct entry *e)
{
    while (e) {
        struct entry *next = e->chain;
        struct entry **to = &s->table[e->node.hash & s->mask];
        e->chain = *to;
        *to = e;
        e = next;
    }
}

void se__stripe_migrate(struct l1 *map, struct stripe *s, size_t n)
{
    if (!s->old)
        return;
    for (; n > 0 && s->old_at <= s->old_mask; n--, s->old_at++)
        move_bucket(s, s->old[s->old_at]);
    if (s->old_at <= s->old_mask)
        return;
    se__free(s->old);
    s->old = NULL;
    se__l1_unreserve(map, table_bytes(s->old_mask + 1));
}

static void grow(struct l1 *map, struct stripe *s)
{
    size_t buckets = (s->mask + 1) * 2;
    if (!se__l1_reserve(map, table_bytes(buckets)))
        return;
    struct entry **table = se__alloc_zeroed(buckets, sizeof *table);
    if (!table) {
        se__l1_unreserve(map, table_bytes(buckets));
        return;
    }
    s->old = s->table;
    s->old_mask = s->mask;
    s->old_at = 0;
    s->table = table;
    s->mask = buckets - 1;
}

static void note_arrival(struct stripe *s, struct entry *e, se_item *item)
{
    e->item = se_item_retain(item);
    e->since_ms = se__mono_ms();
    e->hidden = false;
    uint64_t came = atomic_load_explicit(&s->came_bytes, memory_order_relaxed);
    atomic_store_explicit(&s->came_bytes, came + se__entry_bytes(e), memory_order_relaxed);
}

void se__stripe_add(struct l1 *map, struct stripe *s, struct entry *e, uint64_t hash, se_item *item)
{
    note_arrival(s, e, item);
    e->node.hash = hash;
    se__stripe_migrate(map, s, MIGRATE_PER_INSERT);
    if (!s->old && s->entries > s->mask)
        grow(map, s);
    struct entry **bucket = bucket_of(s, e->node.hash);
    e->chain = *bucket;
    *bucket = e;
    s->entries++;
}

void se__stripe_replace(struct stripe *s, struct entry *e, se_item *item, struct entry *spare,
                        struct entry **victims)
{
    spare->item = e->item;
    note_arrival(s, e, item);
    se__stripe_retire(s, spare, victims);
}

static void unlink_entry(struct stripe *s, struct entry *e)
{
    struct entry **at = bucket_of(s, e->node.hash);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    s->entries--;
}

/* ---- the account ---- */

static void list_append(struct stripe *s, struct entry *e)
{
    e->older = s->newest;
    e->newer = NULL;
    *(s->newest ? &s->newest->newer : &s->oldest) = e;
    s->newest = e;
}

static void list_remove(struct stripe *s, struct entry *e)
{
    *(e->older ? &e->older->newer : &s->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &s->newest) = e->older;
}

/* relaxed: the stripe's lock makes this the only writer. */
static void count(_Atomic size_t *counter, bool applies, bool add)
{
    if (!applies)
        return;
    size_t n = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, add ? n + 1 : n - 1, memory_order_relaxed);
}

static void count_states(const struct l1 *map, struct stripe *s, const struct entry *e, bool add)
{
    count(&s->live, !e->hidden && !se__item_deleted(e->item), add);
    count(&s->dirty, e->queued || e->flight, add);
    count(&s->dead, e->dead, add);
    if (se__entry_mortal(map, e))
        s->mortal += add ? 1 : (size_t)-1;
}

void se__stripe_leave(struct l1 *map, struct stripe *s, struct entry *e)
{
    count_states(map, s, e, false);
    if (e->listed)
        list_remove(s, e);
    else
        atomic_fetch_sub_explicit(&map->unevictable, se__entry_bytes(e), memory_order_relaxed);
    e->listed = false;
}

void se__stripe_enter(struct l1 *map, struct stripe *s, struct entry *e)
{
    count_states(map, s, e, true);
    e->listed = se__entry_evictable(map, e);
    if (e->listed)
        list_append(s, e);
    else
        atomic_fetch_add_explicit(&map->unevictable, se__entry_bytes(e), memory_order_relaxed);
}

bool se__l1_reserve(struct l1 *map, size_t bytes)
{
    /* relaxed: the number itself is all that is agreed on. */
    size_t used = atomic_load_explicit(&map->used, memory_order_relaxed);
    do {
        if (bytes > map->bytes_max - used)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&map->used, &used, used + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

void se__l1_unreserve(struct l1 *map, size_t bytes)
{
    size_t before = atomic_fetch_sub_explicit(&map->used, bytes, memory_order_relaxed);
    assert(before >= bytes);
    (void)before;
}

/* ---- leaving ---- */

size_t se__stripe_remove(struct l1 *map, struct stripe *s, struct entry *e, struct entry **victims)
{
    assert(se__entry_clean(e));
    size_t bytes = se__entry_bytes(e);
    se__stripe_leave(map, s, e);
    unlink_entry(s, e);
    if (e->written || e->doubted)
        s->epoch++;
    if (e->put_version > s->floor)
        s->floor = e->put_version;
    if (e->based_on && se_item_version(e->item) > s->based_floor)
        s->based_floor = se_item_version(e->item);
    se__stripe_retire(s, e, victims);
    return bytes;
}

static void count_detached(struct stripe *s, const struct entry *e, bool add)
{
    count(&s->detached_items, true, add);
    size_t n = atomic_load_explicit(&s->detached_bytes, memory_order_relaxed);
    size_t bytes = se__entry_bytes(e);
    atomic_store_explicit(&s->detached_bytes, add ? n + bytes : n - bytes, memory_order_relaxed);
}

static void detach(struct stripe *s, struct entry *e)
{
    e->chain = NULL;
    *(s->detached ? &s->detached_last->chain : &s->detached) = e;
    s->detached_last = e;
}

void se__stripe_retire(struct stripe *s, struct entry *e, struct entry **victims)
{
    /* With one reference, ours, and out of the table, no one can gain another. */
    if (se__item_refs(e->item) > 1) {
        detach(s, e);
        count_detached(s, e, true);
        se__stripe_reap(s, REAP_PER_RETIRE, victims);
        return;
    }
    e->chain = *victims;
    *victims = e;
}

void se__stripe_reap(struct stripe *s, size_t n, struct entry **victims)
{
    for (; n > 0 && s->detached; n--) {
        struct entry *e = s->detached;
        s->detached = e->chain;
        if (se__item_refs(e->item) > 1) {
            detach(s, e); /* to the end: the next look is for others first */
            continue;
        }
        count_detached(s, e, false);
        e->chain = *victims;
        *victims = e;
    }
}

void se__l1_free_victims(struct entry *victims)
{
    while (victims) {
        struct entry *e = victims;
        victims = e->chain;
        se_item_release(e->item);
        se__free(e);
    }
}

/* ---- lives ---- */

bool se__entry_past_life(const struct l1 *map, const struct entry *e, uint64_t now_ms)
{
    if (map->resident || !se__entry_clean(e))
        return false;
    uint64_t ttl = se__item_cache_ttl_ms(e->item);
    uint32_t life = atomic_load_explicit(&map->life_ms, memory_order_acquire);
    if (ttl == 0 && life == 0)
        return false;
    if (now_ms == 0)
        now_ms = se__mono_ms();
    if (ttl && now_ms >= e->since_ms && now_ms - e->since_ms >= ttl)
        return true;
    uint64_t from = atomic_load_explicit(&map->life_set_ms, memory_order_relaxed);
    if (from < e->since_ms)
        from = e->since_ms;
    return life && now_ms >= from && now_ms - from >= life;
}

bool se__entry_mortal(const struct l1 *map, const struct entry *e)
{
    if (map->resident && se__item_deleted(e->item))
        return true;
    return se__item_expires_at_ms(e->item) != 0 || se__item_cache_ttl_ms(e->item) != 0;
}
