/*
 * run - rounds of lives: see crash.h.
 *
 * A round is one to three lives on one bed, one after the other without anybody else opening the files in between, and a check. A life is
 * aimed at the point that has had the fewest kills of those that the bed allows, or ends at random, while it opens, or with a close.
 */
#include "base/os.h"
#include "fault/crash.h"
#include "support/random.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define HARD_MS 60000u     /* a life that does nothing */
#define POINT_WAIT_MS 700u /* for its point, once it has opened */
#define LIVES_MAX 3u
#define ROUNDS_A_BED 8u

struct crash_board *crash_board;

static struct {
    const struct crash_plan *plan;
    struct crash_figures f;
    struct crash_bed bed;
    struct crash_life life;
    uint64_t random, began_ms;
    bool away_so_far;
    uint32_t typical[CRASH_POINTS_N][CRASH_SIDES]; /* passes in a life that was not aimed at it */
    uint32_t missed[CRASH_POINTS_N][CRASH_SIDES];
} run;

uint32_t crash_pick(uint32_t n)
{
    return (uint32_t)((random_next(&run.random) >> 11) % n);
}

static const char *const db_text[] = {"up", "away", "flapping"};
static const char *const power_text[] = {"stays", "drops everything not synced",
                                         "drops some of what is not synced"};

void crash_fail(const char *fmt, ...)
{
    va_list args;
    const struct crash_life *l = &run.life;
    (void)fprintf(
        stderr,
        "CRASH TEST FAILED: seed %" PRIu64
        ", round %u, %s%s, database %s, power %s, last kill: %s (%s)\n  ",
        run.plan ? run.plan->seed : 0, run.f.rounds, run.bed.mariadb ? "MariaDB" : "SQLite",
        run.bed.cached ? " and Redis" : "", db_text[l->db], power_text[l->power],
        crash_point_name(atomic_load(&crash_board->points.died_at)), crash_side_name(l->side));
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fprintf(stderr, "\n  files: %s\n", run.bed.dir);
    exit(1); /* servers end with their parent */
}

/* ---- choosing a life ---- */

static bool fits(unsigned needs)
{
    if ((needs & NEED_SQLITE) && run.bed.home != CRASH_SQLITE)
        return false;
    if ((needs & NEED_MARIADB) && run.bed.home != CRASH_MARIADB)
        return false;
    if ((needs & NEED_POISON) && !run.bed.poison)
        return false;
    return !(needs & NEED_REDIS) || run.bed.cached;
}

/* The point and side with the fewest kills; one that is hard to reach does not take all the lives. */
static void choose_point(struct crash_life *l)
{
    uint32_t least = UINT32_MAX;
    int start = (int)crash_pick(CRASH_POINTS_N);
    for (int i = 0; i < CRASH_POINTS_N; i++) {
        int p = (start + i) % CRASH_POINTS_N;
        for (int side = 0; side < CRASH_SIDES && fits(crash_point_needs(p)); side++) {
            uint32_t cost =
                2 * atomic_load(&crash_board->points.kills[p][side]) + run.missed[p][side];
            if (!(crash_point_sides(p) & 1u << side) || cost >= least)
                continue;
            least = cost;
            l->point = p;
            l->side = side;
        }
    }
    uint32_t typical = run.typical[l->point][l->side];
    l->nth = 1 + crash_pick((typical > 400 ? 400 : typical) / 2 + 1);
}

static void suit(struct crash_life *l)
{
    unsigned needs = l->point == CRASH_NO_POINT ? 0 : crash_point_needs(l->point);
    if ((needs & NEED_AWAY) && l->db == CRASH_UP)
        l->db = CRASH_DOWN;
    if (needs & NEED_LEFT)
        l->db = CRASH_UP;
    l->closes = l->closes || (needs & NEED_CLOSE);
    if (needs & NEED_BAD_FSYNC)
        l->fail_fsync = 1 + crash_pick(30);
}

