/*
 * Tests of src/http/server.c and http.c: the endpoint as a scraper sees it, and as an abuser does.
 */
#include "support/test.h"

#include "base/os.h"
#include "support/http_client.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static se_engine *engine;
static uint16_t port;

static void open_engine(void)
{
    se_config c;
    se_config_init(&c);
    c.l1_max_bytes = (size_t)16 << 20;
    cr_assert_eq(se_open(&c, &engine), SE_OK, "%s", se_errmsg());
    port = 0;
    cr_assert_eq(se_http_start(engine, NULL, &port), SE_OK, "%s", se_errmsg());
}

static void close_engine(void)
{
    cr_assert_eq(se_close(engine, 10000), SE_OK);
}

TestSuite(server, .init = open_engine, .fini = close_engine);

static char answer[HTTP_ANSWER_MAX];

static const char *get(const char *path)
{
    (void)http_get(port, path, answer);
    return answer;
}

static const char *ask(const char *request, size_t len)
{
    int fd = http_dial(port);
    (void)http_say(fd, request, len); /* it may have answered and closed before all was sent */
    cr_assert(http_hear(fd, answer, sizeof answer), "no end of the answer");
    se__net_close(fd);
    return answer;
}

#define TEXT(literal) (literal), sizeof(literal) - 1

static void expect_status(const char *text, int status)
{
    cr_assert_eq(http_status(text), status, "%.60s", text);
}

/* ---- as meant ---- */

