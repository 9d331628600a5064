/*
 * The sample service (examples/service) as its operators see it: a process with a Redis, a MariaDB and a WAL, asked over HTTP
 * while the database dies and comes back, and ended by SIGTERM at the worst moment.
 *
 * SE_SERVICE_WRAPPER, if it is set, is a command to run the service by, a word a line: tests/run.py looks at it with valgrind.
 */
#include "base/os.h"
#include "integration/bed.h"
#include "support/http_client.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct redis_server redis;
static struct mariadb_server *database;
static char wal[64], dir[] = "/dev/shm/service-XXXXXX";
static pid_t service;
static uint16_t port, metrics_port;
static char answer[HTTP_ANSWER_MAX];

enum { COMMAND_WORDS = 32 };

/* ---- the process ---- */

static void set(const char *name, const char *value)
{
    cr_assert_eq(setenv(name, value, 1), 0);
}

static void make(void)
{
    char url[512];
    cr_assert(mkdtemp(dir));
    snprintf(wal, sizeof wal, "%s/wal.db", dir);
    database = mariadb_start(false, NULL);
    cr_assert(database);
    redis_server_start(&redis, NULL);
    mariadb_url(database, false, url, sizeof url);
    set("SYNC_ENGINE_SQL_URL", url);
    redis_server_url(&redis, url, sizeof url);
    set("SYNC_ENGINE_REDIS_URL", url);
    set("SYNC_ENGINE_WAL_PATH", wal);
    set("SYNC_ENGINE_STARTUP_TIMEOUT_MS", "1000");
    set("SYNC_ENGINE_SQL_TIMEOUT_MS", "1000");
    set("SYNC_ENGINE_CIRCUIT_OPEN_MS", "200");
    set("SYNC_ENGINE_MAX_PAYLOAD_BYTES", "64KiB");
    set("SYNC_ENGINE_NAME", "shop");
    set("SERVICE_PORT", "0");
    set("SERVICE_METRICS_PORT", "0");
}

