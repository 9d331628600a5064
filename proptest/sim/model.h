/*
 * model - what was written, what was answered, and what may therefore be read.
 *
 * The model does not predict which write is seen: with writers at work there is more than one right
 * answer. For every id it keeps a floor, the newest version that some finished call of the living
 * engine has confirmed or shown. A read that begins afterwards must show that version or a newer one,
 * with the very content that was written; "not found" needs a delete (or a cache entry, or an end of
 * life) at or above the floor. A crash lowers the floor to what was durable by its acknowledgement,
 * or stands in the home tier.
 *
 * Contents begin with the number of their write, so that what is read tells whose it is.
 *
 * Threads: the tasks of sched.h.
 */
#ifndef SE_SIM_MODEL_H
#define SE_SIM_MODEL_H

#include "item/item.h"
#include "sim/server.h"

enum {
    MODEL_IDS = 40,
    MODEL_IDS_COMMON = 20, /* the others: script.c */
    MODEL_WRITES_MAX = 8000,
    MODEL_CONTENT_MAX = 7000
};

enum model_home { HOME_L3, HOME_L2, HOME_L1 };

struct model_write {
    uint8_t id;
    bool deleted, cache_entry;
    enum { WRITE_UNDER_WAY, WRITE_DONE, WRITE_FAILED, WRITE_MAYBE } status;
    bool durable; /* its acknowledgement survives a crash */
    unsigned life;
    uint64_t version; /* 0: not known (yet) */
    int64_t expires_at_ms;
    uint64_t began, ended; /* order of events */
    uint64_t ended_ns;
};

/* What is known at the beginning of a read. */
struct model_glance {
    uint8_t id;
    uint64_t floor;
    int floor_write; /* -1: none */
    /* The same for an engine that cannot ask its home tier: what it found in its log may be older than
     * what that holds, and it cannot know (engine/read.c). */
    uint64_t sure;
    int sure_write;
    uint64_t over; /* writes of earlier lives up to this version are not to be seen any more */
    uint64_t began, began_ns;
    unsigned life;
};

void model_begin(enum model_home home);

void model_id(unsigned id, char name[32]);
bool model_is_written(unsigned id); /* ever */
/* Content of write number `write`, of `len` bytes at least as long as its head. Returns its length. */
size_t model_content(int write, size_t len, char *out);

/* ---- writes: begin before the call, end after it ---- */
struct model_new {
    unsigned id;
    bool deleted, cache_entry;
    int64_t expires_at_ms;
};
int model_write_begin(const struct model_new *spec);
/* ack: as resolved by the engine: what an SE_OK promises. */
void model_write_end(int write, se_result result, uint64_t version, se_ack ack);
/* A write by somebody else that is stored now. */
int model_foreign(const struct model_new *spec, uint64_t version);

/* ---- reads ---- */
struct model_glance model_glance(unsigned id);
/* item: lent, with SE_OK. */
void model_read_end(const struct model_glance *g, se_result result, const se_item *item);
void model_copy_end(const struct model_glance *g, se_result result, const char *bytes, size_t len);
void model_contains_end(const struct model_glance *g, se_result result, bool found);
/* Somebody was told, without asking a tier, that the id is nowhere. */
void model_missing(const struct model_glance *g);
/* A factory runs for an id that the glance was taken of. */
void model_factory_runs(const struct model_glance *g);

/* ---- lives ---- */
/* The engine is gone; clean: se_close said SE_OK. */
void model_life_ends(bool clean);
void model_life_begins(unsigned number);

/* It, or what took its place, was for L2 alone. */
bool model_cache_entry(int write);

/* ---- the home tier ---- */
uint64_t model_home_version(unsigned id);
/* The greatest it ever had there: a tombstone may have been purged since. */
uint64_t model_home_reached(unsigned id);
/* Whatever was accepted this long ago is at home. */
void model_all_home(uint64_t older_than_ms);
/* In the end: every id, read by an engine at rest. */
void model_final(unsigned id, se_result result, const se_item *item);
/* A tier has stored this: so that is its version (a write may get a higher one than its caller was told:
 * flush/renew.c). */
void model_stored(const se_item *item);
/* L2 is given this: L3 or the log must have it. in_log: the version there, 0: none. */
void model_confirmed(const se_item *item, uint64_t in_log);

/* Has the home tier been out of reach a moment ago? */
extern bool (*model_outage)(void);
/* SE_ERR_BACKEND without a reason fails the world: tells when there is one. */
extern bool (*model_excuses)(const struct model_glance *g, se_result result);

#endif
