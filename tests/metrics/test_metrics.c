/* The counters, and the text that Prometheus reads. */
#include "base/mem.h"
#include "base/os.h"
#include "metrics/metrics.h"
#include "support/test.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct metrics *opened(void)
{
    struct metrics *m;
    cr_assert_eq(se__metrics_open(&m), SE_OK);
    return m;
}

static char *text_of(const struct metrics *m, const char *name)
{
    struct buf b = {0};
    se__metrics_text(m, name, &b);
    return se__buf_take(&b, NULL);
}

/* The value behind `series`, which must occur exactly once at the beginning of a line. */
static const char *value_of(const char *text, const char *series)
{
    size_t len = strlen(series);
    const char *found = NULL;
    for (const char *line = text; line && *line;
         line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, series, len) == 0 && line[len] == ' ') {
            cr_assert_null(found, "%s twice", series);
            found = line + len + 1;
        }
    cr_assert_not_null(found, "no %s", series);
    static char value[64];
    snprintf(value, sizeof value, "%.*s", (int)strcspn(found, "\n"), found);
    return value;
}

#define THREADS 100 /* some with a stripe of their own, some that share one: the sums are exact */
#define ROUNDS 1000

static void add_some(void *arg)
{
    struct metrics *m = arg;
    for (int i = 0; i < ROUNDS; i++) {
        se__metrics_inc(m, M_OPS_L1_GET_HIT);
        se__metrics_add(m, M_OPS_L1_GET_MISS, 3);
        se__metrics_observe(m, M_FLUSH_SECONDS, 0.001);
        se__metrics_set(m, M_QUEUED, i);
    }
}

Test(metrics, sums_are_exact_once_threads_are_quiet)
{
    struct metrics *m = opened();
    struct se__thread t[THREADS];
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(se__thread_start(&t[i], "adder", add_some, m), SE_OK);
    for (int i = 0; i < THREADS; i++)
        se__thread_join(&t[i]);
    cr_assert_eq(se__metrics_sum(m, M_OPS_L1_GET_HIT), THREADS * ROUNDS);
    cr_assert_eq(se__metrics_sum(m, M_OPS_L1_GET_MISS), THREADS * ROUNDS * 3);
    cr_assert_eq(se__metrics_sum(m, M_OPS_L1_PUT_OK), 0u);
    cr_assert_eq(se__metrics_get(m, M_QUEUED), ROUNDS - 1);
    char *text = text_of(m, "e");
    cr_assert_str_eq(value_of(text, "sync_engine_flush_duration_seconds_count{engine=\"e\"}"),
                     "100000");
    cr_assert_str_eq(value_of(text, "sync_engine_flush_duration_seconds_sum{engine=\"e\"}"), "100");
    free(text);
    se__metrics_close(m);
}

Test(metrics, sets_of_two_engines_do_not_meet)
{
    struct metrics *a = opened(), *b = opened();
    se__metrics_inc(a, M_ACCEPTED);
    cr_assert_eq(se__metrics_sum(b, M_ACCEPTED), 0u);
    se__metrics_close(a);
    se__metrics_close(b);
    se__metrics_close(NULL);
}

Test(metrics, without_a_set_nothing_is_counted)
{
    se__metrics_inc(NULL, M_ACCEPTED);
    se__metrics_set(NULL, M_QUEUED, 1);
    se__metrics_observe(NULL, M_FLUSH_SECONDS, 1);
    cr_assert_eq(se__metrics_sum(NULL, M_ACCEPTED), 0u);
    cr_assert_eq(se__metrics_get(NULL, M_QUEUED), 0);
    char *text = text_of(NULL, "e");
    cr_assert_str_eq(text, "");
    free(text);
}

