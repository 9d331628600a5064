/*
 * Tests of src/tier/guarded.c and guard.c, around a fake tier.
 */
#include "fake_tier.h"
#include "support/test.h"

#include "base/mem.h"
#include "tier/guarded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct tier_reply UNWELL = {.fault = TIER_UNWELL, .code = 2013};
static const struct tier_reply TIMED_OUT = {.fault = TIER_UNWELL, .timed_out = true};
static const struct tier_reply CONFLICT = {.fault = TIER_CONFLICT, .code = 1213};
static const struct tier_reply REFUSED = {.fault = TIER_REFUSED, .code = 1406};

static struct fake_tier fake;
static struct metrics *metrics;
static struct guarded *guarded;
static struct tier tier;
static char lines[4096]; /* what was logged */

static void note_line(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    size_t len = strlen(lines);
    snprintf(lines + len, sizeof lines - len, "%d %s\n", (int)level, message);
}

static const struct se__log LOG = {.fn = note_line, .name = "test"};

static void open_guard(struct tier inner, struct breaker_options breaker, bool is_redis)
{
    struct guarded_options options = {
        .breaker = breaker, .metrics = metrics, .log = &LOG, .is_redis = is_redis};
    cr_assert_eq(se__guarded_open(&options, inner, &tier, &guarded), SE_OK);
}

/* Opens after three failures in a row, for 40 ms. */
static struct breaker_options quick(void)
{
    return (struct breaker_options){
        .failures_max = 3, .successes_min = 2, .open_ms = 40, .probes_max = 1};
}

static struct breaker_options patient(void)
{
    return (struct breaker_options){
        .failures_max = 1000, .successes_min = 1, .open_ms = 60000, .probes_max = 1};
}

static void init(void)
{
    lines[0] = '\0';
    fake_tier_init(&fake);
    cr_assert_eq(se__metrics_open(&metrics), SE_OK);
    tier = (struct tier){0};
}

static void fini(void)
{
    if (tier.ops)
        tier.ops->close(tier.self);
    cr_assert(!tier.ops || fake.closed, "close closes what is inside");
    se__metrics_close(metrics);
    fake_tier_done(&fake);
}

TestSuite(guarded, .init = init, .fini = fini);

static uint64_t sum(enum metric which)
{
    return se__metrics_sum(metrics, which);
}

static struct tier_reply probe(uint32_t ms)
{
    return tier.ops->probe(tier.self, se__deadline_in(ms));
}

/* Makes the circuit open; each probe ends without a repetition. */
static void trip(void)
{
    fake_tier_answer(&fake, 3, TIMED_OUT);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(probe(1000).fault, TIER_UNWELL);
    cr_assert_eq(se__guarded_circuit(guarded), SE_CIRCUIT_OPEN);
}

static void wait_for_the_circuit(void)
{
    uint64_t deadline = se__deadline_in(10000);
    while (se__guarded_wait_ms(guarded) > 0)
        cr_assert(se__deadline_left(deadline) > 0);
}

Test(guarded, passes_answers_through)
{
    open_guard(fake_tier(&fake), patient(), false);
    cr_assert_str_eq(tier.ops->name, "fake");
    cr_assert_eq(probe(1000).fault, TIER_FINE);
    cr_assert_eq(tier.ops->payload_max(tier.self), 1234);
    cr_assert_eq(tier.ops->writers_max(tier.self), 7);
    cr_assert_eq(tier.ops->prepare(tier.self, se__deadline_in(1000)), SE_OK);
    cr_assert_eq(se__guarded_up(guarded), 1);
    cr_assert_eq(se__guarded_circuit(guarded), SE_CIRCUIT_CLOSED);
}

/* ---- repeating ---- */

Test(guarded, a_conflict_is_repeated)
{
    open_guard(fake_tier(&fake), patient(), false);
    fake_tier_answer(&fake, 8, CONFLICT);
    cr_assert_eq(probe(10000).fault, TIER_FINE);
    cr_assert_eq(fake.calls, 9);
    cr_assert_eq(sum(M_RETRIES_SQL), 8);
}

