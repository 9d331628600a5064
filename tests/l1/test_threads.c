/*
 * Writers, readers, loaders, flush workers with their L2 stages, another engine, invalidations and
 * upkeep, all at once on a small map.
 * Checked while it runs: no read is older than what was acknowledged before it (I1, I3); the bound
 * (I4). At the end: every write is in the home tier, and the account is exact.
 */
#include "map_fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS 400
#define PARTITIONS 2
#define WRITERS 2
#define READERS 2
#define WRITES 20000 /* each writer */
#define BYTES_MAX (64u * 1024)

struct partition {
    struct se__mutex lock; /* guards the queue */
    struct dirty_node *front, **back;
};

struct world {
    struct l1 *map;
    struct partition partitions[PARTITIONS];
    /* Stores before loads: a reader that saw acked[i] finds it in the map or in home[i]. seq_cst
     * throughout: this is the oracle. */
    _Atomic uint64_t acked[IDS], home[IDS], version;
    atomic_uint writers_left;
    _Atomic uint64_t evicted_reads, refused, stale, renewed, requeued, lost;
};

static struct world w;

/* Criterion's assertions leave a test by a jump that only its own thread can make. */
static void check_in_thread(bool holds, const char *what, unsigned id, uint64_t got,
                            uint64_t expected)
{
    if (holds)
        return;
    fprintf(stderr, "FAILED: %s: id %u, %llu and %llu\n", what, id, (unsigned long long)got,
            (unsigned long long)expected);
    abort();
}

static void id_name(unsigned i, char name[16])
{
    snprintf(name, 16, "id:%u", i);
}

static unsigned number_of(const se_item *item)
{
    unsigned i = 0;
    check_in_thread(sscanf(se_item_id(item), "id:%u", &i) == 1, "an id that nobody wrote", i, 0, 0);
    return i;
}

static void raise_to(_Atomic uint64_t *at, uint64_t v)
{
    uint64_t old = atomic_load(at);
    while (old < v && !atomic_compare_exchange_weak(at, &old, v)) {
    }
}

static void push(void *arg, struct dirty_node *node, bool front)
{
    (void)arg;
    struct partition *p = &w.partitions[node->hash % PARTITIONS];
    se__mutex_lock(&p->lock);
    if (front) {
        node->next = p->front;
        if (!p->front)
            p->back = &node->next;
        p->front = node;
    } else {
        node->next = NULL;
        *p->back = node;
        p->back = &node->next;
    }
    se__mutex_unlock(&p->lock);
}

static se_item *take(struct partition *p, uint64_t *first_ms)
{
    se__mutex_lock(&p->lock);
    struct dirty_node *node = p->front;
    if (node) {
        p->front = node->next;
        if (!p->front)
            p->back = &p->front;
        *first_ms = node->first_ms;
    }
    se__mutex_unlock(&p->lock);
    return node ? se__l1_take(w.map, node) : NULL;
}

/* One try with a new version and the same ticket. Returns false if there has to be another. */
static bool try_put(unsigned i, size_t len, struct l1_ticket *ticket)
{
    char name[16];
    id_name(i, name);
    uint64_t v = atomic_fetch_add(&w.version, 1) + 1;
    se_item *item = v % 7 == 0 ? make_tombstone(name, v) : make_item(name, v, len);
    struct l1_put how = {.dirty = true, .renewable = true};
    struct l1_put_result r;
    se__l1_put(w.map, se__l1_hash(w.map, name, strlen(name)), item, ticket, &how, &r);
    if (r.stored == L1_STORED)
        raise_to(&w.acked[i], v);
    atomic_fetch_add(r.renew ? &w.renewed : &w.stale, r.stored != L1_STORED);
    se_item_release(item);
    return !r.renew;
}

static void write_one(unsigned i, size_t len, bool cancelled)
{
    struct l1_ticket ticket;
    if (se__l1_prepare(w.map, 16, se__item_size_for(16, 0, len), &ticket) != SE_OK) {
        atomic_fetch_add(&w.refused, 1);
        se__pause_ms(1); /* as a throttled writer does */
    } else if (cancelled) {
        se__l1_cancel(w.map, &ticket);
    } else {
        while (!try_put(i, len, &ticket)) {
        }
    }
}

