/*
 * filter - see filter.h; the parts' insides are in parts.h. This file: life, looking, adding, trust,
 * numbers.
 */
#include "filter/filter.h"

#include "base/hash.h"
#include "base/mem.h"
#include "filter/parts.h"

#include <assert.h>

static_assert(FILTER_PARTS == 64, "a part has a bit in a word, and the top 6 bits of the hash");

#define EXTRA_SHARE 4u /* a part's second table has a fourth of the slots of its first */
#define EXTRA_SLOTS_MIN 256u

/* ---- life ---- */

/* Rows for the first threads; those who have many give others (se__filter_read_in). */
static se_result open_rows(struct filter *f)
{
    const unsigned own = 4, shared = 1;
    size_t bytes = SE__EPOCH_ROWS(own, shared) * sizeof(struct epoch_row);
    struct epoch_row *rows = se__alloc_aligned(SE__EPOCH_LINE, bytes);
    f->own_rows = rows;
    if (!rows)
        return se__error_nomem();
    se__epochs_init(&f->own, rows, own, shared);
    f->epochs = &f->own;
    return SE_OK;
}

void se__filter_read_in(struct filter *f, struct epochs *epochs)
{
    f->epochs = epochs;
}

static se_result open_insides(struct filter *f)
{
    f->parts = se__alloc_zeroed(FILTER_PARTS, sizeof *f->parts);
    if (!f->parts)
        return se__error_nomem();
    for (unsigned i = 0; i < FILTER_PARTS; i++)
        se__mutex_init(&f->parts[i].lock);
    se_result r = open_rows(f);
    return r == SE_OK ? se__readers_open(&f->readers) : r;
}

se_result se__filter_open(uint64_t seed, struct filter **filter)
{
    struct filter *f = se__alloc_aligned(64, sizeof *f);
    if (!f)
        return se__error_nomem();
    *f = (struct filter){.seed = seed, .doubts = FILTER_COLD};
    se_result r = open_insides(f);
    if (r != SE_OK) {
        se__filter_close(f);
        return r;
    }
    *filter = f;
    return SE_OK;
}

static void close_part(struct filter *f, unsigned part)
{
    struct pair pair = se__filter_pair(f, part);
    se__filter_cancel(f, part);
    se__cuckoo_free(pair.table);
    se__cuckoo_free(pair.extra);
    se__mutex_done(&f->parts[part].lock);
}

void se__filter_close(struct filter *f)
{
    if (!f)
        return;
    for (unsigned i = 0; f->parts && i < FILTER_PARTS; i++)
        close_part(f, i);
    se__readers_close(f->readers);
    se__free(f->own_rows);
    se__free(f->parts);
    se__free(f);
}

uint64_t se__filter_seed(const struct filter *f)
{
    return f->seed;
}

/* ---- ids ---- */

/* A bijection that spreads every bit over all (Stafford's variant 13 of the finalizer of
 * MurmurHash3, as in splitmix64). Without the seed nobody knows which ids share a fingerprint, but
 * for those that share the whole hash. */
static uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

struct filter_spot se__filter_spot(const struct filter *f, const char *id, size_t id_len)
{
    uint64_t hash = se__hash64(0, id, id_len);
    return (struct filter_spot){.part = (unsigned)(hash >> 58), .key = mixed(hash ^ f->seed)};
}

unsigned se__filter_part(const char *id, size_t id_len)
{
    return (unsigned)(se__hash64(0, id, id_len) >> 58);
}

/* ---- looking ---- */

static enum cuckoo_look look_in(struct pair pair, uint64_t key)
{
    enum cuckoo_look in_table = pair.table ? se__cuckoo_look(pair.table, key) : CUCKOO_ABSENT;
    if (!pair.extra || in_table == CUCKOO_FOUND)
        return in_table;
    enum cuckoo_look in_extra = se__cuckoo_look(pair.extra, key);
    return in_extra == CUCKOO_ABSENT ? in_table : in_extra;
}