Test(guarded, a_conflict_without_end_is_given_back)
{
    open_guard(fake_tier(&fake), patient(), false);
    fake_tier_answer(&fake, 100, CONFLICT);
    struct tier_reply reply = probe(10000);
    cr_assert_eq(reply.fault, TIER_CONFLICT);
    cr_assert_eq(reply.code, 1213);
    cr_assert_eq(fake.calls, 9);
    cr_assert_eq(se__guarded_up(guarded), 1, "it answered");
}

Test(guarded, unwell_is_repeated_twice)
{
    open_guard(fake_tier(&fake), patient(), true);
    fake_tier_answer(&fake, 2, UNWELL);
    cr_assert_eq(probe(10000).fault, TIER_FINE);
    cr_assert_eq(fake.calls, 3);
    cr_assert_eq(sum(M_RETRIES_REDIS), 2);
    cr_assert_eq(sum(M_RETRIES_SQL), 0);
    fake_tier_answer(&fake, 3, UNWELL);
    cr_assert_eq(probe(10000).fault, TIER_UNWELL);
    cr_assert_eq(fake.calls, 6);
    cr_assert_eq(se__guarded_up(guarded), 0);
}

Test(guarded, an_outage_does_not_use_up_a_conflicts_attempts)
{
    open_guard(fake_tier(&fake), patient(), false);
    fake_tier_answer(&fake, 5, CONFLICT);
    fake_tier_answer(&fake, 2, UNWELL);
    fake_tier_answer(&fake, 3, CONFLICT);
    cr_assert_eq(probe(10000).fault, TIER_FINE);
    cr_assert_eq(fake.calls, 11);
}

Test(guarded, never_repeated_after_a_timeout_or_a_refusal)
{
    open_guard(fake_tier(&fake), patient(), false);
    fake_tier_answer(&fake, 1, TIMED_OUT);
    fake_tier_answer(&fake, 1, REFUSED);
    struct tier_reply reply = probe(10000);
    cr_assert(reply.fault == TIER_UNWELL && reply.timed_out);
    cr_assert_eq(fake.calls, 1);
    reply = probe(10000);
    cr_assert(reply.fault == TIER_REFUSED && reply.code == 1406);
    cr_assert_eq(fake.calls, 2);
    cr_assert_not_null(strstr(se_errmsg(), "the fake says 1406"));
}

Test(guarded, no_repetition_that_could_not_start_in_time)
{
    open_guard(fake_tier(&fake), patient(), false);
    fake_tier_answer(&fake, 100, CONFLICT);
    uint64_t deadline_ms = se__deadline_in(400);
    cr_assert_eq(tier.ops->probe(tier.self, deadline_ms).fault, TIER_CONFLICT);
    for (unsigned i = 0; i < fake.calls; i++)
        cr_assert(fake.took_ms[i] <= deadline_ms);
}

Test(guarded, a_caller_without_time_is_no_fault_of_the_backend)
{
    open_guard(fake_tier(&fake), quick(), false);
    for (int i = 0; i < 10; i++) {
        struct tier_reply reply = tier.ops->probe(tier.self, 0);
        cr_assert(reply.fault == TIER_UNWELL && reply.timed_out && !reply.rejected);
    }
    cr_assert_eq(fake.calls, 0);
    cr_assert_eq(se__guarded_circuit(guarded), SE_CIRCUIT_CLOSED);
}

/* ---- the circuit ---- */

Test(guarded, an_open_circuit_rejects_at_once)
{
    struct breaker_options long_open = quick();
    long_open.open_ms = 60000;
    open_guard(fake_tier(&fake), long_open, false);
    trip();
    struct tier_reply reply = probe(10000);
    cr_assert(reply.fault == TIER_UNWELL && reply.rejected && !reply.timed_out);
    cr_assert_not_null(strstr(se_errmsg(), "circuit"));
    cr_assert_eq(fake.calls, 3, "not asked");
    cr_assert_eq(sum(M_CIRCUIT_SQL_REJECTED), 1);
    cr_assert_eq(sum(M_RETRIES_SQL), 0);
    cr_assert_gt(se__guarded_wait_ms(guarded), 50000);
}

