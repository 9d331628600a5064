/*
 * spares - flush states that nothing needs just now, kept for the puts to come.
 *
 * Each put brings a flush state, and a flush worker frees it when the write is home: memory that goes
 * from one thread to another all the time, and in a burst by the hundred thousand. malloc keeps such
 * chunks as a list through the chunks themselves, so each put waited for its own to be read, where the
 * next one is written. Here their addresses lie side by side, so the ones to come are fetched beforehand.
 *
 *   account   up to SPARES, of the threads that use it; whoever does not get the turn goes to malloc
 *   depot     what accounts have too much of, in magazines of SPARES: the first of them has the addresses
 *             of the others, so the depot takes no memory of its own
 *
 * Bytes: the accounts' spares are part of the fixed ones, as if always there; a magazine in the depot is
 * used, up to a share of the bound. Whoever needs room takes the depot first. What lay there for a while
 * and was never needed goes back to malloc.
 *
 * Locks: the depot's mutex, a leaf.  AddressSanitizer is to see uses after the free: nothing is kept there.
 */
#include "l1/stripe.h"

#include "base/mem.h"

#define DEPOT_SHARE 64u /* of the bound, at most */
#define LOOK_MS 5000u   /* so long nobody has needed what is given back */

struct magazine {
    struct magazine *next;
    struct flush_state *others[SPARES - 1];
};
static_assert(sizeof(struct magazine) <= sizeof(struct flush_state), "it lies in a spare");

#if defined(__SANITIZE_ADDRESS__)
enum { KEEPS = false };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { KEEPS = false };
#else
enum { KEEPS = true };
#endif
#else
enum { KEEPS = true };
#endif

size_t se__spares_cost(void)
{
    return SPARES * se__alloc_cost(sizeof(struct flush_state));
}

/* ---- the depot ---- */

void se__depot_open(struct depot *d, size_t bytes_max)
{
    se__mutex_init(&d->lock);
    d->max = KEEPS ? bytes_max / DEPOT_SHARE / se__spares_cost() : 0;
}

static void free_magazine(struct magazine *m)
{
    for (unsigned i = 0; i < SPARES - 1; i++)
        se__free(m->others[i]);
    se__free(m);
}

void se__depot_close(struct depot *d)
{
    for (struct magazine *m = d->first, *next; m; m = next) {
        next = m->next;
        free_magazine(m);
    }
    se__mutex_done(&d->lock);
}

static struct magazine *pop(struct depot *d)
{
    se__mutex_lock(&d->lock);
    struct magazine *m = d->first;
    if (m) {
        d->first = m->next;
        d->n--;
        d->least = d->n < d->least ? d->n : d->least;
        if (m->next)
            __builtin_prefetch(m->next); /* for the next time */
    }
    se__mutex_unlock(&d->lock);
    return m;
}

/* False: there are enough. */
static bool push(struct depot *d, struct magazine *m)
{
    se__mutex_lock(&d->lock);
    bool room = d->n < d->max;
    if (room) {
        m->next = d->first;
        d->first = m;
        d->n++;
    }
    se__mutex_unlock(&d->lock);
    return room;
}

size_t se__depot_bytes(struct depot *d)
{
    se__mutex_lock(&d->lock);
    size_t n = d->n;
    se__mutex_unlock(&d->lock);
    return n * se__spares_cost();
}

size_t se__depot_empty(struct depot *d, size_t bytes)
{
    size_t got = 0;
    for (struct magazine *m; got < bytes && (m = pop(d)); got += se__spares_cost())
        free_magazine(m);
    return got;
}

void se__depot_tend(struct l1 *map, uint64_t now_mono_ms)
{
    struct depot *d = &map->depot;
    se__mutex_lock(&d->lock);
    bool due = now_mono_ms >= d->looked_ms + LOOK_MS;
    size_t idle = due ? d->least : 0;
    if (due) {
        d->looked_ms = now_mono_ms;
        d->least = d->n - idle;
    }
    se__mutex_unlock(&d->lock);
    if (idle)
        se__l1_unreserve(map, se__depot_empty(d, idle * se__spares_cost()));
}

/* ---- an account's ---- */

static bool take_turn(struct account *a)
{
    /* acquire: what the last one has left there is seen; pairs with give_turn */
    return !atomic_exchange_explicit(&a->spares_taken, true, memory_order_acquire);
}

static void give_turn(struct account *a)
{
    atomic_store_explicit(&a->spares_taken, false, memory_order_release);
}

static void fetch(const struct flush_state *f)
{
    __builtin_prefetch(f, 1);
    __builtin_prefetch((const char *)f + SE__EPOCH_LINE, 1);
}

static void refill(struct l1 *map, struct account *a)
{
    struct magazine *m = pop(&map->depot);
    if (!m)
        return;
    for (unsigned i = 0; i < SPARES - 1; i++)
        a->spares[i] = m->others[i];
    a->spares[SPARES - 1] = (struct flush_state *)m;
    a->spares_n = SPARES;
    fetch(a->spares[SPARES - 2]);
    se__l1_unreserve(map, se__spares_cost());
}

struct flush_state *se__spare_take(struct l1 *map)
{
    struct account *a = se__l1_account(map);
    struct flush_state *f = NULL;
    if (!KEEPS || !take_turn(a))
        return NULL;
    if (a->spares_n == 0 && map->depot.max > 0)
        refill(map, a);
    if (a->spares_n > 0)
        f = a->spares[--a->spares_n];
    if (a->spares_n > 1) /* that of the put after the next */
        fetch(a->spares[a->spares_n - 2]);
    give_turn(a);
    return f;
}

/* All that the account has, to the depot. */
static bool put_away(struct l1 *map, struct account *a)
{
    size_t cost = se__spares_cost(), got = se__l1_reserve_some(map, cost);
    struct magazine *m = (struct magazine *)(void *)a->spares[SPARES - 1];
    bool kept = got == cost;
    if (kept) {
        for (unsigned i = 0; i < SPARES - 1; i++)
            m->others[i] = a->spares[i];
        kept = push(&map->depot, m);
    }
    if (!kept)
        se__l1_unreserve(map, got);
    a->spares_n = kept ? 0 : SPARES;
    return kept;
}

void se__spare_give(struct l1 *map, struct flush_state *f)
{
    struct account *a = se__l1_account(map);
    bool kept = false;
    if (KEEPS && take_turn(a)) {
        kept = a->spares_n < SPARES || (map->depot.max > 0 && put_away(map, a));
        if (kept)
            a->spares[a->spares_n++] = f;
        give_turn(a);
    }
    if (!kept)
        se__free(f);
}

void se__spares_close(struct account *a)
{
    while (a->spares_n > 0)
        se__free(a->spares[--a->spares_n]);
}
