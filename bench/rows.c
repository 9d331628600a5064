/*
 * rows - see rows.h.
 */
#include "rows.h"

#include <stdio.h>
#include <stdlib.h>

/* In the order of enum row_column. */
static const char *const columns[] = {
    "id",       "version",      "record_hash", "updated_at",   "state",  "content_type",
    "encoding", "content_hash", "payload",     "payload_blob", "bucket", "leaf_hi",
    "leaf_lo",  "cache_ttl_ms", "expires_at",  "deleted",      "route"};
_Static_assert(sizeof columns / sizeof columns[0] == ROW_COLUMNS, "a name for each column");

struct sql_row *rows_of(const struct batches *b)
{
    struct sql_row *rows = calloc(b->n * b->size, sizeof *rows);
    if (!rows)
        bench_fail("out of memory");
    for (size_t i = 0; i < b->n * b->size; i++)
        se__row_init(b->writes[i].item, RECORD_ITEM, NULL, &rows[i]);
    return rows;
}

static void assign(FILE *f, const struct rows_clause *c)
{
    const char *between = c->clause;
    for (unsigned i = COL_VERSION; i < ROW_COLUMNS; i++) {
        if (c->lean && (i == COL_STATE || i == COL_BUCKET))
            continue;
        (void)fprintf(f, "%s %s = %s%s%s", between, columns[i], c->before, columns[i], c->after);
        between = ",";
    }
}

char *rows_statement(const char *verb, const char *table, const struct rows_clause *clause)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        bench_fail("out of memory");
    (void)fprintf(f, "%s %s (", verb, table);
    for (unsigned i = 0; i < ROW_COLUMNS; i++)
        (void)fprintf(f, "%s%s", i ? ", " : "", columns[i]);
    (void)fputs(") VALUES (", f);
    for (unsigned i = 0; i < ROW_COLUMNS; i++)
        (void)fputs(i ? ", ?" : "?", f);
    (void)fputc(')', f);
    if (clause)
        assign(f, clause);
    if (fclose(f) != 0)
        bench_fail("out of memory");
    return text;
}
