/*
 * kill -9 of a process full of writers, at any moment: what was acknowledged is there, and nothing older.
 *
 * A child opens the engine and writes from several threads, each to ids of its own: single puts, deletes and batches, with all three
 * acks. It tells its parent of every attempt before the call and of every SE_OK of SE_ACK_WAL and SE_ACK_L3 before the next call. Meanwhile
 * the database is up, away, or killed and started again. The parent kills the child (during its start, too), opens the engine on the same
 * files and compares; then the next child goes on where it stopped. What a read has shown once must not be undone by a later kill.
 *
 * The seed is printed; SE_SEED=n repeats its random choices (not the scheduler's).
 */
#include "base/os.h"
#include "integration/truth.h"
#include "support/test.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 3
#define IDS_EACH 12
#define IDS (THREADS * IDS_EACH)
#define BATCH_MAX 6
#define CONTENT_MAX 3000
#define HEAD_LEN 16 /* of a content: "iiii.nnnnnnnnnn." */

enum event { OPENED, TRY_PUT, TRY_DELETE, ACKED_WAL, ACKED_L3 };
struct report {
    uint32_t event, id, number; /* number: of the write, growing with each of its id */
};

/* What the parent knows of one id. Numbers start at 1. */
struct known {
    uint32_t tried;       /* the last one attempted */
    uint32_t last_delete; /* the last one attempted that deletes */
    uint32_t acked; /* by WAL or L3, or seen by a read: nothing older may be shown from then on */
    uint32_t
        acked_in_wal; /* by this child, with SE_ACK_WAL: must be readable without the database */
};

static struct known known[IDS];
static uint64_t seed, random_state;

static unsigned pick(unsigned n)
{
    random_state ^= random_state << 13; /* xorshift64 (Marsaglia 2003) */
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)((random_state >> 11) % n);
}

static void start_random(void)
{
    const char *given = getenv("SE_SEED");
    seed = given ? strtoull(given, NULL, 10) : se__random_u64() | 1;
    random_state = seed;
    (void)fprintf(stderr, "seed %" PRIu64 "\n", seed);
}

static void id_of(uint32_t id, char out[32])
{
    snprintf(out, 32, "k:%02u", id);
}

/* Content and length follow from id and number. */
static size_t content_of(uint32_t id, uint32_t number, char out[CONTENT_MAX])
{
    size_t len = HEAD_LEN +
                 (id * 7919u + number * 104729u) % (number % 9 ? 200u : CONTENT_MAX - HEAD_LEN - 1);
    snprintf(out, HEAD_LEN + 1, "%04u.%010u.", id, number);
    memset(out + HEAD_LEN, 'a' + (int)(number % 26), len - HEAD_LEN);
    return len;
}

/* ---- the child ---- */

struct writer {
    struct se__thread thread;
    se_engine *e;
    unsigned number;
    unsigned random;
    uint32_t next[IDS_EACH];
    int to_parent;
};

static void tell(const struct writer *w, const struct report *reports, size_t n)
{
    size_t bytes = n * sizeof *reports;
    if (write(w->to_parent, reports, bytes) != (ssize_t)bytes) /* below PIPE_BUF: in one piece */
        _exit(1);
}

static struct report new_write(struct writer *w, enum event event, unsigned at)
{
    return (struct report){event, w->number * IDS_EACH + at, w->next[at]++};
}

static void report_ack(const struct writer *w, struct report *tries, size_t n, se_ack ack,
                       se_result r)
{
    if (r < 0 && r != SE_ERR_BACKPRESSURE)
        _exit(2);
    if (r != SE_OK || (ack != SE_ACK_WAL && ack != SE_ACK_L3))
        return;
    for (size_t i = 0; i < n; i++)
        tries[i].event = ack == SE_ACK_WAL ? ACKED_WAL : ACKED_L3;
    tell(w, tries, n);
}

static void write_one(struct writer *w, const se_submit_options *o)
{
    char id[32], content[CONTENT_MAX];
    bool deletes = rand_r(&w->random) % 6 == 0;
    struct report try =
        new_write(w, deletes ? TRY_DELETE : TRY_PUT, (unsigned)rand_r(&w->random) % IDS_EACH);
    id_of(try.id, id);
    size_t len = content_of(try.id, try.number, content);
    tell(w, &try, 1);
    report_ack(w, &try, 1, o->ack,
               deletes ? se_delete(w->e, id, o) : se_submit(w->e, id, content, len, o));
}

