/*
 * sched.c - tasks are stacks of their own (ucontext) between which _longjmp switches: swapcontext
 * makes two system calls each time, and a schedule switches some ten thousand times.
 * AddressSanitizer is told of every change of stack.
 */
#include "sim/sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define ANNOTATED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ANNOTATED 1
#endif
#endif
#ifdef ANNOTATED
#include <sanitizer/common_interface_defs.h>
#endif

enum { TASKS_MAX = 96, SWITCHES_MAX = 3000000 };
#define STACK_BYTES ((size_t)512 * 1024)
#define BEGIN_MS UINT64_C(1000000)
#define WALL_BEGIN_MS INT64_C(1750000000000)
#define SWITCH_NS 500
#define NAP_NS_MAX 20000000 /* of a task that is put off at a lock */

enum task_state { TASK_FREE, TASK_READY, TASK_WAITING, TASK_ENDED };

struct task {
    enum task_state state;
    bool begun, timed_out;
    jmp_buf jump;
    ucontext_t context;
    void *stack;
    void (*run)(void *arg);
    void *arg;
    char name[24];
    uint64_t id;
    const void *waits_on;
    uint64_t until_ns;
#ifdef ANNOTATED
    void *fake_stack;
    const void *bottom;
    size_t size;
#endif
};

static struct task tasks[TASKS_MAX];
static unsigned tasks_top; /* none at or above it is used */
static struct task *current;
static uint64_t now_ns, chance, last_id, switches;
static int64_t wall_offset_ms;
static unsigned preempt_in;
static bool wall_jumped;

void (*sim_on_failure)(const char *kind, const char *text);
bool sim_verbose;

/* ---- failing ---- */

_Noreturn void sim_fail(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (sim_on_failure)
        sim_on_failure(format, text);
    fprintf(stderr, "%s\n", text);
    abort();
}

void sim_say(const char *format, ...)
{
    if (!sim_verbose)
        return;
    va_list args;
    printf("%10.3f ms %-12s ", (double)now_ns / 1e6 - (double)BEGIN_MS, sim_task_name());
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* ---- chance ---- */

/* splitmix64 (Steele, Lea, Flood 2014) */
uint64_t sim_mix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sim_random(void)
{
    return sim_mix(&chance);
}

unsigned sim_pick(unsigned n)
{
    return (unsigned)((sim_random() >> 32) * n >> 32);
}

bool sim_chance(unsigned per_mille)
{
    return sim_pick(1000) < per_mille;
}

/* ---- time ---- */

uint64_t sim_now_ns(void)
{
    return now_ns;
}

uint64_t sim_now_ms(void)
{
    return now_ns / 1000000;
}

int64_t sim_wall_ms(void)
{
    return WALL_BEGIN_MS + wall_offset_ms + (int64_t)(sim_now_ms() - BEGIN_MS);
}

void sim_jump_wall(int64_t ms)
{
    wall_offset_ms += ms;
    wall_jumped = true;
}

bool sim_wall_jumped(void)
{
    return wall_jumped;
}

void sim_tick_ns(uint64_t ns)
{
    now_ns += ns;
}

/* ---- switching ---- */

#ifdef ANNOTATED
static struct task *came_from;

/* The bounds of the very first stack are only told on the first way out of it. */
static void arrive(void)
{
    __sanitizer_finish_switch_fiber(current->fake_stack, &came_from->bottom, &came_from->size);
}

static void depart(struct task *from, const struct task *to)
{
    came_from = from;
    /* NULL: the stack that is left is not needed any more */
    __sanitizer_start_switch_fiber(from->state == TASK_ENDED ? NULL : &from->fake_stack, to->bottom,
                                   to->size);
}
#else
static void arrive(void)
{
}

static void depart(const struct task *from, const struct task *to)
{
    (void)from, (void)to;
}
#endif

static void switch_stacks(struct task *from, struct task *to)
{
    if (_setjmp(from->jump) != 0) {
        arrive();
        return;
    }
    depart(from, to);
    if (to->begun)
        _longjmp(to->jump, 1);
    to->begun = true;
    setcontext(&to->context);
}

static void switch_to(struct task *to)
{
    struct task *from = current;
    if (to == from)
        return;
    if (++switches > SWITCHES_MAX)
        sim_fail("the world does not come to rest: %d changes of task", SWITCHES_MAX);
    current = to;
    switch_stacks(from, to);
}

static void set_ready(struct task *t, bool timed_out)
{
    t->state = TASK_READY;
    t->timed_out = timed_out;
    t->waits_on = NULL;
    t->until_ns = SIM_FOREVER;
}

/* Wakes whose time has come. Returns how many are ready; *next_ns is the next deadline. */
static unsigned look_around(uint64_t *next_ns)
{
    unsigned ready = 0;
    *next_ns = SIM_FOREVER;
    for (struct task *t = tasks; t < tasks + tasks_top; t++) {
        if (t->state == TASK_WAITING && t->until_ns <= now_ns)
            set_ready(t, true);
        if (t->state == TASK_READY)
            ready++;
        else if (t->state == TASK_WAITING && t->until_ns < *next_ns)
            *next_ns = t->until_ns;
    }
    return ready;
}

static _Noreturn void deadlock(void)
{
    char who[600] = "";
    for (struct task *t = tasks; t < tasks + tasks_top; t++) {
        size_t len = strlen(who);
        if (t->state == TASK_WAITING)
            snprintf(who + len, sizeof who - len, " %s", t->name);
    }
    sim_fail("everybody waits for ever:%s", who);
}

static struct task *choose(void)
{
    uint64_t next_ns;
    unsigned ready = look_around(&next_ns);
    while (ready == 0) {
        if (next_ns == SIM_FOREVER)
            deadlock();
        now_ns = next_ns;
        ready = look_around(&next_ns);
    }
    unsigned nth = ready == 1 ? 0 : sim_pick(ready);
    struct task *t = tasks;
    for (;; t++) {
        if (t->state == TASK_READY && nth-- == 0)
            return t;
    }
}

static void let_go(void)
{
    now_ns += SWITCH_NS;
    switch_to(choose());
}

void sim_yield(void)
{
    let_go();
}

bool sim_wait(const void *on, uint64_t until_ns)
{
    current->state = TASK_WAITING;
    current->waits_on = on;
    current->until_ns = until_ns;
    let_go();
    return !current->timed_out;
}

void sim_sleep_ns(uint64_t ns)
{
    (void)sim_wait(NULL, now_ns + ns);
}

void sim_sleep_ms(uint64_t ms)
{
    sim_sleep_ns(ms * 1000000);
}

void sim_wake_all(const void *on)
{
    for (struct task *t = tasks; t < tasks + tasks_top; t++)
        if (t->state == TASK_WAITING && t->waits_on == on)
            set_ready(t, false);
}

void sim_wake_one(const void *on)
{
    unsigned waiting = 0;
    for (struct task *t = tasks; t < tasks + tasks_top; t++)
        waiting += t->state == TASK_WAITING && t->waits_on == on;
    if (waiting == 0)
        return;
    unsigned nth = waiting == 1 ? 0 : sim_pick(waiting);
    for (struct task *t = tasks; t < tasks + tasks_top; t++) {
        if (t->state == TASK_WAITING && t->waits_on == on && nth-- == 0) {
            set_ready(t, false);
            return;
        }
    }
}

void sim_maybe_preempt(void)
{
    if (!preempt_in || sim_pick(preempt_in) != 0)
        return;
    if (sim_pick(48) == 0)
        sim_sleep_ns(sim_pick(NAP_NS_MAX));
    else
        let_go();
}

/* ---- tasks ---- */

static void first_steps(void)
{
    arrive();
    current->run(current->arg);
    current->state = TASK_ENDED;
    sim_wake_all(current);
    switch_to(choose());
    abort(); /* nobody goes on with a task that has ended */
}

static void *new_stack(void)
{
    void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, 4096, PROT_NONE) != 0)
        abort();
    return stack;
}

