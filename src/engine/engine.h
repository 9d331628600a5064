/*
 * engine - what the files of this room share: the engine's parts and the calls between them.
 *
 *   options, settings   configuration            life        open, shutdown, close, flush, phases
 *   attach              home tier, owner row     keeper      threads: upkeep, home, cache
 *   write, many         submit, delete, batches  read        lookups through the tiers
 *   state               se_set_state
 *   aside               get_or_insert_with       scan        scans, counts, mass deletes
 *   admit               pressure for writers     health      health, gauges
 *   hold                no data calls before attach is done
 *   existence           the filter's use         verify      digests, verify, repair
 *   names               texts for enumerations   service     the HTTP endpoint's hook
 *
 * Lock ranks (docs/architecture.md): L1 stripe 10, dirty queue 20, WAL 30, worker 40; everything
 * else is a leaf. None is held across I/O or a callback of the caller.
 */
#ifndef SE_ENGINE_ENGINE_H
#define SE_ENGINE_ENGINE_H

#include "engine/flight.h"
#include "engine/gate.h"
#include "engine/settings.h"
#include "filter/warm.h"
#include "flush/worker.h"
#include "item/inside.h"
#include "l2/redis.h"
#include "l3/l3.h"
#include "tier/pressure.h"

#define ENGINE_UUID_LEN 32
#define PRESSURE_TURNS 16u

/* Something that runs beside the engine. stop returns when it has ended, and frees it. */
struct service {
    const char *what;
    void (*stop)(void *self); /* NULL: none */
    void *self;
};

struct se_engine {
    struct settings settings;
    struct metrics *metrics;
    struct se__forkword forkword;
    struct gate gate;
    struct hlc hlc;
    uint64_t seed;
    char uuid[ENGINE_UUID_LEN + 1]; /* of this engine object; hex */
    _Atomic int phase;              /* se_phase; release by its setter, acquire by readers */

    struct l1 *l1;
    _Atomic uint64_t hits_added; /* of L1's own count of hits, to the metrics */
    struct wal *wal;             /* NULL: none */
    struct flights *loads, *factories;

    /* The tiers, guarded. home is L3, else L2, else nothing (ops
     * NULL). cache is L2 beside an L3. */
    struct tier home, cache;
    struct guarded *home_guard, *cache_guard;
    bool home_is_l3;
    struct redis *redis;       /* of home or cache; NULL: none */
    struct suspects *suspects; /* with cache */

    /* Existence (existence.c); NULL where L3 is not configured, or read_only. */
    struct warm *warm;
    struct filter *filter;     /* the warm's */
    atomic_bool cache_entries; /* some item was ever routed to L2 alone: its id may be in L2 and
                                  in no filter */
    bool cache_entries_stored; /* the home tier's meta table says so; home keeper's */
    _Atomic uint64_t removals; /* deletes and purged rows so far; relaxed: a hint */
    uint64_t foreign_newest;   /* the greatest ceiling of others seen so far; home keeper's */

    struct receipts *receipts; /* deliveries; NULL with read_only */
    struct worker **workers;   /* partitions of the dirty queue; none where home.ops is
                                NULL or read_only */
    unsigned partitions;

    /* Attachment to the home tier (attach.c); guarded by attach_lock unless atomic. */
    struct se__mutex attach_lock;
    atomic_bool attached; /* release after the checks of attach.c, acquire before
                             every use of the home tier */
    char incarnation[64]; /* of the home tier; set before `attached` is */
    bool refused;         /* the home tier may not be used: another database, a newer
                             schema */
    char refusal[512];
    _Atomic uint64_t blind_until; /* set before `attached` is: worker.h */
    bool generation_due;          /* L2 must get a new generation before it is used */
    struct owners *owners;        /* who else writes this database */

    /* Background threads (keeper.c). */
    struct keeper *keeper;

