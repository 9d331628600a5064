/*
 * fuzz_wal - rows and names of the write-ahead log's SQLite file (wal/file.h, wal/wal.c, wal/read.c).
 *
 * Input: rows of three tables without types and keys, as nothing but this library's habit forbids: each
 * a byte that says which table and how its columns are made (true ones, or of any type), and those.
 * se__wal_file_open is this program's (meson.build wraps it): a database in memory, made once.
 *
 * Whatever is in the file: the log opens, or says why not. What it counts is what it gives: every record
 * that is handed out is under its own id, whole, and of the version that the overlay told; of an id
 * with true rows only the newest one is found. Numbers stay far from their end, or are refused.
 */
#include "fuzz/records.h"

#include "base/log.h"
#include "wal/state.h"

#define ROWS_MAX 10u

enum { LOG, DEAD, META, TABLE = 3, TRUE_ROW = 4, SPOILT = 8, WILD_SEQ = 16 };

static struct wal_file shared; /* its database and statements live for ever */
static bool out;
static sqlite3_stmt *inserts[3], *clears[3];
static bool filled[3];
static struct metrics *metrics;

/* ---- the database ---- */

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *s = NULL;
    must(sqlite3_prepare_v2(shared.db, sql, -1, &s, NULL) == SQLITE_OK);
    return s;
}

static void open_shared(void)
{
    must(sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) == SQLITE_OK);
    must(sqlite3_open(":memory:", &shared.db) == SQLITE_OK);
    must(sqlite3_exec(shared.db,
                      "PRAGMA journal_mode=OFF; CREATE TABLE log(seq, id, record); CREATE TABLE "
                      "meta(name, value);"
                      "CREATE TABLE dead(seq, id, record, code, error, buried_at);",
                      NULL, NULL, NULL) == SQLITE_OK);
    inserts[LOG] = prepare("INSERT INTO log VALUES(?1, ?2, ?3)");
    inserts[DEAD] = prepare("INSERT INTO dead VALUES(?1, ?2, ?3, ?4, ?5, ?6)");
    inserts[META] = prepare("INSERT INTO meta VALUES(?1, ?2)");
    clears[LOG] = prepare("DELETE FROM log");
    clears[DEAD] = prepare("DELETE FROM dead");
    clears[META] = prepare("DELETE FROM meta");
    must(se__metrics_open(&metrics) == SE_OK);
}

se_result __wrap_se__wal_file_open(const char *path, enum wal_file_mode mode, struct wal_file *f);
se_result __wrap_se__wal_file_open(const char *path, enum wal_file_mode mode, struct wal_file *f)
{
    (void)path;
    must(mode == WAL_FILE_READ && !out);
    out = true;
    *f = shared;
    return SE_OK;
}

void __wrap_se__wal_file_close(struct wal_file *f, bool tidy);
void __wrap_se__wal_file_close(struct wal_file *f, bool tidy)
{
    (void)tidy;
    if (!f->db)
        return;
    memcpy(shared.stmts, f->stmts, sizeof shared.stmts);
    for (int i = 0; i < SQL_COUNT; i++)
        sqlite3_reset(shared.stmts[i]);
    se__buf_done(&f->scratch);
    *f = (struct wal_file){0};
    out = false;
}

/* ---- rows ---- */

struct world {
    struct true_record records[ROWS_MAX];
    bool live[ROWS_MAX]; /* its row is as it should be */
    size_t n;
    bool pure; /* every row is */
    int64_t next_seq;
};

static void bind_wild(sqlite3_stmt *s, int at, struct input *in)
{
    static const size_t LENS[] = {0, 1, 4, 16, 88, 96, 200, 255};
    uint8_t how = take_byte(in);
    size_t len = LENS[(how >> 3) % 8] < in->left ? LENS[(how >> 3) % 8] : in->left;
    int64_t number = 0;
    switch (how % 6) {
    case 0:
        sqlite3_bind_null(s, at);
        return;
    case 1:
    case 2:
        for (int i = 0; i < 8; i++)
            number = (int64_t)((uint64_t)number << 8 | take_byte(in));
        if (how % 6 == 1)
            sqlite3_bind_int64(s, at, number);
        else
            sqlite3_bind_double(s, at, (double)number / 3);
        return;
    case 3:
        sqlite3_bind_text(s, at, (const char *)in->at, (int)len, SQLITE_TRANSIENT);
        break;
    default:
        sqlite3_bind_blob(s, at, len ? (const void *)in->at : "", (int)len, SQLITE_TRANSIENT);
    }
    in->at += len;
    in->left -= len;
}

static void step(sqlite3_stmt *s)
{
    must(sqlite3_step(s) == SQLITE_DONE);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
}

static void bind_record(struct world *w, sqlite3_stmt *s, struct input *in, uint8_t how)
{
    struct true_record *r = &w->records[w->n];
    make_record(in, r);
    w->live[w->n++] = !(how & (SPOILT | WILD_SEQ));
    if (how & SPOILT) {
        uint8_t at = take_byte(in), bit = take_byte(in);
        r->bytes.data[at % r->bytes.len] ^= (char)bit;
        r->bytes.len -= bit == 0;
    }
    sqlite3_bind_blob(s, 2, r->id, (int)r->id_len, SQLITE_TRANSIENT);
    sqlite3_bind_blob(s, 3, r->bytes.data, (int)r->bytes.len, SQLITE_TRANSIENT);
}

