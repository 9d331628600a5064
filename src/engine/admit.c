/*
 * admit - may a writer go on? Measures pressure, counts its levels, delays and refuses. No I/O
 * anywhere here; what is decided at which pressure is in tier/pressure.c.
 *
 * A delayed writer is inside the gate. It looks again every few milliseconds, so that neither a
 * queue that has emptied nor a shutdown waits for its delay.
 */
#include "engine/engine.h"

#include <assert.h>

#define RECOMPUTE_UNITS 64u /* a write is one unit and one more a KiB */

static double share(double used, double bound)
{
    return bound > 0 ? used / bound : 0;
}

static double greater(double a, double b)
{
    return a > b ? a : b;
}

/* Where L1 is the home nothing is queued: only its own bound counts. */
static double measure(const se_engine *e)
{
    const se_config *c = &e->settings.c;
    double unevictable = (double)se__l1_unevictable_bytes(e->l1);
    double p = share(unevictable, (double)c->l1_max_bytes);
    if (e->home.ops)
        p = greater(p, share(unevictable, (double)c->queue_max_bytes));
    if (e->wal) {
        struct wal_stats wal;
        se__wal_stats(e->wal, &wal);
        p = greater(p, share((double)(wal.live_records + wal.dead), (double)c->wal_max_items));
        p = greater(p, share((double)wal.live_bytes, (double)c->wal_max_bytes));
    }
    return p;
}

static struct pressure_bounds bounds_of(const se_engine *e)
{
    return (struct pressure_bounds){.warn = e->settings.c.backpressure_warn,
                                    .critical = e->settings.c.backpressure_critical};
}

static_assert(M_PRESSURE_TO_SHUTDOWN - M_PRESSURE_TO_NORMAL == SE_PRESSURE_SHUTDOWN,
              "one counter a level, in their order");

/* Every change is counted once, whoever sees it: the exchange gives each its predecessor. */
static void note_level(se_engine *e, se_pressure level)
{
    if (atomic_load_explicit(&e->pressure_level, memory_order_relaxed) == (int)level)
        return;
    int before = atomic_exchange_explicit(&e->pressure_level, (int)level, memory_order_relaxed);
    if (before != (int)level)
        se__metrics_inc(e->metrics, (enum metric)(M_PRESSURE_TO_NORMAL + (int)level));
}

se_pressure se__pressure_now(se_engine *e, double *p)
{
    struct pressure_bounds bounds = bounds_of(e);
    *p = measure(e);
    se_pressure level = se__pressure_level(&bounds, *p);
    note_level(e, level);
    return level;
}

static se_pressure last_level(const se_engine *e)
{
    return (se_pressure)atomic_load_explicit(&e->pressure_level,
                                             memory_order_relaxed); /* advisory */
}

/* Each 64th looks. A load and a store: of two writers that count at once one may be forgotten, which
 * only spaces out. A locked operation would wait here until the item's bytes are in the cache. */
static bool must_look(se_engine *e, size_t writes, size_t bytes)
{
    _Atomic uint32_t *turn = &e->pressure_turns[se__thread_id() % PRESSURE_TURNS].units;
    uint32_t units = (uint32_t)(writes + bytes / 1024);
    uint32_t before = atomic_load_explicit(turn, memory_order_relaxed);
    atomic_store_explicit(turn, before + units, memory_order_relaxed);
    return before / RECOMPUTE_UNITS != (before + units) / RECOMPUTE_UNITS ||
           last_level(e) >= SE_PRESSURE_WARN;
}

static se_result refuse(se_engine *e, size_t writes, double p)
{
    se__metrics_add(e->metrics, M_REFUSED, writes);
    return se__error(
        SE_ERR_BACKPRESSURE,
        "refused: %.0f %% of what may wait for the home tier is waiting; try again in %u ms",
        p * 100, se_retry_after_ms(e));
}

se_result se__pressure_admit(se_engine *e, size_t writes, size_t bytes)
{
    if (!must_look(e, writes, bytes))
        return SE_OK;
    struct pressure_bounds bounds = bounds_of(e);
    struct pressure_turn turn;
    uint32_t waited = 0;
    double p;
    for (;;) {
        (void)se__pressure_now(e, &p);
        turn = se__pressure_turn(&bounds, p, e->settings.c.throttle_max_ms, waited);
        if (!turn.wait_ms || !se__gate_open(&e->gate))
            break;
        if (!waited)
            se__metrics_add(e->metrics, M_THROTTLED, writes);
        se__pause_ms(turn.wait_ms);
        waited += turn.wait_ms;
    }
    return turn.refused ? refuse(e, writes, p) : SE_OK;
}

void se__pressure_full(se_engine *e, size_t writes)
{
    se__metrics_add(e->metrics, M_REFUSED, writes);
    atomic_store_explicit(&e->full_ms, se__mono_ms() + 1, memory_order_relaxed); /* advisory */
}

se_pressure se_pressure_level(const se_engine *e)
{
    return se__look_in(e) == SE_OK ? last_level(e) : SE_PRESSURE_SHUTDOWN;
}

/* L1 refuses what does not fit beside what it may not drop, the WAL what it has no room for; that
 * says nothing of the next write, so it is believed for as long as a flush may take. */
static bool was_full(const se_engine *e, uint32_t within_ms)
{
    uint64_t at = atomic_load_explicit(&e->full_ms, memory_order_relaxed); /* advisory */
    return at && se__mono_ms() < at + within_ms;
}

uint32_t se_retry_after_ms(const se_engine *e)
{
    if (se__look_in(e) != SE_OK)
        return 0;
    uint64_t circuit = e->home_guard ? se__guarded_wait_ms(e->home_guard) : 0;
    uint32_t wait = se__pressure_retry_ms(e->settings.c.batch_flush_ms, circuit);
    return se__pressure_refuses(last_level(e)) || was_full(e, wait) ? wait : 0;
}
