/*
 * What batches cost, learnt from them, and the rest between them that follows.
 */
#include "flush/batcher.h"
#include "flush/tuner.h"
#include "support/random.h"
#include "support/test.h"

#include <math.h>
#include <stdint.h>

#define US 1000.0
#define MS 1000000.0

static uint64_t seed;

static uint64_t cost(double round_ns, double row_ns, size_t rows)
{
    return (uint64_t)(round_ns + row_ns * (double)rows);
}

static bool near(double x, double expected, double share)
{
    return fabs(x - expected) <= expected * share;
}

TestSuite(flush_tuner);

Test(flush_tuner, nothing_known_is_no_rest)
{
    struct tuner t = {0};
    cr_assert_eq(se__tuner_rest_ms(&t, 0, 0, 100), 0);
    cr_assert_eq(se__tuner_rest_ms(&t, 1000, 0, 100), 0);
}

/* Sizes from one to a thousand and a tenth of noise: both costs are found. */
Test(flush_tuner, costs_are_found_where_sizes_differ)
{
    static const double ROUNDS[] = {50 * US, 300 * US, 5 * MS}, ROWS[] = {2 * US, 12 * US, 40 * US};
    seed = 88172645463325252;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            struct tuner t = {0};
            for (int n = 0; n < 300; n++) {
                size_t rows = 1 + random_next(&seed) % (n % 2 ? 30 : 1000);
                double noise = 0.95 + 0.1 * random_share(&seed);
                se__tuner_learn(&t, rows, 0, cost(ROUNDS[i] * noise, ROWS[k] * noise, rows));
            }
            cr_assert(near(t.row_ns, ROWS[k], 0.1), "%g %g: %g", ROUNDS[i], ROWS[k], t.row_ns);
            /* a round that is far less than the noise of the rows cannot be seen */
            double slack = 0.25 * ROUNDS[i] + 15 * ROWS[k];
            cr_assert(fabs(t.round_ns - ROUNDS[i]) <= slack, "%g %g: %g", ROUNDS[i], ROWS[k],
                      t.round_ns);
        }
}

/* All of one size: no line is better than another, and the two still add up to what was seen. */
Test(flush_tuner, one_size_is_shared_between_round_and_rows)
{
    static const size_t SIZES[] = {1, 7, 100, 1000, 100000};
    for (int i = 0; i < 5; i++) {
        struct tuner t = {0};
        for (int n = 0; n < 200; n++)
            se__tuner_learn(&t, SIZES[i], 0, 3000000);
        cr_assert(near(t.round_ns + t.row_ns * (double)SIZES[i], 3000000, 1e-6));
        cr_assert(near(t.round_ns, 64 * t.row_ns, 0.02), "%g %g", t.round_ns, t.row_ns);
    }
}

Test(flush_tuner, a_change_is_followed_within_200_batches)
{
    struct tuner t = {0};
    for (int n = 0; n < 1000; n++) {
        size_t rows = 1 + (size_t)n % 100;
        se__tuner_learn(&t, rows, 0, cost(10 * MS, 100 * US, rows));
    }
    for (int n = 0; n < 200; n++) {
        size_t rows = 1 + (size_t)n % 100;
        se__tuner_learn(&t, rows, 0, cost(1 * MS, 10 * US, rows));
    }
    cr_assert(t.round_ns < 2.5 * MS && t.row_ns < 20 * US, "%g %g", t.round_ns, t.row_ns);
    for (int n = 0; n < 200; n++) { /* and back: stalls of all of them are no stalls */
        size_t rows = 1 + (size_t)n % 100;
        se__tuner_learn(&t, rows, 0, cost(10 * MS, 100 * US, rows));
    }
    cr_assert(t.round_ns > 8 * MS && t.row_ns > 80 * US, "%g %g", t.round_ns, t.row_ns);
}

Test(flush_tuner, one_stall_moves_little)
{
    struct tuner t = {0};
    for (int n = 0; n < 100; n++)
        se__tuner_learn(&t, 1 + (size_t)n % 10, 0, cost(1 * MS, 10 * US, 1 + (size_t)n % 10));
    uint32_t before = se__tuner_rest_ms(&t, 5, 0, 3600000);
    se__tuner_learn(&t, 5, 0, UINT64_C(60000000000)); /* a minute */
    uint32_t after = se__tuner_rest_ms(&t, 5, 0, 3600000);
    cr_assert(after <= before * 5 / 4 + 1, "%u %u", before, after);
}

/* Any sizes and durations: finite, not negative, within the bound, never less than whole. */
Test(flush_tuner, whatever_is_learnt_the_rest_stays_within_its_bound)
{
    seed = 4101842887655102017;
    for (int run = 0; run < 300; run++) {
        struct tuner t = {0};
        for (int n = 0; n < 200; n++) {
            size_t rows = (size_t)(random_next(&seed) >> (random_next(&seed) % 64));
            uint64_t ns = random_next(&seed) >> (random_next(&seed) % 64);
            se__tuner_learn(&t, rows % 1000001, 0, ns);
            cr_assert(isfinite(t.round_ns) && t.round_ns >= 0);
            cr_assert(isfinite(t.row_ns) && t.row_ns >= 0);
            uint32_t max_ms = (uint32_t)(random_next(&seed) >> (random_next(&seed) % 32 + 32));
            uint32_t rest = se__tuner_rest_ms(&t, rows % 1000001, 0, max_ms);
            cr_assert_leq(rest, max_ms);
            cr_assert(rest == max_ms || rest >= 10 * t.round_ns / MS - 1e-6);
        }
    }
}

