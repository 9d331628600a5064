/*
 * rebuild - replaces a part's tables by one of the right size: see filter.h and parts.h.
 *
 * Order of what is published, at commit: the new table, extra gone, `full` gone, `rebuilding` gone.
 * Readers look in the opposite order, so whoever sees one of these changes sees those before it.
 */
#include "filter/parts.h"

#include "base/mem.h"

#include <assert.h>

#define LOOKS 64u /* for readers in the way, before giving others the processor in between */
#define PATIENCE 256u

/* ---- the lists ---- */

void se__rebuild_arrived(struct rebuild *r, uint64_t key)
{
    uint64_t before = r->arrived.bytes;
    if (!se__keys_push(&r->arrived, key))
        r->arrived_lost = true;
    /* relaxed: a number */
    atomic_fetch_add_explicit(&r->bytes, r->arrived.bytes - before, memory_order_relaxed);
}

static void note_key(struct rebuild *r, uint64_t key)
{
    uint64_t before = r->noted.bytes;
    if (!se__keys_push(&r->noted, key))
        r->noted_lost = true;
    /* relaxed: a number */
    atomic_fetch_add_explicit(&r->bytes, r->noted.bytes - before, memory_order_relaxed);
}

static void free_rebuild(struct rebuild *r)
{
    if (!r)
        return;
    se__keys_done(&r->noted);
    se__keys_done(&r->arrived);
    se__free(r);
}

/* ---- begin, note, cancel ---- */

se_result se__filter_begin(struct filter *f, unsigned part)
{
    struct rebuild *fresh = se__alloc_zeroed(1, sizeof *fresh);
    if (!fresh)
        return se__error_nomem();
    struct part *p = &f->parts[part];
    se__mutex_lock(&p->lock);
    struct rebuild *old = p->rebuild;
    p->rebuild = fresh;
    /* seq_cst, the bit before the epoch: who adds after having seen the new epoch sees the bit; who
     * has not seen it will, after publishing (se__filter_epoch) */
    atomic_fetch_or(&f->rebuilding, se__part_bit(part));
    atomic_fetch_add(&f->epoch, 1);
    se__mutex_unlock(&p->lock);
    free_rebuild(old);
    return SE_OK;
}

se_result se__filter_note(struct filter *f, unsigned part, const char *id, size_t id_len)
{
    struct filter_spot at = se__filter_spot(f, id, id_len);
    if (at.part != part) {
        se__filter_add(f, id, id_len);
        return SE_OK;
    }
    /* Only the rebuilding thread changes the pointer. */
    struct rebuild *r = f->parts[part].rebuild;
    assert(r);
    note_key(r, at.key);
    return r->noted_lost ? se__error_nomem() : SE_OK;
}

/* The caller frees it. */
static struct rebuild *end_locked(struct filter *f, unsigned part)
{
    struct part *p = &f->parts[part];
    struct rebuild *r = p->rebuild;
    p->rebuild = NULL;
    /* release: pairs with the acquire in is_known: the tables are seen with it */
    atomic_fetch_and_explicit(&f->rebuilding, ~se__part_bit(part), memory_order_release);
    return r;
}

void se__filter_cancel(struct filter *f, unsigned part)
{
    struct part *p = &f->parts[part];
    se__mutex_lock(&p->lock);
    struct rebuild *r = end_locked(f, part);
    se__mutex_unlock(&p->lock);
    free_rebuild(r);
}

/* ---- commit ---- */

struct build {
    struct filter *f;
    unsigned part;
    struct rebuild *r;
    uint64_t old_slots; /* of the table in place */
    uint64_t slots_min; /* less has proved to be too little */
    struct cuckoo *table;
};

static void drop_table(struct build *b)
{
    if (b->table)
        atomic_fetch_sub_explicit(&b->r->bytes, se__cuckoo_bytes(b->table), memory_order_relaxed);
    se__cuckoo_free(b->table);
    b->table = NULL;
}

/* A table of so many slots with what is noted. SE_ERR_BACKPRESSURE: not all of it fits. */
static se_result fill(struct build *b, uint64_t slots)
{
    drop_table(b);
    b->table = se__cuckoo_new(slots);
    if (!b->table)
        return se__error_nomem();
    atomic_fetch_add_explicit(&b->r->bytes, se__cuckoo_bytes(b->table), memory_order_relaxed);
    return se__keys_pour(&b->r->noted, b->table) ? SE_OK : SE_ERR_BACKPRESSURE;
}

