/* Who reads is waited for; who comes later is not. */
#include "base/mem.h"
#include "base/os.h"
#include "base/readers.h"
#include "support/test.h"

#include <stdatomic.h>
#include <stdlib.h>

static struct readers *open_readers(void)
{
    struct readers *r;
    cr_assert_eq(se__readers_open(&r), SE_OK);
    return r;
}

Test(readers, nobody_inside_is_no_wait)
{
    struct readers *r = open_readers();
    for (int i = 0; i < 100; i++) {
        unsigned ticket = se__readers_enter(r);
        se__readers_leave(r, ticket);
        se__readers_wait(r);
    }
    cr_assert_gt(se__readers_bytes(r), 1024u);
    se__readers_close(r);
    se__readers_close(NULL);
}

Test(readers, no_memory_is_said)
{
    struct readers *r;
    if (!se__mem_fail_after(0))
        cr_skip_test("a release build");
    cr_assert_eq(se__readers_open(&r), SE_ERR_NOMEM);
    se__mem_fail_after(-1);
}

/* ---- one waits for another ---- */

struct scene {
    struct readers *readers;
    atomic_bool waiting, waited;
};

static void wait_for_all(void *arg)
{
    struct scene *s = arg;
    atomic_store(&s->waiting, true);
    se__readers_wait(s->readers);
    atomic_store(&s->waited, true);
}

static bool waits_until(atomic_bool *flag, uint64_t ms)
{
    uint64_t deadline = se__deadline_in(ms);
    while (!atomic_load(flag) && se__deadline_left(deadline) > 0)
        se__pause_ms(1);
    return atomic_load(flag);
}

/* In either phase, and nested. */
Test(readers, a_reader_is_waited_for)
{
    for (unsigned flips = 0; flips < 3; flips++) {
        struct scene s = {.readers = open_readers()};
        struct se__thread t = {0};
        for (unsigned i = 0; i < flips; i++)
            se__readers_wait(s.readers);
        unsigned outer = se__readers_enter(s.readers), inner = se__readers_enter(s.readers);
        cr_assert_eq(se__thread_start(&t, "wait", wait_for_all, &s), SE_OK);
        cr_assert(waits_until(&s.waiting, 10000));
        cr_assert_not(waits_until(&s.waited, 20));
        se__readers_leave(s.readers, inner);
        cr_assert_not(waits_until(&s.waited, 20));
        se__readers_leave(s.readers, outer);
        cr_assert(waits_until(&s.waited, 10000));
        se__thread_join(&t);
        se__readers_close(s.readers);
    }
}

/* ---- newcomers do not hold it up ---- */

struct crowd {
    struct readers *readers;
    atomic_bool stop;
    atomic_uint inside; /* readers that overlap, so that somebody is inside at all times */
};

/* Each holds a ticket until the other has one. */
static void overlap(void *arg)
{
    struct crowd *c = arg;
    unsigned old = se__readers_enter(c->readers);
    atomic_fetch_add(&c->inside, 1);
    while (!atomic_load(&c->stop)) {
        unsigned fresh = se__readers_enter(c->readers);
        se__readers_leave(c->readers, old);
        old = fresh;
    }
    se__readers_leave(c->readers, old);
}

Test(readers, newcomers_do_not_hold_a_wait_up)
{
    struct crowd c = {.readers = open_readers()};
    struct se__thread t[3] = {{0}};
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(se__thread_start(&t[i], "overlap", overlap, &c), SE_OK);
    while (atomic_load(&c.inside) < 3)
        se__pause_ms(1);
    for (unsigned i = 0; i < 20; i++)
        se__readers_wait(c.readers);
    atomic_store(&c.stop, true);
    for (unsigned i = 0; i < 3; i++)
        se__thread_join(&t[i]);
    se__readers_close(c.readers);
}

/* ---- what is freed is not read ---- */

#define SWAPS 3000
#define FREED UINT64_MAX

struct shelf {
    struct readers *readers;
    _Atomic(uint64_t *) book;
    atomic_bool stop, bad;
    _Atomic uint64_t reads;
};

static void read_books(void *arg)
{
    struct shelf *s = arg;
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        unsigned ticket = se__readers_enter(s->readers);
        const uint64_t *book = atomic_load_explicit(&s->book, memory_order_acquire);
        for (unsigned i = 0; i < 8; i++) /* not atomic: the sanitizers see a race or a use after */
            if (book[i] == FREED || book[i] != book[0])
                atomic_store(&s->bad, true);
        se__readers_leave(s->readers, ticket);
        atomic_fetch_add_explicit(&s->reads, 1, memory_order_relaxed);
    }
}

static uint64_t *new_book(uint64_t n)
{
    uint64_t *book = malloc(8 * sizeof *book);
    for (unsigned i = 0; book && i < 8; i++)
        book[i] = n;
    return book;
}

static void swap_books(void *arg)
{
    struct shelf *s = arg;
    for (uint64_t i = 0; i < SWAPS; i++) {
        uint64_t *old = atomic_exchange(&s->book, new_book(i));
        se__readers_wait(s->readers);
        for (unsigned k = 0; k < 8; k++)
            old[k] = FREED;
        free(old);
    }
}

/* Two writers: their waits take turns. */
Test(readers, what_is_freed_after_a_wait_is_not_read)
{
    struct shelf s = {.readers = open_readers()};
    struct se__thread t[5] = {{0}};
    atomic_init(&s.book, new_book(0));
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(se__thread_start(&t[i], "read", read_books, &s), SE_OK);
    for (unsigned i = 3; i < 5; i++)
        cr_assert_eq(se__thread_start(&t[i], "swap", swap_books, &s), SE_OK);
    se__thread_join(&t[3]);
    se__thread_join(&t[4]);
    atomic_store(&s.stop, true);
    for (unsigned i = 0; i < 3; i++)
        se__thread_join(&t[i]);
    cr_assert_not(atomic_load(&s.bad));
    cr_assert_gt(atomic_load(&s.reads), 0u);
    free(atomic_load(&s.book));
    se__readers_close(s.readers);
}
