/*
 * Halving against a scripted backend: every single bad place, many of them, and the backends that
 * only look as if.
 */
#include "flush/split.h"
#include "support/test.h"

#include <string.h>

enum { MAX = 1200 };

static struct tier_write writes[MAX];
static struct split_item fates[MAX];
static struct split_run run;

static struct backend {
    bool bad[MAX];
    int code[MAX];
    bool stored[MAX];
    unsigned attempts, unwell_at; /* the attempt that finds it unwell, 0: none */
    enum tier_fault fault;
} backend;

static struct tier_reply attempt(void *arg, struct tier_write *from, size_t n)
{
    size_t at = (size_t)(from - writes);
    cr_assert_eq(arg, &backend);
    if (++backend.attempts == backend.unwell_at)
        return (struct tier_reply){.fault = backend.fault, .code = 7};
    for (size_t i = at; i < at + n; i++) {
        if (backend.bad[i]) {
            se__error(SE_ERR_BACKEND, "record %zu", i);
            return (struct tier_reply){.fault = TIER_REFUSED, .code = backend.code[i]};
        }
    }
    for (size_t i = at; i < at + n; i++)
        backend.stored[i] = true;
    return se__tier_fine();
}

static void mark_bad(size_t at, int code)
{
    backend.bad[at] = true;
    backend.code[at] = code;
}

static void reset(void)
{
    backend = (struct backend){0};
    memset(fates, 0xff, sizeof fates); /* the driver sets every fate itself */
}

static struct tier_reply split(size_t n)
{
    return se__split_write(writes, fates, n, attempt, &backend);
}

static size_t count(enum split_fate fate, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += fates[i].fate == fate;
    return found;
}

/* Everything decided, and rightly. */
static void check_exact(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(fates[i].fate, backend.bad[i] ? SPLIT_DEAD : SPLIT_DONE, "record %zu of %zu",
                     i, n);
        cr_assert_eq(backend.stored[i], !backend.bad[i]);
        cr_assert(!backend.bad[i] || fates[i].code == backend.code[i]);
    }
}

Test(flush_split, a_good_batch_is_one_attempt)
{
    for (size_t n = 1; n < 40; n++) {
        reset();
        cr_assert_eq(split(n).fault, TIER_FINE);
        cr_assert_eq(backend.attempts, 1);
        check_exact(n);
    }
    reset();
    cr_assert_eq(split(0).fault, TIER_FINE);
    cr_assert_eq(backend.attempts, 0);
}

Test(flush_split, finds_any_single_bad_record)
{
    for (size_t n = 1; n < 40; n++) {
        for (size_t bad = 0; bad < n; bad++) {
            reset();
            mark_bad(bad, 1406);
            cr_assert_eq(split(n).fault, TIER_FINE);
            check_exact(n);
        }
    }
}

Test(flush_split, finds_every_subset_of_a_small_batch)
{
    for (unsigned subset = 0; subset < 1u << 10; subset++) {
        reset();
        for (size_t i = 0; i < 10; i++) {
            if (subset & 1u << i)
                mark_bad(i, 1406);
        }
        cr_assert_eq(split(10).fault, TIER_FINE);
        check_exact(10);
    }
}

Test(flush_split, one_bad_record_of_a_thousand_costs_few_attempts)
{
    reset();
    mark_bad(617, 1406);
    cr_assert_eq(split(1000).fault, TIER_FINE);
    check_exact(1000);
    cr_assert_leq(backend.attempts, 22);
    cr_assert_str_eq(fates[617].error, "record 617");
}

Test(flush_split, everything_refused_with_one_number_is_the_servers_trouble)
{
    static const size_t sizes[] = {11, 12, 100, 1000};
    for (size_t s = 0; s < 4; s++) {
        reset();
        for (size_t i = 0; i < sizes[s]; i++)
            mark_bad(i, 1054);
        struct tier_reply reply = split(sizes[s]);
        cr_assert_eq(reply.fault, TIER_UNWELL);
        cr_assert_eq(reply.code, 1054);
        cr_assert_eq(count(SPLIT_UNDECIDED, sizes[s]), sizes[s], "nobody is dead");
        cr_assert_leq(backend.attempts, 50);
    }
}

Test(flush_split, ten_in_a_row_are_still_records)
{
    reset();
    for (size_t i = 40; i < 50; i++)
        mark_bad(i, 1406);
    cr_assert_eq(split(100).fault, TIER_FINE);
    check_exact(100);
}

