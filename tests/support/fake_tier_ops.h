/*
 * fake_tier_ops - the insides of a fake tier; private to fake_tier.c and fake_tier_ops.c.
 *
 * Threads: caller-serialised (by the lock), but for the operations: any.  Memory: see fake_tier.h.
 */
#ifndef SE_TESTS_SUPPORT_FAKE_TIER_OPS_H
#define SE_TESTS_SUPPORT_FAKE_TIER_OPS_H

#include "support/fake_tier.h"

#include "base/os.h"

enum { RULES_MAX = 64, CLASSES = 6 };

struct row {
    se_item *item;
    enum record_kind kind;
};
struct meta {
    char *name, *value;
};
struct rule {
    unsigned classes, skip, count;
    bool late;
    struct tier_reply reply;
};
struct fake_tier {
    struct tier_ops ops;
    struct se__mutex lock; /* guards all below */
    struct se__cond changed;
    struct row *rows;
    size_t rows_n, rows_cap;
    struct meta *metas;
    size_t metas_n;
    struct fake_write *written;
    size_t written_n, written_cap;
    struct rule rules[RULES_MAX];
    size_t rules_n;
    bool down, insane;
    bool (*bad)(void *arg, const se_item *item);
    void *bad_arg;
    int bad_code;
    unsigned gate, held, calls[CLASSES], began_writes;
    uint64_t purged;
};

/* What the engine calls; the name is missing. */
extern const struct tier_ops fake_tier_ops;

/* Where id is (*found) or would be. */
size_t fake_tier_find_row(const struct fake_tier *f, const char *id, bool *found);
/* The guard. Returns the version that stands in the way, 0: stored. */
uint64_t fake_tier_put_row(struct fake_tier *f, se_item *item, enum record_kind kind);
/* What a read of the row gives: a put that this tier keeps as a tombstone reads as deleted. */
se_item *fake_tier_row_item(const struct row *row);

#endif