static void write_many(struct writer *w, const se_submit_options *o)
{
    char ids[BATCH_MAX][32], contents[BATCH_MAX][CONTENT_MAX];
    struct report tries[BATCH_MAX];
    se_put puts[BATCH_MAX] = {0};
    se_batch_result out;
    size_t n = 2 + (unsigned)rand_r(&w->random) % (BATCH_MAX - 1);
    for (size_t i = 0; i < n; i++) {
        tries[i] = new_write(w, TRY_PUT, (unsigned)rand_r(&w->random) % IDS_EACH);
        id_of(tries[i].id, ids[i]);
        puts[i] = (se_put){.id = ids[i],
                           .content = contents[i],
                           .len = content_of(tries[i].id, tries[i].number, contents[i]),
                           .options = o};
    }
    tell(w, tries, n);
    se_result r = se_submit_many(w->e, puts, n, &out);
    bool all = out.succeeded == n;
    for (size_t i = 0; i < n; i++)
        all = all && puts[i].result == SE_OK;
    report_ack(w, tries, n, o->ack, r == SE_OK && !all ? SE_PENDING : r);
}

static void write_for_ever(void *arg)
{
    struct writer *w = arg;
    se_submit_options o;
    se_submit_options_init(&o);
    for (;;) {
        unsigned n = (unsigned)rand_r(&w->random) % 20;
        o.ack = n < 11 ? SE_ACK_WAL : n < 13 ? SE_ACK_L3 : SE_ACK_DEFAULT;
        if (rand_r(&w->random) % 5 == 0)
            write_many(w, &o);
        else
            write_one(w, &o);
    }
}

static void run_child(struct bed *b, int to_parent, unsigned random)
{
    static struct writer writers[THREADS];
    se_engine *e;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (se_open(&b->config, &e) != SE_OK)
        _exit(3);
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] =
            (struct writer){.e = e, .number = i, .random = random + i, .to_parent = to_parent};
        for (unsigned at = 0; at < IDS_EACH; at++)
            writers[i].next[at] = known[i * IDS_EACH + at].tried + 1;
    }
    tell(&writers[0], &(struct report){.event = OPENED}, 1);
    for (unsigned i = 0; i < THREADS; i++) {
        if (se__thread_start(&writers[i].thread, "writer", write_for_ever, &writers[i]) != SE_OK)
            _exit(4);
    }
    for (;;)
        pause();
}

/* ---- the parent, while the child lives ---- */

struct round {
    unsigned number;
    struct mariadb_server *mariadb; /* NULL: SQLite */
    bool away;                      /* the database is away for all of the child's life */
    unsigned kill_after_ms;         /* counted from its first report, or from its start: */
    bool kill_at_start;
    unsigned db_dies_ms, db_returns_ms; /* 0: not */
};

static void note(const struct report *r)
{
    if (r->event == OPENED)
        return;
    cr_assert(r->id < IDS);
    struct known *k = &known[r->id];
    if (r->event == TRY_PUT || r->event == TRY_DELETE)
        k->tried = r->number;
    if (r->event == TRY_DELETE)
        k->last_delete = r->number;
    if (r->event >= ACKED_WAL && r->number > k->acked)
        k->acked = r->number;
    if (r->event == ACKED_WAL && r->number > k->acked_in_wal)
        k->acked_in_wal = r->number;
}

/* Reads what has come. False at the end of the pipe. */
static bool read_reports(int from_child, unsigned *count)
{
    struct report r[64];
    ssize_t n = read(from_child, r, sizeof r);
    cr_assert(n >= 0 && n % (ssize_t)sizeof *r == 0, "a torn report");
    for (size_t i = 0; i < (size_t)n / sizeof *r; i++)
        note(&r[i]);
    *count += (unsigned)((size_t)n / sizeof *r);
    return n > 0;
}

