/*
 * stripe - see stripe.h: entries and their account. What waits to be freed is in limbo.c.
 *
 * A put can not fail any more once it has its ticket, but a table can be full and a bigger one not
 * to be had. Then the entry stays outside, in a list of loose ones (its flush state is its place)
 * until a bigger table takes it in. So nothing here allocates.
 */
#include "l1/stripe.h"

#include "base/hash.h"
#include "base/mem.h"

#include <assert.h>

#define BUCKETS_MIN 1u
/* Above FULL a table is replaced by one that will be NEW full, below EMPTY by a smaller one. */
#define FULL_PERCENT 93u
#define NEW_PERCENT 83u /* FULL an eighth later */
#define EMPTY_PERCENT 40u
/* Where something comes for all that leaves. Entries do not move, so those that found their bucket full
 * stay beside it, until nearly every bucket has been passed by one and a lookup that fails reads on and
 * on: 14 buckets at 80 %, 600 at 90 %, 2 to 4 at these (simulated). */
#define CHURN_FULL_PERCENT 75u
#define CHURN_NEW_PERCENT 65u
/* Once a quarter of as many have left as are there. Smaller tables are read soon. */
#define CHURN_SHARE 4u
#define CHURN_BUCKETS_MIN 32u
/* The ghosts of tables that would have fewer buckets if they were kept full reach far enough: there are
 * no more of them than there would be then. */
#define GHOSTS_MORE_MIN 256u
#define SHRINK_MIN 64u /* entries fewer than this are no matter */

/* ---- life ---- */

se_result se__stripe_open(struct stripe *s, struct front *front, size_t *bytes)
{
    struct table *t = se__table_new(BUCKETS_MIN);
    if (!t)
        return se__error_nomem();
    se__front_show(front, t);
    s->front = front;
    se__lessons_init(&s->lessons);
    se__mutex_init(&s->lock);
    *bytes += t->cost;
    return SE_OK;
}

static void free_entry(uintptr_t word)
{
    struct flush_state *f = se__word_flush(word);
    se_item_release(f ? f->item : se__word_item(word));
    se__free(f);
}

void se__stripe_close(struct stripe *s)
{
    if (!s->front)
        return; /* never opened */
    struct table *t = se__stripe_table(s);
    for (uint32_t slot = 0; slot < se__table_slots(t); slot++)
        free_entry(atomic_load(se__table_word(t, slot)));
    for (struct flush_state *f = se__stripe_loose(s), *next; f; f = next) {
        next = atomic_load(&f->loose);
        free_entry((uintptr_t)f | WORD_FLUSH);
    }
    for (unsigned i = 0; i < s->limbo_n; i++)
        se__retired_free(s->limbo[i].what);
    for (size_t i = 0; i < s->detached_n; i++)
        se_item_release(s->detached[i]);
    se__free(s->detached);
    se__free(t->memory);
    se__mutex_done(&s->lock);
}

/* ---- finding ---- */

static void unpack(struct entry *e, uintptr_t word, uint32_t slot, uint64_t hash)
{
    struct flush_state *f = se__word_flush(word);
    *e = (struct entry){.item = f ? f->item : se__word_item(word),
                        .flush = f,
                        .slot = slot,
                        .marks = f ? f->marks : (uint8_t)(word & WORD_MARKS),
                        .hash = f ? f->node.hash : hash};
    e->based_on = f ? f->based_on : e->marks & MARK_BASED ? 1 : 0;
}

bool se__stripe_at(const struct stripe *s, uint32_t slot, struct entry *e)
{
    uintptr_t word = atomic_load(se__table_word(se__stripe_table(s), slot));
    if (word)
        unpack(e, word, slot, 0);
    return word != 0;
}

/* Calls of `fits` for every word that an entry of this hash could have. */
static bool find(const struct stripe *s, uint64_t hash, struct entry *e,
                 bool (*fits)(uintptr_t word, const void *arg), const void *arg)
{
    const struct table *t = se__stripe_table(s);
    struct table_walk w = se__table_walk(t, hash);
    do {
        for (unsigned match = se__table_walk_match(&w); match; match &= match - 1) {
            uint32_t slot = w.bucket * BUCKET_SLOTS + (unsigned)__builtin_ctz(match);
            uintptr_t word = atomic_load(se__table_word(t, slot));
            if (word && fits(word, arg)) {
                unpack(e, word, slot, hash);
                return true;
            }
        }
    } while (se__table_walk_on(&w));
    for (struct flush_state *f = se__stripe_loose(s); f; f = atomic_load(&f->loose)) {
        uintptr_t word = (uintptr_t)f | WORD_FLUSH;
        if (f->node.hash == hash && fits(word, arg)) {
            unpack(e, word, NO_SLOT, hash);
            return true;
        }
    }
    return false;
}

