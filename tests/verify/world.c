/*
 * world - see world.h.
 */
#include "world.h"

#include "base/hash.h"
#include "base/mem.h"
#include "tier/sights.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t world_random(struct world *w, uint64_t below)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint64_t x = w->random ^ (w->random >> 29);
    return below ? (x >> 16) % below : x;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Ids of all lengths, many with a long common beginning. */
static void make_ids(struct world *w)
{
    char id[SE_ID_MAX + 1];
    for (size_t i = 0; i < w->n; i++) {
        unsigned shape = (unsigned)world_random(w, 8);
        int len = shape == 0   ? snprintf(id, sizeof id, "%zx", i)
                  : shape == 1 ? snprintf(id, sizeof id, "%0*zx", 200, i)
                               : snprintf(id, sizeof id, "user:%08zx", i * 2654435761u % 99999989u);
        if (shape != 0 && shape != 1)
            snprintf(id + len, sizeof id - (size_t)len, ":%zx", i);
        w->ids[i] = strdup(id);
    }
    qsort(w->ids, w->n, sizeof *w->ids, by_text);
}

struct world *world_open(size_t n, uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    w->n = n;
    w->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    w->ids = calloc(n, sizeof *w->ids);
    w->l2 = calloc(n, sizeof *w->l2);
    w->l3 = calloc(n, sizeof *w->l3);
    w->newest = calloc(n, sizeof *w->newest);
    w->step = calloc(n, 1);
    w->spares = calloc(n, sizeof *w->spares);
    w->writing = calloc(n, sizeof *w->writing);
    w->order = calloc(n, sizeof *w->order);
    w->damaged = calloc(n, 1);
    w->clock = 1000;
    w->down_l2_after = UINT_MAX;
    w->down_l3_after = UINT_MAX;
    make_ids(w);
    for (size_t i = 0; i < n; i++)
        w->order[i] = i;
    for (size_t i = n; i > 1; i--) {
        size_t k = world_random(w, i), t = w->order[k];
        w->order[k] = w->order[i - 1];
        w->order[i - 1] = t;
    }
    return w;
}

void world_close(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        se_item_release(w->l2[i].item);
        se_item_release(w->l3[i].item);
        se_item_release(w->spares[i]);
        se_item_release(w->writing[i]);
        free(w->ids[i]);
    }
    free(w->ids);
    free(w->l2);
    free(w->l3);
    free(w->newest);
    free(w->step);
    free(w->spares);
    free(w->writing);
    free(w->order);
    free(w->damaged);
    free(w);
}

size_t world_find(const struct world *w, const char *id)
{
    char *const *at = bsearch(&id, w->ids, w->n, sizeof *w->ids, by_text);
    return at ? (size_t)(at - w->ids) : w->n;
}

static se_item *make(const char *id, uint64_t version, uint8_t route, bool deleted)
{
    char content[64];
    int len = snprintf(content, sizeof content, "content of %.20s at %llu", id,
                       (unsigned long long)version);
    return se__item_new(&(struct item_spec){.id = id,
                                            .id_len = strlen(id),
                                            .content = deleted ? NULL : content,
                                            .content_len = deleted ? 0 : (size_t)len,
                                            .version = version,
                                            .updated_at_ms = 1,
                                            .route = route,
                                            .deleted = deleted});
}

se_item *world_item(struct world *w, size_t i, uint64_t version, uint8_t route)
{
    return make(w->ids[i], version, route, false);
}

se_item *world_deleted(struct world *w, size_t i, uint64_t version)
{
    return make(w->ids[i], version, 0, true);
}

void world_set(struct world *w, struct slot *slot, enum what what, se_item *item)
{
    se_item_release(slot->item);
    *slot = (struct slot){.what = what, .item = item, .stamp = ++w->stamp};
}

/* ---- the tiers' guards ---- */

static int order_of(const se_item *item, const struct slot *slot)
{
    if (slot->what == GARBAGE)
        return se_item_version(item) < slot->claims ? -1 : 1;
    return se__item_compare(item, slot->item);
}

static enum what what_of(const se_item *item, enum record_kind kind)
{
    if (kind == RECORD_FLOOR)
        return MARK;
    return kind == RECORD_TOMBSTONE || se__item_deleted(item) ? TOMBSTONE : ITEM;
}

static enum tier_state store_l2(struct world *w, struct slot *slot, const struct tier_write *write)
{
    enum what what = what_of(write->item, write->kind);
    bool judged = slot->what == ITEM || slot->what == TOMBSTONE || slot->what == BAD_CONTENT ||
                  (slot->what == MARK && slot->item);
    int order = judged ? order_of(write->item, slot) : 1;
    if (order < 0)
        return TIER_NEWER;
    bool same_kind = what == slot->what || (what == ITEM && slot->what == BAD_CONTENT);
    if (order > 0 || same_kind)
        world_set(w, slot, what, se_item_retain(write->item));
    return TIER_STORED;
}

