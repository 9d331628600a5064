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

#include <assert.h>

/* What every event does around its change: find the entry, take it out of the
 * account, put it back or let it go. */
struct event {
    struct l1 *map;
    struct stripe *s;
    bool there;
    bool gone; /* to be dropped if it is clean, hidden or doubted as it is */
    struct entry e;
};

static void begin_at(struct event *ev, struct l1 *map, uint64_t hash)
{
    *ev = (struct event){.map = map, .s = se__l1_stripe(map, hash)};
    se__mutex_lock(&ev->s->lock);
}

static bool begin(struct event *ev, struct l1 *map, const se_item *item)
{
    const char *id = se_item_id(item);
    size_t len = se__item_id_len(item);
    uint64_t hash = se__l1_hash(map, id, len);
    begin_at(ev, map, hash);
    ev->there = se__stripe_find(ev->s, hash, id, len, &ev->e);
    if (ev->there)
        se__stripe_leave(map, ev->s, &ev->e);
    return ev->there;
}

static void end(struct event *ev)
{
    const struct flush_state *f = ev->e.flush;
    bool drop = ev->there && se__flush_clean(f) && (ev->gone || (f && (f->hidden || f->doubted)));
    if (ev->there)
        se__stripe_enter(ev->map, ev->s, &ev->e);
    if (drop)
        se__stripe_remove(ev->map, ev->s, &ev->e);
    se__stripe_end(ev->map, ev->s, drop);
}

/* Home, or newer than what is in flight: either way nothing of this
 * entry is on its way any more. */
static void end_flight(struct flush_state *f, const se_item *item)
{
    if (f->flight && f->flight <= se_item_version(item))
        f->flight = 0;
}

static void drop_pin(struct flush_state *f)
{
    if (f->pins > 0)
        f->pins--;
}

se_item *se__l1_take(struct l1 *map, struct dirty_node *node)
{
    struct flush_state *f =
        (struct flush_state *)((char *)node - offsetof(struct flush_state, node));
    struct event ev;
    begin_at(&ev, map, node->hash);
    ev.there = true;
    se__stripe_find_flush(ev.s, f, &ev.e);
    se__stripe_leave(map, ev.s, &ev.e);
    assert(f->queued);
    f->queued = false;
    f->flight = se_item_version(f->item);
    f->pins++;
    se_item *item = se_item_retain(f->item);
    end(&ev);
    return item;
}

void se__l1_home(struct l1 *map, const se_item *item)
{
    struct event ev;
    if (begin(&ev, map, item) && ev.e.flush)
        end_flight(ev.e.flush, item);
    end(&ev);
}

void se__l1_unpin(struct l1 *map, const se_item *item)
{
    struct event ev;
    if (begin(&ev, map, item) && ev.e.flush)
        drop_pin(ev.e.flush);
    end(&ev);
}

bool se__l1_requeue(struct l1 *map, const se_item *item, uint64_t first_ms)
{
    struct event ev;
    bool queue = false;
    if (begin(&ev, map, item) && ev.e.flush) { /* the item's own pin keeps the state */
        end_flight(ev.e.flush, item);
        drop_pin(ev.e.flush);
        queue = !ev.e.flush->queued && !ev.e.flush->hidden;
    }
    if (queue)
        se__entry_queue(map, &ev.e, true, first_ms);
    end(&ev);
    return queue;
}

bool se__l1_bury(struct l1 *map, const se_item *item)
{
    struct event ev;
    bool dead = false;
    if (begin(&ev, map, item) && ev.e.flush) {
        struct flush_state *f = ev.e.flush;
        end_flight(f, item);
        drop_pin(f);
        dead = !f->queued && !f->hidden && se__item_compare(f->item, item) <= 0;
        f->dead = f->dead || dead;
    }
    end(&ev);
    return dead;
}

void se__l1_lost(struct l1 *map, const se_item *item)
{
    struct event ev;
    if (begin(&ev, map, item) && !(ev.e.flush && (ev.e.flush->queued || ev.e.flush->dead)) &&
        se__item_compare(ev.e.item, item) <= 0) {
        if (ev.e.flush)
            ev.e.flush->hidden = true;
        ev.gone = true;
        se__stripe_advance_epoch(ev.s,
                                 ev.e.hash); /* a load that read the loser must not bring it back */
    }
    end(&ev);
}
