/*
 * The filter beside a plain set: never a false "no" (law 5).
 *
 * First on one thread: random adds, deletes, rebuilds in pieces, copies and restarts; SE_TEST_SEED
 * repeats one seed. Then with the whole neighbourhood on threads of its own:
 *
 *   writer     adds, publishes (pending), compares the epoch and adds again, acknowledges
 *   reader     what is acknowledged, before and after the look, is not excluded
 *   home       flushes pending ids to L3, deletes rows
 *   rebuilder  begin, what is pending, then what L3 has, commit; sometimes without memory
 *   copier     takes snapshots: what L3 had before is in the copy
 *
 * Between rounds the engine "crashes" and starts again: from the last snapshot and what is new in L3
 * since, or by a scan; with what is pending in its WAL.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "filter/filter.h"
#include "ids.h"
#include "support/must.h"
#include "support/test.h"

#include <inttypes.h>
#include <stdatomic.h>

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static struct filter *open_filter(uint64_t seed)
{
    struct filter *f;
    cr_assert_eq(se__filter_open(seed, &f), SE_OK);
    return f;
}

/* ---- one thread ---- */

#define SEEDS (30u / (SCALE > 1 ? 6 : 1))
#define STEPS 60000u
#define FEW 9000u /* ids, of three parts: enough for each to grow from its first table */

struct model {
    struct filter *f;
    uint64_t random, seed;
    uint64_t id[FEW]; /* their numbers */
    bool there[FEW];
    unsigned room;             /* ids below are in use; grows */
    bool on[FILTER_PARTS];     /* being rebuilt */
    unsigned at[FILTER_PARTS]; /* ids below have been scanned */
    unsigned commits, restarts, fulls, excluded;
};

static unsigned pick(struct model *m, unsigned n)
{
    return (unsigned)(next_random(&m->random) % n);
}

static unsigned pick_part(struct model *m)
{
    static const unsigned parts[] = {0, 31, 63};
    return parts[pick(m, 3)];
}

static void choose_ids(struct model *m)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < FEW; n++) {
        unsigned part = part_of(n);
        if (part == 0 || part == 31 || part == 63)
            m->id[i++] = n;
    }
}

static void check(struct model *m, unsigned i)
{
    bool excluded = excludes_id(m->f, m->id[i]);
    m->excluded += excluded;
    cr_assert(!m->there[i] || !excluded, "seed %" PRIu64 ": id %u", m->seed, i);
}

static void check_all(struct model *m)
{
    for (unsigned i = 0; i < FEW; i++)
        check(m, i);
}

static void step_begin(struct model *m)
{
    unsigned part = pick_part(m);
    if (m->on[part] && pick(m, 8))
        return; /* seldom once more from the start */
    cr_assert_eq(se__filter_begin(m->f, part), SE_OK);
    m->on[part] = true;
    m->at[part] = 0;
}

/* A piece of a scan; at its end the commit, or a change of mind. */
static void step_scan(struct model *m)
{
    unsigned part = pick_part(m);
    if (!m->on[part])
        return;
    unsigned end = m->at[part] + pick(m, FEW / 8);
    for (; m->at[part] < FEW && m->at[part] < end; m->at[part]++)
        if (m->there[m->at[part]] && part_of(m->id[m->at[part]]) == part)
            cr_assert_eq(note_id(m->f, part, m->id[m->at[part]]), SE_OK);
    if (m->at[part] < FEW)
        return;
    if (pick(m, 10) == 0)
        se__filter_cancel(m->f, part);
    else
        cr_assert_eq(se__filter_commit(m->f, part), SE_OK);
    m->commits++;
    m->on[part] = false;
    check_all(m);
}

static void restart(struct model *m, struct filter *fresh)
{
    se__filter_close(m->f);
    memset(m->on, 0, sizeof m->on);
    se__filter_believe(fresh, FILTER_COLD);
    m->f = fresh;
    m->restarts++;
    check_all(m);
}