Test(guarded, recovers_through_probes)
{
    open_guard(fake_tier(&fake), quick(), false);
    trip();
    wait_for_the_circuit();
    cr_assert_eq(probe(1000).fault, TIER_FINE);
    cr_assert_eq(se__guarded_circuit(guarded), SE_CIRCUIT_HALF_OPEN);
    cr_assert_eq(probe(1000).fault, TIER_FINE);
    cr_assert_eq(se__guarded_circuit(guarded), SE_CIRCUIT_CLOSED);
    cr_assert_eq(sum(M_CIRCUIT_SQL_OPENED), 1);
    cr_assert_eq(sum(M_CIRCUIT_SQL_HALF), 1);
    cr_assert_eq(sum(M_CIRCUIT_SQL_CLOSED), 1);
    cr_assert_eq(se__metrics_get(metrics, M_CIRCUIT_SQL), SE_CIRCUIT_CLOSED);
    cr_assert_eq(se__metrics_get(metrics, M_UP_SQL), 1);
    cr_assert_eq(se__metrics_get(metrics, M_CIRCUIT_REDIS), 0);
}

Test(guarded, a_failed_probe_opens_it_again)
{
    open_guard(fake_tier(&fake), quick(), true);
    trip();
    wait_for_the_circuit();
    fake_tier_answer(&fake, 1, TIMED_OUT);
    cr_assert_eq(probe(1000).fault, TIER_UNWELL);
    cr_assert_eq(se__guarded_circuit(guarded), SE_CIRCUIT_OPEN);
    cr_assert_eq(sum(M_CIRCUIT_REDIS_OPENED), 2);
    cr_assert_eq(se__metrics_get(metrics, M_CIRCUIT_REDIS), SE_CIRCUIT_OPEN);
    cr_assert_eq(se__metrics_get(metrics, M_UP_REDIS), 0);
}

Test(guarded, data_errors_and_conflicts_do_not_open_it)
{
    open_guard(fake_tier(&fake), quick(), false);
    fake_tier_answer(&fake, 50, REFUSED);
    for (int i = 0; i < 50; i++)
        cr_assert_eq(probe(1000).fault, TIER_REFUSED);
    cr_assert_eq(se__guarded_circuit(guarded), SE_CIRCUIT_CLOSED);
    fake_tier_answer(&fake, 100, CONFLICT);
    (void)probe(10000);
    cr_assert_eq(se__guarded_circuit(guarded), SE_CIRCUIT_CLOSED);
    cr_assert_eq(se__guarded_up(guarded), 1);
}

Test(guarded, a_circuit_that_opens_ends_the_repetitions_with_the_backends_answer)
{
    struct breaker_options options = quick();
    options.failures_max = 1;
    options.open_ms = 60000;
    open_guard(fake_tier(&fake), options, false);
    fake_tier_answer(&fake, 1, UNWELL);
    struct tier_reply reply = probe(10000);
    cr_assert(reply.fault == TIER_UNWELL && reply.code == 2013 && !reply.rejected);
    cr_assert_eq(fake.calls, 1);
}

Test(guarded, logs_the_changes_of_its_circuit)
{
    open_guard(fake_tier(&fake), quick(), false);
    trip();
    char warning[16];
    snprintf(warning, sizeof warning, "%d fake", (int)SE_LOG_WARN);
    cr_assert_not_null(strstr(lines, warning), "%s", lines);
    cr_assert_not_null(strstr(lines, "circuit opened"), "%s", lines);
    cr_assert_not_null(strstr(lines, "the fake says"), "why: %s", lines);
    wait_for_the_circuit();
    (void)probe(1000);
    (void)probe(1000);
    cr_assert_not_null(strstr(lines, "circuit half-open"), "%s", lines);
    cr_assert_not_null(strstr(lines, "circuit closed"), "%s", lines);
    unsigned n = 0;
    for (const char *at = lines; (at = strchr(at, '\n')) != NULL; at++)
        n++;
    cr_assert_eq(n, 3, "a line a change, and no more: %s", lines);
}

