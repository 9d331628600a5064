/*
 * outage_both - Redis and MariaDB in trouble at the same time: a miss asks both, and has one time for both.
 */
#include "fault/outage.h"

#include <stdlib.h>

static void stop(struct outage_site *s)
{
    redis_server_pause(&s->redis);
    if (!mariadb_pause(s->mariadb))
        abort();
}

static void go_on(struct outage_site *s)
{
    redis_server_resume(&s->redis);
    (void)mariadb_resume(s->mariadb);
}

#define BOTH .where = AT_SQL, .both = true, .shapes = SHAPE_CACHE, .flags = OPENS

const struct outage_case OUTAGES_OF_BOTH[] = {
    {.name = "SIGSTOP, SIGCONT", BOTH, .begin = stop, .end = go_on},
    {.name = "replies too late", BOTH, .plan = {.what = PROXY_DELAY, .ms = 1500}},
    {.name = "replies byte by byte", BOTH, .plan = {.what = PROXY_DRIP, .ms = 100}},
    {.name = "peer vanished, half-open", BOTH, .plan = {.what = PROXY_VANISH}},
    {.name = "accepted, never answered", BOTH, .plan = {.what = PROXY_MUTE}},
    {.name = "connects refused", BOTH, .plan = {.what = PROXY_REFUSE}},
    {.name = NULL}};
