/*
 * read - lookups, and what loads from the tiers bring back.
 *
 * A hit takes one lock, sets one bit and one reference. The clock is read only where an item or the
 * map has a limited life.
 */
#include "l1/stripe.h"

#include "base/mem.h"

#include <string.h>

#define COPY_LOCKED_MAX 1024u /* longer contents are copied outside the lock, with a reference */

static bool visible(const struct l1 *map, const struct entry *e)
{
    return !e->hidden && !se__entry_past_life(map, e, 0);
}

static struct entry *find_visible(const struct l1 *map, const struct stripe *s, uint64_t hash,
                                  const char *id, size_t id_len)
{
    struct entry *e = se__stripe_find(s, hash, id, id_len);
    return e && visible(map, e) ? e : NULL;
}

se_item *se__l1_get(struct l1 *map, uint64_t hash, const char *id, size_t id_len)
{
    struct stripe *s = se__l1_stripe(map, hash);
    struct entry *victims = NULL;
    size_t freed = 0;
    se_item *item = NULL;
    se__mutex_lock(&s->lock);
    struct entry *e = se__stripe_find(s, hash, id, id_len);
    if (e && visible(map, e)) {
        e->hit = true;
        item = se_item_retain(e->item);
    } else if (e && se__entry_past_life(map, e, 0)) {
        /* Now, and not with the next sweep: who is told that it is gone may join a
         * load that began before it came. */
        freed = se__stripe_remove(map, s, e, &victims);
    }
    se__mutex_unlock(&s->lock);
    se__l1_free_victims(victims);
    se__l1_unreserve(map, freed);
    if (freed && map->metrics)
        se__metrics_inc(map->metrics, M_EVICTED_EXPIRED);
    return item;
}

static void copy_out(const se_item *item, int64_t now_wall_ms, void *buffer, size_t cap,
                     struct l1_copy *copy)
{
    *copy = (struct l1_copy){.len = se_item_content_len(item),
                             .deleted = se__item_deleted(item),
                             .expired = se__item_expired(item, now_wall_ms)};
    size_t n = copy->len < cap ? copy->len : cap;
    if (n > 0)
        memcpy(buffer, se_item_content(item), n);
}

bool se__l1_get_copy(struct l1 *map, uint64_t hash, const char *id, size_t id_len,
                     int64_t now_wall_ms, void *buffer, size_t cap, struct l1_copy *copy)
{
    struct stripe *s = se__l1_stripe(map, hash);
    se_item *large = NULL;
    se__mutex_lock(&s->lock);
    struct entry *e = find_visible(map, s, hash, id, id_len);
    if (e)
        e->hit = true;
    if (e && cap > COPY_LOCKED_MAX && se_item_content_len(e->item) > COPY_LOCKED_MAX)
        large = se_item_retain(e->item);
    else if (e)
        copy_out(e->item, now_wall_ms, buffer, cap, copy);
    se__mutex_unlock(&s->lock);
    if (large)
        copy_out(large, now_wall_ms, buffer, cap, copy);
    se_item_release(large);
    return e != NULL;
}

bool se__l1_look(struct l1 *map, uint64_t hash, const char *id, size_t id_len, struct l1_view *view)
{
    struct stripe *s = se__l1_stripe(map, hash);
    se__mutex_lock(&s->lock);
    struct entry *e = find_visible(map, s, hash, id, id_len);
    if (e)
        *view = (struct l1_view){.version = se_item_version(e->item),
                                 .deleted = se__item_deleted(e->item),
                                 .dirty = se__entry_unconfirmed(e),
                                 .dead = e->dead,
                                 .expires_at_ms = se__item_expires_at_ms(e->item)};
    se__mutex_unlock(&s->lock);
    return e != NULL;
}

/* ---- loads ---- */

uint64_t se__l1_epoch(struct l1 *map, uint64_t hash)
{
    struct stripe *s = se__l1_stripe(map, hash);
    se__mutex_lock(&s->lock);
    uint64_t epoch = s->epoch;
    se__mutex_unlock(&s->lock);
    return epoch;
}

/* A load, as it is offered to one locked stripe. */
struct load {
    struct l1 *map;
    struct stripe *s;
    uint64_t hash;
    se_item *item;
    struct l1_ticket *ticket; /* bytes 0: no room */
    struct entry *victims;
    size_t kept, left; /* bytes that came and went */
    bool lost_dead;    /* a dead letter gave way to what the home tier holds */
};

