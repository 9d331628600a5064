/*
 * bench_wal - rows 13 and 14: what a durable write costs its caller, alone and in company.
 *
 * The WAL and the peers' files lie in --dir, which must be on a real disk: on a tmpfs an fsync
 * costs nothing and the table would be empty talk. The engine's home is a SQLite file in memory and
 * is flushed to as configured by default, rounds included. Row 14 is measured again with an engine
 * whose flush waits until a round is over: what the log alone can take, as with a home that costs this
 * machine nothing.
 */
#include "harness.h"

#include "base/os.h"

#include <syncengine/syncengine.h>

#include <fcntl.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALLS 500u
#define ROUND_MS 500u
#define CALLERS_MAX 64u
#define PROBE_BYTES ((off_t)64 << 20)
#define RECORD_BYTES 620u /* what the WAL stores for a record of 500 bytes, about */

struct job {
    se_engine *engine;
    sqlite3 *db;
    sqlite3_stmt *insert;
    int fd;
    off_t at;
    unsigned callers;
    _Atomic uint64_t drawn; /* relaxed: ids only have to differ */
};

static void submit_one(struct job *j)
{
    char id[BENCH_ID_LEN + 1];
    uint64_t i = atomic_fetch_add_explicit(&j->drawn, 1, memory_order_relaxed);
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_WAL;
    bench_id(i, id);
    bench_check(se_submit(j->engine, id, bench_content(i), BENCH_CONTENT_LEN, &o), "se_submit");
}

/* ---- the peers ---- */