    _Atomic uint64_t payload_max; /* max_payload_bytes, lowered at connect */
    _Atomic int pressure_level;   /* se_pressure; relaxed: advisory */
    struct {
        _Alignas(64) _Atomic uint32_t units; /* writes and KiB so far; relaxed */
    } pressure_turns[PRESSURE_TURNS];        /* by thread */
    _Atomic uint64_t full_ms;   /* when L1 or the WAL last had no room for a write, monotonic;
                                       0: never; relaxed: advisory */
    atomic_bool skew_seen;      /* a version far ahead of the clock was seen; relaxed */
    struct se__mutex shut_lock; /* guards the four below */
    struct se__cond shut_changed;
    enum { ENGINE_OPEN, ENGINE_SHUTTING, ENGINE_SHUT } shut;
    se_result shut_result;
    struct service service;
};

/* ---- entering (life.c) ---- */
/* May this call go on? SE_OK; SE_ERR_INVALID (NULL), SE_ERR_STATE
 * (shut down, or a forked child). */
SE_NODISCARD se_result se__cannot_look_in(const se_engine *e);
static inline bool se__may_look_in(const se_engine *e)
{
    return e && se__forkword_ours(&e->forkword) && se__gate_open(&e->gate);
}
SE_NODISCARD static inline se_result se__look_in(const se_engine *e)
{
    return __builtin_expect(se__may_look_in(e), 1) ? SE_OK : se__cannot_look_in(e);
}
/* For the part of a call that publishes writes: as se__look_in, and shutdown waits for it. Every
 * SE_OK is answered by se__leave. Waiting for a confirmation afterwards is done outside.
 * SE_ERR_STATE with read_only as well. */
SE_NODISCARD se_result se__enter(se_engine *e);
void se__leave(se_engine *e);
/* For a backend that cannot be asked: SE_ERR_BACKEND, or SE_ERR_STATE once the engine is shut down,
 * which ends calls that wait. `what` stands before the thread's present text. */
se_result se__outage(const se_engine *e, const char *what);
void se__set_phase(se_engine *e, se_phase phase);
static inline struct worker *se__worker_of(const se_engine *e, uint64_t hash)
{
    return e->workers[hash % e->partitions];
}

/* ---- service.c ---- */
/* SE_ERR_STATE: there is one already, or the engine is shut down. */
SE_NODISCARD se_result se__service_attach(se_engine *e, const struct service *service);
void se__service_stop(se_engine *e); /* without one: nothing */

/* ---- hold.c ---- */
/* Wraps a home tier: data calls are answered TIER_UNWELL (rejected) until the engine is
 * attached; meta calls pass. Takes inner. */
SE_NODISCARD se_result se__hold(se_engine *e, struct tier inner, struct tier *out);

/* ---- attach.c ---- */
/* Checks and joins the home tier: incarnation against the WAL's, owners, ceilings, L2 generation.
 * SE_OK: attached. SE_ERR_CONFIG: it may not be used (kept in e->refusal). Called by se_open and
 * the home keeper, one at a time. */
SE_NODISCARD se_result se__attach_home(se_engine *e, uint64_t deadline_ms);
/* Makes L2 usable if it is not: same server as before and no doubt about it, else a new generation.
 * look: also asks whether another engine has drawn a new one. */
void se__attach_cache(se_engine *e, bool look, uint64_t deadline_ms);
/* Heartbeat of the owner row, with the clock ceiling; looks who else is there. */
void se__attach_beat(se_engine *e, uint64_t deadline_ms);
/* Leaves the owner row as closed; suspects left behind mean a new generation first. */
void se__attach_leave(se_engine *e, uint64_t deadline_ms);
void se__attach_done(se_engine *e);
/* A ceiling above `version` is stored when it returns SE_OK (for worker_options.cover). */
se_result se__cover(void *engine, uint64_t version);

