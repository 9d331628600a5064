/*
 * Servers behind the proxy, one question at a time: what half-open connections cost, whether opening and closing keep their time in an
 * outage, and a reply that never ends.
 *
 * Times are judged generously: what they are told from is minutes, or for ever.
 */
#include "fault/outage.h"
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READERS 4u
#define SLACK_MS 3000u
#define PATIENCE_MS 20000u

static struct outage_site site;
static char sql[256], redis[256], wal[256];

static void setup(void)
{
    outage_site_start(&site, 1);
}

static void teardown(void)
{
    outage_site_stop(&site);
}

TestSuite(outage_edges, .init = setup, .fini = teardown);

static void quiet(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    (void)message;
}

static struct proxy *configure(se_config *c, bool at_redis)
{
    char text[64];
    redis_server_ask(&site.redis, text, sizeof text, "FLUSHALL");
    cr_assert(mariadb_exec(site.mariadb, "DROP TABLE IF EXISTS sync_items; "
                                         "DROP TABLE IF EXISTS sync_items_meta"));
    (void)snprintf(sql, sizeof sql, "mysql://app@127.0.0.1:%u/t", proxy_port(site.sql_proxy));
    (void)snprintf(redis, sizeof redis, "redis://127.0.0.1:%u", proxy_port(site.redis_proxy));
    test_dir_path(&site.dir, "", "wal.db", wal);
    (void)unlink(wal);
    se_config_init(c);
    c->redis_url = at_redis ? redis : NULL;
    c->sql_url = at_redis ? NULL : sql;
    c->wal_path = wal;
    c->batch_flush_ms = 10;
    c->read_connections = READERS;
    c->circuit_failures = 1000;
    c->circuit_open_ms = 100;
    c->log_fn = quiet;
    return at_redis ? site.redis_proxy : site.sql_proxy;
}

static se_engine *open_engine(const se_config *c)
{
    se_engine *e = NULL;
    cr_assert_eq(se_open(c, &e), SE_OK, "%s", se_errmsg());
    return e;
}

static void put(se_engine *e, char kind, unsigned n)
{
    char id[TRAFFIC_ID];
    for (unsigned i = 0; i < n; i++) {
        traffic_id(id, kind, i);
        cr_assert_eq(se_submit(e, id, id, strlen(id), NULL), SE_OK, "%s", se_errmsg());
    }
}

/* ---- half-open connections ---- */

struct reader {
    struct se__thread thread;
    se_engine *e;
    unsigned number;
    atomic_bool *stop;
};

static se_result read_one(se_engine *e, unsigned i)
{
    char id[TRAFFIC_ID];
    se_item *item;
    traffic_id(id, 'c', i);
    se_result r = se_get(e, id, &item);
    if (r == SE_OK)
        se_item_release(item);
    return r;
}

static void read_on(void *arg)
{
    struct reader *r = arg;
    while (!atomic_load(r->stop)) {
        char id[TRAFFIC_ID];
        traffic_id(id, 'c', r->number);
        (void)se_invalidate(r->e, id);
        (void)read_one(r->e, r->number);
    }
}

/* More readers than connections, and late answers: somebody always waits for one more. */
static void open_all_connections(se_engine *e, struct proxy *proxy)
{
    struct reader readers[2 * READERS] = {0};
    atomic_bool stop = false;
    uint64_t deadline = se__deadline_in(PATIENCE_MS);
    proxy_set(proxy, &(struct proxy_plan){.what = PROXY_DELAY, .ms = 20});
    uint64_t enough = proxy_count(proxy).accepted + READERS - 1;
    for (unsigned i = 0; i < 2 * READERS; i++) {
        readers[i] = (struct reader){.e = e, .number = i, .stop = &stop};
        cr_assert_eq(se__thread_start(&readers[i].thread, "reader", read_on, &readers[i]), SE_OK);
    }
    while (proxy_count(proxy).accepted < enough && se__deadline_left(deadline))
        se__pause_ms(1);
    se__pause_ms(300); /* the last one is introduced: if not, it is one idle connection less */
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2 * READERS; i++)
        se__thread_join(&readers[i].thread);
    proxy_set(proxy, NULL);
    cr_assert_geq(proxy_count(proxy).accepted, enough);
    cr_assert_eq(se_invalidate_prefix(e, "c:"), SE_OK, "%s", se_errmsg());
}

static void vanish(bool at_redis)
{
    se_config c;
    struct proxy *proxy = configure(&c, at_redis);
    c.redis_timeout_ms = c.sql_timeout_ms = c.read_timeout_ms = 700;
    c.wal_path = NULL;
    se_engine *e = open_engine(&c);
    put(e, 'c', 40);
    cr_assert_eq(se_flush(e, 20000), SE_OK, "%s", se_errmsg());
    open_all_connections(e, proxy);
    proxy_set(proxy, &(struct proxy_plan){.what = PROXY_VANISH});
    cr_assert_eq(read_one(e, 0), SE_ERR_BACKEND);
    proxy_set(proxy, NULL);
    for (unsigned i = 1; i < 2 * READERS; i++)
        cr_assert_eq(read_one(e, i), SE_OK, "read %u after it came back: %s", i, se_errmsg());
    cr_assert_eq(se_close(e, 20000), SE_OK, "%s", se_errmsg());
}

