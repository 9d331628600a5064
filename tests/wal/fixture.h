/*
 * fixture - a log in a directory of its own below /dev/shm (or where SE_TEST_DIR says), and items
 * to put into it.
 */
#ifndef SE_TESTS_WAL_FIXTURE_H
#define SE_TESTS_WAL_FIXTURE_H

#include "support/test.h"

#include "base/mem.h"
#include "base/os.h"
#include "wal/wal.h"

struct log_fixture {
    char dir[128], path[160];
    struct wal_options options;
    struct hlc hlc;
    struct metrics *metrics;
    struct se__log quiet;
    struct wal *wal;
};

void fixture_init(struct log_fixture *f); /* nothing is opened yet */
void fixture_done(struct log_fixture *f); /* closes the log and removes the directory */
void fixture_open(struct log_fixture *f); /* must succeed */
void fixture_reopen(struct log_fixture *f);
/* PATH with a suffix; a static buffer. */
const char *fixture_name(const struct log_fixture *f, const char *suffix);

se_item *item_of(const char *id, uint64_t version, const char *content);
se_item *item_bytes(const char *id, uint64_t version, const void *content, size_t len);
se_item *tombstone_of(const char *id, uint64_t version);

/* One item, released afterwards. */
se_result append_one(struct wal *w, const char *id, uint64_t version, enum wal_purpose purpose);
se_result bury_one(struct wal *w, const char *id, uint64_t version);
struct wal_confirmed confirm_one(struct wal *w, const char *id, uint64_t version);
/* The place, and the version found (0 if none); the content must be
 * item_of's default, "id@version". */
enum wal_place find_version(struct wal *w, const char *id, uint64_t *version);
struct wal_stats stats_of(struct wal *w);
/* "id@version" of each, joined by a blank, and given back to the drain or ended. */
void drained(struct wal *w, unsigned partition, size_t items_max, char *text, size_t cap,
             bool give_back);

#endif