struct id {
    const char *bytes;
    size_t len;
};

static bool has_id(uintptr_t word, const void *arg)
{
    const struct id *id = arg;
    const struct flush_state *f = se__word_flush(word);
    return se__item_is(f ? f->item : se__word_item(word), id->bytes, id->len);
}

bool se__stripe_find(const struct stripe *s, uint64_t hash, const char *id, size_t id_len,
                     struct entry *e)
{
    return find(s, hash, e, has_id, &(struct id){id, id_len});
}

static bool has_state(uintptr_t word, const void *arg)
{
    return se__word_flush(word) == arg;
}

void se__stripe_find_flush(const struct stripe *s, struct flush_state *f, struct entry *e)
{
    bool found = find(s, f->node.hash, e, has_state, f);
    assert(found);
    (void)found;
}

/* ---- the account ---- */

/* relaxed: the stripe's lock makes this the only writer. */
static void count(_Atomic size_t *counter, size_t n, bool add)
{
    size_t before = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, add ? before + n : before - n, memory_order_relaxed);
}

static void count_entry(const struct l1 *map, struct stripe *s, const struct entry *e, bool add)
{
    const struct flush_state *f = e->flush;
    if (!se__entry_hidden(e) && !se__item_deleted(e->item))
        count(&s->live, 1, add);
    if (f && (f->queued || f->flight))
        count(&s->dirty, 1, add);
    if (f && f->dead)
        count(&s->dead, 1, add);
    if (!se__entry_evictable(map, e))
        s->unevictable_change += add ? se__entry_bytes(e) : -se__entry_bytes(e);
}

void se__stripe_leave(struct l1 *map, struct stripe *s, const struct entry *e)
{
    count_entry(map, s, e, false);
}

/* ---- changing ---- */

static void store_word(const struct stripe *s, const struct entry *e)
{
    _Atomic uintptr_t *at = se__table_word(se__stripe_table(s), e->slot);
    uintptr_t word = e->flush ? (uintptr_t)e->flush | WORD_FLUSH : (uintptr_t)e->item | e->marks;
    if (atomic_load_explicit(at, memory_order_relaxed) != word)
        atomic_store(at, word);
}

/* known: readers may have found the state already. Else they will by a word that is stored later. */
static void store_state(const struct entry *e, bool known)
{
    struct flush_state *f = e->flush;
    se_item *shown = f->hidden ? NULL : e->item;
    f->item = e->item;
    f->marks = e->marks;
    f->based_on = e->based_on;
    if (!known)
        atomic_store_explicit(&f->shown, shown, memory_order_relaxed);
    else if (atomic_load_explicit(&f->shown, memory_order_relaxed) != shown)
        atomic_store(&f->shown, shown);
}

static bool is_known(const struct stripe *s, const struct entry *e)
{
    if (e->slot == NO_SLOT)
        return true;
    uintptr_t word = atomic_load_explicit(se__table_word(se__stripe_table(s), e->slot),
                                          memory_order_relaxed); /* ours: the lock is held */
    return word == ((uintptr_t)e->flush | WORD_FLUSH);
}

void se__stripe_enter(struct l1 *map, struct stripe *s, struct entry *e)
{
    struct flush_state *f = e->flush;
    e->marks = (uint8_t)((e->marks & ~MARK_BASED) | (e->based_on ? MARK_BASED : 0));
    if (f && se__flush_clean(f) && !f->hidden && !f->doubted && e->slot != NO_SLOT)
        e->flush = NULL;
    if (e->flush)
        store_state(e, is_known(s, e));
    if (e->slot != NO_SLOT)
        store_word(s, e);
    if (f && !e->flush)
        se__stripe_retire(map, s, (uintptr_t)f | RETIRED_FLUSH);
    count_entry(map, s, e, true);
    if (se__entry_evictable(map, e) && !se__table_listed(se__stripe_table(s), e->slot))
        se__entry_list(s, e);
    if (e->slot != NO_SLOT)
        se__entry_due(map, s, e);
}