/* ---- prepare ---- */

Test(guarded, prepare_is_not_held_back_by_an_open_circuit)
{
    struct breaker_options options = quick();
    options.open_ms = 60000;
    open_guard(fake_tier(&fake), options, false);
    trip();
    cr_assert_eq(tier.ops->prepare(tier.self, se__deadline_in(1000)), SE_OK);
    cr_assert_eq(fake.calls, 4);
    cr_assert_eq(se__guarded_up(guarded), 1);
}

Test(guarded, prepare_reports_to_the_breaker)
{
    open_guard(fake_tier(&fake), quick(), false);
    fake.prepare_result = SE_ERR_CONFIG;
    for (int i = 0; i < 5; i++)
        cr_assert_eq(tier.ops->prepare(tier.self, se__deadline_in(1000)), SE_ERR_CONFIG);
    cr_assert_eq(se__guarded_circuit(guarded), SE_CIRCUIT_CLOSED, "it was reached");
    cr_assert_eq(se__guarded_up(guarded), 0, "and may not be used");
    fake.prepare_result = SE_ERR_BACKEND;
    for (int i = 0; i < 3; i++)
        cr_assert_eq(tier.ops->prepare(tier.self, se__deadline_in(1000)), SE_ERR_BACKEND);
    cr_assert_eq(se__guarded_circuit(guarded), SE_CIRCUIT_OPEN);
}

/* ---- stopping ---- */

static void stop_soon(void *arg)
{
    (void)arg;
    uint64_t deadline = se__deadline_in(10000);
    while (fake_tier_calls(&fake) == 0 && se__deadline_left(deadline) > 0)
        se__pause_ms(1);
    se__guarded_stop(guarded);
}

Test(guarded, stopping_cuts_waits_and_later_calls)
{
    open_guard(fake_tier(&fake), patient(), false);
    fake_tier_answer(&fake, 200, UNWELL);
    struct se__thread t = {0};
    cr_assert_eq(se__thread_start(&t, "stopper", stop_soon, NULL), SE_OK);
    struct tier_reply reply = probe(60000);
    cr_assert_eq(reply.fault, TIER_UNWELL);
    se__thread_join(&t);
    unsigned calls = fake_tier_calls(&fake);
    reply = probe(60000);
    cr_assert(reply.fault == TIER_UNWELL && reply.rejected);
    cr_assert_eq(tier.ops->prepare(tier.self, se__deadline_in(1000)), SE_ERR_STATE);
    cr_assert_eq(fake_tier_calls(&fake), calls);
    cr_assert_eq(sum(M_CIRCUIT_SQL_REJECTED), 0, "not the circuit's doing");
}

/* ---- metrics ---- */

static void count_reads(bool is_redis)
{
    static const char *const ids[] = {"a", "b", "c", "d", "e"};
    struct tier_read reads[5];
    open_guard(fake_tier(&fake), patient(), is_redis);
    fake.found[0] = fake.found[1] = TIER_HIT;
    fake.found[2] = TIER_ABSENT;
    fake.found[3] = TIER_VOID;
    fake.found[4] = TIER_CORRUPT;
    for (int i = 0; i < 5; i++)
        reads[i] = (struct tier_read){.id = ids[i], .id_len = 1};
    cr_assert_eq(tier.ops->read(tier.self, reads, 5, se__deadline_in(1000)).fault, TIER_FINE);
    cr_assert_str_eq(se_item_id(reads[1].item), "b");
    for (int i = 0; i < 5; i++)
        se_item_release(reads[i].item);
    fake_tier_answer(&fake, 1, TIMED_OUT);
    cr_assert_eq(tier.ops->read(tier.self, reads, 5, se__deadline_in(1000)).fault, TIER_UNWELL);
    for (int i = 0; i < 5; i++)
        cr_assert_null(reads[i].item, "nothing is handed out with a fault");
}

