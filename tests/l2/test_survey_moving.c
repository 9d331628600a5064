/*
 * Surveys of a server that does not stand still: other clients, stops, restarts, refusals.
 */
#include "l2/fixture.h"

#include "base/mem.h"
#include "tier/sights.h"

#include <stdio.h>
#include <stdlib.h>

TestSuite(l2_survey_moving, .init = l2_setup, .fini = l2_teardown, .timeout = 120);

static struct tier_reply page(const struct tier_survey *survey, struct tier_cursor *cursor,
                              struct tier_sights *sights)
{
    return l2.tier.ops->survey(l2.tier.self, survey, cursor, sights, se__deadline_in(PATIENCE_MS));
}

/* ---- others add and delete ---- */

#define STEADY 3000

struct churner {
    struct se__thread thread;
    struct l2 l2;
    _Atomic bool stop;
    unsigned rounds;
};

/* Adds and deletes thousands of keys, so that the server's table grows and shrinks. */
static void churn(void *arg)
{
    enum { N = 4000 };
    static const char DELETE[] = "local n = 0 for i = 0, 3999 do n = n + redis.call('DEL', "
                                 "string.format('sync:moving%05d', i)) end return n";
    static struct tier_write writes[N];
    struct churner *c = arg;
    char id[24], out[64];
    for (size_t i = 0; i < N; i++) {
        snprintf(id, sizeof id, "moving%05zu", i);
        writes[i] = (struct tier_write){.item = l2_item(id, "x", 1), .kind = RECORD_ITEM};
    }
    for (; !c->stop; c->rounds++) {
        c->l2.tier.ops->write(c->l2.tier.self, 0, writes, N, se__deadline_in(PATIENCE_MS));
        redis_server_ask(&server, out, sizeof out, "EVAL %s 0", DELETE);
        cr_assert_str_eq(out, "4000");
    }
    for (size_t i = 0; i < N; i++)
        se_item_release(writes[i].item);
}

static void put_steady(void)
{
    static struct tier_write writes[STEADY];
    char id[24];
    for (size_t i = 0; i < STEADY; i++) {
        snprintf(id, sizeof id, "steady%05zu", i);
        writes[i] = (struct tier_write){.item = l2_item(id, "x", i + 1), .kind = RECORD_ITEM};
    }
    cr_assert_eq(
        l2.tier.ops->write(l2.tier.self, 0, writes, STEADY, se__deadline_in(PATIENCE_MS)).fault,
        TIER_FINE);
    for (size_t i = 0; i < STEADY; i++)
        se_item_release(writes[i].item);
}

static void note_steady(const struct tier_sight *s, bool *seen)
{
    cr_assert_eq(s->found, TIER_HIT, "%s: %d", s->id, s->found);
    if (strncmp(s->id, "steady", 6) == 0) {
        size_t at = (size_t)atoi(s->id + 6);
        cr_assert_eq(s->version, at + 1);
        seen[at] = true;
    }
}

static void see_all_steady(enum tier_depth depth)
{
    struct tier_cursor cursor = {0};
    struct tier_sights sights = {0};
    bool seen[STEADY] = {false};
    struct tier_survey survey = {.depth = depth, .items_max = 50, .bytes_max = 1 << 20};
    while (!cursor.done) {
        cr_assert_eq(page(&survey, &cursor, &sights).fault, TIER_FINE, "%s", se_errmsg());
        for (size_t i = 0; i < sights.n; i++)
            note_steady(&sights.sights[i], seen);
    }
    for (size_t i = 0; i < STEADY; i++)
        cr_assert(seen[i], "%zu", i);
    se__sights_done(&sights);
    se__tier_cursor_done(&cursor);
}

/* Keys that vanish between SCAN and the look at them are left out; what stays is seen. */
Test(l2_survey_moving, what_is_there_throughout_is_seen_whatever_others_do)
{
    static struct churner churner;
    churner.stop = false;
    put_steady();
    l2_open(&churner.l2, &server, NULL);
    cr_assert_eq(se__thread_start(&churner.thread, "churner", churn, &churner), SE_OK);
    for (int round = 0; round < 12; round++)
        see_all_steady(round % 2 ? TIER_CONTENTS : TIER_HEADERS);
    churner.stop = true;
    se__thread_join(&churner.thread);
    cr_assert_gt(churner.rounds, 0u);
    l2_close(&churner.l2);
}

/* ---- what goes wrong ---- */

struct walk {
    struct tier_cursor cursor, before;
    struct tier_sights sights;
    struct tier_survey survey;
};

/* A survey that has seen some pages and has more to see. */
static void begin_walk(struct walk *w)
{
    put_steady();
    *w = (struct walk){.survey = {.depth = TIER_CONTENTS, .items_max = 50, .bytes_max = 1 << 20}};
    for (int i = 0; i < 3; i++)
        cr_assert_eq(page(&w->survey, &w->cursor, &w->sights).fault, TIER_FINE);
    cr_assert(!w->cursor.done);
    w->before = w->cursor;
}

