/*
 * overlay - which records the log holds: a multi-map in memory, keyed by a seeded 128-bit hash of
 * the id.
 *
 * Pure bookkeeping: no thread, no clock, no I/O. It decides what a new record, a confirmation or a
 * burial makes of the other records of the same id; the other modules carry it out in the file.
 *
 *   IN_FLIGHT -> ACK | HOME | DEAD     published once its transaction is on disk
 *   ACK -> HOME                        the home tier could not take it
 *   HOME <-> DRAINING                  taken by the drain, returned by it
 *   any -> GONE                        confirmed, superseded or moved: out of the map, its row
 *                                      still to be deleted
 *
 * Invariants
 *   I1  every record but a GONE one is in its bucket's chain; a HOME or DRAINING one is in its
 *       partition's queue as well
 *   I2  a HOME record makes older ACK and HOME records of its id GONE; an ACK record does not (it
 *       may be forgotten again)
 *   I3  `owed` counts HOME and DEAD records that went that way and that no confirmation has
 *       reported yet
 *   I4  a record in flight that is confirmed or forgotten is doomed: publishing makes it GONE at
 *       once
 *
 * All operations are O(1) in the number of records, given chains of a few. Ids are equal if their
 * hashes are: 128 bits under a secret seed.
 *
 * Threads: caller-serialised, but se__overlay_empty.  Memory: owns nodes, in chunks that stay until
 * se__overlay_done.
 */
#ifndef SE_WAL_OVERLAY_H
#define SE_WAL_OVERLAY_H

#include "base/error.h"

#include <stdatomic.h>

enum overlay_state {
    OVERLAY_FREE,
    OVERLAY_IN_FLIGHT,
    OVERLAY_ACK,
    OVERLAY_HOME,
    OVERLAY_DRAINING,
    OVERLAY_DEAD,
    OVERLAY_GONE,
    OVERLAY_STATES
};

struct overlay_key {
    uint64_t hi, lo;
};

/* Nodes are named by number (half a pointer's size); 0 is none. */
struct overlay_node {
    struct overlay_key key;
    uint64_t seq, version;
    uint32_t chain;      /* next in the bucket, or in the list of free nodes */
    uint32_t next, prev; /* in the partition's queue; next: in the list of GONE nodes */
    uint32_t bytes;
    uint32_t owed;
    uint16_t partition;
    uint8_t state;
    bool recovered : 1; /* found at open */
    bool doomed : 1;
    bool dead_row : 1; /* its row is in the table of dead letters */
};

struct overlay_queue {
    uint32_t front, back;
    size_t waiting; /* HOME records, those being drained not counted */
};

struct overlay {
    uint32_t *heads;
    uint32_t mask;
    struct overlay_node **chunks;
    uint32_t chunks_cap, used, free;
    struct overlay_queue *queues;
    unsigned partitions;
    uint32_t gone_front, gone_back;
    uint64_t count[OVERLAY_STATES];
    uint64_t bytes[OVERLAY_STATES];
    uint64_t owed; /* I3, over all nodes */
    _Atomic size_t mapped;
};

/* items_hint sizes the table of buckets, which never grows: it is zero pages until used. */
SE_NODISCARD se_result se__overlay_init(struct overlay *o, unsigned partitions,
                                        uint64_t items_hint);
void se__overlay_done(struct overlay *o); /* all-zero is allowed */
struct overlay_node *se__overlay_at(const struct overlay *o, uint32_t node);
/* Nothing is in the map. Any thread, without the lock. */
bool se__overlay_empty(const struct overlay *o);
uint64_t se__overlay_live(const struct overlay *o);       /* ACK, HOME and DRAINING */
uint64_t se__overlay_live_bytes(const struct overlay *o); /* theirs */
/* what limits count: the live, in flight, dead */
uint64_t se__overlay_held(const struct overlay *o);
uint64_t se__overlay_held_bytes(const struct overlay *o);

/* A record in flight: `proto` gives key, seq, version, bytes, partition, dead_row,
 * recovered. 0 without memory. */
SE_NODISCARD uint32_t se__overlay_add(struct overlay *o, const struct overlay_node *proto);
void se__overlay_cancel(struct overlay *o, uint32_t node); /* it was not written */
/* It is on disk: as ACK, HOME or DEAD. */
void se__overlay_publish(struct overlay *o, uint32_t node, enum overlay_state as);
/* The record of this version is the drain's from now on (it stays what
 * it is if it is no ACK record). */
void se__overlay_hand(struct overlay *o, struct overlay_key key, uint64_t version);
/* Out of the map for good, its row left alone: it is damaged. */
void se__overlay_drop(struct overlay *o, uint32_t node);

/* 0 if there is none. Records in flight are not seen. */
uint32_t se__overlay_newest(const struct overlay *o, struct overlay_key key);
uint32_t se__overlay_by_version(const struct overlay *o, struct overlay_key key, uint64_t version);
uint32_t se__overlay_by_seq(const struct overlay *o, struct overlay_key key, uint64_t seq);
bool se__overlay_in_flight(const struct overlay *o, struct overlay_key key, uint64_t version);
uint32_t se__overlay_dead(const struct overlay *o, struct overlay_key key);
/* Calls visit for the records of the id up to `version`, those in flight not. */
void se__overlay_up_to(const struct overlay *o, struct overlay_key key, uint64_t version,
                       void (*visit)(void *arg, const struct overlay_node *node), void *arg);
/* Walks all nodes: the next one from *at (start with 0) that is the
 * newest of its id; 0 at the end. */
uint32_t se__overlay_each_newest(const struct overlay *o, uint32_t *at);

struct overlay_confirmed {
    uint64_t superseded; /* HOME records below the version, owed ones included */
    uint64_t home;       /* HOME records of the version itself */
    bool dead_gone;
};
void se__overlay_confirm(struct overlay *o, struct overlay_key key, uint64_t version,
                         struct overlay_confirmed *confirmed);
void se__overlay_forget(struct overlay *o, struct overlay_key key, uint64_t version);
/* The dead letter leaves: its row is deleted soon. What it owed goes to `heir` (0: nobody). */
void se__overlay_bury_undo(struct overlay *o, uint32_t dead, uint32_t heir);

/* One record for the drain: the newest of the oldest waiting id; all HOME records of that id become
 * DRAINING. 0: none. *cursor is where to go on (start with 0, and keep the lock). */
uint32_t se__overlay_drain_next(struct overlay *o, unsigned partition, uint32_t *cursor);
/* Records of the id up to version that are being drained wait again, in their old places. */
void se__overlay_drain_return(struct overlay *o, struct overlay_key key, uint64_t version);

/* Rows to delete, oldest confirmation first. */
uint32_t se__overlay_gone_take(struct overlay *o);
void se__overlay_gone_back(struct overlay *o, uint32_t node); /* the deletion failed */
void se__overlay_gone_free(struct overlay *o, uint32_t node); /* the row is deleted */

#endif
