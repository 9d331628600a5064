/*
 * l3_fixture - a SQL tier on a fresh database, the same for every driver, so that one test body
 * runs on all of them.
 *
 * ON_EVERY_DRIVER(name) defines the tests sqlite/name, mysql/name (arrays of parameters) and
 * mysql_rows/name (multi-row inserts, as for servers without arrays) from the body `static void
 * name(struct l3_fixture *f)`.
 */
#ifndef SE_TESTS_L3_FIXTURE_H
#define SE_TESTS_L3_FIXTURE_H

#include "base/os.h"
#include "l3/l3.h"
#include "support/mariadb_server.h"
#include "support/test.h"

enum l3_driver { L3_SQLITE, L3_MYSQL, L3_MYSQL_ROWS };

struct l3_fixture {
    enum l3_driver driver;
    struct mariadb_server *server; /* NULL: SQLite */
    char dir[64];                  /* SQLite's file is in it */
    char url[256];
    struct l3_options options; /* change and l3_open again */
    struct se__log log;
    char logged[2048]; /* what the tier said last, warnings and errors */
    struct tier tier;
};

void l3_start(struct l3_fixture *f, enum l3_driver driver, const char *const *server_args);
void l3_stop(struct l3_fixture *f);
/* Another tier on the same database with f->options. */
struct tier l3_open(struct l3_fixture *f, se_result expected);
void l3_close(struct tier *t);

/* SQL past the tier. %s stands for nothing: write the table's name, sync_items. */
bool l3_sql(struct l3_fixture *f, const char *sql);
long long l3_number(struct l3_fixture *f, const char *sql);

uint64_t l3_soon(void); /* a deadline 20 s ahead: for calls that are not about deadlines */
se_item *l3_item(const char *id, uint64_t version, const char *text);
se_item *l3_item_bytes(const char *id, uint64_t version, const void *content, size_t len,
                       se_content_type type);
se_item *l3_tombstone(const char *id, uint64_t version);
/* Writes one item (taken) and returns its outcome; TIER_NOT_TRIED if the call was not fine. */
enum tier_state l3_put(struct l3_fixture *f, se_item *item);
struct tier_reply l3_try(struct tier *t, se_item *item, enum tier_state *state);
/* The item under id, or NULL. *found may be NULL. */
se_item *l3_get(struct l3_fixture *f, const char *id, enum tier_found *found);
/* Version stored under id, tombstones included; 0: none. */
uint64_t l3_version(struct l3_fixture *f, const char *id);
bool l3_holds(struct l3_fixture *f, const char *id, uint64_t version, const char *text);

uint64_t l3_now_version(void);
extern const char *const l3_three[3]; /* "a", "b", "c" */
/* Writes "text" under n of them with one version; checks that outcomes are set
 * exactly if the call was fine. */
struct tier_reply l3_batch(struct l3_fixture *f, const char *const *ids, size_t n, uint64_t version,
                           uint64_t deadline_ms);

#define ON_DRIVER(suite, driver, name)                                                             \
    Test(suite, name)                                                                              \
    {                                                                                              \
        struct l3_fixture f;                                                                       \
        l3_start(&f, driver, NULL);                                                                \
        name(&f);                                                                                  \
        l3_stop(&f);                                                                               \
    }
#define ON_EVERY_DRIVER(name)                                                                      \
    ON_DRIVER(sqlite, L3_SQLITE, name)                                                             \
    ON_DRIVER(mysql, L3_MYSQL, name)                                                               \
    ON_DRIVER(mysql_rows, L3_MYSQL_ROWS, name)
#define ON_BOTH_DIALECTS(name)                                                                     \
    ON_DRIVER(sqlite, L3_SQLITE, name)                                                             \
    ON_DRIVER(mysql, L3_MYSQL, name)

#endif