static void load_new(struct load *l)
{
    struct entry *e = l->ticket->entry;
    l->ticket->entry = NULL;
    se__stripe_add(l->map, l->s, e, l->hash, l->item);
    se__stripe_enter(l->map, l->s, e);
    l->kept = se__entry_bytes(e);
}

/* The entry's item is older than what was loaded. A dirty entry
 * stays dirty, with the newer item. */
static void load_newer(struct load *l, struct entry *e)
{
    if (!l->ticket->entry) {
        if (se__entry_clean(e)) /* better no copy than an old one */
            l->left = se__stripe_remove(l->map, l->s, e, &l->victims);
        return;
    }
    l->left = se__entry_bytes(e);
    se__stripe_leave(l->map, l->s, e);
    se__stripe_replace(l->s, e, l->item, l->ticket->entry, &l->victims);
    l->ticket->entry = NULL;
    l->lost_dead = e->dead;
    e->dead = false;
    e->doubted = false;
    se__stripe_enter(l->map, l->s, e);
    l->kept = se__entry_bytes(e);
}

/* Returns what to give to the caller, retained. */
static se_item *offer(struct load *l, bool unchanged)
{
    struct entry *e = se__stripe_find(l->s, l->hash, se_item_id(l->item), se__item_id_len(l->item));
    int order = e ? se__item_compare(e->item, l->item) : -1;
    se_item *newest = se_item_retain(order < 0 ? l->item : e->item);
    if (!unchanged)
        return newest;
    if (e && order == 0) {
        e->since_ms = se__mono_ms(); /* seen again in a tier: a new life */
        e->doubted = false;
    } else if (e && order < 0) {
        load_newer(l, e);
    } else if (!e && l->ticket->entry) {
        load_new(l);
    }
    return newest;
}

se_item *se__l1_promote(struct l1 *map, uint64_t hash, se_item *item, uint64_t epoch,
                        bool *unchanged)
{
    struct l1_ticket ticket = {0};
    if (se__l1_prepare(map, se__item_id_len(item), se__item_size(item), &ticket) != SE_OK)
        ticket = (struct l1_ticket){0}; /* no room: handed out uncached */
    struct load l = {
        .map = map, .s = se__l1_stripe(map, hash), .hash = hash, .item = item, .ticket = &ticket};
    se__mutex_lock(&l.s->lock);
    *unchanged = l.s->epoch == epoch;
    se_item *newest = offer(&l, *unchanged);
    se__mutex_unlock(&l.s->lock);
    se__l1_free_victims(l.victims);
    se__free(ticket.entry);
    se__l1_settle(map, &ticket, l.kept);
    se__l1_unreserve(map, l.left);
    if (l.lost_dead && map->metrics)
        se__metrics_inc(map->metrics, M_LOST);
    return newest;
}

/* ---- collecting ---- */

struct collection {
    se_item **items;
    size_t n, cap;
    bool failed;
};

static void collect(struct collection *c, se_item *item)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 64;
        se_item **items = se__realloc(c->items, cap * sizeof(se_item *));
        if (!items) {
            c->failed = true;
            return;
        }
        c->items = items;
        c->cap = cap;
    }
    c->items[c->n++] = se_item_retain(item);
}

static void collect_stripe(struct l1 *map, struct stripe *s, bool only_unconfirmed,
                           bool (*match)(void *arg, const se_item *item), void *arg,
                           struct collection *c)
{
    se__stripe_migrate(map, s, SIZE_MAX);
    for (size_t i = 0; i <= s->mask; i++) {
        for (struct entry *e = s->table[i]; e && !c->failed; e = e->chain) {
            if (visible(map, e) && (!only_unconfirmed || se__entry_unconfirmed(e)) &&
                match(arg, e->item))
                collect(c, e->item);
        }
    }
}

se_result se__l1_collect(struct l1 *map, bool only_unconfirmed,
                         bool (*match)(void *arg, const se_item *item), void *arg, se_item ***items,
                         size_t *n)
{
    struct collection c = {0};
    for (unsigned i = 0; i < 1u << map->stripe_bits && !c.failed; i++) {
        struct stripe *s = &map->stripes[i];
        se__mutex_lock(&s->lock);
        collect_stripe(map, s, only_unconfirmed, match, arg, &c);
        se__mutex_unlock(&s->lock);
    }
    if (!c.failed) {
        *items = c.items;
        *n = c.n;
        return SE_OK;
    }
    for (size_t i = 0; i < c.n; i++)
        se_item_release(c.items[i]);
    se__free(c.items);
    return se__error_nomem();
}
