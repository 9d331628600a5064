/*
 * points - see crash_points.h. The places themselves: crash_wraps_*.c and crash_layer.c.
 */
#include "fault/crash_points.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static struct crash_points *counted; /* NULL: nothing counts in this process */

#define POINT_NAME(point, name, sides, needs) name,
static const char *const names[CRASH_POINTS_N] = {CRASH_POINTS(POINT_NAME)};
#define POINT_SIDES(point, name, sides, needs) sides,
static const unsigned sides_of[CRASH_POINTS_N] = {CRASH_POINTS(POINT_SIDES)};
#define POINT_NEEDS(point, name, sides, needs) needs,
static const unsigned needs_of[CRASH_POINTS_N] = {CRASH_POINTS(POINT_NEEDS)};

const char *crash_point_name(int point)
{
    return point >= 0 && point < CRASH_POINTS_N ? names[point] : "no point";
}

const char *crash_side_name(int side)
{
    static const char *const text[CRASH_SIDES] = {"before", "half way", "after"};
    return text[side];
}

unsigned crash_point_sides(int point)
{
    return sides_of[point];
}

unsigned crash_point_needs(int point)
{
    return needs_of[point];
}

/* ---- passing ---- */

void crash_points_set(struct crash_points *p, int point, int side, uint32_t nth)
{
    memset(p->hits, 0, sizeof p->hits);
    atomic_store(&p->died_at, CRASH_NO_POINT);
    atomic_store(&p->side, side);
    atomic_store(&p->countdown, nth);
    atomic_store(&p->point, point);
}

void crash_points_count(struct crash_points *p)
{
    counted = p;
}

void crash_die(enum crash_point point, enum crash_side side)
{
    atomic_fetch_add(&counted->kills[point][side], 1);
    atomic_store(&counted->died_at, (int)point);
    for (;;)
        kill(getpid(), SIGKILL);
}

static bool is_the_end(enum crash_point point, enum crash_side side)
{
    if (!counted)
        return false;
    atomic_fetch_add_explicit(&counted->hits[point][side], 1, memory_order_relaxed); /* a count */
    return atomic_load(&counted->point) == (int)point && atomic_load(&counted->side) == (int)side &&
           atomic_fetch_sub(&counted->countdown, 1) == 1;
}

void crash_pass(enum crash_point point, enum crash_side side)
{
    if (is_the_end(point, side))
        crash_die(point, side);
}

bool crash_dies_half_way(enum crash_point point)
{
    return is_the_end(point, CRASH_HALF);
}
