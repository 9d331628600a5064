/*
 * bench_l2 - rows 10 and 15: Redis, written in batches through the tier and read one by one through
 * se_get.
 *
 * The peer is bare hiredis on the same server over the same socket: 1000 SETs in a pipeline, or one
 * GET.
 */
#include "batches.h"
#include "reads.h"

#include "support/redis_server.h"

#include "base/os.h"
#include "l2/redis.h"

#include <hiredis/hiredis.h>
#include <string.h>

#define KEYS 100000u
#define ITEMS 50000u /* a round */

struct job {
    const struct bench *b;
    struct keys keys;
    struct tier tier;
    redisContext *hiredis;
    struct meter ours, theirs;
};

static double send_ours(void *arg)
{
    struct job *j = arg;
    struct batches b = batches_random(j->b, &j->keys, ITEMS);
    meter_begin(&j->ours);
    double figure = batches_send(&j->tier, &b);
    meter_end(&j->ours, b.n * b.size);
    batches_free(&b);
    return figure;
}

/* ---- the peer ---- */

static void set_batch(redisContext *c, const struct tier_write *writes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char key[8 + BENCH_ID_LEN] = "bare:";
        memcpy(key + 5, se_item_id(writes[i].item), BENCH_ID_LEN);
        const char *argv[] = {"SET", key, se_item_content(writes[i].item)};
        size_t len[] = {3, 5 + BENCH_ID_LEN, BENCH_CONTENT_LEN};
        redisAppendCommandArgv(c, 3, argv, len);
    }
    for (size_t i = 0; i < n; i++) {
        redisReply *reply = NULL;
        if (redisGetReply(c, (void **)&reply) != REDIS_OK || reply->type != REDIS_REPLY_STATUS)
            bench_fail("hiredis: SET: %s", c->errstr);
        freeReplyObject(reply);
    }
}

static double send_bare(void *arg)
{
    struct job *j = arg;
    struct batches b = batches_random(j->b, &j->keys, ITEMS);
    meter_begin(&j->theirs);
    uint64_t start = se__mono_ns();
    for (size_t i = 0; i < b.n; i++)
        set_batch(j->hiredis, b.writes + i * b.size, b.size);
    double figure = (double)(b.n * b.size) / (double)(se__mono_ns() - start) * 1e6;
    meter_end(&j->theirs, b.n * b.size);
    batches_free(&b);
    return figure;
}

static void get_one(void *arg, size_t i)
{
    struct job *j = arg;
    char id[BENCH_ID_LEN + 1];
    reads_id(i, id);
    redisReply *reply = redisCommand(j->hiredis, "GET sync:%b", id, (size_t)BENCH_ID_LEN);
    if (!reply || reply->type != REDIS_REPLY_STRING || reply->len < BENCH_CONTENT_LEN)
        bench_fail("hiredis: GET: %s", j->hiredis->errstr);
    freeReplyObject(reply);
}

static double get_bare(void *arg)
{
    return bench_p50_us(get_one, arg, READS);
}

/* ---- subjects ---- */

static void bench_flush(struct job *j, const char *url_text)
{
    struct url url;
    struct redis *redis;
    bench_check(se__url_parse("redis_url", url_text, &url), "url");
    struct redis_options o = {.url = &url,
                              .prefix = "flush:",
                              .timeout_ms = 30000,
                              .read_connections = 1,
                              .workers = 1,
                              .home = true};
    bench_check(se__redis_open(&o, &j->tier, &redis), "redis");
    bench_check(j->tier.ops->prepare(j->tier.self, se__deadline_in(5000)), "redis");
    j->keys = keys_make(bench_scaled(j->b, KEYS));
    batches_load(&j->tier, &j->keys);
    struct bench_side sides[] = {
        {.name = "ours", .run = send_ours, .arg = j},
        {.name = "hiredis SET pipeline",
         .run = send_bare,
         .arg = j,
         .kind = batches_usual(j->b) ? BENCH_RATIO_MIN : BENCH_NO_BAR,
         .bar = 0.65},
    };
    bench_pin();
    struct batches_what what = batches_what(j->b, "L2 flush", ", guarded");
    bench_compare(j->b, &(struct bench_subject){10, what.text, "k/s"}, sides, 2);
    bench_unpin();
    meter_report(j->b, 10, "L2 flush", &j->ours, &j->theirs, sides[1].name);
    keys_free(&j->keys);
    j->tier.ops->close(j->tier.self);
    se__url_done(&url);
}

static void bench_get(struct job *j, const char *url)
{
    struct bench_dir dir;
    char sql_url[256];
    struct reads r;
    bench_dir_make(&dir, NULL);
    bench_dir_path(&dir, "sqlite:", "home.db", sql_url);
    reads_open(&r, url, sql_url, M_OPS_L2_GET_HIT);
    struct bench_side sides[] = {
        {.name = "ours", .run = reads_run, .arg = &r},
        {.name = "hiredis GET", .run = get_bare, .arg = j, .kind = BENCH_RATIO_MAX, .bar = 1.15},
    };
    bench_pin();
    bench_compare(j->b, &(struct bench_subject){15, "se_get served by L2, p50", "us"}, sides, 2);
    bench_unpin();
    reads_close(&r);
    bench_dir_remove(&dir);
}

int main(int argc, char **argv)
{
    struct bench b;
    struct redis_server server;
    char url[256];
    bench_init(&b, argc, argv);
    redis_server_start(&server, NULL);
    bench_pin_server(server.pid);
    redis_server_url(&server, url, sizeof url);
    struct job j = {.b = &b,
                    .hiredis = redisConnectUnix(server.socket),
                    .ours = {.server = server.pid},
                    .theirs = {.server = server.pid}};
    if (!j.hiredis || j.hiredis->err)
        bench_fail("hiredis: cannot connect");
    bench_flush(&j, url);
    if (batches_usual(&b))
        bench_get(&j, url);
    redisFree(j.hiredis);
    redis_server_stop(&server);
    return 0;
}
