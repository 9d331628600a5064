/*
 * policy - replacement policies, each as its paper has it, and one of ours, simulated over a trace.
 *
 * All items have one size; a cache is a number of them. A policy counts the requests of a trace
 * that it serves from a cache which is empty at first. Nothing is shared with the library: these
 * are what its cache is measured against. Each .c names its source.
 *
 * Memory: O(distinct keys), for the call.  Failures end the process.
 */
#ifndef SE_BENCH_POLICY_H
#define SE_BENCH_POLICY_H

#include "traces.h"

/* Hits among the trace's requests with room for `capacity` items (1 or more). */
typedef size_t policy_fn(const struct trace *trace, size_t capacity);
policy_fn policy_lru, policy_sieve, policy_s3fifo, policy_arc, policy_tinylfu, policy_opt,
    policy_s3learn;

struct policy {
    const char *name;
    policy_fn *hits;
};
/* The five that we compare with, OPT as the limit, and a design of our own. */
enum {
    POLICY_LRU,
    POLICY_SIEVE,
    POLICY_S3FIFO,
    POLICY_ARC,
    POLICY_TINYLFU,
    POLICY_OPT,
    POLICY_S3LEARN,
    POLICIES
};
extern const struct policy policies[POLICIES];

#endif
