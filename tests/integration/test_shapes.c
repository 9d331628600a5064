/*
 * The engine on real servers: Redis only, MySQL only, Redis with SQLite, Redis with MySQL, each with and without WAL;
 * every public call on each shape.
 */
#include "integration/bed.h"
#include "support/test.h"

static const struct shape shapes[] = {
    {"redis", NO_SQL, true, false},        {"redis+wal", NO_SQL, true, true},
    {"mysql", MYSQL, false, false},        {"mysql+wal", MYSQL, false, true},
    {"redis+sqlite", SQLITE, true, false}, {"redis+sqlite+wal", SQLITE, true, true},
    {"redis+mysql", MYSQL, true, false},   {"redis+mysql+wal", MYSQL, true, true}};

static void each_shape(void (*body)(const struct shape *shape, struct bed *b))
{
    struct redis_server redis = {0};
    redis_server_start(&redis, NULL);
    struct mariadb_server *mariadb = mariadb_start(false, NULL);
    cr_assert(mariadb);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct bed b;
        bed_make(&b, &shapes[i], &redis, mariadb);
        body(&shapes[i], &b);
        bed_remove(&b);
    }
    mariadb_close(mariadb);
    redis_server_stop(&redis);
}

Test(shapes, basics)
{
    each_shape(body_basics);
}

Test(shapes, survives)
{
    each_shape(body_survives);
}

Test(shapes, batches)
{
    each_shape(body_batches);
}

Test(shapes, scans)
{
    each_shape(body_scans);
}

Test(shapes, aside)
{
    each_shape(body_aside);
}

Test(shapes, bad_input)
{
    each_shape(body_bad_input);
}

Test(shapes, types)
{
    each_shape(body_types);
}

Test(shapes, life)
{
    each_shape(body_life);
}