static enum tier_state store_l3(struct world *w, struct slot *slot, const struct tier_write *write)
{
    if (slot->what == NOTHING) {
        if (se_item_version(write->item) <= w->l3_floor)
            return TIER_NEWER;
    } else {
        int order = order_of(write->item, slot);
        if (order <= 0)
            return order < 0 ? TIER_NEWER : TIER_STORED;
    }
    world_set(w, slot, what_of(write->item, write->kind), se_item_retain(write->item));
    return TIER_STORED;
}

/* ---- writers ---- */

void world_write_step(struct world *w, size_t i)
{
    if (w->step[i] == 0) {
        uint64_t version = ++w->clock;
        uint8_t route = world_random(w, 10) == 0 ? SE_ROUTE_L3 : 0;
        w->writing[i] = world_random(w, 8) == 0 ? world_deleted(w, i, version)
                                                : world_item(w, i, version, route);
        w->newest[i] = version;
        w->step[i] = 1;
    } else if (w->step[i] == 1) {
        struct tier_write write = {.item = w->writing[i], .kind = RECORD_ITEM};
        store_l3(w, &w->l3[i], &write);
        w->step[i] = 2;
    } else {
        bool floor = se__item_route(w->writing[i]) == SE_ROUTE_L3;
        struct tier_write write = {.item = w->writing[i],
                                   .kind = floor && !se__item_deleted(w->writing[i]) ? RECORD_FLOOR
                                                                                     : RECORD_ITEM};
        store_l2(w, &w->l2[i], &write);
        se_item_release(w->writing[i]);
        w->writing[i] = NULL;
        w->step[i] = 0;
    }
}

void world_quiesce(struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        while (w->step[i])
            world_write_step(w, i);
}

/* ---- the tier interface ---- */

static bool enter(struct world *w, unsigned *left)
{
    w->calls++;
    if (w->hook)
        w->hook(w, w->hook_arg);
    if (*left == UINT_MAX)
        return true;
    if (*left > 0) {
        --*left;
        return true;
    }
    se__error(SE_ERR_BACKEND, "it is down");
    return false;
}

static struct tier_reply unwell(void)
{
    return (struct tier_reply){.fault = TIER_UNWELL};
}

static void hash_of(const struct slot *slot, uint8_t out[SE_HASH_SIZE])
{
    se__item_record_hash(slot->item, out);
}

static void fill_flaw(const struct slot *slot, struct tier_flaw *flaw)
{
    if (slot->what != BAD_CONTENT)
        return;
    flaw->header_fits = true;
    flaw->version = se_item_version(slot->item);
    hash_of(slot, flaw->record_hash);
    se_item_hash(slot->item, flaw->expected);
    memset(flaw->actual, 0xab, sizeof flaw->actual);
}

static bool add_sight(struct tier_sights *page, const char *id, const struct slot *slot,
                      enum tier_depth depth)
{
    struct tier_sight *s = se__sights_add(page, id, strlen(id));
    if (!s)
        return false;
    bool bad = slot->what == GARBAGE || (slot->what == BAD_CONTENT && depth == TIER_CONTENTS);
    s->found = bad ? TIER_CORRUPT : slot->what == MARK ? TIER_VOID : TIER_HIT;
    s->kind = slot->what == TOMBSTONE ? RECORD_TOMBSTONE
              : slot->what == MARK    ? RECORD_FLOOR
                                      : RECORD_ITEM;
    if (bad)
        fill_flaw(slot, &s->flaw);
    if (!slot->item)
        return true;
    s->route = se__item_route(slot->item);
    s->version = se_item_version(slot->item);
    s->expires_at_ms = se__item_expires_at_ms(slot->item);
    s->content_len = slot->what == TOMBSTONE ? 0 : se_item_content_len(slot->item);
    hash_of(slot, s->record_hash);
    return true;
}

static bool in_range(const struct tier_survey *s, const char *id)
{
    return (!s->after || strcmp(id, s->after) > 0) &&
           (!s->until || !*s->until || strcmp(id, s->until) <= 0);
}

static size_t position(const struct tier_cursor *cursor)
{
    return cursor->begun ? strtoul(cursor->scan, NULL, 10) : 0;
}

static void move_to(struct tier_cursor *cursor, size_t at, size_t n)
{
    cursor->begun = true;
    cursor->done = at >= n;
    snprintf(cursor->scan, sizeof cursor->scan, "%zu", at);
}