static void act_on_database(struct round *r, uint64_t age_ms)
{
    if (r->db_dies_ms && age_ms >= r->db_dies_ms) {
        r->db_dies_ms = 0;
        cr_assert(mariadb_kill(r->mariadb));
    } else if (!r->db_dies_ms && r->db_returns_ms && age_ms >= r->db_returns_ms) {
        r->db_returns_ms = 0;
        cr_assert(mariadb_restart(r->mariadb));
    }
}

/* Drives the round until the child is dead and all it said is known. */
static unsigned watch_child(struct round *r, pid_t child, int from_child)
{
    uint64_t began = r->kill_at_start ? se__mono_ms() : 0, hard = se__deadline_in(30000);
    unsigned count = 0;
    bool killed = false;
    for (bool open = true; open;) {
        struct pollfd p = {.fd = from_child, .events = POLLIN};
        if (poll(&p, 1, 1) > 0)
            open = read_reports(from_child, &count);
        if (!began && count)
            began = se__mono_ms();
        uint64_t age = began ? se__mono_ms() - began : 0;
        cr_assert(killed || se__deadline_left(hard) > 0, "the child does nothing");
        if (!killed && began && age >= r->kill_after_ms) {
            kill(child, SIGKILL);
            killed = true;
        } else if (!killed && began)
            act_on_database(r, age);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
              "round %u: the child ended by itself: %x", r->number, (unsigned)status);
    return count;
}

static unsigned live_and_die(struct bed *b, struct round *r)
{
    int ends[2];
    for (unsigned i = 0; i < IDS; i++)
        known[i].acked_in_wal = 0;
    cr_assert_eq(pipe(ends), 0);
    (void)fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
    unsigned random = pick(1u << 30);
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        close(ends[0]);
        run_child(b, ends[1], random);
    }
    close(ends[1]);
    unsigned count = watch_child(r, child, ends[0]);
    close(ends[0]);
    return count;
}

/* ---- the parent, afterwards ---- */

#define WHERE "seed %" PRIu64 " round %u, id %u: tried %u, acknowledged %u, last delete %u"
#define WHERE_ARGS seed, number, id, k->tried, k->acked, k->last_delete

/* One read against what is known: at least `least`, at most what was tried. Returns the number that was read; 0: nothing. */
static uint32_t check_id(se_engine *e, unsigned number, uint32_t id, uint32_t least,
                         bool may_be_away)
{
    char name[32], want[CONTENT_MAX];
    const struct known *k = &known[id];
    se_item *item;
    id_of(id, name);
    se_result r = se_get(e, name, &item);
    if (r == SE_ERR_BACKEND) {
        cr_assert(may_be_away, WHERE ": %s", WHERE_ARGS, se_errmsg());
        return 0;
    }
    if (r == SE_NOT_FOUND) {
        cr_assert(least == 0 || k->last_delete >= least, WHERE ": it is gone", WHERE_ARGS);
        return 0;
    }
    cr_assert_eq(r, SE_OK, WHERE ": %d %s", WHERE_ARGS, r, se_errmsg());
    cr_assert_geq(se_item_content_len(item), HEAD_LEN);
    uint32_t seen = (uint32_t)strtoul((const char *)se_item_content(item) + 5, NULL, 10);
    cr_assert(seen >= least && seen <= k->tried, WHERE ": read %u", WHERE_ARGS, seen);
    size_t len = content_of(id, seen, want);
    cr_assert(se_item_content_len(item) == len && memcmp(se_item_content(item), want, len) == 0,
              WHERE ": other bytes", WHERE_ARGS);
    se_item_release(item);
    return seen;
}

/* Without the database: what its WAL acknowledged must be readable all the same, where the database was away for all of the child's life. */
static void check_while_away(se_engine *e, const struct round *r)
{
    for (uint32_t id = 0; id < IDS; id++)
        (void)check_id(e, r->number, id, known[id].acked_in_wal,
                       !r->away || known[id].acked_in_wal == 0);
}

/* What a read has shown counts as acknowledged. */
static void check_all(se_engine *e, unsigned number, char table[IDS * 32])
{
    table[0] = '\0';
    for (uint32_t id = 0; id < IDS; id++) {
        uint32_t seen = check_id(e, number, id, known[id].acked, false);
        if (seen)
            known[id].acked = seen;
        if (seen)
            snprintf(table + strlen(table), 32, "k:%02u=%04u.%010u.\n", id, id, seen);
    }
}