static void done(void)
{
    char command[128];
    if (service > 0)
        kill(service, SIGKILL);
    redis_server_stop(&redis);
    mariadb_close(database);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(service, .init = make, .fini = done);

/* The words of the command that runs the service; they point into `words`. */
static void command_line(char *words, char *path, char *argv[COMMAND_WORDS])
{
    size_t n = 0;
    for (char *save, *word = strtok_r(words, "\n", &save); word;
         word = strtok_r(NULL, "\n", &save)) {
        cr_assert_lt(n, COMMAND_WORDS - 2u);
        argv[n++] = word;
    }
    argv[n++] = path;
    argv[n] = NULL;
}

static void start(void)
{
    char path[512], words[4096], *argv[COMMAND_WORDS];
    const char *wrapper = getenv("SE_SERVICE_WRAPPER");
    int out[2];
    snprintf(path, sizeof path, "%s/examples/service/service", getenv("SE_BUILD_ROOT"));
    cr_assert_lt(snprintf(words, sizeof words, "%s", wrapper ? wrapper : ""), (int)sizeof words);
    command_line(words, path, argv);
    cr_assert_eq(pipe(out), 0);
    service = fork();
    if (service == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execv(argv[0], argv);
        _exit(127);
    }
    close(out[1]);
    FILE *said = fdopen(out[0], "r"); /* ends with the process, if it says nothing */
    unsigned a = 0, b = 0;
    cr_assert_eq(
        fscanf(said, "serving http://127.0.0.1:%u, metrics on http://127.0.0.1:%u", &a, &b), 2);
    (void)fclose(said);
    port = (uint16_t)a;
    metrics_port = (uint16_t)b;
}

static void terminate(void)
{
    cr_assert_eq(kill(service, SIGTERM), 0);
}

/* Its exit status. */
static int end(void)
{
    int status = 0;
    cr_assert_eq(waitpid(service, &status, 0), service);
    service = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int stop(void)
{
    terminate();
    return end();
}

/* ---- asking ---- */

static int ask(const char *method, const char *path, const char *body)
{
    char head[700];
    int len =
        snprintf(head, sizeof head,
                 "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                 method, path, body ? strlen(body) : 0);
    int fd = http_dial(port);
    bool heard = http_say(fd, head, (size_t)len);
    if (body)
        (void)http_say(fd, body, strlen(body)); /* it may have refused by now */
    heard = heard && http_hear(fd, answer, sizeof answer);
    se__net_close(fd);
    return heard ? http_status(answer) : 0;
}

static bool says(const char *words)
{
    return strstr(answer, words) != NULL;
}

#define expect(status, method, path, body)                                                         \
    cr_assert_eq(ask(method, path, body), status, "%s %s: %.300s", method, path, answer)

static void expect_body(const char *path, const char *body)
{
    expect(200, "GET", path, NULL);
    const char *at = strstr(answer, "\r\n\r\n");
    cr_assert(at && strcmp(at + 4, body) == 0, "%s: %.300s", path, answer);
}

static bool healthy(void *arg)
{
    (void)arg;
    return http_get(metrics_port, "/health", answer) == 200;
}

static bool sql_is_down(void *arg)
{
    (void)arg;
    return http_get(metrics_port, "/health", answer) == 503 && says("\"sql is down\"");
}

/* The head of a request has been read: the server asks for the body. */
static bool wants_body(void *arg)
{
    char more[64] = "";
    ssize_t got = recv(*(int *)arg, more, sizeof more - 1, MSG_DONTWAIT);
    return got > 0 && strncmp(more, "HTTP/1.1 100", 12) == 0 &&
           strcmp(more + got - 4, "\r\n\r\n") == 0;
}

static bool draining(void *arg)
{
    (void)arg;
    return ask("GET", "/ready", NULL) == 503;
}

static bool wal_is_empty(void *arg)
{
    (void)arg;
    return http_get(metrics_port, "/health", answer) == 200 && says("\"wal\":{\"items\":0");
}

/* The value of a metric without labels, or with those given; -1: it is not there. */
static double metric(const char *name)
{
    char line[200];
    cr_assert_eq(http_get(metrics_port, "/metrics", answer), 200);
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(answer, line);
    return at ? strtod(at + strlen(line), NULL) : -1;
}

/* ---- tests ---- */

Test(service, the_routes)
{
    start();
    bed_wait(healthy, NULL, "healthy");
    expect(404, "GET", "/items/a", NULL);
    expect(200, "PUT", "/items/a", "{\"n\":1}");
    expect_body("/items/a", "{\"n\":1}");
    cr_assert(says("application/json") && says("ETag: \""), "%s", answer);
    expect(200, "PUT", "/items/a%2Fb%22c?ack=l3", "");
    expect_body("/items/a/b%22c", "");
    cr_assert_eq(mariadb_number(database, "SELECT COUNT(*) FROM sync_items WHERE id = 'a/b\"c'"),
                 1);
    expect_body("/items?prefix=a&limit=1", "{\"ids\":[\"a\"],\"next\":\"a\"}\n");
    expect_body("/items?prefix=a&after=a", "{\"ids\":[\"a/b\\\"c\"]}\n");
    expect(200, "DELETE", "/items/a", NULL);
    expect(404, "GET", "/items/a", NULL);
    expect(200, "GET", "/reports/may", NULL);
    cr_assert(says("X-Origin: made") && says("the report for may"), "%s", answer);
    expect(200, "GET", "/reports/may", NULL);
    cr_assert(says("X-Origin: cache"), "%s", answer);
    expect(200, "GET", "/ready", NULL);
    cr_assert_eq(stop(), 0);
}

Test(service, what_is_wrong_is_refused)
{
    static char big[70000];
    start();
    memset(big, 'x', sizeof big - 1);
    expect(413, "PUT", "/items/big", big);
    expect(404, "GET", "/items/big", NULL);
    expect(400, "PUT", "/items/a%00b", "1"); /* and not an item "a" */
    expect(404, "GET", "/items/a", NULL);
    expect(400, "PUT", "/items/a?ack=perhaps", "1");
    expect(400, "PUT", "/items/a?expires_in_s=-1", "1");
    expect(400, "GET", "/items?limit=0", NULL);
    expect(400, "GET", "/items?limit=1001", NULL);
    expect(404, "GET", "/", NULL);
    expect(404, "GET", "/items/", NULL);
    expect(405, "POST", "/items/a", "1");
    cr_assert_eq(stop(), 0);
}

Test(service, sigterm_flushes_what_only_memory_has_and_finishes_what_runs)
{
    static const char head[] =
        "PUT /items/late?ack=memory HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    unsetenv("SYNC_ENGINE_WAL_PATH");
    set("SYNC_ENGINE_BATCH_FLUSH_MS", "600000");
    start();
    bed_wait(healthy, NULL, "healthy");
    expect(200, "PUT", "/items/memory?ack=memory", "1");
    int fd = http_dial(port);
    cr_assert(http_say(fd, head, sizeof head - 1));
    bed_wait(wants_body, &fd, "wants_body");
    cr_assert(http_say(fd, "12", 2));
    terminate();
    bed_wait(draining, NULL, "draining");
    cr_assert_eq(mariadb_number(database, "SELECT COUNT(*) FROM sync_items"), 0);
    cr_assert(http_say(fd, "34", 2) && http_hear(fd, answer, sizeof answer));
    cr_assert_eq(http_status(answer), 200, "%s", answer);
    se__net_close(fd);
    cr_assert_eq(end(), 0);
    cr_assert_eq(
        mariadb_number(database, "SELECT COUNT(*) FROM sync_items WHERE id IN ('memory', 'late')"),
        2);
}

Test(service, the_database_dies_and_nobody_loses_anything)
{
    start();
    bed_wait(healthy, NULL, "healthy");
    expect(200, "PUT", "/items/before?ack=l3", "1");
    cr_assert(mariadb_kill(database));
    bed_wait(sql_is_down, NULL, "sql_is_down");
    expect(200, "PUT", "/items/during", "2");        /* acknowledged by the WAL */
    expect(202, "PUT", "/items/wanted?ack=l3", "3"); /* only the database could confirm that */
    expect_body("/items/before", "1");
    expect_body("/items/during", "2");
    expect(200, "DELETE", "/items/before", NULL);
    expect(404, "GET", "/items/before", NULL);
    cr_assert_eq(stop(), 0, "what the database cannot take is in the WAL");

    start(); /* a new process, with nothing but the WAL and Redis */
    bed_wait(sql_is_down, NULL, "sql_is_down");
    expect_body("/items/during", "2");
    expect_body("/items/wanted", "3");
    expect(404, "GET", "/items/before", NULL);
    expect(503, "GET", "/items/unknown", NULL); /* an outage is not a "no" */
    cr_assert(says("Retry-After: "), "%s", answer);
    expect(503, "GET", "/reports/unknown", NULL); /* nor a reason to make what may be there */
    cr_assert(says("Retry-After: "), "%s", answer);
    cr_assert_gt(metric("sync_engine_wal_entries{engine=\"shop\"}"), 0);

    cr_assert(mariadb_restart(database));
    bed_wait(wal_is_empty, NULL, "wal_is_empty");
    expect(404, "GET", "/items/unknown", NULL);
    expect(200, "GET", "/reports/unknown", NULL);
    cr_assert_eq(stop(), 0);
    cr_assert_eq(
        mariadb_number(
            database,
            "SELECT COUNT(*) FROM sync_items WHERE id IN ('during', 'wanted') AND deleted = 0"),
        2);
    cr_assert_eq(
        mariadb_number(database,
                       "SELECT COUNT(*) FROM sync_items WHERE id = 'before' AND deleted = 0"),
        0);
}

Test(service, full_queues_are_503_with_a_time_and_every_200_is_kept)
{
    static char body[4000];
    char path[64];
    int taken = 0;
    unsetenv("SYNC_ENGINE_WAL_PATH");
    set("SYNC_ENGINE_QUEUE_MAX_BYTES", "256KiB");
    start();
    bed_wait(healthy, NULL, "healthy");
    cr_assert(mariadb_kill(database));
    memset(body, 'x', sizeof body - 1);
    for (int status = 200; status == 200; taken += status == 200) {
        snprintf(path, sizeof path, "/items/%d?ack=memory", taken);
        status = ask("PUT", path, body);
        cr_assert(status == 200 || status == 503, "%s", answer);
        cr_assert_lt(taken, 1000);
    }
    cr_assert(says("Retry-After: "), "%s", answer);
    cr_assert_gt(taken, 10);
    cr_assert(mariadb_restart(database));
    bed_wait(healthy, NULL, "healthy");
    cr_assert_eq(stop(), 0);
    cr_assert_eq(
        mariadb_number(database, "SELECT COUNT(*) FROM sync_items WHERE id REGEXP '^[0-9]+$'"),
        taken);
}
