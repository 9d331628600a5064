/*
 * fuzz_sqlite - L3 over SQLite's dynamic types (l3/sqlite.c and all of the store above it).
 *
 * Input: two bytes (the call, and how it is called), then rows (rows.h) of a table whose columns have no
 * types but the id's, as another program may have made it; the last byte of each says whether the id is
 * text, a blob, a number or nothing. SQLite is the real one, a database in memory that is made once;
 * sqlite3_open_v2 and the pool are this program's.
 *
 * What holds over any database (storecalls.h) holds; and what is true is found: a true row is read as its
 * item, whatever is around it, and a survey of all buckets gives every row that
 * has an id exactly once.
 */
#include "fuzz/fakepool.h"
#include "fuzz/rows.h"
#include "fuzz/storecalls.h"

#include "base/log.h"
#include "l3/l3.h"

#include <sqlite3.h>

#define ROWS_MAX 6u

static sqlite3 *db; /* keeps the memory; the store has connections of its own to it */
static sqlite3_stmt *insert, *clear;
static struct packing *packing;
static struct packer *packer;

int __real_sqlite3_open_v2(const char *name, sqlite3 **out, int flags, const char *vfs);
int __wrap_sqlite3_open_v2(const char *name, sqlite3 **out, int flags, const char *vfs);
int __wrap_sqlite3_open_v2(const char *name, sqlite3 **out, int flags, const char *vfs)
{
    (void)name;
    (void)flags;
    return __real_sqlite3_open_v2("file:fuzz?mode=memory&cache=shared", out,
                                  SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI |
                                      SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                                  vfs);
}

static void hush(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    must(message[0] != '\0');
}

static void run(const char *sql)
{
    must(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
}

static void open_store(void)
{
    static char path[] = "p";
    static struct url url = {.scheme = URL_SQLITE, .path = path};
    static const struct se__log QUIET = {.fn = hush, .name = "fuzz"};
    struct l3_options o = {.url = &url,
                           .table = "items",
                           .timeout_ms = 1000,
                           .read_connections = 1,
                           .workers = 1,
                           .tombstone_retention_s = 60,
                           .compression = SE_COMPRESSION_ON,
                           .payload_max = 64u << 10,
                           .log = &QUIET};
    must(se__sqlite_open(&o, &tier) == SE_OK);
    must(tier.ops->prepare(tier.self, SE__FOREVER) == SE_OK);
}

static void open_world(void)
{
    must(sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) == SQLITE_OK);
    must(__wrap_sqlite3_open_v2("", &db, 0, NULL) == SQLITE_OK);
    run("PRAGMA journal_mode=OFF;"
        "CREATE TABLE items(id TEXT PRIMARY KEY, version, record_hash, updated_at, state,"
        " content_type, encoding, content_hash, payload, payload_blob, bucket, leaf_hi, leaf_lo,"
        " cache_ttl_ms, expires_at, deleted, route, purge_at);"
        "CREATE INDEX items_state ON items(state, id);"
        "CREATE INDEX items_bucket ON items(bucket, id);"
        "CREATE INDEX items_purge_at ON items(purge_at) WHERE purge_at IS NOT NULL;"
        "CREATE TABLE items_meta(name TEXT NOT NULL PRIMARY KEY, value) WITHOUT ROWID;");
    must(sqlite3_prepare_v2(
             db, "INSERT OR IGNORE INTO items VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", -1,
             &insert, NULL) == SQLITE_OK);
    must(sqlite3_prepare_v2(db, "DELETE FROM items", -1, &clear, NULL) == SQLITE_OK);
    must(se__packing_open(SE_COMPRESSION_ON, 64u << 10, &packing) == SE_OK);
    packer = se__packer_take(packing);
    must(packer != NULL && se__packer_reserve(packer, 1024));
    open_store();
}

/* ---- rows ---- */

struct world {
    struct fuzz_row rows[ROWS_MAX];
    bool is_true[ROWS_MAX];
    size_t n;
    size_t there;    /* in the table: an id is there once */
    size_t nameless; /* beside those; there is no place behind NULL */
};