static const char *table_sql(bool sqlite)
{
    return sqlite ? "SELECT group_concat(line, '') FROM (SELECT id || '=' || "
                    "CAST(substr(payload_blob, 1, 16) AS TEXT) || "
                    "char(10) AS line FROM sync_items WHERE deleted = 0 ORDER BY id)"
                  : "SELECT CAST(GROUP_CONCAT(CONCAT(id, '=', LEFT(payload_blob, 16), '\\n') ORDER "
                    "BY id SEPARATOR '') AS "
                    "CHAR) FROM sync_items WHERE deleted = 0";
}

static void check_table(struct bed *b, struct mariadb_server *mariadb, unsigned number,
                        const char *expected)
{
    char table[IDS * 32];
    truth_text(b, mariadb, table_sql(!mariadb), table, sizeof table);
    cr_assert_str_eq(table, expected, "seed %" PRIu64 " round %u", seed, number);
}

static void compare(struct bed *b, struct round *r)
{
    char table[IDS * 32], again[IDS * 32];
    se_engine *e = bed_open(b);
    if (r->mariadb && r->mariadb->pid == 0) {
        check_while_away(e, r);
        cr_assert(mariadb_restart(r->mariadb));
    }
    bed_wait(truth_all_home, e, "everything is home");
    check_all(e, r->number, table);
    cr_assert_eq(se_invalidate_prefix(e, ""), SE_OK);
    check_all(e, r->number, again);
    cr_assert_str_eq(table, again, "seed %" PRIu64 " round %u: memory and database differ", seed,
                     r->number);
    check_table(b, r->mariadb, r->number, table);
    truth_balance(e);
    bed_close(b, e);
}

static void impatient(se_config *c)
{
    c->sql_timeout_ms = 500;
    c->read_timeout_ms = 1000;
    c->ack_timeout_ms = 1000;
    c->startup_timeout_ms = 300;
    c->circuit_failures = 2;
    c->circuit_open_ms = 200;
    c->batch_flush_ms = 5;
}

static void plan_database(struct round *r)
{
    r->away = r->number % 4 == 1;
    if (r->away)
        cr_assert(mariadb_kill(r->mariadb));
    if (r->number % 4 >= 2) { /* dies; and comes back at once, or when the child is dead */
        r->db_dies_ms = 1 + pick(r->kill_after_ms + 1);
        r->db_returns_ms = r->number % 4 == 3 ? r->db_dies_ms + 1 : 0;
        r->kill_after_ms += r->number % 4 == 3 ? 150 + pick(300) : 0;
    }
}

static void run_rounds(const struct shape *shape, struct mariadb_server *mariadb, unsigned rounds)
{
    struct bed b;
    unsigned reports = 0;
    start_random();
    bed_make(&b, shape, NULL, mariadb);
    impatient(&b.config);
    memset(known, 0, sizeof known);
    bed_close(&b, bed_open(&b)); /* the tables are there, the first kill may come at once */
    for (unsigned n = 0; n < rounds; n++) {
        struct round r = {.number = n, .mariadb = mariadb, .kill_at_start = n % 7 == 6};
        r.kill_after_ms = r.kill_at_start ? pick(30) : 1 + pick(250);
        if (mariadb)
            plan_database(&r);
        reports += live_and_die(&b, &r);
        compare(&b, &r);
    }
    unsigned acked = 0;
    for (unsigned i = 0; i < IDS; i++)
        acked += known[i].acked > 0;
    cr_assert(reports > 100 * rounds / 10 && acked > IDS / 2, "%u reports, %u ids acknowledged",
              reports, acked);
    bed_remove(&b);
}

static const struct shape sqlite_wal = {"sqlite+wal", SQLITE, false, true};
static const struct shape mysql_wal = {"mysql+wal", MYSQL, false, true};
static const struct shape both_wal = {"redis+mysql+wal", MYSQL, true, true};

Test(kill, sqlite_loses_nothing_acknowledged)
{
    run_rounds(&sqlite_wal, NULL, 14);
}