static void add_name(struct input *in, uint8_t how)
{
    static const char *const NAMES[] = {"wal.ceiling", "wal.seq", "incarnation", ""};
    sqlite3_stmt *s = inserts[META];
    sqlite3_bind_text(s, 1, NAMES[(how >> 3) % 4], -1, SQLITE_STATIC);
    bind_wild(s, 2, in);
    filled[META] = true;
    step(s);
}

static void add_row(struct world *w, struct input *in)
{
    uint8_t how = take_byte(in), table = how & TABLE;
    if (table >= META) {
        add_name(in, how);
        return;
    }
    sqlite3_stmt *s = inserts[table];
    int columns = table == DEAD ? 6 : 3;
    bool is_true = how & TRUE_ROW && w->n < ROWS_MAX;
    for (int i = 1; i <= columns; i++)
        if (i == 1 && !(how & WILD_SEQ))
            sqlite3_bind_int64(s, 1, ++w->next_seq);
        else if (i == 2 && is_true)
            bind_record(w, s, in, how);
        else if (i != 3 || !is_true)
            bind_wild(s, i, in);
    filled[table] = true;
    w->pure = w->pure && is_true && !(how & (SPOILT | WILD_SEQ));
    step(s);
}

/* ---- what must hold ---- */

static void check_find(struct wal *w, const char *id, size_t len)
{
    uint64_t version = 0;
    enum wal_place place = WAL_NOWHERE, looked = se__wal_look(w, id, len, &version);
    se_item *item = NULL;
    must(se__wal_find(w, id, len, &place, &item) == SE_OK);
    must((place == WAL_NOWHERE) == (item == NULL));
    if (!item)
        return;
    must(looked != WAL_NOWHERE && se__item_has_id(item, id, len) && se__item_intact(item));
    must(se_item_version(item) <= version);
    se_item_release(item);
}

static bool check_each(void *arg, uint64_t seq, const se_item *item)
{
    size_t *n = arg;
    must(seq >= 1 && seq <= INT64_MAX / 2 && se__item_intact(item));
    ++*n;
    return true;
}

static bool check_dead(void *arg, const struct wal_dead *dead)
{
    size_t *n = arg;
    must(dead->error != NULL && memchr(dead->error, 0, 4096) && se__item_intact(dead->item));
    ++*n;
    return true;
}

static bool any(void *arg, const se_item *item)
{
    (void)arg;
    return se__item_intact(item);
}

/* pure: else a number may be there twice, and its rows are counted once. */
static void check_all(struct wal *w, bool pure)
{
    size_t n = 0, each = 0, dead = 0;
    se_item **items = NULL;
    struct wal_stats stats;
    se__wal_stats(w, &stats);
    must(se__wal_each(w, check_each, &each) == SE_OK);
    must(se__wal_dead_each(w, check_dead, &dead) == SE_OK);
    must(!pure || (each + dead <= stats.recovered && dead == stats.dead));
    must(se__wal_collect(w, any, NULL, &items, &n) == SE_OK && n <= each + dead);
    for (size_t i = 0; i < n; i++) {
        check_find(w, se_item_id(items[i]), se__item_id_len(items[i]));
        se_item_release(items[i]);
    }
    free(items);
}

/* If nothing is wrong with the file, the newest version of every id is found. */
static void check_newest(struct wal *w, const struct world *world)
{
    for (size_t i = 0; world->pure && i < world->n; i++) {
        const struct true_record *r = &world->records[i];
        uint64_t newest = 0, version = 0;
        for (size_t k = 0; k < world->n; k++)
            if (strcmp(world->records[k].id, r->id) == 0 && world->records[k].version > newest)
                newest = world->records[k].version;
        must(se__wal_look(w, r->id, r->id_len, &version) != WAL_NOWHERE && version == newest);
    }
}

static void hush(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    must(message[0] != '\0');
}

static void try_log(const struct world *world)
{
    static const struct se__log QUIET = {.fn = hush, .name = "fuzz"};
    struct wal_options o = {.path = "/",
                            .read_only = true,
                            .items_max = 1000,
                            .bytes_max = 1 << 20,
                            .partitions = 2,
                            .seed = 7,
                            .metrics = metrics,
                            .log = &QUIET};
    struct wal *w = NULL;
    se__error_clear();
    if (se__wal_open(&o, &w) != SE_OK) {
        must(se_errmsg()[0] != '\0');
        return;
    }
    check_newest(w, world);
    for (size_t i = 0; i < world->n; i++)
        check_find(w, world->records[i].id, world->records[i].id_len);
    check_all(w, world->pure);
    se__wal_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct world world = {.pure = true};
    if (!shared.db)
        open_shared();
    for (unsigned i = 0; i < 3; i++)
        if (filled[i])
            step(clears[i]);
    memset(filled, 0, sizeof filled);
    for (unsigned i = 0; i < ROWS_MAX && in.left > 0; i++)
        add_row(&world, &in);
    try_log(&world);
    must(!out);
    for (size_t i = 0; i < world.n; i++)
        se__buf_done(&world.records[i].bytes);
    return 0;
}
