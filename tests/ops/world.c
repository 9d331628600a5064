/*
 * world - a service under load for tests/ops/test_ops.py: an engine with its endpoint, beside a Redis and a MariaDB of its own.
 *
 *   world FOLDER [PORT]        a folder for its WAL; the endpoint's port, 0: a free one
 *
 * Prints "port N" once it serves. Then it obeys lines on stdin and answers each with "done":
 *   sql stop, sql go, redis stop, redis go   SIGSTOP and SIGCONT: the server hangs, its connections stay
 *   poison, cure                             the database refuses a row; it takes it
 *   slow, fast                               the writers rest; they go on
 * It ends with its stdin.
 *
 * The load: two threads that read mostly what is there, sometimes what is not, and write; L1 is small enough to evict.
 */
#include "base/os.h"
#include "support/mariadb_server.h"
#include "support/redis_server.h"
#include "syncengine/syncengine.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDS 8000u
#define READERS 2
#define POISON "poison"
#define DEEP "deep"

static se_engine *engine;
static struct redis_server redis;
static struct mariadb_server *mariadb;
static atomic_bool enough, resting;

static void must(bool fine, const char *what)
{
    if (fine)
        return;
    (void)fprintf(stderr, "world: %s: %s\n", what, se_errmsg());
    exit(1);
}

/* ---- load ---- */

/* One that Redis does not have: L3 is asked all the time, as it is where there are more ids than these. */
static void read_deep(void)
{
    se_item *item = NULL;
    if (se_invalidate(engine, DEEP) == SE_OK && se_get(engine, DEEP, &item) == SE_OK)
        se_item_release(item);
}

static void read_one(uint64_t draw)
{
    char id[32];
    se_item *item = NULL;
    /* the square: low numbers are hot. One in eight is nowhere. */
    uint64_t low = draw % 1000 * (draw / 1000 % 1000) * IDS / 1000000;
    snprintf(id, sizeof id, draw % 8 ? "item:%llu" : "absent:%llu", (unsigned long long)low);
    if (se_get(engine, id, &item) == SE_OK)
        se_item_release(item);
}

static void write_one(uint64_t draw)
{
    static char content[600];
    char id[32];
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = draw % 4 ? SE_ACK_MEMORY : SE_ACK_WAL;
    snprintf(id, sizeof id, "item:%llu", (unsigned long long)(draw / 16 % IDS));
    (void)se_submit(engine, id, content, 100 + draw % 500, &o);
}

static void work(void *arg)
{
    uint64_t draw = (uint64_t)(uintptr_t)arg;
    while (!atomic_load(&enough)) {
        for (int i = 0; i < 20; i++) {
            draw = draw * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            if (i % 4 == 0 && !atomic_load(&resting))
                write_one(draw >> 20);
            else
                read_one(draw >> 20);
        }
        read_deep();
        se__pause_ms(4); /* a few thousand calls a second: the machine has other work */
    }
}

/* ---- orders ---- */

static void poison(void)
{
    must(mariadb_exec(mariadb, "ALTER TABLE sync_items ADD CONSTRAINT no_" POISON
                               " CHECK (id <> '" POISON "')"),
         "poison");
    must(se_submit(engine, POISON, "x", 1, NULL) == SE_OK, "submit");
}

static void cure(void)
{
    must(mariadb_exec(mariadb, "ALTER TABLE sync_items DROP CONSTRAINT no_" POISON), "cure");
    must(se_submit(engine, POISON, "y", 1, NULL) == SE_OK, "submit");
}

static void obey(const char *order)
{
    if (strcmp(order, "sql stop") == 0)
        must(mariadb_pause(mariadb), order);
    else if (strcmp(order, "sql go") == 0)
        must(mariadb_resume(mariadb), order);
    else if (strcmp(order, "redis stop") == 0)
        redis_server_pause(&redis);
    else if (strcmp(order, "redis go") == 0)
        redis_server_resume(&redis);
    else if (strcmp(order, "poison") == 0)
        poison();
    else if (strcmp(order, "cure") == 0)
        cure();
    else
        atomic_store(&resting, strcmp(order, "slow") == 0);
    puts("done");
    (void)fflush(stdout);
}

static void obey_all(void)
{
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        obey(line);
    }
}

/* ---- life ---- */

static void open_engine(const char *folder)
{
    static char sql[256], cache[256], wal[256];
    se_config c;
    se_config_init(&c);
    mariadb_url(mariadb, false, sql, sizeof sql);
    redis_server_url(&redis, cache, sizeof cache);
    snprintf(wal, sizeof wal, "%s/wal-%ld.db", folder, (long)getpid());
    c.name = "shop";
    c.sql_url = sql;
    c.redis_url = cache;
    c.wal_path = wal;
    c.l1_max_bytes = 3u << 20;
    c.sql_timeout_ms = 1000;
    c.read_timeout_ms = 500;
    c.ack_timeout_ms = 1000;
    c.circuit_failures = 3;
    c.circuit_open_ms = 3000;
    must(se_open(&c, &engine) == SE_OK, "open");
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 3)
        return 2;
    struct se__thread threads[READERS] = {0};
    uint16_t port = argc == 3 ? (uint16_t)strtoul(argv[2], NULL, 10) : 0;
    redis_server_start(&redis, NULL);
    mariadb = mariadb_start(false, NULL);
    must(mariadb, "mariadb");
    open_engine(argv[1]);
    se_submit_options o;
    se_submit_options_init(&o);
    o.route = SE_ROUTE_L3;
    must(se_submit(engine, DEEP, "x", 1, &o) == SE_OK, "submit");
    must(se_http_start(engine, NULL, &port) == SE_OK, "endpoint");
    for (uintptr_t i = 0; i < READERS; i++)
        must(se__thread_start(&threads[i], "load", work, (void *)(i + 1)) == SE_OK, "thread");
    printf("port %u\n", port);
    (void)fflush(stdout);
    obey_all();
    atomic_store(&enough, true);
    for (int i = 0; i < READERS; i++)
        se__thread_join(&threads[i]);
    (void)se_close(engine, 5000);
    mariadb_close(mariadb);
    redis_server_stop(&redis);
    return 0;
}
