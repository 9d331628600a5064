/*
 * The gate: who is inside keeps shutdown waiting, nobody enters any more once it is closed, for threads
 * with a row of their own and for those that share.
 */
#include "engine/gate.h"
#include "support/test.h"

TestSuite(gate);

static struct gate gate;
static atomic_uint inside;
static atomic_bool let_out, let_out_own; /* everybody; who has a row of his own */

static void *stay(void *arg)
{
    (void)arg;
    cr_assert(se__gate_enter(&gate));
    atomic_fetch_add(&inside, 1);
    bool own = se__thread_id() <= GATE_OWN;
    while (!atomic_load(&let_out) && !(own && atomic_load(&let_out_own)))
        se__pause_ms(1);
    se__gate_leave(&gate);
    atomic_fetch_sub(&inside, 1);
    return NULL;
}

Test(gate, closed_lets_nobody_in)
{
    se__gate_init(&gate);
    cr_assert(se__gate_enter(&gate));
    cr_assert(se__gate_enter(&gate), "again, inside");
    se__gate_close(&gate);
    cr_assert_not(se__gate_open(&gate));
    cr_assert_not(se__gate_enter(&gate));
    cr_assert_not(se__gate_drain(&gate, se__mono_ms()), "twice inside");
    se__gate_leave(&gate);
    cr_assert_not(se__gate_drain(&gate, se__mono_ms()));
    se__gate_leave(&gate);
    cr_assert(se__gate_drain(&gate, se__mono_ms()), "empty is empty, at the deadline too");
    se__gate_done(&gate);
}

static void *let_them_out(void *arg)
{
    (void)arg;
    se__pause_ms(20);
    atomic_store(&let_out, true);
    return NULL;
}

/* More threads than there are own rows. */
Test(gate, draining_waits_for_everybody_who_is_inside)
{
    enum { THREADS = GATE_OWN + 8 };
    pthread_t threads[THREADS], opener;
    se__gate_init(&gate);
    atomic_store(&inside, 0);
    atomic_store(&let_out, false);
    for (unsigned i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, stay, NULL), 0);
    while (atomic_load(&inside) < THREADS)
        se__pause_ms(1);
    se__gate_close(&gate);
    cr_assert_not(se__gate_drain(&gate, se__deadline_in(5)));
    atomic_store(&let_out_own, true);
    while (atomic_load(&inside) > 8 + 1) /* the test's own thread may have a row, too */
        se__pause_ms(1);
    cr_assert_not(se__gate_drain(&gate, se__deadline_in(5)), "others share rows");
    cr_assert_eq(pthread_create(&opener, NULL, let_them_out, NULL), 0);
    cr_assert(se__gate_drain(&gate, se__deadline_in(60000)));
    cr_assert(atomic_load(&let_out));
    pthread_join(opener, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    se__gate_done(&gate);
}