static void step_restart_from_copy(struct model *m)
{
    struct filter *fresh = open_filter(m->seed);
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        struct buf b = {0};
        cr_assert_eq(se__filter_copy_part(m->f, part, &b), SE_OK);
        cr_assert_eq(se__filter_restore_part(fresh, part, (const uint8_t *)b.data, b.len), SE_OK);
        se__buf_done(&b);
    }
    restart(m, fresh);
}

static void step_restart_cold(struct model *m)
{
    struct filter *fresh = open_filter(m->seed);
    for (unsigned i = 0; i < FEW; i++)
        if (m->there[i])
            add_id(fresh, m->id[i]);
    restart(m, fresh);
}

static void step(struct model *m)
{
    unsigned what = pick(m, 1000), i = pick(m, m->room);
    struct filter_stats s;
    if (what < 600) {
        add_id(m->f, m->id[i]);
        m->there[i] = true;
    } else if (what < 750) {
        m->there[i] = false;
    } else if (what < 755) {
        step_begin(m);
    } else if (what < 780) {
        step_scan(m);
    } else if (what < 781) {
        pick(m, 4) ? (void)0 : pick(m, 2) ? step_restart_from_copy(m) : step_restart_cold(m);
    } else if (what < 790) {
        m->room += m->room < FEW ? pick(m, 20) : 0;
        m->room = m->room < FEW ? m->room : FEW;
    }
    if (what == 999) {
        se__filter_stats(m->f, &s);
        m->fulls += s.full_parts;
    }
    check(m, i);
}

static void run_model(uint64_t seed, struct model *m)
{
    *m = (struct model){.f = open_filter(seed), .random = seed, .seed = seed, .room = 1000};
    choose_ids(m);
    se__filter_believe(m->f, FILTER_COLD);
    for (unsigned n = 0; n < STEPS; n++)
        step(m);
    check_all(m);
    se__filter_close(m->f);
}

Test(model, never_a_false_no_on_one_thread)
{
    static struct model m;
    const char *given = getenv("SE_TEST_SEED");
    uint64_t first = given ? strtoull(given, NULL, 0) : se__random_u64() % 1000000;
    unsigned commits = 0, restarts = 0, fulls = 0, excluded = 0;
    printf("seeds from %" PRIu64 " on\n", first);
    for (uint64_t seed = first; seed < first + (given ? 1 : SEEDS); seed++) {
        run_model(seed, &m);
        commits += m.commits;
        restarts += m.restarts;
        fulls += m.fulls;
        excluded += m.excluded;
    }
    printf("%u commits, %u restarts, parts seen full %u times, %u excluded\n", commits, restarts,
           fulls, excluded);
    cr_assert(commits > 0 && restarts > 0 && excluded > 0);
}

/* ---- threads ---- */

#define ROUNDS 4u
#define IDS (200000u / SCALE)
#define WRITERS 2u
#define READERS 2u
#define WRITES (400000u / SCALE) /* a writer and round */
#define READS (850000u / SCALE)  /* a reader and round; 10 million operations together */
#define STRIPES 64u

struct state {
    _Atomic uint32_t version; /* odd: acknowledged and not deleted since */
    bool pending, in_l3;      /* guarded by the id's stripe */
    bool in_snapshot;         /* the copier's: was in L3 when the last snapshot began */
    uint32_t seen;            /* the copier's: the version then */
};

struct world {
    struct filter *f;
    uint64_t seed;
    struct id id[IDS];
    unsigned part[IDS];
    unsigned *of_part[FILTER_PARTS], of_part_n[FILTER_PARTS];
    struct state state[IDS];
    struct se__mutex stripes[STRIPES]; /* as L1's: what is published is guarded by them */
    atomic_uint room;                  /* ids below are in use */
    atomic_uint working;               /* writers and readers */
    struct buf snapshot[FILTER_PARTS];
    bool has_snapshot;
    _Atomic uint64_t operations, again, rebuilds, late, snapshots, deleted, excluded, nomem;
};

