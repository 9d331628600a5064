/*
 * Tests of src/tier/combine.c, with a backend that a test can hold, refuse or let run out of time.
 *
 * It answers every id with an item of that id, "absent..." with nothing.
 */
#include "support/must.h"
#include "support/test.h"

#include "base/os.h"
#include "tier/combine.h"

#include <stdio.h>
#include <string.h>

#define PATIENCE_MS 20000u
#define CALLERS 20u

struct backend {
    struct se__mutex lock; /* guards all below */
    struct se__cond changed;
    bool hold;    /* reads hang until this ends or their deadline passes, */
    unsigned let; /* but for so many */
    struct tier_reply answer;
    unsigned inside, most, calls;
    size_t ids, last_n;
};
static struct backend be;
static struct combiner *combiner;

static void answer_one(struct tier_read *read)
{
    read->item = NULL;
    read->found = TIER_ABSENT;
    if (read->id_len >= 6 && memcmp(read->id, "absent", 6) == 0)
        return;
    read->item = se__item_new(&(struct item_spec){
        .id = read->id, .id_len = read->id_len, .content = "x", .content_len = 1, .version = 1});
    MUST(read->item, "no memory");
    read->found = TIER_HIT;
    se__tier_came(read);
}

static struct tier_reply read_fake(void *arg, struct tier_read *reads, size_t n,
                                   uint64_t deadline_ms)
{
    (void)arg;
    se__mutex_lock(&be.lock);
    be.inside++;
    be.most = be.inside > be.most ? be.inside : be.most;
    se__cond_broadcast(&be.changed);
    bool in_time = true;
    while (be.hold && be.let == 0 && in_time)
        in_time = se__cond_wait_until(&be.changed, &be.lock, deadline_ms);
    be.let -= be.hold && be.let > 0;
    struct tier_reply reply = be.answer;
    if (!in_time)
        reply = (struct tier_reply){.fault = TIER_UNWELL, .timed_out = true};
    be.calls++;
    be.ids += n;
    be.last_n = n;
    be.inside--;
    se__cond_broadcast(&be.changed);
    se__mutex_unlock(&be.lock);
    for (size_t i = 0; i < n; i++) {
        reads[i].item = NULL;
        if (reply.fault == TIER_FINE)
            answer_one(&reads[i]);
    }
    if (reply.fault != TIER_FINE)
        se__error(SE_ERR_BACKEND, "the fake refuses");
    return reply;
}

static void set_backend(bool hold, enum tier_fault fault)
{
    se__mutex_lock(&be.lock);
    be.hold = hold;
    be.answer = (struct tier_reply){.fault = fault};
    se__cond_broadcast(&be.changed);
    se__mutex_unlock(&be.lock);
}

/* The read that hangs now ends. */
static void let_one_go(void)
{
    se__mutex_lock(&be.lock);
    be.let = 1;
    se__cond_broadcast(&be.changed);
    se__mutex_unlock(&be.lock);
}

static void wait_until_called(unsigned calls, unsigned inside)
{
    uint64_t deadline = se__deadline_in(PATIENCE_MS);
    se__mutex_lock(&be.lock);
    while (be.calls != calls || be.inside != inside)
        cr_assert(se__cond_wait_until(&be.changed, &be.lock, deadline));
    se__mutex_unlock(&be.lock);
}

static void wait_until_inside(unsigned n)
{
    uint64_t deadline = se__deadline_in(PATIENCE_MS);
    se__mutex_lock(&be.lock);
    while (be.inside != n)
        cr_assert(se__cond_wait_until(&be.changed, &be.lock, deadline));
    se__mutex_unlock(&be.lock);
}

static void wait_until_waiting(unsigned n)
{
    uint64_t deadline = se__deadline_in(PATIENCE_MS);
    while (se__combine_waiting(combiner) != n) {
        cr_assert(se__deadline_left(deadline) > 0);
        se__pause_ms(1);
    }
}

