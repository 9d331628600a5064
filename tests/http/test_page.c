/*
 * Tests of src/http/page.c: which address answers what, without any socket.
 */
#include "support/test.h"

#include "http/page.h"

#include <stdlib.h>
#include <string.h>

static se_engine *engine;

static void open_engine(void)
{
    se_config c;
    se_config_init(&c);
    c.l1_max_bytes = (size_t)16 << 20;
    cr_assert_eq(se_open(&c, &engine), SE_OK, "%s", se_errmsg());
}

static void close_engine(void)
{
    cr_assert_eq(se_close(engine, 10000), SE_OK);
}

TestSuite(page, .init = open_engine, .fini = close_engine);

static void expect(const char *method, const char *path, unsigned status, const char *type,
                   const char *part)
{
    struct page page;
    se__page(engine, method, path, &page);
    cr_assert_eq(page.status, status, "%s %s: %u", method, path, page.status);
    cr_assert_str_eq(page.type, type);
    cr_assert_eq(strlen(page.text), page.len);
    cr_assert_not_null(strstr(page.text, part), "%s %s: no %s in %s", method, path, part,
                       page.text);
    free(page.text);
}

#define METRICS "text/plain; version=0.0.4; charset=utf-8"
#define JSON "application/json"
#define TEXT "text/plain; charset=utf-8"

Test(page, a_running_engine)
{
    cr_assert_eq(se_submit(engine, "a", "x", 1, NULL), SE_OK);
    expect("GET", "/metrics", 200, METRICS, "sync_engine_writes_accepted_total{engine=");
    expect("GET", "/health", 200, JSON, "\"healthy\":true,\"ready\":true");
    expect("GET", "/health", 200, JSON, "\"reasons\":[]");
    expect("GET", "/health", 200, JSON, "\"redis\":{\"configured\":false}");
    expect("GET", "/ready", 200, JSON, "{\"ready\":true,\"phase\":\"running\",\"reasons\":[]}");
}

Test(page, an_engine_that_shuts_down_says_so)
{
    cr_assert_eq(se_shutdown(engine, 10000), SE_OK);
    expect("GET", "/ready", 503, JSON, "\"reasons\":[\"the engine shuts down\"]");
    expect("GET", "/health", 503, JSON, "\"phase\":\"shutting_down\"");
    expect("GET", "/metrics", 200, METRICS, "sync_engine_phase");
}

Test(page, everything_else_is_refused)
{
    static const char *const methods[] = {"HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get", ""};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        expect(methods[i], "/metrics", 405, TEXT, "only GET");
    static const char *const paths[] = {"/",       "",        "/metrics/", "//metrics",
                                        "/metric", "/Health", "*"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        expect("GET", paths[i], 404, TEXT, "/metrics, /health and /ready");
}
