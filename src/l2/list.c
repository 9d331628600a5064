/*
 * list - the ids under a prefix, by SCAN.
 *
 * SCAN returns every key that is there from beginning to end, some of them twice, in no order; so
 * all ids are gathered, sorted and made unique: memory grows with the number of ids (about their
 * length and 40 bytes each), never with contents. The connection is given back after every page,
 * and each page has a round trip's time of its own, so that a scan of a large server neither blocks
 * reads nor is ended by one; the caller's deadline bounds the whole. A cursor means nothing to
 * another server: a scan that began on one is not continued on the next.
 *
 * What the keys hold is not looked at: tombstones and floors are listed too, as are keys that
 * somebody else has put under our prefix if the rest is a valid id; reading them tells.
 */
#include "l2/keys.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_KEYS 1000u

struct list_job {
    struct redis *r;
    struct op *op;
    const char *prefix;
    size_t prefix_len;
    struct buf pattern;
    char identity[SESSION_IDENTITY_SIZE];
    char cursor[24];
    struct tier_ids ids;
    size_t cap;
    bool nomem;
};

/* Room for one id more. */
static bool grow(struct list_job *j)
{
    if (j->ids.n < j->cap)
        return true;
    size_t cap = j->cap ? j->cap * 2 : 256;
    char **ids = se__realloc(j->ids.ids, cap * sizeof *ids);
    if (!ids)
        return false;
    j->ids.ids = ids;
    j->cap = cap;
    return true;
}

static void keep(struct list_job *j, const char *key, size_t len)
{
    size_t id_len;
    const char *found = se__keys_id(j->r, key, len, &id_len);
    if (!found || id_len < j->prefix_len || memcmp(found, j->prefix, j->prefix_len) != 0)
        return;
    char *id = grow(j) ? se__strndup(found, id_len) : NULL;
    if (id)
        j->ids.ids[j->ids.n++] = id;
    else
        j->nomem = true;
}

static void on_page(void *arg, size_t index, const redisReply *reply)
{
    struct list_job *j = arg;
    const redisReply *keys = NULL;
    const char *key;
    size_t len;
    (void)index;
    if (!se__op_check(j->op, se__reply_class(reply), reply))
        return;
    if (!se__reply_scan(reply, j->cursor, &keys)) {
        se__op_garbage(j->op);
        return;
    }
    for (size_t i = 0; i < se__reply_elements(keys); i++)
        if (se__reply_bytes(se__reply_element(keys, i), &key, &len))
            keep(j, key, len);
}

static bool same_server(struct list_job *j)
{
    const char *identity = j->op->session->identity;
    if (j->identity[0] == '\0')
        memcpy(j->identity, identity, sizeof j->identity);
    return strcmp(j->identity, identity) == 0;
}

static struct tier_reply list_page(struct list_job *j, uint64_t deadline_ms)
{
    struct op op;
    j->op = &op;
    if (se__op_begin(&op, j->r, j->r->readers, deadline_ms)) {
        if (!op.accepted)
            se__op_unaccepted(&op);
        else if (!same_server(j))
            se__op_fail(&op, TIER_UNWELL, "the server changed in the middle of a scan");
        else {
            se__keys_scan(&op, j->cursor, &j->pattern, PAGE_KEYS);
            se__op_exchange(&op, on_page, j);
        }
    }
    if (j->nomem)
        se__op_fail(&op, TIER_UNWELL, "out of memory");
    return se__op_end(&op);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_unique(struct tier_ids *ids)
{
    size_t kept = 0;
    if (ids->n > 1)
        qsort(ids->ids, ids->n, sizeof *ids->ids, by_bytes);
    for (size_t i = 0; i < ids->n; i++) {
        if (kept > 0 && strcmp(ids->ids[kept - 1], ids->ids[i]) == 0)
            se__free(ids->ids[i]);
        else
            ids->ids[kept++] = ids->ids[i];
    }
    ids->n = kept;
}

struct tier_reply se__redis_list(void *tier, const char *prefix, struct tier_ids *ids,
                                 uint64_t deadline_ms)
{
    struct list_job j = {.r = tier, .prefix = prefix, .prefix_len = strlen(prefix), .cursor = "0"};
    struct tier_reply reply = se__tier_fine();
    se__keys_pattern(j.r, prefix, &j.pattern);
    j.nomem = j.pattern.failed;
    do
        reply = list_page(&j, deadline_ms);
    while (reply.fault == TIER_FINE && strcmp(j.cursor, "0") != 0);
    se__buf_done(&j.pattern);
    sort_unique(&j.ids);
    if (reply.fault == TIER_FINE)
        *ids = j.ids;
    else
        se__tier_ids_done(&j.ids);
    return reply;
}