Test(metrics, every_series_of_the_table_is_printed_once)
{
    static const char *const series[] = {
#define METRIC(symbol, type, family, labels, help)                                                 \
    type##_NAME(family) "{engine=\"e\""                                                            \
                        "|" labels,
#define COUNTER_NAME(family) family
#define GAUGE_NAME(family) family
#define HISTOGRAM_NAME(family) family "_count"
#define COUNTS_NAME(family) family "_count"
#define SIZES_NAME(family) family "_count"
        SE_METRICS(METRIC)
#undef METRIC
    };
    struct metrics *m = opened();
    char *text = text_of(m, "e");
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        char want[300];
        const char *bar = strchr(series[i], '|');
        snprintf(want, sizeof want, "%.*s%s%s}", (int)(bar - series[i]), series[i],
                 bar[1] ? "," : "", bar + 1);
        (void)value_of(text, want); /* asserts that it is there, once */
    }
    free(text);
    se__metrics_close(m);
}

Test(metrics, families_stand_together_with_one_help_and_type)
{
    struct metrics *m = opened();
    char *text = text_of(m, "e"), *save, *seen = calloc(1, strlen(text) + 2);
    char family[200] = "";
    bool typed = true;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char word[210];
        if (strncmp(line, "# HELP ", 7) == 0) {
            snprintf(family, sizeof family, "%.*s", (int)strcspn(line + 7, " "), line + 7);
            snprintf(word, sizeof word, "<%s>", family);
            cr_assert_null(strstr(seen, word), "%s twice", family);
            strcat(seen, word);
            cr_assert_gt(strlen(line), 7 + strlen(family) + 5, "%s has no help", family);
            typed = false;
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            cr_assert_eq(strncmp(line + 7, family, strlen(family)), 0, "%s", line);
            typed = true;
        } else {
            cr_assert(typed && strncmp(line, family, strlen(family)) == 0, "%s stands under %s",
                      line, family);
        }
    }
    free(seen);
    free(text);
    se__metrics_close(m);
}

Test(metrics, buckets_are_cumulative_and_bounds_inclusive)
{
    struct metrics *m = opened();
    const double seen[] = {0, 0.0001, 0.00011, 0.001, 0.5, 10, 10.5, 1e12};
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++)
        se__metrics_observe(m, M_L2_GET_SECONDS, seen[i]);
    se__metrics_observe(m, M_L2_GET_SECONDS, -1);
    se__metrics_observe(m, M_L2_GET_SECONDS, NAN);
    char *text = text_of(m, "e");
#define BUCKET(le)                                                                                 \
    value_of(text, "sync_engine_operation_duration_seconds_bucket{engine=\"e\",tier=\"l2\","       \
                   "operation=\"get\",le=\"" le "\"}")
    cr_assert_str_eq(BUCKET("0.0001"), "2");
    cr_assert_str_eq(BUCKET("0.00025"), "3");
    cr_assert_str_eq(BUCKET("0.001"), "4");
    cr_assert_str_eq(BUCKET("0.25"), "4");
    cr_assert_str_eq(BUCKET("0.5"), "5");
    cr_assert_str_eq(BUCKET("10"), "6");
    cr_assert_str_eq(BUCKET("+Inf"), "8");
    cr_assert_str_eq(value_of(text, "sync_engine_operation_duration_seconds_count{engine=\"e\","
                                    "tier=\"l2\",operation=\"get\"}"),
                     "8");
    cr_assert_str_eq(value_of(text, "sync_engine_operation_duration_seconds_count{engine=\"e\","
                                    "tier=\"l3\",operation=\"get\"}"),
                     "0");
    free(text);
    se__metrics_close(m);
}