static void make(unsigned slots, size_t ids_max)
{
    struct combiner_options o = {
        .name = "test", .slots = slots, .ids_max = ids_max, .read = read_fake};
    cr_assert_eq(se__combine_open(&o, &combiner), SE_OK);
}

static void init(void)
{
    be = (struct backend){.hold = false};
    se__mutex_init(&be.lock);
    se__cond_init(&be.changed);
}

static void fini(void)
{
    se__combine_close(combiner);
    combiner = NULL;
    cr_assert_eq(be.inside, 0);
    se__cond_done(&be.changed);
    se__mutex_done(&be.lock);
}

TestSuite(tier_combine, .init = init, .fini = fini);

/* ---- callers ---- */

#define IDS_MAX 8

struct caller {
    struct se__thread thread;
    char ids[IDS_MAX][24];
    struct tier_read reads[IDS_MAX];
    size_t n;
    uint32_t time_ms;
    struct tier_reply reply;
    char words[64];
    unsigned came; /* items that it was told of on its own thread */
    uint64_t thread_id;
};
static struct caller callers[CALLERS];

static void call(void *arg)
{
    struct caller *c = arg;
    c->thread_id = se__thread_id();
    c->reply = se__combine_read(combiner, c->reads, c->n, se__deadline_in(c->time_ms));
    snprintf(c->words, sizeof c->words, "%s", c->reply.fault == TIER_FINE ? "" : se_errmsg());
}

static void take_item(void *arg, se_item *item)
{
    struct caller *c = arg;
    MUST(item && se__thread_id() == c->thread_id, "told of by another's thread");
    c->came++;
}

static void start(unsigned who, size_t n, uint32_t time_ms)
{
    struct caller *c = &callers[who];
    *c = (struct caller){.n = n, .time_ms = time_ms};
    for (size_t i = 0; i < n; i++) {
        snprintf(c->ids[i], sizeof c->ids[i], "%s%u-%zu", i % 4 == 3 ? "absent" : "id", who, i);
        c->reads[i] = (struct tier_read){
            .id = c->ids[i], .id_len = strlen(c->ids[i]), .on_item = take_item, .arg = c};
    }
    cr_assert_eq(se__thread_start(&c->thread, "caller", call, c), SE_OK);
}

static void expect_items(struct caller *c)
{
    cr_assert_eq(c->reply.fault, TIER_FINE, "%s", c->words);
    for (size_t i = 0; i < c->n; i++) {
        cr_assert_eq(c->reads[i].id, c->ids[i]);
        cr_assert(c->reads[i].on_item == take_item && c->reads[i].arg == c, "as it was asked");
        cr_assert_eq(c->reads[i].found, i % 4 == 3 ? TIER_ABSENT : TIER_HIT);
        if (c->reads[i].found == TIER_HIT)
            cr_assert_str_eq(se_item_id(c->reads[i].item), c->ids[i]);
        se_item_release(c->reads[i].item);
    }
}

static struct caller *end(unsigned who)
{
    se__thread_join(&callers[who].thread);
    return &callers[who];
}

/* ---- tests ---- */

Test(tier_combine, each_goes_alone_while_slots_are_free)
{
    make(3, 100);
    set_backend(true, TIER_FINE);
    for (unsigned i = 0; i < 3; i++)
        start(i, 1, PATIENCE_MS);
    wait_until_inside(3);
    set_backend(false, TIER_FINE);
    for (unsigned i = 0; i < 3; i++)
        expect_items(end(i));
    cr_assert_eq(be.calls, 3);
}

Test(tier_combine, who_queues_shares_the_next_call)
{
    make(1, 100);
    set_backend(true, TIER_FINE);
    start(0, 1, PATIENCE_MS);
    wait_until_inside(1);
    for (unsigned i = 1; i < CALLERS; i++)
        start(i, 1 + i % 5, PATIENCE_MS);
    wait_until_waiting(CALLERS - 1);
    set_backend(false, TIER_FINE);
    size_t ids = 0;
    for (unsigned i = 0; i < CALLERS; i++) {
        expect_items(end(i));
        ids += callers[i].n;
    }
    cr_assert_eq(be.calls, 2, "%u", be.calls);
    cr_assert_eq(be.ids, ids);
    cr_assert_eq(be.most, 1);
}

