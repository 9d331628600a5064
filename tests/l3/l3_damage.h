/*
 * l3_damage - a table whose rows somebody edited, in every way that we could think of.
 *
 * The table takes anything: its columns may be NULL, and in SQLite it is not STRICT. Row i of it,
 * "row000" and so on, has damage i, and the rest are sound; some more have ids that no engine would
 * write.
 */
#ifndef SE_TESTS_L3_DAMAGE_H
#define SE_TESTS_L3_DAMAGE_H

#include "l3_fixture.h"

struct l3_damage {
    const char *set;    /* "column = value" */
    enum tier_depth at; /* the least depth that sees it; ids alone see nothing */
    bool header_fits;   /* version and record hash are believable all the same */
    bool sqlite, mysql; /* where it can be done */
};

#define L3_DAMAGE_ROWS 300u /* with ids of the first shape */
#define L3_DAMAGE_ODD 6u    /* with ids that nobody writes */

/* Opens the tier again on such a table. */
void l3_damage_table(struct l3_fixture *f);
/* The damage of a row by its id, NULL: it is sound. *odd: its id is one that nobody writes. */
const struct l3_damage *l3_damage_of(const struct l3_fixture *f, const char *id, size_t len,
                                     bool *odd);
size_t l3_damage_count(const struct l3_fixture *f);

#endif
