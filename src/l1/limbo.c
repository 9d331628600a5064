/*
 * limbo - what has left a stripe and is not free yet.
 *
 * Readers take no lock: what a writer takes out of sight one of them may still be looking at. It
 * waits in the stripe's limbo, with the epoch's tag, and is freed when everybody has left who was
 * inside then (base/epoch.h): a microsecond later, so this is done for some of them at once. Until
 * then its bytes are used.
 *
 * What a put replaces waits in the putting thread's account instead, if nobody holds it: the stripe's
 * limbo would come to it when it has long left the processor's cache.
 *
 * An item that callers hold then goes to the detached ones, outside the bound, and is freed when
 * they have let go. Where there is no memory for that list the map gives up its reference: the
 * item is the callers' alone, and counted nowhere.
 */
#include "l1/stripe.h"

#include "base/mem.h"

/* So many are looked at together: no more of a size than glibc keeps for a thread (7), so that the frees
 * stay in the thread and the puts that follow find their memory there. */
#define LIMBO_EAGER 6u
#define REAP_PER_LOOK 2u /* detached items looked at when the limbo is */
#define REAP_PER_LOCK 64u

/* Freed after unlocking. */
struct harvest {
    unsigned n;
    size_t bytes;
    uintptr_t what[LIMBO_MAX + REAP_PER_LOCK];
};

static size_t bytes_of(uintptr_t what)
{
    void *at = (void *)(what & WORD_POINTER);
    if (what & RETIRED_FLUSH)
        return se__alloc_cost(sizeof(struct flush_state));
    if (what & RETIRED_TABLE)
        return ((struct table *)at)->cost;
    return se__item_size_inline(at);
}

/* ---- detached items ---- */

static void count_detached(struct stripe *s, const se_item *item, bool add)
{
    /* relaxed: see struct stripe */
    size_t n = atomic_load_explicit(&s->detached_items, memory_order_relaxed);
    size_t bytes = atomic_load_explicit(&s->detached_bytes, memory_order_relaxed);
    size_t size = se__item_size_inline(item);
    atomic_store_explicit(&s->detached_items, add ? n + 1 : n - 1, memory_order_relaxed);
    atomic_store_explicit(&s->detached_bytes, add ? bytes + size : bytes - size,
                          memory_order_relaxed);
}

static bool detach(struct stripe *s, se_item *item)
{
    if (s->detached_n == s->detached_cap) {
        size_t cap = s->detached_cap ? s->detached_cap * 2 : 8;
        se_item **more = se__realloc(s->detached, cap * sizeof(se_item *));
        if (!more)
            return false;
        s->detached = more;
        s->detached_cap = cap;
    }
    s->detached[s->detached_n++] = item;
    count_detached(s, item, true);
    return true;
}

/* Looks at up to n of them, each time at others. */
static void reap(struct stripe *s, size_t n, struct harvest *h)
{
    for (; n > 0 && s->detached_n > 0; n--) {
        if (s->detached_at >= s->detached_n)
            s->detached_at = 0;
        se_item *item = s->detached[s->detached_at];
        if (se__item_refs(item) > 1) {
            s->detached_at++;
            continue;
        }
        count_detached(s, item, false);
        s->detached[s->detached_at] = s->detached[--s->detached_n];
        h->what[h->n++] = (uintptr_t)item;
    }
    if (s->detached_n == 0) {
        se__free(s->detached);
        s->detached = NULL;
        s->detached_cap = 0;
    }
}

/* ---- the limbo ---- */

/* All at once: each was last looked at when it left, and that is long ago. */
static void fetch(const struct stripe *s)
{
    for (unsigned i = 0; i < s->limbo_n; i++)
        __builtin_prefetch((const void *)(s->limbo[i].what & WORD_POINTER), 1);
}

static void collect(struct l1 *map, struct stripe *s, struct harvest *h)
{
    fetch(s);
    uint64_t passed = s->limbo_n ? se__epoch_passed(&map->epochs) : 0;
    unsigned kept = 0;
    for (unsigned i = 0; i < s->limbo_n; i++) {
        struct retired r = s->limbo[i];
        if (r.tag >= passed) {
            s->limbo[kept++] = r;
            continue;
        }
        h->bytes += bytes_of(r.what);
        bool item = !(r.what & (RETIRED_FLUSH | RETIRED_TABLE));
        /* Nobody can gain a reference any more; a caller may have one. */
        if (!item || se__item_refs((se_item *)r.what) == 1 || !detach(s, (se_item *)r.what))
            h->what[h->n++] = r.what;
    }
    s->limbo_n = kept;
    s->limbo_bytes -= h->bytes;
    s->limbo_held = false;
    reap(s, REAP_PER_LOOK, h);
}

void se__retired_free(uintptr_t what)
{
    void *at = (void *)(what & WORD_POINTER);
    if (what & RETIRED_TABLE)
        se__free(((struct table *)at)->memory);
    else if (what & RETIRED_FLUSH)
        se__free(at);
    else
        se_item_release(at);
}

static void free_harvest(const struct harvest *h)
{
    for (unsigned i = 0; i < h->n; i++)
        se__retired_free(h->what[i]);
}

