/*
 * What goes wrong: forgotten scripts, deadlines, servers that stop, restart, refuse, lie or run out
 * of memory.
 */
#include "l2/fixture.h"

#include "support/random.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void setup(void)
{
    l2_start(&(struct redis_server_options){.tcp = true}, NULL);
}

TestSuite(l2_faults, .init = setup, .fini = l2_teardown);

static void ask(const char *command)
{
    char out[256];
    redis_server_ask(&server, out, sizeof out, command);
    cr_assert(strncmp(out, "(error)", 7) != 0, "%s: %s", command, out);
}

/* One write that need not succeed; releases the item. */
static struct tier_reply try_put(struct l2 *l, se_item *item, uint32_t ms, enum tier_state *state)
{
    struct tier_write write = {.item = item, .kind = RECORD_ITEM};
    struct tier_reply reply = l->tier.ops->write(l->tier.self, 0, &write, 1, se__deadline_in(ms));
    se_item_release(item);
    if (state)
        *state = write.state;
    return reply;
}

static struct tier_reply try_get(struct l2 *l, const char *id, uint32_t ms)
{
    struct tier_read read = {.id = id, .id_len = strlen(id)};
    struct tier_reply reply = l->tier.ops->read(l->tier.self, &read, 1, se__deadline_in(ms));
    cr_assert(reply.fault == TIER_FINE || !read.item);
    se_item_release(read.item);
    return reply;
}

/* Until the server has called a command so many times. */
static void wait_for_calls(const char *command, int calls)
{
    char stats[8192], what[64];
    snprintf(what, sizeof what, "cmdstat_%s:calls=", command);
    for (uint64_t end = se__deadline_in(PATIENCE_MS); se__deadline_left(end) > 0;) {
        redis_server_ask(&server, stats, sizeof stats, "INFO commandstats");
        const char *at = strstr(stats, what);
        if (at && atoi(at + strlen(what)) >= calls)
            return;
    }
    cr_assert(false, "%s was not called", command);
}

/* ---- scripts and deadlines ---- */

Test(l2_faults, forgotten_scripts_are_loaded_again)
{
    l2_put(&l2, l2_item("a", "x", 1), RECORD_ITEM);
    ask("SCRIPT FLUSH");
    cr_assert_eq(l2_put(&l2, l2_item("a", "y", 2), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&l2, "a", "y", 2));
    ask("SCRIPT FLUSH");
    cr_assert_eq(l2.tier.ops->meta_put(l2.tier.self, "n", "v", se__deadline_in(PATIENCE_MS)).fault,
                 TIER_FINE);
}

Test(l2_faults, a_write_that_reaches_the_server_after_its_deadline_does_nothing)
{
    l2_put(&l2, l2_item("a", "x", 1), RECORD_ITEM);
    ask("CONFIG RESETSTAT");
    redis_server_pause(&server);
    struct tier_reply reply = try_put(&l2, l2_item("a", "late", 2), 150, NULL);
    cr_assert_eq(reply.fault, TIER_UNWELL);
    cr_assert(reply.timed_out);
    redis_server_resume(&server);
    wait_for_calls("evalsha", 1); /* it did come to the server */
    cr_assert(l2_holds(&l2, "a", "x", 1));
}

Test(l2_faults, a_deadline_that_has_passed_asks_nobody)
{
    l2_put(&l2, l2_item("a", "x", 1), RECORD_ITEM);
    struct tier_reply reply = try_put(&l2, l2_item("a", "y", 2), 0, NULL);
    cr_assert_eq(reply.fault, TIER_UNWELL);
    cr_assert(l2_holds(&l2, "a", "x", 1));
}

/* ---- a stopped server ---- */