static void execute(struct job *j, const char *sql)
{
    if (sqlite3_exec(j->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        bench_fail("sqlite: %s", sqlite3_errmsg(j->db));
}

static void open_sqlite(struct job *j, const char *path)
{
    if (sqlite3_open(path, &j->db) != SQLITE_OK)
        bench_fail("sqlite: cannot open %s", path);
    execute(j, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=OFF;"
               "CREATE TABLE log (seq INTEGER PRIMARY KEY, id TEXT, content BLOB)");
    if (sqlite3_prepare_v2(j->db, "INSERT INTO log (id, content) VALUES (?, ?)", -1, &j->insert,
                           NULL) != SQLITE_OK)
        bench_fail("sqlite: %s", sqlite3_errmsg(j->db));
}

static void insert_one(void *arg, size_t i)
{
    struct job *j = arg;
    char id[BENCH_ID_LEN + 1];
    bench_id(i, id);
    sqlite3_bind_text(j->insert, 1, id, BENCH_ID_LEN, SQLITE_STATIC);
    sqlite3_bind_blob(j->insert, 2, bench_content(i), BENCH_CONTENT_LEN, SQLITE_STATIC);
    if (sqlite3_step(j->insert) != SQLITE_DONE)
        bench_fail("sqlite: %s", sqlite3_errmsg(j->db));
    sqlite3_reset(j->insert);
}

/* Written once before: an fdatasync has no metadata to write then. */
static void open_probe(struct job *j, const char *path)
{
    static char zeros[1 << 20];
    j->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (off_t at = 0; j->fd >= 0 && at < PROBE_BYTES; at += (off_t)sizeof zeros)
        if (pwrite(j->fd, zeros, sizeof zeros, at) != (ssize_t)sizeof zeros)
            bench_fail("%s: cannot be written", path);
    if (j->fd < 0 || fsync(j->fd) != 0)
        bench_fail("%s: cannot be made", path);
}

static void sync_one(void *arg, size_t i)
{
    struct job *j = arg;
    char record[RECORD_BYTES];
    memcpy(record, bench_content(i), BENCH_CONTENT_LEN);
    memset(record + BENCH_CONTENT_LEN, 0, sizeof record - BENCH_CONTENT_LEN);
    if (pwrite(j->fd, record, sizeof record, j->at) != (ssize_t)sizeof record ||
        fdatasync(j->fd) != 0)
        bench_fail("the probe's file cannot be written");
    j->at = (j->at + (off_t)sizeof record) % (PROBE_BYTES - (off_t)sizeof record);
}

/* ---- row 13 ---- */

static void submit_timed(void *arg, size_t i)
{
    (void)i;
    submit_one(arg);
}

static double p50_ours(void *arg)
{
    return bench_p50_us(submit_timed, arg, CALLS);
}

static double p50_sqlite(void *arg)
{
    return bench_p50_us(insert_one, arg, CALLS);
}

static double p50_sync(void *arg)
{
    return bench_p50_us(sync_one, arg, CALLS);
}

/* ---- row 14 ---- */

struct caller {
    struct se__thread thread;
    struct job *job;
    uint64_t until_ns, calls;
};

static void call(void *arg)
{
    struct caller *c = arg;
    for (; se__mono_ns() < c->until_ns; c->calls++)
        submit_one(c->job);
}

static double rate_ours(void *arg)
{
    struct job *j = arg;
    struct caller callers[CALLERS_MAX];
    uint64_t start = se__mono_ns(), calls = 0;
    for (unsigned i = 0; i < j->callers; i++) {
        callers[i] = (struct caller){.job = j, .until_ns = start + (uint64_t)ROUND_MS * 1000000};
        bench_check(se__thread_start(&callers[i].thread, "caller", call, &callers[i]), "thread");
    }
    for (unsigned i = 0; i < j->callers; i++) {
        se__thread_join(&callers[i].thread);
        calls += callers[i].calls;
    }
    double figure = (double)calls / (double)(se__mono_ns() - start) * 1e6;
    bench_check(se_flush(j->engine, 60000), "se_flush");
    return figure;
}

static double rate_sqlite(void *arg)
{
    uint64_t start = se__mono_ns(), end = start + (uint64_t)ROUND_MS * 1000000, now;
    size_t i = 0;
    do
        insert_one(arg, i++);
    while ((now = se__mono_ns()) < end);
    return (double)i / (double)(now - start) * 1e6;
}

static void bench_callers(const struct bench *b, struct job *j, unsigned callers, const char *what,
                          double bar)
{
    j->callers = callers;
    struct bench_side sides[] = {
        {.name = "ours", .run = rate_ours, .arg = j},
        {.name = "SQLite FULL, serial",
         .run = rate_sqlite,
         .arg = j,
         .kind = BENCH_RATIO_MIN,
         .bar = bar},
    };
    bench_compare(b, &(struct bench_subject){14, what, "k/s"}, sides, 2);
}

static void bench_all(const struct bench *b, struct job *j, struct job *later)
{
    struct bench_side sides[] = {
        {.name = "ours", .run = p50_ours, .arg = j},
        {.name = "SQLite FULL, a row",
         .run = p50_sqlite,
         .arg = j,
         .kind = BENCH_RATIO_MAX,
         .bar = 1.25},
        {.name = "fdatasync", .run = p50_sync, .arg = j},
    };
    bench_compare(b, &(struct bench_subject){13, "SE_ACK_WAL, 1 caller, p50", "us"}, sides, 3);
    bench_callers(b, j, 16, "SE_ACK_WAL, 16 callers", 5);
    bench_callers(b, j, 64, "SE_ACK_WAL, 64 callers", 9);
    bench_callers(b, later, 16, "SE_ACK_WAL, 16, flushed later", 5);
    bench_callers(b, later, 64, "SE_ACK_WAL, 64, flushed later", 9);
}

/* An engine of its own files; `later`: its flush waits for somebody who asks. */
static void open_engine(struct job *j, const struct bench_dir *memory, const struct bench_dir *disk,
                        bool later)
{
    char home[256], wal[256];
    bench_dir_path(memory, "sqlite:", later ? "later.db" : "home.db", home);
    bench_dir_path(disk, "", later ? "later.wal" : "wal", wal);
    se_config c;
    se_config_init(&c);
    c.sql_url = home;
    c.wal_path = wal;
    if (later) {
        c.batch_flush_ms = 60000;
        c.batch_flush_count = 100000;
        c.batch_flush_bytes = (size_t)1 << 30;
    }
    bench_check(se_open(&c, &j->engine), "se_open");
}

int main(int argc, char **argv)
{
    struct bench b;
    struct bench_dir memory, disk;
    struct job j = {.fd = -1}, later;
    char path[256];
    bench_init(&b, argc, argv);
    bench_dir_make(&memory, NULL);
    bench_dir_make(&disk, b.dir);
    bench_dir_path(&disk, "", "peer.db", path);
    open_sqlite(&j, path);
    bench_dir_path(&disk, "", "probe", path);
    open_probe(&j, path);
    later = j;
    open_engine(&j, &memory, &disk, false);
    open_engine(&later, &memory, &disk, true);
    bench_all(&b, &j, &later);
    bench_check(se_close(later.engine, 60000), "se_close");
    bench_check(se_close(j.engine, 60000), "se_close");
    sqlite3_finalize(j.insert);
    sqlite3_close(j.db);
    close(j.fd);
    bench_dir_remove(&memory);
    bench_dir_remove(&disk);
    return 0;
}
