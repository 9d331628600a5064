/*
 * Tests of src/base/epoch.c: what a reader inside holds up, what it does not, rows that threads share.
 */
#include "support/test.h"

#include "base/epoch.h"
#include "base/mem.h"
#include "base/os.h"

#include <stdlib.h>
#include <string.h>

#define OWN 4
#define SHARED 2

static struct epochs epochs;
static struct epoch_row rows[SE__EPOCH_ROWS(OWN, SHARED)];

/* With rows of their own for some threads, or with none. */
static void open_epochs(unsigned own)
{
    memset(rows, 0, sizeof rows);
    se__epochs_init(&epochs, rows, own, SHARED);
    (void)se__thread_id(); /* who is counted from the beginning is not the first to share a row */
}

static uint64_t passed(void)
{
    return se__epoch_passed(&epochs);
}

TestSuite(epoch);

#define EITHER_WAY for (unsigned own = 0; own <= OWN && (open_epochs(own), true); own += OWN)

Test(epoch, nobody_inside_holds_up_nothing)
{
    EITHER_WAY
    {
        uint64_t tag = se__epoch_now(&epochs);
        cr_assert_gt(passed(), tag);
    }
}

Test(epoch, a_reader_holds_up_what_left_after_it_came)
{
    EITHER_WAY
    {
        uint64_t before = se__epoch_now(&epochs);
        cr_assert_gt(passed(), before);
        struct epoch_place inside = se__epoch_enter(&epochs);
        uint64_t tag = se__epoch_now(&epochs);
        for (int i = 0; i < 3; i++) {
            cr_assert_leq(passed(), tag, "it may be looking at it");
            cr_assert_gt(passed(), before, "not at what had left before");
        }
        se__epoch_leave(inside);
        cr_assert_gt(passed(), tag);
    }
}

/* With somebody always inside, but nobody for ever. */
Test(epoch, readers_that_take_turns_hold_up_nothing)
{
    open_epochs(0);
    uint64_t tag = se__epoch_now(&epochs);
    struct epoch_place inside = se__epoch_enter(&epochs);
    unsigned turns = 0;
    for (; passed() <= tag; turns++) {
        struct epoch_place next = se__epoch_enter(&epochs);
        se__epoch_leave(inside);
        inside = next;
        cr_assert_lt(turns, SE__EPOCH_BEHIND + 1, "each ends an epoch");
    }
    cr_assert_gt(turns, 0, "the first was inside before the tag");
    se__epoch_leave(inside);
}

Test(epoch, a_reader_that_comes_later_sees_what_left_before_go)
{
    EITHER_WAY
    {
        uint64_t tag = se__epoch_now(&epochs);
        cr_assert_gt(passed(), tag);
        struct epoch_place inside = se__epoch_enter(&epochs);
        cr_assert_gt(passed(), tag, "what could be freed still can");
        se__epoch_leave(inside);
    }
}

Test(epoch, readers_of_one_row_are_counted)
{
    open_epochs(0);
    struct epoch_place inside[3];
    for (int i = 0; i < 3; i++)
        inside[i] = se__epoch_enter(&epochs);
    cr_assert_eq(inside[0].counter, inside[2].counter);
    uint64_t tag = se__epoch_now(&epochs);
    for (int i = 0; i < 3; i++) {
        cr_assert_leq(passed(), tag);
        se__epoch_leave(inside[i]);
    }
    cr_assert_gt(passed(), tag);
}

Test(epoch, a_thread_without_a_number_has_the_row_that_is_nobodys)
{
    open_epochs(OWN);
    const struct epoch_row *row = se__epoch_own_row(&epochs, 0);
    cr_assert(row && atomic_load(&row->count) == 0);
    cr_assert_null(se__epoch_own_row(&epochs, epochs.own + 1));
}

/* ---- with threads ---- */

#define READERS 6 /* more than own rows */
#define ROUNDS 10000

static _Atomic(uint64_t *) shared;
static atomic_bool stop;

static void reader(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        struct epoch_place inside = se__epoch_enter(&epochs);
        const uint64_t *at = atomic_load(&shared);
        if (*at != UINT64_C(0x600d600d600d600d))
            abort(); /* freed while a reader was inside */
        se__epoch_leave(inside);
    }
}

static uint64_t *good(void)
{
    uint64_t *at = se__alloc(sizeof *at);
    cr_assert_not_null(at);
    *at = UINT64_C(0x600d600d600d600d);
    return at;
}

static void spoil(uint64_t *at)
{
    *at = 0;
    se__free(at);
}

static void free_under_readers(void)
{
    struct se__thread threads[READERS] = {{0}};
    struct {
        uint64_t *at, tag;
    } waiting[8];
    unsigned n = 0;
    atomic_store(&stop, false);
    atomic_store(&shared, good());
    for (unsigned i = 0; i < READERS; i++)
        cr_assert_eq(se__thread_start(&threads[i], "reader", reader, NULL), SE_OK);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t *old = atomic_exchange(&shared, good());
        waiting[n].at = old;
        waiting[n++].tag = se__epoch_now(&epochs);
        for (uint64_t passed_by = 0; n == 8; passed_by = passed()) {
            unsigned kept = 0;
            for (unsigned k = 0; k < 8; k++) {
                if (waiting[k].tag < passed_by)
                    spoil(waiting[k].at);
                else
                    waiting[kept++] = waiting[k];
            }
            n = kept;
            if (n == 8)
                se__pause_ms(0); /* a reader inside wants the processor */
        }
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < READERS; i++)
        se__thread_join(&threads[i]);
    while (n > 0)
        spoil(waiting[--n].at);
    spoil(atomic_load(&shared));
}

Test(epoch, nothing_is_freed_under_a_reader)
{
    EITHER_WAY
    free_under_readers();
}

static void come_and_go(void *arg)
{
    (void)arg;
    se__epoch_leave(se__epoch_enter(&epochs));
}

Test(epoch, threads_that_ended_hold_up_nothing)
{
    open_epochs(OWN);
    for (int i = 0; i < 100; i++) {
        struct se__thread thread = {0};
        cr_assert_eq(se__thread_start(&thread, "short", come_and_go, NULL), SE_OK);
        se__thread_join(&thread);
    }
    uint64_t tag = se__epoch_now(&epochs);
    cr_assert_gt(passed(), tag);
}