/* Who shares another's call may have left when his items come: he is told of none. */
Test(tier_combine, only_the_one_who_leads_is_told_of_items_as_they_come)
{
    make(1, 100);
    set_backend(true, TIER_FINE);
    start(0, 3, PATIENCE_MS);
    wait_until_inside(1);
    start(1, 5, PATIENCE_MS);
    wait_until_waiting(1);
    start(2, 3, PATIENCE_MS);
    wait_until_waiting(2);
    set_backend(false, TIER_FINE);
    for (unsigned i = 0; i < 3; i++)
        expect_items(end(i));
    cr_assert_eq(be.calls, 2);
    cr_assert_eq(callers[0].came, 3);
    cr_assert_eq(callers[1].came, 4, "%u of its five, one of which is absent", callers[1].came);
    cr_assert_eq(callers[2].came, 0);
}

Test(tier_combine, a_call_asks_for_no_more_ids_than_it_may)
{
    make(1, 5);
    set_backend(true, TIER_FINE);
    start(0, 1, PATIENCE_MS);
    wait_until_inside(1);
    for (unsigned i = 1; i < 5; i++) {
        start(i, i < 4 ? 2 : 8, PATIENCE_MS); /* 2 + 2, 2, and 8 alone */
        wait_until_waiting(i);
    }
    set_backend(false, TIER_FINE);
    for (unsigned i = 0; i < 5; i++)
        expect_items(end(i));
    cr_assert_eq(be.calls, 4);
    cr_assert_eq(be.last_n, 8);
}

Test(tier_combine, who_queues_leaves_by_his_own_deadline)
{
    make(1, 100);
    set_backend(true, TIER_FINE);
    start(0, 1, PATIENCE_MS);
    wait_until_inside(1);
    start(1, 2, 20);
    start(2, 1, PATIENCE_MS);
    struct caller *c = end(1); /* while the backend still hangs */
    cr_assert_eq(c->reply.fault, TIER_UNWELL);
    cr_assert(c->reply.timed_out);
    cr_assert(strstr(c->words, "no answer in time"), "%s", c->words);
    set_backend(false, TIER_FINE);
    expect_items(end(0));
    expect_items(end(2));
    cr_assert_eq(be.ids, 2, "nobody asks for what nobody waits for");
}

/* The leader hangs with the others' ids: they leave, and what comes for them goes nowhere. */
Test(tier_combine, who_shares_a_call_leaves_by_his_own_deadline)
{
    make(1, 100);
    set_backend(true, TIER_FINE);
    start(0, 1, PATIENCE_MS);
    wait_until_inside(1);
    start(1, 1, PATIENCE_MS); /* leads next */
    wait_until_waiting(1);
    start(2, 3, 700);
    wait_until_waiting(2);
    start(3, 1, PATIENCE_MS);
    wait_until_waiting(3);
    let_one_go();
    wait_until_called(1, 1);
    expect_items(end(0));
    struct caller *c = end(2);
    cr_assert_eq(c->reply.fault, TIER_UNWELL);
    cr_assert(c->reply.timed_out);
    memset(c->ids, 0, sizeof c->ids); /* its memory is its own again */
    set_backend(false, TIER_FINE);
    expect_items(end(1));
    expect_items(end(3));
    cr_assert_eq(be.calls, 2);
    for (size_t i = 0; i < c->n; i++)
        cr_assert_null(c->reads[i].item, "nothing is handed to who has left");
}

