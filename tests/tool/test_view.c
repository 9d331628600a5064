/*
 * What top makes of a page: samples looked up, quantiles, lines that fit, JSON. Any bytes may come: nothing is believed.
 */
#include "../../tools/fetch.h"
#include "../../tools/view.h"
#include "support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct samples parsed(const char *text)
{
    struct samples s = {0};
    cr_assert(samples_parse(&s, text, strlen(text)));
    return s;
}

static const char page[] = "# HELP a_total Things.\n# TYPE a_total counter\n"
                           "a_total{engine=\"e\",kind=\"x\"} 3\n"
                           "a_total{engine=\"e\",kind=\"x}\\\"y\"} 4.5\n"
                           "plain 7\r\n"
                           "t_seconds_bucket{engine=\"e\",le=\"0.1\"} 10\n"
                           "t_seconds_bucket{engine=\"e\",le=\"1\"} 20\n"
                           "t_seconds_bucket{engine=\"e\",le=\"+Inf\"} 21\n"
                           "t_seconds_sum{engine=\"e\"} 9.25\n"
                           "t_seconds_count{engine=\"e\"} 21\n";

Test(tool_view, finds_series_by_their_labels)
{
    struct samples s = parsed(page);
    cr_assert_eq(s.n, 8u);
    cr_assert_eq(samples_sum(&s, "a_total", ""), 7.5);
    cr_assert_eq(samples_sum(&s, "a_total", "kind=\"x\""), 3);
    cr_assert_eq(samples_sum(&s, "a_total", "kind=\"x}\\\"y\",engine=\"e\""), 4.5);
    cr_assert(isnan(samples_sum(&s, "a_total", "kind=\"z\"")));
    cr_assert(isnan(samples_sum(&s, "a", "")));
    cr_assert_eq(samples_sum(&s, "plain", ""), 7);
    char text[8];
    samples_text(&s, "a_total", "engine", text, sizeof text);
    cr_assert_str_eq(text, "e");
    samples_done(&s);
}

Test(tool_view, quantiles_are_interpolated_in_their_bucket)
{
    struct samples s = parsed(page);
    cr_assert_float_eq(samples_quantile(&s, NULL, "t_seconds", "", 0.5), 0.1 + 0.9 * 0.05, 1e-9);
    cr_assert_eq(samples_quantile(&s, NULL, "t_seconds", "", 1), 1); /* nothing is known above */
    cr_assert(isnan(samples_quantile(&s, &s, "t_seconds", "", 0.5)), "nothing since");
    cr_assert(isnan(samples_quantile(&s, NULL, "none", "", 0.5)));
    samples_done(&s);
}

Test(tool_view, a_restarted_counter_has_grown_by_what_it_is)
{
    struct samples before = parsed("a_total 100\n"), now = parsed("a_total 40\n"),
                   later = parsed("a_total 130\n");
    cr_assert_eq(samples_growth(&later, &before, "a_total", ""), 30);
    cr_assert_eq(samples_growth(&now, &before, "a_total", ""), 40);
    cr_assert_eq(samples_growth(&now, NULL, "a_total", ""), 40);
    samples_done(&before);
    samples_done(&now);
    samples_done(&later);
}

/* Every beginning of the page, and the page with one byte changed: no sanitizer complains, lines and JSON are made. */
Test(tool_view, any_bytes_will_do)
{
    char text[sizeof page];
    struct samples s = {0};
    for (size_t i = 0; i < sizeof page - 1; i++) {
        for (int c = 0; c < 256; c += 15) {
            char *own = malloc(i + 1); /* exactly: what reads behind it is seen */
            memcpy(text, page, sizeof page);
            text[i] = (char)c;
            memcpy(own, text, i + 1);
            cr_assert(samples_parse(&s, own, i + 1));
            struct buf out = {0};
            view_lines(&(struct look){.now = &s, .where = "x"}, &out);
            view_json(&s, &out);
            (void)samples_quantile(&s, NULL, "t_seconds", "", 0.9);
            cr_assert_not(out.failed);
            se__buf_done(&out);
            free(own);
        }
    }
    samples_done(&s);
}

