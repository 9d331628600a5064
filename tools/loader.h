/*
 * loader - items on their way into an engine, in batches that wait out backpressure.
 *
 * A batch is one se_submit_many: with SE_ACK_WAL one group commit, with SE_ACK_L3 one wait. An item
 * that the engine refuses for itself (its id, its size) is reported and left out, the rest goes on.
 * On SE_ERR_BACKPRESSURE the loader waits se_retry_after_ms and tries with half as many, up to
 * `patience_ms` without a single success.
 *
 * Invariants
 *   I1  every item added is accepted, or reported by `bad`, or the result is not LOAD_GOES_ON
 *   I2  at most LOADER_ITEMS and, unless one item alone is larger, LOADER_BYTES are held
 *
 * Threads: the main thread.  Memory: items are copied; loader_done frees.
 */
#ifndef SE_TOOLS_LOADER_H
#define SE_TOOLS_LOADER_H

#include "base/buf.h"

#define LOADER_ITEMS 256u
#define LOADER_BYTES (512u * 1024)

enum load_result { LOAD_GOES_ON, LOAD_STOPPED, LOAD_FAILED };

struct loader_options {
    se_engine *engine;
    se_submit_options submit;
    uint64_t patience_ms;
    int stop; /* from stop_open */
    void (*bad)(void *arg, uint64_t line, const char *why);
    void (*tick)(void *arg); /* now and then while it waits */
    void *arg;
};

struct loader {
    struct loader_options o;
    size_t n;
    struct buf contents;
    struct loader_item {
        char id[SE_ID_MAX + 1];
        uint64_t line;
        size_t at, len; /* in contents */
    } * items;
    se_put *puts;
    uint64_t accepted, bytes, pending;
    int signal;        /* with LOAD_STOPPED */
    uint64_t since_ms; /* of the last success, while waiting */
    bool told;         /* that it waits */
};

SE_NODISCARD se_result loader_init(struct loader *l, const struct loader_options *options);
void loader_done(struct loader *l);
/* Copies one item; sends the batch when it is full. */
enum load_result loader_add(struct loader *l, const char *id, const char *text, size_t len,
                            uint64_t line);
/* Sends what is held. */
enum load_result loader_send(struct loader *l);

#endif
