/*
 * rows - what a bare SQL loop needs to write our table: column values computed before they are
 * timed, and the statement.
 */
#ifndef SE_BENCH_ROWS_H
#define SE_BENCH_ROWS_H

#include "batches.h"

#include "l3/row.h"

/* A row for each write, in their order; free() them. The batches must outlive them. */
struct sql_row *rows_of(const struct batches *b);
/* "<verb> <table> (columns) VALUES (?, ...)"; with a clause, behind it "<clause> column =
 * <before>column<after>, ..." for all but the id (`before` and `after` make the new value:
 * "VALUES(" and ")", "excluded." and ""). Free the text. */
struct rows_clause {
    const char *clause, *before, *after;
    bool lean; /* leaves out the columns of secondary indices, which keep their values here */
};
char *rows_statement(const char *verb, const char *table, const struct rows_clause *clause);

#endif
