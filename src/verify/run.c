/*
 * run - see verify.h: passes over the ids, pages, pace and checkpoints.
 *
 * A pass: L2 is surveyed once, into the list of what it holds (gather.h), which says how far the
 * pass reaches; then L3 over the same range of ids, in order, each page matched against the list.
 * What is written between the two surveys differs, and the second look clears it.
 */
#include "verify/inside.h"

#include "base/mem.h"
#include "base/os.h"
#include "tier/retry.h"
#include "tier/sights.h"

#include <string.h>

#define PAGE_RECORDS 1000u
#define PAGE_BYTES (1u << 20)
#define MS_NS UINT64_C(1000000)
#define SLICE_NS (100 * MS_NS)

se_result se__run_failed(const char *what, const struct tier *tier)
{
    return se__error(SE_ERR_BACKEND, "verify: %s cannot %s: %s", tier->ops->name, what,
                     se_errmsg());
}

/* ---- pace, progress, checkpoints ---- */

static void ask_to_go_on(struct run *run)
{
    if (run->o->checkpoint && !run->stopped)
        run->stopped = !run->o->checkpoint(run->o->arg, run->through);
}

void se__run_pause(struct run *run, uint64_t ns)
{
    uint64_t until = se__mono_ns() + ns;
    for (uint64_t now = se__mono_ns(); now < until && !run->stopped; now = se__mono_ns()) {
        uint64_t slice = until - now < SLICE_NS ? until - now : SLICE_NS;
        se__pause_ms((uint32_t)((slice + MS_NS - 1) / MS_NS));
        ask_to_go_on(run);
    }
}

static void count_checked(struct run *run)
{
    se__metrics_add(run->o->metrics, M_VERIFY_CHECKED, run->report->checked - run->counted);
    run->counted = run->report->checked;
}

static void show_progress(struct run *run)
{
    if (run->total < run->merged)
        run->total = run->merged;
    if (run->o->progress)
        run->o->progress(run->o->arg, run->merged, run->total);
}

void se__run_tick(struct run *run, uint64_t records)
{
    count_checked(run);
    show_progress(run);
    ask_to_go_on(run);
    uint64_t wait_ns = se__pace_take(&run->pace, records, se__mono_ns());
    /* what is less adds up in the pace, and is waited for later */
    if (wait_ns >= MS_NS && !run->stopped)
        se__run_pause(run, wait_ns);
}

/* ---- one pass ---- */

static struct tier_survey survey_of(const struct run *run)
{
    return (struct tier_survey){.depth = run->o->deep ? TIER_CONTENTS : TIER_HEADERS,
                                .order = TIER_BY_ID,
                                .after = run->through,
                                .items_max = se__pace_page(&run->pace, PAGE_RECORDS),
                                .bytes_max = PAGE_BYTES};
}

/* The cursor stays where it was when a page fails, so a server that was only slow is asked again. */
static se_result ask_page(struct run *run, const struct tier *tier, const struct tier_survey *s,
                          struct tier_cursor *cursor)
{
    uint32_t wait_ms;
    for (uint32_t tries = 1; !run->stopped; tries++) {
        uint64_t deadline = se__deadline_in(run->o->timeout_ms);
        if (tier->ops->survey(tier->self, s, cursor, &run->page, deadline).fault == TIER_FINE)
            return SE_OK;
        if (!se__retry_next(&SE__RETRY_STARTUP, tries, se__random_u64(), se__mono_ms(), SE__FOREVER,
                            &wait_ms))
            return se__run_failed("be surveyed", tier);
        se__run_pause(run, wait_ms * MS_NS);
    }
    se__sights_clear(&run->page);
    return SE_OK;
}

static void gather_page(struct run *run)
{
    for (size_t i = 0; i < run->page.n; i++) {
        const struct tier_sight *s = &run->page.sights[i];
        struct copy c = se__copy_of_sight(s);
        /* A key that is no id is not ours, whatever is under it. */
        if (s->id_len > 0 && s->id_len <= SE_ID_MAX && strlen(s->id) == s->id_len)
            se__gather_add(run->gather, s->id, s->id_len, &c, s->content_len);
    }
}

static se_result survey_l2(struct run *run)
{
    struct tier_cursor cursor = {0};
    struct tier_survey s = survey_of(run);
    se_result r = SE_OK;
    se__gather_begin(run->gather, run->through);
    while (r == SE_OK && !cursor.done && !run->stopped) {
        s.until = se__gather_until(run->gather); /* it may come nearer with every page */
        r = ask_page(run, &run->o->l2, &s, &cursor);
        if (r == SE_OK) {
            gather_page(run);
            se__run_tick(run, run->page.n);
        }
    }
    if (r == SE_OK && !run->stopped)
        se__gather_seal(run->gather);
    se__tier_cursor_done(&cursor);
    return r;
}

