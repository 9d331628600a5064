/*
 * kill -9 between the database's commit and Redis' copy of it: Redis is not believed afterwards.
 *
 * Kills at any moment and at chosen points, with everything checked that was acknowledged: tests/fault/crash.h.
 */
#include "integration/bed.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct shape both_wal = {"redis+mysql+wal", MYSQL, true, true};

/* Writes "new" over what Redis holds, committed in L3, as soon as the parent says that Redis is stopped; then waits for its end. */
static void overwrite_unseen_by_redis(struct bed *b, int to_parent, int from_parent)
{
    se_engine *e;
    char go;
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_L3;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (se_open(&b->config, &e) != SE_OK || write(to_parent, "o", 1) != 1 ||
        read(from_parent, &go, 1) != 1)
        _exit(3);
    if (se_submit(e, "x", "new", 3, &o) != SE_OK || write(to_parent, "w", 1) != 1)
        _exit(4);
    for (;;)
        pause();
}

static void expect_letter(int from_child, char want)
{
    char letter = 0;
    cr_assert_eq(read(from_child, &letter, 1), 1, "the child has ended");
    cr_assert_eq(letter, want);
}

static void kill_between_l3_and_redis(struct bed *b, struct redis_server *redis)
{
    int up[2], down[2], status;
    cr_assert(pipe(up) == 0 && pipe(down) == 0);
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        close(up[0]);
        overwrite_unseen_by_redis(b, up[1], down[0]);
    }
    close(up[1]);
    expect_letter(up[0], 'o');
    redis_server_pause(redis);
    cr_assert_eq(write(down[1], "g", 1), 1);
    expect_letter(up[0], 'w');
    kill(child, SIGKILL);
    cr_assert_eq(waitpid(child, &status, 0), child);
    redis_server_resume(redis);
    close(up[0]);
    close(down[0]);
    close(down[1]);
}

#define OPEN_OWNERS                                                                                \
    "SELECT COUNT(*) FROM sync_items_meta WHERE name LIKE 'owner:%' AND value LIKE '1 open %'"

/* Redis holds "old" in the generation that was in force, the database "new", and nobody who knew of it is alive. */
Test(kill, redis_is_not_believed_after_a_crash)
{
    struct redis_server redis = {0};
    redis_server_start(&redis, NULL);
    struct mariadb_server *mariadb = mariadb_start(false, NULL);
    cr_assert(mariadb);
    struct bed b;
    bed_make(&b, &both_wal, &redis, mariadb);
    b.config.batch_flush_ms = 5;
    se_engine *e = bed_open(&b);
    bed_put(e, "x", "old");
    bed_put(e, "y", "other");
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    bed_close(&b, e);
    e = bed_open(&b); /* after a clean end Redis is believed */
    cr_assert_eq(bed_metric(e, "sync_engine_l2_generations_total", ""), 0);
    bed_expect(e, "y", "other");
    cr_assert_eq(bed_metric(e, "sync_engine_operations_total",
                            "tier=\"l2\",operation=\"get\",status=\"hit\""),
                 1);
    bed_close(&b, e);
    kill_between_l3_and_redis(&b, &redis);
    cr_assert_eq(mariadb_number(mariadb, OPEN_OWNERS), 1,
                 "the killed one's row shows that it did not close");
    e = bed_open(&b);
    cr_assert_eq(bed_metric(e, "sync_engine_l2_generations_total", ""), 1);
    cr_assert_eq(mariadb_number(mariadb, OPEN_OWNERS), 1, "only ours is left");
    bed_expect(e, "x", "new");
    bed_expect(e, "y", "other");
    cr_assert_eq(bed_metric(e, "sync_engine_operations_total",
                            "tier=\"l2\",operation=\"get\",status=\"hit\""),
                 0);
    cr_assert_eq(bed_metric(e, "sync_engine_foreign_owners", ""), 0);
    bed_close(&b, e);
    e = bed_open(&b);
    cr_assert_eq(bed_metric(e, "sync_engine_l2_generations_total", ""), 0,
                 "one crash, one generation");
    bed_expect(e, "x", "new");
    bed_close(&b, e);
    bed_remove(&b);
    mariadb_close(mariadb);
    redis_server_stop(&redis);
}
