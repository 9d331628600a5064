/*
 * owed - ids whose write L2 missed, and which it is still to be told about.
 *
 * A bounded list of (id, hash, version): what the table of suspects cannot say, since it holds hashes
 * only. Who finds no room is not told: its suspicion then lasts until its id is written again.
 *
 * Threads: caller-serialised.  Memory: ids are copied; se__owed_done frees what is left.
 */
#ifndef SE_FLUSH_OWED_H
#define SE_FLUSH_OWED_H

#include "item/item.h"

struct owed_id {
    char *id; /* allocated */
    uint64_t hash, version;
};
struct owed {
    struct owed_id *ids;
    size_t n, cap, max;
};

/* Nothing if there is no room, or no memory. */
void se__owed_add(struct owed *o, const se_item *item, uint64_t hash);
/* Moves up to `most` of them, the latest, to `out`, sorted by id, each once in its newest version.
 * Their ids are the caller's. */
size_t se__owed_take(struct owed *o, struct owed_id *out, size_t most);
/* Takes back what was taken; frees those that find no room. */
void se__owed_return(struct owed *o, struct owed_id *ids, size_t n);
void se__owed_done(struct owed *o);

#endif
