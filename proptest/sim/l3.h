/*
 * l3 - a fake database: one table under the contract of tier.h, that outlives the engines.
 *
 * The guard, the purge floor and the tombstones are as in l3/store_write.c. Beside the table stands
 * what the table must never forget: the greatest (version, hash) that each id ever had. A row that
 * falls behind it fails the world at once, whoever is to blame.
 *
 * Threads: the tasks of sched.h.  Memory: l3_end frees rows; each engine's tier frees itself.
 */
#ifndef SE_SIM_L3_H
#define SE_SIM_L3_H

#include "sim/server.h"

enum { L3_ROWS_MAX = 64, L3_METAS_MAX = 32 };

struct l3_row {
    se_item *item;
    enum record_kind kind; /* ITEM or TOMBSTONE */
    int64_t purge_at_ms;
};
struct l3_meta {
    char name[80], value[400];
};
struct l3_past { /* of an id, purged or not */
    char id[40];
    uint64_t version;
    uint8_t hash[SE_HASH_SIZE];
};
struct l3_db {
    struct server server;
    struct l3_row rows[L3_ROWS_MAX];
    unsigned rows_n;
    struct l3_meta metas[L3_METAS_MAX];
    unsigned metas_n;
    struct l3_past past[L3_ROWS_MAX];
    unsigned past_n;
    uint64_t floor;
    uint32_t retention_s;
    bool (*refuses)(const se_item *item); /* poison */
    void (*stored)(const se_item *item);
};

extern struct l3_db sim_l3;

void l3_begin(uint32_t retention_s);
void l3_end(void);
/* A tier for the engine whose life this is. */
struct tier l3_connect(const struct life *life);
/* 0: no row. *kind and *item (lent) may be NULL. */
uint64_t l3_version(const char *id, enum record_kind *kind, const se_item **item);
/* The greatest version that the id ever had there, purged or not. */
uint64_t l3_reached(const char *id);
/* As another writer would. True: stored. */
bool l3_put(se_item *item, enum record_kind kind);

/* Named values, for the fake Redis too. */
bool meta_get(const struct l3_meta *metas, unsigned n, const char *name, struct buf *value);
void meta_put(struct l3_meta *metas, unsigned *n, const char *name, const char *value);
void meta_delete(struct l3_meta *metas, unsigned *n, const char *name);

#endif
