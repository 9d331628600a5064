/*
 * Random operations on one thread, against a model that knows what was promised and nothing of how
 * it is kept.
 *
 * The model plays the whole neighbourhood: writers, one flush worker with its L2 stage, the home
 * tier, another engine that writes there, and readers that load. After every step: a read of an id
 * shows the newest item that this engine wrote, or a newer one, from the map or (if the map has
 * nothing) from the home tier; and the counters are what the model counts. SE_TEST_SEED repeats one
 * seed.
 */
#include "map_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS 12
#define PIPE_MAX 64
#define STEPS 4000
#define SEEDS 60

enum stage { IN_FLIGHT, STORED };

struct piped {
    se_item *item;
    uint64_t first_ms;
    unsigned id;
    enum stage stage;
};

struct id_model {
    uint64_t newest; /* that this engine put */
    uint64_t home;   /* in the home tier (and L2: a load shows it) */
    uint64_t seen;   /* the newest that any read showed */
    bool dead;       /* the newest was buried */
    bool queued;
    unsigned in_flight, pins;
};

static struct fixture f;
static struct id_model ids[IDS];
static struct piped pipe_line[PIPE_MAX]; /* in the order of taking */
static unsigned piped;
static uint64_t random_state, version;
static uint64_t accepted, superseded, persisted, lost, buried, dead_replaced;

static unsigned pick(unsigned n)
{
    return (unsigned)(next_random(&random_state) % n);
}

static const char *name_of(unsigned i)
{
    static const char *const names[IDS] = {
        "a", "b", "c", "aa", "ab", "A", "a ", "long:id:of:some:kind", "x", "y", "z", "{t}"};
    return names[i];
}

static unsigned id_of(const se_item *item)
{
    for (unsigned i = 0; i < IDS; i++)
        if (strcmp(se_item_id(item), name_of(i)) == 0)
            return i;
    cr_assert_fail("unknown id");
    return 0;
}

/* ---- steps ---- */

static void step_put(void)
{
    unsigned i = pick(IDS);
    struct id_model *m = &ids[i];
    bool old = pick(8) == 0 && version > 3;
    uint64_t v = old ? version - pick(3) : ++version;
    se_item *item =
        pick(6) == 0 ? make_tombstone(name_of(i), v) : make_item(name_of(i), v, pick(300));
    struct l1_ticket ticket;
    struct l1_put_result r;
    if (se__l1_prepare(f.map, strlen(name_of(i)), se__item_size(item), &ticket) != SE_OK) {
        se_item_release(item); /* full of what may not go: refused, nothing has changed */
        return;
    }
    se__l1_put(f.map, hash_of(&f, name_of(i)), item, &ticket, &(struct l1_put){.dirty = true}, &r);
    if (r.stored == L1_STORED) {
        cr_assert_eq(r.superseded, m->queued);
        cr_assert_eq(r.dead_replaced, m->dead);
        accepted++;
        superseded += r.superseded;
        dead_replaced += r.dead_replaced;
        m->dead = false;
        m->queued = true;
        m->newest = v > m->newest ? v : m->newest;
    } else {
        cr_assert_eq(r.stored, L1_STALE);
        cr_assert(r.winner >= v);
        cr_assert(old, "a new version always wins here");
    }
    se_item_release(item);
}

static bool take_one(void)
{
    struct piped *p = &pipe_line[piped];
    p->item = fixture_take(&f, &p->first_ms);
    if (!p->item)
        return false;
    p->id = id_of(p->item);
    p->stage = IN_FLIGHT;
    struct id_model *m = &ids[p->id];
    cr_assert(m->queued, "queued once, taken once");
    cr_assert(se_item_version(p->item) >= m->newest, "the newest is what is flushed");
    m->queued = false;
    m->in_flight++;
    m->pins++;
    piped++;
    return true;
}

/* A batch: only when nothing of the last one is in flight any more. */
static void step_take(void)
{
    for (unsigned i = 0; i < piped; i++)
        if (pipe_line[i].stage == IN_FLIGHT)
            return;
    for (unsigned n = 1 + pick(4); n > 0 && piped < PIPE_MAX && take_one(); n--) {
    }
}

