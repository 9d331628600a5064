/*
 * One table: no false "no", what it takes, what it gives wrongly, copies, readers beside a writer.
 */
#include "base/mem.h"
#include "base/os.h"
#include "filter/cuckoo.h"
#include "ids.h"
#include "support/must.h"
#include "support/test.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* The n-th key (splitmix64): a bijection, so n is found only if it was added, or by chance. */
static uint64_t key_of(uint64_t n)
{
    uint64_t z = (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static struct cuckoo *new_table(uint64_t slots)
{
    struct cuckoo *t = se__cuckoo_new(slots);
    cr_assert_not_null(t);
    return t;
}

/* Adds keys first .. first + n - 1. Returns how many of them it took before it was full. */
static uint64_t fill(struct cuckoo *t, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (se__cuckoo_add(t, key_of(first + i)) == CUCKOO_FULL)
            return i;
    return n;
}

static uint64_t count_found(const struct cuckoo *t, uint64_t first, uint64_t n)
{
    uint64_t found = 0;
    for (uint64_t i = 0; i < n; i++)
        found += se__cuckoo_has(t, key_of(first + i));
    return found;
}

Test(cuckoo, an_empty_table_has_nothing)
{
    struct cuckoo *t = new_table(1000);
    cr_assert_eq(se__cuckoo_slots(t), 1000u);
    cr_assert_eq(se__cuckoo_used(t), 0u);
    cr_assert_eq(count_found(t, 0, 100000), 0u);
    cr_assert(!se__cuckoo_has(t, 0) && !se__cuckoo_has(t, UINT64_MAX));
    se__cuckoo_free(t);
    se__cuckoo_free(NULL);
}

Test(cuckoo, sizes_are_rounded_up_to_a_bucket)
{
    static const uint64_t asked[] = {0, 1, 4, 5, 1001}, got[] = {4, 4, 4, 8, 1004};
    for (unsigned i = 0; i < 5; i++) {
        struct cuckoo *t = new_table(asked[i]);
        cr_assert_eq(se__cuckoo_slots(t), got[i]);
        cr_assert_eq(se__cuckoo_copy_bytes(t), got[i] * 2);
        cr_assert(se__cuckoo_bytes(t) >= got[i] * 2 && se__cuckoo_bytes(t) < got[i] * 2 + 64);
        se__cuckoo_free(t);
    }
    cr_assert_null(se__cuckoo_new(UINT64_MAX));
    cr_assert_null(se__cuckoo_new(UINT64_C(4) << 32));
}

Test(cuckoo, a_key_is_added_once)
{
    struct cuckoo *t = new_table(64);
    cr_assert_eq(se__cuckoo_add(t, key_of(1)), CUCKOO_ADDED);
    cr_assert_eq(se__cuckoo_add(t, key_of(1)), CUCKOO_THERE);
    cr_assert_eq(se__cuckoo_used(t), 1u);
    cr_assert_eq(se__cuckoo_look(t, key_of(1)), CUCKOO_FOUND);
    cr_assert_eq(se__cuckoo_look(t, key_of(2)), CUCKOO_ABSENT);
    se__cuckoo_free(t);
}

/* The fingerprint 0 stands for an empty slot. */
Test(cuckoo, keys_with_equal_bits_are_keys)
{
    static const uint64_t odd[] = {
        0, 1, UINT64_MAX, UINT64_C(1) << 32, UINT64_MAX << 16, UINT16_MAX, UINT64_C(0xffff0000)};
    struct cuckoo *t = new_table(64);
    for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) {
        cr_assert_neq(se__cuckoo_add(t, odd[i]), CUCKOO_FULL);
        for (unsigned k = 0; k <= i; k++)
            cr_assert(se__cuckoo_has(t, odd[k]), "%" PRIx64, odd[k]);
    }
    se__cuckoo_free(t);
}

/* Every size, powers of two or not, takes the load it promises, and then is asked for all. */
Test(cuckoo, holds_its_load_at_every_size)
{
    for (uint64_t slots = 1000; slots < 3000000 / SCALE; slots += slots / 3 + 5) {
        struct cuckoo *t = new_table(slots);
        uint64_t n = (uint64_t)(CUCKOO_LOAD_MAX * (double)slots);
        uint64_t first = slots << 24;
        cr_assert_eq(fill(t, first, n), n, "%" PRIu64 " slots", slots);
        cr_assert_eq(count_found(t, first, n), n, "%" PRIu64 " slots", slots);
        cr_assert_leq(se__cuckoo_used(t), n);
        cr_assert_geq(se__cuckoo_used(t), n - n / 500); /* some share a fingerprint */
        se__cuckoo_free(t);
    }
}

/* 8 slots are compared with one of 65,535 fingerprints: 0.0116 % at the greatest load. */
Test(cuckoo, is_seldom_wrong)
{
    static const uint64_t sizes[] = {1024, 20000, 800000};
    for (unsigned i = 0; i < 3; i++) {
        struct cuckoo *t = new_table(sizes[i]);
        uint64_t n = 10000000 / SCALE;
        (void)fill(t, 0, (uint64_t)(CUCKOO_LOAD_MAX * (double)sizes[i]));
        double share = (double)count_found(t, UINT64_C(1) << 40, n) / (double)n;
        printf("%" PRIu64 " slots: %.4f %% found by chance\n", sizes[i], share * 100);
        cr_assert(share > 0.00005 && share < 0.0002, "%f", share);
        se__cuckoo_free(t);
    }
}

/* Beyond the load: a refused key changes nothing, and all others are still there. */
Test(cuckoo, full_changes_nothing)
{
    struct cuckoo *t = new_table(5000);
    uint64_t n = fill(t, 0, 5000), len = se__cuckoo_copy_bytes(t);
    uint8_t *before = malloc(len), *after = malloc(len);
    cr_assert(n > 4800 && n < 5000, "%" PRIu64, n);
    cr_assert(before && after && se__cuckoo_copy(t, before));
    uint64_t used = se__cuckoo_used(t), refused = 0;
    for (uint64_t i = n; i < n + 50; i++) {
        if (se__cuckoo_add(t, key_of(i)) != CUCKOO_FULL)
            break;
        refused++;
        cr_assert_eq(se__cuckoo_used(t), used);
        cr_assert(se__cuckoo_copy(t, after));
        cr_assert_arr_eq(before, after, len);
    }
    cr_assert_gt(refused, 0u);
    cr_assert_eq(count_found(t, 0, n), n);
    free(before);
    free(after);
    se__cuckoo_free(t);
}

Test(cuckoo, one_bucket_is_enough)
{
    struct cuckoo *t = new_table(1);
    cr_assert_eq(fill(t, 0, 4), 4u);
    cr_assert_eq(se__cuckoo_add(t, key_of(9)), CUCKOO_FULL);
    cr_assert_eq(count_found(t, 0, 4), 4u);
    se__cuckoo_free(t);
}

/* With few buckets a way of moves meets itself, if it may. */
Test(cuckoo, small_tables_lose_nothing)
{
    for (uint64_t round = 0; round < 20000 / SCALE; round++) {
        struct cuckoo *t = new_table(8 + round % 12 * 4);
        uint64_t n = fill(t, round << 16, 1000);
        cr_assert_eq(count_found(t, round << 16, n), n, "round %" PRIu64, round);
        cr_assert_geq(n * 2, se__cuckoo_slots(t));
        se__cuckoo_free(t);
    }
}

/* ---- copies ---- */

Test(cuckoo, comes_back_from_its_bytes)
{
    struct cuckoo *t = new_table(10000);
    uint64_t n = fill(t, 0, 9000), len = se__cuckoo_copy_bytes(t);
    uint8_t *bytes = malloc(len);
    cr_assert(bytes && se__cuckoo_copy(t, bytes));
    struct cuckoo *back = se__cuckoo_from(bytes, len);
    cr_assert_not_null(back);
    cr_assert_eq(se__cuckoo_used(back), se__cuckoo_used(t));
    cr_assert_eq(se__cuckoo_slots(back), se__cuckoo_slots(t));
    cr_assert_eq(count_found(back, 0, n), n);
    cr_assert_eq(count_found(back, n, 100000), count_found(t, n, 100000));
    cr_assert_eq(fill(back, n, 400), 400u); /* it goes on living */
    free(bytes);
    se__cuckoo_free(back);
    se__cuckoo_free(t);
}

Test(cuckoo, a_length_that_no_table_has_is_refused)
{
    uint8_t bytes[16] = {0};
    cr_assert_null(se__cuckoo_from(bytes, 0));
    cr_assert_null(se__cuckoo_from(bytes, 7));
    cr_assert_null(se__cuckoo_from(bytes, 9));
    if (se__mem_fail_after(0)) {
        cr_assert_null(se__cuckoo_from(bytes, 16));
        cr_assert_null(se__cuckoo_new(100));
        se__mem_fail_after(-1);
    }
}

/* ---- a writer and readers ---- */

#define WRITTEN (400000u / SCALE)

struct world {
    struct cuckoo *table;
    _Atomic uint64_t added; /* keys 0 .. added - 1 are in */
    atomic_bool done;
    _Atomic uint64_t checks, perhaps, copies;
};

static void ask(void *arg)
{
    struct world *w = arg;
    uint64_t x = (uint64_t)(uintptr_t)&arg;
    while (!atomic_load(&w->done)) {
        /* acquire: what was added before is to be found */
        uint64_t added = atomic_load_explicit(&w->added, memory_order_acquire);
        for (unsigned i = 0; added && i < 64; i++) {
            x = key_of(x);
            uint64_t n = x % 2 ? x % added : added - 1 - x % (added < 50 ? added : 50);
            enum cuckoo_look look = se__cuckoo_look(w->table, key_of(n));
            MUST(look != CUCKOO_ABSENT, "a false no: key %" PRIu64, n);
            atomic_fetch_add_explicit(&w->perhaps, look == CUCKOO_PERHAPS, memory_order_relaxed);
        }
        atomic_fetch_add_explicit(&w->checks, added ? 64 : 0, memory_order_relaxed);
    }
}

static void copy(void *arg)
{
    struct world *w = arg;
    uint64_t len = se__cuckoo_copy_bytes(w->table);
    uint8_t *bytes = malloc(len);
    while (bytes && !atomic_load(&w->done)) {
        uint64_t added = atomic_load_explicit(&w->added, memory_order_acquire);
        if (!se__cuckoo_copy(w->table, bytes))
            continue;
        struct cuckoo *back = se__cuckoo_from(bytes, len);
        MUST(back != NULL, "no memory");
        for (uint64_t n = 0; n < added; n += 1 + added / 5000)
            MUST(se__cuckoo_has(back, key_of(n)), "not in the copy: key %" PRIu64, n);
        se__cuckoo_free(back);
        atomic_fetch_add(&w->copies, 1);
    }
    free(bytes);
}

/* The last twentieth is where nearly every key moves others. */
Test(cuckoo, readers_never_miss_what_was_added)
{
    struct world w = {.table = new_table(WRITTEN + WRITTEN / 24)};
    struct se__thread t[4] = {{0}};
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(se__thread_start(&t[i], "reader", i < 3 ? ask : copy, &w), SE_OK);
    for (uint64_t n = 0; n < WRITTEN; n++) {
        cr_assert_neq(se__cuckoo_add(w.table, key_of(n)), CUCKOO_FULL);
        atomic_store_explicit(&w.added, n + 1, memory_order_release);
        while (n == WRITTEN / 2 && !(atomic_load(&w.checks) && atomic_load(&w.copies)))
            se__pause_ms(1); /* a machine may be so busy that none of them has run yet */
    }
    atomic_store(&w.done, true);
    for (unsigned i = 0; i < 4; i++)
        se__thread_join(&t[i]);
    printf("%" PRIu64 " checks, %" PRIu64 " perhaps, %" PRIu64 " copies\n", atomic_load(&w.checks),
           atomic_load(&w.perhaps), atomic_load(&w.copies));
    cr_assert_gt(atomic_load(&w.checks), 0u);
    se__cuckoo_free(w.table);
}
