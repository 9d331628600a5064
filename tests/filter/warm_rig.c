/*
 * warm_rig.c - see warm_rig.h. Its memory is not the library's: a test may let that fail.
 */
#include "filter/warm_rig.h"

#include "item/item.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEADLINE_MS 60000u

/* ---- lists of ids ---- */

static void push(struct rig_ids *list, const char *id)
{
    if (list->n == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 64;
        list->ids = realloc(list->ids, list->cap * sizeof *list->ids);
        if (!list->ids)
            abort();
    }
    snprintf(list->ids[list->n++], RIG_ID_MAX, "%s", id);
}

static void take_out(struct rig_ids *list, const char *id)
{
    for (size_t i = list->n; i-- > 0;) {
        if (strcmp(list->ids[i], id) == 0) {
            memmove(list->ids[i], list->ids[--list->n], RIG_ID_MAX);
            return;
        }
    }
}

/* ---- what the warm asks for ---- */

static se_result show_pending(void *arg, void (*see)(void *see_arg, const char *id, size_t id_len),
                              void *see_arg)
{
    struct rig *r = arg;
    if (r->before_pending)
        r->before_pending(r);
    se__mutex_lock(&r->lock);
    bool fails = r->pending_fails;
    for (size_t i = 0; i < r->pending.n; i++)
        see(see_arg, r->pending.ids[i], strlen(r->pending.ids[i]));
    se__mutex_unlock(&r->lock);
    return fails ? se__error(SE_ERR_IO, "the fake WAL cannot be read") : SE_OK;
}

static uint64_t position(void *arg)
{
    return atomic_load(&((struct rig *)arg)->position);
}

static uint64_t removals(void *arg)
{
    return atomic_load(&((struct rig *)arg)->removals);
}

static bool stopping(void *arg)
{
    return atomic_load(&((struct rig *)arg)->stopping);
}

static void keep_line(void *arg, se_log_level level, const char *message)
{
    static const char *const names[] = {"ERROR", "WARN", "INFO", "DEBUG"};
    struct rig *r = arg;
    se__mutex_lock(&r->lock);
    size_t len = strlen(message) + 10;
    r->lines = realloc(r->lines, r->lines_len + len + 1);
    if (!r->lines)
        abort();
    r->lines_len +=
        (size_t)snprintf(r->lines + r->lines_len, len + 1, "%s %s\n", names[level], message);
    se__mutex_unlock(&r->lock);
}

bool rig_logged(struct rig *r, const char *words)
{
    se__mutex_lock(&r->lock);
    bool found = r->lines && strstr(r->lines, words);
    se__mutex_unlock(&r->lock);
    return found;
}

/* ---- life ---- */

void rig_open(struct rig *r)
{
    *r = (struct rig){.incarnation = "db-1"};
    se__mutex_init(&r->lock);
    test_dir_make(&r->dir);
    test_dir_path(&r->dir, "", "wal.filter", r->path);
    r->l3 = fake_l3_open();
    r->log = (struct se__log){.fn = keep_line, .arg = r};
    r->options = (struct warm_options){.home = fake_l3_tier(r->l3),
                                       .snapshot_path = r->path,
                                       .table = "items",
                                       .page_ids = 100,
                                       .timeout_ms = 1000,
                                       .log = &r->log,
                                       .pending = show_pending,
                                       .position = position,
                                       .removals = removals,
                                       .stopping = stopping,
                                       .arg = r};
}

void rig_close(struct rig *r)
{
    rig_stop(r);
    fake_l3_close(r->l3);
    test_dir_remove(&r->dir);
    free(r->pending.ids);
    free(r->acknowledged.ids);
    free(r->lines);
    se__mutex_done(&r->lock);
}

void rig_start(struct rig *r)
{
    cr_assert_eq(se__metrics_open(&r->metrics), SE_OK);
    r->options.metrics = r->metrics;
    cr_assert_eq(se__warm_open(&r->options, &r->w), SE_OK, "%s", se_errmsg());
}

void rig_stop(struct rig *r)
{
    se__warm_close(r->w);
    se__metrics_close(r->metrics);
    r->w = NULL;
    r->metrics = NULL;
}

uint64_t rig_run(struct rig *r, unsigned calls)
{
    uint64_t wait_ms = 0;
    for (unsigned i = 0; i < calls && wait_ms == 0; i++)
        wait_ms = se__warm_run(r->w, r->incarnation);
    return wait_ms;
}

void rig_run_until_trusted(struct rig *r)
{
    uint64_t deadline = se__deadline_in(DEADLINE_MS);
    while (rig_doubts(r)) {
        uint64_t wait_ms = rig_run(r, 1);
        cr_assert(se__deadline_left(deadline) > 0, "not trusted: %u", rig_doubts(r));
        if (wait_ms && rig_doubts(r))
            se__pause_ms(wait_ms < 5 ? (uint32_t)wait_ms : 5); /* a back-off of the real clock */
    }
}

/* ---- ids ---- */

static void acknowledge(struct rig *r, const char *id, bool pending)
{
    se__mutex_lock(&r->lock);
    push(&r->acknowledged, id);
    if (pending)
        push(&r->pending, id);
    se__mutex_unlock(&r->lock);
}