static void leave_pipe(unsigned at)
{
    se_item_release(pipe_line[at].item);
    ids[pipe_line[at].id].pins--;
    memmove(&pipe_line[at], &pipe_line[at + 1], (piped - at - 1) * sizeof *pipe_line);
    piped--;
}

/* The oldest item in flight of any id; as the worker does, one outcome each. */
static int first_in_stage(enum stage stage)
{
    for (unsigned i = 0; i < piped; i++)
        if (pipe_line[i].stage == stage && pick(2) == 0)
            return (int)i;
    return -1;
}

static void step_home(void)
{
    int at = first_in_stage(IN_FLIGHT);
    if (at < 0)
        return;
    struct piped *p = &pipe_line[at];
    struct id_model *m = &ids[p->id];
    uint64_t v = se_item_version(p->item);
    if (m->home > v) {
        lost++;
        if (pick(2)) {
            se__l1_home(f.map, p->item);
            se__l1_lost(f.map, p->item);
        } else {
            se__l1_lost(f.map, p->item);
            se__l1_home(f.map, p->item);
        }
    } else {
        persisted++;
        m->home = v;
        se__l1_home(f.map, p->item);
    }
    m->in_flight--;
    p->stage = STORED;
}

static void step_unpin(void)
{
    int at = first_in_stage(STORED);
    if (at < 0)
        return;
    se__l1_unpin(f.map, pipe_line[at].item);
    leave_pipe((unsigned)at);
}

static void step_requeue(void)
{
    int at = first_in_stage(IN_FLIGHT);
    if (at < 0)
        return;
    struct piped *p = &pipe_line[at];
    struct id_model *m = &ids[p->id];
    bool queued = se__l1_requeue(f.map, p->item, p->first_ms);
    cr_assert_eq(queued, !m->queued);
    superseded += !queued;
    m->queued = true;
    m->in_flight--;
    leave_pipe((unsigned)at);
}

static void step_bury(void)
{
    int at = first_in_stage(IN_FLIGHT);
    if (at < 0 || pick(4))
        return;
    struct piped *p = &pipe_line[at];
    struct id_model *m = &ids[p->id];
    bool dead = se__l1_bury(f.map, p->item);
    if (dead)
        buried++;
    else if (m->queued)
        superseded++;
    else
        lost++; /* to what a load brought */
    cr_assert(!dead || !m->queued);
    m->dead = m->dead || dead;
    m->in_flight--;
    leave_pipe((unsigned)at);
}

/* What a reader does: the map, else the home tier, offering what it found. Sometimes
 * another thing happens in between. */
static void (*const STEPS_MEANWHILE[])(void);
static void step_read(void)
{
    unsigned i = pick(IDS);
    struct id_model *m = &ids[i];
    uint64_t hash = hash_of(&f, name_of(i)), must = m->newest > m->seen ? m->newest : m->seen;
    uint64_t got = shown(&f, name_of(i));
    if (got == 0 && m->home != 0) {
        uint64_t epoch = se__l1_epoch(f.map, hash);
        se_item *loaded = make_item(name_of(i), m->home, 20);
        if (pick(3) == 0)
            STEPS_MEANWHILE[pick(3)]();
        bool unchanged;
        se_item *newest = se__l1_promote(f.map, hash, loaded, epoch, &unchanged);
        got = se_item_version(newest);
        se_item_release(newest);
        se_item_release(loaded);
        m->dead = m->dead && shown(&f, name_of(i)) < m->home;
    }
    cr_assert(got >= must, "id %s: read %" PRIu64 " after %" PRIu64, name_of(i), got, must);
    if (got > m->seen)
        m->seen = got;
}

static void step_foreign_write(void)
{
    if (pick(3))
        return;
    unsigned i = pick(IDS);
    ids[i].home = ++version;
}

/* A load while the map has something: as se_get_verified and the repair do. */
static void step_load_over(void)
{
    unsigned i = pick(IDS);
    struct id_model *m = &ids[i];
    if (m->home == 0)
        return;
    bool was_dead = m->dead, unchanged;
    uint64_t hash = hash_of(&f, name_of(i));
    se_item *item = make_item(name_of(i), m->home, 20);
    se_item *newest = se__l1_promote(f.map, hash, item, se__l1_epoch(f.map, hash), &unchanged);
    cr_assert(unchanged);
    cr_assert(se_item_version(newest) >= m->newest || se_item_version(newest) >= m->home);
    struct l1_view view;
    bool there = se__l1_look(f.map, hash, name_of(i), strlen(name_of(i)), &view);
    m->dead = was_dead && there && view.dead;
    se_item_release(newest);
    se_item_release(item);
}

