/*
 * warm and its snapshot: believed at once where L3 is as it was, read again only where it is not, and
 * ignored with a line in the log where it cannot be trusted.
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

TestSuite(warm_snapshot, .init = open_rig, .fini = close_rig, .timeout = 120);

static const struct tier_reply UNWELL = {.fault = TIER_UNWELL, .code = 2002};
static const struct tier_reply TIMED_OUT = {.fault = TIER_UNWELL, .timed_out = true};
static const struct tier_reply REJECTED = {.fault = TIER_UNWELL, .rejected = true};

/* The snapshot is not used: everything is scanned, and right. */
static void expect_refused(const char *why)
{
    rig_run(&r, 10);
    cr_assert(rig_logged(&r, "WARN filter: the snapshot"));
    cr_assert(rig_logged(&r, why), "%s", r.lines);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_REFUSED), 1);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_USED), 0);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_geq(fake_l3_seen(r.l3).ids, ROWS);
    rig_check(&r);
    cr_assert_gt(rig_excluded(&r), 9900);
}

/* ---- used ---- */

Test(warm_snapshot, of_the_same_rows_is_believed_without_a_scan)
{
    rig_start_with_snapshot(&r, ROWS);
    cr_assert_eq(rig_doubts(&r), FILTER_COLD);
    cr_assert_eq(rig_excluded(&r), 0);
    rig_expect_used(&r, 0);
    struct fake_l3_seen seen = fake_l3_seen(r.l3);
    cr_assert_eq(seen.surveys, 0);
    cr_assert_eq(seen.digests, 1);
    cr_assert(se__warm_started(r.w));
}

Test(warm_snapshot, what_only_the_wal_has_is_in_it)
{
    rig_start_with_snapshot(&r, ROWS);
    rig_only_pending(&r, "from an earlier run");
    rig_expect_used(&r, 0);
}

Test(warm_snapshot, rows_behind_its_back_are_read_from_their_bucket_alone)
{
    char id[RIG_ID_MAX];
    rig_id_in_bucket(777, 0, id);
    rig_start(&r);
    rig_put(&r, id);
    rig_stop(&r);
    rig_start_with_snapshot(&r, ROWS);
    for (unsigned i = 1; i < 4; i++) {
        rig_id_in_bucket(777, i, id);
        rig_behind(&r, id);
    }
    rig_expect_used(&r, fake_l3_live(r.l3, 777, 777));
    struct fake_l3_seen seen = fake_l3_seen(r.l3);
    cr_assert_eq(seen.surveys, 1);
    cr_assert_geq(seen.ids, 4);
    cr_assert_eq(seen.bucket_lowest, 777);
    cr_assert_eq(seen.bucket_highest, 777);
}

Test(warm_snapshot, a_row_in_another_s_place_is_noticed)
{
    char id[RIG_ID_MAX];
    rig_id_in_bucket(777, 1, id);
    rig_start(&r);
    rig_put(&r, id);
    rig_stop(&r);
    rig_start_with_snapshot(&r, ROWS);
    rig_delete(&r, id);
    rig_id_in_bucket(777, 2, id);
    rig_behind(&r, id); /* as many as before */
    rig_run(&r, 10);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_USED), 1);
    cr_assert_eq(fake_l3_seen(r.l3).surveys, 1);
    rig_check(&r);
}

Test(warm_snapshot, neighbours_are_read_together_and_others_not)
{
    char id[RIG_ID_MAX];
    rig_start_with_snapshot(&r, ROWS);
    for (unsigned bucket = 100; bucket < 110; bucket++) {
        rig_id_in_bucket((uint16_t)bucket, 1, id);
        rig_behind(&r, id);
    }
    rig_id_in_bucket(65535, 1, id);
    rig_behind(&r, id);
    rig_id_in_bucket(0, 1, id);
    rig_behind(&r, id);
    rig_run(&r, 10);
    cr_assert_eq(fake_l3_seen(r.l3).surveys, 3);
    cr_assert_eq(rig_sum(&r, M_FILTER_SCANNED), fake_l3_live(r.l3, 100, 109) +
                                                    fake_l3_live(r.l3, 0, 0) +
                                                    fake_l3_live(r.l3, 65535, 65535));
    rig_check(&r);
}

