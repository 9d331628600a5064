/*
 * fake_l3 - an L3 in memory that knows surveys of ids by bucket, and digests.
 *
 * Rows are kept in (bucket, id) order. What a test wants to happen between two calls goes into a
 * hook; failures are counted down.
 *
 * Threads: any; the hook is called without the lock.  Memory: fake_l3_open returns, fake_l3_close
 * frees.
 */
#ifndef SE_TESTS_FILTER_FAKE_L3_H
#define SE_TESTS_FILTER_FAKE_L3_H

#include "tier/tier.h"

struct fake_l3;

enum fake_call { FAKE_SURVEY, FAKE_DIGEST };

struct fake_l3 *fake_l3_open(void);
void fake_l3_close(struct fake_l3 *l3);
struct tier fake_l3_tier(struct fake_l3 *l3);

/* A live row, of a newer version than any before. */
void fake_l3_put(struct fake_l3 *l3, const char *id);
/* A live row whose bucket column is wrong. */
void fake_l3_put_in(struct fake_l3 *l3, const char *id, uint16_t bucket);
void fake_l3_delete(struct fake_l3 *l3, const char *id); /* leaves a tombstone */
void fake_l3_purge(struct fake_l3 *l3, const char *id);  /* leaves nothing */
size_t fake_l3_live(struct fake_l3 *l3, uint32_t bucket_first, uint32_t bucket_last);

/* Called before every call, with its number from 1 (of its kind). NULL: none. */
void fake_l3_hook(struct fake_l3 *l3, void (*hook)(void *arg, enum fake_call call, unsigned number),
                  void *arg);
/* After `skip` further calls of this kind `count` calls end with `reply`. */
void fake_l3_fail(struct fake_l3 *l3, enum fake_call call, unsigned skip, unsigned count,
                  struct tier_reply reply);

struct fake_l3_seen {
    unsigned surveys, digests;              /* calls */
    uint64_t ids;                           /* that surveys handed out */
    uint64_t bucket_lowest, bucket_highest; /* of them */
    bool live_only;                         /* in all surveys */
    bool only_ids;                          /* every survey was one of ids by bucket */
};
struct fake_l3_seen fake_l3_seen(struct fake_l3 *l3); /* since the last call, and then anew */

#endif
