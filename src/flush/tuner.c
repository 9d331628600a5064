/*
 * tuner.c - a plane through what batches took; the rest and the limits that follow from it.
 */
#include "flush/tuner.h"

#define FORGET (63.0 / 64)
#define RIDGE 64.0          /* rows^2, blocks^2, against sums that count at most 64 batches */
#define ROUND_IN_ROWS 64.0  /* where nothing tells: what a round costs */
#define BLOCK 4096.0        /* bytes; where nothing tells: they cost as much as a row */
#define STALL 8.0           /* no batch counts as longer than so many times what was expected, */
#define STALL_FROM 8.0      /* once so many are known */
#define CHANGE 3            /* so many in a row are no stalls */
#define ROUNDS_APART 10.0   /* a tenth of the time for rounds */
#define DURATIONS_APART 2.0 /* half of the time for all of it */
#define ROWS_PER_ROUND 9.0  /* in a full batch: a tenth of it for the round */
#define BYTES_SLACK 1.25    /* rows that are larger than most may make a batch a quarter longer */
#define LATE_PART 4         /* of a batch that ran into its timeout */
#define PROBE_EACH 8        /* one in so many batches is half of one */
#define NS_PER_MS 1000000.0

static double at_most(double x, double max)
{
    return x < max ? x : max;
}

static double at_least(double x, double min)
{
    return x > min ? x : min;
}

static double plane_at(const struct tuner *t, double rows, double bytes)
{
    return t->round_ns + t->row_ns * rows + t->byte_ns * bytes;
}

/* Variances and covariances of the sums, each times the weight, ridge included. */
struct spread {
    double rows, blocks, both, rows_ns, blocks_ns;
};

static struct spread spread_of(const struct tuner_sums *s, double guess)
{
    double rows = s->rows / s->weight, blocks = s->blocks / s->weight;
    return (struct spread){
        .rows = at_least(s->rows_rows - s->rows * rows, 0) + RIDGE,
        .blocks = at_least(s->blocks_blocks - s->blocks * blocks, 0) + RIDGE,
        .both = s->rows_blocks - s->rows * blocks,
        .rows_ns = s->rows_ns - s->ns * rows + RIDGE * guess,
        .blocks_ns = s->blocks_ns - s->ns * blocks + RIDGE * guess,
    };
}

/* The slopes that fit best, none of them negative: where the best has one that is, the best with
 * that one at nothing. */
static void slopes_of(const struct spread *s, double *row, double *block)
{
    double determinant = s->rows * s->blocks - s->both * s->both;
    *row = s->rows_ns * s->blocks - s->blocks_ns * s->both;
    *block = s->blocks_ns * s->rows - s->rows_ns * s->both;
    if (determinant > 0 && *row >= 0 && *block >= 0) {
        *row /= determinant;
        *block /= determinant;
        return;
    }
    bool only_blocks = *row < *block;
    *row = only_blocks ? 0 : at_least(s->rows_ns / s->rows, 0);
    *block = only_blocks ? at_least(s->blocks_ns / s->blocks, 0) : 0;
}

/* The round is what rows and bytes leave of the mean; it is not less than nothing. */
static void fit(struct tuner *t)
{
    const struct tuner_sums *s = &t->sums;
    double rows = s->rows / s->weight, blocks = s->blocks / s->weight, ns = s->ns / s->weight;
    struct spread spread = spread_of(s, ns / (rows + blocks + ROUND_IN_ROWS));
    double row, block;
    slopes_of(&spread, &row, &block);
    double sloped = row * rows + block * blocks;
    double scale = sloped > ns ? ns / sloped : 1;
    t->row_ns = row * scale;
    t->byte_ns = block * scale / BLOCK;
    t->round_ns = at_least(ns - sloped * scale, 0);
}

/* I2: what the batch counts as. */
static double tempered(struct tuner *t, double rows, double bytes, double ns)
{
    if (t->sums.weight < STALL_FROM)
        return ns;
    double expected = plane_at(t, rows, bytes) + 1;
    bool odd = ns > STALL * expected || STALL * ns < expected;
    t->odd = odd ? t->odd + 1 : 0;
    if (t->odd < CHANGE)
        return at_most(ns, STALL * expected);
    t->sums = (struct tuner_sums){0};
    t->odd = 0;
    return ns;
}

