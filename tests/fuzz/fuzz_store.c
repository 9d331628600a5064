/*
 * fuzz_store - the whole of L3 but its two drivers (l3/store.h) over a database that says what it likes.
 *
 * Input: three bytes (the dialect and the call, how it is called, and how rows are compressed), then what
 * each statement does: a byte that says whether it fails and how many rows it gives, and those: rows of
 * the item table (rows.h), names, numbers, values of any type, more columns' worth of nonsense. The driver
 * and the pool are this program's.
 *
 * Whatever it says: a call ends, and is fine or says why. With a fault nothing is handed out. An item has
 * the id that was asked for, or begins as it was asked to, and fits its hash; a page has no more than
 * was asked for; a survey comes to its end when the rows do; a value lent for one row is not used after it.
 */
#include "fuzz/fakepool.h"
#include "fuzz/packed.h"
#include "fuzz/rows.h"
#include "fuzz/storecalls.h"

#include "l3/store.h"

#define CONTENT_MAX (64u << 10)

static struct buf dictionary; /* its meta row */
static struct packing *packing;
static struct packer *packer; /* rows are packed with it */
static struct input *script;  /* what the database will say */

/* ---- a database ---- */

static se_result fake_connect(void *driver, bool writer, uint64_t deadline_ms, void **connection,
                              int *code)
{
    (void)driver;
    (void)writer;
    (void)deadline_ms;
    *code = 0;
    *connection = &script;
    return SE_OK;
}

static void fake_disconnect(void *driver, void *connection)
{
    (void)driver;
    must(connection == &script);
}

static bool fake_broken(void *connection)
{
    (void)connection;
    return false;
}

static void fake_arm(void *connection, uint64_t deadline_ms)
{
    (void)connection;
    (void)deadline_ms;
}

static bool fake_disarm(void *connection)
{
    (void)connection;
    return false;
}

static void fake_interrupt(void *driver)
{
    (void)driver;
}

static int64_t fake_now(void *connection)
{
    (void)connection;
    return 1700000000000;
}

static size_t fake_content_max(void *connection)
{
    (void)connection;
    return 1u << 20;
}

static bool fake_no_right(int code)
{
    return code == 3;
}

static bool fake_misfit(int code)
{
    return code == 3 || code == 5;
}

static struct db_result fake_fit(void *connection, const char *table, const char **wrong)
{
    (void)connection;
    (void)table;
    *wrong = take_byte(script) & 1 ? "not as it should be" : NULL;
    return se__db_fine();
}

static struct db_result failure(uint8_t how)
{
    struct db_result r = se__db_fault((enum tier_fault)(1 + how % 3), how & 7);
    r.lost = how & 8;
    se__error(SE_ERR_BACKEND, "fake: no");
    return r;
}

/* ---- what it says ---- */

static unsigned columns_of(enum sql_statement which)
{
    if (which < SQL_VERSIONS || which == SQL_LOCK_ROW ||
        (which >= SQL_SCAN_PREFIX && which <= SQL_SCAN_STATE_IDS))
        return ROW_COLUMNS;
    if (which < SQL_DELETE)
        return 3;
    if (which >= SQL_DIGEST_ALL && which <= SQL_DIGEST_IDS)
        return 4;
    if (which >= SQL_SURVEY && which < SQL_DIGEST_ALL)
        return (which - SQL_SURVEY) / 2 % SQL_DEPTHS == 0 ? 2 : ROW_COLUMNS;
    if (which == SQL_META_LIST || which == SQL_PURGE_PICK)
        return 2;
    return which == SQL_META_GET || which == SQL_FLOOR_SHARED || which == SQL_FLOOR_ALONE ||
                   which == SQL_COUNT_PREFIX || which == SQL_COUNT_STATE
               ? 1
               : 0;
}

/* The dictionary is where it should be, mostly; else numbers and nonsense. */
static struct db_value text_value(struct fuzz_row *row, const struct db_value *name)
{
    uint8_t how = take_byte(script);
    char number[24];
    size_t len = strlen(DICTIONARY_PREFIX);
    bool newest = name && name->len == strlen(DICTIONARY_NEWEST) &&
                  memcmp(name->bytes, DICTIONARY_NEWEST, name->len) == 0;
    if (how < 0x80 && newest)
        return se__db_text("32769", 5);
    if (how < 0x80 && name && name->len > len && memcmp(name->bytes, DICTIONARY_PREFIX, len) == 0)
        return se__db_text(dictionary.data, dictionary.len - (how & 1));
    if (how & 0x40)
        return row_value(row, script);
    int n = snprintf(number, sizeof number, "%u", (how & 0x3fu) * (how & 1 ? 1u : 0x1000001u));
    struct input from = {(uint8_t *)number, (size_t)n};
    struct db_value v = {.type = DB_TEXT};
    v.bytes = row->copies[row->copies_n++] = take_copy(&from, SIZE_MAX, false, &v.len);
    return v;
}