Test(l2_faults, a_stopped_server_costs_the_deadline_and_the_connection)
{
    l2_put(&l2, l2_item("a", "of a", 1), RECORD_ITEM);
    l2_put(&l2, l2_item("b", "of b", 1), RECORD_ITEM);
    redis_server_pause(&server);
    uint64_t began_ms = se__mono_ms();
    struct tier_reply reply = try_get(&l2, "a", 150);
    uint64_t took_ms = se__mono_ms() - began_ms;
    cr_assert_eq(reply.fault, TIER_UNWELL);
    cr_assert(reply.timed_out);
    cr_assert(took_ms >= 140 && took_ms < 3000, "%u ms", (unsigned)took_ms);
    redis_server_resume(&server);
    /* The late answer about a must not be taken for one about b. */
    cr_assert(l2_holds(&l2, "b", "of b", 1));
    cr_assert(l2_holds(&l2, "a", "of a", 1));
}

Test(l2_faults, one_round_trip_takes_at_most_timeout_ms)
{
    struct l2 quick;
    l2_open(&quick, &server, &(struct l2_options){.timeout_ms = 200});
    redis_server_pause(&server);
    uint64_t began_ms = se__mono_ms();
    struct tier_reply reply = try_get(&quick, "a", 60000);
    cr_assert_eq(reply.fault, TIER_UNWELL);
    cr_assert(se__mono_ms() - began_ms < 5000);
    /* And so does connecting. */
    began_ms = se__mono_ms();
    reply = try_get(&quick, "a", 60000);
    cr_assert_eq(reply.fault, TIER_UNWELL);
    cr_assert(se__mono_ms() - began_ms < 5000);
    redis_server_resume(&server);
    l2_close(&quick);
}

Test(l2_faults, a_dead_server_is_unwell_at_once_and_back_when_it_is_back)
{
    redis_server_kill(&server);
    cr_assert_eq(try_get(&l2, "a", 1000).fault, TIER_UNWELL);
    cr_assert_eq(try_put(&l2, l2_item("a", "x", 1), 1000, NULL).fault, TIER_UNWELL);
    cr_assert_eq(l2.tier.ops->probe(l2.tier.self, se__deadline_in(1000)).fault, TIER_UNWELL);
    cr_assert_eq(l2.tier.ops->prepare(l2.tier.self, se__deadline_in(1000)), SE_ERR_BACKEND);
    redis_server_restart(&server, true);
    cr_assert_eq(l2.tier.ops->probe(l2.tier.self, se__deadline_in(PATIENCE_MS)).fault, TIER_FINE);
}

/* ---- another server ---- */

Test(l2_faults, a_restarted_server_is_void_until_it_is_accepted)
{
    char before[128], after[128];
    l2_put(&l2, l2_item("a", "x", 1), RECORD_ITEM);
    cr_assert(se__redis_identity(l2.redis, before));
    redis_server_restart(&server, false);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    cr_assert(!se__redis_identity(l2.redis, after));
    cr_assert(strcmp(before, after) != 0);
    cr_assert_eq(try_put(&l2, l2_item("a", "x", 2), PATIENCE_MS, NULL).fault, TIER_UNWELL);

    const char *id = "a";
    struct tier_read read = {.id = id, .id_len = 1, .found = TIER_ABSENT};
    struct redis_lease lease = {.taken = true};
    struct tier_ids ids;
    uint64_t deadline = se__deadline_in(PATIENCE_MS);
    cr_assert_eq(se__redis_lease(l2.redis, &read, &lease, 1, deadline).fault, TIER_FINE);
    cr_assert(!lease.taken);
    cr_assert_eq(se__redis_void(l2.redis, &id, 1, deadline).fault, TIER_UNWELL);
    cr_assert_eq(l2.tier.ops->list(l2.tier.self, "", &ids, deadline).fault, TIER_UNWELL);
    char out[64];
    redis_server_ask(&server, out, sizeof out, "DBSIZE");
    cr_assert_str_eq(out, "0");

    l2_accept(&l2, GENERATION + 1);
    cr_assert(se__redis_identity(l2.redis, after));
    cr_assert_eq(l2_put(&l2, l2_item("a", "x", 2), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&l2, "a", "x", 2));
}