static void writer(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    for (unsigned n = 0; n < WRITES; n++) {
        uint64_t r = next_random(&random);
        write_one((unsigned)(r % 3 ? r % 20 : (r >> 8) % IDS), (r >> 32) % 300,
                  (r >> 50) % 11 == 0);
    }
    atomic_fetch_sub(&w.writers_left, 1);
}

/* The home tier's guard. Returns false if it holds a newer one. */
static bool store_home(const se_item *item)
{
    unsigned i = number_of(item);
    raise_to(&w.home[i], se_item_version(item));
    return atomic_load(&w.home[i]) == se_item_version(item);
}

#define STAGE_MAX 32
struct stage { /* what waits for L2 */
    se_item *items[STAGE_MAX];
    unsigned n;
};

static void flush_stage(struct stage *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        se__l1_unpin(w.map, s->items[i]);
        se_item_release(s->items[i]);
    }
    s->n = 0;
}

static void flush_one(se_item *item, uint64_t first_ms, uint64_t random, bool draining,
                      struct stage *s)
{
    if (!draining && random % 9 == 0) {
        se__l1_requeue(w.map, item, first_ms);
        se_item_release(item);
        atomic_fetch_add(&w.requeued, 1);
        return;
    }
    bool newest = store_home(item);
    se__l1_home(w.map, item);
    if (!newest) {
        se__l1_lost(w.map, item);
        atomic_fetch_add(&w.lost, 1);
    }
    s->items[s->n++] = item;
}

static void worker(void *arg)
{
    struct partition *p = arg;
    uint64_t random = (uint64_t)(uintptr_t)arg, first_ms = 0;
    struct stage s = {.n = 0};
    for (;;) {
        bool done = atomic_load(&w.writers_left) == 0;
        se_item *item = take(p, &first_ms);
        if (item)
            flush_one(item, first_ms, next_random(&random), done, &s);
        else if (done)
            break;
        if (s.n == STAGE_MAX || !item || next_random(&random) % 16 == 0)
            flush_stage(&s);
    }
    flush_stage(&s);
}

static uint64_t load_from_home(unsigned i, const char *name, uint64_t hash)
{
    bool unchanged;
    uint64_t epoch = se__l1_epoch(w.map, hash);
    uint64_t v = atomic_load(&w.home[i]);
    if (v == 0)
        return 0;
    se_item *item = make_item(name, v, 50);
    se_item *newest = se__l1_promote(w.map, hash, item, epoch, &unchanged);
    uint64_t got = se_item_version(newest);
    se_item_release(newest);
    se_item_release(item);
    return got;
}

static uint64_t read_map(const char *name, uint64_t hash, bool copying)
{
    char buffer[64];
    struct l1_copy copy;
    struct l1_view view;
    if (copying && se__l1_get_copy(w.map, hash, name, strlen(name), buffer, sizeof buffer, &copy))
        return se__l1_look(w.map, hash, name, strlen(name), &view) ? view.version : 0;
    se_item *item = se__l1_get(w.map, hash, name, strlen(name));
    uint64_t v = item ? se_item_version(item) : 0;
    se_item_release(item);
    return v;
}

static void reader(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    while (atomic_load(&w.writers_left) > 0) {
        char name[16];
        uint64_t r = next_random(&random);
        unsigned i = (unsigned)(r % 2 ? r % 20 : (r >> 8) % IDS);
        id_name(i, name);
        uint64_t hash = se__l1_hash(w.map, name, strlen(name));
        uint64_t must = atomic_load(&w.acked[i]);
        uint64_t got = read_map(name, hash, r % 5 == 0);
        if (got == 0) {
            atomic_fetch_add(&w.evicted_reads, 1);
            got = load_from_home(i, name, hash);
        }
        check_in_thread(got >= must, "read, acknowledged before", i, got, must);
        struct l1_stats stats;
        se__l1_stats(w.map, &stats);
        check_in_thread(stats.bytes <= BYTES_MAX, "bytes, bound", i, stats.bytes, BYTES_MAX);
    }
}

