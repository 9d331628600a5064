/*
 * bulk - many guarded writes at nearly the price of plain SETs.
 *
 * Place in the flow:  write.c -> [bulk] -> what it could not store: write.c's guard
 *
 * A record that passes through a script is copied into Lua and out again, and hashed there byte by
 * byte: that costs more than storing it. So here a script only compares headers, and the records
 * go past it, in one transaction of the server for about 100 keys:
 *
 *   MULTI
 *   SET latch 0                              the latch is there: MSETNX would do nothing
 *   EVALSHA open latch key... heads          if no key outranks its write: DEL latch key...
 *   MSETNX latch 1 key record ...            stores all, or, if anything is there, nothing
 *   EXEC
 *
 * The script opens the latch only if it has come in time and every one of the writes may be stored.
 * If it refuses, fails, is unknown to the server or is not run at all, the latch is still there and
 * nothing has changed. Nobody sees the keys gone: an EXEC is one step for all other clients, for the
 * append-only file and for replicas.
 *
 * It is an attempt, and never the last word: what a transaction did not store, for whatever reason,
 * is left for the guard, key by key, with its finer answers. Only records without a life go this
 * way, since MSETNX gives none.
 *
 * Invariants
 *   I1  a write is marked TIER_STORED only if its transaction said so
 *   I2  outside of a transaction the latch is always there once it was; it holds no state
 *
 * Not every server and user can do that (it takes Redis 7, for redis.acl_check_cmd, and the right to
 * use MULTI and MSETNX): where it was refused for that, the session does not try it again.
 *
 * Threads: as op.h.
 */
#ifndef SE_L2_BULK_H
#define SE_L2_BULK_H

#include "l2/op.h"

/* Stores what it can: those get TIER_STORED, the others are left as they are. `writes` as
 * tier_ops.write: sorted by id, ids unique. The op fails only if the connection is not to be used
 * any more, or without memory. */
void se__bulk_write(struct op *op, struct tier_write *writes, size_t n, int64_t now_wall_ms);

#endif