static void expect_fault(struct walk *w, uint32_t ms, bool timed_out, const char *words)
{
    struct tier_reply reply =
        l2.tier.ops->survey(l2.tier.self, &w->survey, &w->cursor, &w->sights, se__deadline_in(ms));
    cr_assert_eq(reply.fault, TIER_UNWELL);
    cr_assert_eq(reply.timed_out, timed_out);
    cr_assert_neq(strstr(se_errmsg(), words), NULL, "%s", se_errmsg());
    cr_assert_eq(w->sights.n, 0u);
    cr_assert_eq(memcmp(&w->cursor, &w->before, sizeof w->cursor), 0);
}

static void end_walk(struct walk *w)
{
    se__sights_done(&w->sights);
    se__tier_cursor_done(&w->cursor);
}

static void finish_walk(struct walk *w)
{
    size_t pages = 0;
    for (; !w->cursor.done; pages++)
        cr_assert_eq(page(&w->survey, &w->cursor, &w->sights).fault, TIER_FINE, "%s", se_errmsg());
    cr_assert_gt(pages, 10u);
    end_walk(w);
}

Test(l2_survey_moving, a_page_that_timed_out_is_asked_for_again)
{
    struct walk w;
    begin_walk(&w);
    redis_server_pause(&server);
    expect_fault(&w, 100, true, "");
    redis_server_resume(&server);
    finish_walk(&w);
}

/* SCAN was answered, what is under its keys was not. */
Test(l2_survey_moving, a_page_that_fails_half_way_is_no_page)
{
    char out[64];
    struct walk w;
    begin_walk(&w);
    redis_server_ask(&server, out, sizeof out, "ACL SETUSER default -getrange");
    cr_assert_str_eq(out, "OK");
    expect_fault(&w, PATIENCE_MS, false, "NOPERM");
    redis_server_ask(&server, out, sizeof out, "ACL SETUSER default +getrange");
    finish_walk(&w);
}

Test(l2_survey_moving, a_cursor_means_nothing_to_another_server)
{
    struct walk w;
    begin_walk(&w);
    redis_server_restart(&server, false);
    struct tier_reply reply = page(&w.survey, &w.cursor, &w.sights);
    cr_assert_eq(reply.fault, TIER_UNWELL); /* a dead connection, or a server not accepted */
    cr_assert_eq(l2.tier.ops->prepare(l2.tier.self, se__deadline_in(PATIENCE_MS)), SE_OK);
    expect_fault(&w, PATIENCE_MS, false, "not been accepted");
    l2_accept(&l2, GENERATION);
    expect_fault(&w, PATIENCE_MS, false, "the server changed in the middle of a survey");
    se__tier_cursor_done(&w.cursor);
    cr_assert_eq(page(&w.survey, &w.cursor, &w.sights).fault, TIER_FINE);
    cr_assert(w.cursor.done);
    end_walk(&w);
}

Test(l2_survey_moving, a_server_that_is_not_accepted_is_not_surveyed)
{
    struct tier_cursor cursor = {0};
    struct tier_sights sights = {0};
    struct tier_survey survey = {.depth = TIER_HEADERS, .items_max = 50};
    struct l2 stranger;
    l2_open(&stranger, &server, &(struct l2_options){.not_accepted = true});
    struct tier_reply reply = stranger.tier.ops->survey(stranger.tier.self, &survey, &cursor,
                                                        &sights, se__deadline_in(PATIENCE_MS));
    cr_assert(reply.fault == TIER_UNWELL && reply.rejected);
    cr_assert(!cursor.begun && !cursor.done);
    se__sights_done(&sights);
    l2_close(&stranger);
}

Test(l2_survey_moving, without_memory_a_page_is_no_page)
{
    int64_t n = 0;
    bool fine = false;
    put_steady();
    if (!se__mem_fail_after(-1))
        return; /* compiled out */
    for (; !fine; n++) {
        struct tier_cursor cursor = {0};
        struct tier_sights sights = {0};
        struct tier_survey survey = {
            .depth = TIER_CONTENTS, .items_max = 500, .bytes_max = 1 << 20};
        cr_assert(se__mem_fail_after(n));
        struct tier_reply reply = page(&survey, &cursor, &sights);
        se__mem_fail_after(-1);
        fine = reply.fault == TIER_FINE;
        cr_assert(fine || reply.fault == TIER_UNWELL);
        cr_assert_eq(cursor.begun, fine);
        cr_assert_eq(sights.n > 0, fine);
        se__sights_done(&sights);
        se__tier_cursor_done(&cursor);
    }
    cr_assert_gt(n, 2);
}
