/*
 * Tests of src/base/epoch.c: what a reader inside holds up, what it does not, rows that threads share.
 */
#include "support/test.h"

#include "base/epoch.h"
#include "base/mem.h"
#include "base/os.h"

#include <stdlib.h>

#define ROWS 4

static struct epochs epochs;
static struct epoch_row rows[ROWS];

static void open_epochs(void)
{
    se__epochs_init(&epochs, rows, ROWS);
}

TestSuite(epoch, .init = open_epochs);

Test(epoch, nobody_inside_holds_up_nothing)
{
    uint64_t tag = se__epoch_now(&epochs);
    cr_assert_gt(se__epoch_passed(&epochs), tag);
}

Test(epoch, a_reader_holds_up_what_left_after_it_came)
{
    uint64_t before = se__epoch_now(&epochs);
    cr_assert_gt(se__epoch_passed(&epochs), before);
    _Atomic uint32_t *inside = se__epoch_enter(&epochs);
    uint64_t tag = se__epoch_now(&epochs);
    for (int i = 0; i < 3; i++) {
        uint64_t passed = se__epoch_passed(&epochs);
        cr_assert_leq(passed, tag, "it may be looking at it");
        cr_assert_gt(passed, before, "not at what had left before");
    }
    se__epoch_leave(inside);
    cr_assert_gt(se__epoch_passed(&epochs), tag);
}

/* With somebody always inside, but nobody for ever. */
Test(epoch, readers_that_take_turns_hold_up_nothing)
{
    uint64_t tag = se__epoch_now(&epochs);
    _Atomic uint32_t *inside = se__epoch_enter(&epochs);
    unsigned turns = 0;
    for (; se__epoch_passed(&epochs) <= tag; turns++) {
        _Atomic uint32_t *next = se__epoch_enter(&epochs);
        se__epoch_leave(inside);
        inside = next;
        cr_assert_lt(turns, SE__EPOCH_BEHIND + 1, "each ends an epoch");
    }
    cr_assert_gt(turns, 0, "the first was inside before the tag");
    se__epoch_leave(inside);
}

Test(epoch, a_reader_that_comes_later_sees_what_left_before_go)
{
    uint64_t tag = se__epoch_now(&epochs);
    cr_assert_gt(se__epoch_passed(&epochs), tag);
    _Atomic uint32_t *inside = se__epoch_enter(&epochs);
    cr_assert_gt(se__epoch_passed(&epochs), tag, "what could be freed still can");
    se__epoch_leave(inside);
}

Test(epoch, readers_of_one_row_are_counted)
{
    _Atomic uint32_t *inside[3];
    for (int i = 0; i < 3; i++)
        inside[i] = se__epoch_enter(&epochs);
    cr_assert_eq(inside[0], inside[2]);
    uint64_t tag = se__epoch_now(&epochs);
    for (int i = 0; i < 3; i++) {
        cr_assert_leq(se__epoch_passed(&epochs), tag);
        se__epoch_leave(inside[i]);
    }
    cr_assert_gt(se__epoch_passed(&epochs), tag);
}

/* ---- with threads ---- */

#define READERS 6 /* more than rows */
#define ROUNDS 20000

static _Atomic(uint64_t *) shared;
static atomic_bool stop;

static void reader(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        _Atomic uint32_t *inside = se__epoch_enter(&epochs);
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

Test(epoch, nothing_is_freed_under_a_reader)
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
        for (uint64_t passed = 0; n == 8; passed = se__epoch_passed(&epochs)) {
            unsigned kept = 0;
            for (unsigned k = 0; k < 8; k++) {
                if (waiting[k].tag < passed)
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

static void come_and_go(void *arg)
{
    (void)arg;
    se__epoch_leave(se__epoch_enter(&epochs));
}

Test(epoch, threads_that_ended_hold_up_nothing)
{
    for (int i = 0; i < 100; i++) {
        struct se__thread thread = {0};
        cr_assert_eq(se__thread_start(&thread, "short", come_and_go, NULL), SE_OK);
        se__thread_join(&thread);
    }
    uint64_t tag = se__epoch_now(&epochs);
    cr_assert_gt(se__epoch_passed(&epochs), tag);
}