Test(warm_snapshot, many_scattered_buckets_do_not_cost_a_call_each)
{
    rig_start_with_snapshot(&r, ROWS);
    for (unsigned i = 0; i < 400; i++) {
        char id[RIG_ID_MAX];
        snprintf(id, sizeof id, "scattered-%u", i);
        rig_behind(&r, id);
    }
    rig_run(&r, 10);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_USED), 1);
    cr_assert_lt(fake_l3_seen(r.l3).surveys, 100);
    rig_check(&r);
}

Test(warm_snapshot, a_bucket_of_several_pages_is_read_to_its_end)
{
    r.options.page_ids = 2;
    rig_start_with_snapshot(&r, ROWS);
    for (unsigned i = 0; i < 9; i++) {
        char id[RIG_ID_MAX];
        rig_id_in_bucket(777, i, id);
        rig_behind(&r, id);
    }
    rig_expect_used(&r, fake_l3_live(r.l3, 777, 777));
}

Test(warm_snapshot, rows_that_are_gone_need_no_scan)
{
    char id[RIG_ID_MAX];
    rig_start_with_snapshot(&r, ROWS);
    for (unsigned i = 0; i < 10; i++) {
        rig_id(i, id);
        rig_delete(&r, id);
        fake_l3_purge(r.l3, id);
    }
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_lt(rig_sum(&r, M_FILTER_SCANNED), 10); /* what else is in their buckets */
    rig_check(&r);
}

Test(warm_snapshot, writes_before_l3_answers_are_in_it)
{
    rig_start_with_snapshot(&r, ROWS);
    r.incarnation = NULL;
    rig_write(&r, "early");
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), FILTER_COLD);
    r.incarnation = "db-1";
    rig_expect_used(&r, 0);
}

/* The drain takes an id to L3 just before what is pending is collected. If the digests were read
 * before that, neither look would have it. */
static void drain_before_it_is_collected(struct rig *rig)
{
    rig_flush(rig, "from an earlier run");
}

Test(warm_snapshot, what_is_drained_while_it_is_compared_is_in_it)
{
    rig_start_with_snapshot(&r, ROWS);
    rig_only_pending(&r, "from an earlier run");
    r.before_pending = drain_before_it_is_collected;
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_USED), 1);
    rig_check(&r);
}

Test(warm_snapshot, with_dead_ids_has_its_parts_rebuilt)
{
    char id[RIG_ID_MAX];
    rig_start(&r);
    for (unsigned i = 0; i < 100; i++) {
        rig_id_in_part(3, i, id);
        rig_put(&r, id);
    }
    rig_stop(&r);
    rig_start_with_snapshot(&r, ROWS);
    rig_stop(&r);
    for (unsigned i = 0; i < 40; i++) {
        rig_id_in_part(3, i, id);
        rig_delete(&r, id);
    }
    rig_start(&r);
    rig_run(&r, 10);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_USED), 1);
    cr_assert_eq(rig_sum(&r, M_FILTER_REBUILT_DEAD), 1);
    rig_check(&r);
}

Test(warm_snapshot, waits_for_another_engine_to_go)
{
    rig_start_with_snapshot(&r, ROWS);
    se__warm_rescan(r.w, FILTER_FOREIGN);
    rig_run(&r, 10);
    cr_assert_eq(fake_l3_seen(r.l3).digests, 0);
    rig_behind(&r, "by the other one");
    se__warm_alone(r.w);
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_USED), 1);
    rig_check(&r);
}

/* ---- refused ---- */