Test(flush_split, eleven_in_a_row_are_not_and_what_was_stored_stays_done)
{
    reset();
    for (size_t i = 40; i < 51; i++)
        mark_bad(i, 1406);
    cr_assert_eq(split(100).fault, TIER_UNWELL);
    cr_assert_eq(count(SPLIT_DEAD, 100), 0);
    for (size_t i = 0; i < 100; i++) {
        cr_assert_eq(fates[i].fate == SPLIT_DONE, backend.stored[i]);
        cr_assert_eq(backend.stored[i], !backend.bad[i], "the others get past them");
    }
}

Test(flush_split, a_cluster_of_bad_records_lets_the_others_pass_in_a_few_calls)
{
    reset();
    for (size_t i = 300; i < 340; i++)
        mark_bad(i, 1406);
    for (unsigned call = 0; call < 5; call++) {
        backend.attempts = 0;
        cr_assert_eq(split(1000).fault, TIER_UNWELL);
        cr_assert_eq(count(SPLIT_DEAD, 1000), 0);
        cr_assert_leq(backend.attempts, 60);
    }
    cr_assert_gt(count(SPLIT_DONE, 1000), 900);
}

Test(flush_split, eleven_in_a_row_with_two_numbers_are_records)
{
    reset();
    for (size_t i = 40; i < 51; i++)
        mark_bad(i, i < 45 ? 1406 : 4025);
    cr_assert_eq(split(100).fault, TIER_FINE);
    check_exact(100);
}

Test(flush_split, more_than_a_twentieth_of_a_large_batch_is_the_servers_trouble)
{
    reset();
    for (size_t i = 0; i < 50; i++)
        mark_bad(i * 20, 1406);
    cr_assert_eq(split(1000).fault, TIER_FINE, "5 %% exactly are records");
    check_exact(1000);
    reset();
    for (size_t i = 0; i < 51; i++)
        mark_bad(i * 19, 1406);
    cr_assert_eq(split(1000).fault, TIER_UNWELL);
    cr_assert_eq(count(SPLIT_DEAD, 1000), 0);
    reset();
    for (size_t i = 0; i < 51; i++)
        mark_bad(i * 19, i % 2 ? 1406 : 4025);
    cr_assert_eq(split(1000).fault, TIER_FINE, "no number has a twentieth");
    reset();
    for (size_t i = 0; i < 50; i++)
        mark_bad(i * 3, 1406);
    cr_assert_eq(split(199).fault, TIER_FINE, "a small batch has no share");
}

Test(flush_split, a_server_that_becomes_unwell_ends_it_and_buries_nobody)
{
    static const enum tier_fault faults[] = {TIER_UNWELL, TIER_CONFLICT};
    for (size_t f = 0; f < 2; f++) {
        for (unsigned at = 1; at < 12; at++) {
            reset();
            mark_bad(3, 1406);
            backend.unwell_at = at;
            backend.fault = faults[f];
            struct tier_reply reply = split(32);
            if (backend.attempts < at) { /* it was done before */
                cr_assert_eq(reply.fault, TIER_FINE);
                continue;
            }
            cr_assert_eq(reply.fault, faults[f]);
            cr_assert_eq(count(SPLIT_DEAD, 32), 0);
            for (size_t i = 0; i < 32; i++)
                cr_assert_eq(fates[i].fate == SPLIT_DONE, backend.stored[i]);
            cr_assert_eq(backend.attempts, at, "it is not asked again");
        }
    }
}

Test(flush_split, a_row_is_counted_across_batches)
{
    run = (struct split_run){0};
    for (unsigned i = 0; i < 10; i++) {
        reset();
        mark_bad(0, 1054);
        cr_assert_eq(se__split_write_on(&run, writes, fates, 1, attempt, &backend).fault,
                     TIER_FINE);
        check_exact(1);
    }
    reset();
    mark_bad(0, 1054);
    cr_assert_eq(se__split_write_on(&run, writes, fates, 1, attempt, &backend).fault, TIER_UNWELL);
    cr_assert_eq(count(SPLIT_DEAD, 1), 0);
    reset();
    cr_assert_eq(se__split_write_on(&run, writes, fates, 1, attempt, &backend).fault, TIER_FINE);
    reset();
    mark_bad(0, 1054);
    cr_assert_eq(se__split_write_on(&run, writes, fates, 1, attempt, &backend).fault, TIER_FINE,
                 "a stored record ends the row");
    check_exact(1);
}