void rig_write(struct rig *r, const char *id)
{
    struct filter *f = se__warm_filter(r->w);
    atomic_fetch_add(&r->position, 1);
    uint64_t epoch = se__filter_add(f, id, strlen(id));
    acknowledge(r, id, true);
    if (se__filter_epoch(f) != epoch)
        se__filter_add(f, id, strlen(id));
}

void rig_flush(struct rig *r, const char *id)
{
    fake_l3_put(r->l3, id);
    se__mutex_lock(&r->lock);
    take_out(&r->pending, id);
    se__mutex_unlock(&r->lock);
}

void rig_put(struct rig *r, const char *id)
{
    rig_write(r, id);
    rig_flush(r, id);
}

void rig_behind(struct rig *r, const char *id)
{
    fake_l3_put(r->l3, id);
    acknowledge(r, id, false);
}

void rig_only_pending(struct rig *r, const char *id)
{
    acknowledge(r, id, true);
}

void rig_delete(struct rig *r, const char *id)
{
    atomic_fetch_add(&r->removals, 1);
    atomic_fetch_add(&r->position, 1);
    se__mutex_lock(&r->lock);
    take_out(&r->acknowledged, id);
    se__mutex_unlock(&r->lock);
    fake_l3_delete(r->l3, id);
}

void rig_id(unsigned i, char id[RIG_ID_MAX])
{
    snprintf(id, RIG_ID_MAX, "id-%u", i);
}

void rig_id_in_part(unsigned part, unsigned i, char id[RIG_ID_MAX])
{
    unsigned n = 0;
    do
        snprintf(id, RIG_ID_MAX, "part-%u-%u-%u", part, i, n++);
    while (se__filter_part(id, strlen(id)) != part);
}

void rig_id_in_bucket(uint16_t bucket, unsigned i, char id[RIG_ID_MAX])
{
    unsigned n = 0;
    do
        snprintf(id, RIG_ID_MAX, "bucket-%u-%u-%u", bucket, i, n++);
    while (se__item_bucket(id, strlen(id)) != bucket);
}

void rig_fill(struct rig *r, unsigned from, unsigned until)
{
    for (unsigned i = from; i < until; i++) {
        char id[RIG_ID_MAX];
        rig_id(i, id);
        rig_behind(r, id);
    }
}

void rig_put_many(struct rig *r, unsigned from, unsigned until)
{
    for (unsigned i = from; i < until; i++) {
        char id[RIG_ID_MAX];
        rig_id(i, id);
        rig_put(r, id);
    }
}

bool rig_is_due(struct rig *r, unsigned part)
{
    struct filter_part_stats stats;
    se__filter_part_stats(se__warm_filter(r->w), part, &stats);
    return stats.due;
}

void rig_put_until_due(struct rig *r, unsigned part)
{
    char id[RIG_ID_MAX];
    for (unsigned i = 0; !rig_is_due(r, part); i++) {
        rig_id_in_part(part, i, id);
        rig_put(r, id);
    }
}

/* ---- snapshots ---- */

bool rig_has_file(struct rig *r)
{
    return access(r->path, F_OK) == 0;
}

void rig_leave_and_start(struct rig *r)
{
    se__warm_leave(r->w, r->incarnation, SE__FOREVER);
    rig_stop(r);
    rig_start(r);
    fake_l3_seen(r->l3);
}

void rig_start_with_snapshot(struct rig *r, unsigned rows)
{
    rig_start(r);
    rig_put_many(r, 0, rows);
    rig_run(r, 10);
    cr_assert_eq(rig_doubts(r), 0);
    rig_leave_and_start(r);
    cr_assert(rig_has_file(r));
}

void rig_expect_used(struct rig *r, uint64_t ids)
{
    rig_run(r, 10);
    cr_assert_eq(rig_doubts(r), 0);
    cr_assert_eq(rig_sum(r, M_FILTER_SNAPSHOT_USED), 1);
    cr_assert_eq(rig_sum(r, M_FILTER_SNAPSHOT_REFUSED), 0);
    cr_assert_eq(rig_sum(r, M_FILTER_SCANNED), ids);
    rig_check(r);
    cr_assert_gt(rig_excluded(r), 9900);
}

/* ---- looking ---- */

uint64_t rig_ids(struct rig *r)
{
    struct filter_stats stats;
    se__filter_stats(se__warm_filter(r->w), &stats);
    return stats.ids;
}

bool rig_excludes(struct rig *r, const char *id)
{
    return se__filter_excludes(se__warm_filter(r->w), id, strlen(id));
}

unsigned rig_doubts(struct rig *r)
{
    return se__filter_doubts(se__warm_filter(r->w));
}

void rig_check(struct rig *r)
{
    struct filter *f = se__warm_filter(r->w);
    se__mutex_lock(&r->lock);
    for (size_t i = 0; i < r->acknowledged.n; i++) {
        const char *id = r->acknowledged.ids[i];
        cr_assert_not(rig_excludes(r, id), "%s", id);
        if (rig_doubts(r) == 0)
            cr_assert(se__filter_has(f, id, strlen(id)), "%s", id);
    }
    se__mutex_unlock(&r->lock);
}

unsigned rig_excluded(struct rig *r)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 10000; i++) {
        char id[RIG_ID_MAX];
        snprintf(id, sizeof id, "never-%u", i);
        n += rig_excludes(r, id);
    }
    return n;
}

uint64_t rig_sum(struct rig *r, enum metric which)
{
    return se__metrics_sum(r->metrics, which);
}
