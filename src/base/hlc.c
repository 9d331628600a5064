/*
 * hlc - the hybrid logical clock.
 *
 * `last` is one word, so its modification order alone makes versions grow (I1): relaxed is enough,
 * and a thread that learnt of a version through any synchronisation finds it, or a newer one, in
 * the word.
 */
#include "base/hlc.h"

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t successor(uint64_t version)
{
    return version >= SE__VERSION_MAX ? SE__VERSION_MAX : version + 1;
}

void se__hlc_init(struct hlc *c, uint64_t floor)
{
    if (floor > SE__VERSION_MAX)
        floor = SE__VERSION_MAX;
    atomic_init(&c->last, floor);
    atomic_init(&c->ceiling, floor);
}

uint64_t se__hlc_next(struct hlc *c, int64_t wall_ms)
{
    uint64_t now = se__version_of_ms(wall_ms);
    uint64_t last = atomic_load_explicit(&c->last, memory_order_relaxed);
    uint64_t next;
    do {
        next = greater(now, successor(last));
        /* relaxed: see the head of the file */
    } while (!atomic_compare_exchange_weak_explicit(&c->last, &last, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return next;
}

uint64_t se__hlc_last(const struct hlc *c)
{
    return atomic_load_explicit(&c->last, memory_order_relaxed);
}

/* Raises a word that never goes down. */
static void raise_to(_Atomic uint64_t *word, uint64_t value, memory_order order)
{
    uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
    while (seen < value)
        if (atomic_compare_exchange_weak_explicit(word, &seen, value, order, memory_order_relaxed))
            return;
}

bool se__hlc_observe(struct hlc *c, uint64_t version, int64_t wall_ms, uint32_t max_skew_ms)
{
    int64_t latest = wall_ms < 0 ? 0 : wall_ms;
    if (version > SE__VERSION_MAX || se__version_ms(version) - max_skew_ms > latest)
        return version <= se__hlc_last(c); /* already behind this clock: nothing to push */
    raise_to(&c->last, version, memory_order_relaxed);
    return true;
}

uint64_t se__hlc_above(struct hlc *c, uint64_t version, int64_t wall_ms)
{
    return greater(se__hlc_next(c, wall_ms), successor(version));
}

bool se__hlc_covers(const struct hlc *c, uint64_t version)
{
    /* acquire: pairs with the release in se__hlc_raise_ceiling; the ceiling was stored before the
     * caller writes a record below it. */
    return version <= atomic_load_explicit(&c->ceiling, memory_order_acquire);
}

uint64_t se__hlc_ceiling_for(const struct hlc *c, uint64_t version, int64_t wall_ms,
                             uint32_t ahead_ms)
{
    /* A clock that is ahead (it began at a ceiling) only counts until the wall has caught up: with
     * as much room as a running one needs, every restart would take it that much further ahead. */
    int64_t last_ms = se__version_ms(se__hlc_last(c)), until_ms, counted_ms;
    if (__builtin_add_overflow(wall_ms, (int64_t)ahead_ms, &until_ms))
        until_ms = INT64_MAX;
    if (__builtin_add_overflow(last_ms, (int64_t)ahead_ms / 20, &counted_ms))
        counted_ms = INT64_MAX;
    until_ms = counted_ms > until_ms ? counted_ms : until_ms;
    uint64_t ahead = se__version_of_ms(until_ms) | ((1u << SE__HLC_COUNTER_BITS) - 1);
    /* what is stored never shrinks */
    uint64_t kept = atomic_load_explicit(&c->ceiling, memory_order_relaxed);
    uint64_t ceiling = greater(greater(version, ahead), kept);
    return ceiling > SE__VERSION_MAX ? SE__VERSION_MAX : ceiling;
}

void se__hlc_raise_ceiling(struct hlc *c, uint64_t ceiling)
{
    /* release: pairs with the acquire in se__hlc_covers. */
    raise_to(&c->ceiling, ceiling, memory_order_release);
}