static se_result survey_l3(struct run *run, const char *until, size_t *at)
{
    struct tier_cursor cursor = {0};
    struct tier_survey s = survey_of(run);
    char after[SE_ID_MAX + 1];
    se_result r = SE_OK;
    memcpy(after, run->through, sizeof after); /* `through` moves on meanwhile */
    s.after = after;
    s.until = until;
    while (r == SE_OK && !cursor.done && !run->stopped) {
        r = ask_page(run, &run->o->l3, &s, &cursor);
        if (r == SE_OK)
            r = se__match_page(run, &run->page, at);
        if (r == SE_OK && !run->stopped)
            se__run_tick(run, run->page.n);
    }
    se__tier_cursor_done(&cursor);
    return r;
}

static void expect_listed(struct run *run)
{
    if (!se__run_has_l3(run) && run->total < run->merged + se__gather_n(run->gather))
        run->total = run->merged + se__gather_n(run->gather);
}

/* All ids up to this one are done. */
static void begin_after(struct run *run, const char *id)
{
    run->last_len = strlen(id);
    memcpy(run->last, id, run->last_len + 1);
    memcpy(run->through, id, run->last_len + 1);
}

/* What L2 holds of a range, then L3. *more: the range ended before the last id. */
static se_result pass(struct run *run, bool *more)
{
    char until[SE_ID_MAX + 1] = "";
    size_t at = 0;
    se_result r = SE_OK;
    if (run->gather) {
        r = survey_l2(run);
        memcpy(until, se__gather_until(run->gather), strlen(se__gather_until(run->gather)) + 1);
        if (r == SE_OK && !run->stopped)
            expect_listed(run);
    }
    if (r == SE_OK && !run->stopped && se__run_has_l3(run))
        r = survey_l3(run, until, &at);
    if (r == SE_OK && !run->stopped)
        r = se__match_rest(run, &at);
    if (r == SE_OK && !run->stopped)
        r = se__resolve(run);
    *more = until[0] != '\0';
    if (r == SE_OK && !run->stopped && *more)
        begin_after(run, until);
    if (r == SE_OK && !run->stopped)
        se__run_tick(run, 0);
    return r;
}

/* ---- a run ---- */

static se_result check_options(const struct verify_options *o)
{
    if (!o->l2.ops && !o->l3.ops)
        return se__error(SE_ERR_UNSUPPORTED, "no tier is configured that could be verified");
    if ((o->l2.ops && !o->l2.ops->survey) || (o->l3.ops && !o->l3.ops->survey))
        return se__error(SE_ERR_UNSUPPORTED, "a tier cannot be surveyed");
    if (o->after && strlen(o->after) > SE_ID_MAX)
        return se__error(SE_ERR_INVALID, "after is longer than an id can be");
    return SE_OK;
}

/* An estimate, which costs the database a look at every row: only for who wants to see it. One that
 * does not answer now is noticed by the survey. */
static void estimate_total(struct run *run)
{
    const struct tier *l3 = &run->o->l3;
    struct tier_scan all = {.prefix = "", .after = "", .items_max = 1, .bytes_max = 1};
    uint64_t count = 0;
    if (!se__run_has_l3(run) || !l3->ops->count || !run->o->progress)
        return;
    struct tier_reply reply =
        l3->ops->count(l3->self, &all, &count, se__deadline_in(run->o->timeout_ms));
    if (reply.fault == TIER_FINE)
        run->total = count;
}

static void run_done(struct run *run)
{
    count_checked(run);
    se__report_end(run);
    se__gather_close(run->gather);
    se__sights_done(&run->page);
    se__free(run->open.list);
    se__buf_done(&run->open.ids);
}

se_result se__verify_run(const struct verify_options *options, se_verify_report *report)
{
    struct run run = {.o = options, .report = report};
    bool more = true;
    *report = (se_verify_report){.roots_equal = true};
    se_result r = check_options(options);
    if (r != SE_OK)
        return r;
    begin_after(&run, options->after ? options->after : "");
    se__pace_init(&run.pace, options->rate);
    se__metrics_inc(options->metrics, M_VERIFY_RUNS);
    if (options->l2.ops)
        r = se__gather_open(options->memory_max ? options->memory_max : VERIFY_MEMORY, &run.gather);
    if (r == SE_OK)
        estimate_total(&run);
    while (r == SE_OK && more && !run.stopped)
        r = pass(&run, &more);
    if (r == SE_OK && !run.stopped && options->progress)
        options->progress(options->arg, run.merged, run.merged);
    run_done(&run);
    return r;
}
