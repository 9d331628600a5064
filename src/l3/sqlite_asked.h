/*
 * sqlite_asked - the ids of a list as a table of SQLite's, for the time of one statement.
 *
 * `SELECT a.rowid, ... FROM temp.se_asked AS a CROSS JOIN items AS t WHERE t.id = a.id` walks the
 * list in its own order and looks each id up; a row says by its number which one of them it is for.
 * An IN copies the list into a tree of its own first, sorts it there, and answers with ids that have
 * to be found again: a third more for the whole read. (temp: so that no table of that name in the
 * file is taken for it.)
 *
 * Threads: caller-serialised.  Memory: the list is borrowed for the statement.
 */
#ifndef SE_L3_SQLITE_ASKED_H
#define SE_L3_SQLITE_ASKED_H

#include "l3/row.h"

#include <sqlite3.h>

struct asked {
    const struct db_value *ids; /* texts */
    unsigned n;
};

/* The table of this connection shows *asked, which lives at least as long as it; SQLite's code. */
int se__sqlite_add_asked(sqlite3 *db, const struct asked *asked);

#endif