static struct crash_life choose_life(void)
{
    struct crash_life l = {.point = CRASH_NO_POINT, .random = crash_pick(1u << 30)};
    unsigned how = crash_pick(20), power = crash_pick(5);
    l.power = power < 2    ? CRASH_POWER_STAYS
              : power == 2 ? CRASH_POWER_DROPS_ALL
                           : CRASH_POWER_DROPS_SOME;
    l.db = crash_pick(2) ? CRASH_UP : crash_pick(2) ? CRASH_DOWN : CRASH_FLAPPING;
    l.kill_us = crash_pick(crash_pick(4) ? 60000 : 250000);
    if (how < 13)
        choose_point(&l);
    else if (how < 15)
        l.at_open = true;
    else if (how < 17)
        l.closes = true;
    if (l.at_open)
        l.kill_us = crash_pick(20000);
    if (crash_pick(12) == 0) { /* and killed right after it: has_failed */
        l.point = CRASH_NO_POINT;
        l.at_open = l.closes = false;
        l.fail_fsync = 1 + crash_pick(100);
    }
    suit(&l);
    return l;
}

/* What leaves much in the log. */
static struct crash_life leaving_life(void)
{
    struct crash_life l = choose_life();
    l.point = CRASH_NO_POINT;
    l.at_open = l.closes = false;
    l.fail_fsync = 0;
    l.db = CRASH_DOWN;
    l.kill_us = 20000 + crash_pick(60000);
    return l;
}

/* ---- a life ---- */

/* The database while the child lives: flapping, it goes and comes back. */
struct flapping {
    bool away, paused;
    uint64_t next_ms;
};

static void flap(struct flapping *f)
{
    bool maria = run.bed.home == CRASH_MARIADB;
    if (se__mono_ms() < f->next_ms)
        return;
    f->away = !f->away;
    f->next_ms = se__mono_ms() + 1 + crash_pick(maria ? 150 : 40);
    if (maria && f->away && crash_pick(2) && mariadb_pause(run.bed.mariadb)) {
        f->paused = true;
    } else if (f->paused) {
        f->paused = false;
        (void)mariadb_resume(run.bed.mariadb);
    } else {
        crash_bed_away(&run.bed, f->away);
    }
    if (run.bed.cached && crash_pick(6) == 0)
        redis_server_restart(&run.bed.redis, false);
}

static void end_flapping(struct flapping *f)
{
    if (f->paused)
        (void)mariadb_resume(run.bed.mariadb);
    if (run.bed.home == CRASH_SQLITE)
        crash_bed_away(&run.bed, false);
}

/* Right after the fsync that failed: what the log's move has brought along is not yet written again. */
static bool has_failed(const struct crash_life *l)
{
    static uint64_t seen_ns;
    if (atomic_load(&crash_board->layer.failed_syncs) == 0)
        seen_ns = 0;
    else if (seen_ns == 0)
        seen_ns = se__mono_ns();
    return l->point == CRASH_NO_POINT && seen_ns &&
           se__mono_ns() - seen_ns >= l->kill_us % 4000 * UINT64_C(1000);
}

static bool is_time(const struct crash_life *l, uint64_t began_ns, uint64_t opened_ns)
{
    uint64_t now = se__mono_ns();
    if (has_failed(l))
        return true;
    if (l->at_open)
        return now - began_ns >= l->kill_us * UINT64_C(1000);
    if (!opened_ns)
        return false;
    if (l->closes) {
        if (now - opened_ns >= l->kill_us * UINT64_C(1000))
            atomic_store(&crash_board->close_now, true);
        return false; /* it ends by itself; or at its point, in there */
    }
    uint64_t wait_us = l->point == CRASH_NO_POINT ? l->kill_us : POINT_WAIT_MS * UINT64_C(1000);
    return now - opened_ns >= wait_us * 1000;
}

/* Until the child is dead, which may be by itself. Returns its status. */
static int watch(pid_t child, const struct crash_life *l)
{
    struct flapping f = {.next_ms = se__mono_ms() + crash_pick(40)};
    uint64_t began_ns = se__mono_ns(), opened_ns = 0, hard = se__deadline_in(HARD_MS);
    int status;
    for (bool killed = false; waitpid(child, &status, WNOHANG) == 0;) {
        if (!opened_ns && atomic_load(&crash_board->opened))
            opened_ns = se__mono_ns();
        if (!killed && is_time(l, began_ns, opened_ns))
            killed = kill(child, SIGKILL) == 0;
        if (!killed && l->db == CRASH_FLAPPING)
            flap(&f);
        if (se__deadline_left(hard) == 0) {
            kill(child, SIGKILL);
            crash_fail("the child does not end (opened: %d, closes: %d)", opened_ns != 0,
                       l->closes);
        }
        usleep(200);
    }
    end_flapping(&f);
    return status;
}