Test(server, pages_are_served)
{
    expect_status(get("/metrics"), 200);
    cr_assert_not_null(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
    cr_assert_not_null(strstr(answer, "sync_engine_build_info"));
    expect_status(get("/ready?verbose=1"), 200);
    expect_status(get("/health"), 200);
    expect_status(get("/nothing"), 404);
    expect_status(ask(TEXT("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")),
                  405);
    cr_assert_not_null(strstr(answer, "Allow: GET"));
}

Test(server, it_goes_on_through_shutdown_and_ends_with_stop)
{
    cr_assert_eq(se_shutdown(engine, 10000), SE_OK);
    expect_status(get("/ready"), 503);
    se_http_stop(engine);
    int fd;
    cr_assert_neq(se__net_connect("127.0.0.1", port, NULL, se__deadline_in(HTTP_PATIENCE_MS), &fd),
                  SE_OK);
    se_http_stop(engine); /* nothing runs: nothing happens */
    se_http_stop(NULL);
}

Test(server, it_can_be_started_again_at_the_same_port)
{
    uint16_t another = 0, same = port;
    cr_assert_eq(se_http_start(engine, NULL, &another), SE_ERR_STATE);
    cr_assert_not_null(strstr(se_errmsg(), "runs already"));
    cr_assert_eq(another, 0);
    se_http_stop(engine);
    cr_assert_eq(se_http_start(engine, "127.0.0.1", &same), SE_OK, "%s", se_errmsg());
    cr_assert_eq(same, port);
    expect_status(get("/ready"), 200);
}

Test(server, what_cannot_be_is_refused_with_its_reason)
{
    se_http_stop(engine);
    uint16_t p = 0;
    cr_assert_eq(se_http_start(NULL, NULL, &p), SE_ERR_INVALID);
    cr_assert_eq(se_http_start(engine, NULL, NULL), SE_ERR_INVALID);
    static const char *const bad[] = {"", "localhost", "127.0.0.1:80", "1.2.3", "::g", "[::1]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(se_http_start(engine, bad[i], &p), SE_ERR_INVALID, "%s", bad[i]);
        cr_assert_not_null(strstr(se_errmsg(), "IPv4"), "%s", se_errmsg());
    }
    cr_assert_eq(se_http_start(engine, "203.0.113.7", &p), SE_ERR_IO, "not an address of ours");
    int fd;
    uint16_t taken = 0;
    cr_assert_eq(se__net_listen("127.0.0.1", &taken, &fd), SE_OK);
    p = taken;
    cr_assert_eq(se_http_start(engine, NULL, &p), SE_ERR_IO);
    cr_assert_not_null(strstr(se_errmsg(), "in use"), "%s", se_errmsg());
    se__net_close(fd);
}

/* ---- as not meant ---- */

Test(server, garbage_and_too_much_of_it_get_a_4xx_or_an_end)
{
    static char big[64 * 1024];
    memset(big, 'a', sizeof big);
    int len = snprintf(big, 64, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: ");
    big[len] = 'a';
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {
        {TEXT("\0\1\2\3\xff\xfe\r\n\r\n")},
        {TEXT("GET\r\n\r\n")},
        {TEXT("GET /metrics HTTP/9.9\r\n\r\n")},
        {TEXT("GET /metrics HTTP/1.1\r\n\r\n")},                        /* without a Host */
        {TEXT("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")}, /* TLS */
        {TEXT("GET /%00%ff%zz/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n")},
        {big, sizeof big},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd = http_dial(port);
        (void)http_say(fd, bad[i].text, bad[i].len);
        (void)shutdown(fd, SHUT_WR);
        cr_assert(http_hear(fd, answer, sizeof answer), "garbage %zu: no end", i);
        if (answer[0])
            cr_assert(answer[9] == '4' || answer[9] == '5', "garbage %zu: %.40s", i, answer);
        cr_assert_null(strstr(answer, "sync_engine_"), "garbage %zu", i);
    }
    expect_status(get("/ready"), 200);
}

#define CROWD 100 /* more than it takes at once */

/* Each says a little now and then, so that it is never quiet for long, and never comes to an end. */
Test(server, a_crowd_that_dawdles_is_sent_away)
{
    int crowd[CROWD];
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = http_dial(port);
        (void)http_say(crowd[i], TEXT("GET /metrics HTTP/1.1\r\nX: "));
    }
    int fd = http_dial(port); /* waits behind them */
    cr_assert(http_say(fd, TEXT("GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")));
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t deadline = se__deadline_in(HTTP_PATIENCE_MS);
    while (poll(&p, 1, 100) == 0 && se__deadline_left(deadline) > 0)
        for (int i = 0; i < CROWD; i++)
            (void)http_say(crowd[i], TEXT("a"));
    cr_assert(http_hear(fd, answer, sizeof answer));
    expect_status(answer, 200);
    se__net_close(fd);
    for (int i = 0; i < CROWD; i++)
        se__net_close(crowd[i]);
    expect_status(get("/ready"), 200);
}

/* ---- many at once ---- */

#define SCRAPERS 8
#define SCRAPES 50

static void scrape(void *arg)
{
    unsigned *good = arg;
    char *text = malloc(256 * 1024);
    for (int i = 0; text && i < SCRAPES; i++) {
        int fd = http_dial(port);
        bool done = http_say(fd, TEXT("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")) &&
                    http_hear(fd, text, 256 * 1024);
        *good += done && http_status(text) == 200;
        se__net_close(fd);
    }
    free(text);
}

Test(server, scrapers_writers_and_a_stop_at_once)
{
    struct se__thread threads[SCRAPERS] = {{0}};
    unsigned good[SCRAPERS] = {0};
    for (int i = 0; i < SCRAPERS; i++)
        cr_assert_eq(se__thread_start(&threads[i], "scraper", scrape, &good[i]), SE_OK);
    for (int i = 0; i < 20000; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i % 100);
        cr_assert_eq(se_submit(engine, id, "x", 1, NULL), SE_OK);
    }
    for (int i = 0; i < SCRAPERS; i++) {
        se__thread_join(&threads[i]);
        cr_assert_eq(good[i], SCRAPES);
    }
    int half = http_dial(port); /* stopped in the middle of a request */
    cr_assert(http_say(half, TEXT("GET /metr")));
    se_http_stop(engine);
    cr_assert(http_hear(half, answer, sizeof answer));
    se__net_close(half);
}