static struct task *free_place(void)
{
    for (unsigned i = 0; i < TASKS_MAX; i++) {
        if (tasks[i].state == TASK_FREE) {
            tasks_top = i + 1 > tasks_top ? i + 1 : tasks_top;
            return &tasks[i];
        }
    }
    sim_fail("more than %d tasks", TASKS_MAX);
}

struct task *sim_spawn(const char *name, void (*run)(void *arg), void *arg)
{
    struct task *t = free_place();
    if (!t->stack)
        t->stack = new_stack();
    t->begun = false;
    t->run = run;
    t->arg = arg;
    t->id = ++last_id;
    snprintf(t->name, sizeof t->name, "%s", name);
    getcontext(&t->context);
    t->context.uc_stack.ss_sp = t->stack;
    t->context.uc_stack.ss_size = STACK_BYTES;
    t->context.uc_link = NULL;
    makecontext(&t->context, first_steps, 0);
#ifdef ANNOTATED
    t->fake_stack = NULL;
    t->bottom = t->stack;
    t->size = STACK_BYTES;
#endif
    set_ready(t, false);
    return t;
}

void sim_join(struct task *task)
{
    while (task->state != TASK_ENDED)
        (void)sim_wait(task, SIM_FOREVER);
    task->state = TASK_FREE;
}

uint64_t sim_task_id(void)
{
    return current ? current->id : 0;
}

const char *sim_task_name(void)
{
    return current ? current->name : "-";
}

void sim_begin(uint64_t seed, unsigned preempt)
{
    current = &tasks[0];
    current->state = TASK_READY;
    current->begun = true;
    current->id = last_id = 1;
    current->until_ns = SIM_FOREVER;
    snprintf(current->name, sizeof current->name, "driver");
    tasks_top = 1;
    now_ns = BEGIN_MS * 1000000;
    wall_offset_ms = 0;
    wall_jumped = false;
    chance = seed;
    switches = 0;
    preempt_in = preempt;
}

uint64_t sim_end(void)
{
    for (struct task *t = tasks + 1; t < tasks + tasks_top; t++)
        if (t->state != TASK_FREE)
            sim_fail("the thread %s outlives its engine", t->name);
    tasks[0].state = TASK_FREE;
    current = NULL;
    return chance ^ now_ns ^ switches << 40;
}