static struct tier_reply survey_l2(void *tier, const struct tier_survey *s,
                                   struct tier_cursor *cursor, struct tier_sights *sights,
                                   uint64_t deadline_ms)
{
    struct world *w = tier;
    (void)deadline_ms;
    if (!enter(w, &w->down_l2_after))
        return unwell();
    w->surveys_begun_l2 += !cursor->begun;
    se__sights_clear(sights);
    size_t at = position(cursor), end = at + s->items_max;
    for (; at < w->n && at < end; at++) {
        size_t i = w->order[at];
        if (at > 0 && world_random(w, 16) == 0) /* as SCAN does while its table grows */
            i = w->order[world_random(w, at)];
        size_t both[2] = {w->order[at], i};
        for (unsigned k = 0; k < (i == w->order[at] ? 1u : 2u); k++)
            if (w->l2[both[k]].what != NOTHING && in_range(s, w->ids[both[k]]) &&
                !add_sight(sights, w->ids[both[k]], &w->l2[both[k]], s->depth))
                return unwell();
    }
    se__sights_finish(sights);
    move_to(cursor, at, w->n);
    return se__tier_fine();
}

static struct tier_reply survey_l3(void *tier, const struct tier_survey *s,
                                   struct tier_cursor *cursor, struct tier_sights *sights,
                                   uint64_t deadline_ms)
{
    struct world *w = tier;
    (void)deadline_ms;
    if (!enter(w, &w->down_l3_after))
        return unwell();
    se__sights_clear(sights);
    size_t at = position(cursor);
    for (; at < w->n && sights->n < s->items_max; at++)
        if (w->l3[at].what != NOTHING && in_range(s, w->ids[at]) &&
            !add_sight(sights, w->ids[at], &w->l3[at], s->depth))
            return unwell();
    se__sights_finish(sights);
    move_to(cursor, at, w->n);
    return se__tier_fine();
}

static void read_slot(const struct slot *slot, struct tier_read *read)
{
    static const enum tier_found FOUND[] = {[NOTHING] = TIER_ABSENT,      [ITEM] = TIER_HIT,
                                            [TOMBSTONE] = TIER_HIT,       [MARK] = TIER_VOID,
                                            [BAD_CONTENT] = TIER_CORRUPT, [GARBAGE] = TIER_CORRUPT};
    read->found = FOUND[slot->what];
    read->item = NULL;
    read->flaw = (struct tier_flaw){.header_fits = false};
    memcpy(read->seen, &slot->stamp, sizeof slot->stamp);
    read->seen_len = sizeof slot->stamp;
    if (slot->what == ITEM)
        read->item = se_item_retain(slot->item);
    else if (slot->what == TOMBSTONE) /* as the row says: not the write that it stands for */
        read->item = make(se_item_id(slot->item), se_item_version(slot->item),
                          se__item_route(slot->item), true);
    else if (slot->what == BAD_CONTENT)
        fill_flaw(slot, &read->flaw);
}

static struct tier_reply read_tier(struct world *w, struct slot *slots, unsigned *left,
                                   struct tier_read *reads, size_t n)
{
    if (!enter(w, left))
        return unwell();
    w->reads++;
    for (size_t i = 0; i < n; i++) {
        size_t at = world_find(w, reads[i].id);
        read_slot(&slots[at], &reads[i]);
    }
    return se__tier_fine();
}

static struct tier_reply read_l2(void *tier, struct tier_read *reads, size_t n, uint64_t d)
{
    struct world *w = tier;
    (void)d;
    return read_tier(w, w->l2, &w->down_l2_after, reads, n);
}

static struct tier_reply read_l3(void *tier, struct tier_read *reads, size_t n, uint64_t d)
{
    struct world *w = tier;
    (void)d;
    return read_tier(w, w->l3, &w->down_l3_after, reads, n);
}

static struct tier_reply write_l2(void *tier, unsigned worker, struct tier_write *writes, size_t n,
                                  uint64_t d)
{
    struct world *w = tier;
    (void)worker;
    (void)d;
    if (!enter(w, &w->down_l2_after))
        return unwell();
    w->writes++;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && strcmp(se_item_id(writes[i - 1].item), se_item_id(writes[i].item)) >= 0)
            abort(); /* the contract: sorted, unique */
        writes[i].state =
            store_l2(w, &w->l2[world_find(w, se_item_id(writes[i].item))], &writes[i]);
    }
    return se__tier_fine();
}

