/*
 * tuner.c - a line through what batches took; the rest that follows from it.
 */
#include "flush/tuner.h"

#define FORGET (63.0 / 64)
#define RIDGE 64.0          /* rows^2, against sums that count at most 64 batches */
#define ROUND_IN_ROWS 64.0  /* where nothing tells: what a round costs */
#define STALL 8.0           /* no batch counts as longer than so many times what was expected, */
#define STALL_FROM 8.0      /* once so many are known */
#define ROUNDS_APART 10.0   /* a tenth of the time for rounds */
#define DURATIONS_APART 2.0 /* half of the time for all of it */
#define NS_PER_MS 1000000.0

static double at_most(double x, double max)
{
    return x < max ? x : max;
}

static double line_at(const struct tuner *t, double rows)
{
    return t->round_ns + t->row_ns * rows;
}

/* The slope that fits best, between none and a line through the origin; then the round is what the
 * rows leave of the mean. */
static void fit(struct tuner *t)
{
    double rows = t->rows / t->weight, ns = t->ns / t->weight;
    double variance = t->rows_rows - t->weight * rows * rows;
    double covariance = t->rows_ns - t->weight * rows * ns;
    double guess = ns / (rows + ROUND_IN_ROWS);
    double slope = (covariance + RIDGE * guess) / ((variance > 0 ? variance : 0) + RIDGE);
    slope = slope > 0 ? at_most(slope, ns / rows) : 0;
    double round = ns - slope * rows;
    t->row_ns = slope;
    t->round_ns = round > 0 ? round : 0;
}

void se__tuner_learn(struct tuner *t, size_t rows, uint64_t took_ns)
{
    double n = rows > 0 ? (double)rows : 1, ns = (double)took_ns;
    if (t->weight >= STALL_FROM)
        ns = at_most(ns, STALL * line_at(t, n) + 1);
    t->weight = t->weight * FORGET + 1;
    t->rows = t->rows * FORGET + n;
    t->ns = t->ns * FORGET + ns;
    t->rows_rows = t->rows_rows * FORGET + n * n;
    t->rows_ns = t->rows_ns * FORGET + n * ns;
    fit(t);
}

uint32_t se__tuner_rest_ms(const struct tuner *t, size_t rows, uint32_t max_ms)
{
    double rounds = ROUNDS_APART * t->round_ns;
    double durations = DURATIONS_APART * line_at(t, (double)rows);
    double ms = (rounds > durations ? rounds : durations) / NS_PER_MS;
    if (ms >= max_ms)
        return max_ms;
    uint32_t whole = (uint32_t)ms;
    return whole + (whole < ms);
}
