/*
 * relay - hands pages of ids to a thread, so that the next one is fetched while the last one is used.
 *
 * Only worth it for a scan of very many ids, so the thread is started with the first large page;
 * before that, and where the system has no thread to give, pages are used on the spot.
 *
 * Invariants
 *   I1  pages are used one at a time, in the order they were given
 *   I2  after a page that failed none is used
 *
 * Threads: give and done: the one that opened it; use: that one or the relay's, never both at once.
 * Locks: one mutex (leaf), not held while a page is used.  Memory: in place.
 */
#ifndef SE_FILTER_RELAY_H
#define SE_FILTER_RELAY_H

#include "base/os.h"
#include "tier/tier.h"

#define RELAY_PAGE_MIN 1000u /* ids of a page that is worth a thread */

struct relay_page {
    struct tier_sights sights;
    uint32_t first, last; /* the buckets that were asked for; the page may have only some of them */
    bool ends;            /* nothing else comes from these */
};
struct relay {
    se_result (*use)(void *arg, const struct relay_page *page);
    void *arg;
    struct se__thread thread; /* not started: use on the spot */
    bool refused;             /* no thread is wanted, or none to be had */
    struct se__mutex lock;    /* guards all below; page: of the thread while it is full */
    struct se__cond changed;
    struct relay_page page;
    bool full, stop;
    se_result result; /* of the first use that failed */
};

void se__relay_init(struct relay *r, bool threaded,
                    se_result (*use)(void *arg, const struct relay_page *page), void *arg);
/* Waits until the page before is used. The relay takes the sights and gives others, to be filled
 * next, for them. Returns what went wrong with an earlier page, or with this one. */
SE_NODISCARD se_result se__relay_give(struct relay *r, struct tier_sights *sights, uint32_t first,
                                      uint32_t last, bool ends);
/* Waits until all is used. Returns what went wrong. */
SE_NODISCARD se_result se__relay_done(struct relay *r);

#endif
