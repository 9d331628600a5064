/*
 * parts - the insides of the filter, for the files that make it up.
 *
 * filter.c looks and adds; rebuild.c replaces a part's tables; grid.c says how large; keys.c is the
 * list of a rebuild; copies.c writes and reads parts for snapshots.
 *
 * A part has one table, and a small second one (extra) if the first was full before the part was
 * rebuilt: then both are looked at, with twice the false positives. Readers load extra first, writers
 * publish the table first: a reader that finds extra gone sees the table that replaced both.
 *
 * Order of locks: a part's mutex, nothing inside it but the allocator.
 */
#ifndef SE_FILTER_PARTS_H
#define SE_FILTER_PARTS_H

#include "base/epoch.h"
#include "base/os.h"
#include "base/readers.h"
#include "filter/cuckoo.h"
#include "filter/filter.h"

#include <stdatomic.h>

/* ---- keys.c: a growing list of keys, 6 bytes each; caller-serialised ---- */

struct key_chunk;
struct keys {
    struct key_chunk *first, *last;
    uint64_t n, bytes; /* bytes: what malloc set aside */
};
SE_NODISCARD bool se__keys_push(struct keys *k, uint64_t key);
/* Moves all of `from` to the end of `to`. */
void se__keys_splice(struct keys *to, struct keys *from);
/* Adds them to a table. False: one found no room. */
SE_NODISCARD bool se__keys_pour(const struct keys *k, struct cuckoo *t);
void se__keys_done(struct keys *k);

/* ---- grid.c: sizes; pure ---- */

/* The smallest size of the part's grid in which n ids are no more than CUCKOO_LOAD_MAX. */
uint64_t se__grid_fit(unsigned part, uint64_t n);
/* The smallest one that has more than `slots`. */
uint64_t se__grid_next(unsigned part, uint64_t slots);
/* As fit; but in place of a table of `old` slots only the same size if it would not be due again
 * soon. */
uint64_t se__grid_refit(unsigned part, uint64_t n, uint64_t old);
bool se__grid_is_due(uint64_t n, uint64_t slots);

/* ---- the filter ---- */

struct rebuild {
    struct keys noted;             /* the rebuilding thread's */
    struct keys arrived;           /* guarded by the part's lock */
    bool noted_lost, arrived_lost; /* one was, for want of memory; owners as above */
    /* Of both lists and the table that is being filled; relaxed: for stats. */
    _Atomic uint64_t bytes;
};

/* With the part's lock held. */
void se__rebuild_arrived(struct rebuild *r, uint64_t key);

struct part {
    struct se__mutex lock;   /* leaf: the tables' writers, rebuild, added */
    struct rebuild *rebuild; /* NULL: none is on */
    uint64_t added;
};

struct place {
    _Atomic(struct cuckoo *) table, extra; /* NULL: none; written with the part's lock held */
    _Atomic uint32_t buckets;              /* the table's: for addresses to be fetched, relaxed */
};

/* With the part's lock held. seq_cst, as the load in se__filter_pair. */
static inline void se__place_table(struct place *p, struct cuckoo *t)
{
    atomic_store_explicit(&p->buckets, t ? se__cuckoo_buckets(t) : 0, memory_order_relaxed);
    atomic_store(&p->table, t);
}

struct filter {
    uint64_t seed;
    /* Who looks is in one of these; who copies a whole part, or waits meanwhile, in the other. */
    struct epochs *epochs;
    struct readers *readers;
    struct part *parts; /* FILTER_PARTS; apart from what every lookup reads */
    atomic_uint doubts;
    _Atomic uint64_t full;       /* a bit a part */
    _Atomic uint64_t rebuilding; /* a bit a part: what is added has to go into its list as well */
    _Atomic uint64_t epoch;
    _Atomic uint64_t retired_bytes; /* tables that wait for their readers */
    struct place places[FILTER_PARTS];
    struct epochs own; /* unless others were given */
    void *own_rows;
};

static inline uint64_t se__part_bit(unsigned part)
{
    return UINT64_C(1) << part;
}

/* What a reader (inside, or with the part's lock held) finds in place. */
struct pair {
    struct cuckoo *table, *extra;
};
static inline struct pair se__filter_pair(const struct filter *f, unsigned part)
{
    /* seq_cst, as the stores in filter.c and rebuild.c: base/epoch.h; extra first (see above) */
    struct cuckoo *extra = atomic_load(&f->places[part].extra);
    return (struct pair){.table = atomic_load(&f->places[part].table), .extra = extra};
}

#endif