static bool histogram_has(const char *tier_label, const char *operation, unsigned n)
{
    struct buf out = {0};
    char line[200];
    se__metrics_text(metrics, "test", &out);
    char *text = se__buf_take(&out, &(size_t){0});
    cr_assert_not_null(text);
    bool found = false;
    for (char *at = text;
         (at = strstr(at, "sync_engine_operation_duration_seconds_count{")) != NULL; at++) {
        size_t len = strcspn(at, "\n");
        snprintf(line, sizeof line, "%.*s", (int)len, at);
        char want_tier[32], want_op[32], want_n[32];
        snprintf(want_tier, sizeof want_tier, "tier=\"%s\"", tier_label);
        snprintf(want_op, sizeof want_op, "operation=\"%s\"", operation);
        snprintf(want_n, sizeof want_n, "} %u", n);
        found = found || (strstr(line, want_tier) && strstr(line, want_op) && strstr(line, want_n));
    }
    free(text);
    return found;
}

Test(guarded, counts_reads_of_redis_per_id)
{
    count_reads(true);
    cr_assert_eq(sum(M_OPS_L2_GET_HIT), 2);
    cr_assert_eq(sum(M_OPS_L2_GET_MISS), 2);
    cr_assert_eq(sum(M_OPS_L2_GET_ERROR), 1 + 5);
    cr_assert_eq(sum(M_OPS_L3_GET_HIT), 0);
    cr_assert(histogram_has("l2", "get", 2));
}

Test(guarded, counts_reads_of_sql_per_id)
{
    count_reads(false);
    cr_assert_eq(sum(M_OPS_L3_GET_HIT), 2);
    cr_assert_eq(sum(M_OPS_L3_GET_MISS), 2);
    cr_assert_eq(sum(M_OPS_L3_GET_ERROR), 1 + 5);
    cr_assert_eq(sum(M_OPS_L2_GET_HIT), 0);
    cr_assert(histogram_has("l3", "get", 2));
}

Test(guarded, counts_writes_per_id)
{
    struct tier_write writes[4];
    open_guard(fake_tier(&fake), patient(), false);
    memset(writes, 0, sizeof writes);
    fake.stored[0] = fake.stored[1] = fake.stored[2] = TIER_STORED;
    fake.stored[3] = TIER_NEWER;
    fake_tier_answer(&fake, 1, CONFLICT);
    cr_assert_eq(tier.ops->write(tier.self, 0, writes, 4, se__deadline_in(10000)).fault, TIER_FINE);
    cr_assert_eq(sum(M_OPS_L3_PUT_OK), 3);
    cr_assert_eq(sum(M_OPS_L3_PUT_LOST), 1);
    cr_assert_eq(sum(M_OPS_L3_PUT_ERROR), 0, "how it ended counts, not each attempt");
    cr_assert(histogram_has("l3", "put", 2), "attempts are timed one by one");
    fake_tier_answer(&fake, 1, TIMED_OUT);
    (void)tier.ops->write(tier.self, 0, writes, 4, se__deadline_in(1000));
    cr_assert_eq(sum(M_OPS_L3_PUT_ERROR), 4);
    fake_tier_answer(&fake, 2, REFUSED);
    (void)tier.ops->write(tier.self, 0, writes, 4, se__deadline_in(1000));
    cr_assert_eq(sum(M_OPS_L3_PUT_ERROR), 4, "it will be split");
    (void)tier.ops->write(tier.self, 0, writes, 1, se__deadline_in(1000));
    cr_assert_eq(sum(M_OPS_L3_PUT_ERROR), 5);
    cr_assert_eq(sum(M_OPS_L3_PUT_OK), 3);
}