Test(tool_view, lines_fit_and_the_first_look_has_no_rates)
{
    struct samples s = parsed(
        "sync_engine_build_info{engine=\"\\\\\\n\x1b[2J"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",version=\"1\"} 1\n"
        "sync_engine_operations_total{tier=\"l1\",operation=\"get\",status=\"hit\"} 1e300\n"
        "sync_engine_pressure_ratio -7\nsync_engine_phase 1e9\nsync_engine_queue_items NaN\n"
        "sync_engine_pressure_level 77\nsync_engine_queue_bytes +Inf\n");
    struct look l = {.now = &s, .where = "http://127.0.0.1:1"};
    struct buf out = {0};
    view_lines(&l, &out);
    se__buf_append(&out, "", 1);
    size_t lines = 0;
    for (char *save, *line = strtok_r(out.data, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        lines++;
        cr_assert_leq(strlen(line), (size_t)VIEW_COLUMNS, "%s", line);
        cr_assert_null(strchr(line, 27), "an escape sequence of the peer's");
        if (strncmp(line, "L1   ", 5) == 0 && strchr(line, '['))
            continue;
        if (strncmp(line, "writes", 6) == 0)
            cr_assert_not_null(strstr(line, "accepted -/s"), "%s", line);
    }
    cr_assert_leq(lines, (size_t)VIEW_LINES);
    se__buf_done(&out);
    samples_done(&s);
}

Test(tool_view, a_circuit_is_called_as_everywhere)
{
    static const struct {
        const char *value, *shown;
    } cases[] = {{"0", "circuit closed;"}, {"1", "circuit half_open;"}, {"2", "circuit open;"},
                 {"3", "circuit -;"},      {"-1", "circuit -;"},        {"NaN", "circuit -;"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[160];
        (void)snprintf(text, sizeof text,
                       "sync_engine_backend_up{backend=\"redis\"} 1\n"
                       "sync_engine_circuit_breaker_state{circuit=\"redis\"} %s\n",
                       cases[i].value);
        struct samples s = parsed(text);
        struct buf out = {0};
        view_lines(&(struct look){.now = &s, .where = "x"}, &out);
        se__buf_append(&out, "", 1);
        cr_assert_not_null(strstr(out.data, cases[i].shown), "%s: %s", cases[i].value, out.data);
        se__buf_done(&out);
        samples_done(&s);
    }
}

Test(tool_view, json_has_values_and_quantiles)
{
    struct samples s = parsed(page);
    struct buf out = {0};
    view_json(&s, &out);
    se__buf_append(&out, "", 1);
    cr_assert_str_eq(out.data, "{\n\"a_total\":[{\"engine\":\"e\",\"kind\":\"x\",\"value\":3},{"
                               "\"engine\":\"e\",\"kind\":\"x}\\\"y\",\"value\":4.5}],\n"
                               "\"plain\":[{\"value\":7}],\n"
                               "\"t_seconds\":[{\"engine\":\"e\",\"count\":21,\"sum\":9.25,\"p50\":"
                               "0.145,\"p90\":0.901,\"p99\":1}]\n}\n");
    se__buf_done(&out);
    samples_done(&s);
}

Test(tool_view, numbers_are_short)
{
    char text[24];
    static const struct {
        double v;
        const char *number, *seconds;
    } cases[] = {{0, "0", "0.0 s"},         {0.25, "0.2", "250 ms"}, {1234.4, "1,234", "20m 34s"},
                 {5e-7, "0.0", "500 ns"},   {1.5e7, "15.0M", NULL},  {-1, "-", "-"},
                 {1.5e-3, "0.0", "1.5 ms"}, {99.96, "100", "100 s"}, {1e300, "1e+300", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        view_number(cases[i].v, text);
        cr_assert_str_eq(text, cases[i].number);
        view_seconds(cases[i].v, text);
        if (cases[i].seconds)
            cr_assert_str_eq(text, cases[i].seconds);
    }
}

Test(tool_view, urls_of_endpoints)
{
    struct endpoint e;
    cr_assert_eq(fetch_endpoint("http://127.0.0.1:9999", &e), SE_OK);
    cr_assert_str_eq(e.host, "127.0.0.1");
    cr_assert_eq(e.port, 9999);
    cr_assert_eq(fetch_endpoint("http://[::1]/metrics", &e), SE_OK);
    cr_assert_str_eq(e.host, "::1");
    cr_assert_eq(e.port, 9464);
    static const char *const bad[] = {"",
                                      "127.0.0.1:1",
                                      "https://a",
                                      "http://",
                                      "http://:1",
                                      "http://a:",
                                      "http://a:0",
                                      "http://a:65536",
                                      "http://a:1x",
                                      "http://u:p@a",
                                      "http://[::1",
                                      "http://[::1]x",
                                      "http://a/other",
                                      "http://a:-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(fetch_endpoint(bad[i], &e), SE_ERR_INVALID, "%s", bad[i]);
}