static void add(double *sum, double x)
{
    *sum = *sum * FORGET + x;
}

void se__tuner_learn(struct tuner *t, size_t rows, size_t bytes, uint64_t took_ns)
{
    struct tuner_sums *s = &t->sums;
    double n = rows > 0 ? (double)rows : 1, blocks = (double)bytes / BLOCK;
    double ns = tempered(t, n, (double)bytes, (double)took_ns);
    add(&s->weight, 1);
    add(&s->rows, n);
    add(&s->blocks, blocks);
    add(&s->ns, ns);
    add(&s->rows_rows, n * n);
    add(&s->rows_blocks, n * blocks);
    add(&s->blocks_blocks, blocks * blocks);
    add(&s->rows_ns, n * ns);
    add(&s->blocks_ns, blocks * ns);
    fit(t);
    t->turn++;
    if (t->rows_cap && rows >= t->rows_cap)
        t->rows_cap *= 2;
}

void se__tuner_late(struct tuner *t, size_t rows)
{
    t->rows_cap = rows > LATE_PART ? rows / LATE_PART : 1;
}

uint32_t se__tuner_rest_ms(const struct tuner *t, size_t rows, size_t bytes, uint32_t max_ms)
{
    double rounds = ROUNDS_APART * t->round_ns;
    double durations = DURATIONS_APART * plane_at(t, (double)rows, (double)bytes);
    double ms = at_least(rounds, durations) / NS_PER_MS;
    if (ms >= max_ms)
        return max_ms;
    uint32_t whole = (uint32_t)ms;
    return whole + (whole < ms);
}

/* How long the rows of a full batch may take. At least as long as its round, or it would hardly get
 * anywhere. */
static double time_for_rows(const struct tuner *t, const struct tuner_bounds *bounds)
{
    double ns = at_least(bounds->target_ms * NS_PER_MS - t->round_ns, ROWS_PER_ROUND * t->round_ns);
    ns = at_most(ns, bounds->longest_ms * NS_PER_MS - t->round_ns);
    return at_least(ns, t->round_ns);
}

/* A row of the usual length. */
static double row_with_bytes(const struct tuner *t)
{
    const struct tuner_sums *s = &t->sums;
    double bytes_a_row = s->rows > 0 ? s->blocks * BLOCK / s->rows : 0;
    return t->row_ns + t->byte_ns * bytes_a_row;
}

/* total / each, between 1 and max. */
static size_t as_many(double total, double each, size_t max)
{
    if (each <= 0 || total >= each * (double)max)
        return max;
    return total > each ? (size_t)(total / each) : 1;
}

void se__tuner_choose(const struct tuner *t, const struct tuner_bounds *bounds, size_t *rows,
                      size_t *bytes)
{
    *rows = bounds->rows_max;
    *bytes = bounds->bytes_max;
    size_t cap = t->rows_cap && t->rows_cap < *rows ? t->rows_cap : *rows;
    double ns = time_for_rows(t, bounds), row_ns = row_with_bytes(t);
    if (!bounds->keep_rows)
        *rows = as_many(ns, row_ns, cap);
    double for_bytes = BYTES_SLACK * ns - (row_ns > 0 ? t->row_ns * (ns / row_ns) : 0);
    if (!bounds->keep_bytes)
        *bytes = as_many(for_bytes, t->byte_ns, *bytes);
}

void se__tuner_next(const struct tuner *t, const struct tuner_bounds *bounds, size_t *rows,
                    size_t *bytes)
{
    se__tuner_choose(t, bounds, rows, bytes);
    bool in_time = t->round_ns + row_with_bytes(t) * (double)*rows <= bounds->target_ms * NS_PER_MS;
    bool all = *rows == bounds->rows_max && *bytes == bounds->bytes_max;
    if ((all && in_time) || t->turn % PROBE_EACH != PROBE_EACH - 1)
        return;
    if (!bounds->keep_rows)
        *rows = (*rows + 1) / 2;
    if (!bounds->keep_bytes)
        *bytes = (*bytes + 1) / 2;
}