se_item *se__stripe_replace(struct l1 *map, struct stripe *s, struct entry *e, se_item *item,
                            bool near_put)
{
    se_item *old = e->item;
    if (e->marks & MARK_PUT && !near_put && se_item_version(old) > s->floor)
        s->floor = se_item_version(old); /* early: the entry forgets it now */
    e->marks = (uint8_t)((e->marks & ~MARK_PUT) | (near_put ? MARK_PUT : 0));
    e->item = item;
    if (e->flush)
        e->flush->hidden = false;
    se__copy_born(map, item);
    return old;
}

static void link_loose(struct stripe *s, struct flush_state *f)
{
    atomic_store(&f->loose, se__stripe_loose(s));
    atomic_store(&s->front->loose, f);
    s->loose_entries++;
}

static void unlink_loose(struct stripe *s, struct flush_state *f)
{
    _Atomic(struct flush_state *) *at = &s->front->loose;
    while (atomic_load(at) != f)
        at = &atomic_load(at)->loose;
    atomic_store(at, atomic_load(&f->loose));
    s->loose_entries--;
}

static bool has_free_slot(const struct stripe *s)
{
    const struct table *t = se__stripe_table(s);
    return t->used < se__table_slots(t);
}

/* Better one copy less than an entry without a slot. */
static bool make_free_slot(struct l1 *map, struct stripe *s)
{
    struct entry victim;
    if (has_free_slot(s))
        return true;
    if (!se__stripe_victim(map, s, &victim))
        return false;
    se__stripe_remove(map, s, &victim);
    return true;
}

static void take_state(struct entry *e, struct flush_state **spare)
{
    e->flush = *spare;
    *spare = NULL;
    *e->flush = (struct flush_state){.node.hash = e->hash};
}

bool se__stripe_add(struct l1 *map, struct stripe *s, uint64_t hash, se_item *item, bool with_state,
                    struct flush_state **spare, struct entry *e)
{
    bool slot = make_free_slot(map, s);
    if (!slot && !*spare)
        return false;
    *e = (struct entry){.item = item, .hash = hash, .slot = NO_SLOT};
    if (with_state || !slot)
        take_state(e, spare);
    se__copy_born(map, item);
    if (e->flush)
        store_state(e, false);
    if (slot)
        e->slot = se__table_insert(se__stripe_table(s), hash,
                                   e->flush ? (uintptr_t)e->flush | WORD_FLUSH : (uintptr_t)item);
    else
        link_loose(s, e->flush);
    return true;
}

void se__entry_queue(struct l1 *map, struct entry *e, bool front, uint64_t first_ms)
{
    struct flush_state *f = e->flush;
    f->queued = true;
    f->node.next = NULL;
    f->node.first_ms = first_ms;
    f->node.bytes = se__item_size_inline(e->item);
    map->sink.push(map->sink.arg, &f->node, front);
}

void se__stripe_advance_epoch(struct stripe *s, uint64_t hash)
{
    _Atomic uint32_t *at = se__stripe_epoch(s, hash);
    uint32_t epoch = atomic_load_explicit(at, memory_order_relaxed);
    /* release: who takes it for a load asks its tier after what has made it advance. */
    atomic_store_explicit(at, epoch + 1, memory_order_release);
}

static uint64_t hash_of(const struct l1 *map, const struct entry *e)
{
    if (e->hash)
        return e->hash;
    return se__l1_hash(map, se_item_id(e->item), se__item_id_len(e->item));
}

void se__stripe_remove(struct l1 *map, struct stripe *s, struct entry *e)
{
    assert(se__flush_clean(e->flush));
    se__stripe_leave(map, s, e);
    if (e->slot != NO_SLOT)
        se__table_erase(se__stripe_table(s), hash_of(map, e), e->slot);
    else
        unlink_loose(s, e->flush);
    se__stripe_advance_epoch(s, hash_of(map, e));
    if (e->marks & MARK_PUT && se_item_version(e->item) > s->floor)
        s->floor = se_item_version(e->item);
    if (e->based_on && se_item_version(e->item) > s->based_floor)
        s->based_floor = se_item_version(e->item);
    if (e->flush)
        se__stripe_retire(map, s, (uintptr_t)e->flush | RETIRED_FLUSH);
    se__stripe_retire(map, s, (uintptr_t)e->item);
}

/* ---- fitting ---- */

static uint64_t buckets_of(uint32_t n, unsigned percent)
{
    return n * UINT64_C(100) / (BUCKET_SLOTS * percent) + 1;
}

static bool is_churned(const struct table *t)
{
    return t->buckets >= CHURN_BUCKETS_MIN && t->erased > t->used / CHURN_SHARE;
}

