/*
 * flight - an entry's way from the dirty queue to its home tier and back to clean.
 *
 * A worker has at most one item of an id on its way to the home tier (`flight`), but an older one
 * may still wait for L2 while the next is in flight: `pins` counts all of them. What the entry
 * shows meanwhile is its newest item, whatever is in flight:
 *
 *   event      flight ends if   pins   then
 *   take       (begins)          +1    not queued any more
 *   home       it is the item     .    a newer put may be queued already: that one goes its own way
 *   unpin      .                 -1    nothing queued, in flight, dead or pinned: CLEAN; hidden or
 *                                      doubted: gone
 *   requeue    it is the item    -1    queued at the front, unless a newer put is queued
 *   bury       it is the item    -1    DEAD, unless a newer item is here
 *   lost       .                  .    hidden at once, gone with the last pin, unless a newer item
 *                                      is here
 *
 * A load can bring a newer item than the one in flight. If the home tier then cannot take the older
 * one, the entry is queued with the newer: writing that again is harmless (the guard), and who
 * waits for the older one gets an answer.
 */
#include "l1/stripe.h"

#include "base/hash.h"

#include <assert.h>

/* What every event does around its change: find the entry, take it out of the
 * account, put it back or let it go. */
struct event {
    struct l1 *map;
    struct stripe *s;
    struct entry *e;
};

static bool begin(struct event *ev, struct l1 *map, const se_item *item)
{
    const char *id = se_item_id(item);
    size_t len = se__item_id_len(item);
    uint64_t hash = se__hash64(map->seed, id, len);
    *ev = (struct event){.map = map, .s = se__l1_stripe(map, hash)};
    se__mutex_lock(&ev->s->lock);
    ev->e = se__stripe_find(ev->s, hash, id, len);
    if (ev->e)
        se__stripe_leave(map, ev->s, ev->e);
    return ev->e != NULL;
}

static void end(struct event *ev)
{
    struct entry *victims = NULL;
    size_t freed = 0;
    if (ev->e) {
        se__stripe_enter(ev->map, ev->s, ev->e);
        if ((ev->e->hidden || ev->e->doubted) && se__entry_clean(ev->e))
            freed = se__stripe_remove(ev->map, ev->s, ev->e, &victims);
    }
    se__mutex_unlock(&ev->s->lock);
    se__l1_free_victims(victims);
    se__l1_unreserve(ev->map, freed);
}

/* Home, or newer than what is in flight: either way nothing of this
 * entry is on its way any more. */
static void end_flight(struct entry *e, const se_item *item)
{
    if (e->flight && e->flight <= se_item_version(item))
        e->flight = 0;
}

static void drop_pin(struct entry *e)
{
    if (e->pins > 0)
        e->pins--;
}

se_item *se__l1_take(struct l1 *map, struct dirty_node *node)
{
    struct entry *e = (struct entry *)((char *)node - offsetof(struct entry, node));
    struct event ev = {.map = map, .s = se__l1_stripe(map, node->hash), .e = e};
    se__mutex_lock(&ev.s->lock);
    assert(e->queued);
    se__stripe_leave(map, ev.s, e);
    e->queued = false;
    e->flight = se_item_version(e->item);
    e->pins++;
    se_item *item = se_item_retain(e->item);
    end(&ev);
    return item;
}

void se__l1_home(struct l1 *map, const se_item *item)
{
    struct event ev;
    if (begin(&ev, map, item))
        end_flight(ev.e, item);
    end(&ev);
}

void se__l1_unpin(struct l1 *map, const se_item *item)
{
    struct event ev;
    if (begin(&ev, map, item))
        drop_pin(ev.e);
    end(&ev);
}

bool se__l1_requeue(struct l1 *map, const se_item *item, uint64_t first_ms)
{
    struct event ev;
    bool queue = false;
    if (begin(&ev, map, item)) {
        end_flight(ev.e, item);
        drop_pin(ev.e);
        queue = !ev.e->queued && !ev.e->hidden;
    }
    if (queue)
        se__entry_queue(map, ev.e, true, first_ms);
    end(&ev);
    return queue;
}

bool se__l1_bury(struct l1 *map, const se_item *item)
{
    struct event ev;
    bool dead = false;
    if (begin(&ev, map, item)) {
        end_flight(ev.e, item);
        drop_pin(ev.e);
        dead = !ev.e->queued && !ev.e->hidden && se__item_compare(ev.e->item, item) <= 0;
        ev.e->dead = ev.e->dead || dead;
    }
    end(&ev);
    return dead;
}

void se__l1_lost(struct l1 *map, const se_item *item)
{
    struct event ev;
    if (begin(&ev, map, item) && !ev.e->queued && !ev.e->dead &&
        se__item_compare(ev.e->item, item) <= 0) {
        ev.e->hidden = true;
        ev.s->epoch++; /* a load that read the loser must not bring it back */
    }
    end(&ev);
}