static struct tier_reply write_l3(void *tier, unsigned worker, struct tier_write *writes, size_t n,
                                  uint64_t d)
{
    struct world *w = tier;
    (void)worker;
    (void)d;
    if (!enter(w, &w->down_l3_after))
        return unwell();
    w->writes++;
    if (w->refuse_l3) {
        se__error(SE_ERR_BACKEND, "row too large");
        return (struct tier_reply){.fault = TIER_REFUSED, .code = 1118};
    }
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && strcmp(se_item_id(writes[i - 1].item), se_item_id(writes[i].item)) >= 0)
            abort();
        writes[i].state =
            store_l3(w, &w->l3[world_find(w, se_item_id(writes[i].item))], &writes[i]);
    }
    return se__tier_fine();
}

static struct tier_reply mend_l3(void *tier, const struct tier_read *seen, struct tier_write *write,
                                 uint64_t d)
{
    struct world *w = tier;
    (void)d;
    if (!enter(w, &w->down_l3_after))
        return unwell();
    w->writes++;
    if (w->refuse_l3) {
        se__error(SE_ERR_BACKEND, "row too large");
        return (struct tier_reply){.fault = TIER_REFUSED, .code = 1118};
    }
    struct slot *slot = &w->l3[world_find(w, seen->id)];
    if (memcmp(&slot->stamp, seen->seen, sizeof slot->stamp) != 0) {
        write->state = TIER_NEWER;
        return se__tier_fine();
    }
    world_set(w, slot, what_of(write->item, write->kind), se_item_retain(write->item));
    write->state = TIER_STORED;
    return se__tier_fine();
}

static struct tier_reply count_l3(void *tier, const struct tier_scan *scan, uint64_t *count,
                                  uint64_t d)
{
    struct world *w = tier;
    (void)scan;
    (void)d;
    if (!enter(w, &w->down_l3_after))
        return unwell();
    *count = 0;
    for (size_t i = 0; i < w->n; i++)
        *count += w->l3[i].what == ITEM;
    return se__tier_fine();
}

static const struct tier_ops L2_OPS = {
    .name = "l2", .survey = survey_l2, .read = read_l2, .write = write_l2};
static const struct tier_ops L3_OPS = {.name = "l3",
                                       .survey = survey_l3,
                                       .read = read_l3,
                                       .write = write_l3,
                                       .mend = mend_l3,
                                       .count = count_l3};

struct tier world_l2(struct world *w)
{
    return (struct tier){.ops = &L2_OPS, .self = w};
}

struct tier world_l3(struct world *w)
{
    return (struct tier){.ops = &L3_OPS, .self = w};
}

/* ---- callbacks ---- */

static bool is_busy(void *arg, const char *id, size_t id_len)
{
    struct world *w = arg;
    (void)id_len;
    return w->step[world_find(w, id)] != 0;
}

static se_result settle(void *arg)
{
    struct world *w = arg;
    w->settles++;
    world_quiesce(w);
    return SE_OK;
}

static bool is_foreign(void *arg)
{
    return ((struct world *)arg)->foreign;
}

static se_item *spare(void *arg, const char *id, size_t id_len)
{
    struct world *w = arg;
    se_item *item = w->spares[world_find(w, id)];
    (void)id_len;
    return item ? se_item_retain(item) : NULL;
}

static void row_seen(void *arg, const char *id, size_t id_len)
{
    struct world *w = arg;
    w->rows_seen += strlen(id) == id_len;
}

static void finding(void *arg, const struct verify_finding *f)
{
    struct world *w = arg;
    size_t i = world_find(w, f->id);
    w->findings++;
    if (i < w->n)
        w->damaged[i] = 1;
    if (w->on_finding)
        w->on_finding(w, f);
}

static void progress(void *arg, uint64_t done, uint64_t total)
{
    struct world *w = arg;
    w->progresses++;
    w->done = done;
    w->total = total;
}

static bool checkpoint(void *arg, const char *through)
{
    struct world *w = arg;
    snprintf(w->through, sizeof w->through, "%s", through);
    return ++w->checkpoints != w->stop_at;
}

static void be_quiet(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    (void)message;
}

struct verify_options world_options(struct world *w)
{
    static const struct se__log QUIET = {.fn = be_quiet};
    return (struct verify_options){.l2 = world_l2(w),
                                   .l3 = world_l3(w),
                                   .timeout_ms = 1000,
                                   .log = &QUIET,
                                   .busy = is_busy,
                                   .settle = settle,
                                   .foreign = is_foreign,
                                   .spare = spare,
                                   .row_seen = row_seen,
                                   .finding = finding,
                                   .progress = progress,
                                   .checkpoint = checkpoint,
                                   .arg = w};
}
