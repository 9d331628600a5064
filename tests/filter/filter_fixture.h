/*
 * filter_fixture - a filter, numbered ids in it, and scans of its parts.
 *
 * Threads: caller-serialised.  Memory: who opens a filter closes it.
 */
#ifndef SE_TESTS_FILTER_FILTER_FIXTURE_H
#define SE_TESTS_FILTER_FILTER_FIXTURE_H

#include "ids.h"

#define SEED UINT64_C(0x5eed)

struct filter *open_filter(void);
struct filter *open_trusted(void);
void add_ids(struct filter *f, uint64_t from, uint64_t to);
uint64_t count_had(const struct filter *f, uint64_t from, uint64_t to);
/* Notes ids 0 .. n - 1 of one part, as a scan of its buckets does. */
void scan_part(struct filter *f, unsigned part, uint64_t n);
void rebuild(struct filter *f, unsigned part, uint64_t n);
struct filter_part_stats part_stats(const struct filter *f, unsigned part);
struct filter_stats stats(const struct filter *f);
/* The i-th id, from `from` on, of one part. */
uint64_t next_of(unsigned part, uint64_t from);

#endif