/* Another engine's writes, invalidations and upkeep. */
static void meddler(void *arg)
{
    (void)arg;
    uint64_t random = 99;
    while (atomic_load(&w.writers_left) > 0) {
        char name[16];
        uint64_t r = next_random(&random);
        unsigned i = (unsigned)(r % IDS);
        id_name(i, name);
        if (r % 5 == 0)
            raise_to(&w.home[i], atomic_fetch_add(&w.version, 1) + 1);
        if (r % 3 == 0)
            se__l1_invalidate(w.map, se__l1_hash(w.map, name, strlen(name)), name, strlen(name));
        if (r % 97 == 0)
            se__l1_invalidate_prefix(w.map, name);
        if (r % 7 == 0)
            se__l1_tend(w.map, 0, se__mono_ms());
        if (r % 101 == 0)
            se__l1_set_clean_life(w.map, (uint32_t)((r >> 20) % 3));
    }
}

static void open_world(struct metrics *metrics)
{
    w = (struct world){.writers_left = WRITERS};
    for (unsigned i = 0; i < PARTITIONS; i++) {
        se__mutex_init(&w.partitions[i].lock);
        w.partitions[i].back = &w.partitions[i].front;
    }
    struct l1_options options = {
        .bytes_max = BYTES_MAX, .seed = 7, .sink = {.push = push}, .metrics = metrics};
    cr_assert_eq(se__l1_open(&options, &w.map), SE_OK);
}

static bool always(void *arg, const se_item *item)
{
    (void)arg;
    (void)item;
    return true;
}

static void check_end(struct fixture *f)
{
    for (unsigned i = 0; i < IDS; i++)
        cr_assert(atomic_load(&w.home[i]) >= atomic_load(&w.acked[i]), "id %u is lost", i);
    struct l1_stats stats;
    se__l1_stats(w.map, &stats);
    cr_assert_eq(stats.dirty_items, 0);
    cr_assert_eq(stats.unevictable_bytes, 0);
    se_item **items;
    size_t n;
    cr_assert_eq(se__l1_collect(w.map, true, always, NULL, &items, &n), SE_OK);
    cr_assert_eq(n, 0);
    se__free(items);
    f->map = w.map;
    check_account(f);
    se__l1_invalidate_prefix(w.map, "");
    se__l1_tend(w.map, 0, se__mono_ms());
    se__l1_stats(w.map, &stats);
    cr_assert_eq(stats.items, 0);
    cr_assert_eq(stats.detached_bytes, 0);
    check_account(f);
}

Test(threads, keep_every_promise_at_once)
{
    struct se__thread threads[WRITERS + READERS + PARTITIONS + 1] = {{0}};
    struct fixture f = {0};
    unsigned n = 0;
    cr_assert_eq(se__metrics_open(&f.metrics), SE_OK);
    open_world(f.metrics);
    for (uintptr_t i = 0; i < WRITERS; i++)
        cr_assert_eq(se__thread_start(&threads[n++], "writer", writer, (void *)(i + 1)), SE_OK);
    for (uintptr_t i = 0; i < READERS; i++)
        cr_assert_eq(se__thread_start(&threads[n++], "reader", reader, (void *)(i + 50)), SE_OK);
    for (unsigned i = 0; i < PARTITIONS; i++)
        cr_assert_eq(se__thread_start(&threads[n++], "worker", worker, &w.partitions[i]), SE_OK);
    cr_assert_eq(se__thread_start(&threads[n++], "meddler", meddler, NULL), SE_OK);
    while (n > 0)
        se__thread_join(&threads[--n]);
    check_end(&f);
    /* The run was about something. */
    cr_assert(atomic_load(&w.evicted_reads) > 0 && atomic_load(&w.requeued) > 0);
    fprintf(stderr,
            "misses %llu, refused %llu, stale %llu, renewed %llu, requeued %llu, lost %llu, "
            "evicted %llu\n",
            (unsigned long long)w.evicted_reads, (unsigned long long)w.refused,
            (unsigned long long)w.stale, (unsigned long long)w.renewed,
            (unsigned long long)w.requeued, (unsigned long long)w.lost,
            (unsigned long long)se__metrics_sum(f.metrics, M_EVICTED_PRESSURE));
    se__l1_close(w.map);
    se__metrics_close(f.metrics);
}