/* How many buckets n entries want, given the table they have. */
static uint32_t buckets_for(const struct table *t, uint32_t n)
{
    uint64_t slots = se__table_slots(t), percent = n * UINT64_C(100);
    bool churned = is_churned(t);
    uint64_t wanted = t->buckets;
    if (percent > slots * (churned ? CHURN_FULL_PERCENT : FULL_PERCENT))
        wanted = buckets_of(n, churned ? CHURN_NEW_PERCENT : NEW_PERCENT);
    else if (percent < slots * EMPTY_PERCENT && slots > SHRINK_MIN)
        wanted = buckets_of(n, 70);
    return wanted < TABLE_BUCKETS_MAX ? (uint32_t)wanted : TABLE_BUCKETS_MAX;
}

/* Of the table that follows t. */
static uint32_t haunted_for(const struct table *t, uint32_t buckets)
{
    uint32_t full = buckets * CHURN_NEW_PERCENT / NEW_PERCENT + 1;
    return is_churned(t) && full < GHOSTS_MORE_MIN ? full : buckets;
}

static uint32_t entries_of(const struct stripe *s)
{
    return se__stripe_table(s)->used + s->loose_entries;
}

static uint32_t wanted_buckets(const struct stripe *s)
{
    return buckets_for(se__stripe_table(s), entries_of(s));
}

bool se__stripe_misfits(const struct stripe *s)
{
    return wanted_buckets(s) != se__stripe_table(s)->buckets && entries_of(s) >= s->resize_above;
}

static uint64_t hash_of_word(const void *arg, uintptr_t word)
{
    struct entry e;
    unpack(&e, word, 0, 0);
    return hash_of(arg, &e);
}

/* Stored after the table that has it: readers that miss it here look there again. */
static void take_in_loose(struct stripe *s, struct table *t)
{
    for (struct flush_state *f = se__stripe_loose(s); f; f = atomic_load(&f->loose))
        se__table_insert(t, f->node.hash, (uintptr_t)f | WORD_FLUSH);
    se__front_show(s->front, t);
    atomic_store(&s->front->loose, NULL);
    s->loose_entries = 0;
}

/* What had no slot may be clean: to the account, and to the queues. */
static void recount_loose(struct l1 *map, struct stripe *s, struct flush_state *f)
{
    for (struct flush_state *next; f; f = next) {
        struct entry e;
        next = atomic_load(&f->loose);
        se__stripe_find_flush(s, f, &e);
        e.slot = NO_SLOT; /* as it was counted */
        se__stripe_leave(map, s, &e);
        se__stripe_find_flush(s, f, &e);
        se__stripe_enter(map, s, &e);
    }
}

static bool replace_table(struct l1 *map, struct stripe *s, struct table *t)
{
    struct table *old = se__stripe_table(s);
    if (!se__stripe_misfits(s) || wanted_buckets(s) > t->buckets ||
        wanted_buckets(s) < t->buckets / 2 || entries_of(s) > se__table_slots(t))
        return false; /* another was faster, or no table is large enough */
    struct flush_state *loose = se__stripe_loose(s);
    t->haunted = haunted_for(old, t->buckets);
    se__table_move(old, t, hash_of_word, map);
    take_in_loose(s, t);
    recount_loose(map, s, loose);
    se__stripe_retire(map, s, (uintptr_t)old | RETIRED_TABLE);
    s->resize_above = 0;
    return true;
}

static struct table *new_table(struct l1 *map, uint32_t buckets)
{
    size_t cost = se__table_cost(buckets);
    if (!se__l1_reserve_evicting(map, cost))
        return NULL;
    struct table *t = se__table_new(buckets);
    if (!t)
        se__l1_unreserve(map, cost);
    return t;
}

void se__stripe_fit(struct l1 *map, struct stripe *s)
{
    se__mutex_lock(&s->lock);
    bool misfits = se__stripe_misfits(s);
    uint32_t buckets = wanted_buckets(s), entries = entries_of(s);
    se__mutex_unlock(&s->lock);
    if (!misfits)
        return;
    struct table *t = new_table(map, buckets);
    se__mutex_lock(&s->lock);
    bool used = t && replace_table(map, s, t);
    if (!t)
        s->resize_above = entries + entries / 16 + 1;
    se__stripe_end(map, s, used);
    if (t && !used) {
        size_t cost = t->cost;
        se__free(t->memory);
        se__l1_unreserve(map, cost);
    }
}
