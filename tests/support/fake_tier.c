/*
 * fake_tier - see fake_tier.h: life, script, waiting and looking, under one mutex. What calls do is in fake_tier_ops.c.
 */
#include "support/fake_tier.h"

#include "support/fake_tier_ops.h"

#include "base/mem.h"

#include <stdlib.h>

/* ---- life ---- */

struct fake_tier *fake_tier_open(const char *name)
{
    struct fake_tier *f = se__alloc_zeroed(1, sizeof *f);
    if (!f)
        abort();
    se__mutex_init(&f->lock);
    se__cond_init(&f->changed);
    f->ops = fake_tier_ops;
    f->ops.name = name;
    return f;
}

void fake_tier_free(struct fake_tier *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->rows_n; i++)
        se_item_release(f->rows[i].item);
    for (size_t i = 0; i < f->metas_n; i++) {
        se__free(f->metas[i].name);
        se__free(f->metas[i].value);
    }
    se__free(f->rows);
    se__free(f->metas);
    se__free(f->written);
    se__cond_done(&f->changed);
    se__mutex_done(&f->lock);
    se__free(f);
}

struct tier fake_tier_as_tier(struct fake_tier *f)
{
    return (struct tier){.ops = &f->ops, .self = f};
}

/* ---- script ---- */

static void add_rule(struct fake_tier *f, struct rule rule)
{
    se__mutex_lock(&f->lock);
    if (f->rules_n == RULES_MAX)
        abort();
    f->rules[f->rules_n++] = rule;
    se__mutex_unlock(&f->lock);
}

void fake_tier_fail(struct fake_tier *f, unsigned classes, unsigned skip, unsigned count,
                    struct tier_reply reply)
{
    add_rule(f, (struct rule){.classes = classes, .skip = skip, .count = count, .reply = reply});
}

void fake_tier_fail_late(struct fake_tier *f, unsigned skip, unsigned count,
                         struct tier_reply reply)
{
    add_rule(
        f, (struct rule){
               .classes = FAKE_WRITE, .skip = skip, .count = count, .reply = reply, .late = true});
}

void fake_tier_set_down(struct fake_tier *f, bool down)
{
    se__mutex_lock(&f->lock);
    f->down = down;
    if (!down)
        f->rules_n = 0;
    se__mutex_unlock(&f->lock);
}

void fake_tier_refuse(struct fake_tier *f, bool (*bad)(void *arg, const se_item *item), void *arg,
                      int code)
{
    se__mutex_lock(&f->lock);
    f->bad = bad;
    f->bad_arg = arg;
    f->bad_code = code;
    se__mutex_unlock(&f->lock);
}

static void set_gate(struct fake_tier *f, unsigned classes)
{
    se__mutex_lock(&f->lock);
    f->gate = classes;
    se__cond_broadcast(&f->changed);
    se__mutex_unlock(&f->lock);
}

void fake_tier_close_gate(struct fake_tier *f, unsigned classes)
{
    set_gate(f, classes);
}

void fake_tier_open_gate(struct fake_tier *f)
{
    set_gate(f, 0);
}

void fake_tier_plant(struct fake_tier *f, se_item *item, enum record_kind kind)
{
    se__mutex_lock(&f->lock);
    (void)fake_tier_put_row(f, item, kind);
    se__mutex_unlock(&f->lock);
}

/* ---- waiting and looking ---- */

static unsigned calls_locked(const struct fake_tier *f, unsigned classes)
{
    unsigned calls = 0;
    for (unsigned i = 0; i < CLASSES; i++)
        calls += classes & (1u << i) ? f->calls[i] : 0;
    return calls;
}

bool fake_tier_await_held(struct fake_tier *f, unsigned n, uint64_t deadline_ms)
{
    bool in_time = true;
    se__mutex_lock(&f->lock);
    while (f->held < n && in_time)
        in_time = se__cond_wait_until(&f->changed, &f->lock, deadline_ms);
    bool held = f->held >= n;
    se__mutex_unlock(&f->lock);
    return held;
}

bool fake_tier_await_calls(struct fake_tier *f, unsigned classes, unsigned n, uint64_t deadline_ms)
{
    bool in_time = true;
    se__mutex_lock(&f->lock);
    while (calls_locked(f, classes) < n && in_time)
        in_time = se__cond_wait_until(&f->changed, &f->lock, deadline_ms);
    bool reached = calls_locked(f, classes) >= n;
    se__mutex_unlock(&f->lock);
    return reached;
}

unsigned fake_tier_calls(struct fake_tier *f, unsigned classes)
{
    se__mutex_lock(&f->lock);
    unsigned calls = calls_locked(f, classes);
    se__mutex_unlock(&f->lock);
    return calls;
}

size_t fake_tier_rows(struct fake_tier *f)
{
    se__mutex_lock(&f->lock);
    size_t n = f->rows_n;
    se__mutex_unlock(&f->lock);
    return n;
}

uint64_t fake_tier_version(struct fake_tier *f, const char *id, enum record_kind *kind)
{
    bool found;
    se__mutex_lock(&f->lock);
    size_t at = fake_tier_find_row(f, id, &found);
    uint64_t version = found ? se_item_version(f->rows[at].item) : 0;
    if (found && kind)
        *kind = f->rows[at].kind;
    se__mutex_unlock(&f->lock);
    return version;
}

se_item *fake_tier_item(struct fake_tier *f, const char *id)
{
    bool found;
    se__mutex_lock(&f->lock);
    size_t at = fake_tier_find_row(f, id, &found);
    se_item *item = found ? fake_tier_row_item(&f->rows[at]) : NULL;
    se__mutex_unlock(&f->lock);
    return item;
}

size_t fake_tier_written(struct fake_tier *f)
{
    se__mutex_lock(&f->lock);
    size_t n = f->written_n;
    se__mutex_unlock(&f->lock);
    return n;
}

struct fake_write fake_tier_write_at(struct fake_tier *f, size_t at)
{
    se__mutex_lock(&f->lock);
    struct fake_write write = at < f->written_n ? f->written[at] : (struct fake_write){0};
    se__mutex_unlock(&f->lock);
    return write;
}

bool fake_tier_writes_sane(struct fake_tier *f)
{
    se__mutex_lock(&f->lock);
    bool sane = !f->insane;
    se__mutex_unlock(&f->lock);
    return sane;
}