Test(guarded, counts_the_bytes_that_a_tier_took)
{
    struct item_spec spec = {.id = "id", .id_len = 2, .content = "12345", .content_len = 5};
    struct tier_write writes[2] = {{.item = se__item_new(&spec)}, {.item = se__item_new(&spec)}};
    open_guard(fake_tier(&fake), patient(), false);
    fake.stored[0] = TIER_STORED;
    fake.stored[1] = TIER_NEWER;
    cr_assert_eq(tier.ops->write(tier.self, 0, writes, 2, se__deadline_in(10000)).fault, TIER_FINE);
    cr_assert_eq(sum(M_L3_PUT_BYTES), 7, "not those of what it did not want");
    cr_assert_eq(sum(M_L2_PUT_BYTES), 0);
    se_item_release(writes[0].item);
    se_item_release(writes[1].item);
}

Test(guarded, times_scans_and_probes)
{
    struct tier_page page;
    struct tier_scan how = {.prefix = "", .after = "", .items_max = 1, .bytes_max = 1};
    open_guard(fake_tier(&fake), patient(), true);
    cr_assert_eq(tier.ops->scan(tier.self, &how, &page, se__deadline_in(10000)).fault, TIER_FINE);
    se__tier_page_done(&page);
    cr_assert_eq(tier.ops->probe(tier.self, se__deadline_in(10000)).fault, TIER_FINE);
    cr_assert(histogram_has("l2", "scan", 1));
    cr_assert(histogram_has("l2", "probe", 1));
}

Test(guarded, a_rejected_call_is_no_operation)
{
    struct tier_write write = {.state = TIER_NOT_TRIED};
    struct breaker_options options = quick();
    options.open_ms = 60000;
    open_guard(fake_tier(&fake), options, false);
    trip();
    cr_assert(tier.ops->write(tier.self, 0, &write, 1, se__deadline_in(1000)).rejected);
    cr_assert_eq(sum(M_OPS_L3_PUT_ERROR), 0);
    cr_assert_eq(sum(M_CIRCUIT_SQL_REJECTED), 1);
}

/* ---- the other operations ---- */

static unsigned visits;

static void count_visit(void *arg, const char *name, const char *value)
{
    cr_assert_eq(arg, &visits);
    cr_assert_str_eq(name, "owner:");
    cr_assert_str_eq(value, "value");
    visits++;
}

Test(guarded, repeated_calls_leave_nothing_of_failed_attempts)
{
    open_guard(fake_tier(&fake), patient(), false);
    struct tier_page page;
    struct tier_ids ids;
    struct buf value = {0};
    bool found = false;
    uint64_t n = 0, by = se__deadline_in(60000);
    size_t purged = 0;
    struct tier_scan how = {.prefix = "", .after = "", .items_max = 1, .bytes_max = 1};
    fake_tier_answer(&fake, 1, CONFLICT);
    cr_assert_eq(tier.ops->scan(tier.self, &how, &page, by).fault, TIER_FINE);
    cr_assert_eq(page.n, 1);
    se__tier_page_done(&page);
    fake_tier_answer(&fake, 1, CONFLICT);
    cr_assert_eq(tier.ops->list(tier.self, "", &ids, by).fault, TIER_FINE);
    cr_assert_eq(ids.n, 1);
    cr_assert_str_eq(ids.ids[0], "listed");
    se__tier_ids_done(&ids);
    se__buf_text(&value, "kept,");
    fake_tier_answer(&fake, 2, CONFLICT);
    cr_assert_eq(tier.ops->meta_get(tier.self, "name", &value, &found, by).fault, TIER_FINE);
    fake_tier_answer(&fake, 1, CONFLICT);
    cr_assert_eq(tier.ops->meta_add(tier.self, "name", ",new", &value, by).fault, TIER_FINE);
    char *text = se__buf_take(&value, &(size_t){0});
    cr_assert_str_eq(text, "kept,name,new");
    cr_assert(found);
    free(text);
    fake_tier_answer(&fake, 1, CONFLICT);
    cr_assert_eq(tier.ops->count(tier.self, &how, &n, by).fault, TIER_FINE);
    cr_assert_eq(n, 42);
    cr_assert_eq(tier.ops->meta_put(tier.self, "name", "value", by).fault, TIER_FINE);
    cr_assert_eq(tier.ops->meta_delete(tier.self, "name", by).fault, TIER_FINE);
    cr_assert_eq(tier.ops->purge(tier.self, 9, &purged, by).fault, TIER_FINE);
    cr_assert_eq(purged, 9);
}

