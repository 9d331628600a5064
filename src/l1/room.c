/*
 * room - the bytes: what is free, what accounts have ahead, tickets.
 *
 * Every byte of bytes_max is in one place: used, in an account's credit, or free. A thread takes
 * from its account and gives back there; only when that is empty, or has too much, it touches the
 * common number. What one account lacks and others have ahead is gathered before anything is
 * evicted for it, so the bound is exact and can be reached.
 */
#include "l1/stripe.h"

#include "base/mem.h"

#include <assert.h>

/* Looks for readers that are in the way of memory which has left already: the first ones without,
 * the others with a pause in between. */
#define LOOKS 8u
#define PATIENCE 200u
#define SHARE_ONE 65536u
#define PAY_AT_ONCE 2u /* times what came: debts are paid sooner than they are made */

static struct account *mine(const struct l1 *map)
{
    return se__l1_account(map);
}

/* relaxed throughout: numbers, which publish nothing. */
static size_t take_up_to(_Atomic size_t *from, size_t bytes)
{
    size_t there = atomic_load_explicit(from, memory_order_relaxed), taken;
    do {
        taken = there < bytes ? there : bytes;
    } while (taken && !atomic_compare_exchange_weak_explicit(
                          from, &there, there - taken, memory_order_relaxed, memory_order_relaxed));
    return taken;
}

