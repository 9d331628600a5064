/*
 * Suspects: what is doubted, until when, and what an overflow means. Against a plain model as well.
 */
#include "flush/suspects.h"
#include "support/random.h"
#include "support/test.h"

static struct suspects *suspects;

static void open_for(size_t max)
{
    cr_assert_eq(se__suspects_open(max, &suspects), SE_OK);
}

static void tear_down(void)
{
    se__suspects_close(suspects);
    suspects = NULL;
}

TestSuite(flush_suspects, .fini = tear_down);

Test(flush_suspects, a_missed_write_is_doubted_until_l2_has_it_or_newer)
{
    open_for(100);
    cr_assert(!se__suspects_has(suspects, 7));
    se__suspects_add(suspects, 7, 50);
    cr_assert(se__suspects_has(suspects, 7));
    cr_assert(!se__suspects_has(suspects, 8));
    se__suspects_remove(suspects, 7, 49);
    cr_assert(se__suspects_has(suspects, 7), "L2 got an older one");
    se__suspects_remove(suspects, 7, 50);
    cr_assert(!se__suspects_has(suspects, 7));
    cr_assert_eq(se__suspects_count(suspects), 0);
}

Test(flush_suspects, the_newest_missed_version_counts)
{
    open_for(100);
    se__suspects_add(suspects, 7, 50);
    se__suspects_add(suspects, 7, 60);
    se__suspects_add(suspects, 7, 55);
    cr_assert_eq(se__suspects_count(suspects), 1);
    se__suspects_remove(suspects, 7, 59);
    cr_assert(se__suspects_has(suspects, 7));
    se__suspects_remove(suspects, 7, 60);
    cr_assert(!se__suspects_has(suspects, 7));
}

Test(flush_suspects, the_hash_zero_is_a_hash)
{
    open_for(100);
    se__suspects_add(suspects, 0, 1);
    cr_assert(se__suspects_has(suspects, 0));
    se__suspects_remove(suspects, 0, 1);
    cr_assert(!se__suspects_has(suspects, 0));
}

Test(flush_suspects, beyond_the_bound_everything_is_a_suspect)
{
    open_for(10);
    for (uint64_t i = 1; i <= 10; i++)
        se__suspects_add(suspects, i, 1);
    cr_assert(!se__suspects_overflowed(suspects));
    se__suspects_add(suspects, 3, 2);
    cr_assert(!se__suspects_overflowed(suspects), "it was one already");
    se__suspects_add(suspects, 11, 1);
    cr_assert(se__suspects_overflowed(suspects));
    cr_assert(se__suspects_has(suspects, 4711));
    se__suspects_remove(suspects, 4711, 99);
    cr_assert(se__suspects_has(suspects, 4711), "no single write ends an overflow");
    cr_assert_eq(se__suspects_count(suspects), 10);
}

Test(flush_suspects, a_new_generation_ends_what_was_noted_before_the_mark)
{
    open_for(10);
    se__suspects_add(suspects, 1, 1);
    se__suspects_add(suspects, 2, 1);
    uint64_t mark = se__suspects_mark(suspects);
    se__suspects_add(suspects, 2, 2);
    se__suspects_add(suspects, 3, 1);
    se__suspects_clear(suspects, mark);
    cr_assert(!se__suspects_has(suspects, 1));
    cr_assert(se__suspects_has(suspects, 2));
    cr_assert(se__suspects_has(suspects, 3));
    cr_assert_eq(se__suspects_count(suspects), 2);
}

Test(flush_suspects, what_fails_after_the_mark_survives_an_overflow_before_it)
{
    open_for(4);
    for (uint64_t i = 1; i <= 5; i++)
        se__suspects_add(suspects, i, 1);
    uint64_t mark = se__suspects_mark(suspects);
    se__suspects_add(suspects, 77, 1);
    se__suspects_clear(suspects, mark);
    cr_assert(!se__suspects_overflowed(suspects));
    cr_assert(se__suspects_has(suspects, 77));
    cr_assert(!se__suspects_has(suspects, 5));
}

Test(flush_suspects, an_overflow_after_the_mark_stays)
{
    open_for(2);
    uint64_t mark = se__suspects_mark(suspects);
    for (uint64_t i = 1; i <= 3; i++)
        se__suspects_add(suspects, i, 1);
    se__suspects_clear(suspects, mark);
    cr_assert(se__suspects_overflowed(suspects));
    se__suspects_clear(suspects, se__suspects_mark(suspects));
    cr_assert(!se__suspects_overflowed(suspects));
    cr_assert(!se__suspects_has(suspects, 1));
}

enum { KEYS = 400 };

/* Keys that collide in the low bits, so that runs form, wrap and are shifted. */
static uint64_t key(unsigned i)
{
    return (uint64_t)(i % 7) * 61 + ((uint64_t)i << 32);
}

Test(flush_suspects, agrees_with_a_model)
{
    uint64_t random = 88172645463325252u, versions[KEYS] = {0}, numbers[KEYS] = {0}, noted = 0;
    open_for(KEYS);
    for (unsigned step = 0; step < 200000; step++) {
        random_next(&random);
        unsigned i = (unsigned)(random >> 20) % KEYS;
        uint64_t version = 1 + (random >> 50) % 8;
        if (random % 5000 == 0) {
            uint64_t mark = noted > 100 ? noted - 100 : 0;
            se__suspects_clear(suspects, mark);
            for (unsigned k = 0; k < KEYS; k++)
                versions[k] = numbers[k] <= mark ? 0 : versions[k];
        } else if (random % 3 == 0) {
            se__suspects_add(suspects, key(i), version);
            versions[i] = version > versions[i] ? version : versions[i];
            numbers[i] = ++noted;
        } else {
            se__suspects_remove(suspects, key(i), version);
            versions[i] = versions[i] <= version ? 0 : versions[i];
        }
        cr_assert_eq(se__suspects_has(suspects, key(i)), versions[i] != 0, "step %u", step);
    }
    size_t n = 0;
    for (unsigned k = 0; k < KEYS; k++) {
        n += versions[k] != 0;
        cr_assert_eq(se__suspects_has(suspects, key(k)), versions[k] != 0);
    }
    cr_assert_eq(se__suspects_count(suspects), n);
    cr_assert(!se__suspects_overflowed(suspects));
}