static enum cuckoo_look look(const struct filter *f, struct filter_spot at)
{
    struct epoch_place inside = se__epoch_enter(f->epochs);
    enum cuckoo_look found = look_in(se__filter_pair(f, at.part), at.key);
    se__epoch_leave(inside);
    return found;
}

static bool is_full(const struct filter *f, unsigned part)
{
    /* acquire: pairs with the release in commit; who sees the bit gone sees the new table */
    return atomic_load_explicit(&f->full, memory_order_acquire) & se__part_bit(part);
}

bool se__filter_has(const struct filter *f, const char *id, size_t id_len)
{
    struct filter_spot at = se__filter_spot(f, id, id_len);
    return is_full(f, at.part) || look(f, at) != CUCKOO_ABSENT;
}

void se__filter_prefetch(const struct filter *f, const char *id, size_t id_len)
{
    se__filter_expect(f, se__filter_spot(f, id, id_len));
}

void se__filter_expect(const struct filter *f, struct filter_spot at)
{
    /* Addresses only: the table may be gone by the time they are fetched. */
    const struct place *p = &f->places[at.part];
    const struct cuckoo *t = atomic_load_explicit(&p->table, memory_order_relaxed);
    uint32_t buckets = atomic_load_explicit(&p->buckets, memory_order_relaxed);
    if (t && buckets)
        se__cuckoo_expect(t, buckets, at.key);
}

bool se__filter_excludes(const struct filter *f, const char *id, size_t id_len)
{
    return se__filter_doubts(f) == 0 && !se__filter_has(f, id, id_len);
}

/* ---- adding ---- */

/* Room for one more beside what is there: the part's first table, or its second. NULL: none. */
static struct cuckoo *open_table(struct filter *f, unsigned part, const struct cuckoo *full)
{
    uint64_t slots = se__grid_fit(part, 0);
    if (full) {
        uint64_t share = se__cuckoo_slots(full) / EXTRA_SHARE;
        slots = share > EXTRA_SLOTS_MIN ? share : EXTRA_SLOTS_MIN;
    }
    struct cuckoo *fresh = se__cuckoo_new(slots);
    struct place *p = &f->places[part];
    /* seq_cst, as se__place_table: readers see it empty, not undefined */
    if (fresh && full)
        atomic_store(&p->extra, fresh);
    else if (fresh)
        se__place_table(p, fresh);
    return fresh;
}

static enum cuckoo_put put_locked(struct filter *f, struct filter_spot at)
{
    struct pair pair = se__filter_pair(f, at.part);
    if (pair.extra) {
        bool there = se__cuckoo_look(pair.table, at.key) == CUCKOO_FOUND; /* exact: we write */
        return there ? CUCKOO_THERE : se__cuckoo_add(pair.extra, at.key);
    }
    if (!pair.table)
        pair.table = open_table(f, at.part, NULL);
    enum cuckoo_put put = pair.table ? se__cuckoo_add(pair.table, at.key) : CUCKOO_FULL;
    if (put == CUCKOO_FULL && pair.table) {
        pair.extra = open_table(f, at.part, pair.table);
        put = pair.extra ? se__cuckoo_add(pair.extra, at.key) : CUCKOO_FULL;
    }
    return put;
}

static void add_locked(struct filter *f, struct part *p, struct filter_spot at)
{
    if (p->rebuild)
        se__rebuild_arrived(p->rebuild, at.key);
    if (is_full(f, at.part))
        return;
    enum cuckoo_put put = put_locked(f, at);
    p->added += put == CUCKOO_ADDED;
    /* release: with the part's lock; readers need only see it after the add has returned */
    if (put == CUCKOO_FULL)
        atomic_fetch_or_explicit(&f->full, se__part_bit(at.part), memory_order_release);
}

bool se__filter_knows_inside(const struct filter *f, struct filter_spot at)
{
    /* acquire: pairs with begin, and with commit: who sees the bit gone sees the new table */
    if (atomic_load_explicit(&f->rebuilding, memory_order_acquire) & se__part_bit(at.part))
        return false;
    return is_full(f, at.part) || look_in(se__filter_pair(f, at.part), at.key) == CUCKOO_FOUND;
}