Test(kill, mysql_up_away_or_killed_loses_nothing_acknowledged)
{
    struct mariadb_server *mariadb = mariadb_start(false, NULL);
    cr_assert(mariadb);
    run_rounds(&mysql_wal, mariadb, 16);
    mariadb_close(mariadb);
}

/* ---- Redis beside ---- */

/* Writes "new" over what Redis holds, committed in L3, as soon as the parent says that Redis is stopped; then waits for its end. */
static void overwrite_unseen_by_redis(struct bed *b, int to_parent, int from_parent)
{
    se_engine *e;
    char go;
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_L3;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (se_open(&b->config, &e) != SE_OK || write(to_parent, "o", 1) != 1 ||
        read(from_parent, &go, 1) != 1)
        _exit(3);
    if (se_submit(e, "x", "new", 3, &o) != SE_OK || write(to_parent, "w", 1) != 1)
        _exit(4);
    for (;;)
        pause();
}

static void expect_letter(int from_child, char want)
{
    char letter = 0;
    cr_assert_eq(read(from_child, &letter, 1), 1, "the child has ended");
    cr_assert_eq(letter, want);
}

static void kill_between_l3_and_redis(struct bed *b, struct redis_server *redis)
{
    int up[2], down[2], status;
    cr_assert(pipe(up) == 0 && pipe(down) == 0);
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        close(up[0]);
        overwrite_unseen_by_redis(b, up[1], down[0]);
    }
    close(up[1]);
    expect_letter(up[0], 'o');
    redis_server_pause(redis);
    cr_assert_eq(write(down[1], "g", 1), 1);
    expect_letter(up[0], 'w');
    kill(child, SIGKILL);
    cr_assert_eq(waitpid(child, &status, 0), child);
    redis_server_resume(redis);
    close(up[0]);
    close(down[0]);
    close(down[1]);
}

#define OPEN_OWNERS                                                                                \
    "SELECT COUNT(*) FROM sync_items_meta WHERE name LIKE 'owner:%' AND value LIKE '1 open %'"

/* Redis holds "old" in the generation that was in force, the database "new", and nobody who knew of it is alive. */
Test(kill, redis_is_not_believed_after_a_crash)
{
    struct redis_server redis = {0};
    redis_server_start(&redis, NULL);
    struct mariadb_server *mariadb = mariadb_start(false, NULL);
    cr_assert(mariadb);
    struct bed b;
    bed_make(&b, &both_wal, &redis, mariadb);
    b.config.batch_flush_ms = 5;
    se_engine *e = bed_open(&b);
    bed_put(e, "x", "old");
    bed_put(e, "y", "other");
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    bed_close(&b, e);
    e = bed_open(&b); /* after a clean end Redis is believed */
    cr_assert_eq(bed_metric(e, "sync_engine_l2_generations_total", ""), 0);
    bed_expect(e, "y", "other");
    cr_assert_eq(bed_metric(e, "sync_engine_operations_total",
                            "tier=\"l2\",operation=\"get\",status=\"hit\""),
                 1);
    bed_close(&b, e);
    kill_between_l3_and_redis(&b, &redis);
    cr_assert_eq(mariadb_number(mariadb, OPEN_OWNERS), 1,
                 "the killed one's row shows that it did not close");
    e = bed_open(&b);
    cr_assert_eq(bed_metric(e, "sync_engine_l2_generations_total", ""), 1);
    cr_assert_eq(mariadb_number(mariadb, OPEN_OWNERS), 1, "only ours is left");
    bed_expect(e, "x", "new");
    bed_expect(e, "y", "other");
    cr_assert_eq(bed_metric(e, "sync_engine_operations_total",
                            "tier=\"l2\",operation=\"get\",status=\"hit\""),
                 0);
    cr_assert_eq(bed_metric(e, "sync_engine_foreign_owners", ""), 0);
    bed_close(&b, e);
    e = bed_open(&b);
    cr_assert_eq(bed_metric(e, "sync_engine_l2_generations_total", ""), 0,
                 "one crash, one generation");
    bed_expect(e, "x", "new");
    bed_close(&b, e);
    bed_remove(&b);
    mariadb_close(mariadb);
    redis_server_stop(&redis);
}
