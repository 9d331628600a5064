/*
 * map_fixture - a map with a dirty queue of the test's own.
 *
 * Threads: the queue has its lock; the rest is caller-serialised unless the map itself is used.
 */
#ifndef SE_TESTS_L1_MAP_FIXTURE_H
#define SE_TESTS_L1_MAP_FIXTURE_H

#include "support/test.h"

#include "base/mem.h"
#include "base/os.h"
#include "l1/map.h"
#include "l1/stripe.h"

#define MIB (1024u * 1024)

struct fixture {
    struct l1 *map;
    struct metrics *metrics;
    struct se__mutex lock; /* guards the queue */
    struct dirty_node *front;
    size_t queued;
};

void fixture_open(struct fixture *f, size_t bytes_max, bool resident);
void fixture_close(struct fixture *f);

/* Takes the first node off the queue and its item out of the map (a reference),
 * or NULL. first_ms may be NULL. */
se_item *fixture_take(struct fixture *f, uint64_t *first_ms);

se_item *make_item(const char *id, uint64_t version, size_t content_len);
se_item *make_tombstone(const char *id, uint64_t version);

/* A put that must get its room. */
struct l1_put_result put_item(struct fixture *f, se_item *item, const struct l1_put *how);
/* The same of a fresh item, dirty, unconditional. */
struct l1_put_result put(struct fixture *f, const char *id, uint64_t version);
/* As put, clean at once. */
struct l1_put_result put_clean(struct fixture *f, const char *id, uint64_t version, size_t len);
/* A whole life in one call: put, take, home, unpin. */
void put_and_flush(struct fixture *f, const char *id, uint64_t version, size_t len);
/* The same of "a", which then leaves L1. */
void written_and_evicted(struct fixture *f, uint64_t version);

/* The version that a read shows, 0: none. */
uint64_t shown(struct fixture *f, const char *id);
/* Loads an item under the present epoch. Returns the version that promote handed out. */
uint64_t load(struct fixture *f, const char *id, uint64_t version);
void invalidate(struct fixture *f, const char *id);
uint64_t hash_of(struct fixture *f, const char *id);
struct l1_stats stats_of(struct fixture *f);

/* Counts everything anew and compares with what the map says. Quiescent. */
void check_account(struct fixture *f);

/* splitmix64 (Vigna). */
uint64_t next_random(uint64_t *state);

#endif
