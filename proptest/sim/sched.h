/*
 * sched - threads, time and chance of a simulated world: one system thread, a clock that only moves
 * when everybody waits, and a seed that decides who goes next.
 *
 * os.c stands in for src/base/os_*.c on top of this, so that the engine's own threads, locks and waits
 * are tasks here. A task runs until it waits, or until a lock or a call of a fake backend lets another
 * one go first. Nothing else is a source of chance: the same seed gives the same run.
 *
 * Threads: one; tasks take turns.  Memory: stacks are kept from world to world.
 */
#ifndef SE_SIM_SCHED_H
#define SE_SIM_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_FOREVER UINT64_MAX

struct task;

/* The caller becomes the first task. preempt: one lock in so many lets others go first; 0: none. */
void sim_begin(uint64_t seed, unsigned preempt);
/* Every other task has ended and been joined. Returns a number that another run of the same seed
 * gives too. */
uint64_t sim_end(void);

/* ---- chance ---- */
uint64_t sim_random(void);
unsigned sim_pick(unsigned n); /* 0 .. n - 1 */
bool sim_chance(unsigned per_mille);
/* A stream of its own, for what must not depend on who runs when. */
uint64_t sim_mix(uint64_t *state);

/* ---- time ---- */
uint64_t sim_now_ns(void);
uint64_t sim_now_ms(void);
int64_t sim_wall_ms(void);
void sim_jump_wall(int64_t ms); /* the wall clock is set by so much */
bool sim_wall_jumped(void);     /* ever */
void sim_tick_ns(uint64_t ns);  /* what a call costs, so that no loop stands still */

/* ---- tasks ---- */
struct task *sim_spawn(const char *name, void (*run)(void *arg), void *arg);
void sim_join(struct task *task);
uint64_t sim_task_id(void);
const char *sim_task_name(void);
void sim_yield(void);
void sim_sleep_ns(uint64_t ns);
void sim_sleep_ms(uint64_t ms);
/* Waits until somebody wakes `on`; false at the deadline. */
bool sim_wait(const void *on, uint64_t until_ns);
void sim_wake_all(const void *on);
void sim_wake_one(const void *on);
void sim_maybe_preempt(void);

/* ---- failing ---- */
/* The world has broken a law: ends the process or, while shrinking, the attempt. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* kind: the format, the same for the same law. */
extern void (*sim_on_failure)(const char *kind, const char *text);
extern bool sim_verbose;
void sim_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
