/*
 * inside - what the parts of a flush worker share; no other room includes this.
 *
 *   worker.c  life, and the home thread's decision what to do next
 *   batch.c   one batch from the dirty queue to where it ends
 *   pace.c    what calls teach, and the limits and rests that follow
 *   drain.c   one batch from the WAL to the home tier
 *   wait.c    acks and flushes that wait for either
 *
 * Three locks, never two at once except as noted: queue.lock (rank 20; the WAL's lock is taken
 * inside it), lock (rank 40), and the stage's own (rank 40). What is marked "home thread" has no
 * lock.
 */
#ifndef SE_FLUSH_INSIDE_H
#define SE_FLUSH_INSIDE_H

#include "flush/split.h"
#include "flush/stage.h"
#include "flush/tuner.h"
#include "flush/worker.h"

/* Where an item of a batch ended (worker.h, I4). */
enum slot_end {
    SLOT_OPEN, /* not decided yet */
    SLOT_STORED,
    SLOT_LOST,
    SLOT_RENEWED, /* it lost against a version beyond the clock's reach and is
                     queued again above it */
    SLOT_IN_WAL,
    SLOT_DEAD,
    SLOT_SUPERSEDED,
    SLOT_REQUEUED
};
struct slot {
    se_item *item; /* a reference */
    uint64_t hash, first_ms;
    size_t place; /* in the order of the queue */
    enum slot_end end;
};
/* A batch; the arrays are as long as the longest one and made at open, so that
 * flushing cannot run out of memory. */
struct batch {
    struct slot *slots;
    struct tier_write *writes;
    struct split_item *fates;
    se_item **items; /* of the open ones, and where their slots are */
    size_t *open;
    struct staged *staged;
    size_t n;
};

struct worker {
    struct worker_options o;
    struct dirty_queue queue;
    struct stage *stage; /* NULL: no L2 beside the home tier */
    struct se__thread thread;

    /* ---- home thread ---- */
    struct batch batch;
    struct split_run run;
    uint64_t hold;           /* home_seq stays until a batch reaches this number:
                                something before it was put back */
    uint32_t failures;       /* batches in a row that found the home tier unwell */
    uint32_t drain_failures; /* drains in a row that did not hand on everything */
    bool rejected;           /* the last call was not made: the circuit */
    uint64_t flush_after_ms; /* back-off of batches (nothing took the last one), and of the drain */
    uint64_t drain_after_ms;
    struct tuner tuner;         /* of the home tier's batches */
    struct batch_limits limits; /* as chosen, within o.limits */
    uint64_t rested_ms;         /* when the next batch may leave, if it is paced */
    bool drain_turn;            /* a batch was flushed: the drain is next */
    bool give_up;               /* stopping, past the deadline, and nothing takes what is left */
    struct se__log_gate gate_unwell, gate_wal, gate_dead, gate_clock;
    unsigned dead_unsaid; /* dead letters since the last line about one */

    /* ---- rank 40 ---- */
    struct se__mutex lock; /* guards all below */
    struct se__cond done;  /* home_seq, an outcome or an event */
    struct worker_waiter *waiters;
    uint64_t home_seq; /* everything pushed up to this number is home, in the WAL or dead */
    uint64_t events;   /* batches of either kind that ended */
    bool draining;
    bool unwell; /* the last call to the home tier failed */
    bool stopped;
    struct worker_pace pace;
};

/* ---- pace.c ---- */
struct tuner_bounds se__pace_bounds(const struct batch_limits *limits, uint32_t timeout_ms);
/* What such a call took, or that it ran into its timeout. */
void se__pace_learn(struct tuner *t, const struct tier_write *writes, size_t n, uint64_t took_ns,
                    struct tier_reply reply);
/* All but the rest. */
void se__pace_of(const struct tuner *t, const struct tuner_bounds *bounds,
                 struct worker_pace *pace);
/* The limits of batches, from what is known. */
void se__flush_choose(struct worker *w);
/* The batch in w->batch has ended: until when the partition rests, counted from its start. */
void se__flush_rest(struct worker *w, uint64_t began_ns, bool well);

/* ---- batch.c ---- */
/* Takes what is queued and brings it home, into the WAL, or back into the queue. `ask_home`
 * false: it goes to the WAL at once. */
void se__flush_batch(struct worker *w, bool ask_home);
/* Writes the first n of w->batch.writes to the home tier; fates and states say how it went. */
struct tier_reply se__flush_home(struct worker *w, size_t n);
/* When the home tier is worth another try after so many failures. */
uint64_t se__flush_retry_at(struct worker *w, uint32_t failures);
/* The home tier holds `newer`: the clock must not stay behind it. */
void se__flush_saw(struct worker *w, const se_item *item, uint64_t newer);
void se__flush_log_dead(struct worker *w, const se_item *item, const struct split_item *fate);

/* ---- renew.c ---- */
/* A write that lost against `newer`, where that is further ahead than the clock may be pushed:
 * nothing this engine could have issued would have won. Publishes it again above `newer`. False:
 * no such case, or it cannot be (then it is lost). */
bool se__flush_renew(struct worker *w, const struct slot *slot, uint64_t newer);

/* ---- drain.c ---- */
void se__flush_drain(struct worker *w);

/* ---- wait.c ---- */
/* The batch (its slots sorted by id) has ended: tells the waiters whose items are in it, and
 * moves home_seq to at least this. */
void se__flush_announce(struct worker *w, uint64_t home_seq, bool unwell);
/* The drain begins or has ended; whoever waits looks again. */
void se__flush_drain_begins(struct worker *w);
void se__flush_drain_ends(struct worker *w, bool unwell);

#endif