Test(tier_combine, who_has_more_time_than_his_leader_asks_again)
{
    make(1, 100);
    set_backend(true, TIER_FINE);
    start(0, 1, PATIENCE_MS);
    wait_until_inside(1);
    start(1, 1, 700); /* leads, and runs out of time */
    wait_until_waiting(1);
    start(2, 2, PATIENCE_MS);
    wait_until_waiting(2);
    let_one_go();
    expect_items(end(0));
    cr_assert(end(1)->reply.timed_out);
    wait_until_called(2, 1); /* the third one, again */
    set_backend(false, TIER_FINE);
    expect_items(end(2));
}

Test(tier_combine, faults_are_everybodys_with_their_text)
{
    make(1, 100);
    set_backend(true, TIER_FINE);
    start(0, 1, PATIENCE_MS);
    wait_until_inside(1);
    for (unsigned i = 1; i < CALLERS; i++)
        start(i, 2, PATIENCE_MS);
    wait_until_waiting(CALLERS - 1);
    set_backend(false, TIER_CONFLICT);
    for (unsigned i = 0; i < CALLERS; i++) {
        struct caller *c = end(i);
        cr_assert_eq(c->reply.fault, TIER_CONFLICT);
        cr_assert(!c->reply.timed_out);
        cr_assert_str_eq(c->words, "the fake refuses");
        for (size_t k = 0; k < c->n; k++)
            cr_assert_null(c->reads[k].item);
    }
}

Test(tier_combine, an_interrupt_ends_the_waits_of_those_who_queue)
{
    make(1, 100);
    set_backend(true, TIER_FINE);
    start(0, 1, PATIENCE_MS);
    wait_until_inside(1);
    start(1, 1, PATIENCE_MS);
    start(2, 1, PATIENCE_MS);
    wait_until_waiting(2);
    se__combine_interrupt(combiner);
    for (unsigned i = 1; i < 3; i++) {
        struct caller *c = end(i);
        cr_assert_eq(c->reply.fault, TIER_UNWELL);
        cr_assert(c->reply.timed_out);
        cr_assert(strstr(c->words, "interrupted"), "%s", c->words);
    }
    set_backend(false, TIER_FINE);
    expect_items(end(0));
    start(3, 1, PATIENCE_MS); /* later ones are not touched */
    expect_items(end(3));
}

/* ---- a crowd ---- */

static void keep_calling(void *arg)
{
    struct caller *c = arg;
    for (int round = 0; round < 300; round++) {
        struct tier_reply reply = se__combine_read(
            combiner, c->reads, c->n, se__deadline_in(round % 7 == 0 ? 1 : PATIENCE_MS));
        MUST(reply.fault == TIER_FINE || reply.timed_out, "round %d", round);
        for (size_t i = 0; i < c->n; i++) {
            bool hit = reply.fault == TIER_FINE && i % 4 != 3;
            MUST((c->reads[i].item != NULL) == hit, "%s", c->ids[i]);
            MUST(!hit || strcmp(se_item_id(c->reads[i].item), c->ids[i]) == 0, "%s", c->ids[i]);
            se_item_release(c->reads[i].item);
            c->reads[i].item = NULL;
        }
    }
}

Test(tier_combine, a_crowd_gets_everybody_his_own)
{
    make(2, 10);
    for (unsigned k = 0; k < CALLERS; k++) {
        struct caller *c = &callers[k];
        *c = (struct caller){.n = 1 + k % IDS_MAX};
        for (size_t i = 0; i < c->n; i++) {
            snprintf(c->ids[i], sizeof c->ids[i], "%s%u-%zu", i % 4 == 3 ? "absent" : "id", k, i);
            c->reads[i] = (struct tier_read){.id = c->ids[i], .id_len = strlen(c->ids[i])};
        }
        cr_assert_eq(se__thread_start(&c->thread, "caller", keep_calling, c), SE_OK);
    }
    for (unsigned k = 0; k < CALLERS; k++)
        se__thread_join(&callers[k].thread);
    cr_assert_leq(be.most, 2);
}
