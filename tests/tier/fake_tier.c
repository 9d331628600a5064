/*
 * fake_tier - see fake_tier.h.
 *
 * Calls that hand something out do so even when they fail, as a careless backend would.
 */
#include "fake_tier.h"

#include "base/mem.h"
#include "support/test.h"

#include <string.h>

void fake_tier_init(struct fake_tier *f)
{
    *f = (struct fake_tier){0};
    se__mutex_init(&f->lock);
}

void fake_tier_done(struct fake_tier *f)
{
    se__mutex_done(&f->lock);
}

void fake_tier_answer(struct fake_tier *f, unsigned n, struct tier_reply reply)
{
    se__mutex_lock(&f->lock);
    for (; n > 0 && f->scripted < FAKE_SCRIPT_MAX; n--)
        f->script[f->scripted++] = reply;
    se__mutex_unlock(&f->lock);
}

unsigned fake_tier_calls(struct fake_tier *f)
{
    se__mutex_lock(&f->lock);
    unsigned calls = f->calls;
    se__mutex_unlock(&f->lock);
    return calls;
}

static struct tier_reply next_answer(struct fake_tier *f)
{
    se__mutex_lock(&f->lock);
    struct tier_reply reply = se__tier_fine();
    if (f->calls < f->scripted)
        reply = f->script[f->calls];
    if (f->calls < FAKE_SCRIPT_MAX)
        f->took_ms[f->calls] = se__mono_ms();
    f->calls++;
    if (f->scripted < f->calls)
        f->scripted = f->calls;
    se__mutex_unlock(&f->lock);
    if (reply.fault != TIER_FINE)
        se__error(SE_ERR_BACKEND, "the fake says %d", reply.code);
    return reply;
}

static se_result prepare(void *tier, uint64_t deadline_ms)
{
    (void)deadline_ms;
    struct fake_tier *f = tier;
    (void)next_answer(f);
    return f->prepare_result == SE_OK ? SE_OK
                                      : se__error(f->prepare_result, "the fake is not ready");
}

static struct tier_reply probe(void *tier, uint64_t deadline_ms)
{
    (void)deadline_ms;
    return next_answer(tier);
}

static struct tier_reply write_all(void *tier, unsigned worker, struct tier_write *writes, size_t n,
                                   uint64_t deadline_ms)
{
    (void)worker;
    (void)deadline_ms;
    struct fake_tier *f = tier;
    struct tier_reply reply = next_answer(f);
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(writes[i].state, TIER_NOT_TRIED, "emptied before each attempt");
        writes[i].state = f->stored[i % 8];
    }
    return reply;
}

static se_item *any_item(const char *id)
{
    struct item_spec spec = {
        .id = id, .id_len = strlen(id), .content = "x", .content_len = 1, .version = 1};
    se_item *item = se__item_new(&spec);
    cr_assert_not_null(item);
    return item;
}

static struct tier_reply read_all(void *tier, struct tier_read *reads, size_t n,
                                  uint64_t deadline_ms)
{
    (void)deadline_ms;
    struct fake_tier *f = tier;
    struct tier_reply reply = next_answer(f);
    for (size_t i = 0; i < n; i++) {
        reads[i].found = f->found[i % 8];
        reads[i].item = reads[i].found == TIER_HIT ? any_item(reads[i].id) : NULL;
    }
    return reply;
}

static struct tier_reply scan(void *tier, const struct tier_scan *how, struct tier_page *page,
                              uint64_t deadline_ms)
{
    (void)how;
    (void)deadline_ms;
    struct tier_reply reply = next_answer(tier);
    page->items = se__alloc(sizeof *page->items);
    page->items[0] = any_item("scanned");
    page->n = 1;
    return reply;
}

static struct tier_reply count(void *tier, const struct tier_scan *how, uint64_t *n,
                               uint64_t deadline_ms)
{
    (void)how;
    (void)deadline_ms;
    *n = 42;
    return next_answer(tier);
}

static struct tier_reply list(void *tier, const char *prefix, struct tier_ids *ids,
                              uint64_t deadline_ms)
{
    (void)prefix;
    (void)deadline_ms;
    struct tier_reply reply = next_answer(tier);
    ids->ids = se__alloc(sizeof *ids->ids);
    ids->ids[0] = se__strdup("listed");
    ids->n = 1;
    return reply;
}

static struct tier_reply meta_get(void *tier, const char *name, struct buf *value, bool *found,
                                  uint64_t deadline_ms)
{
    (void)deadline_ms;
    struct tier_reply reply = next_answer(tier);
    se__buf_text(value, name);
    *found = true;
    return reply;
}

static struct tier_reply meta_put(void *tier, const char *name, const char *value,
                                  uint64_t deadline_ms)
{
    (void)name;
    (void)value;
    (void)deadline_ms;
    return next_answer(tier);
}

static struct tier_reply meta_add(void *tier, const char *name, const char *value,
                                  struct buf *value_now, uint64_t deadline_ms)
{
    (void)name;
    (void)deadline_ms;
    struct tier_reply reply = next_answer(tier);
    se__buf_text(value_now, value);
    return reply;
}

static struct tier_reply meta_delete(void *tier, const char *name, uint64_t deadline_ms)
{
    (void)name;
    (void)deadline_ms;
    return next_answer(tier);
}

/* Shows one name; a code of 1 fails before it, any other after. */
static struct tier_reply meta_list(void *tier, const char *prefix,
                                   void (*visit)(void *arg, const char *name, const char *value),
                                   void *arg, uint64_t deadline_ms)
{
    (void)deadline_ms;
    struct tier_reply reply = next_answer(tier);
    if (reply.code != 1)
        visit(arg, prefix, "value");
    return reply;
}

static struct tier_reply purge(void *tier, size_t limit, size_t *purged, uint64_t deadline_ms)
{
    (void)deadline_ms;
    *purged = limit;
    return next_answer(tier);
}

static size_t payload_max(void *tier)
{
    (void)tier;
    return 1234;
}

static unsigned writers_max(void *tier)
{
    (void)tier;
    return 7;
}

static void close_fake(void *tier)
{
    struct fake_tier *f = tier;
    cr_assert_not(f->closed);
    f->closed = true;
}

struct tier fake_tier(struct fake_tier *f)
{
    static const struct tier_ops ops = {.name = "fake",
                                        .prepare = prepare,
                                        .probe = probe,
                                        .write = write_all,
                                        .read = read_all,
                                        .scan = scan,
                                        .count = count,
                                        .list = list,
                                        .meta_get = meta_get,
                                        .meta_put = meta_put,
                                        .meta_add = meta_add,
                                        .meta_delete = meta_delete,
                                        .meta_list = meta_list,
                                        .purge = purge,
                                        .payload_max = payload_max,
                                        .writers_max = writers_max,
                                        .close = close_fake};
    return (struct tier){.ops = &ops, .self = f};
}

struct tier fake_tier_bare(struct fake_tier *f)
{
    static const struct tier_ops ops = {.name = "bare", .close = close_fake};
    return (struct tier){.ops = &ops, .self = f};
}