/* ---- existence.c ---- */
SE_NODISCARD se_result se__existence_open(se_engine *e);
/* A write is made ready: looks where its id goes, and has the processor fetch that. */
struct write;
void se__existence_expect(se_engine *e, struct write *w);
/* Later, inside L1's epochs: whether the filter has the id already. */
void se__existence_look_inside(se_engine *e, struct write *w);
/* Around the publishing of writes: before gives the epoch for after. */
uint64_t se__existence_before(se_engine *e, struct write *writes, size_t n);
void se__existence_after(se_engine *e, const struct write *writes, size_t n, uint64_t epoch);
/* True: L3 does not hold the id, and nothing that was accepted is on its way there. No I/O. */
bool se__excludes(const se_engine *e, const char *id, size_t id_len);
/* May L2 hold items that L3 does not? */
bool se__cache_entries(const se_engine *e);
/* L3 was changed by other means: this id, or ids with this prefix, may be new there. */
void se__existence_outside(se_engine *e, const char *id, size_t id_len);
void se__existence_outside_prefix(se_engine *e, const char *prefix);
/* A census of owners: how many others live, and the greatest ceiling of any other. */
void se__existence_owners(se_engine *e, unsigned live, uint64_t newest, bool joining);
/* Reads and stores whether cache entries exist. False: the home tier did not answer. */
bool se__existence_beat(se_engine *e, uint64_t deadline_ms);

/* ---- verify.c ---- */
/* Looks at an id of which no good copy was found, in every tier, and mends what can be. True: it is
 * worth reading again. */
bool se__mend(se_engine *e, const char *id);

/* ---- keeper.c ---- */
SE_NODISCARD se_result se__keeper_open(se_engine *e);
/* Waits until every configured backend has been attached or has
 * failed its start, or the deadline. */
void se__keeper_wait_started(se_engine *e, uint64_t deadline_ms);
/* Waits until the filter's first scan is over, if the home tier is attached. */
void se__keeper_wait_warmed(se_engine *e, uint64_t deadline_ms);
/* The last errors of starting them; "" : none. */
void se__keeper_errors(se_engine *e, char *home, char *cache, size_t cap);
/* Joins the threads; the filter's snapshot may take until the deadline. */
void se__keeper_stop(se_engine *e, uint64_t deadline_ms);
void se__keeper_close(se_engine *e);

/* ---- write.c ---- */
/* One write on its way: what se_submit, se_delete, batches, cache-aside and
 * state changes have in common. */
struct write {
    se_item *item;  /* owned, version not yet set; NULL once it has been given to L1 */
    const char *id; /* borrowed */
    size_t id_len;
    size_t bytes; /* of id and content */
    size_t size;  /* se__item_size */
    bool gives;   /* nobody needs the item once L1 has it: then L1 gets the reference */
    bool enters;  /* the filter, at: */
    bool known;   /* it has the id, if its epoch still is: */
    struct filter_spot at;
    uint64_t at_epoch;
    const void *content; /* borrowed: not yet in the item */
    size_t content_len;
    uint64_t hash;
    void *entry; /* se__l1_entry_memory, for the ticket */
    struct l1_ticket ticket;
    se_ack ack; /* resolved: never DEFAULT */
    enum l1_expect expect;
    uint64_t expected_version;
    uint64_t expected_epoch; /* with an expectation: l1 epoch of the read it is based on */
    bool wal_pending;        /* the WAL has not confirmed in time */
    bool only_wal;           /* a newer write has replaced it, and is not home either */
    struct worker_waiter waiter;
    bool watching;
    struct receipt *receipt; /* not yet committed; NULL: nobody is told */
    int64_t now_wall_ms;     /* when it got its version */
    uint64_t version;        /* out */
    bool conflict;           /* out: the expectation did not hold */
};
struct write_spec {
    const char *id;
    const void *content;
    size_t len;
    const se_submit_options *options;
    bool deleted;
};
/* The ack that a write really waits for: never DEFAULT, and nothing that this engine does not have. */
se_ack se__write_resolve_ack(const se_engine *e, se_ack ack);
/* Checks arguments and builds the item. Nothing has changed on error. */
SE_NODISCARD se_result se__write_init(se_engine *e, const struct write_spec *spec, struct write *w);
/* Copies the content, which publish does when nothing else is left to be done before. */
void se__write_fill(struct write *w);
/* Between init and publish, where the caller itself needs the item no more once it is published. */
void se__write_give(const se_engine *e, struct write *w);
/* Pressure, memory, WAL, L1, in that order, for all of them; on an error nothing is written, and
 * *failed says which one refused (n: none in particular). */
