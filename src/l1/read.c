/*
 * read - lookups, and what loads from the tiers bring back.
 *
 * A lookup takes no lock. It is inside an epoch while it goes from the table to the item: what it
 * finds cannot be freed before it leaves, and it leaves with a reference or with a copy. All that
 * it writes is its counter in the epochs, the item's reference count (not for a copy) and, while the entry
 * is not yet known as a busy one, two bits of its bucket. The clock is read only where an item or
 * the map has a limited life.
 *
 * It sees the table as it was when it came in. An entry that is there all the time is found: within
 * a table none moves, and a new table is complete before it is shown. Only the list of loose
 * entries can lose one to a new table between the two looks; then there is a new table, and the
 * lookup starts again.
 */
#include "l1/hit.h"

#include "base/mem.h"

#include <string.h>

#define COPY_INSIDE_MAX 16384u /* longer contents are copied outside the epoch, with a reference */
#define BATCH 32u

/* What a word shows of this id. */
static inline bool shows(uintptr_t word, const char *id, size_t id_len, struct found *f)
{
    f->flush = se__word_flush(word);
    f->item = f->flush ? atomic_load(&f->flush->shown) : se__word_item(word);
    return f->item && se__item_is(f->item, id, id_len);
}

static inline bool find_in_table(const struct table *t, uint64_t hash, const char *id,
                                 size_t id_len, struct found *f)
{
    struct table_walk w = se__table_walk(t, hash);
    __builtin_prefetch(&t->words[w.bucket * BUCKET_SLOTS]); /* at the same time as its head */
    do {
        /* acquire, inside: with the tag its word and the `passed` before it are seen */
        for (unsigned match = se__table_walk_match(&w); match; match &= match - 1) {
            unsigned at = (unsigned)__builtin_ctz(match); /* of the sixteen */
            f->slot = at % BUCKET_SLOTS;
            f->head = &t->heads[w.bucket + at / BUCKET_SLOTS];
            /* seq_cst: base/epoch.h */
            if (shows(atomic_load(&t->words[w.bucket * BUCKET_SLOTS + at]), id, id_len, f))
                return true;
        }
    } while (se__table_walk_on(&w));
    return false;
}

static bool find_loose(const struct front *s, uint64_t hash, const char *id, size_t id_len,
                       struct found *f)
{
    f->head = NULL;
    for (struct flush_state *at = atomic_load(&s->loose); at; at = atomic_load(&at->loose))
        if (at->node.hash == hash && shows((uintptr_t)at | WORD_FLUSH, id, id_len, f))
            return true;
    return false;
}

static __attribute__((noinline)) bool find_anywhere(const struct l1 *map, uint64_t hash,
                                                    const char *id, size_t id_len, struct found *f)
{
    const struct front *s = se__l1_front(map, hash);
    for (;;) {
        const struct table *table = atomic_load(&s->table);
        if (find_in_table(table, hash, id, id_len, f))
            return true;
        if (__builtin_expect(atomic_load(&s->loose) != NULL, 0) &&
            find_loose(s, hash, id, id_len, f))
            return true;
        if (atomic_load(&s->table) == table)
            return false;
    }
}

static inline bool find(const struct l1 *map, uint64_t hash, const char *id, size_t id_len,
                        struct found *f)
{
    return se__l1_find_at_home(map, hash, id, id_len, f) || find_anywhere(map, hash, id, id_len, f);
}

/* Whether the copy may be past its life: then the stripe's lock decides. One that is not clean is
 * not, unless it has no slot: such a state stays when it is clean. */
static inline bool may_have_ended(const struct l1 *map, const struct found *f)
{
    return se__copy_is_mortal(map, f->item) && (!f->flush || !f->head) &&
           se__copy_past_life(map, f->item, 0);
}

static inline void note_hit(const struct found *f)
{
    if (f->head)
        se__table_hit(f->head, f->slot);
}

/* The rare case, with the lock: a copy past its life is dropped now, and not with the next sweep.
 * Who is told that it is gone may join a load that began before it came. */
static se_item *get_locked(struct l1 *map, struct stripe *s, uint64_t hash, const char *id,
                           size_t id_len)
{
    struct entry e;
    se_item *item = NULL;
    se__mutex_lock(&s->lock);
    bool there = se__stripe_find(s, hash, id, id_len, &e);
    bool ended = there && se__entry_past_life(map, &e, 0);
    if (ended)
        se__stripe_remove(map, s, &e);
    else if (there && !se__entry_hidden(&e))
        item = se_item_retain(e.item);
    se__stripe_end(map, s, ended);
    if (ended && map->metrics)
        se__metrics_inc(map->metrics, M_EVICTED_EXPIRED);
    return item;
}