Test(outage_edges, half_open_connections_cost_one_timeout_and_not_one_each)
{
    vanish(true);
    vanish(false);
}

/* ---- opening and closing ---- */

static const struct proxy_plan silences[] = {{.what = PROXY_MUTE},
                                             {.what = PROXY_VANISH},
                                             {.what = PROXY_DRIP, .ms = 900},
                                             {.what = PROXY_CUT_SILENT, .bytes = 5}};

static void open_and_close(bool at_redis, const struct proxy_plan *plan)
{
    se_config c;
    struct proxy *proxy = configure(&c, at_redis);
    c.redis_timeout_ms = c.sql_timeout_ms = 200;
    se_engine *e = open_engine(&c);
    put(e, 'c', 20);
    proxy_set(proxy, plan);
    put(e, 'd', 20);
    uint64_t began = se__mono_ms();
    cr_assert_eq(se_close(e, 200), SE_OK, "%s", se_errmsg());
    uint64_t took = se__mono_ms() - began;
    cr_assert_lt(took, 200 + SLACK_MS, "closing took %u ms in plan %d", (unsigned)took, plan->what);
    c.startup_timeout_ms = 200;
    began = se__mono_ms();
    e = open_engine(&c);
    took = se__mono_ms() - began;
    cr_assert_lt(took, 200 + SLACK_MS, "opening took %u ms in plan %d", (unsigned)took, plan->what);
    cr_assert_eq(read_one(e, 999), SE_ERR_BACKEND, "an outage is not a no");
    char id[TRAFFIC_ID];
    se_item *item;
    traffic_id(id, 'd', 7);
    cr_assert_eq(se_get(e, id, &item), SE_OK, "in the WAL, so at once: %s", se_errmsg());
    se_item_release(item);
    cr_assert_eq(se_close(e, 200), SE_OK, "%s", se_errmsg());
    proxy_set(proxy, NULL);
    c.startup_timeout_ms = 30000;
    e = open_engine(&c);
    for (uint64_t by = se__deadline_in(PATIENCE_MS); se_flush(e, 1000) != SE_OK; se__pause_ms(1))
        cr_assert(se__deadline_left(by), "what was in the WAL does not get home");
    cr_assert_eq(read_one(e, 999), SE_NOT_FOUND, "%s", se_errmsg());
    cr_assert_eq(se_close(e, 20000), SE_OK, "%s", se_errmsg());
}

Test(outage_edges, opening_and_closing_keep_their_time)
{
    open_and_close(true, &silences[0]);
    open_and_close(false, &silences[1]);
    open_and_close(false, &silences[2]);
    for (int i = 0; i < 4; i++) /* what a close waits for is a matter of chance */
        open_and_close(false, &silences[3]);
}

/* ---- a reply without end ---- */

static struct {
    int listener;
    atomic_bool stop;
    _Atomic uint64_t longest; /* bytes that one connection took */
    struct se__thread thread;
    char path[256];
} talker;

/* Bytes that are always there when somebody reads, until he has enough. */
static void talk_to(int fd)
{
    static char bytes[1 << 18] = "$900000000\r\n"; /* longer than any reply is allowed to be */
    uint64_t sent = 0;
    struct timeval often = {.tv_usec = 10000};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &often, sizeof often);
    while (!atomic_load(&talker.stop)) {
        ssize_t n = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            break;
        sent += n > 0 ? (uint64_t)n : 0;
    }
    if (sent > atomic_load(&talker.longest))
        atomic_store(&talker.longest, sent);
}

static void talk(void *arg)
{
    (void)arg;
    while (!atomic_load(&talker.stop)) {
        struct pollfd p = {.fd = talker.listener, .events = POLLIN};
        if (poll(&p, 1, 10) <= 0)
            continue;
        int fd = accept(talker.listener, NULL, NULL);
        talk_to(fd);
        close(fd);
    }
}

Test(outage_edges, a_reply_without_end_ends_at_the_timeout)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    se_config c;
    char url[300];
    (void)configure(&c, true);
    test_dir_path(&site.dir, "", "talker", talker.path);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", talker.path);
    talker.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(talker.listener, (struct sockaddr *)&a, sizeof a), 0);
    cr_assert_eq(listen(talker.listener, 8), 0);
    cr_assert_eq(se__thread_start(&talker.thread, "talker", talk, NULL), SE_OK);
    (void)snprintf(url, sizeof url, "unix://%s", talker.path);
    c.redis_url = url;
    c.redis_timeout_ms = 20;
    c.startup_timeout_ms = 300;
    se_engine *e = open_engine(&c);
    cr_assert_eq(read_one(e, 1), SE_ERR_BACKEND);
    cr_assert_eq(se_close(e, 300), SE_OK, "%s", se_errmsg());
    atomic_store(&talker.stop, true);
    se__thread_join(&talker.thread);
    uint64_t longest = atomic_load(&talker.longest);
    cr_assert(longest > 0 && longest < 500u << 20, "%llu bytes were taken in 20 ms",
              (unsigned long long)longest);
    close(talker.listener);
}
