/*
 * fixture - a Redis server and the L2 tier on it, for the tests of this room.
 *
 * Threads: caller-serialised, but for what the tier itself allows.
 */
#ifndef SE_TESTS_L2_FIXTURE_H
#define SE_TESTS_L2_FIXTURE_H

#include "base/os.h"
#include "l2/redis.h"
#include "support/redis_server.h"
#include "support/test.h"

#include <string.h>

#define GENERATION UINT64_C(0x1122334455667788)
#define PREFIX "sync:"
#define PATIENCE_MS 10000u

struct l2_options {
    bool tcp, home, not_accepted;
    const char *prefix;        /* NULL: PREFIX */
    const char *url;           /* NULL: the server's unix socket */
    uint32_t timeout_ms;       /* 0: 5000 */
    unsigned workers, readers; /* 0: 1 */
};

struct l2 {
    struct redis_server *server;
    struct tier tier;
    struct redis *redis;
};

/* What nearly every suite here stands on: a server, and the tier open on it. */
extern struct redis_server server;
extern struct l2 l2;
void l2_start(const struct redis_server_options *with, const struct l2_options *options);
void l2_setup(void); /* the same with defaults */
void l2_teardown(void);

/* Opens the tier on a running server, prepares it and (unless not_accepted or
 * home) accepts it with GENERATION. */
void l2_open(struct l2 *l, struct redis_server *on, const struct l2_options *options);
void l2_close(struct l2 *l);
/* Accepts whatever server was met last. */
void l2_accept(struct l2 *l, uint64_t generation);

se_item *l2_item(const char *id, const char *content, uint64_t version);
se_item *l2_tombstone(const char *id, uint64_t version);

/* Writes one record; releases the item. The write must be answered; returns its state. */
enum tier_state l2_put(struct l2 *l, se_item *item, enum record_kind kind);
/* Reads one id; the read must be answered. The caller releases *item (NULL: do not hand it out). */
enum tier_found l2_get(struct l2 *l, const char *id, se_item **item);
/* True if id reads as a hit with this content and version. */
bool l2_holds(struct l2 *l, const char *id, const char *content, uint64_t version);
/* PTTL of an id's key: ms, -1: no limit, -2: no key. */
long l2_pttl(struct l2 *l, const char *id);

#endif