Test(l2_faults, nothing_is_accepted_by_itself)
{
    struct l2 fresh;
    char identity[128];
    l2_open(&fresh, &server, &(struct l2_options){.not_accepted = true});
    cr_assert(!se__redis_identity(fresh.redis, identity));
    cr_assert_str_eq(identity, "");
    l2_put(&l2, l2_item("a", "x", 1), RECORD_ITEM);
    cr_assert_eq(l2_get(&fresh, "a", NULL), TIER_VOID);
    cr_assert(!se__redis_identity(fresh.redis, identity));
    cr_assert_neq(identity[0], '\0');
    l2_close(&fresh);
}

/* A master that became a replica, and a master again: its data may be another's. */
Test(l2_faults, a_change_of_replication_id_is_another_server)
{
    char identity[128];
    l2_put(&l2, l2_item("a", "x", 1), RECORD_ITEM);
    ask("REPLICAOF 127.0.0.1 1");
    struct tier_reply reply = try_put(&l2, l2_item("a", "y", 2), PATIENCE_MS, NULL);
    cr_assert_eq(reply.fault, TIER_UNWELL);
    cr_assert(strstr(se_errmsg(), "READONLY"), "%s", se_errmsg());
    ask("REPLICAOF NO ONE");
    cr_assert_eq(try_put(&l2, l2_item("a", "y", 2), PATIENCE_MS, NULL).fault, TIER_UNWELL);
    cr_assert(!se__redis_identity(l2.redis, identity));
}

Test(l2_faults, a_home_accepts_every_server)
{
    struct l2 home;
    char identity[128];
    l2_open(&home, &server, &(struct l2_options){.home = true});
    cr_assert(se__redis_identity(home.redis, identity));
    cr_assert_eq(l2_put(&home, l2_item("a", "x", 1), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&home, "a", "x", 1));
    redis_server_restart(&server, false);
    cr_assert_eq(l2_get(&home, "a", NULL), TIER_ABSENT);
    cr_assert_eq(l2_put(&home, l2_item("a", "x", 1), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&home, "a", "x", 1));
    cr_assert_eq(se__redis_generation(home.redis), 0u);
    /* A tombstone is all that tells of a delete here: it lives for a day. */
    cr_assert_eq(l2_put(&home, l2_tombstone("a", 2), RECORD_TOMBSTONE), TIER_STORED);
    cr_assert(l2_pttl(&home, "a") > 86000000);
    l2_close(&home);
}

/* ---- a server that refuses ---- */

Test(l2_faults, out_of_memory_is_unwell_and_passes)
{
    l2_put(&l2, l2_item("a", "x", 1), RECORD_ITEM);
    ask("CONFIG SET maxmemory 1");
    struct tier_reply reply = try_put(&l2, l2_item("a", "y", 2), PATIENCE_MS, NULL);
    cr_assert_eq(reply.fault, TIER_UNWELL);
    cr_assert(!reply.timed_out);
    cr_assert(strstr(se_errmsg(), "OOM"), "%s", se_errmsg());
    cr_assert(l2_holds(&l2, "a", "x", 1));
    ask("CONFIG SET maxmemory 0");
    cr_assert_eq(l2_put(&l2, l2_item("a", "y", 2), RECORD_ITEM), TIER_STORED);
}

Test(l2_faults, what_is_too_large_for_the_server_is_refused)
{
    size_t len = 8u << 20;
    char *content = malloc(len + 1);
    memset(content, 'x', len);
    content[len] = '\0';
    ask("CONFIG SET proto-max-bulk-len 1048576");
    struct l2 tcp;
    l2_open(&tcp, &server, &(struct l2_options){.tcp = true});
    struct l2 *both[] = {&l2, &tcp};
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(try_put(both[i], l2_item("big", content, 2), PATIENCE_MS, NULL).fault,
                     TIER_REFUSED, "%zu: %s", i, se_errmsg());
        cr_assert_eq(l2_put(both[i], l2_item("small", "x", 2), RECORD_ITEM), TIER_STORED);
    }
    l2_close(&tcp);
    free(content);
}

Test(l2_faults, a_key_of_another_type_under_the_meta_name_is_unwell)
{
    char out[64];
    struct buf value = {0};
    bool found = true;
    redis_server_ask(&server, out, sizeof out, "SET %s\x01meta x", PREFIX);
    uint64_t deadline = se__deadline_in(PATIENCE_MS);
    cr_assert_eq(l2.tier.ops->meta_get(l2.tier.self, "n", &value, &found, deadline).fault,
                 TIER_UNWELL);
    cr_assert(!found);
    cr_assert(strstr(se_errmsg(), "WRONGTYPE"), "%s", se_errmsg());
    se__buf_done(&value);
}