static __attribute__((noinline)) se_item *get_anywhere(struct l1 *map, uint64_t hash,
                                                       const char *id, size_t id_len)
{
    struct found f;
    se_item *item = NULL;
    struct epoch_place inside = se__epoch_enter(&map->epochs);
    bool there = find_anywhere(map, hash, id, id_len, &f);
    bool ended = there && may_have_ended(map, &f);
    if (there && !ended) {
        note_hit(&f);
        item = se__item_hold(f.item);
    }
    se__epoch_leave(inside);
    return ended ? get_locked(map, se__l1_stripe(map, hash), hash, id, id_len) : item;
}

se_item *se__l1_get(struct l1 *map, uint64_t hash, const char *id, size_t id_len)
{
    struct epoch_row *row = se__epoch_own_row(&map->epochs, se__thread_id());
    se_item *item = row ? se__l1_hit(map, row, hash, id, id_len) : NULL;
    return item ? item : get_anywhere(map, hash, id, id_len);
}

uint64_t se__l1_hits(const struct l1 *map)
{
    return se__epoch_counted(&map->epochs);
}

static void copy_out(const se_item *item, void *buffer, size_t cap, struct l1_copy *copy)
{
    *copy = (struct l1_copy){.len = se_item_content_len(item),
                             .expires_at_ms = se__item_expires_at_ms(item),
                             .deleted = se__item_deleted(item)};
    size_t n = copy->len < cap ? copy->len : cap;
    if (n > 0)
        memcpy(buffer, se_item_content(item), n);
}

bool se__l1_get_copy(struct l1 *map, uint64_t hash, const char *id, size_t id_len, void *buffer,
                     size_t cap, struct l1_copy *copy)
{
    struct found f;
    se_item *large = NULL;
    struct epoch_place inside = se__epoch_enter(&map->epochs);
    bool there = find(map, hash, id, id_len, &f) && !may_have_ended(map, &f);
    if (there) {
        note_hit(&f);
        if (cap > COPY_INSIDE_MAX && se_item_content_len(f.item) > COPY_INSIDE_MAX)
            large = se_item_retain(f.item);
        else
            copy_out(f.item, buffer, cap, copy);
    }
    se__epoch_leave(inside);
    if (large)
        copy_out(large, buffer, cap, copy);
    se_item_release(large);
    return there;
}

/* Answered without the lock: there is no such entry, or it is clean. */
static bool look_inside(struct l1 *map, uint64_t hash, const char *id, size_t id_len,
                        struct l1_view *view, bool *there)
{
    struct found f;
    struct epoch_place inside = se__epoch_enter(&map->epochs);
    *there = find(map, hash, id, id_len, &f);
    bool simple = !*there || (!f.flush && !may_have_ended(map, &f));
    if (simple && *there)
        *view = (struct l1_view){.version = se_item_version(f.item),
                                 .deleted = se__item_deleted(f.item),
                                 .expires_at_ms = se__item_expires_at_ms(f.item)};
    se__epoch_leave(inside);
    return simple;
}

bool se__l1_look(struct l1 *map, uint64_t hash, const char *id, size_t id_len, struct l1_view *view)
{
    struct stripe *s = se__l1_stripe(map, hash);
    struct entry e;
    bool simply_there;
    if (look_inside(map, hash, id, id_len, view, &simply_there))
        return simply_there;
    se__mutex_lock(&s->lock);
    bool there = se__stripe_find(s, hash, id, id_len, &e) && !se__entry_hidden(&e) &&
                 !se__entry_past_life(map, &e, 0);
    if (there)
        *view = (struct l1_view){.version = se_item_version(e.item),
                                 .deleted = se__item_deleted(e.item),
                                 .dirty = se__flush_unconfirmed(e.flush),
                                 .dead = e.flush && e.flush->dead,
                                 .expires_at_ms = se__item_expires_at_ms(e.item)};
    se__mutex_unlock(&s->lock);
    return there;
}

/* ---- many at once ---- */

static const struct table *table_of(const struct l1 *map, uint64_t hash)
{
    return atomic_load(&se__l1_front(map, hash)->table);
}