static bool take(_Atomic size_t *from, size_t bytes)
{
    size_t there = atomic_load_explicit(from, memory_order_relaxed);
    do {
        if (there < bytes)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(from, &there, there - bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void give(_Atomic size_t *to, size_t bytes)
{
    atomic_fetch_add_explicit(to, bytes, memory_order_relaxed);
}

/* What an account has too much of goes back to all. Returns how much. */
static size_t give_back(struct l1 *map, struct account *a, size_t bytes)
{
    size_t credit = atomic_fetch_add_explicit(&a->credit, bytes, memory_order_relaxed) + bytes;
    if (credit <= 2 * map->lease)
        return 0;
    size_t back = take_up_to(&a->credit, credit - map->lease);
    give(&map->free, back);
    return back;
}

/* The curve: of free bytes that are taken a share has to leave. */
static void owe(struct l1 *map, struct account *a, size_t taken)
{
    double share = 1.0 - se__l1_curve((double)se__l1_used(map) / (double)map->bytes_max);
    uint32_t parts = map->resident ? 0 : (uint32_t)(share * SHARE_ONE);
    atomic_store_explicit(&a->share, parts, memory_order_relaxed);
    if (parts)
        atomic_fetch_add_explicit(&a->owed, (int64_t)(taken * parts / SHARE_ONE),
                                  memory_order_relaxed);
}

/* Never far below nothing: what was deleted long ago does not pay for what comes now. */
static void need_not(const struct l1 *map, struct account *a, size_t bytes)
{
    if (bytes && atomic_load_explicit(&a->owed, memory_order_relaxed) > -(int64_t)map->limbo_share)
        atomic_fetch_sub_explicit(&a->owed, (int64_t)bytes, memory_order_relaxed);
}

/* Bytes that come and go, as where ids are overwritten, are not owed for: so they are taken off by
 * the share that was last put on, or the difference would be one in favour of eviction each time. */
static void forgive(const struct l1 *map, struct account *a, size_t left)
{
    need_not(map, a, left * atomic_load_explicit(&a->share, memory_order_relaxed) / SHARE_ONE);
}

/* Victims are taken for as large as what has just come: so for no less than that, and one fewer than
 * would be too many. What they were in truth is settled, and what others have left in the limbos
 * that were emptied for it. */
static void pay(struct l1 *map, size_t bytes)
{
    struct account *a = mine(map);
    int64_t owed = atomic_load_explicit(&a->owed, memory_order_relaxed);
    if (bytes == 0 || owed < (int64_t)bytes)
        return;
    size_t most = PAY_AT_ONCE * bytes, due = (size_t)owed < most ? (size_t)owed : most, freed;
    size_t out = se__l1_choose(map, due - bytes + 1, &freed);
    need_not(map, a, out);
    (void)give_back(map, a, freed);
    if (freed > out)
        forgive(map, a, freed - out);
}

void se__l1_unreserve(struct l1 *map, size_t bytes)
{
    struct account *a = mine(map);
    size_t back = bytes ? give_back(map, a, bytes) : 0;
    if (back)
        forgive(map, a, back);
}

/* Takes bytes from what is free; evicts nothing. */
static bool reserve(struct l1 *map, size_t bytes)
{
    struct account *a = mine(map);
    if (take(&a->credit, bytes))
        return true;
    if (take(&map->free, bytes + map->lease)) {
        give(&a->credit, map->lease);
        owe(map, a, bytes + map->lease);
        return true;
    }
    size_t got = se__l1_reserve_some(map, bytes);
    if (got == bytes)
        return true;
    se__l1_unreserve(map, got);
    return false;
}

size_t se__l1_reserve_some(struct l1 *map, size_t bytes)
{
    size_t got = take_up_to(&map->free, bytes);
    for (unsigned i = 0; got < bytes && i <= map->account_mask; i++)
        got += take_up_to(&map->accounts[i].credit, bytes - got);
    return got;
}

size_t se__l1_used(const struct l1 *map)
{
    size_t unused = atomic_load_explicit(&map->free, memory_order_relaxed);
    for (unsigned i = 0; i <= map->account_mask; i++)
        unused += atomic_load_explicit(&map->accounts[i].credit, memory_order_relaxed);
    /* on its way from one number to the other a byte may have been seen twice */
    return unused < map->bytes_max ? map->bytes_max - unused : 0;
}

/* What this stripe's limbo gives up. *waiting: something in it still waits for a reader. */
static size_t free_limbo(struct l1 *map, struct stripe *s, bool *waiting)
{
    se__mutex_lock(&s->lock);
    if (s->limbo_n == 0) {
        se__mutex_unlock(&s->lock);
        return 0;
    }
    return se__stripe_end_keeping(map, s, waiting);
}

/* At least `bytes` from the limbos if they can. The hand's way back: what was evicted last waits
 * there, and needs no more than the time of one lookup. */
static size_t free_limbos(struct l1 *map, size_t bytes, bool *waiting)
{
    unsigned stripes = 1u << map->stripe_bits;
    unsigned hand = atomic_load_explicit(&map->hand, memory_order_relaxed);
    size_t got = 0;
    *waiting = false;
    for (unsigned i = 0; got < bytes && i < stripes; i++)
        got += free_limbo(map, &map->stripes[(hand - i) & (stripes - 1)], waiting);
    for (unsigned i = 0; got < bytes && i <= map->account_mask; i++)
        got += se__account_empty(map, &map->accounts[i], waiting);
    return got;
}

/* What has left the map may still be held up by a reader, even by one that waits for the
 * processor. May return more than was asked for. */
static size_t wait_for_limbos(struct l1 *map, size_t bytes)
{
    size_t got = 0;
    bool waiting = true;
    for (unsigned tries = 0; got < bytes && waiting && tries < PATIENCE; tries++) {
        if (tries >= LOOKS)
            se__pause_ms(0);
        got += free_limbos(map, bytes - got, &waiting);
        got += got < bytes ? se__l1_reserve_some(map, bytes - got) : 0;
    }
    return got;
}

bool se__l1_reserve_evicting(struct l1 *map, size_t bytes)
{
    if (reserve(map, bytes))
        return true;
    size_t got = se__l1_reserve_some(map, bytes), out = 1, freed;
    while (got < bytes && out > 0) {
        out = se__l1_choose(map, bytes - got, &freed);
        got += freed;
        got += got < bytes ? se__l1_reserve_some(map, bytes - got) : 0;
        got += got < bytes ? wait_for_limbos(map, bytes - got) : 0;
    }
    se__l1_unreserve(map, got < bytes ? got : got - bytes);
    return got >= bytes;
}

/* ---- tickets ---- */

void se__l1_count_unevictable(struct l1 *map, size_t change)
{
    atomic_fetch_add_explicit(&mine(map)->unevictable, change, memory_order_relaxed);
}

/* The bytes alone. */
static se_result open_ticket(struct l1 *map, size_t item_size, bool flush, struct l1_ticket *ticket)
{
    size_t bytes = item_size + (flush ? se__alloc_cost(sizeof(struct flush_state)) : 0);
    if (item_size > map->bytes_max || bytes > map->bytes_max - map->fixed_bytes)
        return se__error(SE_ERR_TOO_BIG,
                         "an item that takes %zu bytes can never fit into l1_max_bytes %zu",
                         item_size, map->bytes_max);
    if (!se__l1_reserve_evicting(map, bytes))
        return se__error(SE_ERR_BACKPRESSURE, "memory is full of items that may not be dropped");
    se__l1_count_unevictable(map, bytes);
    *ticket = (struct l1_ticket){.bytes = bytes};
    return SE_OK;
}

void *se__l1_entry_memory(void)
{
    /* Not se__alloc_zeroed: glibc's calloc goes past the thread's own free chunks. */
    char *state = se__alloc(sizeof(struct flush_state));
    if (state) {
        __builtin_prefetch(state, 1); /* written by who takes it, when its lines have come */
        __builtin_prefetch(state + SE__EPOCH_LINE, 1);
    }
    return state;
}

se_result se__l1_ticket(struct l1 *map, size_t item_size, bool flush, struct l1_ticket *ticket)
{
    return flush ? se__l1_prepare_with(map, item_size, NULL, ticket)
                 : open_ticket(map, item_size, false, ticket);
}

se_result se__l1_prepare_with(struct l1 *map, size_t item_size, void *entry,
                              struct l1_ticket *ticket)
{
    struct l1_ticket t;
    se_result r = open_ticket(map, item_size, true, &t);
    if (r != SE_OK)
        return r;
    t.entry = entry ? entry : se__l1_entry_memory();
    if (!t.entry) {
        se__l1_settle(map, &t, 0);
        return se__error_nomem();
    }
    *ticket = t;
    return SE_OK;
}

se_result se__l1_prepare(struct l1 *map, size_t id_len, size_t item_size, struct l1_ticket *ticket)
{
    (void)id_len; /* the id is part of the item's one allocation */
    return se__l1_prepare_with(map, item_size, NULL, ticket);
}

void se__l1_settle_put(struct l1 *map, struct l1_ticket *ticket, size_t kept, size_t unevictable)
{
    assert(kept <= ticket->bytes); /* prepared for this item or a larger one */
    se__l1_unreserve(map, ticket->bytes - kept);
    if (unevictable != ticket->bytes) /* else what the ticket counted as, the entry does */
        se__l1_count_unevictable(map, unevictable - ticket->bytes);
    *ticket = (struct l1_ticket){0};
    pay(map, kept); /* now, and not before: what leaves must not disturb what has just come */
}

void se__l1_settle(struct l1 *map, struct l1_ticket *ticket, size_t kept)
{
    se__l1_settle_put(map, ticket, kept, 0);
}

void se__l1_cancel(struct l1 *map, struct l1_ticket *ticket)
{
    se__free(ticket->entry);
    se__l1_settle(map, ticket, 0);
}

/* ---- numbers ---- */

size_t se__l1_unevictable_bytes(const struct l1 *map)
{
    size_t sum = 0;
    for (unsigned i = 0; i <= map->account_mask; i++)
        sum += atomic_load_explicit(&map->accounts[i].unevictable, memory_order_relaxed);
    /* accounts that change while they are added up may come out below nothing */
    return sum <= SIZE_MAX / 2 ? sum : 0;
}

void se__l1_stats(const struct l1 *map, struct l1_stats *stats)
{
    struct l1_stats sum = {.bytes = se__l1_used(map),
                           .unevictable_bytes = se__l1_unevictable_bytes(map)};
    for (unsigned i = 0; i < 1u << map->stripe_bits; i++) {
        const struct stripe *s = &map->stripes[i];
        sum.items += atomic_load_explicit(&s->live, memory_order_relaxed);
        sum.dirty_items += atomic_load_explicit(&s->dirty, memory_order_relaxed);
        sum.dead_items += atomic_load_explicit(&s->dead, memory_order_relaxed);
        sum.detached_items += atomic_load_explicit(&s->detached_items, memory_order_relaxed);
        sum.detached_bytes += atomic_load_explicit(&s->detached_bytes, memory_order_relaxed);
    }
    *stats = sum;
}
