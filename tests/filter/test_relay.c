/*
 * relay: pages are used in order, one at a time, by a thread or without, and none after a failure.
 */
#include "filter/relay.h"

#include "base/mem.h"
#include "support/test.h"
#include "tier/sights.h"

#include <stdio.h>
#include <string.h>

#define PAGES 200u

struct used {
    uint64_t ids, pages, thread;
    uint32_t next; /* bucket of the next page */
    unsigned fail_at;
    bool inside;
};

static se_result use(void *arg, const struct relay_page *page)
{
    struct used *u = arg;
    cr_assert_not(u->inside);
    u->inside = true;
    u->thread = se__thread_id();
    cr_assert_eq(page->first, u->next);
    cr_assert_eq(page->last, u->next + 1);
    cr_assert_eq(page->ends, u->pages % 3 == 0);
    for (size_t i = 0; i < page->sights.n; i++) {
        char id[32];
        snprintf(id, sizeof id, "id-%u-%zu", page->first, i);
        cr_assert_str_eq(page->sights.sights[i].id, id);
    }
    u->next += 2;
    u->pages++;
    u->ids += page->sights.n;
    u->inside = false;
    return u->pages == u->fail_at ? SE_ERR_NOMEM : SE_OK;
}

static void fill(struct tier_sights *sights, uint32_t first, size_t n)
{
    se__sights_clear(sights);
    for (size_t i = 0; i < n; i++) {
        char id[32];
        int len = snprintf(id, sizeof id, "id-%u-%zu", first, i);
        cr_assert(se__sights_add(sights, id, (size_t)len));
    }
    se__sights_finish(sights);
}

/* Gives pages of n ids; returns how many were taken before a failure was told. */
static unsigned give(struct relay *r, unsigned pages, size_t n)
{
    struct tier_sights sights = {0};
    unsigned given = 0;
    bool fine = true;
    for (; fine && given < pages; given++) {
        fill(&sights, 2 * given, n);
        fine = se__relay_give(r, &sights, 2 * given, 2 * given + 1, given % 3 == 0) == SE_OK;
    }
    se__sights_done(&sights);
    return given;
}

static void run(bool threaded, size_t n, bool expect_thread)
{
    struct relay r;
    struct used u = {0};
    se__relay_init(&r, threaded, use, &u);
    cr_assert_eq(give(&r, PAGES, n), PAGES);
    cr_assert_eq(se__relay_done(&r), SE_OK);
    cr_assert_eq(u.pages, PAGES);
    cr_assert_eq(u.ids, PAGES * n);
    cr_assert_eq(u.thread != se__thread_id(), expect_thread);
}

Test(relay, large_pages_are_used_by_a_thread)
{
    run(true, RELAY_PAGE_MIN, true);
}

Test(relay, small_pages_and_where_no_thread_is_wanted_on_the_spot)
{
    run(true, RELAY_PAGE_MIN - 1, false);
    run(true, 0, false);
    run(false, RELAY_PAGE_MIN, false);
}

Test(relay, with_nothing_given_it_ends)
{
    struct relay r;
    struct used u = {0};
    se__relay_init(&r, true, use, &u);
    cr_assert_eq(se__relay_done(&r), SE_OK);
    cr_assert_eq(u.pages, 0);
}

static void run_failing(size_t n)
{
    struct relay r;
    struct used u = {.fail_at = 5};
    se__relay_init(&r, true, use, &u);
    unsigned given = give(&r, PAGES, n);
    cr_assert_eq(se__relay_done(&r), SE_ERR_NOMEM);
    cr_assert_eq(u.pages, 5); /* and none after it */
    cr_assert(given == 5 || given == 6, "%u", given);
}

Test(relay, after_a_failure_no_page_is_used)
{
    run_failing(1);
    run_failing(RELAY_PAGE_MIN);
}

Test(relay, the_failure_of_the_last_page_is_told)
{
    struct relay r;
    struct used u = {.fail_at = 1};
    se__relay_init(&r, true, use, &u);
    (void)give(&r, 1, RELAY_PAGE_MIN);
    cr_assert_eq(se__relay_done(&r), SE_ERR_NOMEM);
}
