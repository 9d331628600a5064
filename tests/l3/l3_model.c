/*
 * l3_model - what a table must hold after a random history of batches.
 */
#include "l3_model.h"

#include "base/hlc.h"
#include "l3/row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const stems[] = {
    "",         "user_1:", "user%1:",      "userX1:", "a",
    "a'",       "a\"\\",   "\\",           "%",       "_",
    "\xc3\xa9", "e",       "{tag}:",       " lead",   "\xf0\x9f\x98\x80",
    "A",        "trail ",  "\xef\xbf\xbf", "zz",      "a\\_%"};
#define STEMS (sizeof stems / sizeof stems[0])

void l3_model_init(struct l3_model *m, unsigned seed)
{
    memset(m, 0, sizeof *m);
    srand(seed);
    m->version = l3_now_version();
    m->now_wall_ms = se__wall_ms();
    for (unsigned i = 0; i < L3_MODEL_IDS; i++) {
        snprintf(m->of[i].id, sizeof m->of[i].id, "%s%u", stems[i % STEMS], i / (unsigned)STEMS);
        if (i % 97 == 96) /* as long as ids may be */
            for (size_t len = strlen(m->of[i].id); len < SE_ID_MAX; len++)
                m->of[i].id[len] = (char)('a' + i / 97);
    }
}

void l3_model_done(struct l3_model *m)
{
    for (unsigned i = 0; i < L3_MODEL_IDS; i++)
        se_item_release(m->of[i].item);
}

static se_item *random_item(const struct l3_model *m, const char *id)
{
    static const int64_t ends[] = {0, 0, 0, 0, -3600000, 3600000};
    char content[300];
    size_t len = (size_t)rand() % sizeof content;
    int64_t end = ends[rand() % 6];
    for (size_t i = 0; i < len; i++)
        content[i] = (char)rand();
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
                             .content = content,
                             .content_len = len,
                             .version = m->version + (uint64_t)(rand() % 2000),
                             .updated_at_ms = m->now_wall_ms,
                             .expires_at_ms = end ? m->now_wall_ms + end : 0,
                             .state = rand() % 3 ? NULL : "hot",
                             .route = (uint8_t)(1 + rand() % 3),
                             .deleted = rand() % 5 == 0};
    se_item *item = se__item_new(&spec);
    cr_assert_not_null(item);
    return item;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct l3_entry *)a)->id, ((const struct l3_entry *)b)->id);
}

static int by_bucket(const void *a, const void *b)
{
    const struct l3_entry *x = a, *y = b;
    int order = se__item_bucket(x->id, strlen(x->id)) - se__item_bucket(y->id, strlen(y->id));
    return order ? order : by_id(a, b);
}

static int writes_by_id(const void *a, const void *b)
{
    return strcmp(se_item_id(((const struct tier_write *)a)->item),
                  se_item_id(((const struct tier_write *)b)->item));
}

static void keep_winner(struct l3_entry *e, const struct tier_write *w)
{
    if (e->item && se__item_compare(e->item, w->item) > 0)
        return;
    se_item_retain(w->item);
    se_item_release(e->item);
    e->item = w->item;
    e->kind = w->kind;
}

static size_t random_batch(struct l3_model *m, struct tier_write *writes)
{
    size_t max = rand() % 3 ? 1 + (size_t)rand() % 5 : L3_MODEL_IDS / 2, n = 0;
    size_t step = 1 + (size_t)rand() % 40, at = (size_t)rand() % L3_MODEL_IDS;
    for (; n < max && n * step < L3_MODEL_IDS; n++) {
        struct l3_entry *e = &m->of[(at + n * step) % L3_MODEL_IDS];
        se_item *item = random_item(m, e->id);
        /* a live write may be routed past L3: what comes here is its tombstone */
        bool tombstone = se__item_deleted(item) || rand() % 10 == 0;
        writes[n] =
            (struct tier_write){.item = item, .kind = tombstone ? RECORD_TOMBSTONE : RECORD_ITEM};
        keep_winner(e, &writes[n]);
    }
    qsort(writes, n, sizeof *writes, writes_by_id);
    return n;
}

static void send(struct l3_fixture *f, struct tier_write *writes, size_t n)
{
    struct tier_reply r = f->tier.ops->write(f->tier.self, 0, writes, n, l3_soon());
    cr_assert_eq(r.fault, TIER_FINE, "fault %d code %d: %s", r.fault, r.code, se_errmsg());
}

void l3_model_write(struct l3_model *m, struct l3_fixture *f, unsigned batches)
{
    static struct tier_write kept[L3_MODEL_IDS];
    size_t kept_n = 0;
    for (unsigned i = 0; i < batches; i++) {
        struct tier_write writes[L3_MODEL_IDS];
        size_t n = random_batch(m, writes);
        send(f, writes, n);
        if (rand() % 4 == 0 && kept_n > 0)
            send(f, kept, kept_n); /* an old batch once more */
        for (size_t k = 0; k < kept_n; k++)
            se_item_release(kept[k].item);
        memcpy(kept, writes, n * sizeof *writes);
        kept_n = n;
    }
    for (size_t k = 0; k < kept_n; k++)
        se_item_release(kept[k].item);
}

static int written_first(const void *a, const void *b)
{
    return !((const struct l3_entry *)a)->item - !((const struct l3_entry *)b)->item;
}

void l3_model_sort(struct l3_model *m, enum tier_order order)
{
    qsort(m->of, L3_MODEL_IDS, sizeof m->of[0], written_first);
    for (m->n = 0; m->n < L3_MODEL_IDS && m->of[m->n].item; m->n++)
        ;
    qsort(m->of, m->n, sizeof m->of[0], order == TIER_BY_ID ? by_id : by_bucket);
}

bool l3_entry_deleted(const struct l3_entry *e)
{
    return e->kind == RECORD_TOMBSTONE;
}

void l3_model_node(const struct l3_model *m, int64_t now_wall_ms,
                   bool (*want)(const struct l3_entry *e, const void *arg), const void *arg,
                   struct tier_node *node)
{
    *node = (struct tier_node){.count = 0};
    for (unsigned i = 0; i < L3_MODEL_IDS; i++) {
        const struct l3_entry *e = &m->of[i];
        uint8_t hash[SE_HASH_SIZE], leaf[SE_HASH_SIZE];
        if (!e->item || l3_entry_deleted(e) || !want(e, arg) ||
            (now_wall_ms && se__item_expired(e->item, now_wall_ms)))
            continue;
        se__item_record_hash(e->item, hash);
        se__item_leaf(e->id, strlen(e->id), se_item_version(e->item), hash, leaf);
        for (size_t k = 0; k < SE_HASH_SIZE; k++)
            node->digest[k] ^= leaf[k];
        node->count++;
    }
}