static void few_columns(struct fuzz_row *row, enum sql_statement which, unsigned n,
                        const struct db_value *params)
{
    uint8_t how = take_byte(script);
    *row = (struct fuzz_row){.item = NULL};
    for (unsigned i = 0; i < n; i++)
        row->value[i] = row_value(row, script);
    if (how & 1 && n <= 3 && which != SQL_META_GET)
        row->value[0] = se__db_text(IDS[how / 4 % IDS_N], strlen(IDS[how / 4 % IDS_N]));
    if (how & 2 && n == 1)
        row->value[0] = text_value(row, which == SQL_META_GET ? params : NULL);
    if (how & 2 && (n == 2 || n == 3))
        row->value[1] = se__db_int(how);
}

static struct db_result fake_run(void *connection, enum sql_statement which,
                                 const struct db_value *params, unsigned n, db_row_fn row,
                                 void *arg)
{
    uint8_t how = take_byte(script);
    unsigned columns = columns_of(which);
    bool more = true;
    must(connection == &script && n <= SQL_LIST_MAX);
    if (how >= 0xf0)
        return failure(how);
    struct db_result r = se__db_fine();
    r.changed = how & 1;
    must(columns == 0 || row != NULL);
    for (unsigned k = how % 5; columns > 0 && k > 0 && more && script->left > 0; k--) {
        struct fuzz_row made;
        if (columns == ROW_COLUMNS)
            row_make(&made, script, packer);
        else
            few_columns(&made, which, columns, params);
        more = row(arg, made.value, columns);
        row_done(&made);
    }
    return r;
}

static struct db_result fake_exec(void *connection, const char *sql, db_row_fn row, void *arg)
{
    static const char *const NAMES[] = {"items", "items_meta", "x"};
    uint8_t how = take_byte(script);
    must(connection == &script && sql[0] != '\0');
    if (how >= 0xf0)
        return failure(how);
    for (unsigned i = 0; row && i < how % 4; i++) {
        const char *name = NAMES[(how >> 2 | i) % 3];
        struct db_value v = se__db_text(name, strlen(name));
        if (!row(arg, &v, 1))
            break;
    }
    return se__db_fine();
}

static struct db_result fake_rollback(void *connection)
{
    return fake_exec(connection, "ROLLBACK", NULL, NULL);
}

static struct db_result fake_upsert(void *connection, const struct sql_row *rows, size_t n,
                                    bool *lost)
{
    uint8_t how = take_byte(script);
    must(connection == &script && n >= 1 && rows != NULL);
    *lost = how & 1;
    return how >= 0xf0 ? failure(how) : se__db_fine();
}

static const struct db_ops SQLITE = {
    .name = "sqlite",
    .dialect = SQL_SQLITE,
    .connect = fake_connect,
    .disconnect = fake_disconnect,
    .broken = fake_broken,
    .arm = fake_arm,
    .disarm = fake_disarm,
    .interrupt = fake_interrupt,
    .run = fake_run,
    .exec = fake_exec,
    .rollback = fake_rollback,
    .now_ms = fake_now,
    .content_max = fake_content_max,
    .no_right = fake_no_right,
    .misfit = fake_misfit,
    .check_fit = fake_fit,
    .close = fake_interrupt,
};
static struct db_ops mysql;

/* ---- a case ---- */

static void hush(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    must(message[0] != '\0');
}

static void open_world(void)
{
    struct buf bytes = {0};
    packed_dictionary(&bytes, &dictionary);
    packing = packed_packing(&bytes, CONTENT_MAX);
    must(se__packing_use(packing, DICTIONARY_FIRST) == SE_OK);
    packer = se__packer_take(packing);
    must(packer != NULL && se__packer_reserve(packer, 1024));
    mysql = SQLITE;
    mysql.name = "mysql";
    mysql.dialect = SQL_MYSQL;
    mysql.upsert_many = fake_upsert;
    se__buf_done(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct se__log QUIET = {.fn = hush, .name = "fuzz"};
    static char path[] = "p";
    static struct url url = {.scheme = URL_SQLITE, .path = path};
    struct input in = {data, size};
    uint8_t which = take_byte(&in), how = take_byte(&in);
    struct l3_options o = {.url = &url,
                           .table = "items",
                           .timeout_ms = 1000,
                           .read_connections = 1,
                           .workers = 1,
                           .tombstone_retention_s = 60,
                           .compression = (se_compression)(take_byte(&in) % 3),
                           .payload_max = CONTENT_MAX,
                           .log = &QUIET};
    if (!packing)
        open_world();
    script = &in;
    must(se__store_open(&o, which & 0x80 ? &mysql : &SQLITE, NULL, &tier) == SE_OK);
    try_call((enum call)((which & 0x7f) % CALLS), how);
    tier.ops->close(tier.self);
    return 0;
}