Test(warm_snapshot, of_another_database_is_refused)
{
    rig_start_with_snapshot(&r, ROWS);
    r.incarnation = "db-2";
    expect_refused("another database");
}

Test(warm_snapshot, of_another_table_is_refused)
{
    rig_start_with_snapshot(&r, ROWS);
    rig_stop(&r);
    r.options.table = "others";
    rig_start(&r);
    expect_refused("another table");
}

Test(warm_snapshot, that_is_too_old_is_refused)
{
    rig_start_with_snapshot(&r, ROWS);
    rig_put_many(&r, ROWS, ROWS + ROWS / 2);
    expect_refused("too old");
}

static uint64_t seed_of(const char *path)
{
    struct buf b = {0};
    uint64_t seed = 0;
    cr_assert_eq(se__file_read(path, 1 << 24, &b), SE_OK);
    for (unsigned i = 0; i < 8; i++)
        seed = seed << 8 | (uint8_t)b.data[24 + i];
    se__buf_done(&b);
    return seed;
}

/* Rewrites the file as `change` wants it; the engine is not running. */
static void change_file(void (*change)(struct buf *file))
{
    struct buf file = {0};
    rig_stop(&r);
    cr_assert_eq(se__file_read(r.path, 1 << 24, &file), SE_OK);
    change(&file);
    cr_assert_eq(se__file_replace(r.path, file.data, file.len), SE_OK);
    se__buf_done(&file);
}

static void flip(struct buf *file)
{
    file->data[file->len / 2] ^= 1;
}

static void cut(struct buf *file)
{
    file->len -= 100;
}

static void empty(struct buf *file)
{
    file->len = 0;
}

static void other_layout(struct buf *file)
{
    file->data[11] = 99;
}

Test(warm_snapshot, damaged_is_refused_and_the_seed_is_a_new_one)
{
    rig_start_with_snapshot(&r, ROWS);
    uint64_t seed = seed_of(r.path);
    cr_assert_eq(se__filter_seed(se__warm_filter(r.w)), seed);
    change_file(flip);
    rig_start(&r);
    cr_assert_neq(se__filter_seed(se__warm_filter(r.w)), seed);
    expect_refused("checksum");
    cr_assert(rig_logged(&r, r.path));
}

Test(warm_snapshot, truncated_is_refused)
{
    rig_start_with_snapshot(&r, ROWS);
    change_file(cut);
    rig_start(&r);
    expect_refused("truncated");
}

Test(warm_snapshot, empty_is_refused)
{
    rig_start_with_snapshot(&r, ROWS);
    change_file(empty);
    rig_start(&r);
    expect_refused("truncated");
}

Test(warm_snapshot, of_a_later_layout_is_refused)
{
    rig_start_with_snapshot(&r, ROWS);
    change_file(other_layout);
    rig_start(&r);
    expect_refused("layout");
}

Test(warm_snapshot, a_folder_in_its_place_is_refused)
{
    rig_start_with_snapshot(&r, ROWS);
    rig_stop(&r);
    cr_assert_eq(unlink(r.path), 0);
    cr_assert_eq(mkdir(r.path, 0700), 0);
    rig_start(&r);
    expect_refused("not a regular file");
    /* And it cannot be replaced: a line, and the engine goes on. */
    se__warm_leave(r.w, r.incarnation, SE__FOREVER);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_ERRORS), 1);
    cr_assert(rig_logged(&r, "writing a snapshot failed"));
}

Test(warm_snapshot, none_is_no_complaint)
{
    rig_start(&r);
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_REFUSED), 0);
    cr_assert_not(rig_logged(&r, "WARN"));
}

