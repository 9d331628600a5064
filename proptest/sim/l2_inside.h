/*
 * l2_inside - what l2.c and l2_lease.c share.
 */
#ifndef SE_SIM_L2_INSIDE_H
#define SE_SIM_L2_INSIDE_H

#include "sim/l2.h"

struct redis {
    const struct life *life;
    bool home;
    uint64_t tombstone_ms, generation;
    char accepted[128], last[128];
};

/* The generation and the server are those of its beginning: a connection belongs to one server. */
struct op {
    struct redis *r;
    struct exchange x;
    uint64_t generation;
    bool ours;
};

struct op l2_call(struct redis *r, enum server_call call, uint64_t deadline_ms);
struct l2_key *l2_key_of(const char *id);   /* NULL: none that lives */
struct l2_key *l2_room_for(const char *id); /* all-zero if there is none yet */
void l2_store(const struct op *op, se_item *item, enum record_kind kind);

void l2_lease_with_read(const struct op *op, struct tier_read *read);
void l2_end_leases(void);

#endif
