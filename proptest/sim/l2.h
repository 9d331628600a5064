/*
 * l2 - a fake Redis, in the place of src/l2: records under the version guard, leases, generations,
 * lives of keys, and a server that can be another one after its restart.
 *
 * Threads: the tasks of sched.h.  Memory: l2_end frees records; each engine's tier frees itself.
 */
#ifndef SE_SIM_L2_H
#define SE_SIM_L2_H

#include "l2/redis.h"
#include "sim/l3.h"

enum { L2_KEYS_MAX = 64 };

struct l2_key {
    char id[40];
    enum record_kind kind;
    uint64_t generation, expires_ns;
    se_item *item; /* NULL: a lease */
    uint8_t token[SE_HASH_SIZE];
};
struct l2_db {
    struct server server;
    struct l2_key keys[L2_KEYS_MAX];
    unsigned keys_n;
    struct l3_meta metas[L3_METAS_MAX];
    unsigned metas_n;
    struct l3_past past[L2_KEYS_MAX];
    unsigned past_n;
    unsigned run;    /* its identity */
    unsigned losses; /* keys that went though nobody wrote them */
    void (*stored)(const se_item *item);
    /* Beside an L3: has the home tier, or the log, what is now given to L2? */
    void (*confirmed)(const se_item *item);
};

extern struct l2_db sim_l2;

void l2_begin(void);
void l2_end(void);
/* For whoever opens a Redis next. */
void l2_connect_as(const struct life *life);

/* ---- what happens to a Redis ---- */
void l2_lose_key(unsigned nth); /* evicted, or expired early */
void l2_flush_all(void);
void l2_save(void);    /* a snapshot, */
void l2_restart(void); /* with which it comes back as another server */
/* Another engine has written this to L3, and brings it here a little later, under the generation that
 * was in force when it began. */
void l2_foreign_put(se_item *item, uint64_t generation);
/* The greatest version ever stored under an id, in place or not. */
uint64_t l2_reached(const char *id);
const struct l2_key *l2_find(const char *id);

#endif