static struct world w;

static void must(bool holds, const char *what, unsigned i)
{
    MUST(holds, "%s: id %u of part %u, seed %" PRIu64, what, i, w.part[i], w.seed);
}

static void lock(unsigned i)
{
    se__mutex_lock(&w.stripes[i % STRIPES]);
}

static void unlock(unsigned i)
{
    se__mutex_unlock(&w.stripes[i % STRIPES]);
}

static uint64_t add(unsigned i)
{
    return se__filter_add(w.f, w.id[i].text, w.id[i].len);
}

static bool excludes(const struct filter *f, unsigned i)
{
    return se__filter_excludes(f, w.id[i].text, w.id[i].len);
}

/* Excluded although it was there all the time? */
static void check_id(unsigned i, const char *who)
{
    uint32_t before = atomic_load(&w.state[i].version);
    bool excluded = excludes(w.f, i);
    uint32_t after = atomic_load(&w.state[i].version);
    must(!excluded || before % 2 == 0 || before != after, who, i);
    atomic_fetch_add_explicit(&w.excluded, excluded, memory_order_relaxed);
}

static void write_id(unsigned i, bool slow)
{
    uint64_t epoch = add(i);
    if (slow)
        se__pause_ms(1); /* a group commit of the WAL lies between */
    lock(i);
    w.state[i].pending = true;
    unlock(i);
    if (se__filter_epoch(w.f) != epoch) {
        add(i);
        atomic_fetch_add_explicit(&w.again, 1, memory_order_relaxed);
    }
    lock(i);
    uint32_t version = atomic_load(&w.state[i].version);
    if (version % 2 == 0 && (w.state[i].pending || w.state[i].in_l3))
        atomic_store(&w.state[i].version, version + 1); /* acknowledged */
    unlock(i);
    check_id(i, "excluded right after its write");
}

static void writer(void *arg)
{
    uint64_t random = w.seed ^ (uint64_t)(uintptr_t)arg;
    for (unsigned n = 0; n < WRITES; n++) {
        uint64_t r = next_random(&random);
        write_id((unsigned)(r % atomic_load(&w.room)), (r >> 40) % 4096 == 0);
    }
    atomic_fetch_add(&w.operations, WRITES);
    atomic_fetch_sub(&w.working, 1);
}

static void reader(void *arg)
{
    uint64_t random = w.seed ^ (uint64_t)(uintptr_t)arg;
    for (unsigned n = 0; n < READS; n++)
        check_id((unsigned)(next_random(&random) % atomic_load(&w.room)), "excluded");
    atomic_fetch_add(&w.operations, READS);
    atomic_fetch_sub(&w.working, 1);
}

static void flush_or_delete(unsigned i, uint64_t random)
{
    struct state *s = &w.state[i];
    lock(i);
    uint32_t version = atomic_load(&s->version);
    if (s->pending && random % 2) {
        s->in_l3 = true;
        s->pending = false;
    } else if (s->in_l3 && !s->pending && version % 2 && random % 5 == 0) {
        atomic_store(&s->version, version + 1);
        s->in_l3 = false;
        atomic_fetch_add_explicit(&w.deleted, 1, memory_order_relaxed);
    }
    unlock(i);
}

static void home(void *arg)
{
    uint64_t random = w.seed ^ (uint64_t)(uintptr_t)arg;
    while (atomic_load(&w.working))
        for (unsigned i = 0; i < IDS; i++)
            flush_or_delete(i, next_random(&random));
}

static bool peek(unsigned i, bool pending)
{
    lock(i);
    bool is = pending ? w.state[i].pending : w.state[i].in_l3;
    unlock(i);
    return is;
}

/* First what is pending, then what L3 has: what is flushed in between is seen in one of both. */
static se_result note_all(unsigned part)
{
    se_result r = SE_OK;
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned k = 0; k < w.of_part_n[part] && r == SE_OK; k++) {
            unsigned i = w.of_part[part][k];
            if (peek(i, pass == 0))
                r = se__filter_note(w.f, part, w.id[i].text, w.id[i].len);
        }
    return r;
}

