/*
 * op - one call of the tier: takes a session from a pool, runs pipelines on it, gives it back, sums
 * up what went wrong.
 *
 *   struct op op;
 *   if (se__op_begin(&op, r, r->readers, deadline_ms)) { ... se__op_exchange / se__op_scripts ... }
 *   return se__op_end(&op);
 *
 * The first thing that goes wrong decides the fault and the text; later ones do not hide it.
 *
 * Locks: struct redis's mutex (leaf) guards `accepted`, `last` and `generation`.
 * Threads: an op belongs to its caller; struct redis is for any.
 */
#ifndef SE_L2_OP_H
#define SE_L2_OP_H

#include "base/mem.h"
#include "base/os.h"
#include "l2/redis.h"
#include "l2/reply.h"
#include "l2/session.h"
#include "tier/combine.h"
#include "tier/pool.h"

#include <stdatomic.h>

struct redis {
    struct url url;    /* a copy */
    char address[256]; /* for messages: without user and password */
    char *prefix;
    size_t prefix_len;
    uint32_t timeout_ms;
    unsigned workers;
    bool home;
    uint64_t tombstone_ms;
    struct se__log log;

    struct pool *readers, *writers;
    struct combiner *sharing; /* of pipelines by reads */

    struct se__mutex lock;
    char accepted[SESSION_IDENTITY_SIZE], last[SESSION_IDENTITY_SIZE];
    uint64_t generation;

    /* relaxed, both: hints, see read.c */
    _Atomic int absent;              /* of 256 ids that were read lately */
    _Atomic uint64_t plain_until_ms; /* reads do not take leases until then */
};

struct op {
    struct redis *r;
    struct pool *pool;
    struct session *session;
    uint64_t deadline_ms;  /* the caller's, or timeout_ms from now if that is sooner */
    bool had_all_its_time; /* it is timeout_ms from the beginning */
    uint64_t generation;
    bool accepted; /* the server is the one to read and write */
    bool broken;   /* close the connection at the end */
    bool noscript; /* some script was unknown: load and repeat */
    bool late;     /* the deadline was over by the server's clock */
    struct tier_reply reply;
    char words[384];
};

/* False: no connection; se__op_end says why. */
SE_NODISCARD bool se__op_begin(struct op *op, struct redis *r, struct pool *pool,
                               uint64_t deadline_ms);
/* Gives the session back; sets the thread's text and returns the fault, or TIER_FINE. */
struct tier_reply se__op_end(struct op *op);
static inline bool se__op_ok(const struct op *op)
{
    return op->reply.fault == TIER_FINE;
}

/* Notes a fault with its text, unless there is one already. */
void se__op_fail(struct op *op, enum tier_fault fault, const char *fmt, ...) SE_PRINTF(3, 4);
/* Notes that nothing was asked: the server is well, and not the one to read and write. */
void se__op_unaccepted(struct op *op);
/* Notes an answer that cannot be one to what was asked; the connection is given up. */
void se__op_garbage(struct op *op);
/* Notes what a reply's class means; true if it was fine. */
bool se__op_check(struct op *op, enum reply_class class, const struct redisReply *reply);
/* The next round trip of a call that takes several gets a time of its own, as far as the caller's
 * deadline allows. */
void se__op_renew(struct op *op, uint64_t deadline_ms);
/* Between commands of a long pipeline: sends what has gathered, takes replies that have come. */
void se__op_push(struct op *op, resp_reply_fn on_reply, void *arg);
/* Sends and reads all replies. */
void se__op_exchange(struct op *op, resp_reply_fn on_reply, void *arg);
/* One argument: the key of an id. */
void se__op_key(struct op *op, const char *id, size_t id_len);

/* A script over n keys, in calls of about 100 keys or 256 KiB, all in one pipeline; loaded again
 * and repeated if the server has forgotten it (repeating is harmless). */
struct script_batch {
    enum script script;
    size_t n;
    void *arg;
    const char *(*id)(void *arg, size_t i, size_t *len);
    /* about how many its arguments take */
    size_t (*bytes)(void *arg, size_t i);
    /* appends the script's arguments for key i */
    void (*put)(void *arg, size_t i, struct resp *c);
    /* false: not what the script returns */
    bool (*take)(void *arg, size_t i, const struct redisReply *result);
};
void se__op_scripts(struct op *op, const struct script_batch *batch);
/* The same, sent and left: `take` is not called, nobody waits. A batch of more than 64 KiB is
 * waited for all the same, and one after a script was found forgotten. */
void se__op_scripts_left(struct op *op, const struct script_batch *batch);

/* How a write is stored: kind (an item that has expired becomes a floor)
 * and life in ms, 0: no limit. */
struct life {
    enum record_kind kind;
    uint64_t px;
};
struct life se__life_of(const struct redis *r, const se_item *item, enum record_kind kind,
                        int64_t now_wall_ms);
/* Appends the record as one argument, and its life as another. */
void se__put_record(struct resp *c, const se_item *item, struct life life, uint64_t generation);

/* A LEASE lives this long: longer than any read takes, so short that a reader who died keeps an id
 * out of Redis only briefly. It protects nothing by its age: a fill needs the very token. */
#define LEASE_PX_MS 30000u
/* TOMBSTONE and FLOOR: twice the longest time for which a script call may still act. Where Redis is
 * the home, a tombstone is all that is left to tell of a delete, also to an engine that drains
 * its WAL much later. */
#define MARK_PX_MS (2u * SCRIPT_AHEAD_MS_MAX)
#define HOME_TOMBSTONE_PX_MS 86400000u
/* Redis refuses a life that overflows its clock; a hundred years are no limit. */
#define PX_MAX (UINT64_C(100) * 366 * 86400 * 1000)

/* Bytes that hold a header and any state. */
#define HEAD_SIZE (RECORD_HEADER_SIZE + SE_STATE_MAX)

/* The other modules' tier operations. */
struct tier_reply se__redis_read(void *tier, struct tier_read *reads, size_t n,
                                 uint64_t deadline_ms);
struct tier_reply se__redis_read_now(void *tier, struct tier_read *reads, size_t n,
                                     uint64_t deadline_ms); /* alone */
struct tier_reply se__redis_write(void *tier, unsigned worker, struct tier_write *writes, size_t n,
                                  uint64_t deadline_ms);
struct tier_reply se__redis_list(void *tier, const char *prefix, struct tier_ids *ids,
                                 uint64_t deadline_ms);
struct tier_reply se__redis_survey(void *tier, const struct tier_survey *survey,
                                   struct tier_cursor *cursor, struct tier_sights *sights,
                                   uint64_t deadline_ms);
struct tier_reply se__redis_meta_get(void *tier, const char *name, struct buf *value, bool *found,
                                     uint64_t deadline_ms);
struct tier_reply se__redis_meta_put(void *tier, const char *name, const char *value,
                                     uint64_t deadline_ms);
struct tier_reply se__redis_meta_add(void *tier, const char *name, const char *value,
                                     struct buf *value_now, uint64_t deadline_ms);
struct tier_reply se__redis_meta_delete(void *tier, const char *name, uint64_t deadline_ms);
struct tier_reply se__redis_meta_list(void *tier, const char *prefix,
                                      void (*visit)(void *arg, const char *name, const char *value),
                                      void *arg, uint64_t deadline_ms);

#endif
