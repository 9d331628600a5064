/*
 * pending - see pending.h.
 */
#include "engine/pending.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct range {
    const char *prefix, *after;
    size_t prefix_len;
};

static bool in_range(void *arg, const se_item *item)
{
    const struct range *r = arg;
    const char *id = se_item_id(item);
    return strncmp(id, r->prefix, r->prefix_len) == 0 && (!r->after[0] || strcmp(id, r->after) > 0);
}

/* By id, then newest first. */
static int order(const void *a, const void *b)
{
    const se_item *x = *(se_item *const *)a, *y = *(se_item *const *)b;
    int by_id = strcmp(se_item_id(x), se_item_id(y));
    return by_id ? by_id : se__item_compare(y, x);
}

static void keep_newest(struct pending *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (kept && strcmp(se_item_id(p->items[kept - 1]), se_item_id(p->items[i])) == 0)
            se_item_release(p->items[i]);
        else
            p->items[kept++] = p->items[i];
    }
    p->n = kept;
}

static se_result add(struct pending *p, se_item **items, size_t n)
{
    se_item **all = n ? se__realloc(p->items, (p->n + n) * sizeof(se_item *)) : p->items;
    if (n && !all) {
        for (size_t i = 0; i < n; i++)
            se_item_release(items[i]);
        se__free(items);
        return se__error_nomem();
    }
    if (n)
        memcpy(all + p->n, items, n * sizeof *items);
    se__free(items);
    p->items = all;
    p->n += n;
    return SE_OK;
}

se_result se__pending_take(se_engine *e, const char *prefix, const char *after, bool all,
                           struct pending *p)
{
    struct range range = {.prefix = prefix, .after = after, .prefix_len = strlen(prefix)};
    se_item **items = NULL;
    size_t n = 0;
    *p = (struct pending){0};
    se_result r = se__l1_collect(e->l1, !all, in_range, &range, &items, &n);
    if (r == SE_OK)
        r = add(p, items, n);
    if (r == SE_OK && e->wal) {
        items = NULL;
        n = 0;
        r = se__wal_collect(e->wal, in_range, &range, &items, &n);
        if (r == SE_OK)
            r = add(p, items, n);
    }
    if (r != SE_OK) {
        se__pending_done(p);
        return r;
    }
    if (p->n) {
        qsort(p->items, p->n, sizeof *p->items, order);
        keep_newest(p);
    }
    return SE_OK;
}

void se__pending_done(struct pending *p)
{
    for (size_t i = 0; i < p->n; i++)
        se_item_release(p->items[i]);
    se__free(p->items);
    *p = (struct pending){0};
}