/* ---- with the batcher, over made-up time ---- */

struct traffic {
    double writes_a_ms, round_ns, row_ns;
    uint32_t age_ms;
    size_t items_max;
};
struct outcome {
    double rows_a_batch, busy, busy_with_rounds, wait_ms_max;
};

/* A partition for ten seconds: writes of ids that are all different come evenly; the batcher is
 * asked at every ms. */
static struct outcome run(const struct traffic *f)
{
    struct tuner t = {0};
    struct outcome o = {0};
    struct batch_limits limits = {
        .items_max = f->items_max, .bytes_max = SIZE_MAX, .age_ms_max = f->age_ms, .paced = true};
    struct batch_queue q = {0};
    double come = 0, ends_ms = 0, batches = 0, rows = 0;
    for (uint64_t ms = 1; ms <= 10000; ms++) {
        come += f->writes_a_ms;
        if (come >= 1 && q.items == 0)
            q.oldest_ms = ms;
        q.items += (size_t)come;
        come -= floor(come);
        uint64_t wait_ms;
        if ((double)ms < ends_ms || se__batcher_decide(&limits, &q, ms, &wait_ms) == BATCH_OPEN)
            continue;
        size_t n = q.items < f->items_max ? q.items : f->items_max;
        double waited = (double)(ms - q.oldest_ms), took = f->round_ns + f->row_ns * (double)n;
        o.wait_ms_max = waited > o.wait_ms_max ? waited : o.wait_ms_max;
        se__tuner_learn(&t, n, 0, (uint64_t)took);
        q.rested_ms = ms + se__tuner_rest_ms(&t, n, 0, f->age_ms);
        ends_ms = (double)ms + took / MS;
        q.items -= n;
        q.oldest_ms = ms;
        o.busy += took;
        o.busy_with_rounds += f->round_ns;
        batches++;
        rows += (double)n;
    }
    o.rows_a_batch = batches > 0 ? rows / batches : 0;
    o.busy /= 10000 * MS;
    o.busy_with_rounds /= 10000 * MS;
    return o;
}

Test(flush_tuner, an_idle_system_writes_at_once)
{
    struct traffic f = {.writes_a_ms = 0.02, /* one in 50 ms */
                        .round_ns = 1 * MS,
                        .row_ns = 12 * US,
                        .age_ms = 100,
                        .items_max = 1000};
    struct outcome o = run(&f);
    cr_assert_eq(o.wait_ms_max, 0);
    cr_assert_eq(o.rows_a_batch, 1);
}

/* As long as the age allows it, at any traffic: rounds take about a tenth of the time at most,
 * unless batches are full. */
Test(flush_tuner, rounds_take_a_tenth_of_the_time)
{
    static const double TRAFFIC[] = {0.1, 0.5, 1, 5, 20}, ROUNDS[] = {0.05, 0.3, 2, 8};
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 4; k++) {
            struct traffic f = {.writes_a_ms = TRAFFIC[i],
                                .round_ns = ROUNDS[k] * MS,
                                .row_ns = 12 * US,
                                .age_ms = 100,
                                .items_max = 1000};
            struct outcome o = run(&f);
            cr_assert(o.busy_with_rounds <= 0.125 || o.rows_a_batch > 950, "%g %g: %g", TRAFFIC[i],
                      ROUNDS[k], o.busy_with_rounds);
            cr_assert(o.wait_ms_max <= 101, "%g", o.wait_ms_max);
        }
}

Test(flush_tuner, a_busy_system_writes_full_batches)
{
    struct traffic f = {.writes_a_ms = 60, /* three quarters of what the rows alone allow */
                        .round_ns = 0.3 * MS,
                        .row_ns = 12 * US,
                        .age_ms = 100,
                        .items_max = 1000};
    struct outcome o = run(&f);
    cr_assert(o.rows_a_batch > 950, "%g", o.rows_a_batch);
    cr_assert(o.wait_ms_max <= 101, "%g", o.wait_ms_max);
}

/* Half of the time is left, in which rows that change all the time change unseen. */
Test(flush_tuner, writing_takes_half_of_the_time_unless_batches_are_full)
{
    struct tuner t = {0};
    for (int n = 0; n < 100; n++)
        se__tuner_learn(&t, 100 + (size_t)n, 0, cost(0.1 * MS, 100 * US, 100 + (size_t)n));
    uint32_t rest = se__tuner_rest_ms(&t, 200, 0, 1000);
    cr_assert(rest >= 40 && rest <= 43, "%u", rest);
}