static void prefetch_bucket(const struct table *t, uint64_t hash)
{
    uint32_t bucket = se__bucket_of(t->buckets, hash);
    __builtin_prefetch(&t->heads[bucket]);
    __builtin_prefetch(&t->words[bucket * BUCKET_SLOTS]);
}

void se__l1_prefetch(struct l1 *map, uint64_t hash)
{
    const struct front *f = se__l1_front(map, hash);
    se__table_expect(atomic_load_explicit(&f->table, memory_order_relaxed),
                     atomic_load_explicit(&f->buckets, memory_order_relaxed), hash);
}

/* Has the processor fetch what find_in_table will read: heads and words first, items in
 * a second round. */
static void prefetch_buckets(struct l1 *map, const struct l1_key *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        prefetch_bucket(table_of(map, keys[i].hash), keys[i].hash);
}

static void prefetch_items(struct l1 *map, const struct l1_key *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct table *t = table_of(map, keys[i].hash);
        uint32_t bucket = se__bucket_of(t->buckets, keys[i].hash);
        uint64_t tags = atomic_load_explicit(&t->heads[bucket].tags, memory_order_acquire);
        uint64_t match = se__table_match(tags, se__table_tag(keys[i].hash));
        if (!match)
            continue;
        uintptr_t word = atomic_load(&t->words[bucket * BUCKET_SLOTS + se__table_first(match)]);
        const char *at = (const char *)(word & WORD_POINTER);
        __builtin_prefetch(at + 32, 1); /* the reference count will be written */
        __builtin_prefetch(at + 80);
    }
}

static void get_batch(struct l1 *map, const struct l1_key *keys, size_t n, se_item **items)
{
    bool ended[BATCH];
    struct epoch_place inside = se__epoch_enter(&map->epochs);
    prefetch_buckets(map, keys, n);
    prefetch_items(map, keys, n);
    for (size_t i = 0; i < n; i++) {
        struct found f;
        const struct l1_key *k = &keys[i];
        bool there = find(map, k->hash, k->id, k->id_len, &f);
        ended[i] = there && may_have_ended(map, &f);
        items[i] = NULL;
        if (there && !ended[i]) {
            note_hit(&f);
            items[i] = se__item_hold(f.item);
        }
    }
    se__epoch_leave(inside);
    for (size_t i = 0; i < n; i++)
        if (ended[i])
            items[i] = get_locked(map, se__l1_stripe(map, keys[i].hash), keys[i].hash, keys[i].id,
                                  keys[i].id_len);
}

void se__l1_get_many(struct l1 *map, const struct l1_key *keys, size_t n, se_item **items)
{
    for (size_t at = 0; at < n; at += BATCH)
        get_batch(map, keys + at, n - at < BATCH ? n - at : BATCH, items + at);
}

/* ---- loads ---- */

uint64_t se__l1_epoch(struct l1 *map, uint64_t hash)
{
    /* acquire: the tier is asked after this, and so after what made it advance. */
    return atomic_load_explicit(se__stripe_epoch(se__l1_stripe(map, hash), hash),
                                memory_order_acquire);
}

/* A load, as it is offered to one locked stripe. */
struct load {
    struct l1 *map;
    struct stripe *s;
    uint64_t hash;
    se_item *item;
    bool room;
    size_t kept;    /* bytes of the ticket that are in use now */
    bool left;      /* something was retired */
    bool lost_dead; /* a dead letter gave way to what the home tier holds */
};

static void load_new(struct load *l)
{
    struct flush_state *none = NULL;
    struct entry e;
    if (!l->room || !se__stripe_add(l->map, l->s, l->hash, l->item, false, &none, &e))
        return;
    se__item_hold(l->item);
    se__stripe_enter(l->map, l->s, &e);
    l->kept = se__item_size(l->item);
}

/* The entry's item is older than what was loaded. A dirty entry
 * stays dirty, with the newer item. */
static void load_newer(struct load *l, struct entry *e)
{
    if (!l->room) {
        l->left = se__flush_clean(e->flush);
        if (l->left) /* better no copy than an old one */
            se__stripe_remove(l->map, l->s, e);
        return;
    }
    se__stripe_leave(l->map, l->s, e);
    se_item *old = se__stripe_replace(l->map, l->s, e, se__item_hold(l->item), false);
    if (e->flush) {
        l->lost_dead = e->flush->dead;
        e->flush->dead = false;
        e->flush->doubted = false;
    }
    se__stripe_enter(l->map, l->s, e);
    se__stripe_retire(l->map, l->s, (uintptr_t)old);
    l->kept = se__item_size(l->item);
}