/* With a reader inside that does not get the processor, the limbo can fill up. */
static void make_room(struct l1 *map, struct stripe *s)
{
    for (;;) {
        struct harvest h = {.n = 0};
        collect(map, s, &h);
        free_harvest(&h);
        se__l1_unreserve(map, h.bytes);
        if (s->limbo_n < LIMBO_MAX)
            return;
        se__pause_ms(0);
    }
}

void se__stripe_retire(struct l1 *map, struct stripe *s, uintptr_t what)
{
    if (s->limbo_n == LIMBO_MAX)
        make_room(map, s);
    s->limbo[s->limbo_n++] = (struct retired){what, se__epoch_now(&map->epochs)};
    s->limbo_bytes += bytes_of(what);
    if (!(what & (RETIRED_FLUSH | RETIRED_TABLE)) && se__item_refs((se_item *)what) > 1)
        s->limbo_held = true;
}

static bool enough(const struct l1 *map, const struct stripe *s)
{
    return s->limbo_held || s->limbo_n >= LIMBO_EAGER || s->limbo_bytes > map->limbo_share;
}

static void unlock(struct l1 *map, struct stripe *s)
{
    size_t change = s->unevictable_change;
    s->unevictable_change = 0;
    se__mutex_unlock(&s->lock);
    if (change)
        se__l1_count_unevictable(map, change);
}

size_t se__stripe_end_keeping(struct l1 *map, struct stripe *s, bool *waiting)
{
    struct harvest h;
    h.n = 0;
    h.bytes = 0;
    collect(map, s, &h);
    *waiting = *waiting || s->limbo_n > 0;
    unlock(map, s);
    free_harvest(&h);
    return h.bytes;
}

void se__stripe_end(struct l1 *map, struct stripe *s, bool now)
{
    bool waiting = false;
    if (s->limbo_n > 0 && (now || enough(map, s)))
        se__l1_unreserve(map, se__stripe_end_keeping(map, s, &waiting));
    else
        unlock(map, s);
}

/* ---- the limbos of accounts ---- */

static bool take_turn(struct account *a)
{
    /* acquire: what the last one has left there is seen; pairs with give_turn */
    return !atomic_exchange_explicit(&a->limbo_taken, true, memory_order_acquire);
}

static void give_turn(struct account *a)
{
    atomic_store_explicit(&a->limbo_taken, false, memory_order_release);
}

/* A reader has taken a reference just before the item left. Any stripe can have it. */
static bool detach_somewhere(struct l1 *map, se_item *item)
{
    struct stripe *s = &map->stripes[0];
    se__mutex_lock(&s->lock);
    bool detached = detach(s, item);
    se__mutex_unlock(&s->lock);
    return detached;
}

/* Moves what nobody can be looking at any more out of a, whose turn is the caller's. */
static void collect_account(struct l1 *map, struct account *a, struct harvest *h)
{
    uint64_t passed = a->limbo_n ? se__epoch_passed(&map->epochs) : 0;
    unsigned kept = 0;
    for (unsigned i = 0; i < a->limbo_n; i++) {
        struct retired r = a->limbo[i];
        if (r.tag >= passed) {
            a->limbo[kept++] = r;
            continue;
        }
        se_item *item = (se_item *)r.what;
        h->bytes += bytes_of(r.what);
        if (se__item_refs(item) == 1 || !detach_somewhere(map, item))
            h->what[h->n++] = r.what;
    }
    a->limbo_n = kept;
    a->limbo_bytes -= h->bytes;
}

bool se__account_begin(struct l1 *map, struct account *a)
{
    if (!take_turn(a))
        return false;
    if (a->limbo_n < ACCOUNT_LIMBO)
        return true;
    se__l1_unreserve(map, se__account_end(map, a, NULL)); /* readers were in its way before */
    return false;
}

size_t se__account_end(struct l1 *map, struct account *a, se_item *left)
{
    struct harvest h;
    h.n = 0;
    h.bytes = 0;
    if (left) {
        a->limbo[a->limbo_n++] = (struct retired){(uintptr_t)left, se__epoch_now(&map->epochs)};
        a->limbo_bytes += se__item_size_inline(left);
    }
    if (a->limbo_n >= LIMBO_EAGER || a->limbo_bytes > map->limbo_share)
        collect_account(map, a, &h);
    give_turn(a);
    free_harvest(&h);
    return h.bytes;
}

size_t se__account_empty(struct l1 *map, struct account *a, bool *waiting)
{
    struct harvest h;
    h.n = 0;
    h.bytes = 0;
    if (!take_turn(a)) {
        *waiting = true;
        return 0;
    }
    collect_account(map, a, &h);
    *waiting = *waiting || a->limbo_n > 0;
    give_turn(a);
    free_harvest(&h);
    return h.bytes;
}

void se__accounts_tend(struct l1 *map)
{
    bool waiting = false; /* nobody waits here */
    for (unsigned i = 0; i <= map->account_mask; i++)
        se__l1_unreserve(map, se__account_empty(map, &map->accounts[i], &waiting));
}

void se__stripe_reap(struct stripe *s)
{
    size_t left = atomic_load_explicit(&s->detached_items, memory_order_relaxed);
    while (left > 0) {
        size_t n = left < REAP_PER_LOCK ? left : REAP_PER_LOCK;
        struct harvest h;
        h.n = 0;
        se__mutex_lock(&s->lock);
        reap(s, n, &h);
        se__mutex_unlock(&s->lock);
        free_harvest(&h);
        left -= n;
    }
}