/* ---- addresses and passwords ---- */

Test(l2_faults, tcp_and_a_database_number_work)
{
    struct l2 tcp;
    char url[256], out[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%u/3", server.port);
    l2_open(&tcp, &server, &(struct l2_options){.url = url});
    cr_assert_eq(l2_put(&tcp, l2_item("a", "in 3", 1), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&tcp, "a", "in 3", 1));
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_ABSENT);
    redis_server_ask(&server, out, sizeof out, "DBSIZE");
    cr_assert_str_eq(out, "0");
    l2_close(&tcp);
}

static void expect_refusal(const char *url, const char *words, const char *secret)
{
    struct l2 l;
    l2_open(&l, &server, &(struct l2_options){.url = url, .not_accepted = true});
    cr_assert_eq(l.tier.ops->prepare(l.tier.self, se__deadline_in(PATIENCE_MS)), SE_ERR_BACKEND);
    cr_assert(strstr(se_errmsg(), words), "%s", se_errmsg());
    cr_assert_null(strstr(se_errmsg(), secret), "%s", se_errmsg());
    l2_close(&l);
}

Test(l2_faults, a_wrong_password_is_told_without_it)
{
    char url[256];
    ask("CONFIG SET requirepass right-word");
    snprintf(url, sizeof url, "redis://:wrong-word@127.0.0.1:%u", server.port);
    expect_refusal(url, "WRONGPASS", "wrong-word");
    snprintf(url, sizeof url, "redis://nobody:wrong-word@127.0.0.1:%u", server.port);
    expect_refusal(url, "WRONGPASS", "wrong-word");
    snprintf(url, sizeof url, "redis://127.0.0.1:%u", server.port);
    expect_refusal(url, "NOAUTH", "right-word");
    snprintf(url, sizeof url, "redis://:right-word@127.0.0.1:%u/99999", server.port);
    expect_refusal(url, "SELECT", "right-word");
    struct l2 l;
    snprintf(url, sizeof url, "redis://:right-word@127.0.0.1:%u", server.port);
    l2_open(&l, &server, &(struct l2_options){.url = url});
    cr_assert_eq(l2_put(&l, l2_item("a", "x", 1), RECORD_ITEM), TIER_STORED);
    l2_close(&l);
}

/* A server without AUTH answers "unknown command 'AUTH', with args
 * beginning with: 'the password'". */
Test(l2_faults, a_server_that_repeats_the_password_is_not_quoted)
{
    char url[256];
    redis_server_stop(&server);
    redis_server_start(&server, &(struct redis_server_options){
                                    .tcp = true, .extra = {"--rename-command", "AUTH", ""}});
    snprintf(url, sizeof url, "redis://:open-sesame@127.0.0.1:%u", server.port);
    expect_refusal(url, "AUTH", "open-sesame");
}

/* ---- a server that lies ---- */

struct liar {
    int fd;
    const char *bytes;
    size_t len;
    char path[64], dir[32];
    struct se__thread thread;
    _Atomic bool stop;
};

/* Answers whatever comes with the same bytes, until told to stop. */
static void lie(void *arg)
{
    struct liar *l = arg;
    char heard[65536];
    while (!l->stop) {
        struct pollfd p = {.fd = l->fd, .events = POLLIN};
        if (poll(&p, 1, 20) <= 0)
            continue;
        int c = accept(l->fd, NULL, NULL);
        struct pollfd q = {.fd = c, .events = POLLIN};
        while (!l->stop && poll(&q, 1, 20) >= 0) {
            if (!(q.revents & POLLIN))
                continue;
            if (read(c, heard, sizeof heard) <= 0 || send(c, l->bytes, l->len, MSG_NOSIGNAL) < 0)
                break;
        }
        close(c);
    }
}

