/*
 * flight - concurrent misses for one id share one lookup (single flight).
 *
 * The first caller for an id leads: it looks and lands with a result. Others follow: they wait by
 * their own deadline and get the same item or the same error. A leader whose result must not be
 * shared (a write or invalidation came between) lands it as FLIGHT_AGAIN; followers then look for
 * themselves.
 *
 * Invariants
 *   I1  at most one flight per id that can be joined; a flight leaves the table when it is closed
 *       or lands
 *   I2  every leader lands, also on errors
 *
 * Locks: one mutex a stripe (leaf), not held while looking.  Threads: any.
 * Memory: flights are allocated, counted by those who use them.
 */
#ifndef SE_ENGINE_FLIGHT_H
#define SE_ENGINE_FLIGHT_H

#include "base/os.h"
#include "item/item.h"

struct flights;
struct flight;

SE_NODISCARD se_result se__flights_open(struct flights **flights);
void se__flights_close(struct flights *f); /* nobody inside; NULL is allowed */

/* SE_OK and *leads. The id is copied. SE_ERR_NOMEM. */
SE_NODISCARD se_result se__flight_join(struct flights *f, uint64_t hash, const char *id,
                                       size_t id_len, struct flight **flight, bool *leads);
/* True if the calling thread leads this flight. */
bool se__flight_mine(const struct flight *flight);
/* Leader: nobody joins any more; who comes now looks for himself. For a result that must not be
 * given to callers who came after some moment. True if nobody has joined: then nobody will look at
 * what lands, and the leader may give the flight up by se__flight_drop. */
bool se__flight_close(struct flights *f, struct flight *flight);
void se__flight_drop(struct flight *flight);
/* Leader: publishes result and item (borrowed), and gives the flight up. again:
 * followers must look for themselves. */
void se__flight_land(struct flights *f, struct flight *flight, se_result result, se_item *item,
                     bool again);
/* Follower: waits, takes result and item (a reference), gives the flight up. The leader's error
 * text becomes this thread's. SE_ERR_TIMEOUT at the deadline; *again as landed. */
se_result se__flight_follow(struct flights *f, struct flight *flight, uint64_t deadline_ms,
                            se_item **item, bool *again);

#endif
