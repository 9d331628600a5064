/*
 * stand - see stand.h.
 */
#include "integration/stand.h"

#include "support/test.h"

#include <stdio.h>

void stand_make(struct stand *s, const struct shape *shape)
{
    *s = (struct stand){0};
    if (shape->redis)
        redis_server_start(&s->redis, NULL);
    if (shape->sql == MYSQL) {
        s->mariadb = mariadb_start(false, NULL);
        cr_assert(s->mariadb);
    }
    bed_make(&s->bed, shape, &s->redis, s->mariadb);
    s->bed.config.batch_flush_ms = 10;
    s->bed.config.circuit_failures = 2;
    s->bed.config.circuit_open_ms = 300;
}

void stand_remove(struct stand *s)
{
    bed_remove(&s->bed);
    mariadb_close(s->mariadb);
    redis_server_stop(&s->redis);
}

void stand_reopen(struct stand *s)
{
    bed_close(&s->bed, s->e);
    s->e = bed_open(&s->bed);
}

void stand_flush(struct stand *s)
{
    cr_assert_eq(se_flush(s->e, 20000), SE_OK, "%s", se_errmsg());
}

double stand_gets(struct stand *s, const char *tier, const char *status)
{
    char labels[80];
    snprintf(labels, sizeof labels, "tier=\"%s\",operation=\"get\",status=\"%s\"", tier, status);
    return bed_metric(s->e, "sync_engine_operations_total", labels);
}

double stand_round_trips(struct stand *s)
{
    static const char *const statuses[] = {"hit", "miss", "error"};
    double sum = 0;
    for (int i = 0; i < 3; i++)
        sum += stand_gets(s, "l2", statuses[i]) + stand_gets(s, "l3", statuses[i]);
    return sum;
}
