/*
 * How much a batch takes at a time: the tuner against made-up servers that cost so much a round, a
 * row and a byte, with noise, become slow, and become fast again.
 */
#include "flush/tuner.h"
#include "support/random.h"
#include "support/test.h"

#include <math.h>
#include <stdint.h>

#define US 1000.0
#define MS 1000000.0

static uint64_t seed;

struct server {
    double round_ns, row_ns, byte_ns;
    size_t row_bytes, every, large_bytes; /* one row in `every` is large; 0: none */
};
static const struct tuner_bounds DEFAULTS = {
    .rows_max = 1000, .bytes_max = 1 << 20, .target_ms = 100, .longest_ms = 500};

struct outcome {
    double longest_ms, longest_late_ms; /* of all, and of the second half */
    double rows, seconds, round_seconds;
    size_t late, rows_last, bytes_last;
};

static void one_batch(struct tuner *t, const struct tuner_bounds *bounds, const struct server *s,
                      bool late_half, struct outcome *o)
{
    size_t rows = 0, bytes = 0, rows_max, bytes_max;
    se__tuner_choose(t, bounds, &o->rows_last, &o->bytes_last);
    se__tuner_next(t, bounds, &rows_max, &bytes_max);
    while (rows < rows_max && (rows == 0 || bytes < bytes_max)) {
        bool large = s->every && random_next(&seed) % s->every == 0;
        bytes += large ? s->large_bytes : s->row_bytes;
        rows++;
    }
    double noise = 0.9 + 0.2 * random_share(&seed);
    double ns = (s->round_ns + s->row_ns * (double)rows + s->byte_ns * (double)bytes) * noise;
    if (ns > bounds->longest_ms * 4 * MS) {
        se__tuner_late(t, rows);
        o->late++;
        return;
    }
    se__tuner_learn(t, rows, bytes, (uint64_t)ns);
    o->longest_ms = fmax(o->longest_ms, ns / MS);
    o->longest_late_ms = late_half ? fmax(o->longest_late_ms, ns / MS) : o->longest_late_ms;
    o->rows += (double)rows;
    o->seconds += ns / 1e9;
    o->round_seconds += s->round_ns * noise / 1e9;
}

/* A partition that always has more to write. */
static struct outcome busy(struct tuner *t, const struct tuner_bounds *bounds,
                           const struct server *s, int batches)
{
    struct outcome o = {0};
    for (int i = 0; i < batches; i++)
        one_batch(t, bounds, s, i >= batches / 2, &o);
    return o;
}

static void start(void)
{
    seed = 88172645463325252;
}

TestSuite(flush_limits, .init = start);

Test(flush_limits, nothing_known_is_the_bounds)
{
    struct tuner t = {0};
    size_t rows, bytes;
    se__tuner_choose(&t, &DEFAULTS, &rows, &bytes);
    cr_assert(rows == 1000 && bytes == 1 << 20);
}

/* Whatever came before, one row at a time or hundreds: a thousand rows take 12 ms. */
Test(flush_limits, a_server_that_is_well_gets_full_batches)
{
    static const size_t BEFORE[] = {1, 10, 300};
    struct server s = {.round_ns = 0.1 * MS, .row_ns = 12 * US, .row_bytes = 500};
    for (int i = 0; i < 3; i++) {
        struct tuner t = {0};
        struct tuner_bounds few = DEFAULTS;
        few.rows_max = BEFORE[i];
        (void)busy(&t, &few, &s, 100);
        struct outcome o = busy(&t, &DEFAULTS, &s, 200);
        cr_assert_eq(o.rows_last, 1000);
        cr_assert(o.bytes_last == 1 << 20 && o.rows >= 199 * 1000, "%g", o.rows);
    }
}

/* A millisecond a row: no batch of a second in which whoever waits waits. */
Test(flush_limits, a_slow_server_gets_batches_that_end_in_time)
{
    struct tuner t = {0};
    struct server s = {.round_ns = 4 * MS, .row_ns = 1 * MS, .row_bytes = 500};
    struct outcome o = busy(&t, &DEFAULTS, &s, 200);
    cr_assert(o.longest_late_ms <= 140, "%g", o.longest_late_ms);
    cr_assert(o.rows_last >= 70 && o.rows_last <= 120, "%zu", o.rows_last);
    cr_assert(o.round_seconds <= 0.06 * o.seconds, "%g of %g", o.round_seconds, o.seconds);
}

/* Rounds as long as a slow disk's: a tenth of the time, even if batches take longer for it. */
Test(flush_limits, rounds_that_are_long_still_take_a_tenth)
{
    struct tuner t = {0};
    struct server s = {.round_ns = 30 * MS, .row_ns = 0.5 * MS, .row_bytes = 500};
    struct outcome o = busy(&t, &DEFAULTS, &s, 200);
    cr_assert(o.round_seconds <= 0.125 * o.seconds, "%g of %g", o.round_seconds, o.seconds);
    cr_assert(o.longest_ms <= 550, "%g", o.longest_ms);
}

/* But never so long that a moment that is four times slower ends in a timeout. */
Test(flush_limits, no_batch_takes_longer_than_it_may)
{
    struct tuner t = {0};
    struct server s = {.round_ns = 100 * MS, .row_ns = 1 * MS, .row_bytes = 500};
    struct outcome o = busy(&t, &DEFAULTS, &s, 200);
    cr_assert(o.longest_late_ms <= 560, "%g", o.longest_late_ms);
    cr_assert(o.rows_last >= 200, "%zu", o.rows_last);
}