static uint64_t slots_for(const struct build *b, uint64_t n)
{
    uint64_t slots = se__grid_refit(b->part, n, b->old_slots);
    return slots > b->slots_min ? slots : b->slots_min;
}

static se_result fill_growing(struct build *b, uint64_t slots)
{
    se_result r = fill(b, slots);
    while (r == SE_ERR_BACKPRESSURE) {
        b->slots_min = se__grid_next(b->part, slots);
        slots = b->slots_min;
        r = fill(b, slots);
    }
    return r;
}

/* The list may name an id more than once; only the filled table tells how many there are. */
static se_result fill_to_size(struct build *b)
{
    uint64_t slots = slots_for(b, b->r->noted.n);
    se_result r = fill_growing(b, slots);
    if (r != SE_OK)
        return r;
    slots = slots_for(b, se__cuckoo_used(b->table));
    return slots < se__cuckoo_slots(b->table) ? fill_growing(b, slots) : SE_OK;
}

/* What was added since begin joins what is noted. SE_ERR_NOMEM if either is not complete. */
static se_result collect(struct build *b)
{
    struct part *p = &b->f->parts[b->part];
    se__mutex_lock(&p->lock);
    bool lost = b->r->noted_lost || b->r->arrived_lost;
    se__keys_splice(&b->r->noted, &b->r->arrived);
    const struct cuckoo *table = se__filter_pair(b->f, b->part).table;
    b->old_slots = table ? se__cuckoo_slots(table) : 0;
    se__mutex_unlock(&p->lock);
    return lost ? se__error_nomem() : SE_OK;
}

/* Returns what was in place; it may still be read. */
static struct pair put_in_place_locked(struct build *b)
{
    struct place *place = &b->f->places[b->part];
    struct pair old = se__filter_pair(b->f, b->part);
    /* in this order: see the head of the file; seq_cst: base/epoch.h */
    se__place_table(place, b->table);
    atomic_store(&place->extra, NULL);
    atomic_fetch_and_explicit(&b->f->full, ~se__part_bit(b->part), memory_order_release);
    b->table = NULL;
    return old;
}

static uint64_t bytes_of(const struct cuckoo *t)
{
    return t ? se__cuckoo_bytes(t) : 0;
}

/* Those who look are inside for less than a microsecond, unless they do not get the processor. */
static void wait_for_looks(struct filter *f)
{
    uint64_t tag = se__epoch_now(f->epochs);
    for (unsigned tries = 0; se__epoch_passed(f->epochs) <= tag; tries++)
        if (tries >= LOOKS)
            se__pause_ms(tries < PATIENCE ? 0 : 1);
}

static void retire(struct filter *f, struct pair old)
{
    wait_for_looks(f);
    se__readers_wait(f->readers);
    atomic_fetch_sub_explicit(&f->retired_bytes, bytes_of(old.table) + bytes_of(old.extra),
                              memory_order_relaxed);
    se__cuckoo_free(old.table);
    se__cuckoo_free(old.extra);
}

/* Adds the last arrivals and swaps. False: they do not fit. */
static bool swap(struct build *b)
{
    struct pair old = {NULL, NULL};
    struct filter *f = b->f;
    struct part *p = &f->parts[b->part];
    se__mutex_lock(&p->lock);
    bool fits = !b->r->arrived_lost && se__keys_pour(&b->r->arrived, b->table);
    if (fits) {
        old = put_in_place_locked(b);
        atomic_fetch_add_explicit(&f->retired_bytes, bytes_of(old.table) + bytes_of(old.extra),
                                  memory_order_relaxed); /* a number */
        (void)end_locked(f, b->part);
    }
    se__mutex_unlock(&p->lock);
    if (fits)
        retire(f, old);
    return fits;
}

static se_result build_and_swap(struct build *b)
{
    for (;;) {
        se_result r = collect(b);
        if (r == SE_OK)
            r = fill_to_size(b);
        if (r != SE_OK)
            return r;
        if (swap(b))
            return SE_OK;
        b->slots_min = se__grid_next(b->part, se__cuckoo_slots(b->table));
    }
}

se_result se__filter_commit(struct filter *f, unsigned part)
{
    struct build b = {.f = f, .part = part, .r = f->parts[part].rebuild};
    assert(b.r);
    se_result r = build_and_swap(&b);
    if (r != SE_OK) {
        drop_table(&b);
        se__filter_cancel(f, part);
        return r;
    }
    free_rebuild(b.r);
    return SE_OK;
}
