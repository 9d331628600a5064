/*
 * list - see list.h.
 */
#include "list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct list {
    FILE *out;
    size_t n;
    char last[SE_ID_MAX + 1];
};

/* An id has no control bytes, so two need an escape. */
static void put_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static bool visit(void *arg, se_item *item)
{
    struct list *list = arg;
    if (list->n++ > 0)
        fputc(',', list->out);
    put_string(list->out, se_item_id(item));
    snprintf(list->last, sizeof list->last, "%s", se_item_id(item));
    return true;
}

se_result list_ids(se_engine *engine, const char *prefix, const char *after, size_t limit,
                   char **text, size_t *len)
{
    struct list list = {.n = 0};
    char *made = NULL;
    size_t size = 0;
    list.out = open_memstream(&made, &size);
    if (!list.out)
        return SE_ERR_NOMEM;
    fputs("{\"ids\":[", list.out);
    se_result r = after ? se_scan_prefix_after(engine, prefix, after, limit, visit, &list)
                        : se_scan_prefix(engine, prefix, limit, visit, &list);
    fputs("]", list.out);
    if (list.n == limit) {
        fputs(",\"next\":", list.out);
        put_string(list.out, list.last);
    }
    fputs("}\n", list.out);
    bool failed = ferror(list.out);
    if (fclose(list.out) != 0 || failed)
        r = SE_ERR_NOMEM;
    if (r == SE_OK) {
        *text = made;
        *len = size;
    } else {
        free(made);
    }
    return r;
}
