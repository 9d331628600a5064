/*
 * rows - what a bare SQL loop needs to write our table: column values computed before they are timed, and the statement.
 */
#ifndef SE_BENCH_ROWS_H
#define SE_BENCH_ROWS_H

#include "batches.h"

#include "l3/row.h"

/* A row for each write, in their order; free() them. The batches must outlive them. */
struct sql_row *rows_of(const struct batches *b);
/* "<verb> <table> (columns) VALUES (?, ...)"; with `before` ("VALUES(", "excluded.") and `after` (")", "") of a new value, behind it
 * " <clause> column = new value, ..." for all but the id. clause NULL: without. Free it. */
char *rows_statement(const char *verb, const char *table, const char *clause, const char *before,
                     const char *after);

#endif