static void step_invalidate(void)
{
    if (pick(4))
        invalidate(&f, name_of(pick(IDS)));
    else
        se__l1_invalidate_prefix(f.map, pick(2) ? "a" : "");
}

static void step_evict(void)
{
    se__l1_unreserve(f.map, se__l1_evict(f.map, 1u << pick(14)));
}

static void step_tend(void)
{
    se__l1_tend(f.map, 0, 0);
}

static void (*const STEPS_MEANWHILE[])(void) = {step_put, step_evict, step_invalidate};
static void (*const ALL_STEPS[])(void) = {
    step_put,  step_put,           step_put,       step_take,  step_take,  step_take,
    step_home, step_home,          step_home,      step_unpin, step_unpin, step_read,
    step_read, step_read,          step_requeue,   step_bury,  step_evict, step_load_over,
    step_tend, step_foreign_write, step_invalidate};

/* ---- what must hold after every step ---- */

static void check(void)
{
    struct l1_stats stats = stats_of(&f);
    size_t dirty = 0, dead = 0, queued = 0;
    for (unsigned i = 0; i < IDS; i++) {
        const struct id_model *m = &ids[i];
        dirty += m->queued || m->in_flight > 0;
        dead += m->dead;
        queued += m->queued;
        bool confirmed = m->home >= m->newest && !m->queued && !m->in_flight;
        cr_assert(confirmed || shown(&f, name_of(i)) >= m->newest || m->home >= m->newest,
                  "%s: %" PRIu64 " is nowhere", name_of(i), m->newest);
    }
    cr_assert_eq(stats.dirty_items, dirty);
    cr_assert_eq(stats.dead_items, dead);
    cr_assert_eq(f.queued, queued);
    check_account(&f);
}

static void drain(void)
{
    while (f.queued > 0 || piped > 0) {
        step_take();
        step_home();
        step_unpin();
    }
}

static void check_balance(void)
{
    size_t dead = stats_of(&f).dead_items;
    lost += se__metrics_sum(f.metrics, M_LOST); /* dead letters that gave way to loads */
    superseded += dead_replaced;
    cr_assert_eq(accepted, superseded + lost + persisted + dead,
                 "accepted %" PRIu64 ", superseded %" PRIu64 ", lost %" PRIu64
                 ", persisted %" PRIu64 ", dead %zu",
                 accepted, superseded, lost, persisted, dead);
}

static void run(uint64_t seed)
{
    memset(ids, 0, sizeof ids);
    accepted = superseded = persisted = lost = buried = dead_replaced = version = 0;
    random_state = seed;
    /* Small enough that eviction and refusals happen all the time. */
    fixture_open(&f, 8 * 1024 + 1024 * pick(8), false);
    for (unsigned i = 0; i < STEPS; i++) {
        ALL_STEPS[pick(sizeof ALL_STEPS / sizeof *ALL_STEPS)]();
        check();
    }
    drain();
    check();
    check_balance();
    size_t dead_bytes = stats_of(&f).unevictable_bytes;
    se__l1_invalidate_prefix(f.map, "");
    se__l1_tend(f.map, 0, 0);
    cr_assert_eq(stats_of(&f).unevictable_bytes, dead_bytes);
    cr_assert_eq(stats_of(&f).items + 0, stats_of(&f).items);
    cr_assert_eq(stats_of(&f).detached_items, 0);
    check_account(&f);
    fixture_close(&f);
}

Test(model, random_operations)
{
    const char *only = getenv("SE_TEST_SEED");
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t s = only ? strtoull(only, NULL, 10) : seed;
        fprintf(stderr, "seed %" PRIu64 "\r", s); /* the last one printed is the one that failed */
        run(s);
        if (only)
            break;
    }
    fprintf(stderr, "\n");
}
