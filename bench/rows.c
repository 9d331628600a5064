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
    struct sql_row *rows = calloc(b->n * BATCH, sizeof *rows);
    if (!rows)
        bench_fail("out of memory");
    for (size_t i = 0; i < b->n * BATCH; i++)
        se__row_init(b->writes[i].item, RECORD_ITEM, &rows[i]);
    return rows;
}

char *rows_statement(const char *verb, const char *table, const char *clause, const char *before,
                     const char *after)
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
    for (unsigned i = COL_VERSION; clause && i < ROW_COLUMNS; i++)
        (void)fprintf(f, "%s %s = %s%s%s", i == COL_VERSION ? clause : ",", columns[i], before,
                      columns[i], after);
    if (fclose(f) != 0)
        bench_fail("out of memory");
    return text;
}
