/*
 * l3_model - what a table must hold after a random history of batches: the winner of each id.
 *
 * Ids are awkward on purpose: prefixes of one another, wildcards, quotes, blanks, several bytes a
 * character, the longest there is. Batches are of any size, are repeated, arrive in any order.
 */
#ifndef SE_TESTS_L3_MODEL_H
#define SE_TESTS_L3_MODEL_H

#include "l3_fixture.h"

#define L3_MODEL_IDS 400u

struct l3_entry {
    char id[SE_ID_MAX + 1];
    se_item *item; /* NULL: never written */
    enum record_kind kind;
};
struct l3_model {
    struct l3_entry of[L3_MODEL_IDS];
    size_t n;            /* the first n have an item, once sorted */
    uint64_t version;    /* about now */
    int64_t now_wall_ms; /* items expire well before or well after it, or never */
};

void l3_model_init(struct l3_model *m, unsigned seed);
void l3_model_done(struct l3_model *m);
/* Writes `batches` random batches and keeps the winners. */
void l3_model_write(struct l3_model *m, struct l3_fixture *f, unsigned batches);
/* Written ids first, in the order of the survey. */
void l3_model_sort(struct l3_model *m, enum tier_order order);
bool l3_entry_deleted(const struct l3_entry *e);
/* The digest of all live entries that `want` takes, from the leaves as they should be. */
void l3_model_node(const struct l3_model *m, int64_t now_wall_ms,
                   bool (*want)(const struct l3_entry *e, const void *arg), const void *arg,
                   struct tier_node *node);

#endif