Test(metrics, numbers_are_written_the_same_in_every_locale)
{
    struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {1, "1"},
                 {-1, "-1"},
                 {0.5, "0.5"},
                 {0.123456789, "0.123456789"},
                 {-0.25, "-0.25"},
                 {268435456, "268435456"},
                 {1e15, "1000000000000000"},
                 {NAN, "NaN"},
                 {INFINITY, "+Inf"},
                 {-INFINITY, "-Inf"},
                 {1e-12, "0"},
                 {8999999999.5, "8999999999.5"}};
    const char *locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8",
                             "C.UTF-8"}; /* those that are installed */
    struct metrics *m = opened();
    for (size_t l = 0; l < 4; l++) {
        setlocale(LC_ALL, locales[l]);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            se__metrics_set(m, M_PRESSURE, cases[i].value);
            char *text = text_of(m, "e");
            cr_assert_str_eq(value_of(text, "sync_engine_pressure_ratio{engine=\"e\"}"),
                             cases[i].text);
            free(text);
        }
    }
    setlocale(LC_ALL, "C");
    se__metrics_close(m);
}

Test(metrics, the_engines_name_is_escaped)
{
    struct metrics *m = opened();
    struct {
        const char *name, *label;
    } cases[] = {{"a\\b\"c\nd", "a\\\\b\\\"c\\nd"},
                 {"", ""},
                 {NULL, ""},
                 {"{},=", "{},="},
                 {"\xc3\xa4", "\xc3\xa4"},
                 {"x\xff\xc3y", "x??y"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char want[100];
        snprintf(want, sizeof want, "sync_engine_writes_accepted_total{engine=\"%s\"}",
                 cases[i].label);
        char *text = text_of(m, cases[i].name);
        cr_assert_str_eq(value_of(text, want), "0");
        free(text);
    }
    se__metrics_close(m);
}

Test(metrics, the_build_tells_the_librarys_version)
{
    struct metrics *m = opened();
    char *text = text_of(m, "e"), want[100];
    snprintf(want, sizeof want, "sync_engine_build_info{engine=\"e\",version=\"%s\"}",
             se_library_version());
    cr_assert_str_eq(value_of(text, want), "1");
    free(text);
    se__metrics_close(m);
}

Test(metrics, text_is_what_promtool_takes)
{
    if (system("command -v promtool >/dev/null 2>&1") != 0)
        cr_skip_test("promtool is not installed");
    struct metrics *m = opened();
    add_some(m);
    se__metrics_set(m, M_OLDEST_DIRTY, 0.25);
    char *text = text_of(m, "or\"ders\\\n\xc3\xa4");
    cr_assert_gt(strlen(text), 1000u); /* promtool passes empty input */
    FILE *promtool = popen("promtool check metrics 2>&1", "w");
    cr_assert_not_null(promtool);
    cr_assert_eq(fwrite(text, 1, strlen(text), promtool), strlen(text));
    cr_assert_eq(pclose(promtool), 0);
    free(text);
    se__metrics_close(m);
}

Test(metrics, markdown_names_every_family_with_its_meaning)
{
    struct buf b = {0};
    se__metrics_markdown(&b);
    char *text = se__buf_take(&b, NULL);
    cr_assert_eq(strncmp(text, "# Metrics\n", 10), 0);
    static const char *const families[] = {
#define METRIC(symbol, type, family, labels, help) "| `" family "` |",
        SE_METRICS(METRIC)
#undef METRIC
    };
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const char *row = strstr(text, families[i]);
        cr_assert_not_null(row, "%s", families[i]);
        cr_assert_null(strstr(row + 1, families[i]), "%s twice", families[i]);
    }
    cr_assert_null(strstr(text, "|  |\n"), "a family without help");
    free(text);
}

Test(metrics, without_memory_nothing_leaks)
{
    if (!se__mem_fail_after(-1))
        cr_skip_test("compiled out of release builds");
    for (int n = 0; n < 2; n++) {
        struct metrics *m = NULL;
        se__mem_fail_after(n);
        se_result r = se__metrics_open(&m);
        se__mem_fail_after(-1);
        cr_assert_eq(r, SE_ERR_NOMEM);
        cr_assert_null(m);
    }
    struct metrics *m = opened();
    struct buf b = {0};
    se__mem_fail_after(2);
    se__metrics_text(m, "e", &b);
    se__mem_fail_after(-1);
    cr_assert(b.failed);
    se__buf_done(&b);
    se__metrics_close(m);
}