SE_NODISCARD se_result se__write_publish(se_engine *e, struct write *writes, size_t n,
                                         uint64_t deadline_ms, size_t *failed);
/* Waits for the ack that was asked for: SE_OK or SE_PENDING. */
se_result se__write_ack(se_engine *e, struct write *w, uint64_t deadline_ms);
void se__write_done(se_engine *e, struct write *w);
/* init, publish, ack, done. *version may be NULL. */
se_result se__write_one(se_engine *e, const struct write_spec *spec, uint64_t *version);

/* ---- delivery.c ---- */
/* Where the options ask for a delivery, makes all that telling needs, before anything has changed. */
SE_NODISCARD se_result se__delivery_ask(se_engine *e, const se_submit_options *o, struct write *w);
/* The write is accepted, and `put` is what came of it: from now on whoever asked is told how it ends. */
void se__delivery_commit(se_engine *e, struct write *w, const struct l1_put_result *put);

/* ---- read.c ---- */
struct lookup {
    const char *id;
    size_t id_len;
    uint64_t hash;
    se_result result; /* out: SE_OK, SE_NOT_FOUND or an error */
    se_item *item;    /* out: a reference, with SE_OK */
    uint64_t epoch;   /* out: L1's epoch of the id from before the look; with SE_NOT_FOUND
                         a basis for L1_EXPECT_ABSENT */
    /* in: a write will be based on the answer. L3 itself is asked for what is nowhere above it,
     * whatever the filter says; and if it cannot be, what the log brought back from an earlier run,
     * maybe older than L3's, is no answer. */
    bool sure;
    bool unseen; /* in: the caller has not just asked L1 for the id; then it is asked first */
    uint64_t moment; /* in: of the loads, from before the caller asked L1; 0: L1 is asked again, to be
                        sure */
    /* the rest belongs to read.c */
    struct seat seat;
    bool flies; /* the seat is taken */
    se_engine *engine;
    se_item *came, *kept; /* references: what a tier told of, and what L1 made of it; or NULL */
    bool settled, again, held_back;
    bool cached;        /* the item is L1's own */
    se_item *candidate; /* found above the home tier, but maybe older than what that holds */
    size_t at;          /* with wants_lease: which of the reads of L2 is its */
    struct redis_lease lease;
    bool wants_lease, corrupt_l2;
    bool vouched; /* the trusted filter said that L3 may have it */
};
/* Looks all of them up, one round trip per tier. Counts hits and misses. SE_ERR_NOMEM: nothing
 * was looked up; else SE_OK and each result. */
SE_NODISCARD se_result se__lookup(se_engine *e, struct lookup *lookups, size_t n,
                                  uint64_t deadline_ms);
/* Checks one id and prepares a lookup. */
SE_NODISCARD se_result se__lookup_init(se_engine *e, const char *id, struct lookup *l);
uint64_t se__read_deadline(const se_engine *e);
/* Such an item says with authority that its id is gone. The clock is read only if that matters. */
static inline bool se__says_gone(const se_item *item)
{
    return !se__item_is_plain(item) &&
           (se__item_deleted(item) || se__item_expired(item, se__wall_ms()));
}
/* What to tell of a hit in L1. Takes the reference of a "gone". */
se_result se__take_hit(se_item **item);
/* Makes a version from outside known to the clock. */
void se__see_version(se_engine *e, uint64_t version);

/* ---- admit.c ---- */
se_pressure se__pressure_now(se_engine *e, double *p); /* computed afresh */
/* For a writer: delays it or refuses. Recomputes every 64 writes or KiB, and each time while
 * the level is WARN and above. */
SE_NODISCARD se_result se__pressure_admit(se_engine *e, size_t writes, size_t bytes);
/* L1 or the WAL had no room for so many writes, whatever the level says. */
void se__pressure_full(se_engine *e, size_t writes);

/* ---- health.c ---- */
void se__health_hits(se_engine *e);   /* to the metrics; se__health_gauges does it, too */
void se__health_gauges(se_engine *e); /* brings all gauges up to date */

#endif