Test(guarded, failed_calls_hand_out_nothing)
{
    open_guard(fake_tier(&fake), patient(), false);
    struct tier_page page;
    struct tier_ids ids;
    struct tier_scan how = {.prefix = "", .after = "", .items_max = 1, .bytes_max = 1};
    fake_tier_answer(&fake, 2, REFUSED);
    cr_assert_eq(tier.ops->scan(tier.self, &how, &page, se__deadline_in(1000)).fault, TIER_REFUSED);
    cr_assert(page.n == 0 && !page.items);
    cr_assert_eq(tier.ops->list(tier.self, "", &ids, se__deadline_in(1000)).fault, TIER_REFUSED);
    cr_assert(ids.n == 0 && !ids.ids);
}

Test(guarded, a_list_that_has_shown_something_is_not_repeated)
{
    open_guard(fake_tier(&fake), patient(), false);
    visits = 0;
    fake_tier_answer(&fake, 1, (struct tier_reply){.fault = TIER_UNWELL, .code = 1});
    cr_assert_eq(
        tier.ops->meta_list(tier.self, "owner:", count_visit, &visits, se__deadline_in(10000))
            .fault,
        TIER_FINE);
    cr_assert_eq(visits, 1);
    fake_tier_answer(&fake, 1, (struct tier_reply){.fault = TIER_UNWELL, .code = 2});
    cr_assert_eq(
        tier.ops->meta_list(tier.self, "owner:", count_visit, &visits, se__deadline_in(10000))
            .fault,
        TIER_UNWELL);
    cr_assert_eq(visits, 2);
}

Test(guarded, what_the_tier_lacks_is_refused)
{
    open_guard(fake_tier_bare(&fake), patient(), false);
    struct tier_page page;
    struct tier_ids ids;
    struct buf value = {0};
    struct tier_scan how = {.prefix = ""};
    uint64_t n;
    size_t purged;
    bool found;
    void *self = tier.self;
    const struct tier_ops *ops = tier.ops;
    struct tier_reply replies[] = {ops->probe(self, 0),
                                   ops->write(self, 0, NULL, 0, 0),
                                   ops->read(self, NULL, 0, 0),
                                   ops->scan(self, &how, &page, 0),
                                   ops->count(self, &how, &n, 0),
                                   ops->list(self, "", &ids, 0),
                                   ops->meta_get(self, "", &value, &found, 0),
                                   ops->meta_put(self, "", "", 0),
                                   ops->meta_add(self, "", "", &value, 0),
                                   ops->meta_delete(self, "", 0),
                                   ops->meta_list(self, "", count_visit, NULL, 0),
                                   ops->purge(self, 1, &purged, 0)};
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++)
        cr_assert_eq(replies[i].fault, TIER_REFUSED);
    cr_assert_not_null(strstr(se_errmsg(), "bare cannot"));
    cr_assert_eq(ops->payload_max(self), 0);
    cr_assert_eq(ops->writers_max(self), 1);
    cr_assert_eq(ops->prepare(self, se__deadline_in(1000)), SE_OK);
}

Test(guarded, opening_without_memory_takes_nothing)
{
    struct guarded_options options = {.breaker = patient(), .metrics = metrics, .log = &LOG};
    if (!se__mem_fail_after(0))
        return;
    struct tier out = {0};
    cr_assert_eq(se__guarded_open(&options, fake_tier(&fake), &out, &guarded), SE_ERR_NOMEM);
    se__mem_fail_after(-1);
    cr_assert_null(out.ops);
    cr_assert_not(fake.closed);
}
