/*
 * truth - see truth.h.
 */
#include "integration/truth.h"

#include "base/os.h"
#include "support/test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct first {
    char *out;
    size_t cap;
    bool seen;
};

static int take_first(void *arg, int n, char **values, char **names)
{
    struct first *f = arg;
    (void)names;
    if (!f->seen && n > 0)
        snprintf(f->out, f->cap, "%s", values[0] ? values[0] : "");
    f->seen = true;
    return 0;
}

static void ask_sqlite(const char *path, const char *sql, char *out, size_t cap)
{
    sqlite3 *db;
    struct first first = {.out = out, .cap = cap};
    char *error = NULL;
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK, "%s", path);
    sqlite3_busy_timeout(db, 10000);
    int r = sqlite3_exec(db, sql, take_first, &first, &error);
    cr_assert_eq(r, SQLITE_OK, "%s: %s", sql, error ? error : "");
    sqlite3_close(db);
}

void truth_text(struct bed *b, struct mariadb_server *mariadb, const char *sql, char *out,
                size_t cap)
{
    out[0] = '\0';
    if (mariadb)
        cr_assert(mariadb_value(mariadb, sql, out, cap), "%s", sql);
    else
        ask_sqlite(b->sql + strlen("sqlite:"), sql, out, cap);
}

long long truth_number(struct bed *b, struct mariadb_server *mariadb, const char *sql)
{
    char text[64];
    truth_text(b, mariadb, sql, text, sizeof text);
    cr_assert_str_not_empty(text, "%s", sql);
    return strtoll(text, NULL, 10);
}

void truth_run(struct bed *b, struct mariadb_server *mariadb, const char *sql)
{
    char none[8];
    if (mariadb)
        cr_assert(mariadb_exec(mariadb, sql), "%s", sql);
    else
        truth_text(b, NULL, sql, none, sizeof none);
}

void truth_balance(se_engine *e)
{
    double in = bed_metric(e, "sync_engine_writes_accepted_total", "") +
                bed_metric(e, "sync_engine_writes_recovered_total", "");
    double superseded = bed_metric(e, "sync_engine_writes_superseded_total", "");
    double lost = bed_metric(e, "sync_engine_writes_lost_to_newer_total", "");
    double queued = bed_metric(e, "sync_engine_queue_items", "");
    double in_wal = bed_metric(e, "sync_engine_wal_entries", "");
    double persisted = bed_metric(e, "sync_engine_writes_persisted_total", "");
    double dead = bed_metric(e, "sync_engine_dead_letters", "");
    cr_assert(
        in == superseded + lost + queued + in_wal + persisted + dead,
        "accepted + recovered %.0f; superseded %.0f, lost %.0f, queued %.0f, in the WAL %.0f, "
        "persisted %.0f, dead %.0f",
        in, superseded, lost, queued, in_wal, persisted, dead);
}

bool truth_all_home(void *engine)
{
    se_health h;
    cr_assert_eq(se_health_check(engine, &h), SE_OK);
    return h.sql_up == 1 && h.sql_circuit == SE_CIRCUIT_CLOSED && se_flush(engine, 1000) == SE_OK;
}

/* ---- the log ---- */

static struct {
    struct se__mutex lock; /* guards the rest: engines log from all their threads */
    bool made;
    char text[1 << 18]; /* what does not fit is a failure */
    size_t len;
} heard;

static void hear(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    se__mutex_lock(&heard.lock);
    int n = snprintf(heard.text + heard.len, sizeof heard.text - heard.len, "[%d] %s\n", (int)level,
                     message);
    if (n < 0 || (size_t)n >= sizeof heard.text - heard.len)
        abort();
    heard.len += (size_t)n;
    se__mutex_unlock(&heard.lock);
}

void truth_listen(se_config *config)
{
    if (!heard.made)
        se__mutex_init(&heard.lock);
    heard.made = true;
    config->log_fn = hear;
    config->log_arg = NULL;
}

bool truth_heard(const char *part)
{
    se__mutex_lock(&heard.lock);
    bool found = strstr(heard.text, part) != NULL;
    se__mutex_unlock(&heard.lock);
    return found;
}

void truth_never_said(const char *secret)
{
    cr_assert(!strstr(se_errmsg(), secret), "%s", se_errmsg());
    cr_assert(!truth_heard(secret), "%s", heard.text);
}