static void rebuild(unsigned part, uint64_t random)
{
    if (random % 16 == 0)
        se__mem_fail_after((int64_t)(random >> 8) % 30); /* for all threads; nothing if released */
    se_result r = se__filter_begin(w.f, part);
    if (r == SE_OK) {
        r = note_all(part);
        if (r == SE_OK && (random >> 16) % 16)
            r = se__filter_commit(w.f, part);
        else
            se__filter_cancel(w.f, part);
    }
    se__mem_fail_after(-1);
    must(r == SE_OK || r == SE_ERR_NOMEM, "a rebuild failed", 0);
    atomic_fetch_add(&w.nomem, r != SE_OK);
    atomic_fetch_add(&w.rebuilds, 1);
}

static void rebuilder(void *arg)
{
    uint64_t random = w.seed ^ (uint64_t)(uintptr_t)arg;
    while (atomic_load(&w.working)) {
        struct filter_part_stats s;
        uint64_t r = next_random(&random);
        for (unsigned part = 0; part < FILTER_PARTS; part++) {
            se__filter_part_stats(w.f, part, &s);
            if (s.due && (r >> part) % 4 == 0)
                rebuild(part, next_random(&random));
            atomic_fetch_add(&w.late, s.full);
        }
        rebuild((unsigned)(r % FILTER_PARTS), next_random(&random));
    }
}

/* ---- snapshots ---- */

static void remember_l3(void)
{
    for (unsigned i = 0; i < IDS; i++) {
        lock(i);
        w.state[i].in_snapshot = w.state[i].in_l3;
        w.state[i].seen = atomic_load(&w.state[i].version);
        unlock(i);
    }
}

static bool copy_parts(void)
{
    bool complete = true;
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        se__buf_clear(&w.snapshot[part]);
        complete &= se__filter_copy_part(w.f, part, &w.snapshot[part]) == SE_OK;
    }
    return complete;
}

/* NULL without memory. */
static struct filter *restored(void)
{
    struct filter *f = NULL;
    se_result r = se__filter_open(w.seed, &f);
    for (unsigned part = 0; part < FILTER_PARTS && r == SE_OK; part++)
        r = se__filter_restore_part(f, part, (const uint8_t *)w.snapshot[part].data,
                                    w.snapshot[part].len);
    if (r == SE_OK)
        return f;
    must(r == SE_ERR_NOMEM, "a snapshot does not come back", 0);
    se__filter_close(f);
    return NULL;
}

static void copier(void *arg)
{
    (void)arg;
    while (atomic_load(&w.working)) {
        remember_l3();
        w.has_snapshot = copy_parts();
        struct filter *f = w.has_snapshot ? restored() : NULL;
        if (!f)
            continue;
        se__filter_believe(f, FILTER_COLD);
        for (unsigned i = 0; i < IDS; i++) {
            bool kept = w.state[i].seen == atomic_load(&w.state[i].version);
            must(!kept || w.state[i].seen % 2 == 0 || !excludes(f, i), "not in the copy", i);
        }
        se__filter_close(f);
        atomic_fetch_add(&w.snapshots, 1);
    }
}

/* ---- rounds ---- */

/* Its row has another version than the snapshot's digests say, or is new. */
static bool differs(const struct state *s)
{
    return !s->in_snapshot || s->seen != atomic_load(&s->version);
}

static void scan_all(void)
{
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        cr_assert_eq(se__filter_begin(w.f, part), SE_OK);
        cr_assert_eq(note_all(part), SE_OK);
        cr_assert_eq(se__filter_commit(w.f, part), SE_OK);
    }
}

