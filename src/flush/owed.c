/*
 * owed.c - an array that grows by doubling up to its bound; taken from its end.
 */
#include "flush/owed.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { IDS_MIN = 64 };

static bool has_room(struct owed *o)
{
    if (o->n < o->cap)
        return true;
    if (o->n >= o->max)
        return false;
    size_t cap = o->cap ? o->cap * 2 : IDS_MIN;
    cap = cap < o->max ? cap : o->max;
    struct owed_id *ids = se__alloc_zeroed(cap, sizeof *ids);
    if (!ids)
        return false;
    if (o->n)
        memcpy(ids, o->ids, o->n * sizeof *ids);
    se__free(o->ids);
    o->ids = ids;
    o->cap = cap;
    return true;
}

void se__owed_add(struct owed *o, const se_item *item, uint64_t hash)
{
    char *id = has_room(o) ? se__strndup(se_item_id(item), se__item_id_len(item)) : NULL;
    if (id)
        o->ids[o->n++] = (struct owed_id){id, hash, se_item_version(item)};
}

/* Of one id the newest first. */
static int by_id(const void *a, const void *b)
{
    const struct owed_id *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    return order ? order : (x->version < y->version) - (x->version > y->version);
}

size_t se__owed_take(struct owed *o, struct owed_id *out, size_t most)
{
    size_t taken = o->n < most ? o->n : most, n = 0;
    o->n -= taken;
    struct owed_id *ids = o->ids + o->n;
    if (taken)
        qsort(ids, taken, sizeof *ids, by_id);
    for (size_t i = 0; i < taken; i++) {
        if (n && strcmp(out[n - 1].id, ids[i].id) == 0)
            se__free(ids[i].id);
        else
            out[n++] = ids[i];
    }
    return n;
}

void se__owed_return(struct owed *o, struct owed_id *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (has_room(o))
            o->ids[o->n++] = ids[i];
        else
            se__free(ids[i].id);
    }
}

void se__owed_done(struct owed *o)
{
    for (size_t i = 0; i < o->n; i++)
        se__free(o->ids[i].id);
    se__free(o->ids);
    *o = (struct owed){0};
}
