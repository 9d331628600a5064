/*
 * warm: when a snapshot is written, and that what is written is sound whatever goes on meanwhile.
 */
#include "filter/warm_rig.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "filter/plan.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROWS 2000u
#define NEVER_S 100000u /* an interval that does not pass */

static struct rig r;

static void open_rig(void)
{
    rig_open(&r);
    r.options.snapshot_interval_s = NEVER_S; /* written at close alone, but where a test says so */
    r.options.snapshot_threshold = 1;
}

static void close_rig(void)
{
    rig_close(&r);
}

TestSuite(warm_save, .init = open_rig, .fini = close_rig, .timeout = 120);

static const struct tier_reply UNWELL = {.fault = TIER_UNWELL, .code = 2002};

/* ---- written ---- */

Test(warm_save, is_written_when_the_threshold_is_reached)
{
    r.options.snapshot_interval_s = 0;
    r.options.snapshot_threshold = 50;
    rig_start(&r);
    rig_run(&r, 10);
    rig_put_many(&r, 0, 40);
    rig_run(&r, 10);
    cr_assert_not(rig_has_file(&r));
    rig_put_many(&r, 40, 60);
    rig_run(&r, 10);
    cr_assert(rig_has_file(&r));
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOTS), 1);
    rig_put_many(&r, 60, 100);
    rig_run(&r, 10);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOTS), 1);
    rig_put_many(&r, 100, 120);
    rig_run(&r, 10);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOTS), 2);
    rig_stop(&r); /* killed: no leaving */
    rig_start(&r);
    rig_expect_used(&r, 0);
}

Test(warm_save, is_never_written_with_0_and_0)
{
    r.options.snapshot_interval_s = r.options.snapshot_threshold = 0;
    rig_start(&r);
    rig_run(&r, 10);
    rig_put_many(&r, 0, 100);
    rig_run(&r, 10);
    se__warm_leave(r.w, r.incarnation, SE__FOREVER);
    cr_assert_not(rig_has_file(&r));
}

Test(warm_save, is_never_written_read_only_but_read)
{
    rig_start_with_snapshot(&r, ROWS);
    rig_stop(&r);
    r.options.read_only = true;
    struct stat before, after;
    cr_assert_eq(stat(r.path, &before), 0);
    rig_start(&r);
    rig_expect_used(&r, 0);
    rig_put_many(&r, ROWS, ROWS + 10);
    se__warm_leave(r.w, r.incarnation, SE__FOREVER);
    cr_assert_eq(stat(r.path, &after), 0);
    cr_assert_eq(before.st_ino, after.st_ino);
}

Test(warm_save, is_not_written_untrusted)
{
    r.options.snapshot_interval_s = 0;
    rig_start(&r);
    rig_put_many(&r, 0, 100);
    se__warm_leave(r.w, r.incarnation, SE__FOREVER);
    cr_assert_not(rig_has_file(&r));
    rig_run(&r, 1);
    se__warm_rescan(r.w, FILTER_FOREIGN);
    rig_put_many(&r, 100, 200);
    rig_run(&r, 10);
    se__warm_leave(r.w, r.incarnation, SE__FOREVER);
    cr_assert_not(rig_has_file(&r));
}

Test(warm_save, at_close_is_written_only_if_something_was)
{
    char id[RIG_ID_MAX];
    rig_start_with_snapshot(&r, ROWS);
    rig_run(&r, 10);
    se__warm_leave(r.w, r.incarnation, SE__FOREVER);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOTS), 0);
    rig_id(0, id);
    rig_put(&r, id); /* no new id, but its bucket is another */
    se__warm_leave(r.w, r.incarnation, SE__FOREVER);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOTS), 1);
    se__warm_leave(r.w, NULL, SE__FOREVER);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOTS), 1);
    rig_leave_and_start(&r);
    rig_expect_used(&r, 0);
}

static void doubt_at_once(void *arg, enum fake_call call, unsigned number)
{
    (void)arg;
    (void)number;
    if (call == FAKE_DIGEST)
        se__warm_rescan(r.w, FILTER_UNLISTED);
}