static bool is_known(const struct filter *f, struct filter_spot at)
{
    struct epoch_place inside = se__epoch_enter(f->epochs);
    bool known = se__filter_knows_inside(f, at);
    se__epoch_leave(inside);
    return known;
}

uint64_t se__filter_add(struct filter *f, const char *id, size_t id_len)
{
    return se__filter_add_at(f, se__filter_spot(f, id, id_len));
}

uint64_t se__filter_add_at(struct filter *f, struct filter_spot at)
{
    uint64_t epoch = se__filter_epoch(f);
    if (!is_known(f, at)) {
        struct part *p = &f->parts[at.part];
        se__mutex_lock(&p->lock);
        add_locked(f, p, at);
        se__mutex_unlock(&p->lock);
    }
    return epoch;
}

uint64_t se__filter_epoch(const struct filter *f)
{
    /* seq_cst, with the increment in begin. The caller's publishing and the rebuilder's collecting
     * take the same locks: if the collector came first, its release of the lock shows the caller
     * the new epoch; if the caller came first, it is collected. */
    return atomic_load(&f->epoch);
}

/* ---- trust ---- */

unsigned se__filter_doubt(struct filter *f, unsigned doubts)
{
    return atomic_fetch_or(&f->doubts, doubts); /* seq_cst: at once, for everyone */
}

unsigned se__filter_believe(struct filter *f, unsigned doubts)
{
    /* seq_cst; its release pairs with the acquire in doubts: the tables that earned it are seen */
    return atomic_fetch_and(&f->doubts, ~doubts);
}

unsigned se__filter_doubts(const struct filter *f)
{
    return atomic_load_explicit(&f->doubts, memory_order_acquire);
}

const char *se__filter_doubt_name(unsigned doubts)
{
    if (doubts & FILTER_FOREIGN)
        return "another engine writes the same database";
    if (doubts & FILTER_COLD)
        return "the database has not been scanned yet";
    if (doubts & FILTER_UNLISTED)
        return "changes from outside could not be listed";
    return "trusted";
}

/* ---- numbers ---- */

static void add_table(struct filter_part_stats *s, const struct cuckoo *t)
{
    if (!t)
        return;
    s->used += se__cuckoo_used(t);
    s->slots += se__cuckoo_slots(t);
    s->bytes += se__cuckoo_bytes(t);
}

/* With the lock held the tables stay: a commit takes it before it replaces them. */
static void part_stats_locked(const struct filter *f, unsigned part, struct filter_part_stats *s)
{
    const struct rebuild *rebuild = f->parts[part].rebuild;
    struct pair pair = se__filter_pair(f, part);
    *s = (struct filter_part_stats){.full = is_full(f, part)};
    add_table(s, pair.table);
    s->due = s->full || pair.extra || se__grid_is_due(s->used, s->slots);
    add_table(s, pair.extra);
    if (rebuild)
        s->bytes += se__alloc_size(rebuild) +
                    atomic_load_explicit(&rebuild->bytes, memory_order_relaxed); /* a number */
}

void se__filter_part_stats(const struct filter *f, unsigned part, struct filter_part_stats *stats)
{
    struct part *p = &f->parts[part];
    se__mutex_lock(&p->lock);
    part_stats_locked(f, part, stats);
    se__mutex_unlock(&p->lock);
}

void se__filter_stats(const struct filter *f, struct filter_stats *stats)
{
    struct filter_stats sum = {.bytes = se__alloc_size(f) + se__alloc_size(f->parts) +
                                        se__alloc_size(f->own_rows) +
                                        se__readers_bytes(f->readers)};
    sum.bytes += atomic_load_explicit(&f->retired_bytes, memory_order_relaxed); /* a number */
    for (unsigned i = 0; i < FILTER_PARTS; i++) {
        struct filter_part_stats s;
        struct part *p = &f->parts[i];
        se__mutex_lock(&p->lock);
        part_stats_locked(f, i, &s);
        sum.added += p->added;
        se__mutex_unlock(&p->lock);
        sum.ids += s.used;
        sum.bytes += s.bytes;
        sum.full_parts += s.full;
    }
    *stats = sum;
}
