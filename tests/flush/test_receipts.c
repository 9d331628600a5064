/*
 * Receipts by themselves: who is answered by what, in which order, and how many there may be.
 */
#include "base/mem.h"
#include "base/os.h"
#include "flush/receipts.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>

static struct receipts *r;
static struct {
    char text[4096]; /* "id:version=outcome ..." ; the delivery thread's until se__receipts_shut */
    unsigned n;
} heard;

static void hear(void *arg, const se_delivery *d)
{
    (void)arg;
    size_t len = strlen(heard.text);
    if (len + 64 < sizeof heard.text)
        snprintf(heard.text + len, sizeof heard.text - len, "%s:%u=%s ", d->id,
                 (unsigned)d->version, se_delivery_name(d->outcome));
    heard.n++;
}

static void make(void)
{
    heard.n = 0;
    heard.text[0] = '\0';
    cr_assert_eq(se__receipts_open(&r), SE_OK);
}

static void close_all(void)
{
    se__receipts_close(r);
}

TestSuite(receipts, .init = make, .fini = close_all);

static struct receipt *expect(const char *id, uint64_t version, bool wants_home)
{
    struct receipt *x = NULL;
    struct receipt_spec spec = {.fn = hear,
                                .id = id,
                                .id_len = strlen(id),
                                .hash = 7, /* all meet in one chain */
                                .wants_home = wants_home};
    cr_assert_eq(se__receipt_new(r, &spec, &x), SE_OK);
    se__receipt_expect(r, x, version);
    return x;
}

static struct receipt *commit(const char *id, uint64_t version, bool wants_home)
{
    struct receipt *x = expect(id, version, wants_home);
    se__receipt_commit(r, x, false);
    return x;
}

static void end(const char *id, uint64_t version, se_delivery_outcome outcome)
{
    struct receipt_end e = {.version = version, .outcome = outcome};
    se__receipts_end(r, 7, id, strlen(id), &e);
}

static void expect_heard(const char *text)
{
    se__receipts_shut(r);
    cr_assert_str_eq(heard.text, text);
}

Test(receipts, an_end_answers_its_version_and_what_is_older)
{
    commit("a", 1, false);
    commit("a", 2, true);
    commit("a", 3, false);
    commit("b", 1, false);
    end("a", 2, SE_DELIVERY_HOME);
    cr_assert(se__receipts_any(r));
    end("b", 1, SE_DELIVERY_DEAD);
    expect_heard("a:1=superseded a:2=home b:1=dead a:3=open ");
    cr_assert(!se__receipts_any(r));
}

Test(receipts, who_wants_the_home_is_not_content_with_the_log)
{
    commit("a", 1, true);
    commit("b", 1, false);
    commit("c", 1, true);
    end("a", 1, SE_DELIVERY_WAL);
    end("b", 1, SE_DELIVERY_WAL);
    end("c", 1, SE_DELIVERY_WAL);
    end("c", 1, SE_DELIVERY_HOME);
    expect_heard("b:1=wal c:1=home a:1=wal ");
}

Test(receipts, an_answer_waits_for_older_ones_that_are_not_committed)
{
    struct receipt *old = expect("a", 1, false);
    commit("a", 2, false);
    end("a", 2, SE_DELIVERY_HOME);
    end("b", 2, SE_DELIVERY_HOME); /* nobody asks */
    se__receipt_commit(r, old, false);
    expect_heard("a:1=superseded a:2=home ");
}

/* A writer that has its version and was not listed yet could be told after a newer one. */
Test(receipts, one_without_a_version_yet_holds_up_all_of_its_id)
{
    struct receipt *slow = expect("a", 0, false);
    commit("a", 2, false);
    commit("b", 1, false);
    end("a", 2, SE_DELIVERY_HOME);
    end("b", 1, SE_DELIVERY_HOME);
    se__receipt_expect(r, slow, 1);
    se__receipt_answer(r, slow, SE_DELIVERY_SUPERSEDED, 2);
    se__receipt_commit(r, slow, false);
    expect_heard("b:1=home a:1=superseded a:2=home ");
}