/* What an earlier run left behind is any bytes. */
Test(warm_snapshot, whatever_is_in_the_file_the_engine_starts_and_is_right)
{
    struct buf sound = {0};
    rig_start_with_snapshot(&r, ROWS);
    rig_stop(&r);
    cr_assert_eq(se__file_read(r.path, 1 << 24, &sound), SE_OK);
    for (unsigned i = 0; i < 40; i++) {
        size_t at = (size_t)i * 7919 % sound.len;
        sound.data[at] = (char)(sound.data[at] ^ 0x10);
        cr_assert_eq(se__file_replace(r.path, sound.data, sound.len - i % 3), SE_OK);
        rig_start(&r);
        rig_run(&r, 10);
        cr_assert_eq(rig_doubts(&r), 0);
        cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_REFUSED), 1);
        rig_check(&r);
        rig_stop(&r);
        sound.data[at] = (char)(sound.data[at] ^ 0x10);
    }
    se__buf_done(&sound);
}

/* ---- L3 fails ---- */

static void wait_until_trusted(void)
{
    rig_run_until_trusted(&r);
    rig_check(&r);
}

Test(warm_snapshot, is_kept_while_l3_is_away)
{
    rig_start_with_snapshot(&r, ROWS);
    fake_l3_fail(r.l3, FAKE_DIGEST, 0, 4, REJECTED);
    rig_run(&r, 1);
    cr_assert(rig_logged(&r, "comparing the snapshot with L3 failed"));
    wait_until_trusted();
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_USED), 1);
    cr_assert_eq(fake_l3_seen(r.l3).surveys, 0);
}

Test(warm_snapshot, that_cannot_be_compared_does_not_hold_up_the_scan)
{
    rig_start_with_snapshot(&r, ROWS);
    fake_l3_fail(r.l3, FAKE_DIGEST, 0, 100, TIMED_OUT);
    wait_until_trusted();
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_REFUSED), 1);
    cr_assert_eq(fake_l3_seen(r.l3).digests, 3);
}

Test(warm_snapshot, a_bucket_that_cannot_be_read_is_tried_again)
{
    char id[RIG_ID_MAX];
    rig_start_with_snapshot(&r, ROWS);
    rig_id_in_bucket(777, 1, id);
    rig_behind(&r, id);
    fake_l3_fail(r.l3, FAKE_SURVEY, 0, 1, UNWELL);
    rig_run(&r, 1);
    cr_assert_eq(rig_doubts(&r), FILTER_COLD);
    wait_until_trusted();
    cr_assert_eq(rig_sum(&r, M_FILTER_SNAPSHOT_USED), 1);
}

static void request(void *arg, enum fake_call call, unsigned number)
{
    (void)arg;
    (void)call;
    if (number == 1)
        se__warm_rescan(r.w, FILTER_COLD);
}

Test(warm_snapshot, a_request_while_it_is_compared_needs_a_scan)
{
    rig_start_with_snapshot(&r, ROWS);
    fake_l3_hook(r.l3, request, NULL);
    rig_run(&r, 10);
    cr_assert_eq(rig_doubts(&r), 0);
    cr_assert_geq(fake_l3_seen(r.l3).ids, ROWS);
    rig_check(&r);
}

Test(warm_snapshot, without_memory_the_start_is_right_or_refused)
{
    rig_start_with_snapshot(&r, ROWS);
    rig_stop(&r);
    for (int64_t n = 0; n < 600; n += 11) {
        cr_assert_eq(se__metrics_open(&r.metrics), SE_OK);
        r.options.metrics = r.metrics;
        if (!se__mem_fail_after(n))
            cr_skip_test("release build");
        se_result result = se__warm_open(&r.options, &r.w);
        if (result == SE_OK)
            (void)se__warm_run(r.w, r.incarnation);
        se__mem_fail_after(-1);
        if (result == SE_OK) {
            rig_run_until_trusted(&r);
            rig_check(&r);
        }
        cr_assert(result == SE_OK || result == SE_ERR_NOMEM);
        if (result == SE_OK)
            rig_stop(&r);
        else
            se__metrics_close(r.metrics);
        r.w = NULL;
        r.metrics = NULL;
    }
}