/* Returns what to give to the caller, retained. */
static se_item *offer(struct load *l, bool unchanged)
{
    struct entry e;
    bool there = se__stripe_find(l->s, l->hash, se_item_id(l->item), se__item_id_len(l->item), &e);
    int order = there ? se__item_compare(e.item, l->item) : -1;
    se_item *newest = se_item_retain(order < 0 ? l->item : e.item);
    if (!unchanged) {
        /* Not kept, for something newer may have left; but who has been told of it must not be shown
         * the older one by a later read. */
        l->left = there && order < 0 && se__flush_clean(e.flush);
        if (l->left)
            se__stripe_remove(l->map, l->s, &e);
        return newest;
    }
    if (there && order == 0) {
        se__copy_born(l->map, e.item); /* seen again in a tier: a new life */
        if (e.flush)
            e.flush->doubted = false;
    } else if (there && order < 0) {
        load_newer(l, &e);
    } else if (!there) {
        load_new(l);
    }
    return newest;
}

se_item *se__l1_promote(struct l1 *map, uint64_t hash, se_item *item, uint64_t epoch,
                        bool *unchanged)
{
    struct l1_ticket ticket = {0};
    struct load l = {.map = map, .s = se__l1_stripe(map, hash), .hash = hash, .item = item};
    l.room = se__l1_ticket(map, se__item_size(item), false, &ticket) == SE_OK;
    se__mutex_lock(&l.s->lock);
    *unchanged = atomic_load_explicit(se__stripe_epoch(l.s, hash), memory_order_relaxed) == epoch;
    se_item *newest = offer(&l, *unchanged);
    bool misfits = l.kept && se__stripe_misfits(l.s);
    se__stripe_end(map, l.s, l.left);
    if (l.room)
        se__l1_settle(map, &ticket, l.kept);
    if (misfits)
        se__stripe_fit(map, l.s);
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

struct wanted {
    bool only_unconfirmed;
    bool (*match)(void *arg, const se_item *item);
    void *arg;
};

static void consider(const struct l1 *map, const struct entry *e, const struct wanted *w,
                     struct collection *c)
{
    /* What is clean is not even looked at: an item that is far away for each of them was most of what
     * the filter took while it grew. */
    if (w->only_unconfirmed && !se__flush_unconfirmed(e->flush))
        return;
    if (!se__entry_hidden(e) && !se__entry_past_life(map, e, 0) && w->match(w->arg, e->item))
        collect(c, e->item);
}

static bool has_unconfirmed(const struct stripe *s)
{
    return atomic_load_explicit(&s->dirty, memory_order_relaxed) ||
           atomic_load_explicit(&s->dead, memory_order_relaxed);
}

static void collect_stripe(const struct l1 *map, const struct stripe *s, const struct wanted *w,
                           struct collection *c)
{
    struct entry e;
    const struct table *t = se__stripe_table(s);
    uint32_t slots = w->only_unconfirmed && !has_unconfirmed(s) ? 0 : se__table_slots(t);
    for (uint32_t slot = 0; slot < slots && !c->failed; slot++) {
        uintptr_t word = atomic_load_explicit(se__table_word(t, slot), memory_order_relaxed);
        if ((word & WORD_FLUSH || !w->only_unconfirmed) && se__stripe_at(s, slot, &e))
            consider(map, &e, w, c);
    }
    for (struct flush_state *f = se__stripe_loose(s); f && !c->failed; f = atomic_load(&f->loose)) {
        se__stripe_find_flush(s, f, &e);
        consider(map, &e, w, c);
    }
}

se_result se__l1_collect(struct l1 *map, bool only_unconfirmed,
                         bool (*match)(void *arg, const se_item *item), void *arg, se_item ***items,
                         size_t *n)
{
    struct collection c = {0};
    struct wanted w = {only_unconfirmed, match, arg};
    for (unsigned i = 0; i < 1u << map->stripe_bits && !c.failed; i++) {
        struct stripe *s = &map->stripes[i];
        se__mutex_lock(&s->lock);
        collect_stripe(map, s, &w, &c);
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