Test(warm_save, is_not_written_if_trust_goes_meanwhile)
{
    rig_start_with_snapshot(&r, ROWS);
    rig_run(&r, 10);
    struct stat before, after;
    cr_assert_eq(stat(r.path, &before), 0);
    rig_put_many(&r, ROWS, ROWS + 10);
    fake_l3_hook(r.l3, doubt_at_once, NULL);
    se__warm_leave(r.w, r.incarnation, SE__FOREVER);
    cr_assert_eq(stat(r.path, &after), 0);
    cr_assert_eq(before.st_ino, after.st_ino);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_ERRORS), 0);
}

Test(warm_save, that_cannot_be_made_is_an_error_and_tried_later)
{
    rig_start(&r);
    rig_put_many(&r, 0, 100);
    r.options.snapshot_interval_s = 0;
    rig_stop(&r);
    rig_start(&r);
    fake_l3_fail(r.l3, FAKE_DIGEST, 1, 1, UNWELL); /* the first one counts the rows */
    rig_run(&r, 20);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_ERRORS), 1);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_not(rig_has_file(&r));
    uint64_t deadline = se__deadline_in(20000);
    while (!rig_has_file(&r) && se__deadline_left(deadline)) {
        cr_assert_gt(rig_run(&r, 3), 0); /* not all the time */
        se__pause_ms(20);
    }
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOTS), 1);
}

/* A process that died after its write and before the rename, or in the write. */
Test(warm_save, half_written_is_no_snapshot)
{
    char tmp[300];
    rig_start_with_snapshot(&r, ROWS);
    rig_stop(&r);
    snprintf(tmp, sizeof tmp, "%s.tmp", r.path);
    cr_assert_eq(se__file_replace(tmp, "SEFILTER and half of", 20), SE_OK);
    rig_start(&r);
    rig_expect_used(&r, 0);
    rig_put_many(&r, ROWS, ROWS + 10);
    rig_leave_and_start(&r);
    rig_expect_used(&r, 0);
    cr_assert_neq(access(tmp, F_OK), 0);
}

/* ---- soundness: what is written while it is taken ---- */

/* A row that the digests have must be in the copy: so the digests come first. The hook writes just
 * before they are read, which a copy made earlier would not have. */
static void write_before_the_digests(void *arg, enum fake_call call, unsigned number)
{
    char id[RIG_ID_MAX];
    (void)arg;
    (void)number;
    if (call != FAKE_DIGEST)
        return;
    for (unsigned i = 0; i < 100; i++) {
        snprintf(id, sizeof id, "just before-%u", i);
        rig_put(&r, id);
    }
}

Test(warm_save, has_every_row_that_its_digests_have)
{
    rig_start(&r);
    rig_put_many(&r, 0, ROWS);
    rig_run(&r, 10);
    fake_l3_hook(r.l3, write_before_the_digests, NULL);
    se__warm_leave(r.w, r.incarnation, SE__FOREVER);
    fake_l3_hook(r.l3, NULL, NULL);
    rig_stop(&r);
    rig_start(&r);
    rig_expect_used(&r, 0);
}

static atomic_bool write_on;

static void write_all_the_time(void *arg)
{
    (void)arg;
    for (unsigned i = 0; atomic_load(&write_on) && i < 20000; i++) {
        char id[RIG_ID_MAX];
        snprintf(id, sizeof id, "busy-%u", i);
        rig_put(&r, id);
    }
}

/* Writers during digests, copy and write; then the process dies. */
Test(warm_save, taken_under_writes_is_sound)
{
    r.options.snapshot_interval_s = 0;
    rig_start(&r);
    rig_put_many(&r, 0, ROWS);
    rig_run(&r, 10);
    for (unsigned round = 0; round < 5; round++) {
        struct se__thread writer = {0};
        atomic_store(&write_on, true);
        cr_assert_eq(se__thread_start(&writer, "writer", write_all_the_time, NULL), SE_OK);
        uint64_t before = rig_sum(&r, M_FILTER_SNAPSHOTS), deadline = se__deadline_in(30000);
        while (rig_sum(&r, M_FILTER_SNAPSHOTS) < before + 3 && se__deadline_left(deadline))
            (void)se__warm_run(r.w, r.incarnation);
        atomic_store(&write_on, false);
        se__thread_join(&writer);
        rig_stop(&r);
        rig_start(&r);
        rig_run(&r, 20);
        cr_assert_eq(rig_doubts(&r), 0);
        rig_check(&r);
    }
}
