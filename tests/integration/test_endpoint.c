/*
 * The HTTP endpoint beside real servers: what it says while they work, hang and come back, and that
 * it says so at once.
 */
#include "base/os.h"
#include "integration/stand.h"
#include "support/http_client.h"
#include "support/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape both_wal = {"redis+mysql+wal", MYSQL, true, true};

static struct stand stand;
static uint16_t port;
static char answer[HTTP_ANSWER_MAX];

static void make(void)
{
    stand_make(&stand, &both_wal);
    stand.e = bed_open(&stand.bed);
    port = 0;
    cr_assert_eq(se_http_start(stand.e, NULL, &port), SE_OK, "%s", se_errmsg());
}

static void done(void)
{
    bed_close(&stand.bed, stand.e);
    stand_remove(&stand);
}

TestSuite(endpoint, .init = make, .fini = done);

static bool healthy(void *arg)
{
    (void)arg;
    return http_get(port, "/health", answer) == 200;
}

static bool both_down(void *arg)
{
    (void)arg;
    return http_get(port, "/health", answer) == 503 && strstr(answer, "\"redis is down\"") &&
           strstr(answer, "\"sql is down\"");
}

/* A caller who waits for the tiers, all the time. */
static atomic_bool enough;

static void miss(void *arg)
{
    (void)arg;
    for (unsigned i = 0; !atomic_load(&enough); i++) {
        char id[32];
        se_item *item = NULL;
        snprintf(id, sizeof id, "absent %u", i);
        (void)se_get(stand.e, id, &item);
        se_item_release(item);
        (void)se_submit(stand.e, id, "x", 1, NULL);
    }
}

/* The time of an answer does not depend on the tiers: a second is what is promised, and a machine under
 * sanitizers may take its time for other reasons. */
static void expect_at_once(const char *path, int status)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 5; i++) {
        uint64_t start = se__mono_ms();
        cr_assert_eq(http_get(port, path, answer), status, "%s: %.200s", path, answer);
        uint64_t took = se__mono_ms() - start;
        best = took < best ? took : best;
    }
    cr_assert_lt(best, 1000u, "%s", path);
}

Test(endpoint, it_answers_at_once_while_every_backend_hangs)
{
    bed_wait(healthy, NULL, "healthy");
    redis_server_pause(&stand.redis);
    cr_assert(mariadb_pause(stand.mariadb));
    struct se__thread threads[4] = {{0}};
    atomic_store(&enough, false);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(se__thread_start(&threads[i], "miss", miss, NULL), SE_OK);
    expect_at_once("/ready", 200); /* memory and WAL serve on */
    expect_at_once("/metrics", 200);
    bed_wait(both_down, NULL, "both_down");
    expect_at_once("/health", 503);
    cr_assert_not_null(strstr(answer, "\"ready\":true,\"accepting_writes\":true"), "%s", answer);
    atomic_store(&enough, true);
    redis_server_resume(&stand.redis);
    cr_assert(mariadb_resume(stand.mariadb));
    for (int i = 0; i < 4; i++)
        se__thread_join(&threads[i]);
    bed_wait(healthy, NULL, "healthy");
}

Test(endpoint, the_page_passes_promtool)
{
    if (system("command -v promtool >/dev/null 2>&1") != 0)
        cr_skip_test("promtool is not installed");
    bed_put(stand.e, "a", "1");
    stand_flush(&stand);
    cr_assert_eq(http_get(port, "/metrics", answer), 200);
    const char *body = strstr(answer, "\r\n\r\n");
    cr_assert(body && strlen(body) > 1000); /* promtool passes empty input */
    FILE *promtool = popen("promtool check metrics 2>&1", "w");
    cr_assert_not_null(promtool);
    cr_assert(fputs(body + 4, promtool) >= 0);
    cr_assert_eq(pclose(promtool), 0);
}