Test(receipts, a_dropped_one_is_never_told_and_holds_up_nobody)
{
    struct receipt *old = expect("a", 1, false);
    commit("a", 2, false);
    end("a", 2, SE_DELIVERY_HOME);
    se__receipt_drop(r, old);
    se__receipt_drop(r, NULL);
    expect_heard("a:2=home ");
}

Test(receipts, another_version_forgets_the_answer_to_the_first)
{
    struct receipt *x = expect("a", 1, false);
    end("a", 2, SE_DELIVERY_DEAD);
    se__receipt_expect(r, x, 3);
    se__receipt_commit(r, x, true);
    expect_heard("a:3=wal ");
}

Test(receipts, a_renewed_write_is_told_with_its_new_version)
{
    commit("a", 1, false);
    commit("a", 5, false);
    se__receipts_renew(r, 7, "a", 1, 5, 9);
    se__receipts_renew(r, 7, "a", 1, 4, 10); /* nobody's */
    end("a", 9, SE_DELIVERY_HOME);
    expect_heard("a:1=superseded a:9=home ");
}

Test(receipts, what_is_committed_after_the_end_is_answered_at_once)
{
    struct receipt *x = expect("a", 1, true), *y = expect("b", 1, true);
    se__receipts_shut(r);
    cr_assert_eq(heard.n, 0);
    se__receipt_commit(r, x, false);
    se__receipt_commit(r, y, true);
    expect_heard("a:1=open b:1=wal ");
}

/* Put in from the back and answered from the front: otherwise this takes minutes. */
Test(receipts, their_number_is_bounded_and_one_busy_id_costs_no_more)
{
    struct receipt_spec spec = {.fn = hear, .id = "a", .id_len = 1};
    struct receipt *x = NULL;
    for (uint64_t i = 1; i <= RECEIPTS_MAX; i++) {
        cr_assert_eq(se__receipt_new(r, &spec, &x), SE_OK);
        se__receipt_expect(r, x, i);
        se__receipt_commit(r, x, false);
    }
    cr_assert_eq(se__receipt_new(r, &spec, &x), SE_ERR_BACKPRESSURE);
    struct receipt_end e = {.version = RECEIPTS_MAX, .outcome = SE_DELIVERY_HOME};
    se__receipts_end(r, 0, "a", 1, &e);
    se__receipts_shut(r);
    cr_assert_eq(heard.n, RECEIPTS_MAX);
    cr_assert_eq(se__receipt_new(r, &spec, &x), SE_OK);
    se__receipt_drop(r, x);
}

Test(receipts, many_ids_are_found_when_the_table_grows)
{
    char id[16];
    for (unsigned i = 0; i < 2000; i++) {
        struct receipt *x;
        int len = snprintf(id, sizeof id, "id%u", i);
        struct receipt_spec spec = {
            .fn = hear, .id = id, .id_len = (size_t)len, .hash = i * 2654435761u};
        cr_assert_eq(se__receipt_new(r, &spec, &x), SE_OK);
        se__receipt_expect(r, x, 1);
        se__receipt_commit(r, x, false);
    }
    for (unsigned i = 0; i < 2000; i++) {
        int len = snprintf(id, sizeof id, "id%u", i);
        struct receipt_end e = {.version = 1, .outcome = SE_DELIVERY_HOME};
        se__receipts_end(r, i * 2654435761u, id, (size_t)len, &e);
    }
    cr_assert(!se__receipts_any(r));
    se__receipts_shut(r);
    cr_assert_eq(heard.n, 2000);
}

Test(receipts, without_memory_a_receipt_is_refused_and_nothing_remains)
{
    struct receipt_spec spec = {.fn = hear, .id = "a", .id_len = 1};
    struct receipt *x = NULL;
    int64_t n = 0;
    if (!se__mem_fail_after(-1))
        return;
    se_result result = SE_ERR_NOMEM;
    for (; result != SE_OK; n++) {
        se__mem_fail_after(n);
        result = se__receipt_new(r, &spec, &x);
        se__mem_fail_after(-1);
        cr_assert(result == SE_OK || result == SE_ERR_NOMEM);
    }
    cr_assert_geq(n, 3); /* the receipt, its id, the thread's start */
    se__receipt_drop(r, x);
    expect_heard("");
}
