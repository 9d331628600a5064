/*
 * outage_redis - what can become of Redis. Done by the real server where it can be made to do it; else by the proxy.
 */
#include "fault/outage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BOTH (SHAPE_CACHE | SHAPE_HOME)

/* The server must do as it is told, or the trouble is none. */
static void tell(struct outage_site *s, const char *command)
{
    char reply[256];
    redis_server_ask(&s->redis, reply, sizeof reply, command);
    if (strncmp(reply, "(error)", 7) == 0) {
        (void)fprintf(stderr, "redis: %s: %s\n", command, reply);
        abort();
    }
}

/* A write must be refused with this word. */
static void expect_refusal(struct outage_site *s, const char *word)
{
    char reply[256];
    redis_server_ask(&s->redis, reply, sizeof reply, "SET refused? yes");
    if (!strstr(reply, word)) {
        (void)fprintf(stderr, "redis: no %s but %s\n", word, reply);
        abort();
    }
}

/* ---- the process ---- */

static void stop(struct outage_site *s)
{
    redis_server_pause(&s->redis);
}

static void go_on(struct outage_site *s)
{
    redis_server_resume(&s->redis);
}

static void die(struct outage_site *s)
{
    redis_server_kill(&s->redis);
}

static void come_back(struct outage_site *s)
{
    redis_server_restart(&s->redis, true);
}

/* ---- refusals ---- */

static void fill_up(struct outage_site *s)
{
    tell(s, "CONFIG SET maxmemory-policy noeviction");
    tell(s, "CONFIG SET maxmemory 1");
    expect_refusal(s, "OOM");
}

static void make_room(struct outage_site *s)
{
    tell(s, "CONFIG SET maxmemory 0");
}

/* Of a master that is not there: its data stays as it is. */
static void become_replica(struct outage_site *s)
{
    tell(s, "REPLICAOF 127.0.0.1 1");
    expect_refusal(s, "READONLY");
}

static void become_master(struct outage_site *s)
{
    tell(s, "REPLICAOF NO ONE");
}

/* A save that has nowhere to go: its folder is removed. */
static void fail_to_save(struct outage_site *s)
{
    char dir[160], command[200], info[8192] = "";
    (void)snprintf(dir, sizeof dir, "%s/gone-XXXXXX", s->dir.path);
    if (!mkdtemp(dir))
        abort();
    (void)snprintf(command, sizeof command, "CONFIG SET dir %s", dir);
    tell(s, command);
    if (rmdir(dir) != 0)
        abort();
    redis_server_ask(&s->redis, info, sizeof info, "CONFIG SET save %s", "3600 1000000000");
    tell(s, "BGSAVE");
    while (!strstr(info, "rdb_last_bgsave_status:err"))
        redis_server_ask(&s->redis, info, sizeof info, "INFO persistence");
    expect_refusal(s, "MISCONF");
}

static void save_again(struct outage_site *s)
{
    char command[200], info[64];
    (void)snprintf(command, sizeof command, "CONFIG SET dir %s", s->redis.dir);
    tell(s, command);
    redis_server_ask(&s->redis, info, sizeof info, "CONFIG SET save %s", "");
}

static void forget_scripts(struct outage_site *s)
{
    tell(s, "SCRIPT FLUSH");
}

static void forget_all(struct outage_site *s)
{
    tell(s, "FLUSHALL");
}

/* ---- busy ---- */

/* A script that never ends, started from a connection that does not wait for it. */
static void be_busy(struct outage_site *s)
{
    static const char endless[] = "*3\r\n$4\r\nEVAL\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n";
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", s->redis.socket);
    tell(s, "CONFIG SET busy-reply-threshold 10");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0 ||
        write(fd, endless, sizeof endless - 1) != (ssize_t)sizeof endless - 1)
        abort();
    s->held[s->held_n++] = (void *)(intptr_t)fd;
}

static void be_free(struct outage_site *s)
{
    tell(s, "SCRIPT KILL");
    close((int)(intptr_t)s->held[--s->held_n]);
}

static void reset_idle(struct outage_site *s)
{
    proxy_reset_all(s->redis_proxy);
}

const struct outage_case OUTAGES_OF_REDIS[] = {
    {.name = "SIGSTOP, SIGCONT",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = OPENS,
     .begin = stop,
     .end = go_on},
    {.name = "SIGKILL, later a restart",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = OPENS | STARTS,
     .plan = {.what = PROXY_REFUSE},
     .begin = die,
     .end = come_back},
    {.name = "restart", .where = AT_REDIS, .shapes = BOTH, .flags = STARTS, .begin = come_back},
    {.name = "connections reset, idle or not",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = 0,
     .again = reset_idle},
    {.name = "reset in the middle of a request",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = 0,
     .plan = {.what = PROXY_RESET_REQUEST, .percent = 30, .bytes = 20}},
    {.name = "reply cut, then a close",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = 0,
     .plan = {.what = PROXY_CUT_CLOSE, .percent = 30, .bytes = 3}},
    {.name = "reply cut, then a reset",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = 0,
     .plan = {.what = PROXY_CUT_RESET, .percent = 30, .bytes = 30}},
    {.name = "reply cut, then silence",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = 0,
     .plan = {.what = PROXY_CUT_SILENT, .percent = 20, .bytes = 3}},
    {.name = "replies lost, the work done",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = 0,
     .plan = {.what = PROXY_CUT_CLOSE, .percent = 30, .bytes = 0}},
    {.name = "replies late, in time",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = 0,
     .plan = {.what = PROXY_DELAY, .ms = 20}},
    {.name = "replies too late",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = OPENS,
     .plan = {.what = PROXY_DELAY, .ms = 1000}},
    {.name = "replies byte by byte",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = OPENS,
     .plan = {.what = PROXY_DRIP, .ms = 8}},
    {.name = "peer vanished, half-open",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = OPENS,
     .plan = {.what = PROXY_VANISH}},
    {.name = "accepted, never answered",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = OPENS,
     .plan = {.what = PROXY_MUTE}},
    {.name = "connects refused",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = OPENS,
     .plan = {.what = PROXY_REFUSE}},
    {.name = "OOM",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = FAILS,
     .begin = fill_up,
     .end = make_room},
    {.name = "READONLY",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = FAILS,
     .begin = become_replica,
     .end = become_master},
    {.name = "LOADING",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = OPENS,
     .plan = {.what = PROXY_INJECT,
              .inject = {.redis = "LOADING Redis is loading the dataset in memory"}}},
    {.name = "NOSCRIPT: SCRIPT FLUSH again and again",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = STAYS_CLOSED,
     .again = forget_scripts},
    {.name = "MISCONF",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = FAILS,
     .begin = fail_to_save,
     .end = save_again},
    {.name = "BUSY",
     .where = AT_REDIS,
     .shapes = BOTH,
     .flags = OPENS,
     .begin = be_busy,
     .end = be_free},
    {.name = "FLUSHALL again and again",
     .where = AT_REDIS,
     .shapes = SHAPE_CACHE,
     .flags = STAYS_CLOSED,
     .again = forget_all},
    {.name = NULL}};
