/*
 * pool - a bounded set of connections to one backend.
 *
 * A caller takes an idle connection, or waits, by its deadline, until one is given back or opened.
 * Connections are opened by the pool's own thread, never on a caller's: connecting and name lookup
 * may hang. When an attempt to connect fails, all who were waiting before it began fail with its
 * error at once instead of waiting for their deadlines.
 *
 * Invariants
 *   I1  idle + taken + opening <= size
 *   I2  a broken connection is closed, never idle
 *
 * Locks: one mutex guards all of it (rank: leaf); it is not held while connecting, closing or
 * waiting.
 * Threads: any.  Memory: se__pool_open returns; se__pool_close frees, once all are given back.
 */
#ifndef SE_TIER_POOL_H
#define SE_TIER_POOL_H

#include "base/os.h"

struct pool;

struct pool_options {
    const char *name; /* of the thread, at most 15 bytes */
    void *arg;
    /* Opens a connection; on the pool's thread. */
    se_result (*open)(void *arg, uint64_t deadline_ms, void **connection);
    void (*close)(void *arg, void *connection);
    /* True if an idle connection must not be used again. NULL: never. */
    bool (*broken)(void *arg, void *connection);
    unsigned size;       /* >= 1 */
    uint32_t connect_ms; /* the longest one attempt may take */
};

SE_NODISCARD se_result se__pool_open(const struct pool_options *options, struct pool **pool);
/* Wakes all who wait with SE_ERR_STATE, waits for taken connections, closes
 * everything. NULL is allowed. */
void se__pool_close(struct pool *pool);
/* SE_OK and a connection, SE_ERR_TIMEOUT (deadline), SE_ERR_BACKEND
 * (cannot connect; text says why). */
SE_NODISCARD se_result se__pool_take(struct pool *pool, uint64_t deadline_ms, void **connection);
/* For tests: how many callers wait for a connection at this moment. */
unsigned se__pool_waiting(struct pool *pool);
/* broken: close it. */
void se__pool_give(struct pool *pool, void *connection, bool broken);
/* Closes all idle connections (after a server restart, so that the rest
 * is not found dead one by one). */
void se__pool_drop_idle(struct pool *pool);

#endif
