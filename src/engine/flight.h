/*
 * flight - concurrent misses for one id share one lookup (single flight).
 *
 * The first caller for an id leads: it looks and lands with a result. Others follow: they wait by
 * their own deadline and get the same item or the same error. A leader whose result must not be
 * shared (a write or invalidation came between) lands it as FLIGHT_AGAIN; followers then look for
 * themselves.
 *
 * Who asks L1 before joining takes the moment before that. If a flight of the id's stripe has ended
 * since (`ended`), its item may have come to L1 behind the caller's look.
 *
 * Invariants
 *   I1  at most one flight per id that can be joined; a flight leaves the table when it is closed
 *       or lands
 *   I2  every leader lands, also on errors, or closes a flight that nobody has joined
 *   I3  what a follower gets is in its own seat before the leader goes on: nobody looks into the seat
 *       of one who has left
 *
 * Locks: one mutex a stripe (leaf), not held while looking.  Threads: any.
 * Memory: a seat is the caller's, from joining until it has landed, followed, or closed the flight
 * alone; the id is borrowed as long. Nothing is allocated but an error's text for each follower.
 */
#ifndef SE_ENGINE_FLIGHT_H
#define SE_ENGINE_FLIGHT_H

#include "base/os.h"
#include "item/item.h"

struct flights;

/* One caller's part in a flight. `leads` and `ended` are for the caller to see, the rest is not. */
struct seat {
    bool leads;
    uint64_t ended;         /* when a flight of this stripe ended last, as the seat was taken */
    struct seat *next;      /* a leader's in its stripe; a follower's behind the leader's others */
    struct seat *followers; /* of a leader */
    struct seat *leader;    /* of a follower, until that has landed */
    uint64_t hash;
    const char *id;
    size_t id_len;
    uint64_t thread; /* the leader's */
    bool closed;     /* not in the table any more */
    /* a follower's, once the leader has landed */
    bool landed, again;
    se_result result;
    se_item *item;
    char *error; /* the leader's text, for errors */
};

SE_NODISCARD se_result se__flights_open(struct flights **flights);
void se__flights_close(struct flights *f); /* nobody inside; NULL is allowed */

/* Grows as flights end. A flight whose `ended` is not above it had ended before: what its leader has
 * put into L1 is seen there from now on. */
uint64_t se__flights_moment(const struct flights *f);
/* For a leader, once all that it brings is in L1: the moment at which its flights end. */
uint64_t se__flights_end_of(struct flights *f);

/* Takes a seat: as the leader if nobody flies for this id, else as a follower. */
void se__flight_join(struct flights *f, uint64_t hash, const char *id, size_t id_len,
                     struct seat *seat);
/* True if the calling thread leads the flight of this seat. */
bool se__flight_mine(const struct seat *seat);
/* Leader: nobody joins any more; who comes now looks for himself. For a result that must not be
 * given to callers who came after some moment. True if nobody has joined: then the flight is over,
 * and need not land. */
bool se__flight_close(struct flights *f, struct seat *seat, uint64_t end);
/* Leader: gives result and item (borrowed) to all who follow. again: they must look for themselves. */
void se__flight_land(struct flights *f, struct seat *seat, se_result result, se_item *item,
                     bool again);
/* Follower: waits, takes result and item (a reference). The leader's error text becomes this
 * thread's. SE_ERR_TIMEOUT at the deadline; *again as landed. */
se_result se__flight_follow(struct flights *f, struct seat *seat, uint64_t deadline_ms,
                            se_item **item, bool *again);

#endif