static void judge_end(const struct crash_life *l, int status)
{
    if (atomic_load(&crash_board->complained))
        crash_fail("%s", crash_board->complaint);
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    bool closed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!killed && !closed)
        crash_fail("the child ended by itself: %x", (unsigned)status);
    int at = atomic_load(&crash_board->points.died_at);
    run.f.lives++;
    run.f.closed += closed;
    run.f.killed_at_points += at != CRASH_NO_POINT;
    run.f.closed_killed += killed && l->closes;
    run.f.killed_at_open += killed && l->at_open;
    run.f.killed_at_random += killed && !l->at_open && at == CRASH_NO_POINT;
    if (l->point != CRASH_NO_POINT && at == CRASH_NO_POINT)
        run.missed[l->point][l->side]++;
}

static void count_life(const struct crash_life *l)
{
    run.f.away += l->db == CRASH_DOWN;
    run.f.flapping += l->db == CRASH_FLAPPING;
    run.f.with_mariadb += run.bed.home == CRASH_MARIADB;
    run.f.with_redis += run.bed.cached;
    run.f.faults += atomic_exchange(&crash_board->layer.failed_syncs, 0);
    for (int p = 0; p < CRASH_POINTS_N; p++) {
        for (int side = 0; side < CRASH_SIDES; side++) {
            if (p != l->point)
                run.typical[p][side] = atomic_load(&crash_board->points.hits[p][side]);
        }
    }
}

static void lose_power(const struct crash_life *l)
{
    struct layer_lost lost;
    if (l->power == CRASH_POWER_STAYS)
        return;
    if (!crash_layer_lose(&crash_board->layer, l->power == CRASH_POWER_DROPS_ALL, run.random,
                          &lost)) {
        run.f.power_not++;
        return;
    }
    run.f.power_lost++;
    run.f.dropped_writes += lost.writes;
    run.f.dropped_names += lost.names;
}

static void set_up(const struct crash_life *l)
{
    atomic_store(&crash_board->opened, false);
    atomic_store(&crash_board->close_now, false);
    atomic_store(&crash_board->layer.fail_sync_in, l->fail_fsync);
    crash_points_set(&crash_board->points, l->point, l->side, l->nth);
}

/* The parent has no SQLite connection when it forks; the child waits until the database is as it is to be. */
static void live(struct crash_life l)
{
    int go[2];
    char word = 'g';
    l.away_so_far = run.away_so_far && l.db == CRASH_DOWN;
    run.away_so_far = l.away_so_far;
    run.life = l;
    set_up(&l);
    if (pipe(go) != 0)
        crash_fail("pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        close(go[1]);
        if (read(go[0], &word, 1) != 1)
            _exit(1);
        close(go[0]);
        crash_child(&run.bed, &l);
    }
    close(go[0]);
    crash_bed_away(&run.bed, l.db == CRASH_DOWN);
    if (child < 0 || write(go[1], &word, 1) != 1)
        crash_fail("no child: %s", strerror(errno));
    close(go[1]);
    int status = watch(child, &l);
    crash_died(&crash_board->known);
    judge_end(&l, status);
    count_life(&l);
    lose_power(&l);
}

/* ---- rounds ---- */

static void round_of_lives(void)
{
    unsigned lives = 1 + crash_pick(LIVES_MAX);
    run.away_so_far = true;
    for (unsigned i = 0; i < lives; i++) {
        struct crash_life l = choose_life();
        if (l.point != CRASH_NO_POINT && (crash_point_needs(l.point) & NEED_LEFT))
            live(leaving_life());
        live(l);
    }
    crash_bed_away(&run.bed, false);
    crash_check(&run.bed);
    run.f.rounds++;
}

static bool all_points_had(void)
{
    for (int p = 0; p < CRASH_POINTS_N; p++) {
        for (int side = 0; side < CRASH_SIDES; side++) {
            unsigned needs = crash_point_needs(p);
            bool possible = (run.plan->sqlite || !(needs & NEED_SQLITE)) &&
                            (run.plan->mariadb || !(needs & NEED_MARIADB)) &&
                            (run.plan->redis || !(needs & NEED_REDIS));
            if (possible && (crash_point_sides(p) & 1u << side) &&
                !atomic_load(&crash_board->points.kills[p][side]))
                return false;
        }
    }
    return true;
}

