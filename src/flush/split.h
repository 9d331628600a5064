/*
 * split - finds the records a backend refuses, by halving, without mistaking an unwell server for
 * bad records.
 *
 * Pure driver over a callback that tries one range in one transaction. A range that is refused is
 * halved until the record is alone; it is then a dead letter. More than 10 records in a row, or 5 %
 * of a batch of at least 200, refused with one error number is the server's trouble (a dropped
 * column, a lost privilege): the whole call ends UNWELL and nobody is dead (those already stored
 * stay stored: repeating is harmless).
 * What is not yet tried then is still tried once, range by range and without halving, so that good
 * records get past a cluster of bad ones.
 *
 * Threads: caller-serialised.  Memory: owns nothing; no recursion deeper than log2(n).
 */
#ifndef SE_FLUSH_SPLIT_H
#define SE_FLUSH_SPLIT_H

#include "tier/tier.h"

enum split_fate { SPLIT_UNDECIDED, SPLIT_DONE, SPLIT_DEAD };
struct split_item {
    enum split_fate fate; /* out */
    int code;             /* out, DEAD: the backend's number */
    char error[160];      /* out, DEAD: its words */
};
/* `attempt` writes writes[from, from + n). Returns TIER_FINE when every record is DONE or DEAD,
 * else the fault that ended it. */
struct tier_reply se__split_write(struct tier_write *writes, struct split_item *fates, size_t n,
                                  struct tier_reply (*attempt)(void *arg, struct tier_write *writes,
                                                               size_t n),
                                  void *arg);

/* Records refused in a row, carried from one call to the next, so that a dropped column is
 * recognised at one write a minute too. A record that is stored ends the run. All-zero is a
 * fresh one. */
struct split_run {
    int code;
    unsigned n;
};
/* As se__split_write, with the run so far. */
struct tier_reply se__split_write_on(
    struct split_run *run, struct tier_write *writes, struct split_item *fates, size_t n,
    struct tier_reply (*attempt)(void *arg, struct tier_write *writes, size_t n), void *arg);

#endif
