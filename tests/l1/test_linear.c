/*
 * Single ids under puts, deletes, loads, eviction and reads at once, with growth and shrinking: every
 * read is checked against the times at which writes began and ended.
 *
 * Each id is a register. Its writes have growing versions, so its history is linearisable exactly
 * if every read returns a version that had begun to be written when the read ended, and none that
 * is older than one that any write had ended with, or any read had returned, before it began. With
 * the map as the home (resident) a read that finds nothing has lost something.
 */
#include "map_fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOT 8
#define WRITERS 2
#define READERS 3
#define WRITES 30000

static struct {
    struct l1 *map;
    bool resident;
    /* seq_cst throughout: this is the oracle */
    _Atomic uint64_t begun[HOT], ended[HOT];
    _Atomic uint64_t home[HOT]; /* what a tier below would have */
    atomic_uint writers_left;
    _Atomic uint64_t hits, misses;
} w;

static void fail(const char *what, unsigned id, uint64_t got, uint64_t than)
{
    fprintf(stderr, "FAILED: %s: id %u, %llu and %llu\n", what, id, (unsigned long long)got,
            (unsigned long long)than);
    abort(); /* Criterion's assertions leave a test by a jump that only its own thread can make */
}

static void raise_to(_Atomic uint64_t *at, uint64_t v)
{
    uint64_t old = atomic_load(at);
    while (old < v && !atomic_compare_exchange_weak(at, &old, v)) {
    }
}

static void name_of(unsigned i, char name[16])
{
    snprintf(name, 16, "hot:%u", i);
}

static void put_version(const char *id, uint64_t v, size_t len, bool deleted)
{
    struct l1_ticket ticket;
    struct l1_put_result r;
    se_item *item = deleted ? make_tombstone(id, v) : make_item(id, v, len);
    if (se__l1_prepare(w.map, strlen(id), se__item_size(item), &ticket) == SE_OK)
        se__l1_put(w.map, se__l1_hash(w.map, id, strlen(id)), item, &ticket, &(struct l1_put){0},
                   &r);
    se_item_release(item);
}

/* Owns every second hot id: versions of one id then grow in the order of the calls. */
static void writer(void *arg)
{
    unsigned mine = (unsigned)(uintptr_t)arg;
    uint64_t random = mine + 77;
    char id[16];
    for (uint64_t v = 1; v <= WRITES; v++) {
        uint64_t r = next_random(&random);
        unsigned i = (unsigned)(r % (HOT / WRITERS)) * WRITERS + mine;
        name_of(i, id);
        atomic_store(&w.begun[i], v);
        atomic_store(&w.home[i], v); /* first below, as write-through; then the map */
        put_version(id, v, r >> 20 & 0xff, r % 7 == 0);
        raise_to(&w.ended[i], v);
        if (r % 2 == 0) { /* others come and go: tables grow and shrink, entries are evicted */
            snprintf(id, sizeof id, "%u:%u", mine, (unsigned)(r >> 40) % 3000);
            put_version(id, v, r >> 30 & 0x7f, r % 3 != 0);
        }
    }
    atomic_fetch_sub(&w.writers_left, 1);
}

static uint64_t get(const char *id, uint64_t hash, uint64_t random)
{
    struct l1_key key = {hash, id, strlen(id)};
    struct l1_view view;
    se_item *item = NULL;
    if (random % 3 == 0)
        return se__l1_look(w.map, hash, id, key.id_len, &view) ? view.version : 0;
    if (random % 3 == 1)
        se__l1_get_many(w.map, &key, 1, &item);
    else
        item = se__l1_get(w.map, hash, id, key.id_len);
    uint64_t v = item ? se_item_version(item) : 0;
    if (item && strcmp(se_item_id(item), id) != 0)
        fail("another id", 0, v, 0);
    se_item_release(item);
    return v;
}

static uint64_t load_below(unsigned i, const char *id, uint64_t hash)
{
    bool unchanged;
    uint64_t epoch = se__l1_epoch(w.map, hash), v = atomic_load(&w.home[i]);
    if (v == 0)
        return 0;
    se_item *item = make_item(id, v, 20);
    se_item *newest = se__l1_promote(w.map, hash, item, epoch, &unchanged);
    v = se_item_version(newest);
    se_item_release(newest);
    se_item_release(item);
    return v;
}

static void reader(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    char id[16];
    while (atomic_load(&w.writers_left) > 0) {
        uint64_t r = next_random(&random);
        unsigned i = (unsigned)(r % HOT);
        name_of(i, id);
        uint64_t hash = se__l1_hash(w.map, id, strlen(id)), must = atomic_load(&w.ended[i]);
        uint64_t got = get(id, hash, r >> 32);
        atomic_fetch_add(got ? &w.hits : &w.misses, 1);
        if (got == 0 && w.resident && must)
            fail("lost", i, got, must);
        if (got == 0)
            got = load_below(i, id, hash);
        if (got < must)
            fail("older than one that had ended", i, got, must);
        if (got > atomic_load(&w.begun[i]))
            fail("a version that nobody has begun", i, got, atomic_load(&w.begun[i]));
        raise_to(&w.ended[i], got); /* later reads may not go back */
    }
}

static void meddler(void *arg)
{
    uint64_t random = 5;
    char id[16];
    (void)arg;
    while (atomic_load(&w.writers_left) > 0) {
        uint64_t r = next_random(&random);
        name_of((unsigned)(r % HOT), id);
        if (r % 4 == 0)
            se__l1_invalidate(w.map, se__l1_hash(w.map, id, strlen(id)), id, strlen(id));
        if (r % 16 == 1 && !w.resident)
            se__l1_unreserve(w.map, se__l1_evict(w.map, 20000));
        if (r % 8 == 2)
            se__l1_tend(w.map, 0, se__mono_ms() + (r % 3 ? 0 : 70000)); /* old tombstones go */
        if (r % 256 == 3 && !w.resident)
            se__l1_invalidate_prefix(w.map, "1:");
    }
}

static void run_all(size_t bytes_max, bool resident)
{
    struct fixture f;
    struct se__thread threads[WRITERS + READERS + 1] = {{0}};
    unsigned n = 0;
    fixture_open(&f, bytes_max, resident);
    memset(&w, 0, sizeof w);
    w.map = f.map;
    w.resident = resident;
    atomic_store(&w.writers_left, WRITERS);
    for (uintptr_t i = 0; i < WRITERS; i++)
        cr_assert_eq(se__thread_start(&threads[n++], "writer", writer, (void *)i), SE_OK);
    for (uintptr_t i = 0; i < READERS; i++)
        cr_assert_eq(se__thread_start(&threads[n++], "reader", reader, (void *)(i + 50)), SE_OK);
    if (!resident)
        cr_assert_eq(se__thread_start(&threads[n++], "meddler", meddler, NULL), SE_OK);
    while (n > 0)
        se__thread_join(&threads[--n]);
    check_account(&f);
    cr_assert_gt(atomic_load(&w.hits), 0);
    cr_assert(resident || atomic_load(&w.misses) > 0);
    fixture_close(&f);
}

Test(linear, single_ids_in_a_small_map_that_evicts)
{
    run_all(128 * 1024, false);
}

Test(linear, single_ids_where_the_map_is_the_home)
{
    run_all(8u << 20, true);
}