/* A thin line to the server: bytes cost, rows hardly do. */
Test(flush_limits, bytes_limit_where_bytes_cost)
{
    struct tuner t = {0};
    struct server s = {.round_ns = 1 * MS,
                       .row_ns = 5 * US,
                       .byte_ns = 0.8 * US, /* 10 Mbit/s */
                       .row_bytes = 200,
                       .every = 20,
                       .large_bytes = 40000};
    struct outcome o = busy(&t, &DEFAULTS, &s, 400);
    cr_assert(o.bytes_last >= 90000 && o.bytes_last <= 180000, "%zu", o.bytes_last);
    cr_assert(o.longest_late_ms <= 125 * 1.1 + 40, "%g", o.longest_late_ms); /* + the last row */
    cr_assert(o.round_seconds <= 0.1 * o.seconds, "%g of %g", o.round_seconds, o.seconds);
    double ns_a_byte = t.byte_ns;
    cr_assert(ns_a_byte > 0.6 * US && ns_a_byte < 1 * US, "%g", ns_a_byte);
}

/* 250 times slower from one batch to the next: a thousand rows would run into the timeout. */
Test(flush_limits, a_server_that_turns_slow_and_recovers_is_followed)
{
    struct tuner t = {0};
    struct server well = {.round_ns = 0.1 * MS, .row_ns = 12 * US, .row_bytes = 500};
    struct server slow = {.round_ns = 25 * MS, .row_ns = 3 * MS, .row_bytes = 500};
    (void)busy(&t, &DEFAULTS, &well, 500);
    struct outcome o = busy(&t, &DEFAULTS, &slow, 8);
    cr_assert(o.late >= 1 && o.late <= 2, "%zu", o.late);
    o = busy(&t, &DEFAULTS, &slow, 100);
    cr_assert_eq(o.late, 0);
    /* ten rounds are 250 ms; noise makes more of a round now and then */
    cr_assert(o.longest_late_ms <= 400, "%g", o.longest_late_ms);
    o = busy(&t, &DEFAULTS, &well, 8);
    cr_assert_eq(o.rows_last, 1000, "%zu", o.rows_last);
    cr_assert(o.rows >= 4 * 1000, "%g", o.rows);
}

Test(flush_limits, a_timeout_quarters_and_what_is_well_doubles)
{
    struct tuner t = {0};
    size_t rows, bytes;
    for (int i = 0; i < 20; i++)
        se__tuner_learn(&t, 1000, 0, 12000000);
    se__tuner_late(&t, 1000);
    static const size_t THEN[] = {250, 500, 1000, 1000};
    for (int i = 0; i < 4; i++) {
        se__tuner_choose(&t, &DEFAULTS, &rows, &bytes);
        cr_assert_eq(rows, THEN[i], "%d: %zu", i, rows);
        se__tuner_learn(&t, rows, 0, 12000 * rows);
    }
    for (int i = 0; i < 10; i++) {
        se__tuner_choose(&t, &DEFAULTS, &rows, &bytes);
        se__tuner_late(&t, rows);
    }
    se__tuner_choose(&t, &DEFAULTS, &rows, &bytes);
    cr_assert_eq(rows, 1, "down to a row, and no further");
}

Test(flush_limits, what_was_asked_for_is_kept)
{
    struct server s = {.round_ns = 4 * MS, .row_ns = 1 * MS, .byte_ns = 1 * US, .row_bytes = 10000};
    struct tuner t = {0};
    (void)busy(&t, &DEFAULTS, &s, 100);
    size_t rows, bytes;
    struct tuner_bounds b = DEFAULTS;
    b.keep_rows = true;
    se__tuner_choose(&t, &b, &rows, &bytes);
    cr_assert(rows == 1000 && bytes < 1 << 20);
    b.keep_rows = false;
    b.keep_bytes = true;
    se__tuner_choose(&t, &b, &rows, &bytes);
    cr_assert(rows < 1000 && bytes == 1 << 20);
    se__tuner_late(&t, 100);
    b.keep_rows = true;
    se__tuner_choose(&t, &b, &rows, &bytes);
    cr_assert(rows == 1000 && bytes == 1 << 20);
}

/* Any sizes, durations and timeouts: finite, not negative, within the bounds. */
Test(flush_limits, whatever_is_learnt_the_limits_stay_within_their_bounds)
{
    seed = 4101842887655102017;
    for (int run = 0; run < 300; run++) {
        struct tuner t = {0};
        for (int n = 0; n < 200; n++) {
            size_t rows = (size_t)(random_next(&seed) >> (random_next(&seed) % 64)) % 1000001;
            size_t bytes = (size_t)(random_next(&seed) >> (random_next(&seed) % 64)) % (1u << 30);
            if (random_next(&seed) % 10 == 0)
                se__tuner_late(&t, rows);
            else
                se__tuner_learn(&t, rows, bytes, random_next(&seed) >> (random_next(&seed) % 64));
            cr_assert(isfinite(t.round_ns) && t.round_ns >= 0);
            cr_assert(isfinite(t.row_ns) && t.row_ns >= 0);
            cr_assert(isfinite(t.byte_ns) && t.byte_ns >= 0);
            struct tuner_bounds b = {.rows_max = 1 + random_next(&seed) % 100000,
                                     .bytes_max = 1 + random_next(&seed) % (1u << 30),
                                     .target_ms = (uint32_t)(random_next(&seed) % 3600000),
                                     .longest_ms = (uint32_t)(random_next(&seed) % 3600000)};
            size_t rows_chosen, bytes_chosen;
            se__tuner_choose(&t, &b, &rows_chosen, &bytes_chosen);
            cr_assert(rows_chosen >= 1 && rows_chosen <= b.rows_max);
            cr_assert(bytes_chosen >= 1 && bytes_chosen <= b.bytes_max);
        }
    }
}