static void liar_start(struct liar *l, const char *bytes, size_t len)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    *l = (struct liar){.bytes = bytes, .len = len, .dir = "/dev/shm/se-liar-XXXXXX"};
    cr_assert_neq(mkdtemp(l->dir), NULL);
    snprintf(l->path, sizeof l->path, "%s/s", l->dir);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", l->path);
    l->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(l->fd, (struct sockaddr *)&a, sizeof a), 0);
    cr_assert_eq(listen(l->fd, 8), 0);
    cr_assert_eq(se__thread_start(&l->thread, "liar", lie, l), SE_OK);
}

static void liar_stop(struct liar *l)
{
    l->stop = true;
    se__thread_join(&l->thread);
    close(l->fd);
    unlink(l->path);
    rmdir(l->dir);
}

Test(l2_faults, lies_are_told_as_a_server_that_is_unwell)
{
    static const char *const LIES[] = {
        "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "$-1\r\n$-1\r\n$-1\r\n$-1\r\n",
        "*-1\r\n*-1\r\n*-1\r\n*-1\r\n",
        "*2147483647\r\n",
        "*99999999999999999999\r\n",
        "$2147483647\r\nx",
        "$-5\r\n",
        ":1\r\n:1\r\n:1\r\n:1\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        "-\r\n-\r\n-\r\n",
        "+OK\r\n$13\r\nrun_id:\r\n\r\n\r\n\r\n$7\r\nrun_id:\r\n",
        "+OK\r\n$10\r\nrun_id:abc\r\n$17\r\nmaster_replid:def\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nz\r\n",
    };
    for (size_t i = 0; i < sizeof LIES / sizeof *LIES; i++) {
        struct liar liar;
        struct l2 l;
        char url[128];
        liar_start(&liar, LIES[i], strlen(LIES[i]));
        snprintf(url, sizeof url, "unix://%s", liar.path);
        l2_open(&l, &server,
                &(struct l2_options){.url = url, .not_accepted = true, .timeout_ms = 200});
        cr_assert_eq(try_get(&l, "a", 1000).fault, TIER_UNWELL, "%zu", i);
        cr_assert_neq(se_errmsg()[0], '\0');
        l2_close(&l);
        liar_stop(&liar);
    }
}

/* ---- many at once ---- */

#define THREADS 4
#define WRITES 300

struct hand {
    unsigned number;
    struct se__thread thread;
    uint64_t best[8];
};

static void write_some(void *arg)
{
    struct hand *h = arg;
    uint64_t x = 88172645463325252u + h->number;
    char id[8];
    for (int i = 0; i < WRITES; i++) {
        uint64_t version = random_next(&x) % 100000 + 1;
        snprintf(id, sizeof id, "h%u", (unsigned)(i % 8));
        struct tier_write w = {.item = l2_item(id, "same", version), .kind = RECORD_ITEM};
        struct tier_reply reply =
            l2.tier.ops->write(l2.tier.self, h->number, &w, 1, se__deadline_in(PATIENCE_MS));
        if (reply.fault == TIER_FINE && version > h->best[i % 8])
            h->best[i % 8] = version;
        se_item_release(w.item);
        try_get(&l2, id, PATIENCE_MS);
    }
}

Test(l2_faults, workers_side_by_side_end_with_the_newest)
{
    struct hand hands[THREADS] = {{0}};
    char id[8];
    l2_close(&l2);
    l2_open(&l2, &server, &(struct l2_options){.workers = THREADS, .readers = 2});
    for (unsigned i = 0; i < THREADS; i++) {
        hands[i].number = i;
        cr_assert_eq(se__thread_start(&hands[i].thread, "hand", write_some, &hands[i]), SE_OK);
    }
    for (unsigned i = 0; i < THREADS; i++)
        se__thread_join(&hands[i].thread);
    for (unsigned k = 0; k < 8; k++) {
        uint64_t best = 0;
        for (unsigned i = 0; i < THREADS; i++)
            best = hands[i].best[k] > best ? hands[i].best[k] : best;
        snprintf(id, sizeof id, "h%u", k);
        cr_assert(l2_holds(&l2, id, "same", best));
    }
}