static void bind(int at, const struct db_value *v)
{
    const void *bytes = v->len ? v->bytes : "";
    if (v->type == DB_INT)
        sqlite3_bind_int64(insert, at, v->number);
    else if (v->type == DB_TEXT)
        sqlite3_bind_text(insert, at, bytes, (int)v->len, SQLITE_STATIC);
    else if (v->type == DB_BLOB)
        sqlite3_bind_blob(insert, at, bytes, (int)v->len, SQLITE_STATIC);
    else
        sqlite3_bind_null(insert, at);
}

static void add_row(struct world *w, struct input *in)
{
    struct fuzz_row *row = &w->rows[w->n];
    row_make(row, in, packer);
    uint8_t how = take_byte(in);
    for (int i = 0; i < ROW_COLUMNS; i++)
        bind(i + 1, &row->value[i]);
    /* not the bucket: of two rows in one that is a fraction a survey may miss one (docs/testing.md) */
    if (how >= 0xf0 && 1 + how % (ROW_COLUMNS - 1) != COL_BUCKET)
        sqlite3_bind_double(insert, 2 + how % (ROW_COLUMNS - 1), how / 7.0);
    if (how >= 0xc0 && how < 0xd0)
        sqlite3_bind_null(insert, 1);
    else if (how >= 0xa0 && how < 0xc0 && row->item)
        sqlite3_bind_blob(insert, 1, se_item_id(row->item), how % 3, SQLITE_STATIC);
    bind(ROW_COLUMNS + 1, &(struct db_value){.type = DB_INT, .number = how});
    must(sqlite3_step(insert) == SQLITE_DONE);
    bool added = sqlite3_changes(db) == 1;
    sqlite3_reset(insert);
    sqlite3_clear_bindings(insert);
    w->is_true[w->n++] = added && how < 0xa0 && row->item &&
                         memcmp(row->value, row->truth.value, sizeof row->value) == 0;
    bool nameless = (how >= 0xc0 && how < 0xd0) || row->value[COL_ID].type == DB_NULL;
    w->there += added && !nameless;
    w->nameless += added && nameless;
}

/* ---- what is true is found ---- */

static void check_true(const struct fuzz_row *row)
{
    const char *id = se_item_id(row->item);
    struct tier_read read = {.id = id, .id_len = strlen(id)};
    must(check_reply(tier.ops->read(tier.self, &read, 1, SE__FOREVER)));
    must(read.found == TIER_HIT);
    must(se_item_version(read.item) == se_item_version(row->item));
    must(se__item_compare(read.item, row->item) == 0);
    se_item_release(read.item);
}

static void check_survey(const struct world *w, uint8_t how)
{
    struct tier_survey survey = {.depth = how & 1 ? TIER_HEADERS : TIER_IDS,
                                 .order = TIER_BY_BUCKET,
                                 .bucket_last = 65535,
                                 .items_max = 1 + how % 5,
                                 .bytes_max = 1000};
    struct tier_cursor cursor = {0};
    struct tier_sights sights = {0};
    size_t seen = 0;
    for (int pages = 0; !cursor.done; pages++) {
        must(pages < PAGES_MAX);
        must(check_reply(tier.ops->survey(tier.self, &survey, &cursor, &sights, SE__FOREVER)));
        seen += sights.n;
    }
    must(seen >= w->there && seen <= w->there + w->nameless);
    se__tier_cursor_done(&cursor);
    se__sights_done(&sights);
}

static void clear_all(void)
{
    must(sqlite3_step(clear) == SQLITE_DONE);
    sqlite3_reset(clear);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct world w = {.n = 0};
    uint8_t which = take_byte(&in), how = take_byte(&in);
    if (!db)
        open_world();
    clear_all();
    while (in.left > 0 && w.n < ROWS_MAX)
        add_row(&w, &in);
    if (which & 0x80)
        check_survey(&w, how);
    for (size_t i = 0; i < w.n; i++)
        if (w.is_true[i])
            check_true(&w.rows[i]);
    if ((which & 0x7f) % CALLS != PREPARE)
        try_call((enum call)((which & 0x7f) % CALLS), how);
    for (size_t i = 0; i < w.n; i++)
        row_done(&w.rows[i]);
    return 0;
}
