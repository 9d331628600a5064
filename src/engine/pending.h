/*
 * pending - a snapshot of what has been acknowledged and is not in the home tier: from L1, the WAL
 * and the dead letters.
 *
 * Taken downward (L1, then WAL), and before the home tier is read: what moves meanwhile is then
 * seen at least once. Sorted by id, the newest item of each. Bounded by the queue's and the WAL's
 * bounds; contents are references.
 */
#ifndef SE_ENGINE_PENDING_H
#define SE_ENGINE_PENDING_H

#include "engine/engine.h"

struct pending {
    se_item **items;
    size_t n, at; /* at: the next one to be merged */
};

/* prefix: only ids that begin with it; after: only greater ids. all: also clean items
 * of L1 (where there is no L3). */
SE_NODISCARD se_result se__pending_take(se_engine *e, const char *prefix, const char *after,
                                        bool all, struct pending *p);
void se__pending_done(struct pending *p);

#endif