/* As se__warm_open: the snapshot with what differs in L3 and with the WAL; or a scan. */
static void start_again(bool from_snapshot)
{
    se__filter_close(w.f);
    w.f = from_snapshot ? restored() : open_filter(w.seed);
    cr_assert_not_null(w.f);
    if (!from_snapshot)
        scan_all();
    for (unsigned i = 0; i < IDS; i++) {
        const struct state *s = &w.state[i];
        must(!excludes(w.f, i), "excluded by a cold filter", i);
        if (from_snapshot && (s->pending || (s->in_l3 && differs(s))))
            add(i);
    }
    se__filter_believe(w.f, FILTER_COLD);
}

static void check_world(void)
{
    unsigned absent = 0;
    for (unsigned i = 0; i < IDS; i++)
        check_id(i, "excluded at the end of a round");
    for (uint64_t n = ABSENT; n < ABSENT + 10000; n++)
        absent += excludes_id(w.f, n);
    cr_assert_gt(absent, 0u, "a filter that excludes nothing is never wrong");
}

static void run_round(unsigned round)
{
    struct se__thread threads[WRITERS + READERS + 3] = {{0}};
    unsigned n = 0;
    uintptr_t name = round * 100 + 1;
    atomic_store(&w.working, WRITERS + READERS);
    atomic_store(&w.room, IDS / ROUNDS * (round + 1));
    for (unsigned i = 0; i < WRITERS; i++)
        cr_assert_eq(se__thread_start(&threads[n++], "writer", writer, (void *)name++), SE_OK);
    for (unsigned i = 0; i < READERS; i++)
        cr_assert_eq(se__thread_start(&threads[n++], "reader", reader, (void *)name++), SE_OK);
    cr_assert_eq(se__thread_start(&threads[n++], "home", home, (void *)name++), SE_OK);
    cr_assert_eq(se__thread_start(&threads[n++], "rebuilder", rebuilder, (void *)name++), SE_OK);
    cr_assert_eq(se__thread_start(&threads[n++], "copier", copier, NULL), SE_OK);
    while (n > 0)
        se__thread_join(&threads[--n]);
    check_world();
    start_again(round % 2 == 0 && w.has_snapshot);
    check_world();
}

static void open_world(void)
{
    const char *given = getenv("SE_TEST_SEED");
    w.seed = given ? strtoull(given, NULL, 0) : se__random_u64();
    printf("seed %" PRIu64 "\n", w.seed);
    for (unsigned i = 0; i < STRIPES; i++)
        se__mutex_init(&w.stripes[i]);
    for (unsigned i = 0; i < FILTER_PARTS; i++)
        cr_assert_not_null(w.of_part[i] = calloc(IDS / 32 + 100, sizeof(unsigned)));
    for (unsigned i = 0; i < IDS; i++) {
        w.id[i] = id_of(i);
        w.part[i] = part_of(i);
        w.of_part[w.part[i]][w.of_part_n[w.part[i]]++] = i;
    }
    w.f = open_filter(w.seed);
    se__filter_believe(w.f, FILTER_COLD);
}

static void close_world(void)
{
    se__filter_close(w.f);
    for (unsigned i = 0; i < FILTER_PARTS; i++) {
        free(w.of_part[i]);
        se__buf_done(&w.snapshot[i]);
    }
    for (unsigned i = 0; i < STRIPES; i++)
        se__mutex_done(&w.stripes[i]);
}

Test(model, never_a_false_no_with_threads)
{
    open_world();
    for (unsigned round = 0; round < ROUNDS; round++)
        run_round(round);
    printf("%" PRIu64 " operations, %" PRIu64 " added again, %" PRIu64 " rebuilds (%" PRIu64
           " failed), full %" PRIu64 " times, %" PRIu64 " snapshots, %" PRIu64 " deleted, %" PRIu64
           " excluded\n",
           w.operations, w.again, w.rebuilds, w.nomem, w.late, w.snapshots, w.deleted, w.excluded);
    cr_assert(w.again > 0 && w.rebuilds > 0 && w.snapshots > 0 && w.deleted > 0 && w.excluded > 0);
    close_world();
}