static bool goes_on(void)
{
    const struct crash_plan *p = run.plan;
    uint64_t s = (se__mono_ms() - run.began_ms) / 1000;
    unsigned factor = p->all_points && !all_points_had() ? 3 : 1;
    return (!p->rounds || run.f.rounds < p->rounds * factor) &&
           (!p->seconds || s < (uint64_t)p->seconds * factor);
}

/* ---- what is printed ---- */

static void print_points(void)
{
    printf("%-64s %8s %8s %8s\n", "kills at", "before", "half way", "after");
    for (int p = 0; p < CRASH_POINTS_N; p++) {
        printf("%-64s", crash_point_name(p));
        for (int side = 0; side < CRASH_SIDES; side++) {
            if (crash_point_sides(p) & 1u << side)
                printf(" %8u", atomic_load(&crash_board->points.kills[p][side]));
            else
                printf(" %8s", "");
        }
        printf("\n");
    }
}

static void print_figures(void)
{
    const struct crash_figures *f = &run.f;
    const struct crash_known *k = &crash_board->known;
    printf("seed %" PRIu64 ": %u rounds, %u lives in %" PRIu64
           " s; %u of them with MariaDB, %u with Redis\n",
           run.plan->seed, f->rounds, f->lives, (se__mono_ms() - run.began_ms) / 1000,
           f->with_mariadb, f->with_redis);
    printf("ended: %u at points, %u at random, %u while opening, %u by a close, %u killed in one\n",
           f->killed_at_points, f->killed_at_random, f->killed_at_open, f->closed,
           f->closed_killed);
    printf("database away in %u lives, flapping in %u; %u fsyncs failed\n", f->away, f->flapping,
           f->faults);
    printf("power lost %u times (%u times not all was noted): %" PRIu64 " writes and %" PRIu64
           " names taken back\n",
           f->power_lost, f->power_not, f->dropped_writes, f->dropped_names);
    printf("writes: %" PRIu64 " submitted; acknowledged %" PRIu64 " by the log, %" PRIu64
           " by the database, %" PRIu64 " ids by a flush or a close; %" PRIu64 " read back\n",
           atomic_load(&k->submitted), atomic_load(&k->acked_wal), atomic_load(&k->acked_l3),
           atomic_load(&k->by_flush), atomic_load(&crash_board->read_back));
}

/* ---- the whole ---- */

static void share_board(void)
{
    crash_board = mmap(NULL, sizeof *crash_board, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (crash_board == MAP_FAILED) {
        perror("no shared memory");
        exit(1);
    }
}

/* Each bed for some rounds: a fresh folder and fresh servers, as the seed says. */
static void some_rounds(enum crash_home home, bool cached)
{
    static const uint32_t nothing[CRASH_IDS];
    crash_bed_make(&run.bed, home, cached);
    crash_checked(&crash_board->known, nothing);
    if (crash_pick(2))
        crash_bed_refuse(&run.bed);
    else
        crash_bed_begin_anew(&run.bed);
    for (unsigned i = 0; i < ROUNDS_A_BED && goes_on(); i++)
        round_of_lives();
    crash_bed_remove(&run.bed);
}

static bool is_asked_for(unsigned combination)
{
    const struct crash_plan *p = run.plan;
    return (combination & 1 ? p->mariadb : p->sqlite) && (p->redis || !(combination & 2));
}

void crash_run(const struct crash_plan *plan)
{
    run.plan = plan;
    run.random = plan->seed | 1;
    run.began_ms = se__mono_ms();
    share_board();
    for (unsigned i = 0; goes_on(); i++) {
        if (is_asked_for(i % 4))
            some_rounds(i % 2 ? CRASH_MARIADB : CRASH_SQLITE, i % 4 >= 2);
    }
    if (!plan->quiet)
        print_points();
    print_figures();
    if (plan->all_points && !all_points_had())
        crash_fail("a point had no kill");
    munmap(crash_board, sizeof *crash_board);
}
