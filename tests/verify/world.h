/*
 * world - two tiers in memory, with everything that can be wrong in them, and writers that act
 * between any two calls.
 *
 * Ids are a fixed, sorted set. L3 answers surveys in id order; L2 in no order and with repeats, as
 * SCAN may. The hook runs before every call to a tier, so whatever it changes happens between two
 * calls of the code under test. Deterministic: all chance comes from the world's seed.
 *
 * Threads: one.  Memory: world_open returns, world_close frees.
 */
#ifndef SE_TESTS_VERIFY_WORLD_H
#define SE_TESTS_VERIFY_WORLD_H

#include "verify/verify.h"

#include <string.h>

enum what {
    NOTHING,
    ITEM,        /* whole */
    TOMBSTONE,   /* version and hash of `item`, which may be a live one that went to L2 only */
    MARK,        /* L2: a miss that is there */
    BAD_CONTENT, /* the header is whole, the content does not fit */
    GARBAGE      /* nothing fits; L3: it claims version `claims` */
};
struct slot {
    enum what what;
    se_item *item;
    uint64_t claims;
    uint64_t stamp; /* of the last change: what mend compares */
};
struct world {
    size_t n;
    char **ids; /* sorted */
    struct slot *l2, *l3;
    uint64_t *newest; /* the newest version written */
    uint8_t *step;    /* of a write under way: 0 none, 1 accepted, 2 in L3 */
    se_item **spares; /* L1; NULL: none */
    se_item **writing;
    uint64_t clock, stamp, random;

    uint64_t l3_floor; /* a row at or below is not created */
    bool foreign;
    bool refuse_l3;                        /* writes and mends are TIER_REFUSED */
    unsigned down_l2_after, down_l3_after; /* calls until it is unwell; UINT_MAX: never */
    unsigned calls, settles;
    unsigned surveys_begun_l2, reads, writes;
    void (*hook)(struct world *w, void *arg);
    void *hook_arg;

    size_t *order; /* of L2's survey */
    /* what the callbacks saw */
    uint64_t findings, done, total, progresses;
    char *damaged; /* per id: a finding names it */
    void (*on_finding)(struct world *w, const struct verify_finding *f);
    unsigned checkpoints, stop_at; /* 0: never */
    char through[SE_ID_MAX + 1];
    uint64_t rows_seen;
};

struct world *world_open(size_t n, uint64_t seed);
void world_close(struct world *w);
uint64_t world_random(struct world *w, uint64_t below);
/* Options with every callback set; small grace. */
struct verify_options world_options(struct world *w);
struct tier world_l2(struct world *w);
struct tier world_l3(struct world *w);

/* A write of id i with content of its own; route 0: all. */
se_item *world_item(struct world *w, size_t i, uint64_t version, uint8_t route);
se_item *world_deleted(struct world *w, size_t i, uint64_t version);
/* Takes the reference; NULL with NOTHING, MARK, GARBAGE. */
void world_set(struct world *w, struct slot *slot, enum what what, se_item *item);
/* One step of the writer: begins a write of id i, or takes the one under way further. */
void world_write_step(struct world *w, size_t i);
void world_quiesce(struct world *w);
/* Index of an id, or n. */
size_t world_find(const struct world *w, const char *id);

#endif
